//! Proofs that sidecars are encodings of their files: each is decoded once, and compared with its file.
//!
//! - **Before a sidecar is first used**, its date and a few of its bytes are looked at (`sidecars.rs`, `header.rs`).
//!   That finds most that are wrong, at the cost of a read.
//! - **A background thread** then decodes it, at low priority and as a stream: it takes the memory of one decoder, at
//!   most 8 MiB for zstd and 16 MiB for brotli, whatever the length, and ends at the first byte that differs. Meanwhile
//!   the sidecar is sent. A lookup with an unproved sidecar is cached for one turn of the event loop only, so the next
//!   request after the proof has the result.
//! - **A result belongs to a pair of versions**, of the file and of the sidecar. They are not read before another
//!   change would be told apart from the last one, and must be the same versions when they have been read.
//!
//! A hostile client can at most cause each sidecar to be read once; and once more each, if there are more than
//! [`MAX_CACHED_PROOFS`] and it requests all of them.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tracing::debug;

use super::content_reader::{ContentReader, check_unchanged};
use super::encoder::{Recipient, is_encoded};
use crate::blob::{Blob, FileVersion};
use crate::http::Coding;
use crate::sync::{JobQueue, JobResults, WorkerPool, lock, lower_priority};

/// Reason why a sidecar is not used that looked right.
pub(crate) const OTHER_CONTENT: &str = "it does not decode to the content of its file";

/// Maximum number of sidecars that are queued or being read. Each holds two descriptors, or up to 128 KiB.
const MAX_QUEUED_PROOFS: usize = 16;

/// Maximum number of cached results, which take 6 MiB at most.
const MAX_CACHED_PROOFS: usize = 16 * 1024;

/// Prover of sidecars, and its results. Clones share them; its thread ends with the last clone.
#[derive(Clone, Default)]
pub struct SidecarProofs(Prover);

#[derive(Clone, Default)]
enum Prover {
    /// Nothing is decoded.
    #[default]
    None,
    /// The caller decodes.
    Caller,
    /// A background thread decodes.
    Thread(Arc<ProofThread>),
}

struct ProofThread {
    results: Arc<Mutex<ProofResults>>,
    pool: WorkerPool<ProofJob>,
}

type ProofResults = JobResults<ProofKey, ProofResult>;

/// Success, or the reason why a sidecar is not used.
pub(crate) type ProofResult = Result<(), &'static str>;

/// Called with the path of a sidecar that is wrong, and the reason.
type OnWrong = dyn Fn(&[u8], &'static str) + Send + Sync;

/// Versions that a result belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ProofKey {
    coding: Coding,
    file: FileVersion,
    sidecar: FileVersion,
}

/// Sidecar to be proved.
#[derive(Clone, Debug)]
struct ProofJob {
    key: ProofKey,
    path: Vec<u8>,
    file: Blob,
    sidecar: Blob,
}

/// Open sidecar beside its open file, with the path of the sidecar below the root.
#[derive(Debug)]
pub(crate) struct SidecarPair<'a> {
    pub(crate) coding: Coding,
    pub(crate) path: &'a [u8],
    pub(crate) file: (&'a Blob, &'a FileVersion),
    pub(crate) sidecar: (&'a Blob, &'a FileVersion),
}

impl SidecarProofs {
    /// Starts a background thread. It calls `on_wrong` with the path below the root of each sidecar that is wrong, and
    /// the reason.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        on_wrong: impl Fn(&[u8], &'static str) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let results = JobResults::new(MAX_CACHED_PROOFS, MAX_QUEUED_PROOFS);
        let results = Arc::new(Mutex::new(results));
        let pool = WorkerPool::new(MAX_QUEUED_PROOFS);
        let (thread_results, on_wrong) = (results.clone(), Arc::new(on_wrong));
        pool.start("sidecars", 1, move |queue| {
            lower_priority();
            while let Some(job) = queue.next() {
                run_job(&thread_results, queue, &job, &*on_wrong);
            }
        })?;
        Ok(Self(Prover::Thread(Arc::new(ProofThread {
            results,
            pool,
        }))))
    }

    /// Creates a prover that decodes each sidecar when it is found, for reports about a site.
    #[must_use]
    pub fn immediate() -> Self {
        Self(Prover::Caller)
    }

    /// Returns the proof of a sidecar that looks right. `None` if there is none yet: then it is queued, unless it
    /// changed a moment before `now` or the queue is full.
    pub(crate) fn result(&self, pair: &SidecarPair<'_>, now: SystemTime) -> Option<ProofResult> {
        let job = || ProofJob::new(pair);
        let thread = match &self.0 {
            Prover::None => return Some(Ok(())),
            // Where a file cannot be read, or is being written to, the server goes on with the sidecar, too.
            Prover::Caller => return Some(job().prove(&|| false).unwrap_or(Ok(()))),
            Prover::Thread(thread) => thread,
        };
        let key = ProofKey::new(pair);
        let mut results = lock(&thread.results);
        if let Some(result) = results.get(&key) {
            return Some(result);
        }
        if key.file.is_at_rest(now) && key.sidecar.is_at_rest(now) && results.start(key) {
            drop(results);
            thread.pool.queue().push(job());
        }
        None
    }
}

impl fmt::Debug for SidecarProofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Prover::None => f.write_str("SidecarProofs(none)"),
            Prover::Caller => f.write_str("SidecarProofs(immediate)"),
            Prover::Thread(thread) => f
                .debug_struct("SidecarProofs")
                .field("cached", &lock(&thread.results).len())
                .field("queued", &thread.pool.queue().len())
                .finish(),
        }
    }
}

impl ProofKey {
    fn new(pair: &SidecarPair<'_>) -> Self {
        Self {
            coding: pair.coding,
            file: *pair.file.1,
            sidecar: *pair.sidecar.1,
        }
    }
}

impl ProofJob {
    fn new(pair: &SidecarPair<'_>) -> Self {
        Self {
            key: ProofKey::new(pair),
            path: pair.path.to_vec(),
            file: pair.file.0.clone(),
            sidecar: pair.sidecar.0.clone(),
        }
    }

    /// Decodes the sidecar and compares it with its file.
    ///
    /// # Errors
    /// One of them cannot be read or has changed; or `is_stopped`. There is no result then.
    fn prove(&self, is_stopped: &dyn Fn() -> bool) -> io::Result<ProofResult> {
        let check_both = || {
            check_unchanged(&self.file, &self.key.file)?;
            check_unchanged(&self.sidecar, &self.key.sidecar)
        };
        check_both()?;
        let mut sidecar = ContentReader::new(&self.sidecar, is_stopped);
        let mut file = ContentReader::new(&self.file, is_stopped);
        let decode = || is_encoded(self.key.coding, Recipient::Client, &mut sidecar, &mut file);
        // What a decoder panics at, it does not decode.
        let is_right = catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Ok(false))?;
        if sidecar.has_failed() {
            return Err(io::Error::other("the sidecar cannot be read"));
        }
        check_both()?;
        Ok(is_right.then_some(()).ok_or(OTHER_CONTENT))
    }
}

/// Proves a sidecar, and caches the result.
fn run_job(
    results: &Mutex<ProofResults>,
    queue: &JobQueue<ProofJob>,
    job: &ProofJob,
    on_wrong: &OnWrong,
) {
    let is_stopped = || queue.is_closed();
    let result = match job.prove(&is_stopped) {
        Ok(result) => Some(result),
        // It is tried again.
        Err(error) => {
            debug!(
                "cannot compare /{} with its file: {error}",
                job.path.escape_ascii()
            );
            None
        }
    };
    if let Some(Err(why)) = result {
        on_wrong(&job.path, why);
    }
    lock(results).finish(&job.key, result);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::site::encoding::encoder::{Effort, encode};

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Zstd, Coding::Brotli];
    const TIMEOUT: Duration = Duration::from_secs(20);

    fn encoded(coding: Coding, content: &[u8]) -> Vec<u8> {
        let (len, mut output) = (content.len() as u64, Vec::new());
        encode(coding, Effort::Quick, len, &mut &*content, &mut output).unwrap();
        output
    }

    fn open(content: &[u8]) -> (Blob, FileVersion) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let version = FileVersion::of(&file).unwrap();
        let blob = Blob::File {
            file: Arc::new(file),
            version,
            is_steady: true,
        };
        (blob, version)
    }

    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(60)
    }

    fn result_at(
        proofs: &SidecarProofs,
        coding: Coding,
        file: &(Blob, FileVersion),
        sidecar: &(Blob, FileVersion),
        now: SystemTime,
    ) -> Option<ProofResult> {
        let pair = SidecarPair {
            coding,
            path: b"sidecar",
            file: (&file.0, &file.1),
            sidecar: (&sidecar.0, &sidecar.1),
        };
        proofs.result(&pair, now)
    }

    fn prove(coding: Coding, file: &[u8], sidecar: &[u8]) -> ProofResult {
        let proofs = SidecarProofs::immediate();
        result_at(&proofs, coding, &open(file), &open(sidecar), later()).unwrap()
    }

    #[test]
    fn only_whole_encoding_of_the_file_is_proved() {
        let wrong = Err(OTHER_CONTENT);
        for content in [&b""[..], b"short", &b"text that repeats ".repeat(20_000)] {
            for coding in CODINGS {
                let (right, what) = (encoded(coding, content), (coding, content.len()));
                assert_eq!(prove(coding, content, &right), Ok(()), "{what:?}");
                let longer = [content, b"x"].concat();
                for other in [
                    [&*right, b"x"].concat(),
                    [&*right, &[0; 5000]].concat(),
                    right[..right.len() - 1].to_vec(),
                    encoded(coding, &longer),
                    b"text".to_vec(),
                ] {
                    assert_eq!(
                        prove(coding, content, &other),
                        wrong,
                        "{what:?} {}",
                        other.len()
                    );
                }
                assert_eq!(prove(coding, &longer, &right), wrong, "{what:?}");
                let members = [encoded(coding, content), right].concat();
                // Several zstd frames are allowed (RFC 8878 section 3.1); clients read one gzip member.
                let expected = if coding == Coding::Zstd {
                    Ok(())
                } else {
                    wrong
                };
                assert_eq!(
                    prove(coding, &content.repeat(2), &members),
                    expected,
                    "{what:?}"
                );
            }
        }
    }

    #[test]
    fn decoding_ends_where_the_file_does() {
        let bomb = vec![0; 8 << 20];
        for coding in CODINGS {
            let bomb = encoded(coding, &bomb).into();
            let mut reader = ContentReader::new(&bomb, &|| false);
            let original = &mut &[0; 1000][..];
            let is_right = is_encoded(coding, Recipient::Client, &mut reader, original);
            assert!(!is_right.unwrap());
            assert!(
                reader.position() < bomb.len().max(20_000),
                "{coding:?}: {}",
                reader.position()
            );
        }
    }

    fn start() -> (SidecarProofs, Receiver<(Vec<u8>, &'static str)>) {
        let (sender, wrong) = channel();
        let on_wrong = move |path: &[u8], why| sender.send((path.to_vec(), why)).unwrap();
        (SidecarProofs::start(on_wrong).unwrap(), wrong)
    }

    #[test]
    fn thread_proves_each_pair_of_versions_once() {
        let (proofs, wrong) = start();
        let content = b"text that repeats ".repeat(20_000);
        let file = open(&content);
        let (right, foreign) = (
            open(&encoded(Coding::Gzip, &content)),
            open(&encoded(Coding::Gzip, b"other")),
        );
        let result = |sidecar, now| result_at(&proofs, Coding::Gzip, &file, sidecar, now);
        assert_eq!(
            result(&foreign, file.1.changed),
            None,
            "not at rest: it may change unseen"
        );
        assert!(wrong.recv_timeout(Duration::from_millis(50)).is_err());
        for _ in 0..5 {
            assert!(result(&foreign, later()).is_none_or(|result| result.is_err()));
            assert!(result(&right, later()).is_none_or(|result| result.is_ok()));
        }
        assert_eq!(
            wrong.recv_timeout(TIMEOUT),
            Ok((b"sidecar".to_vec(), OTHER_CONTENT))
        );
        while result(&right, later()).is_none() || result(&foreign, later()).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(result(&right, later()), Some(Ok(())));
        assert_eq!(result(&foreign, later()), Some(Err(OTHER_CONTENT)));
        assert!(wrong.try_recv().is_err(), "it was read once");
        // The result is that of this coding alone.
        assert_eq!(
            result_at(&proofs, Coding::Zstd, &file, &right, later()),
            None
        );
        assert!(wrong.recv_timeout(TIMEOUT).is_ok(), "gzip is no zstd");
        drop(proofs);
        assert!(wrong.recv_timeout(TIMEOUT).is_err(), "the thread has ended");
    }

    #[test]
    fn changed_or_unreadable_sidecar_has_no_result() {
        let content = b"text";
        let (file, right) = (open(content), open(&encoded(Coding::Gzip, content)));
        let job = |sidecar: &(Blob, FileVersion)| {
            ProofJob::new(&SidecarPair {
                coding: Coding::Gzip,
                path: b"sidecar",
                file: (&file.0, &file.1),
                sidecar: (&sidecar.0, &sidecar.1),
            })
        };
        assert_eq!(job(&right).prove(&|| false).unwrap(), Ok(()));
        assert!(job(&right).prove(&|| true).is_err(), "stopped");
        let directory = Arc::new(File::open(std::env::temp_dir()).unwrap());
        let version = FileVersion::of(&directory).unwrap();
        let unreadable = Blob::File {
            file: directory,
            version,
            is_steady: true,
        };
        assert!(job(&(unreadable, version)).prove(&|| false).is_err());
        let Blob::File {
            file: open_file, ..
        } = &right.0
        else {
            unreachable!();
        };
        open_file.set_len(3).unwrap();
        assert!(job(&right).prove(&|| false).is_err(), "changed");
    }
}
