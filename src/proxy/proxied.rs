//! Another protocol, spoken behind a PROXY header.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, warn};

use super::header::{Header, Source, header};
use crate::net::{Address, Closed, Io, Next, Now, Peer, Protocol, Reminder};
use crate::trust::Trusted;

/// From whom a header is expected, and how long it may take.
///
/// A clone is the same: whoever has one complains together.
#[derive(Clone, Debug)]
pub struct Options {
    from: Trusted,
    timeout: Duration,
    /// That somebody does not begin with a header.
    warned: Arc<Mutex<Reminder>>,
}

impl Options {
    /// `from` begin with a header, and are believed; if nobody is named, it is everybody. All others speak for
    /// themselves, without one. `timeout` is from being accepted to the header's last byte.
    #[must_use]
    pub fn new(from: Trusted, timeout: Duration) -> Self {
        Self {
            from,
            timeout,
            warned: Arc::default(),
        }
    }

    /// Whether everybody is believed.
    #[must_use]
    pub fn is_credulous(&self) -> bool {
        self.from.is_empty()
    }

    /// A panic elsewhere leaves the reminder whole.
    fn is_worth_a_word(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.is_due(now)
    }
}

/// A protocol whose peers may be proxies that say at first for whom they speak.
#[derive(Debug)]
pub struct Proxied<P> {
    inner: P,
    /// `None`: all speak for themselves.
    options: Option<Options>,
    retiring: bool,
}

/// A conversation, or what comes before it.
#[derive(Debug)]
pub enum Session<S> {
    /// It has begun.
    Begun(S),
    /// The header is not whole yet.
    Waiting(Box<Waiting>),
}

/// Who has not said yet for whom it speaks.
#[derive(Debug)]
pub struct Waiting {
    peer: Peer,
    /// Since it was first listened to.
    since: Option<Instant>,
}

impl<P: Protocol> Proxied<P> {
    /// `inner` is spoken behind the header, if one is expected at all.
    pub fn new(inner: P, options: Option<Options>) -> Self {
        Self {
            inner,
            options,
            retiring: false,
        }
    }

    fn is_expected_from(&self, peer: &Peer) -> bool {
        let from = self.options.as_ref().map(|options| &options.from);
        from.is_some_and(|from| from.is_empty() || from.has(peer.address.ip()))
    }

    /// Begins the conversation, if it is known by now with whom.
    #[cold]
    fn begin_with(&mut self, session: &mut Session<P::Session>, io: &mut Io<'_>) -> Next {
        let Session::Waiting(waiting) = session else {
            return Next::Close;
        };
        match header(io.inbox.bytes()) {
            Ok(Header::Partial) if io.inbox.is_ended() && io.inbox.is_empty() => {
                // Whoever only looks whether somebody is there.
                Next::Close
            }
            Ok(Header::Partial) if !io.inbox.is_ended() => {
                let since = *waiting.since.get_or_insert(io.now.instant);
                let timeout = self.options.as_ref().map(|options| options.timeout);
                *io.deadline = Some(since + timeout.unwrap_or_default());
                Next::Read
            }
            Ok(Header::Whole { source, length }) => {
                io.inbox.consume(length);
                *io.deadline = None;
                let address = match source {
                    Source::Ip(address) => address.into(),
                    Source::Unix => Address::Unix,
                    Source::Connection => waiting.peer.address,
                };
                let mut begun = self.inner.open(&Peer { address });
                let next = match self.retiring {
                    true => self.inner.retire(&mut begun, io),
                    false => self.inner.advance(&mut begun, io),
                };
                *session = Session::Begun(begun);
                next
            }
            Ok(Header::Partial) | Err(_) => {
                let peer = waiting.peer.address;
                self.refuse(peer, io.now.instant)
            }
        }
    }

    fn refuse(&self, peer: Address, now: Instant) -> Next {
        debug!(%peer, "hung up on: it began without a PROXY header");
        let options = self.options.as_ref();
        if options.is_some_and(|options| options.is_worth_a_word(now)) {
            warn!(
                "{peer} began without a PROXY header, and was hung up on: have the proxy send one (HAProxy: \
                 send-proxy-v2; nginx: proxy_protocol on), name with --trusted-proxy who does, or leave out \
                 --proxy-protocol"
            );
        }
        Next::Close
    }
}

impl<P: Protocol> Protocol for Proxied<P> {
    type Session = Session<P::Session>;

    fn open(&mut self, peer: &Peer) -> Self::Session {
        match self.is_expected_from(peer) {
            false => Session::Begun(self.inner.open(peer)),
            true => Session::Waiting(Box::new(Waiting {
                peer: peer.clone(),
                since: None,
            })),
        }
    }

    fn advance(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        match session {
            Session::Begun(session) => self.inner.advance(session, io),
            Session::Waiting(_) => self.begin_with(session, io),
        }
    }

    fn expire(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        match session {
            Session::Begun(session) => self.inner.expire(session, io),
            Session::Waiting(waiting) => {
                let peer = waiting.peer.address;
                self.refuse(peer, io.now.instant)
            }
        }
    }

    fn waits_since(&self, session: &Self::Session) -> Option<Instant> {
        match session {
            Session::Begun(session) => self.inner.waits_since(session),
            Session::Waiting(waiting) => waiting.since,
        }
    }

    fn retire(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        self.retiring = true;
        match session {
            Session::Begun(session) => self.inner.retire(session, io),
            Session::Waiting(_) if io.inbox.is_empty() => Next::Close,
            Session::Waiting(_) => self.begin_with(session, io),
        }
    }

    fn close(&mut self, session: Self::Session, io: &mut Io<'_>, closed: Closed) {
        match session {
            Session::Begun(session) => self.inner.close(session, io, closed),
            Session::Waiting(_) => {}
        }
    }

    fn begin(&mut self, told: bool) {
        self.inner.begin(told);
    }

    fn due(&self) -> Option<SystemTime> {
        self.inner.due()
    }

    fn tend(&mut self, now: Now) {
        self.inner.tend(now);
    }

    fn rest(&mut self) {
        self.inner.rest();
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Inbox, Outbox};

    /// Says who is there, and what it has heard.
    struct Parrot;

    impl Protocol for Parrot {
        type Session = Address;

        fn open(&mut self, peer: &Peer) -> Address {
            peer.address
        }

        fn advance(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
            let said = format!("{peer} {}", io.inbox.bytes().escape_ascii());
            io.outbox.tail().extend_from_slice(said.as_bytes());
            io.inbox.consume(io.inbox.bytes().len());
            Next::Read
        }

        fn retire(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
            self.advance(peer, io);
            Next::Close
        }
    }

    struct Driven {
        proxied: Proxied<Parrot>,
        session: Session<Address>,
        inbox: Inbox,
        deadline: Option<Instant>,
        now: Now,
    }

    impl Driven {
        fn new(from: &[&str]) -> Self {
            let from = from.iter().map(|source| source.parse().unwrap()).collect();
            let timeout = Duration::from_secs(1);
            let mut proxied = Proxied::new(Parrot, Some(Options::new(from, timeout)));
            let address = ([10, 0, 0, 1], 80).into();
            Self {
                session: proxied.open(&Peer { address }),
                proxied,
                inbox: Inbox::default(),
                deadline: None,
                now: Now {
                    instant: Instant::now(),
                    wall: SystemTime::UNIX_EPOCH,
                },
            }
        }

        fn call(
            &mut self,
            call: impl FnOnce(&mut Proxied<Parrot>, &mut Session<Address>, &mut Io<'_>) -> Next,
        ) -> (Next, String) {
            let mut outbox = Outbox::default();
            let mut io = Io {
                inbox: &mut self.inbox,
                outbox: &mut outbox,
                deadline: &mut self.deadline,
                now: self.now,
            };
            let next = call(&mut self.proxied, &mut self.session, &mut io);
            (next, String::from_utf8(outbox.take()).unwrap())
        }

        fn hear(&mut self, bytes: &str) -> (Next, String) {
            self.inbox.receive(bytes.as_bytes());
            self.call(Proxied::advance)
        }
    }

    const LINE: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n";

    fn said(next: Next, said: &str) -> (Next, String) {
        (next, said.into())
    }

    #[test]
    fn the_conversation_begins_behind_the_header_however_it_is_cut() {
        for cut in 0..LINE.len() {
            let (first, second) = LINE.split_at(cut);
            let mut driven = Driven::new(&[]);
            assert_eq!(driven.hear(first), said(Next::Read, ""));
            assert_eq!(
                driven.deadline,
                Some(driven.now.instant + Duration::from_secs(1))
            );
            let begun = driven.hear(&format!("{second}hello"));
            assert_eq!(begun, said(Next::Read, "192.0.2.1:1024 hello"));
            assert_eq!(driven.deadline, None);
            assert_eq!(
                driven.hear(LINE).1,
                format!("192.0.2.1:1024 {}", LINE.escape_default())
            );
        }
        let mut driven = Driven::new(&["10.0.0.0/8"]);
        let unknown = driven.hear("PROXY UNKNOWN\r\nhello");
        assert_eq!(unknown, said(Next::Read, "10.0.0.1:80 hello"));
    }

    #[test]
    fn who_is_not_trusted_speaks_for_itself() {
        let mut driven = Driven::new(&["192.0.2.0/24", "unix"]);
        assert_eq!(driven.hear("PROXY"), said(Next::Read, "10.0.0.1:80 PROXY"));
    }

    #[test]
    fn who_does_not_begin_with_it_is_hung_up_on() {
        assert_eq!(Driven::new(&[]).hear("GET /"), said(Next::Close, ""));
        let mut slow = Driven::new(&[]);
        slow.hear("PROXY");
        assert_eq!(slow.call(Proxied::expire), said(Next::Close, ""));
        for begun in ["", "PROXY"] {
            let mut gone = Driven::new(&[]);
            gone.inbox.end();
            assert_eq!(gone.hear(begun), said(Next::Close, ""));
        }
    }

    #[test]
    fn the_last_ones_are_told_that_they_are() {
        let mut silent = Driven::new(&[]);
        assert_eq!(silent.call(Proxied::retire), said(Next::Close, ""));
        let mut begun = Driven::new(&[]);
        begun.hear("PROXY");
        assert_eq!(begun.call(Proxied::retire), said(Next::Read, ""));
        assert!(begun.deadline.is_some());
        assert_eq!(begun.hear(&LINE[5..]), said(Next::Close, "192.0.2.1:1024 "));
    }
}
