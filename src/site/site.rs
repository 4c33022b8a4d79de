//! `Site`: the origin that finds the resource for a target below a root directory.

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use tracing::warn;

use super::context::LookupContext;
use super::fallback::Fallback;
use super::freshness::cache::CacheBudget;
use super::freshness::lookup_cache::LookupCache;
use super::freshness::root_follower::RootFollower;
use super::listing::stream::{self, Listing, Listings};
use super::options::SiteOptions;
use super::place::{Place, rules_path};
use super::report::absence::{Absence, hidden_reason};
use super::report::trace::{ResponseRole, TraceEvent};
use super::represent::assembler::Assembler;
use super::resolve::resolver::{Resolution, Resolver};
use super::resolve::search::LookupError;
use super::rules::policy::Policy;
use super::shared::SiteShared;
use crate::files::entry::EntryDescriptor;
use crate::files::error::is_not_found;
use crate::files::root::Root;
use crate::files::symlinks::Symlink;
use crate::http::{Coding, Fields, Finding, Lookup, Origin, StreamKind, StreamProgress, Target};
use crate::sync::{Counter, LogThrottle};

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

/// Origin that serves the files below a root directory.
#[derive(Debug)]
pub struct Site {
    options: SiteOptions,
    follower: RootFollower,
    cache: LookupCache,
    listings: Listings,
    /// Throttle of logged failures.
    failure_log: LogThrottle<SystemTime>,
    /// Counter of cached bytes, if there is one.
    cached_bytes: Option<Arc<Counter>>,
}

impl Site {
    /// Creates a site of this root. The sites of all workers have clones of `shared`.
    #[must_use]
    pub fn new(root: Root, options: SiteOptions, shared: SiteShared) -> Self {
        let budget = CacheBudget {
            bytes: options.cache_memory,
            descriptors: options.cache_files,
        };
        Self {
            cache: LookupCache::new(&root, budget),
            follower: RootFollower::new(Arc::new(root), shared),
            options,
            listings: Listings::default(),
            failure_log: LogThrottle::new(Duration::from_secs(1)),
            cached_bytes: None,
        }
    }

    /// Sets a counter that receives the number of cached bytes in each turn.
    #[must_use]
    pub fn with_cached_bytes_counter(mut self, cached_bytes: Arc<Counter>) -> Self {
        self.cached_bytes = Some(cached_bytes);
        self
    }

    /// Sets the URL of the script that is injected into each HTML page, if any.
    pub(super) fn with_page_script(mut self, url: Option<String>) -> Self {
        self.options.page_script = url;
        self
    }

    /// Returns the handles that the sites of all workers share.
    #[must_use]
    pub fn shared(&self) -> &SiteShared {
        self.follower.shared()
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
        match self.root().open_descriptor(name.as_bytes())? {
            EntryDescriptor::File(..) => Ok(()),
            EntryDescriptor::Directory => Err(io::ErrorKind::IsADirectory.into()),
            EntryDescriptor::Special => Err(io::Error::other("not a regular file")),
        }
    }

    /// Returns the options.
    pub(crate) fn options(&self) -> &SiteOptions {
        &self.options
    }

    /// Returns the root that is served.
    pub(crate) fn root(&self) -> &Arc<Root> {
        self.follower.root()
    }

    /// Returns the policy in force.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        self.follower.policy()
    }

    /// Returns the context of a lookup at this time.
    pub(crate) fn context(&self, now: SystemTime) -> LookupContext<'_> {
        let max_file_bytes = self.cache.max_file_bytes();
        self.follower.context(&self.options, max_file_bytes, now)
    }

    /// Finds the result for a target, and caches it. Out of the way of cache hits.
    #[inline(never)]
    fn find_uncached(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        let max_file_bytes = self.cache.max_file_bytes();
        let context = self.follower.context(&self.options, max_file_bytes, now);
        let place = Place::new(target, &self.options.prefix);
        let policy = context.policy.at(Some(place.rules_path()));
        let resolution = Resolver(context).resolve(&place);
        let mut fallback = Fallback {
            context,
            cache: &mut self.cache,
            place: &place,
            policy: &policy,
        };
        let found = match resolution {
            Resolution::File(found) => {
                Assembler(context).assemble(*found, ResponseRole::File, &policy)
            }
            Resolution::Directory => (Lookup::Directory.into(), None),
            Resolution::Listing => (self.listings.lookup().into(), None),
            Resolution::Redirect(status, location) => {
                (Lookup::Redirect(status, location.into()).into(), None)
            }
            Resolution::Missing(absence) => (fallback.find(absence), None),
            Resolution::Rewrite(rewrite) => match fallback.rewrite(rewrite) {
                Ok(finding) => (finding, None),
                Err(failure) => (self.fail(&failure, now), None),
            },
            Resolution::Failed(failure) => (self.fail(&failure, now), None),
        };
        self.cache.insert(place.raw_path(), found, now)
    }

    /// Logs a failed lookup, and returns its finding.
    fn fail(&mut self, failure: &LookupError, now: SystemTime) -> Finding {
        self.log_failure(failure, now);
        Finding {
            reason: failure.absence().map(Absence::sentence),
            ..failure.lookup().into()
        }
    }

    /// Logs a failed lookup, at most one line a second: clients decide how often lookups fail.
    fn log_failure(&mut self, failure: &LookupError, now: SystemTime) {
        if !self.failure_log.should_log(now) {
            return;
        }
        let LookupError { path, error } = failure;
        let why = match Errno::from_io_error(error) {
            Some(Errno::XDEV) => match self.follower.root().offending_link(path) {
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
        let suppressed = self.failure_log.take_suppressed();
        warn!(
            "cannot serve /{}: {why}; {suppressed} more such failures not logged",
            path.escape_ascii()
        );
    }
}

impl Origin for Site {
    type Stream = Listing;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        self.follower.follow(&mut self.cache, now);
        if let Some(finding) = self.cache.get(self.follower.root(), target.raw_path(), now) {
            return finding;
        }
        self.find_uncached(target, now)
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Finding,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let entry = found.entry?;
        let (Lookup::Found(resource), evidence) = self.cache.entry(entry)? else {
            return None;
        };
        let assembler = Assembler(self.context(now));
        let rules_path = rules_path(target);
        let policy = self.policy().at(Some(&rules_path));
        let (resource, lookup) = match &found.lookup {
            Lookup::SpaFallback(_, error_page) => {
                let rules_path = [b"/", &resource.name[..]].concat();
                let policy_of_page = self.policy().at(Some(&rules_path));
                let page = assembler.encode(resource, evidence, coding, &policy_of_page)?;
                let fallback = assembler.spa_fallback(&page, &policy);
                (page, Lookup::SpaFallback(fallback, error_page.clone()))
            }
            _ => {
                let resource = assembler.encode(resource, evidence, coding, &policy)?;
                (resource.clone(), Lookup::Found(resource))
            }
        };
        self.cache.replace(entry, Lookup::Found(resource));
        Some(lookup)
    }

    fn open_stream(&mut self, target: &Target<'_>, kind: StreamKind) -> Result<Listing, Lookup> {
        let StreamKind::Listing(view) = kind else {
            return Err(Lookup::NotFound(None));
        };
        let place = Place::new(target, &self.options.prefix);
        let path = place.path().unwrap_or_default();
        match self.root().read_dir(path) {
            Ok(dir) => Ok(self.listings.start(self.root().clone(), dir, path, view)),
            Err(error) if is_not_found(&error) => Err(Lookup::NotFound(None)),
            Err(error) => {
                let path = path.to_vec();
                Err(LookupError { path, error }.lookup())
            }
        }
    }

    fn read_stream(
        &mut self,
        listing: &mut Listing,
        into: &mut Vec<u8>,
        _: Instant,
    ) -> StreamProgress {
        let is_shown =
            |path: &[u8]| hidden_reason(path, &self.options, self.follower.policy()).is_none();
        match stream::step(listing, is_shown, into) {
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
        let rules_path = target.map(rules_path);
        let policy = self.policy().at(rules_path.as_deref());
        if !policy.has_path_rules() && self.shared().trace.is_none() {
            return Cow::Borrowed(self.follower.generated_fields());
        }
        self.shared()
            .record(|| TraceEvent::FieldChanges(ResponseRole::Generated, policy.traced_changes()));
        Cow::Owned(policy.generated_fields())
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.cache.mark_stale(is_notified);
        if let Some(cached_bytes) = &self.cached_bytes {
            cached_bytes.set(self.cache.used() as u64);
        }
        // No event reports a policy change.
        self.follower.update_policy(&mut self.cache);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.follower.next_timer(&self.cache)
    }

    fn on_timer(&mut self, now: SystemTime) {
        self.follower.on_timer(&mut self.cache, now);
    }
}
