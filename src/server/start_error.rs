//! Errors that prevent a server from starting.

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
            Self::Root(root, error) => write!(f, "cannot serve {}: {error}", root.display()),
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Zone(ip, zone, error) => write!(
                f,
                "cannot listen on {ip}%{zone}: there is no interface {zone} ({error})"
            ),
            Self::Activation(error) => error.fmt(f),
            Self::Metrics(address, error) => {
                write!(f, "cannot listen on {address} for metrics: {error}")
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
