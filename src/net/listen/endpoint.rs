//! Address of a listener: an IP address and port, or a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net;
use std::path::PathBuf;

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
    }
}
