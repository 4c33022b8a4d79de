//! What is said to whoever divides the requests.

use std::time::Duration;

use clap::Args;
use docroot::http::Target;
use docroot::http1::Health;

/// What is said to whoever divides the requests.
#[derive(Debug, Args)]
pub(super) struct HealthOptions {
    /// Say under this path whether it serves: 200, or 503 while it drains; to everybody
    #[arg(long, value_name = "PATH", env = "DOCROOT_HEALTH", value_parser = path)]
    #[arg(num_args = 0..=1, default_missing_value = "/healthz", require_equals = true)]
    health: Option<String>,

    /// How long to go on accepting after the signal to stop, draining, so that others hear of it [default: not at all]
    #[arg(long, value_name = "TIME", env = "DOCROOT_DRAIN_DELAY", value_parser = super::values::duration)]
    drain_delay: Option<Duration>,
}

impl HealthOptions {
    /// Where health is told, and how long the delay is.
    pub(super) fn resolve(self) -> (Option<Health>, Duration) {
        (
            self.health.map(Health::at_path),
            self.drain_delay.unwrap_or_default(),
        )
    }
}

/// A path as a request has it.
fn path(text: &str) -> Result<String, String> {
    let target = Target::parse(text, None);
    let is_plain = target.is_ok_and(|target| target.raw_path() == text);
    match text.starts_with('/') && is_plain {
        true => Ok(text.to_owned()),
        false => Err("expected a path, such as /healthz".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_requests_have() {
        assert_eq!(path("/healthz"), Ok("/healthz".into()));
        for bad in ["", "healthz", "/a?b", "/../a", "/%", "http://host/a", "*"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
