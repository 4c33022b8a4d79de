//! Content as bytes in memory or in an open file of a known version.

use std::fs::File;
use std::sync::Arc;

use super::version::FileVersion;

/// Content in memory or in an open file. A clone shares the bytes.
///
/// Each reader of an open file uses its own offset, so one descriptor serves any number of readers.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes in the program's binary.
    Static(&'static [u8]),
    /// Bytes that were read or generated.
    Memory(Arc<[u8]>),
    /// A sealed file in memory (memfd_create(2), F_SEAL_WRITE and F_SEAL_SHRINK): the kernel sends it as a file, and as
    /// no process can change it any more, it is as reliable as memory.
    Sealed {
        /// The open file. Its cursor is never used.
        file: Arc<File>,
        /// Length in bytes.
        len: u64,
    },
    /// An open regular file.
    File {
        /// The open file. Its cursor is never used.
        file: Arc<File>,
        /// Version of the file when it was opened. The file may have changed since.
        version: FileVersion,
        /// Whether the last change was a while ago. If not, it may be about to change again.
        is_steady: bool,
    },
}

impl Blob {
    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Static(bytes) => bytes.len() as u64,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Sealed { len, .. } => *len,
            Self::File { version, .. } => version.len,
        }
    }

    /// Whether the length is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes, if they are in this process's memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Static(bytes) => Some(bytes),
            Self::Memory(bytes) => Some(bytes),
            Self::Sealed { .. } | Self::File { .. } => None,
        }
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Memory(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_blob_has_length_and_no_bytes() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let sealed = Blob::Sealed { file, len: 7 };
        assert_eq!((sealed.len(), sealed.in_memory()), (7, None));
    }
}
