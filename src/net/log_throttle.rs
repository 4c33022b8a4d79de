//! Throttle for warnings: each is logged at most once a minute.

use std::time::{Duration, Instant};

pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Throttle of one warning: the time at which it was last logged.
#[derive(Debug, Default)]
pub struct LogThrottle(Option<Instant>);

impl LogThrottle {
    /// Whether to log the warning now. `true` counts as logged.
    pub fn should_log(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| last + LOG_INTERVAL <= now);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
