//! Everything at once, for as long as one likes: no wrong byte, and nothing grows.
//!
//! As part of `cargo test` it takes a few seconds, so that it cannot rot. What it is for is this:
//!
//! ```sh
//! DOCROOT_SOAK=30m cargo test --release --test promises soaks:: -- --nocapture
//! ```
//!
//! One server has readers who check every byte, peers who are slow, rude and many, files that are replaced,
//! overwritten, deleted and touched, folders that are renamed, releases that are switched, and signals. What
//! each file was at what time is in a table ([`site::Table`]); an answer must be a state that its file had at
//! some moment between the request and the head of the answer. Contents are made from a number that no two
//! versions share, so that neither side keeps them.

mod peers;
mod reader;
mod site;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{self, Done, Root, Server, Signal, eventually};

/// What may be open in the server, so that a crowd fills it.
const FILES: &str = "512";

/// Time that a request head may take. Clients that send a part of one wait for their 408 that long.
const HEADER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Time after which a soak fails in which something has not happened yet, beyond its span. On a machine that is busy
/// otherwise everything takes longer.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// How long all of it goes on, and how often things happen in it.
#[derive(Clone, Copy)]
struct Pace {
    span: Duration,
    /// Between two rows of the table at the end.
    sample: Duration,
    /// Between two releases.
    release: Duration,
    /// Between two SIGHUPs.
    reload: Duration,
    /// Between the end of one crowd and the start of the next. A crowd has the longest waiting connections evicted, so
    /// this is at least twice [`HEADER_TIMEOUT`], or no head would ever time out.
    crowd: Duration,
    readers: u64,
    /// Bytes of the largest file, as it takes long to make and compare where nothing is optimised.
    largest: u64,
}

impl Pace {
    /// What the environment says (`90s`, `30m`, `2h`), or a few seconds.
    fn asked() -> Self {
        let asked = std::env::var("DOCROOT_SOAK").ok();
        let span = asked.map_or(Duration::from_secs(4), |text| {
            let unit = |letter, seconds| Some((text.strip_suffix(letter)?, seconds));
            let (number, seconds) = unit('s', 1)
                .or_else(|| unit('m', 60))
                .or_else(|| unit('h', 3600))
                .expect("DOCROOT_SOAK is like 90s, 30m or 2h");
            Duration::from_secs(seconds * number.parse::<u64>().expect("a number of them"))
        });
        match span < Duration::from_secs(60) {
            true => Self {
                span,
                sample: Duration::from_secs(1),
                release: Duration::from_millis(900),
                reload: Duration::from_millis(700),
                crowd: HEADER_TIMEOUT * 2,
                readers: 4,
                largest: 1 << 20,
            },
            false => Self {
                span,
                sample: Duration::from_secs(10),
                release: Duration::from_secs(4),
                reload: Duration::from_secs(3),
                crowd: Duration::from_secs(7),
                readers: 6,
                largest: 8 << 20,
            },
        }
    }

    /// Whether it lasts long enough to tell growth from warming up.
    fn tells_growth(&self) -> bool {
        self.span >= Duration::from_secs(150)
    }
}

/// What is counted while it goes on.
#[derive(Default)]
struct Counts {
    /// Answers that came whole and right, of all kinds.
    answers: AtomicU64,
    whole: AtomicU64,
    part: AtomicU64,
    unchanged: AtomicU64,
    absent: AtomicU64,
    unsatisfiable: AtomicU64,
    coded: AtomicU64,
    listed: AtomicU64,
    /// Answers that show a file in the middle of being written.
    between: AtomicU64,
    /// Answers that were cut short, of files of which that is said.
    cut: AtomicU64,
    /// Not now: of a file that does not hold still.
    unavailable: AtomicU64,
    /// Connections that ended before anything of an answer had come.
    hung_up: AtomicU64,
    connections: AtomicU64,
    refused: peers::Refused,
    /// Crowds that have come and gone.
    crowds: AtomicU64,
    releases: AtomicU64,
    changes: AtomicU64,
    reloads: AtomicU64,
    /// What should not have been.
    wrong: AtomicU64,
}

/// What all threads share.
struct Soak {
    table: site::Table,
    counts: Counts,
    /// The first of what should not have been, in words.
    findings: Mutex<Vec<String>>,
    latencies: Mutex<Latencies>,
    address: std::net::SocketAddr,
    socket: PathBuf,
    /// When all is to end.
    deadline: AtomicU64,
    done: AtomicBool,
}

impl Soak {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits, but not beyond the end.
    fn pause(&self, span: Duration) {
        let start = Instant::now();
        while !self.is_done() && start.elapsed() < span {
            thread::sleep(Duration::from_millis(20).min(span.saturating_sub(start.elapsed())));
        }
    }

    /// Notes what should not have been.
    fn finding(&self, what: String) {
        const SHOWN: usize = 20;
        count(&self.counts.wrong);
        let mut findings = self.findings.lock().expect("nobody failed");
        if findings.len() < SHOWN {
            eprintln!("WRONG: {what}");
            findings.push(what);
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// How often an answer took how long, in steps of an eighth of a power of two of microseconds.
struct Latencies([u32; 256]);

impl Default for Latencies {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Latencies {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(8);
        let power = u64::from(micros.ilog2());
        let step = (power * 8 + (micros >> (power - 3)) % 8).min(255);
        self.0[usize::try_from(step).expect("below 256")] += 1;
    }

    /// In milliseconds, what `permille` of them stayed below.
    fn below(&self, permille: u64) -> f64 {
        let all: u64 = self.0.iter().copied().map(u64::from).sum();
        let mut seen = 0;
        for (step, &times) in (0_u32..).zip(&self.0) {
            seen += u64::from(times);
            if seen > 0 && seen * 1000 >= all * permille {
                let micros = f64::from(9 + step % 8) / 8.0 * 2_f64.powi((step / 8).cast_signed());
                return micros / 1000.0;
            }
        }
        0.0
    }
}

/// A row of the table.
struct Sample {
    at: Duration,
    resident: usize,
    open: usize,
    threads: usize,
    cpu: Duration,
    answers: u64,
    cut: u64,
    hung_up: u64,
    wrong: u64,
    median: f64,
    slow: f64,
}

impl Sample {
    const HEAD: &str =
        "    s   RSS KiB   fds  thr  cpu s    answers     cut   hung  wrong  p50 ms  p99 ms";

    fn of(server: &Server, soak: &Soak, at: Duration) -> Self {
        let folder = |name| fs::read_dir(format!("/proc/{}/{name}", server.pid())).expect("proc");
        let latencies = std::mem::take(&mut *soak.latencies.lock().expect("nobody failed"));
        Self {
            at,
            resident: server.resident(),
            open: folder("fd").count(),
            threads: folder("task").count(),
            cpu: server.cpu_time(),
            answers: of(&soak.counts.answers),
            cut: of(&soak.counts.cut),
            hung_up: of(&soak.counts.hung_up),
            wrong: of(&soak.counts.wrong),
            median: latencies.below(500),
            slow: latencies.below(990),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:5} {:9} {:5} {:4} {:6.1} {:10} {:7} {:6} {:6} {:7.2} {:7.2}",
            self.at.as_secs(),
            self.resident,
            self.open,
            self.threads,
            self.cpu.as_secs_f64(),
            self.answers,
            self.cut,
            self.hung_up,
            self.wrong,
            self.median,
            self.slow
        )
    }
}

/// Whether the process catches this signal; what it does not would end it (signal(7)).
fn catches(server: &Server, number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.expect("a mask") >> (number - 1) & 1 == 1
}

#[test]
fn everything_at_once_hurts_nothing() {
    let pace = Pace::asked();
    let base = Root::new();
    let table = site::Table::new(base.path(), pace.largest);
    let socket = base.join("socket");
    let bind = format!("unix:{}", socket.display());
    let header_timeout = format!("{}ms", HEADER_TIMEOUT.as_millis());
    let script = format!("ulimit -n {FILES}; exec \"$@\"");
    #[rustfmt::skip]
    let options = [
        "--bind", &bind, "--workers", "2", "--release-grace", "10m", "--listing", "--compress", "--health",
        "--header-timeout", &header_timeout, "--idle-timeout", "3s", "--cache-memory", "16MiB",
    ];
    let mut server = Server::upon(&["sh", "-c", &script, "sh"], &table.root(), &options);
    let soak = Soak {
        table,
        counts: Counts::default(),
        findings: Mutex::default(),
        latencies: Mutex::default(),
        address: server.address,
        socket,
        deadline: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };

    // What it has open and what threads it has, once everything has been asked for.
    reader::ask_for_everything(&soak);
    server.rests();
    let descriptors = kept(&server, base.path());
    let threads = Sample::of(&server, &soak, Duration::ZERO).threads;

    let end = site::now() + u64::try_from(pace.span.as_nanos()).expect("not that long");
    soak.deadline.store(end, Ordering::Relaxed);

    let mut samples = Vec::new();
    let mut lines = 0_u64;
    let mut complaints = Vec::new();
    thread::scope(|scope| {
        let soak = &soak;
        let spawn = |act: Box<dyn FnOnce() + Send>| {
            scope.spawn(move || {
                let _done = Done(&soak.done);
                act();
            });
        };
        for seed in 1..=pace.readers {
            spawn(Box::new(move || reader::read(soak, seed)));
        }
        for seed in 1..=3 {
            spawn(Box::new(move || reader::read_slowly(soak, seed)));
        }
        for seed in 0..4 {
            spawn(Box::new(move || peers::be_rude(soak, seed)));
        }
        spawn(Box::new(move || reader::probe(soak)));
        spawn(Box::new(move || peers::crowd(soak, pace.crowd)));
        spawn(Box::new(move || peers::come_and_go(soak)));
        spawn(Box::new(move || soak.table.churn(soak)));
        spawn(Box::new(move || soak.table.release(soak, pace.release)));

        let _done = Done(&soak.done);
        let start = Instant::now();
        let (mut reloaded, mut is_reloading) = (start, false);
        let reopens = catches(&server, 10);
        println!("{}", Sample::HEAD);
        while !soak.is_done() && (start.elapsed() < pace.span || !missing(&soak.counts).is_empty())
        {
            assert!(
                start.elapsed() < pace.span + MAX_DELAY,
                "after {:?} there is still none of: {}",
                start.elapsed(),
                missing(&soak.counts).join(", ")
            );
            thread::sleep(Duration::from_millis(20));
            lines += server.printed().len() as u64;
            let said = server.complaints();
            if said.iter().any(|line| line.contains("is in force")) {
                soak.table.believe_headers();
                is_reloading = false;
            }
            complaints.extend(noteworthy(said));
            if reloaded.elapsed() > pace.reload && !is_reloading {
                (reloaded, is_reloading) = (Instant::now(), true);
                soak.table.mark_headers(|| server.signal(Signal::HUP));
                count(&soak.counts.reloads);
                if reopens {
                    server.signal(Signal::USR1);
                }
            }
            let number = u32::try_from(samples.len()).expect("few") + 1;
            if start.elapsed() > pace.sample * number {
                let sample = Sample::of(&server, soak, start.elapsed());
                println!("{sample}");
                samples.push(sample);
            }
        }
    });

    // Everybody has gone.
    server.rests();
    let rested = Sample::of(&server, &soak, pace.span);
    println!("{rested}  (rested)\n{}", summary(&soak.counts));
    // One folder is kept for each release that may still be asked for, of the last fifteen.
    let releases = usize::try_from(of(&soak.counts.releases).min(15)).expect("few");
    let start = Instant::now();
    while kept(&server, base.path()) > descriptors + releases {
        assert!(
            start.elapsed() < support::PATIENCE,
            "{descriptors} and {releases} may be open: {:#?}",
            open(&server)
        );
        thread::sleep(Duration::from_millis(20));
    }
    println!(
        "descriptors, without remembered files: {descriptors} before, {} after",
        kept(&server, base.path())
    );
    assert_eq!(
        rested.threads, threads,
        "all threads are there, and no others"
    );
    eventually("all lines are written", || {
        lines += server.printed().len() as u64;
        (lines >= of(&soak.counts.answers)).then_some(())
    });
    complaints.extend(noteworthy(server.complaints()));
    println!("{lines} lines of access log");
    assert_eq!(complaints, [""; 0], "nobody has to act");

    let findings = soak.findings.lock().expect("nobody failed");
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    assert_eq!(missing(&soak.counts), [""; 0], "everything happens");
    let hung_up = of(&soak.counts.hung_up);
    assert!(
        hung_up * 20 < of(&soak.counts.answers) + 1000,
        "hung up on {hung_up} times"
    );
    if pace.tells_growth() {
        check_growth(&samples);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0), "it ends in order");
}

/// What is on standard error that somebody should look at: not what is said of each reload, release and
/// crowd, nor of siblings that are older than their file for a moment, nor of a file that did not hold still, which is
/// answered with 503.
fn noteworthy(mut said: Vec<String>) -> Vec<String> {
    let expected = [
        " INFO ",
        " is full: ",
        " is older than the file ",
        " Resource temporarily unavailable ",
    ];
    said.retain(|line| !expected.iter().any(|it| line.contains(it)));
    said
}

/// Names of the counts that every soak has to see and that are still 0.
fn missing(counts: &Counts) -> Vec<&'static str> {
    let required = [
        ("whole", &counts.whole),
        ("parts", &counts.part),
        ("304", &counts.unchanged),
        ("404", &counts.absent),
        ("416", &counts.unsatisfiable),
        ("coded", &counts.coded),
        ("listings", &counts.listed),
        ("crowds", &counts.crowds),
        ("releases", &counts.releases),
        ("changes", &counts.changes),
    ];
    let all = required.into_iter().chain(counts.refused.required());
    all.filter(|(_, count)| of(count) == 0)
        .map(|(name, _)| name)
        .collect()
}

/// What the process has open.
fn open(server: &Server) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc");
    let links = folder.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut links: Vec<_> = links.collect();
    links.sort();
    links
}

/// How many descriptors it has open, without those of files that it remembers. A file of 64 KiB to 2 MiB that
/// has been replaced may be among these until it is asked for again, as README says.
fn kept(server: &Server, base: &Path) -> usize {
    let releases = base.join("releases");
    let is_remembered = |link: &&PathBuf| {
        let inside = link.strip_prefix(&releases);
        let is_file = inside.is_ok_and(|inside| inside.components().count() > 1);
        is_file || link.starts_with("/memfd:docroot (deleted)")
    };
    let open = open(server);
    open.len() - open.iter().filter(is_remembered).count()
}

fn check_growth(samples: &[Sample]) {
    let third = samples.len() / 3;
    let most = |samples: &[Sample]| samples.iter().map(|it| it.resident).max().expect("some");
    let mean =
        |samples: &[Sample]| samples.iter().map(|it| it.resident).sum::<usize>() / samples.len();
    let (second, last) = (&samples[third..2 * third], &samples[2 * third..]);
    println!(
        "RSS in KiB, mean (most): {} ({}), then {} ({})",
        mean(second),
        most(second),
        mean(last),
        most(last)
    );
    let allowed = mean(second) + mean(second) / 20 + 2048;
    assert!(mean(last) <= allowed, "memory grows: {allowed} KiB allowed");
    // The middle one, as a crowd is there for some rows only.
    let median = |samples: &[Sample]| {
        let mut open: Vec<_> = samples.iter().map(|it| it.open).collect();
        open.sort_unstable();
        open[open.len() / 2]
    };
    let (second, last) = (median(second), median(last));
    println!("descriptors, median: {second}, then {last}");
    assert!(last <= second + second / 5 + 20, "descriptors grow");
}

fn summary(counts: &Counts) -> String {
    let mut text = String::new();
    for (name, counter) in [
        ("whole", &counts.whole),
        ("part", &counts.part),
        ("304", &counts.unchanged),
        ("404", &counts.absent),
        ("416", &counts.unsatisfiable),
        ("503", &counts.unavailable),
        ("coded", &counts.coded),
        ("listed", &counts.listed),
        ("between", &counts.between),
        ("cut", &counts.cut),
        ("hung up", &counts.hung_up),
        ("connections", &counts.connections),
        ("crowds", &counts.crowds),
        ("releases", &counts.releases),
        ("changes", &counts.changes),
        ("reloads", &counts.reloads),
    ] {
        let _ = write!(text, "{name} {}, ", of(counter));
    }
    text + &counts.refused.summary()
}
