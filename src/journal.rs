//! Lines handed to a thread that writes them, without ever waiting for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

/// Bytes of lines that may wait for the thread before lines are dropped.
const MOST: usize = 1024 * 1024;

/// Where one loop's lines are collected until [`flush`](Self::flush).
///
/// What reads them may be slow, or stuck: then lines are dropped and counted, and the loop goes on.
#[derive(Debug)]
pub struct Journal {
    batch: Vec<u8>,
    shared: Arc<Shared>,
}

/// The writing thread, to wait for.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room since this was last said.
    dropped: usize,
    /// The thread is writing what it has taken.
    busy: bool,
    /// The journal is gone: nothing more will come.
    closed: bool,
    /// The thread is gone: nothing more will be written.
    ended: bool,
}

impl Journal {
    /// Starts a thread that writes to `out`, which messages call `name`. The thread ends when the
    /// journal is dropped, or `out` fails.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(name: &'static str, out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let shared = Arc::new(Shared::default());
        let (journal, writer) = (
            shared.clone(),
            Writer {
                shared: shared.clone(),
            },
        );
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || shared.write(name, out))?;
        Ok((
            Self {
                batch: Vec::new(),
                shared: journal,
            },
            writer,
        ))
    }

    /// The collected lines: append one, with its newline.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.batch
    }

    /// Hands the collected lines over, or drops them if too many are waiting.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        if state.waiting.len() + self.batch.len() > MOST {
            state.dropped += self.batch.iter().filter(|&&byte| byte == b'\n').count();
        } else if !state.ended {
            state.waiting.extend_from_slice(&self.batch);
        }
        self.batch.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Writer {
    /// Waits until everything handed over is written, at most `time`. Whether it was.
    #[must_use]
    pub fn finish(&self, time: Duration) -> bool {
        let unwritten =
            |state: &mut State| !state.ended && (state.busy || !state.waiting.is_empty());
        let waited = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), time, unwritten);
        let (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timed_out.timed_out()
    }
}

impl Shared {
    /// A panic elsewhere leaves the state whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn write(&self, name: &str, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
            let waited = self.changed.wait_while(self.lock(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                state.ended = true;
                break;
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            state.busy = true;
            drop(state);

            let written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();

            let mut state = self.lock();
            state.busy = false;
            state.ended = written.is_err();
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            self.changed.notify_all();
            if dropped > 0 {
                warn!("{name} is read too slowly: {dropped} lines were dropped");
            }
            if let Err(error) = written {
                warn!("{name} cannot be written any more: {error}");
                break;
            }
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

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
        let (mut journal, writer) = Journal::new(
            "it",
            Slow {
                written,
                permission,
            },
        )
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
        let (permit, permission) = channel();
        let (written, out) = channel();
        let (mut journal, writer) = Journal::new(
            "it",
            Slow {
                written,
                permission,
            },
        )
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
        assert!(journal.shared.lock().dropped > 0);
        assert!(journal.shared.lock().waiting.len() <= MOST);
        drop(journal);
        assert!(!writer.finish(Duration::from_millis(1)));

        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert!(
            writer.finish(Duration::from_secs(10)),
            "what waited is written"
        );
        assert_eq!(out.recv().unwrap().len(), MOST / line.len() * line.len());
    }
}
