//! `Watches`: an inotify instance with watches on the root path, and on files and directories below it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::inotify::WatchFlags;
use rustix::io::Errno;
use rustix::path::Arg;

use super::inotify::{Inotify, InotifyEvent, MissedEvents, WatchId};
use super::root::Root;
use super::root_watch::RootWatch;

/// inotify instance with watches on the root path, and on files and directories below it. A directory that is both has
/// one watch, which is removed when it is neither any more.
#[derive(Debug)]
pub(crate) struct Watches<T> {
    inotify: Inotify,
    root_watch: RootWatch,
    /// Targets of the watches below the root.
    pub(crate) targets: HashMap<WatchId, T>,
}

impl<T> Watches<T> {
    /// Creates an instance without watches.
    ///
    /// # Errors
    /// Those of [`Inotify::new`].
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            inotify: Inotify::new()?,
            root_watch: RootWatch::default(),
            targets: HashMap::new(),
        })
    }

    /// Watches the root path as it is now. Returns whether inotify reports every change of it.
    pub(crate) fn watch_root(&mut self, root: &Root) -> bool {
        let is_shared = |id| self.targets.contains_key(&id);
        self.root_watch.watch(root, &self.inotify, is_shared);
        self.reports_root_path()
    }

    /// Returns whether inotify reports every change of the root path.
    pub(crate) fn reports_root_path(&self) -> bool {
        self.root_watch.is_complete()
    }

    /// Watches the file or directory at a path, which becomes a target by insertion into [`targets`](Self::targets).
    ///
    /// # Errors
    /// Those of [`Inotify::watch`].
    pub(crate) fn watch(&self, path: impl Arg, events: WatchFlags) -> Result<WatchId, Errno> {
        self.inotify.watch(path, events)
    }

    /// Removes a target, and returns whether it was one.
    pub(crate) fn remove(&mut self, id: WatchId) -> bool {
        let was_target = self.targets.remove(&id).is_some();
        if was_target && !self.root_watch.has(id) {
            self.inotify.unwatch(id);
        }
        was_target
    }

    /// Removes all targets for which this holds.
    pub(crate) fn remove_if(&mut self, is_removed: impl Fn(&T) -> bool) {
        for (id, _) in self.targets.extract_if(|_, target| is_removed(target)) {
            if !self.root_watch.has(id) {
                self.inotify.unwatch(id);
            }
        }
    }

    /// Reports the queued events with the targets, in order. Returns whether the root path may have changed.
    ///
    /// # Errors
    /// Events were missed.
    pub(crate) fn read_events(
        &mut self,
        mut report: impl FnMut(&InotifyEvent<'_>, &mut HashMap<WatchId, T>),
    ) -> Result<bool, MissedEvents> {
        let mut has_root_changed = false;
        self.inotify.read_events(|event| {
            has_root_changed |= self.root_watch.is_change(&event);
            report(&event, &mut self.targets);
        })?;
        Ok(has_root_changed)
    }
}

impl<T> AsFd for Watches<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
