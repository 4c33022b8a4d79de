//! Peer of a connection, and its address.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address of the peer, from accept(2) or from a PROXY header.
    pub address: Address,
}

/// Address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// IP address and port.
    Ip(SocketAddr),
    /// IP address from a proxy's header, which has no port.
    IpWithoutPort(IpAddr),
    /// A process on this machine, connected by a Unix socket: such peers have no address.
    Unix,
}

impl Address {
    /// Returns the IP address, if there is one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::IpWithoutPort(ip) => Some(ip),
            Self::Unix => None,
        }
    }
}

/// Converts an IPv4-mapped IPv6 address, which a dual-stack socket reports, to the IPv4 address.
impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        let address = address.into();
        Self::Ip(match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
            // The original keeps its zone.
            IpAddr::V6(_) => address,
        })
    }
}

/// Formats as `127.0.0.1:80`, `[::1]:80`, `127.0.0.1`, `::1` or `unix:`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::IpWithoutPort(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_displayed() {
        assert_eq!(Address::Unix.to_string(), "unix:");
        assert_eq!(
            Address::from(([10, 0, 0, 1], 80)).to_string(),
            "10.0.0.1:80"
        );
    }

    #[test]
    fn ipv4_mapped_address_is_ipv4() {
        let check = |text: &str, expected: &str| {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!(address.to_string(), expected);
        };
        check("[::ffff:192.0.2.1]:80", "192.0.2.1:80");
        check("192.0.2.1:80", "192.0.2.1:80");
        check("[::192.0.2.1]:80", "[::c000:201]:80");
        check("[2001:db8::1]:80", "[2001:db8::1]:80");
        check("[fe80::1%3]:80", "[fe80::1%3]:80");
    }

    #[test]
    fn address_is_as_small_as_socket_addr() {
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    }
}
