//! Who was hung up on before its conversation began, in numbers.

use crate::count::Count;

/// Who was hung up on before its conversation began, in numbers, which others may read at any time.
///
/// They lie in cache lines of their own: what one worker counts holds up no other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters {
    /// Those who took too long with the header.
    pub too_slow: Count,
    /// Those who began with something else.
    pub refused: Count,
}
