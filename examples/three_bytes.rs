//! Reads three bytes, one at a time, answers with the local date and time, and closes.
//!
//! It teaches what readiness is. A level-triggered poll reports a socket again and again while
//! bytes are left in it: one may read a byte, and come back. An edge-triggered one, as mio's is,
//! reports only that more has come: what is left unread then is not spoken of again. So the reactor
//! reads until the socket is empty, and the protocol takes as little of its inbox as it likes.
use docroot::net::{Address, CloseReason, Io, Limits, Listener, Next, Peer, Protocol, Reactor};

#[derive(clap::Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1")]
    host: std::net::IpAddr,
    #[arg(long, default_value_t = 9090)]
    port: u16,
}

struct ThreeBytes;

impl Protocol for ThreeBytes {
    type Session = (Address, usize);

    fn on_accept(&mut self, peer: &Peer) -> Self::Session {
        println!("{} accepted", peer.address);
        (peer.address, 0)
    }

    fn on_ready(&mut self, (peer, count): &mut Self::Session, io: &mut Io<'_>) -> Next {
        if !io.inbox.is_empty() {
            println!("{peer} readable, {} bytes", io.inbox.bytes().len());
        }
        while *count < 3 && !io.inbox.is_empty() {
            io.inbox.consume(1);
            *count += 1;
        }
        if *count < 3 {
            return Next::Read;
        }
        let now = jiff::Zoned::try_from(io.now.wall).unwrap_or_default();
        let time = format!("{}\n", now.strftime("%F %T"));
        io.outbox.tail().extend(time.bytes());
        println!("{peer} written to");
        Next::LingeringClose
    }

    fn on_close(&mut self, (peer, _): Self::Session, _: &mut Io<'_>, _: CloseReason) {
        println!("{peer} closed");
    }
}

fn main() -> std::io::Result<()> {
    let Arguments { host, port } = clap::Parser::parse();
    let listener = Listener::bind((host, port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(ThreeBytes, Limits::default())?;
    reactor.listen(listener)?.run()
}
