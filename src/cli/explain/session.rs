//! A session without a socket, over a site whose lookups are recorded.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use docroot::auth::Verifier;
use docroot::http::{Coding, Fields, Finding, Lookup, Origin, StreamKind, StreamProgress, Target};
use docroot::http1::Http1;
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol as _};
use docroot::service::Service;
use docroot::site::{Live, LiveStream};

use crate::cli::options::{Config, ExplainRequest};

/// Result of the last lookup; `None` before the first one.
pub(super) type RecordedLookup = Rc<RefCell<Option<Lookup>>>;

/// Site whose lookups are recorded.
pub(super) struct RecordingOrigin {
    pub(super) site: Live,
    pub(super) recorded: RecordedLookup,
}

impl Origin for RecordingOrigin {
    type Stream = LiveStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        let finding = self.site.find(target, now);
        *self.recorded.borrow_mut() = Some(finding.lookup.clone());
        finding
    }

    fn find_encoded(
        &mut self,
        target: &Target<'_>,
        found: &Finding,
        coding: Coding,
        now: SystemTime,
    ) -> Option<Lookup> {
        let lookup = self.site.find_encoded(target, found, coding, now)?;
        *self.recorded.borrow_mut() = Some(lookup.clone());
        Some(lookup)
    }

    fn generated_fields(&self, target: Option<&Target<'_>>) -> Cow<'_, Fields> {
        self.site.generated_fields(target)
    }

    fn mark_stale(&mut self, is_notified: bool) {
        self.site.mark_stale(is_notified);
    }

    fn open_stream(
        &mut self,
        target: &Target<'_>,
        kind: StreamKind,
    ) -> Result<Self::Stream, Lookup> {
        let stream = self.site.open_stream(target, kind);
        if let Err(instead) = &stream {
            *self.recorded.borrow_mut() = Some(instead.clone());
        }
        stream
    }

    fn read_stream(
        &mut self,
        stream: &mut Self::Stream,
        into: &mut Vec<u8>,
        now: Instant,
    ) -> StreamProgress {
        self.site.read_stream(stream, into, now)
    }
}

/// Returns the request head, as a client on this machine would send it.
pub(super) fn request_head(explain_request: &ExplainRequest) -> Vec<u8> {
    let ExplainRequest {
        method,
        target,
        fields,
        ..
    } = explain_request;
    let is_host = |field: &String| {
        let name = field.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("Host")
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(is_host) {
        head.push_str("Host: localhost\r\n");
    }
    for field in fields {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Passes the request to a session, and returns the bytes that it queues in memory: the response head, and the content
/// unless it is in a file.
pub(super) fn run_session(
    config: &Config,
    origin: RecordingOrigin,
    request: &[u8],
) -> io::Result<String> {
    let mut service = Service::new(origin, config.server.service.clone(), None);
    let verifier = config.server.users.clone();
    let verifier = verifier.map(|users| Verifier::new(users, NonZeroUsize::MIN));
    let verifier = verifier.transpose()?;
    let mut waker = None;
    if let Some(verifier) = &verifier {
        let auth = verifier.handle()?;
        waker = Some(auth.waker().clone());
        service = service.with_auth(auth);
    }
    let mut http = Http1::new(service, config.server.http1.clone());
    let peer = Peer {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let mut session = http.on_accept(&peer);
    let (mut inbox, mut outbox, mut deadline) = (Inbox::default(), Outbox::default(), None);
    inbox.receive(request);
    http.on_turn_start(true);
    loop {
        let now = Now {
            instant: Instant::now(),
            wall: SystemTime::now(),
        };
        let mut io = Io {
            inbox: &mut inbox,
            outbox: &mut outbox,
            deadline: &mut deadline,
            now,
        };
        match (http.on_ready(&mut session, &mut io), &waker) {
            // The credentials are being verified.
            (Next::AwaitWake, Some(waker)) => waker.wait(Duration::from_secs(1))?,
            _ => break,
        };
    }
    Ok(String::from_utf8_lossy(&outbox.take()).into_owned())
}
