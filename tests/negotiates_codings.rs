//! Of the forms that stand beside a file, each is sent the one that it asks for, with all that is true of it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::time::{Duration, SystemTime};

use crate::support::{Client, Response, Root, Server, Signal, docroot, eventually, filling};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What browsers say, and what a request can say to be sent each form.
const BROWSER: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
const BR: &str = "Accept-Encoding: br\r\n";
const GZIP: &str = "Accept-Encoding: gzip\r\n";
const FORMS: [(&str, &str, &str); 4] = [
    ("", "", ""),
    ("br", ".br", BR),
    ("zstd", ".zst", "Accept-Encoding: zstd\r\n"),
    ("gzip", ".gz", GZIP),
];

/// So that a change is dated differently than the one before.
const TICK: Duration = Duration::from_millis(25);

/// So many bytes that begin like this coding, and are not those of any other. What comes then is nobody's business
/// but the client's.
fn form(coding: &str, len: usize) -> Vec<u8> {
    let mark: &[u8] = match coding {
        "gzip" => &[0x1f, 0x8b],
        "zstd" => &[0x28, 0xb5, 0x2f, 0xfd],
        _ => coding.as_bytes(),
    };
    [mark, &filling(len)[mark.len()..]].concat()
}

/// A file of 4000 bytes, with forms of so many: br, zstd, gzip.
fn put(root: &Root, name: &str, lengths: [usize; 3]) {
    root.write(name, form("", 4000));
    for ((coding, suffix, _), len) in FORMS[1..].iter().zip(lengths) {
        root.write(format!("{name}{suffix}"), form(coding, len));
    }
}

/// The smaller the form, the better the coding; and some that are otherwise.
fn site() -> Root {
    let root = Root::new();
    for name in ["app.js", "index.html", "404.html", "about.html"] {
        put(&root, name, [2500, 2800, 3000]);
    }
    put(&root, "gzip.js", [3000, 2900, 2800]);
    put(&root, "tied.js", [2800, 2800, 2800]);
    put(&root, "tied-below.js", [2900, 2800, 2800]);
    root.write("alone.js", form("", 4000));
    root.date_back();
    root
}

fn coding(response: &Response) -> &str {
    response.field("Content-Encoding").unwrap_or_default()
}

fn tag(response: &Response) -> &str {
    response.field("ETag").expect("a tag")
}

fn check_form(server: &Server, target: &str, fields: &str, expected: &str) {
    let response = server.ask("GET", target, fields);
    let what = format!("{target} {fields:?}: {response:?}");
    assert_eq!(response.status(), "200 OK", "{what}");
    assert_eq!(coding(&response), expected, "{what}");
    assert_eq!(response.field("Vary"), Some("Accept-Encoding"), "{what}");
    assert_eq!(response.field("Content-Type"), Some(SCRIPT), "{what}");
    let whole = form(expected, response.content.len());
    assert_eq!(response.content, whole, "{what}");
    let head = server.ask("HEAD", target, fields);
    assert_eq!(head.undated(), response.undated(), "{what}");
}

#[test]
fn the_request_decides() {
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
        check_form(&server, "/app.js", &fields, expected);
    }
    check_form(&server, "/app.js", "", "");
    let lines = "Accept-Encoding: gzip\r\naccept-encoding: br\r\n";
    check_form(&server, "/app.js", lines, "br");
    let lines = "Accept-Encoding: gzip\r\naccept-encoding: br;q=0.5\r\n";
    check_form(&server, "/app.js", lines, "gzip");
}

#[test]
fn of_what_is_as_welcome_the_shortest_is_sent() {
    let root = site();
    let server = Server::start(root.path());
    check_form(&server, "/gzip.js", BROWSER, "gzip");
    check_form(&server, "/tied.js", BROWSER, "br");
    check_form(&server, "/tied-below.js", BROWSER, "zstd");
}

#[test]
fn each_form_has_a_strong_tag_of_its_own() {
    let root = site();
    let server = Server::start(root.path());
    let mut tags = HashSet::new();
    for (expected, _, fields) in FORMS {
        let response = server.ask("GET", "/app.js", fields);
        assert_eq!(coding(&response), expected);
        assert!(tag(&response).starts_with('"'), "{response:?}");
        assert!(tags.insert(tag(&response).to_owned()), "{response:?}");
    }
}

#[test]
fn whatever_is_said_of_it_depends_on_the_request() {
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
fn who_names_a_form_is_answered_about_that_one() {
    let root = site();
    let server = Server::start(root.path());
    let tags = FORMS.map(|(_, _, fields)| tag(&server.ask("GET", "/app.js", fields)).to_owned());
    let [identity, br, _, gzip] = &tags;
    // What it accepts, what it has, and the tag of the 304, if it is one.
    for (accepts, has, expected) in [
        (BROWSER, &**br, Some(br)),
        (BROWSER, gzip, Some(gzip)),
        (BROWSER, identity, Some(identity)),
        ("", br, Some(br)),
        ("", identity, Some(identity)),
        (GZIP, gzip, Some(gzip)),
        (GZIP, identity, Some(identity)),
        // It has what it says that it cannot use.
        (GZIP, br, None),
        ("Accept-Encoding: br, identity;q=0\r\n", identity, None),
        (BROWSER, "\"x\"", None),
        // Of several, what it would be sent.
        (BROWSER, &format!("{identity}, {gzip}, {br}"), Some(br)),
        (GZIP, &format!("{identity}, {gzip}, {br}"), Some(gzip)),
        (BROWSER, &format!("W/{gzip}"), Some(gzip)),
        (BROWSER, "*", Some(br)),
    ] {
        let response = server.ask(
            "GET",
            "/app.js",
            &format!("{accepts}If-None-Match: {has}\r\n"),
        );
        let status = match expected {
            Some(_) => "304 Not Modified",
            None => "200 OK",
        };
        assert_eq!(response.status(), status, "{accepts:?} {has}");
        if let Some(expected) = expected {
            assert_eq!(tag(&response), expected, "{accepts:?} {has}");
            assert_eq!(coding(&response), "", "without content");
        }
    }
    let fields = format!("{BROWSER}If-Match: {gzip}\r\n");
    assert_eq!(coding(&server.ask("GET", "/app.js", &fields)), "gzip");
    let fields = format!("{GZIP}If-Match: {br}\r\n");
    let refused = server.ask("GET", "/app.js", &fields);
    assert_eq!(refused.status(), "412 Precondition Failed");
}

#[test]
fn ranges_are_of_the_coded_bytes() {
    let root = site();
    let server = Server::start(root.path());
    let whole = form("br", 2500);
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

    // A coding of several parts would be undone of all of them together, boundaries included.
    let several = "Range: bytes=0-9, 2490-2499\r\n";
    let parts = ask(&format!("{BR}{several}"));
    assert_eq!((parts.status(), coding(&parts)), ("200 OK", "br"));
    assert_eq!(parts.content, whole);
    assert_eq!(ask(several).status(), "206 Partial Content");

    for (fields, status, expected) in [
        (format!("{BR}If-Range: {br}\r\n"), "206", "br"),
        // The rest of what it has, if it can use that, and not of what others would be sent.
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
            let whole = form(expected, len.expect("a length"));
            assert_eq!(response.content, &whole[10..20], "{fields}");
        }
    }
}

#[test]
fn a_date_does_not_tell_forms_apart() {
    let root = Root::new();
    put(&root, "app.js", [2500, 2800, 3000]);
    root.write("alone.js", "alone");
    let server = Server::start(root.path());
    // Once its second is over, a date is told, and proves something of what there is only one form of.
    let date = eventually("a date is told", || {
        let alone = server.get("/alone.js").field("Last-Modified")?.to_owned();
        server.get("/app.js").field("Last-Modified")?;
        Some(alone)
    });
    let since = format!("If-Modified-Since: {date}\r\n");
    let alone = server.ask("GET", "/alone.js", &since);
    assert_eq!(alone.status(), "304 Not Modified");
    for (_, _, fields) in FORMS {
        let date = server.ask("GET", "/app.js", fields);
        let date = date.field("Last-Modified").expect("it is told");
        let since = format!("{fields}If-Modified-Since: {date}\r\n");
        let since = server.ask("GET", "/app.js", &since);
        assert_eq!(since.status(), "200 OK", "{fields:?}");
        let range = format!("{fields}If-Range: {date}\r\nRange: bytes=1-2\r\n");
        let range = server.ask("GET", "/app.js", &range);
        assert_eq!(range.status(), "200 OK", "{fields:?}");
    }
}

#[test]
fn what_docroot_compress_writes_is_sent() {
    let text: String = (0..400)
        .map(|line| format!("export const line{line} = {line};\n"))
        .collect();
    let root = Root::of(&[("app.js", &text), ("index.html", &text)]);
    let done = docroot().arg("compress").arg(root.path()).output();
    assert!(done.expect("docroot runs").status.success());
    let server = Server::start(root.path());
    for target in ["/app.js", "/", "/index.html"] {
        for (expected, _, fields) in FORMS {
            let response = server.ask("GET", target, fields);
            assert_eq!(coding(&response), expected, "{target}");
            assert_eq!(response.decoded(), text.as_bytes(), "{target} {expected}");
        }
    }
}

/// What is on standard error up to now.
fn complaints(server: &Server) -> Vec<String> {
    server.signal(Signal::HUP);
    let lines = std::iter::from_fn(|| {
        let line = server.complaint();
        (!line.contains("can be read again")).then_some(line)
    });
    lines.collect()
}

#[test]
fn what_is_no_form_of_the_file_is_not_used_and_named_once() {
    let root = Root::new();
    let outside = Root::of(&[("app.js.br", "outside")]);
    for name in ["older", "foreign", "empty", "folder", "outside", "inside"] {
        root.write(format!("{name}.js"), form("", 4000));
    }
    root.write("older.js.br", form("br", 2500));
    root.write("foreign.js.gz", form("br", 2500));
    root.write("foreign.js.zst", form("gzip", 2500));
    root.write("empty.js.br", "");
    fs::create_dir(root.join("folder.js.br")).expect("a folder of ours");
    symlink(outside.join("app.js.br"), root.join("outside.js.br")).expect("a link");
    root.write("elsewhere/form", form("br", 2500));
    symlink("elsewhere/form", root.join("inside.js.br")).expect("a link");
    let before = SystemTime::now() - Duration::from_secs(3600);
    let older = File::options().write(true).open(root.join("older.js.br"));
    let dated = older.and_then(|older| older.set_modified(before));
    dated.expect("a file of ours");
    let server = Server::with(root.path(), &["-w", "2"]);
    for _ in 0..10 {
        for name in ["older", "foreign", "empty", "folder", "outside"] {
            let response = server.ask("GET", &format!("/{name}.js"), BROWSER);
            assert_eq!(response.status(), "200 OK", "{name}");
            assert_eq!(coding(&response), "", "{name}");
            assert_eq!(response.content, form("", 4000), "{name}");
        }
        let inside = server.ask("GET", "/inside.js", BROWSER);
        assert_eq!(coding(&inside), "br");
    }
    let said = complaints(&server);
    for (name, why) in [
        ("/older.js.br", "older than the file"),
        ("/foreign.js.gz", "not in the coding"),
        ("/foreign.js.zst", "not in the coding"),
        ("/empty.js.br", "not in the coding"),
        ("/outside.js.br", "cannot be read"),
    ] {
        let about: Vec<_> = said.iter().filter(|line| line.contains(name)).collect();
        assert_eq!(about.len(), 1, "{name}: {said:?}");
        assert!(about[0].contains(why), "{about:?}");
    }
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn asked_for_itself_a_form_is_a_file() {
    let root = site();
    root.write("archive.tar.gz", form("gzip", 3000));
    root.date_back();
    for options in [&[][..], &["--no-precompressed"]] {
        let server = Server::with(root.path(), options);
        for (target, media_type, expected) in [
            ("/app.js.br", "application/octet-stream", form("br", 2500)),
            ("/app.js.zst", "application/zstd", form("zstd", 2800)),
            ("/app.js.gz", "application/gzip", form("gzip", 3000)),
            ("/archive.tar.gz", "application/gzip", form("gzip", 3000)),
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
fn forms_can_be_switched_off() {
    let root = site();
    let server = Server::with(root.path(), &["--no-precompressed"]);
    for target in ["/app.js", "/", "/about", "/nothing"] {
        let response = server.ask("GET", target, BROWSER);
        assert_eq!(coding(&response), "", "{target}");
        assert_eq!(response.field("Vary"), None, "{target}");
        assert_eq!(response.content, form("", 4000), "{target}");
    }
}

#[test]
fn the_shell_and_what_a_rule_leads_to_are_sent_in_a_coding() {
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
        for (expected, _, accepts) in FORMS {
            let response = server.ask("GET", target, &format!("{fields}{accepts}"));
            assert!(response.status().starts_with(status), "{response:?}");
            assert_eq!(coding(&response), expected, "{target}");
            assert_eq!(response.fields("Vary"), vary, "{target}");
        }
    }
}

/// What it is sent: the coding, and the content.
fn shown(client: &mut Client) -> String {
    let response = client.request("GET", "/app.js", BR);
    let text = String::from_utf8_lossy(&response.content);
    format!("{} {text}", coding(&response)).trim().to_owned()
}

#[test]
fn a_form_that_comes_changes_or_goes_is_seen_by_the_next_request() {
    let root = Root::of(&[("app.js", "one")]);
    let server = Server::start(root.path());
    let mut old = server.connect();
    // Before its second is over, it is not remembered at all.
    eventually("it is remembered", || {
        old.get("/app.js").field("Last-Modified").map(drop)
    });
    let (file, form) = (root.join("app.js"), root.join("app.js.br"));
    let write = |path, content: &str| fs::write(path, content).expect("a folder of ours");
    let put_back = |content: &[u8]| {
        let form = File::options().write(true).open(&form).expect("a file");
        let date = form.metadata().and_then(|form| form.modified());
        form.write_all_at(content, 0).expect("a file of ours");
        form.set_modified(date.expect("a date")).expect("a date");
    };
    let date = |at: SystemTime| {
        let form = File::options().write(true).open(&form).expect("a file");
        form.set_modified(at).expect("a file of ours");
    };
    let hour = Duration::from_secs(3600);
    let steps: &[(&dyn Fn(), &str)] = &[
        (&|| {}, "one"),
        (&|| write(&form, "1"), "br 1"),
        (&|| write(&form, "2"), "br 2"),
        (&|| put_back(b"3"), "br 3"),
        (&|| write(&file, "two"), "two"),
        (&|| write(&form, "4"), "br 4"),
        (&|| date(SystemTime::now() - hour), "two"),
        (&|| date(SystemTime::now()), "br 4"),
        (&|| fs::remove_file(&form).expect("a file"), "two"),
        (
            &|| {
                root.write("place", "5");
                fs::rename(root.join("place"), &form).expect("a file");
            },
            "br 5",
        ),
        (
            &|| {
                fs::remove_file(&form).expect("a file");
                fs::create_dir(&form).expect("a folder");
            },
            "two",
        ),
        (
            &|| {
                fs::remove_dir(&form).expect("a folder");
                root.write("there", "6");
                symlink("there", &form).expect("a link");
            },
            "br 6",
        ),
        (&|| root.write("there", "7"), "br 7"),
        (&|| fs::remove_file(&file).expect("a file"), ""),
    ];
    for (step, (change, expected)) in steps.iter().enumerate() {
        std::thread::sleep(TICK);
        change();
        let mut new = server.connect();
        match expected.is_empty() {
            true => assert!(old.get("/app.js").status().starts_with("404")),
            false => {
                for turn in 0..3 {
                    assert_eq!(shown(&mut old), *expected, "step {step}, {turn}");
                    assert_eq!(shown(&mut new), *expected, "step {step}, {turn}, new");
                }
            }
        }
    }
}

#[test]
fn large_forms_are_sent_whole_and_let_go() {
    let root = Root::new();
    let (whole, small) = (form("", 3_000_000), form("gzip", 60_000));
    let files = [
        ("/medium.js", form("br", 100_000)),
        ("/large.js", form("br", 2_500_000)),
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
        // All have been answered and have left.
        eventually("what was opened is closed", || {
            let opened = server.has_open(&root.join("large.js"))
                || server.has_open(&root.join("large.js.br"));
            (!opened && server.descriptors() <= before).then_some(())
        });
    }
}
