//! What we have: a folder.

mod disk;
mod find;
mod media;

pub use disk::{Disk, Resolution};
pub use find::{Options, Site};
