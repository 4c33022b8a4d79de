//! Untrusted text, escaped for HTML, JSON, a line of a log, or a terminal.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

use std::fmt::{self, Write as _};

/// Text in HTML, as content or in a quoted attribute.
///
/// Bytes that are not UTF-8 become replacement characters. Control characters, and characters that change the direction
/// of text, are written as in Rust: `\n`, `\u{202e}`.
#[derive(Clone, Copy, Debug)]
pub struct HtmlText<'a>(pub &'a [u8]);

impl fmt::Display for HtmlText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        text.chars().try_for_each(|char| match char {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            char if is_control_or_bidi(char) => write!(f, "{}", char.escape_default()),
            char => f.write_char(char),
        })
    }
}

/// Text on a terminal. Bytes that are not UTF-8 become replacement characters, and control characters are escaped.
#[derive(Clone, Copy, Debug)]
pub struct TerminalText<'a>(pub &'a [u8]);

impl fmt::Display for TerminalText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        text.chars().try_for_each(|char| match char.is_control() {
            true => write!(f, "{}", char.escape_default()),
            false => f.write_char(char),
        })
    }
}

/// Whether a character is a control character, or an invisible one that controls the direction of text or ends a line
/// (Unicode, UAX #9).
pub(crate) fn is_control_or_bidi(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters of a JSON string that are escaped, besides the quotation mark and the backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonEscapes {
    /// Control characters.
    Controls,
    /// All but printable ASCII, including what controls a terminal or ends a line for some readers.
    NonAscii,
}

/// Appends the content of a JSON string, without its quotation marks (RFC 8259 section 7). Bytes that are not UTF-8
/// become replacement characters.
pub fn push_json(text: &[u8], escapes: JsonEscapes, into: &mut Vec<u8>) {
    if all_bytes(text, is_safe_quoted) {
        return into.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        let chars = chunk.valid().chars();
        chars.for_each(|char| push_json_character(char, escapes, into));
        if !chunk.invalid().is_empty() {
            push_json_character(char::REPLACEMENT_CHARACTER, escapes, into);
        }
    }
}

fn push_json_character(char: char, escapes: JsonEscapes, into: &mut Vec<u8>) {
    match u8::try_from(char) {
        Ok(byte) if is_safe_quoted(byte) => into.push(byte),
        Ok(byte @ (b'"' | b'\\')) => into.extend_from_slice(&[b'\\', byte]),
        _ if escapes == JsonEscapes::Controls && !char.is_control() => {
            into.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => {
            let digits = match escapes {
                JsonEscapes::Controls => LOWER_HEX,
                JsonEscapes::NonAscii => UPPER_HEX,
            };
            for unit in char.encode_utf16(&mut [0; 2]) {
                into.extend_from_slice(b"\\u");
                for byte in unit.to_be_bytes() {
                    into.extend_from_slice(&hex(byte, digits));
                }
            }
        }
    }
}

/// Appends bytes to a line of a log, with `\xNN` for all that are not `plain`, as nginx does.
pub(crate) fn push_escaped(bytes: &[u8], plain: impl Fn(u8) -> bool, into: &mut Vec<u8>) {
    if all_bytes(bytes, &plain) {
        return into.extend_from_slice(bytes);
    }
    for &byte in bytes {
        match plain(byte) {
            true => into.push(byte),
            false => {
                into.extend_from_slice(b"\\x");
                into.extend_from_slice(&hex(byte, UPPER_HEX));
            }
        }
    }
}

/// Whether a byte may stand unescaped between spaces.
pub(crate) fn is_safe_unquoted(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'\\')
}

/// Whether a byte may stand unescaped between quotation marks.
pub(crate) fn is_safe_quoted(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')
}

/// Whether a predicate holds for all bytes. It does not stop early, so the compiler vectorizes it.
fn all_bytes(bytes: &[u8], holds: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & holds(byte))
}

const LOWER_HEX: &[u8; 16] = b"0123456789abcdef";
const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Returns a byte as two hexadecimal digits.
fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    let digit = |value| digits.get(usize::from(value)).copied().unwrap_or(b'0');
    [digit(byte >> 4), digit(byte & 15)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let terminal = |bytes| TerminalText(bytes).to_string();
        assert_eq!(terminal(b"a\x1b[1m\n"), "a\\u{1b}[1m\\n");
        assert_eq!(terminal("\u{e4}\u{9b}".as_bytes()), "\u{e4}\\u{9b}");
        let mut json = Vec::new();
        push_json(b"/a \"b\"\n\\", JsonEscapes::Controls, &mut json);
        assert_eq!(json, b"/a \\\"b\\\"\\u000a\\\\");
    }
}
