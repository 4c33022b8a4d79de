//! Where a site's policy is written: the files that it is read from, as often as it is asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::cache_control::CachePolicy;
use super::field::ConfiguredField;
use super::headers::HeaderRules;
use super::media::{MediaTypes, MediaTypesError};
use super::policy::Policy;
use super::redirects::RedirectRules;
use super::root::{self, Root, Symlinks};
use super::rules::RuleError;

/// The files in a root that have rules for it, as other hosts of sites know them.
const HEADERS_FILE: &str = "_headers";
const REDIRECTS_FILE: &str = "_redirects";

/// What a policy is made of: values that were given, and files that may change.
#[derive(Clone, Debug, Default)]
pub struct PolicySources {
    /// What the document root is called. It may lead elsewhere each time.
    pub root: PathBuf,
    /// A file of fields by path, with redirections in `_redirects` beside it. Otherwise both are looked for in the
    /// root.
    pub headers: Option<PathBuf>,
    /// Media types beyond those that are known, the last word first.
    pub media_types: Vec<MediaTypesInput>,
    /// Fields that go with every answer.
    pub fields: Vec<ConfiguredField>,
    /// How long answers may be kept.
    pub cache_policy: CachePolicy,
    /// Whether they are for some only.
    pub is_private: bool,
}

/// Where media types are said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaTypesInput {
    /// In a file in the format of Apache's mime.types.
    File(PathBuf),
    /// Here: `.ext=type/subtype`.
    Pair(String),
}

/// What was read, and what about it is to be said.
#[derive(Debug)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    /// The file of fields by path that it comes from, if there is one.
    pub headers: Option<PathBuf>,
    /// The file of redirections that it comes from, if there is one.
    pub redirects: Option<PathBuf>,
    /// What could not be read or understood of files that nobody named, and was left out: a sentence each, with the
    /// file, and the line if it was one.
    pub warnings: Vec<String>,
}

impl PolicySources {
    /// Reads all of them.
    ///
    /// # Errors
    /// A sentence for each thing that is wrong with a file that was named: file, line, and what to do.
    pub fn load(&self) -> Result<LoadedPolicy, Vec<String>> {
        // Its name may be given to another folder while this is read.
        let root = Root::open(&self.root, &Symlinks::Deny);
        let root = root.map_err(|(root, error)| vec![unreadable_error(&root, &error)])?;
        self.load_for(&root)
    }

    /// The same for a folder that the root's name leads to, or led to.
    pub(super) fn load_for(&self, root: &Root) -> Result<LoadedPolicy, Vec<String>> {
        let mut errors = Vec::new();
        let mut loaded = LoadedPolicy {
            policy: Policy {
                media_types: self.load_media_types().unwrap_or_else(|why| {
                    errors.extend(why);
                    MediaTypes::default()
                }),
                cache_policy: self.cache_policy,
                is_private: self.is_private,
                fields: HeaderRules::for_all_paths(self.fields.clone()),
                root: Some(root.id()),
                ..Policy::default()
            },
            headers: None,
            redirects: None,
            warnings: Vec::new(),
        };
        let [headers, redirects] = self.rules_paths(root.real_path());
        // Those of the root are nobody's to see, whether they are in force or not.
        for name in [HEADERS_FILE, REDIRECTS_FILE] {
            loaded.policy.rules_files.push(name.into());
        }
        match self.load_rules(root, &headers, HeaderRules::parse_lenient, &mut loaded) {
            Ok(None) => {}
            Ok(Some(rules)) => {
                loaded.policy.headers = rules;
                loaded.headers = Some(headers);
            }
            Err(why) => errors.extend(why),
        }
        match self.load_rules(root, &redirects, RedirectRules::parse_lenient, &mut loaded) {
            Ok(None) => {}
            Ok(Some(rules)) => {
                loaded.policy.redirects = rules;
                loaded.redirects = Some(redirects);
            }
            Err(why) => errors.extend(why),
        }
        match errors.is_empty() {
            true => Ok(loaded),
            false => Err(errors),
        }
    }

    /// Where rules are looked for if this is the root: the fields by path, and the redirections.
    #[must_use]
    pub fn rules_paths(&self, root: &Path) -> [PathBuf; 2] {
        let headers = match &self.headers {
            Some(file) => file.clone(),
            None => root.join(HEADERS_FILE),
        };
        let redirects = headers.with_file_name(REDIRECTS_FILE);
        [headers, redirects]
    }

    fn load_media_types(&self) -> Result<MediaTypes, Vec<String>> {
        let mut types = MediaTypes::default();
        for source in &self.media_types {
            match source {
                MediaTypesInput::File(file) => {
                    let text = root::read_rules_file(file)
                        .map_err(|error| vec![unreadable_error(file, &error)])?;
                    let text = String::from_utf8_lossy(&text);
                    let to_messages = |error: MediaTypesError| match error.line {
                        Some(line) => vec![format!("{}:{line}: {}", file.display(), error.reason)],
                        None => vec![format!("{}: {}", file.display(), error.reason)],
                    };
                    types.merge(MediaTypes::parse(&text).map_err(to_messages)?);
                }
                MediaTypesInput::Pair(pair) => {
                    let to_messages = |error: MediaTypesError| {
                        vec![format!("--mime-types {pair}: {}", error.reason)]
                    };
                    types.merge(MediaTypes::parse_pair(pair).map_err(to_messages)?);
                }
            }
        }
        Ok(types)
    }

    /// The rules in a file; `None` if there is none that anybody named.
    fn load_rules<T>(
        &self,
        root: &Root,
        file: &Path,
        read: impl FnOnce(&[u8]) -> (T, Vec<RuleError>),
        loaded: &mut LoadedPolicy,
    ) -> Result<Option<T>, Vec<String>> {
        // Where there is none, one may come before this is asked for again.
        for path in root::resolved_paths(file) {
            if let Ok(below) = path.strip_prefix(root.real_path()) {
                let below = below.as_os_str().as_encoded_bytes();
                loaded.policy.rules_files.push(below.to_vec());
            }
        }
        let is_named = self.headers.as_deref() == Some(file);
        let text = match file.file_name() {
            Some(name) if self.headers.is_none() => root.read_rules_file(Path::new(name)),
            _ => root::read_rules_file(file),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(None),
            Err(error) if self.headers.is_none() => {
                let file = file.display();
                loaded
                    .warnings
                    .push(format!("{file}: {error}; it is left out"));
                return Ok(None);
            }
            Err(error) => return Err(vec![unreadable_error(file, &error)]),
        };
        let (rules, malformed) = read(&text);
        if self.headers.is_some() && !malformed.is_empty() {
            return Err(error_lines(file, &malformed));
        }
        // A site that was built for another host may say what we do not know. The rest counts.
        let lines = error_lines(file, &malformed).into_iter();
        let left_out = lines.map(|line| line + "; this line is left out");
        loaded.warnings.extend(left_out);
        Ok(Some(rules))
    }
}

fn error_lines(file: &Path, malformed: &[RuleError]) -> Vec<String> {
    let format_error = |malformed| format!("{}:{malformed}", file.display());
    malformed.iter().map(format_error).collect()
}

fn unreadable_error(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}; name a file that can be read", file.display())
}
