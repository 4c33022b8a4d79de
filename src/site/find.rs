//! A target's resource, from the folder.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use tracing::warn;

use super::disk::{Disk, Entry, Found, Link};
use super::media::media_type;
use super::validators::validators;
use crate::blob::{Blob, Version};
use crate::http::{Lookup, Origin, Representation, Resource, Target};

/// The folder that may be asked for although its name begins with a dot (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// How a folder is turned into a site. Names are relative to the root.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a folder shows: the first of these that is there.
    pub index: Vec<String>,
    /// What is shown with status 404, if it is there.
    pub not_found: String,
    /// Whether names that begin with a dot are shown.
    pub hidden: bool,
}

impl Default for Options {
    /// `index.html`, `404.html`, nothing hidden shown.
    fn default() -> Self {
        Self {
            index: vec!["index.html".into()],
            not_found: "404.html".into(),
            hidden: false,
        }
    }
}

/// A folder, served: an origin.
#[derive(Debug)]
pub struct Site {
    disk: Disk,
    options: Options,
    /// When a failure was last told, and how many were not told since.
    told: (Option<SystemTime>, u64),
}

impl Site {
    /// The folder behind this door.
    #[must_use]
    pub fn new(disk: Disk, options: Options) -> Self {
        Self {
            disk,
            options,
            told: (None, 0),
        }
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

    fn lookup(&self, target: &Target<'_>, now: SystemTime) -> Result<Lookup, Failure> {
        if !self.options.hidden && is_hidden(target) {
            return Ok(Lookup::Absent(None));
        }
        if !target.is_directory() {
            return Ok(match self.look(target.path(), now)? {
                Some(Entry::File { content, version }) => {
                    found(target.path(), content, &version, now)
                }
                Some(Entry::Directory) => Lookup::Directory,
                Some(Entry::Special) | None => Lookup::Absent(None),
            });
        }
        for index in &self.options.index {
            let path = join(target.path(), index);
            if let Some(Entry::File { content, version }) = self.look(&path, now)? {
                return Ok(found(&path, content, &version, now));
            }
        }
        Ok(Lookup::Absent(None))
    }

    /// What is under a path; `None` if nothing is.
    fn look(&self, path: &[u8], now: SystemTime) -> Result<Option<Entry>, Failure> {
        match self.disk.look(path, now) {
            Ok(entry) => Ok(Some(entry)),
            Err(error) => match Errno::from_io_error(&error) {
                // A name that nothing could have is a name that nothing has. Sockets and some devices
                // cannot be opened.
                Some(
                    Errno::NOENT
                    | Errno::NOTDIR
                    | Errno::NAMETOOLONG
                    | Errno::LOOP
                    | Errno::INVAL
                    | Errno::NXIO
                    | Errno::NODEV,
                ) => Ok(None),
                _ => Err(Failure {
                    path: path.to_vec(),
                    error,
                }),
            },
        }
    }

    /// The page for what is absent. Failing to find it is no reason to say anything else.
    fn not_found_page(&self, now: SystemTime) -> Option<Arc<Resource>> {
        match self.disk.look(self.options.not_found.as_bytes(), now) {
            Ok(Entry::File { content, .. }) => {
                // It is no representation of the target, so it has no validators.
                let media_type = media_type(self.options.not_found.as_bytes());
                let mut page = Representation::new(content, &media_type);
                page.about.push("Cache-Control", "no-store");
                Some(Arc::new(page.into()))
            }
            _ => None,
        }
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
        match self.lookup(target, now) {
            Ok(Lookup::Absent(_)) => Lookup::Absent(self.not_found_page(now)),
            Ok(lookup) => lookup,
            Err(failure) => {
                self.tell(&failure, now);
                failure.lookup()
            }
        }
    }
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

fn found(path: &[u8], content: Blob, version: &Version, now: SystemTime) -> Lookup {
    let validators = validators(&content, version, now);
    let mut representation = Representation::new(content, &media_type(path));
    // Without it, whoever keeps a copy may guess how long it stays fresh (RFC 9111 section 4.2.2).
    representation.about.push("Cache-Control", "no-cache");
    Lookup::Found(Arc::new(representation.with(validators).into()))
}

/// Whether a segment begins with a dot, other than a leading `.well-known`.
fn is_hidden(target: &Target<'_>) -> bool {
    target
        .segments()
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
