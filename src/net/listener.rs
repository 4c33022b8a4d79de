//! Where peers arrive.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::net::TcpListener;
use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseport;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::protocol::Peer;
use super::transport::{Tcp, UNSENT};

/// Connections the kernel keeps for us until we accept them, as far as `net.core.somaxconn` lets
/// it.
const BACKLOG: i32 = 4096;

/// Seconds that a connection may stay with the kernel until its peer has said something.
const SILENT: u32 = 1;

sockopt_impl!(
    /// TCP_DEFER_ACCEPT (tcp(7)), which takes a C `int`: seconds.
    DeferAccept, SetOnly, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, u32
);

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    address: SocketAddr,
}

/// What came of asking for one more connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Connection(Tcp, Peer),
    /// Nobody is waiting.
    Nobody,
    /// The system has no descriptor, or no memory, for another one; whoever waits keeps waiting.
    Exhausted(io::Error),
    /// That one was lost before it was ours; the next one may be well.
    Lost(io::Error),
}

impl Listener {
    /// Listens for peers that speak first: one that says nothing is accepted a second after it has come, and one
    /// that asks is not kept waiting. `address` may have port 0, which is any free port. `[::]` takes IPv4 as well, unless
    /// `only_v6`; any other IPv6 address never does.
    ///
    /// # Errors
    /// What socket(2), bind(2) and listen(2) say. A machine without the address, or without IPv6,
    /// is [`ErrorKind::AddrNotAvailable`]. A port on which anybody else listens is
    /// [`ErrorKind::AddrInUse`]: the port is shared with nobody but [`another`](Self::another).
    pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        Self::open(address, only_v6, false)
    }

    /// Another listener on the same address. The kernel divides whoever comes from now on among them
    /// (SO_REUSEPORT in socket(7)), so each must be asked.
    ///
    /// # Errors
    /// What socket(2), bind(2) and listen(2) say.
    pub fn another(&self) -> io::Result<Self> {
        // Only now, when the first one listens: two programs may bind a port at once before either
        // does (SO_REUSEADDR), and with this already set would then share it.
        set_socket_reuseport(&self.socket, true)?;
        let only_v6 = self.address.is_ipv6() && SockRef::from(&self.socket).only_v6()?;
        Self::open(self.address, only_v6, true)
    }

    fn open(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).map_err(missing)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6 || !address.ip().is_unspecified())?;
        }
        // Lets a restart bind while old connections are in TIME_WAIT. On Linux it does not let two
        // listeners have one port; SO_REUSEPORT does, if all of them have it and are one user's.
        socket.set_reuse_address(true)?;
        if shared {
            set_socket_reuseport(&socket, true)?;
        }
        // Inherited by every connection that is accepted.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
        // Who asks at once is accepted when that has arrived, so that one wake-up does for accepting, reading
        // and answering; who does not, when the kernel has asked once more whether it is there.
        setsockopt(&socket, DeferAccept, &SILENT)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The address it listens on, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts one connection, if somebody is waiting.
    ///
    /// # Errors
    /// Only when the listening socket itself is unusable.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        let error = match self.socket.accept() {
            Ok((stream, address)) => {
                return Ok(Accepted::Connection(Tcp { stream }, Peer { address }));
            }
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            _ if error.kind() == ErrorKind::WouldBlock => Ok(Accepted::Nobody),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                Ok(Accepted::Exhausted(error))
            }
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT) | None => Err(error),
            // All others are about the connection that was to be accepted (accept(2)).
            Some(_) => Ok(Accepted::Lost(error)),
        }
    }
}

/// A kernel without a family has none of its addresses.
fn missing(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::AFNOSUPPORT) => io::Error::new(ErrorKind::AddrNotAvailable, error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::sockopt::socket_reuseport;

    use super::*;

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn a_busy_port_is_refused() {
        let first = Listener::bind(any(), false).unwrap();
        let error = Listener::bind(first.address(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_is_shared_with_nobody_else() {
        let first = Listener::bind(any(), false).unwrap();
        assert!(!socket_reuseport(&first.socket).unwrap(), "alone");
        let another = first.another().unwrap();
        assert_eq!(another.address(), first.address());
        let error = Listener::bind(first.address(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // Who would share it with us is not asked, either.
        let theirs = Listener::open(any(), false, true).unwrap();
        let error = Listener::bind(theirs.address(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn options_of_the_listener_are_inherited() {
        let listener = Listener::bind(any(), false).unwrap();
        let _peer = TcpStream::connect(listener.address()).unwrap();
        let tcp = loop {
            match listener.accept().unwrap() {
                Accepted::Connection(tcp, _) => break tcp,
                _ => std::thread::yield_now(),
            }
        };
        let socket = SockRef::from(&tcp.stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT);
    }
}
