//! `Site`: the origin that finds the resource for a target below a root directory.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use tracing::{info, warn};

use super::cache_control::has_content_hash;
use super::listing::{self, Listing, Listings};
use super::live::{self, BuiltinPath, EventStream, LiveReload};
use crate::blob::Blob;
use crate::counter::Counter;
use crate::files::root::is_not_found;
use crate::files::root::{self, EntryDescriptor, Root, Symlink, UnavailableDir};
use crate::http::{
    CacheStatus, Coding, Fields, Lookup, LookupStatus, Origin, Representation, Resource, Response,
    Status, StreamKind, StreamProgress, Target,
};
use crate::path::last_segment;
use crate::site::encoding::compressor::{self, Compressor, Encoded};
use crate::site::freshness::cache::{CacheBudget, Evidence};
use crate::site::freshness::lookup_cache::{LookupCache, LookupWithEvidence, RootState};
use crate::site::freshness::releases::Releases;
use crate::site::names::hidden::{WELL_KNOWN, is_hidden};
use crate::site::names::media::{is_compressible, is_html};
use crate::site::report::trace::{
    ChosenFile, HiddenReason, ProbeResult, ResponseRole, Trace, TraceEvent,
};
use crate::site::represent::digests::Digests;
use crate::site::represent::resource::{represent, with_fields, with_validators};
use crate::site::represent::validators::{validators, validators_of_generated};
use crate::site::resolve::absence::is_absence;
use crate::site::resolve::search::{FoundFile, LookupError, Search, SearchOutcome, SiteFile};
use crate::site::rules::policy::{Policy, SharedPolicy, media_type, rules_path};
use crate::site::rules::redirects::{RedirectMatch, RedirectTarget};

/// Cache keys of the not-found page and of the SPA fallback page, and the beginning of the key of a rewrite by a rule.
/// The path of a target is empty or begins with a slash, so it never equals one of them.
const NOT_FOUND_KEY: &str = "404";
const SPA_FALLBACK_KEY: &str = "spa fallback";
const RULE_KEY_PREFIX: &str = "rule ";

/// Interval between attempts to reopen a root whose path leads to no directory, if no request causes one earlier.
const MISSING_ROOT_RETRY: Duration = Duration::from_secs(1);

/// Maximum number of messages that are each logged once; further ones are not logged at all.
const MAX_LOGGED_ONCE: usize = 1000;

/// Options of a site. File names are relative to the root.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// Index files of a directory: the first that exists is served.
    pub index: Vec<String>,
    /// File that is served with status 404, if it exists.
    pub not_found: String,
    /// SPA fallback page: served for a navigation to a path without a file.
    pub spa_fallback: Option<String>,
    /// Whether a URL may leave out the `.html` of its file.
    pub has_clean_urls: bool,
    /// Prefix of all URL paths, without a slash at either end; empty for none.
    pub prefix: String,
    /// Whether sidecars are served as content codings of their files.
    pub has_sidecars: bool,
    /// Thread pool that compresses files on demand, if any.
    pub compressor: Option<Compressor>,
    /// Content digests, if files too large for memory are to be tagged by their content alone.
    pub digests: Option<Digests>,
    /// Whether names that begin with a dot are served.
    pub shows_hidden: bool,
    /// Whether a directory without an index file is listed.
    pub lists_dirs: bool,
    /// Maximum bytes of memory for cached lookups. 0 caches nothing.
    pub cache_memory: usize,
    /// Maximum number of files that cached lookups may hold open.
    pub cache_files: usize,
    /// Directories that the root's path has led to. A fingerprinted file that only a previous release has is still
    /// served: pages that were loaded before may request it.
    pub releases: Releases,
    /// Field policy and path rules.
    pub policy: SharedPolicy,
    /// Messages that have been logged once.
    pub logged_once: LoggedOnce,
    /// Live reload of pages, if it is on.
    pub live_reload: Option<LiveReload>,
    /// Trace of each step of a lookup, for an explanation of its result.
    pub trace: Option<Trace>,
}

/// Messages that are logged once, shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct LoggedOnce(Arc<Mutex<LoggedMessages>>);

#[derive(Debug, Default)]
struct LoggedMessages {
    /// Rejected sidecars, and rules that are left out.
    messages: HashSet<Vec<u8>>,
    /// Real paths last logged for the root and for the other directories that links may lead to, or the error.
    real_paths: HashMap<PathBuf, Result<PathBuf, String>>,
}

impl LoggedOnce {
    /// Locks the messages. A panic elsewhere leaves them whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, LoggedMessages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether to log this message now: it was not logged before, and there is room for it.
    fn insert(&self, key: &[u8]) -> bool {
        let messages = &mut self.lock().messages;
        messages.len() < MAX_LOGGED_ONCE && messages.insert(key.to_vec())
    }

    /// Forgets the logged errors, except of the `unavailable` directories, so that they are logged when they recur.
    fn forget_recovered(&self, unavailable: &[UnavailableDir]) {
        let is_unavailable = |name: &Path| unavailable.iter().any(|(other, _)| other == name);
        self.lock()
            .real_paths
            .retain(|name, real_path| real_path.is_ok() || is_unavailable(name));
    }

    /// Returns whether to log now that a directory's path leads there: the real path, or the error, is a new one.
    fn insert_real_path(&self, name: &Path, real_path: Result<PathBuf, String>) -> bool {
        let real_paths = &mut self.lock().real_paths;
        let is_new = real_paths.get(name) != Some(&real_path);
        real_paths.insert(name.to_owned(), real_path);
        is_new
    }
}

impl Default for SiteOptions {
    /// `index.html`, `404.html`, URLs without `.html`, sidecars, no hidden files, no listings, 64 MiB, 256 files.
    fn default() -> Self {
        Self {
            index: vec!["index.html".into()],
            not_found: "404.html".into(),
            spa_fallback: None,
            has_clean_urls: true,
            prefix: String::new(),
            has_sidecars: true,
            compressor: None,
            digests: None,
            shows_hidden: false,
            lists_dirs: false,
            cache_memory: 64 * 1024 * 1024,
            cache_files: 256,
            releases: Releases::default(),
            policy: SharedPolicy::default(),
            logged_once: LoggedOnce::default(),
            live_reload: None,
            trace: None,
        }
    }
}

/// Means by which a site learns that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// inotify(7); stat(2) for files of which inotify may miss a change.
    Inotify,
    /// stat(2) of each file before it is sent again, once per turn of the event loop.
    Stat,
    /// None: nothing is cached.
    Uncached,
}

/// Content that a site generates while it is being sent.
#[derive(Debug)]
pub enum SiteStream {
    /// Listing of a directory.
    Listing(Listing),
    /// Server-sent events of live reload.
    Events(EventStream),
}

/// Origin that serves the files below a root directory.
#[derive(Debug)]
pub struct Site {
    pub(crate) root: Arc<Root>,
    pub(crate) options: SiteOptions,
    /// Policy in force, and the number of policy changes when it was taken over.
    pub(crate) policy: (Arc<Policy>, u64),
    /// Fields of responses that docroot generates itself, whatever their path.
    generated_fields: Fields,
    cache: LookupCache,
    /// Time of the last check of the root path, and whether a directory was unavailable then.
    root_checked: Option<(SystemTime, bool)>,
    listings: Listings,
    /// Time of the last logged failure, and the number of failures since then that were not logged.
    failure_log: (Option<SystemTime>, u64),
    /// Status of the last lookup.
    lookup_status: LookupStatus,
    /// Counter of cached bytes, if there is one.
    cached_bytes: Option<Arc<Counter>>,
}

impl Site {
    /// Creates a site that serves this root.
    #[must_use]
    pub fn new(root: Root, options: SiteOptions) -> Self {
        let budget = CacheBudget {
            bytes: options.cache_memory,
            descriptors: options.cache_files,
        };
        let cache = LookupCache::new(&root, budget);
        let policy = options.policy.current();
        Self {
            root: Arc::new(root),
            generated_fields: policy.0.generated_fields(None),
            policy,
            options,
            cache,
            root_checked: None,
            listings: Listings::default(),
            failure_log: (None, 0),
            lookup_status: LookupStatus {
                cache_status: CacheStatus::Miss,
                reason: None,
            },
            cached_bytes: None,
        }
    }

    /// Sets a counter that receives the number of cached bytes in each turn.
    #[must_use]
    pub fn with_cached_bytes_counter(mut self, cached_bytes: Arc<Counter>) -> Self {
        self.cached_bytes = Some(cached_bytes);
        self
    }

    /// Returns the means by which file changes are noticed.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match self.cache.is_watching() {
            true => Freshness::Inotify,
            false if self.options.cache_memory > 0 => Freshness::Stat,
            false => Freshness::Uncached,
        }
    }

    /// Returns a descriptor that is readable when there are events for [`Origin::mark_stale`] to read; `None` without
    /// inotify.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub fn event_fd(&self) -> io::Result<Option<OwnedFd>> {
        self.cache.event_fd()
    }

    /// Checks that a regular file can be opened under a name relative to the root.
    ///
    /// # Errors
    /// The file does not exist, is not a regular file, or may not be read.
    pub fn check_file(&self, name: &str) -> io::Result<()> {
        match self.root.open_descriptor(name.as_bytes())? {
            EntryDescriptor::File(..) => Ok(()),
            EntryDescriptor::Directory => Err(io::ErrorKind::IsADirectory.into()),
            EntryDescriptor::Special => Err(io::Error::other("not a regular file")),
        }
    }

    /// Resolves a target. In order of precedence: built-in path, forced rule, file, fingerprinted file of a previous
    /// release, other rule, not-found or SPA fallback page.
    fn resolve(
        &mut self,
        target: &Target<'_>,
        now: SystemTime,
    ) -> Result<LookupWithEvidence, LookupError> {
        if let Some(builtin) = self.builtin(target) {
            return Ok((builtin, None));
        }
        let rule = self.policy.0.find_redirect(target);
        if let Some(rule) = rule.as_ref().filter(|rule| rule.is_forced) {
            return self.apply_redirect(target, rule, now);
        }
        match (self.lookup_path(target, &rules_path(target), now)?, rule) {
            ((Lookup::NotFound(_), _), rule) => {
                if let Some(lookup) = self.find_in_previous_releases(target, now) {
                    return Ok((lookup, None));
                }
                match rule {
                    Some(rule) => self.apply_redirect(target, &rule, now),
                    None => Ok((self.not_found(target, now), None)),
                }
            }
            (discovery, rule) => {
                if let Some(rule) = rule {
                    self.trace(|| TraceEvent::Redirect(rule, false));
                }
                Ok(discovery)
            }
        }
    }

    /// Finds a fingerprinted file in the previous releases: pages that were loaded from there may still request it.
    fn find_in_previous_releases(&self, target: &Target<'_>, now: SystemTime) -> Option<Lookup> {
        let path = target.path();
        let path = self.strip_prefix(&path)?;
        // A target with a trailing slash names no file, as in the current release.
        let is_file = !target.is_directory() && has_content_hash(path);
        if !is_file || self.hidden_reason(path).is_some() {
            return None;
        }
        let previous = self.options.releases.previous(&self.root, now);
        let file = |previous: &Arc<Root>| {
            let search = Search {
                root: previous,
                ..self.new_search(now)
            };
            match search.find_file(path) {
                Ok(SearchOutcome::File(found)) => Some(found),
                _ => None,
            }
        };
        let found = previous.iter().find_map(file)?;
        let fields = self.policy.0.file_fields(&rules_path(target), path);
        let (resource, _) = self.build_resource(*found, &fields, Some(now));
        Some(Lookup::Found(Arc::new(resource)))
    }

    /// Finds the built-in resource of a target, which is in no directory: the events or the script of live reload.
    fn builtin(&self, target: &Target<'_>) -> Option<Lookup> {
        self.options.live_reload.as_ref()?;
        let path = target.path();
        let builtin = LiveReload::builtin_path(self.strip_prefix(&path)?)
            .filter(|_| !target.is_directory())?;
        Some(match builtin {
            BuiltinPath::Events => Lookup::Events,
            BuiltinPath::Script => {
                let mut fields = self
                    .policy
                    .0
                    .file_fields(&rules_path(target), live::SCRIPT_PATH);
                fields.remove("Cache-Control");
                let fields = fields.with("Cache-Control", "no-cache");
                let content = Blob::Static(live::SCRIPT_CONTENT);
                let script = represent(content, Coding::Identity, &fields);
                let validators = validators_of_generated(live::SCRIPT_CONTENT);
                Lookup::Found(Arc::new(
                    with_validators(script, Some(validators), false).into(),
                ))
            }
        })
    }

    /// Returns an HTML page with the live-reload script injected, if live reload is on and the page allows it.
    fn inject(&self, file: &SiteFile, fields: &Fields) -> Option<Vec<u8>> {
        let live = self.options.live_reload.as_ref()?;
        if !is_html(media_type(fields)) || !live.is_injectable(file.content.len(), &file.path) {
            return None;
        }
        match root::content_bytes(&file.content) {
            Ok(html) => live.inject(&html, fields, &file.path),
            Err(error) => {
                warn!(
                    "cannot add live reload to /{}: {error}",
                    file.path.escape_ascii()
                );
                None
            }
        }
    }

    /// Generates a not-found page with the live-reload script, for a site without a page of its own. It also reloads
    /// when a page appears at the requested path.
    fn builtin_not_found_page(&self, target: &Target<'_>) -> Option<Arc<Resource>> {
        let live = self.options.live_reload.as_ref()?;
        let path = target.path();
        let name = last_segment(&path);
        if name.contains(&b'.')
            && !is_html(self.policy.0.media_types.media_type(name).value.as_ref())
        {
            return None;
        }
        let page = Response::html_page(Status::NotFound, "There is nothing under this address.");
        let page = page.representation?;
        let rules_path = rules_path(target);
        let fields = self
            .policy
            .0
            .error_fields(Some(&rules_path), page.media_type());
        let html = live.inject(page.content.in_memory()?, &fields, &path)?;
        let page = represent(html.into(), Coding::Identity, &fields);
        Some(Arc::new(with_validators(page, None, false).into()))
    }

    /// Looks a target up below the root. A file gets the fields of `rules_path`.
    fn lookup_path(
        &self,
        target: &Target<'_>,
        rules_path: &[u8],
        now: SystemTime,
    ) -> Result<LookupWithEvidence, LookupError> {
        let path = target.path();
        let Some(path) = self.strip_prefix(&path) else {
            self.trace(|| TraceEvent::OutsidePrefix);
            return Ok((Lookup::NotFound(None), None));
        };
        if path.is_empty() && !target.is_directory() {
            return Ok((Lookup::Directory, None));
        }
        if let Some(reason) = self.hidden_reason(path) {
            self.trace(|| TraceEvent::Hidden(path.to_vec(), reason));
            return Ok((Lookup::NotFound(None), None));
        }
        let search = self.new_search(now);
        let outcome = match target.is_directory() {
            true => search.find_index(path)?,
            false => search.find_name(path)?,
        };
        Ok(match outcome {
            SearchOutcome::File(found) if self.policy.0.is_rules_file(&found.file.path) => {
                (Lookup::NotFound(None), None)
            }
            SearchOutcome::File(found) => {
                self.trace_file(ResponseRole::File, &found.file, Some(rules_path));
                let fields = self.policy.0.file_fields(rules_path, &found.file.path);
                let (resource, evidence) = self.build_resource(*found, &fields, Some(now));
                (Lookup::Found(Arc::new(resource)), Some(evidence))
            }
            SearchOutcome::Directory => (Lookup::Directory, None),
            SearchOutcome::Missing if self.options.lists_dirs && target.is_directory() => {
                (self.lookup_listing(target, path)?, None)
            }
            SearchOutcome::Missing => (Lookup::NotFound(None), None),
        })
    }

    /// Looks up the listing of a directory without an index file.
    fn lookup_listing(&self, target: &Target<'_>, path: &[u8]) -> Result<Lookup, LookupError> {
        match self.root.read_dir(path) {
            // The links in a listing are relative to a URL that ends in a slash.
            Ok(_) if !target.raw_path().ends_with('/') => Ok(Lookup::Directory),
            Ok(_) => Ok(self.listings.lookup()),
            Err(error) if is_not_found(&error) => Ok(Lookup::NotFound(None)),
            Err(error) => {
                let path = path.to_vec();
                self.trace(|| {
                    TraceEvent::Probed(path.clone(), ProbeResult::Failed(error.to_string()))
                });
                Err(LookupError { path, error })
            }
        }
    }

    /// Returns the reason why this path is hidden, or `None` if it is not.
    pub(crate) fn hidden_reason(&self, path: &[u8]) -> Option<HiddenReason> {
        if !self.options.shows_hidden && is_hidden(path) {
            Some(HiddenReason::Dotfile)
        } else if self.policy.0.is_rules_file(path) {
            Some(HiddenReason::RulesFile)
        } else {
            None
        }
    }

    /// Returns the root that is served.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    fn trace(&self, event: impl FnOnce() -> TraceEvent) {
        if let Some(trace) = &self.options.trace {
            trace.record(event());
        }
    }

    /// Records that a file is to be sent, and the rules that change its fields at `rules_path`.
    fn trace_file(&self, role: ResponseRole, file: &SiteFile, rules_path: Option<&[u8]>) {
        let policy = &self.policy.0;
        let cache = || {
            policy
                .cache_policy
                .cache_control(&file.path, policy.is_private)
        };
        self.trace(|| {
            TraceEvent::Chosen(ChosenFile {
                role,
                path: file.path.clone(),
                len: file.content.len(),
                symlinks: match file.source.has_no_symlink {
                    true => Vec::new(),
                    false => self.root.symlinks_on(&file.path),
                },
                media_type: policy.media_types.media_type(&file.path),
                cache_control: (role != ResponseRole::NotFound).then(cache),
            })
        });
        self.trace(|| TraceEvent::FieldChanges(role, policy.traced_changes(rules_path)));
    }

    pub(crate) fn new_search(&self, now: SystemTime) -> Search<'_> {
        Search {
            has_clean_urls: self.options.has_clean_urls,
            sidecar_types: self
                .options
                .has_sidecars
                .then_some(&self.policy.0.media_types),
            trace: self.options.trace.as_ref(),
            ..Search::new(&self.root, &self.options.index, now)
        }
    }

    /// Strips the path prefix; `None` if the path does not begin with it.
    pub(crate) fn strip_prefix<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match (self.options.prefix.as_bytes(), path) {
            (b"", path) => Some(path),
            (prefix, path) => match path.strip_prefix(prefix)? {
                b"" => Some(b""),
                below => below.strip_prefix(b"/"),
            },
        }
    }

    /// Applies a rule to a target: redirects it, or looks up the target that it is rewritten to.
    fn apply_redirect(
        &mut self,
        target: &Target<'_>,
        rule: &RedirectMatch,
        now: SystemTime,
    ) -> Result<LookupWithEvidence, LookupError> {
        self.trace(|| TraceEvent::Redirect(rule.clone(), true));
        let (status, target_of_rule) = match &rule.target {
            RedirectTarget::Location(location) => {
                return Ok((
                    Lookup::Redirect(rule.status, location.as_str().into()),
                    None,
                ));
            }
            RedirectTarget::Rewrite(target) => (rule.status, target),
        };
        // A placeholder stands for text of the client, which may not fit into a path.
        let Ok(other) = Target::parse(target_of_rule, None) else {
            return Ok((self.not_found(target, now), None));
        };
        let (key, rules_path) = self.rewrite_key(target, &other);
        let lookup = match self.cache.get(&self.root, &key, now) {
            Some(lookup) => {
                // With a forced rule no other lookup preceded this one, so its status counts.
                if rule.is_forced {
                    self.lookup_status.cache_status = self.cache.last_status();
                }
                lookup
            }
            None => {
                let discovery = self.lookup_path(&other, &rules_path, now)?;
                self.cache.insert(&key, discovery, now)
            }
        };
        let lookup = match lookup {
            Lookup::Found(resource) if status == Status::NotFound => {
                Lookup::NotFound(Some(self.error_page_for(&resource, &rules_path)))
            }
            Lookup::Found(resource) => Lookup::Found(resource),
            _ => self.not_found(target, now),
        };
        Ok((lookup, None))
    }

    /// Returns the cache key of a rewritten target, and the path whose rules give its fields. The key differs from that
    /// of the `other` target itself, which another rule may rewrite.
    fn rewrite_key(&self, target: &Target<'_>, other: &Target<'_>) -> (String, Vec<u8>) {
        match self.policy.0.has_path_rules() {
            true => {
                let key = format!(
                    "{RULE_KEY_PREFIX}{} {}",
                    target.raw_path(),
                    other.raw_path()
                );
                (key, rules_path(target))
            }
            false => (
                format!("{RULE_KEY_PREFIX}{}", other.raw_path()),
                rules_path(other),
            ),
        }
    }

    /// Returns the cache key of the lookup that was just found for a target, and the path whose rules give its fields.
    fn cache_key(&self, target: &Target<'_>, found: &Lookup) -> Option<(String, Vec<u8>)> {
        let found = match (found, &self.options.spa_fallback) {
            (Lookup::SpaFallback(..), Some(file)) => {
                return Some((SPA_FALLBACK_KEY.into(), format!("/{file}").into()));
            }
            (Lookup::Found(resource), _) => resource,
            _ => return None,
        };
        let is_at = |(key, _): &(String, Vec<u8>)| match self.cache.entry(key) {
            Some((Lookup::Found(cached), _)) => Arc::ptr_eq(cached, found),
            _ => false,
        };
        let by_target = (target.raw_path().to_owned(), rules_path(target));
        if is_at(&by_target) {
            return Some(by_target);
        }
        match self.policy.0.find_redirect(target)?.target {
            RedirectTarget::Rewrite(other) => {
                let other = Target::parse(&other, None).ok()?;
                Some(self.rewrite_key(target, &other)).filter(is_at)
            }
            RedirectTarget::Location(_) => None,
        }
    }

    /// Returns the result for a target without a resource: the SPA fallback page, or the not-found page.
    fn not_found(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        let page = self.fallback_page(NOT_FOUND_KEY, now);
        let page = page.map(|page| match self.policy.0.has_path_rules() {
            true => self.error_page_for(&page, &rules_path(target)),
            false => page,
        });
        let page = page.or_else(|| self.builtin_not_found_page(target));
        let spa_fallback = match self.options.spa_fallback.is_some() {
            true => {
                let route = self.check_spa_route(target);
                self.trace(|| TraceEvent::SpaRoute(route));
                route
                    .ok()
                    .and_then(|()| self.fallback_page(SPA_FALLBACK_KEY, now))
            }
            false => None,
        };
        match spa_fallback {
            Some(spa_fallback) => {
                Lookup::SpaFallback(self.spa_fallback_for(spa_fallback, target), page)
            }
            None => Lookup::NotFound(page),
        }
    }

    /// Returns an error page with the fields of `rules_path`.
    fn error_page_for(&self, page: &Resource, rules_path: &[u8]) -> Arc<Resource> {
        let policy = &self.policy.0;
        self.trace(|| {
            TraceEvent::FieldChanges(
                ResponseRole::NotFound,
                policy.traced_changes(Some(rules_path)),
            )
        });
        let fields =
            |page: &Representation| policy.error_fields(Some(rules_path), page.media_type());
        Arc::new(with_fields(page, fields, false))
    }

    /// Returns the SPA fallback page with the fields of this target.
    fn spa_fallback_for(&self, spa_fallback: Arc<Resource>, target: &Target<'_>) -> Arc<Resource> {
        match &self.options.spa_fallback {
            Some(file) if self.policy.0.has_path_rules() => {
                let rules_path = rules_path(target);
                let fields = |_: &_| self.policy.0.file_fields(&rules_path, file.as_bytes());
                Arc::new(with_fields(&spa_fallback, fields, true))
            }
            _ => spa_fallback,
        }
    }

    /// Checks that a target may be a route that only a page's script knows, or returns the reason why not. A name with
    /// an extension is a file, and paths below `/.well-known/` are for other programs.
    fn check_spa_route(&self, target: &Target<'_>) -> Result<(), &'static str> {
        let path = target.path();
        let Some(path) = self.strip_prefix(&path) else {
            return Err("its address does not begin with the path prefix");
        };
        let mut names = path.split(|&byte| byte == b'/');
        let is_well_known = names.next() == Some(WELL_KNOWN);
        let is_file = last_segment(path).contains(&b'.');
        if is_well_known {
            Err("it is below /.well-known/")
        } else if is_hidden(path) {
            Err("a name in it begins with a dot")
        } else if is_file {
            Err("its name has an extension, so it is a file")
        } else {
            Ok(())
        }
    }

    /// Finds the not-found page or the SPA fallback page, by its cache key. If that fails, there is none: the response
    /// stays as it would be without it.
    fn fallback_page(&mut self, key: &'static str, now: SystemTime) -> Option<Arc<Resource>> {
        let page = |lookup| match lookup {
            Lookup::Found(page) => Some(page),
            _ => None,
        };
        if let Some(lookup) = self.cache.get(&self.root, key, now) {
            return page(lookup);
        }
        let name = match (key, &self.options.spa_fallback) {
            (SPA_FALLBACK_KEY, Some(spa_fallback)) => spa_fallback,
            _ => &self.options.not_found,
        };
        let discovery = match self.new_search(now).find_file(name.as_bytes()) {
            Ok(SearchOutcome::File(found)) => {
                let path = &found.file.path;
                let fields = match key {
                    SPA_FALLBACK_KEY => {
                        let rules_path = [b"/", &path[..]].concat();
                        self.trace_file(ResponseRole::SpaFallback, &found.file, Some(&rules_path));
                        self.policy.0.file_fields(&rules_path, path)
                    }
                    _ => {
                        self.trace_file(ResponseRole::NotFound, &found.file, None);
                        let media_type = self.policy.0.media_types.media_type(path);
                        self.policy.0.error_fields(None, &media_type.value)
                    }
                };
                // The not-found page is no representation of the target, so it has no validators.
                let validated = (key == SPA_FALLBACK_KEY).then_some(now);
                let (resource, evidence) = self.build_resource(*found, &fields, validated);
                (Lookup::Found(Arc::new(resource)), Some(evidence))
            }
            _ => (Lookup::NotFound(None), None),
        };
        page(self.cache.insert(key, discovery, now))
    }

    /// Builds the resource of a file and its sidecars with these fields, and with their validators at the time
    /// `validated`, if there is one.
    fn build_resource(
        &self,
        found: FoundFile,
        fields: &Fields,
        validated: Option<SystemTime>,
    ) -> (Resource, Evidence) {
        self.log_rejected_sidecars(&found);
        if let Some(html) = self.inject(&found.file, fields) {
            let validators = validated.map(|_| validators_of_generated(&html));
            let page = represent(html.into(), Coding::Identity, fields);
            return (
                with_validators(page, validators, false).into(),
                found.evidence,
            );
        }
        let FoundFile {
            file,
            sidecars,
            evidence,
            ..
        } = found;
        // Error pages are not compressed on demand.
        let is_codable =
            sidecars.is_empty() && validated.is_some() && self.is_encodable(fields, &file);
        let varies = is_codable || !sidecars.is_empty();
        let variants = [(Coding::Identity, file)].into_iter().chain(sidecars);
        let build = |(coding, file): (Coding, SiteFile)| {
            let digests = self.options.digests.as_ref();
            let with = |now| validators(&file.content, &file.source.version, digests, now);
            let validators = validated.map(with);
            let representation = represent(file.content, coding, fields);
            Arc::new(with_validators(representation, validators, varies))
        };
        let resource = Resource {
            representations: variants.map(build).collect(),
            varies,
            is_encodable: is_codable,
        };
        (resource, evidence)
    }

    /// Returns whether a file may be compressed on demand.
    fn is_encodable(&self, fields: &Fields, file: &SiteFile) -> bool {
        let max_bytes = self.cache.max_file_bytes();
        self.options.compressor.is_some()
            && (compressor::MIN_COMPRESSED_FILE_BYTES..=max_bytes)
                .contains(&file.source.version.len)
            && is_compressible(media_type(fields))
    }

    /// Logs the rejected sidecars, each once.
    fn log_rejected_sidecars(&self, found: &FoundFile) {
        for (path, why) in &found.rejected {
            if self.options.logged_once.insert(path) {
                warn!("sidecar /{} is not used: {why}", path.escape_ascii());
            }
        }
    }

    /// Takes over the policy in force, if it has changed and was read from this root.
    fn update_policy(&mut self) {
        if self.options.policy.change_count() == self.policy.1 {
            return;
        }
        let (policy, changes) = self.options.policy.current();
        match policy.root {
            // The root path leads, or led, to another directory, so check it first.
            Some(root) if root != self.root.id() => self.cache.mark_root_changed(),
            _ => self.set_policy(policy, changes),
        }
    }

    fn set_policy(&mut self, policy: Arc<Policy>, changes: u64) {
        self.generated_fields = policy.generated_fields(None);
        self.policy = (policy, changes);
        self.cache.clear();
    }

    /// Returns the time of the next check of the root path that waits for no request. Without it, a server without
    /// requests would hold a directory open for good that is no longer served.
    fn next_root_check(&self) -> Option<SystemTime> {
        match (self.cache.root_state(), self.root_checked) {
            (RootState::Watched, _) => None,
            (RootState::Changed, _) | (_, None) => Some(UNIX_EPOCH),
            (RootState::Checked | RootState::Unwatched, Some((last, is_unavailable))) => {
                let pause = if is_unavailable {
                    Some(MISSING_ROOT_RETRY)
                } else {
                    self.options.releases.grace_period()
                };
                pause.map(|pause| last + pause)
            }
        }
    }

    /// Switches to the directories that the root path, and the paths of other directories that links may lead to, lead
    /// to by now. Returns those that are unavailable; the previous ones stay in use for them.
    fn update_root(&mut self, now: SystemTime) -> Vec<UnavailableDir> {
        let was_unavailable = self
            .root_checked
            .is_some_and(|(_, is_unavailable)| is_unavailable);
        self.cache.watch_root(&self.root);
        let (reopened, unavailable) = self.root.reopen_if_changed();
        if was_unavailable {
            self.options.logged_once.forget_recovered(&unavailable);
        }
        if (was_unavailable || reopened.is_some()) && self.cache.root_state() == RootState::Checked
        {
            // The new directory may be one that can be watched.
            self.cache.mark_root_changed();
        }
        if let Some(root) = reopened {
            for (name, path) in root.changed_dirs(&self.root) {
                if self
                    .options
                    .logged_once
                    .insert_real_path(name, Ok(path.to_owned()))
                {
                    info!("{} now leads to {}", name.display(), path.display());
                }
            }
            self.switch_root(Arc::new(root));
        }
        if !unavailable.is_empty() {
            self.cache.mark_root_unwatched();
        }
        if unavailable
            .iter()
            .any(|(name, _)| name == self.root.configured_path())
        {
            // Another worker may have opened a later directory, before the path led nowhere.
            let latest = self.options.releases.current();
            if let Some(latest) = latest.filter(|latest| !latest.is_same_dir(&self.root)) {
                self.switch_root(latest);
            }
        }
        self.root_checked = Some((now, !unavailable.is_empty()));
        self.options.releases.record(&self.root, now);
        let changes = self.options.policy.change_count();
        if self.policy.1 != changes {
            let policy = self.load_policy();
            self.set_policy(policy, changes);
        }
        unavailable
    }

    fn switch_root(&mut self, root: Arc<Root>) {
        let is_another = !root.is_same_dir(&self.root);
        self.root = root;
        self.cache.reset();
        if is_another {
            // The policy in force was read from another root.
            self.policy.1 = u64::MAX;
        }
    }

    /// Logs once that a directory cannot be opened.
    fn log_unavailable_dir(&self, (name, error): &UnavailableDir) {
        if !self
            .options
            .logged_once
            .insert_real_path(name, Err(error.to_string()))
        {
            return;
        }
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                " (the sandbox allows a symbolic link to be switched to a directory beside the old one, but no directory to \
                 be replaced: restart docroot, or start it with --live-reload or --sandbox off)"
            }
            _ => "",
        };
        warn!(
            "cannot reopen {}: {error}{hint}; still serving {}",
            name.display(),
            self.root.real_path_of(name).display()
        );
    }

    /// Loads the policy for the current root. If that fails, the one in force stays.
    fn load_policy(&self) -> Arc<Policy> {
        let loaded = match self.options.policy.load_for(&self.root) {
            None => return self.options.policy.current().0,
            Some(Ok(loaded)) => loaded,
            Some(Err(errors)) => {
                for errors in errors {
                    if self.options.logged_once.insert(errors.as_bytes()) {
                        warn!("{errors}; the previous rules stay in force");
                    }
                }
                return self.policy.0.clone();
            }
        };
        for left_out in &loaded.warnings {
            if self.options.logged_once.insert(left_out.as_bytes()) {
                warn!("{left_out}");
            }
        }
        Arc::new(loaded.policy)
    }

    /// Logs a failed lookup, at most one line a second: clients decide how often lookups fail.
    fn log_failure(&mut self, failure: &LookupError, now: SystemTime) {
        let (last, suppressed) = &mut self.failure_log;
        let is_recent = |last: SystemTime| {
            now.duration_since(last)
                .is_ok_and(|elapsed| elapsed < Duration::from_secs(1))
        };
        if last.is_some_and(is_recent) {
            *suppressed += 1;
            return;
        }
        let LookupError { path, error } = failure;
        let why = match Errno::from_io_error(error) {
            Some(Errno::XDEV) => match self.root.offending_link(path) {
                Some(Symlink { path, target }) => format!(
                    "the symbolic link /{} leads to {}, outside the root (see --symlinks and --symlink-root)",
                    path.as_os_str().as_bytes().escape_ascii(),
                    target.as_os_str().as_bytes().escape_ascii(),
                ),
                None => "a symbolic link led outside the root".to_owned(),
            },
            Some(Errno::MFILE | Errno::NFILE) => {
                format!("{error} (raise the limit of open files: ulimit -n)")
            }
            _ => error.to_string(),
        };
        warn!(
            "cannot serve /{}: {why}; {suppressed} more such failures not logged",
            path.escape_ascii()
        );
        self.failure_log = (Some(now), 0);
    }
}

impl Origin for Site {
    type Stream = SiteStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        if self.cache.is_root_stale() {
            let unavailable = self.update_root(now);
            unavailable
                .iter()
                .for_each(|unavailable| self.log_unavailable_dir(unavailable));
        }
        let cached = self.cache.get(&self.root, target.raw_path(), now);
        self.lookup_status = LookupStatus {
            cache_status: self.cache.last_status(),
            reason: None,
        };
        if let Some(lookup) = cached {
            if is_absence(&lookup) {
                self.lookup_status.reason = self.absence_reason(target);
            }
            return lookup;
        }
        let discovery = match self.resolve(target, now) {
            Ok(discovery) => {
                if is_absence(&discovery.0) {
                    self.lookup_status.reason = self.absence_reason(target);
                }
                discovery
            }
            Err(failure) => {
                self.log_failure(&failure, now);
                self.lookup_status.reason = failure.reason();
                (failure.lookup(), None)
            }
        };
        self.cache.insert(target.raw_path(), discovery, now)
    }

    fn lookup_status(&self) -> Option<LookupStatus> {
        Some(self.lookup_status)
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Lookup,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let compressor = self.options.compressor.as_ref()?;
        let (key, rules_path) = self.cache_key(target, found)?;
        let (Lookup::Found(resource), evidence) = self.cache.entry(&key)? else {
            return None;
        };
        let (path, source) = evidence.present.first()?;
        let identity = resource.representations.first()?;
        let mut resource = Resource::clone(resource);
        match compressor.encoded(path, &source.version, coding) {
            Encoded::Ready(content) => {
                let validators = validators(&content, &source.version, None, now);
                let fields = self.policy.0.file_fields(&rules_path, path);
                let coded = represent(content, coding, &fields);
                let coded = with_validators(coded, Some(validators), true);
                resource.representations.push(Arc::new(coded));
            }
            Encoded::Unknown => {
                compressor.enqueue(path, &source.version, coding, identity.content.clone());
                return None;
            }
            Encoded::Pending => return None,
            // The compressor is not asked again.
            Encoded::NotWorthwhile => resource.is_encodable = false,
        }
        let resource = Arc::new(resource);
        self.cache.replace(&key, Lookup::Found(resource.clone()));
        Some(match found {
            Lookup::SpaFallback(_, page) => {
                Lookup::SpaFallback(self.spa_fallback_for(resource, target), page.clone())
            }
            _ => Lookup::Found(resource),
        })
    }

    fn open_stream(&mut self, target: &Target<'_>, kind: StreamKind) -> Result<SiteStream, Lookup> {
        let view = match (kind, &self.options.live_reload) {
            (StreamKind::Listing(view), _) => view,
            (StreamKind::Events, Some(live)) => return Ok(SiteStream::Events(live.event_stream())),
            (StreamKind::Events, None) => return Err(Lookup::NotFound(None)),
        };
        let path = target.path();
        let path = self.strip_prefix(&path).unwrap_or_default();
        match self.root.read_dir(path) {
            Ok(dir) => {
                let listing = self.listings.start(self.root.clone(), dir, path, view);
                Ok(SiteStream::Listing(listing))
            }
            Err(error) if is_not_found(&error) => Err(Lookup::NotFound(None)),
            Err(error) => {
                let path = path.to_vec();
                Err(LookupError { path, error }.lookup())
            }
        }
    }

    fn read_stream(
        &mut self,
        stream: &mut SiteStream,
        into: &mut Vec<u8>,
        now: Instant,
    ) -> StreamProgress {
        let listing = match stream {
            SiteStream::Listing(listing) => listing,
            SiteStream::Events(events) => {
                return StreamProgress::Wait(events.write_events(into, now));
            }
        };
        let is_shown = |path: &[u8]| self.hidden_reason(path).is_none();
        let root = listing.root();
        match listing::step(listing, &root, is_shown, into) {
            Ok(true) => StreamProgress::More,
            Ok(false) => StreamProgress::Done,
            Err(error) => {
                warn!(
                    "cannot finish the listing of /{}: {error}",
                    listing.path().escape_ascii()
                );
                StreamProgress::Failed
            }
        }
    }

    fn generated_fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        let policy = &self.policy.0;
        if !policy.has_path_rules() && self.options.trace.is_none() {
            return Cow::Borrowed(&self.generated_fields);
        }
        let rules_path = target.map(rules_path);
        let rules_path = rules_path.as_deref();
        self.trace(|| {
            TraceEvent::FieldChanges(ResponseRole::Generated, policy.traced_changes(rules_path))
        });
        Cow::Owned(policy.generated_fields(rules_path))
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.cache.mark_stale(is_notified);
        if let Some(cached_bytes) = &self.cached_bytes {
            cached_bytes.set(self.cache.used() as u64);
        }
        // No event reports a policy change.
        self.update_policy();
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.next_root_check()
            .into_iter()
            .chain(self.options.releases.next_expiry())
            .min()
    }

    fn on_timer(&mut self, now: SystemTime) {
        self.options.releases.expire(now);
        if self.next_root_check().is_none_or(|next| now < next) {
            return;
        }
        let was_unavailable = self
            .root_checked
            .is_some_and(|(_, is_unavailable)| is_unavailable);
        let unavailable = self.update_root(now);
        // A directory that is being replaced may be back in a moment, so log only the second failure.
        if was_unavailable {
            unavailable
                .iter()
                .for_each(|unavailable| self.log_unavailable_dir(unavailable));
        }
    }
}

impl LookupError {
    fn lookup(&self) -> Lookup {
        match Errno::from_io_error(&self.error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Lookup::Forbidden,
            _ => Lookup::Unavailable,
        }
    }

    /// Returns the reason in one sentence, without the file's name.
    fn reason(&self) -> Option<&'static str> {
        match Errno::from_io_error(&self.error)? {
            Errno::XDEV => Some("A symbolic link leads outside the root."),
            Errno::ACCESS | Errno::PERM => Some("docroot has no permission to read the file."),
            Errno::MFILE | Errno::NFILE => Some("The limit of open files is reached."),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
    use std::path::Path;
    use std::thread;

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;
    use crate::blob::Blob;
    use crate::files::root::Symlinks;
    use crate::http::Resource;
    use crate::site::rules::policy_sources::PolicySources;
    use crate::site::rules::redirects::RedirectRules;

    fn site(options: SiteOptions) -> (tempfile::TempDir, Site) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        for dir in ["folder", "bare", ".well-known/.secret", ".git"] {
            fs::create_dir_all(path.join(dir)).unwrap();
        }
        for name in [
            "index.html",
            "folder/index.html",
            "folder/other.htm",
            ".env",
            ".git/config",
            ".well-known/security.txt",
            ".well-known/.secret/a",
            "404.html",
            "..data",
        ] {
            fs::write(path.join(name), name).unwrap();
        }
        symlink("/etc/passwd", path.join("outside")).unwrap();
        let site_root = Root::open(path, &Symlinks::default()).unwrap();
        let site = Site::new(site_root, options);
        (root, site)
    }

    fn find(site: &mut Site, target: &str) -> String {
        let content = |resource: &Resource| {
            let content = &resource.representations[0].content;
            String::from_utf8_lossy(content.in_memory().unwrap()).into_owned()
        };
        match site.find(&Target::parse(target, None).unwrap(), SystemTime::now()) {
            Lookup::Found(resource) => content(&resource),
            Lookup::Directory => "directory".into(),
            Lookup::Listing(_) => "listing".into(),
            Lookup::Events => "events".into(),
            Lookup::NotFound(Some(page)) => format!("not found: {}", content(&page)),
            Lookup::NotFound(None) => "not found".into(),
            Lookup::SpaFallback(spa_fallback, _) => format!("spa: {}", content(&spa_fallback)),
            Lookup::Redirect(status, location) => format!("{} {location}", status.text()),
            Lookup::Forbidden => "forbidden".into(),
            Lookup::Unavailable => "unavailable".into(),
        }
    }

    #[test]
    fn targets_map_to_files_below_the_root() {
        let (_root, mut site) = site(SiteOptions::default());
        for (target, expected) in [
            ("/", "index.html"),
            ("/folder", "directory"),
            ("/folder/", "folder/index.html"),
            ("/folder/other.htm", "folder/other.htm"),
            ("/folder/other.htm/", "not found: 404.html"),
            ("/bare", "directory"),
            ("/bare/", "not found: 404.html"),
            ("/nothing", "not found: 404.html"),
            ("/nothing/", "not found: 404.html"),
            ("/outside", "forbidden"),
            ("/.env", "not found: 404.html"),
            ("/.git/config", "not found: 404.html"),
            ("/..data", "not found: 404.html"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/.well-known/.secret/a", "not found: 404.html"),
            ("/folder/.well-known/a", "not found: 404.html"),
        ] {
            assert_eq!(find(&mut site, target), expected, "{target}");
        }
    }

    #[test]
    fn options_select_index_error_page_and_hidden_files() {
        let options = SiteOptions {
            index: vec![
                "nothing.html".into(),
                "other.htm".into(),
                "index.html".into(),
            ],
            not_found: "nothing.html".into(),
            shows_hidden: true,
            ..SiteOptions::default()
        };
        let (_root, mut site) = site(options);
        assert_eq!(find(&mut site, "/"), "index.html");
        assert_eq!(find(&mut site, "/folder/"), "folder/other.htm");
        assert_eq!(find(&mut site, "/.env"), ".env");
        assert_eq!(find(&mut site, "/nothing"), "not found");
    }

    #[test]
    fn file_has_etag_last_modified_and_cache_control() {
        let (root, mut site) = site(SiteOptions::default());
        let path = root.path().join("index.html");
        let file = fs::File::options().write(true).open(path).unwrap();
        let mut fields = |modified| {
            file.set_modified(modified).unwrap();
            let now = UNIX_EPOCH + Duration::from_millis(1_000_500);
            site.mark_stale(false);
            match site.find(&Target::parse("/", None).unwrap(), now) {
                Lookup::Found(found) => {
                    let found = &found.representations[0];
                    let tag = found.validators.tag.unwrap();
                    let expected = format!("Cache-Control: no-cache\r\nETag: {tag}\r\n");
                    assert_eq!(found.metadata_fields(), expected);
                    found.content_fields().to_owned()
                }
                other => panic!("{other:?}"),
            }
        };
        let check = |found: String, date: &str| {
            let expected = "X-Content-Type-Options: nosniff\r\n\
                            Referrer-Policy: strict-origin-when-cross-origin\r\n";
            assert_eq!(found, format!("{expected}{date}Accept-Ranges: bytes\r\n"));
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let date = "Last-Modified: Thu, 01 Jan 1970 00:16:39 GMT\r\n";
        check(fields(at(999)), date);
        check(fields(at(1000)), "");
        let now = "Last-Modified: Thu, 01 Jan 1970 00:16:40 GMT\r\n";
        check(fields(at(5000)), now);
        check(fields(at(0) - Duration::from_secs(1)), "");
    }

    /// Length of a file that is too large to be read into memory.
    const LARGE_FILE_BYTES: usize = 100_000;

    /// Site with files to look up and to change.
    struct CachedSite {
        outer: tempfile::TempDir,
        site: Site,
    }

    /// Change to the root directory, and the result of the lookup after it.
    type ChangeStep = (fn(&Path), &'static str);

    /// Changes to the root directory, and the results of looking up a target after each.
    struct ChangeCase {
        label: &'static str,
        target: &'static str,
        steps: Vec<ChangeStep>,
        /// Whether inotify reports the changes.
        is_watched: bool,
    }

    /// Waits for two ticks of the clock that dates files: the next change gets another date, and the files count as
    /// settled, whatever the time of day is.
    fn wait_two_ticks() {
        thread::sleep(crate::blob::TIMESTAMP_TICK);
    }

    /// Returns a time at which every file is steady.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(11)
    }

    impl CachedSite {
        fn new(is_watching: bool) -> Self {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("above/root");
            for dir in [
                "folder/deep",
                "other/deep",
                "indexed",
                "bare",
                "aliased",
                "empty",
            ] {
                fs::create_dir_all(root.join(dir)).unwrap();
            }
            for name in [
                "file",
                "404.html",
                "page.html",
                "coded",
                "coded.br",
                "folder/file",
                "folder/deep/file",
                "indexed/index.html",
                "aliased/index.html",
            ] {
                fs::write(root.join(name), "old").unwrap();
            }
            for name in ["other/file", "other/deep/file"] {
                fs::write(root.join(name), "new").unwrap();
            }
            fs::write(root.join("large"), large("old")).unwrap();
            symlink("file", root.join("link")).unwrap();
            symlink("folder", root.join("linked")).unwrap();
            symlink("../empty/first.html", root.join("aliased/first.html")).unwrap();
            let site_root = Root::open(&root, &Symlinks::default()).unwrap();
            let options = SiteOptions {
                index: vec!["first.html".into(), "index.html".into()],
                spa_fallback: Some("spa.html".into()),
                ..SiteOptions::default()
            };
            let mut site = Site::new(site_root, options);
            if !is_watching {
                let budget = CacheBudget {
                    bytes: site.options.cache_memory,
                    descriptors: site.options.cache_files,
                };
                site.cache = LookupCache::new(&site.root, budget).without_watches();
            }
            Self { outer, site }
        }

        fn root(&self) -> std::path::PathBuf {
            self.outer.path().join("above/root")
        }

        /// Looks a target up in a new turn.
        fn find_in_new_turn(&mut self, target: &str) -> String {
            self.site.mark_stale(true);
            self.find_in_same_turn(target)
        }

        /// Looks a target up in the current turn.
        fn find_in_same_turn(&mut self, target: &str) -> String {
            let text = |representation: &Arc<Representation>| {
                let content = &representation.content;
                let bytes = match content {
                    Blob::File { file, .. } | Blob::Sealed { file, .. } => {
                        let mut bytes = vec![0; usize::try_from(content.len()).unwrap()];
                        file.read_exact_at(&mut bytes, 0).unwrap();
                        bytes
                    }
                    content => content.in_memory().unwrap().to_vec(),
                };
                String::from_utf8(bytes).unwrap().trim_end().to_owned()
            };
            let content = |resource: &Resource| {
                let variants: Vec<String> = resource.representations.iter().map(text).collect();
                variants.join(" or ")
            };
            match self
                .site
                .find(&Target::parse(target, None).unwrap(), later())
            {
                Lookup::Found(resource) => content(&resource),
                Lookup::NotFound(Some(page)) => format!("not found: {}", content(&page)),
                Lookup::SpaFallback(spa_fallback, _) => {
                    format!("spa: {}", content(&spa_fallback))
                }
                other => format!("{other:?}").to_lowercase(),
            }
        }

        /// Returns whether a key is fresh, without revalidation, in a new turn.
        fn is_fresh(&mut self, key: &str) -> bool {
            self.site.mark_stale(true);
            self.site.cache.is_fresh(key)
        }

        fn warm(&mut self, target: &str) {
            for _ in 0..3 {
                self.find_in_new_turn(target);
            }
        }
    }

    fn large(word: &str) -> String {
        word.to_owned() + &" ".repeat(LARGE_FILE_BYTES - word.len())
    }

    fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) {
        fs::write(root.join(name), content).unwrap();
    }

    fn append(root: &Path, name: &str, content: &str) {
        let file = File::options().append(true).open(root.join(name)).unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
    }

    fn remove(root: &Path, name: &str) {
        fs::remove_file(root.join(name)).unwrap();
    }

    fn rename(root: &Path, from: &str, to: &str) {
        fs::rename(root.join(from), root.join(to)).unwrap();
    }

    fn link(root: &Path, target: &str, name: &str) {
        symlink(target, root.join(name)).unwrap();
    }

    fn exchange(root: &Path, one: &str, other: &str) {
        let (one, other) = (root.join(one), root.join(other));
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }

    /// Rewrites a file, keeping its length and date.
    fn rewrite_keeping_date(root: &Path, name: &str, content: &str) {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        let date = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        file.set_modified(date).unwrap();
    }

    /// Replaces a file by another one of the same length and date.
    fn replace(root: &Path, name: &str, content: &str) {
        let date = fs::metadata(root.join(name)).unwrap().modified().unwrap();
        write(root, "place", content);
        let file = File::options().write(true).open(root.join("place"));
        file.unwrap().set_modified(date).unwrap();
        rename(root, "place", name);
    }

    /// Sets the modification date of a file.
    fn touch(root: &Path, name: &str, date: SystemTime) {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(date).unwrap();
    }

    fn forbid(root: &Path, name: &str) {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o000)).unwrap();
    }

    fn allow(root: &Path, name: &str) {
        fs::set_permissions(root.join(name), Permissions::from_mode(0o755)).unwrap();
    }

    fn watched_case(label: &'static str, target: &'static str, steps: &[ChangeStep]) -> ChangeCase {
        ChangeCase {
            label,
            target,
            steps: steps.to_vec(),
            is_watched: true,
        }
    }

    fn stat_case(label: &'static str, target: &'static str, steps: &[ChangeStep]) -> ChangeCase {
        ChangeCase {
            is_watched: false,
            ..watched_case(label, target, steps)
        }
    }

    /// Makes each change, and looks the target up after it.
    fn check(rows: &[ChangeCase], is_watching: bool) {
        // Each site has its own instances of inotify, of which a user may have 128.
        for rows in rows.chunks(8) {
            let mut sites: Vec<CachedSite> =
                rows.iter().map(|_| CachedSite::new(is_watching)).collect();
            wait_two_ticks();
            for (row, site) in rows.iter().zip(&mut sites) {
                site.warm(row.target);
                let key = match row.target {
                    "/nothing" => NOT_FOUND_KEY,
                    target => target,
                };
                let is_watching = site.site.cache.is_watching();
                let expected = is_watching && row.is_watched;
                assert_eq!(site.is_fresh(key), expected, "{}: watched", row.label);
            }
            let steps = rows.iter().map(|row| row.steps.len()).max().unwrap_or(0);
            for step in 0..steps {
                for (row, site) in rows.iter().zip(&mut sites) {
                    let Some((change, expected)) = row.steps.get(step) else {
                        continue;
                    };
                    let label = format!("{}, step {step}, watching {is_watching}", row.label);
                    change(&site.root());
                    assert_eq!(site.find_in_new_turn(row.target), *expected, "{label}");
                    // It stays so: in the same turn, when revalidated, and when watched again.
                    assert_eq!(site.find_in_same_turn(row.target), *expected, "{label}");
                    for _ in 0..3 {
                        assert_eq!(
                            site.find_in_new_turn(row.target),
                            *expected,
                            "{label}, later"
                        );
                    }
                }
                wait_two_ticks();
            }
        }
    }

    fn cases() -> Vec<ChangeCase> {
        let mut rows = vec![
            watched_case(
                "rewritten, with its length and date restored",
                "/file",
                &[
                    (|root| rewrite_keeping_date(root, "file", "new"), "new"),
                    (|root| rewrite_keeping_date(root, "file", "old"), "old"),
                ],
            ),
            watched_case(
                "truncated and written",
                "/file",
                &[
                    (|root| write(root, "file", ""), ""),
                    (|root| write(root, "file", "new"), "new"),
                ],
            ),
            watched_case(
                "appended to",
                "/file",
                &[(|root| append(root, "file", "er"), "older")],
            ),
            watched_case(
                "replaced",
                "/file",
                &[
                    (|root| rename(root, "other/file", "file"), "new"),
                    (|root| rename(root, "folder/file", "file"), "old"),
                ],
            ),
            watched_case(
                "replaced by a file of the same length and date",
                "/file",
                &[
                    (|root| replace(root, "file", "new"), "new"),
                    (|root| replace(root, "file", "old"), "old"),
                ],
            ),
            watched_case(
                "its directory moved out of the root and replaced by a link",
                "/folder/file",
                &[
                    (
                        |root| {
                            rename(root, "folder", "../../folder");
                            link(root, "../../folder", "folder");
                        },
                        "forbidden",
                    ),
                    (
                        |root| {
                            remove(root, "folder");
                            rename(root, "../../folder", "folder");
                        },
                        "old",
                    ),
                ],
            ),
            watched_case(
                "its directory renamed and replaced by a link",
                "/folder/file",
                &[
                    (
                        |root| {
                            rename(root, "folder", "renamed");
                            link(root, "renamed", "folder");
                        },
                        "old",
                    ),
                    (|root| write(root, "renamed/file", "new"), "new"),
                ],
            ),
            watched_case(
                "exchanged",
                "/file",
                &[
                    (|root| exchange(root, "file", "other/file"), "new"),
                    (|root| exchange(root, "file", "other/file"), "old"),
                ],
            ),
            watched_case(
                "deleted and created again",
                "/file",
                &[
                    (|root| remove(root, "file"), "not found: old"),
                    (|root| write(root, "file", "new"), "new"),
                    (|root| remove(root, "file"), "not found: old"),
                ],
            ),
            watched_case(
                "renamed and renamed back",
                "/folder/file",
                &[
                    (|root| rename(root, "folder/file", "file"), "not found: old"),
                    (|root| rename(root, "file", "folder/file"), "old"),
                ],
            ),
            watched_case(
                "a directory renamed and renamed back",
                "/folder/deep/file",
                &[
                    (|root| rename(root, "folder", "gone"), "not found: old"),
                    (|root| rename(root, "gone", "folder"), "old"),
                    (
                        |root| rewrite_keeping_date(root, "folder/deep/file", "new"),
                        "new",
                    ),
                ],
            ),
            watched_case(
                "a directory moved out of the root and back",
                "/folder/deep/file",
                &[
                    (
                        |root| rename(root, "folder/deep", "../deep"),
                        "not found: old",
                    ),
                    (|root| write(root, "../deep/file", "new"), "not found: old"),
                    (|root| rename(root, "../deep", "folder/deep"), "new"),
                    (|root| write(root, "folder/deep/file", "newer"), "newer"),
                ],
            ),
            watched_case(
                "a directory replaced",
                "/folder/deep/file",
                &[
                    (
                        |root| {
                            rename(root, "folder", "gone");
                            rename(root, "other", "folder");
                        },
                        "new",
                    ),
                    (|root| write(root, "gone/deep/file", "older"), "new"),
                    (|root| write(root, "folder/deep/file", "newer"), "newer"),
                ],
            ),
            watched_case(
                "directories exchanged",
                "/folder/deep/file",
                &[
                    (|root| exchange(root, "folder", "other"), "new"),
                    (|root| exchange(root, "folder", "other"), "old"),
                    (|root| exchange(root, "folder/deep", "other/deep"), "new"),
                    (|root| replace(root, "folder/deep/file", "wow"), "wow"),
                ],
            ),
            watched_case(
                "a directory deleted and created again",
                "/folder/file",
                &[
                    (
                        |root| fs::remove_dir_all(root.join("folder")).unwrap(),
                        "not found: old",
                    ),
                    (
                        |root| {
                            fs::create_dir(root.join("folder")).unwrap();
                            write(root, "folder/file", "new");
                        },
                        "new",
                    ),
                    (|root| remove(root, "folder/file"), "not found: old"),
                ],
            ),
            watched_case(
                "a directory above the root renamed and its name given to another",
                "/file",
                &[
                    (|root| rename(root, "../../above", "../../below"), "old"),
                    (
                        |root| {
                            let outer = root.parent().unwrap().parent().unwrap();
                            write(outer, "below/root/file", "new");
                        },
                        "new",
                    ),
                    (
                        |root| {
                            let outer = root.parent().unwrap().parent().unwrap();
                            rename(outer, "below/root", "root");
                            fs::create_dir_all(outer.join("above/root")).unwrap();
                            write(outer, "above/root/file", "another");
                        },
                        "another",
                    ),
                    (|root| write(root, "file", "and changed"), "and changed"),
                ],
            ),
            watched_case(
                "an index file of higher precedence appears and disappears",
                "/indexed/",
                &[
                    (|root| write(root, "indexed/first.html", "new"), "new"),
                    (|root| remove(root, "indexed/first.html"), "old"),
                    (
                        |root| rename(root, "other/file", "indexed/first.html"),
                        "new",
                    ),
                    (|root| rename(root, "indexed/first.html", "first"), "old"),
                    (
                        |root| link(root, "../other/deep/file", "indexed/first.html"),
                        "new",
                    ),
                ],
            ),
            watched_case(
                "an index file disappears and appears",
                "/indexed/",
                &[
                    (|root| remove(root, "indexed/index.html"), "not found: old"),
                    (|root| write(root, "indexed/index.html", "new"), "new"),
                ],
            ),
            watched_case(
                "the not-found page changes, disappears and appears",
                "/nothing",
                &[
                    (
                        |root| rewrite_keeping_date(root, "404.html", "new"),
                        "not found: new",
                    ),
                    (|root| remove(root, "404.html"), "notfound(none)"),
                    (|root| write(root, "404.html", "again"), "not found: again"),
                ],
            ),
            watched_case(
                "a missing file appears",
                "/nothing",
                &[
                    (|root| write(root, "nothing", "new"), "new"),
                    (|root| remove(root, "nothing"), "not found: old"),
                    (
                        |root| fs::create_dir(root.join("nothing")).unwrap(),
                        "directory",
                    ),
                ],
            ),
            watched_case(
                "a file becomes a directory, and a file again",
                "/file",
                &[
                    (
                        |root| {
                            remove(root, "file");
                            fs::create_dir(root.join("file")).unwrap();
                        },
                        "directory",
                    ),
                    (
                        |root| {
                            fs::remove_dir(root.join("file")).unwrap();
                            write(root, "file", "new");
                        },
                        "new",
                    ),
                ],
            ),
            watched_case(
                "a file becomes a symbolic link",
                "/file",
                &[
                    (
                        |root| {
                            remove(root, "file");
                            link(root, "other/file", "file");
                        },
                        "new",
                    ),
                    (|root| write(root, "other/file", "newer"), "newer"),
                ],
            ),
            watched_case(
                "a directory is moved and replaced by a symbolic link to it",
                "/folder/deep/file",
                &[
                    (
                        |root| {
                            rename(root, "folder", "bare/folder");
                            link(root, "bare/folder", "folder");
                        },
                        "old",
                    ),
                    (
                        |root| {
                            rename(root, "bare/folder", "bare/gone");
                            rename(root, "other", "bare/folder");
                        },
                        "new",
                    ),
                ],
            ),
            watched_case(
                "written by its other hard link",
                "/file",
                &[
                    (
                        |root| fs::hard_link(root.join("file"), root.join("../alias")).unwrap(),
                        "old",
                    ),
                    (|root| rewrite_keeping_date(root, "../alias", "new"), "new"),
                    (|root| remove(root, "../alias"), "new"),
                ],
            ),
            watched_case(
                "large and rewritten, with its length and date restored",
                "/large",
                &[
                    (|root| rewrite_keeping_date(root, "large", "new"), "new"),
                    (|root| rewrite_keeping_date(root, "large", "old"), "old"),
                ],
            ),
            watched_case(
                "large and replaced, small for a while",
                "/large",
                &[
                    (|root| rename(root, "other/file", "large"), "new"),
                    (|root| write(root, "large", large("newer")), "newer"),
                    (|root| replace(root, "large", &large("newest")), "newest"),
                    (|root| remove(root, "large"), "not found: old"),
                ],
            ),
            watched_case(
                "a sidecar appears, changes and disappears",
                "/file",
                &[
                    (|root| write(root, "file.br", "br"), "old or br"),
                    (
                        |root| rewrite_keeping_date(root, "file.br", "rb"),
                        "old or rb",
                    ),
                    (|root| replace(root, "file.br", "br"), "old or br"),
                    (|root| remove(root, "file.br"), "old"),
                ],
            ),
            watched_case(
                "a sidecar changes, becomes older than its file, and is current again",
                "/coded",
                &[
                    (
                        |root| rewrite_keeping_date(root, "coded.br", "new"),
                        "old or new",
                    ),
                    (|root| touch(root, "coded.br", UNIX_EPOCH), "old"),
                    (
                        |root| touch(root, "coded.br", SystemTime::now()),
                        "old or new",
                    ),
                    (|root| touch(root, "coded", SystemTime::now()), "old"),
                    (|root| touch(root, "coded", UNIX_EPOCH), "old or new"),
                    (|root| write(root, "coded", "wow"), "wow"),
                    (|root| write(root, "coded.br", "wow"), "wow or wow"),
                ],
            ),
            watched_case(
                "a sidecar disappears, and others appear",
                "/coded",
                &[
                    (|root| remove(root, "coded.br"), "old"),
                    (|root| write(root, "coded.zst", "P*M\x18"), "old or P*M\x18"),
                    (|root| write(root, "coded.br", "br"), "old or br or P*M\x18"),
                    (|root| remove(root, "coded.zst"), "old or br"),
                    (|root| rename(root, "coded.br", "gone"), "old"),
                    (|root| link(root, "gone", "coded.br"), "old or br"),
                    (|root| rewrite_keeping_date(root, "gone", "rb"), "old or rb"),
                ],
            ),
            watched_case(
                "the not-found page gets a sidecar",
                "/nothing",
                &[
                    (
                        |root| write(root, "404.html.br", "br"),
                        "not found: old or br",
                    ),
                    (|root| write(root, "404.html", "new"), "not found: new"),
                    (|root| remove(root, "404.html"), "notfound(none)"),
                ],
            ),
            watched_case(
                "the SPA fallback page appears, changes, gets a sidecar, and disappears",
                "/nothing",
                &[
                    (|root| write(root, "spa.html", "new"), "spa: new"),
                    (
                        |root| rewrite_keeping_date(root, "spa.html", "old"),
                        "spa: old",
                    ),
                    (|root| replace(root, "spa.html", "wow"), "spa: wow"),
                    (|root| write(root, "spa.html.br", "br"), "spa: wow or br"),
                    (|root| remove(root, "spa.html.br"), "spa: wow"),
                    (|root| remove(root, "spa.html"), "not found: old"),
                ],
            ),
            watched_case(
                "a URL without .html becomes a file, and a directory",
                "/page",
                &[
                    (|root| rewrite_keeping_date(root, "page.html", "new"), "new"),
                    (|root| write(root, "page", "itself"), "itself"),
                    (|root| remove(root, "page"), "new"),
                    (|root| fs::create_dir(root.join("page")).unwrap(), "new"),
                    (|root| write(root, "page/index.html", "in"), "directory"),
                    (|root| remove(root, "page/index.html"), "new"),
                    (
                        |root| link(root, "../other/file", "page/first.html"),
                        "directory",
                    ),
                    (|root| rename(root, "page", "gone"), "new"),
                    (|root| remove(root, "page.html"), "not found: old"),
                ],
            ),
            stat_case(
                "a page appears beside a directory",
                "/bare",
                &[
                    (|root| write(root, "bare.html", "new"), "new"),
                    (|root| rewrite_keeping_date(root, "bare.html", "wow"), "wow"),
                    (|root| write(root, "bare/index.html", "in"), "directory"),
                    (|root| remove(root, "bare/index.html"), "wow"),
                    (|root| remove(root, "bare.html"), "directory"),
                ],
            ),
            stat_case(
                "a symbolic link to the file is switched",
                "/link",
                &[
                    (
                        |root| {
                            link(root, "other/file", "place");
                            rename(root, "place", "link");
                        },
                        "new",
                    ),
                    (
                        |root| rewrite_keeping_date(root, "other/file", "wow"),
                        "wow",
                    ),
                ],
            ),
            stat_case(
                "a symbolic link on the path is switched",
                "/linked/deep/file",
                &[
                    (
                        |root| {
                            link(root, "other", "place");
                            rename(root, "place", "linked");
                        },
                        "new",
                    ),
                    (
                        |root| rename(root, "folder/deep/file", "other/deep/file"),
                        "old",
                    ),
                ],
            ),
        ];
        match rustix::process::geteuid().is_root() {
            true => eprintln!("SKIPPED: file modes do not restrict root"),
            false => rows.extend([
                watched_case(
                    "a file is made unreadable, and readable",
                    "/file",
                    &[
                        (|root| forbid(root, "file"), "forbidden"),
                        (|root| allow(root, "file"), "old"),
                    ],
                ),
                watched_case(
                    "a directory is made unreadable, and readable",
                    "/folder/deep/file",
                    &[
                        (|root| forbid(root, "folder"), "forbidden"),
                        (|root| allow(root, "folder"), "old"),
                        (|root| forbid(root, "folder/deep"), "forbidden"),
                        (|root| allow(root, "folder/deep"), "old"),
                    ],
                ),
            ]),
        }
        rows
    }

    #[test]
    fn watched_entry_is_never_older_than_its_file() {
        if !CachedSite::new(true).site.cache.is_watching() {
            eprintln!("SKIPPED: inotify may miss changes in the temporary directory");
            return;
        }
        check(&cases(), true);
    }

    #[test]
    fn revalidated_entry_is_never_older_than_its_file() {
        check(&cases(), false);
    }

    #[test]
    fn dangling_index_symlink_is_served_once_its_target_exists() {
        for is_watching in [true, false] {
            let mut site = CachedSite::new(is_watching);
            wait_two_ticks();
            site.warm("/aliased/");
            assert_eq!(site.find_in_new_turn("/aliased/"), "old");
            // No directory on the path of the served file has changed.
            write(&site.root(), "empty/first.html", "new");
            assert_eq!(
                site.find_in_new_turn("/aliased/"),
                "new",
                "watching {is_watching}"
            );
        }
    }

    #[test]
    fn open_file_is_revalidated_until_it_is_closed() {
        let mut site = CachedSite::new(true);
        wait_two_ticks();
        if !site.site.cache.is_watching() {
            eprintln!("SKIPPED: inotify may miss changes in the temporary directory");
            return;
        }
        site.warm("/file");
        assert!(site.is_fresh("/file"));
        let opened = File::open(site.root().join("file")).unwrap();
        for _ in 0..3 {
            assert!(!site.is_fresh("/file"));
            assert_eq!(site.find_in_new_turn("/file"), "old");
        }
        drop(opened);
        assert!(!site.is_fresh("/file"), "it is revalidated once more");
        assert_eq!(site.find_in_new_turn("/file"), "old");
        assert!(site.is_fresh("/file"));
    }

    #[test]
    fn recently_changed_file_is_not_watched() {
        let mut site = CachedSite::new(true);
        let target = Target::parse("/file", None).unwrap();
        let written = std::fs::metadata(site.root().join("file"));
        let written = written.and_then(|file| file.modified()).unwrap();
        let soon = written + Duration::from_secs(9);
        for _ in 0..5 {
            site.site.mark_stale(true);
            site.site.find(&target, soon);
            assert!(!site.is_fresh("/file"));
        }
    }

    #[test]
    fn new_policy_is_applied_in_a_turn_without_events() {
        let (_root, mut site) = site(SiteOptions::default());
        assert_eq!(find(&mut site, "/index.html"), "index.html");
        let text = b"/index.html /moved 301!";
        site.options.policy.replace(Policy {
            redirects: RedirectRules::parse_strict(text).unwrap(),
            ..Policy::default()
        });
        site.mark_stale(false);
        let moved = "301 Moved Permanently /moved";
        assert_eq!(find(&mut site, "/index.html"), moved);
    }

    #[test]
    fn rules_read_from_a_replaced_root_are_not_applied_to_the_next() {
        let outer = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let dir = outer.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("index.html"), name).unwrap();
            let rules = format!("/*\n  X-Folder: {name}\n");
            fs::write(dir.join("_headers"), rules).unwrap();
            dir
        });
        let sources = PolicySources {
            root: one.clone(),
            ..PolicySources::default()
        };
        let options = SiteOptions {
            policy: SharedPolicy::from_sources(sources.clone()),
            ..SiteOptions::default()
        };
        let policy = options.policy.clone();
        let site_root = Root::open(&one, &Symlinks::default()).unwrap();
        let mut site = Site::new(site_root, options);
        let mut check = |expected: &str| {
            for _ in 0..2 {
                site.mark_stale(true);
                let target = Target::parse("/", None).unwrap();
                let Lookup::Found(found) = site.find(&target, SystemTime::now()) else {
                    panic!("no page was found");
                };
                let found = &found.representations[0];
                assert_eq!(found.content.in_memory(), Some(expected.as_bytes()));
                let field = format!("X-Folder: {expected}\r\n");
                assert!(
                    found.metadata_fields().contains(&field),
                    "{}",
                    found.metadata_fields()
                );
            }
        };
        let read = || sources.load().unwrap().policy;
        policy.replace(read());
        check("one");
        let late = read();
        renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
        check("two");
        policy.replace(late);
        check("two");
        let early = read();
        renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
        policy.replace(early);
        check("one");
    }

    #[test]
    fn zero_budget_reads_each_time() {
        let mut site = CachedSite::new(true);
        site.site.cache = LookupCache::new(&site.site.root, CacheBudget::default());
        for (content, _) in [("one", 1), ("two", 2)] {
            write(&site.root(), "file", content);
            assert_eq!(site.find_in_same_turn("/file"), content, "in the same turn");
        }
    }
}
