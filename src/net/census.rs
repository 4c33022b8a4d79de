//! How many connections each peer holds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::reminder::Reminder;
use crate::trust::Trusted;

/// The connections held, by peer: by IPv4 address, or by the /64 of an IPv6 address, which is what one
/// peer is given.
///
/// A clone is the same census: reactors that have one count together.
#[derive(Clone, Debug)]
pub struct Census {
    most: usize,
    /// Who speaks for many, and is not counted.
    spared: Trusted,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    held: HashMap<IpAddr, usize>,
    /// That a peer holds too many.
    warned: Reminder,
}

/// One connection, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted(IpAddr);

impl Census {
    /// Counts, and lets no peer hold more than `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            spared: Trusted::default(),
            counts: Arc::default(),
        }
    }

    /// The same, but does not count proxies that are trusted: their connections are those of many peers.
    #[must_use]
    pub fn sparing(self, spared: Trusted) -> Self {
        Self { spared, ..self }
    }

    /// Whether this address is not counted.
    pub(super) fn spares(&self, address: IpAddr) -> bool {
        !self.spared.is_empty() && self.spared.has(Some(address))
    }

    /// How many connections a peer may hold.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// One connection more for this address; `None` if its peer holds as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Counted> {
        let peer = peer(address);
        let held = &mut self.lock().held;
        let count = held.get(&peer).copied().unwrap_or_default();
        (count < self.most).then(|| {
            held.insert(peer, count + 1);
            Counted(peer)
        })
    }

    /// That connection is over.
    pub(super) fn leave(&self, Counted(peer): Counted) {
        let held = &mut self.lock().held;
        if let Some(count) = held.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&peer);
            }
        }
    }

    /// Whether to say again that a peer holds too many: once a minute at the most, whoever says it.
    pub(super) fn is_worth_a_word(&self, now: Instant) -> bool {
        self.lock().warned.is_due(now)
    }

    /// A panic elsewhere leaves the counts whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
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
    use super::super::reminder::MINUTE;
    use super::*;

    #[test]
    fn a_peer_holds_so_many_and_no_more() {
        let census = Census::new(2);
        let enter = |address: &str| census.enter(address.parse().unwrap());
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
    fn who_speaks_for_many_is_spared() {
        let trusted = std::iter::once("10.0.0.0/8".parse().unwrap()).collect();
        let census = Census::new(1).sparing(trusted);
        assert!(census.spares("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!census.spares("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let census = Census::new(1);
        for host in 0..100 {
            let counted = census.enter(IpAddr::from([10, 0, 0, host])).unwrap();
            census.leave(counted);
        }
        assert!(census.lock().held.is_empty());
    }

    #[test]
    fn clones_count_together() {
        let one = Census::new(1);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let other = one.clone();
        let counted = one.enter(peer).unwrap();
        assert_eq!(other.enter(peer), None);
        one.leave(counted);
        assert!(other.enter(peer).is_some());

        let now = Instant::now();
        assert!(one.is_worth_a_word(now));
        assert!(!other.is_worth_a_word(now + MINUTE / 2));
        assert!(other.is_worth_a_word(now + MINUTE));
    }
}
