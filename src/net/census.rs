//! How many connections each peer holds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// The connections held, by peer: by IPv4 address, or by the /64 of an IPv6 address, which is what one
/// peer is given.
#[derive(Debug)]
pub(super) struct Census {
    most: usize,
    held: HashMap<IpAddr, usize>,
}

/// One connection, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted(IpAddr);

impl Census {
    /// Counts, and lets no peer hold more than `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            held: HashMap::new(),
        }
    }

    /// One connection more for this address; `None` if its peer holds as many as it may.
    pub(super) fn enter(&mut self, address: IpAddr) -> Option<Counted> {
        let peer = peer(address);
        let held = self.held.get(&peer).copied().unwrap_or_default();
        (held < self.most).then(|| {
            self.held.insert(peer, held + 1);
            Counted(peer)
        })
    }

    /// That connection is over.
    pub(super) fn leave(&mut self, Counted(peer): Counted) {
        if let Some(held) = self.held.get_mut(&peer) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&peer);
            }
        }
    }
}

fn peer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_holds_so_many_and_no_more() {
        let mut census = Census::new(2);
        let mut enter = |address: &str| census.enter(address.parse().unwrap());
        let first = enter("10.0.0.1").unwrap();
        assert!(
            enter("::ffff:10.0.0.1").is_some(),
            "the same, said otherwise"
        );
        assert_eq!(enter("10.0.0.1"), None);
        assert!(enter("10.0.0.2").is_some(), "another");
        assert!(enter("2001:db8::1").is_some());
        assert!(enter("2001:db8::2:3:4:5").is_some());
        assert_eq!(enter("2001:db8::6"), None, "one /64");
        assert!(enter("2001:db8:0:1::1").is_some(), "another /64");
        census.leave(first);
        assert!(census.enter("10.0.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut census = Census::new(1);
        for host in 0..100 {
            let counted = census.enter(IpAddr::from([10, 0, 0, host])).unwrap();
            census.leave(counted);
        }
        assert!(census.held.is_empty());
    }
}
