//! Releases: the directories to which the root path has resolved, and their grace periods.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::root::Root;

/// Maximum number of releases. Each holds a file descriptor.
const MAX_RELEASES: usize = 16;

/// `next_expiry_nanos` if no release expires.
const NO_EXPIRY: u64 = u64::MAX;

/// Directories to which the root path has resolved, the latest first, and the grace period for which files of previous
/// ones are still served. Clones share them: a page that one worker has sent may request its files from another worker.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    grace_period: Duration,
    shared: Arc<ReleasesShared>,
}

#[derive(Debug)]
struct ReleasesShared {
    releases: Mutex<VecDeque<Release>>,
    /// Time at which the first previous release expires, in nanoseconds since 1970.
    next_expiry_nanos: AtomicU64,
}

#[derive(Debug)]
struct Release {
    root: Arc<Root>,
    /// End of its grace period; `None` for the current release.
    expires_at: Option<SystemTime>,
}

impl Releases {
    /// Creates an empty list. Files of a previous release are served for `grace_period` after the next one was seen; if
    /// it is zero, they are not served.
    #[must_use]
    pub fn with_grace_period(grace_period: Duration) -> Self {
        Self {
            grace_period,
            shared: Arc::default(),
        }
    }

    /// Returns the grace period, or `None` if files of previous releases are not served.
    pub(crate) fn grace_period(&self) -> Option<Duration> {
        Some(self.grace_period).filter(|grace_period| !grace_period.is_zero())
    }

    /// Returns the time of the next [`expire`](Self::expire); `None` if no release expires.
    pub(crate) fn next_expiry(&self) -> Option<SystemTime> {
        self.grace_period()?;
        match self.shared.next_expiry_nanos.load(Ordering::Relaxed) {
            NO_EXPIRY => None,
            expiry => Some(UNIX_EPOCH + Duration::from_nanos(expiry)),
        }
    }

    /// Closes the releases whose grace period is over.
    pub(crate) fn expire(&self, now: SystemTime) {
        self.shared.expire(&mut self.lock(), now);
    }

    /// Records that the root path resolves to this directory now.
    pub(crate) fn record(&self, root: &Arc<Root>, now: SystemTime) {
        let mut releases = self.lock();
        if let Some(latest) = releases.front_mut()
            && latest.root.is_same_dir(root)
        {
            // The allowed targets of its symbolic links may have changed.
            latest.root = root.clone();
            return;
        }
        releases.retain(|release| !release.root.is_same_dir(root));
        if let Some(latest) = releases.front_mut() {
            latest.expires_at = Some(now + self.grace_period);
        }
        releases.push_front(Release {
            root: root.clone(),
            expires_at: None,
        });
        // Without a grace period only the current release is kept.
        releases.truncate(if self.grace_period.is_zero() {
            1
        } else {
            MAX_RELEASES
        });
        self.shared.expire(&mut releases, now);
    }

    /// Returns the release to which any worker last saw the root path resolve.
    pub(crate) fn current(&self) -> Option<Arc<Root>> {
        let releases = self.lock();
        releases.front().map(|latest| latest.root.clone())
    }

    /// Returns the releases other than this one whose grace period is not over, the latest first.
    pub(crate) fn previous(&self, current: &Root, now: SystemTime) -> Vec<Arc<Root>> {
        if self.grace_period.is_zero() {
            return Vec::new();
        }
        let mut releases = self.lock();
        self.shared.expire(&mut releases, now);
        let previous = releases
            .iter()
            .filter(|release| !release.root.is_same_dir(current));
        previous.map(|release| release.root.clone()).collect()
    }

    /// Locks the list. A poisoned lock is safe to use: a panic halfway loses at most one release.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Release>> {
        let releases = self.shared.releases.lock();
        releases.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReleasesShared {
    fn expire(&self, releases: &mut VecDeque<Release>, now: SystemTime) {
        releases.retain(|release| release.expires_at.is_none_or(|until| now < until));
        let expiry = releases
            .iter()
            .filter_map(|release| release.expires_at)
            .min();
        let expiry = expiry.and_then(|expiry| expiry.duration_since(UNIX_EPOCH).ok());
        let expiry = expiry.and_then(|expiry| u64::try_from(expiry.as_nanos()).ok());
        self.next_expiry_nanos
            .store(expiry.unwrap_or(NO_EXPIRY), Ordering::Relaxed);
    }
}

impl Default for ReleasesShared {
    fn default() -> Self {
        Self {
            releases: Mutex::default(),
            next_expiry_nanos: AtomicU64::new(NO_EXPIRY),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::root::Symlinks;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> SystemTime {
        UNIX_EPOCH + MINUTE * minutes
    }

    /// Creates `count` directories.
    fn roots(count: usize) -> (tempfile::TempDir, Vec<Arc<Root>>) {
        let root = tempfile::tempdir().unwrap();
        let roots = (0..count).map(|number| {
            let path = root.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            Arc::new(Root::open(&path, &Symlinks::default()).unwrap())
        });
        let roots = roots.collect();
        (root, roots)
    }

    fn check(
        releases: &Releases,
        roots: &[Arc<Root>],
        current: usize,
        minute: u32,
        previous: &[usize],
    ) {
        let found = releases.previous(&roots[current], at(minute));
        let index = |found: &Arc<Root>| {
            roots
                .iter()
                .position(|root| root.is_same_dir(found))
                .unwrap()
        };
        let found: Vec<usize> = found.iter().map(index).collect();
        assert_eq!(found, previous, "in minute {minute}");
    }

    #[test]
    fn previous_release_is_served_during_its_grace_period() {
        let (_root, roots) = roots(3);
        let releases = Releases::with_grace_period(10 * MINUTE);
        for (root, minute) in [(0, 0), (0, 5), (1, 6), (1, 7), (2, 10)] {
            releases.record(&roots[root], at(minute));
        }
        check(&releases, &roots, 2, 10, &[1, 0]);
        check(&releases, &roots, 1, 10, &[2, 0]);
        check(&releases, &roots, 2, 16, &[1]);
        check(&releases, &roots, 2, 20, &[]);
    }

    #[test]
    fn expired_release_is_closed_without_a_request() {
        let (_root, roots) = roots(3);
        let releases = Releases::with_grace_period(10 * MINUTE);
        let check = |open: [bool; 3], expiry: Option<u32>| {
            let is_held: Vec<bool> = roots.iter().map(|it| Arc::strong_count(it) > 1).collect();
            assert_eq!(
                (is_held.as_slice(), releases.next_expiry()),
                (&open[..], expiry.map(at))
            );
        };
        releases.record(&roots[0], at(0));
        check([true, false, false], None);
        releases.record(&roots[1], at(1));
        check([true, true, false], Some(11));
        releases.expire(at(10));
        check([true, true, false], Some(11));
        releases.record(&roots[2], at(11));
        check([false, true, true], Some(21));
        releases.expire(at(21));
        check([false, false, true], None);
        assert_eq!(Releases::default().next_expiry(), None);
    }

    #[test]
    fn release_that_returns_is_current_again() {
        let (_root, roots) = roots(2);
        let releases = Releases::with_grace_period(10 * MINUTE);
        for (root, minute) in [(0, 0), (1, 1), (0, 2)] {
            releases.record(&roots[root], at(minute));
        }
        check(&releases, &roots, 0, 3, &[1]);
        check(&releases, &roots, 0, 12, &[]);
        releases.record(&roots[1], at(20));
        check(&releases, &roots, 1, 29, &[0]);
    }

    #[test]
    fn releases_are_bounded() {
        let (_root, roots) = roots(MAX_RELEASES + 2);
        let releases = Releases::with_grace_period(10 * MINUTE);
        for root in &roots {
            releases.record(root, at(0));
        }
        assert_eq!(
            releases.previous(&roots[MAX_RELEASES + 1], at(1)).len(),
            MAX_RELEASES - 1
        );
        let none = Releases::default();
        none.record(&roots[0], at(0));
        none.record(&roots[1], at(0));
        check(&none, &roots, 1, 0, &[]);
    }
}
