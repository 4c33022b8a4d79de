//! Counters of one reactor's connections.

use crate::sync::Counter;

/// Counters of one reactor's connections, which other threads may read at any time.
///
/// They have cache lines of their own, so that reactors do not slow each other down by counting.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ConnectionCounters {
    /// Accepted connections.
    pub accepted: Counter,
    /// Accepted connections that are closed.
    pub closed: Counter,
    /// Connections closed at once because their peer's address was at its limit.
    pub over_ip_limit: Counter,
    /// Idle connections closed to make room for new ones.
    pub evicted: Counter,
    /// Connections aborted because their peer read more slowly than the minimum rate.
    pub below_min_rate: Counter,
    /// Pauses in accepting because of a full connection table or a lack of descriptors.
    pub accept_pauses: Counter,
}
