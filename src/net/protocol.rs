//! Everything a server says to the reactor.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::address::Address;
use super::inbox::Inbox;
use super::outbox::Outbox;

/// How long a peer that has just come by a Unix socket has for its first word when we are about to go, as the kernel
/// has it for TCP.
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// What a server says; the reactor does the rest.
///
/// `&mut self` is what all of one reactor's conversations share, so a session needs no `Rc`, no
/// `RefCell` and no `dyn`. A session is one conversation's own state.
pub trait Protocol {
    /// What is remembered of one conversation between two calls.
    type Session;

    /// A peer has connected.
    fn on_accept(&mut self, peer: &Peer) -> Self::Session;

    /// Something changed: the conversation began, bytes arrived, the queue emptied, or the peer
    /// finished sending ([`Inbox::is_ended`]).
    fn on_ready(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next;

    /// So many bytes of the conversation have been sent by now, and more are queued.
    fn on_progress(&mut self, _session: &mut Self::Session, _sent: u64) {}

    /// The deadline that the session set has passed. It is unset when this is called.
    fn on_timeout(&mut self, _session: &mut Self::Session, _io: &mut Io<'_>) -> Next {
        Next::Close
    }

    /// Since when the session has been waiting for its peer to ask for something, to its end; `None`
    /// while it is answering. When there is no room for others, who has waited longest, for words or
    /// for a [`Next::LingeringClose`] to end, is hung up on.
    fn idle_since(&self, _session: &Self::Session) -> Option<Instant> {
        None
    }

    /// The server is going away: finish what is begun, begin nothing new.
    fn on_shutdown(&mut self, _session: &mut Self::Session, _io: &mut Io<'_>) -> Next {
        Next::Close
    }

    /// The conversation is over, and this is how it ended. What is left in `io` will not be sent.
    fn on_close(&mut self, _session: Self::Session, _io: &mut Io<'_>, _reason: CloseReason) {}

    /// What was true before need not be any more: time has passed, and the loop begins to serve those
    /// who have come since. `is_woken`: a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) may be readable.
    fn on_turn_start(&mut self, _is_woken: bool) {}

    /// When to [`on_timer`](Self::on_timer) at the latest, even if nothing happens; `None` is never.
    fn next_timer(&self) -> Option<SystemTime> {
        None
    }

    /// That time has come. The turn has begun, and nobody has been served in it.
    fn on_timer(&mut self, _now: Now) {}

    /// This turn's work is done; the loop is about to wait. By `clock` it is later than [`Io::now`] was: by all
    /// that the turn has done, or waited for. Who does not ask does not pay for that.
    fn on_turn_end(&mut self, _clock: impl FnOnce() -> Now) {}

    /// A whole poll interval ([`Limits::idle_interval`](super::Limits::idle_interval)) passed without an
    /// event.
    fn on_idle(&mut self) {}
}

/// Both sides of a conversation, in memory, and the time. No socket.
#[derive(Debug)]
pub struct Io<'a> {
    /// What the peer has said and the session has not yet consumed.
    pub inbox: &'a mut Inbox,
    /// What the session has said and the peer has not yet been sent.
    pub outbox: &'a mut Outbox,
    /// When to call [`Protocol::on_timeout`]; `None` is never. The session sets it, and sets it to
    /// `None` while it only waits for its own words to leave (or says [`Next::FlushThenRead`], which does):
    /// then the peer's pace is watched by [`Limits::min_rate`](super::Limits::min_rate).
    pub deadline: &'a mut Option<Instant>,
    /// The time of this turn.
    pub now: Now,
}

impl Io<'_> {
    /// Until when this peer, which came at that time and has asked for nothing yet, is not hung up on although we are
    /// about to go; `None` if it is now. Who comes by TCP has said something before, or nothing for as long with the
    /// kernel.
    #[must_use]
    pub fn first_request_deadline(&self, peer: Address, since: Instant) -> Option<Instant> {
        let may = peer == Address::Unix && !self.inbox.is_ended();
        may.then_some(since + FIRST_REQUEST_WAIT)
            .filter(|due| *due > self.now.instant)
    }
}

/// What the session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call me when more bytes arrive.
    Read,
    /// Call me when everything queued has left, and read nothing before; with nothing queued, the
    /// same as `Read`.
    Flush,
    /// Call me when everything queued has left, and then whenever a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) is readable, or the deadline has passed; read nothing
    /// before.
    AwaitWake,
    /// Call me when more bytes arrive, whenever a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) is readable, or when the deadline has passed. With something
    /// queued, the same as `Flush`.
    ReadOrWake,
    /// There is nothing to say beyond what is queued. If that leaves at once, as it mostly does, the same as
    /// `Read`, until the deadline that is set now; otherwise the same as `Flush`, and that deadline is unset.
    FlushThenRead,
    /// Call me when everything queued has left, as with `Flush`, but also if nothing is queued: I have more to
    /// do, of which this was one step. Others have their turn between any two.
    Yield,
    /// Send what is queued, then hang up: the peer expects it, or is to expect nothing more.
    Close,
    /// The same, but the peer may still be talking: its words are read away for a while, so that
    /// it gets to hear ours.
    LingeringClose,
}

/// The time, read once per turn of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For deadlines and durations.
    pub instant: Instant,
    /// For dates.
    pub wall: SystemTime,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's address, as `accept` gave it.
    pub address: Address,
}

/// How a conversation ended.
#[derive(Debug)]
pub enum CloseReason {
    /// We hung up, with everything said.
    Local,
    /// The peer finished, and there was nothing left to say.
    Peer,
    /// The peer was too slow, or we were told to stop and it took too long.
    TimedOut,
    /// Another peer came, and there was room for it only in this one's place.
    Evicted,
    /// A file changed while it was sent, so that the rest of what was promised could not be sent.
    FileChanged,
    /// The socket failed, or reading a file that was being sent.
    Io(io::Error),
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
