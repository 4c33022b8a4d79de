//! Common syntax of field values (RFC 9110 sections 5.6, 8.3.1 and 12.4.2).

/// Whether `text` is a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |&byte: &u8| IS_TCHAR.get(usize::from(byte)).copied().unwrap_or_default();
    // It does not stop early, because tokens are short and nearly all are valid.
    !text.is_empty() && text.iter().fold(true, |all, byte| all & is_tchar(byte))
}

/// Whether each byte is a `tchar`, a character of a token.
const IS_TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    let (mut rest, _) = table.split_at_mut(128);
    while let [first, others @ ..] = rest {
        *first = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~'
            );
        byte += 1;
        rest = others;
    }
    table
};

/// Splits a comma-separated list into its elements, without surrounding white space and without empty elements (RFC
/// 9110 section 5.6.1.2). A comma inside a quoted string does not separate.
pub fn list_elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_unquoted(list, b',').filter(|element| !element.is_empty())
}

/// Splits a value at semicolons, without surrounding white space: first the value itself, then its parameters (RFC 9110
/// section 5.6.6). A semicolon inside a quoted string does not separate.
pub fn split_parameters(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_unquoted(value, b';')
}

/// Parses a parameter, `name=value`, into its name and its value: a token, or a quoted string with its quotes (RFC 9110
/// section 5.6.6). `None` if it is malformed.
#[must_use]
pub fn parse_parameter(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = text.split_at_checked(equals)?;
    let value = value.get(1..)?;
    (is_token(name) && (is_token(value) || is_quoted(value))).then_some((name, value))
}

/// Strips the quotes around a parameter's value, if there are any.
#[must_use]
pub fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// Splits a media type or a media range without parameters into type and subtype (RFC 9110 sections 8.3.1 and 12.5.1).
/// `None` if it is malformed.
#[must_use]
pub fn split_media_type(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = text.iter().position(|&byte| byte == b'/')?;
    let (kind, subtype) = text.split_at_checked(slash)?;
    let subtype = subtype.get(1..)?;
    (is_token(kind) && is_token(subtype)).then_some((kind, subtype))
}

/// Parses a `weight` parameter, such as `q=0.8`, in thousandths: 0 to 1000 (RFC 9110 section 12.4.2). `None` if it is
/// another parameter, `Some(None)` if it is malformed.
pub(super) fn parse_weight(parameter: &[u8]) -> Option<Option<u16>> {
    match parameter {
        [b'q' | b'Q', b'=', value @ ..] => Some(parse_qvalue(value)),
        [b'q' | b'Q'] => Some(None),
        _ => None,
    }
}

/// Parses a `qvalue`: 0 or 1, with up to three decimals, which are zeros after 1.
fn parse_qvalue(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(10);
    let mut sum = digit(whole)?;
    for place in 0..3 {
        sum = 10 * sum + fraction.get(place).map_or(Some(0), digit)?;
    }
    u16::try_from(sum).ok().filter(|&sum| sum <= 1000)
}

/// Whether this is exactly one quoted string (RFC 9110 section 5.6.4).
fn is_quoted(text: &[u8]) -> bool {
    let [b'"', inner @ .., b'"'] = text else {
        return false;
    };
    let mut escaped = false;
    for &byte in inner {
        match byte {
            0..=8 | 10..=31 | 127 => return false,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return false,
            _ => {}
        }
    }
    !escaped
}

/// Splits at separators that are outside quoted strings, and trims white space.
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == separator && !quoted,
        }
        false
    })
    .map(trim_ows)
}

/// Trims spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3).
#[must_use]
pub fn trim_ows(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[&str]) {
        let found: Vec<&[u8]> = list_elements(list.as_bytes()).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|element| element.as_bytes()).collect();
        assert_eq!(found, expected, "{list:?}");
    }

    #[test]
    fn list_is_split_at_unquoted_commas() {
        check("", &[]);
        check("close", &["close"]);
        check("keep-alive, close", &["keep-alive", "close"]);
        check(" , a ,\t,b\t,", &["a", "b"]);
        check(r#""a,b", c"#, &[r#""a,b""#, "c"]);
        check(r#""a\",b", c"#, &[r#""a\",b""#, "c"]);
        check(r#""never closed, c"#, &[r#""never closed, c"#]);
    }

    #[test]
    fn parameter_value_is_a_token_or_a_quoted_string() {
        let all: Vec<&[u8]> = split_parameters(br#"text/html; a="b;c" ;q=1"#).collect();
        assert_eq!(all, [&b"text/html"[..], br#"a="b;c""#, b"q=1"]);
        assert_eq!(parse_parameter(b"a=b"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(
            parse_parameter(br#"a="b\"c""#),
            Some((&b"a"[..], &br#""b\"c""#[..]))
        );
        for malformed in [
            "",
            "a",
            "a=",
            "=b",
            "a =b",
            "a= b",
            "a=b c",
            r#"a="b"#,
            r#"a="b"c"#,
            r#"a="b\""#,
            "a=\"\0\"",
        ] {
            assert_eq!(parse_parameter(malformed.as_bytes()), None, "{malformed:?}");
        }
        assert_eq!(split_media_type(b"a/b"), Some((&b"a"[..], &b"b"[..])));
        assert_eq!(split_media_type(b"*/*"), Some((&b"*"[..], &b"*"[..])));
        for malformed in ["", "a", "/", "a/", "/b", "a/b/c", "a /b", "a/b;c"] {
            assert_eq!(
                split_media_type(malformed.as_bytes()),
                None,
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn qvalues_have_at_most_three_decimals() {
        for (parameter, expected) in [
            ("q=1", Some(Some(1000))),
            ("Q=1.000", Some(Some(1000))),
            ("q=0", Some(Some(0))),
            ("q=0.", Some(Some(0))),
            ("q=0.5", Some(Some(500))),
            ("q=0.05", Some(Some(50))),
            ("q=0.005", Some(Some(5))),
            ("q=1.001", Some(None)),
            ("q=2", Some(None)),
            ("q=0.1234", Some(None)),
            ("q=.5", Some(None)),
            ("q=-1", Some(None)),
            ("q=0,5", Some(None)),
            ("q=0.x", Some(None)),
            ("q=", Some(None)),
            ("q", Some(None)),
            ("quality=1", None),
            ("", None),
        ] {
            assert_eq!(
                parse_weight(parameter.as_bytes()),
                expected,
                "{parameter:?}"
            );
        }
    }

    #[test]
    fn token_has_only_tchars() {
        assert!(is_token(b"keep-alive"));
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
        assert!(!is_token(b"caf\xe9"));
    }
}
