//! What a site knows of a file by its name alone.

mod cache_policy;
mod fingerprint;

pub use cache_policy::{CacheControl, CachePolicy, CacheReason};
pub use fingerprint::{Fingerprint, has_content_hash};
