//! Who has a file is told so and not sent it again; who has another is never told so.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Client, Response, Root, Server, asctime, eventually, filling, rfc850};
use httpdate::{fmt_http_date, parse_http_date};

/// Files up to this length are read into memory, larger ones are sent by the kernel.
const IN_MEMORY: usize = 64 * 1024;

/// For how long after a change a large file has no tag, because another change could hide behind it.
const TICK: Duration = Duration::from_millis(20);

const SECOND: Duration = Duration::from_secs(1);

const OK: &str = "200 OK";
const NOT_MODIFIED: &str = "304 Not Modified";
const FAILED: &str = "412 Precondition Failed";

/// Dates that all files of a release may have: the epoch, `SOURCE_DATE_EPOCH=1`, the first day of ZIP,
/// what npm and some others take.
const CONSTANT: [u64; 4] = [0, 1, 315_532_800, 946_702_800];

/// One small file, one large, one behind a folder, one without content.
const STEADY: [&str; 4] = ["/small.txt", "/large", "/dir/", "/empty"];

/// Files that were written more than a second ago, so that their dates prove something. Making them
/// takes that second, so the tests that run at the same time share them, and change none but those
/// that are theirs.
struct Site {
    address: SocketAddr,
    /// Kept, and locked because its output can be read by one thread only.
    _server: Mutex<Server>,
    root: Root,
    known: Vec<Known>,
}

/// What a peer knows of a file that it has.
struct Known {
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
            ("/small.txt", "small.txt", filling(500)),
            ("/large", "large", filling(IN_MEMORY + 1)),
            ("/dir/", "dir/index.html", b"<p>dir".to_vec()),
            ("/empty", "empty", vec![]),
            ("/rolled-small", "rolled-small", filling(500)),
            ("/rolled-large", "rolled-large", filling(IN_MEMORY + 1)),
        ];
        for (_, path, content) in &files {
            root.write(path, content);
        }
        symlink("/etc/passwd", root.join("outside")).expect("a folder of ours");
        let server = Server::start(root.path());
        let mut client = server.connect();
        let known = files.map(|(target, _, content)| {
            let response = eventually("its second is over", || {
                let response = client.get(target);
                let is_known = ["ETag", "Last-Modified"].map(|name| response.field(name).is_some());
                (is_known == [true, true]).then_some(response)
            });
            Known {
                target,
                content,
                tag: tag(&response).expect("it is there").to_owned(),
                date: modified(&response).expect("it is there"),
            }
        });
        Self {
            address: server.address,
            _server: Mutex::new(server),
            root,
            known: known.into(),
        }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn known(&self, target: &str) -> &Known {
        let mut known = self.known.iter();
        known.find(|known| known.target == target).expect("a file")
    }

    /// Sends preconditions for files of each kind, and compares the status. All on one connection, so
    /// that whatever is sent too much or too little is taken for a part of the next head.
    fn check(&self, rows: &[(&[&str], &str)]) {
        for target in STEADY {
            let file = self.known(target);
            let mut client = self.connect();
            for (lines, status) in rows {
                let fields = file.fill(lines);
                let get = ask(&mut client, "GET", target, &fields);
                assert_eq!(get.status(), *status, "{target}, {fields}");
                match *status {
                    OK => assert!(get.content == file.content, "{target}, {fields}"),
                    NOT_MODIFIED => assert_eq!(get.field("Content-Length"), None, "{get:?}"),
                    _ => assert!(get.text().contains(status), "{get:?}"),
                }
                // RFC 9110 section 9.3.2: the same fields as if it had been GET.
                let head = ask(&mut client, "HEAD", target, &fields);
                let (get, head) = (without_date(&get.head), without_date(&head.head));
                assert_eq!(head, get, "{target}, {fields}");
            }
            assert!(client.get(target).content == file.content, "{target}");
        }
    }
}

impl Known {
    /// Field lines in which what stands for a validator of this file is that.
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

/// Asks for a target with these field lines, each with its CRLF.
fn ask(client: &mut Client, method: &str, target: &str, fields: &str) -> Response {
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
    ));
    match method {
        "HEAD" => client.response_to_head(),
        _ => client.response(),
    }
}

/// A head without the one line that may differ between two of them.
fn without_date(head: &str) -> String {
    let differs = |line: &&str| !line.starts_with("Date: ");
    head.split_inclusive("\r\n").filter(differs).collect()
}

/// The names of a head's fields, sorted.
fn names(response: &Response) -> Vec<&str> {
    let lines = response.head.lines().skip(1);
    let mut names: Vec<&str> = lines
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    names.sort_unstable();
    names
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("a file of ours");
}

fn since_epoch(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Content of this length, another one for every number.
fn version(len: usize, number: usize) -> Vec<u8> {
    let mut content = filling(len);
    for (byte, digit) in content.iter_mut().zip(number.to_be_bytes()) {
        *byte = digit;
    }
    content
}

/// When the file was last changed in any way.
fn changed(path: &Path) -> SystemTime {
    let stat = fs::metadata(path).expect("a file of ours");
    let second = since_epoch(stat.ctime().try_into().expect("after 1970"));
    second + Duration::from_nanos(stat.ctime_nsec().try_into().expect("after it"))
}

/// A GET, repeated until its answer has a tag.
fn get_tagged(client: &mut Client, target: &str) -> Response {
    eventually("it has a tag", || {
        let response = client.get(target);
        tag(&response).is_some().then_some(response)
    })
}

// RFC 9110 section 8.8.3.
#[test]
fn every_file_has_a_strong_tag() {
    let site = Site::shared();
    let mut client = site.connect();
    for known in STEADY.map(|target| site.known(target)) {
        let Some(opaque) = known
            .tag
            .strip_prefix('"')
            .and_then(|tag| tag.strip_suffix('"'))
        else {
            panic!("{} is no strong tag", known.tag);
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        assert!(
            opaque.bytes().all(is_plain) && !opaque.is_empty(),
            "{opaque}"
        );
        assert!(known.tag.len() <= 64, "{opaque}");
        for method in ["GET", "HEAD"] {
            let response = ask(&mut client, method, known.target, "");
            assert_eq!(response.status(), OK);
            assert_eq!(
                tag(&response),
                Some(&*known.tag),
                "{method} {}",
                known.target
            );
        }
    }
}

#[test]
fn a_folder_has_the_validators_of_its_index() {
    let site = Site::shared();
    let mut client = site.connect();
    let index = client.get("/dir/index.html");
    let folder = site.known("/dir/");
    assert_eq!(tag(&index), Some(&*folder.tag));
    assert_eq!(modified(&index), Some(folder.date));
    for target in [
        "/dir/",
        "/dir/?query",
        "/dir/index.html",
        "http://test/dir/",
    ] {
        for lines in [["If-None-Match: <tag>"], ["If-Modified-Since: <date>"]] {
            let response = ask(&mut client, "GET", target, &folder.fill(&lines));
            assert_eq!(response.status(), NOT_MODIFIED, "{target}, {lines:?}");
        }
    }
}

// RFC 9110 section 8.8.3.2 compares tags, whoever gave them.
#[test]
fn the_same_content_has_the_same_tag_on_every_replica() {
    const LENGTHS: [usize; 6] = [0, 1, 240, 4096, IN_MEMORY - 1, IN_MEMORY];
    let (here, there) = (Root::new(), Root::new());
    for (place, len) in LENGTHS.into_iter().enumerate() {
        let content = version(len, place);
        here.write(format!("{len}.html"), &content);
        there.write(format!("{len}.html"), &content);
        // By a time, a name, a type and a length of path of their own.
        there.write(format!("folder/of/its/own/{len}"), &content);
        let time = since_epoch(CONSTANT[place % 4]);
        set_modified(&there.join(format!("{len}.html")), time);
    }
    let servers = [Server::start(here.path()), Server::start(there.path())];
    let [mut one, mut other] = servers.each_ref().map(Server::connect);
    let mut seen = Vec::new();
    for len in LENGTHS {
        let page = format!("/{len}.html");
        let answer = one.get(&page);
        let expected = tag(&answer)
            .expect("small files always have one")
            .to_owned();
        assert_eq!(tag(&other.get(&page)), Some(&*expected), "{page}");
        let elsewhere = format!("/folder/of/its/own/{len}");
        assert_eq!(tag(&other.get(&elsewhere)), Some(&*expected), "{elsewhere}");
        let known = format!("If-None-Match: {expected}\r\n");
        let response = ask(&mut other, "GET", &page, &known);
        assert_eq!(response.status(), NOT_MODIFIED, "{page}");
        assert!(!seen.contains(&expected), "{len} bytes");
        seen.push(expected);
    }
}

#[test]
fn what_is_done_to_a_small_file_but_not_to_its_bytes_leaves_its_tag() {
    let root = Root::of(&[("file", "content")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    let path = root.join("file");
    let first = client.get("/file");
    let first = tag(&first).expect("small files always have one").to_owned();
    let touched = |what: &str, client: &mut Client| {
        assert_eq!(tag(&client.get("/file")), Some(&*first), "{what}");
        let response = ask(
            client,
            "GET",
            "/file",
            &format!("If-None-Match: {first}\r\n"),
        );
        assert_eq!(response.status(), NOT_MODIFIED, "{what}");
    };
    set_modified(&path, SystemTime::now());
    touched("touch", &mut client);
    set_modified(&path, since_epoch(1));
    touched("touch -d", &mut client);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("a file of ours");
    touched("chmod", &mut client);
    fs::hard_link(&path, root.join("link")).expect("a folder of ours");
    touched("ln", &mut client);
    root.write("new", "content");
    fs::rename(root.join("new"), &path).expect("a folder of ours");
    touched("mv", &mut client);
    root.write("file", "content");
    touched("the same once more", &mut client);
    root.write("file", "CONTENT");
    assert_ne!(tag(&client.get("/file")), Some(&*first));
}

#[test]
fn a_large_file_has_no_tag_until_another_change_would_be_seen() {
    let root = Root::new();
    let path = root.join("file");
    let server = Server::start(root.path());
    let mut client = server.connect();
    // A machine that is slower than a tick sees nothing, so it is tried more than once.
    let mut observed = 0;
    for round in 0..20 {
        root.write("file", version(IN_MEMORY + 1, round));
        let response = client.get("/file");
        if changed(&path) + TICK > SystemTime::now() {
            assert_eq!(tag(&response), None, "{response:?}");
            observed += 1;
        }
    }
    if observed == 0 {
        eprintln!("skipped: no answer came within {TICK:?} of a write");
    }
    let response = get_tagged(&mut client, "/file");
    let age = SystemTime::now().duration_since(changed(&path));
    assert!(age.expect("it is in the past") >= TICK, "{response:?}");
    // Any change of the file could be one of its bytes.
    let fields = format!(
        "If-None-Match: {}\r\n",
        tag(&response).expect("it is there")
    );
    set_modified(&path, since_epoch(1));
    assert_eq!(ask(&mut client, "GET", "/file", &fields).status(), OK);
}

#[test]
fn a_tag_is_never_that_of_another_content() {
    const ROUNDS: usize = 60;
    let root = Root::of(&[("small", ""), ("large", "")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 500), ("large", IN_MEMORY + 1)] {
        let target = format!("/{name}");
        let path = root.join(name);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for round in 0..ROUNDS {
            // As long and as old as the one before, in place and in its place, within one tick of the
            // clock or not.
            let content = version(len, round);
            if round % 2 == 0 {
                fs::write(&path, &content).expect("a file of ours");
                set_modified(&path, since_epoch(1));
            } else {
                root.write("new", &content);
                set_modified(&root.join("new"), since_epoch(1));
                fs::rename(root.join("new"), &path).expect("a folder of ours");
            }
            let all = seen.keys().fold(String::new(), |all, tag| all + tag + ", ");
            let fields = format!("If-None-Match: {all}\r\n");
            let response = ask(&mut client, "GET", &target, &fields);
            assert_eq!(response.status(), OK, "{name} is known in round {round}");
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

// RFC 9110 section 8.8.2: within its second, a date would be that of other bytes, too.
#[test]
fn a_date_is_told_when_its_second_is_over() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 5), ("large", IN_MEMORY + 1)] {
        let target = format!("/{name}");
        // A second may end between the writing and the answer, but not every time.
        let date = eventually("an answer within the second", || {
            root.write(name, filling(len));
            let stat = fs::metadata(root.join(name)).and_then(|stat| stat.modified());
            let date = stat.expect("a file of ours");
            let known = format!("If-Modified-Since: {}\r\n", fmt_http_date(date));
            let responses = [
                client.get(&target),
                ask(&mut client, "GET", &target, &known),
            ];
            if fmt_http_date(SystemTime::now()) != fmt_http_date(date) {
                return None;
            }
            for response in responses {
                assert_eq!(response.status(), OK);
                assert_eq!(modified(&response), None, "{response:?}");
            }
            Some(date)
        });
        let told = eventually("its second is over", || modified(&client.get(&target)));
        assert_eq!(fmt_http_date(told), fmt_http_date(date));
        assert!(SystemTime::now() >= told + SECOND);
    }
}

// The kernel says when in ticks (10 ms at the most), so what is written when a second has just begun
// can be dated in the one before, and written again in the same tick, with the same date.
#[test]
fn a_date_is_told_a_tick_after_its_second() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 5), ("large", IN_MEMORY + 1)] {
        root.write(name, filling(len));
        let target = format!("/{name}");
        let told = eventually("its second is over", || modified(&client.get(&target)));
        let age = SystemTime::now().duration_since(told + SECOND);
        assert!(
            age.is_ok_and(|age| age >= TICK),
            "{name} was told too early"
        );
    }
}

// RFC 9110 sections 13.1.1, by strong comparison, and 13.1.2, by weak comparison.
#[test]
fn tags_are_compared() {
    let site = Site::shared();
    let many = "\"x\", ".repeat(200) + "<tag>";
    for (list, strongly, weakly) in [
        ("<tag>", true, true),
        ("W/<tag>", false, true),
        ("*", true, true),
        ("\"x\"", false, false),
        ("W/\"x\"", false, false),
        ("\"\"", false, false),
        // Part of a tag, more than the tag, another tag in its quotes.
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
        // Between its quotes a tag may have a comma; a backslash there is one (section 8.8.3).
        ("\"a,b\", <tag>", true, true),
        ("\",\", <tag>", true, true),
        ("\"a\\\", <tag>", true, true),
        ("\"\\\", <tag>, \"\\\"", true, true),
        ("\"*\", \"W/\"", false, false),
        ("\"caf\u{e9}\", <tag>", true, true),
        ("\"a,<tag>", false, false),
        // There, but nothing in it.
        ("", false, false),
        (" \t ", false, false),
        (",", false, false),
        (", ,", false, false),
        // What is no tag is like nothing.
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
        let matched = if strongly { OK } else { FAILED };
        let none_matched = if weakly { NOT_MODIFIED } else { OK };
        site.check(&[
            (&[&format!("If-Match: {list}")], matched),
            (&[&format!("If-None-Match: {list}")], none_matched),
        ]);
    }
}

// RFC 9110 section 5.2: several lines of a field are one list.
#[test]
fn a_list_of_tags_may_be_in_several_lines() {
    Site::shared().check(&[
        (&["If-Match: \"x\"", "If-Match: <tag>"], OK),
        (
            &["If-Match: \"x\"", "if-match: \"y\"", "IF-MATCH:<tag>\t"],
            OK,
        ),
        (&["If-Match: <tag>", "If-Match: "], OK),
        (
            &["If-Match: \"x\"", "Accept: */*", "If-Match: W/<tag>"],
            FAILED,
        ),
        (&["If-Match: ", "If-Match: "], FAILED),
        (
            &["If-None-Match: \"x\"", "If-None-Match: W/<tag>"],
            NOT_MODIFIED,
        ),
        (
            &["If-None-Match: ", "if-none-match:\"x\",<tag>"],
            NOT_MODIFIED,
        ),
        (&["If-None-Match: \"x\"", "If-None-Match: \"y\""], OK),
        // No tag is made of two lines.
        (&["If-Match: W/", "If-Match: \"x\""], FAILED),
    ]);
}

// RFC 9110 sections 13.1.3 and 13.1.4; the forms of a date in section 5.6.7.
#[test]
fn dates_are_compared() {
    let site = Site::shared();
    for (date, modified, unmodified) in [
        // Only the very date: an earlier file may have been put in its place.
        ("<date>", NOT_MODIFIED, OK),
        ("<before>", OK, FAILED),
        ("<after>", OK, OK),
        ("Thu, 01 Jan 1970 00:00:00 GMT", OK, FAILED),
        ("Fri, 31 Dec 9999 23:59:59 GMT", OK, OK),
        ("<rfc850>", NOT_MODIFIED, OK),
        ("<rfc850 before>", OK, FAILED),
        // A year that seems to be more than 50 years in the future was in the past.
        ("Sunday, 06-Nov-94 08:49:37 GMT", OK, FAILED),
        ("<asctime>", NOT_MODIFIED, OK),
        ("<asctime before>", OK, FAILED),
        ("Sun Nov  6 08:49:37 1994", OK, FAILED),
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

// RFC 9110 sections 13.1.3 and 13.1.4 want fields ignored that are no date.
#[test]
fn what_is_no_date_is_ignored() {
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
        // What Netscape sent.
        |date| format!("{date}; length=500"),
        |date| format!("{date}, {date}"),
        |date| format!("{date} {date}"),
        |date| date.replace(' ', "  "),
        // The 32nd day, the 25th hour, the 61st minute, month and year as they are not written.
        |date| format!("{}32{}", &date[..5], &date[7..]),
        |date| format!("{}24{}", &date[..17], &date[19..]),
        |date| format!("{}60{}", &date[..20], &date[22..]),
        |date| format!("{}{}", &date[..12], &date[14..]),
    ];
    for target in ["/small.txt", "/large"] {
        let file = site.known(target);
        let mut client = site.connect();
        for (place, mangle) in mangle.iter().enumerate() {
            let date = mangle(&fmt_http_date(file.date));
            let before = mangle(&fmt_http_date(file.date - SECOND));
            let fields = format!("If-Modified-Since: {date}\r\nIf-Unmodified-Since: {before}\r\n");
            let response = ask(&mut client, "GET", target, &fields);
            assert_eq!(response.status(), OK, "{place}: {fields}");
        }
    }
    // What comes twice is no date either (section 5.3), and not the one or the other of two.
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
fn preconditions_are_evaluated_in_their_order() {
    let site = Site::shared();
    let rows: [(&[&str], &str); 26] = [
        // Beside If-Match, If-Unmodified-Since is nothing.
        (&["If-Match: <tag>", "If-Unmodified-Since: <before>"], OK),
        (&["If-Match: *", "If-Unmodified-Since: <before>"], OK),
        (&["If-Match: \"x\"", "If-Unmodified-Since: <date>"], FAILED),
        (&["If-Match: ", "If-Unmodified-Since: <after>"], FAILED),
        (&["If-Match: soon", "If-Unmodified-Since: <after>"], FAILED),
        // What fails, fails before anything is found to be known.
        (&["If-Match: <tag>", "If-None-Match: <tag>"], NOT_MODIFIED),
        (&["If-Match: <tag>", "If-None-Match: \"x\""], OK),
        (&["If-Match: *", "If-None-Match: *"], NOT_MODIFIED),
        (&["If-Match: \"x\"", "If-None-Match: <tag>"], FAILED),
        (&["If-Match: \"x\"", "If-None-Match: \"x\""], FAILED),
        (&["If-Match: W/<tag>", "If-None-Match: W/<tag>"], FAILED),
        (
            &["If-Match: <tag>", "If-Modified-Since: <date>"],
            NOT_MODIFIED,
        ),
        (&["If-Match: \"x\"", "If-Modified-Since: <date>"], FAILED),
        (
            &["If-Unmodified-Since: <before>", "If-None-Match: <tag>"],
            FAILED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-None-Match: <tag>"],
            NOT_MODIFIED,
        ),
        (
            &["If-Unmodified-Since: <before>", "If-Modified-Since: <date>"],
            FAILED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-Modified-Since: <date>"],
            NOT_MODIFIED,
        ),
        (
            &["If-Unmodified-Since: <date>", "If-Modified-Since: <before>"],
            OK,
        ),
        // Beside If-None-Match, If-Modified-Since is nothing.
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
            FAILED,
        ),
    ];
    site.check(&rows);
    // Their order in the request says nothing (section 5.3).
    for (lines, status) in rows {
        let reversed: Vec<&str> = lines.iter().rev().copied().collect();
        site.check(&[(&reversed, status)]);
    }
}

// RFC 9110 section 15.4.5.
#[test]
fn what_is_known_is_answered_by_a_head_and_no_more() {
    let site = Site::shared();
    let mut client = site.connect();
    for known in STEADY.map(|target| site.known(target)) {
        let get = client.get(known.target);
        for (method, line) in [
            ("GET", "If-None-Match: <tag>"),
            ("GET", "If-None-Match: *"),
            ("HEAD", "If-None-Match: <tag>"),
            ("GET", "If-Modified-Since: <date>"),
            ("HEAD", "If-Modified-Since: <date>"),
        ] {
            let response = ask(&mut client, method, known.target, &known.fill(&[line]));
            assert_eq!(response.status(), NOT_MODIFIED, "{method} {line}");
            // Not Last-Modified beside a tag; nothing that describes content, of which there is none.
            assert_eq!(names(&response), ["Cache-Control", "Date", "ETag"]);
            for name in ["Cache-Control", "ETag"] {
                assert_eq!(response.field(name), get.field(name), "{name} as in 200");
            }
        }
    }
    let fields = site
        .known("/small.txt")
        .fill(&["If-None-Match: <tag>", "Connection: close"]);
    client.send(format!(
        "GET /small.txt HTTP/1.1\r\nHost: test\r\n{fields}\r\n"
    ));
    assert_eq!(client.response_to_head().status(), NOT_MODIFIED);
    assert!(client.rest().is_empty());
}

// RFC 9110 section 15.5.13.
#[test]
fn what_fails_is_answered_by_a_page_that_nobody_keeps() {
    let site = Site::shared();
    let mut client = site.connect();
    for line in ["If-Match: \"x\"", "If-Unmodified-Since: <before>"] {
        let fields = site.known("/large").fill(&[line]);
        let response = ask(&mut client, "GET", "/large", &fields);
        assert_eq!(response.status(), FAILED, "{line}");
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
        assert_eq!(
            response.field("Content-Type"),
            Some("text/html; charset=utf-8")
        );
        for name in ["ETag", "Last-Modified", "Accept-Ranges", "Connection"] {
            assert_eq!(response.field(name), None, "{response:?}");
        }
        assert!(response.text().contains(FAILED), "{response:?}");
        assert!(response.content.len() < 1000, "{response:?}");
    }
}

// RFC 9110 section 13.2.1: only where the answer would be 200 without them.
#[test]
fn preconditions_for_what_is_not_there_are_ignored() {
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
        let plain = ask(&mut client, method, target, "");
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
            let fields = site.known("/small.txt").fill(&[line]);
            let response = ask(&mut client, method, target, &fields);
            let (found, expected) = (without_date(&response.head), without_date(&plain.head));
            assert_eq!(found, expected, "{method} {target}, {line}");
            assert!(
                response.content == plain.content,
                "{method} {target}, {line}"
            );
        }
    }
}

#[test]
fn the_connection_goes_on() {
    let site = Site::shared();
    let small = site.known("/small.txt");
    let known = small.fill(&["If-None-Match: <tag>"]);
    let failed = small.fill(&["If-Match: \"x\""]);
    let mut client = site.connect();
    // Content is read and means nothing (RFC 9110 section 9.3.1), whatever comes of the request.
    let counted = "Content-Length: 27\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let requests = [
        ("GET", format!("{known}\r\n"), NOT_MODIFIED),
        ("GET", format!("{failed}\r\n"), FAILED),
        ("GET", "\r\n".into(), OK),
        ("HEAD", format!("{known}\r\n"), NOT_MODIFIED),
        ("HEAD", format!("{failed}\r\n"), FAILED),
        ("GET", format!("{known}\r\n"), NOT_MODIFIED),
        ("GET", format!("{known}{counted}"), NOT_MODIFIED),
        ("GET", format!("{failed}{counted}"), FAILED),
        ("GET", format!("{known}{chunked}"), NOT_MODIFIED),
        ("GET", format!("{failed}{chunked}"), FAILED),
        ("HEAD", format!("{known}{chunked}"), NOT_MODIFIED),
        ("GET", "\r\n".into(), OK),
    ];
    // One by one, and all at once.
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
    // HTTP/1.0 has none of the fields that end a 304, and none is needed.
    for _ in 0..2 {
        let fields = format!("Connection: keep-alive\r\n{known}");
        let response = client.ask(format!("GET /small.txt HTTP/1.0\r\n{fields}\r\n"));
        assert_eq!(response.status(), NOT_MODIFIED);
        assert_eq!(response.field("Connection"), Some("keep-alive"));
    }
}

/// A small and a large file with this modification time, where there is a file system that can say it:
/// ext4's times end in 2446, those of one in memory hardly ever.
fn dated(time: SystemTime) -> Option<Root> {
    let shared = Path::new("/dev/shm");
    let shared = || shared.is_dir().then(|| Root::within(shared));
    let says_it = |root: &Root| {
        for (name, len) in [("small", 500), ("large", IN_MEMORY + 1)] {
            root.write(name, filling(len));
            set_modified(&root.join(name), time);
        }
        let stat = fs::metadata(root.join("small")).and_then(|stat| stat.modified());
        stat.is_ok_and(|modified| modified == time)
    };
    let root = Some(Root::new()).filter(says_it);
    root.or_else(|| shared().filter(says_it))
}

/// Which date a file has that was put there with this modification time, and what becomes of the
/// preconditions that name it or one beside it.
fn check_date(time: SystemTime, told: Option<SystemTime>, rows: &[(&str, SystemTime, &str)]) {
    let Some(root) = dated(time) else {
        eprintln!("skipped: no file system here has {time:?}");
        return;
    };
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in ["/small", "/large"] {
        let response = get_tagged(&mut client, target);
        let expected = told.map(fmt_http_date);
        let found = response.field("Last-Modified");
        assert_eq!(found, expected.as_deref(), "{time:?}");
        for (name, date, status) in rows {
            let fields = format!("{name}: {}\r\n", fmt_http_date(*date));
            let response = ask(&mut client, "GET", target, &fields);
            assert_eq!(response.status(), *status, "{target} of {time:?}, {fields}");
        }
        let tag = tag(&response).expect("it is there");
        let fields = format!("If-None-Match: {tag}\r\n");
        let response = ask(&mut client, "GET", target, &fields);
        assert_eq!(response.status(), NOT_MODIFIED, "{target} of {time:?}");
    }
}

const MODIFIED: &str = "If-Modified-Since";
const UNMODIFIED: &str = "If-Unmodified-Since";

// RFC 9110 section 8.8.2.2: a date is weak unless nobody can have given it to two states.
#[test]
fn a_date_that_was_set_by_hand_is_told_and_proves_nothing() {
    for seconds in CONSTANT.into_iter().chain([784_111_777, 1_700_000_000]) {
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
                rows.push((UNMODIFIED, date - SECOND, FAILED));
            }
            check_date(date + Duration::from_millis(millis), Some(date), &rows);
        }
    }
}

// RFC 9110 section 5.6.7: a year of four digits; HTTP dates are not before 1970 here.
#[test]
fn a_time_that_no_date_can_say_is_ignored_and_the_tag_is_not() {
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

// RFC 9110 section 8.8.2.1: never later than the response's own Date. What is told is what counts.
#[test]
fn a_file_from_the_future_is_dated_now() {
    let root = Root::of(&[("small", "content")]);
    root.write("large", filling(IN_MEMORY + 1));
    let server = Server::start(root.path());
    let mut client = server.connect();
    let now = SystemTime::now();
    let day = SECOND * 86_400;
    for name in ["small", "large"] {
        let target = format!("/{name}");
        set_modified(&root.join(name), now + day);
        let response = get_tagged(&mut client, &target);
        assert_eq!(response.field("Last-Modified"), response.field("Date"));
        let told = modified(&response).expect("it is there");
        for (field, date, status) in [
            (MODIFIED, told, OK),
            (MODIFIED, now + day, OK),
            (MODIFIED, now + day * 2, OK),
            (UNMODIFIED, told - SECOND, FAILED),
            (UNMODIFIED, told + SECOND * 3600, OK),
            (UNMODIFIED, now + day, OK),
            (UNMODIFIED, now + day * 2, OK),
        ] {
            let fields = format!("{field}: {}\r\n", fmt_http_date(date));
            let response = ask(&mut client, "GET", &target, &fields);
            assert_eq!(response.status(), status, "{target}, {fields}");
        }
    }
}

// Builds that can be reproduced give all their files one date, and two of them the same.
#[test]
fn two_releases_with_the_same_dates_are_never_taken_for_each_other() {
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
        fs::rename(from, to).expect("a folder of ours");
    };
    // The folder itself, by a link: nothing is done to the files.
    let switch: Deploy<'_> = &|name, content, seconds| {
        let number = (0..).find(|number| !root.join(format!("{number}/{name}")).exists());
        let folder = number.expect("there is no end of numbers").to_string();
        release(&folder, name, content, seconds);
        symlink(&folder, root.join("link")).expect("a folder of ours");
        fs::rename(root.join("link"), root.join("current")).expect("a folder of ours");
    };
    for (how, folder, deploy) in [
        ("rewritten", "site", rewrite),
        ("renamed", "site", rename),
        ("switched", "current", switch),
    ] {
        for (name, len) in [("small", 500), ("large", IN_MEMORY + 1)] {
            let target = format!("/{folder}/{name}");
            for (place, seconds) in CONSTANT.into_iter().enumerate() {
                deploy(name, &version(len, place * 2), seconds);
                let old = get_tagged(&mut client, &target);
                let date = old.field("Last-Modified").expect("it is told").to_owned();
                assert_eq!(date, fmt_http_date(since_epoch(seconds)));
                let lines = [
                    format!("If-None-Match: {}\r\n", tag(&old).expect("it is there")),
                    format!("If-Modified-Since: {date}\r\n"),
                ];
                let new = version(len, place * 2 + 1);
                deploy(name, &new, seconds);
                for fields in [lines[0].clone(), lines[1].clone(), lines.concat()] {
                    let response = ask(&mut client, "GET", &target, &fields);
                    assert_eq!(response.status(), OK, "{name} {how}, {fields}");
                    assert!(response.content == new, "{name} {how}, {fields}");
                }
            }
        }
    }
}

#[test]
fn an_older_file_that_is_put_back_is_another_one() {
    let site = Site::shared();
    let mut client = site.connect();
    for target in ["/rolled-small", "/rolled-large"] {
        let path = site.root.join(&target[1..]);
        let file = site.known(target);
        let dated = file.fill(&["If-Modified-Since: <date>"]);
        let tagged = file.fill(&["If-None-Match: <tag>"]);
        for fields in [&dated, &tagged] {
            let response = ask(&mut client, "GET", target, fields);
            assert_eq!(response.status(), NOT_MODIFIED, "{fields}");
        }
        // Of the same length, from the day before: earlier than what the peer has.
        let old = version(file.content.len(), 1);
        let aside = site.root.join("aside");
        fs::rename(&path, &aside).expect("a folder of ours");
        site.root.write("old", &old);
        set_modified(&site.root.join("old"), file.date - SECOND * 86_400);
        fs::rename(site.root.join("old"), &path).expect("a folder of ours");
        for fields in [&dated, &tagged] {
            let response = ask(&mut client, "GET", target, fields);
            assert_eq!(response.status(), OK, "{fields}");
            assert!(response.content == old, "{fields}");
        }
        // Back again. What is known by its content is known again.
        fs::rename(&aside, &path).expect("a folder of ours");
        let response = ask(&mut client, "GET", target, &dated);
        assert_eq!(response.status(), OK, "its name was changed later");
        assert!(response.content == file.content);
        if target == "/rolled-small" {
            assert_eq!(
                ask(&mut client, "GET", target, &tagged).status(),
                NOT_MODIFIED
            );
        }
    }
}

#[test]
fn what_is_written_again_within_a_second_is_another_one() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, len) in [("small", 500), ("large", IN_MEMORY + 1)] {
        let target = format!("/{name}");
        for round in 0..10 {
            root.write(name, version(len, round));
            let old = client.get(&target);
            let known = [
                ("ETag", "If-None-Match"),
                ("Last-Modified", "If-Modified-Since"),
            ];
            let known = known.map(|(told, asked)| match old.field(told) {
                Some(validator) => format!("{asked}: {validator}\r\n"),
                None => String::new(),
            });
            let new = version(len, round + 1);
            root.write(name, &new);
            for fields in [&known[0], &known[1], &known.concat()] {
                let response = ask(&mut client, "GET", &target, fields);
                assert_eq!(response.status(), OK, "{name} in round {round}, {fields}");
                assert!(response.content == new, "{name} in round {round}, {fields}");
            }
        }
    }
}
