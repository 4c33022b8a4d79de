//! The service: from a request to the response, its line in the access log and its counters.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::access_line::LogFormat;
use super::access_log::{AccessLog, InFlight, LogRecord};
use super::authorize::{Authorization, authorize, missing_credentials};
use super::counters::{RequestCounters, TimeoutKind};
use super::health::Health;
use super::refusal;
use crate::auth::{AuthHandle, CachedVerdict};
use crate::http::{
    Audience, Body, CachedDate, Coding, Fields, Lookup, Origin, Request, Response, StreamProgress,
    Target, allow_preflight, forwarded_client, is_preflight, respond, validate,
};
use crate::line_writer::LineWriter;
use crate::net::{Address, CloseReason, Now};
use crate::trust::TrustedProxies;

/// Policies for requests in any version of HTTP.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
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

/// An origin with all that is decided before and after its lookups, for the connections of one event loop.
#[derive(Debug)]
pub struct Service<O> {
    origin: O,
    options: ServiceOptions,
    auth: Option<AuthHandle>,
    log: Option<AccessLog>,
    date: CachedDate,
}

/// State of one connection's client.
#[derive(Debug)]
pub struct Client {
    peer: Address,
    /// Responses that have not been sent completely, for the access log.
    in_flight: Option<Box<InFlight>>,
    /// Verdict on the credentials received last, if authorization is required.
    cached_verdict: Option<Box<CachedVerdict>>,
}

/// Answer to a request.
#[derive(Debug)]
pub enum Answer<S> {
    /// The response.
    Ready(Response),
    /// A response of unknown length, with the stream of its content.
    Stream(Response, S),
    /// The request's credentials are being verified: it is to be answered again after the next wake-up, and at the
    /// latest at this time, when it is refused.
    Pending(Instant),
}

impl Client {
    /// Creates the state of a new connection from this peer.
    #[must_use]
    pub fn new(peer: Address) -> Self {
        Self {
            peer,
            in_flight: None,
            cached_verdict: None,
        }
    }

    /// Address of the peer: the client, or a proxy.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// Records that `content` more bytes of a stream have been queued, up to the offset `end_offset`, for the last
    /// response. `is_open`: more is to come.
    pub fn on_stream_queued(&mut self, content: u64, end_offset: u64, is_open: bool) {
        AccessLog::extend_last(&mut self.in_flight, content, end_offset, is_open);
    }

    /// Whether a response is to be logged once it has been sent.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }
}

impl<O: Origin> Service<O> {
    /// Creates the service of `origin`; each response is logged to `line_writer`, if there is one.
    pub fn new(origin: O, options: ServiceOptions, line_writer: Option<LineWriter>) -> Self {
        Self {
            origin,
            auth: None,
            log: line_writer.map(|line_writer| {
                AccessLog::new(line_writer, options.log_format).in_local_time(options.utc_offset)
            }),
            options,
            date: CachedDate::default(),
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

    /// Decides the response: one effect, the lookup, between pure decisions. The stream of a response of unknown length
    /// is opened.
    pub fn answer(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        now: Now,
    ) -> Answer<O::Stream> {
        let validated = validate(request);
        if let Some(health) = &self.options.health
            && let Ok(target) = &validated
            && let Some(response) = health.respond(request, target)
        {
            return Answer::Ready(response);
        }
        if let Some(auth) = &self.auth
            && audience(&validated) == Audience::Authorized
        {
            match authorize(auth, &mut client.cached_verdict, request, now.instant) {
                Authorization::Granted => {}
                Authorization::Denied(response) => return Answer::Ready(response),
                Authorization::Pending(until) => return Answer::Pending(until),
            }
        }
        match validated {
            Ok(target) => self.look_up(request, &target, now),
            // Without a reason it is no error, but the response to OPTIONS.
            Err(response)
                if self.options.allow_cors
                    && response.reason.is_none()
                    && is_preflight(request) =>
            {
                Answer::Ready(allow_preflight(request, response))
            }
            Err(response) => Answer::Ready(response),
        }
    }

    /// Looks the target up, and builds the response: in the coding that is preferred, or with the stream of a listing
    /// or of events.
    fn look_up(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        now: Now,
    ) -> Answer<O::Stream> {
        let found = self.origin.find(target, now.wall);
        let lookup_status = self.origin.lookup_status();
        let finish = |response: Response| match lookup_status {
            Some(lookup_status) => response.with_lookup(lookup_status),
            None => response,
        };
        let response = respond(request, target, &found);
        if let Some(coding) = response.wanted_coding
            && let Some(coded) = self.origin.find_encoded(target, &found, coding, now.wall)
        {
            return Answer::Ready(finish(respond(request, target, &coded)));
        }
        let Body::Streamed(kind) = response.body else {
            return Answer::Ready(finish(response));
        };
        let lookup = match self.origin.open_stream(target, kind) {
            Ok(stream) => return Answer::Stream(finish(response), stream),
            Err(Lookup::Listing(_) | Lookup::Events) => Lookup::Unavailable,
            Err(lookup) => lookup,
        };
        Answer::Ready(finish(respond(request, target, &lookup)))
    }

    /// Returns the error that a request receives whatever its content and its credentials are.
    pub fn early_error(&self, request: &Request<'_>) -> Option<Response> {
        let validated = validate(request);
        match self.auth {
            Some(_) if audience(&validated) == Audience::Authorized => missing_credentials(request),
            _ => validated.err(),
        }
    }

    /// Returns the value of Date, and the fields that the origin adds to a response that has none of its own.
    pub fn added_fields(
        &mut self,
        request: Option<&Request<'_>>,
        response: &Response,
        now: Now,
    ) -> (&str, Cow<'_, Fields>) {
        let fields = match response.has_origin_fields {
            true => Cow::Owned(Fields::new()),
            // The fields of a path would reveal something about it to a client that is not authorized.
            false if self.auth.is_some() && response.audience == Audience::Public => {
                self.origin.generated_fields(None)
            }
            false => {
                let target = request.and_then(|request| Target::parse(request.target, None).ok());
                self.origin.generated_fields(target.as_ref())
            }
        };
        (self.date.render(now.wall), fields)
    }

    /// Records a response that has been queued behind the client's others, with `content` bytes of content so far, up
    /// to the offset `end_offset` in the connection's output. `start` is the time of the request's first byte.
    pub fn on_queued(
        &mut self,
        client: &mut Client,
        request: Option<&Request<'_>>,
        response: &Response,
        start: Instant,
        content: u64,
        end_offset: u64,
    ) {
        refusal::log(request, response, client.peer);
        if let Some(log) = &mut self.log {
            let address = client_address(request, client.peer, &self.options.trusted_proxies);
            let address = address.unwrap_or(client.peer);
            let mut record = LogRecord::new(response.status, address, content, start, end_offset);
            record.is_streaming = matches!(response.body, Body::Streamed(_));
            let representation = response.representation.as_deref();
            record.coding = representation.map_or(Coding::Identity, |sent| sent.coding);
            record.cache_status = response.cache_status;
            record.reason = response.reason;
            record.is_logged = response.is_logged;
            record.is_authorized = self.auth.is_some() && response.audience == Audience::Authorized;
            log.push(&mut client.in_flight, request, record);
        }
    }

    /// Appends the next bytes of a stream to `into`, as [`Origin::read_stream`] does.
    pub fn read_stream(
        &mut self,
        stream: &mut O::Stream,
        into: &mut Vec<u8>,
        now: Instant,
    ) -> StreamProgress {
        self.origin.read_stream(stream, into, now)
    }

    /// Counts the content sent so far, when `sent` bytes of the connection's output have been sent.
    pub fn on_progress(&self, client: &mut Client, sent: u64) {
        if let Some(log) = &self.log {
            log.count_sent(&mut client.in_flight, sent);
        }
    }

    /// Logs the responses that have been sent completely, now that `sent` bytes of the output have been sent.
    pub fn on_sent(&mut self, client: &mut Client, sent: u64, now: Now) {
        if let Some(log) = &mut self.log {
            log.finish_sent(&mut client.in_flight, sent, (now.instant, now.wall));
        }
    }

    /// Logs the responses of a connection that was closed for this reason after `sent` bytes.
    pub fn on_close(&mut self, client: Client, sent: u64, reason: &CloseReason, now: Now) {
        if let Some(log) = &mut self.log {
            let now = (now.instant, now.wall);
            log.finish_all(client.in_flight, sent, incomplete_reason(reason), now);
        }
    }

    /// Counts a connection that timed out.
    pub fn record_timeout(&self, timeout: TimeoutKind) {
        if let Some(log) = &self.log {
            log.record_timeout(timeout);
        }
    }

    /// Marks cached lookups as stale, as [`Origin::mark_stale`] does.
    pub fn mark_stale(&mut self, is_notified: bool) {
        self.origin.mark_stale(is_notified);
    }

    /// Latest time for the next call of [`on_timer`](Self::on_timer); `None` is never.
    pub fn next_timer(&self) -> Option<SystemTime> {
        self.origin.next_timer()
    }

    /// Does the work of the origin that is due.
    pub fn on_timer(&mut self, now: Now) {
        self.origin.on_timer(now.wall);
    }

    /// Ends a turn: cached lookups that are valid for one turn are dropped, and the lines of its responses are written.
    pub fn on_turn_end(&mut self, clock: impl FnOnce() -> Now) {
        self.origin.mark_stale(false);
        if let Some(log) = &mut self.log {
            log.on_turn_end(|| {
                let now = clock();
                (now.instant, now.wall)
            });
        }
    }
}

/// Audience of the response to a validated request: only an authorized client sees the result of a lookup.
fn audience(validated: &Result<Target<'_>, Response>) -> Audience {
    match validated {
        Ok(_) => Audience::Authorized,
        Err(response) => response.audience,
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

/// Reason why responses are incomplete, for a connection that ended like this.
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
