//! A peer that is slow, silent, rude or one of too many costs nobody else anything.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, GET, LARGE, Root, Server, eventually, large, site, site_with_large};
use socket2::SockRef;

/// The time-out under test. The other one is longer than any test's patience.
const SHORT: Duration = Duration::from_millis(300);

/// A server with one short time-out.
fn hasty(root: &Root, short: &str) -> Server {
    let long = match short {
        "--header-timeout" => "--idle-timeout",
        _ => "--header-timeout",
    };
    Server::with(root.path(), &[short, "300ms", long, "60s"])
}

fn is_timed_out(client: &mut Client) {
    let response = client.response();
    assert_eq!(response.status(), "408 Request Timeout");
    assert_eq!(response.field("Connection"), Some("close"));
    assert_eq!(client.rest(), b"", "nothing follows the last answer");
}

/// What peers hear that send this, and then nothing more: 408, or nothing.
fn check(timeout: &str, rows: &[(&str, bool)]) {
    let root = site();
    let server = hasty(&root, timeout);
    let start = Instant::now();
    let mut clients = Vec::new();
    for (sent, _) in rows {
        let mut client = server.connect();
        client.send(sent);
        clients.push(client);
    }
    for ((sent, answered), mut client) in rows.iter().zip(clients) {
        if *answered {
            is_timed_out(&mut client);
        } else {
            assert_eq!(client.rest(), b"", "{timeout}: {sent:?}");
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= SHORT, "{timeout}: {sent:?}: {elapsed:?}");
    }
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_answered_408() {
    let rows = [("G", true), ("GET / HTTP/1.1\r\nHost: test\r\n", true)];
    check("--header-timeout", &rows);
}

#[test]
fn content_that_does_not_come_is_answered_408() {
    let promised = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcd";
    let chunked = "GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc";
    check("--idle-timeout", &[(promised, true), (chunked, true)]);
}

#[test]
fn who_connects_and_says_nothing_is_told_nothing() {
    check("--header-timeout", &[("", false)]);
}

/// Bytes that trickle in do not buy time.
fn check_trickle(timeout: &str, beginning: &str) {
    let root = site();
    let server = hasty(&root, timeout);
    let start = Instant::now();
    let mut client = server.connect();
    client.send(beginning);
    let mut stream = client.stream().try_clone().expect("a second handle");
    let (stop, stopped) = channel::<()>();
    let trickle = thread::spawn(move || {
        let pause = Duration::from_millis(20);
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            if stream.write_all(b"x").is_err() {
                break;
            }
        }
    });
    is_timed_out(&mut client);
    assert!(start.elapsed() >= SHORT);
    drop(stop);
    trickle.join().expect("it only writes");
}

#[test]
fn a_head_that_trickles_in_is_answered_408() {
    check_trickle(
        "--header-timeout",
        "GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ",
    );
}

#[test]
fn content_that_trickles_in_is_answered_408() {
    let beginning = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n";
    check_trickle("--idle-timeout", beginning);
}

#[test]
fn the_first_head_is_waited_for_from_the_connection_on() {
    const TIME: Duration = Duration::from_millis(1200);
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    // Who says nothing stays with the kernel for a second, which is not counted. After that a first byte, however late,
    // does not begin the time anew. (If it did, no try would be in time; whom the machine holds up has another.)
    let is_in_time = (0..5).any(|_| {
        let start = Instant::now();
        let mut client = server.connect();
        thread::sleep(Duration::from_millis(1800));
        let sent = Instant::now();
        let Some(response) = client.attempt("G") else {
            return false;
        };
        assert_eq!(response.status(), "408 Request Timeout");
        assert!(start.elapsed() >= Duration::from_millis(2200));
        sent.elapsed() < TIME
    });
    assert!(is_in_time, "a first byte begins it anew");
}

#[test]
fn a_wait_that_is_interrupted_is_not_begun_anew() {
    const TIME: Duration = Duration::from_millis(1200);
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    // (Whom the machine holds up has another try.)
    let is_in_time = (0..5).any(|_| {
        let start = Instant::now();
        let mut client = server.connect();
        client.send("G");
        let mut last = start;
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(400));
            last = Instant::now();
            // epoll_wait(2) then fails with EINTR (signal(7), "Interruption of system calls and library
            // functions by stop signals"). Whoever pauses a container does this.
            server.asleep(|| ());
        }
        is_timed_out(&mut client);
        assert!(start.elapsed() >= TIME);
        last.elapsed() < TIME
    });
    assert!(is_in_time, "a wait begins anew");
}

#[test]
fn a_slow_second_head_is_answered_408() {
    let root = site();
    let server = hasty(&root, "--header-timeout");
    let mut client = server.connect();
    assert_eq!(client.ask(GET).status(), "200 OK");
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    is_timed_out(&mut client);
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn a_connection_is_closed_when_it_has_been_idle_and_not_while_it_is_active() {
    let root = site();
    let idle = Duration::from_millis(800);
    let server = Server::with(root.path(), &["--idle-timeout", "800ms"]);
    let kept = (0..5).find_map(|_| {
        let mut client = server.connect();
        let (start, mut last) = (Instant::now(), Instant::now());
        while start.elapsed() < idle + idle / 2 {
            let asked = Instant::now();
            let Some(response) = client.attempt(GET) else {
                // The machine may have held us up.
                assert!(last.elapsed() >= idle, "closed while it is active");
                return None;
            };
            assert_eq!(response.status(), "200 OK");
            last = asked;
            thread::sleep(idle / 5);
        }
        Some((client, last))
    });
    let (mut client, last) = kept.expect("it is kept while it is active");
    assert_eq!(client.rest(), b"");
    let elapsed = last.elapsed();
    assert!(elapsed >= idle, "closed after {elapsed:?}");
}

#[test]
fn no_deadline_hits_a_download() {
    let root = site_with_large();
    let options = ["--idle-timeout", "400ms", "--header-timeout", "400ms"];
    let server = Server::with(root.path(), &options);
    let mut client = server.download("/large");
    let step = LARGE / 20;
    let mut received = Vec::new();
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        received.extend(client.bytes(step));
    }
    received.extend(client.bytes(LARGE - received.len()));
    assert!(received == large(), "the file arrives as it is");
}

#[test]
fn a_reader_that_has_stopped_holds_up_nobody() {
    let root = site_with_large();
    let server = Server::with(root.path(), &["--min-rate", "0"]);
    let mut stopped: Vec<Client> = (0..8).map(|_| server.download("/large")).collect();
    let mut neighbour = server.connect();
    for _ in 0..200 {
        assert_eq!(neighbour.ask(GET).text(), "<p>hello");
        assert_eq!(server.get("/").text(), "<p>hello");
    }
    // Nor does it lose anything by it.
    for client in &mut stopped {
        assert!(client.bytes(LARGE) == large(), "the file arrives as it is");
    }
}

#[test]
fn a_reset_in_the_middle_of_a_download_leaves_nothing_open() {
    let root = site_with_large();
    let server = Server::forgetful(root.path());
    let before = server.descriptors();
    for _ in 0..20 {
        let mut client = server.download("/large");
        client.bytes(100_000);
        // Closing then sends RST instead of FIN (socket(7), SO_LINGER).
        SockRef::from(client.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
    }
    server.holds(before);
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn peers_that_leave_at_once_leave_nothing_open() {
    let root = site();
    let server = Server::start(root.path());
    let before = server.descriptors();
    for number in 0..500 {
        let mut stream = TcpStream::connect(server.address).expect("the server accepts");
        // Half of them do not wait for the answer to what they ask.
        if number % 2 == 0 {
            stream.write_all(GET.as_bytes()).expect("there is room");
        }
    }
    assert_eq!(server.get("/").status(), "200 OK");
    server.holds(before);
}

/// A peer that writes everything before it reads anything still hears why it was refused.
///
/// "If a server performs an immediate close of a TCP connection, there is a significant risk that
/// the client will not be able to read the last HTTP response" (RFC 9112 section 9.6).
fn check_refusal(beginning: &str, filling: usize, expected: &str) {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    client.send(beginning);
    client.send("x".repeat(filling));
    let response = client.response();
    assert_eq!(response.status(), expected);
    assert_eq!(response.field("Connection"), Some("close"));
    assert!(!response.content.is_empty(), "it says why");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_refused_peer_hears_why_although_it_writes_on() {
    let mib = 1024 * 1024;
    let lines = "GET / HTTP/1.1\r\nHost: test\r\nX-Long: ";
    check_refusal(lines, mib, "431 Request Header Fields Too Large");
    check_refusal("GET /", mib, "414 URI Too Long");
    let content = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 4194304\r\n\r\n";
    check_refusal(content, 4 * mib, "413 Content Too Large");
}

#[test]
fn a_refused_peer_that_never_stops_is_hung_up_on() {
    let root = site();
    let server = Server::start(root.path());
    let before = server.descriptors();
    let mut client = server.connect();
    let response = client.ask("nonsense\r\n\r\n");
    assert_eq!(response.status(), "400 Bad Request");
    let mut stream = client.stream();
    // EPIPE, or ECONNRESET: the server has closed while we were talking (send(2)).
    eventually("nobody listens any more", || stream.write(b"more").err());
    server.holds(before);
}

/// That many peers who all say this are answered so, and cost little, and no neighbour anything.
fn check_bounded(options: &[&str], request: &[u8], status: &str, content: usize) {
    const PEERS: usize = 24;
    let root = site_with_large();
    let options = [options, &["--cache-memory", "0"]].concat();
    let server = Server::with(root.path(), &options);
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(GET).status(), "200 OK");
    let before = (server.descriptors(), server.resident());
    let mut clients: Vec<Client> = (0..PEERS).map(|_| server.connect()).collect();
    for client in &mut clients {
        let socket = SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        client.send(request);
        assert_eq!(neighbour.ask(GET).status(), "200 OK");
    }
    let mut heads = Vec::new();
    for client in &mut clients {
        let head = client.response_to_head();
        assert_eq!(head.status(), status);
        assert_eq!(neighbour.ask(GET).status(), "200 OK");
        heads.push(head);
    }
    let grown = server.resident().saturating_sub(before.1);
    assert!(grown < 6 * 1024, "{grown} KiB more for {PEERS} peers");
    for (client, head) in clients.iter_mut().zip(&heads).take(2) {
        let received = client.bytes(head.promised());
        assert!(received.len() >= content, "{}", head.head);
        if received.len() == LARGE {
            assert!(received == large(), "the file arrives as it is");
        }
    }
    drop(clients);
    server.holds(before.0);
    assert_eq!(server.complaints(), [""; 0], "nobody has to act");
}

fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

#[test]
fn a_thousand_ranges_cost_no_more_than_none() {
    // RFC 9110 section 14.2: "many small ranges", which a server may ignore.
    let few: Vec<String> = (0..1000).map(|at| format!("{0}-{0}", 2 * at)).collect();
    let whole = vec!["0-"; 1000];
    for ranges in [few.join(","), whole.join(","), vec!["-1"; 1000].join(", ")] {
        let request = get("/large", &format!("Range: bytes={ranges}\r\n"));
        check_bounded(&[], &request, "200 OK", LARGE);
    }
    // Those that are few, of a large file, are read as they leave.
    let ranges = "0-2000000,2500000-4500000,5000000-7500000";
    let request = get("/large", &format!("Range: bytes={ranges}\r\n"));
    check_bounded(&[], &request, "206 Partial Content", 6_500_000);
}

#[test]
fn a_head_of_a_mebibyte_is_refused_as_soon_as_it_is_too_large() {
    let status = "431 Request Header Fields Too Large";
    let long = "x".repeat(1024 * 1024);
    check_bounded(&[], &get("/", &format!("A: {long}\r\n")), status, 1);
    check_bounded(&[], &get("/", &"A: b\r\n".repeat(175_000)), status, 1);
    check_bounded(&[], &get(&format!("/{long}"), ""), "414 URI Too Long", 1);
    // Even if it were allowed.
    let options = ["--max-header", "256KiB"];
    check_bounded(&options, &get("/", &format!("A: {long}\r\n")), status, 1);
}

#[test]
fn ten_thousand_fields_are_refused() {
    let status = "431 Request Header Fields Too Large";
    let fields = get("/", &"A:\r\n".repeat(10_000));
    check_bounded(&[], &fields, status, 1);
    check_bounded(&["--max-header", "1MiB"], &fields, status, 1);
}

#[test]
fn a_reset_at_any_time_leaves_nothing_open() {
    let root = site_with_large();
    let server = Server::forgetful(root.path());
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(GET).status(), "200 OK");
    let before = server.descriptors();
    for (said, answered) in [
        // In silence, in a head, in content, in an answer, and while the rest is read away.
        ("", false),
        ("\r\n", false),
        ("GET / HT", false),
        (
            "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nab",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            true,
        ),
        ("GET / HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("GET /large HTTP/1.1\r\nHost: test\r\n\r\n", true),
        ("GET /large HTTP/1.1\r\nHost: test\r\n\r\nGET / HT", true),
        (
            "GET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=0-1,4-9999999\r\n\r\n",
            true,
        ),
        ("nonsense\r\n\r\n", true),
    ] {
        for waits in [false, true] {
            for _ in 0..10 {
                let mut client = server.connect();
                client.send(said);
                if waits && answered {
                    client.bytes(10);
                } else if waits {
                    assert_eq!(neighbour.ask(GET).status(), "200 OK");
                }
                // Closing then sends RST instead of FIN (socket(7), SO_LINGER).
                SockRef::from(client.stream())
                    .set_linger(Some(Duration::ZERO))
                    .expect("an option");
            }
            assert_eq!(neighbour.ask(GET).status(), "200 OK");
        }
        server.holds(before);
    }
    assert_eq!(server.complaints(), [""; 0], "nobody has to act");
}

#[test]
fn who_stops_sending_is_answered_to_the_end() {
    let root = site_with_large();
    let server = Server::forgetful(root.path());
    let before = server.descriptors();
    for (said, answered) in [
        ("", None),
        ("GET / HTTP/1.1\r\nHost: te", None),
        (
            "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nab",
            None,
        ),
        ("GET /large HTTP/1.1\r\nHost: test\r\n\r\n", Some(LARGE)),
        (
            "GET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=9-\r\n\r\n",
            Some(LARGE - 9),
        ),
        (
            "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT",
            Some("<p>hello".len()),
        ),
    ] {
        let mut client = server.connect();
        client.send(said);
        client.finish();
        // A reader that is slower than the server is.
        let socket = SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        if let Some(length) = answered {
            assert_eq!(client.response().content.len(), length, "{said}");
        }
        let rest = client.rest();
        let rest = String::from_utf8_lossy(&rest);
        let said_why = rest.starts_with("HTTP/1.1 400 ");
        assert!(rest.is_empty() || said_why, "{said}: {rest}");
    }
    server.holds(before);
}
