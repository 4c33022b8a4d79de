//! A trace of a lookup: the events from which `docroot explain` says why a target gets its response.

use std::sync::{Arc, Mutex};

use super::absence::Absence;
use crate::files::Symlink;
use crate::http::Coding;
use crate::site::names::cache_policy::CacheControl;
use crate::site::names::media::MediaType;
use crate::site::rules::policy::TracedFieldChange;
use crate::site::rules::redirects::RedirectMatch;
use crate::sync::lock;

/// Events that a site records, in order. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<TraceEvent>>>);

/// Event of a lookup. Paths are relative to the root, without leading or trailing slash.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// Path that is not served, whether or not it exists, and the reason.
    Absent(Vec<u8>, Absence),
    /// Path that was opened, and the result.
    Probed(Vec<u8>, ProbeResult),
    /// Index file that is served for its directory.
    IndexFile(Vec<u8>),
    /// File that is served for its path without `.html`.
    CleanUrl(Vec<u8>),
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

impl Trace {
    /// Returns all events so far.
    #[must_use]
    pub fn events(&self) -> Vec<TraceEvent> {
        lock(&self.0).clone()
    }

    pub(crate) fn record(&self, event: TraceEvent) {
        let mut events = lock(&self.0);
        events.push(event);
    }
}
