//! Releases: the directories to which the root path has resolved, and their grace periods.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::root::Root;
use crate::sync::lock;

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

    fn lock(&self) -> MutexGuard<'_, VecDeque<Release>> {
        lock(&self.shared.releases)
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
