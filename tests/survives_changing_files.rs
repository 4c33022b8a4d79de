//! Files that change while they are sent are sent as they were, or not to their end.

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

use crate::support::{self, Client, Done, LARGE, Response, Root, Server, said};
use socket2::SockRef;

/// Contents that are told apart by each of their words: which edition it is, and where in it the word is.
struct Editions(Vec<Vec<u8>>);

/// Bytes of a word.
const WORD: usize = 8;

/// What a file system grows a file by, at the least, while it is written: it may be found as long as any
/// number of these.
const PAGE: usize = 4096;

impl Editions {
    fn of(count: u32, len: usize) -> Self {
        let edition = |number: u32| {
            let mut edition = vec![0; len];
            for (word, place) in (0_u32..).zip(edition.chunks_exact_mut(WORD)) {
                place[..4].copy_from_slice(&number.to_be_bytes());
                place[4..].copy_from_slice(&word.to_be_bytes());
            }
            edition
        };
        Self((1..=count).map(edition).collect())
    }

    /// Which edition these bytes, which begin at `start`, are a part of.
    ///
    /// # Panics
    /// When they are a part of none.
    fn edition(&self, bytes: &[u8], start: usize, what: &str) -> usize {
        let is_part = |edition: &Vec<u8>| edition.get(start..start + bytes.len()) == Some(bytes);
        let found = self.0.iter().position(is_part);
        found.unwrap_or_else(|| {
            let mut runs: Vec<(Option<usize>, usize)> = Vec::new();
            for (number, page) in bytes.chunks(PAGE).enumerate() {
                let start = start + number * PAGE;
                let is_part =
                    |edition: &Vec<u8>| edition.get(start..start + page.len()) == Some(page);
                let edition = self.0.iter().position(is_part);
                match runs.last_mut() {
                    Some((last, pages)) if *last == edition => *pages += 1,
                    _ => runs.push((edition, 1)),
                }
            }
            panic!("{what} from {start}: of no one edition, but (edition, pages): {runs:?}")
        })
    }
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing, as a witness.
    Nothing,
    /// It is shortened, to some and then to nothing, and then written anew.
    ///
    /// When a file comes to end in the middle of what the kernel keeps in one piece (a page, or on newer
    /// kernels up to 2 MiB), the kernel zeroes the rest of that. What sendfile(2) has queued is those very
    /// pages, so that zeroes would arrive, if files like these were left to it.
    Truncate,
    /// It is emptied and written with as many other bytes, as `cp new old` does.
    Rewrite,
    /// It is begun anew and then appended to.
    Grow,
    /// Another file takes its name.
    Replace,
    /// It is deleted, and comes back later.
    Delete,
    /// It is made unreadable, and readable again.
    Forbid,
}

const FAULTS: [Fault; 7] = [
    Fault::Nothing,
    Fault::Truncate,
    Fault::Rewrite,
    Fault::Grow,
    Fault::Replace,
    Fault::Delete,
    Fault::Forbid,
];

impl Fault {
    /// Whether one that is sent at that time may be cut.
    fn cuts(self) -> bool {
        // (Of what has another mode nobody can tell that it has the same bytes.)
        matches!(
            self,
            Self::Truncate | Self::Rewrite | Self::Grow | Self::Forbid
        )
    }

    /// The statuses that it explains, besides 200 and 206.
    fn explains(self, status: &str) -> bool {
        match self {
            Self::Nothing | Self::Replace => false,
            // A range that is not there for now; a file that never holds still.
            Self::Truncate | Self::Rewrite | Self::Grow => {
                ["416 Range Not Satisfiable", "503 Service Unavailable"].contains(&status)
            }
            Self::Delete => status == "404 Not Found",
            // Root reads what it likes.
            Self::Forbid => status == "403 Forbidden" && !rustix::process::geteuid().is_root(),
        }
    }
}

/// Small enough to be read at once, and large enough to be left to the kernel.
const SIZES: [(&str, usize); 2] = [("small", 24 * 1024), ("large", 4 * 1024 * 1024)];

/// How long a version stays, so that the file system's clock tells it from the next on any kernel.
const VERSION: Duration = Duration::from_millis(12);

/// How long all of it goes on.
const SPAN: Duration = Duration::from_millis(2500);

/// The files that are served, and what is known of them.
struct Site {
    folder: PathBuf,
    editions: [Editions; SIZES.len()],
    /// What a strong validator was seen with: the edition and the length.
    tags: Mutex<HashMap<String, (usize, usize)>>,
    address: SocketAddr,
    /// Which of the faults is going on.
    present: AtomicUsize,
    done: AtomicBool,
}

/// How often something came.
#[derive(Default)]
struct Counts {
    whole: AtomicU32,
    part: AtomicU32,
    cut: AtomicU32,
    other: AtomicU32,
}

impl Site {
    fn path(&self, fault: Fault, size: usize) -> PathBuf {
        self.folder.join(name(fault, size))
    }

    fn write(&self, fault: Fault, size: usize, edition: usize) {
        fs::write(self.path(fault, size), &self.editions[size].0[edition]).expect("a file of ours");
    }

    fn replace(&self, fault: Fault, size: usize, edition: usize) {
        // Outside the root, and so never asked for.
        let new = self.folder.with_extension("new");
        fs::write(&new, &self.editions[size].0[edition]).expect("a file of ours");
        fs::rename(&new, self.path(fault, size)).expect("a file of ours");
    }

    /// Checks a response that came whole, whatever the file was meanwhile.
    fn check(&self, fault: Fault, size: usize, response: &Response) {
        let what = format!("{fault:?} {}: {}", SIZES[size].0, response.head);
        let content = &response.content;
        let (start, len) = match response.status() {
            "200 OK" => (0, content.len()),
            "206 Partial Content" => {
                let range = response.field("Content-Range").expect("it is said");
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
                assert!(fault.explains(status), "{what}");
                return;
            }
        };
        let most = SIZES[size].1;
        let is_length = match fault {
            Fault::Truncate if len == shortened(most) => true,
            Fault::Truncate | Fault::Rewrite | Fault::Grow => len == most || len % PAGE == 0,
            _ => len == most,
        };
        assert!(
            is_length && len <= most,
            "a length that it never had: {what}"
        );
        if content.len() < WORD {
            return;
        }
        let edition = self.editions[size].edition(content, start, &what);
        if let Some(tag) = response.field("ETag")
            && !tag.starts_with("W/")
        {
            // "a representation's strong validator ... changes whenever a change occurs to the
            // representation data" (RFC 9110 section 8.8.1).
            let mut tags = self.tags.lock().expect("nobody failed");
            let known = *tags.entry(tag.to_owned()).or_insert((edition, len));
            assert_eq!(known, (edition, len), "one tag for two contents: {what}");
        }
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Asks for everything again and again, on connections that are kept while they last.
    fn ask(&self, counts: &Counts, mut seed: usize) {
        // Half of them read slowly, so that what they asked for leaves in many pieces.
        let slow = seed.is_multiple_of(2);
        let mut client = Client::connect(self.address);
        while !self.is_done() {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let random = seed >> 20;
            let fault = match random / 1024 % 4 {
                0 => random % FAULTS.len(),
                _ => self.present.load(Ordering::Relaxed),
            };
            let fault = FAULTS[fault];
            let size = random / 7 % 2;
            let most = SIZES[size].1;
            let range = match random / 14 % 4 {
                0 => format!("Range: bytes={}-\r\n", random / 64 % most),
                1 => format!("Range: bytes=-{}\r\n", random / 64 % most + 1),
                _ => String::new(),
            };
            let name = name(fault, size);
            let request = format!("GET /{name} HTTP/1.1\r\nHost: test\r\n{range}\r\n");
            if slow {
                let socket = SockRef::from(client.stream());
                socket.set_recv_buffer_size(64 * 1024).expect("an option");
                client.send(&request);
                thread::sleep(VERSION / 2);
            }
            let outcome = match slow {
                true => client.outcome(),
                false => client.attempt(&request),
            };
            let count = match outcome {
                None => {
                    assert!(fault.cuts(), "{fault:?} {size}: cut without a reason");
                    client = Client::connect(self.address);
                    &counts.cut
                }
                Some(response) => {
                    self.check(fault, size, &response);
                    match response.status() {
                        "200 OK" => &counts.whole,
                        "206 Partial Content" => &counts.part,
                        _ => &counts.other,
                    }
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Does something to a file, and leaves it as this edition.
    fn harm(&self, fault: Fault, size: usize, edition: usize) {
        let path = self.path(fault, size);
        let content = &self.editions[size].0[edition];
        let mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode));
        match fault {
            Fault::Nothing => {}
            Fault::Truncate => {
                let file = OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("a file of ours");
                let some = shortened(content.len());
                file.set_len(some as u64).expect("a file of ours");
                self.settle();
                file.set_len(0).expect("a file of ours");
                self.settle();
                self.write(fault, size, edition);
            }
            Fault::Rewrite => self.write(fault, size, edition),
            Fault::Grow => {
                let half = content.len() / 2;
                fs::write(&path, &content[..half]).expect("a file of ours");
                self.settle();
                let mut file = OpenOptions::new()
                    .append(true)
                    .open(&path)
                    .expect("a file of ours");
                file.write_all(&content[half..]).expect("a file of ours");
            }
            Fault::Replace => self.replace(fault, size, edition),
            Fault::Delete => {
                fs::remove_file(&path).expect("a file of ours");
                self.settle();
                self.replace(fault, size, edition);
            }
            Fault::Forbid => {
                mode(0o000).expect("a file of ours");
                self.settle();
                mode(0o644).expect("a file of ours");
            }
        }
        self.settle();
    }

    fn settle(&self) {
        thread::sleep(VERSION);
    }
}

/// In the middle of a page, and of anything larger that the kernel may keep in one piece.
fn shortened(len: usize) -> usize {
    len / 3 + 5
}

fn name(fault: Fault, size: usize) -> String {
    format!("{fault:?}-{}", SIZES[size].0)
}

#[test]
fn every_answer_is_one_version_or_is_cut_whatever_happens_to_the_files() {
    const EDITIONS: u32 = 5;
    let root = Root::new();
    let folder = root.join("site");
    fs::create_dir(&folder).expect("a folder of ours");
    let server = Server::start(&folder);
    let site = Site {
        folder,
        editions: SIZES.map(|(_, len)| Editions::of(EDITIONS, len)),
        tags: Mutex::default(),
        address: server.address,
        present: AtomicUsize::new(0),
        done: AtomicBool::new(false),
    };
    for fault in FAULTS {
        for size in 0..SIZES.len() {
            site.write(fault, size, 0);
        }
    }
    let mut client = server.connect();
    assert_eq!(client.get("/Nothing-small").status(), "200 OK");
    let before = server.descriptors();

    let counts = Counts::default();
    let mut harms = 0;
    thread::scope(|scope| {
        for seed in 0..4 {
            let (site, counts) = (&site, &counts);
            scope.spawn(move || {
                let _done = Done(&site.done);
                site.ask(counts, seed);
            });
        }
        let _done = Done(&site.done);
        let start = Instant::now();
        let enough = |harms| harms > FAULTS.len() && counts.whole.load(Ordering::Relaxed) > 50;
        while !site.is_done() && (start.elapsed() < SPAN || !enough(harms)) {
            assert!(start.elapsed() < support::PATIENCE, "too little happens");
            for place in 0..FAULTS.len() * SIZES.len() {
                let (fault, size) = (FAULTS[place / SIZES.len()], place % SIZES.len());
                site.present.store(place / SIZES.len(), Ordering::Relaxed);
                harms += 1;
                let edition = match fault {
                    Fault::Nothing | Fault::Forbid => 0,
                    _ => harms % EDITIONS as usize,
                };
                site.harm(fault, size, edition);
                // What was done is to be seen at once.
                let now = client.get(&format!("/{}", name(fault, size)));
                assert_eq!(now.status(), "200 OK", "{fault:?}");
                let expected = &site.editions[size].0[edition];
                assert!(
                    now.content == *expected,
                    "{fault:?}: it is served as it is now"
                );
            }
        }
    });

    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    let Counts {
        whole,
        part,
        cut,
        other,
    } = &counts;
    let counts = [whole, part, cut, other].map(count);
    println!("{harms} harms; whole, part, cut, other: {counts:?}");
    // The files that are remembered are few.
    server.holds_no_more_than(before + FAULTS.len() * SIZES.len());
    server.rests();
    for (fault, size) in FAULTS.iter().flat_map(|fault| [(*fault, 0), (*fault, 1)]) {
        let content = fs::read(site.path(fault, size)).expect("a file of ours");
        let response = client.get(&format!("/{}", name(fault, size)));
        assert!(response.content == content, "{fault:?}");
    }
}

/// What becomes of a download if this is done to its file after it began.
fn check(what: &str, range: &str, harm: &dyn Fn(&Path, &[u8]), expected: Option<()>) {
    static EDITIONS: LazyLock<Editions> = LazyLock::new(|| Editions::of(2, LARGE));
    let root = Root::new();
    let [old, new] = &EDITIONS.0[..] else {
        panic!("two editions");
    };
    root.write("site/file", old);
    let server = Server::start(&root.join("site"));
    let before = server.descriptors();
    let mut client = server.connect();
    // What the kernel keeps for a reader is little, then, and most of the file has not left.
    let socket = SockRef::from(client.stream());
    socket.set_recv_buffer_size(32 * 1024).expect("an option");
    client.send(format!("GET /file HTTP/1.1\r\nHost: test\r\n{range}\r\n"));
    client.stream().peek(&mut [0]).expect("it has begun");
    // While it does nothing, so that it is not in the middle of a call.
    server.asleep(|| harm(&root.join("site/file"), new));
    let came = client.outcome();
    assert_eq!(came.as_ref().map(|_| ()), expected, "{what} {range}");
    if let Some(response) = came {
        assert_eq!(response.content.len(), LARGE, "{what} {range}");
        assert!(response.content == *old, "{what} {range}: as it was");
    }
    drop(client);
    let reason = match expected {
        CUT => "The file changed while it was sent.",
        AS_IT_WAS => "-",
    };
    assert_eq!(said(&server.line(), "reason"), reason, "{what} {range}");
    // That of the file may be remembered.
    server.holds_no_more_than(before + 1);
    if let Ok(now) = fs::read(root.join("site/file")) {
        assert!(server.get("/file").content == now, "{what}: as it is now");
    }
}

fn check_everywhere(what: &str, harm: &dyn Fn(&Path, &[u8]), expected: Option<()>) {
    // The same bytes as a part: RFC 9110 section 15.3.7.
    for range in ["", "Range: bytes=0-\r\n"] {
        check(what, range, harm, expected);
    }
}

/// It is cut, however near its end.
const CUT: Option<()> = None;
const AS_IT_WAS: Option<()> = Some(());

#[test]
fn a_download_of_a_file_that_is_written_to_is_cut() {
    let open = |path: &Path| {
        let file = OpenOptions::new().append(true).open(path);
        file.expect("a file of ours")
    };
    let set_len = |path: &Path, len: usize| open(path).set_len(len as u64).expect("a file of ours");
    let write = |path: &Path, content: &[u8]| fs::write(path, content).expect("a file of ours");
    check_everywhere("emptied", &|path, _| set_len(path, 0), CUT);
    check_everywhere("halved", &|path, _| set_len(path, LARGE / 2), CUT);
    check_everywhere("shortened", &|path, _| set_len(path, LARGE / 3 + 5), CUT);
    check_everywhere("one byte less", &|path, _| set_len(path, LARGE - 1), CUT);
    check_everywhere("one byte more", &|path, _| set_len(path, LARGE + 1), CUT);
    let append = |path: &Path, content: &[u8]| {
        open(path).write_all(content).expect("a file of ours");
    };
    check_everywhere("appended to", &|path, new| append(path, new), CUT);
    check_everywhere("written anew", &|path, new| write(path, new), CUT);
    check_everywhere(
        "written shorter",
        &|path, new| write(path, &new[..LARGE / 2]),
        CUT,
    );
    check_everywhere(
        "written longer",
        &|path, new| write(path, &[new, new].concat()),
        CUT,
    );
    // In place, and of the same length: only its time tells.
    let overwrite = |path: &Path, new: &[u8]| {
        use std::os::unix::fs::FileExt as _;
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a file of ours");
        file.write_all_at(&new[LARGE - PAGE..], (LARGE - PAGE) as u64)
            .expect("a file of ours");
    };
    check_everywhere("overwritten at its end", &overwrite, CUT);
    // As `rsync --inplace -t` does it, and builds that give everything one date.
    let put_back = |path: &Path, new: &[u8]| {
        let date = fs::metadata(path).and_then(|file| file.modified());
        overwrite(path, new);
        let date = date.expect("a time");
        open(path).set_modified(date).expect("a file of ours");
    };
    check_everywhere("overwritten, and its date put back", &put_back, CUT);
}

// Only its ctime has changed, which a change of its bytes with the date put back leaves as well.
#[test]
fn a_download_of_a_file_that_may_have_been_written_to_is_cut() {
    let forbid = |path: &Path, _: &[u8]| {
        fs::set_permissions(path, Permissions::from_mode(0o000)).expect("a file of ours");
        fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a file of ours");
    };
    check_everywhere("made unreadable for a while", &forbid, CUT);
    let move_away = |path: &Path, _: &[u8]| {
        fs::rename(path, path.with_extension("old")).expect("a file of ours");
    };
    check_everywhere("moved", &move_away, CUT);
}

#[test]
fn a_download_of_a_file_that_loses_a_name_or_gets_one_goes_on_as_it_was() {
    let replace = |path: &Path, new: &[u8]| {
        let place = path.with_extension("new");
        fs::write(&place, new).expect("a file of ours");
        fs::rename(&place, path).expect("a file of ours");
    };
    check_everywhere("replaced", &replace, AS_IT_WAS);
    check_everywhere(
        "deleted",
        &|path, _| fs::remove_file(path).expect("ours"),
        AS_IT_WAS,
    );
    let recreate = |path: &Path, new: &[u8]| {
        fs::remove_file(path).expect("a file of ours");
        fs::write(path, new).expect("a file of ours");
    };
    check_everywhere("deleted and made anew", &recreate, AS_IT_WAS);
    // As in the next release, which has the same files (`cp -al`, `rsync --link-dest`).
    let link = |path: &Path, _: &[u8]| {
        fs::hard_link(path, path.with_extension("also")).expect("a file of ours");
    };
    check_everywhere("linked", &link, AS_IT_WAS);
}
