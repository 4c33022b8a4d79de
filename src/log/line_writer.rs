//! Lines of one worker on their way to the writer thread, which no worker waits for.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing::warn;

use super::sink::{LineSink, count_lines};
use super::writer_thread::{LineQueue, MAX_QUEUED_BYTES, MIN_IMMEDIATE_BYTES, QueueState};
use crate::sync::unpoisoned;

/// Bytes of lines from which on a worker hands them over before the end of its turn.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Buffer of one worker's lines until [`flush`](Self::flush).
///
/// If the reader of the sink is slow or stuck, lines are dropped and counted, and the worker goes on. Each worker has
/// its own `LineWriter`; one thread writes the lines of all, each line whole.
#[derive(Debug)]
pub struct LineWriter {
    batch: Vec<u8>,
    queue: Arc<LineQueue>,
}

/// Handle of the writer thread: waits for it, reads its counters, and makes it reopen its sink.
#[derive(Clone, Debug)]
pub struct WriterHandle {
    queue: Arc<LineQueue>,
}

impl LineWriter {
    /// Starts a thread that writes to `out`, which messages call `name`. The thread ends when the last `LineWriter` is
    /// dropped, or when the pipe has no reader any more (EPIPE). Lines that cannot be written for another reason, such
    /// as a full disk, are lost and counted; later lines are written when that is possible again.
    ///
    /// A warning with the number of lost lines is logged at most once a second.
    ///
    /// Lines `gather` for this time and are then written with one system call, so that the thread wakes `1 / gather`
    /// times a second under load, and never without lines. Many lines are written earlier. Zero writes each at once.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(
        name: &str,
        gather: Duration,
        out: impl LineSink,
    ) -> io::Result<(Self, WriterHandle)> {
        Self::start(LineQueue::new(name, false), gather, out)
    }

    /// Starts a thread that writes diagnostics, each at once. Its own write errors are not logged, as the message would
    /// go to the sink that failed.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn for_diagnostics(name: &str, out: impl LineSink) -> io::Result<(Self, WriterHandle)> {
        Self::start(LineQueue::new(name, true), Duration::ZERO, out)
    }

    fn start(
        shared: LineQueue,
        gather: Duration,
        out: impl LineSink,
    ) -> io::Result<(Self, WriterHandle)> {
        let shared = Arc::new(shared);
        let writer = WriterHandle {
            queue: shared.clone(),
        };
        let line_writer = Self::attach(shared.clone());
        thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || shared.run(gather, out))?;
        Ok((line_writer, writer))
    }

    fn attach(shared: Arc<LineQueue>) -> Self {
        shared.lock().writers += 1;
        Self {
            batch: Vec::new(),
            queue: shared,
        }
    }

    /// Creates a `LineWriter` of the same thread, for another worker.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::attach(self.queue.clone())
    }

    /// Returns a handle of the writer thread.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        WriterHandle {
            queue: self.queue.clone(),
        }
    }

    /// Returns the collected lines, to which a line with its newline can be appended.
    pub fn batch(&mut self) -> &mut Vec<u8> {
        // Bounds the buffer, however many lines one turn has.
        if self.batch.len() > MAX_BATCH_BYTES {
            self.flush();
        }
        &mut self.batch
    }

    /// Hands the collected lines over to the thread, or drops them if the queue is full.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let mut state = self.queue.lock();
        let before = state.queued.len();
        let after = before + self.batch.len();
        let mut woken = false;
        let mut unreported = None;
        if state.has_ended {
            state.lost += count_lines(&self.batch);
        } else if after > MAX_QUEUED_BYTES {
            state.lost += count_lines(&self.batch);
            // The thread may be stuck in a write, so the warning is logged here.
            if !self.queue.is_diagnostics {
                unreported = state.take_unreported();
            }
        } else {
            state.queued.extend_from_slice(&self.batch);
            // Waking the thread is a system call, made once each time it sleeps.
            woken = std::mem::take(&mut state.is_asleep)
                || (before < MIN_IMMEDIATE_BYTES && after >= MIN_IMMEDIATE_BYTES);
        }
        self.batch.clear();
        drop(state);
        if woken {
            self.queue.work.notify_one();
        }
        if let Some(lost) = unreported {
            let name = &self.queue.name;
            warn!("{name} is read too slowly: {lost} lines dropped");
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.flush();
        self.queue.lock().writers -= 1;
        self.queue.work.notify_one();
    }
}

impl WriterHandle {
    /// Waits until everything handed over is written, for at most `time`.
    ///
    /// # Errors
    /// The number of lines lost since the start. Lines that are still queued or being written count as lost, although
    /// some of the latter may be written.
    pub fn finish(&self, time: Duration) -> Result<(), usize> {
        let mut state = self.queue.lock();
        state.flush_requested = true;
        self.queue.work.notify_one();
        let unwritten = |state: &mut QueueState| {
            !state.has_ended && (state.being_written > 0 || !state.queued.is_empty())
        };
        let waited = self
            .queue
            .progress
            .wait_timeout_while(state, time, unwritten);
        let (state, _) = unpoisoned(waited);
        match state.lost + state.partial + state.being_written + count_lines(&state.queued) {
            0 => Ok(()),
            lost => Err(lost),
        }
    }

    /// Returns the number of written and of lost lines. A partly written line counts when it is completed or lost, so
    /// that neither number ever decreases.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.queue.lock();
        (state.written, state.lost)
    }

    /// Makes the thread reopen its sink ([`LineSink::reopened`]), at once or after the lines that it is writing. A
    /// partly written line is completed in the old file, or lost.
    pub fn reopen(&self) {
        let mut state = self.queue.lock();
        state.reopen_requested = true;
        state.is_asleep = false;
        drop(state);
        self.queue.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::sink::tests::{FakeDisk, FakeFile};
    use super::*;

    /// A time longer than any test.
    const HOUR: Duration = Duration::from_secs(3600);

    const TIMEOUT: Duration = Duration::from_secs(10);

    struct SlowSink {
        written: Sender<Vec<u8>>,
        permission: Receiver<()>,
    }

    impl Write for SlowSink {
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

    impl LineSink for SlowSink {}

    /// Creates a writer, its handle, a receiver of what is written, and a sender that permits one write each.
    fn slow(gather: Duration) -> (LineWriter, WriterHandle, Receiver<Vec<u8>>, Sender<()>) {
        let (permit, permission) = channel();
        let (written, out) = channel();
        let slow = SlowSink {
            written,
            permission,
        };
        let (line_writer, writer) = LineWriter::new("it", gather, slow).unwrap();
        (line_writer, writer, out, permit)
    }

    fn write_line(line_writer: &mut LineWriter, line: &str) {
        line_writer.batch().extend_from_slice(line.as_bytes());
        line_writer.flush();
    }

    #[test]
    fn lines_are_written_in_order() {
        let (mut line_writer, writer, out, permit) = slow(Duration::ZERO);
        for line in ["one\n", "two\n"] {
            write_line(&mut line_writer, line);
            permit.send(()).unwrap();
        }
        drop(line_writer);
        assert_eq!(writer.finish(TIMEOUT), Ok(()));
        assert_eq!(out.iter().collect::<Vec<_>>().concat(), b"one\ntwo\n");
    }

    #[test]
    fn lines_gather_until_last_writer_is_dropped() {
        let (mut line_writer, writer, out, permit) = slow(HOUR);
        let mut another = line_writer.duplicate();
        permit.send(()).unwrap();
        line_writer.batch().extend_from_slice(b"one\n");
        write_line(&mut another, "two\n");
        write_line(&mut line_writer, "three\n");
        drop(line_writer);
        write_line(&mut another, "four\n");
        drop(another);
        assert_eq!(writer.finish(TIMEOUT), Ok(()));
        let written: Vec<_> = out.iter().collect();
        assert_eq!(written, [b"two\none\nthree\nfour\n"], "in one write");
    }

    #[test]
    fn finish_writes_gathered_lines() {
        let (mut line_writer, writer, out, permit) = slow(HOUR);
        write_line(&mut line_writer, "one\n");
        permit.send(()).unwrap();
        assert_eq!(writer.finish(TIMEOUT), Ok(()));
        assert_eq!(out.try_recv().unwrap(), b"one\n");
    }

    #[test]
    fn lines_gather_up_to_a_size() {
        let (mut line_writer, _writer, out, permit) = slow(HOUR);
        permit.send(()).unwrap();
        let line = "x".repeat(999) + "\n";
        for _ in 0..=MIN_IMMEDIATE_BYTES / line.len() {
            line_writer.batch().extend_from_slice(line.as_bytes());
        }
        line_writer.flush();
        assert!(out.recv_timeout(TIMEOUT).unwrap().len() >= MIN_IMMEDIATE_BYTES);
    }

    #[test]
    fn dropped_line_does_not_wake_writer_thread() {
        let (mut line_writer, _writer, out, permit) = slow(Duration::ZERO);
        permit.send(()).unwrap();
        while !line_writer.queue.lock().is_asleep {
            thread::yield_now();
        }
        write_line(&mut line_writer, &("x".repeat(MAX_QUEUED_BYTES) + "\n"));
        write_line(&mut line_writer, "one\n");
        assert_eq!(out.recv_timeout(TIMEOUT).unwrap(), b"one\n");
    }

    #[test]
    fn stuck_sink_drops_lines_without_blocking() {
        const LINES: usize = 50_000;
        let (mut line_writer, writer, out, permit) = slow(Duration::ZERO);
        let line = "x".repeat(99) + "\n";
        write_line(&mut line_writer, &line);
        let first = out.recv().unwrap();
        assert_eq!(
            first,
            line.as_bytes(),
            "the thread is writing, and stuck in it"
        );
        for _ in 0..LINES {
            write_line(&mut line_writer, &line);
        }
        assert!(line_writer.queue.lock().lost > 0);
        assert!(line_writer.queue.lock().queued.len() <= MAX_QUEUED_BYTES);
        drop(line_writer);
        let unwritten = writer.finish(Duration::from_millis(1));
        assert_eq!(unwritten, Err(1 + LINES));

        permit.send(()).unwrap();
        permit.send(()).unwrap();
        let fitting = MAX_QUEUED_BYTES / line.len();
        let lost = Err(LINES - fitting);
        assert_eq!(writer.finish(TIMEOUT), lost, "queued lines are written");
        assert_eq!(out.recv().unwrap().len(), fitting * line.len());
    }

    #[test]
    fn lines_to_a_closed_sink_are_lost() {
        let (mut line_writer, writer, out, permit) = slow(Duration::ZERO);
        drop((out, permit));
        write_line(&mut line_writer, "one\n");
        assert_eq!(writer.finish(TIMEOUT), Err(1));
        write_line(&mut line_writer, "two\n");
        assert_eq!(writer.finish(TIMEOUT), Err(2));
    }

    #[test]
    fn line_is_counted_when_complete_or_lost() {
        let file = FakeFile::new(0);
        let (mut line_writer, writer) =
            LineWriter::new("it", Duration::ZERO, file.clone()).unwrap();
        let mut check = |room: usize, line: &str, unwritten: usize, counts: (usize, usize)| {
            file.disk().room = room;
            write_line(&mut line_writer, line);
            let finished = writer.finish(TIMEOUT);
            assert_eq!(finished.err().unwrap_or_default(), unwritten, "{line}");
            assert_eq!(writer.counts(), counts, "{line}");
        };
        check(1000, "one\n", 0, (1, 0));
        check(6, "two\nthree\nfour\n", 2, (2, 1));
        check(1, "five\n", 3, (2, 2));
        check(1000, "six\n", 2, (4, 2));
        check(1, "seven\n", 3, (4, 2));
        file.disk().files.push(Vec::new());
        writer.reopen();
        eventually(|| writer.counts() == (4, 3));
        check(1000, "eight\n", 3, (5, 3));
    }

    fn eventually(condition: impl Fn() -> bool) {
        while !condition() {
            thread::yield_now();
        }
    }

    /// Checks the content of the files when `change` happens between a partial write and the reopening.
    fn check_reopen(change: impl Fn(&mut FakeDisk), counts: (usize, usize), expected: &[&str]) {
        let file = FakeFile::new(6);
        let (mut line_writer, writer) =
            LineWriter::new("it", Duration::ZERO, file.clone()).unwrap();
        write_line(&mut line_writer, "one\ntwo\nthree\n");
        assert_eq!(
            writer.finish(TIMEOUT),
            Err(2),
            "the partly written line may still be completed"
        );
        change(&mut file.disk());
        writer.reopen();
        eventually(|| !line_writer.queue.lock().reopen_requested && writer.counts() == counts);
        file.disk().room = 1000;
        write_line(&mut line_writer, "four\n");
        let _ = writer.finish(TIMEOUT);
        let (written, lost) = writer.counts();
        assert_eq!(written + lost, 4);
        let texts: Vec<_> = file.disk().files.iter().map(Vec::clone).collect();
        let texts: Vec<_> = texts.into_iter().map(String::from_utf8).collect();
        let expected: Vec<_> = expected.iter().map(|&text| Ok(text.into())).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn partial_line_is_lost_when_same_file_is_full() {
        check_reopen(|_| {}, (1, 1), &["one\ntwo\nfour\n"]);
    }

    #[test]
    fn partial_line_is_completed_before_switching_files() {
        let moved_and_emptied = |disk: &mut FakeDisk| {
            disk.files.push(Vec::new());
            disk.room = 1000;
        };
        check_reopen(moved_and_emptied, (2, 1), &["one\ntwo\n", "four\n"]);
    }

    #[test]
    fn new_file_starts_with_a_whole_line() {
        let moved = |disk: &mut FakeDisk| disk.files.push(Vec::new());
        check_reopen(moved, (1, 2), &["one\ntw", "four\n"]);
    }
}
