//! PROXY protocol: a header before the first byte of a connection, in which a proxy names its client's address.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod counters;
mod header;
mod proxied;

pub use counters::ProxyCounters;
pub use proxied::{Proxied, ProxiedSession, ProxyHeaderOptions};
