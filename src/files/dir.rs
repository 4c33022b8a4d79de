//! Directory that is held open, and paths opened beneath it: by openat2(2), or component by component.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, stat};
use rustix::io::Errno;

use super::error::with_permissions;
use crate::path::split_path;

/// Attempts at a lookup that is disturbed by concurrent changes.
pub(super) const MAX_ATTEMPTS: usize = 4;

/// Flags that open a file for reading, without blocking on a FIFO, and without making a terminal the controlling one.
pub(super) const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Flags that locate a file without opening it.
pub(super) const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

pub(super) const DIR_FLAGS: OFlags = PATH_FLAGS.union(OFlags::DIRECTORY);

/// Directory that is held open.
#[derive(Debug)]
pub(super) struct RootDir {
    /// Path as configured, made absolute.
    pub(super) configured_path: PathBuf,
    pub(super) dir: OwnedFd,
    /// Path without symbolic links.
    pub(super) real_path: PathBuf,
    pub(super) id: DirId,
}

/// Identity of a directory, whatever its name: device and inode.
pub(crate) type DirId = (u64, u64);

/// Mechanism by which no path leads out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathResolver {
    /// The kernel: openat2(2) with RESOLVE_BENEATH.
    Openat2,
    /// docroot, component by component, where the kernel or a container's seccomp filter has no openat2.
    ComponentWalk,
}

impl RootDir {
    pub(super) fn open(name: &Path) -> io::Result<Self> {
        let open = || {
            // Resolve first, then open the result: the name may be given to another directory in between.
            let path = name.canonicalize()?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = openat(CWD, &path, flags, Mode::empty())?;
            Ok(Self {
                configured_path: std::path::absolute(name)?,
                id: dir_id(&dir)?,
                dir,
                real_path: path,
            })
        };
        open().map_err(|error| with_permissions(name, error))
    }

    /// Returns the mechanism that this system has to open paths beneath the directory.
    ///
    /// # Errors
    /// The directory may not be searched.
    pub(super) fn find_resolver(&self) -> io::Result<PathResolver> {
        let (mode, beneath) = (Mode::empty(), ResolveFlags::BENEATH);
        match openat2(&self.dir, ".", DIR_FLAGS, mode, beneath) {
            Ok(_) => Ok(PathResolver::Openat2),
            Err(Errno::NOSYS | Errno::PERM) => Ok(PathResolver::ComponentWalk),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the directory that the configured path leads to by now, if that is another one.
    ///
    /// # Errors
    /// There is no such directory at the moment, or it may not be read.
    pub(super) fn reopen_if_changed(&self) -> io::Result<Option<Self>> {
        let now = stat(&self.configured_path)?;
        match (now.st_dev, now.st_ino) == self.id {
            true => Ok(None),
            false => Self::open(&self.configured_path).map(Some),
        }
    }

    /// Opens a path without symbolic links. For a link the error is `ELOOP` or `ENOTDIR`.
    pub(super) fn open_beneath(
        &self,
        path: &[u8],
        flags: OFlags,
        resolver: PathResolver,
    ) -> Result<OwnedFd, Errno> {
        match resolver {
            PathResolver::ComponentWalk => self.open_by_component(path, flags),
            PathResolver::Openat2 => {
                let no_links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                self.open_by_kernel(path, flags, no_links)
            }
        }
    }

    pub(super) fn open_by_kernel(
        &self,
        path: &[u8],
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let open = || openat2(&self.dir, path, flags, Mode::empty(), resolve);
        // EAGAIN: something was renamed, anywhere on the machine, while the kernel followed `..` (openat2(2)).
        let mut opened = open();
        for _ in 1..MAX_ATTEMPTS {
            if opened.as_ref().err() != Some(&Errno::AGAIN) {
                break;
            }
            opened = open();
        }
        opened
    }

    fn open_by_component(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let (parents, name) = split_path(path);
        let mut dir = None;
        for name in parents
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            let parent = dir.as_ref().unwrap_or(&self.dir);
            dir = Some(open_component(parent, name, DIR_FLAGS)?);
        }
        open_component(dir.as_ref().unwrap_or(&self.dir), name, flags)
    }
}

pub(super) fn dir_id(dir: &OwnedFd) -> io::Result<DirId> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens one path component, which must be neither `..` nor a symbolic link.
fn open_component(dir: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." || name.contains(&b'/') {
        return Err(Errno::XDEV);
    }
    let opened = openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    // O_PATH with O_NOFOLLOW opens a link itself.
    if flags == PATH_FLAGS && file_type(&fstat(&opened)?) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}
