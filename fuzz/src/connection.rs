//! An HTTP/1.1 connection without a socket: input comes from the caller, output is collected in memory.

use std::sync::OnceLock;
use std::time::Instant;

use docroot::http::Origin;
use docroot::http1::{Http1, HttpOptions, Session};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol};
use docroot::service::{Service, ServiceOptions};

use crate::now;

/// Connection in memory that collects all output.
#[derive(Debug)]
pub struct Connection<O: Origin> {
    http: Http1<O>,
    session: Session<O::Stream>,
    inbox: Inbox,
    outbox: Outbox,
    deadline: Option<Instant>,
    /// All bytes that the session has written.
    pub output: Vec<u8>,
    /// Event for which the session waits.
    pub next: Next,
}

impl<O: Origin> Connection<O> {
    /// Accepts a connection.
    pub fn new(origin: O, options: HttpOptions) -> Self {
        let service = Service::new(origin, ServiceOptions::default(), None);
        let mut http = Http1::new(service, options);
        let session = http.on_accept(&Peer {
            address: ([127, 0, 0, 1], 80).into(),
        });
        let mut connection = Self {
            http,
            session,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            deadline: None,
            output: Vec::new(),
            next: Next::Read,
        };
        connection.advance();
        connection
    }

    /// Receives bytes from the peer, if the session reads.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.next == Next::Read && !bytes.is_empty() {
            self.inbox.receive(bytes);
            self.advance();
        }
    }

    /// Receives the end of the peer's stream, if the session reads.
    pub fn end(&mut self) {
        if self.next == Next::Read {
            self.inbox.end();
            self.advance();
        }
    }

    /// Lets the session's deadline expire, if it reads and has one.
    pub fn time_out(&mut self) {
        if self.next == Next::Read && self.deadline.take().is_some() {
            self.call(Http1::on_timeout);
            self.drain();
        }
    }

    /// Begins the shutdown of the server, if the session reads.
    pub fn shut_down(&mut self) {
        if self.next == Next::Read {
            self.call(Http1::on_shutdown);
            self.drain();
        }
    }

    /// Whether the session neither reads nor answers further bytes.
    pub fn ignores(&mut self, bytes: &[u8]) -> bool {
        let (output, next) = (self.output.len(), self.next);
        self.inbox.receive(bytes);
        let unread = self.inbox.bytes().len();
        self.advance();
        (output, next, unread) == (self.output.len(), self.next, self.inbox.bytes().len())
    }

    fn advance(&mut self) {
        self.call(Http1::on_ready);
        self.drain();
    }

    /// Takes the output and calls the session until it waits for something other than a flush.
    fn drain(&mut self) {
        loop {
            let output = self.outbox.take();
            self.output.extend_from_slice(&output);
            match self.next {
                Next::Flush | Next::FlushThenRead if !output.is_empty() => {
                    self.call(Http1::on_ready);
                }
                // With nothing queued, the flush is complete.
                Next::Flush | Next::FlushThenRead => return self.next = Next::Read,
                _ => return,
            }
        }
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut Http1<O>, &mut Session<O::Stream>, &mut Io<'_>) -> Next,
    ) {
        // Only differences of times matter. Reading the clock again would make runs differ.
        static START: OnceLock<Instant> = OnceLock::new();
        let mut io = Io {
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            deadline: &mut self.deadline,
            now: Now {
                instant: *START.get_or_init(Instant::now),
                wall: now(),
            },
        };
        self.next = call(&mut self.http, &mut self.session, &mut io);
    }
}
