//! What threads share: counters, locks, wakers, worker pools, second-chance eviction, throttled messages.

mod counter;
mod job_results;
mod lock;
mod log_throttle;
mod second_chance;
mod waker;
mod worker_pool;

pub use counter::Counter;
pub(crate) use job_results::JobResults;
pub use lock::{lock, unpoisoned};
pub use log_throttle::{LOG_INTERVAL, LogThrottle};
pub(crate) use second_chance::SecondChance;
pub use waker::Waker;
pub(crate) use worker_pool::lower_priority;
pub use worker_pool::{JobQueue, WorkerPool};
