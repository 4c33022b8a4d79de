//! Which folders the root's name has led to, of which something may still be shown.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::disk::Disk;

/// Folders that are remembered at the most. Each costs a descriptor.
const MOST: usize = 16;

/// What is due never.
const NEVER: u64 = u64::MAX;

/// The folders that the root's name has led to, the latest first, and how long something of a former one may still be
/// shown. A clone is the same: what one worker has served, pages that it has sent may ask another one for.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    grace: Duration,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<VecDeque<Release>>,
    /// When the first of the former ones is to be forgotten: nanoseconds after 1970.
    due: AtomicU64,
}

#[derive(Debug)]
struct Release {
    disk: Arc<Disk>,
    /// Until when something of it may be shown, if it is a former one.
    until: Option<SystemTime>,
}

impl Releases {
    /// Shows something of a former one for so long after the next one was seen; not at all, if that is zero.
    #[must_use]
    pub fn within(grace: Duration) -> Self {
        Self {
            grace,
            shared: Arc::default(),
        }
    }

    /// How long something of a former one may be shown, if it may at all.
    pub(super) fn grace(&self) -> Option<Duration> {
        Some(self.grace).filter(|grace| !grace.is_zero())
    }

    /// When there is something to [forget](Self::forget); `None` before there is.
    pub(super) fn due(&self) -> Option<SystemTime> {
        self.grace()?;
        match self.shared.due.load(Ordering::Relaxed) {
            NEVER => None,
            due => Some(UNIX_EPOCH + Duration::from_nanos(due)),
        }
    }

    /// Holds those no longer open of which nothing may be shown any more.
    pub(super) fn forget(&self, now: SystemTime) {
        self.shared.forget(&mut self.lock(), now);
    }

    /// The root's name leads to this one now.
    pub(super) fn see(&self, disk: &Arc<Disk>, now: SystemTime) {
        let mut seen = self.lock();
        if let Some(latest) = seen.front_mut()
            && latest.disk.is(disk)
        {
            // Where its links may lead may have changed.
            latest.disk = disk.clone();
            return;
        }
        seen.retain(|release| !release.disk.is(disk));
        if let Some(latest) = seen.front_mut() {
            latest.until = Some(now + self.grace);
        }
        seen.push_front(Release {
            disk: disk.clone(),
            until: None,
        });
        // Without grace, what is current is all that counts.
        seen.truncate(if self.grace.is_zero() { 1 } else { MOST });
        self.shared.forget(&mut seen, now);
    }

    /// The one that the root's name was last seen to lead to, by whichever worker.
    pub(super) fn latest(&self) -> Option<Arc<Disk>> {
        let seen = self.lock();
        seen.front().map(|latest| latest.disk.clone())
    }

    /// Those that something may be shown of instead of this one, the latest first.
    pub(super) fn former(&self, current: &Disk, now: SystemTime) -> Vec<Arc<Disk>> {
        if self.grace.is_zero() {
            return Vec::new();
        }
        let mut seen = self.lock();
        self.shared.forget(&mut seen, now);
        let former = seen.iter().filter(|release| !release.disk.is(current));
        former.map(|release| release.disk.clone()).collect()
    }

    /// A panic elsewhere leaves it whole: what is half done is only a folder forgotten.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Release>> {
        let seen = self.shared.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn forget(&self, seen: &mut VecDeque<Release>, now: SystemTime) {
        seen.retain(|release| release.until.is_none_or(|until| now < until));
        let due = seen.iter().filter_map(|release| release.until).min();
        let due = due.and_then(|due| due.duration_since(UNIX_EPOCH).ok());
        let due = due.and_then(|due| u64::try_from(due.as_nanos()).ok());
        self.due.store(due.unwrap_or(NEVER), Ordering::Relaxed);
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            due: AtomicU64::new(NEVER),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::disk::Symlinks;
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> SystemTime {
        UNIX_EPOCH + MINUTE * minutes
    }

    /// So many folders.
    fn disks(count: usize) -> (tempfile::TempDir, Vec<Arc<Disk>>) {
        let root = tempfile::tempdir().unwrap();
        let disks = (0..count).map(|number| {
            let path = root.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            Arc::new(Disk::open(&path, &Symlinks::default()).unwrap())
        });
        let disks = disks.collect();
        (root, disks)
    }

    fn check(
        releases: &Releases,
        disks: &[Arc<Disk>],
        current: usize,
        minute: u32,
        former: &[usize],
    ) {
        let found = releases.former(&disks[current], at(minute));
        let place = |found: &Arc<Disk>| disks.iter().position(|disk| disk.is(found)).unwrap();
        let found: Vec<usize> = found.iter().map(place).collect();
        assert_eq!(found, former, "in minute {minute}");
    }

    #[test]
    fn a_former_one_is_there_until_its_time_is_over() {
        let (_root, disks) = disks(3);
        let releases = Releases::within(10 * MINUTE);
        for (disk, minute) in [(0, 0), (0, 5), (1, 6), (1, 7), (2, 10)] {
            releases.see(&disks[disk], at(minute));
        }
        check(&releases, &disks, 2, 10, &[1, 0]);
        check(&releases, &disks, 1, 10, &[2, 0]);
        check(&releases, &disks, 2, 16, &[1]);
        check(&releases, &disks, 2, 20, &[]);
    }

    #[test]
    fn none_is_held_when_its_time_is_over_though_nobody_asks() {
        let (_root, disks) = disks(3);
        let releases = Releases::within(10 * MINUTE);
        let check = |held: [bool; 3], due: Option<u32>| {
            let is_held: Vec<bool> = disks.iter().map(|it| Arc::strong_count(it) > 1).collect();
            assert_eq!(
                (is_held.as_slice(), releases.due()),
                (&held[..], due.map(at))
            );
        };
        releases.see(&disks[0], at(0));
        check([true, false, false], None);
        releases.see(&disks[1], at(1));
        check([true, true, false], Some(11));
        releases.forget(at(10));
        check([true, true, false], Some(11));
        releases.see(&disks[2], at(11));
        check([false, true, true], Some(21));
        releases.forget(at(21));
        check([false, false, true], None);
        assert_eq!(Releases::default().due(), None);
    }

    #[test]
    fn one_that_has_come_back_is_no_former_one() {
        let (_root, disks) = disks(2);
        let releases = Releases::within(10 * MINUTE);
        for (disk, minute) in [(0, 0), (1, 1), (0, 2)] {
            releases.see(&disks[disk], at(minute));
        }
        check(&releases, &disks, 0, 3, &[1]);
        check(&releases, &disks, 0, 12, &[]);
        releases.see(&disks[1], at(20));
        check(&releases, &disks, 1, 29, &[0]);
    }

    #[test]
    fn only_so_many_are_held() {
        let (_root, disks) = disks(MOST + 2);
        let releases = Releases::within(10 * MINUTE);
        for disk in &disks {
            releases.see(disk, at(0));
        }
        assert_eq!(releases.former(&disks[MOST + 1], at(1)).len(), MOST - 1);
        let none = Releases::default();
        none.see(&disks[0], at(0));
        none.see(&disks[1], at(0));
        check(&none, &disks, 1, 0, &[]);
    }
}
