//! Options for proxies in front of the server.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use docroot::proxy::ProxyHeaderOptions;
use docroot::trust::{TrustedProxies, TrustedSource};

/// Options for proxies in front of the server.
#[derive(Debug, Args)]
pub(super) struct ProxyOptions {
    /// Take the client's address in the access log from X-Forwarded-For or Forwarded of this proxy: an address, a
    /// network, or unix; repeatable
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

impl ProxyOptions {
    /// Returns the trusted proxies, and the options of PROXY headers, which must arrive within `timeout`.
    ///
    /// # Errors
    /// One sentence: the cause, and what to do.
    pub(super) fn resolve(
        self,
        timeout: Duration,
        max_per_ip: Option<usize>,
    ) -> Result<(TrustedProxies, Option<ProxyHeaderOptions>), String> {
        let trusted: TrustedProxies = self.trusted_proxy.into_iter().collect();
        if self.proxy_protocol && trusted.is_empty() && max_per_ip.is_some() {
            return Err(
                "--max-connections-per-ip would count the connections of the proxies that --proxy-protocol \
                 expects; name them with --trusted-proxy"
                    .into(),
            );
        }
        let proxy = self.proxy_protocol.then(|| ProxyHeaderOptions {
            trusted: trusted.clone(),
            timeout,
            hint: "name the proxies that do with --trusted-proxy, or leave out --proxy-protocol",
        });
        Ok((trusted, proxy))
    }
}
