//! Many changes that come together, as one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long nothing must have happened for a burst to be over; and how long it may last.
const QUIET_PERIOD: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_millis(500);

/// Paths that are kept apart.
const MAX_PATHS: usize = 1000;

/// What has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// It is there, and was not before.
    Created,
    /// It is not there any more.
    Removed,
    /// It is another one, as far as is known.
    Modified,
}

/// What has changed since the last quiet.
#[derive(Debug, Default)]
pub(super) struct Debouncer {
    /// When it began, and when something happened last.
    span: Option<(Instant, Instant)>,
    /// Whether something was there before, and whether it is now.
    paths: BTreeMap<Vec<u8>, (bool, bool)>,
    is_everything: bool,
}

/// What a burst comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changes {
    /// These files, of which there is at least one, in order.
    Paths(Vec<Vec<u8>>),
    /// Nobody knows.
    Everything,
}

impl Debouncer {
    /// Something has happened to the file under a path.
    pub(super) fn record(&mut self, path: &[u8], change: FileChange, now: Instant) {
        self.extend(now);
        if self.is_everything {
            return;
        }
        let is = change != FileChange::Removed;
        if let Some(state) = self.paths.get_mut(path) {
            state.1 = is;
        } else if self.paths.len() < MAX_PATHS {
            let was = change != FileChange::Created;
            self.paths.insert(path.to_vec(), (was, is));
        } else {
            self.is_everything = true;
        }
    }

    /// Anything may have happened.
    pub(super) fn record_unknown(&mut self, now: Instant) {
        self.extend(now);
        self.is_everything = true;
    }

    fn extend(&mut self, now: Instant) {
        let (_, last) = self.span.get_or_insert((now, now));
        *last = now;
    }

    /// When it is over, if nothing happens before; `None` if nothing has.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.span
            .map(|(since, last)| (last + QUIET_PERIOD).min(since + MAX_DELAY))
    }

    /// When something happened last.
    pub(super) fn last_change(&self) -> Option<Instant> {
        self.span.map(|(_, last)| last)
    }

    /// What it comes to, and another may begin. `None` is nothing: what was not there before, and is not there after,
    /// is how editors save.
    pub(super) fn take(&mut self) -> Option<Changes> {
        let Self {
            paths,
            is_everything,
            ..
        } = std::mem::take(self);
        if is_everything {
            return Some(Changes::Everything);
        }
        let lasting = paths.into_iter().filter(|(_, (was, is))| *was || *is);
        let paths: Vec<_> = lasting.map(|(path, _)| path).collect();
        (!paths.is_empty()).then_some(Changes::Paths(paths))
    }
}

#[cfg(test)]
mod tests {
    use super::FileChange::{Created, Modified, Removed};
    use super::*;

    /// What has happened at which millisecond, and when it is over and comes to what.
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
            "it is over"
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
        // As vim saves, and as others do by renaming.
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
