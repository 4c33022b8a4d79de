//! Network interfaces of this machine: their addresses and indices.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// An address reserved for documentation (RFC 5737). Nothing is sent to it.
const DOCUMENTATION_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Returns the address at which other machines reach this one: the source address of the default route, or else the
/// first address of an interface that is up. `None` without either.
#[must_use]
pub fn lan_address() -> Option<IpAddr> {
    route_source_address().or_else(|| lan_addresses().first().copied())
}

/// Returns the source address that the routing table selects. Connecting a datagram socket looks up a route and sends
/// nothing.
fn route_source_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(DOCUMENTATION_ADDRESS).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Returns the addresses of interfaces that are up, without loopback (getifaddrs(3)), IPv4 before IPv6. IPv6 link-local
/// addresses are skipped: other machines would need a zone for them.
#[must_use]
pub fn lan_addresses() -> Vec<IpAddr> {
    let is_up = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
    };
    let interfaces = getifaddrs().into_iter().flatten();
    let mut addresses: Vec<IpAddr> = interfaces
        .filter(|interface| is_up(interface.flags))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            let v6 = address.as_sockaddr_in6().map(|v6| v6.ip());
            let v6 = v6.filter(|ip| !ip.is_unicast_link_local());
            v4.or(v6.map(IpAddr::V6))
        })
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses
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
    fn lan_address_is_not_loopback() {
        let addresses = lan_address().into_iter().chain(route_source_address());
        for address in addresses.chain(lan_addresses()) {
            assert!(
                !address.is_loopback() && !address.is_unspecified(),
                "{address}"
            );
        }
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
