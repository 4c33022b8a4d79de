//! Throttle of a message that clients could cause at any rate.

use std::ops::Add;
use std::time::{Duration, Instant};

/// Interval of a throttle unless another is given.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Throttle of one message, which is logged at most once per interval, by a clock of type `T`.
#[derive(Debug)]
pub struct LogThrottle<T = Instant> {
    interval: Duration,
    /// Time at which the message was last logged.
    last: Option<T>,
    /// Number of messages that were not logged since then.
    suppressed: u64,
}

impl<T: Copy + PartialOrd + Add<Duration, Output = T>> LogThrottle<T> {
    /// Creates a throttle with this interval.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
            suppressed: 0,
        }
    }

    /// Whether to log the message now. `true` counts as logged, `false` as suppressed.
    pub fn should_log(&mut self, now: T) -> bool {
        // The second case is a wall clock that was set back.
        let is_due = |last| last + self.interval <= now || now + self.interval <= last;
        if !self.last.is_none_or(is_due) {
            self.suppressed += 1;
            return false;
        }
        self.last = Some(now);
        true
    }

    /// Returns the number of suppressed messages since the last call.
    pub fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

impl Default for LogThrottle {
    /// Creates a throttle of one message per [`LOG_INTERVAL`].
    fn default() -> Self {
        Self::new(LOG_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn message_is_logged_once_per_interval_with_the_number_suppressed() {
        let second = Duration::from_secs(1);
        let mut throttle = LogThrottle::new(10 * second);
        for (time, is_logged, suppressed) in [
            (100, true, 0),
            (100, false, 1),
            (109, false, 1),
            (109, false, 1),
            (110, true, 0),
            (119, false, 1),
            // The clock was set back.
            (111, false, 1),
            (100, true, 0),
            (109, false, 1),
        ] {
            let now = UNIX_EPOCH + time * second;
            assert_eq!(throttle.should_log(now), is_logged, "{time}");
            assert_eq!(throttle.take_suppressed(), suppressed, "{time}");
        }
    }
}
