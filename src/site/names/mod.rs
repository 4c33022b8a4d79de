//! Decisions by name: media type, cache policy, hidden names.

pub(crate) mod cache_policy;
pub(crate) mod fingerprint;
pub(crate) mod hidden;
pub(crate) mod media;

pub use cache_policy::{CacheControl, CachePolicy, CacheReason};
pub use fingerprint::Fingerprint;
pub use hidden::is_hidden;
pub use media::{MediaType, MediaTypeSource, MediaTypes, MediaTypesError};
