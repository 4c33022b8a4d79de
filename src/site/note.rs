//! What was seen on the way to an answer, for who asks why it is that one.

use std::sync::{Arc, Mutex, PoisonError};

use super::caching::CacheControl;
use super::disk::Link;
use super::media::Media;
use super::redirects::Match;
use crate::http::Coding;

/// Notes that a site takes, in the order in which it sees things.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Vec<Note>>>);

/// Something that was seen or decided. Paths are below the root, without a slash at either end.
#[derive(Clone, Debug)]
pub enum Note {
    /// The address does not begin with the prefix that all have.
    Outside,
    /// What is under this path is not shown, whatever it is.
    Withheld(Vec<u8>, Withheld),
    /// A file or folder was looked for.
    Looked(Vec<u8>, Seen),
    /// What stands beside the file, with a coding: its length in bytes, or why it is not taken for it.
    Beside(Vec<u8>, Coding, Result<u64, &'static str>),
    /// A rule about the address, and whether it counts. It does not where something was found.
    Rule(Match, bool),
    /// Whether the address may be one that only a page's script knows, and why it may not.
    Route(Result<(), &'static str>),
    /// A file that is to be sent.
    Chosen(Chosen),
    /// What rules change about the fields of an answer.
    Changed(Role, Vec<Changed>),
}

/// Why something is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// A name in its path begins with a dot.
    Hidden,
    /// Rules are read from it.
    Rules,
}

/// What was under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A FIFO, a socket, a device.
    Special,
    /// Nothing.
    Nothing,
    /// Something behind a link that leads where none may; and that link, if it still is there.
    Refused(Option<Link>),
    /// Something that cannot be opened or read, and why.
    Failed(String),
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What is under the address.
    File,
    /// The page for what is absent.
    NotFound,
    /// The page whose script knows the way.
    Shell,
    /// None of the site's: a refusal, a redirection, a listing.
    Ours,
}

/// A file that is to be sent.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// As what.
    pub role: Role,
    /// Its path.
    pub path: Vec<u8>,
    /// Its length in bytes, without a coding.
    pub len: u64,
    /// The symbolic links on the way to it.
    pub links: Vec<Link>,
    /// Its type, before any rule.
    pub media: Media,
    /// How long it may be kept, before any rule; `None` for a page that says what went wrong.
    pub cache: Option<CacheControl>,
}

/// A change to the fields of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The field.
    pub name: String,
    /// Its value; `None` if it is taken away.
    pub value: Option<String>,
    /// The lines of the file of fields by path that say so; none if it is asked for all answers.
    pub lines: Vec<usize>,
}

impl Trail {
    /// All notes up to now.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn add(&self, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(note);
    }
}
