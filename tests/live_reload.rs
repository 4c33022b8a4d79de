//! `--live-reload`: each change sends one event, and responses differ in nothing but the script.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use docroot::files::{Root as SiteRoot, Symlinks};
use docroot::http::{Lookup, Origin as _, Resource, StreamKind, Target};
use docroot::site::{Live, LiveReload, Site, SiteOptions, SiteShared};

use crate::support::{
    self, Client, Response, Root, Server, Signal, arguments, docroot, eventually, is_watched,
    pseudorandom_bytes,
};

const SCRIPT: &str = "<script src=\"/.docroot/live.js\" defer></script>";
const PAGE: &str = "<!doctype html><body><h1>Hello</h1></body></html>";

fn page_with_script() -> String {
    PAGE.replace("</body>", &format!("{SCRIPT}</body>"))
}

fn server_with_live_reload(root: &Root) -> Server {
    Server::with(root.path(), &["--live-reload"])
}

/// Client that reads an event stream.
struct EventStream {
    client: Client,
    head: Response,
    /// Text received and not yet parsed.
    text: String,
    /// Process and number of the last event's id.
    id: (String, u64),
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    name: String,
    data: String,
}

impl EventStream {
    /// Connects, and waits for `hello`: all later changes are received.
    fn open(server: &Server) -> Self {
        Self::at(server, "/.docroot/live")
    }

    fn at(server: &Server, target: &str) -> Self {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let head = client.response_to_head();
        assert_eq!(head.status(), "200 OK", "{head:?}");
        let mut stream = Self {
            client,
            head,
            text: String::new(),
            id: (String::new(), 0),
        };
        let hello = stream.event();
        assert_eq!(hello.name, "hello");
        stream
    }

    /// Returns the next event, without comments; `None` at the end of the stream.
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
            let chunk = self.client.read_chunk().expect("a chunk");
            if chunk.is_empty() {
                return None;
            }
            let text = std::str::from_utf8(&chunk).expect("text");
            self.text.push_str(text);
        }
    }

    fn event(&mut self) -> Event {
        self.next().expect("an event")
    }

    /// Asserts that the next event is a change of these paths (`*`: all), and that no number was skipped.
    fn expect_change(&mut self, paths: &str) {
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
fn each_change_sends_one_event() {
    let root = Root::of(&[("index.html", PAGE), ("a.css", "a"), ("b.html", PAGE)]);
    let outside = Root::of(&[("folder/file", "")]);
    root.write(".git/config", "");
    root.write("node_modules/it/index.js", "");
    let server = server_with_live_reload(&root);
    let stream = &mut EventStream::open(&server);
    let at = |path: &str| root.join(path);
    let rename = |from: &str, to: &str| fs::rename(at(from), at(to)).expect("a file");
    let remove = |path: &str| fs::remove_file(at(path)).expect("a file");

    // The server is stopped during changes of several calls: a pause between them would make several events.
    let write = |path: &str, content: &str| server.while_stopped(|| root.write(path, content));

    write("a.css", "b");
    stream.expect_change("/a.css");
    write("new \"ä\".html", "");
    stream.expect_change("/new%20%22%C3%A4%22.html");
    remove("new \"ä\".html");
    stream.expect_change("/new%20%22%C3%A4%22.html");
    rename("b.html", "c.html");
    stream.expect_change("/b.html /c.html");
    fs::set_permissions(at("c.html"), Permissions::from_mode(0o600)).expect("a file");
    stream.expect_change("/c.html");
    server.while_stopped(|| {
        let now = std::time::SystemTime::now();
        let touched = File::options().write(true).open(at("c.html"));
        touched
            .and_then(|file| file.set_modified(now))
            .expect("a file");
    });
    stream.expect_change("/c.html");

    // As editors save: by renaming another file into place; and as vim does, which first probes for permissions.
    server.while_stopped(|| {
        root.write("a.css.tmp", "c");
        rename("a.css.tmp", "a.css");
    });
    stream.expect_change("/a.css");
    server.while_stopped(|| {
        root.write("4913", "");
        remove("4913");
        rename("a.css", "a.css~");
        root.write("a.css", "d");
        remove("a.css~");
    });
    stream.expect_change("/a.css");

    // Hidden files and node_modules send no event.
    root.write(".a.css.swp", "");
    root.write(".git/config", "changed");
    root.write("node_modules/it/index.js", "changed");
    root.write(".cache/a", "");
    write("a.css", "e");
    stream.expect_change("/a.css");

    // Directories, with the files that they contain, and later changes there.
    write("d/e/f.html", "");
    stream.expect_change("/d/e/f.html");
    write("d/e/f.html", "changed");
    stream.expect_change("/d/e/f.html");
    rename("d", "g");
    stream.expect_change("/d /g/e/f.html");
    write("g/e/f.html", "changed again");
    stream.expect_change("/g/e/f.html");
    fs::rename(outside.join("folder"), at("g/in")).expect("a file");
    stream.expect_change("/g/in/file");
    fs::rename(at("g"), outside.join("g")).expect("a file");
    stream.expect_change("/g");
    outside.write("g/e/f.html", "elsewhere");
    symlink(outside.path(), at("link")).expect("a file");
    stream.expect_change("/link");
    outside.write("file", "elsewhere");
    write("h/file", "");
    stream.expect_change("/h/file");
    server.while_stopped(|| fs::remove_dir_all(at("h")).expect("a file"));
    stream.expect_change("/h/file");
    write("h/file", "");
    stream.expect_change("/h/file");
}

#[test]
fn simultaneous_changes_are_one_event_and_queue_overflow_reloads_all() {
    let root = Root::of(&[("index.html", PAGE), ("a.css", ""), ("b.css", "")]);
    let server = server_with_live_reload(&root);
    let stream = &mut EventStream::open(&server);
    // All files of a site are deleted and written anew while the server is stopped.
    for _ in 0..2 {
        server.while_stopped(|| {
            let _ = fs::remove_dir_all(root.join("dist"));
            for number in 0..1000 {
                root.write(format!("dist/{}/{number}.html", number % 7), PAGE);
            }
        });
        stream.expect_change("*");
    }
    server.while_stopped(|| {
        for number in (0..100).rev() {
            root.write(format!("dist/{number:02}"), "");
        }
    });
    let all: Vec<String> = (0..100)
        .map(|number| format!("/dist/{number:02}"))
        .collect();
    stream.expect_change(&all.join(" "));

    // More events than the kernel queues. It merges equal consecutive events, so these differ.
    let max = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("proc");
    let max: usize = max.trim().parse().expect("a number");
    if max > 100_000 {
        eprintln!("SKIPPED: overflowing a queue of {max} events takes too long");
        return;
    }
    server.while_stopped(|| {
        let open = |path| File::options().write(true).open(root.join(path));
        let files = ["a.css", "b.css"].map(|path| open(path).expect("a file"));
        for number in 0..=max {
            files[number % 2].write_at(b"x", 0).expect("a file");
        }
    });
    stream.expect_change("*");
    server.while_stopped(|| root.write("dist/1/1.html", ""));
    stream.expect_change("/dist/1/1.html");
}

#[test]
fn all_workers_send_same_event_ids() {
    let root = support::site();
    let server = Server::with(root.path(), &["--live-reload", "--workers", "3"]);
    let mut streams: Vec<EventStream> = (0..12).map(|_| EventStream::open(&server)).collect();
    server.while_stopped(|| root.write("a.css", ""));
    for stream in &mut streams {
        stream.expect_change("/a.css");
    }
    let id = streams[0].id.clone();
    assert!(streams.iter().all(|stream| stream.id == id));
    // A later client starts with that id.
    assert_eq!(EventStream::open(&server).id, id);
    // Another process has another random number.
    assert_ne!(
        EventStream::open(&server_with_live_reload(&root)).id.0,
        id.0
    );
}

#[test]
fn script_is_inserted_into_html_pages_only() {
    let root = Root::of(&[
        ("index.html", PAGE),
        ("index.html.gz", "sidecar"),
        ("404.html", "<p>nothing here"),
        ("style.css", "p { color: green }"),
        ("page.txt", PAGE),
        ("empty.html", ""),
    ]);
    root.write("wide.html", b"\xff\xfea\0");
    let large = [&vec![b' '; 300_000], PAGE.as_bytes()].concat();
    root.write("large.html", &large);
    root.write("larger.html", pseudorandom_bytes(9 * 1024 * 1024));
    root.backdate();
    let server = Server::with(root.path(), &["-L", "--compress"]);
    let plain = Server::start(root.path());
    // Twice: from the file, and from the cache.
    for _ in 0..2 {
        let own = server.ask("GET", "/", "Accept-Encoding: gzip, br\r\n");
        assert_eq!((own.status(), own.text()), ("200 OK", &*page_with_script()));
        assert_eq!(
            own.field("Content-Length"),
            Some(&*page_with_script().len().to_string())
        );
        assert_eq!(own.field("Content-Encoding"), None);
        assert_eq!(
            own.field("Last-Modified"),
            None,
            "the file's date does not apply"
        );
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
        assert_eq!(
            part.text(),
            &page_with_script()[page_with_script().len() - 20..]
        );

        let absent = server.ask("GET", "/nothing", "Accept: text/html\r\n");
        let expected = format!("<p>nothing here{SCRIPT}");
        assert_eq!(
            (absent.status(), absent.text()),
            ("404 Not Found", &*expected)
        );
        assert_eq!(server.get("/empty").text(), SCRIPT);
        let expected = [&vec![b' '; 300_000], page_with_script().as_bytes()].concat();
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
    let head = EventStream::open(&server).head;
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
fn script_is_inserted_into_404_page_and_spa_fallback() {
    let root = Root::of(&[("a.css", "")]);
    let server = server_with_live_reload(&root);
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
    assert_eq!(found.text(), page_with_script());

    let spa = Root::of(&[("index.html", PAGE)]);
    let server = Server::with(spa.path(), &["-L", "--spa"]);
    let found = server.ask("GET", "/some/where", "Accept: text/html\r\n");
    assert_eq!(
        (found.status(), found.text()),
        ("200 OK", &*page_with_script())
    );
}

#[test]
fn page_with_script_is_built_once_until_the_page_changes() {
    let root = Root::of(&[("index.html", PAGE), ("404.html", "<p>nothing")]);
    root.backdate();
    let open = SiteRoot::open(root.path(), &Symlinks::default()).expect("a directory");
    let site = Site::new(open, SiteOptions::default(), SiteShared::default());
    let mut site = Live::new(site, Some(LiveReload::new("")));
    let later = SystemTime::now() + Duration::from_secs(11);
    let mut find = |target: &str| {
        site.mark_stale(true);
        let target = Target::parse(target, None).expect("a target");
        match site.find(&target, later).lookup {
            Lookup::Found(page) | Lookup::NotFound(Some(page)) => page,
            other => panic!("{other:?}"),
        }
    };
    let text = |page: &Resource| {
        let content = page.representations[0].content.in_memory();
        String::from_utf8(content.expect("bytes").to_vec()).expect("text")
    };
    for (target, file, content) in [("/", "index.html", PAGE), ("/none", "404.html", "<p>none")] {
        let first = find(target);
        assert!(text(&first).contains(SCRIPT), "{target}");
        for _ in 0..3 {
            assert!(Arc::ptr_eq(&first, &find(target)), "{target}");
        }
        root.write(file, content.replace("</h1>", ", world</h1>"));
        let changed = find(target);
        assert_ne!(text(&changed), text(&first), "{target}");
        assert!(text(&changed).contains(SCRIPT), "{target}");
    }
}

#[test]
fn configured_types_and_fields_apply_to_script_and_generated_404_page() {
    let root = Root::of(&[
        ("a.css", ""),
        (
            "_headers",
            "/.docroot/live.js\n  Content-Type: text/javascript; charset=latin1\n\
             /page\n  Content-Type: text/html; charset=latin1\n",
        ),
    ]);
    let other = Root::of(&[("types", "text/html htmx\n")]);
    let types = other.join("types").display().to_string();
    let server = Server::with(root.path(), &["-L", "--mime-types", &types]);
    let script = server.get("/.docroot/live.js");
    let latin1_script = Some("text/javascript; charset=latin1");
    assert_eq!(script.field("Content-Type"), latin1_script);
    let page = server.ask("GET", "/page", "Accept: text/html\r\n");
    let latin1_page = Some("text/html; charset=latin1");
    assert_eq!(page.field("Content-Type"), latin1_page);
    assert!(page.text().contains(SCRIPT), "{page:?}");
    let typed = server.ask("GET", "/page.htmx", "Accept: text/html\r\n");
    assert!(typed.text().contains(SCRIPT), "{typed:?}");
}

#[test]
fn changed_page_is_served_after_its_event() {
    let root = support::site();
    let server = server_with_live_reload(&root);
    let stream = &mut EventStream::open(&server);
    for number in 0..5 {
        root.write("index.html", format!("<p>{number}"));
        stream.expect_change("/index.html");
        assert_eq!(server.get("/").text(), format!("<p>{number}{SCRIPT}"));
    }
}

#[test]
fn recreated_root_is_watched() {
    let outer = Root::of(&[("dist/index.html", "<p>old</p>")]);
    outer.backdate();
    let root = outer.join("dist");
    let server = Server::with(&root, &["-L"]);
    let mut stream = EventStream::open(&server);
    assert!(server.get("/").text().contains("old"));
    server.while_stopped(|| fs::remove_dir_all(&root).expect("a directory"));
    stream.expect_change("/index.html");
    server.while_stopped(|| outer.write("dist/index.html", "<p>new</p>"));
    stream.expect_change("*");
    assert!(server.get("/").text().contains("new"));
    server.while_stopped(|| outer.write("dist/other.html", "<p>other</p>"));
    stream.expect_change("/other.html");
}

#[test]
fn root_switched_before_it_is_watched_is_followed() {
    let outer = Root::of(&[("one/index.html", PAGE), ("two/index.html", PAGE)]);
    let switch = |release: &str| {
        symlink(release, outer.join("new")).expect("a link");
        fs::rename(outer.join("new"), outer.join("current")).expect("a link");
    };
    let open = || SiteRoot::open(&outer.join("current"), &Symlinks::default());
    switch("one");
    let root = open().expect("a directory");
    let site = open().expect("a directory");
    let site = Site::new(site, SiteOptions::default(), SiteShared::default());
    let live = LiveReload::new("");
    let mut site = Live::new(site, Some(live.clone()));
    let target = Target::parse("/.docroot/live", None).expect("a target");
    let mut stream = site
        .open_stream(&target, StreamKind::Events)
        .expect("a stream");
    switch("two");
    live.watch(root, false).expect("inotify");
    let mut text = Vec::new();
    let mut read_until = |event: &str| {
        eventually(event, || {
            site.read_stream(&mut stream, &mut text, Instant::now());
            let text = String::from_utf8_lossy(&text).into_owned();
            text.contains(event).then_some(text)
        })
    };
    read_until("event: hello");
    for release in ["one", "two"] {
        outer.write(Path::new(release).join(release), "");
    }
    let text = read_until("event: change");
    assert!(text.ends_with("data: {\"paths\":[\"/two\"]}\n\n"), "{text}");
}

#[test]
fn log_file_in_root_sends_no_event() {
    let root = support::site();
    let log = root.join("site.log").display().to_string();
    let script = format!("exec \"$0\" \"$@\" 2>>'{log}'");
    let server = Server::start_under(&["sh", "-c", &script], root.path(), &["-L", "-vv"]);
    let stream = &mut EventStream::open(&server);
    for _ in 0..3 {
        server.get("/");
    }
    let is_written = || {
        fs::metadata(&log)
            .is_ok_and(|log| log.len() > 0)
            .then_some(())
    };
    eventually("the log is written", is_written);
    root.write("a.css", "");
    stream.expect_change("/a.css");
}

#[test]
fn live_reload_paths_are_404_when_disabled() {
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
fn path_prefix_applies_to_live_reload_paths() {
    let root = Root::of(&[("index.html", PAGE)]);
    let server = Server::with(root.path(), &["-L", "--path-prefix", "/a b"]);
    let script = "<script src=\"/a%20b/.docroot/live.js\" defer></script></body>";
    let found = server.get("/a%20b/");
    assert!(found.text().contains(script), "{found:?}");
    assert_eq!(server.get("/a%20b/.docroot/live.js").status(), "200 OK");
    assert_eq!(server.get("/.docroot/live.js").status(), "404 Not Found");
    let mut stream = EventStream::at(&server, "/a%20b/.docroot/live");
    root.write("a.css", "");
    stream.expect_change("/a%20b/a.css");
}

#[test]
fn live_reload_paths_require_password() {
    let root = support::site();
    let hash = "$5$rounds=1000$saltstring$umnvV5ENMIJpXvGJuTfK5nTvAQp5cLHTDFjhHEWkVw5";
    let server = Server::with(root.path(), &["-L", "--auth", &format!("me:{hash}")]);
    for path in ["/.docroot/live", "/.docroot/live.js", "/"] {
        assert_eq!(server.get(path).status(), "401 Unauthorized");
    }
}

#[test]
fn event_stream_outlasts_idle_timeout_and_ends_with_server_or_client() {
    let root = support::site();
    let mut server = Server::with(root.path(), &["-L", "--idle-timeout", "500ms"]);
    let mut stream = EventStream::open(&server);
    let before = server.descriptors();
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status(), "200 OK");
    assert_eq!(idle.rest(), b"", "it is closed");
    server.while_stopped(|| root.write("a.css", ""));
    stream.expect_change("/a.css");

    // A client that closes, by FIN or RST, is noticed at once.
    let others: Vec<EventStream> = (0..10).map(|_| EventStream::open(&server)).collect();
    server.wait_for_descriptors(before + 10);
    drop(others);
    server.wait_for_descriptors(before);
    let mut other = EventStream::open(&server);
    other.client.shutdown_write();
    assert_eq!(other.next(), None);
    assert_eq!(other.client.rest(), b"");

    // A further request of a client waits for the end of the stream, which does not come.
    let mut other = EventStream::open(&server);
    other.client.send(support::GET);
    server.while_stopped(|| root.write("b.css", ""));
    other.expect_change("/b.css");
    stream.expect_change("/b.css");

    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(stream.next(), None);
    assert_eq!(stream.client.rest(), b"");
    assert!(server.wait_for_exit().success());
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "the stream does not delay shutdown"
    );
}

#[test]
fn blocking_content_security_policy_is_logged_once() {
    let root = Root::of(&[("index.html", PAGE), ("other.html", PAGE)]);
    // Elsewhere it says first that it may miss changes.
    if !is_watched(root.path()) {
        return;
    }
    let policy = "Content-Security-Policy: default-src 'none'; script-src 'self'";
    let server = Server::with(root.path(), &["-L", "-H", policy]);
    server.get("/");
    server.get("/other");
    let warning = server.stderr_line();
    assert!(
        warning.contains("/index.html") && warning.contains("add 'self' to its connect-src"),
        "{warning}"
    );
    assert_eq!(server.stderr_lines(), [""; 0]);
}

/// Creates a program that writes its arguments to `opened`, and returns its command line.
fn recording_browser(directory: &Root) -> String {
    let written = directory.join("opened").display().to_string();
    directory.write(
        "browser",
        format!("#!/bin/sh\necho \"$@\" > {written}.new\nmv {written}.new {written}\n"),
    );
    // (execve(2) fails with ETXTBSY while a child of another test still has the new file open. sh reads it.)
    format!("sh {}", directory.join("browser").display())
}

fn command_with_browser(root: &Path, browser: &str, options: &[&str]) -> Command {
    let mut command = docroot();
    command.env("BROWSER", browser);
    command.args(arguments(options)).arg(root);
    command
}

#[test]
fn open_starts_browser_with_listening_url() {
    let (root, directory) = (support::site(), Root::new());
    let browser = format!("{} --new %s:other", recording_browser(&directory));
    for (options, path) in [
        (&["--open"][..], ""),
        (&["-o", "--path-prefix", "a b"], "a%20b/"),
    ] {
        let server = Server::spawn(command_with_browser(root.path(), &browser, options));
        let opened = directory.join("opened");
        let arguments = eventually("the browser is started", || {
            fs::read_to_string(&opened).ok()
        });
        assert_eq!(
            arguments,
            format!("--new http://{}/{path}\n", server.address)
        );
        fs::remove_file(opened).expect("a file");
    }
    let server = Server::spawn(command_with_browser(
        root.path(),
        "/no/such/browser",
        &["--open"],
    ));
    let warning = server.stderr_line();
    assert!(
        warning.contains("/no/such/browser cannot open http://"),
        "{warning}"
    );
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn browser_is_not_opened_when_startup_fails() {
    let directory = Root::new();
    let browser = recording_browser(&directory);
    // The root is missing.
    let missing = directory.join("missing");
    let output = command_with_browser(&missing, &browser, &["--open"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    assert!(!directory.join("opened").exists());
    // The port is in use: the child that would start the browser exits.
    let server = Server::start(directory.path());
    let port = server.address.port().to_string();
    let mut command = docroot();
    command
        .env("BROWSER", &browser)
        .args(["--bind", "127.0.0.1", "--open"]);
    let child = command
        .args(["--port", &port])
        .arg(directory.path())
        .output();
    assert_eq!(child.expect("it runs").status.code(), Some(3));
    assert!(!directory.join("opened").exists());
}

#[test]
fn qr_code_is_refused_for_loopback_address() {
    let root = support::site();
    let server = Server::with(root.path(), &["--qr"]);
    let warning = server.stderr_line();
    assert!(
        warning.contains("cannot print the QR code: a phone cannot reach"),
        "{warning}"
    );
    drop(server);
}
