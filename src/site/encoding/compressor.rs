//! On-demand compression: files are encoded while they are being served, by background threads.
//!
//! No request waits for it: a worker asks for an encoding, sends the file as it is while there is none, and queues it
//! for later requests. All workers share the results.

use std::fmt;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use tracing::{debug, warn};

use super::content_reader::{ContentReader, check_unchanged};
use super::encoder::{Effort, LimitedWriter, encode};
use crate::blob::{Blob, FileVersion};
use crate::http::Coding;
use crate::site::options::MAX_CACHED_FILE_BYTES;
use crate::sync::{JobQueue, SecondChance, WorkerPool, lock};

/// Size in bytes below which there is little to save.
pub(crate) const MIN_COMPRESSED_FILE_BYTES: u64 = 1024;

/// Size in bytes above which nothing is cached, and so nothing encoded.
const MAX_COMPRESSED_FILE_BYTES: u64 = MAX_CACHED_FILE_BYTES;

/// Maximum number of queued jobs. Each holds its content, and with it perhaps a descriptor.
const MAX_QUEUED_JOBS: usize = 32;

/// Bytes that an entry costs besides its path and its content, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// Pool of threads that encode files, and their results. Clones share the pool; with the last one the threads end, as
/// soon as they have abandoned their jobs.
#[derive(Clone)]
pub struct Compressor {
    shared: Arc<CompressorShared>,
    pool: Arc<WorkerPool<CompressorJob>>,
}

/// State of a file's encoding in a content coding.
#[derive(Clone, Debug)]
pub enum Encoded {
    /// The encoding, in memory.
    Ready(Blob),
    /// It is queued or being encoded.
    Pending,
    /// It is not worthwhile: the file is shorter than 1 KiB or longer than 2 MiB, the encoding saves less than a tenth,
    /// or it would take more than a quarter of the budget.
    NotWorthwhile,
    /// It is neither cached nor queued.
    Unknown,
}

/// Encoding to be made, and the content to be encoded.
type CompressorJob = (EncodingKey, Blob);

struct CompressorShared {
    /// Locked before the queue of the jobs is.
    state: Mutex<CompressorState>,
    /// Notifies tests that a job has ended.
    #[cfg(test)]
    job_done: std::sync::Condvar,
    budget: usize,
    encode: Box<EncodeFn>,
}

/// Function that encodes a number of bytes of content.
type EncodeFn = dyn Fn(Coding, u64, &mut dyn Read, &mut dyn Write) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct CompressorState {
    entries: SecondChance<Arc<[u8]>, EncodedFile>,
    /// Bytes that all entries cost.
    used: usize,
    /// Jobs that are queued or running, and whose results are wanted: no other version was requested since.
    in_flight: Vec<EncodingKey>,
}

/// Results of encoding one version of a file.
struct EncodedFile {
    version: FileVersion,
    results: [Option<EncodingResult>; 3],
}

#[derive(Clone)]
enum EncodingResult {
    Encoded(Blob),
    NotWorthwhile,
}

#[derive(Clone, PartialEq, Eq)]
struct EncodingKey {
    path: Arc<[u8]>,
    version: FileVersion,
    coding: Coding,
}

impl Compressor {
    /// Starts a number of threads. Their results may take `budget` bytes in memory; beyond that, those that were not
    /// used lately are evicted.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(threads: NonZeroUsize, budget: usize) -> io::Result<Self> {
        let quick = |coding, len, mut input: &mut dyn Read, mut output: &mut dyn Write| {
            encode(coding, Effort::Quick, len, &mut input, &mut output)
        };
        Self::with(threads, budget, Box::new(quick))
    }

    fn with(threads: NonZeroUsize, budget: usize, encode: Box<EncodeFn>) -> io::Result<Self> {
        let shared = Arc::new(CompressorShared {
            state: Mutex::default(),
            #[cfg(test)]
            job_done: std::sync::Condvar::new(),
            budget,
            encode,
        });
        let pool = Arc::new(WorkerPool::new(MAX_QUEUED_JOBS));
        let worker = shared.clone();
        pool.start("compressor", threads.get(), move |queue| {
            worker.run_thread(queue);
        })?;
        Ok(Self { shared, pool })
    }

    /// Returns the state of an encoding of this version of a file, by its path below the root. A lock is held for one
    /// lookup.
    #[must_use]
    pub fn encoded(&self, path: &[u8], version: &FileVersion, coding: Coding) -> Encoded {
        let Some(index) = coding_index(coding) else {
            return Encoded::NotWorthwhile;
        };
        let mut state = lock(&self.shared.state);
        if let Some(slot) = state.entries.slot_of(path)
            && let Some(entry) = state.entries.use_slot(slot)
            && entry.version == *version
            && let Some(result) = &entry.results[index]
        {
            return match result {
                EncodingResult::Encoded(blob) => Encoded::Ready(blob.clone()),
                EncodingResult::NotWorthwhile => Encoded::NotWorthwhile,
            };
        }
        match state.is_in_flight(path, version, coding) {
            true => Encoded::Pending,
            false => Encoded::Unknown,
        }
    }

    /// Queues an encoding, unless it is cached, queued or running, or the queue is full. The `content` is of this
    /// version; an open file is checked again before and after it is read. A file that is not steady is not queued: it
    /// may be written to at this moment, and no date would show it.
    ///
    /// The results for any other version of the file are removed.
    pub fn enqueue(&self, path: &[u8], version: &FileVersion, coding: Coding, content: Blob) {
        let Some(index) = coding_index(coding) else {
            return;
        };
        let (state, queue) = (&mut *lock(&self.shared.state), self.pool.queue());
        state.remove_other_versions(path, version, queue);
        let slot = state.entries.slot_of(path);
        let cached = slot.and_then(|slot| state.entries.get(slot));
        let is_cached = cached.is_some_and(|(_, entry)| entry.results[index].is_some());
        if is_cached || state.is_in_flight(path, version, coding) {
            return;
        }
        let key = EncodingKey {
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
        if !(MIN_COMPRESSED_FILE_BYTES..=MAX_COMPRESSED_FILE_BYTES).contains(&content.len()) {
            state.insert(key, EncodingResult::NotWorthwhile, self.shared.budget);
        } else if is_steady && queue.push((key.clone(), content)) {
            state.in_flight.push(key);
        }
    }

    /// Returns the number of queued jobs.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.pool.queue().len()
    }

    /// Waits until no job is queued or running.
    #[cfg(test)]
    fn wait_idle(&self) {
        let busy = |state: &mut CompressorState| !state.in_flight.is_empty();
        let state = lock(&self.shared.state);
        drop(self.shared.job_done.wait_while(state, busy).unwrap());
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("Compressor")
            .field("budget", &self.shared.budget)
            .field("used", &state.used)
            .field("in_flight", &state.in_flight.len())
            .finish_non_exhaustive()
    }
}

impl CompressorShared {
    /// Runs jobs until no more will come.
    fn run_thread(&self, queue: &JobQueue<CompressorJob>) {
        while let Some((key, content)) = queue.next() {
            let encode = || self.encode_content(&key, &content, queue);
            let outcome = catch_unwind(AssertUnwindSafe(encode));
            drop(content);
            let path = String::from_utf8_lossy(&key.path);
            let name = key.coding.name();
            let result = match outcome {
                Ok(Ok(outcome)) => Some(outcome),
                // It can be tried again.
                Ok(Err(error)) => {
                    debug!("cannot compress /{path} with {name}: {error}");
                    None
                }
                Err(_) => {
                    warn!(
                        "cannot compress /{path} with {name}: the encoder failed; it is sent uncompressed"
                    );
                    Some(EncodingResult::NotWorthwhile)
                }
            };
            let mut state = lock(&self.state);
            let in_flight = state.in_flight.len();
            state.in_flight.retain(|other| *other != key);
            if let Some(result) = result
                && state.in_flight.len() < in_flight
            {
                state.insert(key, result, self.budget);
            }
            drop(state);
            #[cfg(test)]
            self.job_done.notify_all();
        }
    }

    fn encode_content(
        &self,
        key: &EncodingKey,
        content: &Blob,
        queue: &JobQueue<CompressorJob>,
    ) -> io::Result<EncodingResult> {
        let len = content.len();
        let mut output = LimitedWriter {
            output: Vec::new(),
            remaining: (len - len.div_ceil(10)).min(self.budget as u64 / 4),
        };
        let is_stopped = || queue.is_closed();
        let mut input = ContentReader::new(content, &is_stopped);
        check_unchanged(content, &key.version)?;
        let encoded = (self.encode)(key.coding, len, &mut input, &mut output);
        check_unchanged(content, &key.version)?;
        match encoded {
            Err(error) if LimitedWriter::<()>::is_limit_error(&error) => {
                Ok(EncodingResult::NotWorthwhile)
            }
            encoded => encoded.map(|()| EncodingResult::Encoded(output.output.into())),
        }
    }
}

impl CompressorState {
    fn is_in_flight(&self, path: &[u8], version: &FileVersion, coding: Coding) -> bool {
        self.in_flight
            .iter()
            .any(|key| *key.path == *path && key.version == *version && key.coding == coding)
    }

    /// Removes the results for other versions of a file and their queued jobs. The results of running ones will be
    /// discarded.
    fn remove_other_versions(
        &mut self,
        path: &[u8],
        version: &FileVersion,
        queue: &JobQueue<CompressorJob>,
    ) {
        if let Some(slot) = self.entries.slot_of(path)
            && let Some((_, entry)) = self.entries.get_mut(slot)
            && entry.version != *version
        {
            self.used -= entry.encoded_bytes();
            entry.version = *version;
            entry.results = Default::default();
        }
        let is_other = |key: &EncodingKey| *key.path == *path && key.version != *version;
        let before = self.in_flight.len();
        self.in_flight.retain(|key| !is_other(key));
        if self.in_flight.len() < before {
            queue.retain(|(key, _)| !is_other(key));
        }
    }

    /// Caches a result, unless another version of the file has been requested since, and evicts others for it.
    fn insert(&mut self, key: EncodingKey, result: EncodingResult, budget: usize) {
        let Some(index) = coding_index(key.coding) else {
            return;
        };
        let slot = self.entries.slot_of(&*key.path).unwrap_or_else(|| {
            self.used += entry_cost(&key.path);
            let entry = EncodedFile {
                version: key.version,
                results: Default::default(),
            };
            self.entries.insert(key.path, entry)
        });
        // Another version may have been requested while this one was encoded.
        if let Some((_, entry)) = self.entries.get_mut(slot)
            && entry.version == key.version
        {
            self.used -= entry.encoded_bytes();
            entry.results[index] = Some(result);
            self.used += entry.encoded_bytes();
        }
        while self.used > budget
            && let Some(slot) = self.entries.next_evicted(|_| true)
            && let Some((path, entry)) = self.entries.remove(slot)
        {
            self.used -= entry.encoded_bytes() + entry_cost(&path);
        }
    }
}

impl EncodedFile {
    /// Returns the bytes of all encodings.
    fn encoded_bytes(&self) -> usize {
        let len = |result: &EncodingResult| match result {
            EncodingResult::Encoded(Blob::Memory(bytes)) => bytes.len(),
            EncodingResult::Encoded(_) | EncodingResult::NotWorthwhile => 0,
        };
        self.results.iter().flatten().map(len).sum()
    }
}

/// Returns the bytes that an entry costs besides its encodings.
fn entry_cost(path: &[u8]) -> usize {
    path.len() + ENTRY_OVERHEAD_BYTES
}

/// Returns the index of a coding in the results of a file.
fn coding_index(coding: Coding) -> Option<usize> {
    match coding {
        Coding::Identity => None,
        Coding::Gzip => Some(0),
        Coding::Zstd => Some(1),
        Coding::Brotli => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;
    use crate::site::encoding::encoder::{Recipient, is_encoded};

    const TIMEOUT: Duration = Duration::from_secs(20);
    const MIB: usize = 1024 * 1024;
    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    /// Returns a version that differs for each number.
    fn version(number: u64) -> FileVersion {
        let mut version = FileVersion::of(&tempfile::tempfile().unwrap()).unwrap();
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

    /// Returns the state of an encoding as text.
    fn state_of(
        compressor: &Compressor,
        path: &str,
        version: &FileVersion,
        coding: Coding,
    ) -> String {
        match compressor.encoded(path.as_bytes(), version, coding) {
            Encoded::Ready(blob) => format!("encoded as {}", blob.len()),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// Starts one thread that reports each job that it begins, and encodes it as one byte when it is permitted to.
    fn stepped_compressor(budget: usize) -> (Compressor, Receiver<Coding>, Sender<()>) {
        let (begin, started) = channel();
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
        (compressor, started, permit)
    }

    #[test]
    fn encoded_content_is_cached() {
        let compressor = Compressor::start(2.try_into().unwrap(), MIB).unwrap();
        let version = version(1);
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            assert_eq!(state_of(&compressor, "a", &version, coding), "unknown");
            compressor.enqueue(b"a", &version, coding, text(50_000));
        }
        compressor.wait_idle();
        let original = text(50_000);
        for coding in [Coding::Gzip, Coding::Zstd, Coding::Brotli] {
            let Encoded::Ready(result) = compressor.clone().encoded(b"a", &version, coding) else {
                panic!("{coding:?} is not encoded");
            };
            let (result, mut original) =
                (result.in_memory().unwrap(), original.in_memory().unwrap());
            let is_equal = is_encoded(coding, Recipient::Client, result, &mut original);
            assert!(is_equal.unwrap(), "{coding:?}");
        }
        assert_eq!(
            state_of(&compressor, "b", &version, Coding::Gzip),
            "unknown"
        );
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Identity),
            "notworthwhile"
        );
    }

    #[test]
    fn unprofitable_content_is_not_worthwhile() {
        let compressor = Compressor::start(ONE, MIB).unwrap();
        let version = version(1);
        let large = usize::try_from(MAX_COMPRESSED_FILE_BYTES).unwrap() + 1;
        for (path, content, expected) in [
            ("short", text(1023), "notworthwhile"),
            ("enough", text(1024), "encoded"),
            ("long", vec![b'x'; large].into(), "notworthwhile"),
            ("noise", noise(10_000), "notworthwhile"),
        ] {
            compressor.enqueue(path.as_bytes(), &version, Coding::Gzip, content);
            compressor.wait_idle();
            let state = state_of(&compressor, path, &version, Coding::Gzip);
            assert!(state.starts_with(expected), "{path}: {state}");
        }
    }

    #[test]
    fn content_is_encoded_once_at_a_time() {
        let (compressor, started, permit) = stepped_compressor(MIB);
        let version = version(1);
        for _ in 0..3 {
            let other = compressor.clone();
            other.enqueue(b"a", &version, Coding::Gzip, text(2000));
            assert_eq!(state_of(&other, "a", &version, Coding::Gzip), "pending");
        }
        assert_eq!(started.recv_timeout(TIMEOUT), Ok(Coding::Gzip));
        compressor.enqueue(b"a", &version, Coding::Gzip, text(2000));
        compressor.enqueue(b"a", &version, Coding::Brotli, text(2000));
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        compressor.wait_idle();
        assert_eq!(started.try_iter().collect::<Vec<_>>(), [Coding::Brotli]);
        compressor.enqueue(b"a", &version, Coding::Gzip, text(2000));
        compressor.wait_idle();
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "encoded as 1"
        );
        assert!(started.try_recv().is_err(), "it is cached");
    }

    #[test]
    fn queue_is_bounded() {
        let (compressor, started, permit) = stepped_compressor(MIB);
        let version = version(1);
        compressor.enqueue(b"first", &version, Coding::Gzip, text(2000));
        started.recv_timeout(TIMEOUT).unwrap();
        let paths: Vec<String> = (0..=MAX_QUEUED_JOBS).map(|path| path.to_string()).collect();
        for path in &paths {
            compressor.enqueue(path.as_bytes(), &version, Coding::Gzip, text(2000));
        }
        let last = &paths[MAX_QUEUED_JOBS];
        assert_eq!(
            state_of(&compressor, last, &version, Coding::Gzip),
            "unknown"
        );
        for _ in 0..=MAX_QUEUED_JOBS {
            permit.send(()).unwrap();
        }
        compressor.wait_idle();
        assert_eq!(
            state_of(
                &compressor,
                &paths[MAX_QUEUED_JOBS - 1],
                &version,
                Coding::Gzip
            ),
            "encoded as 1"
        );
        assert_eq!(started.try_iter().count(), MAX_QUEUED_JOBS);
    }

    #[test]
    fn new_version_supersedes_the_old_one() {
        let (compressor, started, permit) = stepped_compressor(MIB);
        let (old, new) = (version(1), version(2));
        compressor.enqueue(b"a", &old, Coding::Gzip, text(2000));
        started.recv_timeout(TIMEOUT).unwrap();
        compressor.enqueue(b"a", &old, Coding::Zstd, text(2000));
        compressor.enqueue(b"a", &new, Coding::Gzip, text(2000));
        assert_eq!(
            state_of(&compressor, "a", &old, Coding::Zstd),
            "unknown",
            "its queued job is removed"
        );
        for _ in 0..2 {
            permit.send(()).unwrap();
        }
        compressor.wait_idle();
        assert_eq!(state_of(&compressor, "a", &old, Coding::Gzip), "unknown");
        assert_eq!(
            state_of(&compressor, "a", &new, Coding::Gzip),
            "encoded as 1"
        );
    }

    #[test]
    fn budget_is_never_exceeded() {
        let budget = 20 * (ENTRY_OVERHEAD_BYTES + 2) + 20;
        let compressor = Compressor::with(
            ONE,
            budget,
            Box::new(|_, _, _, output| output.write_all(b"x")),
        )
        .unwrap();
        let version = version(1);
        for number in 0..200 {
            let path = format!("{number:03}");
            compressor.enqueue(path.as_bytes(), &version, Coding::Gzip, text(2000));
            compressor.wait_idle();
            let small = format!("too small {number:03}");
            compressor.enqueue(small.as_bytes(), &version, Coding::Gzip, text(10));
            assert_eq!(
                state_of(&compressor, &path, &version, Coding::Gzip),
                "encoded as 1"
            );
            if number > 0 {
                assert_eq!(
                    state_of(&compressor, "000", &version, Coding::Gzip),
                    "encoded as 1",
                    "at {number}"
                );
            }
            let state = lock(&compressor.shared.state);
            assert!(state.used <= budget);
            let used: usize = state
                .entries
                .iter()
                .map(|(path, entry)| entry.encoded_bytes() + entry_cost(path))
                .sum();
            assert_eq!(used, state.used);
        }
        assert_eq!(
            state_of(&compressor, "001", &version, Coding::Gzip),
            "unknown"
        );
    }

    #[test]
    fn result_over_a_quarter_of_the_budget_is_not_cached() {
        let compressor = Compressor::start(ONE, 1000).unwrap();
        let version = version(1);
        let content: Blob = [
            noise(400).in_memory().unwrap(),
            text(2000).in_memory().unwrap(),
        ]
        .concat()
        .into();
        compressor.enqueue(b"a", &version, Coding::Brotli, content);
        compressor.wait_idle();
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Brotli),
            "notworthwhile"
        );
    }

    #[test]
    fn panic_while_encoding_is_survived() {
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
        compressor.enqueue(b"a", &version, Coding::Gzip, text(2000));
        compressor.enqueue(b"a", &version, Coding::Zstd, text(2000));
        compressor.wait_idle();
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "notworthwhile"
        );
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Zstd),
            "encoded as 1"
        );
    }

    #[test]
    fn changed_file_is_not_encoded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text(100_000).in_memory().unwrap()).unwrap();
        let opened = Arc::new(File::open(file.path()).unwrap());
        let version = FileVersion::of(&opened).unwrap();
        let blob = |is_steady| Blob::File {
            file: opened.clone(),
            version,
            is_steady,
        };
        let compressor = Compressor::start(ONE, MIB).unwrap();
        compressor.enqueue(b"a", &version, Coding::Gzip, blob(false));
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "unknown",
            "it may be about to change"
        );
        compressor.enqueue(b"a", &version, Coding::Gzip, blob(true));
        let sealed = Blob::Sealed {
            file: opened.clone(),
            len: version.len,
        };
        compressor.enqueue(b"sealed", &version, Coding::Gzip, sealed);
        compressor.wait_idle();
        for path in ["a", "sealed"] {
            let state = state_of(&compressor, path, &version, Coding::Gzip);
            assert!(state.starts_with("encoded as"), "{path}: {state}");
        }

        let path = file.path().to_owned();
        let write = move |_, _, _: &mut dyn Read, output: &mut dyn Write| {
            File::options().write(true).open(&path)?.set_len(10)?;
            output.write_all(b"x")
        };
        let compressor = Compressor::with(ONE, MIB, Box::new(write)).unwrap();
        compressor.enqueue(b"a", &version, Coding::Gzip, blob(true));
        compressor.wait_idle();
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "unknown"
        );
        compressor.enqueue(b"a", &version, Coding::Gzip, blob(true));
        compressor.wait_idle();
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "unknown",
            "changed before it is read"
        );
    }

    #[test]
    fn threads_end_with_the_last_clone() {
        let (alive, ended) = channel::<()>();
        let (begin, started) = channel();
        let begin = Mutex::new(begin);
        let (pipe, pipe_end) = std::io::pipe().unwrap();
        let encode = move |_, len, input: &mut dyn Read, output: &mut dyn Write| {
            let _alive = &alive;
            begin.lock().unwrap().send(()).unwrap();
            // Blocks until the test closes the pipe.
            (&pipe).read_exact(&mut [0])?;
            io::copy(&mut input.take(len), output).map(drop)
        };
        let compressor = Compressor::with(2.try_into().unwrap(), MIB, Box::new(encode)).unwrap();
        let version = version(1);
        compressor.enqueue(b"a", &version, Coding::Gzip, text(2000));
        compressor.enqueue(b"b", &version, Coding::Gzip, text(2000));
        started.recv_timeout(TIMEOUT).unwrap();
        drop(compressor.clone());
        assert_eq!(
            state_of(&compressor, "a", &version, Coding::Gzip),
            "pending"
        );
        drop(compressor);
        drop(OwnedFd::from(pipe_end));
        let ended = ended.recv_timeout(TIMEOUT);
        assert_eq!(ended, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}
