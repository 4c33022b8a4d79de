//! Addresses of both ends of a connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net;
use std::path::PathBuf;

use nix::net::if_::if_nametoindex;

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

/// Address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// IP address and TCP port.
    Ip(SocketAddr),
    /// Path of a Unix socket in the file system.
    Path(PathBuf),
    /// Name of an abstract Unix socket, which is no path (unix(7)).
    Name(Vec<u8>),
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

impl Endpoint {
    /// Returns the IP address and port of a TCP listener.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Path(_) | Self::Name(_) => None,
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

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<&net::SocketAddr> for Endpoint {
    /// An unnamed socket becomes the empty abstract name.
    fn from(address: &net::SocketAddr) -> Self {
        match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => Self::Path(path.into()),
            (None, name) => Self::Name(name.unwrap_or_default().into()),
        }
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

/// Formats as `127.0.0.1:80`, `[::1]:80`, `unix:/path` or `unix:@name`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Name(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

/// Returns the index of an IPv6 zone (RFC 4007 section 11), given as the name or the index of a network interface
/// of this machine.
///
/// # Errors
/// The error of if_nametoindex(3): no interface has this name.
pub fn zone_index(name: &str) -> io::Result<u32> {
    match name.parse() {
        Ok(number) => Ok(number),
        Err(_) => Ok(if_nametoindex(name)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_displayed_as_option_syntax() {
        let check = |endpoint: Endpoint, expected| assert_eq!(endpoint.to_string(), expected);
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        check(address("127.0.0.1:80").into(), "127.0.0.1:80");
        check(address("[fe80::1%3]:80").into(), "[fe80::1%3]:80");
        check(Endpoint::Path("/run/it".into()), "unix:/run/it");
        check(Endpoint::Name(b"it\0".to_vec()), "unix:@it\\x00");
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

    #[test]
    fn zone_index_accepts_name_or_number() {
        assert_eq!(zone_index("7").unwrap(), 7);
        assert_eq!(
            zone_index("lo").unwrap(),
            1,
            "the loopback interface is the first one"
        );
        assert!(zone_index("there-is-none").is_err());
    }
}
