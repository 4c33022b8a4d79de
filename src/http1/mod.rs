//! HTTP/1.1 messages and connections (RFC 9112).
//!
//! [`Http1`] implements `net`'s protocol with the semantics of `http`; nothing else joins the two.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod access_line;
mod access_log;
mod authorize;
mod body;
mod chunked;
mod counters;
mod decimal;
pub mod encode;
mod health;
pub mod parse;
mod refusal;
mod session;

pub use access_line::LogFormat;
pub use counters::{MethodLabel, RequestCounters, TimeoutKind};
pub use health::Health;
pub use session::{Http1, HttpOptions, Session};
