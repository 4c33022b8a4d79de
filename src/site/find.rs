//! A target's resource, from the folder.

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

use super::cache::{Budget, Evidence};
use super::caching::has_content_hash;
use super::compressor::{self, Compressor, Form};
use super::digests::Digests;
use super::disk::{self, Disk, Found, Link, Lost};
use super::listing::{self, Listing, Listings};
use super::live::{self, Events, Live, Own};
use super::media::{is_compressible, is_html};
use super::memory::{Discovery, Memory, Root};
use super::note::{Chosen, Note, Role, Seen, Trail, Withheld};
use super::policy::{Policy, SharedPolicy, address, media_type};
use super::redirects::{Match, To};
use super::releases::Releases;
use super::resource::{again, finished, represent};
use super::search::{Failure, File, Finding, Outcome, Search, WELL_KNOWN, is_absence, is_hidden};
use super::validators::{of_made, validators};
use crate::blob::Blob;
use crate::count::Count;
use crate::http::{
    Account, Coding, Fields, Lookup, Origin, Progress, Recall, Representation, Resource, Response,
    Status, Streamed, Target,
};

/// What the pages for what is absent are remembered under, and, before its path, what a rule leads to. A target's
/// path is empty or begins with a slash, so they are nobody else's.
const NOT_FOUND: &str = "404";
const SHELL: &str = "shell";
const BY_RULE: &str = "rule ";

/// How long after the root's name led nowhere it is looked at again, if nobody asks before.
const LOST: Duration = Duration::from_secs(1);

/// Siblings that are named once, and not again.
const NAMED: usize = 1000;

/// How a folder is turned into a site. Names are relative to the root.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a folder shows: the first of these that is there.
    pub index: Vec<String>,
    /// What is shown with status 404, if it is there.
    pub not_found: String,
    /// What is shown to who navigates to where nothing is.
    pub shell: Option<String>,
    /// Whether an address may leave out the `.html` of its file.
    pub is_clean: bool,
    /// The path that all addresses have in front, without a slash at either end; empty for none.
    pub prefix: String,
    /// Whether files beside a file may be that, with a coding.
    pub has_siblings: bool,
    /// What makes representations with a coding, if anything does.
    pub compressor: Option<Compressor>,
    /// What knows files by their content, however long they are, if they are to be known by that alone.
    pub digests: Option<Digests>,
    /// Whether names that begin with a dot are shown.
    pub hidden: bool,
    /// Whether a folder without an index is listed.
    pub listing: bool,
    /// Bytes that may be used to remember what was found. 0 remembers nothing.
    pub cache_memory: usize,
    /// Files that may be held open for the same purpose.
    pub cache_files: usize,
    /// What the root's name has led to. A file that only a former one has, and that has a hash of its content in its
    /// name, may still be shown: pages that were loaded before may ask for it.
    pub releases: Releases,
    /// What applies to some paths, and to all.
    pub policy: SharedPolicy,
    /// What has been said once.
    pub named: Named,
    /// What tells pages of changes, if anything does.
    pub live: Option<Live>,
    /// Where to note what is seen on the way to an answer, if somebody asks why it is that one.
    pub trail: Option<Trail>,
}

/// What has been said once, by whichever worker.
#[derive(Clone, Debug, Default)]
pub struct Named(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    /// Siblings that are none, and lines of rules that are left out.
    named: HashSet<Vec<u8>>,
    /// Where the root's name, and those of other places where links may lead, were last said to lead, or why nowhere.
    led: HashMap<PathBuf, Result<PathBuf, String>>,
}

impl Named {
    /// A panic elsewhere leaves it whole: each change is one statement.
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to say this now, because nobody has.
    fn is_news(&self, what: &[u8]) -> bool {
        let named = &mut self.lock().named;
        named.len() < NAMED && named.insert(what.to_vec())
    }

    /// Names that lead somewhere again are news once more when they do not: all but those of the `lost`.
    fn forget_all_but(&self, lost: &[Lost]) {
        let is_lost = |name: &Path| lost.iter().any(|(other, _)| other == name);
        self.lock()
            .led
            .retain(|name, led| led.is_ok() || is_lost(name));
    }

    /// Whether to say now that a folder's name leads there.
    fn is_news_of(&self, name: &Path, leads: Result<PathBuf, String>) -> bool {
        let led = &mut self.lock().led;
        let is_news = led.get(name) != Some(&leads);
        led.insert(name.to_owned(), leads);
        is_news
    }
}

impl Default for Options {
    /// `index.html`, `404.html`, clean addresses, siblings, nothing hidden shown, nothing listed, 64 MiB, 256 files.
    fn default() -> Self {
        Self {
            index: vec!["index.html".into()],
            not_found: "404.html".into(),
            shell: None,
            is_clean: true,
            prefix: String::new(),
            has_siblings: true,
            compressor: None,
            digests: None,
            hidden: false,
            listing: false,
            cache_memory: 64 * 1024 * 1024,
            cache_files: 256,
            releases: Releases::default(),
            policy: SharedPolicy::default(),
            named: Named::default(),
            live: None,
            trail: None,
        }
    }
}

/// How a site comes to know that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// inotify(7) says so; files that it does not know all about are looked at by stat(2).
    Told,
    /// Every file is looked at by stat(2) before it is sent again, once for all who ask in the same turn of
    /// the loop.
    Looked,
    /// Nothing is remembered.
    Read,
}

/// What a site makes while it leaves.
#[derive(Debug)]
pub enum Stream {
    /// A folder's listing.
    Listing(Listing),
    /// What changes.
    Events(Events),
}

/// A folder, served: an origin.
#[derive(Debug)]
pub struct Site {
    disk: Arc<Disk>,
    options: Options,
    /// The rules in force, and how often they have changed.
    policy: (Arc<Policy>, u64),
    /// What goes with answers that are none of the site's, wherever.
    others: Fields,
    memory: Memory,
    /// When it was last looked where the root's name leads, and whether that was nowhere.
    looked: Option<(SystemTime, bool)>,
    listings: Listings,
    /// When a failure was last told, and how many were not told since.
    told: (Option<SystemTime>, u64),
    /// How the last lookup went.
    account: Account,
    /// Where it is told how many bytes are remembered, if anybody asks.
    held: Option<Arc<Count>>,
}

impl Site {
    /// The folder behind this door.
    #[must_use]
    pub fn new(disk: Disk, options: Options) -> Self {
        let budget = Budget {
            bytes: options.cache_memory,
            descriptors: options.cache_files,
        };
        let memory = Memory::new(&disk, budget);
        let policy = options.policy.now();
        Self {
            disk: Arc::new(disk),
            others: policy.0.of_others(None),
            policy,
            options,
            memory,
            looked: None,
            listings: Listings::default(),
            told: (None, 0),
            account: Account {
                recall: Recall::Miss,
                reason: None,
            },
            held: None,
        }
    }

    /// The same, which tells there, turn by turn, how many bytes it remembers.
    #[must_use]
    pub fn counted_by(mut self, held: Arc<Count>) -> Self {
        self.held = Some(held);
        self
    }

    /// How changes are noticed.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match self.memory.is_watching() {
            true => Freshness::Told,
            false if self.options.cache_memory > 0 => Freshness::Looked,
            false => Freshness::Read,
        }
    }

    /// What is readable when there is something to tell by [`Origin::doubt`]; `None` where there never is.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn bell(&self) -> io::Result<Option<OwnedFd>> {
        self.memory.bell()
    }

    /// Whether a file is there to be shown, under a name relative to the root.
    ///
    /// # Errors
    /// Why it cannot be: nothing there, not a regular file, not ours to read.
    pub fn has(&self, name: &str) -> io::Result<()> {
        match self.disk.find(name.as_bytes())? {
            Found::File(..) => Ok(()),
            Found::Directory => Err(io::ErrorKind::IsADirectory.into()),
            Found::Special => Err(io::Error::other("it is not a regular file")),
        }
    }

    /// What there is under a target: what a rule says that comes first, a file, what a rule says where there is none,
    /// or what is said where nothing is.
    fn discover(&mut self, target: &Target<'_>, now: SystemTime) -> Result<Discovery, Failure> {
        if let Some(own) = self.own(target) {
            return Ok((own, None));
        }
        let rule = self.policy.0.redirect(target);
        if let Some(rule) = rule.as_ref().filter(|rule| rule.is_forced) {
            return self.redirected(target, rule, now);
        }
        match (self.lookup(target, &address(target), now)?, rule) {
            ((Lookup::Absent(_), _), rule) => {
                if let Some(lookup) = self.of_former(target, now) {
                    return Ok((lookup, None));
                }
                match rule {
                    Some(rule) => self.redirected(target, &rule, now),
                    None => Ok((self.absent(target, now), None)),
                }
            }
            (discovery, rule) => {
                if let Some(rule) = rule {
                    self.note(|| Note::Rule(rule, false));
                }
                Ok(discovery)
            }
        }
    }

    /// What a folder has under a target that was here before, if pages from there may still ask for it.
    fn of_former(&self, target: &Target<'_>, now: SystemTime) -> Option<Lookup> {
        let path = target.path();
        let path = self.below_prefix(&path)?;
        // What ends in a slash is no file, as of the current one.
        let is_file = !target.is_directory() && has_content_hash(path);
        if !is_file || self.withheld(path).is_some() {
            return None;
        }
        let former = self.options.releases.former(&self.disk, now);
        let file = |former: &Arc<Disk>| {
            let search = Search {
                disk: former,
                ..self.search(now)
            };
            match search.file(path) {
                Ok(Outcome::File(finding)) => Some(finding),
                _ => None,
            }
        };
        let finding = former.iter().find_map(file)?;
        let fields = self.policy.0.of_file(&address(target), path);
        let (resource, _) = self.resource(*finding, &fields, Some(now));
        Some(Lookup::Found(Arc::new(resource)))
    }

    /// What is under a target of ours, which is in no folder, if it is one.
    fn own(&self, target: &Target<'_>) -> Option<Lookup> {
        self.options.live.as_ref()?;
        let path = target.path();
        let own = Live::own(self.below_prefix(&path)?).filter(|_| !target.is_directory())?;
        Some(match own {
            Own::Events => Lookup::Events,
            Own::Script => {
                let mut fields = self.policy.0.of_file(&address(target), live::SCRIPT);
                fields.remove("Cache-Control");
                let fields = fields.with("Cache-Control", "no-cache");
                let content = Blob::Static(live::SCRIPT_CONTENT);
                let script = represent(content, Coding::Identity, &fields);
                let validators = of_made(live::SCRIPT_CONTENT);
                Lookup::Found(Arc::new(finished(script, Some(validators), false).into()))
            }
        })
    }

    /// A page with what has it hear of changes, if pages are to.
    fn injected(&self, file: &File, fields: &Fields) -> Option<Vec<u8>> {
        let live = self.options.live.as_ref()?;
        if !is_html(media_type(fields)) || !live.has_room(file.content.len(), &file.path) {
            return None;
        }
        match disk::bytes(&file.content) {
            Ok(html) => live.injected(&html, fields, &file.path),
            Err(error) => {
                warn!("/{} is not reloaded: {error}", file.path.escape_ascii());
                None
            }
        }
    }

    /// What says that nothing is there, on a site without a page for that, where pages are to hear of changes: of the
    /// one that comes there, too.
    fn bare(&self, target: &Target<'_>) -> Option<Arc<Resource>> {
        let live = self.options.live.as_ref()?;
        let path = target.path();
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        if name.contains(&b'.') && !is_html(self.policy.0.types.of(name).text.as_ref()) {
            return None;
        }
        let page = Response::page(Status::NotFound, "There is nothing under this address.");
        let page = page.representation?;
        let address = address(target);
        let fields = self.policy.0.of_page(Some(&address), page.media_type());
        let html = live.injected(page.content.in_memory()?, &fields, &path)?;
        let page = represent(html.into(), Coding::Identity, &fields);
        Some(Arc::new(finished(page, None, false).into()))
    }

    /// What there is in the folder under a target.
    /// It is shown with the fields that go with this address.
    fn lookup(
        &self,
        target: &Target<'_>,
        address: &[u8],
        now: SystemTime,
    ) -> Result<Discovery, Failure> {
        let path = target.path();
        let Some(path) = self.below_prefix(&path) else {
            self.note(|| Note::Outside);
            return Ok((Lookup::Absent(None), None));
        };
        if path.is_empty() && !target.is_directory() {
            return Ok((Lookup::Directory, None));
        }
        if let Some(why) = self.withheld(path) {
            self.note(|| Note::Withheld(path.to_vec(), why));
            return Ok((Lookup::Absent(None), None));
        }
        let search = self.search(now);
        let outcome = match target.is_directory() {
            true => search.folder(path)?,
            false => search.name(path)?,
        };
        Ok(match outcome {
            Outcome::File(finding) if self.policy.0.is_source(&finding.file.path) => {
                (Lookup::Absent(None), None)
            }
            Outcome::File(finding) => {
                self.choose(Role::File, &finding.file, Some(address));
                let fields = self.policy.0.of_file(address, &finding.file.path);
                let (resource, evidence) = self.resource(*finding, &fields, Some(now));
                (Lookup::Found(Arc::new(resource)), Some(evidence))
            }
            Outcome::Folder => (Lookup::Directory, None),
            Outcome::Nothing if self.options.listing && target.is_directory() => {
                (self.listable(target, path)?, None)
            }
            Outcome::Nothing => (Lookup::Absent(None), None),
        })
    }

    /// A folder that has no page of its own.
    fn listable(&self, target: &Target<'_>, path: &[u8]) -> Result<Lookup, Failure> {
        match self.disk.folder(path) {
            // A listing's references are relative to the slash.
            Ok(_) if !target.raw().ends_with('/') => Ok(Lookup::Directory),
            Ok(_) => Ok(self.listings.lookup()),
            Err(error) if is_absence(&error) => Ok(Lookup::Absent(None)),
            Err(error) => {
                let path = path.to_vec();
                self.note(|| Note::Looked(path.clone(), Seen::Failed(error.to_string())));
                Err(Failure { path, error })
            }
        }
    }

    /// Why nothing under this path is shown, if nothing is.
    pub(super) fn withheld(&self, path: &[u8]) -> Option<Withheld> {
        if !self.options.hidden && is_hidden(path) {
            Some(Withheld::Hidden)
        } else if self.policy.0.is_source(path) {
            Some(Withheld::Rules)
        } else {
            None
        }
    }

    /// The folder that is served.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    fn note(&self, note: impl FnOnce() -> Note) {
        if let Some(trail) = &self.options.trail {
            trail.add(note());
        }
    }

    /// Notes that a file is to be sent, with what changes its fields under an address.
    fn choose(&self, role: Role, file: &File, address: Option<&[u8]>) {
        let policy = &self.policy.0;
        let cache = || policy.caching.of(&file.path, policy.is_private);
        self.note(|| {
            Note::Chosen(Chosen {
                role,
                path: file.path.clone(),
                len: file.content.len(),
                links: match file.source.is_direct {
                    true => Vec::new(),
                    false => self.disk.links(&file.path),
                },
                media: policy.types.of(&file.path),
                cache: (role != Role::NotFound).then(cache),
            })
        });
        self.note(|| Note::Changed(role, policy.changed(address)));
    }

    pub(super) fn search(&self, now: SystemTime) -> Search<'_> {
        Search {
            is_clean: self.options.is_clean,
            types: self.options.has_siblings.then_some(&self.policy.0.types),
            trail: self.options.trail.as_ref(),
            ..Search::new(&self.disk, &self.options.index, now)
        }
    }

    /// What comes behind the prefix; `None` if something else does.
    fn below_prefix<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        match (self.options.prefix.as_bytes(), path) {
            (b"", path) => Some(path),
            (prefix, path) => match path.strip_prefix(prefix)? {
                b"" => Some(b""),
                below => below.strip_prefix(b"/"),
            },
        }
    }

    /// What is under a target by a rule.
    fn redirected(
        &mut self,
        target: &Target<'_>,
        rule: &Match,
        now: SystemTime,
    ) -> Result<Discovery, Failure> {
        self.note(|| Note::Rule(rule.clone(), true));
        let (status, target_of_rule) = match &rule.to {
            To::Location(location) => {
                return Ok((Lookup::Moved(rule.status, location.as_str().into()), None));
            }
            To::Target(target) => (rule.status, target),
        };
        // What a peer has put in the place of a placeholder may be no path.
        let Ok(other) = Target::parse(target_of_rule, None) else {
            return Ok((self.absent(target, now), None));
        };
        let (key, address) = self.by_rule(target, &other);
        let lookup = match self.memory.recall(&self.disk, &key, now) {
            Some(lookup) => {
                // Where it comes first, nothing else was looked at.
                if rule.is_forced {
                    self.account.recall = self.memory.last();
                }
                lookup
            }
            None => {
                let discovery = self.lookup(&other, &address, now)?;
                self.memory.remember(&key, discovery, now)
            }
        };
        let lookup = match lookup {
            Lookup::Found(resource) if status == Status::NotFound => {
                Lookup::Absent(Some(self.page_at(&resource, &address)))
            }
            Lookup::Found(resource) => Lookup::Found(resource),
            _ => self.absent(target, now),
        };
        Ok((lookup, None))
    }

    /// What is remembered of what a rule leads to under a target, and the address whose fields it has. Asked for itself,
    /// that other one may be something else, by a rule about it.
    fn by_rule(&self, target: &Target<'_>, other: &Target<'_>) -> (String, Vec<u8>) {
        match self.policy.0.depend_on_path() {
            true => {
                let key = format!("{BY_RULE}{} {}", target.raw(), other.raw());
                (key, address(target))
            }
            false => (format!("{BY_RULE}{}", other.raw()), address(other)),
        }
    }

    /// Under which key what was just found for a target is remembered, and the address whose fields it has.
    fn place(&self, target: &Target<'_>, found: &Lookup) -> Option<(String, Vec<u8>)> {
        let found = match (found, &self.options.shell) {
            (Lookup::Shell(..), Some(file)) => {
                return Some((SHELL.into(), format!("/{file}").into()));
            }
            (Lookup::Found(resource), _) => resource,
            _ => return None,
        };
        let is_it = |(key, _): &(String, Vec<u8>)| match self.memory.entry(key) {
            Some((Lookup::Found(known), _)) => Arc::ptr_eq(known, found),
            _ => false,
        };
        let own = (target.raw().to_owned(), address(target));
        if is_it(&own) {
            return Some(own);
        }
        match self.policy.0.redirect(target)?.to {
            To::Target(other) => {
                let other = Target::parse(&other, None).ok()?;
                Some(self.by_rule(target, &other)).filter(is_it)
            }
            To::Location(_) => None,
        }
    }

    /// What there is to say where nothing is.
    fn absent(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        let page = self.page(NOT_FOUND, now);
        let page = page.map(|page| match self.policy.0.depend_on_path() {
            true => self.page_at(&page, &address(target)),
            false => page,
        });
        let page = page.or_else(|| self.bare(target));
        let shell = match self.options.shell.is_some() {
            true => {
                let route = self.route(target);
                self.note(|| Note::Route(route));
                route.ok().and_then(|()| self.page(SHELL, now))
            }
            false => None,
        };
        match shell {
            Some(shell) => Lookup::Shell(self.shell_at(shell, target), page),
            None => Lookup::Absent(page),
        }
    }

    /// A page that says what went wrong, with the fields that go with this address.
    fn page_at(&self, page: &Resource, address: &[u8]) -> Arc<Resource> {
        let policy = &self.policy.0;
        self.note(|| Note::Changed(Role::NotFound, policy.changed(Some(address))));
        let fields = |page: &Representation| policy.of_page(Some(address), page.media_type());
        Arc::new(again(page, fields, false))
    }

    /// The shell with the fields that go with what is under this target.
    fn shell_at(&self, shell: Arc<Resource>, target: &Target<'_>) -> Arc<Resource> {
        match &self.options.shell {
            Some(file) if self.policy.0.depend_on_path() => {
                let address = address(target);
                let fields = |_: &_| self.policy.0.of_file(&address, file.as_bytes());
                Arc::new(again(&shell, fields, true))
            }
            _ => shell,
        }
    }

    /// Whether a place may be one that only a page's script knows; otherwise why not. What has an extension is a
    /// file, and what is well-known is known to others.
    fn route(&self, target: &Target<'_>) -> Result<(), &'static str> {
        let path = target.path();
        let Some(path) = self.below_prefix(&path) else {
            return Err("its address does not begin with the path prefix");
        };
        let mut names = path.split(|&byte| byte == b'/');
        let is_well_known = names.next() == Some(WELL_KNOWN);
        let last = path.rsplit(|&byte| byte == b'/').next();
        let is_file = last.is_some_and(|name| name.contains(&b'.'));
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

    /// One of the pages that are shown where nothing is. Failing to find it is no reason to say anything else.
    fn page(&mut self, key: &'static str, now: SystemTime) -> Option<Arc<Resource>> {
        let page = |lookup| match lookup {
            Lookup::Found(page) => Some(page),
            _ => None,
        };
        if let Some(lookup) = self.memory.recall(&self.disk, key, now) {
            return page(lookup);
        }
        let name = match (key, &self.options.shell) {
            (SHELL, Some(shell)) => shell,
            _ => &self.options.not_found,
        };
        let discovery = match self.search(now).file(name.as_bytes()) {
            Ok(Outcome::File(finding)) => {
                let path = &finding.file.path;
                let fields = match key {
                    SHELL => {
                        let address = [b"/", &path[..]].concat();
                        self.choose(Role::Shell, &finding.file, Some(&address));
                        self.policy.0.of_file(&address, path)
                    }
                    _ => {
                        self.choose(Role::NotFound, &finding.file, None);
                        let media_type = self.policy.0.types.of(path);
                        self.policy.0.of_page(None, &media_type.text)
                    }
                };
                // The one for what is absent is no representation of a target, so it has no validators.
                let validated = (key == SHELL).then_some(now);
                let (resource, evidence) = self.resource(*finding, &fields, validated);
                (Lookup::Found(Arc::new(resource)), Some(evidence))
            }
            _ => (Lookup::Absent(None), None),
        };
        page(self.memory.remember(key, discovery, now))
    }

    /// The resource that a file is, with what stands beside it, and with these fields; with the validators that each has
    /// when it is `validated`, if it is.
    fn resource(
        &self,
        finding: Finding,
        fields: &Fields,
        validated: Option<SystemTime>,
    ) -> (Resource, Evidence) {
        self.name_once(&finding);
        if let Some(html) = self.injected(&finding.file, fields) {
            let validators = validated.map(|_| of_made(&html));
            let page = represent(html.into(), Coding::Identity, fields);
            return (finished(page, validators, false).into(), finding.evidence);
        }
        let Finding {
            file,
            siblings,
            evidence,
            ..
        } = finding;
        // An error is not worth it.
        let is_codable =
            siblings.is_empty() && validated.is_some() && self.is_codable(fields, &file);
        let varies = is_codable || !siblings.is_empty();
        let forms = [(Coding::Identity, file)].into_iter().chain(siblings);
        let form = |(coding, file): (Coding, File)| {
            let digests = self.options.digests.as_ref();
            let with = |now| validators(&file.content, &file.source.version, digests, now);
            let validators = validated.map(with);
            let representation = represent(file.content, coding, fields);
            Arc::new(finished(representation, validators, varies))
        };
        let resource = Resource {
            representations: forms.map(form).collect(),
            varies,
            is_codable,
        };
        (resource, evidence)
    }

    /// Whether a file is one that may be compressed when that is asked for.
    fn is_codable(&self, fields: &Fields, file: &File) -> bool {
        let most = self.memory.most();
        self.options.compressor.is_some()
            && (compressor::LEAST..=most).contains(&file.source.version.len)
            && is_compressible(media_type(fields))
    }

    /// Names the siblings that are none, once.
    fn name_once(&self, finding: &Finding) {
        for (path, why) in &finding.refused {
            if self.options.named.is_news(path) {
                warn!("/{} is not used: {why}", path.escape_ascii());
            }
        }
    }

    /// Takes up the rules that are in force, if they have changed and are for this folder.
    fn follow_policy(&mut self) {
        if self.options.policy.changes() == self.policy.1 {
            return;
        }
        let (policy, changes) = self.options.policy.now();
        match policy.root {
            // The root's name leads elsewhere, or did: that is looked at first.
            Some(root) if root != self.disk.identity() => self.memory.doubt_root(),
            _ => self.adopt(policy, changes),
        }
    }

    fn adopt(&mut self, policy: Arc<Policy>, changes: u64) {
        self.others = policy.of_others(None);
        self.policy = (policy, changes);
        self.memory.clear();
    }

    /// When to look where the root's name leads, even if nobody asks for anything: otherwise who is asked for nothing
    /// would hold a folder open for good that is no longer served.
    fn look(&self) -> Option<SystemTime> {
        match (self.memory.root(), self.looked) {
            (Root::Sure, _) => None,
            (Root::Doubtful, _) | (_, None) => Some(UNIX_EPOCH),
            (Root::Believed | Root::Untold, Some((last, is_lost))) => {
                let pause = if is_lost {
                    Some(LOST)
                } else {
                    self.options.releases.grace()
                };
                pause.map(|pause| last + pause)
            }
        }
    }

    /// Goes on with the folders that the names of the root, and of where links may lead, lead to by now; which of them
    /// lead nowhere, which is no reason to show nothing.
    fn follow_root(&mut self, now: SystemTime) -> Vec<Lost> {
        let was_lost = self.looked.is_some_and(|(_, is_lost)| is_lost);
        self.memory.follow_root(&self.disk);
        let (successor, lost) = self.disk.successor();
        if was_lost {
            self.options.named.forget_all_but(&lost);
        }
        if (was_lost || successor.is_some()) && self.memory.root() == Root::Believed {
            // What is there now may be watched over.
            self.memory.doubt_root();
        }
        if let Some(disk) = successor {
            for (name, path) in disk.led_elsewhere(&self.disk) {
                if self.options.named.is_news_of(name, Ok(path.to_owned())) {
                    info!("{} is {} from now on", name.display(), path.display());
                }
            }
            self.go_to(Arc::new(disk));
        }
        if !lost.is_empty() {
            self.memory.lose_root();
        }
        if lost.iter().any(|(name, _)| name == self.disk.called()) {
            // Another worker may have seen where it led last.
            let latest = self.options.releases.latest();
            if let Some(latest) = latest.filter(|latest| !latest.is(&self.disk)) {
                self.go_to(latest);
            }
        }
        self.looked = Some((now, !lost.is_empty()));
        self.options.releases.see(&self.disk, now);
        let changes = self.options.policy.changes();
        if self.policy.1 != changes {
            let policy = self.own_policy();
            self.adopt(policy, changes);
        }
        lost
    }

    fn go_to(&mut self, disk: Arc<Disk>) {
        let is_another = !disk.is(&self.disk);
        self.disk = disk;
        self.memory.forget();
        if is_another {
            // The rules in force were for another one.
            self.policy.1 = u64::MAX;
        }
    }

    /// Says that a folder's name leads to none that can be opened.
    fn tell_of_lost(&self, (name, error): &Lost) {
        if !self.options.named.is_news_of(name, Err(error.to_string())) {
            return;
        }
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                " (the sandbox lets a symbolic link be switched to what is beside its goal, and no folder be put in the \
                 place of another: start docroot again, or with --live-reload or --sandbox off)"
            }
            _ => "",
        };
        warn!(
            "{} cannot be opened any more: {error}{hint}; what was {} goes on being served",
            name.display(),
            self.disk.led(name).display()
        );
    }

    /// The rules for the folder that is served now. Where they cannot be read, those that were in force stay.
    fn own_policy(&self) -> Arc<Policy> {
        let reading = match self.options.policy.read(&self.disk) {
            None => return self.options.policy.now().0,
            Some(Ok(reading)) => reading,
            Some(Err(wrong)) => {
                for wrong in wrong {
                    if self.options.named.is_news(wrong.as_bytes()) {
                        warn!("{wrong}; the rules that were in force stay");
                    }
                }
                return self.policy.0.clone();
            }
        };
        for left_out in &reading.left_out {
            if self.options.named.is_news(left_out.as_bytes()) {
                warn!("{left_out}");
            }
        }
        Arc::new(reading.policy)
    }

    /// Logs at most one line a second: a peer decides how often something fails.
    fn tell(&mut self, failure: &Failure, now: SystemTime) {
        let (last, untold) = &mut self.told;
        let is_recent = |last: SystemTime| {
            now.duration_since(last)
                .is_ok_and(|elapsed| elapsed < Duration::from_secs(1))
        };
        if last.is_some_and(is_recent) {
            *untold += 1;
            return;
        }
        let Failure { path, error } = failure;
        let why = match Errno::from_io_error(error) {
            Some(Errno::XDEV) => match self.disk.culprit(path) {
                Some(Link { path, target }) => format!(
                    "the link /{} leads to {}, where none may (see --symlinks and --symlink-root)",
                    path.as_os_str().as_bytes().escape_ascii(),
                    target.as_os_str().as_bytes().escape_ascii(),
                ),
                None => "a link led where none may".to_owned(),
            },
            Some(Errno::MFILE | Errno::NFILE) => {
                format!("{error} (raise the limit of open files: ulimit -n)")
            }
            _ => error.to_string(),
        };
        warn!(
            "cannot serve /{}: {why}; {untold} more not told",
            path.escape_ascii()
        );
        self.told = (Some(now), 0);
    }
}

impl Origin for Site {
    type Stream = Stream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        if self.memory.is_root_doubtful() {
            let lost = self.follow_root(now);
            lost.iter().for_each(|lost| self.tell_of_lost(lost));
        }
        let recalled = self.memory.recall(&self.disk, target.raw(), now);
        self.account = Account {
            recall: self.memory.last(),
            reason: None,
        };
        if let Some(lookup) = recalled {
            return lookup;
        }
        let discovery = match self.discover(target, now) {
            Ok(discovery) => discovery,
            Err(failure) => {
                self.tell(&failure, now);
                self.account.reason = failure.reason();
                (failure.lookup(), None)
            }
        };
        self.memory.remember(target.raw(), discovery, now)
    }

    fn account(&self) -> Option<Account> {
        Some(self.account)
    }

    fn code(
        &mut self,
        target: &Target<'_>,
        found: &Lookup,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let compressor = self.options.compressor.as_ref()?;
        let (key, address) = self.place(target, found)?;
        let (Lookup::Found(resource), evidence) = self.memory.entry(&key)? else {
            return None;
        };
        let (path, source) = evidence.present.first()?;
        let identity = resource.representations.first()?;
        let mut resource = Resource::clone(resource);
        match compressor.form(path, &source.version, coding) {
            Form::Made(content) => {
                let validators = validators(&content, &source.version, None, now);
                let fields = self.policy.0.of_file(&address, path);
                let coded = represent(content, coding, &fields);
                let coded = finished(coded, Some(validators), true);
                resource.representations.push(Arc::new(coded));
            }
            Form::Unknown => {
                compressor.make(path, &source.version, coding, identity.content.clone());
                return None;
            }
            Form::Making => return None,
            // It is not asked about again.
            Form::Unworthy => resource.is_codable = false,
        }
        let resource = Arc::new(resource);
        self.memory.improve(&key, Lookup::Found(resource.clone()));
        Some(match found {
            Lookup::Shell(_, page) => Lookup::Shell(self.shell_at(resource, target), page.clone()),
            _ => Lookup::Found(resource),
        })
    }

    fn stream(&mut self, target: &Target<'_>, what: Streamed) -> Result<Stream, Lookup> {
        let view = match (what, &self.options.live) {
            (Streamed::Listing(view), _) => view,
            (Streamed::Events, Some(live)) => return Ok(Stream::Events(live.events())),
            (Streamed::Events, None) => return Err(Lookup::Absent(None)),
        };
        let path = target.path();
        let path = self.below_prefix(&path).unwrap_or_default();
        match self.disk.folder(path) {
            Ok(folder) => {
                let listing = self.listings.begin(self.disk.clone(), folder, path, view);
                Ok(Stream::Listing(listing))
            }
            Err(error) if is_absence(&error) => Err(Lookup::Absent(None)),
            Err(error) => {
                let path = path.to_vec();
                Err(Failure { path, error }.lookup())
            }
        }
    }

    fn stream_on(&mut self, stream: &mut Stream, into: &mut Vec<u8>, now: Instant) -> Progress {
        let listing = match stream {
            Stream::Listing(listing) => listing,
            Stream::Events(events) => return Progress::Wait(events.tell(into, now)),
        };
        let is_shown = |path: &[u8]| self.withheld(path).is_none();
        let disk = listing.disk();
        match listing::step(listing, &disk, is_shown, into) {
            Ok(true) => Progress::More,
            Ok(false) => Progress::Done,
            Err(error) => {
                warn!(
                    "cannot list /{} to its end: {error}",
                    listing.path().escape_ascii()
                );
                Progress::Broken
            }
        }
    }

    fn fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        let policy = &self.policy.0;
        if !policy.depend_on_path() && self.options.trail.is_none() {
            return Cow::Borrowed(&self.others);
        }
        let address = target.map(address);
        let address = address.as_deref();
        self.note(|| Note::Changed(Role::Ours, policy.changed(address)));
        Cow::Owned(policy.of_others(address))
    }

    fn doubt(&mut self, told: bool) {
        self.memory.doubt(told);
        if let Some(held) = &self.held {
            held.set(self.memory.used() as u64);
        }
        // That it has changed rings no bell.
        self.follow_policy();
    }

    fn due(&self) -> Option<SystemTime> {
        self.look()
            .into_iter()
            .chain(self.options.releases.due())
            .min()
    }

    fn tend(&mut self, now: SystemTime) {
        self.options.releases.forget(now);
        if self.look().is_none_or(|due| now < due) {
            return;
        }
        let was_lost = self.looked.is_some_and(|(_, is_lost)| is_lost);
        let lost = self.follow_root(now);
        // What is being put in the place of another may be there in a moment.
        if was_lost {
            lost.iter().for_each(|lost| self.tell_of_lost(lost));
        }
    }
}

impl Failure {
    fn lookup(&self) -> Lookup {
        match Errno::from_io_error(&self.error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Lookup::Forbidden,
            _ => Lookup::Unavailable,
        }
    }

    /// In one sentence, without a name.
    fn reason(&self) -> Option<&'static str> {
        match Errno::from_io_error(&self.error)? {
            Errno::XDEV => Some("A link leads where none may."),
            Errno::ACCESS | Errno::PERM => Some("This server may not read it."),
            Errno::MFILE | Errno::NFILE => Some("No more files may be open."),
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

    use super::super::disk::Symlinks;
    use super::super::redirects::Redirects;
    use super::super::sources::Sources;
    use super::*;
    use crate::blob::Blob;
    use crate::http::Resource;

    fn site(options: Options) -> (tempfile::TempDir, Site) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        for folder in ["folder", "bare", ".well-known/.secret", ".git"] {
            fs::create_dir_all(path.join(folder)).unwrap();
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
        let disk = Disk::open(path, &Symlinks::default()).unwrap();
        let site = Site::new(disk, options);
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
            Lookup::Absent(Some(page)) => format!("absent: {}", content(&page)),
            Lookup::Absent(None) => "absent".into(),
            Lookup::Shell(shell, _) => format!("shell: {}", content(&shell)),
            Lookup::Moved(status, location) => format!("{} {location}", status.text()),
            Lookup::Forbidden => "forbidden".into(),
            Lookup::Unavailable => "unavailable".into(),
        }
    }

    #[test]
    fn a_folder_is_a_site() {
        let (_root, mut site) = site(Options::default());
        for (target, expected) in [
            ("/", "index.html"),
            ("/folder", "directory"),
            ("/folder/", "folder/index.html"),
            ("/folder/other.htm", "folder/other.htm"),
            ("/folder/other.htm/", "absent: 404.html"),
            ("/bare", "directory"),
            ("/bare/", "absent: 404.html"),
            ("/nothing", "absent: 404.html"),
            ("/nothing/", "absent: 404.html"),
            ("/outside", "forbidden"),
            ("/.env", "absent: 404.html"),
            ("/.git/config", "absent: 404.html"),
            ("/..data", "absent: 404.html"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/.well-known/.secret/a", "absent: 404.html"),
            ("/folder/.well-known/a", "absent: 404.html"),
        ] {
            assert_eq!(find(&mut site, target), expected, "{target}");
        }
    }

    #[test]
    fn options_decide() {
        let options = Options {
            index: vec![
                "nothing.html".into(),
                "other.htm".into(),
                "index.html".into(),
            ],
            not_found: "nothing.html".into(),
            hidden: true,
            ..Options::default()
        };
        let (_root, mut site) = site(options);
        assert_eq!(find(&mut site, "/"), "index.html");
        assert_eq!(find(&mut site, "/folder/"), "folder/other.htm");
        assert_eq!(find(&mut site, "/.env"), ".env");
        assert_eq!(find(&mut site, "/nothing"), "absent");
    }

    #[test]
    fn a_file_comes_with_what_a_cache_needs() {
        let (root, mut site) = site(Options::default());
        let path = root.path().join("index.html");
        let file = fs::File::options().write(true).open(path).unwrap();
        let mut fields = |modified| {
            file.set_modified(modified).unwrap();
            let now = UNIX_EPOCH + Duration::from_millis(1_000_500);
            site.doubt(false);
            match site.find(&Target::parse("/", None).unwrap(), now) {
                Lookup::Found(found) => {
                    let found = &found.representations[0];
                    let tag = found.validators.tag.unwrap();
                    let expected = format!("Cache-Control: no-cache\r\nETag: {tag}\r\n");
                    assert_eq!(found.told(), expected);
                    found.described().to_owned()
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

    /// Bytes that are too many to be read into memory.
    const LARGE: usize = 100_000;

    /// A site that has been asked for something often enough for that to be remembered, and to be watched
    /// over if anything is.
    struct Remembering {
        outer: tempfile::TempDir,
        site: Site,
    }

    /// A change, and what is shown then.
    type Step = (fn(&Path), &'static str);

    /// What happens in the root's folder, and what a target shows from then on.
    struct Row {
        what: &'static str,
        target: &'static str,
        steps: Vec<Step>,
        /// Whether inotify could tell.
        is_told: bool,
    }

    /// Between what a test does, so that the file system dates it differently, and whatever the clock says
    /// is left alone for long by then: a tick, twice.
    fn pass() {
        thread::sleep(crate::blob::TICK);
    }

    /// So late that every file has been left alone for long.
    fn later() -> SystemTime {
        SystemTime::now() + Duration::from_secs(11)
    }

    impl Remembering {
        fn new(is_watching: bool) -> Self {
            let outer = tempfile::tempdir().unwrap();
            let root = outer.path().join("above/root");
            for folder in [
                "folder/deep",
                "other/deep",
                "indexed",
                "bare",
                "aliased",
                "empty",
            ] {
                fs::create_dir_all(root.join(folder)).unwrap();
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
            symlink("folder", root.join("way")).unwrap();
            symlink("../empty/first.html", root.join("aliased/first.html")).unwrap();
            let disk = Disk::open(&root, &Symlinks::default()).unwrap();
            let options = Options {
                index: vec!["first.html".into(), "index.html".into()],
                shell: Some("shell.html".into()),
                ..Options::default()
            };
            let mut site = Site::new(disk, options);
            if !is_watching {
                let budget = Budget {
                    bytes: site.options.cache_memory,
                    descriptors: site.options.cache_files,
                };
                site.memory = Memory::new(&site.disk, budget).unwatched();
            }
            Self { outer, site }
        }

        fn root(&self) -> std::path::PathBuf {
            self.outer.path().join("above/root")
        }

        /// A turn in which this is asked for.
        fn ask(&mut self, target: &str) -> String {
            self.site.doubt(true);
            self.ask_again(target)
        }

        /// The same, in the turn that is on.
        fn ask_again(&mut self, target: &str) -> String {
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
                let forms: Vec<String> = resource.representations.iter().map(text).collect();
                forms.join(" or ")
            };
            match self
                .site
                .find(&Target::parse(target, None).unwrap(), later())
            {
                Lookup::Found(resource) => content(&resource),
                Lookup::Absent(Some(page)) => format!("absent: {}", content(&page)),
                Lookup::Shell(shell, _) => format!("shell: {}", content(&shell)),
                other => format!("{other:?}").to_lowercase(),
            }
        }

        /// Whether nothing is looked at to answer that, in the turn that begins.
        fn is_sure_of(&mut self, key: &str) -> bool {
            self.site.doubt(true);
            self.site.memory.is_sure_of(key)
        }

        fn warm(&mut self, target: &str) {
            for _ in 0..3 {
                self.ask(target);
            }
        }
    }

    fn large(word: &str) -> String {
        word.to_owned() + &" ".repeat(LARGE - word.len())
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

    /// Writes a file anew, of the same length and with the same date.
    fn put_back(root: &Path, name: &str, content: &str) {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        let date = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        file.set_modified(date).unwrap();
    }

    /// Puts another file, of the same length and with the same date, in the place of one.
    fn replace(root: &Path, name: &str, content: &str) {
        let date = fs::metadata(root.join(name)).unwrap().modified().unwrap();
        write(root, "place", content);
        let file = File::options().write(true).open(root.join("place"));
        file.unwrap().set_modified(date).unwrap();
        rename(root, "place", name);
    }

    /// Dates a file.
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

    fn told(what: &'static str, target: &'static str, steps: &[Step]) -> Row {
        Row {
            what,
            target,
            steps: steps.to_vec(),
            is_told: true,
        }
    }

    fn looked(what: &'static str, target: &'static str, steps: &[Step]) -> Row {
        Row {
            is_told: false,
            ..told(what, target, steps)
        }
    }

    /// Does all this, and asks after each step.
    fn check(rows: &[Row], is_watching: bool) {
        // Each has an instance of inotify, of which a user has 128.
        for rows in rows.chunks(8) {
            let mut sites: Vec<Remembering> =
                rows.iter().map(|_| Remembering::new(is_watching)).collect();
            pass();
            for (row, site) in rows.iter().zip(&mut sites) {
                site.warm(row.target);
                let key = match row.target {
                    "/nothing" => NOT_FOUND,
                    target => target,
                };
                let is_watching = site.site.memory.is_watching();
                let expected = is_watching && row.is_told;
                assert_eq!(site.is_sure_of(key), expected, "{}: watched", row.what);
            }
            let most = rows.iter().map(|row| row.steps.len()).max().unwrap_or(0);
            for step in 0..most {
                for (row, site) in rows.iter().zip(&mut sites) {
                    let Some((change, expected)) = row.steps.get(step) else {
                        continue;
                    };
                    let what = format!("{}, step {step}, watching {is_watching}", row.what);
                    change(&site.root());
                    assert_eq!(site.ask(row.target), *expected, "{what}");
                    // And so it stays: within the turn, by a look, and watched over anew.
                    assert_eq!(site.ask_again(row.target), *expected, "{what}");
                    for _ in 0..3 {
                        assert_eq!(site.ask(row.target), *expected, "{what}, later");
                    }
                }
                pass();
            }
        }
    }

    fn rows() -> Vec<Row> {
        let mut rows = vec![
            told(
                "rewritten, its length and date put back",
                "/file",
                &[
                    (|root| put_back(root, "file", "new"), "new"),
                    (|root| put_back(root, "file", "old"), "old"),
                ],
            ),
            told(
                "truncated, and written",
                "/file",
                &[
                    (|root| write(root, "file", ""), ""),
                    (|root| write(root, "file", "new"), "new"),
                ],
            ),
            told(
                "appended to",
                "/file",
                &[(|root| append(root, "file", "er"), "older")],
            ),
            told(
                "replaced",
                "/file",
                &[
                    (|root| rename(root, "other/file", "file"), "new"),
                    (|root| rename(root, "folder/file", "file"), "old"),
                ],
            ),
            told(
                "replaced by one of its length and date",
                "/file",
                &[
                    (|root| replace(root, "file", "new"), "new"),
                    (|root| replace(root, "file", "old"), "old"),
                ],
            ),
            told(
                "its folder moved out, and a link in its place",
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
            told(
                "its folder renamed, and a link in its place",
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
            told(
                "exchanged",
                "/file",
                &[
                    (|root| exchange(root, "file", "other/file"), "new"),
                    (|root| exchange(root, "file", "other/file"), "old"),
                ],
            ),
            told(
                "deleted, and made again",
                "/file",
                &[
                    (|root| remove(root, "file"), "absent: old"),
                    (|root| write(root, "file", "new"), "new"),
                    (|root| remove(root, "file"), "absent: old"),
                ],
            ),
            told(
                "renamed, and renamed back",
                "/folder/file",
                &[
                    (|root| rename(root, "folder/file", "file"), "absent: old"),
                    (|root| rename(root, "file", "folder/file"), "old"),
                ],
            ),
            told(
                "a folder renamed away, and back",
                "/folder/deep/file",
                &[
                    (|root| rename(root, "folder", "gone"), "absent: old"),
                    (|root| rename(root, "gone", "folder"), "old"),
                    (|root| put_back(root, "folder/deep/file", "new"), "new"),
                ],
            ),
            told(
                "a folder renamed out of the root, and back",
                "/folder/deep/file",
                &[
                    (|root| rename(root, "folder/deep", "../deep"), "absent: old"),
                    (|root| write(root, "../deep/file", "new"), "absent: old"),
                    (|root| rename(root, "../deep", "folder/deep"), "new"),
                    (|root| write(root, "folder/deep/file", "newer"), "newer"),
                ],
            ),
            told(
                "a folder replaced",
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
            told(
                "folders exchanged",
                "/folder/deep/file",
                &[
                    (|root| exchange(root, "folder", "other"), "new"),
                    (|root| exchange(root, "folder", "other"), "old"),
                    (|root| exchange(root, "folder/deep", "other/deep"), "new"),
                    (|root| replace(root, "folder/deep/file", "wow"), "wow"),
                ],
            ),
            told(
                "a folder deleted, and made again",
                "/folder/file",
                &[
                    (
                        |root| fs::remove_dir_all(root.join("folder")).unwrap(),
                        "absent: old",
                    ),
                    (
                        |root| {
                            fs::create_dir(root.join("folder")).unwrap();
                            write(root, "folder/file", "new");
                        },
                        "new",
                    ),
                    (|root| remove(root, "folder/file"), "absent: old"),
                ],
            ),
            told(
                "what is above the root renamed, and its name given to another folder",
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
            told(
                "an index that comes first appears, and disappears",
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
            told(
                "an index disappears, and appears",
                "/indexed/",
                &[
                    (|root| remove(root, "indexed/index.html"), "absent: old"),
                    (|root| write(root, "indexed/index.html", "new"), "new"),
                ],
            ),
            told(
                "the page for what is absent changes, disappears and appears",
                "/nothing",
                &[
                    (|root| put_back(root, "404.html", "new"), "absent: new"),
                    (|root| remove(root, "404.html"), "absent(none)"),
                    (|root| write(root, "404.html", "again"), "absent: again"),
                ],
            ),
            told(
                "what was absent appears",
                "/nothing",
                &[
                    (|root| write(root, "nothing", "new"), "new"),
                    (|root| remove(root, "nothing"), "absent: old"),
                    (
                        |root| fs::create_dir(root.join("nothing")).unwrap(),
                        "directory",
                    ),
                ],
            ),
            told(
                "a file becomes a folder, and a file again",
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
            told(
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
            told(
                "a folder becomes a symbolic link to where it has gone",
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
            told(
                "written by its other name",
                "/file",
                &[
                    (
                        |root| fs::hard_link(root.join("file"), root.join("../alias")).unwrap(),
                        "old",
                    ),
                    (|root| put_back(root, "../alias", "new"), "new"),
                    (|root| remove(root, "../alias"), "new"),
                ],
            ),
            told(
                "large and rewritten, its length and date put back",
                "/large",
                &[
                    (|root| put_back(root, "large", "new"), "new"),
                    (|root| put_back(root, "large", "old"), "old"),
                ],
            ),
            told(
                "large and replaced, small for a while",
                "/large",
                &[
                    (|root| rename(root, "other/file", "large"), "new"),
                    (|root| write(root, "large", large("newer")), "newer"),
                    (|root| replace(root, "large", &large("newest")), "newest"),
                    (|root| remove(root, "large"), "absent: old"),
                ],
            ),
            told(
                "a form of it appears, changes, and disappears",
                "/file",
                &[
                    (|root| write(root, "file.br", "br"), "old or br"),
                    (|root| put_back(root, "file.br", "rb"), "old or rb"),
                    (|root| replace(root, "file.br", "br"), "old or br"),
                    (|root| remove(root, "file.br"), "old"),
                ],
            ),
            told(
                "a form of it changes, becomes older than it, and is made anew",
                "/coded",
                &[
                    (|root| put_back(root, "coded.br", "new"), "old or new"),
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
            told(
                "a form of it disappears, and others appear",
                "/coded",
                &[
                    (|root| remove(root, "coded.br"), "old"),
                    (|root| write(root, "coded.zst", "P*M\x18"), "old or P*M\x18"),
                    (|root| write(root, "coded.br", "br"), "old or br or P*M\x18"),
                    (|root| remove(root, "coded.zst"), "old or br"),
                    (|root| rename(root, "coded.br", "gone"), "old"),
                    (|root| link(root, "gone", "coded.br"), "old or br"),
                    (|root| put_back(root, "gone", "rb"), "old or rb"),
                ],
            ),
            told(
                "the page for what is absent comes to have a form",
                "/nothing",
                &[
                    (|root| write(root, "404.html.br", "br"), "absent: old or br"),
                    (|root| write(root, "404.html", "new"), "absent: new"),
                    (|root| remove(root, "404.html"), "absent(none)"),
                ],
            ),
            told(
                "the shell appears, changes, has a form, and disappears",
                "/nothing",
                &[
                    (|root| write(root, "shell.html", "new"), "shell: new"),
                    (|root| put_back(root, "shell.html", "old"), "shell: old"),
                    (|root| replace(root, "shell.html", "wow"), "shell: wow"),
                    (
                        |root| write(root, "shell.html.br", "br"),
                        "shell: wow or br",
                    ),
                    (|root| remove(root, "shell.html.br"), "shell: wow"),
                    (|root| remove(root, "shell.html"), "absent: old"),
                ],
            ),
            told(
                "an address without .html comes to be a file, and a folder",
                "/page",
                &[
                    (|root| put_back(root, "page.html", "new"), "new"),
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
                    (|root| remove(root, "page.html"), "absent: old"),
                ],
            ),
            looked(
                "a page appears beside a folder",
                "/bare",
                &[
                    (|root| write(root, "bare.html", "new"), "new"),
                    (|root| put_back(root, "bare.html", "wow"), "wow"),
                    (|root| write(root, "bare/index.html", "in"), "directory"),
                    (|root| remove(root, "bare/index.html"), "wow"),
                    (|root| remove(root, "bare.html"), "directory"),
                ],
            ),
            looked(
                "a symbolic link to it switched",
                "/link",
                &[
                    (
                        |root| {
                            link(root, "other/file", "place");
                            rename(root, "place", "link");
                        },
                        "new",
                    ),
                    (|root| put_back(root, "other/file", "wow"), "wow"),
                ],
            ),
            looked(
                "a symbolic link on the way switched",
                "/way/deep/file",
                &[
                    (
                        |root| {
                            link(root, "other", "place");
                            rename(root, "place", "way");
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
            true => eprintln!("SKIPPED: root reads what it likes, whatever the mode"),
            false => rows.extend([
                told(
                    "a file forbidden, and allowed",
                    "/file",
                    &[
                        (|root| forbid(root, "file"), "forbidden"),
                        (|root| allow(root, "file"), "old"),
                    ],
                ),
                told(
                    "a folder forbidden, and allowed",
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
    fn what_is_watched_is_never_older_than_its_file() {
        if !Remembering::new(true).site.memory.is_watching() {
            eprintln!("SKIPPED: inotify does not know all about the temporary folder");
            return;
        }
        check(&rows(), true);
    }

    #[test]
    fn what_is_looked_at_is_never_older_than_its_file() {
        check(&rows(), false);
    }

    #[test]
    fn an_index_that_is_a_link_to_nothing_yet_is_seen_when_there_is_something() {
        for is_watching in [true, false] {
            let mut site = Remembering::new(is_watching);
            pass();
            site.warm("/aliased/");
            assert_eq!(site.ask("/aliased/"), "old");
            // No folder on the way to what is shown has changed.
            write(&site.root(), "empty/first.html", "new");
            assert_eq!(site.ask("/aliased/"), "new", "watching {is_watching}");
        }
    }

    #[test]
    fn who_has_a_file_open_is_not_trusted_before_it_is_closed() {
        let mut site = Remembering::new(true);
        pass();
        if !site.site.memory.is_watching() {
            eprintln!("SKIPPED: inotify does not know all about the temporary folder");
            return;
        }
        site.warm("/file");
        assert!(site.is_sure_of("/file"));
        let opened = File::open(site.root().join("file")).unwrap();
        for _ in 0..3 {
            assert!(!site.is_sure_of("/file"));
            assert_eq!(site.ask("/file"), "old");
        }
        drop(opened);
        assert!(!site.is_sure_of("/file"), "it is looked at once more");
        assert_eq!(site.ask("/file"), "old");
        assert!(site.is_sure_of("/file"));
    }

    #[test]
    fn what_was_changed_a_moment_ago_is_not_watched() {
        let mut site = Remembering::new(true);
        let target = Target::parse("/file", None).unwrap();
        let written = std::fs::metadata(site.root().join("file"));
        let written = written.and_then(|file| file.modified()).unwrap();
        let soon = written + Duration::from_secs(9);
        for _ in 0..5 {
            site.site.doubt(true);
            site.site.find(&target, soon);
            assert!(!site.is_sure_of("/file"));
        }
    }

    #[test]
    fn a_policy_is_taken_up_by_a_turn_in_which_no_bell_rings() {
        let (_root, mut site) = site(Options::default());
        assert_eq!(find(&mut site, "/index.html"), "index.html");
        let text = b"/index.html /moved 301!";
        site.options.policy.replace(Policy {
            redirects: Redirects::parse(text).unwrap(),
            ..Policy::default()
        });
        site.doubt(false);
        let moved = "301 Moved Permanently /moved";
        assert_eq!(find(&mut site, "/index.html"), moved);
    }

    #[test]
    fn rules_of_a_folder_that_is_replaced_while_they_are_read_are_not_for_the_next_one() {
        let outer = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let folder = outer.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("index.html"), name).unwrap();
            let rules = format!("/*\n  X-Folder: {name}\n");
            fs::write(folder.join("_headers"), rules).unwrap();
            folder
        });
        let sources = Sources {
            root: one.clone(),
            ..Sources::default()
        };
        let options = Options {
            policy: SharedPolicy::of(sources.clone()),
            ..Options::default()
        };
        let policy = options.policy.clone();
        let disk = Disk::open(&one, &Symlinks::default()).unwrap();
        let mut site = Site::new(disk, options);
        let mut check = |expected: &str| {
            for _ in 0..2 {
                site.doubt(true);
                let target = Target::parse("/", None).unwrap();
                let Lookup::Found(found) = site.find(&target, SystemTime::now()) else {
                    panic!("there is a page");
                };
                let found = &found.representations[0];
                assert_eq!(found.content.in_memory(), Some(expected.as_bytes()));
                let field = format!("X-Folder: {expected}\r\n");
                assert!(found.told().contains(&field), "{}", found.told());
            }
        };
        let read = || sources.read().unwrap().policy;
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
    fn nothing_is_remembered_where_nothing_may_be() {
        let mut site = Remembering::new(true);
        site.site.memory = Memory::new(&site.site.disk, Budget::default());
        for (content, _) in [("one", 1), ("two", 2)] {
            write(&site.root(), "file", content);
            assert_eq!(site.ask_again("/file"), content, "in the same turn");
        }
    }
}
