//! Client of `hello`: sends three requests, each over a connection of its own, and prints the responses.
//!
//! Teaches the client's side of HTTP/1.0: send the whole request, then read until the server closes the connection,
//! which is where the response ends. This client may block: it has one connection, and nothing else to do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(clap::Parser)]
struct Arguments {
    #[arg(default_value_t = 8080)]
    port: u16,
}

fn main() -> std::io::Result<()> {
    let Arguments { port } = clap::Parser::parse();
    for name in ["first", "second", "third"] {
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        server.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(server, "GET /{name} HTTP/1.0\r\n\r\n")?;
        let mut response = String::new();
        server.read_to_string(&mut response)?;
        println!("{name}: {response}");
    }
    Ok(())
}
