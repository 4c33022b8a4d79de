//! Verdicts on recent credentials, cached by a keyed hash that does not reveal them.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use subtle::ConstantTimeEq as _;

/// Keyed hash that represents credentials in memory: SipHash-2-4, 128 bits, under a key of this process.
///
/// SipHash is designed for this: a keyed function of short inputs whose results cannot be predicted or matched without
/// the key. Neither key nor hashes leave the process, and a guess at a hash succeeds with probability 2^-128. It is
/// computed for every request, so it is not HMAC-SHA-256, which costs several times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CredentialHash(u128);

/// Hasher of credentials, with its key.
#[derive(Clone)]
pub(super) struct CredentialHasher(SipHasher24);

/// Bounded cache of credentials with one verdict, the most recent ones, all with the same time to live.
#[derive(Debug)]
pub(super) struct VerdictCache {
    expirations: HashMap<CredentialHash, Instant>,
    /// Entries in the order of insertion, which may differ a little from that of expiry.
    order: VecDeque<(Instant, CredentialHash)>,
    ttl: Duration,
    capacity: usize,
}

impl CredentialHasher {
    /// Creates a hasher with a random key.
    ///
    /// # Errors
    /// If the system has no randomness.
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
    /// Omits the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CredentialHasher")
    }
}

impl CredentialHash {
    /// Whether both are hashes of the same credentials, compared in constant time.
    pub(super) fn ct_eq(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl VerdictCache {
    /// Creates a cache with this time to live and capacity.
    pub(super) fn new(ttl: Duration, capacity: usize) -> Self {
        Self {
            expirations: HashMap::new(),
            order: VecDeque::new(),
            ttl,
            capacity,
        }
    }

    /// Expiry of the entry, perhaps in the past; `None` if there is none. The time this takes reveals at most something
    /// about the hash, and so nothing about the credentials.
    pub(super) fn expires_at(&self, hash: CredentialHash) -> Option<Instant> {
        self.expirations.get(&hash).copied()
    }

    /// Inserts credentials that were received at `received`, and evicts entries that have expired by then or exceed the
    /// capacity.
    pub(super) fn insert(&mut self, hash: CredentialHash, received: Instant) {
        while let Some(&(expires, first)) = self.order.front()
            && (expires <= received || self.order.len() >= self.capacity)
        {
            self.order.pop_front();
            // The hash may have been inserted again, with a later expiry.
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
            "evicted by the fourth"
        );
        assert_eq!(
            cache.expires_at(CredentialHash(1)),
            Some(start + 11 * SECOND)
        );
        cache.insert(CredentialHash(1), start + 5 * SECOND);
        assert_eq!(
            cache.expires_at(CredentialHash(1)),
            Some(start + 15 * SECOND),
            "inserted again"
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
