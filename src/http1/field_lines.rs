//! Parsing of a request's field lines (RFC 9112 section 5).

use arrayvec::ArrayVec;

use crate::http::{FieldLine, is_token, trim_ows};

/// Number of field lines that a head may have.
pub const MAX_FIELD_LINES: usize = 100;

/// Buffer for a head's field lines: on the stack, and not initialized.
pub type FieldLines<'a> = ArrayVec<FieldLine<'a>, MAX_FIELD_LINES>;

/// Result of parsing field lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParsedLines {
    /// The empty line at their end is missing; more bytes are needed.
    Partial,
    /// They end, with the empty line, at this offset.
    Complete(usize),
    /// They violate the syntax.
    Malformed,
    /// There are more than [`MAX_FIELD_LINES`].
    TooMany,
}

/// Parses field lines from the offset `start` to the empty line at their end. Every line ends in CRLF: a recipient may
/// accept LF alone (RFC 9112 section 2.2), and another may not, so that a request could be smuggled between the two.
pub(super) fn parse<'h>(head: &'h [u8], start: usize, lines: &mut FieldLines<'h>) -> ParsedLines {
    let mut rest = head.get(start..).unwrap_or_default();
    loop {
        let (name, after) = split_at_name_end(rest);
        let value = match (name, after) {
            ([], [b'\r', b'\n', rest @ ..]) => {
                return ParsedLines::Complete(head.len() - rest.len());
            }
            (_, []) | ([], [b'\r']) => return ParsedLines::Partial,
            ([_, ..], [b':', value @ ..]) => value,
            _ => return ParsedLines::Malformed,
        };
        let (value, after) = split_at_control(value);
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return ParsedLines::Partial,
            _ => return ParsedLines::Malformed,
        };
        // Nearly all values have one space before them, and nothing else to trim.
        let value = match value {
            [b' ', value @ ..] => value,
            _ => value,
        };
        let value = match value {
            [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => trim_ows(value),
            _ => value,
        };
        if lines.try_push(FieldLine { name, value }).is_err() {
            return ParsedLines::TooMany;
        }
    }
}

/// Splits at the first byte that is not a character of a token.
fn split_at_name_end(text: &[u8]) -> (&[u8], &[u8]) {
    // Most names are letters and hyphens, up to the colon.
    let (name, mut after) = split_at_mark(text, mark_neither_letter_nor_hyphen);
    if let [b':', ..] = after {
        return (name, after);
    }
    while let [byte, rest @ ..] = after
        && is_token(&[*byte])
    {
        after = rest;
    }
    text.split_at_checked(text.len() - after.len())
        .unwrap_or_default()
}

/// Splits at the first control character other than a tab.
fn split_at_control(text: &[u8]) -> (&[u8], &[u8]) {
    let mark = |word| mark_below_space(word) | mark_byte(word, 0x7f);
    let (mut before, mut after) = split_at_mark(text, mark);
    while let [b'\t', rest @ ..] = after {
        after = split_at_mark(rest, mark).1;
        before = text.get(..text.len() - after.len()).unwrap_or_default();
    }
    (before, after)
}

/// Splits at the first byte that has this value.
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    split_at_mark(text, |word| mark_byte(word, byte))
}

/// Splits at the first byte that `mark` marks. It gets eight bytes, the first one in the lowest place, and returns a
/// word that has the highest bit of the first marked byte, and no bit before it.
fn split_at_mark(text: &[u8], mark: impl Fn(u64) -> u64) -> (&[u8], &[u8]) {
    let (words, tail) = text.as_chunks();
    let mut end = 0;
    for &word in words {
        let marks = mark(u64::from_le_bytes(word));
        if marks != 0 {
            end += marks.trailing_zeros() as usize / 8;
            return text.split_at_checked(end).unwrap_or_default();
        }
        end += 8;
    }
    let is_marked = |&byte: &u8| mark(byte.into()) & 0x80 != 0;
    end += tail.iter().position(is_marked).unwrap_or(tail.len());
    text.split_at_checked(end).unwrap_or_default()
}

/// Marks bytes of this value. (Bytes behind the first one may be marked, too.)
const fn mark_byte(word: u64, byte: u8) -> u64 {
    let difference = word ^ repeat(byte);
    difference.wrapping_sub(repeat(1)) & !difference & repeat(0x80)
}

/// Marks bytes below the space. (Bytes behind the first one may be marked, too.)
const fn mark_below_space(word: u64) -> u64 {
    word.wrapping_sub(repeat(b' ')) & !word & repeat(0x80)
}

/// Marks bytes that are neither a letter of ASCII nor a hyphen. (Bytes behind the first one may be marked wrongly.)
const fn mark_neither_letter_nor_hyphen(word: u64) -> u64 {
    let lower = word | repeat(0x20);
    // The highest bit of each ASCII byte is set if it is at least `a`, and if it is greater than `z`.
    let from_a = lower.wrapping_add(repeat(0x80 - b'a'));
    let behind_z = lower.wrapping_add(repeat(0x7f - b'z'));
    let no_hyphen = (word ^ repeat(b'-')).wrapping_add(repeat(0x7f));
    (word | (no_hyphen & !(from_a & !behind_z))) & repeat(0x80)
}

/// Word of eight equal bytes.
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8]) {
        let is_control = |&byte: &u8| byte.is_ascii_control() && byte != b'\t';
        let end = text.iter().position(is_control).unwrap_or(text.len());
        assert_eq!(
            split_at_control(text),
            text.split_at(end),
            "{}",
            text.escape_ascii()
        );
        let end = text
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(text.len());
        assert_eq!(
            split_at_byte(text, b':'),
            text.split_at(end),
            "{}",
            text.escape_ascii()
        );
    }

    proptest! {
        #[test]
        fn text_is_split_at_the_first_byte(text in prop::collection::vec(any::<u8>(), 0..40)) {
            check(&text);
        }

        #[test]
        fn text_is_split_among_similar_bytes(text in "[9:;aAzZ@`{\\[\\-.\t\u{1f} \u{7f}\u{80}\u{ba}!\r\n~]{0,40}") {
            check(text.as_bytes());
        }

        #[test]
        fn lines_are_those_of_httparse(text in "(A|b-c|:|: |\t| |\r\n|\n|\r|\0|\u{7f}|\u{e9}|x){0,30}") {
            let text = format!("{text}\r\n\r\n");
            let mut expected = [httparse::EMPTY_HEADER; MAX_FIELD_LINES];
            let expected = httparse::parse_headers(text.as_bytes(), &mut expected);
            let mut lines = FieldLines::new();
            match (parse(text.as_bytes(), 0, &mut lines), expected) {
                (ParsedLines::Complete(end), Ok(httparse::Status::Complete((length, headers)))) => {
                    prop_assert_eq!(end, length);
                    let headers = headers.iter().map(|line| (line.name.as_bytes(), line.value));
                    let lines = lines.iter().map(|line| (line.name, line.value));
                    prop_assert!(headers.eq(lines));
                }
                // LF alone is refused.
                (ParsedLines::Malformed, Ok(_)) => {
                    prop_assert!(text.replace("\r\n", "").contains('\n'));
                }
                (ParsedLines::Malformed, Err(_)) => {}
                (found, expected) => panic!("{found:?} {expected:?}"),
            }
        }
    }
}
