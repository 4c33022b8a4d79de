//! Where peers arrive.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl, sockopt_impl};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_reuseport, socket_acceptconn};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::address::{Address, Endpoint};
use super::protocol::Peer;
use super::transport::{NOTSENT_LOWAT_BYTES, SocketStream};
use super::unix_socket::{self, SocketFile};

/// Connections the kernel keeps for us until we accept them, as far as `net.core.somaxconn` lets
/// it.
const BACKLOG: i32 = 4096;

/// Seconds that a connection may stay with the kernel until its peer has said something.
const DEFER_ACCEPT_SECONDS: u32 = 1;

sockopt_impl!(
    /// TCP_DEFER_ACCEPT (tcp(7)), which takes a C `int`: seconds.
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

/// Who keeps a listening socket, beside who listens to it.
#[derive(Debug)]
enum SocketOwnership {
    /// Nobody: who waits when it is closed is reset.
    Own,
    /// The same, and its file goes with it.
    OwnWithFile(SocketFile),
    /// Whoever has handed it over, for who comes next: who waits waits on.
    Inherited,
}

/// What came of asking for one more connection.
#[derive(Debug)]
pub(super) enum AcceptOutcome {
    Connection(SocketStream, Peer),
    /// Nobody is waiting.
    NoneWaiting,
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
    /// [`ErrorKind::AddrInUse`]: the port is shared with nobody but [`duplicate`](Self::duplicate).
    pub fn bind(address: SocketAddr, only_v6: bool) -> io::Result<Self> {
        Self::bind_tcp(address, only_v6, false)
    }

    /// Listens at a Unix socket: at a path, where a socket that nobody listens to any more is replaced, with the
    /// permissions that the process's umask leaves, or at an abstract name. The file is removed when nobody is
    /// accepted any more, unless somebody has put another one in its place.
    ///
    /// # Errors
    /// What socket(2), bind(2) and listen(2) say. A path at which somebody else listens, or at which there is
    /// something else, is [`ErrorKind::AddrInUse`]; one that is too long [`ErrorKind::InvalidInput`], and so is an
    /// IP address.
    pub fn bind_unix(endpoint: Endpoint) -> io::Result<Self> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let keeper = match &endpoint {
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
            ownership: keeper,
        })
    }

    /// Listens to a TCP socket of somebody else, who keeps it. It gets the options of one of ours.
    ///
    /// # Errors
    /// When it does not listen, or its options cannot be set.
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

    /// Listens to a Unix socket of somebody else, who keeps it.
    ///
    /// # Errors
    /// When it does not listen.
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

    /// Another listener on the same address. Of a TCP port of ours, the kernel divides whoever comes from now on
    /// among them (SO_REUSEPORT in socket(7)), so each must be asked. Any other socket they share, and all are told
    /// when somebody comes.
    ///
    /// # Errors
    /// What socket(2), bind(2), listen(2) and dup(2) say.
    pub fn duplicate(&self) -> io::Result<Self> {
        if let (Endpoint::Ip(address), SocketOwnership::Own) = (&self.address, &self.ownership) {
            // Only now, when the first one listens: two programs may bind a port at once before either
            // does (SO_REUSEADDR), and with this already set would then share it.
            set_socket_reuseport(self, true)?;
            let only_v6 = address.is_ipv6() && SockRef::from(self).only_v6()?;
            return Self::bind_tcp(*address, only_v6, true);
        }
        let socket = self.as_fd().try_clone_to_owned()?;
        let socket = match self.socket {
            ListenSocket::Tcp(_) => ListenSocket::Tcp(TcpListener::from_std(socket.into())),
            ListenSocket::Unix(_) => ListenSocket::Unix(UnixListener::from_std(socket.into())),
        };
        let keeper = match self.ownership {
            SocketOwnership::Inherited => SocketOwnership::Inherited,
            SocketOwnership::OwnWithFile(_) | SocketOwnership::Own => SocketOwnership::Own,
        };
        Ok(Self {
            socket,
            address: self.address.clone(),
            ownership: keeper,
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
        // Lets a restart bind while old connections are in TIME_WAIT. On Linux it does not let two
        // listeners have one port; SO_REUSEPORT does, if all of them have it and are one user's.
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

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Nobody else is to be accepted: the file of a Unix socket is removed, so that nobody else comes. Returns
    /// whether those who wait are ours; else they are the next process's, which is given the same socket.
    pub(super) fn stop_accepting(&mut self) -> bool {
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

    /// Whether somebody else keeps it, for who comes next.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self.ownership, SocketOwnership::Inherited)
    }

    /// Accepts one connection, if somebody is waiting.
    ///
    /// # Errors
    /// Only when the listening socket itself is unusable.
    pub(super) fn accept(&self) -> io::Result<AcceptOutcome> {
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
            // All others are about the connection that was to be accepted (accept(2)).
            Some(_) => Ok(AcceptOutcome::Lost(error)),
        }
    }
}

/// A kernel without a family has none of its addresses.
fn unsupported_family_as_unavailable(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::AFNOSUPPORT) => io::Error::new(ErrorKind::AddrNotAvailable, error),
        _ => error,
    }
}

/// Sets what every TCP connection that is accepted inherits.
fn set_options(socket: &impl AsFd) -> io::Result<()> {
    let options = SockRef::from(socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_notsent_lowat(NOTSENT_LOWAT_BYTES)?;
    // Who asks at once is accepted when that has arrived, so that one wake-up does for accepting, reading
    // and answering; who does not, when the kernel has asked once more whether it is there.
    Ok(setsockopt(socket, DeferAccept, &DEFER_ACCEPT_SECONDS)?)
}

fn require_listening(socket: &impl AsFd) -> io::Result<()> {
    match socket_acceptconn(socket)? {
        true => Ok(()),
        false => Err(io::Error::other("it does not listen")),
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

impl Source for Listener {
    fn register(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => socket.register(to, token, interests),
            ListenSocket::Unix(socket) => socket.register(to, token, interests),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => socket.reregister(to, token, interests),
            ListenSocket::Unix(socket) => socket.reregister(to, token, interests),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => socket.deregister(from),
            ListenSocket::Unix(socket) => socket.deregister(from),
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
        assert!(!socket_reuseport(&first).unwrap(), "alone");
        let another = first.duplicate().unwrap();
        assert_eq!(address(&another), address(&first));
        let error = Listener::bind(address(&first), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        // Who would share it with us is not asked, either.
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
        assert!(error.to_string().contains("does not listen"), "{error}");
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut first = Listener::bind_unix(Endpoint::Path(path.clone())).unwrap();
        let mut another = first.duplicate().unwrap();
        assert!(another.stop_accepting());
        let _peer = std::os::unix::net::UnixStream::connect(&path).unwrap();
        accepted(&another);
        assert!(first.stop_accepting() && !path.exists());
    }
}
