//! What is served, and what each file of it was at what time.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::{Soak, count};

/// Nanoseconds since the test began.
pub(crate) type Moment = u64;

pub(crate) fn now() -> Moment {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).expect("five hundred years")
}

/// Something that is not over.
const OPEN: Moment = Moment::MAX;

/// How long a state is remembered after it ended. No head takes longer to come.
const MEMORY: Duration = Duration::from_secs(40);

/// Random enough.
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

    pub(crate) fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Which version of which file: no two share a number.
pub(crate) type Id = u32;

/// Makes the bytes of a version from `start` on. Each word of eight has the number of the version, and the
/// number of the word, stirred.
pub(crate) fn make(id: Id, start: u64, bytes: &mut [u8]) {
    let word = |index: u64| {
        let stirred = (u32::try_from(index).expect("below 32 GiB") ^ id).wrapping_mul(0x9e37_79b1);
        (u64::from(id) << 32 | u64::from(stirred)).to_be_bytes()
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

fn content(id: Id, len: u64) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(len).expect("it fits")];
    make(id, 0, &mut content);
    content
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Absent,
    Whole {
        id: Id,
        len: u64,
    },
    /// It has been emptied and is being written: as many bytes of it as there are.
    Growing {
        id: Id,
        len: u64,
    },
    /// It is being overwritten in place: so many bytes of the new, then the old.
    Mixed {
        new: Id,
        old: Id,
        len: u64,
    },
}

/// What a file is from some moment on, until another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    from: Moment,
    until: Moment,
    pub(crate) what: What,
    /// What release it is a part of, if that is known.
    pub(crate) release: Option<u32>,
}

impl State {
    /// Without beginning or end.
    pub(crate) fn always(what: What) -> Self {
        Self {
            from: 0,
            until: OPEN,
            what,
            release: None,
        }
    }
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Replaced, deleted and made again.
    Plain,
    /// The same, with siblings in two codings.
    Coded,
    /// Emptied and written, or overwritten as it is.
    InPlace,
    /// Given other dates.
    Touched,
    /// In a folder that has one of two names.
    Moving,
    /// Only ever new with a release.
    Still,
    /// It has a hash in its name, and so is of one release.
    Hashed,
    Never,
}

pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The largest that it may become.
    most: u64,
    states: Mutex<VecDeque<State>>,
}

impl Slot {
    fn new(name: String, kind: Kind, most: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            kind,
            most,
            states: Mutex::default(),
        })
    }

    /// What it has been at some moment from `start` to `end`.
    pub(crate) fn states(&self, start: Moment, end: Moment) -> Vec<State> {
        let states = self.states.lock().expect("nobody failed");
        let within = |it: &&State| it.from <= end && it.until >= start;
        states.iter().filter(within).copied().collect()
    }

    pub(crate) fn is_large(&self) -> bool {
        self.most > 64 * 1024
    }

    /// What it is now. Only who moves files asks that.
    fn present(&self) -> What {
        let states = self.states.lock().expect("nobody failed");
        states.back().map_or(What::Absent, |state| state.what)
    }

    /// Begins states, of which the last stays.
    fn begin(&self, whats: &[What], release: Option<u32>) {
        let from = now();
        let mut states = self.states.lock().expect("nobody failed");
        let memory = u64::try_from(MEMORY.as_nanos()).expect("short");
        while states
            .front()
            .is_some_and(|it| it.until < from.saturating_sub(memory))
        {
            states.pop_front();
        }
        states.extend(whats.iter().map(|&what| State {
            from,
            until: OPEN,
            what,
            release,
        }));
    }

    /// Ends all states but the last.
    fn end(&self) {
        let until = now();
        let mut states = self.states.lock().expect("nobody failed");
        let former = states.len().saturating_sub(1);
        for state in states.iter_mut().take(former) {
            state.until = state.until.min(until);
        }
    }

    fn is_forgotten(&self) -> bool {
        let memory = u64::try_from(MEMORY.as_nanos()).expect("short");
        let states = self.states.lock().expect("nobody failed");
        let last = states.back();
        last.is_some_and(|it| it.what == What::Absent && it.from + memory < now())
    }
}

/// Everything that may be asked for.
pub(crate) struct Table {
    base: PathBuf,
    pub(crate) slots: Vec<Arc<Slot>>,
    /// Those with a hash in the name, of the last releases.
    pub(crate) hashed: RwLock<Vec<Arc<Slot>>>,
    pub(crate) page: Arc<Slot>,
    pub(crate) still: Arc<Slot>,
    ids: AtomicU32,
    /// The number of the release. Whoever holds it moves files; nobody else does.
    present: Mutex<u32>,
    /// What `_headers` says, at the most and at the least, and what it is to say once it has been read again.
    written: AtomicU64,
    believed: AtomicU64,
    marked: AtomicU64,
}

/// How many files of each release have a hash in their names.
const HASHED: usize = 10;

/// How many files are in each folder that has one of two names.
const MOVING: usize = 10;

impl Table {
    /// With the first release in a folder, and `current`, a link that leads there. No file has more bytes than
    /// `largest`.
    pub(crate) fn new(base: &Path, largest: u64) -> Self {
        const KIB: u64 = 1024;
        let mut slots = Vec::new();
        let mut add = |name: &str, kind, most: u64| {
            let slot = Slot::new(name.to_owned(), kind, most.min(largest));
            slots.push(Arc::clone(&slot));
            slot
        };
        let page = add("404.html", Kind::Still, 900);
        let still = add("still.txt", Kind::Still, 1000);
        let sizes = [0, 1, 100, KIB, 4096, 10_000, 24_000, 50_000];
        for number in 0..96 {
            add(
                &format!("plain/{number}.bin"),
                Kind::Plain,
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
            add(&format!("large/{number}.bin"), Kind::Plain, size);
        }
        for number in 0..24 {
            add(
                &format!("coded/{number}.js"),
                Kind::Coded,
                sizes[number % 5] / 3,
            );
        }
        for number in 0..40 {
            add(
                &format!("text/{number}.txt"),
                Kind::Plain,
                sizes[number % 5] / 2,
            );
        }
        for number in 0..20 {
            add(&format!("list/{number}.txt"), Kind::Plain, 300);
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
            add(&format!("hot/{number}.bin"), Kind::InPlace, size);
            if number < 6 {
                add(&format!("touched/{number}.bin"), Kind::Touched, size);
            }
        }
        for name in ["here", "there"] {
            for number in 0..MOVING {
                add(&format!("{name}/{number}.css"), Kind::Moving, 3000);
            }
        }
        for number in 0..10 {
            add(&format!("about/{number}/index.html"), Kind::Still, 2000);
            add(&format!("none/{number}.png"), Kind::Never, 0);
        }
        let table = Self {
            base: base.to_owned(),
            slots,
            hashed: RwLock::default(),
            page,
            still,
            ids: AtomicU32::new(1),
            present: Mutex::new(0),
            written: AtomicU64::new(0),
            believed: AtomicU64::new(0),
            marked: AtomicU64::new(0),
        };
        fs::create_dir_all(base.join("aside")).expect("a folder of ours");
        let mut random = Random::new(1);
        let draft = table.draft(1, &mut random);
        table.switch(1, draft);
        table
    }

    /// The name under which it is served.
    pub(crate) fn root(&self) -> PathBuf {
        self.base.join("current")
    }

    fn folder(&self, release: u32) -> PathBuf {
        self.base.join(format!("releases/{release}"))
    }

    fn id(&self) -> Id {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts a file under a name at once, as deploying should.
    fn put(&self, path: &Path, bytes: &[u8]) {
        let name = path.to_string_lossy().replace('/', "-");
        let new = self.base.join("aside").join(name);
        fs::write(&new, bytes).expect("a file of ours");
        fs::rename(new, path).expect("a file of ours");
    }

    /// The files beside this one, which are it, in two codings.
    fn put_siblings(&self, path: &Path, bytes: &[u8]) {
        let level = flate2::Compression::new(1);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(bytes).expect("memory");
        self.put(
            &path.with_extension("js.gz"),
            &gzip.finish().expect("memory"),
        );
        let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 1, 18);
        brotli.write_all(bytes).expect("memory");
        self.put(&path.with_extension("js.br"), &brotli.into_inner());
    }

    /// A new version of a file, now and then of another length.
    fn version(&self, slot: &Slot, random: &mut Random) -> What {
        let len = match random.below(4) {
            0 => slot.most - slot.most / 7,
            _ => slot.most,
        };
        // Where there is no room for a number, all versions are the same, and so are their tags.
        let id = if len < 8 { 0 } else { self.id() };
        What::Whole { id, len }
    }

    /// Makes the folder of a release that nobody sees yet: what is there, with some files changed.
    fn draft(&self, release: u32, random: &mut Random) -> Draft {
        let folder = self.folder(release);
        let here = random.one_in(2);
        let mut files = Vec::new();
        for slot in &self.slots {
            let is_there = match slot.kind {
                Kind::Never => false,
                Kind::Moving => slot.name.starts_with("here/") == here,
                _ => true,
            };
            let what = match (is_there, slot.present()) {
                (false, _) => What::Absent,
                (true, what @ What::Whole { .. }) if !random.one_in(5) => what,
                (true, _) => self.version(slot, random),
            };
            files.push((Arc::clone(slot), what));
        }
        for number in 0..HASHED {
            // Sixteen hexadecimal digits, letters among them, which nobody takes for a word.
            let hash = random.below(1 << 32);
            let name = format!("assets/app{number}-f0c{hash:013x}.js");
            let slot = Slot::new(name, Kind::Hashed, [500, 5000, 70_000][number % 3]);
            let what = self.version(&slot, random);
            files.push((slot, what));
        }
        for (slot, what) in &files {
            let path = folder.join(&slot.name);
            if let What::Whole { id, len } = *what {
                let content = content(id, len);
                fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of ours");
                fs::write(&path, &content).expect("a file of ours");
                if slot.kind == Kind::Coded {
                    self.put_siblings(&path, &content);
                }
            }
        }
        Draft { files }
    }

    /// Gives `current` to a release.
    fn switch(&self, release: u32, draft: Draft) {
        let mut present = self.present.lock().expect("nobody failed");
        self.write_headers(release);
        let link = self.base.join("new");
        symlink(format!("releases/{release}"), &link).expect("a link of ours");
        for (slot, what) in &draft.files {
            // What has a hash outlives its release, and then has the fields of another.
            let is_of = (slot.kind != Kind::Hashed).then_some(release);
            slot.begin(&[*what], is_of);
        }
        fs::rename(link, self.root()).expect("a link of ours");
        for (slot, _) in &draft.files {
            slot.end();
        }
        let mut hashed = self.hashed.write().expect("nobody failed");
        hashed.retain(|slot| !slot.is_forgotten());
        hashed.extend(
            draft
                .files
                .into_iter()
                .map(|(slot, _)| slot)
                .filter(|it| it.kind == Kind::Hashed),
        );
        *present = release;
    }

    /// Switches releases, and deletes the one before the last.
    pub(crate) fn release(&self, soak: &Soak, pause: Duration) {
        let mut random = Random::new(77);
        let mut kept = VecDeque::from([self.named()]);
        for release in 2.. {
            soak.pause(pause);
            if soak.is_done() {
                break;
            }
            let draft = self.draft(release, &mut random);
            self.switch(release, draft);
            count(&soak.counts.releases);
            kept.push_back(self.named());
            if kept.len() > 2 {
                let hashed = kept.pop_front().expect("three");
                for slot in &hashed {
                    slot.begin(&[What::Absent], None);
                }
                fs::remove_dir_all(self.folder(release - 2)).expect("a folder of ours");
                for slot in &hashed {
                    slot.end();
                }
            }
        }
    }

    /// Those that have a hash and came with the newest release.
    fn named(&self) -> Vec<Arc<Slot>> {
        let hashed = self.hashed.read().expect("nobody failed");
        hashed.iter().rev().take(HASHED).cloned().collect()
    }

    fn write_headers(&self, release: u32) {
        let number = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        let text = format!("/*\n  X-Release: {release}\n  X-Soak: {number}\n");
        self.put(&self.folder(release).join("_headers"), text.as_bytes());
    }

    /// Writes other fields, and has them read.
    pub(crate) fn mark_headers(&self, signal: impl FnOnce()) {
        let present = self.present.lock().expect("nobody failed");
        self.write_headers(*present);
        let number = self.written.load(Ordering::SeqCst);
        self.marked.store(number, Ordering::SeqCst);
        signal();
    }

    /// What was to be read last has been read.
    pub(crate) fn believe_headers(&self) {
        let number = self.marked.load(Ordering::SeqCst);
        self.believed.store(number, Ordering::SeqCst);
    }

    /// The least that an answer may say that is asked for from now on.
    pub(crate) fn least_mark(&self) -> u64 {
        self.believed.load(Ordering::SeqCst)
    }

    /// The most that an answer may say that has come.
    pub(crate) fn most_mark(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Changes files, again and again.
    pub(crate) fn churn(&self, soak: &Soak) {
        let mut random = Random::new(5);
        let of_kind = |kind| self.slots.iter().filter(move |slot| slot.kind == kind);
        let others: Vec<_> = self
            .slots
            .iter()
            .filter(|slot| matches!(slot.kind, Kind::Plain | Kind::Coded | Kind::Touched))
            .collect();
        let hot: Vec<_> = of_kind(Kind::InPlace).collect();
        while !soak.is_done() {
            thread::sleep(Duration::from_millis(3 + random.below(12) as u64));
            let release = self.present.lock().expect("nobody failed");
            match random.below(10) {
                0 | 1 => self.overwrite(*release, hot[random.below(hot.len())], &mut random),
                2 if random.one_in(5) => self.rename_folder(*release),
                _ => self.change(*release, others[random.below(others.len())], &mut random),
            }
            count(&soak.counts.changes);
        }
    }

    /// Replaces a file, deletes it, or gives it other dates.
    fn change(&self, release: u32, slot: &Slot, random: &mut Random) {
        let path = self.folder(release).join(&slot.name);
        let present = slot.present();
        if slot.kind == Kind::Touched {
            let file = OpenOptions::new()
                .write(true)
                .open(path)
                .expect("a file of ours");
            let past = Duration::from_secs(random.below(100_000) as u64);
            file.set_modified(SystemTime::now() - past)
                .expect("a file of ours");
        } else if present != What::Absent && random.one_in(4) {
            slot.begin(&[What::Absent], Some(release));
            fs::remove_file(&path).expect("a file of ours");
            slot.end();
        } else {
            self.replace(release, slot, random);
        }
    }

    fn replace(&self, release: u32, slot: &Slot, random: &mut Random) {
        let path = self.folder(release).join(&slot.name);
        let what = self.version(slot, random);
        let What::Whole { id, len } = what else {
            unreachable!("a version is whole");
        };
        let content = content(id, len);
        if slot.kind == Kind::Coded {
            // Its siblings are to be older by more than a tick of the file system's clock.
            thread::sleep(Duration::from_millis(15));
        }
        slot.begin(&[what], Some(release));
        self.put(&path, &content);
        slot.end();
        if slot.kind == Kind::Coded {
            self.put_siblings(&path, &content);
        }
    }

    /// Overwrites a file in place.
    fn overwrite(&self, release: u32, slot: &Slot, random: &mut Random) {
        let path = self.folder(release).join(&slot.name);
        let What::Whole { id: old, len: kept } = slot.present() else {
            unreachable!("it is never anything else");
        };
        // Of a large file that was left alone for ten seconds, and is overwritten while it is sent, README
        // says that it may arrive torn: such a one is replaced.
        const STEADY: Duration = Duration::from_secs(8);
        let age = fs::metadata(&path)
            .and_then(|it| it.modified())
            .expect("a file of ours");
        if age.elapsed().is_ok_and(|age| age > STEADY) {
            return self.replace(release, slot, random);
        }
        let id = self.id();
        let empties = random.one_in(2);
        let len = match empties {
            true => slot.most - slot.most / 5 * random.below(2) as u64,
            false => kept,
        };
        let content = content(id, len);
        let meanwhile = match empties {
            true => What::Growing { id, len },
            false => What::Mixed { new: id, old, len },
        };
        slot.begin(&[meanwhile, What::Whole { id, len }], Some(release));
        let file = OpenOptions::new().write(true).truncate(empties).open(path);
        let mut file = file.expect("a file of ours");
        // In pieces, now and then, with time for others in between.
        let pieces = 1 + random.below(3);
        for piece in content.chunks((content.len() / pieces).max(1)) {
            file.write_all(piece).expect("a file of ours");
            thread::sleep(Duration::from_millis(random.below(3) as u64));
        }
        drop(file);
        slot.end();
    }

    /// Gives a folder the one of its two names that it does not have.
    fn rename_folder(&self, release: u32) {
        let folder = self.folder(release);
        let is_here = folder.join("here").exists();
        let (from, to) = match is_here {
            true => ("here", "there"),
            false => ("there", "here"),
        };
        let slots: Vec<_> = self
            .slots
            .iter()
            .filter(|it| it.kind == Kind::Moving)
            .collect();
        let of = |name: &str, number: usize| {
            let name = format!("{name}/{number}.css");
            *slots
                .iter()
                .find(|it| it.name == name)
                .expect("it is there")
        };
        for number in 0..MOVING {
            let (left, taken) = (of(from, number), of(to, number));
            taken.begin(&[left.present()], Some(release));
            left.begin(&[What::Absent], Some(release));
        }
        fs::rename(folder.join(from), folder.join(to)).expect("a folder of ours");
        for slot in slots {
            slot.end();
        }
    }
}

/// A release that nobody sees yet.
struct Draft {
    files: Vec<(Arc<Slot>, What)>,
}
