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
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fs::inotify::{ReadFlags, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

use crate::files::entry::FileSource;
use crate::files::inotify::{MissedEvents, WatchId, open_mountinfo, reports_all_changes};
use crate::files::root::Root;
use crate::files::watches::Watches;

/// Events of a directory that concern the names in it. (IN_ATTRIB is reported for its files as well, which means
/// little.)
const DIR_EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW)
    // The directory may be on the root path, too.
    .union(WatchFlags::MASK_ADD);

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
    watches: Watches<WatchTarget>,
    mounts: OwnedFd,
    /// `watches` and the list of mounts, as one descriptor.
    epoll: OwnedFd,
    /// Second descriptor of the list of mounts, for `epoll`: the kernel reports a change once per open descriptor, and
    /// a report to `epoll` must not hide the one to `mounts`.
    _epoll_mounts: OwnedFd,
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
        let (watches, mounts, epoll_mounts) =
            (Watches::new()?, open_mountinfo()?, open_mountinfo()?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(0);
        epoll::add(&epoll, &watches, data, epoll::EventFlags::IN)?;
        // Changes are reported as priority data (proc_pid_mountinfo(5)).
        epoll::add(&epoll, &epoll_mounts, data, epoll::EventFlags::PRI)?;
        Ok(Self {
            watches,
            mounts,
            epoll,
            _epoll_mounts: epoll_mounts,
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
        self.watches.targets.entry(watch).or_insert(target);
        Some(watch)
    }

    /// Returns whether a file is still watched, with the directories of its path.
    pub(crate) fn is_watched(&mut self, root: &Root, path: &[u8], id: WatchId) -> bool {
        self.watches.targets.contains_key(&id) && self.watch_parents(root, path).is_some()
    }

    /// Returns whether no process has the file open, as far as is known.
    pub(crate) fn is_unopened(&self, id: WatchId) -> bool {
        matches!(
            self.watches.targets.get(&id),
            Some(WatchTarget::File { openers: 0 })
        )
    }

    /// Stops watching a file.
    pub(crate) fn unwatch(&mut self, id: WatchId) {
        if self.watches.remove(id) {
            self.is_full = false;
        }
    }

    /// Reports the events since the last call, in order.
    pub(crate) fn poll_events(&mut self, mut report: impl FnMut(WatchEvent)) {
        let mut poll_fds = [
            PollFd::new(&self.watches, PollFlags::IN),
            PollFd::new(&self.mounts, PollFlags::PRI),
        ];
        let polled = poll(&mut poll_fds, Some(&Timespec::default()));
        let [has_changed, has_mounted] = poll_fds.map(|poll_fds| !poll_fds.revents().is_empty());
        if polled.is_err() || has_mounted {
            self.unwatch_all(&mut report);
        } else if has_changed {
            self.read_inotify(&mut report);
        }
    }

    fn read_inotify(&mut self, report: &mut impl FnMut(WatchEvent)) {
        let mut has_moved = false;
        let read = self.watches.read_events(|event, targets| {
            let events = event.events;
            match targets.get_mut(&event.watch) {
                // The watch was removed a moment ago, or is on the root path only.
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
                        targets.remove(&event.watch);
                    }
                    report(WatchEvent::File(event.watch));
                }
            }
        });
        match read {
            Ok(true) => report(WatchEvent::RootPath),
            Ok(false) => {}
            // The root path may have changed, too.
            Err(MissedEvents) => return self.unwatch_all(report),
        }
        if has_moved {
            self.unwatch_if(|target| matches!(target, WatchTarget::Dir));
        }
    }

    /// Watches the root path as it is now. Returns whether inotify reports every change of it.
    pub(crate) fn watch_root(&mut self, root: &Root) -> bool {
        self.watches.watch_root(root)
    }

    /// Removes all watches but those on the root path, because the root has become another directory.
    pub(crate) fn reset(&mut self) {
        self.unwatch_all(&mut |_| {});
    }

    /// Removes all watches but those on the root path, because events were missed.
    fn unwatch_all(&mut self, report: &mut impl FnMut(WatchEvent)) {
        self.unwatch_if(|_| true);
        report(WatchEvent::Unknown);
    }

    /// Removes the watches on all files and directories for which this holds, and forgets which directories are watched.
    fn unwatch_if(&mut self, is_removed: impl Fn(&WatchTarget) -> bool) {
        self.watches.remove_if(is_removed);
        self.dirs.clear();
        self.is_full = false;
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
        let device = reports_all_changes(kind).then_some(device);
        if device.is_some() {
            let watch = self.add_watch(&root.proc_path(path), DIR_EVENTS)?;
            self.watches.targets.insert(watch, WatchTarget::Dir);
        }
        self.dirs.insert(path.to_vec(), device);
        device
    }

    fn add_watch(&mut self, name: &[u8], events: WatchFlags) -> Option<WatchId> {
        if self.is_full {
            return None;
        }
        match self.watches.watch(name, events) {
            Ok(watch) => Some(watch),
            Err(Errno::NOSPC) => {
                self.is_full = true;
                if !std::mem::replace(&mut self.has_warned, true) {
                    warn!(
                        "inotify watches {} files and directories, and can watch no more \
                         (see fs.inotify.max_user_watches); others are checked by stat",
                        self.watches.targets.len()
                    );
                }
                None
            }
            Err(_) => None,
        }
    }
}
