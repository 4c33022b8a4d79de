//! A request's head, as received.

use super::syntax::list_elements;

/// A request's head, borrowed from the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Request method.
    pub method: Method<'a>,
    /// Request target as it was sent (RFC 9112 section 3.2).
    pub target: &'a str,
    /// HTTP version.
    pub version: Version,
    /// Field lines in the order received.
    pub lines: &'a [FieldLine<'a>],
}

/// A request method (RFC 9110 section 9), classified by its treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// OPTIONS.
    Options,
    /// A method that RFC 9110 or RFC 5789 defines, but a file server does not support.
    Unsupported(&'a str),
    /// A method that docroot does not know.
    Unknown(&'a str),
}

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A field line: the name as it was sent, and the value without surrounding white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine<'a> {
    /// Field name; to be compared without regard to case.
    pub name: &'a str,
    /// Field value: any bytes but control characters, tabs excepted.
    pub value: &'a [u8],
}

/// Error: several lines of a field that may occur only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatedField;

impl<'a> Request<'a> {
    /// Iterates over the values of all lines with this name, in order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |line: &&FieldLine<'_>| line.name.eq_ignore_ascii_case(name);
        self.lines.iter().filter(named).map(|line| line.value)
    }

    /// Returns the value of a field that may occur only once.
    ///
    /// # Errors
    /// [`RepeatedField`] if there are several lines with this name.
    pub fn single(&self, name: &str) -> Result<Option<&'a [u8]>, RepeatedField> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            _ => Err(RepeatedField),
        }
    }

    /// Iterates over the elements of a list field, over all its lines in order (RFC 9110 section 5.3).
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name).flat_map(list_elements)
    }

    /// Whether a list field has this element, without regard to case.
    #[must_use]
    pub fn list_has(&self, name: &str, element: &str) -> bool {
        self.list(name)
            .any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }
}

#[cfg(test)]
impl<'a> FieldLine<'a> {
    /// Creates field lines from names and values.
    pub(crate) fn from_pairs(lines: &[(&'a str, &'a str)]) -> Vec<Self> {
        let line = |&(name, value): &(&'a str, &'a str)| Self {
            name,
            value: value.as_bytes(),
        };
        lines.iter().map(line).collect()
    }
}

impl<'a> Method<'a> {
    /// Returns the method of this name. Method names are case-sensitive.
    #[must_use]
    pub fn from_name(name: &'a str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "POST" | "PUT" | "DELETE" | "CONNECT" | "TRACE" | "PATCH" => Self::Unsupported(name),
            _ => Self::Unknown(name),
        }
    }

    /// Name of the method.
    #[must_use]
    pub fn name(&self) -> &'a str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Unsupported(name) | Self::Unknown(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request {
        method: Method::Get,
        target: "/",
        version: Version::Http11,
        lines: &[
            FieldLine {
                name: "Host",
                value: b"a",
            },
            FieldLine {
                name: "connection",
                value: b"keep-alive, Upgrade",
            },
            FieldLine {
                name: "CONNECTION",
                value: b"close",
            },
        ],
    };

    #[test]
    fn single_rejects_repeated_field_lines() {
        assert_eq!(REQUEST.single("host"), Ok(Some(&b"a"[..])));
        assert_eq!(REQUEST.single("Range"), Ok(None));
        assert_eq!(REQUEST.single("Connection"), Err(RepeatedField));
    }

    #[test]
    fn list_joins_all_field_lines() {
        let all: Vec<&[u8]> = REQUEST.list("Connection").collect();
        assert_eq!(all, [&b"keep-alive"[..], b"Upgrade", b"close"]);
        assert!(REQUEST.list_has("Connection", "Close"));
        assert!(!REQUEST.list_has("Connection", "clos"));
    }

    #[test]
    fn method_names_are_case_sensitive() {
        assert_eq!(Method::from_name("GET"), Method::Get);
        assert_eq!(Method::from_name("get"), Method::Unknown("get"));
        assert_eq!(Method::from_name("TRACE"), Method::Unsupported("TRACE"));
    }
}
