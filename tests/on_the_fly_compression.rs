//! `--compress`: files are encoded on background threads, and never sent stale.

use std::fs;
use std::thread;

use crate::support::encoding::encoded;
use crate::support::{Client, Response, Root, Server, docroot, eventually, pseudorandom_bytes};

const GZIP: &str = "Accept-Encoding: gzip\r\n";
const BROWSER: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";

/// Returns text of this many lines, different for each version.
fn text(version: usize, lines: usize) -> String {
    (0..lines)
        .map(|line| format!("const line{line} = \"version {version}\";\n"))
        .collect()
}

fn coding(response: &Response) -> &str {
    response.field("Content-Encoding").unwrap_or_default()
}

fn tag(response: &Response) -> &str {
    response.field("ETag").expect("a tag")
}

/// Repeats a request until its response has a coding.
fn wait_for_encoded(client: &mut Client, target: &str, fields: &str) -> Response {
    eventually("the response has a coding", || {
        let response = client.request("GET", target, fields);
        response
            .field("Content-Encoding")
            .is_some()
            .then_some(response)
    })
}

#[test]
fn first_response_is_identity_and_later_ones_are_encoded() {
    let content = text(1, 500);
    let root = Root::of(&[("app.js", &content)]);
    let server = Server::with(root.path(), &["--compress"]);
    let mut client = server.connect();
    let first = client.request("GET", "/app.js", BROWSER);
    assert_eq!(coding(&first), "");
    assert_eq!(first.content, content.as_bytes());
    assert_eq!(first.field("Vary"), Some("Accept-Encoding"));
    for expected in ["gzip", "br", "zstd"] {
        let fields = format!("Accept-Encoding: {expected}\r\n");
        let response = wait_for_encoded(&mut client, "/app.js", &fields);
        assert_eq!(coding(&response), expected);
        assert_eq!(response.decoded(), content.as_bytes());
        assert!(response.content.len() < content.len() / 2);
        for same in ["Content-Type", "Vary", "Cache-Control", "Accept-Ranges"] {
            assert_eq!(response.field(same), first.field(same));
        }
        assert_ne!(tag(&response), tag(&first));

        let head = client.request("HEAD", "/app.js", &fields);
        assert_eq!(head.undated(), response.undated());
        let part = format!("{fields}Range: bytes=10-19\r\n");
        let part = client.request("GET", "/app.js", &part);
        assert_eq!(part.status(), "206 Partial Content");
        assert_eq!(part.content, &response.content[10..20]);
        assert_eq!(coding(&part), expected);
        // The tag of either representation yields 304.
        for known in [tag(&first), tag(&response)] {
            let known = format!("{fields}If-None-Match: {known}\r\n");
            let known = client.request("GET", "/app.js", &known);
            assert_eq!(known.status(), "304 Not Modified");
            assert_eq!(known.field("Vary"), Some("Accept-Encoding"));
        }
    }
    let plain = client.get("/app.js");
    assert_eq!((coding(&plain), tag(&plain)), ("", tag(&first)));
}

#[test]
fn file_not_worth_encoding_is_sent_as_identity() {
    let root = Root::of(&[
        ("app.js", &text(1, 500)),
        ("small.js", &text(1, 10)),
        ("picture.png", &text(1, 500)),
    ]);
    root.write("noise.js", pseudorandom_bytes(50_000));
    root.write("sidecar.js", text(1, 500));
    let sidecar = encoded("gzip", text(1, 500).as_bytes());
    root.write("sidecar.js.gz", &sidecar);
    let server = Server::with(root.path(), &["--compress"]);
    let mut client = server.connect();
    wait_for_encoded(&mut client, "/app.js", GZIP);
    let targets = ["/small.js", "/picture.png", "/noise.js"];
    for _ in 0..2 {
        for _ in 0..10 {
            for target in targets {
                let response = client.request("GET", target, BROWSER);
                assert_eq!(coding(&response), "", "{target}");
            }
            // A file with any sidecar is not encoded, also for a client that accepts only another coding.
            let other = client.request("GET", "/sidecar.js", "Accept-Encoding: br\r\n");
            assert_eq!(coding(&other), "");
            let encoded = client.request("GET", "/sidecar.js", BROWSER);
            assert_eq!(encoded.content, sidecar);
            assert_eq!(coding(&encoded), "gzip");
        }
        server.wait_until_idle();
    }
    for (target, vary) in [
        ("/small.js", None),
        ("/picture.png", None),
        ("/sidecar.js", Some("Accept-Encoding")),
    ] {
        assert_eq!(server.get(target).field("Vary"), vary, "{target}");
    }
}

#[test]
fn stale_encoding_is_never_sent() {
    let root = Root::of(&[("app.js", &text(0, 500))]);
    let server = Server::with(root.path(), &["--compress", "-w", "2"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let mut version = 0;
    let mut check = |clients: &mut [Client], change: &dyn Fn(&str)| {
        version += 1;
        let content = text(version, 500);
        change(&content);
        for (turn, client) in clients.iter_mut().enumerate() {
            let response = client.request("GET", "/app.js", BROWSER);
            let decoded = String::from_utf8(response.decoded()).expect("text");
            assert!(decoded == content, "version {version}, client {turn}");
        }
    };
    let overwrite = |content: &str| root.write("app.js", content);
    let replace = |content: &str| {
        root.write("new", content);
        fs::rename(root.join("new"), root.join("app.js")).expect("the test owns this file");
    };
    let overwrite_keeping_date = |content: &str| {
        let path = root.join("app.js");
        let date = fs::metadata(&path).and_then(|file| file.modified());
        root.write("app.js", content);
        let file = fs::File::options().write(true).open(path);
        let put = file.and_then(|file| file.set_modified(date?));
        put.expect("the test owns this file");
    };
    for change in [
        &overwrite as &dyn Fn(&str),
        &replace,
        &overwrite_keeping_date,
    ] {
        for client in &mut clients {
            wait_for_encoded(client, "/app.js", BROWSER);
        }
        for _ in 0..20 {
            check(&mut clients, change);
        }
    }
    // While one thread changes the file, every response is complete and a version of it.
    for client in &mut clients {
        wait_for_encoded(client, "/app.js", BROWSER);
    }
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..300 {
                for client in &mut clients {
                    let response = client.request("GET", "/app.js", BROWSER);
                    let decoded = String::from_utf8(response.decoded()).expect("text");
                    let version = decoded.split(['"', ' ']).nth(5).expect("a version");
                    let version = version.parse().expect("a number");
                    assert!(decoded == text(version, 500), "version {version}");
                }
            }
        });
        let mut version = 1000;
        while !reader.is_finished() {
            replace(&text(version, 500));
            version += 1;
        }
    });
}

#[test]
fn encoded_content_belongs_to_requested_target() {
    const PAGE: &str = "Accept: text/html\r\nAccept-Encoding: gzip\r\n";
    const VARY: [&str; 2] = ["Accept, Sec-Fetch-Dest, Sec-Fetch-Mode", "Accept-Encoding"];
    let fallback = format!("<p>fallback{}", text(0, 500));
    let root = Root::of(&[
        ("index.html", &fallback),
        ("app.js", &text(1, 500)),
        ("_redirects", "/alias/* /app.js 200\n/gone/* /app.js 404\n"),
    ]);
    let server = Server::with(root.path(), &["--compress", "--spa"]);
    let mut client = server.connect();
    let deep = wait_for_encoded(&mut client, "/deep", PAGE);
    assert_eq!(deep.decoded(), fallback.as_bytes());
    // Vary is the same, whether the encoding is new or cached.
    for target in ["/deep", "/other"] {
        let response = client.request("GET", target, PAGE);
        assert_eq!(coding(&response), "gzip");
        assert_eq!(response.fields("Vary"), VARY, "{target}");
    }
    assert_eq!(deep.fields("Vary"), VARY);
    // By a rule of `_redirects`.
    let alias = wait_for_encoded(&mut client, "/alias/x", GZIP);
    assert_eq!(alias.decoded(), text(1, 500).as_bytes());
    let gone = client.request("GET", "/gone/x", GZIP);
    assert_eq!(gone.status(), "404 Not Found");
    assert_eq!(gone.decoded(), text(1, 500).as_bytes());
    // A file changed just now is not cached yet.
    for version in 2..20 {
        root.write("app.js", text(version, 500));
        for target in ["/app.js", "/alias/x", "/app.js?q"] {
            let response = client.request("GET", target, GZIP);
            let media_type = response.field("Content-Type");
            assert_eq!(media_type, Some("text/javascript; charset=utf-8"));
            let decoded = response.decoded();
            assert!(decoded == text(version, 500).as_bytes(), "{target}");
        }
    }
}

#[test]
fn compression_requires_cache_memory() {
    let root = Root::of(&[("app.js", &text(1, 500))]);
    let output = docroot()
        .args(["--compress", "--cache-memory", "0", "--check"])
        .arg(root.path())
        .output()
        .expect("docroot runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--cache-memory 0"), "{stderr}");
    // With little memory, the file is sent unencoded.
    let server = Server::with(root.path(), &["--compress", "--cache-memory", "1KiB"]);
    for _ in 0..20 {
        let response = server.ask("GET", "/app.js", BROWSER);
        assert_eq!(response.content, text(1, 500).as_bytes());
    }
}
