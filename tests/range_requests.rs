//! Range requests (RFC 9110 section 14): every byte of each response is compared with the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{
    Client, LARGE_LEN, Response, Root, Server, asctime, eventually, pseudorandom_bytes, rfc850,
};
use http_range::{HttpRange, HttpRangeParseError};
use httpdate::{fmt_http_date, parse_http_date};

/// Files up to this length in bytes are sent from memory, larger ones with sendfile(2).
const MAX_IN_MEMORY_LEN: u64 = 64 * 1024;

/// Lengths of a file of each kind, in bytes: several short ranges are shorter than it as multipart.
const SMALL: u64 = 10_000;
const BIG: u64 = 100_000;

/// Ranges that docroot accepts in one field.
const MAX_RANGES: usize = 32;

/// Kind of response to a Range. The ranges here are half-open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Whole,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

use Expected::{Part, Parts, Unsatisfiable, Whole};

/// Server of files that are named after their length, and one connection to it: excess or missing content would be read
/// as part of the next head.
struct Site {
    client: Client,
    server: Server,
    root: Root,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl Site {
    fn of(lengths: &[u64]) -> Self {
        let root = Root::new();
        let content = |&len: &u64| (len, pseudorandom_bytes(len.try_into().expect("it fits")));
        let contents: BTreeMap<_, _> = lengths.iter().map(content).collect();
        for (len, content) in &contents {
            root.write(format!("{len}.txt"), content);
        }
        let server = Server::start(root.path());
        Self {
            client: server.connect(),
            server,
            root,
            contents,
        }
    }

    /// Requests the file of this length with these field lines, each with its CRLF.
    fn get(&mut self, len: u64, fields: &str) -> Response {
        self.client.ask(request("GET", len, fields))
    }

    /// Sends the same request as HEAD.
    fn head(&mut self, len: u64, fields: &str) -> Response {
        self.client.send(request("HEAD", len, fields));
        self.client.response_to_head()
    }

    /// Waits until ETag and Last-Modified of a file are sent, and returns them.
    fn validators(&mut self, len: u64) -> (String, String) {
        eventually("ETag and Last-Modified are sent", || {
            let head = self.head(len, "");
            let value = |name| head.field(name).map(str::to_owned);
            Some((value("ETag")?, value("Last-Modified")?))
        })
    }

    /// Requests ranges, and compares every byte of the response.
    fn check(&mut self, range: &str, len: u64, expected: Expected) {
        self.check_with(&format!("Range: {range}\r\n"), len, expected);
    }

    /// Sends these field lines, and compares every byte of the response.
    fn check_with(&mut self, fields: &str, len: u64, expected: Expected) {
        let response = self.get(len, fields);
        let found = parse_response(&response, &self.contents[&len]);
        assert_eq!(found, expected, "{fields} of {len}: {response:?}");
    }
}

fn request(method: &str, len: u64, fields: &str) -> String {
    format!("{method} /{len}.txt HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
}

fn number(text: &str) -> u64 {
    let number: u64 = text
        .parse()
        .unwrap_or_else(|_| panic!("{text} is no number"));
    // RFC 9110 section 14.4 would allow leading zeros; docroot sends none.
    assert_eq!(number.to_string(), text);
    number
}

fn slice<'a>(content: &'a [u8], part: &Range<u64>) -> &'a [u8] {
    let index = |position: u64| usize::try_from(position).expect("it fits");
    &content[index(part.start)..index(part.end)]
}

/// Parses the Content-Range (RFC 9110 section 14.4) of a file of this length.
fn content_range(value: &str, len: u64) -> Range<u64> {
    let range = value
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('/'));
    let (range, complete) = range.unwrap_or_else(|| panic!("{value} is no Content-Range"));
    assert_eq!(number(complete), len, "{value}");
    let (first, last) = range.split_once('-').expect("a hyphen");
    let (first, last) = (number(first), number(last));
    assert!(first <= last && last < len, "{value}");
    first..last + 1
}

/// Returns the kind of a response about this file. Asserts that its status, its fields and every byte of its content
/// are consistent.
fn parse_response(response: &Response, file: &[u8]) -> Expected {
    let len = file.len() as u64;
    let media_type = response.field("Content-Type").expect("there is content");
    let range = response.field("Content-Range");
    if response.status() == "416 Range Not Satisfiable" {
        // RFC 9110 section 15.5.17.
        assert_eq!(range, Some(&*format!("bytes */{len}")));
        assert_eq!(media_type, "text/html; charset=utf-8");
        assert_eq!(response.field("Cache-Control"), Some("no-store"));
        assert!(response.text().contains("416 Range Not Satisfiable"));
        return Unsatisfiable;
    }
    assert_eq!(
        response.field("Accept-Ranges"),
        Some("bytes"),
        "{response:?}"
    );
    match (
        response.status(),
        range,
        media_type.split_once("; boundary="),
    ) {
        ("200 OK", None, None) => {
            assert!(response.content == file, "{response:?}");
            assert_eq!(media_type, "text/plain; charset=utf-8");
            Whole
        }
        ("206 Partial Content", Some(range), None) => {
            let part = content_range(range, len);
            assert!(response.content == slice(file, &part), "{response:?}");
            assert_eq!(media_type, "text/plain; charset=utf-8");
            Part(part)
        }
        ("206 Partial Content", None, Some(("multipart/byteranges", boundary))) => {
            let parts = parse_multipart(
                &response.content,
                boundary,
                "text/plain; charset=utf-8",
                file,
            );
            // RFC 9110 section 14.6 forbids it for one part, RFC 2046 for none.
            assert!(parts.len() > 1, "{response:?}");
            assert!(response.content.len() < file.len(), "longer than the file");
            Parts(parts)
        }
        _ => panic!("{response:?}"),
    }
}

/// Parses `multipart/byteranges` (RFC 9110 section 14.6, RFC 2046 section 5.1.1) without preamble or epilogue, and
/// compares the parts with the file.
fn parse_multipart(
    mut content: &[u8],
    boundary: &str,
    media_type: &str,
    file: &[u8],
) -> Vec<Range<u64>> {
    // The characters of a boundary that need no quotes in a parameter.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
    assert!(boundary.bytes().all(is_plain), "{boundary}");
    assert!((16..=70).contains(&boundary.len()), "{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    loop {
        content = strip_expected(content, &delimiter);
        if content == b"--\r\n" {
            return parts;
        }
        content = strip_expected(
            content,
            &format!("\r\nContent-Type: {media_type}\r\nContent-Range: "),
        );
        let end = content
            .iter()
            .position(|&byte| byte == b'\r')
            .expect("a line");
        let range = std::str::from_utf8(&content[..end]).expect("text");
        let part = content_range(range, file.len() as u64);
        content = strip_expected(&content[end..], "\r\n\r\n");
        let expected = slice(file, &part);
        assert!(content.len() >= expected.len(), "{part:?} is incomplete");
        assert!(content[..expected.len()] == *expected, "{part:?}");
        content = &content[expected.len()..];
        parts.push(part);
    }
}

fn strip_expected<'a>(content: &'a [u8], expected: &str) -> &'a [u8] {
    content
        .strip_prefix(expected.as_bytes())
        .unwrap_or_else(|| {
            let found = &content[..content.len().min(expected.len())];
            panic!("{} instead of {expected:?}", found.escape_ascii())
        })
}

/// Returns the length of a multipart response with a boundary of 32 characters.
fn multipart_len(parts: &[Range<u64>], len: u64) -> u64 {
    const BOUNDARY: u64 = 32;
    let delimiter = "\r\n--".len() as u64 + BOUNDARY;
    let part = |part: &Range<u64>| {
        let last = part.end - 1;
        let head = format!(
            "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes {}-{last}/{len}\r\n\r\n",
            part.start
        );
        delimiter + head.len() as u64 + (part.end - part.start)
    };
    parts.iter().map(part).sum::<u64>() + delimiter + "--\r\n".len() as u64
}

/// Returns the field lines of a head, sorted, without those that begin with one of these.
fn sorted_lines<'a>(response: &'a Response, without: &[&str]) -> Vec<&'a str> {
    let differs = |line: &&str| !without.iter().any(|name| line.starts_with(name));
    let mut lines: Vec<&str> = response.head.lines().skip(1).filter(differs).collect();
    lines.sort_unstable();
    lines
}

// RFC 9110 section 14.1.2.
#[test]
fn single_range_is_206_with_one_part() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        site.check("bytes=0-499", len, Part(0..500));
        site.check("bytes=500-999", len, Part(500..1000));
        site.check("bytes=-500", len, Part(len - 500..len));
        site.check(&format!("bytes={}-", len - 500), len, Part(len - 500..len));
        site.check("bytes=0-0", len, Part(0..1));
        site.check("bytes=0-", len, Part(0..len));
        site.check("bytes=-1", len, Part(len - 1..len));
        site.check(&format!("bytes={0}-{0}", len - 1), len, Part(len - 1..len));
        site.check(&format!("bytes=0-{}", len - 1), len, Part(0..len));
        site.check(&format!("bytes=1-{}", len - 2), len, Part(1..len - 1));
        site.check("bytes=007-010", len, Part(7..11));
        site.check("bytes=-007", len, Part(len - 7..len));
    }
}

#[test]
fn range_may_have_any_length_and_offset() {
    const LENGTHS: [u64; 5] = [1, 1024, MAX_IN_MEMORY_LEN, MAX_IN_MEMORY_LEN + 1, 200_000];
    let mut site = Site::of(&LENGTHS);
    for len in LENGTHS {
        let sizes = [
            1, 2, 1023, 1024, 1025, 4095, 4096, 4097, 65_535, 65_536, 65_537, len,
        ];
        for size in sizes.into_iter().filter(|size| *size <= len) {
            for first in [0, 1, (len - size) / 2, len - size] {
                let part = first..(first + size).min(len);
                if !part.is_empty() {
                    site.check(&format!("bytes={first}-{}", part.end - 1), len, Part(part));
                }
            }
        }
    }
}

// RFC 9110 section 14.1.2: a last position past the end means the end, a longer suffix the whole file.
#[test]
fn range_is_clamped_to_file_length() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        let last = len - 1;
        site.check(&format!("bytes=400-{len}"), len, Part(400..len));
        site.check(&format!("bytes={last}-{len}"), len, Part(last..len));
        site.check(&format!("bytes=-{len}"), len, Part(0..len));
        site.check(&format!("bytes=-{}", len + 1), len, Part(0..len));
        // The largest numbers that fit 63 and 64 bits, one more, and many more.
        for number in [
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            &"9".repeat(500),
        ] {
            site.check(&format!("bytes=0-{number}"), len, Part(0..len));
            site.check(&format!("bytes=400-{number}"), len, Part(400..len));
            site.check(&format!("bytes=-{number}"), len, Part(0..len));
            let zeros = "0".repeat(500);
            site.check(&format!("bytes={zeros}1-{zeros}2"), len, Part(1..3));
        }
    }
}

// RFC 9110 section 15.5.17.
#[test]
fn range_past_end_is_416() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        for range in [
            format!("{len}-"),
            format!("{len}-{len}"),
            format!("{}-{}", len + 1, len + 100),
            "18446744073709551615-".into(),
            "18446744073709551615-18446744073709551615".into(),
            "18446744073709551616-".into(),
            format!("{}-", "9".repeat(500)),
            "-0".into(),
            "-00".into(),
            format!("{len}-,-0,{len}-{len}"),
            format!(",{len}- ,"),
        ] {
            site.check(&format!("bytes={range}"), len, Unsatisfiable);
        }
        // Unsatisfiable ranges are left out.
        site.check(&format!("bytes={len}-,0-0"), len, Part(0..1));
        site.check("bytes=0-0,-0", len, Part(0..1));
        site.check(
            &format!("bytes=-0,5-5,{len}-,9-9"),
            len,
            Parts(vec![5..6, 9..10]),
        );
    }
}

#[test]
fn response_416_is_not_cacheable() {
    let mut site = Site::of(&[SMALL]);
    let response = site.get(SMALL, "Range: bytes=10000-\r\n");
    assert_eq!(response.status(), "416 Range Not Satisfiable");
    assert_eq!(response.field("Content-Range"), Some("bytes */10000"));
    assert_eq!(response.field("Cache-Control"), Some("no-store"));
    for name in ["ETag", "Last-Modified", "Connection"] {
        assert_eq!(response.field(name), None, "{response:?}");
    }
    assert!(response.content.len() < 1000, "{response:?}");
    site.check("bytes=0-0", SMALL, Part(0..1));
}

// RFC 9110 section 14.2: a server may ignore Range.
#[test]
fn malformed_range_is_ignored() {
    let mut site = Site::of(&[SMALL, BIG]);
    for range in [
        "",
        "=",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes= , ,",
        "bytes=-",
        "bytes=--",
        "bytes=--1",
        "bytes=1",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=a-2",
        "bytes=-a",
        "bytes=a-",
        "bytes=2-1",
        "bytes=10000000-1",
        "bytes=1-0,0-0",
        "bytes=0-0,2-1",
        "bytes=0-0,x",
        "bytes=0-0,-",
        "bytes=99999999-,x",
        "bytes=*",
        "bytes=0-*",
        "bytes=*-0",
        // No white space inside a range, and a comma between two (section 14.1.1).
        "bytes=0 -0",
        "bytes=0- 0",
        "bytes=0\t-\t0",
        "bytes=- 1",
        "bytes=1 2-3",
        "bytes=0-0 2-2",
        "bytes=0-0;2-2",
        "bytes=0-0\u{a0}",
        // Positions are digits only.
        "bytes=+0-0",
        "bytes=0-+1",
        "bytes=0-1-2",
        "bytes=-1-",
        "bytes=1--2",
        "bytes=-1-2",
        "bytes=0x0-0x1",
        "bytes=0.0-1",
        "bytes=1e0-2",
        "bytes=1_0-20",
        "bytes=0-0\"",
        "bytes=\"0-0\"",
        "\"bytes=0-0\"",
        "bytes=\u{660}-\u{661}",
        "bytes=\u{ff10}-\u{ff11}",
        "bytes=0\u{2013}0",
        "bytes =0-0",
        "bytes==0-0",
        "bytes:0-0",
        "bytes 0-0",
        "bytes 0-0/10000",
        "bytes=0-0/10000",
        "bytes=bytes=0-0",
        "=0-0",
        "0-0",
        // Unknown range units (section 14.1).
        "none",
        "none=0-0",
        "items=0-0",
        "byte=0-0",
        "bytesx=0-0",
        "xbytes=0-0",
        "seconds=0-0, bytes=0-0",
    ] {
        for len in [SMALL, BIG] {
            site.check(range, len, Whole);
        }
    }
}

#[test]
fn range_unit_is_case_insensitive() {
    let mut site = Site::of(&[SMALL]);
    for unit in ["bytes", "Bytes", "BYTES", "bYtEs"] {
        site.check(&format!("{unit}=0-0"), SMALL, Part(0..1));
    }
    for name in ["Range", "range", "RANGE", "rAnGe"] {
        for space in ["", " ", "\t ", "  "] {
            let fields = format!("{name}:{space}bytes=0-0{space}\r\n");
            site.check_with(&fields, SMALL, Part(0..1));
        }
    }
}

// RFC 9110 section 5.3: Range is not a list field, although it has commas, so several lines are not combined.
#[test]
fn repeated_range_field_is_ignored() {
    let mut site = Site::of(&[SMALL, BIG]);
    for fields in [
        "Range: bytes=0-0\r\nRange: bytes=0-0\r\n",
        "Range: bytes=0-0\r\nrange: bytes=2-2\r\n",
        "Range: bytes=0-0\r\nAccept: */*\r\nRange: 2-2\r\n",
        "Range: \r\nRange: bytes=0-0\r\n",
        "Range: bytes=0-0\r\nRange:\r\n",
        "Range: items=0-0\r\nRange: bytes=0-0\r\n",
    ] {
        for len in [SMALL, BIG] {
            site.check_with(fields, len, Whole);
        }
    }
}

// RFC 9110 section 14.6.
#[test]
fn several_ranges_are_multipart_in_requested_order() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        let last = len - 1;
        site.check("bytes=0-0,-1", len, Parts(vec![0..1, last..len]));
        site.check("bytes=-1,0-0", len, Parts(vec![last..len, 0..1]));
        let parts = vec![0..1000, 4500..5500, len - 1000..len];
        site.check("bytes=0-999, 4500-5499, -1000", len, Parts(parts));
        site.check("bytes=9-9,7-7,5-5", len, Parts(vec![9..10, 7..8, 5..6]));
        // White space and empty elements between commas (section 5.6.1).
        for list in [
            "1-1,3-3",
            "1-1 ,\t3-3",
            ",1-1,,3-3,",
            ", ,\t1-1 , , 3-3 ,\t",
        ] {
            site.check(&format!("bytes={list}"), len, Parts(vec![1..2, 3..4]));
        }
    }
}

// RFC 9110 section 15.3.7.2.
#[test]
fn overlapping_and_adjacent_ranges_are_coalesced() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        for (list, expected) in [
            // Both examples of section 14.1.2.
            ("500-600,601-999", Part(500..1000)),
            ("500-700,601-999", Part(500..1000)),
            ("0-0,0-0", Part(0..1)),
            ("0-0,1-1,2-2", Part(0..3)),
            ("2-2,1-1,0-0", Part(0..3)),
            ("0-0,2-2,1-1", Part(0..3)),
            ("601-999,500-600", Part(500..1000)),
            ("100-200,150-160", Part(100..201)),
            ("150-160,100-200", Part(100..201)),
            ("0-,-1", Part(0..len)),
            ("0-,5-5,-500,7-7", Part(0..len)),
            ("-1,-2,-3", Part(len - 3..len)),
            ("-3,-2,-1", Part(len - 3..len)),
            ("0-4,5-99999999999999999999", Part(0..len)),
            // With another range between them: merged at the position of the first.
            ("0-0,5-5,1-1", Parts(vec![0..2, 5..6])),
            ("5-5,0-0,6-6", Parts(vec![5..7, 0..1])),
            ("5-5,0-0,4-4,1-1", Parts(vec![4..6, 0..2])),
            ("9-9,0-0,5-5,1-8", Part(0..10)),
            ("20-29,0-9,40-49,10-19", Parts(vec![0..30, 40..50])),
            ("40-49,20-29,0-9,10-19", Parts(vec![40..50, 0..30])),
            ("0-9,40-49,20-29,5-24", Parts(vec![0..30, 40..50])),
            // A gap of one byte.
            ("0-0,2-2", Parts(vec![0..1, 2..3])),
            ("2-2,0-0", Parts(vec![2..3, 0..1])),
        ] {
            site.check(&format!("bytes={list}"), len, expected);
        }
    }
}

#[test]
fn more_than_32_ranges_are_ignored() {
    let mut site = Site::of(&[SMALL, BIG]);
    let list = |count: usize, spec: &dyn Fn(usize) -> String| {
        let specs: Vec<String> = (0..count).map(spec).collect();
        format!("bytes={}", specs.join(","))
    };
    let apart = |position| format!("{0}-{0}", position * 2);
    let parts = |count: u64| {
        (0..count)
            .map(|position| position * 2..position * 2 + 1)
            .collect()
    };
    for len in [SMALL, BIG] {
        let beyond = |_| format!("{len}-");
        site.check(&list(MAX_RANGES - 1, &apart), len, Parts(parts(31)));
        site.check(&list(MAX_RANGES, &apart), len, Parts(parts(32)));
        site.check(&list(MAX_RANGES + 1, &apart), len, Whole);
        site.check(&list(1000, &apart), len, Whole);
        // The limit counts all ranges, also coalesced and unsatisfiable ones.
        site.check(&list(MAX_RANGES, &|_| "0-0".into()), len, Part(0..1));
        site.check(&list(MAX_RANGES + 1, &|_| "0-0".into()), len, Whole);
        site.check(&list(1000, &|_| "0-".into()), len, Whole);
        site.check(&list(MAX_RANGES, &beyond), len, Unsatisfiable);
        site.check(&list(MAX_RANGES + 1, &beyond), len, Whole);
        site.check(&format!("{},x", list(MAX_RANGES - 1, &apart)), len, Whole);
        site.check(&format!("{},x", list(MAX_RANGES + 1, &apart)), len, Whole);
        // Empty list elements do not count.
        let sparse = list(MAX_RANGES, &apart).replace(',', ", ,,\t,");
        site.check(&sparse, len, Parts(parts(32)));
        site.check(&format!("bytes={}0-0", ",".repeat(1000)), len, Part(0..1));
    }
}

#[test]
fn multipart_not_shorter_than_file_is_200() {
    const LEN: u64 = 1000;
    let mut site = Site::of(&[100, LEN, SMALL]);
    let mut occurred = [false; 2];
    for suffix in 500..LEN - 1 {
        let parts = vec![0..1, LEN - suffix..LEN];
        let is_less = multipart_len(&parts, LEN) < LEN;
        let expected = if is_less { Parts(parts) } else { Whole };
        site.check(&format!("bytes=0-0,-{suffix}"), LEN, expected);
        occurred[usize::from(is_less)] = true;
    }
    assert_eq!(occurred, [true, true], "both kinds occurred");
    site.check("bytes=0-0,2-2", 100, Whole);
    site.check("bytes=0-4998,5000-", SMALL, Whole);
    // A single part is always sent as 206.
    site.check("bytes=1-,98-", 100, Part(1..100));
}

#[test]
fn ranges_apply_to_empty_and_one_byte_files() {
    let mut site = Site::of(&[0, 1]);
    for (range, of_empty, of_one_byte) in [
        ("0-", Unsatisfiable, Part(0..1)),
        ("0-0", Unsatisfiable, Part(0..1)),
        ("0-5", Unsatisfiable, Part(0..1)),
        ("1-", Unsatisfiable, Unsatisfiable),
        ("1-1", Unsatisfiable, Unsatisfiable),
        ("-0", Unsatisfiable, Unsatisfiable),
        // The suffix of an empty file is empty, which Content-Range cannot express.
        ("-1", Whole, Part(0..1)),
        ("-5", Whole, Part(0..1)),
        ("0-0,-1", Whole, Part(0..1)),
        ("-1,0-0", Whole, Part(0..1)),
        ("0-0,5-5", Unsatisfiable, Part(0..1)),
        ("0-,-0", Unsatisfiable, Part(0..1)),
        ("5-5,-0", Unsatisfiable, Unsatisfiable),
        ("-1,-1", Whole, Part(0..1)),
        ("1-0", Whole, Whole),
        ("x", Whole, Whole),
        ("-", Whole, Whole),
    ] {
        site.check(&format!("bytes={range}"), 0, of_empty);
        site.check(&format!("bytes={range}"), 1, of_one_byte);
    }
}

// RFC 9110 section 14.2: only GET has ranges.
#[test]
fn head_ignores_range() {
    let mut site = Site::of(&[0, SMALL, BIG]);
    for len in [0, SMALL, BIG] {
        site.validators(len);
        let plain = site.head(len, "");
        assert_eq!(plain.status(), "200 OK");
        assert_eq!(plain.field("Content-Length"), Some(&*len.to_string()));
        assert_eq!(plain.field("Accept-Ranges"), Some("bytes"));
        for range in [
            "bytes=0-0",
            "bytes=0-0,2-2",
            "bytes=900000-",
            "bytes=-0",
            "x",
        ] {
            for more in ["", "If-Range: \"x\"\r\n", "If-Match: *\r\n"] {
                let response = site.head(len, &format!("Range: {range}\r\n{more}"));
                assert_eq!(response.status(), "200 OK", "{range}");
                assert_eq!(
                    sorted_lines(&response, &["Date"]),
                    sorted_lines(&plain, &["Date"]),
                    "{range}"
                );
            }
        }
    }
}

#[test]
fn other_methods_ignore_range() {
    let mut site = Site::of(&[SMALL]);
    for (method, status) in [
        ("OPTIONS", "204 No Content"),
        ("POST", "405 Method Not Allowed"),
        ("PUT", "405 Method Not Allowed"),
        ("DELETE", "405 Method Not Allowed"),
    ] {
        for range in ["bytes=0-0", "bytes=90000-"] {
            let fields = format!("Range: {range}\r\n");
            let response = site.client.ask(request(method, SMALL, &fields));
            assert_eq!(response.status(), status);
            assert_eq!(response.field("Content-Range"), None);
        }
    }
}

// RFC 9110 section 15.3.7: the fields of a 200, and Content-Range.
#[test]
fn fields_of_206_are_those_of_200() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        site.validators(len);
        let whole = site.get(len, "");
        let length = ["Date", "Content-Length", "Content-Range"];
        let one = site.get(len, "Range: bytes=1-2\r\n");
        assert_eq!(
            one.field("Content-Range"),
            Some(&*format!("bytes 1-2/{len}"))
        );
        assert_eq!(sorted_lines(&one, &length), sorted_lines(&whole, &length));
        assert_eq!(one.content, whole.content[1..3]);

        // Each part of a multipart has its Content-Range, the response has none.
        let several = site.get(len, "Range: bytes=0-0,2-2\r\n");
        assert_eq!(several.field("Content-Range"), None);
        let media_type = ["Date", "Content-Length", "Content-Type"];
        assert_eq!(
            sorted_lines(&several, &media_type),
            sorted_lines(&whole, &media_type)
        );
    }
}

// RFC 2046 section 5.1.1: a boundary must not occur in the content, so it must be unpredictable.
#[test]
fn multipart_boundaries_are_unique() {
    let mut site = Site::of(&[SMALL]);
    let other = Server::start(site.root.path());
    let mut other = other.connect();
    let mut boundaries = Vec::new();
    for _ in 0..50 {
        let request = request("GET", SMALL, "Range: bytes=0-0,2-2\r\n");
        for client in [&mut site.client, &mut other] {
            let response = client.ask(&request);
            let media_type = response
                .field("Content-Type")
                .expect("a multipart response");
            let (_, boundary) = media_type
                .split_once("boundary=")
                .expect("a multipart response");
            assert!(!boundaries.contains(&boundary.to_owned()), "{boundary}");
            boundaries.push(boundary.to_owned());
        }
    }
}

// RFC 9110 section 13.1.5.
#[test]
fn if_range_mismatch_is_200() {
    let mut site = Site::of(&[SMALL, BIG]);
    for (len, date) in [(500, 1), (MAX_IN_MEMORY_LEN + 500, 946_702_800)] {
        site.contents
            .insert(len, pseudorandom_bytes(len.try_into().expect("it fits")));
        site.root.write(format!("{len}.txt"), &site.contents[&len]);
        let file = File::options()
            .write(true)
            .open(site.root.join(format!("{len}.txt")));
        let set = file.and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(date)));
        set.expect("a file");
    }
    // The second value: the date was not set by utimensat(2), so it is a strong validator.
    for (len, is_strong) in [
        (SMALL, true),
        (BIG, true),
        (500, false),
        (MAX_IN_MEMORY_LEN + 500, false),
    ] {
        let (tag, date) = site.validators(len);
        let time = parse_http_date(&date).expect("a date");
        let second = Duration::from_secs(1);
        let opaque = tag.trim_matches('"').to_owned();
        for (validator, is_match) in [
            (tag.clone(), true),
            (format!("\t{tag} "), true),
            (date.clone(), is_strong),
            (rfc850(&date), is_strong),
            (asctime(&date), is_strong),
            // Strong comparison: a weak tag never matches.
            (format!("W/{tag}"), false),
            ("\"x\"".into(), false),
            ("\"\"".into(), false),
            (format!("\"{opaque}x\""), false),
            (opaque.clone(), false),
            (format!("\"{opaque}"), false),
            (format!("{tag}x"), false),
            // A list of tags is invalid.
            ("*".into(), false),
            (format!("{tag}, {tag}"), false),
            (format!("{tag}, \"x\""), false),
            (format!("{tag},"), false),
            (format!(",{tag}"), false),
            (String::new(), false),
            // Neither a later nor an earlier date.
            (fmt_http_date(time - second), false),
            (fmt_http_date(time + second), false),
            (fmt_http_date(SystemTime::now() + second * 86_400), false),
            (date.replace("GMT", "UTC"), false),
            (format!("{date}, {date}"), false),
            (format!("\"{date}\""), false),
            ("soon".into(), false),
        ] {
            let fields = format!("If-Range: {validator}\r\n");
            let expected = |expected| if is_match { expected } else { Whole };
            for (range, found) in [
                ("bytes=0-0", Part(0..1)),
                ("bytes=-1", Part(len - 1..len)),
                ("bytes=900000-", Unsatisfiable),
            ] {
                site.check_with(&format!("Range: {range}\r\n{fields}"), len, expected(found));
            }
            if len >= SMALL {
                let range = format!("{fields}Range: bytes=0-0,2-2\r\n");
                site.check_with(&range, len, expected(Parts(vec![0..1, 2..3])));
            }
            // Without Range it is ignored.
            site.check_with(&fields, len, Whole);
            site.check_with(&format!("Range: x\r\n{fields}"), len, Whole);
            let head = site.head(len, &format!("Range: bytes=0-0\r\n{fields}"));
            assert_eq!(head.status(), "200 OK");
        }
        for fields in [
            format!("If-Range: {tag}\r\nIf-Range: {tag}\r\n"),
            format!("If-Range: {tag}\r\nif-range: {date}\r\n"),
            format!("If-Range: {date}\r\nIf-Range: {date}\r\n"),
            format!("If-Range: \r\nIf-Range: {tag}\r\n"),
        ] {
            site.check_with(&format!("Range: bytes=0-0\r\n{fields}"), len, Whole);
        }
    }
}

#[test]
fn resumed_download_never_mixes_versions() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for len in [500, 100_000] {
        // Both versions have the same length and date, as those of reproducible builds.
        let release = |byte| {
            root.write("file", vec![byte; len]);
            let file = File::options().write(true).open(root.join("file"));
            let set = file.and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(1)));
            set.expect("a file");
        };
        release(b'1');
        let old = eventually("there is an ETag", || {
            let response = client.get("/file");
            response.field("ETag").is_some().then_some(response)
        });
        release(b'2');
        for validator in ["ETag", "Last-Modified"].map(|name| old.field(name)) {
            let fields = format!(
                "Range: bytes=5-\r\nIf-Range: {}\r\n",
                validator.expect("a validator")
            );
            let response = client.ask(format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            assert_eq!(response.status(), "200 OK", "{fields}");
            assert!(response.content == vec![b'2'; len], "{fields}");
        }
    }
}

// RFC 9110 section 13.2.2: Range is evaluated last.
#[test]
fn preconditions_are_evaluated_before_range() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        let (tag, date) = site.validators(len);
        let time = parse_http_date(&date).expect("a date");
        let before = fmt_http_date(time - Duration::from_secs(1));
        let unsatisfiable = format!("Range: bytes={len}-");
        for (lines, status) in [
            (vec![format!("If-None-Match: {tag}")], "304 Not Modified"),
            (vec![format!("If-None-Match: W/{tag}")], "304 Not Modified"),
            (
                vec![format!("If-Modified-Since: {date}")],
                "304 Not Modified",
            ),
            (vec!["If-Match: \"x\"".into()], "412 Precondition Failed"),
            (
                vec![format!("If-Match: W/{tag}")],
                "412 Precondition Failed",
            ),
            (
                vec![format!("If-Unmodified-Since: {before}")],
                "412 Precondition Failed",
            ),
            (
                vec![format!("If-Range: {tag}"), format!("If-None-Match: {tag}")],
                "304 Not Modified",
            ),
            (
                vec!["If-Range: \"x\"".into(), format!("If-None-Match: {tag}")],
                "304 Not Modified",
            ),
            (
                vec![format!("If-Range: {tag}"), "If-Match: \"x\"".into()],
                "412 Precondition Failed",
            ),
            (vec!["If-None-Match: \"x\"".into()], "206 Partial Content"),
            (vec![format!("If-Match: {tag}")], "206 Partial Content"),
            (
                vec![format!("If-Modified-Since: {before}")],
                "206 Partial Content",
            ),
            (
                vec![format!("If-Unmodified-Since: {date}")],
                "206 Partial Content",
            ),
            (
                vec![format!("If-Match: {tag}"), format!("If-Range: {tag}")],
                "206 Partial Content",
            ),
            (
                vec![format!("If-Match: {tag}"), "If-Range: \"x\"".into()],
                "200 OK",
            ),
        ] {
            let fields = lines.join("\r\n") + "\r\n";
            for range in ["Range: bytes=0-0", "Range: bytes=0-0,2-2", &unsatisfiable] {
                let status = match status {
                    "206 Partial Content" if *range == unsatisfiable => "416 Range Not Satisfiable",
                    status => status,
                };
                for fields in [
                    format!("{range}\r\n{fields}"),
                    format!("{fields}{range}\r\n"),
                ] {
                    let response = site.get(len, &fields);
                    assert_eq!(response.status(), status, "{fields}");
                    let is_not_modified = status == "304 Not Modified";
                    assert_eq!(response.field("Content-Length").is_none(), is_not_modified);
                    let has_range = response.field("Content-Range").is_some();
                    assert!(!has_range || status.starts_with("206") || status.starts_with("416"));
                }
            }
        }
    }
}

// RFC 9110 section 14.2: Range applies only where the response would be 200 without it.
#[test]
fn error_and_redirect_responses_ignore_range() {
    let root = Root::of(&[("dir/file", "a"), ("index.html", "0123456789")]);
    symlink("/etc/passwd", root.join("outside")).expect("a directory");
    let with_404_page = Root::of(&[("404.html", "<p>gone")]);
    with_404_page.write("large/404.html", pseudorandom_bytes(100_000));
    let pages = [
        root.path().to_owned(),
        with_404_page.path().to_owned(),
        with_404_page.join("large"),
    ];
    for root in pages {
        let server = Server::start(&root);
        let mut client = server.connect();
        for target in ["/nothing", "/dir", "/outside", "/file/"] {
            let plain = client.get(target);
            assert_ne!(plain.status(), "200 OK", "{target}");
            assert_eq!(plain.field("Accept-Ranges"), None, "{target}: {plain:?}");
            for range in ["bytes=0-0", "bytes=0-0,2-2", "bytes=900000-", "bytes=-1"] {
                for more in ["", "If-Range: \"x\"\r\n"] {
                    let fields = format!("Host: test\r\nRange: {range}\r\n{more}");
                    let response = client.ask(format!("GET {target} HTTP/1.1\r\n{fields}\r\n"));
                    assert_eq!(response.status(), plain.status(), "{target}");
                    assert_eq!(
                        sorted_lines(&response, &["Date"]),
                        sorted_lines(&plain, &["Date"])
                    );
                    assert!(response.content == plain.content, "{target}, {range}");
                }
            }
        }
    }
    // The index of a directory is a file.
    let server = Server::start(root.path());
    let request = "GET / HTTP/1.1\r\nHost: test\r\nRange: bytes=3-5\r\n\r\n";
    let response = server.connect().ask(request);
    assert_eq!(response.status(), "206 Partial Content");
    assert_eq!(response.text(), "345");
}

#[test]
fn pipelined_ranges_are_answered_in_order() {
    let mut site = Site::of(&[0, 1, SMALL, BIG]);
    let kinds = [
        ("Range: bytes=0-0\r\n", SMALL, Part(0..1)),
        ("Range: bytes=5000-69999\r\n", BIG, Part(5000..70_000)),
        ("", BIG, Whole),
        (
            "Range: bytes=0-0,-5\r\n",
            BIG,
            Parts(vec![0..1, BIG - 5..BIG]),
        ),
        ("Range: bytes=1-\r\n", 1, Unsatisfiable),
        ("Range: bytes=-1\r\n", 0, Whole),
        ("Range: bytes=9-0\r\n", SMALL, Whole),
        (
            "Range: bytes=70-80,9-9,20-40\r\n",
            SMALL,
            Parts(vec![70..81, 9..10, 20..41]),
        ),
        ("Range: bytes=100000-\r\n", BIG, Unsatisfiable),
        ("Range: bytes=99999-\r\n", BIG, Part(BIG - 1..BIG)),
        // Request content has no meaning (section 9.3.1).
        (
            "Range: bytes=2-2\r\nContent-Length: 0\r\n",
            SMALL,
            Part(2..3),
        ),
    ];
    const ROUNDS: usize = 20;
    let all: String = kinds
        .iter()
        .map(|(fields, len, _)| request("GET", *len, fields) + &request("HEAD", *len, fields))
        .collect();
    site.client.send(all.repeat(ROUNDS));
    for _ in 0..ROUNDS {
        for (fields, len, expected) in &kinds {
            let response = site.client.response();
            assert_eq!(
                parse_response(&response, &site.contents[len]),
                *expected,
                "{fields} of {len}"
            );
            let head = site.client.response_to_head();
            assert_eq!(head.status(), "200 OK", "{fields} of {len}");
        }
    }
    // The last response of a connection is complete, too.
    let range = "Range: bytes=0-0,2-2\r\nConnection: close\r\n";
    let response = site.get(SMALL, range);
    assert_eq!(
        parse_response(&response, &site.contents[&SMALL]),
        Parts(vec![0..1, 2..3])
    );
    assert!(site.client.rest().is_empty());
}

#[test]
fn segmentation_of_range_request_does_not_change_response() {
    let mut site = Site::of(&[SMALL]);
    let request = request("GET", SMALL, "Range: bytes=5-9 , -1\r\n");
    for split in 1..request.len() {
        let (before, after) = request.split_at(split);
        site.client.send(before);
        let mut neighbour = site.server.connect();
        // When this is answered, the server has read the bytes sent before.
        assert_eq!(neighbour.get("/nothing").status(), "404 Not Found");
        site.client.send(after);
        let found = parse_response(&site.client.response(), &site.contents[&SMALL]);
        assert_eq!(
            found,
            Parts(vec![5..10, SMALL - 1..SMALL]),
            "segment ends after {before:?}"
        );
    }
}

#[test]
fn large_file_can_be_fetched_in_ranges() {
    const LEN: u64 = LARGE_LEN as u64;
    const PIECE: u64 = 1_000_003;
    let mut site = Site::of(&[LEN]);
    let tag = eventually("there is an ETag", || {
        let head = site.head(LEN, "");
        head.field("ETag").map(str::to_owned)
    });
    let pieces: Vec<Range<u64>> = (0..LEN)
        .step_by(1_000_003)
        .map(|start| start..(start + PIECE).min(LEN))
        .collect();
    let all: String = pieces
        .iter()
        .map(|piece| {
            format!(
                "Range: bytes={}-{}\r\nIf-Range: {tag}\r\n",
                piece.start,
                piece.end - 1
            )
        })
        .map(|fields| request("GET", LEN, &fields))
        .collect();
    site.client.send(all);
    let mut whole = Vec::new();
    for piece in &pieces {
        let response = site.client.response();
        let range = response.field("Content-Range").expect("a part");
        assert_eq!(content_range(range, LEN), *piece);
        assert_eq!(response.field("ETag"), Some(&*tag), "one version");
        whole.extend(response.content);
    }
    assert!(whole == site.contents[&LEN]);
    // From the middle to the end, as an interrupted download is resumed.
    let middle = LEN / 2 + 1;
    site.check_with(
        &format!("Range: bytes={middle}-\r\nIf-Range: {tag}\r\n"),
        LEN,
        Part(middle..LEN),
    );
}

#[test]
fn large_multipart_ranges_are_sent_intact() {
    const MIB: u64 = 1 << 20;
    const LEN: u64 = 16 * MIB;
    let mut site = Site::of(&[LEN]);
    for parts in [
        vec![0..3 * MIB + 1, 5 * MIB..7 * MIB, LEN - 2 * MIB..LEN],
        vec![LEN - 2 * MIB - 1..LEN, 0..2 * MIB, 8 * MIB..8 * MIB + 1],
        vec![7..5 * MIB, 5 * MIB + 1..LEN - 1000],
    ] {
        let specs: Vec<String> = parts
            .iter()
            .map(|part| format!("{}-{}", part.start, part.end - 1))
            .collect();
        site.check(&format!("bytes={}", specs.join(",")), LEN, Parts(parts));
    }
    // The largest number of ranges, each of one or two sends.
    let parts: Vec<Range<u64>> = (0..MAX_RANGES as u64)
        .map(|position| position * (LEN / 32)..position * (LEN / 32) + LEN / 33)
        .collect();
    let specs: Vec<String> = parts
        .iter()
        .map(|part| format!("{}-{}", part.start, part.end - 1))
        .collect();
    site.check(&format!("bytes={}", specs.join(",")), LEN, Parts(parts));
}

#[test]
fn range_requests_use_bounded_memory() {
    const MAX_GROWTH_KIB: usize = 1024;
    let mut site = Site::of(&[SMALL, BIG]);
    let list = |count: u64| {
        let specs: Vec<String> = (0..count)
            .map(|position| format!("{0}-{0}", position * 2))
            .collect();
        format!("Range: bytes={}\r\n", specs.join(","))
    };
    let fields = [list(1000), list(32), list(33)];
    let mut ask = |rounds| {
        for _ in 0..rounds {
            for fields in &fields {
                for len in [SMALL, BIG] {
                    let response = site.get(len, fields);
                    assert!(response.status().starts_with('2'), "{response:?}");
                }
            }
        }
        site.server.resident_kib()
    };
    let before = ask(10);
    let after = ask(100);
    assert!(
        after < before + MAX_GROWTH_KIB,
        "{before} KiB before, {after} after"
    );
}

#[test]
fn unread_multipart_responses_use_bounded_memory() {
    const MAX_GROWTH_KIB: usize = 4 * 1024;
    let mut site = Site::of(&[BIG]);
    let specs: Vec<String> = (0..MAX_RANGES)
        .map(|position| format!("{0}-{0}", position * 3000))
        .collect();
    let fields = format!("Range: bytes={}\r\n", specs.join(","));
    let requests = request("GET", BIG, &fields).repeat(100);
    let before = site.server.resident_kib();
    let clients: Vec<Client> = (0..4).map(|_| site.server.connect()).collect();
    for client in &clients {
        client.stream().set_nonblocking(true).expect("an option");
        // Until the server reads no more for as long as the response to another client takes.
        let mut last = None;
        let mut sent = 0;
        while last != Some(sent) {
            last = Some(sent);
            loop {
                let position = sent % requests.len();
                match client.stream().write(&requests.as_bytes()[position..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            site.check("bytes=0-0", BIG, Part(0..1));
        }
        assert!(sent > requests.len(), "{sent}");
    }
    let after = site.server.resident_kib();
    assert!(
        after < before + MAX_GROWTH_KIB,
        "{before} KiB before, {after} after"
    );
}

/// Returns values of Range: every pair of interesting numbers, every pair and some triples of interesting ranges, with
/// every kind of separator.
fn range_values(len: u64) -> Vec<String> {
    let mut numbers: Vec<u64> = [0, 1, 2, len / 2, len, len + 1, u64::MAX - 1, u64::MAX].into();
    numbers.extend((1..=2).filter_map(|less| len.checked_sub(less)));
    numbers.sort_unstable();
    numbers.dedup();
    let mut numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.extend(["", "00", "x", "-", "+1"].map(str::to_owned));
    let mut values = Vec::new();
    for first in &numbers {
        for last in &numbers {
            values.push(format!("bytes={first}-{last}"));
        }
    }

    let quarter = len / 4;
    let specs = [
        "0-0".to_owned(),
        "0-".into(),
        "-1".into(),
        "-0".into(),
        format!("-{}", quarter + 1),
        format!("-{}", len.saturating_add(1)),
        format!("{quarter}-{}", quarter * 2),
        format!("{}-{}", quarter + 1, quarter * 3),
        format!("{}-{}", quarter * 2 + 1, quarter * 3),
        format!("{0}-{0}", quarter * 3 + 2),
        format!("{}-{}", len.saturating_sub(1), len),
        format!("{len}-"),
        "1-0".into(),
        "x".into(),
        String::new(),
    ];
    for (position, one) in specs.iter().enumerate() {
        for unit in ["bytes", "BYTES", "Bytes", "bytes ", "octets", ""] {
            values.push(format!("{unit}={one}"));
        }
        for two in &specs {
            for comma in [",", "\t, ", ",,"] {
                values.push(format!("bytes={one}{comma}{two}"));
            }
            for (turn, three) in specs.iter().enumerate() {
                if (position + turn) % 4 == 0 {
                    values.push(format!("bytes={one},{two}, {three}"));
                }
            }
        }
    }
    values
}

/// Returns whether the http-range crate parses all of this value. It does not parse the last position of a range whose
/// first is past the end: it skips `900-x`, where docroot ignores the whole field, as it is malformed.
fn is_parsed_completely(value: &str, len: u64) -> bool {
    let digits = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let list = value.split_once('=').map_or("", |(_, list)| list);
    list.split(',').all(|spec| {
        let spec = spec.trim_matches([' ', '\t']);
        let (first, last) = spec.split_once('-').unwrap_or_default();
        match digits(first) {
            Some(first) if first >= len && !last.is_empty() => {
                digits(last).is_some_and(|last| first <= last)
            }
            _ => true,
        }
    })
}

/// Coalesces ranges: each run of bytes once, at the position of its first range. Sorts, unlike the server's
/// algorithm.
fn coalesced(ranges: &[HttpRange]) -> Vec<Range<u64>> {
    let mut sorted: Vec<(Range<u64>, usize)> = ranges
        .iter()
        .enumerate()
        .map(|(position, range)| (range.start..range.start + range.length, position))
        .filter(|(range, _)| !range.is_empty())
        .collect();
    sorted.sort_unstable_by_key(|(range, _)| range.start);
    let mut runs: Vec<(Range<u64>, usize)> = Vec::new();
    for (range, position) in sorted {
        match runs.last_mut() {
            Some((run, first)) if range.start <= run.end => {
                run.end = run.end.max(range.end);
                *first = position.min(*first);
            }
            _ => runs.push((range, position)),
        }
    }
    runs.sort_unstable_by_key(|(_, position)| *position);
    runs.into_iter().map(|(run, _)| run).collect()
}

/// Returns the expected response to a value as the http-range crate parses it. The crate only returns the ranges;
/// docroot's rules are added here:
///
/// - an invalid value and an empty list are ignored;
/// - overlapping and adjacent ranges are coalesced;
/// - a multipart that would not be shorter than the file is not sent;
/// - the suffix of an empty file, an empty range for the crate, is the whole file.
///
/// Values on which the two differ by design are not compared: more than 32 ranges; numbers of more than 64 bits, which
/// are invalid for the crate and larger than any file for docroot; white space around the hyphen, which the crate
/// allows; ranges that it does not parse completely (see above).
fn expected_by_http_range(value: &str, len: u64) -> Expected {
    let ranges = match HttpRange::parse(value, len) {
        Ok(ranges) => ranges,
        Err(HttpRangeParseError::InvalidRange) => return Whole,
        Err(HttpRangeParseError::NoOverlap) => return Unsatisfiable,
    };
    match coalesced(&ranges).as_slice() {
        [] => Whole,
        [part] => Part(part.clone()),
        parts if multipart_len(parts, len) < len => Parts(parts.to_vec()),
        _ => Whole,
    }
}

#[test]
fn range_parsing_agrees_with_http_range_crate() {
    const LENGTHS: [u64; 7] = [0, 1, 10, 600, 1000, 5000, MAX_IN_MEMORY_LEN + 1];
    const BATCH: usize = 50;
    let mut site = Site::of(&LENGTHS);
    // Responses of each kind, and values that were not compared.
    let mut counts = [0; 4];
    let mut skipped = 0;
    for len in LENGTHS {
        let all = range_values(len);
        let (values, others): (Vec<_>, Vec<_>) = all
            .iter()
            .partition(|value| is_parsed_completely(value, len));
        skipped += others.len();
        for values in values.chunks(BATCH) {
            let requests = values
                .iter()
                .map(|value| request("GET", len, &format!("Range: {value}\r\n")));
            site.client.send(requests.collect::<String>());
            for value in values {
                let response = site.client.response();
                let found = parse_response(&response, &site.contents[&len]);
                let expected = expected_by_http_range(value, len);
                assert_eq!(found, expected, "{value} of {len}: {response:?}");
                counts[match found {
                    Whole => 0,
                    Part(_) => 1,
                    Parts(_) => 2,
                    Unsatisfiable => 3,
                }] += 1;
            }
        }
    }
    let compared: usize = counts.iter().sum();
    println!("{counts:?} compared, {skipped} not");
    assert!(compared > 10_000, "{counts:?}");
    assert!(skipped < compared / 4, "{skipped} of {compared}");
    assert!(counts.iter().all(|count| *count > 300), "{counts:?}");
}
