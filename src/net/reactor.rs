//! The loop: wait, accept, pump, expire, retire.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slotmap::{Key as _, KeyData, SlotMap, new_key_type};
use tracing::{debug, trace, warn};

use super::address::Endpoint;
use super::connection::{Connection, PumpContext, PumpOutcome};
use super::counters::ConnectionCounters;
use super::deadlines::{Deadlines, Tick};
use super::limits::Limits;
use super::listener::{AcceptOutcome, Listener};
use super::log_throttle::LogThrottle;
use super::per_ip_limit::{PerIpLimit, Permit};
use super::protocol::{CloseReason, Now, Peer, Protocol};
use super::transport::SocketStream;
use crate::counter::Counter;

/// Events taken from the kernel at once.
const MAX_EVENTS_PER_POLL: usize = 1024;

/// Connections accepted per listener and turn, so that a flood of new peers does not hold up those
/// who are there.
const MAX_ACCEPTS_PER_TURN: usize = 64;

/// Of how many connections one is picked out to make room, each time all are looked through.
const CONNECTIONS_PER_CANDIDATE: usize = 16;

/// How often that is done once more before a listener closes, however many keep coming.
const MAX_DRAIN_ROUNDS: usize = 64;

/// How long a listener rests that ran out of descriptors, if no connection closes before.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The waker's token. Connections have a generation in the upper half of theirs, so tokens below
/// 2^32 are free for it, for the bells and for the listeners' numbers.
const HANDLE_TOKEN: Token = Token(u32::MAX as usize);

/// The token of the descriptors that the protocol has us listen to.
const WAKER_TOKEN: Token = Token(u32::MAX as usize - 1);

new_key_type! {
    /// A connection's place and its generation.
    struct ConnectionKey;
}

/// One thread's loop: its listeners, its connections, and the protocol they speak.
///
/// It is the only reader of the clock: once per turn, and at its end if the protocol asks ([`Protocol::on_turn_end`]).
#[derive(Debug)]
pub struct Reactor<P: Protocol> {
    protocol: P,
    poll: Poll,
    events: Events,
    handle: ReactorHandle,
    listeners: Vec<ListenerSlot>,
    wakers: Vec<OwnedFd>,
    connections: SlotMap<ConnectionKey, ConnectionSlot<P::Session>>,
    deadlines: Deadlines<ConnectionKey>,
    runnable: Vec<ConnectionKey>,
    /// Who waits for a bell.
    awaiting_wake: Vec<ConnectionKey>,
    /// Who has been accepted and not yet been heard.
    accepted: Vec<ConnectionKey>,
    per_ip_limit: Option<PerIpLimit>,
    counters: Option<Arc<ConnectionCounters>>,
    /// Who had waited longest when that was last looked for, the longest first.
    eviction_candidates: VecDeque<(Instant, ConnectionKey)>,
    /// There is no room, and nobody to make any, so that somebody may wait at a door.
    is_crowded_out: bool,
    context: PumpContext,
    now: Now,
    last_event: Instant,
    shutdown_deadline: Option<Instant>,
    /// A connection has closed, or can make room, since the listeners were last asked.
    room_freed: bool,
}

/// Stops a reactor from another thread.
#[derive(Clone, Debug)]
pub struct ReactorHandle {
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
    /// Nobody is waited for.
    aborting: Arc<AtomicBool>,
}

/// A listener and whether somebody may be waiting at it.
#[derive(Debug)]
struct ListenerSlot {
    listener: Listener,
    state: ListenerState,
    /// That somebody has to wait.
    pause_log: LogThrottle,
    /// That somebody has to go.
    eviction_log: LogThrottle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerState {
    /// Nobody waits; the poll will say when somebody does.
    Idle,
    /// Somebody may be waiting.
    Pending,
    /// Somebody may be waiting, and nobody can be let in before a connection closes, or, where time
    /// alone may help, before then.
    Paused(Option<Instant>),
}

#[derive(Debug)]
struct ConnectionSlot<S> {
    connection: Connection<S, SocketStream>,
    /// Which of its entries in the deadlines counts.
    deadline: Option<Tick>,
    is_runnable: bool,
    is_awaiting_wake: bool,
    permit: Option<Permit>,
}

impl ReactorHandle {
    /// Tells the reactor to retire: to accept nobody, to finish what is begun, and to return from
    /// [`Reactor::run`]. May be called from any thread, any number of times.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake the loop: {error}");
        }
    }

    /// The same, but what is begun is not finished: whoever is there is cut. May be called after
    /// [`stop`](Self::stop).
    pub fn abort(&self) {
        self.aborting.store(true, Ordering::Release);
        self.stop();
    }

    fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }
}

impl<P: Protocol> Reactor<P> {
    /// A reactor without listeners.
    ///
    /// # Errors
    /// When the kernel gives no epoll or eventfd descriptor.
    pub fn new(protocol: P, limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), HANDLE_TOKEN)?);
        let now = read_clock();
        Ok(Self {
            protocol,
            poll,
            events: Events::with_capacity(MAX_EVENTS_PER_POLL),
            handle: ReactorHandle {
                waker,
                stopping: Arc::default(),
                aborting: Arc::default(),
            },
            listeners: Vec::new(),
            wakers: Vec::new(),
            connections: SlotMap::with_key(),
            deadlines: Deadlines::new(now.instant),
            runnable: Vec::new(),
            awaiting_wake: Vec::new(),
            per_ip_limit: limits.per_ip_limit.clone(),
            counters: None,
            accepted: Vec::new(),
            eviction_candidates: VecDeque::new(),
            is_crowded_out: false,
            context: PumpContext::new(limits),
            now,
            last_event: now.instant,
            shutdown_deadline: None,
            room_freed: false,
        })
    }

    /// Takes a listener in.
    ///
    /// # Errors
    /// When it cannot be registered with the poll.
    pub fn listen(mut self, mut listener: Listener) -> io::Result<Self> {
        let token = Token(self.listeners.len());
        self.poll
            .registry()
            .register(&mut listener, token, Interest::READABLE)?;
        self.listeners.push(ListenerSlot {
            listener,
            state: ListenerState::Idle,
            pause_log: LogThrottle::default(),
            eviction_log: LogThrottle::default(),
        });
        Ok(self)
    }

    /// Listens to a descriptor of the protocol's own, or another one: whenever it becomes readable,
    /// [`Protocol::on_turn_start`] is told before anybody is served in that turn, and whoever said
    /// [`Next::AwaitWake`](super::Next::AwaitWake) or [`Next::ReadOrWake`](super::Next::ReadOrWake) is asked again.
    ///
    /// # Errors
    /// When it cannot be registered with the poll.
    pub fn register_waker(mut self, waker: OwnedFd) -> io::Result<Self> {
        let descriptor = waker.as_raw_fd();
        let mut source = SourceFd(&descriptor);
        self.poll
            .registry()
            .register(&mut source, WAKER_TOKEN, Interest::READABLE)?;
        self.wakers.push(waker);
        Ok(self)
    }

    /// Counts what becomes of connections.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<ConnectionCounters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn count(&self, which: impl FnOnce(&ConnectionCounters) -> &Counter) {
        if let Some(counters) = &self.counters {
            which(counters).add(1);
        }
    }

    /// The addresses listened on, in the order in which the listeners came.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().map(|slot| slot.listener.address())
    }

    /// What stops this reactor.
    #[must_use]
    pub fn handle(&self) -> ReactorHandle {
        self.handle.clone()
    }

    /// Serves until [`ReactorHandle::stop`], then finishes what is begun, within
    /// [`Limits::grace`] and until [`ReactorHandle::abort`], and returns.
    ///
    /// # Errors
    /// When the poll or a listening socket fails.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_finished() {
            let turned = self.turn();
            self.protocol.on_turn_end(read_clock);
            turned?;
        }
        self.abort_remaining();
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.shutdown_deadline
            .is_some_and(|until| self.connections.is_empty() || until <= self.now.instant)
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let polled = self.poll.poll(&mut self.events, timeout);
        // Asked before the clock is, so that the grace does not begin before the stop.
        let stopped = self.handle.stopping.load(Ordering::Acquire);
        self.now = read_clock();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let runnable = std::mem::take(&mut self.runnable);

        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let is_woken = self.is_woken(&events);
        self.protocol.on_turn_start(is_woken);
        if self
            .protocol
            .next_timer()
            .is_some_and(|due| due <= self.now.wall)
        {
            self.protocol.on_timer(self.now);
        }
        for event in &events {
            self.dispatch(event);
        }
        if is_woken {
            self.wake_sessions();
        }
        self.check_idle(&events);
        self.events = events;

        let room_freed = std::mem::take(&mut self.room_freed);
        for index in 0..self.listeners.len() {
            if !(stopped && self.is_inherited(index)) {
                self.accept(index, room_freed)?;
            }
        }
        self.start_accepted();
        for key in runnable {
            self.pump_runnable(key);
        }
        while let Some((due, key)) = self.deadlines.pop(self.now.instant) {
            self.on_deadline(due, key);
        }
        if self.shutdown_deadline.is_none() && stopped {
            self.begin_shutdown()?;
        }
        if self.shutdown_deadline.is_some() && self.handle.is_aborting() {
            self.shutdown_deadline = Some(self.now.instant);
        }
        Ok(())
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        let paused = self.listeners.iter().filter_map(|slot| match slot.state {
            ListenerState::Idle => None,
            ListenerState::Pending => Some(self.now.instant),
            ListenerState::Paused(_) if self.room_freed => Some(self.now.instant),
            ListenerState::Paused(until) => until,
        });
        let runnable = (!self.runnable.is_empty()).then_some(self.now.instant);
        let idle = self
            .context
            .limits
            .idle_interval
            .map(|interval| self.last_event + interval);
        let due = self.protocol.next_timer().map(|due| {
            let left = due.duration_since(self.now.wall).unwrap_or_default();
            self.now.instant + left
        });
        paused
            .chain(runnable)
            .chain(idle)
            .chain(due)
            .chain(self.deadlines.next())
            .chain(self.shutdown_deadline)
            .min()
            .map(|due| due.saturating_duration_since(self.now.instant))
    }

    /// Whether a bell has rung, as far as can be known: if there were more events than were taken, it
    /// may have.
    fn is_woken(&self, events: &Events) -> bool {
        let is_wake = |event: &Event| event.token() == WAKER_TOKEN;
        !self.wakers.is_empty()
            && (events.iter().count() == MAX_EVENTS_PER_POLL || events.iter().any(is_wake))
    }

    fn check_idle(&mut self, events: &Events) {
        let Some(interval) = self.context.limits.idle_interval else {
            return;
        };
        if !events.is_empty() {
            self.last_event = self.now.instant;
        } else if self.last_event + interval <= self.now.instant {
            self.last_event = self.now.instant;
            self.protocol.on_idle();
        }
    }

    fn dispatch(&mut self, event: &Event) {
        let token = event.token();
        if token == HANDLE_TOKEN || token == WAKER_TOKEN {
            return;
        }
        if let Some(slot) = self.listeners.get_mut(token.0) {
            if slot.state == ListenerState::Idle {
                slot.state = ListenerState::Pending;
            }
            return;
        }
        let key = ConnectionKey::from(KeyData::from_ffi(token.0 as u64));
        let Some(slot) = self.connections.get_mut(key) else {
            return;
        };
        let failed = event.is_error();
        slot.connection.set_ready(
            event.is_readable() || failed,
            event.is_writable() || failed,
            event.is_read_closed(),
        );
        self.pump(key);
    }

    /// Accepts a burst, which is opened after that: what nobody could know before all of them had come
    /// is to be known then, and more of them have asked for something by then.
    fn accept(&mut self, index: usize, room_freed: bool) -> io::Result<()> {
        let Some(slot) = self.listeners.get_mut(index) else {
            return Ok(());
        };
        match slot.state {
            ListenerState::Idle => return Ok(()),
            ListenerState::Paused(until)
                if !room_freed && until.is_none_or(|until| until > self.now.instant) =>
            {
                return Ok(());
            }
            ListenerState::Pending | ListenerState::Paused(_) => {}
        }
        slot.state = ListenerState::Pending;
        let mut lost = 0;
        let mut evicted_in_vain = false;
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let max_connections = self.context.limits.connections;
            let is_full = self.connections.len() >= max_connections;
            let evicted = if is_full { self.longest_idle() } else { None };
            let Some(slot) = self.listeners.get_mut(index) else {
                return Ok(());
            };
            if is_full && evicted.is_none() {
                if !self.accepted.is_empty() {
                    // Some of those may soon be over, or wait. The door is asked again at once.
                    break;
                }
                let reason = format!("connections are limited to {max_connections} per worker");
                self.pause_accepting(index, None, &reason);
                self.is_crowded_out = true;
                break;
            }
            match slot.listener.accept()? {
                AcceptOutcome::Connection(stream, peer) => {
                    let Some(permit) = self.acquire_permit(&peer) else {
                        continue;
                    };
                    if let Some(evicted) = evicted {
                        let reason =
                            format!("connections are limited to {max_connections} per worker");
                        self.evict(evicted, index, &reason);
                    }
                    self.insert_connection(stream, &peer, permit);
                    evicted_in_vain = false;
                }
                AcceptOutcome::NoneWaiting => {
                    slot.state = ListenerState::Idle;
                    break;
                }
                AcceptOutcome::Lost(error) => {
                    lost += 1;
                    debug!("a connection was lost while it was accepted: {error}");
                    if lost == MAX_ACCEPTS_PER_TURN {
                        self.pause_accepting(index, Some(ACCEPT_PAUSE), &error.to_string());
                    }
                }
                AcceptOutcome::Exhausted(_) if !self.accepted.is_empty() => break,
                // Where it is others who take all there is, hanging up on our peers helps nobody.
                AcceptOutcome::Exhausted(error) if evicted_in_vain => {
                    self.pause_accepting(index, Some(ACCEPT_PAUSE), &error.to_string());
                    break;
                }
                AcceptOutcome::Exhausted(error) => match self.longest_idle() {
                    Some(key) => {
                        self.evict(key, index, &error.to_string());
                        evicted_in_vain = true;
                    }
                    None => {
                        self.pause_accepting(index, Some(ACCEPT_PAUSE), &error.to_string());
                        break;
                    }
                },
            }
        }
        Ok(())
    }

    /// Lets nobody in at this door before a connection closes, or for so long at the most.
    fn pause_accepting(&mut self, index: usize, time: Option<Duration>, reason: &str) {
        if let Some(slot) = self.listeners.get_mut(index) {
            slot.pause(time, self.now.instant, reason);
        }
        self.count(|counters| &counters.accept_pauses);
    }

    fn insert_connection(&mut self, stream: SocketStream, peer: &Peer, permit: Option<Permit>) {
        self.count(|counters| &counters.accepted);
        trace!(peer = %peer.address, "accepted");
        let session = self.protocol.on_accept(peer);
        let connection = Connection::new(session, stream);
        let key = self.connections.insert(ConnectionSlot {
            connection,
            deadline: None,
            is_runnable: false,
            is_awaiting_wake: false,
            permit,
        });
        self.accepted.push(key);
    }

    fn start_accepted(&mut self) {
        let mut accepted = std::mem::take(&mut self.accepted);
        for key in accepted.drain(..) {
            self.start_connection(key);
        }
        self.accepted = accepted;
    }

    /// Pumps a new connection before it is registered: one that is answered and closed at once
    /// never enters the poll, and what arrives in between is reported when it does.
    fn start_connection(&mut self, key: ConnectionKey) {
        self.pump(key);
        let Some(slot) = self.connections.get_mut(key) else {
            return;
        };
        let token = Token(usize::try_from(key.data().as_ffi()).expect("Linux with 64-bit words"));
        let stream = slot.connection.transport_mut();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(stream, token, both) {
            self.close(key, CloseReason::Io(error));
        }
    }

    /// One connection more for this peer, counted if they are counted and it has an IP address; `None` if it has
    /// enough.
    fn acquire_permit(&self, peer: &Peer) -> Option<Option<Permit>> {
        let (Some(limit), Some(ip)) = (&self.per_ip_limit, peer.address.ip()) else {
            return Some(None);
        };
        if limit.is_exempt(ip) {
            return Some(None);
        }
        let permit = limit.try_acquire(ip);
        if permit.is_none() {
            self.count(|counters| &counters.over_ip_limit);
            debug!(peer = %peer.address, "turned away");
            if limit.should_log(self.now.instant) {
                let max = limit.max();
                warn!(
                    "{ip} holds {max} connections and may have no more \
                     (see --max-connections-per-ip); others are closed"
                );
            }
        }
        permit.map(Some)
    }

    /// Hangs up on one, so that there is room for another who came to this door.
    fn evict(&mut self, key: ConnectionKey, index: usize, reason: &str) {
        if let Some(slot) = self.listeners.get_mut(index)
            && slot.eviction_log.should_log(self.now.instant)
        {
            let address = slot.listener.address();
            warn!("{address} is full: {reason}; who keeps us waiting longest makes room");
        }
        self.close(key, CloseReason::Evicted);
    }

    /// Who has been waiting longest for its peer to ask for something. Looking through all takes time,
    /// so several are picked each time, the more the more there are.
    fn longest_idle(&mut self) -> Option<ConnectionKey> {
        if let Some(key) = self.next_eviction_candidate() {
            return Some(key);
        }
        let limits = &self.context.limits;
        let mut idle: Vec<(Instant, ConnectionKey)> = self
            .connections
            .iter()
            .filter_map(|(key, slot)| Some((slot.idle_since(&self.protocol, limits)?, key)))
            .collect();
        let candidates = idle.len() / CONNECTIONS_PER_CANDIDATE + 1;
        if candidates < idle.len() {
            idle.select_nth_unstable(candidates);
            idle.truncate(candidates);
            idle.shrink_to_fit();
        }
        idle.sort_unstable();
        self.eviction_candidates = idle.into();
        self.next_eviction_candidate()
    }

    /// The first of those that were picked, if it has waited ever since.
    fn next_eviction_candidate(&mut self) -> Option<ConnectionKey> {
        while let Some(&(since, key)) = self.eviction_candidates.front() {
            let slot = self.connections.get(key);
            let limits = &self.context.limits;
            let idle_since = slot.and_then(|slot| slot.idle_since(&self.protocol, limits));
            if idle_since == Some(since) {
                return Some(key);
            }
            self.eviction_candidates.pop_front();
        }
        None
    }

    fn pump(&mut self, key: ConnectionKey) {
        let Some(slot) = self.connections.get_mut(key) else {
            return;
        };
        let pumped = slot
            .connection
            .pump(&mut self.protocol, &mut self.context, self.now);
        self.after_pump(key, pumped);
    }

    fn pump_runnable(&mut self, key: ConnectionKey) {
        if let Some(slot) = self.connections.get_mut(key) {
            slot.is_runnable = false;
            self.pump(key);
        }
    }

    /// Asks all who wait for a bell.
    fn wake_sessions(&mut self) {
        for key in std::mem::take(&mut self.awaiting_wake) {
            if let Some(slot) = self.connections.get_mut(key) {
                slot.is_awaiting_wake = false;
                slot.connection.wake();
                self.pump(key);
            }
        }
    }

    fn on_deadline(&mut self, due: Tick, key: ConnectionKey) {
        let Some(slot) = self.connections.get_mut(key) else {
            return;
        };
        if slot.deadline != Some(due) {
            return;
        }
        slot.deadline = None;
        let pumped = slot
            .connection
            .on_timer(&mut self.protocol, &mut self.context, self.now);
        self.after_pump(key, pumped);
    }

    /// Does what follows from a pump: closing, queueing for another turn, arming the deadline.
    fn after_pump(&mut self, key: ConnectionKey, pumped: PumpOutcome) {
        let Some(slot) = self.connections.get_mut(key) else {
            return;
        };
        match pumped {
            PumpOutcome::Closed(reason) => return self.close(key, reason),
            PumpOutcome::Runnable if !slot.is_runnable => {
                slot.is_runnable = true;
                self.runnable.push(key);
            }
            PumpOutcome::Runnable | PumpOutcome::Blocked => {}
        }
        if slot.connection.awaits_wake() && !slot.is_awaiting_wake {
            slot.is_awaiting_wake = true;
            self.awaiting_wake.push(key);
        }
        let limits = &self.context.limits;
        if self.is_crowded_out && slot.idle_since(&self.protocol, limits).is_some() {
            self.is_crowded_out = false;
            self.room_freed = true;
        }
        // Mostly what is due is later than the entry that counts, which is cheaper to see than which tick it is.
        let deadlines = &self.deadlines;
        if let Some(due) = slot.connection.next_timer(limits)
            && slot
                .deadline
                .is_none_or(|armed| due < deadlines.instant(armed))
            && let due = deadlines.tick(due)
            && slot.deadline != Some(due)
        {
            slot.deadline = Some(due);
            self.deadlines.push(due, key);
            let connections = &self.connections;
            self.deadlines.prune(connections.len(), |due, key| {
                connections
                    .get(key)
                    .is_some_and(|slot| slot.deadline == Some(due))
            });
        }
    }

    fn close(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(slot) = self.connections.remove(key) else {
            return;
        };
        match &reason {
            CloseReason::FileChanged => debug!("the file changed while it was sent"),
            CloseReason::Io(error) => debug!("a connection broke: {error}"),
            CloseReason::TimedOut => debug!("a peer was too slow"),
            CloseReason::Evicted => debug!("a peer made room for another"),
            reason => trace!(?reason, "closed"),
        }
        self.count(|counters| &counters.closed);
        match &reason {
            CloseReason::Evicted => self.count(|counters| &counters.evicted),
            // Otherwise it is we who are out of time.
            CloseReason::TimedOut if self.shutdown_deadline.is_none() => {
                self.count(|counters| &counters.below_min_rate);
            }
            _ => {}
        }
        if let (Some(limit), Some(permit)) = (&self.per_ip_limit, slot.permit) {
            limit.release(permit);
        }
        self.room_freed = true;
        // Of those that have gone before the bell rang, no more are kept than are there.
        if slot.is_awaiting_wake && self.awaiting_wake.len() > 2 * self.connections.len() {
            let connections = &self.connections;
            self.awaiting_wake
                .retain(|&key| connections.contains_key(key));
        }
        slot.connection
            .close(&mut self.protocol, &mut self.context, reason, self.now);
    }

    fn begin_shutdown(&mut self) -> io::Result<()> {
        self.shutdown_deadline = Some(self.now.instant + self.context.limits.grace);
        self.drain_backlogs()?;
        self.listeners.clear();
        debug!(connections = self.connections.len(), "retiring");
        let keys: Vec<ConnectionKey> = self.connections.keys().collect();
        for key in keys {
            let Some(slot) = self.connections.get_mut(key) else {
                continue;
            };
            let pumped = slot
                .connection
                .shut_down(&mut self.protocol, &mut self.context, self.now);
            self.after_pump(key, pumped);
        }
        Ok(())
    }

    /// Whether who waits at this door can wait for the next process.
    fn is_inherited(&self, index: usize) -> bool {
        let slot = self.listeners.get(index);
        slot.is_some_and(|slot| slot.listener.is_inherited())
    }

    /// Whoever waits for `accept` has a connection already, as far as they know; closing the
    /// listener would reset it, unless somebody else keeps it, for who comes after us.
    fn drain_backlogs(&mut self) -> io::Result<()> {
        for index in 0..self.listeners.len() {
            let slot = self.listeners.get_mut(index);
            if !slot.is_some_and(|slot| slot.listener.stop_accepting()) {
                continue;
            }
            for _ in 0..MAX_DRAIN_ROUNDS {
                if let Some(slot) = self.listeners.get_mut(index) {
                    slot.state = ListenerState::Pending;
                }
                self.accept(index, true)?;
                self.start_accepted();
                if self
                    .listeners
                    .get(index)
                    .is_some_and(|slot| slot.state != ListenerState::Pending)
                {
                    break;
                }
            }
        }
        Ok(())
    }

    fn abort_remaining(&mut self) {
        if !self.connections.is_empty() {
            let (count, grace) = (self.connections.len(), self.context.limits.grace);
            match self.handle.is_aborting() {
                true => warn!("connections cut, unfinished: {count}"),
                false => warn!("connections cut, unfinished {grace:?} after the stop: {count}"),
            }
        }
        let keys: Vec<ConnectionKey> = self.connections.keys().collect();
        for key in keys {
            self.close(key, CloseReason::TimedOut);
        }
        self.protocol.on_turn_end(read_clock);
    }
}

impl<S> ConnectionSlot<S> {
    fn idle_since<P: Protocol<Session = S>>(
        &self,
        protocol: &P,
        limits: &Limits,
    ) -> Option<Instant> {
        self.connection.idle_since(protocol, limits)
    }
}

impl ListenerSlot {
    /// Lets nobody in until a connection closes, or until this time has passed, and says so.
    fn pause(&mut self, time: Option<Duration>, now: Instant, reason: &str) {
        self.state = ListenerState::Paused(time.map(|time| now + time));
        if self.pause_log.should_log(now) {
            let address = self.listener.address();
            warn!("{address} is full: {reason}; whoever else comes waits until one closes");
        }
    }
}

fn read_clock() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connection_is_below_88_bytes() {
        // Ten thousand of them are to cost less than 256 bytes each. With the session, which may have
        // 96, its slot's generation (8) and its deadline (16) that is 208.
        // Where mio asserts, its sockets are larger; elsewhere ours is a descriptor, and which kind it is.
        let size = size_of::<ConnectionSlot<()>>() - size_of::<SocketStream>() + 8;
        assert!(size <= 88, "{size} bytes");
        let due = size_of::<(Tick, ConnectionKey)>();
        assert!(due <= 16, "{due} bytes");
    }
}
