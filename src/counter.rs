//! A number that one thread changes, and that any may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread changes, and that any may read, somewhat later perhaps.
///
/// As nobody else changes it, adding is no more than that: it takes no lock on the bus, as what several may
/// change would. If several did, some of it would be lost, and nothing worse would come of it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// It is so much more.
    pub fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    /// It is this.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
