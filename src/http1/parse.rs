//! Parsing of a request's head (RFC 9112 sections 2 to 5), by the `httparse` crate.

use std::mem::MaybeUninit;

use arrayvec::ArrayVec;

use crate::http::{FieldLine, Method, Request, RequestFields, Status, Version};

/// Number of field lines that a head may have.
pub const MAX_FIELD_LINES: usize = 100;

/// Buffer for a head's field lines: on the stack, and not initialized.
pub type FieldLines<'a> = ArrayVec<FieldLine<'a>, MAX_FIELD_LINES>;

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
/// [`ParseError`], as soon as no continuation could make the bytes a valid request; for a line that ends in LF alone,
/// once the head is complete.
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
    let mut headers = [const { MaybeUninit::uninit() }; MAX_FIELD_LINES];
    let mut no_headers = [httparse::EMPTY_HEADER; 0];
    let mut head = httparse::Request::new(&mut no_headers);
    let (length, version) = match head.parse_with_uninit_headers(readable, &mut headers) {
        Ok(httparse::Status::Complete(length)) => {
            lines.extend(head.headers.iter().map(field_line));
            (length, head.version)
        }
        // The request line is well-formed up to its version.
        Err(httparse::Error::Version) => match later_minor_version(readable, is_full)? {
            Some(end) => match field_lines(readable, end, lines)? {
                Some(length) => (length, Some(1)),
                None if is_full => return Err(ParseError::HeadTooLarge),
                None => return Ok(Parsed::Partial),
            },
            None => return Ok(Parsed::Partial),
        },
        Ok(httparse::Status::Partial) if is_full => return Err(too_large_error(readable)),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(error.into()),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, version) else {
        return Err(ParseError::Malformed);
    };
    if has_bare_line_feed(readable.get(..length).unwrap_or_default(), lines) {
        return Err(ParseError::Malformed);
    }
    let version = match version {
        0 => Version::Http10,
        _ => Version::Http11,
    };
    let request = Request {
        method: Method::from_name(method),
        target,
        version,
        fields: RequestFields::new(lines),
    };
    Ok(Parsed::Complete { request, length })
}

impl From<httparse::Error> for ParseError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::HeadTooLarge,
            _ => Self::Malformed,
        }
    }
}

fn field_line<'h>(header: &httparse::Header<'h>) -> FieldLine<'h> {
    FieldLine {
        name: header.name,
        value: header.value,
    }
}

/// Parses the field lines after a request line that ends at `start`. Returns the end of the head, if it is complete.
fn field_lines<'h>(
    head: &'h [u8],
    start: usize,
    lines: &mut FieldLines<'h>,
) -> Result<Option<usize>, ParseError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELD_LINES];
    let rest = head.get(start..).unwrap_or_default();
    match httparse::parse_headers(rest, &mut headers)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete((length, headers)) => {
            lines.extend(headers.iter().map(field_line));
            Ok(Some(start + length))
        }
    }
}

/// Whether a line ends in LF alone. A recipient may accept that as the end of a line (RFC 9112 section 2.2), and
/// another may not: a request could be smuggled between the two. `lines` are those of this head, which ends in LF.
fn has_bare_line_feed(head: &[u8], lines: &[FieldLine<'_>]) -> bool {
    // Each line begins where the one before it ends, and the name of a field is the first on its line.
    let start = head.as_ptr().addr();
    let starts = lines.iter().map(|line| line.name.as_ptr().addr() - start);
    let is_bare = |end: usize| {
        head.get(..end)
            .is_none_or(|before| !before.ends_with(b"\r\n"))
    };
    starts.into_iter().any(is_bare) || !head.ends_with(b"\r\n\r\n")
}

/// Decides which part of a head that reaches the limit is too long.
fn too_large_error(head: &[u8]) -> ParseError {
    if head.contains(&b'\n') {
        ParseError::HeadTooLarge
    } else {
        ParseError::TargetTooLong
    }
}

/// Returns the end of a request line whose version is later than HTTP/1.1, if it is to be processed as HTTP/1.1: a
/// later minor version has the same semantics (RFC 9110 section 2.5). The whole line is needed to decide.
fn later_minor_version(head: &[u8], is_full: bool) -> Result<Option<usize>, ParseError> {
    let Some(end) = head.iter().position(|&byte| byte == b'\n') else {
        return match is_full {
            true => Err(ParseError::TargetTooLong),
            false => Ok(None),
        };
    };
    let line = head.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line
        .splitn(3, |&byte| byte == b' ')
        .nth(2)
        .unwrap_or_default();
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Some(end + 1)),
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
