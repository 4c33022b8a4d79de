//! One request, as one line of the access log.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decimal;
use crate::http::{Status, Timestamp};
use crate::net::Address;

/// What the log says of a request: time, peer, method, target, status, bytes of content that were
/// sent, and how long it took from its first byte to the answer's last.
#[derive(Debug)]
pub(super) struct Access<'a> {
    /// As [`TimeText`] has it.
    pub(super) time: &'a str,
    pub(super) peer: Address,
    /// Method and target, or nothing if they could not be read.
    pub(super) request: Option<(&'a str, &'a str)>,
    pub(super) status: Status,
    pub(super) content: u64,
    pub(super) duration: Duration,
}

impl Access<'_> {
    /// Appends `2026-11-21T04:49:21Z 127.0.0.1:53412 GET /path 200 1234 0.3ms` and a newline.
    ///
    /// By hand: each answer pays for this, and `core::fmt` costs several times as much.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let (method, target) = self.request.unwrap_or(("-", "-"));
        into.extend_from_slice(self.time.as_bytes());
        into.push(b' ');
        address(self.peer, into);
        into.push(b' ');
        escaped(method, into);
        into.push(b' ');
        escaped(target, into);
        into.push(b' ');
        into.extend_from_slice(self.status.code().as_bytes());
        into.push(b' ');
        decimal::push(self.content, into);
        into.push(b' ');
        let tenths = (self.duration.as_nanos() + 50_000) / 100_000;
        let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
        decimal::push(tenths / 10, into);
        into.push(b'.');
        decimal::push(tenths % 10, into);
        into.extend_from_slice(b"ms\n");
    }
}

/// Appends an address and its port, or `unix:`.
fn address(peer: Address, into: &mut Vec<u8>) {
    let Address::Ip(SocketAddr::V4(peer)) = peer else {
        // Writing to a Vec does not fail.
        let _ = write!(into, "{peer}");
        return;
    };
    let [a, b, c, d] = peer.ip().octets();
    decimal::push(a.into(), into);
    for octet in [b, c, d] {
        into.push(b'.');
        decimal::push(octet.into(), into);
    }
    into.push(b':');
    decimal::push(peer.port().into(), into);
}

/// Appends text of the peer's in which every character that could end a word or a line, or that a
/// terminal could act on, is written as `\xNN`.
fn escaped(text: &str, into: &mut Vec<u8>) {
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
    if text.as_bytes().iter().all(plain) {
        return into.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        match plain(&byte) {
            true => into.push(byte),
            false => {
                // Writing to a Vec does not fail.
                let _ = write!(into, "\\x{byte:02x}");
            }
        }
    }
}

/// The time in UTC, to the second, as RFC 3339 writes it, rendered once a second.
#[derive(Debug, Default)]
pub(super) struct TimeText {
    second: Option<u64>,
    text: String,
}

impl TimeText {
    /// This time. A clock before 1970 is wrong, and reads as 1970; one after 9999 reads as `-`.
    pub(super) fn at(&mut self, time: SystemTime) -> &str {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text.clear();
            // Writing to a String does not fail.
            let _ = match Timestamp::at(UNIX_EPOCH + since) {
                Some(timestamp) => write!(self.text, "{timestamp}"),
                None => write!(self.text, "-"),
            };
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the line ends like this, after its time.
    fn check(access: &Access<'_>, expected: &str) {
        let mut line = b"before\n".to_vec();
        access.write(&mut line);
        let expected = format!("before\n1994-11-06T08:49:37Z {expected}\n");
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    fn access() -> Access<'static> {
        Access {
            time: "1994-11-06T08:49:37Z",
            peer: Address::Ip("[::1]:80".parse().unwrap()),
            request: None,
            status: Status::NotFound,
            content: 12,
            duration: Duration::from_micros(1_260),
        }
    }

    #[test]
    fn a_peers_words_are_words() {
        let check = |request, expected: &str| {
            let access = Access {
                request,
                ..access()
            };
            check(&access, &format!("[::1]:80 {expected} 404 12 1.3ms"));
        };
        check(Some(("GET", "/a?b=%20")), "GET /a?b=%20");
        check(None, "- -");
        check(
            Some(("GET", "/\\x0a é\r\n\u{1b}[1m")),
            "GET /\\x5cx0a\\x20\\xc3\\xa9\\x0d\\x0a\\x1b[1m",
        );
    }

    #[test]
    fn addresses_are_as_the_standard_library_has_them() {
        for text in [
            "127.0.0.1:53412",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.20.30.40:1",
            "[2001:db8::1]:65535",
            "[::ffff:10.0.0.1]:80",
            "[fe80::1%3]:80",
        ] {
            let peer = Address::Ip(text.parse().unwrap());
            let access = Access { peer, ..access() };
            check(&access, &format!("{text} - - 404 12 1.3ms"));
        }
        let peer = Address::Unix;
        check(&Access { peer, ..access() }, "unix: - - 404 12 1.3ms");
    }

    #[test]
    fn numbers_are_as_the_standard_library_has_them() {
        for content in [0, 9, 10, 99, 100, 65_536, 10_000_000_000, u64::MAX] {
            let access = Access {
                content,
                ..access()
            };
            check(&access, &format!("[::1]:80 - - 404 {content} 1.3ms"));
        }
        for (nanos, expected) in [
            (0, "0.0"),
            (49_999, "0.0"),
            (50_000, "0.1"),
            (949_999, "0.9"),
            (950_000, "1.0"),
            (1_500_000_000, "1500.0"),
        ] {
            let access = Access {
                duration: Duration::from_nanos(nanos),
                ..access()
            };
            check(&access, &format!("[::1]:80 - - 404 12 {expected}ms"));
        }
        let longest = Access {
            duration: Duration::MAX,
            ..access()
        };
        longest.write(&mut Vec::new());
    }

    #[test]
    fn timestamps() {
        let mut text = TimeText::default();
        let mut check = |seconds, expected| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(text.at(time), expected);
            assert_eq!(text.at(time + Duration::from_millis(999)), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(1_795_236_561, "2026-11-21T04:49:21Z");
        check(253_402_300_800, "-");
    }
}
