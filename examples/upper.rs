//! Echoes in upper case, and says when ten seconds pass without an event.
//!
//! It teaches that a loop waits with a time-out, and that a peer who does not read is not read.
use std::time::Duration;

use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};

struct Upper;

impl Protocol for Upper {
    type Session = ();

    fn open(&mut self, _: &Peer) {}

    fn advance(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
        let heard = io.inbox.bytes().to_ascii_uppercase();
        io.inbox.consume(heard.len());
        io.outbox.tail().extend_from_slice(&heard);
        Next::Drain
    }

    fn idle(&mut self) {
        println!("waiting");
    }
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments
        .next()
        .map_or(8888, |port| port.parse().expect("a port"));
    let seconds = arguments
        .next()
        .map_or(10.0, |wait| wait.parse().expect("seconds"));
    let limits = Limits {
        interval: Some(Duration::from_secs_f64(seconds)),
        ..Limits::default()
    };
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    Reactor::new(Upper, limits)?.listen(listener)?.run()
}
