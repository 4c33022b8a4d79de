//! The file system: the root directory, and files opened, read and watched beneath it.

pub(crate) mod dir;
pub(crate) mod entry;
pub(crate) mod error;
pub(crate) mod evidence;
pub(crate) mod inotify;
pub(crate) mod read;
pub(crate) mod root;
pub(crate) mod root_watch;
pub(crate) mod symlinks;
pub(crate) mod text;
pub(crate) mod watches;

pub use dir::PathResolver;
pub use root::{Root, Symlinks};
pub use symlinks::Symlink;
pub use text::without_byte_order_mark;
