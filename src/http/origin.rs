//! The `Origin` trait, which finds the representations of targets, and its lookups and streams.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::coding::Coding;
use super::fields::Fields;
use super::listing::{ListingRepresentations, ListingView};
use super::representation::Resource;
use super::status::Status;
use super::target::Target;

/// A source of resources: a directory of files, or, in a test, a closure.
pub trait Origin {
    /// Content that is generated while it is sent. [`NoStream`] if there never is any.
    type Stream;

    /// Looks up this target now.
    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding;

    /// Returns the lookup of a finding again, now with a representation in this coding, which the resource [may
    /// have](Resource::is_encodable) but did not have yet; `None` while it is not ready.
    fn find_encoded(
        &mut self,
        _target: &Target<'_>,
        _found: &Finding,
        _coding: Coding,
        _now: SystemTime,
    ) -> Option<Lookup> {
        None
    }

    /// Fields for responses without a representation of this origin: errors and redirects. `None` as target means that
    /// the target could not be parsed.
    fn generated_fields(&self, _target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        Cow::Owned(Fields::new())
    }

    /// Marks cached lookups as stale: they are revalidated before use, and those valid only until now are dropped.
    /// `is_notified`: a waker or watch that the origin registered with the loop may be readable.
    fn mark_stale(&mut self, _is_notified: bool) {}

    /// Latest time for the next call of [`on_timer`](Self::on_timer), even without requests; `None` is never.
    fn next_timer(&self) -> Option<SystemTime> {
        None
    }

    /// Does the work that is due. No response is being made from an earlier lookup at that time.
    fn on_timer(&mut self, _now: SystemTime) {}

    /// Opens the stream of a [`Lookup::Listing`] or [`Lookup::Events`].
    ///
    /// # Errors
    /// The target's current [`Lookup`], if it is neither of them any more.
    fn open_stream(
        &mut self,
        _target: &Target<'_>,
        _kind: StreamKind,
    ) -> Result<Self::Stream, Lookup> {
        Err(Lookup::NotFound(None))
    }

    /// Appends the next bytes of the stream to `into`. One call is one step of bounded work and gives at most some tens
    /// of kilobytes, perhaps none yet.
    fn read_stream(
        &mut self,
        _stream: &mut Self::Stream,
        _into: &mut Vec<u8>,
        _now: Instant,
    ) -> StreamProgress {
        StreamProgress::Failed
    }
}

/// Result of looking up a target.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A resource.
    Found(Arc<Resource>),
    /// A directory; its own target ends in a slash.
    Directory,
    /// A directory without an index page, which is to be listed.
    Listing(Arc<ListingRepresentations>),
    /// A stream of events, sent as they happen, for as long as the client listens.
    Events,
    /// Nothing, with the origin's error page, if it has one.
    NotFound(Option<Arc<Resource>>),
    /// Nothing but a route that the script of a single-page app may know: navigation receives the SPA fallback page,
    /// all other requests the error page, as for [`NotFound`](Self::NotFound).
    SpaFallback(Arc<Resource>, Option<Arc<Resource>>),
    /// A redirect: its status and its location, a URI reference.
    Redirect(Status, Arc<str>),
    /// Something that must not be shown.
    Forbidden,
    /// Something that cannot be read at present.
    Unavailable,
}

/// Result of looking up a target, and what the origin knows of it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Result.
    pub lookup: Lookup,
    /// Use of the cache; `None` if the origin has no cache.
    pub cache_status: Option<CacheStatus>,
    /// Reason for an error, in one sentence, where it says more than the lookup.
    pub reason: Option<&'static str>,
    /// Entry of the origin's cache that holds the resource, for [`Origin::find_encoded`]; `None` if none holds it.
    pub entry: Option<EntryId>,
}

impl From<Lookup> for Finding {
    fn from(lookup: Lookup) -> Self {
        Self {
            lookup,
            cache_status: None,
            reason: None,
            entry: None,
        }
    }
}

/// Entry of an origin's cache, by a number that only the origin interprets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(pub(crate) u64);

/// Use of the cache by a lookup (after Cache-Status, RFC 9211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// The cache entry is known to be unchanged.
    Hit,
    /// The cache entry was revalidated first.
    Revalidated,
    /// There was no usable cache entry.
    Miss,
}

impl CacheStatus {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Revalidated, Self::Miss];

    /// Name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "confirmed",
            Self::Miss => "miss",
        }
    }
}

/// Content that is generated while it is sent, because its length is not known before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Listing of a directory, in this format and order.
    Listing(ListingView),
    /// Server-sent events (text/event-stream).
    Events,
}

/// Outcome of one step of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamProgress {
    /// More is to come.
    More,
    /// No more is to come before a waker that the origin registered with the loop is woken, or this time. The stream
    /// may be ended here, if it has to be ended.
    Wait(Instant),
    /// The stream is complete.
    Done,
    /// The stream cannot be continued. The origin has logged why.
    Failed,
}

/// Stream of an origin that has none.
#[derive(Debug)]
pub enum NoStream {}

impl<F: FnMut(&Target<'_>, SystemTime) -> Lookup> Origin for F {
    type Stream = NoStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        self(target, now).into()
    }
}
