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
use crate::journal::Journal;
use crate::metrics::{self, Metrics};
use crate::net::{self, Endpoint, Limits, Listener, NotActivated, Protocol, Reactor};
use crate::proxy::{self, Proxied};
use crate::site::{self, Compressor, Digests, Disk, Resolution, Site, Symlinks};

/// Threads that compress, beside all loops.
const COMPRESSORS: NonZeroUsize = NonZeroUsize::new(2).expect("two is more than none");

/// The part of the memory for what was found that is for what was compressed.
const COMPRESSED: usize = 4;

/// Connections of those who ask how the server is doing.
const TELLING: usize = 32;

/// How often another free port is tried for, when several addresses are to have the same.
const TRIES: usize = 16;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Options {
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
    pub site: site::Options,
    /// Whether files are compressed when that is asked for.
    pub compress: bool,
    /// Whether every file's entity tag is made from its content, however long it is.
    pub digest: bool,
    /// How long a peer may take to ask, and how much it may say.
    pub http1: http1::Options,
    /// Who says at first for whom it speaks; `None` is nobody.
    pub proxy: Option<proxy::Options>,
    /// Who may see the site; `None` is everybody.
    pub users: Option<Users>,
    /// How many loops serve, each on a thread of its own.
    pub workers: NonZeroUsize,
    /// How much all of them together take on.
    pub limits: Limits,
    /// Where it is told how they are doing, if anywhere.
    pub metrics: Option<SocketAddr>,
}

impl Options {
    /// What each worker's site is made of: its share of the memory.
    fn site_of_one(&self) -> site::Options {
        let workers = self.workers.get();
        site::Options {
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
pub enum Error {
    /// The root is missing, no folder, or not ours to read.
    Root(PathBuf, io::Error),
    /// An address cannot be listened on.
    Bind(Endpoint, io::Error),
    /// There is no interface of the zone of this address.
    Zone(IpAddr, String, io::Error),
    /// Sockets were to be handed over, and were not.
    Activation(NotActivated),
    /// The one for metrics cannot.
    Metrics(SocketAddr, io::Error),
    /// The system has no descriptor for a loop, or no thread for the log.
    System(io::Error),
}

/// Sockets that listen: each worker has its own.
#[derive(Debug)]
pub struct Sockets {
    workers: Vec<Vec<Listener>>,
    /// Where it is told how the server is doing, and by whom.
    metrics: Option<(Listener, Metrics)>,
}

/// One loop, and what it speaks.
type Worker = Reactor<Proxied<Http1<Site>>>;

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// The one on the thread that calls [`run`](Self::run).
    first: Worker,
    others: Vec<Worker>,
    verifier: Option<Verifier>,
    metrics: Option<Reactor<Http1<Metrics>>>,
}

/// Stops a server, from any thread.
#[derive(Clone, Debug)]
pub struct Handle(Vec<net::Handle>);

impl Handle {
    /// Tells each loop to accept nobody and to finish what is begun. May be called any number of
    /// times.
    pub fn stop(&self) {
        self.0.iter().for_each(net::Handle::stop);
    }

    /// The same, but what is begun is not finished: whoever is there is cut.
    pub fn cut(&self) {
        self.0.iter().for_each(net::Handle::cut);
    }
}

impl Sockets {
    /// Listens for all workers. No thread is started, and nothing else is bound later. Who comes before
    /// [`Server::run`] waits in a backlog.
    ///
    /// # Errors
    /// [`Error`]; nothing is left open then.
    pub fn listen(options: &Options) -> Result<Self, Error> {
        let first = listen(&options.binds, &options.ports)?;
        let others = (1..options.workers.get()).map(|_| {
            let another = |first: &Listener| {
                let refused = |error| Error::Bind(first.address().clone(), error);
                first.another().map_err(refused)
            };
            first.iter().map(another).collect()
        });
        let others = others.collect::<Result<Vec<_>, _>>()?;
        let metrics = options.metrics.map(|address| {
            let listener = listener(address, false);
            let listener = listener.map_err(|error| Error::Metrics(address, error))?;
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
    /// answer is a line in `journal`, if there is one.
    ///
    /// # Errors
    /// [`Error`]; nothing is left open then.
    pub fn start(
        site: Site,
        sockets: Sockets,
        options: &Options,
        journal: Option<Journal>,
    ) -> Result<Self, Error> {
        let metrics = sockets.metrics;
        let mut sockets = sockets.workers.into_iter();
        let listeners = sockets.next().unwrap_or_default();
        let freshness = site.freshness();
        let users = options.users.clone();
        let verifier = users.map(|users| Verifier::new(users, options.workers));
        let verifier = verifier.transpose().map_err(Error::System)?;
        let verifier = verifier.as_ref();
        let metrics = metrics.map(|(listener, mut metrics)| {
            metrics.compressor = options.site.compressor.clone();
            metrics.verifier = verifier.cloned();
            metrics.log = journal.as_ref().map(Journal::writer);
            (listener, metrics)
        });
        let counters = |number| Some(metrics.as_ref()?.1.of(number));
        let others = (1..).zip(sockets).map(|(number, listeners)| {
            let journal = journal.as_ref().map(Journal::another);
            let site = Site::new(root(options)?, options.site_of_one());
            if site.freshness() != freshness {
                warn!(
                    "there is no inotify for every worker (see fs.inotify.max_user_instances): \
                     some look at files by stat"
                );
            }
            worker(
                site,
                listeners,
                options,
                verifier,
                journal,
                counters(number),
            )
        });
        let others = others.collect::<Result<_, _>>()?;
        let first = worker(site, listeners, options, verifier, journal, counters(0))?;
        if let Some(live) = &options.site.live {
            live.watch(root(options)?, options.site.hidden)
                .map_err(Error::System)?;
        }
        let tell = |(listener, metrics)| tell(listener, metrics, &options.limits);
        Ok(Self {
            first,
            others,
            verifier: verifier.cloned(),
            metrics: metrics.map(tell).transpose()?,
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
    pub fn handle(&self) -> Handle {
        handle(&self.first, &self.others)
    }

    /// Serves until [`Handle::stop`], then finishes what is begun, until [`Handle::cut`].
    ///
    /// # Errors
    /// When the poll or a listening socket of a worker fails, or a worker panics: then the others
    /// finish what is begun, too.
    pub fn run(self) -> io::Result<()> {
        let Some(mut metrics) = self.metrics else {
            return serve(self.first, self.others);
        };
        // It is told to the end, also while what is begun is finished.
        let handle = metrics.handle();
        let tell = move || {
            if let Err(error) = metrics.run() {
                error!("nothing is told under {} any more: {error}", metrics::PATH);
            }
        };
        let teller = thread::Builder::new().name("metrics".into()).spawn(tell)?;
        let served = serve(self.first, self.others);
        handle.stop();
        // What it has panicked about is on standard error, and no reason to end otherwise.
        let _ = teller.join();
        served
    }
}

/// A loop that tells how the others are doing, to few, and to nobody for long.
fn tell(
    listener: Listener,
    metrics: Metrics,
    limits: &Limits,
) -> Result<Reactor<Http1<Metrics>>, Error> {
    let protocol = Http1::new(metrics, http1::Options::default(), None);
    let limits = Limits {
        connections: TELLING,
        connections_per_peer: None,
        grace: Duration::from_secs(1),
        ..limits.clone()
    };
    let reactor = Reactor::new(protocol, limits).map_err(Error::System)?;
    reactor.listen(listener).map_err(Error::System)
}

/// One loop with all that it has.
fn worker(
    site: Site,
    listeners: Vec<Listener>,
    options: &Options,
    verifier: Option<&Verifier>,
    journal: Option<Journal>,
    counters: Option<metrics::Worker>,
) -> Result<Worker, Error> {
    let mut bells = Vec::new();
    bells.extend(site.bell().map_err(Error::System)?);
    if let Some(live) = &options.site.live {
        bells.push(live.bell().map_err(Error::System)?);
    }
    let site = match &counters {
        Some(counters) => site.counted_by(counters.cache.clone()),
        None => site,
    };
    let mut protocol = Http1::new(site, options.http1.clone(), journal);
    if let Some(verifier) = verifier {
        let guard = verifier.guard().map_err(Error::System)?;
        bells.push(guard.bell().map_err(Error::System)?);
        protocol = protocol.guarded_by(guard);
    }
    if let Some(counters) = &counters {
        protocol = protocol.counted_by(counters.http1.clone());
    }
    let mut protocol = Proxied::new(protocol, options.proxy.clone());
    if let Some(counters) = &counters {
        protocol = protocol.counted_by(counters.proxy.clone());
    }
    let limits = options.limits.shared_by(options.workers.get());
    let mut reactor = Reactor::new(protocol, limits).map_err(Error::System)?;
    if let Some(counters) = counters {
        reactor = reactor.counted_by(counters.net);
    }
    for bell in bells {
        reactor = reactor.attend(bell).map_err(Error::System)?;
    }
    for listener in listeners {
        reactor = reactor.listen(listener).map_err(Error::System)?;
    }
    Ok(reactor)
}

fn handle<P: Protocol>(first: &Reactor<P>, others: &[Reactor<P>]) -> Handle {
    let all = iter::once(first).chain(others);
    Handle(all.map(Reactor::handle).collect())
}

/// Runs all of them, the first on this thread, until all have ended.
fn serve<P>(first: Reactor<P>, others: Vec<Reactor<P>>) -> io::Result<()>
where
    P: Protocol<Session: Send> + Send,
{
    let all = &handle(&first, &others);
    thread::scope(|scope| {
        let mut spawned = Vec::new();
        for (number, reactor) in (2..).zip(others) {
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            match thread.spawn_scoped(scope, move || work(reactor, all)) {
                Ok(thread) => spawned.push(thread),
                Err(error) => {
                    all.stop();
                    return Err(error);
                }
            }
        }
        let ended = work(first, all);
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            // What is caught below cannot come up here.
            thread.join().unwrap_or_else(|_| Err(panicked()))
        };
        spawned.into_iter().map(join).fold(ended, io::Result::and)
    })
}

/// Runs one of them. Where it fails, the others must not go on: whoever is given to this one by the
/// kernel would not be served.
fn work<P: Protocol>(mut reactor: Reactor<P>, all: &Handle) -> io::Result<()> {
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
/// [`Error::System`].
pub fn open(disk: Disk, options: &mut Options) -> Result<Site, Error> {
    if options.compress {
        let budget = options.site.cache_memory / COMPRESSED;
        let compressor = Compressor::start(COMPRESSORS, budget).map_err(Error::System)?;
        options.site.compressor = Some(compressor);
        options.site.cache_memory -= budget;
    }
    if options.digest {
        options.site.digests = Some(Digests::start().map_err(Error::System)?);
    }
    if disk.resolution() == Resolution::Walk {
        warn!(
            "openat2 is not to be had here: every path is walked step by step, which takes longer"
        );
    }
    Ok(Site::new(disk, options.site_of_one()))
}

/// Opens the root.
///
/// # Errors
/// [`Error::Root`].
pub fn root(options: &Options) -> Result<Disk, Error> {
    Disk::open(&options.root, &options.symlinks)
        .map_err(|(folder, error)| Error::Root(folder, error))
}

/// Listens on all addresses, with the first of the ports that all of them can have.
fn listen(binds: &[Bind], ports: &[u16]) -> Result<Vec<Listener>, Error> {
    let mut listeners = listen_on_ports(binds, ports)?;
    for bind in binds {
        match bind {
            Bind::Ip { .. } => {}
            Bind::Unix(endpoint) => {
                let refused = |error| Error::Bind(endpoint.clone(), error);
                listeners.push(Listener::bind_unix(endpoint.clone()).map_err(refused)?);
            }
            Bind::Activated(names) => {
                listeners.extend(net::activated(names).map_err(Error::Activation)?);
            }
        }
    }
    Ok(listeners)
}

fn listen_on_ports(binds: &[Bind], ports: &[u16]) -> Result<Vec<Listener>, Error> {
    let mut busy = None;
    for &port in ports {
        let tries = if port == 0 { TRIES } else { 1 };
        for _ in 0..tries {
            match listen_on(binds, port) {
                Err(Error::Bind(address, error)) if error.kind() == io::ErrorKind::AddrInUse => {
                    debug!("{address}: {error}");
                    busy.get_or_insert(Error::Bind(address, error));
                }
                listening => return listening,
            }
        }
    }
    let nothing = || Error::System(io::Error::other("no port was given"));
    Err(busy.unwrap_or_else(nothing))
}

fn listen_on(binds: &[Bind], shared: u16) -> Result<Vec<Listener>, Error> {
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
        let address = address(*ip, zone.as_deref(), port.unwrap_or(chosen))?;
        // "[::]" takes IPv4 as well, unless somebody else here is to have that, at the same port.
        let only_v6 = binds.iter().any(|bind| {
            matches!(bind, Bind::Ip { ip, port, .. }
                if ip.is_ipv4() && port.unwrap_or(chosen) == address.port())
        });
        match listener(address, only_v6) {
            Ok(listener) => {
                let found = listener.address().tcp().filter(|_| port.is_none());
                chosen = found.map_or(chosen, |found| found.port());
                listeners.push(listener);
            }
            Err(error) if *optional && is_missing(&error) => {
                debug!("{address} is left out: {error}");
            }
            Err(error) => return Err(Error::Bind(address.into(), error)),
        }
    }
    Ok(listeners)
}

fn listener(address: SocketAddr, only_v6: bool) -> io::Result<Listener> {
    match Listener::bind(address, only_v6) {
        // "[::]" means every address, and a machine without IPv6, as in many containers, has some.
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !only_v6 && is_missing(&error) => {
            let instead = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            warn!("there is no IPv6 here ({error}): {instead} is listened on instead of {address}");
            Listener::bind(instead, false)
        }
        listener => listener,
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
}

fn address(ip: IpAddr, zone: Option<&str>, port: u16) -> Result<SocketAddr, Error> {
    match (ip, zone) {
        (IpAddr::V6(v6), Some(zone)) => {
            let unknown = |error| Error::Zone(ip, zone.to_owned(), error);
            let number = net::zone(zone).map_err(unknown)?;
            Ok(SocketAddrV6::new(v6, port, 0, number).into())
        }
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

impl fmt::Display for Error {
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

impl std::error::Error for Error {
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
    fn what_may_stand_before_a_conversation_takes_no_room_in_it() {
        type Session<P> = <P as Protocol>::Session;
        let (plain, proxied) = (
            size_of::<Session<Http1<Site>>>(),
            size_of::<Session<Proxied<Http1<Site>>>>(),
        );
        assert!(proxied <= plain.max(96), "{proxied} bytes, and {plain}");
    }

    /// Whom it panics to meet.
    struct Timid(bool);

    impl Protocol for Timid {
        type Session = ();

        fn open(&mut self, _: &Peer) {
            assert!(!self.0, "somebody has come, as was to be expected");
        }

        fn advance(&mut self, (): &mut (), _: &mut Io<'_>) -> Next {
            Next::Close
        }
    }

    #[test]
    fn a_worker_that_panics_ends_all() {
        for timid in 0..3 {
            let mut reactors = Vec::new();
            let mut addresses = Vec::new();
            for number in 0..3 {
                let listener = Listener::bind(([127, 0, 0, 1], 0).into(), false).unwrap();
                addresses.push(address_of(&listener));
                let protocol = Timid(number == timid);
                let reactor = Reactor::new(protocol, Limits::default()).unwrap();
                reactors.push(reactor.listen(listener).unwrap());
            }
            let first = reactors.remove(0);
            let _peer = TcpStream::connect(addresses[timid]).unwrap();
            let error = serve(first, reactors).unwrap_err();
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
    fn several_addresses_share_a_free_port() {
        let listeners = listen(&[bind("127.0.0.1"), bind("127.0.0.2")], &[0]).unwrap();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|each| address_of(each).port())
            .collect();
        assert_eq!(ports[0], ports[1]);
        assert_ne!(ports[0], 0);
    }

    #[test]
    fn the_next_port_is_tried_and_a_busy_one_is_named() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let busy = held.local_addr().unwrap().port();
        let free = listen(&[bind("127.0.0.1")], &[busy, 0]).unwrap();
        assert_ne!(address_of(&free[0]).port(), busy);
        let error = listen(&[bind("127.0.0.1")], &[busy]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&format!("127.0.0.1:{busy}")) && said.contains("ss -ltnp"),
            "{said}"
        );
        drop(held);
    }

    #[test]
    fn an_address_that_is_missing_may_be_optional() {
        let missing = bind("192.0.2.1");
        let mut optional = missing.clone();
        if let Bind::Ip { optional, .. } = &mut optional {
            *optional = true;
        }
        assert_eq!(
            listen(&[bind("127.0.0.1"), optional], &[0]).unwrap().len(),
            1
        );
        assert!(matches!(listen(&[missing], &[0]), Err(Error::Bind(..))));
    }

    #[test]
    fn the_wildcard_takes_both_families_unless_both_are_asked_for() {
        let both = listen(&[bind("::")], &[0]);
        // A machine without IPv6 has nothing to show here.
        let Ok(both) = both else { return };
        let port = address_of(&both[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert_eq!(
            listen(&[bind("::"), bind("0.0.0.0")], &[0]).unwrap().len(),
            2
        );
        // At another port, nobody else is in the way.
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = held.local_addr().unwrap().port();
        drop(held);
        let mut elsewhere = bind("127.0.0.1");
        if let Bind::Ip { port, .. } = &mut elsewhere {
            *port = Some(other);
        }
        let apart = listen(&[bind("::"), elsewhere], &[0]).unwrap();
        let port = address_of(&apart[0]).port();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}
