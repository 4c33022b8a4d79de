//! `docroot`: arguments in, exit code out.
#![forbid(unsafe_code)]

mod announce;
mod browser;
mod check;
mod config;
mod explain;
mod hash;
mod healthcheck;
mod log_sink;
mod qr;
mod service_manager;
mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::iter;
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use docroot::auth::Verifier;
use docroot::compress::{self, Compression};
use docroot::http::Origin as _;
use docroot::http1::Health;
use docroot::line_writer::{LineWriter, WriterHandle};
use docroot::net::Endpoint;
use docroot::proxy;
use docroot::sandbox::{self, Confinement, Unconfined};
use docroot::server::{self, BoundListeners, Server};
use docroot::site::{LoadedPolicy, PolicySources, Root, SharedPolicy, Site, Trace};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::announce::{Started, announcement};
use crate::browser::Browser;
use crate::config::{Arguments, Command, Config, Explain, Log};
use crate::log_sink::LogSink;
use crate::service_manager::ServiceManager;

/// How long access lines gather before they are written together.
const GATHER: Duration = Duration::from_millis(50);

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long it may take to end at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Exit codes beside 0, a clean stop, and 2, which clap gives for bad arguments as we do.
const FAILED: u8 = 1;
const BAD_ARGUMENTS: u8 = 2;
const CANNOT_BIND: u8 = 3;
const NO_ROOT: u8 = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::read();
    let ended = match (arguments.command.take(), arguments.manual()) {
        (Some(command), _) => obey(command),
        (None, Some(text)) => hand_out(&text),
        (None, None) => serve(arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            // The one line that says what to do; a closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {why}");
            ExitCode::from(code)
        }
    }
}

type Failure = (u8, String);

fn serve(arguments: Arguments) -> Result<(), Failure> {
    let diagnostics = subscribe(arguments.verbose);
    let mut writer = None;
    let ran = run(arguments, || {
        let started = diagnostics.start()?;
        Ok(writer.insert(started).clone())
    });
    if let Some(writer) = writer {
        // What nobody reads is not waited for longer than this.
        let _ = writer.finish(LAST_LINES);
    }
    ran
}

fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::Compress(compress) => run_compress(compress.resolve()),
        Command::Explain(explain) => run_explain(*explain),
        Command::Healthcheck(asked) => asked
            .resolve()
            .and_then(healthcheck::run)
            .map_err(|why| (FAILED, why)),
        Command::Hash { user } => hash::run(user.as_deref()).map_err(|why| (FAILED, why)),
    }
}

fn run_compress(options: compress::CompressOptions) -> Result<(), Failure> {
    let quiet = options.quiet;
    let compression = Compression::open(options).map_err(not_compressed)?;
    let handle = compression.handle();
    let at_once = || FAILED.into();
    on_signals(move || handle.stop(), at_once, None::<fn(i32)>).map_err(failed)?;
    let summary = compression.run().map_err(not_compressed)?;
    if !quiet {
        print(&summary.to_string()).map_err(failed)?;
    }
    match summary.failures {
        0 => Ok(()),
        count => Err((
            FAILED,
            format!("{count} failures, each named above; all else is done"),
        )),
    }
}

fn not_compressed(error: compress::CompressError) -> Failure {
    let code = match error {
        compress::CompressError::Root(..) => NO_ROOT,
        compress::CompressError::Stopped(_) | compress::CompressError::System(_) => FAILED,
    };
    (code, error.to_string())
}

/// Confines itself when all that is to be bound is bound, and before the first thread is started, which may be
/// done from `confined` on, which returns what writes diagnostics from then on.
fn run(
    arguments: Arguments,
    confined: impl FnOnce() -> Result<WriterHandle, Failure>,
) -> Result<(), Failure> {
    let (quiet, check) = (arguments.quiet, arguments.check);
    let mut config = arguments.resolve().map_err(|why| (BAD_ARGUMENTS, why))?;
    let disk = server::open_root(&config.server).map_err(refused)?;
    if check {
        let (site, reading) = open(disk, &mut config)?;
        return run_check(&config, &site, &reading);
    }
    let sockets = BoundListeners::listen(&config.server).map_err(refused)?;
    // It is started before that becomes impossible, and so is that one connected to.
    let browser = ready(config.show.browser.as_deref());
    let manager = ServiceManager::connect(std::env::var_os("NOTIFY_SOCKET").as_deref());
    let confinement = sandbox::confine(config.sandbox, &config.needs).map_err(unconfined)?;
    let diagnostics = confined()?;
    if let Confinement::None(_) = confinement {
        warn!("{confinement}");
    }
    let (site, reading) = open(disk, &mut config)?;
    warn_of_left_out(&reading);
    let policy = config.server.site.policy.clone();
    let (journal, writer) = config.log.as_ref().map(log).transpose()?.unzip();
    let freshness = site.freshness();
    let server = Server::new(site, sockets, &config.server, journal).map_err(refused)?;
    let addresses: Vec<Endpoint> = server.addresses().cloned().collect();
    let handle = server.handle();
    let (health, delay) = (config.server.http1.health.clone(), config.drain_delay);
    let told = manager.clone();
    let drain = move || {
        told.notify(&[NotifyState::Stopping]);
        drain(&handle, health.as_ref(), delay);
    };
    let (handle, log) = (server.handle(), writer.clone());
    let at_once = move || {
        handle.abort();
        // With the loops all ends in good order; what hangs, or is read by nobody, is not waited for.
        thread::sleep(AT_ONCE);
        finish(log.as_ref(), Duration::ZERO);
        let _ = diagnostics.finish(AT_ONCE);
        0
    };
    let (sources, auth, verifier) = (
        config.sources.clone(),
        config.auth.clone(),
        server.verifier(),
    );
    let told = manager.clone();
    let reload = move || {
        // Since when, so that it is known which of two reloads is over (sd_notify(3)).
        let since = NotifyState::monotonic_usec_now();
        told.notify(
            &iter::once(NotifyState::Reloading)
                .chain(since)
                .collect::<Vec<_>>(),
        );
        reload(&sources, &policy, &auth, verifier.as_ref());
        told.notify(&[NotifyState::Ready]);
    };
    let log = writer.clone();
    let heed = move |signal| match (signal, &log) {
        (SIGUSR1, Some(log)) => log.reopen(),
        (SIGUSR1, None) => {}
        _ => reload(),
    };
    on_signals(drain, at_once, Some(heed)).map_err(failed)?;
    warn_of_strangers(&config, &addresses);
    let said = announcement(&Started {
        options: &config.server,
        freshness,
        confinement: &confinement,
        addresses: &addresses,
        metrics: server.metrics(),
    });
    if !quiet && let Err(error) = print(&said) {
        warn!("cannot say on standard output where it listens: {error}");
    }
    show(&config, &addresses, browser);
    manager.notify(&[NotifyState::Ready]);
    let served = server.run().map_err(failed);
    finish(writer.as_ref(), LAST_LINES);
    served
}

/// The browser, if one is to be opened. The site is served without one as well.
fn ready(browser: Option<&[String]>) -> Option<Browser> {
    let ready = Browser::ready(browser?);
    ready
        .inspect_err(|error| warn!("the browser is not opened: {error}"))
        .ok()
}

/// Shows the site where that was asked for.
fn show(config: &Config, addresses: &[Endpoint], browser: Option<Browser>) {
    if let Some(browser) = browser
        && let Some(url) = announce::url(&config.server, addresses)
    {
        browser.open(&url);
    }
    if !config.show.qr {
        return;
    }
    match announce::qr(&config.server, addresses) {
        Ok(code) if io::stdout().is_terminal() => {
            let _ = print(&code);
        }
        // For programs there is one line on standard output, which says where it listens.
        Ok(code) if io::stderr().is_terminal() => {
            let _ = io::stderr().write_all(code.as_bytes());
        }
        Ok(_) => warn!("there is no QR code: no terminal would show it"),
        Err(why) => warn!("there is no QR code: {why}"),
    }
}

/// Stops a server, after it has said for a while that it will.
fn drain(handle: &server::ServerHandle, health: Option<&Health>, delay: Duration) {
    if let Some(health) = health {
        health.start_draining();
    }
    if delay.is_zero() {
        info!("stopping: what is begun is finished, a second signal ends it at once");
        return handle.stop();
    }
    info!("draining: it stops in {delay:?}, a second signal ends it at once");
    let late = handle.clone();
    let waiting = thread::Builder::new().name("drain".into()).spawn(move || {
        thread::sleep(delay);
        late.stop();
    });
    if let Err(error) = waiting {
        warn!("stopping at once, as nothing can wait: {error}");
        handle.stop();
    }
}

/// Opens the access log, and starts what writes it.
fn log(Log { file, .. }: &Log) -> Result<(LineWriter, WriterHandle), Failure> {
    let Some(file) = file else {
        let out = LogSink::standard_output().map_err(failed)?;
        return LineWriter::new("standard output", GATHER, out).map_err(failed);
    };
    let name = file.display().to_string();
    let out = LogSink::file(file).map_err(|error| {
        let why = format!("--log-file {name}: {error}; name a file that can be written to");
        (BAD_ARGUMENTS, why)
    })?;
    LineWriter::new(&name, GATHER, out).map_err(failed)
}

/// Makes a site of the root, with its policy in force.
fn open(disk: Root, config: &mut Config) -> Result<(Site, LoadedPolicy), Failure> {
    let mut site = server::open_site(disk, &mut config.server).map_err(refused)?;
    let reading = config.sources.load();
    let reading = reading.map_err(|wrong| (BAD_ARGUMENTS, wrong.join("\n")))?;
    config.server.site.policy.replace(reading.policy.clone());
    site.mark_stale(true);
    require_pages(config, &site)?;
    Ok((site, reading))
}

fn run_check(config: &Config, site: &Site, reading: &LoadedPolicy) -> Result<(), Failure> {
    let confinement = sandbox::try_confine(config.sandbox, &config.needs).map_err(unconfined)?;
    let report = check::check(config, site, reading, &confinement);
    print(&report.text).map_err(failed)?;
    match report.problems {
        0 => Ok(()),
        1 => Err((FAILED, "1 thing is wrong, and named above".into())),
        count => Err((FAILED, format!("{count} things are wrong, and named above"))),
    }
}

fn run_explain(explain: Explain) -> Result<(), Failure> {
    let (mut config, question) = explain.resolve().map_err(|why| (BAD_ARGUMENTS, why))?;
    let trail = Trace::default();
    config.server.site.trace = Some(trail.clone());
    let disk = server::open_root(&config.server).map_err(refused)?;
    let (site, reading) = open(disk, &mut config)?;
    for left_out in &reading.warnings {
        // As in the log of a server.
        let _ = writeln!(io::stderr(), "docroot: {left_out}");
    }
    let answer = explain::explain(&config, site, &reading, &trail, &question).map_err(failed)?;
    print(&answer).map_err(failed)
}

/// What is wrong with rules that nobody named is left out, and not passed over.
fn warn_of_left_out(reading: &LoadedPolicy) {
    for left_out in &reading.warnings {
        warn!("{left_out}");
    }
}

/// Passwords are sent as good as in clear (RFC 7617 section 4), and who is believed whatever it says may lie.
fn warn_of_strangers(config: &Config, addresses: &[Endpoint]) {
    let is_remote = |address: &Endpoint| {
        let ip = address.tcp().map(|address| address.ip().to_canonical());
        ip.is_some_and(|ip| !ip.is_loopback())
    };
    if config.server.users.is_some()
        && let Some(address) = addresses.iter().find(|address| is_remote(address))
    {
        warn!(
            "passwords that are sent to {address} can be read by whoever sees the traffic: plain HTTP hides \
             nothing; put something that speaks TLS before it, or listen on 127.0.0.1 only"
        );
    }
    let proxy = config.server.proxy.as_ref();
    if proxy.is_some_and(proxy::ProxyHeaderOptions::trusts_every_peer)
        && let Some(address) = addresses.iter().find(|address| is_remote(address))
    {
        warn!(
            "whoever reaches {address} can say to be any peer, by the PROXY protocol; name the proxies that are \
             believed with --trusted-proxy"
        );
    }
}

/// The pages that were asked for must be there.
fn require_pages(config: &Config, site: &Site) -> Result<(), Failure> {
    for (option, page) in &config.required {
        if let Err(error) = site.check_file(page) {
            let root = config.server.root.display();
            let why = format!("{option} {page}: {error}; name a file below {root}");
            return Err((BAD_ARGUMENTS, why));
        }
    }
    Ok(())
}

/// Reads again what may have changed. Where something is wrong with it, all stays as it is.
fn reload(
    sources: &PolicySources,
    policy: &SharedPolicy,
    (entries, file): &(Vec<String>, Option<PathBuf>),
    verifier: Option<&Verifier>,
) {
    let users = || config::users(entries, file.as_deref()).map_err(|wrong| vec![wrong]);
    match sources.load().and_then(|reading| Ok((reading, users()?))) {
        Ok((reading, users)) => {
            warn_of_left_out(&reading);
            policy.replace(reading.policy);
            if let (Some(verifier), Some(users)) = (verifier, users) {
                verifier.replace_users(users);
            }
            info!("what can be read again was, and is in force");
        }
        Err(wrong) => {
            wrong.iter().for_each(|wrong| error!("{wrong}"));
            error!("all stays as it was");
        }
    }
}

fn failed(error: io::Error) -> Failure {
    (FAILED, error.to_string())
}

fn unconfined(error: Unconfined) -> Failure {
    (FAILED, error.to_string())
}

fn refused(error: server::StartError) -> Failure {
    let code = match error {
        server::StartError::Root(..) => NO_ROOT,
        server::StartError::Bind(..)
        | server::StartError::Metrics(..)
        | server::StartError::Zone(..)
        | server::StartError::Activation(_) => CANNOT_BIND,
        server::StartError::System(_) => FAILED,
    };
    (code, error.to_string())
}

/// Diagnostics go to standard error. `RUST_LOG` (`debug`, `docroot=trace`, ...) counts unless -v
/// says more.
fn subscribe(verbose: u8) -> Diagnostics {
    let from_environment = std::env::var("RUST_LOG").unwrap_or_default();
    let parsed = Targets::from_str(&from_environment);
    let misunderstood = parsed.is_err();
    let targets = match (verbose, parsed) {
        (0, Ok(targets)) if !from_environment.is_empty() => targets,
        (0, _) => Targets::new().with_default(LevelFilter::INFO),
        (1, _) => Targets::new().with_default(LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let diagnostics = Diagnostics::default();
    let lines = diagnostics.clone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .init();
    if misunderstood {
        warn!("RUST_LOG={from_environment:?} is not understood; try RUST_LOG=docroot=debug");
    }
    diagnostics
}

/// Standard error, a line at a time; once somebody is served, by way of a journal, so that nobody who has something
/// to say waits for who reads it.
#[derive(Clone, Default)]
struct Diagnostics(Arc<OnceLock<Mutex<LineWriter>>>);

impl Diagnostics {
    /// Starts the journal's thread.
    fn start(&self) -> Result<WriterHandle, Failure> {
        let (journal, writer) =
            LineWriter::for_diagnostics("standard error", io::stderr()).map_err(failed)?;
        let _ = self.0.set(Mutex::new(journal));
        Ok(writer)
    }
}

impl io::Write for Diagnostics {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(journal) = self.0.get() else {
            io::stderr().write_all(line)?;
            return Ok(line.len());
        };
        // A panic elsewhere leaves a journal whole.
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.batch().extend_from_slice(line);
        journal.flush();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether somebody sees it run, as who has started it does.
fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// The first signal to stop ends it in good order, the second at once, with the exit code that is returned. Others are
/// heeded, where there is anything to be heeded: SIGHUP and SIGUSR1. But a SIGHUP is one to stop where there was a terminal,
/// and what is left of it is none any more: its window was closed.
fn on_signals(
    end: impl FnOnce() + Send + 'static,
    at_once: impl Fn() -> i32 + Send + 'static,
    heed: Option<impl Fn(i32) + Send + 'static>,
) -> io::Result<()> {
    let was_on_terminal = is_on_terminal();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    if heed.is_some() {
        signals.add_signal(SIGHUP)?;
        signals.add_signal(SIGUSR1)?;
    }
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut end = Some(end);
            for signal in signals.forever() {
                let is_closed = signal == SIGHUP && was_on_terminal && !is_on_terminal();
                match (signal, &heed) {
                    (SIGHUP | SIGUSR1, Some(heed)) if !is_closed => heed(signal),
                    _ => match end.take() {
                        Some(end) => end(),
                        // Kernel and shell both tell of that.
                        None if is_closed => {}
                        None => process::exit(at_once()),
                    },
                }
            }
        })?;
    Ok(())
}

/// Waits for the last access lines, and says how many were lost.
fn finish(writer: Option<&WriterHandle>, time: Duration) {
    if let Some(writer) = writer
        && let Err(lines) = writer.finish(time)
    {
        error!("access lines that were not written, from the start to the end: {lines}");
    }
}

/// Prints what is read as far as somebody likes: `docroot --man | head`.
fn hand_out(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}
