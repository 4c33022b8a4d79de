//! The program: it reads the arguments, runs a command or the server, handles signals, and returns the exit code.
#![forbid(unsafe_code)]

mod banner;
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
use docroot::line_writer::{LineWriter, WriterHandle};
use docroot::net::Endpoint;
use docroot::proxy;
use docroot::sandbox::{self, Confinement, Unconfined};
use docroot::server::{self, BoundListeners, Server};
use docroot::service::Health;
use docroot::site::{LoadedPolicy, PolicySources, Root, SharedPolicy, Site, Trace};
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::banner::{StartedServer, start_message};
use crate::browser::Browser;
use crate::config::{AccessLogConfig, Arguments, Command, Config, ExplainArguments};
use crate::log_sink::LogSink;
use crate::service_manager::ServiceManager;

/// Time for which access log lines are gathered, to be written together.
const ACCESS_LOG_BATCH_TIME: Duration = Duration::from_millis(50);

/// Time limit for writing the last log lines.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);

/// Time limit for ending after a second signal to stop.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Exit codes other than 0, which is a clean stop. clap exits with 2 for bad arguments, too.
const EXIT_FAILURE: u8 = 1;
const EXIT_BAD_ARGUMENTS: u8 = 2;
const EXIT_CANNOT_BIND: u8 = 3;
const EXIT_NO_ROOT: u8 = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::read();
    let result = match (arguments.command.take(), arguments.manual()) {
        (Some(command), _) => run_command(command),
        (None, Some(text)) => print_manual(&text),
        (None, None) => serve(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, why)) => {
            // A closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {why}");
            ExitCode::from(code)
        }
    }
}

/// Exit code and message.
type Failure = (u8, String);

/// Serves, and writes all diagnostics before it returns.
fn serve(arguments: Arguments) -> Result<(), Failure> {
    let diagnostics = init_diagnostics(&arguments);
    let mut writer = None;
    let result = run(arguments, || {
        let started = diagnostics.start()?;
        Ok(writer.insert(started).clone())
    });
    if let Some(writer) = writer {
        let _ = writer.finish(LAST_LINES_TIMEOUT);
    }
    result
}

fn run_command(command: Command) -> Result<(), Failure> {
    match command {
        Command::Compress(arguments) => run_compress(arguments.resolve()),
        Command::Explain(arguments) => run_explain(*arguments),
        Command::Healthcheck(arguments) => arguments
            .resolve()
            .and_then(healthcheck::run)
            .map_err(|why| (EXIT_FAILURE, why)),
        Command::Hash { user } => hash::run(user.as_deref()).map_err(|why| (EXIT_FAILURE, why)),
    }
}

fn run_compress(options: compress::CompressOptions) -> Result<(), Failure> {
    let quiet = options.quiet;
    let compression = Compression::open(options).map_err(compress_failure)?;
    let handle = compression.handle();
    let on_abort = || EXIT_FAILURE.into();
    handle_signals(move || handle.stop(), on_abort, None::<fn(i32)>).map_err(io_failure)?;
    let summary = compression.run().map_err(compress_failure)?;
    if !quiet {
        print(&summary.to_string()).map_err(io_failure)?;
    }
    match summary.failures {
        0 => Ok(()),
        count => Err((
            EXIT_FAILURE,
            format!("{count} failures, each named above; all other files are done"),
        )),
    }
}

fn compress_failure(error: compress::CompressError) -> Failure {
    let code = match error {
        compress::CompressError::Root(..) => EXIT_NO_ROOT,
        compress::CompressError::Stopped(_) | compress::CompressError::System(_) => EXIT_FAILURE,
    };
    (code, error.to_string())
}

/// Serves. The sandbox is entered after all sockets are bound and before the first thread is started. After it,
/// `start_diagnostics` starts the writer thread of diagnostics.
fn run(
    arguments: Arguments,
    start_diagnostics: impl FnOnce() -> Result<WriterHandle, Failure>,
) -> Result<(), Failure> {
    let (quiet, check) = (arguments.quiet, arguments.check);
    for warning in config::unknown_variables() {
        warn!("{warning}");
    }
    let mut config = arguments
        .resolve()
        .map_err(|why| (EXIT_BAD_ARGUMENTS, why))?;
    let root = server::open_root(&config.server).map_err(start_failure)?;
    if check {
        let (site, loaded) = open_site(root, &mut config)?;
        return run_check(&config, &site, &loaded);
    }
    let sockets = BoundListeners::listen(&config.server).map_err(start_failure)?;
    // The sandbox forbids starting programs and connecting to sockets.
    let browser = start_browser(config.url_display.browser.as_deref());
    let manager = ServiceManager::connect(std::env::var_os("NOTIFY_SOCKET").as_deref());
    let confinement =
        sandbox::confine(config.sandbox, &config.requirements).map_err(sandbox_failure)?;
    let diagnostics = start_diagnostics()?;
    if let Confinement::None(_) = confinement {
        warn!("{confinement}");
    }
    let (site, loaded) = open_site(root, &mut config)?;
    warn_of_ignored_rules(&loaded);
    let root_fault = check::root_fault(&config.server.root, &site);
    // On a terminal the banner has it.
    let has_banner = !quiet && io::stdout().is_terminal() && io::stderr().is_terminal();
    if let Some(fault) = root_fault.as_ref().filter(|_| !has_banner) {
        warn!("{fault}");
    }
    let policy = config.server.site.policy.clone();
    let (line_writer, access_log) = config
        .log
        .as_ref()
        .map(open_access_log)
        .transpose()?
        .unzip();
    let freshness = site.freshness();
    let server = Server::new(site, sockets, &config.server, line_writer).map_err(start_failure)?;
    let addresses: Vec<Endpoint> = server.addresses().cloned().collect();
    let handle = server.handle();
    let (health, delay) = (config.server.service.health.clone(), config.drain_delay);
    let notifier = manager.clone();
    let drain = move || {
        notifier.notify(&[NotifyState::Stopping]);
        drain(&handle, health.as_ref(), delay);
    };
    let (handle, log) = (server.handle(), access_log.clone());
    let on_abort = move || {
        handle.abort();
        // The process ends earlier if the workers end. A thread that hangs is not waited for.
        thread::sleep(ABORT_TIMEOUT);
        finish_access_log(log.as_ref(), Duration::ZERO);
        let _ = diagnostics.finish(ABORT_TIMEOUT);
        0
    };
    let (sources, auth, verifier) = (
        config.sources.clone(),
        config.auth.clone(),
        server.verifier(),
    );
    let notifier = manager.clone();
    let reload = move || {
        // The time at which this reload starts identifies it (sd_notify(3)).
        let start_time = NotifyState::monotonic_usec_now();
        notifier.notify(
            &iter::once(NotifyState::Reloading)
                .chain(start_time)
                .collect::<Vec<_>>(),
        );
        reload(&sources, &policy, &auth, verifier.as_ref());
        notifier.notify(&[NotifyState::Ready]);
    };
    let log = access_log.clone();
    let on_signal = move |signal| match (signal, &log) {
        (SIGUSR1, Some(log)) => log.reopen(),
        (SIGUSR1, None) => {}
        _ => reload(),
    };
    handle_signals(drain, on_abort, Some(on_signal)).map_err(io_failure)?;
    warn_of_exposed_addresses(&config, &addresses);
    let start_message = start_message(&StartedServer {
        options: &config.server,
        freshness,
        confinement: &confinement,
        addresses: &addresses,
        metrics: server.metrics(),
        root_fault: root_fault.as_deref(),
    });
    if !quiet && let Err(error) = print(&start_message) {
        warn!("cannot print the URLs on standard output: {error}");
    }
    show_url(&config, &addresses, browser);
    manager.notify(&[NotifyState::Ready]);
    let served = server.run().map_err(io_failure);
    finish_access_log(access_log.as_ref(), LAST_LINES_TIMEOUT);
    served
}

/// Starts the browser for `--open`. A failure is logged, and the site is served without it.
fn start_browser(browser: Option<&[String]>) -> Option<Browser> {
    let browser = Browser::start(browser?);
    browser
        .inspect_err(|error| warn!("cannot start the browser for --open: {error}"))
        .ok()
}

/// Opens the browser and prints the QR code, if the options say so.
fn show_url(config: &Config, addresses: &[Endpoint], browser: Option<Browser>) {
    if let Some(browser) = browser
        && let Some(url) = banner::site_url(&config.server, addresses)
    {
        browser.open(&url);
    }
    if !config.url_display.qr {
        return;
    }
    match banner::qr_code(&config.server, addresses) {
        Ok(code) if io::stdout().is_terminal() => {
            let _ = print(&code);
        }
        // A program expects one line on standard output, the JSON line.
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
    let delayed_handle = handle.clone();
    let spawned = thread::Builder::new().name("drain".into()).spawn(move || {
        thread::sleep(delay);
        delayed_handle.stop();
    });
    if let Err(error) = spawned {
        warn!("cannot start the thread for --drain-delay: {error}; stopping without the delay");
        handle.stop();
    }
}

/// Opens the access log, and starts its writer thread.
fn open_access_log(
    AccessLogConfig { file, .. }: &AccessLogConfig,
) -> Result<(LineWriter, WriterHandle), Failure> {
    let Some(file) = file else {
        let out = LogSink::standard_output().map_err(io_failure)?;
        return LineWriter::new("standard output", ACCESS_LOG_BATCH_TIME, out).map_err(io_failure);
    };
    let name = file.display().to_string();
    let out = LogSink::file(file).map_err(|error| {
        let why =
            format!("cannot open --log-file {name}: {error}; name a file that this user can write");
        (EXIT_BAD_ARGUMENTS, why)
    })?;
    LineWriter::new(&name, ACCESS_LOG_BATCH_TIME, out).map_err(io_failure)
}

/// Opens the site, with its path rules in force.
fn open_site(root: Root, config: &mut Config) -> Result<(Site, LoadedPolicy), Failure> {
    let mut site = server::open_site(root, &mut config.server).map_err(start_failure)?;
    let loaded = config.sources.load();
    let loaded = loaded.map_err(|errors| (EXIT_BAD_ARGUMENTS, errors.join("\n")))?;
    config.server.site.policy.replace(loaded.policy.clone());
    site.mark_stale(true);
    require_pages(config, &site)?;
    Ok((site, loaded))
}

/// Prints the report of `--check`.
fn run_check(config: &Config, site: &Site, loaded: &LoadedPolicy) -> Result<(), Failure> {
    let confinement =
        sandbox::try_confine(config.sandbox, &config.requirements).map_err(sandbox_failure)?;
    let report = check::check(config, site, loaded, &confinement);
    print(&report.text).map_err(io_failure)?;
    match report.problems {
        0 => Ok(()),
        1 => Err((EXIT_FAILURE, "1 problem, named above".into())),
        count => Err((EXIT_FAILURE, format!("{count} problems, named above"))),
    }
}

fn run_explain(arguments: ExplainArguments) -> Result<(), Failure> {
    let (mut config, request) = arguments
        .resolve()
        .map_err(|why| (EXIT_BAD_ARGUMENTS, why))?;
    let trace = Trace::default();
    config.server.site.trace = Some(trace.clone());
    let root = server::open_root(&config.server).map_err(start_failure)?;
    let (site, loaded) = open_site(root, &mut config)?;
    for warning in config::unknown_variables().iter().chain(&loaded.warnings) {
        // As in the log of a server.
        let _ = writeln!(io::stderr(), "docroot: {warning}");
    }
    let explanation =
        explain::explain(&config, site, &loaded, &trace, &request).map_err(io_failure)?;
    print(&explanation).map_err(io_failure)
}

/// Logs the rules that are ignored. Only those of files in the root, which no option names, can be.
fn warn_of_ignored_rules(loaded: &LoadedPolicy) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}

/// Warns of addresses that are reachable over the network: of passwords, which Basic authentication sends in clear text
/// (RFC 7617 section 4), and of PROXY headers that are accepted from any peer.
fn warn_of_exposed_addresses(config: &Config, addresses: &[Endpoint]) {
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
    for (argument, page) in &config.required {
        if let Err(error) = site.check_file(page) {
            let root = config.server.root.display();
            let why = format!("{argument}: {error}; name a file below {root}");
            return Err((EXIT_BAD_ARGUMENTS, why));
        }
    }
    Ok(())
}

/// Reloads path rules, media types and users. If there is a mistake in one of them, all stay as they are.
fn reload(
    sources: &PolicySources,
    policy: &SharedPolicy,
    (entries, file): &(Vec<String>, Option<PathBuf>),
    verifier: Option<&Verifier>,
) {
    let users = || config::users(entries, file.as_deref()).map_err(|errors| vec![errors]);
    match sources.load().and_then(|loaded| Ok((loaded, users()?))) {
        Ok((loaded, users)) => {
            warn_of_ignored_rules(&loaded);
            policy.replace(loaded.policy);
            if let (Some(verifier), Some(users)) = (verifier, users) {
                verifier.replace_users(users);
            }
            info!("configuration reloaded");
        }
        Err(errors) => {
            errors.iter().for_each(|error| error!("{error}"));
            error!("configuration not reloaded: the previous one stays in force");
        }
    }
}

fn io_failure(error: io::Error) -> Failure {
    (EXIT_FAILURE, error.to_string())
}

fn sandbox_failure(error: Unconfined) -> Failure {
    (EXIT_FAILURE, error.to_string())
}

fn start_failure(error: server::StartError) -> Failure {
    let code = match error {
        server::StartError::Root(..) => EXIT_NO_ROOT,
        server::StartError::Bind(..)
        | server::StartError::Metrics(..)
        | server::StartError::Zone(..)
        | server::StartError::Activation(_) => EXIT_CANNOT_BIND,
        server::StartError::System(_) => EXIT_FAILURE,
    };
    let message = match &error {
        server::StartError::Root(root, why) => config::root_hint(root)
            .map(|hint| format!("cannot serve {}: {why}; {hint}", root.display())),
        _ => None,
    };
    (code, message.unwrap_or_else(|| error.to_string()))
}

/// Sends diagnostics to standard error. `RUST_LOG` (`debug`, `docroot=trace`, ...) sets the level unless -v is given.
fn init_diagnostics(arguments: &Arguments) -> Diagnostics {
    let rust_log = std::env::var("RUST_LOG").unwrap_or_default();
    let parsed = Targets::from_str(&rust_log);
    let is_malformed = parsed.is_err();
    let targets = match (arguments.verbose, parsed) {
        (0, Ok(targets)) if !rust_log.is_empty() => targets,
        (0, _) if arguments.quiet => Targets::new().with_default(LevelFilter::WARN),
        (0, _) => Targets::new().with_default(LevelFilter::INFO),
        (1, _) => Targets::new().with_default(LevelFilter::DEBUG),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let diagnostics = Diagnostics::default();
    let lines = diagnostics.clone();
    let is_terminal = io::stderr().is_terminal();
    local_time::load_time_zone();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .with_ansi(is_terminal && config::has_colours())
        .with_timer(local_time::DiagnosticTime {
            is_local: is_terminal,
        })
        .with_target(false);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .init();
    if is_malformed {
        warn!("RUST_LOG={rust_log:?} is ignored: it is malformed; try RUST_LOG=docroot=debug");
    }
    diagnostics
}

/// Standard error, written line by line. Once docroot serves, a background thread writes the lines, so that no worker
/// waits for a slow reader.
#[derive(Clone, Default)]
struct Diagnostics(Arc<OnceLock<Mutex<LineWriter>>>);

impl Diagnostics {
    /// Starts the background thread.
    fn start(&self) -> Result<WriterHandle, Failure> {
        let (line_writer, writer) =
            LineWriter::for_diagnostics("standard error", io::stderr()).map_err(io_failure)?;
        let _ = self.0.set(Mutex::new(line_writer));
        Ok(writer)
    }
}

impl io::Write for Diagnostics {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(line_writer) = self.0.get() else {
            io::stderr().write_all(line)?;
            return Ok(line.len());
        };
        // A thread that panics while it holds the lock leaves the writer in a valid state.
        let mut line_writer = line_writer.lock().unwrap_or_else(PoisonError::into_inner);
        line_writer.batch().extend_from_slice(line);
        line_writer.flush();
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

/// Starts a thread that handles signals. The first signal to stop calls `on_stop`; the second calls `on_abort`, and the
/// process exits with the code that it returns. SIGHUP and SIGUSR1 call `on_signal`, if it is given. SIGHUP is a signal
/// to stop if docroot was started on a terminal that has been closed since.
fn handle_signals(
    on_stop: impl FnOnce() + Send + 'static,
    on_abort: impl Fn() -> i32 + Send + 'static,
    on_signal: Option<impl Fn(i32) + Send + 'static>,
) -> io::Result<()> {
    let was_on_terminal = is_on_terminal();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    if on_signal.is_some() {
        signals.add_signal(SIGHUP)?;
        signals.add_signal(SIGUSR1)?;
    }
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut on_stop = Some(on_stop);
            for signal in signals.forever() {
                let is_closed = signal == SIGHUP && was_on_terminal && !is_on_terminal();
                match (signal, &on_signal) {
                    (SIGHUP | SIGUSR1, Some(on_signal)) if !is_closed => on_signal(signal),
                    _ => match on_stop.take() {
                        Some(on_stop) => on_stop(),
                        // When a terminal is closed, the kernel and the shell both send SIGHUP.
                        None if is_closed => {}
                        None => process::exit(on_abort()),
                    },
                }
            }
        })?;
    Ok(())
}

/// Waits for the last access log lines, and logs how many were lost.
fn finish_access_log(writer: Option<&WriterHandle>, time: Duration) {
    if let Some(writer) = writer
        && let Err(lines) = writer.finish(time)
    {
        error!("access log lines lost since the start: {lines}");
    }
}

/// Prints text to a reader that may close the pipe early: `docroot --man | head`.
fn print_manual(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(io_failure(error)),
        _ => Ok(()),
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}
