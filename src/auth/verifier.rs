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

use super::memory::{Memory, Seal, Sealer};
use super::users::Users;
use crate::http::Credentials;

/// Verifications that wait for a thread. With bcrypt at cost 10 and one thread, the last of them waits for
/// six seconds.
const QUEUE: usize = 128;

/// How long a request waits for one.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long is remembered that credentials are good, and that they are not, since they were sent; and how
/// many of each.
const GOOD: Duration = Duration::from_secs(60);
const BAD: Duration = Duration::from_secs(5);
const MOST: usize = 4096;

/// Verifies passwords on threads of its own, one or two, for all loops. They end with the last [`Verifier`]
/// and [`Guard`].
#[derive(Clone, Debug)]
pub struct Verifier {
    shared: Arc<Shared>,
    _living: Arc<Living>,
}

/// One loop's part in a [`Verifier`]: where its sessions ask, and the bell that is rung for them.
#[derive(Debug)]
pub struct Guard {
    verifier: Verifier,
    bell: Arc<OwnedFd>,
}

/// What a session remembers of the credentials that were sent last, which are not themselves among it.
#[derive(Debug)]
pub struct Known {
    seal: Seal,
    /// Of the users, as counted by [`Verifier::replace`].
    generation: u64,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Verified {
        good: bool,
        until: Instant,
    },
    /// Not yet. Nobody verifies what nobody holds a ticket for.
    Asked {
        _ticket: Arc<()>,
        until: Instant,
    },
}

/// What is to be done about a request with credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are good.
    Good,
    /// They are not.
    Bad,
    /// They are being verified: ask again, with the same, when the bell has rung.
    Later,
    /// Too many are being verified.
    Busy,
}

#[derive(Debug)]
struct Shared {
    sealer: Sealer,
    generation: AtomicU64,
    state: Mutex<State>,
    /// For the threads: there is something to do.
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    users: Arc<Users>,
    queue: VecDeque<Job>,
    /// What is in the queue, or with a thread.
    asked: HashMap<Seal, Asked>,
    good: Memory,
    bad: Memory,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    seal: Seal,
    credentials: Credentials,
    since: Instant,
}

/// Who waits for a verification.
#[derive(Debug)]
struct Asked {
    ticket: Weak<()>,
    bells: Vec<Arc<OwnedFd>>,
}

/// Ends the threads when nobody can ask any more.
#[derive(Debug)]
struct Living(Arc<Shared>);

impl Verifier {
    /// Starts the threads, which know these users: half as many as there are loops, but no more than two.
    ///
    /// # Errors
    /// When the system gives no thread, or no randomness.
    pub fn new(users: Users, loops: NonZeroUsize) -> io::Result<Self> {
        let this = Self::idle(users)?;
        // A hash takes all of a CPU for a while; where each has a loop, half of them are left to those. (Who is
        // confined can no longer ask how many there are.)
        for _ in 0..(loops.get() / 2).clamp(1, 2) {
            let shared = this.shared.clone();
            thread::Builder::new()
                .name("passwords".into())
                .spawn(move || while shared.work() {})?;
        }
        Ok(this)
    }

    /// Without a thread.
    fn idle(users: Users) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            sealer: Sealer::new().map_err(io::Error::from)?,
            generation: AtomicU64::new(0),
            state: Mutex::new(State {
                users: Arc::new(users),
                queue: VecDeque::new(),
                asked: HashMap::new(),
                good: Memory::new(GOOD, MOST),
                bad: Memory::new(BAD, MOST),
                ended: false,
            }),
            wake: Condvar::new(),
        });
        let living = Arc::new(Living(shared.clone()));
        Ok(Self {
            shared,
            _living: living,
        })
    }

    /// A guard for another loop.
    ///
    /// # Errors
    /// When the kernel gives no eventfd descriptor.
    pub fn guard(&self) -> io::Result<Guard> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Guard {
            verifier: self.clone(),
            bell: Arc::new(bell),
        })
    }

    /// How many verifications wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// From now on these are the users. What was remembered is forgotten, also by sessions, and what is
    /// being verified counts for nothing.
    pub fn replace(&self, users: Users) {
        let mut state = self.shared.lock();
        state.users = Arc::new(users);
        state.good.clear();
        state.bad.clear();
        self.shared.generation.fetch_add(1, Ordering::Release);
    }
}

impl Guard {
    /// A descriptor that becomes readable, edge by edge, whenever an outcome is there that a session of this
    /// loop was told to ask for [`Later`](Verdict::Later). Nobody has to read it.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// What is to be done about a request with this Authorization field. What its session has `known` counts
    /// for the same value, for a while, and costs neither a hash nor a lock; `read` is asked for the
    /// credentials only where they are to be verified, and has none if they are malformed.
    pub fn check(
        &self,
        known: &mut Option<Box<Known>>,
        value: &[u8],
        now: Instant,
        read: impl FnOnce() -> Option<Credentials>,
    ) -> Verdict {
        let shared = &*self.verifier.shared;
        let seal = shared.sealer.seal(value);
        let generation = shared.generation.load(Ordering::Acquire);
        let same = known.as_mut().filter(|known| known.seal.is(seal));
        let mut patience = None;
        match same.map(|known| (known.generation == generation, &known.outcome)) {
            Some((true, &Outcome::Verified { good, until })) if until > now => {
                return Verdict::of(good);
            }
            Some((_, &Outcome::Asked { until, .. })) => patience = Some(until),
            _ => {}
        }
        let mut state = shared.lock();
        // Nobody replaces them while this is locked.
        let generation = shared.generation.load(Ordering::Acquire);
        let outcome = match state.remembered(seal) {
            // Who has waited for it may have it, however long that took.
            Some((good, until)) if until > now || patience.is_some() => {
                Outcome::Verified { good, until }
            }
            _ => {
                let until = patience.unwrap_or(now + PATIENCE);
                let ticket = match until > now {
                    true => state.ask(seal, &self.bell, now, read),
                    false => Err(Verdict::Busy),
                };
                match ticket {
                    Ok(_ticket) => Outcome::Asked { _ticket, until },
                    Err(verdict) => {
                        *known = None;
                        return verdict;
                    }
                }
            }
        };
        let verdict = match outcome {
            Outcome::Verified { good, .. } => Verdict::of(good),
            Outcome::Asked { .. } => Verdict::Later,
        };
        drop(state);
        if verdict == Verdict::Later {
            shared.wake.notify_one();
        }
        let told = Known {
            seal,
            generation,
            outcome,
        };
        match known {
            Some(known) => **known = told,
            None => *known = Some(Box::new(told)),
        }
        verdict
    }
}

impl Known {
    /// Until when the outcome is waited for, if it is: who asks then or later has an answer.
    #[must_use]
    pub fn awaited(&self) -> Option<Instant> {
        match self.outcome {
            Outcome::Asked { until, .. } => Some(until),
            Outcome::Verified { .. } => None,
        }
    }
}

impl Verdict {
    fn of(good: bool) -> Self {
        match good {
            true => Self::Good,
            false => Self::Bad,
        }
    }
}

impl State {
    /// What came of these, and until when that counts.
    fn remembered(&self, seal: Seal) -> Option<(bool, Instant)> {
        let good = self.good.until(seal).map(|until| (true, until));
        let bad = || self.bad.until(seal).map(|until| (false, until));
        good.or_else(bad)
    }

    /// A ticket for the verification that is under way, or for another.
    fn ask(
        &mut self,
        seal: Seal,
        bell: &Arc<OwnedFd>,
        now: Instant,
        read: impl FnOnce() -> Option<Credentials>,
    ) -> Result<Arc<()>, Verdict> {
        if let Some(asked) = self.asked.get_mut(&seal) {
            if !asked.bells.iter().any(|other| Arc::ptr_eq(other, bell)) {
                asked.bells.push(bell.clone());
            }
            // It is still there, and so are they who come now, although the others have gone.
            let ticket = asked.ticket.upgrade().unwrap_or_default();
            asked.ticket = Arc::downgrade(&ticket);
            return Ok(ticket);
        }
        let credentials = read().ok_or(Verdict::Bad)?;
        if self.queue.len() >= QUEUE {
            self.sweep();
        }
        if self.queue.len() >= QUEUE {
            return Err(Verdict::Busy);
        }
        let ticket = Arc::default();
        let asked = Asked {
            ticket: Arc::downgrade(&ticket),
            bells: vec![bell.clone()],
        };
        self.asked.insert(seal, asked);
        self.queue.push_back(Job {
            seal,
            credentials,
            since: now,
        });
        Ok(ticket)
    }

    /// Forgets what nobody waits for any more.
    fn sweep(&mut self) {
        let Self { queue, asked, .. } = self;
        queue.retain(|job| {
            let is_awaited = asked.get(&job.seal).is_some_and(Asked::is_awaited);
            if !is_awaited {
                asked.remove(&job.seal);
            }
            is_awaited
        });
    }
}

impl Asked {
    fn is_awaited(&self) -> bool {
        self.ticket.strong_count() > 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one verification, and makes it. Whether there may be another.
    fn work(&self) -> bool {
        let idle = |state: &mut State| !state.ended && state.queue.is_empty();
        let waited = self.wake.wait_while(self.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            return false;
        }
        state.sweep();
        let Some(job) = state.queue.pop_front() else {
            return true;
        };
        let users = state.users.clone();
        let generation = self.generation.load(Ordering::Acquire);
        drop(state);
        let good = users.verify(&job.credentials);
        let mut state = self.lock();
        if self.generation.load(Ordering::Acquire) == generation {
            match good {
                true => state.good.insert(job.seal, job.since),
                false => state.bad.insert(job.seal, job.since),
            }
        }
        let bells = state.asked.remove(&job.seal).map(|asked| asked.bells);
        drop(state);
        bells.into_iter().flatten().for_each(|bell| ring(&bell));
        true
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.wake.notify_all();
    }
}

/// Each time is an edge. Only a count that nobody has read 2^64 times could not be raised (eventfd(2)).
fn ring(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "one", by openssl passwd -5 -salt rounds=1000$a; of "two", with $b.
    const ONE: &str = "$5$rounds=1000$a$aGgxWlLEPPrIca.smL4GMZIM1ggm.V4niG3CYad.SY4";
    const TWO: &str = "$5$rounds=1000$b$J946aI/Nex8DjwfMPRQA5p6RYrucmPaAYukzwWC9yv0";

    const SECOND: Duration = Duration::from_secs(1);

    /// A verifier whose thread is this one, and sessions.
    struct Desk {
        verifier: Verifier,
        guard: Guard,
        start: Instant,
    }

    type Session = Option<Box<Known>>;

    impl Desk {
        fn new() -> Self {
            let verifier = Verifier::idle(users(ONE)).unwrap();
            let guard = verifier.guard().unwrap();
            Self {
                verifier,
                guard,
                start: Instant::now(),
            }
        }

        /// What a session is told that sends "ann" with this password so many seconds after the start.
        fn check(&self, session: &mut Session, password: &str, seconds: u32, expected: Verdict) {
            let value = format!("ann:{password}");
            let read = || {
                Some(Credentials {
                    user: "ann".into(),
                    password: password.into(),
                })
            };
            let now = self.start + SECOND * seconds;
            let verdict = self.guard.check(session, value.as_bytes(), now, read);
            assert_eq!(verdict, expected, "{password} after {seconds} s");
            let is_awaited = session
                .as_ref()
                .is_some_and(|known| known.awaited().is_some());
            assert_eq!(is_awaited, expected == Verdict::Later);
        }

        fn work(&self) {
            assert!(self.verifier.shared.work());
        }

        fn queued(&self) -> usize {
            self.verifier.shared.lock().queue.len()
        }

        /// How often the bell has been rung since this was last asked.
        fn rings(&self) -> u64 {
            let mut count = [0; 8];
            match rustix::io::read(&*self.guard.bell, &mut count) {
                Ok(_) => u64::from_ne_bytes(count),
                Err(_) => 0,
            }
        }
    }

    fn users(hash: &str) -> Users {
        Users::read(format!("ann:{hash}").as_bytes()).unwrap()
    }

    #[test]
    fn an_outcome_is_remembered_for_a_while() {
        for (password, outcome, time) in [("one", Verdict::Good, 60), ("two", Verdict::Bad, 5)] {
            let (desk, mut session) = (Desk::new(), None);
            desk.check(&mut session, password, 0, Verdict::Later);
            desk.check(&mut session, password, 1, Verdict::Later);
            assert_eq!((desk.queued(), desk.rings()), (1, 0));
            desk.work();
            assert_eq!(desk.rings(), 1);
            desk.check(&mut session, password, 2, outcome);
            desk.check(&mut session, password, time - 1, outcome);
            // Others have it, too, for as long.
            desk.check(&mut None, password, time - 1, outcome);
            desk.check(&mut None, password, time, Verdict::Later);
            desk.check(&mut session, password, time, Verdict::Later);
        }
    }

    #[test]
    fn an_outcome_is_of_one_password() {
        let (desk, mut session) = (Desk::new(), None);
        desk.check(&mut session, "one", 0, Verdict::Later);
        desk.work();
        desk.check(&mut session, "one", 0, Verdict::Good);
        desk.check(&mut session, "two", 0, Verdict::Later);
        desk.work();
        desk.check(&mut session, "two", 0, Verdict::Bad);
        desk.check(&mut session, "one", 0, Verdict::Good);
        assert_eq!(desk.queued(), 0);
    }

    #[test]
    fn the_same_is_verified_once_for_all() {
        let desk = Desk::new();
        let other = desk.verifier.guard().unwrap();
        let mut sessions: [Session; 3] = Default::default();
        for session in &mut sessions {
            desk.check(session, "one", 0, Verdict::Later);
        }
        let mut elsewhere = None;
        let read = || unreachable!("it is being verified");
        let verdict = other.check(&mut elsewhere, b"ann:one", desk.start, read);
        assert_eq!((verdict, desk.queued()), (Verdict::Later, 1));
        desk.work();
        assert_eq!(desk.rings(), 1, "one bell for each loop");
        let mut count = [0; 8];
        rustix::io::read(&*other.bell, &mut count).expect("its bell was rung, too");
        for session in &mut sessions {
            desk.check(session, "one", 0, Verdict::Good);
        }
    }

    #[test]
    fn what_is_malformed_is_bad_at_once() {
        let (desk, mut session) = (Desk::new(), None);
        let verdict = desk
            .guard
            .check(&mut session, b"Bearer", desk.start, || None);
        assert_eq!((verdict, desk.queued()), (Verdict::Bad, 0));
        assert!(session.is_none());
    }

    #[test]
    fn who_has_waited_long_is_told_so_and_what_comes_late_counts() {
        let (desk, mut session) = (Desk::new(), None);
        let patience = u32::try_from(PATIENCE.as_secs()).unwrap();
        desk.check(&mut session, "one", 0, Verdict::Later);
        desk.check(&mut session, "one", patience - 1, Verdict::Later);
        desk.check(&mut session, "one", patience, Verdict::Busy);
        // Nobody waits, and nobody works.
        desk.check(&mut session, "one", patience, Verdict::Later);
        assert_eq!(desk.queued(), 1);
        desk.work();
        desk.check(&mut session, "one", 4 * patience, Verdict::Good);
        // That a password was bad is over, but one who has waited for it is told.
        desk.check(&mut session, "two", 0, Verdict::Later);
        desk.work();
        desk.check(&mut session, "two", 9, Verdict::Bad);
        desk.check(&mut session, "two", 9, Verdict::Later);
    }

    #[test]
    fn a_full_queue_is_said_and_those_who_left_make_room() {
        let desk = Desk::new();
        let mut sessions: Vec<Session> = (0..QUEUE).map(|_| None).collect();
        for (number, session) in sessions.iter_mut().enumerate() {
            desk.check(session, &number.to_string(), 0, Verdict::Later);
        }
        let mut late = None;
        desk.check(&mut late, "one", 0, Verdict::Busy);
        desk.check(&mut sessions[0], "0", 0, Verdict::Later);
        sessions.truncate(1);
        desk.check(&mut late, "one", 0, Verdict::Later);
        assert_eq!(desk.queued(), 2);
        sessions.clear();
        desk.work();
        assert_eq!(desk.queued(), 0, "what nobody waits for is not verified");
        desk.check(&mut late, "one", 0, Verdict::Good);
    }

    #[test]
    fn other_users_are_others_for_all() {
        let (desk, mut session, mut waiting) = (Desk::new(), None, None);
        desk.check(&mut session, "one", 0, Verdict::Later);
        desk.work();
        desk.check(&mut session, "one", 0, Verdict::Good);
        desk.check(&mut waiting, "two", 0, Verdict::Later);
        desk.verifier.replace(users(TWO));
        desk.check(&mut session, "one", 0, Verdict::Later);
        desk.work();
        desk.work();
        desk.check(&mut session, "one", 0, Verdict::Bad);
        desk.check(&mut waiting, "two", 0, Verdict::Good);
    }

    #[test]
    fn what_is_verified_while_they_are_replaced_is_verified_again() {
        let (desk, mut session) = (Desk::new(), None);
        desk.check(&mut session, "one", 0, Verdict::Later);
        let job = desk.verifier.shared.lock().queue.pop_front();
        // A thread has it, with the old users; its outcome counts for nothing, and it rings.
        desk.verifier.replace(users(TWO));
        desk.check(&mut session, "one", 0, Verdict::Later);
        assert_eq!(desk.queued(), 0);
        desk.verifier.shared.lock().asked.remove(&job.unwrap().seal);
        desk.check(&mut session, "one", 0, Verdict::Later);
        desk.work();
        desk.check(&mut session, "one", 0, Verdict::Bad);
    }

    #[test]
    fn the_threads_end_with_the_last_who_could_ask() {
        let verifier = Verifier::new(users(ONE), NonZeroUsize::MIN).unwrap();
        let shared = Arc::downgrade(&verifier.shared);
        let guard = verifier.guard().unwrap();
        drop(verifier);
        assert!(!shared.upgrade().unwrap().lock().ended);
        drop(guard);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
