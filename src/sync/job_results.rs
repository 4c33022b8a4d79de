//! `JobResults`: results of background jobs, and the jobs that are queued or running.

use std::hash::Hash;

use super::second_chance::SecondChance;

/// Results by key, of which the least used are evicted, and the keys of the jobs that are queued or running. Both are
/// bounded.
#[derive(Debug)]
pub(crate) struct JobResults<K, V> {
    cached: SecondChance<K, V>,
    max_cached: usize,
    pending: Vec<K>,
    max_pending: usize,
}

impl<K: Copy + Eq + Hash, V: Copy> JobResults<K, V> {
    /// Creates an instance for up to `max_cached` results and `max_pending` jobs.
    pub(crate) fn new(max_cached: usize, max_pending: usize) -> Self {
        Self {
            cached: SecondChance::default(),
            max_cached,
            pending: Vec::new(),
            max_pending,
        }
    }

    /// Returns the number of results.
    pub(crate) fn len(&self) -> usize {
        self.cached.len()
    }

    /// Returns a result.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let slot = self.cached.slot_of(key)?;
        self.cached.use_slot(slot).copied()
    }

    /// Marks a job as pending. Returns whether it is to be queued: it is not pending yet, and there is room.
    pub(crate) fn start(&mut self, key: K) -> bool {
        let is_new = self.pending.len() < self.max_pending && !self.pending.contains(&key);
        if is_new {
            self.pending.push(key);
        }
        is_new
    }

    /// Marks a job as done, and caches its result if it has one.
    pub(crate) fn finish(&mut self, key: &K, result: Option<V>) {
        self.pending.retain(|pending| pending != key);
        if let Some(result) = result {
            self.insert(*key, result);
        }
    }

    /// Caches a result, and evicts another if there are too many.
    pub(crate) fn insert(&mut self, key: K, result: V) {
        if let Some(slot) = self.cached.slot_of(&key)
            && let Some((_, cached)) = self.cached.get_mut(slot)
        {
            *cached = result;
            return;
        }
        self.cached.insert(key, result);
        if self.cached.len() > self.max_cached
            && let Some(slot) = self.cached.next_evicted(|_| true)
        {
            self.cached.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_pending_jobs_are_bounded() {
        let mut results = JobResults::new(2, 2);
        assert!(results.start(1) && results.start(2));
        assert!(!results.start(1), "it is pending");
        assert!(!results.start(3), "there is no room");
        results.finish(&1, Some('a'));
        results.finish(&2, None);
        assert_eq!((results.get(&1), results.get(&2)), (Some('a'), None));
        assert!(results.start(3));
        results.finish(&3, Some('c'));
        results.insert(4, 'd');
        assert_eq!((results.len(), results.get(&4)), (2, Some('d')));
    }

    #[test]
    fn recently_used_results_are_kept() {
        let mut results = JobResults::new(100, 0);
        for number in 0..300 {
            results.insert(number, number);
            assert_eq!(results.get(&0), Some(0), "at {number}");
            assert!(results.len() <= 100);
        }
        assert_eq!(results.get(&1), None);
        results.insert(0, 7);
        assert_eq!(results.get(&0), Some(7));
    }
}
