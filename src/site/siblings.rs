//! Files written beside others, with the same content in another coding.
//!
//! `app.js.br` beside `app.js`. This is the second door to the file system, and the only one through which anything
//! is changed. A name leads out of the root here less than anywhere: no symbolic link is followed. A sibling appears
//! under its name whole, or not at all: it is written under another, which begins with a dot so that it is not
//! served, and renamed. That it is on the disk by then (fsync(2)) is not waited for, as that would take longer
//! than to encode it: who loses power just then has siblings that are empty, at worst, as file systems write a
//! file's length after its content, and the next run makes them anew.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, BufWriter, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::disk::{Disk, Symlinks, join, kind, version_of_file};
use super::encoding::{AtMost, Effort, encode, is_encoded};
use super::media::{Types, is_compressible};
use super::search::is_hidden;
use super::variants::CODINGS;
use crate::blob::{TICK, Version};
use crate::http::Coding;

/// What a sibling must save, in bytes; and a tenth of its file.
const LEAST_SAVED: u64 = 1024;

/// How coarse the dates of a file system are at the most: those of FAT.
const COARSE: Duration = Duration::from_secs(2);

/// How a file is called while it is written.
const TEMPORARY: &str = ".docroot-compress.";

/// A folder whose files may get siblings.
#[derive(Debug)]
pub struct Siblings {
    disk: Disk,
    hidden: bool,
    /// What is there under temporary names; `None` once nothing may be there any more.
    temporary: Mutex<Option<Names>>,
    stopped: AtomicBool,
    serial: AtomicU32,
}

/// Names, each in its folder.
type Names = Vec<(Arc<OwnedFd>, String)>;

/// What was found in one folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The folders in it, as paths below the root.
    pub folders: Vec<Vec<u8>>,
    /// How many files there are in it that may be served, but for siblings.
    pub files: usize,
    /// Symbolic links, which are not followed, as paths below the root.
    pub links: Vec<Vec<u8>>,
    /// What is to be done.
    pub jobs: Vec<Job>,
    /// What needs not be done, and why.
    pub done: Vec<(Job, Outcome)>,
    /// What could not be looked at.
    pub failed: Vec<(PathBuf, io::Error)>,
    /// How many temporary files of an earlier run, which was killed, have been removed.
    pub left_over: usize,
}

/// One file's sibling in one coding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The file, as a path below the root.
    pub path: Vec<u8>,
    /// Never [`Coding::Identity`].
    pub coding: Coding,
    /// The file's length, in bytes, when it was found.
    pub len: u64,
}

/// What has become of a sibling. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, and is so long.
    Written(u64),
    /// It was there, and is so long.
    UpToDate(u64),
    /// It would save less than 1 KiB or a tenth, and is not there.
    Unworthy,
    /// It was there for an earlier content of its file, would save too little by now, and is gone.
    Removed,
}

/// Why there is no sibling.
#[derive(Debug)]
pub enum Failure {
    /// Its file was written to, twice, while it was read.
    Changing,
    /// [`Siblings::stop`] was called.
    Stopped,
    /// Something about the file, its folder, or the sibling.
    Failed(PathBuf, io::Error),
}

/// What stands under a sibling's name.
enum Standing {
    Nothing,
    /// A sibling as old as its file, of this length.
    UpToDate(u64),
    /// One of an earlier content.
    Stale,
    /// One that is younger than its file, of this length. Another tool may have made it of this content; or its
    /// file has been replaced by an older one.
    Younger(u64),
    /// No file.
    Other,
}

impl Job {
    /// The sibling's path below the root.
    #[must_use]
    pub fn sibling(&self) -> Vec<u8> {
        [&*self.path, self.coding.suffix().as_bytes()].concat()
    }

    fn folder_and_name(&self) -> (&[u8], &[u8]) {
        match self.path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&self.path[..slash], &self.path[slash + 1..]),
            None => (b"", &self.path),
        }
    }
}

impl Siblings {
    /// Opens a root folder. `hidden` takes files and folders whose names begin with a dot, too.
    ///
    /// # Errors
    /// What open(2) says: no such folder, not a folder, not ours to read.
    pub fn open(root: &Path, hidden: bool) -> io::Result<Self> {
        Ok(Self {
            disk: Disk::open(root, &Symlinks::Deny).map_err(|(_, error)| error)?,
            hidden,
            temporary: Mutex::new(Some(Vec::new())),
            stopped: AtomicBool::new(false),
            serial: AtomicU32::new(0),
        })
    }

    /// Ends it: what is being written is removed, nothing will be written any more, and whoever encodes hears of
    /// it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        for (folder, name) in self.temporary().take().unwrap_or_default() {
            // One that cannot be removed is what the next run removes.
            let _ = unlinkat(&folder, name, AtFlags::empty());
        }
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Lists a folder, by its path below the root, and finds out what is to be done in it. What a run that was
    /// killed has left there is removed.
    ///
    /// # Errors
    /// What openat2(2) and getdents(2) say.
    pub fn list(&self, path: &[u8]) -> io::Result<Folder> {
        let folder = self.disk.workplace(path)?;
        let mut found = Folder::default();
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name.starts_with(TEMPORARY.as_bytes()) {
                found.left_over += usize::from(remove_left_over(&folder, &name));
            } else if self.is_shown(path, &name) {
                names.push(name);
            }
        }
        // So that what is said comes in an order.
        names.sort_unstable();
        for name in names {
            let full = join(path, &name);
            let stat = match statat(&folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    found.failed.push((shown(full), error.into()));
                    continue;
                }
            };
            match (kind(&stat), version_of_file(&stat)) {
                (FileType::Directory, _) => found.folders.push(full),
                (FileType::Symlink, _) => found.links.push(full),
                (_, Some(version)) if !is_sibling(&name) => {
                    found.files += 1;
                    if is_worth_trying(&name) {
                        found.add(&folder, &name, &full, &version);
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Writes a sibling, if it saves enough. `now` is by the clock of the file system; whoever wants to see how far
    /// it is hears of the `read` bytes of the file as they are read.
    ///
    /// # Errors
    /// Why there is none, or an earlier one; see [`Failure`].
    pub fn make(&self, job: &Job, now: SystemTime, read: &dyn Fn(u64)) -> Result<Outcome, Failure> {
        match self.attempt(job, now, read) {
            Err(Failure::Changing) => self.attempt(job, now, read),
            made => made,
        }
    }

    fn attempt(&self, job: &Job, now: SystemTime, read: &dyn Fn(u64)) -> Result<Outcome, Failure> {
        let (parent, name) = job.folder_and_name();
        let at = |path: &[u8]| {
            let path = shown(path.to_vec());
            move |error: io::Error| Failure::Failed(path, error)
        };
        let at_sibling = || at(&job.sibling());
        let folder = Arc::new(self.disk.workplace(parent).map_err(at(parent))?);
        let (file, version) = open(&folder, name).map_err(at(&job.path))?;
        // A write that comes within the same tick as the last one leaves no trace in the dates.
        if !is_at_rest(&version, now) {
            thread::sleep(2 * TICK);
            if !is_under(&folder, name, &version) {
                return Err(Failure::Changing);
            }
        }

        let sibling = [name, job.coding.suffix().as_bytes()].concat();
        let standing = standing(&folder, &sibling, version.modified).map_err(at_sibling())?;
        match standing {
            Standing::UpToDate(len) => return Ok(Outcome::UpToDate(len)),
            Standing::Other => {
                let why = "is no file, but has the name of a sibling; move it away";
                return Err(at_sibling()(io::Error::other(why)));
            }
            Standing::Younger(len) => {
                let (other, _) = open(&folder, &sibling).map_err(at_sibling())?;
                let mut source = self.source(&file, &|_| ());
                let is_it = is_encoded(job.coding, other, &mut source);
                if self.is_stopped() {
                    return Err(Failure::Stopped);
                }
                if is_it.map_err(at(&job.path))? {
                    return Ok(Outcome::UpToDate(len));
                }
            }
            Standing::Nothing | Standing::Stale => {}
        }
        let unworthy = || {
            // None of the same content is there, or it would have been left.
            match unlinkat(&folder, &*sibling, AtFlags::empty()) {
                Ok(()) => Ok(Outcome::Removed),
                Err(Errno::NOENT) => Ok(Outcome::Unworthy),
                Err(error) => Err(at_sibling()(error.into())),
            }
        };
        let Some(room) = most(version.len) else {
            return unworthy();
        };

        let temporary = self
            .temporary_in(&folder)
            .map_err(|failure| match failure {
                Some(error) => at(parent)(error),
                None => Failure::Stopped,
            })?;
        let output = BufWriter::with_capacity(64 * 1024, &temporary.file);
        let mut output = AtMost { output, room };
        // (The verification has moved the cursor.)
        io::Seek::rewind(&mut &file).map_err(at(&job.path))?;
        let mut source = self.source(&file, read);
        let encoded = encode(
            job.coding,
            Effort::Best,
            version.len,
            &mut source,
            &mut output,
        );
        let encoded = encoded.and_then(|()| output.flush());
        if self.is_stopped() {
            return Err(Failure::Stopped);
        }
        if !is_under(&folder, name, &version) {
            return Err(Failure::Changing);
        }
        match encoded {
            Err(error) if AtMost::<()>::is_why(&error) => return unworthy(),
            encoded => encoded.map_err(at_sibling())?,
        }
        resemble(&temporary.file, &file, &version).map_err(at_sibling())?;
        match temporary.rename(&sibling) {
            Some(renamed) => renamed.map_err(at_sibling())?,
            None => return Err(Failure::Stopped),
        }
        Ok(Outcome::Written(room - output.room))
    }

    fn is_shown(&self, folder: &[u8], name: &[u8]) -> bool {
        match (folder, name) {
            (_, b"." | b"..") => false,
            _ if self.hidden => true,
            (b"", name) => !is_hidden(name),
            // That the folder is shown has been seen.
            (_, name) => !name.starts_with(b"."),
        }
    }

    fn source<'a>(&'a self, file: &'a File, read: &'a dyn Fn(u64)) -> Source<'a> {
        let stopped = &self.stopped;
        Source {
            file,
            stopped,
            read,
        }
    }

    /// A new file under a name that is not served. `None` for an error: no more of them.
    fn temporary_in(&self, folder: &Arc<OwnedFd>) -> Result<Temporary<'_>, Option<io::Error>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut all = self.temporary();
        let all = all.as_mut().ok_or(None)?;
        loop {
            // Another container may have a process of the same number.
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY}{}.{serial}", std::process::id());
            let file = match openat(folder, &*name, flags | OFlags::NOFOLLOW, mode) {
                Ok(file) => File::from(file),
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(Some(error.into())),
            };
            // Another run, at work in the same folder, takes it for left over otherwise.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
            all.push((folder.clone(), name.clone()));
            return Ok(Temporary {
                siblings: self,
                folder: folder.clone(),
                name,
                file,
            });
        }
    }

    /// A panic elsewhere leaves the list whole: each change is one statement.
    fn temporary(&self) -> MutexGuard<'_, Option<Names>> {
        self.temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder {
    /// What is to be done about one file.
    fn add(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8], version: &Version) {
        for coding in CODINGS {
            let job = Job {
                path: path.to_vec(),
                coding,
                len: version.len,
            };
            let sibling = [name, coding.suffix().as_bytes()].concat();
            match standing(folder, &sibling, version.modified) {
                Err(error) => self.failed.push((shown(job.sibling()), error)),
                Ok(Standing::UpToDate(len)) => self.done.push((job, Outcome::UpToDate(len))),
                Ok(Standing::Nothing) if most(version.len).is_none() => {
                    self.done.push((job, Outcome::Unworthy));
                }
                Ok(_) => self.jobs.push(job),
            }
        }
    }
}

/// A file under a temporary name, which goes when this is dropped.
struct Temporary<'a> {
    siblings: &'a Siblings,
    folder: Arc<OwnedFd>,
    name: String,
    file: File,
}

impl Temporary<'_> {
    /// Gives it its name. `None`: nothing may be written any more.
    fn rename(&self, name: &[u8]) -> Option<io::Result<()>> {
        let mut all = self.siblings.temporary();
        let all = all.as_mut()?;
        let renamed = renameat(&self.folder, &*self.name, &self.folder, name);
        if renamed.is_ok() {
            all.retain(|(_, other)| *other != self.name);
        }
        Some(renamed.map_err(io::Error::from))
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        let mut all = self.siblings.temporary();
        let Some(all) = all.as_mut() else {
            return;
        };
        if let Some(place) = all.iter().position(|(_, other)| *other == self.name) {
            all.swap_remove(place);
            // One that cannot be removed is what the next run removes.
            let _ = unlinkat(&self.folder, &*self.name, AtFlags::empty());
        }
    }
}

/// A file that is read until there is no more need.
struct Source<'a> {
    file: &'a File,
    stopped: &'a AtomicBool,
    read: &'a dyn Fn(u64),
}

impl Read for Source<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        let count = self.file.read(bytes)?;
        (self.read)(count as u64);
        Ok(count)
    }
}

/// How a path below the root is put, for people and programs that know of paths.
fn shown(path: Vec<u8>) -> PathBuf {
    match path.is_empty() {
        true => PathBuf::from("."),
        false => std::ffi::OsString::from_vec(path).into(),
    }
}

/// The most bytes a sibling may have to be worth its place, of a file that has so many; `None` if none is.
fn most(len: u64) -> Option<u64> {
    let least_saved = LEAST_SAVED.max(len.div_ceil(10));
    len.checked_sub(least_saved).filter(|&most| most > 0)
}

/// Whether the name is one of a sibling.
fn is_sibling(name: &[u8]) -> bool {
    let mut suffixes = CODINGS.iter().map(|coding| coding.suffix().as_bytes());
    suffixes.any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// Whether it is of a type that compresses.
fn is_worth_trying(name: &[u8]) -> bool {
    is_compressible(&Types::default().of(name).text)
}

/// A regular file, and which version of it.
fn open(folder: &OwnedFd, name: &[u8]) -> io::Result<(File, Version)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(
        folder,
        name,
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok((file, Version::from(&metadata))),
        false => Err(io::Error::other("is no file any more")),
    }
}

/// Whether this version is what is under the name.
fn is_under(folder: &OwnedFd, name: &[u8], version: &Version) -> bool {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| version_of_file(&stat) == Some(*version))
}

/// Whether another change from now on would be told from the last one.
fn is_at_rest(version: &Version, now: SystemTime) -> bool {
    let rested = now.duration_since(version.changed);
    version.is_settled(now) || rested.is_ok_and(|rested| rested > COARSE)
}

/// What stands under a sibling's name, whose file was last modified then.
fn standing(folder: &OwnedFd, sibling: &[u8], modified: SystemTime) -> io::Result<Standing> {
    let stat = match statat(folder, sibling, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(Standing::Nothing),
        Err(error) => return Err(error.into()),
    };
    Ok(match version_of_file(&stat) {
        None => Standing::Other,
        // No coding has nothing to say of nothing: this is what a power failure leaves.
        Some(version) if version.len == 0 || version.modified < modified => Standing::Stale,
        Some(version) if version.modified == modified => Standing::UpToDate(version.len),
        Some(version) => Standing::Younger(version.len),
    })
}

/// Lets a file be read by whom another may be read by, and gives it its date.
fn resemble(file: &File, original: &File, version: &Version) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, original.metadata()?);
    let (owner, group) = (theirs.uid(), theirs.gid());
    let mut mode = theirs.mode() & 0o777;
    if (ours.uid(), ours.gid()) != (owner, group)
        && fchown(file, Some(owner), Some(group)).is_err()
        && fchown(file, None, Some(group)).is_err()
    {
        // What its group may do, ours may not.
        mode &= 0o707;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_times(FileTimes::new().set_modified(version.modified))
}

/// Removes what a run has left that was killed, unless it is still at work.
fn remove_left_over(folder: &OwnedFd, name: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = openat(folder, name, flags, Mode::empty()) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        && unlinkat(folder, name, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn job(path: &str) -> Job {
        Job {
            path: path.into(),
            coding: Coding::Gzip,
            len: 0,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_tenth_and_a_kibibyte_must_be_saved() {
        for (len, expected) in [
            (0, None),
            (1024, None),
            (1025, Some(1)),
            (10_240, Some(9216)),
            (20_001, Some(18_000)),
        ] {
            assert_eq!(most(len), expected, "{len}");
        }
    }

    #[test]
    fn types_that_compress() {
        for (name, expected) in [
            ("a.html", true),
            ("a.js", true),
            ("a.json", true),
            ("a.svg", true),
            ("a.webmanifest", true),
            ("a.wasm", true),
            ("a.ttf", true),
            ("a.xml", true),
            ("a.rss", true),
            ("a.png", false),
            ("a.woff2", false),
            ("a.zip", false),
            ("a.mp4", false),
            ("README", false),
        ] {
            assert_eq!(is_worth_trying(name.as_bytes()), expected, "{name}");
        }
        assert!(is_sibling(b"a.js.br") && is_sibling(b"a.gz") && !is_sibling(b".gz"));
    }

    #[test]
    fn what_changes_all_the_time_gets_no_sibling() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.txt");
        fs::write(&path, "x".repeat(100_000)).unwrap();
        let siblings = Siblings::open(root.path(), false).unwrap();
        let changes = AtomicU32::new(0);
        let most = AtomicU32::new(u32::MAX);
        let change = |_| {
            if changes.fetch_add(1, Ordering::Relaxed) < most.load(Ordering::Relaxed) {
                fs::write(&path, "y".repeat(50_000)).unwrap();
            }
        };
        let made = siblings.make(&job("a.txt"), NOW, &change);
        assert!(matches!(made, Err(Failure::Changing)), "{made:?}");
        assert_eq!(names(root.path()), ["a.txt"]);

        changes.store(0, Ordering::Relaxed);
        most.store(1, Ordering::Relaxed);
        let made = siblings.make(&job("a.txt"), NOW, &change);
        assert!(matches!(made, Ok(Outcome::Written(_))), "once: {made:?}");
        assert_eq!(names(root.path()), ["a.txt", "a.txt.gz"]);
    }

    #[test]
    fn what_is_stopped_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "x".repeat(1_000_000)).unwrap();
        let siblings = Siblings::open(root.path(), false).unwrap();
        let at_work = |_| {
            assert_eq!(names(root.path()).len(), 2);
            siblings.stop();
            assert_eq!(names(root.path()), ["a.txt"]);
        };
        // (The first look is before it is stopped, and none comes after.)
        let made = siblings.make(&job("a.txt"), NOW, &at_work);
        assert!(matches!(made, Err(Failure::Stopped)), "{made:?}");
        let made = siblings.make(&job("a.txt"), NOW, &|_| ());
        assert!(matches!(made, Err(Failure::Stopped)), "{made:?}");
        assert_eq!(names(root.path()), ["a.txt"]);
    }

    #[test]
    fn what_was_left_over_is_removed_unless_somebody_is_at_work_on_it() {
        let root = tempfile::tempdir().unwrap();
        let siblings = Siblings::open(root.path(), true).unwrap();
        let folder = Arc::new(siblings.disk.workplace(b"").unwrap());
        let temporary = siblings.temporary_in(&folder).ok().unwrap();
        fs::write(root.path().join(".docroot-compress.1.2"), "x").unwrap();
        assert_eq!(siblings.list(b"").unwrap().left_over, 1);
        assert_eq!(names(root.path()), [&*temporary.name]);
        drop(temporary);
        assert!(names(root.path()).is_empty());
    }

    #[test]
    fn a_younger_sibling_is_left_if_it_is_right() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.txt");
        fs::write(&path, "x".repeat(5000)).unwrap();
        let siblings = Siblings::open(root.path(), false).unwrap();
        let make = || siblings.make(&job("a.txt"), NOW, &|_| ()).unwrap();
        let Outcome::Written(len) = make() else {
            panic!("it is worth it");
        };
        assert_eq!(make(), Outcome::UpToDate(len));
        let date = |path: &Path, seconds| {
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(date).unwrap();
        };
        date(&path, 1000);
        assert_eq!(make(), Outcome::UpToDate(len), "it is right");
        fs::write(&path, "y".repeat(5000)).unwrap();
        date(&path, 1000);
        assert_eq!(make(), Outcome::Written(len), "it was of another content");
        assert_eq!(make(), Outcome::UpToDate(len));
        fs::write(&path, "y".repeat(500)).unwrap();
        date(&path, 900);
        assert_eq!(make(), Outcome::Removed);
        assert_eq!(make(), Outcome::Unworthy);
    }
}
