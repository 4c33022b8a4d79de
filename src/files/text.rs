//! Text files that people write: UTF-8, with or without a byte order mark, with the line ends of any system.

/// Reason why a line is refused.
const NOT_UTF_8: &str = "the file is not UTF-8: save it as UTF-8";

/// Returns a text without its byte order mark (U+FEFF), which some editors and shells write at its start.
///
/// # Errors
/// The text is UTF-16: the encoding, and what to do.
pub fn without_byte_order_mark(text: &[u8]) -> Result<&[u8], &'static str> {
    match text {
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(rest),
        // With the mark, or with an ASCII character at the start.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, _, ..] | [_, 0, ..] => {
            Err("UTF-16: save it as UTF-8")
        }
        _ => Ok(text),
    }
}

/// Returns the lines of a file that are neither blank nor comments (`#`), each with its number, which is counted from
/// one, and without blanks and line ends around it.
///
/// # Errors
/// The file is UTF-16: a sentence for the file as a whole.
pub(crate) fn text_lines(file: &[u8]) -> Result<impl Iterator<Item = (usize, &[u8])>, String> {
    let text = without_byte_order_mark(file).map_err(|why| format!("the file is {why}"))?;
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    Ok((1..)
        .zip(lines)
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#")))
}

/// Returns a line, or a part of one, as text.
///
/// # Errors
/// It is not UTF-8: a sentence.
pub(crate) fn utf_8(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|_| NOT_UTF_8.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_is_skipped_and_utf_16_is_refused() {
        let check = |text: &[u8], expected: Option<&[u8]>| {
            let found = without_byte_order_mark(text).ok();
            assert_eq!(found, expected, "{}", text.escape_ascii());
        };
        check(b"", Some(b""));
        check(b"a", Some(b"a"));
        check(b"\xef\xbb\xbfa", Some(b"a"));
        check(b"\xef\xbb\xbf", Some(b""));
        check(b"\xe4b", Some(b"\xe4b"));
        check(b"\xff\xfea\0", None);
        check(b"\xfe\xff\0a", None);
        check(b"a\0b\0", None);
        check(b"\0a\0b", None);
    }

    #[test]
    fn blank_lines_comments_and_line_ends_are_left_out() {
        let lines = |text| text_lines(text).map(Iterator::collect::<Vec<_>>);
        assert_eq!(
            lines(b"\xef\xbb\xbf# \xe4\r\n\r\n a b \r\n\t# c\n\xff"),
            Ok(vec![(3, &b"a b"[..]), (5, b"\xff")])
        );
        assert_eq!(lines(b""), Ok(vec![]));
        assert!(lines(b"a\0").is_err_and(|why| why.contains("UTF-16")));
        assert!(utf_8(b"\xff").is_err());
        assert_eq!(utf_8("ä".as_bytes()), Ok("ä"));
    }
}
