//! What threads share: counters, locks, wakers, worker pools, second-chance eviction, throttled messages.

mod counter;
mod lock;
mod log_throttle;
mod second_chance;
mod waker;
mod worker_pool;

pub use counter::Counter;
pub use lock::{lock, unpoisoned};
pub use log_throttle::{LOG_INTERVAL, LogThrottle};
pub(crate) use second_chance::SecondChance;
pub use waker::Waker;
pub use worker_pool::{JobQueue, WorkerPool};
