//! Another protocol, spoken behind a PROXY header.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, warn};

use super::counters::Counters;
use super::header::{Header, Source, header};
use crate::count::Count;
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
    counters: Option<Arc<Counters>>,
    retiring: bool,
}

/// A conversation, or what comes before it.
#[derive(Debug)]
pub enum Session<S> {
    /// It has begun.
    Begun(S),
    /// The header is not whole yet, or nothing has been said behind it.
    Waiting(Box<Waiting>),
}

/// Who has not said yet for whom it speaks, or nothing but that.
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
            counters: None,
            retiring: false,
        }
    }

    /// The same, with who is hung up on counted.
    #[must_use]
    pub fn counted_by(mut self, counters: Arc<Counters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn is_expected_from(&self, peer: &Peer) -> bool {
        let from = self.options.as_ref().map(|options| &options.from);
        from.is_some_and(|from| from.is_empty() || from.has(peer.address.ip()))
    }

    /// Begins the conversation, if it is known by now with whom, and something has been said.
    #[cold]
    fn begin_with(&mut self, session: &mut Session<P::Session>, io: &mut Io<'_>) -> Next {
        let Session::Waiting(waiting) = session else {
            return Next::Close;
        };
        *io.deadline = self.awaits(waiting, io);
        if io.deadline.is_some() {
            return Next::Read;
        }
        let go_on = match self.retiring {
            true => P::retire,
            false => P::advance,
        };
        self.judge(session, io, go_on, |counters| &counters.refused)
    }

    /// Until when more may come before it is known with whom the conversation is, and what of.
    fn awaits(&self, waiting: &mut Waiting, io: &Io<'_>) -> Option<Instant> {
        let since = *waiting.since.get_or_insert(io.now.instant);
        let bytes = io.inbox.bytes();
        let is_silent = match header(bytes) {
            _ if io.inbox.is_ended() => return None,
            Ok(Header::Partial) => bytes.is_empty(),
            Ok(Header::Whole { length, .. }) if length == bytes.len() => true,
            Ok(Header::Whole { .. }) | Err(_) => return None,
        };
        if self.retiring && is_silent {
            return io.may_be_about_to_ask(waiting.peer.address, since);
        }
        let timeout = self.options.as_ref().map(|options| options.timeout);
        Some(since + timeout.unwrap_or_default())
    }

    /// Begins the conversation with what has come, and goes on like this, or hangs up if that is no header, and counts
    /// that there.
    fn judge(
        &mut self,
        session: &mut Session<P::Session>,
        io: &mut Io<'_>,
        go_on: impl FnOnce(&mut P, &mut P::Session, &mut Io<'_>) -> Next,
        count: impl FnOnce(&Counters) -> &Count,
    ) -> Next {
        let Session::Waiting(waiting) = session else {
            return Next::Close;
        };
        match header(io.inbox.bytes()) {
            Ok(Header::Whole { source, length }) => {
                io.inbox.consume(length);
                let address = match source {
                    Source::Ip(address) => address.into(),
                    Source::Unix => Address::Unix,
                    Source::Connection => waiting.peer.address,
                };
                let mut begun = self.inner.open(&Peer { address });
                let next = go_on(&mut self.inner, &mut begun, io);
                *session = Session::Begun(begun);
                next
            }
            // Whoever only looks whether somebody is there, or has not spoken before we go.
            Ok(Header::Partial)
                if io.inbox.is_empty() && (io.inbox.is_ended() || self.retiring) =>
            {
                Next::Close
            }
            Ok(Header::Partial) | Err(_) => {
                if let Some(counters) = &self.counters {
                    count(counters).add(1);
                }
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

    fn sent(&mut self, session: &mut Self::Session, sent: u64) {
        match session {
            Session::Begun(session) => self.inner.sent(session, sent),
            Session::Waiting(_) => {}
        }
    }

    fn expire(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        match session {
            Session::Begun(session) => self.inner.expire(session, io),
            Session::Waiting(_) => {
                let go_on = match self.retiring {
                    true => P::retire,
                    false => P::expire,
                };
                self.judge(session, io, go_on, |counters| &counters.too_slow)
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

    fn rest(&mut self, clock: impl FnOnce() -> Now) {
        self.inner.rest(clock);
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
            Self::of(([10, 0, 0, 1], 80).into(), from)
        }

        fn of(address: Address, from: &[&str]) -> Self {
            let from = from.iter().map(|source| source.parse().unwrap()).collect();
            let timeout = Duration::from_secs(10);
            let mut proxied = Proxied::new(Parrot, Some(Options::new(from, timeout)));
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
                Some(driven.now.instant + Duration::from_secs(10))
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
    fn who_is_hung_up_on_is_counted() {
        let counters = Arc::new(Counters::default());
        let counted = || {
            let mut driven = Driven::new(&[]);
            driven.proxied.counters = Some(counters.clone());
            driven
        };
        let expire = |bytes: &str| {
            let mut driven = counted();
            driven.hear(bytes);
            driven.call(Proxied::expire);
        };
        let count = || (counters.too_slow.get(), counters.refused.get());
        expire("");
        expire("PROX");
        assert_eq!(count(), (2, 0));
        expire(LINE);
        assert_eq!(count(), (2, 0), "its request is the conversation's");
        counted().hear("GET /");
        let end = |bytes: &str| {
            let mut driven = counted();
            driven.inbox.end();
            driven.hear(bytes);
        };
        end("PROX");
        assert_eq!(count(), (2, 2));
        end("");
        let mut last = counted();
        last.call(Proxied::retire);
        last.call(Proxied::expire);
        assert_eq!(count(), (2, 2), "nobody has to say anything");
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

    #[test]
    fn who_has_just_come_by_a_unix_socket_may_be_about_to_ask() {
        let second = Duration::from_secs(1);
        for header in ["", LINE] {
            let come = || {
                let mut come = Driven::of(Address::Unix, &[]);
                assert_eq!(come.hear(header), said(Next::Read, ""));
                come
            };
            let mut last = come();
            assert_eq!(last.call(Proxied::retire), said(Next::Read, ""));
            assert_eq!(last.deadline, Some(last.now.instant + second));
            last.now.instant += second / 2;
            let rest = &[LINE, "hello"].concat()[header.len()..];
            assert_eq!(last.hear(rest), said(Next::Close, "192.0.2.1:1024 hello"));
            assert_eq!(last.deadline, None);

            let mut silent = come();
            silent.call(Proxied::retire);
            silent.now.instant += second;
            assert_eq!(silent.call(Proxied::expire).0, Next::Close);
            let mut idle = come();
            idle.now.instant += second;
            assert_eq!(idle.call(Proxied::retire).0, Next::Close);
        }
    }
}
