//! Files that change while they are sent: a response is one version of the file, or the connection is closed early.

use std::collections::HashMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

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
}

const CHANGES: [Change; 7] = [
    Change::Unchanged,
    Change::Truncate,
    Change::Rewrite,
    Change::Grow,
    Change::Replace,
    Change::Delete,
    Change::Chmod,
];

impl Change {
    /// Whether the response to a request at that time may be aborted.
    fn may_abort(self) -> bool {
        // (A change of the mode changes the ctime, as a change of the content would.)
        matches!(
            self,
            Self::Truncate | Self::Rewrite | Self::Grow | Self::Chmod
        )
    }

    /// Whether this status is allowed, besides 200 and 206.
    fn allows_status(self, status: &str) -> bool {
        match self {
            Self::Unchanged | Self::Replace => false,
            // The range is past the current end, or the file changes during each attempt to read it.
            Self::Truncate | Self::Rewrite | Self::Grow => {
                ["416 Range Not Satisfiable", "503 Service Unavailable"].contains(&status)
            }
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
        // Outside the root, and so never requested.
        let new = self.directory.with_extension("new");
        fs::write(&new, &self.versions[size].0[version]).expect("a file");
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
            Change::Truncate | Change::Rewrite | Change::Grow => len == max_len || len % PAGE == 0,
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

/// Checks the outcome of a download whose file is changed after it began.
fn check_download(what: &str, range: &str, apply: &dyn Fn(&Path, &[u8]), expected: Option<()>) {
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
    assert_eq!(response.as_ref().map(|_| ()), expected, "{what} {range}");
    if let Some(response) = response {
        assert_eq!(response.content.len(), LARGE_LEN, "{what} {range}");
        assert!(
            response.content == *old,
            "{what} {range}: not the old version"
        );
    }
    drop(client);
    let reason = match expected {
        ABORTED => "The file changed while it was sent.",
        COMPLETE => "-",
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

fn check_full_and_range(what: &str, apply: &dyn Fn(&Path, &[u8]), expected: Option<()>) {
    // The same bytes as a 206 (RFC 9110 section 15.3.7).
    for range in ["", "Range: bytes=0-\r\n"] {
        check_download(what, range, apply, expected);
    }
}

/// Outcomes of a download: the connection is closed early, or all of the old version is received.
const ABORTED: Option<()> = None;
const COMPLETE: Option<()> = Some(());

#[test]
fn download_is_aborted_when_file_is_written_to() {
    let open = |path: &Path| {
        let file = OpenOptions::new().append(true).open(path);
        file.expect("a file")
    };
    let set_len = |path: &Path, len: usize| open(path).set_len(len as u64).expect("a file");
    let write = |path: &Path, content: &[u8]| fs::write(path, content).expect("a file");
    check_full_and_range("emptied", &|path, _| set_len(path, 0), ABORTED);
    check_full_and_range("halved", &|path, _| set_len(path, LARGE_LEN / 2), ABORTED);
    check_full_and_range(
        "truncated",
        &|path, _| set_len(path, LARGE_LEN / 3 + 5),
        ABORTED,
    );
    check_full_and_range(
        "one byte less",
        &|path, _| set_len(path, LARGE_LEN - 1),
        ABORTED,
    );
    check_full_and_range(
        "one byte more",
        &|path, _| set_len(path, LARGE_LEN + 1),
        ABORTED,
    );
    let append = |path: &Path, content: &[u8]| {
        open(path).write_all(content).expect("a file");
    };
    check_full_and_range("appended to", &|path, new| append(path, new), ABORTED);
    check_full_and_range("written anew", &|path, new| write(path, new), ABORTED);
    check_full_and_range(
        "written shorter",
        &|path, new| write(path, &new[..LARGE_LEN / 2]),
        ABORTED,
    );
    check_full_and_range(
        "written longer",
        &|path, new| write(path, &[new, new].concat()),
        ABORTED,
    );
    // In place, and of the same length: only the timestamps differ.
    let overwrite = |path: &Path, new: &[u8]| {
        use std::os::unix::fs::FileExt as _;
        let file = OpenOptions::new().write(true).open(path).expect("a file");
        file.write_all_at(&new[LARGE_LEN - PAGE..], (LARGE_LEN - PAGE) as u64)
            .expect("a file");
    };
    check_full_and_range("overwritten at its end", &overwrite, ABORTED);
    // As `rsync --inplace -t` does, and builds that give all files one date.
    let overwrite_with_same_mtime = |path: &Path, new: &[u8]| {
        let date = fs::metadata(path).and_then(|file| file.modified());
        overwrite(path, new);
        let date = date.expect("a time");
        open(path).set_modified(date).expect("a file");
    };
    check_full_and_range(
        "overwritten with the same mtime",
        &overwrite_with_same_mtime,
        ABORTED,
    );
}

// Only the ctime differs, as after a change of the content whose mtime was set back.
#[test]
fn download_is_aborted_when_only_ctime_changes() {
    let chmod = |path: &Path, _: &[u8]| {
        fs::set_permissions(path, Permissions::from_mode(0o000)).expect("a file");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a file");
    };
    check_full_and_range("made unreadable for a while", &chmod, ABORTED);
    let move_away = |path: &Path, _: &[u8]| {
        fs::rename(path, path.with_extension("old")).expect("a file");
    };
    check_full_and_range("moved", &move_away, ABORTED);
}

#[test]
fn download_continues_when_file_is_replaced_unlinked_or_linked() {
    let replace = |path: &Path, new: &[u8]| {
        let new_path = path.with_extension("new");
        fs::write(&new_path, new).expect("a file");
        fs::rename(&new_path, path).expect("a file");
    };
    check_full_and_range("replaced", &replace, COMPLETE);
    check_full_and_range(
        "deleted",
        &|path, _| fs::remove_file(path).expect("ours"),
        COMPLETE,
    );
    let recreate = |path: &Path, new: &[u8]| {
        fs::remove_file(path).expect("a file");
        fs::write(path, new).expect("a file");
    };
    check_full_and_range("deleted and made anew", &recreate, COMPLETE);
    // As when the next release is made of hard links (`cp -al`, `rsync --link-dest`).
    let link = |path: &Path, _: &[u8]| {
        fs::hard_link(path, path.with_extension("also")).expect("a file");
    };
    check_full_and_range("linked", &link, COMPLETE);
}
