//! What each step of a request costs in user space: parse, respond, encode, log; nanoseconds.
//!
//! `cargo bench` prints the time per request. The kernel's share, which is most of it, is not in
//! these figures.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use docroot::blob::Blob;
use docroot::http::{
    Line, Lookup, Method, Origin, Representation, Request, Target, Version, admit, respond,
};
use docroot::http1::encode::{self, Persistence};
use docroot::http1::parse::{self, Lines};
use docroot::http1::{Http1, Options};
use docroot::journal::Journal;
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol};

/// How long access lines gather, as in the command.
const GATHER: Duration = Duration::from_millis(50);

/// What wrk sends.
const SHORT: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

/// What a browser sends.
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

fn found() -> Lookup {
    let content = Blob::from(vec![b'x'; 1024]);
    let mut page = Representation::new(content, "text/html; charset=utf-8");
    page.about
        .push("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    Lookup::Found(Arc::new(page.into()))
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, head) in [("short", SHORT), ("browser", BROWSER)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut lines = Lines::new();
                parse::request(black_box(head), 32 * 1024, &mut lines).is_ok()
            });
        });
    }
    group.finish();
}

fn decide(criterion: &mut Criterion) {
    let host = Line {
        name: "Host",
        value: b"127.0.0.1:8080",
    };
    let request = Request {
        method: Method::Get,
        target: "/index.html",
        version: Version::Http11,
        lines: &[host],
    };
    let target = Target::parse("/index.html", None).expect("a target");
    let lookup = found();
    criterion.bench_function("admit", |bencher| {
        bencher.iter(|| admit(black_box(&request)).is_ok());
    });
    criterion.bench_function("respond", |bencher| {
        bencher.iter(|| respond(black_box(&request), &target, &lookup));
    });
    let response = respond(&request, &target, &lookup);
    let mut run = Vec::with_capacity(4096);
    criterion.bench_function("encode", |bencher| {
        bencher.iter(|| {
            run.clear();
            let date = "Sun, 06 Nov 1994 08:49:37 GMT";
            encode::head(
                black_box(&response),
                None,
                Persistence::Default,
                date,
                &mut run,
            );
        });
    });
}

/// An origin that always has the same.
struct Always(Lookup);

impl Origin for Always {
    fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Lookup {
        self.0.clone()
    }
}

/// From bytes to bytes, with nothing looked up and no socket: the answer alone, and with its line in
/// the access log, which each turn hands over.
fn session(criterion: &mut Criterion) {
    for (group, logged) in [("session", false), ("access", true)] {
        let mut group = criterion.benchmark_group(group);
        for (name, head) in [("short", SHORT), ("browser", BROWSER)] {
            let journal = logged.then(|| {
                let (journal, _) = Journal::new("nowhere", GATHER, io::sink()).expect("a thread");
                journal
            });
            let mut http = Http1::new(Always(found()), Options::default(), journal);
            let mut session = http.open(&Peer {
                address: ([127, 0, 0, 1], 53412).into(),
            });
            let (mut inbox, mut outbox, mut deadline) = (Inbox::default(), Outbox::default(), None);
            let now = Now {
                instant: Instant::now(),
                wall: SystemTime::now(),
            };
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    inbox.receive(black_box(head));
                    let (inbox, outbox) = (&mut inbox, &mut outbox);
                    let mut io = Io {
                        inbox,
                        outbox,
                        deadline: &mut deadline,
                        now,
                    };
                    assert_eq!(http.advance(&mut session, &mut io), Next::Drain);
                    let said = io.outbox.take();
                    http.rest();
                    said
                });
            });
        }
        group.finish();
    }
}

criterion_group!(steps, parse, decide, session);
criterion_main!(steps);
