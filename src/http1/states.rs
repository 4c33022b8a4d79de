//! States of a connection, each with what only it needs.

use std::time::Instant;

use super::body::BodyDrain;
use super::encode::ConnectionOption;
use super::options::HttpOptions;
use crate::net::Next;

/// State of a connection whose streams are `S`. All but the first are rare or end soon, so they are boxed.
#[derive(Debug)]
pub(super) enum SessionState<S> {
    /// Waiting for a complete head.
    Head(HeadWait),
    /// The head has been read, its content is to follow.
    Body(Box<BodyWait>),
    /// The request has been read, its credentials are being verified.
    Authorizing(Box<AuthorizationWait>),
    /// The response is generated while it is sent, and more of it is to come.
    Streaming(Box<StreamingResponse<S>>),
    /// The last response has been queued; once it is sent, this follows.
    Closing(Next),
}

/// Wait for a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadWait {
    /// Whether it is the connection's first.
    pub(super) is_first: bool,
    /// Whether an empty line before it was ignored.
    pub(super) has_skipped_empty_line: bool,
    /// Start of the wait; that for the first head begins with the connection.
    pub(super) wait_start: Option<Instant>,
    /// Time of its first byte, if that has come.
    pub(super) request_start: Option<Instant>,
}

/// Wait for the end of a request's content, which is discarded; its head is kept.
#[derive(Debug)]
pub(super) struct BodyWait {
    pub(super) head: Box<[u8]>,
    pub(super) drain: BodyDrain,
    /// Time of the request's first byte.
    pub(super) request_start: Option<Instant>,
    /// Start of the wait.
    pub(super) wait_start: Instant,
}

/// Wait for the verdict on the credentials of a request that has been read; its head is kept.
#[derive(Debug)]
pub(super) struct AuthorizationWait {
    pub(super) head: Box<[u8]>,
    /// Time of the request's first byte.
    pub(super) request_start: Option<Instant>,
    /// End of the wait: the request is refused.
    pub(super) until: Instant,
}

/// A response that is generated while it is sent. Its head has been queued.
#[derive(Debug)]
pub(super) struct StreamingResponse<S> {
    pub(super) stream: S,
    /// Time until which the stream has no more content, unless the waker is woken; `None` if it has more.
    pub(super) wait_until: Option<Instant>,
    /// Whether the content is chunked; otherwise the end of the connection ends it.
    pub(super) is_chunked: bool,
    pub(super) connection_option: ConnectionOption,
}

impl<S> SessionState<S> {
    /// State before the first byte of a head.
    pub(super) fn head(is_first: bool) -> Self {
        Self::Head(HeadWait {
            is_first,
            has_skipped_empty_line: false,
            wait_start: None,
            request_start: None,
        })
    }

    /// State after a response.
    pub(super) fn after(connection_option: ConnectionOption) -> Self {
        match connection_option {
            ConnectionOption::Close => Self::Closing(Next::Close),
            ConnectionOption::Omitted | ConnectionOption::KeepAlive => Self::head(false),
        }
    }

    /// State of the same request while its credentials are being verified, at most until this time.
    pub(super) fn authorizing(&self, head: Box<[u8]>, until: Instant) -> Self {
        Self::Authorizing(Box::new(AuthorizationWait {
            head,
            request_start: self.request_start(),
            until,
        }))
    }

    /// Time of the first byte of the request that is being read.
    pub(super) fn request_start(&self) -> Option<Instant> {
        match self {
            Self::Head(wait) => wait.request_start,
            Self::Body(wait) => wait.request_start,
            Self::Authorizing(wait) => wait.request_start,
            Self::Streaming(_) | Self::Closing(_) => None,
        }
    }

    /// Start of the current idle period; `None` while a request is being answered.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        match self {
            Self::Head(wait) => wait.wait_start,
            Self::Body(wait) => Some(wait.wait_start),
            Self::Authorizing(_) | Self::Streaming(_) | Self::Closing(_) => None,
        }
    }
}

impl HeadWait {
    /// Deadline for the head, or for its first byte. The wait starts now, unless it has started before.
    pub(super) fn deadline(&mut self, options: &HttpOptions, now: Instant) -> Instant {
        let wait_start = *self.wait_start.get_or_insert(now);
        match self.request_start {
            _ if self.is_first => wait_start + options.header_timeout,
            // For input that came while a response was being sent, the time starts when that was sent.
            Some(start) => start.max(wait_start) + options.header_timeout,
            None => wait_start + options.idle_timeout,
        }
    }
}

impl BodyWait {
    /// Deadline for the end of the content.
    pub(super) fn deadline(&self, options: &HttpOptions) -> Instant {
        self.wait_start + options.idle_timeout
    }
}
