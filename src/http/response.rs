//! A response, decided but not yet written.

use std::ops::Range;
use std::sync::Arc;

use super::coding::Coding;
use super::fields::{FieldSink, Fields};
use super::multipart::{ContentRange, Multipart};
use super::origin::{CacheStatus, Finding, StreamKind};
use super::representation::Representation;
use super::request_fields::RequestField;
use super::status::Status;

/// A response, decided but not yet written.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: Status,
    /// Fields of the response itself: Allow, Location, Retry-After.
    pub fields: Fields,
    /// Representation of the resource, or an error page. `None`: no content and no Content-Length.
    pub representation: Option<Arc<Representation>>,
    /// Part of the representation's content to be sent.
    pub body: Body,
    /// Whether the representation is the origin's, and so has the fields that the origin adds to every response.
    pub has_origin_fields: bool,
    /// Clients that may receive it, where authorization is required.
    pub audience: Audience,
    /// Coding that would be preferred, if the resource had a representation in it.
    pub wanted_coding: Option<Coding>,
    /// Result of the lookup, as this response gives it.
    pub outcome: Outcome,
    /// Field for which less than the whole is sent: If-None-Match, If-Modified-Since or Range.
    pub reduced_by: Option<RequestField>,
    /// Reason for an error, in one sentence of docroot's, for the access log.
    pub reason: Option<&'static str>,
    /// Use of the cache by the lookup; `None` if nothing was looked up.
    pub cache_status: Option<CacheStatus>,
    /// Whether the access log has a line for it.
    pub is_logged: bool,
}

/// Clients that may receive a response, where authorization is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Any client: it depends on nothing but the request's head.
    Public,
    /// Only an authorized client: it depends on the site.
    Authorized,
}

/// Result of a lookup, as the response gives it: the function that chose the response chose it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was looked up: the response is an error of the request, or the response to OPTIONS or a health check.
    NotLookedUp,
    /// The resource of the target, or an error about it.
    Found,
    /// A redirect to the directory's own target.
    Directory,
    /// A listing of the directory.
    Listing,
    /// A stream of events.
    Events,
    /// Nothing.
    NotFound,
    /// The SPA fallback page, as the request is a navigation.
    SpaFallback,
    /// A redirect by the origin.
    Redirect,
    /// Something that must not be shown.
    Forbidden,
    /// Something that cannot be read at present.
    Unavailable,
}

/// Part of a representation's content to be sent. Ranges are in bytes, half-open, within its length, and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole,
    /// One part.
    Part(Range<u64>),
    /// Several parts, as a [`Multipart`].
    Parts(Vec<Range<u64>>),
    /// No content, but Content-Length: the response to HEAD (RFC 9110 section 9.3.2).
    HeadOnly,
    /// Content of unknown length, generated while it is sent ([`Origin::open_stream`](super::Origin::open_stream)).
    Streamed(StreamKind),
    /// No content of such a stream: the response to HEAD.
    HeadOnlyStream,
    /// No content and no Content-Length: the client has the representation (RFC 9110 section 15.4.5).
    NotModified,
}

impl Response {
    /// Creates a response with a representation of an origin.
    #[must_use]
    pub fn new(status: Status, representation: Arc<Representation>) -> Self {
        Self {
            representation: Some(representation),
            has_origin_fields: true,
            ..Self::empty(status)
        }
    }

    /// Creates a response without content.
    #[must_use]
    pub fn empty(status: Status) -> Self {
        Self {
            status,
            fields: Fields::new(),
            representation: None,
            body: Body::Whole,
            has_origin_fields: false,
            audience: Audience::Public,
            wanted_coding: None,
            outcome: Outcome::NotLookedUp,
            reduced_by: None,
            reason: None,
            cache_status: None,
            is_logged: true,
        }
    }

    /// Creates a response with a small generated page that gives the reason: plain text, without markup.
    #[must_use]
    pub fn error_page(status: Status, reason: &'static str) -> Self {
        Self::html_page(status, reason).with_reason(reason)
    }

    /// Creates a response with a small generated page that shows the status and the reason. `reason` is HTML.
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

    /// Creates a response with one generated line that gives the reason, for clients that do not show pages.
    #[must_use]
    pub fn plain_text(status: Status, reason: &str) -> Self {
        let text = format!("{}: {reason}\n", status.text());
        Self::generated(status, text, "text/plain; charset=utf-8")
    }

    /// Creates a response with generated content, which must not be cached: the next request may have another result.
    fn generated(status: Status, text: String, media_type: &str) -> Self {
        let content = text.into_bytes().into();
        let representation = Representation::new(content, media_type)
            .with_metadata_field("Cache-Control", "no-store");
        Self {
            representation: Some(Arc::new(representation)),
            ..Self::empty(status)
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn with_field(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.fields.push(name, value);
        self
    }

    /// Sets the reason.
    #[must_use]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Writes all fields but Date and those of the connection: its own, `added_fields`, and those of the representation
    /// for this part of its content. `multipart` is the content if that is [`Body::Parts`].
    pub fn write_fields(
        &self,
        added_fields: &Fields,
        multipart: Option<&Multipart<'_>>,
        sink: &mut impl FieldSink,
    ) {
        sink.push_lines(self.fields.as_str());
        sink.push_lines(added_fields.as_str());
        let Some(representation) = &self.representation else {
            return;
        };
        match (&self.body, multipart) {
            (Body::NotModified, _) => sink.push_lines(representation.metadata_fields()),
            (Body::Part(part), _) => {
                sink.push_lines(representation.partial_fields());
                let range = ContentRange(part, representation.content.len());
                sink.push("Content-Range", range);
                sink.push_length(part.end - part.start);
            }
            (_, Some(multipart)) => {
                sink.push_lines(representation.metadata_fields());
                sink.push("Content-Type", multipart.media_type());
                sink.push_lines(representation.content_fields());
                sink.push_length(multipart.length());
            }
            (Body::Streamed(_) | Body::HeadOnlyStream, _) => {
                sink.push_lines(representation.partial_fields());
            }
            (Body::Whole | Body::HeadOnly | Body::Parts(_), None) => {
                sink.push_lines(representation.full_fields());
            }
        }
    }

    /// Adds the finding's use of the cache, and its reason, if this response already has one.
    #[must_use]
    pub fn with_finding(mut self, finding: &Finding) -> Self {
        self.cache_status = finding.cache_status;
        if self.reason.is_some() && finding.reason.is_some() {
            self.reason = finding.reason;
        }
        self
    }

    /// Sets the part of the content to be sent.
    #[must_use]
    pub fn with_body(mut self, content: Body) -> Self {
        self.body = content;
        self
    }

    /// Sets the part of the content to be sent, and the field for which it is less than the whole.
    #[must_use]
    pub fn reduced(self, body: Body, field: RequestField) -> Self {
        Self {
            reduced_by: Some(field),
            ..self.with_body(body)
        }
    }

    /// Turns this into the response to HEAD.
    #[must_use]
    pub fn for_head(self) -> Self {
        match self.body {
            Body::NotModified => self,
            Body::Streamed(_) => self.with_body(Body::HeadOnlyStream),
            _ => self.with_body(Body::HeadOnly),
        }
    }
}
