//! Site that is served, and the recorded history of each of its files.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Soak, increment};

/// Nanoseconds since the start of the test.
pub(crate) type Moment = u64;

pub(crate) fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).expect("below 584 years")
}

/// End of a state that has not ended.
const ONGOING: Moment = Moment::MAX;

/// Time for which a state is kept after its end. No response head takes longer.
const STATE_RETENTION: Duration = Duration::from_secs(40);

/// Pseudorandom numbers (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % end as u64).expect("below")
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn choose<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Number of a version, unique among all files.
pub(crate) type VersionId = u32;

/// Fills `bytes` with the content of a version from `start` on. Each word of eight bytes has the number of the version
/// and a hash of the position of the word.
pub(crate) fn fill_version(id: VersionId, start: u64, bytes: &mut [u8]) {
    let word = |index: u64| {
        let hash = (u32::try_from(index).expect("below 32 GiB") ^ id).wrapping_mul(0x9e37_79b1);
        (u64::from(id) << 32 | u64::from(hash)).to_be_bytes()
    };
    let skipped = usize::try_from(start % 8).expect("below 8");
    let (first, rest) = bytes.split_at_mut(bytes.len().min((8 - skipped) % 8));
    first.copy_from_slice(&word(start / 8)[skipped..][..first.len()]);
    let mut index = start.div_ceil(8);
    let mut words = rest.chunks_exact_mut(8);
    for place in &mut words {
        place.copy_from_slice(&word(index));
        index += 1;
    }
    let end = words.into_remainder();
    end.copy_from_slice(&word(index)[..end.len()]);
}

fn content(id: VersionId, len: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(len).expect("it fits")];
    fill_version(id, 0, &mut content);
    content
}

/// State of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileState {
    Absent,
    Whole {
        id: VersionId,
        len: u64,
    },
    /// The file has been truncated and is being written: it has any prefix of this version.
    Growing {
        id: VersionId,
        len: u64,
    },
    /// The file is being overwritten in place: it has a prefix of `new`, then the rest of `old`.
    Mixed {
        new: VersionId,
        old: VersionId,
        len: u64,
    },
}

/// State of a file during an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateInterval {
    from: Moment,
    until: Moment,
    pub(crate) file: FileState,
    /// The release to which it belongs, if that is known.
    pub(crate) release: Option<u32>,
}

impl StateInterval {
    /// Returns an interval without start and end.
    pub(crate) fn always(file: FileState) -> Self {
        Self {
            from: 0,
            until: ONGOING,
            file,
            release: None,
        }
    }
}

/// Kind of changes that are made to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// Replaced, deleted and created again.
    Replaced,
    /// The same, with sidecars in two codings.
    WithSidecars,
    /// Truncated and written, or overwritten in place.
    Overwritten,
    /// Given another modification time.
    Touched,
    /// In a directory that is renamed between two names.
    InRenamedDirectory,
    /// Changed only by a new release.
    OnlyByRelease,
    /// Has a fingerprinted name, and so belongs to one release.
    Fingerprinted,
    /// Never exists.
    Missing,
}

/// File whose states are recorded.
pub(crate) struct TrackedFile {
    pub(crate) name: String,
    pub(crate) kind: ChangeKind,
    /// Maximum length, in bytes.
    max_len: u64,
    states: Mutex<VecDeque<StateInterval>>,
}

impl TrackedFile {
    fn new(name: String, kind: ChangeKind, max_len: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            kind,
            max_len,
            states: Mutex::default(),
        })
    }

    /// Returns the states of the file between `start` and `end`.
    pub(crate) fn states(&self, start: Moment, end: Moment) -> Vec<StateInterval> {
        let states = self.states.lock().expect("no thread panicked");
        let within = |it: &&StateInterval| it.from <= end && it.until >= start;
        states.iter().filter(within).copied().collect()
    }

    pub(crate) fn is_large(&self) -> bool {
        self.max_len > 64 * 1024
    }

    /// Returns the current state. Only a thread that holds the lock of the release calls this.
    fn current_state(&self) -> FileState {
        let states = self.states.lock().expect("no thread panicked");
        states.back().map_or(FileState::Absent, |state| state.file)
    }

    /// Starts these states, of which only the last will remain.
    fn start_states(&self, new_states: &[FileState], release: Option<u32>) {
        let from = now();
        let mut states = self.states.lock().expect("no thread panicked");
        let retention = u64::try_from(STATE_RETENTION.as_nanos()).expect("short");
        while states
            .front()
            .is_some_and(|it| it.until < from.saturating_sub(retention))
        {
            states.pop_front();
        }
        states.extend(new_states.iter().map(|&file| StateInterval {
            from,
            until: ONGOING,
            file,
            release,
        }));
    }

    /// Ends all states but the last.
    fn end_previous_states(&self) {
        let until = now();
        let mut states = self.states.lock().expect("no thread panicked");
        let previous = states.len().saturating_sub(1);
        for state in states.iter_mut().take(previous) {
            state.until = state.until.min(until);
        }
    }

    fn is_expired(&self) -> bool {
        let retention = u64::try_from(STATE_RETENTION.as_nanos()).expect("short");
        let states = self.states.lock().expect("no thread panicked");
        let last = states.back();
        last.is_some_and(|it| it.file == FileState::Absent && it.from + retention < now())
    }
}

/// All files that may be requested, and their states.
pub(crate) struct SiteHistory {
    base: PathBuf,
    pub(crate) files: Vec<Arc<TrackedFile>>,
    /// Fingerprinted files of the last releases.
    pub(crate) fingerprinted: RwLock<Vec<Arc<TrackedFile>>>,
    pub(crate) not_found_page: Arc<TrackedFile>,
    pub(crate) stable: Arc<TrackedFile>,
    next_id: AtomicU32,
    /// Number of the current release. A thread holds this lock while it changes files.
    current_release: Mutex<u32>,
    /// Values of the mark in `_headers`: the last one written, the last one known to be in effect, and the one
    /// whose reload has been requested.
    written_mark: AtomicU64,
    confirmed_mark: AtomicU64,
    requested_mark: AtomicU64,
}

/// Fingerprinted files of each release.
const FINGERPRINTED_PER_RELEASE: usize = 10;

/// Files in each directory that is renamed.
const FILES_PER_RENAMED_DIRECTORY: usize = 10;

impl SiteHistory {
    /// Creates the first release, and `current`, a symbolic link to it. No file is longer than `largest` bytes.
    pub(crate) fn new(base: &Path, largest: u64) -> Self {
        const KIB: u64 = 1024;
        let mut tracked_files = Vec::new();
        let mut add = |name: &str, kind, max_len: u64| {
            let tracked = TrackedFile::new(name.to_owned(), kind, max_len.min(largest));
            tracked_files.push(Arc::clone(&tracked));
            tracked
        };
        let not_found_page = add("404.html", ChangeKind::OnlyByRelease, 900);
        let stable = add("still.txt", ChangeKind::OnlyByRelease, 1000);
        let sizes = [0, 1, 100, KIB, 4096, 10_000, 24_000, 50_000];
        for number in 0..96 {
            add(
                &format!("plain/{number}.bin"),
                ChangeKind::Replaced,
                sizes[number % 8],
            );
        }
        let sizes = [
            64 * KIB - 1,
            64 * KIB,
            64 * KIB + 1,
            100_000,
            300_000,
            1 << 20,
            2 << 20,
            (2 << 20) + 1,
            4 << 20,
            8 << 20,
        ];
        for (number, size) in sizes.into_iter().enumerate() {
            add(&format!("large/{number}.bin"), ChangeKind::Replaced, size);
        }
        for number in 0..24 {
            add(
                &format!("coded/{number}.js"),
                ChangeKind::WithSidecars,
                sizes[number % 5] / 3,
            );
        }
        for number in 0..40 {
            add(
                &format!("text/{number}.txt"),
                ChangeKind::Replaced,
                sizes[number % 5] / 2,
            );
        }
        for number in 0..20 {
            add(&format!("list/{number}.txt"), ChangeKind::Replaced, 300);
        }
        for (number, size) in [
            100,
            4096,
            20_000,
            64 * KIB,
            100_000,
            1 << 20,
            3 << 20,
            4 << 20,
        ]
        .into_iter()
        .enumerate()
        {
            add(&format!("hot/{number}.bin"), ChangeKind::Overwritten, size);
            if number < 6 {
                add(&format!("touched/{number}.bin"), ChangeKind::Touched, size);
            }
        }
        for name in ["here", "there"] {
            for number in 0..FILES_PER_RENAMED_DIRECTORY {
                add(
                    &format!("{name}/{number}.css"),
                    ChangeKind::InRenamedDirectory,
                    3000,
                );
            }
        }
        for number in 0..10 {
            add(
                &format!("about/{number}/index.html"),
                ChangeKind::OnlyByRelease,
                2000,
            );
            add(&format!("none/{number}.png"), ChangeKind::Missing, 0);
        }
        let table = Self {
            base: base.to_owned(),
            files: tracked_files,
            fingerprinted: RwLock::default(),
            not_found_page,
            stable,
            next_id: AtomicU32::new(1),
            current_release: Mutex::new(0),
            written_mark: AtomicU64::new(0),
            confirmed_mark: AtomicU64::new(0),
            requested_mark: AtomicU64::new(0),
        };
        fs::create_dir_all(base.join("aside")).expect("a directory");
        let mut random = Random::new(1);
        let new_release = table.write_release(1, &mut random);
        table.switch(1, new_release);
        table
    }

    /// Returns the path that is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.base.join("current")
    }

    fn directory(&self, release: u32) -> PathBuf {
        self.base.join(format!("releases/{release}"))
    }

    fn new_id(&self) -> VersionId {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes a file atomically, by renaming.
    fn replace_file(&self, path: &Path, bytes: &[u8]) {
        let name = path.to_string_lossy().replace('/', "-");
        let new = self.base.join("aside").join(name);
        fs::write(&new, bytes).expect("a file");
        fs::rename(new, path).expect("a file");
    }

    /// Writes the sidecars of a file, in two codings.
    fn write_sidecars(&self, path: &Path, bytes: &[u8]) {
        let level = flate2::Compression::new(1);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(bytes).expect("a write to memory");
        self.replace_file(
            &path.with_extension("js.gz"),
            &gzip.finish().expect("a write to memory"),
        );
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 18);
        brotli.write_all(bytes).expect("a write to memory");
        self.replace_file(&path.with_extension("js.br"), &brotli.into_inner());
    }

    /// Returns a new version of a file, sometimes with another length.
    fn new_version(&self, tracked: &TrackedFile, random: &mut Random) -> FileState {
        let len = match random.below(4) {
            0 => tracked.max_len - tracked.max_len / 7,
            _ => tracked.max_len,
        };
        // Contents too short for a number are all equal, and so are their tags.
        let id = if len < 8 { 0 } else { self.new_id() };
        FileState::Whole { id, len }
    }

    /// Writes the directory of a release, which is not served yet: the current one with some files changed.
    fn write_release(&self, release: u32, random: &mut Random) -> NewRelease {
        let directory = self.directory(release);
        let here = random.one_in(2);
        let mut files = Vec::new();
        for tracked in &self.files {
            let is_there = match tracked.kind {
                ChangeKind::Missing => false,
                ChangeKind::InRenamedDirectory => tracked.name.starts_with("here/") == here,
                _ => true,
            };
            let state = match (is_there, tracked.current_state()) {
                (false, _) => FileState::Absent,
                (true, state @ FileState::Whole { .. }) if !random.one_in(5) => state,
                (true, _) => self.new_version(tracked, random),
            };
            files.push((Arc::clone(tracked), state));
        }
        for number in 0..FINGERPRINTED_PER_RELEASE {
            // Sixteen hexadecimal digits, letters among them, that do not look like a word.
            let hash = random.below(1 << 32);
            let name = format!("assets/app{number}-f0c{hash:013x}.js");
            let tracked = TrackedFile::new(
                name,
                ChangeKind::Fingerprinted,
                [500, 5000, 70_000][number % 3],
            );
            let state = self.new_version(&tracked, random);
            files.push((tracked, state));
        }
        for (tracked, state) in &files {
            let path = directory.join(&tracked.name);
            if let FileState::Whole { id, len } = *state {
                let content = content(id, len);
                fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
                fs::write(&path, &content).expect("a file");
                if tracked.kind == ChangeKind::WithSidecars {
                    self.write_sidecars(&path, &content);
                }
            }
        }
        NewRelease { files }
    }

    /// Switches `current` to a release.
    fn switch(&self, release: u32, new_release: NewRelease) {
        let mut current = self.current_release.lock().expect("no thread panicked");
        self.write_headers(release);
        let link = self.base.join("new");
        symlink(format!("releases/{release}"), &link).expect("a link");
        for (tracked, state) in &new_release.files {
            // A fingerprinted file outlives its release, and then gets the fields of another.
            let release = (tracked.kind != ChangeKind::Fingerprinted).then_some(release);
            tracked.start_states(&[*state], release);
        }
        fs::rename(link, self.root()).expect("a link");
        for (tracked, _) in &new_release.files {
            tracked.end_previous_states();
        }
        let mut fingerprinted = self.fingerprinted.write().expect("no thread panicked");
        fingerprinted.retain(|tracked| !tracked.is_expired());
        fingerprinted.extend(
            new_release
                .files
                .into_iter()
                .map(|(tracked, _)| tracked)
                .filter(|it| it.kind == ChangeKind::Fingerprinted),
        );
        *current = release;
    }

    /// Switches releases until the end, and deletes each one before the previous.
    pub(crate) fn switch_releases(&self, soak: &Soak, pause: Duration) {
        let mut random = Random::new(77);
        let mut kept = VecDeque::from([self.newest_fingerprinted()]);
        for release in 2.. {
            soak.pause(pause);
            if soak.is_done() {
                break;
            }
            let new_release = self.write_release(release, &mut random);
            self.switch(release, new_release);
            increment(&soak.counts.releases);
            kept.push_back(self.newest_fingerprinted());
            if kept.len() > 2 {
                let fingerprinted = kept.pop_front().expect("three");
                for tracked in &fingerprinted {
                    tracked.start_states(&[FileState::Absent], None);
                }
                fs::remove_dir_all(self.directory(release - 2)).expect("a directory");
                for tracked in &fingerprinted {
                    tracked.end_previous_states();
                }
            }
        }
    }

    /// Returns the fingerprinted files of the newest release.
    fn newest_fingerprinted(&self) -> Vec<Arc<TrackedFile>> {
        let fingerprinted = self.fingerprinted.read().expect("no thread panicked");
        fingerprinted
            .iter()
            .rev()
            .take(FINGERPRINTED_PER_RELEASE)
            .cloned()
            .collect()
    }

    fn write_headers(&self, release: u32) {
        let number = self.written_mark.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!("/*\n  X-Release: {release}\n  X-Soak: {number}\n");
        self.replace_file(&self.directory(release).join("_headers"), text.as_bytes());
    }

    /// Writes `_headers` with a new mark, and has it reloaded by `signal`.
    pub(crate) fn write_marked_headers(&self, signal: impl FnOnce()) {
        let current = self.current_release.lock().expect("no thread panicked");
        self.write_headers(*current);
        let number = self.written_mark.load(Ordering::SeqCst);
        self.requested_mark.store(number, Ordering::SeqCst);
        signal();
    }

    /// Records that the mark whose reload was requested is in effect.
    pub(crate) fn confirm_headers(&self) {
        let number = self.requested_mark.load(Ordering::SeqCst);
        self.confirmed_mark.store(number, Ordering::SeqCst);
    }

    /// Returns the smallest mark that the response to a later request may have.
    pub(crate) fn min_mark(&self) -> u64 {
        self.confirmed_mark.load(Ordering::SeqCst)
    }

    /// Returns the largest mark that a response received by now may have.
    pub(crate) fn max_mark(&self) -> u64 {
        self.written_mark.load(Ordering::SeqCst)
    }

    /// Changes random files until the end.
    pub(crate) fn change_files(&self, soak: &Soak) {
        let mut random = Random::new(5);
        let of_kind = |kind| {
            self.files
                .iter()
                .filter(move |tracked| tracked.kind == kind)
        };
        let others: Vec<_> = self
            .files
            .iter()
            .filter(|tracked| {
                matches!(
                    tracked.kind,
                    ChangeKind::Replaced | ChangeKind::WithSidecars | ChangeKind::Touched
                )
            })
            .collect();
        let hot: Vec<_> = of_kind(ChangeKind::Overwritten).collect();
        while !soak.is_done() {
            thread::sleep(Duration::from_millis(3 + random.below(12) as u64));
            let release = self.current_release.lock().expect("no thread panicked");
            match random.below(10) {
                0 | 1 => self.overwrite(*release, hot[random.below(hot.len())], &mut random),
                2 if random.one_in(5) => self.rename_folder(*release),
                _ => self.change(*release, others[random.below(others.len())], &mut random),
            }
            increment(&soak.counts.changes);
        }
    }

    /// Replaces a file, deletes it, or sets its modification time.
    fn change(&self, release: u32, tracked: &TrackedFile, random: &mut Random) {
        let path = self.directory(release).join(&tracked.name);
        let current = tracked.current_state();
        if tracked.kind == ChangeKind::Touched {
            let file = OpenOptions::new().write(true).open(path).expect("a file");
            let past = Duration::from_secs(random.below(100_000) as u64);
            file.set_modified(SystemTime::now() - past).expect("a file");
        } else if current != FileState::Absent && random.one_in(4) {
            tracked.start_states(&[FileState::Absent], Some(release));
            fs::remove_file(&path).expect("a file");
            tracked.end_previous_states();
        } else {
            self.replace(release, tracked, random);
        }
    }

    fn replace(&self, release: u32, tracked: &TrackedFile, random: &mut Random) {
        let path = self.directory(release).join(&tracked.name);
        let state = self.new_version(tracked, random);
        let FileState::Whole { id, len } = state else {
            unreachable!("a version is whole");
        };
        let content = content(id, len);
        if tracked.kind == ChangeKind::WithSidecars {
            // The old sidecars must be older by more than a tick of the file system's clock.
            thread::sleep(Duration::from_millis(15));
        }
        tracked.start_states(&[state], Some(release));
        self.replace_file(&path, &content);
        tracked.end_previous_states();
        if tracked.kind == ChangeKind::WithSidecars {
            self.write_sidecars(&path, &content);
        }
    }

    /// Overwrites a file in place.
    fn overwrite(&self, release: u32, tracked: &TrackedFile, random: &mut Random) {
        let path = self.directory(release).join(&tracked.name);
        let FileState::Whole { id: old, len: kept } = tracked.current_state() else {
            unreachable!("files of this kind always exist");
        };
        // As documented, a large file that was unchanged for ten seconds and is overwritten while it is sent may arrive
        // mixed. Such a file is replaced instead.
        const MAX_AGE: Duration = Duration::from_secs(8);
        let age = fs::metadata(&path)
            .and_then(|it| it.modified())
            .expect("a file");
        if age.elapsed().is_ok_and(|age| age > MAX_AGE) {
            return self.replace(release, tracked, random);
        }
        let id = self.new_id();
        let truncates = random.one_in(2);
        let len = match truncates {
            true => tracked.max_len - tracked.max_len / 5 * random.below(2) as u64,
            false => kept,
        };
        let content = content(id, len);
        let mid_write = match truncates {
            true => FileState::Growing { id, len },
            false => FileState::Mixed { new: id, old, len },
        };
        tracked.start_states(&[mid_write, FileState::Whole { id, len }], Some(release));
        let file = OpenOptions::new()
            .write(true)
            .truncate(truncates)
            .open(path);
        let mut file = file.expect("a file");
        // Sometimes in several pieces, with pauses in between.
        let pieces = 1 + random.below(3);
        for piece in content.chunks((content.len() / pieces).max(1)) {
            file.write_all(piece).expect("a file");
            thread::sleep(Duration::from_millis(random.below(3) as u64));
        }
        drop(file);
        tracked.end_previous_states();
    }

    /// Renames the directory to the other one of its two names.
    fn rename_folder(&self, release: u32) {
        let directory = self.directory(release);
        let is_here = directory.join("here").exists();
        let (from, to) = match is_here {
            true => ("here", "there"),
            false => ("there", "here"),
        };
        let renamed: Vec<_> = self
            .files
            .iter()
            .filter(|it| it.kind == ChangeKind::InRenamedDirectory)
            .collect();
        let of = |name: &str, number: usize| {
            let name = format!("{name}/{number}.css");
            *renamed
                .iter()
                .find(|it| it.name == name)
                .expect("the file is tracked")
        };
        for number in 0..FILES_PER_RENAMED_DIRECTORY {
            let (source, destination) = (of(from, number), of(to, number));
            destination.start_states(&[source.current_state()], Some(release));
            source.start_states(&[FileState::Absent], Some(release));
        }
        fs::rename(directory.join(from), directory.join(to)).expect("a directory");
        for tracked in renamed {
            tracked.end_previous_states();
        }
    }
}

/// Release that is written and not served yet.
struct NewRelease {
    files: Vec<(Arc<TrackedFile>, FileState)>,
}
