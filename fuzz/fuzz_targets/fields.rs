//! Preconditions and ranges select a part of what there is, or say that there is none.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use docroot::http::{FieldLine, Lookup, Method, Request, Target, Version, respond, validate};
use docroot::http1::HttpOptions;
use docroot::net::Next;
use docroot_fuzz::{Answer, Conversation, DATE_TEXT, Known, TAG, answers, filling, found};
use libfuzzer_sys::fuzz_target;

/// The first byte of a line of the input says which field it is, its remainder is the value.
const NAMES: [&str; 6] = [
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
];

/// Lengths of contents: nothing, less than several parts cost, more, and more than is queued at once.
const LENGTHS: [usize; 4] = [0, 10, 4_000, 70_000];

/// What may be known of them.
const KNOWN: [Known; 4] = [Known::Nothing, Known::Date, Known::StrongDate, Known::Tag];

/// Each content with each.
static SITE: LazyLock<Vec<(Vec<u8>, Known, Lookup)>> = LazyLock::new(|| {
    let each = LENGTHS.map(|len| KNOWN.map(|known| (filling(len), known)));
    let found = |(content, known): (Vec<u8>, Known)| {
        let lookup = found(&content, known);
        (content, known, lookup)
    };
    each.into_iter().flatten().map(found).collect()
});

// The first byte says what is asked for, and how.
fuzz_target!(|bytes: &[u8]| {
    let Some((&how, fields)) = bytes.split_first() else {
        return;
    };
    let (content, known, lookup) = &SITE[usize::from(how) % SITE.len()];
    let method = if how & 16 != 0 {
        Method::Get
    } else {
        Method::Head
    };
    let values: Vec<(&str, Vec<u8>)> = fields
        .split(|&byte| byte == b'\n')
        .filter_map(field)
        .collect();
    let fields: Vec<FieldLine<'_>> = values
        .iter()
        .map(|(name, value)| FieldLine { name, value })
        .collect();
    let host = FieldLine {
        name: "Host",
        value: b"a",
    };
    let request = Request {
        method,
        target: "/",
        version: Version::Http11,
        lines: &[&[host], &*fields].concat(),
    };
    let target = validate(&request).expect("it asks for what there may be");
    let response = respond(&request, &target, lookup);
    let status = response.status.code();

    let mut head = format!("{} / HTTP/1.1\r\nHost: a\r\n", method.name()).into_bytes();
    for line in &fields {
        head.extend([line.name.as_bytes(), b": ", line.value, b"\r\n"].concat());
    }
    head.extend(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let options = HttpOptions {
        max_head_bytes: 1 << 20,
        ..HttpOptions::default()
    };
    let origin = |_: &Target<'_>, _: SystemTime| lookup.clone();
    let mut conversation = Conversation::new(origin, options);
    conversation.hear(&head);
    if fields.len() > 99 {
        // Too many lines: nobody is asked for more.
        return;
    }
    assert_eq!(conversation.next, Next::Read, "the connection stays");
    let answers = answers(&conversation.said);
    let [answer, plain] = answers.as_slice() else {
        panic!("{} answers to two requests", answers.len());
    };
    assert_eq!(
        answer.status.to_string(),
        status,
        "the wire says what was decided"
    );
    check(&request, answer, content, *known);
    assert_eq!(
        (plain.status, plain.content),
        (200, content.as_slice()),
        "one request's fields are its own"
    );
});

/// A field line as the parser of heads lets it through.
fn field(line: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (which, value) = line.split_first()?;
    let is_plain = |byte: &u8| !byte.is_ascii_control() || *byte == b'\t';
    let value: Vec<u8> = value.iter().copied().filter(is_plain).collect();
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_blank(byte))
        .map_or(start, |last| last + 1);
    Some((
        NAMES[usize::from(*which) % NAMES.len()],
        value[start..end].to_vec(),
    ))
}

/// That the answer is one that this request can have.
fn check(request: &Request<'_>, answer: &Answer<'_>, content: &[u8], known: Known) {
    let count = |name| request.values(name).count();
    let ranges = request.method == Method::Get && count("Range") == 1;
    let range = answer.field("Content-Range");
    match answer.status {
        200 => {
            assert_eq!(range, None);
            assert_eq!(answer.length(), Some(content.len()));
            if request.method == Method::Get {
                assert!(answer.content == content, "all of it is sent");
            }
        }
        206 => {
            assert!(ranges, "a part is sent to who asked for one");
            match range {
                Some(range) => {
                    let (first, last) = check_place(range, content);
                    assert!(answer.content == &content[first..=last], "{range} is sent");
                }
                None => check_parts(answer, content),
            }
        }
        304 => {
            let since = count("If-Modified-Since") == 1 && matches!(known, Known::StrongDate);
            assert!(
                count("If-None-Match") > 0 || since,
                "who has none is sent it"
            );
        }
        412 => {
            let since = count("If-Unmodified-Since") == 1 && !matches!(known, Known::Nothing);
            assert!(count("If-Match") > 0 || since, "nothing was expected");
        }
        416 => {
            assert!(ranges, "a range that was not asked for is none that fails");
            assert_eq!(range, Some(&*format!("bytes */{}", content.len())));
        }
        other => panic!("{other} is no answer to a condition or a range"),
    }
    let is_about_it = matches!(answer.status, 200 | 206 | 304);
    let has_tag = is_about_it && matches!(known, Known::Tag);
    assert_eq!(answer.field("ETag"), has_tag.then_some(TAG));
    let has_date = match known {
        Known::Nothing => false,
        Known::Date | Known::StrongDate => is_about_it,
        // Whoever has the tag needs no date.
        Known::Tag => matches!(answer.status, 200 | 206),
    };
    assert_eq!(answer.field("Last-Modified"), has_date.then_some(DATE_TEXT));
}

/// That a part lies within the content: where its first and its last byte are.
fn check_place(range: &str, content: &[u8]) -> (usize, usize) {
    let numbers = range.strip_prefix("bytes ").and_then(|range| {
        let (range, len) = range.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?, len.parse().ok()?))
    });
    let (first, last, len): (usize, usize, usize) = numbers.expect("bytes first-last/length");
    assert!(
        first <= last && last < len && len == content.len(),
        "{range}"
    );
    (first, last)
}

/// That several parts are what RFC 9110 section 14.6 has them be, and are fewer bytes than all.
fn check_parts(answer: &Answer<'_>, content: &[u8]) {
    let boundary = answer.boundary().expect("several parts");
    // RFC 2046 section 5.1.1, without what would have to be quoted (RFC 9110 section 5.6.6).
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
    assert!(
        (1..=70).contains(&boundary.len()) && boundary.bytes().all(is_plain),
        "{boundary}"
    );
    assert!(
        answer.content.len() < content.len(),
        "the whole would have been shorter"
    );

    let delimiter = format!("\r\n--{boundary}");
    let next = "a part begins with the boundary";
    let mut rest = answer
        .content
        .strip_prefix(delimiter.as_bytes())
        .expect(next);
    let mut ranges = Vec::new();
    while rest != b"--\r\n" {
        let ends = |bytes: &[u8]| bytes == b"\r\n\r\n";
        let end = rest
            .windows(4)
            .position(ends)
            .expect("a part's head has an end");
        let head = std::str::from_utf8(&rest[..end]).expect("a part's head is ASCII");
        let fields: Vec<&str> = head.split("\r\n").collect();
        let ["", "Content-Type: text/plain", range] = fields[..] else {
            panic!("a part has a type and a place, not {fields:?}");
        };
        let range = range.strip_prefix("Content-Range: ").expect("a place");
        let (first, last) = check_place(range, content);
        let (part, behind) = rest[end + 4..]
            .split_at_checked(last - first + 1)
            .expect("a part");
        assert!(part == &content[first..=last], "{range} is sent");
        rest = behind.strip_prefix(delimiter.as_bytes()).expect(next);
        ranges.push((first, last));
    }
    assert!((2..=32).contains(&ranges.len()), "{} parts", ranges.len());
    ranges.sort_unstable();
    let apart = |pair: &[(usize, usize)]| pair[0].1 + 1 < pair[1].0;
    assert!(
        ranges.windows(2).all(apart),
        "what overlaps or touches is one part: {ranges:?}"
    );
}
