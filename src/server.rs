//! Server: binds listeners, starts one reactor per worker, and stops and joins them.

use std::fmt;
use std::io;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracing::{debug, error, warn};

use crate::auth::{Users, Verifier};
use crate::http1::{self, Http1};
use crate::line_writer::LineWriter;
use crate::metrics::{self, Metrics};
use crate::net::{self, ActivationError, Endpoint, Limits, Listener, Protocol, Reactor};
use crate::proxy::{self, Proxied};
use crate::service::{Service, ServiceOptions};
use crate::site::{self, Compressor, Digests, PathResolver, Root, Site, Symlinks};

/// Threads that compress in the background, for all workers together.
const COMPRESSOR_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is more than none");

/// Divisor of the cache's memory that gives the share of compressed files.
const COMPRESSED_CACHE_DIVISOR: usize = 4;

/// Maximum connections of the metrics listener.
const MAX_METRICS_CONNECTIONS: usize = 32;

/// Attempts to find a free port that several addresses can share.
const MAX_FREE_PORT_TRIES: usize = 16;

/// Options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Document root.
    pub root: PathBuf,
    /// Addresses to listen on. Never empty.
    pub binds: Vec<Bind>,
    /// Ports for addresses without one, in the order in which they are tried. 0 is any free port, the same one for all
    /// addresses.
    pub ports: Vec<u16>,
    /// Policy for symbolic links below the root.
    pub symlinks: Symlinks,
    /// Options of the site.
    pub site: site::SiteOptions,
    /// Whether files are compressed for clients that accept it.
    pub compress: bool,
    /// Whether the entity tag of every file is computed from its content, however long it is.
    pub digest: bool,
    /// Timeouts and size limits of requests.
    pub http1: http1::HttpOptions,
    /// Policies for requests.
    pub service: ServiceOptions,
    /// Peers that send a PROXY header first; `None` is no peer.
    pub proxy: Option<proxy::ProxyHeaderOptions>,
    /// Users that may request the site; `None` means no authentication.
    pub users: Option<Users>,
    /// Number of workers, each of which is an event loop on its own thread.
    pub workers: NonZeroUsize,
    /// Limits of all workers together.
    pub limits: Limits,
    /// Address of the metrics listener, if there is one.
    pub metrics: Option<SocketAddr>,
}

impl ServerOptions {
    /// Returns the options of one worker's site, with its share of the memory.
    fn site_options_per_worker(&self) -> site::SiteOptions {
        let workers = self.workers.get();
        site::SiteOptions {
            cache_memory: self.site.cache_memory / workers,
            cache_files: self.site.cache_files / workers,
            ..self.site.clone()
        }
    }
}

/// Address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// IP address.
    Ip {
        /// Address.
        ip: IpAddr,
        /// Zone of an IPv6 address: the name of an interface, or its index.
        zone: Option<String>,
        /// Port, if this address has its own.
        port: Option<u16>,
        /// Whether the address is left out on a machine that does not have it.
        optional: bool,
    },
    /// Unix socket. The endpoint is never an IP address.
    Unix(Endpoint),
    /// Sockets passed by socket activation, with the names of those that have one.
    Activated(Vec<String>),
}

impl Bind {
    /// Whether a port must be chosen for this address.
    #[must_use]
    pub fn takes_port(&self) -> bool {
        matches!(self, Self::Ip { port: None, .. })
    }
}

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

/// Listening sockets of all workers and of the metrics.
#[derive(Debug)]
pub struct BoundListeners {
    workers: Vec<Vec<Listener>>,
    /// Listener of the metrics page, and its origin.
    metrics: Option<(Listener, Metrics)>,
}

/// Reactor of a worker, with its protocol.
type WorkerReactor = Reactor<Proxied<Http1<Site>>>;

/// A server with bound listeners, ready to [`run`](Self::run).
#[derive(Debug)]
pub struct Server {
    /// Worker that runs on the thread that calls [`run`](Self::run).
    first: WorkerReactor,
    others: Vec<WorkerReactor>,
    verifier: Option<Verifier>,
    metrics: Option<Reactor<Http1<Metrics>>>,
}

/// Handle that stops a server from any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle(Vec<net::ReactorHandle>);

impl ServerHandle {
    /// Makes all workers stop accepting and let their connections finish. May be called any number of times.
    pub fn stop(&self) {
        self.0.iter().for_each(net::ReactorHandle::stop);
    }

    /// Makes all workers close their connections without letting them finish.
    pub fn abort(&self) {
        self.0.iter().for_each(net::ReactorHandle::abort);
    }
}

impl BoundListeners {
    /// Binds the listeners of all workers and of the metrics. Starts no thread, and nothing is bound later. Connections
    /// that arrive before [`Server::run`] wait in a backlog.
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

impl Server {
    /// Creates a server of `site` on these sockets. The other workers open the root again for their own sites. Each
    /// response is a line in `access_log`, if there is one.
    ///
    /// # Errors
    /// [`StartError`]. No socket is left open then.
    pub fn new(
        site: Site,
        sockets: BoundListeners,
        options: &ServerOptions,
        access_log: Option<LineWriter>,
    ) -> Result<Self, StartError> {
        let metrics = sockets.metrics;
        let mut sockets = sockets.workers.into_iter();
        let listeners = sockets.next().unwrap_or_default();
        let freshness = site.freshness();
        let users = options.users.clone();
        let verifier = users.map(|users| Verifier::new(users, options.workers));
        let verifier = verifier.transpose().map_err(StartError::System)?;
        let verifier = verifier.as_ref();
        let metrics = metrics.map(|(listener, mut metrics)| {
            metrics.compressor = options.site.compressor.clone();
            metrics.verifier = verifier.cloned();
            metrics.log = access_log.as_ref().map(LineWriter::handle);
            (listener, metrics)
        });
        let counters = |number| Some(metrics.as_ref()?.1.worker_counters(number));
        let others = (1..).zip(sockets).map(|(number, listeners)| {
            let access_log = access_log.as_ref().map(LineWriter::duplicate);
            let site = Site::new(open_root(options)?, options.site_options_per_worker());
            if site.freshness() != freshness {
                warn!(
                    "cannot start inotify for every worker (see fs.inotify.max_user_instances): some check files \
                     by stat"
                );
            }
            worker_reactor(
                site,
                listeners,
                options,
                verifier,
                access_log,
                counters(number),
            )
        });
        let others = others.collect::<Result<_, _>>()?;
        let first = worker_reactor(site, listeners, options, verifier, access_log, counters(0))?;
        if let Some(live) = &options.site.live_reload {
            live.watch(open_root(options)?, options.site.shows_hidden)
                .map_err(StartError::System)?;
        }
        let run_metrics = |(listener, metrics)| metrics_reactor(listener, metrics, &options.limits);
        Ok(Self {
            first,
            others,
            verifier: verifier.cloned(),
            metrics: metrics.map(run_metrics).transpose()?,
        })
    }

    /// Returns the address of the metrics listener, if there is one.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.addresses().next()?.tcp()
    }

    /// Returns the addresses of the listeners, with the chosen ports.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.first.addresses()
    }

    /// Returns the password verifier, if there are users. It can replace the users, from any thread.
    #[must_use]
    pub fn verifier(&self) -> Option<Verifier> {
        self.verifier.clone()
    }

    /// Returns a handle that stops this server from any thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        server_handle(&self.first, &self.others)
    }

    /// Serves until [`ServerHandle::stop`]. Then connections may finish until [`ServerHandle::abort`].
    ///
    /// # Errors
    /// When the poll or a listening socket of a worker fails, or a worker panics: then the other workers stop and let
    /// their connections finish.
    pub fn run(self) -> io::Result<()> {
        let Some(mut metrics) = self.metrics else {
            return run_all(self.first, self.others);
        };
        // The metrics are served until the last worker has ended, also during the shutdown.
        let handle = metrics.handle();
        let run_metrics = move || {
            if let Err(error) = metrics.run() {
                error!("{} is not served any more: {error}", metrics::PATH);
            }
        };
        let metrics_thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(run_metrics)?;
        let served = run_all(self.first, self.others);
        handle.stop();
        // A panic of this thread is reported on standard error, and does not change the result.
        let _ = metrics_thread.join();
        served
    }
}

/// Creates the reactor of the metrics listener, with few connections and a short grace period.
fn metrics_reactor(
    listener: Listener,
    metrics: Metrics,
    limits: &Limits,
) -> Result<Reactor<Http1<Metrics>>, StartError> {
    let service = Service::new(metrics, ServiceOptions::default(), None);
    let protocol = Http1::new(service, http1::HttpOptions::default());
    let limits = Limits {
        connections: MAX_METRICS_CONNECTIONS,
        per_ip_limit: None,
        grace: Duration::from_secs(1),
        ..limits.clone()
    };
    let reactor = Reactor::new(protocol, limits).map_err(StartError::System)?;
    reactor.listen(listener).map_err(StartError::System)
}

/// Creates the reactor of a worker, with its protocol, wakers and listeners.
fn worker_reactor(
    site: Site,
    listeners: Vec<Listener>,
    options: &ServerOptions,
    verifier: Option<&Verifier>,
    access_log: Option<LineWriter>,
    counters: Option<metrics::WorkerCounters>,
) -> Result<WorkerReactor, StartError> {
    let mut wakers = Vec::new();
    wakers.extend(site.event_fd().map_err(StartError::System)?);
    if let Some(live) = &options.site.live_reload {
        wakers.push(live.new_waker().map_err(StartError::System)?);
    }
    let site = match &counters {
        Some(counters) => site.with_cached_bytes_counter(counters.cache_bytes.clone()),
        None => site,
    };
    let mut service = Service::new(site, options.service.clone(), access_log);
    if let Some(verifier) = verifier {
        let auth = verifier.handle().map_err(StartError::System)?;
        wakers.push(auth.waker().map_err(StartError::System)?);
        service = service.with_auth(auth);
    }
    if let Some(counters) = &counters {
        service = service.with_counters(counters.http1.clone());
    }
    let protocol = Http1::new(service, options.http1.clone());
    let mut protocol = Proxied::new(protocol, options.proxy.clone());
    if let Some(counters) = &counters {
        protocol = protocol.with_counters(counters.proxy.clone());
    }
    let limits = options.limits.divided_by(options.workers.get());
    let mut reactor = Reactor::new(protocol, limits).map_err(StartError::System)?;
    if let Some(counters) = counters {
        reactor = reactor.with_counters(counters.net);
    }
    for waker in wakers {
        reactor = reactor.register_waker(waker).map_err(StartError::System)?;
    }
    for listener in listeners {
        reactor = reactor.listen(listener).map_err(StartError::System)?;
    }
    Ok(reactor)
}

fn server_handle<P: Protocol>(first: &Reactor<P>, others: &[Reactor<P>]) -> ServerHandle {
    let all = iter::once(first).chain(others);
    ServerHandle(all.map(Reactor::handle).collect())
}

/// Runs all reactors, the first one on this thread, until all have ended.
fn run_all<P>(first: Reactor<P>, others: Vec<Reactor<P>>) -> io::Result<()>
where
    P: Protocol<Session: Send> + Send,
{
    let all = &server_handle(&first, &others);
    thread::scope(|scope| {
        let mut spawned = Vec::new();
        for (number, reactor) in (2..).zip(others) {
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            match thread.spawn_scoped(scope, move || run_worker(reactor, all)) {
                Ok(thread) => spawned.push(thread),
                Err(error) => {
                    all.stop();
                    return Err(error);
                }
            }
        }
        let ended = run_worker(first, all);
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            // `run_worker` catches panics, so `join` does not fail.
            thread.join().unwrap_or_else(|_| Err(panicked()))
        };
        spawned.into_iter().map(join).fold(ended, io::Result::and)
    })
}

/// Runs one reactor. If it fails, all workers are stopped: the kernel would go on to assign new connections to its
/// listener, and they would not be served.
fn run_worker<P: Protocol>(mut reactor: Reactor<P>, all: &ServerHandle) -> io::Result<()> {
    let ended = catch_unwind(AssertUnwindSafe(move || reactor.run()));
    let ended = ended.unwrap_or_else(|_| Err(panicked()));
    if let Err(error) = &ended {
        error!(
            "a worker thread failed: {error}; stopping when the responses in flight are finished"
        );
        all.stop();
    }
    ended
}

fn panicked() -> io::Error {
    io::Error::other("a worker thread panicked")
}

/// Creates a site of the open root, and starts the compressor and the digests of all workers' sites, as far as
/// `options` say.
///
/// # Errors
/// [`StartError::System`].
pub fn open_site(disk: Root, options: &mut ServerOptions) -> Result<Site, StartError> {
    if options.compress {
        let budget = options.site.cache_memory / COMPRESSED_CACHE_DIVISOR;
        let compressor =
            Compressor::start(COMPRESSOR_THREADS, budget).map_err(StartError::System)?;
        options.site.compressor = Some(compressor);
        options.site.cache_memory -= budget;
    }
    if options.digest {
        options.site.digests = Some(Digests::start().map_err(StartError::System)?);
    }
    if disk.resolver() == PathResolver::ComponentWalk {
        warn!(
            "openat2 is missing (Linux before 5.6, or a seccomp filter): paths are opened step by step, which is slower"
        );
    }
    Ok(Site::new(disk, options.site_options_per_worker()))
}

/// Opens the document root.
///
/// # Errors
/// [`StartError::Root`].
pub fn open_root(options: &ServerOptions) -> Result<Root, StartError> {
    Root::open(&options.root, &options.symlinks)
        .map_err(|(path, error)| StartError::Root(path, error))
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::{Io, Next, Peer};

    #[test]
    fn proxied_session_is_no_larger() {
        type Session<P> = <P as Protocol>::Session;
        let (plain, proxied) = (
            size_of::<Session<Http1<Site>>>(),
            size_of::<Session<Proxied<Http1<Site>>>>(),
        );
        assert!(proxied <= plain.max(96), "{proxied} bytes, and {plain}");
    }

    /// Protocol that panics when it accepts a connection, if the field is `true`.
    struct PanicsOnAccept(bool);

    impl Protocol for PanicsOnAccept {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {
            assert!(!self.0, "expected panic: a connection was accepted");
        }

        fn on_ready(&mut self, (): &mut (), _: &mut Io<'_>) -> Next {
            Next::Close
        }
    }

    #[test]
    fn panicking_worker_stops_all() {
        for panicking in 0..3 {
            let mut reactors = Vec::new();
            let mut addresses = Vec::new();
            for number in 0..3 {
                let listener = Listener::bind(([127, 0, 0, 1], 0).into(), false).unwrap();
                addresses.push(address_of(&listener));
                let protocol = PanicsOnAccept(number == panicking);
                let reactor = Reactor::new(protocol, Limits::default()).unwrap();
                reactors.push(reactor.listen(listener).unwrap());
            }
            let first = reactors.remove(0);
            let _peer = TcpStream::connect(addresses[panicking]).unwrap();
            let error = run_all(first, reactors).unwrap_err();
            assert!(error.to_string().contains("panicked"), "{error}");
            assert!(addresses.iter().all(|it| TcpStream::connect(it).is_err()));
        }
    }

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
        assert!(
            message.contains(&format!("127.0.0.1:{busy}")) && message.contains("ss -ltnp"),
            "{message}"
        );
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
