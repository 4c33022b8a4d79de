//! What we have: a folder.

mod cache;
mod disk;
mod find;
mod media;
mod validators;
mod watch;

pub use disk::{Disk, Resolution, Symlinks};
pub use find::{Freshness, Options, Site};
