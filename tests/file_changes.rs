//! Files that change while they are sent: a response is one version of the file, or the connection is closed early.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{self, Client, LARGE_LEN, Response, Root, Server, SetOnDrop, json_field};
use socket2::SockRef;

/// Versions of a content. Each word has the number of the version and the position of the word.
struct Versions(Vec<Vec<u8>>);

/// Length of a word, in bytes.
const WORD_LEN: usize = 8;

/// Smallest step, in bytes, by which the file system extends a file during a write(2): meanwhile its length may be any
/// multiple of this.
const PAGE: usize = 4096;

impl Versions {
    fn of(count: u32, len: usize) -> Self {
        let version = |number: u32| {
            let mut version = vec![0; len];
            for (word, place) in (0_u32..).zip(version.chunks_exact_mut(WORD_LEN)) {
                place[..4].copy_from_slice(&number.to_be_bytes());
                place[4..].copy_from_slice(&word.to_be_bytes());
            }
            version
        };
        Self((1..=count).map(version).collect())
    }

    /// Returns the version of which these bytes, from `start` on, are a part.
    ///
    /// # Panics
    /// If there is none.
    fn version(&self, bytes: &[u8], start: usize, what: &str) -> usize {
        let is_part = |version: &Vec<u8>| version.get(start..start + bytes.len()) == Some(bytes);
        let found = self.0.iter().position(is_part);
        found.unwrap_or_else(|| {
            let mut runs: Vec<(Option<usize>, usize)> = Vec::new();
            for (number, page) in bytes.chunks(PAGE).enumerate() {
                let start = start + number * PAGE;
                let is_part =
                    |version: &Vec<u8>| version.get(start..start + page.len()) == Some(page);
                let version = self.0.iter().position(is_part);
                match runs.last_mut() {
                    Some((last, pages)) if *last == version => *pages += 1,
                    _ => runs.push((version, 1)),
                }
            }
            panic!("{what} from {start}: not of one version, but (version, pages): {runs:?}")
        })
    }
}

/// Change that is made to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// No change, for comparison.
    Unchanged,
    /// The file is truncated, then emptied, and then written.
    ///
    /// When a file is truncated in the middle of a unit of the page cache (a page, or on newer kernels up to 2 MiB),
    /// the kernel zeroes the rest of the unit. sendfile(2) queues these very pages, so the client would receive zeroes
    /// if files like these were sent with it.
    Truncate,
    /// The file is emptied and written with as many other bytes, as by `cp new old`.
    Rewrite,
    /// The file is emptied, half of it is written, and the rest is appended later.
    Grow,
    /// Another file is renamed to its name.
    Replace,
    /// The file is deleted, and created again later.
    Delete,
    /// The file is made unreadable, and readable again.
    Chmod,
    /// Half of another file is renamed to its name, and the rest is appended, a page at a time.
    Append,
}

const CHANGES: [Change; 8] = [
    Change::Unchanged,
    Change::Truncate,
    Change::Rewrite,
    Change::Grow,
    Change::Replace,
    Change::Delete,
    Change::Chmod,
    Change::Append,
];

impl Change {
    /// Whether the response to a request at that time may be aborted.
    fn may_abort(self) -> bool {
        // (A file that is changed between its opening and the first byte has nothing to compare with yet.)
        match self {
            Self::Truncate | Self::Rewrite | Self::Grow | Self::Append | Self::Chmod => true,
            Self::Unchanged | Self::Replace | Self::Delete => false,
        }
    }

    /// Whether this status is allowed, besides 200 and 206.
    fn allows_status(self, status: &str) -> bool {
        match self {
            Self::Unchanged | Self::Replace => false,
            // The range is past the current end, or the file changes during each attempt to read it.
            Self::Truncate | Self::Rewrite | Self::Grow => {
                ["416 Range Not Satisfiable", "503 Service Unavailable"].contains(&status)
            }
            Self::Append => status == "416 Range Not Satisfiable",
            Self::Delete => status == "404 Not Found",
            // File modes do not apply to root.
            Self::Chmod => status == "403 Forbidden" && !rustix::process::geteuid().is_root(),
        }
    }
}

/// Lengths in bytes: one is read into memory, one is sent with sendfile(2).
const SIZES: [(&str, usize); 2] = [("small", 24 * 1024), ("large", 4 * 1024 * 1024)];

/// Lifetime of each version, so that on any kernel the next one has another timestamp.
const VERSION_LIFETIME: Duration = Duration::from_millis(12);

/// Minimum duration of the test under load.
const MIN_DURATION: Duration = Duration::from_millis(2500);

/// Files that are served, and their versions.
struct Site {
    directory: PathBuf,
    versions: [Versions; SIZES.len()],
    /// Version and length with which each strong validator was received.
    tags: Mutex<HashMap<String, (usize, usize)>>,
    address: SocketAddr,
    /// Index of the change that is being made.
    current: AtomicUsize,
    done: AtomicBool,
}

/// Numbers of responses by outcome.
#[derive(Default)]
struct Counts {
    full: AtomicU32,
    partial: AtomicU32,
    aborted: AtomicU32,
    other: AtomicU32,
}

impl Site {
    fn path(&self, change: Change, size: usize) -> PathBuf {
        self.directory.join(name(change, size))
    }

    fn write(&self, change: Change, size: usize, version: usize) {
        fs::write(self.path(change, size), &self.versions[size].0[version]).expect("a file");
    }

    fn replace(&self, change: Change, size: usize, version: usize) {
        self.replace_with(change, size, &self.versions[size].0[version]);
    }

    fn replace_with(&self, change: Change, size: usize, content: &[u8]) {
        // Outside the root, and so never requested.
        let new = self.directory.with_extension("new");
        fs::write(&new, content).expect("a file");
        fs::rename(&new, self.path(change, size)).expect("a file");
    }

    /// Checks a complete response against all versions of its file.
    fn check(&self, change: Change, size: usize, response: &Response) {
        let what = format!("{change:?} {}: {}", SIZES[size].0, response.head);
        let content = &response.content;
        let (start, len) = match response.status() {
            "200 OK" => (0, content.len()),
            "206 Partial Content" => {
                let range = response.field("Content-Range").expect("a Content-Range");
                let numbers = range.strip_prefix("bytes ").expect("in bytes");
                let numbers = numbers
                    .split(['-', '/'])
                    .map(|it| it.parse().expect("a number"));
                let [first, last, len] = numbers.collect::<Vec<usize>>()[..] else {
                    panic!("{what}");
                };
                assert_eq!(last + 1 - first, content.len(), "{what}");
                assert!(last < len, "{what}");
                (first, len)
            }
            status => {
                assert!(change.allows_status(status), "{what}");
                return;
            }
        };
        let max_len = SIZES[size].1;
        let is_length = match change {
            Change::Truncate if len == truncated_len(max_len) => true,
            Change::Truncate | Change::Rewrite | Change::Grow | Change::Append => {
                len == max_len || len % PAGE == 0
            }
            _ => len == max_len,
        };
        assert!(
            is_length && len <= max_len,
            "the file never had this length: {what}"
        );
        if content.len() < WORD_LEN {
            return;
        }
        let version = self.versions[size].version(content, start, &what);
        if let Some(tag) = response.field("ETag")
            && !tag.starts_with("W/")
        {
            // "a representation's strong validator ... changes whenever a change occurs to the
            // representation data" (RFC 9110 section 8.8.1).
            let mut tags = self.tags.lock().expect("no thread panicked");
            let recorded = *tags.entry(tag.to_owned()).or_insert((version, len));
            assert_eq!(recorded, (version, len), "one tag for two contents: {what}");
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Requests random files until the end, on persistent connections.
    fn send_requests(&self, counts: &Counts, mut seed: usize) {
        // Half of the clients read slowly, so that responses are sent in many pieces.
        let slow = seed.is_multiple_of(2);
        let mut client = Client::connect(self.address);
        while !self.is_done() {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let random = seed >> 20;
            let change = match random / 1024 % 4 {
                0 => random % CHANGES.len(),
                _ => self.current.load(Ordering::Relaxed),
            };
            let change = CHANGES[change];
            let size = random / 7 % 2;
            let max_len = SIZES[size].1;
            let range = match random / 14 % 4 {
                0 => format!("Range: bytes={}-\r\n", random / 64 % max_len),
                1 => format!("Range: bytes=-{}\r\n", random / 64 % max_len + 1),
                _ => String::new(),
            };
            let name = name(change, size);
            let request = format!("GET /{name} HTTP/1.1\r\nHost: test\r\n{range}\r\n");
            if slow {
                let socket = SockRef::from(client.stream());
                socket.set_recv_buffer_size(64 * 1024).expect("an option");
                client.send(&request);
                thread::sleep(VERSION_LIFETIME / 2);
            }
            let outcome = match slow {
                true => client.try_response(),
                false => client.try_request(&request),
            };
            let count = match outcome {
                None => {
                    assert!(
                        change.may_abort(),
                        "{change:?} {size}: aborted without a reason"
                    );
                    client = Client::connect(self.address);
                    &counts.aborted
                }
                Some(response) => {
                    self.check(change, size, &response);
                    match response.status() {
                        "200 OK" => &counts.full,
                        "206 Partial Content" => &counts.partial,
                        _ => &counts.other,
                    }
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes a change to a file. At the end it is this version.
    fn apply(&self, change: Change, size: usize, version: usize) {
        let path = self.path(change, size);
        let content = &self.versions[size].0[version];
        let mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode));
        match change {
            Change::Unchanged => {}
            Change::Truncate => {
                let file = OpenOptions::new().write(true).open(&path).expect("a file");
                let len = truncated_len(content.len());
                file.set_len(len as u64).expect("a file");
                self.pause();
                file.set_len(0).expect("a file");
                self.pause();
                self.write(change, size, version);
            }
            Change::Rewrite => self.write(change, size, version),
            Change::Grow => {
                let half = content.len() / 2;
                fs::write(&path, &content[..half]).expect("a file");
                self.pause();
                let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
                file.write_all(&content[half..]).expect("a file");
            }
            Change::Replace => self.replace(change, size, version),
            Change::Delete => {
                fs::remove_file(&path).expect("a file");
                self.pause();
                self.replace(change, size, version);
            }
            Change::Chmod => {
                mode(0o000).expect("a file");
                self.pause();
                mode(0o644).expect("a file");
            }
            Change::Append => {
                let (half, rest) = content.split_at(content.len() / 2);
                self.replace_with(change, size, half);
                let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
                for page in rest.chunks(PAGE) {
                    file.write_all(page).expect("a file");
                }
            }
        }
        self.pause();
    }

    fn pause(&self) {
        thread::sleep(VERSION_LIFETIME);
    }
}

/// Returns a length that ends in the middle of a page, and of any larger unit of the page cache.
fn truncated_len(len: usize) -> usize {
    len / 3 + 5
}

fn name(change: Change, size: usize) -> String {
    format!("{change:?}-{}", SIZES[size].0)
}

#[test]
fn responses_are_one_version_or_aborted_while_files_change() {
    const VERSIONS: u32 = 5;
    let root = Root::new();
    let directory = root.join("site");
    fs::create_dir(&directory).expect("a directory");
    let server = Server::start(&directory);
    let site = Site {
        directory,
        versions: SIZES.map(|(_, len)| Versions::of(VERSIONS, len)),
        tags: Mutex::default(),
        address: server.address,
        current: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    };
    for change in CHANGES {
        for size in 0..SIZES.len() {
            site.write(change, size, 0);
        }
    }
    let mut client = server.connect();
    assert_eq!(client.get("/Unchanged-small").status(), "200 OK");
    let before = server.descriptors();

    let counts = Counts::default();
    let mut changes = 0;
    thread::scope(|scope| {
        for seed in 0..4 {
            let (site, counts) = (&site, &counts);
            scope.spawn(move || {
                let _done = SetOnDrop(&site.done);
                site.send_requests(counts, seed);
            });
        }
        let _done = SetOnDrop(&site.done);
        let start = Instant::now();
        let enough = |changes| changes > CHANGES.len() && counts.full.load(Ordering::Relaxed) > 50;
        while !site.is_done() && (start.elapsed() < MIN_DURATION || !enough(changes)) {
            assert!(
                start.elapsed() < support::TIMEOUT,
                "too few changes or responses"
            );
            for index in 0..CHANGES.len() * SIZES.len() {
                let (change, size) = (CHANGES[index / SIZES.len()], index % SIZES.len());
                site.current.store(index / SIZES.len(), Ordering::Relaxed);
                changes += 1;
                let version = match change {
                    Change::Unchanged | Change::Chmod => 0,
                    _ => changes % VERSIONS as usize,
                };
                site.apply(change, size, version);
                // The change is seen by the next request.
                let now = client.get(&format!("/{}", name(change, size)));
                assert_eq!(now.status(), "200 OK", "{change:?}");
                let expected = &site.versions[size].0[version];
                assert!(
                    now.content == *expected,
                    "{change:?}: not the current version"
                );
            }
        }
    });

    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    let Counts {
        full,
        partial,
        aborted,
        other,
    } = &counts;
    let counts = [full, partial, aborted, other].map(count);
    println!("{changes} changes; full, partial, aborted, other: {counts:?}");
    // Only files of this site are cached.
    server.wait_for_descriptors_at_most(before + CHANGES.len() * SIZES.len());
    server.wait_until_idle();
    for (change, size) in CHANGES
        .iter()
        .flat_map(|change| [(*change, 0), (*change, 1)])
    {
        let content = fs::read(site.path(change, size)).expect("a file");
        let response = client.get(&format!("/{}", name(change, size)));
        assert!(response.content == content, "{change:?}");
    }
}

/// Ranges of a download: none, all as one (RFC 9110 section 15.3.7), most of it as one, and all as two.
const RANGES: [&str; 4] = [
    "",
    "Range: bytes=0-\r\n",
    "Range: bytes=1-\r\n",
    "Range: bytes=0-3999999,4000000-\r\n",
];

/// Returns the bytes of a file in a response, also of a multipart one.
fn file_bytes(response: &Response) -> Vec<u8> {
    let media_type = response.field("Content-Type").expect("a Content-Type");
    let Some((_, boundary)) = media_type.split_once("boundary=") else {
        return response.content.clone();
    };
    let delimiter = format!("--{boundary}");
    let mut rest = &response.content[..];
    let mut bytes = Vec::new();
    loop {
        let find = |what: &[u8]| rest.windows(what.len()).position(|window| window == what);
        let head_end = find(b"\r\n\r\n").map(|end| end + 4);
        let Some(head_end) = head_end else {
            return bytes;
        };
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        assert!(head.trim_start().starts_with(&delimiter), "{head}");
        let (_, range) = head.split_once("bytes ").expect("a Content-Range");
        let (range, _) = range.split_once('/').expect("a length");
        let (first, last) = range.split_once('-').expect("two numbers");
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let end = head_end + number(last) + 1 - number(first);
        bytes.extend_from_slice(&rest[head_end..end]);
        rest = &rest[end..];
    }
}

/// Checks the outcome of a download whose file is changed after it began.
fn check_download(what: &str, range: &str, apply: &dyn Fn(&Path, &[u8]), expected: Outcome) {
    static VERSIONS: LazyLock<Versions> = LazyLock::new(|| Versions::of(2, LARGE_LEN));
    let root = Root::new();
    let [old, new] = &VERSIONS.0[..] else {
        panic!("two versions");
    };
    root.write("site/file", old);
    let server = Server::start(&root.join("site"));
    let before = server.descriptors();
    let mut client = server.connect();
    // A small receive buffer, so that most of the file has not been sent.
    let socket = SockRef::from(client.stream());
    socket.set_recv_buffer_size(32 * 1024).expect("an option");
    client.send(format!("GET /file HTTP/1.1\r\nHost: test\r\n{range}\r\n"));
    client
        .stream()
        .peek(&mut [0])
        .expect("the response has begun");
    // The server is stopped, so that it is not in the middle of a system call.
    server.while_stopped(|| apply(&root.join("site/file"), new));
    let response = client.try_response();
    let outcome = match &response {
        Some(_) => Outcome::Whole,
        None => Outcome::Cut,
    };
    assert_eq!(outcome, expected, "{what} {range}");
    if let Some(response) = response {
        let start = usize::from(range.contains("=1-"));
        assert!(
            file_bytes(&response) == old[start..],
            "{what} {range}: not the old version"
        );
    }
    drop(client);
    let reason = match expected {
        Outcome::Cut => "The file changed while it was sent.",
        Outcome::Whole => "-",
    };
    assert_eq!(
        json_field(&server.stdout_line(), "reason"),
        reason,
        "{what} {range}"
    );
    // The file may be cached.
    server.wait_for_descriptors_at_most(before + 1);
    if let Ok(now) = fs::read(root.join("site/file")) {
        assert!(
            server.get("/file").content == now,
            "{what}: not the current version"
        );
    }
}

/// Outcome of a download whose file is changed after it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All promised bytes of the old version were received.
    Whole,
    /// The connection was closed early.
    Cut,
}

/// Change of the file at a path, which has the old version of a content. The new version has the same length.
type ChangeFile = fn(&Path, &[u8]);

fn open(path: &Path) -> File {
    let file = OpenOptions::new().write(true).open(path);
    file.expect("a file")
}

fn set_len(path: &Path, len: usize) {
    open(path).set_len(len as u64).expect("a file");
}

fn append(path: &Path, content: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).expect("a file");
    file.write_all(content).expect("a file");
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("a file");
}

/// Overwrites the page at `start` in place.
fn write_page(path: &Path, new: &[u8], start: usize) {
    let page = &new[start..start + PAGE];
    open(path).write_all_at(page, start as u64).expect("a file");
}

/// Makes a change, and then sets the modification time back, as `rsync --inplace -t` does, and builds that give all files
/// one date.
fn keep_date(path: &Path, change: impl FnOnce()) {
    let date = fs::metadata(path).and_then(|file| file.modified());
    change();
    set_date(path, date.expect("a time"));
}

fn set_date(path: &Path, date: SystemTime) {
    open(path).set_modified(date).expect("ours");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
}

/// Changes of a file while it is sent, each with the outcome of its download.
const DOWNLOADS: &[(&str, ChangeFile, Outcome)] = &[
    // Promised bytes are not there any more.
    ("emptied", |path, _| set_len(path, 0), Outcome::Cut),
    (
        "halved",
        |path, _| set_len(path, LARGE_LEN / 2),
        Outcome::Cut,
    ),
    (
        "truncated",
        |path, _| set_len(path, LARGE_LEN / 3 + 5),
        Outcome::Cut,
    ),
    (
        "one byte less",
        |path, _| set_len(path, LARGE_LEN - 1),
        Outcome::Cut,
    ),
    (
        "written shorter",
        |path, new| write(path, &new[..LARGE_LEN / 2]),
        Outcome::Cut,
    ),
    // Promised bytes are others.
    ("written anew", write, Outcome::Cut),
    (
        "written longer",
        |path, new| write(path, &[new, new].concat()),
        Outcome::Cut,
    ),
    (
        "overwritten at its end",
        |path, new| write_page(path, new, LARGE_LEN - PAGE),
        Outcome::Cut,
    ),
    (
        "overwritten in its middle",
        |path, new| write_page(path, new, LARGE_LEN / 2),
        Outcome::Cut,
    ),
    (
        "overwritten at its end, with the same date",
        |path, new| keep_date(path, || write_page(path, new, LARGE_LEN - PAGE)),
        Outcome::Cut,
    ),
    (
        "written anew, with the same date",
        |path, new| keep_date(path, || write(path, new)),
        Outcome::Cut,
    ),
    (
        "its head overwritten, and appended to, as archives and databases are",
        |path, new| {
            write_page(path, new, 0);
            append(path, new);
        },
        Outcome::Cut,
    ),
    (
        "its tail replaced with a longer one",
        |path, new| {
            set_len(path, LARGE_LEN - 100_000);
            append(path, new);
        },
        Outcome::Cut,
    ),
    // The date alone says that bytes were written, so they may be others.
    (
        "dated",
        |path, _| set_date(path, SystemTime::UNIX_EPOCH),
        Outcome::Cut,
    ),
    // Nothing is taken away.
    (
        "one byte more",
        |path, _| set_len(path, LARGE_LEN + 1),
        Outcome::Whole,
    ),
    ("appended to", append, Outcome::Whole),
    (
        "appended to, with the same date",
        |path, new| keep_date(path, || append(path, new)),
        Outcome::Whole,
    ),
    (
        "made unreadable for a while",
        |path, _| {
            set_mode(path, 0o000);
            set_mode(path, 0o600);
        },
        Outcome::Whole,
    ),
    (
        "made executable",
        |path, _| set_mode(path, 0o755),
        Outcome::Whole,
    ),
    (
        "given to its owner",
        |path, _| {
            let owner = fs::metadata(path).expect("a file");
            chown(path, Some(owner.uid()), Some(owner.gid())).expect("ours");
        },
        Outcome::Whole,
    ),
    (
        "dated as before",
        |path, _| keep_date(path, || ()),
        Outcome::Whole,
    ),
    (
        "renamed",
        |path, _| fs::rename(path, path.with_extension("old")).expect("ours"),
        Outcome::Whole,
    ),
    (
        "renamed and made anew, as logs are",
        |path, new| {
            fs::rename(path, path.with_extension("old")).expect("ours");
            write(path, new);
        },
        Outcome::Whole,
    ),
    (
        "appended to, made unwritable and renamed",
        |path, new| {
            append(path, new);
            set_mode(path, 0o400);
            fs::rename(path, path.with_extension("old")).expect("ours");
        },
        Outcome::Whole,
    ),
    (
        "replaced",
        |path, new| {
            let new_path = path.with_extension("new");
            write(&new_path, new);
            fs::rename(&new_path, path).expect("ours");
        },
        Outcome::Whole,
    ),
    (
        "deleted",
        |path, _| fs::remove_file(path).expect("ours"),
        Outcome::Whole,
    ),
    (
        "deleted and made anew",
        |path, new| {
            fs::remove_file(path).expect("ours");
            write(path, new);
        },
        Outcome::Whole,
    ),
    // As when the next release is made of hard links (`cp -al`, `rsync --link-dest`).
    (
        "linked",
        |path, _| fs::hard_link(path, path.with_extension("also")).expect("ours"),
        Outcome::Whole,
    ),
    (
        "linked, and its first name deleted",
        |path, _| {
            fs::hard_link(path, path.with_extension("also")).expect("ours");
            fs::remove_file(path).expect("ours");
        },
        Outcome::Whole,
    ),
];

fn check_downloads(expected: Outcome) {
    let rows = DOWNLOADS
        .iter()
        .filter(|(.., outcome)| *outcome == expected);
    for (what, apply, expected) in rows {
        for range in RANGES {
            check_download(what, range, apply, *expected);
        }
    }
}

#[test]
fn download_is_cut_when_promised_bytes_change_or_vanish() {
    check_downloads(Outcome::Cut);
}

#[test]
fn download_is_whole_when_nothing_is_taken_away() {
    check_downloads(Outcome::Whole);
}

/// A log that is appended to all the time can be downloaded: by a client on a slow line, and by monitors that ask for
/// its head, its new lines, or the whole of a small one.
#[test]
fn growing_log_can_be_downloaded() {
    const DOWNLOADS_EACH: usize = 5;
    const LINE_LEN: usize = 25;
    let root = Root::new();
    let line = |number: usize| format!("line {number:08} of the log\n").into_bytes();
    let lines = |count: usize| (0..count).flat_map(line).collect::<Vec<u8>>();
    let logs = [("/small.log", 500), ("/large.log", LARGE_LEN / LINE_LEN)];
    for (name, count) in logs {
        root.write(name.trim_start_matches('/'), lines(count));
    }
    let server = Server::start(root.path());
    let done = AtomicBool::new(false);
    let mut whole = 0;
    thread::scope(|scope| {
        let _done = SetOnDrop(&done);
        scope.spawn(|| {
            let open = |(name, _): &(&str, usize)| {
                let path = root.join(name.trim_start_matches('/'));
                OpenOptions::new().append(true).open(path).expect("a file")
            };
            let mut files = logs.each_ref().map(open);
            for number in 0.. {
                for (file, (_, count)) in files.iter_mut().zip(logs) {
                    file.write_all(&line(count + number)).expect("a file");
                }
                if done.load(Ordering::Relaxed) || number > 100_000 {
                    return;
                }
                thread::sleep(Duration::from_micros(500));
            }
        });
        for (name, count) in logs {
            for range in [
                "",
                "Range: bytes=1000-\r\n",
                "Range: bytes=0-8999,9000-\r\n",
            ] {
                for _ in 0..DOWNLOADS_EACH {
                    let mut client = server.connect();
                    let socket = SockRef::from(client.stream());
                    socket.set_recv_buffer_size(32 * 1024).expect("an option");
                    client.send(format!("GET {name} HTTP/1.1\r\nHost: test\r\n{range}\r\n"));
                    client.stream().peek(&mut [0]).expect("the response begins");
                    // The log grows while the server waits for the client.
                    let before = fs::metadata(root.join(&name[1..])).expect("a file").len();
                    support::eventually("the log grows", || {
                        let len = fs::metadata(root.join(&name[1..])).expect("a file").len();
                        (len > before).then_some(())
                    });
                    let Some(response) = client.try_response() else {
                        continue;
                    };
                    whole += 1;
                    let content = file_bytes(&response);
                    let start = if range.contains("1000-\r") { 1000 } else { 0 };
                    let len = start + content.len();
                    assert!(len >= count * LINE_LEN, "{name} {range}: {len}");
                    assert!(
                        content == lines(len / LINE_LEN + 1)[start..len],
                        "{name} {range}: other bytes"
                    );
                }
            }
        }
    });
    let all = logs.len() * 3 * DOWNLOADS_EACH;
    println!("{whole} of {all} downloads were whole");
    // One may be cut because its log was written to between its opening and the first byte.
    assert!(whole >= all * 2 / 3, "{whole} of {all}");
}
