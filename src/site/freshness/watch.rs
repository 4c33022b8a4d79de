//! `FileWatcher`: inotify watches on the files of cached lookups.
//!
//! The kernel queues an event before the system call that made the change returns. A server that reads the queue first
//! therefore sees every change that a client can know of when it sends a request, and needs no stat(2). inotify does
//! not see every change. A file of which it may miss one is not watched (`None` below), so its versions are compared:
//!
//! - **Changes made elsewhere**: on network and FUSE file systems, and below an overlay. Only file systems are trusted
//!   of which it is known that every change goes through this kernel.
//! - **Symbolic links on the path**, which lead through directories that are not watched.
//! - **Mounts** over a directory or a file. The kernel's list of mounts reports those, and is polled, too.
//! - **Stores through a shared memory map.** To map a file, a process must open it: from then until it is closed, which
//!   is after the map has gone, the file is not trusted. A file that was changed a moment ago may have been mapped
//!   before it was watched, and is not trusted, either. Two cases remain: a file that was already mapped when it came
//!   to be watched, with no store in the ten seconds before, and is stored to again; and a file that is mapped later,
//!   while another process has had it open since before it was watched, and closes it first: a close event does not say
//!   which process closed.
//! - **Any change**, once the queue has overflowed. Then all entries are dropped, and files are watched anew.
//! - **More files than there may be watches** (`fs.inotify.max_user_watches`).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use super::root_watch::RootWatch;
use crate::files::root::{FileSource, Root};

/// File systems on which every change goes through this kernel, by their magic numbers (statfs(2)): ext2 to ext4, XFS,
/// btrfs, tmpfs. The tests of changes run on each of them (`.ci/file-systems`); F2FS and bcachefs may belong here, but
/// could not be tested.
pub(crate) const LOCAL_FILE_SYSTEMS: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Events of a directory that concern the names in it. (IN_ATTRIB is reported for its files as well, which means
/// little.)
const DIR_EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// Events of a file, under any of its names.
const FILE_EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::OPEN)
    .union(WatchFlags::CLOSE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DONT_FOLLOW);

/// Events after which a directory's path may lead to another directory.
const DIR_MOVE_EVENTS: ReadFlags = ReadFlags::ISDIR
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

const CLOSE_EVENTS: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::CLOSE_NOWRITE);

/// Maximum number of watched directories. Each costs the kernel about a kilobyte, which stays in use when the lookups
/// of its files are evicted.
const MAX_WATCHED_DIRS: usize = 4096;

/// inotify watches on files, and on the directories of their paths.
#[derive(Debug)]
pub(crate) struct FileWatcher {
    inotify: OwnedFd,
    mounts: OwnedFd,
    root_watch: RootWatch,
    /// All of these, as one descriptor.
    epoll: OwnedFd,
    /// Second descriptor of the list of mounts, for `epoll`: the kernel reports a change once per open descriptor, and
    /// a report to `epoll` must not hide the one to `mounts`.
    _epoll_mounts: OwnedFd,
    watches: HashMap<i32, WatchTarget>,
    /// Device of each watched directory; `None` where inotify may miss a change.
    dirs: HashMap<Vec<u8>, Option<u64>>,
    is_full: bool,
    has_warned: bool,
}

/// Object of a watch.
#[derive(Clone, Copy, Debug)]
enum WatchTarget {
    Dir,
    /// File, and the number of times it was opened since and not closed, as far as is known.
    File {
        openers: u32,
    },
}

/// Identifier of a watched file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchId(i32);

/// Change reported by inotify or by the list of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    /// Something happened to this file.
    File(WatchId),
    /// Something happened to the names in a directory.
    Names,
    /// Something happened on the root path, or on the path of another directory that links may lead to, so that it may
    /// lead elsewhere.
    RootPath,
    /// Events were missed. Nothing is watched any more but the root path.
    Unknown,
}

impl FileWatcher {
    /// Creates a watcher of the root directory only; `None` where inotify is not available, or may miss changes on the
    /// root's file system.
    pub(crate) fn new(root: &Root) -> Option<Self> {
        let mut watch = Self::open().ok()?;
        watch.watch_dir(root, b"").map(|_| watch)
    }

    fn open() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags)?;
        let (mounts, epoll_mounts, root_watch) = (
            Root::open_mountinfo()?,
            Root::open_mountinfo()?,
            RootWatch::new()?,
        );
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listen =
            |source, events| epoll::add(&epoll, source, epoll::EventData::new_u64(0), events);
        listen(&inotify, epoll::EventFlags::IN)?;
        listen(&root_watch.inotify, epoll::EventFlags::IN)?;
        // Changes are reported as priority data (proc_pid_mountinfo(5)).
        listen(&epoll_mounts, epoll::EventFlags::PRI)?;
        Ok(Self {
            inotify,
            mounts,
            root_watch,
            epoll,
            _epoll_mounts: epoll_mounts,
            watches: HashMap::new(),
            dirs: HashMap::new(),
            is_full: false,
            has_warned: false,
        })
    }

    /// Returns a descriptor that is readable when there are events.
    pub(crate) fn event_fd(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Watches the file at a path: later changes are reported. `None` if inotify may miss some.
    pub(crate) fn watch(
        &mut self,
        root: &Root,
        path: &[u8],
        source: &FileSource,
    ) -> Option<WatchId> {
        if !source.has_no_symlink || self.watch_parents(root, path)? != source.version.device {
            return None;
        }
        let watch = self.add_watch(&root.proc_path(path), FILE_EVENTS)?;
        let target = WatchTarget::File { openers: 0 };
        self.watches.entry(watch).or_insert(target);
        Some(WatchId(watch))
    }

    /// Returns whether a file is still watched, with the directories of its path.
    pub(crate) fn is_watched(&mut self, root: &Root, path: &[u8], id: WatchId) -> bool {
        self.watches.contains_key(&id.0) && self.watch_parents(root, path).is_some()
    }

    /// Returns whether no process has the file open, as far as is known.
    pub(crate) fn is_unopened(&self, id: WatchId) -> bool {
        matches!(
            self.watches.get(&id.0),
            Some(WatchTarget::File { openers: 0 })
        )
    }

    /// Stops watching a file.
    pub(crate) fn unwatch(&mut self, id: WatchId) {
        if self.watches.remove(&id.0).is_some() {
            self.remove_watch(id.0);
        }
    }

    /// Reports the events since the last call, in order.
    pub(crate) fn poll_events(&mut self, mut report: impl FnMut(WatchEvent)) {
        let mut poll_fds = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::new(&self.mounts, PollFlags::PRI),
            PollFd::new(&self.root_watch.inotify, PollFlags::IN),
        ];
        let polled = poll(&mut poll_fds, Some(&Timespec::default()));
        let [has_changed, has_mounted, has_root_changed] =
            poll_fds.map(|poll_fds| !poll_fds.revents().is_empty());
        if has_root_changed && self.root_watch.has_changed() {
            report(WatchEvent::RootPath);
        }
        if polled.is_err() || has_mounted {
            self.unwatch_all(&mut report);
        } else if has_changed {
            self.read_inotify(&mut report);
        }
    }

    fn read_inotify(&mut self, report: &mut impl FnMut(WatchEvent)) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut has_moved = false;
        let inotify = &self.inotify;
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let error = loop {
            let (watch, events) = match reader.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::INTR) => continue,
                Err(error) => break error,
            };
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                break Errno::OVERFLOW;
            }
            match self.watches.get_mut(&watch) {
                // The watch was removed a moment ago.
                None => {}
                Some(WatchTarget::Dir) => {
                    has_moved |= events.intersects(DIR_MOVE_EVENTS);
                    report(WatchEvent::Names);
                }
                Some(WatchTarget::File { openers }) => {
                    // (The kernel merges equal events in a row.)
                    if events.contains(ReadFlags::OPEN) {
                        *openers += 1;
                    }
                    if events.intersects(CLOSE_EVENTS) {
                        *openers = openers.saturating_sub(1);
                    }
                    if events.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
                        self.watches.remove(&watch);
                    }
                    report(WatchEvent::File(WatchId(watch)));
                }
            }
        };
        if error != Errno::AGAIN {
            self.unwatch_all(report);
        } else if has_moved {
            self.unwatch_dirs();
        }
    }

    /// Watches the root path as it is now. Returns whether inotify reports every change of it.
    pub(crate) fn watch_root(&mut self, root: &Root) -> bool {
        self.root_watch.watch(root);
        self.root_watch.is_complete()
    }

    /// Removes all watches but those on the root path, because the root has become another directory.
    pub(crate) fn reset(&mut self) {
        self.unwatch_all(&mut |_| {});
    }

    /// Removes all watches but those on the root path, because events were missed.
    fn unwatch_all(&mut self, report: &mut impl FnMut(WatchEvent)) {
        for watch in std::mem::take(&mut self.watches).into_keys() {
            self.remove_watch(watch);
        }
        self.dirs.clear();
        report(WatchEvent::Unknown);
    }

    fn unwatch_dirs(&mut self) {
        let dirs: Vec<i32> = self
            .watches
            .extract_if(|_, target| matches!(target, WatchTarget::Dir))
            .map(|(watch, _)| watch)
            .collect();
        for watch in dirs {
            self.remove_watch(watch);
        }
        self.dirs.clear();
    }

    /// Watches all directories of a path. Returns the device of the last one; `None` if inotify may miss changes.
    fn watch_parents(&mut self, root: &Root, path: &[u8]) -> Option<u64> {
        let mut device = self.watch_dir(root, b"")?;
        for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            device = self.watch_dir(root, &path[..end])?;
        }
        Some(device)
    }

    /// Watches a directory. Returns its device; `None` if inotify may miss changes.
    fn watch_dir(&mut self, root: &Root, path: &[u8]) -> Option<u64> {
        if let Some(&device) = self.dirs.get(path) {
            return device;
        }
        if self.is_full || self.dirs.len() >= MAX_WATCHED_DIRS {
            return None;
        }
        let (kind, device) = root.file_system(path).ok()?;
        let device = LOCAL_FILE_SYSTEMS.contains(&kind).then_some(device);
        if device.is_some() {
            let watch = self.add_watch(&root.proc_path(path), DIR_EVENTS)?;
            self.watches.insert(watch, WatchTarget::Dir);
        }
        self.dirs.insert(path.to_vec(), device);
        device
    }

    fn add_watch(&mut self, name: &[u8], events: WatchFlags) -> Option<i32> {
        if self.is_full {
            return None;
        }
        match inotify::add_watch(&self.inotify, name, events) {
            Ok(watch) => Some(watch),
            Err(Errno::NOSPC) => {
                self.is_full = true;
                if !std::mem::replace(&mut self.has_warned, true) {
                    warn!(
                        "inotify watches {} files and directories, and can watch no more \
                         (see fs.inotify.max_user_watches); others are checked by stat",
                        self.watches.len()
                    );
                }
                None
            }
            Err(_) => None,
        }
    }

    fn remove_watch(&mut self, watch: i32) {
        // Fails if the kernel has removed the watch already, with its file.
        let _ = inotify::remove_watch(&self.inotify, watch);
        self.is_full = false;
    }
}

#[cfg(test)]
impl WatchId {
    /// Creates an identifier without a watch.
    pub(crate) fn new(number: i32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::files::root::{EntryDescriptor, Symlinks};

    /// Root in which `folder/file` is watched.
    struct WatchedRoot {
        outer: tempfile::TempDir,
        site_root: Root,
        watch: FileWatcher,
        file: WatchId,
    }

    impl WatchedRoot {
        /// Returns `None`, with a message, where inotify may miss changes in the temporary directory.
        fn new() -> Option<Self> {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("root");
            fs::create_dir_all(root.join("folder")).unwrap();
            for name in ["folder/file", "other", "large"] {
                fs::write(root.join(name), "content").unwrap();
            }
            fs::hard_link(root.join("folder/file"), outer.path().join("alias")).unwrap();
            symlink("folder", root.join("way")).unwrap();
            let site_root = Root::open(&root, &Symlinks::default()).unwrap();
            let Some(mut watch) = FileWatcher::new(&site_root) else {
                eprintln!("SKIPPED: inotify may miss changes in the temporary directory");
                return None;
            };
            let source = source(&site_root, "folder/file");
            let file = watch.watch(&site_root, b"folder/file", &source).unwrap();
            let mut watching = Self {
                outer,
                site_root,
                watch,
                file,
            };
            assert_eq!(watching.events(), [], "no events yet");
            Some(watching)
        }

        fn root(&self) -> PathBuf {
            self.outer.path().join("root")
        }

        fn path(&self) -> PathBuf {
            self.root().join("folder/file")
        }

        /// Returns the events, each once.
        fn events(&mut self) -> Vec<WatchEvent> {
            let mut events = Vec::new();
            self.watch.poll_events(|event| {
                if !events.contains(&event) {
                    events.push(event);
                }
            });
            events
        }

        /// Returns whether the event descriptor is readable.
        fn has_events(&self) -> bool {
            let fd = self.watch.event_fd().unwrap();
            let mut fds = [rustix::event::PollFd::new(
                &fd,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        }

        fn is_unopened(&self) -> bool {
            self.watch.is_unopened(self.file)
        }
    }

    fn source(site_root: &Root, path: &str) -> FileSource {
        match site_root.open_descriptor(path.as_bytes()).unwrap() {
            EntryDescriptor::File(_, source) => source,
            other => panic!("{other:?}"),
        }
    }

    /// Checks the events of an action, each once, in any order.
    fn check(label: &str, act: impl FnOnce(&Path), expects_file: bool, expects_names: bool) {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        act(&watching.root());
        let expects_any = expects_file || expects_names;
        assert_eq!(watching.has_events(), expects_any, "{label}: readable");
        let events = watching.events();
        let has = |event| events.contains(&event);
        let expected = (expects_file, expects_names, false);
        let found = (
            has(WatchEvent::File(watching.file)),
            has(WatchEvent::Names),
            has(WatchEvent::Unknown),
        );
        assert_eq!(found, expected, "{label}: {events:?}");
        // (The last event of a removed watch is ignored.)
        assert_eq!(watching.events(), [], "{label}: reported once");
        assert!(!watching.has_events(), "{label}: all events are read");
    }

    fn open(path: PathBuf) -> File {
        File::options().write(true).open(path).unwrap()
    }

    #[test]
    fn each_file_change_is_reported() {
        let file_event = |label, act: fn(&Path)| check(label, act, true, false);
        file_event("written", |root| {
            open(root.join("folder/file"))
                .write_all_at(b"C", 0)
                .unwrap();
        });
        file_event("truncated", |root| {
            open(root.join("folder/file")).set_len(0).unwrap();
        });
        file_event("modification date set", |root| {
            let date = std::time::UNIX_EPOCH;
            open(root.join("folder/file")).set_modified(date).unwrap();
        });
        file_event("opened", |root| drop(File::open(root.join("folder/file"))));
        file_event("written by its other hard link", |root| {
            open(root.join("../alias")).write_all_at(b"C", 0).unwrap();
        });
        file_event("another hard link created", |root| {
            fs::hard_link(root.join("../alias"), root.join("../another")).unwrap();
        });
        file_event("another hard link removed", |root| {
            fs::remove_file(root.join("../alias")).unwrap();
        });
    }

    #[test]
    fn each_name_change_is_reported() {
        let rename = |root: &Path, from: &str, to: &str| {
            fs::rename(root.join(from), root.join(to)).unwrap();
        };
        let both_events = |label, act: &dyn Fn(&Path)| check(label, act, true, true);
        both_events("deleted", &|root| {
            fs::remove_file(root.join("folder/file")).unwrap();
        });
        // A directory reports its files' attributes, too.
        both_events("its mode changed", &|root| {
            let mode = Permissions::from_mode(0o600);
            fs::set_permissions(root.join("folder/file"), mode).unwrap();
        });
        both_events("replaced", &|root| rename(root, "other", "folder/file"));
        both_events("renamed", &|root| {
            rename(root, "folder/file", "folder/other");
        });
        both_events("moved out", &|root| rename(root, "folder/file", "../file"));
        let names_event = |label, act: &dyn Fn(&Path)| check(label, act, false, true);
        names_event("its directory renamed", &|root| {
            rename(root, "folder", "other folder");
        });
        names_event("its directory moved out", &|root| {
            rename(root, "folder", "../folder");
        });
        names_event("another name appears beside it", &|root| {
            fs::write(root.join("folder/index"), "").unwrap();
        });
        names_event("a name above it disappears", &|root| {
            fs::remove_file(root.join("other")).unwrap();
        });
        names_event("a link appears beside it", &|root| {
            symlink("file", root.join("folder/link")).unwrap();
        });
        names_event("the mode of its directory changed", &|root| {
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(root.join("folder"), mode).unwrap();
        });
        names_event("the root renamed", &|root| {
            rename(root, "../root", "../moved");
        });
        let no_event = |label, act: &dyn Fn(&Path)| check(label, act, false, false);
        no_event("a file appears beside the root", &|root| {
            fs::write(root.join("../beside"), "").unwrap();
        });
        no_event("another file written", &|root| {
            fs::File::options()
                .append(true)
                .open(root.join("large"))
                .and_then(|file| file.write_all_at(b"more", 0))
                .unwrap();
        });
    }

    #[test]
    fn replacing_directory_is_watched() {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        let root = watching.root();
        fs::rename(root.join("folder"), root.join("gone")).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "another").unwrap();
        assert_eq!(watching.events(), [WatchEvent::Names]);
        let source = source(&watching.site_root, "folder/file");
        let (watch, site_root) = (&mut watching.watch, &watching.site_root);
        assert!(watch.is_watched(site_root, b"folder/file", watching.file));
        let another = watch.watch(site_root, b"folder/file", &source).unwrap();
        assert_ne!(another, watching.file);
        watching.events();
        fs::write(root.join("folder/beside"), "").unwrap();
        assert_eq!(watching.events(), [WatchEvent::Names]);
        fs::write(root.join("gone/beside"), "").unwrap();
        assert_eq!(
            watching.events(),
            [],
            "that directory is no longer on the path"
        );
        fs::write(root.join("folder/file"), "changed").unwrap();
        assert_eq!(watching.events(), [WatchEvent::File(another)]);
    }

    #[test]
    fn open_file_is_not_unopened() {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        assert!(watching.is_unopened());
        let opened = File::open(watching.path()).unwrap();
        assert_eq!(watching.events(), [WatchEvent::File(watching.file)]);
        assert!(!watching.is_unopened());
        let again = File::open(watching.path()).unwrap();
        watching.events();
        drop(opened);
        watching.events();
        assert!(!watching.is_unopened(), "it was opened twice");
        // A duplicated descriptor is closed once.
        let twice = again.try_clone().unwrap();
        drop(again);
        watching.events();
        assert!(!watching.is_unopened());
        drop(twice);
        assert_eq!(watching.events(), [WatchEvent::File(watching.file)]);
        assert!(watching.is_unopened());
        drop(open(watching.path()));
        assert_eq!(watching.events(), [WatchEvent::File(watching.file)]);
        assert!(watching.is_unopened());
    }

    #[test]
    fn file_behind_symlink_is_not_watched() {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        let (watch, site_root) = (&mut watching.watch, &watching.site_root);
        let by_link = source(site_root, "way/file");
        assert!(!by_link.has_no_symlink);
        assert_eq!(watch.watch(site_root, b"way/file", &by_link), None);
        // Nor is a file whose path has come to have the link since.
        let direct = source(site_root, "folder/file");
        assert_eq!(watch.watch(site_root, b"way/file", &direct), None);
        // Nor is a file on another file system than its directory.
        let mut elsewhere = direct;
        elsewhere.version.device += 1;
        assert_eq!(watch.watch(site_root, b"folder/file", &elsewhere), None);
    }

    #[test]
    fn unwatched_file_reports_no_events() {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        watching.watch.unwatch(watching.file);
        assert!(!watching.is_unopened());
        fs::write(watching.path(), "other").unwrap();
        assert_eq!(watching.events(), []);
        let (watch, site_root) = (&mut watching.watch, &watching.site_root);
        assert!(!watch.is_watched(site_root, b"folder/file", watching.file));
        watching.watch.unwatch(watching.file);
        assert_eq!(watching.events(), []);
    }

    #[test]
    fn inotify_queue_overflow_is_reported_as_unknown() {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events");
        let limit: usize = limit.unwrap().trim().parse().unwrap();
        if limit > 1 << 20 {
            eprintln!("SKIPPED: the queue holds {limit} events");
            return;
        }
        for _ in 0..=limit / 2 {
            drop(File::open(watching.path()));
        }
        let events = watching.events();
        assert_eq!(events.last(), Some(&WatchEvent::Unknown), "{events:?}");
        assert!(!watching.is_unopened());
        // Files can be watched again.
        watching.events();
        fs::write(watching.path(), "unwatched").unwrap();
        assert_eq!(watching.events(), [], "nothing is watched");
        let source = source(&watching.site_root, "folder/file");
        let file = watching
            .watch
            .watch(&watching.site_root, b"folder/file", &source);
        watching.events();
        fs::write(watching.path(), "watched").unwrap();
        assert_eq!(watching.events(), [WatchEvent::File(file.unwrap())]);
    }

    #[test]
    fn only_local_file_systems_are_watched() {
        let site_root = Root::open(Path::new("/proc/self"), &Symlinks::default()).unwrap();
        assert!(FileWatcher::new(&site_root).is_none());
    }
}
