//! What inotify says of all that is below a folder.
//!
//! Each folder is watched, whatever is in it: first the watch, then a look at what is there already, which has come with
//! the folder. Symbolic links are not followed. What is not heard: names that begin with a dot, unless they are served;
//! `.git` and `node_modules`, in which much happens that is nobody's work; the copies that editors leave behind; and what
//! we write ourselves, since to reload a page is to write a line.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use tracing::warn;

use super::super::root::{Root, file_type, join_path};
use super::super::root_watch::RootWatch;
use super::super::search::is_hidden;
use super::super::watch::LOCAL_FILE_SYSTEMS;
use super::debouncer::FileChange;
use crate::blob::FileVersion;

/// What may happen in a folder: to its names, and to its files.
const DIR_EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

const ARRIVAL_EVENTS: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const DEPARTURE_EVENTS: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);

/// Watches over all folders below a root.
#[derive(Debug)]
pub(super) struct TreeWatcher {
    root: Root,
    /// What leads to the root, and whether that leads nowhere just now.
    root_watch: RootWatch,
    is_root_missing: bool,
    hidden: bool,
    inotify: OwnedFd,
    /// Each watch's folder, and each folder's watch.
    dirs: HashMap<i32, Vec<u8>>,
    watches: BTreeMap<Vec<u8>, i32>,
    /// What our standard output and error are written to, if these are files: device and inode.
    own_outputs: Vec<(u64, u64)>,
    has_warned: bool,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeEvent<'a> {
    /// This has happened to the file under this path, or, if it is gone, to the folder.
    Path(&'a [u8], FileChange),
    /// Anything may have happened.
    Unknown,
}

/// An event, as it was read.
type InotifyEvent = (i32, ReadFlags, Vec<u8>);

impl TreeWatcher {
    /// Nothing is watched before it [begins](Self::start).
    ///
    /// # Errors
    /// What inotify_init1(2) says: no more descriptors, or no more instances for this user.
    pub(super) fn new(root: Root, hidden: bool) -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        Ok(Self {
            root,
            root_watch: RootWatch::new()?,
            is_root_missing: false,
            hidden,
            inotify: inotify::init(flags)?,
            dirs: HashMap::new(),
            watches: BTreeMap::new(),
            own_outputs: output_files(),
            has_warned: false,
        })
    }

    /// What is readable when there is something to [hear](Self::read_events).
    pub(super) fn inotify(&self) -> &OwnedFd {
        &self.inotify
    }

    /// What is readable when the root's name may lead elsewhere.
    pub(super) fn root_inotify(&self) -> &OwnedFd {
        &self.root_watch.inotify
    }

    /// Whether the root's name leads nowhere, or nobody would say that it leads elsewhere: then somebody has to look.
    pub(super) fn needs_polling(&self) -> bool {
        self.is_root_missing || !self.root_watch.is_complete()
    }

    /// Goes on with what the root's name leads to by now. Whether that is another folder.
    pub(super) fn reopen_root_if_changed(&mut self) -> bool {
        let is_another = self.update_root();
        if is_another {
            self.rewatch();
        }
        is_another
    }

    /// Whether the root's name leads to another folder by now. What that has is not watched yet.
    fn update_root(&mut self) -> bool {
        // First the watch, then the look.
        self.root_watch.watch(&self.root);
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

    /// Watches over what there is.
    pub(super) fn start(&mut self) {
        self.update_root();
        if let Ok((kind, _)) = self.root.file_system(b"")
            && !LOCAL_FILE_SYSTEMS.contains(&kind)
        {
            warn!(
                "inotify need not tell of all changes on the root's file system (0x{kind:x}): \
                 pages are reloaded after those that it tells of"
            );
        }
        self.watch_tree(b"", &mut |_| {});
    }

    /// Says what has happened since this was last asked, in order.
    pub(super) fn read_events(&mut self, mut report: impl FnMut(TreeEvent<'_>)) {
        for (watch, events, name) in self.read_inotify() {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.rewatch();
                return report(TreeEvent::Unknown);
            }
            if events.contains(ReadFlags::IGNORED) {
                if let Some(path) = self.dirs.remove(&watch) {
                    self.watches.remove(&path);
                }
                continue;
            }
            // What was watched until a moment ago may still be heard of; and of the folder itself nothing is said here.
            let Some(dir) = self.dirs.get(&watch).filter(|_| !name.is_empty()) else {
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
                    // What has been moved there may have taken another one's place.
                    _ => FileChange::Modified,
                };
                report(TreeEvent::Path(&path, change));
            }
        }
    }

    /// Does what follows from a folder that has come or gone.
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
            // What was in it has gone with it, and nothing more is said of that.
            report(TreeEvent::Path(path, FileChange::Removed));
        }
        if events.intersects(ARRIVAL_EVENTS) {
            self.watch_tree(path, report);
        }
    }

    /// All that is queued. What cannot be read is as good as lost.
    fn read_inotify(&self) -> Vec<InotifyEvent> {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut events = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    events.push((event.wd(), event.events(), name.unwrap_or_default()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return events,
                Err(_) => {
                    events.push((-1, ReadFlags::QUEUE_OVERFLOW, Vec::new()));
                    return events;
                }
            }
        }
    }

    /// Watches over a folder and all below it, and says which files are in there.
    fn watch_tree(&mut self, path: &[u8], report: &mut impl FnMut(TreeEvent<'_>)) {
        let mut pending = vec![path.to_vec()];
        while let Some(path) = pending.pop() {
            // It may have gone by now, not be ours to read, or, of what nobody knows what it is, be no folder.
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
        match inotify::add_watch(&self.inotify, name, DIR_EVENTS) {
            Ok(watch) => {
                // Where it was before, it is no more.
                if let Some(previous) = self.dirs.insert(watch, path.clone())
                    && previous != path
                {
                    self.watches.remove(&previous);
                }
                self.watches.insert(path, watch);
            }
            Err(error) if !std::mem::replace(&mut self.has_warned, true) => {
                let hint = match error {
                    Errno::NOSPC => " (see fs.inotify.max_user_watches)",
                    _ => "",
                };
                warn!(
                    "/{} is not watched: {error}{hint}; pages are reloaded after changes in the {} folders that are",
                    path.escape_ascii(),
                    self.watches.len(),
                );
            }
            Err(_) => {}
        }
    }

    /// Watches no longer over a folder and all that is below it.
    fn unwatch_tree(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let within = self.watches.range(below.clone()..);
        let within = within.take_while(|(path, _)| path.starts_with(&below));
        let mut gone: Vec<Vec<u8>> = within.map(|(path, _)| path.clone()).collect();
        gone.push(path.to_vec());
        for path in gone {
            if let Some(watch) = self.watches.remove(&path) {
                self.dirs.remove(&watch);
                // What has gone by itself is gone.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
    }

    /// Forgets what was watched, and looks again what there is.
    fn rewatch(&mut self) {
        self.watches.clear();
        for (watch, _) in std::mem::take(&mut self.dirs) {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
        self.watch_tree(b"", &mut |_| {});
    }

    /// Whether it is we who write to what is under a path.
    fn is_own_output(&self, path: &[u8]) -> bool {
        let is_output =
            |version: FileVersion| self.own_outputs.contains(&(version.device, version.inode));
        !self.own_outputs.is_empty()
            && matches!(self.root.file_version(path), Ok(Some(version)) if is_output(version))
    }

    /// Whether it matters what happens under a path.
    fn is_relevant(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_backup = name.ends_with(b"~") || name.starts_with(b"#");
        let is_hidden = !self.hidden && is_hidden(path);
        !(is_backup || is_hidden || matches!(name, b".git" | b"node_modules"))
    }
}

/// What standard output and error are written to, if these are files: device and inode.
fn output_files() -> Vec<(u64, u64)> {
    let stats = [fstat(io::stdout().as_fd()), fstat(io::stderr().as_fd())];
    let files = stats.into_iter().flatten();
    files
        .filter(|stat| file_type(stat) == FileType::RegularFile)
        .map(|stat| (stat.st_dev, stat.st_ino))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::super::root::Symlinks;
    use super::*;

    #[test]
    fn root_switched_before_start_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        for dir in ["one", "two"] {
            fs::create_dir(at(dir)).unwrap();
        }
        symlink("one", at("current")).unwrap();
        let root = Root::open(&at("current"), &Symlinks::default()).unwrap();
        let mut tree = TreeWatcher::new(root, false).unwrap();
        symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("current")).unwrap();
        tree.start();
        for dir in ["one", "two"] {
            fs::write(at(dir).join(dir), "").unwrap();
        }
        let mut events = Vec::new();
        tree.read_events(|event| match event {
            TreeEvent::Path(path, _) => events.push(String::from_utf8_lossy(path).into_owned()),
            TreeEvent::Unknown => events.push("anything".into()),
        });
        events.dedup();
        assert_eq!(events, ["two"]);
    }
}
