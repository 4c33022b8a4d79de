//! `ContentReader`: reads content on a background thread, until the result is no longer needed.

use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use crate::blob::{Blob, FileVersion};

/// Reader of content that fails once the threads are to end.
pub(crate) struct ContentReader<'a> {
    content: &'a Blob,
    offset: u64,
    is_stopped: &'a dyn Fn() -> bool,
    has_failed: bool,
}

impl<'a> ContentReader<'a> {
    pub(crate) fn new(content: &'a Blob, is_stopped: &'a dyn Fn() -> bool) -> Self {
        Self {
            content,
            offset: 0,
            is_stopped,
            has_failed: false,
        }
    }

    /// Returns the number of bytes read.
    #[cfg(test)]
    pub(crate) fn position(&self) -> u64 {
        self.offset
    }

    /// Whether an error was returned: then the content is not known.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl Read for ContentReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = match self.content {
            _ if (self.is_stopped)() => Err(io::Error::other("not needed any more")),
            Blob::Sealed { file, .. } | Blob::File { file, .. } => file.read_at(bytes, self.offset),
            Blob::Static(_) | Blob::Memory(_) => {
                let content = self.content.in_memory().unwrap_or_default();
                let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
                content.get(offset..).unwrap_or_default().read(bytes)
            }
        };
        match &read {
            Ok(count) => self.offset += *count as u64,
            Err(error) => self.has_failed |= error.kind() != io::ErrorKind::Interrupted,
        }
        read
    }
}

/// Checks that an open file is still of this version. Content in memory does not change.
pub(crate) fn check_unchanged(content: &Blob, version: &FileVersion) -> io::Result<()> {
    match content {
        Blob::File { file, .. } if !version.is_unchanged(file)? => {
            Err(io::Error::other("the file changed"))
        }
        _ => Ok(()),
    }
}
