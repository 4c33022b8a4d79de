//! The arguments of the program, and the options that result from them.

use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};
use docroot::net::{Endpoint, Limits, raise_descriptor_limit};
use docroot::server::{Bind, max_cached_files};

use super::binds::{self, Binds, DEFAULT_PORT, FALLBACK_PORTS};
use super::compress::CompressArguments;
use super::config::Config;
use super::defaults::default_workers;
use super::explain::{AFTER_EXPLAIN_HELP, ExplainArguments};
use super::health::HealthOptions;
use super::healthcheck::HealthcheckArguments;
use super::live::UrlDisplayOptions;
use super::log::{self, AccessLogConfig, LogOptions};
use super::manual::ManualOptions;
use super::metrics::MetricsOptions;
use super::proxies::ProxyOptions;
use super::root::{RootArguments, require_not_served};
use super::sandbox::SandboxOptions;
use super::site::SiteArguments;
use super::{group, values};
use crate::cli::local_time;

/// Text after the options in `--help`.
const AFTER_HELP: &str = "\
Examples:
  docroot html                                     Serve the directory html on this machine
  docroot -b '[::]' --port 3000 html               Serve it to the local network
  docroot --spa --compress html                    Serve a single-page application, compressed
  docroot explain /about html                      Print which file /about is, and why

Each option is also read from an environment variable: --max-header from DOCROOT_MAX_HEADER,
and the port from PORT, too. The command line wins. A directory with the name of a command is
written ./NAME. The unit of a time is ms, s, m or h. A size is in bytes, or in k, M or G, powers
of 1024 (also KiB, MiB, GiB).";

/// Serve a directory over HTTP.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = "--help shows all options.", after_long_help = AFTER_HELP)]
#[command(disable_help_flag = true, disable_version_flag = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    root_dir: RootArguments,

    /// Listen on this TCP port; 0 takes any free port [default: 8080; on a terminal the next free one up to 8090]
    #[arg(short, long, value_name = "N", env = "DOCROOT_PORT")]
    #[arg(help_heading = group::LISTENING, value_parser = binds::port_number)]
    port: Option<u16>,

    /// Listen on this address: IP, IP:PORT, unix:/path, or systemd for sockets that it passes; repeatable [default:
    /// 127.0.0.1 and ::1]
    #[arg(short, long, value_name = "ADDR", env = "DOCROOT_BIND")]
    #[arg(visible_aliases = ["host", "listen"], visible_short_alias = 'l')]
    #[arg(value_delimiter = ',', value_parser = binds::parse, help_heading = group::LISTENING)]
    bind: Vec<Binds>,

    #[command(flatten)]
    proxies: ProxyOptions,

    #[command(flatten)]
    pub(super) site: SiteArguments,

    #[command(flatten)]
    url_display: UrlDisplayOptions,

    /// Run this many worker threads, each with an event loop of its own [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", env = "DOCROOT_WORKERS", value_parser = values::workers)]
    #[arg(help_heading = group::PRODUCTION, hide_short_help = true)]
    workers: Option<NonZeroUsize>,

    #[command(flatten)]
    health: HealthOptions,

    /// Serve fingerprinted files of the previous release for this time after the root is switched to a new release,
    /// for pages that were loaded before [default: off]
    #[arg(long, value_name = "TIME", env = "DOCROOT_RELEASE_GRACE", value_parser = values::duration)]
    #[arg(help_heading = group::PRODUCTION, hide_short_help = true)]
    release_grace: Option<Duration>,

    #[command(flatten)]
    metrics: MetricsOptions,

    #[command(flatten)]
    sandbox: SandboxOptions,

    /// Check the options and every file below the root, print what would be served, and exit
    #[arg(long, env = "DOCROOT_CHECK")]
    #[arg(help_heading = group::PRODUCTION)]
    pub(crate) check: bool,

    #[command(flatten)]
    log: LogOptions,

    /// Print neither the banner nor the access log; warnings and errors stay
    #[arg(short, long, env = "DOCROOT_QUIET")]
    #[arg(help_heading = group::LOGGING, hide_short_help = true)]
    pub(crate) quiet: bool,

    /// Log more on standard error: -v debug, with the reason of each 4xx response; -vv trace
    #[arg(short, long, action = ArgAction::Count, env = "DOCROOT_VERBOSE")]
    #[arg(help_heading = group::LOGGING)]
    pub(crate) verbose: u8,

    /// Close a connection whose request head takes longer than this to arrive: 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", env = "DOCROOT_HEADER_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    header_timeout: Duration,

    /// Close a connection that is idle for longer than this between requests, whose request content takes longer, or
    /// whose client takes nothing of a response for longer
    #[arg(long, value_name = "TIME", env = "DOCROOT_IDLE_TIMEOUT")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    idle_timeout: Duration,

    /// Close a connection whose client reads fewer bytes per second than this on average; 0 never does
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MIN_RATE")]
    #[arg(default_value = "1KiB", value_parser = values::size)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    min_rate: u64,

    /// Hold at most this many connections at once [default: from the limit of open files]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS", value_parser = values::connections)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    max_connections: Option<usize>,

    /// Hold at most this many connections at once for one IP address, or one IPv6 /64 network [default: no limit]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS_PER_IP", value_parser = values::connections)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    max_connections_per_ip: Option<usize>,

    #[command(flatten)]
    pub(super) manual: ManualOptions,

    /// Print help; -h prints the most used options only
    #[arg(short, long, action = ArgAction::Help, help_heading = group::HELP)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = group::HELP)]
    version: Option<bool>,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write compressed sidecars (.br, .zst, .gz) beside the files of a directory
    Compress(CompressArguments),
    /// Print the response that a request would get, and why
    #[command(after_help = AFTER_EXPLAIN_HELP)]
    Explain(Box<ExplainArguments>),
    /// Check that a server is healthy: exit code 0, or 1 and the reason
    Healthcheck(HealthcheckArguments),
    /// Print the hash of a password for --auth and --auth-file
    Hash {
        /// Print a line of an htpasswd file for this user instead of the hash alone
        #[arg(value_name = "USER", value_parser = values::user_name)]
        user: Option<String>,
    },
}

impl Arguments {
    /// Returns a warning for each variable of an option that is ignored, one sentence each.
    pub(crate) fn variable_warnings(&self) -> &[String] {
        self.site.variables.warnings()
    }

    /// Returns the options with defaults from the environment and the current directory.
    ///
    /// # Errors
    /// One sentence: the argument, and what to do.
    pub(crate) fn resolve(self) -> Result<Config, String> {
        let variables = self.site.variables.clone();
        let ports = match self.port {
            Some(port) => vec![port],
            None if std::io::stdout().is_terminal() => {
                [DEFAULT_PORT].into_iter().chain(FALLBACK_PORTS).collect()
            }
            None => vec![DEFAULT_PORT],
        };
        let root = self.root_dir.resolve()?;
        let descriptors = raise_descriptor_limit();
        let workers = self.workers.unwrap_or_else(default_workers);
        let defaults = Limits::for_reactors(workers.get(), max_cached_files(descriptors));
        let connections = self.max_connections.unwrap_or(defaults.connections);
        if connections as u64 >= descriptors {
            return Err(format!(
                "{} needs more than the {descriptors} files that this process may open; raise that limit (ulimit -n) \
                 or lower the number",
                variables.with_value("--max-connections", connections)
            ));
        }
        let (trusted, proxy) =
            self.proxies
                .resolve(self.header_timeout, self.max_connections_per_ip, &variables)?;
        let limits = Limits {
            connections,
            inbox_bytes: defaults.inbox_bytes.max(self.site.max_header),
            min_rate: self.min_rate,
            stall_timeout: self.idle_timeout,
            ..defaults
        };
        let mut binds = Binds::new();
        let binds_or_default = if self.bind.is_empty() {
            vec![binds::localhost(None)]
        } else {
            self.bind
        };
        for bind in binds_or_default.into_iter().flatten() {
            // An address cannot be bound twice.
            if !binds.iter().any(|other| binds::is_same(other, &bind)) {
                binds.push(bind);
            }
        }
        let log = self.log.resolve(self.quiet, &variables)?;
        let hidden = self.site.hidden;
        let mut config = self.site.resolve(root)?;
        if let Some(AccessLogConfig {
            format,
            file,
            argument,
            is_terminal,
        }) = &log
        {
            config.server.service.log_format = *format;
            config.server.service.utc_offset = is_terminal.then_some(local_time::utc_offset);
            if let Some(file) = file {
                require_not_served(argument, file, &config.server.root, hidden)?;
            }
        }
        let file = log.as_ref().and_then(|log| log.file.as_ref());
        if let Some(file) = file.and_then(|file| std::path::absolute(file).ok()) {
            log::add_requirements(file, &mut config.requirements);
        }
        config.log = log;
        config.server.metrics = self.metrics.metrics;
        config.server.http1.header_timeout = self.header_timeout;
        config.server.http1.idle_timeout = self.idle_timeout;
        config.server.service.trusted_proxies = trusted;
        config.server.proxy = proxy;
        config.server.binds = binds;
        config.server.ports = ports;
        config.server.workers = workers;
        config.server.limits = limits;
        config.server.max_per_ip = self.max_connections_per_ip;
        config.server.site.release_grace = self.release_grace.unwrap_or_default();
        (config.server.service.health, config.drain_delay) = self.health.resolve();
        config.sandbox = self.sandbox.resolve();
        let sockets = config.server.binds.iter().filter_map(|bind| match bind {
            Bind::Unix(Endpoint::Path(path)) => Some(path.clone()),
            Bind::Ip { .. } | Bind::Unix(_) | Bind::Activated(_) => None,
        });
        config.requirements.sockets = sockets.collect();
        // Build tools remove the directory that they write to.
        config.requirements.directories_are_replaced = config.server.live_reload;
        config.url_display = self.url_display.resolve();
        Ok(config)
    }
}
