//! Sink of the access log: standard output, or a file that can be reopened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use docroot::log::LineSink;

/// Mode of a log file that is created here. It is not readable by all users, as it contains client addresses.
const LOG_FILE_MODE: u32 = 0o640;

/// Open log file. Writes are not buffered in this process, so the number of written bytes is known.
#[derive(Debug)]
pub(crate) struct LogSink {
    file: File,
    /// Path under which it is reopened; `None` for standard output.
    path: Option<PathBuf>,
}

impl LogSink {
    /// Opens standard output.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn standard_output() -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Self { file, path: None })
    }

    /// Opens or creates a file, for appending, so that another process may truncate it at any time. A named pipe is
    /// also opened for reading, if its mode allows it: then it needs no reader to be opened, and keeps its content for
    /// the next reader when one closes it.
    ///
    /// # Errors
    /// The error of open(2).
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: open(path)?,
            path: Some(path.to_owned()),
        })
    }
}

/// Whether this is the path of a descriptor that is already open.
pub(crate) fn is_open_descriptor(path: &Path) -> bool {
    let names = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    names.iter().any(|name| path.starts_with(name))
}

fn open(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(LOG_FILE_MODE);
    if is_pipe && !is_open_descriptor(path) {
        // Opened for writing only, a pipe blocks until it has a reader (fifo(7)).
        match options.clone().read(true).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// Returns device and inode of an open file; `None` if it cannot be examined any more.
fn identity(file: &File) -> Option<(u64, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl LineSink for LogSink {
    fn reopened(&self) -> io::Result<Option<Self>> {
        let Some(path) = &self.path else {
            return Ok(None);
        };
        let reopened = Self::file(path)?;
        let is_another = identity(&reopened.file) != identity(&self.file);
        Ok(is_another.then_some(reopened))
    }

    fn is_truncated(&self) -> bool {
        // After an append the position is at the end of the file. (A pipe has no position.)
        let position = (&self.file).stream_position();
        let length = self.file.metadata().map(|metadata| metadata.len());
        matches!((position, length), (Ok(position), Ok(length)) if length < position)
    }
}

impl io::Write for LogSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
