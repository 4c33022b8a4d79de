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
//!   have been mapped before it was watched, and is not trusted, either. What is left is a file that was
//!   mapped before it was first asked for, not stored to for ten seconds, and stored to again.
//! - **Anything at all**, once the queue has overflowed. Then everything is forgotten, and begun anew.
//! - **More files than there may be watches** (`fs.inotify.max_user_watches`).

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use rustix::fs::{stat, statfs};
use rustix::io::Errno;
use tracing::warn;

use super::disk::{Disk, Source};

/// File systems on which nothing changes but by way of this kernel, by their magic numbers (statfs(2)): ext2 to
/// ext4, XFS, btrfs, tmpfs, F2FS, bcachefs.
const LOCAL: [i64; 6] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0xca45_1a4e,
];

/// What may happen in a folder that concerns the names in it. (Of its files IN_ATTRIB is heard as well, which
/// says little.)
const FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// What may happen to a file, under whichever of its names.
const FILE: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::OPEN)
    .union(WatchFlags::CLOSE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DONT_FOLLOW);

/// What may mean that what is under a folder's name is another folder by now.
const MOVES: ReadFlags = ReadFlags::ISDIR
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::IGNORED);

const CLOSES: ReadFlags = ReadFlags::CLOSE_WRITE.union(ReadFlags::CLOSE_NOWRITE);

/// The names of the two that are listened to.
const CHANGES: u64 = 0;
const MOUNTS: u64 = 1;

/// Folders that are watched at the most. Each costs the kernel about a kilobyte, and is not given back when
/// the files in it are forgotten.
const FOLDERS: usize = 4096;

/// Watches over files, and the folders on the way to them.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    _mounts: OwnedFd,
    /// Both of them, as one descriptor.
    bell: OwnedFd,
    watches: HashMap<i32, What>,
    /// Which device each watched folder is on.
    folders: HashMap<Vec<u8>, u64>,
    is_full: bool,
    has_warned: bool,
}

/// What a watch is held over.
#[derive(Clone, Copy, Debug)]
enum What {
    Folder,
    /// A file, and by how many it has been opened since, as far as is known.
    File {
        openers: u32,
    },
}

/// A file that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Watched(i32);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Something to this file.
    File(Watched),
    /// Something to the names in a folder.
    Names,
    /// Nobody knows what. Nothing is watched any more.
    Anything,
}

impl Watch {
    /// A watch over nothing yet; `None` where there is no inotify to be had, or the root is on a file system that
    /// it does not know all about.
    pub(super) fn new(disk: &Disk) -> Option<Self> {
        let mut watch = Self::open().ok()?;
        watch.folder(disk, b"").map(|_| watch)
    }

    fn open() -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        let inotify = inotify::init(flags)?;
        let mounts = Disk::mounts()?;
        let bell = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listen = |source, name, events| {
            epoll::add(&bell, source, epoll::EventData::new_u64(name), events)
        };
        listen(&inotify, CHANGES, epoll::EventFlags::IN)?;
        // That is how it tells that it has changed (proc_pid_mountinfo(5)).
        listen(&mounts, MOUNTS, epoll::EventFlags::PRI)?;
        Ok(Self {
            inotify,
            _mounts: mounts,
            bell,
            watches: HashMap::new(),
            folders: HashMap::new(),
            is_full: false,
            has_warned: false,
        })
    }

    /// What is readable when something has happened.
    pub(super) fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Watches over the file under a path: what happens to it from here on is told. `None` if not everything
    /// would be.
    pub(super) fn cover(&mut self, disk: &Disk, path: &[u8], source: &Source) -> Option<Watched> {
        if !source.is_direct || self.way(disk, path)? != source.version.device {
            return None;
        }
        let watch = self.add(&disk.name(path), FILE)?;
        let begun = What::File { openers: 0 };
        self.watches.entry(watch).or_insert(begun);
        Some(Watched(watch))
    }

    /// Whether a file is still watched, with all that is on the way to it.
    pub(super) fn covers(&mut self, disk: &Disk, path: &[u8], watched: Watched) -> bool {
        self.watches.contains_key(&watched.0) && self.way(disk, path).is_some()
    }

    /// Whether nobody has a file open, as far as is known.
    pub(super) fn is_left_alone(&self, watched: Watched) -> bool {
        matches!(
            self.watches.get(&watched.0),
            Some(What::File { openers: 0 })
        )
    }

    /// Watches no longer over a file.
    pub(super) fn release(&mut self, watched: Watched) {
        if self.watches.remove(&watched.0).is_some() {
            self.remove(watched.0);
        }
    }

    /// Says what has happened since this was last asked, in order.
    pub(super) fn listen(&mut self, mut hear: impl FnMut(Told)) {
        let mut rung = [MaybeUninit::uninit(); 2];
        let at_once = Timespec::default();
        let rung = match epoll::wait(&self.bell, &mut rung, Some(&at_once)) {
            Ok((rung, _)) => rung,
            Err(_) => return self.give_up(&mut hear),
        };
        let has = |name| rung.iter().any(|event| event.data.u64() == name);
        if has(MOUNTS) {
            return self.give_up(&mut hear);
        }
        if has(CHANGES) {
            self.read(&mut hear);
        }
    }

    fn read(&mut self, hear: &mut impl FnMut(Told)) {
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
                Some(What::Folder) => {
                    has_moved |= events.intersects(MOVES);
                    hear(Told::Names);
                }
                Some(What::File { openers }) => {
                    // Equal events in a row are one: of who opens a file at the same time as somebody else
                    // it is not known until when.
                    if events.contains(ReadFlags::OPEN) {
                        *openers += 1;
                    }
                    if events.intersects(CLOSES) {
                        *openers = openers.saturating_sub(1);
                    }
                    if events.intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
                        self.watches.remove(&watch);
                    }
                    hear(Told::File(Watched(watch)));
                }
            }
        };
        if error != Errno::AGAIN {
            self.give_up(hear);
        } else if has_moved {
            self.forget_folders();
        }
    }

    /// Watches over nothing any more, because something was missed.
    fn give_up(&mut self, hear: &mut impl FnMut(Told)) {
        for watch in std::mem::take(&mut self.watches).into_keys() {
            self.remove(watch);
        }
        self.folders.clear();
        hear(Told::Anything);
    }

    fn forget_folders(&mut self) {
        let folders: Vec<i32> = self
            .watches
            .extract_if(|_, what| matches!(what, What::Folder))
            .map(|(watch, _)| watch)
            .collect();
        for watch in folders {
            self.remove(watch);
        }
        self.folders.clear();
    }

    /// Watches over all folders on the way to a path: which device the last of them is on.
    fn way(&mut self, disk: &Disk, path: &[u8]) -> Option<u64> {
        let mut device = self.folder(disk, b"")?;
        for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            device = self.folder(disk, &path[..end])?;
        }
        Some(device)
    }

    /// Watches over a folder: which device it is on.
    fn folder(&mut self, disk: &Disk, path: &[u8]) -> Option<u64> {
        if let Some(&device) = self.folders.get(path) {
            return Some(device);
        }
        let name = disk.name(path);
        let kind = statfs(&*name).ok()?.f_type;
        if !LOCAL.contains(&kind) || self.folders.len() >= FOLDERS {
            return None;
        }
        let watch = self.add(&name, FOLDER)?;
        self.watches.insert(watch, What::Folder);
        let device = stat(&*name).ok()?.st_dev;
        self.folders.insert(path.to_vec(), device);
        Some(device)
    }

    fn add(&mut self, name: &[u8], events: WatchFlags) -> Option<i32> {
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

    fn remove(&mut self, watch: i32) {
        // What has gone by itself is gone.
        let _ = inotify::remove_watch(&self.inotify, watch);
        self.is_full = false;
    }
}
