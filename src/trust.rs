//! Trusted proxies: peers whose statements about their clients are believed.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

/// Trusted proxies: networks, and peers connected by a Unix socket. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[TrustedSource]>);

/// One source of trusted connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedSource {
    /// Addresses of a network.
    Network(IpNet),
    /// Connections by a Unix socket.
    Unix,
}

impl TrustedProxies {
    /// Whether no peer is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the peer with this address is trusted. `None` is a peer on a Unix socket. An IPv4-mapped IPv6 address
    /// counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, ip: Option<IpAddr>) -> bool {
        let ip = ip.map(|ip| ip.to_canonical());
        self.0.iter().any(|source| match (source, &ip) {
            (TrustedSource::Network(network), Some(ip)) => network.contains(ip),
            (TrustedSource::Unix, None) => true,
            _ => false,
        })
    }
}

impl FromIterator<TrustedSource> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = TrustedSource>>(sources: T) -> Self {
        Self(sources.into_iter().collect())
    }
}

/// Parses a network, `10.0.0.0/8`; an address, which is a network of one; or `unix`.
impl FromStr for TrustedSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = match text.parse::<IpAddr>() {
            Ok(ip) => Ok(IpNet::from(ip)),
            Err(_) => text.parse(),
        };
        network.map(canonical).map(Self::Network).map_err(|_| {
            "expected a network or an address, such as 10.0.0.0/8, 192.0.2.1, 2001:db8::/32; or unix"
                .into()
        })
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses to the network of the IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let length = network.prefix_len().checked_sub(MAPPED);
    match (network.addr().to_canonical(), length) {
        (IpAddr::V4(ip), Some(length)) if network.addr().is_ipv6() => {
            Ipv4Net::new(ip, length).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_networks_contain_addresses() {
        let check = |sources: &[&str], ip: &str, expected| {
            let trusted: TrustedProxies = sources.iter().map(|it| it.parse().unwrap()).collect();
            let ip = (ip != "unix:").then(|| ip.parse().unwrap());
            assert_eq!(trusted.contains(ip), expected, "{sources:?} {ip:?}");
        };
        check(&[], "127.0.0.1", false);
        check(&["10.0.0.0/8"], "10.255.0.1", true);
        check(&["10.0.0.0/8"], "11.0.0.1", false);
        check(&["10.1.2.3/8"], "10.255.0.1", true);
        check(&["10.0.0.0/8"], "::ffff:10.0.0.1", true);
        check(&["192.0.2.1"], "192.0.2.1", true);
        check(&["192.0.2.1"], "192.0.2.2", false);
        check(&["::ffff:192.0.2.1"], "192.0.2.1", true);
        check(&["::ffff:10.0.0.0/104"], "10.255.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "11.0.0.1", false);
        check(&["2001:db8::/32", "::1"], "2001:db8:1::1", true);
        check(&["2001:db8::/32", "::1"], "::1", true);
        check(&["2001:db8::/32", "::1"], "::2", false);
        check(&["0.0.0.0/0"], "::1", false);
        check(&["0.0.0.0/0", "::/0"], "unix:", false);
        check(&["unix"], "unix:", true);
        check(&["unix"], "127.0.0.1", false);
    }

    #[test]
    fn malformed_network_is_rejected() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10/8",
            "host",
            "::/129",
            "10.0.0.1:80",
            "unix:",
        ] {
            assert!(bad.parse::<TrustedSource>().is_err(), "{bad}");
        }
    }
}
