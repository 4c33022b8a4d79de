//! Which credentials were verified lately, by a seal that tells nothing of them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use subtle::ConstantTimeEq as _;

/// What stands for credentials in memory: SipHash-2-4 of them, 128 bits, under a key of this process.
///
/// SipHash is made for this: a keyed function of short inputs whose results nobody can foresee or match
/// without the key. Neither key nor seals ever leave the process, and who guesses a seal has one chance in
/// 2^128. Every request pays for it, so it is not HMAC-SHA-256, which costs several times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seal(u128);

/// What seals are made with.
#[derive(Clone)]
pub(super) struct Sealer(SipHasher24);

/// A bounded number of seals, each for the same time, the last ones.
#[derive(Debug)]
pub(super) struct Memory {
    until: HashMap<Seal, Instant>,
    /// In the order in which they came, which may be a little off that in which they go.
    order: VecDeque<(Instant, Seal)>,
    time: Duration,
    most: usize,
}

impl Sealer {
    /// With a key of its own.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        Ok(Self(SipHasher24::new_with_key(&key)))
    }

    pub(super) fn seal(&self, credentials: &[u8]) -> Seal {
        let mut sealer = self.0;
        sealer.write(credentials);
        Seal(sealer.finish128().as_u128())
    }
}

impl std::fmt::Debug for Sealer {
    /// Without its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Seal {
    /// Whether both are of the same credentials, in constant time.
    pub(super) fn is(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Memory {
    /// Of at most so many, for so long.
    pub(super) fn new(time: Duration, most: usize) -> Self {
        Self {
            until: HashMap::new(),
            order: VecDeque::new(),
            time,
            most,
        }
    }

    /// Until when this is remembered, if it is; that may be over. How long looking it up takes tells
    /// something of a seal, at most, and so nothing.
    pub(super) fn until(&self, seal: Seal) -> Option<Instant> {
        self.until.get(&seal).copied()
    }

    /// Remembers this since then, and forgets what is over by then, or too much.
    pub(super) fn insert(&mut self, seal: Seal, since: Instant) {
        while let Some(&(until, first)) = self.order.front()
            && (until <= since || self.order.len() >= self.most)
        {
            self.order.pop_front();
            // It may have come again.
            if self.until.get(&first) == Some(&until) {
                self.until.remove(&first);
            }
        }
        let until = since + self.time;
        self.until.insert(seal, until);
        self.order.push_back((until, seal));
    }

    pub(super) fn clear(&mut self) {
        self.until.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_seal_is_of_its_credentials_and_its_process() {
        let (one, other) = (Sealer::new().unwrap(), Sealer::new().unwrap());
        assert!(one.seal(b"a").is(one.seal(b"a")));
        assert!(!one.seal(b"a").is(one.seal(b"b")));
        assert!(!one.seal(b"a").is(one.seal(b"a\0")));
        assert!(!one.seal(b"a").is(other.seal(b"a")));
    }

    #[test]
    fn what_is_over_is_forgotten_and_so_is_too_much() {
        let start = Instant::now();
        let mut memory = Memory::new(10 * SECOND, 3);
        for seal in 0..4 {
            memory.insert(Seal(seal), start + SECOND * u32::try_from(seal).unwrap());
        }
        assert_eq!(memory.until(Seal(0)), None, "the fourth took its place");
        assert_eq!(memory.until(Seal(1)), Some(start + 11 * SECOND));
        memory.insert(Seal(1), start + 5 * SECOND);
        assert_eq!(
            memory.until(Seal(1)),
            Some(start + 15 * SECOND),
            "it came again"
        );
        memory.insert(Seal(5), start + 14 * SECOND);
        assert_eq!(memory.until(Seal(1)), Some(start + 15 * SECOND));
        assert_eq!((memory.until.len(), memory.order.len()), (2, 2));
        memory.clear();
        assert_eq!(memory.until(Seal(5)), None);
    }
}
