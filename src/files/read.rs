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
        Blob::File { file, version, .. } => match read_exact_len(file, version.len)? {
            Some(bytes) if version.is_unchanged(file)? => Ok(bytes.into()),
            _ => Err(Errno::AGAIN.into()),
        },
        // (Content is not sealed before it is requested again.)
        Blob::Sealed { file, len } => match read_exact_len(file, *len)? {
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
    for _ in 0..MAX_ATTEMPTS {
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
        let content = read_exact_len(&file, version.len)?;
        let after = FileVersion::after(&file, &version)?;
        let held_still = after.has_same_bytes_as(&version);
        // A write that goes on all the time has set the date at its beginning.
        let is_whole = version.is_settled(now) || content == last;
        match content {
            Some(bytes) if held_still && is_whole => {
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

/// Reads a file that is `len` bytes long; `None` if its length is another one by now.
fn read_exact_len(file: &File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    // Room for one byte more, so that the same call tells whether the file has grown.
    let mut content = Vec::with_capacity(len + 1);
    loop {
        let offset = content.len() as u64;
        let room = rustix::buffer::spare_capacity(&mut content);
        let count = rustix::io::pread(file, room, offset)?;
        if count == 0 || content.len() > len {
            return Ok((content.len() == len).then_some(content));
        }
        if content.len() == len {
            return Ok(Some(content));
        }
    }
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
    fn read_rejects_a_file_of_another_length() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"12345").unwrap();
        assert_eq!(
            read_exact_len(&file, 5).unwrap().as_deref(),
            Some(&b"12345"[..])
        );
        assert_eq!(read_exact_len(&file, 4).unwrap(), None);
        assert_eq!(read_exact_len(&file, 6).unwrap(), None);
    }
}
