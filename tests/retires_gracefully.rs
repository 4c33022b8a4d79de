//! A server that is told to stop finishes what it has begun.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{Client, LARGE, Root, Server, Signal, docroot, eventually, large, summary};

/// As long as a conversation may take to finish, and as long as container runtimes wait until they
/// kill.
const GRACE: Duration = Duration::from_secs(8);
const KILLED: Duration = Duration::from_secs(10);

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn site() -> Root {
    let root = Root::of(&[("index.html", "<p>hello"), ("late", "better than never")]);
    root.write("large", large());
    root
}

/// A client whose request the server has read only in part: what is before it has been answered,
/// and came in the same segment.
fn halfway(server: &Server, part: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.ask(format!("{GET}{part}")).status(), "200 OK");
    client
}

/// Waits for the line that says that the first signal has been heard.
fn is_stopping(server: &Server) {
    let line = server.complaint();
    assert!(line.contains("stopping"), "{line}");
}

fn refuses_connections(server: &Server) {
    eventually("nobody listens any more", || {
        // Who comes while it closes is reset.
        let error = TcpStream::connect(server.address).err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
}

/// What this signal does to everybody who is there.
fn check(signal: Signal) {
    let root = site();
    let mut server = Server::start(root.path());
    let before = server.descriptors();
    let mut silent = server.connect();
    // Who says nothing stays with the kernel for a second.
    server.holds(before + 1);
    let mut download = server.download("/large");
    let mut head = halfway(&server, "GET /late HTTP/1.1\r\nHo");
    let content = "GET /late HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nab";
    let mut content = halfway(&server, content);
    // Connections are accepted in their order: when this one is answered, all are there.
    let mut idle = halfway(&server, "");

    server.signal(signal);
    refuses_connections(&server);
    for client in [&mut silent, &mut idle] {
        assert_eq!(client.rest(), b"", "who waits for nothing gets nothing");
    }
    assert!(!server.has_ended(), "others are not finished");
    for (client, rest) in [(&mut head, "st: test\r\n\r\n"), (&mut content, "cde")] {
        let response = client.ask(rest);
        assert_eq!(response.status(), "200 OK");
        assert_eq!(response.text(), "better than never");
        // "A server that sends a 'close' connection option MUST initiate closure of the connection
        // after it sends the response" (RFC 9112 section 9.6).
        assert_eq!(response.field("Connection"), Some("close"));
        assert_eq!(client.rest(), b"");
    }
    assert!(!server.has_ended(), "the download is not finished");
    download.hurry();
    assert!(
        download.bytes(LARGE) == large(),
        "the file arrives as it is"
    );
    assert_eq!(download.rest(), b"");
    assert_eq!(server.ended().code(), Some(0), "{signal:?}");
    is_stopping(&server);
    assert_eq!(server.complaints(), [""; 0], "nobody was cut");
}

#[test]
fn sigterm_finishes_what_is_begun() {
    check(Signal::TERM);
}

#[test]
fn sigint_finishes_what_is_begun() {
    check(Signal::INT);
}

#[test]
fn sigquit_finishes_what_is_begun() {
    check(Signal::QUIT);
}

#[test]
fn a_server_without_connections_ends_at_once() {
    let root = site();
    let mut server = Server::start(root.path());
    let start = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_at_once() {
    let root = site();
    for [first, second] in [
        [Signal::TERM, Signal::TERM],
        [Signal::INT, Signal::INT],
        [Signal::TERM, Signal::QUIT],
    ] {
        let mut server = Server::start(root.path());
        let _hanging = server.download("/large");
        let start = Instant::now();
        server.signal(first);
        is_stopping(&server);
        refuses_connections(&server);
        assert!(!server.has_ended(), "a download hangs");
        server.signal(second);
        assert_eq!(server.ended().code(), Some(0), "{first:?}, {second:?}");
        assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    }
}

#[test]
fn a_second_signal_loses_no_line_and_leaves_nothing_behind() {
    let (root, folder) = (site(), Root::new());
    let path = folder.join("socket");
    let bind = format!("unix:{}", path.display());
    let options = ["--bind", &bind, "--drain-delay", "60s", "--workers", "1"];
    let mut server = Server::with(root.path(), &options);
    let _hanging = server.download("/large");
    for _ in 0..5 {
        assert_eq!(server.get("/late").status(), "200 OK");
    }
    server.signal(Signal::TERM);
    assert!(server.complaint().contains("draining"));
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    let lines: Vec<String> = server.rest().iter().map(|line| summary(line)).collect();
    assert_eq!(lines[..5], ["GET /late 200 17"; 5]);
    assert!(
        matches!(&lines[5..], [cut] if cut.starts_with("GET /large 200 ")),
        "{lines:?}"
    );
    assert!(
        server
            .complaint()
            .ends_with("connections cut, unfinished: 1")
    );
    assert!(!path.exists(), "its file is removed");
}

#[test]
fn nobody_who_hangs_keeps_it_longer_than_the_grace_period() {
    let root = site();
    // Each worker would count those whom it cuts.
    let options = ["--header-timeout", "60s", "--workers", "1"];
    // (Where a machine holds it up for the two seconds in between, it has another try.)
    let is_in_time = (0..3).any(|_| {
        let mut server = Server::with(root.path(), &options);
        let _stopped = server.download("/large");
        let _unfinished = halfway(&server, "GET /late HTTP/1.1\r\nHo");
        let start = Instant::now();
        server.signal(Signal::TERM);
        assert_eq!(server.ended().code(), Some(0));
        let elapsed = start.elapsed();
        assert!(elapsed >= GRACE, "{elapsed:?}");
        is_stopping(&server);
        let line = server.complaint();
        let expected = "connections cut, unfinished 8s after the stop: 2";
        assert!(line.contains(expected), "{line}");
        elapsed < KILLED
    });
    assert!(is_in_time);
}

#[test]
fn who_has_asked_before_the_stop_is_answered_although_not_yet_accepted() {
    let root = site();
    for workers in ["1", "2"] {
        let mut server = Server::with(root.path(), &["--workers", workers]);
        let mut clients = Vec::new();
        server.asleep(|| {
            // More than are accepted in one turn of the loop.
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
        assert_eq!(server.ended().code(), Some(0));
    }
}

#[test]
fn the_last_answers_are_in_the_access_log() {
    let root = site();
    let mut server = Server::start(root.path());
    let mut client = halfway(&server, "GET /late HTTP/1.1\r\nHo");
    assert!(summary(&server.line()).starts_with("GET / 200 "));
    server.signal(Signal::TERM);
    is_stopping(&server);
    assert_eq!(client.ask("st: test\r\n\r\n").status(), "200 OK");
    assert_eq!(server.ended().code(), Some(0));
    assert!(summary(&server.line()).starts_with("GET /late 200 "));
}

/// A server on this address.
fn on(root: &Root, address: SocketAddr) -> Server {
    let mut command = docroot();
    command
        .args(["--bind", &address.to_string()])
        .arg(root.path());
    Server::spawn(command)
}

#[test]
fn a_restart_gets_the_same_port_at_once() {
    let root = site();
    // An address that only this process uses, so that nobody else can take the port meanwhile.
    let [high, low, ..] = std::process::id().rotate_left(16).to_be_bytes();
    let mut server = on(&root, SocketAddr::from(([127, high, low, 50], 0)));
    let address = server.address;
    for _ in 0..3 {
        // The side that closes first is left in TIME_WAIT (RFC 9293 section 3.6): here, the server.
        let mut closed = halfway(
            &server,
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        );
        assert_eq!(closed.response().field("Connection"), Some("close"));
        assert_eq!(closed.rest(), b"");
        drop(closed);
        // This peer never hangs up, which leaves the server's side in FIN_WAIT2.
        let mut kept = halfway(&server, "");
        server.signal(Signal::TERM);
        assert_eq!(kept.rest(), b"");
        assert_eq!(server.ended().code(), Some(0));
        server = on(&root, address);
        assert_eq!(server.address, address);
        assert_eq!(server.get("/").text(), "<p>hello");
    }
}
