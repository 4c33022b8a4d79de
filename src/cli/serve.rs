//! The server: options in, sockets, sandbox and threads in their order, and the signals that it acts on.

use std::io::{self, IsTerminal as _, Write as _};
use std::iter;
use std::thread;
use std::time::Duration;

use docroot::auth::Verifier;
use docroot::log::{LineWriter, WriterHandle};
use docroot::net::Endpoint;
use docroot::proxy;
use docroot::server::sandbox::{self, Confinement};
use docroot::server::{self, BoundListeners, Server};
use docroot::site::{LoadedPolicy, PolicySources, SharedPolicy};
use sd_notify::NotifyState;
use signal_hook::consts::SIGUSR1;
use tracing::{error, info, warn};

use super::banner::{self, StartedServer, start_message};
use super::browser::Browser;
use super::check;
use super::confinement::describe_confinement;
use super::diagnostics::init_diagnostics;
use super::exit_codes::Failure;
use super::log_sink::LogSink;
use super::options::{self, AccessLogConfig, Arguments, Config, UserSources};
use super::output::print;
use super::service_manager::ServiceManager;
use super::signals::handle_signals;
use super::site::open_site;

/// Time for which access log lines are gathered, to be written together.
const ACCESS_LOG_BATCH_TIME: Duration = Duration::from_millis(50);

/// Time limit for writing the last log lines.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(1);

/// Time limit for ending after a second signal to stop.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves, and writes all diagnostics before it returns.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let diagnostics = init_diagnostics(&arguments);
    let mut writer = None;
    let result = serve(arguments, || {
        let started = diagnostics.start()?;
        Ok(writer.insert(started).clone())
    });
    if let Some(writer) = writer {
        let _ = writer.finish(LAST_LINES_TIMEOUT);
    }
    result
}

/// Serves. The sandbox is entered after all sockets are bound and before the first thread is started. After it,
/// `start_diagnostics` starts the writer thread of diagnostics.
fn serve(
    arguments: Arguments,
    start_diagnostics: impl FnOnce() -> io::Result<WriterHandle>,
) -> Result<(), Failure> {
    let (quiet, check) = (arguments.quiet, arguments.check);
    let unknown_variables = options::unknown_variables();
    for warning in arguments
        .variable_warnings()
        .iter()
        .chain(&unknown_variables)
    {
        warn!("{warning}");
    }
    let config = arguments.resolve().map_err(Failure::bad_arguments)?;
    let root = server::open_root(&config.server)?;
    if check {
        return check::run(root, config);
    }
    let sockets = BoundListeners::listen(&config.server)?;
    // The sandbox forbids starting programs and connecting to sockets.
    let browser = start_browser(config.url_display.browser.as_deref());
    let manager = ServiceManager::connect(std::env::var_os("NOTIFY_SOCKET").as_deref());
    let confinement = sandbox::confine(config.sandbox, &config.requirements)?;
    let diagnostics = start_diagnostics()?;
    if let Confinement::None(_) = confinement {
        warn!("{}", describe_confinement(&confinement));
    }
    let (site, loaded) = open_site(root, &config)?;
    warn_of_ignored_rules(&loaded);
    let root_fault = check::root_fault(&config.server.root, &site);
    // On a terminal the banner has it.
    let has_banner = !quiet && io::stdout().is_terminal() && io::stderr().is_terminal();
    if let Some(fault) = root_fault.as_ref().filter(|_| !has_banner) {
        warn!("{fault}");
    }
    let (line_writer, access_log) = config
        .log
        .as_ref()
        .map(open_access_log)
        .transpose()?
        .unzip();
    let (policy, freshness) = (site.shared().policy.clone(), site.freshness());
    let server = Server::new(site, sockets, &config.server, line_writer)?;
    let addresses: Vec<Endpoint> = server.addresses().cloned().collect();
    act_on_signals(
        &config,
        &server,
        policy,
        &manager,
        access_log.as_ref(),
        diagnostics,
    )?;
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
    let served = server.run();
    finish_access_log(access_log.as_ref(), LAST_LINES_TIMEOUT);
    Ok(served?)
}

/// Starts the thread that stops the server, reloads its configuration, and reopens its access log on signals.
fn act_on_signals(
    config: &Config,
    server: &Server,
    policy: SharedPolicy,
    manager: &ServiceManager,
    access_log: Option<&WriterHandle>,
    diagnostics: WriterHandle,
) -> io::Result<()> {
    let handle = server.handle();
    let delay = config.drain_delay;
    let notifier = manager.clone();
    let drain = move || {
        notifier.notify(&[NotifyState::Stopping]);
        drain(&handle, delay);
    };
    let (handle, log) = (server.handle(), access_log.cloned());
    let on_abort = move || {
        handle.abort();
        // The process ends earlier if the workers end. A thread that hangs is not waited for.
        thread::sleep(ABORT_TIMEOUT);
        finish_access_log(log.as_ref(), Duration::ZERO);
        let _ = diagnostics.finish(ABORT_TIMEOUT);
        0
    };
    let (sources, auth) = (config.sources.clone(), config.auth.clone());
    let verifier = server.verifier();
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
    let log = access_log.cloned();
    let on_signal = move |signal| match (signal, &log) {
        (SIGUSR1, Some(log)) => log.reopen(),
        (SIGUSR1, None) => {}
        _ => reload(),
    };
    handle_signals(drain, on_abort, Some(on_signal))
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
fn drain(handle: &server::ServerHandle, delay: Duration) {
    handle.start_draining();
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
    AccessLogConfig { file, argument, .. }: &AccessLogConfig,
) -> Result<(LineWriter, WriterHandle), Failure> {
    let Some(file) = file else {
        let out = LogSink::standard_output()?;
        return Ok(LineWriter::new(
            "standard output",
            ACCESS_LOG_BATCH_TIME,
            out,
        )?);
    };
    let name = file.display().to_string();
    let out = LogSink::file(file).map_err(|error| {
        Failure::bad_arguments(format!(
            "cannot open {argument}: {error}; name a file that this user can write"
        ))
    })?;
    Ok(LineWriter::new(&name, ACCESS_LOG_BATCH_TIME, out)?)
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

/// Reloads path rules, media types and users. If there is a mistake in one of them, all stay as they are.
fn reload(
    sources: &PolicySources,
    policy: &SharedPolicy,
    auth: &UserSources,
    verifier: Option<&Verifier>,
) {
    let users = || auth.read().map_err(|errors| vec![errors]);
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

/// Waits for the last access log lines, and logs how many were lost.
fn finish_access_log(writer: Option<&WriterHandle>, time: Duration) {
    if let Some(writer) = writer
        && let Err(lines) = writer.finish(time)
    {
        error!("access log lines lost since the start: {lines}");
    }
}
