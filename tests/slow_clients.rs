//! Slow, silent and misbehaving clients: they time out, and neither delay other clients nor leak descriptors.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Client, GET, LARGE_LEN, Root, Server, eventually, large, site, site_with_large,
};
use socket2::SockRef;

/// The time-out under test. The other one is longer than any test waits.
const SHORT: Duration = Duration::from_millis(300);

/// Starts a server with one short time-out, given as its option.
fn server_with_short_timeout(root: &Root, short: &str) -> Server {
    let long = match short {
        "--header-timeout" => "--idle-timeout",
        _ => "--header-timeout",
    };
    Server::with(root.path(), &[short, "300ms", long, "60s"])
}

fn assert_timed_out(client: &mut Client) {
    let response = client.response();
    assert_eq!(response.status(), "408 Request Timeout");
    assert_eq!(response.field("Connection"), Some("close"));
    assert_eq!(client.rest(), b"", "nothing follows the last response");
}

/// Checks which response clients receive that send this and then nothing more: 408 (`true`), or none.
fn check_timeout(timeout: &str, rows: &[(&str, bool)]) {
    let root = site();
    let server = server_with_short_timeout(&root, timeout);
    let start = Instant::now();
    let mut clients = Vec::new();
    for (sent, _) in rows {
        let mut client = server.connect();
        client.send(sent);
        clients.push(client);
    }
    for ((sent, is_answered), mut client) in rows.iter().zip(clients) {
        if *is_answered {
            assert_timed_out(&mut client);
        } else {
            assert_eq!(client.rest(), b"", "{timeout}: {sent:?}");
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= SHORT, "{timeout}: {sent:?}: {elapsed:?}");
    }
}

#[test]
fn incomplete_head_is_408() {
    let rows = [("G", true), ("GET / HTTP/1.1\r\nHost: test\r\n", true)];
    check_timeout("--header-timeout", &rows);
}

#[test]
fn incomplete_request_content_is_408() {
    let promised = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcd";
    let chunked = "GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc";
    check_timeout("--idle-timeout", &[(promised, true), (chunked, true)]);
}

#[test]
fn silent_connection_is_closed_without_response() {
    check_timeout("--header-timeout", &[("", false)]);
}

/// Checks that single bytes do not restart this time-out.
fn check_trickle(timeout: &str, beginning: &str) {
    let root = site();
    let server = server_with_short_timeout(&root, timeout);
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
    assert_timed_out(&mut client);
    assert!(start.elapsed() >= SHORT);
    drop(stop);
    trickle.join().expect("it only writes");
}

#[test]
fn trickled_head_is_408() {
    check_trickle(
        "--header-timeout",
        "GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ",
    );
}

#[test]
fn trickled_request_content_is_408() {
    let beginning = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n";
    check_trickle("--idle-timeout", beginning);
}

#[test]
fn header_timeout_starts_at_accept() {
    const TIME: Duration = Duration::from_millis(1200);
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    // TCP_DEFER_ACCEPT: the kernel keeps a silent connection for a second, which does not count. After that a late
    // first byte does not restart the time-out. (If it did, no try would be in time. Several tries, for slow machines.)
    let is_in_time = (0..5).any(|_| {
        let start = Instant::now();
        let mut client = server.connect();
        thread::sleep(Duration::from_millis(1800));
        let sent = Instant::now();
        let Some(response) = client.try_request("G") else {
            return false;
        };
        assert_eq!(response.status(), "408 Request Timeout");
        assert!(start.elapsed() >= Duration::from_millis(2200));
        sent.elapsed() < TIME
    });
    assert!(is_in_time, "a first byte restarts the time-out");
}

#[test]
fn interrupted_epoll_wait_does_not_restart_timeout() {
    const TIME: Duration = Duration::from_millis(1200);
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    // (A slow machine gets several tries.)
    let is_in_time = (0..5).any(|_| {
        let start = Instant::now();
        let mut client = server.connect();
        client.send("G");
        let mut last = start;
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(400));
            last = Instant::now();
            // epoll_wait(2) then fails with EINTR (signal(7), "Interruption of system calls and library
            // functions by stop signals"). Pausing a container does this.
            server.while_stopped(|| ());
        }
        assert_timed_out(&mut client);
        assert!(start.elapsed() >= TIME);
        last.elapsed() < TIME
    });
    assert!(is_in_time, "an interruption restarts the time-out");
}

#[test]
fn incomplete_second_head_is_408() {
    let root = site();
    let server = server_with_short_timeout(&root, "--header-timeout");
    let mut client = server.connect();
    assert_eq!(client.ask(GET).status(), "200 OK");
    let start = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    assert_timed_out(&mut client);
    assert!(start.elapsed() >= SHORT);
}

#[test]
fn idle_timeout_closes_only_idle_connections() {
    let root = site();
    let idle = Duration::from_millis(800);
    let server = Server::with(root.path(), &["--idle-timeout", "800ms"]);
    let kept = (0..5).find_map(|_| {
        let mut client = server.connect();
        let (start, mut last) = (Instant::now(), Instant::now());
        while start.elapsed() < idle + idle / 2 {
            let sent = Instant::now();
            let Some(response) = client.try_request(GET) else {
                // The machine may have been slow.
                assert!(last.elapsed() >= idle, "closed while active");
                return None;
            };
            assert_eq!(response.status(), "200 OK");
            last = sent;
            thread::sleep(idle / 5);
        }
        Some((client, last))
    });
    let (mut client, last) = kept.expect("it stays open while active");
    assert_eq!(client.rest(), b"");
    let elapsed = last.elapsed();
    assert!(elapsed >= idle, "closed after {elapsed:?}");
}

#[test]
fn timeouts_do_not_interrupt_download() {
    let root = site_with_large();
    let options = ["--idle-timeout", "800ms", "--header-timeout", "400ms"];
    let server = Server::with(root.path(), &options);
    let mut client = server.download("/large");
    // What it takes at first buys minutes.
    let step = LARGE_LEN / 20;
    let mut received = client.bytes(2 * step);
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        received.extend(client.bytes(step));
    }
    received.extend(client.bytes(LARGE_LEN - received.len()));
    assert!(received == large(), "the file is intact");
}

const TOO_SLOW: &str = "\"reason\":\"The client was too slow.\"";

#[test]
fn client_that_takes_nothing_is_closed_after_idle_timeout() {
    let root = site_with_large();
    let server = Server::with(root.path(), &["--idle-timeout", "500ms"]);
    let before = server.descriptors();
    let start = Instant::now();
    let stalled: Vec<Client> = (0..20).map(|_| server.download("/large")).collect();
    for _ in &stalled {
        let line = server.stdout_line();
        assert!(line.contains(TOO_SLOW), "{line}");
    }
    assert!(start.elapsed() >= Duration::from_millis(500));
    server.wait_for_descriptors(before);
    // The kernel keeps nothing for them: after what has arrived, the connection is reset.
    for client in &stalled {
        let mut piece = [0; 64 * 1024];
        let end = loop {
            match client.stream().read(&mut piece) {
                Ok(1..) => {}
                end => break end,
            }
        };
        let error = end.expect_err("the connection is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(server.stderr_lines(), [""; 0], "no warning is logged");
}

#[test]
fn client_that_has_taken_much_may_pause_longer_than_idle_timeout() {
    let root = site_with_large();
    let options = ["--idle-timeout", "1500ms", "--min-rate", "16KiB"];
    let server = Server::with(root.path(), &options);
    // At 16 KiB per second, 4 MiB buy 256 seconds.
    let mut pausing = server.download("/large");
    let mut received = pausing.bytes(LARGE_LEN / 2);
    // Another client, which takes nothing, shows that the time-out has passed.
    let stalled = server.download("/large");
    let line = server.stdout_line();
    assert!(line.contains(TOO_SLOW), "{line}");
    drop(stalled);
    received.extend(pausing.bytes(LARGE_LEN - received.len()));
    assert!(received == large(), "the file is intact");
    let line = server.stdout_line();
    assert!(line.contains("\"reason\":null"), "{line}");
}

#[test]
fn client_below_min_rate_is_closed_though_it_never_pauses() {
    let root = site_with_large();
    let options = ["--idle-timeout", "500ms", "--min-rate", "4MiB"];
    let server = Server::with(root.path(), &options);
    let mut client = server.connect();
    let socket = SockRef::from(client.stream());
    socket.set_recv_buffer_size(32 * 1024).expect("an option");
    client.send(get("/large", ""));
    assert_eq!(client.response_to_head().status(), "200 OK");
    let mut stream = client.stream().try_clone().expect("a second handle");
    let (stop, stopped) = channel::<()>();
    let trickle = thread::spawn(move || {
        let pause = Duration::from_millis(20);
        let mut piece = [0; 8 * 1024];
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            if !matches!(stream.read(&mut piece), Ok(1..)) {
                break;
            }
        }
    });
    let line = server.stdout_line();
    assert!(line.contains(TOO_SLOW), "{line}");
    drop(stop);
    trickle.join().expect("it only reads");
}

#[test]
fn stalled_downloads_do_not_delay_other_clients() {
    let root = site_with_large();
    let server = Server::with(root.path(), &["--min-rate", "0"]);
    let mut stopped: Vec<Client> = (0..8).map(|_| server.download("/large")).collect();
    let mut neighbour = server.connect();
    for _ in 0..200 {
        assert_eq!(neighbour.ask(GET).text(), "<p>hello");
        assert_eq!(server.get("/").text(), "<p>hello");
    }
    // The stalled downloads complete as well.
    for client in &mut stopped {
        assert!(client.bytes(LARGE_LEN) == large(), "the file is intact");
    }
}

#[test]
fn reset_during_download_closes_all_descriptors() {
    let root = site_with_large();
    let server = Server::without_cache(root.path());
    let before = server.descriptors();
    for _ in 0..20 {
        let mut client = server.download("/large");
        client.bytes(100_000);
        // Closing then sends RST instead of FIN (socket(7), SO_LINGER).
        SockRef::from(client.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
    }
    server.wait_for_descriptors(before);
    assert_eq!(server.get("/").status(), "200 OK");
}

#[test]
fn immediate_disconnects_close_all_descriptors() {
    let root = site();
    let server = Server::start(root.path());
    let before = server.descriptors();
    for number in 0..500 {
        let mut stream = TcpStream::connect(server.address).expect("the server accepts");
        // Half of them send a request and do not wait for its response.
        if number % 2 == 0 {
            stream.write_all(GET.as_bytes()).expect("there is room");
        }
    }
    assert_eq!(server.get("/").status(), "200 OK");
    server.wait_for_descriptors(before);
}

/// Checks that a client which writes everything before it reads anything still receives the error response.
///
/// "If a server performs an immediate close of a TCP connection, there is a significant risk that
/// the client will not be able to read the last HTTP response" (RFC 9112 section 9.6).
fn check_rejection(beginning: &str, filling: usize, expected: &str) {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    client.send(beginning);
    client.send("x".repeat(filling));
    let response = client.response();
    assert_eq!(response.status(), expected);
    assert_eq!(response.field("Connection"), Some("close"));
    assert!(!response.content.is_empty(), "it gives the reason");
    assert_eq!(client.rest(), b"");
}

#[test]
fn rejected_client_that_keeps_writing_receives_error_response() {
    let mib = 1024 * 1024;
    let lines = "GET / HTTP/1.1\r\nHost: test\r\nX-Long: ";
    check_rejection(lines, mib, "431 Request Header Fields Too Large");
    check_rejection("GET /", mib, "414 URI Too Long");
    let content = "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 4194304\r\n\r\n";
    check_rejection(content, 4 * mib, "413 Content Too Large");
}

#[test]
fn rejected_client_that_never_stops_writing_is_disconnected() {
    let root = site();
    let server = Server::start(root.path());
    let before = server.descriptors();
    let mut client = server.connect();
    let response = client.ask("nonsense\r\n\r\n");
    assert_eq!(response.status(), "400 Bad Request");
    let mut stream = client.stream();
    // EPIPE, or ECONNRESET: the server has closed while the client was writing (send(2)).
    eventually("the server closes the connection", || {
        stream.write(b"more").err()
    });
    server.wait_for_descriptors(before);
}

/// Checks the response to this request of many clients, and that they neither use much memory nor delay others.
fn check_bounded(options: &[&str], request: &[u8], status: &str, content: usize) {
    const CLIENTS: usize = 24;
    let root = site_with_large();
    let options = [options, &["--cache-memory", "0"]].concat();
    let server = Server::with(root.path(), &options);
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(GET).status(), "200 OK");
    let before = (server.descriptors(), server.resident_kib());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
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
    let grown = server.resident_kib().saturating_sub(before.1);
    assert!(grown < 6 * 1024, "{grown} KiB more for {CLIENTS} clients");
    for (client, head) in clients.iter_mut().zip(&heads).take(2) {
        let received = client.bytes(head.content_length());
        assert!(received.len() >= content, "{}", head.head);
        if received.len() == LARGE_LEN {
            assert!(received == large(), "the file is intact");
        }
    }
    drop(clients);
    server.wait_for_descriptors(before.0);
    assert_eq!(server.stderr_lines(), [""; 0], "no warning is logged");
}

fn get(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").into_bytes()
}

#[test]
fn thousand_ranges_use_bounded_memory() {
    // RFC 9110 section 14.2: "many small ranges", which a server may ignore.
    let few: Vec<String> = (0..1000).map(|at| format!("{0}-{0}", 2 * at)).collect();
    let whole = vec!["0-"; 1000];
    for ranges in [few.join(","), whole.join(","), vec!["-1"; 1000].join(", ")] {
        let request = get("/large", &format!("Range: bytes={ranges}\r\n"));
        check_bounded(&[], &request, "200 OK", LARGE_LEN);
    }
    // Few ranges of a large file are read from the file while they are sent.
    let ranges = "0-2000000,2500000-4500000,5000000-7500000";
    let request = get("/large", &format!("Range: bytes={ranges}\r\n"));
    check_bounded(&[], &request, "206 Partial Content", 6_500_000);
}

#[test]
fn head_of_one_mebibyte_is_rejected_with_bounded_memory() {
    let status = "431 Request Header Fields Too Large";
    let long = "x".repeat(1024 * 1024);
    check_bounded(&[], &get("/", &format!("A: {long}\r\n")), status, 1);
    check_bounded(&[], &get("/", &"A: b\r\n".repeat(175_000)), status, 1);
    check_bounded(&[], &get(&format!("/{long}"), ""), "414 URI Too Long", 1);
    // The same with a larger limit.
    let options = ["--max-header", "256KiB"];
    check_bounded(&options, &get("/", &format!("A: {long}\r\n")), status, 1);
}

#[test]
fn ten_thousand_fields_are_431() {
    let status = "431 Request Header Fields Too Large";
    let fields = get("/", &"A:\r\n".repeat(10_000));
    check_bounded(&[], &fields, status, 1);
    check_bounded(&["--max-header", "1MiB"], &fields, status, 1);
}

#[test]
fn reset_at_any_time_closes_all_descriptors() {
    let root = site_with_large();
    let server = Server::without_cache(root.path());
    let mut neighbour = server.connect();
    assert_eq!(neighbour.ask(GET).status(), "200 OK");
    let before = server.descriptors();
    for (sent, is_answered) in [
        // Before a request, in a head, in content, in a response, and while remaining input is drained.
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
                client.send(sent);
                if waits && is_answered {
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
        server.wait_for_descriptors(before);
    }
    assert_eq!(server.stderr_lines(), [""; 0], "no warning is logged");
}

#[test]
fn half_closed_client_receives_complete_response() {
    let root = site_with_large();
    let server = Server::without_cache(root.path());
    let before = server.descriptors();
    for (sent, content_length) in [
        ("", None),
        ("GET / HTTP/1.1\r\nHost: te", None),
        (
            "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nab",
            None,
        ),
        ("GET /large HTTP/1.1\r\nHost: test\r\n\r\n", Some(LARGE_LEN)),
        (
            "GET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=9-\r\n\r\n",
            Some(LARGE_LEN - 9),
        ),
        (
            "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HT",
            Some("<p>hello".len()),
        ),
    ] {
        let mut client = server.connect();
        client.send(sent);
        client.shutdown_write();
        // The client reads more slowly than the server writes.
        let socket = SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        if let Some(length) = content_length {
            assert_eq!(client.response().content.len(), length, "{sent}");
        }
        let rest = client.rest();
        let rest = String::from_utf8_lossy(&rest);
        let is_rejected = rest.starts_with("HTTP/1.1 400 ");
        assert!(rest.is_empty() || is_rejected, "{sent}: {rest}");
    }
    server.wait_for_descriptors(before);
}
