//! What is said again once a minute at the most.

use std::time::{Duration, Instant};

pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// When something was last said.
#[derive(Debug, Default)]
pub struct LogThrottle(Option<Instant>);

impl LogThrottle {
    /// Whether to say it now; then it has been said.
    pub fn should_log(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|last| last + LOG_INTERVAL <= now);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
