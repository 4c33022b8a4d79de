//! What is encoded while it is being served, by threads beside the loops.
//!
//! Nobody waits for it: a loop asks what is known, sends the file as it is as long as nothing is, and has it made for
//! whoever comes later. What was made is shared by all loops.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tracing::{debug, warn};

use super::disk::SEALED;
use super::encoding::{AtMost, Effort, encode};
use crate::blob::{Blob, Version};
use crate::http::Coding;

/// Bytes of content below which there is little to save.
pub(super) const LEAST: u64 = 1024;

/// Bytes of content above which nothing is remembered, and so nothing made.
const MOST: u64 = SEALED;

/// Jobs that may wait. Each holds its content, and with it perhaps a descriptor.
const QUEUE: usize = 32;

/// Bytes that an entry costs beside its path and its content, roughly.
const ENTRY: usize = 256;

/// A pool of threads that encode, and what they have made. A clone is the same pool; with the last one the threads
/// end, as soon as they have put away what they have in hand.
#[derive(Clone)]
pub struct Compressor {
    pool: Arc<Pool>,
}

/// What is known of a file's form in a coding.
#[derive(Clone, Debug)]
pub enum Form {
    /// It is there, in memory.
    Made(Blob),
    /// It is being made, or will be soon.
    Making,
    /// It is not worth having: shorter than 1 KiB, longer than 2 MiB, a tenth is not saved, or it would take
    /// more than a quarter of the budget.
    Unworthy,
    /// Nothing.
    Unknown,
}

/// What ends the threads when it is dropped.
struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// For the threads: there is something to do.
    work: Condvar,
    /// For tests: something has been done.
    #[cfg(test)]
    done: Condvar,
    closed: AtomicBool,
    budget: usize,
    encode: Box<Encode>,
}

/// Takes so many bytes of content, and gives them encoded.
type Encode = dyn Fn(Coding, u64, &mut dyn Read, &mut dyn Write) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct State {
    entries: HashMap<Arc<[u8]>, Entry>,
    /// The same paths, each once: whose turn it is to be forgotten.
    turns: VecDeque<Arc<[u8]>>,
    /// Bytes that all entries cost.
    used: usize,
    waiting: VecDeque<(Key, Blob)>,
    /// What waits, and what a thread has in hand.
    begun: Vec<(Key, Stage)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    InHand,
    /// In a thread's hand, but another version was asked for since.
    Unwanted,
}

/// All that is known of one file.
struct Entry {
    version: Version,
    results: [Option<Made>; 3],
    /// Whether anybody asked since its last turn.
    is_wanted: bool,
}

#[derive(Clone)]
enum Made {
    Form(Blob),
    Unworthy,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    path: Arc<[u8]>,
    version: Version,
    coding: Coding,
}

impl Compressor {
    /// Starts so many threads. What they have made may take `budget` bytes in memory; beyond that, what nobody has
    /// asked for lately is forgotten.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(threads: NonZeroUsize, budget: usize) -> io::Result<Self> {
        let quick = |coding, len, mut input: &mut dyn Read, mut output: &mut dyn Write| {
            encode(coding, Effort::Quick, len, &mut input, &mut output)
        };
        Self::with(threads, budget, Box::new(quick))
    }

    fn with(threads: NonZeroUsize, budget: usize, encode: Box<Encode>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            #[cfg(test)]
            done: Condvar::new(),
            closed: AtomicBool::new(false),
            budget,
            encode,
        });
        // Those that were started end if another one cannot be.
        let pool = Arc::new(Pool {
            shared: shared.clone(),
        });
        for _ in 0..threads.get() {
            let shared = shared.clone();
            thread::Builder::new()
                .name("compressor".into())
                .spawn(move || shared.work())?;
        }
        Ok(Self { pool })
    }

    /// What is known of this version of a file, by its path below the root, in a coding. A lock is held for
    /// a look-up.
    #[must_use]
    pub fn form(&self, path: &[u8], version: &Version, coding: Coding) -> Form {
        let Some(place) = place(coding) else {
            return Form::Unworthy;
        };
        let mut state = self.pool.shared.lock();
        if let Some(entry) = state.entries.get_mut(path)
            && entry.version == *version
            && let Some(made) = &entry.results[place]
        {
            entry.is_wanted = true;
            return match made {
                Made::Form(blob) => Form::Made(blob.clone()),
                Made::Unworthy => Form::Unworthy,
            };
        }
        match state.is_begun(path, version, coding) {
            true => Form::Making,
            false => Form::Unknown,
        }
    }

    /// Has it made, unless that is done, or begun, or much else is waiting. The `content` is of this version; an
    /// open file is looked at again before and after it is read. One that has not been left alone for a while
    /// is not begun with: it may be written to at this moment, and nothing would tell.
    ///
    /// What is known of any other version of the file is forgotten.
    pub fn make(&self, path: &[u8], version: &Version, coding: Coding, content: Blob) {
        let Some(place) = place(coding) else {
            return;
        };
        let shared = &self.pool.shared;
        let mut state = shared.lock();
        state.forget_others(path, version);
        let known = state.entries.get(path);
        let is_known = known.is_some_and(|entry| entry.results[place].is_some());
        if is_known || state.is_begun(path, version, coding) {
            return;
        }
        let key = Key {
            path: path.into(),
            version: *version,
            coding,
        };
        let is_steady = !matches!(
            content,
            Blob::File {
                is_steady: false,
                ..
            }
        );
        if !(LEAST..=MOST).contains(&content.len()) {
            state.keep(key, Made::Unworthy, shared.budget);
        } else if is_steady && state.waiting.len() < QUEUE {
            state.begun.push((key.clone(), Stage::Waiting));
            state.waiting.push_back((key, content));
            drop(state);
            shared.work.notify_one();
        }
    }

    /// How many files wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.shared.lock().waiting.len()
    }

    /// Waits until nothing is begun.
    #[cfg(test)]
    fn wait_idle(&self) {
        let shared = &self.pool.shared;
        let busy = |state: &mut State| !state.begun.is_empty();
        let waited = shared.done.wait_while(shared.lock(), busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.pool.shared.lock();
        f.debug_struct("Compressor")
            .field("budget", &self.pool.shared.budget)
            .field("used", &state.used)
            .field("begun", &state.begun.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Under the lock, so that no thread falls asleep between its look and its wait.
        let mut state = self.shared.lock();
        self.shared.closed.store(true, Ordering::Relaxed);
        state.waiting.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

impl Shared {
    /// A panic elsewhere leaves the state usable: what it counts may be off by one entry.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does.
    fn work(&self) {
        while let Some((key, content)) = self.take() {
            let made = catch_unwind(AssertUnwindSafe(|| self.encoded(&key, &content)));
            drop(content);
            let path = String::from_utf8_lossy(&key.path);
            let name = key.coding.name();
            let result = match made {
                Ok(Ok(made)) => Some(made),
                // It can be tried again.
                Ok(Err(error)) => {
                    debug!("/{path} is not made in {name}: {error}");
                    None
                }
                Err(_) => {
                    warn!("/{path} is not sent in {name}: encoding it failed");
                    Some(Made::Unworthy)
                }
            };
            let mut state = self.lock();
            let is_wanted = state.end(&key);
            if let Some(result) = result
                && is_wanted
            {
                state.keep(key, result, self.budget);
            }
            drop(state);
            #[cfg(test)]
            self.done.notify_all();
        }
    }

    /// Waits for a job; `None` if no more will come.
    fn take(&self) -> Option<(Key, Blob)> {
        let idle = |state: &mut State| state.waiting.is_empty() && !self.is_closed();
        let waited = self.work.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop_front()?;
        let mut begun = state.begun.iter_mut();
        if let Some((_, stage)) = begun.find(|(key, _)| *key == job.0) {
            *stage = Stage::InHand;
        }
        Some(job)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn encoded(&self, key: &Key, content: &Blob) -> io::Result<Made> {
        let len = content.len();
        let mut output = AtMost {
            output: Vec::new(),
            room: (len - len.div_ceil(10)).min(self.budget as u64 / 4),
        };
        let mut input = Input {
            content,
            offset: 0,
            shared: self,
        };
        still(content, &key.version)?;
        let encoded = (self.encode)(key.coding, len, &mut input, &mut output);
        still(content, &key.version)?;
        match encoded {
            Err(error) if AtMost::<()>::is_why(&error) => Ok(Made::Unworthy),
            encoded => encoded.map(|()| Made::Form(output.output.into())),
        }
    }
}

impl State {
    fn is_begun(&self, path: &[u8], version: &Version, coding: Coding) -> bool {
        self.begun
            .iter()
            .any(|(key, _)| *key.path == *path && key.version == *version && key.coding == coding)
    }

    /// It is no longer begun. Whether it is still wanted.
    fn end(&mut self, key: &Key) -> bool {
        let place = self.begun.iter().position(|(begun, _)| begun == key);
        place.is_some_and(|place| self.begun.swap_remove(place).1 == Stage::InHand)
    }

    /// Forgets what is known, and what is begun, of other versions of a file.
    fn forget_others(&mut self, path: &[u8], version: &Version) {
        if let Some(entry) = self.entries.get_mut(path)
            && entry.version != *version
        {
            self.used -= entry.made();
            entry.version = *version;
            entry.results = Default::default();
        }
        let is_other = |key: &Key| *key.path == *path && key.version != *version;
        self.waiting.retain(|(key, _)| !is_other(key));
        self.begun
            .retain(|(key, stage)| !is_other(key) || *stage != Stage::Waiting);
        for (_, stage) in self.begun.iter_mut().filter(|(key, _)| is_other(key)) {
            *stage = Stage::Unwanted;
        }
    }

    /// Remembers a result, if it is not of an earlier version than what is known, and forgets others for it.
    fn keep(&mut self, key: Key, result: Made, budget: usize) {
        let Some(place) = place(key.coding) else {
            return;
        };
        let State {
            entries,
            turns,
            used,
            ..
        } = self;
        let entry = entries.entry(key.path.clone()).or_insert_with(|| {
            *used += cost(&key.path);
            turns.push_back(key.path);
            Entry {
                version: key.version,
                results: Default::default(),
                is_wanted: false,
            }
        });
        // Somebody asked for another one while this was made.
        if entry.version != key.version {
            return;
        }
        *used -= entry.made();
        entry.results[place] = Some(result);
        *used += entry.made();
        self.forget_until(budget);
    }

    /// Forgets what nobody asked for since its last turn, until all fits into the budget.
    fn forget_until(&mut self, budget: usize) {
        while self.used > budget
            && let Some(path) = self.turns.pop_front()
        {
            match self.entries.get_mut(&path) {
                Some(entry) if entry.is_wanted => {
                    entry.is_wanted = false;
                    self.turns.push_back(path);
                }
                Some(entry) => {
                    self.used -= entry.made() + cost(&path);
                    self.entries.remove(&path);
                }
                None => {}
            }
        }
    }
}

impl Entry {
    /// Bytes of all forms.
    fn made(&self) -> usize {
        let len = |made: &Made| match made {
            Made::Form(Blob::Memory(bytes)) => bytes.len(),
            Made::Form(_) | Made::Unworthy => 0,
        };
        self.results.iter().flatten().map(len).sum()
    }
}

/// Bytes that an entry costs, beside what was made.
fn cost(path: &[u8]) -> usize {
    path.len() + ENTRY
}

/// Where an entry has a coding.
fn place(coding: Coding) -> Option<usize> {
    match coding {
        Coding::Identity => None,
        Coding::Gzip => Some(0),
        Coding::Zstd => Some(1),
        Coding::Brotli => Some(2),
    }
}

/// An open file must still be this version. What is in memory is what it was.
fn still(content: &Blob, version: &Version) -> io::Result<()> {
    match content {
        Blob::File { file, .. } if !Version::after(file, version)?.has_bytes_of(version) => {
            Err(io::Error::other("it has been changed"))
        }
        _ => Ok(()),
    }
}

/// Content that is read until there is no more need.
struct Input<'a> {
    content: &'a Blob,
    offset: u64,
    shared: &'a Shared,
}

impl Read for Input<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.shared.is_closed() {
            return Err(io::Error::other("nobody needs it any more"));
        }
        let count = match self.content {
            Blob::Sealed { file, .. } | Blob::File { file, .. } => {
                file.read_at(bytes, self.offset)?
            }
            Blob::Static(_) | Blob::Memory(_) => {
                let content = self.content.in_memory().unwrap_or_default();
                let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
                content.get(offset..).unwrap_or_default().read(bytes)?
            }
        };
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const MIB: usize = 1024 * 1024;
    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    /// Some version, and another for each number.
    fn version(number: u64) -> Version {
        let mut version = Version::of(&tempfile::tempfile().unwrap()).unwrap();
        (version.device, version.inode) = (1, number);
        version.changed = std::time::UNIX_EPOCH;
        version.modified = std::time::UNIX_EPOCH;
        version
    }

    fn text(len: usize) -> Blob {
        "some text that repeats itself. "
            .repeat(len / 31 + 1)
            .into_bytes()[..len]
            .to_vec()
            .into()
    }

    fn noise(len: usize) -> Blob {
        let mut word = 1_u64;
        let noise = std::iter::repeat_with(|| {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            word.to_be_bytes()[0]
        });
        noise.take(len).collect::<Vec<u8>>().into()
    }

    /// In one word.
    fn known(compressor: &Compressor, path: &str, version: &Version, coding: Coding) -> String {
        match compressor.form(path.as_bytes(), version, coding) {
            Form::Made(blob) => format!("made of {}", blob.len()),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// One thread that says what it begins with, and makes a byte of it when it is told to.
    fn slow(budget: usize) -> (Compressor, Receiver<Coding>, Sender<()>) {
        let (begin, begun) = channel();
        let (permit, permission) = channel();
        let (begin, permission) = (Mutex::new(begin), Mutex::new(permission));
        let encode = move |coding, _, _: &mut dyn Read, output: &mut dyn Write| {
            begin.lock().unwrap().send(coding).unwrap();
            permission
                .lock()
                .unwrap()
                .recv()
                .map_err(io::Error::other)?;
            output.write_all(b"x")
        };
        let compressor = Compressor::with(ONE, budget, Box::new(encode)).unwrap();
        (compressor, begun, permit)
    }

    #[test]
    fn what_is_made_is_kept() {
        let compressor = Compressor::start(2.try_into().unwrap(), MIB).unwrap();
        let version = version(1);
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            assert_eq!(known(&compressor, "a", &version, coding), "unknown");
            compressor.make(b"a", &version, coding, text(50_000));
        }
        compressor.wait_idle();
        let original = text(50_000);
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            let Form::Made(made) = compressor.clone().form(b"a", &version, coding) else {
                panic!("{coding:?} is made");
            };
            let (made, mut original) = (made.in_memory().unwrap(), original.in_memory().unwrap());
            let is_it = super::super::encoding::is_encoded(coding, made, &mut original);
            assert!(is_it.unwrap(), "{coding:?}");
        }
        assert_eq!(known(&compressor, "b", &version, Coding::Gzip), "unknown");
        assert_eq!(
            known(&compressor, "a", &version, Coding::Identity),
            "unworthy"
        );
    }

    #[test]
    fn what_does_not_pay_is_known() {
        let compressor = Compressor::start(ONE, MIB).unwrap();
        let version = version(1);
        let large = usize::try_from(MOST).unwrap() + 1;
        for (path, content, expected) in [
            ("short", text(1023), "unworthy"),
            ("enough", text(1024), "made"),
            ("long", vec![b'x'; large].into(), "unworthy"),
            ("noise", noise(10_000), "unworthy"),
        ] {
            compressor.make(path.as_bytes(), &version, Coding::Gzip, content);
            compressor.wait_idle();
            let known = known(&compressor, path, &version, Coding::Gzip);
            assert!(known.starts_with(expected), "{path}: {known}");
        }
    }

    #[test]
    fn nothing_is_made_twice_at_once() {
        let (compressor, begun, permit) = slow(MIB);
        let version = version(1);
        for _ in 0..3 {
            let other = compressor.clone();
            other.make(b"a", &version, Coding::Gzip, text(2000));
            assert_eq!(known(&other, "a", &version, Coding::Gzip), "making");
        }
        assert_eq!(begun.recv_timeout(PATIENCE), Ok(Coding::Gzip));
        compressor.make(b"a", &version, Coding::Gzip, text(2000));
        compressor.make(b"a", &version, Coding::Brotli, text(2000));
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        compressor.wait_idle();
        assert_eq!(begun.try_iter().collect::<Vec<_>>(), [Coding::Brotli]);
        compressor.make(b"a", &version, Coding::Gzip, text(2000));
        compressor.wait_idle();
        assert_eq!(known(&compressor, "a", &version, Coding::Gzip), "made of 1");
        assert!(begun.try_recv().is_err(), "it is made");
    }

    #[test]
    fn no_more_waits_than_is_bounded() {
        let (compressor, begun, permit) = slow(MIB);
        let version = version(1);
        compressor.make(b"first", &version, Coding::Gzip, text(2000));
        begun.recv_timeout(PATIENCE).unwrap();
        let paths: Vec<String> = (0..=QUEUE).map(|path| path.to_string()).collect();
        for path in &paths {
            compressor.make(path.as_bytes(), &version, Coding::Gzip, text(2000));
        }
        let last = &paths[QUEUE];
        assert_eq!(known(&compressor, last, &version, Coding::Gzip), "unknown");
        for _ in 0..=QUEUE {
            permit.send(()).unwrap();
        }
        compressor.wait_idle();
        assert_eq!(
            known(&compressor, &paths[QUEUE - 1], &version, Coding::Gzip),
            "made of 1"
        );
        assert_eq!(begun.try_iter().count(), QUEUE);
    }

    #[test]
    fn another_version_takes_the_place_of_the_last() {
        let (compressor, begun, permit) = slow(MIB);
        let (old, new) = (version(1), version(2));
        compressor.make(b"a", &old, Coding::Gzip, text(2000));
        begun.recv_timeout(PATIENCE).unwrap();
        compressor.make(b"a", &old, Coding::Zstd, text(2000));
        compressor.make(b"a", &new, Coding::Gzip, text(2000));
        assert_eq!(
            known(&compressor, "a", &old, Coding::Zstd),
            "unknown",
            "it need not begin"
        );
        for _ in 0..2 {
            permit.send(()).unwrap();
        }
        compressor.wait_idle();
        assert_eq!(known(&compressor, "a", &old, Coding::Gzip), "unknown");
        assert_eq!(known(&compressor, "a", &new, Coding::Gzip), "made of 1");
    }

    #[test]
    fn the_budget_is_kept() {
        let budget = 20 * (ENTRY + 2) + 20;
        let compressor = Compressor::with(
            ONE,
            budget,
            Box::new(|_, _, _, output| output.write_all(b"x")),
        )
        .unwrap();
        let version = version(1);
        for number in 0..200 {
            let path = format!("{number:03}");
            compressor.make(path.as_bytes(), &version, Coding::Gzip, text(2000));
            compressor.wait_idle();
            let unworthy = format!("unworthy {number:03}");
            compressor.make(unworthy.as_bytes(), &version, Coding::Gzip, text(10));
            assert_eq!(
                known(&compressor, &path, &version, Coding::Gzip),
                "made of 1"
            );
            if number > 0 {
                assert_eq!(
                    known(&compressor, "000", &version, Coding::Gzip),
                    "made of 1",
                    "at {number}"
                );
            }
            let state = compressor.pool.shared.lock();
            assert!(state.used <= budget && state.turns.len() == state.entries.len());
            let used: usize = state
                .entries
                .iter()
                .map(|(path, entry)| entry.made() + cost(path))
                .sum();
            assert_eq!(used, state.used);
        }
        assert_eq!(known(&compressor, "001", &version, Coding::Gzip), "unknown");
    }

    #[test]
    fn what_would_take_too_much_is_not_kept() {
        let compressor = Compressor::start(ONE, 1000).unwrap();
        let version = version(1);
        let content: Blob = [
            noise(400).in_memory().unwrap(),
            text(2000).in_memory().unwrap(),
        ]
        .concat()
        .into();
        compressor.make(b"a", &version, Coding::Brotli, content);
        compressor.wait_idle();
        assert_eq!(
            known(&compressor, "a", &version, Coding::Brotli),
            "unworthy"
        );
    }

    #[test]
    fn a_panic_is_survived() {
        let compressor = Compressor::with(
            ONE,
            MIB,
            Box::new(|coding, _, _, output| {
                assert_ne!(coding, Coding::Gzip, "this panic is part of the test");
                output.write_all(b"x")
            }),
        )
        .unwrap();
        let version = version(1);
        compressor.make(b"a", &version, Coding::Gzip, text(2000));
        compressor.make(b"a", &version, Coding::Zstd, text(2000));
        compressor.wait_idle();
        assert_eq!(known(&compressor, "a", &version, Coding::Gzip), "unworthy");
        assert_eq!(known(&compressor, "a", &version, Coding::Zstd), "made of 1");
    }

    #[test]
    fn files_are_read_as_long_as_they_are_the_same() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text(100_000).in_memory().unwrap()).unwrap();
        let opened = Arc::new(File::open(file.path()).unwrap());
        let version = Version::of(&opened).unwrap();
        let blob = |is_steady| Blob::File {
            file: opened.clone(),
            version,
            is_steady,
        };
        let compressor = Compressor::start(ONE, MIB).unwrap();
        compressor.make(b"a", &version, Coding::Gzip, blob(false));
        assert_eq!(
            known(&compressor, "a", &version, Coding::Gzip),
            "unknown",
            "it may be about to change"
        );
        compressor.make(b"a", &version, Coding::Gzip, blob(true));
        let sealed = Blob::Sealed {
            file: opened.clone(),
            len: version.len,
        };
        compressor.make(b"sealed", &version, Coding::Gzip, sealed);
        compressor.wait_idle();
        for path in ["a", "sealed"] {
            let known = known(&compressor, path, &version, Coding::Gzip);
            assert!(known.starts_with("made of"), "{path}: {known}");
        }

        let path = file.path().to_owned();
        let write = move |_, _, _: &mut dyn Read, output: &mut dyn Write| {
            File::options().write(true).open(&path)?.set_len(10)?;
            output.write_all(b"x")
        };
        let compressor = Compressor::with(ONE, MIB, Box::new(write)).unwrap();
        compressor.make(b"a", &version, Coding::Gzip, blob(true));
        compressor.wait_idle();
        assert_eq!(known(&compressor, "a", &version, Coding::Gzip), "unknown");
        compressor.make(b"a", &version, Coding::Gzip, blob(true));
        compressor.wait_idle();
        assert_eq!(
            known(&compressor, "a", &version, Coding::Gzip),
            "unknown",
            "before"
        );
    }

    #[test]
    fn the_threads_end_with_the_last_clone() {
        let (alive, ended) = channel::<()>();
        let (begin, begun) = channel();
        let begin = Mutex::new(begin);
        let (pipe, held) = std::io::pipe().unwrap();
        let encode = move |_, len, input: &mut dyn Read, output: &mut dyn Write| {
            let _alive = &alive;
            begin.lock().unwrap().send(()).unwrap();
            // Until the test goes on.
            (&pipe).read_exact(&mut [0])?;
            io::copy(&mut input.take(len), output).map(drop)
        };
        let compressor = Compressor::with(2.try_into().unwrap(), MIB, Box::new(encode)).unwrap();
        let version = version(1);
        compressor.make(b"a", &version, Coding::Gzip, text(2000));
        compressor.make(b"b", &version, Coding::Gzip, text(2000));
        begun.recv_timeout(PATIENCE).unwrap();
        drop(compressor.clone());
        assert_eq!(known(&compressor, "a", &version, Coding::Gzip), "making");
        drop(compressor);
        drop(OwnedFd::from(held));
        let ended = ended.recv_timeout(PATIENCE);
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
