//! The session of an HTTP/1.1 connection: reads requests, has them answered, and queues the responses.
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
//! answered. After an error no more input is interpreted. Two states are between a request and its response's end:
//! Authorizing, while its credentials are being verified, and Streaming, while a response of unknown length is
//! generated and sent.

use std::time::{Instant, SystemTime};

use super::body::{self, BodyDrain, BodyError, Framing};
use super::chunked;
use super::encode::{self, ConnectionOption};
use super::options::HttpOptions;
use super::parse::{self, FieldLines, Parsed};
use super::states::{BodyWait, HeadWait, SessionState, StreamingResponse};
use super::writer::{ResponseWriter, frame};
use crate::http::{Origin, Request, RequestField, Response, Status, StreamProgress, Version};
use crate::net::{CloseReason, Io, Next, Now, Outbox, Peer, Protocol};
use crate::service::{Answer, Client, Service, TimeoutKind};

/// HTTP/1.1 and HTTP/1.0 as a [`Protocol`], for a service.
#[derive(Debug)]
pub struct Http1<O> {
    service: Service<O>,
    options: HttpOptions,
    writer: ResponseWriter,
    is_shutting_down: bool,
}

/// A connection: its client, as the service knows it, and its state.
#[derive(Debug)]
pub struct Session<S> {
    client: Client,
    state: SessionState<S>,
}

impl<O: Origin> Http1<O> {
    /// Creates the protocol for `service`.
    pub fn new(service: Service<O>, options: HttpOptions) -> Self {
        Self {
            service,
            options,
            writer: ResponseWriter::default(),
            is_shutting_down: false,
        }
    }

    /// Does all steps that are possible, then returns what to wait for.
    fn drive(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        let sent = io.outbox.sent();
        self.service.on_sent(&mut session.client, sent, io.now);
        *io.deadline = None;
        if let SessionState::Head(wait) = &mut session.state
            && !wait.is_first
            && io.inbox.is_empty()
        {
            // No input has come, so a response has been sent, and the wait for the next request begins.
            wait.wait_start = None;
        }
        let mut is_pipelined = false;
        while io.outbox.has_room() && self.step(session, io) {
            if io.inbox.is_empty() && matches!(session.state, SessionState::Head(_)) {
                // The usual end: the next request has not come.
                break;
            }
            // A pipelined request may have been sent after the turn began, and after a file changed.
            if !is_pipelined && !io.inbox.is_empty() {
                is_pipelined = true;
                self.service.mark_stale(true);
            }
        }
        self.wait(session, io)
    }

    /// Does one step. Returns whether another one may be possible; otherwise more input is needed.
    fn step(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        match session.state {
            SessionState::Head(_) => self.read_head(session, io),
            SessionState::Body(_) => self.read_content(session, io),
            SessionState::Authorizing(_) => self.authorize(session, io),
            SessionState::Streaming(_) => self.send_stream(session, io),
            SessionState::Closing(_) => false,
        }
    }

    /// Returns what to wait for after the last possible step, and sets the deadline.
    fn wait(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        let is_flushed = io.outbox.is_empty();
        let (deadline, next) = match &mut session.state {
            SessionState::Streaming(streaming) => match streaming.wait_until {
                None => return Next::Yield,
                Some(_) if !is_flushed => return Next::Flush,
                Some(until) => (until, Next::ReadOrWake),
            },
            SessionState::Head(wait) => {
                let is_idle = io.inbox.is_empty();
                let is_last = io.inbox.is_ended() || self.is_shutting_down;
                let next = match is_flushed {
                    false if !is_idle || is_last || session.client.has_in_flight() => {
                        return Next::Flush;
                    }
                    false => Next::FlushThenRead,
                    true if is_idle && is_last => return Next::Close,
                    true if io.inbox.is_ended() => return self.reject_ended(session, io),
                    true => Next::Read,
                };
                (wait.deadline(&self.options, io.now.instant), next)
            }
            _ if !is_flushed => return Next::Flush,
            SessionState::Body(_) if io.inbox.is_ended() => return self.reject_ended(session, io),
            SessionState::Body(wait) => (wait.deadline(&self.options), Next::Read),
            SessionState::Authorizing(wait) => (wait.until, Next::AwaitWake),
            SessionState::Closing(next) => return *next,
        };
        *io.deadline = Some(deadline);
        next
    }

    fn read_head(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Head(wait) = &mut session.state else {
            return false;
        };
        if !wait.has_skipped_empty_line && io.inbox.bytes().starts_with(b"\r\n") {
            // An empty line before a request line is ignored, once (RFC 9112 section 2.2).
            wait.has_skipped_empty_line = true;
            io.inbox.consume(2);
        }
        if io.inbox.is_empty() {
            return false;
        }
        if wait.request_start.is_some() {
            // The rest of this head may have arrived in this turn, after a file changed.
            self.service.mark_stale(true);
        }
        wait.request_start.get_or_insert(io.now.instant);
        let length = self.read_request(session, io.inbox.bytes(), io.outbox, io.now);
        io.inbox.consume(length);
        length > 0
    }

    /// Parses a request's head, and responds if it has no content. Returns the number of bytes to consume: 0 if the
    /// head is incomplete or refused.
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
        let head = bytes.get(..length).unwrap_or_default();
        let drain = match body::framing(&request) {
            Ok(Framing::Length(0)) => {
                if let Some(until) = self.reply(session, outbox, &request, now) {
                    session.state = session.state.authorizing(head.into(), until);
                }
                return length;
            }
            Ok(framing) => BodyDrain::new(framing, self.options.max_content_bytes),
            Err(error) => Err(error),
        };
        let expects = request.fields.has(RequestField::Expect);
        let expects = expects && request.version >= Version::Http11;
        if (expects || matches!(drain, Err(BodyError::TooLarge)))
            && let Some(response) = self.service.early_error(&request)
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
        session.state = SessionState::Body(Box::new(BodyWait {
            head: head.into(),
            drain,
            request_start: session.state.request_start(),
            wait_start: now.instant,
        }));
        length
    }

    fn read_content(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Body(wait) = &mut session.state else {
            return false;
        };
        let (count, is_complete) = match wait.drain.advance(io.inbox.bytes()) {
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
        let head = std::mem::take(&mut wait.head);
        self.reply_to_kept(session, io, head)
    }

    fn authorize(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Authorizing(wait) = &mut session.state else {
            return false;
        };
        let head = std::mem::take(&mut wait.head);
        self.reply_to_kept(session, io, head)
    }

    /// Responds to a request whose head was kept. Returns whether it is finished: it is not while its credentials are
    /// being verified.
    fn reply_to_kept(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        head: Box<[u8]>,
    ) -> bool {
        self.service.mark_stale(true);
        let mut lines = FieldLines::new();
        let parsed = parse::request(&head, self.options.max_head_bytes, &mut lines);
        let pending = match parsed {
            Ok(Parsed::Complete { request, .. }) => {
                self.reply(session, io.outbox, &request, io.now)
            }
            // It has been parsed before.
            _ => None,
        };
        drop(lines);
        if let Some(until) = pending {
            session.state = session.state.authorizing(head, until);
        }
        pending.is_none()
    }
}

/// Responses.
impl<O: Origin> Http1<O> {
    /// Responds to a request that has been read completely. Returns the end of the wait for the verification of its
    /// credentials, if it has to wait for that.
    fn reply(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Instant> {
        let (mut response, stream) = match self.service.answer(&mut session.client, request, now) {
            Answer::Ready(response) => (response, None),
            Answer::Stream(response, stream) => (response, Some(stream)),
            Answer::Pending(until) => return Some(until),
        };
        let connection_option = match frame(request, &mut response, stream.is_some()) {
            _ if self.is_shutting_down => ConnectionOption::Close,
            connection_option => connection_option,
        };
        self.send(
            session,
            outbox,
            Some(request),
            &response,
            connection_option,
            now,
        );
        session.state = match stream {
            // The client of an invalid request may still be sending.
            None if response.status == Status::BadRequest => {
                SessionState::Closing(Next::LingeringClose)
            }
            None => SessionState::after(connection_option),
            Some(stream) => SessionState::Streaming(Box::new(StreamingResponse {
                stream,
                wait_until: None,
                is_chunked: request.version >= Version::Http11,
                connection_option,
            })),
        };
        None
    }

    /// Queues the next step of a stream. Returns whether it is complete, and another request may be read.
    fn send_stream(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let SessionState::Streaming(streaming) = &mut session.state else {
            return false;
        };
        let tail = io.outbox.tail();
        let start = tail.len();
        let stream = &mut streaming.stream;
        let progress = match self.service.read_stream(stream, tail, io.now.instant) {
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
        let is_open = matches!(progress, StreamProgress::More | StreamProgress::Wait(_));
        session.client.on_stream_queued(content, end, is_open);
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

    /// Rejects a request whose end did not come before that of the input.
    fn reject_ended(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        let reason = "The request ended before it was whole.";
        self.reject_unfinished(session, io, (Status::BadRequest, reason))
    }

    /// Rejects a request that is incomplete, or whose content is invalid.
    fn reject_unfinished(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        reason: (Status, &'static str),
    ) -> Next {
        let kept = match &mut session.state {
            SessionState::Body(wait) => Some(std::mem::take(&mut wait.head)),
            _ => None,
        };
        let bytes = kept.as_deref().unwrap_or(io.inbox.bytes());
        let mut lines = FieldLines::new();
        let request = match parse::request(bytes, self.options.max_head_bytes, &mut lines) {
            Ok(Parsed::Complete { request, .. }) => Some(request),
            _ => None,
        };
        self.reject(session, io.outbox, bytes, request.as_ref(), reason, io.now);
        Next::Flush
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

    /// Queues the last response, to a client that may still be sending.
    fn send_and_linger(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        now: Now,
    ) {
        let close = ConnectionOption::Close;
        self.send(session, outbox, request, response, close, now);
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
        let (date, fields) = self.service.added_fields(request, response, now);
        let added = (date, &*fields);
        let content = self
            .writer
            .write(response, added, connection_option, outbox);
        let end = outbox.sent() + outbox.len();
        let start = session.state.request_start().unwrap_or(now.instant);
        let client = &mut session.client;
        self.service
            .on_queued(client, request, response, start, content, end);
    }
}

impl<O: Origin> Protocol for Http1<O> {
    type Session = Session<O::Stream>;

    fn on_accept(&mut self, peer: &Peer) -> Session<O::Stream> {
        Session {
            client: Client::new(peer.address),
            state: SessionState::head(true),
        }
    }

    fn on_ready(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.drive(session, io)
    }

    fn on_progress(&mut self, session: &mut Session<O::Stream>, sent: u64) {
        self.service.on_progress(&mut session.client, sent);
    }

    fn on_timeout(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        let timeout = match &session.state {
            // Driving the session again refuses an overdue verification, or reads the next step of the stream.
            SessionState::Authorizing(_) | SessionState::Streaming(_) => {
                return self.drive(session, io);
            }
            SessionState::Body(_) => TimeoutKind::Content,
            SessionState::Head(HeadWait {
                is_first: false, ..
            }) if io.inbox.is_empty() => TimeoutKind::Request,
            SessionState::Head(_) => TimeoutKind::Head,
            // It waits for no input, and so has no deadline.
            SessionState::Closing(next) => return *next,
        };
        let is_idle = matches!(session.state, SessionState::Head(_)) && io.inbox.is_empty();
        // On shutdown the server, not the client, ends the wait.
        if !(is_idle && self.is_shutting_down) {
            self.service.record_timeout(timeout);
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
        session.state.idle_since()
    }

    fn on_shutdown(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.is_shutting_down = true;
        // A new connection without input stays open for a while.
        if let SessionState::Head(HeadWait {
            is_first: true,
            wait_start: Some(wait_start),
            ..
        }) = session.state
            && io.inbox.is_empty()
            && let Some(deadline) = io.first_request_deadline(session.client.peer(), wait_start)
        {
            *io.deadline = Some(deadline);
            return Next::Read;
        }
        self.drive(session, io)
    }

    fn on_close(&mut self, session: Session<O::Stream>, io: &mut Io<'_>, reason: CloseReason) {
        let sent = io.outbox.sent();
        self.service.on_close(session.client, sent, &reason, io.now);
    }

    fn on_turn_start(&mut self, is_notified: bool) {
        self.service.mark_stale(is_notified);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.service.next_timer()
    }

    fn on_timer(&mut self, now: Now) {
        self.service.on_timer(now);
    }

    fn on_turn_end(&mut self, clock: impl FnOnce() -> Now) {
        self.service.on_turn_end(clock);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::auth::{Users, Verifier};
    use crate::blob::Blob;
    use crate::http::{
        EntityTag, Finding, ListingRepresentations, Lookup, NoStream, Representation, StreamKind,
        Target, Validators,
    };
    use crate::log::LineWriter;
    use crate::net::{Address, Inbox};
    use crate::service::{LogFormat, ServiceOptions};

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

    fn service(line_writer: Option<LineWriter>) -> Service<FindFunction> {
        let options = ServiceOptions {
            log_format: LogFormat::Combined,
            ..ServiceOptions::default()
        };
        Service::new(find as FindFunction, options, line_writer)
    }

    type FindFunction = fn(&Target<'_>, SystemTime) -> Lookup;

    impl SessionHarness<FindFunction> {
        fn new() -> Self {
            let options = HttpOptions {
                max_head_bytes: 200,
                max_content_bytes: 20,
                ..HttpOptions::default()
            };
            let mut http = Http1::new(service(None), options);
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
        harness.http.service = service(None).with_auth(auth);
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
        // There are thousands of sessions, most of them idle; net/connections.rs relies on this size.
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
        let mut http = Http1::new(
            Service::new(ListingOrigin { fails }, ServiceOptions::default(), None),
            HttpOptions::default(),
        );
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
            let mut http = Http1::new(
                Service::new(HeartbeatOrigin, ServiceOptions::default(), None),
                HttpOptions::default(),
            );
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
        harness.http.service = service(Some(line_writer));
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
