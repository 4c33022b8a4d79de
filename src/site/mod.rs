//! What we have: a folder.

mod cache;
mod caching;
mod compressor;
mod disk;
mod encoding;
mod field;
mod find;
mod headers;
mod listing;
mod media;
mod pattern;
mod policy;
mod redirects;
mod rules;
mod search;
mod siblings;
mod sources;
mod validators;
mod variants;
mod watch;

pub use caching::{CacheControl, Caching, Reason, has_content_hash};
pub use compressor::{Compressor, Form};
pub use disk::{Disk, Resolution, Symlinks};
pub use field::Field;
pub use find::{Freshness, Named, Options, Site};
pub use headers::{Change, Headers};
pub use listing::Listing;
pub use media::{MalformedTypes, Media, Source, Types, is_compressible};
pub use policy::{Policy, SharedPolicy};
pub use redirects::{Match, Redirects, To};
pub use rules::{MAX_PATHS, MAX_PATTERNS, MAX_SIZE, Malformed};
pub use siblings::{CODINGS, Failure, Folder, Job, Outcome, Siblings};
pub use sources::{Reading, Sources, TypeSource};
