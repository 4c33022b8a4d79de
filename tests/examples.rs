//! The examples: each prints and answers what its article's program did.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use crate::support::{Client, TIMEOUT, eventually, lines};

/// An example's server process. Killed when the test ends.
struct Example {
    child: Child,
    stdout: Receiver<String>,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = command(name)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example starts");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let line = stdout
            .recv_timeout(TIMEOUT)
            .expect("the line with its address");
        let address = line
            .strip_prefix("listening on ")
            .expect("an address")
            .parse();
        let address = address.expect("an address");
        Self {
            child,
            stdout,
            address,
        }
    }

    fn connect(&self) -> (Client, SocketAddr) {
        let client = Client::connect(self.address);
        let address = client.stream().local_addr().expect("an address");
        (client, address)
    }

    fn stdout_line(&self) -> String {
        self.stdout.recv_timeout(TIMEOUT).expect("a line")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(name: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_docroot"))
        .with_file_name("examples")
        .join(name);
    assert!(
        program.exists(),
        "build the examples first: cargo build --examples"
    );
    Command::new(program)
}

/// The line that `three_bytes` prints before it reads one byte.
fn readable(client: SocketAddr, bytes_left: usize) -> String {
    format!("{client} readable, bytes left: {bytes_left}")
}

#[test]
fn three_bytes_answers_with_local_time() {
    let example = Example::start("three_bytes", &["--host", "127.0.0.1", "--port", "0"]);
    let (mut client, peer) = example.connect();
    assert_eq!(example.stdout_line(), format!("{peer} accepted"));
    for byte in ["a", "b", "c"] {
        client.send(byte);
        assert_eq!(example.stdout_line(), readable(peer, 1));
    }
    let time = String::from_utf8(client.rest()).expect("text");
    let time = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S\n", time).expect("a time");
    let passed = jiff::Zoned::now().datetime().duration_since(time);
    assert!((0..60).contains(&passed.as_secs()), "{time} is not now");
    assert_eq!(example.stdout_line(), format!("{peer} answered"));
    drop(client);
    assert_eq!(example.stdout_line(), format!("{peer} closed"));
}

#[test]
fn three_bytes_reports_bytes_left_as_another_event() {
    let example = Example::start("three_bytes", &["--port", "0"]);
    let (mut client, peer) = example.connect();
    client.send("abcdef");
    assert!(client.rest().starts_with(b"20"));
    assert_eq!(example.stdout_line(), format!("{peer} accepted"));
    for bytes_left in [6, 5, 4] {
        assert_eq!(example.stdout_line(), readable(peer, bytes_left));
    }
    assert_eq!(example.stdout_line(), format!("{peer} answered"));
}

#[test]
fn three_bytes_edge_triggered_waits_for_more_bytes() {
    let example = Example::start("three_bytes", &["--port", "0", "--edge"]);
    let (mut client, peer) = example.connect();
    assert_eq!(example.stdout_line(), format!("{peer} accepted"));
    // Three bytes have arrived, but each arrival is one event, and one event reads one byte.
    client.send("abc");
    assert_eq!(example.stdout_line(), readable(peer, 3));
    client.send("d");
    assert_eq!(example.stdout_line(), readable(peer, 3));
    client.send("e");
    assert_eq!(example.stdout_line(), readable(peer, 3));
    assert_eq!(example.stdout_line(), format!("{peer} answered"));
    assert!(client.rest().starts_with(b"20"));
}

#[test]
fn hello_answers_blank_line_split_at_any_byte() {
    let example = Example::start("hello", &["0"]);
    for (request, split) in [
        ("GET / HTTP/1.0\r\n\r\n", 0),
        ("GET / HTTP/1.0\r\n\r\n", 15),
        ("GET / HTTP/1.0\r\n\r\n", 17),
        ("GET / HTTP/1.0\n\n", 0),
        ("GET / HTTP/1.0\n\n", 15),
        ("\n\n", 1),
    ] {
        let (mut client, _) = example.connect();
        client.send(&request[..split]);
        client.send(&request[split..]);
        let response = String::from_utf8(client.rest()).expect("text");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\nDate: "), "{head}");
        assert!(
            head.contains(" GMT\r\nContent-Type: text/plain\r\nContent-Length: 13"),
            "{head}"
        );
        assert_eq!(body, "Hello, world!");
    }
}

#[test]
fn hello_prints_each_request() {
    let example = Example::start("hello", &["0"]);
    for target in ["/one", "/two"] {
        let (mut client, _) = example.connect();
        client.send(format!(
            "GET {target} HTTP/1.0\r\nUser-Agent: \u{1b}[2J\r\n\r\n"
        ));
        client.rest();
        assert_eq!(example.stdout_line(), format!("GET {target} HTTP/1.0"));
        assert_eq!(example.stdout_line(), "User-Agent: \u{fffd}[2J");
        assert_eq!(example.stdout_line(), "");
    }
}

#[test]
fn upper_echoes_and_reports_timeout() {
    let example = Example::start("upper", &["0", "0.1"]);
    let (mut client, _) = example.connect();
    client.send("hello, ");
    assert_eq!(client.bytes(7), b"HELLO, ");
    client.send("wörld 1\n");
    assert_eq!(client.bytes(9), "WöRLD 1\n".as_bytes());
    client.shutdown_write();
    assert_eq!(client.rest(), b"");
    assert_eq!(example.stdout_line(), "no event for 100ms");
}

#[test]
fn listen_prints_text_as_text() {
    let example = Example::start("listen", &["0"]);
    let (mut client, peer) = example.connect();
    assert_eq!(example.stdout_line(), format!("{peer} connects"));
    for (bytes, line) in [
        (&b"hello\n"[..], "hello"),
        (
            "W\u{f6}rter, \u{6587}\u{5b57}\r\n".as_bytes(),
            "W\u{f6}rter, \u{6587}\u{5b57}",
        ),
        // Not UTF-8, and a control character.
        (b"\xff\n", "\u{fffd}"),
        (b"red \x1b[31m\n", "red \u{fffd}[31m"),
    ] {
        client.send(bytes);
        assert_eq!(example.stdout_line(), format!("{peer} sends: {line}"));
    }
    drop(client);
    assert_eq!(example.stdout_line(), format!("{peer} disconnects"));
}

#[test]
fn listen_waits_for_rest_of_character() {
    let example = Example::start("listen", &["0"]);
    let (mut client, peer) = example.connect();
    assert_eq!(example.stdout_line(), format!("{peer} connects"));
    let (start, end) = "caf\u{e9}".as_bytes().split_at(4);
    client.send(start);
    assert_eq!(example.stdout_line(), format!("{peer} sends: caf"));
    client.send(end);
    assert_eq!(example.stdout_line(), format!("{peer} sends: \u{e9}"));
}

#[test]
fn knock_prints_three_responses_of_hello() {
    let hello = Example::start("hello", &["0"]);
    let mut knock = command("knock")
        .arg(hello.address.port().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let printed: Vec<String> = lines(knock.stdout.take().expect("a pipe")).iter().collect();
    let status = eventually("knock ends", || knock.try_wait().expect("a child process"));
    assert!(status.success());
    let printed = printed.join("\n");
    for line in [
        "first: HTTP/1.0 200 OK",
        "second: HTTP/1.0",
        "third: HTTP/1.0",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
    assert_eq!(printed.matches("Hello, world!").count(), 3);
}

#[test]
fn invalid_argument_is_an_error_message_and_exit_code_2() {
    for (name, arguments, value) in [
        ("three_bytes", &["--port", "x"][..], "x"),
        ("hello", &["65536"], "65536"),
        ("upper", &["http"], "http"),
        ("upper", &["0", "soon"], "soon"),
        ("upper", &["0", "NaN"], "NaN"),
        ("listen", &["7788/tcp"], "7788/tcp"),
        ("knock", &[""], ""),
    ] {
        let output = command(name)
            .args(arguments)
            .output()
            .expect("the example ends");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        let quoted = format!("error: invalid value '{value}' for '");
        assert!(stderr.starts_with(&quoted), "{name}: {stderr}");
    }
}
