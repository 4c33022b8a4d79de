//! `docroot`: arguments in, exit code out.
#![forbid(unsafe_code)]

mod announce;
mod browser;
mod check;
mod config;
mod explain;
mod hash;
mod healthcheck;
mod local_time;
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

/// Time for which access log lines gather before they are written together.
const GATHER: Duration = Duration::from_millis(50);

/// Time limit for writing the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Time limit of a stop at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Exit codes other than 0, a clean stop; clap exits with 2 for bad arguments, too.
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
            // A closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {why}");
            ExitCode::from(code)
        }
    }
}

type Failure = (u8, String);

fn serve(arguments: Arguments) -> Result<(), Failure> {
    let diagnostics = subscribe(&arguments);
    let mut writer = None;
    let ran = run(arguments, || {
        let started = diagnostics.start()?;
        Ok(writer.insert(started).clone())
    });
    if let Some(writer) = writer {
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
            format!("{count} failures, each named above; all other files are done"),
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

/// Serves. The sandbox comes after all sockets are bound and before the first thread is started: `confined` may start
/// threads, and returns the writer of diagnostics.
fn run(
    arguments: Arguments,
    confined: impl FnOnce() -> Result<WriterHandle, Failure>,
) -> Result<(), Failure> {
    let (quiet, check) = (arguments.quiet, arguments.check);
    for warning in config::unknown_variables() {
        warn!("{warning}");
    }
    let mut config = arguments.resolve().map_err(|why| (BAD_ARGUMENTS, why))?;
    let disk = server::open_root(&config.server).map_err(refused)?;
    if check {
        let (site, reading) = open(disk, &mut config)?;
        return run_check(&config, &site, &reading);
    }
    let sockets = BoundListeners::listen(&config.server).map_err(refused)?;
    // The sandbox forbids to start programs and to connect to sockets.
    let browser = ready(config.show.browser.as_deref());
    let manager = ServiceManager::connect(std::env::var_os("NOTIFY_SOCKET").as_deref());
    let confinement = sandbox::confine(config.sandbox, &config.needs).map_err(unconfined)?;
    let diagnostics = confined()?;
    if let Confinement::None(_) = confinement {
        warn!("{confinement}");
    }
    let (site, reading) = open(disk, &mut config)?;
    warn_of_left_out(&reading);
    let root_fault = check::root_fault(&config.server.root, &site);
    // On a terminal the banner says so.
    let has_banner = !quiet && io::stdout().is_terminal() && io::stderr().is_terminal();
    if let Some(fault) = root_fault.as_ref().filter(|_| !has_banner) {
        warn!("{fault}");
    }
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
        // The process ends when the workers end; a thread that hangs is not waited for.
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
        // The start of this reload, which tells it from another one (sd_notify(3)).
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
        root_fault: root_fault.as_deref(),
    });
    if !quiet && let Err(error) = print(&said) {
        warn!("cannot print the URLs on standard output: {error}");
    }
    show(&config, &addresses, browser);
    manager.notify(&[NotifyState::Ready]);
    let served = server.run().map_err(failed);
    finish(writer.as_ref(), LAST_LINES);
    served
}

/// Starts the browser for `--open`. A failure is logged, and the site is served without it.
fn ready(browser: Option<&[String]>) -> Option<Browser> {
    let ready = Browser::ready(browser?);
    ready
        .inspect_err(|error| warn!("cannot start the browser for --open: {error}"))
        .ok()
}

/// Opens the browser and prints the QR code, where asked for.
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
        // Programs read one line on standard output, the URLs.
        Ok(code) if io::stderr().is_terminal() => {
            let _ = io::stderr().write_all(code.as_bytes());
        }
        Ok(_) => warn!(
            "cannot print the QR code: neither standard output nor standard error is a terminal"
        ),
        Err(why) => warn!("cannot print the QR code: {why}"),
    }
}

/// Stops a server after the drain delay, in which health checks answer 503.
fn drain(handle: &server::ServerHandle, health: Option<&Health>, delay: Duration) {
    if let Some(health) = health {
        health.start_draining();
    }
    if delay.is_zero() {
        info!("stopping: responses in flight are finished; a second signal stops at once");
        return handle.stop();
    }
    info!(
        "draining: health checks answer 503, and docroot stops in {delay:?}; a second signal stops at once"
    );
    let late = handle.clone();
    let waiting = thread::Builder::new().name("drain".into()).spawn(move || {
        thread::sleep(delay);
        late.stop();
    });
    if let Err(error) = waiting {
        warn!("cannot start the thread for --drain-delay: {error}; stopping without the delay");
        handle.stop();
    }
}

/// Opens the access log, and starts its writer thread.
fn log(Log { file, .. }: &Log) -> Result<(LineWriter, WriterHandle), Failure> {
    let Some(file) = file else {
        let out = LogSink::standard_output().map_err(failed)?;
        return LineWriter::new("standard output", GATHER, out).map_err(failed);
    };
    let name = file.display().to_string();
    let out = LogSink::file(file).map_err(|error| {
        let why =
            format!("cannot open --log-file {name}: {error}; name a file that this user can write");
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
        1 => Err((FAILED, "1 problem, named above".into())),
        count => Err((FAILED, format!("{count} problems, named above"))),
    }
}

fn run_explain(explain: Explain) -> Result<(), Failure> {
    let (mut config, question) = explain.resolve().map_err(|why| (BAD_ARGUMENTS, why))?;
    let trail = Trace::default();
    config.server.site.trace = Some(trail.clone());
    let disk = server::open_root(&config.server).map_err(refused)?;
    let (site, reading) = open(disk, &mut config)?;
    for warning in config::unknown_variables().iter().chain(&reading.warnings) {
        // As in the log of a server.
        let _ = writeln!(io::stderr(), "docroot: {warning}");
    }
    let answer = explain::explain(&config, site, &reading, &trail, &question).map_err(failed)?;
    print(&answer).map_err(failed)
}

/// Logs the rules that are ignored: those of files in the root, which no option names.
fn warn_of_left_out(reading: &LoadedPolicy) {
    for left_out in &reading.warnings {
        warn!("{left_out}");
    }
}

/// Warns of passwords on the network, which Basic sends in clear (RFC 7617 section 4), and of PROXY headers from any
/// peer.
fn warn_of_strangers(config: &Config, addresses: &[Endpoint]) {
    let is_remote = |address: &Endpoint| {
        let ip = address.tcp().map(|address| address.ip().to_canonical());
        ip.is_some_and(|ip| !ip.is_loopback())
    };
    if config.server.users.is_some()
        && let Some(address) = addresses.iter().find(|address| is_remote(address))
    {
        warn!(
            "passwords sent to {address} can be read on the network: plain HTTP is not encrypted; put a proxy that \
             speaks TLS in front, or listen on 127.0.0.1 only"
        );
    }
    let proxy = config.server.proxy.as_ref();
    if proxy.is_some_and(proxy::ProxyHeaderOptions::trusts_every_peer)
        && let Some(address) = addresses.iter().find(|address| is_remote(address))
    {
        warn!(
            "every client that reaches {address} can claim any address by the PROXY protocol; name your proxies with \
             --trusted-proxy"
        );
    }
}

/// Requires the pages that options name to exist.
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

/// Reloads path rules, media types and users. With a mistake in one of them, all stay as they are.
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
            info!("configuration reloaded");
        }
        Err(wrong) => {
            wrong.iter().for_each(|wrong| error!("{wrong}"));
            error!("configuration not reloaded: the previous one stays in force");
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
    let message = match &error {
        server::StartError::Root(root, why) => config::root_hint(root)
            .map(|hint| format!("cannot serve {}: {why}; {hint}", root.display())),
        _ => None,
    };
    (code, message.unwrap_or_else(|| error.to_string()))
}

/// Sends diagnostics to standard error. `RUST_LOG` (`debug`, `docroot=trace`, ...) counts unless -v is given.
fn subscribe(arguments: &Arguments) -> Diagnostics {
    let from_environment = std::env::var("RUST_LOG").unwrap_or_default();
    let parsed = Targets::from_str(&from_environment);
    let misunderstood = parsed.is_err();
    let targets = match (arguments.verbose, parsed) {
        (0, Ok(targets)) if !from_environment.is_empty() => targets,
        (0, _) if arguments.quiet => Targets::new().with_default(LevelFilter::WARN),
        (0, _) => Targets::new().with_default(LevelFilter::INFO),
        (1, _) => Targets::new().with_default(LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let diagnostics = Diagnostics::default();
    let lines = diagnostics.clone();
    let is_terminal = io::stderr().is_terminal();
    local_time::load();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .with_ansi(is_terminal && config::has_colours())
        .with_timer(local_time::Clock {
            is_local: is_terminal,
        })
        .with_target(false);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .init();
    if misunderstood {
        warn!(
            "RUST_LOG={from_environment:?} is ignored: it is malformed; try RUST_LOG=docroot=debug"
        );
    }
    diagnostics
}

/// Standard error, a line at a time; once docroot serves, by way of a writer thread, so that a worker does not wait for
/// a slow reader.
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

/// Whether one of the standard streams is a terminal.
fn is_on_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

/// Handles signals. The first signal to stop calls `end`, the second `at_once`, and exits with its code. SIGHUP and
/// SIGUSR1 call `heed`, if it is given. SIGHUP is a signal to stop if docroot was started on a terminal that is closed by now.
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
                        // The kernel and the shell both send it.
                        None if is_closed => {}
                        None => process::exit(at_once()),
                    },
                }
            }
        })?;
    Ok(())
}

/// Waits for the last access log lines, and logs how many were lost.
fn finish(writer: Option<&WriterHandle>, time: Duration) {
    if let Some(writer) = writer
        && let Err(lines) = writer.finish(time)
    {
        error!("access log lines lost since the start: {lines}");
    }
}

/// Prints text to a reader that may stop early: `docroot --man | head`.
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
