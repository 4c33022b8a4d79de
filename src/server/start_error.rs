//! Errors that prevent a server from starting, with what to do about them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::net::{ActivationError, Endpoint};

/// Error that prevents a server from starting.
#[derive(Debug)]
pub enum StartError {
    /// The root is missing, is not a directory, or cannot be read.
    Root(PathBuf, io::Error),
    /// An address cannot be listened on.
    Bind(Endpoint, io::Error),
    /// No interface matches the zone of this address.
    Zone(IpAddr, String, io::Error),
    /// Socket activation failed.
    Activation(ActivationError),
    /// The metrics address cannot be listened on.
    Metrics(SocketAddr, io::Error),
    /// The system has no descriptor for an event loop, or no thread for the log.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root, error) => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound => "name an existing directory",
                    io::ErrorKind::NotADirectory => "name the directory, not a file in it",
                    io::ErrorKind::PermissionDenied => {
                        "let this user read it, or run docroot as another user"
                    }
                    io::ErrorKind::Unsupported => {
                        "name the directories that links may lead to with --symlink-root"
                    }
                    _ => "check the directory",
                };
                write!(f, "cannot serve {}: {error}; {hint}", root.display())
            }
            Self::Bind(address @ (Endpoint::Path(_) | Endpoint::Name(_)), error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another program listens there (ss -xlp shows it), or it is not a socket; \
                         stop that program or name another path"
                    }
                    io::ErrorKind::NotFound => "create its directory first",
                    io::ErrorKind::PermissionDenied => {
                        "let this user write to its directory, or name another path"
                    }
                    io::ErrorKind::InvalidInput => "name a shorter path, of up to 107 bytes",
                    _ => "name another path",
                };
                write!(f, "cannot listen on {address}: {error}; {hint}")
            }
            Self::Zone(ip, zone, error) => write!(
                f,
                "cannot listen on {ip}%{zone}: there is no interface {zone} ({error}); \
                 ip link lists them"
            ),
            Self::Activation(error) => error.fmt(f),
            Self::Metrics(address, error) => write!(
                f,
                "cannot listen on {address} for --metrics: {error}; choose another address"
            ),
            Self::Bind(address, error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another program listens there (ss -ltnp shows it); \
                         stop that program or choose another port with --port"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE; choose another with --port"
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        "this machine has no such address; choose another with --bind"
                    }
                    _ => "choose another address with --bind",
                };
                write!(f, "cannot listen on {address}: {error}; {hint}")
            }
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Root(_, error)
            | Self::Bind(_, error)
            | Self::Zone(_, _, error)
            | Self::Metrics(_, error)
            | Self::System(error) => Some(error),
            Self::Activation(_) => None,
        }
    }
}
