//! Live reload: an origin around an origin, and a stream of events that tells open pages which files have changed.

mod debouncer;
mod origin;
mod reload;
mod tree_watcher;

pub use origin::{Live, LiveStream};
pub use reload::{EventStream, LiveReload};
