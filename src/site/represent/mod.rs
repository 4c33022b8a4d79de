//! From a file to a representation: its fields, its validators, the digest of its content, and injected scripts.

pub(crate) mod assembler;
pub(crate) mod digests;
pub(crate) mod inject;
pub(crate) mod resource;
pub(crate) mod validators;

pub use digests::Digests;
