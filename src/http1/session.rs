//! The session of an HTTP/1.1 connection: its states, timeouts and responses.
//!
//! ```text
//!            complete head, no content             content discarded
//!   Head -------------------------------> respond <------------------- Body
//!    |  \----- complete head, content follows -------------------------> |
//!    |                                     |                             |
//!    | malformed, too long, timed out      | Connection: close           | malformed, too much, timed out
//!    '--------------> reject ---------> Closing <--------- reject <------'
//! ```
//!
//! Responses are sent in the order of their requests, because a request is parsed only after the one before it has been
//! answered. After an error no more input is interpreted. While credentials are being verified, Head and Body stay as
//! they are, the head unparsed, until the next wake-up, and then respond. A response of unknown length is generated
//! while it is sent: Stream is a state of its own, between its request and the next state.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::access_line::LogFormat;
use super::access_log::{AccessLog, InFlight, LogRecord};
use super::authorize::{Authorization, authorize, early_error, is_for_authorized_only};
use super::body::{self, BodyDrain, BodyError, Framing};
use super::chunked;
use super::counters::{RequestCounters, TimeoutKind};
use super::encode::{self, ConnectionOption};
use super::health::Health;
use super::parse::{self, FieldLines, Parsed};
use super::refusal;
use crate::auth::{AuthHandle, CachedVerdict};
use crate::http::{
    Body, BoundaryGenerator, CachedDate, Coding, Fields, Finding, Lookup, Multipart, Origin,
    Representation, Request, Response, Status, StreamProgress, Target, Version, allow_preflight,
    forwarded_client, is_preflight, respond, validate,
};
use crate::log::LineWriter;
use crate::net::{Address, CloseReason, Inbox, Io, Next, Now, Outbox, Peer, Protocol};
use crate::trust::TrustedProxies;

/// Timeouts, limits and policies of HTTP sessions.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Time for a head, from its first byte to its last; for the first head of a connection, from accept.
    pub header_timeout: Duration,
    /// Time from a response to the first byte of the next head; also from a head to the end of its content.
    pub idle_timeout: Duration,
    /// Limit on the size of a head, in bytes.
    pub max_head_bytes: usize,
    /// Limit on the content of a request, in bytes; more is refused.
    pub max_content_bytes: u64,
    /// Whether preflights are answered, so that pages of other origins may send any request.
    pub allow_cors: bool,
    /// Health check, if there is one.
    pub health: Option<Health>,
    /// Proxies whose X-Forwarded-For or Forwarded names the client to be logged.
    pub trusted_proxies: TrustedProxies,
    /// Format of the access log.
    pub log_format: LogFormat,
    /// Seconds that local time is ahead of UTC at a time, for lines in local time; `None` is UTC.
    pub utc_offset: Option<fn(SystemTime) -> i64>,
}

impl Default for HttpOptions {
    /// Sets timeouts of 10 and 60 seconds, limits of 32 KiB and 1 MiB, and JSON.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_head_bytes: 32 * 1024,
            max_content_bytes: 1024 * 1024,
            allow_cors: false,
            health: None,
            trusted_proxies: TrustedProxies::default(),
            log_format: LogFormat::default(),
            utc_offset: None,
        }
    }
}

/// HTTP/1.1 and HTTP/1.0 as a [`Protocol`], for an origin.
#[derive(Debug)]
pub struct Http1<O> {
    origin: O,
    options: HttpOptions,
    auth: Option<AuthHandle>,
    log: Option<AccessLog>,
    date: CachedDate,
    boundaries: BoundaryGenerator,
    is_shutting_down: bool,
}

/// A connection's state.
#[derive(Debug)]
pub struct Session<L> {
    peer: Address,
    state: SessionState<L>,
    /// Time of the first byte of the request that is being read.
    request_start: Option<Instant>,
    /// Responses that have not been sent completely, for the access log.
    in_flight: Option<Box<InFlight>>,
    /// Verdict on the credentials received last, if authorization is required.
    cached_verdict: Option<Box<CachedVerdict>>,
}

#[derive(Debug)]
enum SessionState<L> {
    /// Waiting for a complete head since `wait_start`; the wait for the first head begins with the connection.
    Head {
        is_first: bool,
        wait_start: Option<Instant>,
        has_skipped_empty_line: bool,
    },
    /// The head has been read, its content is to follow. Boxed because requests with content are rare.
    Body(Box<PendingRequest>),
    /// The response is generated while it is sent, and more of it is to come.
    Stream(Box<StreamingResponse<L>>),
    /// The last response has been queued; once it is sent, this follows.
    Closing(Next),
}

/// A request whose head is kept while its content is discarded, since `start`.
#[derive(Debug)]
struct PendingRequest {
    head: Box<[u8]>,
    drain: BodyDrain,
    start: Instant,
}

/// A response that is generated while it is sent. Its head has been queued.
#[derive(Debug)]
struct StreamingResponse<L> {
    stream: L,
    /// Time until which the stream has no more content, unless the waker is woken; `None` if it has more.
    wait_until: Option<Instant>,
    /// Whether the content is chunked; otherwise the end of the connection ends it.
    is_chunked: bool,
    connection_option: ConnectionOption,
}

impl<O: Origin> Http1<O> {
    /// Creates the protocol for `origin`; each response is logged to `line_writer`, if there is one.
    pub fn new(origin: O, options: HttpOptions, line_writer: Option<LineWriter>) -> Self {
        Self {
            origin,
            auth: None,
            log: line_writer.map(|line_writer| {
                AccessLog::new(line_writer, options.log_format).in_local_time(options.utc_offset)
            }),
            options,
            date: CachedDate::default(),
            boundaries: BoundaryGenerator::default(),
            is_shutting_down: false,
        }
    }

    /// Requires authorization by this handle. The reactor must register its waker.
    #[must_use]
    pub fn with_auth(mut self, auth: AuthHandle) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Counts the responses.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<RequestCounters>) -> Self {
        self.log = Some(self.log.unwrap_or_default().with_counters(counters));
        self
    }

    /// Decides the response: one effect, the lookup, between pure decisions. `None` while credentials are being
    /// verified. The stream of a response of unknown length is opened.
    fn answer(
        &mut self,
        cached_verdict: &mut Option<Box<CachedVerdict>>,
        request: &Request<'_>,
        now: Now,
    ) -> Option<(Response, Option<O::Stream>)> {
        let validated = validate(request);
        if let Some(health) = &self.options.health
            && let Ok(target) = &validated
            && let Some(response) = health.respond(request, target)
        {
            return Some((response, None));
        }
        if let Some(auth) = &self.auth
            && needs_authorization(&validated)
        {
            match authorize(auth, cached_verdict, request, now.instant) {
                Authorization::Granted => {}
                Authorization::Denied(response) => return Some((response, None)),
                Authorization::Pending => return None,
            }
        }
        let target = match validated {
            Ok(target) => target,
            Err(answer)
                if self.options.allow_cors
                    && answer.status == Status::NoContent
                    && is_preflight(request) =>
            {
                return Some((allow_preflight(request, answer), None));
            }
            Err(response) => return Some((response, None)),
        };
        let found = self.origin.find(&target, now.wall);
        let (response, stream) = self.build_response(request, &target, &found, now);
        Some((response.with_finding(&found), stream))
    }

    /// Builds the response for a lookup, in the coding that is preferred, or with the stream of a listing or of events.
    fn build_response(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        found: &Finding,
        now: Now,
    ) -> (Response, Option<O::Stream>) {
        let response = respond(request, target, &found.lookup);
        if let Some(coding) = response.wanted_coding
            && let Some(coded) = self.origin.find_encoded(target, found, coding, now.wall)
        {
            return (respond(request, target, &coded), None);
        }
        let Body::Streamed(kind) = response.body else {
            return (response, None);
        };
        match self.origin.open_stream(target, kind) {
            Ok(stream) => (response, Some(stream)),
            Err(Lookup::Listing(_) | Lookup::Events) => {
                (respond(request, target, &Lookup::Unavailable), None)
            }
            Err(lookup) => (respond(request, target, &lookup), None),
        }
    }

    /// Returns the error that a request receives whatever its content and its credentials are.
    fn early_error(&self, request: &Request<'_>) -> Option<Response> {
        let validated = validate(request);
        match self.auth {
            Some(_) if needs_authorization(&validated) => early_error(request),
            _ => validated.err(),
        }
    }

    /// Does all steps that are possible, then returns what to wait for.
    fn drive(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.log_sent(session, io.outbox.sent(), io.now);
        *io.deadline = None;
        if let SessionState::Head {
            is_first: false,
            wait_start,
            ..
        } = &mut session.state
            && io.inbox.is_empty()
        {
            // No input has come, so a response has been sent, and the wait for the next request begins.
            *wait_start = None;
        }
        let mut is_pipelined = false;
        while io.outbox.has_room() && self.step(session, io) {
            // A pipelined request may have been sent after the turn began, and after a file changed.
            if !is_pipelined && !io.inbox.is_empty() {
                is_pipelined = true;
                self.origin.mark_stale(true);
            }
        }
        let is_idle = session.is_idle(io.inbox);
        let verification_deadline = session.verification_deadline();
        let stream_wait = session.stream_wait();
        match session.state {
            SessionState::Stream(_) if stream_wait.is_none() => Next::Yield,
            SessionState::Stream(_) if !io.outbox.is_empty() => Next::Flush,
            _ if !io.outbox.is_empty() => {
                let is_logged = session.in_flight.is_some();
                if !is_idle || is_logged || io.inbox.is_ended() || self.is_shutting_down {
                    return Next::Flush;
                }
                *io.deadline = Some(self.read_deadline(session, io.now.instant));
                Next::FlushThenRead
            }
            SessionState::Stream(_) => {
                *io.deadline = stream_wait;
                Next::ReadOrWake
            }
            _ if verification_deadline.is_some() => {
                *io.deadline = verification_deadline;
                Next::AwaitWake
            }
            SessionState::Closing(next) => next,
            _ if is_idle && (io.inbox.is_ended() || self.is_shutting_down) => Next::Close,
            _ if io.inbox.is_ended() => {
                let reason = (Status::BadRequest, "The request ended before it was whole.");
                self.reject_unfinished(session, io, reason)
            }
            _ => {
                *io.deadline = Some(self.read_deadline(session, io.now.instant));
                Next::Read
            }
        }
    }

    /// Does one step. Returns whether another one may be possible; otherwise more input is needed.
    fn step(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        match session.state {
            SessionState::Head { .. } => self.read_head(session, io),
            SessionState::Body(_) => self.read_content(session, io),
            SessionState::Stream(_) => self.send_stream(session, io),
            SessionState::Closing(_) => false,
        }
    }

    fn read_head(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        if let SessionState::Head {
            has_skipped_empty_line,
            ..
        } = &mut session.state
            && !*has_skipped_empty_line
            && let Some(length) = empty_line(io.inbox.bytes())
        {
            // An empty line before a request line is ignored, once (RFC 9112 section 2.2).
            *has_skipped_empty_line = true;
            io.inbox.consume(length);
        }
        if io.inbox.is_empty() {
            return false;
        }
        if session.request_start.is_some() {
            // The rest of this head may have arrived in this turn, after a file changed.
            self.origin.mark_stale(true);
        }
        session.request_start.get_or_insert(io.now.instant);
        let length = self.read_request(session, io.inbox.bytes(), io.outbox, io.now);
        io.inbox.consume(length);
        length > 0
    }

    /// Parses a request's head, and responds if it has no content. Returns the number of bytes to consume: 0 if the
    /// head is incomplete or refused, or while its credentials are being verified.
    fn read_request(
        &mut self,
        session: &mut Session<O::Stream>,
        bytes: &[u8],
        outbox: &mut Outbox,
        now: Now,
    ) -> usize {
        let mut lines = FieldLines::new();
        let (request, length) = match parse::request(bytes, self.options.max_head_bytes, &mut lines)
        {
            Ok(Parsed::Partial) => return 0,
            Ok(Parsed::Complete { request, length }) => (request, length),
            Err(error) => {
                let reason = (error.status(), error.reason());
                self.reject(session, outbox, bytes, None, reason, now);
                return 0;
            }
        };
        let drain = match body::framing(&request) {
            Ok(Framing::Length(0)) => {
                let is_done = self.reply(session, outbox, &request, now);
                return if is_done { length } else { 0 };
            }
            Ok(framing) => BodyDrain::new(framing, self.options.max_content_bytes),
            Err(error) => Err(error),
        };
        let expects = request.values("Expect").next().is_some();
        let expects = expects && request.version >= Version::Http11;
        if (expects || matches!(drain, Err(BodyError::TooLarge)))
            && let Some(response) = self.early_error(&request)
        {
            // An error that is certain is sent before the client sends the content.
            self.send_and_linger(session, outbox, Some(&request), &response, now);
            return 0;
        }
        let drain = match drain {
            Ok(drain) => drain,
            Err(error) => {
                let reason = (error.status(), error.reason());
                self.reject(session, outbox, bytes, Some(&request), reason, now);
                return 0;
            }
        };
        if expects {
            outbox.tail().extend_from_slice(encode::CONTINUE);
        }
        let head = bytes.get(..length).unwrap_or_default().into();
        session.state = SessionState::Body(Box::new(PendingRequest {
            head,
            drain,
            start: now.instant,
        }));
        length
    }

    fn read_content(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Body(content) = &mut session.state else {
            return false;
        };
        let (count, is_complete) = match content.drain.advance(io.inbox.bytes()) {
            Ok(counted) => counted,
            Err(error) => {
                self.reject_unfinished(session, io, (error.status(), error.reason()));
                return false;
            }
        };
        io.inbox.consume(count);
        if !is_complete {
            return false;
        }
        self.origin.mark_stale(true);
        let pending = std::mem::replace(&mut session.state, SessionState::Closing(Next::Close));
        let is_done = match &pending {
            SessionState::Body(content) => self.reply_to_pending(session, io, &content.head),
            SessionState::Head { .. } | SessionState::Stream(_) | SessionState::Closing(_) => true,
        };
        if !is_done {
            session.state = pending;
        }
        is_done
    }

    /// Responds to a request whose head was kept. Returns whether it is finished.
    fn reply_to_pending(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        head: &[u8],
    ) -> bool {
        let mut lines = FieldLines::new();
        match parse::request(head, self.options.max_head_bytes, &mut lines) {
            Ok(Parsed::Complete { request, .. }) => {
                self.reply(session, io.outbox, &request, io.now)
            }
            _ => true,
        }
    }

    /// Responds to a request that has been read completely. Returns whether it is finished: it is not while its
    /// credentials are being verified.
    fn reply(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: &Request<'_>,
        now: Now,
    ) -> bool {
        let Some((response, stream)) = self.answer(&mut session.cached_verdict, request, now)
        else {
            return false;
        };
        if response.status == Status::BadRequest {
            // After an invalid request, no more input is interpreted.
            self.send_and_linger(session, outbox, Some(request), &response, now);
            return true;
        }
        let is_chunked = request.version >= Version::Http11;
        let connection_option = match connection_option(request) {
            _ if self.is_shutting_down => ConnectionOption::Close,
            // Only the end of the connection delimits the content (RFC 9112 section 6.3).
            _ if stream.is_some() && !is_chunked => ConnectionOption::Close,
            connection_option => connection_option,
        };
        let response = match stream {
            Some(_) if is_chunked => chunked::with_transfer_encoding(response),
            _ => response,
        };
        self.send(
            session,
            outbox,
            Some(request),
            &response,
            connection_option,
            now,
        );
        session.request_start = None;
        session.state = match stream {
            None => SessionState::after(connection_option),
            Some(stream) => SessionState::Stream(Box::new(StreamingResponse {
                stream,
                wait_until: None,
                is_chunked,
                connection_option,
            })),
        };
        true
    }

    /// Queues the next step of a stream. Returns whether it is complete, and another request may be read.
    fn send_stream(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Stream(streaming) = &mut session.state else {
            return false;
        };
        let tail = io.outbox.tail();
        let start = tail.len();
        let stream = &mut streaming.stream;
        let progress = match self.origin.read_stream(stream, tail, io.now.instant) {
            // Do not wait for content that may never come.
            StreamProgress::Wait(_) if self.is_shutting_down || io.inbox.is_ended() => {
                StreamProgress::Done
            }
            progress => progress,
        };
        let content = (tail.len() - start) as u64;
        if streaming.is_chunked {
            chunked::wrap(tail, start);
        }
        if streaming.is_chunked && progress == StreamProgress::Done {
            tail.extend_from_slice(chunked::LAST_CHUNK);
        }
        let end = io.outbox.sent() + io.outbox.len();
        AccessLog::extend_last(
            &mut session.in_flight,
            content,
            end,
            matches!(progress, StreamProgress::More | StreamProgress::Wait(_)),
        );
        streaming.wait_until = match progress {
            StreamProgress::Wait(until) => Some(until),
            _ => None,
        };
        session.state = match progress {
            StreamProgress::More | StreamProgress::Wait(_) => return false,
            StreamProgress::Done => SessionState::after(streaming.connection_option),
            // Without the last chunk, the client knows that the response is incomplete (RFC 9112 section 8).
            StreamProgress::Failed => SessionState::Closing(Next::Close),
        };
        true
    }

    /// Responds to an invalid request, and ends the session. The client may still be sending. `bytes` begin where the
    /// request begins.
    fn reject(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        bytes: &[u8],
        request: Option<&Request<'_>>,
        (status, reason): (Status, &'static str),
        now: Now,
    ) {
        let response = Response::error_page(status, reason);
        let response = match bytes {
            [b'H', b'E', b'A', b'D', b' ', ..] => response.for_head(),
            _ => response,
        };
        self.send_and_linger(session, outbox, request, &response, now);
    }

    /// Rejects a request that is incomplete, or whose content is invalid.
    fn reject_unfinished(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        reason: (Status, &'static str),
    ) -> Next {
        let pending = match &mut session.state {
            SessionState::Body(content) => std::mem::take(&mut content.head),
            SessionState::Head { .. } | SessionState::Stream(_) | SessionState::Closing(_) => {
                Box::default()
            }
        };
        let bytes = if pending.is_empty() {
            io.inbox.bytes()
        } else {
            &pending
        };
        let mut lines = FieldLines::new();
        let request = match parse::request(bytes, self.options.max_head_bytes, &mut lines) {
            Ok(Parsed::Complete { request, .. }) => Some(request),
            _ => None,
        };
        self.reject(session, io.outbox, bytes, request.as_ref(), reason, io.now);
        Next::Flush
    }

    /// Queues the last response, to a client that may still be sending.
    fn send_and_linger(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        now: Now,
    ) {
        self.send(
            session,
            outbox,
            request,
            response,
            ConnectionOption::Close,
            now,
        );
        session.state = SessionState::Closing(Next::LingeringClose);
    }

    /// Queues a response, and records it for the access log.
    fn send(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        connection_option: ConnectionOption,
        now: Now,
    ) {
        let queued = self.queue(outbox, request, response, connection_option, now);
        refusal::log(request, response, session.peer);
        if let Some(log) = &mut self.log {
            let start = session.request_start.unwrap_or(now.instant);
            let end = outbox.sent() + outbox.len();
            let client = client_address(request, session.peer, &self.options.trusted_proxies);
            let client = client.unwrap_or(session.peer);
            let mut record = LogRecord::new(response.status, client, queued, start, end);
            record.is_streaming = matches!(response.body, Body::Streamed(_));
            let representation = response.representation.as_deref();
            record.coding = representation.map_or(Coding::Identity, |sent| sent.coding);
            record.cache_status = response.cache_status;
            record.reason = response.reason;
            record.is_logged = response.is_logged;
            record.is_authorized = self.auth.is_some() && is_for_authorized_only(response.status);
            log.push(&mut session.in_flight, request, record);
        }
    }

    /// Queues a response's head and content. Returns the bytes of content.
    fn queue(
        &mut self,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        connection_option: ConnectionOption,
        now: Now,
    ) -> u64 {
        let multipart = match (&response.representation, &response.body) {
            (Some(representation), Body::Parts(parts)) => {
                let boundary = self.boundaries.generate();
                Some(Multipart::new(representation, parts, boundary))
            }
            _ => None,
        };
        let generated_fields = match response.has_origin_fields {
            true => Cow::Owned(Fields::new()),
            // The fields of a path would reveal something about it to a client that is not authorized.
            false if self.auth.is_some() && !is_for_authorized_only(response.status) => {
                self.origin.generated_fields(None)
            }
            false => {
                let target = request.and_then(|request| Target::parse(request.target, None).ok());
                self.origin.generated_fields(target.as_ref())
            }
        };
        let date = self.date.render(now.wall);
        encode::head(
            response,
            &generated_fields,
            multipart.as_ref(),
            connection_option,
            date,
            outbox.tail(),
        );
        let Some(Representation { content, .. }) = response.representation.as_deref() else {
            return 0;
        };
        let part = match (&response.body, multipart) {
            (Body::Whole, _) => 0..content.len(),
            (Body::Part(part), _) => part.clone(),
            (Body::Parts(_), Some(multipart)) => {
                let before = outbox.len();
                for (head, part) in multipart.parts() {
                    outbox.tail().extend_from_slice(head.as_bytes());
                    outbox.push(content.clone(), part);
                }
                outbox
                    .tail()
                    .extend_from_slice(multipart.close_delimiter().as_bytes());
                return outbox.len() - before;
            }
            _ => return 0,
        };
        let length = part.end - part.start;
        outbox.push(content.clone(), part);
        length
    }

    /// Logs the responses that have been sent completely, now that `sent` bytes have been sent.
    fn log_sent(&mut self, session: &mut Session<O::Stream>, sent: u64, now: Now) {
        if let Some(log) = &mut self.log {
            let now = (now.instant, now.wall);
            log.finish_sent(&mut session.in_flight, sent, now);
        }
    }

    /// Deadline for the input that the session waits for.
    fn read_deadline(&self, session: &mut Session<O::Stream>, now: Instant) -> Instant {
        match &mut session.state {
            SessionState::Body(content) => content.start + self.options.idle_timeout,
            SessionState::Stream(_) | SessionState::Closing(_) => now + self.options.idle_timeout,
            SessionState::Head {
                is_first,
                wait_start,
                ..
            } => {
                let wait_start = *wait_start.get_or_insert(now);
                match session.request_start {
                    _ if *is_first => wait_start + self.options.header_timeout,
                    // For input that came while a response was being sent, the time starts when that was sent.
                    Some(start) => start.max(wait_start) + self.options.header_timeout,
                    None => wait_start + self.options.idle_timeout,
                }
            }
        }
    }
}

/// Address of the client for which this peer forwarded the request; `None` if the peer is not a trusted proxy.
fn client_address(
    request: Option<&Request<'_>>,
    peer: Address,
    trusted_proxies: &TrustedProxies,
) -> Option<Address> {
    if trusted_proxies.is_empty() || !trusted_proxies.contains(peer.ip()) {
        return None;
    }
    forwarded_client(request?, trusted_proxies).map(|client| match client.port {
        Some(port) => (client.ip, port).into(),
        None => Address::IpWithoutPort(client.ip),
    })
}

impl<O: Origin> Protocol for Http1<O> {
    type Session = Session<O::Stream>;

    fn on_accept(&mut self, peer: &Peer) -> Session<O::Stream> {
        Session {
            peer: peer.address,
            state: SessionState::head(true),
            request_start: None,
            in_flight: None,
            cached_verdict: None,
        }
    }

    fn on_ready(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.drive(session, io)
    }

    fn on_progress(&mut self, session: &mut Session<O::Stream>, sent: u64) {
        if let Some(log) = &self.log {
            log.count_sent(&mut session.in_flight, sent);
        }
    }

    fn on_timeout(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        // Driving the session again refuses an overdue verification, or reads the next step of the stream.
        if session.verification_deadline().is_some() || session.stream_wait().is_some() {
            return self.drive(session, io);
        }
        let is_idle = session.is_idle(io.inbox);
        if let Some(log) = &self.log
            // On shutdown the server, not the client, ends the wait.
            && !(is_idle && self.is_shutting_down)
        {
            log.record_timeout(session.timeout_kind(io.inbox));
        }
        // A client that has sent nothing expects no response.
        if is_idle {
            return Next::Close;
        }
        let reason = (
            Status::RequestTimeout,
            "The request took too long to arrive.",
        );
        self.reject_unfinished(session, io, reason)
    }

    fn idle_since(&self, session: &Session<O::Stream>) -> Option<Instant> {
        match session.state {
            SessionState::Head { wait_start, .. } => wait_start,
            SessionState::Body(ref content) => Some(content.start),
            SessionState::Stream(_) | SessionState::Closing(_) => None,
        }
    }

    fn on_shutdown(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.is_shutting_down = true;
        if let Some(deadline) = session.first_request_deadline(io) {
            *io.deadline = Some(deadline);
            return Next::Read;
        }
        self.drive(session, io)
    }

    fn on_close(&mut self, session: Session<O::Stream>, io: &mut Io<'_>, reason: CloseReason) {
        if let Some(log) = &mut self.log {
            let now = (io.now.instant, io.now.wall);
            let sent = io.outbox.sent();
            log.finish_all(session.in_flight, sent, incomplete_reason(&reason), now);
        }
    }

    fn on_turn_start(&mut self, is_notified: bool) {
        self.origin.mark_stale(is_notified);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.origin.next_timer()
    }

    fn on_timer(&mut self, now: Now) {
        self.origin.on_timer(now.wall);
    }

    fn on_turn_end(&mut self, clock: impl FnOnce() -> Now) {
        // Cached lookups that are valid for one turn must not be used after it.
        self.origin.mark_stale(false);
        if let Some(log) = &mut self.log {
            log.on_turn_end(|| {
                let now = clock();
                (now.instant, now.wall)
            });
        }
    }
}

impl<L> SessionState<L> {
    /// State after a response.
    fn after(connection_option: ConnectionOption) -> Self {
        match connection_option {
            ConnectionOption::Close => Self::Closing(Next::Close),
            ConnectionOption::Omitted | ConnectionOption::KeepAlive => Self::head(false),
        }
    }

    /// State before the first byte of a head.
    fn head(is_first: bool) -> Self {
        Self::Head {
            is_first,
            wait_start: None,
            has_skipped_empty_line: false,
        }
    }
}

impl<L> Session<L> {
    /// Deadline until which a new connection without input stays open on shutdown.
    fn first_request_deadline(&self, io: &Io<'_>) -> Option<Instant> {
        match self.state {
            SessionState::Head {
                is_first: true,
                wait_start: Some(wait_start),
                ..
            } if self.is_idle(io.inbox) => io.first_request_deadline(self.peer, wait_start),
            _ => None,
        }
    }

    /// Whether nothing of a next request has arrived.
    fn is_idle(&self, inbox: &Inbox) -> bool {
        matches!(self.state, SessionState::Head { .. }) && inbox.is_empty()
    }

    /// Kind of input that the session waits for.
    fn timeout_kind(&self, inbox: &Inbox) -> TimeoutKind {
        match self.state {
            SessionState::Body(_) => TimeoutKind::Content,
            SessionState::Head {
                is_first: false, ..
            } if inbox.is_empty() => TimeoutKind::Request,
            SessionState::Head { .. } | SessionState::Stream(_) | SessionState::Closing(_) => {
                TimeoutKind::Head
            }
        }
    }

    /// Deadline of the verification in progress, if there is one.
    fn verification_deadline(&self) -> Option<Instant> {
        self.cached_verdict.as_ref()?.pending_until()
    }

    /// Time until which the stream has no more content, if there is a stream and it waits.
    fn stream_wait(&self) -> Option<Instant> {
        match &self.state {
            SessionState::Stream(streaming) => streaming.wait_until,
            _ => None,
        }
    }
}

/// Reason why responses are incomplete, for a session that ended like this.
fn incomplete_reason(reason: &CloseReason) -> Option<&'static str> {
    Some(match reason {
        CloseReason::Local => return None,
        CloseReason::Peer => "The client closed the connection early.",
        CloseReason::TimedOut => "The client was too slow.",
        CloseReason::Evicted => "The connection was evicted for a new one.",
        CloseReason::FileChanged => "The file changed while it was sent.",
        CloseReason::Io(_) => "The connection broke.",
    })
}

/// Whether the response depends on authorization: all but errors that follow from the request's head alone.
fn needs_authorization(validated: &Result<Target<'_>, Response>) -> bool {
    match validated {
        Ok(_) => true,
        Err(response) => response.status == Status::NoContent,
    }
}

/// Decides whether the connection persists after this request (RFC 9112 section 9.3).
fn connection_option(request: &Request<'_>) -> ConnectionOption {
    match request.version {
        _ if request.list_has("Connection", "close") => ConnectionOption::Close,
        Version::Http11 => ConnectionOption::Omitted,
        Version::Http10 if request.list_has("Connection", "keep-alive") => {
            ConnectionOption::KeepAlive
        }
        Version::Http10 => ConnectionOption::Close,
    }
}

/// Length of an empty line at the front.
fn empty_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::mpsc::{Sender, channel};
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::auth::{Users, Verifier};
    use crate::blob::Blob;
    use crate::http::{EntityTag, ListingRepresentations, NoStream, StreamKind, Validators};

    /// A session without a socket, with its input and its output.
    struct SessionHarness<O> {
        http: Http1<O>,
        session: Session<NoStream>,
        inbox: Inbox,
        outbox: Outbox,
        deadline: Option<Instant>,
        now: Now,
        output: Vec<u8>,
    }

    fn find(target: &Target<'_>, _: SystemTime) -> Lookup {
        match &*target.path() {
            b"" => {
                let hello = Representation::new(Blob::Static(b"hello"), "text/plain");
                Lookup::Found(Arc::new(hello.into()))
            }
            b"large" => {
                let large = Representation::new(vec![b'x'; 100_000].into(), "text/plain");
                Lookup::Found(Arc::new(large.into()))
            }
            b"tagged" => {
                let tagged = Representation::new(vec![b'x'; 1000].into(), "text/plain");
                let tag = Some(EntityTag::new(0xa));
                let tagged = tagged.with_validators(Validators {
                    tag,
                    modified: None,
                });
                Lookup::Found(Arc::new(tagged.into()))
            }
            b"folder" => Lookup::Directory,
            _ => Lookup::NotFound(None),
        }
    }

    type FindFunction = fn(&Target<'_>, SystemTime) -> Lookup;

    impl SessionHarness<FindFunction> {
        fn new() -> Self {
            let options = HttpOptions {
                max_head_bytes: 200,
                max_content_bytes: 20,
                ..HttpOptions::default()
            };
            let mut http = Http1::new(find as FindFunction, options, None);
            let session = http.on_accept(&Peer {
                address: Address::from(([127, 0, 0, 1], 80)),
            });
            Self {
                http,
                session,
                inbox: Inbox::default(),
                outbox: Outbox::default(),
                deadline: None,
                now: Now {
                    instant: Instant::now(),
                    wall: UNIX_EPOCH,
                },
                output: Vec::new(),
            }
        }

        fn call<T>(
            &mut self,
            call: impl FnOnce(&mut Http1<FindFunction>, &mut Session<NoStream>, &mut Io<'_>) -> T,
        ) -> T {
            let Self {
                http,
                session,
                inbox,
                outbox,
                deadline,
                now,
                ..
            } = self;
            call(
                http,
                session,
                &mut Io {
                    inbox,
                    outbox,
                    deadline,
                    now: *now,
                },
            )
        }

        /// Drives the session, and takes its output, until it waits for something else.
        fn drive(&mut self) -> Next {
            loop {
                let next = self.call(Http1::on_ready);
                let output = self.outbox.take();
                self.output.extend(&output);
                if !matches!(next, Next::Flush | Next::FlushThenRead) || output.is_empty() {
                    return next;
                }
            }
        }

        /// Receives bytes, cut into pieces, until the session stops reading.
        fn receive(&mut self, bytes: &[u8], cuts: &[usize]) -> Next {
            let mut next = self.drive();
            let mut start = 0;
            for end in cuts.iter().copied().chain([bytes.len()]) {
                if !matches!(next, Next::Read) {
                    break;
                }
                self.inbox.receive(&bytes[start..end]);
                start = end;
                next = self.drive();
            }
            next
        }

        fn statuses(&self) -> Vec<String> {
            let output = String::from_utf8_lossy(&self.output);
            let codes = output.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]);
            codes
                .filter(|code| code.parse::<u16>().is_ok())
                .map(str::to_owned)
                .collect()
        }
    }

    /// Asserts the statuses sent for these bytes, and that the output does not depend on how they are cut.
    fn check(bytes: &str, statuses: &[&str], next: Next) -> String {
        let bytes = bytes.as_bytes();
        let mut whole = SessionHarness::new();
        assert_eq!(whole.receive(bytes, &[]), next, "{}", bytes.escape_ascii());
        assert_eq!(whole.statuses(), statuses, "{}", bytes.escape_ascii());
        let each: Vec<usize> = (1..bytes.len()).collect();
        for cuts in (0..bytes.len()).map(|cut| vec![cut]).chain([each]) {
            let mut cut = SessionHarness::new();
            assert_eq!(cut.receive(bytes, &cuts), next);
            assert!(
                cut.output == whole.output,
                "cut at {cuts:?}: {}",
                bytes.escape_ascii()
            );
        }
        String::from_utf8(whole.output).unwrap()
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn request_gets_a_response() {
        let output = check(GET, &["200"], Next::Read);
        let expected = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
            Content-Type: text/plain\r\n\
            Content-Length: 5\r\n\r\nhello";
        assert_eq!(output, expected);
    }

    const CREDENTIALS: &str = "Authorization: Basic YTpi\r\n";

    /// A session that requires authorization, with one user, whose hash takes seconds.
    fn harness_with_auth() -> SessionHarness<FindFunction> {
        let hash = "$2y$16$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du";
        let users = Users::parse(format!("a:{hash}").as_bytes()).unwrap();
        let auth = Verifier::new(users, NonZeroUsize::MIN)
            .unwrap()
            .handle()
            .unwrap();
        let mut harness = SessionHarness::new();
        harness.http.auth = Some(auth);
        harness
    }

    #[test]
    fn request_waits_for_verification_until_a_deadline() {
        let plain = format!("GET / HTTP/1.1\r\nHost: a\r\n{CREDENTIALS}");
        for request in [
            format!("{plain}\r\n"),
            format!("{plain}Content-Length: 3\r\n\r\nabc"),
            format!("{plain}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ] {
            let mut harness = harness_with_auth();
            harness.inbox.receive(GET.as_bytes());
            harness.inbox.receive(request.as_bytes());
            harness.inbox.receive(GET.as_bytes());
            harness.inbox.end();
            assert_eq!(harness.drive(), Next::AwaitWake);
            let output = String::from_utf8(std::mem::take(&mut harness.output)).unwrap();
            assert!(output.starts_with("HTTP/1.1 401 ") && output.matches("HTTP/1.1").count() == 1);
            assert_eq!(harness.drive(), Next::AwaitWake, "nothing has changed");
            assert_eq!(
                harness.call(Http1::on_shutdown),
                Next::AwaitWake,
                "a pending request is finished"
            );
            harness.http.is_shutting_down = false;
            assert!(harness.output.is_empty());
            harness.now.instant = harness.deadline.take().expect("the wait has a deadline");
            assert_eq!(harness.call(Http1::on_timeout), Next::Flush);
            let output = harness.outbox.take();
            let output = String::from_utf8(output).unwrap();
            assert!(
                output.starts_with("HTTP/1.1 503 ") && output.contains("\r\nRetry-After: 5\r\n")
            );
            // The next request is answered as usual.
            assert!(output.contains("HTTP/1.1 401 "), "{output}");
            assert_eq!(harness.drive(), Next::Close);
        }
    }

    #[test]
    fn pipelined_responses_keep_their_order() {
        let pipelined = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n\
            HEAD / HTTP/1.1\r\nHost: a\r\n\r\n\
            GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n\
            GET /folder HTTP/1.1\r\nHost: a\r\n\r\n";
        let output = check(
            &pipelined.repeat(2),
            &["200", "200", "404", "301"].repeat(2),
            Next::Read,
        );
        assert_eq!(output.matches("xHTTP/1.1 200").count(), 2);
    }

    #[test]
    fn connection_persists_by_version_and_connection_field() {
        let get = |rest: &str| format!("GET / HTTP/{rest}\r\n\r\n");
        let host = "1.1\r\nHost: a\r\nConnection:";
        for close in [
            get("1.0"),
            get(&format!("{host} x, Close")),
            get("1.0\r\nConnection: x"),
        ] {
            let output = check(&(close + GET), &["200"], Next::Close);
            assert!(output.contains("\r\nConnection: close\r\n"));
        }
        for persistent in [
            "1.0\r\nConnection: keep-alive",
            &format!("{host} keep-alive"),
        ] {
            check(&(get(persistent) + GET), &["200", "200"], Next::Read);
        }
        let output = check(&get("1.0\r\nConnection: Keep-Alive"), &["200"], Next::Read);
        assert!(output.contains("\r\nConnection: keep-alive\r\n"));
    }

    #[test]
    fn request_content_is_drained() {
        let get = |fields: &str, content: &str| {
            format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{content}{GET}")
        };
        let both = &["200", "200"];
        check(&get("Content-Length: 3", "abc"), both, Next::Read);
        check(
            &get("Transfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n"),
            both,
            Next::Read,
        );
        check(
            &get("Transfer-Encoding: chunked", "3\r\nabcd"),
            &["400"],
            Next::LingeringClose,
        );
        check(
            &get("Content-Length: 21", ""),
            &["413"],
            Next::LingeringClose,
        );
        check(
            &get("Content-Length: 3\r\nTransfer-Encoding: chunked", ""),
            &["400"],
            Next::LingeringClose,
        );
        check(
            &get("Transfer-Encoding: gzip, chunked", ""),
            &["501"],
            Next::LingeringClose,
        );
        let expecting = get("Content-Length: 3\r\nExpect: 100-continue", "abc");
        check(&expecting, &["100", "200", "200"], Next::Read);
        let refused = expecting.replacen("GET", "POST", 1);
        check(&refused, &["405"], Next::LingeringClose);
        let large = get("Content-Length: 21", "").replacen("GET", "POST", 1);
        check(&large, &["405"], Next::LingeringClose);
    }

    #[test]
    fn input_after_an_error_is_ignored() {
        for (refused, status) in [
            ("GET / HTTP/2.0\r\n\r\n", "505"),
            ("GET /\r\n\r\n", "400"),
            ("\r\n\r\n", "400"),
            (&format!("GET /{} HTTP/1.1\r\n", "a".repeat(200)), "414"),
            (
                &format!("GET / HTTP/1.1\r\nA: {}\r\n", "a".repeat(200)),
                "431",
            ),
        ] {
            let output = check(
                &(GET.to_owned() + refused + GET),
                &["200", status],
                Next::LingeringClose,
            );
            assert!(output.contains("\r\nConnection: close\r\n"));
        }
    }

    #[test]
    fn partial_and_not_modified_responses_are_framed() {
        let get = |line: &str| format!("GET /tagged HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        let not_modified = get("If-None-Match: \"0000000000000000000000000000000a\"");
        let part = get("Range: bytes=990-");
        let output = check(
            &(not_modified + &part + GET),
            &["304", "206", "200"],
            Next::Read,
        );
        let end_of_304 = "ETag: \"0000000000000000000000000000000a\"\r\n\r\nHTTP/1.1 206";
        assert!(output.contains(end_of_304), "{output}");
        let end_of_206 = "Content-Range: bytes 990-999/1000\r\nContent-Length: 10\r\n\r\n\
            xxxxxxxxxxHTTP/1.1 200";
        assert!(output.contains(end_of_206), "{output}");
    }

    #[test]
    fn multipart_content_has_the_announced_length() {
        let parts = "GET /tagged HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9,500-\r\n\r\n";
        let mut harness = SessionHarness::new();
        harness.receive((parts.to_owned() + GET).as_bytes(), &[]);
        let output = String::from_utf8(harness.output).unwrap();
        let (head, rest) = output.split_once("\r\n\r\n").unwrap();
        let (_, length) = head.split_once("Content-Length: ").unwrap();
        let (content, next) = rest.split_at(length.parse().unwrap());
        assert!(content.ends_with("--\r\n"), "{content}");
        assert_eq!(
            content.matches('x').count(),
            10 + 500 + "text/".matches('x').count() * 2
        );
        assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{next}");
    }

    #[test]
    fn idle_since_is_the_start_of_the_wait() {
        let mut harness = SessionHarness::new();
        let idle_since =
            |harness: &SessionHarness<FindFunction>| harness.http.idle_since(&harness.session);
        let start = harness.now.instant;
        harness.drive();
        assert_eq!(idle_since(&harness), Some(start), "no input yet");
        harness.now.instant += Duration::from_secs(1);
        harness.inbox.receive(b"GET / HTTP/1.1\r\n");
        harness.drive();
        assert_eq!(idle_since(&harness), Some(start), "in a head");
        harness.inbox.receive(b"Host: a\r\n\r\n");
        harness.drive();
        assert_eq!(idle_since(&harness), Some(harness.now.instant), "answered");
        harness
            .inbox
            .receive(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
        harness.drive();
        let head_received = harness.now.instant;
        harness.now.instant += Duration::from_secs(1);
        harness.drive();
        assert_eq!(idle_since(&harness), Some(head_received), "in content");
        harness.inbox.receive(b"abc");
        harness.inbox.end();
        harness.call(Http1::on_ready);
        assert_eq!(idle_since(&harness), None, "after the last response");
    }

    #[test]
    fn one_empty_line_before_a_request_is_ignored() {
        check(&format!("\r\n{GET}\r\n{GET}"), &["200", "200"], Next::Read);
    }

    #[test]
    fn error_response_to_head_has_no_content() {
        let head = GET.replace("GET", "HEAD");
        for bad in [
            head.replace("\r\n\r\n", "\r\nTransfer-Encoding: x\r\n\r\n"),
            head.replace("/ ", "/% "),
        ] {
            let mut harness = SessionHarness::new();
            harness.receive(bad.as_bytes(), &[]);
            assert!(
                harness.output.ends_with(b"\r\n\r\n"),
                "{}",
                harness.output.escape_ascii()
            );
        }
    }

    #[test]
    fn half_closed_client_receives_response() {
        let end = |bytes: &str| {
            let mut harness = SessionHarness::new();
            harness.inbox.receive(bytes.as_bytes());
            harness.inbox.end();
            let next = harness.drive();
            (harness.statuses().join(" "), next)
        };
        assert_eq!(end(""), (String::new(), Next::Close));
        assert_eq!(end(&GET.repeat(2)), ("200 200".into(), Next::Close));
        assert_eq!(end("GET / HTTP"), ("400".into(), Next::LingeringClose));
        let incomplete = GET.replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(end(&incomplete), ("400".into(), Next::LingeringClose));
    }

    #[test]
    fn session_size_is_bounded() {
        // There are thousands of sessions, most of them idle; net/reactor.rs relies on this size.
        let size = size_of::<Session<NoStream>>();
        assert!(size <= 96, "{size} bytes");
    }

    #[test]
    fn deadline_depends_on_state() {
        let seconds = |harness: &SessionHarness<FindFunction>| {
            harness
                .deadline
                .map(|deadline| deadline.duration_since(harness.now.instant).as_secs())
        };
        let mut harness = SessionHarness::new();
        harness.drive();
        assert_eq!(seconds(&harness), Some(10), "no input yet");
        harness.inbox.receive(GET.as_bytes());
        harness.drive();
        assert_eq!(seconds(&harness), Some(60), "idle");
        harness.inbox.receive(b"GET");
        harness.drive();
        assert_eq!(seconds(&harness), Some(10), "in a head");
        harness.now.instant += Duration::from_secs(4);
        harness.inbox.receive(b" / HTTP/1.1\r\n");
        harness.drive();
        assert_eq!(seconds(&harness), Some(6), "still in the same head");
        harness
            .inbox
            .receive(b"Host: a\r\nContent-Length: 2\r\n\r\n");
        harness.drive();
        assert_eq!(seconds(&harness), Some(60), "in content");
        harness.inbox.receive(b"ab");
        assert_eq!(harness.call(Http1::on_ready), Next::FlushThenRead);
        assert_eq!(seconds(&harness), Some(60), "if it is sent at once");
        harness.now.instant += Duration::from_secs(4);
        harness.outbox.take();
        assert_eq!(harness.call(Http1::on_ready), Next::Read);
        assert_eq!(seconds(&harness), Some(60), "once it is sent");
        harness.inbox.receive(format!("{GET}GET").as_bytes());
        assert_eq!(harness.call(Http1::on_ready), Next::Flush);
        assert_eq!(
            seconds(&harness),
            None,
            "the output rate is checked while a response is sent"
        );
    }

    #[test]
    fn incomplete_request_gets_408_and_idle_connection_closes() {
        let expire = |bytes: &str| {
            let mut harness = SessionHarness::new();
            harness.inbox.receive(bytes.as_bytes());
            harness.drive();
            let next = match harness.call(Http1::on_timeout) {
                Next::Flush => {
                    harness.output.extend(harness.outbox.take());
                    harness.drive()
                }
                next => next,
            };
            (harness.statuses().join(" "), next)
        };
        assert_eq!(expire(""), (String::new(), Next::Close));
        assert_eq!(expire(GET), ("200".into(), Next::Close));
        assert_eq!(expire("GET /"), ("408".into(), Next::LingeringClose));
        let incomplete = GET.replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(expire(&incomplete), ("408".into(), Next::LingeringClose));
    }

    #[test]
    fn shutdown_finishes_requests_in_progress() {
        let mut idle = SessionHarness::new();
        idle.receive(GET.as_bytes(), &[]);
        assert_eq!(idle.call(Http1::on_shutdown), Next::Close);
        let mut busy = SessionHarness::new();
        busy.receive(b"GET / HTTP/1.1\r\n", &[]);
        assert_eq!(busy.call(Http1::on_shutdown), Next::Read);
        busy.inbox.receive(b"Host: a\r\n\r\n");
        assert_eq!(busy.drive(), Next::Close);
        assert!(String::from_utf8_lossy(&busy.output).contains("\r\nConnection: close\r\n"));
    }

    /// An origin with one listing, whose stream gives an entry in every third step.
    struct ListingOrigin {
        fails: bool,
    }

    impl Origin for ListingOrigin {
        type Stream = u32;

        fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Finding {
            let representation = Arc::new(Representation::new(Blob::Static(b""), "text/plain"));
            let listing = Lookup::Listing(Arc::new(ListingRepresentations {
                html: representation.clone(),
                json: representation.clone(),
                text: representation,
            }));
            listing.into()
        }

        fn open_stream(&mut self, _: &Target<'_>, _: StreamKind) -> Result<u32, Lookup> {
            Ok(0)
        }

        fn read_stream(
            &mut self,
            step: &mut u32,
            into: &mut Vec<u8>,
            _: Instant,
        ) -> StreamProgress {
            *step += 1;
            if step.is_multiple_of(3) {
                into.extend_from_slice(b"an entry\n");
            }
            match *step {
                9 if self.fails => StreamProgress::Failed,
                9 => StreamProgress::Done,
                _ => StreamProgress::More,
            }
        }
    }

    /// Sends requests for a listing. Returns the output, what the session waits for at the end, and how often it
    /// yielded.
    fn drive_listing(request: &str, fails: bool) -> (String, Next, usize) {
        let mut http = Http1::new(ListingOrigin { fails }, HttpOptions::default(), None);
        let mut session = http.on_accept(&Peer {
            address: Address::from(([127, 0, 0, 1], 80)),
        });
        let (mut inbox, mut outbox, mut deadline) = Default::default();
        Inbox::receive(&mut inbox, request.as_bytes());
        let (mut output, mut yields) = (Vec::new(), 0);
        loop {
            let next = http.on_ready(
                &mut session,
                &mut Io {
                    inbox: &mut inbox,
                    outbox: &mut outbox,
                    deadline: &mut deadline,
                    now: Now {
                        instant: Instant::now(),
                        wall: UNIX_EPOCH,
                    },
                },
            );
            let is_quiet = outbox.is_empty();
            output.extend(outbox.take());
            yields += usize::from(next == Next::Yield);
            if next != Next::Yield && is_quiet {
                return (String::from_utf8(output).unwrap(), next, yields);
            }
        }
    }

    #[test]
    fn listing_is_streamed_before_the_next_response() {
        let get =
            |version: &str, rest: &str| format!("GET / HTTP/{version}\r\nHost: a\r\n{rest}\r\n");
        let content = "9\r\nan entry\n\r\n".repeat(3);
        let (output, next, yields) = drive_listing(&get("1.1", "").repeat(2), false);
        assert_eq!((next, yields), (Next::Read, 16));
        let responses: Vec<&str> = output.split("HTTP/1.1 200 OK\r\n").collect();
        let [before, first, second] = responses[..] else {
            panic!("{output}");
        };
        assert_eq!((before, first), ("", second));
        let (head, rest) = first.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(rest, format!("{content}0\r\n\r\n"));

        let (output, next, _) = drive_listing(&get("1.1", ""), true);
        assert_eq!(next, Next::Close);
        assert!(
            output.ends_with(&format!("\r\n\r\n{content}")),
            "no last chunk: {output}"
        );

        let (output, next, _) = drive_listing(&get("1.1", "Connection: close\r\n"), false);
        assert_eq!(next, Next::Close);
        assert!(output.ends_with("0\r\n\r\n"), "{output}");

        let (output, next, _) = drive_listing(&get("1.0", "Connection: keep-alive\r\n"), false);
        assert_eq!(next, Next::Close, "the end of the connection delimits it");
        let (head, rest) = output.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(
            !head.contains("chunked") && !head.contains("Content-Length"),
            "{head}"
        );
        assert_eq!(rest, "an entry\n".repeat(3));

        let head = get("1.1", "").replace("GET", "HEAD");
        let (output, next, yields) = drive_listing(&(head + &get("1.0", "")), false);
        assert_eq!((next, yields), (Next::Close, 8), "only GET streams");
        let (head, rest) = output.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    }

    /// An origin of events that sends only a heartbeat, every ten seconds.
    struct HeartbeatOrigin;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    impl Origin for HeartbeatOrigin {
        type Stream = Option<Instant>;

        fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Finding {
            Lookup::Events.into()
        }

        fn open_stream(
            &mut self,
            _: &Target<'_>,
            _: StreamKind,
        ) -> Result<Option<Instant>, Lookup> {
            Ok(None)
        }

        fn read_stream(
            &mut self,
            due: &mut Option<Instant>,
            into: &mut Vec<u8>,
            now: Instant,
        ) -> StreamProgress {
            let next = match *due {
                Some(due) if now < due => due,
                _ => {
                    into.extend_from_slice(b":\n\n");
                    now + HEARTBEAT
                }
            };
            *due = Some(next);
            StreamProgress::Wait(next)
        }
    }

    #[test]
    fn event_stream_ends_on_close_or_shutdown() {
        type ProtocolCall =
            fn(&mut Http1<HeartbeatOrigin>, &mut Session<Option<Instant>>, &mut Io<'_>) -> Next;
        for ended_by in ["client", "shutdown", "nothing"] {
            let mut http = Http1::new(HeartbeatOrigin, HttpOptions::default(), None);
            let mut session = http.on_accept(&Peer {
                address: Address::Ip(([127, 0, 0, 1], 80).into()),
            });
            let (mut inbox, mut outbox, mut deadline) = <(Inbox, Outbox, _)>::default();
            inbox.receive(GET.as_bytes());
            let start = Instant::now();
            let mut call = |call: ProtocolCall, seconds, ended: bool| {
                if ended {
                    inbox.end();
                }
                let instant = start + Duration::from_secs(seconds);
                let mut output = String::new();
                loop {
                    let wall = UNIX_EPOCH;
                    let (inbox, outbox) = (&mut inbox, &mut outbox);
                    let deadline = &mut deadline;
                    let next = call(
                        &mut http,
                        &mut session,
                        &mut Io {
                            inbox,
                            outbox,
                            deadline,
                            now: Now { instant, wall },
                        },
                    );
                    let taken = outbox.take();
                    if taken.is_empty() || next == Next::Close {
                        output += &String::from_utf8(taken).unwrap();
                        assert_eq!(
                            http.idle_since(&session),
                            None,
                            "an event stream is not evicted as idle"
                        );
                        return (next, output, deadline.map(|due| due - start));
                    }
                    assert_eq!((next, *deadline), (Next::Flush, None));
                    output += &String::from_utf8(taken).unwrap();
                }
            };
            let (next, output, due) = call(Http1::on_ready, 0, false);
            let (head, content) = output.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
            assert!(head.contains("\r\nCache-Control: no-store\r\n"));
            assert_eq!((next, due), (Next::ReadOrWake, Some(HEARTBEAT)));
            let heartbeat = "3\r\n:\n\n\r\n";
            assert_eq!(content, heartbeat);
            let rest = call(Http1::on_ready, 1, false);
            assert_eq!(rest, (Next::ReadOrWake, String::new(), Some(HEARTBEAT)));
            let rest = call(Http1::on_timeout, 10, false);
            assert_eq!(
                rest,
                (Next::ReadOrWake, heartbeat.into(), Some(2 * HEARTBEAT))
            );
            let end = "0\r\n\r\n".to_owned();
            match ended_by {
                "client" => {
                    assert_eq!(call(Http1::drive, 11, true), (Next::Close, end, None));
                }
                "shutdown" => assert_eq!(
                    call(Http1::on_shutdown, 11, false),
                    (Next::Close, end, None)
                ),
                _ => {}
            }
        }
    }

    struct LineChannel(Sender<String>);

    impl crate::log::LineSink for LineChannel {}

    impl std::io::Write for LineChannel {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_response_is_logged_once_sent() {
        let (sender, lines) = channel();
        let (line_writer, writer) =
            LineWriter::new("it", Duration::ZERO, LineChannel(sender)).unwrap();
        let mut harness = SessionHarness::new();
        harness.http.log = Some(AccessLog::new(line_writer, LogFormat::Combined));
        harness.receive(
            format!("{GET}GET /nothing\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
            &[],
        );
        harness
            .inbox
            .receive(b"HEAD /large HTTP/1.1\r\nHost: a\r\n\r\nbad\r\n");
        harness.call(Http1::on_ready);
        harness.now.instant += Duration::from_millis(1500);
        let SessionHarness {
            mut http,
            session,
            mut inbox,
            mut outbox,
            mut deadline,
            now,
            ..
        } = harness;
        let missing = outbox.len();
        let mut io = Io {
            inbox: &mut inbox,
            outbox: &mut outbox,
            deadline: &mut deadline,
            now,
        };
        http.on_close(session, &mut io, CloseReason::Peer);
        http.on_turn_end(|| now);
        drop(http);
        assert_eq!(writer.finish(Duration::from_secs(10)), Ok(()));
        assert!(missing > 0);
        let prefix = "127.0.0.1 - - [01/Jan/1970:00:00:00 +0000] ";
        let all: String = lines.iter().collect();
        let lines: Vec<&str> = all
            .lines()
            .map(|line| line.strip_prefix(prefix).unwrap())
            .collect();
        let not_found = "\"GET /nothing\\xC3\\xA9 HTTP/1.1\" 404 ";
        assert_eq!(lines[0], "\"GET / HTTP/1.1\" 200 5 \"-\" \"-\"");
        assert!(lines[1].starts_with(not_found), "{}", lines[1]);
        let large = "\"HEAD /large HTTP/1.1\" 200 - \"-\" \"-\"";
        assert_eq!(lines[2], large);
        let aborted = "\"-\" 400 - \"-\" \"-\"";
        assert_eq!(lines[3], aborted, "none of its content was sent");
        assert_eq!(lines.len(), 4);
    }
}
