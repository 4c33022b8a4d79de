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
use super::census::{Census, Counted};
use super::connection::{Connection, Pumped, Shared};
use super::counters::Counters;
use super::deadlines::{Deadlines, Tick};
use super::limits::Limits;
use super::listener::{Accepted, Listener};
use super::protocol::{Closed, Now, Peer, Protocol};
use super::reminder::Reminder;
use super::transport::Stream;
use crate::count::Count;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Connections accepted per listener and turn, so that a flood of new peers does not hold up those
/// who are there.
const ACCEPTS: usize = 64;

/// Of how many connections one is picked out to make room, each time all are looked through.
const PICKED: usize = 16;

/// How often that is done once more before a listener closes, however many keep coming.
const LAST_ROUNDS: usize = 64;

/// How long a listener rests that ran out of descriptors, if no connection closes before.
const REST: Duration = Duration::from_secs(1);

/// The waker's token. Connections have a generation in the upper half of theirs, so tokens below
/// 2^32 are free for it, for the bells and for the listeners' numbers.
const WAKER: Token = Token(u32::MAX as usize);

/// The token of the descriptors that the protocol has us listen to.
const BELL: Token = Token(u32::MAX as usize - 1);

new_key_type! {
    /// A connection's place and its generation.
    struct Key;
}

/// One thread's loop: its listeners, its connections, and the protocol they speak.
///
/// It is the only reader of the clock: once per turn, and at its end if the protocol asks ([`Protocol::rest`]).
#[derive(Debug)]
pub struct Reactor<P: Protocol> {
    protocol: P,
    poll: Poll,
    events: Events,
    handle: Handle,
    listeners: Vec<Door>,
    bells: Vec<OwnedFd>,
    connections: SlotMap<Key, Entry<P::Session>>,
    deadlines: Deadlines<Key>,
    hungry: Vec<Key>,
    /// Who waits for a bell.
    listening: Vec<Key>,
    /// Who has been accepted and not yet been heard.
    fresh: Vec<Key>,
    census: Option<Census>,
    counters: Option<Arc<Counters>>,
    /// Who had waited longest when that was last looked for, the longest first.
    waiting: VecDeque<(Instant, Key)>,
    /// There is no room, and nobody to make any, so that somebody may wait at a door.
    is_crowded: bool,
    shared: Shared,
    now: Now,
    eventful: Instant,
    retiring: Option<Instant>,
    /// A connection has closed, or can make room, since the listeners were last asked.
    freed: bool,
}

/// Stops a reactor from another thread.
#[derive(Clone, Debug)]
pub struct Handle {
    waker: Arc<Waker>,
    stopped: Arc<AtomicBool>,
    /// Nobody is waited for.
    hurried: Arc<AtomicBool>,
}

/// A listener and whether somebody may be waiting at it.
#[derive(Debug)]
struct Door {
    listener: Listener,
    state: DoorState,
    /// That somebody has to wait.
    warned: Reminder,
    /// That somebody has to go.
    displaced: Reminder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DoorState {
    /// Nobody waits; the poll will say when somebody does.
    Quiet,
    /// Somebody may be waiting.
    Knocked,
    /// Somebody may be waiting, and nobody can be let in before a connection closes, or, where time
    /// alone may help, before then.
    Resting(Option<Instant>),
}

#[derive(Debug)]
struct Entry<S> {
    connection: Connection<S, Stream>,
    /// Which of its entries in the deadlines counts.
    armed: Option<Tick>,
    hungry: bool,
    listening: bool,
    counted: Option<Counted>,
}

impl Handle {
    /// Tells the reactor to retire: to accept nobody, to finish what is begun, and to return from
    /// [`Reactor::run`]. May be called from any thread, any number of times.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake the loop: {error}");
        }
    }

    /// The same, but what is begun is not finished: whoever is there is cut. May be called after
    /// [`stop`](Self::stop).
    pub fn cut(&self) {
        self.hurried.store(true, Ordering::Release);
        self.stop();
    }

    fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }
}

impl<P: Protocol> Reactor<P> {
    /// A reactor without listeners.
    ///
    /// # Errors
    /// When the kernel gives no epoll or eventfd descriptor.
    pub fn new(protocol: P, limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let now = read_clock();
        Ok(Self {
            protocol,
            poll,
            events: Events::with_capacity(EVENTS),
            handle: Handle {
                waker,
                stopped: Arc::default(),
                hurried: Arc::default(),
            },
            listeners: Vec::new(),
            bells: Vec::new(),
            connections: SlotMap::with_key(),
            deadlines: Deadlines::new(now.instant),
            hungry: Vec::new(),
            listening: Vec::new(),
            census: limits.connections_per_peer.clone(),
            counters: None,
            fresh: Vec::new(),
            waiting: VecDeque::new(),
            is_crowded: false,
            shared: Shared::new(limits),
            now,
            eventful: now.instant,
            retiring: None,
            freed: false,
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
        self.listeners.push(Door {
            listener,
            state: DoorState::Quiet,
            warned: Reminder::default(),
            displaced: Reminder::default(),
        });
        Ok(self)
    }

    /// Listens to a descriptor of the protocol's own, or another one: whenever it becomes readable,
    /// [`Protocol::begin`] is told before anybody is served in that turn, and whoever said
    /// [`Next::Wait`](super::Next::Wait) or [`Next::Listen`](super::Next::Listen) is asked again.
    ///
    /// # Errors
    /// When it cannot be registered with the poll.
    pub fn attend(mut self, bell: OwnedFd) -> io::Result<Self> {
        let descriptor = bell.as_raw_fd();
        let mut source = SourceFd(&descriptor);
        self.poll
            .registry()
            .register(&mut source, BELL, Interest::READABLE)?;
        self.bells.push(bell);
        Ok(self)
    }

    /// Counts what becomes of connections.
    #[must_use]
    pub fn counted_by(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn count(&self, which: impl FnOnce(&Counters) -> &Count) {
        if let Some(counters) = &self.counters {
            which(counters).add(1);
        }
    }

    /// The addresses listened on, in the order in which the listeners came.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().map(|door| door.listener.address())
    }

    /// What stops this reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until [`Handle::stop`], then finishes what is begun, within
    /// [`Limits::grace`] and until [`Handle::cut`], and returns.
    ///
    /// # Errors
    /// When the poll or a listening socket fails.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_over() {
            let turned = self.turn();
            self.protocol.rest(read_clock);
            turned?;
        }
        self.cut_the_rest();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.retiring
            .is_some_and(|until| self.connections.is_empty() || until <= self.now.instant)
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        let polled = self.poll.poll(&mut self.events, timeout);
        // Asked before the clock is, so that the grace does not begin before the stop.
        let stopped = self.handle.stopped.load(Ordering::Acquire);
        self.now = read_clock();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let hungry = std::mem::take(&mut self.hungry);

        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let told = self.is_told(&events);
        self.protocol.begin(told);
        if self.protocol.due().is_some_and(|due| due <= self.now.wall) {
            self.protocol.tend(self.now);
        }
        for event in &events {
            self.receive(event);
        }
        if told {
            self.ring();
        }
        self.note_idleness(&events);
        self.events = events;

        let freed = std::mem::take(&mut self.freed);
        for door in 0..self.listeners.len() {
            if !(stopped && self.is_kept(door)) {
                self.accept(door, freed)?;
            }
        }
        self.open_fresh();
        for key in hungry {
            self.pump_hungry(key);
        }
        while let Some((due, key)) = self.deadlines.pop(self.now.instant) {
            self.expire(due, key);
        }
        if self.retiring.is_none() && stopped {
            self.retire()?;
        }
        if self.retiring.is_some() && self.handle.is_hurried() {
            self.retiring = Some(self.now.instant);
        }
        Ok(())
    }

    /// How long the poll may wait.
    fn timeout(&self) -> Option<Duration> {
        let rested = self.listeners.iter().filter_map(|door| match door.state {
            DoorState::Quiet => None,
            DoorState::Knocked => Some(self.now.instant),
            DoorState::Resting(_) if self.freed => Some(self.now.instant),
            DoorState::Resting(until) => until,
        });
        let hungry = (!self.hungry.is_empty()).then_some(self.now.instant);
        let idle = self
            .shared
            .limits
            .interval
            .map(|interval| self.eventful + interval);
        let due = self.protocol.due().map(|due| {
            let left = due.duration_since(self.now.wall).unwrap_or_default();
            self.now.instant + left
        });
        rested
            .chain(hungry)
            .chain(idle)
            .chain(due)
            .chain(self.deadlines.next())
            .chain(self.retiring)
            .min()
            .map(|due| due.saturating_duration_since(self.now.instant))
    }

    /// Whether a bell has rung, as far as can be known: if there were more events than were taken, it
    /// may have.
    fn is_told(&self, events: &Events) -> bool {
        let rung = |event: &Event| event.token() == BELL;
        !self.bells.is_empty() && (events.iter().count() == EVENTS || events.iter().any(rung))
    }

    fn note_idleness(&mut self, events: &Events) {
        let Some(interval) = self.shared.limits.interval else {
            return;
        };
        if !events.is_empty() {
            self.eventful = self.now.instant;
        } else if self.eventful + interval <= self.now.instant {
            self.eventful = self.now.instant;
            self.protocol.idle();
        }
    }

    fn receive(&mut self, event: &Event) {
        let token = event.token();
        if token == WAKER || token == BELL {
            return;
        }
        if let Some(door) = self.listeners.get_mut(token.0) {
            if door.state == DoorState::Quiet {
                door.state = DoorState::Knocked;
            }
            return;
        }
        let key = Key::from(KeyData::from_ffi(token.0 as u64));
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        let failed = event.is_error();
        entry.connection.ready(
            event.is_readable() || failed,
            event.is_writable() || failed,
            event.is_read_closed(),
        );
        self.pump(key);
    }

    /// Accepts a burst, which is opened after that: what nobody could know before all of them had come
    /// is to be known then, and more of them have asked for something by then.
    fn accept(&mut self, number: usize, freed: bool) -> io::Result<()> {
        let Some(door) = self.listeners.get_mut(number) else {
            return Ok(());
        };
        match door.state {
            DoorState::Quiet => return Ok(()),
            DoorState::Resting(until)
                if !freed && until.is_none_or(|until| until > self.now.instant) =>
            {
                return Ok(());
            }
            DoorState::Knocked | DoorState::Resting(_) => {}
        }
        door.state = DoorState::Knocked;
        let mut lost = 0;
        let mut in_vain = false;
        for _ in 0..ACCEPTS {
            let most = self.shared.limits.connections;
            let is_full = self.connections.len() >= most;
            let displaced = if is_full {
                self.longest_waiting()
            } else {
                None
            };
            let Some(door) = self.listeners.get_mut(number) else {
                return Ok(());
            };
            if is_full && displaced.is_none() {
                if !self.fresh.is_empty() {
                    // Some of those may soon be over, or wait. The door is asked again at once.
                    break;
                }
                let reason = format!("connections are limited to {most} per worker");
                self.rest(number, None, &reason);
                self.is_crowded = true;
                break;
            }
            match door.listener.accept()? {
                Accepted::Connection(stream, peer) => {
                    let Some(place) = self.place(&peer) else {
                        continue;
                    };
                    if let Some(displaced) = displaced {
                        let reason = format!("connections are limited to {most} per worker");
                        self.displace(displaced, number, &reason);
                    }
                    self.admit(stream, &peer, place);
                    in_vain = false;
                }
                Accepted::Nobody => {
                    door.state = DoorState::Quiet;
                    break;
                }
                Accepted::Lost(error) => {
                    lost += 1;
                    debug!("a connection was lost while it was accepted: {error}");
                    if lost == ACCEPTS {
                        self.rest(number, Some(REST), &error.to_string());
                    }
                }
                Accepted::Exhausted(_) if !self.fresh.is_empty() => break,
                // Where it is others who take all there is, hanging up on our peers helps nobody.
                Accepted::Exhausted(error) if in_vain => {
                    self.rest(number, Some(REST), &error.to_string());
                    break;
                }
                Accepted::Exhausted(error) => match self.longest_waiting() {
                    Some(key) => {
                        self.displace(key, number, &error.to_string());
                        in_vain = true;
                    }
                    None => {
                        self.rest(number, Some(REST), &error.to_string());
                        break;
                    }
                },
            }
        }
        Ok(())
    }

    /// Lets nobody in at this door before a connection closes, or for so long at the most.
    fn rest(&mut self, number: usize, time: Option<Duration>, reason: &str) {
        if let Some(door) = self.listeners.get_mut(number) {
            door.rest(time, self.now.instant, reason);
        }
        self.count(|counters| &counters.rests);
    }

    fn admit(&mut self, stream: Stream, peer: &Peer, counted: Option<Counted>) {
        self.count(|counters| &counters.accepted);
        trace!(peer = %peer.address, "accepted");
        let session = self.protocol.open(peer);
        let connection = Connection::new(session, stream);
        let key = self.connections.insert(Entry {
            connection,
            armed: None,
            hungry: false,
            listening: false,
            counted,
        });
        self.fresh.push(key);
    }

    fn open_fresh(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for key in fresh.drain(..) {
            self.open(key);
        }
        self.fresh = fresh;
    }

    /// Pumps a new connection before it is registered: one that is answered and closed at once
    /// never enters the poll, and what arrives in between is reported when it does.
    fn open(&mut self, key: Key) {
        self.pump(key);
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        let token = Token(usize::try_from(key.data().as_ffi()).expect("Linux with 64-bit words"));
        let stream = entry.connection.transport_mut();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(stream, token, both) {
            self.close(key, Closed::Broken(error));
        }
    }

    /// One connection more for this peer, counted if they are counted and it has an IP address; `None` if it has
    /// enough.
    fn place(&self, peer: &Peer) -> Option<Option<Counted>> {
        let (Some(census), Some(ip)) = (&self.census, peer.address.ip()) else {
            return Some(None);
        };
        if census.spares(ip) {
            return Some(None);
        }
        let counted = census.enter(ip);
        if counted.is_none() {
            self.count(|counters| &counters.turned_away);
            debug!(peer = %peer.address, "turned away");
            if census.is_worth_a_word(self.now.instant) {
                let most = census.most();
                warn!(
                    "{ip} holds {most} connections and may have no more \
                     (see --max-connections-per-ip); others are closed"
                );
            }
        }
        counted.map(Some)
    }

    /// Hangs up on one, so that there is room for another who came to this door.
    fn displace(&mut self, key: Key, number: usize, reason: &str) {
        if let Some(door) = self.listeners.get_mut(number)
            && door.displaced.is_due(self.now.instant)
        {
            let address = door.listener.address();
            warn!("{address} is full: {reason}; who keeps us waiting longest makes room");
        }
        self.close(key, Closed::Displaced);
    }

    /// Who has been waiting longest for its peer to ask for something. Looking through all takes time,
    /// so several are picked each time, the more the more there are.
    fn longest_waiting(&mut self) -> Option<Key> {
        if let Some(key) = self.still_waiting() {
            return Some(key);
        }
        let limits = &self.shared.limits;
        let mut waiting: Vec<(Instant, Key)> = self
            .connections
            .iter()
            .filter_map(|(key, entry)| Some((entry.waits_since(&self.protocol, limits)?, key)))
            .collect();
        let picked = waiting.len() / PICKED + 1;
        if picked < waiting.len() {
            waiting.select_nth_unstable(picked);
            waiting.truncate(picked);
            waiting.shrink_to_fit();
        }
        waiting.sort_unstable();
        self.waiting = waiting.into();
        self.still_waiting()
    }

    /// The first of those that were picked, if it has waited ever since.
    fn still_waiting(&mut self) -> Option<Key> {
        while let Some(&(since, key)) = self.waiting.front() {
            let entry = self.connections.get(key);
            let limits = &self.shared.limits;
            let waits = entry.and_then(|entry| entry.waits_since(&self.protocol, limits));
            if waits == Some(since) {
                return Some(key);
            }
            self.waiting.pop_front();
        }
        None
    }

    fn pump(&mut self, key: Key) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        let pumped = entry
            .connection
            .pump(&mut self.protocol, &mut self.shared, self.now);
        self.settle(key, pumped);
    }

    fn pump_hungry(&mut self, key: Key) {
        if let Some(entry) = self.connections.get_mut(key) {
            entry.hungry = false;
            self.pump(key);
        }
    }

    /// Asks all who wait for a bell.
    fn ring(&mut self) {
        for key in std::mem::take(&mut self.listening) {
            if let Some(entry) = self.connections.get_mut(key) {
                entry.listening = false;
                entry.connection.ring();
                self.pump(key);
            }
        }
    }

    fn expire(&mut self, due: Tick, key: Key) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        if entry.armed != Some(due) {
            return;
        }
        entry.armed = None;
        let pumped = entry
            .connection
            .expire(&mut self.protocol, &mut self.shared, self.now);
        self.settle(key, pumped);
    }

    /// Does what follows from a pump: closing, queueing for another turn, arming the deadline.
    fn settle(&mut self, key: Key, pumped: Pumped) {
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        match pumped {
            Pumped::Closed(closed) => return self.close(key, closed),
            Pumped::Hungry if !entry.hungry => {
                entry.hungry = true;
                self.hungry.push(key);
            }
            Pumped::Hungry | Pumped::Blocked => {}
        }
        if entry.connection.is_waiting() && !entry.listening {
            entry.listening = true;
            self.listening.push(key);
        }
        let limits = &self.shared.limits;
        if self.is_crowded && entry.waits_since(&self.protocol, limits).is_some() {
            self.is_crowded = false;
            self.freed = true;
        }
        // Mostly what is due is later than the entry that counts, which is cheaper to see than which tick it is.
        let deadlines = &self.deadlines;
        if let Some(due) = entry.connection.due(limits)
            && entry
                .armed
                .is_none_or(|armed| due < deadlines.instant(armed))
            && let due = deadlines.tick(due)
            && entry.armed != Some(due)
        {
            entry.armed = Some(due);
            self.deadlines.push(due, key);
            let connections = &self.connections;
            self.deadlines.prune(connections.len(), |due, key| {
                connections
                    .get(key)
                    .is_some_and(|entry| entry.armed == Some(due))
            });
        }
    }

    fn close(&mut self, key: Key, closed: Closed) {
        let Some(entry) = self.connections.remove(key) else {
            return;
        };
        match &closed {
            Closed::FileChanged => debug!("the file changed while it was sent"),
            Closed::Broken(error) => debug!("a connection broke: {error}"),
            Closed::Expired => debug!("a peer was too slow"),
            Closed::Displaced => debug!("a peer made room for another"),
            closed => trace!(?closed, "closed"),
        }
        self.count(|counters| &counters.closed);
        match &closed {
            Closed::Displaced => self.count(|counters| &counters.displaced),
            // Otherwise it is we who are out of time.
            Closed::Expired if self.retiring.is_none() => self.count(|counters| &counters.too_slow),
            _ => {}
        }
        if let (Some(census), Some(counted)) = (&self.census, entry.counted) {
            census.leave(counted);
        }
        self.freed = true;
        // Of those that have gone before the bell rang, no more are kept than are there.
        if entry.listening && self.listening.len() > 2 * self.connections.len() {
            let connections = &self.connections;
            self.listening.retain(|&key| connections.contains_key(key));
        }
        entry
            .connection
            .close(&mut self.protocol, &mut self.shared, closed, self.now);
    }

    fn retire(&mut self) -> io::Result<()> {
        self.retiring = Some(self.now.instant + self.shared.limits.grace);
        self.empty_the_backlog()?;
        self.listeners.clear();
        debug!(connections = self.connections.len(), "retiring");
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            let Some(entry) = self.connections.get_mut(key) else {
                continue;
            };
            let pumped = entry
                .connection
                .retire(&mut self.protocol, &mut self.shared, self.now);
            self.settle(key, pumped);
        }
        Ok(())
    }

    /// Whether who waits at this door can wait for the next process.
    fn is_kept(&self, number: usize) -> bool {
        let door = self.listeners.get(number);
        door.is_some_and(|door| door.listener.is_kept())
    }

    /// Whoever waits for `accept` has a connection already, as far as they know; closing the
    /// listener would reset it, unless somebody else keeps it, for who comes after us.
    fn empty_the_backlog(&mut self) -> io::Result<()> {
        for number in 0..self.listeners.len() {
            let door = self.listeners.get_mut(number);
            if !door.is_some_and(|door| door.listener.withdraw()) {
                continue;
            }
            for _ in 0..LAST_ROUNDS {
                if let Some(door) = self.listeners.get_mut(number) {
                    door.state = DoorState::Knocked;
                }
                self.accept(number, true)?;
                self.open_fresh();
                if self
                    .listeners
                    .get(number)
                    .is_some_and(|door| door.state != DoorState::Knocked)
                {
                    break;
                }
            }
        }
        Ok(())
    }

    fn cut_the_rest(&mut self) {
        if !self.connections.is_empty() {
            let (count, grace) = (self.connections.len(), self.shared.limits.grace);
            match self.handle.is_hurried() {
                true => warn!("connections cut, unfinished: {count}"),
                false => warn!("connections cut, unfinished {grace:?} after the stop: {count}"),
            }
        }
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            self.close(key, Closed::Expired);
        }
        self.protocol.rest(read_clock);
    }
}

impl<S> Entry<S> {
    fn waits_since<P: Protocol<Session = S>>(
        &self,
        protocol: &P,
        limits: &Limits,
    ) -> Option<Instant> {
        self.connection.waits_since(protocol, limits)
    }
}

impl Door {
    /// Lets nobody in until a connection closes, or until this time has passed, and says so.
    fn rest(&mut self, time: Option<Duration>, now: Instant, reason: &str) {
        self.state = DoorState::Resting(time.map(|time| now + time));
        if self.warned.is_due(now) {
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
    fn an_idle_connection_is_small() {
        // Ten thousand of them are to cost less than 256 bytes each. With the session, which may have
        // 96, its slot's generation (8) and its deadline (16) that is 208.
        // Where mio asserts, its sockets are larger; elsewhere ours is a descriptor, and which kind it is.
        let size = size_of::<Entry<()>>() - size_of::<Stream>() + 8;
        assert!(size <= 88, "{size} bytes");
        let due = size_of::<(Tick, Key)>();
        assert!(due <= 16, "{due} bytes");
    }
}
