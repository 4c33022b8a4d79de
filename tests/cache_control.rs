//! `Cache-Control` of each kind of response.

use crate::support::{Response, Root, Server, docroot};

const FINGERPRINTED: &str = "public, max-age=31536000, immutable";
const ERROR: &str = "no-store";

/// Output of `htpasswd -nbB -C 5 alice 'correct horse'`.
const ALICE: &str = "alice:$2y$05$GkDfWu8Pw2kon6OE42/LHuNRUQU4XGFRzbBMJT1rF1J0YtpfKtjRK";
const FOR_ALICE: &str = "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==\r\n";

fn site() -> Root {
    Root::of(&[
        ("index.html", "home"),
        ("404.html", "lost"),
        ("about.html", "about"),
        ("docs/index.html", "docs"),
        ("data.json", "{}"),
        ("assets/index-4f3a2b1c.js", "hashed"),
        ("assets/index-4f3a2b1c.js.br", "br"),
        ("assets/index-4f3a2b1c.css.map", "{}"),
        ("_redirects", "/old /about\n/alias /about.html 200\n"),
    ])
}

/// Returns the value of `Cache-Control`, or an empty string.
fn cache_control(response: &Response) -> &str {
    response.field("Cache-Control").unwrap_or_default()
}

fn check(server: &Server, rows: &[(&str, &str, &str, &str, &str)]) {
    for (method, target, fields, status, expected) in rows {
        let response = server.ask(method, target, fields);
        let what = format!("{method} {target} {fields:?}: {response:?}");
        assert!(response.status().starts_with(status), "{what}");
        assert_eq!(cache_control(&response), *expected, "{what}");
    }
}

/// Responses that are no file of the site: they are never stored.
const NON_FILE_RESPONSES: &[(&str, &str, &str, &str, &str)] = &[
    ("GET", "/nothing", "", "404", ERROR),
    ("HEAD", "/nothing", "", "404", ERROR),
    ("GET", "/assets/gone-4f3a2b1c.js", "", "404", ERROR),
    ("GET", "/docs", "", "301", ERROR),
    ("GET", "/old", "", "301", ERROR),
    ("GET", "/%", "", "400", ERROR),
    ("POST", "/", "", "405", ERROR),
    ("GET", "/data.json", "If-Match: \"x\"\r\n", "412", ERROR),
    ("GET", "/data.json", "Range: bytes=9-\r\n", "416", ERROR),
    ("OPTIONS", "/", "", "204", ""),
];

/// Checks files with and without fingerprinted names, each with every status.
fn check_files(server: &Server, hashed: &str, other: &str) {
    check(server, NON_FILE_RESPONSES);
    for (target, expected) in [
        ("/", other),
        ("/index.html", other),
        ("/about", other),
        ("/alias", other),
        ("/docs/", other),
        ("/data.json", other),
        ("/assets/index-4f3a2b1c.js", hashed),
        ("/assets/index-4f3a2b1c.css.map", hashed),
    ] {
        let tag = server.get(target);
        let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
        check(
            server,
            &[
                ("GET", target, "", "200", expected),
                ("HEAD", target, "", "200", expected),
                ("GET", target, "Accept-Encoding: br\r\n", "200", expected),
                ("GET", target, "Range: bytes=0-0\r\n", "206", expected),
                ("GET", target, &known, "304", expected),
            ],
        );
    }
}

#[test]
fn fingerprinted_names_are_immutable_and_others_no_cache() {
    let root = site();
    check_files(&Server::start(root.path()), FINGERPRINTED, "no-cache");
    let server = Server::with(root.path(), &["--cache", "auto"]);
    check_files(&server, FINGERPRINTED, "no-cache");
}

#[test]
fn cache_option_applies_to_all_files() {
    let root = site();
    let server = Server::with(root.path(), &["--cache", "off"]);
    check_files(&server, "no-store", "no-store");
    let server = Server::with(root.path(), &["--cache", "3600"]);
    check_files(&server, "public, max-age=3600", "public, max-age=3600");
}

#[test]
fn password_protected_files_are_private() {
    let root = site();
    for (option, target, expected) in [
        (
            "auto",
            "/assets/index-4f3a2b1c.js",
            "private, max-age=31536000, immutable",
        ),
        // Without `public` a shared cache does not store it (RFC 9111 section 3.5).
        ("auto", "/", "no-cache"),
        ("3600", "/", "private, max-age=3600"),
        ("off", "/", "no-store"),
    ] {
        let server = Server::with(root.path(), &["-a", ALICE, "--cache", option]);
        let response = server.ask("GET", target, FOR_ALICE);
        assert_eq!(response.status(), "200 OK");
        assert_eq!(cache_control(&response), expected, "{option} {target}");
        let tag = response.field("ETag").expect("a tag");
        let known = format!("{FOR_ALICE}If-None-Match: {tag}\r\n");
        let known = server.ask("GET", target, &known);
        assert_eq!(known.status(), "304 Not Modified");
        assert_eq!(cache_control(&known), expected, "{option} {target}");
        check(
            &server,
            &[
                ("GET", target, "", "401", ERROR),
                ("GET", "/nothing", FOR_ALICE, "404", ERROR),
            ],
        );
    }
}

#[test]
fn header_rules_override_cache_control_of_files_only() {
    let root = site();
    root.write(
        "_headers",
        "/assets/*\n  Cache-Control: public, max-age=60\n\
         /about\n  Cache-Control: max-age=5\n\
         /data.json\n  ! Cache-Control\n\
         /nothing\n  Cache-Control: max-age=1000\n\
         /old\n  Cache-Control: max-age=1000\n",
    );
    let server = Server::start(root.path());
    let tag = server.get("/about");
    let known = format!("If-None-Match: {}\r\n", tag.field("ETag").expect("a tag"));
    let assets = "public, max-age=60";
    check(
        &server,
        &[
            ("GET", "/assets/index-4f3a2b1c.js", "", "200", assets),
            ("GET", "/about", "", "200", "max-age=5"),
            ("GET", "/about", &known, "304", "max-age=5"),
            ("GET", "/about.html", "", "200", "no-cache"),
            ("GET", "/about.html", &known, "304", "no-cache"),
            ("GET", "/data.json", "", "200", ""),
            ("GET", "/", "", "200", "no-cache"),
            ("GET", "/assets/nothing", "", "404", ERROR),
        ],
    );
    check(&server, NON_FILE_RESPONSES);
    let server = Server::with(root.path(), &["-H", "Cache-Control: max-age=7"]);
    check(
        &server,
        &[
            ("GET", "/", "", "200", "max-age=7"),
            ("GET", "/about", "", "200", "max-age=5"),
        ],
    );
    check(&server, NON_FILE_RESPONSES);
}

#[test]
fn invalid_cache_option_is_rejected() {
    let root = site();
    for bad in ["-1", "1h", "never", "1.5", "99999999999"] {
        let output = docroot()
            .args([&*format!("--cache={bad}"), "--check"])
            .arg(root.path())
            .output()
            .expect("docroot runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{bad}: {stderr}");
        assert!(
            stderr.contains(bad) && stderr.contains("seconds"),
            "{stderr}"
        );
    }
}
