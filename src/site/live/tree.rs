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

use super::super::disk::{Disk, join, kind};
use super::super::search::is_hidden;
use super::super::watch::LOCAL;
use super::super::way::Way;
use super::burst::Seen;
use crate::blob::Version;

/// What may happen in a folder: to its names, and to its files.
const FOLDER: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);

const COMES: ReadFlags = ReadFlags::CREATE.union(ReadFlags::MOVED_TO);
const GOES: ReadFlags = ReadFlags::DELETE.union(ReadFlags::MOVED_FROM);

/// Watches over all folders below a root.
#[derive(Debug)]
pub(super) struct Tree {
    disk: Disk,
    /// What leads to the root, and whether that leads nowhere just now.
    way: Way,
    is_lost: bool,
    hidden: bool,
    inotify: OwnedFd,
    /// Each watch's folder, and each folder's watch.
    folders: HashMap<i32, Vec<u8>>,
    watches: BTreeMap<Vec<u8>, i32>,
    /// What our standard output and error are written to, if these are files: device and inode.
    own: Vec<(u64, u64)>,
    has_warned: bool,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// This has happened to the file under this path, or, if it is gone, to the folder.
    Path(&'a [u8], Seen),
    /// Anything may have happened.
    Anything,
}

/// An event, as it was read.
type Event = (i32, ReadFlags, Vec<u8>);

impl Tree {
    /// Nothing is watched before it [begins](Self::begin).
    ///
    /// # Errors
    /// What inotify_init1(2) says: no more descriptors, or no more instances for this user.
    pub(super) fn new(disk: Disk, hidden: bool) -> io::Result<Self> {
        let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
        Ok(Self {
            disk,
            way: Way::new()?,
            is_lost: false,
            hidden,
            inotify: inotify::init(flags)?,
            folders: HashMap::new(),
            watches: BTreeMap::new(),
            own: outputs(),
            has_warned: false,
        })
    }

    /// What is readable when there is something to [hear](Self::listen).
    pub(super) fn source(&self) -> &OwnedFd {
        &self.inotify
    }

    /// What is readable when the root's name may lead elsewhere.
    pub(super) fn way(&self) -> &OwnedFd {
        &self.way.inotify
    }

    /// Whether the root's name leads nowhere, or nobody would say that it leads elsewhere: then somebody has to look.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost || !self.way.is_covered()
    }

    /// Goes on with what the root's name leads to by now. Whether that is another folder.
    pub(super) fn follow_root(&mut self) -> bool {
        let is_another = self.look_for_root();
        if is_another {
            self.begin_anew();
        }
        is_another
    }

    /// Whether the root's name leads to another folder by now. What that has is not watched yet.
    fn look_for_root(&mut self) -> bool {
        // First the watch, then the look.
        self.way.cover(&self.disk);
        let (successor, lost) = self.disk.successor();
        self.is_lost = !lost.is_empty();
        match successor {
            Some(disk) => {
                self.disk = disk;
                true
            }
            None => false,
        }
    }

    /// Watches over what there is.
    pub(super) fn begin(&mut self) {
        self.look_for_root();
        if let Ok((kind, _)) = self.disk.volume(b"")
            && !LOCAL.contains(&kind)
        {
            warn!(
                "inotify need not tell of all changes on the root's file system (0x{kind:x}): \
                 pages are reloaded after those that it tells of"
            );
        }
        self.grow(b"", &mut |_| {});
    }

    /// Says what has happened since this was last asked, in order.
    pub(super) fn listen(&mut self, mut hear: impl FnMut(Told<'_>)) {
        for (watch, events, name) in self.read() {
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.begin_anew();
                return hear(Told::Anything);
            }
            if events.contains(ReadFlags::IGNORED) {
                if let Some(path) = self.folders.remove(&watch) {
                    self.watches.remove(&path);
                }
                continue;
            }
            // What was watched until a moment ago may still be heard of; and of the folder itself nothing is said here.
            let Some(folder) = self.folders.get(&watch).filter(|_| !name.is_empty()) else {
                continue;
            };
            let path = join(folder, &name);
            if !self.is_heard(&path) {
                continue;
            }
            if events.contains(ReadFlags::ISDIR) {
                self.follow(&path, events, &mut hear);
            } else if !self.is_own(&path) {
                let seen = match events {
                    events if events.intersects(GOES) => Seen::Gone,
                    events if events.contains(ReadFlags::CREATE) => Seen::Made,
                    // What has been moved there may have taken another one's place.
                    _ => Seen::Changed,
                };
                hear(Told::Path(&path, seen));
            }
        }
    }

    /// Does what follows from a folder that has come or gone.
    fn follow(&mut self, path: &[u8], events: ReadFlags, hear: &mut impl FnMut(Told<'_>)) {
        if events.intersects(GOES) {
            self.prune(path);
        }
        if events.contains(ReadFlags::MOVED_FROM) {
            // What was in it has gone with it, and nothing more is said of that.
            hear(Told::Path(path, Seen::Gone));
        }
        if events.intersects(COMES) {
            self.grow(path, hear);
        }
    }

    /// All that is queued. What cannot be read is as good as lost.
    fn read(&self) -> Vec<Event> {
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
    fn grow(&mut self, path: &[u8], hear: &mut impl FnMut(Told<'_>)) {
        let mut left = vec![path.to_vec()];
        while let Some(path) = left.pop() {
            // It may have gone by now, not be ours to read, or, of what nobody knows what it is, be no folder.
            let Ok(mut folder) = self.disk.own_folder(&path) else {
                continue;
            };
            self.watch(&folder.name(), path);
            let mut names = Vec::new();
            while let Ok(true) =
                folder.read(|name, is_folder| names.push((name.to_vec(), is_folder)))
            {
                for (name, is_folder) in names.drain(..) {
                    let path = folder.join(&name);
                    if !self.is_heard(&path) {
                        continue;
                    }
                    if is_folder != Some(true) {
                        hear(Told::Path(&path, Seen::Made));
                    }
                    if is_folder != Some(false) {
                        left.push(path);
                    }
                }
            }
        }
    }

    fn watch(&mut self, name: &[u8], path: Vec<u8>) {
        match inotify::add_watch(&self.inotify, name, FOLDER) {
            Ok(watch) => {
                // Where it was before, it is no more.
                if let Some(former) = self.folders.insert(watch, path.clone())
                    && former != path
                {
                    self.watches.remove(&former);
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
    fn prune(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let within = self.watches.range(below.clone()..);
        let within = within.take_while(|(path, _)| path.starts_with(&below));
        let mut gone: Vec<Vec<u8>> = within.map(|(path, _)| path.clone()).collect();
        gone.push(path.to_vec());
        for path in gone {
            if let Some(watch) = self.watches.remove(&path) {
                self.folders.remove(&watch);
                // What has gone by itself is gone.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
    }

    /// Forgets what was watched, and looks again what there is.
    fn begin_anew(&mut self) {
        self.watches.clear();
        for (watch, _) in std::mem::take(&mut self.folders) {
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
        self.grow(b"", &mut |_| {});
    }

    /// Whether it is we who write to what is under a path.
    fn is_own(&self, path: &[u8]) -> bool {
        let is_it = |version: Version| self.own.contains(&(version.device, version.inode));
        !self.own.is_empty()
            && matches!(self.disk.version(path), Ok(Some(version)) if is_it(version))
    }

    /// Whether it matters what happens under a path.
    fn is_heard(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let is_left_behind = name.ends_with(b"~") || name.starts_with(b"#");
        let is_hidden = !self.hidden && is_hidden(path);
        !(is_left_behind || is_hidden || matches!(name, b".git" | b"node_modules"))
    }
}

/// What standard output and error are written to, if these are files: device and inode.
fn outputs() -> Vec<(u64, u64)> {
    let stats = [fstat(io::stdout().as_fd()), fstat(io::stderr().as_fd())];
    let files = stats.into_iter().flatten();
    files
        .filter(|stat| kind(stat) == FileType::RegularFile)
        .map(|stat| (stat.st_dev, stat.st_ino))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::super::disk::Symlinks;
    use super::*;

    #[test]
    fn what_is_switched_before_it_begins_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        for folder in ["one", "two"] {
            fs::create_dir(at(folder)).unwrap();
        }
        symlink("one", at("current")).unwrap();
        let disk = Disk::open(&at("current"), &Symlinks::default()).unwrap();
        let mut tree = Tree::new(disk, false).unwrap();
        symlink("two", at("new")).unwrap();
        fs::rename(at("new"), at("current")).unwrap();
        tree.begin();
        for folder in ["one", "two"] {
            fs::write(at(folder).join(folder), "").unwrap();
        }
        let mut heard = Vec::new();
        tree.listen(|told| match told {
            Told::Path(path, _) => heard.push(String::from_utf8_lossy(path).into_owned()),
            Told::Anything => heard.push("anything".into()),
        });
        heard.dedup();
        assert_eq!(heard, ["two"]);
    }
}
