//! Event loop of one worker, and its only clock: polls, wakes, accepts, pumps connections, checks deadlines, shuts down.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tracing::{debug, warn};

use super::acceptor::Acceptor;
use super::connections::Connections;
use super::counters::ConnectionCounters;
use super::limits::Limits;
use super::listen::Endpoint;
use super::listen::listener::Listener;
use super::per_ip_limit::PerIpLimit;
use super::protocol::{Now, Protocol};
use super::reactor_handle::ReactorHandle;

/// Maximum events of one epoll_wait(2).
const MAX_EVENTS_PER_POLL: usize = 1024;

/// Token of the handle's waker. Tokens of connections have a generation in their upper half, so tokens below 2^32 are
/// free for this one, for the protocol's wakers and for the indices of listeners.
const HANDLE_TOKEN: Token = Token(u32::MAX as usize);

/// Token of the descriptors that the protocol has registered as wakers.
const WAKER_TOKEN: Token = Token(u32::MAX as usize - 1);

/// Event loop of one thread: its listeners, its connections, and their protocol.
///
/// It reads the clock once per turn, and at the end of the turn if the protocol asks for it
/// ([`Protocol::on_turn_end`]). No other code of the loop does.
pub struct Reactor<P: Protocol> {
    poll: Poll,
    events: Events,
    handle: ReactorHandle,
    acceptors: Vec<Acceptor>,
    wakers: Vec<OwnedFd>,
    connections: Connections<P>,
    last_event: Instant,
}

impl<P: Protocol> Reactor<P> {
    /// Creates a reactor without listeners.
    ///
    /// # Errors
    /// When the kernel gives no epoll or eventfd descriptor.
    pub fn new(protocol: P, limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let now = read_clock();
        let reactor = Self {
            handle: ReactorHandle::new()?,
            poll,
            events: Events::with_capacity(MAX_EVENTS_PER_POLL),
            acceptors: Vec::new(),
            wakers: Vec::new(),
            connections: Connections::new(protocol, limits, now),
            last_event: now.instant,
        };
        reactor.register(reactor.handle.waker(), HANDLE_TOKEN)?;
        Ok(reactor)
    }

    /// Adds a listener.
    ///
    /// # Errors
    /// When it cannot be registered with the poll.
    pub fn listen(mut self, listener: Listener) -> io::Result<Self> {
        self.register(&listener, Token(self.acceptors.len()))?;
        self.acceptors.push(Acceptor::new(listener));
        Ok(self)
    }

    /// Adds a descriptor of the protocol as a waker. When it becomes readable, [`Protocol::on_turn_start`] is called
    /// with `true` before any connection is served, and sessions that have returned
    /// [`Next::AwaitWake`](super::Next::AwaitWake) or [`Next::ReadOrWake`](super::Next::ReadOrWake) are called.
    ///
    /// # Errors
    /// When it cannot be registered with the poll.
    pub fn register_waker(mut self, waker: OwnedFd) -> io::Result<Self> {
        self.register(&waker, WAKER_TOKEN)?;
        self.wakers.push(waker);
        Ok(self)
    }

    /// Sets the counters of this reactor's connections.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<ConnectionCounters>) -> Self {
        self.connections.counters = Some(counters);
        self
    }

    /// Limits the open connections per peer address. A connection above the limit is closed as soon as it is accepted.
    #[must_use]
    pub fn with_per_ip_limit(mut self, limit: PerIpLimit) -> Self {
        self.connections.per_ip_limit = Some(limit);
        self
    }

    /// Returns the addresses of the listeners, in the order in which they were added.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.acceptors.iter().map(Acceptor::address)
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
            self.connections.protocol.on_turn_end(read_clock);
            turned?;
        }
        self.abort_remaining();
        Ok(())
    }

    fn register(&self, readable: &impl AsFd, token: Token) -> io::Result<()> {
        let descriptor = readable.as_fd().as_raw_fd();
        let mut source = SourceFd(&descriptor);
        let registry = self.poll.registry();
        registry.register(&mut source, token, Interest::READABLE)
    }

    fn is_finished(&self) -> bool {
        let now = self.connections.now.instant;
        self.connections
            .shutdown_deadline
            .is_some_and(|until| self.connections.len() == 0 || until <= now)
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let polled = self.poll.poll(&mut self.events, timeout);
        // Read before the clock, so that the grace period does not start before the stop.
        let stopped = self.handle.is_stopping();
        let now = read_clock();
        let connections = &mut self.connections;
        connections.now = now;
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let runnable = connections.take_runnable();

        let is_woken = !self.wakers.is_empty() && may_be_woken(&self.events);
        let protocol = &mut connections.protocol;
        protocol.on_turn_start(is_woken);
        if protocol.next_timer().is_some_and(|due| due <= now.wall) {
            protocol.on_timer(now);
        }
        for event in &self.events {
            match event.token() {
                HANDLE_TOKEN | WAKER_TOKEN => {}
                Token(index) => match self.acceptors.get_mut(index) {
                    Some(acceptor) => acceptor.set_ready(),
                    None => connections.on_event(event),
                },
            }
        }
        if is_woken {
            connections.wake_sessions();
        }
        self.check_idle();

        let room_freed = std::mem::take(&mut self.connections.room_freed);
        for acceptor in &mut self.acceptors {
            if !(stopped && acceptor.is_inherited()) {
                acceptor.accept(&mut self.connections, room_freed)?;
            }
        }
        self.connections.start_accepted(self.poll.registry());
        for key in runnable {
            self.connections.pump_runnable(key);
        }
        self.connections.check_deadlines();
        if self.connections.shutdown_deadline.is_none() && stopped {
            self.begin_shutdown()?;
        }
        if self.connections.shutdown_deadline.is_some() && self.handle.is_aborting() {
            self.connections.shutdown_deadline = Some(now.instant);
        }
        Ok(())
    }

    /// Returns the time for which the poll may wait; `None` is without limit.
    fn timeout(&self) -> Option<Duration> {
        let connections = &self.connections;
        let now = connections.now;
        let room_freed = connections.room_freed;
        let accept = |acceptor: &Acceptor| acceptor.next_accept(now.instant, room_freed);
        let idle = connections.limits().idle_interval;
        let due = connections.protocol.next_timer().map(|due| {
            let left = due.duration_since(now.wall).unwrap_or_default();
            now.instant + left
        });
        self.acceptors
            .iter()
            .filter_map(accept)
            .chain(connections.next_turn())
            .chain(idle.map(|interval| self.last_event + interval))
            .chain(due)
            .chain(self.connections.shutdown_deadline)
            .min()
            .map(|due| due.saturating_duration_since(now.instant))
    }

    fn check_idle(&mut self) {
        let Some(interval) = self.connections.limits().idle_interval else {
            return;
        };
        let now = self.connections.now.instant;
        if !self.events.is_empty() {
            self.last_event = now;
        } else if self.last_event + interval <= now {
            self.last_event = now;
            self.connections.protocol.on_idle();
        }
    }

    fn begin_shutdown(&mut self) -> io::Result<()> {
        let connections = &mut self.connections;
        let grace = connections.limits().grace;
        connections.shutdown_deadline = Some(connections.now.instant + grace);
        for acceptor in &mut self.acceptors {
            acceptor.drain(connections, self.poll.registry())?;
        }
        self.acceptors.clear();
        debug!(connections = connections.len(), "draining");
        connections.shut_down();
        Ok(())
    }

    fn abort_remaining(&mut self) {
        let (count, grace) = (self.connections.len(), self.connections.limits().grace);
        match self.handle.is_aborting() {
            _ if count == 0 => {}
            true => warn!("connections aborted with unfinished responses: {count}"),
            false => warn!(
                "connections aborted with unfinished responses {grace:?} after the stop: {count}"
            ),
        }
        self.connections.abort();
        self.connections.protocol.on_turn_end(read_clock);
    }
}

impl<P: Protocol> fmt::Debug for Reactor<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reactor");
        debug
            .field("acceptors", &self.acceptors)
            .finish_non_exhaustive()
    }
}

/// Whether a waker may be readable: it is among the events, or there may be more events than were taken.
fn may_be_woken(events: &Events) -> bool {
    events.iter().count() == MAX_EVENTS_PER_POLL
        || events.iter().any(|event| event.token() == WAKER_TOKEN)
}

fn read_clock() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}
