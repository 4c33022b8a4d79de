//! Access log on standard output: one line for each request, with fields that no client can forge.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{
    Client, Root, Server, Signal, TIMEOUT, announced_address, arguments, docroot, eventually,
    json_field, lines, resident_kib, send_signal,
};
use socket2::SockRef;

/// Parsed line of the access log.
#[derive(Clone, Debug)]
struct Line {
    time: SystemTime,
    peer: SocketAddr,
    method: String,
    target: String,
    status: u16,
    bytes: u64,
    duration: Duration,
    reason: String,
}

/// Parses an access line of the default format without a terminal, JSON.
fn parse(line: &str) -> Line {
    try_parse(line).unwrap_or_else(|| panic!("no access line: {line}"))
}

fn try_parse(line: &str) -> Option<Line> {
    if !line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    // RFC 3339, in UTC, with milliseconds.
    let time = json_field(line, "time");
    let shape = time.replace(|char: char| char.is_ascii_digit(), "0");
    let status = json_field(line, "status");
    if shape != "0000-00-00T00:00:00.000Z" || status.len() != 3 {
        return None;
    }
    let duration = json_field(line, "duration_ms");
    let (whole, micros) = duration.split_once('.')?;
    let (whole, micros): (u64, u64) = (number(whole)?, number(micros)?);
    Some(Line {
        time: time.parse::<jiff::Timestamp>().ok()?.into(),
        peer: json_field(line, "peer").parse().ok()?,
        method: json_field(line, "method"),
        target: json_field(line, "target"),
        status: status.parse().ok()?,
        bytes: number(&json_field(line, "bytes"))?,
        duration: Duration::from_micros(whole * 1000 + micros),
        reason: json_field(line, "reason"),
    })
}

/// Parses digits, and no sign, which `parse` would accept.
fn number(digits: &str) -> Option<u64> {
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| digits.parse().ok())?
}

fn site() -> Root {
    Root::of(&[
        ("index.html", "<p>hello"),
        ("a/b.txt", "text"),
        ("404.html", "nothing"),
    ])
}

/// Sends these bytes on a new connection and checks method, target, status and bytes in the log line of each request.
fn check(server: &Server, sent: &[u8], expected: &[&str]) {
    let mut client = server.connect();
    let peer = client.stream().local_addr().expect("it is connected");
    client.send(sent);
    client.shutdown_write();
    client.rest();
    for expected in expected {
        let line = parse(&server.stdout_line());
        let found = format!(
            "{} {} {} {}",
            line.method, line.target, line.status, line.bytes
        );
        assert_eq!(found, *expected, "{}", sent.escape_ascii());
        assert_eq!(line.peer, peer);
    }
}

/// Returns a request with this request line, and Host, the only required field.
fn request(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

#[test]
fn each_response_is_one_line() {
    let root = site();
    let server = Server::start(root.path());
    let check = |line, expected| check(&server, &request(line), &[expected]);
    check("GET /", "GET / 200 8");
    check("GET /a/b.txt", "GET /a/b.txt 200 4");
    check("GET /a/b.txt?q=1&r", "GET /a/b.txt?q=1&r 200 4");
    check("GET http://test/a/b.txt", "GET http://test/a/b.txt 200 4");
    check("GET /none", "GET /none 404 7");
}

#[test]
fn response_without_content_has_zero_bytes() {
    let root = site();
    let server = Server::start(root.path());
    let check = |line, expected| check(&server, &request(line), &[expected]);
    check("HEAD /", "HEAD / 200 0");
    check("HEAD /none", "HEAD /none 404 0");
    check("OPTIONS /", "OPTIONS / 204 0");
    check("OPTIONS *", "OPTIONS * 204 0");
}

#[test]
fn bytes_are_the_length_of_the_content() {
    let root = site();
    let server = Server::start(root.path());
    for line in ["GET /a", "POST /", "BREW /", "GET /%00"] {
        let response = server.connect().ask(request(line));
        let logged = parse(&server.stdout_line());
        assert_eq!(logged.bytes, response.content.len() as u64, "{line}");
        assert!(response.status().starts_with(&logged.status.to_string()));
        assert_eq!(format!("{} {}", logged.method, logged.target), line);
    }
}

#[test]
fn line_has_time_and_duration() {
    let root = site();
    let server = Server::start(root.path());
    let millisecond = Duration::from_millis(1);
    let (start, started) = (SystemTime::now(), Instant::now());
    let mut client = server.connect();
    // The time in which a request arrives counts: its first bytes are received with those of the request before.
    client.send("GET /?1 HTTP/1.1\r\nHost: test\r\n\r\nGET / HT");
    client.response();
    parse(&server.stdout_line());
    std::thread::sleep(Duration::from_millis(150));
    client.ask("TP/1.1\r\nHost: test\r\n\r\n");
    let line = parse(&server.stdout_line());
    let (end, took) = (SystemTime::now(), started.elapsed());
    // The log omits fractions of a millisecond.
    assert!(
        line.time >= start - millisecond && line.time <= end,
        "{line:?}"
    );
    assert!(line.duration >= Duration::from_millis(100), "{line:?}");
    assert!(line.duration <= took, "{line:?} in {took:?}");
}

#[test]
fn duration_excludes_idle_time_of_connection() {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    let pause = Duration::from_millis(400);
    let mut request_duration = || {
        assert_eq!(client.get("/").text(), "<p>hello");
        parse(&server.stdout_line()).duration
    };
    request_duration();
    // (On a busy machine a request may take as long as the pause, but not every time.)
    eventually("the duration excludes the pause", || {
        std::thread::sleep(pause);
        (request_duration() < pause).then_some(())
    });
}

#[test]
fn pipelined_requests_are_logged_in_order() {
    let root = site();
    let server = Server::start(root.path());
    let lines = [
        "GET /",
        "HEAD /a/b.txt",
        "GET /none",
        "OPTIONS /",
        "GET /a/b.txt",
    ];
    let sent: Vec<u8> = lines.iter().flat_map(|line| request(line)).collect();
    let expected = [
        "GET / 200 8",
        "HEAD /a/b.txt 200 0",
        "GET /none 404 7",
        "OPTIONS / 204 0",
        "GET /a/b.txt 200 4",
    ];
    check(&server, &sent, &expected);
    let mut many = Vec::new();
    let targets: Vec<String> = (0..500).map(|number| format!("/?{number}")).collect();
    for target in &targets {
        many.extend(request(&format!("GET {target}")));
    }
    let expected: Vec<String> = targets
        .iter()
        .map(|target| format!("GET {target} 200 8"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check(&server, &many, &expected);
}

#[test]
fn method_and_target_are_escaped() {
    let root = site();
    let server = Server::start(root.path());
    let check = |sent: &str, expected: &str| {
        server.connect().ask(request(sent));
        let line = parse(&server.stdout_line());
        let found = format!("{} {}", line.method, line.target);
        assert_eq!(found, expected, "{sent}");
    };
    check("GET /é", "GET /\\u00E9");
    check("GET /\\x0a\\", "GET /\\\\x0a\\\\");
    // U+2028 ends a line for some readers, U+202E reverses the direction of writing, U+00A0 is a space, U+009B begins a
    // control sequence in some terminals.
    let invisible = "GET /\u{2028}\u{202e}\u{a0}\u{9b}1m";
    check(invisible, "GET /\\u2028\\u202E\\u00A0\\u009B1m");
    // Percent-encoded bytes stay encoded.
    let encoded = "GET /%0a2026-11-21T04:49:21Z%20%1b[1m";
    check(encoded, encoded);
    check("GET /\"'`$(:)|;<>-", "GET /\\\"'`$(:)|;<>-");
    let method = "!#$%&'*+-.^_`|~ /";
    check(method, method);
}

#[test]
fn malformed_request_is_logged_without_method_and_target() {
    let root = site();
    let server = Server::start(root.path());
    let size = |response: &str| {
        let client = &mut server.connect();
        let size = client.ask(response).content.len();
        parse(&server.stdout_line());
        size
    };
    let malformed = size("nonsense\r\n\r\n");
    let bad = format!("- - 400 {malformed}");
    for sent in [
        &b"GET /a\x1b[1m HTTP/1.1\r\nHost: test\r\n\r\n"[..],
        b"GET /a\nb HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /a\rb HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /a 200 8 0.1ms HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: test\r\n\r\n",
        b"G\x1bT / HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
    ] {
        check(&server, sent, &[&bad]);
    }
    // A connection without a request adds no line: the next line is the next request's.
    check(&server, b"", &[]);
    let long = format!("GET /{}", "a".repeat(100_000));
    let longer = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "a".repeat(100_000));
    for (sent, status) in [
        (&long, "414"),
        (&longer, "431"),
        (&"GET / HTTP/3.0\r\n\r\n".to_owned(), "505"),
    ] {
        let response = server.connect().ask(sent);
        assert!(response.status().starts_with(status), "{response:?}");
        let line = parse(&server.stdout_line());
        let found = format!("{} {} {}", line.method, line.target, line.status);
        assert_eq!(found, format!("- - {status}"));
        assert_eq!(line.bytes, response.content.len() as u64);
    }
}

#[test]
fn error_response_is_logged_when_sent_and_not_at_close() {
    let root = site();
    let server = Server::start(root.path());
    // The server lingers for five seconds and discards what the client may still send.
    eventually("the response is logged before that", || {
        let start = Instant::now();
        let mut client = server.connect();
        assert_eq!(client.ask("nonsense\r\n\r\n").status(), "400 Bad Request");
        let line = parse(&server.stdout_line());
        let is_early = start.elapsed() < Duration::from_secs(3);
        (is_early && line.duration < Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn aborted_download_is_logged_with_bytes_sent() {
    let root = site();
    let size = 64 * 1024 * 1024;
    let file = File::create(root.join("large")).expect("a file");
    file.set_len(size).expect("a sparse file");
    let server = Server::start(root.path());
    let read = 1_000_000;
    for reset in [false, true] {
        let mut client = server.connect();
        let socket = SockRef::from(client.stream());
        socket.set_recv_buffer_size(32 * 1024).expect("an option");
        if reset {
            socket.set_linger(Some(Duration::ZERO)).expect("an option");
        }
        client.send(request("GET /large"));
        assert_eq!(client.response_to_head().status(), "200 OK");
        client.bytes(read);
        drop(client);
        let line = parse(&server.stdout_line());
        assert_eq!((line.status, line.target.as_str()), (200, "/large"));
        // A client that leaves, as a player does that seeks, is no fault of the network.
        assert_eq!(line.reason, "The client closed the connection early.");
        // Bytes in the kernel's buffers count as sent: at most the last number of tcp_wmem (tcp(7)), 4 MiB, and the
        // client's receive buffer.
        let sent = read as u64..16 * 1024 * 1024;
        assert!(sent.contains(&line.bytes), "{line:?}");
    }
    assert_eq!(server.stderr_lines(), [""; 0], "it is no warning");
    // A complete download is logged with its whole length.
    let mut client = server.connect();
    client.get("/large");
    assert_eq!(parse(&server.stdout_line()).bytes, size);
}

/// Returns how often the writer threads have gone to sleep.
fn writer_sleeps(server: &Server) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let writers = tasks
        .map(|task| task.expect("an entry").path())
        .filter(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == "log-writer\n")
        });
    let switches = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).expect("proc");
        let (_, rest) = status
            .split_once("\nvoluntary_ctxt_switches:")
            .expect("the field");
        let count = rest.lines().next().expect("the rest of the line");
        count.trim().parse::<u64>().expect("a number")
    };
    writers.map(switches).sum()
}

#[test]
fn lines_are_written_in_batches_and_idle_writer_sleeps() {
    const REQUESTS: u64 = 2000;
    let (root, directory) = (site(), Root::new());
    let file = directory.join("access.log");
    let name = file.to_str().expect("a name in ASCII");
    let server = Server::with(root.path(), &["--log-file", name]);
    let mut client = server.connect();
    let (start, before) = (Instant::now(), writer_sleeps(&server));
    for _ in 0..REQUESTS {
        client.get("/");
    }
    let sleeps = writer_sleeps(&server) - before;
    // 20 times per second, and some more for the start and for contended locks.
    let limit = u64::try_from(start.elapsed().as_millis()).expect("a while") / 50 + 20;
    assert!(sleeps <= limit, "{sleeps} of {limit}");
    let log = eventually("all lines are written", || {
        let log = fs::read_to_string(&file).ok()?;
        (log.lines().count() as u64 == REQUESTS && log.ends_with('\n')).then_some(log)
    });
    for line in log.lines() {
        parse(line);
    }
    eventually("the idle writer thread does not wake", || {
        let before = writer_sleeps(&server);
        std::thread::sleep(Duration::from_millis(300));
        (writer_sleeps(&server) == before).then_some(())
    });
}

/// Server whose standard output is not read after its first line.
struct UnreadServer {
    child: Child,
    address: SocketAddr,
    stdout: BufReader<ChildStdout>,
}

impl UnreadServer {
    fn start(root: &Root, options: &[&str]) -> Self {
        let mut command: Command = docroot();
        command
            .args(arguments(options))
            .arg(root.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("docroot starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("an announcement");
        let address = announced_address(&line);
        Self {
            child,
            address,
            stdout,
        }
    }

    /// Checks that the server ends with exit code 0 on SIGTERM.
    fn check_exit(&mut self) {
        send_signal(Signal::TERM, &self.child);
        let status = eventually("the server ends", || {
            self.child.try_wait().expect("a child process")
        });
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for UnreadServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn stalled_log_reader_does_not_delay_clients() {
    const REQUESTS: usize = 50_000;
    const BATCH: usize = 250;
    let root = site();
    // With old files, all responses have the same length.
    root.backdate();
    let mut server = UnreadServer::start(&root, &[]);
    // Long, so that all lines together exceed every buffer between server and reader.
    let request_bytes = request(&format!("GET /?{}", "a".repeat(300)));
    let batch = request_bytes.repeat(BATCH);
    let mut client = Client::connect(server.address);
    let first = client.ask(&request_bytes);
    assert_eq!(first.text(), "<p>hello");
    let size = first.head.len() + 2 + first.content.len();
    let before = resident_kib(&server.child);
    for _ in 0..REQUESTS / BATCH {
        client.send(&batch);
        let responses = client.bytes(BATCH * size);
        for response in responses.chunks(size) {
            assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(response.ends_with(b"\r\n\r\n<p>hello"));
        }
    }
    let logged = REQUESTS * 350 / 1024;
    let grown = resident_kib(&server.child).saturating_sub(before);
    assert!(grown < logged / 2, "{grown} KiB, {logged} KiB were logged");

    // Nor does it prevent the server from ending.
    server.check_exit();
}

#[test]
fn second_signal_ends_wait_for_log_reader_and_reports_lost_lines() {
    let root = site();
    let mut server = UnreadServer::start(&root, &[]);
    // More than a pipe holds.
    let request_bytes = request(&format!("GET /?{}", "a".repeat(300)));
    let mut client = Client::connect(server.address);
    for _ in 0..300 {
        assert_eq!(client.ask(&request_bytes).status(), "200 OK");
    }
    let stderr = lines(server.child.stderr.take().expect("a pipe"));
    let stderr_line = || {
        stderr
            .recv_timeout(TIMEOUT)
            .expect("a line of standard error")
    };
    send_signal(Signal::TERM, &server.child);
    assert!(stderr_line().contains("stopping"));
    server.check_exit();
    let stderr_line = stderr_line();
    assert!(
        stderr_line.contains("access log lines lost"),
        "{stderr_line}"
    );
}

#[test]
fn resumed_log_reader_receives_queued_lines() {
    let root = site();
    let mut server = UnreadServer::start(&root, &[]);
    // More than a pipe holds, and less than the queue holds.
    let request_bytes = request(&format!("GET /?{}", "a".repeat(300)));
    let mut client = Client::connect(server.address);
    for _ in 0..2000 {
        assert_eq!(client.ask(&request_bytes).status(), "200 OK");
    }
    // All lines arrive without another request.
    for _ in 0..2000 {
        let mut line = String::new();
        server.stdout.read_line(&mut line).expect("a line");
        assert!(line.contains(",\"target\":\"/?aaa"), "{line}");
    }
}

#[test]
fn unread_standard_error_does_not_delay_clients() {
    let root = site();
    let mut server = UnreadServer::start(&root, &["-vv"]);
    // Each connection is logged; a pipe holds 64 KiB.
    for _ in 0..2000 {
        assert_eq!(Client::connect(server.address).get("/").text(), "<p>hello");
    }
    server.check_exit();
}
