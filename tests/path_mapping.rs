//! Paths to files: clean URLs, `--spa`, `--path-prefix`, `_redirects` and rule files.

use crate::support::{self, Root, Server};

/// Fields that a browser sends for a navigation, and for subresources of a page.
const NAVIGATION: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n";
const IMAGE: &str = "Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
    Sec-Fetch-Dest: image\r\nSec-Fetch-Mode: no-cors\r\n";
const SCRIPT: &str = "Accept: */*\r\nSec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\n";
const FETCH: &str = "Accept: */*\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\n";
const JSON: &str = "Accept: application/json\r\n";
const CURL: &str = "Accept: */*\r\n";

/// Requests each target and compares the status code, and the Location or else the content.
fn check(server: &Server, rows: &[(&str, &str, &str)]) {
    for (target, status, expected) in rows {
        let response = server.get(target);
        let found = match response.field("Location") {
            Some(location) => location,
            None => response.text(),
        };
        assert!(
            response.status().starts_with(status),
            "{target}: {response:?}"
        );
        assert_eq!(found, *expected, "{target}");
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
fn html_extension_is_optional() {
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
            // A directory with an index wins.
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
fn clean_urls_follow_file_changes() {
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
    std::fs::remove_file(root.join("about")).expect("the test owns it");
    root.write("about.html", "changed");
    check(&server, &[("/about", "200", "changed")]);
    std::fs::remove_file(root.join("about.html")).expect("the test owns it");
    check(&server, &[("/about", "404", "lost")]);
}

#[test]
fn no_clean_urls_requires_html_extension() {
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
fn spa_fallback_is_for_navigation_only() {
    let root = Root::of(&[
        ("index.html", "fallback"),
        ("404.html", "lost"),
        ("app.js", "script"),
        ("folder/file", "file"),
        (".well-known/security.txt", "security"),
    ]);
    let server = Server::with(root.path(), &["--spa"]);
    for (target, fields, status, text) in [
        ("/deep/link", NAVIGATION, "200", "fallback"),
        ("/deep/link", CURL, "200", "fallback"),
        ("/deep/link", "", "200", "fallback"),
        ("/deep/link/", NAVIGATION, "200", "fallback"),
        ("/folder/", NAVIGATION, "200", "fallback"),
        ("/deep/link?code=1.2", NAVIGATION, "200", "fallback"),
        ("/app.js", SCRIPT, "200", "script"),
        ("/folder/file", NAVIGATION, "200", "file"),
        // No fallback.
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
        let response = server.ask("GET", target, fields);
        assert!(
            response.status().starts_with(status),
            "{target} {fields}: {response:?}"
        );
        assert_eq!(response.text(), text, "{target} {fields}");
        let varies = response
            .field("Vary")
            .is_some_and(|vary| vary.contains("Accept"));
        let is_route = !target.contains('.') && !target.ends_with("/file");
        assert_eq!(
            varies,
            is_route || target.contains('?'),
            "{target} {fields}"
        );
    }
    let post = server.ask("POST", "/deep/link", NAVIGATION);
    assert!(post.status().starts_with("405"));
    let head = server.ask("HEAD", "/deep/link", NAVIGATION);
    assert!(head.status().starts_with("200"));
}

#[test]
fn missing_subresource_is_404_in_plain_text() {
    let root = Root::of(&[("index.html", "fallback")]);
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
            let response = server.ask("GET", target, fields);
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
fn spa_fallback_has_validators_and_ranges() {
    let root = Root::of(&[("app.html", "fallback"), ("index.html", "home")]);
    let server = Server::with(root.path(), &["--spa=app.html"]);
    let first = server.ask("GET", "/deep", NAVIGATION);
    assert_eq!(first.text(), "fallback");
    assert_eq!(first.field("Cache-Control"), Some("no-cache"));
    let tag = first.field("ETag").expect("a tag");
    let known = format!("{NAVIGATION}If-None-Match: {tag}\r\n");
    for target in ["/deep", "/other"] {
        let again = server.ask("GET", target, &known);
        assert!(again.status().starts_with("304"), "{again:?}");
    }
    let part = format!("{NAVIGATION}Range: bytes=1-2\r\n");
    assert_eq!(server.ask("GET", "/deep", &part).text(), "al");
    root.write("app.html", "another");
    let changed = server.ask("GET", "/deep", &known);
    assert_eq!(changed.text(), "another");
}

#[test]
fn missing_spa_fallback_page_fails_start() {
    let root = Root::of(&[("index.html", "home")]);
    let output = support::docroot()
        .args(["--spa=app.html", "--port", "0"])
        .arg(root.path())
        .output()
        .expect("docroot runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--spa app.html"), "{stderr}");
}

#[test]
fn path_prefix_precedes_every_path() {
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
fn redirects_file_is_applied() {
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
            // A file wins, unless the rule has `!`.
            ("/about", "200", "about"),
            ("/app.js", "301", "/forced"),
            ("/rewritten", "200", "about"),
            ("/gone/x", "404", "shadowed"),
            ("/_redirects", "404", "lost"),
            ("/nothing", "404", "lost"),
        ],
    );
    // Only one rule applies, also when another target was requested before.
    let mut client = server.connect();
    client.send("GET /second HTTP/1.1\r\nHost: a\r\n\r\nGET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "about");
    assert!(client.response().status().starts_with("404"));
    // Queries of requests in the same turn are not mixed up.
    client.send("GET /old?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /old?2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().field("Location"), Some("/about?1"));
    assert_eq!(client.response().field("Location"), Some("/about?2"));
}

#[test]
fn redirect_rules_apply_by_path_not_by_file() {
    let root = pages();
    root.write(
        "_redirects",
        "/a          /about.html 200\n\
         /about.html /never      301!\n\
         /docs/*     /404.html   404!\n\
         /b          /docs/index.html 200\n",
    );
    root.backdate();
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
fn encoded_spa_fallback_is_not_sent_for_files() {
    let text = |word: &str| word.repeat(1000);
    let root = Root::of(&[
        ("index.html", &text("fallback ")),
        ("page.html", &text("page ")),
        ("_redirects", "/rewritten /page.html 200"),
    ]);
    root.backdate();
    let server = Server::with(root.path(), &["--spa", "--compress"]);
    let fields = format!("{NAVIGATION}Accept-Encoding: gzip\r\n");
    let fallback = support::eventually("the fallback page is encoded", || {
        let response = server.ask("GET", "/deep", &fields);
        assert!(response.head.contains("Vary: Accept, "), "{response:?}");
        response
            .field("Content-Encoding")
            .is_some()
            .then_some(response)
    });
    // Written just now, so that it is not cached yet.
    root.write("fresh.html", text("fresh "));
    for target in ["/fresh.html", "/fresh", "/rewritten"] {
        for _ in 0..3 {
            let response = server.ask("GET", target, &fields);
            assert_ne!(response.field("ETag"), fallback.field("ETag"), "{target}");
        }
    }
}

#[test]
fn headers_file_is_404_by_every_name() {
    let root = pages();
    root.write("docs/rules", "/*\n  X-Said: so\n");
    std::os::unix::fs::symlink("docs/rules", root.join("linked")).expect("a free name");
    for name in ["docs/../docs/rules", "linked"] {
        let file = root.join(name);
        let server = Server::with(
            root.path(),
            &["--headers-file", file.to_str().expect("UTF-8")],
        );
        let response = server.get("/docs/rules");
        assert_eq!(response.field("X-Said"), Some("so"), "{name}");
        assert_eq!(response.text(), "lost", "{name}");
        let by_its_name = server.get(&format!("/{name}"));
        assert_eq!(by_its_name.text(), "lost", "{name}");
    }
}

#[test]
fn headers_file_has_no_clean_url() {
    let root = pages();
    root.write("rules.html", "/*\n  X-Said: so\n");
    let file = root.join("rules.html");
    let options = ["--headers-file", file.to_str().expect("UTF-8")];
    let server = Server::with(root.path(), &options);
    check(
        &server,
        &[("/rules", "404", "lost"), ("/rules.html", "404", "lost")],
    );
}

#[test]
fn rule_files_created_later_are_404() {
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
fn invalid_rules_are_skipped_one_by_one() {
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
fn request_path_cannot_redirect_to_another_host() {
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
fn header_rules_apply_to_requested_path() {
    let root = Root::of(&[
        ("app.html", "fallback"),
        ("rewritten.html", "rewritten"),
        ("_headers", "/admin/*\n  X-Frame-Options: DENY\n"),
        ("_redirects", "/admin/by-rule /rewritten.html 200\n"),
    ]);
    let server = Server::with(root.path(), &["--spa=app.html"]);
    for (target, text, expected) in [
        ("/admin/x", "fallback", Some("DENY")),
        ("/other", "fallback", None),
        ("/admin/by-rule", "rewritten", Some("DENY")),
        ("/rewritten", "rewritten", None),
    ] {
        for _ in 0..3 {
            let response = server.ask("GET", target, NAVIGATION);
            assert_eq!(response.text(), text, "{target}");
            assert_eq!(response.field("X-Frame-Options"), expected, "{target}");
            assert!(response.field("ETag").is_some(), "{target}: {response:?}");
        }
    }
    let other = root.join("other-headers");
    root.write("other-headers", "/\n  X-A: b\n");
    let options = ["--headers-file", other.to_str().expect("UTF-8")];
    let server = Server::with(root.path(), &options);
    for target in ["/_headers", "/_redirects", "/other-headers"] {
        assert!(server.get(target).status().starts_with("404"), "{target}");
    }
}
