//! Conditional requests: 304 for a client that has the current file, never for one that has another version.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{
    Client, Response, Root, Server, asctime, eventually, pseudorandom_bytes, rfc850, set_modified,
    since_epoch,
};
use httpdate::{fmt_http_date, parse_http_date};

/// Length in bytes up to which files are read into memory; the kernel sends larger ones.
const MAX_IN_MEMORY_LEN: usize = 64 * 1024;

/// Time after a change in which a large file has no tag, because another change could have the same ctime.
const CLOCK_TICK: Duration = Duration::from_millis(20);

const SECOND: Duration = Duration::from_secs(1);

const OK: &str = "200 OK";
const NOT_MODIFIED: &str = "304 Not Modified";
const PRECONDITION_FAILED: &str = "412 Precondition Failed";

/// Dates, in seconds since the epoch, that all files of a release may have: the epoch, `SOURCE_DATE_EPOCH=1`, the first
/// day of ZIP, and the date of npm and some other tools.
const CONSTANT_DATES: [u64; 4] = [0, 1, 315_532_800, 946_702_800];

/// Files that no test changes: a small one, a large one, the index of a directory, an empty one.
const UNCHANGED_TARGETS: [&str; 4] = ["/small.txt", "/large", "/dir/", "/empty"];

/// Files that were written more than a second ago, so that their dates are strong validators. Creating them takes that
/// second, so tests that run at the same time share them; a test changes only files that no other test uses.
struct Site {
    address: SocketAddr,
    /// Kept running; in a mutex because its output channels are not `Sync`.
    _server: Mutex<Server>,
    root: Root,
    cached: Vec<CachedFile>,
}

/// Content and validators that a client has cached for a file.
struct CachedFile {
    target: &'static str,
    content: Vec<u8>,
    tag: String,
    date: SystemTime,
}

impl Site {
    fn shared() -> Arc<Self> {
        static SITE: Mutex<Weak<Site>> = Mutex::new(Weak::new());
        let mut site = SITE.lock().unwrap_or_else(PoisonError::into_inner);
        site.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *site = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let root = Root::of(&[("index.html", "home"), ("404.html", "gone")]);
        let files = [
            ("/small.txt", "small.txt", pseudorandom_bytes(500)),
            ("/large", "large", pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1)),
            ("/dir/", "dir/index.html", b"<p>dir".to_vec()),
            ("/empty", "empty", vec![]),
            ("/rolled-small", "rolled-small", pseudorandom_bytes(500)),
            (
                "/rolled-large",
                "rolled-large",
                pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1),
            ),
        ];
        for (_, path, content) in &files {
            root.write(path, content);
        }
        symlink("/etc/passwd", root.join("outside")).expect("the test owns this directory");
        let server = Server::start(root.path());
        let mut client = server.connect();
        let cached = files.map(|(target, _, content)| {
            let response = eventually("the second of the modification is over", || {
                let response = client.get(target);
                let has_both = ["ETag", "Last-Modified"].map(|name| response.field(name).is_some());
                (has_both == [true, true]).then_some(response)
            });
            CachedFile {
                target,
                content,
                tag: tag(&response).expect("a validator").to_owned(),
                date: modified(&response).expect("a validator"),
            }
        });
        Self {
            address: server.address,
            _server: Mutex::new(server),
            root,
            cached: cached.into(),
        }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn cached(&self, target: &str) -> &CachedFile {
        let mut cached = self.cached.iter();
        cached.find(|file| file.target == target).expect("a file")
    }

    /// Sends preconditions for files of each kind and compares the status. All requests of a file use one connection,
    /// so that a surplus or missing byte of a response breaks the next one.
    fn check(&self, rows: &[(&[&str], &str)]) {
        for target in UNCHANGED_TARGETS {
            let file = self.cached(target);
            let mut client = self.connect();
            for (lines, status) in rows {
                let fields = file.fill(lines);
                let get = client.request("GET", target, &fields);
                assert_eq!(get.status(), *status, "{target}, {fields}");
                match *status {
                    OK => assert!(get.content == file.content, "{target}, {fields}"),
                    NOT_MODIFIED => assert_eq!(get.field("Content-Length"), None, "{get:?}"),
                    _ => assert!(get.text().contains(status), "{get:?}"),
                }
                // RFC 9110 section 9.3.2: the same fields as if it had been GET.
                let head = client.request("HEAD", target, &fields);
                let (get, head) = (get.undated(), head.undated());
                assert_eq!(head, get, "{target}, {fields}");
            }
            assert!(client.get(target).content == file.content, "{target}");
        }
    }
}

impl CachedFile {
    /// Returns the field lines with placeholders replaced by this file's validators.
    fn fill(&self, lines: &[&str]) -> String {
        let date = fmt_http_date(self.date);
        let before = fmt_http_date(self.date - SECOND);
        lines.iter().fold(String::new(), |all, line| {
            let line = line
                .replace("<tag>", &self.tag)
                .replace("<inside>", self.tag.trim_matches('"'))
                .replace("<date>", &date)
                .replace("<before>", &before)
                .replace("<after>", &fmt_http_date(self.date + SECOND))
                .replace("<rfc850>", &rfc850(&date))
                .replace("<asctime>", &asctime(&date))
                .replace("<rfc850 before>", &rfc850(&before))
                .replace("<asctime before>", &asctime(&before));
            all + &line + "\r\n"
        })
    }
}

fn tag(response: &Response) -> Option<&str> {
    response.field("ETag")
}

fn modified(response: &Response) -> Option<SystemTime> {
    let date = response.field("Last-Modified")?;
    Some(parse_http_date(date).expect("a date"))
}

/// Returns the names of a response's fields, sorted.
fn names(response: &Response) -> Vec<&str> {
    let lines = response.head.lines().skip(1);
    let mut names: Vec<&str> = lines
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    names.sort_unstable();
    names
}

/// Returns content of this length, different for every number.
fn version(len: usize, number: usize) -> Vec<u8> {
    let mut content = pseudorandom_bytes(len);
    for (byte, digit) in content.iter_mut().zip(number.to_be_bytes()) {
        *byte = digit;
    }
    content
}

/// Returns the file's ctime.
fn change_time(path: &Path) -> SystemTime {
    let stat = fs::metadata(path).expect("the test owns this file");
    let second = since_epoch(stat.ctime().try_into().expect("after 1970"));
    second + Duration::from_nanos(stat.ctime_nsec().try_into().expect("nanoseconds"))
}

/// Repeats a GET until its response has a tag.
fn get_tagged(client: &mut Client, target: &str) -> Response {
    eventually("the response has a tag", || {
        let response = client.get(target);
        tag(&response).is_some().then_some(response)
    })
}

// RFC 9110 section 8.8.3.
#[test]
fn every_file_has_a_strong_etag() {
    let site = Site::shared();
    let mut client = site.connect();
    for file in UNCHANGED_TARGETS.map(|target| site.cached(target)) {
        let Some(opaque) = file
            .tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
        else {
            panic!("{} is no strong tag", file.tag);
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        assert!(
            opaque.bytes().all(is_plain) && !opaque.is_empty(),
            "{opaque}"
        );
        assert!(file.tag.len() <= 64, "{opaque}");
        for method in ["GET", "HEAD"] {
            let response = client.request(method, file.target, "");
            assert_eq!(response.status(), OK);
            assert_eq!(tag(&response), Some(&*file.tag), "{method} {}", file.target);
        }
    }
}

#[test]
fn directory_has_validators_of_its_index() {
    let site = Site::shared();
    let mut client = site.connect();
    let index = client.get("/dir/index.html");
    let folder = site.cached("/dir/");
    assert_eq!(tag(&index), Some(&*folder.tag));
    assert_eq!(modified(&index), Some(folder.date));
    for target in [
        "/dir/",
        "/dir/?query",
        "/dir/index.html",
        "http://test/dir/",
    ] {
        for lines in [["If-None-Match: <tag>"], ["If-Modified-Since: <date>"]] {
            let response = client.request("GET", target, &folder.fill(&lines));
            assert_eq!(response.status(), NOT_MODIFIED, "{target}, {lines:?}");
        }
    }
}

// RFC 9110 section 8.8.3.2: tags of different replicas are compared, too.
#[test]
fn small_file_has_same_etag_on_every_replica() {
    const LENGTHS: [usize; 6] = [0, 1, 240, 4096, MAX_IN_MEMORY_LEN - 1, MAX_IN_MEMORY_LEN];
    let (here, there) = (Root::new(), Root::new());
    for (place, len) in LENGTHS.into_iter().enumerate() {
        let content = version(len, place);
        here.write(format!("{len}.html"), &content);
        there.write(format!("{len}.html"), &content);
        // Another date, name, media type and path length.
        there.write(format!("folder/of/its/own/{len}"), &content);
        let time = since_epoch(CONSTANT_DATES[place % 4]);
        set_modified(&there.join(format!("{len}.html")), time);
    }
    let servers = [Server::start(here.path()), Server::start(there.path())];
    let [mut one, mut other] = servers.each_ref().map(Server::connect);
    let mut seen = Vec::new();
    for len in LENGTHS {
        let page = format!("/{len}.html");
        let answer = one.get(&page);
        let expected = tag(&answer)
            .expect("small files always have a tag")
            .to_owned();
        assert_eq!(tag(&other.get(&page)), Some(&*expected), "{page}");
        let elsewhere = format!("/folder/of/its/own/{len}");
        assert_eq!(tag(&other.get(&elsewhere)), Some(&*expected), "{elsewhere}");
        let known = format!("If-None-Match: {expected}\r\n");
        let response = other.request("GET", &page, &known);
        assert_eq!(response.status(), NOT_MODIFIED, "{page}");
        assert!(!seen.contains(&expected), "{len} bytes");
        seen.push(expected);
    }
}

#[test]
fn metadata_change_keeps_etag_of_small_file() {
    let root = Root::of(&[("file", "content")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    let path = root.join("file");
    let first = client.get("/file");
    let first = tag(&first)
        .expect("small files always have a tag")
        .to_owned();
    let check_unmodified = |what: &str, client: &mut Client| {
        assert_eq!(tag(&client.get("/file")), Some(&*first), "{what}");
        let response = client.request("GET", "/file", &format!("If-None-Match: {first}\r\n"));
        assert_eq!(response.status(), NOT_MODIFIED, "{what}");
    };
    set_modified(&path, SystemTime::now());
    check_unmodified("touch", &mut client);
    set_modified(&path, since_epoch(1));
    check_unmodified("touch -d", &mut client);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("the test owns this file");
    check_unmodified("chmod", &mut client);
    fs::hard_link(&path, root.join("link")).expect("the test owns this directory");
    check_unmodified("ln", &mut client);
    root.write("new", "content");
    fs::rename(root.join("new"), &path).expect("the test owns this directory");
    check_unmodified("mv", &mut client);
    root.write("file", "content");
    check_unmodified("the same once more", &mut client);
    root.write("file", "CONTENT");
    assert_ne!(tag(&client.get("/file")), Some(&*first));
}

#[test]
fn large_file_has_no_etag_within_clock_tick_of_change() {
    let root = Root::new();
    let path = root.join("file");
    let server = Server::start(root.path());
    let mut client = server.connect();
    // On a machine slower than a clock tick a round observes nothing, so there are several.
    let mut observed = 0;
    for round in 0..20 {
        root.write("file", version(MAX_IN_MEMORY_LEN + 1, round));
        let response = client.get("/file");
        if change_time(&path) + CLOCK_TICK > SystemTime::now() {
            assert_eq!(tag(&response), None, "{response:?}");
            observed += 1;
        }
    }
    if observed == 0 {
        eprintln!("SKIPPED: no response came within {CLOCK_TICK:?} of a write");
    }
    let response = get_tagged(&mut client, "/file");
    let age = SystemTime::now().duration_since(change_time(&path));
    assert!(
        age.expect("a time in the past") >= CLOCK_TICK,
        "{response:?}"
    );
    // Any change of the ctime could be one of the content.
    let fields = format!(
        "If-None-Match: {}\r\n",
        tag(&response).expect("a validator")
    );
    set_modified(&path, since_epoch(1));
    assert_eq!(client.request("GET", "/file", &fields).status(), OK);
}

#[test]
fn etag_never_matches_other_content() {
    const ROUNDS: usize = 60;
    let root = Root::of(&[("small", ""), ("large", "")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 500), ("large", MAX_IN_MEMORY_LEN + 1)] {
        let target = format!("/{name}");
        let path = root.join(name);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for round in 0..ROUNDS {
            // Same length and date as the previous version, written in place or renamed over it, within one clock tick
            // or not.
            let content = version(len, round);
            if round % 2 == 0 {
                fs::write(&path, &content).expect("the test owns this file");
                set_modified(&path, since_epoch(1));
            } else {
                root.write("new", &content);
                set_modified(&root.join("new"), since_epoch(1));
                fs::rename(root.join("new"), &path).expect("the test owns this directory");
            }
            let all = seen.keys().fold(String::new(), |all, tag| all + tag + ", ");
            let fields = format!("If-None-Match: {all}\r\n");
            let response = client.request("GET", &target, &fields);
            assert_eq!(
                response.status(),
                OK,
                "{name} is not modified in round {round}"
            );
            assert!(response.content == content, "{name} in round {round}");
            let response = match round % 10 {
                0 => get_tagged(&mut client, &target),
                _ => client.get(&target),
            };
            if let Some(tag) = tag(&response) {
                let other = seen.insert(tag.to_owned(), round);
                assert_eq!(other, None, "{name} in round {round}: {tag}");
            }
        }
        assert!(seen.len() >= ROUNDS / 10, "{name} has tags");
    }
}

// RFC 9110 section 8.8.2: within its second, another version could have the same date.
#[test]
fn last_modified_is_absent_until_its_second_is_over() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 5), ("large", MAX_IN_MEMORY_LEN + 1)] {
        let target = format!("/{name}");
        // The second may end between the write and the response, but not every time.
        let date = eventually("a response comes within the second", || {
            root.write(name, pseudorandom_bytes(len));
            let stat = fs::metadata(root.join(name)).and_then(|stat| stat.modified());
            let date = stat.expect("the test owns this file");
            let known = format!("If-Modified-Since: {}\r\n", fmt_http_date(date));
            let responses = [client.get(&target), client.request("GET", &target, &known)];
            if fmt_http_date(SystemTime::now()) != fmt_http_date(date) {
                return None;
            }
            for response in responses {
                assert_eq!(response.status(), OK);
                assert_eq!(modified(&response), None, "{response:?}");
            }
            Some(date)
        });
        let sent = eventually("the second of the modification is over", || {
            modified(&client.get(&target))
        });
        assert_eq!(fmt_http_date(sent), fmt_http_date(date));
        assert!(SystemTime::now() >= sent + SECOND);
    }
}

// The kernel's file times advance in clock ticks (10 ms at most), so a file written when a second has just begun can be
// dated in the previous second, and be written again in the same tick with the same date.
#[test]
fn last_modified_is_absent_for_a_clock_tick_after_its_second() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 5), ("large", MAX_IN_MEMORY_LEN + 1)] {
        root.write(name, pseudorandom_bytes(len));
        let target = format!("/{name}");
        let sent = eventually("the second of the modification is over", || {
            modified(&client.get(&target))
        });
        let age = SystemTime::now().duration_since(sent + SECOND);
        assert!(
            age.is_ok_and(|age| age >= CLOCK_TICK),
            "the date of {name} was sent too early"
        );
    }
}

// RFC 9110 sections 13.1.1, by strong comparison, and 13.1.2, by weak comparison.
#[test]
fn if_match_compares_strongly_and_if_none_match_weakly() {
    let site = Site::shared();
    let many = "\"x\", ".repeat(200) + "<tag>";
    for (list, strongly, weakly) in [
        ("<tag>", true, true),
        ("W/<tag>", false, true),
        ("*", true, true),
        ("\"x\"", false, false),
        ("W/\"x\"", false, false),
        ("\"\"", false, false),
        // More characters after or before the tag, or a weak prefix inside the quotes.
        ("\"<inside>x\"", false, false),
        ("\"x<inside>\"", false, false),
        ("\"W/<inside>\"", false, false),
        // Lists, with empty elements and tabs (RFC 9110 section 5.6.1).
        ("\"x\", <tag>", true, true),
        ("<tag>, \"x\"", true, true),
        ("\"x\",<tag>,\"y\"", true, true),
        ("\"x\", W/<tag>", false, true),
        ("W/<tag>, <tag>", true, true),
        ("\"x\"\t,\t <tag>\t", true, true),
        (",\t, ,<tag> ,,", true, true),
        (&many, true, true),
        // Between the quotes a comma is allowed, and a backslash is literal (section 8.8.3).
        ("\"a,b\", <tag>", true, true),
        ("\",\", <tag>", true, true),
        ("\"a\\\", <tag>", true, true),
        ("\"\\\", <tag>, \"\\\"", true, true),
        ("\"*\", \"W/\"", false, false),
        ("\"caf\u{e9}\", <tag>", true, true),
        ("\"a,<tag>", false, false),
        // Empty lists.
        ("", false, false),
        (" \t ", false, false),
        (",", false, false),
        (", ,", false, false),
        // Malformed members never match.
        ("<inside>", false, false),
        ("'<inside>'", false, false),
        ("\"<inside>", false, false),
        ("<inside>\"", false, false),
        ("w/<tag>", false, false),
        ("W/ <tag>", false, false),
        ("W<tag>", false, false),
        ("<tag>x", false, false),
        ("<tag> <tag>", false, false),
        ("<tag>;q=1", false, false),
        ("**", false, false),
        ("*x", false, false),
        ("*, \"x\"", false, false),
        ("\"x\", *", false, false),
        ("x, <tag>", true, true),
        ("\"a b\", <tag>", true, true),
        ("\"x\" y, <tag>", true, true),
    ] {
        let matched = if strongly { OK } else { PRECONDITION_FAILED };
        let none_matched = if weakly { NOT_MODIFIED } else { OK };
        site.check(&[
            (&[&format!("If-Match: {list}")], matched),
            (&[&format!("If-None-Match: {list}")], none_matched),
        ]);
    }
}

// RFC 9110 section 5.2: several lines of a field are one list.
#[test]
fn etag_list_may_span_several_field_lines() {
    Site::shared().check(&[
        (&["If-Match: \"x\"", "If-Match: <tag>"], OK),
        (
            &["If-Match: \"x\"", "if-match: \"y\"", "IF-MATCH:<tag>\t"],
            OK,
        ),
        (&["If-Match: <tag>", "If-Match: "], OK),
        (
            &["If-Match: \"x\"", "Accept: */*", "If-Match: W/<tag>"],
            PRECONDITION_FAILED,
        ),
        (&["If-Match: ", "If-Match: "], PRECONDITION_FAILED),
        (
            &["If-None-Match: \"x\"", "If-None-Match: W/<tag>"],
            NOT_MODIFIED,
        ),
        (
            &["If-None-Match: ", "if-none-match:\"x\",<tag>"],
            NOT_MODIFIED,
        ),
        (&["If-None-Match: \"x\"", "If-None-Match: \"y\""], OK),
        // A tag is not joined from two lines.
        (&["If-Match: W/", "If-Match: \"x\""], PRECONDITION_FAILED),
    ]);
}

// RFC 9110 sections 13.1.3 and 13.1.4; the formats of a date in section 5.6.7.
#[test]
fn date_preconditions_compare_dates() {
    let site = Site::shared();
    for (date, modified, unmodified) in [
        // Only the exact date yields 304: an earlier file may have replaced it.
        ("<date>", NOT_MODIFIED, OK),
        ("<before>", OK, PRECONDITION_FAILED),
        ("<after>", OK, OK),
        ("Thu, 01 Jan 1970 00:00:00 GMT", OK, PRECONDITION_FAILED),
        ("Fri, 31 Dec 9999 23:59:59 GMT", OK, OK),
        ("<rfc850>", NOT_MODIFIED, OK),
        ("<rfc850 before>", OK, PRECONDITION_FAILED),
        // A two-digit year more than 50 years in the future means the past.
        ("Sunday, 06-Nov-94 08:49:37 GMT", OK, PRECONDITION_FAILED),
        ("<asctime>", NOT_MODIFIED, OK),
        ("<asctime before>", OK, PRECONDITION_FAILED),
        ("Sun Nov  6 08:49:37 1994", OK, PRECONDITION_FAILED),
    ] {
        for space in [" ", "", "\t  "] {
            site.check(&[
                (
                    &[&format!("If-Modified-Since:{space}{date}{space}")],
                    modified,
                ),
                (
                    &[&format!("if-unmodified-since:{space}{date}{space}")],
                    unmodified,
                ),
            ]);
        }
    }
}

// RFC 9110 sections 13.1.3 and 13.1.4: a field that is no valid date is ignored.
#[test]
fn malformed_dates_are_ignored() {
    let site = Site::shared();
    let mangle: [fn(&str) -> String; 22] = [
        |_| String::new(),
        |_| "*".into(),
        |_| "0".into(),
        |_| "yesterday".into(),
        |_| "784111777".into(),
        |_| "1994-11-06T08:49:37Z".into(),
        |date| date.replace("GMT", "UTC"),
        |date| date.replace("GMT", "+0000"),
        |date| date.replace("GMT", "gmt"),
        |date| date.replace(" GMT", ""),
        |date| date.replace(',', ""),
        |date| date.replace(':', "."),
        |date| date.to_ascii_lowercase(),
        |date| format!("\"{date}\""),
        // Sent by Netscape.
        |date| format!("{date}; length=500"),
        |date| format!("{date}, {date}"),
        |date| format!("{date} {date}"),
        |date| date.replace(' ', "  "),
        // The 32nd day, the 25th hour, the 61st minute, a year of two digits.
        |date| format!("{}32{}", &date[..5], &date[7..]),
        |date| format!("{}24{}", &date[..17], &date[19..]),
        |date| format!("{}60{}", &date[..20], &date[22..]),
        |date| format!("{}{}", &date[..12], &date[14..]),
    ];
    for target in ["/small.txt", "/large"] {
        let file = site.cached(target);
        let mut client = site.connect();
        for (place, mangle) in mangle.iter().enumerate() {
            let date = mangle(&fmt_http_date(file.date));
            let before = mangle(&fmt_http_date(file.date - SECOND));
            let fields = format!("If-Modified-Since: {date}\r\nIf-Unmodified-Since: {before}\r\n");
            let response = client.request("GET", target, &fields);
            assert_eq!(response.status(), OK, "{place}: {fields}");
        }
    }
    // A repeated field is no valid date either (section 5.3); neither of the two counts.
    site.check(&[
        (
            &["If-Modified-Since: <date>", "If-Modified-Since: <date>"],
            OK,
        ),
        (
            &["If-Modified-Since: <date>", "If-Modified-Since: soon"],
            OK,
        ),
        (&["If-Modified-Since: ", "if-modified-since: <date>"], OK),
        (
            &[
                "If-Unmodified-Since: <before>",
                "If-Unmodified-Since: <before>",
            ],
            OK,
        ),
        (
            &["If-Unmodified-Since: <before>", "if-unmodified-since: "],
            OK,
        ),
    ]);
}

// RFC 9110 section 13.2.2.
#[test]
fn preconditions_are_evaluated_in_rfc_9110_order() {
    let site = Site::shared();
    let rows: [(&[&str], &str); 26] = [
        // If-Match makes If-Unmodified-Since ignored.
        (&["If-Match: <tag>", "If-Unmodified-Since: <before>"], OK),
        (&["If-Match: *", "If-Unmodified-Since: <before>"], OK),
        (
            &["If-Match: \"x\"", "If-Unmodified-Since: <date>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Match: ", "If-Unmodified-Since: <after>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Match: soon", "If-Unmodified-Since: <after>"],
            PRECONDITION_FAILED,
        ),
        // 412 comes before 304.
        (&["If-Match: <tag>", "If-None-Match: <tag>"], NOT_MODIFIED),
        (&["If-Match: <tag>", "If-None-Match: \"x\""], OK),
        (&["If-Match: *", "If-None-Match: *"], NOT_MODIFIED),
        (
            &["If-Match: \"x\"", "If-None-Match: <tag>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Match: \"x\"", "If-None-Match: \"x\""],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Match: W/<tag>", "If-None-Match: W/<tag>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Match: <tag>", "If-Modified-Since: <date>"],
            NOT_MODIFIED,
        ),
        (
            &["If-Match: \"x\"", "If-Modified-Since: <date>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Unmodified-Since: <before>", "If-None-Match: <tag>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-None-Match: <tag>"],
            NOT_MODIFIED,
        ),
        (
            &["If-Unmodified-Since: <before>", "If-Modified-Since: <date>"],
            PRECONDITION_FAILED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-Modified-Since: <date>"],
            NOT_MODIFIED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-Modified-Since: <before>"],
            OK,
        ),
        // If-None-Match makes If-Modified-Since ignored.
        (&["If-None-Match: \"x\"", "If-Modified-Since: <date>"], OK),
        (&["If-None-Match: ", "If-Modified-Since: <date>"], OK),
        (&["If-None-Match: soon", "If-Modified-Since: <date>"], OK),
        (
            &["If-None-Match: <tag>", "If-Modified-Since: <before>"],
            NOT_MODIFIED,
        ),
        (
            &["If-None-Match: *", "If-Modified-Since: soon"],
            NOT_MODIFIED,
        ),
        // All of them.
        (
            &[
                "If-Match: <tag>",
                "If-Unmodified-Since: <before>",
                "If-None-Match: <tag>",
                "If-Modified-Since: <before>",
            ],
            NOT_MODIFIED,
        ),
        (
            &[
                "If-Match: <tag>",
                "If-Unmodified-Since: <before>",
                "If-None-Match: \"x\"",
                "If-Modified-Since: <date>",
            ],
            OK,
        ),
        (
            &[
                "If-Match: \"x\"",
                "If-Unmodified-Since: <date>",
                "If-None-Match: <tag>",
                "If-Modified-Since: <date>",
            ],
            PRECONDITION_FAILED,
        ),
    ];
    site.check(&rows);
    // The order of the field lines does not matter (section 5.3).
    for (lines, status) in rows {
        let reversed: Vec<&str> = lines.iter().rev().copied().collect();
        site.check(&[(&reversed, status)]);
    }
}

// RFC 9110 section 15.4.5.
#[test]
fn status_304_has_its_fields_and_no_content() {
    let site = Site::shared();
    let mut client = site.connect();
    for file in UNCHANGED_TARGETS.map(|target| site.cached(target)) {
        let get = client.get(file.target);
        for (method, line) in [
            ("GET", "If-None-Match: <tag>"),
            ("GET", "If-None-Match: *"),
            ("HEAD", "If-None-Match: <tag>"),
            ("GET", "If-Modified-Since: <date>"),
            ("HEAD", "If-Modified-Since: <date>"),
        ] {
            let response = client.request(method, file.target, &file.fill(&[line]));
            assert_eq!(response.status(), NOT_MODIFIED, "{method} {line}");
            // No Last-Modified beside a tag, and no field that describes content, as there is none.
            assert_eq!(names(&response), ["Cache-Control", "Date", "ETag"]);
            for name in ["Cache-Control", "ETag"] {
                assert_eq!(
                    response.field(name),
                    get.field(name),
                    "{name} is as in the 200"
                );
            }
        }
    }
    let fields = site
        .cached("/small.txt")
        .fill(&["If-None-Match: <tag>", "Connection: close"]);
    client.send(format!(
        "GET /small.txt HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
    ));
    assert_eq!(client.response_to_head().status(), NOT_MODIFIED);
    assert!(client.rest().is_empty());
}

// RFC 9110 section 15.5.13.
#[test]
fn failed_precondition_is_412_with_no_store() {
    let site = Site::shared();
    let mut client = site.connect();
    for line in ["If-Match: \"x\"", "If-Unmodified-Since: <before>"] {
        let fields = site.cached("/large").fill(&[line]);
        let response = client.request("GET", "/large", &fields);
        assert_eq!(response.status(), PRECONDITION_FAILED, "{line}");
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
        assert_eq!(
            response.field("Content-Type"),
            Some("text/html; charset=utf-8")
        );
        for name in ["ETag", "Last-Modified", "Accept-Ranges", "Connection"] {
            assert_eq!(response.field(name), None, "{response:?}");
        }
        assert!(
            response.text().contains(PRECONDITION_FAILED),
            "{response:?}"
        );
        assert!(response.content.len() < 1000, "{response:?}");
    }
}

// RFC 9110 section 13.2.1: preconditions apply only where the response would be 200 without them.
#[test]
fn preconditions_apply_only_where_response_would_be_200() {
    let site = Site::shared();
    let mut client = site.connect();
    for (method, target, status) in [
        ("GET", "/nothing", "404 Not Found"),
        ("HEAD", "/nothing", "404 Not Found"),
        ("GET", "/small.txt/", "404 Not Found"),
        ("GET", "/dir", "301 Moved Permanently"),
        ("HEAD", "/dir?a", "301 Moved Permanently"),
        ("GET", "/outside", "403 Forbidden"),
        ("OPTIONS", "/small.txt", "204 No Content"),
        ("POST", "/small.txt", "405 Method Not Allowed"),
        ("DELETE", "/small.txt", "405 Method Not Allowed"),
    ] {
        let plain = client.request(method, target, "");
        assert_eq!(plain.status(), status, "{method} {target}");
        assert_eq!(tag(&plain), None, "{method} {target}");
        assert_eq!(modified(&plain), None, "{method} {target}");
        for line in [
            "If-Match: *",
            "If-Match: \"x\"",
            "If-Match: ",
            "If-None-Match: *",
            "If-None-Match: <tag>",
            "If-Modified-Since: <date>",
            "If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT",
            "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            let fields = site.cached("/small.txt").fill(&[line]);
            let response = client.request(method, target, &fields);
            let (found, expected) = (response.undated(), plain.undated());
            assert_eq!(found, expected, "{method} {target}, {line}");
            assert!(
                response.content == plain.content,
                "{method} {target}, {line}"
            );
        }
    }
}

#[test]
fn connection_persists_after_304_and_412() {
    let site = Site::shared();
    let small = site.cached("/small.txt");
    let known = small.fill(&["If-None-Match: <tag>"]);
    let failed = small.fill(&["If-Match: \"x\""]);
    let mut client = site.connect();
    // Content of a GET is read and has no meaning (RFC 9110 section 9.3.1), whatever the response is.
    let counted = "Content-Length: 27\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let requests = [
        ("GET", format!("{known}\r\n"), NOT_MODIFIED),
        ("GET", format!("{failed}\r\n"), PRECONDITION_FAILED),
        ("GET", "\r\n".into(), OK),
        ("HEAD", format!("{known}\r\n"), NOT_MODIFIED),
        ("HEAD", format!("{failed}\r\n"), PRECONDITION_FAILED),
        ("GET", format!("{known}\r\n"), NOT_MODIFIED),
        ("GET", format!("{known}{counted}"), NOT_MODIFIED),
        ("GET", format!("{failed}{counted}"), PRECONDITION_FAILED),
        ("GET", format!("{known}{chunked}"), NOT_MODIFIED),
        ("GET", format!("{failed}{chunked}"), PRECONDITION_FAILED),
        ("HEAD", format!("{known}{chunked}"), NOT_MODIFIED),
        ("GET", "\r\n".into(), OK),
    ];
    // Sequentially, and pipelined.
    let all = requests
        .iter()
        .fold(String::new(), |all, (method, rest, _)| {
            all + &format!("{method} /small.txt HTTP/1.1\r\nHost: test\r\n{rest}")
        });
    for is_pipelined in [false, true] {
        if is_pipelined {
            client.send(&all);
        }
        for (method, rest, status) in &requests {
            if !is_pipelined {
                client.send(format!(
                    "{method} /small.txt HTTP/1.1\r\nHost: test\r\n{rest}"
                ));
            }
            let response = match *method {
                "HEAD" => client.response_to_head(),
                _ => client.response(),
            };
            assert_eq!(response.status(), *status, "{method}, {rest}");
            assert_eq!(response.field("Connection"), None, "{method}, {rest}");
            if *status == OK {
                assert!(response.content == small.content);
            }
        }
    }
    // A 304 needs no framing field, also in HTTP/1.0.
    for _ in 0..2 {
        let fields = format!("Connection: keep-alive\r\n{known}");
        let response = client.ask(format!("GET /small.txt HTTP/1.0\r\n{fields}\r\n"));
        assert_eq!(response.status(), NOT_MODIFIED);
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
}

/// Creates a small and a large file with this modification time, where a file system can represent it: ext4's times end
/// in 2446, those of tmpfs much later.
fn root_with_date(time: SystemTime) -> Option<Root> {
    let represents_it = |root: &Root| {
        for (name, len) in [("small", 500), ("large", MAX_IN_MEMORY_LEN + 1)] {
            root.write(name, pseudorandom_bytes(len));
            set_modified(&root.join(name), time);
        }
        let stat = fs::metadata(root.join("small")).and_then(|stat| stat.modified());
        stat.is_ok_and(|modified| modified == time)
    };
    let root = Some(Root::new()).filter(represents_it);
    root.or_else(|| Root::in_memory().filter(represents_it))
}

/// Checks the Last-Modified of a file with this modification time, and the status of requests with date preconditions.
fn check_date(
    time: SystemTime,
    last_modified: Option<SystemTime>,
    rows: &[(&str, SystemTime, &str)],
) {
    let Some(root) = root_with_date(time) else {
        eprintln!("SKIPPED: no file system here can represent {time:?}");
        return;
    };
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in ["/small", "/large"] {
        let response = get_tagged(&mut client, target);
        let expected = last_modified.map(fmt_http_date);
        let found = response.field("Last-Modified");
        assert_eq!(found, expected.as_deref(), "{time:?}");
        for (name, date, status) in rows {
            let fields = format!("{name}: {}\r\n", fmt_http_date(*date));
            let response = client.request("GET", target, &fields);
            assert_eq!(response.status(), *status, "{target} of {time:?}, {fields}");
        }
        let tag = tag(&response).expect("a validator");
        let fields = format!("If-None-Match: {tag}\r\n");
        let response = client.request("GET", target, &fields);
        assert_eq!(response.status(), NOT_MODIFIED, "{target} of {time:?}");
    }
}

const MODIFIED: &str = "If-Modified-Since";
const UNMODIFIED: &str = "If-Unmodified-Since";

// RFC 9110 section 8.8.2.2: a date is weak unless two versions cannot have the same date.
#[test]
fn manually_set_date_is_sent_but_never_yields_304() {
    for seconds in CONSTANT_DATES
        .into_iter()
        .chain([784_111_777, 1_700_000_000])
    {
        for millis in [0, 999] {
            let date = since_epoch(seconds);
            let mut rows = vec![
                (MODIFIED, date, OK),
                (MODIFIED, date + SECOND, OK),
                (MODIFIED, SystemTime::now(), OK),
                (UNMODIFIED, date, OK),
                (UNMODIFIED, date + SECOND, OK),
            ];
            if seconds > 0 {
                rows.push((MODIFIED, date - SECOND, OK));
                rows.push((UNMODIFIED, date - SECOND, PRECONDITION_FAILED));
            }
            check_date(date + Duration::from_millis(millis), Some(date), &rows);
        }
    }
}

// RFC 9110 section 5.6.7: years have four digits; docroot sends no dates before 1970.
#[test]
fn time_outside_http_date_range_has_etag_only() {
    let last = since_epoch(253_402_300_799);
    for time in [
        UNIX_EPOCH - SECOND,
        UNIX_EPOCH - Duration::from_millis(1),
        UNIX_EPOCH - SECOND * 1_000_000_000,
        last + SECOND,
        last + SECOND * 3600,
    ] {
        let rows: Vec<_> = [
            UNIX_EPOCH,
            since_epoch(784_111_777),
            SystemTime::now(),
            last,
        ]
        .into_iter()
        .flat_map(|date| [(MODIFIED, date, OK), (UNMODIFIED, date, OK)])
        .collect();
        check_date(time, None, &rows);
    }
}

// RFC 9110 section 8.8.2.1: never later than the response's own Date. Preconditions are compared with the date sent.
#[test]
fn future_modification_time_is_sent_as_current_date() {
    let root = Root::of(&[("small", "content")]);
    root.write("large", pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1));
    let server = Server::start(root.path());
    let mut client = server.connect();
    let now = SystemTime::now();
    let day = SECOND * 86_400;
    for name in ["small", "large"] {
        let target = format!("/{name}");
        set_modified(&root.join(name), now + day);
        let response = get_tagged(&mut client, &target);
        assert_eq!(response.field("Last-Modified"), response.field("Date"));
        let sent = modified(&response).expect("a validator");
        for (field, date, status) in [
            (MODIFIED, sent, OK),
            (MODIFIED, now + day, OK),
            (MODIFIED, now + day * 2, OK),
            (UNMODIFIED, sent - SECOND, PRECONDITION_FAILED),
            (UNMODIFIED, sent + SECOND * 3600, OK),
            (UNMODIFIED, now + day, OK),
            (UNMODIFIED, now + day * 2, OK),
        ] {
            let fields = format!("{field}: {}\r\n", fmt_http_date(date));
            let response = client.request("GET", &target, &fields);
            assert_eq!(response.status(), status, "{target}, {fields}");
        }
    }
}

// Reproducible builds give all files the same date, in every release.
#[test]
fn releases_with_equal_dates_are_distinguished() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    let release = |folder: &str, name: &str, content: &[u8], seconds| {
        let path = format!("{folder}/{name}");
        root.write(&path, content);
        set_modified(&root.join(path), since_epoch(seconds));
    };
    type Deploy<'a> = &'a dyn Fn(&str, &[u8], u64);
    let rewrite: Deploy<'_> = &|name, content, seconds| release("site", name, content, seconds);
    let rename: Deploy<'_> = &|name, content, seconds| {
        release("new", name, content, seconds);
        let (from, to) = (root.join("new").join(name), root.join("site").join(name));
        fs::rename(from, to).expect("the test owns this directory");
    };
    // A symbolic link to the directory is switched; the files stay as they are.
    let switch: Deploy<'_> = &|name, content, seconds| {
        let number = (0..).find(|number| !root.join(format!("{number}/{name}")).exists());
        let folder = number.expect("a free number").to_string();
        release(&folder, name, content, seconds);
        symlink(&folder, root.join("link")).expect("the test owns this directory");
        fs::rename(root.join("link"), root.join("current")).expect("the test owns this directory");
    };
    for (how, folder, deploy) in [
        ("rewritten", "site", rewrite),
        ("renamed", "site", rename),
        ("switched", "current", switch),
    ] {
        for (name, len) in [("small", 500), ("large", MAX_IN_MEMORY_LEN + 1)] {
            let target = format!("/{folder}/{name}");
            for (place, seconds) in CONSTANT_DATES.into_iter().enumerate() {
                deploy(name, &version(len, place * 2), seconds);
                let old = get_tagged(&mut client, &target);
                let date = old.field("Last-Modified").expect("a date").to_owned();
                assert_eq!(date, fmt_http_date(since_epoch(seconds)));
                let lines = [
                    format!("If-None-Match: {}\r\n", tag(&old).expect("a validator")),
                    format!("If-Modified-Since: {date}\r\n"),
                ];
                let new = version(len, place * 2 + 1);
                deploy(name, &new, seconds);
                for fields in [lines[0].clone(), lines[1].clone(), lines.concat()] {
                    let response = client.request("GET", &target, &fields);
                    assert_eq!(response.status(), OK, "{name} {how}, {fields}");
                    assert!(response.content == new, "{name} {how}, {fields}");
                }
            }
        }
    }
}

#[test]
fn restored_older_file_is_modified() {
    let site = Site::shared();
    let mut client = site.connect();
    for target in ["/rolled-small", "/rolled-large"] {
        let path = site.root.join(&target[1..]);
        let file = site.cached(target);
        let dated = file.fill(&["If-Modified-Since: <date>"]);
        let tagged = file.fill(&["If-None-Match: <tag>"]);
        for fields in [&dated, &tagged] {
            let response = client.request("GET", target, fields);
            assert_eq!(response.status(), NOT_MODIFIED, "{fields}");
        }
        // Same length, dated a day before the version that the client has.
        let old = version(file.content.len(), 1);
        let aside = site.root.join("aside");
        fs::rename(&path, &aside).expect("the test owns this directory");
        site.root.write("old", &old);
        set_modified(&site.root.join("old"), file.date - SECOND * 86_400);
        fs::rename(site.root.join("old"), &path).expect("the test owns this directory");
        for fields in [&dated, &tagged] {
            let response = client.request("GET", target, fields);
            assert_eq!(response.status(), OK, "{fields}");
            assert!(response.content == old, "{fields}");
        }
        // The first version is restored. The tag of a small file, made from its content, matches again.
        fs::rename(&aside, &path).expect("the test owns this directory");
        let response = client.request("GET", target, &dated);
        assert_eq!(response.status(), OK, "the rename has changed its ctime");
        assert!(response.content == file.content);
        if target == "/rolled-small" {
            assert_eq!(
                client.request("GET", target, &tagged).status(),
                NOT_MODIFIED
            );
        }
    }
}

#[test]
fn rewrite_within_a_second_is_modified() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 500), ("large", MAX_IN_MEMORY_LEN + 1)] {
        let target = format!("/{name}");
        for round in 0..10 {
            root.write(name, version(len, round));
            let old = client.get(&target);
            let known = [
                ("ETag", "If-None-Match"),
                ("Last-Modified", "If-Modified-Since"),
            ];
            let known = known.map(|(validator, precondition)| match old.field(validator) {
                Some(value) => format!("{precondition}: {value}\r\n"),
                None => String::new(),
            });
            let new = version(len, round + 1);
            root.write(name, &new);
            for fields in [&known[0], &known[1], &known.concat()] {
                let response = client.request("GET", &target, fields);
                assert_eq!(response.status(), OK, "{name} in round {round}, {fields}");
                assert!(response.content == new, "{name} in round {round}, {fields}");
            }
        }
    }
}
