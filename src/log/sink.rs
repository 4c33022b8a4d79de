//! Sinks of log lines, and lines written to a sink whole.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

/// Pause after a sink has returned `WouldBlock`.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(20);

/// Sink of lines. It must not buffer: the bytes are in place when `write` returns.
pub trait LineSink: Write + Send + Sized + 'static {
    /// Opens the file that has replaced this one, if there is one.
    ///
    /// # Errors
    /// The error of opening it.
    fn reopened(&self) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Whether another process has truncated the file, so that the last written bytes are gone.
    fn is_truncated(&self) -> bool {
        false
    }
}

impl LineSink for io::Stderr {}

impl LineSink for io::Sink {}

/// Writer to a sink that may take only a part of a line, which it completes later.
#[derive(Debug, Default)]
pub(super) struct PartialLine {
    /// Unwritten rest of a partly written line. It is written before all else, so that no other line is appended to a
    /// part.
    pub(super) remainder: Vec<u8>,
}

impl PartialLine {
    /// Completes a partly written line, if there is one.
    ///
    /// # Errors
    /// The error of the write.
    pub(super) fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Err((left, error)) = write_all(out, &self.remainder) {
            self.remainder = left.to_vec();
            return Err(error);
        }
        self.remainder.clear();
        Ok(())
    }

    /// Writes these lines, each with its newline.
    ///
    /// # Errors
    /// The number of unwritten lines, without a partly written one, and the error of the write.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        text: &[u8],
    ) -> Result<(), (usize, io::Error)> {
        self.end(out).map_err(|error| (count_lines(text), error))?;
        write_all(out, text).map_err(|(left, error)| {
            let written = &text[..text.len() - left.len()];
            if written.last().is_some_and(|&byte| byte != b'\n') {
                self.remainder.extend(
                    left.split_inclusive(|&byte| byte == b'\n')
                        .next()
                        .unwrap_or_default(),
                );
            }
            (count_lines(&left[self.remainder.len()..]), error)
        })
    }
}

/// Writes all bytes, however long that takes.
///
/// # Errors
/// The unwritten bytes, and the error of the write.
fn write_all<'a>(out: &mut impl Write, mut left: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
    while !left.is_empty() {
        match out.write(left) {
            Ok(0) => return Err((left, io::ErrorKind::WriteZero.into())),
            Ok(count) => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process that shares the open file description has made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(WOULD_BLOCK_PAUSE);
            }
            Err(error) => return Err((left, error)),
        }
    }
    Ok(())
}

/// Returns the number of lines, each with its newline.
pub(super) fn count_lines(text: &[u8]) -> usize {
    // A sum of bytes, which cannot overflow in as many bytes, is vectorized four times as wide as one of words.
    let count = |part: &[u8]| part.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    let parts = text.chunks(usize::from(u8::MAX));
    parts.map(|part| usize::from(count(part))).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    /// Free bytes of a disk, and the files that had the log's name, of which the last one has it now.
    #[derive(Default)]
    pub(in crate::log) struct FakeDisk {
        pub(in crate::log) room: usize,
        pub(in crate::log) files: Vec<Vec<u8>>,
    }

    /// One of the files, opened.
    #[derive(Clone)]
    pub(in crate::log) struct FakeFile {
        disk: Arc<Mutex<FakeDisk>>,
        file: usize,
    }

    impl FakeFile {
        pub(in crate::log) fn new(room: usize) -> Self {
            let files = vec![Vec::new()];
            Self {
                disk: Arc::new(Mutex::new(FakeDisk { room, files })),
                file: 0,
            }
        }

        pub(in crate::log) fn disk(&self) -> MutexGuard<'_, FakeDisk> {
            self.disk.lock().unwrap()
        }
    }

    impl Write for FakeFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.disk();
            // Only 3 bytes per write.
            let count = bytes.len().min(disk.room).min(3);
            disk.room -= count;
            disk.files[self.file].extend(&bytes[..count]);
            match count {
                0 => Err(io::ErrorKind::StorageFull.into()),
                count => Ok(count),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LineSink for FakeFile {
        fn reopened(&self) -> io::Result<Option<Self>> {
            let disk = self.disk.clone();
            let file = self.disk().files.len() - 1;
            Ok((file > self.file).then_some(Self { disk, file }))
        }
    }

    #[test]
    fn partial_line_is_completed_when_there_is_room() {
        const TEXT: &[u8] = b"one\ntwo\nthree\n";
        const NEXT: &[u8] = b"four\nfive\n";
        for room in 0..TEXT.len() + NEXT.len() {
            let mut file = FakeFile::new(0);
            let mut partial = PartialLine::default();
            let mut lost = 0;
            for (text, room) in [(TEXT, room), (NEXT, 1), (b"six\n", 1000)] {
                file.disk().room += room;
                lost += partial
                    .write(&mut file, text)
                    .map_or_else(|(lost, _)| lost, |()| 0);
            }
            let text = String::from_utf8(file.disk().files.concat()).unwrap();
            assert!(text.ends_with("six\n"));
            let all = ["one", "two", "three", "four", "five", "six"];
            assert!(text.lines().all(|line| all.contains(&line)), "{text}");
            assert_eq!(text.lines().count() + lost, all.len(), "{text}");
        }
    }
}
