//! Prints each request up to its blank line, and answers it with HTTP/1.0 and "Hello, world!".
//!
//! Teaches to wait for a whole request, however many reads it takes, and to send head and content in one segment.
//! Two socket options of tcp(7) decide when a segment leaves, and `docroot::net` sets both:
//!
//! - TCP_NODELAY: a short segment leaves at once, and does not wait until the client has acknowledged the one before.
//!   `Listener::bind` sets it on the listening socket, and accepted sockets inherit it (src/net/listen/listener.rs).
//! - TCP_CORK: a short segment waits until more bytes fill it. `Outbox` sets it while 512 KiB or more are queued. Less
//!   is one `send`, or the flag MSG_MORE joins a head to the file after it, so a cork has nothing to hold back
//!   (src/net/outbox.rs).

use docroot::net::{Io, Limits, Listener, Next, Peer, Protocol, Reactor};

#[derive(clap::Parser)]
struct Arguments {
    #[arg(default_value_t = 8080)]
    port: u16,
}

struct Hello;

impl Protocol for Hello {
    type Session = ();

    fn on_accept(&mut self, _: &Peer) {}

    fn on_ready(&mut self, (): &mut (), io: &mut Io<'_>) -> Next {
        let request = io.inbox.bytes();
        let contains = |end: &[u8]| request.windows(end.len()).any(|part| part == end);
        if !contains(b"\r\n\r\n") && !contains(b"\n\n") {
            return Next::Read;
        }
        for line in String::from_utf8_lossy(request).lines() {
            // A control character could be a command to the terminal.
            println!("{}", line.replace(char::is_control, "\u{fffd}"));
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
    let Arguments { port } = clap::Parser::parse();
    let listener = Listener::bind(([127, 0, 0, 1], port).into(), false)?;
    println!("listening on {}", listener.address());
    let reactor = Reactor::new(Hello, Limits::default())?;
    reactor.listen(listener)?.run()
}
