//! The exchange that is explained: a request, and the response of its service, as HTTP/1.1 sends it.

use std::io;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use docroot::auth::Verifier;
use docroot::http::{AcceptEncoding, Lookup, Origin, Response};
use docroot::http1::encode::ConnectionOption;
use docroot::http1::parse::{self, FieldLines, ParseError, Parsed};
use docroot::http1::{ResponseWriter, frame};
use docroot::net::{Now, Outbox};
use docroot::service::{Answer, Client, Service};

use crate::cli::options::{Config, ExplainRequest};

/// Response to a request, and what it was decided from.
pub(super) struct Exchange {
    pub(super) response: Response,
    /// Lookup that the response was made from; `None` if nothing was looked up.
    pub(super) lookup: Option<Lookup>,
    pub(super) accept_encoding: AcceptEncoding,
    /// Head of the response: status line and field lines.
    pub(super) head: Vec<String>,
}

impl Exchange {
    /// Passes the request to a service of this origin, once, and again when its credentials have been verified.
    ///
    /// # Errors
    /// The system has no descriptor or no thread for verifying passwords.
    pub(super) fn run(
        config: &Config,
        origin: impl Origin,
        explain_request: &ExplainRequest,
    ) -> io::Result<Self> {
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
        let head = request_head(explain_request);
        let mut lines = FieldLines::new();
        let parsed = match parse::request(&head, config.server.http1.max_head_bytes, &mut lines) {
            Ok(Parsed::Complete { request, .. }) => Ok(request),
            Ok(Parsed::Partial) => Err(ParseError::Malformed),
            Err(error) => Err(error),
        };
        let mut lookup = None;
        let (response, connection_option) = match &parsed {
            Ok(request) => {
                let mut client = Client::new((Ipv4Addr::LOCALHOST, 0).into());
                let mut observe = |found: &Lookup| lookup = Some(found.clone());
                let (mut response, is_stream) = loop {
                    match service.answer_observed(&mut client, request, now(), &mut observe) {
                        Answer::Ready(response) => break (response, false),
                        Answer::Stream(response, _) => break (response, true),
                        Answer::Pending(_) => match &waker {
                            Some(waker) => waker.wait(Duration::from_secs(1))?,
                            None => 0,
                        },
                    };
                };
                let connection_option = frame(request, &mut response, is_stream);
                (response, connection_option)
            }
            Err(error) => {
                let response = Response::error_page(error.status(), error.reason());
                (response, ConnectionOption::Close)
            }
        };
        let request = parsed.ok();
        let (date, fields) = service.added_fields(request.as_ref(), &response, now());
        let mut outbox = Outbox::default();
        let added = (date, &*fields);
        ResponseWriter::default().write(&response, added, connection_option, &mut outbox);
        let output = String::from_utf8_lossy(&outbox.take()).into_owned();
        let head = output.split("\r\n").take_while(|line| !line.is_empty());
        Ok(Self {
            head: head.map(str::to_owned).collect(),
            accept_encoding: request
                .as_ref()
                .map_or_else(AcceptEncoding::default, AcceptEncoding::from_request),
            response,
            lookup,
        })
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        wall: SystemTime::now(),
    }
}

/// Returns the request head, as a client on this machine would send it.
fn request_head(explain_request: &ExplainRequest) -> Vec<u8> {
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
