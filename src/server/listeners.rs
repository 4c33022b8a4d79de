//! Listening sockets of a server: bound before any thread starts.

use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use tracing::{debug, warn};

use super::metrics::page::Metrics;
use super::options::{Bind, ServerOptions};
use super::start_error::StartError;
use crate::net::{self, Listener};

/// Attempts to find a free port that several addresses can share.
const MAX_FREE_PORT_TRIES: usize = 16;

/// Listening sockets of all workers and of the metrics.
#[derive(Debug)]
pub struct BoundListeners {
    pub(super) workers: Vec<Vec<Listener>>,
    /// Listener of the metrics page, and its origin.
    pub(super) metrics: Option<(Listener, Metrics)>,
}

impl BoundListeners {
    /// Binds the listeners of all workers and of the metrics. Starts no thread, and nothing is bound later. Connections
    /// that arrive before [`Server::run`](super::Server::run) wait in a backlog.
    ///
    /// # Errors
    /// [`StartError`]. No socket is left open then.
    pub fn listen(options: &ServerOptions) -> Result<Self, StartError> {
        let first = bind_all(&options.binds, &options.ports)?;
        let others = (1..options.workers.get()).map(|_| {
            let duplicate = |first: &Listener| {
                let refused = |error| StartError::Bind(first.address().clone(), error);
                first.duplicate().map_err(refused)
            };
            first.iter().map(duplicate).collect()
        });
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let metrics = options.metrics.map(|address| {
            let listener = bind_or_fall_back_to_ipv4(address, false);
            let listener = listener.map_err(|error| StartError::Metrics(address, error))?;
            Ok((listener, Metrics::new(options.workers.get())))
        });
        Ok(Self {
            workers: iter::once(first).chain(others).collect(),
            metrics: metrics.transpose()?,
        })
    }
}

/// Listens on all addresses, with the first port that is free on all of them.
fn bind_all(binds: &[Bind], ports: &[u16]) -> Result<Vec<Listener>, StartError> {
    let mut listeners = bind_first_free_port(binds, ports)?;
    for bind in binds {
        match bind {
            Bind::Ip { .. } => {}
            Bind::Unix(endpoint) => {
                let refused = |error| StartError::Bind(endpoint.clone(), error);
                listeners.push(Listener::bind_unix(endpoint.clone()).map_err(refused)?);
            }
            Bind::Activated(names) => {
                listeners.extend(net::activated_listeners(names).map_err(StartError::Activation)?);
            }
        }
    }
    Ok(listeners)
}

fn bind_first_free_port(binds: &[Bind], ports: &[u16]) -> Result<Vec<Listener>, StartError> {
    let mut busy = None;
    for &port in ports {
        let tries = if port == 0 { MAX_FREE_PORT_TRIES } else { 1 };
        for _ in 0..tries {
            match bind_on_port(binds, port) {
                Err(StartError::Bind(address, error))
                    if error.kind() == io::ErrorKind::AddrInUse =>
                {
                    debug!("cannot listen on {address}: {error}");
                    busy.get_or_insert(StartError::Bind(address, error));
                }
                listening => return listening,
            }
        }
    }
    let nothing = || StartError::System(io::Error::other("no port was given"));
    Err(busy.unwrap_or_else(nothing))
}

fn bind_on_port(binds: &[Bind], shared: u16) -> Result<Vec<Listener>, StartError> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut chosen = shared;
    for bind in binds {
        let Bind::Ip {
            ip,
            zone,
            port,
            optional,
        } = bind
        else {
            continue;
        };
        let address = socket_address(*ip, zone.as_deref(), port.unwrap_or(chosen))?;
        // "[::]" accepts IPv4 as well, unless another listener is for IPv4 on the same port.
        let only_v6 = binds.iter().any(|bind| {
            matches!(bind, Bind::Ip { ip, port, .. }
                if ip.is_ipv4() && port.unwrap_or(chosen) == address.port())
        });
        match bind_or_fall_back_to_ipv4(address, only_v6) {
            Ok(listener) => {
                let found = listener.address().tcp().filter(|_| port.is_none());
                chosen = found.map_or(chosen, |found| found.port());
                listeners.push(listener);
            }
            Err(error) if *optional && is_address_unavailable(&error) => {
                debug!("not listening on {address}: {error}");
            }
            Err(error) => return Err(StartError::Bind(address.into(), error)),
        }
    }
    Ok(listeners)
}

fn bind_or_fall_back_to_ipv4(address: SocketAddr, only_v6: bool) -> io::Result<Listener> {
    match Listener::bind(address, only_v6) {
        // "[::]" means every address, and a machine without IPv6, such as many containers, has IPv4 addresses.
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && !only_v6
                && is_address_unavailable(&error) =>
        {
            let instead = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!("no IPv6 on this machine ({error}): listening on {instead} instead of {address}");
            Listener::bind(instead, false)
        }
        listener => listener,
    }
}

fn is_address_unavailable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

fn socket_address(ip: IpAddr, zone: Option<&str>, port: u16) -> Result<SocketAddr, StartError> {
    match (ip, zone) {
        (IpAddr::V6(v6), Some(zone)) => {
            let unknown = |error| StartError::Zone(ip, zone.to_owned(), error);
            let number = net::zone_index(zone).map_err(unknown)?;
            Ok(SocketAddrV6::new(v6, port, 0, number).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn address_of(listener: &Listener) -> SocketAddr {
        listener.address().tcp().unwrap()
    }

    fn bind(ip: &str) -> Bind {
        Bind::Ip {
            ip: ip.parse().unwrap(),
            zone: None,
            port: None,
            optional: false,
        }
    }

    #[test]
    fn addresses_share_a_free_port() {
        let listeners = bind_all(&[bind("127.0.0.1"), bind("127.0.0.2")], &[0]).unwrap();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|each| address_of(each).port())
            .collect();
        assert_eq!(ports[0], ports[1]);
        assert_ne!(ports[0], 0);
    }

    #[test]
    fn busy_port_is_skipped_or_named() {
        let busy_listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = busy_listener.local_addr().unwrap().port();
        let free = bind_all(&[bind("127.0.0.1")], &[busy, 0]).unwrap();
        assert_ne!(address_of(&free[0]).port(), busy);
        let error = bind_all(&[bind("127.0.0.1")], &[busy]).unwrap_err();
        let message = error.to_string();
        // The command line adds the hint.
        assert!(message.contains(&format!("127.0.0.1:{busy}")), "{message}");
        drop(busy_listener);
    }

    #[test]
    fn optional_address_may_be_unavailable() {
        let missing = bind("192.0.2.1");
        let mut optional = missing.clone();
        if let Bind::Ip { optional, .. } = &mut optional {
            *optional = true;
        }
        assert_eq!(
            bind_all(&[bind("127.0.0.1"), optional], &[0])
                .unwrap()
                .len(),
            1
        );
        assert!(matches!(
            bind_all(&[missing], &[0]),
            Err(StartError::Bind(..))
        ));
    }

    #[test]
    fn ipv6_wildcard_is_dual_stack_unless_ipv4_is_bound() {
        let both = bind_all(&[bind("::")], &[0]);
        // A machine without IPv6 cannot run this test.
        let Ok(both) = both else { return };
        let port = address_of(&both[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(
            bind_all(&[bind("::"), bind("0.0.0.0")], &[0])
                .unwrap()
                .len(),
            2
        );
        // An IPv4 listener on another port does not matter.
        let busy_listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = busy_listener.local_addr().unwrap().port();
        drop(busy_listener);
        let mut elsewhere = bind("127.0.0.1");
        if let Bind::Ip { port, .. } = &mut elsewhere {
            *port = Some(other);
        }
        let apart = bind_all(&[bind("::"), elsewhere], &[0]).unwrap();
        let port = address_of(&apart[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}
