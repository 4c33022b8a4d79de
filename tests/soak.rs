//! Soak test: mixed load of configurable duration. No response has a wrong byte, and nothing leaks.
//!
//! As part of `cargo test` it takes a few seconds, so that it keeps working. Its purpose is a long run:
//!
//! ```sh
//! DOCROOT_SOAK=30m cargo test --release --test promises soak:: -- --nocapture
//! ```
//!
//! One server gets readers that check every byte, slow, misbehaving and many clients, files that are replaced,
//! overwritten, deleted and touched, directories that are renamed, releases that are switched, and signals. The
//! history of each file is recorded in [`site::SiteHistory`]. A response must be a state that its file had at some
//! moment between the request and the head of the response. Contents are generated from a number that is unique to
//! their version, so that neither side stores them.

mod clients;
mod reader;
mod site;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{self, Root, Server, SetOnDrop, Signal, eventually};

/// `RLIMIT_NOFILE` of the server: few enough that a crowd fills it.
const MAX_OPEN_FILES: &str = "512";

/// Time that a request head may take. Clients that send a part of one wait for their 408 that long.
const HEADER_TIMEOUT: Duration = Duration::from_millis(1500);

/// Time beyond its duration after which a soak fails if a required event has not occurred. On a busy machine everything
/// takes longer.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Duration of the soak, and intervals of its events.
#[derive(Clone, Copy)]
struct Schedule {
    duration: Duration,
    /// Between two rows of the printed table.
    sample_interval: Duration,
    /// Between two releases.
    release_interval: Duration,
    /// Between two SIGHUPs.
    reload_interval: Duration,
    /// Between the end of one crowd and the start of the next. In a crowd the longest waiting connections are evicted,
    /// so this is at least twice [`HEADER_TIMEOUT`], or no head would ever time out.
    crowd_interval: Duration,
    readers: u64,
    /// Length of the largest file in bytes. Generating and comparing it takes long in a debug build.
    max_file_len: u64,
}

impl Schedule {
    /// Returns the schedule for the duration in `DOCROOT_SOAK` (`90s`, `30m`, `2h`), by default a few seconds.
    fn from_environment() -> Self {
        let value = std::env::var("DOCROOT_SOAK").ok();
        let duration = value.map_or(Duration::from_secs(4), |text| {
            let unit = |letter, seconds| Some((text.strip_suffix(letter)?, seconds));
            let (number, seconds) = unit('s', 1)
                .or_else(|| unit('m', 60))
                .or_else(|| unit('h', 3600))
                .expect("DOCROOT_SOAK is like 90s, 30m or 2h");
            Duration::from_secs(seconds * number.parse::<u64>().expect("a number before the unit"))
        });
        match duration < Duration::from_secs(60) {
            true => Self {
                duration,
                sample_interval: Duration::from_secs(1),
                release_interval: Duration::from_millis(900),
                reload_interval: Duration::from_millis(700),
                crowd_interval: HEADER_TIMEOUT * 2,
                readers: 4,
                max_file_len: 1 << 20,
            },
            false => Self {
                duration,
                sample_interval: Duration::from_secs(10),
                release_interval: Duration::from_secs(4),
                reload_interval: Duration::from_secs(3),
                crowd_interval: Duration::from_secs(7),
                readers: 6,
                max_file_len: 8 << 20,
            },
        }
    }

    /// Whether the duration is long enough to distinguish growth from warming up.
    fn is_long_enough_for_growth(&self) -> bool {
        self.duration >= Duration::from_secs(150)
    }
}

/// Counters of the soak.
#[derive(Default)]
struct Counts {
    /// Complete and correct responses of all kinds.
    responses: AtomicU64,
    full: AtomicU64,
    partial: AtomicU64,
    not_modified: AtomicU64,
    not_found: AtomicU64,
    unsatisfiable: AtomicU64,
    encoded: AtomicU64,
    listings: AtomicU64,
    /// Responses with the content of a file that was being written.
    mid_write: AtomicU64,
    /// Responses that were aborted, of files for which that is documented.
    aborted: AtomicU64,
    /// 503, of a file that changed during each attempt to read it.
    unavailable: AtomicU64,
    /// Connections that ended before the first byte of a response.
    closed_early: AtomicU64,
    connections: AtomicU64,
    rejections: clients::Rejections,
    /// Crowds that have disconnected.
    crowds: AtomicU64,
    releases: AtomicU64,
    changes: AtomicU64,
    reloads: AtomicU64,
    /// Failed checks.
    failures: AtomicU64,
}

/// State shared by all threads.
struct Soak {
    history: site::SiteHistory,
    counts: Counts,
    /// Descriptions of the first failed checks.
    failure_messages: Mutex<Vec<String>>,
    latencies: Mutex<Latencies>,
    address: std::net::SocketAddr,
    socket: PathBuf,
    /// End of the soak, as a [`site::Moment`].
    deadline: AtomicU64,
    done: AtomicBool,
}

impl Soak {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Sleeps, at most until the end of the soak.
    fn pause(&self, span: Duration) {
        let start = Instant::now();
        while !self.is_done() && start.elapsed() < span {
            thread::sleep(Duration::from_millis(20).min(span.saturating_sub(start.elapsed())));
        }
    }

    /// Records a failed check.
    fn record_failure(&self, what: String) {
        const SHOWN: usize = 20;
        increment(&self.counts.failures);
        let mut failure_messages = self.failure_messages.lock().expect("no thread panicked");
        if failure_messages.len() < SHOWN {
            eprintln!("FAILED: {what}");
            failure_messages.push(what);
        }
    }
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Histogram of latencies. Its buckets are eighths of powers of two, in microseconds.
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

    /// Returns the latency in milliseconds that `permille` of the responses did not exceed.
    fn percentile(&self, permille: u64) -> f64 {
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

/// Row of the printed table.
struct Sample {
    at: Duration,
    resident: usize,
    open: usize,
    threads: usize,
    cpu: Duration,
    responses: u64,
    aborted: u64,
    closed_early: u64,
    failures: u64,
    p50: f64,
    p99: f64,
}

impl Sample {
    const HEADER: &str =
        "    s   RSS KiB   fds  thr  cpu s    responses aborted closed failed  p50 ms  p99 ms";

    fn of(server: &Server, soak: &Soak, at: Duration) -> Self {
        let directory =
            |name| fs::read_dir(format!("/proc/{}/{name}", server.pid())).expect("proc");
        let latencies = std::mem::take(&mut *soak.latencies.lock().expect("no thread panicked"));
        Self {
            at,
            resident: server.resident_kib(),
            open: directory("fd").count(),
            threads: directory("task").count(),
            cpu: server.cpu_time(),
            responses: load(&soak.counts.responses),
            aborted: load(&soak.counts.aborted),
            closed_early: load(&soak.counts.closed_early),
            failures: load(&soak.counts.failures),
            p50: latencies.percentile(500),
            p99: latencies.percentile(990),
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
            self.responses,
            self.aborted,
            self.closed_early,
            self.failures,
            self.p50,
            self.p99
        )
    }
}

/// Returns whether the process catches this signal. Another one would end it (signal(7)).
fn catches_signal(server: &Server, number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("proc");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.expect("a mask") >> (number - 1) & 1 == 1
}

#[test]
fn mixed_load_gets_correct_responses_and_leaks_nothing() {
    let schedule = Schedule::from_environment();
    let base = Root::new();
    let history = site::SiteHistory::new(base.path(), schedule.max_file_len);
    let socket = base.join("socket");
    let bind = format!("unix:{}", socket.display());
    let header_timeout = format!("{}ms", HEADER_TIMEOUT.as_millis());
    let script = format!("ulimit -n {MAX_OPEN_FILES}; exec \"$@\"");
    #[rustfmt::skip]
    let options = [
        "--bind", &bind, "--workers", "2", "--release-grace", "10m", "--listing", "--compress", "--health",
        "--header-timeout", &header_timeout, "--idle-timeout", "3s", "--cache-memory", "16MiB",
    ];
    let mut server = Server::start_under(&["sh", "-c", &script, "sh"], &history.root(), &options);
    let soak = Soak {
        history,
        counts: Counts::default(),
        failure_messages: Mutex::default(),
        latencies: Mutex::default(),
        address: server.address,
        socket,
        deadline: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };

    // Descriptors and threads of the server after every file has been requested.
    reader::request_everything(&soak);
    server.wait_until_idle();
    let descriptors = persistent_descriptors(&server, base.path());
    let threads = Sample::of(&server, &soak, Duration::ZERO).threads;

    let end = site::now() + u64::try_from(schedule.duration.as_nanos()).expect("below 584 years");
    soak.deadline.store(end, Ordering::Relaxed);

    let mut samples = Vec::new();
    let mut lines = 0_u64;
    let mut warnings = Vec::new();
    thread::scope(|scope| {
        let soak = &soak;
        let spawn = |act: Box<dyn FnOnce() + Send>| {
            scope.spawn(move || {
                let _done = SetOnDrop(&soak.done);
                act();
            });
        };
        for seed in 1..=schedule.readers {
            spawn(Box::new(move || reader::run_reader(soak, seed)));
        }
        for seed in 1..=3 {
            spawn(Box::new(move || reader::run_slow_reader(soak, seed)));
        }
        for seed in 0..4 {
            spawn(Box::new(move || {
                clients::run_misbehaving_client(soak, seed);
            }));
        }
        spawn(Box::new(move || reader::measure_latency(soak)));
        spawn(Box::new(move || {
            clients::run_crowds(soak, schedule.crowd_interval);
        }));
        spawn(Box::new(move || clients::connect_and_disconnect(soak)));
        spawn(Box::new(move || soak.history.change_files(soak)));
        spawn(Box::new(move || {
            soak.history
                .switch_releases(soak, schedule.release_interval);
        }));

        let _done = SetOnDrop(&soak.done);
        let start = Instant::now();
        let (mut last_reload, mut is_reloading) = (start, false);
        let reopens = catches_signal(&server, 10);
        println!("{}", Sample::HEADER);
        while !soak.is_done()
            && (start.elapsed() < schedule.duration || !missing_counts(&soak.counts).is_empty())
        {
            assert!(
                start.elapsed() < schedule.duration + MAX_DELAY,
                "after {:?} these are still 0: {}",
                start.elapsed(),
                missing_counts(&soak.counts).join(", ")
            );
            thread::sleep(Duration::from_millis(20));
            lines += server.stdout_lines().len() as u64;
            let stderr = server.stderr_lines();
            if stderr.iter().any(|line| line.contains("is in force")) {
                soak.history.confirm_headers();
                is_reloading = false;
            }
            warnings.extend(unexpected_lines(stderr));
            if last_reload.elapsed() > schedule.reload_interval && !is_reloading {
                (last_reload, is_reloading) = (Instant::now(), true);
                soak.history
                    .write_marked_headers(|| server.signal(Signal::HUP));
                increment(&soak.counts.reloads);
                if reopens {
                    server.signal(Signal::USR1);
                }
            }
            let number = u32::try_from(samples.len()).expect("few") + 1;
            if start.elapsed() > schedule.sample_interval * number {
                let sample = Sample::of(&server, soak, start.elapsed());
                println!("{sample}");
                samples.push(sample);
            }
        }
    });

    // All clients have disconnected.
    server.wait_until_idle();
    let idle = Sample::of(&server, &soak, schedule.duration);
    println!("{idle}  (idle)\n{}", summary(&soak.counts));
    // One directory stays open for each release in its grace period, at most fifteen.
    let releases = usize::try_from(load(&soak.counts.releases).min(15)).expect("few");
    let start = Instant::now();
    while persistent_descriptors(&server, base.path()) > descriptors + releases {
        assert!(
            start.elapsed() < support::TIMEOUT,
            "{descriptors} and {releases} may be open: {:#?}",
            open_files(&server)
        );
        thread::sleep(Duration::from_millis(20));
    }
    println!(
        "descriptors, without cached files: {descriptors} before, {} after",
        persistent_descriptors(&server, base.path())
    );
    assert_eq!(idle.threads, threads, "the number of threads has changed");
    eventually("the access log is complete", || {
        lines += server.stdout_lines().len() as u64;
        (lines >= load(&soak.counts.responses)).then_some(())
    });
    warnings.extend(unexpected_lines(server.stderr_lines()));
    println!("{lines} lines of access log");
    assert_eq!(warnings, [""; 0], "unexpected warnings");

    let failure_messages = soak.failure_messages.lock().expect("no thread panicked");
    assert!(
        failure_messages.is_empty(),
        "{}",
        failure_messages.join("\n")
    );
    assert_eq!(
        missing_counts(&soak.counts),
        [""; 0],
        "events that did not occur"
    );
    let closed_early = load(&soak.counts.closed_early);
    assert!(
        closed_early * 20 < load(&soak.counts.responses) + 1000,
        "{closed_early} connections were closed early"
    );
    if schedule.is_long_enough_for_growth() {
        check_growth(&samples);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0), "exit status");
}

/// Removes the expected lines of standard error: those of each reload, release and crowd, of sidecars that are older
/// than their file, or newer than the one that was just opened, for a moment, and of a file that changed during each
/// attempt to read it (503).
fn unexpected_lines(mut stderr: Vec<String>) -> Vec<String> {
    let expected = [
        " INFO ",
        " is full: ",
        " is not used: it is older than its file",
        " is not used: its last four bytes are not the length",
        " is not used: the length that it says is not",
        " Resource temporarily unavailable ",
    ];
    stderr.retain(|line| !expected.iter().any(|it| line.contains(it)));
    stderr
}

/// Returns the names of required counts that are still 0.
fn missing_counts(counts: &Counts) -> Vec<&'static str> {
    let required = [
        ("full", &counts.full),
        ("partial", &counts.partial),
        ("304", &counts.not_modified),
        ("404", &counts.not_found),
        ("416", &counts.unsatisfiable),
        ("encoded", &counts.encoded),
        ("listings", &counts.listings),
        ("crowds", &counts.crowds),
        ("releases", &counts.releases),
        ("changes", &counts.changes),
    ];
    let all = required.into_iter().chain(counts.rejections.required());
    all.filter(|(_, count)| load(count) == 0)
        .map(|(name, _)| name)
        .collect()
}

/// Returns the link targets of the process's descriptors, sorted.
fn open_files(server: &Server) -> Vec<PathBuf> {
    let directory = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc");
    let links = directory.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut links: Vec<_> = links.collect();
    links.sort();
    links
}

/// Returns the number of open descriptors without those of cached files. As documented, these may include a file of
/// 64 KiB to 2 MiB that has been replaced, until it is requested again.
fn persistent_descriptors(server: &Server, base: &Path) -> usize {
    let releases = base.join("releases");
    let is_cached = |link: &&PathBuf| {
        let inside = link.strip_prefix(&releases);
        let is_file = inside.is_ok_and(|inside| inside.components().count() > 1);
        is_file || link.starts_with("/memfd:docroot (deleted)")
    };
    let open = open_files(server);
    open.len() - open.iter().filter(is_cached).count()
}

fn check_growth(samples: &[Sample]) {
    let third = samples.len() / 3;
    let max = |samples: &[Sample]| samples.iter().map(|it| it.resident).max().expect("some");
    let mean =
        |samples: &[Sample]| samples.iter().map(|it| it.resident).sum::<usize>() / samples.len();
    let (second, last) = (&samples[third..2 * third], &samples[2 * third..]);
    println!(
        "RSS in KiB, mean (max): {} ({}), then {} ({})",
        mean(second),
        max(second),
        mean(last),
        max(last)
    );
    let allowed = mean(second) + mean(second) / 20 + 2048;
    assert!(mean(last) <= allowed, "memory grows: {allowed} KiB allowed");
    // The median, as a crowd is connected in some rows only.
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
        ("full", &counts.full),
        ("partial", &counts.partial),
        ("304", &counts.not_modified),
        ("404", &counts.not_found),
        ("416", &counts.unsatisfiable),
        ("503", &counts.unavailable),
        ("encoded", &counts.encoded),
        ("listings", &counts.listings),
        ("mid-write", &counts.mid_write),
        ("aborted", &counts.aborted),
        ("closed early", &counts.closed_early),
        ("connections", &counts.connections),
        ("crowds", &counts.crowds),
        ("releases", &counts.releases),
        ("changes", &counts.changes),
        ("reloads", &counts.reloads),
    ] {
        let _ = write!(text, "{name} {}, ", load(counter));
    }
    text + &counts.rejections.summary()
}
