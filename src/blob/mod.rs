//! Content at rest: bytes in memory, or in an open file of a known version.

mod content;
mod version;

pub use content::Blob;
pub(crate) use version::system_time;
pub use version::{FileVersion, TIMESTAMP_TICK, VersionCheck};
