//! Listening sockets: bind or inherit, accept, stop accepting.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use mio::net::{TcpListener, UnixListener};
use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseport, socket_acceptconn};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::endpoint::Endpoint;
use super::unix_socket::{self, SocketFile};
use crate::net::transport::{NOTSENT_LOWAT_BYTES, SocketStream};
use crate::peer::{Address, Peer};

/// Connections that the kernel queues until they are accepted. `net.core.somaxconn` is the upper bound.
const BACKLOG: i32 = 4096;

/// Seconds for which the kernel waits for the client's first bytes before it lets a connection be accepted.
const DEFER_ACCEPT_SECONDS: u32 = 1;

sockopt_impl!(
    /// TCP_DEFER_ACCEPT (tcp(7)): seconds, as a C `int`.
    DeferAccept, SetOnly, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, u32
);

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: ListenSocket,
    address: Endpoint,
    ownership: SocketOwnership,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Owner of a listening socket.
#[derive(Debug)]
enum SocketOwnership {
    /// This process: closing it resets the connections in the backlog.
    Own,
    /// The same, and closing it removes its file.
    OwnWithFile(SocketFile),
    /// The service manager that passed it: the connections in the backlog wait for the next process.
    Inherited,
}

/// Outcome of one accept(2).
#[derive(Debug)]
pub(in crate::net) enum AcceptOutcome {
    Connection(SocketStream, Peer),
    /// The backlog is empty.
    NoneWaiting,
    /// The system has no descriptor or no memory for another connection, which stays in the backlog.
    Exhausted(io::Error),
    /// This connection failed before it was accepted. The next one may succeed.
    Lost(io::Error),
}

impl Listener {
    /// Listens on a TCP address, for protocols in which the client sends first: a connection is accepted when its first
    /// bytes arrive, or after a second without any. Port 0 is any free port. `[::]` accepts IPv4 as well, unless
    /// `only_v6`; any other IPv6 address does not.
    ///
    /// # Errors
    /// The error of socket(2), bind(2) or listen(2). [`ErrorKind::AddrNotAvailable`] if the machine does not have the
    /// address, or no IPv6. [`ErrorKind::AddrInUse`] if another socket listens on the port: it is shared only with a
    /// [`duplicate`](Self::duplicate).
    pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        Self::bind_tcp(address, only_v6, false)
    }

    /// Listens on a Unix socket, at a path or at an abstract name. A stale socket file at the path is replaced; the
    /// permissions of the new one follow the process's umask. The file is removed when the listener stops accepting,
    /// unless another one has replaced it.
    ///
    /// # Errors
    /// The error of socket(2), bind(2) or listen(2). [`ErrorKind::AddrInUse`] if another process listens at the path,
    /// or another kind of file is there; [`ErrorKind::InvalidInput`] for a path that is too long or an IP address.
    pub fn bind_unix(endpoint: Endpoint) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let ownership = match &endpoint {
            Endpoint::Path(path) => {
                SocketOwnership::OwnWithFile(unix_socket::bind_and_listen(&socket, path, BACKLOG)?)
            }
            Endpoint::Name(name) => {
                let name = [b"\0", &name[..]].concat();
                socket.bind(&SockAddr::unix(OsStr::from_bytes(&name))?)?;
                socket.listen(BACKLOG)?;
                SocketOwnership::Own
            }
            Endpoint::Ip(_) => return Err(ErrorKind::InvalidInput.into()),
        };
        Ok(Self {
            socket: ListenSocket::Unix(UnixListener::from_std(OwnedFd::from(socket).into())),
            address: endpoint,
            ownership,
        })
    }

    /// Takes over a listening TCP socket that the service manager keeps open, and sets the options that
    /// [`bind`](Self::bind) sets.
    ///
    /// # Errors
    /// When it is not listening, or its options cannot be set.
    pub(super) fn inherit_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        require_listening(&socket)?;
        socket.set_nonblocking(true)?;
        set_options(&socket)?;
        let address = socket.local_addr()?.into();
        Ok(Self {
            socket: ListenSocket::Tcp(TcpListener::from_std(socket)),
            address,
            ownership: SocketOwnership::Inherited,
        })
    }

    /// Takes over a listening Unix socket that the service manager keeps open.
    ///
    /// # Errors
    /// When it is not listening.
    pub(super) fn inherit_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        require_listening(&socket)?;
        socket.set_nonblocking(true)?;
        let address = (&socket.local_addr()?).into();
        Ok(Self {
            socket: ListenSocket::Unix(UnixListener::from_std(socket)),
            address,
            ownership: SocketOwnership::Inherited,
        })
    }

    /// Creates another listener on the same address. For a TCP port that this process has bound, the kernel divides new
    /// connections among the listeners (SO_REUSEPORT in socket(7)), so each must accept. Any other socket is shared,
    /// and a new connection wakes all listeners.
    ///
    /// # Errors
    /// The error of socket(2), bind(2), listen(2) or dup(2).
    pub fn duplicate(&self) -> io::Result<Self> {
        if let (Endpoint::Ip(address), SocketOwnership::Own) = (&self.address, &self.ownership) {
            // Set only now that the first socket listens: before that, two programs may both have bound the port
            // (SO_REUSEADDR), and with this option already set they would share it.
            set_socket_reuseport(self, true)?;
            let only_v6 = address.is_ipv6() && SockRef::from(self).only_v6()?;
            return Self::bind_tcp(*address, only_v6, true);
        }
        let socket = self.as_fd().try_clone_to_owned()?;
        let socket = match self.socket {
            ListenSocket::Tcp(_) => ListenSocket::Tcp(TcpListener::from_std(socket.into())),
            ListenSocket::Unix(_) => ListenSocket::Unix(UnixListener::from_std(socket.into())),
        };
        let ownership = match self.ownership {
            SocketOwnership::Inherited => SocketOwnership::Inherited,
            SocketOwnership::OwnWithFile(_) | SocketOwnership::Own => SocketOwnership::Own,
        };
        Ok(Self {
            socket,
            address: self.address.clone(),
            ownership,
        })
    }

    fn bind_tcp(address: SocketAddr, only_v6: bool, shared: bool) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(unsupported_family_as_unavailable)?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(only_v6 || !address.ip().is_unspecified())?;
        }
        // Lets a restarted server bind while old connections are in TIME_WAIT. On Linux it does not let two sockets
        // listen on one port; SO_REUSEPORT does, if all of them have it and belong to one user.
        socket.set_reuse_address(true)?;
        if shared {
            set_socket_reuseport(&socket, true)?;
        }
        set_options(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?.into();
        Ok(Self {
            socket: ListenSocket::Tcp(socket),
            address,
            ownership: SocketOwnership::Own,
        })
    }

    /// Returns the address, with the port that the kernel chose if it was 0.
    #[must_use]
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Removes the file of a Unix socket, so that no more clients connect. Returns whether the connections in the
    /// backlog must be accepted here; otherwise the next process, which is passed the same socket, accepts them.
    pub(in crate::net) fn stop_accepting(&mut self) -> bool {
        if self.is_inherited() {
            return false;
        }
        if let SocketOwnership::OwnWithFile(file) =
            mem::replace(&mut self.ownership, SocketOwnership::Own)
        {
            drop(file);
        }
        true
    }

    /// Whether the service manager keeps this socket open for the next process.
    pub(in crate::net) fn is_inherited(&self) -> bool {
        matches!(self.ownership, SocketOwnership::Inherited)
    }

    /// Accepts one connection, if one is in the backlog.
    ///
    /// # Errors
    /// Only when the listening socket itself is unusable.
    pub(in crate::net) fn accept(&self) -> io::Result<AcceptOutcome> {
        let accepted = match &self.socket {
            ListenSocket::Tcp(socket) => socket
                .accept()
                .map(|(stream, address)| (SocketStream::Tcp(stream), address.into())),
            ListenSocket::Unix(socket) => socket
                .accept()
                .map(|(stream, _)| (SocketStream::Unix(stream), Address::Unix)),
        };
        let error = match accepted {
            Ok((stream, address)) => {
                return Ok(AcceptOutcome::Connection(stream, Peer { address }));
            }
            Err(error) => error,
        };
        match Errno::from_io_error(&error) {
            _ if error.kind() == ErrorKind::WouldBlock => Ok(AcceptOutcome::NoneWaiting),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                Ok(AcceptOutcome::Exhausted(error))
            }
            Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::FAULT) | None => Err(error),
            // All other errors are those of the connection to be accepted (accept(2)).
            Some(_) => Ok(AcceptOutcome::Lost(error)),
        }
    }
}

/// Reports an address family that the kernel does not support as an address that is not available.
fn unsupported_family_as_unavailable(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::AFNOSUPPORT) => io::Error::new(ErrorKind::AddrNotAvailable, error),
        _ => error,
    }
}

/// Sets the TCP options that accepted connections inherit.
fn set_options(socket: &impl AsFd) -> io::Result<()> {
    let options = SockRef::from(socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    // A connection is accepted when its first bytes have arrived, so that one wake-up serves for accepting, reading and
    // responding. A silent client's is accepted after the kernel has retransmitted its SYN-ACK once.
    Ok(setsockopt(socket, DeferAccept, &DEFER_ACCEPT_SECONDS)?)
}

fn require_listening(socket: &impl AsFd) -> io::Result<()> {
    match socket_acceptconn(socket)? {
        true => Ok(()),
        false => Err(io::Error::other("the socket is not listening")),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.as_fd(),
            ListenSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::sockopt::socket_reuseport;

    use super::*;

    fn any_port() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn address(listener: &Listener) -> SocketAddr {
        listener.address().tcp().unwrap()
    }

    #[test]
    fn busy_port_is_addr_in_use() {
        let first = Listener::bind(any_port(), false).unwrap();
        let error = Listener::bind(address(&first), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn port_is_not_shared_with_other_programs() {
        let first = Listener::bind(any_port(), false).unwrap();
        assert!(
            !socket_reuseport(&first).unwrap(),
            "the only listener does not share its port"
        );
        let another = first.duplicate().unwrap();
        assert_eq!(address(&another), address(&first));
        let error = Listener::bind(address(&first), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // Neither is a port whose listener has set SO_REUSEPORT.
        let other = Listener::bind_tcp(any_port(), false, true).unwrap();
        let error = Listener::bind(address(&other), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    fn accepted(listener: &Listener) -> SocketStream {
        loop {
            match listener.accept().unwrap() {
                AcceptOutcome::Connection(stream, _) => break stream,
                _ => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn accepted_socket_inherits_options() {
        check_options(Listener::bind(any_port(), false).unwrap());
        let other = std::net::TcpListener::bind(any_port()).unwrap();
        check_options(Listener::inherit_tcp(other).unwrap());
    }

    fn check_options(listener: Listener) {
        let _peer = TcpStream::connect(address(&listener)).unwrap();
        let stream = accepted(&listener);
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT_BYTES);
    }

    #[test]
    fn non_listening_socket_is_rejected() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let error = Listener::inherit_tcp(socket.into()).unwrap_err();
        assert!(error.to_string().contains("not listening"), "{error}");
    }

    #[test]
    fn inherited_socket_is_shared_and_left_open() {
        let other = std::net::TcpListener::bind(any_port()).unwrap();
        let inherited = other.try_clone().unwrap();
        let mut first = Listener::inherit_tcp(inherited).unwrap();
        let mut another = first.duplicate().unwrap();
        assert!(!socket_reuseport(&another).unwrap());
        assert!(!first.stop_accepting() && !another.stop_accepting());
        let _peer = TcpStream::connect(address(&first)).unwrap();
        drop((first, another));
        let next = Listener::inherit_tcp(other).unwrap();
        accepted(&next);
    }

    #[test]
    fn unix_socket_file_is_removed_by_its_first_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut first = Listener::bind_unix(Endpoint::Path(path.clone())).unwrap();
        let mut another = first.duplicate().unwrap();
        assert!(another.stop_accepting());
        let _peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        accepted(&another);
        assert!(first.stop_accepting() && !path.exists());
    }
}
