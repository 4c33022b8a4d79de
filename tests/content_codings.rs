//! Content codings: which of a file's sidecars is sent for an `Accept-Encoding`, and with which fields.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::time::{Duration, SystemTime};

use crate::support::encoding::{brotli, encoded as encode, encoded_to};
use crate::support::{
    Client, Response, Root, Server, Signal, docroot, eventually, pseudorandom_bytes,
};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// `Accept-Encoding` of browsers, and one that selects each coding.
const BROWSER: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
const BR: &str = "Accept-Encoding: br\r\n";
const GZIP: &str = "Accept-Encoding: gzip\r\n";
const CODINGS: [(&str, &str, &str); 4] = [
    ("", "", ""),
    ("br", ".br", BR),
    ("zstd", ".zst", "Accept-Encoding: zstd\r\n"),
    ("gzip", ".gz", GZIP),
];

/// Pause between changes, so that each has another modification time.
const TICK: Duration = Duration::from_millis(25);

/// Returns content that compresses to little more than 2000 bytes.
fn content(len: usize) -> Vec<u8> {
    pseudorandom_bytes(2000)
        .into_iter()
        .cycle()
        .take(len)
        .collect()
}

/// Returns `len` bytes: content, or the content of 4000 bytes in this coding.
fn encoded(coding: &str, len: usize) -> Vec<u8> {
    match coding {
        "" => content(len),
        coding => encoded_to(coding, &content(4000), len),
    }
}

/// Returns the extension of sidecars in a coding.
fn suffix(coding: &str) -> &'static str {
    let found = CODINGS.iter().find(|(name, ..)| *name == coding);
    found.expect("a coding").1
}

/// Writes a file of 4000 bytes and its sidecars with these lengths: br, zstd, gzip.
fn write_with_sidecars(root: &Root, name: &str, lengths: [usize; 3]) {
    root.write(name, encoded("", 4000));
    for ((coding, suffix, _), len) in CODINGS[1..].iter().zip(lengths) {
        root.write(format!("{name}{suffix}"), encoded(coding, len));
    }
}

/// Creates a site whose sidecars are br < zstd < gzip by length, and some with another order.
fn site() -> Root {
    let root = Root::new();
    for name in ["app.js", "index.html", "404.html", "about.html"] {
        write_with_sidecars(&root, name, [2500, 2800, 3000]);
    }
    write_with_sidecars(&root, "gzip.js", [3000, 2900, 2800]);
    write_with_sidecars(&root, "tied.js", [2800, 2800, 2800]);
    write_with_sidecars(&root, "tied-below.js", [2900, 2800, 2800]);
    root.write("alone.js", encoded("", 4000));
    root.backdate();
    root
}

fn coding(response: &Response) -> &str {
    response.field("Content-Encoding").unwrap_or_default()
}

fn tag(response: &Response) -> &str {
    response.field("ETag").expect("a tag")
}

fn check_coding(server: &Server, target: &str, fields: &str, expected: &str) {
    let response = server.ask("GET", target, fields);
    let what = format!("{target} {fields:?}: {response:?}");
    assert_eq!(response.status(), "200 OK", "{what}");
    assert_eq!(coding(&response), expected, "{what}");
    assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{what}");
    assert_eq!(response.field("Content-Type"), Some(SCRIPT), "{what}");
    let whole = encoded(expected, response.content.len());
    assert_eq!(response.content, whole, "{what}");
    let head = server.ask("HEAD", target, fields);
    assert_eq!(head.undated(), response.undated(), "{what}");
}

#[test]
fn accept_encoding_selects_coding() {
    let root = site();
    let server = Server::start(root.path());
    for (value, expected) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZip", "gzip"),
        ("zstd", "zstd"),
        ("deflate, compress", ""),
        ("", ""),
        (" , ,", ""),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0, gzip;q=0.001", "gzip"),
        ("br ; Q=0.5 , gzip\t;\tq=0.4", "br"),
        ("identity", ""),
        ("identity, br;q=0.9", ""),
        ("identity;q=0.5, gzip;q=0.9", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", ""),
        ("*", "br"),
        ("*;q=0", ""),
        ("*;q=0, gzip", "gzip"),
        ("*;q=0, identity", ""),
        ("*;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("identity;q=0, *;q=0.1", "br"),
        ("br;q=1.5, gzip", "gzip"),
        ("br;level=11, gzip", "gzip"),
        ("\"br\", gzip", "gzip"),
    ] {
        let fields = format!("Accept-Encoding: {value}\r\n");
        check_coding(&server, "/app.js", &fields, expected);
    }
    check_coding(&server, "/app.js", "", "");
    let lines = "Accept-Encoding: gzip\r\naccept-encoding: br\r\n";
    check_coding(&server, "/app.js", lines, "br");
    let lines = "Accept-Encoding: gzip\r\naccept-encoding: br;q=0.5\r\n";
    check_coding(&server, "/app.js", lines, "gzip");
}

#[test]
fn shortest_of_equally_acceptable_codings_is_sent() {
    let root = site();
    let server = Server::start(root.path());
    check_coding(&server, "/gzip.js", BROWSER, "gzip");
    check_coding(&server, "/tied.js", BROWSER, "br");
    check_coding(&server, "/tied-below.js", BROWSER, "zstd");
}

#[test]
fn each_coding_has_its_own_strong_etag() {
    let root = site();
    let server = Server::start(root.path());
    let mut tags = HashSet::new();
    for (expected, _, fields) in CODINGS {
        let response = server.ask("GET", "/app.js", fields);
        assert_eq!(coding(&response), expected);
        assert!(tag(&response).starts_with('"'), "{response:?}");
        assert!(tags.insert(tag(&response).to_owned()), "{response:?}");
    }
}

#[test]
fn vary_is_sent_with_every_response_about_encoded_files() {
    let root = site();
    let server = Server::start(root.path());
    let known = format!(
        "{BR}If-None-Match: {}\r\n",
        tag(&server.ask("GET", "/app.js", BR))
    );
    for (method, target, fields, status, expected) in [
        ("GET", "/app.js", BR, "200", "br"),
        ("GET", "/app.js", "", "200", ""),
        ("HEAD", "/app.js", BR, "200", "br"),
        ("GET", "/app.js", "Range: bytes=1-2\r\n", "206", ""),
        ("GET", "/app.js", "Range: bytes=0-1,9-9\r\n", "206", ""),
        (
            "GET",
            "/app.js",
            "Accept-Encoding: br\r\nRange: bytes=1-2\r\n",
            "206",
            "br",
        ),
        ("GET", "/app.js", &known, "304", ""),
        ("HEAD", "/app.js", &known, "304", ""),
        ("GET", "/app.js", "If-Match: \"x\"\r\n", "412", ""),
        ("GET", "/app.js", "Range: bytes=9000-\r\n", "416", ""),
        ("GET", "/nothing.js", BR, "404", "br"),
        ("GET", "/nothing.js", "", "404", ""),
        ("HEAD", "/nothing.js", GZIP, "404", "gzip"),
        ("GET", "/", GZIP, "200", "gzip"),
        ("GET", "/index.html", GZIP, "200", "gzip"),
        ("GET", "/about", GZIP, "200", "gzip"),
    ] {
        let response = server.ask(method, target, fields);
        let what = format!("{method} {target} {fields:?}: {response:?}");
        assert!(response.status().starts_with(status), "{what}");
        assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{what}");
        assert_eq!(coding(&response), expected, "{what}");
    }
    for fields in ["", BR, "If-Match: \"x\"\r\n", "Range: bytes=9000-\r\n"] {
        let response = server.ask("GET", "/alone.js", fields);
        assert_eq!(response.field("Vary"), None, "{response:?}");
        assert_eq!(coding(&response), "", "{response:?}");
    }
}

#[test]
fn conditional_request_selects_coding_of_its_etag() {
    let root = site();
    let server = Server::start(root.path());
    let tags = CODINGS.map(|(_, _, fields)| tag(&server.ask("GET", "/app.js", fields)).to_owned());
    let [identity, br, _, gzip] = &tags;
    // Accept-Encoding, If-None-Match, and the ETag of the 304, if that is the response.
    for (accepts, etag, expected) in [
        (BROWSER, &**br, Some(br)),
        (BROWSER, gzip, Some(gzip)),
        (BROWSER, identity, Some(identity)),
        ("", br, Some(br)),
        ("", identity, Some(identity)),
        (GZIP, gzip, Some(gzip)),
        (GZIP, identity, Some(identity)),
        // Its ETag is that of a coding that it does not accept.
        (GZIP, br, None),
        ("Accept-Encoding: br, identity;q=0\r\n", identity, None),
        (BROWSER, "\"x\"", None),
        // Of several, the one that a plain GET would select.
        (BROWSER, &format!("{identity}, {gzip}, {br}"), Some(br)),
        (GZIP, &format!("{identity}, {gzip}, {br}"), Some(gzip)),
        (BROWSER, &format!("W/{gzip}"), Some(gzip)),
        (BROWSER, "*", Some(br)),
    ] {
        let response = server.ask(
            "GET",
            "/app.js",
            &format!("{accepts}If-None-Match: {etag}\r\n"),
        );
        let status = match expected {
            Some(_) => "304 Not Modified",
            None => "200 OK",
        };
        assert_eq!(response.status(), status, "{accepts:?} {etag}");
        if let Some(expected) = expected {
            assert_eq!(tag(&response), expected, "{accepts:?} {etag}");
            assert_eq!(coding(&response), "", "304 has no content");
        }
    }
    let fields = format!("{BROWSER}If-Match: {gzip}\r\n");
    assert_eq!(coding(&server.ask("GET", "/app.js", &fields)), "gzip");
    let fields = format!("{GZIP}If-Match: {br}\r\n");
    let refused = server.ask("GET", "/app.js", &fields);
    assert_eq!(refused.status(), "412 Precondition Failed");
}

#[test]
fn ranges_count_encoded_bytes() {
    let root = site();
    let server = Server::start(root.path());
    let whole = encoded("br", 2500);
    let br = tag(&server.ask("GET", "/app.js", BR)).to_owned();
    let gzip = tag(&server.ask("GET", "/app.js", GZIP)).to_owned();
    let ask = |fields: &str| server.ask("GET", "/app.js", fields);

    let part = ask(&format!("{BR}Range: bytes=100-199\r\n"));
    assert_eq!(part.status(), "206 Partial Content");
    assert_eq!(part.content, &whole[100..200]);
    assert_eq!(part.field("Content-Range"), Some("bytes 100-199/2500"));
    assert_eq!(part.field("Content-Type"), Some(SCRIPT));
    assert_eq!((coding(&part), tag(&part)), ("br", &*br));

    let end = ask(&format!("{BR}Range: bytes=-10\r\n"));
    assert_eq!(end.content, &whole[2490..]);
    let beyond = ask(&format!("{BR}Range: bytes=2500-\r\n"));
    assert_eq!(beyond.status(), "416 Range Not Satisfiable");
    assert_eq!(beyond.field("Content-Range"), Some("bytes */2500"));
    assert_eq!(coding(&beyond), "");

    // A client would decode a multipart body as a whole, boundaries included, so several ranges give 200.
    let several = "Range: bytes=0-9, 2490-2499\r\n";
    let parts = ask(&format!("{BR}{several}"));
    assert_eq!((parts.status(), coding(&parts)), ("200 OK", "br"));
    assert_eq!(parts.content, whole);
    assert_eq!(ask(several).status(), "206 Partial Content");

    for (fields, status, expected) in [
        (format!("{BR}If-Range: {br}\r\n"), "206", "br"),
        // The coding of the If-Range ETag, if the client accepts it, rather than the preferred one.
        (format!("{BROWSER}If-Range: {gzip}\r\n"), "206", "gzip"),
        (format!("{BR}If-Range: {gzip}\r\n"), "200", "br"),
        (format!("{BR}If-Range: W/{br}\r\n"), "200", "br"),
        (format!("{BR}If-Range: \"x\"\r\n"), "200", "br"),
    ] {
        let response = ask(&format!("{fields}Range: bytes=10-19\r\n"));
        assert!(
            response.status().starts_with(status),
            "{fields}: {response:?}"
        );
        assert_eq!(coding(&response), expected, "{fields}");
        if status == "206" {
            let len = response.field("Content-Range").expect("a range");
            let len = len.rsplit('/').next().and_then(|len| len.parse().ok());
            let whole = encoded(expected, len.expect("a length"));
            assert_eq!(response.content, &whole[10..20], "{fields}");
        }
    }
}

#[test]
fn last_modified_does_not_validate_files_with_sidecars() {
    let root = Root::new();
    write_with_sidecars(&root, "app.js", [2500, 2800, 3000]);
    root.write("alone.js", "alone");
    let server = Server::start(root.path());
    // Last-Modified is sent once its second is over. It validates a file without sidecars only.
    let date = eventually("Last-Modified is sent", || {
        let alone = server.get("/alone.js").field("Last-Modified")?.to_owned();
        server.get("/app.js").field("Last-Modified")?;
        Some(alone)
    });
    let since = format!("If-Modified-Since: {date}\r\n");
    let alone = server.ask("GET", "/alone.js", &since);
    assert_eq!(alone.status(), "304 Not Modified");
    for (_, _, fields) in CODINGS {
        let date = server.ask("GET", "/app.js", fields);
        let date = date.field("Last-Modified").expect("it is sent");
        let since = format!("{fields}If-Modified-Since: {date}\r\n");
        let since = server.ask("GET", "/app.js", &since);
        assert_eq!(since.status(), "200 OK", "{fields:?}");
        let range = format!("{fields}If-Range: {date}\r\nRange: bytes=1-2\r\n");
        let range = server.ask("GET", "/app.js", &range);
        assert_eq!(range.status(), "200 OK", "{fields:?}");
    }
}

#[test]
fn sidecars_written_by_docroot_compress_are_served() {
    let text: String = (0..400)
        .map(|line| format!("export const line{line} = {line};\n"))
        .collect();
    let root = Root::of(&[("app.js", &text), ("index.html", &text)]);
    let done = docroot().arg("compress").arg(root.path()).output();
    assert!(done.expect("docroot runs").status.success());
    let server = Server::start(root.path());
    for target in ["/app.js", "/", "/index.html"] {
        for (expected, _, fields) in CODINGS {
            let response = server.ask("GET", target, fields);
            assert_eq!(coding(&response), expected, "{target}");
            assert_eq!(response.decoded(), text.as_bytes(), "{target} {expected}");
        }
    }
}

/// Returns the lines on standard error before that of a reload that this requests.
fn warnings_until_reload(server: &Server) -> Vec<String> {
    server.signal(Signal::HUP);
    let lines = std::iter::from_fn(|| {
        let line = server.stderr_line();
        (!line.contains("configuration reloaded")).then_some(line)
    });
    lines.collect()
}

#[test]
fn unusable_sidecar_is_ignored_and_logged_once() {
    let root = Root::new();
    let outside = Root::of(&[("app.js.br", "outside")]);
    for name in ["older", "foreign", "empty", "folder", "outside", "inside"] {
        root.write(format!("{name}.js"), encoded("", 4000));
    }
    root.write("older.js.br", encoded("br", 2500));
    root.write("foreign.js.gz", encoded("br", 2500));
    root.write("foreign.js.zst", encoded("gzip", 2500));
    root.write("empty.js.br", "");
    fs::create_dir(root.join("folder.js.br")).expect("a directory");
    symlink(outside.join("app.js.br"), root.join("outside.js.br")).expect("a link");
    root.write("elsewhere/target", encoded("br", 2500));
    symlink("elsewhere/target", root.join("inside.js.br")).expect("a link");
    let before = SystemTime::now() - Duration::from_secs(3600);
    let older = File::options().write(true).open(root.join("older.js.br"));
    let dated = older.and_then(|older| older.set_modified(before));
    dated.expect("a file");
    let server = Server::with(root.path(), &["-w", "2"]);
    for _ in 0..10 {
        for name in ["older", "foreign", "empty", "folder", "outside"] {
            let response = server.ask("GET", &format!("/{name}.js"), BROWSER);
            assert_eq!(response.status(), "200 OK", "{name}");
            assert_eq!(coding(&response), "", "{name}");
            assert_eq!(response.content, encoded("", 4000), "{name}");
        }
        let inside = server.ask("GET", "/inside.js", BROWSER);
        assert_eq!(coding(&inside), "br");
    }
    let warnings = warnings_until_reload(&server);
    for (name, reason) in [
        ("/older.js.br", "older than its file"),
        ("/foreign.js.gz", "not in the coding"),
        ("/foreign.js.zst", "not in the coding"),
        ("/empty.js.br", "not in the coding"),
        ("/outside.js.br", "cannot be read"),
    ] {
        let about: Vec<_> = warnings.iter().filter(|line| line.contains(name)).collect();
        assert_eq!(about.len(), 1, "{name}: {warnings:?}");
        assert!(about[0].contains(reason), "{about:?}");
    }
    assert_eq!(warnings.len(), 5, "{warnings:?}");
}

/// Returns a zstd frame with a window of 2^`log` bytes, which does not say its length.
fn zstd_with_window(content: &[u8], log: u32) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.window_log(log).expect("a window");
    std::io::copy(&mut &*content, &mut encoder).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn sidecar_with_wrong_header_or_trailer_is_never_sent() {
    let content = content(4000);
    let gzip = encoded_to("gzip", &content, 3000);
    let members: Vec<u8> = content
        .chunks(2000)
        .flat_map(|part| encode("gzip", part))
        .collect();
    let other_length = &content[..3999];
    let mut dictionary = zstd::bulk::Compressor::with_dictionary(19, &content).expect("zstd");
    let mut dictionary = dictionary.compress(&content).expect("memory");
    // A raw dictionary has no number, so one is put in: of one byte, after the magic number and the descriptor.
    dictionary[4] |= 1;
    dictionary.insert(5 + usize::from(dictionary[4] & 0x20 == 0), 7);
    let root = Root::new();
    let cases: &[(&str, &str, Vec<u8>, &str)] = &[
        (
            "dump",
            "gz",
            encode("gzip", other_length),
            "its last four bytes",
        ),
        ("cut", "gz", gzip[..2000].to_vec(), "its last four bytes"),
        (
            "trailing",
            "gz",
            [&*gzip, &[0; 512]].concat(),
            "its last four bytes",
        ),
        ("members", "gz", members, "several members"),
        ("text", "br", b"any text".to_vec(), "not in the coding"),
        ("script", "br", b"(function () {})".to_vec(), "that it says"),
        (
            "other",
            "br",
            encode("br", &pseudorandom_bytes(90_000)),
            "that it says",
        ),
        (
            "other",
            "zst",
            zstd::bulk::compress(other_length, 19).expect("memory"),
            "that it says",
        ),
        (
            "window",
            "zst",
            zstd_with_window(&content, 24),
            "more than 8 MiB",
        ),
        ("dictionary", "zst", dictionary, "dictionary"),
    ];
    for (name, suffix, sidecar, _) in cases {
        root.write(format!("{name}.js"), &content);
        root.write(format!("{name}.js.{suffix}"), sidecar);
    }
    root.backdate();
    let server = Server::with(root.path(), &["-w", "2"]);
    for _ in 0..5 {
        for (name, suffix, ..) in cases {
            let response = server.ask("GET", &format!("/{name}.js"), BROWSER);
            assert_eq!(coding(&response), "", "{name}.js.{suffix}");
            assert!(response.content == content, "{name}");
            let plain = server.ask("GET", &format!("/{name}.js.{suffix}"), BROWSER);
            assert_eq!(
                (plain.status(), coding(&plain)),
                ("200 OK", ""),
                "{name}.js.{suffix}"
            );
        }
    }
    let warnings = warnings_until_reload(&server);
    for (name, suffix, _, reason) in cases {
        let start = format!("sidecar /{name}.js.{suffix} is not used: ");
        let about: Vec<_> = warnings
            .iter()
            .filter(|line| line.contains(&start))
            .collect();
        assert_eq!(about.len(), 1, "{start}: {warnings:?}");
        assert!(about[0].contains(reason), "{about:?}");
    }
}

#[test]
fn sidecar_that_decodes_to_other_content_is_sent_no_more() {
    let content = content(4000);
    let other: Vec<u8> = content.iter().map(|byte| byte ^ 1).collect();
    let root = Root::new();
    let in_the_middle = |mut encoded: Vec<u8>| {
        let middle = encoded.len() / 2;
        encoded[middle] ^= 0x10;
        encoded
    };
    let cases = [
        ("same-length", "br", encode("br", &other)),
        ("same-length", "gzip", encode("gzip", &other)),
        ("same-length", "zstd", encode("zstd", &other)),
        ("corrupt", "gzip", in_the_middle(encode("gzip", &content))),
        ("corrupt", "br", in_the_middle(encode("br", &content))),
        ("trailing", "br", [&*encode("br", &content), b"x"].concat()),
        (
            "trailing",
            "zstd",
            [&*encode("zstd", &content), b"x"].concat(),
        ),
        // Larger than what is read into memory.
        ("large", "gzip", encoded_to("gzip", &other, 100_000)),
    ];
    for (name, coding, sidecar) in &cases {
        root.write(format!("{name}.js"), &content);
        root.write(format!("{name}.js{}", suffix(coding)), sidecar);
    }
    root.backdate();
    let server = Server::with(root.path(), &["-w", "2"]);
    for (name, sidecar_coding, _) in &cases {
        let (target, accept) = (
            format!("/{name}.js"),
            format!("Accept-Encoding: {sidecar_coding}\r\n"),
        );
        eventually(&format!("{target} is sent as it is"), || {
            coding(&server.ask("GET", &target, &accept))
                .is_empty()
                .then_some(())
        });
        // By either worker.
        for _ in 0..10 {
            let response = server.ask("GET", &target, &accept);
            assert_eq!(coding(&response), "", "{target} {sidecar_coding}");
            assert!(response.content == content, "{target}");
        }
    }
    let warnings = warnings_until_reload(&server);
    for (name, coding, _) in &cases {
        let line = format!(
            "sidecar /{name}.js{} is not used: it does not decode to the content of its file",
            suffix(coding)
        );
        let count = warnings.iter().filter(|it| it.contains(&line)).count();
        assert_eq!(count, 1, "{line}: {warnings:?}");
    }
    // A result is that of two versions.
    root.write("same-length.js.br", encode("br", &content));
    let response = server.ask("GET", "/same-length.js", BR);
    assert_eq!(
        (coding(&response), response.decoded() == content),
        ("br", true)
    );
}

#[test]
fn good_sidecar_of_any_form_is_sent_from_first_request() {
    let content = content(4000);
    let (first, second) = content.split_at(2000);
    let frame = |part: &[u8]| {
        let frame = encode("zstd", part);
        let len = u32::try_from(frame.len()).expect("a length").to_le_bytes();
        [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], &len[..], &frame].concat()
    };
    let mut named = flate2::GzBuilder::new()
        .filename("named.js")
        .comment("a comment")
        .extra("extra")
        .mtime(1_000_000_000)
        .write(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut &*content, &mut named).expect("memory");
    let root = Root::new();
    let cases: [(&str, &str, &[u8], Vec<u8>); 10] = [
        ("named", "gzip", &content, named.finish().expect("memory")),
        ("plain", "gzip", &content, encode("gzip", &content)),
        ("plain", "br", &content, encode("br", &content)),
        (
            "metadata",
            "br",
            &content,
            encoded_to("br", &content, 100_000),
        ),
        (
            "no-length",
            "zstd",
            &content,
            zstd_with_window(&content, 23),
        ),
        // As pzstd(1) writes them.
        (
            "frames",
            "zstd",
            &content,
            [frame(first), frame(second)].concat(),
        ),
        (
            "skippable",
            "zstd",
            &content,
            encoded_to("zstd", &content, 2500),
        ),
        ("nothing", "gzip", b"", encode("gzip", b"")),
        ("nothing", "zstd", b"", encode("zstd", b"")),
        ("nothing", "br", b"", encode("br", b"")),
    ];
    for (name, coding, content, sidecar) in &cases {
        root.write(format!("{name}.js"), content);
        root.write(format!("{name}.js{}", suffix(coding)), sidecar);
    }
    root.backdate();
    let server = Server::start(root.path());
    // Before they are decoded, and after.
    for _ in 0..3 {
        for (name, sidecar_coding, content, _) in &cases {
            let accept = format!("Accept-Encoding: identity;q=0, {sidecar_coding}\r\n");
            let response = server.ask("GET", &format!("/{name}.js"), &accept);
            assert_eq!(coding(&response), *sidecar_coding, "{name}");
            assert!(response.decoded() == *content, "{name} {sidecar_coding}");
        }
        server.wait_until_idle();
    }
    assert_eq!(warnings_until_reload(&server), [""; 0]);
}

#[test]
fn long_sidecar_is_decoded_as_a_stream() {
    const MIB: usize = 1024 * 1024;
    let root = Root::new();
    File::create(root.join("long.js"))
        .and_then(|file| file.set_len(4 * MIB as u64))
        .expect("a sparse file");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for part in 0..4 {
        // It differs at the end.
        let byte = u8::from(part == 3);
        std::io::Write::write_all(&mut encoder, &vec![byte; MIB]).expect("memory");
    }
    root.write("long.js.gz", encoder.finish().expect("memory"));
    root.backdate();
    let server = Server::start(root.path());
    server.ask("HEAD", "/long.js", GZIP);
    let before = server.resident_kib();
    eventually("the sidecar is sent no more", || {
        let response = server.ask("HEAD", "/long.js", GZIP);
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 3 * 1024, "{grown} KiB");
        coding(&response).is_empty().then_some(())
    });
}

#[test]
fn sidecar_requested_by_name_is_a_plain_file() {
    let root = site();
    root.write("archive.tar.gz", encoded("gzip", 3000));
    root.backdate();
    for options in [&[][..], &["--no-precompressed"]] {
        let server = Server::with(root.path(), options);
        for (target, media_type, expected) in [
            (
                "/app.js.br",
                "application/octet-stream",
                encoded("br", 2500),
            ),
            ("/app.js.zst", "application/zstd", encoded("zstd", 2800)),
            ("/app.js.gz", "application/gzip", encoded("gzip", 3000)),
            ("/archive.tar.gz", "application/gzip", encoded("gzip", 3000)),
        ] {
            let response = server.ask("GET", target, BROWSER);
            assert_eq!(response.status(), "200 OK", "{target}");
            assert_eq!(response.content, expected, "{target}");
            assert_eq!(response.field("Content-Type"), Some(media_type));
            assert_eq!(response.field("Content-Encoding"), None, "{target}");
            assert_eq!(response.field("Vary"), None, "{target}");
        }
    }
}

#[test]
fn rule_names_coding_that_file_itself_is_in() {
    let script = content(4000);
    let root = Root::new();
    root.write("Build/app.js.gz", encoded("gzip", 3000));
    root.write("Build/app.js.br", encoded("br", 3000));
    root.write("Build/app.unityweb", encoded("gzip", 3000));
    root.write("Build/plain.unityweb", &script);
    root.write(
        "_headers",
        "/Build/*.js.gz\n  Content-Type: text/javascript\n  Content-Encoding: gzip\n\
         /Build/*.js.br\n  Content-Type: text/javascript\n  Content-Encoding: br\n\
         /Build/*.unityweb\n  Content-Encoding: x-gzip\n",
    );
    root.backdate();
    let server = Server::with(root.path(), &["--compress"]);
    for _ in 0..3 {
        for accept in ["", BROWSER, "Accept-Encoding: identity\r\n"] {
            for (target, media_type, expected) in [
                ("/Build/app.js.gz", "text/javascript", "gzip"),
                ("/Build/app.js.br", "text/javascript", "br"),
                ("/Build/app.unityweb", "application/vnd.unity", "gzip"),
            ] {
                let response = server.ask("GET", target, accept);
                assert_eq!(response.fields("Content-Encoding"), [expected], "{target}");
                assert_eq!(response.field("Content-Type"), Some(media_type), "{target}");
                assert_eq!(response.field("Vary"), None, "{target}");
                assert_eq!(response.decoded(), script, "{target}");
                let head = server.ask("HEAD", target, accept);
                assert_eq!(head.undated(), response.undated(), "{target}");
                let part = server.ask("GET", target, "Range: bytes=1-2\r\n");
                assert_eq!((part.code(), coding(&part)), ("206", expected), "{target}");
                let parts = server.ask("GET", target, "Range: bytes=1-2,2900-2901\r\n");
                assert_eq!(
                    (parts.code(), coding(&parts)),
                    ("200", expected),
                    "{target}"
                );
                let known = format!("If-None-Match: {}\r\n", tag(&response));
                let known = server.ask("GET", target, &known);
                assert_eq!((known.code(), coding(&known)), ("304", ""), "{target}");
            }
            // It is not in that coding.
            let plain = server.ask("GET", "/Build/plain.unityweb", accept);
            assert_eq!((coding(&plain), plain.content == script), ("", true));
            let missing = server.ask("GET", "/Build/missing.js.gz", accept);
            assert_eq!((missing.code(), coding(&missing)), ("404", ""));
        }
        server.wait_until_idle();
    }
}

#[test]
fn no_precompressed_ignores_sidecars() {
    let root = site();
    let server = Server::with(root.path(), &["--no-precompressed"]);
    for target in ["/app.js", "/", "/about", "/nothing"] {
        let response = server.ask("GET", target, BROWSER);
        assert_eq!(coding(&response), "", "{target}");
        assert_eq!(response.field("Vary"), None, "{target}");
        assert_eq!(response.content, encoded("", 4000), "{target}");
    }
}

#[test]
fn spa_fallback_and_rewritten_paths_are_sent_encoded() {
    let root = site();
    root.write(
        "_redirects",
        "/app/* /app.js 200\n/gone/* /about.html 404\n",
    );
    let server = Server::with(root.path(), &["--spa"]);
    for (target, status, fields, vary) in [
        (
            "/deep/link",
            "200",
            "Accept: text/html\r\n",
            &["Accept, Sec-Fetch-Dest, Sec-Fetch-Mode", "Accept-Encoding"][..],
        ),
        (
            "/deep/link",
            "404",
            "Accept: image/png\r\n",
            &["Accept, Sec-Fetch-Dest, Sec-Fetch-Mode", "Accept-Encoding"],
        ),
        ("/app/x", "200", "", &["Accept-Encoding"]),
        ("/gone/x", "404", "", &["Accept-Encoding"]),
    ] {
        for (expected, _, accepts) in CODINGS {
            let response = server.ask("GET", target, &format!("{fields}{accepts}"));
            assert!(response.status().starts_with(status), "{response:?}");
            assert_eq!(coding(&response), expected, "{target}");
            assert_eq!(response.fields("Vary"), vary, "{target}");
        }
    }
}

/// Requests `/app.js` and returns its content; before it, if it is encoded, its coding and the filler in that.
fn body_with_coding(client: &mut Client) -> String {
    let response = client.request("GET", "/app.js", BR);
    let text = String::from_utf8_lossy(&response.decoded()).into_owned();
    match coding(&response) {
        "" => text,
        coding => {
            let filler = char::from(response.content[response.content.len() - 2]);
            format!("{coding} {filler} {text}")
        }
    }
}

#[test]
fn sidecar_changes_are_seen_by_next_request() {
    let root = Root::of(&[("app.js", "one")]);
    let server = Server::start(root.path());
    let mut old = server.connect();
    // The file is not cached before its second is over.
    eventually("the file is cached", || {
        old.get("/app.js").field("Last-Modified").map(drop)
    });
    let (file, sidecar) = (root.join("app.js"), root.join("app.js.br"));
    let write = |path, content: &str| fs::write(path, content).expect("a directory");
    let encode = |content: &str, filler| brotli(content.as_bytes(), filler, 10);
    let write_sidecar = |content, filler| {
        fs::write(&sidecar, encode(content, filler)).expect("a directory");
    };
    let write_with_same_mtime = |content: &[u8]| {
        let file = File::options().write(true).open(&sidecar).expect("a file");
        let date = file.metadata().and_then(|file| file.modified());
        file.write_all_at(content, 0).expect("a file");
        file.set_modified(date.expect("a date")).expect("a date");
    };
    let date = |at: SystemTime| {
        let file = File::options().write(true).open(&sidecar).expect("a file");
        file.set_modified(at).expect("a file");
    };
    let hour = Duration::from_secs(3600);
    let steps: &[(&dyn Fn(), &str)] = &[
        (&|| {}, "one"),
        (&|| write_sidecar("one", b'1'), "br 1 one"),
        (&|| write_sidecar("one", b'2'), "br 2 one"),
        (&|| write_with_same_mtime(&encode("one", b'3')), "br 3 one"),
        (&|| write(&file, "two"), "two"),
        (&|| write_sidecar("two", b'4'), "br 4 two"),
        (&|| date(SystemTime::now() - hour), "two"),
        (&|| date(SystemTime::now()), "br 4 two"),
        (&|| fs::remove_file(&sidecar).expect("a file"), "two"),
        (
            &|| {
                root.write("new", encode("two", b'5'));
                fs::rename(root.join("new"), &sidecar).expect("a file");
            },
            "br 5 two",
        ),
        (
            &|| {
                fs::remove_file(&sidecar).expect("a file");
                fs::create_dir(&sidecar).expect("a directory");
            },
            "two",
        ),
        (
            &|| {
                fs::remove_dir(&sidecar).expect("a directory");
                root.write("there", encode("two", b'6'));
                symlink("there", &sidecar).expect("a link");
            },
            "br 6 two",
        ),
        (&|| root.write("there", encode("two", b'7')), "br 7 two"),
        (&|| fs::remove_file(&file).expect("a file"), ""),
    ];
    for (step, (change, expected)) in steps.iter().enumerate() {
        std::thread::sleep(TICK);
        change();
        let mut new = server.connect();
        match expected.is_empty() {
            true => assert!(old.get("/app.js").status().starts_with("404")),
            false => {
                for attempt in 0..3 {
                    assert_eq!(
                        body_with_coding(&mut old),
                        *expected,
                        "step {step}, {attempt}"
                    );
                    assert_eq!(
                        body_with_coding(&mut new),
                        *expected,
                        "step {step}, {attempt}, new"
                    );
                }
            }
        }
    }
}

#[test]
fn large_sidecars_are_sent_whole_and_closed() {
    let root = Root::new();
    let whole = content(3_000_000);
    let small = encoded_to("gzip", &whole, 60_000);
    let files = [
        ("/medium.js", encoded_to("br", &whole, 100_000)),
        ("/large.js", encoded_to("br", &whole, 2_500_000)),
    ];
    for (name, large) in &files {
        let name = &name[1..];
        root.write(name, &whole);
        root.write(format!("{name}.br"), large);
        root.write(format!("{name}.gz"), &small);
    }
    for options in [&[][..], &["--cache-memory", "0"]] {
        let server = Server::with(root.path(), options);
        let before = server.descriptors();
        for _ in 0..3 {
            for (name, large) in &files {
                for (fields, expected, content) in
                    [(BR, "br", large), (GZIP, "gzip", &small), ("", "", &whole)]
                {
                    let response = server.ask("GET", name, fields);
                    assert_eq!(coding(&response), expected);
                    assert!(response.content == *content, "{name} {expected}");
                }
                let fields = format!("{BR}Range: bytes=90000-99999\r\n");
                let part = server.ask("GET", name, &fields);
                assert!(part.content == large[90_000..100_000], "{name}");
            }
        }
        // All clients have their response and have closed.
        eventually("the files are closed", || {
            let opened = server.has_open(&root.join("large.js"))
                || server.has_open(&root.join("large.js.br"));
            (!opened && server.descriptors() <= before).then_some(())
        });
    }
}
