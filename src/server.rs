//! A reactor for each worker: start, stop, join.

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
use crate::site::{self, Compressor, Digests, PathResolver, Root, Site, Symlinks};

/// Threads that compress, beside all loops.
const COMPRESSOR_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is more than none");

/// The part of the memory for what was found that is for what was compressed.
const COMPRESSED_CACHE_DIVISOR: usize = 4;

/// Connections of those who ask how the server is doing.
const MAX_METRICS_CONNECTIONS: usize = 32;

/// How often another free port is tried for, when several addresses are to have the same.
const MAX_FREE_PORT_TRIES: usize = 16;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The document root.
    pub root: PathBuf,
    /// Where to listen. Never empty.
    pub binds: Vec<Bind>,
    /// The ports for addresses that say none, in the order in which they are tried. 0 is any free
    /// port, and then the same one for all.
    pub ports: Vec<u16>,
    /// Where symbolic links below the root may lead.
    pub symlinks: Symlinks,
    /// How the folder is turned into a site.
    pub site: site::SiteOptions,
    /// Whether files are compressed when that is asked for.
    pub compress: bool,
    /// Whether every file's entity tag is made from its content, however long it is.
    pub digest: bool,
    /// How long a peer may take to ask, and how much it may say.
    pub http1: http1::HttpOptions,
    /// Who says at first for whom it speaks; `None` is nobody.
    pub proxy: Option<proxy::ProxyHeaderOptions>,
    /// Who may see the site; `None` is everybody.
    pub users: Option<Users>,
    /// How many loops serve, each on a thread of its own.
    pub workers: NonZeroUsize,
    /// How much all of them together take on.
    pub limits: Limits,
    /// Where it is told how they are doing, if anywhere.
    pub metrics: Option<SocketAddr>,
}

impl ServerOptions {
    /// What each worker's site is made of: its share of the memory.
    fn site_options_per_worker(&self) -> site::SiteOptions {
        let workers = self.workers.get();
        site::SiteOptions {
            cache_memory: self.site.cache_memory / workers,
            cache_files: self.site.cache_files / workers,
            ..self.site.clone()
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// On an IP address.
    Ip {
        /// The IP address.
        ip: IpAddr,
        /// The zone of an IPv6 address: the name of an interface, or its number.
        zone: Option<String>,
        /// The port, if it is said for this address alone.
        port: Option<u16>,
        /// Whether a machine without this address may do without it.
        optional: bool,
    },
    /// At a Unix socket. The endpoint is no IP address.
    Unix(Endpoint),
    /// On the sockets that were handed over, with their names, as far as they have any.
    Activated(Vec<String>),
}

impl Bind {
    /// Whether a port is to be chosen for it.
    #[must_use]
    pub fn takes_port(&self) -> bool {
        matches!(self, Self::Ip { port: None, .. })
    }
}

/// Why a server does not start.
#[derive(Debug)]
pub enum StartError {
    /// The root is missing, no folder, or not ours to read.
    Root(PathBuf, io::Error),
    /// An address cannot be listened on.
    Bind(Endpoint, io::Error),
    /// There is no interface of the zone of this address.
    Zone(IpAddr, String, io::Error),
    /// Sockets were to be handed over, and were not.
    Activation(ActivationError),
    /// The one for metrics cannot.
    Metrics(SocketAddr, io::Error),
    /// The system has no descriptor for a loop, or no thread for the log.
    System(io::Error),
}

/// Sockets that listen: each worker has its own.
#[derive(Debug)]
pub struct BoundListeners {
    workers: Vec<Vec<Listener>>,
    /// Where it is told how the server is doing, and by whom.
    metrics: Option<(Listener, Metrics)>,
}

/// One loop, and what it speaks.
type WorkerReactor = Reactor<Proxied<Http1<Site>>>;

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// The one on the thread that calls [`run`](Self::run).
    first: WorkerReactor,
    others: Vec<WorkerReactor>,
    verifier: Option<Verifier>,
    metrics: Option<Reactor<Http1<Metrics>>>,
}

/// Stops a server, from any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle(Vec<net::ReactorHandle>);

impl ServerHandle {
    /// Tells each loop to accept nobody and to finish what is begun. May be called any number of
    /// times.
    pub fn stop(&self) {
        self.0.iter().for_each(net::ReactorHandle::stop);
    }

    /// The same, but what is begun is not finished: whoever is there is cut.
    pub fn abort(&self) {
        self.0.iter().for_each(net::ReactorHandle::abort);
    }
}

impl BoundListeners {
    /// Listens for all workers. No thread is started, and nothing else is bound later. Who comes before
    /// [`Server::run`] waits in a backlog.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left open then.
    pub fn listen(options: &ServerOptions) -> Result<Self, StartError> {
        let first = bind_all(&options.binds, &options.ports)?;
        let others = (1..options.workers.get()).map(|_| {
            let another = |first: &Listener| {
                let refused = |error| StartError::Bind(first.address().clone(), error);
                first.duplicate().map_err(refused)
            };
            first.iter().map(another).collect()
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
    /// Will serve `site` to whom comes to these sockets; further workers open the same root for themselves. Each
    /// answer is a line in `access_log`, if there is one.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left open then.
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
                    "there is no inotify for every worker (see fs.inotify.max_user_instances): \
                     some look at files by stat"
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

    /// Where it is told how it is doing, if anywhere.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.addresses().next()?.tcp()
    }

    /// The addresses listened on, with the ports that were chosen.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.first.addresses()
    }

    /// Who verifies passwords, if there are any: there the users can be replaced, from any thread.
    #[must_use]
    pub fn verifier(&self) -> Option<Verifier> {
        self.verifier.clone()
    }

    /// What stops this server, from any thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        server_handle(&self.first, &self.others)
    }

    /// Serves until [`ServerHandle::stop`], then finishes what is begun, until [`ServerHandle::abort`].
    ///
    /// # Errors
    /// When the poll or a listening socket of a worker fails, or a worker panics: then the others
    /// finish what is begun, too.
    pub fn run(self) -> io::Result<()> {
        let Some(mut metrics) = self.metrics else {
            return run_all(self.first, self.others);
        };
        // It is told to the end, also while what is begun is finished.
        let handle = metrics.handle();
        let run_metrics = move || {
            if let Err(error) = metrics.run() {
                error!("nothing is told under {} any more: {error}", metrics::PATH);
            }
        };
        let metrics_thread = thread::Builder::new()
            .name("metrics".into())
            .spawn(run_metrics)?;
        let served = run_all(self.first, self.others);
        handle.stop();
        // What it has panicked about is on standard error, and no reason to end otherwise.
        let _ = metrics_thread.join();
        served
    }
}

/// A loop that tells how the others are doing, to few, and to nobody for long.
fn metrics_reactor(
    listener: Listener,
    metrics: Metrics,
    limits: &Limits,
) -> Result<Reactor<Http1<Metrics>>, StartError> {
    let protocol = Http1::new(metrics, http1::HttpOptions::default(), None);
    let limits = Limits {
        connections: MAX_METRICS_CONNECTIONS,
        per_ip_limit: None,
        grace: Duration::from_secs(1),
        ..limits.clone()
    };
    let reactor = Reactor::new(protocol, limits).map_err(StartError::System)?;
    reactor.listen(listener).map_err(StartError::System)
}

/// One loop with all that it has.
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
    let mut protocol = Http1::new(site, options.http1.clone(), access_log);
    if let Some(verifier) = verifier {
        let auth = verifier.handle().map_err(StartError::System)?;
        wakers.push(auth.waker().map_err(StartError::System)?);
        protocol = protocol.with_auth(auth);
    }
    if let Some(counters) = &counters {
        protocol = protocol.with_counters(counters.http1.clone());
    }
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

/// Runs all of them, the first on this thread, until all have ended.
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
            // What is caught below cannot come up here.
            thread.join().unwrap_or_else(|_| Err(panicked()))
        };
        spawned.into_iter().map(join).fold(ended, io::Result::and)
    })
}

/// Runs one of them. Where it fails, the others must not go on: whoever is given to this one by the
/// kernel would not be served.
fn run_worker<P: Protocol>(mut reactor: Reactor<P>, all: &ServerHandle) -> io::Result<()> {
    let ended = catch_unwind(AssertUnwindSafe(move || reactor.run()));
    let ended = ended.unwrap_or_else(|_| Err(panicked()));
    if let Err(error) = &ended {
        error!("a worker has failed, and all finish what is begun: {error}");
        all.stop();
    }
    ended
}

fn panicked() -> io::Error {
    io::Error::other("a worker has panicked")
}

/// Makes a site of the open root, and starts what compresses and what reads files for their tags, for all workers' sites.
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
            "openat2 is not to be had here: every path is walked step by step, which takes longer"
        );
    }
    Ok(Site::new(disk, options.site_options_per_worker()))
}

/// Opens the root.
///
/// # Errors
/// [`StartError::Root`].
pub fn open_root(options: &ServerOptions) -> Result<Root, StartError> {
    Root::open(&options.root, &options.symlinks)
        .map_err(|(folder, error)| StartError::Root(folder, error))
}

/// Listens on all addresses, with the first of the ports that all of them can have.
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
                    debug!("{address}: {error}");
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
        // "[::]" takes IPv4 as well, unless somebody else here is to have that, at the same port.
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
                debug!("{address} is left out: {error}");
            }
            Err(error) => return Err(StartError::Bind(address.into(), error)),
        }
    }
    Ok(listeners)
}

fn bind_or_fall_back_to_ipv4(address: SocketAddr, only_v6: bool) -> io::Result<Listener> {
    match Listener::bind(address, only_v6) {
        // "[::]" means every address, and a machine without IPv6, as in many containers, has some.
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && !only_v6
                && is_address_unavailable(&error) =>
        {
            let instead = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!("there is no IPv6 here ({error}): {instead} is listened on instead of {address}");
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
                    io::ErrorKind::NotFound => "name an existing folder",
                    io::ErrorKind::NotADirectory => "name the folder, not a file in it",
                    io::ErrorKind::PermissionDenied => {
                        "let this user read it, or run as one who may"
                    }
                    io::ErrorKind::Unsupported => "name the places with --symlink-root",
                    _ => "check the folder",
                };
                write!(f, "cannot serve {}: {error}; {hint}", root.display())
            }
            Self::Bind(address @ (Endpoint::Path(_) | Endpoint::Name(_)), error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another program listens there (see who: ss -xlp), or it is no socket; \
                         stop it or name another path"
                    }
                    io::ErrorKind::NotFound => "make its folder first",
                    io::ErrorKind::PermissionDenied => {
                        "let this user write to its folder, or name another path"
                    }
                    io::ErrorKind::InvalidInput => "name a shorter path, of up to 107 bytes",
                    _ => "name another path",
                };
                write!(f, "cannot listen on {address}: {error}; {hint}")
            }
            Self::Zone(ip, zone, error) => write!(
                f,
                "cannot listen on {ip}%{zone}: there is no interface {zone} ({error}); \
                 see which there are: ip link"
            ),
            Self::Activation(error) => error.fmt(f),
            Self::Metrics(address, error) => write!(
                f,
                "cannot listen on {address} for --metrics: {error}; choose another address"
            ),
            Self::Bind(address, error) => {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse => {
                        "another program listens there (see who: ss -ltnp), \
                         stop it or choose another port with --port"
                    }
                    io::ErrorKind::PermissionDenied => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE, choose another with --port"
                    }
                    io::ErrorKind::AddrNotAvailable => {
                        "this machine has no such address, choose another with --bind"
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

    /// Whom it panics to meet.
    struct PanicsOnAccept(bool);

    impl Protocol for PanicsOnAccept {
        type Session = ();

        fn on_accept(&mut self, _: &Peer) {
            assert!(!self.0, "somebody has come, as was to be expected");
        }

        fn on_ready(&mut self, (): &mut (), _: &mut Io<'_>) -> Next {
            Next::Close
        }
    }

    #[test]
    fn panicking_worker_stops_all() {
        for timid in 0..3 {
            let mut reactors = Vec::new();
            let mut addresses = Vec::new();
            for number in 0..3 {
                let listener = Listener::bind(([127, 0, 0, 1], 0).into(), false).unwrap();
                addresses.push(address_of(&listener));
                let protocol = PanicsOnAccept(number == timid);
                let reactor = Reactor::new(protocol, Limits::default()).unwrap();
                reactors.push(reactor.listen(listener).unwrap());
            }
            let first = reactors.remove(0);
            let _peer = TcpStream::connect(addresses[timid]).unwrap();
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
        // A machine without IPv6 has nothing to show here.
        let Ok(both) = both else { return };
        let port = address_of(&both[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(
            bind_all(&[bind("::"), bind("0.0.0.0")], &[0])
                .unwrap()
                .len(),
            2
        );
        // At another port, nobody else is in the way.
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
