//! inotify instance: its watches, the one reader of its events, and the file systems of which it reports every change.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::path::Arg;

/// File systems on which every change goes through this kernel, by their magic numbers (statfs(2)): ext2 to ext4, XFS,
/// btrfs, tmpfs. The tests of changes run on each of them (`.ci/file-systems`); F2FS and bcachefs may belong here, but
/// could not be tested.
const LOCAL_FILE_SYSTEMS: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// Size of the buffer for events, in bytes: more than a hundred without a name.
const BUFFER_BYTES: usize = 4096;

/// inotify instance (inotify(7)), of which a user may have 128.
#[derive(Debug)]
pub(crate) struct Inotify(OwnedFd);

/// Identifier of a watch on a file or directory. The same inode has one watch per instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WatchId(i32);

/// Event of a watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InotifyEvent<'a> {
    pub(crate) watch: WatchId,
    pub(crate) events: ReadFlags,
    /// Name in the watched directory; empty for an event of the watched file or directory itself.
    pub(crate) name: &'a [u8],
}

/// Error of a reader that missed events: the queue has overflowed, or cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissedEvents;

impl Inotify {
    /// Creates an instance without watches.
    ///
    /// # Errors
    /// Fails like inotify_init1(2): no more descriptors, or no more instances for this user.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        Ok(Self(inotify::init(flags)?))
    }

    /// Watches the file or directory at a path.
    ///
    /// # Errors
    /// Errors of inotify_add_watch(2); `ENOSPC` at the limit of watches (`fs.inotify.max_user_watches`).
    pub(crate) fn watch(&self, path: impl Arg, events: WatchFlags) -> Result<WatchId, Errno> {
        inotify::add_watch(&self.0, path, events).map(WatchId)
    }

    /// Removes a watch. Events of it may still be queued.
    pub(crate) fn unwatch(&self, id: WatchId) {
        // Fails if the kernel has removed the watch already, with its file.
        let _ = inotify::remove_watch(&self.0, id.0);
    }

    /// Reports the queued events, in order.
    ///
    /// # Errors
    /// Events were missed. Later ones may still be queued.
    pub(crate) fn read_events(
        &self,
        mut report: impl FnMut(InotifyEvent<'_>),
    ) -> Result<(), MissedEvents> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    return Err(MissedEvents);
                }
                Ok(event) => report(InotifyEvent {
                    watch: WatchId(event.wd()),
                    events: event.events(),
                    name: event.file_name().map_or(&[], CStr::to_bytes),
                }),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(MissedEvents),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Returns whether inotify reports every change on a file system of this type (statfs(2)).
pub(crate) fn reports_all_changes(file_system: i64) -> bool {
    LOCAL_FILE_SYSTEMS.contains(&file_system)
}

/// Opens the list of mounts, which inotify does not report; poll(2) reports their changes (proc_pid_mountinfo(5)).
pub(crate) fn open_mountinfo() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat(CWD, "/proc/self/mountinfo", flags, Mode::empty())?)
}

#[cfg(test)]
impl WatchId {
    /// Creates an identifier without a watch.
    pub(crate) fn new(number: i32) -> Self {
        Self(number)
    }
}
