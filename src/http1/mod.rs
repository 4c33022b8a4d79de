//! How HTTP/1.1 puts it (RFC 9112).
//!
//! The only place where the two wings meet: [`Http1`] speaks `net`'s protocol and `http`'s
//! language.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod access;
mod body;
mod chunked;
mod counters;
mod decimal;
pub mod encode;
mod gate;
mod health;
mod log;
pub mod parse;
mod session;

pub use access::Format;
pub use counters::{Awaited, Counters, Verb};
pub use health::Health;
pub use session::{Http1, Options, Session};
