//! Socket activation: listening sockets passed by the service manager (sd_listen_fds(3)).

use std::fmt;
use std::io;

use listenfd::ListenFd;

use super::listener::Listener;

/// Error of [`activated_listeners`].
#[derive(Debug)]
pub enum ActivationError {
    /// No socket was passed to this process.
    NoSockets,
    /// The descriptor with this number and name is not a usable listening socket.
    Unusable(usize, Option<String>, io::Error),
}

/// Number of the first passed descriptor.
const SD_LISTEN_FDS_START: usize = 3;

/// Takes all sockets that were passed to this process by LISTEN_FDS and LISTEN_PID; a second call finds none. `names`
/// are those of LISTEN_FDNAMES, for error messages.
///
/// # Errors
/// [`ActivationError`]: no sockets were passed, or one is not a listening TCP or Unix stream socket.
pub fn activated_listeners(names: &[String]) -> Result<Vec<Listener>, ActivationError> {
    let mut handed = ListenFd::from_env();
    if handed.len() == 0 {
        return Err(ActivationError::NoSockets);
    }
    let taken = (0..handed.len()).map(|number| {
        let unfit = |error| {
            let name = names.get(number).filter(|name| !name.is_empty());
            ActivationError::Unusable(SD_LISTEN_FDS_START + number, name.cloned(), error)
        };
        take_listener(&mut handed, number).map_err(unfit)
    });
    taken.collect()
}

fn take_listener(handed: &mut ListenFd, number: usize) -> io::Result<Listener> {
    if let Ok(Some(socket)) = handed.take_tcp_listener(number) {
        return Listener::inherit_tcp(socket);
    }
    match handed.take_unix_listener(number) {
        Ok(Some(socket)) => Listener::inherit_unix(socket),
        // The error of `take_unix_listener` would only say that it is no Unix socket.
        _ => Err(io::Error::other("not a stream socket of TCP or Unix")),
    }
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSockets => f.write_str(
                "systemd passed no sockets (LISTEN_FDS is not set, or not for this process)",
            ),
            Self::Unusable(number, name, error) => {
                write!(f, "cannot listen on descriptor {number}")?;
                if let Some(name) = name {
                    write!(f, " ({name})")?;
                }
                write!(f, ", which systemd passed: {error}")
            }
        }
    }
}
