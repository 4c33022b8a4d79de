//! `docroot compress`: sidecars for the files of a directory.
//!
//! One thread walks the directory; several encode. Each takes the largest remaining file, so that no large file is
//! started when all others are done. The calling thread waits, and prints the progress.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use docroot::http::Coding;
use docroot::site::{
    SIDECAR_CODINGS, ScannedDir, SidecarError, SidecarJob, SidecarOutcome, SidecarWriter,
};
use docroot::sync::{JobQueue, LogThrottle, WorkerPool};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::exit_codes::{FAILED, Failure};
use super::options::CompressOptions;
use super::output::print;
use super::signals::handle_signals;

/// Time between two updates of the progress, on a terminal and in a log.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(100);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the command, until it is done or a signal stops it.
pub(crate) fn run(options: CompressOptions) -> Result<(), Failure> {
    let quiet = options.quiet;
    let compression = Compression::open(options)?;
    let handle = compression.handle();
    handle_signals(move || handle.stop(), || FAILED.into(), None::<fn(i32)>)?;
    let summary = compression.run()?;
    if !quiet {
        print(&summary.to_string())?;
    }
    match summary.failures {
        0 => Ok(()),
        count => Err(Failure::at_run_time(format!(
            "{count} failures, each named above; all other files are done"
        ))),
    }
}

/// Error that ends the run early.
#[derive(Debug)]
enum CompressError {
    /// The directory cannot be opened.
    Root(PathBuf, io::Error),
    /// [`CompressHandle::stop`] was called, after this number of sidecars were written.
    Stopped(usize),
    /// A thread cannot be started.
    System(io::Error),
}

/// Run of the command, on an open directory.
#[derive(Debug)]
struct Compression {
    options: CompressOptions,
    writer: Arc<SidecarWriter>,
    events: Receiver<CompressEvent>,
    sender: Sender<CompressEvent>,
}

/// Handle that stops a run from another thread.
#[derive(Clone, Debug)]
struct CompressHandle {
    writer: Arc<SidecarWriter>,
    events: Sender<CompressEvent>,
}

/// Result of a run. It is displayed as a table.
#[derive(Debug)]
struct CompressSummary {
    /// Real path of the directory.
    root: PathBuf,
    /// Number of files that may be served, without sidecars.
    files: usize,
    /// Number of symbolic links, none of which was followed.
    links: usize,
    /// Number of files, directories and sidecars that had an error. Each was printed on standard error.
    failures: usize,
    /// Duration of the run.
    time: Duration,
    tallies: [CodingTally; SIDECAR_CODINGS.len()],
}

/// Counts of the sidecars in one coding.
#[derive(Clone, Copy, Debug, Default)]
struct CodingTally {
    written: usize,
    up_to_date: usize,
    not_worthwhile: usize,
    removed: usize,
    /// Total bytes of the files that have a sidecar, and of these sidecars.
    before: u64,
    after: u64,
}

#[derive(Debug)]
enum CompressEvent {
    Stop,
    Done(SidecarJob, Result<SidecarOutcome, SidecarError>),
}

impl fmt::Display for CompressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root, error) => {
                let root = root.display();
                write!(
                    f,
                    "cannot read {root}: {error}; name a directory that exists and that this user can read"
                )
            }
            Self::Stopped(1) => write!(f, "stopped: 1 sidecar written, no partial files left"),
            Self::Stopped(written) => {
                write!(
                    f,
                    "stopped: {written} sidecars written, no partial files left"
                )
            }
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl From<CompressError> for Failure {
    fn from(error: CompressError) -> Self {
        match error {
            CompressError::Root(..) => Self::no_root(error),
            CompressError::Stopped(_) | CompressError::System(_) => Self::at_run_time(error),
        }
    }
}

impl CompressHandle {
    /// Stops the run. When this returns, no partial file is left, and nothing more is written.
    fn stop(&self) {
        self.writer.stop();
        // The receiver is gone if the run has ended.
        let _ = self.events.send(CompressEvent::Stop);
    }
}

impl Compression {
    /// Opens the directory.
    ///
    /// # Errors
    /// [`CompressError::Root`].
    fn open(options: CompressOptions) -> Result<Self, CompressError> {
        let opened = SidecarWriter::open(&options.root, options.hidden, options.force);
        let writer = opened.map_err(|error| CompressError::Root(options.root.clone(), error))?;
        let (sender, events) = channel();
        Ok(Self {
            options,
            writer: Arc::new(writer),
            events,
            sender,
        })
    }

    /// Returns a handle that can stop the run.
    #[must_use]
    fn handle(&self) -> CompressHandle {
        CompressHandle {
            writer: self.writer.clone(),
            events: self.sender.clone(),
        }
    }

    /// Writes the sidecars. An error of one file does not prevent those of other files.
    ///
    /// # Errors
    /// [`CompressError::Root`], [`CompressError::Stopped`] and [`CompressError::System`]. Threads that still encode then
    /// write nothing, so the caller need not wait for them.
    fn run(self) -> Result<CompressSummary, CompressError> {
        let start = Instant::now();
        let mut stats = CompressStats::new(&self.options);
        let jobs = self.walk(&mut stats)?;
        let work: u64 = jobs.iter().map(job_cost).sum();
        stats.progress.start(work, start);

        let mut remaining = jobs.len();
        let pool = WorkerPool::new(remaining);
        for job in jobs {
            pool.queue().push(job);
        }
        let threads = self.options.jobs.get().min(remaining);
        let (writer, bar) = (self.writer.clone(), stats.progress.bar.clone());
        let events = self.sender.clone();
        pool.start("compress", threads, move |queue| {
            run_thread(&writer, queue, &bar, &events);
        })
        .map_err(CompressError::System)?;
        while remaining > 0 {
            match self.events.recv_timeout(stats.progress.interval) {
                Ok(CompressEvent::Done(job, outcome)) => {
                    remaining -= 1;
                    stats.record(&job, outcome);
                }
                Ok(CompressEvent::Stop) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("self.sender is open"),
            }
            stats.progress.update(Instant::now(), remaining);
        }
        stats.progress.bar.finish_and_clear();
        if self.writer.is_stopped() {
            let written = stats.tallies.iter().map(|tally| tally.written).sum();
            return Err(CompressError::Stopped(written));
        }
        let root = &self.options.root;
        Ok(CompressSummary {
            root: root.canonicalize().unwrap_or_else(|_| root.clone()),
            files: stats.files,
            links: stats.links,
            failures: stats.failures.len(),
            time: start.elapsed(),
            tallies: stats.tallies,
        })
    }

    /// Walks the directory, and returns the sidecars to write, the largest file first.
    fn walk(&self, stats: &mut CompressStats) -> Result<Vec<SidecarJob>, CompressError> {
        let mut jobs = Vec::new();
        let mut dirs = vec![Vec::new()];
        while let Some(path) = dirs.pop() {
            if self.writer.is_stopped() {
                return Err(CompressError::Stopped(0));
            }
            match self.writer.scan_dir(&path) {
                Ok(mut dir) => {
                    stats.record_dir(&mut dir);
                    dirs.append(&mut dir.dirs);
                    jobs.append(&mut dir.jobs);
                }
                Err(error) if path.is_empty() => {
                    return Err(CompressError::Root(self.options.root.clone(), error));
                }
                Err(error) => stats.record_failure(&display_path(&path), &error),
            }
        }
        // The sort is stable, so of one file the coding that takes longest comes first.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.len));
        Ok(jobs)
    }
}

/// Encodes files until none is left, or the run has ended.
fn run_thread(
    writer: &SidecarWriter,
    queue: &JobQueue<SidecarJob>,
    bar: &ProgressBar,
    events: &Sender<CompressEvent>,
) {
    while let Some(job) = queue.next() {
        let weight = cost_per_byte(job.coding);
        let read = |bytes| bar.inc(bytes * weight);
        let encode = || writer.write_sidecar(&job, SystemTime::now(), &read);
        let result = catch_unwind(AssertUnwindSafe(encode)).unwrap_or_else(|_| {
            let why = io::Error::other(format!("encoding it as {} failed", job.coding.name()));
            Err(SidecarError::Io(display_path(&job.path), why))
        });
        if events.send(CompressEvent::Done(job, result)).is_err() {
            return;
        }
    }
}

/// Returns the approximate time to encode a byte, relative to gzip.
fn cost_per_byte(coding: Coding) -> u64 {
    match coding {
        Coding::Identity => 0,
        Coding::Gzip => 1,
        Coding::Zstd => 15,
        Coding::Brotli => 75,
    }
}

fn job_cost(job: &SidecarJob) -> u64 {
    job.len.saturating_mul(cost_per_byte(job.coding))
}

fn display_path(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(path)).to_owned()
}

/// Counts and errors so far.
struct CompressStats {
    progress: ProgressReporter,
    verbose: bool,
    files: usize,
    links: usize,
    /// Lines of the errors so far, each printed once: a directory that cannot be written to fails for each of its
    /// files.
    failures: HashSet<String>,
    tallies: [CodingTally; SIDECAR_CODINGS.len()],
}

impl CompressStats {
    fn new(options: &CompressOptions) -> Self {
        Self {
            progress: ProgressReporter::new(options.quiet),
            verbose: options.verbose,
            files: 0,
            links: 0,
            failures: HashSet::new(),
            tallies: Default::default(),
        }
    }

    fn record_dir(&mut self, dir: &mut ScannedDir) {
        self.files += dir.files;
        self.links += dir.symlinks.len();
        for link in &dir.symlinks {
            self.print_verbose(|| {
                format!(
                    "{}: a symbolic link, not followed",
                    display_path(link).display()
                )
            });
        }
        if dir.leftovers_removed > 0 {
            let count = dir.leftovers_removed;
            self.progress.print(&format!(
                "removed partial files of an interrupted run: {count}"
            ));
        }
        for (path, error) in dir.failed.drain(..) {
            self.record_failure(&path, &error);
        }
        for (job, outcome) in dir.done.drain(..) {
            self.record(&job, Ok(outcome));
        }
    }

    fn record(&mut self, job: &SidecarJob, outcome: Result<SidecarOutcome, SidecarError>) {
        let coding = SIDECAR_CODINGS
            .iter()
            .position(|coding| *coding == job.coding);
        let tally = &mut self.tallies[coding.expect("a coding of sidecars")];
        let sidecar = display_path(&job.sidecar_path());
        let sidecar = sidecar.display();
        match outcome {
            Ok(SidecarOutcome::Written(len)) => {
                tally.written += 1;
                tally.before += job.len;
                tally.after += len;
                self.print_verbose(|| format!("{sidecar}: written, {len} bytes for {}", job.len));
            }
            Ok(SidecarOutcome::UpToDate(len)) => {
                tally.up_to_date += 1;
                tally.before += job.len;
                tally.after += len;
                self.print_verbose(|| format!("{sidecar}: up to date"));
            }
            Ok(SidecarOutcome::NotWorthwhile) => {
                tally.not_worthwhile += 1;
                self.print_verbose(|| format!("{sidecar}: not worthwhile"));
            }
            Ok(SidecarOutcome::Removed) => {
                tally.removed += 1;
                self.progress.print(&format!(
                    "{sidecar}: removed: it was out of date or of no use, and a new one would save too little"
                ));
            }
            Err(SidecarError::Changing) => {
                let why = io::Error::other(
                    "the file is being written; run docroot compress again afterwards",
                );
                self.record_failure(&display_path(&job.path), &why);
            }
            Err(SidecarError::Foreign) => {
                let original = display_path(&job.path);
                let why = io::Error::other(format!(
                    "not overwritten: it is no older than {} but has other content, so it is not sent for that; move it away, or overwrite it with --force",
                    original.display()
                ));
                self.record_failure(&display_path(&job.sidecar_path()), &why);
            }
            Err(SidecarError::Io(path, error)) => self.record_failure(&path, &error),
            Err(SidecarError::Stopped) => {}
        }
    }

    fn record_failure(&mut self, path: &Path, error: &io::Error) {
        let line = format!("{}: {error}", path.display());
        if !self.failures.contains(&line) {
            self.progress.print_always(&line);
            self.failures.insert(line);
        }
    }

    /// Prints a line if `verbose` is set.
    fn print_verbose(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            self.progress.print(&line());
        }
    }
}

/// Progress and messages during a run, on standard error.
struct ProgressReporter {
    bar: ProgressBar,
    quiet: bool,
    interval: Duration,
    /// Throttle of the progress lines in a log.
    line_throttle: LogThrottle,
}

impl ProgressReporter {
    fn new(quiet: bool) -> Self {
        let is_shown = !quiet && io::stderr().is_terminal();
        let (target, interval) = match is_shown {
            true => (ProgressDrawTarget::stderr(), TERMINAL_INTERVAL),
            false => (ProgressDrawTarget::hidden(), LOG_INTERVAL),
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            quiet,
            interval,
            line_throttle: LogThrottle::new(LOG_INTERVAL),
        }
    }

    fn start(&mut self, work: u64, now: Instant) {
        let style = ProgressStyle::with_template(
            "{bar:32} {percent:>3} %  {elapsed} of about {duration}  {msg}",
        );
        self.bar.set_style(style.expect("a valid template"));
        self.bar.set_length(work);
        // The first line is due after one interval.
        self.line_throttle.should_log(now);
    }

    /// Shows the progress, when it is due.
    fn update(&mut self, now: Instant, remaining: usize) {
        if !self.bar.is_hidden() {
            self.bar
                .set_message(format!("{remaining} sidecars to write"));
            return;
        }
        if !self.quiet && self.line_throttle.should_log(now) {
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let percent = (done.saturating_mul(100))
                .checked_div(total)
                .unwrap_or(100)
                .min(100);
            self.print(&format!("{percent} %, {remaining} sidecars to write"));
        }
    }

    fn print(&self, line: &str) {
        if !self.quiet {
            self.print_always(line);
        }
    }

    fn print_always(&self, line: &str) {
        self.bar.suspend(|| {
            // A closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {line}");
        });
    }
}

impl fmt::Display for CompressSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} files checked in {}",
            self.root.display(),
            self.files,
            format_duration(self.time)
        )?;
        let mut notes = String::new();
        if self.links > 0 {
            let _ = write!(notes, ", {} symbolic links not followed", self.links);
        }
        let removed: usize = self.tallies.iter().map(|tally| tally.removed).sum();
        if removed > 0 {
            let _ = write!(notes, ", {removed} sidecars removed");
        }
        if self.failures > 0 {
            let _ = write!(notes, ", {} failures", self.failures);
        }
        if let Some(notes) = notes.strip_prefix(", ") {
            writeln!(f, "{notes}")?;
        }
        writeln!(
            f,
            "\n  {:<8}{:>9}{:>12}{:>16}{:>12}{:>12}{:>9}",
            "coding", "written", "up to date", "not worthwhile", "before", "after", "saved"
        )?;
        for (coding, tally) in SIDECAR_CODINGS.iter().zip(&self.tallies) {
            writeln!(
                f,
                "  {:<8}{:>9}{:>12}{:>16}{:>12}{:>12}{:>9}",
                coding.name(),
                tally.written,
                tally.up_to_date,
                tally.not_worthwhile + tally.removed,
                format_bytes(tally.before),
                format_bytes(tally.after),
                format_saved(tally.before, tally.after),
            )?;
        }
        Ok(())
    }
}

fn format_duration(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Formats bytes in the largest unit that is not above the value.
fn format_bytes(count: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB"] {
        if count < unit << 10 || name == "GiB" {
            let tenths = u128::from(count) * 10 / u128::from(unit);
            return match name {
                "B" => format!("{count} B"),
                name => format!("{}.{} {name}", tenths / 10, tenths % 10),
            };
        }
        unit <<= 10;
    }
    unreachable!("the last unit takes all")
}

/// Formats the saved bytes as a percentage.
fn format_saved(before: u64, after: u64) -> String {
    let saved = u128::from(before.saturating_sub(after)) * 1000;
    match saved.checked_div(u128::from(before)) {
        None => "-".into(),
        Some(tenths) => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_formatted_with_units() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(format_bytes(count), expected);
        }
        for (millis, expected) in [(5, "5 ms"), (1250, "1.2 s"), (61_000, "1 min 1 s")] {
            assert_eq!(format_duration(Duration::from_millis(millis)), expected);
        }
        for (before, after, expected) in [(0, 0, "-"), (1000, 250, "75.0 %"), (3, 2, "33.3 %")] {
            assert_eq!(format_saved(before, after), expected);
        }
    }

    #[test]
    fn summary_table_is_aligned() {
        let tally = CodingTally {
            written: 12,
            up_to_date: 3,
            not_worthwhile: 4,
            removed: 1,
            before: 3_000_000,
            after: 1_000_000,
        };
        let summary = CompressSummary {
            root: "/site".into(),
            files: 41,
            links: 1,
            failures: 0,
            time: Duration::from_millis(2310),
            tallies: [tally, tally, CodingTally::default()],
        };
        let expected = "\
/site: 41 files checked in 2.3 s
1 symbolic links not followed, 2 sidecars removed

  coding    written  up to date  not worthwhile      before       after    saved
  br             12           3               5     2.8 MiB   976.5 KiB   66.6 %
  zstd           12           3               5     2.8 MiB   976.5 KiB   66.6 %
  gzip            0           0               0         0 B         0 B        -
";
        assert_eq!(summary.to_string(), expected);
    }
}
