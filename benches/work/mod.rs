//! The steps of a request, each with its stage set, to be done again and again.
//!
//! There is no socket: a conversation is held in memory, with buffers that are kept as the reactor keeps
//! them. The calls to the kernel that are left are those of the site: to look whether a file has changed.

use std::fs;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use docroot::blob::Blob;
use docroot::http::{
    FieldLine, Fields, Lookup, Method, NoStream, Origin, Representation, Request, Target, Version,
    respond, validate,
};
use docroot::http1::encode::{self, ConnectionOption};
use docroot::http1::parse::{self, FieldLines};
use docroot::http1::{Http1, HttpOptions, Session};
use docroot::line_writer::{LineWriter, WriterHandle};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol};
use docroot::site::{self, Root, Site, Symlinks};
use tempfile::TempDir;

/// A step, as often as it is called.
pub(crate) type Work = Box<dyn FnMut()>;

/// One thing that a request takes.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// The step, and after a slash its case, if there are several.
    pub(crate) name: &'static str,
    /// How many requests it is done for at once.
    pub(crate) requests: u64,
    /// Sets the stage, and warms it.
    pub(crate) begin: fn() -> Work,
}

/// All of them, in the order in which a request takes them, then the whole of it.
pub(crate) const STEPS: &[Step] = &[
    step("parse/short", || parse(SHORT)),
    step("parse/browser", || parse(BROWSER)),
    step("admit", decide),
    step("recall/same-turn", || recall(PLAIN, RESTED, None)),
    step("recall/next-turn", || recall(PLAIN, RESTED, Some(false))),
    step("recall/told-turn", || recall(PLAIN, RESTED, Some(true))),
    step("recall/same-turn-encoded", || recall(ENCODED, RESTED, None)),
    step("recall/told-turn-encoded", || {
        recall(ENCODED, RESTED, Some(true))
    }),
    step("recall/looked", || recall(PLAIN, SETTLED, Some(false))),
    step("recall/missing", miss),
    step("respond", answer),
    step("encode", put),
    step("session/short", || converse(SHORT, Leaving::Kept, false)),
    step("session/browser", || {
        converse(BROWSER, Leaving::Kept, false)
    }),
    step("taken/short", || converse(SHORT, Leaving::Taken, false)),
    step("taken/browser", || converse(BROWSER, Leaving::Taken, false)),
    step("access/short", || converse(SHORT, Leaving::Taken, true)),
    step("access/browser", || converse(BROWSER, Leaving::Taken, true)),
    step("site/short", || serve(|_| SHORT.to_vec())),
    step("site/browser", || serve(|_| BROWSER.to_vec())),
    step("site/encoded", || serve(|_| get(ENCODED, ""))),
    step("site/not-modified", || {
        serve(|tag| get(PLAIN, &format!("If-None-Match: {tag}\r\n")))
    }),
    Step {
        requests: BURST as u64,
        ..step("site/burst", || serve(|_| SHORT.repeat(BURST)))
    },
];

const fn step(name: &'static str, begin: fn() -> Work) -> Step {
    Step {
        name,
        requests: 1,
        begin,
    }
}

/// Requests that a peer sends at once.
const BURST: usize = 16;

/// How long access lines gather: so long that it is never time that has them written.
const GATHER: Duration = Duration::from_secs(3600);

/// How long a file has been left alone so that inotify's word is taken for it: 10 seconds would do.
const RESTED: Duration = Duration::from_secs(60);

/// How long, so that it is remembered, and looked at in every turn: between 20 ms and 10 seconds.
const SETTLED: Duration = Duration::from_secs(5);

const PLAIN: &str = "/index.html";

/// No path is its own decoded form that has a percent sign.
const ENCODED: &str = "/caf%C3%A9.html";

/// What is under these targets, and under the browser's: 1 KiB each.
const FILES: [&str; 3] = ["index.html", "guide/index.html", "caf\u{e9}.html"];

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

/// What is sent for a target with these field lines.
fn get(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{lines}\r\n").into_bytes()
}

/// The short head, parsed.
const REQUEST: Request<'_> = Request {
    method: Method::Get,
    target: PLAIN,
    version: Version::Http11,
    lines: &[FieldLine {
        name: "Host",
        value: b"127.0.0.1:8080",
    }],
};

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

fn decide() -> Work {
    Box::new(|| {
        black_box(validate(black_box(&REQUEST)).is_ok());
    })
}

fn answer() -> Work {
    let (target, lookup) = (target(PLAIN), found());
    Box::new(move || {
        black_box(respond(black_box(&REQUEST), &target, &lookup));
    })
}

fn put() -> Work {
    let response = respond(&REQUEST, &target(PLAIN), &found());
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

/// A site, and the folder that it is, for as long as it is.
struct Rooted {
    site: Site,
    _root: TempDir,
}

impl Rooted {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for name in FILES {
            let path = root.path().join(name);
            let folder = path.parent().expect("it is below the root");
            fs::create_dir_all(folder).expect("a folder");
            fs::write(path, [b'x'; 1024]).expect("a file");
        }
        let disk = Root::open(root.path(), &Symlinks::default()).expect("the folder is there");
        let site = Site::new(disk, site::SiteOptions::default());
        Self { site, _root: root }
    }

    /// One that was written so long ago, in which this was found before, and again, so that it is watched if it
    /// ever is. And the time.
    fn warm(target: &Target<'_>, rested: Duration) -> (Self, SystemTime) {
        let mut rooted = Self::new();
        let now = SystemTime::now() + rested;
        for _ in 0..3 {
            let lookup = rooted.find(target, now);
            assert!(matches!(lookup, Lookup::Found(_)), "{lookup:?}");
            rooted.mark_stale(true);
        }
        rooted.find(target, now);
        (rooted, now)
    }
}

impl Origin for Rooted {
    type Stream = NoStream;

    fn find(&mut self, target: &Target<'_>, now: SystemTime) -> Lookup {
        self.site.find(target, now)
    }

    fn mark_stale(&mut self, told: bool) {
        self.site.mark_stale(told);
    }
}

/// What was found before, in a file that was written that long ago: in the same turn, or in a next one, in which
/// there may be something `told`.
fn recall(raw: &'static str, rested: Duration, turn: Option<bool>) -> Work {
    let target = target(raw);
    let (mut site, now) = Rooted::warm(&target, rested);
    Box::new(move || {
        if let Some(told) = turn {
            site.mark_stale(told);
        }
        black_box(site.find(black_box(&target), now));
    })
}

/// Nothing, each time under another name, in a turn of its own.
fn miss() -> Work {
    let now = SystemTime::now() + RESTED;
    let mut site = Rooted::new();
    let names = (0..256).map(|number| target(format!("/missing-{number:03}.html").leak()));
    let names: &[Target<'_>] = names.collect::<Vec<_>>().leak();
    let mut names = names.iter().cycle();
    Box::new(move || {
        site.mark_stale(false);
        let target = names.next().expect("a ring has no end");
        black_box(site.find(black_box(target), now));
    })
}

/// An origin that always has the same.
struct Always(Lookup);

impl Origin for Always {
    type Stream = NoStream;

    fn find(&mut self, _: &Target<'_>, _: SystemTime) -> Lookup {
        self.0.clone()
    }
}

/// How answers leave.
#[derive(Clone, Copy)]
enum Leaving {
    /// They are forgotten, and their memory is kept for the next, as the reactor does it. Nobody counts
    /// what was sent, so no access line would ever be due.
    Kept,
    /// [`Outbox::take`]: they count as sent, and cost copies and allocations that no server makes.
    Taken,
}

/// A conversation without a socket, a turn of the loop for each time that something is heard.
struct Talk<O: Origin> {
    http: Http1<O>,
    writer: Option<WriterHandle>,
    session: Session<O::Stream>,
    inbox: Inbox,
    outbox: Outbox,
    deadline: Option<Instant>,
    now: Now,
}

impl<O: Origin> Talk<O> {
    fn new(origin: O, logged: bool, wall: SystemTime) -> Self {
        let nowhere = || LineWriter::new("nowhere", GATHER, io::sink()).expect("a thread");
        let (journal, writer) = logged.then(nowhere).unzip();
        let mut http = Http1::new(origin, HttpOptions::default(), journal);
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

    fn turn(&mut self, heard: &[u8], leaving: Leaving) {
        self.http.on_turn_start(false);
        self.inbox.receive(heard);
        let next = self.advance();
        match leaving {
            Leaving::Kept => {
                let said = self.outbox.tail();
                black_box(&said);
                said.clear();
            }
            Leaving::Taken => {
                black_box(self.outbox.take());
            }
        }
        // It is asked again when everything has left, if it wants to know.
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

impl<O: Origin> Drop for Talk<O> {
    /// However often it has written, what it had to write counts.
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            let written = writer.finish(Duration::from_secs(10));
            assert_eq!(written, Ok(()), "nowhere has room for all lines");
        }
    }
}

/// From bytes to bytes, with nothing looked up: the answer alone, or with its line in the access log.
fn converse(head: &'static [u8], leaving: Leaving, logged: bool) -> Work {
    let mut talk = Talk::new(Always(found()), logged, SystemTime::now());
    Box::new(move || talk.turn(black_box(head), leaving))
}

/// From bytes to bytes, with a site that has been asked before. What is heard is made from the entity tag of what
/// is under [`PLAIN`].
fn serve(heard: impl FnOnce(&str) -> Vec<u8>) -> Work {
    let target = target(PLAIN);
    let (mut site, wall) = Rooted::warm(&target, RESTED);
    let tag = match site.find(&target, wall) {
        Lookup::Found(resource) => resource.representations[0].validators.tag,
        _ => None,
    };
    let heard = heard(&tag.expect("a file has a tag").to_string());
    let mut talk = Talk::new(site, false, wall);
    for _ in 0..3 {
        talk.turn(&heard, Leaving::Kept);
    }
    Box::new(move || talk.turn(black_box(&heard), Leaving::Kept))
}
