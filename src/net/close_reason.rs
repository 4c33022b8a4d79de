//! Reason why a connection was closed.

use std::io;

/// Reason why a connection was closed.
#[derive(Debug)]
pub enum CloseReason {
    /// The server closed it, with everything sent.
    Local,
    /// The peer finished sending, and there was nothing left to send; or it closed the connection before, as a player
    /// does that seeks.
    Peer,
    /// The peer was too slow, or did not finish within the grace period of a shutdown.
    TimedOut,
    /// The connection was idle and made room for a new one.
    Evicted,
    /// A file changed while it was sent, so that the rest of the promised bytes could not be sent.
    FileChanged,
    /// The socket failed, or a file that was being sent could not be read.
    Io(io::Error),
}

impl From<io::Error> for CloseReason {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Peer,
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_that_leaves_is_told_from_a_network_that_fails() {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, HostUnreachable, TimedOut};
        for (kind, is_peer) in [
            (BrokenPipe, true),
            (ConnectionReset, true),
            (TimedOut, false),
            (HostUnreachable, false),
        ] {
            let reason = CloseReason::from(io::Error::from(kind));
            assert_eq!(matches!(reason, CloseReason::Peer), is_peer, "{reason:?}");
        }
    }
}
