//! Bytes at rest, in memory or in an open file.

use std::fs::File;
use std::sync::Arc;

/// Bytes that do not change hands when they are passed on: a clone shares them.
///
/// An open file is read by whoever sends it, at an offset of their own, so one
/// descriptor serves any number of holders.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes that are part of the program.
    Static(&'static [u8]),
    /// Bytes that were read, or made.
    Memory(Arc<[u8]>),
    /// The first `len` bytes of an open regular file.
    File {
        /// The open file. Its cursor is never used.
        file: Arc<File>,
        /// The length it had when it was opened, in bytes. It may have less by now.
        len: u64,
    },
}

impl Blob {
    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Static(bytes) => bytes.len() as u64,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, if they are in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Static(bytes) => Some(bytes),
            Self::Memory(bytes) => Some(bytes),
            Self::File { .. } => None,
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}
