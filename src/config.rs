//! The command line and the environment, and the server options that result from them.

mod binds;
mod etag;
mod health;
mod healthcheck;
mod live;
mod log;
mod manual;
mod memory;
mod metrics;
mod mistakes;
mod proxies;
mod reference;
mod sandbox;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::builder::{BoolishValueParser, Resettable, ValueHint};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};
use docroot::auth::{HtpasswdError, Users};
use docroot::compress;
use docroot::http1;
use docroot::net::{Endpoint, Limits, max_cached_files, raise_descriptor_limit};
use docroot::sandbox::{Requirements, SandboxMode};
use docroot::server::{self, Bind};
use docroot::service::ServiceOptions;
use docroot::site::{
    self, CachePolicy, ConfiguredField, MediaTypesInput, PolicySources, Releases, SharedPolicy,
    Symlinks,
};

pub(crate) use self::healthcheck::{HealthcheckArguments, HealthcheckRequest};
pub(crate) use self::live::UrlDisplay;
pub(crate) use self::log::{AccessLogConfig, has_colours};

use crate::local_time;

use self::binds::Binds;
use self::etag::EtagOptions;
use self::live::{LiveOptions, UrlDisplayOptions};
use self::log::LogOptions;
use self::metrics::MetricsOptions;
use self::proxies::ProxyOptions;

/// Headings of `--help`, the manual page and docs/reference/options.md.
mod group {
    pub(super) const LISTENING: &str = "Listening";
    pub(super) const SITE: &str = "Site";
    pub(super) const URLS: &str = "URLs";
    pub(super) const FIELDS: &str = "Response fields";
    pub(super) const CACHING: &str = "Caching and compression";
    pub(super) const ACCESS: &str = "Access";
    pub(super) const LIVE: &str = "Development";
    pub(super) const PRODUCTION: &str = "Production";
    pub(super) const LOGGING: &str = "Logging";
    pub(super) const LIMITS: &str = "Limits";
    pub(super) const HELP: &str = "Help";
}

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

/// Text after the options in `docroot explain --help`.
const AFTER_EXPLAIN_HELP: &str = "\
-H is a field of the request here; --header, written out, is a field of every response, as for a server. The options \
of the site are read from the environment, too (DOCROOT_SPA and others).";

/// Default port, and the ports that are tried after it if docroot runs on a terminal.
const DEFAULT_PORT: u16 = 8080;
const FALLBACK_PORTS: std::ops::RangeInclusive<u16> = 8081..=8090;

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
    site: SiteArguments,

    #[command(flatten)]
    url_display: UrlDisplayOptions,

    /// Run this many worker threads, each with an event loop of its own [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", env = "DOCROOT_WORKERS", value_parser = values::workers)]
    #[arg(help_heading = group::PRODUCTION, hide_short_help = true)]
    workers: Option<NonZeroUsize>,

    #[command(flatten)]
    health: health::HealthOptions,

    /// Serve fingerprinted files of the previous release for this time after the root is switched to a new release,
    /// for pages that were loaded before [default: off]
    #[arg(long, value_name = "TIME", env = "DOCROOT_RELEASE_GRACE", value_parser = values::duration)]
    #[arg(help_heading = group::PRODUCTION, hide_short_help = true)]
    release_grace: Option<Duration>,

    #[command(flatten)]
    metrics: MetricsOptions,

    #[command(flatten)]
    sandbox: sandbox::SandboxOptions,

    /// Check the options and every file below the root, print what would be served, and exit
    #[arg(long, env = "DOCROOT_CHECK", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::PRODUCTION)]
    pub(crate) check: bool,

    #[command(flatten)]
    log: LogOptions,

    /// Print neither the banner nor the access log; warnings and errors stay
    #[arg(short, long, env = "DOCROOT_QUIET", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::LOGGING, hide_short_help = true)]
    pub(crate) quiet: bool,

    /// Log more on standard error: -v debug, with the reason of each 4xx response; -vv trace
    #[arg(short, long, action = ArgAction::Count, env = "DOCROOT_VERBOSE", value_parser = values::level)]
    #[arg(help_heading = group::LOGGING)]
    pub(crate) verbose: u8,

    /// Close a connection whose request head takes longer than this to arrive: 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", env = "DOCROOT_HEADER_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    header_timeout: Duration,

    /// Close a connection that is idle for longer than this between requests, or whose request content takes longer
    #[arg(long, value_name = "TIME", env = "DOCROOT_IDLE_TIMEOUT")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    idle_timeout: Duration,

    /// Close a connection whose client reads fewer bytes per second than this, over 30 seconds; 0 never does
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
    manual: manual::ManualOptions,

    /// Print help; -h prints the most used options only
    #[arg(short, long, action = ArgAction::Help, help_heading = group::HELP)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = group::HELP)]
    version: Option<bool>,
}

/// Root directory, as an argument or as an option.
#[derive(Debug, Args)]
struct RootArguments {
    /// Serve this directory [default: ./html if it exists, else the current directory]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,

    /// Serve this directory, as an option instead of DIR
    #[arg(short = 'd', long, value_name = "DIR", env = "DOCROOT_ROOT", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    root: Option<PathBuf>,
}

/// Options that decide which response a request gets.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option, and means one thing"
)]
struct SiteArguments {
    /// Serve the first of these files that exists for a directory; a comma list
    #[arg(long, value_name = "NAMES", env = "DOCROOT_INDEX", help_heading = group::SITE)]
    #[arg(value_delimiter = ',', default_value = "index.html", value_parser = values::file_name)]
    #[arg(hide_short_help = true)]
    index: Vec<String>,

    /// Send this file of the root with status 404 for a path that does not exist [default: 404.html, if it exists]
    #[arg(long = "404", value_name = "FILE", env = "DOCROOT_404", value_parser = values::file_path)]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    not_found: Option<String>,

    /// Single-page application: send this file of the root when a browser navigates to a path that does not exist
    /// [default FILE: index.html]
    #[arg(short, long, value_name = "FILE", env = "DOCROOT_SPA", value_parser = values::file_path)]
    #[arg(num_args = 0..=1, default_missing_value = "index.html", require_equals = true)]
    #[arg(help_heading = group::SITE)]
    spa: Option<String>,

    /// List directories that have no index file: as HTML, or as JSON or text by Accept
    #[arg(long, env = "DOCROOT_LISTING", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::SITE)]
    listing: bool,

    /// Serve files and directories whose names begin with a dot, too
    #[arg(long, env = "DOCROOT_HIDDEN", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    hidden: bool,

    /// Follow symbolic links below the root: only to targets inside the root, not at all, or to any target
    #[arg(
        long,
        value_name = "WHERE",
        env = "DOCROOT_SYMLINKS",
        default_value = "inside"
    )]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    symlinks: SymlinksValue,

    /// Follow symbolic links to targets in this directory outside the root, too; repeatable
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCROOT_SYMLINK_ROOT",
        value_delimiter = ','
    )]
    #[arg(help_heading = group::SITE, hide_short_help = true, value_hint = ValueHint::DirPath)]
    symlink_root: Vec<PathBuf>,

    /// Do not serve about.html for /about
    #[arg(long, env = "DOCROOT_NO_CLEAN_URLS", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::URLS, hide_short_help = true)]
    no_clean_urls: bool,

    /// Serve the site below this URL path, such as /docs [default: /]
    #[arg(long, value_name = "PATH", env = "DOCROOT_PATH_PREFIX", value_parser = values::prefix)]
    #[arg(help_heading = group::URLS, hide_short_help = true)]
    path_prefix: Option<String>,

    /// Add this field to every response: 'Name: value'; 'Name:' removes a field that docroot would send; repeatable
    #[arg(short = 'H', long, value_name = "FIELD", env = "DOCROOT_HEADER")]
    #[arg(value_delimiter = '\n', value_parser = values::field, help_heading = group::FIELDS)]
    header: Vec<Option<ConfiguredField>>,

    /// Read response fields by path from this file in the _headers format, and redirects from _redirects beside it
    /// [default: _headers and _redirects in the root]
    #[arg(long, value_name = "FILE", env = "DOCROOT_HEADERS_FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = group::FIELDS, hide_short_help = true)]
    headers_file: Option<PathBuf>,

    /// Send CORS fields, so that pages of this origin may read responses [default ORIGIN: *, any origin]
    #[arg(short = 'C', long, value_name = "ORIGIN", env = "DOCROOT_CORS", value_parser = values::origin)]
    #[arg(num_args = 0..=1, default_missing_value = "*", require_equals = true)]
    #[arg(help_heading = group::FIELDS)]
    cors: Option<String>,

    /// Send COOP, COEP and CORP fields, which isolate pages from other origins; SharedArrayBuffer needs them
    #[arg(long, env = "DOCROOT_ISOLATE", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::FIELDS, hide_short_help = true)]
    isolate: bool,

    /// Add media types: a file in the format of Apache's mime.types, or .ext=type; repeatable, the last one wins
    #[arg(
        long,
        value_name = "FILE",
        env = "DOCROOT_MIME_TYPES",
        value_delimiter = ','
    )]
    #[arg(value_parser = values::types, help_heading = group::FIELDS, hide_short_help = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    mime_types: Vec<MediaTypesInput>,

    /// Set Cache-Control: auto (a year for fingerprinted names, revalidation for all others), off (no-store), or
    /// seconds
    #[arg(
        long,
        value_name = "RULE",
        env = "DOCROOT_CACHE",
        default_value = "auto"
    )]
    #[arg(help_heading = group::CACHING)]
    cache: CachePolicy,

    #[command(flatten)]
    etag: EtagOptions,

    /// Compress responses on background threads, for clients that accept it, and cache the result
    #[arg(long, env = "DOCROOT_COMPRESS", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::CACHING)]
    compress: bool,

    /// Do not send the sidecars app.js.br, app.js.zst and app.js.gz for app.js
    #[arg(long, env = "DOCROOT_NO_PRECOMPRESSED", value_parser = BoolishValueParser::new())]
    #[arg(help_heading = group::CACHING, hide_short_help = true)]
    no_precompressed: bool,

    /// Use at most this much memory for the cache of all workers; 0 turns the cache off [default: 64MiB, or a quarter
    /// of a container's memory limit, if that is less]
    #[arg(long, value_name = "BYTES", env = "DOCROOT_CACHE_MEMORY", value_parser = values::cache_size)]
    #[arg(help_heading = group::CACHING, hide_short_help = true)]
    cache_memory: Option<usize>,

    /// Require a password from this user, with this hash, as 'docroot hash USER' and 'htpasswd -nB USER' print it;
    /// repeatable; in a shell, write it in single quotes
    #[arg(short, long, value_name = "USER:HASH", env = "DOCROOT_AUTH", help_heading = group::ACCESS)]
    auth: Vec<String>,

    /// Require a password from the users in this htpasswd file
    #[arg(long, value_name = "FILE", env = "DOCROOT_AUTH_FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = group::ACCESS, hide_short_help = true)]
    auth_file: Option<PathBuf>,

    #[command(flatten)]
    live: LiveOptions,

    /// Refuse a request head larger than this with status 431, or 414
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MAX_HEADER")]
    #[arg(default_value = "32KiB", value_parser = values::header_size)]
    #[arg(help_heading = group::LIMITS, hide_short_help = true)]
    max_header: usize,

    /// Those of `PAGE_IDS` whose values come from environment variables.
    #[arg(skip)]
    ids_from_variables: Vec<&'static str>,
}

/// Arguments that name pages of the root.
const PAGE_IDS: [&str; 2] = ["not_found", "spa"];

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

/// Arguments of `docroot compress`.
#[derive(Debug, Args)]
pub(crate) struct CompressArguments {
    /// Compress the files below this directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,

    /// Compress files and directories whose names begin with a dot, too
    #[arg(long)]
    hidden: bool,

    /// Compress on this many threads [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", value_parser = values::workers)]
    jobs: Option<NonZeroUsize>,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Print a line for each file
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

/// Arguments of `docroot explain`. `-H` is a field of the request; `--header` is a field of every response.
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// Explain a request for this target: a path, with a query if there is one
    #[arg(value_name = "PATH")]
    path: OsString,

    #[command(flatten)]
    root_dir: RootArguments,

    /// Add this field to the request: 'Accept-Encoding: br'; repeatable
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = values::request_field)]
    request_header: Vec<String>,

    /// Use this request method
    #[arg(short = 'X', long, value_name = "NAME", default_value = "GET", value_parser = values::method)]
    method: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    site: SiteArguments,
}

/// Request to explain.
#[derive(Debug)]
pub(crate) struct ExplainRequest {
    pub(crate) method: String,
    /// Request target as it is sent.
    pub(crate) target: String,
    /// Field lines of the request.
    pub(crate) fields: Vec<String>,
    /// Whether the explanation is printed as JSON.
    pub(crate) json: bool,
}

/// Values of `--symlinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SymlinksValue {
    Inside,
    Deny,
    Follow,
}

/// Options, with defaults from the environment and this machine filled in.
#[derive(Debug)]
pub(crate) struct Config {
    /// Options of the server. The root is an absolute path.
    pub(crate) server: server::ServerOptions,
    /// Sources of the path rules and media types, loaded again on SIGHUP.
    pub(crate) sources: PolicySources,
    /// Pages that must exist, each with the argument or the variable that names it, for messages.
    pub(crate) required: Vec<(String, String)>,
    /// Sources of the users, loaded again on SIGHUP: entries, and a file.
    pub(crate) auth: (Vec<String>, Option<PathBuf>),
    /// Time after the signal to stop for which connections are still accepted.
    pub(crate) drain_delay: Duration,
    /// Value of `--sandbox`.
    pub(crate) sandbox: SandboxMode,
    /// Files that the sandbox must leave accessible.
    pub(crate) requirements: Requirements,
    /// Access log; `None` is off.
    pub(crate) log: Option<AccessLogConfig>,
    /// Values of `--open` and `--qr`.
    pub(crate) url_display: UrlDisplay,
}

impl Arguments {
    /// Reads the command line and the environment. Ends the process if they are invalid, and for `--help` and
    /// `--version`.
    pub(crate) fn read() -> Self {
        // Variables are options of the server. A subcommand, which can only be the first word, does not read them.
        let first_word = std::env::args_os().nth(1).unwrap_or_default();
        let is_command = Self::command().find_subcommand(first_word).is_some();
        // A variable whose value is empty, as in a compose file, counts as not set.
        let if_set = |arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            match value.is_some_and(|value| value.is_empty()) {
                true => arg.env(Resettable::Reset),
                false => arg,
            }
        };
        let unset = |arg: Arg| arg.env(Resettable::Reset);
        let mut without_variables = command()
            .mut_args(unset)
            .mut_subcommand("explain", |explain| explain.mut_args(unset));
        let mut command = command()
            .mut_subcommand("explain", |explain| explain.mut_args(if_set))
            .mut_args(|arg| if is_command { unset(arg) } else { if_set(arg) });
        let matches = command
            .try_get_matches_from_mut(std::env::args_os())
            .unwrap_or_else(|error| {
                let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                let other = without_variables.try_get_matches_from_mut(std::env::args_os());
                let mut all_options = self::command();
                all_options.build();
                let message =
                    mistakes::message(&error, &arguments, &all_options, other.as_ref().err());
                match message {
                    Some(message) => exit_with_error(&message),
                    None => error.exit(),
                }
            });
        let site_matches = match matches.subcommand() {
            Some(("explain", matches)) => Some(matches),
            Some(_) => None,
            None => Some(&matches),
        };
        let is_from = |source, id: &str| {
            site_matches.and_then(|matches| matches.value_source(id)) == Some(source)
        };
        if ["dir", "root"]
            .iter()
            .all(|id| is_from(ValueSource::CommandLine, id))
        {
            let why = "the root is named twice, as DIR and with --root; name it once";
            command.error(ErrorKind::ArgumentConflict, why).exit();
        }
        let mut arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let site = match &mut arguments.command {
            Some(Command::Explain(explain)) => &mut explain.site,
            _ => &mut arguments.site,
        };
        let ids = PAGE_IDS.into_iter();
        site.ids_from_variables = ids
            .filter(|id| is_from(ValueSource::EnvVariable, id))
            .collect();
        arguments
    }

    /// Returns the manual page, the completions or the options reference, if an option asks for one.
    pub(crate) fn manual(&self) -> Option<Vec<u8>> {
        self.manual.text(command())
    }

    /// Returns the options with defaults from the environment and the current directory.
    ///
    /// # Errors
    /// One sentence: the argument, and what to do.
    pub(crate) fn resolve(self) -> Result<Config, String> {
        let port = self.port.map_or_else(
            || binds::port_variable("PORT", std::env::var_os("PORT")),
            |port| Ok(Some(port)),
        )?;
        let ports = match port {
            Some(port) => vec![port],
            None if std::io::stdout().is_terminal() => {
                [DEFAULT_PORT].into_iter().chain(FALLBACK_PORTS).collect()
            }
            None => vec![DEFAULT_PORT],
        };
        let root = self.root_dir.resolve()?;
        let descriptors = raise_descriptor_limit();
        let workers = self.workers.unwrap_or_else(default_workers);
        let defaults = Limits::for_reactors(workers.get());
        let connections = self.max_connections.unwrap_or(defaults.connections);
        if connections as u64 >= descriptors {
            return Err(format!(
                "--max-connections {connections} needs more than the {descriptors} files that this process may \
                 open; raise that limit (ulimit -n) or lower the number"
            ));
        }
        let proxies = self
            .proxies
            .resolve(self.header_timeout, self.max_connections_per_ip)?;
        let limits = Limits {
            connections,
            per_ip_limit: proxies.per_ip_limit,
            inbox_bytes: defaults.inbox_bytes.max(self.site.max_header),
            min_rate: self.min_rate,
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
        let log = self.log.resolve(self.quiet)?;
        let hidden = self.site.hidden;
        let mut config = self.site.resolve(root)?;
        if let Some(AccessLogConfig {
            format,
            file,
            is_terminal,
        }) = &log
        {
            config.server.service.log_format = *format;
            config.server.service.utc_offset = is_terminal.then_some(local_time::utc_offset);
            if let Some(file) = file {
                require_not_served("--log-file", file, &config.server.root, hidden)?;
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
        config.server.service.trusted_proxies = proxies.trusted;
        config.server.proxy = proxies.proxy;
        config.server.binds = binds;
        config.server.ports = ports;
        config.server.workers = workers;
        config.server.limits = limits;
        config.server.site.releases =
            Releases::with_grace_period(self.release_grace.unwrap_or_default());
        (config.server.service.health, config.drain_delay) = self.health.resolve();
        config.sandbox = self.sandbox.resolve();
        let sockets = config.server.binds.iter().filter_map(|bind| match bind {
            Bind::Unix(Endpoint::Path(path)) => Some(path.clone()),
            Bind::Ip { .. } | Bind::Unix(_) | Bind::Activated(_) => None,
        });
        config.requirements.sockets = sockets.collect();
        // Build tools remove the directory that they write to.
        config.requirements.directories_are_replaced = config.server.site.live_reload.is_some();
        config.url_display = self.url_display.resolve();
        Ok(config)
    }
}

impl RootArguments {
    /// Returns the root as it is named.
    fn resolve(self) -> Result<PathBuf, String> {
        match self.dir.or(self.root) {
            Some(root) => Ok(root),
            None => default_root(),
        }
    }
}

impl ExplainArguments {
    /// Returns the options with defaults from the environment and the current directory, as for a server; and the
    /// request.
    ///
    /// # Errors
    /// One sentence: the argument, and what to do.
    pub(crate) fn resolve(self) -> Result<(Config, ExplainRequest), String> {
        let request = ExplainRequest {
            method: self.method,
            target: values::target(self.path.as_encoded_bytes()),
            fields: self.request_header,
            json: self.json,
        };
        let config = self.site.resolve(self.root_dir.resolve()?)?;
        Ok((config, request))
    }
}

impl SiteArguments {
    /// Returns the options of a server of this root, without listeners.
    fn resolve(self, root: PathBuf) -> Result<Config, String> {
        let cache_memory = self
            .cache_memory
            .unwrap_or_else(memory::default_cache_bytes);
        if self.compress && cache_memory == 0 {
            return Err(
                "--compress needs the cache, and --cache-memory 0 turns the cache off; leave one of the two out"
                    .into(),
            );
        }
        let symlinks = match self.symlinks {
            SymlinksValue::Inside => Symlinks::Inside(self.symlink_root),
            SymlinksValue::Deny if self.symlink_root.is_empty() => Symlinks::Deny,
            SymlinksValue::Follow if self.symlink_root.is_empty() => Symlinks::Follow,
            SymlinksValue::Deny | SymlinksValue::Follow => {
                return Err(
                    "--symlink-root works with --symlinks inside only; leave one of the two out"
                        .into(),
                );
            }
        };
        let prefix = self.path_prefix.unwrap_or_default();
        let http1 = http1::HttpOptions {
            max_head_bytes: self.max_header,
            ..http1::HttpOptions::default()
        };
        let service = ServiceOptions {
            allow_cors: self.cors.is_some(),
            ..ServiceOptions::default()
        };
        // Symbolic links are not resolved: a new release switches one to another directory.
        let root = std::path::absolute(&root).unwrap_or(root);
        if let Some(file) = &self.auth_file {
            require_not_served("--auth-file", file, &root, self.hidden)?;
        }
        let users = users(&self.auth, self.auth_file.as_deref())?;
        let sources = PolicySources {
            root: root.clone(),
            headers: self.headers_file,
            media_types: self.mime_types,
            fields: fields(
                self.cors.as_deref(),
                self.isolate,
                self.header.into_iter().flatten().collect(),
            ),
            cache_policy: self.cache,
            is_private: users.is_some(),
        };
        let site = site::SiteOptions {
            index: self.index,
            not_found: self
                .not_found
                .clone()
                .unwrap_or_else(|| site::SiteOptions::default().not_found),
            spa_fallback: self.spa.clone(),
            has_clean_urls: !self.no_clean_urls,
            live_reload: self.live.resolve(&prefix),
            prefix,
            has_sidecars: !self.no_precompressed,
            shows_hidden: self.hidden,
            lists_dirs: self.listing,
            cache_memory,
            cache_files: max_cached_files(raise_descriptor_limit()),
            policy: SharedPolicy::from_sources(sources.clone()),
            ..site::SiteOptions::default()
        };
        let requirements =
            sandbox::requirements(&root, &symlinks, &sources, self.auth_file.as_deref());
        let server = server::ServerOptions {
            root,
            binds: Vec::new(),
            ports: Vec::new(),
            symlinks,
            site,
            compress: self.compress,
            digest: self.etag.resolve(),
            http1,
            service,
            proxy: None,
            users,
            workers: default_workers(),
            limits: Limits::default(),
            metrics: None,
        };
        let required = [
            ("not_found", "--404", "DOCROOT_404", self.not_found),
            ("spa", "--spa", "DOCROOT_SPA", self.spa),
        ];
        let required = required
            .into_iter()
            .filter_map(|(id, option, variable, page)| {
                let page = page?;
                let argument = match self.ids_from_variables.contains(&id) {
                    true => format!("{variable}={page}: invalid value for {option}"),
                    false => format!("{option} {page}"),
                };
                Some((argument, page))
            });
        Ok(Config {
            server,
            sources,
            required: required.collect(),
            auth: (self.auth, self.auth_file),
            drain_delay: Duration::ZERO,
            sandbox: SandboxMode::Off,
            requirements,
            log: None,
            url_display: UrlDisplay::default(),
        })
    }
}

/// Prints one line on standard error, and ends the process with the exit code of bad arguments.
fn exit_with_error(message: &str) -> ! {
    // A closed standard error is no reason to panic.
    let _ = writeln!(std::io::stderr(), "docroot: {message}");
    std::process::exit(2)
}

/// Returns a warning for each environment variable that is named like that of an option, and is none.
pub(crate) fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name);
    mistakes::unknown_variables(names, &command())
}

/// Returns what to type instead of a root that cannot be served, if the word was probably not meant as a directory.
pub(crate) fn root_hint(root: &Path) -> Option<String> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // The root of the server is an absolute path.
    let is_root = |word: &&OsString| std::path::absolute(word).is_ok_and(|path| path == root);
    let word = arguments.iter().find(is_root)?.to_str()?;
    mistakes::root_hint(word, &arguments, &command())
}

/// Returns the command line as clap needs it. `-H` is a field of the request for `docroot explain`.
fn command() -> clap::Command {
    let without_short = |arg: Arg| match arg.get_id() == "header" {
        true => arg.short(None),
        false => arg,
    };
    // The end of the help describes the variables, so they are not in each row.
    let hidden = |arg: Arg| arg.hide_env(true);
    // The server has its own --help, for its heading. That disables the one that clap adds to each subcommand.
    let help = Arg::new("help").short('h').long("help");
    let help = help.action(ArgAction::Help).help("Print help");
    Arguments::command()
        .mut_args(hidden)
        .mut_subcommands(|each| each.arg(&help))
        .mut_subcommand("explain", |explain| {
            explain.mut_args(without_short).mut_args(hidden)
        })
}

/// Returns all users; `None` if there are none, and no password is required.
///
/// # Errors
/// One line for each mistake, with the argument or with file and line, but never with a hash.
pub(crate) fn users(entries: &[String], file: Option<&Path>) -> Result<Option<Users>, String> {
    let mut users = match file {
        Some(file) => users_of_file(file)?,
        None => Users::default(),
    };
    for entry in entries {
        users.add(entry).map_err(|why| format!("--auth: {why}"))?;
    }
    Ok((!users.is_empty()).then_some(users))
}

/// Reads the users of an htpasswd file.
fn users_of_file(file: &Path) -> Result<Users, String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| {
        format!("cannot read --auth-file {name}: {error}; name a file that this user can read")
    })?;
    Users::parse(&text).map_err(|malformed| {
        let lines = malformed
            .iter()
            .map(|HtpasswdError { line, reason: why }| match line {
                0 => format!("{name}: {why}"),
                line => format!("{name}:{line}: {why}"),
            });
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Requires that a file is not served: clients must not read password hashes or the access log.
fn require_not_served(option: &str, file: &Path, root: &Path, hidden: bool) -> Result<(), String> {
    let real_path = real_path(file).unwrap_or_else(|| file.into());
    let root = &root.canonicalize().unwrap_or_else(|_| root.into());
    let Ok(path_below_root) = real_path.strip_prefix(root) else {
        return Ok(());
    };
    if !hidden && site::is_hidden(path_below_root.as_os_str().as_encoded_bytes()) {
        return Ok(());
    }
    let (file, root) = (file.display(), root.display());
    Err(format!(
        "{option} {file} is below the root {root}, and would be served; move it out of the root"
    ))
}

/// Returns the real path of a file, which may not exist yet.
fn real_path(file: &Path) -> Option<PathBuf> {
    let without_file = || {
        let parent = match file.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent?,
        };
        Some(parent.canonicalize().ok()?.join(file.file_name()?))
    };
    file.canonicalize().ok().or_else(without_file)
}

impl CompressArguments {
    /// Returns the options of the command.
    pub(crate) fn resolve(self) -> compress::CompressOptions {
        compress::CompressOptions {
            root: self.dir,
            hidden: self.hidden,
            jobs: self.jobs.unwrap_or_else(default_workers),
            quiet: self.quiet,
            verbose: self.verbose,
        }
    }
}

/// Returns `./html` if it is a directory, else the current directory, unless that is `/` or the home directory.
fn default_root() -> Result<PathBuf, String> {
    let current = std::env::current_dir().map_err(|error| {
        format!("cannot find the current directory: {error}; name the directory: docroot DIR")
    })?;
    let html = current.join("html");
    if html.is_dir() {
        return Ok(html);
    }
    // The path of the current directory has no symbolic links; that of the home directory may have some.
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    if current == Path::new("/") || Some(&current) == home.as_ref() {
        let name = current.display();
        return Err(format!(
            "{name} is not served unless it is named; to serve it: docroot {name}"
        ));
    }
    Ok(current)
}

/// Returns the number of threads that can run at once: the CPUs in this process's affinity mask (sched_getaffinity(2),
/// which reflects cpusets), but no more than the CPU quota of its cgroup, v1 or v2, rounded down. The standard
/// library considers all of these. The number is too large only if a sandbox hides the cgroup file system.
fn default_workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Returns the fields of every response: those of CORS and isolation, then those of `--header`, which override them.
fn fields(cors: Option<&str>, isolate: bool, given: Vec<ConfiguredField>) -> Vec<ConfiguredField> {
    let mut lines = Vec::new();
    if isolate {
        lines.extend([
            "Cross-Origin-Opener-Policy: same-origin".to_owned(),
            "Cross-Origin-Embedder-Policy: require-corp".to_owned(),
        ]);
    }
    if let Some(origin) = cors {
        lines.extend([
            format!("Access-Control-Allow-Origin: {origin}"),
            "Access-Control-Expose-Headers: *".to_owned(),
            "Cross-Origin-Resource-Policy: cross-origin".to_owned(),
        ]);
    } else if isolate {
        lines.push("Cross-Origin-Resource-Policy: same-origin".to_owned());
    }
    let field = |line: String| line.parse().expect("docroot's own fields are valid");
    lines.into_iter().map(field).chain(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_valid() {
        command().debug_assert();
    }
}
