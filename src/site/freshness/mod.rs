//! Freshness of cached lookups and of the root: the cache, the evidence that its entries rest on, the root path.

pub(crate) mod cache;
pub(crate) mod lookup_cache;
pub(crate) mod releases;
pub(crate) mod root_follower;
pub(crate) mod watch;

pub use releases::Releases;
