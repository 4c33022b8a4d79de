//! What was seen on the way to an answer, for who asks why it is that one.

use std::sync::{Arc, Mutex, PoisonError};

use super::cache_control::CacheControl;
use super::media::MediaType;
use super::redirects::RedirectMatch;
use super::root::Symlink;
use crate::http::Coding;

/// Notes that a site takes, in the order in which it sees things.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<TraceEvent>>>);

/// Something that was seen or decided. Paths are below the root, without a slash at either end.
#[derive(Clone, Debug)]
pub enum TraceEvent {
    /// The address does not begin with the prefix that all have.
    OutsidePrefix,
    /// What is under this path is not shown, whatever it is.
    Hidden(Vec<u8>, HiddenReason),
    /// A file or folder was looked for.
    Probed(Vec<u8>, ProbeResult),
    /// What stands beside the file, with a coding: its length in bytes, or why it is not taken for it.
    Sidecar(Vec<u8>, Coding, Result<u64, &'static str>),
    /// A rule about the address, and whether it counts. It does not where something was found.
    Redirect(RedirectMatch, bool),
    /// Whether the address may be one that only a page's script knows, and why it may not.
    SpaRoute(Result<(), &'static str>),
    /// A file that is to be sent.
    Chosen(ChosenFile),
    /// What rules change about the fields of an answer.
    FieldChanges(ResponseRole, Vec<TracedFieldChange>),
}

/// Why something is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenReason {
    /// A name in its path begins with a dot.
    Dotfile,
    /// Rules are read from it.
    RulesFile,
}

/// What was under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A FIFO, a socket, a device.
    Special,
    /// Nothing.
    Missing,
    /// Something behind a link that leads where none may; and that link, if it still is there.
    OutsideRoot(Option<Symlink>),
    /// Something that cannot be opened or read, and why.
    Failed(String),
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseRole {
    /// What is under the address.
    File,
    /// The page for what is absent.
    NotFound,
    /// The page whose script knows the way.
    SpaFallback,
    /// None of the site's: a refusal, a redirection, a listing.
    Generated,
}

/// A file that is to be sent.
#[derive(Clone, Debug)]
pub struct ChosenFile {
    /// As what.
    pub role: ResponseRole,
    /// Its path.
    pub path: Vec<u8>,
    /// Its length in bytes, without a coding.
    pub len: u64,
    /// The symbolic links on the way to it.
    pub symlinks: Vec<Symlink>,
    /// Its type, before any rule.
    pub media_type: MediaType,
    /// How long it may be kept, before any rule; `None` for a page that says what went wrong.
    pub cache_control: Option<CacheControl>,
}

/// A change to the fields of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedFieldChange {
    /// The field.
    pub name: String,
    /// Its value; `None` if it is taken away.
    pub value: Option<String>,
    /// The lines of the file of fields by path that say so; none if it is asked for all answers.
    pub lines: Vec<usize>,
}

impl Trace {
    /// All notes up to now.
    #[must_use]
    pub fn events(&self) -> Vec<TraceEvent> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn record(&self, event: TraceEvent) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }
}
