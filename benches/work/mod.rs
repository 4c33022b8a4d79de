//! The steps of a request that the benchmarks repeat, each with its setup.
//!
//! There is no socket: a connection is simulated in memory, with buffers that are reused as the reactor reuses them.
//! The only system calls are those of the site, which check whether a file has changed.

use std::fs;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use docroot::blob::Blob;
use docroot::files::{Root, Symlinks};
use docroot::http::{
    FieldLine, Fields, Finding, Lookup, Method, NoStream, Origin, Representation, Request,
    RequestFields, Target, Version, respond, validate,
};
use docroot::http1::encode::{self, ConnectionOption};
use docroot::http1::parse::{self, FieldLines};
use docroot::http1::{Http1, HttpOptions, Session};
use docroot::log::{LineWriter, WriterHandle};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol};
use docroot::service::{Service, ServiceOptions};
use docroot::site::{self, Site};
use tempfile::TempDir;

/// Function that runs a step once.
pub(crate) type Work = Box<dyn FnMut()>;

/// Step of a request.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Name of the step, followed by a slash and the case if there are several.
    pub(crate) name: &'static str,
    /// Number of requests that one run serves.
    pub(crate) requests: u64,
    /// Sets the step up, and warms its caches.
    pub(crate) setup: fn() -> Work,
}

/// All steps, in the order in which a request passes them, then whole requests.
pub(crate) const STEPS: &[Step] = &[
    step("parse/short", || parse(SHORT)),
    step("parse/browser", || parse(BROWSER)),
    step("validate", validate_request),
    step("cached/same-turn", || find_cached(PLAIN, WATCHED, None)),
    step("cached/next-turn", || {
        find_cached(PLAIN, WATCHED, Some(false))
    }),
    step("cached/after-events", || {
        find_cached(PLAIN, WATCHED, Some(true))
    }),
    step("cached/same-turn-encoded", || {
        find_cached(ENCODED, WATCHED, None)
    }),
    step("cached/after-events-encoded", || {
        find_cached(ENCODED, WATCHED, Some(true))
    }),
    step("cached/stat", || find_cached(PLAIN, POLLED, Some(false))),
    step("missing", find_missing),
    step("respond", respond_to_request),
    step("encode", encode_head),
    step("session/short", || serve_fixed(SHORT, Output::Reuse, false)),
    step("session/browser", || {
        serve_fixed(BROWSER, Output::Reuse, false)
    }),
    step("copied/short", || serve_fixed(SHORT, Output::Take, false)),
    step("copied/browser", || {
        serve_fixed(BROWSER, Output::Take, false)
    }),
    step("logged/short", || serve_fixed(SHORT, Output::Take, true)),
    step("logged/browser", || {
        serve_fixed(BROWSER, Output::Take, true)
    }),
    step("site/short", || serve(|_| SHORT.to_vec())),
    step("site/browser", || serve(|_| BROWSER.to_vec())),
    step("site/encoded", || serve(|_| get(ENCODED, ""))),
    step("site/not-modified", || {
        serve(|tag| get(PLAIN, &format!("If-None-Match: {tag}\r\n")))
    }),
    Step {
        requests: PIPELINED_REQUESTS as u64,
        ..step("site/burst", || serve(|_| SHORT.repeat(PIPELINED_REQUESTS)))
    },
];

const fn step(name: &'static str, setup: fn() -> Work) -> Step {
    Step {
        name,
        requests: 1,
        setup,
    }
}

/// Number of requests that a client pipelines.
const PIPELINED_REQUESTS: usize = 16;

/// Flush interval of the access log, so long that time never causes a write.
const FLUSH_INTERVAL: Duration = Duration::from_secs(3600);

/// Age of a file at which the cache relies on inotify for it. 10 seconds would suffice.
const WATCHED: Duration = Duration::from_secs(60);

/// Age of a file at which it is cached, but revalidated by `stat` in every turn: between 20 ms and 10 seconds.
const POLLED: Duration = Duration::from_secs(5);

const PLAIN: &str = "/index.html";

/// Target that differs from its decoded path.
const ENCODED: &str = "/caf%C3%A9.html";

/// Files of the site, 1 KiB each: those of the targets above and of the browser's.
const FILES: [&str; 3] = ["index.html", "guide/index.html", "caf\u{e9}.html"];

/// Request as `wrk` sends it.
const SHORT: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// Request as a browser sends it.
const BROWSER: &[u8] = b"GET /guide/ HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    Connection: keep-alive\r\nCache-Control: max-age=0\r\n\
    sec-ch-ua: \"Chromium\";v=\"156\", \"Not A(Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/156.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n\
    Sec-Fetch-Dest: document\r\nReferer: http://127.0.0.1:8080/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n";

/// Formats a GET request for a target with these additional field lines.
fn get(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{lines}\r\n").into_bytes()
}

/// [`SHORT`], parsed.
fn request() -> Request<'static> {
    Request {
        method: Method::Get,
        target: PLAIN,
        version: Version::Http11,
        fields: RequestFields::new(&[FieldLine {
            name: b"Host",
            value: b"127.0.0.1:8080",
        }]),
    }
}

fn target(raw: &str) -> Target<'_> {
    Target::parse(raw, None).expect("a target")
}

fn found() -> Lookup {
    let content = Blob::from(vec![b'x'; 1024]);
    let page = Representation::new(content, "text/html; charset=utf-8")
        .with_metadata_field("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    Lookup::Found(Arc::new(page.into()))
}

fn parse(head: &'static [u8]) -> Work {
    Box::new(move || {
        let mut lines = FieldLines::new();
        black_box(parse::request(black_box(head), 32 * 1024, &mut lines).is_ok());
    })
}

fn validate_request() -> Work {
    let request = request();
    Box::new(move || {
        black_box(validate(black_box(&request)).is_ok());
    })
}

fn respond_to_request() -> Work {
    let (request, target, lookup) = (request(), target(PLAIN), found());
    Box::new(move || {
        black_box(respond(black_box(&request), &target, &lookup));
    })
}

fn encode_head() -> Work {
    let response = respond(&request(), &target(PLAIN), &found());
    let mut run = Vec::with_capacity(4096);
    Box::new(move || {
        run.clear();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        encode::head(
            black_box(&response),
            &Fields::new(),
            None,
            ConnectionOption::Omitted,
            date,
            &mut run,
        );
        black_box(&run);
    })
}

/// Site with its temporary root directory.
struct TempSite {
    site: Site,
    _root: TempDir,
}

impl TempSite {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for name in FILES {
            let path = root.path().join(name);
            let parent = path.parent().expect("it is below the root");
            fs::create_dir_all(parent).expect("a directory");
            fs::write(path, [b'x'; 1024]).expect("a file");
        }
        let root_dir = Root::open(root.path(), &Symlinks::default()).expect("the directory exists");
        let site = Site::new(
            root_dir,
            site::SiteOptions::default(),
            site::SiteShared::default(),
        );
        Self { site, _root: root }
    }

    /// Creates a site whose files were written `age` ago, and looks a target up until it is cached, and watched if its
    /// age allows. Returns the site and the time.
    fn warm(target: &Target<'_>, age: Duration) -> (Self, SystemTime) {
        let mut site = Self::new();
        let now = SystemTime::now() + age;
        for _ in 0..3 {
            let lookup = site.find(target, now).lookup;
            assert!(matches!(lookup, Lookup::Found(_)), "{lookup:?}");
            site.mark_stale(true);
        }
        site.find(target, now);
        (site, now)
    }
}

impl Origin for TempSite {
    type Stream = NoStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Finding {
        self.site.find(target, now)
    }

    fn mark_stale(&mut self, has_events: bool) {
        self.site.mark_stale(has_events);
    }
}

/// Looks up a cached target whose file was written `age` ago: in the same turn if `turn` is `None`, otherwise in a
/// new turn each time, in which inotify may have reported events (`Some(true)`).
fn find_cached(raw: &'static str, age: Duration, turn: Option<bool>) -> Work {
    let target = target(raw);
    let (mut site, now) = TempSite::warm(&target, age);
    Box::new(move || {
        if let Some(has_events) = turn {
            site.mark_stale(has_events);
        }
        black_box(site.find(black_box(&target), now));
    })
}

/// Looks up a missing file, each time another name in a new turn.
fn find_missing() -> Work {
    let now = SystemTime::now() + WATCHED;
    let mut site = TempSite::new();
    let names = (0..256).map(|number| target(format!("/missing-{number:03}.html").leak()));
    let names: &[Target<'_>] = names.collect::<Vec<_>>().leak();
    let mut names = names.iter().cycle();
    Box::new(move || {
        site.mark_stale(false);
        let target = names.next().expect("a cycle has no end");
        black_box(site.find(black_box(target), now));
    })
}

/// Origin that always returns the same lookup.
struct FixedOrigin(Lookup);

impl Origin for FixedOrigin {
    type Stream = NoStream;

    fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Finding {
        self.0.clone().into()
    }
}

/// Handling of the queued response bytes.
#[derive(Clone, Copy)]
enum Output {
    /// Clears the buffer and reuses it, as the reactor does. The bytes do not count as sent, so no access log line
    /// would ever be written.
    Reuse,
    /// Calls [`Outbox::take`]: the bytes count as sent, at the cost of copies and allocations that no server makes.
    Take,
}

/// Connection without a socket. Each receive is one turn of the event loop.
struct SimulatedConnection<O: Origin> {
    http: Http1<O>,
    writer: Option<WriterHandle>,
    session: Session<O::Stream>,
    inbox: Inbox,
    outbox: Outbox,
    deadline: Option<Instant>,
    now: Now,
}

impl<O: Origin> SimulatedConnection<O> {
    fn new(origin: O, logged: bool, wall: SystemTime) -> Self {
        let sink_writer =
            || LineWriter::new("benchmark", FLUSH_INTERVAL, io::sink()).expect("a thread");
        let (access_log, writer) = logged.then(sink_writer).unzip();
        let service = Service::new(origin, ServiceOptions::default(), access_log);
        let mut http = Http1::new(service, HttpOptions::default());
        let peer = Peer {
            address: ([127, 0, 0, 1], 53412).into(),
        };
        let instant = Instant::now();
        Self {
            session: http.on_accept(&peer),
            http,
            writer,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            deadline: None,
            now: Now { instant, wall },
        }
    }

    fn turn(&mut self, requests: &[u8], output: Output) {
        self.http.on_turn_start(false);
        self.inbox.receive(requests);
        let next = self.advance();
        match output {
            Output::Reuse => {
                let output = self.outbox.tail();
                black_box(&output);
                output.clear();
            }
            Output::Take => {
                black_box(self.outbox.take());
            }
        }
        // After a flush the session is called again, if it wants that.
        if next != Next::FlushThenRead {
            assert_eq!(next, Next::Flush);
            assert_eq!(self.advance(), Next::Read);
        }
        self.http.on_turn_end(|| self.now);
    }

    fn advance(&mut self) -> Next {
        let mut io = Io {
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            deadline: &mut self.deadline,
            now: self.now,
        };
        self.http.on_ready(&mut self.session, &mut io)
    }
}

impl<O: Origin> Drop for SimulatedConnection<O> {
    /// Waits for the log writer, so that its work is counted however often it has written.
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            let written = writer.finish(Duration::from_secs(10));
            assert_eq!(written, Ok(()), "the sink accepts all lines");
        }
    }
}

/// Serves a request from bytes to bytes without a site, with or without an access log line.
fn serve_fixed(head: &'static [u8], output: Output, logged: bool) -> Work {
    let mut connection = SimulatedConnection::new(FixedOrigin(found()), logged, SystemTime::now());
    Box::new(move || connection.turn(black_box(head), output))
}

/// Serves requests from bytes to bytes, with a site whose cache is warm. `requests` gets the entity tag of [`PLAIN`].
fn serve(requests: impl FnOnce(&str) -> Vec<u8>) -> Work {
    let target = target(PLAIN);
    let (mut site, wall) = TempSite::warm(&target, WATCHED);
    let tag = match site.find(&target, wall).lookup {
        Lookup::Found(resource) => resource.representations[0].validators.tag,
        _ => None,
    };
    let requests = requests(&tag.expect("a file has a tag").to_string());
    let mut connection = SimulatedConnection::new(site, false, wall);
    for _ in 0..3 {
        connection.turn(&requests, Output::Reuse);
    }
    Box::new(move || connection.turn(black_box(&requests), Output::Reuse))
}
