//! Each example does what its article's program did.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use crate::support::{Client, TIMEOUT, eventually, lines};

/// An example that runs until the test ends.
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
            .expect("it starts");
        let stdout = lines(child.stdout.take().expect("a pipe"));
        let said = stdout
            .recv_timeout(TIMEOUT)
            .expect("it says where it listens");
        let address = said
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

#[test]
fn three_bytes_are_answered_with_the_time() {
    let example = Example::start("three_bytes", &["--host", "127.0.0.1", "--port", "0"]);
    let (mut client, us) = example.connect();
    assert_eq!(example.stdout_line(), format!("{us} accepted"));
    for byte in ["a", "b", "c"] {
        client.send(byte);
        assert_eq!(example.stdout_line(), format!("{us} readable, 1 bytes"));
    }
    let time = String::from_utf8(client.rest()).expect("text");
    let time = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S\n", time).expect("a time");
    let passed = jiff::Zoned::now().datetime().duration_since(time);
    assert!((0..60).contains(&passed.as_secs()), "{time} is not now");
    assert_eq!(example.stdout_line(), format!("{us} written to"));
    drop(client);
    assert_eq!(example.stdout_line(), format!("{us} closed"));
}

#[test]
fn three_bytes_that_come_together_are_not_forgotten() {
    let example = Example::start("three_bytes", &["--port", "0"]);
    let (mut client, _) = example.connect();
    client.send("abcdef");
    assert!(client.rest().starts_with(b"20"));
}

#[test]
fn hello_answers_a_blank_line_however_it_was_cut() {
    let example = Example::start("hello", &["0"]);
    for (request, cut) in [
        ("GET / HTTP/1.0\r\n\r\n", 0),
        ("GET / HTTP/1.0\r\n\r\n", 15),
        ("GET / HTTP/1.0\r\n\r\n", 17),
        ("GET / HTTP/1.0\n\n", 0),
        ("GET / HTTP/1.0\n\n", 15),
        ("\n\n", 1),
    ] {
        let (mut client, _) = example.connect();
        client.send(&request[..cut]);
        client.send(&request[cut..]);
        let answer = String::from_utf8(client.rest()).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200 OK\r\nDate: "), "{head}");
        assert!(
            head.contains(" GMT\r\nContent-Type: text/plain\r\nContent-Length: 13"),
            "{head}"
        );
        assert_eq!(body, "Hello, world!");
    }
}

#[test]
fn upper_echoes_and_says_that_it_waits() {
    let example = Example::start("upper", &["0", "0.1"]);
    let (mut client, _) = example.connect();
    client.send("hello, ");
    assert_eq!(client.bytes(7), b"HELLO, ");
    client.send("wörld 1\n");
    assert_eq!(client.bytes(9), "WöRLD 1\n".as_bytes());
    client.shutdown_write();
    assert_eq!(client.rest(), b"");
    assert_eq!(example.stdout_line(), "waiting");
}

#[test]
fn listen_prints_who_comes_and_goes() {
    let example = Example::start("listen", &["0"]);
    let (mut client, us) = example.connect();
    assert_eq!(example.stdout_line(), format!("{us} comes"));
    client.send("hello\u{1b}\n");
    assert_eq!(example.stdout_line(), format!("{us} says hello\\x1b\\n"));
    drop(client);
    assert_eq!(example.stdout_line(), format!("{us} leaves"));
}

#[test]
fn knock_plays_three_messages_to_hello() {
    let hello = Example::start("hello", &["0"]);
    let mut knock = command("knock")
        .arg(hello.address.port().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let said: Vec<String> = lines(knock.stdout.take().expect("a pipe")).iter().collect();
    let status = eventually("knock ends", || knock.try_wait().expect("it is our child"));
    assert!(status.success());
    let said = said.join("\n");
    for message in [
        "first: HTTP/1.0 200 OK",
        "second: HTTP/1.0",
        "third: HTTP/1.0",
    ] {
        assert!(said.contains(message), "{said}");
    }
    assert_eq!(said.matches("Hello, world!").count(), 3);
}
