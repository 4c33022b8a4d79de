//! Lines handed to a thread that writes them, without ever waiting for it.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

/// Bytes of lines that may wait for the thread before lines are dropped.
const MOST: usize = 4 * 1024 * 1024;

/// Bytes of lines that are written at once, without waiting for others to gather.
const PLENTY: usize = MOST / 4;

/// Bytes of lines that a loop hands over before its turn ends.
const HANDFUL: usize = 64 * 1024;

/// How long it is kept quiet about lines that are lost after it was said.
const QUIET: Duration = Duration::from_secs(1);

/// How long what can take nothing just now is left alone.
const PAUSE: Duration = Duration::from_millis(20);

/// Where lines end up. What is written to it is to be there when `write` returns: nothing is to wait in a buffer.
pub trait Out: Write + Send + Sized + 'static {
    /// What has taken its place, if something has.
    ///
    /// # Errors
    /// Why that cannot be opened.
    fn successor(&self) -> io::Result<Option<Self>> {
        Ok(None)
    }

    /// Whether what was written last has been cut off since, by others.
    fn is_cut(&self) -> bool {
        false
    }
}

impl Out for io::Stderr {}

impl Out for io::Sink {}

/// Where one loop's lines are collected until [`flush`](Self::flush).
///
/// What reads them may be slow, or stuck: then lines are dropped and counted, and the loop goes on.
/// Several loops have a journal each, whose lines one thread writes, each line whole.
#[derive(Debug)]
pub struct Journal {
    batch: Vec<u8>,
    shared: Arc<Shared>,
}

/// The writing thread, to wait for, or to be told something.
#[derive(Clone, Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What messages call that which is written to.
    name: String,
    /// Whether the lines are those messages themselves. Then nobody is told what whoever wrote this would have to
    /// write.
    is_diagnostics: bool,
    state: Mutex<State>,
    /// For the thread: there is something to do.
    wake: Condvar,
    /// For whoever waits for the thread: something has been done.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that were written to their end, over all.
    written: usize,
    /// Lines that were lost, over all, and of those how many have been told, and when that was.
    lost: usize,
    told: (usize, Option<Instant>),
    /// What is written to is to be opened again.
    reopens: bool,
    /// Lines that the thread has taken, and is writing.
    taken: usize,
    /// Lines of which only the beginning is written: one, at the most.
    begun: usize,
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
    /// last journal is dropped, or nobody will ever read what it writes (EPIPE). Lines that cannot be written for
    /// another reason, as where a disk is full, are lost, and counted; later ones are written when they can be.
    ///
    /// How many are lost is told at most once a second, while there are any, as a warning.
    ///
    /// Lines `gather` for so long before they are written with one call, so that the thread wakes
    /// `1 / gather` times a second under load, and never while nothing comes; sooner only where they
    /// become many. Zero writes each as soon as it is there.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(name: &str, gather: Duration, out: impl Out) -> io::Result<(Self, Writer)> {
        Self::start(Shared::new(name, false), gather, out)
    }

    /// The same for warnings themselves, which are written one by one. What comes of these is told nobody, unless it
    /// can be.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn of_diagnostics(name: &str, out: impl Out) -> io::Result<(Self, Writer)> {
        Self::start(Shared::new(name, true), Duration::ZERO, out)
    }

    fn start(shared: Shared, gather: Duration, out: impl Out) -> io::Result<(Self, Writer)> {
        let shared = Arc::new(shared);
        let writer = Writer {
            shared: shared.clone(),
        };
        let journal = Self::of(shared.clone());
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || shared.write(gather, out))?;
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

    /// What waits for the thread.
    #[must_use]
    pub fn writer(&self) -> Writer {
        Writer {
            shared: self.shared.clone(),
        }
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
        let mut untold = None;
        if state.ended {
            state.lost += lines(&self.batch);
        } else if after > MOST {
            state.lost += lines(&self.batch);
            // The thread may be stuck, and cannot say so.
            if !self.shared.is_diagnostics {
                untold = self.shared.untold(&mut state);
            }
        } else {
            state.waiting.extend_from_slice(&self.batch);
            // Waking is a system call: it is made once for each time that the thread sleeps.
            woken = std::mem::take(&mut state.asleep) || (before < PLENTY && after >= PLENTY);
        }
        self.batch.clear();
        drop(state);
        if woken {
            self.shared.wake.notify_one();
        }
        if let Some(lost) = untold {
            let name = &self.shared.name;
            warn!("{name} is read too slowly: {lost} lines were dropped");
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
    /// How many lines were lost since it began, if any were. Those that are still waiting count, and so do those that
    /// are being written, although some of them may have been.
    pub fn finish(&self, time: Duration) -> Result<(), usize> {
        let mut state = self.shared.lock();
        state.hurried = true;
        self.shared.wake.notify_one();
        let unwritten =
            |state: &mut State| !state.ended && (state.taken > 0 || !state.waiting.is_empty());
        let waited = self.shared.done.wait_timeout_while(state, time, unwritten);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match state.lost + state.begun + state.taken + lines(&state.waiting) {
            0 => Ok(()),
            lost => Err(lost),
        }
    }

    /// How many lines were written, and how many were lost. One that was begun is neither, until it is one of the two,
    /// so that none of these numbers ever becomes less.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.written, state.lost)
    }

    /// Has the thread go on with what has taken the place of what it writes to ([`Out::successor`]), at once or when
    /// it has written what it has. A line that was begun is ended where it was begun, or lost.
    pub fn reopen(&self) {
        let mut state = self.shared.lock();
        state.reopens = true;
        state.asleep = false;
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl State {
    /// Whether lines may be left to gather.
    fn has_time(&self) -> bool {
        self.waiting.len() < PLENTY && self.journals > 0 && !self.hurried && !self.reopens
    }

    /// Nothing more will be written.
    fn end(&mut self) {
        self.ended = true;
        self.lose_begun();
    }

    /// What was begun will not be ended.
    fn lose_begun(&mut self) {
        self.lost += std::mem::take(&mut self.begun);
    }
}

/// Lines on their way into what may take a part of them only.
#[derive(Debug, Default)]
struct Course {
    /// What is left of a line that was begun. It is written first of all, so that nothing stands behind a beginning.
    rest: Vec<u8>,
}

impl Course {
    /// Ends a line that was begun, if one was.
    ///
    /// # Errors
    /// Why it could not.
    fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Err((left, error)) = write_all(out, &self.rest) {
            self.rest = left.to_vec();
            return Err(error);
        }
        self.rest.clear();
        Ok(())
    }

    /// Writes these lines, each with its newline.
    ///
    /// # Errors
    /// Why not all could be written, and how many were not, without one that was begun and is left to be ended.
    fn write(&mut self, out: &mut impl Write, text: &[u8]) -> Result<(), (usize, io::Error)> {
        self.end(out).map_err(|error| (lines(text), error))?;
        write_all(out, text).map_err(|(left, error)| {
            let written = &text[..text.len() - left.len()];
            if written.last().is_some_and(|&byte| byte != b'\n') {
                self.rest.extend(
                    left.split_inclusive(|&byte| byte == b'\n')
                        .next()
                        .unwrap_or_default(),
                );
            }
            (lines(&left[self.rest.len()..]), error)
        })
    }
}

/// Writes all of this, however long that takes.
///
/// # Errors
/// What is left, and why it cannot be written.
fn write_all<'a>(out: &mut impl Write, mut left: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
    while !left.is_empty() {
        match out.write(left) {
            Ok(0) => return Err((left, io::ErrorKind::WriteZero.into())),
            Ok(count) => left = &left[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Somebody has it not block, who shares it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err((left, error)),
        }
    }
    Ok(())
}

impl Shared {
    fn new(name: &str, is_diagnostics: bool) -> Self {
        Self {
            name: name.to_owned(),
            is_diagnostics,
            state: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
        }
    }

    /// A panic elsewhere leaves the state whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines were lost since that was last said, if it is to be said now: the clock is read only where
    /// lines are lost.
    fn untold(&self, state: &mut State) -> Option<usize> {
        let (told, when) = state.told;
        let untold = Some(state.lost - told).filter(|&untold| untold > 0)?;
        let now = Instant::now();
        if when.is_some_and(|when| now.duration_since(when) < QUIET) {
            return None;
        }
        state.told = (state.lost, Some(now));
        Some(untold)
    }

    /// What the thread does.
    fn write(&self, gather: Duration, mut out: impl Out) {
        let (mut batch, mut course) = (Vec::new(), Course::default());
        while let Some(reopens) = self.take(&mut batch, gather) {
            // The end of a line would be nothing where its beginning is not.
            if !course.rest.is_empty() && out.is_cut() {
                course.rest.clear();
                self.lock().lose_begun();
            }
            if reopens {
                self.reopen(&mut out, &mut course);
            }
            let written = course.write(&mut out, &batch);
            batch.clear();
            // What a flood has needed is not kept.
            batch.shrink_to(PLENTY);

            // All is said before whoever waits for the last line hears that it is written.
            self.tell(&written, lines(&course.rest));
            let mut state = self.lock();
            state.taken = 0;
            let is_over = matches!(&written, Err((_, error)) if is_final(error));
            if is_over {
                state.end();
            }
            drop(state);
            self.done.notify_all();
            if is_over {
                return;
            }
        }
        self.lock().end();
        self.done.notify_all();
    }

    fn reopen(&self, out: &mut impl Out, course: &mut Course) {
        match out.successor() {
            Ok(Some(successor)) => {
                // Here, or nowhere.
                let is_ended = course.end(out).is_ok();
                course.rest.clear();
                *out = successor;
                let mut state = self.lock();
                if is_ended {
                    state.written += std::mem::take(&mut state.begun);
                }
                state.lose_begun();
            }
            Ok(None) => {}
            Err(error) => {
                let name = &self.name;
                warn!("{name} cannot be opened again, and is written to as it was: {error}");
            }
        }
    }

    /// Counts what was written and what was lost, and says so, if it is to be said now. So many lines are `begun`.
    fn tell(&self, written: &Result<(), (usize, io::Error)>, begun: usize) {
        let name = &self.name;
        let mut state = self.lock();
        let lost = written.as_ref().map_or_else(|(lost, _)| *lost, |()| 0);
        state.lost += lost;
        state.written += state.begun + state.taken - lost - begun;
        state.begun = begun;
        // A message would go where this could not.
        if self.is_diagnostics && written.is_err() {
            return;
        }
        let untold = self.untold(&mut state);
        drop(state);
        match (written, untold) {
            (Err((_, error)), _) if is_final(error) => {
                warn!("{name} cannot be written any more: {error}");
            }
            (Err((_, error)), Some(lost)) => {
                warn!("{name} cannot be written: {error}; {lost} lines were lost");
            }
            (Ok(()), Some(lost)) => warn!("{name} was read too slowly: {lost} lines were dropped"),
            (_, None) => {}
        }
    }

    /// Waits for lines, lets others gather, and takes them all, or none where what is written to is to be opened
    /// again, which is what this says. `None`: no more will come.
    fn take(&self, batch: &mut Vec<u8>, gather: Duration) -> Option<bool> {
        let mut state = self.lock();
        loop {
            if !gather.is_zero() {
                // Under load this is the one wait, so that the thread wakes once each time.
                let has_time = |state: &mut State| state.has_time();
                let waited = self.wake.wait_timeout_while(state, gather, has_time);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let reopens = std::mem::take(&mut state.reopens);
            if reopens || !state.waiting.is_empty() {
                std::mem::swap(batch, &mut state.waiting);
                state.taken = lines(batch);
                return Some(reopens);
            }
            if state.journals == 0 {
                return None;
            }
            state.asleep = true;
            let idle = |state: &mut State| {
                state.waiting.is_empty() && state.journals > 0 && !state.reopens
            };
            let waited = self.wake.wait_while(state, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.asleep = false;
        }
    }
}

/// Whether nobody will ever read what is written, so that it need not be tried again.
fn is_final(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
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

    impl Out for Slow {}

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
        assert!(journal.shared.lock().lost > 0);
        assert!(journal.shared.lock().waiting.len() <= MOST);
        drop(journal);
        let unwritten = writer.finish(Duration::from_millis(1));
        assert_eq!(unwritten, Err(1 + LINES));

        permit.send(()).unwrap();
        permit.send(()).unwrap();
        let fitting = MOST / line.len();
        let lost = Err(LINES - fitting);
        assert_eq!(writer.finish(PATIENCE), lost, "what waited is written");
        assert_eq!(out.recv().unwrap().len(), fitting * line.len());
    }

    #[test]
    fn what_cannot_be_written_is_not_waited_for() {
        let (mut journal, writer, out, permit) = slow(Duration::ZERO);
        drop((out, permit));
        say(&mut journal, "one\n");
        assert_eq!(writer.finish(PATIENCE), Err(1));
        say(&mut journal, "two\n");
        assert_eq!(writer.finish(PATIENCE), Err(2));
    }

    /// How many bytes there is room for, and the files, of which the last one has the name.
    #[derive(Default)]
    struct Disk {
        room: usize,
        files: Vec<Vec<u8>>,
    }

    /// One of the files, open.
    #[derive(Clone)]
    struct Open {
        disk: Arc<Mutex<Disk>>,
        file: usize,
    }

    impl Open {
        fn new(room: usize) -> Self {
            let files = vec![Vec::new()];
            Self {
                disk: Arc::new(Mutex::new(Disk { room, files })),
                file: 0,
            }
        }

        fn disk(&self) -> MutexGuard<'_, Disk> {
            self.disk.lock().unwrap()
        }
    }

    impl Write for Open {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.disk();
            // As slowly as can be.
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

    impl Out for Open {
        fn successor(&self) -> io::Result<Option<Self>> {
            let disk = self.disk.clone();
            let file = self.disk().files.len() - 1;
            Ok((file > self.file).then_some(Self { disk, file }))
        }
    }

    #[test]
    fn a_line_that_was_begun_is_ended_when_there_is_room_again() {
        const TEXT: &[u8] = b"one\ntwo\nthree\n";
        const NEXT: &[u8] = b"four\nfive\n";
        for room in 0..TEXT.len() + NEXT.len() {
            let mut file = Open::new(0);
            let mut course = Course::default();
            let mut lost = 0;
            for (text, room) in [(TEXT, room), (NEXT, 1), (b"six\n", 1000)] {
                file.disk().room += room;
                lost += course
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
    fn a_line_is_counted_when_it_is_ended_or_lost() {
        let file = Open::new(0);
        let (mut journal, writer) = Journal::new("it", Duration::ZERO, file.clone()).unwrap();
        let mut check = |room: usize, line: &str, unwritten: usize, counts: (usize, usize)| {
            file.disk().room = room;
            say(&mut journal, line);
            let finished = writer.finish(PATIENCE);
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

    /// What is in the files, when a line was begun, and this happened before it was opened again.
    fn reopened(happens: impl Fn(&mut Disk), counts: (usize, usize), expected: &[&str]) {
        let file = Open::new(6);
        let (mut journal, writer) = Journal::new("it", Duration::ZERO, file.clone()).unwrap();
        say(&mut journal, "one\ntwo\nthree\n");
        assert_eq!(writer.finish(PATIENCE), Err(2), "one may still be ended");
        happens(&mut file.disk());
        writer.reopen();
        eventually(|| !journal.shared.lock().reopens && writer.counts() == counts);
        file.disk().room = 1000;
        say(&mut journal, "four\n");
        let _ = writer.finish(PATIENCE);
        let (written, lost) = writer.counts();
        assert_eq!(written + lost, 4);
        let texts: Vec<_> = file.disk().files.iter().map(Vec::clone).collect();
        let texts: Vec<_> = texts.into_iter().map(String::from_utf8).collect();
        let expected: Vec<_> = expected.iter().map(|&text| Ok(text.into())).collect();
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_line_that_was_begun_is_ended_where_nothing_has_taken_its_place() {
        reopened(|_| {}, (1, 1), &["one\ntwo\nfour\n"]);
    }

    #[test]
    fn a_line_that_was_begun_is_ended_before_another_file_is_written_to() {
        let moved_and_emptied = |disk: &mut Disk| {
            disk.files.push(Vec::new());
            disk.room = 1000;
        };
        reopened(moved_and_emptied, (2, 1), &["one\ntwo\n", "four\n"]);
    }

    #[test]
    fn another_file_begins_with_a_line() {
        let moved = |disk: &mut Disk| disk.files.push(Vec::new());
        reopened(moved, (1, 2), &["one\ntw", "four\n"]);
    }
}
