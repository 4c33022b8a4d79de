//! Our own field lines.

use std::fmt::{self, Write as _};

/// Field lines of ours, rendered when they are pushed: `Name: value` and CRLF each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    text: String,
}

impl Fields {
    /// No lines.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    /// Adds a line. A control character in `value` becomes a space, so that no value can end its
    /// line; what comes from a peer must have been escaped by its own rules before.
    pub fn push(&mut self, name: &'static str, value: impl fmt::Display) {
        self.text.push_str(name);
        self.text.push_str(": ");
        // Writing to a String does not fail.
        let _ = write!(Line(&mut self.text), "{value}");
        self.text.push_str("\r\n");
    }

    /// The same, for building in one expression.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.push(name, value);
        self
    }

    /// All lines, each with its CRLF.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Text without control characters.
struct Line<'a>(&'a mut String);

impl fmt::Write for Line<'_> {
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
    fn a_line_is_a_name_and_a_value() {
        let fields = Fields::new()
            .with("Allow", "GET, HEAD")
            .with("Retry-After", 1);
        assert_eq!(fields.as_str(), "Allow: GET, HEAD\r\nRetry-After: 1\r\n");
    }

    #[test]
    fn no_value_ends_its_line() {
        let fields = Fields::new().with("Location", "/a\r\nSet-Cookie: b\0");
        assert_eq!(fields.as_str(), "Location: /a  Set-Cookie: b \r\n");
    }
}
