//! One conversation in HTTP/1.1.
//!
//! ```text
//!            whole head, no content            content counted away
//!   Head ------------------------------> answer <------------------ Content
//!    |  \----- whole head, content follows ------------------------> |
//!    |                                     |                         |
//!    | malformed, too long, too slow       | says close              | malformed, too much, too slow
//!    '--------------> refuse ----------> Over <--------- refuse <----'
//! ```
//!
//! Answers leave in the order of their requests, because a request is not looked at before the one
//! ahead of it has been answered. After a refusal nothing more is interpreted. Where credentials have yet to be
//! verified, Head and Content stay as they are, head unparsed, until the bell rings, and then answer. An answer of
//! unknown length is made as it leaves: it is a state of its own, between its request and what comes then.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::access::Format;
use super::body::{self, BodyError, Discard, Framing};
use super::chunked;
use super::counters::{Awaited, Counters};
use super::encode::{self, Persistence};
use super::gate::{Gate, foregone, gate, is_behind};
use super::health::Health;
use super::log::{Answer, Leaving, Log};
use super::parse::{self, Lines, Parsed};
use crate::auth::{Guard, Known};
use crate::http::{
    Account, Boundaries, Coding, Content, DateText, Fields, Lookup, Multipart, Origin, Progress,
    Representation, Request, Response, Status, Target, Version, admit, allowing, forwarded,
    is_preflight, respond,
};
use crate::journal::Journal;
use crate::net::{Address, Closed, Inbox, Io, Next, Now, Outbox, Peer, Protocol};
use crate::trust::Trusted;

/// How long a peer may take, and how much it may say.
#[derive(Clone, Debug)]
pub struct Options {
    /// From a head's first byte to its last; also from being accepted to the first head's last byte.
    pub header_timeout: Duration,
    /// From an answer to the next head's first byte; also from a head to the end of its content.
    pub idle_timeout: Duration,
    /// Bytes of a head.
    pub max_header: usize,
    /// Bytes of content that are counted away; more is refused.
    pub max_content: u64,
    /// Whether pages of other origins may ask what they like.
    pub cors: bool,
    /// Where it says whether it would like to be asked, if anywhere.
    pub health: Option<Health>,
    /// Who is believed when it says for whom it sends a request, which then is the peer in the log.
    pub trusted: Trusted,
    /// What the lines of the access log look like.
    pub log: Format,
}

impl Default for Options {
    /// 10 seconds, 60 seconds, 32 KiB, 1 MiB, JSON.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_header: 32 * 1024,
            max_content: 1024 * 1024,
            cors: false,
            health: None,
            trusted: Trusted::default(),
            log: Format::default(),
        }
    }
}

/// HTTP/1.1 and 1.0, spoken on behalf of an origin.
#[derive(Debug)]
pub struct Http1<O> {
    origin: O,
    options: Options,
    guard: Option<Guard>,
    log: Option<Log>,
    date: DateText,
    boundaries: Boundaries,
    retiring: bool,
}

/// What is remembered of one conversation.
#[derive(Debug)]
pub struct Session<L> {
    peer: Address,
    state: State<L>,
    /// When the request that is being read began.
    begun: Option<Instant>,
    /// Answers that have not yet left, for the access log.
    leaving: Option<Box<Leaving>>,
    /// What came of the credentials that were sent last, if there is a guard.
    known: Option<Box<Known>>,
}

#[derive(Debug)]
enum State<L> {
    /// Waiting `since` then for a whole head; the first head of a connection begins with the
    /// connection.
    Head {
        first: bool,
        since: Option<Instant>,
        forgiven: bool,
    },
    /// The head has come. Requests with content are rare: what they need is no part of all others.
    Content(Box<Discarded>),
    /// The answer is made while it leaves, and more of it is to come.
    Stream(Box<Streaming<L>>),
    /// The last word has been said; once it has left, this.
    Over(Next),
}

/// A request of which the head is kept, while its content is counted away, `since` then.
#[derive(Debug)]
struct Discarded {
    head: Box<[u8]>,
    discard: Discard,
    since: Instant,
}

/// An answer that is made while it leaves. Its head has been queued.
#[derive(Debug)]
struct Streaming<L> {
    stream: L,
    /// Until when there is nothing more of it, unless a bell rings.
    rests: Option<Instant>,
    /// Whether its content is in chunks; otherwise it ends with the connection.
    is_chunked: bool,
    persistence: Persistence,
}

impl<O: Origin> Http1<O> {
    /// Answers come from `origin`; each is a line in `journal`, if there is one.
    pub fn new(origin: O, options: Options, journal: Option<Journal>) -> Self {
        Self {
            origin,
            guard: None,
            log: journal.map(|journal| Log::new(journal, options.log)),
            options,
            date: DateText::default(),
            boundaries: Boundaries::default(),
            retiring: false,
        }
    }

    /// The same, but answering only those whom this guard lets pass. Its bell is for the reactor to attend.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// The same, with what it answers counted.
    #[must_use]
    pub fn counted_by(mut self, counters: Arc<Counters>) -> Self {
        self.log = Some(self.log.unwrap_or_default().counted_by(counters));
        self
    }

    /// One effect, between two decisions. `None` while it is not known whether who asks may have it. What is to be
    /// made while it leaves is begun.
    fn answer(
        &mut self,
        known: &mut Option<Box<Known>>,
        request: &Request<'_>,
        now: Now,
    ) -> Option<(Response, Option<O::Stream>)> {
        let admitted = admit(request);
        if let Some(health) = &self.options.health
            && let Ok(target) = &admitted
            && let Some(response) = health.answer(request, target)
        {
            return Some((response, None));
        }
        if let Some(guard) = &self.guard
            && is_served(&admitted)
        {
            match gate(guard, known, request, now.instant) {
                Gate::Open => {}
                Gate::Shut(response) => return Some((response, None)),
                Gate::Waits => return None,
            }
        }
        let target = match admitted {
            Ok(target) => target,
            Err(answer)
                if self.options.cors
                    && answer.status == Status::NoContent
                    && is_preflight(request) =>
            {
                return Some((allowing(request, answer), None));
            }
            Err(refusal) => return Some((refusal, None)),
        };
        let found = self.origin.find(&target, now.wall);
        let account = self.origin.account();
        let (response, listing) = self.represent(request, &target, &found, now);
        Some((accounted(response, account), listing))
    }

    /// The response with what was found, in the coding that is asked for, or with a listing that is begun.
    fn represent(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        found: &Lookup,
        now: Now,
    ) -> (Response, Option<O::Stream>) {
        let response = respond(request, target, found);
        if let Some(coding) = response.wanted
            && let Some(coded) = self.origin.code(target, found, coding, now.wall)
        {
            return (respond(request, target, &coded), None);
        }
        let Content::Streamed(what) = response.content else {
            return (response, None);
        };
        match self.origin.stream(target, what) {
            Ok(stream) => (response, Some(stream)),
            Err(Lookup::Listing(_) | Lookup::Events) => {
                (respond(request, target, &Lookup::Unavailable), None)
            }
            Err(instead) => (respond(request, target, &instead), None),
        }
    }

    /// What a request gets whatever its content and its credentials turn out to be.
    fn foregone(&self, request: &Request<'_>) -> Option<Response> {
        let admitted = admit(request);
        match self.guard {
            Some(_) if is_served(&admitted) => foregone(request),
            _ => admitted.err(),
        }
    }

    /// Answers what can be answered, then says what it waits for.
    fn converse(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.log(session, io.outbox.sent(), io.now);
        *io.deadline = None;
        if let State::Head {
            first: false,
            since,
            ..
        } = &mut session.state
            && io.inbox.is_empty()
        {
            // Nothing has come, so it is an answer that has left, and the wait that begins.
            *since = None;
        }
        let mut is_behind = false;
        while io.outbox.has_room() && self.read(session, io) {
            // What came behind a request may have been asked after the turn began, and after a change.
            if !is_behind && !io.inbox.is_empty() {
                is_behind = true;
                self.origin.doubt(true);
            }
        }
        let between = session.is_between(io.inbox);
        let awaited = session.awaited();
        let rests = session.rests();
        match session.state {
            State::Stream(_) if rests.is_none() => Next::Again,
            State::Stream(_) if !io.outbox.is_empty() => Next::Drain,
            _ if !io.outbox.is_empty() => {
                let is_logged = session.leaving.is_some();
                if !between || is_logged || io.inbox.is_ended() || self.retiring {
                    return Next::Drain;
                }
                *io.deadline = Some(self.due(session, io.now.instant));
                Next::Answered
            }
            State::Stream(_) => {
                *io.deadline = rests;
                Next::Listen
            }
            _ if awaited.is_some() => {
                *io.deadline = awaited;
                Next::Wait
            }
            State::Over(next) => next,
            _ if between && (io.inbox.is_ended() || self.retiring) => Next::Close,
            _ if io.inbox.is_ended() => {
                let reason = (Status::BadRequest, "The request ended before it was whole.");
                self.refuse_unfinished(session, io, reason)
            }
            _ => {
                *io.deadline = Some(self.due(session, io.now.instant));
                Next::Read
            }
        }
    }

    /// Takes one step. Whether there may be another; otherwise more must arrive.
    fn read(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        match session.state {
            State::Head { .. } => self.read_head(session, io),
            State::Content(_) => self.read_content(session, io),
            State::Stream(_) => self.stream_on(session, io),
            State::Over(_) => false,
        }
    }

    fn read_head(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        if let State::Head { forgiven, .. } = &mut session.state
            && !*forgiven
            && let Some(length) = empty_line(io.inbox.bytes())
        {
            // An empty line before a request line is ignored, once (RFC 9112 section 2.2).
            *forgiven = true;
            io.inbox.consume(length);
        }
        if io.inbox.is_empty() {
            return false;
        }
        if session.begun.is_some() {
            // Its beginning was reported before the turn, its end may have come in it, and after a change.
            self.origin.doubt(true);
        }
        session.begun.get_or_insert(io.now.instant);
        let length = self.read_request(session, io.inbox.bytes(), io.outbox, io.now);
        io.inbox.consume(length);
        length > 0
    }

    /// Reads one request's head, and answers it if it has no content. How many bytes are done with:
    /// none of a head that is not whole, or that is refused, or whose credentials are being verified.
    fn read_request(
        &mut self,
        session: &mut Session<O::Stream>,
        bytes: &[u8],
        outbox: &mut Outbox,
        now: Now,
    ) -> usize {
        let mut lines = Lines::new();
        let (request, length) = match parse::request(bytes, self.options.max_header, &mut lines) {
            Ok(Parsed::Partial) => return 0,
            Ok(Parsed::Whole { request, length }) => (request, length),
            Err(error) => {
                let reason = (error.status(), error.why());
                self.refuse(session, outbox, bytes, None, reason, now);
                return 0;
            }
        };
        let discard = match body::framing(&request) {
            Ok(Framing::Length(0)) => {
                let is_done = self.reply(session, outbox, &request, now);
                return if is_done { length } else { 0 };
            }
            Ok(framing) => Discard::new(framing, self.options.max_content),
            Err(error) => Err(error),
        };
        let expects = request.values("Expect").next().is_some();
        let expects = expects && request.version >= Version::Http11;
        if (expects || matches!(discard, Err(BodyError::TooLarge)))
            && let Some(refusal) = self.foregone(&request)
        {
            // What is refused anyway is refused before its content is sent.
            self.dismiss(session, outbox, Some(&request), &refusal, now);
            return 0;
        }
        let discard = match discard {
            Ok(discard) => discard,
            Err(error) => {
                let reason = (error.status(), error.why());
                self.refuse(session, outbox, bytes, Some(&request), reason, now);
                return 0;
            }
        };
        if expects {
            outbox.tail().extend_from_slice(encode::CONTINUE);
        }
        let head = bytes.get(..length).unwrap_or_default().into();
        session.state = State::Content(Box::new(Discarded {
            head,
            discard,
            since: now.instant,
        }));
        length
    }

    fn read_content(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let State::Content(content) = &mut session.state else {
            return false;
        };
        let (count, done) = match content.discard.count(io.inbox.bytes()) {
            Ok(counted) => counted,
            Err(error) => {
                self.refuse_unfinished(session, io, (error.status(), error.why()));
                return false;
            }
        };
        io.inbox.consume(count);
        if !done {
            return false;
        }
        self.origin.doubt(true);
        let kept = std::mem::replace(&mut session.state, State::Over(Next::Close));
        let is_done = match &kept {
            State::Content(content) => self.reply_kept(session, io, &content.head),
            State::Head { .. } | State::Stream(_) | State::Over(_) => true,
        };
        if !is_done {
            session.state = kept;
        }
        is_done
    }

    /// Answers a request whose head was whole when it was kept. Whether it is done with.
    fn reply_kept(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        head: &[u8],
    ) -> bool {
        let mut lines = Lines::new();
        match parse::request(head, self.options.max_header, &mut lines) {
            Ok(Parsed::Whole { request, .. }) => self.reply(session, io.outbox, &request, io.now),
            _ => true,
        }
    }

    /// Answers a request that has been read to its end. Whether it is done with: not if its credentials
    /// are being verified.
    fn reply(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: &Request<'_>,
        now: Now,
    ) -> bool {
        let Some((response, stream)) = self.answer(&mut session.known, request, now) else {
            return false;
        };
        if response.status == Status::BadRequest {
            // Whoever sends what is no request is not understood any further.
            self.dismiss(session, outbox, Some(request), &response, now);
            return true;
        }
        let is_chunked = request.version >= Version::Http11;
        let persistence = match persistence(request) {
            _ if self.retiring => Persistence::Close,
            // Only the connection's end tells where its content ends (RFC 9112 section 6.3).
            _ if stream.is_some() && !is_chunked => Persistence::Close,
            persistence => persistence,
        };
        let response = match stream {
            Some(_) if is_chunked => chunked::promised(response),
            _ => response,
        };
        self.send(session, outbox, Some(request), &response, persistence, now);
        session.begun = None;
        session.state = match stream {
            None => State::after(persistence),
            Some(stream) => State::Stream(Box::new(Streaming {
                stream,
                rests: None,
                is_chunked,
                persistence,
            })),
        };
        true
    }

    /// Queues what comes next of a stream. Whether that was all, and another request may be read.
    fn stream_on(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> bool {
        let State::Stream(streaming) = &mut session.state else {
            return false;
        };
        let tail = io.outbox.tail();
        let start = tail.len();
        let stream = &mut streaming.stream;
        let progress = match self.origin.stream_on(stream, tail, io.now.instant) {
            // Nobody waits for what may never come.
            Progress::Wait(_) if self.retiring || io.inbox.is_ended() => Progress::Done,
            progress => progress,
        };
        let content = (tail.len() - start) as u64;
        if streaming.is_chunked {
            chunked::wrap(tail, start);
        }
        if streaming.is_chunked && progress == Progress::Done {
            tail.extend_from_slice(chunked::LAST);
        }
        let end = io.outbox.sent() + io.outbox.len();
        Log::grown(
            &mut session.leaving,
            content,
            end,
            matches!(progress, Progress::More | Progress::Wait(_)),
        );
        streaming.rests = match progress {
            Progress::Wait(until) => Some(until),
            _ => None,
        };
        session.state = match progress {
            Progress::More | Progress::Wait(_) => return false,
            Progress::Done => State::after(streaming.persistence),
            // Without its last chunk it is known to be incomplete (RFC 9112 section 8).
            Progress::Broken => State::Over(Next::Close),
        };
        true
    }

    /// Answers what is no request, and ends the conversation. The peer may still be sending. `bytes`
    /// is where the request began.
    fn refuse(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        bytes: &[u8],
        request: Option<&Request<'_>>,
        (status, why): (Status, &'static str),
        now: Now,
    ) {
        let refusal = Response::refusal(status, why);
        let refusal = match bytes {
            [b'H', b'E', b'A', b'D', b' ', ..] => refusal.withholding(),
            _ => refusal,
        };
        self.dismiss(session, outbox, request, &refusal, now);
    }

    /// Refuses a request of which not all has come, or whose content is no content.
    fn refuse_unfinished(
        &mut self,
        session: &mut Session<O::Stream>,
        io: &mut Io<'_>,
        reason: (Status, &'static str),
    ) -> Next {
        let kept = match &mut session.state {
            State::Content(content) => std::mem::take(&mut content.head),
            State::Head { .. } | State::Stream(_) | State::Over(_) => Box::default(),
        };
        let bytes = if kept.is_empty() {
            io.inbox.bytes()
        } else {
            &kept
        };
        let mut lines = Lines::new();
        let request = match parse::request(bytes, self.options.max_header, &mut lines) {
            Ok(Parsed::Whole { request, .. }) => Some(request),
            _ => None,
        };
        self.refuse(session, io.outbox, bytes, request.as_ref(), reason, io.now);
        Next::Drain
    }

    /// Queues the last response of a peer that may still be sending.
    fn dismiss(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        now: Now,
    ) {
        self.send(session, outbox, request, response, Persistence::Close, now);
        session.state = State::Over(Next::Linger);
    }

    /// Queues a response.
    fn send(
        &mut self,
        session: &mut Session<O::Stream>,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        persistence: Persistence,
        now: Now,
    ) {
        let queued = self.queue(outbox, request, response, persistence, now);
        if let Some(log) = &mut self.log {
            let begun = session.begun.unwrap_or(now.instant);
            let end = outbox.sent() + outbox.len();
            let peer = client(request, session.peer, &self.options.trusted);
            let peer = peer.unwrap_or(session.peer);
            let mut answer = Answer::new(response.status, peer, queued, begun, end);
            answer.is_open = matches!(response.content, Content::Streamed(_));
            let representation = response.representation.as_deref();
            answer.coding = representation.map_or(Coding::Identity, |it| it.coding);
            answer.recall = response.recall;
            answer.reason = response.reason;
            answer.is_verified = self.guard.is_some() && is_behind(response.status);
            log.queued(&mut session.leaving, request, answer);
        }
    }

    /// Puts a response's head and content into the queue. The bytes of content.
    fn queue(
        &mut self,
        outbox: &mut Outbox,
        request: Option<&Request<'_>>,
        response: &Response,
        persistence: Persistence,
        now: Now,
    ) -> u64 {
        let multipart = match (&response.representation, &response.content) {
            (Some(representation), Content::Parts(parts)) => {
                let boundary = self.boundaries.draw();
                Some(Multipart::new(representation, parts, boundary))
            }
            _ => None,
        };
        let own = match response.is_represented {
            true => Cow::Owned(Fields::new()),
            // Who may not know what is there is not told what is said of it.
            false if self.guard.is_some() && !is_behind(response.status) => {
                self.origin.fields(None)
            }
            false => {
                let target = request.and_then(|request| Target::parse(request.target, None).ok());
                self.origin.fields(target.as_ref())
            }
        };
        let date = self.date.at(now.wall);
        encode::head(
            response,
            &own,
            multipart.as_ref(),
            persistence,
            date,
            outbox.tail(),
        );
        let Some(Representation { content, .. }) = response.representation.as_deref() else {
            return 0;
        };
        let part = match (&response.content, multipart) {
            (Content::Whole, _) => 0..content.len(),
            (Content::Part(part), _) => part.clone(),
            (Content::Parts(_), Some(multipart)) => {
                let before = outbox.len();
                for (head, part) in multipart.parts() {
                    outbox.tail().extend_from_slice(head.as_bytes());
                    outbox.push(content.clone(), part);
                }
                outbox.tail().extend_from_slice(multipart.end().as_bytes());
                return outbox.len() - before;
            }
            _ => return 0,
        };
        let length = part.end - part.start;
        outbox.push(content.clone(), part);
        length
    }

    /// Has the answers logged that have left, now that `sent` bytes have.
    fn log(&mut self, session: &mut Session<O::Stream>, sent: u64, now: Now) {
        if let Some(log) = &mut self.log {
            let now = (now.instant, now.wall);
            log.sent(&mut session.leaving, sent, now);
        }
    }

    /// Until when what is awaited may take.
    fn due(&self, session: &mut Session<O::Stream>, now: Instant) -> Instant {
        match &mut session.state {
            State::Content(content) => content.since + self.options.idle_timeout,
            State::Stream(_) | State::Over(_) => now + self.options.idle_timeout,
            State::Head { first, since, .. } => {
                let since = *since.get_or_insert(now);
                match session.begun {
                    _ if *first => since + self.options.header_timeout,
                    // What has come while an answer was leaving is waited for since that had left.
                    Some(begun) => begun.max(since) + self.options.header_timeout,
                    None => since + self.options.idle_timeout,
                }
            }
        }
    }
}

/// For whom this peer has sent this request, if it is trusted to say so.
fn client(request: Option<&Request<'_>>, peer: Address, trusted: &Trusted) -> Option<Address> {
    if trusted.is_empty() || !trusted.has(peer.ip()) {
        return None;
    }
    forwarded(request?, trusted).map(|client| match client.port {
        Some(port) => (client.ip, port).into(),
        None => Address::Host(client.ip),
    })
}

impl<O: Origin> Protocol for Http1<O> {
    type Session = Session<O::Stream>;

    fn open(&mut self, peer: &Peer) -> Session<O::Stream> {
        Session {
            peer: peer.address,
            state: State::head(true),
            begun: None,
            leaving: None,
            known: None,
        }
    }

    fn advance(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.converse(session, io)
    }

    fn sent(&mut self, session: &mut Session<O::Stream>, sent: u64) {
        if let Some(log) = &self.log {
            log.going(&mut session.leaving, sent);
        }
    }

    fn expire(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        // Asked again, the guard says that this has taken too long, or the stream what comes next.
        if session.awaited().is_some() || session.rests().is_some() {
            return self.converse(session, io);
        }
        let is_between = session.is_between(io.inbox);
        if let Some(log) = &self.log
            // Otherwise it is we who are out of time.
            && !(is_between && self.retiring)
        {
            log.gave_up(session.awaits(io.inbox));
        }
        // A peer that has said nothing is waiting for nothing.
        if is_between {
            return Next::Close;
        }
        let reason = (
            Status::RequestTimeout,
            "The request took too long to arrive.",
        );
        self.refuse_unfinished(session, io, reason)
    }

    fn waits_since(&self, session: &Session<O::Stream>) -> Option<Instant> {
        match session.state {
            State::Head { since, .. } => since,
            State::Content(ref content) => Some(content.since),
            State::Stream(_) | State::Over(_) => None,
        }
    }

    fn retire(&mut self, session: &mut Session<O::Stream>, io: &mut Io<'_>) -> Next {
        self.retiring = true;
        if let Some(due) = session.may_be_about_to_ask(io) {
            *io.deadline = Some(due);
            return Next::Read;
        }
        self.converse(session, io)
    }

    fn close(&mut self, session: Session<O::Stream>, io: &mut Io<'_>, closed: Closed) {
        if let Some(log) = &mut self.log {
            let now = (io.now.instant, io.now.wall);
            let sent = io.outbox.sent();
            log.closed(session.leaving, sent, cut(&closed), now);
        }
    }

    fn begin(&mut self, told: bool) {
        self.origin.doubt(told);
    }

    fn due(&self) -> Option<SystemTime> {
        self.origin.due()
    }

    fn tend(&mut self, now: Now) {
        self.origin.tend(now.wall);
    }

    fn rest(&mut self, clock: impl FnOnce() -> Now) {
        // What is believed for a turn is not held beyond it.
        self.origin.doubt(false);
        if let Some(log) = &mut self.log {
            log.rest(|| {
                let now = clock();
                (now.instant, now.wall)
            });
        }
    }
}

impl<L> State<L> {
    /// What comes after an answer.
    fn after(persistence: Persistence) -> Self {
        match persistence {
            Persistence::Close => Self::Over(Next::Close),
            Persistence::Default | Persistence::KeepAlive => Self::head(false),
        }
    }

    /// Nothing of a head has come yet.
    fn head(first: bool) -> Self {
        Self::Head {
            first,
            since: None,
            forgiven: false,
        }
    }
}

impl<L> Session<L> {
    /// Until when somebody who has just come, and has said nothing yet, is not hung up on.
    fn may_be_about_to_ask(&self, io: &Io<'_>) -> Option<Instant> {
        match self.state {
            State::Head {
                first: true,
                since: Some(since),
                ..
            } if self.is_between(io.inbox) => io.may_be_about_to_ask(self.peer, since),
            _ => None,
        }
    }

    /// Whether nothing of a next request has come.
    fn is_between(&self, inbox: &Inbox) -> bool {
        matches!(self.state, State::Head { .. }) && inbox.is_empty()
    }

    /// What its peer is to send.
    fn awaits(&self, inbox: &Inbox) -> Awaited {
        match self.state {
            State::Content(_) => Awaited::Content,
            State::Head { first: false, .. } if inbox.is_empty() => Awaited::Request,
            State::Head { .. } | State::Stream(_) | State::Over(_) => Awaited::Head,
        }
    }

    /// Until when its credentials may be verified, if they are being.
    fn awaited(&self) -> Option<Instant> {
        self.known.as_ref()?.awaited()
    }

    /// Until when there is nothing more of its stream, if it has one and that is so.
    fn rests(&self) -> Option<Instant> {
        match &self.state {
            State::Stream(streaming) => streaming.rests,
            _ => None,
        }
    }
}

/// The same response, with the account of what it is about, if there is one.
fn accounted(response: Response, account: Option<Account>) -> Response {
    match account {
        Some(account) => response.accounted(account),
        None => response,
    }
}

/// Why an answer ended before its end, where a conversation ended like this.
fn cut(closed: &Closed) -> Option<&'static str> {
    Some(match closed {
        Closed::ByUs => return None,
        Closed::ByPeer => "The peer left before the end.",
        Closed::Expired => "The peer was too slow.",
        Closed::Displaced => "The peer made room for another.",
        Closed::FileChanged => "The file changed while it was sent.",
        Closed::Broken(_) => "The connection broke.",
    })
}

/// Whether this is for who may have it: all but refusals, which the request's head alone has earned.
fn is_served(admitted: &Result<Target<'_>, Response>) -> bool {
    match admitted {
        Ok(_) => true,
        Err(response) => response.status == Status::NoContent,
    }
}

/// Whether the connection persists after this request (RFC 9112 section 9.3).
fn persistence(request: &Request<'_>) -> Persistence {
    match request.version {
        _ if request.lists("Connection", "close") => Persistence::Close,
        Version::Http11 => Persistence::Default,
        Version::Http10 if request.lists("Connection", "keep-alive") => Persistence::KeepAlive,
        Version::Http10 => Persistence::Close,
    }
}

/// The length of an empty line at the front.
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
    use crate::http::{EntityTag, Forms, Streamed, Unstreamed, Validators};

    /// A conversation without a socket: the bytes are there, and so is the answer.
    struct Driven<O> {
        http: Http1<O>,
        session: Session<Unstreamed>,
        inbox: Inbox,
        outbox: Outbox,
        deadline: Option<Instant>,
        now: Now,
        said: Vec<u8>,
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
                let tagged = tagged.with(Validators {
                    tag,
                    modified: None,
                });
                Lookup::Found(Arc::new(tagged.into()))
            }
            b"folder" => Lookup::Directory,
            _ => Lookup::Absent(None),
        }
    }

    type Find = fn(&Target<'_>, SystemTime) -> Lookup;

    impl Driven<Find> {
        fn new() -> Self {
            let options = Options {
                max_header: 200,
                max_content: 20,
                ..Options::default()
            };
            let mut http = Http1::new(find as Find, options, None);
            let session = http.open(&Peer {
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
                said: Vec::new(),
            }
        }

        fn call<T>(
            &mut self,
            call: impl FnOnce(&mut Http1<Find>, &mut Session<Unstreamed>, &mut Io<'_>) -> T,
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

        /// Says what there is to say, and takes everything that is answered.
        fn advance(&mut self) -> Next {
            loop {
                let next = self.call(Http1::advance);
                let said = self.outbox.take();
                self.said.extend(&said);
                if !matches!(next, Next::Drain | Next::Answered) || said.is_empty() {
                    return next;
                }
            }
        }

        /// Hears bytes, a part at a time, until the conversation ends.
        fn hear(&mut self, bytes: &[u8], cuts: &[usize]) -> Next {
            let mut next = self.advance();
            let mut start = 0;
            for end in cuts.iter().copied().chain([bytes.len()]) {
                if !matches!(next, Next::Read) {
                    break;
                }
                self.inbox.receive(&bytes[start..end]);
                start = end;
                next = self.advance();
            }
            next
        }

        fn statuses(&self) -> Vec<String> {
            let said = String::from_utf8_lossy(&self.said);
            let codes = said.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]);
            codes
                .filter(|code| code.parse::<u16>().is_ok())
                .map(str::to_owned)
                .collect()
        }
    }

    /// What is answered to these bytes, and that it does not depend on how they are cut.
    fn check(bytes: &str, statuses: &[&str], next: Next) -> String {
        let bytes = bytes.as_bytes();
        let mut whole = Driven::new();
        assert_eq!(whole.hear(bytes, &[]), next, "{}", bytes.escape_ascii());
        assert_eq!(whole.statuses(), statuses, "{}", bytes.escape_ascii());
        let each: Vec<usize> = (1..bytes.len()).collect();
        for cuts in (0..bytes.len()).map(|cut| vec![cut]).chain([each]) {
            let mut cut = Driven::new();
            assert_eq!(cut.hear(bytes, &cuts), next);
            assert!(
                cut.said == whole.said,
                "cut at {cuts:?}: {}",
                bytes.escape_ascii()
            );
        }
        String::from_utf8(whole.said).unwrap()
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_request_is_answered() {
        let said = check(GET, &["200"], Next::Read);
        let expected = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
            Content-Type: text/plain\r\n\
            Content-Length: 5\r\n\r\nhello";
        assert_eq!(said, expected);
    }

    const CREDENTIALS: &str = "Authorization: Basic YTpi\r\n";

    /// A conversation that is guarded, and knows of one user, whose hash takes seconds.
    fn guarded() -> Driven<Find> {
        let hash = "$2y$16$GOyLB8fYp437HNiAqo1KZ.W6qyupo9d/P.hOJJo8g2PmwEjRER8du";
        let users = Users::read(format!("a:{hash}").as_bytes()).unwrap();
        let guard = Verifier::new(users, NonZeroUsize::MIN)
            .unwrap()
            .guard()
            .unwrap();
        let mut driven = Driven::new();
        driven.http.guard = Some(guard);
        driven
    }

    #[test]
    fn who_is_being_verified_waits_and_not_for_ever() {
        let plain = format!("GET / HTTP/1.1\r\nHost: a\r\n{CREDENTIALS}");
        for request in [
            format!("{plain}\r\n"),
            format!("{plain}Content-Length: 3\r\n\r\nabc"),
            format!("{plain}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ] {
            let mut driven = guarded();
            driven.inbox.receive(GET.as_bytes());
            driven.inbox.receive(request.as_bytes());
            driven.inbox.receive(GET.as_bytes());
            driven.inbox.end();
            assert_eq!(driven.advance(), Next::Wait);
            let said = String::from_utf8(std::mem::take(&mut driven.said)).unwrap();
            assert!(said.starts_with("HTTP/1.1 401 ") && said.matches("HTTP/1.1").count() == 1);
            assert_eq!(driven.advance(), Next::Wait, "nothing has changed");
            assert_eq!(
                driven.call(Http1::retire),
                Next::Wait,
                "what is begun is finished"
            );
            driven.http.retiring = false;
            assert!(driven.said.is_empty());
            driven.now.instant = driven.deadline.take().expect("it is not waited for ever");
            assert_eq!(driven.call(Http1::expire), Next::Drain);
            let said = driven.outbox.take();
            let said = String::from_utf8(said).unwrap();
            assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("\r\nRetry-After: 5\r\n"));
            // The next one is answered as if nothing had been.
            assert!(said.contains("HTTP/1.1 401 "), "{said}");
            assert_eq!(driven.advance(), Next::Close);
        }
    }

    #[test]
    fn answers_come_in_order() {
        let pipelined = "GET /large HTTP/1.1\r\nHost: a\r\n\r\n\
            HEAD / HTTP/1.1\r\nHost: a\r\n\r\n\
            GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n\
            GET /folder HTTP/1.1\r\nHost: a\r\n\r\n";
        let said = check(
            &pipelined.repeat(2),
            &["200", "200", "404", "301"].repeat(2),
            Next::Read,
        );
        assert_eq!(said.matches("xHTTP/1.1 200").count(), 2);
    }

    #[test]
    fn persistence_is_as_each_version_has_it() {
        let get = |rest: &str| format!("GET / HTTP/{rest}\r\n\r\n");
        let host = "1.1\r\nHost: a\r\nConnection:";
        for close in [
            get("1.0"),
            get(&format!("{host} x, Close")),
            get("1.0\r\nConnection: x"),
        ] {
            let said = check(&(close + GET), &["200"], Next::Close);
            assert!(said.contains("\r\nConnection: close\r\n"));
        }
        for stays in [
            "1.0\r\nConnection: keep-alive",
            &format!("{host} keep-alive"),
        ] {
            check(&(get(stays) + GET), &["200", "200"], Next::Read);
        }
        let said = check(&get("1.0\r\nConnection: Keep-Alive"), &["200"], Next::Read);
        assert!(said.contains("\r\nConnection: keep-alive\r\n"));
    }

    #[test]
    fn content_is_counted_away() {
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
            Next::Linger,
        );
        check(&get("Content-Length: 21", ""), &["413"], Next::Linger);
        check(
            &get("Content-Length: 3\r\nTransfer-Encoding: chunked", ""),
            &["400"],
            Next::Linger,
        );
        check(
            &get("Transfer-Encoding: gzip, chunked", ""),
            &["501"],
            Next::Linger,
        );
        let expecting = get("Content-Length: 3\r\nExpect: 100-continue", "abc");
        check(&expecting, &["100", "200", "200"], Next::Read);
        let refused = expecting.replacen("GET", "POST", 1);
        check(&refused, &["405"], Next::Linger);
        let large = get("Content-Length: 21", "").replacen("GET", "POST", 1);
        check(&large, &["405"], Next::Linger);
    }

    #[test]
    fn nothing_after_a_refusal_is_interpreted() {
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
            let said = check(
                &(GET.to_owned() + refused + GET),
                &["200", status],
                Next::Linger,
            );
            assert!(said.contains("\r\nConnection: close\r\n"));
        }
    }

    #[test]
    fn a_part_is_sent_as_a_part_and_what_is_known_is_not_sent() {
        let get = |line: &str| format!("GET /tagged HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n");
        let known = get("If-None-Match: \"0000000000000000000000000000000a\"");
        let part = get("Range: bytes=990-");
        let said = check(&(known + &part + GET), &["304", "206", "200"], Next::Read);
        let end_of_304 = "ETag: \"0000000000000000000000000000000a\"\r\n\r\nHTTP/1.1 206";
        assert!(said.contains(end_of_304), "{said}");
        let end_of_206 = "Content-Range: bytes 990-999/1000\r\nContent-Length: 10\r\n\r\n\
            xxxxxxxxxxHTTP/1.1 200";
        assert!(said.contains(end_of_206), "{said}");
    }

    #[test]
    fn several_parts_are_as_long_as_they_say() {
        let parts = "GET /tagged HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9,500-\r\n\r\n";
        let mut driven = Driven::new();
        driven.hear((parts.to_owned() + GET).as_bytes(), &[]);
        let said = String::from_utf8(driven.said).unwrap();
        let (head, rest) = said.split_once("\r\n\r\n").unwrap();
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
    fn who_is_waited_for_is_known_and_since_when() {
        let mut driven = Driven::new();
        let waits = |driven: &Driven<Find>| driven.http.waits_since(&driven.session);
        let start = driven.now.instant;
        driven.advance();
        assert_eq!(waits(&driven), Some(start), "nothing said yet");
        driven.now.instant += Duration::from_secs(1);
        driven.inbox.receive(b"GET / HTTP/1.1\r\n");
        driven.advance();
        assert_eq!(waits(&driven), Some(start), "in a head");
        driven.inbox.receive(b"Host: a\r\n\r\n");
        driven.advance();
        assert_eq!(waits(&driven), Some(driven.now.instant), "answered");
        driven
            .inbox
            .receive(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
        driven.advance();
        let asked = driven.now.instant;
        driven.now.instant += Duration::from_secs(1);
        driven.advance();
        assert_eq!(waits(&driven), Some(asked), "in content");
        driven.inbox.receive(b"abc");
        driven.inbox.end();
        driven.call(Http1::advance);
        assert_eq!(waits(&driven), None, "with the last word said");
    }

    #[test]
    fn an_empty_line_before_a_request_is_forgiven_once() {
        check(&format!("\r\n{GET}\r\n{GET}"), &["200", "200"], Next::Read);
    }

    #[test]
    fn a_head_that_is_refused_has_no_content() {
        let head = GET.replace("GET", "HEAD");
        for bad in [
            head.replace("\r\n\r\n", "\r\nTransfer-Encoding: x\r\n\r\n"),
            head.replace("/ ", "/% "),
        ] {
            let mut driven = Driven::new();
            driven.hear(bad.as_bytes(), &[]);
            assert!(
                driven.said.ends_with(b"\r\n\r\n"),
                "{}",
                driven.said.escape_ascii()
            );
        }
    }

    #[test]
    fn a_peer_that_finishes_gets_its_answers() {
        let end = |bytes: &str| {
            let mut driven = Driven::new();
            driven.inbox.receive(bytes.as_bytes());
            driven.inbox.end();
            let next = driven.advance();
            (driven.statuses().join(" "), next)
        };
        assert_eq!(end(""), (String::new(), Next::Close));
        assert_eq!(end(&GET.repeat(2)), ("200 200".into(), Next::Close));
        assert_eq!(end("GET / HTTP"), ("400".into(), Next::Linger));
        let lacking = GET.replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(end(&lacking), ("400".into(), Next::Linger));
    }

    #[test]
    fn a_session_is_small() {
        // There are thousands, most of them idle; net/reactor.rs counts on this.
        let size = size_of::<Session<Unstreamed>>();
        assert!(size <= 96, "{size} bytes");
    }

    #[test]
    fn deadlines_follow_what_is_awaited() {
        let seconds = |driven: &Driven<Find>| {
            driven
                .deadline
                .map(|due| due.duration_since(driven.now.instant).as_secs())
        };
        let mut driven = Driven::new();
        driven.advance();
        assert_eq!(seconds(&driven), Some(10), "nothing said yet");
        driven.inbox.receive(GET.as_bytes());
        driven.advance();
        assert_eq!(seconds(&driven), Some(60), "idle");
        driven.inbox.receive(b"GET");
        driven.advance();
        assert_eq!(seconds(&driven), Some(10), "in a head");
        driven.now.instant += Duration::from_secs(4);
        driven.inbox.receive(b" / HTTP/1.1\r\n");
        driven.advance();
        assert_eq!(seconds(&driven), Some(6), "still in the same head");
        driven
            .inbox
            .receive(b"Host: a\r\nContent-Length: 2\r\n\r\n");
        driven.advance();
        assert_eq!(seconds(&driven), Some(60), "in content");
        driven.inbox.receive(b"ab");
        assert_eq!(driven.call(Http1::advance), Next::Answered);
        assert_eq!(seconds(&driven), Some(60), "if it leaves at once");
        driven.now.instant += Duration::from_secs(4);
        driven.outbox.take();
        assert_eq!(driven.call(Http1::advance), Next::Read);
        assert_eq!(seconds(&driven), Some(60), "since it has left");
        driven.inbox.receive(format!("{GET}GET").as_bytes());
        assert_eq!(driven.call(Http1::advance), Next::Drain);
        assert_eq!(
            seconds(&driven),
            None,
            "while an answer leaves, its pace is watched"
        );
    }

    #[test]
    fn what_takes_too_long_is_told_so_unless_nothing_was_asked() {
        let expire = |bytes: &str| {
            let mut driven = Driven::new();
            driven.inbox.receive(bytes.as_bytes());
            driven.advance();
            let next = match driven.call(Http1::expire) {
                Next::Drain => {
                    driven.said.extend(driven.outbox.take());
                    driven.advance()
                }
                next => next,
            };
            (driven.statuses().join(" "), next)
        };
        assert_eq!(expire(""), (String::new(), Next::Close));
        assert_eq!(expire(GET), ("200".into(), Next::Close));
        assert_eq!(expire("GET /"), ("408".into(), Next::Linger));
        let lacking = GET.replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(expire(&lacking), ("408".into(), Next::Linger));
    }

    #[test]
    fn retiring_finishes_what_is_begun() {
        let mut idle = Driven::new();
        idle.hear(GET.as_bytes(), &[]);
        assert_eq!(idle.call(Http1::retire), Next::Close);
        let mut begun = Driven::new();
        begun.hear(b"GET / HTTP/1.1\r\n", &[]);
        assert_eq!(begun.call(Http1::retire), Next::Read);
        begun.inbox.receive(b"Host: a\r\n\r\n");
        assert_eq!(begun.advance(), Next::Close);
        assert!(String::from_utf8_lossy(&begun.said).contains("\r\nConnection: close\r\n"));
    }

    /// A folder of so many entries, read one in three steps.
    struct Folder {
        breaks: bool,
    }

    impl Origin for Folder {
        type Stream = u32;

        fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Lookup {
            let form = Arc::new(Representation::new(Blob::Static(b""), "text/plain"));
            Lookup::Listing(Arc::new(Forms {
                html: form.clone(),
                json: form.clone(),
                text: form,
            }))
        }

        fn stream(&mut self, _: &Target<'_>, _: Streamed) -> Result<u32, Lookup> {
            Ok(0)
        }

        fn stream_on(&mut self, step: &mut u32, into: &mut Vec<u8>, _: Instant) -> Progress {
            *step += 1;
            if step.is_multiple_of(3) {
                into.extend_from_slice(b"an entry\n");
            }
            match *step {
                9 if self.breaks => Progress::Broken,
                9 => Progress::Done,
                _ => Progress::More,
            }
        }
    }

    /// What is said to these words about a folder, how it ends, and how often more was to be done.
    fn list(words: &str, breaks: bool) -> (String, Next, usize) {
        let mut http = Http1::new(Folder { breaks }, Options::default(), None);
        let mut session = http.open(&Peer {
            address: Address::from(([127, 0, 0, 1], 80)),
        });
        let (mut inbox, mut outbox, mut deadline) = Default::default();
        Inbox::receive(&mut inbox, words.as_bytes());
        let (mut said, mut again) = (Vec::new(), 0);
        loop {
            let next = http.advance(
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
            said.extend(outbox.take());
            again += usize::from(next == Next::Again);
            if next != Next::Again && is_quiet {
                return (String::from_utf8(said).unwrap(), next, again);
            }
        }
    }

    #[test]
    fn a_listing_is_made_as_it_leaves_and_ends_before_the_next_answer() {
        let get =
            |version: &str, rest: &str| format!("GET / HTTP/{version}\r\nHost: a\r\n{rest}\r\n");
        let content = "9\r\nan entry\n\r\n".repeat(3);
        let (said, next, again) = list(&get("1.1", "").repeat(2), false);
        assert_eq!((next, again), (Next::Read, 16));
        let answers: Vec<&str> = said.split("HTTP/1.1 200 OK\r\n").collect();
        let [nothing, first, second] = answers[..] else {
            panic!("{said}");
        };
        assert_eq!((nothing, first), ("", second));
        let (head, rest) = first.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{head}"
        );
        assert!(!head.contains("Content-Length"), "{head}");
        assert_eq!(rest, format!("{content}0\r\n\r\n"));

        let (said, next, _) = list(&get("1.1", ""), true);
        assert_eq!(next, Next::Close);
        assert!(
            said.ends_with(&format!("\r\n\r\n{content}")),
            "no last chunk: {said}"
        );

        let (said, next, _) = list(&get("1.1", "Connection: close\r\n"), false);
        assert_eq!(next, Next::Close);
        assert!(said.ends_with("0\r\n\r\n"), "{said}");

        let (said, next, _) = list(&get("1.0", "Connection: keep-alive\r\n"), false);
        assert_eq!(next, Next::Close, "its end is the connection's");
        let (head, rest) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
        assert!(
            !head.contains("chunked") && !head.contains("Content-Length"),
            "{head}"
        );
        assert_eq!(rest, "an entry\n".repeat(3));

        let head = get("1.1", "").replace("GET", "HEAD");
        let (said, next, again) = list(&(head + &get("1.0", "")), false);
        assert_eq!((next, again), (Next::Close, 8), "of one of them");
        let (head, rest) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nContent-Type: text/plain"), "{head}");
        assert!(!head.contains("Content-Length"), "{head}");
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    }

    /// Says every ten seconds that nothing has happened.
    struct Quiet;

    const PULSE: Duration = Duration::from_secs(10);

    impl Origin for Quiet {
        type Stream = Option<Instant>;

        fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Lookup {
            Lookup::Events
        }

        fn stream(&mut self, _: &Target<'_>, _: Streamed) -> Result<Option<Instant>, Lookup> {
            Ok(None)
        }

        fn stream_on(
            &mut self,
            due: &mut Option<Instant>,
            into: &mut Vec<u8>,
            now: Instant,
        ) -> Progress {
            let next = match *due {
                Some(due) if now < due => due,
                _ => {
                    into.extend_from_slice(b":\n\n");
                    now + PULSE
                }
            };
            *due = Some(next);
            Progress::Wait(next)
        }
    }

    #[test]
    fn events_are_told_until_somebody_has_had_enough() {
        type Call = fn(&mut Http1<Quiet>, &mut Session<Option<Instant>>, &mut Io<'_>) -> Next;
        for is_over_by in ["their end", "ours", "nothing"] {
            let mut http = Http1::new(Quiet, Options::default(), None);
            let mut session = http.open(&Peer {
                address: Address::Ip(([127, 0, 0, 1], 80).into()),
            });
            let (mut inbox, mut outbox, mut deadline) = <(Inbox, Outbox, _)>::default();
            inbox.receive(GET.as_bytes());
            let start = Instant::now();
            let mut call = |call: Call, seconds, ended: bool| {
                if ended {
                    inbox.end();
                }
                let instant = start + Duration::from_secs(seconds);
                let mut said = String::new();
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
                        said += &String::from_utf8(taken).unwrap();
                        assert_eq!(http.waits_since(&session), None, "it makes no room");
                        return (next, said, deadline.map(|due| due - start));
                    }
                    assert_eq!((next, *deadline), (Next::Drain, None));
                    said += &String::from_utf8(taken).unwrap();
                }
            };
            let (next, said, due) = call(Http1::advance, 0, false);
            let (head, content) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
            assert!(head.contains("\r\nCache-Control: no-store\r\n"));
            assert_eq!((next, due), (Next::Listen, Some(PULSE)));
            let pulse = "3\r\n:\n\n\r\n";
            assert_eq!(content, pulse);
            let rest = call(Http1::advance, 1, false);
            assert_eq!(rest, (Next::Listen, String::new(), Some(PULSE)));
            let rest = call(Http1::expire, 10, false);
            assert_eq!(rest, (Next::Listen, pulse.into(), Some(2 * PULSE)));
            let end = "0\r\n\r\n".to_owned();
            match is_over_by {
                "their end" => {
                    assert_eq!(call(Http1::advance, 11, true), (Next::Close, end, None));
                }
                "ours" => assert_eq!(call(Http1::retire, 11, false), (Next::Close, end, None)),
                _ => {}
            }
        }
    }

    struct Lines(Sender<String>);

    impl crate::journal::Out for Lines {}

    impl std::io::Write for Lines {
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
    fn every_answer_is_a_line_once_it_has_left() {
        let (sender, lines) = channel();
        let (journal, writer) = Journal::new("it", Duration::ZERO, Lines(sender)).unwrap();
        let mut driven = Driven::new();
        driven.http.log = Some(Log::new(journal, Format::Combined));
        driven.hear(
            format!("{GET}GET /nothing\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
            &[],
        );
        driven
            .inbox
            .receive(b"HEAD /large HTTP/1.1\r\nHost: a\r\n\r\nbad\r\n");
        driven.call(Http1::advance);
        driven.now.instant += Duration::from_millis(1500);
        let Driven {
            mut http,
            session,
            mut inbox,
            mut outbox,
            mut deadline,
            now,
            ..
        } = driven;
        let missing = outbox.len();
        let mut io = Io {
            inbox: &mut inbox,
            outbox: &mut outbox,
            deadline: &mut deadline,
            now,
        };
        http.close(session, &mut io, Closed::ByPeer);
        http.rest(|| now);
        drop(http);
        assert_eq!(writer.finish(Duration::from_secs(10)), Ok(()));
        assert!(missing > 0);
        let prefix = "127.0.0.1 - - [01/Jan/1970:00:00:00 +0000] ";
        let all: String = lines.iter().collect();
        let lines: Vec<&str> = all
            .lines()
            .map(|line| line.strip_prefix(prefix).unwrap())
            .collect();
        let nothing = "\"GET /nothing\\xC3\\xA9 HTTP/1.1\" 404 ";
        assert_eq!(lines[0], "\"GET / HTTP/1.1\" 200 5 \"-\" \"-\"");
        assert!(lines[1].starts_with(nothing), "{}", lines[1]);
        let large = "\"HEAD /large HTTP/1.1\" 200 - \"-\" \"-\"";
        assert_eq!(lines[2], large);
        let cut = "\"-\" 400 - \"-\" \"-\"";
        assert_eq!(lines[3], cut, "none of its content has left");
        assert_eq!(lines.len(), 4);
    }
}
