//! A client: sends three messages to `hello`, one connection each, and prints the answers.
//!
//! It teaches the other side: say all, then hear until the end, which is how HTTP/1.0 ends.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(8080, |port| port.parse().expect("a port"));
    for message in ["first", "second", "third"] {
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(server, "GET /{message} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        server.read_to_string(&mut answer)?;
        println!("{message}: {answer}");
    }
    Ok(())
}
