//! Graceful shutdown: responses in progress are completed within the grace period.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{
    Client, LARGE_LEN, Root, Server, Signal, docroot, eventually, large, summary,
};

/// Grace period of docroot, and the time after which container runtimes send SIGKILL.
const GRACE_PERIOD: Duration = Duration::from_secs(8);
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn site() -> Root {
    let root = Root::of(&[("index.html", "<p>hello"), ("late", "better than never")]);
    root.write("large", large());
    root
}

/// Returns a client whose partial request the server has read: it was sent in one segment with a complete request,
/// which has been answered.
fn client_with_partial_request(server: &Server, part: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask(format!("{GET}{part}")).status(), "200 OK");
    client
}

/// Waits for the log line about the first signal.
fn expect_stopping_line(server: &Server) {
    let line = server.stderr_line();
    assert!(line.contains("stopping"), "{line}");
}

fn wait_until_connections_are_refused(server: &Server) {
    eventually("connections are refused", || {
        // A connection that arrives while the listener closes is reset.
        let error = TcpStream::connect(server.address).err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
}

/// Checks what this signal does to connections in each state.
fn check_signal(signal: Signal) {
    let root = site();
    let mut server = Server::start(root.path());
    let before = server.descriptors();
    let mut silent = server.connect();
    // TCP_DEFER_ACCEPT: the kernel keeps a silent connection for a second.
    server.wait_for_descriptors(before + 1);
    let mut download = server.download("/large");
    let mut head = client_with_partial_request(&server, "GET /late HTTP/1.1\r\nHo");
    let content = "GET /late HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab";
    let mut content = client_with_partial_request(&server, content);
    // Connections are accepted in order: when this one is answered, all are accepted.
    let mut idle = client_with_partial_request(&server, "");

    server.signal(signal);
    wait_until_connections_are_refused(&server);
    for client in [&mut silent, &mut idle] {
        assert_eq!(client.rest(), b"", "idle connections are closed");
    }
    assert!(!server.has_exited(), "requests are in progress");
    for (client, rest) in [(&mut head, "st: test\r\n\r\n"), (&mut content, "cde")] {
        let response = client.ask(rest);
        assert_eq!(response.status(), "200 OK");
        assert_eq!(response.text(), "better than never");
        // "A server that sends a 'close' connection option MUST initiate closure of the connection
        // after it sends the response" (RFC 9112 section 9.6).
        assert_eq!(response.field("Connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
    assert!(!server.has_exited(), "the download is in progress");
    download.enlarge_receive_buffer();
    assert!(download.bytes(LARGE_LEN) == large(), "the file is intact");
    assert_eq!(download.rest(), b"");
    assert_eq!(server.wait_for_exit().code(), Some(0), "{signal:?}");
    expect_stopping_line(&server);
    assert_eq!(server.stderr_lines(), [""; 0], "no connection was aborted");
}

#[test]
fn sigterm_completes_requests_in_progress() {
    check_signal(Signal::TERM);
}

#[test]
fn sigint_completes_requests_in_progress() {
    check_signal(Signal::INT);
}

#[test]
fn sigquit_completes_requests_in_progress() {
    check_signal(Signal::QUIT);
}

#[test]
fn server_without_connections_exits_at_once() {
    let root = site();
    let mut server = Server::start(root.path());
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(start.elapsed() < GRACE_PERIOD, "{:?}", start.elapsed());
}

#[test]
fn second_signal_exits_at_once() {
    let root = site();
    for [first, second] in [
        [Signal::TERM, Signal::TERM],
        [Signal::INT, Signal::INT],
        [Signal::TERM, Signal::QUIT],
    ] {
        let mut server = Server::start(root.path());
        let _stalled = server.download("/large");
        let start = Instant::now();
        server.signal(first);
        expect_stopping_line(&server);
        wait_until_connections_are_refused(&server);
        assert!(!server.has_exited(), "the download has stalled");
        server.signal(second);
        assert_eq!(
            server.wait_for_exit().code(),
            Some(0),
            "{first:?}, {second:?}"
        );
        assert!(start.elapsed() < GRACE_PERIOD, "{:?}", start.elapsed());
    }
}

#[test]
fn second_signal_flushes_access_log_and_removes_socket() {
    let (root, directory) = (site(), Root::new());
    let path = directory.join("socket");
    let bind = format!("unix:{}", path.display());
    let options = ["--bind", &bind, "--drain-delay", "60s", "--workers", "1"];
    let mut server = Server::with(root.path(), &options);
    let _stalled = server.download("/large");
    for _ in 0..5 {
        assert_eq!(server.get("/late").status(), "200 OK");
    }
    server.signal(Signal::TERM);
    assert!(server.stderr_line().contains("draining"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().code(), Some(0));
    let lines: Vec<String> = server
        .remaining_stdout()
        .iter()
        .map(|line| summary(line))
        .collect();
    assert_eq!(lines[..5], ["GET /late 200 17"; 5]);
    assert!(
        matches!(&lines[5..], [aborted] if aborted.starts_with("GET /large 200 ")),
        "{lines:?}"
    );
    assert!(
        server
            .stderr_line()
            .ends_with("connections aborted with unfinished responses: 1")
    );
    assert!(!path.exists(), "the socket's file is removed");
}

#[test]
fn grace_period_bounds_shutdown() {
    let root = site();
    // Each worker logs the number of connections that it aborts.
    let options = ["--header-timeout", "60s", "--workers", "1"];
    // (A machine so slow that it takes the two seconds in between gets another try.)
    let is_in_time = (0..3).any(|_| {
        let mut server = Server::with(root.path(), &options);
        let _stopped = server.download("/large");
        let _unfinished = client_with_partial_request(&server, "GET /late HTTP/1.1\r\nHo");
        let start = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.wait_for_exit().code(), Some(0));
        let elapsed = start.elapsed();
        assert!(elapsed >= GRACE_PERIOD, "{elapsed:?}");
        expect_stopping_line(&server);
        let line = server.stderr_line();
        let expected = "connections aborted with unfinished responses 8s after the stop: 2";
        assert!(line.contains(expected), "{line}");
        elapsed < KILL_TIMEOUT
    });
    assert!(is_in_time);
}

#[test]
fn connections_not_yet_accepted_are_answered_after_sigterm() {
    let root = site();
    for workers in ["1", "2"] {
        let mut server = Server::with(root.path(), &["--workers", workers]);
        let mut clients = Vec::new();
        server.while_stopped(|| {
            // More than are accepted in one turn of the event loop.
            clients.extend((0..200).map(|_| server.connect()));
            for client in &mut clients {
                client.send(GET);
            }
            server.signal(Signal::TERM);
        });
        for client in &mut clients {
            assert_eq!(client.response().status(), "200 OK");
            assert_eq!(client.rest(), b"");
        }
        assert_eq!(server.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn last_responses_are_in_access_log() {
    let root = site();
    let mut server = Server::start(root.path());
    let mut client = client_with_partial_request(&server, "GET /late HTTP/1.1\r\nHo");
    assert!(summary(&server.stdout_line()).starts_with("GET / 200 "));
    server.signal(Signal::TERM);
    expect_stopping_line(&server);
    assert_eq!(client.ask("st: test\r\n\r\n").status(), "200 OK");
    assert_eq!(server.wait_for_exit().code(), Some(0));
    assert!(summary(&server.stdout_line()).starts_with("GET /late 200 "));
}

/// Starts a server on this address.
fn server_on(root: &Root, address: SocketAddr) -> Server {
    let mut command = docroot();
    command
        .args(["--bind", &address.to_string()])
        .arg(root.path());
    Server::spawn(command)
}

#[test]
fn restarted_server_binds_same_port_at_once() {
    let root = site();
    // An address that only this process uses, so that no other process takes the port meanwhile.
    let [high, low, ..] = std::process::id().rotate_left(16).to_be_bytes();
    let mut server = server_on(&root, SocketAddr::from(([127, high, low, 50], 0)));
    let address = server.address;
    for _ in 0..3 {
        // The side that closes first is left in TIME_WAIT (RFC 9293 section 3.6): here, the server.
        let mut closed = client_with_partial_request(
            &server,
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(closed.response().field("Connection"), Some("close"));
        assert_eq!(closed.rest(), b"");
        drop(closed);
        // This client does not close, which leaves the server's side in FIN_WAIT2.
        let mut kept = client_with_partial_request(&server, "");
        server.signal(Signal::TERM);
        assert_eq!(kept.rest(), b"");
        assert_eq!(server.wait_for_exit().code(), Some(0));
        server = server_on(&root, address);
        assert_eq!(server.address, address);
        assert_eq!(server.get("/").text(), "<p>hello");
    }
}
