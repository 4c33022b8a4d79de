//! Where access lines go: standard output, or a file that can be opened again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use docroot::line_writer::LineSink;

/// Who may read a log that is made here: it says who came.
const LOG_FILE_MODE: u32 = 0o640;

/// An open file. What is written to it waits in no buffer of ours, so that it is known what was written.
#[derive(Debug)]
pub(crate) struct LogSink {
    file: File,
    /// Under which name it is opened again.
    path: Option<PathBuf>,
}

impl LogSink {
    /// Standard output.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn standard_output() -> io::Result<Self> {
        let file = io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Self { file, path: None })
    }

    /// The file of this name. It is made if it is not there, and written to at its end, wherever that is by then, so
    /// that it may be cut short by others at any time. A named pipe that may be read, too, need not have a reader yet,
    /// nor keep it: what it holds waits for the next one.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(crate) fn file(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: open(path)?,
            path: Some(path.to_owned()),
        })
    }
}

/// Whether this is a name for what is open already.
pub(crate) fn is_open_descriptor(path: &Path) -> bool {
    let names = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"];
    names.iter().any(|name| path.starts_with(name))
}

fn open(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(LOG_FILE_MODE);
    if is_pipe && !is_open_descriptor(path) {
        // To write only, a pipe is not opened before it has a reader (fifo(7)).
        match options.clone().read(true).open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            opened => return opened,
        }
    }
    options.open(path)
}

/// By which an open file is known. `None` is a file of which nothing can be said any more.
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
        // What was added left us at the end. (A pipe has no place.)
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
