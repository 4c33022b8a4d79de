//! Passwords verified beside the loops, once for all who send the same.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use super::users::Users;
use super::verdict_cache::{CredentialHash, CredentialHasher, VerdictCache};
use crate::http::Credentials;

/// Verifications that wait for a thread. With bcrypt at cost 10 and one thread, the last of them waits for
/// six seconds.
const MAX_QUEUED_JOBS: usize = 128;

/// How long a request waits for one.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long is remembered that credentials are good, and that they are not, since they were sent; and how
/// many of each.
const VALID_TTL: Duration = Duration::from_secs(60);
const INVALID_TTL: Duration = Duration::from_secs(5);
const MAX_CACHED_VERDICTS: usize = 4096;

/// Verifies passwords on threads of its own, one or two, for all loops. They end with the last [`Verifier`]
/// and [`AuthHandle`].
#[derive(Clone, Debug)]
pub struct Verifier {
    shared: Arc<VerifierShared>,
    _stop_on_drop: Arc<StopVerifierOnDrop>,
}

/// One loop's part in a [`Verifier`]: where its sessions ask, and the bell that is rung for them.
#[derive(Debug)]
pub struct AuthHandle {
    verifier: Verifier,
    waker: Arc<OwnedFd>,
}

/// What a session remembers of the credentials that were sent last, which are not themselves among it.
#[derive(Debug)]
pub struct CachedVerdict {
    hash: CredentialHash,
    /// Of the users, as counted by [`Verifier::replace_users`].
    generation: u64,
    state: VerificationState,
}

#[derive(Debug)]
enum VerificationState {
    Verified {
        is_valid: bool,
        until: Instant,
    },
    /// Not yet. Nobody verifies what nobody holds a ticket for.
    Pending {
        _ticket: Arc<()>,
        until: Instant,
    },
}

/// What is to be done about a request with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are good.
    Valid,
    /// They are not.
    Invalid,
    /// They are being verified: ask again, with the same, when the bell has rung.
    Pending,
    /// Too many are being verified.
    Busy,
}

#[derive(Debug)]
struct VerifierShared {
    hasher: CredentialHasher,
    generation: AtomicU64,
    state: Mutex<VerifierState>,
    /// For the threads: there is something to do.
    job_ready: Condvar,
}

#[derive(Debug)]
struct VerifierState {
    users: Arc<Users>,
    queue: VecDeque<VerificationJob>,
    /// What is in the queue, or with a thread.
    pending: HashMap<CredentialHash, PendingVerification>,
    valid: VerdictCache,
    invalid: VerdictCache,
    is_stopped: bool,
}

#[derive(Debug)]
struct VerificationJob {
    hash: CredentialHash,
    credentials: Credentials,
    received: Instant,
}

/// Who waits for a verification.
#[derive(Debug)]
struct PendingVerification {
    ticket: Weak<()>,
    wakers: Vec<Arc<OwnedFd>>,
}

/// Ends the threads when nobody can ask any more.
#[derive(Debug)]
struct StopVerifierOnDrop(Arc<VerifierShared>);

impl Verifier {
    /// Starts the threads, which know these users: half as many as there are loops, but no more than two.
    ///
    /// # Errors
    /// When the system gives no thread, or no randomness.
    pub fn new(users: Users, workers: NonZeroUsize) -> io::Result<Self> {
        let this = Self::without_threads(users)?;
        // A hash takes all of a CPU for a while; where each has a loop, half of them are left to those. (Who is
        // confined can no longer ask how many there are.)
        for _ in 0..(workers.get() / 2).clamp(1, 2) {
            let shared = this.shared.clone();
            thread::Builder::new()
                .name("passwords".into())
                .spawn(move || while shared.verify_next() {})?;
        }
        Ok(this)
    }

    /// Without a thread.
    fn without_threads(users: Users) -> io::Result<Self> {
        let shared = Arc::new(VerifierShared {
            hasher: CredentialHasher::new().map_err(io::Error::from)?,
            generation: AtomicU64::new(0),
            state: Mutex::new(VerifierState {
                users: Arc::new(users),
                queue: VecDeque::new(),
                pending: HashMap::new(),
                valid: VerdictCache::new(VALID_TTL, MAX_CACHED_VERDICTS),
                invalid: VerdictCache::new(INVALID_TTL, MAX_CACHED_VERDICTS),
                is_stopped: false,
            }),
            job_ready: Condvar::new(),
        });
        let stop_on_drop = Arc::new(StopVerifierOnDrop(shared.clone()));
        Ok(Self {
            shared,
            _stop_on_drop: stop_on_drop,
        })
    }

    /// A guard for another loop.
    ///
    /// # Errors
    /// When the kernel gives no eventfd descriptor.
    pub fn handle(&self) -> io::Result<AuthHandle> {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(AuthHandle {
            verifier: self.clone(),
            waker: Arc::new(waker),
        })
    }

    /// How many verifications wait for a thread.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// From now on these are the users. What was remembered is forgotten, also by sessions, and what is
    /// being verified counts for nothing.
    pub fn replace_users(&self, users: Users) {
        let mut state = self.shared.lock();
        state.users = Arc::new(users);
        state.valid.clear();
        state.invalid.clear();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }
}

impl AuthHandle {
    /// A descriptor that becomes readable, edge by edge, whenever an outcome is there that a session of this
    /// loop was told to ask for [`Pending`](Verdict::Pending). Nobody has to read it.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn waker(&self) -> io::Result<OwnedFd> {
        self.waker.try_clone()
    }

    /// What is to be done about a request with this Authorization field. What its session has `cached` counts
    /// for the same value, for a while, and costs neither a hash nor a lock; `parse` is asked for the
    /// credentials only where they are to be verified, and has none if they are malformed.
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
        let mut state = shared.lock();
        // Nobody replaces them while this is locked.
        let generation = shared.generation.load(Ordering::Acquire);
        let verification = match state.cached(hash) {
            // Who has waited for it may have it, however long that took.
            Some((is_valid, until)) if until > now || wait_until.is_some() => {
                VerificationState::Verified { is_valid, until }
            }
            _ => {
                let until = wait_until.unwrap_or(now + MAX_WAIT);
                let ticket = match until > now {
                    true => state.enqueue(hash, &self.waker, now, parse),
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
            VerificationState::Pending { .. } => Verdict::Pending,
        };
        drop(state);
        if verdict == Verdict::Pending {
            shared.job_ready.notify_one();
        }
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

impl CachedVerdict {
    /// Until when the outcome is waited for, if it is: who asks then or later has an answer.
    #[must_use]
    pub fn pending_until(&self) -> Option<Instant> {
        match self.state {
            VerificationState::Pending { until, .. } => Some(until),
            VerificationState::Verified { .. } => None,
        }
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
    /// What came of these, and until when that counts.
    fn cached(&self, hash: CredentialHash) -> Option<(bool, Instant)> {
        let is_valid = self.valid.expires_at(hash).map(|until| (true, until));
        let bad = || self.invalid.expires_at(hash).map(|until| (false, until));
        is_valid.or_else(bad)
    }

    /// A ticket for the verification that is under way, or for another.
    fn enqueue(
        &mut self,
        hash: CredentialHash,
        waker: &Arc<OwnedFd>,
        now: Instant,
        parse: impl FnOnce() -> Option<Credentials>,
    ) -> Result<Arc<()>, Verdict> {
        if let Some(pending) = self.pending.get_mut(&hash) {
            if !pending.wakers.iter().any(|other| Arc::ptr_eq(other, waker)) {
                pending.wakers.push(waker.clone());
            }
            // It is still there, and so are they who come now, although the others have gone.
            let ticket = pending.ticket.upgrade().unwrap_or_default();
            pending.ticket = Arc::downgrade(&ticket);
            return Ok(ticket);
        }
        let credentials = parse().ok_or(Verdict::Invalid)?;
        if self.queue.len() >= MAX_QUEUED_JOBS {
            self.drop_abandoned();
        }
        if self.queue.len() >= MAX_QUEUED_JOBS {
            return Err(Verdict::Busy);
        }
        let ticket = Arc::default();
        let pending = PendingVerification {
            ticket: Arc::downgrade(&ticket),
            wakers: vec![waker.clone()],
        };
        self.pending.insert(hash, pending);
        self.queue.push_back(VerificationJob {
            hash,
            credentials,
            received: now,
        });
        Ok(ticket)
    }

    /// Forgets what nobody waits for any more.
    fn drop_abandoned(&mut self) {
        let Self { queue, pending, .. } = self;
        queue.retain(|job| {
            let is_pending = pending
                .get(&job.hash)
                .is_some_and(PendingVerification::is_awaited);
            if !is_pending {
                pending.remove(&job.hash);
            }
            is_pending
        });
    }
}

impl PendingVerification {
    fn is_awaited(&self) -> bool {
        self.ticket.strong_count() > 0
    }
}

impl VerifierShared {
    fn lock(&self) -> MutexGuard<'_, VerifierState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one verification, and makes it. Whether there may be another.
    fn verify_next(&self) -> bool {
        let idle = |state: &mut VerifierState| !state.is_stopped && state.queue.is_empty();
        let waited = self.job_ready.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return false;
        }
        state.drop_abandoned();
        let Some(job) = state.queue.pop_front() else {
            return true;
        };
        let users = state.users.clone();
        let generation = self.generation.load(Ordering::Acquire);
        drop(state);
        let is_valid = users.verify(&job.credentials);
        let mut state = self.lock();
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
        wakers.into_iter().flatten().for_each(|waker| wake(&waker));
        true
    }
}

impl Drop for StopVerifierOnDrop {
    fn drop(&mut self) {
        self.0.lock().is_stopped = true;
        self.0.job_ready.notify_all();
    }
}

/// Each time is an edge. Only a count that nobody has read 2^64 times could not be raised (eventfd(2)).
fn wake(waker: &OwnedFd) {
    let _ = rustix::io::write(waker, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "one", by openssl passwd -5 -salt rounds=1000$a; of "two", with $b.
    const ONE: &str = "$5$rounds=1000$a$aGgxWlLEPPrIca.smL4GMZIM1ggm.V4niG3CYad.SY4";
    const TWO: &str = "$5$rounds=1000$b$J946aI/Nex8DjwfMPRQA5p6RYrucmPaAYukzwWC9yv0";

    const SECOND: Duration = Duration::from_secs(1);

    /// A verifier whose thread is this one, and sessions.
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

        /// What a session is told that sends "ann" with this password so many seconds after the start.
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
            assert_eq!(verdict, expected, "{password} after {seconds} s");
            let is_pending = session
                .as_ref()
                .is_some_and(|cached| cached.pending_until().is_some());
            assert_eq!(is_pending, expected == Verdict::Pending);
        }

        fn verify_next(&self) {
            assert!(self.verifier.shared.verify_next());
        }

        fn queued(&self) -> usize {
            self.verifier.shared.lock().queue.len()
        }

        /// How often the bell has been rung since this was last asked.
        fn wakes(&self) -> u64 {
            let mut count = [0; 8];
            match rustix::io::read(&*self.handle.waker, &mut count) {
                Ok(_) => u64::from_ne_bytes(count),
                Err(_) => 0,
            }
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
            test.check(&mut session, password, 0, Verdict::Pending);
            test.check(&mut session, password, 1, Verdict::Pending);
            assert_eq!((test.queued(), test.wakes()), (1, 0));
            test.verify_next();
            assert_eq!(test.wakes(), 1);
            test.check(&mut session, password, 2, expected);
            test.check(&mut session, password, time - 1, expected);
            // Others have it, too, for as long.
            test.check(&mut None, password, time - 1, expected);
            test.check(&mut None, password, time, Verdict::Pending);
            test.check(&mut session, password, time, Verdict::Pending);
        }
    }

    #[test]
    fn verdict_belongs_to_one_password() {
        let (test, mut session) = (TestVerifier::new(), None);
        test.check(&mut session, "one", 0, Verdict::Pending);
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Valid);
        test.check(&mut session, "two", 0, Verdict::Pending);
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
            test.check(session, "one", 0, Verdict::Pending);
        }
        let mut other_slot = None;
        let parse = || unreachable!("it is being verified");
        let verdict = other.check(&mut other_slot, b"ann:one", test.start, parse);
        assert_eq!((verdict, test.queued()), (Verdict::Pending, 1));
        test.verify_next();
        assert_eq!(test.wakes(), 1, "one bell for each loop");
        let mut count = [0; 8];
        rustix::io::read(&*other.waker, &mut count).expect("its bell was rung, too");
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
        test.check(&mut session, "one", 0, Verdict::Pending);
        test.check(&mut session, "one", wait_until - 1, Verdict::Pending);
        test.check(&mut session, "one", wait_until, Verdict::Busy);
        // Nobody waits, and nobody works.
        test.check(&mut session, "one", wait_until, Verdict::Pending);
        assert_eq!(test.queued(), 1);
        test.verify_next();
        test.check(&mut session, "one", 4 * wait_until, Verdict::Valid);
        // That a password was bad is over, but one who has waited for it is told.
        test.check(&mut session, "two", 0, Verdict::Pending);
        test.verify_next();
        test.check(&mut session, "two", 9, Verdict::Invalid);
        test.check(&mut session, "two", 9, Verdict::Pending);
    }

    #[test]
    fn full_queue_is_busy_and_abandoned_jobs_are_dropped() {
        let test = TestVerifier::new();
        let mut sessions: Vec<VerdictSlot> = (0..MAX_QUEUED_JOBS).map(|_| None).collect();
        for (number, session) in sessions.iter_mut().enumerate() {
            test.check(session, &number.to_string(), 0, Verdict::Pending);
        }
        let mut late = None;
        test.check(&mut late, "one", 0, Verdict::Busy);
        test.check(&mut sessions[0], "0", 0, Verdict::Pending);
        sessions.truncate(1);
        test.check(&mut late, "one", 0, Verdict::Pending);
        assert_eq!(test.queued(), 2);
        sessions.clear();
        test.verify_next();
        assert_eq!(test.queued(), 0, "what nobody waits for is not verified");
        test.check(&mut late, "one", 0, Verdict::Valid);
    }

    #[test]
    fn replaced_users_invalidate_cached_verdicts() {
        let (test, mut session, mut waiting) = (TestVerifier::new(), None, None);
        test.check(&mut session, "one", 0, Verdict::Pending);
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Valid);
        test.check(&mut waiting, "two", 0, Verdict::Pending);
        test.verifier.replace_users(users(TWO));
        test.check(&mut session, "one", 0, Verdict::Pending);
        test.verify_next();
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Invalid);
        test.check(&mut waiting, "two", 0, Verdict::Valid);
    }

    #[test]
    fn verification_during_replacement_is_repeated() {
        let (test, mut session) = (TestVerifier::new(), None);
        test.check(&mut session, "one", 0, Verdict::Pending);
        let job = test.verifier.shared.lock().queue.pop_front();
        // A thread has it, with the old users; its outcome counts for nothing, and it rings.
        test.verifier.replace_users(users(TWO));
        test.check(&mut session, "one", 0, Verdict::Pending);
        assert_eq!(test.queued(), 0);
        test.verifier
            .shared
            .lock()
            .pending
            .remove(&job.unwrap().hash);
        test.check(&mut session, "one", 0, Verdict::Pending);
        test.verify_next();
        test.check(&mut session, "one", 0, Verdict::Invalid);
    }

    #[test]
    fn threads_stop_when_the_last_handle_is_dropped() {
        let verifier = Verifier::new(users(ONE), NonZeroUsize::MIN).unwrap();
        let shared = Arc::downgrade(&verifier.shared);
        let handle = verifier.handle().unwrap();
        drop(verifier);
        assert!(!shared.upgrade().unwrap().lock().is_stopped);
        drop(handle);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
