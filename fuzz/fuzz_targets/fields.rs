//! Fuzz target: preconditions and ranges select a correct part of a representation, or a status that says why not.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use docroot::http::{
    FieldLine, Lookup, Method, Request, RequestField, RequestFields, Target, Validated, Version,
    respond, validate,
};
use docroot::http1::HttpOptions;
use docroot::net::Next;
use docroot_fuzz::{
    Connection, DATE_TEXT, ParsedResponse, TAG, ValidatorKind, filler, found, parse_responses,
};
use libfuzzer_sys::fuzz_target;

/// Names of fields. The first byte of each line of the input selects one, the rest of the line is its value.
const NAMES: [&str; 6] = [
    "Range",
    "If-Range",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
];

/// Lengths of contents: empty, shorter than the overhead of a multipart response, longer, and longer than the outbox
/// queues at once.
const LENGTHS: [usize; 4] = [0, 10, 4_000, 70_000];

/// Validators of resources.
const VALIDATOR_KINDS: [ValidatorKind; 4] = [
    ValidatorKind::Nothing,
    ValidatorKind::Date,
    ValidatorKind::StrongDate,
    ValidatorKind::Tag,
];

/// Resources: each length with each kind of validators.
static SITE: LazyLock<Vec<(Vec<u8>, ValidatorKind, Lookup)>> = LazyLock::new(|| {
    let each = LENGTHS.map(|len| VALIDATOR_KINDS.map(|kind| (filler(len), kind)));
    let found = |(content, kind): (Vec<u8>, ValidatorKind)| {
        let lookup = found(&content, kind);
        (content, kind, lookup)
    };
    each.into_iter().flatten().map(found).collect()
});

// The first byte selects the resource and the method.
fuzz_target!(|bytes: &[u8]| {
    let Some((&selector, fields)) = bytes.split_first() else {
        return;
    };
    let (content, kind, lookup) = &SITE[usize::from(selector) % SITE.len()];
    let method = if selector & 16 != 0 {
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
        .map(|(name, value)| FieldLine {
            name: name.as_bytes(),
            value,
        })
        .collect();
    let host = FieldLine {
        name: b"Host",
        value: b"a",
    };
    let lines = [&[host], &*fields].concat();
    let request = Request {
        method,
        target: "/",
        version: Version::Http11,
        fields: RequestFields::new(&lines),
    };
    let Ok(Validated::Resource(target)) = validate(&request) else {
        panic!("the request is valid");
    };
    let response = respond(&request, &target, lookup);
    let status = response.status.code();

    let mut head = format!("{} / HTTP/1.1\r\nHost: a\r\n", method.name()).into_bytes();
    for line in &fields {
        head.extend([line.name, b": ", line.value, b"\r\n"].concat());
    }
    head.extend(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let options = HttpOptions {
        max_head_bytes: 1 << 20,
        ..HttpOptions::default()
    };
    let origin = |_: &Target<'_>, _: SystemTime| lookup.clone();
    let mut connection = Connection::new(origin, options);
    connection.receive(&head);
    if fields.len() > 99 {
        // Requests with too many field lines are rejected.
        return;
    }
    assert_eq!(connection.next, Next::Read, "the connection is closed");
    let responses = parse_responses(&connection.output);
    let [parsed, plain] = responses.as_slice() else {
        panic!("{} responses to two requests", responses.len());
    };
    assert_eq!(
        parsed.status.to_string(),
        status,
        "the status on the wire differs from the decision"
    );
    check(&request, parsed, content, *kind);
    assert_eq!(
        (plain.status, plain.content),
        (200, content.as_slice()),
        "the fields of a request affect the next one"
    );
});

/// Parses a line of the input into a field that the head parser accepts.
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

/// Checks that the response is a possible one for this request.
fn check(request: &Request<'_>, parsed: &ParsedResponse<'_>, content: &[u8], kind: ValidatorKind) {
    let count = |field| request.fields.values(field).count();
    let ranges = request.method == Method::Get && count(RequestField::Range) == 1;
    let range = parsed.field("Content-Range");
    match parsed.status {
        200 => {
            assert_eq!(range, None);
            assert_eq!(parsed.length(), Some(content.len()));
            if request.method == Method::Get {
                assert!(parsed.content == content, "not all of the content is sent");
            }
        }
        206 => {
            assert!(ranges, "206 without a range request");
            match range {
                Some(range) => {
                    let (first, last) = check_place(range, content);
                    assert!(
                        parsed.content == &content[first..=last],
                        "content is not {range}"
                    );
                }
                None => check_parts(parsed, content),
            }
        }
        304 => {
            let since = count(RequestField::IfModifiedSince) == 1
                && matches!(kind, ValidatorKind::StrongDate);
            assert!(
                count(RequestField::IfNoneMatch) > 0 || since,
                "304 without a condition"
            );
        }
        412 => {
            let since = count(RequestField::IfUnmodifiedSince) == 1
                && !matches!(kind, ValidatorKind::Nothing);
            assert!(
                count(RequestField::IfMatch) > 0 || since,
                "412 without a precondition"
            );
        }
        416 => {
            assert!(ranges, "416 without a range request");
            assert_eq!(range, Some(&*format!("bytes */{}", content.len())));
        }
        other => panic!("unexpected status {other}"),
    }
    let is_about_it = matches!(parsed.status, 200 | 206 | 304);
    let has_tag = is_about_it && matches!(kind, ValidatorKind::Tag);
    assert_eq!(parsed.field("ETag"), has_tag.then_some(TAG));
    let has_date = match kind {
        ValidatorKind::Nothing => false,
        ValidatorKind::Date | ValidatorKind::StrongDate => is_about_it,
        // A 304 with an entity tag needs no date.
        ValidatorKind::Tag => matches!(parsed.status, 200 | 206),
    };
    assert_eq!(parsed.field("Last-Modified"), has_date.then_some(DATE_TEXT));
}

/// Checks that a Content-Range lies within the content, and returns its first and last byte position.
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

/// Checks that a multipart response conforms to RFC 9110 section 14.6, and is shorter than the whole content.
fn check_parts(parsed: &ParsedResponse<'_>, content: &[u8]) {
    let boundary = parsed.boundary().expect("several parts");
    // RFC 2046 section 5.1.1, without characters that would have to be quoted (RFC 9110 section 5.6.6).
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'+_-.".contains(&byte);
    assert!(
        (1..=70).contains(&boundary.len()) && boundary.bytes().all(is_plain),
        "{boundary}"
    );
    assert!(
        parsed.content.len() < content.len(),
        "the whole content would be shorter"
    );

    let delimiter = format!("\r\n--{boundary}");
    let next = "a part begins with the delimiter";
    let mut rest = parsed
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
            panic!("a part has Content-Type and Content-Range, not {fields:?}");
        };
        let range = range
            .strip_prefix("Content-Range: ")
            .expect("a Content-Range");
        let (first, last) = check_place(range, content);
        let (part, behind) = rest[end + 4..]
            .split_at_checked(last - first + 1)
            .expect("a part");
        assert!(part == &content[first..=last], "the part is not {range}");
        rest = behind.strip_prefix(delimiter.as_bytes()).expect(next);
        ranges.push((first, last));
    }
    assert!((2..=32).contains(&ranges.len()), "{} parts", ranges.len());
    ranges.sort_unstable();
    let apart = |pair: &[(usize, usize)]| pair[0].1 + 1 < pair[1].0;
    assert!(
        ranges.windows(2).all(apart),
        "parts overlap or touch: {ranges:?}"
    );
}
