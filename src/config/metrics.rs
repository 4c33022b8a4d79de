//! The option of the metrics.

use std::net::SocketAddr;

use clap::Args;

/// Where it is told how the server is doing.
#[derive(Debug, Args)]
pub(super) struct MetricsOptions {
    /// Tell Prometheus under /metrics of this address how the server is doing: IP:PORT; 0 is any free port
    #[arg(long, value_name = "ADDR", env = "DOCROOT_METRICS", value_parser = address)]
    pub(super) metrics: Option<SocketAddr>,
}

/// The value of that option.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let of_localhost = || {
        let port = text.strip_prefix("localhost:")?.parse().ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    };
    let expected = || "expected IP:PORT, such as 127.0.0.1:9090 or [::1]:9090".to_owned();
    text.parse().ok().or_else(of_localhost).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
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
