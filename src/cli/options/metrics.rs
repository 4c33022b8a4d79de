//! The option of the metrics.

use std::net::SocketAddr;

use clap::Args;

/// The option `--metrics`.
#[derive(Debug, Args)]
pub(super) struct MetricsOptions {
    /// Serve Prometheus metrics at /metrics of this address: IP:PORT; port 0 takes any free port [default: off]
    #[arg(help_heading = super::group::PRODUCTION, hide_short_help = true)]
    #[arg(long, value_name = "ADDR", env = "DOCROOT_METRICS", value_parser = address)]
    pub(super) metrics: Option<SocketAddr>,
}

/// Parses the value of `--metrics`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let localhost = || {
        let port = text.strip_prefix("localhost:")?.parse().ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let expected = || "expected IP:PORT, such as 127.0.0.1:9090 or [::1]:9090".to_owned();
    text.parse().ok().or_else(localhost).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_address_has_a_port() {
        for (text, expected) in [
            ("127.0.0.1:9090", Some("127.0.0.1:9090")),
            ("[::1]:0", Some("[::1]:0")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("127.0.0.1", None),
            ("9090", None),
            ("localhost", None),
            ("a:80", None),
            ("", None),
        ] {
            let found = address(text).ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
