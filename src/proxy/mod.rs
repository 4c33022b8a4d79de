//! The PROXY protocol: who is behind a proxy, said in front of everything else that is said.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

mod counters;
mod header;
mod proxied;

pub use counters::ProxyCounters;
pub use header::{MalformedHeader, ProxyHeader, SourceAddress, parse_header};
pub use proxied::{Proxied, ProxiedSession, ProxyHeaderOptions};
