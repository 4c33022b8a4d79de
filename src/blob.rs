//! Bytes at rest, in memory or in an open file.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes that do not change hands when they are passed on: a clone shares them.
///
/// An open file is read by whoever sends it, at an offset of their own, so one
/// descriptor serves any number of holders.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes that are part of the program.
    Static(&'static [u8]),
    /// Bytes that were read, or made.
    Memory(Arc<[u8]>),
    /// An open regular file.
    File {
        /// The open file. Its cursor is never used.
        file: Arc<File>,
        /// What it was when it was opened. By now it may be something else.
        version: Version,
        /// Whether it had been left alone for a while. If not, it may be about to change again.
        is_steady: bool,
    },
}

/// What a file system says of a file's bytes: from two versions that differ, other bytes must be
/// expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The length in bytes.
    pub len: u64,
    /// When the bytes were last changed, as far as nobody has said otherwise (utimensat(2)).
    pub modified: SystemTime,
    /// When anything about the file was last changed, its name and mode included. Nobody can say
    /// otherwise.
    pub changed: SystemTime,
    /// Which file this is, among those that exist on its file system.
    pub inode: u64,
}

impl Version {
    /// What the file is now.
    ///
    /// # Errors
    /// What statx(2) says, which for an open file is next to nothing.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }

    /// How far the dates of this file may lie behind the clock; two writes within it may have the same.
    /// The kernel's clock for files ticks every 10 ms at the most, and as much again is allowed for;
    /// dates without a fraction of a second are taken for those of a file system that has none, of
    /// which FAT's are the coarsest.
    #[must_use]
    pub fn tick(&self) -> Duration {
        let is_whole = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(since) => since.subsec_nanos() == 0,
            Err(before) => before.duration().subsec_nanos() == 0,
        };
        match is_whole(self.modified) && is_whole(self.changed) {
            true => Duration::from_secs(2),
            false => Duration::from_millis(20),
        }
    }

    /// Whether another change from now on would be told from the last one.
    #[must_use]
    pub fn is_settled(&self, now: SystemTime) -> bool {
        now.duration_since(self.changed)
            .is_ok_and(|since| since > self.tick())
    }

    /// Whether no write lies between the two. A new name, mode or link does not count, so that a file
    /// can be sent to its end while another takes its place.
    #[must_use]
    pub fn has_bytes_of(&self, other: &Self) -> bool {
        (self.len, self.modified) == (other.len, other.modified)
    }
}

impl From<&Metadata> for Version {
    fn from(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: time(metadata.mtime(), metadata.mtime_nsec()),
            changed: time(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Seconds since 1970, or before, and the nanoseconds after that second.
fn time(seconds: i64, nanos: i64) -> SystemTime {
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

impl Blob {
    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Static(bytes) => bytes.len() as u64,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { version, .. } => version.len,
        }
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Static(bytes) => Some(bytes),
            Self::Memory(bytes) => Some(bytes),
            Self::File { .. } => None,
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_are_times() {
        let file = tempfile::tempfile().unwrap();
        let modified = UNIX_EPOCH - Duration::from_millis(1500);
        file.set_modified(modified).unwrap();
        assert_eq!(Version::of(&file).unwrap().modified, modified);
    }

    #[test]
    fn a_version_settles() {
        let check = |modified, changed, millis, expected| {
            let version = Version {
                len: 0,
                modified: UNIX_EPOCH + Duration::from_millis(modified),
                changed: UNIX_EPOCH + Duration::from_millis(changed),
                inode: 1,
            };
            let now = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(
                version.is_settled(now),
                expected,
                "{version:?} at {millis} ms"
            );
        };
        check(1, 10_001, 10_000, false);
        check(1, 10_001, 10_020, false);
        check(1, 10_001, 10_022, true);
        check(0, 10_001, 10_022, true);
        check(0, 10_000, 10_022, false);
        check(0, 10_000, 12_001, true);
    }

    #[test]
    fn a_write_is_seen_and_a_new_mode_is_no_write() {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt as _;

        let file = tempfile::tempfile().unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        let before = Version::of(&file).unwrap();
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        let after = Version::of(&file).unwrap();
        assert!(after.has_bytes_of(&before));
        file.set_len(1).unwrap();
        assert!(!Version::of(&file).unwrap().has_bytes_of(&before));
        file.set_len(0).unwrap();
        assert!(!Version::of(&file).unwrap().has_bytes_of(&before));
    }
}
