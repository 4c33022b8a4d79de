//! The parts that field values are made of (RFC 9110 section 5.6).

/// Whether `text` is a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// The elements of a comma-separated list, without the white space around them and without empty
/// ones (RFC 9110 section 5.6.1.2). A comma inside a quoted string separates nothing.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    list.split(move |&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    })
    .map(trim)
    .filter(|element| !element.is_empty())
}

/// Without the spaces and tabs at both ends (OWS, RFC 9110 section 5.6.3).
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[&str]) {
        let found: Vec<&[u8]> = elements(list.as_bytes()).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|element| element.as_bytes()).collect();
        assert_eq!(found, expected, "{list:?}");
    }

    #[test]
    fn lists() {
        check("", &[]);
        check("close", &["close"]);
        check("keep-alive, close", &["keep-alive", "close"]);
        check(" , a ,\t,b\t,", &["a", "b"]);
        check(r#""a,b", c"#, &[r#""a,b""#, "c"]);
        check(r#""a\",b", c"#, &[r#""a\",b""#, "c"]);
        check(r#""never closed, c"#, &[r#""never closed, c"#]);
    }

    #[test]
    fn tokens() {
        assert!(is_token(b"keep-alive"));
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
        assert!(!is_token(b"caf\xe9"));
    }
}
