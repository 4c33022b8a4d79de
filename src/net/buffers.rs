//! Read and write buffers lent to a connection for one pump.

use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::limits::Limits;
use super::outbox::Outbox;
use super::protocol::{Io, Now};
use super::read_credit::ReadCredit;

/// Period over which the rate of a peer is measured, to see whether it is still fast.
const RATE_PERIOD: Duration = Duration::from_secs(30);

/// Read and write buffers of a pump. All connections of a reactor share one instance, which owns the memory. A
/// connection with unconsumed input or unsent output has its own, which holds only those bytes and borrows the memory
/// for each pump.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) throughput: Option<ThroughputWindow>,
}

/// Start of the current measurement of the peer's rate, and the time that it has left.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThroughputWindow {
    pub(super) start: Instant,
    pub(super) sent_before: u64,
    pub(super) credit: ReadCredit,
}

impl ThroughputWindow {
    pub(super) fn new(sent: u64, now: Instant, limits: &Limits) -> Self {
        Self {
            start: now,
            sent_before: sent,
            credit: ReadCredit::new(now, limits),
        }
    }

    /// Returns a new measurement, with the same credit.
    pub(super) fn restarted(&self, sent: u64, now: Instant) -> Self {
        Self {
            start: now,
            sent_before: sent,
            ..*self
        }
    }

    pub(super) fn period_end(&self) -> Instant {
        self.start + RATE_PERIOD
    }

    /// Returns the time of the next check: when the credit is used up, or the period is over.
    pub(super) fn next_check(&self, limits: &Limits) -> Instant {
        let period_end = self.period_end();
        match self.credit.end(limits) {
            Some(end) => end.min(period_end),
            None => period_end,
        }
    }
}

impl Buffers {
    /// Whether there is neither input nor output left, so that another connection can use the buffers.
    pub(super) fn is_unused(&self) -> bool {
        self.inbox.is_empty() && !self.inbox.is_ended() && self.outbox.is_empty()
    }

    pub(super) fn borrow_from(&mut self, spare: &mut Self) {
        self.inbox.borrow_from(&mut spare.inbox);
        self.outbox.borrow_from(&mut spare.outbox);
    }

    pub(super) fn return_to(&mut self, spare: &mut Self) {
        self.inbox.return_to(&mut spare.inbox);
        self.outbox.return_to(&mut spare.outbox);
    }

    pub(super) fn io<'a>(&'a mut self, deadline: &'a mut Option<Instant>, now: Now) -> Io<'a> {
        Io {
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            deadline,
            now,
        }
    }
}
