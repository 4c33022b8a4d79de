//! From a file to a representation: its fields, its validators, and the digest of its content.

pub(crate) mod assembler;
pub(crate) mod digests;
pub(crate) mod fallback;
pub(crate) mod resource;
pub(crate) mod validators;

pub use digests::Digests;
