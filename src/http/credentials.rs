//! Credentials of a request, and the challenge that asks for them: HTTP Basic authentication (RFC 7617).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::response::Response;
use super::status::Status;

/// Value of WWW-Authenticate. There is one realm: credentials that are good for one target are good for all. The client
/// should encode them as UTF-8 (RFC 7617 section 2.1).
const CHALLENGE: &str = "Basic realm=\"docroot\", charset=\"UTF-8\"";

/// Padding is optional: the value is unambiguous without it, and some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Parses the value of an Authorization field into user name and password. Bytes that are not UTF-8 are read as Latin-1:
/// some clients send that, although the challenge names UTF-8 (Python's requests, and pip with it). `None` for a scheme
/// other than Basic, and for a value that it does not allow: invalid base64, no colon, control characters (RFC 7617
/// section 2).
#[must_use]
pub fn parse_credentials(value: &[u8]) -> Option<(String, String)> {
    let text = BASE64.decode(basic_token(value)?).ok()?;
    if text.iter().any(u8::is_ascii_control) {
        return None;
    }
    let text = String::from_utf8(text).unwrap_or_else(|error| from_latin_1(error.as_bytes()));
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Decodes Latin-1 (ISO 8859-1), whose bytes are the first 256 code points of Unicode.
fn from_latin_1(text: &[u8]) -> String {
    text.iter().map(|&byte| char::from(byte)).collect()
}

/// Appends the user name in the value of an Authorization field, and nothing of the password, in the encoding of
/// [`parse_credentials`]. Returns the name's length in bytes; `None` where [`parse_credentials`] returns `None`.
pub fn append_user(value: &[u8], into: &mut Vec<u8>) -> Option<usize> {
    let token = basic_token(value)?;
    let start = into.len();
    let decoded = BASE64.decode_vec(token, into).ok();
    let text = into.get_mut(start..).unwrap_or_default();
    let colon = text.iter().position(|&byte| byte == b':');
    let mut length = decoded.and(colon);
    let has_latin_1 = std::str::from_utf8(text).is_err();
    let name = text.get(..length.unwrap_or(0)).unwrap_or_default();
    let name = has_latin_1.then(|| from_latin_1(name));
    // Do not leave the password in the buffer's spare memory.
    let secret = text.get_mut(length.unwrap_or(0)..);
    secret.unwrap_or_default().fill(0);
    into.truncate(start + length.unwrap_or(0));
    if let (Some(name), Some(length)) = (name, &mut length) {
        into.truncate(start);
        into.extend_from_slice(name.as_bytes());
        *length = name.len();
    }
    length
}

/// Returns what follows the scheme Basic, in base64; `None` for another scheme.
fn basic_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(value.iter().position(|&byte| byte == b' ')?)?;
    scheme
        .eq_ignore_ascii_case(b"Basic")
        .then(|| rest.trim_ascii())
}

/// Response to a request without valid credentials: 401 with WWW-Authenticate. It is not cacheable.
#[must_use]
pub fn challenge() -> Response {
    let reason = "This site requires a password.";
    Response::error_page(Status::Unauthorized, reason).with_field("WWW-Authenticate", CHALLENGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &[u8], expected: Option<(&str, &str)>) {
        let found = parse_credentials(value);
        let found = found
            .as_ref()
            .map(|(user, password)| (&**user, &**password));
        assert_eq!(found, expected, "{}", value.escape_ascii());
        if let Some((name, _)) = expected {
            let mut output = b"GET".to_vec();
            assert_eq!(append_user(value, &mut output), Some(name.len()));
            assert_eq!(output, [b"GET", name.as_bytes()].concat());
        }
    }

    #[test]
    fn basic_credentials_are_parsed() {
        // Examples of RFC 7617 sections 2 and 2.1.
        let aladdin = Some(("Aladdin", "open sesame"));
        check(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", aladdin);
        check(b"Basic dGVzdDoxMjPCow==", Some(("test", "123\u{a3}")));
        // The scheme is compared without regard to case; one or more spaces follow it.
        check(b"bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ==", aladdin);
        // Without padding.
        check(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", aladdin);
        // A password may have colons ("a:b:c"), or be empty ("a:"); so may a name.
        check(b"Basic YTpiOmM=", Some(("a", "b:c")));
        check(b"Basic YTo=", Some(("a", "")));
        check(b"Basic OmE=", Some(("", "a")));
        // "bö:ä" in Latin-1, and in UTF-8.
        check(b"Basic YvY65A==", Some(("b\u{f6}", "\u{e4}")));
        check(b"Basic YsO2OsOk", Some(("b\u{f6}", "\u{e4}")));
        check(b"Basic YTr/", Some(("a", "\u{ff}")));
    }

    #[test]
    fn malformed_credentials_are_none() {
        for value in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"Basic\tYTpi",
            b"BasicYTpi",
            b"Bearer YTpi",
            b"Basic ====",
            b"Basic YTpi YTpi",
            b"Basic YT?i",
            b"Basic YTp",
            b"Basic \xff\xfe",
            // "ab": no colon.
            b"Basic YWI=",
            // "a:\0", "a\n:b", "a:\x7f".
            b"Basic YToA",
            b"Basic YQo6Yg==",
            b"Basic YTp/",
        ] {
            check(value, None);
        }
    }

    #[test]
    fn challenge_has_scheme_and_realm() {
        let challenge = challenge();
        assert_eq!(challenge.status, Status::Unauthorized);
        let expected = "WWW-Authenticate: Basic realm=\"docroot\", charset=\"UTF-8\"\r\n";
        assert_eq!(challenge.fields.as_str(), expected);
        let page = challenge.representation.unwrap();
        assert_eq!(page.metadata_fields(), "Cache-Control: no-store\r\n");
    }
}
