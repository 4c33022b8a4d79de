//! Digests of the content of files, each file read once for all workers.
//!
//! With them every entity tag is made from the file's content, so all replicas of a release send the same tag, however
//! and whenever they got the file, and a download that was started from one of them is resumed from another.
//!
//! - **Short files**, up to 2 MiB, are read when they are found: 0.3 ms for 2 MiB in the kernel's page cache. That
//!   happens between two responses, as copying them into memory does, when they are requested again.
//! - **Longer files** are read by a background thread. No request waits for it: until the thread has finished, such a
//!   file has no tag. (Another kind of tag would be unknown to the other replicas, and would not last.) Later requests
//!   get the tag at once, as a longer file is looked up in each turn of the event loop. The thread yields to the
//!   workers, and divides its time: a file waits for 16 MiB of each of the files that came before it, not for their
//!   ends.
//! - **A digest belongs to one version.** A file is not read before another change would be told apart from the last
//!   one, and must be the same version when it has been read, as far as the file system shows; otherwise the result is
//!   discarded. Where no date shows a change (see `validators.rs`), there is no digest.
//!
//! A hostile client can at most cause each file to be read once, one at a time, while others are served; and once more
//! each, if there are more than [`MAX_CACHED_DIGESTS`] files and it requests all of them.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tracing::debug;
use twox_hash::xxhash3_128::Hasher;

use crate::blob::{Blob, FileVersion};
use crate::site::options::MAX_CACHED_FILE_BYTES;
use crate::sync::{JobQueue, JobResults, WorkerPool, lock, lower_priority};

/// Size in bytes up to which a file is read at once, by the worker.
const MAX_SYNC_BYTES: u64 = MAX_CACHED_FILE_BYTES;

/// Maximum number of files that are queued or being read. Each holds a descriptor.
const MAX_QUEUED_FILES: usize = 32;

/// Bytes of a file that the thread reads before it goes on with the next.
const SLICE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes per read(2).
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Maximum number of cached digests, which take 5 MiB at most.
const MAX_CACHED_DIGESTS: usize = 16 * 1024;

/// Background thread that reads files, and their digests. Clones share them; the thread ends with the last clone.
#[derive(Clone)]
pub struct Digests {
    state: Arc<Mutex<DigestsState>>,
    pool: Arc<WorkerPool<DigestJob>>,
}

type DigestsState = JobResults<FileVersion, u128>;

/// File that is being read.
struct DigestJob {
    file: Arc<File>,
    version: FileVersion,
    /// Bytes read so far.
    offset: u64,
    hasher: Hasher,
}

impl Digests {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let this = Self::without_thread();
        let state = this.state.clone();
        this.pool.start("digests", 1, move |queue| {
            lower_priority();
            let mut buffer = vec![0; READ_BUFFER_BYTES];
            while run_slice(&state, queue, &mut buffer) {}
        })?;
        Ok(this)
    }

    /// Creates an instance without a thread.
    fn without_thread() -> Self {
        Self {
            state: Arc::new(Mutex::new(JobResults::new(
                MAX_CACHED_DIGESTS,
                MAX_QUEUED_FILES,
            ))),
            pool: Arc::new(WorkerPool::new(MAX_QUEUED_FILES)),
        }
    }

    /// Returns the digest of a file, which was of this version at `now` or later; `None` if there can be none, or is
    /// none yet. A longer file is then queued, unless the queue is full.
    pub(crate) fn digest(
        &self,
        content: &Blob,
        version: &FileVersion,
        now: SystemTime,
    ) -> Option<u128> {
        let Blob::File { file, .. } = content else {
            return None;
        };
        if !version.is_settled(now) {
            return None;
        }
        let mut state = lock(&self.state);
        if let Some(digest) = state.get(version) {
            return Some(digest);
        }
        if version.len > MAX_SYNC_BYTES {
            if state.start(*version) {
                drop(state);
                self.pool.queue().push(DigestJob::new(file, version));
            }
            return None;
        }
        drop(state);
        let mut job = DigestJob::new(file, version);
        let digest = job
            .read_slice(MAX_SYNC_BYTES, &mut vec![0; READ_BUFFER_BYTES])
            .ok()??;
        lock(&self.state).insert(*version, digest);
        Some(digest)
    }
}

impl fmt::Debug for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digests")
            .field("cached", &lock(&self.state).len())
            .field("queued", &self.pool.queue().len())
            .finish_non_exhaustive()
    }
}

/// Waits for a file and reads a slice of it. Returns whether more files may come.
fn run_slice(state: &Mutex<DigestsState>, queue: &JobQueue<DigestJob>, buffer: &mut [u8]) -> bool {
    let Some(mut job) = queue.next() else {
        return false;
    };
    // (A file that is not read further is closed without the lock: if it was the last name of a long file, closing takes
    // a while.)
    let version = job.version;
    let digest = match job.read_slice(SLICE_BYTES, buffer) {
        Ok(None) => {
            queue.push(job);
            return true;
        }
        Ok(digest) => digest,
        Err(error) => {
            debug!("cannot hash inode {}: {error}", version.inode);
            None
        }
    };
    lock(state).finish(&version, digest);
    true
}

impl DigestJob {
    fn new(file: &Arc<File>, version: &FileVersion) -> Self {
        Self {
            file: file.clone(),
            version: *version,
            offset: 0,
            hasher: Hasher::new(),
        }
    }

    /// Reads up to `max_bytes` more. Returns the digest if the end was reached.
    ///
    /// # Errors
    /// Errors of pread(2); the file was changed, before or after.
    fn read_slice(&mut self, max_bytes: u64, buffer: &mut [u8]) -> io::Result<Option<u128>> {
        self.check_unchanged()?;
        let end = self.version.len.min(self.offset.saturating_add(max_bytes));
        while self.offset < end {
            let remaining = usize::try_from(end - self.offset).unwrap_or(usize::MAX);
            let room = remaining.min(buffer.len());
            match self.file.read_at(&mut buffer[..room], self.offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.hasher.write(&buffer[..count]);
                    self.offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.check_unchanged()?;
        Ok((self.offset == self.version.len).then(|| self.hasher.finish_128()))
    }

    /// Checks that the file is still of this version, by equality, as its digest is kept under the version. The kernel dates a write before it shows any of its bytes, so a
    /// reader that finds the date unchanged has read none of them. (A file that has lost its name meanwhile has another
    /// date as well, and will not be requested.)
    fn check_unchanged(&self) -> io::Result<()> {
        match FileVersion::of(&self.file)? == self.version {
            true => Ok(()),
            false => Err(io::Error::other("the file changed")),
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

    /// Returns a time long after any write of a test.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    /// Creates an open file of `len` bytes: `first`, then zeros.
    fn file(first: u8, len: u64) -> (Arc<File>, FileVersion, Blob) {
        let file = tempfile::tempfile().unwrap();
        // The date of a change made by the clock has a fraction.
        while FileVersion::of(&file).map_or(true, |version| {
            version.len != len || !version.has_subsecond_ctime()
        }) {
            file.write_all_at(&[first], 0).unwrap();
            file.set_len(len).unwrap();
        }
        let version = FileVersion::of(&file).unwrap();
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

    fn await_digest(digests: &Digests, blob: &Blob, version: &FileVersion) -> u128 {
        let start = Instant::now();
        loop {
            if let Some(digest) = digests.digest(blob, version, later()) {
                return digest;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "timed out");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn short_files_are_digested_at_once_and_long_ones_later() {
        let digests = Digests::start().unwrap();
        for (first, len) in [
            (1, 70_000),
            (2, MAX_SYNC_BYTES),
            (3, MAX_SYNC_BYTES + 1),
            (4, 40 * MIB),
        ] {
            let (_, version, blob) = file(first, len);
            let at_once = digests.digest(&blob, &version, later());
            let expected = digest(first, len);
            assert_eq!(
                at_once,
                (len <= MAX_SYNC_BYTES).then_some(expected),
                "{len}"
            );
            let clone = digests.clone();
            assert_eq!(await_digest(&clone, &blob, &version), expected, "{len}");
        }
    }

    #[test]
    fn digest_is_cached_by_version() {
        let digests = Digests::without_thread();
        let (file, version, blob) = file(1, 70_000);
        let first = digests.digest(&blob, &version, later());
        file.write_all_at(b"other", 0).unwrap();
        assert_eq!(digests.digest(&blob, &version, later()), first);
    }

    #[test]
    fn unsettled_file_is_not_digested() {
        let digests = Digests::without_thread();
        for len in [70_000, 3 * MIB] {
            let (_, version, blob) = file(1, len);
            let now = version.changed + Duration::from_millis(20);
            assert_eq!(digests.digest(&blob, &version, now), None, "{len}");
            let made_up = FileVersion {
                changed: SystemTime::UNIX_EPOCH,
                ..version
            };
            assert_eq!(digests.digest(&blob, &made_up, later()), None, "{len}");
        }
        assert!(digests.pool.queue().len() == 0);
    }

    #[test]
    fn file_changed_while_read_has_no_digest() {
        let buffer = &mut vec![0; READ_BUFFER_BYTES];
        let changes: [fn(&File); 3] = [
            |mut file| file.write_all(b"x").unwrap(),
            |file| file.set_len(100).unwrap(),
            |file| {
                // With its date restored.
                let modified = FileVersion::of(file).unwrap().modified;
                file.write_all_at(b"x", 2 * MIB).unwrap();
                file.set_modified(modified).unwrap();
            },
        ];
        for change in changes {
            let (file, version, _) = file(1, 3 * MIB);
            let mut job = DigestJob::new(&file, &version);
            assert_eq!(job.read_slice(MIB, buffer).unwrap(), None);
            // The kernel's clock for files has ticks.
            std::thread::sleep(Duration::from_millis(20));
            change(&file);
            assert!(job.read_slice(MIB, buffer).is_err());
            let digests = Digests::without_thread();
            let short = FileVersion {
                len: MIB,
                ..version
            };
            let blob = Blob::File {
                file,
                version: short,
                is_steady: true,
            };
            assert_eq!(digests.digest(&blob, &short, later()), None);
        }
    }

    #[test]
    fn queue_is_bounded_and_holds_each_file_once() {
        let digests = Digests::without_thread();
        let files: Vec<_> = (0..=MAX_QUEUED_FILES).map(|_| file(1, 3 * MIB)).collect();
        for (_, version, blob) in files.iter().chain(&files) {
            assert_eq!(digests.digest(blob, version, later()), None);
        }
        let queued = || digests.pool.queue().len();
        assert_eq!(queued(), MAX_QUEUED_FILES);
        let buffer = &mut vec![0; READ_BUFFER_BYTES];
        for remaining in (0..MAX_QUEUED_FILES).rev() {
            assert!(run_slice(&digests.state, digests.pool.queue(), buffer));
            assert_eq!(queued(), remaining);
        }
        let (_, version, blob) = &files[MAX_QUEUED_FILES];
        assert_eq!(digests.digest(blob, version, later()), None);
        assert_eq!(queued(), 1, "there is room again");
    }

    #[test]
    fn short_file_does_not_wait_for_a_long_one() {
        let digests = Digests::without_thread();
        let (_, huge, huge_blob) = file(1, 4096 * MIB);
        let (_, short, short_blob) = file(2, 3 * MIB);
        digests.digest(&huge_blob, &huge, later());
        digests.digest(&short_blob, &short, later());
        let buffer = &mut vec![0; READ_BUFFER_BYTES];
        assert!(run_slice(&digests.state, digests.pool.queue(), buffer));
        assert!(run_slice(&digests.state, digests.pool.queue(), buffer));
        let cached = digests.digest(&short_blob, &short, later());
        assert_eq!(cached, Some(digest(2, 3 * MIB)));
        assert_eq!(digests.digest(&huge_blob, &huge, later()), None);
        assert_eq!(digests.pool.queue().len(), 1);
    }

    #[test]
    fn thread_ends_with_the_last_clone() {
        let digests = Digests::start().unwrap();
        let state = Arc::downgrade(&digests.state);
        let (_, version, blob) = file(1, 4096 * MIB);
        digests.digest(&blob, &version, later());
        drop(digests.clone());
        assert!(!digests.pool.queue().is_closed());
        drop(digests);
        let start = Instant::now();
        while state.strong_count() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "timed out");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
