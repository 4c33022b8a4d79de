//! Answers, as a client reads them that trusts nothing.

use std::ops::Range;

/// One answer.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// Names and values in their order.
    pub fields: Vec<(&'a str, &'a str)>,
    /// The content, if any was sent.
    pub content: &'a [u8],
    /// Where it stands in what was said.
    pub at: Range<usize>,
}

impl<'a> Answer<'a> {
    /// The value of a field that comes at most once.
    ///
    /// # Panics
    /// When it comes twice.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let named = |(other, _): &&(&str, &str)| other.eq_ignore_ascii_case(name);
        let mut values = self.fields.iter().filter(named).map(|(_, value)| *value);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    /// Whether it is not the last answer to its request.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The length that it promises.
    ///
    /// # Panics
    /// When that is no number.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        let length = self.field("Content-Length");
        length.map(|length| length.parse().expect("a length is a number"))
    }

    /// The boundary of its parts, if it has several.
    #[must_use]
    pub fn boundary(&self) -> Option<&'a str> {
        self.field("Content-Type")?
            .strip_prefix("multipart/byteranges; boundary=")
    }
}

/// All answers in what was said. No content that is served here begins like an answer, so where one
/// follows a head at once the content was withheld, as it is from HEAD.
///
/// # Panics
/// When there is anything else.
pub fn answers(said: &[u8]) -> Vec<Answer<'_>> {
    let mut answers = Vec::new();
    let mut rest = said;
    while !rest.is_empty() {
        let start = said.len() - rest.len();
        let (mut answer, behind) = head(rest);
        assert!((100..600).contains(&answer.status), "{}", answer.status);
        if answer.is_interim() {
            assert!(
                answer.fields.is_empty(),
                "an interim answer says nothing else"
            );
        } else {
            assert!(answer.field("Date").is_some(), "an answer has a date");
        }
        let length = answer.length();
        // RFC 9110 section 8.6; a 304 would have to have the length that a 200 has.
        let none = answer.is_interim() || matches!(answer.status, 204 | 304);
        assert_eq!(
            length.is_none(),
            none,
            "{} has a length: {length:?}",
            answer.status
        );
        let withheld = behind.is_empty() || behind.starts_with(b"HTTP/1.1 ");
        let length = length.filter(|_| !withheld).unwrap_or_default();
        (answer.content, rest) = behind
            .split_at_checked(length)
            .expect("all that was promised");
        answer.at = start..said.len() - rest.len();
        answers.push(answer);
    }
    answers
}

/// The head at the front, and what is behind it.
fn head(said: &[u8]) -> (Answer<'_>, &[u8]) {
    let ends = |bytes: &[u8]| bytes == b"\r\n\r\n";
    let end = said.windows(4).position(ends).expect("a head has an end");
    let (head, rest) = said.split_at(end);
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let mut lines = head.split("\r\n");
    let code = lines.next().and_then(|line| {
        let (code, reason) = line.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
        (!reason.is_empty()).then_some(code)?.parse().ok()
    });
    let fields = lines.map(|line| {
        let plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        assert!(line.bytes().all(plain), "a field line is plain: {line:?}");
        line.split_once(": ").expect("a name and a value")
    });
    let answer = Answer {
        status: code.expect("a status line"),
        fields: fields.collect(),
        content: &[],
        at: 0..0,
    };
    (answer, &rest[4..])
}

/// The same with every boundary of parts written as hyphens: it is chosen anew for each answer.
///
/// # Panics
/// When these are no answers.
#[must_use]
pub fn unbounded(said: &[u8]) -> Vec<u8> {
    let mut unbounded = said.to_vec();
    for answer in answers(said) {
        let Some(boundary) = answer.boundary().filter(|boundary| !boundary.is_empty()) else {
            continue;
        };
        let mut rest = &mut unbounded[answer.at];
        while let Some(at) = find(rest, boundary.as_bytes()) {
            let (found, behind) = rest[at..].split_at_mut(boundary.len());
            found.fill(b'-');
            rest = behind;
        }
    }
    unbounded
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|at| at == what)
}
