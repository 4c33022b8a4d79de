//! An address leads to the file that its author means.

use crate::support::{self, Response, Root, Server};

/// What a browser sends when it is to show a page, and what it sends for what belongs to one.
const NAVIGATION: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n";
const IMAGE: &str = "Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
    Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n";
const SCRIPT: &str = "Accept: */*\r\nSec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n";
const FETCH: &str = "Accept: */*\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n";
const JSON: &str = "Accept: application/json\r\n";
const CURL: &str = "Accept: */*\r\n";

fn ask(server: &Server, method: &str, target: &str, fields: &str) -> Response {
    let mut client = server.connect();
    let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    match method {
        "HEAD" => {
            client.send(request);
            client.response_to_head()
        }
        _ => client.ask(request),
    }
}

/// Asks for each target: the status' number and the text, or where it leads.
fn check(server: &Server, rows: &[(&str, &str, &str)]) {
    for (target, status, expected) in rows {
        let response = server.get(target);
        let said = match response.field("Location") {
            Some(location) => location,
            None => response.text(),
        };
        assert!(
            response.status().starts_with(status),
            "{target}: {response:?}"
        );
        assert_eq!(said, *expected, "{target}");
    }
}

fn pages() -> Root {
    Root::of(&[
        ("index.html", "home"),
        ("404.html", "lost"),
        ("about.html", "about"),
        ("blog.html", "blog"),
        ("blog/first.html", "first"),
        ("docs.html", "shadowed"),
        ("docs/index.html", "docs"),
        ("a b.html", "spaced"),
        ("v1.2.html", "dotted"),
        (".hidden.html", "hidden"),
        ("app.js", "script"),
    ])
}

#[test]
fn an_address_may_leave_out_html() {
    let root = pages();
    let server = Server::start(root.path());
    check(
        &server,
        &[
            ("/about", "200", "about"),
            ("/about.html", "200", "about"),
            ("/about?q", "200", "about"),
            ("/index", "200", "home"),
            ("/blog", "200", "blog"),
            ("/blog/first", "200", "first"),
            ("/a%20b", "200", "spaced"),
            ("/v1.2", "200", "dotted"),
            ("/about/", "404", "lost"),
            ("/.hidden", "404", "lost"),
            ("/app", "404", "lost"),
            ("/about.htm", "404", "lost"),
            // A folder with an index is meant itself.
            ("/docs", "301", "/docs/"),
            ("/docs/", "200", "docs"),
            ("/docs.html", "200", "shadowed"),
        ],
    );
    let (about, page) = (server.get("/about"), server.get("/about.html"));
    assert_eq!(about.field("ETag"), page.field("ETag"));
    assert_eq!(
        about.field("Content-Type"),
        Some("text/html; charset=utf-8")
    );
}

#[test]
fn an_address_that_leaves_out_html_is_found_anew_after_a_change() {
    let root = pages();
    let server = Server::start(root.path());
    for _ in 0..3 {
        check(
            &server,
            &[("/about", "200", "about"), ("/blog", "200", "blog")],
        );
    }
    root.write("about", "itself");
    check(&server, &[("/about", "200", "itself")]);
    root.write("blog/index.html", "posts");
    check(&server, &[("/blog", "301", "/blog/")]);
    std::fs::remove_file(root.join("about")).expect("it is ours");
    root.write("about.html", "changed");
    check(&server, &[("/about", "200", "changed")]);
    std::fs::remove_file(root.join("about.html")).expect("it is ours");
    check(&server, &[("/about", "404", "lost")]);
}

#[test]
fn clean_addresses_can_be_switched_off() {
    let root = pages();
    let server = Server::with(root.path(), &["--no-clean-urls"]);
    check(
        &server,
        &[
            ("/about", "404", "lost"),
            ("/about.html", "200", "about"),
            ("/blog", "301", "/blog/"),
        ],
    );
}

#[test]
fn who_navigates_is_shown_the_shell() {
    let root = Root::of(&[
        ("index.html", "shell"),
        ("404.html", "lost"),
        ("app.js", "script"),
        ("folder/file", "file"),
        (".well-known/security.txt", "security"),
    ]);
    let server = Server::with(root.path(), &["--spa"]);
    for (target, fields, status, text) in [
        ("/deep/link", NAVIGATION, "200", "shell"),
        ("/deep/link", CURL, "200", "shell"),
        ("/deep/link", "", "200", "shell"),
        ("/deep/link/", NAVIGATION, "200", "shell"),
        ("/folder/", NAVIGATION, "200", "shell"),
        ("/deep/link?code=1.2", NAVIGATION, "200", "shell"),
        ("/app.js", SCRIPT, "200", "script"),
        ("/folder/file", NAVIGATION, "200", "file"),
        // What is missing is missing.
        ("/assets/index-4f3a2b1c.js", SCRIPT, "404", "lost"),
        ("/assets/index-4f3a2b1c.js", NAVIGATION, "404", "lost"),
        ("/missing", SCRIPT, "404", "lost"),
        ("/avatar", IMAGE, "404", "lost"),
        ("/api/users", FETCH, "404", "lost"),
        ("/api/users", JSON, "404", "lost"),
        ("/photo.png", IMAGE, "404", "lost"),
        ("/.well-known/nothing", NAVIGATION, "404", "lost"),
        ("/.git/config", NAVIGATION, "404", "lost"),
    ] {
        let response = ask(&server, "GET", target, fields);
        assert!(
            response.status().starts_with(status),
            "{target} {fields}: {response:?}"
        );
        assert_eq!(response.text(), text, "{target} {fields}");
        let varies = response
            .field("Vary")
            .is_some_and(|vary| vary.contains("Accept"));
        let depends = !target.contains('.') && !target.ends_with("/file");
        assert_eq!(varies, depends || target.contains('?'), "{target} {fields}");
    }
    let post = ask(&server, "POST", "/deep/link", NAVIGATION);
    assert!(post.status().starts_with("405"));
    let head = ask(&server, "HEAD", "/deep/link", NAVIGATION);
    assert!(head.status().starts_with("200"));
}

#[test]
fn what_belongs_to_a_page_and_is_missing_is_no_page() {
    let root = Root::of(&[("index.html", "shell")]);
    for options in [&["--spa"][..], &[]] {
        let server = Server::with(root.path(), options);
        for (target, fields, expected) in [
            (
                "/assets/index-4f3a2b1c.js",
                SCRIPT,
                "text/plain; charset=utf-8",
            ),
            (
                "/assets/index-4f3a2b1c.js",
                CURL,
                "text/plain; charset=utf-8",
            ),
            ("/photo.png", IMAGE, "text/plain; charset=utf-8"),
            ("/avatar", IMAGE, "text/plain; charset=utf-8"),
            ("/api/users", FETCH, "text/plain; charset=utf-8"),
            ("/missing.html", NAVIGATION, "text/html; charset=utf-8"),
            (
                "/.well-known/nothing",
                NAVIGATION,
                "text/html; charset=utf-8",
            ),
        ] {
            let response = ask(&server, "GET", target, fields);
            assert_eq!(response.status(), "404 Not Found", "{target} {fields}");
            assert_eq!(
                response.field("Content-Type"),
                Some(expected),
                "{target} {fields}"
            );
            assert_eq!(response.field("Cache-Control"), Some("no-store"));
        }
    }
}

#[test]
fn the_shell_is_validated_like_any_file() {
    let root = Root::of(&[("app.html", "shell"), ("index.html", "home")]);
    let server = Server::with(root.path(), &["--spa=app.html"]);
    let first = ask(&server, "GET", "/deep", NAVIGATION);
    assert_eq!(first.text(), "shell");
    assert_eq!(first.field("Cache-Control"), Some("no-cache"));
    let tag = first.field("ETag").expect("it has one");
    let known = format!("{NAVIGATION}If-None-Match: {tag}\r\n");
    for target in ["/deep", "/other"] {
        let again = ask(&server, "GET", target, &known);
        assert!(again.status().starts_with("304"), "{again:?}");
    }
    let part = format!("{NAVIGATION}Range: bytes=1-2\r\n");
    assert_eq!(ask(&server, "GET", "/deep", &part).text(), "he");
    root.write("app.html", "another");
    let changed = ask(&server, "GET", "/deep", &known);
    assert_eq!(changed.text(), "another");
}

#[test]
fn a_shell_that_is_not_there_is_said_at_the_start() {
    let root = Root::of(&[("index.html", "home")]);
    let output = support::docroot()
        .args(["--spa=app.html", "--port", "0"])
        .arg(root.path())
        .output()
        .expect("docroot runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--spa app.html"), "{said}");
}

#[test]
fn all_addresses_may_have_a_prefix() {
    let root = pages();
    let server = Server::with(root.path(), &["--path-prefix", "/site/v2"]);
    check(
        &server,
        &[
            ("/site/v2/", "200", "home"),
            ("/site/v2", "301", "/site/v2/"),
            ("/site/v2/about", "200", "about"),
            ("/site/v2/docs", "301", "/site/v2/docs/"),
            ("/site/v2/docs/", "200", "docs"),
            ("/site/v2/nothing", "404", "lost"),
            ("/site/v2b", "404", "lost"),
            ("/site/v2about", "404", "lost"),
            ("/site", "404", "lost"),
            ("/about", "404", "lost"),
            ("/", "404", "lost"),
            ("/site/v2/../v2/about", "200", "about"),
            ("/site/v2/.hidden.html", "404", "lost"),
        ],
    );
}

#[test]
fn rules_redirect() {
    let root = pages();
    root.write(
        "_redirects",
        "# Pages that have moved\n\
         /old        /about\n\
         /found      /about    302\n\
         /news/*     /blog/:splat 308\n\
         /u/:name    /people/:name?tab=1 307\n\
         /out        https://example.com/x\n\
         /about      /never\n\
         /app.js     /forced   301!\n\
         /rewritten  /about.html 200\n\
         /gone/*     /docs.html 404\n\
         /first      /second 200\n\
         /second     /about.html 200\n",
    );
    let server = Server::start(root.path());
    check(
        &server,
        &[
            ("/old", "301", "/about"),
            ("/old?a=b", "301", "/about?a=b"),
            ("/found", "302", "/about"),
            ("/news/2026/x%20y", "308", "/blog/2026/x%20y"),
            ("/u/ann?x", "307", "/people/ann?tab=1"),
            ("/out", "301", "https://example.com/x"),
            // A file comes first, unless the rule insists.
            ("/about", "200", "about"),
            ("/app.js", "301", "/forced"),
            ("/rewritten", "200", "about"),
            ("/gone/x", "404", "shadowed"),
            ("/_redirects", "404", "lost"),
            ("/nothing", "404", "lost"),
        ],
    );
    // One rule applies, whatever was asked for before.
    let mut client = server.connect();
    client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\nGET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "about");
    assert!(client.response().status().starts_with("404"));
    // Queries of others in the same turn are not mixed up.
    client.send("GET /old?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /old?2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().field("Location"), Some("/about?1"));
    assert_eq!(client.response().field("Location"), Some("/about?2"));
}

#[test]
fn a_rule_holds_whatever_else_leads_to_its_file() {
    let root = pages();
    root.write(
        "_redirects",
        "/a          /about.html 200\n\
         /about.html /never      301!\n\
         /docs/*     /404.html   404!\n\
         /b          /docs/index.html 200\n",
    );
    root.date_back();
    let server = Server::start(root.path());
    for _ in 0..3 {
        check(
            &server,
            &[
                ("/about.html", "301", "/never"),
                ("/a", "200", "about"),
                ("/docs/index.html", "404", "lost"),
                ("/b", "200", "docs"),
            ],
        );
    }
}

#[test]
fn what_is_compressed_is_what_was_asked_for() {
    let text = |word: &str| word.repeat(1000);
    let root = Root::of(&[
        ("index.html", &text("shell ")),
        ("page.html", &text("page ")),
        ("_redirects", "/rewritten /page.html 200"),
    ]);
    root.date_back();
    let server = Server::with(root.path(), &["--spa", "--compress"]);
    let fields = format!("{NAVIGATION}Accept-Encoding: gzip\r\n");
    let shell = support::eventually("the shell is compressed", || {
        let response = ask(&server, "GET", "/deep", &fields);
        assert!(response.head.contains("Vary: Accept, "), "{response:?}");
        response
            .field("Content-Encoding")
            .is_some()
            .then_some(response)
    });
    // Just now, so that it is not remembered yet.
    root.write("fresh.html", text("fresh "));
    for target in ["/fresh.html", "/fresh", "/rewritten"] {
        for _ in 0..3 {
            let response = ask(&server, "GET", target, &fields);
            assert_ne!(response.field("ETag"), shell.field("ETag"), "{target}");
        }
    }
}

#[test]
fn a_file_of_rules_is_not_shown_however_it_was_named() {
    let root = pages();
    root.write("docs/rules", "/*\n  X-Said: so\n");
    std::os::unix::fs::symlink("docs/rules", root.join("linked")).expect("there is nothing yet");
    for name in ["docs/../docs/rules", "linked"] {
        let file = root.join(name);
        let server = Server::with(
            root.path(),
            &["--headers-file", file.to_str().expect("it is text")],
        );
        let response = server.get("/docs/rules");
        assert_eq!(response.field("X-Said"), Some("so"), "{name}");
        assert_eq!(response.text(), "lost", "{name}");
        let by_its_name = server.get(&format!("/{name}"));
        assert_eq!(by_its_name.text(), "lost", "{name}");
    }
}

#[test]
fn a_file_of_rules_is_no_page() {
    let root = pages();
    root.write("rules.html", "/*\n  X-Said: so\n");
    let file = root.join("rules.html");
    let options = ["--headers-file", file.to_str().expect("it is text")];
    let server = Server::with(root.path(), &options);
    check(
        &server,
        &[("/rules", "404", "lost"), ("/rules.html", "404", "lost")],
    );
}

#[test]
fn a_file_of_rules_that_comes_later_is_not_shown_either() {
    let root = pages();
    let server = Server::start(root.path());
    root.write("_headers", "/*\n  X-Said: so\n");
    root.write("_redirects", "/a /b\n");
    check(
        &server,
        &[("/_headers", "404", "lost"), ("/_redirects", "404", "lost")],
    );
}

#[test]
fn what_is_left_out_of_rules_takes_nothing_else_along() {
    let root = pages();
    root.write(
        "_headers",
        "/about\n  X-A: a\nhttps://a.example/docs/*\n  X-B: b\n/blog/*\n  Date: no\n/app.js\n  X-C: c\n",
    );
    let mut redirects = String::new();
    for number in 0..2005 {
        redirects += &format!("/old{number} /about\n");
    }
    root.write("_redirects", redirects);
    let server = Server::start(root.path());
    let about = server.get("/about");
    assert_eq!(about.field("X-A"), Some("a"), "{about:?}");
    assert_eq!(about.field("X-B"), None, "{about:?}");
    assert_eq!(server.get("/app.js").field("X-C"), Some("c"));
    check(
        &server,
        &[
            ("/old0", "301", "/about"),
            ("/old1999", "301", "/about"),
            ("/old2000", "404", "lost"),
            ("/old2004", "404", "lost"),
        ],
    );
}

#[test]
fn no_redirect_leads_to_another_host_by_a_peers_word() {
    let root = Root::of(&[("index.html", "home"), ("_redirects", "/go/* /:splat\n")]);
    let server = Server::start(root.path());
    for target in [
        "/go//evil.example",
        "/go/%2e/evil.example",
        "/go/\\evil.example",
        "/go/%5cevil.example",
        "/go/%0d%0aSet-Cookie:a",
        "/go/.//evil.example",
    ] {
        let response = server.get(target);
        let location = response.field("Location").unwrap_or("/");
        assert!(location.starts_with('/'), "{target}: {location}");
        assert!(
            !location[1..].starts_with(['/', '\\']),
            "{target}: {location}"
        );
        assert_eq!(response.field("Set-Cookie"), None, "{target}");
    }
}

#[test]
fn the_fields_of_an_address_go_with_whatever_is_shown_there() {
    let root = Root::of(&[
        ("app.html", "shell"),
        ("rewritten.html", "rewritten"),
        ("_headers", "/admin/*\n  X-Frame-Options: DENY\n"),
        ("_redirects", "/admin/by-rule /rewritten.html 200\n"),
    ]);
    let server = Server::with(root.path(), &["--spa=app.html"]);
    for (target, text, expected) in [
        ("/admin/x", "shell", Some("DENY")),
        ("/other", "shell", None),
        ("/admin/by-rule", "rewritten", Some("DENY")),
        ("/rewritten", "rewritten", None),
    ] {
        for _ in 0..3 {
            let response = ask(&server, "GET", target, NAVIGATION);
            assert_eq!(response.text(), text, "{target}");
            assert_eq!(response.field("X-Frame-Options"), expected, "{target}");
            assert!(response.field("ETag").is_some(), "{target}: {response:?}");
        }
    }
    let other = root.join("other-headers");
    root.write("other-headers", "/\n  X-A: b\n");
    let options = ["--headers-file", other.to_str().expect("it is text")];
    let server = Server::with(root.path(), &options);
    for target in ["/_headers", "/_redirects", "/other-headers"] {
        assert!(server.get(target).status().starts_with("404"), "{target}");
    }
}
