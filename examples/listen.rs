//! Prints who comes, what they say, and who leaves.
//!
//! It teaches what a session is: what a server remembers of one peer between two events.

use docroot::net::{Address, CloseReason, Io, Limits, Listener, Next, Peer, Protocol, Reactor};

struct Listen;

impl Protocol for Listen {
    type Session = Address;

    fn on_accept(&mut self, peer: &Peer) -> Address {
        println!("{} comes", peer.address);
        peer.address
    }

    fn on_ready(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
        let said = io.inbox.bytes();
        if !said.is_empty() {
            println!("{peer} says {}", said.escape_ascii());
        }
        io.inbox.consume(said.len());
        Next::Read
    }

    fn on_close(&mut self, peer: Address, _: &mut Io<'_>, _: CloseReason) {
        println!("{peer} leaves");
    }
}

fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(7788, |port| port.parse().expect("a port"));
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Listen, Limits::default())?;
    reactor.listen(listener)?.run()
}
