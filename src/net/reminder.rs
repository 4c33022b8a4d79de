//! What is said again once a minute at the most.

use std::time::{Duration, Instant};

pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// When something was last said.
#[derive(Debug, Default)]
pub struct Reminder(Option<Instant>);

impl Reminder {
    /// Whether to say it now; then it has been said.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|said| said + MINUTE <= now);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}
