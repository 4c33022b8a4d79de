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

use super::rules::MAX_SIZE;
use crate::blob::{Blob, Version, time};
use crate::walk::{self, walk};

/// Bytes of a file up to which it is read into memory and sent with its head in one call. Larger
/// ones stay on disk and are sent by the kernel.
const IN_MEMORY: u64 = 64 * 1024;

/// Bytes of a file up to which it is remembered, and copied into memory when it is asked for again. That is done
/// between two answers, so it is no more than what is sent to one peer before others have their turn. A larger one
/// is opened for each turn of the loop, which is little beside sending it, and not held open longer.
pub(super) const SEALED: u64 = 2 * 1024 * 1024;

/// Bytes that a file of rules may have.
const RULES: u64 = MAX_SIZE as u64;

/// How long a file must have been left alone to be taken for steady. Whoever is writing a file, or
/// copying one over another, does not pause that long.
const STEADY: Duration = Duration::from_secs(10);

/// How often a look-up is tried that a concurrent change has thwarted.
const TRIES: usize = 4;

/// Without blocking on a FIFO, without a terminal becoming ours.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Without opening it.
const POINT_AT: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Bytes of a folder that are read at once: 200 or 300 entries.
const ENTRIES: usize = 8 * 1024;

const FOLDER: OFlags = POINT_AT.union(OFlags::DIRECTORY);

/// A folder, out of which no name leads, but by a symbolic link that may.
#[derive(Debug)]
pub struct Disk {
    root: Arc<Place>,
    links: Links,
    resolution: Resolution,
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
enum Links {
    Inside(Vec<Arc<Place>>),
    Deny,
    Follow,
}

/// An open folder.
#[derive(Debug)]
struct Place {
    /// What it was called, absolute.
    name: PathBuf,
    folder: OwnedFd,
    /// Its name without symbolic links.
    path: PathBuf,
    identity: Identity,
}

/// Which folder it is, whatever its name: device and inode.
pub(super) type Identity = (u64, u64);

/// A name that leads to no folder that can be opened, and why.
pub(super) type Lost = (PathBuf, io::Error);

/// Who sees to it that a name does not lead out of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The kernel: openat2(2) with RESOLVE_BENEATH.
    Beneath,
    /// We do, component by component, where the kernel or a container's seccomp filter has no
    /// openat2.
    Walk,
}

/// What is under a name.
#[derive(Debug)]
pub(super) enum Entry {
    /// A regular file.
    File {
        content: Blob,
        source: Source,
    },
    Directory,
    /// A FIFO, a socket, a device.
    Special,
}

/// Which file the content is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) version: Version,
    /// Whether no symbolic link is on the way to it.
    pub(super) is_direct: bool,
}

/// A folder that is open to be read, once, from its beginning to its end.
#[derive(Debug)]
pub(super) struct Folder {
    folder: OwnedFd,
    /// Its path below the root.
    path: Vec<u8>,
}

/// What there is to say of a file or folder without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) is_folder: bool,
    /// Bytes, of a file.
    pub(super) len: u64,
    pub(super) modified: SystemTime,
}

/// A symbolic link, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its path below the root.
    pub path: PathBuf,
    /// Where it says that it leads.
    pub target: PathBuf,
}

/// Something on the way to a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A folder, and the kind of file system it is on (statfs(2)), if it is there.
    Folder(PathBuf, Option<i64>),
    /// A symbolic link.
    Link(PathBuf),
}

impl Step {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder(path, _) | Self::Link(path) => path,
        }
    }
}

impl Default for Symlinks {
    /// Inside the root, and nowhere else.
    fn default() -> Self {
        Self::Inside(Vec::new())
    }
}

impl Disk {
    /// Opens a root folder, and finds out how it can be guarded. The folder itself is held open,
    /// whatever its name comes to mean later (`successor`); only absolute links into it are known
    /// by its name.
    ///
    /// # Errors
    /// The folder that could not be opened, `root` or one where links may lead, and what open(2)
    /// says: no such folder, not a folder, not ours to read.
    pub fn open(root: &Path, symlinks: &Symlinks) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| match Place::at(path) {
            Ok(place) => Ok(Arc::new(place)),
            Err(error) => Err((path.clone(), error)),
        };
        let root_place = open(&root.to_owned())?;
        let links = match symlinks {
            Symlinks::Deny => Links::Deny,
            Symlinks::Follow => Links::Follow,
            Symlinks::Inside(others) => {
                Links::Inside(others.iter().map(open).collect::<Result<_, _>>()?)
            }
        };
        let (mode, beneath) = (Mode::empty(), ResolveFlags::BENEATH);
        let resolution = match openat2(&root_place.folder, ".", FOLDER, mode, beneath) {
            Err(Errno::NOSYS | Errno::PERM) if matches!(links, Links::Follow) => {
                // Through /proc, links lead to what has no name, and nothing else tells them apart.
                let why = "following every link needs openat2, which is not to be had here";
                return Err((
                    root.to_owned(),
                    io::Error::new(io::ErrorKind::Unsupported, why),
                ));
            }
            Err(Errno::NOSYS | Errno::PERM) => Resolution::Walk,
            Err(error) => return Err((root.to_owned(), with_modes(root, error.into()))),
            Ok(_) => Resolution::Beneath,
        };
        Ok(Self {
            root: root_place,
            links,
            resolution,
        })
    }

    /// What the names of the root, and of where links may lead, lead to by now, if one of them leads to another
    /// folder; and which of them lead to none that can be opened. What these led to stays.
    pub(super) fn successor(&self) -> (Option<Self>, Vec<Lost>) {
        let mut lost = Vec::new();
        let mut now = |place: &Arc<Place>| match place.successor() {
            Ok(None) => place.clone(),
            Ok(Some(other)) => Arc::new(other),
            Err(error) => {
                lost.push((place.name.clone(), error));
                place.clone()
            }
        };
        let successor = Self {
            root: now(&self.root),
            links: match &self.links {
                Links::Inside(others) => Links::Inside(others.iter().map(now).collect()),
                Links::Deny => Links::Deny,
                Links::Follow => Links::Follow,
            },
            resolution: self.resolution,
        };
        let is_another = successor.led_elsewhere(self).next().is_some();
        (is_another.then_some(successor), lost)
    }

    /// The names that led to other folders before, and where they lead, without symbolic links.
    pub(super) fn led_elsewhere(&self, before: &Self) -> impl Iterator<Item = (&Path, &Path)> {
        let places = self.places().zip(before.places());
        let others = places.filter(|(place, before)| place.identity != before.identity);
        others.map(|(place, _)| (&*place.name, &*place.path))
    }

    /// What the root was called.
    pub(super) fn called(&self) -> &Path {
        &self.root.name
    }

    /// Where the folder of this name is: a name without symbolic links.
    pub(super) fn led<'a>(&'a self, name: &'a Path) -> &'a Path {
        let mut places = self.places();
        let place = places.find(|place| place.name == name);
        place.map_or(name, |place| &*place.path)
    }

    /// The root, and where else links may lead.
    fn places(&self) -> impl Iterator<Item = &Arc<Place>> {
        let others = match &self.links {
            Links::Inside(others) => others.as_slice(),
            Links::Deny | Links::Follow => &[],
        };
        std::iter::once(&self.root).chain(others)
    }

    /// Which folder the root is.
    pub(super) fn identity(&self) -> Identity {
        self.root.identity
    }

    /// Whether the root of both is the same folder.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// Where the root is: a name without symbolic links, as long as nobody gives it to another folder.
    pub(super) fn path(&self) -> &Path {
        &self.root.path
    }

    /// Everything on the way from `/` to where the root's name leads: folders, and symbolic links, each after the
    /// folder that it is in; and the same for each other place where links may lead.
    pub(super) fn ways(&self) -> Vec<Vec<Step>> {
        self.places().map(|place| way(&place.name)).collect()
    }

    /// Who guards the root.
    #[must_use]
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// Looks up a path below the root, at `now`: no slash at either end, no `.` or `..`, as
    /// [`Target`](crate::http::Target) has it. Only files and folders are opened; nothing that is
    /// there is waited for.
    ///
    /// # Errors
    /// What openat2(2) and read(2) say; `EXDEV` for a symbolic link that leads where none may,
    /// `EAGAIN` for a file that does not hold still.
    pub(super) fn look(&self, path: &[u8], now: SystemTime) -> io::Result<Entry> {
        match self.find(path)? {
            Found::File(file, source) => contents(file, source, now),
            Found::Directory => Ok(Entry::Directory),
            Found::Special => Ok(Entry::Special),
        }
    }

    /// Finds out what is under a path, and opens it if it is a regular file.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    pub(super) fn find(&self, path: &[u8]) -> io::Result<Found> {
        // Opening a FIFO or a device to find out what it is may be noticed by who is at its other
        // end. This look goes wherever links lead, so nothing is said because of it.
        let looked = statat(&self.root.folder, path, AtFlags::empty());
        let flags = match looked.map(|stat| kind(&stat)) {
            Ok(FileType::RegularFile) | Err(_) => READ,
            Ok(FileType::Directory) => FOLDER,
            Ok(_) => POINT_AT,
        };
        let (opened, is_direct) = self.open_beneath(path, flags)?;
        let opened = File::from(opened);
        let metadata = opened.metadata()?;
        Ok(match metadata.file_type() {
            kind if kind.is_file() && flags == READ => {
                let version = Version::from(&metadata);
                Found::File(opened, Source { version, is_direct })
            }
            kind if kind.is_dir() => Found::Directory,
            _ => Found::Special,
        })
    }

    /// Opens a folder below the root, or the root, to list it and to change what is in it, if no symbolic link is
    /// on the way there.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub(super) fn workplace(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(self.root.open(path, flags, self.resolution)?)
    }

    /// Opens a folder to read what is in it.
    ///
    /// # Errors
    /// As [`look`](Self::look); `ENOTDIR` for what is no folder, `EACCES` for one that may not be read.
    pub(super) fn folder(&self, path: &[u8]) -> io::Result<Folder> {
        let flags = READ.union(OFlags::DIRECTORY);
        let name = if path.is_empty() { b"." } else { path };
        let (folder, _) = self.open_beneath(name, flags)?;
        let path = path.to_vec();
        Ok(Folder { folder, path })
    }

    /// The same, if no symbolic link is on the way there.
    ///
    /// # Errors
    /// What openat2(2) says.
    pub(super) fn own_folder(&self, path: &[u8]) -> io::Result<Folder> {
        let folder = self.workplace(path)?;
        let path = path.to_vec();
        Ok(Folder { folder, path })
    }

    /// What is under a name in a folder, if it is a file or folder, and not behind a link that leads where
    /// none may.
    ///
    /// # Errors
    /// What fstatat(2) says: nothing there any more, not ours to look at.
    pub(super) fn facts(&self, folder: &Folder, name: &[u8]) -> io::Result<Option<Facts>> {
        let stat = statat(&folder.folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind(&stat) != FileType::Symlink {
            return Ok(facts(&stat));
        }
        let Ok((opened, _)) = self.open_beneath(&folder.join(name), POINT_AT) else {
            return Ok(None);
        };
        Ok(facts(&fstat(&opened)?))
    }

    /// A name under which the kernel finds what is under a path, from wherever the root is by now.
    pub(super) fn name(&self, path: &[u8]) -> Vec<u8> {
        let root = format!("/proc/self/fd/{}/", self.root.folder.as_raw_fd());
        [root.as_bytes(), path].concat()
    }

    /// The list of what is mounted, which tells a poll when it changes (proc_pid_mountinfo(5)).
    pub(super) fn mounts() -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?)
    }

    /// The symbolic link on this path that leads where none may; `None` if there is none any more.
    pub(super) fn culprit(&self, path: &[u8]) -> Option<Link> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root.path.clone();
        for (place, name) in path.iter().enumerate() {
            full.push(name);
            let target = match full.read_link() {
                Ok(target) => target,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => continue,
                // From here on there is nothing, or nothing that can be reached.
                Err(_) => return None,
            };
            let leads_out = || {
                full.canonicalize()
                    .is_ok_and(|real| self.place(&real).is_none())
            };
            if matches!(self.links, Links::Deny) || leads_out() {
                let path = path.iter().take(place + 1).collect();
                return Some(Link { path, target });
            }
        }
        None
    }

    /// The symbolic links on this path, in order.
    pub(super) fn links(&self, path: &[u8]) -> Vec<Link> {
        let path = Path::new(OsStr::from_bytes(path));
        let mut full = self.root.path.clone();
        let link = |(place, name): (usize, &OsStr)| {
            full.push(name);
            let target = full.read_link().ok()?;
            let path = path.iter().take(place + 1).collect();
            Some(Link { path, target })
        };
        path.iter().enumerate().filter_map(link).collect()
    }

    /// Opens what is under a path, and tells whether there was no symbolic link on the way, as far as is
    /// known.
    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<(OwnedFd, bool), Errno> {
        let direct = self.root.open(path, flags, self.resolution);
        let opened = match (direct, &self.links, self.resolution) {
            (Ok(opened), ..) => return Ok((opened, true)),
            (Err(Errno::LOOP), Links::Follow, _) => {
                self.root
                    .open_by_kernel(path, flags, ResolveFlags::NO_MAGICLINKS)
            }
            (Err(Errno::LOOP), Links::Inside(_), Resolution::Beneath) => {
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match self.root.open_by_kernel(path, flags, inside) {
                    // The kernel says so of a link that leads out, and of every absolute one.
                    Err(Errno::XDEV) => self.follow(path, flags),
                    opened => opened,
                }
            }
            // Where a link was refused for being one.
            (Err(Errno::LOOP | Errno::NOTDIR), Links::Inside(_), Resolution::Walk) => {
                self.follow(path, flags)
            }
            (Err(Errno::LOOP | Errno::NOTDIR), Links::Deny, _) if self.culprit(path).is_some() => {
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
    /// As [`look`](Self::look).
    pub(super) fn version(&self, path: &[u8]) -> io::Result<Option<Version>> {
        let (is_anywhere, is_alone) = (matches!(self.links, Links::Follow), !path.contains(&b'/'));
        if is_anywhere || is_alone {
            let flags = match is_anywhere {
                true => AtFlags::empty(),
                false => AtFlags::SYMLINK_NOFOLLOW,
            };
            let stat = statat(&self.root.folder, path, flags)?;
            if kind(&stat) != FileType::Symlink {
                return Ok(version_of_file(&stat));
            }
        }
        // Any folder on the way may have become a link by now, and lead where none may.
        let (opened, _) = self.open_beneath(path, POINT_AT)?;
        Ok(version_of_file(&fstat(&opened)?))
    }

    /// What kind of file system a folder is on (statfs(2)), and on which device.
    pub(super) fn volume(&self, path: &[u8]) -> io::Result<(i64, u64)> {
        let name = self.name(path);
        Ok((statfs(&*name)?.f_type, stat(&*name)?.st_dev))
    }

    /// Whether there is no such name: nothing, and no link that leads to nothing.
    pub(super) fn is_absent(&self, path: &[u8]) -> bool {
        let looked = statat(&self.root.folder, path, AtFlags::SYMLINK_NOFOLLOW);
        matches!(looked, Err(Errno::NOENT))
    }

    /// Whether a symbolic link is under a path, wherever it leads.
    pub(super) fn is_link(&self, path: &[u8]) -> bool {
        let looked = statat(&self.root.folder, path, AtFlags::SYMLINK_NOFOLLOW);
        looked.is_ok_and(|stat| kind(&stat) == FileType::Symlink)
    }

    /// Opens what a path with symbolic links really is, if that is where links may lead. Where it is
    /// was true a moment ago; it is opened there and nowhere else.
    fn follow(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        // A link that leads out is not made good by a path that leads in again.
        if self.culprit(path).is_some() {
            return Err(Errno::XDEV);
        }
        let full = self.root.path.join(OsStr::from_bytes(path));
        let mut opened = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            let real = full.canonicalize();
            let real = real.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            let place = self.place(&real).ok_or(Errno::XDEV)?;
            let below = real.strip_prefix(&place.path).unwrap_or(&real);
            opened = match below.as_os_str().as_bytes() {
                b"" => place.open(b".", flags, self.resolution),
                below => place.open(below, flags, self.resolution),
            };
            if opened.as_ref().err() != Some(&Errno::LOOP) {
                break;
            }
        }
        opened
    }

    /// Which of the places where links may lead this is in, if any.
    fn place(&self, real: &Path) -> Option<&Arc<Place>> {
        self.places().find(|place| real.starts_with(&place.path))
    }
}

/// What is under a name, and, if it is a file, open.
#[derive(Debug)]
pub(super) enum Found {
    File(File, Source),
    Directory,
    Special,
}

/// An error of open(2); with who is not let in, and where, if it is that.
fn with_modes(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // The deepest folder that can be looked at is the one that lets nobody further: what is in it can be looked at
    // by who may search it.
    let looked = |folder| Some((folder, stat(folder).ok()?));
    let Some((folder, stat)) = path.ancestors().find_map(looked) else {
        return error;
    };
    let why = format!(
        "{error}: {} is of uid {}, gid {}, mode {:04o}, and this is uid {}, gid {}",
        folder.display(),
        stat.st_uid,
        stat.st_gid,
        stat.st_mode & 0o7777,
        geteuid().as_raw(),
        getegid().as_raw(),
    );
    io::Error::new(error.kind(), why)
}

impl Place {
    fn at(name: &Path) -> io::Result<Self> {
        let open = || {
            // First where it is, then what is there: its name may be given to another folder in between.
            let path = name.canonicalize()?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = openat(CWD, &path, flags, Mode::empty())?;
            Ok(Self {
                name: std::path::absolute(name)?,
                identity: identity(&folder)?,
                folder,
                path,
            })
        };
        open().map_err(|error| with_modes(name, error))
    }

    /// What its name leads to by now, if that is another folder.
    ///
    /// # Errors
    /// There is no such folder just now, or it is not ours to read.
    fn successor(&self) -> io::Result<Option<Self>> {
        let now = stat(&self.name)?;
        match (now.st_dev, now.st_ino) == self.identity {
            true => Ok(None),
            false => Self::at(&self.name).map(Some),
        }
    }

    /// Opens a path on which there is no symbolic link: there, `ELOOP` or `ENOTDIR`.
    fn open(&self, path: &[u8], flags: OFlags, resolution: Resolution) -> Result<OwnedFd, Errno> {
        match resolution {
            Resolution::Walk => self.walk(path, flags),
            Resolution::Beneath => {
                let no_links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                self.open_by_kernel(path, flags, no_links)
            }
        }
    }

    fn open_by_kernel(
        &self,
        path: &[u8],
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let open = || openat2(&self.folder, path, flags, Mode::empty(), resolve);
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
            let parent = folder.as_ref().unwrap_or(&self.folder);
            folder = Some(step(parent, name, FOLDER)?);
        }
        step(folder.as_ref().unwrap_or(&self.folder), name, flags)
    }
}

impl Folder {
    /// Which folder it is.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub(super) fn identity(&self) -> io::Result<Identity> {
        identity(&self.folder)
    }

    /// A name under which the kernel finds it while it is open.
    pub(super) fn name(&self) -> Vec<u8> {
        format!("/proc/self/fd/{}/.", self.folder.as_raw_fd()).into()
    }

    /// The path below the root of what is under a name in it.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    /// Reads on, some hundred entries: the name of each that can be a file or a folder, and which of them,
    /// if that is known without a look. Whether there was any entry at all.
    ///
    /// # Errors
    /// What getdents(2) says.
    pub(super) fn read(&mut self, mut see: impl FnMut(&[u8], Option<bool>)) -> io::Result<bool> {
        let mut room = [const { MaybeUninit::uninit() }; ENTRIES];
        let mut entries = RawDir::new(&self.folder, &mut room);
        let mut is_any = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            is_any = true;
            match (entry.file_name().to_bytes(), entry.file_type()) {
                (b"." | b"..", _) => {}
                (name, FileType::Directory) => see(name, Some(true)),
                (name, FileType::RegularFile) => see(name, Some(false)),
                (name, FileType::Symlink | FileType::Unknown) => see(name, None),
                _ => {}
            }
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(is_any)
    }
}

fn identity(folder: &OwnedFd) -> io::Result<Identity> {
    let stat = fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Everything on the way from `/` to where a name leads.
fn way(name: &Path) -> Vec<Step> {
    let steps = walk(name, walk::link).steps.into_iter();
    let steps = steps.map(|step| match step {
        walk::Step::Link(path, _) => Step::Link(path),
        walk::Step::Plain(path) => {
            let kind = statfs(&path).ok().map(|volume| volume.f_type);
            Step::Folder(path, kind)
        }
    });
    steps.collect()
}

/// The path of a name in a folder, which is empty for the root.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}

/// One component, which must be no way up and no symbolic link.
fn step(folder: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." || name.contains(&b'/') {
        return Err(Errno::XDEV);
    }
    let opened = openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    // That is all it takes to point at a link.
    if flags == POINT_AT && kind(&fstat(&opened)?) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    Ok(opened)
}

/// What is in a regular file, which was this one just now: read, if it is small and holds still; open, if
/// it is large.
fn contents(file: File, mut source: Source, now: SystemTime) -> io::Result<Entry> {
    let mut last = None;
    for _ in 0..TRIES {
        let version = source.version;
        if version.len > IN_MEMORY {
            // It had a name when it was opened. One that has none by now is being removed, which is dated a little later.
            let links = version.links.max(1);
            let content = Blob::File {
                file: Arc::new(file),
                version: Version { links, ..version },
                is_steady: is_steady(&version, now),
            };
            return Ok(Entry::File { content, source });
        }
        let content = read(&file, version.len)?;
        let after = Version::after(&file, &version)?;
        let held_still = after.has_bytes_of(&version);
        // A write that was going on all the time has left its date at its beginning.
        let is_whole = version.is_settled(now) || content == last;
        match content {
            Some(bytes) if held_still && is_whole => {
                let content = bytes.into();
                return Ok(Entry::File { content, source });
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
pub(super) fn text(file: &Path) -> io::Result<Vec<u8>> {
    rules(openat(CWD, file, READ, Mode::empty())?.into())
}

fn rules(file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(RULES + 1).read_to_end(&mut text)?;
    match text.len() as u64 > RULES {
        true => Err(io::Error::other("it is larger than 1 MiB")),
        false => Ok(text),
    }
}

impl Disk {
    /// What is in a file of rules right in the root, which may be a symbolic link to anywhere: in this folder, whatever
    /// has its name by now.
    ///
    /// # Errors
    /// As [`text`].
    pub(super) fn text(&self, name: &Path) -> io::Result<Vec<u8>> {
        rules(openat(&self.root.folder, name, READ, Mode::empty())?.into())
    }
}

/// Where a file is, whatever it was called: its name in the folder that it was named in, and, if that is a symbolic
/// link, where it leads; both without other links on the way.
pub(super) fn places(file: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = match file.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(Path::new(".")),
        folder => folder,
    };
    let folder = folder.and_then(|folder| folder.canonicalize().ok());
    let named = folder
        .zip(file.file_name())
        .map(|(folder, name)| folder.join(name));
    let real = file.canonicalize().ok();
    named.into_iter().chain(real)
}

/// A copy of an open file in memory, if it still is this version: for the kernel a file, and nobody can
/// change it any more, so that it is sent without another look.
///
/// # Errors
/// When there is no descriptor or no memory for it, or the file is changing.
pub(super) fn seal(file: &File, version: &Version) -> io::Result<Blob> {
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
    if !Version::after(file, version)?.has_bytes_of(version) {
        return Err(Errno::AGAIN.into());
    }
    let file = Arc::new(File::from(copy));
    Ok(Blob::Sealed { file, len })
}

/// The bytes of what was found, read now if they are on disk.
///
/// # Errors
/// What pread(2) says; `EAGAIN` for a file that has changed since it was found.
pub(super) fn bytes(content: &Blob) -> io::Result<Cow<'_, [u8]>> {
    if let Some(bytes) = content.in_memory() {
        return Ok(bytes.into());
    }
    match content {
        Blob::File { file, version, .. } => match read(file, version.len)? {
            Some(bytes) if Version::after(file, version)?.has_bytes_of(version) => Ok(bytes.into()),
            _ => Err(Errno::AGAIN.into()),
        },
        // (Nothing is sealed before it is asked for again.)
        Blob::Sealed { file, len } => match read(file, *len)? {
            Some(bytes) => Ok(bytes.into()),
            None => Err(Errno::AGAIN.into()),
        },
        Blob::Static(_) | Blob::Memory(_) => Ok(Cow::default()),
    }
}

/// Whether a file has been left alone for a while.
pub(super) fn is_steady(version: &Version, now: SystemTime) -> bool {
    let rested = now.duration_since(version.changed);
    rested.is_ok_and(|rested| rested > STEADY)
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn facts(stat: &Stat) -> Option<Facts> {
    let is_folder = match kind(stat) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Some(Facts {
        is_folder,
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: time(stat.st_mtime, nanos),
    })
}

pub(super) fn version_of_file(stat: &Stat) -> Option<Version> {
    let nanos = |nanos| i64::try_from(nanos).unwrap_or_default();
    let is_file = kind(stat) == FileType::RegularFile;
    is_file.then(|| Version {
        len: u64::try_from(stat.st_size).unwrap_or_default(),
        modified: time(stat.st_mtime, nanos(stat.st_mtime_nsec)),
        changed: time(stat.st_ctime, nanos(stat.st_ctime_nsec)),
        device: stat.st_dev,
        inode: stat.st_ino,
        links: stat.st_nlink,
    })
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
        for folder in ["other", "other-too"] {
            fs::create_dir(outer.path().join(folder)).unwrap();
            fs::write(outer.path().join(folder).join("thing"), "thing").unwrap();
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
        for resolution in [Resolution::Beneath, Resolution::Walk] {
            if (&symlinks, resolution) == (&Symlinks::Follow, Resolution::Walk) {
                continue;
            }
            let mut disk = Disk::open(&outer.path().join("root"), &symlinks).unwrap();
            disk.resolution = resolution;
            let found = match disk.look(path.as_bytes(), SystemTime::now()) {
                Ok(Entry::File { content, .. }) => match content.in_memory() {
                    Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    None => format!("{} bytes", content.len()),
                },
                Ok(Entry::Directory) => "directory".into(),
                Ok(Entry::Special) => "special".into(),
                Err(error) => match Errno::from_io_error(&error).unwrap() {
                    Errno::NOENT => "nothing".into(),
                    Errno::NOTDIR => "no folder".into(),
                    Errno::LOOP => "loop".into(),
                    Errno::NAMETOOLONG => "too long".into(),
                    Errno::XDEV => "refused".into(),
                    other => format!("{other:?}"),
                },
            };
            assert_eq!(found, expected, "{path} by {resolution:?}, links {links}");
        }
    }

    fn check(path: &str, expected: &str) {
        for links in ["inside", "deny", "follow"] {
            check_with(links, path, expected);
        }
    }

    #[test]
    fn what_is_inside_is_found() {
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
    fn whether_a_link_is_on_the_way_is_known() {
        let outer = root();
        let symlinks = Symlinks::default();
        for (path, expected) in [
            ("file", true),
            ("folder/inner/deep", true),
            ("inside/deep", false),
            ("twice/deep", false),
            ("itself/file", false),
        ] {
            for resolution in [Resolution::Beneath, Resolution::Walk] {
                let mut disk = Disk::open(&outer.path().join("root"), &symlinks).unwrap();
                disk.resolution = resolution;
                let Ok(Found::File(_, source)) = disk.find(path.as_bytes()) else {
                    panic!("{path} by {resolution:?}");
                };
                assert_eq!(source.is_direct, expected, "{path} by {resolution:?}");
            }
        }
    }

    #[test]
    fn links_lead_inside() {
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
    fn links_lead_elsewhere_if_they_may() {
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
    fn nothing_outside_is_found() {
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
    fn the_culprit_is_the_link_that_leads_out() {
        let outer = root();
        let check = |symlinks, path: &[u8], expected: Option<(&str, &str)>| {
            let disk = Disk::open(&outer.path().join("root"), &symlinks).unwrap();
            let expected = expected.map(|(path, target)| Link {
                path: path.into(),
                target: target.into(),
            });
            assert_eq!(disk.culprit(path), expected);
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
    fn a_file_that_is_found_while_it_is_removed_is_the_same_when_that_is_dated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![7; 100_000]).unwrap();
        let file = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let source = Source {
            version: Version::of(&file).unwrap(),
            is_direct: true,
        };
        let found = contents(file, source, SystemTime::now()).unwrap();
        let Entry::File { content, .. } = found else {
            panic!("{found:?}");
        };
        let Blob::File { file, version, .. } = content else {
            panic!("{content:?}");
        };
        // The kernel's clock for files has ticks.
        while Version::of(&file).unwrap().changed == version.changed {
            let mode = file.metadata().unwrap().permissions();
            file.set_permissions(mode).unwrap();
        }
        assert!(Version::of(&file).unwrap().has_bytes_of(&version));
    }

    #[test]
    fn a_file_of_another_length_is_read_again() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"12345").unwrap();
        assert_eq!(read(&file, 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(&file, 4).unwrap(), None);
        assert_eq!(read(&file, 6).unwrap(), None);
    }
}
