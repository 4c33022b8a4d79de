//! Fields that docroot generates.

use std::fmt::{self, Write as _};

use super::syntax::is_token;

/// A list of generated fields: names and values.
///
/// It is kept in one string, in the notation of HTTP/1.1 (RFC 9112 section 5), so that writing it costs one copy there:
/// `Name: value` and CRLF each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
}

impl Fields {
    /// Creates an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// Adds a line. Control characters in `value` become spaces, so that no value can end its line; a value that comes
    /// from a client must have been escaped by its own rules before.
    pub fn push(&mut self, name: &str, value: impl fmt::Display) {
        self.insert(self.text.len(), name, value);
    }

    /// Inserts a line at `place`, the offset of another line or of the end. Returns the line's length in bytes.
    pub(super) fn insert(&mut self, place: usize, name: &str, value: impl fmt::Display) -> usize {
        let before = self.text.len();
        self.text.push_str(name);
        self.text.push_str(": ");
        // Writing to a String cannot fail.
        let _ = write!(FieldValueWriter(&mut self.text), "{value}");
        self.text.push_str("\r\n");
        let len = self.text.len() - before;
        if place < before {
            let line = self.text.split_off(before);
            self.text.insert_str(place, &line);
        }
        len
    }

    /// Adds all lines of `others`.
    pub fn append(&mut self, others: &Self) {
        self.text.push_str(&others.text);
    }

    /// Iterates over the lines' names and values.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        split_lines(&self.text)
    }

    /// Removes every line of this name, without regard to case.
    pub fn remove(&mut self, name: &str) {
        let is_other = |line: &&str| match line.split_once(':') {
            Some((other, _)) => !other.eq_ignore_ascii_case(name),
            None => true,
        };
        if !self
            .text
            .split_inclusive("\r\n")
            .all(|line| is_other(&line))
        {
            self.text = self.text.split_inclusive("\r\n").filter(is_other).collect();
        }
    }

    /// Adds a line, for building in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.push(name, value);
        self
    }

    /// All lines, each with its CRLF.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Receiver of fields, in the order in which they are sent: the head of a message in some version of HTTP.
pub trait FieldSink {
    /// Adds a field.
    fn push(&mut self, name: &str, value: impl fmt::Display);

    /// Adds fields in the notation of HTTP/1.1, as [`Fields::as_str`] returns them. Other versions split them.
    fn push_lines(&mut self, lines: &str) {
        for (name, value) in split_lines(lines) {
            self.push(name, value);
        }
    }

    /// Adds Content-Length.
    fn push_length(&mut self, length: u64) {
        self.push("Content-Length", length);
    }
}

/// Splits fields in the notation of [`Fields`] into names and values.
fn split_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.split_terminator("\r\n");
    lines.filter_map(|line| line.split_once(": "))
}

/// A configured field name: a token (RFC 9110 section 5.1), so that it cannot end a line or begin a value. Names are
/// compared without regard to case.
#[derive(Clone, Debug, Eq)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// Creates a name, keeping its case. `None` if it is not a token.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        is_token(text.as_bytes()).then(|| Self(text.into()))
    }

    /// Name, in the case it was written in.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the name, without regard to case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name)
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

/// Writer that replaces control characters by spaces.
struct FieldValueWriter<'a>(&'a mut String);

impl fmt::Write for FieldValueWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut parts = text.split(|char: char| char.is_ascii_control());
        self.0.push_str(parts.next().unwrap_or_default());
        for part in parts {
            self.0.push(' ');
            self.0.push_str(part);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_line_is_name_and_value() {
        let fields = Fields::new()
            .with("Allow", "GET, HEAD")
            .with("Retry-After", 1);
        assert_eq!(fields.as_str(), "Allow: GET, HEAD\r\nRetry-After: 1\r\n");
    }

    #[test]
    fn field_name_is_a_token() {
        for invalid in ["", "a b", "a:", "a\r\nb", "caf\u{e9}", " a"] {
            assert_eq!(FieldName::new(invalid), None, "{invalid:?}");
        }
        let mut fields = Fields::new();
        fields.push(FieldName::new("x-a").unwrap().as_str(), "b\r\nc: d");
        assert_eq!(fields.as_str(), "x-a: b  c: d\r\n");
        assert_eq!(FieldName::new("ETag"), FieldName::new("etag"));
    }

    #[test]
    fn remove_compares_the_whole_field_name() {
        let fields = Fields::new().with("A", 1).with("Aa", "A: 1").with("a", 2);
        for (name, expected) in [
            ("a", "Aa: A: 1\r\n"),
            ("AA", "A: 1\r\na: 2\r\n"),
            ("", "A: 1\r\nAa: A: 1\r\na: 2\r\n"),
        ] {
            let mut fields = fields.clone();
            fields.remove(name);
            assert_eq!(fields.as_str(), expected, "{name}");
        }
    }

    #[test]
    fn control_characters_in_values_become_spaces() {
        let fields = Fields::new().with("Location", "/a\r\nSet-Cookie: b\0");
        assert_eq!(fields.as_str(), "Location: /a  Set-Cookie: b \r\n");
    }
}
