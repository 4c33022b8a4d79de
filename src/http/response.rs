//! A response, decided and not yet written.

use std::ops::Range;
use std::sync::Arc;

use super::coding::Coding;
use super::fields::Fields;
use super::origin::{CacheStatus, LookupStatus, StreamKind};
use super::representation::Representation;
use super::status::Status;

/// A response, decided and not yet written.
#[derive(Clone, Debug)]
pub struct Response {
    /// What came of the request.
    pub status: Status,
    /// Fields of the response itself: Allow, Location, Retry-After.
    pub fields: Fields,
    /// What it is about, or what explains it. `None` is no content, and no word about its length.
    pub representation: Option<Arc<Representation>>,
    /// How much of the representation's content is sent.
    pub body: Body,
    /// Whether the representation is the origin's, and so brings along what goes with every answer of its.
    pub has_origin_fields: bool,
    /// The coding that would have been chosen, if there were a representation with it.
    pub wanted_coding: Option<Coding>,
    /// Why it is a refusal, in one sentence of ours, for who keeps a log.
    pub reason: Option<&'static str>,
    /// How what it is about came to be known; `None` where nothing was looked up.
    pub cache_status: Option<CacheStatus>,
}

/// How much of a representation's content is sent. Ranges are of bytes, half-open, within its length,
/// and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole,
    /// One part of it.
    Part(Range<u64>),
    /// Several parts of it, as [`Multipart`](super::Multipart) puts them.
    Parts(Vec<Range<u64>>),
    /// None of it, although its length is told: the answer to HEAD (RFC 9110 section 9.3.2).
    HeadOnly,
    /// What the representation does not have yet: nobody knows its length before its end. Whoever sends it
    /// makes it ([`Origin::open_stream`](super::Origin::open_stream)).
    Streamed(StreamKind),
    /// None of that: the answer to HEAD.
    HeadOnlyStream,
    /// None of it, and no word about it: the peer has it (RFC 9110 section 15.4.5).
    NotModified,
}

impl Response {
    /// A response with this representation of an origin's.
    #[must_use]
    pub fn new(status: Status, representation: Arc<Representation>) -> Self {
        Self {
            representation: Some(representation),
            has_origin_fields: true,
            ..Self::empty(status)
        }
    }

    /// A response without content.
    #[must_use]
    pub fn empty(status: Status) -> Self {
        Self {
            status,
            fields: Fields::new(),
            representation: None,
            body: Body::Whole,
            has_origin_fields: false,
            wanted_coding: None,
            reason: None,
            cache_status: None,
        }
    }

    /// A response with a small page of ours that says why nothing else is sent: in plain words, without markup.
    #[must_use]
    pub fn error_page(status: Status, reason: &'static str) -> Self {
        Self::html_page(status, reason).with_reason(reason)
    }

    /// A response with a small page of ours that says the status in words, and why. `reason` is
    /// HTML.
    #[must_use]
    pub fn html_page(status: Status, reason: &str) -> Self {
        let text = status.text();
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{text}</title>\n<h1>{text}</h1>\n<p>{reason}</p>\n</html>\n"
        );
        Self::generated(status, page, "text/html; charset=utf-8")
    }

    /// A response with one line of ours that says why, for who does not look at pages.
    #[must_use]
    pub fn plain_text(status: Status, reason: &str) -> Self {
        let text = format!("{}: {reason}\n", status.text());
        Self::generated(status, text, "text/plain; charset=utf-8")
    }

    /// A response with content of ours, which is not to be kept: what is refused or moved now need not be so for the
    /// next request.
    fn generated(status: Status, text: String, media_type: &str) -> Self {
        let content = text.into_bytes().into();
        let representation = Representation::new(content, media_type)
            .with_metadata_field("Cache-Control", "no-store");
        Self {
            representation: Some(Arc::new(representation)),
            ..Self::empty(status)
        }
    }

    /// The same response with one more field.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.push(name, value);
        self
    }

    /// The same response with this reason.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The same response, about what was looked up with this account of it.
    #[must_use]
    pub fn with_lookup(mut self, lookup_status: LookupStatus) -> Self {
        self.cache_status = Some(lookup_status.cache_status);
        if self.reason.is_some() && lookup_status.reason.is_some() {
            self.reason = lookup_status.reason;
        }
        self
    }

    /// The same response with this much of its content sent.
    #[must_use]
    pub fn with_body(mut self, content: Body) -> Self {
        self.body = content;
        self
    }

    /// The same response as the answer to HEAD.
    #[must_use]
    pub fn for_head(self) -> Self {
        match self.body {
            Body::NotModified => self,
            Body::Streamed(_) => self.with_body(Body::HeadOnlyStream),
            _ => self.with_body(Body::HeadOnly),
        }
    }
}
