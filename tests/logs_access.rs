//! Each request is one line on standard output, in words that no peer can forge.

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

/// What a line says.
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

/// Reads an access line as it is by default, without a terminal.
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

/// Digits, and nothing else that `parse` would take.
fn number(digits: &str) -> Option<u64> {
    let only = digits.bytes().all(|byte| byte.is_ascii_digit());
    only.then(|| digits.parse().ok())?
}

fn site() -> Root {
    Root::of(&[
        ("index.html", "<p>hello"),
        ("a/b.txt", "text"),
        ("404.html", "nothing"),
    ])
}

/// The words that these bytes, on a connection of their own, add to the log for each request that
/// is in them: method, target, status, bytes.
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

/// The request line and the one field that it needs.
fn request(line: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

#[test]
fn an_answer_is_a_line() {
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
fn an_answer_without_content_has_no_bytes() {
    let root = site();
    let server = Server::start(root.path());
    let check = |line, expected| check(&server, &request(line), &[expected]);
    check("HEAD /", "HEAD / 200 0");
    check("HEAD /none", "HEAD /none 404 0");
    check("OPTIONS /", "OPTIONS / 204 0");
    check("OPTIONS *", "OPTIONS * 204 0");
}

#[test]
fn bytes_are_those_of_the_content() {
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
fn a_line_tells_when_and_how_long() {
    let root = site();
    let server = Server::start(root.path());
    let millisecond = Duration::from_millis(1);
    let (start, began) = (SystemTime::now(), Instant::now());
    let mut client = server.connect();
    // The time that the request takes to arrive counts: what has come with another one was read with it.
    client.send("GET /?1 HTTP/1.1\r\nHost: test\r\n\r\nGET / HT");
    client.response();
    parse(&server.stdout_line());
    std::thread::sleep(Duration::from_millis(150));
    client.ask("TP/1.1\r\nHost: test\r\n\r\n");
    let line = parse(&server.stdout_line());
    let (end, took) = (SystemTime::now(), began.elapsed());
    // The log leaves out what is less than a millisecond.
    assert!(
        line.time >= start - millisecond && line.time <= end,
        "{line:?}"
    );
    assert!(line.duration >= Duration::from_millis(100), "{line:?}");
    assert!(line.duration <= took, "{line:?} in {took:?}");
}

#[test]
fn a_kept_connection_gives_each_request_its_own_time() {
    let root = site();
    let server = Server::start(root.path());
    let mut client = server.connect();
    let pause = Duration::from_millis(400);
    let mut ask = || {
        assert_eq!(client.get("/").text(), "<p>hello");
        parse(&server.stdout_line()).duration
    };
    ask();
    // (Where the machine holds it up, that is its own time; the pause would be so each time.)
    eventually("it has its own time only", || {
        std::thread::sleep(pause);
        (ask() < pause).then_some(())
    });
}

#[test]
fn pipelined_requests_are_lines_in_their_order() {
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
fn what_a_peer_says_cannot_forge_a_word() {
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
    // U+2028 ends a line for some readers, U+202E turns the direction of writing, U+00A0 is a
    // space, U+009B begins a control sequence in some terminals.
    let unseen = "GET /\u{2028}\u{202e}\u{a0}\u{9b}1m";
    check(unseen, "GET /\\u2028\\u202E\\u00A0\\u009B1m");
    // What came encoded stays encoded.
    let encoded = "GET /%0a2026-11-21T04:49:21Z%20%1b[1m";
    check(encoded, encoded);
    check("GET /\"'`$(:)|;<>-", "GET /\\\"'`$(:)|;<>-");
    let method = "!#$%&'*+-.^_`|~ /";
    check(method, method);
}

#[test]
fn what_is_no_request_is_a_line_without_its_words() {
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
    // Nobody has asked anything who connects and leaves: the next line is the next request's.
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
fn a_refusal_is_logged_when_it_has_left_and_not_when_the_peer_leaves() {
    let root = site();
    let server = Server::start(root.path());
    // The server stays five seconds to read away what such a peer may still be saying.
    eventually("it is logged before that", || {
        let start = Instant::now();
        let mut client = server.connect();
        assert_eq!(client.ask("nonsense\r\n\r\n").status(), "400 Bad Request");
        let line = parse(&server.stdout_line());
        let is_early = start.elapsed() < Duration::from_secs(3);
        (is_early && line.duration < Duration::from_secs(1)).then_some(())
    });
}

#[test]
fn a_download_that_is_cut_is_logged_with_what_was_sent() {
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
        assert_ne!(line.reason, "-", "it is said that it was cut");
        // What the kernel had taken and not delivered counts as sent: at most the last number of
        // tcp_wmem (tcp(7)), 4 MiB, and the reader's buffer.
        let sent = read as u64..16 * 1024 * 1024;
        assert!(sent.contains(&line.bytes), "{line:?}");
    }
    // One that is not cut is logged whole.
    let mut client = server.connect();
    client.get("/large");
    assert_eq!(parse(&server.stdout_line()).bytes, size);
}

/// How often the threads that write lines have gone to sleep.
fn naps(server: &Server) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("proc");
    let writers = tasks
        .map(|task| task.expect("an entry").path())
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == "journal\n"));
    let naps = |task: PathBuf| {
        let status = fs::read_to_string(task.join("status")).expect("proc");
        let naps = status.split_once("\nvoluntary_ctxt_switches:").expect("it");
        let naps = naps.1.lines().next().expect("the rest of the line");
        naps.trim().parse::<u64>().expect("a number")
    };
    writers.map(naps).sum()
}

#[test]
fn lines_are_written_together_and_nobody_wakes_without_need() {
    const REQUESTS: u64 = 2000;
    let (root, folder) = (site(), Root::new());
    let file = folder.join("access.log");
    let name = file.to_str().expect("a name in ASCII");
    let server = Server::with(root.path(), &["--log-file", name]);
    let mut client = server.connect();
    let (start, before) = (Instant::now(), naps(&server));
    for _ in 0..REQUESTS {
        client.get("/");
    }
    let woken = naps(&server) - before;
    // Twenty times a second, and some more for the beginning and for locks that are held.
    let most = u64::try_from(start.elapsed().as_millis()).expect("a while") / 50 + 20;
    assert!(woken <= most, "{woken} of {most}");
    let log = eventually("all lines are written", || {
        let log = fs::read_to_string(&file).ok()?;
        (log.lines().count() as u64 == REQUESTS && log.ends_with('\n')).then_some(log)
    });
    for line in log.lines() {
        parse(line);
    }
    eventually("nobody wakes while nothing happens", || {
        let before = naps(&server);
        std::thread::sleep(Duration::from_millis(300));
        (naps(&server) == before).then_some(())
    });
}

/// A server whose output nobody reads but its first line.
struct Unread {
    child: Child,
    address: SocketAddr,
    stdout: BufReader<ChildStdout>,
}

impl Unread {
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

    /// That it ends as it should when it is told to.
    fn check_end(&mut self) {
        send_signal(Signal::TERM, &self.child);
        let status = eventually("the server ends", || {
            self.child.try_wait().expect("it is our child")
        });
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_reader_that_has_stopped_holds_up_nobody() {
    const REQUESTS: usize = 50_000;
    const BATCH: usize = 250;
    let root = site();
    // All answers are to be of one length.
    root.backdate();
    let mut server = Unread::start(&root, &[]);
    // So long that all lines together are more than any buffer on the way.
    let asked = request(&format!("GET /?{}", "a".repeat(300)));
    let batch = asked.repeat(BATCH);
    let mut client = Client::connect(server.address);
    let first = client.ask(&asked);
    assert_eq!(first.text(), "<p>hello");
    let size = first.head.len() + 2 + first.content.len();
    let before = resident_kib(&server.child);
    for _ in 0..REQUESTS / BATCH {
        client.send(&batch);
        let answers = client.bytes(BATCH * size);
        for answer in answers.chunks(size) {
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(answer.ends_with(b"\r\n\r\n<p>hello"));
        }
    }
    let logged = REQUESTS * 350 / 1024;
    let grown = resident_kib(&server.child).saturating_sub(before);
    assert!(grown < logged / 2, "{grown} KiB, {logged} KiB were logged");

    // Nor does it keep the server from its end.
    server.check_end();
}

#[test]
fn a_second_signal_waits_for_no_reader_and_says_what_was_lost() {
    let root = site();
    let mut server = Unread::start(&root, &[]);
    // More than a pipe holds.
    let asked = request(&format!("GET /?{}", "a".repeat(300)));
    let mut client = Client::connect(server.address);
    for _ in 0..300 {
        assert_eq!(client.ask(&asked).status(), "200 OK");
    }
    let complaints = lines(server.child.stderr.take().expect("a pipe"));
    let complaint = || complaints.recv_timeout(TIMEOUT).expect("a complaint");
    send_signal(Signal::TERM, &server.child);
    assert!(complaint().contains("stopping"));
    server.check_end();
    let complaint = complaint();
    assert!(complaint.contains("access log lines lost"), "{complaint}");
}

#[test]
fn a_reader_that_comes_back_gets_the_lines_that_waited() {
    let root = site();
    let mut server = Unread::start(&root, &[]);
    // More than a pipe holds, and less than may wait.
    let asked = request(&format!("GET /?{}", "a".repeat(300)));
    let mut client = Client::connect(server.address);
    for _ in 0..2000 {
        assert_eq!(client.ask(&asked).status(), "200 OK");
    }
    // Nothing more happens, and yet all of them come.
    for _ in 0..2000 {
        let mut line = String::new();
        server.stdout.read_line(&mut line).expect("a line");
        assert!(line.contains(",\"target\":\"/?aaa"), "{line}");
    }
}

#[test]
fn standard_error_that_nobody_reads_holds_up_nobody() {
    let root = site();
    let mut server = Unread::start(&root, &["-vv"]);
    // Each connection is told of; a pipe holds 64 KiB.
    for _ in 0..2000 {
        assert_eq!(Client::connect(server.address).get("/").text(), "<p>hello");
    }
    server.check_end();
}
