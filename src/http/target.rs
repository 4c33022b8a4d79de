//! The request target: its authority, path and query.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::status::Status;
use crate::path::split_path;

/// A request target.
///
/// Its path has no `.` or `..`, no empty segment, no control character (NUL included), and no encoded slash. Only
/// [`Target::parse`] creates one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    authority: Option<&'a [u8]>,
    /// Path as it was sent, validated but not decoded: a cache keyed by it saves the decoding.
    raw_path: &'a str,
    /// Whether decoding and resolving the path would leave it unchanged.
    is_plain: bool,
    is_directory: bool,
    query: Option<&'a str>,
}

/// Reason why a request target is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Neither a path nor an absolute URI (RFC 9112 sections 3.2.1 and 3.2.2).
    Form,
    /// The request is for a resource over TLS, which this connection does not use (RFC 9110 section 7.4).
    HttpsScheme,
    /// The authority of an absolute URI is invalid.
    Authority,
    /// A `%` that is not followed by two hexadecimal digits.
    PercentEncoding,
    /// A control character (NUL included), raw or encoded.
    ControlCharacter,
    /// An encoded slash: it is ambiguous whether it belongs to a name or ends it.
    EncodedSlash,
    /// More `..` than preceding segments.
    AboveRoot,
}

impl TargetError {
    /// Status of the response.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::HttpsScheme => Status::MisdirectedRequest,
            _ => Status::BadRequest,
        }
    }

    /// Reason, as a sentence for the client.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Form => "The request's target is neither a path nor an absolute URI.",
            Self::HttpsScheme => {
                "The request is for a secure resource, and came over a connection that is not."
            }
            Self::Authority => "The authority in the request's target is malformed.",
            Self::PercentEncoding => {
                "The request's target has a percent sign that encodes nothing."
            }
            Self::ControlCharacter => "The request's target has a control character.",
            Self::EncodedSlash => "The request's target has an encoded slash.",
            Self::AboveRoot => "The request's target climbs out of the site.",
        }
    }
}

impl<'a> Target<'a> {
    /// Parses a request target in origin-form or absolute-form; `host` is the Host field, which the authority of an
    /// absolute-form overrides (RFC 9112 section 3.2.2).
    ///
    /// The path is later decoded once (RFC 3986 section 2.4), its `.` and `..` are resolved, and empty segments are
    /// dropped. Parsing ensures that this cannot fail.
    ///
    /// # Errors
    /// [`TargetError`] for a malformed target, or one outside the root.
    pub fn parse(target: &'a str, host: Option<&'a [u8]>) -> Result<Self, TargetError> {
        let (authority, path) = match target.starts_with('/') {
            true => (host, target),
            false => parse_absolute_form(target)?,
        };
        let (end, is_plain) = scan(path)?;
        let (raw_path, query) = path.split_at_checked(end).unwrap_or((path, ""));
        let query = query.strip_prefix('?');
        let is_directory = match is_plain {
            true => raw_path.ends_with('/'),
            false => names_directory(raw_path)?,
        };
        Ok(Self {
            authority,
            raw_path,
            is_plain,
            is_directory,
            query,
        })
    }

    /// Requested authority: the host, and the port if there is one. `None` if there is no authority.
    #[must_use]
    pub fn authority(&self) -> Option<&'a str> {
        // An authority is ASCII.
        std::str::from_utf8(self.authority?).ok()
    }

    /// Path as it was sent, without the query. Equal paths are equivalent; different ones may be, too.
    #[must_use]
    pub fn raw_path(&self) -> &'a str {
        self.raw_path
    }

    /// Decoded path below the root, without a slash at either end; empty for the root itself.
    #[must_use]
    pub fn path(&self) -> Cow<'a, [u8]> {
        let inner = self.raw_path.strip_prefix('/').unwrap_or(self.raw_path);
        match self.is_plain {
            true => Cow::Borrowed(inner.strip_suffix('/').unwrap_or(inner).as_bytes()),
            false => Cow::Owned(resolve_path(self.raw_path)),
        }
    }

    /// Whether the target ends in a slash, and so names a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// Query as it was sent, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// Returns a reference to the same path with a trailing slash and the same query, encoded anew. It begins with
    /// exactly one slash, so it never names another host.
    #[must_use]
    pub fn with_trailing_slash(&self) -> String {
        let mut text = String::from("/");
        percent_encode(&self.path(), PATH_CHARACTERS, &mut text);
        if !text.ends_with('/') {
            text.push('/');
        }
        if let Some(query) = self.query {
            text.push('?');
            percent_encode(query.as_bytes(), QUERY_CHARACTERS, &mut text);
        }
        text
    }
}

/// Parses a target in absolute-form into authority and rest.
fn parse_absolute_form(target: &str) -> Result<(Option<&[u8]>, &str), TargetError> {
    let (scheme, rest) = target.split_once("://").ok_or(TargetError::Form)?;
    match scheme {
        scheme if scheme.eq_ignore_ascii_case("http") => {}
        scheme if scheme.eq_ignore_ascii_case("https") => return Err(TargetError::HttpsScheme),
        _ => return Err(TargetError::Form),
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(TargetError::Form)?;
    // An http URI with an empty host is invalid (RFC 9110 section 4.2.1).
    let is_named = !authority.is_empty() && !authority.starts_with(':');
    match is_named && is_authority(authority.as_bytes()) {
        true => Ok((Some(authority.as_bytes()), path)),
        false => Err(TargetError::Authority),
    }
}

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9110 section 7.2), which may be empty.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    if let Some(rest) = value.strip_prefix(b"[") {
        return is_ip_literal(rest);
    }
    let mut rest = value;
    loop {
        let named = rest
            .iter()
            .take_while(|byte| is_reg_name_byte(**byte))
            .count();
        rest = match rest.get(named..).unwrap_or_default() {
            [] => return true,
            [b':', port @ ..] => return is_port(port),
            [b'%', high, low, after @ ..] if hex_value(*high).zip(hex_value(*low)).is_some() => {
                after
            }
            _ => return false,
        };
    }
}

/// Whether this is an IP address followed by `]` and an optional port.
fn is_ip_literal(value: &[u8]) -> bool {
    let split = std::str::from_utf8(value).ok();
    split
        .and_then(|value| value.split_once(']'))
        .is_some_and(|(address, port)| {
            let is_address = address.parse::<Ipv6Addr>().is_ok() || is_ip_future(address);
            let port = port.as_bytes();
            is_address && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
        })
}

/// Whether this is a port number, or empty.
fn is_port(value: &[u8]) -> bool {
    let is_in_range = || str::from_utf8(value).is_ok_and(|digits| digits.parse::<u16>().is_ok());
    value.iter().all(u8::is_ascii_digit) && (value.len() < 5 || is_in_range())
}

/// Whether a byte may stand unencoded in a host (RFC 3986 section 3.2.2).
fn is_reg_name_byte(byte: u8) -> bool {
    REG_NAME_BYTES.get(usize::from(byte)) == Some(&true)
}

/// Lookup table for [`is_reg_name_byte`]: faster than comparing.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const REG_NAME_BYTES: [bool; 256] = {
    let mut names = [false; 256];
    let mut rest: &[u8] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~!$&'()*+,;=";
    while let [name, others @ ..] = rest {
        names[*name as usize] = true;
        rest = others;
    }
    names
};

/// Whether this is `IPvFuture`: an address of a future IP version (RFC 3986 section 3.2.2).
fn is_ip_future(address: &str) -> bool {
    let parts = address
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(version, address)| {
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_address = |byte| is_reg_name_byte(byte) || byte == b':';
        is_number && !address.is_empty() && address.bytes().all(is_address)
    })
}

/// Returns the length of the path, where the query begins, and whether the path is plain: not encoded, and without
/// segments that are empty or begin with a dot (which may be `.` or `..`).
fn scan(path_and_query: &str) -> Result<(usize, bool), TargetError> {
    let mut is_plain = path_and_query.starts_with('/');
    let mut end = None;
    let mut before = 0;
    for (index, byte) in path_and_query.bytes().enumerate() {
        match byte {
            _ if is_reg_name_byte(byte) && byte != b'.' => {}
            b'#' => return Err(TargetError::Form),
            0..b' ' | 0x7f => return Err(TargetError::ControlCharacter),
            _ if end.is_some() => {}
            b'?' => end = Some(index),
            b'%' => is_plain = false,
            b'/' | b'.' if before == b'/' => is_plain = false,
            _ => {}
        }
        before = byte;
    }
    Ok((end.unwrap_or(path_and_query.len()), is_plain))
}

/// Whether a path names a directory, if it exists.
fn names_directory(path: &str) -> Result<bool, TargetError> {
    let mut depth: usize = 0;
    let mut is_directory = true;
    for segment in path.split('/') {
        let (mut length, mut dots) = (0, 0);
        for byte in percent_decode(segment) {
            length += 1;
            dots += usize::from(byte? == b'.');
        }
        is_directory = length == dots && length <= 2;
        depth = match (is_directory, length) {
            (true, 2) => depth.checked_sub(1).ok_or(TargetError::AboveRoot)?,
            (true, _) => depth,
            (false, _) => depth + 1,
        };
    }
    Ok(is_directory)
}

/// Decodes a well-formed path, drops empty segments and `.`, and removes one segment for each `..`.
fn resolve_path(path: &str) -> Vec<u8> {
    let mut resolved = Vec::with_capacity(path.len());
    for segment in path.split('/') {
        let start = resolved.len();
        if start > 0 {
            resolved.push(b'/');
        }
        let name = resolved.len();
        resolved.extend(percent_decode(segment).map_while(Result::ok));
        match resolved.get(name..).unwrap_or_default() {
            b"" | b"." => resolved.truncate(start),
            b".." => {
                let kept = resolved.get(..start).unwrap_or_default();
                resolved.truncate(split_path(kept).0.len());
            }
            _ => {}
        }
    }
    resolved
}

/// Decodes a segment, once.
fn percent_decode(segment: &str) -> impl Iterator<Item = Result<u8, TargetError>> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let (&byte, after) = rest.split_first()?;
        let byte = match after {
            _ if byte != b'%' => {
                rest = after;
                byte
            }
            [high, low, after @ ..] => {
                rest = after;
                match hex_value(*high).zip(hex_value(*low)) {
                    Some((high, low)) => high << 4 | low,
                    None => return Some(Err(TargetError::PercentEncoding)),
                }
            }
            _ => return Some(Err(TargetError::PercentEncoding)),
        };
        Some(match byte {
            b'/' => Err(TargetError::EncodedSlash),
            byte if byte.is_ascii_control() => Err(TargetError::ControlCharacter),
            byte => Ok(byte),
        })
    })
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Characters other than letters and digits that need no encoding in a path (RFC 3986 section 3.3).
pub const PATH_CHARACTERS: &[u8] = b"-._~!$&'()*+,;=:@/";

/// The same for a path that is encoded already.
pub const ENCODED_PATH_CHARACTERS: &[u8] = b"-._~!$&'()*+,;=:@/%";

/// The same for a query or fragment (RFC 3986 section 3.4) that is encoded already.
pub const QUERY_CHARACTERS: &[u8] = b"-._~!$&'()*+,;=:@/?%";

/// Characters other than letters and digits that separate nothing anywhere in a URL or a field, but segments of a path.
pub const UNRESERVED_AND_SLASH: &[u8] = b"-._~/";

/// Appends `bytes`, percent-encoding all but ASCII letters, digits, and the bytes in `kept`.
pub fn percent_encode(bytes: &[u8], kept: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(target: &str, expected: Result<(&[u8], bool), TargetError>) {
        let found = Target::parse(target, Some(b"host"))
            .map(|target| (target.path(), target.is_directory()));
        let expected = expected.map(|(path, is_directory)| (Cow::Borrowed(path), is_directory));
        assert_eq!(found, expected, "{target}");
    }

    #[test]
    fn path_is_decoded_once_and_resolved() {
        check("/", Ok((b"", true)));
        check("/a", Ok((b"a", false)));
        check("/a/", Ok((b"a", true)));
        check("/a/b.html?c=/../d", Ok((b"a/b.html", false)));
        check("/a%20b", Ok((b"a b", false)));
        check("/%2561", Ok((b"%61", false)));
        check("/caf%c3%A9", Ok(("café".as_bytes(), false)));
        check("/café", Ok(("café".as_bytes(), false)));
        check("/%ff", Ok((b"\xff", false)));
        check("//a///b//", Ok((b"a/b", true)));
        check("/a/./b/.", Ok((b"a/b", true)));
        check("/a/../b", Ok((b"b", false)));
        check("/a/b/..", Ok((b"a", true)));
        check("/a/%2e%2E/b", Ok((b"b", false)));
        check("/a/..", Ok((b"", true)));
        check("/.a/..b/c..", Ok((b".a/..b/c..", false)));
        check("/a\\..\\b", Ok((b"a\\..\\b", false)));
        check("/?", Ok((b"", true)));
    }

    #[test]
    fn malformed_target_is_refused() {
        check("/..", Err(TargetError::AboveRoot));
        check("/a/../..", Err(TargetError::AboveRoot));
        check("/%2e%2e/a", Err(TargetError::AboveRoot));
        check("/a/..//../b", Err(TargetError::AboveRoot));
        check("/%", Err(TargetError::PercentEncoding));
        check("/%4", Err(TargetError::PercentEncoding));
        check("/%+1", Err(TargetError::PercentEncoding));
        check("/%g0", Err(TargetError::PercentEncoding));
        check("/a%00", Err(TargetError::ControlCharacter));
        check("/a%0d%0a", Err(TargetError::ControlCharacter));
        check("/%7f", Err(TargetError::ControlCharacter));
        check("/a%2fb", Err(TargetError::EncodedSlash));
        check("/..%2F..", Err(TargetError::EncodedSlash));
        check("/a#b", Err(TargetError::Form));
        check("*", Err(TargetError::Form));
        check("a", Err(TargetError::Form));
        check("", Err(TargetError::Form));
        check("host:80", Err(TargetError::Form));
    }

    #[test]
    fn absolute_form_overrides_host() {
        let authority =
            |target| Target::parse(target, Some(b"field")).map(|target| target.authority());
        assert_eq!(authority("/a"), Ok(Some("field")));
        assert_eq!(authority("http://other:81/a"), Ok(Some("other:81")));
        assert_eq!(authority("HTTP://[::1]"), Ok(Some("[::1]")));
        assert_eq!(authority("HTTPS://other/"), Err(TargetError::HttpsScheme));
        assert_eq!(authority("ftp://other/a"), Err(TargetError::Form));
        assert_eq!(authority("http:///a"), Err(TargetError::Authority));
        assert_eq!(
            authority("http://user@other/a"),
            Err(TargetError::Authority)
        );
        check("http://other", Ok((b"", true)));
        check("http://other?a/b", Ok((b"", true)));
        check("http://other/a/../../b", Err(TargetError::AboveRoot));
    }

    #[test]
    fn authority_is_host_and_port() {
        for good in [
            "",
            "a",
            "A.b-c:80",
            "127.0.0.1:",
            "[::1]",
            "[::1]:8080",
            "[v1.a:b]:80",
            "[VF0.~]",
            "a%20b",
            "x_y",
        ] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        let bad: [&[u8]; 17] = [
            b"a b",
            b"a:b",
            b"a:80:80",
            b"a@b",
            b"a/b",
            b"[::1",
            b"::1",
            b"[a]",
            b"[::1]a",
            b"a:99999",
            b"a%2",
            b"caf\xe9",
            b"[fe80::1%25eth0]",
            b"[v.a]",
            b"[v1.]",
            b"[v1.a@b]",
            b"[vg.a]",
        ];
        for bad in bad {
            assert!(!is_authority(bad), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn trailing_slash_reference_keeps_the_host() {
        let reference = |target| Target::parse(target, None).unwrap().with_trailing_slash();
        assert_eq!(reference("/a"), "/a/");
        assert_eq!(
            reference("//evil.example/a?b=%20\"c\""),
            "/evil.example/a/?b=%20%22c%22"
        );
        assert_eq!(reference("/%5cevil.example"), "/%5Cevil.example/");
        assert_eq!(reference("/a b/%e9"), "/a%20b/%E9/");
        assert_eq!(reference("/"), "/");
    }

    proptest! {
        #[test]
        fn parsed_path_stays_below_the_root(raw in "(/|%2f|%2F|\\.|%2e|%2E|\\\\|%5c|%00|%25|a|é|;|\\?|//){0,24}") {
            let raw = format!("/{raw}");
            if let Ok(target) = Target::parse(&raw, None) {
                let path = target.path();
                for segment in path.split(|&byte| byte == b'/') {
                    prop_assert!(segment != b".." && segment != b".", "{raw}");
                    prop_assert!(!segment.is_empty() || path.is_empty(), "{raw}");
                    prop_assert!(!segment.iter().any(|byte| byte.is_ascii_control()), "{raw}");
                }
                let reference = target.with_trailing_slash();
                prop_assert!(reference.starts_with('/') && !reference.starts_with("//"), "{raw}");
            }
        }

        #[test]
        fn arbitrary_text_never_panics(raw in "\\PC{0,60}") {
            let _ = Target::parse(&raw, None);
        }

        #[test]
        fn trailing_slash_reference_keeps_the_path(path in prop::collection::vec(1u8.., 1..20)) {
            let mut raw = String::from("/");
            percent_encode(&path, b"", &mut raw);
            if let Ok(target) = Target::parse(&raw, None) {
                let reference = target.with_trailing_slash();
                let again = Target::parse(&reference, None).unwrap();
                prop_assert_eq!(again.path(), target.path());
                prop_assert!(again.is_directory());
            }
        }
    }
}
