//! Messages of the errors that prevent a server from starting, with hints that name options.

use std::borrow::Cow;
use std::io;

use docroot::net::{ActivationError, Endpoint};
use docroot::server::StartError;

use super::options;

/// Returns the message of an error, and a hint.
pub(super) fn message(error: &StartError) -> String {
    let hint: Cow<'_, str> = match error {
        StartError::Root(root, why) => match options::root_hint(root) {
            Some(hint) => hint.into(),
            None => root_hint(why.kind()).into(),
        },
        StartError::Bind(Endpoint::Path(_) | Endpoint::Name(_), why) => {
            unix_socket_hint(why.kind()).into()
        }
        StartError::Bind(_, why) => address_hint(why.kind()).into(),
        StartError::Zone(..) => "ip link lists them".into(),
        StartError::Activation(ActivationError::NoSockets) => {
            "start docroot by a .socket unit, or name an address with --bind".into()
        }
        StartError::Activation(ActivationError::Unusable(..)) => {
            "a .socket unit needs ListenStream= and Accept=no".into()
        }
        StartError::Metrics(address, why) => {
            return format!(
                "cannot listen on {address} for --metrics: {why}; choose another address"
            );
        }
        StartError::System(_) => return error.to_string(),
    };
    format!("{error}; {hint}")
}

const fn root_hint(why: io::ErrorKind) -> &'static str {
    match why {
        io::ErrorKind::NotFound => "name an existing directory",
        io::ErrorKind::NotADirectory => "name the directory, not a file in it",
        io::ErrorKind::PermissionDenied => "let this user read it, or run docroot as another user",
        io::ErrorKind::Unsupported => {
            "name the directories that links may lead to with --symlink-root"
        }
        _ => "check the directory",
    }
}

const fn unix_socket_hint(why: io::ErrorKind) -> &'static str {
    match why {
        io::ErrorKind::AddrInUse => {
            "another program listens there (ss -xlp shows it), or it is not a socket; stop that program or name \
             another path"
        }
        io::ErrorKind::NotFound => "create its directory first",
        io::ErrorKind::PermissionDenied => {
            "let this user write to its directory, or name another path"
        }
        io::ErrorKind::InvalidInput => "name a shorter path, of up to 107 bytes",
        _ => "name another path",
    }
}

const fn address_hint(why: io::ErrorKind) -> &'static str {
    match why {
        io::ErrorKind::AddrInUse => {
            "another program listens there (ss -ltnp shows it); stop that program or choose another port with --port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; choose another with --port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose another with --bind"
        }
        _ => "choose another address with --bind",
    }
}
