//! Whether something has happened on the way to the root, so that its name may lead to another folder.
//!
//! A release is switched by giving the name to another folder: `current -> releases/42` becomes `current ->
//! releases/43`, or the folder itself is replaced. Watched are the folders and the symbolic links on the way
//! themselves, not what is in them: what else happens in `/srv` or `/tmp` is not heard of.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::inotify::{self, WatchFlags};
use rustix::io::Errno;

use super::disk::{Disk, Step};
use super::watch::LOCAL;

/// An overlay, of which everything is told that happens to its folders' names by way of it.
const OVERLAY: i64 = 0x794c_7630;

/// What may happen to a folder or a link itself: it is moved, or given up (which is told of as a change to the number of
/// its names even before it is gone).
const ITSELF: WatchFlags = WatchFlags::MOVE_SELF
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DONT_FOLLOW);

/// Watches over the way to a root.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) inotify: OwnedFd,
    watches: Vec<i32>,
    /// Whether everything that happens on it is told.
    is_covered: bool,
}

impl Way {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// When there is no inotify to be had.
    pub(super) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        Ok(Self {
            inotify: inotify::init(flags)?,
            watches: Vec::new(),
            is_covered: false,
        })
    }

    /// Watches over the way to the root of this disk, as it is now: what happens from here on is told.
    pub(super) fn cover(&mut self, disk: &Disk) {
        for watch in self.watches.drain(..) {
            // What has gone by itself is gone.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
        // What was told until now is about to be looked at.
        self.has_changed();
        self.is_covered = disk.way().iter().all(|step| {
            let (path, is_told_of) = match step {
                Step::Folder(path, kind) => {
                    let is_told_of = |kind| LOCAL.contains(&kind) || kind == OVERLAY;
                    (path, kind.is_some_and(is_told_of))
                }
                // It is on the file system of its folder.
                Step::Link(path) => (path, true),
            };
            let watch = inotify::add_watch(&self.inotify, path, ITSELF);
            self.watches.extend(&watch);
            is_told_of && watch.is_ok()
        });
    }

    /// Whether everything that happens is told.
    pub(super) fn is_covered(&self) -> bool {
        self.is_covered
    }

    /// Whether anything has been told since this was last asked.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut has_changed = false;
        loop {
            match reader.next() {
                Ok(_) => has_changed = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return has_changed,
                Err(_) => return true,
            }
        }
    }
}
