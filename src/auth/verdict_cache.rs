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
pub(super) struct CredentialHash(u128);

/// What seals are made with.
#[derive(Clone)]
pub(super) struct CredentialHasher(SipHasher24);

/// A bounded number of seals, each for the same time, the last ones.
#[derive(Debug)]
pub(super) struct VerdictCache {
    expirations: HashMap<CredentialHash, Instant>,
    /// In the order in which they came, which may be a little off that in which they go.
    order: VecDeque<(Instant, CredentialHash)>,
    ttl: Duration,
    capacity: usize,
}

impl CredentialHasher {
    /// With a key of its own.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 16];
        getrandom::fill(&mut key)?;
        Ok(Self(SipHasher24::new_with_key(&key)))
    }

    pub(super) fn hash(&self, credentials: &[u8]) -> CredentialHash {
        let mut hasher = self.0;
        hasher.write(credentials);
        CredentialHash(hasher.finish128().as_u128())
    }
}

impl std::fmt::Debug for CredentialHasher {
    /// Without its key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl CredentialHash {
    /// Whether both are of the same credentials, in constant time.
    pub(super) fn ct_eq(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl VerdictCache {
    /// Of at most so many, for so long.
    pub(super) fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            expirations: HashMap::new(),
            order: VecDeque::new(),
            ttl,
            capacity,
        }
    }

    /// Until when this is remembered, if it is; that may be over. How long looking it up takes tells
    /// something of a seal, at most, and so nothing.
    pub(super) fn expires_at(&self, hash: CredentialHash) -> Option<Instant> {
        self.expirations.get(&hash).copied()
    }

    /// Remembers this since then, and forgets what is over by then, or too much.
    pub(super) fn insert(&mut self, hash: CredentialHash, received: Instant) {
        while let Some(&(expires, first)) = self.order.front()
            && (expires <= received || self.order.len() >= self.capacity)
        {
            self.order.pop_front();
            // It may have come again.
            if self.expirations.get(&first) == Some(&expires) {
                self.expirations.remove(&first);
            }
        }
        let expires = received + self.ttl;
        self.expirations.insert(hash, expires);
        self.order.push_back((expires, hash));
    }

    pub(super) fn clear(&mut self) {
        self.expirations.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn credential_hash_depends_on_credentials_and_key() {
        let (one, other) = (
            CredentialHasher::new().unwrap(),
            CredentialHasher::new().unwrap(),
        );
        assert!(one.hash(b"a").ct_eq(one.hash(b"a")));
        assert!(!one.hash(b"a").ct_eq(one.hash(b"b")));
        assert!(!one.hash(b"a").ct_eq(one.hash(b"a\0")));
        assert!(!one.hash(b"a").ct_eq(other.hash(b"a")));
    }

    #[test]
    fn expired_and_excess_entries_are_evicted() {
        let start = Instant::now();
        let mut cache = VerdictCache::new(10 * SECOND, 3);
        for hash in 0..4 {
            cache.insert(
                CredentialHash(hash),
                start + SECOND * u32::try_from(hash).unwrap(),
            );
        }
        assert_eq!(
            cache.expires_at(CredentialHash(0)),
            None,
            "the fourth took its place"
        );
        assert_eq!(
            cache.expires_at(CredentialHash(1)),
            Some(start + 11 * SECOND)
        );
        cache.insert(CredentialHash(1), start + 5 * SECOND);
        assert_eq!(
            cache.expires_at(CredentialHash(1)),
            Some(start + 15 * SECOND),
            "it came again"
        );
        cache.insert(CredentialHash(5), start + 14 * SECOND);
        assert_eq!(
            cache.expires_at(CredentialHash(1)),
            Some(start + 15 * SECOND)
        );
        assert_eq!((cache.expirations.len(), cache.order.len()), (2, 2));
        cache.clear();
        assert_eq!(cache.expires_at(CredentialHash(5)), None);
    }
}
