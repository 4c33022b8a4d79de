//! Whoever divides the requests is told whether this server would like to be asked.

use std::time::{Duration, Instant};

use crate::support::{Root, Server, Signal};

/// An htpasswd line for anybody.
const HASH: &str = "anna:$2y$04$abcdefghijklmnopqrstuuqEyMNaPr8gTC5mm4p0W9jA0O4KTMWgm";

fn root() -> Root {
    Root::of(&[("index.html", "<p>hello"), ("healthz", "a file")])
}

#[test]
fn a_server_that_serves_says_so() {
    let root = root();
    let server = Server::with(root.path(), &["--health"]);
    let response = server.get("/healthz");
    assert_eq!(response.status(), "200 OK");
    assert_eq!(response.text(), "200 OK: serving\n");
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    let head = server.connect().request("HEAD", "/healthz", "");
    assert_eq!((head.status(), head.text()), ("200 OK", ""));
    assert_eq!(
        server.ask("POST", "/healthz", "").status(),
        "405 Method Not Allowed"
    );
}

#[test]
fn it_is_said_where_it_is_asked_for_and_nowhere_else() {
    let root = root();
    let server = Server::start(root.path());
    assert_eq!(server.get("/healthz").text(), "a file", "off");
    let server = Server::with(root.path(), &["--health=/up", "--path-prefix", "/docs"]);
    assert_eq!(server.get("/up").text(), "200 OK: serving\n");
    assert_eq!(server.get("/docs/healthz").text(), "a file");
    assert_eq!(server.get("/docs/up").status(), "404 Not Found");
}

#[test]
fn health_checks_are_in_the_access_log_only_if_asked_for() {
    let root = root();
    let check = |options: &[&str], logged: &[&str]| {
        let server = Server::with(root.path(), options);
        assert_eq!(server.get("/healthz").status(), "200 OK");
        assert_eq!(server.get("/").status(), "200 OK");
        for target in logged {
            let line = server.stdout_line();
            assert!(line.contains(&format!("\"target\":\"{target}\"")), "{line}");
        }
        assert_eq!(server.stdout_lines(), [""; 0]);
    };
    check(&["--health"], &["/"]);
    check(&["--health", "--log-health"], &["/healthz", "/"]);
    // They are counted in any case.
    let server = Server::with(root.path(), &["--health", "--metrics", "127.0.0.1:0"]);
    assert_eq!(server.get("/healthz").status(), "200 OK");
    let (_, metrics) = server
        .announcement
        .split_once("\"metrics\":\"http://")
        .expect("an address");
    let (metrics, _) = metrics.split_once('/').expect("a path");
    let metrics = metrics.parse().expect("an address");
    crate::support::eventually("the health check is counted", || {
        let text = crate::support::Client::connect(metrics).get("/metrics");
        text.text()
            .contains("docroot_http_requests_total{method=\"GET\",code=\"200\"} 1")
            .then_some(())
    });
}

#[test]
fn it_is_said_without_a_password() {
    let root = root();
    let server = Server::with(root.path(), &["--health", "--auth", HASH]);
    assert_eq!(server.get("/healthz").status(), "200 OK");
    assert_eq!(server.get("/").status(), "401 Unauthorized");
}

#[test]
fn a_server_that_drains_says_so_first() {
    const DELAY: Duration = Duration::from_millis(500);
    let root = root();
    let server = Server::with(root.path(), &["--health", "--drain-delay", "1h"]);
    let mut kept = server.connect();
    assert_eq!(kept.get("/healthz").status(), "200 OK");
    server.signal(Signal::TERM);
    let line = server.stderr_line();
    assert!(line.contains("and docroot stops in 3600s"), "{line}");
    for client in [&mut kept, &mut server.connect()] {
        let response = client.get("/healthz");
        assert_eq!(response.status(), "503 Service Unavailable");
        assert_eq!(response.text(), "503 Service Unavailable: draining\n");
        assert_eq!(response.field("Retry-After"), Some("1"));
        assert_eq!(client.get("/").status(), "200 OK", "it still answers");
    }
    // Then it stops, and not before.
    let mut server = Server::with(root.path(), &["--drain-delay", "500ms"]);
    let begun = Instant::now();
    server.signal(Signal::TERM);
    let line = server.stderr_line();
    assert!(line.contains("and docroot stops in 500ms"), "{line}");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(begun.elapsed() >= DELAY);
}

#[test]
fn a_second_signal_does_not_wait_for_the_delay() {
    let root = root();
    let mut server = Server::with(root.path(), &["--drain-delay", "1h"]);
    server.signal(Signal::TERM);
    let line = server.stderr_line();
    assert!(line.contains("draining"), "{line}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}
