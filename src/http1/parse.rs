//! Parsing of a request's head (RFC 9112 sections 2 to 5): the request line by the `httparse` crate.

use super::field_lines::{self, ParsedLines, split_at_byte};
use crate::http::{Method, Request, RequestFields, Status, Version};

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
    // httparse would skip any number of empty lines.
    if let [b'\r', _, ..] | [b'\n', ..] = readable {
        return Err(ParseError::Malformed);
    }
    let is_full = bytes.len() >= max_bytes;
    let (line, rest) = split_at_byte(readable, b'\n');
    let mut head = httparse::Request::new(&mut []);
    // Without its field lines, a head is incomplete at best.
    let version = match head.parse(line) {
        Ok(_) => head.version,
        // The request line is well-formed up to its version.
        Err(httparse::Error::Version) if rest.is_empty() => None,
        Err(httparse::Error::Version) => Some(later_minor_version(line)?),
        Err(_) => return Err(ParseError::Malformed),
    };
    if rest.is_empty() {
        return match is_full {
            true => Err(ParseError::TargetTooLong),
            false => Ok(Parsed::Partial),
        };
    }
    let (Some(method), Some(target), Some(version), Some(b'\r')) =
        (head.method, head.path, version, line.last())
    else {
        return Err(ParseError::Malformed);
    };
    let length = match field_lines::parse(readable, line.len() + 1, lines) {
        ParsedLines::Complete(length) => length,
        ParsedLines::Partial if !is_full => return Ok(Parsed::Partial),
        ParsedLines::Partial | ParsedLines::TooMany => return Err(ParseError::HeadTooLarge),
        ParsedLines::Malformed => return Err(ParseError::Malformed),
    };
    let request = Request {
        method: Method::from_name(method),
        target,
        version: match version {
            0 => Version::Http10,
            _ => Version::Http11,
        },
        fields: RequestFields::new(lines),
    };
    Ok(Parsed::Complete { request, length })
}

/// Returns the minor version of a request line whose version is later than HTTP/1.1, if it is to be processed as
/// HTTP/1.1: a later minor version has the same semantics (RFC 9110 section 2.5).
fn later_minor_version(line: &[u8]) -> Result<u8, ParseError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line
        .splitn(3, |&byte| byte == b' ')
        .nth(2)
        .unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(1),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(ParseError::UnsupportedVersion)
        }
        _ => Err(ParseError::Malformed),
    }
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
