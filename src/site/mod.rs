//! What we have: a folder.

mod disk;
mod find;
mod media;
mod validators;

pub use disk::{Disk, Resolution, Symlinks};
pub use find::{Options, Site};
