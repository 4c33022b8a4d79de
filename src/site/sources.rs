//! Where a site's policy is written: the files that it is read from, as often as it is asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::caching::Caching;
use super::disk::{self, Disk, Symlinks};
use super::field::Field;
use super::headers::Headers;
use super::media::{MalformedTypes, Types};
use super::policy::Policy;
use super::redirects::Redirects;
use super::rules::Malformed;

/// The files in a root that have rules for it, as other hosts of sites know them.
const HEADERS: &str = "_headers";
const REDIRECTS: &str = "_redirects";

/// What a policy is made of: values that were given, and files that may change.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// What the document root is called. It may lead elsewhere each time.
    pub root: PathBuf,
    /// A file of fields by path, with redirections in `_redirects` beside it. Otherwise both are looked for in the
    /// root.
    pub headers: Option<PathBuf>,
    /// Media types beyond those that are known, the last word first.
    pub types: Vec<TypeSource>,
    /// Fields that go with every answer.
    pub fields: Vec<Field>,
    /// How long answers may be kept.
    pub caching: Caching,
    /// Whether they are for some only.
    pub is_private: bool,
}

/// Where media types are said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeSource {
    /// In a file in the format of Apache's mime.types.
    File(PathBuf),
    /// Here: `.ext=type/subtype`.
    Pair(String),
}

/// What was read, and what about it is to be said.
#[derive(Debug)]
pub struct Reading {
    /// The policy.
    pub policy: Policy,
    /// The file of fields by path that it comes from, if there is one.
    pub headers: Option<PathBuf>,
    /// The file of redirections that it comes from, if there is one.
    pub redirects: Option<PathBuf>,
    /// What could not be read or understood of files that nobody named, and was left out: a sentence each, with the
    /// file, and the line if it was one.
    pub left_out: Vec<String>,
}

impl Sources {
    /// Reads all of them.
    ///
    /// # Errors
    /// A sentence for each thing that is wrong with a file that was named: file, line, and what to do.
    pub fn read(&self) -> Result<Reading, Vec<String>> {
        // Its name may be given to another folder while this is read.
        let disk = Disk::open(&self.root, &Symlinks::Deny);
        let disk = disk.map_err(|(root, error)| vec![unreadable(&root, &error)])?;
        self.read_for(&disk)
    }

    /// The same for a folder that the root's name leads to, or led to.
    pub(super) fn read_for(&self, disk: &Disk) -> Result<Reading, Vec<String>> {
        let mut wrong = Vec::new();
        let mut reading = Reading {
            policy: Policy {
                types: self.types().unwrap_or_else(|why| {
                    wrong.extend(why);
                    Types::default()
                }),
                caching: self.caching,
                is_private: self.is_private,
                fields: Headers::everywhere(self.fields.clone()),
                root: Some(disk.identity()),
                ..Policy::default()
            },
            headers: None,
            redirects: None,
            left_out: Vec::new(),
        };
        let [headers, redirects] = self.rules_for(disk.path());
        // Those of the root are nobody's to see, whether they are in force or not.
        for name in [HEADERS, REDIRECTS] {
            reading.policy.sources.push(name.into());
        }
        match self.rules(disk, &headers, Headers::read, &mut reading) {
            Ok(None) => {}
            Ok(Some(rules)) => {
                reading.policy.headers = rules;
                reading.headers = Some(headers);
            }
            Err(why) => wrong.extend(why),
        }
        match self.rules(disk, &redirects, Redirects::read, &mut reading) {
            Ok(None) => {}
            Ok(Some(rules)) => {
                reading.policy.redirects = rules;
                reading.redirects = Some(redirects);
            }
            Err(why) => wrong.extend(why),
        }
        match wrong.is_empty() {
            true => Ok(reading),
            false => Err(wrong),
        }
    }

    /// Where rules are looked for if this is the root: the fields by path, and the redirections.
    #[must_use]
    pub fn rules_for(&self, root: &Path) -> [PathBuf; 2] {
        let headers = match &self.headers {
            Some(file) => file.clone(),
            None => root.join(HEADERS),
        };
        let redirects = headers.with_file_name(REDIRECTS);
        [headers, redirects]
    }

    fn types(&self) -> Result<Types, Vec<String>> {
        let mut types = Types::default();
        for source in &self.types {
            match source {
                TypeSource::File(file) => {
                    let text = disk::text(file).map_err(|error| vec![unreadable(file, &error)])?;
                    let text = String::from_utf8_lossy(&text);
                    let wrong = |wrong: MalformedTypes| match wrong.line {
                        Some(line) => vec![format!("{}:{line}: {}", file.display(), wrong.why)],
                        None => vec![format!("{}: {}", file.display(), wrong.why)],
                    };
                    types.add(Types::read(&text).map_err(wrong)?);
                }
                TypeSource::Pair(pair) => {
                    let wrong =
                        |wrong: MalformedTypes| vec![format!("--mime-types {pair}: {}", wrong.why)];
                    types.add(Types::read_pair(pair).map_err(wrong)?);
                }
            }
        }
        Ok(types)
    }

    /// The rules in a file; `None` if there is none that anybody named.
    fn rules<T>(
        &self,
        disk: &Disk,
        file: &Path,
        read: impl FnOnce(&[u8]) -> (T, Vec<Malformed>),
        reading: &mut Reading,
    ) -> Result<Option<T>, Vec<String>> {
        // Where there is none, one may come before this is asked for again.
        for place in disk::places(file) {
            if let Ok(below) = place.strip_prefix(disk.path()) {
                let below = below.as_os_str().as_encoded_bytes();
                reading.policy.sources.push(below.to_vec());
            }
        }
        let is_named = self.headers.as_deref() == Some(file);
        let text = match file.file_name() {
            Some(name) if self.headers.is_none() => disk.text(Path::new(name)),
            _ => disk::text(file),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(None),
            Err(error) if self.headers.is_none() => {
                let file = file.display();
                reading
                    .left_out
                    .push(format!("{file}: {error}; it is left out"));
                return Ok(None);
            }
            Err(error) => return Err(vec![unreadable(file, &error)]),
        };
        let (rules, malformed) = read(&text);
        if self.headers.is_some() && !malformed.is_empty() {
            return Err(said(file, &malformed));
        }
        // A site that was built for another host may say what we do not know. The rest counts.
        let lines = said(file, &malformed).into_iter();
        let left_out = lines.map(|line| line + "; this line is left out");
        reading.left_out.extend(left_out);
        Ok(Some(rules))
    }
}

fn said(file: &Path, malformed: &[Malformed]) -> Vec<String> {
    let said = |malformed| format!("{}:{malformed}", file.display());
    malformed.iter().map(said).collect()
}

fn unreadable(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}; name a file that can be read", file.display())
}
