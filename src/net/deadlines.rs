//! When something is due, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A heap of (instant, key), possibly stale: the owner of a key knows which of its entries counts.
///
/// So that a deadline which moves back with every request costs a store and no heap operation,
/// an entry is added only when it is earlier than the one that counts; one that comes up too
/// early is added again for later.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Instant, K)>>,
}

impl<K: Ord + Copy> Deadlines<K> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }

    pub(super) fn push(&mut self, due: Instant, key: K) {
        self.heap.push(Reverse((due, key)));
    }

    /// The earliest entry's instant.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the earliest entry, if it is due by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops the entries that no longer count, once there are many more than `live` of them.
    pub(super) fn prune(&mut self, live: usize, mut counts: impl FnMut(Instant, K) -> bool) {
        if self.heap.len() > 2 * live + 1024 {
            self.heap.retain(|Reverse((due, key))| counts(*due, *key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_comes_in_order_and_nothing_else_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new();
        for (seconds, key) in [(3, 'c'), (1, 'a'), (2, 'b')] {
            deadlines.push(at(seconds), key);
        }
        assert_eq!(deadlines.pop(at(0)), None);
        assert_eq!(deadlines.pop(at(2)), Some((at(1), 'a')));
        assert_eq!(deadlines.pop(at(2)), Some((at(2), 'b')));
        assert_eq!(deadlines.pop(at(2)), None);
        assert_eq!(deadlines.next(), Some(at(3)));
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let start = Instant::now();
        let mut deadlines = Deadlines::new();
        for key in 0..5000 {
            deadlines.push(start, key);
            deadlines.prune(1, |_, other| other == key);
        }
        assert!(
            deadlines.heap.len() <= 1027,
            "{} entries",
            deadlines.heap.len()
        );
    }
}
