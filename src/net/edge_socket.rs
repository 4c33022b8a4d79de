//! A transport with the readiness that the poll has reported.

use std::io::{self, ErrorKind};

use super::close_reason::CloseReason;
use super::inbox::{Inbox, ReadOutcome};
use super::outbox::{FlushOutcome, Outbox};
use super::transport::Transport;

/// A transport with the readiness that the poll has reported.
///
/// mio is edge-triggered: a readiness that is not used up is never reported again. So the reported readiness is kept,
/// and cleared only when the transport returns `WouldBlock` or a short count.
#[derive(Debug)]
pub(super) struct EdgeSocket<T> {
    pub(super) transport: T,
    readable: bool,
    writable: bool,
    /// The poll has reported that the peer finished sending: then a short read does not end the edge.
    is_read_closed: bool,
    /// Whether the transport's limit on unsent bytes is lifted because the peer reads fast.
    is_fast: bool,
}

impl<T: Transport> EdgeSocket<T> {
    /// Creates a socket that may be both readable and writable.
    pub(super) fn new(transport: T) -> Self {
        Self {
            transport,
            readable: true,
            writable: true,
            is_read_closed: false,
            is_fast: false,
        }
    }

    /// Records the readiness that the poll has reported.
    pub(super) fn set_ready(&mut self, readable: bool, writable: bool, is_read_closed: bool) {
        self.readable |= readable;
        self.writable |= writable;
        self.is_read_closed |= is_read_closed;
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// Sends what is queued, if the socket may be writable.
    pub(super) fn flush(
        &mut self,
        outbox: &mut Outbox,
        max_in_flight: u64,
    ) -> Result<FlushOutcome, CloseReason> {
        if outbox.is_empty() {
            return Ok(FlushOutcome::Empty);
        }
        if !self.writable {
            return Ok(FlushOutcome::Blocked);
        }
        let flushed = outbox.flush(&mut self.transport, max_in_flight)?;
        self.writable = flushed != FlushOutcome::Blocked;
        Ok(flushed)
    }

    /// Reads once, if the socket may be readable. Returns whether there is new input, or its end.
    pub(super) fn fill(&mut self, inbox: &mut Inbox) -> io::Result<bool> {
        if !self.readable {
            return Ok(false);
        }
        match inbox.fill(&mut self.transport) {
            Ok(ReadOutcome::Data { drained: all }) => {
                // (TCP urgent data, which no protocol here uses, may end a read early, too. That only delays the client
                // that sends it.)
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
            Err(error) => Err(error),
        }
    }

    /// Lifts the limit on unsent bytes for a peer that reads fast, or sets it again.
    pub(super) fn set_fast(&mut self, is_fast: bool) -> io::Result<()> {
        if is_fast != self.is_fast {
            self.transport.set_notsent_lowat(is_fast)?;
            self.is_fast = is_fast;
        }
        Ok(())
    }
}
