//! Limit of open connections per IP address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::sync::{LogThrottle, lock};
use crate::trust::TrustedProxies;

/// Limit of open connections per IPv4 address, or per IPv6 /64, as one client is given a whole /64.
///
/// Clones share their counts, so that reactors count together.
#[derive(Clone, Debug)]
pub struct PerIpLimit {
    max: usize,
    /// Proxies whose connections are not counted.
    exempt: TrustedProxies,
    counts: Arc<Mutex<PerIpCounts>>,
}

#[derive(Debug, Default)]
struct PerIpCounts {
    connections: HashMap<IpAddr, usize>,
    /// Throttle of the warning that an address is at its limit.
    log_throttle: LogThrottle,
}

/// Proof that a connection is counted. It is given back with [`PerIpLimit::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permit(IpAddr);

impl PerIpLimit {
    /// Creates a limit of `max` connections per address.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            exempt: TrustedProxies::default(),
            counts: Arc::default(),
        }
    }

    /// Exempts trusted proxies: their connections are those of many clients.
    #[must_use]
    pub fn with_exempt(self, exempt: TrustedProxies) -> Self {
        Self { exempt, ..self }
    }

    /// Whether connections from this address are not counted.
    pub(super) fn is_exempt(&self, address: IpAddr) -> bool {
        !self.exempt.is_empty() && self.exempt.contains(Some(address))
    }

    /// Returns the maximum number of connections per address.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Counts one more connection from this address; `None` if the address is at its limit.
    pub(super) fn try_acquire(&self, address: IpAddr) -> Option<Permit> {
        let peer = address_prefix(address);
        let connections = &mut lock(&self.counts).connections;
        let count = connections.get(&peer).copied().unwrap_or_default();
        (count < self.max).then(|| {
            connections.insert(peer, count + 1);
            Permit(peer)
        })
    }

    /// Uncounts a connection that is closed.
    pub(super) fn release(&self, Permit(peer): Permit) {
        let connections = &mut lock(&self.counts).connections;
        if let Some(count) = connections.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&peer);
            }
        }
    }

    /// Whether to log that an address is at its limit: at most once a minute for all reactors.
    pub(super) fn should_log(&self, now: Instant) -> bool {
        lock(&self.counts).log_throttle.should_log(now)
    }
}

fn address_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::LOG_INTERVAL;

    #[test]
    fn connections_per_address_are_limited() {
        let limit = PerIpLimit::new(2);
        let acquire = |address: &str| limit.try_acquire(address.parse().unwrap());
        let first = acquire("10.0.0.1").unwrap();
        assert!(
            acquire("::ffff:10.0.0.1").is_some(),
            "the IPv4-mapped form is the same address"
        );
        assert_eq!(acquire("10.0.0.1"), None);
        assert!(acquire("10.0.0.2").is_some(), "another address");
        assert!(acquire("2001:db8::1").is_some());
        assert!(acquire("2001:db8::2:3:4:5").is_some());
        assert_eq!(acquire("2001:db8::6"), None, "the same /64");
        assert!(acquire("2001:db8:0:1::1").is_some(), "another /64");
        limit.release(first);
        assert!(limit.try_acquire("10.0.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn trusted_proxy_is_exempt() {
        let trusted = std::iter::once("10.0.0.0/8".parse().unwrap()).collect();
        let limit = PerIpLimit::new(1).with_exempt(trusted);
        assert!(limit.is_exempt("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!limit.is_exempt("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn released_address_is_removed() {
        let limit = PerIpLimit::new(1);
        for host in 0..100 {
            let permit = limit.try_acquire(IpAddr::from([10, 0, 0, host])).unwrap();
            limit.release(permit);
        }
        assert!(lock(&limit.counts).connections.is_empty());
    }

    #[test]
    fn clones_share_counts() {
        let one = PerIpLimit::new(1);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let other = one.clone();
        let permit = one.try_acquire(peer).unwrap();
        assert_eq!(other.try_acquire(peer), None);
        one.release(permit);
        assert!(other.try_acquire(peer).is_some());

        let now = Instant::now();
        assert!(one.should_log(now));
        assert!(!other.should_log(now + LOG_INTERVAL / 2));
        assert!(other.should_log(now + LOG_INTERVAL));
    }
}
