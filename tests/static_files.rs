//! Static files: content, media types, dates, indexes, redirects, methods and error pages.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::sync::mpsc::{TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::{
    Client, Response, Root, Server, Signal, arguments, docroot, eventually, pseudorandom_bytes,
    set_modified, since_epoch,
};
use rustix::process::{Pid, kill_process};

/// Files up to this length in bytes are sent from memory, larger ones with sendfile(2).
const MAX_IN_MEMORY_LEN: usize = 64 * 1024;

/// More bytes than the socket buffers of both sides hold, so that the server blocks in the middle of the file until the
/// client reads.
const LARGE_LEN: usize = 32 << 20;

/// Returns the value of `Content-Length`.
fn content_length(response: &Response) -> usize {
    let length = response.field("Content-Length").expect("a length");
    length.parse().expect("a number")
}

#[test]
fn signals_do_not_interrupt_response() {
    // A file of this length is sent from memory, and a signal interrupts the kernel's send.
    let (root, content) = (Root::new(), pseudorandom_bytes(1_500_000));
    root.write("a.bin", &content);
    root.backdate();
    let server = Server::with(root.path(), &["--workers", "1"]);
    let pid = server.pid().cast_signed();
    let pid = Pid::from_raw(pid).expect("a process");
    let (sender, receiver) = channel::<()>();
    let signals = thread::spawn(move || {
        while receiver.try_recv() == Err(TryRecvError::Empty) {
            kill_process(pid, Signal::USR1).expect("the server runs");
        }
    });
    let mut client = server.connect();
    for _ in 0..150 {
        assert!(client.get("/a.bin").content == content);
    }
    drop(sender);
    signals.join().expect("the server outlives the thread");
}

#[test]
fn file_is_sent_unchanged() {
    let root = Root::of(&[("index.html", "<p>hello"), ("a/b.txt", "text")]);
    let server = Server::start(root.path());
    let response = server.get("/a/b.txt");
    assert_eq!(response.status(), "200 OK");
    assert_eq!(response.text(), "text");
    assert_eq!(
        response.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(response.field("Content-Length"), Some("4"));
    assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(response.field("Connection"), None);
    assert_eq!(server.get("/").text(), "<p>hello");
}

#[test]
fn extension_determines_media_type() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (name, expected) in [
        ("page.html", "text/html; charset=utf-8"),
        ("PAGE.HTM", "text/html; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        // RFC 9239: the only type for scripts, modules included.
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("notes.txt", "text/plain; charset=utf-8"),
        ("notes.md", "text/markdown; charset=utf-8"),
        ("data.csv", "text/csv; charset=utf-8"),
        ("data.json", "application/json"),
        ("figure.svg", "image/svg+xml"),
        ("photo.png", "image/png"),
        ("photo.jpg", "image/jpeg"),
        ("photo.webp", "image/webp"),
        ("photo.avif", "image/avif"),
        ("film.mp4", "video/mp4"),
        ("font.woff2", "font/woff2"),
        ("paper.pdf", "application/pdf"),
        ("app.wasm", "application/wasm"),
        ("archive.tar.gz", "application/gzip"),
        ("README", "application/octet-stream"),
        ("folder.html/README", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
    ] {
        root.write(name, "content");
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.status(), "200 OK", "{name}");
        assert_eq!(response.field("Content-Type"), Some(expected), "{name}");
        assert_eq!(
            response.field("X-Content-Type-Options"),
            Some("nosniff"),
            "{name}"
        );
    }
}

#[test]
fn date_is_current_imf_fixdate() {
    let root = Root::of(&[("a", "a")]);
    let server = Server::start(root.path());
    // (It is the time of the event loop's turn, which may be long on a slow machine.)
    let is_current = (0..3).any(|_| {
        let before = SystemTime::now();
        let response = server.get("/a");
        let after = SystemTime::now();
        let text = response.field("Date").expect("a date");
        let date = httpdate::parse_http_date(text).expect("an HTTP date");
        // Of the three forms only IMF-fixdate may be sent (RFC 9110 section 5.6.7).
        assert_eq!(text, httpdate::fmt_http_date(date));
        assert!(date <= after, "{text}");
        date + Duration::from_secs(1) >= before
    });
    assert!(is_current);
}

#[test]
fn last_modified_is_mtime_of_file() {
    let root = Root::of(&[("small", "a")]);
    root.write("large", pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1));
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (seconds, expected) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
    ] {
        for path in ["small", "large"] {
            // Rounded down: never later than the modification time.
            set_modified(
                &root.join(path),
                since_epoch(seconds) + Duration::from_millis(999),
            );
            let response = client.get(&format!("/{path}"));
            assert_eq!(response.field("Last-Modified"), Some(expected), "{path}");
        }
    }
    root.write("fresh", "a");
    let modified = fs::metadata(root.join("fresh")).and_then(|stat| stat.modified());
    let expected = httpdate::fmt_http_date(modified.expect("a time"));
    // Within its second, another version could have the same date.
    eventually("its second is over", || {
        let response = client.get("/fresh");
        let date = response.field("Last-Modified")?;
        assert_eq!(date, expected);
        let [now, then] = [response.field("Date"), Some(date)]
            .map(|date| httpdate::parse_http_date(date.expect("a date")).expect("an HTTP date"));
        assert!(now > then);
        Some(())
    });
}

#[test]
fn mtime_before_1970_is_omitted_and_future_mtime_is_clamped() {
    let root = Root::of(&[("past", "a"), ("future", "a")]);
    set_modified(&root.join("past"), UNIX_EPOCH - Duration::from_secs(1));
    set_modified(
        &root.join("future"),
        SystemTime::now() + Duration::from_secs(86_400),
    );
    let server = Server::start(root.path());
    assert_eq!(server.get("/past").field("Last-Modified"), None);
    // A time later than Date is replaced by it (RFC 9110 section 8.8.2.1).
    let response = server.get("/future");
    assert_eq!(response.field("Last-Modified"), response.field("Date"));
}

#[test]
fn files_of_any_size_are_sent_intact() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for len in [
        0,
        1,
        4095,
        4096,
        4097,
        MAX_IN_MEMORY_LEN - 1,
        MAX_IN_MEMORY_LEN,
        MAX_IN_MEMORY_LEN + 1,
        (5 << 20) + 3,
    ] {
        let content = pseudorandom_bytes(len);
        root.write("file", &content);
        let response = client.get("/file");
        assert_eq!(response.status(), "200 OK", "{len} bytes");
        assert_eq!(content_length(&response), len);
        assert!(response.content == content, "{len} bytes");
    }
}

#[test]
fn five_gibibyte_file_is_served() {
    let root = Root::of(&[("small", "a")]);
    let beginning = pseudorandom_bytes(1 << 20);
    root.write("file", &beginning);
    let file = File::options().write(true).open(root.join("file"));
    file.and_then(|file| file.set_len(5 << 30))
        .expect("a sparse file");
    root.backdate();
    let server = Server::without_cache(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/small");
    eventually("there is an ETag", || {
        let head = neighbour.request("HEAD", "/file", "");
        head.field("ETag").map(|_| ())
    });
    let descriptors = server.descriptors();

    let mut client = server.connect();
    client.send("HEAD /file HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(head.field("Content-Length"), Some("5368709120"));
    client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.response_to_head();
    assert_eq!(response.undated(), head.undated());
    assert!(client.bytes(beginning.len()) == beginning);
    assert!(
        server.descriptors() > descriptors,
        "the socket and the file are open"
    );
    drop(client);

    assert_eq!(neighbour.get("/small").text(), "a");
    eventually("socket and file are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
}

#[test]
fn large_downloads_do_not_block_other_requests() {
    const LEN: u64 = 256 << 20;
    const STEP: usize = 1 << 20;
    let root = Root::of(&[("index.html", "a")]);
    let block = pseudorandom_bytes(100_000);
    let file = File::create_new(root.join("file")).expect("a file");
    file.set_len(LEN).expect("a sparse file");
    for start in (12_345..LEN - 100_000).step_by(15 << 20) {
        file.write_all_at(&block, start).expect("room on the disk");
    }
    let server = Server::start(root.path());
    let address = server.address;
    let path = root.join("file");
    let fetch = || {
        let mut client = Client::connect(address);
        client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
        let response = client.response_to_head();
        assert_eq!(response.field("Content-Length"), Some("268435456"));
        let file = File::open(&path).expect("a file");
        let mut expected = vec![0; STEP];
        for start in (0..LEN).step_by(STEP) {
            file.read_exact_at(&mut expected, start).expect("a file");
            assert!(client.bytes(STEP) == expected, "after {start} bytes");
        }
    };
    thread::scope(|scope| {
        let fetches: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        let mut client = server.connect();
        let mut answered = 0;
        let mut slowest = Duration::ZERO;
        while fetches.iter().any(|fetch| !fetch.is_finished()) {
            let start = Instant::now();
            assert_eq!(client.get("/").text(), "a");
            slowest = slowest.max(start.elapsed());
            answered += 1;
        }
        // Speed depends on the machine; but no request waits for the end of a download.
        assert!(answered > 10, "{answered} responses, slowest {slowest:?}");
    });
}

#[test]
fn any_file_name_can_be_requested() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    let longest = "x".repeat(255);
    for (name, target) in [
        (&b"plain"[..], "/plain"),
        ("k\u{f6}ln.txt".as_bytes(), "/k%C3%B6ln.txt"),
        ("k\u{f6}ln.txt".as_bytes(), "/k%c3%b6ln.txt"),
        // Not a URI (RFC 3986 section 2), but simple clients send it.
        ("k\u{f6}ln.txt".as_bytes(), "/k\u{f6}ln.txt"),
        ("\u{65e5}\u{672c}.txt".as_bytes(), "/%E6%97%A5%E6%9C%AC.txt"),
        (b"a b.txt", "/a%20b.txt"),
        (b"a+b.txt", "/a+b.txt"),
        (b"100%.txt", "/100%25.txt"),
        // Decoded once: the second is not another spelling of the first.
        (b"%41.txt", "/%2541.txt"),
        (b"A.txt", "/%41.txt"),
        (b"a?b.txt", "/a%3Fb.txt"),
        (b"a#b.txt", "/a%23b.txt"),
        (b"a\\b.txt", "/a%5Cb.txt"),
        (b"a;b=c,d@e:f!$&'()*~", "/a;b=c,d@e:f!$&'()*~"),
        (b"\"<>|`{}^.txt", "/%22%3C%3E%7C%60%7B%7D%5E.txt"),
        (b"a..b..", "/a..b.."),
        (b"caf\xe9.txt", "/caf%E9.txt"),
        (b"\xff\xfe\x80", "/%FF%FE%80"),
        (b"folder \xc3\xa9/file \xe9", "/folder%20%C3%A9/file%20%E9"),
        (longest.as_bytes(), &format!("/{longest}")),
    ] {
        root.write(OsStr::from_bytes(name), name);
        let response = client.get(target);
        assert_eq!(response.status(), "200 OK", "{target}");
        assert!(response.content == name, "{target} is {response:?}");
    }
}

#[test]
fn query_is_ignored() {
    let root = Root::of(&[("a", "a")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in ["/a?", "/a?b", "/a?/../b", "/a?b?c=%", "http://test/a?b"] {
        assert_eq!(client.get(target).text(), "a", "{target}");
    }
}

#[test]
fn file_changes_are_seen_by_next_request() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (second, len) in [
        (1, 10),
        (2, 10),
        (3, 0),
        (4, MAX_IN_MEMORY_LEN + 1),
        (5, MAX_IN_MEMORY_LEN + 1),
        (6, 1),
    ] {
        // Contents of the same length differ in their first byte.
        let mut content = pseudorandom_bytes(len + second);
        content.drain(..second);
        let time = since_epoch(1_000_000_000 + second as u64);
        for replace in [false, true] {
            if replace {
                content.reverse();
                root.write("new", &content);
                set_modified(&root.join("new"), time - Duration::from_secs(100));
                fs::rename(root.join("new"), root.join("file")).expect("a directory");
            } else {
                root.write("file", &content);
                set_modified(&root.join("file"), time);
            }
            let response = client.get("/file");
            assert!(response.content == content, "{response:?}");
            let modified = fs::metadata(root.join("file")).and_then(|stat| stat.modified());
            let modified = httpdate::fmt_http_date(modified.expect("a time"));
            assert_eq!(response.field("Last-Modified"), Some(&*modified));
        }
    }
    fs::remove_file(root.join("file")).expect("a directory");
    assert_eq!(client.get("/file").status(), "404 Not Found");
    root.write("file/index.html", "a folder");
    assert_eq!(client.get("/file").status(), "301 Moved Permanently");
    assert_eq!(client.get("/file/").text(), "a folder");
}

#[test]
fn response_is_of_the_promised_length_when_file_is_appended_to() {
    let root = Root::new();
    root.write("file", vec![b'a'; LARGE_LEN]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(content_length(&client.response_to_head()), LARGE_LEN);
    let beginning = client.bytes(MAX_IN_MEMORY_LEN);

    let file = OpenOptions::new().append(true).open(root.join("file"));
    file.and_then(|mut file| file.write_all(&vec![b'b'; MAX_IN_MEMORY_LEN]))
        .expect("a file");

    let rest = client.bytes(LARGE_LEN - beginning.len());
    assert!([beginning, rest].concat().iter().all(|&byte| byte == b'a'));
    let response = client.get("/file");
    assert_eq!(response.content.len(), LARGE_LEN + MAX_IN_MEMORY_LEN);
}

#[test]
fn large_file_is_closed_after_response() {
    const LARGE_LEN: usize = 3 << 20;
    let root = Root::new();
    root.write("file", pseudorandom_bytes(LARGE_LEN));
    let server = Server::start(root.path());
    // From then on the file is cached.
    eventually("its second is over", || {
        server.get("/file").field("Last-Modified").map(|_| ())
    });
    for _ in 0..2 {
        assert!(server.get("/file").content == pseudorandom_bytes(LARGE_LEN));
    }
    let path = root.path().canonicalize().expect("a directory");
    eventually("the file is closed", || {
        (!server.has_open(&path.join("file"))).then_some(())
    });
}

#[test]
fn response_is_aborted_when_file_is_truncated() {
    const TRUNCATED_LEN: usize = 1 << 20;
    let root = Root::of(&[("small", "a")]);
    root.write("file", vec![b'a'; LARGE_LEN]);
    let server = Server::start(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/small");
    let descriptors = server.descriptors();
    let mut client = server.connect();
    client.send("GET /file HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(content_length(&client.response_to_head()), LARGE_LEN);
    let beginning = client.bytes(MAX_IN_MEMORY_LEN);

    let file = File::options().write(true).open(root.join("file"));
    file.and_then(|file| file.set_len(TRUNCATED_LEN as u64))
        .expect("a file");

    // Content-Length has been sent: only closing the connection can signal that the content is incomplete.
    let rest = client.rest_even_if_reset();
    assert!(
        beginning.len() + rest.len() < LARGE_LEN,
        "{} bytes",
        rest.len()
    );
    // Bytes in flight that are no longer in the file may be zeros: the kernel sends from the pages of the file itself
    // (sendfile(2)).
    let kept = &rest[..rest.len().min(TRUNCATED_LEN - beginning.len())];
    assert!(
        kept == vec![b'a'; kept.len()],
        "other bytes than those of the file"
    );
    assert_eq!(neighbour.get("/small").text(), "a");
    eventually("socket and file are closed", || {
        (server.descriptors() == descriptors).then_some(())
    });
}

#[test]
fn directory_serves_its_index() {
    let root = Root::of(&[
        ("index.html", "root"),
        ("dir/index.html", "dir"),
        ("dir/deep/index.html", "deep"),
        ("bare/file", "a"),
        ("odd/index.html/index.html", "a directory of that name"),
    ]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (target, expected) in [
        ("/", "root"),
        ("/?query", "root"),
        ("/index.html", "root"),
        ("/dir/", "dir"),
        ("/dir/?query", "dir"),
        ("/dir/deep/", "deep"),
        ("/dir/deep/..", "dir"),
        ("/dir/.", "dir"),
        ("/dir//", "dir"),
        ("http://test", "root"),
        ("http://test/dir/", "dir"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status(), "200 OK", "{target}");
        assert_eq!(response.text(), expected, "{target}");
        let media_type = response.field("Content-Type");
        assert_eq!(media_type, Some("text/html; charset=utf-8"), "{target}");
    }
    for target in ["/bare/", "/odd/", "/index.html/", "/dir/index.html/"] {
        assert_eq!(client.get(target).status(), "404 Not Found", "{target}");
    }
}

#[test]
fn index_and_404_page_names_are_configurable() {
    let root = Root::of(&[
        ("index.html", "not this"),
        ("404.html", "not this"),
        ("home.htm", "home"),
        ("dir/start.txt", "start"),
        ("errors/absent.txt", "nothing here"),
    ]);
    let options = [
        "--index",
        "start.txt,home.htm",
        "--404",
        "errors/absent.txt",
    ];
    let server = Server::with(root.path(), &options);
    assert_eq!(server.get("/").text(), "home");
    let start = server.get("/dir/");
    assert_eq!(start.text(), "start");
    assert_eq!(
        start.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
    let absent = server.get("/nothing");
    assert_eq!(absent.status(), "404 Not Found");
    assert_eq!(absent.text(), "nothing here");
    assert_eq!(
        absent.field("Content-Type"),
        Some("text/plain; charset=utf-8")
    );
}

#[test]
fn directory_without_trailing_slash_is_redirected() {
    let root = Root::new();
    for directory in ["dir/deep", "a b", "k\u{f6}ln", "100%", "\\test", "a:b"] {
        root.write(format!("{directory}/file"), "a");
    }
    root.write(OsStr::from_bytes(b"\xff/file"), "a");
    let server = Server::start(root.path());
    let mut client = server.connect();
    for (target, location) in [
        ("/dir", "/dir/"),
        ("/dir/deep", "/dir/deep/"),
        ("/dir?a=b&c=%20?d", "/dir/?a=b&c=%20?d"),
        ("/dir?", "/dir/?"),
        ("/a%20b", "/a%20b/"),
        ("/k%c3%b6ln", "/k%C3%B6ln/"),
        ("/100%25", "/100%25/"),
        ("/%ff", "/%FF/"),
        ("/a:b", "/a:b/"),
        ("http://test/dir?a", "/dir/?a"),
        // A reference that begins with two slashes names another host (RFC 3986 section 4.2), and
        // browsers take a backslash for a slash.
        ("//dir", "/dir/"),
        ("///dir", "/dir/"),
        ("//dir//deep", "/dir/deep/"),
        ("/.//dir", "/dir/"),
        ("/dir/..//dir", "/dir/"),
        ("//%2e/dir", "/dir/"),
        ("/%5Ctest", "/%5Ctest/"),
        ("/\\test", "/%5Ctest/"),
        ("//\\test", "/%5Ctest/"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status(), "301 Moved Permanently", "{target}");
        assert_eq!(response.field("Location"), Some(location), "{target}");
        let media_type = response.field("Content-Type");
        assert_eq!(media_type, Some("text/html; charset=utf-8"), "{target}");
    }
}

#[test]
fn redirect_page_does_not_echo_markup_of_query() {
    let root = Root::of(&[("dir/file", "a")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for query in [
        "<script>",
        "\"><script>",
        "'onload='a",
        "&lt;",
        "%3Cscript%3E",
    ] {
        let response = client.get(&format!("/dir?{query}"));
        // The target may be rejected or encoded: this test allows both.
        let page = response.text();
        assert!(!page.contains("<script") && !page.contains('\''), "{page}");
        assert!(!page.contains("&lt;"), "{page}");
    }
}

#[test]
fn missing_file_gets_builtin_404_page() {
    let root = Root::of(&[("file.txt", "a")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in ["/", "/nothing", "/no/thing", "/file.txt/", "/file.txt/a"] {
        let response = client.get(target);
        assert_eq!(response.status(), "404 Not Found", "{target}");
        let media_type = response.field("Content-Type");
        assert_eq!(media_type, Some("text/html; charset=utf-8"), "{target}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
        assert!(response.text().contains("404 Not Found"), "{response:?}");
    }
}

#[test]
fn missing_file_gets_404_html_of_site() {
    let root = Root::of(&[("404.html", "<p>gone"), ("file.txt", "a")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in ["/", "/nothing", "/no/thing", "/file.txt/", "/.hidden"] {
        let response = client.get(target);
        assert_eq!(response.status(), "404 Not Found", "{target}");
        assert_eq!(response.text(), "<p>gone", "{target}");
        let media_type = response.field("Content-Type");
        assert_eq!(media_type, Some("text/html; charset=utf-8"), "{target}");
    }
    assert_eq!(client.get("/404.html").status(), "200 OK");
    fs::remove_file(root.join("404.html")).expect("a directory");
    assert!(client.get("/nothing").text().contains("404 Not Found"));
    root.write("404.html", pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1));
    assert!(client.get("/nothing").content == pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1));
}

#[test]
fn head_of_large_file_is_sent_with_first_content_bytes() {
    let root = Root::new();
    root.write("large", pseudorandom_bytes(LARGE_LEN));
    let server = Server::start(root.path());
    let mut alone = 0;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address).expect("the server accepts");
        let request = b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n";
        stream.write_all(request).expect("the server reads");
        // One read returns what has arrived: the head alone, if it was sent alone.
        let mut arrived = vec![0; 16 * 1024];
        let count = stream.read(&mut arrived).expect("a response");
        arrived.truncate(count);
        let head = arrived
            .windows(4)
            .position(|at| at == b"\r\n\r\n")
            .expect("a head");
        alone += usize::from(arrived.len() == head + 4);
    }
    // (TCP_CORK delays a head by 200 ms at most, even if the server is delayed for longer.)
    assert!(alone <= 1, "{alone} of 20 heads arrived alone");
}

#[test]
fn head_response_is_get_response_without_content() {
    let root = Root::of(&[
        ("index.html", "hello"),
        ("dir/file", "a"),
        ("empty", ""),
        ("other/404.html", "gone"),
    ]);
    root.write("large", pseudorandom_bytes(MAX_IN_MEMORY_LEN + 1));
    root.backdate();
    symlink("/etc/passwd", root.join("outside")).expect("a directory");
    let server = Server::start(root.path());
    let other = Server::start(&root.join("other"));
    eventually("the large file has a tag", || {
        server.get("/large").field("ETag").map(|_| ())
    });
    for (server, target, status) in [
        (&server, "/", "200 OK"),
        (&server, "/large", "200 OK"),
        (&server, "/empty", "200 OK"),
        (&server, "/dir?a", "301 Moved Permanently"),
        (&server, "/nothing", "404 Not Found"),
        (&other, "/nothing", "404 Not Found"),
        (&server, "/outside", "403 Forbidden"),
    ] {
        let mut client = server.connect();
        for version in ["1.1\r\n", "1.0\r\nConnection: keep-alive\r\n"] {
            let rest = format!("{target} HTTP/{version}Host: test\r\n\r\n");
            let get = client.ask(format!("GET {rest}"));
            assert_eq!(get.status(), status, "{target}");
            assert!(get.field("Content-Length").is_some(), "{get:?}");
            client.send(format!("HEAD {rest}"));
            // Content, if any were sent, would be read as part of the next head.
            let head = client.response_to_head();
            assert_eq!(head.undated(), get.undated());
        }
        assert_eq!(client.get(target).status(), status, "{target}");
    }
}

#[test]
fn options_lists_allowed_methods() {
    let root = Root::of(&[("index.html", "hello"), ("dir/file", "a")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    for target in [
        "*",
        "/",
        "/index.html",
        "/dir",
        "/nothing",
        "http://test",
        "http://test/",
    ] {
        let response = client.ask(format!("OPTIONS {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(response.status(), "204 No Content", "{target}");
        assert_eq!(response.field("Allow"), Some("GET, HEAD, OPTIONS"));
        // 204 has neither content nor Content-Length (RFC 9110 section 8.6).
        assert_eq!(response.field("Content-Length"), None, "{target}");
        assert_eq!(response.field("Content-Type"), None, "{target}");
        assert!(response.field("Date").is_some(), "{target}");
    }
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn other_methods_are_405_or_501() {
    let root = Root::of(&[("index.html", "hello")]);
    let server = Server::start(root.path());
    let mut client = server.connect();
    let known = "405 Method Not Allowed";
    let unknown = "501 Not Implemented";
    for (line, status) in [
        ("POST /", known),
        ("PUT /", known),
        ("PUT /new", known),
        ("DELETE /index.html", known),
        ("PATCH /", known),
        ("TRACE /", known),
        ("CONNECT test:80", known),
        ("PROPFIND /", known),
        ("MKCOL /new/", known),
        ("LOCK /index.html", known),
        ("REPORT /", known),
        ("SEARCH /", known),
        ("VERSION-CONTROL /", known),
        ("BREW /", unknown),
        ("PRI /", unknown),
        // Names of methods are case-sensitive (RFC 9110 section 9.1).
        ("get /", unknown),
        ("Head /", unknown),
        ("!#$%&'*+-.^_`|~ /", unknown),
    ] {
        let response = client.ask(format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n"));
        assert_eq!(response.status(), status, "{line}");
        // Required with 405 (RFC 9110 section 15.5.6).
        assert_eq!(
            response.field("Allow"),
            Some("GET, HEAD, OPTIONS"),
            "{line}"
        );
        assert!(response.text().contains(status), "{line}");
    }
    assert_eq!(client.get("/").text(), "hello");
    assert!(!root.join("new").exists());
}

/// Starts a server to which file modes apply, which they do not for root (capabilities(7)). `None` where that fails.
fn server_without_dac_override(root: &Root, unreadable: &str) -> Option<Server> {
    if File::open(root.join(unreadable)).is_err() {
        return Some(Server::start(root.path()));
    }
    let without = ["--bounding-set", "-dac_override,-dac_read_search"];
    let cannot_read = Command::new("setpriv")
        .args(without)
        .args(["sh", "-c", "! cat \"$0\" && exec true"])
        .arg(root.join(unreadable))
        .stderr(Stdio::null())
        .status();
    if !cannot_read.is_ok_and(|status| status.success()) {
        return None;
    }
    let plain = docroot();
    let mut command = Command::new("setpriv");
    command.args(without).arg(plain.get_program());
    command.args(arguments(&[]));
    command.arg(root.path()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        assert_eq!(value, None, "docroot() only removes");
        command.env_remove(name);
    }
    Some(Server::spawn(command))
}

#[test]
fn unreadable_file_is_403() {
    let root = Root::of(&[
        ("index.html", "hello"),
        ("file", "secret"),
        ("folder/file", "secret"),
        ("closed/index.html", "secret"),
        ("passage/index.html", "open"),
    ]);
    let set = |path: &str, mode: u32| {
        let set = fs::set_permissions(root.join(path), Permissions::from_mode(mode));
        set.expect("a directory");
    };
    set("file", 0o000);
    set("folder", 0o000);
    set("closed/index.html", 0o000);
    // Searchable, but not readable.
    set("passage", 0o311);
    let Some(server) = server_without_dac_override(&root, "file") else {
        println!("SKIPPED: root reads everything, and setpriv cannot change that here");
        return;
    };
    let mut client = server.connect();
    for target in ["/file", "/folder/file", "/folder/nothing", "/closed/"] {
        let response = client.get(target);
        assert_eq!(response.status(), "403 Forbidden", "{target}");
        assert!(response.text().contains("403 Forbidden"), "{target}");
        assert_eq!(response.field("X-Content-Type-Options"), Some("nosniff"));
    }
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!(client.get("/passage").field("Location"), Some("/passage/"));
    assert_eq!(client.get("/passage/").text(), "open");
    // So that the directories can be removed by a user to whom modes apply.
    set("folder", 0o700);
    set("passage", 0o700);
}
