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

use super::disk::{Disk, Source};
use super::way::Way;

/// File systems on which nothing changes but by way of this kernel, by their magic numbers (statfs(2)): ext2 to
/// ext4, XFS, btrfs, tmpfs. The tests of changes run on each of them (`.ci/file-systems`); F2FS and bcachefs may belong
/// here, but could not be tried.
pub(super) const LOCAL: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

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

/// Folders that are watched at the most. Each costs the kernel about a kilobyte, and is not given back when
/// the files in it are forgotten.
const FOLDERS: usize = 4096;

/// Watches over files, and the folders on the way to them.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    mounts: OwnedFd,
    way: Way,
    /// All of them, as one descriptor.
    bell: OwnedFd,
    /// The list of mounts tells each who has it open once. Who waits for the bell has it told, and we are not
    /// to miss it.
    _ringer: OwnedFd,
    watches: HashMap<i32, What>,
    /// Which device each watched folder is on; `None` where not everything would be told.
    folders: HashMap<Vec<u8>, Option<u64>>,
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
    /// Something on the way to the root, or to where else links may lead, so that a name may lead elsewhere.
    Way,
    /// Nobody knows what. Nothing is watched any more, but the way to the root.
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
        let (mounts, ringer, way) = (Disk::mounts()?, Disk::mounts()?, Way::new()?);
        let bell = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listen =
            |source, events| epoll::add(&bell, source, epoll::EventData::new_u64(0), events);
        listen(&inotify, epoll::EventFlags::IN)?;
        listen(&way.inotify, epoll::EventFlags::IN)?;
        // That is how it tells that it has changed (proc_pid_mountinfo(5)).
        listen(&ringer, epoll::EventFlags::PRI)?;
        Ok(Self {
            inotify,
            mounts,
            way,
            bell,
            _ringer: ringer,
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
        let mut told = [
            PollFd::new(&self.inotify, PollFlags::IN),
            PollFd::new(&self.mounts, PollFlags::PRI),
            PollFd::new(&self.way.inotify, PollFlags::IN),
        ];
        let polled = poll(&mut told, Some(&Timespec::default()));
        let [has_changed, has_mounted, is_on_the_way] = told.map(|told| !told.revents().is_empty());
        if is_on_the_way && self.way.has_changed() {
            hear(Told::Way);
        }
        if polled.is_err() || has_mounted {
            self.give_up(&mut hear);
        } else if has_changed {
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
                    // (Equal events in a row are one.)
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

    /// Watches over the way to the root as it is now. Whether everything is told that happens on it.
    pub(super) fn follow(&mut self, disk: &Disk) -> bool {
        self.way.cover(disk);
        self.way.is_covered()
    }

    /// Watches over nothing any more but the way to the root, because that has become another folder.
    pub(super) fn forget(&mut self) {
        self.give_up(&mut |_| {});
    }

    /// Watches over nothing any more but the way to the root, because something was missed.
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

    /// Watches over a folder: which device it is on, if it is one of which everything is told.
    fn folder(&mut self, disk: &Disk, path: &[u8]) -> Option<u64> {
        if let Some(&device) = self.folders.get(path) {
            return device;
        }
        if self.is_full || self.folders.len() >= FOLDERS {
            return None;
        }
        let (kind, device) = disk.volume(path).ok()?;
        let device = LOCAL.contains(&kind).then_some(device);
        if device.is_some() {
            let watch = self.add(&disk.name(path), FOLDER)?;
            self.watches.insert(watch, What::Folder);
        }
        self.folders.insert(path.to_vec(), device);
        device
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

#[cfg(test)]
impl Watched {
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

    use super::super::disk::{Found, Symlinks};
    use super::*;

    /// A root in which `folder/file` is watched.
    struct Watching {
        outer: tempfile::TempDir,
        disk: Disk,
        watch: Watch,
        file: Watched,
    }

    impl Watching {
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
            let disk = Disk::open(&root, &Symlinks::default()).unwrap();
            let Some(mut watch) = Watch::new(&disk) else {
                eprintln!("SKIPPED: inotify does not know all about the temporary folder");
                return None;
            };
            let source = source(&disk, "folder/file");
            let file = watch.cover(&disk, b"folder/file", &source).unwrap();
            let mut watching = Self {
                outer,
                disk,
                watch,
                file,
            };
            assert_eq!(watching.heard(), [], "nothing has happened");
            Some(watching)
        }

        fn root(&self) -> PathBuf {
            self.outer.path().join("root")
        }

        fn path(&self) -> PathBuf {
            self.root().join("folder/file")
        }

        /// What has happened, each thing once.
        fn heard(&mut self) -> Vec<Told> {
            let mut heard = Vec::new();
            self.watch.listen(|told| {
                if !heard.contains(&told) {
                    heard.push(told);
                }
            });
            heard
        }

        /// Whether the bell is readable.
        fn rings(&self) -> bool {
            let bell = self.watch.bell().unwrap();
            let mut bells = [rustix::event::PollFd::new(
                &bell,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut bells, Some(&Timespec::default())).unwrap() > 0
        }

        fn is_left_alone(&self) -> bool {
            self.watch.is_left_alone(self.file)
        }
    }

    fn source(disk: &Disk, path: &str) -> Source {
        match disk.find(path.as_bytes()).unwrap() {
            Found::File(_, source) => source,
            other => panic!("{other:?}"),
        }
    }

    /// What is told when this is done, each thing once, in any order.
    fn check(what: &str, act: impl FnOnce(&Path), of_file: bool, of_names: bool) {
        let Some(mut watching) = Watching::new() else {
            return;
        };
        act(&watching.root());
        let expects_any = of_file || of_names;
        assert_eq!(watching.rings(), expects_any, "{what}: the bell");
        let heard = watching.heard();
        let of = |told| heard.contains(&told);
        let expected = (of_file, of_names, false);
        let found = (
            of(Told::File(watching.file)),
            of(Told::Names),
            of(Told::Anything),
        );
        assert_eq!(found, expected, "{what}: {heard:?}");
        // (What is given up is heard of once more, and says nothing.)
        assert_eq!(watching.heard(), [], "{what}: once");
        assert!(!watching.rings(), "{what}: it has been heard");
    }

    fn open(path: PathBuf) -> File {
        File::options().write(true).open(path).unwrap()
    }

    #[test]
    fn each_change_of_a_file_is_told() {
        let of_file = |what, act: fn(&Path)| check(what, act, true, false);
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
    fn each_change_of_names_is_told() {
        let rename = |root: &Path, from: &str, to: &str| {
            fs::rename(root.join(from), root.join(to)).unwrap();
        };
        let both = |what, act: &dyn Fn(&Path)| check(what, act, true, true);
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
        let names = |what, act: &dyn Fn(&Path)| check(what, act, false, true);
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
        let nothing = |what, act: &dyn Fn(&Path)| check(what, act, false, false);
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
    fn a_folder_that_took_the_place_of_another_is_watched() {
        let Some(mut watching) = Watching::new() else {
            return;
        };
        let root = watching.root();
        fs::rename(root.join("folder"), root.join("gone")).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "another").unwrap();
        assert_eq!(watching.heard(), [Told::Names]);
        let source = source(&watching.disk, "folder/file");
        let (watch, disk) = (&mut watching.watch, &watching.disk);
        assert!(watch.covers(disk, b"folder/file", watching.file));
        let another = watch.cover(disk, b"folder/file", &source).unwrap();
        assert_ne!(another, watching.file);
        watching.heard();
        fs::write(root.join("folder/beside"), "").unwrap();
        assert_eq!(watching.heard(), [Told::Names]);
        fs::write(root.join("gone/beside"), "").unwrap();
        assert_eq!(watching.heard(), [], "that is nowhere on the way");
        fs::write(root.join("folder/file"), "changed").unwrap();
        assert_eq!(watching.heard(), [Told::File(another)]);
    }

    #[test]
    fn what_is_open_is_not_left_alone() {
        let Some(mut watching) = Watching::new() else {
            return;
        };
        assert!(watching.is_left_alone());
        let opened = File::open(watching.path()).unwrap();
        assert_eq!(watching.heard(), [Told::File(watching.file)]);
        assert!(!watching.is_left_alone());
        let again = File::open(watching.path()).unwrap();
        watching.heard();
        drop(opened);
        watching.heard();
        assert!(!watching.is_left_alone(), "there are two");
        // Who has it twice closes it once.
        let twice = again.try_clone().unwrap();
        drop(again);
        watching.heard();
        assert!(!watching.is_left_alone());
        drop(twice);
        assert_eq!(watching.heard(), [Told::File(watching.file)]);
        assert!(watching.is_left_alone());
        drop(open(watching.path()));
        assert_eq!(watching.heard(), [Told::File(watching.file)]);
        assert!(watching.is_left_alone());
    }

    #[test]
    fn what_is_reached_by_a_symbolic_link_is_not_watched() {
        let Some(mut watching) = Watching::new() else {
            return;
        };
        let (watch, disk) = (&mut watching.watch, &watching.disk);
        let by_link = source(disk, "way/file");
        assert!(!by_link.is_direct);
        assert_eq!(watch.cover(disk, b"way/file", &by_link), None);
        // Nor is it where the link has come since.
        let direct = source(disk, "folder/file");
        assert_eq!(watch.cover(disk, b"way/file", &direct), None);
        // Nor is what is on another file system than its folder.
        let mut elsewhere = direct;
        elsewhere.version.device += 1;
        assert_eq!(watch.cover(disk, b"folder/file", &elsewhere), None);
    }

    #[test]
    fn what_is_released_is_not_heard_of() {
        let Some(mut watching) = Watching::new() else {
            return;
        };
        watching.watch.release(watching.file);
        assert!(!watching.is_left_alone());
        fs::write(watching.path(), "other").unwrap();
        assert_eq!(watching.heard(), []);
        let (watch, disk) = (&mut watching.watch, &watching.disk);
        assert!(!watch.covers(disk, b"folder/file", watching.file));
        watching.watch.release(watching.file);
        assert_eq!(watching.heard(), []);
    }

    #[test]
    fn more_than_the_queue_holds_may_be_anything() {
        let Some(mut watching) = Watching::new() else {
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
        let heard = watching.heard();
        assert_eq!(heard.last(), Some(&Told::Anything), "{heard:?}");
        assert!(!watching.is_left_alone());
        // And it is begun anew.
        watching.heard();
        fs::write(watching.path(), "untold").unwrap();
        assert_eq!(watching.heard(), [], "nothing is watched");
        let source = source(&watching.disk, "folder/file");
        let file = watching
            .watch
            .cover(&watching.disk, b"folder/file", &source);
        watching.heard();
        fs::write(watching.path(), "told").unwrap();
        assert_eq!(watching.heard(), [Told::File(file.unwrap())]);
    }

    #[test]
    fn only_file_systems_that_tell_everything_are_watched() {
        let disk = Disk::open(Path::new("/proc/self"), &Symlinks::default()).unwrap();
        assert!(Watch::new(&disk).is_none());
    }
}
