//! Many changes that come together, as one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long nothing must have happened for a burst to be over; and how long it may last.
const QUIET: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_millis(500);

/// Paths that are kept apart.
const PATHS: usize = 1000;

/// What has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there, and was not before.
    Made,
    /// It is not there any more.
    Gone,
    /// It is another one, as far as is known.
    Changed,
}

/// What has changed since the last quiet.
#[derive(Debug, Default)]
pub(super) struct Burst {
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

impl Burst {
    /// Something has happened to the file under a path.
    pub(super) fn hear(&mut self, path: &[u8], seen: Seen, now: Instant) {
        self.extend(now);
        if self.is_everything {
            return;
        }
        let is = seen != Seen::Gone;
        if let Some(known) = self.paths.get_mut(path) {
            known.1 = is;
        } else if self.paths.len() < PATHS {
            let was = seen != Seen::Made;
            self.paths.insert(path.to_vec(), (was, is));
        } else {
            self.is_everything = true;
        }
    }

    /// Anything may have happened.
    pub(super) fn lose_track(&mut self, now: Instant) {
        self.extend(now);
        self.is_everything = true;
    }

    fn extend(&mut self, now: Instant) {
        let (_, last) = self.span.get_or_insert((now, now));
        *last = now;
    }

    /// When it is over, if nothing happens before; `None` if nothing has.
    pub(super) fn due(&self) -> Option<Instant> {
        self.span
            .map(|(since, last)| (last + QUIET).min(since + MOST))
    }

    /// When something happened last.
    pub(super) fn last(&self) -> Option<Instant> {
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
    use super::Seen::{Changed, Gone, Made};
    use super::*;

    /// What has happened at which millisecond, and when it is over and comes to what.
    fn check(heard: &[(u64, &str, Seen)], due: u64, expected: &[&str]) {
        let start = Instant::now();
        let mut burst = Burst::default();
        assert_eq!(burst.due(), None);
        for (at, path, seen) in heard {
            let now = start + Duration::from_millis(*at);
            burst.hear(path.as_bytes(), *seen, now);
        }
        assert_eq!(burst.due(), Some(start + Duration::from_millis(due)));
        let paths: Vec<_> = expected
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect();
        let expected = (!paths.is_empty()).then_some(Changes::Paths(paths));
        assert_eq!(burst.take(), expected);
        assert_eq!((burst.due(), burst.take()), (None, None), "it is over");
    }

    #[test]
    fn what_comes_together_is_one() {
        check(&[(0, "a", Changed)], 50, &["a"]);
        check(
            &[(0, "b", Made), (49, "a", Gone), (98, "a", Made)],
            148,
            &["a", "b"],
        );
        check(&[(0, "a", Changed), (480, "a", Changed)], 500, &["a"]);
    }

    #[test]
    fn what_is_there_for_a_moment_is_nothing() {
        check(
            &[(0, "4913", Made), (1, "4913", Changed), (2, "4913", Gone)],
            52,
            &[],
        );
        // As vim saves, and as others do by renaming.
        let vim = [
            (0, "a~", Made),
            (0, "a", Gone),
            (1, "a", Made),
            (2, "a~", Gone),
        ];
        check(&vim, 52, &["a"]);
        let rename = [(0, "a.tmp", Made), (1, "a.tmp", Gone), (1, "a", Changed)];
        check(&rename, 51, &["a"]);
    }

    #[test]
    fn of_too_much_nothing_is_named() {
        let now = Instant::now();
        let mut burst = Burst::default();
        for number in 0..=PATHS {
            burst.hear(number.to_string().as_bytes(), Made, now);
        }
        assert_eq!(burst.take(), Some(Changes::Everything));
        burst.lose_track(now);
        assert_eq!(burst.take(), Some(Changes::Everything));
    }
}
