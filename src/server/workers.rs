//! Workers of a server: one reactor per worker, started, stopped and joined.

use std::io;
use std::iter;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tracing::{error, warn};

use super::listeners::BoundListeners;
use super::metrics::listener::MetricsListener;
use super::metrics::page::WorkerCounters;
use super::options::ServerOptions;
use super::start_error::StartError;
use crate::auth::Verifier;
use crate::files::{PathResolver, Root};
use crate::http1::Http1;
use crate::log::LineWriter;
use crate::net::{Endpoint, Listener, PerIpLimit, Protocol, Reactor, ReactorHandle};
use crate::proxy::Proxied;
use crate::service::Service;
use crate::site::{
    Compressor, Digests, Live, LiveReload, LoggedOnce, PolicySources, Releases, SharedPolicy,
    SidecarProofs, Site, SiteShared, Trace,
};
use crate::sync::LogThrottle;

/// Threads that compress in the background, for all workers together.
const COMPRESSOR_THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is more than none");

/// Reactor of a worker, with its protocol.
type WorkerReactor = Reactor<Proxied<Http1<Live>>>;

/// A server with bound listeners, ready to [`run`](Self::run).
#[derive(Debug)]
pub struct Server {
    /// Worker that runs on the thread that calls [`run`](Self::run).
    first: WorkerReactor,
    others: Vec<WorkerReactor>,
    handles: SharedHandles,
    metrics: Option<MetricsListener>,
}

/// Handle that stops a server from any thread.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    workers: Vec<ReactorHandle>,
    is_draining: Arc<AtomicBool>,
}

impl ServerHandle {
    /// Makes health checks fail from now on, although requests are still served. May be called any number of times.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Makes all workers stop accepting and let their connections finish. May be called any number of times.
    pub fn stop(&self) {
        self.workers.iter().for_each(ReactorHandle::stop);
    }

    /// Makes all workers close their connections without letting them finish.
    pub fn abort(&self) {
        self.workers.iter().for_each(ReactorHandle::abort);
    }
}

/// Handles that the workers share.
#[derive(Debug, Default)]
struct SharedHandles {
    live: Option<LiveReload>,
    verifier: Option<Verifier>,
    is_draining: Arc<AtomicBool>,
    per_ip_limit: Option<PerIpLimit>,
    /// Throttle of the warning about PROXY headers.
    proxy_log_throttle: Arc<Mutex<LogThrottle>>,
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
        let shared = site.shared().clone();
        let users = options.users.clone();
        let verifier = users.map(|users| Verifier::new(users, options.workers));
        let handles = SharedHandles {
            live: options
                .live_reload
                .then(|| LiveReload::new(&options.site.prefix)),
            verifier: verifier.transpose().map_err(StartError::System)?,
            per_ip_limit: options.max_per_ip.map(|max| {
                PerIpLimit::new(max).with_exempt(options.service.trusted_proxies.clone())
            }),
            ..SharedHandles::default()
        };
        let metrics = metrics.map(|(listener, mut metrics)| {
            metrics.compressor = site.shared().compressor.clone();
            metrics.verifier.clone_from(&handles.verifier);
            metrics.log = access_log.as_ref().map(LineWriter::handle);
            (listener, metrics)
        });
        let counters = |number| Some(metrics.as_ref()?.1.worker_counters(number));
        let others = (1..).zip(sockets).map(|(number, listeners)| {
            let access_log = access_log.as_ref().map(LineWriter::duplicate);
            let (root, site_options) = (open_root(options)?, options.site_options_per_worker());
            let site = Site::new(root, site_options, shared.clone());
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
                &handles,
                access_log,
                counters(number),
            )
        });
        let others = others.collect::<Result<_, _>>()?;
        let first = worker_reactor(site, listeners, options, &handles, access_log, counters(0))?;
        if let Some(live) = &handles.live {
            live.watch(open_root(options)?, options.site.shows_hidden)
                .map_err(StartError::System)?;
        }
        let metrics = metrics
            .map(|(listener, metrics)| MetricsListener::new(listener, metrics, &options.limits));
        Ok(Self {
            first,
            others,
            handles,
            metrics: metrics.transpose()?,
        })
    }

    /// Returns the address of the metrics listener, if there is one.
    #[must_use]
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.address()
    }

    /// Returns the addresses of the listeners, with the chosen ports.
    pub fn addresses(&self) -> impl Iterator<Item = &Endpoint> {
        self.first.addresses()
    }

    /// Returns the password verifier, if there are users. It can replace the users, from any thread.
    #[must_use]
    pub fn verifier(&self) -> Option<Verifier> {
        self.handles.verifier.clone()
    }

    /// Returns a handle that stops this server from any thread.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            workers: reactor_handles(&self.first, &self.others),
            is_draining: self.handles.is_draining.clone(),
        }
    }

    /// Serves until [`ServerHandle::stop`]. Then connections may finish until [`ServerHandle::abort`].
    ///
    /// # Errors
    /// When the poll or a listening socket of a worker fails, or a worker panics: then the other workers stop and let
    /// their connections finish.
    pub fn run(self) -> io::Result<()> {
        let run_all = || run_all(self.first, self.others);
        match self.metrics {
            Some(metrics) => metrics.serve_during(run_all),
            None => run_all(),
        }
    }
}

/// Creates the reactor of a worker, with its protocol, wakers and listeners.
fn worker_reactor(
    site: Site,
    listeners: Vec<Listener>,
    options: &ServerOptions,
    handles: &SharedHandles,
    access_log: Option<LineWriter>,
    counters: Option<WorkerCounters>,
) -> Result<WorkerReactor, StartError> {
    let mut wakers = Vec::new();
    wakers.extend(site.event_fd().map_err(StartError::System)?);
    if let Some(live) = &handles.live {
        wakers.push(live.new_waker().map_err(StartError::System)?);
    }
    let site = match &counters {
        Some(counters) => site.with_cached_bytes_counter(counters.cache_bytes.clone()),
        None => site,
    };
    let site = Live::new(site, handles.live.clone());
    let mut service = Service::new(site, options.service.clone(), access_log)
        .with_drain_flag(handles.is_draining.clone());
    if let Some(verifier) = &handles.verifier {
        let auth = verifier.handle().map_err(StartError::System)?;
        wakers.push(auth.waker().descriptor().map_err(StartError::System)?);
        service = service.with_auth(auth);
    }
    if let Some(counters) = &counters {
        service = service.with_counters(counters.requests.clone());
    }
    let protocol = Http1::new(service, options.http1.clone());
    let throttle = handles.proxy_log_throttle.clone();
    let mut protocol = Proxied::new(protocol, options.proxy.clone(), throttle);
    if let Some(counters) = &counters {
        protocol = protocol.with_counters(counters.proxy.clone());
    }
    let limits = options.limits.divided_by(options.workers.get());
    let mut reactor = Reactor::new(protocol, limits).map_err(StartError::System)?;
    if let Some(limit) = &handles.per_ip_limit {
        reactor = reactor.with_per_ip_limit(limit.clone());
    }
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

fn reactor_handles<P: Protocol>(first: &Reactor<P>, others: &[Reactor<P>]) -> Vec<ReactorHandle> {
    let all = iter::once(first).chain(others);
    all.map(Reactor::handle).collect()
}

/// Runs all reactors, the first one on this thread, until all have ended.
fn run_all<P>(first: Reactor<P>, others: Vec<Reactor<P>>) -> io::Result<()>
where
    P: Protocol<Session: Send> + Send,
{
    let all = &*reactor_handles(&first, &others);
    thread::scope(|scope| {
        let mut spawned = Vec::new();
        for (number, reactor) in (2..).zip(others) {
            let thread = thread::Builder::new().name(format!("worker-{number}"));
            match thread.spawn_scoped(scope, move || run_worker(reactor, all)) {
                Ok(thread) => spawned.push(thread),
                Err(error) => {
                    all.iter().for_each(ReactorHandle::stop);
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
fn run_worker<P: Protocol>(mut reactor: Reactor<P>, all: &[ReactorHandle]) -> io::Result<()> {
    let ended = catch_unwind(AssertUnwindSafe(move || reactor.run()));
    let ended = ended.unwrap_or_else(|_| Err(panicked()));
    if let Err(error) = &ended {
        error!(
            "a worker thread failed: {error}; stopping when the responses in flight are finished"
        );
        all.iter().for_each(ReactorHandle::stop);
    }
    ended
}

fn panicked() -> io::Error {
    io::Error::other("a worker thread panicked")
}

/// Creates a site of the open root, and starts the background threads of all workers' sites, as far as `options` say.
/// The policy is loaded from `sources` whenever the root changes, and each lookup is recorded in `trace`. `proofs` are
/// those of its sidecars; `None` starts a thread for them.
///
/// # Errors
/// [`StartError::System`].
pub fn open_site(
    root: Root,
    options: &ServerOptions,
    sources: &PolicySources,
    trace: Option<Trace>,
    proofs: Option<SidecarProofs>,
) -> Result<Site, StartError> {
    let start_compressor =
        || Compressor::start(COMPRESSOR_THREADS, options.compressed_cache_bytes());
    let compressor = options.compress.then(start_compressor).transpose();
    let digests = options.digest.then(Digests::start).transpose();
    let logged_once = LoggedOnce::default();
    let sidecar_log = logged_once.clone();
    let sidecar_proofs = match proofs {
        Some(proofs) => Ok(proofs),
        None if options.site.has_sidecars => {
            SidecarProofs::start(move |path, why| sidecar_log.warn_of_sidecar(path, why))
        }
        None => Ok(SidecarProofs::default()),
    };
    if root.resolver() == PathResolver::ComponentWalk {
        warn!(
            "openat2 is missing (Linux before 5.6, or a seccomp filter): paths are opened step by step, which is slower"
        );
    }
    let shared = SiteShared {
        compressor: compressor.map_err(StartError::System)?,
        digests: digests.map_err(StartError::System)?,
        sidecar_proofs: sidecar_proofs.map_err(StartError::System)?,
        logged_once,
        releases: Releases::with_grace_period(options.site.release_grace),
        policy: SharedPolicy::from_sources(sources.clone()),
        trace,
    };
    Ok(Site::new(root, options.site_options_per_worker(), shared))
}

/// Opens the document root.
///
/// # Errors
/// [`StartError::Root`].
pub fn open_root(options: &ServerOptions) -> Result<Root, StartError> {
    Root::open(&options.root, &options.symlinks)
        .map_err(|(path, error)| StartError::Root(path, error))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::net::{Io, Limits, Next, Peer};

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
}
