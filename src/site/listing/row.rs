//! Rows of a listing, in HTML, JSON and plain text.

use std::io::Write as _;
use std::time::SystemTime;

use crate::escape::{HtmlText, JsonEscapes, is_control_or_bidi, push_json};
use crate::http::{ListingFormat, Timestamp, percent_encode};

/// Row of a listing: one directory entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListingRow<'a> {
    pub(super) name: &'a [u8],
    pub(super) is_dir: bool,
    /// Length of a file in bytes; `None` for a directory, or if it is unknown.
    pub(super) len: Option<u64>,
    pub(super) modified: Option<SystemTime>,
}

impl ListingRow<'_> {
    /// Appends the row in this format. `is_first`: no row comes before it.
    pub(super) fn write(&self, format: ListingFormat, is_first: bool, into: &mut Vec<u8>) {
        match format {
            ListingFormat::Html => self.html(into),
            ListingFormat::Json => self.json(is_first, into),
            ListingFormat::Text => self.text(into),
        }
    }

    /// Appends a table row. A name that cannot be requested ([`Target`](crate::http::Target) has no control characters)
    /// is shown without a link.
    fn html(&self, into: &mut Vec<u8>) {
        let slash = self.slash();
        let timestamp = self.modified.and_then(Timestamp::at);
        into.extend_from_slice(b"\n<tr><td>");
        match is_requestable(self.name) {
            true => {
                into.extend_from_slice(b"<a href=\"");
                write_href(self.name, into);
                into.extend_from_slice(slash);
                into.extend_from_slice(b"\">");
                let _ = write!(into, "{}", HtmlText(self.name));
                into.extend_from_slice(slash);
                into.extend_from_slice(b"</a>");
            }
            false => {
                into.extend_from_slice(
                    b"<span title=\"A name with a control character cannot be requested.\">",
                );
                let _ = write!(into, "{}", HtmlText(self.name));
                into.extend_from_slice(slash);
                into.extend_from_slice(b"</span>");
            }
        }
        // Writing to a Vec does not fail.
        let _ = match self.len {
            Some(len) if len < 1024 => write!(into, "<td data-n=\"{len}\">{len} B"),
            Some(len) => write!(
                into,
                "<td data-n=\"{len}\" title=\"{len} bytes\">{}",
                HumanSize(len)
            ),
            None => write!(into, "<td>"),
        };
        let _ = match timestamp.map(|timestamp| timestamp.to_string()) {
            // Readers see minutes; programs get the whole timestamp.
            Some(text) => {
                let (date, time) = text.split_once('T').unwrap_or_default();
                let minute = time.get(..5).unwrap_or_default();
                write!(into, "<td><time datetime=\"{text}\">{date} {minute}</time>")
            }
            None => write!(into, "<td>"),
        };
    }

    fn json(&self, is_first: bool, into: &mut Vec<u8>) {
        into.extend_from_slice(if is_first { b"\n" } else { b",\n" });
        into.extend_from_slice(b"{\"name\":\"");
        push_json(self.name, JsonEscapes::Controls, into);
        into.extend_from_slice(b"\",\"href\":");
        match is_requestable(self.name) {
            true => {
                into.push(b'"');
                write_href(self.name, into);
                into.extend_from_slice(self.slash());
                into.push(b'"');
            }
            false => into.extend_from_slice(b"null"),
        }
        let kind = if self.is_dir { "directory" } else { "file" };
        let _ = write!(into, ",\"type\":\"{kind}\",\"size\":");
        let _ = match self.len {
            Some(len) => write!(into, "{len}"),
            None => write!(into, "null"),
        };
        let _ = match self.modified.and_then(Timestamp::at) {
            Some(timestamp) => write!(into, ",\"modified\":\"{timestamp}\"}}"),
            None => write!(into, ",\"modified\":null}}"),
        };
    }

    /// Appends one name per line. Control characters and bytes that are not UTF-8 are written as `\n` or `\xff`, and a
    /// backslash as two, so that every name can be recovered.
    fn text(&self, into: &mut Vec<u8>) {
        for chunk in self.name.utf8_chunks() {
            for char in chunk.valid().chars() {
                let _ = match char {
                    '\\' => write!(into, "\\\\"),
                    char if is_control_or_bidi(char) => {
                        write!(into, "{}", char.escape_default())
                    }
                    char => write!(into, "{char}"),
                };
            }
            for byte in chunk.invalid() {
                let _ = write!(into, "\\x{byte:02x}");
            }
        }
        into.extend_from_slice(self.slash());
        into.push(b'\n');
    }

    fn slash(&self) -> &'static [u8] {
        if self.is_dir { b"/" } else { b"" }
    }
}

/// Whether a request target can have this segment.
fn is_requestable(name: &[u8]) -> bool {
    !name.iter().any(u8::is_ascii_control)
}

/// Appends a name's bytes as a relative reference (RFC 3986 section 4.2) that is safe in HTML and JSON. All characters
/// that are not unreserved are encoded, the colon too, which could end a scheme.
fn write_href(name: &[u8], into: &mut Vec<u8>) {
    let mut text = String::with_capacity(name.len());
    percent_encode(name, b"-._~", &mut text);
    into.extend_from_slice(text.as_bytes());
}

/// Length that is formatted with a unit and two to four digits.
struct HumanSize(u64);

impl std::fmt::Display for HumanSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut tenths = u128::from(self.0) * 10;
        let mut unit = 0;
        // A value that rounds to 1024 of one unit is 1.0 of the next.
        while tenths >= 10_235 && unit + 1 < UNITS.len() {
            tenths = (tenths + 512) / 1024;
            unit += 1;
        }
        let unit = UNITS[unit];
        match tenths {
            100.. => write!(f, "{} {unit}", (tenths + 5) / 10),
            _ => write!(f, "{}.{} {unit}", tenths / 10, tenths % 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn check(format: ListingFormat, name: &[u8], expected: &str) {
        let row = ListingRow {
            name,
            is_dir: name.ends_with(b"d"),
            len: (!name.ends_with(b"d")).then_some(1536),
            modified: Some(UNIX_EPOCH + Duration::from_secs(784_111_777)),
        };
        let mut into = Vec::new();
        row.write(format, false, &mut into);
        let found = String::from_utf8(into).unwrap();
        assert_eq!(found, expected, "{}", name.escape_ascii());
    }

    #[test]
    fn html_rows() {
        let check = |name: &[u8], cell: &str, size: &str| {
            let time = "<time datetime=\"1994-11-06T08:49:37Z\">1994-11-06 08:49</time>";
            check(
                ListingFormat::Html,
                name,
                &format!("\n<tr><td>{cell}<td{size}<td>{time}"),
            );
        };
        let file = " data-n=\"1536\" title=\"1536 bytes\">1.5 KiB";
        check(b"a", "<a href=\"a\">a</a>", file);
        check(b"d", "<a href=\"d/\">d/</a>", ">");
        let script = "<a href=\"%3Cscript%3E%26%22%27\">&lt;script&gt;&amp;&quot;&#39;</a>";
        check(b"<script>&\"'", script, file);
        check(
            b"a:b?c#%2",
            "<a href=\"a%3Ab%3Fc%23%252\">a:b?c#%2</a>",
            file,
        );
        check(
            b"\xff\xc3\xa9",
            "<a href=\"%FF%C3%A9\">\u{fffd}\u{e9}</a>",
            file,
        );
        let control =
            "<span title=\"A name with a control character cannot be requested.\">a\\nb</span>";
        check(b"a\nb", control, file);
        let turned = "<a href=\"a%E2%80%AEb\">a\\u{202e}b</a>";
        check("a\u{202e}b".as_bytes(), turned, file);
    }

    #[test]
    fn json_rows() {
        let check = |name: &[u8], start: &str, rest: &str| {
            let time = "\"modified\":\"1994-11-06T08:49:37Z\"}";
            check(
                ListingFormat::Json,
                name,
                &format!(",\n{{\"name\":{start},{rest},{time}"),
            );
        };
        let file = "\"type\":\"file\",\"size\":1536";
        check(b"a b", "\"a b\",\"href\":\"a%20b\"", file);
        check(
            b"d",
            "\"d\",\"href\":\"d/\"",
            "\"type\":\"directory\",\"size\":null",
        );
        check(
            b"\"\\\xff",
            "\"\\\"\\\\\u{fffd}\",\"href\":\"%22%5C%FF\"",
            file,
        );
        check(b"a\nb", "\"a\\u000ab\",\"href\":null", file);
    }

    #[test]
    fn text_rows() {
        check(ListingFormat::Text, b"a b", "a b\n");
        check(ListingFormat::Text, b"d", "d/\n");
        check(
            ListingFormat::Text,
            b"a\n\\\xff\xc3\xa9",
            "a\\n\\\\\\xff\u{e9}\n",
        );
    }

    #[test]
    fn sizes_are_rounded_to_units() {
        for (len, expected) in [
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_188, "9.9 KiB"),
            (10_240, "10 KiB"),
            (1_047_500, "1023 KiB"),
            (1_048_570, "1.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(HumanSize(len).to_string(), expected, "{len}");
        }
    }
}
