//! The file system: the root directory, and files opened and read beneath it.

pub(crate) mod path_resolution;
pub(crate) mod root;

pub use root::{PathResolver, Root, Symlink, Symlinks};
