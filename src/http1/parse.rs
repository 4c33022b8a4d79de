//! Parsing of a request's head (RFC 9112 sections 2 to 5).

use super::field_lines::{self, ParsedLines, split_at};
use crate::http::{Method, Request, RequestFields, Status, Version, is_token};

pub use super::field_lines::{FieldLines, MAX_FIELD_LINES};

/// Result of parsing.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An incomplete head; more bytes are needed.
    Partial,
    /// A complete head: the first `length` bytes.
    Complete {
        /// Request.
        request: Request<'a>,
        /// Length of the head in bytes, including the empty line at its end.
        length: usize,
    },
}

/// Reason why the bytes are not a valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They violate the syntax of RFC 9112.
    Malformed,
    /// A major version of HTTP other than 1.
    UnsupportedVersion,
    /// The request line alone exceeds the limit for a head.
    TargetTooLong,
    /// The head exceeds the limit, or has too many field lines.
    HeadTooLarge,
}

impl ParseError {
    /// Status of the response.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Malformed => Status::BadRequest,
            Self::UnsupportedVersion => Status::HttpVersionNotSupported,
            Self::TargetTooLong => Status::UriTooLong,
            Self::HeadTooLarge => Status::RequestHeaderFieldsTooLarge,
        }
    }

    /// Reason, as a sentence for the client.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "This is not a well-formed HTTP request.",
            Self::UnsupportedVersion => "This server speaks HTTP/1.1 and HTTP/1.0.",
            Self::TargetTooLong => "The request's target is too long.",
            Self::HeadTooLarge => "The request has more header fields than this server reads.",
        }
    }
}

/// Parses one request head from the front of `bytes`, which may have any length; a head may have at most `max_bytes`
/// bytes. `lines` must be empty.
///
/// The result does not depend on how the bytes arrive: a longer prefix of the same stream gives the same result, unless
/// the shorter one gave [`Parsed::Partial`].
///
/// # Errors
/// [`ParseError`], as soon as no continuation could make the bytes a valid request.
pub fn request<'h: 'l, 'l>(
    bytes: &'h [u8],
    max_bytes: usize,
    lines: &'l mut FieldLines<'h>,
) -> Result<Parsed<'l>, ParseError> {
    let readable = bytes.get(..max_bytes).unwrap_or(bytes);
    let is_full = bytes.len() >= max_bytes;
    let (method, target, version, rest) = match split_request_line(readable)? {
        Some(split) => split,
        None if is_full => return Err(ParseError::TargetTooLong),
        None => return Ok(Parsed::Partial),
    };
    let length = match field_lines::parse(readable, readable.len() - rest.len(), lines) {
        ParsedLines::Complete(length) => length,
        ParsedLines::Partial if !is_full => return Ok(Parsed::Partial),
        ParsedLines::Partial | ParsedLines::TooMany => return Err(ParseError::HeadTooLarge),
        ParsedLines::Malformed => return Err(ParseError::Malformed),
    };
    let request = Request {
        method: Method::from_name(method),
        target,
        version,
        fields: RequestFields::new(lines),
    };
    Ok(Parsed::Complete { request, length })
}

/// Method, target, version, and the bytes behind the request line.
type RequestLine<'a> = (&'a str, &'a str, Version, &'a [u8]);

/// Splits the request line off (RFC 9112 section 3). `None`: more bytes are needed.
fn split_request_line(text: &[u8]) -> Result<Option<RequestLine<'_>>, ParseError> {
    let (method, after) = match text.strip_prefix(b"GET ") {
        Some(after) => ("GET", after),
        None => match split_at(text, |byte| !is_token(&[byte])) {
            // A token is ASCII.
            (method @ [_, ..], [b' ', after @ ..]) => {
                (str::from_utf8(method).unwrap_or_default(), after)
            }
            (_, []) | ([], [b'\r']) => return Ok(None),
            _ => return Err(ParseError::Malformed),
        },
    };
    let (target, after) = match split_at(after, |byte| byte <= b' ' || byte == 0x7f) {
        (target @ [_, ..], [b' ', after @ ..]) => (target, after),
        (_, []) => return Ok(None),
        _ => return Err(ParseError::Malformed),
    };
    let target = str::from_utf8(target).map_err(|_| ParseError::Malformed)?;
    let version = match after.strip_prefix(b"HTTP/1.1\r\n") {
        Some(rest) => Some((Version::Http11, rest)),
        None => split_version(after)?,
    };
    Ok(version.map(|(version, rest)| (method, target, version, rest)))
}

/// Splits any version off, with the end of its line. `None`: more bytes are needed.
///
/// A later minor version of HTTP/1 has the same semantics as HTTP/1.1 (RFC 9110 section 2.5).
fn split_version(text: &[u8]) -> Result<Option<(Version, &[u8])>, ParseError> {
    let (line, rest) = split_at(text, |byte| byte == b'\n');
    let number = line.strip_prefix(b"HTTP/").unwrap_or_default();
    let version = match (number, rest) {
        ([b'1', b'.', b'0', b'\r'], [_, ..]) => Version::Http10,
        ([b'1', b'.', b'1'..=b'9', b'\r'], [_, ..]) => Version::Http11,
        ([b'1', b'.', b'0' | b'1'] | [b'1', b'.', b'0' | b'1', b'\r'], []) => return Ok(None),
        ([b'1', b'.', b'0' | b'1', ..], _) => return Err(ParseError::Malformed),
        (_, []) => return Ok(None),
        (
            [b'0' | b'2'..=b'9', b'.', b'0'..=b'9']
            | [b'0' | b'2'..=b'9', b'.', b'0'..=b'9', b'\r'],
            _,
        ) => return Err(ParseError::UnsupportedVersion),
        _ => return Err(ParseError::Malformed),
    };
    Ok(Some((version, rest.get(1..).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_HEAD_BYTES: usize = 256;

    /// Asserts the result of parsing, and that it is the same for every prefix.
    fn check(bytes: &[u8], expected: Result<Option<(&str, &str, usize)>, ParseError>) {
        let found = parse_at_every_cut(bytes, MAX_HEAD_BYTES);
        let expected = expected.map(|whole| {
            whole.map(|(method, target, lines)| (method.to_owned(), target.to_owned(), lines))
        });
        assert_eq!(found, expected, "{}", bytes.escape_ascii());
    }

    type ParseResult = Result<Option<(String, String, usize)>, ParseError>;

    fn parse_at_every_cut(bytes: &[u8], max_bytes: usize) -> ParseResult {
        let whole = parse(bytes, max_bytes);
        for cut in 0..bytes.len() {
            let part = parse(&bytes[..cut], max_bytes);
            assert!(
                part == Ok(None) || part == whole,
                "cut at {cut}: {}",
                bytes.escape_ascii()
            );
        }
        whole
    }

    fn parse(bytes: &[u8], max_bytes: usize) -> ParseResult {
        match request(bytes, max_bytes, &mut FieldLines::new())? {
            Parsed::Partial => Ok(None),
            Parsed::Complete { request, length } => {
                assert!(length <= max_bytes);
                let method = request.method.name().to_owned();
                Ok(Some((
                    method,
                    request.target.to_owned(),
                    request.fields.lines().len(),
                )))
            }
        }
    }

    #[test]
    fn valid_heads_are_parsed() {
        check(b"GET / HTTP/1.1\r\n\r\n", Ok(Some(("GET", "/", 0))));
        check(
            b"GET /a?b HTTP/1.0\r\nHost: a\r\nB:\r\n\r\nrest",
            Ok(Some(("GET", "/a?b", 2))),
        );
        check(
            b"GET /a HTTP/1.7\r\nHost: a\r\nB: c\r\n\r\nrest",
            Ok(Some(("GET", "/a", 2))),
        );
        check(
            b"GET / HTTP/1.1\r\nHost:\ta \t\r\n\r\n",
            Ok(Some(("GET", "/", 1))),
        );
        check(b"", Ok(None));
        check(b"GET / HTTP/1.1\r\nHost: a\r\n", Ok(None));
    }

    #[test]
    fn malformed_heads_are_refused() {
        for malformed in [
            &b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
            b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            b"GET / HTTP/1.1\r\n: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA\r\n\r\n",
            b"GET / HTTP/1.1\rHost: a\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.7\nHost: a\r\n\r\n",
            b"GET / HTTP/1.7\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET /a b HTTP/1.1\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTCPCP/1.0\r\n\r\n",
            b"GET / HTTP/11\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"\nGET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ] {
            check(malformed, Err(ParseError::Malformed));
        }
        check(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Err(ParseError::UnsupportedVersion),
        );
        check(
            b"GET / HTTP/3.1\r\n\r\n",
            Err(ParseError::UnsupportedVersion),
        );
    }

    #[test]
    fn head_size_is_bounded() {
        let long = |count| [&b"GET /"[..], &vec![b'a'; count], b" HTTP/1.1\r\n\r\n"].concat();
        assert!(matches!(
            parse_at_every_cut(&long(238), MAX_HEAD_BYTES),
            Ok(Some(_))
        ));
        check(&long(239), Err(ParseError::HeadTooLarge));
        check(&long(252), Err(ParseError::TargetTooLong));
        for version in [1, 7] {
            let lines = |count| {
                let line = format!("GET / HTTP/1.{version}\r\n");
                [line.as_bytes(), &b"a:\r\n".repeat(count), b"\r\n"].concat()
            };
            assert!(matches!(
                parse_at_every_cut(&lines(100), 4096),
                Ok(Some((_, _, 100)))
            ));
            assert_eq!(
                parse_at_every_cut(&lines(101), 4096),
                Err(ParseError::HeadTooLarge)
            );
            assert_eq!(
                parse_at_every_cut(&lines(80), MAX_HEAD_BYTES),
                Err(ParseError::HeadTooLarge)
            );
        }
    }

    proptest! {
        #[test]
        fn request_line_is_that_of_httparse(
            text in "(GET|POST|X_1) ?(/|a|\\?| |\0|\u{7f}|\u{e9}|~){0,4}( |\0)?(HTTP/1\\.[01]|H|1){0,2}(\r|\r\n|a){0,2}"
        ) {
            let mut head = httparse::Request::new(&mut []);
            let expected = head.parse(text.as_bytes());
            match split_request_line(text.as_bytes()) {
                Ok(Some((method, target, version, _))) => {
                    prop_assert_eq!((head.method, head.path), (Some(method), Some(target)));
                    prop_assert_eq!(head.version, Some(u8::from(version == Version::Http11)));
                }
                // An unfinished version is wrong only once its line ends.
                Ok(None) => prop_assert!(matches!(
                    expected,
                    Ok(httparse::Status::Partial) | Err(httparse::Error::Version)
                )),
                Err(_) => prop_assert!(expected.is_err()),
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_at_every_cut(&bytes, MAX_HEAD_BYTES);
        }

        #[test]
        fn fragments_of_heads_never_panic(
            text in "(GET|POST|/|/%2e| |  |HTTP/1\\.[0-9]|HTTP/2\\.0|\r\n|\n|\r|:|Host: a|\t|\0|é|x){0,40}"
        ) {
            let _ = parse_at_every_cut(text.as_bytes(), MAX_HEAD_BYTES);
        }
    }
}
