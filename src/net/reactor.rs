//! Event loop of one worker: polls, accepts, pumps connections, checks deadlines, shuts down.

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
use super::per_ip_limit::{PerIpLimit, Permit};
use super::protocol::{CloseReason, Now, Peer, Protocol};
use super::transport::SocketStream;
use crate::sync::{Counter, LogThrottle};

/// Maximum events of one epoll_wait(2).
const MAX_EVENTS_PER_POLL: usize = 1024;

/// Maximum connections accepted per listener and turn, so that a flood of new clients does not delay the present ones.
const MAX_ACCEPTS_PER_TURN: usize = 64;

/// Idle connections per eviction candidate, when all connections are searched for candidates.
const CONNECTIONS_PER_CANDIDATE: usize = 16;

/// Maximum rounds of [`MAX_ACCEPTS_PER_TURN`] accepts before a listener closes, however many connections keep coming.
const MAX_DRAIN_ROUNDS: usize = 64;

/// Pause of a listener after it ran out of descriptors. It ends earlier if a connection closes.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Token of the handle's waker. Tokens of connections have a generation in their upper half, so tokens below 2^32 are
/// free for this one, for the protocol's wakers and for the indices of listeners.
const HANDLE_TOKEN: Token = Token(u32::MAX as usize);

/// Token of the descriptors that the protocol has registered as wakers.
const WAKER_TOKEN: Token = Token(u32::MAX as usize - 1);

new_key_type! {
    /// Index of a connection's slot, and its generation.
    struct ConnectionKey;
}

/// Event loop of one thread: its listeners, its connections, and their protocol.
///
/// It reads the clock once per turn, and at the end of the turn if the protocol asks for it
/// ([`Protocol::on_turn_end`]). No other code of the loop does.
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
    /// Connections whose sessions wait for a waker.
    awaiting_wake: Vec<ConnectionKey>,
    /// Connections that are accepted and not yet pumped.
    accepted: Vec<ConnectionKey>,
    per_ip_limit: Option<PerIpLimit>,
    counters: Option<Arc<ConnectionCounters>>,
    /// Connections that had been idle longest at the last search, the longest first.
    eviction_candidates: VecDeque<(Instant, ConnectionKey)>,
    /// The table is full and no connection is idle, so a backlog may hold connections.
    is_crowded_out: bool,
    context: PumpContext,
    now: Now,
    last_event: Instant,
    shutdown_deadline: Option<Instant>,
    /// A connection has closed or become idle since the listeners were last asked.
    room_freed: bool,
}

/// Handle that stops a reactor from another thread.
#[derive(Clone, Debug)]
pub struct ReactorHandle {
    waker: Arc<Waker>,
    stopping: Arc<AtomicBool>,
    /// Connections are closed without waiting for them to finish.
    aborting: Arc<AtomicBool>,
}

/// A listener, and whether its backlog may hold connections.
#[derive(Debug)]
struct ListenerSlot {
    listener: Listener,
    state: ListenerState,
    /// Throttle of the warning that connections have to wait.
    pause_log: LogThrottle,
    /// Throttle of the warning that connections are evicted.
    eviction_log: LogThrottle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListenerState {
    /// The backlog is empty. The poll reports the next connection.
    Idle,
    /// The backlog may hold connections.
    Pending,
    /// The backlog may hold connections, and none is accepted before another one closes or, if a time is given, before
    /// that time.
    Paused(Option<Instant>),
}

#[derive(Debug)]
struct ConnectionSlot<S> {
    connection: Connection<S, SocketStream>,
    /// The valid one of its entries in the deadlines.
    deadline: Option<Tick>,
    is_runnable: bool,
    is_awaiting_wake: bool,
    permit: Option<Permit>,
}

impl ReactorHandle {
    /// Makes the reactor stop accepting, let connections finish, and return from [`Reactor::run`]. May be called from
    /// any thread, any number of times.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake a worker thread: {error}");
        }
    }

    /// Makes the reactor close all connections without letting them finish. May be called after [`stop`](Self::stop).
    pub fn abort(&self) {
        self.aborting.store(true, Ordering::Release);
        self.stop();
    }

    fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }
}

impl<P: Protocol> Reactor<P> {
    /// Creates a reactor without listeners.
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

    /// Adds a listener.
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

    /// Adds a descriptor of the protocol as a waker. When it becomes readable, [`Protocol::on_turn_start`] is called
    /// with `true` before any connection is served, and sessions that have returned
    /// [`Next::AwaitWake`](super::Next::AwaitWake) or [`Next::ReadOrWake`](super::Next::ReadOrWake) are called.
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

    /// Sets the counters of this reactor's connections.
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

    /// Returns the addresses of the listeners, in the order in which they were added.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().map(|slot| slot.listener.address())
    }

    /// Returns a handle that stops this reactor.
    #[must_use]
    pub fn handle(&self) -> ReactorHandle {
        self.handle.clone()
    }

    /// Serves until [`ReactorHandle::stop`]. Then connections may finish until [`Limits::grace`] has passed or
    /// [`ReactorHandle::abort`] is called.
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
        // Read before the clock, so that the grace period does not start before the stop.
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

    /// Returns the time for which the poll may wait; `None` is without limit.
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

    /// Whether a waker may be readable: it is among the events, or there may be more events than were taken.
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

    /// Accepts a burst of connections, which are first pumped after it: by then the number of connections is known, and
    /// more of them have sent a request.
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
                    // Some of those may soon be closed or idle. The listener is asked again at once.
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
                    debug!("a client left before its connection was accepted: {error}");
                    if lost == MAX_ACCEPTS_PER_TURN {
                        self.pause_accepting(index, Some(ACCEPT_PAUSE), &error.to_string());
                    }
                }
                AcceptOutcome::Exhausted(_) if !self.accepted.is_empty() => break,
                // Another process takes every descriptor that is freed, so closing more connections does not help.
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

    /// Stops accepting at this listener until a connection closes, or for `time` at most.
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

    /// Pumps a new connection before it is registered with the poll: one that is served and closed at once is never
    /// registered, and readiness that arises in between is reported at registration.
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

    /// Counts a connection from this peer, if there is a limit per address and the peer has an IP address that is not
    /// exempt. `None` if the address is at its limit; `Some(None)` if the connection is not counted.
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
            debug!(peer = %peer.address, "closed: too many connections of this address");
            if limit.should_log(self.now.instant) {
                let max = limit.max();
                warn!(
                    "{ip} has {max} connections, the most that --max-connections-per-ip allows; further ones are \
                     closed"
                );
            }
        }
        permit.map(Some)
    }

    /// Closes a connection to make room for a new one at this listener.
    fn evict(&mut self, key: ConnectionKey, index: usize, reason: &str) {
        if let Some(slot) = self.listeners.get_mut(index)
            && slot.eviction_log.should_log(self.now.instant)
        {
            let address = slot.listener.address();
            warn!(
                "{address} is full: {reason}; for each new connection the one that is idle longest is closed"
            );
        }
        self.close(key, CloseReason::Evicted);
    }

    /// Returns the connection that has been idle longest. Searching all connections takes time, so each search picks
    /// several candidates: one in [`CONNECTIONS_PER_CANDIDATE`].
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

    /// Returns the first candidate that has been idle ever since it was picked.
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

    /// Calls all sessions that wait for a waker.
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

    /// Acts on the outcome of a pump: closes, queues for the next turn, sets the deadline.
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
        // Usually the timer is due after the valid entry. Comparing instants is cheaper than computing the tick.
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
            CloseReason::Io(error) => debug!("connection closed: {error}"),
            CloseReason::TimedOut => debug!("connection closed: the client was too slow"),
            CloseReason::Evicted => debug!("connection closed: evicted for a new one"),
            reason => trace!(?reason, "closed"),
        }
        self.count(|counters| &counters.closed);
        match &reason {
            CloseReason::Evicted => self.count(|counters| &counters.evicted),
            // During a shutdown the grace period has passed, and the peer may not be slow.
            CloseReason::TimedOut if self.shutdown_deadline.is_none() => {
                self.count(|counters| &counters.below_min_rate);
            }
            _ => {}
        }
        if let (Some(limit), Some(permit)) = (&self.per_ip_limit, slot.permit) {
            limit.release(permit);
        }
        self.room_freed = true;
        // Keys of connections that closed before a wake-up are removed, so that the list stays bounded.
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
        debug!(connections = self.connections.len(), "draining");
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

    /// Whether connections in this listener's backlog can wait for the next process.
    fn is_inherited(&self, index: usize) -> bool {
        let slot = self.listeners.get(index);
        slot.is_some_and(|slot| slot.listener.is_inherited())
    }

    /// Accepts the connections in the backlogs. Their clients are already connected, and closing the listener would
    /// reset them, unless the service manager keeps it open for the next process.
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
                true => warn!("connections aborted with unfinished responses: {count}"),
                false => warn!(
                    "connections aborted with unfinished responses {grace:?} after the stop: {count}"
                ),
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
    /// Stops accepting until a connection closes, or until this time has passed, and logs it.
    fn pause(&mut self, time: Option<Duration>, now: Instant, reason: &str) {
        self.state = ListenerState::Paused(time.map(|time| now + time));
        if self.pause_log.should_log(now) {
            let address = self.listener.address();
            warn!("{address} is full: {reason}; new clients wait until a connection closes");
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
        // Each of ten thousand idle connections must cost less than 256 bytes. With the session (at most 96), the
        // slot's generation (8) and the deadline (16) it is 208. In debug builds mio's sockets are larger; in release
        // builds a `SocketStream` is a descriptor and its kind: 8 bytes.
        let size = size_of::<ConnectionSlot<()>>() - size_of::<SocketStream>() + 8;
        assert!(size <= 88, "{size} bytes");
        let due = size_of::<(Tick, ConnectionKey)>();
        assert!(due <= 16, "{due} bytes");
    }
}
