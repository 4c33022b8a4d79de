//! A conversation in HTTP/1.1 without a socket: what is heard is given, and what is said is kept.

use std::sync::OnceLock;
use std::time::Instant;

use docroot::http::Origin;
use docroot::http1::{Http1, HttpOptions, Session};
use docroot::net::{Inbox, Io, Next, Now, Outbox, Peer, Protocol};

use crate::now;

/// One conversation, of which nothing is forgotten.
#[derive(Debug)]
pub struct Conversation<O: Origin> {
    http: Http1<O>,
    session: Session<O::Stream>,
    inbox: Inbox,
    outbox: Outbox,
    deadline: Option<Instant>,
    /// Everything that was answered.
    pub said: Vec<u8>,
    /// What the session waits for.
    pub next: Next,
}

impl<O: Origin> Conversation<O> {
    /// A peer has connected.
    pub fn new(origin: O, options: HttpOptions) -> Self {
        let mut http = Http1::new(origin, options, None);
        let session = http.on_accept(&Peer {
            address: ([127, 0, 0, 1], 80).into(),
        });
        let mut conversation = Self {
            http,
            session,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            deadline: None,
            said: Vec::new(),
            next: Next::Read,
        };
        conversation.advance();
        conversation
    }

    /// The peer says this, if it is listened to.
    pub fn hear(&mut self, bytes: &[u8]) {
        if self.next == Next::Read && !bytes.is_empty() {
            self.inbox.receive(bytes);
            self.advance();
        }
    }

    /// The peer finishes, if it is listened to.
    pub fn end(&mut self) {
        if self.next == Next::Read {
            self.inbox.end();
            self.advance();
        }
    }

    /// What is awaited has taken too long.
    pub fn expire(&mut self) {
        if self.next == Next::Read && self.deadline.take().is_some() {
            self.call(Http1::on_timeout);
            self.drain();
        }
    }

    /// The server is going away.
    pub fn retire(&mut self) {
        if self.next == Next::Read {
            self.call(Http1::on_shutdown);
            self.drain();
        }
    }

    /// Whether nothing is said, and nothing read, whatever else is heard.
    pub fn is_deaf(&mut self, bytes: &[u8]) -> bool {
        let (said, next) = (self.said.len(), self.next);
        self.inbox.receive(bytes);
        let heard = self.inbox.bytes().len();
        self.advance();
        (said, next, heard) == (self.said.len(), self.next, self.inbox.bytes().len())
    }

    fn advance(&mut self) {
        self.call(Http1::on_ready);
        self.drain();
    }

    /// Takes what is said, and lets the session say more, until it waits for something else.
    fn drain(&mut self) {
        loop {
            let said = self.outbox.take();
            self.said.extend_from_slice(&said);
            match self.next {
                Next::Flush | Next::FlushThenRead if !said.is_empty() => self.call(Http1::on_ready),
                // With nothing queued it is the same.
                Next::Flush | Next::FlushThenRead => return self.next = Next::Read,
                _ => return,
            }
        }
    }

    fn call(
        &mut self,
        call: impl FnOnce(&mut Http1<O>, &mut Session<O::Stream>, &mut Io<'_>) -> Next,
    ) {
        // Only differences count; to read the clock anew would only make one run unlike another.
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
