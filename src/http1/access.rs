//! One request, as one line of the access log.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http::Status;

/// What the log says of a request: time, peer, method, target, status, bytes of content that were
/// sent, and how long it took from its first byte to the answer's last.
#[derive(Debug)]
pub(super) struct Access<'a> {
    pub(super) time: SystemTime,
    pub(super) peer: SocketAddr,
    /// Method and target, or nothing if they could not be read.
    pub(super) request: Option<(&'a str, &'a str)>,
    pub(super) status: Status,
    pub(super) content: u64,
    pub(super) duration: Duration,
}

impl Access<'_> {
    /// Appends `2026-11-21T04:49:21Z 127.0.0.1:53412 GET /path 200 1234 0.3ms` and a newline.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        let (method, target) = self.request.unwrap_or(("-", "-"));
        let (time, peer, status) = (Timestamp(self.time), self.peer, self.status.code());
        let (method, target) = (Escaped(method), Escaped(target));
        let (content, millis) = (self.content, self.duration.as_secs_f64() * 1000.0);
        // Writing to a Vec does not fail.
        let _ = writeln!(
            into,
            "{time} {peer} {method} {target} {status} {content} {millis:.1}ms"
        );
    }
}

/// Text of the peer's in which every character that could end a word or a line, or that a terminal
/// could act on, is written as `\xNN`.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'\\';
        if self.0.as_bytes().iter().all(plain) {
            return f.write_str(self.0);
        }
        for byte in self.0.bytes() {
            match plain(&byte) {
                true => f.write_char(char::from(byte))?,
                false => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// A time in UTC, to the second, as RFC 3339 writes it.
struct Timestamp(SystemTime);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self
            .0
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days: years
        // that begin in March put the leap day last.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let check = |request, expected: &str| {
            let access = Access {
                time: UNIX_EPOCH + Duration::from_secs(784_111_777),
                peer: "[::1]:80".parse().unwrap(),
                request,
                status: Status::NotFound,
                content: 12,
                duration: Duration::from_micros(1_260),
            };
            let mut line = Vec::new();
            access.write(&mut line);
            let expected = format!("1994-11-06T08:49:37Z [::1]:80 {expected} 404 12 1.3ms\n");
            assert_eq!(String::from_utf8(line).unwrap(), expected);
        };
        check(Some(("GET", "/a?b=%20")), "GET /a?b=%20");
        check(None, "- -");
        check(
            Some(("GET", "/\\x0a é\r\n\u{1b}[1m")),
            "GET /\\x5cx0a\\x20\\xc3\\xa9\\x0d\\x0a\\x1b[1m",
        );
    }

    #[test]
    fn timestamps() {
        let check = |seconds, expected| {
            let time = Timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(time.to_string(), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_795_236_561, "2026-11-21T04:49:21Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }
}
