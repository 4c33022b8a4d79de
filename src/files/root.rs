//! `Root`: the served directory and those where symbolic links may lead, held open, and paths opened beneath them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::Errno;

use super::dir::{DirId, MAX_ATTEMPTS, PathResolver, RootDir};
use super::error::with_permissions;
use super::symlinks::{Symlink, symlinks_below};

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

/// Path that leads to no directory that can be opened, and the error.
pub(crate) type UnavailableDir = (PathBuf, io::Error);

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
        let resolver = match root_dir.find_resolver() {
            Ok(PathResolver::ComponentWalk) if matches!(links, OpenSymlinks::Follow) => {
                // Links in /proc may lead to files without a name, and only openat2 recognizes them.
                let why =
                    "following every symbolic link needs openat2 (Linux 5.6), which is missing";
                return Err((
                    root.to_owned(),
                    io::Error::new(io::ErrorKind::Unsupported, why),
                ));
            }
            Ok(resolver) => resolver,
            Err(error) => return Err((root.to_owned(), with_permissions(root, error))),
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

    /// Returns the configured paths of the root and of the other directories that links may lead to.
    pub(super) fn configured_paths(&self) -> impl Iterator<Item = &Path> {
        self.dirs().map(|dir| &*dir.configured_path)
    }

    /// Returns the mechanism by which no path leads out of the root.
    #[must_use]
    pub fn resolver(&self) -> PathResolver {
        self.resolver
    }

    /// Returns the descriptor of the root directory.
    pub(super) fn dir(&self) -> &OwnedFd {
        &self.root_dir.dir
    }

    /// Whether every symbolic link is followed.
    pub(super) fn follows_all_symlinks(&self) -> bool {
        matches!(self.symlinks, OpenSymlinks::Follow)
    }

    /// Returns the symbolic links on this path, in order.
    pub(crate) fn symlinks_on(&self, path: &[u8]) -> Vec<Symlink> {
        symlinks_below(self.real_path(), path).collect()
    }

    /// Returns the symbolic link on this path that leads where none may; `None` if there is none any more.
    pub(crate) fn offending_link(&self, path: &[u8]) -> Option<Symlink> {
        let is_outside = |link: &Symlink| {
            let real = self.real_path().join(&link.path).canonicalize();
            real.is_ok_and(|real| self.dir_containing(&real).is_none())
        };
        let denies_all = matches!(self.symlinks, OpenSymlinks::Deny);
        symlinks_below(self.real_path(), path).find(|link| denies_all || is_outside(link))
    }

    /// Opens a path without symbolic links. For a link the error is `ELOOP` or `ENOTDIR`.
    pub(super) fn open_nofollow(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        self.root_dir.open_beneath(path, flags, self.resolver)
    }

    /// Opens a path. Returns also whether it is known to have no symbolic link.
    pub(super) fn open_beneath(
        &self,
        path: &[u8],
        flags: OFlags,
    ) -> Result<(OwnedFd, bool), Errno> {
        let opened = match (
            self.open_nofollow(path, flags),
            &self.symlinks,
            self.resolver,
        ) {
            (Ok(opened), ..) => return Ok((opened, true)),
            (Err(Errno::LOOP), OpenSymlinks::Follow, _) => {
                self.root_dir
                    .open_by_kernel(path, flags, ResolveFlags::NO_MAGICLINKS)
            }
            (Err(Errno::LOOP), OpenSymlinks::Inside(_), PathResolver::Openat2) => {
                let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match self.root_dir.open_by_kernel(path, flags, inside) {
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
