//! Echoes in upper case, and says when ten seconds pass without an event.
//!
//! It teaches that a loop waits with a time-out, and that a peer who does not read is not read.
use std::time::Duration;

use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};

struct Upper;

impl Protocol for Upper {
    type Session = ();

    fn on_accept(&mut self, _: &Peer) {}

    fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
        let heard = io.inbox.bytes().to_ascii_uppercase();
        io.inbox.consume(heard.len());
        io.outbox.tail().extend_from_slice(&heard);
        Next::Flush
    }

    fn on_idle(&mut self) {
        println!("waiting");
    }
}

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let port = words.get(1).map_or(8888, |n| n.parse().expect("a port"));
    let wait = words.get(2).map_or(10.0, |n| n.parse().expect("seconds"));
    let limits = Limits {
        idle_interval: Some(Duration::from_secs_f64(wait)),
        ..Limits::default()
    };
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Upper, limits)?;
    reactor.listen(listener)?.run()
}
