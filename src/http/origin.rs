//! Where representations come from.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::coding::Coding;
use super::fields::Fields;
use super::listing::{ListingRepresentations, ListingView};
use super::representation::Resource;
use super::status::Status;
use super::target::Target;

/// Something that has resources: a folder of files, or, in a test, a closure.
pub trait Origin {
    /// Content that is made while it leaves. [`NoStream`] where there never is any.
    type Stream;

    /// What there is under this target, now.
    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup;

    /// How the last [`find`](Self::find) went, for who keeps a log.
    fn lookup_status(&self) -> Option<LookupStatus> {
        None
    }

    /// What was just found under a target, for who would like it in this coding, in which
    /// [it can be had](Resource::is_encodable) but was not found to be; `None` if it is not there yet.
    fn find_encoded(
        &mut self,
        _target: &Target<'_>,
        _found: &Lookup,
        _coding: Coding,
        _now: SystemTime,
    ) -> Option<Lookup> {
        None
    }

    /// The fields that go with an answer for which there is no representation of this origin's: a refusal, a
    /// redirection. Without a target: what it is about could not be read.
    fn generated_fields(&self, _target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        Cow::Owned(Fields::new())
    }

    /// From here on, what was found before may be out of date, and nothing is to be kept that was only good until
    /// now. `told`: what the origin has the loop listen to may have something to say about it.
    fn mark_stale(&mut self, _is_notified: bool) {}

    /// When to [`on_timer`](Self::on_timer) at the latest, even if nobody asks for anything; `None` is never.
    fn next_timer(&self) -> Option<SystemTime> {
        None
    }

    /// Does what is due. No answer is being made from what was found before.
    fn on_timer(&mut self, _now: SystemTime) {}

    /// Begins what was found to be a [`Lookup::Listing`], or [`Lookup::Events`].
    ///
    /// # Errors
    /// What there is instead, by now.
    fn open_stream(
        &mut self,
        _target: &Target<'_>,
        _kind: StreamKind,
    ) -> Result<Self::Stream, Lookup> {
        Err(Lookup::NotFound(None))
    }

    /// Appends to `into` what comes next of it, at `now`. That is one step, of bounded work and at most some
    /// tens of kilobytes; it may be that nothing comes of it yet.
    fn read_stream(
        &mut self,
        _stream: &mut Self::Stream,
        _into: &mut Vec<u8>,
        _now: Instant,
    ) -> StreamProgress {
        StreamProgress::Failed
    }
}

/// What an origin has under a target.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A resource.
    Found(Arc<Resource>),
    /// A folder, whose own target ends in a slash.
    Directory,
    /// A folder without a page of its own, which is to be listed.
    Listing(Arc<ListingRepresentations>),
    /// Something that tells what happens, as it happens, for as long as somebody listens.
    Events,
    /// Nothing; and what to say instead, if the origin has a page for that.
    NotFound(Option<Arc<Resource>>),
    /// Nothing but a place that a page's script knows: who navigates there is shown that page, all others the other
    /// one, as for [`NotFound`](Self::NotFound).
    SpaFallback(Arc<Resource>, Option<Arc<Resource>>),
    /// It is elsewhere: the status that says so, and a reference to where.
    Redirect(Status, Arc<str>),
    /// Something that is not ours to show.
    Forbidden,
    /// Something that cannot be reached just now.
    Unavailable,
}

/// How a lookup went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupStatus {
    /// How what there is came to be known.
    pub cache_status: CacheStatus,
    /// Why it is not to be had, in one sentence, where that says more than the lookup does.
    pub reason: Option<&'static str>,
}

/// How it came to be known what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was remembered, and what it rests on is known not to have changed.
    Hit,
    /// It was remembered, and whether it still is so was looked at first.
    Revalidated,
    /// It was looked for.
    Miss,
}

impl CacheStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Revalidated, Self::Miss];

    /// One word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "confirmed",
            Self::Miss => "miss",
        }
    }
}

/// What is made while it leaves, because nobody knows its length before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// What is in a folder, in this form and order.
    Listing(ListingView),
    /// What happens (text/event-stream).
    Events,
}

/// How a step of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamProgress {
    /// There is more to come.
    More,
    /// Nothing more is to come before a bell rings that the origin has the loop listen to, or this time has come.
    /// It is as good an end as any, if there has to be one.
    Wait(Instant),
    /// That was all.
    Done,
    /// There should be more, and it cannot be had. The origin has said why to whom it concerns.
    Failed,
}

/// The stream of an origin that has none.
#[derive(Debug)]
pub enum NoStream {}

impl<F: FnMut(&Target<'_>, SystemTime) -> Lookup> Origin for F {
    type Stream = NoStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        self(target, now)
    }
}
