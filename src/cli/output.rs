//! Text on standard output: untrusted text escaped for a terminal or for JSON, and printed.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Prints text.
pub(crate) fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    io::stdout().flush()
}

/// Prints text to a reader that may close the pipe early: `docroot --man | head`.
pub(crate) fn print_manual(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Returns bytes, such as a path, as text for a terminal, with control characters escaped.
pub(crate) fn escape_control(bytes: &[u8]) -> String {
    let mut text = String::new();
    for char in String::from_utf8_lossy(bytes).chars() {
        match char.is_control() {
            true => text.extend(char.escape_default()),
            false => text.push(char),
        }
    }
    text
}

/// Returns the inside of a JSON string: the text, with quotes, backslashes and control characters escaped.
pub(crate) fn escape_json(text: &str) -> String {
    let mut escaped = String::new();
    for char in text.chars() {
        match char {
            '"' | '\\' => escaped.extend(['\\', char]),
            char if char.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(char));
            }
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape_control(b"a\x1b[1m\n"), "a\\u{1b}[1m\\n");
        assert_eq!(escape_control("\u{e4}\u{9b}".as_bytes()), "\u{e4}\\u{9b}");
        assert_eq!(escape_json("/a \"b\"\n\\"), "/a \\\"b\\\"\\u000a\\\\");
    }
}
