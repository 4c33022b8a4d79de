//! Acceptor of a listener: accepts connections in bursts, makes room for them, and pauses where there is none.

use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use mio::Registry;
use tracing::{debug, warn};

use super::connections::{ConnectionKey, Connections};
use super::listen::Endpoint;
use super::listen::listener::{AcceptOutcome, Listener};
use super::protocol::Protocol;
use crate::sync::LogThrottle;

/// Maximum connections accepted per listener and turn, so that a flood of new clients does not delay the present ones.
const MAX_ACCEPTS_PER_TURN: usize = 64;

/// Maximum rounds of [`MAX_ACCEPTS_PER_TURN`] accepts before a listener closes, however many connections keep coming.
const MAX_DRAIN_ROUNDS: usize = 64;

/// Pause of a listener after it ran out of descriptors. It ends earlier if a connection closes.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A listener, and whether its backlog may hold connections.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Listener,
    state: AcceptorState,
    /// Throttle of the warning that connections have to wait.
    pause_log: LogThrottle,
    /// Throttle of the warning that connections are evicted.
    eviction_log: LogThrottle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptorState {
    /// The backlog is empty. The poll reports the next connection.
    Idle,
    /// The backlog may hold connections.
    Pending,
    /// The backlog may hold connections, and none is accepted before another one closes or, if a time is given, before
    /// that time.
    Paused(Option<Instant>),
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener,
            state: AcceptorState::Idle,
            pause_log: LogThrottle::default(),
            eviction_log: LogThrottle::default(),
        }
    }

    pub(super) fn address(&self) -> &Endpoint {
        self.listener.address()
    }

    /// Whether connections in the backlog can wait for the next process.
    pub(super) fn is_inherited(&self) -> bool {
        self.listener.is_inherited()
    }

    /// Records that the poll has reported a connection.
    pub(super) fn set_ready(&mut self) {
        if self.state == AcceptorState::Idle {
            self.state = AcceptorState::Pending;
        }
    }

    /// Returns the time of the next [`accept`](Self::accept) that the poll does not report; `None` is never.
    pub(super) fn next_accept(&self, now: Instant, room_freed: bool) -> Option<Instant> {
        match self.state {
            AcceptorState::Idle => None,
            AcceptorState::Pending => Some(now),
            AcceptorState::Paused(_) if room_freed => Some(now),
            AcceptorState::Paused(until) => until,
        }
    }

    /// Accepts a burst of connections, which are first pumped after it: by then the number of connections is known, and
    /// more of them have sent a request. `room_freed`: a connection has closed or become idle since the last call.
    pub(super) fn accept<P: Protocol>(
        &mut self,
        connections: &mut Connections<P>,
        room_freed: bool,
    ) -> io::Result<()> {
        let now = connections.now.instant;
        if self.next_accept(now, room_freed).is_none_or(|at| at > now) {
            return Ok(());
        }
        self.state = AcceptorState::Pending;
        let max = connections.limits().connections;
        let full = || format!("connections are limited to {max} per worker");
        let mut lost = 0;
        let mut evicted_in_vain = false;
        for _ in 0..MAX_ACCEPTS_PER_TURN {
            let is_full = connections.len() >= max;
            let evicted = if is_full {
                connections.longest_idle()
            } else {
                None
            };
            if is_full && evicted.is_none() {
                // Connections that were just accepted may soon be closed or idle: then this is called again at once.
                if !connections.has_accepted() {
                    self.pause(connections, None, &full());
                    connections.is_crowded_out = true;
                }
                break;
            }
            match self.listener.accept()? {
                AcceptOutcome::Connection(stream, peer) => {
                    let Some(permit) = connections.acquire_permit(&peer) else {
                        continue;
                    };
                    if let Some(evicted) = evicted {
                        self.evict(connections, evicted, &full());
                    }
                    connections.insert(stream, &peer, permit);
                    evicted_in_vain = false;
                }
                AcceptOutcome::NoneWaiting => {
                    self.state = AcceptorState::Idle;
                    break;
                }
                AcceptOutcome::Lost(error) => {
                    lost += 1;
                    debug!("a client left before its connection was accepted: {error}");
                    if lost == MAX_ACCEPTS_PER_TURN {
                        self.pause(connections, Some(ACCEPT_PAUSE), &error);
                    }
                }
                AcceptOutcome::Exhausted(_) if connections.has_accepted() => break,
                AcceptOutcome::Exhausted(error) => {
                    // After an eviction in vain another process takes every descriptor that is freed, so closing more
                    // connections does not help.
                    let idle = match evicted_in_vain {
                        true => None,
                        false => connections.longest_idle(),
                    };
                    let Some(key) = idle else {
                        self.pause(connections, Some(ACCEPT_PAUSE), &error);
                        break;
                    };
                    self.evict(connections, key, &error);
                    evicted_in_vain = true;
                }
            }
        }
        Ok(())
    }

    /// Accepts and starts all connections in the backlog, before the listener is closed. Their clients are already
    /// connected, and closing the listener would reset them, unless the service manager keeps it open for the next
    /// process.
    pub(super) fn drain<P: Protocol>(
        &mut self,
        connections: &mut Connections<P>,
        registry: &Registry,
    ) -> io::Result<()> {
        if !self.listener.stop_accepting() {
            return Ok(());
        }
        for _ in 0..MAX_DRAIN_ROUNDS {
            self.state = AcceptorState::Pending;
            self.accept(connections, true)?;
            connections.start_accepted(registry);
            if self.state != AcceptorState::Pending {
                break;
            }
        }
        Ok(())
    }

    /// Stops accepting until a connection closes, or for `time` at most, and logs it.
    fn pause<P: Protocol>(
        &mut self,
        connections: &Connections<P>,
        time: Option<Duration>,
        reason: &dyn Display,
    ) {
        let now = connections.now.instant;
        self.state = AcceptorState::Paused(time.map(|time| now + time));
        if self.pause_log.should_log(now) {
            let address = self.listener.address();
            warn!("{address} is full: {reason}; new clients wait until a connection closes");
        }
        connections.count(|counters| &counters.accept_pauses);
    }

    /// Closes a connection to make room for a new one.
    fn evict<P: Protocol>(
        &mut self,
        connections: &mut Connections<P>,
        key: ConnectionKey,
        reason: &dyn Display,
    ) {
        if self.eviction_log.should_log(connections.now.instant) {
            let address = self.listener.address();
            warn!(
                "{address} is full: {reason}; for each new connection the one that is idle longest is closed"
            );
        }
        connections.evict(key);
    }
}
