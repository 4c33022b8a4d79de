//! The only door to the file system: open beneath the root, look, read.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2};
use rustix::io::Errno;

use crate::blob::Blob;

/// Bytes of a file up to which it is read into memory and sent with its head in one call. Larger
/// ones stay on disk and are sent by the kernel.
const IN_MEMORY: u64 = 64 * 1024;

/// How often a look-up is tried that a concurrent change has thwarted.
const TRIES: usize = 4;

/// Without blocking on a FIFO, without a terminal becoming ours.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A folder, out of which no name leads.
#[derive(Debug)]
pub struct Disk {
    root: OwnedFd,
    resolution: Resolution,
}

/// Who sees to it that a name does not lead out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The kernel: openat2(2) with RESOLVE_BENEATH. Symbolic links are followed inside the root.
    Beneath,
    /// We do, component by component, where the kernel or a container's seccomp filter has no
    /// openat2. No symbolic link is followed.
    Walk,
}

/// What is under a name.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file.
    File {
        content: Blob,
        /// Its modification time, to the nanosecond.
        modified: SystemTime,
    },
    Directory,
    /// A FIFO, a socket, a device.
    Special,
}

impl Disk {
    /// Opens a root folder, and finds out how it can be guarded. Later changes of what `root`
    /// names do not matter: the folder itself is held open.
    ///
    /// # Errors
    /// What open(2) says: no such folder, not a folder, not ours to read.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags, Mode::empty())?;
        let probed = openat2(&root, ".", FOLDER, Mode::empty(), ResolveFlags::BENEATH);
        let resolution = match probed {
            Err(Errno::NOSYS | Errno::PERM) => Resolution::Walk,
            probed => {
                probed?;
                Resolution::Beneath
            }
        };
        Ok(Self { root, resolution })
    }

    /// Who guards the root.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// Looks up a path below the root: no slash at either end, no `.` or `..`, as
    /// [`Target`](crate::http::Target) has it. Whatever it is, this does not wait for it; but it is
    /// opened to find out, which a FIFO's writer, or a device, may notice.
    ///
    /// # Errors
    /// What openat2(2), fstat(2) and read(2) say; `EXDEV` for what leads out of the root, `ELOOP`
    /// for a symbolic link where none is followed, `EAGAIN` for a file that does not hold still.
    pub(super) fn look(&self, path: &[u8]) -> io::Result<Entry> {
        let file = match self.open_beneath(path, READ) {
            // A folder may be one to pass through and not to read.
            Err(Errno::ACCESS) if self.is_folder(path) => return Ok(Entry::Directory),
            opened => File::from(opened?),
        };
        for _ in 0..TRIES {
            let stat = fstat(&file)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {}
                FileType::Directory => return Ok(Entry::Directory),
                _ => return Ok(Entry::Special),
            }
            let len = u64::try_from(stat.st_size).unwrap_or(0);
            let modified = modified(&stat);
            if len > IN_MEMORY {
                let content = Blob::File {
                    file: Arc::new(file),
                    len,
                };
                return Ok(Entry::File { content, modified });
            }
            if let Some(content) = read(&file, len)? {
                return Ok(Entry::File {
                    content: content.into(),
                    modified,
                });
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        self.open_beneath(path, FOLDER).is_ok()
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        match self.resolution {
            Resolution::Walk => self.walk(path, flags),
            Resolution::Beneath => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                let open = || openat2(&self.root, path, flags, Mode::empty(), resolve);
                // EAGAIN: something was renamed while `..` was followed (openat2(2)).
                let mut opened = open();
                for _ in 1..TRIES {
                    if opened.as_ref().err() != Some(&Errno::AGAIN) {
                        break;
                    }
                    opened = open();
                }
                opened
            }
        }
    }

    fn walk(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let (folders, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let mut folder = None;
        for name in folders
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let parent = folder.as_ref().unwrap_or(&self.root);
            folder = Some(step(parent, name, FOLDER)?);
        }
        step(folder.as_ref().unwrap_or(&self.root), name, flags)
    }
}

/// One component, which must be no way up and no symbolic link.
fn step(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." || name.contains(&b'/') {
        return Err(Errno::XDEV);
    }
    openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Reads a file that is `len` bytes long; `None` if it is not, any more.
fn read(file: &File, len: u64) -> io::Result<Option<Vec<u8>>> {
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

fn modified(stat: &Stat) -> SystemTime {
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let second = match stat.st_mtime < 0 {
        true => UNIX_EPOCH.checked_sub(seconds),
        false => UNIX_EPOCH.checked_add(seconds),
    };
    let nanos = Duration::from_nanos(stat.st_mtime_nsec);
    second
        .and_then(|second| second.checked_add(nanos))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{FileType, mknodat};

    use super::*;

    fn root() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("folder/inner")).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        fs::write(root.join("file"), "content").unwrap();
        fs::write(root.join("folder/inner/deep"), "deep").unwrap();
        fs::write(root.join("empty"), "").unwrap();
        fs::write(root.join("large"), vec![7; 100_000]).unwrap();
        symlink("folder/inner", root.join("inside")).unwrap();
        symlink("../secret", root.join("outside")).unwrap();
        symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
        symlink("/proc/self/fd", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        UnixListener::bind(root.join("socket")).unwrap();
        outer
    }

    /// What is found with and without openat2.
    fn check(path: &str, beneath: &str, walk: &str) {
        let outer = root();
        for (resolution, expected) in [(Resolution::Beneath, beneath), (Resolution::Walk, walk)] {
            let mut disk = Disk::open(&outer.path().join("root")).unwrap();
            disk.resolution = resolution;
            let found = match disk.look(path.as_bytes()) {
                Ok(Entry::File { content, .. }) => match content.in_memory() {
                    Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    None => format!("{} bytes", content.len()),
                },
                Ok(Entry::Directory) => "directory".into(),
                Ok(Entry::Special) => "special".into(),
                Err(error) => format!("{:?}", Errno::from_io_error(&error).unwrap()),
            };
            let expected = match expected {
                "ENOENT" => format!("{:?}", Errno::NOENT),
                "ENOTDIR" => format!("{:?}", Errno::NOTDIR),
                "ELOOP" => format!("{:?}", Errno::LOOP),
                "EXDEV" => format!("{:?}", Errno::XDEV),
                "ENXIO" => format!("{:?}", Errno::NXIO),
                "ENAMETOOLONG" => format!("{:?}", Errno::NAMETOOLONG),
                other => other.to_owned(),
            };
            assert_eq!(found, expected, "{path} by {resolution:?}");
        }
    }

    #[test]
    fn what_is_inside_is_found() {
        check("file", "content", "content");
        check("empty", "", "");
        check("large", "100000 bytes", "100000 bytes");
        check("folder", "directory", "directory");
        check("folder/inner/deep", "deep", "deep");
        check("nothing", "ENOENT", "ENOENT");
        check("file/deeper", "ENOTDIR", "ENOTDIR");
        check(&"x".repeat(300), "ENAMETOOLONG", "ENAMETOOLONG");
    }

    #[test]
    fn links_are_followed_inside_or_not_at_all() {
        check("inside/deep", "deep", "ENOTDIR");
        check("loop", "ELOOP", "ELOOP");
    }

    #[test]
    fn nothing_outside_is_found() {
        check("outside", "EXDEV", "ELOOP");
        check("absolute", "EXDEV", "ELOOP");
        check("magic/0", "EXDEV", "ENOTDIR");
        check("../secret", "EXDEV", "EXDEV");
        check("folder/../../secret", "EXDEV", "EXDEV");
        check("/etc/passwd", "EXDEV", "ENOENT");
    }

    #[test]
    fn special_files_are_not_opened_into() {
        check("fifo", "special", "special");
        check("socket", "ENXIO", "ENXIO");
    }

    #[test]
    fn a_file_of_another_length_is_read_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"12345").unwrap();
        assert_eq!(read(&file, 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(&file, 4).unwrap(), None);
        assert_eq!(read(&file, 6).unwrap(), None);
    }

    #[test]
    fn times_before_the_epoch_are_times() {
        let file = tempfile::tempfile().unwrap();
        let time = UNIX_EPOCH - Duration::from_millis(1500);
        file.set_modified(time).unwrap();
        assert_eq!(modified(&fstat(&file).unwrap()), time);
    }
}
