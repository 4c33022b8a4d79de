//! Who was hung up on before its conversation began, in numbers.

use crate::counter::Counter;

/// Who was hung up on before its conversation began, in numbers, which others may read at any time.
///
/// They lie in cache lines of their own: what one worker counts holds up no other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ProxyCounters {
    /// Those who took too long with the header.
    pub header_timeouts: Counter,
    /// Those who began with something else.
    pub invalid_headers: Counter,
}
