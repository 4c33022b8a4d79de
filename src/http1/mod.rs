//! How HTTP/1.1 puts it (RFC 9112).
//!
//! The only place where the two wings meet: [`Http1`] speaks `net`'s protocol and `http`'s
//! language.
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
mod session;

pub use access_line::LogFormat;
pub use counters::{MethodLabel, RequestCounters, TimeoutKind};
pub use health::Health;
pub use session::{Http1, HttpOptions, Session};
