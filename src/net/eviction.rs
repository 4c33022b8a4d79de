//! Candidates for eviction: the connections that have been idle longest.

use std::collections::VecDeque;
use std::time::Instant;

/// Idle connections per eviction candidate, when all connections are searched for candidates.
const CONNECTIONS_PER_CANDIDATE: usize = 16;

/// Connections that had been idle longest at the last search, the longest first.
#[derive(Debug)]
pub(super) struct EvictionCandidates<K>(VecDeque<(Instant, K)>);

impl<K: Ord + Copy> EvictionCandidates<K> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Returns the first candidate that has been idle ever since it was picked. `idle_since` returns the start of a
    /// connection's current idle period.
    pub(super) fn first(&mut self, idle_since: impl Fn(K) -> Option<Instant>) -> Option<K> {
        while let Some(&(since, key)) = self.0.front() {
            if idle_since(key) == Some(since) {
                return Some(key);
            }
            self.0.pop_front();
        }
        None
    }

    /// Picks candidates among all idle connections: one in [`CONNECTIONS_PER_CANDIDATE`]. Searching all connections
    /// takes time, so each search picks several.
    pub(super) fn pick(&mut self, mut idle: Vec<(Instant, K)>) {
        let candidates = idle.len() / CONNECTIONS_PER_CANDIDATE + 1;
        if candidates < idle.len() {
            idle.select_nth_unstable(candidates);
            idle.truncate(candidates);
            idle.shrink_to_fit();
        }
        idle.sort_unstable();
        self.0 = idle.into();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn longest_idle_is_first_while_it_stays_idle() {
        let start = Instant::now();
        let since = |key: u64| start + Duration::from_secs(key);
        let mut candidates = EvictionCandidates::new();
        candidates.pick((0..100).rev().map(|key| (since(key), key)).collect());
        assert_eq!(candidates.first(|key| Some(since(key))), Some(0));
        let busy_up_to = |busy: u64| move |key| (key > busy).then(|| since(key));
        assert_eq!(candidates.first(busy_up_to(2)), Some(3));
        let idle_anew = |key| Some(since(key + 1000));
        assert_eq!(
            candidates.first(idle_anew),
            None,
            "the candidates are used up"
        );
        assert_eq!(candidates.first(|key| Some(since(key))), None);
    }
}
