//! Wrapper around another protocol, for connections that start with a PROXY header.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, warn};

use super::counters::ProxyCounters;
use super::header::{ProxyHeader, SourceAddress, parse_header};
use crate::net::{CloseReason, Io, Next, Now, Protocol};
use crate::peer::{Address, Peer};
use crate::sync::{Counter, LogThrottle, lock};
use crate::trust::TrustedProxies;

/// Peers that must send a header, which is believed, and the time that they have for it. All other peers connect for
/// themselves, without a header.
#[derive(Clone, Debug)]
pub struct ProxyHeaderOptions {
    /// Peers that must send a header; all, if there are none.
    pub trusted: TrustedProxies,
    /// Time from the accept to the last byte of the header.
    pub timeout: Duration,
    /// Advice to the operator about a peer without a header, for the log.
    pub hint: &'static str,
}

impl ProxyHeaderOptions {
    /// Whether the headers of all peers are believed.
    #[must_use]
    pub fn trusts_every_peer(&self) -> bool {
        self.trusted.is_empty()
    }
}

/// Wrapper around a protocol whose peers may be proxies that send a PROXY header first.
#[derive(Debug)]
pub struct Proxied<P> {
    inner: P,
    /// `None`: no peer sends a header.
    options: Option<ProxyHeaderOptions>,
    /// Throttle of the warning that a connection started without a header.
    log_throttle: Arc<Mutex<LogThrottle>>,
    counters: Option<Arc<ProxyCounters>>,
    is_shutting_down: bool,
}

/// Session of the inner protocol, or the wait for its header.
#[derive(Debug)]
pub enum ProxiedSession<S> {
    /// The session of the inner protocol.
    Started(S),
    /// The header is incomplete, or nothing has arrived after it.
    AwaitingHeader(Box<AwaitingHeader>),
}

/// Connection that has sent no complete header yet, or nothing after it.
#[derive(Debug)]
pub struct AwaitingHeader {
    peer: Peer,
    /// Time of the first call for this connection.
    since: Option<Instant>,
}

impl<P: Protocol> Proxied<P> {
    /// Wraps `inner`, whose bytes follow the header, if `options` require one. Wrappers with the same `log_throttle`
    /// warn once together.
    pub fn new(
        inner: P,
        options: Option<ProxyHeaderOptions>,
        log_throttle: Arc<Mutex<LogThrottle>>,
    ) -> Self {
        Self {
            inner,
            options,
            log_throttle,
            counters: None,
            is_shutting_down: false,
        }
    }

    /// Sets the counters of connections closed because of their header.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<ProxyCounters>) -> Self {
        self.counters = Some(counters);
        self
    }

    fn is_expected_from(&self, peer: &Peer) -> bool {
        let from = self.options.as_ref().map(|options| &options.trusted);
        from.is_some_and(|from| from.is_empty() || from.contains(peer.address.ip()))
    }

    /// Starts the inner session, if the header is complete and something has arrived after it.
    #[cold]
    fn try_start(&mut self, session: &mut ProxiedSession<P::Session>, io: &mut Io<'_>) -> Next {
        let ProxiedSession::AwaitingHeader(awaiting) = session else {
            return Next::Close;
        };
        *io.deadline = self.header_deadline(awaiting, io);
        if io.deadline.is_some() {
            return Next::Read;
        }
        let callback = match self.is_shutting_down {
            true => P::on_shutdown,
            false => P::on_ready,
        };
        self.start_or_close(session, io, callback, |counters| &counters.invalid_headers)
    }

    /// Returns the time until which to wait for the header and the first byte after it; `None` if there is nothing to
    /// wait for.
    fn header_deadline(&self, awaiting: &mut AwaitingHeader, io: &Io<'_>) -> Option<Instant> {
        let since = *awaiting.since.get_or_insert(io.now.instant);
        let bytes = io.inbox.bytes();
        let is_silent = match parse_header(bytes) {
            _ if io.inbox.is_ended() => return None,
            Ok(ProxyHeader::Partial) => bytes.is_empty(),
            Ok(ProxyHeader::Complete { length, .. }) if length == bytes.len() => true,
            Ok(ProxyHeader::Complete { .. }) | Err(_) => return None,
        };
        if self.is_shutting_down && is_silent {
            return io.first_request_deadline(awaiting.peer.address, since);
        }
        let timeout = self.options.as_ref().map(|options| options.timeout);
        Some(since + timeout.unwrap_or_default())
    }

    /// Starts the inner session with the bytes received so far and calls `callback`. If they are not a header, closes
    /// the connection and adds to the counter `count`.
    fn start_or_close(
        &mut self,
        session: &mut ProxiedSession<P::Session>,
        io: &mut Io<'_>,
        callback: impl FnOnce(&mut P, &mut P::Session, &mut Io<'_>) -> Next,
        count: impl FnOnce(&ProxyCounters) -> &Counter,
    ) -> Next {
        let ProxiedSession::AwaitingHeader(awaiting) = session else {
            return Next::Close;
        };
        match parse_header(io.inbox.bytes()) {
            Ok(ProxyHeader::Complete { source, length }) => {
                io.inbox.consume(length);
                let address = match source {
                    SourceAddress::Ip(address) => address.into(),
                    SourceAddress::Unix => Address::Unix,
                    SourceAddress::Connection => awaiting.peer.address,
                };
                let mut started = self.inner.on_accept(&Peer { address });
                let next = callback(&mut self.inner, &mut started, io);
                *session = ProxiedSession::Started(started);
                next
            }
            // A probe that only connects, or a connection that was silent until the shutdown.
            Ok(ProxyHeader::Partial)
                if io.inbox.is_empty() && (io.inbox.is_ended() || self.is_shutting_down) =>
            {
                Next::Close
            }
            Ok(ProxyHeader::Partial) | Err(_) => {
                if let Some(counters) = &self.counters {
                    count(counters).add(1);
                }
                let peer = awaiting.peer.address;
                self.reject(peer, io.now.instant)
            }
        }
    }

    fn reject(&self, peer: Address, now: Instant) -> Next {
        debug!(%peer, "closed: no PROXY header");
        if let Some(ProxyHeaderOptions { hint, .. }) = &self.options
            && lock(&self.log_throttle).should_log(now)
        {
            warn!(
                "{peer} sent no PROXY header, so its connection was closed: let the proxy send one (HAProxy: \
                 send-proxy-v2; nginx: proxy_protocol on), {hint}"
            );
        }
        Next::Close
    }
}

impl<P: Protocol> Protocol for Proxied<P> {
    type Session = ProxiedSession<P::Session>;

    fn on_accept(&mut self, peer: &Peer) -> Self::Session {
        match self.is_expected_from(peer) {
            false => ProxiedSession::Started(self.inner.on_accept(peer)),
            true => ProxiedSession::AwaitingHeader(Box::new(AwaitingHeader {
                peer: peer.clone(),
                since: None,
            })),
        }
    }

    fn on_ready(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        match session {
            ProxiedSession::Started(session) => self.inner.on_ready(session, io),
            ProxiedSession::AwaitingHeader(_) => self.try_start(session, io),
        }
    }

    fn on_progress(&mut self, session: &mut Self::Session, sent: u64) {
        match session {
            ProxiedSession::Started(session) => self.inner.on_progress(session, sent),
            ProxiedSession::AwaitingHeader(_) => {}
        }
    }

    fn on_timeout(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        match session {
            ProxiedSession::Started(session) => self.inner.on_timeout(session, io),
            ProxiedSession::AwaitingHeader(_) => {
                let callback = match self.is_shutting_down {
                    true => P::on_shutdown,
                    false => P::on_timeout,
                };
                self.start_or_close(session, io, callback, |counters| &counters.header_timeouts)
            }
        }
    }

    fn idle_since(&self, session: &Self::Session) -> Option<Instant> {
        match session {
            ProxiedSession::Started(session) => self.inner.idle_since(session),
            ProxiedSession::AwaitingHeader(awaiting) => awaiting.since,
        }
    }

    fn on_shutdown(&mut self, session: &mut Self::Session, io: &mut Io<'_>) -> Next {
        self.is_shutting_down = true;
        match session {
            ProxiedSession::Started(session) => self.inner.on_shutdown(session, io),
            ProxiedSession::AwaitingHeader(_) => self.try_start(session, io),
        }
    }

    fn on_close(&mut self, session: Self::Session, io: &mut Io<'_>, reason: CloseReason) {
        match session {
            ProxiedSession::Started(session) => self.inner.on_close(session, io, reason),
            ProxiedSession::AwaitingHeader(_) => {}
        }
    }

    fn on_turn_start(&mut self, is_woken: bool) {
        self.inner.on_turn_start(is_woken);
    }

    fn next_timer(&self) -> Option<SystemTime> {
        self.inner.next_timer()
    }

    fn on_timer(&mut self, now: Now) {
        self.inner.on_timer(now);
    }

    fn on_turn_end(&mut self, clock: impl FnOnce() -> Now) {
        self.inner.on_turn_end(clock);
    }

    fn on_idle(&mut self) {
        self.inner.on_idle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Inbox, Outbox};

    /// Protocol that sends the client's address and its input.
    struct EchoWithAddress;

    impl Protocol for EchoWithAddress {
        type Session = Address;

        fn on_accept(&mut self, peer: &Peer) -> Address {
            peer.address
        }

        fn on_ready(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
            let output = format!("{peer} {}", io.inbox.bytes().escape_ascii());
            io.outbox.tail().extend_from_slice(output.as_bytes());
            io.inbox.consume(io.inbox.bytes().len());
            Next::Read
        }

        fn on_shutdown(&mut self, peer: &mut Address, io: &mut Io<'_>) -> Next {
            self.on_ready(peer, io);
            Next::Close
        }
    }

    struct ProxiedDriver {
        proxied: Proxied<EchoWithAddress>,
        session: ProxiedSession<Address>,
        inbox: Inbox,
        deadline: Option<Instant>,
        now: Now,
    }

    impl ProxiedDriver {
        fn new(from: &[&str]) -> Self {
            Self::with_address(([10, 0, 0, 1], 80).into(), from)
        }

        fn with_address(address: Address, from: &[&str]) -> Self {
            let from = from.iter().map(|source| source.parse().unwrap()).collect();
            let timeout = Duration::from_secs(10);
            let mut proxied = Proxied::new(
                EchoWithAddress,
                Some(ProxyHeaderOptions {
                    trusted: from,
                    timeout,
                    hint: "",
                }),
                Arc::default(),
            );
            Self {
                session: proxied.on_accept(&Peer { address }),
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
            call: impl FnOnce(
                &mut Proxied<EchoWithAddress>,
                &mut ProxiedSession<Address>,
                &mut Io<'_>,
            ) -> Next,
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

        fn receive(&mut self, bytes: &str) -> (Next, String) {
            self.inbox.receive(bytes.as_bytes());
            self.call(Proxied::on_ready)
        }
    }

    const LINE: &str = "PROXY TCP4 192.0.2.1 192.0.2.2 1024 80\r\n";

    fn output(next: Next, output: &str) -> (Next, String) {
        (next, output.into())
    }

    #[test]
    fn session_starts_after_split_header() {
        for cut in 0..LINE.len() {
            let (first, second) = LINE.split_at(cut);
            let mut driver = ProxiedDriver::new(&[]);
            assert_eq!(driver.receive(first), output(Next::Read, ""));
            assert_eq!(
                driver.deadline,
                Some(driver.now.instant + Duration::from_secs(10))
            );
            let started = driver.receive(&format!("{second}hello"));
            assert_eq!(started, output(Next::Read, "192.0.2.1:1024 hello"));
            assert_eq!(driver.deadline, None);
            assert_eq!(
                driver.receive(LINE).1,
                format!("192.0.2.1:1024 {}", LINE.escape_default())
            );
        }
        let mut driver = ProxiedDriver::new(&["10.0.0.0/8"]);
        let unknown = driver.receive("PROXY UNKNOWN\r\nhello");
        assert_eq!(unknown, output(Next::Read, "10.0.0.1:80 hello"));
    }

    #[test]
    fn untrusted_peer_sends_no_header() {
        let mut driver = ProxiedDriver::new(&["192.0.2.0/24", "unix"]);
        assert_eq!(
            driver.receive("PROXY"),
            output(Next::Read, "10.0.0.1:80 PROXY")
        );
    }

    #[test]
    fn connection_without_header_is_closed() {
        assert_eq!(
            ProxiedDriver::new(&[]).receive("GET /"),
            output(Next::Close, "")
        );
        let mut slow = ProxiedDriver::new(&[]);
        slow.receive("PROXY");
        assert_eq!(slow.call(Proxied::on_timeout), output(Next::Close, ""));
        for started in ["", "PROXY"] {
            let mut gone = ProxiedDriver::new(&[]);
            gone.inbox.end();
            assert_eq!(gone.receive(started), output(Next::Close, ""));
        }
    }

    #[test]
    fn closed_connections_are_counted() {
        let counters = Arc::new(ProxyCounters::default());
        let counted = || {
            let mut driver = ProxiedDriver::new(&[]);
            driver.proxied.counters = Some(counters.clone());
            driver
        };
        let expire = |bytes: &str| {
            let mut driver = counted();
            driver.receive(bytes);
            driver.call(Proxied::on_timeout);
        };
        let count = || {
            (
                counters.header_timeouts.get(),
                counters.invalid_headers.get(),
            )
        };
        expire("");
        expire("PROX");
        assert_eq!(count(), (2, 0));
        expire(LINE);
        assert_eq!(
            count(),
            (2, 0),
            "a timeout after the header is the inner session's"
        );
        counted().receive("GET /");
        let end = |bytes: &str| {
            let mut driver = counted();
            driver.inbox.end();
            driver.receive(bytes);
        };
        end("PROX");
        assert_eq!(count(), (2, 2));
        end("");
        let mut last = counted();
        last.call(Proxied::on_shutdown);
        last.call(Proxied::on_timeout);
        assert_eq!(count(), (2, 2), "a silent connection is not counted");
    }

    #[test]
    fn shutdown_reaches_session_behind_header() {
        let mut silent = ProxiedDriver::new(&[]);
        assert_eq!(silent.call(Proxied::on_shutdown), output(Next::Close, ""));
        let mut started = ProxiedDriver::new(&[]);
        started.receive("PROXY");
        assert_eq!(started.call(Proxied::on_shutdown), output(Next::Read, ""));
        assert!(started.deadline.is_some());
        assert_eq!(
            started.receive(&LINE[5..]),
            output(Next::Close, "192.0.2.1:1024 ")
        );
    }

    #[test]
    fn new_unix_connection_may_send_first_request_during_shutdown() {
        let second = Duration::from_secs(1);
        for header in ["", LINE] {
            let fresh = || {
                let mut fresh = ProxiedDriver::with_address(Address::Unix, &[]);
                assert_eq!(fresh.receive(header), output(Next::Read, ""));
                fresh
            };
            let mut last = fresh();
            assert_eq!(last.call(Proxied::on_shutdown), output(Next::Read, ""));
            assert_eq!(last.deadline, Some(last.now.instant + second));
            last.now.instant += second / 2;
            let rest = &[LINE, "hello"].concat()[header.len()..];
            assert_eq!(
                last.receive(rest),
                output(Next::Close, "192.0.2.1:1024 hello")
            );
            assert_eq!(last.deadline, None);

            let mut silent = fresh();
            silent.call(Proxied::on_shutdown);
            silent.now.instant += second;
            assert_eq!(silent.call(Proxied::on_timeout).0, Next::Close);
            let mut idle = fresh();
            idle.now.instant += second;
            assert_eq!(idle.call(Proxied::on_shutdown).0, Next::Close);
        }
    }
}
