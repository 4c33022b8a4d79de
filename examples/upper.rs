//! Sends each byte back in upper case, and prints a line whenever ten seconds pass without an event.
//!
//! Teaches that a wait in epoll has a timeout, so an idle server can do other work; and backpressure: a client that
//! does not read its answers is not read from, so it cannot fill the server's memory.

use std::time::Duration;

use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};

#[derive(clap::Parser)]
struct Arguments {
    #[arg(default_value_t = 8888)]
    port: u16,
    #[arg(default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "expected seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

struct Upper {
    timeout: Duration,
}

impl Protocol for Upper {
    type Session = ();

    fn on_accept(&mut self, _: &Peer) {}

    fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
        let answer = io.inbox.bytes().to_ascii_uppercase();
        io.inbox.consume(answer.len());
        io.outbox.tail().extend_from_slice(&answer);
        // Reads again when all of the answer has left.
        Next::Flush
    }

    fn on_idle(&mut self) {
        println!("no event for {:?}", self.timeout);
    }
}

fn main() -> std::io::Result<()> {
    let Arguments { port, timeout } = clap::Parser::parse();
    let limits = Limits {
        idle_interval: Some(timeout),
        ..Limits::default()
    };
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Upper { timeout }, limits)?;
    reactor.listen(listener)?.run()
}
