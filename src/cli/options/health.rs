//! Options for load balancers: the health check and the drain delay.

use std::time::Duration;

use clap::Args;
use docroot::http::Target;
use docroot::service::HealthCheck;

/// Options for load balancers.
#[derive(Debug, Args)]
pub(super) struct HealthOptions {
    /// Answer health checks at this path, without a password: 200, or 503 while draining [default PATH: /healthz]
    #[arg(long, value_name = "PATH", env = "DOCROOT_HEALTH", value_parser = health_path)]
    #[arg(help_heading = super::group::PRODUCTION, hide_short_help = true)]
    #[arg(num_args = 0..=1, default_missing_value = "/healthz", require_equals = true)]
    health: Option<String>,

    /// Write health checks to the access log, too
    #[arg(long, env = "DOCROOT_LOG_HEALTH")]
    #[arg(help_heading = super::group::LOGGING, hide_short_help = true)]
    log_health: bool,

    /// After the signal to stop, accept connections for this time while health checks answer 503, so that the load
    /// balancer notices [default: 0, stop at once]
    #[arg(long, value_name = "TIME", env = "DOCROOT_DRAIN_DELAY", value_parser = super::values::duration)]
    #[arg(help_heading = super::group::PRODUCTION, hide_short_help = true)]
    drain_delay: Option<Duration>,
}

impl HealthOptions {
    /// Returns the health check, if it is on, and the drain delay.
    pub(super) fn resolve(self) -> (Option<HealthCheck>, Duration) {
        let is_logged = self.log_health;
        let health = self.health.map(|path| HealthCheck { path, is_logged });
        (health, self.drain_delay.unwrap_or_default())
    }
}

/// Parses a path in the form in which requests have it.
fn health_path(text: &str) -> Result<String, String> {
    let target = Target::parse(text, None);
    let is_unchanged = target.is_ok_and(|target| target.raw_path() == text);
    match text.starts_with('/') && is_unchanged {
        true => Ok(text.to_owned()),
        false => Err("expected a path, such as /healthz".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_path_has_the_form_of_a_request_path() {
        assert_eq!(health_path("/healthz"), Ok("/healthz".into()));
        for bad in ["", "healthz", "/a?b", "/../a", "/%", "http://host/a", "*"] {
            assert!(health_path(bad).is_err(), "{bad}");
        }
    }
}
