//! Log lines written by a background thread, which their producers never wait for.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

/// Maximum bytes of queued lines. Lines beyond it are dropped.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of queued lines that are written at once, without waiting for more to gather.
const MIN_IMMEDIATE_BYTES: usize = MAX_QUEUED_BYTES / 4;

/// Bytes of lines from which on a worker hands them over before the end of its turn.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Minimum interval between two warnings of lost lines.
const LOSS_LOG_INTERVAL: Duration = Duration::from_secs(1);

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

#[derive(Debug)]
struct LineQueue {
    /// Name of the sink in messages.
    name: String,
    /// Whether the lines are those messages themselves. Then this thread must not log what it would have to write
    /// itself.
    is_diagnostics: bool,
    state: Mutex<QueueState>,
    /// Notifies the thread of work.
    work: Condvar,
    /// Notifies the threads in [`WriterHandle::finish`] of progress.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    queued: Vec<u8>,
    /// Total of lines written completely.
    written: usize,
    /// Total of lost lines; how many of them have been logged, and when.
    lost: usize,
    reported: (usize, Option<Instant>),
    /// The sink must be reopened.
    reopen_requested: bool,
    /// Lines that the thread has taken from the queue and is writing.
    being_written: usize,
    /// Lines of which only the start is written: at most one.
    partial: usize,
    /// Number of `LineWriter`s, which may hand over more lines.
    writers: usize,
    /// The thread waits for the next line without a timeout.
    is_asleep: bool,
    /// A thread waits in [`WriterHandle::finish`]: lines no longer gather.
    flush_requested: bool,
    /// The thread has ended: nothing more will be written.
    has_ended: bool,
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
                unreported = self.queue.take_unreported(&mut state);
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
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
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

impl QueueState {
    /// Whether lines may still gather.
    fn may_gather(&self) -> bool {
        self.queued.len() < MIN_IMMEDIATE_BYTES
            && self.writers > 0
            && !self.flush_requested
            && !self.reopen_requested
    }

    /// Marks that the thread has ended.
    fn end(&mut self) {
        self.has_ended = true;
        self.lose_partial();
    }

    /// Counts a partly written line as lost.
    fn lose_partial(&mut self) {
        self.lost += std::mem::take(&mut self.partial);
    }
}

/// Writer to a sink that may take only a part of a line, which it completes later.
#[derive(Debug, Default)]
struct PartialLine {
    /// Unwritten rest of a partly written line. It is written before all else, so that no other line is appended to a
    /// part.
    remainder: Vec<u8>,
}

impl PartialLine {
    /// Completes a partly written line, if there is one.
    ///
    /// # Errors
    /// The error of the write.
    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
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
    fn write(&mut self, out: &mut impl Write, text: &[u8]) -> Result<(), (usize, io::Error)> {
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

impl LineQueue {
    fn new(name: &str, is_diagnostics: bool) -> Self {
        Self {
            name: name.to_owned(),
            is_diagnostics,
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
        }
    }

    /// Locks the state. A poisoned lock is ignored: each change is one statement, so a panic leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of lines lost since the last warning, if a warning is due. The clock is read only after lines
    /// were lost.
    fn take_unreported(&self, state: &mut QueueState) -> Option<usize> {
        let (reported, when) = state.reported;
        let unreported = Some(state.lost - reported).filter(|&unreported| unreported > 0)?;
        let now = Instant::now();
        if when.is_some_and(|when| now.duration_since(when) < LOSS_LOG_INTERVAL) {
            return None;
        }
        state.reported = (state.lost, Some(now));
        Some(unreported)
    }

    /// Runs the writer thread.
    fn run(&self, gather: Duration, mut out: impl LineSink) {
        let (mut batch, mut partial) = (Vec::new(), PartialLine::default());
        while let Some(is_reopening) = self.next_batch(&mut batch, gather) {
            // The start of the line was truncated away, so its rest is dropped.
            if !partial.remainder.is_empty() && out.is_truncated() {
                partial.remainder.clear();
                self.lock().lose_partial();
            }
            if is_reopening {
                self.reopen(&mut out, &mut partial);
            }
            let written = partial.write(&mut out, &batch);
            batch.clear();
            // Gives back memory that only a burst of lines needed.
            batch.shrink_to(MIN_IMMEDIATE_BYTES);

            // Warnings are logged before `finish` returns.
            self.record(&written, count_lines(&partial.remainder));
            let mut state = self.lock();
            state.being_written = 0;
            let is_over = matches!(&written, Err((_, error)) if is_broken_pipe(error));
            if is_over {
                state.end();
            }
            drop(state);
            self.progress.notify_all();
            if is_over {
                return;
            }
        }
        self.lock().end();
        self.progress.notify_all();
    }

    fn reopen(&self, out: &mut impl LineSink, partial: &mut PartialLine) {
        match out.reopened() {
            Ok(Some(successor)) => {
                // The line is completed in the old file, or lost.
                let is_ended = partial.end(out).is_ok();
                partial.remainder.clear();
                *out = successor;
                let mut state = self.lock();
                if is_ended {
                    state.written += std::mem::take(&mut state.partial);
                }
                state.lose_partial();
            }
            Ok(None) => {}
            Err(error) => {
                let name = &self.name;
                warn!("cannot reopen {name}: {error}; still writing to the open file");
            }
        }
    }

    /// Counts written and lost lines, and logs a warning if one is due. `partial_lines` is the number of partly written
    /// lines.
    fn record(&self, written: &Result<(), (usize, io::Error)>, partial_lines: usize) {
        let name = &self.name;
        let mut state = self.lock();
        let lost = written.as_ref().map_or_else(|(lost, _)| *lost, |()| 0);
        state.lost += lost;
        state.written += state.partial + state.being_written - lost - partial_lines;
        state.partial = partial_lines;
        // The message would go to the sink that failed.
        if self.is_diagnostics && written.is_err() {
            return;
        }
        let unreported = self.take_unreported(&mut state);
        drop(state);
        match (written, unreported) {
            (Err((_, error)), _) if is_broken_pipe(error) => {
                warn!("cannot write {name}: {error}");
            }
            (Err((_, error)), Some(lost)) => {
                warn!("cannot write {name}: {error}; {lost} lines lost");
            }
            (Ok(()), Some(lost)) => warn!("{name} was read too slowly: {lost} lines dropped"),
            (_, None) => {}
        }
    }

    /// Waits for lines, lets more gather, and takes all; there may be none if the sink must be reopened, which the
    /// result says. `None`: no more lines will come.
    fn next_batch(&self, batch: &mut Vec<u8>, gather: Duration) -> Option<bool> {
        let mut state = self.lock();
        loop {
            if !gather.is_zero() {
                // Under load this is the only wait, so the thread wakes once per batch.
                let has_time = |state: &mut QueueState| state.may_gather();
                let waited = self.work.wait_timeout_while(state, gather, has_time);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_reopening = std::mem::take(&mut state.reopen_requested);
            if is_reopening || !state.queued.is_empty() {
                std::mem::swap(batch, &mut state.queued);
                state.being_written = count_lines(batch);
                return Some(is_reopening);
            }
            if state.writers == 0 {
                return None;
            }
            state.is_asleep = true;
            let idle = |state: &mut QueueState| {
                state.queued.is_empty() && state.writers > 0 && !state.reopen_requested
            };
            let waited = self.work.wait_while(state, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.is_asleep = false;
        }
    }
}

/// Whether the pipe has no reader any more, so that another write is useless.
fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn count_lines(text: &[u8]) -> usize {
    text.iter().filter(|&&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

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

    /// Free bytes of a disk, and the files that had the log's name, of which the last one has it now.
    #[derive(Default)]
    struct FakeDisk {
        room: usize,
        files: Vec<Vec<u8>>,
    }

    /// One of the files, opened.
    #[derive(Clone)]
    struct FakeFile {
        disk: Arc<Mutex<FakeDisk>>,
        file: usize,
    }

    impl FakeFile {
        fn new(room: usize) -> Self {
            let files = vec![Vec::new()];
            Self {
                disk: Arc::new(Mutex::new(FakeDisk { room, files })),
                file: 0,
            }
        }

        fn disk(&self) -> MutexGuard<'_, FakeDisk> {
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
