//! Response fields: security defaults, `--header`, `_headers`, `--cors`, `--isolate` and media types.

use std::fs;
use std::process::Output;

use crate::support::{Response, Root, Server, Signal, arguments, docroot, eventually};

const NOSNIFF: (&str, &str) = ("X-Content-Type-Options", "nosniff");
const REFERRER: (&str, &str) = ("Referrer-Policy", "strict-origin-when-cross-origin");

/// htpasswd -nbB -C 5 alice 'correct horse'
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";

const PREFLIGHT: &str = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n\
    Access-Control-Request-Headers: range,x-a\r\n";

/// Requests of all kinds, and the status of the response.
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
    root.backdate();
    root
}

/// Checks that each response has each of these fields once, or, where the value is empty, not at all.
fn check(server: &Server, rows: &[(&str, &str, &str, &str)], fields: &[(&str, &str)]) {
    for (method, target, lines, status) in rows {
        // Only the head is read: a listing has no Content-Length.
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

/// Returns the standard error of a start with these options, which must fail with exit code 2.
fn rejected(root: &Root, options: &[&str]) -> String {
    let output = run_check(root, options);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{options:?}: {stderr}");
    stderr
}

/// Runs `docroot --check` with these options.
fn run_check(root: &Root, options: &[&str]) -> Output {
    let mut command = docroot();
    command.arg("--check").args(options).arg(root.path());
    command.output().expect("docroot runs")
}

/// Sends SIGHUP and returns the log lines of the reload.
fn reload(server: &Server) -> Vec<String> {
    server.signal(Signal::HUP);
    let mut lines = Vec::new();
    loop {
        let line = server.stderr_line();
        let is_last =
            line.contains("configuration reloaded") || line.contains("configuration not reloaded");
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

#[test]
fn default_security_fields_are_on_every_response() {
    let root = site();
    let server = Server::with(root.path(), &["--listing"]);
    check(&server, ALL, &[NOSNIFF, REFERRER]);
    root.write("404.html", "lost");
    check(&server, &ALL[3..5], &[NOSNIFF, REFERRER]);
    let protected = Server::with(root.path(), &["-a", ALICE]);
    let rows = &[("GET", "/", "", "401"), ("HEAD", "/", "", "401")];
    check(&protected, rows, &[NOSNIFF, REFERRER]);
}

#[test]
fn configured_fields_are_on_every_response() {
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
    // A 304 repeats configured fields, which may have changed since the client cached the file, but not the defaults.
    let tag = server.get("/a.txt");
    let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
    check(&server, &[("GET", "/a.txt", &known, "304")], &expected);

    let removed = Server::with(root.path(), &["--listing", "-H", "Referrer-Policy:"]);
    check(&removed, ALL, &[NOSNIFF, ("Referrer-Policy", "")]);
}

#[test]
fn environment_variable_configures_fields() {
    let root = site();
    // A block scalar in a compose file ends with a line feed.
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
            .args(arguments(&[]))
            .env("DOCROOT_HEADER", value)
            .arg(root.path());
        let server = Server::spawn(command);
        check(&server, &[("GET", "/", "", "200")], &expected);
    }
}

#[test]
fn malformed_and_reserved_fields_are_rejected() {
    let root = site();
    for (field, reason) in [
        ("X-One", "write `Name: value`"),
        (": a", "no name before the colon"),
        ("X One: a", "not a field name"),
        ("X-One: a\u{1}b", "control character"),
        ("Content-Length: 5", "Content-Length"),
        ("ETag: \"a\"", "ETag"),
        ("Connection: close", "Connection"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding"),
        ("Location: /", "_redirects"),
        ("Vary:", "Vary"),
    ] {
        let stderr = rejected(&root, &["-H", field]);
        assert!(stderr.contains(reason), "{field}: {stderr}");
        assert!(stderr.contains("--header"), "{field}: {stderr}");
    }
}

#[test]
fn headers_file_in_root_applies_and_is_404() {
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
fn configured_headers_file_below_root_is_404() {
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
            .args(arguments(&[]))
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
fn rule_files_in_utf_16_are_ignored_and_those_with_a_byte_order_mark_are_read() {
    let root = Root::of(&[
        ("_headers", "\u{feff}/*\r\n  X-A: 1\r\n"),
        ("_redirects", "\u{feff}/a /b\r\n"),
        ("index.html", "index"),
    ]);
    let server = Server::start(root.path());
    assert_eq!(server.get("/").field("X-A"), Some("1"));
    assert_eq!(server.get("/a").field("Location"), Some("/b"));
    for name in ["_headers", "_redirects"] {
        root.write(name, b"\xff\xfe/\0*\0\n\0");
    }
    let server = Server::start(root.path());
    for name in ["_headers", "_redirects"] {
        let warning = server.stderr_line();
        let words = "the file is UTF-16: save it as UTF-8; the file is ignored";
        assert!(warning.contains(&format!("{name}: {words}")), "{warning}");
    }
    let file = root.join("_headers");
    let file = file.to_str().expect("ASCII");
    let stderr = rejected(&root, &["--headers-file", file]);
    assert!(stderr.contains("_headers: the file is UTF-16"), "{stderr}");
}

#[test]
fn directory_named_headers_is_ignored() {
    let root = Root::of(&[("index.html", "home"), ("_headers/file", "in a folder")]);
    let server = Server::start(root.path());
    let warning = server.stderr_line();
    assert!(warning.contains("_headers: "), "{warning}");
    assert!(warning.contains("the file is ignored"), "{warning}");
    assert_eq!(server.get("/").text(), "home");
}

#[test]
fn malformed_rule_is_reported_with_file_and_line() {
    let root = site();
    let rules = "/*\n  X-One: 1\n  ETag: \"a\"\nhttps://a.example/*\n  X-Two: 2\n/b\n  X-Three\n";
    root.write("_headers", rules);
    root.write("_redirects", "/old /a.txt\n/b\n/new / 302\n");
    // A file that is not configured may be meant for another server: its valid rules still apply.
    let server = Server::start(root.path());
    let stderr: Vec<String> = (0..4).map(|_| server.stderr_line()).collect();
    for place in ["_headers:3:", "_headers:4:", "_headers:7:", "_redirects:2:"] {
        let about: Vec<_> = stderr.iter().filter(|line| line.contains(place)).collect();
        assert_eq!(about.len(), 1, "{place}: {stderr:?}");
        assert!(about[0].contains("this line is ignored"), "{about:?}");
    }
    // A rule for another host does not apply to this one.
    let expected = [("X-One", "1"), ("X-Two", "")];
    check(&server, &[("GET", "/", "", "200")], &expected);
    check(&server, &[("GET", "/old", "", "301")], &[]);
    check(&server, &[("GET", "/new", "", "302")], &[]);
    // A configured file must have no errors.
    let file = root.join("_headers");
    let stderr = rejected(&root, &["--headers-file", file.to_str().expect("a name")]);
    for line in [3, 4, 7] {
        let place = format!("{}:{line}: ", file.display());
        assert!(stderr.contains(&place), "{place} {stderr}");
    }
    let stderr = rejected(&root, &["--headers-file", "/nothing/_headers"]);
    assert!(stderr.contains("/nothing/_headers"), "{stderr}");
}

#[test]
fn reloaded_rules_apply_to_next_request() {
    let root = site();
    let types = Root::of(&[("types", "text/x-one txt\n")]);
    let types_file = types.join("types");
    let types_file = types_file.to_str().expect("a name");
    root.write("_headers", "/*\n  X-Rule: one\n");
    let server = Server::with(root.path(), &["-w", "2", "--mime-types", types_file]);
    let mut clients: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let mut check = |target: &str, media_type: &str, rule: &str| {
        // All connections are older than the reload.
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
    fs::remove_file(root.join("_headers")).expect("the test owns this file");
    reload(&server);
    let two = "text/x-two; charset=utf-8";
    all(&mut check, two, "");

    // An error in one file keeps all previous settings.
    root.write("_headers", "/*\n  X-Rule: three\n");
    types.write("types", "text txt\n");
    let stderr = reload(&server);
    let place = format!("{types_file}:1: ");
    assert!(
        stderr.iter().any(|line| line.contains(&place)),
        "{stderr:?}"
    );
    all(&mut check, two, "");

    types.write("types", "");
    root.write("_headers", "/*\n  X-Rule: three\n  X-Four\n");
    let stderr = reload(&server);
    assert!(
        stderr.iter().any(|line| line.contains("_headers:3: ")),
        "{stderr:?}"
    );
    all(&mut check, "text/plain; charset=utf-8", "three");

    // Redirects, too, also for targets that were found a moment ago.
    root.write("_redirects", "/nothing / 302\n/a.txt /b 302!\n");
    reload(&server);
    for client in &mut clients {
        assert_eq!(client.get("/nothing").field("Location"), Some("/"));
        assert_eq!(client.get("/a.txt").field("Location"), Some("/b"));
        assert_eq!(client.get("/old").status(), "404 Not Found");
    }
}

#[test]
fn failed_reload_keeps_previous_rules() {
    let root = site();
    let rules = Root::of(&[("fields", "/*\n  X-Rule: one\n")]);
    let file = rules.join("fields");
    let file = file.to_str().expect("a name");
    let server = Server::with(root.path(), &["--headers-file", file]);
    let mut client = server.connect();
    check_response(&client.get("/"), &[("X-Rule", "one")]);
    rules.write("fields", "/*\n  X-Rule: two\n  X-Three\n");
    let stderr = reload(&server);
    let place = format!("{file}:3: ");
    assert!(
        stderr.iter().any(|line| line.contains(&place)),
        "{stderr:?}"
    );
    assert!(stderr.iter().any(|line| line.contains("not reloaded")));
    check_response(&client.get("/"), &[("X-Rule", "one")]);
    rules.write("fields", "/*\n  X-Rule: two\n");
    reload(&server);
    check_response(&client.get("/"), &[("X-Rule", "two")]);
    fs::remove_file(rules.join("fields")).expect("the test owns this file");
    assert_eq!(reload(&server).len(), 2);
    check_response(&client.get("/"), &[("X-Rule", "two")]);
}

#[test]
fn cors_fields_and_preflights_are_sent() {
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
        // A request that is no preflight gets no Access-Control-Allow-Methods.
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
        let stderr = rejected(&root, &[&format!("--cors={bad}")]);
        assert!(stderr.contains("https://example.com"), "{bad}: {stderr}");
    }
}

#[test]
fn cors_preflight_needs_no_password_but_request_does() {
    let root = site();
    let server = Server::with(root.path(), &["--cors", "-a", ALICE]);
    let origin = ("Access-Control-Allow-Origin", "*");
    let methods = ("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS");
    for target in ["/", "/nothing"] {
        let preflight = ("OPTIONS", target, PREFLIGHT, "204");
        check(&server, &[preflight], &[origin, methods]);
        let request = ("GET", target, "Origin: https://a.example\r\n", "401");
        check(&server, &[request], &[origin]);
    }
}

#[test]
fn isolate_sends_coop_coep_and_corp() {
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
    // A configured field replaces the default.
    let field = "Cross-Origin-Embedder-Policy: credentialless";
    let server = Server::with(root.path(), &["--listing", "--isolate", "-H", field]);
    let other = ("Cross-Origin-Embedder-Policy", "credentialless");
    check(&server, ALL, &[isolated[0], other, same]);
}

#[test]
fn media_types_are_configurable() {
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
    types.write("marked", "\u{feff}text/x-abc abc\r\n");
    check_types(&["--mime-types", &file("marked")], &[abc]);
    types.write("utf-16", b"\xff\xfet\0");
    let utf_16 = file("utf-16");
    types.write("bad", "text/plain a\ntext b\n");
    let bad = file("bad");
    for (given, reason) in [
        (&*bad, &*format!("{bad}:2: ")),
        (&utf_16, "utf-16: the file is UTF-16: save it as UTF-8"),
        ("/nothing/types", "/nothing/types"),
        (".xyz=", ".xyz="),
        (".=text/plain", ".=text/plain"),
        (".xyz=text", ".xyz=text"),
    ] {
        let stderr = rejected(&root, &["--mime-types", given]);
        assert!(stderr.contains(reason), "{given}: {stderr}");
    }
}

#[test]
fn cached_responses_have_configured_fields() {
    let root = Root::of(&[("index.html", "home")]);
    let server = Server::with(root.path(), &["-H", "X-One: 1"]);
    let mut client = server.connect();
    eventually("the file is cached", || {
        client.get("/").field("Last-Modified").map(drop)
    });
    for _ in 0..5 {
        check_response(&client.get("/"), &[("X-One", "1"), NOSNIFF, REFERRER]);
    }
}
