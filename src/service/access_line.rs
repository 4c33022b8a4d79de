//! A line of the access log, in three formats.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::escape::{JsonEscapes, is_safe_quoted, is_safe_unquoted, push_escaped, push_json};
use crate::http::{CacheStatus, Coding, Status, Timestamp, Version, decimal};
use crate::net::Address;

/// Format of a line. In each, nothing that a client sends can end a line or a field, or control a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Short columns for people, coloured for a terminal if `is_coloured`.
    Pretty {
        /// Whether docroot adds escape sequences for colours.
        is_coloured: bool,
    },
    /// NCSA combined log format, as Apache httpd and nginx write it.
    Combined,
    /// One JSON object, in ASCII.
    #[default]
    Json,
}

impl LogFormat {
    /// Whether the format includes User-Agent and Referer.
    pub(super) fn has_referer_and_user_agent(self) -> bool {
        !matches!(self, Self::Pretty { .. })
    }

    /// Whether the format includes the user's name.
    pub(super) fn has_user(self) -> bool {
        self == Self::Combined
    }
}

/// Access log entry of a request: from its first byte to the last byte of the response.
#[derive(Debug)]
pub(super) struct AccessLine<'a> {
    pub(super) time: LogTime<'a>,
    pub(super) client: Address,
    /// `None` if the request could not be parsed.
    pub(super) request: Option<LoggedRequest<'a>>,
    pub(super) status: Status,
    /// Bytes of content sent.
    pub(super) content: u64,
    pub(super) duration: Duration,
    pub(super) coding: Coding,
    pub(super) cache_status: Option<CacheStatus>,
    /// Reason why the request was refused, or the response aborted.
    pub(super) reason: Option<&'static str>,
}

/// Logged fields of a request. Each of the last three is present if the request has it and the format includes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedRequest<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) version: Version,
    pub(super) user: Option<&'a [u8]>,
    pub(super) referer: Option<&'a [u8]>,
    pub(super) user_agent: Option<&'a [u8]>,
}

impl AccessLine<'_> {
    /// Appends the line, with its newline.
    ///
    /// Written by hand, because every response pays for it, and `core::fmt` costs several times as much.
    pub(super) fn write(&self, format: LogFormat, into: &mut Vec<u8>) {
        match format {
            LogFormat::Pretty { is_coloured } => self.write_pretty(is_coloured, into),
            LogFormat::Combined => self.write_combined(into),
            LogFormat::Json => self.write_json(into),
        }
        into.push(b'\n');
    }

    /// Appends `{"time":"2026-11-21T04:49:21.123Z","peer":"127.0.0.1:53412",...}`. All names are always present.
    fn write_json(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(b"{\"time\":");
        match self.time.second {
            "" => into.extend_from_slice(b"null"),
            second => {
                into.push(b'"');
                into.extend_from_slice(second.as_bytes());
                into.push(b'.');
                push_thousandths(self.time.millis, into);
                into.extend_from_slice(b"Z\"");
            }
        }
        into.extend_from_slice(b",\"peer\":\"");
        push_address(self.client, true, into);
        match &self.request {
            Some(request) => {
                push_json_string(b"\",\"method\":\"", request.method, into);
                push_json_string(b"\",\"target\":\"", request.target, into);
                into.extend_from_slice(match request.version {
                    Version::Http10 => b"\",\"version\":\"HTTP/1.0\",\"status\":",
                    Version::Http11 => b"\",\"version\":\"HTTP/1.1\",\"status\":",
                });
            }
            None => into.extend_from_slice(
                b"\",\"method\":null,\"target\":null,\"version\":null,\"status\":",
            ),
        }
        into.extend_from_slice(self.status.code().as_bytes());
        into.extend_from_slice(b",\"bytes\":");
        decimal::push(self.content, into);
        into.extend_from_slice(b",\"duration_ms\":");
        let micros = u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX);
        decimal::push(micros / 1000, into);
        into.push(b'.');
        push_thousandths(micros % 1000, into);
        into.extend_from_slice(b",\"coding\":");
        let request = self.request.as_ref();
        let cache_status = self.cache_status.map(CacheStatus::name);
        for (value, next) in [
            (coding_name(self.coding), &b",\"cache\":"[..]),
            (cache_status.map(str::as_bytes), b",\"reason\":"),
            (self.reason.map(str::as_bytes), b",\"referer\":"),
            (
                request.and_then(|request| request.referer),
                b",\"user_agent\":",
            ),
            (request.and_then(|request| request.user_agent), b"}"),
        ] {
            match value {
                Some(value) => {
                    push_json_string(b"\"", value, into);
                    into.push(b'"');
                }
                None => into.extend_from_slice(b"null"),
            }
            into.extend_from_slice(next);
        }
    }

    /// Appends `127.0.0.1 - alice [21/Nov/2026:04:49:21 +0000] "GET /path HTTP/1.1" 200 1234 "referer" "agent"`, with a
    /// hyphen for each missing value, and for 0 bytes.
    fn write_combined(&self, into: &mut Vec<u8>) {
        push_address(self.client, false, into);
        into.extend_from_slice(b" - ");
        let request = self.request.as_ref();
        match request.and_then(|request| request.user) {
            None | Some(b"") => into.push(b'-'),
            Some(user) => push_escaped(
                user,
                |byte| byte.is_ascii_graphic() && is_safe_quoted(byte),
                into,
            ),
        }
        into.extend_from_slice(b" [");
        into.extend_from_slice(match self.time.second {
            "" => b"01/Jan/1970:00:00:00 +0000",
            second => second.as_bytes(),
        });
        into.extend_from_slice(b"] \"");
        match request {
            None => into.push(b'-'),
            Some(request) => {
                push_escaped(request.method, is_safe_quoted, into);
                into.push(b' ');
                push_escaped(request.target, is_safe_quoted, into);
                into.push(b' ');
                into.extend_from_slice(version_name(request.version).as_bytes());
            }
        }
        into.extend_from_slice(b"\" ");
        into.extend_from_slice(self.status.code().as_bytes());
        into.push(b' ');
        match self.content {
            0 => into.push(b'-'),
            content => decimal::push(content, into),
        }
        for value in [
            request.and_then(|request| request.referer),
            request.and_then(|request| request.user_agent),
        ] {
            into.extend_from_slice(b" \"");
            // Some readers would not recognize an empty value as a field.
            let value = value.filter(|value| !value.is_empty());
            push_escaped(value.unwrap_or(b"-"), is_safe_quoted, into);
            into.push(b'"');
        }
    }

    /// Appends `04:49:21Z 200 GET   1.2K    0.3ms br   hit       127.0.0.1       /path`, and the reason of an error.
    fn write_pretty(&self, is_coloured: bool, into: &mut Vec<u8>) {
        into.extend_from_slice(match self.time.second {
            "" => b"--:--:--Z",
            second => second.as_bytes(),
        });
        into.push(b' ');
        let colour: &[u8] = match self.status.code().as_bytes() {
            _ if !is_coloured => b"",
            [b'2', ..] => b"\x1b[32m",
            [b'3', ..] => b"\x1b[36m",
            [b'4', ..] => b"\x1b[33m",
            _ => b"\x1b[31m",
        };
        let reset: &[u8] = if is_coloured { b"\x1b[0m" } else { b"" };
        into.extend_from_slice(colour);
        into.extend_from_slice(self.status.code().as_bytes());
        into.extend_from_slice(reset);
        into.push(b' ');
        let request = self.request.as_ref();
        let method = request.map_or(&b"-"[..], |request| request.method);
        push_left_aligned(4, into, |into| push_escaped(method, is_safe_unquoted, into));
        into.push(b' ');
        push_right_aligned(5, into, |into| push_size(self.content, into));
        into.push(b' ');
        push_right_aligned(8, into, |into| push_duration(self.duration, into));
        into.push(b' ');
        push_left_aligned(4, into, |into| {
            into.extend_from_slice(coding_name(self.coding).unwrap_or(b"-"));
        });
        into.push(b' ');
        push_left_aligned(9, into, |into| {
            into.extend_from_slice(self.cache_status.map_or("-", CacheStatus::name).as_bytes());
        });
        into.push(b' ');
        push_left_aligned(15, into, |into| push_address(self.client, false, into));
        into.push(b' ');
        push_escaped(
            request.map_or(&b"-"[..], |request| request.target),
            is_safe_unquoted,
            into,
        );
        if let Some(reason) = self.reason {
            into.extend_from_slice(if is_coloured { b" \x1b[2m" } else { b" " });
            into.push(b'(');
            into.extend_from_slice(reason.trim_end_matches('.').as_bytes());
            into.push(b')');
            into.extend_from_slice(reset);
        }
    }
}

const fn version_name(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

fn coding_name(coding: Coding) -> Option<&'static [u8]> {
    (coding != Coding::Identity).then(|| coding.name().as_bytes())
}

/// Appends the client's address, with its port in the format for programs.
fn push_address(client: Address, has_port: bool, into: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = match client {
        Address::Ip(SocketAddr::V4(client)) => {
            let [a, b, c, d] = client.ip().octets();
            decimal::push(a.into(), into);
            for octet in [b, c, d] {
                into.push(b'.');
                decimal::push(octet.into(), into);
            }
            if has_port {
                into.push(b':');
                decimal::push(client.port().into(), into);
            }
            Ok(())
        }
        Address::Ip(SocketAddr::V6(client)) if !has_port => write!(into, "{}", client.ip()),
        client => write!(into, "{client}"),
    };
}

/// Appends a number below 1000 as three digits.
fn push_thousandths(number: u64, into: &mut Vec<u8>) {
    let digits = [number / 100, number / 10 % 10, number % 10];
    into.extend(digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or_default()));
}

/// Appends a size in bytes, in at most five characters: `999`, `1.2K`, `1023M`.
fn push_size(bytes: u64, into: &mut Vec<u8>) {
    let (mut whole, mut rest, mut units) = (bytes, 0, b"KMGTPE".iter());
    let mut unit = None;
    while whole >= 1024
        && let Some(next) = units.next()
    {
        (rest, whole, unit) = (whole % 1024, whole / 1024, Some(next));
    }
    decimal::push(whole, into);
    if unit.is_some() && whole < 10 {
        into.push(b'.');
        decimal::push(rest * 10 / 1024, into);
    }
    into.extend(unit);
}

/// Appends a duration: `0.3ms`, `1500.0ms`, `12.3s`.
fn push_duration(time: Duration, into: &mut Vec<u8>) {
    let (tenths, unit) = match time.as_secs() {
        0..10 => ((time.as_nanos() + 50_000) / 100_000, "ms"),
        _ => (time.as_millis() / 100, "s"),
    };
    let tenths = u64::try_from(tenths).unwrap_or(u64::MAX);
    decimal::push(tenths / 10, into);
    into.push(b'.');
    decimal::push(tenths % 10, into);
    into.extend_from_slice(unit.as_bytes());
}

/// Appends a column, left-aligned, of at least this width.
fn push_left_aligned(width: usize, into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    write(into);
    into.resize(into.len().max(start + width), b' ');
}

/// Appends a column, right-aligned, of at least this width.
fn push_right_aligned(width: usize, into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = into.len();
    write(into);
    let missing = (start + width).saturating_sub(into.len());
    into.resize(into.len() + missing, b' ');
    let column = into.get_mut(start..).unwrap_or_default();
    column.rotate_right(missing);
}

/// Appends `before`, which includes the opening quotation mark, and the content of a JSON string.
fn push_json_string(before: &[u8], value: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(before);
    push_json(value, JsonEscapes::NonAscii, into);
}

/// Time of a log entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogTime<'a> {
    /// Second in UTC, in the format's notation; empty if it cannot be represented.
    second: &'a str,
    /// Milliseconds after it.
    millis: u64,
}

/// Log time, formatted once a second.
#[derive(Debug)]
pub(super) struct CachedLogTime {
    format: LogFormat,
    /// Seconds that local time is ahead of UTC; `None` is UTC.
    utc_offset: Option<fn(SystemTime) -> i64>,
    second: Option<u64>,
    text: String,
}

impl CachedLogTime {
    pub(super) fn new(format: LogFormat) -> Self {
        Self {
            format,
            utc_offset: None,
            second: None,
            text: String::new(),
        }
    }

    /// Returns a cache for local time; `utc_offset` returns its offset from UTC in seconds. Only [`LogFormat::Pretty`]
    /// uses local time: other formats name UTC.
    pub(super) fn local(format: LogFormat, utc_offset: fn(SystemTime) -> i64) -> Self {
        let is_pretty = matches!(format, LogFormat::Pretty { .. });
        Self {
            utc_offset: is_pretty.then_some(utc_offset),
            ..Self::new(format)
        }
    }

    /// Formats this time. A clock before 1970 is wrong, and gives 1970.
    pub(super) fn render(&mut self, time: SystemTime) -> LogTime<'_> {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since_epoch.as_secs()) {
            self.second = Some(since_epoch.as_secs());
            let time = UNIX_EPOCH + since_epoch;
            let shifted = match self.utc_offset.map(|offset| offset(time)) {
                None => Some(time),
                Some(ahead @ 0..) => time.checked_add(Duration::from_secs(ahead.unsigned_abs())),
                Some(behind) => time.checked_sub(Duration::from_secs(behind.unsigned_abs())),
            };
            let timestamp = shifted.and_then(Timestamp::at);
            let text = timestamp.map(|timestamp| timestamp.to_string());
            self.text = text
                .and_then(|text| self.format.format_second(&text))
                .unwrap_or_default();
            if self.utc_offset.is_some() && self.text.ends_with('Z') {
                self.text.pop();
            }
        }
        LogTime {
            second: &self.text,
            millis: since_epoch.subsec_millis().into(),
        }
    }
}

impl LogFormat {
    /// Converts a second from RFC 3339, `2026-11-21T04:49:21Z`, to this format.
    fn format_second(self, text: &str) -> Option<String> {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (date, time) = text.split_once('T')?;
        Some(match self {
            Self::Pretty { .. } => time.to_owned(),
            Self::Json => text.trim_end_matches('Z').to_owned(),
            Self::Combined => {
                let mut parts = date.split('-');
                let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
                let month = MONTHS.get(month.parse::<usize>().ok()?.checked_sub(1)?)?;
                format!("{day}/{month}/{year}:{} +0000", time.trim_end_matches('Z'))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRETTY: LogFormat = LogFormat::Pretty { is_coloured: false };

    /// Formats an entry as a line in this format.
    fn line(format: LogFormat, access: &AccessLine<'_>) -> String {
        let mut text = CachedLogTime::new(format);
        let time = text.render(UNIX_EPOCH + Duration::from_millis(1_795_236_561_007));
        let mut line = b"before\n".to_vec();
        AccessLine { time, ..*access }.write(format, &mut line);
        let line = String::from_utf8(line).unwrap();
        let line = line.strip_prefix("before\n").unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    fn request_fields<'a>(method: &'a str, target: &'a str) -> LoggedRequest<'a> {
        LoggedRequest {
            method: method.as_bytes(),
            target: target.as_bytes(),
            version: Version::Http11,
            user: None,
            referer: None,
            user_agent: None,
        }
    }

    fn access() -> AccessLine<'static> {
        AccessLine {
            time: LogTime {
                second: "",
                millis: 0,
            },
            client: Address::Ip("[::1]:80".parse().unwrap()),
            request: None,
            status: Status::NotFound,
            content: 12,
            duration: Duration::from_micros(1_260),
            coding: Coding::Identity,
            cache_status: None,
            reason: None,
        }
    }

    #[test]
    fn each_format_writes_its_line() {
        let whole = AccessLine {
            request: Some(LoggedRequest {
                version: Version::Http10,
                user: Some(b"alice"),
                referer: Some(b"http://a/"),
                user_agent: Some(b"curl/8"),
                ..request_fields("GET", "/a?b=%20")
            }),
            client: Address::Ip("127.0.0.1:53412".parse().unwrap()),
            status: Status::Ok,
            content: 1234,
            coding: Coding::Brotli,
            cache_status: Some(CacheStatus::Hit),
            ..access()
        };
        let refused = AccessLine {
            content: 0,
            reason: Some("There is no way."),
            ..access()
        };
        assert_eq!(
            line(LogFormat::Json, &whole),
            "{\"time\":\"2026-11-21T04:49:21.007Z\",\"peer\":\"127.0.0.1:53412\",\"method\":\"GET\",\
             \"target\":\"/a?b=%20\",\"version\":\"HTTP/1.0\",\"status\":200,\"bytes\":1234,\
             \"duration_ms\":1.260,\"coding\":\"br\",\"cache\":\"hit\",\"reason\":null,\
             \"referer\":\"http://a/\",\"user_agent\":\"curl/8\"}"
        );
        assert_eq!(
            line(LogFormat::Json, &refused),
            "{\"time\":\"2026-11-21T04:49:21.007Z\",\"peer\":\"[::1]:80\",\"method\":null,\
             \"target\":null,\"version\":null,\"status\":404,\"bytes\":0,\"duration_ms\":1.260,\
             \"coding\":null,\"cache\":null,\"reason\":\"There is no way.\",\"referer\":null,\
             \"user_agent\":null}"
        );
        assert_eq!(
            line(LogFormat::Combined, &whole),
            "127.0.0.1 - alice [21/Nov/2026:04:49:21 +0000] \"GET /a?b=%20 HTTP/1.0\" 200 1234 \
             \"http://a/\" \"curl/8\""
        );
        assert_eq!(
            line(LogFormat::Combined, &refused),
            "::1 - - [21/Nov/2026:04:49:21 +0000] \"-\" 404 - \"-\" \"-\""
        );
        assert_eq!(
            line(PRETTY, &whole),
            "04:49:21Z 200 GET   1.2K    1.3ms br   hit       127.0.0.1       /a?b=%20"
        );
        assert_eq!(
            line(PRETTY, &refused),
            "04:49:21Z 404 -        0    1.3ms -    -         ::1             - (There is no way)"
        );
        assert_eq!(
            line(LogFormat::Pretty { is_coloured: true }, &refused),
            "04:49:21Z \x1b[33m404\x1b[0m -        0    1.3ms -    -         ::1             - \
             \x1b[2m(There is no way)\x1b[0m"
        );
    }

    #[test]
    fn control_characters_and_quotes_are_escaped() {
        let hostile = "\"\\ é\r\n\t\0\u{1b}[1m\u{7f}\u{9b}\u{2028}\u{1f600}";
        let bytes = [hostile.as_bytes(), b"\xff\xc3"].concat();
        let access = AccessLine {
            request: Some(LoggedRequest {
                user: Some(&bytes),
                referer: Some(&bytes),
                user_agent: Some(b""),
                target: &bytes,
                ..request_fields("GET", "")
            }),
            ..access()
        };
        let json = "\\\"\\\\ \\u00E9\\u000D\\u000A\\u0009\\u0000\\u001B[1m\\u007F\\u009B\\u2028\
            \\uD83D\\uDE00\\uFFFD\\uFFFD";
        let found = line(LogFormat::Json, &access);
        assert!(
            found.contains(&format!("\"target\":\"{json}\",")),
            "{found}"
        );
        assert!(
            found.contains(&format!("\"referer\":\"{json}\",")),
            "{found}"
        );
        assert!(found.ends_with("\"user_agent\":\"\"}"), "{found}");
        let rest = "\\xC3\\xA9\\x0D\\x0A\\x09\\x00\\x1B[1m\\x7F\\xC2\\x9B\\xE2\\x80\\xA8\
            \\xF0\\x9F\\x98\\x80\\xFF\\xC3";
        let combined = format!(
            "::1 - \\x22\\x5C\\x20{rest} [21/Nov/2026:04:49:21 +0000] \
             \"GET \\x22\\x5C {rest} HTTP/1.1\" 404 12 \"\\x22\\x5C {rest}\" \"-\""
        );
        assert_eq!(line(LogFormat::Combined, &access), combined);
        let pretty = format!(" \"\\x5C\\x20{rest}");
        assert!(line(PRETTY, &access).ends_with(&pretty));
    }

    #[test]
    fn addresses_match_std_formatting() {
        for text in [
            "127.0.0.1:53412",
            "0.0.0.0:0",
            "255.255.255.255:65535",
            "10.20.30.40:1",
            "[2001:db8::1]:65535",
            "[::ffff:10.0.0.1]:80",
            "[fe80::1%3]:80",
        ] {
            let client = Address::Ip(text.parse().unwrap());
            let access = AccessLine { client, ..access() };
            let json = line(LogFormat::Json, &access);
            assert!(json.contains(&format!("\"peer\":\"{text}\",")), "{json}");
            let combined = line(LogFormat::Combined, &access);
            assert!(
                combined.starts_with(&format!("{} - - [", client.ip().unwrap())),
                "{combined}"
            );
        }
        let client = Address::Unix;
        let access = AccessLine { client, ..access() };
        let json = line(LogFormat::Json, &access);
        assert!(json.contains("\"peer\":\"unix:\","), "{json}");
        let combined = line(LogFormat::Combined, &access);
        assert!(combined.starts_with("unix: - - ["), "{combined}");
    }

    #[test]
    fn numbers_and_durations_match_std_formatting() {
        for content in [1, 9, 10, 99, 100, 65_536, 10_000_000_000, u64::MAX] {
            let access = AccessLine {
                content,
                ..access()
            };
            let found = line(LogFormat::Combined, &access);
            assert!(found.ends_with(&format!(" 404 {content} \"-\" \"-\"")));
            let found = line(LogFormat::Json, &access);
            assert!(found.contains(&format!("\"bytes\":{content},")), "{found}");
        }
        for (nanos, pretty, json) in [
            (0, "0.0ms", "0.000"),
            (49_999, "0.0ms", "0.049"),
            (50_000, "0.1ms", "0.050"),
            (949_999, "0.9ms", "0.949"),
            (950_000, "1.0ms", "0.950"),
            (1_500_000_000, "1500.0ms", "1500.000"),
            (9_999_999_999, "10000.0ms", "9999.999"),
            (12_345_678_901, "12.3s", "12345.678"),
        ] {
            let duration = Duration::from_nanos(nanos);
            let access = AccessLine {
                duration,
                ..access()
            };
            let found = line(LogFormat::Json, &access);
            assert!(
                found.contains(&format!("\"duration_ms\":{json},")),
                "{found}"
            );
            let found = line(PRETTY, &access);
            assert!(found.contains(&format!(" {pretty} ")), "{found}");
        }
        for (bytes, expected) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (10_239, "9.9K"),
            (10_240, "10K"),
            (1_048_575, "1023K"),
            (1_048_576, "1.0M"),
            (u64::MAX, "15E"),
        ] {
            let mut text = Vec::new();
            push_size(bytes, &mut text);
            assert_eq!(text, expected.as_bytes());
        }
        for format in [LogFormat::Json, LogFormat::Combined, PRETTY] {
            let longest = AccessLine {
                duration: Duration::MAX,
                content: u64::MAX,
                ..access()
            };
            line(format, &longest);
        }
    }

    #[test]
    fn each_format_has_its_timestamp() {
        let check = |seconds, expected: [&str; 3]| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            for (format, expected) in [LogFormat::Json, LogFormat::Combined, PRETTY]
                .iter()
                .zip(expected)
            {
                let mut text = CachedLogTime::new(*format);
                assert_eq!(text.render(time).second, expected);
                let late = text.render(time + Duration::from_millis(999));
                assert_eq!((late.second, late.millis), (expected, 999));
            }
        };
        let first = "01/Jan/1970:00:00:00 +0000";
        check(0, ["1970-01-01T00:00:00", first, "00:00:00Z"]);
        let now = "21/Nov/2026:04:49:21 +0000";
        check(1_795_236_561, ["2026-11-21T04:49:21", now, "04:49:21Z"]);
        check(253_402_300_800, ["", "", ""]);
        let pretty = LogFormat::Pretty { is_coloured: false };
        let local = |seconds: u64, offset: fn(SystemTime) -> i64| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            CachedLogTime::local(pretty, offset)
                .render(time)
                .second
                .to_owned()
        };
        assert_eq!(local(1_795_236_561, |_| 3600), "05:49:21");
        assert_eq!(local(1_795_236_561, |_| -5 * 3600), "23:49:21");
        assert_eq!(local(0, |_| -3600), "23:00:00");
    }
}
