//! Non-blocking byte stream to a peer: TCP, Unix sockets, `sendfile`.

use std::fs::File;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use rustix::net::sockopt::set_tcp_cork;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use socket2::SockRef;

/// Unsent bytes that the kernel buffers for one connection (TCP_NOTSENT_LOWAT). Without it the kernel buffers megabytes
/// for each peer that does not read. Connections inherit it from their listener.
pub(super) const NOTSENT_LOWAT_BYTES: u32 = 32 * 1024;

/// No such bound: the kernel's buffer grows with the speed of the peer.
const NOTSENT_UNLIMITED: u32 = u32::MAX;

/// Non-blocking byte stream to a peer. Every method may return [`io::ErrorKind::WouldBlock`].
pub(super) trait Transport {
    /// Reads at most `into.len()` bytes, and returns how many; 0 when the peer has finished sending.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Sends bytes from memory, and returns how many the kernel took. `more`: other bytes follow at once, so a last,
    /// partly filled segment waits for them.
    fn write(&mut self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize>;

    /// Sends at most `part` of a file, and returns how many bytes the kernel took; 0 when the file ends before the part
    /// begins.
    fn send_file(&mut self, file: &File, part: Range<u64>) -> io::Result<usize>;

    /// Holds partly filled segments back until more follows, or stops doing so and sends them (TCP_CORK).
    fn cork(&mut self, on: bool) -> io::Result<()>;

    /// Limits the unsent bytes that the kernel buffers to [`NOTSENT_LOWAT_BYTES`], or lifts the limit for a peer that
    /// is known to read fast. A new connection has the limit. For a fast peer the small pieces cost half as much again.
    fn set_notsent_lowat(&mut self, is_fast: bool) -> io::Result<()>;

    /// Ends the output. Input can still be read.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// A plain socket.
#[derive(Debug)]
pub(super) enum SocketStream {
    Tcp(TcpStream),
    /// A Unix socket has no segments to cork, and the kernel buffers little for it (SO_SNDBUF).
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

impl SocketStream {
    /// Makes the kernel discard what it has not sent, and reset the connection, when the socket is closed (socket(7),
    /// SO_LINGER). Otherwise it keeps up to 4 MiB for minutes for a peer that does not read.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            // If the kernel refuses, closing is as for other peers.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
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

    fn set_notsent_lowat(&mut self, is_fast: bool) -> io::Result<()> {
        let unsent_bytes = if is_fast {
            NOTSENT_UNLIMITED
        } else {
            NOTSENT_LOWAT_BYTES
        };
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).set_tcp_notsent_lowat(unsent_bytes),
            Self::Unix(_) => Ok(()),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

/// Transport for tests, which reads and writes as many bytes as its fields say.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct ScriptedTransport {
    /// Bytes from the peer that are not read yet.
    pub(super) incoming: std::collections::VecDeque<u8>,
    /// Whether the peer finishes sending after them.
    pub(super) ends: bool,
    /// Maximum bytes of one read.
    pub(super) max_read: usize,
    /// Maximum bytes of one `send_file`, as if a signal interrupted it then.
    pub(super) max_send_file: usize,
    /// Bytes that can be sent until [`open_window`](Self::open_window) is called again.
    pub(super) send_window: usize,
    /// Bytes left of the send window; `None` before the first send.
    pub(super) window_left: Option<usize>,
    /// Bytes that were sent.
    pub(super) sent: Vec<u8>,
    /// Calls that succeeded, in order, without repetitions.
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
    /// Lets another [`send_window`](Self::send_window) bytes be sent.
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

    fn set_notsent_lowat(&mut self, is_fast: bool) -> io::Result<()> {
        self.calls
            .push(if is_fast { "lift lowat" } else { "set lowat" });
        Ok(())
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.calls.push("shutdown");
        Ok(())
    }
}
