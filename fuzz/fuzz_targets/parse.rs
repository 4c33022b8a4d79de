//! Fuzz target: the result of parsing a request head does not depend on how the input is cut.
#![no_main]

use docroot::http::{Request, Version, is_token};
use docroot::http1::parse::{self, FieldLines, ParseError, Parsed};
use libfuzzer_sys::fuzz_target;

/// Maximum size of a head, small so that inputs reach it often.
const MAX_HEAD_BYTES: usize = 256;

fuzz_target!(|bytes: &[u8]| {
    // Bytes further behind do not matter.
    let bytes = &bytes[..bytes.len().min(MAX_HEAD_BYTES + 16)];
    // The result is decided at the end of the head, or at its maximum size.
    let end = bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let decided = end.map_or(MAX_HEAD_BYTES, |end| MAX_HEAD_BYTES.min(end + 4));
    let mut lines = FieldLines::new();
    let whole = parse(bytes, &mut lines);
    for cut in 0..=bytes.len() {
        let mut lines = FieldLines::new();
        let part = parse(&bytes[..cut], &mut lines);
        let awaits = part == Ok(Parsed::Partial);
        assert!(
            awaits || part == whole,
            "the first {cut} bytes are {part:?}, all are {whole:?}"
        );
        assert!(
            !awaits || cut < decided,
            "more input is awaited after {cut} bytes"
        );
    }
    if let Ok(Parsed::Complete { request, length }) = &whole {
        assert!(*length <= MAX_HEAD_BYTES, "a head exceeds the maximum size");
        check(&bytes[..*length], request);
    }
});

fn parse<'h: 'l, 'l>(
    bytes: &'h [u8],
    lines: &'l mut FieldLines<'h>,
) -> Result<Parsed<'l>, ParseError> {
    parse::request(bytes, MAX_HEAD_BYTES, lines)
}

/// Checks that the head contains exactly this request, by parsing it again from its end, strictly by RFC 9112 section
/// 2.1.
fn check(head: &[u8], request: &Request<'_>) {
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    let lines = head
        .strip_suffix(b"\r\n\r\n")
        .expect("an empty line ends it");
    let mut lines = lines.split(|&byte| byte == b'\n').peekable();
    let mut next = || {
        let line = lines.next()?;
        let line = match lines.peek() {
            Some(_) => line.strip_suffix(b"\r").expect("CRLF ends a line"),
            None => line,
        };
        assert!(
            !line.iter().any(is_control),
            "a line has a control character"
        );
        Some(line)
    };

    let (method, target) = (request.method.name(), request.target);
    assert!(is_token(method.as_bytes()), "a method is a token");
    let plain = |byte: &u8| *byte > b' ' && *byte != 0x7f;
    assert!(!target.is_empty() && target.as_bytes().iter().all(plain));
    let version = next()
        .and_then(|line| line.strip_prefix(method.as_bytes())?.strip_prefix(b" "))
        .and_then(|line| line.strip_prefix(target.as_bytes())?.strip_prefix(b" "))
        .expect("method, target and version, with one space between them");
    match version {
        b"HTTP/1.0" => assert_eq!(request.version, Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => {
            assert_eq!(request.version, Version::Http11);
        }
        _ => panic!("version {} was accepted", version.escape_ascii()),
    }

    for line in request.fields.lines() {
        assert!(is_token(line.name), "a name is a token");
        let value = next()
            .and_then(|text| text.strip_prefix(line.name)?.strip_prefix(b":"))
            .expect("a field line is a name, a colon and a value");
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = value.iter().take_while(|byte| blank(byte)).count();
        let end = value
            .iter()
            .rposition(|byte| !blank(byte))
            .map_or(start, |last| last + 1);
        assert_eq!(
            value.get(start..end),
            Some(line.value),
            "a value is what is between white space"
        );
    }
    assert_eq!(next(), None, "every line is a field line");
}
