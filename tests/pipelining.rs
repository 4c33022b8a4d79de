//! Pipelining: requests sent ahead are answered in order, with bounded memory and descriptors.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::support::{self, Client, Root, Server};
use socket2::SockRef;

/// Small files of this site, each with its own content.
const SMALL: [&str; 3] = ["a", "b", "c"];

/// Length of a file that is too large to be sent from memory, in bytes.
const LARGE: usize = 100 * 1024;

fn site() -> Root {
    let root = Root::of(&[
        ("index.html", "home"),
        ("404.html", "gone"),
        ("dir/index.html", "dir"),
        ("empty", ""),
    ]);
    for name in SMALL {
        root.write(name, name.repeat(100));
    }
    root.write("large", vec![b'L'; LARGE]);
    root.write("page", vec![b'P'; 4000]);
    root.backdate();
    root
}

/// Removes the value of each Date. The rest of the output must not depend on the time or on the segmentation of the
/// input.
fn undated(mut bytes: &[u8]) -> Vec<u8> {
    const DATE: &[u8] = b"\r\nDate: ";
    const VALUE: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
    let mut undated = Vec::new();
    while let Some(start) = bytes.windows(DATE.len()).position(|at| at == DATE) {
        let (before, date) = bytes.split_at(start + DATE.len());
        undated.extend_from_slice(before);
        bytes = &date[VALUE..];
    }
    [&undated, bytes].concat()
}

#[test]
fn thousand_pipelined_requests_are_answered_in_order() {
    let root = site();
    let server = Server::start(root.path());
    let kinds: [(&str, &str, Vec<u8>); 9] = [
        ("GET /a", "200 OK", b"a".repeat(100)),
        ("HEAD /a", "200 OK", vec![]),
        ("GET /b", "200 OK", b"b".repeat(100)),
        ("GET /nothing", "404 Not Found", b"gone".to_vec()),
        ("HEAD /nothing", "404 Not Found", vec![]),
        ("GET /large", "200 OK", vec![b'L'; LARGE]),
        ("HEAD /large", "200 OK", vec![]),
        ("OPTIONS *", "204 No Content", vec![]),
        ("GET /empty", "200 OK", vec![]),
    ];
    // The page of a 301 names its target, which distinguishes these requests, too.
    let moved = |number: usize| format!("GET /dir?{number}");
    let mut requests = String::new();
    for number in 0..1000 {
        let line = match kinds.get(number % 10) {
            Some((line, ..)) => (*line).to_owned(),
            None => moved(number),
        };
        requests += &format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    let mut client = server.connect();
    client.send(&requests);
    for number in 0..1000 {
        let Some((line, status, content)) = kinds.get(number % 10) else {
            let response = client.response();
            assert_eq!(response.status(), "301 Moved Permanently", "{number}");
            let location = format!("/dir/?{number}");
            assert_eq!(response.field("Location"), Some(&*location));
            continue;
        };
        let response = if line.starts_with("HEAD") {
            client.response_to_head()
        } else {
            client.response()
        };
        assert_eq!(response.status(), *status, "{number}: {line}");
        assert!(response.content == *content, "{number}: {line}");
    }
    // No response is left over.
    assert_eq!(client.get("/c").text(), "c".repeat(100));
}

/// Requests of every kind, the last of which is rejected.
const CONVERSATION: &str = "\
    GET /a HTTP/1.1\r\nHost: test\r\n\r\n\
    HEAD /b HTTP/1.1\r\nHost: test\r\n\r\n\
    GET /c HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello\
    \r\nGET /dir HTTP/1.1\r\nHost: test\r\n\r\n\
    POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=\"y\"\r\nabc\r\n0\r\nT: u\r\n\r\n\
    GET /a HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n!\
    GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
    OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n\
    GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n\
    GET /b HTTP/1.1\r\nHost: test\r\nA : b\r\n\r\n\
    GET /c HTTP/1.1\r\nHost: test\r\n\r\n";

/// Sends a conversation in these pieces, each after the server has processed the previous one, and returns all
/// responses.
fn converse(server: &Server, probe: &mut Client, pieces: &[&[u8]]) -> Vec<u8> {
    let mut client = server.connect();
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            // One event loop serves both connections in the order in which they become ready, so when
            // this is answered the previous piece has been read.
            probe.send("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
            probe.response_to_head();
        }
        client.send(piece);
    }
    undated(&client.rest())
}

/// Checks that the responses to this conversation have this many heads, the last with this status, and that they do
/// not depend on the segmentation of the requests.
fn check_segmentation(
    server: &Server,
    probe: &mut Client,
    conversation: &str,
    heads: usize,
    last: &str,
) {
    let whole = conversation.as_bytes();
    let expected = converse(server, probe, &[whole]);
    let text = String::from_utf8_lossy(&expected);
    assert_eq!(text.matches("\r\n\r\n").count(), heads, "{text}");
    let (heads, _) = text.rsplit_once("\r\n\r\n").expect("some heads");
    let (_, head) = heads.rsplit_once("HTTP/1.1 ").expect("a status line");
    assert!(head.starts_with(last), "{head}");

    let mut check_pieces = |pieces: &[&[u8]], how: &str| {
        let responses = converse(server, probe, pieces);
        assert!(
            responses == expected,
            "{how}:\n{}\nexpected:\n{text}",
            responses.escape_ascii()
        );
    };
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    check_pieces(&bytes, "one byte at a time");
    for at in 1..whole.len() {
        let (front, back) = whole.split_at(at);
        check_pieces(&[front, back], &format!("cut at {at}"));
    }
}

#[test]
fn input_segmentation_does_not_change_responses() {
    let root = site();
    let server = Server::start(root.path());
    let mut probe = server.connect();
    // Ten responses, one of them after a 100.
    check_segmentation(&server, &mut probe, CONVERSATION, 11, "400 Bad Request");
}

#[test]
fn input_segmentation_does_not_change_error_responses() {
    let root = site();
    let server = Server::with(root.path(), &["--max-header", "256"]);
    let mut probe = server.connect();
    let get = "GET /a HTTP/1.1\r\nHost: test\r\n";
    let long = "a".repeat(256);
    for (conversation, last) in [
        (format!("\r\n\r\n{get}\r\n"), "400 Bad Request"),
        (format!("{get}A: b\r\n c\r\n\r\n"), "400 Bad Request"),
        (format!("{get}\rA: b\r\n\r\n"), "400 Bad Request"),
        (
            format!("{get}Content-Length: 1, 1\r\n\r\na"),
            "400 Bad Request",
        ),
        (
            format!("{get}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"),
            "400 Bad Request",
        ),
        (
            format!("{get}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA\n\r\n"),
            "400 Bad Request",
        ),
        (
            format!("{get}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", 2 << 20),
            "413 Content Too Large",
        ),
        (
            format!("{get}Transfer-Encoding: tea, chunked\r\n\r\n"),
            "501 Not Implemented",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"),
            "414 URI Too Long",
        ),
        (
            format!("{get}A: {long}\r\n\r\n"),
            "431 Request Header Fields Too Large",
        ),
        ("GET /a\r\n".into(), "400 Bad Request"),
        ("GET /a HTTP/1.1 \r\n\r\n".into(), "400 Bad Request"),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            "505 HTTP Version Not Supported",
        ),
        ("\u{16}\u{3}\u{1}".into(), "400 Bad Request"),
    ] {
        check_segmentation(&server, &mut probe, &conversation, 1, last);
    }
}

/// Sends until the server reads no more, and returns how many bytes were sent.
fn send_until_blocked(mut stream: &TcpStream, bytes: &[u8]) -> usize {
    let patience = Some(Duration::from_millis(200));
    stream.set_write_timeout(patience).expect("an option");
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("neither written nor blocked: {error}"),
        }
    }
    stream
        .set_write_timeout(Some(support::TIMEOUT))
        .expect("an option");
    sent
}

/// Checks that a client which sends this request so many times before it reads uses little memory, delays no other
/// client, and receives all responses in the end. Returns whether the server stopped reading.
fn check_backpressure(request: &str, times: usize) -> bool {
    let root = site();
    let server = Server::start(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/page");
    let before = server.resident_kib();
    let check_resident = || {
        let grown = server.resident_kib().saturating_sub(before);
        assert!(grown < 4 * 1024, "{grown} KiB more");
    };

    let requests = request.repeat(times);
    let mut client = server.connect();
    // A small receive buffer, so that the queue fills early.
    SockRef::from(client.stream())
        .set_recv_buffer_size(64 * 1024)
        .expect("an option");
    let sent = send_until_blocked(client.stream(), requests.as_bytes());
    for _ in 0..100 {
        assert_eq!(neighbour.get("/page").content.len(), 4000);
        assert_eq!(server.get("/a").text(), "a".repeat(100));
    }
    check_resident();

    let mut stream = client.stream().try_clone().expect("a descriptor");
    let unsent = requests.as_bytes()[sent..].to_vec();
    let sender = thread::spawn(move || stream.write_all(&unsent));
    for number in 0..times {
        let response = client.response();
        assert_eq!(response.status(), "200 OK", "{number}");
        assert!(response.content == [b'P'; 4000], "{number}");
    }
    let all_sent = sender.join().expect("it does not panic");
    all_sent.expect("the server reads");
    client.shutdown_write();
    assert_eq!(client.rest(), b"");
    check_resident();
    sent < requests.len()
}

#[test]
fn client_that_does_not_read_gets_backpressure() {
    // Neither the requests nor the responses fit into the socket buffers of both sides.
    let padding = "a".repeat(1000);
    let request = format!("GET /page HTTP/1.1\r\nHost: test\r\nA: {padding}\r\n\r\n");
    let was_blocked = check_backpressure(&request, 20_000);
    assert!(was_blocked, "the server never stops reading");
}

#[test]
fn short_requests_of_non_reading_client_use_bounded_memory() {
    // Each read brings in hundreds of these. The responses are a hundred times their size.
    check_backpressure("GET /page HTTP/1.1\r\nHost:\r\n\r\n", 10_000);
}

#[test]
fn pipelined_requests_for_large_files_hold_few_descriptors() {
    const HUGE: usize = 16 << 20;
    let root = site();
    root.write("huge", vec![b'H'; HUGE]);
    let server = Server::start(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/a");
    let descriptors = server.descriptors();
    let mut client = server.connect();
    client.send("GET /huge HTTP/1.1\r\nHost: test\r\n\r\n".repeat(500));
    for number in 0..3 {
        let response = client.response_to_head();
        assert_eq!(response.status(), "200 OK", "{number}");
        assert_eq!(neighbour.get("/a").text(), "a".repeat(100));
        // Its socket, the file that is being sent, and perhaps the next one.
        let held = server.descriptors() - descriptors;
        assert!(held <= 3, "{held} descriptors");
        assert!(client.bytes(HUGE) == vec![b'H'; HUGE], "{number}");
    }
}

#[test]
fn pipelined_ranges_of_large_files_hold_few_descriptors() {
    let root = site();
    let server = Server::start(root.path());
    let mut neighbour = server.connect();
    neighbour.get("/a");
    let before = server.descriptors();
    let request = "GET /large HTTP/1.1\r\nHost: test\r\nRange: bytes=0-0\r\n\r\n";
    // A queued range is a few bytes, but holds an open file. The responses exceed the socket buffers of both sides.
    let requests = request.repeat(60_000);
    let client = server.connect();
    SockRef::from(client.stream())
        .set_recv_buffer_size(64 * 1024)
        .expect("an option");
    send_until_blocked(client.stream(), requests.as_bytes());
    server.wait_until_idle();
    let held = server.descriptors() - before;
    assert!(held <= 3, "{held} descriptors");
    assert_eq!(neighbour.get("/large").content.len(), LARGE);
}
