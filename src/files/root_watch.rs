//! `RootWatch`: reports when the root path may lead to another directory.
//!
//! The paths of other directories that links may lead to are watched in the same manner. A release is switched by
//! giving the name to another directory: `current -> releases/42` becomes `current -> releases/43`, or the directory
//! itself is replaced. The watches are on the directories and symbolic links of the path themselves, not on the names
//! in them: other events in `/srv` or `/tmp` are not reported. While a process has a directory open, as docroot has the
//! root, its deletion is reported only as that of a name in its parent directory. The directories above it cannot be
//! deleted, as they are not empty.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::fs::statfs;

use super::dir::MAX_ATTEMPTS;
use super::inotify::{Inotify, InotifyEvent, WatchId, reports_all_changes};
use super::root::Root;
use super::symlinks::{PathStep, read_link, resolve};

/// Magic number of overlayfs (statfs(2)), where inotify reports every change of directory names that is made through
/// the overlay.
const OVERLAYFS: i64 = 0x794c_7630;

/// Events of a directory or link itself: it is moved or deleted (a deletion is reported as a change of the link count
/// even before the inode is gone).
const SELF_EVENTS: WatchFlags = WatchFlags::MOVE_SELF
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DONT_FOLLOW)
    // A directory on several paths is watched for all of them.
    .union(WatchFlags::MASK_ADD);

/// Events after which a path may lead to another directory. A shared watch has others as well.
const PATH_EVENTS: ReadFlags = ReadFlags::MOVE_SELF
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::ATTRIB)
    .union(ReadFlags::DELETE)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

/// Watches on the root path, and on the paths of other directories that links may lead to. They are in an inotify
/// instance that has other watches as well, and may share one with those: the same directory has one watch.
#[derive(Debug, Default)]
pub(crate) struct RootWatch {
    watches: Vec<WatchId>,
    /// Names of the root and of the other directories in their parent directories.
    watched_names: Vec<Vec<u8>>,
    /// Whether inotify reports every change of the paths.
    is_complete: bool,
}

/// Step of the resolution of a directory's path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RootPathStep {
    /// Directory or symbolic link.
    path: PathBuf,
    /// Whether inotify reports every change of it.
    is_reported: bool,
}

impl RootWatch {
    /// Watches the paths to the directories of this root as they are now: later changes are reported. Watches that
    /// the paths need no more are removed, unless they are `shared`.
    pub(crate) fn watch(
        &mut self,
        root: &Root,
        inotify: &Inotify,
        is_shared: impl Fn(WatchId) -> bool,
    ) {
        let mut paths = path_steps(root);
        for _ in 0..MAX_ATTEMPTS {
            let previous = std::mem::take(&mut self.watches);
            self.watched_names.clear();
            self.is_complete = paths.iter().all(|steps| self.watch_path(steps, inotify));
            for watch in previous {
                if !self.has(watch) && !is_shared(watch) {
                    inotify.unwatch(watch);
                }
            }
            if !self.is_complete {
                return;
            }
            // A name that was switched before it was watched is not reported.
            let now = path_steps(root);
            if now == paths {
                return;
            }
            paths = now;
        }
        self.is_complete = false;
    }

    /// Watches a path. Returns whether inotify reports every change of it.
    fn watch_path(&mut self, steps: &[RootPathStep], inotify: &Inotify) -> bool {
        let end = steps.last().map(|step| &*step.path);
        let parent = end.and_then(Path::parent);
        let name = end.and_then(Path::file_name);
        self.watched_names
            .extend(name.map(|name| name.as_bytes().to_vec()));
        steps.iter().all(|step| {
            let events = match Some(&*step.path) == parent {
                true => SELF_EVENTS | WatchFlags::DELETE,
                false => SELF_EVENTS,
            };
            let watch = inotify.watch(&*step.path, events);
            self.watches.extend(&watch);
            step.is_reported && watch.is_ok()
        })
    }

    /// Returns whether inotify reports every change of the paths.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns whether a watch is on one of the paths.
    pub(crate) fn has(&self, watch: WatchId) -> bool {
        self.watches.contains(&watch)
    }

    /// Returns whether one of the paths may have changed by this event.
    pub(crate) fn is_change(&self, event: &InotifyEvent<'_>) -> bool {
        let is_named = |name| self.watched_names.iter().any(|watched| watched == name);
        event.events.intersects(PATH_EVENTS)
            && self.has(event.watch)
            && (event.name.is_empty() || is_named(event.name))
    }
}

/// Returns the steps from `/` to the root directory, each link after the directory that it is in; and the same for each
/// other directory that links may lead to.
fn path_steps(root: &Root) -> Vec<Vec<RootPathStep>> {
    let is_covered = |kind| reports_all_changes(kind) || kind == OVERLAYFS;
    let step = |step| match step {
        // A link is on the file system of its directory.
        PathStep::Symlink(path, _) => RootPathStep {
            path,
            is_reported: true,
        },
        PathStep::Plain(path) => RootPathStep {
            is_reported: statfs(&path).is_ok_and(|found| is_covered(found.f_type)),
            path,
        },
    };
    let steps = |path| resolve(path, read_link).steps.into_iter();
    let steps = |path| steps(path).map(step).collect();
    root.configured_paths().map(steps).collect()
}
