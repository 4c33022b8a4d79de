//! Pump of one connection: flush output, read input, call the session, until no step makes progress.

use std::io;
use std::time::{Duration, Instant};

use super::buffers::{Buffers, ThroughputWindow};
use super::close_reason::CloseReason;
use super::edge_socket::EdgeSocket;
use super::inbox::Inbox;
use super::limits::Limits;
use super::outbox::FlushOutcome;
use super::protocol::{Io, Next, Now, Protocol};
use super::transport::Transport;

/// Steps of one pump, after which other connections are served. A request on a warm connection takes three: read and
/// call the session, flush and call it, find nothing more.
const MAX_PUMP_STEPS: usize = 4;

/// Bytes that a peer must take within [`FAST_PERIOD`] to count as fast.
const FAST_BYTES: u64 = 512 * 1024;
const FAST_PERIOD: Duration = Duration::from_secs(1);

/// A connection: its socket and its session.
///
/// There may be thousands of idle connections, so state that an idle one does not need is in [`Buffers`].
#[derive(Debug)]
pub(super) struct Connection<S, T> {
    session: S,
    pub(super) socket: EdgeSocket<T>,
    /// Buffers with unconsumed input or unsent output; `None` without either.
    buffers: Option<Box<Buffers>>,
    /// Bytes sent since the connection started.
    sent: u64,
    /// The session's deadline, or the end of lingering.
    deadline: Option<Instant>,
    phase: Phase,
}

/// State shared by all connections of one reactor.
#[derive(Debug)]
pub(super) struct PumpContext {
    pub(super) limits: Limits,
    /// Shared buffers, without input or output between pumps.
    buffers: Box<Buffers>,
}

/// Outcome of a pump.
#[derive(Debug)]
pub(super) enum PumpOutcome {
    /// No more progress before an event of the socket, a deadline or a wake-up.
    Blocked,
    /// The steps are used up. The connection is pumped again at the end of the next turn.
    Runnable,
    /// The connection is to be closed.
    Closed(CloseReason),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has been read, and the session has not been called.
    New,
    /// The session waits for input.
    Reading,
    /// The session waits for its output to be sent.
    Flushing,
    /// The session waits for the reactor's waker.
    AwaitingWake,
    /// The session waits for the waker or for input.
    ReadingOrAwaitingWake,
    /// The session waits for input if its output is sent at once.
    FlushingThenReading,
    /// The session has ended, and its output is being sent.
    Closing { linger: bool },
    /// All output is sent; input is read and discarded until the deadline.
    Lingering,
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

impl<S, T: Transport> Connection<S, T> {
    /// Creates a connection that was just accepted. Input may have arrived already, and output can be sent, so both are
    /// tried before the socket is registered with the poll.
    pub(super) fn new(session: S, transport: T) -> Self {
        Self {
            session,
            socket: EdgeSocket::new(transport),
            buffers: None,
            sent: 0,
            deadline: None,
            phase: Phase::New,
        }
    }

    /// Returns the start of the current idle period: of waiting for a complete request, with nothing left to send, or
    /// of lingering. `None` if the connection is not idle.
    pub(super) fn idle_since<P: Protocol<Session = S>>(
        &self,
        protocol: &P,
        limits: &Limits,
    ) -> Option<Instant> {
        match self.phase {
            Phase::Reading if !self.is_sending() => protocol.idle_since(&self.session),
            Phase::Lingering => self.deadline?.checked_sub(limits.linger),
            _ => None,
        }
    }

    /// Closes the connection and notifies the protocol.
    pub(super) fn close<P: Protocol<Session = S>>(
        mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        reason: CloseReason,
        now: Now,
    ) {
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

    /// Whether the session waits for the reactor's waker.
    pub(super) fn awaits_wake(&self) -> bool {
        matches!(
            self.phase,
            Phase::AwaitingWake | Phase::ReadingOrAwaitingWake
        )
    }

    /// Makes the next pump call the session, if it waits for the waker.
    pub(super) fn wake(&mut self) {
        if self.awaits_wake() {
            self.phase = Phase::Flushing;
        }
    }

    /// Flushes output, reads input and calls the session, until no step makes progress. All queued output is offered to
    /// the socket before this returns, so no caller has to ask for writability.
    pub(super) fn pump<P: Protocol<Session = S>>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome {
        self.with_buffers(context, now, |connection, buffers, limits| {
            connection.steps(buffers, protocol, limits, now)
        })
    }

    /// Returns the time at which [`on_timer`](Self::on_timer) is due; `None` is never.
    pub(super) fn next_timer(&self, limits: &Limits) -> Option<Instant> {
        let check = self.throughput().map(|window| window.next_check(limits));
        [check, self.deadline].into_iter().flatten().min()
    }

    /// Acts on the timer that is due: the check of the peer's rate, or the session's deadline.
    pub(super) fn on_timer<P: Protocol<Session = S>>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome {
        if let Some(window) = self.throughput()
            && window.next_check(&context.limits) <= now.instant
        {
            return self.check_min_rate(protocol, context, now);
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

    /// Notifies the session that the server shuts down.
    pub(super) fn shut_down<P: Protocol<Session = S>>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome {
        match self.phase {
            Phase::Closing { .. } | Phase::Lingering => PumpOutcome::Blocked,
            _ => self.call_session(protocol, context, now, P::on_shutdown),
        }
    }
}

/// Steps of a pump.
impl<S, T: Transport> Connection<S, T> {
    /// Sends what the socket takes, then checks whether the peer has time left, and whether it is still fast.
    fn check_min_rate<P: Protocol<Session = S>>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
    ) -> PumpOutcome {
        // The kernel reports writability only when a part of its buffer is free. The peer may have taken some bytes
        // since.
        self.socket.set_ready(false, true, false);
        let pumped = self.pump(protocol, context, now);
        let Some(window) = self.throughput() else {
            return pumped;
        };
        if matches!(pumped, PumpOutcome::Closed(_)) {
            return pumped;
        }
        let end = window.credit.end(&context.limits);
        if end.is_some_and(|end| end <= now.instant) {
            return PumpOutcome::Closed(CloseReason::TimedOut);
        }
        if window.period_end() > now.instant {
            return pumped;
        }
        let taken = self.sent - window.sent_before;
        if let Some(buffers) = &mut self.buffers {
            buffers.throughput = Some(window.restarted(self.sent, now.instant));
        }
        let is_fast = self.socket.is_fast() && taken >= FAST_BYTES;
        match self.socket.set_fast(is_fast) {
            Ok(()) => pumped,
            Err(error) => PumpOutcome::Closed(error.into()),
        }
    }

    fn call_session<P: Protocol<Session = S>>(
        &mut self,
        protocol: &mut P,
        context: &mut PumpContext,
        now: Now,
        call: impl FnOnce(&mut P, &mut S, &mut Io<'_>) -> Next,
    ) -> PumpOutcome {
        self.with_buffers(context, now, |connection, buffers, limits| {
            let mut io = buffers.io(&mut connection.deadline, now);
            let next = call(protocol, &mut connection.session, &mut io);
            connection.apply_next(buffers, next);
            connection.steps(buffers, protocol, limits, now)
        })
    }

    /// Calls `work` with the connection's own buffers, or else with the shared ones.
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
        let taken = buffers.outbox.sent() - self.sent;
        self.sent = buffers.outbox.sent();
        let updated = self.update_throughput(buffers, taken, &context.limits, now);
        let is_clear = buffers.is_unused();
        if own.is_some() || !is_clear {
            let mut own = own.unwrap_or_else(|| std::mem::take(&mut context.buffers));
            own.return_to(&mut context.buffers);
            self.buffers = (!is_clear).then_some(own);
        }
        match updated {
            Ok(()) => pumped,
            Err(error) => PumpOutcome::Closed(error.into()),
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

    fn steps<P: Protocol<Session = S>>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        limits: &Limits,
        now: Now,
    ) -> PumpOutcome {
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

    fn step<P: Protocol<Session = S>>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        limits: &Limits,
        now: Now,
    ) -> Result<PumpStep, CloseReason> {
        let flushed = self
            .socket
            .flush(&mut buffers.outbox, limits.max_in_flight)?;
        if flushed != FlushOutcome::Empty {
            protocol.on_progress(&mut self.session, buffers.outbox.sent());
        }
        if matches!(self.phase, Phase::FlushingThenReading) {
            self.phase = match flushed {
                FlushOutcome::Empty => Phase::Reading,
                FlushOutcome::Blocked | FlushOutcome::BurstSent => Phase::Flushing,
            };
            if matches!(self.phase, Phase::Flushing) {
                // The session sets a new deadline when its output is sent.
                self.deadline = None;
            }
        }
        match flushed {
            FlushOutcome::Empty => {}
            FlushOutcome::BurstSent => return Ok(PumpStep::Yield),
            // A session that returns `Read` with output queued reads and sends at once.
            FlushOutcome::Blocked if !matches!(self.phase, Phase::Reading) => {
                return Ok(PumpStep::Blocked);
            }
            FlushOutcome::Blocked => {}
        }
        match self.phase {
            Phase::New => {
                // Unlike those of older connections, this request may have been sent after the start of the turn, and
                // after its client changed a file.
                if self.socket.fill(&mut buffers.inbox)? {
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
            // Input waits in the socket until there is room for it.
            Phase::ReadingOrAwaitingWake if buffers.inbox.is_ended() || buffers.inbox.is_full() => {
                Ok(PumpStep::Blocked)
            }
            Phase::Reading | Phase::ReadingOrAwaitingWake => {
                match self.socket.fill(&mut buffers.inbox)? {
                    true => self.call_on_ready(buffers, protocol, now),
                    false => Ok(PumpStep::Blocked),
                }
            }
            Phase::Flushing | Phase::FlushingThenReading => {
                self.call_on_ready(buffers, protocol, now)
            }
            Phase::AwaitingWake => Ok(PumpStep::Blocked),
            Phase::Closing { linger } => self.finish_closing(buffers, linger, limits, now),
            Phase::Lingering => self.discard_input(buffers),
        }
    }

    fn call_on_ready<P: Protocol<Session = S>>(
        &mut self,
        buffers: &mut Buffers,
        protocol: &mut P,
        now: Now,
    ) -> Result<PumpStep, CloseReason> {
        let mut io = buffers.io(&mut self.deadline, now);
        let next = protocol.on_ready(&mut self.session, &mut io);
        self.apply_next(buffers, next);
        Ok(match next {
            // As after a burst, other connections are served first.
            Next::Yield => PumpStep::Yield,
            _ => PumpStep::Progress,
        })
    }

    fn apply_next(&mut self, buffers: &Buffers, next: Next) {
        self.phase = match next {
            Next::Flush if !buffers.outbox.is_empty() => Phase::Flushing,
            Next::FlushThenRead => Phase::FlushingThenReading,
            Next::Yield => Phase::Flushing,
            // Even if the session would read: a peer that does not read its responses is not read from.
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

    /// Closes after all output is sent, or starts to discard the peer's remaining input. (Not inlined, or every pump
    /// would compute the deadline.)
    #[inline(never)]
    fn finish_closing(
        &mut self,
        buffers: &Buffers,
        linger: bool,
        limits: &Limits,
        now: Now,
    ) -> Result<PumpStep, CloseReason> {
        // Closing with unread input sends RST, and the response may be lost (RFC 9112 9.6).
        let unread = self.socket.is_readable() || !buffers.inbox.is_empty();
        if buffers.inbox.is_ended() || !(linger || unread) {
            return Err(CloseReason::Local);
        }
        self.socket.transport.shutdown_write()?;
        self.deadline = Some(now.instant + limits.linger);
        self.phase = Phase::Lingering;
        Ok(PumpStep::Progress)
    }

    fn discard_input(&mut self, buffers: &mut Buffers) -> Result<PumpStep, CloseReason> {
        buffers.inbox.clear();
        match self.socket.fill(&mut buffers.inbox) {
            _ if buffers.inbox.is_ended() => Err(CloseReason::Local),
            Ok(true) => Ok(PumpStep::Progress),
            Ok(false) => Ok(PumpStep::Blocked),
            // The peer has closed the connection, whether or not it has read the response.
            Err(_) => Err(CloseReason::Local),
        }
    }

    /// Starts, continues or ends the measurement of the peer's rate, and lifts the limit on unsent bytes for a fast
    /// peer.
    fn update_throughput(
        &mut self,
        buffers: &mut Buffers,
        taken: u64,
        limits: &Limits,
        now: Now,
    ) -> io::Result<()> {
        if buffers.outbox.is_empty() {
            buffers.throughput = None;
            return Ok(());
        }
        let window = buffers
            .throughput
            .get_or_insert_with(|| ThroughputWindow::new(self.sent, now.instant, limits));
        window.credit.add(taken, now.instant, limits);
        let takes_fast = self.sent - window.sent_before >= FAST_BYTES
            && now.instant <= window.start + FAST_PERIOD;
        let is_fast = self.socket.is_fast() || (takes_fast && !self.socket.is_writable());
        self.socket.set_fast(is_fast)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::transport::ScriptedTransport;
    use super::*;
    use crate::blob::Blob;
    use crate::peer::Peer;

    /// Protocol that responds to each line with the line in upper case. "bye" closes, "what" closes with lingering,
    /// "big" sends a mebibyte, and after "wait" the session waits for the waker.
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
                    b"BIG" => io.outbox.push(&vec![b'x'; 1 << 20].into(), 0..1 << 20),
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

        /// Pumps with everything ready, as the poll would report it, until nothing more is sent or received.
        fn run(&mut self) -> PumpOutcome {
            loop {
                self.connection.socket.transport.open_window();
                self.connection
                    .socket
                    .set_ready(true, true, self.connection.socket.transport.ends);
                let before = (
                    self.sent().len(),
                    self.connection.socket.transport.incoming.len(),
                );
                let pumped = self
                    .connection
                    .pump(&mut UppercaseLines, &mut self.context, self.now);
                let after = (
                    self.sent().len(),
                    self.connection.socket.transport.incoming.len(),
                );
                if matches!(pumped, PumpOutcome::Closed(_)) || before == after {
                    return pumped;
                }
            }
        }

        fn receive(&mut self, bytes: &[u8]) {
            self.connection.socket.transport.incoming.extend(bytes);
        }

        fn sent(&self) -> &[u8] {
            &self.connection.socket.transport.sent
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
            "it lingers, as there is unread input"
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
        assert!(lent == again, "no new buffers are allocated");
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
                driver.connection.socket.transport.open_window();
                driver.connection.socket.set_ready(true, true, false);
                driver
                    .connection
                    .pump(&mut UppercaseLines, &mut driver.context, driver.now);
                driver.now.instant += Duration::from_millis(millis);
            }
            assert_eq!(
                driver.connection.socket.is_fast(),
                expected,
                "{takes} in {millis} ms"
            );
            driver
        };
        check(100_000, 1, false);
        check(300_000, 600, false);
        let mut fast = check(300_000, 500, true);
        fast.connection.socket.transport.send_window = 50_000;
        fast.connection.socket.transport.open_window();
        assert!(matches!(fast.wait(30), PumpOutcome::Blocked));
        fast.connection.socket.transport.open_window();
        assert!(matches!(fast.wait(30), PumpOutcome::Blocked));
        let calls = &fast.connection.socket.transport.calls;
        assert_eq!(
            calls[..],
            ["cork", "write", "lift lowat", "write", "set lowat"]
        );
    }

    #[test]
    fn client_that_does_not_read_is_not_read_from() {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            send_window: 100,
            ..transport(b"big\n")
        });
        driver.connection.socket.transport.open_window();
        let pumped = driver
            .connection
            .pump(&mut UppercaseLines, &mut driver.context, driver.now);
        assert!(matches!(pumped, PumpOutcome::Blocked));
        driver.receive(b"more\n");
        driver.connection.socket.set_ready(true, false, false);
        driver
            .connection
            .pump(&mut UppercaseLines, &mut driver.context, driver.now);
        assert_eq!(driver.connection.socket.transport.incoming.len(), 5);
        driver.run();
        assert!(driver.sent().ends_with(b"MORE\n"));
    }

    #[test]
    fn busy_connection_yields_after_a_bounded_number_of_steps() {
        let mut driver = ConnectionDriver::new(transport(&b"line\n".repeat(100)));
        // A full buffer does not tell whether more input follows.
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
            driver.connection.socket.set_ready(true, true, false);
        }
        assert!(turns > 100 / MAX_PUMP_STEPS, "{turns} turns");
    }

    /// Protocol that sends a mebibyte to each client, and records the counts that `on_progress` reports.
    #[derive(Default)]
    struct MegabyteSender(Vec<u64>);

    impl Protocol for MegabyteSender {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {}

        fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
            if io.outbox.sent() == 0 {
                io.outbox
                    .push(&Blob::Memory(vec![0; 1 << 20].into()), 0..1 << 20);
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
            driver.connection.socket.transport.open_window();
            driver.connection.socket.set_ready(true, true, false);
            let ConnectionDriver {
                connection,
                context,
                now,
            } = &mut driver;
            let pumped = connection.pump(&mut sender, context, *now);
            assert!(matches!(pumped, PumpOutcome::Blocked));
        }
        assert_eq!(driver.sent().len(), 1 << 20);
        assert_eq!(
            sender.0,
            [400_000, 800_000],
            "the end of the output is reported by `on_ready`"
        );
    }

    /// Protocol that yields nine times, then echoes its input and closes.
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
            assert_eq!(protocol.0, turn, "one call per turn");
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

    /// Protocol that responds to each byte with a thousand, sets a deadline of a minute, and counts its calls.
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
                driver.connection.socket.transport.open_window();
                driver.connection.socket.set_ready(true, true, false);
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

    /// Protocol that echoes, and always returns `Next::Read`.
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
            driver.connection.socket.transport.open_window();
            driver.connection.socket.set_ready(true, true, true);
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
        // Queued output is sent; input that came later is not read.
        assert_eq!(driver.sent(), b"ONE\nWAIT\n");
        assert_eq!(driver.connection.socket.transport.incoming.len(), 6);
        assert!(driver.connection.awaits_wake());
        let idle_since = driver
            .connection
            .idle_since(&UppercaseLines, &driver.context.limits);
        assert_eq!(idle_since, None, "it cannot be evicted");
        driver.connection.wake();
        driver.run();
        assert_eq!(driver.sent(), b"ONE\nWAIT\nTWO\nTHREE\n");
        // A wake-up does not change the phase of a session that does not wait for it.
        driver.connection.wake();
        assert!(!driver.connection.awaits_wake());
        assert!(matches!(driver.connection.phase, Phase::Reading));
        // The deadline still applies.
        driver.receive(b"wait\n");
        driver.run();
        assert!(driver.connection.awaits_wake());
        driver.wait(60);
        assert!(!driver.connection.awaits_wake());
    }

    /// Protocol that returns `Next::ReadOrWake`, and records the length of the input and whether it has ended.
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
            let ends = driver.connection.socket.transport.ends;
            driver.connection.socket.set_ready(true, true, ends);
            while let PumpOutcome::Runnable =
                driver
                    .connection
                    .pump(&mut protocol, &mut driver.context, driver.now)
            {}
            assert_eq!(std::mem::take(&mut protocol.0), expected);
            assert!(driver.connection.awaits_wake());
            let idle_since = driver
                .connection
                .idle_since(&protocol, &driver.context.limits);
            assert_eq!(idle_since, None, "it cannot be evicted");
        };
        pump(&mut driver, &[(3, false)]);
        pump(&mut driver, &[]);
        driver.connection.wake();
        pump(&mut driver, &[(3, false)]);
        driver.receive(b"two");
        pump(&mut driver, &[(6, false)]);
        // Input that does not fit stays in the socket.
        driver.receive(&[b'x'; 2000]);
        pump(&mut driver, &[(1024, false)]);
        assert_eq!(
            driver.connection.socket.transport.incoming.len(),
            2006 - 1024
        );

        let mut driver = ConnectionDriver::new(transport(b""));
        pump(&mut driver, &[(0, false)]);
        driver.connection.socket.transport.ends = true;
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
        assert_eq!(driver.connection.socket.transport.calls, ["write"]);
    }

    #[test]
    fn lingering_close_discards_input() {
        let mut driver = ConnectionDriver::new(transport(b"what\n"));
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        assert_eq!(
            driver.connection.socket.transport.calls,
            ["write", "shutdown"]
        );
        driver.receive(&[b'x'; 100_000]);
        assert!(matches!(driver.run(), PumpOutcome::Blocked));
        assert!(driver.connection.socket.transport.incoming.is_empty());
        driver.connection.socket.transport.ends = true;
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
        assert_eq!(driver.connection.socket.transport.calls, ["shutdown"]);
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

    /// Starts a response of 8 MiB to a peer that takes `taken` bytes of it at once.
    fn download(taken: usize) -> ConnectionDriver {
        let mut driver = ConnectionDriver::new(ScriptedTransport {
            window_left: Some(taken),
            ..ScriptedTransport::default()
        });
        let mut buffers = Box::new(Buffers::default());
        let response = Blob::Memory(vec![0; 8 << 20].into());
        buffers.outbox.push(&response, 0..8 << 20);
        driver.connection.buffers = Some(buffers);
        let ConnectionDriver {
            connection,
            context,
            now,
        } = &mut driver;
        let pumped = connection.pump(&mut UppercaseLines, context, *now);
        assert!(matches!(pumped, PumpOutcome::Blocked));
        assert_eq!(driver.sent().len(), taken);
        driver
    }

    impl ConnectionDriver {
        /// Lets the peer take this many bytes. The poll does not report it.
        fn let_take(&mut self, bytes: usize) {
            self.connection.socket.transport.window_left = Some(bytes);
        }

        /// Waits this many seconds, and returns after how many of them the peer is timed out.
        fn timed_out_within(&mut self, seconds: u64) -> Option<u64> {
            (1..=seconds)
                .find(|_| matches!(self.wait(1), PumpOutcome::Closed(CloseReason::TimedOut)))
        }
    }

    #[test]
    fn reader_that_pauses_is_timed_out_when_its_credit_is_used_up() {
        const KIB: usize = 1024;
        for (taken, expected) in [
            (0, 60),
            (10 * KIB, 70),
            (100 * KIB, 120),
            (256 * KIB, 120),
            (300 * KIB, 164),
            (1024 * KIB, 300),
        ] {
            let mut driver = download(taken);
            assert_eq!(driver.timed_out_within(1000), Some(expected), "{taken}");
        }
    }

    #[test]
    fn reader_takes_what_it_can_before_it_is_timed_out() {
        // The kernel has room, and has not reported it.
        let mut driver = download(0);
        assert_eq!(driver.timed_out_within(59), None);
        driver.let_take(30 * 1024);
        assert_eq!(driver.timed_out_within(1), None);
        assert_eq!(driver.sent().len(), 30 * 1024);
        assert_eq!(driver.timed_out_within(1000), Some(30));
    }

    #[test]
    fn reader_above_min_rate_is_not_timed_out() {
        // With an MTU of 64 KiB, a client that reads 2 KiB per second asks for 64 KiB every 32 seconds.
        let mut driver = download(200 * 1024);
        for _ in 0..100 {
            assert_eq!(driver.timed_out_within(32), None);
            driver.let_take(64 * 1024);
        }
        // It reads for an hour, then pauses.
        assert_eq!(driver.timed_out_within(61), None);
        let cut = driver.timed_out_within(1000);
        assert!(matches!(cut, Some(200..300)), "{cut:?}");
    }

    #[test]
    fn reader_below_min_rate_is_timed_out() {
        // It is never silent for long, and takes 900 bytes per second.
        let mut driver = download(200 * 1024);
        let cut = (0..3600).find(|_| {
            driver.let_take(9000);
            driver.timed_out_within(10).is_some()
        });
        assert!(cut.is_some_and(|tens| tens < 300), "{cut:?}");
    }

    #[test]
    fn min_rate_zero_never_times_out() {
        let mut driver = download(0);
        driver.context.limits.min_rate = 0;
        assert_eq!(driver.timed_out_within(24 * 3600), None);
    }
}
