//! Entries beneath the root: their kinds, metadata and versions, and the entries of a directory.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Stat, fstat, stat, statat, statfs};
use rustix::io::Errno;

use super::dir::{DIR_FLAGS, DirId, PATH_FLAGS, READ_FLAGS, dir_id, file_type};
use super::root::Root;
use crate::blob::{FileVersion, system_time};

/// Size of the buffer for directory entries, in bytes: 200 or 300 entries.
const DIR_BUFFER_BYTES: usize = 8 * 1024;

/// Kind of an entry, and the descriptor of a regular file.
#[derive(Debug)]
pub(crate) enum EntryDescriptor {
    File(File, FileSource),
    Directory,
    Special,
}

/// File that content was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSource {
    pub(crate) version: FileVersion,
    /// Whether its path is known to have no symbolic link.
    pub(crate) has_no_symlink: bool,
}

/// Directory that is open for reading its entries, once, from first to last.
#[derive(Debug)]
pub(crate) struct OpenDir {
    dir: OwnedFd,
    /// Path below the root.
    path: Vec<u8>,
}

/// Metadata of a file or directory, read without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryMetadata {
    pub(crate) is_dir: bool,
    /// Size of a file in bytes.
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

impl Root {
    /// Returns the kind of the entry at a path, and opens it if it is a regular file.
    ///
    /// # Errors
    /// Those of [`open_entry`](Self::open_entry).
    pub(crate) fn open_descriptor(&self, path: &[u8]) -> io::Result<EntryDescriptor> {
        // A process at the other end may notice that a FIFO or a device is opened to find out what it is. This stat
        // follows links anywhere, so its result only chooses the flags.
        let stat = statat(self.dir(), path, AtFlags::empty());
        let flags = match stat.map(|stat| file_type(&stat)) {
            Ok(FileType::RegularFile) | Err(_) => READ_FLAGS,
            Ok(FileType::Directory) => DIR_FLAGS,
            Ok(_) => PATH_FLAGS,
        };
        let (opened, is_direct) = self.open_beneath(path, flags)?;
        let opened = File::from(opened);
        let metadata = opened.metadata()?;
        Ok(match metadata.file_type() {
            kind if kind.is_file() && flags == READ_FLAGS => {
                let version = FileVersion::from(&metadata);
                EntryDescriptor::File(
                    opened,
                    FileSource {
                        version,
                        has_no_symlink: is_direct,
                    },
                )
            }
            kind if kind.is_dir() => EntryDescriptor::Directory,
            _ => EntryDescriptor::Special,
        })
    }

    /// Opens a directory below the root, or the root, to list and change its entries, if its path has no symbolic link.
    ///
    /// # Errors
    /// Errors of openat2(2).
    pub(crate) fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.open_nofollow(path, flags)?)
    }

    /// Opens a directory to read its entries.
    ///
    /// # Errors
    /// Those of [`open_entry`](Self::open_entry); `ENOTDIR` for other entries, `EACCES` for a directory that may not be
    /// read.
    pub(crate) fn read_dir(&self, path: &[u8]) -> io::Result<OpenDir> {
        let flags = READ_FLAGS.union(OFlags::DIRECTORY);
        let name = if path.is_empty() { b"." } else { path };
        let (dir, _) = self.open_beneath(name, flags)?;
        let path = path.to_vec();
        Ok(OpenDir { dir, path })
    }

    /// Opens a directory to read its entries, if its path has no symbolic link.
    ///
    /// # Errors
    /// Errors of openat2(2).
    pub(crate) fn read_dir_nofollow(&self, path: &[u8]) -> io::Result<OpenDir> {
        let dir = self.open_dir(path)?;
        let path = path.to_vec();
        Ok(OpenDir { dir, path })
    }

    /// Returns the metadata of an entry in a directory; `None` if it is neither a file nor a directory, or is behind a
    /// link that leads where none may.
    ///
    /// # Errors
    /// Errors of fstatat(2): the entry is gone, or may not be inspected.
    pub(crate) fn metadata(&self, dir: &OpenDir, name: &[u8]) -> io::Result<Option<EntryMetadata>> {
        let stat = statat(&dir.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if file_type(&stat) != FileType::Symlink {
            return Ok(entry_metadata(&stat));
        }
        let Ok((opened, _)) = self.open_beneath(&dir.child_path(name), PATH_FLAGS) else {
            return Ok(None);
        };
        Ok(entry_metadata(&fstat(&opened)?))
    }

    /// Returns the version of the regular file at a path; `None` for another entry. Nothing is opened for reading.
    ///
    /// # Errors
    /// Those of [`open_entry`](Self::open_entry).
    pub(crate) fn file_version(&self, path: &[u8]) -> io::Result<Option<FileVersion>> {
        let (follows_all, is_in_root) = (self.follows_all_symlinks(), !path.contains(&b'/'));
        if follows_all || is_in_root {
            let flags = match follows_all {
                true => AtFlags::empty(),
                false => AtFlags::SYMLINK_NOFOLLOW,
            };
            let stat = statat(self.dir(), path, flags)?;
            if file_type(&stat) != FileType::Symlink {
                return Ok(regular_file_version(&stat));
            }
        }
        // Any directory on the path may have become a link by now, and lead where none may.
        let (opened, _) = self.open_beneath(path, PATH_FLAGS)?;
        Ok(regular_file_version(&fstat(&opened)?))
    }

    /// Returns the type of the file system that a directory is on (statfs(2)), and its device.
    pub(crate) fn file_system(&self, path: &[u8]) -> io::Result<(i64, u64)> {
        let name = self.proc_path(path);
        Ok((statfs(&*name)?.f_type, stat(&*name)?.st_dev))
    }

    /// Returns whether a path has no entry, not even a dangling link.
    pub(crate) fn is_missing(&self, path: &[u8]) -> bool {
        matches!(self.stat_nofollow(path), Err(Errno::NOENT))
    }

    /// Returns whether the entry at a path is a symbolic link, wherever it leads.
    pub(crate) fn is_symlink(&self, path: &[u8]) -> bool {
        let stat = self.stat_nofollow(path);
        stat.is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
    }

    fn stat_nofollow(&self, path: &[u8]) -> Result<Stat, Errno> {
        statat(self.dir(), path, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Returns a path by which the kernel finds this path below the root, wherever the root was moved.
    pub(crate) fn proc_path(&self, path: &[u8]) -> Vec<u8> {
        let root = format!("/proc/self/fd/{}/", self.dir().as_raw_fd());
        [root.as_bytes(), path].concat()
    }
}

impl OpenDir {
    /// Returns the identity of the directory.
    ///
    /// # Errors
    /// Errors of fstat(2).
    pub(crate) fn id(&self) -> io::Result<DirId> {
        dir_id(&self.dir)
    }

    /// Returns a path by which the kernel finds the directory while it is open.
    pub(crate) fn proc_path(&self) -> Vec<u8> {
        format!("/proc/self/fd/{}/.", self.dir.as_raw_fd()).into()
    }

    /// Returns the path below the root of an entry in it.
    pub(crate) fn child_path(&self, name: &[u8]) -> Vec<u8> {
        join_path(&self.path, name)
    }

    /// Reads the next hundreds of entries. Reports the name of each that can be a file or a directory, and whether it
    /// is a directory, if that is known without stat(2). Returns whether there was any entry at all.
    ///
    /// # Errors
    /// Errors of getdents(2).
    pub(crate) fn read_entries(
        &mut self,
        mut report: impl FnMut(&[u8], Option<bool>),
    ) -> io::Result<bool> {
        let mut buffer = [const { MaybeUninit::uninit() }; DIR_BUFFER_BYTES];
        let mut entries = RawDir::new(&self.dir, &mut buffer);
        let mut has_any = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            has_any = true;
            match (entry.file_name().to_bytes(), entry.file_type()) {
                (b"." | b"..", _) => {}
                (name, FileType::Directory) => report(name, Some(true)),
                (name, FileType::RegularFile) => report(name, Some(false)),
                (name, FileType::Symlink | FileType::Unknown) => report(name, None),
                _ => {}
            }
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(has_any)
    }
}

/// Joins the path of a directory, empty for the root, and a name in it.
pub(crate) fn join_path(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}

fn entry_metadata(stat: &Stat) -> Option<EntryMetadata> {
    let is_dir = match file_type(stat) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    let FileVersion { len, modified, .. } = version(stat);
    Some(EntryMetadata {
        is_dir,
        len,
        modified,
    })
}

/// Returns the version of a regular file; `None` for another entry.
pub(crate) fn regular_file_version(stat: &Stat) -> Option<FileVersion> {
    let is_file = file_type(stat) == FileType::RegularFile;
    is_file.then(|| version(stat))
}

fn version(stat: &Stat) -> FileVersion {
    let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
    FileVersion {
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: system_time(stat.st_mtime, nanos(stat.st_mtime_nsec)),
        changed: system_time(stat.st_ctime, nanos(stat.st_ctime_nsec)),
        device: stat.st_dev,
        inode: stat.st_ino,
        links: stat.st_nlink,
    }
}
