//! Decisions by name: media type, cache policy, hidden names.

pub(crate) mod hidden;
pub(crate) mod media;

pub use hidden::is_hidden;
pub use media::{MediaType, MediaTypeSource, MediaTypes, MediaTypesError, is_compressible};
