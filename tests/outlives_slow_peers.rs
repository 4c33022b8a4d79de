//! A peer that is slow, silent, rude or one of too many costs nobody else anything.

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use support::{Client, LARGE, Root, Server, Signal, docroot, eventually, filling};

/// The time-out under test. The other one is longer than any test's patience.
const SHORT: Duration = Duration::from_millis(300);

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

fn site() -> Root {
    Root::of(&[("index.html", "<p>hello")])
}

fn site_with_large() -> Root {
    let root = site();
    root.write("large", filling(LARGE));
    root
}

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
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    let start = Instant::now();
    let mut client = server.connect();
    // A first byte, however late, does not begin the time anew.
    thread::sleep(Duration::from_millis(800));
    client.send("G");
    is_timed_out(&mut client);
    let elapsed = start.elapsed();
    let expected = Duration::from_millis(1200)..Duration::from_millis(1800);
    assert!(expected.contains(&elapsed), "{elapsed:?}");
}

#[test]
fn a_wait_that_is_interrupted_is_not_begun_anew() {
    let root = site();
    let server = Server::with(root.path(), &["--header-timeout", "1200ms"]);
    let start = Instant::now();
    let mut client = server.connect();
    client.send("G");
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(400));
        // epoll_wait(2) then fails with EINTR (signal(7), "Interruption of system calls and library
        // functions by stop signals"). Whoever pauses a container does this.
        server.signal(Signal::STOP);
        server.signal(Signal::CONT);
    }
    is_timed_out(&mut client);
    let elapsed = start.elapsed();
    let expected = Duration::from_millis(1200)..Duration::from_millis(1800);
    assert!(expected.contains(&elapsed), "{elapsed:?}");
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
    let mut client = server.connect();
    let start = Instant::now();
    let mut last = start;
    while start.elapsed() < idle + idle / 2 {
        last = Instant::now();
        assert_eq!(client.ask(GET).status(), "200 OK");
        thread::sleep(idle / 5);
    }
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
    assert!(received == filling(LARGE), "the file arrives as it is");
}

#[test]
fn a_reader_that_has_stopped_holds_up_nobody() {
    let root = site_with_large();
    let server = Server::start(root.path());
    let mut stopped: Vec<Client> = (0..8).map(|_| server.download("/large")).collect();
    let mut neighbour = server.connect();
    for _ in 0..200 {
        assert_eq!(neighbour.ask(GET).text(), "<p>hello");
        assert_eq!(server.get("/").text(), "<p>hello");
    }
    // Nor does it lose anything by it.
    for client in &mut stopped {
        assert!(
            client.bytes(LARGE) == filling(LARGE),
            "the file arrives as it is"
        );
    }
}

#[test]
fn a_reset_in_the_middle_of_a_download_leaves_nothing_open() {
    let root = site_with_large();
    let server = Server::start(root.path());
    let before = server.descriptors();
    for _ in 0..20 {
        let mut client = server.download("/large");
        client.bytes(100_000);
        // Closing then sends RST instead of FIN (socket(7), SO_LINGER).
        SockRef::from(client.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("an option");
    }
    eventually("all descriptors are closed", || {
        (server.descriptors() == before).then_some(())
    });
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
    eventually("all descriptors are closed", || {
        (server.descriptors() == before).then_some(())
    });
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
    eventually("all descriptors are closed", || {
        (server.descriptors() == before).then_some(())
    });
}

/// A server that may open 40 files.
fn starved(root: &Root, options: &[&str]) -> Server {
    let mut command = Command::new("sh");
    let server = docroot();
    command
        .args(["-c", "ulimit -Sn 40; ulimit -Hn 40; exec \"$@\"", "sh"])
        .arg(server.get_program())
        .args(["--bind", "127.0.0.1", "--port", "0"])
        .args(options)
        .arg(root.path())
        .stdin(Stdio::null());
    for (name, _) in server.get_envs() {
        command.env_remove(name);
    }
    Server::spawn(command)
}

/// More peers than the server can hold: those inside are answered, the others wait at no cost, and
/// get in as others leave. How the first of them is answered depends on what there is too little of.
fn check_crowd(server: &Server, reason: &str, first: &str) {
    let before = server.descriptors();
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    let warning = server.complaint();
    let said = "waits until one closes";
    assert!(
        warning.contains(said) && warning.contains(reason),
        "{warning}"
    );

    let used = server.cpu_time();
    // The time in which nothing is to happen.
    thread::sleep(Duration::from_millis(500));
    let used = server.cpu_time() - used;
    assert!(used < Duration::from_millis(50), "{used:?} of 500 ms");
    assert_eq!(server.complaints(), [""; 0], "it was said once");

    let response = clients[0].ask(GET);
    assert_eq!(response.status(), first);
    let again = (first != "200 OK").then_some("1");
    assert_eq!(response.field("Retry-After"), again);
    for mut client in clients.drain(..199) {
        let status = client.ask(GET).status().to_owned();
        assert!(status == "200 OK" || status == first, "{status}");
    }
    let mut last = clients.pop().expect("one is left");
    eventually("the others have left", || {
        (server.descriptors() == before + 1).then_some(())
    });
    assert_eq!(last.ask(GET).status(), "200 OK");
    drop(last);
    eventually("all descriptors are closed", || {
        (server.descriptors() == before).then_some(())
    });
    let complaints = server.complaints();
    let repeated = complaints.iter().any(|line| line.contains(said));
    assert!(!repeated, "it was said once: {complaints:?}");
}

#[test]
fn a_crowd_waits_for_the_limit_that_was_given() {
    let root = site();
    let server = Server::with(
        root.path(),
        &["--max-connections", "5", "--header-timeout", "60s"],
    );
    check_crowd(&server, "limited to 5", "200 OK");
}

#[test]
fn a_crowd_waits_for_the_limit_that_leaves_descriptors_for_files() {
    let root = site();
    let server = starved(&root, &["--header-timeout", "60s"]);
    check_crowd(&server, "limited to 4", "200 OK");
}

#[test]
fn a_crowd_waits_for_descriptors_when_there_are_none() {
    let root = site();
    let server = starved(
        &root,
        &["--max-connections", "39", "--header-timeout", "60s"],
    );
    // Those inside hold all of them, so that no file can be opened.
    check_crowd(&server, "os error 24", "503 Service Unavailable");
}
