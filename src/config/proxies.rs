//! Proxies in front of the server.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use docroot::net::PerIpLimit;
use docroot::proxy;
use docroot::trust::{TrustedProxies, TrustedSource};

/// Who speaks for others.
#[derive(Debug, Args)]
pub(super) struct ProxyOptions {
    /// A proxy's address or network, or unix: its X-Forwarded-For is believed in the access log; repeatable
    #[arg(long, value_name = "CIDR", env = "DOCROOT_TRUSTED_PROXY")]
    #[arg(value_delimiter = ',', value_parser = str::parse::<TrustedSource>)]
    trusted_proxy: Vec<TrustedSource>,

    /// Expect the PROXY protocol (v1, v2), from trusted proxies; from everybody, if none are named
    #[arg(long, env = "DOCROOT_PROXY_PROTOCOL", value_parser = BoolishValueParser::new())]
    proxy_protocol: bool,
}

/// What it means.
#[derive(Debug)]
pub(super) struct Proxies {
    pub(super) trusted: TrustedProxies,
    pub(super) proxy: Option<proxy::ProxyHeaderOptions>,
    pub(super) census: Option<PerIpLimit>,
}

impl ProxyOptions {
    /// `timeout` is for a header; `most` connections may be held for one address, but for those of proxies.
    ///
    /// # Errors
    /// A sentence that says what to do.
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
