//! The pump, for one socket: flush, fill, ask, until nothing moves.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::inbox::{Filled, Inbox};
use super::limits::Limits;
use super::outbox::{Flushed, Outbox};
use super::protocol::{Closed, Io, Next, Now, Protocol};
use super::transport::Transport;

/// Steps until others have their turn. A request on a warm connection takes three: fill and ask,
/// flush and ask, find nothing more.
const STEPS: usize = 4;

/// Bytes that a peer takes within [`SOON`] once it is trusted to go on like that.
const BRISK: u64 = 512 * 1024;
const SOON: Duration = Duration::from_secs(1);

/// One conversation and its socket.
///
/// mio is edge-triggered: a readiness that is not used up is never reported again. So a connection
/// remembers what it has been told (`readable`, `writable`) and forgets it only when the socket
/// itself has said no.
///
/// Of those that are idle there are thousands: what is not needed then is on the desk.
#[derive(Debug)]
pub(super) struct Connection<S, T> {
    session: S,
    transport: T,
    /// What is unfinished.
    desk: Option<Box<Desk>>,
    /// Bytes that have left.
    sent: u64,
    /// The protocol's; ours while lingering.
    deadline: Option<Instant>,
    phase: Phase,
    readable: bool,
    writable: bool,
    /// The peer has finished sending, says the poll: then a short read is not the end.
    finishing: bool,
    /// Whether the transport is told that the peer takes fast what it is sent.
    trusted: bool,
}

/// What a conversation works with: one that all share, with the buffers on it. One of its own, without them, is left
/// with a conversation while something is unfinished, and borrows them for the length of a pump.
#[derive(Debug, Default)]
struct Desk {
    inbox: Inbox,
    outbox: Outbox,
    pace: Option<Pace>,
}

/// What all connections of one reactor share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    /// For whoever comes: nothing is unfinished on it.
    desk: Box<Desk>,
}

/// How a pump ended.
#[derive(Debug)]
pub(super) enum Pumped {
    /// Nothing moves until the socket, the clock or a wake says so.
    Blocked,
    /// Its steps are up; others wait. Again at the turn's end.
    Hungry,
    /// It is over.
    Closed(Closed),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has been read, and the protocol has not been asked.
    Fresh,
    /// The protocol waits for bytes.
    Reading,
    /// The protocol waits for its queue to empty.
    Draining,
    /// The protocol waits for the reactor's bell.
    Waiting,
    /// The protocol waits for that, or for bytes.
    Listening,
    /// The protocol waits for bytes if its queue empties at once.
    Answered,
    /// The protocol has said its last word, which is still leaving.
    Leaving { linger: bool },
    /// Everything has left; the peer's words are read away until the deadline.
    Lingering,
}

/// What the peer had taken when the watch on its pace began.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    sent: u64,
}

enum Step {
    Moved,
    Blocked,
    Burst,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        let desk = Box::new(Desk {
            inbox: Inbox::with_buffer(limits.inbox.max(1)),
            ..Desk::default()
        });
        Self { limits, desk }
    }
}

impl Desk {
    /// Whether nothing is unfinished, so that somebody else can have it.
    fn is_clear(&self) -> bool {
        self.inbox.is_empty() && !self.inbox.is_ended() && self.outbox.is_empty()
    }

    fn borrow(&mut self, spare: &mut Self) {
        self.inbox.borrow(&mut spare.inbox);
        self.outbox.borrow(&mut spare.outbox);
    }

    fn give_back(&mut self, spare: &mut Self) {
        self.inbox.give_back(&mut spare.inbox);
        self.outbox.give_back(&mut spare.outbox);
    }

    fn io<'a>(&'a mut self, deadline: &'a mut Option<Instant>, now: Now) -> Io<'a> {
        Io {
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            deadline,
            now,
        }
    }
}

impl<S, T: Transport> Connection<S, T> {
    /// A connection that was just accepted: something may have arrived already, and there is room
    /// to send, so both are tried before the poll is asked.
    pub(super) fn new(session: S, transport: T) -> Self {
        Self {
            session,
            transport,
            desk: None,
            sent: 0,
            deadline: None,
            phase: Phase::Fresh,
            readable: true,
            writable: true,
            finishing: false,
            trusted: false,
        }
    }

    pub(super) fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Since when this has been waiting for its peer to ask for something, to its end, or has only been
    /// hearing it out, with nothing on its way.
    pub(super) fn waits_since<P>(&self, protocol: &P, limits: &Limits) -> Option<Instant>
    where
        P: Protocol<Session = S>,
    {
        match self.phase {
            Phase::Reading if !self.is_sending() => protocol.waits_since(&self.session),
            Phase::Lingering => self.deadline?.checked_sub(limits.linger),
            _ => None,
        }
    }

    /// Tells the protocol that this is over, and hangs up.
    pub(super) fn close<P>(
        mut self,
        protocol: &mut P,
        shared: &mut Shared,
        closed: Closed,
        now: Now,
    ) where
        P: Protocol<Session = S>,
    {
        let desk = self.desk.as_mut().unwrap_or(&mut shared.desk);
        desk.outbox.resume(self.sent);
        protocol.close(self.session, &mut desk.io(&mut self.deadline, now), closed);
        if !shared.desk.is_clear() {
            std::mem::take(&mut shared.desk).give_back(&mut shared.desk);
        }
    }

    /// Remembers what the poll has said.
    pub(super) fn ready(&mut self, readable: bool, writable: bool, finishing: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.finishing |= finishing;
    }

    /// Whether the protocol waits for the reactor's bell.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting | Phase::Listening)
    }

    /// Has the protocol asked at the next pump, if it waits for the bell.
    pub(super) fn ring(&mut self) {
        if self.is_waiting() {
            self.phase = Phase::Draining;
        }
    }

    /// Flush, fill, ask, until nothing moves. Whatever the protocol queues is offered to the
    /// socket before this returns, so nobody has to remember to ask for writability.
    pub(super) fn pump<P>(&mut self, protocol: &mut P, shared: &mut Shared, now: Now) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        self.at_desk(shared, now, |connection, desk, limits| {
            connection.steps(desk, protocol, limits, now)
        })
    }

    /// When [`expire`](Self::expire) is due, if ever.
    pub(super) fn due(&self, limits: &Limits) -> Option<Instant> {
        let pace = self.pace().map(|pace| pace.since + limits.rate_window);
        [pace, self.deadline].into_iter().flatten().min()
    }

    /// Acts on what is due: the peer's pace, or the protocol's own deadline.
    pub(super) fn expire<P>(&mut self, protocol: &mut P, shared: &mut Shared, now: Now) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        if let Some(pace) = self.pace()
            && pace.since + shared.limits.rate_window <= now.instant
        {
            return self.judge(pace, protocol, shared, now);
        }
        if self.deadline.is_none_or(|deadline| deadline > now.instant) {
            return Pumped::Blocked;
        }
        self.deadline = None;
        match self.phase {
            Phase::Lingering => Pumped::Closed(Closed::ByUs),
            _ => self.tell(protocol, shared, now, P::expire),
        }
    }

    /// Lets the peer take what it can, and looks at what it has taken since the watch began.
    fn judge<P>(&mut self, pace: Pace, protocol: &mut P, shared: &mut Shared, now: Now) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        // The kernel reports room only when a part of its buffer is free; the peer may well have
        // taken something since.
        self.writable = true;
        if let Some(desk) = &mut self.desk {
            desk.pace = None;
        }
        let pumped = self.pump(protocol, shared, now);
        if self.pace().is_none() || matches!(pumped, Pumped::Closed(_)) {
            return pumped;
        }
        let taken = self.sent - pace.sent;
        if taken < shared.limits.least() {
            return Pumped::Closed(Closed::Expired);
        }
        match self.trust(self.trusted && taken >= BRISK) {
            Ok(()) => pumped,
            Err(closed) => Pumped::Closed(closed),
        }
    }

    /// Tells the session that the server is going away.
    pub(super) fn retire<P>(&mut self, protocol: &mut P, shared: &mut Shared, now: Now) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        match self.phase {
            Phase::Leaving { .. } | Phase::Lingering => Pumped::Blocked,
            _ => self.tell(protocol, shared, now, P::retire),
        }
    }

    fn tell<P>(
        &mut self,
        protocol: &mut P,
        shared: &mut Shared,
        now: Now,
        say: impl FnOnce(&mut P, &mut S, &mut Io<'_>) -> Next,
    ) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        self.at_desk(shared, now, |connection, desk, limits| {
            let mut io = desk.io(&mut connection.deadline, now);
            let next = say(protocol, &mut connection.session, &mut io);
            connection.follow(desk, next);
            connection.steps(desk, protocol, limits, now)
        })
    }

    /// Works with what is unfinished, or else with the desk that is there for whoever comes.
    fn at_desk(
        &mut self,
        shared: &mut Shared,
        now: Now,
        work: impl FnOnce(&mut Self, &mut Desk, &Limits) -> Pumped,
    ) -> Pumped {
        let mut own = self.desk.take();
        if let Some(own) = &mut own {
            own.borrow(&mut shared.desk);
        }
        let desk = own.as_mut().unwrap_or(&mut shared.desk);
        desk.outbox.resume(self.sent);
        let pumped = work(self, desk, &shared.limits);
        self.sent = desk.outbox.sent();
        let watched = self.watch_pace(desk, now);
        let is_clear = desk.is_clear();
        if own.is_some() || !is_clear {
            let mut own = own.unwrap_or_else(|| std::mem::take(&mut shared.desk));
            own.give_back(&mut shared.desk);
            self.desk = (!is_clear).then_some(own);
        }
        match watched {
            Ok(()) => pumped,
            Err(closed) => Pumped::Closed(closed),
        }
    }

    fn is_sending(&self) -> bool {
        self.desk
            .as_ref()
            .is_some_and(|desk| !desk.outbox.is_empty())
    }

    fn pace(&self) -> Option<Pace> {
        self.desk.as_ref()?.pace
    }

    fn steps<P>(&mut self, desk: &mut Desk, protocol: &mut P, limits: &Limits, now: Now) -> Pumped
    where
        P: Protocol<Session = S>,
    {
        for _ in 0..STEPS {
            match self.step(desk, protocol, limits, now) {
                Ok(Step::Moved) => {}
                Ok(Step::Blocked) => return Pumped::Blocked,
                Ok(Step::Burst) => return Pumped::Hungry,
                Err(closed) => return Pumped::Closed(closed),
            }
        }
        Pumped::Hungry
    }

    fn step<P>(
        &mut self,
        desk: &mut Desk,
        protocol: &mut P,
        limits: &Limits,
        now: Now,
    ) -> Result<Step, Closed>
    where
        P: Protocol<Session = S>,
    {
        let flushed = self.flush(desk, limits)?;
        if flushed != Flushed::Empty {
            protocol.sent(&mut self.session, desk.outbox.sent());
        }
        if matches!(self.phase, Phase::Answered) {
            self.phase = match flushed {
                Flushed::Empty => Phase::Reading,
                Flushed::Blocked | Flushed::Burst => Phase::Draining,
            };
            if matches!(self.phase, Phase::Draining) {
                // What it waits for begins when that has left.
                self.deadline = None;
            }
        }
        match flushed {
            Flushed::Empty => {}
            Flushed::Burst => return Ok(Step::Burst),
            // A session that says `Read` with something queued does both at once.
            Flushed::Blocked if !matches!(self.phase, Phase::Reading) => return Ok(Step::Blocked),
            Flushed::Blocked => {}
        }
        match self.phase {
            Phase::Fresh => {
                // Unlike all others it may have asked after the turn began, and after it changed something.
                if self.fill(desk)? {
                    protocol.begin(true);
                }
                self.ask(desk, protocol, now)
            }
            Phase::Reading if desk.inbox.is_ended() && desk.outbox.is_empty() => {
                Err(Closed::ByPeer)
            }
            Phase::Reading if desk.inbox.is_ended() => Ok(Step::Blocked),
            Phase::Reading if desk.inbox.is_full() => {
                self.follow(desk, Next::Linger);
                Ok(Step::Moved)
            }
            // What has come waits until there is room for more.
            Phase::Listening if desk.inbox.is_ended() || desk.inbox.is_full() => Ok(Step::Blocked),
            Phase::Reading | Phase::Listening => match self.fill(desk)? {
                true => self.ask(desk, protocol, now),
                false => Ok(Step::Blocked),
            },
            Phase::Draining | Phase::Answered => self.ask(desk, protocol, now),
            Phase::Waiting => Ok(Step::Blocked),
            Phase::Leaving { linger } => self.depart(desk, linger, limits, now),
            Phase::Lingering => self.read_away(desk),
        }
    }

    fn flush(&mut self, desk: &mut Desk, limits: &Limits) -> Result<Flushed, Closed> {
        if desk.outbox.is_empty() {
            return Ok(Flushed::Empty);
        }
        if !self.writable {
            return Ok(Flushed::Blocked);
        }
        let flushed = desk.outbox.flush(&mut self.transport, limits.on_the_way)?;
        self.writable = flushed != Flushed::Blocked;
        Ok(flushed)
    }

    /// Reads once, if there may be something. Whether the protocol has anything to learn from it.
    fn fill(&mut self, desk: &mut Desk) -> Result<bool, Closed> {
        if !self.readable {
            return Ok(false);
        }
        match desk.inbox.fill(&mut self.transport) {
            Ok(Filled::Some { all }) => {
                // (Urgent data, which no protocol of ours has, may end a read early, too. That
                // holds up nobody but who sends it.)
                self.readable = !all || self.finishing;
                Ok(true)
            }
            Ok(Filled::Ended) => {
                self.readable = false;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) => Err(Closed::Broken(error)),
        }
    }

    fn ask<P>(&mut self, desk: &mut Desk, protocol: &mut P, now: Now) -> Result<Step, Closed>
    where
        P: Protocol<Session = S>,
    {
        let mut io = desk.io(&mut self.deadline, now);
        let next = protocol.advance(&mut self.session, &mut io);
        self.follow(desk, next);
        Ok(match next {
            // As with a burst that has left: others have their turn.
            Next::Again => Step::Burst,
            _ => Step::Moved,
        })
    }

    fn follow(&mut self, desk: &Desk, next: Next) {
        self.phase = match next {
            Next::Drain if !desk.outbox.is_empty() => Phase::Draining,
            Next::Answered => Phase::Answered,
            Next::Again => Phase::Draining,
            // However much a session likes to hear: a peer that does not listen is not heard.
            Next::Read if !desk.outbox.has_room() => Phase::Draining,
            Next::Read | Next::Drain => Phase::Reading,
            Next::Listen if !desk.outbox.is_empty() => Phase::Draining,
            Next::Listen => Phase::Listening,
            Next::Wait => Phase::Waiting,
            Next::Close => Phase::Leaving { linger: false },
            Next::Linger => Phase::Leaving { linger: true },
        };
        if matches!(self.phase, Phase::Leaving { .. }) {
            self.deadline = None;
        }
    }

    /// Everything has left: hang up, or read away what the peer is still saying. (Not inlined, or every pump would
    /// work out the deadline.)
    #[inline(never)]
    fn depart(
        &mut self,
        desk: &Desk,
        linger: bool,
        limits: &Limits,
        now: Now,
    ) -> Result<Step, Closed> {
        match self.transport.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                return Ok(Step::Blocked);
            }
            flushed => flushed.map_err(Closed::Broken)?,
        }
        // Closing with unread input sends RST, and our answer may be lost (RFC 9112 9.6).
        let unread = self.readable || !desk.inbox.is_empty();
        if desk.inbox.is_ended() || !(linger || unread) {
            return Err(Closed::ByUs);
        }
        self.transport.finish().map_err(Closed::Broken)?;
        self.deadline = Some(now.instant + limits.linger);
        self.phase = Phase::Lingering;
        Ok(Step::Moved)
    }

    fn read_away(&mut self, desk: &mut Desk) -> Result<Step, Closed> {
        desk.inbox.clear();
        match self.fill(desk) {
            _ if desk.inbox.is_ended() => Err(Closed::ByUs),
            Ok(true) => Ok(Step::Moved),
            Ok(false) => Ok(Step::Blocked),
            // The peer has hung up with our answer read or not; there is nobody left to tell.
            Err(_) => Err(Closed::ByUs),
        }
    }

    /// Whoever is sent something is to take it at some pace; whoever takes it fast is trusted to.
    fn watch_pace(&mut self, desk: &mut Desk, now: Now) -> Result<(), Closed> {
        if desk.outbox.is_empty() {
            desk.pace = None;
            return Ok(());
        }
        let pace = *desk.pace.get_or_insert(Pace {
            since: now.instant,
            sent: self.sent,
        });
        let is_brisk = self.sent - pace.sent >= BRISK && now.instant <= pace.since + SOON;
        self.trust(self.trusted || (is_brisk && !self.writable))
    }

    fn trust(&mut self, trusted: bool) -> Result<(), Closed> {
        if trusted != self.trusted {
            self.transport.trust(trusted).map_err(Closed::Broken)?;
            self.trusted = trusted;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::protocol::Peer;
    use super::super::transport::Scripted;
    use super::*;
    use crate::blob::Blob;

    /// Answers each line with itself in upper case; "bye" ends it, "big" is a megabyte, and after "wait" it
    /// waits for the bell.
    struct Lines;

    impl Protocol for Lines {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            *io.deadline = Some(io.now.instant + Duration::from_secs(60));
            while let Some(end) = io.inbox.bytes().iter().position(|&byte| byte == b'\n') {
                if !io.outbox.has_room() {
                    return Next::Drain;
                }
                let line = io.inbox.bytes()[..=end].to_ascii_uppercase();
                io.outbox.tail().extend_from_slice(&line);
                io.inbox.consume(end + 1);
                match &line[..end] {
                    b"BYE" => return Next::Close,
                    b"WHAT" => return Next::Linger,
                    b"WAIT" => return Next::Wait,
                    b"BIG" => io.outbox.push(vec![b'x'; 1 << 20].into(), 0..1 << 20),
                    _ => {}
                }
            }
            Next::Drain
        }
    }

    struct Driven {
        connection: Connection<(), Scripted>,
        shared: Shared,
        now: Now,
    }

    impl Driven {
        fn new(transport: Scripted) -> Self {
            let limits = Limits {
                inbox: 1024,
                ..Limits::default()
            };
            let peer = Peer {
                address: ([127, 0, 0, 1], 1).into(),
            };
            Lines.open(&peer);
            Self {
                connection: Connection::new((), transport),
                shared: Shared::new(limits),
                now: Now {
                    instant: Instant::now(),
                    wall: SystemTime::UNIX_EPOCH,
                },
            }
        }

        /// What the poll would do: everything is ready, until nothing moves.
        fn run(&mut self) -> Pumped {
            loop {
                self.connection.transport.allow();
                self.connection
                    .ready(true, true, self.connection.transport.ends);
                let before = (self.sent().len(), self.connection.transport.heard.len());
                let pumped = self.connection.pump(&mut Lines, &mut self.shared, self.now);
                let after = (self.sent().len(), self.connection.transport.heard.len());
                if matches!(pumped, Pumped::Closed(_)) || before == after {
                    return pumped;
                }
            }
        }

        fn hear(&mut self, bytes: &[u8]) {
            self.connection.transport.heard.extend(bytes);
        }

        fn sent(&self) -> &[u8] {
            &self.connection.transport.sent
        }

        fn wait(&mut self, seconds: u64) -> Pumped {
            self.now.instant += Duration::from_secs(seconds);
            self.connection
                .expire(&mut Lines, &mut self.shared, self.now)
        }
    }

    fn transport(heard: &[u8]) -> Scripted {
        Scripted {
            heard: heard.iter().copied().collect(),
            ..Scripted::default()
        }
    }

    #[test]
    fn cutting_input_or_output_anywhere_changes_nothing() {
        let heard = b"one\ntwo\nbig\nthree\nbye\nnever";
        let mut whole = Driven::new(transport(heard));
        assert!(
            matches!(whole.run(), Pumped::Blocked),
            "it lingers: the peer said more"
        );
        assert!(whole.sent().starts_with(b"ONE\nTWO\nBIG\nxx") && whole.sent().ends_with(b"BYE\n"));
        for (gives, takes) in [(1, usize::MAX), (usize::MAX, 9999), (1, 9999), (3, 70_001)] {
            let mut cut = Driven::new(Scripted {
                gives,
                takes,
                ..transport(heard)
            });
            cut.run();
            assert!(cut.sent() == whole.sent(), "{gives} in, {takes} out");
        }
        let small = b"one\ntwo\nthree\nbye\n";
        let mut cut = Driven::new(Scripted {
            gives: 1,
            takes: 1,
            ..transport(small)
        });
        cut.run();
        assert_eq!(cut.sent(), small.to_ascii_uppercase());
    }

    #[test]
    fn an_idle_connection_owns_no_buffers() {
        let mut driven = Driven::new(transport(b"one\n"));
        driven.run();
        assert_eq!(driven.sent(), b"ONE\n");
        assert!(driven.connection.desk.is_none());
        let lent = std::ptr::from_ref(&*driven.shared.desk);
        driven.hear(b"two\n");
        driven.run();
        let again = std::ptr::from_ref(&*driven.shared.desk);
        assert!(lent == again, "nor is one made for it");
    }

    #[test]
    fn what_is_unfinished_stays_with_its_connection() {
        let mut driven = Driven::new(transport(b"one\ntw"));
        driven.run();
        let desk = driven.connection.desk.as_ref();
        assert_eq!(desk.map(|desk| desk.inbox.bytes()), Some(&b"tw"[..]));
        driven.hear(b"o\n");
        driven.run();
        assert_eq!(driven.sent(), b"ONE\nTWO\n");
        assert!(driven.connection.desk.is_none() && driven.connection.sent == 8);
    }

    #[test]
    fn who_takes_fast_what_it_is_sent_is_trusted_while_it_does() {
        let check = |takes: usize, millis: u64, expected: bool| {
            let mut driven = Driven::new(Scripted {
                takes,
                ..transport(b"big\n")
            });
            for _ in 0..3 {
                driven.connection.transport.allow();
                driven.connection.ready(true, true, false);
                driven
                    .connection
                    .pump(&mut Lines, &mut driven.shared, driven.now);
                driven.now.instant += Duration::from_millis(millis);
            }
            assert_eq!(
                driven.connection.trusted, expected,
                "{takes} in {millis} ms"
            );
            driven
        };
        check(100_000, 1, false);
        check(300_000, 600, false);
        let mut brisk = check(300_000, 500, true);
        brisk.connection.transport.takes = 50_000;
        brisk.connection.transport.allow();
        assert!(matches!(brisk.wait(30), Pumped::Blocked));
        brisk.connection.transport.allow();
        assert!(matches!(brisk.wait(30), Pumped::Blocked));
        let calls = &brisk.connection.transport.calls;
        assert_eq!(calls[..], ["cork", "write", "trust", "write", "distrust"]);
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_read() {
        let mut driven = Driven::new(Scripted {
            takes: 100,
            ..transport(b"big\n")
        });
        driven.connection.transport.allow();
        let pumped = driven
            .connection
            .pump(&mut Lines, &mut driven.shared, driven.now);
        assert!(matches!(pumped, Pumped::Blocked));
        driven.hear(b"more\n");
        driven.connection.ready(true, false, false);
        driven
            .connection
            .pump(&mut Lines, &mut driven.shared, driven.now);
        assert_eq!(driven.connection.transport.heard.len(), 5);
        driven.run();
        assert!(driven.sent().ends_with(b"MORE\n"));
    }

    #[test]
    fn a_busy_peer_lets_others_have_their_turn() {
        let mut driven = Driven::new(transport(&b"line\n".repeat(100)));
        // What fills the buffer says nothing about what is behind it.
        driven.shared = Shared::new(Limits {
            inbox: 5,
            ..Limits::default()
        });
        let mut turns = 0;
        while let Pumped::Hungry =
            driven
                .connection
                .pump(&mut Lines, &mut driven.shared, driven.now)
        {
            turns += 1;
            driven.connection.ready(true, true, false);
        }
        assert!(turns > 100 / STEPS, "{turns} turns");
    }

    /// Says a megabyte to each who comes, and remembers how much of that it has been told to have left.
    #[derive(Default)]
    struct Talker(Vec<u64>);

    impl Protocol for Talker {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            if io.outbox.sent() == 0 {
                io.outbox
                    .push(Blob::Memory(vec![0; 1 << 20].into()), 0..1 << 20);
            }
            Next::Drain
        }

        fn sent(&mut self, (): &mut (), sent: u64) {
            self.0.push(sent);
        }
    }

    #[test]
    fn what_has_left_while_more_is_to_is_told() {
        let mut driven = Driven::new(Scripted {
            takes: 400_000,
            ..Scripted::default()
        });
        let mut talker = Talker::default();
        for _ in 0..3 {
            driven.connection.transport.allow();
            driven.connection.ready(true, true, false);
            let Driven {
                connection,
                shared,
                now,
            } = &mut driven;
            let pumped = connection.pump(&mut talker, shared, *now);
            assert!(matches!(pumped, Pumped::Blocked));
        }
        assert_eq!(driven.sent().len(), 1 << 20);
        assert_eq!(talker.0, [400_000, 800_000], "its end is another thing");
    }

    /// Does ten steps that come to nothing, then says what was heard.
    struct Thinker(usize);

    impl Protocol for Thinker {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            if io.inbox.is_empty() {
                return Next::Read;
            }
            self.0 += 1;
            if self.0 < 10 {
                return Next::Again;
            }
            let heard = io.inbox.bytes().to_vec();
            io.inbox.consume(heard.len());
            io.outbox.tail().extend_from_slice(&heard);
            Next::Close
        }
    }

    #[test]
    fn who_has_more_to_do_is_asked_again_once_others_have_had_their_turn() {
        let mut driven = Driven::new(transport(b"word"));
        let mut protocol = Thinker(0);
        for turn in 1..10 {
            let pumped = driven
                .connection
                .pump(&mut protocol, &mut driven.shared, driven.now);
            assert!(matches!(pumped, Pumped::Hungry), "{pumped:?}");
            assert_eq!(protocol.0, turn, "one step in a turn");
        }
        let pumped = driven
            .connection
            .pump(&mut protocol, &mut driven.shared, driven.now);
        assert!(matches!(pumped, Pumped::Closed(Closed::ByUs)), "{pumped:?}");
        assert_eq!(driven.sent(), b"word");
    }

    #[test]
    fn a_peer_that_finishes_still_gets_everything() {
        let mut driven = Driven::new(Scripted {
            ends: true,
            ..transport(b"one\nbig\ntwo\n")
        });
        assert!(matches!(driven.run(), Pumped::Closed(Closed::ByPeer)));
        assert!(driven.sent().ends_with(b"xTWO\n"));
    }

    /// Answers each byte with a thousand, waits for the next a minute, and counts how often it is asked.
    struct Counting(usize);

    impl Protocol for Counting {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            self.0 += 1;
            let heard = io.inbox.bytes().len();
            io.inbox.consume(heard);
            io.outbox.tail().resize(heard * 1000, b'x');
            *io.deadline = Some(io.now.instant + Duration::from_secs(60));
            Next::Answered
        }
    }

    #[test]
    fn who_has_answered_is_asked_again_only_if_that_does_not_leave_at_once() {
        let check = |takes: usize, asked: usize| {
            let mut counting = Counting(0);
            let mut driven = Driven::new(Scripted {
                takes,
                ..transport(b"1")
            });
            while driven.sent().len() < 1000 {
                assert!(driven.sent().is_empty() || driven.connection.deadline.is_none());
                driven.now.instant += Duration::from_secs(10);
                driven.connection.transport.allow();
                driven.connection.ready(true, true, false);
                let Driven {
                    connection,
                    shared,
                    now,
                } = &mut driven;
                let pumped = connection.pump(&mut counting, shared, *now);
                assert!(matches!(pumped, Pumped::Blocked));
            }
            let due = driven.connection.deadline;
            assert_eq!(due, Some(driven.now.instant + Duration::from_secs(60)));
            assert_eq!(counting.0, asked, "{takes}");
            assert!(driven.connection.desk.is_none());
        };
        check(1000, 1);
        check(999, 2);
        check(100, 2);
    }

    /// Echoes, and always says that it reads.
    struct Echo;

    impl Protocol for Echo {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            let heard = io.inbox.bytes().to_vec();
            io.inbox.consume(heard.len());
            io.outbox.tail().extend_from_slice(&heard);
            Next::Read
        }
    }

    #[test]
    fn a_peer_that_finishes_is_sent_what_is_queued_whatever_is_awaited() {
        let mut driven = Driven::new(Scripted {
            takes: 3,
            ends: true,
            ..transport(b"0123456789")
        });
        let closed = loop {
            driven.connection.transport.allow();
            driven.connection.ready(true, true, true);
            match driven
                .connection
                .pump(&mut Echo, &mut driven.shared, driven.now)
            {
                Pumped::Closed(closed) => break closed,
                Pumped::Blocked | Pumped::Hungry => {}
            }
        };
        assert!(matches!(closed, Closed::ByPeer));
        assert_eq!(driven.sent(), b"0123456789");
    }

    #[test]
    fn who_waits_for_the_bell_reads_nothing_before_and_all_after() {
        let mut driven = Driven::new(transport(b"one\nwait\ntwo\n"));
        assert!(matches!(driven.run(), Pumped::Blocked));
        driven.hear(b"three\n");
        driven.run();
        // What was queued has left; what has come since has not been read.
        assert_eq!(driven.sent(), b"ONE\nWAIT\n");
        assert_eq!(driven.connection.transport.heard.len(), 6);
        assert!(driven.connection.is_waiting());
        let is_kept = driven.connection.waits_since(&Lines, &driven.shared.limits);
        assert_eq!(is_kept, None, "it makes room for nobody");
        driven.connection.ring();
        driven.run();
        assert_eq!(driven.sent(), b"ONE\nWAIT\nTWO\nTHREE\n");
        // Nobody else is asked because of a bell.
        driven.connection.ring();
        assert!(!driven.connection.is_waiting());
        assert!(matches!(driven.connection.phase, Phase::Reading));
        // A deadline passes as ever.
        driven.hear(b"wait\n");
        driven.run();
        assert!(driven.connection.is_waiting());
        driven.wait(60);
        assert!(!driven.connection.is_waiting());
    }

    /// Listens, and remembers how much there was to hear each time, and whether that was the end.
    #[derive(Default)]
    struct Listens(Vec<(usize, bool)>);

    impl Protocol for Listens {
        type Session = ();

        fn open(&mut self, _: &Peer) {}

        fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            self.0.push((io.inbox.bytes().len(), io.inbox.is_ended()));
            Next::Listen
        }
    }

    #[test]
    fn who_listens_is_asked_when_the_bell_rings_and_when_the_peer_speaks_or_leaves() {
        let mut driven = Driven::new(transport(b"one"));
        let mut protocol = Listens::default();
        let mut pump = |driven: &mut Driven, expected: &[(usize, bool)]| {
            let ends = driven.connection.transport.ends;
            driven.connection.ready(true, true, ends);
            while let Pumped::Hungry =
                driven
                    .connection
                    .pump(&mut protocol, &mut driven.shared, driven.now)
            {}
            assert_eq!(std::mem::take(&mut protocol.0), expected);
            assert!(driven.connection.is_waiting());
            let waits = driven
                .connection
                .waits_since(&protocol, &driven.shared.limits);
            assert_eq!(waits, None, "it makes room for nobody");
        };
        pump(&mut driven, &[(3, false)]);
        pump(&mut driven, &[]);
        driven.connection.ring();
        pump(&mut driven, &[(3, false)]);
        driven.hear(b"two");
        pump(&mut driven, &[(6, false)]);
        // What there is no room for stays where it is.
        driven.hear(&[b'x'; 2000]);
        pump(&mut driven, &[(1024, false)]);
        assert_eq!(driven.connection.transport.heard.len(), 2006 - 1024);

        let mut driven = Driven::new(transport(b""));
        pump(&mut driven, &[(0, false)]);
        driven.connection.transport.ends = true;
        pump(&mut driven, &[(0, true)]);
    }

    #[test]
    fn a_deadline_ends_with_the_last_word() {
        let mut driven = Driven::new(transport(b"what\n"));
        driven.run();
        let lingering = driven.now.instant + driven.shared.limits.linger;
        assert_eq!(driven.connection.deadline, Some(lingering));
    }

    #[test]
    fn nothing_unread_is_a_plain_close() {
        let mut driven = Driven::new(transport(b"bye\n"));
        assert!(matches!(driven.run(), Pumped::Closed(Closed::ByUs)));
        assert_eq!(driven.connection.transport.calls, ["write"]);
    }

    #[test]
    fn a_peer_that_is_still_talking_is_heard_out() {
        let mut driven = Driven::new(transport(b"what\n"));
        assert!(matches!(driven.run(), Pumped::Blocked));
        assert_eq!(driven.connection.transport.calls, ["write", "finish"]);
        driven.hear(&[b'x'; 100_000]);
        assert!(matches!(driven.run(), Pumped::Blocked));
        assert!(driven.connection.transport.heard.is_empty());
        driven.connection.transport.ends = true;
        assert!(matches!(driven.run(), Pumped::Closed(Closed::ByUs)));
    }

    #[test]
    fn nobody_is_heard_out_for_ever() {
        let mut driven = Driven::new(transport(b"what\n"));
        driven.run();
        assert!(matches!(driven.wait(4), Pumped::Blocked));
        assert!(matches!(driven.wait(1), Pumped::Closed(Closed::ByUs)));
    }

    #[test]
    fn a_session_that_leaves_too_much_unread_is_ended() {
        let mut driven = Driven::new(transport(&[b'x'; 1024]));
        assert!(matches!(driven.run(), Pumped::Blocked));
        assert_eq!(driven.connection.transport.calls, ["finish"]);
    }

    #[test]
    fn a_deadline_of_the_session_ends_it() {
        let mut driven = Driven::new(transport(b"one\n"));
        driven.run();
        let due = driven.connection.due(&driven.shared.limits);
        assert_eq!(due, Some(driven.now.instant + Duration::from_secs(60)));
        assert!(matches!(driven.wait(59), Pumped::Blocked));
        assert!(matches!(driven.wait(1), Pumped::Closed(Closed::ByUs)));
    }

    #[test]
    fn a_reader_below_the_least_rate_is_cut_and_one_above_it_is_not() {
        // 30 seconds at 1 KiB each are 30,720 bytes.
        for (takes, cut) in [(30_719, true), (30_720, false), (0, true)] {
            let mut driven = Driven::new(Scripted {
                takes,
                ..Scripted::default()
            });
            let mut desk = Box::new(Desk::default());
            desk.outbox
                .push(Blob::Memory(vec![0; 1 << 20].into()), 0..1 << 20);
            driven.connection.desk = Some(desk);
            driven.connection.transport.left = Some(0);
            driven
                .connection
                .pump(&mut Lines, &mut driven.shared, driven.now);
            assert!(matches!(driven.wait(29), Pumped::Blocked));
            driven.connection.transport.allow();
            let pumped = driven.wait(1);
            assert_eq!(
                matches!(pumped, Pumped::Closed(Closed::Expired)),
                cut,
                "{takes}"
            );
        }
    }

    #[test]
    fn without_a_least_rate_nobody_is_cut() {
        let mut driven = Driven::new(Scripted {
            takes: 0,
            ..transport(b"big\n")
        });
        driven.shared.limits.min_rate = 0;
        driven
            .connection
            .pump(&mut Lines, &mut driven.shared, driven.now);
        assert!(matches!(driven.wait(30), Pumped::Blocked));
        assert!(matches!(driven.wait(30), Pumped::Blocked));
    }
}
