//! `Site`: the origin that finds the resource for a target below a root directory.

use std::borrow::Cow;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use tracing::warn;

use super::listing::stream::{self, Listing, Listings};
use super::options::SiteOptions;
use super::place::{Place, rules_path};
use super::shared::SiteShared;
use crate::counter::Counter;
use crate::files::entry::EntryDescriptor;
use crate::files::error::is_not_found;
use crate::files::root::Root;
use crate::files::symlinks::Symlink;
use crate::http::{
    CacheKey, Coding, Fields, Finding, Lookup, Origin, Status, StreamKind, StreamProgress, Target,
};
use crate::site::freshness::cache::CacheBudget;
use crate::site::freshness::lookup_cache::{FindingWithEvidence, LookupCache};
use crate::site::freshness::root_follower::RootFollower;
use crate::site::report::trace::{ResponseRole, TraceEvent};
use crate::site::represent::assembler::Assembler;
use crate::site::represent::fallback::Fallback;
use crate::site::resolve::absence::{Absence, hidden_reason};
use crate::site::resolve::resolver::{Resolution, Resolver, Rewrite};
use crate::site::resolve::search::LookupError;
use crate::site::rules::policy::{PathPolicy, Policy};

/// Beginning of the cache key of a rewrite by a rule. The path of a target is empty or begins with a slash, so it never
/// begins like this.
const REWRITE_KEY_PREFIX: &str = "rule ";

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
    shared: SiteShared,
    follower: RootFollower,
    cache: LookupCache,
    listings: Listings,
    /// Time of the last logged failure, and the number of failures since then that were not logged.
    failure_log: (Option<SystemTime>, u64),
    /// Counter of cached bytes, if there is one.
    cached_bytes: Option<Arc<Counter>>,
}

impl Site {
    /// Creates a site that serves this root, by the default policy.
    #[must_use]
    pub fn new(root: Root, options: SiteOptions) -> Self {
        let budget = CacheBudget {
            bytes: options.cache_memory,
            descriptors: options.cache_files,
        };
        let shared = SiteShared::default();
        Self {
            cache: LookupCache::new(&root, budget),
            follower: RootFollower::new(Arc::new(root), &shared),
            options,
            shared,
            listings: Listings::default(),
            failure_log: (None, 0),
            cached_bytes: None,
        }
    }

    /// Sets what this site shares with those of other workers.
    #[must_use]
    pub fn with_shared(mut self, shared: SiteShared) -> Self {
        self.follower = RootFollower::new(self.follower.root().clone(), &shared);
        self.shared = shared;
        self
    }

    /// Sets a counter that receives the number of cached bytes in each turn.
    #[must_use]
    pub fn with_cached_bytes_counter(mut self, cached_bytes: Arc<Counter>) -> Self {
        self.cached_bytes = Some(cached_bytes);
        self
    }

    /// Returns what this site shares with those of other workers.
    #[must_use]
    pub fn shared(&self) -> &SiteShared {
        &self.shared
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

    /// Returns the resolver of this time.
    pub(crate) fn resolver(&self, now: SystemTime) -> Resolver<'_> {
        Resolver::new(&self.follower, &self.options, &self.shared, now)
    }

    /// Returns the assembler of this time.
    fn assembler(&self, now: SystemTime) -> Assembler<'_> {
        Assembler::new(&self.resolver(now), self.cache.max_file_bytes())
    }

    /// Finds what is sent for a place without a resource, for this reason if it is known.
    fn find_fallback(
        &mut self,
        place: &Place<'_>,
        policy: &PathPolicy<'_>,
        absence: Option<Absence>,
        now: SystemTime,
    ) -> Finding {
        let resolver = Resolver::new(&self.follower, &self.options, &self.shared, now);
        Fallback::new(resolver, &mut self.cache).find(place, policy, absence)
    }

    /// Finds what is sent for what a place resolves to.
    fn represent(
        &mut self,
        resolution: Resolution,
        place: &Place<'_>,
        policy: &PathPolicy<'_>,
        now: SystemTime,
    ) -> FindingWithEvidence {
        let finding = match resolution {
            Resolution::File(found) => {
                return self
                    .assembler(now)
                    .assemble(*found, ResponseRole::File, policy);
            }
            Resolution::Directory => Lookup::Directory.into(),
            Resolution::Listing => self.listings.lookup().into(),
            Resolution::Redirect(status, location) => {
                Lookup::Redirect(status, location.into()).into()
            }
            Resolution::Rewrite(rewrite) => self.rewrite(rewrite, place, policy, now),
            Resolution::Missing(absence) => self.find_fallback(place, policy, absence, now),
            Resolution::Failed(failure) => self.fail(&failure, now),
        };
        (finding, None)
    }

    /// Finds the resource of the target that a rule rewrites a place to.
    fn rewrite(
        &mut self,
        rewrite: Rewrite,
        place: &Place<'_>,
        policy: &PathPolicy<'_>,
        now: SystemTime,
    ) -> Finding {
        let absence = rewrite.absence;
        // A placeholder stands for text of the client, which may not fit into a path.
        let Ok(other) = Target::parse(&rewrite.target, None) else {
            return self.find_fallback(place, policy, absence, now);
        };
        let key = rewrite_key(place, &other, policy);
        let found = match self.cache.get(self.follower.root(), &key, now) {
            Some(found) => found,
            None => {
                let other = Place::new(&other, &self.options.prefix);
                let found = match self.resolver(now).resolve_path(&other) {
                    Resolution::File(found) => {
                        self.assembler(now)
                            .assemble(*found, ResponseRole::File, policy)
                    }
                    Resolution::Failed(failure) => return self.fail(&failure, now),
                    _ => (Lookup::NotFound(None).into(), None),
                };
                self.cache.insert(&key, found, now)
            }
        };
        let finding = match found.lookup {
            Lookup::Found(page) if rewrite.status == Status::NotFound => Finding {
                reason: self
                    .resolver(now)
                    .absence(place, absence)
                    .map(Absence::sentence),
                ..Lookup::NotFound(Some(self.assembler(now).error_page(&page, policy))).into()
            },
            Lookup::Found(resource) => Finding {
                key: CacheKey::Rewrite(key.into()),
                ..Lookup::Found(resource).into()
            },
            _ => self.find_fallback(place, policy, absence, now),
        };
        Finding {
            // With a forced rule no other lookup preceded this one, so its status counts.
            cache_status: found.cache_status.filter(|_| rewrite.is_forced),
            ..finding
        }
    }

    /// Logs a failed lookup, and returns what is sent for it.
    fn fail(&mut self, failure: &LookupError, now: SystemTime) -> Finding {
        self.log_failure(failure, now);
        Finding {
            reason: failure.absence().map(Absence::sentence),
            ..failure.lookup().into()
        }
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
        warn!(
            "cannot serve /{}: {why}; {suppressed} more such failures not logged",
            path.escape_ascii()
        );
        self.failure_log = (Some(now), 0);
    }
}

impl Origin for Site {
    type Stream = Listing;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        self.follower.follow(&mut self.cache, now);
        if let Some(finding) = self.cache.get(self.follower.root(), target.raw_path(), now) {
            return finding;
        }
        let place = Place::new(target, &self.options.prefix);
        let policy = self.policy().clone();
        let policy = policy.at(Some(place.rules_path()));
        let resolution = self.resolver(now).resolve(&place);
        let found = self.represent(resolution, &place, &policy, now);
        self.cache.insert(place.raw_path(), found, now)
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Finding,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let key = found.key.text(target);
        let (Lookup::Found(resource), evidence) = self.cache.entry(key)? else {
            return None;
        };
        let assembler = self.assembler(now);
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
        self.cache.replace(key, Lookup::Found(resource));
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
        let root = listing.root();
        match stream::step(listing, &root, is_shown, into) {
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
        if !policy.has_path_rules() && self.shared.trace.is_none() {
            return Cow::Borrowed(self.follower.generated_fields());
        }
        self.shared
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

/// Returns the cache key of a rewritten target. It differs from that of the `other` target itself, which another rule
/// may rewrite.
fn rewrite_key(place: &Place<'_>, other: &Target<'_>, policy: &PathPolicy<'_>) -> String {
    let other = other.raw_path();
    match policy.has_path_rules() {
        true => format!("{REWRITE_KEY_PREFIX}{} {other}", place.raw_path()),
        false => format!("{REWRITE_KEY_PREFIX}{other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
    use std::path::Path;
    use std::thread;
    use std::time::UNIX_EPOCH;

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;
    use crate::blob::Blob;
    use crate::files::root::Symlinks;
    use crate::http::{Representation, Resource};
    use crate::site::represent::fallback::NOT_FOUND_KEY;
    use crate::site::rules::policy_sources::PolicySources;
    use crate::site::rules::redirects::RedirectRules;
    use crate::site::rules::shared_policy::SharedPolicy;

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
        match site
            .find(&Target::parse(target, None).unwrap(), SystemTime::now())
            .lookup
        {
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
            match site.find(&Target::parse("/", None).unwrap(), now).lookup {
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
                site.cache = LookupCache::new(site.root(), budget).without_watches();
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
                .lookup
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
        // Each site has its own instance of inotify, of which a user may have 128.
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
        site.shared.policy.replace(Policy {
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
        let shared = SiteShared {
            policy: SharedPolicy::from_sources(sources.clone()),
            ..SiteShared::default()
        };
        let policy = shared.policy.clone();
        let site_root = Root::open(&one, &Symlinks::default()).unwrap();
        let mut site = Site::new(site_root, SiteOptions::default()).with_shared(shared);
        let mut check = |expected: &str| {
            for _ in 0..2 {
                site.mark_stale(true);
                let target = Target::parse("/", None).unwrap();
                let Lookup::Found(found) = site.find(&target, SystemTime::now()).lookup else {
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
        site.site.cache = LookupCache::new(site.site.root(), CacheBudget::default());
        for (content, _) in [("one", 1), ("two", 2)] {
            write(&site.root(), "file", content);
            assert_eq!(site.find_in_same_turn("/file"), content, "in the same turn");
        }
    }
}
