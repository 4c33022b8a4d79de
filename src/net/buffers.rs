//! Read and write buffers lent to a connection for one pump.

use std::time::Instant;

use super::inbox::Inbox;
use super::outbox::Outbox;
use super::protocol::{Io, Now};

/// Read and write buffers of a pump. All connections of a reactor share one instance, which owns the memory. A
/// connection with unconsumed input or unsent output has its own, which holds only those bytes and borrows the memory
/// for each pump.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) throughput: Option<ThroughputWindow>,
}

/// Start of the current measurement of the peer's rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThroughputWindow {
    pub(super) start: Instant,
    pub(super) sent_before: u64,
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
