//! Version of a file's bytes, and whether the file still has them.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest time by which a time stamp of a file may lie behind the clock, so that two changes have the same one: one
/// tick of the kernel, at most 10 ms, and as much again as a margin.
pub const TIMESTAMP_TICK: Duration = Duration::from_millis(20);

/// Coarsest timestamp granularity of a file system: that of FAT.
const MAX_TIMESTAMP_GRANULARITY: Duration = Duration::from_secs(2);

/// Attempts to stat a file of which only the change time differs, before that counts as a change of its bytes. Each
/// costs one statx(2), 0.3 microseconds; a file system needs some tens of nanoseconds.
const MAX_STATS: u32 = 100;

/// Version of a file's bytes, from its metadata. Two questions are asked of it: two equal versions are of the same bytes
/// under as many names, as a key of a cache needs; [`is_unchanged`](Self::is_unchanged) and
/// [`recheck`](Self::recheck) say whether the bytes are the same, also if a name was added or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileVersion {
    /// Length in bytes.
    pub len: u64,
    /// Modification time (mtime) of the bytes. A process can set it to any value (utimensat(2)).
    pub modified: SystemTime,
    /// Change time (ctime): last change of the file or its metadata, such as its name or mode. No process can set it.
    pub changed: SystemTime,
    /// Device number of its file system.
    pub device: u64,
    /// Inode number, unique among the files that exist on its file system.
    pub inode: u64,
    /// Number of its hard links, which are its names.
    pub links: u64,
}

/// Outcome of [`FileVersion::recheck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionCheck {
    /// The bytes are the same.
    Unchanged,
    /// Only the change time differs. That may be a removal of the file's name, half done: a later check decides.
    Undecided,
    /// The bytes must be expected to differ.
    Changed,
}

impl FileVersion {
    /// Returns the current version of an open file.
    ///
    /// # Errors
    /// The error of statx(2), which an open file almost never causes.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    /// Returns the current version of an open file, to be compared with an `earlier` one by
    /// [`has_same_bytes_as`](Self::has_same_bytes_as).
    ///
    /// unlink(2), rename(2) and link(2) set the change time and the number of links one after the other; in which order
    /// depends on the file system: tmpfs and XFS set the time first. So where nothing but the change time differs,
    /// this calls statx(2) again, up to 100 times, before it returns that difference.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn after(file: &File, earlier: &Self) -> io::Result<Self> {
        let mut now = Self::of(file)?;
        for _ in 1..MAX_STATS {
            if now.has_same_bytes_as(earlier) || !now.differs_in_change_time_only(earlier) {
                break;
            }
            now = Self::of(file)?;
        }
        Ok(now)
    }

    /// Whether an open file still has the bytes of this version, as [`after`](Self::after) and
    /// [`has_same_bytes_as`](Self::has_same_bytes_as) say.
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn is_unchanged(&self, file: &File) -> io::Result<bool> {
        Ok(Self::after(file, self)?.has_same_bytes_as(self))
    }

    /// Checks whether an open file still has the bytes of this version, and makes the file's current version the one to
    /// compare with, so that a changed number of links excuses one new change time and none after it. (But the kernel
    /// may remove the last link shortly before it sets the change time: until then the old version is kept, so that the
    /// change is still excused.)
    ///
    /// # Errors
    /// As for [`of`](Self::of).
    pub fn recheck(&mut self, file: &File) -> io::Result<VersionCheck> {
        let now = Self::after(file, self)?;
        if !now.has_same_bytes_as(self) {
            return Ok(match now.differs_in_change_time_only(self) {
                true => VersionCheck::Undecided,
                false => VersionCheck::Changed,
            });
        }
        if now.links > 0 || now.changed != self.changed {
            *self = now;
        }
        Ok(VersionCheck::Unchanged)
    }

    /// Whether the change time has a fraction of a second, so that it can be relied on. A time in whole seconds may be
    /// invented (squashfs stores the time of the image's creation) or stand for several changes (FAT, ext3).
    #[must_use]
    pub fn has_subsecond_ctime(&self) -> bool {
        let fraction = match self.changed.duration_since(UNIX_EPOCH) {
            Ok(since) => since.subsec_nanos(),
            Err(before) => before.duration().subsec_nanos(),
        };
        fraction != 0
    }

    /// Whether a change from now on would have a change time different from the last one's.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let since = now.duration_since(self.changed);
        self.has_subsecond_ctime() && since.is_ok_and(|since| since > TIMESTAMP_TICK)
    }

    /// Whether a change from now on would have a change time different from the last one's, on any file system that has
    /// change times.
    #[must_use]
    pub fn is_at_rest(&self, now: SystemTime) -> bool {
        let since = now.duration_since(self.changed);
        self.is_settled(now) || since.is_ok_and(|since| since > MAX_TIMESTAMP_GRANULARITY)
    }

    /// Whether the bytes of an open file are those of its `earlier` version. Any change of the change time may mean
    /// that the bytes were changed and the modification time was set back. The exceptions are a link removed, as when
    /// another file replaces this one, and a link added, as in the next release: these do not change the bytes.
    ///
    /// A rename(2) over the last link may set the change time twice, before and after it removes the link (tmpfs): a
    /// second change within a [`TIMESTAMP_TICK`] of the first belongs to it.
    #[must_use]
    pub fn has_same_bytes_as(&self, earlier: &Self) -> bool {
        let is_same = (self.len, self.modified) == (earlier.len, earlier.modified);
        let is_removal = || {
            let since = self.changed.duration_since(earlier.changed);
            self.links == 0 && since.is_ok_and(|since| since <= TIMESTAMP_TICK)
        };
        is_same && (self.changed == earlier.changed || self.links != earlier.links || is_removal())
    }

    /// Whether this differs from an `earlier` version in nothing but the change time.
    fn differs_in_change_time_only(&self, earlier: &Self) -> bool {
        let changed = earlier.changed;
        self.changed != changed && Self { changed, ..*self } == *earlier
    }
}

impl From<&Metadata> for FileVersion {
    fn from(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: system_time(metadata.mtime(), metadata.mtime_nsec()),
            changed: system_time(metadata.ctime(), metadata.ctime_nsec()),
            device: metadata.dev(),
            inode: metadata.ino(),
            links: metadata.nlink(),
        }
    }
}

/// Converts seconds since 1970, which may be negative, and nanoseconds after that second.
pub(crate) fn system_time(seconds: i64, nanos: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    let nanos = Duration::from_nanos(nanos.unsigned_abs());
    second
        .and_then(|second| second.checked_add(nanos))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_before_1970_are_kept() {
        let file = tempfile::tempfile().unwrap();
        let modified = UNIX_EPOCH - Duration::from_millis(1500);
        file.set_modified(modified).unwrap();
        assert_eq!(FileVersion::of(&file).unwrap().modified, modified);
    }

    #[test]
    fn version_settles_after_a_tick() {
        let check = |changed, now, expected| {
            let version = FileVersion {
                len: 0,
                modified: UNIX_EPOCH,
                changed: UNIX_EPOCH + Duration::from_millis(changed),
                device: 1,
                inode: 1,
                links: 1,
            };
            let now = UNIX_EPOCH + Duration::from_millis(now);
            assert_eq!(version.is_settled(now), expected, "{version:?} at {now:?}");
        };
        check(10_001, 10_000, false);
        check(10_001, 10_021, false);
        check(10_001, 10_022, true);
        check(10_000, 90_000, false);
    }

    #[test]
    fn removal_may_change_ctime_twice_within_a_tick() {
        let version = |links, millis| FileVersion {
            len: 7,
            modified: UNIX_EPOCH,
            changed: UNIX_EPOCH + Duration::from_millis(millis),
            device: 1,
            inode: 1,
            links,
        };
        let check = |(earlier, now): (FileVersion, FileVersion), expected| {
            assert_eq!(
                now.has_same_bytes_as(&earlier),
                expected,
                "{earlier:?} {now:?}"
            );
        };
        check((version(1, 50), version(0, 90)), true);
        check((version(0, 50), version(0, 70)), true);
        check((version(0, 50), version(0, 71)), false);
        check((version(0, 50), version(0, 49)), false);
        check((version(1, 50), version(1, 51)), false);
    }

    #[test]
    fn ctime_change_means_other_bytes_unless_links_changed() {
        use std::fs::{File, hard_link, remove_file};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        hard_link(&path, dir.path().join("other name")).unwrap();
        let before = FileVersion::of(&file).unwrap();
        let has_bytes = || FileVersion::of(&file).unwrap().has_same_bytes_as(&before);
        assert!(has_bytes());
        remove_file(&path).unwrap();
        assert!(has_bytes(), "a link was removed");
        let before = FileVersion::of(&file).unwrap();
        let has_bytes = || FileVersion::of(&file).unwrap().has_same_bytes_as(&before);
        hard_link(dir.path().join("other name"), &path).unwrap();
        assert!(has_bytes(), "a link was added");
        let before = FileVersion::of(&file).unwrap();
        let has_bytes = || FileVersion::of(&file).unwrap().has_same_bytes_as(&before);
        // File times advance in ticks.
        while FileVersion::of(&file).unwrap().changed == before.changed {
            file.set_len(1).unwrap();
            file.set_len(0).unwrap();
            file.set_modified(before.modified).unwrap();
        }
        assert!(!has_bytes(), "its modification time was set back");
        file.set_len(1).unwrap();
        assert!(!has_bytes());
    }

    /// The kernel sets the change time before or after it removes the link, or both: the check may run in between.
    #[test]
    fn file_unlinked_while_checked_is_unchanged() {
        use std::fs::{File, remove_file, rename, write};
        use std::thread;

        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("file"), dir.path().join("next"));
        for is_replaced in [false, true].repeat(50) {
            write(&path, "content").unwrap();
            write(&next, "another").unwrap();
            let file = File::open(&path).unwrap();
            let mut version = FileVersion::of(&file).unwrap();
            thread::scope(|scope| {
                let remover = scope.spawn(|| match is_replaced {
                    true => rename(&next, &path).unwrap(),
                    false => remove_file(&path).unwrap(),
                });
                while !remover.is_finished() {
                    let check = version.recheck(&file).unwrap();
                    assert_ne!(check, VersionCheck::Changed);
                }
            });
            assert_eq!(version.recheck(&file).unwrap(), VersionCheck::Unchanged);
        }
    }
}
