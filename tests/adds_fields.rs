//! Each answer has the fields that were asked for, and those that break no page.

use std::fs;
use std::process::Output;

use crate::support::{Response, Root, Server, Signal, docroot, eventually};

const NOSNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");
const REFERRER: (&str, &str) = ("Referrer-Policy", "strict-origin-when-cross-origin");

/// htpasswd -nbB -C 5 alice 'correct horse'
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";

const PREFLIGHT: &str = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n\
    Access-Control-Request-Headers: range,x-a\r\n";

/// Requests of all kinds, and the status of the answer.
const ALL: &[(&str, &str, &str, &str)] = &[
    ("GET", "/", "", "200"),
    ("HEAD", "/", "", "200"),
    ("GET", "/a.txt", "Range: bytes=0-0\r\n", "206"),
    ("GET", "/nothing", "", "404"),
    ("HEAD", "/nothing", "", "404"),
    ("GET", "/folder", "", "301"),
    ("GET", "/old", "", "301"),
    ("GET", "/listed/", "", "200"),
    ("GET", "/%", "", "400"),
    ("GET", "/a.txt", "Host: b\r\n", "400"),
    ("POST", "/", "", "405"),
    ("BREW", "/", "", "501"),
    ("OPTIONS", "/", "", "204"),
    ("OPTIONS", "*", "", "204"),
    ("GET", "/a.txt", "If-Match: \"x\"\r\n", "412"),
    ("GET", "/a.txt", "Range: bytes=9-\r\n", "416"),
    ("GET", "/a.txt", "Expect: tea\r\n", "417"),
];

fn site() -> Root {
    let root = Root::of(&[
        ("index.html", "home"),
        ("a.txt", "a"),
        ("folder/index.html", "folder"),
        ("listed/b.txt", "b"),
        ("_redirects", "/old /a.txt\n"),
    ]);
    root.date_back();
    root
}

/// Checks that each answer has these fields, once, or with an empty value has them not.
fn check(server: &Server, rows: &[(&str, &str, &str, &str)], fields: &[(&str, &str)]) {
    for (method, target, lines, status) in rows {
        // A listing has no length.
        let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
        let mut client = server.connect();
        client.send(request);
        let response = client.response_to_head();
        let what = format!("{method} {target} {lines:?}: {response:?}");
        assert!(response.status().starts_with(status), "{what}");
        check_response(&response, fields);
    }
}

fn check_response(response: &Response, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        let expected = match *value {
            "" => &[][..],
            value => &[value],
        };
        assert_eq!(response.fields(name), expected, "{name}: {response:?}");
    }
}

/// What comes of a start with these options, which is to fail.
fn refused(root: &Root, options: &[&str]) -> String {
    let output = checked(root, options);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{options:?}: {said}");
    said
}

fn checked(root: &Root, options: &[&str]) -> Output {
    let mut command = docroot();
    command.arg("--check").args(options).arg(root.path());
    command.output().expect("docroot runs")
}

/// Has what can be read again read, and gives what was said of that.
fn reload(server: &Server) -> Vec<String> {
    server.signal(Signal::HUP);
    let mut said = Vec::new();
    loop {
        let line = server.complaint();
        let is_last = line.contains("is in force") || line.contains("stays as it was");
        said.push(line);
        if is_last {
            return said;
        }
    }
}

#[test]
fn every_answer_keeps_pages_safe() {
    let root = site();
    let server = Server::with(root.path(), &["--listing"]);
    check(&server, ALL, &[NOSNIFF, REFERRER]);
    root.write("404.html", "lost");
    check(&server, &ALL[3..5], &[NOSNIFF, REFERRER]);
    let guarded = Server::with(root.path(), &["-a", ALICE]);
    let rows = &[("GET", "/", "", "401"), ("HEAD", "/", "", "401")];
    check(&guarded, rows, &[NOSNIFF, REFERRER]);
}

#[test]
fn every_answer_has_what_was_given() {
    let root = site();
    let options = [
        "--listing",
        "-H",
        "X-One: 1",
        "--header",
        "X-Two:  a \"b\": c ",
        "-H",
        "Referrer-Policy: no-referrer",
        "-H",
        "x-content-type-options:",
    ];
    let server = Server::with(root.path(), &options);
    let expected = [
        ("X-One", "1"),
        ("X-Two", "a \"b\": c"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", ""),
    ];
    check(&server, ALL, &expected);
    // Who has it has been told the defaults, and is told of what may have been said since.
    let tag = server.get("/a.txt");
    let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
    check(&server, &[("GET", "/a.txt", &known, "304")], &expected);

    let removed = Server::with(root.path(), &["--listing", "-H", "Referrer-Policy:"]);
    check(&removed, ALL, &[NOSNIFF, ("Referrer-Policy", "")]);
}

#[test]
fn fields_can_be_given_by_the_environment() {
    let root = site();
    // As a block in a compose file ends.
    for (value, expected) in [
        ("X-One: 1", [("X-One", "1"), ("X-Two", "")]),
        (
            "X-One: 1\nX-Two: a, b\n",
            [("X-One", "1"), ("X-Two", "a, b")],
        ),
        ("", [("X-One", ""), ("X-Two", "")]),
    ] {
        let mut command = docroot();
        command
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .env("DOCROOT_HEADER", value)
            .arg(root.path());
        let server = Server::spawn(command);
        check(&server, &[("GET", "/", "", "200")], &expected);
    }
}

#[test]
fn what_is_no_field_or_not_to_be_said_is_refused() {
    let root = site();
    for (field, why) in [
        ("X-One", "write `Name: value`"),
        (": a", "no name before the colon"),
        ("X One: a", "no field name"),
        ("X-One: a\u{1}b", "control character"),
        ("Content-Length: 5", "Content-Length"),
        ("ETag: \"a\"", "ETag"),
        ("Connection: close", "Connection"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding"),
        ("Location: /", "_redirects"),
        ("Vary:", "Vary"),
    ] {
        let said = refused(&root, &["-H", field]);
        assert!(said.contains(why), "{field}: {said}");
        assert!(said.contains("--header"), "{field}: {said}");
    }
}

#[test]
fn rules_in_the_root_are_followed_and_not_shown() {
    let root = site();
    root.write("docs/guide/one.txt", "one");
    root.write("404.html", "lost");
    root.write(
        "_headers",
        "# of all\n/*\n  X-All: yes\n\
         /docs/*\n  X-Docs: :splat\n  ! Referrer-Policy\n\
         /docs/:name/one.txt\n  X-Name: :name\n\
         /old\n  X-Old: moved\n\
         /a.txt\n  X-All: also\n  Link: </b>; rel=preload\n",
    );
    let server = Server::with(root.path(), &["--listing"]);
    check(&server, ALL, &[NOSNIFF]);
    for (target, status, expected) in [
        (
            "/",
            "200",
            &[("X-All", "yes"), ("X-Docs", ""), REFERRER][..],
        ),
        (
            "/docs/guide/one.txt",
            "200",
            &[
                ("X-All", "yes"),
                ("X-Docs", "guide/one.txt"),
                ("X-Name", "guide"),
                ("Referrer-Policy", ""),
            ],
        ),
        (
            "/docs/nothing",
            "404",
            &[
                ("X-All", "yes"),
                ("X-Docs", "nothing"),
                ("Referrer-Policy", ""),
            ],
        ),
        ("/docs/guide", "301", &[("X-Docs", "guide")]),
        ("/nothing", "404", &[("X-All", "yes"), ("X-Docs", "")]),
        ("/old", "301", &[("X-All", "yes"), ("X-Old", "moved")]),
        (
            "/a.txt",
            "200",
            &[("X-All", "yes, also"), ("Link", "</b>; rel=preload")],
        ),
        ("/_headers", "404", &[("X-All", "yes")]),
        ("/_redirects", "404", &[("X-All", "yes")]),
        ("/%5Fheaders", "404", &[("X-All", "yes")]),
    ] {
        check(&server, &[("GET", target, "", status)], expected);
        check(&server, &[("HEAD", target, "", status)], expected);
    }
    let tag = server.get("/a.txt");
    let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
    let expected = [("X-All", "yes, also"), ("Link", "</b>; rel=preload")];
    check(&server, &[("GET", "/a.txt", &known, "304")], &expected);
    let mut listing = server.connect();
    listing.send("GET /listed/ HTTP/1.0\r\n\r\n");
    assert!(!String::from_utf8_lossy(&listing.rest()).contains("_headers"));
}

#[test]
fn a_file_of_rules_that_is_named_is_not_shown_either() {
    let root = site();
    root.write("rules/fields", "/*\n  X-One: 1\n");
    root.write("rules/_redirects", "/old /elsewhere\n");
    std::os::unix::fs::symlink("rules/fields", root.join("link")).expect("a link");
    for (folder, name) in [
        (root.path().to_owned(), "rules/fields"),
        (root.join("rules"), "fields"),
        (root.join("rules"), "../rules/fields"),
        (root.join("listed"), "../link"),
    ] {
        let mut command = docroot();
        command
            .current_dir(folder)
            .args(["--bind", "127.0.0.1", "--port", "0"])
            .args(["--headers-file", name])
            .arg(root.path());
        let server = Server::spawn(command);
        let expected = &[("X-One", "1")];
        check(&server, &[("GET", "/", "", "200")], expected);
        check(&server, &[("GET", "/rules/fields", "", "404")], expected);
        if name == "../link" {
            check(&server, &[("GET", "/link", "", "404")], expected);
        } else {
            let old = server.get("/old");
            assert_eq!(old.field("Location"), Some("/elsewhere"));
            let rules = server.get("/rules/_redirects");
            assert_eq!(rules.status(), "404 Not Found", "{name}");
        }
    }
}

#[test]
fn what_nobody_named_and_is_no_file_of_rules_stops_nothing() {
    let root = Root::of(&[("index.html", "home"), ("_headers/file", "in a folder")]);
    let server = Server::start(root.path());
    let complaint = server.complaint();
    assert!(complaint.contains("_headers: "), "{complaint}");
    assert!(complaint.contains("it is left out"), "{complaint}");
    assert_eq!(server.get("/").text(), "home");
}

#[test]
fn a_line_that_is_not_understood_is_named() {
    let root = site();
    let rules = "/*\n  X-One: 1\n  ETag: \"a\"\nhttps://a.example/*\n  X-Two: 2\n/b\n  X-Three\n";
    root.write("_headers", rules);
    root.write("_redirects", "/old /a.txt\n/b\n/new / 302\n");
    // A file that nobody named was made for somebody else: the rest counts.
    let server = Server::start(root.path());
    let said: Vec<String> = (0..4).map(|_| server.complaint()).collect();
    for place in ["_headers:3:", "_headers:4:", "_headers:7:", "_redirects:2:"] {
        let about: Vec<_> = said.iter().filter(|line| line.contains(place)).collect();
        assert_eq!(about.len(), 1, "{place}: {said:?}");
        assert!(about[0].contains("left out"), "{about:?}");
    }
    // What is said of another host is not said of this one.
    let expected = [("X-One", "1"), ("X-Two", "")];
    check(&server, &[("GET", "/", "", "200")], &expected);
    check(&server, &[("GET", "/old", "", "301")], &[]);
    check(&server, &[("GET", "/new", "", "302")], &[]);
    // One that was named must be right.
    let file = root.join("_headers");
    let said = refused(&root, &["--headers-file", file.to_str().expect("a name")]);
    for line in [3, 4, 7] {
        let place = format!("{}:{line}: ", file.display());
        assert!(said.contains(&place), "{place} {said}");
    }
    let said = refused(&root, &["--headers-file", "/nothing/_headers"]);
    assert!(said.contains("/nothing/_headers"), "{said}");
}

#[test]
fn rules_that_are_read_again_are_in_force_for_the_next_request() {
    let root = site();
    let types = Root::of(&[("types", "text/x-one txt\n")]);
    let types_file = types.join("types");
    let types_file = types_file.to_str().expect("a name");
    root.write("_headers", "/*\n  X-Rule: one\n");
    let server = Server::with(root.path(), &["-w", "2", "--mime-types", types_file]);
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let mut check = |target: &str, media_type: &str, rule: &str| {
        // All have long been connected.
        for client in &mut clients {
            for _ in 0..3 {
                let response = client.get(target);
                let expected = [("X-Rule", rule), ("Content-Type", media_type)];
                check_response(&response, &expected);
            }
        }
    };
    let all = |check: &mut dyn FnMut(&str, &str, &str), media_type: &str, rule: &str| {
        check("/a.txt", media_type, rule);
        check("/", "text/html; charset=utf-8", rule);
        check("/nothing", "text/html; charset=utf-8", rule);
        check("/old", "text/html; charset=utf-8", rule);
    };
    let one = "text/x-one; charset=utf-8";
    all(&mut check, one, "one");

    root.write("_headers", "/*\n  X-Rule: two\n");
    assert_eq!(reload(&server).len(), 1);
    all(&mut check, one, "two");

    types.write("types", "text/x-two txt\n");
    fs::remove_file(root.join("_headers")).expect("a file of ours");
    reload(&server);
    let two = "text/x-two; charset=utf-8";
    all(&mut check, two, "");

    // What is wrong with one leaves all as it was.
    root.write("_headers", "/*\n  X-Rule: three\n");
    types.write("types", "text txt\n");
    let said = reload(&server);
    let place = format!("{types_file}:1: ");
    assert!(said.iter().any(|line| line.contains(&place)), "{said:?}");
    all(&mut check, two, "");

    types.write("types", "");
    root.write("_headers", "/*\n  X-Rule: three\n  X-Four\n");
    let said = reload(&server);
    assert!(
        said.iter().any(|line| line.contains("_headers:3: ")),
        "{said:?}"
    );
    all(&mut check, "text/plain; charset=utf-8", "three");

    // Redirections, too, of what there was a moment ago.
    root.write("_redirects", "/nothing / 302\n/a.txt /b 302!\n");
    reload(&server);
    for client in &mut clients {
        assert_eq!(client.get("/nothing").field("Location"), Some("/"));
        assert_eq!(client.get("/a.txt").field("Location"), Some("/b"));
        assert_eq!(client.get("/old").status(), "404 Not Found");
    }
}

#[test]
fn a_file_of_rules_that_was_named_and_is_broken_leaves_the_old_rules() {
    let root = site();
    let rules = Root::of(&[("fields", "/*\n  X-Rule: one\n")]);
    let file = rules.join("fields");
    let file = file.to_str().expect("a name");
    let server = Server::with(root.path(), &["--headers-file", file]);
    let mut client = server.connect();
    check_response(&client.get("/"), &[("X-Rule", "one")]);
    rules.write("fields", "/*\n  X-Rule: two\n  X-Three\n");
    let said = reload(&server);
    let place = format!("{file}:3: ");
    assert!(said.iter().any(|line| line.contains(&place)), "{said:?}");
    assert!(said.iter().any(|line| line.contains("stays as it was")));
    check_response(&client.get("/"), &[("X-Rule", "one")]);
    rules.write("fields", "/*\n  X-Rule: two\n");
    reload(&server);
    check_response(&client.get("/"), &[("X-Rule", "two")]);
    fs::remove_file(rules.join("fields")).expect("a file of ours");
    assert_eq!(reload(&server).len(), 2);
    check_response(&client.get("/"), &[("X-Rule", "two")]);
}

#[test]
fn pages_of_other_origins_may_read_answers() {
    let root = site();
    for (option, origin) in [
        ("--cors", "*"),
        ("-C", "*"),
        (
            "--cors=https://App.example:8443",
            "https://app.example:8443",
        ),
    ] {
        let server = Server::with(root.path(), &["--listing", option]);
        let expected = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", "*"),
            ("Cross-Origin-Resource-Policy", "cross-origin"),
        ];
        check(&server, ALL, &expected);
        let tag = server.get("/a.txt");
        let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
        check(&server, &[("GET", "/a.txt", &known, "304")], &expected);

        let allowed = [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS"),
            ("Access-Control-Allow-Headers", "range, x-a"),
            ("Access-Control-Max-Age", "86400"),
            ("Allow", "GET, HEAD, OPTIONS"),
        ];
        for target in ["/", "/a.txt", "/nothing", "/folder", "/old", "*"] {
            check(&server, &[("OPTIONS", target, PREFLIGHT, "204")], &allowed);
        }
        // What is no preflight allows nothing.
        let nothing = [("Access-Control-Allow-Methods", ""), NOSNIFF];
        let origin = "Origin: https://a.example\r\n";
        check(&server, &[("OPTIONS", "/", origin, "204")], &nothing);
        check(&server, &[("OPTIONS", "/%", PREFLIGHT, "400")], &nothing);
    }
    let none = [
        ("Access-Control-Allow-Origin", ""),
        ("Access-Control-Allow-Methods", ""),
    ];
    let server = Server::with(root.path(), &["--listing"]);
    check(&server, ALL, &none);
    check(&server, &[("OPTIONS", "/", PREFLIGHT, "204")], &none);
    for bad in ["example.com", "null", "https://", "https://a/b", "a b"] {
        let said = refused(&root, &[&format!("--cors={bad}")]);
        assert!(said.contains("https://example.com"), "{bad}: {said}");
    }
}

#[test]
fn a_preflight_needs_no_password_and_what_comes_then_does() {
    let root = site();
    let server = Server::with(root.path(), &["--cors", "-a", ALICE]);
    let origin = ("Access-Control-Allow-Origin", "*");
    let methods = ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS");
    for target in ["/", "/nothing"] {
        let preflight = ("OPTIONS", target, PREFLIGHT, "204");
        check(&server, &[preflight], &[origin, methods]);
        let asked = ("GET", target, "Origin: https://a.example\r\n", "401");
        check(&server, &[asked], &[origin]);
    }
}

#[test]
fn pages_can_be_isolated() {
    let root = site();
    let isolated = [
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Embedder-Policy", "require-corp"),
    ];
    let same = ("Cross-Origin-Resource-Policy", "same-origin");
    let cross = ("Cross-Origin-Resource-Policy", "cross-origin");
    let server = Server::with(root.path(), &["--listing", "--isolate"]);
    check(&server, ALL, &[isolated[0], isolated[1], same]);
    let server = Server::with(root.path(), &["--listing", "--isolate", "--cors"]);
    check(&server, ALL, &[isolated[0], isolated[1], cross]);
    // What was given is the last word.
    let field = "Cross-Origin-Embedder-Policy: credentialless";
    let server = Server::with(root.path(), &["--listing", "--isolate", "-H", field]);
    let other = ("Cross-Origin-Embedder-Policy", "credentialless");
    check(&server, ALL, &[isolated[0], other, same]);
}

#[test]
fn types_can_be_given() {
    let root = site();
    for name in ["b.abc", "c.xyz", "d.TXT", "e.js", "f.md", "g"] {
        root.write(name, "content");
    }
    let types = Root::of(&[
        (
            "one",
            "# a comment\ntext/x-abc abc xyz # another\napplication/x-none\n",
        ),
        ("two", "application/x-xyz\txyz\n"),
    ]);
    let file = |name: &str| types.join(name).to_str().expect("a name").to_owned();
    let (one, two) = (file("one"), file("two"));
    let check_types = |options: &[&str], expected: &[(&str, &str)]| {
        let server = Server::with(root.path(), options);
        for (target, media_type) in expected {
            let row = ("GET", *target, "", "200");
            check(&server, &[row], &[("Content-Type", media_type)]);
        }
    };
    check_types(
        &[],
        &[
            ("/b.abc", "application/octet-stream"),
            ("/d.TXT", "text/plain; charset=utf-8"),
            ("/e.js", "text/javascript; charset=utf-8"),
            ("/f.md", "text/markdown; charset=utf-8"),
            ("/g", "application/octet-stream"),
        ],
    );
    check_types(
        &["--mime-types", &one],
        &[
            ("/b.abc", "text/x-abc; charset=utf-8"),
            ("/c.xyz", "text/x-abc; charset=utf-8"),
            ("/e.js", "text/javascript; charset=utf-8"),
        ],
    );
    let both = &["--mime-types", &one, "--mime-types", &two][..];
    let abc = ("/b.abc", "text/x-abc; charset=utf-8");
    check_types(both, &[abc, ("/c.xyz", "application/x-xyz")]);
    let other = &["--mime-types", &two, "--mime-types", &one][..];
    check_types(other, &[abc, ("/c.xyz", "text/x-abc; charset=utf-8")]);
    check_types(
        &[
            "--mime-types",
            &one,
            "--mime-types",
            ".xyz=image/x-xyz",
            "--mime-types",
            ".txt=text/plain; charset=latin1",
        ],
        &[
            abc,
            ("/c.xyz", "image/x-xyz"),
            ("/d.TXT", "text/plain; charset=latin1"),
        ],
    );
    types.write("bad", "text/plain a\ntext b\n");
    let bad = file("bad");
    for (given, why) in [
        (&*bad, &*format!("{bad}:2: ")),
        ("/nothing/types", "/nothing/types"),
        (".xyz=", ".xyz="),
        (".=text/plain", ".=text/plain"),
        (".xyz=text", ".xyz=text"),
    ] {
        let said = refused(&root, &["--mime-types", given]);
        assert!(said.contains(why), "{given}: {said}");
    }
}

#[test]
fn fields_go_with_what_was_remembered_too() {
    let root = Root::of(&[("index.html", "home")]);
    let server = Server::with(root.path(), &["-H", "X-One: 1"]);
    let mut client = server.connect();
    eventually("it is remembered", || {
        client.get("/").field("Last-Modified").map(drop)
    });
    for _ in 0..5 {
        check_response(&client.get("/"), &[("X-One", "1"), NOSNIFF, REFERRER]);
    }
}
