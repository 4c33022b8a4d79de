//! `--health` and `--drain-delay`: the endpoint by which a load balancer sees whether to send requests.

use std::time::{Duration, Instant};

use crate::support::{Root, Server, Signal};

/// Line of a password file.
const HASH: &str = "anna:$2y$04$abcdefghijklmnopqrstuuqEyMNaPr8gTC5mm4p0W9jA0O4KTMWgm";

fn root() -> Root {
    Root::of(&[("index.html", "<p>hello"), ("healthz", "a file")])
}

#[test]
fn running_server_reports_serving() {
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
fn health_path_is_off_by_default_and_configurable() {
    let root = root();
    let server = Server::start(root.path());
    assert_eq!(server.get("/healthz").text(), "a file", "off");
    let server = Server::with(root.path(), &["--health=/up", "--path-prefix", "/docs"]);
    assert_eq!(server.get("/up").text(), "200 OK: serving\n");
    assert_eq!(server.get("/docs/healthz").text(), "a file");
    assert_eq!(server.get("/docs/up").status(), "404 Not Found");
}

#[test]
fn health_checks_are_logged_only_with_log_health() {
    let root = root();
    let check = |options: &[&str], logged: &[&str]| {
        let server = Server::with(root.path(), options);
        assert_eq!(server.get("/healthz").status(), "200 OK");
        assert_eq!(server.get("/").status(), "200 OK");
        // In any order: the two workers write their lines by themselves.
        let lines: String = logged.iter().map(|_| server.stdout_line()).collect();
        for target in logged {
            assert!(
                lines.contains(&format!("\"target\":\"{target}\"")),
                "{lines}"
            );
        }
        assert_eq!(server.stdout_lines(), [""; 0]);
    };
    check(&["--health"], &["/"]);
    check(&["--health", "--log-health"], &["/healthz", "/"]);
    // Metrics count them in any case.
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
fn health_endpoint_needs_no_password() {
    let root = root();
    let server = Server::with(root.path(), &["--health", "--auth", HASH]);
    assert_eq!(server.get("/healthz").status(), "200 OK");
    assert_eq!(server.get("/").status(), "401 Unauthorized");
}

#[test]
fn draining_server_reports_503_before_it_stops() {
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
        assert_eq!(
            client.get("/").status(),
            "200 OK",
            "requests are still served"
        );
    }
    // The server stops after the delay, and not before.
    let mut server = Server::with(root.path(), &["--drain-delay", "500ms"]);
    let start = Instant::now();
    server.signal(Signal::TERM);
    let line = server.stderr_line();
    assert!(line.contains("and docroot stops in 500ms"), "{line}");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(start.elapsed() >= DELAY);
}

#[test]
fn second_signal_skips_drain_delay() {
    let root = root();
    let mut server = Server::with(root.path(), &["--drain-delay", "1h"]);
    server.signal(Signal::TERM);
    let line = server.stderr_line();
    assert!(line.contains("draining"), "{line}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
}
