//! A trace of a lookup: the events from which `docroot explain` says why a target gets its response.

use std::sync::{Arc, Mutex, PoisonError};

use crate::files::root::Symlink;
use crate::http::Coding;
use crate::site::cache_control::CacheControl;
use crate::site::names::media::MediaType;
use crate::site::rules::redirects::RedirectMatch;

/// Events that a site records, in order. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<TraceEvent>>>);

/// Event of a lookup. Paths are relative to the root, without leading or trailing slash.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// Target that does not begin with the path prefix.
    OutsidePrefix,
    /// Path that is not served, whether or not it exists.
    Hidden(Vec<u8>, HiddenReason),
    /// Path that was opened, and the result.
    Probed(Vec<u8>, ProbeResult),
    /// Sidecar of the file: its length in bytes, or the reason why it is not served.
    Sidecar(Vec<u8>, Coding, Result<u64, &'static str>),
    /// Redirect rule that matches the path, and whether it applies. Without `!` it does not if a file was found.
    Redirect(RedirectMatch, bool),
    /// Whether the target may get the SPA fallback page, and the reason why not.
    SpaRoute(Result<(), &'static str>),
    /// File that is served.
    Chosen(ChosenFile),
    /// Changes that rules make to the fields of the response.
    FieldChanges(ResponseRole, Vec<TracedFieldChange>),
}

/// Reason why a path is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenReason {
    /// Path with a name that begins with a dot.
    Dotfile,
    /// File from which rules are read.
    RulesFile,
}

/// Result of opening a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// FIFO, socket or device.
    Special,
    /// No entry of that name.
    Missing,
    /// Path through a symbolic link to a place that is not allowed, and that link if it still exists.
    OutsideRoot(Option<Symlink>),
    /// Path that cannot be opened or read, and the error.
    Failed(String),
}

/// Kind of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseRole {
    /// File that the target names.
    File,
    /// Page for status 404.
    NotFound,
    /// SPA fallback page.
    SpaFallback,
    /// Response that is not a file of the site: an error, a redirect, a listing.
    Generated,
}

/// File that is served.
#[derive(Clone, Debug)]
pub struct ChosenFile {
    /// Kind of the response.
    pub role: ResponseRole,
    /// Path relative to the root.
    pub path: Vec<u8>,
    /// Length in bytes, without a content coding.
    pub len: u64,
    /// Symbolic links on its path.
    pub symlinks: Vec<Symlink>,
    /// Media type, before any rule.
    pub media_type: MediaType,
    /// Cache-Control, before any rule; `None` for an error page.
    pub cache_control: Option<CacheControl>,
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

impl Trace {
    /// Returns all events so far.
    #[must_use]
    pub fn events(&self) -> Vec<TraceEvent> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn record(&self, event: TraceEvent) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }
}
