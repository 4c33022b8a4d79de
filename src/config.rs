//! What was asked for.

mod binds;
mod etag;
mod health;
mod healthcheck;
mod live;
mod log;
mod manual;
mod memory;
mod metrics;
mod proxies;
mod sandbox;
mod values;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::builder::{BoolishValueParser, Resettable};
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
use docroot::site::{
    self, CachePolicy, ConfiguredField, MediaTypesInput, PolicySources, Releases, SharedPolicy,
    Symlinks,
};

pub(crate) use self::healthcheck::{Healthcheck, Probe};
pub(crate) use self::live::Show;
pub(crate) use self::log::Log;

use self::binds::Binds;
use self::etag::EtagOptions;
use self::live::{LiveOptions, ShowOptions};
use self::log::LogOptions;
use self::metrics::MetricsOptions;
use self::proxies::ProxyOptions;

/// The port if none is asked for, and those tried after it on a terminal.
const PORT: u16 = 8080;
const OTHER_PORTS: std::ops::RangeInclusive<u16> = 8081..=8090;

/// Serve a folder over HTTP.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Each option can be set by the environment as well: DOCROOT_PORT, DOCROOT_BIND, ... \
    The command line wins. A folder with the name of a command is served as ./NAME."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    folder: Folder,

    /// The port; 0 is any free one [default: 8080; on a terminal, the next free one up to 8090]
    #[arg(short, long, value_name = "N", env = "DOCROOT_PORT")]
    port: Option<u16>,

    /// Where to listen: IP, IP:PORT, unix:/path or systemd; repeatable [default: 127.0.0.1 and ::1]
    #[arg(short, long, value_name = "ADDR", env = "DOCROOT_BIND")]
    #[arg(visible_aliases = ["host", "listen"], visible_short_alias = 'l')]
    #[arg(value_delimiter = ',', value_parser = binds::parse)]
    bind: Vec<Binds>,

    #[command(flatten)]
    site: SiteOptions,

    #[command(flatten)]
    show: ShowOptions,

    /// How long a request's head may take to arrive: 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", env = "DOCROOT_HEADER_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = values::duration)]
    header_timeout: Duration,

    /// How long a connection may stay idle between requests
    #[arg(long, value_name = "TIME", env = "DOCROOT_IDLE_TIMEOUT")]
    #[arg(default_value = "60s", value_parser = values::duration)]
    idle_timeout: Duration,

    /// Bytes per second, over 30 seconds, below which a reader is cut off; 0 is never
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MIN_RATE")]
    #[arg(default_value = "1KiB", value_parser = values::size)]
    min_rate: u64,

    /// Loops that serve, each on a thread of its own [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", env = "DOCROOT_WORKERS", value_parser = values::workers)]
    workers: Option<NonZeroUsize>,

    /// Connections held at once [default: from the limit of open files]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS", value_parser = values::connections)]
    max_connections: Option<usize>,

    /// Connections held at once for one address, or one IPv6 /64 [default: no limit]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS_PER_IP", value_parser = values::connections)]
    max_connections_per_ip: Option<usize>,

    /// How long files of the release before are still shown whose names have a hash, when DIR is given to another
    /// folder: pages that were loaded before may ask for them [default: not at all]
    #[arg(long, value_name = "TIME", env = "DOCROOT_RELEASE_GRACE", value_parser = values::duration)]
    release_grace: Option<Duration>,

    #[command(flatten)]
    health: health::HealthOptions,

    #[command(flatten)]
    sandbox: sandbox::SandboxOptions,

    #[command(flatten)]
    proxies: ProxyOptions,

    #[command(flatten)]
    log: LogOptions,

    #[command(flatten)]
    metrics: MetricsOptions,

    /// No banner and no access log
    #[arg(short, long, env = "DOCROOT_QUIET", value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// Say more on standard error: -v debug, -vv trace (or set RUST_LOG)
    #[arg(short, long, action = ArgAction::Count, env = "DOCROOT_VERBOSE", value_parser = values::level)]
    pub(crate) verbose: u8,

    /// Check the arguments and the root, say what would be served, and exit
    #[arg(long, env = "DOCROOT_CHECK", value_parser = BoolishValueParser::new())]
    pub(crate) check: bool,

    #[command(flatten)]
    manual: manual::ManualOptions,
}

/// Which folder is served.
#[derive(Debug, Args)]
struct Folder {
    /// The document root [default: ./html if it exists, else the current directory]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The document root, as an option
    #[arg(short = 'd', long, value_name = "DIR", env = "DOCROOT_ROOT")]
    root: Option<PathBuf>,
}

/// What decides about an answer.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option, and means one thing"
)]
struct SiteOptions {
    /// What a folder shows: the first of these files that is there
    #[arg(long, value_name = "NAMES", env = "DOCROOT_INDEX")]
    #[arg(value_delimiter = ',', default_value = "index.html", value_parser = values::file_name)]
    index: Vec<String>,

    /// The page for what is absent, in the root [default: 404.html if it is there]
    #[arg(long = "404", value_name = "FILE", env = "DOCROOT_404", value_parser = values::file_path)]
    not_found: Option<String>,

    /// Answer navigation to where nothing is with this page of the root, for sites whose script knows the way
    #[arg(short, long, value_name = "FILE", env = "DOCROOT_SPA", value_parser = values::file_path)]
    #[arg(num_args = 0..=1, default_missing_value = "index.html", require_equals = true)]
    spa: Option<String>,

    /// Do not find /about in about.html
    #[arg(long, env = "DOCROOT_NO_CLEAN_URLS", value_parser = BoolishValueParser::new())]
    no_clean_urls: bool,

    /// The path that all addresses have in front: /docs
    #[arg(long, value_name = "PATH", env = "DOCROOT_PATH_PREFIX", value_parser = values::prefix)]
    path_prefix: Option<String>,

    /// How long answers may be kept: auto knows names with a content hash; off is never; or seconds
    #[arg(long, value_name = "RULE", env = "DOCROOT_CACHE")]
    #[arg(default_value = "auto")]
    cache: CachePolicy,

    #[command(flatten)]
    etag: EtagOptions,

    /// A field for every answer: 'Name: value'; 'Name:' leaves ours out; repeatable
    #[arg(
        short = 'H',
        long,
        value_name = "FIELD",
        env = "DOCROOT_HEADER",
        value_delimiter = '\n',
        value_parser = values::field
    )]
    header: Vec<Option<ConfiguredField>>,

    /// Fields by path, as in a _headers file, with _redirects beside it [default: those in the root]
    #[arg(long, value_name = "FILE", env = "DOCROOT_HEADERS_FILE")]
    headers_file: Option<PathBuf>,

    /// Let pages of other origins read answers: of any, or of this one
    #[arg(short = 'C', long, value_name = "ORIGIN", env = "DOCROOT_CORS", value_parser = values::origin)]
    #[arg(num_args = 0..=1, default_missing_value = "*", require_equals = true)]
    cors: Option<String>,

    /// Isolate pages from other origins (COOP, COEP, CORP), as SharedArrayBuffer needs it
    #[arg(long, env = "DOCROOT_ISOLATE", value_parser = BoolishValueParser::new())]
    isolate: bool,

    /// Media types: a file as Apache's mime.types, or .ext=type; repeatable, the last counts
    #[arg(
        long,
        value_name = "FILE",
        env = "DOCROOT_MIME_TYPES",
        value_delimiter = ','
    )]
    #[arg(value_parser = values::types)]
    mime_types: Vec<MediaTypesInput>,

    /// Compress what is asked for, beside the loops, for those who ask after that
    #[arg(long, env = "DOCROOT_COMPRESS", value_parser = BoolishValueParser::new())]
    compress: bool,

    /// Do not look for app.js.br, app.js.zst and app.js.gz beside app.js
    #[arg(long, env = "DOCROOT_NO_PRECOMPRESSED", value_parser = BoolishValueParser::new())]
    no_precompressed: bool,

    /// Serve files and folders whose names begin with a dot, too
    #[arg(long, env = "DOCROOT_HIDDEN", value_parser = BoolishValueParser::new())]
    hidden: bool,

    /// List folders that have no index: as a page, or by Accept as JSON or text
    #[arg(long, env = "DOCROOT_LISTING", value_parser = BoolishValueParser::new())]
    listing: bool,

    /// Where a symbolic link below the root may lead: inside the root, nowhere, or anywhere
    #[arg(
        long,
        value_name = "WHERE",
        env = "DOCROOT_SYMLINKS",
        default_value = "inside"
    )]
    symlinks: Following,

    /// A folder outside the root where symbolic links may lead as well; repeatable
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCROOT_SYMLINK_ROOT",
        value_delimiter = ','
    )]
    symlink_root: Vec<PathBuf>,

    /// Show the site only to this user, by a password with this hash ('docroot hash USER' makes one, and so
    /// does 'htpasswd -nB USER'); repeatable. In a shell, write it in single quotes
    #[arg(short, long, value_name = "USER:HASH", env = "DOCROOT_AUTH")]
    auth: Vec<String>,

    /// Show the site only to the users in this htpasswd file
    #[arg(long, value_name = "FILE", env = "DOCROOT_AUTH_FILE")]
    auth_file: Option<PathBuf>,

    /// Memory for what was sent before, over all workers; 0 remembers nothing [default: 64MiB, or a quarter of what a
    /// container may have, if that is less]
    #[arg(long, value_name = "BYTES", env = "DOCROOT_CACHE_MEMORY", value_parser = values::cache_size)]
    cache_memory: Option<usize>,

    /// The largest request head; a larger one is refused with 431, or 414
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MAX_HEADER")]
    #[arg(default_value = "32KiB", value_parser = values::header_size)]
    max_header: usize,

    #[command(flatten)]
    live: LiveOptions,
}

/// What else there is to do but to serve.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write .br, .zst and .gz beside each file that they make smaller, as small as can be
    Compress(Compress),
    /// Say which answer a request would get, and why: which file, type, coding and cache rule, and the head
    #[command(
        after_help = "-H is a field of the request here, and --header, written out, one of all answers, as for who \
        serves. So count the variables, DOCROOT_SPA and others."
    )]
    Explain(Box<Explain>),
    /// Ask a server whether it is well: exit code 0, or 1 and a line that says why not
    Healthcheck(Healthcheck),
    /// Make the hash of a password for --auth and --auth-file
    Hash {
        /// Whose it is; with a name, the line is one of an htpasswd file
        #[arg(value_parser = values::user_name)]
        user: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Compress {
    /// The folder
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Files and folders whose names begin with a dot, too
    #[arg(long)]
    hidden: bool,

    /// Threads that encode [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", value_parser = values::workers)]
    jobs: Option<NonZeroUsize>,

    /// Say nothing but what went wrong
    #[arg(short, long)]
    quiet: bool,

    /// Say what becomes of each file
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

/// `-H` is a field of the request here, and `--header`, written out, one of all answers, as for who serves.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// What is asked for: a path, and a query if there is one, as in an address
    #[arg(value_name = "PATH")]
    path: OsString,

    #[command(flatten)]
    folder: Folder,

    /// A field of the request: 'Accept-Encoding: br'; repeatable
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = values::request_field)]
    request_header: Vec<String>,

    /// The method of the request
    #[arg(short = 'X', long, value_name = "NAME", default_value = "GET", value_parser = values::method)]
    method: String,

    /// One object of JSON, for programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    site: SiteOptions,
}

/// A request to be explained.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// The request target as it is sent.
    pub(crate) target: String,
    /// Field lines.
    pub(crate) fields: Vec<String>,
    /// Whether the answer is for programs.
    pub(crate) json: bool,
}

/// What is done about symbolic links below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Following {
    Inside,
    Deny,
    Follow,
}

/// What the arguments mean, for this machine and this moment.
#[derive(Debug)]
pub(crate) struct Config {
    /// What the server is made of. Its root is absolute, if it could be found.
    pub(crate) server: server::ServerOptions,
    /// What the site's policy is read from.
    pub(crate) sources: PolicySources,
    /// Pages that were asked for, and so must be there, and by which option.
    pub(crate) required: Vec<(&'static str, String)>,
    /// Where users are named, to be read again: entries, and a file.
    pub(crate) auth: (Vec<String>, Option<PathBuf>),
    /// How long it goes on accepting after it was told to stop.
    pub(crate) drain_delay: Duration,
    /// Whether the process is confined.
    pub(crate) sandbox: SandboxMode,
    /// What it must still be able to do then.
    pub(crate) needs: Requirements,
    /// What is said of each request; `None` is nothing.
    pub(crate) log: Option<Log>,
    /// Where the site is to be shown.
    pub(crate) show: Show,
}

impl Arguments {
    /// Reads the command line and the environment; ends the process if they make no sense, and for
    /// `--help` and `--version`.
    pub(crate) fn read() -> Self {
        // A command, which can only come first, is not for who serves, as the variables are.
        let first = std::env::args_os().nth(1).unwrap_or_default();
        let is_command = Self::command().find_subcommand(first).is_some();
        // A variable that is set to nothing, as in a compose file, is not set.
        let heed = |arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            match value.is_some_and(|value| value.is_empty()) {
                true => arg.env(Resettable::Reset),
                false => arg,
            }
        };
        let command = command().mut_subcommand("explain", |explain| explain.mut_args(heed));
        let mut command = command.mut_args(|arg| match is_command {
            true => arg.env(Resettable::Reset),
            false => heed(arg),
        });
        let matches = command.get_matches_mut();
        let about_site = match matches.subcommand() {
            Some(("explain", matches)) => Some(matches),
            Some(_) => None,
            None => Some(&matches),
        };
        let written = |id| {
            let source = about_site.and_then(|matches| matches.value_source(id));
            source == Some(ValueSource::CommandLine)
        };
        if written("dir") && written("root") {
            let why = "the root is named twice, as DIR and with --root; name it once";
            command.error(ErrorKind::ArgumentConflict, why).exit();
        }
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// What is to be printed about the command line itself, if that was asked for.
    pub(crate) fn manual(&self) -> Option<Vec<u8>> {
        self.manual.text(command())
    }

    /// Adds what the environment and the current directory say.
    ///
    /// # Errors
    /// A sentence that names the argument and says what to do.
    pub(crate) fn resolve(self) -> Result<Config, String> {
        let asked = self.port.map_or_else(
            || binds::port("PORT", std::env::var_os("PORT")),
            |port| Ok(Some(port)),
        )?;
        let ports = match asked {
            Some(port) => vec![port],
            None if std::io::stdout().is_terminal() => {
                [PORT].into_iter().chain(OTHER_PORTS).collect()
            }
            None => vec![PORT],
        };
        let root = self.folder.resolve()?;
        let descriptors = raise_descriptor_limit();
        let workers = self.workers.unwrap_or_else(default_workers);
        let defaults = Limits::for_reactors(workers.get());
        let connections = self.max_connections.unwrap_or(defaults.connections);
        if connections as u64 >= descriptors {
            return Err(format!(
                "--max-connections {connections} needs more than the {descriptors} files that may be \
                 open; raise that limit (ulimit -n) or ask for fewer"
            ));
        }
        let proxies = self
            .proxies
            .resolve(self.header_timeout, self.max_connections_per_ip)?;
        let limits = Limits {
            connections,
            per_ip_limit: proxies.census,
            inbox_bytes: defaults.inbox_bytes.max(self.site.max_header),
            min_rate: self.min_rate,
            ..defaults
        };
        let mut binds = Binds::new();
        let asked = if self.bind.is_empty() {
            vec![binds::localhost(None)]
        } else {
            self.bind
        };
        for bind in asked.into_iter().flatten() {
            // Said twice, an address would be found busy, by ourselves.
            if !binds.iter().any(|other| binds::is_same(other, &bind)) {
                binds.push(bind);
            }
        }
        let log = self.log.resolve(self.quiet)?;
        let hidden = self.site.hidden;
        let mut config = self.site.resolve(root)?;
        if let Some(Log { format, file }) = &log {
            config.server.http1.log_format = *format;
            if let Some(file) = file {
                not_served("--log-file", file, &config.server.root, hidden)?;
            }
        }
        let file = log.as_ref().and_then(|log| log.file.as_ref());
        if let Some(file) = file.and_then(|file| std::path::absolute(file).ok()) {
            log::add_needs(file, &mut config.needs);
        }
        config.log = log;
        config.server.metrics = self.metrics.metrics;
        config.server.http1.header_timeout = self.header_timeout;
        config.server.http1.idle_timeout = self.idle_timeout;
        config.server.http1.trusted_proxies = proxies.trusted;
        config.server.proxy = proxies.proxy;
        config.server.binds = binds;
        config.server.ports = ports;
        config.server.workers = workers;
        config.server.limits = limits;
        config.server.site.releases =
            Releases::with_grace_period(self.release_grace.unwrap_or_default());
        (config.server.http1.health, config.drain_delay) = self.health.resolve();
        config.sandbox = self.sandbox.resolve();
        let sockets = config.server.binds.iter().filter_map(|bind| match bind {
            Bind::Unix(Endpoint::Path(path)) => Some(path.clone()),
            Bind::Ip { .. } | Bind::Unix(_) | Bind::Activated(_) => None,
        });
        config.needs.sockets = sockets.collect();
        // Build tools remove the folder that they write to.
        config.needs.folders_are_replaced = config.server.site.live_reload.is_some();
        config.show = self.show.resolve();
        Ok(config)
    }
}

impl Folder {
    /// The root, as it was named.
    fn resolve(self) -> Result<PathBuf, String> {
        match self.dir.or(self.root) {
            Some(root) => Ok(root),
            None => default_root(),
        }
    }
}

impl Explain {
    /// Adds what the environment and the current directory say, as for who serves.
    ///
    /// # Errors
    /// A sentence that names the argument and says what to do.
    pub(crate) fn resolve(self) -> Result<(Config, Question), String> {
        let question = Question {
            method: self.method,
            target: values::target(self.path.as_encoded_bytes()),
            fields: self.request_header,
            json: self.json,
        };
        let config = self.site.resolve(self.folder.resolve()?)?;
        Ok((config, question))
    }
}

impl SiteOptions {
    /// What they make of this root: a server that listens nowhere.
    fn resolve(self, root: PathBuf) -> Result<Config, String> {
        let cache_memory = self.cache_memory.unwrap_or_else(memory::remembered);
        if self.compress && cache_memory == 0 {
            return Err(
                "--compress remembers what it makes, and --cache-memory 0 remembers nothing; \
                 leave one of the two out"
                    .into(),
            );
        }
        let symlinks = match self.symlinks {
            Following::Inside => Symlinks::Inside(self.symlink_root),
            Following::Deny if self.symlink_root.is_empty() => Symlinks::Deny,
            Following::Follow if self.symlink_root.is_empty() => Symlinks::Follow,
            Following::Deny | Following::Follow => {
                return Err(
                    "--symlink-root adds to where links lead with --symlinks inside; \
                     leave one of the two out"
                        .into(),
                );
            }
        };
        let prefix = self.path_prefix.unwrap_or_default();
        let http1 = http1::HttpOptions {
            max_head_bytes: self.max_header,
            allow_cors: self.cors.is_some(),
            ..http1::HttpOptions::default()
        };
        // The name as it was given: it may be given to another folder later.
        let root = std::path::absolute(&root).unwrap_or(root);
        if let Some(file) = &self.auth_file {
            not_served("--auth-file", file, &root, self.hidden)?;
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
        let needs = sandbox::needs(&root, &symlinks, &sources, self.auth_file.as_deref());
        let server = server::ServerOptions {
            root,
            binds: Vec::new(),
            ports: Vec::new(),
            symlinks,
            site,
            compress: self.compress,
            digest: self.etag.resolve(),
            http1,
            proxy: None,
            users,
            workers: default_workers(),
            limits: Limits::default(),
            metrics: None,
        };
        let required = [("--404", self.not_found), ("--spa", self.spa)];
        let required = required
            .into_iter()
            .filter_map(|(option, page)| Some((option, page?)));
        Ok(Config {
            server,
            sources,
            required: required.collect(),
            auth: (self.auth, self.auth_file),
            drain_delay: Duration::ZERO,
            sandbox: SandboxMode::Off,
            needs,
            log: None,
            show: Show::default(),
        })
    }
}

/// The command line. `-H` has another meaning where a request is explained.
fn command() -> clap::Command {
    let without_short = |arg: Arg| match arg.get_id() == "header" {
        true => arg.short(None),
        false => arg,
    };
    Arguments::command().mut_subcommand("explain", |explain| explain.mut_args(without_short))
}

/// All users there are; `None` if none are asked for, and everybody may see the site.
///
/// # Errors
/// A sentence for each that is wrong: it names the argument, or the file and the line, and never a hash.
pub(crate) fn users(entries: &[String], file: Option<&Path>) -> Result<Option<Users>, String> {
    let mut users = match file {
        Some(file) => listed(file)?,
        None => Users::default(),
    };
    for entry in entries {
        users.add(entry).map_err(|why| format!("--auth: {why}"))?;
    }
    Ok((!users.is_empty()).then_some(users))
}

fn listed(file: &Path) -> Result<Users, String> {
    let name = file.display();
    let text = std::fs::read(file)
        .map_err(|error| format!("--auth-file {name}: {error}; name a file that can be read"))?;
    Users::parse(&text).map_err(|malformed| {
        let said = malformed
            .iter()
            .map(|HtpasswdError { line, reason: why }| match line {
                0 => format!("{name}: {why}"),
                line => format!("{name}:{line}: {why}"),
            });
        said.collect::<Vec<_>>().join("\n")
    })
}

/// Whoever has one password is not to be shown the hashes of all others, and no visitor who else comes.
fn not_served(option: &str, file: &Path, root: &Path, hidden: bool) -> Result<(), String> {
    let real = real(file).unwrap_or_else(|| file.into());
    let root = &root.canonicalize().unwrap_or_else(|_| root.into());
    let Ok(below) = real.strip_prefix(root) else {
        return Ok(());
    };
    if !hidden && site::is_hidden(below.as_os_str().as_encoded_bytes()) {
        return Ok(());
    }
    let (file, root) = (file.display(), root.display());
    Err(format!(
        "{option} {file} would be served with the rest of {root}; move it out of there"
    ))
}

/// The real name of a file that may yet have to be made.
fn real(file: &Path) -> Option<PathBuf> {
    let made = || {
        let folder = match file.parent() {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            folder => folder?,
        };
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    };
    file.canonicalize().ok().or_else(made)
}

impl Compress {
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

/// `./html` if it is a folder, else the current directory, unless that is `/` or home.
fn default_root() -> Result<PathBuf, String> {
    let current = std::env::current_dir()
        .map_err(|error| format!("cannot tell the current directory: {error}; name the folder"))?;
    let html = current.join("html");
    if html.is_dir() {
        return Ok(html);
    }
    // The current directory is known by its real name, home by any.
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    if current == Path::new("/") || Some(&current) == home.as_ref() {
        let name = current.display();
        return Err(format!(
            "{name} is not served by default; if you mean it: docroot {name}"
        ));
    }
    Ok(current)
}

/// As many as may run at once: the CPUs in this process's affinity mask (sched_getaffinity(2), which
/// cpusets show in), but no more than the CPU quota of its cgroup, v1 or v2, rounded down. The standard
/// library asks for all of that. It is too many only where a sandbox hides the cgroup file system.
fn default_workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Fields for every answer: those of CORS and of isolation, and after them, so that they win, those that were given.
fn fields(cors: Option<&str>, isolate: bool, given: Vec<ConfiguredField>) -> Vec<ConfiguredField> {
    let mut said = Vec::new();
    if isolate {
        said.extend([
            "Cross-Origin-Opener-Policy: same-origin".to_owned(),
            "Cross-Origin-Embedder-Policy: require-corp".to_owned(),
        ]);
    }
    if let Some(origin) = cors {
        said.extend([
            format!("Access-Control-Allow-Origin: {origin}"),
            "Access-Control-Expose-Headers: *".to_owned(),
            "Cross-Origin-Resource-Policy: cross-origin".to_owned(),
        ]);
    } else if isolate {
        said.push("Cross-Origin-Resource-Policy: same-origin".to_owned());
    }
    let field = |said: String| said.parse().expect("it is a field of ours");
    said.into_iter().map(field).chain(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }
}
