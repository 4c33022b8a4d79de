//! Inotify watches on all directories below the root.
//!
//! Each directory is first watched and then read, as a new directory may already contain files. Symbolic links are not
//! followed. Ignored are:
//! - names that begin with a dot, unless they are served;
//! - `.git` and `node_modules`, in which tools write a lot;
//! - backup files of editors;
//! - docroot's own output, since each reload of a page writes a log line.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::fstat;
use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use super::debouncer::FileChange;
use crate::blob::FileVersion;
use crate::files::entry::{join_path, regular_file_version};
use crate::files::inotify::{WatchId, reports_all_changes};
use crate::files::root::Root;
use crate::files::watches::Watches;
use crate::path::last_segment;
use crate::site::names::hidden::is_hidden;

/// Events on the names in a directory and on its files.
const DIR_EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK)
    // The directory may be on the root path, too.
    .union(WatchFlags::MASK_ADD);

const ARRIVAL_EVENTS: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const DEPARTURE_EVENTS: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);

/// Watcher of all directories below a root.
#[derive(Debug)]
pub(super) struct TreeWatcher {
    root: Root,
    is_root_missing: bool,
    hidden: bool,
    /// Directory of each watch.
    watches: Watches<Vec<u8>>,
    /// Watch of each directory.
    ids: BTreeMap<Vec<u8>, WatchId>,
    /// Files that are the process's standard output or error, by device and inode.
    own_outputs: Vec<(u64, u64)>,
    has_warned: bool,
}

/// Event below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeEvent<'a> {
    /// Change to the file at this path, or removal of the directory.
    Path(&'a [u8], FileChange),
    /// Change of the root path: it may lead to another directory.
    RootPath,
    /// Unknown changes: any file, and the root path, may have changed.
    Unknown,
}

impl TreeWatcher {
    /// Creates a watcher. Nothing is watched before [`start`](Self::start).
    ///
    /// # Errors
    /// Fails like inotify_init1(2): no more descriptors, or no more instances for this user.
    pub(super) fn new(root: Root, hidden: bool) -> io::Result<Self> {
        Ok(Self {
            root,
            is_root_missing: false,
            hidden,
            watches: Watches::new()?,
            ids: BTreeMap::new(),
            own_outputs: output_files(),
            has_warned: false,
        })
    }

    /// Returns the descriptor that is readable when there are events to [read](Self::read_events).
    pub(super) fn inotify(&self) -> &impl AsFd {
        &self.watches
    }

    /// Whether the root path must be polled: it is missing, or inotify does not cover all of it.
    pub(super) fn needs_polling(&self) -> bool {
        self.is_root_missing || !self.watches.reports_root_path()
    }

    /// Resolves the root path again, and watches the new directory if it is another one. Returns whether it is.
    pub(super) fn reopen_root_if_changed(&mut self) -> bool {
        let is_another = self.update_root();
        if is_another {
            self.rewatch();
        }
        is_another
    }

    /// Resolves the root path again, and returns whether it is another directory. That is not watched yet.
    fn update_root(&mut self) -> bool {
        // Watch first, then look: no change is missed.
        self.watches.watch_root(&self.root);
        let (reopened, unavailable) = self.root.reopen_if_changed();
        self.is_root_missing = !unavailable.is_empty();
        match reopened {
            Some(root) => {
                self.root = root;
                true
            }
            None => false,
        }
    }

    /// Watches all directories below the root.
    pub(super) fn start(&mut self) {
        self.update_root();
        if let Ok((kind, _)) = self.root.file_system(b"")
            && !reports_all_changes(kind)
        {
            warn!(
                "inotify may not report all changes on the root's file system (0x{kind:x}): \
                 live reload misses the others"
            );
        }
        self.watch_tree(b"", &mut |_| {});
    }

    /// Reports the events since the last call, in order.
    pub(super) fn read_events(&mut self, mut report: impl FnMut(TreeEvent<'_>)) {
        let mut queued = Vec::new();
        let read = self.watches.read_events(|event, _| {
            queued.push((event.watch, event.events, event.name.to_vec()));
        });
        if read == Ok(true) {
            report(TreeEvent::RootPath);
        }
        for (watch, events, name) in queued {
            if events.contains(ReadFlags::IGNORED) {
                if let Some(path) = self.watches.targets.remove(&watch) {
                    self.ids.remove(&path);
                }
                continue;
            }
            // Events of a removed watch may still be queued. Events on the directory itself have no name.
            let Some(dir) = self
                .watches
                .targets
                .get(&watch)
                .filter(|_| !name.is_empty())
            else {
                continue;
            };
            let path = join_path(dir, &name);
            if !self.is_relevant(&path) {
                continue;
            }
            if events.contains(ReadFlags::ISDIR) {
                self.on_dir_event(&path, events, &mut report);
            } else if !self.is_own_output(&path) {
                let change = match events {
                    events if events.intersects(DEPARTURE_EVENTS) => FileChange::Removed,
                    events if events.contains(ReadFlags::CREATE) => FileChange::Created,
                    // A moved file may have replaced another one.
                    _ => FileChange::Modified,
                };
                report(TreeEvent::Path(&path, change));
            }
        }
        if read.is_err() {
            self.rewatch();
            report(TreeEvent::Unknown);
        }
    }

    /// Watches a directory that was created or moved here, and removes the watches of one that was removed.
    fn on_dir_event(
        &mut self,
        path: &[u8],
        events: ReadFlags,
        report: &mut impl FnMut(TreeEvent<'_>),
    ) {
        if events.intersects(DEPARTURE_EVENTS) {
            self.unwatch_tree(path);
        }
        if events.contains(ReadFlags::MOVED_FROM) {
            // Its files are gone, too, without events of their own.
            report(TreeEvent::Path(path, FileChange::Removed));
        }
        if events.intersects(ARRIVAL_EVENTS) {
            self.watch_tree(path, report);
        }
    }

    /// Watches a directory and all directories below it, and reports their files as created.
    fn watch_tree(&mut self, path: &[u8], report: &mut impl FnMut(TreeEvent<'_>)) {
        let mut pending = vec![path.to_vec()];
        while let Some(path) = pending.pop() {
            // The entry was removed, is not readable, or (if its type was unknown) is not a directory.
            let Ok(mut dir) = self.root.read_dir_nofollow(&path) else {
                continue;
            };
            self.add_watch(&dir.proc_path(), path);
            let mut names = Vec::new();
            while let Ok(true) =
                dir.read_entries(|name, is_dir| names.push((name.to_vec(), is_dir)))
            {
                for (name, is_dir) in names.drain(..) {
                    let path = dir.child_path(&name);
                    if !self.is_relevant(&path) {
                        continue;
                    }
                    if is_dir != Some(true) {
                        report(TreeEvent::Path(&path, FileChange::Created));
                    }
                    if is_dir != Some(false) {
                        pending.push(path);
                    }
                }
            }
        }
    }

    fn add_watch(&mut self, name: &[u8], path: Vec<u8>) {
        match self.watches.watch(name, DIR_EVENTS) {
            Ok(watch) => {
                // The directory was renamed.
                if let Some(previous) = self.watches.targets.insert(watch, path.clone())
                    && previous != path
                {
                    self.ids.remove(&previous);
                }
                self.ids.insert(path, watch);
            }
            Err(error) if !std::mem::replace(&mut self.has_warned, true) => {
                let hint = match error {
                    Errno::NOSPC => " (see fs.inotify.max_user_watches)",
                    _ => "",
                };
                warn!(
                    "cannot watch /{}: {error}{hint}; live reload sees changes in {} other directories only",
                    path.escape_ascii(),
                    self.ids.len(),
                );
            }
            Err(_) => {}
        }
    }

    /// Removes the watches of a directory and of all directories below it.
    fn unwatch_tree(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let within = self.ids.range(below.clone()..);
        let within = within.take_while(|(path, _)| path.starts_with(&below));
        let mut gone: Vec<Vec<u8>> = within.map(|(path, _)| path.clone()).collect();
        gone.push(path.to_vec());
        for path in gone {
            if let Some(id) = self.ids.remove(&path) {
                self.watches.remove(id);
            }
        }
    }

    /// Removes all watches, and watches all directories again.
    fn rewatch(&mut self) {
        self.ids.clear();
        self.watches.remove_if(|_| true);
        self.watch_tree(b"", &mut |_| {});
    }

    /// Whether the file at a path is the process's standard output or error.
    fn is_own_output(&self, path: &[u8]) -> bool {
        let is_output =
            |version: FileVersion| self.own_outputs.contains(&(version.device, version.inode));
        !self.own_outputs.is_empty()
            && matches!(self.root.file_version(path), Ok(Some(version)) if is_output(version))
    }

    /// Whether events at a path are reported.
    fn is_relevant(&self, path: &[u8]) -> bool {
        let name = last_segment(path);
        let is_backup = name.ends_with(b"~") || name.starts_with(b"#");
        let is_hidden = !self.hidden && is_hidden(path);
        !(is_backup || is_hidden || matches!(name, b".git" | b"node_modules"))
    }
}

/// Returns the regular files that are standard output or error, by device and inode.
fn output_files() -> Vec<(u64, u64)> {
    let stats = [fstat(io::stdout().as_fd()), fstat(io::stderr().as_fd())];
    let versions = stats.iter().flatten().filter_map(regular_file_version);
    versions
        .map(|version| (version.device, version.inode))
        .collect()
}
