//! Reads three bytes, one per event, answers with the local date and time, and closes the connection.
//!
//! Teaches level-triggered and edge-triggered events, epoll(7). Level-triggered, the kernel reports a socket in every
//! wait while bytes are left in it: "abc" sent at once is three events. Edge-triggered, it reports a socket only when
//! more bytes have arrived: a program that leaves bytes behind may wait for ever. `--edge` makes that mistake.
//!
//! mio is edge-triggered, so `docroot::net` reads each socket until it is empty. The inbox plays the part of the
//! socket's buffer here: `Next::Yield` is one more event while bytes are left, `Next::Read` waits for more bytes.

use docroot::net::{Address, CloseReason, Io, Limits, Listener, Next, Peer, Protocol, Reactor};

#[derive(clap::Parser)]
struct ThreeBytes {
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    #[arg(long, default_value_t = 9090)]
    port: u16,
    /// Read one byte per arrival, even if more bytes are left
    #[arg(long)]
    edge: bool,
}

impl Protocol for ThreeBytes {
    type Session = (Address, usize);

    fn on_accept(&mut self, peer: &Peer) -> Self::Session {
        println!("{} accepted", peer.address);
        (peer.address, 0)
    }

    fn on_ready(&mut self, (peer, count): &mut Self::Session, io: &mut Io<'_>) -> Next {
        if io.inbox.is_empty() {
            return Next::Read;
        }
        println!("{peer} readable, bytes left: {}", io.inbox.bytes().len());
        io.inbox.consume(1);
        *count += 1;
        if *count < 3 {
            let is_reported = !self.edge && !io.inbox.is_empty();
            return if is_reported { Next::Yield } else { Next::Read };
        }
        let now = jiff::Zoned::try_from(io.now.wall).unwrap_or_default();
        let time = now.strftime("%F %T\n").to_string();
        io.outbox.tail().extend(time.bytes());
        println!("{peer} answered");
        Next::LingeringClose
    }

    fn on_close(&mut self, (peer, _): Self::Session, _: &mut Io<'_>, _: CloseReason) {
        println!("{peer} closed");
    }
}

fn main() -> std::io::Result<()> {
    let server: ThreeBytes = clap::Parser::parse();
    let listener = Listener::bind((server.host, server.port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(server, Limits::default())?;
    reactor.listen(listener)?.run()
}
