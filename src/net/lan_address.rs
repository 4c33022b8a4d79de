//! By which address others know this machine.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// An address that is for documentation only (RFC 5737): nothing is sent there.
const DOCUMENTATION_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The address that this machine would have for others: the one that it would go anywhere from, or else the first of an
/// interface that is up. `None` where it is alone.
#[must_use]
pub fn lan_address() -> Option<IpAddr> {
    route_source_address().or_else(interface_address)
}

/// By the routes. Connecting a datagram socket asks for one, and sends nothing.
fn route_source_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(DOCUMENTATION_ADDRESS).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// By the interfaces (getifaddrs(3)): IPv4 before IPv6, of which one that needs a zone is not for others.
fn interface_address() -> Option<IpAddr> {
    let is_up = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let interfaces = getifaddrs()
        .ok()?
        .filter(|interface| is_up(interface.flags));
    let mut addresses: Vec<IpAddr> = interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            let v6 = || address.as_sockaddr_in6().map(|v6| v6.ip());
            let v6 = || {
                v6().filter(|ip| !ip.is_unicast_link_local())
                    .map(IpAddr::V6)
            };
            v4.or_else(v6)
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lan_address_is_not_loopback() {
        for address in [lan_address(), route_source_address(), interface_address()]
            .into_iter()
            .flatten()
        {
            assert!(
                !address.is_loopback() && !address.is_unspecified(),
                "{address}"
            );
        }
    }
}
