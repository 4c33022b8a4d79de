//! Notifications to the service manager that started this process (sd_notify(3)).

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

use sd_notify::NotifyState;
use tracing::warn;

/// Connection to the service manager; `None` if there is no service manager.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceManager(Option<Arc<UnixDatagram>>);

impl ServiceManager {
    /// Connects to the address in NOTIFY_SOCKET: a path, or `@` and the name of an abstract socket. It must be called
    /// before the sandbox, inside which a process cannot connect to an abstract socket. A failure is logged.
    pub(crate) fn connect(address: Option<&OsStr>) -> Self {
        let socket = address.filter(|it| !it.is_empty()).map(connect_socket);
        Self(socket.transpose().unwrap_or_else(|error| {
            warn_undelivered(&error);
            None
        }))
    }

    /// Sends states, if there is a service manager. A failure is logged.
    pub(crate) fn notify(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else {
            return;
        };
        let mut text = String::new();
        for state in states {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{state}");
        }
        if let Err(error) = socket.send(text.as_bytes()) {
            warn_undelivered(&error);
        }
    }
}

fn connect_socket(address: &OsStr) -> io::Result<Arc<UnixDatagram>> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(address),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address?)?;
    Ok(Arc::new(socket))
}

fn warn_undelivered(error: &io::Error) {
    warn!("cannot notify the service manager (NOTIFY_SOCKET): {error}");
}
