//! Locks that stay usable after a thread has panicked.

use std::sync::{LockResult, Mutex, MutexGuard, PoisonError};

/// Locks a mutex, poisoned or not.
///
/// A panic of one thread must not end the others, so every state behind a lock is one that a panic leaves usable: each
/// change is one statement, or its half costs at most one entry, one count or one line.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    unpoisoned(mutex.lock())
}

/// Returns the guard of a lock or of a condition variable, poisoned or not (see [`lock`]).
pub fn unpoisoned<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}
