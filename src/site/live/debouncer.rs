//! Merging of file changes that come in a burst.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time without events after which a burst is over, and the longest time that a burst may last.
const QUIET_PERIOD: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Maximum number of distinct paths in a burst.
const MAX_PATHS: usize = 1000;

/// Change to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// File that did not exist before.
    Created,
    /// File that no longer exists.
    Removed,
    /// File whose content may have changed.
    Modified,
}

/// Changes of the current burst, if there is one.
#[derive(Debug, Default)]
pub(super) struct Debouncer(Option<Burst>);

#[derive(Debug)]
struct Burst {
    /// Times of the first and the last event.
    first: Instant,
    last: Instant,
    /// Changed paths; `None` if any file may have changed.
    paths: Option<BTreeMap<Vec<u8>, PathHistory>>,
}

/// Whether there was a file at a path before the burst, and whether there is one now.
#[derive(Clone, Copy, Debug)]
struct PathHistory {
    existed: bool,
    exists: bool,
}

/// Result of a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// Changed files, at least one, sorted.
    Paths(Vec<Vec<u8>>),
    /// Unknown set of files: any file may have changed.
    Everything,
}

impl Debouncer {
    /// Records a change to the file at a path.
    pub(super) fn record(&mut self, path: &[u8], change: FileChange, now: Instant) {
        let burst = self.extend(now);
        let Some(paths) = &mut burst.paths else {
            return;
        };
        let exists = change != FileChange::Removed;
        if let Some(history) = paths.get_mut(path) {
            history.exists = exists;
        } else if paths.len() < MAX_PATHS {
            let existed = change != FileChange::Created;
            paths.insert(path.to_vec(), PathHistory { existed, exists });
        } else {
            burst.paths = None;
        }
    }

    /// Records that any file may have changed.
    pub(super) fn record_unknown(&mut self, now: Instant) {
        self.extend(now).paths = None;
    }

    fn extend(&mut self, now: Instant) -> &mut Burst {
        let burst = self.0.get_or_insert_with(|| Burst {
            first: now,
            last: now,
            paths: Some(BTreeMap::new()),
        });
        burst.last = now;
        burst
    }

    /// Returns the end of the burst if no event comes before; `None` if there is no burst.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let burst = self.0.as_ref()?;
        Some((burst.last + QUIET_PERIOD).min(burst.first + MAX_DELAY))
    }

    /// Returns the time of the last event.
    pub(super) fn last_change(&self) -> Option<Instant> {
        self.0.as_ref().map(|burst| burst.last)
    }

    /// Ends the burst and returns its result. `None` means no change: a file that existed neither before nor after is a
    /// temporary file of an editor.
    pub(super) fn take(&mut self) -> Option<Changes> {
        let Some(paths) = self.0.take()?.paths else {
            return Some(Changes::Everything);
        };
        let lasting = paths
            .into_iter()
            .filter(|(_, history)| history.existed || history.exists);
        let paths: Vec<_> = lasting.map(|(path, _)| path).collect();
        (!paths.is_empty()).then_some(Changes::Paths(paths))
    }
}

#[cfg(test)]
mod tests {
    use super::FileChange::{Created, Modified, Removed};
    use super::*;

    /// Records changes at given milliseconds, and checks the end and the result of the burst.
    fn check(changes: &[(u64, &str, FileChange)], deadline: u64, expected: &[&str]) {
        let start = Instant::now();
        let mut debouncer = Debouncer::default();
        assert_eq!(debouncer.deadline(), None);
        for (at, path, change) in changes {
            let now = start + Duration::from_millis(*at);
            debouncer.record(path.as_bytes(), *change, now);
        }
        assert_eq!(
            debouncer.deadline(),
            Some(start + Duration::from_millis(deadline))
        );
        let paths: Vec<_> = expected
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect();
        let expected = (!paths.is_empty()).then_some(Changes::Paths(paths));
        assert_eq!(debouncer.take(), expected);
        assert_eq!(
            (debouncer.deadline(), debouncer.take()),
            (None, None),
            "the burst is over"
        );
    }

    #[test]
    fn changes_within_the_quiet_period_are_merged() {
        check(&[(0, "a", Modified)], 50, &["a"]);
        check(
            &[(0, "b", Created), (49, "a", Removed), (98, "a", Created)],
            148,
            &["a", "b"],
        );
        check(&[(0, "a", Modified), (480, "a", Modified)], 500, &["a"]);
    }

    #[test]
    fn file_created_and_removed_is_no_change() {
        check(
            &[
                (0, "4913", Created),
                (1, "4913", Modified),
                (2, "4913", Removed),
            ],
            52,
            &[],
        );
        // Vim saves like this; other editors rename.
        let vim = [
            (0, "a~", Created),
            (0, "a", Removed),
            (1, "a", Created),
            (2, "a~", Removed),
        ];
        check(&vim, 52, &["a"]);
        let rename = [
            (0, "a.tmp", Created),
            (1, "a.tmp", Removed),
            (1, "a", Modified),
        ];
        check(&rename, 51, &["a"]);
    }

    #[test]
    fn too_many_paths_become_everything() {
        let now = Instant::now();
        let mut debouncer = Debouncer::default();
        for number in 0..=MAX_PATHS {
            debouncer.record(number.to_string().as_bytes(), Created, now);
        }
        assert_eq!(debouncer.take(), Some(Changes::Everything));
        debouncer.record_unknown(now);
        assert_eq!(debouncer.take(), Some(Changes::Everything));
    }
}
