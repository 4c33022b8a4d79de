//! Server: from options to running workers.

mod listeners;
mod metrics;
mod options;
pub mod sandbox;
mod start_error;
mod workers;

pub use listeners::BoundListeners;
pub use metrics::page::METRICS_PATH;
pub use options::{Bind, ServerOptions, max_cached_files};
pub use start_error::StartError;
pub use workers::{Server, ServerHandle, open_root, open_site};
