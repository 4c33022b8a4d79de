//! The parts of a file that are asked for are what is sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Client, LARGE, Response, Root, Server, asctime, eventually, filling, rfc850};
use http_range::{HttpRange, HttpRangeParseError};
use httpdate::{fmt_http_date, parse_http_date};

/// Files up to this length are sent from memory, larger ones by the kernel.
const IN_MEMORY: u64 = 64 * 1024;

/// A file of each kind, long enough for several ranges to be worth their while.
const SMALL: u64 = 10_000;
const BIG: u64 = 100_000;

/// Ranges that one field may ask for.
const MOST: usize = 32;

/// What comes of a Range. Ranges are half-open.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Whole,
    Part(Range<u64>),
    Parts(Vec<Range<u64>>),
    Unsatisfiable,
}

use Expected::{Part, Parts, Unsatisfiable, Whole};

/// A server of files that are named after their length, and one connection to it, so that whatever is
/// sent too much or too little is taken for a part of the next head.
struct Site {
    client: Client,
    server: Server,
    root: Root,
    contents: BTreeMap<u64, Vec<u8>>,
}

impl Site {
    fn of(lengths: &[u64]) -> Self {
        let root = Root::new();
        let content = |&len: &u64| (len, filling(len.try_into().expect("it fits")));
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

    /// Asks for a file of this length with these field lines, each with its CRLF.
    fn get(&mut self, len: u64, fields: &str) -> Response {
        self.client.ask(request("GET", len, fields))
    }

    /// The same, but only the head.
    fn head(&mut self, len: u64, fields: &str) -> Response {
        self.client.send(request("HEAD", len, fields));
        self.client.response_to_head()
    }

    /// The tag and the date of a file, as soon as both are told.
    fn validators(&mut self, len: u64) -> (String, String) {
        eventually("tag and date are told", || {
            let head = self.head(len, "");
            let told = |name| head.field(name).map(str::to_owned);
            Some((told("ETag")?, told("Last-Modified")?))
        })
    }

    /// Asks for ranges, and compares every byte of the answer.
    fn check(&mut self, range: &str, len: u64, expected: Expected) {
        self.check_with(&format!("Range: {range}\r\n"), len, expected);
    }

    /// The same, with field lines.
    fn check_with(&mut self, fields: &str, len: u64, expected: Expected) {
        let response = self.get(len, fields);
        let found = read(&response, &self.contents[&len]);
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
    // RFC 9110 section 14.4 would allow more digits than needed; nobody sends them.
    assert_eq!(number.to_string(), text);
    number
}

fn slice<'a>(content: &'a [u8], part: &Range<u64>) -> &'a [u8] {
    let index = |place: u64| usize::try_from(place).expect("it fits");
    &content[index(part.start)..index(part.end)]
}

/// Reads a Content-Range (RFC 9110 section 14.4) of something of this length.
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

/// What a response about this file turns out to be. Its status, its fields and every byte of its
/// content must say the same.
fn read(response: &Response, file: &[u8]) -> Expected {
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
            let parts = parts(
                &response.content,
                boundary,
                "text/plain; charset=utf-8",
                file,
            );
            // RFC 9110 section 14.6 forbids it for one part, RFC 2046 for none.
            assert!(parts.len() > 1, "{response:?}");
            assert!(response.content.len() < file.len(), "more than the whole");
            Parts(parts)
        }
        _ => panic!("{response:?}"),
    }
}

/// Reads `multipart/byteranges` (RFC 9110 section 14.6, RFC 2046 section 5.1.1), with nothing between
/// the parts, before the first or after the last, and compares the parts with the file.
fn parts(mut content: &[u8], boundary: &str, media_type: &str, file: &[u8]) -> Vec<Range<u64>> {
    // Of the characters that a boundary may have, those that need no quotes in a parameter.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
    assert!(boundary.bytes().all(is_plain), "{boundary}");
    assert!((16..=70).contains(&boundary.len()), "{boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = Vec::new();
    loop {
        content = take(content, &delimiter);
        if content == b"--\r\n" {
            return parts;
        }
        content = take(
            content,
            &format!("\r\nContent-Type: {media_type}\r\nContent-Range: "),
        );
        let end = content
            .iter()
            .position(|&byte| byte == b'\r')
            .expect("a line");
        let range = std::str::from_utf8(&content[..end]).expect("text");
        let part = content_range(range, file.len() as u64);
        content = take(&content[end..], "\r\n\r\n");
        let expected = slice(file, &part);
        assert!(content.len() >= expected.len(), "{part:?} is cut");
        assert!(content[..expected.len()] == *expected, "{part:?}");
        content = &content[expected.len()..];
        parts.push(part);
    }
}

fn take<'a>(content: &'a [u8], expected: &str) -> &'a [u8] {
    content
        .strip_prefix(expected.as_bytes())
        .unwrap_or_else(|| {
            let found = &content[..content.len().min(expected.len())];
            panic!("{} instead of {expected:?}", found.escape_ascii())
        })
}

/// The length of a multipart answer with a boundary of 32 characters.
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

/// A head's lines, sorted, without those that begin like one of these.
fn lines<'a>(response: &'a Response, without: &[&str]) -> Vec<&'a str> {
    let differs = |line: &&str| !without.iter().any(|name| line.starts_with(name));
    let mut lines: Vec<&str> = response.head.lines().skip(1).filter(differs).collect();
    lines.sort_unstable();
    lines
}

// RFC 9110 section 14.1.2.
#[test]
fn one_range_is_one_part() {
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
fn a_part_may_have_any_length_and_be_anywhere() {
    const LENGTHS: [u64; 5] = [1, 1024, IN_MEMORY, IN_MEMORY + 1, 200_000];
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

// RFC 9110 section 14.1.2: positions beyond the end mean the end; a longer suffix, all of it.
#[test]
fn a_range_is_clamped_to_what_there_is() {
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
fn a_range_of_nothing_is_unsatisfiable() {
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
        // What cannot be satisfied is left out.
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
fn what_is_unsatisfiable_is_said_on_a_page_that_nobody_keeps() {
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

// RFC 9110 section 14.2 lets what is not understood be ignored.
#[test]
fn what_is_malformed_asks_for_nothing() {
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
        // No white space inside a range, and commas between two (section 14.1.1).
        "bytes=0 -0",
        "bytes=0- 0",
        "bytes=0\t-\t0",
        "bytes=- 1",
        "bytes=1 2-3",
        "bytes=0-0 2-2",
        "bytes=0-0;2-2",
        "bytes=0-0\u{a0}",
        // Digits and nothing else.
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
        // Units that nobody has (section 14.1).
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
fn the_unit_is_compared_without_case() {
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

// RFC 9110 section 5.3: it is no list that may be in several lines, but for the commas in it.
#[test]
fn a_range_that_is_repeated_asks_for_nothing() {
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
fn several_ranges_are_several_parts_in_their_order() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        let last = len - 1;
        site.check("bytes=0-0,-1", len, Parts(vec![0..1, last..len]));
        site.check("bytes=-1,0-0", len, Parts(vec![last..len, 0..1]));
        let parts = vec![0..1000, 4500..5500, len - 1000..len];
        site.check("bytes=0-999, 4500-5499, -1000", len, Parts(parts));
        site.check("bytes=9-9,7-7,5-5", len, Parts(vec![9..10, 7..8, 5..6]));
        // White space and nothing at all between commas (section 5.6.1).
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
fn ranges_that_overlap_or_touch_become_one() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        for (list, expected) in [
            // Both of section 14.1.2.
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
            // With another one between them; at the place of the first.
            ("0-0,5-5,1-1", Parts(vec![0..2, 5..6])),
            ("5-5,0-0,6-6", Parts(vec![5..7, 0..1])),
            ("5-5,0-0,4-4,1-1", Parts(vec![4..6, 0..2])),
            ("9-9,0-0,5-5,1-8", Part(0..10)),
            ("20-29,0-9,40-49,10-19", Parts(vec![0..30, 40..50])),
            ("40-49,20-29,0-9,10-19", Parts(vec![40..50, 0..30])),
            ("0-9,40-49,20-29,5-24", Parts(vec![0..30, 40..50])),
            // One byte lies between.
            ("0-0,2-2", Parts(vec![0..1, 2..3])),
            ("2-2,0-0", Parts(vec![2..3, 0..1])),
        ] {
            site.check(&format!("bytes={list}"), len, expected);
        }
    }
}

#[test]
fn more_ranges_than_anybody_needs_ask_for_nothing() {
    let mut site = Site::of(&[SMALL, BIG]);
    let list = |count: usize, spec: &dyn Fn(usize) -> String| {
        let specs: Vec<String> = (0..count).map(spec).collect();
        format!("bytes={}", specs.join(","))
    };
    let apart = |place| format!("{0}-{0}", place * 2);
    let parts = |count: u64| (0..count).map(|place| place * 2..place * 2 + 1).collect();
    for len in [SMALL, BIG] {
        let beyond = |_| format!("{len}-");
        site.check(&list(MOST - 1, &apart), len, Parts(parts(31)));
        site.check(&list(MOST, &apart), len, Parts(parts(32)));
        site.check(&list(MOST + 1, &apart), len, Whole);
        site.check(&list(1000, &apart), len, Whole);
        // Whatever they are.
        site.check(&list(MOST, &|_| "0-0".into()), len, Part(0..1));
        site.check(&list(MOST + 1, &|_| "0-0".into()), len, Whole);
        site.check(&list(1000, &|_| "0-".into()), len, Whole);
        site.check(&list(MOST, &beyond), len, Unsatisfiable);
        site.check(&list(MOST + 1, &beyond), len, Whole);
        site.check(&format!("{},x", list(MOST - 1, &apart)), len, Whole);
        site.check(&format!("{},x", list(MOST + 1, &apart)), len, Whole);
        // Nothing between two commas is no range.
        let sparse = list(MOST, &apart).replace(',', ", ,,\t,");
        site.check(&sparse, len, Parts(parts(32)));
        site.check(&format!("bytes={}0-0", ",".repeat(1000)), len, Part(0..1));
    }
}

#[test]
fn parts_that_take_no_less_than_the_whole_are_not_made() {
    const LEN: u64 = 1000;
    let mut site = Site::of(&[100, LEN, SMALL]);
    let mut seen = [false; 2];
    for suffix in 500..LEN - 1 {
        let parts = vec![0..1, LEN - suffix..LEN];
        let is_less = multipart_len(&parts, LEN) < LEN;
        let expected = if is_less { Parts(parts) } else { Whole };
        site.check(&format!("bytes=0-0,-{suffix}"), LEN, expected);
        seen[usize::from(is_less)] = true;
    }
    assert_eq!(seen, [true, true], "both kinds came");
    site.check("bytes=0-0,2-2", 100, Whole);
    site.check("bytes=0-4998,5000-", SMALL, Whole);
    // One part is worth it, whatever it takes.
    site.check("bytes=1-,98-", 100, Part(1..100));
}

#[test]
fn one_byte_and_none_have_ranges_too() {
    let mut site = Site::of(&[0, 1]);
    for (range, of_none, of_one) in [
        ("0-", Unsatisfiable, Part(0..1)),
        ("0-0", Unsatisfiable, Part(0..1)),
        ("0-5", Unsatisfiable, Part(0..1)),
        ("1-", Unsatisfiable, Unsatisfiable),
        ("1-1", Unsatisfiable, Unsatisfiable),
        ("-0", Unsatisfiable, Unsatisfiable),
        // A suffix of nothing is nothing, which no Content-Range can say.
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
        site.check(&format!("bytes={range}"), 0, of_none);
        site.check(&format!("bytes={range}"), 1, of_one);
    }
}

// RFC 9110 section 14.2: only GET has ranges.
#[test]
fn head_tells_of_the_whole() {
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
                    lines(&response, &["Date"]),
                    lines(&plain, &["Date"]),
                    "{range}"
                );
            }
        }
    }
}

#[test]
fn other_methods_have_no_ranges() {
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

// RFC 9110 section 15.3.7: what 200 would have said, and which part it is.
#[test]
fn a_part_is_described_like_the_whole() {
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
        assert_eq!(lines(&one, &length), lines(&whole, &length));
        assert_eq!(one.content, whole.content[1..3]);

        // Several parts have each their own range, and the content as a whole has none.
        let several = site.get(len, "Range: bytes=0-0,2-2\r\n");
        assert_eq!(several.field("Content-Range"), None);
        let media_type = ["Date", "Content-Length", "Content-Type"];
        assert_eq!(lines(&several, &media_type), lines(&whole, &media_type));
    }
}

// RFC 2046 section 5.1.1: it must not be in the content, so nobody may know it before.
#[test]
fn no_boundary_comes_twice() {
    let mut site = Site::of(&[SMALL]);
    let other = Server::start(site.root.path());
    let mut other = other.connect();
    let mut seen = Vec::new();
    for _ in 0..50 {
        let request = request("GET", SMALL, "Range: bytes=0-0,2-2\r\n");
        for client in [&mut site.client, &mut other] {
            let response = client.ask(&request);
            let media_type = response.field("Content-Type").expect("it has parts");
            let (_, boundary) = media_type.split_once("boundary=").expect("it has parts");
            assert!(!seen.contains(&boundary.to_owned()), "{boundary}");
            seen.push(boundary.to_owned());
        }
    }
}

// RFC 9110 section 13.1.5.
#[test]
fn a_range_of_another_version_asks_for_nothing() {
    let mut site = Site::of(&[SMALL, BIG]);
    for (len, date) in [(500, 1), (IN_MEMORY + 500, 946_702_800)] {
        site.contents
            .insert(len, filling(len.try_into().expect("it fits")));
        site.root.write(format!("{len}.txt"), &site.contents[&len]);
        let file = File::options()
            .write(true)
            .open(site.root.join(format!("{len}.txt")));
        let set = file.and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(date)));
        set.expect("a file of ours");
    }
    // Whether the date is one that nobody has set.
    for (len, is_strong) in [
        (SMALL, true),
        (BIG, true),
        (500, false),
        (IN_MEMORY + 500, false),
    ] {
        let (tag, date) = site.validators(len);
        let time = parse_http_date(&date).expect("a date");
        let second = Duration::from_secs(1);
        let inside = tag.trim_matches('"').to_owned();
        for (validator, is_it) in [
            (tag.clone(), true),
            (format!("\t{tag} "), true),
            (date.clone(), is_strong),
            (rfc850(&date), is_strong),
            (asctime(&date), is_strong),
            // Strong comparison: a weak tag is never the one.
            (format!("W/{tag}"), false),
            ("\"x\"".into(), false),
            ("\"\"".into(), false),
            (format!("\"{inside}x\""), false),
            (inside.clone(), false),
            (format!("\"{inside}"), false),
            (format!("{tag}x"), false),
            // One tag, and no list.
            ("*".into(), false),
            (format!("{tag}, {tag}"), false),
            (format!("{tag}, \"x\""), false),
            (format!("{tag},"), false),
            (format!(",{tag}"), false),
            (String::new(), false),
            // Neither the newer nor the older.
            (fmt_http_date(time - second), false),
            (fmt_http_date(time + second), false),
            (fmt_http_date(SystemTime::now() + second * 86_400), false),
            (date.replace("GMT", "UTC"), false),
            (format!("{date}, {date}"), false),
            (format!("\"{date}\""), false),
            ("soon".into(), false),
        ] {
            let fields = format!("If-Range: {validator}\r\n");
            let expected = |expected| if is_it { expected } else { Whole };
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
            // Without a range it means nothing.
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
fn a_download_of_two_versions_is_never_made_one() {
    let root = Root::new();
    let server = Server::start(root.path());
    let mut client = server.connect();
    for len in [500, 100_000] {
        // Of one length and of one date, as builds make them that can be reproduced.
        let release = |byte| {
            root.write("file", vec![byte; len]);
            let file = File::options().write(true).open(root.join("file"));
            let set = file.and_then(|file| file.set_modified(UNIX_EPOCH + Duration::from_secs(1)));
            set.expect("a file of ours");
        };
        release(b'1');
        let old = eventually("it has a tag", || {
            let response = client.get("/file");
            response.field("ETag").is_some().then_some(response)
        });
        release(b'2');
        for validator in ["ETag", "Last-Modified"].map(|name| old.field(name)) {
            let fields = format!(
                "Range: bytes=5-\r\nIf-Range: {}\r\n",
                validator.expect("told")
            );
            let response = client.ask(format!("GET /file HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            assert_eq!(response.status(), "200 OK", "{fields}");
            assert!(response.content == vec![b'2'; len], "{fields}");
        }
    }
}

// RFC 9110 section 13.2.2: the range comes last.
#[test]
fn preconditions_come_before_ranges() {
    let mut site = Site::of(&[SMALL, BIG]);
    for len in [SMALL, BIG] {
        let (tag, date) = site.validators(len);
        let time = parse_http_date(&date).expect("a date");
        let before = fmt_http_date(time - Duration::from_secs(1));
        let nothing = format!("Range: bytes={len}-");
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
            for range in ["Range: bytes=0-0", "Range: bytes=0-0,2-2", &nothing] {
                let status = match status {
                    "206 Partial Content" if *range == nothing => "416 Range Not Satisfiable",
                    status => status,
                };
                for fields in [
                    format!("{range}\r\n{fields}"),
                    format!("{fields}{range}\r\n"),
                ] {
                    let response = site.get(len, &fields);
                    assert_eq!(response.status(), status, "{fields}");
                    let is_known = status == "304 Not Modified";
                    assert_eq!(response.field("Content-Length").is_none(), is_known);
                    let has_range = response.field("Content-Range").is_some();
                    assert!(!has_range || status.starts_with("206") || status.starts_with("416"));
                }
            }
        }
    }
}

// RFC 9110 section 14.2: only where the answer would be 200 without it.
#[test]
fn what_is_no_file_has_no_ranges() {
    let root = Root::of(&[("dir/file", "a"), ("index.html", "0123456789")]);
    symlink("/etc/passwd", root.join("outside")).expect("a folder of ours");
    let paged = Root::of(&[("404.html", "<p>gone")]);
    paged.write("large/404.html", filling(100_000));
    let pages = [
        root.path().to_owned(),
        paged.path().to_owned(),
        paged.join("large"),
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
                    assert_eq!(lines(&response, &["Date"]), lines(&plain, &["Date"]));
                    assert!(response.content == plain.content, "{target}, {range}");
                }
            }
        }
    }
    // A folder's index is a file.
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
        // Content means nothing (section 9.3.1).
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
                read(&response, &site.contents[len]),
                *expected,
                "{fields} of {len}"
            );
            let head = site.client.response_to_head();
            assert_eq!(head.status(), "200 OK", "{fields} of {len}");
        }
    }
    // The last of a connection is as whole as any.
    let range = "Range: bytes=0-0,2-2\r\nConnection: close\r\n";
    let response = site.get(SMALL, range);
    assert_eq!(
        read(&response, &site.contents[&SMALL]),
        Parts(vec![0..1, 2..3])
    );
    assert!(site.client.rest().is_empty());
}

#[test]
fn a_request_with_ranges_means_the_same_wherever_it_is_cut() {
    let mut site = Site::of(&[SMALL]);
    let request = request("GET", SMALL, "Range: bytes=5-9 , -1\r\n");
    for cut in 1..request.len() {
        let (before, after) = request.split_at(cut);
        site.client.send(before);
        let mut neighbour = site.server.connect();
        // By its answer the server has come to know of what was sent before.
        assert_eq!(neighbour.get("/nothing").status(), "404 Not Found");
        site.client.send(after);
        let found = read(&site.client.response(), &site.contents[&SMALL]);
        assert_eq!(
            found,
            Parts(vec![5..10, SMALL - 1..SMALL]),
            "cut after {before:?}"
        );
    }
}

#[test]
fn a_large_file_comes_in_pieces() {
    const LEN: u64 = LARGE as u64;
    const PIECE: u64 = 1_000_003;
    let mut site = Site::of(&[LEN]);
    let tag = eventually("it has a tag", || {
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
        assert_eq!(response.field("ETag"), Some(&*tag), "all of one version");
        whole.extend(response.content);
    }
    assert!(whole == site.contents[&LEN]);
    // From its middle to its end, as an interrupted download goes on.
    let middle = LEN / 2 + 1;
    site.check_with(
        &format!("Range: bytes={middle}-\r\nIf-Range: {tag}\r\n"),
        LEN,
        Part(middle..LEN),
    );
}

#[test]
fn large_parts_of_a_large_file_are_sent_as_they_are() {
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
    // As many as may be, of which each is a burst or two.
    let parts: Vec<Range<u64>> = (0..MOST as u64)
        .map(|place| place * (LEN / 32)..place * (LEN / 32) + LEN / 33)
        .collect();
    let specs: Vec<String> = parts
        .iter()
        .map(|part| format!("{}-{}", part.start, part.end - 1))
        .collect();
    site.check(&format!("bytes={}", specs.join(",")), LEN, Parts(parts));
}

#[test]
fn memory_does_not_grow_with_the_ranges() {
    const MOST_KIB: usize = 1024;
    let mut site = Site::of(&[SMALL, BIG]);
    let list = |count: u64| {
        let specs: Vec<String> = (0..count)
            .map(|place| format!("{0}-{0}", place * 2))
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
        site.server.resident()
    };
    let before = ask(10);
    let after = ask(100);
    assert!(
        after < before + MOST_KIB,
        "{before} KiB before, {after} after"
    );
}

#[test]
fn memory_does_not_grow_with_parts_that_nobody_reads() {
    const MOST_KIB: usize = 4 * 1024;
    let mut site = Site::of(&[BIG]);
    let specs: Vec<String> = (0..MOST)
        .map(|place| format!("{0}-{0}", place * 3000))
        .collect();
    let fields = format!("Range: bytes={}\r\n", specs.join(","));
    let requests = request("GET", BIG, &fields).repeat(100);
    let before = site.server.resident();
    let clients: Vec<Client> = (0..4).map(|_| site.server.connect()).collect();
    for client in &clients {
        client.stream().set_nonblocking(true).expect("an option");
        // Until the server does not read any more, in all the time that a neighbour's answer takes.
        let mut last = None;
        let mut sent = 0;
        while last != Some(sent) {
            last = Some(sent);
            loop {
                let place = sent % requests.len();
                match client.stream().write(&requests.as_bytes()[place..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            site.check("bytes=0-0", BIG, Part(0..1));
        }
        assert!(sent > requests.len(), "{sent}");
    }
    let after = site.server.resident();
    assert!(
        after < before + MOST_KIB,
        "{before} KiB before, {after} after"
    );
}

/// Field values, systematically: every pair of interesting numbers, every pair and some triples of
/// interesting ranges, between every kind of comma.
fn values(len: u64) -> Vec<String> {
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
    for (place, one) in specs.iter().enumerate() {
        for unit in ["bytes", "BYTES", "Bytes", "bytes ", "octets", ""] {
            values.push(format!("{unit}={one}"));
        }
        for two in &specs {
            for comma in [",", "\t, ", ",,"] {
                values.push(format!("bytes={one}{comma}{two}"));
            }
            for (turn, three) in specs.iter().enumerate() {
                if (place + turn) % 4 == 0 {
                    values.push(format!("bytes={one},{two}, {three}"));
                }
            }
        }
    }
    values
}

/// Whether the crate has an opinion on a value that it reads by the grammar. It does not look at the
/// last position of a range whose first is beyond the end: `900-x` it leaves out, where we ignore the
/// whole field, as it is malformed.
fn is_read_to_its_end(value: &str, len: u64) -> bool {
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

/// Ranges, coalesced: each run of bytes once, at the place of its first range. Not as the server does
/// it, but by sorting.
fn coalesced(ranges: &[HttpRange]) -> Vec<Range<u64>> {
    let mut sorted: Vec<(Range<u64>, usize)> = ranges
        .iter()
        .enumerate()
        .map(|(place, range)| (range.start..range.start + range.length, place))
        .filter(|(range, _)| !range.is_empty())
        .collect();
    sorted.sort_unstable_by_key(|(range, _)| range.start);
    let mut runs: Vec<(Range<u64>, usize)> = Vec::new();
    for (range, place) in sorted {
        match runs.last_mut() {
            Some((run, first)) if range.start <= run.end => {
                run.end = run.end.max(range.end);
                *first = place.min(*first);
            }
            _ => runs.push((range, place)),
        }
    }
    runs.sort_unstable_by_key(|(_, place)| *place);
    runs.into_iter().map(|(run, _)| run).collect()
}

/// What comes of a value if it is as the crate reads it. The crate says which ranges are meant; what
/// is made of them, it leaves to us:
///
/// - what it finds invalid, and a list of nothing, we ignore;
/// - of ranges that overlap or touch we make one;
/// - parts that would take no less than the whole we do not send;
/// - the suffix of an empty file, for it a range of no bytes, is the whole file for us.
///
/// Where we differ by design, it is not asked: more than 32 ranges; numbers of more than 64 bits,
/// which it finds invalid, and we larger than any file; white space around the hyphen, which it
/// allows; ranges that it does not read to their end (see above).
fn by_the_crate(value: &str, len: u64) -> Expected {
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
fn another_reader_of_ranges_agrees() {
    const LENGTHS: [u64; 7] = [0, 1, 10, 600, 1000, 5000, IN_MEMORY + 1];
    const AT_ONCE: usize = 50;
    let mut site = Site::of(&LENGTHS);
    // Answers of each kind, values that were not compared.
    let mut seen = [0; 4];
    let mut skipped = 0;
    for len in LENGTHS {
        let all = values(len);
        let (values, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|value| is_read_to_its_end(value, len));
        skipped += others.len();
        for values in values.chunks(AT_ONCE) {
            let requests = values
                .iter()
                .map(|value| request("GET", len, &format!("Range: {value}\r\n")));
            site.client.send(requests.collect::<String>());
            for value in values {
                let response = site.client.response();
                let found = read(&response, &site.contents[&len]);
                let expected = by_the_crate(value, len);
                assert_eq!(found, expected, "{value} of {len}: {response:?}");
                seen[match found {
                    Whole => 0,
                    Part(_) => 1,
                    Parts(_) => 2,
                    Unsatisfiable => 3,
                }] += 1;
            }
        }
    }
    let compared: usize = seen.iter().sum();
    println!("{seen:?} compared, {skipped} not");
    assert!(compared > 10_000, "{seen:?}");
    assert!(skipped < compared / 4, "{skipped} of {compared}");
    assert!(seen.iter().all(|count| *count > 300), "{seen:?}");
}
