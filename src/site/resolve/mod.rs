//! From a path to the file that it names, or to the reason why there is none.

pub(crate) mod resolver;
pub(crate) mod search;
