//! The sources of a site's policy: given values, and the files that each load reads again.

use std::io;
use std::path::{Path, PathBuf};

use super::field::ConfiguredField;
use super::headers::HeaderRules;
use super::path_rules::RuleError;
use super::policy::Policy;
use super::redirects::RedirectRules;
use crate::files::read::read_whole_file;
use crate::files::root::{Root, Symlinks};
use crate::files::symlinks::resolved_paths;
use crate::site::names::cache_policy::CachePolicy;
use crate::site::names::media::{MediaTypes, MediaTypesError};

/// Rule files in a root directory, in the formats of Netlify and Cloudflare Pages.
const HEADERS_FILE: &str = "_headers";
const REDIRECTS_FILE: &str = "_redirects";

/// Sources of a policy: given values, and files that may change.
#[derive(Clone, Debug, Default)]
pub struct PolicySources {
    /// Configured path of the document root. It may resolve to another directory each time.
    pub root: PathBuf,
    /// File of fields by path, with `_redirects` beside it. If `None`, both are looked for in the root.
    pub headers: Option<PathBuf>,
    /// Additional media types; later ones take precedence.
    pub media_types: Vec<MediaTypesInput>,
    /// Fields of every response.
    pub fields: Vec<ConfiguredField>,
    /// Cache-Control of files.
    pub cache_policy: CachePolicy,
    /// Whether responses need a password.
    pub is_private: bool,
}

/// Source of media types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaTypesInput {
    /// File in the format of Apache's mime.types.
    File(PathBuf),
    /// Types themselves.
    Types(MediaTypes),
}

/// Policy that was loaded, the files it comes from, and warnings about them.
#[derive(Debug)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    /// File of fields by path, if one was read.
    pub headers: Option<PathBuf>,
    /// File of redirects, if one was read.
    pub redirects: Option<PathBuf>,
    /// Errors in the root's own rule files, which are skipped: one sentence each, with the file, and the line if the
    /// error is in one.
    pub warnings: Vec<String>,
}

impl PolicySources {
    /// Reads all sources.
    ///
    /// # Errors
    /// Returns one sentence for each error in a configured file: file, line, and what to do.
    pub fn load(&self) -> Result<LoadedPolicy, Vec<String>> {
        // Open the root once: its path may resolve to another directory while the files are read.
        let root = Root::open(&self.root, &Symlinks::Deny);
        let root = root.map_err(|(root, error)| vec![unreadable_error(&root, &error)])?;
        self.load_for(&root)
    }

    /// Reads all sources for a directory to which the root path resolves, or did before.
    pub(crate) fn load_for(&self, root: &Root) -> Result<LoadedPolicy, Vec<String>> {
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
        // The root's rule files are never served, whether they are in force or not.
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

    /// Returns the paths of the rule files for a root directory: fields by path, and redirects.
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
                    let text = read_whole_file(file)
                        .map_err(|error| vec![unreadable_error(file, &error)])?;
                    let to_messages = |error: MediaTypesError| match error.line {
                        Some(line) => vec![format!("{}:{line}: {}", file.display(), error.reason)],
                        None => vec![format!("{}: {}", file.display(), error.reason)],
                    };
                    types.merge(MediaTypes::parse(&text).map_err(to_messages)?);
                }
                MediaTypesInput::Types(given) => types.merge(given.clone()),
            }
        }
        Ok(types)
    }

    /// Reads the rules in a file; `None` if the file is missing and was not configured.
    fn load_rules<T>(
        &self,
        root: &Root,
        file: &Path,
        read: impl FnOnce(&[u8]) -> (T, Vec<RuleError>),
        loaded: &mut LoadedPolicy,
    ) -> Result<Option<T>, Vec<String>> {
        // A missing file is hidden, too: it may be created before the next load.
        for path in resolved_paths(file) {
            if let Ok(below) = path.strip_prefix(root.real_path()) {
                let below = below.as_os_str().as_encoded_bytes();
                loaded.policy.rules_files.push(below.to_vec());
            }
        }
        let is_configured = self.headers.as_deref() == Some(file);
        let text = match file.file_name() {
            Some(name) if self.headers.is_none() => root.read_whole_file(Path::new(name)),
            _ => read_whole_file(file),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_configured => {
                return Ok(None);
            }
            Err(error) if self.headers.is_none() => {
                let file = file.display();
                loaded
                    .warnings
                    .push(format!("{file}: {error}; the file is ignored"));
                return Ok(None);
            }
            Err(error) => return Err(vec![unreadable_error(file, &error)]),
        };
        let (rules, malformed) = read(&text);
        if self.headers.is_some() && !malformed.is_empty() {
            return Err(error_lines(file, &malformed));
        }
        // A site that was built for another host may use syntax that docroot does not know. The other lines apply.
        for (error, text) in malformed.iter().zip(error_lines(file, &malformed)) {
            let what = if error.line == 0 {
                "the file"
            } else {
                "this line"
            };
            loaded.warnings.push(format!("{text}; {what} is ignored"));
        }
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
