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
// Its loops need all registers for their constants, so it shares none with a caller.
#[inline(never)]
pub(super) fn parse<'h>(head: &'h [u8], start: usize, lines: &mut FieldLines<'h>) -> ParsedLines {
    let mut rest = head.get(start..).unwrap_or_default();
    loop {
        let (line, after) = match split_usual_line(rest) {
            Some(split) => split,
            None => match split_line(rest) {
                Ok((None, after)) => return ParsedLines::Complete(head.len() - after.len()),
                Ok((Some(line), after)) => (line, after),
                Err(result) => return result,
            },
        };
        rest = after;
        if lines.try_push(line).is_err() {
            return ParsedLines::TooMany;
        }
    }
}

/// Splits a line off, by words of eight bytes, if it is like nearly all lines: letters and hyphens, a colon, one space,
/// and printable ASCII without further spaces around it.
fn split_usual_line(text: &[u8]) -> Option<(FieldLine<'_>, &[u8])> {
    let (name, after) = split_at_mark(text, mark_neither_letter_nor_hyphen);
    let (value, after) = split_at_mark(after.strip_prefix(b": ")?, mark_not_printable);
    let after = after.strip_prefix(b"\r\n")?;
    let is_usual = !name.is_empty() && !matches!(value, [] | [b' ', ..] | [.., b' ']);
    is_usual.then_some((FieldLine { name, value }, after))
}

/// Splits any line off; `None` is the empty line.
#[cold]
fn split_line(text: &[u8]) -> Result<(Option<FieldLine<'_>>, &[u8]), ParsedLines> {
    let (name, after) = split_at(text, |byte| !is_token(&[byte]));
    let value = match (name, after) {
        ([], [b'\r', b'\n', rest @ ..]) => return Ok((None, rest)),
        (_, []) | ([], [b'\r']) => return Err(ParsedLines::Partial),
        ([_, ..], [b':', value @ ..]) => value,
        _ => return Err(ParsedLines::Malformed),
    };
    let is_control = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    match split_at(value, is_control) {
        (value, [b'\r', b'\n', rest @ ..]) => {
            let value = trim_ows(value);
            Ok((Some(FieldLine { name, value }), rest))
        }
        (_, [] | [b'\r']) => Err(ParsedLines::Partial),
        _ => Err(ParsedLines::Malformed),
    }
}

/// Splits at the first byte that is an end.
fn split_at(text: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| is_end(byte));
    text.split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or_default()
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

/// Marks bytes that are not printable ASCII. (Bytes behind the first one may be marked, too.)
const fn mark_not_printable(word: u64) -> u64 {
    let below_space = word.wrapping_sub(repeat(b' '));
    let from_delete = word.wrapping_add(repeat(0x80 - 0x7f));
    (below_space | from_delete) & repeat(0x80)
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
        if let Some((line, rest)) = split_usual_line(text) {
            let any = split_line(text);
            assert_eq!(any, Ok((Some(line), rest)), "{}", text.escape_ascii());
        }
        let at_lf = split_at(text, |byte| byte == b'\n');
        assert_eq!(split_at_byte(text, b'\n'), at_lf);
    }

    #[test]
    fn each_byte_is_split_like_any_byte() {
        for byte in 0..=u8::MAX {
            for place in 0..20 {
                let mut text = *b"Some-Name: some value\r\n";
                text[place] = byte;
                check(&text);
                text[place + 1] = !byte;
                check(&text);
            }
        }
    }

    #[test]
    fn usual_line_is_split_by_words() {
        let (line, rest) = split_usual_line(b"sec-ch-UA: \"A\" ~ (b)\r\n\r\n").unwrap();
        let (name, value) = (&b"sec-ch-UA"[..], &b"\"A\" ~ (b)"[..]);
        assert_eq!((line, rest), (FieldLine { name, value }, &b"\r\n"[..]));
    }

    proptest! {
        #[test]
        fn text_is_split_among_any_bytes(text in prop::collection::vec(any::<u8>(), 0..40)) {
            check(&text);
        }

        #[test]
        fn text_is_split_among_similar_bytes(text in "[9:;aAzZ@`{\\[\\-.\t\u{1f} \u{7f}\u{80}\u{ba}!\r\n~]{0,40}") {
            check(text.as_bytes());
        }

        #[test]
        fn line_is_split_by_words_as_by_bytes(
            name in "[a-zA-Z-]{0,20}[a-zA-Z_1@`{\\[ -]?", space in "[ \t]?",
            value in prop::collection::vec(prop_oneof![9 => b' '..0x7f, 1 => any::<u8>()], 0..40),
        ) {
            let line = [name.as_bytes(), b":", space.as_bytes(), &value, b"\r\n"].concat();
            check(&line);
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
