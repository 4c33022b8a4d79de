//! Who is at either end of a connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net;
use std::path::PathBuf;

use nix::net::if_::if_nametoindex;

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// At an IP address and a port.
    Ip(SocketAddr),
    /// At an IP address, as a proxy has named it, without a port.
    IpWithoutPort(IpAddr),
    /// On this machine, behind a Unix socket, where peers have no names.
    Unix,
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At an IP address and a port, by TCP.
    Ip(SocketAddr),
    /// At this path of the file system, by a Unix socket.
    Path(PathBuf),
    /// At this name, which is no path: an abstract Unix socket (unix(7)).
    Name(Vec<u8>),
}

impl Address {
    /// The IP address, if there is one.
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
    /// The IP address and the port, if it has them.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Path(_) | Self::Name(_) => None,
        }
    }
}

/// An IPv4 address that is written as one of IPv6, as a socket of both families has it, is the IPv4 address.
impl<T: Into<SocketAddr>> From<T> for Address {
    fn from(address: T) -> Self {
        let address = address.into();
        Self::Ip(match address.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
            // With its zone.
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
    /// A socket without an address has the empty name.
    fn from(address: &net::SocketAddr) -> Self {
        match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => Self::Path(path.into()),
            (None, name) => Self::Name(name.unwrap_or_default().into()),
        }
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `127.0.0.1`, `::1` or `unix:`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::IpWithoutPort(ip) => ip.fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// `127.0.0.1:80`, `[::1]:80`, `unix:/path` or `unix:@name`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Name(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

/// The number of a zone of IPv6 addresses (RFC 4007 section 11), which is the name of a network interface of
/// this machine, or its number.
///
/// # Errors
/// What if_nametoindex(3) says: there is no such interface.
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
        assert_eq!(zone_index("lo").unwrap(), 1, "the first of every machine");
        assert!(zone_index("there-is-none").is_err());
    }
}
