//! What inotify says of the files that were found.
//!
//! It queues an event before the call that made the change returns. So whoever listens to it first sees every
//! change that anybody can know of who asks afterwards, and need not ask the file system. It does not see
//! everything, and what it does not see is not watched (`None` below), so that its versions are compared:
//!
//! - **What is changed elsewhere**: on network and FUSE file systems, and below an overlay. Only file systems
//!   are trusted of which it is known that everything goes through this kernel.
//! - **What is on the way**, if that has symbolic links, which lead through folders that nobody watches.
//! - **What is mounted over** a folder or a file. Of that the list of mounts tells, which is listened to, too.
//! - **Stores through a shared memory map.** To have one, somebody must have opened the file: from then until
//!   it is closed, which is after the map has gone, it is not trusted. A file that was changed a moment ago may
//!   have been mapped before it was watched, and is not trusted, either. What is left is a file that had been
//!   mapped when it came to be watched, with no store in the ten seconds before, and is stored to again; also one
//!   that is mapped later, while it is open elsewhere since before it was watched, and that one closes it first:
//!   closes do not say of whom.
//! - **Anything at all**, once the queue has overflowed. Then everything is forgotten, and begun anew.
//! - **More files than there may be watches** (`fs.inotify.max_user_watches`).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use super::root::{FileSource, Root};
use super::root_watch::RootWatch;

/// File systems on which nothing changes but by way of this kernel, by their magic numbers (statfs(2)): ext2 to
/// ext4, XFS, btrfs, tmpfs. The tests of changes run on each of them (`.ci/file-systems`); F2FS and bcachefs may belong
/// here, but could not be tried.
pub(super) const LOCAL_FILE_SYSTEMS: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// What may happen in a folder that concerns the names in it. (Of its files IN_ATTRIB is heard as well, which
/// says little.)
const DIR_EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// What may happen to a file, under whichever of its names.
const FILE_EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::OPEN)
    .union(WatchFlags::CLOSE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DONT_FOLLOW);

/// What may mean that what is under a folder's name is another folder by now.
const DIR_MOVE_EVENTS: ReadFlags = ReadFlags::ISDIR
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

const CLOSE_EVENTS: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::CLOSE_NOWRITE);

/// Folders that are watched at the most. Each costs the kernel about a kilobyte, and is not given back when
/// the files in it are forgotten.
const MAX_WATCHED_DIRS: usize = 4096;

/// Watches over files, and the folders on the way to them.
#[derive(Debug)]
pub(super) struct FileWatcher {
    inotify: OwnedFd,
    mounts: OwnedFd,
    root_watch: RootWatch,
    /// All of them, as one descriptor.
    epoll: OwnedFd,
    /// The list of mounts tells each who has it open once. Who waits for the bell has it told, and we are not
    /// to miss it.
    _epoll_mounts: OwnedFd,
    watches: HashMap<i32, WatchTarget>,
    /// Which device each watched folder is on; `None` where not everything would be told.
    dirs: HashMap<Vec<u8>, Option<u64>>,
    is_full: bool,
    has_warned: bool,
}

/// What a watch is held over.
#[derive(Clone, Copy, Debug)]
enum WatchTarget {
    Dir,
    /// A file, and by how many it has been opened since, as far as is known.
    File {
        openers: u32,
    },
}

/// A file that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct WatchId(i32);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchEvent {
    /// Something to this file.
    File(WatchId),
    /// Something to the names in a folder.
    Names,
    /// Something on the way to the root, or to where else links may lead, so that a name may lead elsewhere.
    RootPath,
    /// Nobody knows what. Nothing is watched any more, but the way to the root.
    Unknown,
}

impl FileWatcher {
    /// A watch over nothing yet; `None` where there is no inotify to be had, or the root is on a file system that
    /// it does not know all about.
    pub(super) fn new(root: &Root) -> Option<Self> {
        let mut watch = Self::open().ok()?;
        watch.watch_dir(root, b"").map(|_| watch)
    }

    fn open() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags)?;
        let (mounts, ringer, way) = (
            Root::open_mountinfo()?,
            Root::open_mountinfo()?,
            RootWatch::new()?,
        );
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listen =
            |source, events| epoll::add(&epoll, source, epoll::EventData::new_u64(0), events);
        listen(&inotify, epoll::EventFlags::IN)?;
        listen(&way.inotify, epoll::EventFlags::IN)?;
        // That is how it tells that it has changed (proc_pid_mountinfo(5)).
        listen(&ringer, epoll::EventFlags::PRI)?;
        Ok(Self {
            inotify,
            mounts,
            root_watch: way,
            epoll,
            _epoll_mounts: ringer,
            watches: HashMap::new(),
            dirs: HashMap::new(),
            is_full: false,
            has_warned: false,
        })
    }

    /// What is readable when something has happened.
    pub(super) fn event_fd(&self) -> io::Result<OwnedFd> {
        self.epoll.try_clone()
    }

    /// Watches over the file under a path: what happens to it from here on is told. `None` if not everything
    /// would be.
    pub(super) fn watch(
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

    /// Whether a file is still watched, with all that is on the way to it.
    pub(super) fn is_watched(&mut self, root: &Root, path: &[u8], id: WatchId) -> bool {
        self.watches.contains_key(&id.0) && self.watch_parents(root, path).is_some()
    }

    /// Whether nobody has a file open, as far as is known.
    pub(super) fn is_unopened(&self, id: WatchId) -> bool {
        matches!(
            self.watches.get(&id.0),
            Some(WatchTarget::File { openers: 0 })
        )
    }

    /// Watches no longer over a file.
    pub(super) fn unwatch(&mut self, id: WatchId) {
        if self.watches.remove(&id.0).is_some() {
            self.remove_watch(id.0);
        }
    }

    /// Says what has happened since this was last asked, in order.
    pub(super) fn poll_events(&mut self, mut report: impl FnMut(WatchEvent)) {
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
                // What was watched until a moment ago may still be heard of.
                None => {}
                Some(WatchTarget::Dir) => {
                    has_moved |= events.intersects(DIR_MOVE_EVENTS);
                    report(WatchEvent::Names);
                }
                Some(WatchTarget::File { openers }) => {
                    // (Equal events in a row are one.)
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

    /// Watches over the way to the root as it is now. Whether everything is told that happens on it.
    pub(super) fn watch_root(&mut self, root: &Root) -> bool {
        self.root_watch.watch(root);
        self.root_watch.is_complete()
    }

    /// Watches over nothing any more but the way to the root, because that has become another folder.
    pub(super) fn reset(&mut self) {
        self.unwatch_all(&mut |_| {});
    }

    /// Watches over nothing any more but the way to the root, because something was missed.
    fn unwatch_all(&mut self, report: &mut impl FnMut(WatchEvent)) {
        for watch in std::mem::take(&mut self.watches).into_keys() {
            self.remove_watch(watch);
        }
        self.dirs.clear();
        report(WatchEvent::Unknown);
    }

    fn unwatch_dirs(&mut self) {
        let folders: Vec<i32> = self
            .watches
            .extract_if(|_, target| matches!(target, WatchTarget::Dir))
            .map(|(watch, _)| watch)
            .collect();
        for watch in folders {
            self.remove_watch(watch);
        }
        self.dirs.clear();
    }

    /// Watches over all folders on the way to a path: which device the last of them is on.
    fn watch_parents(&mut self, root: &Root, path: &[u8]) -> Option<u64> {
        let mut device = self.watch_dir(root, b"")?;
        for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            device = self.watch_dir(root, &path[..end])?;
        }
        Some(device)
    }

    /// Watches over a folder: which device it is on, if it is one of which everything is told.
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
                        "inotify watches over {} files and folders and no more \
                         (see fs.inotify.max_user_watches); others are looked at by stat",
                        self.watches.len()
                    );
                }
                None
            }
            Err(_) => None,
        }
    }

    fn remove_watch(&mut self, watch: i32) {
        // What has gone by itself is gone.
        let _ = inotify::remove_watch(&self.inotify, watch);
        self.is_full = false;
    }
}

#[cfg(test)]
impl WatchId {
    /// A file that nothing watches over.
    pub(super) fn new(number: i32) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
    use std::path::{Path, PathBuf};

    use super::super::root::{EntryDescriptor, Symlinks};
    use super::*;

    /// A root in which `folder/file` is watched.
    struct WatchedRoot {
        outer: tempfile::TempDir,
        site_root: Root,
        watch: FileWatcher,
        file: WatchId,
    }

    impl WatchedRoot {
        /// `None`, said loudly, where inotify does not know all about the temporary folder.
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
                eprintln!("SKIPPED: inotify does not know all about the temporary folder");
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
            assert_eq!(watching.events(), [], "nothing has happened");
            Some(watching)
        }

        fn root(&self) -> PathBuf {
            self.outer.path().join("root")
        }

        fn path(&self) -> PathBuf {
            self.root().join("folder/file")
        }

        /// What has happened, each thing once.
        fn events(&mut self) -> Vec<WatchEvent> {
            let mut events = Vec::new();
            self.watch.poll_events(|event| {
                if !events.contains(&event) {
                    events.push(event);
                }
            });
            events
        }

        /// Whether the bell is readable.
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

    /// What is told when this is done, each thing once, in any order.
    fn check(label: &str, act: impl FnOnce(&Path), of_file: bool, of_names: bool) {
        let Some(mut watching) = WatchedRoot::new() else {
            return;
        };
        act(&watching.root());
        let expects_any = of_file || of_names;
        assert_eq!(watching.has_events(), expects_any, "{label}: the bell");
        let events = watching.events();
        let of = |event| events.contains(&event);
        let expected = (of_file, of_names, false);
        let found = (
            of(WatchEvent::File(watching.file)),
            of(WatchEvent::Names),
            of(WatchEvent::Unknown),
        );
        assert_eq!(found, expected, "{label}: {events:?}");
        // (What is given up is heard of once more, and says nothing.)
        assert_eq!(watching.events(), [], "{label}: once");
        assert!(!watching.has_events(), "{label}: it has been heard");
    }

    fn open(path: PathBuf) -> File {
        File::options().write(true).open(path).unwrap()
    }

    #[test]
    fn each_file_change_is_reported() {
        let of_file = |label, act: fn(&Path)| check(label, act, true, false);
        of_file("written", |root| {
            open(root.join("folder/file"))
                .write_all_at(b"C", 0)
                .unwrap();
        });
        of_file("truncated", |root| {
            open(root.join("folder/file")).set_len(0).unwrap();
        });
        of_file("dated", |root| {
            let date = std::time::UNIX_EPOCH;
            open(root.join("folder/file")).set_modified(date).unwrap();
        });
        of_file("opened", |root| drop(File::open(root.join("folder/file"))));
        of_file("written by its other name", |root| {
            open(root.join("../alias")).write_all_at(b"C", 0).unwrap();
        });
        of_file("another name made", |root| {
            fs::hard_link(root.join("../alias"), root.join("../another")).unwrap();
        });
        of_file("another name removed", |root| {
            fs::remove_file(root.join("../alias")).unwrap();
        });
    }

    #[test]
    fn each_name_change_is_reported() {
        let rename = |root: &Path, from: &str, to: &str| {
            fs::rename(root.join(from), root.join(to)).unwrap();
        };
        let both = |label, act: &dyn Fn(&Path)| check(label, act, true, true);
        both("deleted", &|root| {
            fs::remove_file(root.join("folder/file")).unwrap();
        });
        // Of a file's attributes its folder tells, too.
        both("its mode changed", &|root| {
            let mode = Permissions::from_mode(0o600);
            fs::set_permissions(root.join("folder/file"), mode).unwrap();
        });
        both("replaced", &|root| rename(root, "other", "folder/file"));
        both("renamed", &|root| {
            rename(root, "folder/file", "folder/other");
        });
        both("moved out", &|root| rename(root, "folder/file", "../file"));
        let names = |label, act: &dyn Fn(&Path)| check(label, act, false, true);
        names("its folder renamed", &|root| {
            rename(root, "folder", "other folder");
        });
        names("its folder moved out", &|root| {
            rename(root, "folder", "../folder");
        });
        names("another name appears beside it", &|root| {
            fs::write(root.join("folder/index"), "").unwrap();
        });
        names("one disappears above it", &|root| {
            fs::remove_file(root.join("other")).unwrap();
        });
        names("a link appears beside it", &|root| {
            symlink("file", root.join("folder/link")).unwrap();
        });
        names("its folder's mode changed", &|root| {
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(root.join("folder"), mode).unwrap();
        });
        names("the root renamed", &|root| {
            rename(root, "../root", "../moved");
        });
        let nothing = |label, act: &dyn Fn(&Path)| check(label, act, false, false);
        nothing("what is above the root", &|root| {
            fs::write(root.join("../beside"), "").unwrap();
        });
        nothing("another file", &|root| {
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
        assert_eq!(watching.events(), [], "that is nowhere on the way");
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
        assert!(!watching.is_unopened(), "there are two");
        // Who has it twice closes it once.
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
        // Nor is it where the link has come since.
        let direct = source(site_root, "folder/file");
        assert_eq!(watch.watch(site_root, b"way/file", &direct), None);
        // Nor is what is on another file system than its folder.
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
        // And it is begun anew.
        watching.events();
        fs::write(watching.path(), "untold").unwrap();
        assert_eq!(watching.events(), [], "nothing is watched");
        let source = source(&watching.site_root, "folder/file");
        let file = watching
            .watch
            .watch(&watching.site_root, b"folder/file", &source);
        watching.events();
        fs::write(watching.path(), "told").unwrap();
        assert_eq!(watching.events(), [WatchEvent::File(file.unwrap())]);
    }

    #[test]
    fn only_local_file_systems_are_watched() {
        let site_root = Root::open(Path::new("/proc/self"), &Symlinks::default()).unwrap();
        assert!(FileWatcher::new(&site_root).is_none());
    }
}
