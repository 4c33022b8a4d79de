//! Options for proxies in front of the server.

use std::time::Duration;

use clap::Args;
use docroot::proxy::ProxyHeaderOptions;
use docroot::trust::{TrustedProxies, TrustedSource};

use super::environment::Variables;

/// Options for proxies in front of the server.
#[derive(Debug, Args)]
pub(super) struct ProxyOptions {
    /// Take the client's address in the access log from X-Forwarded-For or Forwarded of this proxy: an address, a
    /// network, or unix; repeatable
    #[arg(long, value_name = "CIDR", env = "DOCROOT_TRUSTED_PROXY")]
    #[arg(help_heading = super::group::LISTENING, hide_short_help = true)]
    #[arg(value_delimiter = ',', value_parser = trusted_source)]
    trusted_proxy: Vec<TrustedSource>,

    /// Expect a PROXY protocol header (v1 or v2) on connections from trusted proxies, or on every connection if
    /// --trusted-proxy is not given
    #[arg(help_heading = super::group::LISTENING, hide_short_help = true)]
    #[arg(long, env = "DOCROOT_PROXY_PROTOCOL")]
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
        variables: &Variables,
    ) -> Result<(TrustedProxies, Option<ProxyHeaderOptions>), String> {
        let trusted: TrustedProxies = self.trusted_proxy.into_iter().collect();
        if self.proxy_protocol && trusted.is_empty() && max_per_ip.is_some() {
            return Err(format!(
                "{} would count the connections of the proxies that {} expects; name them with --trusted-proxy",
                variables.name("--max-connections-per-ip"),
                variables.name("--proxy-protocol")
            ));
        }
        let proxy = self.proxy_protocol.then(|| ProxyHeaderOptions {
            trusted: trusted.clone(),
            timeout,
            hint: "name the proxies that do with --trusted-proxy, or leave out --proxy-protocol",
        });
        Ok((trusted, proxy))
    }
}

/// Parses one value of `--trusted-proxy`.
fn trusted_source(text: &str) -> Result<TrustedSource, String> {
    text.trim_ascii().parse()
}
