//! The service: from a request to the response, its line in the access log and its counters.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use super::access_line::LogFormat;
use super::access_log::{AccessLog, InFlight, LogRecord};
use super::authorize::{Authorization, authorize, missing_credentials};
use super::counters::{RequestCounters, TimeoutKind};
use super::health::HealthCheck;
use super::refusal;
use crate::auth::{AuthHandle, CachedVerdict};
use crate::http::{
    Audience, Body, CachedDate, Coding, Fields, Lookup, Origin, Request, Response, StreamProgress,
    Target, Validated, forwarded_client, respond, respond_to_options, validate,
};
use crate::log::LineWriter;
use crate::net::{Address, CloseReason, Now};
use crate::trust::TrustedProxies;

/// Policies for requests in any version of HTTP.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// Whether preflights are answered, so that pages of other origins may send any request.
    pub allow_cors: bool,
    /// Health check, if there is one.
    pub health: Option<HealthCheck>,
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
    is_draining: Arc<AtomicBool>,
    auth: Option<AuthHandle>,
    log: Option<AccessLog>,
    date: CachedDate,
}

/// State of one connection for its service: the client's verdict, and its responses in flight.
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
            is_draining: Arc::default(),
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

    /// Makes health checks fail while this flag is set.
    #[must_use]
    pub fn with_drain_flag(mut self, is_draining: Arc<AtomicBool>) -> Self {
        self.is_draining = is_draining;
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
        self.answer_observed(client, request, now, |_| {})
    }

    /// Decides the response, as [`answer`](Self::answer) does, and passes each lookup that it is made from.
    pub fn answer_observed(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        now: Now,
        observe: impl FnMut(&Lookup),
    ) -> Answer<O::Stream> {
        let validated = validate(request);
        if let Some(health) = &self.options.health
            && let Ok(Validated::Resource(target)) = &validated
            && let Some(response) = health.respond(request, target, &self.is_draining)
        {
            return Answer::Ready(response);
        }
        if let Some(auth) = &self.auth
            && audience(request, &validated) == Audience::Authorized
        {
            match authorize(auth, &mut client.cached_verdict, request, now.instant) {
                Authorization::Granted => {}
                Authorization::Denied(response) => return Answer::Ready(response),
                Authorization::Pending(until) => return Answer::Pending(until),
            }
        }
        match validated {
            Ok(Validated::Resource(target)) => self.look_up(request, &target, now, observe),
            Ok(Validated::Options) => {
                Answer::Ready(respond_to_options(request, self.options.allow_cors))
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
        mut observe: impl FnMut(&Lookup),
    ) -> Answer<O::Stream> {
        let mut respond = |lookup: &Lookup| {
            observe(lookup);
            respond(request, target, lookup)
        };
        let found = self.origin.find(target, now.wall);
        let finish = |response: Response| response.with_finding(&found);
        let response = respond(&found.lookup);
        if let Some(coding) = response.wanted_coding
            && let Some(coded) = self.origin.find_encoded(target, &found, coding, now.wall)
        {
            return Answer::Ready(finish(respond(&coded)));
        }
        let Body::Streamed(kind) = response.body else {
            return Answer::Ready(finish(response));
        };
        let lookup = match self.origin.open_stream(target, kind) {
            Ok(stream) => return Answer::Stream(finish(response), stream),
            Err(Lookup::Listing(_) | Lookup::Events) => Lookup::Unavailable,
            Err(lookup) => lookup,
        };
        Answer::Ready(finish(respond(&lookup)))
    }

    /// Returns the error that a request receives whatever its content and its credentials are.
    pub fn early_error(&self, request: &Request<'_>) -> Option<Response> {
        let validated = validate(request);
        match self.auth {
            Some(_) if audience(request, &validated) == Audience::Authorized => {
                missing_credentials(request)
            }
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

/// Audience of the response to a request that was validated.
fn audience(request: &Request<'_>, validated: &Result<Validated<'_>, Response>) -> Audience {
    match validated {
        Ok(validated) => validated.audience(request),
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
        CloseReason::FileUnreadable(_) => "The file could not be read while it was sent.",
        CloseReason::Io(_) => "The connection broke.",
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::blob::Blob;
    use crate::http::{
        FieldLine, FieldSink, Method, NoStream, Representation, RequestFields, Status, Version,
    };
    use crate::service::MethodLabel;

    type FindFunction = fn(&Target<'_>, SystemTime) -> Lookup;

    fn find(target: &Target<'_>, _: SystemTime) -> Lookup {
        let page = Representation::new(Blob::Static(b"hello"), "text/plain");
        match &*target.path() {
            b"" => Lookup::Found(Arc::new(page.into())),
            b"folder" => Lookup::Directory,
            _ => Lookup::NotFound(None),
        }
    }

    /// A toy version of HTTP. A request is `METHOD TARGET`, then `NAME=VALUE` for each field, separated by spaces; a
    /// response is a list of such fields and the content. Each is complete as soon as it is queued.
    struct ToyHttp {
        service: Service<FindFunction>,
        client: Client,
        sent: u64,
    }

    /// Fields of a toy response.
    #[derive(Default)]
    struct ToyFields(Vec<String>);

    impl FieldSink for ToyFields {
        fn push(&mut self, name: &str, value: impl Display) {
            self.0.push(format!("{}={value}", name.to_lowercase()));
        }
    }

    impl ToyHttp {
        fn new(service: Service<FindFunction>) -> Self {
            let client = Client::new(([127, 0, 0, 1], 80).into());
            Self {
                service,
                client,
                sent: 0,
            }
        }

        fn exchange(&mut self, request: &str) -> (Vec<String>, Vec<u8>) {
            let (instant, wall) = (Instant::now(), UNIX_EPOCH);
            let now = Now { instant, wall };
            let mut words = request.split(' ');
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let lines: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
            let lines = FieldLine::from_pairs(&lines);
            let request = &Request {
                method: Method::from_name(method),
                target,
                version: Version::Http11,
                fields: RequestFields::new(&lines),
            };
            let answer: Answer<NoStream> = self.service.answer(&mut self.client, request, now);
            let Answer::Ready(response) = answer else {
                panic!("it needs no verdict and has no stream: {answer:?}");
            };
            let (date, added) = self.service.added_fields(Some(request), &response, now);
            let mut fields = ToyFields(vec![response.status.code().to_owned()]);
            fields.push("Date", date);
            response.write_fields(&added, None, &mut fields);
            let bytes = match response.representation.as_deref().map(|sent| &sent.content) {
                Some(Blob::Static(bytes)) => bytes,
                Some(Blob::Memory(bytes)) => &**bytes,
                _ => &[],
            };
            let content = match &response.body {
                Body::Whole => bytes.to_vec(),
                Body::Part(part) => {
                    let [start, end] =
                        [part.start, part.end].map(|at| usize::try_from(at).unwrap());
                    bytes[start..end].to_vec()
                }
                _ => Vec::new(),
            };
            let len = content.len() as u64;
            self.sent += len;
            let client = &mut self.client;
            self.service
                .on_queued(client, Some(request), &response, instant, len, self.sent);
            self.service.on_sent(client, self.sent, now);
            self.service.on_turn_end(|| now);
            (fields.0, content)
        }
    }

    #[test]
    fn another_version_of_http_is_served() {
        let counters = Arc::new(RequestCounters::default());
        let options = ServiceOptions {
            health: Some(HealthCheck {
                path: "/health".into(),
                is_logged: false,
            }),
            ..ServiceOptions::default()
        };
        let service = Service::new(find as FindFunction, options, None);
        let mut toy = ToyHttp::new(service.with_counters(counters.clone()));
        let date = "date=Thu, 01 Jan 1970 00:00:00 GMT";
        let (fields, content) = toy.exchange("GET / host=a");
        let expected = ["200", date, "content-type=text/plain", "content-length=5"];
        assert_eq!(
            (&*fields, &*content),
            (&expected.map(str::to_owned)[..], &b"hello"[..])
        );
        let (fields, content) = toy.exchange("GET / host=a range=bytes=1-2");
        assert_eq!(
            fields[3..],
            ["content-range=bytes 1-2/5", "content-length=2"]
        );
        assert_eq!(content, b"el");
        for (request, status) in [
            ("HEAD /", "400"),
            ("HEAD / host=a", "200"),
            ("GET /folder host=a", "301"),
            ("GET /nothing host=a", "404"),
            ("POST / host=a", "405"),
            ("GET /health host=a", "200"),
        ] {
            assert_eq!(toy.exchange(request).0[0], status, "{request}");
        }
        assert_eq!(counters.responses(MethodLabel::Get, Status::Ok), 2);
        assert_eq!(
            counters.responses(MethodLabel::Get, Status::PartialContent),
            1
        );
    }
}
