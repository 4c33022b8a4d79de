//! Content of files: read into memory, left open, or copied into a sealed file, always of one version.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    CWD, MemfdFlags, Mode, SealFlags, fcntl_add_seals, memfd_create, openat, sendfile,
};
use rustix::io::Errno;

use super::dir::{MAX_ATTEMPTS, READ_FLAGS};
use super::entry::{EntryDescriptor, FileSource};
use super::root::Root;
use crate::blob::{Blob, FileVersion};

/// Size in bytes up to which a file is read into memory. The kernel sends larger files from disk.
const MAX_IN_MEMORY_BYTES: u64 = 64 * 1024;

/// Maximum size in bytes of a file that is read whole.
pub(crate) const MAX_WHOLE_FILE_BYTES: usize = 1 << 20;

/// Time without a change after which a file counts as steady. A process that writes a file, or copies one over another,
/// does not pause that long.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Attempts to read a small file that keeps changing. After the first [`MAX_ATTEMPTS`] it may have grown meanwhile: a
/// stat(2) in the middle of an append shows the new time and the old length, so not every attempt shows the growth.
const MAX_READS: usize = 16;

/// Entry at a path, opened.
#[derive(Debug)]
pub(crate) enum OpenedEntry {
    /// Regular file.
    File {
        content: Blob,
        source: FileSource,
    },
    Directory,
    /// FIFO, socket or device.
    Special,
}

impl Root {
    /// Opens the entry at a path below the root, at the time `now`. The path has no slash at either end, and no `.` or
    /// `..`. Only regular files and directories are opened, so nothing
    /// blocks.
    ///
    /// # Errors
    /// Errors of openat2(2) and read(2); `EXDEV` for a symbolic link that leads where none may, `EAGAIN` for a file
    /// that keeps changing.
    pub(crate) fn open_entry(&self, path: &[u8], now: SystemTime) -> io::Result<OpenedEntry> {
        match self.open_descriptor(path)? {
            EntryDescriptor::File(file, source) => load_content(file, source, now),
            EntryDescriptor::Directory => Ok(OpenedEntry::Directory),
            EntryDescriptor::Special => Ok(OpenedEntry::Special),
        }
    }

    /// Reads a file directly in the root, which may be a symbolic link to anywhere. The root is this directory,
    /// whatever has its name by now.
    ///
    /// # Errors
    /// Those of [`read_whole_file`].
    pub(crate) fn read_whole_file(&self, name: &Path) -> io::Result<Vec<u8>> {
        read_whole(openat(self.dir(), name, READ_FLAGS, Mode::empty())?.into())
    }
}

/// Reads a small file, which may be anywhere.
///
/// # Errors
/// Errors of open(2) and read(2); the file is too large, or not a regular file.
pub(crate) fn read_whole_file(file: &Path) -> io::Result<Vec<u8>> {
    read_whole(openat(CWD, file, READ_FLAGS, Mode::empty())?.into())
}

/// Copies an open file into a sealed file in memory (memfd_create(2)), if it still is of this version. The copy cannot
/// change, so it is sent without another check.
///
/// # Errors
/// There is no descriptor or no memory for it, or the file is changing.
pub(crate) fn seal_copy(file: &File, version: &FileVersion) -> io::Result<Blob> {
    let len = version.len;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = memfd_create("docroot", flags)?;
    let mut copied = 0;
    while copied < len {
        let rest = usize::try_from(len - copied).map_err(io::Error::other)?;
        if sendfile(&copy, file, Some(&mut copied), rest)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    fcntl_add_seals(
        &copy,
        SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
    )?;
    if !version.is_unchanged(file)? {
        return Err(Errno::AGAIN.into());
    }
    let file = Arc::new(File::from(copy));
    Ok(Blob::Sealed { file, len })
}

/// Returns the bytes of content, read now if they are on disk.
///
/// # Errors
/// Errors of pread(2); `EAGAIN` for a file that has changed since it was found.
pub(crate) fn content_bytes(content: &Blob) -> io::Result<Cow<'_, [u8]>> {
    if let Some(bytes) = content.in_memory() {
        return Ok(bytes.into());
    }
    match content {
        Blob::File { file, version, .. } => match read_len(file, version.len)? {
            Some(bytes) if version.is_unchanged(file)? => Ok(bytes.into()),
            _ => Err(Errno::AGAIN.into()),
        },
        // (Content is not sealed before it is requested again.)
        Blob::Sealed { file, len } => match read_len(file, *len)? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(Errno::AGAIN.into()),
        },
        Blob::Static(_) | Blob::Memory(_) => Ok(Cow::default()),
    }
}

/// Returns whether a file was last changed more than [`STEADY_AFTER`] ago.
pub(crate) fn is_steady(version: &FileVersion, now: SystemTime) -> bool {
    let age = now.duration_since(version.changed);
    age.is_ok_and(|age| age > STEADY_AFTER)
}

/// Loads the content of a regular file, which was of this version just now: read into memory if it is small and does
/// not change meanwhile, left open if it is large.
fn load_content(file: File, mut source: FileSource, now: SystemTime) -> io::Result<OpenedEntry> {
    let mut last = None;
    for attempt in 1..=MAX_READS {
        let version = source.version;
        if version.len > MAX_IN_MEMORY_BYTES {
            // The file had a name when it was opened. Without one, it is being removed, and its change time is set a
            // little later.
            let links = version.links.max(1);
            let content = Blob::File {
                file: Arc::new(file),
                version: FileVersion { links, ..version },
                is_steady: is_steady(&version, now),
            };
            return Ok(OpenedEntry::File { content, source });
        }
        let content = read_len(&file, version.len)?;
        let after = FileVersion::after(&file, &version)?;
        let held_still = after.has_same_bytes_as(&version);
        // A write that goes on all the time has set the date at its beginning.
        let is_whole = version.is_settled(now) || content == last;
        // A log may have another length whenever it is looked at. What it had before is a version of it.
        let is_kept = |bytes: &Vec<u8>| match after.len > version.len && attempt >= MAX_ATTEMPTS {
            true => read_len(&file, version.len).map(|again| again.as_ref() == Some(bytes)),
            false => Ok(false),
        };
        match content {
            Some(bytes) if (held_still && is_whole) || is_kept(&bytes)? => {
                let content = bytes.into();
                return Ok(OpenedEntry::File { content, source });
            }
            content => last = content,
        }
        source.version = after;
    }
    Err(Errno::AGAIN.into())
}

fn read_whole(file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_WHOLE_FILE_BYTES as u64 + 1)
        .read_to_end(&mut text)?;
    match text.len() > MAX_WHOLE_FILE_BYTES {
        true => Err(io::Error::other("larger than 1 MiB")),
        false => Ok(text),
    }
}

/// Reads the first `len` bytes of a file; `None` if it is shorter by now.
fn read_len(file: &File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut content = Vec::with_capacity(len);
    while content.len() < len {
        let offset = content.len() as u64;
        let room = rustix::buffer::spare_capacity(&mut content);
        if rustix::io::pread(file, room, offset)? == 0 {
            return Ok(None);
        }
    }
    // (The capacity may be larger.)
    content.truncate(len);
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn file_opened_while_it_is_unlinked_keeps_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let source = FileSource {
            version: FileVersion::of(&file).unwrap(),
            has_no_symlink: true,
        };
        let found = load_content(file, source, SystemTime::now()).unwrap();
        let OpenedEntry::File { content, .. } = found else {
            panic!("{found:?}");
        };
        let Blob::File { file, version, .. } = content else {
            panic!("{content:?}");
        };
        // The kernel's clock for files has ticks.
        while FileVersion::of(&file).unwrap().changed == version.changed {
            let mode = file.metadata().unwrap().permissions();
            file.set_permissions(mode).unwrap();
        }
        assert!(FileVersion::of(&file).unwrap().has_same_bytes_as(&version));
    }

    #[test]
    fn read_rejects_a_shorter_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"12345").unwrap();
        let read = |len| read_len(&file, len).unwrap();
        assert_eq!(read(5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(4).as_deref(), Some(&b"1234"[..]));
        assert_eq!(read(0).as_deref(), Some(&b""[..]));
        assert_eq!(read(6), None);
    }

    /// A small log that is appended to all the time has another length at each attempt to read it.
    #[test]
    fn small_file_that_grows_is_read_as_it_was() {
        use std::sync::atomic::{AtomicBool, Ordering};
        use std::thread;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, [0; 20_000]).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = File::options().append(true).open(&path).unwrap();
                for number in 1..=20_000_u16 {
                    log.write_all(&number.to_le_bytes()).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let file = File::open(&path).unwrap();
                let source = FileSource {
                    version: FileVersion::of(&file).unwrap(),
                    has_no_symlink: true,
                };
                let found = load_content(file, source, SystemTime::now()).unwrap();
                let OpenedEntry::File { content, source } = found else {
                    panic!("{found:?}");
                };
                assert_eq!(content.len(), source.version.len);
            }
        });
    }
}
