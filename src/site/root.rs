//! The door to the file system for all that is read: open beneath the root, look, read.

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

use super::rules::MAX_FILE_BYTES;
use crate::blob::{Blob, FileVersion, system_time};
use crate::path_resolution::{self, resolve};

/// Bytes of a file up to which it is read into memory and sent with its head in one call. Larger
/// ones stay on disk and are sent by the kernel.
const MAX_IN_MEMORY_BYTES: u64 = 64 * 1024;

/// Bytes of a file up to which it is remembered, and copied into memory when it is asked for again. That is done
/// between two answers, so it is no more than what is sent to one peer before others have their turn. A larger one
/// is opened for each turn of the loop, which is little beside sending it, and not held open longer.
pub(super) const MAX_CACHED_FILE_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes that a file of rules may have.
const MAX_RULES_FILE_BYTES: u64 = MAX_FILE_BYTES as u64;

/// How long a file must have been left alone to be taken for steady. Whoever is writing a file, or
/// copying one over another, does not pause that long.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// How often a look-up is tried that a concurrent change has thwarted.
const MAX_ATTEMPTS: usize = 4;

/// Without blocking on a FIFO, without a terminal becoming ours.
const READ_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Without opening it.
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Bytes of a folder that are read at once: 200 or 300 entries.
const DIR_BUFFER_BYTES: usize = 8 * 1024;

const DIR_FLAGS: OFlags = PATH_FLAGS.union(OFlags::DIRECTORY);

/// A folder, out of which no name leads, but by a symbolic link that may.
#[derive(Debug)]
pub struct Root {
    root_dir: Arc<RootDir>,
    symlinks: OpenSymlinks,
    resolver: PathResolver,
}

/// Where a symbolic link below the root may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// To where it stays inside the root, or in one of these folders.
    Inside(Vec<PathBuf>),
    /// Nowhere.
    Deny,
    /// Anywhere.
    Follow,
}

/// The same, with its folders open.
#[derive(Debug)]
enum OpenSymlinks {
    Inside(Vec<Arc<RootDir>>),
    Deny,
    Follow,
}

/// An open folder.
#[derive(Debug)]
struct RootDir {
    /// What it was called, absolute.
    configured_path: PathBuf,
    dir: OwnedFd,
    /// Its name without symbolic links.
    real_path: PathBuf,
    id: DirId,
}

/// Which folder it is, whatever its name: device and inode.
pub(super) type DirId = (u64, u64);

/// A name that leads to no folder that can be opened, and why.
pub(super) type UnavailableDir = (PathBuf, io::Error);

/// Who sees to it that a name does not lead out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathResolver {
    /// The kernel: openat2(2) with RESOLVE_BENEATH.
    Openat2,
    /// We do, component by component, where the kernel or a container's seccomp filter has no
    /// openat2.
    ComponentWalk,
}

/// What is under a name.
#[derive(Debug)]
pub(super) enum OpenedEntry {
    /// A regular file.
    File {
        content: Blob,
        source: FileSource,
    },
    Directory,
    /// A FIFO, a socket, a device.
    Special,
}

/// Which file the content is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileSource {
    pub(super) version: FileVersion,
    /// Whether no symbolic link is on the way to it.
    pub(super) has_no_symlink: bool,
}

/// A folder that is open to be read, once, from its beginning to its end.
#[derive(Debug)]
pub(super) struct OpenDir {
    dir: OwnedFd,
    /// Its path below the root.
    path: Vec<u8>,
}

/// What there is to say of a file or folder without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryMetadata {
    pub(super) is_dir: bool,
    /// Bytes, of a file.
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

/// A symbolic link, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// Its path below the root.
    pub path: PathBuf,
    /// Where it says that it leads.
    pub target: PathBuf,
}

/// Something on the way to a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RootPathStep {
    /// A folder, and the kind of file system it is on (statfs(2)), if it is there.
    Dir(PathBuf, Option<i64>),
    /// A symbolic link.
    Symlink(PathBuf),
}

impl RootPathStep {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
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
    /// Opens a root folder, and finds out how it can be guarded. The folder itself is held open,
    /// whatever its name comes to mean later (`reopen_if_changed`); only absolute links into it are known
    /// by its name.
    ///
    /// # Errors
    /// The folder that could not be opened, `root` or one where links may lead, and what open(2)
    /// says: no such folder, not a folder, not ours to read.
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
                // Through /proc, links lead to what has no name, and nothing else tells them apart.
                let why = "following every link needs openat2, which is not to be had here";
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

    /// What the names of the root, and of where links may lead, lead to by now, if one of them leads to another
    /// folder; and which of them lead to none that can be opened. What these led to stays.
    pub(super) fn reopen_if_changed(&self) -> (Option<Self>, Vec<UnavailableDir>) {
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

    /// The names that led to other folders before, and where they lead, without symbolic links.
    pub(super) fn changed_dirs(&self, before: &Self) -> impl Iterator<Item = (&Path, &Path)> {
        let dirs = self.dirs().zip(before.dirs());
        let others = dirs.filter(|(dir, before)| dir.id != before.id);
        others.map(|(dir, _)| (&*dir.configured_path, &*dir.real_path))
    }

    /// What the root was called.
    pub(super) fn configured_path(&self) -> &Path {
        &self.root_dir.configured_path
    }

    /// Where the folder of this name is: a name without symbolic links.
    pub(super) fn real_path_of<'a>(&'a self, name: &'a Path) -> &'a Path {
        let mut dirs = self.dirs();
        let dir = dirs.find(|dir| dir.configured_path == name);
        dir.map_or(name, |dir| &*dir.real_path)
    }

    /// The root, and where else links may lead.
    fn dirs(&self) -> impl Iterator<Item = &Arc<RootDir>> {
        let others = match &self.symlinks {
            OpenSymlinks::Inside(others) => others.as_slice(),
            OpenSymlinks::Deny | OpenSymlinks::Follow => &[],
        };
        std::iter::once(&self.root_dir).chain(others)
    }

    /// Which folder the root is.
    pub(super) fn id(&self) -> DirId {
        self.root_dir.id
    }

    /// Whether the root of both is the same folder.
    pub(super) fn is_same_dir(&self, other: &Self) -> bool {
        self.id() == other.id()
    }

    /// Where the root is: a name without symbolic links, as long as nobody gives it to another folder.
    pub(super) fn real_path(&self) -> &Path {
        &self.root_dir.real_path
    }

    /// Everything on the way from `/` to where the root's name leads: folders, and symbolic links, each after the
    /// folder that it is in; and the same for each other place where links may lead.
    pub(super) fn path_steps(&self) -> Vec<Vec<RootPathStep>> {
        self.dirs()
            .map(|dir| path_steps_to(&dir.configured_path))
            .collect()
    }

    /// Who guards the root.
    #[must_use]
    pub fn resolver(&self) -> PathResolver {
        self.resolver
    }

    /// Looks up a path below the root, at `now`: no slash at either end, no `.` or `..`, as
    /// [`Target`](crate::http::Target) has it. Only files and folders are opened; nothing that is
    /// there is waited for.
    ///
    /// # Errors
    /// What openat2(2) and read(2) say; `EXDEV` for a symbolic link that leads where none may,
    /// `EAGAIN` for a file that does not hold still.
    pub(super) fn open_entry(&self, path: &[u8], now: SystemTime) -> io::Result<OpenedEntry> {
        match self.open_descriptor(path)? {
            EntryDescriptor::File(file, source) => load_content(file, source, now),
            EntryDescriptor::Directory => Ok(OpenedEntry::Directory),
            EntryDescriptor::Special => Ok(OpenedEntry::Special),
        }
    }

    /// Finds out what is under a path, and opens it if it is a regular file.
    ///
    /// # Errors
    /// As [`open_entry`](Self::open_entry).
    pub(super) fn open_descriptor(&self, path: &[u8]) -> io::Result<EntryDescriptor> {
        // Opening a FIFO or a device to find out what it is may be noticed by who is at its other
        // end. This look goes wherever links lead, so nothing is said because of it.
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

    /// Opens a folder below the root, or the root, to list it and to change what is in it, if no symbolic link is
    /// on the way there.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub(super) fn open_dir(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.root_dir.open_beneath(path, flags, self.resolver)?)
    }

    /// Opens a folder to read what is in it.
    ///
    /// # Errors
    /// As [`open_entry`](Self::open_entry); `ENOTDIR` for what is no folder, `EACCES` for one that may not be read.
    pub(super) fn read_dir(&self, path: &[u8]) -> io::Result<OpenDir> {
        let flags = READ_FLAGS.union(OFlags::DIRECTORY);
        let name = if path.is_empty() { b"." } else { path };
        let (dir, _) = self.open_beneath(name, flags)?;
        let path = path.to_vec();
        Ok(OpenDir { dir, path })
    }

    /// The same, if no symbolic link is on the way there.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub(super) fn read_dir_nofollow(&self, path: &[u8]) -> io::Result<OpenDir> {
        let dir = self.open_dir(path)?;
        let path = path.to_vec();
        Ok(OpenDir { dir, path })
    }

    /// What is under a name in a folder, if it is a file or folder, and not behind a link that leads where
    /// none may.
    ///
    /// # Errors
    /// What fstatat(2) says: nothing there any more, not ours to look at.
    pub(super) fn metadata(&self, dir: &OpenDir, name: &[u8]) -> io::Result<Option<EntryMetadata>> {
        let stat = statat(&dir.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if file_type(&stat) != FileType::Symlink {
            return Ok(entry_metadata(&stat));
        }
        let Ok((opened, _)) = self.open_beneath(&dir.child_path(name), PATH_FLAGS) else {
            return Ok(None);
        };
        Ok(entry_metadata(&fstat(&opened)?))
    }

    /// A name under which the kernel finds what is under a path, from wherever the root is by now.
    pub(super) fn proc_path(&self, path: &[u8]) -> Vec<u8> {
        let root = format!("/proc/self/fd/{}/", self.root_dir.dir.as_raw_fd());
        [root.as_bytes(), path].concat()
    }

    /// The list of what is mounted, which tells a poll when it changes (proc_pid_mountinfo(5)).
    pub(super) fn open_mountinfo() -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?)
    }

    /// The symbolic link on this path that leads where none may; `None` if there is none any more.
    pub(super) fn offending_link(&self, path: &[u8]) -> Option<Symlink> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root_dir.real_path.clone();
        for (depth, name) in path.iter().enumerate() {
            full.push(name);
            let target = match full.read_link() {
                Ok(target) => target,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => continue,
                // From here on there is nothing, or nothing that can be reached.
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

    /// The symbolic links on this path, in order.
    pub(super) fn symlinks_on(&self, path: &[u8]) -> Vec<Symlink> {
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

    /// Opens what is under a path, and tells whether there was no symbolic link on the way, as far as is
    /// known.
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
                    // The kernel says so of a link that leads out, and of every absolute one.
                    Err(Errno::XDEV) => self.open_through_symlinks(path, flags),
                    opened => opened,
                }
            }
            // Where a link was refused for being one.
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

    /// Which version of which regular file is under a path; `None` if something else is. Nothing is opened
    /// for reading.
    ///
    /// # Errors
    /// As [`open_entry`](Self::open_entry).
    pub(super) fn file_version(&self, path: &[u8]) -> io::Result<Option<FileVersion>> {
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
        // Any folder on the way may have become a link by now, and lead where none may.
        let (opened, _) = self.open_beneath(path, PATH_FLAGS)?;
        Ok(regular_file_version(&fstat(&opened)?))
    }

    /// What kind of file system a folder is on (statfs(2)), and on which device.
    pub(super) fn file_system(&self, path: &[u8]) -> io::Result<(i64, u64)> {
        let name = self.proc_path(path);
        Ok((statfs(&*name)?.f_type, stat(&*name)?.st_dev))
    }

    /// Whether there is no such name: nothing, and no link that leads to nothing.
    pub(super) fn is_missing(&self, path: &[u8]) -> bool {
        let stat = statat(&self.root_dir.dir, path, AtFlags::SYMLINK_NOFOLLOW);
        matches!(stat, Err(Errno::NOENT))
    }

    /// Whether a symbolic link is under a path, wherever it leads.
    pub(super) fn is_symlink(&self, path: &[u8]) -> bool {
        let stat = statat(&self.root_dir.dir, path, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| file_type(&stat) == FileType::Symlink)
    }

    /// Opens what a path with symbolic links really is, if that is where links may lead. Where it is
    /// was true a moment ago; it is opened there and nowhere else.
    fn open_through_symlinks(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        // A link that leads out is not made good by a path that leads in again.
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

    /// Which of the places where links may lead this is in, if any.
    fn dir_containing(&self, real: &Path) -> Option<&Arc<RootDir>> {
        self.dirs().find(|dir| real.starts_with(&dir.real_path))
    }
}

/// What is under a name, and, if it is a file, open.
#[derive(Debug)]
pub(super) enum EntryDescriptor {
    File(File, FileSource),
    Directory,
    Special,
}

/// An error of open(2); with who is not let in, and where, if it is that.
fn with_permissions(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // The deepest folder that can be looked at is the one that lets nobody further: what is in it can be looked at
    // by who may search it.
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
            // First where it is, then what is there: its name may be given to another folder in between.
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

    /// What its name leads to by now, if that is another folder.
    ///
    /// # Errors
    /// There is no such folder just now, or it is not ours to read.
    fn reopen_if_changed(&self) -> io::Result<Option<Self>> {
        let now = stat(&self.configured_path)?;
        match (now.st_dev, now.st_ino) == self.id {
            true => Ok(None),
            false => Self::open(&self.configured_path).map(Some),
        }
    }

    /// Opens a path on which there is no symbolic link: there, `ELOOP` or `ENOTDIR`.
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
        // EAGAIN: something was renamed while `..` was followed (openat2(2)).
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
        let (parents, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
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
    /// Which folder it is.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub(super) fn id(&self) -> io::Result<DirId> {
        dir_id(&self.dir)
    }

    /// A name under which the kernel finds it while it is open.
    pub(super) fn proc_path(&self) -> Vec<u8> {
        format!("/proc/self/fd/{}/.", self.dir.as_raw_fd()).into()
    }

    /// The path below the root of what is under a name in it.
    pub(super) fn child_path(&self, name: &[u8]) -> Vec<u8> {
        join_path(&self.path, name)
    }

    /// Reads on, some hundred entries: the name of each that can be a file or a folder, and which of them,
    /// if that is known without a look. Whether there was any entry at all.
    ///
    /// # Errors
    /// What getdents(2) says.
    pub(super) fn read_entries(
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

/// Everything on the way from `/` to where a name leads.
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

/// The path of a name in a folder, which is empty for the root.
pub(super) fn join_path(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}

/// One component, which must be no way up and no symbolic link.
fn open_component(dir: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." || name.contains(&b'/') {
        return Err(Errno::XDEV);
    }
    let opened = openat(dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    // That is all it takes to point at a link.
    if flags == PATH_FLAGS && file_type(&fstat(&opened)?) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}

/// What is in a regular file, which was this one just now: read, if it is small and holds still; open, if
/// it is large.
fn load_content(file: File, mut source: FileSource, now: SystemTime) -> io::Result<OpenedEntry> {
    let mut last = None;
    for _ in 0..MAX_ATTEMPTS {
        let version = source.version;
        if version.len > MAX_IN_MEMORY_BYTES {
            // It had a name when it was opened. One that has none by now is being removed, which is dated a little later.
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
        // A write that was going on all the time has left its date at its beginning.
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

/// What is in a file of rules, which may be anywhere.
///
/// # Errors
/// What open(2) and read(2) say; a file that is too large for one of rules, or is no regular file.
pub(super) fn read_rules_file(file: &Path) -> io::Result<Vec<u8>> {
    read_rules(openat(CWD, file, READ_FLAGS, Mode::empty())?.into())
}

fn read_rules(file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(MAX_RULES_FILE_BYTES + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MAX_RULES_FILE_BYTES {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(text),
    }
}

impl Root {
    /// What is in a file of rules right in the root, which may be a symbolic link to anywhere: in this folder, whatever
    /// has its name by now.
    ///
    /// # Errors
    /// As [`read_rules_file`].
    pub(super) fn read_rules_file(&self, name: &Path) -> io::Result<Vec<u8>> {
        read_rules(openat(&self.root_dir.dir, name, READ_FLAGS, Mode::empty())?.into())
    }
}

/// Where a file is, whatever it was called: its name in the folder that it was named in, and, if that is a symbolic
/// link, where it leads; both without other links on the way.
pub(super) fn resolved_paths(file: &Path) -> impl Iterator<Item = PathBuf> {
    let dir = match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Some(Path::new(".")),
        dir => dir,
    };
    let dir = dir.and_then(|dir| dir.canonicalize().ok());
    let named = dir.zip(file.file_name()).map(|(dir, name)| dir.join(name));
    let real = file.canonicalize().ok();
    named.into_iter().chain(real)
}

/// A copy of an open file in memory, if it still is this version: for the kernel a file, and nobody can
/// change it any more, so that it is sent without another look.
///
/// # Errors
/// When there is no descriptor or no memory for it, or the file is changing.
pub(super) fn seal_copy(file: &File, version: &FileVersion) -> io::Result<Blob> {
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

/// The bytes of what was found, read now if they are on disk.
///
/// # Errors
/// What pread(2) says; `EAGAIN` for a file that has changed since it was found.
pub(super) fn content_bytes(content: &Blob) -> io::Result<Cow<'_, [u8]>> {
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
        // (Nothing is sealed before it is asked for again.)
        Blob::Sealed { file, len } => match read_exact_len(file, *len)? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(Errno::AGAIN.into()),
        },
        Blob::Static(_) | Blob::Memory(_) => Ok(Cow::default()),
    }
}

/// Whether a file has been left alone for a while.
pub(super) fn is_steady(version: &FileVersion, now: SystemTime) -> bool {
    let age = now.duration_since(version.changed);
    age.is_ok_and(|age| age > STEADY_AFTER)
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn entry_metadata(stat: &Stat) -> Option<EntryMetadata> {
    let is_folder = match file_type(stat) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Some(EntryMetadata {
        is_dir: is_folder,
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: system_time(stat.st_mtime, nanos),
    })
}

pub(super) fn regular_file_version(stat: &Stat) -> Option<FileVersion> {
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

/// Reads a file that is `len` bytes long; `None` if it is not, any more.
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

    /// What is found with and without openat2.
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
                    Errno::NOTDIR => "no folder".into(),
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
        check("file/deeper", "no folder");
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
