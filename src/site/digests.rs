//! Digests of files by their content, each file read once for all loops.
//!
//! With them every file's tag is made from its content, so that all replicas of a release say the same of it, however
//! and whenever it came there, and a download that was begun from one of them is resumed from another.
//!
//! - **Short files**, up to 2 MiB, are read when they are found: 0.3 ms for 2 MiB that the kernel has in memory. That is done
//!   between two answers, as copying them into memory is, when they are asked for again.
//! - **Longer ones** are read by a thread beside the loops. Nobody waits for it: until it is through they have no tag.
//!   (One of another kind would be a tag that no replica knows, and would not last.) Whoever asks afterwards is told the
//!   tag at once, as what is longer is looked up in each turn of the loop. The thread gives way to the loops,
//!   and divides its time: a file waits for 16 MiB of each of those that came before it, not for
//!   their ends.
//! - **A digest is of one version.** The file is not begun with before another change would be told from the last one,
//!   and must be the same when it has been read, as far as the file system says; otherwise what was read is
//!   thrown away. Where no date tells (see `validators.rs`), there is no digest.
//!
//! What a hostile peer can have done is that each file is read once, one at a time, while others are served; and once
//! more each, if there are more than [`MOST`] of them and it asks for all.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::SystemTime;

use rustix::process::nice;
use tracing::debug;
use twox_hash::xxhash3_128::Hasher;

use super::disk::SEALED;
use crate::blob::{Blob, Version};

/// Bytes of a file up to which it is read at once.
const AT_ONCE: u64 = SEALED;

/// Files that may wait for the thread, or be in its hand. Each holds a descriptor.
const QUEUE: usize = 32;

/// Bytes of a file that the thread reads before it goes on with the next.
const SLICE: u64 = 16 * 1024 * 1024;

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

/// By how much the thread gives way (nice(2)): where every CPU is busy, it gets a tenth of what a loop does. With no more
/// than a seventieth, which the last step would be, tags would come too late to spare anybody anything.
const NICE: i32 = 10;

/// Digests that are remembered. All of them take 5 MiB at the most.
const MOST: usize = 16 * 1024;

/// A thread that reads, and what it has read. A clone is the same; with the last one the thread ends.
#[derive(Clone)]
pub struct Digests {
    living: Arc<Living>,
}

/// What ends the thread when it is dropped.
struct Living {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// For the thread: there is something to do.
    work: Condvar,
}

#[derive(Default)]
struct State {
    known: HashMap<Version, Known>,
    /// The same versions, each once: whose turn it is to be forgotten.
    turns: VecDeque<Version>,
    waiting: VecDeque<Reading>,
    /// What the thread has taken of these.
    in_hand: Option<Version>,
    is_closed: bool,
}

struct Known {
    digest: u128,
    /// Whether anybody asked since its last turn.
    is_wanted: bool,
}

/// A file that is being read.
struct Reading {
    file: Arc<File>,
    version: Version,
    /// Bytes that were read.
    offset: u64,
    hasher: Hasher,
}

impl Digests {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> io::Result<Self> {
        let this = Self::idle();
        let shared = this.living.shared.clone();
        thread::Builder::new()
            .name("digests".into())
            .spawn(move || {
                // Of this thread alone (nice(2)); the disk's turns go by it, too. Where that is not granted, it is one among
                // others.
                let _ = nice(NICE);
                let mut piece = vec![0; PIECE];
                while shared.work(&mut piece) {}
            })?;
        Ok(this)
    }

    /// Without a thread.
    fn idle() -> Self {
        let shared = Arc::default();
        let living = Arc::new(Living { shared });
        Self { living }
    }

    /// The digest of a file, which was this version of it at `now` or later; `None` if it cannot be told, or
    /// not yet. A longer one is then read as soon as may be, unless much else is waiting.
    pub(super) fn of(&self, content: &Blob, version: &Version, now: SystemTime) -> Option<u128> {
        let Blob::File { file, .. } = content else {
            return None;
        };
        if !version.is_settled(now) {
            return None;
        }
        let shared = &self.living.shared;
        let mut state = shared.lock();
        if let Some(digest) = state.recall(version) {
            return Some(digest);
        }
        if version.len > AT_ONCE {
            if state.has_room_for(version) {
                state.waiting.push_back(Reading::new(file, version));
                drop(state);
                shared.work.notify_one();
            }
            return None;
        }
        drop(state);
        let mut reading = Reading::new(file, version);
        let digest = reading.read_on(AT_ONCE, &mut vec![0; PIECE]).ok()??;
        shared.lock().keep(*version, digest);
        Some(digest)
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.living.shared.lock();
        f.debug_struct("Digests")
            .field("known", &state.known.len())
            .field("waiting", &state.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        // Under the lock, so that the thread does not fall asleep between its look and its wait.
        let mut state = self.shared.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.shared.work.notify_all();
        drop(waiting);
    }
}

impl Shared {
    /// A panic elsewhere leaves the state whole enough: something may be known that is not forgotten.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do, and does a step of it. Whether there may be more.
    fn work(&self, piece: &mut [u8]) -> bool {
        let Some(mut reading) = self.take() else {
            return false;
        };
        let read = reading.read_on(SLICE, piece);
        let mut state = self.lock();
        state.in_hand = None;
        // (What is not read on is closed when the lock is free again: if it was the last name of a long file, that
        // takes a while.)
        let _ended = match read {
            Ok(None) if !state.is_closed => {
                state.waiting.push_back(reading);
                None
            }
            Ok(None) => Some(reading),
            Ok(Some(digest)) => {
                state.keep(reading.version, digest);
                Some(reading)
            }
            Err(error) => {
                debug!("inode {} has no digest: {error}", reading.version.inode);
                Some(reading)
            }
        };
        drop(state);
        true
    }

    /// Waits for a file; `None` if no more will come.
    fn take(&self) -> Option<Reading> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let waited = self.work.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let reading = state.waiting.pop_front()?;
        state.in_hand = Some(reading.version);
        Some(reading)
    }
}

impl State {
    fn recall(&mut self, version: &Version) -> Option<u128> {
        let known = self.known.get_mut(version)?;
        known.is_wanted = true;
        Some(known.digest)
    }

    /// Whether a file that is not known may be put in the queue, and is not there yet.
    fn has_room_for(&self, version: &Version) -> bool {
        let waiting = self.waiting.iter().map(|reading| &reading.version);
        let mut begun = waiting.chain(&self.in_hand);
        self.waiting.len() + usize::from(self.in_hand.is_some()) < QUEUE
            && begun.all(|begun| begun != version)
    }

    /// Remembers a digest, and forgets for it what nobody asked for since its last turn.
    fn keep(&mut self, version: Version, digest: u128) {
        let known = Known {
            digest,
            is_wanted: false,
        };
        if self.known.insert(version, known).is_some() {
            return;
        }
        self.turns.push_back(version);
        while self.known.len() > MOST
            && let Some(version) = self.turns.pop_front()
        {
            match self.known.get_mut(&version) {
                Some(known) if known.is_wanted => {
                    known.is_wanted = false;
                    self.turns.push_back(version);
                }
                _ => {
                    self.known.remove(&version);
                }
            }
        }
    }
}

impl Reading {
    fn new(file: &Arc<File>, version: &Version) -> Self {
        Self {
            file: file.clone(),
            version: *version,
            offset: 0,
            hasher: Hasher::new(),
        }
    }

    /// Reads so many bytes more; the digest, if those were the last.
    ///
    /// # Errors
    /// What pread(2) says; that the file is not what it was any more, before or after.
    fn read_on(&mut self, most: u64, piece: &mut [u8]) -> io::Result<Option<u128>> {
        self.is_still_it()?;
        let end = self.version.len.min(self.offset.saturating_add(most));
        while self.offset < end {
            let left = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let room = left.min(piece.len());
            match self.file.read_at(&mut piece[..room], self.offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.hasher.write(&piece[..count]);
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.is_still_it()?;
        Ok((self.offset == self.version.len).then(|| self.hasher.finish_128()))
    }

    /// The kernel dates a write before it shows any of its bytes, so whoever finds no other date has read none of
    /// them. (What has lost its name meanwhile has another date as well, and nobody will ask for it.)
    fn is_still_it(&self) -> io::Result<()> {
        match Version::of(&self.file)? == self.version {
            true => Ok(()),
            false => Err(io::Error::other("it has been changed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use twox_hash::XxHash3_128;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Long after whatever was written just now.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    /// An open file with a byte of its own, and else nothing in it.
    fn file(first: u8, len: u64) -> (Arc<File>, Version, Blob) {
        let file = tempfile::tempfile().unwrap();
        // The date of a change made by the clock has a fraction.
        while Version::of(&file).map_or(true, |version| version.len != len || !version.is_dated()) {
            file.write_all_at(&[first], 0).unwrap();
            file.set_len(len).unwrap();
        }
        let version = Version::of(&file).unwrap();
        let file = Arc::new(file);
        let blob = Blob::File {
            file: file.clone(),
            version,
            is_steady: true,
        };
        (file, version, blob)
    }

    fn digest(first: u8, len: u64) -> u128 {
        let mut content = vec![0; usize::try_from(len).unwrap()];
        content[0] = first;
        XxHash3_128::oneshot(&content)
    }

    fn eventually(digests: &Digests, blob: &Blob, version: &Version) -> u128 {
        let start = Instant::now();
        loop {
            if let Some(digest) = digests.of(blob, version, later()) {
                return digest;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn short_files_are_known_at_once_and_long_ones_later() {
        let digests = Digests::start().unwrap();
        for (first, len) in [(1, 70_000), (2, AT_ONCE), (3, AT_ONCE + 1), (4, 40 * MIB)] {
            let (_, version, blob) = file(first, len);
            let at_once = digests.of(&blob, &version, later());
            let expected = digest(first, len);
            assert_eq!(at_once, (len <= AT_ONCE).then_some(expected), "{len}");
            let clone = digests.clone();
            assert_eq!(eventually(&clone, &blob, &version), expected, "{len}");
        }
    }

    #[test]
    fn what_was_read_is_not_read_again() {
        let digests = Digests::idle();
        let (file, version, blob) = file(1, 70_000);
        let first = digests.of(&blob, &version, later());
        file.write_all_at(b"other", 0).unwrap();
        assert_eq!(digests.of(&blob, &version, later()), first);
    }

    #[test]
    fn what_has_not_settled_is_not_begun_with() {
        let digests = Digests::idle();
        for len in [70_000, 3 * MIB] {
            let (_, version, blob) = file(1, len);
            let now = version.changed + Duration::from_millis(20);
            assert_eq!(digests.of(&blob, &version, now), None, "{len}");
            let made_up = Version {
                changed: SystemTime::UNIX_EPOCH,
                ..version
            };
            assert_eq!(digests.of(&blob, &made_up, later()), None, "{len}");
        }
        assert!(digests.living.shared.lock().waiting.is_empty());
    }

    #[test]
    fn what_changes_while_it_is_read_has_no_digest() {
        let piece = &mut vec![0; PIECE];
        let changes: [fn(&File); 3] = [
            |mut file| file.write_all(b"x").unwrap(),
            |file| file.set_len(100).unwrap(),
            |file| {
                // With its date put back.
                let modified = Version::of(file).unwrap().modified;
                file.write_all_at(b"x", 2 * MIB).unwrap();
                file.set_modified(modified).unwrap();
            },
        ];
        for change in changes {
            let (file, version, _) = file(1, 3 * MIB);
            let mut reading = Reading::new(&file, &version);
            assert_eq!(reading.read_on(MIB, piece).unwrap(), None);
            // The kernel's clock for files has ticks.
            thread::sleep(Duration::from_millis(20));
            change(&file);
            assert!(reading.read_on(MIB, piece).is_err());
            let digests = Digests::idle();
            let short = Version {
                len: MIB,
                ..version
            };
            let blob = Blob::File {
                file,
                version: short,
                is_steady: true,
            };
            assert_eq!(digests.of(&blob, &short, later()), None);
        }
    }

    #[test]
    fn no_more_waits_than_is_bounded_and_nothing_twice() {
        let digests = Digests::idle();
        let files: Vec<_> = (0..=QUEUE).map(|_| file(1, 3 * MIB)).collect();
        for (_, version, blob) in files.iter().chain(&files) {
            assert_eq!(digests.of(blob, version, later()), None);
        }
        let waiting = || digests.living.shared.lock().waiting.len();
        assert_eq!(waiting(), QUEUE);
        let piece = &mut vec![0; PIECE];
        for left in (0..QUEUE).rev() {
            assert!(digests.living.shared.work(piece));
            assert_eq!(waiting(), left);
        }
        let (_, version, blob) = &files[QUEUE];
        assert_eq!(digests.of(blob, version, later()), None);
        assert_eq!(waiting(), 1, "there is room again");
    }

    #[test]
    fn a_file_does_not_wait_for_the_end_of_a_long_one() {
        let digests = Digests::idle();
        let (_, huge, huge_blob) = file(1, 4096 * MIB);
        let (_, short, short_blob) = file(2, 3 * MIB);
        digests.of(&huge_blob, &huge, later());
        digests.of(&short_blob, &short, later());
        let piece = &mut vec![0; PIECE];
        assert!(digests.living.shared.work(piece));
        assert!(digests.living.shared.work(piece));
        let known = digests.of(&short_blob, &short, later());
        assert_eq!(known, Some(digest(2, 3 * MIB)));
        assert_eq!(digests.of(&huge_blob, &huge, later()), None);
        assert_eq!(digests.living.shared.lock().waiting.len(), 1);
    }

    #[test]
    fn no_more_is_remembered_than_is_bounded_and_last_what_is_asked_for() {
        let mut state = State::default();
        let (_, version, _) = file(1, 1);
        let numbered = |inode| Version { inode, ..version };
        for number in 0..3 * MOST as u64 {
            state.keep(numbered(number), number.into());
            assert_eq!(state.recall(&numbered(0)), Some(0), "at {number}");
            assert!(state.known.len() <= MOST);
            assert_eq!(state.known.len(), state.turns.len());
        }
        assert_eq!(state.recall(&numbered(1)), None);
        state.keep(numbered(0), 7);
        assert_eq!(state.recall(&numbered(0)), Some(7));
        assert_eq!(state.known.len(), state.turns.len());
    }

    #[test]
    fn the_thread_ends_with_the_last_clone() {
        let digests = Digests::start().unwrap();
        let shared = Arc::downgrade(&digests.living.shared);
        let (_, version, blob) = file(1, 4096 * MIB);
        digests.of(&blob, &version, later());
        drop(digests.clone());
        assert!(shared.upgrade().is_some());
        drop(digests);
        let start = Instant::now();
        while shared.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "in vain");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
