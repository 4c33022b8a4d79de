//! Buffer of received bytes that the session has not consumed.

use std::io;
use std::ops::Range;

use super::transport::Transport;

/// Buffer of received bytes that the session has not consumed: bounded, and without memory of its own while it is
/// empty.
///
/// Between pumps, `bytes` is exactly the unconsumed bytes. During a pump it is the shared buffer, whose length is the
/// bound.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    unread: Range<usize>,
    ended: bool,
}

/// Outcome of one read.
pub(super) enum ReadOutcome {
    /// Bytes were read. `drained`: the socket has no more, as a short read ends the edge (epoll(7)).
    Data { drained: bool },
    /// The peer has finished sending.
    Eof,
}

impl Inbox {
    /// Returns the bytes that are received and not yet consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.unread.clone()]
    }

    /// Whether all received bytes are consumed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// Whether the peer has finished sending, so that no more bytes will arrive.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Removes the first `count` bytes, or all if there are fewer.
    pub fn consume(&mut self, count: usize) {
        self.unread.start = self.unread.end.min(self.unread.start.saturating_add(count));
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
    }

    /// Appends bytes as if they were received, beyond any bound: for tests and benchmarks that drive a session without
    /// a socket. A session must not call it, as its connection relies on the bound.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.unread.end);
        self.bytes.extend_from_slice(bytes);
        self.unread.end = self.bytes.len();
    }

    /// Marks the end of input, for sessions driven as with [`receive`](Self::receive).
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Creates an inbox whose buffer has this length.
    pub(super) fn with_buffer(length: usize) -> Self {
        Self {
            bytes: vec![0; length],
            ..Self::default()
        }
    }

    /// Takes the buffer of an empty inbox, and copies the unconsumed bytes to its front.
    pub(super) fn borrow_from(&mut self, spare: &mut Self) {
        let unconsumed = std::mem::replace(&mut self.bytes, std::mem::take(&mut spare.bytes));
        let unconsumed = &unconsumed[self.unread.clone()];
        self.bytes[..unconsumed.len()].copy_from_slice(unconsumed);
        self.unread = 0..unconsumed.len();
    }

    /// Gives the buffer back, and keeps only the unconsumed bytes.
    pub(super) fn return_to(&mut self, spare: &mut Self) {
        let unconsumed = self.bytes().to_vec();
        self.unread = 0..unconsumed.len();
        spare.bytes = std::mem::replace(&mut self.bytes, unconsumed);
    }

    /// Whether the buffer is full of unconsumed bytes, so that nothing more can be read.
    pub(super) fn is_full(&self) -> bool {
        self.unread.len() == self.bytes.len()
    }

    /// Reads once. The buffer must be borrowed and not full.
    pub(super) fn fill(&mut self, transport: &mut impl Transport) -> io::Result<ReadOutcome> {
        if self.unread.start > 0 && self.unread.end == self.bytes.len() {
            self.bytes.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = &mut self.bytes[self.unread.end..];
        let space = room.len();
        let read = loop {
            match transport.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        match read {
            0 => {
                self.ended = true;
                Ok(ReadOutcome::Eof)
            }
            count => {
                self.unread.end += count;
                Ok(ReadOutcome::Data {
                    drained: count < space,
                })
            }
        }
    }

    /// Discards all unconsumed bytes.
    pub(super) fn clear(&mut self) {
        self.unread = 0..0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumed_bytes_are_dropped() {
        let mut inbox = Inbox::default();
        inbox.receive(b"one two");
        inbox.consume(4);
        assert_eq!(inbox.bytes(), b"two");
        inbox.consume(900);
        assert!(inbox.is_empty());
    }

    #[test]
    fn idle_inbox_keeps_only_unconsumed_bytes() {
        let mut spare = Inbox::with_buffer(64);
        let mut inbox = Inbox::default();
        inbox.receive(b"a partial head");
        inbox.consume(2);
        inbox.borrow_from(&mut spare);
        assert_eq!(
            (inbox.bytes(), spare.bytes.capacity()),
            (&b"partial head"[..], 0)
        );
        inbox.return_to(&mut spare);
        assert_eq!(
            (inbox.bytes(), inbox.bytes.len(), spare.bytes.len()),
            (&b"partial head"[..], 12, 64)
        );
        inbox.consume(12);
        inbox.borrow_from(&mut spare);
        inbox.return_to(&mut spare);
        assert_eq!((inbox.bytes.capacity(), spare.bytes.len()), (0, 64));
    }
}
