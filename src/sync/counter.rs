//! Counter that one thread changes and any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counter that one thread changes and any thread may read. A reader may see an older value for a moment.
///
/// Only one thread changes it, so adding needs no atomic read-modify-write, which would lock the bus. If several
/// threads changed it, increments could be lost, and nothing worse.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// Sets the value.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// Returns the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
