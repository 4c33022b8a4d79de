//! The policy of a site: media types, response fields by path, caching, and redirects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::headers::{FieldChange, HeaderRules};
use super::policy_sources::{LoadedPolicy, PolicySources};
use super::redirects::{RedirectMatch, RedirectRules};
use crate::files::root::{DirId, Root};
use crate::http::{Fields, Target};
use crate::site::cache_control::CachePolicy;
use crate::site::names::media::{MediaTypes, OCTET_STREAM};
use crate::site::report::trace::TracedFieldChange;

/// Fields of every response unless the configuration overrides them. `nosniff` keeps browsers from guessing types: an
/// uploaded file must not become a script. The referrer policy discloses only the origin to other sites.
pub(crate) const DEFAULT_FIELDS: [(&str, &str); 2] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
];

const CONTENT_TYPE: &str = "Content-Type";
const CACHE_CONTROL: &str = "Cache-Control";

/// Configured rules for paths and for the responses to them.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Media types of files.
    pub media_types: MediaTypes,
    /// Cache-Control of files, by their names.
    pub cache_policy: CachePolicy,
    /// Whether responses need a password, so that shared caches must not store them.
    pub is_private: bool,
    /// Fields of every response. They replace default fields of the same name.
    pub fields: HeaderRules,
    /// Fields of responses by path (`_headers`).
    pub headers: HeaderRules,
    /// Redirects and rewrites (`_redirects`).
    pub redirects: RedirectRules,
    /// Root directory that these rules are for, by device and inode; `None` for any.
    pub root: Option<DirId>,
    /// Files below the root from which these rules were read, relative to it. They are not served.
    pub rules_files: Vec<Vec<u8>>,
}

/// Policy that all workers' sites share and that can be replaced at any time.
#[derive(Clone, Debug, Default)]
pub struct SharedPolicy(Arc<PolicyShared>);

#[derive(Debug, Default)]
struct PolicyShared {
    /// Sources from which the policy is reloaded.
    sources: Option<PolicySources>,
    policy: Mutex<Arc<Policy>>,
    /// Number of replacements.
    change_count: AtomicU64,
}

impl SharedPolicy {
    /// Creates a default policy with sources. They are not read here: load them, and [`replace`](Self::replace) the
    /// policy.
    #[must_use]
    pub fn from_sources(sources: PolicySources) -> Self {
        Self(Arc::new(PolicyShared {
            sources: Some(sources),
            ..PolicyShared::default()
        }))
    }

    /// Reloads the policy for a root directory; `None` if there are no sources.
    pub(crate) fn load_for(&self, root: &Root) -> Option<Result<LoadedPolicy, Vec<String>>> {
        let sources = self.0.sources.as_ref()?;
        Some(sources.load_for(root))
    }

    /// Replaces the policy. Each site takes it up before its next request.
    pub fn replace(&self, policy: Policy) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.0.change_count.fetch_add(1, Ordering::Release);
    }

    /// Returns the policy and the number of replacements.
    pub(crate) fn current(&self) -> (Arc<Policy>, u64) {
        let changes = self.change_count();
        let policy = self.0.policy.lock().unwrap_or_else(PoisonError::into_inner);
        (policy.clone(), changes)
    }

    /// Returns the number of replacements.
    pub(crate) fn change_count(&self) -> u64 {
        self.0.change_count.load(Ordering::Acquire)
    }
}

impl Policy {
    /// Whether rules are read from this path below the root.
    pub(crate) fn is_rules_file(&self, path: &[u8]) -> bool {
        self.rules_files.iter().any(|source| source == path)
    }

    /// Whether response fields depend on the path.
    pub(crate) fn has_path_rules(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Returns the redirect rule that matches a target.
    pub(crate) fn find_redirect(&self, target: &Target<'_>) -> Option<RedirectMatch> {
        match self.redirects.is_empty() {
            true => None,
            false => self.redirects.find(&rules_path(target), target.query()),
        }
    }

    /// Returns the fields of a file that is served under a path, Content-Type among them.
    pub(crate) fn file_fields(&self, rules_path: &[u8], file: &[u8]) -> Fields {
        let initial = Fields::new()
            .with(
                CACHE_CONTROL,
                self.cache_policy.cache_control(file, self.is_private).value,
            )
            .with(CONTENT_TYPE, self.media_types.media_type(file).value);
        self.apply_rules(Some(rules_path), initial)
    }

    /// Returns the fields of an error page of this media type. It is never stored: Cache-Control is `no-store` whatever
    /// the rules say.
    pub(crate) fn error_fields(&self, rules_path: Option<&[u8]>, media_type: &str) -> Fields {
        let initial = Fields::new().with(CONTENT_TYPE, media_type);
        let mut fields = self.apply_rules(rules_path, initial);
        fields.remove(CACHE_CONTROL);
        fields.with(CACHE_CONTROL, "no-store")
    }

    /// Returns the fields of a generated response.
    pub(crate) fn generated_fields(&self, rules_path: Option<&[u8]>) -> Fields {
        let mut fields = self.apply_rules(rules_path, Fields::new());
        fields.remove(CACHE_CONTROL);
        fields.remove(CONTENT_TYPE);
        fields
    }

    /// Returns the changes that the rules make to a response under a path, for a trace.
    pub(crate) fn traced_changes(&self, rules_path: Option<&[u8]>) -> Vec<TracedFieldChange> {
        let changed = |(change, is_by_path): (FieldChange<'_>, bool)| TracedFieldChange {
            name: change.name.as_str().to_owned(),
            value: change.value.as_deref().map(str::to_owned),
            // Fields of all responses are no lines of a file.
            lines: if is_by_path { change.lines } else { Vec::new() },
        };
        self.field_changes(rules_path).map(changed).collect()
    }

    /// Returns the changes that the rules make, in order, each with whether it depends on the path.
    fn field_changes(
        &self,
        rules_path: Option<&[u8]>,
    ) -> impl Iterator<Item = (FieldChange<'_>, bool)> {
        let global = self.fields.changes(b"/").into_iter();
        let by_path = rules_path.map(|rules_path| self.headers.changes(rules_path));
        let by_path = by_path.into_iter().flatten();
        let global = global.map(|change| (change, false));
        global.chain(by_path.map(|change| (change, true)))
    }

    /// Applies the rules to the default fields and `initial`.
    fn apply_rules(&self, rules_path: Option<&[u8]>, initial: Fields) -> Fields {
        let with = |fields: Fields, (name, value)| fields.with(name, value);
        let mut fields = DEFAULT_FIELDS.into_iter().fold(initial, with);
        for (change, _) in self.field_changes(rules_path) {
            change.apply(&mut fields);
        }
        fields
    }
}

/// Returns the value of Content-Type.
pub(crate) fn media_type(fields: &Fields) -> &str {
    let typed = fields.lines().find(|(name, _)| is_content_type(name));
    typed.map_or(OCTET_STREAM, |(_, media_type)| media_type)
}

pub(crate) fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE)
}

/// Returns a target's decoded path with its leading slash, and the trailing one if it has one.
pub(crate) fn rules_path(target: &Target<'_>) -> Vec<u8> {
    let path = target.path();
    let end: &[u8] = match target.is_directory() && !path.is_empty() {
        true => b"/",
        false => b"",
    };
    [b"/", &*path, end].concat()
}
