//! What a connection can do to its peer, without waiting.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::set_tcp_cork;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;

/// Bytes that the kernel takes from us for a peer beyond what it can send at once. Otherwise it takes
/// megabytes for each peer that does not read. Every connection begins with this, as its listener
/// has it.
pub(super) const NOTSENT_LOWAT_BYTES: u32 = 32 * 1024;

/// No such bound: what is taken follows from how fast the peer is.
const NOTSENT_UNLIMITED: u32 = u32::MAX;

/// The far end of a connection. Every method may answer [`io::ErrorKind::WouldBlock`].
pub(super) trait Transport {
    /// Takes what has arrived, at most `into.len()` bytes; 0 when the peer has finished sending.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends bytes from memory and returns how many it took. `more` says that something else
    /// follows at once, so that a last, partly filled segment waits for it.
    fn write(&mut self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize>;

    /// Sends a part of a file, at most `part`, and returns how many bytes it took; 0 when the file
    /// ends before the part begins.
    fn send_file(&mut self, file: &File, part: Range<u64>) -> io::Result<usize>;

    /// From now on a partly filled segment waits for what follows, or no longer does: then it leaves.
    fn cork(&mut self, on: bool) -> io::Result<()>;

    /// Whether more may be taken than can be sent at once, because this peer is known to take it soon.
    /// A new one is not trusted. For one that is fast, being asked in small pieces costs half as
    /// much again.
    fn set_notsent_lowat(&mut self, trusted: bool) -> io::Result<()>;

    /// Sends what the transport itself still holds.
    fn flush(&mut self) -> io::Result<()>;

    /// Says goodbye: nothing more will be written, what arrives can still be read.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// A plain socket. It holds nothing back, so there is nothing to flush.
#[derive(Debug)]
pub(super) enum SocketStream {
    Tcp(TcpStream),
    /// It has no segments to be filled, and the kernel takes little for its peer anyway (SO_SNDBUF).
    Unix(UnixStream),
}

impl AsFd for SocketStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Source for SocketStream {
    fn register(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(to, token, interests),
            Self::Unix(stream) => stream.register(to, token, interests),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(to, token, interests),
            Self::Unix(stream) => stream.reregister(to, token, interests),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(from),
            Self::Unix(stream) => stream.deregister(from),
        }
    }
}

impl Transport for SocketStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (_, received) = recv(self, into, RecvFlags::empty())?;
        Ok(received)
    }

    fn write(&mut self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let flags = if more {
            SendFlags::NOSIGNAL | SendFlags::MORE
        } else {
            SendFlags::NOSIGNAL
        };
        let sent = match slices {
            [one] => send(self, one, flags)?,
            several => sendmsg(self, several, &mut SendAncillaryBuffer::default(), flags)?,
        };
        Ok(sent)
    }

    fn send_file(&mut self, file: &File, part: Range<u64>) -> io::Result<usize> {
        let mut offset = part.start;
        let count = usize::try_from(part.end - part.start).unwrap_or(usize::MAX);
        Ok(rustix::fs::sendfile(self, file, Some(&mut offset), count)?)
    }

    fn cork(&mut self, on: bool) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => Ok(set_tcp_cork(stream, on)?),
            Self::Unix(_) => Ok(()),
        }
    }

    fn set_notsent_lowat(&mut self, trusted: bool) -> io::Result<()> {
        let unsent = if trusted {
            NOTSENT_UNLIMITED
        } else {
            NOTSENT_LOWAT_BYTES
        };
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).set_tcp_notsent_lowat(unsent),
            Self::Unix(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// A transport that takes and gives as little as it is told to, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct ScriptedTransport {
    /// What the peer says, not yet read.
    pub(super) incoming: std::collections::VecDeque<u8>,
    /// Whether the peer finishes sending after that.
    pub(super) ends: bool,
    /// Bytes given by one read at the most.
    pub(super) max_read: usize,
    /// Bytes of a file taken by one call at the most, as if a signal came then.
    pub(super) max_send_file: usize,
    /// Bytes taken until [`open_window`](Self::open_window) is called again.
    pub(super) send_window: usize,
    /// How much of that is left; `None` before the first send.
    pub(super) window_left: Option<usize>,
    /// What was sent.
    pub(super) sent: Vec<u8>,
    /// Which calls succeeded, in order, repetitions left out.
    pub(super) calls: Vec<&'static str>,
}

#[cfg(test)]
impl Default for ScriptedTransport {
    fn default() -> Self {
        Self {
            incoming: std::collections::VecDeque::new(),
            ends: false,
            max_read: usize::MAX,
            max_send_file: usize::MAX,
            send_window: usize::MAX,
            window_left: None,
            sent: Vec::new(),
            calls: Vec::new(),
        }
    }
}

#[cfg(test)]
impl ScriptedTransport {
    /// Makes room for another [`send_window`](Self::send_window) bytes.
    pub(super) fn open_window(&mut self) {
        self.window_left = Some(self.send_window);
    }

    fn take(&mut self, bytes: &[u8], call: &'static str) -> io::Result<usize> {
        let left = self.window_left.get_or_insert(self.send_window);
        if *left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(*left);
        *left -= count;
        self.sent.extend_from_slice(&bytes[..count]);
        if self.calls.last() != Some(&call) {
            self.calls.push(call);
        }
        Ok(count)
    }
}

#[cfg(test)]
impl Transport for ScriptedTransport {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.incoming.len().min(self.max_read).min(into.len());
        if count == 0 && !self.ends {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (byte, received) in into.iter_mut().zip(self.incoming.drain(..count)) {
            *byte = received;
        }
        Ok(count)
    }

    fn write(&mut self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let max = self.window_left.unwrap_or(self.send_window).max(1);
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
        let bytes: Vec<u8> = bytes.take(max).collect();
        self.take(&bytes, if more { "write more" } else { "write" })
    }

    fn send_file(&mut self, file: &File, part: Range<u64>) -> io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let max = usize::try_from(part.end - part.start).unwrap();
        let mut bytes = vec![0; max.min(self.max_send_file)];
        let count = file.read_at(&mut bytes, part.start)?;
        if count == 0 {
            Ok(0)
        } else {
            self.take(&bytes[..count], "file")
        }
    }

    fn cork(&mut self, on: bool) -> io::Result<()> {
        self.calls.push(if on { "cork" } else { "uncork" });
        Ok(())
    }

    fn set_notsent_lowat(&mut self, trusted: bool) -> io::Result<()> {
        self.calls.push(if trusted { "trust" } else { "distrust" });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.calls.push("finish");
        Ok(())
    }
}
