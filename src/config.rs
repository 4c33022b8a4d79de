//! What was asked for.

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

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use docroot::auth::{Malformed, Users};
use docroot::compress;
use docroot::http::is_token;
use docroot::http1;
use docroot::net::{Endpoint, Limits, descriptors, files_within};
use docroot::sandbox::{Mode, Needs};
use docroot::server::{self, Bind};
use docroot::site::{self, Caching, Field, Releases, SharedPolicy, Sources, Symlinks, TypeSource};

pub(crate) use self::healthcheck::{Healthcheck, Place, Probe};

use self::etag::EtagOptions;
use self::proxies::ProxyOptions;

pub(crate) use self::log::Log;
use self::log::LogOptions;
use self::metrics::MetricsOptions;

pub(crate) use self::live::Show;
use self::live::{LiveOptions, ShowOptions};

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
    #[arg(value_delimiter = ',', value_parser = binds)]
    bind: Vec<Binds>,

    #[command(flatten)]
    site: SiteOptions,

    #[command(flatten)]
    show: ShowOptions,

    /// How long a request's head may take to arrive: 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", env = "DOCROOT_HEADER_TIMEOUT")]
    #[arg(default_value = "10s", value_parser = duration)]
    header_timeout: Duration,

    /// How long a connection may stay idle between requests
    #[arg(long, value_name = "TIME", env = "DOCROOT_IDLE_TIMEOUT")]
    #[arg(default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,

    /// Bytes per second, over 30 seconds, below which a reader is cut off; 0 is never
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MIN_RATE")]
    #[arg(default_value = "1KiB", value_parser = size)]
    min_rate: u64,

    /// Loops that serve, each on a thread of its own [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", env = "DOCROOT_WORKERS", value_parser = workers)]
    workers: Option<NonZeroUsize>,

    /// Connections held at once [default: from the limit of open files]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS", value_parser = connections)]
    max_connections: Option<usize>,

    /// Connections held at once for one address, or one IPv6 /64 [default: no limit]
    #[arg(long, value_name = "N", env = "DOCROOT_MAX_CONNECTIONS_PER_IP", value_parser = connections)]
    max_connections_per_ip: Option<usize>,

    /// How long files of the release before are still shown whose names have a hash, when DIR is given to another
    /// folder: pages that were loaded before may ask for them [default: not at all]
    #[arg(long, value_name = "TIME", env = "DOCROOT_RELEASE_GRACE", value_parser = duration)]
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
    #[arg(short, long, action = ArgAction::Count, env = "DOCROOT_VERBOSE", value_parser = level)]
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
    #[arg(value_delimiter = ',', default_value = "index.html", value_parser = file_name)]
    index: Vec<String>,

    /// The page for what is absent, in the root [default: 404.html if it is there]
    #[arg(long = "404", value_name = "FILE", env = "DOCROOT_404", value_parser = file_path)]
    not_found: Option<String>,

    /// Answer navigation to where nothing is with this page of the root, for sites whose script knows the way
    #[arg(short, long, value_name = "FILE", env = "DOCROOT_SPA", value_parser = file_path)]
    #[arg(num_args = 0..=1, default_missing_value = "index.html", require_equals = true)]
    spa: Option<String>,

    /// Do not find /about in about.html
    #[arg(long, env = "DOCROOT_NO_CLEAN_URLS", value_parser = BoolishValueParser::new())]
    no_clean_urls: bool,

    /// The path that all addresses have in front: /docs
    #[arg(long, value_name = "PATH", env = "DOCROOT_PATH_PREFIX", value_parser = prefix)]
    path_prefix: Option<String>,

    /// How long answers may be kept: auto knows names with a content hash; off is never; or seconds
    #[arg(long, value_name = "RULE", env = "DOCROOT_CACHE")]
    #[arg(default_value = "auto")]
    cache: Caching,

    #[command(flatten)]
    etag: EtagOptions,

    /// A field for every answer: 'Name: value'; 'Name:' leaves ours out; repeatable
    #[arg(
        short = 'H',
        long,
        value_name = "FIELD",
        env = "DOCROOT_HEADER",
        value_delimiter = '\n',
        value_parser = field
    )]
    header: Vec<Option<Field>>,

    /// Fields by path, as in a _headers file, with _redirects beside it [default: those in the root]
    #[arg(long, value_name = "FILE", env = "DOCROOT_HEADERS_FILE")]
    headers_file: Option<PathBuf>,

    /// Let pages of other origins read answers: of any, or of this one
    #[arg(short = 'C', long, value_name = "ORIGIN", env = "DOCROOT_CORS", value_parser = origin)]
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
    #[arg(value_parser = types)]
    mime_types: Vec<TypeSource>,

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
    #[arg(long, value_name = "BYTES", env = "DOCROOT_CACHE_MEMORY", value_parser = cache_size)]
    cache_memory: Option<usize>,

    /// The largest request head; a larger one is refused with 431, or 414
    #[arg(long, value_name = "BYTES", env = "DOCROOT_MAX_HEADER")]
    #[arg(default_value = "32KiB", value_parser = header_size)]
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
        #[arg(value_parser = user_name)]
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
    #[arg(short, long, value_name = "N", value_parser = workers)]
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
    #[arg(short = 'H', long, value_name = "FIELD", value_parser = request_field)]
    request_header: Vec<String>,

    /// The method of the request
    #[arg(short = 'X', long, value_name = "NAME", default_value = "GET", value_parser = method)]
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

/// The addresses that one word means: `localhost` means two.
type Binds = Vec<Bind>;

/// What the arguments mean, for this machine and this moment.
#[derive(Debug)]
pub(crate) struct Config {
    /// What the server is made of. Its root is absolute, if it could be found.
    pub(crate) server: server::Options,
    /// What the site's policy is read from.
    pub(crate) sources: Sources,
    /// Pages that were asked for, and so must be there, and by which option.
    pub(crate) required: Vec<(&'static str, String)>,
    /// Where users are named, to be read again: entries, and a file.
    pub(crate) auth: (Vec<String>, Option<PathBuf>),
    /// How long it goes on accepting after it was told to stop.
    pub(crate) drain_delay: Duration,
    /// Whether the process is confined.
    pub(crate) sandbox: Mode,
    /// What it must still be able to do then.
    pub(crate) needs: Needs,
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
        let asked = self
            .port
            .map_or_else(|| env_port(std::env::var_os("PORT")), |port| Ok(Some(port)))?;
        let ports = match asked {
            Some(port) => vec![port],
            None if std::io::stdout().is_terminal() => {
                [PORT].into_iter().chain(OTHER_PORTS).collect()
            }
            None => vec![PORT],
        };
        let root = self.folder.resolve()?;
        let descriptors = descriptors();
        let workers = self.workers.unwrap_or_else(default_workers);
        let defaults = Limits::of(workers.get());
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
            connections_per_peer: proxies.census,
            inbox: defaults.inbox.max(self.site.max_header),
            min_rate: self.min_rate,
            ..defaults
        };
        let mut binds = Binds::new();
        let asked = if self.bind.is_empty() {
            vec![localhost(None)]
        } else {
            self.bind
        };
        for bind in asked.into_iter().flatten() {
            // Said twice, an address would be found busy, by ourselves.
            if !binds.iter().any(|other| is_same(other, &bind)) {
                binds.push(bind);
            }
        }
        let log = self.log.resolve(self.quiet)?;
        let hidden = self.site.hidden;
        let mut config = self.site.resolve(root)?;
        if let Some(Log { format, file }) = &log {
            config.server.http1.log = *format;
            if let Some(file) = file {
                not_served("--log-file", file, &config.server.root, hidden)?;
            }
        }
        let file = log.as_ref().and_then(|log| log.file.as_ref());
        let file = file.and_then(|file| std::path::absolute(file).ok());
        config.needs.logs = file.into_iter().collect();
        config.log = log;
        config.server.metrics = self.metrics.metrics;
        config.server.http1.header_timeout = self.header_timeout;
        config.server.http1.idle_timeout = self.idle_timeout;
        config.server.http1.trusted = proxies.trusted;
        config.server.proxy = proxies.proxy;
        config.server.binds = binds;
        config.server.ports = ports;
        config.server.workers = workers;
        config.server.limits = limits;
        config.server.site.releases = Releases::within(self.release_grace.unwrap_or_default());
        (config.server.http1.health, config.drain_delay) = self.health.resolve();
        config.sandbox = self.sandbox.resolve();
        let sockets = config.server.binds.iter().filter_map(|bind| match bind {
            Bind::Unix(Endpoint::Path(path)) => std::path::absolute(path).ok(),
            Bind::Ip { .. } | Bind::Unix(_) | Bind::Activated(_) => None,
        });
        config.needs.sockets = sockets.collect();
        // Build tools remove the folder that they write to.
        config.needs.replaced = config.server.site.live.is_some();
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
            target: target(self.path.as_encoded_bytes()),
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
        let http1 = http1::Options {
            max_header: self.max_header,
            cors: self.cors.is_some(),
            ..http1::Options::default()
        };
        // The name as it was given: it may be given to another folder later.
        let root = std::path::absolute(&root).unwrap_or(root);
        if let Some(file) = &self.auth_file {
            not_served("--auth-file", file, &root, self.hidden)?;
        }
        let users = users(&self.auth, self.auth_file.as_deref())?;
        let sources = Sources {
            root: root.clone(),
            headers: self.headers_file,
            types: self.mime_types,
            fields: fields(
                self.cors.as_deref(),
                self.isolate,
                self.header.into_iter().flatten().collect(),
            ),
            caching: self.cache,
            is_private: users.is_some(),
        };
        let site = site::Options {
            index: self.index,
            not_found: self
                .not_found
                .clone()
                .unwrap_or_else(|| site::Options::default().not_found),
            shell: self.spa.clone(),
            is_clean: !self.no_clean_urls,
            live: self.live.resolve(&prefix),
            prefix,
            has_siblings: !self.no_precompressed,
            hidden: self.hidden,
            listing: self.listing,
            cache_memory,
            cache_files: files_within(descriptors()),
            policy: SharedPolicy::of(sources.clone()),
            ..site::Options::default()
        };
        let needs = sandbox::needs(&root, &symlinks, &sources, self.auth_file.as_deref());
        let server = server::Options {
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
            sandbox: Mode::Off,
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
    Users::read(&text).map_err(|malformed| {
        let said = malformed.iter().map(|Malformed { line, why }| match line {
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
    pub(crate) fn resolve(self) -> compress::Options {
        compress::Options {
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

/// Plain PORT, as many platforms set it.
fn env_port(port: Option<OsString>) -> Result<Option<u16>, String> {
    let Some(port) = port.filter(|port| !port.is_empty()) else {
        return Ok(None);
    };
    let number = port.to_str().and_then(|port| port.parse().ok());
    let refusal = || {
        format!(
            "PORT={} is not a port: a number up to 65535",
            port.display()
        )
    };
    number.map(Some).ok_or_else(refusal)
}

/// Where a browser on this machine looks for it. IPv6 may be missing.
fn localhost(port: Option<u16>) -> Binds {
    let bind = |ip, optional| Bind::Ip {
        ip,
        zone: None,
        port,
        optional,
    };
    vec![
        bind(Ipv4Addr::LOCALHOST.into(), false),
        bind(Ipv6Addr::LOCALHOST.into(), true),
    ]
}

/// Whether both are one place, whether or not it may be missing.
fn is_same(one: &Bind, other: &Bind) -> bool {
    let place = |bind: &Bind| match bind {
        Bind::Ip { ip, zone, port, .. } => Some((*ip, zone.clone(), *port)),
        Bind::Unix(_) | Bind::Activated(_) => None,
    };
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}

fn binds(text: &str) -> Result<Binds, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(vec![Bind::Unix(endpoint(path)?)]);
    }
    if text == "systemd" {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        return Ok(vec![Bind::Activated(
            names.split(':').map(Into::into).collect(),
        )]);
    }
    let (text, zone) = without_zone(text)?;
    let (text, is_zoned) = (text.as_str(), zone.is_some());
    let one = |ip: IpAddr, port| match (zone, ip) {
        (Some(_), IpAddr::V4(_)) => Err("expected an IPv6 address before the % of a zone".into()),
        (zone, ip) => Ok(vec![Bind::Ip {
            ip,
            zone,
            port,
            optional: false,
        }]),
    };
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bracketed.unwrap_or(text).parse::<IpAddr>() {
        return one(ip, None);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return one(address.ip(), Some(address.port()));
    }
    match text.split_once(':') {
        _ if text == "localhost" && !is_zoned => Ok(localhost(None)),
        Some(("localhost", port)) if !is_zoned && port.parse::<u16>().is_ok() => {
            Ok(localhost(port.parse().ok()))
        }
        _ => Err(
            "expected an IP or IP:PORT, such as 0.0.0.0, [::], 127.0.0.1:8080, [fe80::1%eth0]; \
             or unix:/path; or systemd, for sockets that it hands over"
                .into(),
        ),
    }
}

/// An IPv6 address without its zone (RFC 4007 section 11), and the zone: `[fe80::1%eth0]:8080`.
fn without_zone(text: &str) -> Result<(String, Option<String>), String> {
    let Some((ip, rest)) = text.split_once('%') else {
        return Ok((text.to_owned(), None));
    };
    let (zone, after) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
    match zone {
        "" => Err("expected the name of an interface, or its number, after the %".into()),
        zone => Ok((format!("{ip}{after}"), Some(zone.to_owned()))),
    }
}

/// Where a Unix socket is: a path, or @ and a name that is none.
fn endpoint(text: &str) -> Result<Endpoint, String> {
    match text.strip_prefix('@') {
        Some("") => Err("expected a name after unix:@".into()),
        Some(name) => Ok(Endpoint::Name(name.into())),
        // Relative to where it is started.
        None => std::path::absolute(text)
            .map(Endpoint::Path)
            .map_err(|_| "expected a path, such as unix:/run/docroot.sock".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let expected = || "expected a number and a unit, such as 500ms, 10s, 2m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let day = 86_400_000;
    match number.checked_mul(millis) {
        Some(millis) if (1..=day).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err("expected 1ms to 24h".into()),
    }
}

/// Bytes: `1024`, `1k`, `1KiB`; k, M and G are powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let expected = || "expected bytes, such as 1024, 1KiB, 8MiB".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(expected)
}

fn cache_size(text: &str) -> Result<usize, String> {
    let fits = |size: u64| usize::try_from(size).map_err(|_| "expected less".to_owned());
    size(text).and_then(fits)
}

/// How often -v was said; a variable may also say yes or no.
fn level(text: &str) -> Result<u8, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Ok(1),
        "false" | "no" | "off" => Ok(0),
        number => number.parse().map_err(|_| "expected 0, 1 or 2".to_owned()),
    }
}

/// Fields for every answer: those of CORS and of isolation, and after them, so that they win, those that were given.
fn fields(cors: Option<&str>, isolate: bool, given: Vec<Field>) -> Vec<Field> {
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

/// One line of several, of which the last may have nothing behind its end.
fn field(text: &str) -> Result<Option<Field>, String> {
    match text.trim_ascii() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// An origin as a browser says it (RFC 6454 section 6.2), or `*`.
fn origin(text: &str) -> Result<String, String> {
    let is_host = |host: &str| {
        let is_of_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\\"<>,;".contains(&byte);
        !host.is_empty() && host.bytes().all(is_of_host)
    };
    match text.split_once("://") {
        _ if text == "*" => Ok(text.to_owned()),
        Some((scheme, host))
            if is_host(host) && scheme.bytes().all(|it| it.is_ascii_alphanumeric()) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err("expected an origin, such as https://example.com, or *".into()),
    }
}

/// A path in front of all addresses, without its slashes.
fn prefix(text: &str) -> Result<String, String> {
    match text.trim_matches('/') {
        "" => Ok(String::new()),
        inner => file_path(inner).map_err(|_| "expected a path, such as /docs".into()),
    }
}

fn types(text: &str) -> Result<TypeSource, String> {
    Ok(match text.starts_with('.') && text.contains('=') {
        true => TypeSource::Pair(text.to_owned()),
        false => TypeSource::File(text.into()),
    })
}

fn header_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(size @ 256..=16_777_216) => Ok(size),
        _ => Err("expected 256 bytes to 16MiB".into()),
    }
}

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= 1024 => Ok(count),
        _ => Err("expected a number from 1 to 1024".into()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("expected a number of at least 1".into()),
    }
}

/// A request target, from what somebody has typed: what no target has is percent-encoded, as browsers do.
fn target(path: &[u8]) -> String {
    let mut target = String::new();
    let is_whole = path.starts_with(b"/") || path == b"*" || is_uri(path);
    if !is_whole {
        target.push('/');
    }
    for &byte in path {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                target.push_str(&format!("%{byte:02X}"));
            }
            b'!'..=b'~' => target.push(char::from(byte)),
            _ => target.push_str(&format!("%{byte:02X}")),
        }
    }
    target
}

/// Whether this is an address with its scheme.
fn is_uri(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    path.starts_with(b"http://") || path.starts_with(b"https://")
}

/// A field line of a request without content.
fn request_field(text: &str) -> Result<String, String> {
    let expected = || "expected 'Name: value', such as 'Accept-Encoding: br'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(expected)?;
    if !is_token(name.as_bytes()) || value.contains(|char: char| char.is_control() && char != '\t')
    {
        return Err(expected());
    }
    let names_content = ["Content-Length", "Transfer-Encoding"];
    match names_content.iter().any(|of| name.eq_ignore_ascii_case(of)) {
        true => Err("a request with content is not explained; leave this field out".into()),
        false => Ok(text.to_owned()),
    }
}

fn method(text: &str) -> Result<String, String> {
    match is_token(text.as_bytes()) {
        true => Ok(text.to_owned()),
        false => Err("expected a method, such as HEAD".into()),
    }
}

/// The name of a user (RFC 7617 section 2).
fn user_name(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && !text.contains(|char: char| char == ':' || char.is_control());
    let expected = || "expected a name without colons and control characters".to_owned();
    is_one.then(|| text.to_owned()).ok_or_else(expected)
}

/// A name in a folder.
fn file_name(text: &str) -> Result<String, String> {
    match file_path(text)? {
        name if name.contains('/') => Err("expected a file name, without a slash".into()),
        name => Ok(name),
    }
}

/// A path below the root.
fn file_path(text: &str) -> Result<String, String> {
    let inside = |name: &str| !matches!(name, "" | "." | "..");
    match text.split('/').all(inside) {
        true => Ok(text.to_owned()),
        false => Err("expected a path relative to the root, such as errors/404.html".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn addresses() {
        let check = |text: &str, expected: Option<(&str, Option<&str>, Option<u16>)>| {
            let first = binds(text).ok().map(|binds| binds[0].clone());
            let expected = expected.map(|(ip, zone, port)| Bind::Ip {
                ip: ip.parse().unwrap(),
                zone: zone.map(Into::into),
                port,
                optional: false,
            });
            assert_eq!(first, expected, "{text}");
        };
        check("0.0.0.0", Some(("0.0.0.0", None, None)));
        check("127.0.0.1:81", Some(("127.0.0.1", None, Some(81))));
        check("::", Some(("::", None, None)));
        check("[::]", Some(("::", None, None)));
        check("[::1]:81", Some(("::1", None, Some(81))));
        check("localhost", Some(("127.0.0.1", None, None)));
        check("localhost:81", Some(("127.0.0.1", None, Some(81))));
        check("fe80::1%eth0", Some(("fe80::1", Some("eth0"), None)));
        check("[fe80::1%2]", Some(("fe80::1", Some("2"), None)));
        check(
            "[fe80::1%eth0]:81",
            Some(("fe80::1", Some("eth0"), Some(81))),
        );
        for bad in [
            "",
            "a",
            "localhost:a",
            "127.0.0.1:",
            "1.2.3",
            "127.0.0.1:70000",
            "fe80::1%",
            "[fe80::1%]:80",
            "127.0.0.1%lo",
            "localhost%lo",
            "%lo",
            "unix:",
            "unix:@",
            "unix",
            "systemd:",
        ] {
            check(bad, None);
        }
        let unix = |text| binds(text).unwrap().remove(0);
        let path = Endpoint::Path("/run/a:b".into());
        assert_eq!(unix("unix:/run/a:b"), Bind::Unix(path));
        assert_eq!(unix("unix:@a"), Bind::Unix(Endpoint::Name(b"a".into())));
        assert!(matches!(unix("systemd"), Bind::Activated(_)));
    }

    #[test]
    fn quantities() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in [
            "",
            "10",
            "s",
            "1.5s",
            "0s",
            "25h",
            "-1s",
            "99999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(size("1024"), Ok(1024));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("8m"), Ok(8 << 20));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "KiB", "1 KiB", "-1", "1.5k", "1kb/s", "99999999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(header_size("255").is_err());
        assert!(header_size("17MiB").is_err());
        assert!(connections("0").is_err());
        assert_eq!(workers("2").map(NonZeroUsize::get), Ok(2));
        for bad in ["", "0", "-1", "1025", "2.5", "auto"] {
            assert!(workers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_stay_in_the_root() {
        assert!(file_path("errors/404.html").is_ok());
        for bad in ["", "/404.html", "../404.html", "a//b", "a/"] {
            assert!(file_path(bad).is_err(), "{bad}");
        }
        assert!(file_name("a/b").is_err());
    }

    #[test]
    fn what_is_typed_becomes_a_target() {
        let check = |typed: &str, expected: &str| assert_eq!(target(typed.as_bytes()), expected);
        check("/a", "/a");
        check("a/b?q=1", "/a/b?q=1");
        check("", "/");
        check("/a b\"ä%20", "/a%20b%22%C3%A4%20");
        check("http://host/a", "http://host/a");
        check("https.html", "/https.html");
        check("*", "*");
        for bad in ["", "a", "a b: c", "a: b\nc: d", ": b", "content-length: 0"] {
            assert!(request_field(bad).is_err(), "{bad}");
        }
        assert!(request_field("Accept:").is_ok());
        assert!(method("B/C").is_err());
    }

    #[test]
    fn a_plain_port_is_a_port() {
        assert_eq!(env_port(None), Ok(None));
        assert_eq!(env_port(Some("".into())), Ok(None));
        assert_eq!(env_port(Some("81".into())), Ok(Some(81)));
        assert!(
            env_port(Some("http".into()))
                .unwrap_err()
                .contains("PORT=http")
        );
    }
}
