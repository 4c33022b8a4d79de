//! Prints which client connects, the text that it sends, and that it disconnects.
//!
//! Teaches what a session is: the state that a server keeps for one connection between two events. TCP carries bytes,
//! not messages: a read may end anywhere, also within a character of UTF-8, whose first bytes then stay in the inbox.

use docroot::net::{Address, CloseReason, Io, Limits, Listener, Next, Peer, Protocol, Reactor};

#[derive(clap::Parser)]
struct Arguments {
    #[arg(default_value_t = 7788)]
    port: u16,
}

struct Listen;

impl Protocol for Listen {
    type Session = Address;

    fn on_accept(&mut self, peer: &Peer) -> Address {
        println!("{} connects", peer.address);
        peer.address
    }

    fn on_ready(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
        let bytes = io.inbox.bytes();
        let length = match str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        for line in String::from_utf8_lossy(&bytes[..length]).lines() {
            // A control character could be a command to the terminal.
            let line = line.replace(char::is_control, "\u{fffd}");
            println!("{peer} sends: {line}");
        }
        io.inbox.consume(length);
        Next::Read
    }

    fn on_close(&mut self, peer: Address, _: &mut Io<'_>, _: CloseReason) {
        println!("{peer} disconnects");
    }
}

fn main() -> std::io::Result<()> {
    let Arguments { port } = clap::Parser::parse();
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Listen, Limits::default())?;
    reactor.listen(listener)?.run()
}
