//! What applies to some addresses, or to all: which fields go with an answer, and where it is to be had instead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::caching::Caching;
use super::disk::{Disk, Identity};
use super::headers::{Change, Headers};
use super::media::{Types, UNKNOWN};
use super::note::Changed;
use super::redirects::{Match, Redirects};
use super::sources::{Reading, Sources};
use crate::http::{Fields, Target};

/// What goes with every answer, unless something else was asked for: no guessing of types (a script is not to be
/// made of what somebody has uploaded), and, of where a link was, no more than its origin to others.
pub(super) const DEFAULTS: [(&str, &str); 2] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
];

const TYPE: &str = "Content-Type";
const CACHING: &str = "Cache-Control";

/// What was asked for, of addresses and of their answers.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Which media type a file has.
    pub types: Types,
    /// How long an answer may be kept by who gets it.
    pub caching: Caching,
    /// Whether answers are for those only who have a password.
    pub is_private: bool,
    /// Fields that go with every answer, in place of ours of the same name.
    pub fields: Headers,
    /// Fields that go with answers by their path.
    pub headers: Headers,
    /// Where what is not here is to be had.
    pub redirects: Redirects,
    /// Which folder they are for: device and inode; `None` for any.
    pub root: Option<Identity>,
    /// The files in the root that these rules come from: they are not shown. Names relative to the root.
    pub sources: Vec<Vec<u8>>,
}

/// A policy that can be changed while it is in force, for all workers' sites.
#[derive(Clone, Debug, Default)]
pub struct SharedPolicy(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// What it can be read from again.
    sources: Option<Sources>,
    policy: Mutex<Arc<Policy>>,
    /// How often it has changed.
    changes: AtomicU64,
}

impl SharedPolicy {
    /// One that is in force when it has been read, and [given](Self::replace).
    #[must_use]
    pub fn of(sources: Sources) -> Self {
        Self(Arc::new(Shared {
            sources: Some(sources),
            ..Shared::default()
        }))
    }

    /// Reads it anew for this folder; `None` if there is nothing to read it from.
    pub(super) fn read(&self, disk: &Disk) -> Option<Result<Reading, Vec<String>>> {
        let sources = self.0.sources.as_ref()?;
        Some(sources.read_for(disk))
    }

    /// Another one, from now on: each site takes it up before the next request that it is asked.
    pub fn replace(&self, policy: Policy) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.0.changes.fetch_add(1, Ordering::Release);
    }

    /// The policy, and how often it has changed.
    pub(super) fn now(&self) -> (Arc<Policy>, u64) {
        let changes = self.changes();
        let policy = self.0.policy.lock().unwrap_or_else(PoisonError::into_inner);
        (policy.clone(), changes)
    }

    /// How often it has changed.
    pub(super) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }
}

impl Policy {
    /// Whether rules come from this file of the root.
    pub(super) fn is_source(&self, path: &[u8]) -> bool {
        self.sources.iter().any(|source| source == path)
    }

    /// Whether some answers are unlike others for where they lie.
    pub(super) fn depend_on_path(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Where a target is to be had by rule.
    pub(super) fn redirect(&self, target: &Target<'_>) -> Option<Match> {
        match self.redirects.is_empty() {
            true => None,
            false => self.redirects.find(&address(target), target.query()),
        }
    }

    /// The fields that go with a file under an address, its type among them.
    pub(super) fn of_file(&self, address: &[u8], file: &[u8]) -> Fields {
        let own = Fields::new()
            .with(CACHING, self.caching.of(file, self.is_private).text)
            .with(TYPE, self.types.of(file).text);
        self.applied(Some(address), own)
    }

    /// The fields that go with a page that says what went wrong, and has this type: it is not to be kept, whatever else
    /// is.
    pub(super) fn of_page(&self, address: Option<&[u8]>, media_type: &str) -> Fields {
        let own = Fields::new().with(TYPE, media_type);
        let mut fields = self.applied(address, own);
        fields.remove(CACHING);
        fields.with(CACHING, "no-store")
    }

    /// The fields that go with an answer that is none of the site's.
    pub(super) fn of_others(&self, address: Option<&[u8]>) -> Fields {
        let mut fields = self.applied(address, Fields::new());
        fields.remove(CACHING);
        fields.remove(TYPE);
        fields
    }

    /// What the rules change about the fields of an answer under an address, in words.
    pub(super) fn changed(&self, address: Option<&[u8]>) -> Vec<Changed> {
        let changed = |(change, is_by_path): (Change<'_>, bool)| Changed {
            name: change.name.as_str().to_owned(),
            value: change.value.as_deref().map(str::to_owned),
            // Those of all answers are no lines of a file.
            lines: if is_by_path { change.lines } else { Vec::new() },
        };
        self.changes(address).map(changed).collect()
    }

    /// The changes that rules make, in order, and whether it is for where the address lies.
    fn changes(&self, address: Option<&[u8]>) -> impl Iterator<Item = (Change<'_>, bool)> {
        let of_all = self.fields.changes(b"/").into_iter();
        let of_some = address.map(|address| self.headers.changes(address));
        let of_some = of_some.into_iter().flatten();
        let of_all = of_all.map(|change| (change, false));
        of_all.chain(of_some.map(|change| (change, true)))
    }

    /// What the rules make of these and of our own.
    fn applied(&self, address: Option<&[u8]>, own: Fields) -> Fields {
        let with = |fields: Fields, (name, value)| fields.with(name, value);
        let mut fields = DEFAULTS.into_iter().fold(own, with);
        for (change, _) in self.changes(address) {
            change.apply(&mut fields);
        }
        fields
    }
}

/// The media type that is among these fields.
pub(super) fn media_type(fields: &Fields) -> &str {
    let typed = fields.lines().find(|(name, _)| is_type(name));
    typed.map_or(UNKNOWN, |(_, media_type)| media_type)
}

pub(super) fn is_type(name: &str) -> bool {
    name.eq_ignore_ascii_case(TYPE)
}

/// A target's decoded path, with the slash that it begins with, and the one at its end.
pub(super) fn address(target: &Target<'_>) -> Vec<u8> {
    let path = target.path();
    let end: &[u8] = match target.is_directory() && !path.is_empty() {
        true => b"/",
        false => b"",
    };
    [b"/", &*path, end].concat()
}
