//! Metrics of a server, and the listener that serves them.

pub(super) mod listener;
pub(super) mod page;
mod process;
mod text;
