//! Lines handed to a thread that writes them, without ever waiting for it.

use std::io::{self, Write};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread;
use std::time::Duration;

use tracing::warn;

/// Batches that may wait for the writer.
const QUEUE: usize = 16;

/// Bytes of lines that may wait behind a full queue before lines are dropped.
const MOST: usize = 1024 * 1024;

/// Where one loop's lines are collected until [`flush`](Self::flush).
///
/// What reads them may be slow, or stuck: then lines are dropped and counted, and the loop goes on.
#[derive(Debug)]
pub struct Journal {
    batch: Vec<u8>,
    dropped: usize,
    sender: SyncSender<Vec<u8>>,
}

/// The writing thread's end, to wait for.
#[derive(Debug)]
pub struct Writer {
    done: Receiver<()>,
}

impl Journal {
    /// Starts a thread that writes to `out`. It ends when the journal is dropped, or `out` fails.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(mut out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (sender, batches) = sync_channel::<Vec<u8>>(QUEUE);
        let (finished, done) = channel();
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                let written = batches
                    .iter()
                    .try_for_each(|batch| out.write_all(&batch).and_then(|()| out.flush()));
                if let Err(error) = written {
                    warn!("the access log ends here: it cannot be written: {error}");
                }
                // Nobody waits when the process does not end in order.
                let _ = finished.send(());
            })?;
        Ok((
            Self {
                batch: Vec::new(),
                dropped: 0,
                sender,
            },
            Writer { done },
        ))
    }

    /// The collected lines: append one, with its newline.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Hands the collected lines over.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match self.sender.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) if self.dropped > 0 => {
                warn!(
                    "the access log is read too slowly: {} lines were dropped",
                    self.dropped
                );
                self.dropped = 0;
            }
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(batch)) if batch.len() > MOST => {
                self.dropped += batch.iter().filter(|&&byte| byte == b'\n').count();
            }
            Err(TrySendError::Full(batch)) => self.batch = batch,
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
        if !self.batch.is_empty() || self.dropped > 0 {
            warn!("the access log is read too slowly: its last lines were dropped");
        }
    }
}

impl Writer {
    /// Waits until everything handed over is written, at most `time`. Whether it was.
    #[must_use]
    pub fn finish(self, time: Duration) -> bool {
        self.done.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    struct Slow {
        written: Sender<Vec<u8>>,
        permission: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written
                .send(bytes.to_vec())
                .map_err(io::Error::other)?;
            self.permission.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_in_order() {
        let (permit, permission) = channel();
        let (written, out) = channel();
        let (mut journal, writer) = Journal::new(Slow {
            written,
            permission,
        })
        .unwrap();
        for line in ["one\n", "two\n"] {
            journal.lines().extend_from_slice(line.as_bytes());
            journal.flush();
            permit.send(()).unwrap();
        }
        drop(journal);
        assert!(writer.finish(Duration::from_secs(10)));
        assert_eq!(out.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
    }

    #[test]
    fn a_stuck_writer_is_not_waited_for() {
        let (_permit, permission) = channel();
        let (written, out) = channel();
        let (mut journal, writer) = Journal::new(Slow {
            written,
            permission,
        })
        .unwrap();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        journal.lines().extend_from_slice(&line);
        journal.flush();
        assert_eq!(
            out.recv().unwrap(),
            line,
            "the writer is at work, and stuck from here on"
        );
        for _ in 0..20_000 {
            journal.lines().extend_from_slice(&line);
            journal.flush();
        }
        assert!(journal.dropped > 0);
        assert!(journal.batch.len() <= MOST + line.len());
        drop(journal);
        assert!(!writer.finish(Duration::from_millis(1)));
    }
}
