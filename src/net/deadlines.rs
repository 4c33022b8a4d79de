//! Priority queue of deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A time in milliseconds since the start of the queue: the resolution of epoll_wait(2), and half the size of an
/// [`Instant`]. Every idle connection keeps two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(NonZeroU64);

/// A heap of (tick, key) whose entries may be stale: the owner of a key knows which of its entries is valid.
///
/// An entry is added only when it is earlier than the valid one; an entry that is popped too early is added again for
/// later. So a deadline that moves back with every request costs a store and no heap operation.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    start: Instant,
    heap: BinaryHeap<Reverse<(Tick, K)>>,
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Creates an empty queue whose ticks are counted from `start`. A deadline before `start` is due at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            heap: BinaryHeap::new(),
        }
    }

    /// Returns the first tick that is not before this instant.
    pub(super) fn tick(&self, due: Instant) -> Tick {
        let since = due.saturating_duration_since(self.start);
        let started_millis = u64::from(since.subsec_nanos().div_ceil(1_000_000));
        let millis = since
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(started_millis);
        Tick(NonZeroU64::MIN.saturating_add(millis))
    }

    /// Returns the instant of this tick.
    pub(super) fn instant(&self, Tick(tick): Tick) -> Instant {
        self.start + Duration::from_millis(tick.get() - 1)
    }

    pub(super) fn push(&mut self, due: Tick, key: K) {
        self.heap.push(Reverse((due, key)));
    }

    /// Returns the instant of the earliest entry.
    pub(super) fn next(&self) -> Option<Instant> {
        let Reverse((due, _)) = self.heap.peek()?;
        Some(self.instant(*due))
    }

    /// Removes and returns the earliest entry if it is due by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Tick, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops the stale entries once there are many more than `live` entries. `counts` says whether an entry is valid.
    pub(super) fn prune(&mut self, live: usize, mut counts: impl FnMut(Tick, K) -> bool) {
        if self.heap.len() > 2 * live + 1024 {
            self.heap.retain(|Reverse((due, key))| counts(*due, *key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_entries_are_popped_in_order() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new(start);
        for (seconds, key) in [(3, 'c'), (1, 'a'), (2, 'b')] {
            deadlines.push(deadlines.tick(at(seconds)), key);
        }
        assert_eq!(deadlines.pop(at(0)), None);
        assert_eq!(deadlines.pop(at(2)), Some((deadlines.tick(at(1)), 'a')));
        assert_eq!(deadlines.pop(at(2)), Some((deadlines.tick(at(2)), 'b')));
        assert_eq!(deadlines.pop(at(2)), None);
        assert_eq!(deadlines.next(), Some(at(3)));
    }

    #[test]
    fn tick_is_never_before_its_instant() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        for nanos in [0, 1, 999_999, 1_000_000, 1_000_001] {
            let due = start + Duration::from_nanos(nanos);
            deadlines.push(deadlines.tick(due), ());
            let next = deadlines.next().unwrap();
            assert!(next >= due && next < due + Duration::from_millis(1));
            deadlines.pop(next).unwrap();
        }
        let before = start - Duration::from_secs(1);
        assert_eq!(deadlines.tick(before), deadlines.tick(start));
    }

    #[test]
    fn stale_entries_are_pruned() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new(start);
        for key in 0..5000 {
            deadlines.push(deadlines.tick(start), key);
            deadlines.prune(1, |_, other| other == key);
        }
        assert!(
            deadlines.heap.len() <= 1027,
            "{} entries",
            deadlines.heap.len()
        );
    }
}
