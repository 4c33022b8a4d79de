//! Answers a blank line with HTTP/1.0 and "Hello, world!", head and body in one segment.
//!
//! It teaches to wait for a whole message, however it was cut, and to say the answer in one go.
use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};

struct Hello;

impl Protocol for Hello {
    type Session = ();

    fn on_accept(&mut self, _: &Peer) {}

    fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
        let heard = io.inbox.bytes();
        let blank = |end: &[u8]| heard.windows(end.len()).any(|part| part == end);
        if !blank(b"\r\n\r\n") && !blank(b"\n\n") {
            return Next::Read;
        }
        let date = httpdate::fmt_http_date(io.now.wall);
        let head = format!(
            "HTTP/1.0 200 OK\r\nDate: {date}\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
        );
        io.outbox.tail().extend_from_slice(head.as_bytes());
        io.outbox.tail().extend_from_slice(b"Hello, world!");
        Next::LingeringClose
    }
}

fn main() -> std::io::Result<()> {
    let port = std::env::args()
        .nth(1)
        .map_or(8080, |port| port.parse().expect("a port"));
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Hello, Limits::default())?;
    reactor.listen(listener)?.run()
}
