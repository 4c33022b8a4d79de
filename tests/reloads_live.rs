//! `--live-reload`: pages hear of each change to their site, once, and nothing else is different.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{self, Client, Response, Root, Server, Signal, docroot, eventually, filling};

const SCRIPT: &str = "<script src=\"/.docroot/live.js\" defer></script>";
const PAGE: &str = "<!doctype html><body><h1>Hello</h1></body></html>";

fn page() -> String {
    PAGE.replace("</body>", &format!("{SCRIPT}</body>"))
}

fn live(root: &Root) -> Server {
    Server::with(root.path(), &["--live-reload"])
}

/// A page that listens.
struct Page {
    client: Client,
    head: Response,
    /// What has come and has not been looked at.
    text: String,
    /// The process and the number that were told last.
    id: (String, u64),
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

impl Page {
    /// One that hears of all changes from now on.
    fn open(server: &Server) -> Self {
        Self::at(server, "/.docroot/live")
    }

    fn at(server: &Server, target: &str) -> Self {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let head = client.response_to_head();
        assert_eq!(head.status(), "200 OK", "{head:?}");
        let mut page = Self {
            client,
            head,
            text: String::new(),
            id: (String::new(), 0),
        };
        let hello = page.event();
        assert_eq!(hello.name, "hello");
        page
    }

    /// The next event, comments left out; `None` where the stream ends.
    fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name).map(str::to_owned))
                };
                let Some(name) = field("event: ") else {
                    continue;
                };
                let id = field("id: ").expect("a number");
                let (process, count) = id.split_once('-').expect("two");
                self.id = (process.into(), count.parse().expect("a number"));
                let data = field("data: ").expect("data");
                return Some(Event { name, data });
            }
            let mut size = String::new();
            while !size.ends_with("\r\n") {
                size.push(self.client.byte().expect("a chunk").into());
            }
            let size = usize::from_str_radix(size.trim_end(), 16).expect("a size");
            let chunk = self.client.bytes(size + 2);
            if size == 0 {
                return None;
            }
            let text = std::str::from_utf8(&chunk[..size]).expect("text");
            self.text.push_str(text);
        }
    }

    fn event(&mut self) -> Event {
        self.next().expect("an event")
    }

    /// The next change is of these addresses (`*` is everything), and the first since the last one.
    fn hears(&mut self, paths: &str) {
        let before = self.id.1;
        let event = self.event();
        let list = paths.split_whitespace().map(|path| format!("\"{path}\""));
        let list = match paths {
            "*" => "null".into(),
            _ => format!("[{}]", list.collect::<Vec<_>>().join(",")),
        };
        assert_eq!(event.data, format!("{{\"paths\":{list}}}"));
        assert_eq!((&*event.name, self.id.1), ("change", before + 1));
    }
}

#[test]
fn every_kind_of_change_is_one_event() {
    let root = Root::of(&[("index.html", PAGE), ("a.css", "a"), ("b.html", PAGE)]);
    let outside = Root::of(&[("folder/file", "")]);
    root.write(".git/config", "");
    root.write("node_modules/it/index.js", "");
    let server = live(&root);
    let page = &mut Page::open(&server);
    let at = |path: &str| root.join(path);
    let rename = |from: &str, to: &str| fs::rename(at(from), at(to)).expect("it is ours");
    let remove = |path: &str| fs::remove_file(at(path)).expect("it is ours");

    // What is done in several calls is done while it is stopped: a pause between them would make it several events.
    let write = |path: &str, content: &str| server.asleep(|| root.write(path, content));

    write("a.css", "b");
    page.hears("/a.css");
    write("new \"ä\".html", "");
    page.hears("/new%20%22%C3%A4%22.html");
    remove("new \"ä\".html");
    page.hears("/new%20%22%C3%A4%22.html");
    rename("b.html", "c.html");
    page.hears("/b.html /c.html");
    fs::set_permissions(at("c.html"), Permissions::from_mode(0o600)).expect("it is ours");
    page.hears("/c.html");
    server.asleep(|| {
        let now = std::time::SystemTime::now();
        let touched = File::options().write(true).open(at("c.html"));
        touched
            .and_then(|file| file.set_modified(now))
            .expect("it is ours");
    });
    page.hears("/c.html");

    // As editors save: into another file that takes its place; and as vim does, which tries first what it may.
    server.asleep(|| {
        root.write("a.css.tmp", "c");
        rename("a.css.tmp", "a.css");
    });
    page.hears("/a.css");
    server.asleep(|| {
        root.write("4913", "");
        remove("4913");
        rename("a.css", "a.css~");
        root.write("a.css", "d");
        remove("a.css~");
    });
    page.hears("/a.css");

    // Nobody is told of what nobody can see, or of what is nobody's work.
    root.write(".a.css.swp", "");
    root.write(".git/config", "changed");
    root.write("node_modules/it/index.js", "changed");
    root.write(".cache/a", "");
    write("a.css", "e");
    page.hears("/a.css");

    // Folders, with all that has come with them, and what happens there later.
    write("d/e/f.html", "");
    page.hears("/d/e/f.html");
    write("d/e/f.html", "changed");
    page.hears("/d/e/f.html");
    rename("d", "g");
    page.hears("/d /g/e/f.html");
    write("g/e/f.html", "changed again");
    page.hears("/g/e/f.html");
    fs::rename(outside.join("folder"), at("g/in")).expect("it is ours");
    page.hears("/g/in/file");
    fs::rename(at("g"), outside.join("g")).expect("it is ours");
    page.hears("/g");
    outside.write("g/e/f.html", "elsewhere");
    symlink(outside.path(), at("link")).expect("it is ours");
    page.hears("/link");
    outside.write("file", "elsewhere");
    write("h/file", "");
    page.hears("/h/file");
    server.asleep(|| fs::remove_dir_all(at("h")).expect("it is ours"));
    page.hears("/h/file");
    write("h/file", "");
    page.hears("/h/file");
}

#[test]
fn what_comes_together_is_one_event_and_what_is_lost_is_everything() {
    let root = Root::of(&[("index.html", PAGE), ("a.css", ""), ("b.css", "")]);
    let server = live(&root);
    let page = &mut Page::open(&server);
    // Every file of a site, deleted and written anew, while nobody listens who could tell when.
    for _ in 0..2 {
        server.asleep(|| {
            let _ = fs::remove_dir_all(root.join("dist"));
            for number in 0..1000 {
                root.write(format!("dist/{}/{number}.html", number % 7), PAGE);
            }
        });
        page.hears("*");
    }
    server.asleep(|| {
        for number in (0..100).rev() {
            root.write(format!("dist/{number:02}"), "");
        }
    });
    let all: Vec<String> = (0..100)
        .map(|number| format!("/dist/{number:02}"))
        .collect();
    page.hears(&all.join(" "));

    // More than the kernel keeps. Equal events in a row are one, so these differ.
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("proc");
    let most: usize = most.trim().parse().expect("a number");
    if most > 100_000 {
        eprintln!("SKIPPED: it takes long to make the kernel lose {most} events");
        return;
    }
    server.asleep(|| {
        let open = |path| File::options().write(true).open(root.join(path));
        let files = ["a.css", "b.css"].map(|path| open(path).expect("it is ours"));
        for number in 0..=most {
            files[number % 2].write_at(b"x", 0).expect("it is ours");
        }
    });
    page.hears("*");
    server.asleep(|| root.write("dist/1/1.html", ""));
    page.hears("/dist/1/1.html");
}

#[test]
fn all_workers_tell_the_same() {
    let root = support::site();
    let server = Server::with(root.path(), &["--live-reload", "--workers", "3"]);
    let mut pages: Vec<Page> = (0..12).map(|_| Page::open(&server)).collect();
    server.asleep(|| root.write("a.css", ""));
    for page in &mut pages {
        page.hears("/a.css");
    }
    let id = pages[0].id.clone();
    assert!(pages.iter().all(|page| page.id == id));
    // Who comes later begins there.
    assert_eq!(Page::open(&server).id, id);
    // Another process draws another number.
    assert_ne!(Page::open(&live(&root)).id.0, id.0);
}

#[test]
fn pages_are_sent_with_the_script_and_files_are_left_alone() {
    let root = Root::of(&[
        ("index.html", PAGE),
        ("index.html.gz", "sibling"),
        ("404.html", "<p>nothing here"),
        ("style.css", "p { color: green }"),
        ("page.txt", PAGE),
        ("empty.html", ""),
    ]);
    root.write("wide.html", b"\xff\xfea\0");
    let large = [&vec![b' '; 300_000], PAGE.as_bytes()].concat();
    root.write("large.html", &large);
    root.write("larger.html", filling(9 * 1024 * 1024));
    root.date_back();
    let server = Server::with(root.path(), &["-L", "--compress"]);
    let plain = Server::start(root.path());
    // Twice: from the disk, and from memory.
    for _ in 0..2 {
        let own = server.ask("GET", "/", "Accept-Encoding: gzip, br\r\n");
        assert_eq!((own.status(), own.text()), ("200 OK", &*page()));
        assert_eq!(
            own.field("Content-Length"),
            Some(&*page().len().to_string())
        );
        assert_eq!(own.field("Content-Encoding"), None);
        assert_eq!(own.field("Last-Modified"), None, "it is the file's");
        let tag = own.field("ETag").expect("a tag").to_owned();
        assert_ne!(plain.get("/").field("ETag"), Some(&*tag));
        let head = server.ask("HEAD", "/", "");
        assert_eq!(head.undated(), server.get("/").undated());
        let known = server.ask("GET", "/", &format!("If-None-Match: {tag}\r\n"));
        assert_eq!(known.status(), "304 Not Modified");
        let since = "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
        assert_eq!(server.ask("GET", "/", since).status(), "200 OK");
        let part = server.ask(
            "GET",
            "/",
            &format!("Range: bytes=-20\r\nIf-Range: {tag}\r\n"),
        );
        assert_eq!(part.status(), "206 Partial Content");
        assert_eq!(part.text(), &page()[page().len() - 20..]);

        let absent = server.ask("GET", "/nothing", "Accept: text/html\r\n");
        let expected = format!("<p>nothing here{SCRIPT}");
        assert_eq!(
            (absent.status(), absent.text()),
            ("404 Not Found", &*expected)
        );
        assert_eq!(server.get("/empty").text(), SCRIPT);
        let expected = [&vec![b' '; 300_000], page().as_bytes()].concat();
        assert!(server.get("/large.html").content == expected);
        for path in ["/style.css", "/page.txt", "/wide.html", "/larger.html"] {
            let (own, other) = (server.get(path), plain.get(path));
            assert_eq!(own.undated(), other.undated());
            assert!(own.content == other.content, "{path}");
        }
    }
    assert_eq!(
        fs::read(root.join("index.html")).expect("a file"),
        PAGE.as_bytes()
    );

    let script = server.get("/.docroot/live.js");
    assert_eq!(
        script.field("Content-Type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(script.field("Cache-Control"), Some("no-cache"));
    let tag = format!(
        "If-None-Match: {}\r\n",
        script.field("ETag").expect("a tag")
    );
    let known = server.ask("GET", "/.docroot/live.js", &tag);
    assert_eq!(known.status(), "304 Not Modified");
    let head = Page::open(&server).head;
    assert_eq!(head.field("Content-Type"), Some("text/event-stream"));
    assert_eq!(head.field("Cache-Control"), Some("no-store"));
    assert_eq!(head.field("Content-Length"), None);
    let head = server.ask("HEAD", "/.docroot/live", "");
    assert_eq!(head.field("Content-Type"), Some("text/event-stream"));
    for path in [
        "/.docroot",
        "/.docroot/",
        "/.docroot/live/",
        "/.docroot/other",
    ] {
        assert_eq!(server.get(path).status(), "404 Not Found", "{path}");
    }
}

#[test]
fn the_page_that_says_that_nothing_is_there_hears_of_what_comes_there() {
    let root = Root::of(&[("a.css", "")]);
    let server = live(&root);
    let absent = server.ask("GET", "/page", "Accept: text/html\r\n");
    assert_eq!(absent.status(), "404 Not Found");
    assert!(absent.text().contains(SCRIPT), "{absent:?}");
    assert_eq!(absent.field("Cache-Control"), Some("no-store"));
    let part = server.get("/missing.css");
    assert_eq!(
        part.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    root.write("page.html", PAGE);
    let found = server.ask("GET", "/page", "Accept: text/html\r\n");
    assert_eq!(found.text(), page());

    let shell = Root::of(&[("index.html", PAGE)]);
    let server = Server::with(shell.path(), &["-L", "--spa"]);
    let found = server.ask("GET", "/some/where", "Accept: text/html\r\n");
    assert_eq!((found.status(), found.text()), ("200 OK", &*page()));
}

#[test]
fn a_changed_page_is_sent_as_it_is_now() {
    let root = support::site();
    let server = live(&root);
    let page = &mut Page::open(&server);
    for number in 0..5 {
        root.write("index.html", format!("<p>{number}"));
        page.hears("/index.html");
        assert_eq!(server.get("/").text(), format!("<p>{number}{SCRIPT}"));
    }
}

#[test]
fn a_root_that_is_removed_and_made_anew_is_followed() {
    let outer = Root::of(&[("dist/index.html", "<p>old</p>")]);
    outer.date_back();
    let root = outer.join("dist");
    let server = Server::with(&root, &["-L"]);
    let mut page = Page::open(&server);
    assert!(server.get("/").text().contains("old"));
    server.asleep(|| fs::remove_dir_all(&root).expect("a folder of ours"));
    page.hears("/index.html");
    server.asleep(|| outer.write("dist/index.html", "<p>new</p>"));
    page.hears("*");
    assert!(server.get("/").text().contains("new"));
    server.asleep(|| outer.write("dist/other.html", "<p>other</p>"));
    page.hears("/other.html");
}

#[test]
fn what_the_server_writes_itself_is_no_change() {
    let root = support::site();
    let log = root.join("site.log").display().to_string();
    let script = format!("exec \"$0\" \"$@\" 2>>'{log}'");
    let server = Server::upon(&["sh", "-c", &script], root.path(), &["-L", "-vv"]);
    let page = &mut Page::open(&server);
    for _ in 0..3 {
        server.get("/");
    }
    let said = || {
        fs::metadata(&log)
            .is_ok_and(|log| log.len() > 0)
            .then_some(())
    };
    eventually("it says who has come", said);
    root.write("a.css", "");
    page.hears("/a.css");
}

#[test]
fn off_it_is_not_there() {
    let root = Root::of(&[("index.html", PAGE)]);
    let server = Server::start(root.path());
    assert!(server.announcement.contains("\"live_reload\":false"));
    assert_eq!(server.get("/").text(), PAGE);
    for path in ["live", "live.js"] {
        let absent = server.get(&format!("/.docroot/{path}"));
        assert_eq!(absent.status(), "404 Not Found");
        assert_eq!(
            absent.undated(),
            server.get(&format!("/.other/{path}")).undated()
        );
    }
}

#[test]
fn a_prefix_is_before_its_addresses_too() {
    let root = Root::of(&[("index.html", PAGE)]);
    let server = Server::with(root.path(), &["-L", "--path-prefix", "/a b"]);
    let script = "<script src=\"/a%20b/.docroot/live.js\" defer></script></body>";
    let found = server.get("/a%20b/");
    assert!(found.text().contains(script), "{found:?}");
    assert_eq!(server.get("/a%20b/.docroot/live.js").status(), "200 OK");
    assert_eq!(server.get("/.docroot/live.js").status(), "404 Not Found");
    let mut page = Page::at(&server, "/a%20b/.docroot/live");
    root.write("a.css", "");
    page.hears("/a%20b/a.css");
}

#[test]
fn who_may_not_see_the_site_hears_nothing_of_it() {
    let root = support::site();
    let hash = "$5$rounds=1000$saltstring$umnvV5ENMIJpXvGJuTfK5nTvAQp5cLHTDFjhHEWkVw5";
    let server = Server::with(root.path(), &["-L", "--auth", &format!("me:{hash}")]);
    for path in ["/.docroot/live", "/.docroot/live.js", "/"] {
        assert_eq!(server.get(path).status(), "401 Unauthorized");
    }
}

#[test]
fn a_stream_outlives_idle_ones_and_ends_with_the_server_or_its_peer() {
    let root = support::site();
    let mut server = Server::with(root.path(), &["-L", "--idle-timeout", "500ms"]);
    let mut page = Page::open(&server);
    let before = server.descriptors();
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status(), "200 OK");
    assert_eq!(idle.rest(), b"", "it is hung up on");
    server.asleep(|| root.write("a.css", ""));
    page.hears("/a.css");

    // Who leaves is noticed at once, whether in order or not.
    let others: Vec<Page> = (0..10).map(|_| Page::open(&server)).collect();
    server.holds(before + 10);
    drop(others);
    server.holds(before);
    let mut other = Page::open(&server);
    other.client.finish();
    assert_eq!(other.next(), None);
    assert_eq!(other.client.rest(), b"");

    // What a client says besides waits for the end that never comes.
    let mut other = Page::open(&server);
    other.client.send(support::GET);
    server.asleep(|| root.write("b.css", ""));
    other.hears("/b.css");
    page.hears("/b.css");

    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(page.next(), None);
    assert_eq!(page.client.rest(), b"");
    assert!(server.ended().success());
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "nobody waits for it"
    );
}

#[test]
fn a_policy_that_does_not_let_it_is_named_once() {
    let root = Root::of(&[("index.html", PAGE), ("other.html", PAGE)]);
    let policy = "Content-Security-Policy: default-src 'none'; script-src 'self'";
    let server = Server::with(root.path(), &["-L", "-H", policy]);
    server.get("/");
    server.get("/other");
    let said = server.complaint();
    assert!(
        said.contains("/index.html") && said.contains("add 'self' to its connect-src"),
        "{said}"
    );
    assert_eq!(server.complaints(), [""; 0]);
}

/// A program that writes down with what it was started.
fn browser(folder: &Root) -> String {
    let written = folder.join("opened").display().to_string();
    folder.write(
        "browser",
        format!("#!/bin/sh\necho \"$@\" > {written}.new\nmv {written}.new {written}\n"),
    );
    // (What a test has just written cannot be executed while a child of another one still has it open.)
    format!("sh {}", folder.join("browser").display())
}

fn opening(root: &Path, browser: &str, options: &[&str]) -> Command {
    let mut command = docroot();
    command.env("BROWSER", browser);
    command.args(["--bind", "127.0.0.1", "--port", "0"]);
    command.args(options).arg(root);
    command
}

#[test]
fn the_browser_is_opened_where_it_listens() {
    let (root, folder) = (support::site(), Root::new());
    let browser = format!("{} --new %s:other", browser(&folder));
    for (options, path) in [
        (&["--open"][..], ""),
        (&["-o", "--path-prefix", "a b"], "a%20b/"),
    ] {
        let server = Server::spawn(opening(root.path(), &browser, options));
        let opened = folder.join("opened");
        let said = eventually("it is opened", || fs::read_to_string(&opened).ok());
        assert_eq!(said, format!("--new http://{}/{path}\n", server.address));
        fs::remove_file(opened).expect("it is ours");
    }
    let server = Server::spawn(opening(root.path(), "/no/such/browser", &["--open"]));
    let said = server.complaint();
    assert!(
        said.contains("/no/such/browser has not opened http://"),
        "{said}"
    );
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn a_browser_that_never_opens_is_not_left_behind() {
    let folder = Root::new();
    let browser = browser(&folder);
    // The folder is missing, so there is nothing to be opened.
    let missing = folder.join("missing");
    let output = opening(&missing, &browser, &["--open"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert!(!folder.join("opened").exists());
    // The port is taken: the browser was ready, and hears that nothing will come.
    let server = Server::start(folder.path());
    let port = server.address.port().to_string();
    let mut command = docroot();
    command
        .env("BROWSER", &browser)
        .args(["--bind", "127.0.0.1", "--open"]);
    let child = command.args(["--port", &port]).arg(folder.path()).output();
    assert_eq!(child.expect("it runs").status.code(), Some(3));
    assert!(!folder.join("opened").exists());
}

#[test]
fn no_phone_reaches_the_loopback() {
    let root = support::site();
    let server = Server::with(root.path(), &["--qr"]);
    let said = server.complaint();
    assert!(said.contains("no QR code: no phone can reach"), "{said}");
    drop(server);
}
