//! What becomes of one reactor's connections, in numbers.

use crate::count::Count;

/// What becomes of one reactor's connections, in numbers, which others may read at any time.
///
/// They lie in cache lines of their own: what one reactor counts holds up no other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Connections that were accepted.
    pub accepted: Count,
    /// Those of them that are over.
    pub closed: Count,
    /// Those that were closed at once, as their peer had enough.
    pub turned_away: Count,
    /// Those that were hung up on, so that there was room for another.
    pub displaced: Count,
    /// Those that were cut, as their peer took too little of what was sent.
    pub too_slow: Count,
    /// How often a listener had to rest, as there was no room, or no descriptor, for one more.
    pub rests: Count,
}
