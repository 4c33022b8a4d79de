//! Password verification on background threads, shared by all requests with the same credentials.

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::users::{Credentials, Users};
use super::verdict_cache::{CredentialHash, CredentialHasher, VerdictCache};
use crate::sync::{JobQueue, Waker, WorkerPool, lock};

/// Number of verifications that may wait for a thread. With bcrypt at cost 10 and one thread, the last one waits for
/// six seconds.
const MAX_QUEUED_JOBS: usize = 128;

/// Time that a request waits for its verification.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Time to live of cached verdicts, from the arrival of the credentials, and number of each kind.
const VALID_TTL: Duration = Duration::from_secs(60);
const INVALID_TTL: Duration = Duration::from_secs(5);
const MAX_CACHED_VERDICTS: usize = 4096;

/// Verifies passwords on one or two background threads, for all event loops. The threads end with the last [`Verifier`]
/// and [`AuthHandle`].
#[derive(Clone, Debug)]
pub struct Verifier {
    shared: Arc<VerifierShared>,
    pool: Arc<WorkerPool<VerificationJob>>,
}

/// One event loop's handle of a [`Verifier`], with the waker for its sessions.
#[derive(Debug)]
pub struct AuthHandle {
    verifier: Verifier,
    waker: Waker,
}

/// A session's verdict on the credentials received last. It does not contain the credentials.
#[derive(Debug)]
pub struct CachedVerdict {
    hash: CredentialHash,
    /// Generation of the users, counted by [`Verifier::replace_users`].
    generation: u64,
    state: VerificationState,
}

#[derive(Debug)]
enum VerificationState {
    Verified {
        is_valid: bool,
        until: Instant,
    },
    /// Not verified yet. The verification is dropped when no session holds its ticket any more.
    Pending {
        _ticket: Arc<()>,
        until: Instant,
    },
}

/// Result of checking a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are valid.
    Valid,
    /// They are invalid.
    Invalid,
    /// They are being verified: check them again after the next wake-up, and at the latest at this time, when the verdict
    /// is no longer `Pending`.
    Pending(Instant),
    /// Too many verifications are pending, or this one takes too long.
    Busy,
}

#[derive(Debug)]
struct VerifierShared {
    hasher: CredentialHasher,
    generation: AtomicU64,
    /// Locked before the queue of the jobs is.
    state: Mutex<VerifierState>,
}

#[derive(Debug)]
struct VerifierState {
    users: Arc<Users>,
    /// Verifications in the queue, or on a thread.
    pending: HashMap<CredentialHash, PendingVerification>,
    valid: VerdictCache,
    invalid: VerdictCache,
}

#[derive(Debug)]
struct VerificationJob {
    hash: CredentialHash,
    credentials: Credentials,
    received: Instant,
}

/// Requests that wait for a verification.
#[derive(Debug)]
struct PendingVerification {
    ticket: Weak<()>,
    wakers: Vec<Waker>,
}

impl Verifier {
    /// Starts the threads, with these users: half as many as there are workers, but at least one and at most two.
    ///
    /// # Errors
    /// If the system provides no thread, or no randomness.
    pub fn new(users: Users, workers: NonZeroUsize) -> io::Result<Self> {
        let this = Self::without_threads(users)?;
        // A hash occupies a CPU for a while; where each CPU has a worker, this leaves half of them to the workers. (A
        // sandboxed process can no longer ask for the number of CPUs.)
        let threads = (workers.get() / 2).clamp(1, 2);
        let shared = this.shared.clone();
        this.pool.start(
            "passwords",
            threads,
            move |queue| while shared.verify_next(queue) {},
        )?;
        Ok(this)
    }

    /// Creates a verifier without threads.
    fn without_threads(users: Users) -> io::Result<Self> {
        let shared = Arc::new(VerifierShared {
            hasher: CredentialHasher::new().map_err(io::Error::from)?,
            generation: AtomicU64::new(0),
            state: Mutex::new(VerifierState {
                users: Arc::new(users),
                pending: HashMap::new(),
                valid: VerdictCache::new(VALID_TTL, MAX_CACHED_VERDICTS),
                invalid: VerdictCache::new(INVALID_TTL, MAX_CACHED_VERDICTS),
            }),
        });
        Ok(Self {
            shared,
            pool: Arc::new(WorkerPool::new(MAX_QUEUED_JOBS)),
        })
    }

    /// Creates a handle for another event loop.
    ///
    /// # Errors
    /// If the kernel provides no descriptor.
    pub fn handle(&self) -> io::Result<AuthHandle> {
        Ok(AuthHandle {
            verifier: self.clone(),
            waker: Waker::new()?,
        })
    }

    /// Number of verifications that wait for a thread.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.pool.queue().len()
    }

    /// Replaces the users. All cached verdicts become invalid, those of sessions included, and results of verifications
    /// in progress are discarded.
    pub fn replace_users(&self, users: Users) {
        let mut state = lock(&self.shared.state);
        state.users = Arc::new(users);
        state.valid.clear();
        state.invalid.clear();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }
}

impl AuthHandle {
    /// Waker that is woken whenever a verdict is ready for which a session of this event loop received
    /// [`Pending`](Verdict::Pending).
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Checks the value of a request's Authorization field. The verdict `cached` by the session is valid for the same
    /// value, for a while, and saves the hash and the lock. `parse` returns the credentials, `None` if they are
    /// malformed; it is called only if they are to be verified.
    pub fn check(
        &self,
        cached: &mut Option<Box<CachedVerdict>>,
        value: &[u8],
        now: Instant,
        parse: impl FnOnce() -> Option<Credentials>,
    ) -> Verdict {
        let shared = &*self.verifier.shared;
        let hash = shared.hasher.hash(value);
        let generation = shared.generation.load(Ordering::Acquire);
        let same = cached.as_mut().filter(|cached| cached.hash.ct_eq(hash));
        let mut wait_until = None;
        match same.map(|cached| (cached.generation == generation, &cached.state)) {
            Some((true, &VerificationState::Verified { is_valid, until })) if until > now => {
                return Verdict::of(is_valid);
            }
            Some((_, &VerificationState::Pending { until, .. })) => wait_until = Some(until),
            _ => {}
        }
        let mut state = lock(&shared.state);
        // The users cannot be replaced while this is locked.
        let generation = shared.generation.load(Ordering::Acquire);
        let verification = match state.cached(hash) {
            // A request that has waited may use the verdict even after it has expired.
            Some((is_valid, until)) if until > now || wait_until.is_some() => {
                VerificationState::Verified { is_valid, until }
            }
            _ => {
                let until = wait_until.unwrap_or(now + MAX_WAIT);
                let ticket = match until > now {
                    true => state.enqueue(self, hash, now, parse),
                    false => Err(Verdict::Busy),
                };
                match ticket {
                    Ok(_ticket) => VerificationState::Pending { _ticket, until },
                    Err(verdict) => {
                        *cached = None;
                        return verdict;
                    }
                }
            }
        };
        let verdict = match verification {
            VerificationState::Verified { is_valid, .. } => Verdict::of(is_valid),
            VerificationState::Pending { until, .. } => Verdict::Pending(until),
        };
        drop(state);
        let updated = CachedVerdict {
            hash,
            generation,
            state: verification,
        };
        match cached {
            Some(cached) => **cached = updated,
            None => *cached = Some(Box::new(updated)),
        }
        verdict
    }
}

impl Verdict {
    fn of(is_valid: bool) -> Self {
        match is_valid {
            true => Self::Valid,
            false => Self::Invalid,
        }
    }
}

impl VerifierState {
    /// Cached verdict, and its expiry.
    fn cached(&self, hash: CredentialHash) -> Option<(bool, Instant)> {
        let is_valid = self.valid.expires_at(hash).map(|until| (true, until));
        let invalid = || self.invalid.expires_at(hash).map(|until| (false, until));
        is_valid.or_else(invalid)
    }

    /// Returns a ticket for the verification in progress, or queues a new one.
    fn enqueue(
        &mut self,
        handle: &AuthHandle,
        hash: CredentialHash,
        now: Instant,
        parse: impl FnOnce() -> Option<Credentials>,
    ) -> Result<Arc<()>, Verdict> {
        let (queue, waker) = (handle.verifier.pool.queue(), &handle.waker);
        if let Some(pending) = self.pending.get_mut(&hash) {
            if !pending.wakers.contains(waker) {
                pending.wakers.push(waker.clone());
            }
            // The verification is still there, although the sessions that waited for it have gone.
            let ticket = pending.ticket.upgrade().unwrap_or_default();
            pending.ticket = Arc::downgrade(&ticket);
            return Ok(ticket);
        }
        let credentials = parse().ok_or(Verdict::Invalid)?;
        if queue.len() >= MAX_QUEUED_JOBS {
            self.drop_abandoned(queue);
        }
        let job = VerificationJob {
            hash,
            credentials,
            received: now,
        };
        if !queue.push(job) {
            return Err(Verdict::Busy);
        }
        let ticket = Arc::default();
        let pending = PendingVerification {
            ticket: Arc::downgrade(&ticket),
            wakers: vec![waker.clone()],
        };
        self.pending.insert(hash, pending);
        Ok(ticket)
    }

    /// Drops queued verifications that no session waits for.
    fn drop_abandoned(&mut self, queue: &JobQueue<VerificationJob>) {
        queue.retain(|job| self.is_awaited(job));
    }

    /// Whether a session waits for this verification. Otherwise it is no longer pending.
    fn is_awaited(&mut self, job: &VerificationJob) -> bool {
        let pending = self.pending.get(&job.hash);
        let is_awaited = pending.is_some_and(|pending| pending.ticket.strong_count() > 0);
        if !is_awaited {
            self.pending.remove(&job.hash);
        }
        is_awaited
    }
}

impl VerifierShared {
    /// Waits for a job that is not abandoned, and does it. Returns whether to go on.
    fn verify_next(&self, queue: &JobQueue<VerificationJob>) -> bool {
        let (job, state) = loop {
            let Some(job) = queue.next() else {
                return false;
            };
            let mut state = lock(&self.state);
            state.drop_abandoned(queue);
            if state.is_awaited(&job) {
                break (job, state);
            }
        };
        let users = state.users.clone();
        let generation = self.generation.load(Ordering::Acquire);
        drop(state);
        let is_valid = users.verify(&job.credentials);
        let mut state = lock(&self.state);
        if self.generation.load(Ordering::Acquire) == generation {
            match is_valid {
                true => state.valid.insert(job.hash, job.received),
                false => state.invalid.insert(job.hash, job.received),
            }
        }
        let wakers = state
            .pending
            .remove(&job.hash)
            .map(|pending| pending.wakers);
        drop(state);
        wakers.iter().flatten().for_each(Waker::wake);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-crypt hashes of "one", by openssl passwd -5 -salt rounds=1000$a, and of "two", with $b.
    const ONE: &str = "$5$rounds=1000$a$aGgxWlLEPPrIca.smL4GMZIM1ggm.V4niG3CYad.SY4";
    const TWO: &str = "$5$rounds=1000$b$J946aI/Nex8DjwfMPRQA5p6RYrucmPaAYukzwWC9yv0";

    const SECOND: Duration = Duration::from_secs(1);

    /// A verifier that runs on the test's thread, with one handle.
    struct TestVerifier {
        verifier: Verifier,
        handle: AuthHandle,
        start: Instant,
    }

    type VerdictSlot = Option<Box<CachedVerdict>>;

    impl TestVerifier {
        fn new() -> Self {
            let verifier = Verifier::without_threads(users(ONE)).unwrap();
            let handle = verifier.handle().unwrap();
            Self {
                verifier,
                handle,
                start: Instant::now(),
            }
        }

        /// Asserts the verdict for a session that sends "ann" with this password, this many seconds after the start.
        fn check(
            &self,
            session: &mut VerdictSlot,
            password: &str,
            seconds: u32,
            expected: Verdict,
        ) {
            let value = format!("ann:{password}");
            let parse = || {
                Some(Credentials {
                    user: "ann".into(),
                    password: password.into(),
                })
            };
            let now = self.start + SECOND * seconds;
            let verdict = self.handle.check(session, value.as_bytes(), now, parse);
            match (verdict, expected) {
                (Verdict::Pending(until), Verdict::Pending(_)) => assert!(until > now),
                _ => assert_eq!(verdict, expected, "{password} after {seconds} s"),
            }
        }

        /// Verdict that is pending, until any time.
        fn pending(&self) -> Verdict {
            Verdict::Pending(self.start)
        }

        fn verify_next(&self) {
            let queue = self.verifier.pool.queue();
            assert!(self.verifier.shared.verify_next(queue));
        }

        fn queued(&self) -> usize {
            self.verifier.queue_len()
        }

        /// Number of wake-ups since the last call.
        fn wakes(&self) -> u64 {
            self.handle.waker.wait(Duration::ZERO).unwrap()
        }
    }

    fn users(hash: &str) -> Users {
        Users::parse(format!("ann:{hash}").as_bytes()).unwrap()
    }

    #[test]
    fn verdict_is_cached_until_it_expires() {
        for (password, expected, time) in
            [("one", Verdict::Valid, 60), ("two", Verdict::Invalid, 5)]
        {
            let (test, mut session) = (TestVerifier::new(), None);
            test.check(&mut session, password, 0, test.pending());
            test.check(&mut session, password, 1, test.pending());
            assert_eq!((test.queued(), test.wakes()), (1, 0));
            test.verify_next();
            assert_eq!(test.wakes(), 1);
            test.check(&mut session, password, 2, expected);
            test.check(&mut session, password, time - 1, expected);
            // Other sessions use it, too, for as long.
            test.check(&mut None, password, time - 1, expected);
            test.check(&mut None, password, time, test.pending());
            test.check(&mut session, password, time, test.pending());
        }
    }

    #[test]
    fn verdict_belongs_to_one_password() {
        let (test, mut session) = (TestVerifier::new(), None);
        test.check(&mut session, "one", 0, test.pending());
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Valid);
        test.check(&mut session, "two", 0, test.pending());
        test.verify_next();
        test.check(&mut session, "two", 0, Verdict::Invalid);
        test.check(&mut session, "one", 0, Verdict::Valid);
        assert_eq!(test.queued(), 0);
    }

    #[test]
    fn concurrent_requests_share_one_verification() {
        let test = TestVerifier::new();
        let other = test.verifier.handle().unwrap();
        let mut sessions: [VerdictSlot; 3] = Default::default();
        for session in &mut sessions {
            test.check(session, "one", 0, test.pending());
        }
        let mut other_slot = None;
        let parse = || unreachable!("verification is pending");
        let verdict = other.check(&mut other_slot, b"ann:one", test.start, parse);
        assert!(matches!(verdict, Verdict::Pending(_)) && test.queued() == 1);
        test.verify_next();
        assert_eq!(test.wakes(), 1, "one wake-up per event loop");
        let wakes = other.waker.wait(Duration::ZERO).unwrap();
        assert_eq!(wakes, 1, "the other loop was woken, too");
        for session in &mut sessions {
            test.check(session, "one", 0, Verdict::Valid);
        }
    }

    #[test]
    fn malformed_credentials_are_invalid_at_once() {
        let (test, mut session) = (TestVerifier::new(), None);
        let verdict = test
            .handle
            .check(&mut session, b"Bearer", test.start, || None);
        assert_eq!((verdict, test.queued()), (Verdict::Invalid, 0));
        assert!(session.is_none());
    }

    #[test]
    fn request_is_busy_after_max_wait_and_a_late_verdict_is_used() {
        let (test, mut session) = (TestVerifier::new(), None);
        let wait_until = u32::try_from(MAX_WAIT.as_secs()).unwrap();
        test.check(&mut session, "one", 0, test.pending());
        test.check(&mut session, "one", wait_until - 1, test.pending());
        test.check(&mut session, "one", wait_until, Verdict::Busy);
        // The verification is still queued, for the next request that waits.
        test.check(&mut session, "one", wait_until, test.pending());
        assert_eq!(test.queued(), 1);
        test.verify_next();
        test.check(&mut session, "one", 4 * wait_until, Verdict::Valid);
        // An expired verdict is used by the request that waited for it.
        test.check(&mut session, "two", 0, test.pending());
        test.verify_next();
        test.check(&mut session, "two", 9, Verdict::Invalid);
        test.check(&mut session, "two", 9, test.pending());
    }

    #[test]
    fn full_queue_is_busy_and_abandoned_jobs_are_dropped() {
        let test = TestVerifier::new();
        let mut sessions: Vec<VerdictSlot> = (0..MAX_QUEUED_JOBS).map(|_| None).collect();
        for (number, session) in sessions.iter_mut().enumerate() {
            test.check(session, &number.to_string(), 0, test.pending());
        }
        let mut late = None;
        test.check(&mut late, "one", 0, Verdict::Busy);
        test.check(&mut sessions[0], "0", 0, test.pending());
        sessions.truncate(1);
        test.check(&mut late, "one", 0, test.pending());
        assert_eq!(test.queued(), 2);
        sessions.clear();
        test.verify_next();
        assert_eq!(test.queued(), 0, "abandoned jobs are not verified");
        test.check(&mut late, "one", 0, Verdict::Valid);
    }

    #[test]
    fn replaced_users_invalidate_cached_verdicts() {
        let (test, mut session, mut waiting) = (TestVerifier::new(), None, None);
        test.check(&mut session, "one", 0, test.pending());
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Valid);
        test.check(&mut waiting, "two", 0, test.pending());
        test.verifier.replace_users(users(TWO));
        test.check(&mut session, "one", 0, test.pending());
        test.verify_next();
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Invalid);
        test.check(&mut waiting, "two", 0, Verdict::Valid);
    }

    #[test]
    fn verification_during_replacement_is_repeated() {
        let (test, mut session) = (TestVerifier::new(), None);
        test.check(&mut session, "one", 0, test.pending());
        let job = test.verifier.pool.queue().next();
        // A thread has the job, with the old users: its result is discarded, and it wakes the loop.
        test.verifier.replace_users(users(TWO));
        test.check(&mut session, "one", 0, test.pending());
        assert_eq!(test.queued(), 0);
        let mut state = lock(&test.verifier.shared.state);
        state.pending.remove(&job.unwrap().hash);
        drop(state);
        test.check(&mut session, "one", 0, test.pending());
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Invalid);
    }

    #[test]
    fn threads_stop_when_the_last_handle_is_dropped() {
        let verifier = Verifier::new(users(ONE), NonZeroUsize::MIN).unwrap();
        let shared = Arc::downgrade(&verifier.shared);
        let handle = verifier.handle().unwrap();
        drop(verifier);
        assert!(!handle.verifier.pool.queue().is_closed());
        drop(handle);
        while shared.strong_count() > 0 {
            std::thread::yield_now();
        }
    }
}
