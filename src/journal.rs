//! Lines handed to a thread that writes them, without ever waiting for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing::warn;

/// Bytes of lines that may wait for the thread before lines are dropped.
const MOST: usize = 4 * 1024 * 1024;

/// Bytes of lines that are written at once, without waiting for others to gather.
const PLENTY: usize = MOST / 4;

/// Bytes of lines that a loop hands over before its turn ends.
const HANDFUL: usize = 64 * 1024;

/// Where one loop's lines are collected until [`flush`](Self::flush).
///
/// What reads them may be slow, or stuck: then lines are dropped and counted, and the loop goes on.
/// Several loops have a journal each, whose lines one thread writes, each line whole.
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
    /// For the thread: there is something to do.
    wake: Condvar,
    /// For whoever waits for the thread: something has been done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room since this was last said.
    dropped: usize,
    /// Lines that the thread has taken, and is writing.
    taken: usize,
    /// Journals from which more may come.
    journals: usize,
    /// The thread waits for the next line, however long that takes.
    asleep: bool,
    /// Somebody waits for the thread: lines gather no longer.
    hurried: bool,
    /// The thread is gone: nothing more will be written.
    ended: bool,
}

impl Journal {
    /// Starts a thread that writes to `out`, which messages call `name`. The thread ends when the
    /// last journal is dropped, or `out` fails.
    ///
    /// Lines `gather` for so long before they are written with one call, so that the thread wakes
    /// `1 / gather` times a second under load, and never while nothing comes; sooner only where they
    /// become many. Zero writes each as soon as it is there.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(
        name: &'static str,
        gather: Duration,
        out: impl Write + Send + 'static,
    ) -> io::Result<(Self, Writer)> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: shared.clone(),
        };
        let journal = Self::of(shared.clone());
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || shared.write(name, gather, out))?;
        Ok((journal, writer))
    }

    fn of(shared: Arc<Shared>) -> Self {
        shared.lock().journals += 1;
        Self {
            batch: Vec::new(),
            shared,
        }
    }

    /// Another one, for another loop, with the same thread.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::of(self.shared.clone())
    }

    /// The collected lines: append one, with its newline.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        // However long the lines of one turn are together, this stays small.
        if self.batch.len() > HANDFUL {
            self.flush();
        }
        &mut self.batch
    }

    /// Hands the collected lines over, or drops them if too many are waiting.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        let before = state.waiting.len();
        let after = before + self.batch.len();
        let mut woken = false;
        if after > MOST {
            state.dropped += lines(&self.batch);
        } else if !state.ended {
            state.waiting.extend_from_slice(&self.batch);
            // Waking is a system call: it is made once for each time that the thread sleeps.
            woken = std::mem::take(&mut state.asleep) || (before < PLENTY && after >= PLENTY);
        }
        self.batch.clear();
        drop(state);
        if woken {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
        self.shared.lock().journals -= 1;
        self.shared.wake.notify_one();
    }
}

impl Writer {
    /// Waits until everything handed over is written, at most `time`.
    ///
    /// # Errors
    /// How many lines were not, if they were not all.
    pub fn finish(&self, time: Duration) -> Result<(), usize> {
        let mut state = self.shared.lock();
        state.hurried = true;
        self.shared.wake.notify_one();
        let unwritten =
            |state: &mut State| !state.ended && (state.taken > 0 || !state.waiting.is_empty());
        let waited = self.shared.done.wait_timeout_while(state, time, unwritten);
        let (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        match timed_out.timed_out() {
            true => Err(state.taken + lines(&state.waiting) + state.dropped),
            false => Ok(()),
        }
    }
}

impl State {
    /// Whether lines may be left to gather.
    fn has_time(&self) -> bool {
        self.waiting.len() < PLENTY && self.journals > 0 && !self.hurried
    }
}

impl Shared {
    /// A panic elsewhere leaves the state whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does.
    fn write(&self, name: &str, gather: Duration, mut out: impl Write) {
        let mut batch = Vec::new();
        while self.take(&mut batch, gather) {
            let written = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            // What a flood has needed is not kept.
            batch.shrink_to(PLENTY);

            // All is said before whoever waits for the last line hears that it is written.
            let dropped = std::mem::take(&mut self.lock().dropped);
            if dropped > 0 {
                warn!("{name} is read too slowly: {dropped} lines were dropped");
            }
            if let Err(error) = &written {
                warn!("{name} cannot be written any more: {error}");
            }
            let mut state = self.lock();
            state.taken = 0;
            state.ended = written.is_err();
            drop(state);
            self.done.notify_all();
            if written.is_err() {
                return;
            }
        }
        self.lock().ended = true;
        self.done.notify_all();
    }

    /// Waits for lines, lets others gather, and takes them all. Whether there are any: otherwise no
    /// more will come.
    fn take(&self, batch: &mut Vec<u8>, gather: Duration) -> bool {
        let mut state = self.lock();
        loop {
            if !gather.is_zero() {
                // Under load this is the one wait, so that the thread wakes once each time.
                let has_time = |state: &mut State| state.has_time();
                let waited = self.wake.wait_timeout_while(state, gather, has_time);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if !state.waiting.is_empty() {
                std::mem::swap(batch, &mut state.waiting);
                state.taken = lines(batch).max(1);
                return true;
            }
            if state.journals == 0 {
                return false;
            }
            state.asleep = true;
            let idle = |state: &mut State| state.waiting.is_empty() && state.journals > 0;
            let waited = self.wake.wait_while(state, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
    }
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Longer than any test.
    const HOUR: Duration = Duration::from_secs(3600);

    const PATIENCE: Duration = Duration::from_secs(10);

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

    /// A journal, its writer, what is written, and the permission for each write.
    fn slow(gather: Duration) -> (Journal, Writer, Receiver<Vec<u8>>, Sender<()>) {
        let (permit, permission) = channel();
        let (written, out) = channel();
        let slow = Slow {
            written,
            permission,
        };
        let (journal, writer) = Journal::new("it", gather, slow).unwrap();
        (journal, writer, out, permit)
    }

    fn say(journal: &mut Journal, line: &str) {
        journal.lines().extend_from_slice(line.as_bytes());
        journal.flush();
    }

    #[test]
    fn lines_are_written_in_order() {
        let (mut journal, writer, out, permit) = slow(Duration::ZERO);
        for line in ["one\n", "two\n"] {
            say(&mut journal, line);
            permit.send(()).unwrap();
        }
        drop(journal);
        assert_eq!(writer.finish(PATIENCE), Ok(()));
        assert_eq!(out.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
    }

    #[test]
    fn lines_gather_until_the_last_journal_is_gone() {
        let (mut journal, writer, out, permit) = slow(HOUR);
        let mut another = journal.another();
        permit.send(()).unwrap();
        journal.lines().extend_from_slice(b"one\n");
        say(&mut another, "two\n");
        say(&mut journal, "three\n");
        drop(journal);
        say(&mut another, "four\n");
        drop(another);
        assert_eq!(writer.finish(PATIENCE), Ok(()));
        let written: Vec<_> = out.iter().collect();
        assert_eq!(written, [b"two\none\nthree\nfour\n"], "with one write");
    }

    #[test]
    fn lines_gather_until_somebody_waits_for_them() {
        let (mut journal, writer, out, permit) = slow(HOUR);
        say(&mut journal, "one\n");
        permit.send(()).unwrap();
        assert_eq!(writer.finish(PATIENCE), Ok(()));
        assert_eq!(out.try_recv().unwrap(), b"one\n");
    }

    #[test]
    fn lines_gather_until_they_are_many() {
        let (mut journal, _writer, out, permit) = slow(HOUR);
        permit.send(()).unwrap();
        let line = "x".repeat(999) + "\n";
        for _ in 0..=PLENTY / line.len() {
            journal.lines().extend_from_slice(line.as_bytes());
        }
        journal.flush();
        assert!(out.recv_timeout(PATIENCE).unwrap().len() >= PLENTY);
    }

    #[test]
    fn what_finds_no_room_wakes_nobody_in_vain() {
        let (mut journal, _writer, out, permit) = slow(Duration::ZERO);
        permit.send(()).unwrap();
        while !journal.shared.lock().asleep {
            thread::yield_now();
        }
        say(&mut journal, &("x".repeat(MOST) + "\n"));
        say(&mut journal, "one\n");
        assert_eq!(out.recv_timeout(PATIENCE).unwrap(), b"one\n");
    }

    #[test]
    fn a_stuck_writer_is_not_waited_for() {
        const LINES: usize = 50_000;
        let (mut journal, writer, out, permit) = slow(Duration::ZERO);
        let line = "x".repeat(99) + "\n";
        say(&mut journal, &line);
        let first = out.recv().unwrap();
        assert_eq!(first, line.as_bytes(), "it is at work, and stuck from here");
        for _ in 0..LINES {
            say(&mut journal, &line);
        }
        assert!(journal.shared.lock().dropped > 0);
        assert!(journal.shared.lock().waiting.len() <= MOST);
        drop(journal);
        let unwritten = writer.finish(Duration::from_millis(1));
        assert_eq!(unwritten, Err(1 + LINES));

        permit.send(()).unwrap();
        permit.send(()).unwrap();
        assert_eq!(writer.finish(PATIENCE), Ok(()), "what waited is written");
        assert_eq!(out.recv().unwrap().len(), MOST / line.len() * line.len());
    }

    #[test]
    fn what_cannot_be_written_is_not_waited_for() {
        let (mut journal, writer, out, permit) = slow(Duration::ZERO);
        drop((out, permit));
        say(&mut journal, "one\n");
        assert_eq!(writer.finish(PATIENCE), Ok(()));
        say(&mut journal, "two\n");
        assert_eq!(writer.finish(PATIENCE), Ok(()));
    }
}
