//! `Root`: opens, inspects and reads files beneath the root directory, for all code that reads the file system.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, FileType, MemfdFlags, Mode, OFlags, RawDir, ResolveFlags, SealFlags, Stat,
    fcntl_add_seals, fstat, memfd_create, openat, openat2, sendfile, stat, statat, statfs,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::path_resolution::{self, resolve};
use crate::blob::{Blob, FileVersion, system_time};
use crate::path::split_path;

/// Size in bytes up to which a file is read into memory and sent in one call with its header section. The kernel sends
/// larger files from disk.
const MAX_IN_MEMORY_BYTES: u64 = 64 * 1024;

/// Size in bytes up to which a file is cached, and copied into memory when it is requested again. The copy is made
/// between two responses, so it is no larger than the share of one client in a turn of the event loop. A larger
/// file is opened in each turn of the event loop, which costs little beside sending it, and is not held open longer.
pub(crate) const MAX_CACHED_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Maximum size in bytes of a file that is read whole.
pub(crate) const MAX_WHOLE_FILE_BYTES: usize = 1 << 20;

/// Time without a change after which a file counts as steady. A process that writes a file, or copies one over another,
/// does not pause that long.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Attempts at a lookup that is disturbed by concurrent changes.
const MAX_ATTEMPTS: usize = 4;

/// Flags that open a file for reading, without blocking on a FIFO, and without making a terminal the controlling one.
const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Flags that locate a file without opening it.
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Size of the buffer for directory entries, in bytes: 200 or 300 entries.
const DIR_BUFFER_BYTES: usize = 8 * 1024;

const DIR_FLAGS: OFlags = PATH_FLAGS.union(OFlags::DIRECTORY);

/// Root directory. No path leads out of it, except by a symbolic link that may.
#[derive(Debug)]
pub struct Root {
    root_dir: Arc<RootDir>,
    symlinks: OpenSymlinks,
    resolver: PathResolver,
}

/// Limit on where symbolic links below the root may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// Inside the root, or into one of these directories.
    Inside(Vec<PathBuf>),
    /// Nowhere: no link is followed.
    Deny,
    /// Anywhere: every link is followed.
    Follow,
}

/// [`Symlinks`] with its directories open.
#[derive(Debug)]
enum OpenSymlinks {
    Inside(Vec<Arc<RootDir>>),
    Deny,
    Follow,
}

/// Directory that is held open.
#[derive(Debug)]
struct RootDir {
    /// Path as configured, made absolute.
    configured_path: PathBuf,
    dir: OwnedFd,
    /// Path without symbolic links.
    real_path: PathBuf,
    id: DirId,
}

/// Identity of a directory, whatever its name: device and inode.
pub(crate) type DirId = (u64, u64);

/// Path that leads to no directory that can be opened, and the error.
pub(crate) type UnavailableDir = (PathBuf, io::Error);

/// Mechanism by which no path leads out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathResolver {
    /// The kernel: openat2(2) with RESOLVE_BENEATH.
    Openat2,
    /// docroot, component by component, where the kernel or a container's seccomp filter has no openat2.
    ComponentWalk,
}

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

/// Symbolic link and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// Path below the root.
    pub path: PathBuf,
    /// Target, as the link states it.
    pub target: PathBuf,
}

/// Step of the resolution of a directory's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootPathStep {
    /// Directory, and the type of its file system (statfs(2)), if it exists.
    Dir(PathBuf, Option<i64>),
    /// Symbolic link.
    Symlink(PathBuf),
}

impl RootPathStep {
    /// Returns the path of the directory or link.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Dir(path, _) | Self::Symlink(path) => path,
        }
    }
}

impl Default for Symlinks {
    /// Inside the root, and nowhere else.
    fn default() -> Self {
        Self::Inside(Vec::new())
    }
}

impl Root {
    /// Opens a root directory and chooses the resolver. The directory itself is held open, whatever its name leads to
    /// later (`reopen_if_changed`); only absolute links into it are resolved by its name.
    ///
    /// # Errors
    /// The path that could not be opened, `root` or one where links may lead, and the error of open(2): it does not
    /// exist, is not a directory, or may not be read. `Unsupported` if every link is to be followed without openat2.
    pub fn open(root: &Path, symlinks: &Symlinks) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| match RootDir::open(path) {
            Ok(dir) => Ok(Arc::new(dir)),
            Err(error) => Err((path.clone(), error)),
        };
        let root_dir = open(&root.to_owned())?;
        let links = match symlinks {
            Symlinks::Deny => OpenSymlinks::Deny,
            Symlinks::Follow => OpenSymlinks::Follow,
            Symlinks::Inside(others) => {
                OpenSymlinks::Inside(others.iter().map(open).collect::<Result<_, _>>()?)
            }
        };
        let (mode, beneath) = (Mode::empty(), ResolveFlags::BENEATH);
        let resolver = match openat2(&root_dir.dir, ".", DIR_FLAGS, mode, beneath) {
            Err(Errno::NOSYS | Errno::PERM) if matches!(links, OpenSymlinks::Follow) => {
                // Links in /proc may lead to files without a name, and only openat2 recognizes them.
                let why = "--symlinks follow needs openat2 (Linux 5.6), which is missing";
                return Err((
                    root.to_owned(),
                    io::Error::new(io::ErrorKind::Unsupported, why),
                ));
            }
            Err(Errno::NOSYS | Errno::PERM) => PathResolver::ComponentWalk,
            Err(error) => return Err((root.to_owned(), with_permissions(root, error.into()))),
            Ok(_) => PathResolver::Openat2,
        };
        Ok(Self {
            root_dir,
            symlinks: links,
            resolver,
        })
    }

    /// Reopens the directories whose paths lead elsewhere by now: the root, and the others that links may lead to.
    /// Returns the new root, if any has changed, and the paths that cannot be opened. For these, the previous directory
    /// stays.
    pub(crate) fn reopen_if_changed(&self) -> (Option<Self>, Vec<UnavailableDir>) {
        let mut unavailable = Vec::new();
        let mut now = |dir: &Arc<RootDir>| match dir.reopen_if_changed() {
            Ok(None) => dir.clone(),
            Ok(Some(other)) => Arc::new(other),
            Err(error) => {
                unavailable.push((dir.configured_path.clone(), error));
                dir.clone()
            }
        };
        let reopened = Self {
            root_dir: now(&self.root_dir),
            symlinks: match &self.symlinks {
                OpenSymlinks::Inside(others) => {
                    OpenSymlinks::Inside(others.iter().map(now).collect())
                }
                OpenSymlinks::Deny => OpenSymlinks::Deny,
                OpenSymlinks::Follow => OpenSymlinks::Follow,
            },
            resolver: self.resolver,
        };
        let is_another = reopened.changed_dirs(self).next().is_some();
        (is_another.then_some(reopened), unavailable)
    }

    /// Returns the configured paths that led to other directories `before`, each with its real path.
    pub(crate) fn changed_dirs(&self, before: &Self) -> impl Iterator<Item = (&Path, &Path)> {
        let dirs = self.dirs().zip(before.dirs());
        let others = dirs.filter(|(dir, before)| dir.id != before.id);
        others.map(|(dir, _)| (&*dir.configured_path, &*dir.real_path))
    }

    /// Returns the root's path as configured, made absolute.
    pub(crate) fn configured_path(&self) -> &Path {
        &self.root_dir.configured_path
    }

    /// Returns the real path, without symbolic links, of the directory with this configured path.
    pub(crate) fn real_path_of<'a>(&'a self, name: &'a Path) -> &'a Path {
        let mut dirs = self.dirs();
        let dir = dirs.find(|dir| dir.configured_path == name);
        dir.map_or(name, |dir| &*dir.real_path)
    }

    /// Returns the root, and the other directories that links may lead to.
    fn dirs(&self) -> impl Iterator<Item = &Arc<RootDir>> {
        let others = match &self.symlinks {
            OpenSymlinks::Inside(others) => others.as_slice(),
            OpenSymlinks::Deny | OpenSymlinks::Follow => &[],
        };
        std::iter::once(&self.root_dir).chain(others)
    }

    /// Returns the identity of the root directory.
    pub(crate) fn id(&self) -> DirId {
        self.root_dir.id
    }

    /// Returns whether both have the same root directory.
    pub(crate) fn is_same_dir(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// Returns the root's real path, without symbolic links. It is valid until the name is given to another directory.
    pub(crate) fn real_path(&self) -> &Path {
        &self.root_dir.real_path
    }

    /// Returns the directories and symbolic links on the way from `/` to the root directory, each link after the
    /// directory that it is in; and the same for each other directory that links may lead to.
    pub(crate) fn path_steps(&self) -> Vec<Vec<RootPathStep>> {
        self.dirs()
            .map(|dir| path_steps_to(&dir.configured_path))
            .collect()
    }

    /// Returns the mechanism by which no path leads out of the root.
    #[must_use]
    pub fn resolver(&self) -> PathResolver {
        self.resolver
    }

    /// Opens the entry at a path below the root, at the time `now`. The path has no slash at either end, and no `.` or
    /// `..`, as [`Target`](crate::http::Target) ensures. Only regular files and directories are opened, so nothing
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

    /// Returns the kind of the entry at a path, and opens it if it is a regular file.
    ///
    /// # Errors
    /// Those of [`open_entry`](Self::open_entry).
    pub(crate) fn open_descriptor(&self, path: &[u8]) -> io::Result<EntryDescriptor> {
        // A process at the other end may notice that a FIFO or a device is opened to find out what it is. This stat
        // follows links anywhere, so its result only chooses the flags.
        let stat = statat(&self.root_dir.dir, path, AtFlags::empty());
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
        Ok(self.root_dir.open_beneath(path, flags, self.resolver)?)
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

    /// Returns a path by which the kernel finds this path below the root, wherever the root was moved.
    pub(crate) fn proc_path(&self, path: &[u8]) -> Vec<u8> {
        let root = format!("/proc/self/fd/{}/", self.root_dir.dir.as_raw_fd());
        [root.as_bytes(), path].concat()
    }

    /// Opens the list of mounts, whose changes poll(2) reports (proc_pid_mountinfo(5)).
    pub(crate) fn open_mountinfo() -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?)
    }

    /// Returns the symbolic link on this path that leads where none may; `None` if there is none any more.
    pub(crate) fn offending_link(&self, path: &[u8]) -> Option<Symlink> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root_dir.real_path.clone();
        for (depth, name) in path.iter().enumerate() {
            full.push(name);
            let target = match full.read_link() {
                Ok(target) => target,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => continue,
                // The rest of the path does not exist, or cannot be reached.
                Err(_) => return None,
            };
            let is_outside = || {
                full.canonicalize()
                    .is_ok_and(|real| self.dir_containing(&real).is_none())
            };
            if matches!(self.symlinks, OpenSymlinks::Deny) || is_outside() {
                let path = path.iter().take(depth + 1).collect();
                return Some(Symlink { path, target });
            }
        }
        None
    }

    /// Returns the symbolic links on this path, in order.
    pub(crate) fn symlinks_on(&self, path: &[u8]) -> Vec<Symlink> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root_dir.real_path.clone();
        let link = |(depth, name): (usize, &OsStr)| {
            full.push(name);
            let target = full.read_link().ok()?;
            let path = path.iter().take(depth + 1).collect();
            Some(Symlink { path, target })
        };
        path.iter().enumerate().filter_map(link).collect()
    }

    /// Opens a path. Returns also whether it is known to have no symbolic link.
    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<(OwnedFd, bool), Errno> {
        let direct = self.root_dir.open_beneath(path, flags, self.resolver);
        let opened = match (direct, &self.symlinks, self.resolver) {
            (Ok(opened), ..) => return Ok((opened, true)),
            (Err(Errno::LOOP), OpenSymlinks::Follow, _) => {
                self.root_dir
                    .open_with_openat2(path, flags, ResolveFlags::NO_MAGICLINKS)
            }
            (Err(Errno::LOOP), OpenSymlinks::Inside(_), PathResolver::Openat2) => {
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match self.root_dir.open_with_openat2(path, flags, inside) {
                    // The kernel returns XDEV for a link that leads out, and for every absolute one; AGAIN while a
                    // program renames files without a pause.
                    Err(Errno::XDEV | Errno::AGAIN) => self.open_through_symlinks(path, flags),
                    opened => opened,
                }
            }
            // The component walk fails like this at any link.
            (
                Err(Errno::LOOP | Errno::NOTDIR),
                OpenSymlinks::Inside(_),
                PathResolver::ComponentWalk,
            ) => self.open_through_symlinks(path, flags),
            (Err(Errno::LOOP | Errno::NOTDIR), OpenSymlinks::Deny, _)
                if self.offending_link(path).is_some() =>
            {
                Err(Errno::XDEV)
            }
            (opened, ..) => opened,
        };
        opened.map(|opened| (opened, false))
    }

    /// Returns the version of the regular file at a path; `None` for another entry. Nothing is opened for reading.
    ///
    /// # Errors
    /// Those of [`open_entry`](Self::open_entry).
    pub(crate) fn file_version(&self, path: &[u8]) -> io::Result<Option<FileVersion>> {
        let (follows_all, is_in_root) = (
            matches!(self.symlinks, OpenSymlinks::Follow),
            !path.contains(&b'/'),
        );
        if follows_all || is_in_root {
            let flags = match follows_all {
                true => AtFlags::empty(),
                false => AtFlags::SYMLINK_NOFOLLOW,
            };
            let stat = statat(&self.root_dir.dir, path, flags)?;
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
        let stat = statat(&self.root_dir.dir, path, AtFlags::SYMLINK_NOFOLLOW);
        matches!(stat, Err(Errno::NOENT))
    }

    /// Returns whether the entry at a path is a symbolic link, wherever it leads.
    pub(crate) fn is_symlink(&self, path: &[u8]) -> bool {
        let stat = statat(&self.root_dir.dir, path, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
    }

    /// Opens the real path of a path with symbolic links, if links may lead there. The real path may be outdated
    /// already, so no link is followed when it is opened.
    fn open_through_symlinks(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        // A link that leads out is refused even if the rest of the path leads in again.
        if self.offending_link(path).is_some() {
            return Err(Errno::XDEV);
        }
        let full = self.root_dir.real_path.join(OsStr::from_bytes(path));
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..MAX_ATTEMPTS {
            let real = full.canonicalize();
            let real = real.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let dir = self.dir_containing(&real).ok_or(Errno::XDEV)?;
            let relative = real.strip_prefix(&dir.real_path).unwrap_or(&real);
            opened = match relative.as_os_str().as_bytes() {
                b"" => dir.open_beneath(b".", flags, self.resolver),
                relative => dir.open_beneath(relative, flags, self.resolver),
            };
            if opened.as_ref().err() != Some(&Errno::LOOP) {
                break;
            }
        }
        opened
    }

    /// Returns the directory, of those where links may lead, that contains this real path.
    fn dir_containing(&self, real: &Path) -> Option<&Arc<RootDir>> {
        self.dirs().find(|dir| real.starts_with(&dir.real_path))
    }
}

/// Kind of an entry, and the descriptor of a regular file.
#[derive(Debug)]
pub(crate) enum EntryDescriptor {
    File(File, FileSource),
    Directory,
    Special,
}

/// Adds to a permission error of open(2) the directory that denies access, and the user that is denied.
fn with_permissions(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // The deepest directory that can be inspected is the one that denies access: with permission to search it, its
    // entries could be inspected as well.
    let stat_dir = |dir| Some((dir, stat(dir).ok()?));
    let Some((dir, stat)) = path.ancestors().find_map(stat_dir) else {
        return error;
    };
    let why = format!(
        "{error}: {} is of uid {}, gid {}, mode {:04o}, and this is uid {}, gid {}",
        dir.display(),
        stat.st_uid,
        stat.st_gid,
        stat.st_mode & 0o7777,
        geteuid().as_raw(),
        getegid().as_raw(),
    );
    io::Error::new(error.kind(), why)
}

impl RootDir {
    fn open(name: &Path) -> io::Result<Self> {
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

    /// Opens the directory that the configured path leads to by now, if that is another one.
    ///
    /// # Errors
    /// There is no such directory at the moment, or it may not be read.
    fn reopen_if_changed(&self) -> io::Result<Option<Self>> {
        let now = stat(&self.configured_path)?;
        match (now.st_dev, now.st_ino) == self.id {
            true => Ok(None),
            false => Self::open(&self.configured_path).map(Some),
        }
    }

    /// Opens a path without symbolic links. For a link the error is `ELOOP` or `ENOTDIR`.
    fn open_beneath(
        &self,
        path: &[u8],
        flags: OFlags,
        resolver: PathResolver,
    ) -> Result<OwnedFd, Errno> {
        match resolver {
            PathResolver::ComponentWalk => self.open_by_component(path, flags),
            PathResolver::Openat2 => {
                let no_links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                self.open_with_openat2(path, flags, no_links)
            }
        }
    }

    fn open_with_openat2(
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

fn dir_id(dir: &OwnedFd) -> io::Result<DirId> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns the directories and symbolic links on the way from `/` to where a path leads.
fn path_steps_to(name: &Path) -> Vec<RootPathStep> {
    let steps = resolve(name, path_resolution::read_link).steps.into_iter();
    let steps = steps.map(|step| match step {
        path_resolution::PathStep::Symlink(path, _) => RootPathStep::Symlink(path),
        path_resolution::PathStep::Plain(path) => {
            let kind = statfs(&path).ok().map(|volume| volume.f_type);
            RootPathStep::Dir(path, kind)
        }
    });
    steps.collect()
}

/// Joins the path of a directory, empty for the root, and a name in it.
pub(crate) fn join_path(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
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

/// Reads a rules file, which may be anywhere.
///
/// # Errors
/// Errors of open(2) and read(2); the file is too large, or not a regular file.
pub(crate) fn read_whole_file(file: &Path) -> io::Result<Vec<u8>> {
    read_whole(openat(CWD, file, READ_FLAGS, Mode::empty())?.into())
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

impl Root {
    /// Reads a file directly in the root, which may be a symbolic link to anywhere. The root is this directory,
    /// whatever has its name by now.
    ///
    /// # Errors
    /// Those of [`read_whole_file`].
    pub(crate) fn read_whole_file(&self, name: &Path) -> io::Result<Vec<u8>> {
        read_whole(openat(&self.root_dir.dir, name, READ_FLAGS, Mode::empty())?.into())
    }
}

/// Returns the real paths of a file: its name in the directory in which it was named, and, if that is a symbolic link,
/// the path where it leads; both without other links.
pub(crate) fn resolved_paths(file: &Path) -> impl Iterator<Item = PathBuf> {
    let dir = match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Some(Path::new(".")),
        dir => dir,
    };
    let dir = dir.and_then(|dir| dir.canonicalize().ok());
    let named = dir.zip(file.file_name()).map(|(dir, name)| dir.join(name));
    let real = file.canonicalize().ok();
    named.into_iter().chain(real)
}

/// Whether an error means that no file is there. That includes names that no file can have, and sockets and devices
/// that cannot be opened.
pub(crate) fn is_not_found(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::LOOP
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV,
        )
    )
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
    if !FileVersion::after(file, version)?.has_same_bytes_as(version) {
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
            Some(bytes) if FileVersion::after(file, version)?.has_same_bytes_as(version) => {
                Ok(bytes.into())
            }
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

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn entry_metadata(stat: &Stat) -> Option<EntryMetadata> {
    let is_dir = match file_type(stat) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Some(EntryMetadata {
        is_dir,
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: system_time(stat.st_mtime, nanos),
    })
}

pub(crate) fn regular_file_version(stat: &Stat) -> Option<FileVersion> {
    let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
    let is_file = file_type(stat) == FileType::RegularFile;
    is_file.then(|| FileVersion {
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: system_time(stat.st_mtime, nanos(stat.st_mtime_nsec)),
        changed: system_time(stat.st_ctime, nanos(stat.st_ctime_nsec)),
        device: stat.st_dev,
        inode: stat.st_ino,
        links: stat.st_nlink,
    })
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
        for dir in ["other", "other-too"] {
            fs::create_dir(outer.path().join(dir)).unwrap();
            fs::write(outer.path().join(dir).join("thing"), "thing").unwrap();
        }
        let real = outer.path().canonicalize().unwrap();
        let link = |name: &str, target: &str| symlink(target, root.join(name)).unwrap();
        let absolute = |name, target| symlink(real.join(target), root.join(name)).unwrap();
        link("inside", "folder/inner");
        link("twice", "inside");
        link("back", "folder/../inside/../inner");
        link("itself", ".");
        absolute("absolute inside", "root/folder/inner");
        link("outside", "../secret");
        absolute("absolute", "secret");
        link("folder/inner/out", "../../../secret");
        link("elsewhere", "../other");
        absolute("absolute elsewhere", "other");
        link("neighbour", "../other-too/thing");
        absolute("../other/in", "root/file");
        absolute("../other/out", "secret");
        let fifo = outer.path().join("fifo");
        mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        link("outer fifo", "../fifo");
        link("upward", "..");
        link("magic", "/proc/self/root");
        link("loop", "loop");
        link("dangling", "nowhere");
        mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        UnixListener::bind(root.join("socket")).unwrap();
        outer
    }

    /// Checks the result of opening a path, with and without openat2.
    fn check_with(links: &str, path: &str, expected: &str) {
        let outer = root();
        let symlinks = match links {
            "inside" => Symlinks::Inside(Vec::new()),
            "other" => Symlinks::Inside(vec![outer.path().join("other")]),
            "deny" => Symlinks::Deny,
            _ => Symlinks::Follow,
        };
        for resolver in [PathResolver::Openat2, PathResolver::ComponentWalk] {
            if (&symlinks, resolver) == (&Symlinks::Follow, PathResolver::ComponentWalk) {
                continue;
            }
            let mut root = Root::open(&outer.path().join("root"), &symlinks).unwrap();
            root.resolver = resolver;
            let found = match root.open_entry(path.as_bytes(), SystemTime::now()) {
                Ok(OpenedEntry::File { content, .. }) => match content.in_memory() {
                    Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    None => format!("{} bytes", content.len()),
                },
                Ok(OpenedEntry::Directory) => "directory".into(),
                Ok(OpenedEntry::Special) => "special".into(),
                Err(error) => match Errno::from_io_error(&error).unwrap() {
                    Errno::NOENT => "nothing".into(),
                    Errno::NOTDIR => "no directory".into(),
                    Errno::LOOP => "loop".into(),
                    Errno::NAMETOOLONG => "too long".into(),
                    Errno::XDEV => "refused".into(),
                    other => format!("{other:?}"),
                },
            };
            assert_eq!(found, expected, "{path} by {resolver:?}, links {links}");
        }
    }

    fn check(path: &str, expected: &str) {
        for links in ["inside", "deny", "follow"] {
            check_with(links, path, expected);
        }
    }

    #[test]
    fn paths_inside_the_root_are_found() {
        check("file", "content");
        check("empty", "");
        check("large", "100000 bytes");
        check("folder", "directory");
        check("folder/inner/deep", "deep");
        check("nothing", "nothing");
        check("file/deeper", "no directory");
        check(&"x".repeat(300), "too long");
    }

    #[test]
    fn symlinks_on_the_path_are_detected() {
        let outer = root();
        let symlinks = Symlinks::default();
        for (path, expected) in [
            ("file", true),
            ("folder/inner/deep", true),
            ("inside/deep", false),
            ("twice/deep", false),
            ("itself/file", false),
        ] {
            for resolver in [PathResolver::Openat2, PathResolver::ComponentWalk] {
                let mut root = Root::open(&outer.path().join("root"), &symlinks).unwrap();
                root.resolver = resolver;
                let Ok(EntryDescriptor::File(_, source)) = root.open_descriptor(path.as_bytes())
                else {
                    panic!("{path} by {resolver:?}");
                };
                assert_eq!(source.has_no_symlink, expected, "{path} by {resolver:?}");
            }
        }
    }

    #[test]
    fn symlinks_inside_the_root_are_followed() {
        for path in [
            "inside/deep",
            "absolute inside/deep",
            "twice/deep",
            "back/deep",
        ] {
            check_with("inside", path, "deep");
            check_with("follow", path, "deep");
            check_with("deny", path, "refused");
        }
        check_with("inside", "itself/file", "content");
        check_with("inside", "inside", "directory");
        check_with("inside", "loop", "loop");
        check_with("deny", "loop", "refused");
        check_with("inside", "dangling", "nothing");
        check_with("deny", "dangling", "refused");
        check_with("inside", "inside/nothing", "nothing");
    }

    #[test]
    fn symlinks_lead_only_into_allowed_directories() {
        for path in ["elsewhere/thing", "absolute elsewhere/thing"] {
            check_with("inside", path, "refused");
            check_with("deny", path, "refused");
            check_with("other", path, "thing");
            check_with("follow", path, "thing");
        }
        check_with("other", "outside", "refused");
        check_with("other", "elsewhere/out", "refused");
        check_with("other", "elsewhere/in", "content");
        check_with("other", "neighbour", "refused");
        check_with("other", "inside/deep", "deep");
    }

    #[test]
    fn paths_outside_the_root_are_refused() {
        for path in [
            "outside",
            "absolute",
            "magic/etc/passwd",
            "upward/root/file",
        ] {
            check_with("inside", path, "refused");
            check_with("deny", path, "refused");
        }
        check_with("follow", "outside", "secret");
        check_with("follow", "absolute", "secret");
    }

    #[test]
    fn offending_link_is_the_one_that_leads_out() {
        let outer = root();
        let check = |symlinks, path: &[u8], expected: Option<(&str, &str)>| {
            let root = Root::open(&outer.path().join("root"), &symlinks).unwrap();
            let expected = expected.map(|(path, target)| Symlink {
                path: path.into(),
                target: target.into(),
            });
            assert_eq!(root.offending_link(path), expected);
        };
        let inside = Symlinks::default;
        check(inside(), b"outside", Some(("outside", "../secret")));
        check(
            inside(),
            b"twice/out",
            Some(("twice/out", "../../../secret")),
        );
        check(
            inside(),
            b"elsewhere/thing",
            Some(("elsewhere", "../other")),
        );
        check(inside(), b"inside/deep", None);
        check(
            Symlinks::Deny,
            b"inside/deep",
            Some(("inside", "folder/inner")),
        );
    }

    #[test]
    fn special_files_are_not_opened() {
        check("fifo", "special");
        check("socket", "special");
        for path in ["outer fifo", "upward/nothing", "outside/deeper"] {
            check_with("inside", path, "refused");
            check_with("deny", path, "refused");
        }
        check_with("follow", "outer fifo", "special");
    }

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
