//! The options for proxies in front of the server.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use docroot::net::PerIpLimit;
use docroot::proxy;
use docroot::trust::{TrustedProxies, TrustedSource};

/// The options for proxies in front of the server.
#[derive(Debug, Args)]
pub(super) struct ProxyOptions {
    /// Take the client's address in the access log from X-Forwarded-For of this proxy: an address, a network, or unix;
    /// repeatable
    #[arg(long, value_name = "CIDR", env = "DOCROOT_TRUSTED_PROXY")]
    #[arg(help_heading = super::group::LISTENING, hide_short_help = true)]
    #[arg(value_delimiter = ',', value_parser = str::parse::<TrustedSource>)]
    trusted_proxy: Vec<TrustedSource>,

    /// Expect a PROXY protocol header (v1 or v2) on connections from trusted proxies, or on every connection if
    /// --trusted-proxy is not given
    #[arg(help_heading = super::group::LISTENING, hide_short_help = true)]
    #[arg(long, env = "DOCROOT_PROXY_PROTOCOL", value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,
}

/// The options, resolved.
#[derive(Debug)]
pub(super) struct Proxies {
    pub(super) trusted: TrustedProxies,
    pub(super) proxy: Option<proxy::ProxyHeaderOptions>,
    pub(super) census: Option<PerIpLimit>,
}

impl ProxyOptions {
    /// `timeout` is for a PROXY header; `most` is the limit of connections per address, except those of proxies.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub(super) fn resolve(self, timeout: Duration, most: Option<usize>) -> Result<Proxies, String> {
        let trusted: TrustedProxies = self.trusted_proxy.into_iter().collect();
        if self.proxy_protocol && trusted.is_empty() && most.is_some() {
            return Err(
                "--max-connections-per-ip would count the connections of the proxies that --proxy-protocol \
                 expects; name them with --trusted-proxy"
                    .into(),
            );
        }
        let proxy = self
            .proxy_protocol
            .then(|| proxy::ProxyHeaderOptions::new(trusted.clone(), timeout));
        Ok(Proxies {
            census: most.map(|most| PerIpLimit::new(most).with_exempt(trusted.clone())),
            proxy,
            trusted,
        })
    }
}
