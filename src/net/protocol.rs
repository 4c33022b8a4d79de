//! Interface between a server's protocol and the reactor.

use std::time::{Duration, Instant, SystemTime};

use super::close_reason::CloseReason;
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::peer::{Address, Peer};

/// Time that a newly accepted client of a Unix socket has for its first request during shutdown. For TCP the kernel
/// waits as long (TCP_DEFER_ACCEPT).
const FIRST_REQUEST_WAIT: Duration = Duration::from_secs(1);

/// Callbacks of a server, called by the reactor.
///
/// `&mut self` is the state shared by all connections of one reactor, so a session needs no `Rc`, no `RefCell` and no
/// `dyn`. A session is the state of one connection.
pub trait Protocol {
    /// State of one connection between two calls.
    type Session;

    /// Called when a connection is accepted. Returns its session.
    fn on_accept(&mut self, peer: &Peer) -> Self::Session;

    /// Called when the connection has started, bytes have arrived, the outbox has become empty, or the peer has
    /// finished sending ([`Inbox::is_ended`]).
    fn on_ready(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next;

    /// Called when more bytes are still queued. `sent` is the number of bytes sent since the connection started.
    fn on_progress(&mut self, _session: &mut Self::Session, _sent: u64) {}

    /// Called when the session's deadline has passed. The deadline is unset by then.
    fn on_timeout(&mut self, _session: &mut Self::Session, _io: &mut Io<'_>) -> Next {
        Next::Close
    }

    /// Returns the start of the current idle period, in which the session waits for a complete request, or `None` while
    /// it is responding. When there is no room for a new connection, the reactor closes the one that has been idle, or
    /// in a [`Next::LingeringClose`], longest.
    fn idle_since(&self, _session: &Self::Session) -> Option<Instant> {
        None
    }

    /// Called when the server shuts down. The session finishes what it has started, and starts nothing new.
    fn on_shutdown(&mut self, _session: &mut Self::Session, _io: &mut Io<'_>) -> Next {
        Next::Close
    }

    /// Called when the connection is closed. Bytes that are still in `io` will not be sent.
    fn on_close(&mut self, _session: Self::Session, _io: &mut Io<'_>, _reason: CloseReason) {}

    /// Called at the start of a turn before any connection is served, and before the first call of a new connection
    /// that has sent something. Cached facts may be stale by now, as time has passed. `is_woken`: a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) may be readable.
    fn on_turn_start(&mut self, _is_woken: bool) {}

    /// Returns the time at which [`on_timer`](Self::on_timer) is called even if no event occurs; `None` is never.
    fn next_timer(&self) -> Option<SystemTime> {
        None
    }

    /// Called when that time has come, after the turn has started and before any connection is served.
    fn on_timer(&mut self, _now: Now) {}

    /// Called at the end of a turn, before the loop waits. `clock` reads the clock, which is later than [`Io::now`] by
    /// all that the turn has done or waited for. It costs nothing unless it is called.
    fn on_turn_end(&mut self, _clock: impl FnOnce() -> Now) {}

    /// Called when [`Limits::idle_interval`](super::Limits::idle_interval) has passed without an event.
    fn on_idle(&mut self) {}
}

/// Input and output buffers of a connection, its deadline and the time. No socket.
#[derive(Debug)]
pub struct Io<'a> {
    /// Received bytes that the session has not consumed.
    pub inbox: &'a mut Inbox,
    /// Bytes that the session has queued and that are not sent.
    pub outbox: &'a mut Outbox,
    /// Time at which to call [`Protocol::on_timeout`]; `None` is never. The session sets it, and sets it to `None`
    /// while it only waits for its output to be sent (or returns [`Next::FlushThenRead`], which does so): then
    /// [`Limits::min_rate`](super::Limits::min_rate) bounds the time.
    pub deadline: &'a mut Option<Instant>,
    /// Time of this turn.
    pub now: Now,
}

impl Io<'_> {
    /// Returns the time until which a shutdown waits for the first request of this connection, which was accepted at
    /// `since`; `None` if it does not wait. Over TCP it never waits: the kernel accepts a connection only when its
    /// client has sent something, or nothing for as long.
    #[must_use]
    pub fn first_request_deadline(&self, peer: Address, since: Instant) -> Option<Instant> {
        let may = peer == Address::Unix && !self.inbox.is_ended();
        may.then_some(since + FIRST_REQUEST_WAIT)
            .filter(|due| *due > self.now.instant)
    }
}

/// Event that the session waits for, returned by each callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call the session when more bytes arrive.
    Read,
    /// Call the session when everything queued is sent, and read nothing before. With nothing queued, the same as
    /// `Read`.
    Flush,
    /// Send everything queued; call the session when a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) is readable, or when the deadline has passed. Read
    /// nothing before.
    AwaitWake,
    /// Call the session when more bytes arrive, when a descriptor given to
    /// [`Reactor::register_waker`](super::Reactor::register_waker) is readable, or when the deadline has passed. With
    /// something queued, the same as `Flush`.
    ReadOrWake,
    /// Send everything queued, then read. If the socket takes it all at once, as it mostly does, the same as `Read`
    /// with the deadline that is set now; otherwise the same as `Flush`, and that deadline is unset.
    FlushThenRead,
    /// Call the session when everything queued is sent, as with `Flush`, but also if nothing is queued: this was one
    /// step of more work. Other connections are served between two steps.
    Yield,
    /// Send everything queued, then close: the peer expects that, or nothing more.
    Close,
    /// The same, but the peer may still be sending: its input is read and discarded for a while, so that it receives
    /// the response.
    LingeringClose,
}

/// Time of a turn, by both clocks, read once.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Monotonic clock, for deadlines and durations.
    pub instant: Instant,
    /// Wall clock, for dates.
    pub wall: SystemTime,
}
