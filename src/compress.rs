//! `docroot compress`: siblings for all that a folder serves.
//!
//! One thread looks through the folder, several encode: each takes the largest file that is left, so that none is
//! begun when all others are done. Who asked waits, and sees how far it is.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::http::Coding;
use crate::site::{CODINGS, Failure, Folder, Job, Outcome, Siblings};

/// How often a terminal sees how far it is, and how often a log does.
const GLANCE: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder.
    pub root: PathBuf,
    /// Files and folders whose names begin with a dot, too.
    pub hidden: bool,
    /// How many threads encode.
    pub jobs: NonZeroUsize,
    /// Nothing is said but what went wrong.
    pub quiet: bool,
    /// What becomes of each file is said.
    pub verbose: bool,
}

/// Why it ended early.
#[derive(Debug)]
pub enum Error {
    /// The folder cannot be opened.
    Root(PathBuf, io::Error),
    /// [`Handle::stop`] was called, after so many siblings were written.
    Stopped(usize),
    /// No thread can be started.
    System(io::Error),
}

/// A folder, about to be compressed.
#[derive(Debug)]
pub struct Compression {
    options: Options,
    siblings: Arc<Siblings>,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// Ends it from another thread.
#[derive(Clone, Debug)]
pub struct Handle {
    siblings: Arc<Siblings>,
    events: Sender<Event>,
}

/// What has become of it all, for a person to read.
#[derive(Debug)]
pub struct Summary {
    /// The folder, by its name without symbolic links.
    pub root: PathBuf,
    /// How many files there are that may be served, but for siblings.
    pub files: usize,
    /// How many symbolic links there are, which were not followed.
    pub links: usize,
    /// How many files and folders, or siblings of files, something was wrong with. Each has been named on standard
    /// error.
    pub failures: usize,
    /// How long it took.
    pub time: Duration,
    codings: [Tally; CODINGS.len()],
}

/// Of the siblings in one coding.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    written: usize,
    up_to_date: usize,
    unworthy: usize,
    removed: usize,
    /// Bytes of the files that have one, and of those.
    before: u64,
    after: u64,
}

#[derive(Debug)]
enum Event {
    Stop,
    Done(usize, Result<Outcome, Failure>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root, error) => {
                let root = root.display();
                write!(
                    f,
                    "{root}: {error}; name a folder that is there and can be read"
                )
            }
            Self::Stopped(1) => write!(
                f,
                "stopped; 1 sibling was written, and nothing is left half done"
            ),
            Self::Stopped(written) => {
                write!(
                    f,
                    "stopped; {written} siblings were written, and nothing is left half done"
                )
            }
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

impl Handle {
    /// Ends it. When this returns, what was being written is gone, and nothing more will be written.
    pub fn stop(&self) {
        self.siblings.stop();
        // Nobody hears it when all is done.
        let _ = self.events.send(Event::Stop);
    }
}

impl Compression {
    /// Opens the folder.
    ///
    /// # Errors
    /// [`Error::Root`].
    pub fn open(options: Options) -> Result<Self, Error> {
        let opened = Siblings::open(&options.root, options.hidden);
        let siblings = opened.map_err(|error| Error::Root(options.root.clone(), error))?;
        let (sender, events) = channel();
        Ok(Self {
            options,
            siblings: Arc::new(siblings),
            events,
            sender,
        })
    }

    /// For whoever may end it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            siblings: self.siblings.clone(),
            events: self.sender.clone(),
        }
    }

    /// Does it. What goes wrong with one file does not keep the others from it.
    ///
    /// # Errors
    /// [`Error::Stopped`] and [`Error::System`]. Of what is encoded at that moment nothing will be written, so
    /// nobody needs to wait for the threads that do it.
    pub fn run(self) -> Result<Summary, Error> {
        let begun = Instant::now();
        let mut account = Account::new(&self.options);
        let jobs = Arc::new(self.walk(&mut account)?);
        let work: u64 = jobs.iter().map(cost).sum();
        account.progress.begin(work, begun);

        let next = Arc::new(AtomicUsize::new(0));
        for _ in 0..self.options.jobs.get().min(jobs.len()) {
            let (jobs, next, siblings) = (jobs.clone(), next.clone(), self.siblings.clone());
            let (bar, events) = (account.progress.bar.clone(), self.sender.clone());
            thread::Builder::new()
                .name("compress".into())
                .spawn(move || encode(&siblings, &jobs, &next, &bar, &events))
                .map_err(Error::System)?;
        }
        let mut left = jobs.len();
        while left > 0 {
            match self.events.recv_timeout(account.progress.interval) {
                Ok(Event::Done(place, outcome)) => {
                    left -= 1;
                    let job = jobs.get(place).expect("a place among the jobs");
                    account.note(job, outcome);
                }
                Ok(Event::Stop) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("a sender is ours"),
            }
            account.progress.show(Instant::now(), left);
        }
        account.progress.bar.finish_and_clear();
        if self.siblings.is_stopped() {
            let written = account.codings.iter().map(|tally| tally.written).sum();
            return Err(Error::Stopped(written));
        }
        let root = &self.options.root;
        Ok(Summary {
            root: root.canonicalize().unwrap_or_else(|_| root.clone()),
            files: account.files,
            links: account.links,
            failures: account.failures.len(),
            time: begun.elapsed(),
            codings: account.codings,
        })
    }

    /// Looks through the folder: what is to be done, the largest file first.
    fn walk(&self, account: &mut Account) -> Result<Vec<Job>, Error> {
        let mut jobs = Vec::new();
        let mut folders = vec![Vec::new()];
        while let Some(path) = folders.pop() {
            if self.siblings.is_stopped() {
                return Err(Error::Stopped(0));
            }
            match self.siblings.list(&path) {
                Ok(mut folder) => {
                    account.look(&mut folder);
                    folders.append(&mut folder.folders);
                    jobs.append(&mut folder.jobs);
                }
                Err(error) if path.is_empty() => {
                    return Err(Error::Root(self.options.root.clone(), error));
                }
                Err(error) => account.fail(&shown(&path), &error),
            }
        }
        // (The sort is stable: of one file, what takes longest comes first.)
        jobs.sort_by_key(|job| std::cmp::Reverse(job.len));
        Ok(jobs)
    }
}

/// What one thread does.
fn encode(
    siblings: &Siblings,
    jobs: &[Job],
    next: &AtomicUsize,
    bar: &ProgressBar,
    events: &Sender<Event>,
) {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(place) else {
            return;
        };
        let weight = weight(job.coding);
        let read = |bytes| bar.inc(bytes * weight);
        let make = || siblings.make(job, SystemTime::now(), &read);
        let made = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|_| {
            let why = io::Error::other(format!("encoding it as {} failed", job.coding.name()));
            Err(Failure::Failed(shown(&job.path), why))
        });
        if events.send(Event::Done(place, made)).is_err() {
            return;
        }
    }
}

/// How long it takes to encode a byte, roughly, in relation to the others.
fn weight(coding: Coding) -> u64 {
    match coding {
        Coding::Identity => 0,
        Coding::Gzip => 1,
        Coding::Zstd => 15,
        Coding::Brotli => 75,
    }
}

fn cost(job: &Job) -> u64 {
    job.len.saturating_mul(weight(job.coding))
}

fn shown(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(path)).to_owned()
}

/// What is known by now.
struct Account {
    progress: Progress,
    verbose: bool,
    files: usize,
    links: usize,
    /// What was said of them; once is enough, of a folder that cannot be written to.
    failures: HashSet<String>,
    codings: [Tally; CODINGS.len()],
}

impl Account {
    fn new(options: &Options) -> Self {
        Self {
            progress: Progress::new(options.quiet),
            verbose: options.verbose,
            files: 0,
            links: 0,
            failures: HashSet::new(),
            codings: Default::default(),
        }
    }

    fn look(&mut self, folder: &mut Folder) {
        self.files += folder.files;
        self.links += folder.links.len();
        for link in &folder.links {
            self.tell(|| format!("{}: a symbolic link, not followed", shown(link).display()));
        }
        if folder.left_over > 0 {
            let count = folder.left_over;
            self.progress.say(&format!(
                "removed what an interrupted run has left: {count} unfinished"
            ));
        }
        for (path, error) in folder.failed.drain(..) {
            self.fail(&path, &error);
        }
        for (job, outcome) in folder.done.drain(..) {
            self.note(&job, Ok(outcome));
        }
    }

    fn note(&mut self, job: &Job, outcome: Result<Outcome, Failure>) {
        let coding = CODINGS.iter().position(|coding| *coding == job.coding);
        let tally = &mut self.codings[coding.expect("a sibling's coding")];
        let sibling = shown(&job.sibling());
        let sibling = sibling.display();
        match outcome {
            Ok(Outcome::Written(len)) => {
                tally.written += 1;
                tally.before += job.len;
                tally.after += len;
                self.tell(|| format!("{sibling}: written, {len} bytes for {}", job.len));
            }
            Ok(Outcome::UpToDate(len)) => {
                tally.up_to_date += 1;
                tally.before += job.len;
                tally.after += len;
                self.tell(|| format!("{sibling}: up to date"));
            }
            Ok(Outcome::Unworthy) => {
                tally.unworthy += 1;
                self.tell(|| format!("{sibling}: not worth it"));
            }
            Ok(Outcome::Removed) => {
                tally.removed += 1;
                self.progress.say(&format!(
                    "{sibling}: removed; it was of an earlier content, and is not worth it any more"
                ));
            }
            Err(Failure::Changing) => {
                let why = io::Error::other("is being written to; run it again when that is done");
                self.fail(&shown(&job.path), &why);
            }
            Err(Failure::Failed(path, error)) => self.fail(&path, &error),
            Err(Failure::Stopped) => {}
        }
    }

    fn fail(&mut self, path: &Path, error: &io::Error) {
        let line = format!("{}: {error}", path.display());
        if !self.failures.contains(&line) {
            self.progress.must_say(&line);
            self.failures.insert(line);
        }
    }

    /// Says what only somebody who asked wants to hear.
    fn tell(&self, line: impl FnOnce() -> String) {
        if self.verbose {
            self.progress.say(&line());
        }
    }
}

/// What is said on the way, on standard error.
struct Progress {
    bar: ProgressBar,
    quiet: bool,
    interval: Duration,
    /// When a log was last told.
    told: Option<Instant>,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let is_seen = !quiet && io::stderr().is_terminal();
        let (target, interval) = match is_seen {
            true => (ProgressDrawTarget::stderr(), GLANCE),
            false => (ProgressDrawTarget::hidden(), LINE),
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            quiet,
            interval,
            told: None,
        }
    }

    fn begin(&mut self, work: u64, now: Instant) {
        let style = ProgressStyle::with_template(
            "{bar:32} {percent:>3} %  {elapsed} of about {duration}  {msg}",
        );
        self.bar
            .set_style(style.expect("a template that is understood"));
        self.bar.set_length(work);
        self.told = Some(now);
    }

    /// How far it is.
    fn show(&mut self, now: Instant, left: usize) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{left} siblings to write"));
            return;
        }
        let is_due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= LINE);
        if !self.quiet && is_due {
            self.told = Some(now);
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let percent = (done.saturating_mul(100))
                .checked_div(all)
                .unwrap_or(100)
                .min(100);
            self.say(&format!("{percent} %, {left} siblings to write"));
        }
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            self.must_say(line);
        }
    }

    fn must_say(&self, line: &str) {
        self.bar.suspend(|| {
            // A closed standard error is no reason to panic.
            let _ = writeln!(io::stderr(), "docroot: {line}");
        });
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} files looked at in {}",
            self.root.display(),
            self.files,
            seconds(self.time)
        )?;
        let mut notes = String::new();
        if self.links > 0 {
            let _ = write!(notes, ", {} symbolic links not followed", self.links);
        }
        let removed: usize = self.codings.iter().map(|tally| tally.removed).sum();
        if removed > 0 {
            let _ = write!(notes, ", {removed} siblings removed");
        }
        if self.failures > 0 {
            let _ = write!(notes, ", {} failures", self.failures);
        }
        if let Some(notes) = notes.strip_prefix(", ") {
            writeln!(f, "{notes}")?;
        }
        writeln!(
            f,
            "\n  {:<8}{:>9}{:>12}{:>15}{:>12}{:>12}{:>9}",
            "coding", "written", "up to date", "not worth it", "before", "after", "saved"
        )?;
        for (coding, tally) in CODINGS.iter().zip(&self.codings) {
            writeln!(
                f,
                "  {:<8}{:>9}{:>12}{:>15}{:>12}{:>12}{:>9}",
                coding.name(),
                tally.written,
                tally.up_to_date,
                tally.unworthy + tally.removed,
                bytes(tally.before),
                bytes(tally.after),
                saved(tally.before, tally.after),
            )?;
        }
        Ok(())
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..60 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Bytes in the largest unit of which there is one.
fn bytes(count: u64) -> String {
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

/// The part that is saved.
fn saved(before: u64, after: u64) -> String {
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
    fn quantities_are_read_at_a_glance() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
        for (millis, expected) in [(5, "5 ms"), (1250, "1.2 s"), (61_000, "1 min 1 s")] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
        for (before, after, expected) in [(0, 0, "-"), (1000, 250, "75.0 %"), (3, 2, "33.3 %")] {
            assert_eq!(saved(before, after), expected);
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let tally = Tally {
            written: 12,
            up_to_date: 3,
            unworthy: 4,
            removed: 1,
            before: 3_000_000,
            after: 1_000_000,
        };
        let summary = Summary {
            root: "/site".into(),
            files: 41,
            links: 1,
            failures: 0,
            time: Duration::from_millis(2310),
            codings: [tally, tally, Tally::default()],
        };
        let expected = "\
/site: 41 files looked at in 2.3 s
1 symbolic links not followed, 2 siblings removed

  coding    written  up to date   not worth it      before       after    saved
  br             12           3              5     2.8 MiB   976.5 KiB   66.6 %
  zstd           12           3              5     2.8 MiB   976.5 KiB   66.6 %
  gzip            0           0              0         0 B         0 B        -
";
        assert_eq!(summary.to_string(), expected);
    }
}
