//! HTTP/1.1 messages and connections (RFC 9112).
//!
//! [`Http1`] implements `net`'s protocol around a [`Service`](crate::service::Service), which answers the requests.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod body;
mod chunked;
pub mod encode;
mod field_lines;
mod options;
pub mod parse;
mod session;
mod states;
mod writer;

pub use options::HttpOptions;
pub use session::{Http1, Session};
pub use writer::{ResponseWriter, frame};
