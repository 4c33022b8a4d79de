//! Counters of connections closed because of their PROXY header.

use crate::sync::Counter;

/// Counters of connections closed because of their PROXY header, which other threads may read at any time.
///
/// They have cache lines of their own, so that workers do not slow each other down by counting.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ProxyCounters {
    /// Connections whose header was not complete in time.
    pub header_timeouts: Counter,
    /// Connections that started with something else than a valid header.
    pub invalid_headers: Counter,
}
