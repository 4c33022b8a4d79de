//! A target's resource, from the folder.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use tracing::warn;

use super::cache::{Budget, Cache, Doubtful, Evidence, Known};
use super::disk::{Disk, Entry, Found, Link, Source, is_steady, settle};
use super::media::media_type;
use super::validators::{are_final, validators};
use super::watch::Watch;
use crate::blob::Blob;
use crate::http::{Lookup, Origin, Representation, Target};

/// The folder that may be asked for although its name begins with a dot (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// What the 404 page is remembered under. A target's path begins with a slash, so it is nobody else's.
const NOT_FOUND: &str = "404";

/// How a folder is turned into a site. Names are relative to the root.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a folder shows: the first of these that is there.
    pub index: Vec<String>,
    /// What is shown with status 404, if it is there.
    pub not_found: String,
    /// Whether names that begin with a dot are shown.
    pub hidden: bool,
    /// Bytes that may be used to remember what was found. 0 remembers nothing.
    pub cache_memory: usize,
    /// Files that may be held open for the same purpose.
    pub cache_files: usize,
}

impl Default for Options {
    /// `index.html`, `404.html`, nothing hidden shown, 64 MiB, 256 files.
    fn default() -> Self {
        Self {
            index: vec!["index.html".into()],
            not_found: "404.html".into(),
            hidden: false,
            cache_memory: 64 * 1024 * 1024,
            cache_files: 256,
        }
    }
}

/// How a site comes to know that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// inotify(7) says so; files that it does not know all about are looked at by stat(2).
    Told,
    /// Every file is looked at by stat(2), once in each turn of the loop in which it is asked for.
    Looked,
    /// Nothing is remembered.
    Read,
}

/// A folder, served: an origin.
#[derive(Debug)]
pub struct Site {
    disk: Disk,
    options: Options,
    cache: Cache,
    watch: Option<Watch>,
    /// When a failure was last told, and how many were not told since.
    told: (Option<SystemTime>, u64),
}

/// What there is, and what that rests on, if it is on a file.
type Discovery = (Lookup, Option<Evidence>);

impl Site {
    /// The folder behind this door.
    #[must_use]
    pub fn new(disk: Disk, options: Options) -> Self {
        let budget = Budget {
            bytes: options.cache_memory,
            descriptors: options.cache_files,
        };
        let watch = match options.cache_memory {
            0 => None,
            _ => Watch::new(&disk),
        };
        Self {
            disk,
            options,
            cache: Cache::new(budget),
            watch,
            told: (None, 0),
        }
    }

    /// How changes are noticed.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        match self.watch {
            Some(_) => Freshness::Told,
            None if self.options.cache_memory > 0 => Freshness::Looked,
            None => Freshness::Read,
        }
    }

    /// What is readable when there is something to tell by [`Origin::doubt`]; `None` where there never is.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub fn bell(&self) -> io::Result<Option<OwnedFd>> {
        self.watch.as_ref().map(Watch::bell).transpose()
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

    /// What is remembered under a key, if it still is so.
    fn recall(&mut self, key: &str, now: SystemTime) -> Option<Lookup> {
        match self.cache.recall(key) {
            Known::Sure(lookup) => Some(lookup),
            Known::Nothing => None,
            Known::Doubtful(doubtful) => {
                let confirmed = self.confirm(doubtful, now);
                self.release();
                confirmed
            }
        }
    }

    /// Looks whether what was there still is. It has been asked for before, so it is worth being watched.
    fn confirm(&mut self, doubtful: Doubtful, now: SystemTime) -> Option<Lookup> {
        let Doubtful {
            lookup,
            evidence,
            watched,
            ..
        } = &doubtful;
        let (lookup, disk) = (lookup.clone(), &self.disk);
        let Evidence { path, source, .. } = &**evidence;
        // First the watch, then the look: what happens in between is told.
        let mut watched = *watched;
        let mut is_quiet = false;
        if let Some(watch) = &mut self.watch {
            watched = watched.filter(|&watched| watch.covers(disk, path, watched));
            if watched.is_none() && is_steady(&source.version, now) {
                watched = watch.cover(disk, path, source);
            }
            is_quiet = watched.is_some_and(|watched| watch.is_left_alone(watched));
        }
        if !holds(disk, evidence) {
            self.cache.forget(&doubtful);
            return None;
        }
        let lookup = self.settled(&lookup, now).unwrap_or(lookup);
        self.cache
            .confirm(doubtful, lookup.clone(), watched, is_quiet);
        Some(lookup)
    }

    /// The same, held in a way that is better for what is asked for again. Where that cannot be, it is sent
    /// as it was before.
    fn settled(&self, lookup: &Lookup, now: SystemTime) -> Option<Lookup> {
        let Lookup::Found(resource) = lookup else {
            return None;
        };
        let [representation] = &resource.representations[..] else {
            return None;
        };
        let most = self.cache.share() as u64;
        let content = settle(&representation.content, most, now).ok()??;
        let representation = Representation {
            content,
            ..Representation::clone(representation)
        };
        Some(Lookup::Found(Arc::new(representation.into())))
    }

    /// Remembers what was just found, for as long as it may be.
    fn remember(&mut self, key: &str, (lookup, evidence): Discovery, now: SystemTime) -> Lookup {
        let is_final = |evidence: &Evidence| are_final(&evidence.source.version, now);
        match (&lookup, evidence.filter(is_final)) {
            (Lookup::Forbidden | Lookup::Unavailable, _) => {}
            (lookup, Some(evidence)) => self.cache.keep(key, lookup, evidence),
            (lookup, None) => self.cache.note(key, lookup),
        }
        self.release();
        lookup
    }

    /// Gives up the watches over what is no longer remembered.
    fn release(&mut self) {
        if let Some(watch) = &mut self.watch {
            for watched in self.cache.released() {
                watch.release(watched);
            }
        }
    }

    fn lookup(&self, target: &Target<'_>, now: SystemTime) -> Result<Discovery, Failure> {
        let path = target.path();
        if !self.options.hidden && is_hidden(&path) {
            return Ok((Lookup::Absent(None), None));
        }
        if !target.is_directory() {
            return Ok(match self.look(&path, now)? {
                Some(Entry::File { content, source }) => {
                    let found = found(&path, content, &source, now);
                    (found, Some(Evidence::new(Vec::new(), &path, source)))
                }
                Some(Entry::Directory) => (Lookup::Directory, None),
                Some(Entry::Special) | None => (Lookup::Absent(None), None),
            });
        }
        let mut absent = Vec::new();
        for index in &self.options.index {
            let path = join(&path, index);
            if let Some(Entry::File { content, source }) = self.look(&path, now)? {
                let found = found(&path, content, &source, now);
                return Ok((found, Some(Evidence::new(absent, &path, source))));
            }
            absent.push(path);
        }
        Ok((Lookup::Absent(None), None))
    }

    /// What is under a path; `None` if nothing is.
    fn look(&self, path: &[u8], now: SystemTime) -> Result<Option<Entry>, Failure> {
        match self.disk.look(path, now) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(Failure {
                path: path.to_vec(),
                error,
            }),
        }
    }

    /// What there is to say where nothing is. Failing to find the page for that is no reason to say
    /// anything else.
    fn absent(&mut self, now: SystemTime) -> Lookup {
        if let Some(lookup) = self.recall(NOT_FOUND, now) {
            return lookup;
        }
        let path = self.options.not_found.as_bytes();
        let discovery = match self.disk.look(path, now) {
            Ok(Entry::File { content, source }) => {
                // It is no representation of the target, so it has no validators.
                let mut page = Representation::new(content, &media_type(path));
                page.about.push("Cache-Control", "no-store");
                let page = Lookup::Absent(Some(Arc::new(page.into())));
                (page, Some(Evidence::new(Vec::new(), path, source)))
            }
            _ => (Lookup::Absent(None), None),
        };
        self.remember(NOT_FOUND, discovery, now)
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
    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        if let Some(lookup) = self.recall(target.raw(), now) {
            return lookup;
        }
        let discovery = match self.lookup(target, now) {
            Ok((Lookup::Absent(_), evidence)) => (self.absent(now), evidence),
            Ok(discovery) => discovery,
            Err(failure) => {
                self.tell(&failure, now);
                (failure.lookup(), None)
            }
        };
        self.remember(target.raw(), discovery, now)
    }

    fn doubt(&mut self, told: bool) {
        self.cache.doubt();
        if let Some(watch) = &mut self.watch
            && told
        {
            watch.listen(|told| self.cache.hear(told));
        }
    }
}

impl Evidence {
    fn new(absent: Vec<Vec<u8>>, path: &[u8], source: Source) -> Self {
        Self {
            absent,
            path: path.to_vec(),
            source,
        }
    }
}

/// Whether everything is still as it was when it was found.
fn holds(disk: &Disk, evidence: &Evidence) -> bool {
    let Evidence {
        absent,
        path,
        source,
    } = evidence;
    let is_absent = |path: &Vec<u8>| match disk.version(path) {
        Ok(version) => version.is_none(),
        Err(error) => is_absence(&error),
    };
    absent.iter().all(is_absent)
        && matches!(disk.version(path), Ok(Some(version)) if version == source.version)
}

/// Whether an error says that nothing is there. A name that nothing could have is a name that nothing has.
/// Sockets and some devices cannot be opened.
fn is_absence(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::NOENT
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::LOOP
                | Errno::INVAL
                | Errno::NXIO
                | Errno::NODEV,
        )
    )
}

/// What could not be looked up, and why.
struct Failure {
    path: Vec<u8>,
    error: io::Error,
}

impl Failure {
    fn lookup(&self) -> Lookup {
        match Errno::from_io_error(&self.error) {
            Some(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Lookup::Forbidden,
            _ => Lookup::Unavailable,
        }
    }
}

fn found(path: &[u8], content: Blob, source: &Source, now: SystemTime) -> Lookup {
    let validators = validators(&content, &source.version, now);
    let mut representation = Representation::new(content, &media_type(path));
    // Without it, whoever keeps a copy may guess how long it stays fresh (RFC 9111 section 4.2.2).
    representation.about.push("Cache-Control", "no-cache");
    Lookup::Found(Arc::new(representation.with(validators).into()))
}

/// Whether a segment begins with a dot, other than a leading `.well-known`.
fn is_hidden(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .enumerate()
        .any(|(place, segment)| segment.starts_with(b".") && !(place == 0 && segment == WELL_KNOWN))
}

fn join(folder: &[u8], name: &str) -> Vec<u8> {
    match folder {
        b"" => name.as_bytes().to_vec(),
        folder => [folder, b"/", name.as_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::UNIX_EPOCH;

    use super::super::disk::Symlinks;
    use super::*;
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
            Lookup::Absent(Some(page)) => format!("absent: {}", content(&page)),
            Lookup::Absent(None) => "absent".into(),
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
                    assert_eq!(found.about.as_str(), expected);
                    found.describing.as_str().to_owned()
                }
                other => panic!("{other:?}"),
            }
        };
        let check = |found: String, date: &str| {
            let expected =
                format!("X-Content-Type-Options: nosniff\r\n{date}Accept-Ranges: bytes\r\n");
            assert_eq!(found, expected);
        };
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let date = "Last-Modified: Thu, 01 Jan 1970 00:16:39 GMT\r\n";
        check(fields(at(999)), date);
        check(fields(at(1000)), "");
        let now = "Last-Modified: Thu, 01 Jan 1970 00:16:40 GMT\r\n";
        check(fields(at(5000)), now);
        check(fields(at(0) - Duration::from_secs(1)), "");
    }
}
