//! Reason why a connection was closed.

use std::io;

/// Reason why a connection was closed.
#[derive(Debug)]
pub enum CloseReason {
    /// The server closed it, with everything sent.
    Local,
    /// The peer finished sending, and there was nothing left to send.
    Peer,
    /// The peer was too slow, or did not finish within the grace period of a shutdown.
    TimedOut,
    /// The connection was idle and made room for a new one.
    Evicted,
    /// A file changed while it was sent, so that the rest of the promised bytes could not be sent.
    FileChanged,
    /// A file that was being sent could not be read.
    FileUnreadable(io::Error),
    /// The socket failed.
    Io(io::Error),
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
