//! Whether something has happened on the way to the root, so that its name may lead to another folder.
//!
//! A release is switched by giving the name to another folder: `current -> releases/42` becomes `current ->
//! releases/43`, or the folder itself is replaced. Watched are the folders and the symbolic links on the way
//! themselves, not what is in them: what else happens in `/srv` or `/tmp` is not heard of. A folder that somebody has
//! open, as we have the root, is told of only as a name that its own folder has no longer; of those above it that is
//! not to be feared, as they are not empty.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

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
    /// The name of the root in its folder.
    name: Vec<u8>,
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
            name: Vec::new(),
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
        let steps = disk.way();
        let root = steps.last().map(Step::path);
        let above = root.and_then(Path::parent);
        let name = root.and_then(Path::file_name);
        self.name = name.map_or(Vec::new(), |name| name.as_bytes().to_vec());
        self.is_covered = steps.iter().all(|step| {
            let events = match Some(step.path()) == above {
                true => ITSELF | WatchFlags::DELETE,
                false => ITSELF,
            };
            let watch = inotify::add_watch(&self.inotify, step.path(), events);
            self.watches.extend(&watch);
            let is_told_of = match step {
                Step::Folder(_, kind) => {
                    kind.is_some_and(|kind| LOCAL.contains(&kind) || kind == OVERLAY)
                }
                // It is on the file system of its folder.
                Step::Link(_) => true,
            };
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
                Ok(event) => {
                    let name = event.file_name().map(CStr::to_bytes);
                    let is_anothers = name.is_some_and(|name| name != self.name);
                    has_changed |= !is_anothers;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return has_changed,
                Err(_) => return true,
            }
        }
    }
}
