//! The options that decide which response a request gets.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, TypedValueParser as _, ValueHint};
use clap::{Args, ValueEnum};
use docroot::files::Symlinks;
use docroot::http1;
use docroot::net::{Limits, raise_descriptor_limit};
use docroot::server::sandbox::SandboxMode;
use docroot::server::{self, max_cached_files};
use docroot::service::ServiceOptions;
use docroot::site::{self, CachePolicy, ConfiguredField, MediaTypesInput, PolicySources};

use super::config::Config;
use super::defaults::{default_cache_bytes, default_workers};
use super::environment::Variables;
use super::etag::EtagOptions;
use super::live::{LiveOptions, UrlDisplay};
use super::root::require_not_served;
use super::users::UserSources;
use super::{group, sandbox, values};

/// Options that decide which response a request gets.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option, and means one thing"
)]
pub(super) struct SiteArguments {
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
    #[arg(long, env = "DOCROOT_LISTING")]
    #[arg(help_heading = group::SITE)]
    listing: bool,

    /// Serve files and directories whose names begin with a dot, too
    #[arg(long, env = "DOCROOT_HIDDEN")]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    pub(super) hidden: bool,

    /// Follow symbolic links below the root: only to targets inside the root, not at all, or to any target
    #[arg(
        long,
        value_name = "WHERE",
        env = "DOCROOT_SYMLINKS",
        ignore_case = true,
        default_value = "inside"
    )]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    symlinks: SymlinksValue,

    /// Follow symbolic links to targets in this directory outside the root, too; repeatable
    #[arg(
        long,
        value_name = "DIR",
        env = "DOCROOT_SYMLINK_ROOT",
        value_delimiter = ',',
        value_parser = PathBufValueParser::new().map(values::trimmed_path)
    )]
    #[arg(help_heading = group::SITE, hide_short_help = true, value_hint = ValueHint::DirPath)]
    symlink_root: Vec<PathBuf>,

    /// Do not serve about.html for /about
    #[arg(long, env = "DOCROOT_NO_CLEAN_URLS")]
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
    #[arg(long, env = "DOCROOT_ISOLATE")]
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
        value_parser = values::cache_policy,
        default_value = "auto"
    )]
    #[arg(help_heading = group::CACHING)]
    cache: CachePolicy,

    #[command(flatten)]
    etag: EtagOptions,

    /// Compress responses on background threads, for clients that accept it, and cache the result
    #[arg(long, env = "DOCROOT_COMPRESS")]
    #[arg(help_heading = group::CACHING)]
    compress: bool,

    /// Do not send the sidecars app.js.br, app.js.zst and app.js.gz for app.js
    #[arg(long, env = "DOCROOT_NO_PRECOMPRESSED")]
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
    pub(super) max_header: usize,

    /// Options whose values come from environment variables, those of the server included.
    #[arg(skip)]
    pub(super) variables: Variables,
}

/// Values of `--symlinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SymlinksValue {
    Inside,
    Deny,
    Follow,
}

impl SiteArguments {
    /// Returns the options of a server of this root, without listeners.
    pub(super) fn resolve(self, root: PathBuf) -> Result<Config, String> {
        let variables = &self.variables;
        let cache_memory = self.cache_memory.unwrap_or_else(default_cache_bytes);
        if self.compress && cache_memory == 0 {
            return Err(format!(
                "{} needs the cache, and {} turns the cache off; leave one of the two out",
                variables.name("--compress"),
                variables.with_value("--cache-memory", 0)
            ));
        }
        let symlinks = match self.symlinks {
            SymlinksValue::Inside => Symlinks::Inside(self.symlink_root),
            SymlinksValue::Deny if self.symlink_root.is_empty() => Symlinks::Deny,
            SymlinksValue::Follow if self.symlink_root.is_empty() => Symlinks::Follow,
            SymlinksValue::Deny | SymlinksValue::Follow => {
                return Err(format!(
                    "{} works with {} only; leave one of the two out",
                    variables.name("--symlink-root"),
                    variables.with_value("--symlinks", "inside")
                ));
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
            let argument = variables.with_value("--auth-file", file.display());
            require_not_served(&argument, file, &root, self.hidden)?;
        }
        let auth = UserSources {
            entries: self.auth,
            file: self.auth_file,
            variables: variables.clone(),
        };
        let users = auth.read()?;
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
            prefix,
            has_sidecars: !self.no_precompressed,
            shows_hidden: self.hidden,
            lists_dirs: self.listing,
            cache_memory,
            cache_files: max_cached_files(raise_descriptor_limit()),
            ..site::SiteOptions::default()
        };
        let requirements = sandbox::requirements(&root, &symlinks, &sources, auth.file.as_deref());
        let server = server::ServerOptions {
            root,
            binds: Vec::new(),
            ports: Vec::new(),
            symlinks,
            site,
            live_reload: self.live.resolve(),
            compress: self.compress,
            digest: self.etag.resolve(),
            http1,
            service,
            proxy: None,
            users,
            workers: default_workers(),
            limits: Limits::default(),
            max_per_ip: None,
            metrics: None,
        };
        let required = [("--404", self.not_found), ("--spa", self.spa)];
        let required = required.into_iter().filter_map(|(option, page)| {
            let page = page?;
            Some((self.variables.with_value(option, &page), page))
        });
        Ok(Config {
            server,
            sources,
            required: required.collect(),
            auth,
            drain_delay: Duration::ZERO,
            sandbox: SandboxMode::Off,
            requirements,
            log: None,
            url_display: UrlDisplay::default(),
        })
    }
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
