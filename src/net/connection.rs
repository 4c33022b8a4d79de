//! The pump, for one socket: flush, fill, ask, until nothing moves.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::inbox::{Inbox, ReadOutcome};
use super::limits::Limits;
use super::outbox::{FlushOutcome, Outbox};
use super::protocol::{CloseReason, Io, Next, Now, Protocol};
use super::transport::Transport;

/// Steps until others have their turn. A request on a warm connection takes three: fill and ask,
/// flush and ask, find nothing more.
const MAX_PUMP_STEPS: usize = 4;

/// Bytes that a peer takes within [`FAST_PERIOD`] once it is trusted to go on like that.
const FAST_BYTES: u64 = 512 * 1024;
const FAST_PERIOD: Duration = Duration::from_secs(1);

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
    buffers: Option<Box<Buffers>>,
    /// Bytes that have left.
    sent: u64,
    /// The protocol's; ours while lingering.
    deadline: Option<Instant>,
    phase: Phase,
    readable: bool,
    writable: bool,
    /// The peer has finished sending, says the poll: then a short read is not the end.
    is_read_closed: bool,
    /// Whether the transport is told that the peer takes fast what it is sent.
    is_fast: bool,
}

/// What a conversation works with: one that all share, with the buffers on it. One of its own, without them, is left
/// with a conversation while something is unfinished, and borrows them for the length of a pump.
#[derive(Debug, Default)]
struct Buffers {
    inbox: Inbox,
    outbox: Outbox,
    throughput: Option<ThroughputWindow>,
}

/// What all connections of one reactor share.
#[derive(Debug)]
pub(super) struct PumpContext {
    pub(super) limits: Limits,
    /// For whoever comes: nothing is unfinished on it.
    buffers: Box<Buffers>,
}

/// How a pump ended.
#[derive(Debug)]
pub(super) enum PumpOutcome {
    /// Nothing moves until the socket, the clock or a wake says so.
    Blocked,
    /// Its steps are up; others wait. Again at the turn's end.
    Runnable,
    /// It is over.
    Closed(CloseReason),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has been read, and the protocol has not been asked.
    New,
    /// The protocol waits for bytes.
    Reading,
    /// The protocol waits for its queue to empty.
    Flushing,
    /// The protocol waits for the reactor's bell.
    AwaitingWake,
    /// The protocol waits for that, or for bytes.
    ReadingOrAwaitingWake,
    /// The protocol waits for bytes if its queue empties at once.
    FlushingThenReading,
    /// The protocol has said its last word, which is still leaving.
    Closing { linger: bool },
    /// Everything has left; the peer's words are read away until the deadline.
    Lingering,
}

/// What the peer had taken when the watch on its pace began.
#[derive(Clone, Copy, Debug)]
struct ThroughputWindow {
    start: Instant,
    sent_before: u64,
}

enum PumpStep {
    Progress,
    Blocked,
    Yield,
}

impl PumpContext {
    pub(super) fn new(limits: Limits) -> Self {
        let buffers = Box::new(Buffers {
            inbox: Inbox::with_buffer(limits.inbox_bytes.max(1)),
            ..Buffers::default()
        });
        Self { limits, buffers }
    }
}

impl Buffers {
    /// Whether nothing is unfinished, so that somebody else can have it.
    fn is_unused(&self) -> bool {
        self.inbox.is_empty() && !self.inbox.is_ended() && self.outbox.is_empty()
    }

    fn borrow_from(&mut self, spare: &mut Self) {
        self.inbox.borrow_from(&mut spare.inbox);
        self.outbox.borrow_from(&mut spare.outbox);
    }

    fn return_to(&mut self, spare: &mut Self) {
        self.inbox.return_to(&mut spare.inbox);
        self.outbox.return_to(&mut spare.outbox);
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
            buffers: None,
            sent: 0,
            deadline: None,
            phase: Phase::New,
            readable: true,
            writable: true,
            is_read_closed: false,
            is_fast: false,
        }
    }

    pub(super) fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Since when this has been waiting for its peer to ask for something, to its end, or has only been
    /// hearing it out, with nothing on its way.
    pub(super) fn idle_since<P>(&self, protocol: &P, limits: &Limits) -> Option<Instant>
    where
        P: Protocol<Session = S>,
    {
        match self.phase {
            Phase::Reading if !self.is_sending() => protocol.idle_since(&self.session),
            Phase::Lingering => self.deadline?.checked_sub(limits.linger),
            _ => None,
        }
    }

    /// Tells the protocol that this is over, and hangs up.
    pub(super) fn close<P>(
        mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        reason: CloseReason,
        now: Now,
    ) where
        P: Protocol<Session = S>,
    {
        let buffers = self.buffers.as_mut().unwrap_or(&mut context.buffers);
        buffers.outbox.set_sent(self.sent);
        protocol.on_close(
            self.session,
            &mut buffers.io(&mut self.deadline, now),
            reason,
        );
        if !context.buffers.is_unused() {
            std::mem::take(&mut context.buffers).return_to(&mut context.buffers);
        }
    }

    /// Remembers what the poll has said.
    pub(super) fn set_ready(&mut self, readable: bool, writable: bool, is_read_closed: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.is_read_closed |= is_read_closed;
    }

    /// Whether the protocol waits for the reactor's bell.
    pub(super) fn awaits_wake(&self) -> bool {
        matches!(
            self.phase,
            Phase::AwaitingWake | Phase::ReadingOrAwaitingWake
        )
    }

    /// Has the protocol asked at the next pump, if it waits for the bell.
    pub(super) fn wake(&mut self) {
        if self.awaits_wake() {
            self.phase = Phase::Flushing;
        }
    }

    /// Flush, fill, ask, until nothing moves. Whatever the protocol queues is offered to the
    /// socket before this returns, so nobody has to remember to ask for writability.
    pub(super) fn pump<P>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        self.with_buffers(context, now, |connection, buffers, limits| {
            connection.steps(buffers, protocol, limits, now)
        })
    }

    /// When [`on_timer`](Self::on_timer) is due, if ever.
    pub(super) fn next_timer(&self, limits: &Limits) -> Option<Instant> {
        let window = self
            .throughput()
            .map(|window| window.start + limits.rate_window);
        [window, self.deadline].into_iter().flatten().min()
    }

    /// Acts on what is due: the peer's pace, or the protocol's own deadline.
    pub(super) fn on_timer<P>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        if let Some(window) = self.throughput()
            && window.start + context.limits.rate_window <= now.instant
        {
            return self.check_min_rate(window, protocol, context, now);
        }
        if self.deadline.is_none_or(|deadline| deadline > now.instant) {
            return PumpOutcome::Blocked;
        }
        self.deadline = None;
        match self.phase {
            Phase::Lingering => PumpOutcome::Closed(CloseReason::Local),
            _ => self.call_session(protocol, context, now, P::on_timeout),
        }
    }

    /// Lets the peer take what it can, and looks at what it has taken since the watch began.
    fn check_min_rate<P>(
        &mut self,
        window: ThroughputWindow,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        // The kernel reports room only when a part of its buffer is free; the peer may well have
        // taken something since.
        self.writable = true;
        if let Some(buffers) = &mut self.buffers {
            buffers.throughput = None;
        }
        let pumped = self.pump(protocol, context, now);
        if self.throughput().is_none() || matches!(pumped, PumpOutcome::Closed(_)) {
            return pumped;
        }
        let taken = self.sent - window.sent_before;
        if taken < context.limits.min_bytes_per_window() {
            return PumpOutcome::Closed(CloseReason::TimedOut);
        }
        match self.set_fast(self.is_fast && taken >= FAST_BYTES) {
            Ok(()) => pumped,
            Err(reason) => PumpOutcome::Closed(reason),
        }
    }

    /// Tells the session that the server is going away.
    pub(super) fn shut_down<P>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        match self.phase {
            Phase::Closing { .. } | Phase::Lingering => PumpOutcome::Blocked,
            _ => self.call_session(protocol, context, now, P::on_shutdown),
        }
    }

    fn call_session<P>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
        call: impl FnOnce(&mut P, &mut S, &mut Io<'_>) -> Next,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        self.with_buffers(context, now, |connection, buffers, limits| {
            let mut io = buffers.io(&mut connection.deadline, now);
            let next = call(protocol, &mut connection.session, &mut io);
            connection.apply_next(buffers, next);
            connection.steps(buffers, protocol, limits, now)
        })
    }

    /// Works with what is unfinished, or else with the desk that is there for whoever comes.
    fn with_buffers(
        &mut self,
        context: &mut PumpContext,
        now: Now,
        work: impl FnOnce(&mut Self, &mut Buffers, &Limits) -> PumpOutcome,
    ) -> PumpOutcome {
        let mut own = self.buffers.take();
        if let Some(own) = &mut own {
            own.borrow_from(&mut context.buffers);
        }
        let buffers = own.as_mut().unwrap_or(&mut context.buffers);
        buffers.outbox.set_sent(self.sent);
        let pumped = work(self, buffers, &context.limits);
        self.sent = buffers.outbox.sent();
        let updated = self.update_throughput(buffers, now);
        let is_clear = buffers.is_unused();
        if own.is_some() || !is_clear {
            let mut own = own.unwrap_or_else(|| std::mem::take(&mut context.buffers));
            own.return_to(&mut context.buffers);
            self.buffers = (!is_clear).then_some(own);
        }
        match updated {
            Ok(()) => pumped,
            Err(reason) => PumpOutcome::Closed(reason),
        }
    }

    fn is_sending(&self) -> bool {
        self.buffers
            .as_ref()
            .is_some_and(|buffers| !buffers.outbox.is_empty())
    }

    fn throughput(&self) -> Option<ThroughputWindow> {
        self.buffers.as_ref()?.throughput
    }

    fn steps<P>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        limits: &Limits,
        now: Now,
    ) -> PumpOutcome
    where
        P: Protocol<Session = S>,
    {
        for _ in 0..MAX_PUMP_STEPS {
            match self.step(buffers, protocol, limits, now) {
                Ok(PumpStep::Progress) => {}
                Ok(PumpStep::Blocked) => return PumpOutcome::Blocked,
                Ok(PumpStep::Yield) => return PumpOutcome::Runnable,
                Err(reason) => return PumpOutcome::Closed(reason),
            }
        }
        PumpOutcome::Runnable
    }

    fn step<P>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        limits: &Limits,
        now: Now,
    ) -> Result<PumpStep, CloseReason>
    where
        P: Protocol<Session = S>,
    {
        let flushed = self.flush(buffers, limits)?;
        if flushed != FlushOutcome::Empty {
            protocol.on_progress(&mut self.session, buffers.outbox.sent());
        }
        if matches!(self.phase, Phase::FlushingThenReading) {
            self.phase = match flushed {
                FlushOutcome::Empty => Phase::Reading,
                FlushOutcome::Blocked | FlushOutcome::BurstSent => Phase::Flushing,
            };
            if matches!(self.phase, Phase::Flushing) {
                // What it waits for begins when that has left.
                self.deadline = None;
            }
        }
        match flushed {
            FlushOutcome::Empty => {}
            FlushOutcome::BurstSent => return Ok(PumpStep::Yield),
            // A session that says `Read` with something queued does both at once.
            FlushOutcome::Blocked if !matches!(self.phase, Phase::Reading) => {
                return Ok(PumpStep::Blocked);
            }
            FlushOutcome::Blocked => {}
        }
        match self.phase {
            Phase::New => {
                // Unlike all others it may have asked after the turn began, and after it changed something.
                if self.fill(buffers)? {
                    protocol.on_turn_start(true);
                }
                self.call_on_ready(buffers, protocol, now)
            }
            Phase::Reading if buffers.inbox.is_ended() && buffers.outbox.is_empty() => {
                Err(CloseReason::Peer)
            }
            Phase::Reading if buffers.inbox.is_ended() => Ok(PumpStep::Blocked),
            Phase::Reading if buffers.inbox.is_full() => {
                self.apply_next(buffers, Next::LingeringClose);
                Ok(PumpStep::Progress)
            }
            // What has come waits until there is room for more.
            Phase::ReadingOrAwaitingWake if buffers.inbox.is_ended() || buffers.inbox.is_full() => {
                Ok(PumpStep::Blocked)
            }
            Phase::Reading | Phase::ReadingOrAwaitingWake => match self.fill(buffers)? {
                true => self.call_on_ready(buffers, protocol, now),
                false => Ok(PumpStep::Blocked),
            },
            Phase::Flushing | Phase::FlushingThenReading => {
                self.call_on_ready(buffers, protocol, now)
            }
            Phase::AwaitingWake => Ok(PumpStep::Blocked),
            Phase::Closing { linger } => self.finish_closing(buffers, linger, limits, now),
            Phase::Lingering => self.discard_input(buffers),
        }
    }

    fn flush(
        &mut self,
        buffers: &mut Buffers,
        limits: &Limits,
    ) -> Result<FlushOutcome, CloseReason> {
        if buffers.outbox.is_empty() {
            return Ok(FlushOutcome::Empty);
        }
        if !self.writable {
            return Ok(FlushOutcome::Blocked);
        }
        let flushed = buffers
            .outbox
            .flush(&mut self.transport, limits.max_in_flight)?;
        self.writable = flushed != FlushOutcome::Blocked;
        Ok(flushed)
    }

    /// Reads once, if there may be something. Whether the protocol has anything to learn from it.
    fn fill(&mut self, buffers: &mut Buffers) -> Result<bool, CloseReason> {
        if !self.readable {
            return Ok(false);
        }
        match buffers.inbox.fill(&mut self.transport) {
            Ok(ReadOutcome::Data { drained: all }) => {
                // (Urgent data, which no protocol of ours has, may end a read early, too. That
                // holds up nobody but who sends it.)
                self.readable = !all || self.is_read_closed;
                Ok(true)
            }
            Ok(ReadOutcome::Eof) => {
                self.readable = false;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) => Err(CloseReason::Io(error)),
        }
    }

    fn call_on_ready<P>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        now: Now,
    ) -> Result<PumpStep, CloseReason>
    where
        P: Protocol<Session = S>,
    {
        let mut io = buffers.io(&mut self.deadline, now);
        let next = protocol.on_ready(&mut self.session, &mut io);
        self.apply_next(buffers, next);
        Ok(match next {
            // As with a burst that has left: others have their turn.
            Next::Yield => PumpStep::Yield,
            _ => PumpStep::Progress,
        })
    }

    fn apply_next(&mut self, buffers: &Buffers, next: Next) {
        self.phase = match next {
            Next::Flush if !buffers.outbox.is_empty() => Phase::Flushing,
            Next::FlushThenRead => Phase::FlushingThenReading,
            Next::Yield => Phase::Flushing,
            // However much a session likes to hear: a peer that does not listen is not heard.
            Next::Read if !buffers.outbox.has_room() => Phase::Flushing,
            Next::Read | Next::Flush => Phase::Reading,
            Next::ReadOrWake if !buffers.outbox.is_empty() => Phase::Flushing,
            Next::ReadOrWake => Phase::ReadingOrAwaitingWake,
            Next::AwaitWake => Phase::AwaitingWake,
            Next::Close => Phase::Closing { linger: false },
            Next::LingeringClose => Phase::Closing { linger: true },
        };
        if matches!(self.phase, Phase::Closing { .. }) {
            self.deadline = None;
        }
    }

    /// Everything has left: hang up, or read away what the peer is still saying. (Not inlined, or every pump would
    /// work out the deadline.)
    #[inline(never)]
    fn finish_closing(
        &mut self,
        buffers: &Buffers,
        linger: bool,
        limits: &Limits,
        now: Now,
    ) -> Result<PumpStep, CloseReason> {
        match self.transport.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                return Ok(PumpStep::Blocked);
            }
            flushed => flushed.map_err(CloseReason::Io)?,
        }
        // Closing with unread input sends RST, and our answer may be lost (RFC 9112 9.6).
        let unread = self.readable || !buffers.inbox.is_empty();
        if buffers.inbox.is_ended() || !(linger || unread) {
            return Err(CloseReason::Local);
        }
        self.transport.shutdown_write().map_err(CloseReason::Io)?;
        self.deadline = Some(now.instant + limits.linger);
        self.phase = Phase::Lingering;
        Ok(PumpStep::Progress)
    }

    fn discard_input(&mut self, buffers: &mut Buffers) -> Result<PumpStep, CloseReason> {
        buffers.inbox.clear();
        match self.fill(buffers) {
            _ if buffers.inbox.is_ended() => Err(CloseReason::Local),
            Ok(true) => Ok(PumpStep::Progress),
            Ok(false) => Ok(PumpStep::Blocked),
            // The peer has hung up with our answer read or not; there is nobody left to tell.
            Err(_) => Err(CloseReason::Local),
        }
    }

    /// Whoever is sent something is to take it at some pace; whoever takes it fast is trusted to.
    fn update_throughput(&mut self, buffers: &mut Buffers, now: Now) -> Result<(), CloseReason> {
        if buffers.outbox.is_empty() {
            buffers.throughput = None;
            return Ok(());
        }
        let window = *buffers.throughput.get_or_insert(ThroughputWindow {
            start: now.instant,
            sent_before: self.sent,
        });
        let takes_fast = self.sent - window.sent_before >= FAST_BYTES
            && now.instant <= window.start + FAST_PERIOD;
        self.set_fast(self.is_fast || (takes_fast && !self.writable))
    }

    fn set_fast(&mut self, is_fast: bool) -> Result<(), CloseReason> {
        if is_fast != self.is_fast {
            self.transport
                .set_notsent_lowat(is_fast)
                .map_err(CloseReason::Io)?;
            self.is_fast = is_fast;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::protocol::Peer;
    use super::super::transport::ScriptedTransport;
    use super::*;
    use crate::blob::Blob;

    /// Answers each line with itself in upper case; "bye" ends it, "big" is a megabyte, and after "wait" it
    /// waits for the bell.
    struct UppercaseLines;

    impl Protocol for UppercaseLines {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            *io.deadline = Some(io.now.instant + Duration::from_secs(60));
            while let Some(end) = io.inbox.bytes().iter().position(|&byte| byte == b'\n') {
                if !io.outbox.has_room() {
                    return Next::Flush;
                }
                let line = io.inbox.bytes()[..=end].to_ascii_uppercase();
                io.outbox.tail().extend_from_slice(&line);
                io.inbox.consume(end + 1);
                match &line[..end] {
                    b"BYE" => return Next::Close,
                    b"WHAT" => return Next::LingeringClose,
                    b"WAIT" => return Next::AwaitWake,
                    b"BIG" => io.outbox.push(vec![b'x'; 1 << 20].into(), 0..1 << 20),
                    _ => {}
                }
            }
            Next::Flush
        }
    }

    struct ConnectionDriver {
        connection: Connection<(), ScriptedTransport>,
        context: PumpContext,
        now: Now,
    }

    impl ConnectionDriver {
        fn new(transport: ScriptedTransport) -> Self {
            let limits = Limits {
                inbox_bytes: 1024,
                ..Limits::default()
            };
            let peer = Peer {
                address: ([127, 0, 0, 1], 1).into(),
            };
            UppercaseLines.on_accept(&peer);
            Self {
                connection: Connection::new((), transport),
                context: PumpContext::new(limits),
                now: Now {
                    instant: Instant::now(),
                    wall: SystemTime::UNIX_EPOCH,
                },
            }
        }

        /// What the poll would do: everything is ready, until nothing moves.
        fn run(&mut self) -> PumpOutcome {
            loop {
                self.connection.transport.open_window();
                self.connection
                    .set_ready(true, true, self.connection.transport.ends);
                let before = (self.sent().len(), self.connection.transport.incoming.len());
                let pumped = self
                    .connection
                    .pump(&mut UppercaseLines, &mut self.context, self.now);
                let after = (self.sent().len(), self.connection.transport.incoming.len());
                if matches!(pumped, PumpOutcome::Closed(_)) || before == after {
                    return pumped;
                }
            }
        }

        fn receive(&mut self, bytes: &[u8]) {
            self.connection.transport.incoming.extend(bytes);
        }

        fn sent(&self) -> &[u8] {
            &self.connection.transport.sent
        }

        fn wait(&mut self, seconds: u64) -> PumpOutcome {
            self.now.instant += Duration::from_secs(seconds);
            self.connection
                .on_timer(&mut UppercaseLines, &mut self.context, self.now)
        }
    }

    fn transport(received: &[u8]) -> ScriptedTransport {
        ScriptedTransport {
            incoming: received.iter().copied().collect(),
            ..ScriptedTransport::default()
        }
    }

    #[test]
    fn split_reads_and_writes_do_not_change_output() {
        let received = b"one\ntwo\nbig\nthree\nbye\nnever";
        let mut whole = ConnectionDriver::new(transport(received));
        assert!(
            matches!(whole.run(), PumpOutcome::Blocked),
            "it lingers: the peer said more"
        );
        assert!(whole.sent().starts_with(b"ONE\nTWO\nBIG\nxx") && whole.sent().ends_with(b"BYE\n"));
        for (gives, takes) in [(1, usize::MAX), (usize::MAX, 9999), (1, 9999), (3, 70_001)] {
            let mut cut = ConnectionDriver::new(ScriptedTransport {
                max_read: gives,
                send_window: takes,
                ..transport(received)
            });
            cut.run();
            assert!(cut.sent() == whole.sent(), "{gives} in, {takes} out");
        }
        let small = b"one\ntwo\nthree\nbye\n";
        let mut cut = ConnectionDriver::new(ScriptedTransport {
            max_read: 1,
            send_window: 1,
            ..transport(small)
        });
        cut.run();
        assert_eq!(cut.sent(), small.to_ascii_uppercase());
    }

    #[test]
    fn idle_connection_owns_no_buffers() {
        let mut driver = ConnectionDriver::new(transport(b"one\n"));
        driver.run();
        assert_eq!(driver.sent(), b"ONE\n");
        assert!(driver.connection.buffers.is_none());
        let lent = std::ptr::from_ref(&*driver.context.buffers);
        driver.receive(b"two\n");
        driver.run();
        let again = std::ptr::from_ref(&*driver.context.buffers);
        assert!(lent == again, "nor is one made for it");
    }

    #[test]
    fn unfinished_buffers_stay_with_their_connection() {
        let mut driver = ConnectionDriver::new(transport(b"one\ntw"));
        driver.run();
        let buffers = driver.connection.buffers.as_ref();
        assert_eq!(
            buffers.map(|buffers| buffers.inbox.bytes()),
            Some(&b"tw"[..])
        );
        driver.receive(b"o\n");
        driver.run();
        assert_eq!(driver.sent(), b"ONE\nTWO\n");
        assert!(driver.connection.buffers.is_none() && driver.connection.sent == 8);
    }

    #[test]
    fn notsent_lowat_is_lifted_while_client_reads_fast() {
        let check = |takes: usize, millis: u64, expected: bool| {
            let mut driver = ConnectionDriver::new(ScriptedTransport {
                send_window: takes,
                ..transport(b"big\n")
            });
            for _ in 0..3 {
                driver.connection.transport.open_window();
                driver.connection.set_ready(true, true, false);
                driver
                    .connection
                    .pump(&mut UppercaseLines, &mut driver.context, driver.now);
                driver.now.instant += Duration::from_millis(millis);
            }
            assert_eq!(
                driver.connection.is_fast, expected,
                "{takes} in {millis} ms"
            );
            driver
        };
        check(100_000, 1, false);
        check(300_000, 600, false);
        let mut fast = check(300_000, 500, true);
        fast.connection.transport.send_window = 50_000;
        fast.connection.transport.open_window();
        assert!(matches!(fast.wait(30), PumpOutcome::Blocked));
        fast.connection.transport.open_window();
        assert!(matches!(fast.wait(30), PumpOutcome::Blocked));
        let calls = &fast.connection.transport.calls;
        assert_eq!(calls[..], ["cork", "write", "trust", "write", "distrust"]);
    }

    #[test]
    fn client_that_does_not_read_is_not_read_from() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            send_window: 100,
            ..transport(b"big\n")
        });
        driver.connection.transport.open_window();
        let pumped = driver
            .connection
            .pump(&mut UppercaseLines, &mut driver.context, driver.now);
        assert!(matches!(pumped, PumpOutcome::Blocked));
        driver.receive(b"more\n");
        driver.connection.set_ready(true, false, false);
        driver
            .connection
            .pump(&mut UppercaseLines, &mut driver.context, driver.now);
        assert_eq!(driver.connection.transport.incoming.len(), 5);
        driver.run();
        assert!(driver.sent().ends_with(b"MORE\n"));
    }

    #[test]
    fn busy_connection_yields_after_a_bounded_number_of_steps() {
        let mut driver = ConnectionDriver::new(transport(&b"line\n".repeat(100)));
        // What fills the buffer says nothing about what is behind it.
        driver.context = PumpContext::new(Limits {
            inbox_bytes: 5,
            ..Limits::default()
        });
        let mut turns = 0;
        while let PumpOutcome::Runnable =
            driver
                .connection
                .pump(&mut UppercaseLines, &mut driver.context, driver.now)
        {
            turns += 1;
            driver.connection.set_ready(true, true, false);
        }
        assert!(turns > 100 / MAX_PUMP_STEPS, "{turns} turns");
    }

    /// Says a megabyte to each who comes, and remembers how much of that it has been told to have left.
    #[derive(Default)]
    struct MegabyteSender(Vec<u64>);

    impl Protocol for MegabyteSender {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            if io.outbox.sent() == 0 {
                io.outbox
                    .push(Blob::Memory(vec![0; 1 << 20].into()), 0..1 << 20);
            }
            Next::Flush
        }

        fn on_progress(&mut self, (): &mut (), sent: u64) {
            self.0.push(sent);
        }
    }

    #[test]
    fn on_progress_reports_sent_bytes_while_more_are_queued() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            send_window: 400_000,
            ..ScriptedTransport::default()
        });
        let mut sender = MegabyteSender::default();
        for _ in 0..3 {
            driver.connection.transport.open_window();
            driver.connection.set_ready(true, true, false);
            let ConnectionDriver {
                connection,
                context,
                now,
            } = &mut driver;
            let pumped = connection.pump(&mut sender, context, *now);
            assert!(matches!(pumped, PumpOutcome::Blocked));
        }
        assert_eq!(driver.sent().len(), 1 << 20);
        assert_eq!(sender.0, [400_000, 800_000], "its end is another thing");
    }

    /// Does ten steps that come to nothing, then says what was heard.
    struct Yielder(usize);

    impl Protocol for Yielder {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            if io.inbox.is_empty() {
                return Next::Read;
            }
            self.0 += 1;
            if self.0 < 10 {
                return Next::Yield;
            }
            let received = io.inbox.bytes().to_vec();
            io.inbox.consume(received.len());
            io.outbox.tail().extend_from_slice(&received);
            Next::Close
        }
    }

    #[test]
    fn yielding_session_is_called_once_per_turn() {
        let mut driver = ConnectionDriver::new(transport(b"word"));
        let mut protocol = Yielder(0);
        for turn in 1..10 {
            let pumped = driver
                .connection
                .pump(&mut protocol, &mut driver.context, driver.now);
            assert!(matches!(pumped, PumpOutcome::Runnable), "{pumped:?}");
            assert_eq!(protocol.0, turn, "one step in a turn");
        }
        let pumped = driver
            .connection
            .pump(&mut protocol, &mut driver.context, driver.now);
        assert!(
            matches!(pumped, PumpOutcome::Closed(CloseReason::Local)),
            "{pumped:?}"
        );
        assert_eq!(driver.sent(), b"word");
    }

    #[test]
    fn half_closed_client_receives_response() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            ends: true,
            ..transport(b"one\nbig\ntwo\n")
        });
        assert!(matches!(
            driver.run(),
            PumpOutcome::Closed(CloseReason::Peer)
        ));
        assert!(driver.sent().ends_with(b"xTWO\n"));
    }

    /// Answers each byte with a thousand, waits for the next a minute, and counts how often it is asked.
    struct ReadyCounter(usize);

    impl Protocol for ReadyCounter {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            self.0 += 1;
            let received = io.inbox.bytes().len();
            io.inbox.consume(received);
            io.outbox.tail().resize(received * 1000, b'x');
            *io.deadline = Some(io.now.instant + Duration::from_secs(60));
            Next::FlushThenRead
        }
    }

    #[test]
    fn flush_then_read_calls_session_only_after_a_blocked_flush() {
        let check = |takes: usize, asked: usize| {
            let mut counter = ReadyCounter(0);
            let mut driver = ConnectionDriver::new(ScriptedTransport {
                send_window: takes,
                ..transport(b"1")
            });
            while driver.sent().len() < 1000 {
                assert!(driver.sent().is_empty() || driver.connection.deadline.is_none());
                driver.now.instant += Duration::from_secs(10);
                driver.connection.transport.open_window();
                driver.connection.set_ready(true, true, false);
                let ConnectionDriver {
                    connection,
                    context,
                    now,
                } = &mut driver;
                let pumped = connection.pump(&mut counter, context, *now);
                assert!(matches!(pumped, PumpOutcome::Blocked));
            }
            let due = driver.connection.deadline;
            assert_eq!(due, Some(driver.now.instant + Duration::from_secs(60)));
            assert_eq!(counter.0, asked, "{takes}");
            assert!(driver.connection.buffers.is_none());
        };
        check(1000, 1);
        check(999, 2);
        check(100, 2);
    }

    /// Echoes, and always says that it reads.
    struct Echo;

    impl Protocol for Echo {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            let received = io.inbox.bytes().to_vec();
            io.inbox.consume(received.len());
            io.outbox.tail().extend_from_slice(&received);
            Next::Read
        }
    }

    #[test]
    fn half_closed_client_receives_queued_bytes_while_session_reads() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            send_window: 3,
            ends: true,
            ..transport(b"0123456789")
        });
        let reason = loop {
            driver.connection.transport.open_window();
            driver.connection.set_ready(true, true, true);
            match driver
                .connection
                .pump(&mut Echo, &mut driver.context, driver.now)
            {
                PumpOutcome::Closed(reason) => break reason,
                PumpOutcome::Blocked | PumpOutcome::Runnable => {}
            }
        };
        assert!(matches!(reason, CloseReason::Peer));
        assert_eq!(driver.sent(), b"0123456789");
    }

    #[test]
    fn await_wake_reads_nothing_before_the_wake() {
        let mut driver = ConnectionDriver::new(transport(b"one\nwait\ntwo\n"));
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        driver.receive(b"three\n");
        driver.run();
        // What was queued has left; what has come since has not been read.
        assert_eq!(driver.sent(), b"ONE\nWAIT\n");
        assert_eq!(driver.connection.transport.incoming.len(), 6);
        assert!(driver.connection.awaits_wake());
        let is_kept = driver
            .connection
            .idle_since(&UppercaseLines, &driver.context.limits);
        assert_eq!(is_kept, None, "it makes room for nobody");
        driver.connection.wake();
        driver.run();
        assert_eq!(driver.sent(), b"ONE\nWAIT\nTWO\nTHREE\n");
        // Nobody else is asked because of a bell.
        driver.connection.wake();
        assert!(!driver.connection.awaits_wake());
        assert!(matches!(driver.connection.phase, Phase::Reading));
        // A deadline passes as ever.
        driver.receive(b"wait\n");
        driver.run();
        assert!(driver.connection.awaits_wake());
        driver.wait(60);
        assert!(!driver.connection.awaits_wake());
    }

    /// Listens, and remembers how much there was to hear each time, and whether that was the end.
    #[derive(Default)]
    struct ReadOrWakeRecorder(Vec<(usize, bool)>);

    impl Protocol for ReadOrWakeRecorder {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            self.0.push((io.inbox.bytes().len(), io.inbox.is_ended()));
            Next::ReadOrWake
        }
    }

    #[test]
    fn read_or_wake_calls_session_on_wake_input_and_end() {
        let mut driver = ConnectionDriver::new(transport(b"one"));
        let mut protocol = ReadOrWakeRecorder::default();
        let mut pump = |driver: &mut ConnectionDriver, expected: &[(usize, bool)]| {
            let ends = driver.connection.transport.ends;
            driver.connection.set_ready(true, true, ends);
            while let PumpOutcome::Runnable =
                driver
                    .connection
                    .pump(&mut protocol, &mut driver.context, driver.now)
            {}
            assert_eq!(std::mem::take(&mut protocol.0), expected);
            assert!(driver.connection.awaits_wake());
            let waits = driver
                .connection
                .idle_since(&protocol, &driver.context.limits);
            assert_eq!(waits, None, "it makes room for nobody");
        };
        pump(&mut driver, &[(3, false)]);
        pump(&mut driver, &[]);
        driver.connection.wake();
        pump(&mut driver, &[(3, false)]);
        driver.receive(b"two");
        pump(&mut driver, &[(6, false)]);
        // What there is no room for stays where it is.
        driver.receive(&[b'x'; 2000]);
        pump(&mut driver, &[(1024, false)]);
        assert_eq!(driver.connection.transport.incoming.len(), 2006 - 1024);

        let mut driver = ConnectionDriver::new(transport(b""));
        pump(&mut driver, &[(0, false)]);
        driver.connection.transport.ends = true;
        pump(&mut driver, &[(0, true)]);
    }

    #[test]
    fn lingering_close_replaces_the_deadline() {
        let mut driver = ConnectionDriver::new(transport(b"what\n"));
        driver.run();
        let lingering = driver.now.instant + driver.context.limits.linger;
        assert_eq!(driver.connection.deadline, Some(lingering));
    }

    #[test]
    fn close_without_unread_input_does_not_linger() {
        let mut driver = ConnectionDriver::new(transport(b"bye\n"));
        assert!(matches!(
            driver.run(),
            PumpOutcome::Closed(CloseReason::Local)
        ));
        assert_eq!(driver.connection.transport.calls, ["write"]);
    }

    #[test]
    fn lingering_close_discards_input() {
        let mut driver = ConnectionDriver::new(transport(b"what\n"));
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        assert_eq!(driver.connection.transport.calls, ["write", "finish"]);
        driver.receive(&[b'x'; 100_000]);
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        assert!(driver.connection.transport.incoming.is_empty());
        driver.connection.transport.ends = true;
        assert!(matches!(
            driver.run(),
            PumpOutcome::Closed(CloseReason::Local)
        ));
    }

    #[test]
    fn lingering_close_times_out() {
        let mut driver = ConnectionDriver::new(transport(b"what\n"));
        driver.run();
        assert!(matches!(driver.wait(4), PumpOutcome::Blocked));
        assert!(matches!(
            driver.wait(1),
            PumpOutcome::Closed(CloseReason::Local)
        ));
    }

    #[test]
    fn full_inbox_is_a_lingering_close() {
        let mut driver = ConnectionDriver::new(transport(&[b'x'; 1024]));
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        assert_eq!(driver.connection.transport.calls, ["finish"]);
    }

    #[test]
    fn session_deadline_closes_connection() {
        let mut driver = ConnectionDriver::new(transport(b"one\n"));
        driver.run();
        let due = driver.connection.next_timer(&driver.context.limits);
        assert_eq!(due, Some(driver.now.instant + Duration::from_secs(60)));
        assert!(matches!(driver.wait(59), PumpOutcome::Blocked));
        assert!(matches!(
            driver.wait(1),
            PumpOutcome::Closed(CloseReason::Local)
        ));
    }

    #[test]
    fn reader_below_min_rate_is_timed_out() {
        // 30 seconds at 1 KiB each are 30,720 bytes.
        for (takes, cut) in [(30_719, true), (30_720, false), (0, true)] {
            let mut driver = ConnectionDriver::new(ScriptedTransport {
                send_window: takes,
                ..ScriptedTransport::default()
            });
            let mut buffers = Box::new(Buffers::default());
            buffers
                .outbox
                .push(Blob::Memory(vec![0; 1 << 20].into()), 0..1 << 20);
            driver.connection.buffers = Some(buffers);
            driver.connection.transport.window_left = Some(0);
            driver
                .connection
                .pump(&mut UppercaseLines, &mut driver.context, driver.now);
            assert!(matches!(driver.wait(29), PumpOutcome::Blocked));
            driver.connection.transport.open_window();
            let pumped = driver.wait(1);
            assert_eq!(
                matches!(pumped, PumpOutcome::Closed(CloseReason::TimedOut)),
                cut,
                "{takes}"
            );
        }
    }

    #[test]
    fn min_rate_zero_never_times_out() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            send_window: 0,
            ..transport(b"big\n")
        });
        driver.context.limits.min_rate = 0;
        driver
            .connection
            .pump(&mut UppercaseLines, &mut driver.context, driver.now);
        assert!(matches!(driver.wait(30), PumpOutcome::Blocked));
        assert!(matches!(driver.wait(30), PumpOutcome::Blocked));
    }
}
