//! What applies to some addresses, or to all: which fields go with an answer, and where it is to be had instead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache_control::CachePolicy;
use super::headers::{FieldChange, HeaderRules};
use super::media::{MediaTypes, OCTET_STREAM};
use super::policy_sources::{LoadedPolicy, PolicySources};
use super::redirects::{RedirectMatch, RedirectRules};
use super::root::{DirId, Root};
use super::trace::TracedFieldChange;
use crate::http::{Fields, Target};

/// What goes with every answer, unless something else was asked for: no guessing of types (a script is not to be
/// made of what somebody has uploaded), and, of where a link was, no more than its origin to others.
pub(super) const DEFAULT_FIELDS: [(&str, &str); 2] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
];

const CONTENT_TYPE: &str = "Content-Type";
const CACHE_CONTROL: &str = "Cache-Control";

/// What was asked for, of addresses and of their answers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Which media type a file has.
    pub media_types: MediaTypes,
    /// How long an answer may be kept by who gets it.
    pub cache_policy: CachePolicy,
    /// Whether answers are for those only who have a password.
    pub is_private: bool,
    /// Fields that go with every answer, in place of ours of the same name.
    pub fields: HeaderRules,
    /// Fields that go with answers by their path.
    pub headers: HeaderRules,
    /// Where what is not here is to be had.
    pub redirects: RedirectRules,
    /// Which folder they are for: device and inode; `None` for any.
    pub root: Option<DirId>,
    /// The files in the root that these rules come from: they are not shown. Names relative to the root.
    pub rules_files: Vec<Vec<u8>>,
}

/// A policy that can be changed while it is in force, for all workers' sites.
#[derive(Clone, Debug, Default)]
pub struct SharedPolicy(Arc<PolicyShared>);

#[derive(Debug, Default)]
struct PolicyShared {
    /// What it can be read from again.
    sources: Option<PolicySources>,
    policy: Mutex<Arc<Policy>>,
    /// How often it has changed.
    change_count: AtomicU64,
}

impl SharedPolicy {
    /// One that is in force when it has been read, and [given](Self::replace).
    #[must_use]
    pub fn from_sources(sources: PolicySources) -> Self {
        Self(Arc::new(PolicyShared {
            sources: Some(sources),
            ..PolicyShared::default()
        }))
    }

    /// Reads it anew for this folder; `None` if there is nothing to read it from.
    pub(super) fn load_for(&self, root: &Root) -> Option<Result<LoadedPolicy, Vec<String>>> {
        let sources = self.0.sources.as_ref()?;
        Some(sources.load_for(root))
    }

    /// Another one, from now on: each site takes it up before the next request that it is asked.
    pub fn replace(&self, policy: Policy) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.0.change_count.fetch_add(1, Ordering::Release);
    }

    /// The policy, and how often it has changed.
    pub(super) fn current(&self) -> (Arc<Policy>, u64) {
        let changes = self.change_count();
        let policy = self.0.policy.lock().unwrap_or_else(PoisonError::into_inner);
        (policy.clone(), changes)
    }

    /// How often it has changed.
    pub(super) fn change_count(&self) -> u64 {
        self.0.change_count.load(Ordering::Acquire)
    }
}

impl Policy {
    /// Whether rules come from this file of the root.
    pub(super) fn is_rules_file(&self, path: &[u8]) -> bool {
        self.rules_files.iter().any(|source| source == path)
    }

    /// Whether some answers are unlike others for where they lie.
    pub(super) fn has_path_rules(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Where a target is to be had by rule.
    pub(super) fn find_redirect(&self, target: &Target<'_>) -> Option<RedirectMatch> {
        match self.redirects.is_empty() {
            true => None,
            false => self.redirects.find(&rules_path(target), target.query()),
        }
    }

    /// The fields that go with a file under an address, its type among them.
    pub(super) fn file_fields(&self, rules_path: &[u8], file: &[u8]) -> Fields {
        let initial = Fields::new()
            .with(
                CACHE_CONTROL,
                self.cache_policy.cache_control(file, self.is_private).value,
            )
            .with(CONTENT_TYPE, self.media_types.media_type(file).value);
        self.apply_rules(Some(rules_path), initial)
    }

    /// The fields that go with a page that says what went wrong, and has this type: it is not to be kept, whatever else
    /// is.
    pub(super) fn error_fields(&self, rules_path: Option<&[u8]>, media_type: &str) -> Fields {
        let initial = Fields::new().with(CONTENT_TYPE, media_type);
        let mut fields = self.apply_rules(rules_path, initial);
        fields.remove(CACHE_CONTROL);
        fields.with(CACHE_CONTROL, "no-store")
    }

    /// The fields that go with an answer that is none of the site's.
    pub(super) fn generated_fields(&self, rules_path: Option<&[u8]>) -> Fields {
        let mut fields = self.apply_rules(rules_path, Fields::new());
        fields.remove(CACHE_CONTROL);
        fields.remove(CONTENT_TYPE);
        fields
    }

    /// What the rules change about the fields of an answer under an address, in words.
    pub(super) fn traced_changes(&self, rules_path: Option<&[u8]>) -> Vec<TracedFieldChange> {
        let changed = |(change, is_by_path): (FieldChange<'_>, bool)| TracedFieldChange {
            name: change.name.as_str().to_owned(),
            value: change.value.as_deref().map(str::to_owned),
            // Those of all answers are no lines of a file.
            lines: if is_by_path { change.lines } else { Vec::new() },
        };
        self.field_changes(rules_path).map(changed).collect()
    }

    /// The changes that rules make, in order, and whether it is for where the address lies.
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

    /// What the rules make of these and of our own.
    fn apply_rules(&self, rules_path: Option<&[u8]>, initial: Fields) -> Fields {
        let with = |fields: Fields, (name, value)| fields.with(name, value);
        let mut fields = DEFAULT_FIELDS.into_iter().fold(initial, with);
        for (change, _) in self.field_changes(rules_path) {
            change.apply(&mut fields);
        }
        fields
    }
}

/// The media type that is among these fields.
pub(super) fn media_type(fields: &Fields) -> &str {
    let typed = fields.lines().find(|(name, _)| is_content_type(name));
    typed.map_or(OCTET_STREAM, |(_, media_type)| media_type)
}

pub(super) fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE)
}

/// A target's decoded path, with the slash that it begins with, and the one at its end.
pub(super) fn rules_path(target: &Target<'_>) -> Vec<u8> {
    let path = target.path();
    let end: &[u8] = match target.is_directory() && !path.is_empty() {
        true => b"/",
        false => b"",
    };
    [b"/", &*path, end].concat()
}
