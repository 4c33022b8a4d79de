//! Strict parser of responses, as a client that trusts nothing would read them.

use std::ops::Range;

/// Response that was parsed.
#[derive(Debug)]
pub struct ParsedResponse<'a> {
    /// Status code.
    pub status: u16,
    /// Field names and values, in order.
    pub fields: Vec<(&'a str, &'a str)>,
    /// Content; empty if none was sent.
    pub content: &'a [u8],
    /// Byte range of the response in the output.
    pub at: Range<usize>,
}

impl<'a> ParsedResponse<'a> {
    /// Returns the value of a field that occurs at most once.
    ///
    /// # Panics
    /// Panics if the field occurs twice.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let named = |(other, _): &&(&str, &str)| other.eq_ignore_ascii_case(name);
        let mut values = self.fields.iter().filter(named).map(|(_, value)| *value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    /// Whether this is an interim (1xx) response.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// Returns the value of Content-Length.
    ///
    /// # Panics
    /// Panics if that is not a number.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        let length = self.field("Content-Length");
        length.map(|length| length.parse().expect("a length is a number"))
    }

    /// Returns the boundary of a multipart response.
    #[must_use]
    pub fn boundary(&self) -> Option<&'a str> {
        self.field("Content-Type")?
            .strip_prefix("multipart/byteranges; boundary=")
    }
}

/// Parses all responses in the output. No content that is served here begins like a response, so a head that is
/// followed by another one has no content, as in responses to HEAD.
///
/// # Panics
/// Panics if there is anything else, or if a response is malformed.
pub fn parse_responses(output: &[u8]) -> Vec<ParsedResponse<'_>> {
    let mut responses = Vec::new();
    let mut rest = output;
    while !rest.is_empty() {
        let start = output.len() - rest.len();
        let (mut response, behind) = head(rest);
        assert!((100..600).contains(&response.status), "{}", response.status);
        if response.is_interim() {
            assert!(response.fields.is_empty(), "an interim response has fields");
        } else {
            assert!(response.field("Date").is_some(), "a response has no date");
        }
        let length = response.length();
        // RFC 9110 section 8.6; a Content-Length in a 304 would have to be that of the 200.
        let none = response.is_interim() || matches!(response.status, 204 | 304);
        assert_eq!(
            length.is_none(),
            none,
            "{} has a length: {length:?}",
            response.status
        );
        let has_no_content = behind.is_empty() || behind.starts_with(b"HTTP/1.1 ");
        let length = length.filter(|_| !has_no_content).unwrap_or_default();
        (response.content, rest) = behind
            .split_at_checked(length)
            .expect("content of the length in Content-Length");
        response.at = start..output.len() - rest.len();
        responses.push(response);
    }
    responses
}

/// Parses the head at the front, and returns it with the bytes after it.
fn head(output: &[u8]) -> (ParsedResponse<'_>, &[u8]) {
    let ends = |bytes: &[u8]| bytes == b"\r\n\r\n";
    let end = output.windows(4).position(ends).expect("a head has an end");
    let (head, rest) = output.split_at(end);
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let mut lines = head.split("\r\n");
    let code = lines.next().and_then(|line| {
        let (code, reason) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
        (!reason.is_empty()).then_some(code)?.parse().ok()
    });
    let fields = lines.map(|line| {
        let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        assert!(
            line.bytes().all(plain),
            "a field line has other characters: {line:?}"
        );
        line.split_once(": ").expect("a name and a value")
    });
    let response = ParsedResponse {
        status: code.expect("a status line"),
        fields: fields.collect(),
        content: &[],
        at: 0..0,
    };
    (response, &rest[4..])
}

/// Replaces each multipart boundary by hyphens, as every response has a new one.
///
/// # Panics
/// Panics if the output is not a sequence of responses.
#[must_use]
pub fn mask_boundaries(output: &[u8]) -> Vec<u8> {
    let mut mask_boundaries = output.to_vec();
    for response in parse_responses(output) {
        let Some(boundary) = response.boundary().filter(|boundary| !boundary.is_empty()) else {
            continue;
        };
        let mut rest = &mut mask_boundaries[response.at];
        while let Some(at) = find(rest, boundary.as_bytes()) {
            let (found, behind) = rest[at..].split_at_mut(boundary.len());
            found.fill(b'-');
            rest = behind;
        }
    }
    mask_boundaries
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|at| at == what)
}
