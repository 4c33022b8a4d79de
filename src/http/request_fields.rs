//! A request's field lines, and where those are that docroot reads: found in one pass.

use super::syntax::list_elements;

/// Number of field lines that are read; any behind them are ignored. (A parser accepts fewer.)
const MAX_LINES: usize = 127;

/// Mark of a field that occurs on several lines.
const REPEATED: u8 = 0x80;

/// A field line: the name as it was sent, and the value without surrounding white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine<'a> {
    /// Field name, a token; to be compared without regard to case.
    pub name: &'a [u8],
    /// Field value: any bytes but control characters, tabs excepted.
    pub value: &'a [u8],
}

/// A field that docroot reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as in its RFC")]
pub enum RequestField {
    Accept,
    AcceptEncoding,
    AccessControlRequestHeaders,
    AccessControlRequestMethod,
    Authorization,
    Connection,
    ContentLength,
    Expect,
    Forwarded,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    Origin,
    Range,
    Referer,
    SecFetchDest,
    SecFetchMode,
    TransferEncoding,
    UserAgent,
    XForwardedFor,
}

/// Field lines of a request, in the order received, with an index of the fields that docroot reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFields<'a> {
    lines: &'a [FieldLine<'a>],
    /// Number of the first line of each [`RequestField`], from 1, with [`REPEATED`]; 0 if there is none.
    index: [u8; RequestField::COUNT],
}

/// Error: several lines of a field that may occur only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedField;

impl RequestField {
    const COUNT: usize = Self::XForwardedFor as usize + 1;

    /// Returns the field of this name, which is a token; `None` if docroot does not read it.
    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name.len() {
            4 if is(name, b"host") => Self::Host,
            5 if is(name, b"range") => Self::Range,
            6 if is(name, b"accept") => Self::Accept,
            6 if is(name, b"expect") => Self::Expect,
            6 if is(name, b"origin") => Self::Origin,
            7 if is(name, b"referer") => Self::Referer,
            8 if is(name, b"if-match") => Self::IfMatch,
            8 if is(name, b"if-range") => Self::IfRange,
            9 if is(name, b"forwarded") => Self::Forwarded,
            10 if is(name, b"connection") => Self::Connection,
            10 if is(name, b"user-agent") => Self::UserAgent,
            13 if is(name, b"authorization") => Self::Authorization,
            13 if is(name, b"if-none-match") => Self::IfNoneMatch,
            14 if is(name, b"content-length") => Self::ContentLength,
            14 if is(name, b"sec-fetch-dest") => Self::SecFetchDest,
            14 if is(name, b"sec-fetch-mode") => Self::SecFetchMode,
            15 if is(name, b"accept-encoding") => Self::AcceptEncoding,
            15 if is(name, b"x-forwarded-for") => Self::XForwardedFor,
            17 if is(name, b"if-modified-since") => Self::IfModifiedSince,
            17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
            19 if is(name, b"if-unmodified-since") => Self::IfUnmodifiedSince,
            29 if is(name, b"access-control-request-method") => Self::AccessControlRequestMethod,
            30 if is(name, b"access-control-request-headers") => Self::AccessControlRequestHeaders,
            _ => return None,
        })
    }
}

/// Whether a token is this name without regard to case. The name is in lower case, has letters and hyphens only (no
/// other character of a token differs from one of them in that bit alone), and at least four.
fn is<const N: usize>(token: &[u8], name: &[u8; N]) -> bool {
    let Ok(token) = <&[u8; N]>::try_from(token) else {
        return false;
    };
    let eight = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | u64::from_le_bytes([0x20; 8]);
    let four = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) | u32::from_le_bytes([0x20; 4]);
    // The last word overlaps the one before it.
    match (token.last_chunk(), name.last_chunk()) {
        (Some(token_end), Some(name_end)) => {
            let (words, name_words) = (token.as_chunks().0, name.as_chunks().0);
            let mut pairs = words.iter().zip(name_words);
            eight(token_end) == eight(name_end)
                && pairs.all(|(word, name_word)| eight(word) == eight(name_word))
        }
        _ => {
            token.first_chunk().map(four) == name.first_chunk().map(four)
                && token.last_chunk().map(four) == name.last_chunk().map(four)
        }
    }
}

impl<'a> RequestFields<'a> {
    /// Finds the fields on these lines.
    #[must_use]
    pub fn new(lines: &'a [FieldLine<'a>]) -> Self {
        let lines = lines.get(..MAX_LINES).unwrap_or(lines);
        let index = [0; RequestField::COUNT];
        let mut fields = Self { lines, index };
        for (number, line) in (1..).zip(lines) {
            if let Some(field) = RequestField::from_name(line.name)
                && let Some(entry) = fields.index.get_mut(field as usize)
            {
                *entry = match *entry {
                    0 => number,
                    first => first | REPEATED,
                };
            }
        }
        fields
    }

    /// All lines.
    #[must_use]
    pub fn lines(&self) -> &'a [FieldLine<'a>] {
        self.lines
    }

    /// Iterates over the values of all lines of a field, in order.
    pub fn values(&self, field: RequestField) -> impl Iterator<Item = &'a [u8]> {
        let (first, rest) = self.find(field);
        let is_same = move |line: &&FieldLine<'_>| {
            first.is_some_and(|first| first.name.eq_ignore_ascii_case(line.name))
        };
        let others = rest.iter().filter(is_same);
        first.into_iter().chain(others).map(|line| line.value)
    }

    /// Value of the first line of a field.
    #[must_use]
    pub fn first(&self, field: RequestField) -> Option<&'a [u8]> {
        self.find(field).0.map(|line| line.value)
    }

    /// Whether there is a line of a field.
    #[must_use]
    pub fn has(&self, field: RequestField) -> bool {
        self.entry(field) != 0
    }

    /// Returns the value of a field that may occur only once.
    ///
    /// # Errors
    /// [`RepeatedField`] if it is on several lines.
    pub fn single(&self, field: RequestField) -> Result<Option<&'a [u8]>, RepeatedField> {
        match self.entry(field) & REPEATED {
            0 => Ok(self.first(field)),
            _ => Err(RepeatedField),
        }
    }

    /// Iterates over the elements of a list field, over all its lines in order (RFC 9110 section 5.3).
    pub fn list(&self, field: RequestField) -> impl Iterator<Item = &'a [u8]> {
        self.values(field).flat_map(list_elements)
    }

    /// Whether a list field has this element, without regard to case.
    #[must_use]
    pub fn list_has(&self, field: RequestField, element: &str) -> bool {
        self.list(field)
            .any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }

    fn entry(&self, field: RequestField) -> u8 {
        self.index.get(field as usize).copied().unwrap_or_default()
    }

    /// First line of a field, and the lines among which others may be.
    fn find(&self, field: RequestField) -> (Option<&'a FieldLine<'a>>, &'a [FieldLine<'a>]) {
        let entry = self.entry(field);
        let Some(number) = usize::from(entry & !REPEATED).checked_sub(1) else {
            return (None, &[]);
        };
        let first = self.lines.get(number);
        let rest = match entry & REPEATED {
            0 => None,
            _ => self.lines.get(number + 1..),
        };
        (first, rest.unwrap_or_default())
    }
}

#[cfg(test)]
impl<'a> FieldLine<'a> {
    /// Creates field lines from names and values.
    pub(crate) fn from_pairs(lines: &[(&'a str, &'a str)]) -> Vec<Self> {
        let line = |&(name, value): &(&'a str, &'a str)| Self {
            name: name.as_bytes(),
            value: value.as_bytes(),
        };
        lines.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [(&str, RequestField); RequestField::COUNT] = [
        ("Accept", RequestField::Accept),
        ("Accept-Encoding", RequestField::AcceptEncoding),
        (
            "Access-Control-Request-Headers",
            RequestField::AccessControlRequestHeaders,
        ),
        (
            "Access-Control-Request-Method",
            RequestField::AccessControlRequestMethod,
        ),
        ("Authorization", RequestField::Authorization),
        ("Connection", RequestField::Connection),
        ("Content-Length", RequestField::ContentLength),
        ("Expect", RequestField::Expect),
        ("Forwarded", RequestField::Forwarded),
        ("Host", RequestField::Host),
        ("If-Match", RequestField::IfMatch),
        ("If-Modified-Since", RequestField::IfModifiedSince),
        ("If-None-Match", RequestField::IfNoneMatch),
        ("If-Range", RequestField::IfRange),
        ("If-Unmodified-Since", RequestField::IfUnmodifiedSince),
        ("Origin", RequestField::Origin),
        ("Range", RequestField::Range),
        ("Referer", RequestField::Referer),
        ("Sec-Fetch-Dest", RequestField::SecFetchDest),
        ("Sec-Fetch-Mode", RequestField::SecFetchMode),
        ("Transfer-Encoding", RequestField::TransferEncoding),
        ("User-Agent", RequestField::UserAgent),
        ("X-Forwarded-For", RequestField::XForwardedFor),
    ];

    #[test]
    fn field_is_found_by_its_name_in_any_case() {
        for (place, (name, field)) in NAMES.into_iter().enumerate() {
            assert_eq!(field as usize, place);
            let cases = [name.into(), name.to_lowercase(), name.to_uppercase()];
            for case in cases {
                assert_eq!(
                    RequestField::from_name(case.as_bytes()),
                    Some(field),
                    "{case}"
                );
            }
            // One character differs from the name.
            for index in 0..name.len() {
                let mut other = name.to_owned();
                other.replace_range(index..=index, "_");
                assert_eq!(RequestField::from_name(other.as_bytes()), None, "{other}");
            }
            assert_eq!(RequestField::from_name(&name.as_bytes()[1..]), None);
            assert_eq!(RequestField::from_name(format!("{name}s").as_bytes()), None);
        }
        assert_eq!(RequestField::from_name(b""), None);
    }

    fn check(then: impl FnOnce(RequestFields<'_>)) {
        let lines = FieldLine::from_pairs(&[
            ("Host", "a"),
            ("connection", "keep-alive, Upgrade"),
            ("X", "close"),
            ("CONNECTION", "close"),
        ]);
        then(RequestFields::new(&lines));
    }

    #[test]
    fn single_rejects_repeated_field_lines() {
        check(|fields| {
            assert_eq!(fields.single(RequestField::Host), Ok(Some(&b"a"[..])));
            assert_eq!(fields.single(RequestField::Range), Ok(None));
            assert_eq!(fields.single(RequestField::Connection), Err(RepeatedField));
            assert!(fields.has(RequestField::Connection) && !fields.has(RequestField::Range));
        });
    }

    #[test]
    fn list_joins_all_field_lines() {
        check(|fields| {
            let all: Vec<&[u8]> = fields.list(RequestField::Connection).collect();
            assert_eq!(all, [&b"keep-alive"[..], b"Upgrade", b"close"]);
            assert!(fields.list_has(RequestField::Connection, "Close"));
            assert!(!fields.list_has(RequestField::Connection, "clos"));
        });
    }
}
