//! The policy of a site: media types, response fields by path, caching, and redirects.

use std::cell::OnceCell;

use super::headers::{FieldChange, HeaderRules};
use super::redirects::{RedirectMatch, RedirectRules};
use crate::files::dir::DirId;
use crate::http::{Coding, Fields};
use crate::site::names::cache_policy::{CacheControl, CachePolicy};
use crate::site::names::media::{MediaType, MediaTypes, OCTET_STREAM};
use crate::site::place::Place;

/// Fields of every response unless the configuration overrides them. `nosniff` keeps browsers from guessing types: an
/// uploaded file must not become a script. The referrer policy discloses only the origin to other sites.
pub(crate) const DEFAULT_FIELDS: [(&str, &str); 2] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
];

const CONTENT_TYPE: &str = "Content-Type";
const CONTENT_ENCODING: &str = "Content-Encoding";
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

/// Change to a field of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedFieldChange {
    /// Field name.
    pub name: String,
    /// New value; `None` if the field is removed.
    pub value: Option<String>,
    /// Lines in the file of fields by path; none if the change is configured for all responses.
    pub lines: Vec<usize>,
}

/// Policy at one path. The rules are matched once, when the first field is needed.
#[derive(Debug)]
pub(crate) struct PathPolicy<'p> {
    policy: &'p Policy,
    /// Decoded path with its leading slash; `None` for a response without a path.
    rules_path: Option<&'p [u8]>,
    /// Changes to the fields of all paths, and those to the fields of this path.
    changes: OnceCell<(Vec<FieldChange<'p>>, Vec<FieldChange<'p>>)>,
}

impl Policy {
    /// Whether rules are read from this path below the root.
    pub(crate) fn is_rules_file(&self, path: &[u8]) -> bool {
        self.rules_files.iter().any(|source| source == path)
    }

    /// Returns the redirect rule that matches a place.
    pub(crate) fn find_redirect(&self, place: &Place<'_>) -> Option<RedirectMatch> {
        match self.redirects.is_empty() {
            true => None,
            false => self.redirects.find(place.rules_path(), place.query()),
        }
    }

    /// Returns the policy at a path, or that of responses without a path.
    pub(crate) fn at<'p>(&'p self, rules_path: Option<&'p [u8]>) -> PathPolicy<'p> {
        PathPolicy {
            policy: self,
            rules_path,
            changes: OnceCell::new(),
        }
    }
}

impl PathPolicy<'_> {
    /// Whether response fields depend on the path.
    pub(crate) fn has_path_rules(&self) -> bool {
        !self.policy.headers.is_empty()
    }

    /// Returns the media type of a file, before any rule.
    pub(crate) fn media_type(&self, file: &[u8]) -> MediaType {
        self.policy.media_types.media_type(file)
    }

    /// Returns the Cache-Control of a file, before any rule.
    pub(crate) fn cache_control(&self, file: &[u8]) -> CacheControl {
        let Policy {
            cache_policy,
            is_private,
            ..
        } = self.policy;
        cache_policy.cache_control(file, *is_private)
    }

    /// Returns the fields of a file, Content-Type among them, and Content-Encoding if a rule says the file's own coding.
    pub(crate) fn file_fields(&self, file: &[u8]) -> Fields {
        let initial = Fields::new()
            .with(CACHE_CONTROL, self.cache_control(file).value)
            .with(CONTENT_TYPE, self.media_type(file).value);
        self.apply(initial)
    }

    /// Returns the fields of an error page of this media type. It is never stored: Cache-Control is `no-store` whatever
    /// the rules say.
    pub(crate) fn error_fields(&self, media_type: &str) -> Fields {
        let mut fields = self.apply(Fields::new().with(CONTENT_TYPE, media_type));
        fields.remove(CACHE_CONTROL);
        fields.remove(CONTENT_ENCODING);
        fields.with(CACHE_CONTROL, "no-store")
    }

    /// Returns the fields of a generated response.
    pub(crate) fn generated_fields(&self) -> Fields {
        let mut fields = self.apply(Fields::new());
        fields.remove(CACHE_CONTROL);
        fields.remove(CONTENT_TYPE);
        fields.remove(CONTENT_ENCODING);
        fields
    }

    /// Returns the changes that the rules make to a response, for a trace.
    pub(crate) fn traced_changes(&self) -> Vec<TracedFieldChange> {
        let (global, by_path) = self.changes();
        let traced = |change: &FieldChange<'_>, lines: Vec<usize>| TracedFieldChange {
            name: change.name.as_str().to_owned(),
            value: change.value.as_deref().map(str::to_owned),
            lines,
        };
        // Fields of all responses are no lines of a file.
        let global = global.iter().map(|change| traced(change, Vec::new()));
        let by_path = by_path
            .iter()
            .map(|change| traced(change, change.lines.clone()));
        global.chain(by_path).collect()
    }

    /// Applies the rules to the default fields and `initial`.
    fn apply(&self, initial: Fields) -> Fields {
        let with = |fields: Fields, (name, value)| fields.with(name, value);
        let mut fields = DEFAULT_FIELDS.into_iter().fold(initial, with);
        let (global, by_path) = self.changes();
        for change in global.iter().chain(by_path) {
            change.apply(&mut fields);
        }
        fields
    }

    /// Returns the changes that the rules make, in order: those of all paths, then those of this one.
    fn changes(&self) -> &(Vec<FieldChange<'_>>, Vec<FieldChange<'_>>) {
        self.changes.get_or_init(|| {
            let headers = &self.policy.headers;
            let by_path = self.rules_path.map(|path| headers.changes(path));
            (
                self.policy.fields.changes(b"/"),
                by_path.unwrap_or_default(),
            )
        })
    }
}

/// Returns the value of Content-Type.
pub(crate) fn media_type(fields: &Fields) -> &str {
    let typed = fields.lines().find(|(name, _)| is_content_type(name));
    typed.map_or(OCTET_STREAM, |(_, media_type)| media_type)
}

/// Returns the coding that a rule says a file itself is in.
pub(crate) fn own_coding(fields: &Fields) -> Option<Coding> {
    let encoded = fields.lines().find(|(name, _)| is_content_encoding(name));
    encoded.and_then(|(_, value)| Coding::of_field_value(value))
}

pub(crate) fn is_content_encoding(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_ENCODING)
}

pub(crate) fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE)
}
