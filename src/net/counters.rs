//! What becomes of one reactor's connections, in numbers.

use crate::counter::Counter;

/// What becomes of one reactor's connections, in numbers, which others may read at any time.
///
/// They lie in cache lines of their own: what one reactor counts holds up no other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ConnectionCounters {
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Those of them that are over.
    pub closed: Counter,
    /// Those that were closed at once, as their peer had enough.
    pub over_ip_limit: Counter,
    /// Those that were hung up on, so that there was room for another.
    pub evicted: Counter,
    /// Those that were cut, as their peer took too little of what was sent.
    pub below_min_rate: Counter,
    /// How often a listener had to rest, as there was no room, or no descriptor, for one more.
    pub accept_pauses: Counter,
}
