//! Connections of one reactor, with their protocol: inserted, pumped, awaited, closed.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slotmap::{Key as _, KeyData, SlotMap, new_key_type};
use tracing::{debug, trace, warn};

use super::close_reason::CloseReason;
use super::connection::{Connection, PumpContext, PumpOutcome};
use super::counters::ConnectionCounters;
use super::deadlines::{Deadlines, Tick};
use super::eviction::EvictionCandidates;
use super::limits::Limits;
use super::per_ip_limit::{PerIpLimit, Permit};
use super::protocol::{Now, Protocol};
use super::transport::SocketStream;
use crate::peer::Peer;
use crate::sync::Counter;

new_key_type! {
    /// Index of a connection's slot, and its generation.
    pub(super) struct ConnectionKey;
}

/// Connections of one reactor, with their protocol.
pub(super) struct Connections<P: Protocol> {
    pub(super) protocol: P,
    slots: SlotMap<ConnectionKey, ConnectionSlot<P::Session>>,
    deadlines: Deadlines<ConnectionKey>,
    runnable: Vec<ConnectionKey>,
    /// Connections whose sessions wait for a waker.
    awaiting_wake: Vec<ConnectionKey>,
    /// Connections that are accepted and not yet pumped.
    accepted: Vec<ConnectionKey>,
    eviction_candidates: EvictionCandidates<ConnectionKey>,
    pub(super) counters: Option<Arc<ConnectionCounters>>,
    pub(super) per_ip_limit: Option<PerIpLimit>,
    context: PumpContext,
    /// Time of this turn.
    pub(super) now: Now,
    /// The table is full and no connection is idle, so a backlog may hold connections: the next connection that becomes
    /// idle counts as freed room.
    pub(super) is_crowded_out: bool,
    /// A connection has closed or become idle since the listeners were last asked.
    pub(super) room_freed: bool,
    /// Time until which connections may finish, once the server shuts down.
    pub(super) shutdown_deadline: Option<Instant>,
}

struct ConnectionSlot<S> {
    connection: Connection<S, SocketStream>,
    /// The valid one of its entries in the deadlines.
    deadline: Option<Tick>,
    is_runnable: bool,
    is_awaiting_wake: bool,
    permit: Option<Permit>,
}

impl<P: Protocol> Connections<P> {
    pub(super) fn new(protocol: P, limits: Limits, now: Now) -> Self {
        Self {
            protocol,
            slots: SlotMap::with_key(),
            deadlines: Deadlines::new(now.instant),
            runnable: Vec::new(),
            awaiting_wake: Vec::new(),
            accepted: Vec::new(),
            eviction_candidates: EvictionCandidates::new(),
            counters: None,
            per_ip_limit: None,
            context: PumpContext::new(limits),
            now,
            is_crowded_out: false,
            room_freed: false,
            shutdown_deadline: None,
        }
    }

    pub(super) fn count(&self, which: impl FnOnce(&ConnectionCounters) -> &Counter) {
        if let Some(counters) = &self.counters {
            which(counters).add(1);
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.context.limits
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Returns the time at which a turn must start if there is no event before; `None` is never.
    pub(super) fn next_turn(&self) -> Option<Instant> {
        match self.runnable.is_empty() {
            true => self.deadlines.next(),
            false => Some(self.now.instant),
        }
    }

    /// Whether connections are accepted that are not yet started.
    pub(super) fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// Counts a connection from this peer, if there is a limit per address and the peer has an IP address that is not
    /// exempt. `None` if the address is at its limit; `Some(None)` if the connection is not counted.
    pub(super) fn acquire_permit(&self, peer: &Peer) -> Option<Option<Permit>> {
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
                    "{ip} has {max} connections, the most of one address; further ones are closed"
                );
            }
        }
        permit.map(Some)
    }

    /// Inserts a connection that was just accepted. [`start_accepted`](Self::start_accepted) pumps it.
    pub(super) fn insert(&mut self, stream: SocketStream, peer: &Peer, permit: Option<Permit>) {
        self.count(|counters| &counters.accepted);
        trace!(peer = %peer.address, "accepted");
        let session = self.protocol.on_accept(peer);
        let key = self.slots.insert(ConnectionSlot {
            connection: Connection::new(session, stream),
            deadline: None,
            is_runnable: false,
            is_awaiting_wake: false,
            permit,
        });
        self.accepted.push(key);
    }

    /// Pumps the new connections before they are registered with the poll: one that is served and closed at once is
    /// never registered, and readiness that arises in between is reported at registration.
    pub(super) fn start_accepted(&mut self, registry: &Registry) {
        let mut accepted = std::mem::take(&mut self.accepted);
        for key in accepted.drain(..) {
            self.pump(key);
            let Some(slot) = self.slots.get_mut(key) else {
                continue;
            };
            let token =
                Token(usize::try_from(key.data().as_ffi()).expect("Linux with 64-bit words"));
            let stream = slot.connection.socket.transport.as_fd();
            let descriptor = stream.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = registry.register(&mut source, token, both) {
                self.close(key, CloseReason::Io(error));
            }
        }
        self.accepted = accepted;
    }

    /// Pumps the connection whose socket the poll has reported. A stale token finds none.
    pub(super) fn on_event(&mut self, event: &Event) {
        let key = ConnectionKey::from(KeyData::from_ffi(event.token().0 as u64));
        if let Some(slot) = self.slots.get_mut(key) {
            let failed = event.is_error();
            slot.connection.socket.set_ready(
                event.is_readable() || failed,
                event.is_writable() || failed,
                event.is_read_closed(),
            );
            self.pump(key);
        }
    }

    /// Removes and returns the connections to be pumped again in this turn.
    pub(super) fn take_runnable(&mut self) -> Vec<ConnectionKey> {
        std::mem::take(&mut self.runnable)
    }

    pub(super) fn pump_runnable(&mut self, key: ConnectionKey) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.is_runnable = false;
            self.pump(key);
        }
    }

    /// Calls all sessions that wait for a waker.
    pub(super) fn wake_sessions(&mut self) {
        for key in std::mem::take(&mut self.awaiting_wake) {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.is_awaiting_wake = false;
                slot.connection.wake();
                self.pump(key);
            }
        }
    }

    /// Acts on all deadlines that have passed.
    pub(super) fn check_deadlines(&mut self) {
        while let Some((due, key)) = self.deadlines.pop(self.now.instant) {
            if let Some(slot) = self.slots.get_mut(key)
                && slot.deadline == Some(due)
            {
                slot.deadline = None;
                self.call(key, Connection::on_timer);
            }
        }
    }

    /// Notifies all sessions that the server shuts down.
    pub(super) fn shut_down(&mut self) {
        let keys: Vec<ConnectionKey> = self.slots.keys().collect();
        for key in keys {
            self.call(key, Connection::shut_down);
        }
    }

    /// Closes all connections, whatever they are doing.
    pub(super) fn abort(&mut self) {
        let keys: Vec<ConnectionKey> = self.slots.keys().collect();
        for key in keys {
            self.close(key, CloseReason::TimedOut);
        }
    }

    /// Closes an idle connection to make room for a new one.
    pub(super) fn evict(&mut self, key: ConnectionKey) {
        self.close(key, CloseReason::Evicted);
    }

    /// Returns the connection that has been idle longest.
    pub(super) fn longest_idle(&mut self) -> Option<ConnectionKey> {
        let (slots, protocol, limits) = (&self.slots, &self.protocol, &self.context.limits);
        let idle_since = |slot: &ConnectionSlot<_>| slot.connection.idle_since(protocol, limits);
        let is_since = |key| slots.get(key).and_then(idle_since);
        self.eviction_candidates.first(is_since).or_else(|| {
            let idle = slots
                .iter()
                .filter_map(|(key, slot)| Some((idle_since(slot)?, key)));
            self.eviction_candidates.pick(idle.collect());
            self.eviction_candidates.first(is_since)
        })
    }
}

/// Calls of a connection, and their consequences.
impl<P: Protocol> Connections<P> {
    fn pump(&mut self, key: ConnectionKey) {
        self.call(key, Connection::pump);
    }

    fn call(
        &mut self,
        key: ConnectionKey,
        call: impl FnOnce(
            &mut Connection<P::Session, SocketStream>,
            &mut P,
            &mut PumpContext,
            Now,
        ) -> PumpOutcome,
    ) {
        if let Some(slot) = self.slots.get_mut(key) {
            let (protocol, context) = (&mut self.protocol, &mut self.context);
            let pumped = call(&mut slot.connection, protocol, context, self.now);
            self.after_pump(key, pumped);
        }
    }

    /// Acts on the outcome of a pump: closes, queues for the next turn, sets the deadline.
    fn after_pump(&mut self, key: ConnectionKey, pumped: PumpOutcome) {
        let Some(slot) = self.slots.get_mut(key) else {
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
        if self.is_crowded_out && slot.connection.idle_since(&self.protocol, limits).is_some() {
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
            let slots = &self.slots;
            self.deadlines.prune(slots.len(), |due, key| {
                slots
                    .get(key)
                    .is_some_and(|slot| slot.deadline == Some(due))
            });
        }
    }

    fn close(&mut self, key: ConnectionKey, reason: CloseReason) {
        let Some(slot) = self.slots.remove(key) else {
            return;
        };
        match &reason {
            CloseReason::FileChanged => debug!("the file changed while it was sent"),
            CloseReason::FileUnreadable(error) => {
                debug!("cannot read the file that is sent: {error}");
            }
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
                slot.connection.socket.transport.reset_on_close();
            }
            _ => {}
        }
        if let (Some(limit), Some(permit)) = (&self.per_ip_limit, slot.permit) {
            limit.release(permit);
        }
        self.room_freed = true;
        // Keys of connections that closed before a wake-up are removed, so that the list stays bounded.
        if slot.is_awaiting_wake && self.awaiting_wake.len() > 2 * self.slots.len() {
            let slots = &self.slots;
            self.awaiting_wake.retain(|&key| slots.contains_key(key));
        }
        slot.connection
            .close(&mut self.protocol, &mut self.context, reason, self.now);
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
