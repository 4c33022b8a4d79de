//! What we have: a folder.

mod cache;
mod caching;
mod compressor;
mod disk;
mod encoding;
mod field;
mod find;
mod headers;
mod media;
mod pattern;
mod redirects;
mod rules;
mod siblings;
mod validators;
mod watch;

pub use caching::{CacheControl, Caching, Reason, has_content_hash};
pub use compressor::{Compressor, Form};
pub use disk::{Disk, Resolution, Symlinks};
pub use field::Field;
pub use find::{Freshness, Options, Site};
pub use headers::{Change, Headers};
pub use redirects::{Match, Redirects, To};
pub use rules::{MAX_PATHS, MAX_PATTERNS, MAX_SIZE, Malformed};
pub use media::{MalformedTypes, Media, Source, Types, is_compressible};
pub use siblings::{CODINGS, Failure, Folder, Job, Outcome, Siblings};
