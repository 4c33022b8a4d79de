//! What a request asks for.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::status::Status;

/// What a request asks for.
///
/// Its path has no `.` and no `..`, no empty segment, no NUL, no control character, and no slash
/// that was encoded; there is no other way to make one than [`Target::parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    host: Option<&'a [u8]>,
    /// As it was sent, found to be well-formed, and not yet decoded: who has seen it before need not.
    raw: &'a str,
    /// Whether decoding and resolving would change nothing.
    plain: bool,
    directory: bool,
    query: Option<&'a str>,
}

/// Why a request target is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Neither a path nor an absolute URI (RFC 9112 sections 3.2.1 and 3.2.2).
    Form,
    /// The request is for a resource that is to be had over TLS, which this connection is not (RFC 9110
    /// section 7.4).
    Unsecured,
    /// The authority of an absolute URI is none.
    Authority,
    /// A `%` without two hexadecimal digits behind it.
    Percent,
    /// A control character, NUL among them, raw or encoded.
    Control,
    /// An encoded slash, which could mean a part of a name or the end of it.
    EncodedSlash,
    /// More `..` than there are segments before.
    Climbs,
}

impl Malformed {
    /// The status that says so.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Unsecured => Status::MisdirectedRequest,
            _ => Status::BadRequest,
        }
    }

    /// The reason, as a sentence for the peer.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Form => "The request's target is neither a path nor an absolute URI.",
            Self::Unsecured => {
                "The request is for a secure resource, and came over a connection that is not."
            }
            Self::Authority => "The authority in the request's target is malformed.",
            Self::Percent => "The request's target has a percent sign that encodes nothing.",
            Self::Control => "The request's target has a control character.",
            Self::EncodedSlash => "The request's target has an encoded slash.",
            Self::Climbs => "The request's target climbs out of the site.",
        }
    }
}

impl<'a> Target<'a> {
    /// Reads a request target in origin-form or absolute-form; `host` is the Host field, which an
    /// absolute form's authority overrides (RFC 9112 section 3.2.2).
    ///
    /// The path is to be decoded once (RFC 3986 section 2.4), then its `.` and `..` are resolved; empty
    /// segments are left out. That nothing stands in the way of it is made sure of here.
    ///
    /// # Errors
    /// [`Malformed`], for a target that has no meaning, or one outside the root.
    pub fn parse(raw: &'a str, host: Option<&'a [u8]>) -> Result<Self, Malformed> {
        let (host, raw) = match raw.starts_with('/') {
            true => (host, raw),
            false => absolute(raw)?,
        };
        let (end, plain) = scan(raw)?;
        let (raw, query) = raw.split_at_checked(end).unwrap_or((raw, ""));
        let query = query.strip_prefix('?');
        let directory = match plain {
            true => raw.ends_with('/'),
            false => is_directory(raw)?,
        };
        Ok(Self {
            host,
            raw,
            plain,
            directory,
            query,
        })
    }

    /// The authority asked for: the host, and the port if one was said. `None` if none was said.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        // An authority is ASCII.
        std::str::from_utf8(self.host?).ok()
    }

    /// The path as it was sent, without the query. Two that are the same mean the same; two that differ
    /// may, too.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The decoded path below the root, without a slash at either end; empty for the root itself.
    #[must_use]
    pub fn path(&self) -> Cow<'a, [u8]> {
        let inner = self.raw.strip_prefix('/').unwrap_or(self.raw);
        match self.plain {
            true => Cow::Borrowed(inner.strip_suffix('/').unwrap_or(inner).as_bytes()),
            false => Cow::Owned(resolve(self.raw)),
        }
    }

    /// Whether the target ends in a slash, and so names a folder.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The query as it was sent, without its question mark.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// A reference to the same path with a slash at its end and the same query, encoded anew. It
    /// begins with exactly one slash, so it never names another host.
    #[must_use]
    pub fn as_directory(&self) -> String {
        let mut text = String::from("/");
        encode(&self.path(), PATH, &mut text);
        if !text.ends_with('/') {
            text.push('/');
        }
        if let Some(query) = self.query {
            text.push('?');
            encode(query.as_bytes(), b"-._~!$&'()*+,;=:@/?%", &mut text);
        }
        text
    }
}

/// Host and rest of a target in absolute-form.
fn absolute(raw: &str) -> Result<(Option<&[u8]>, &str), Malformed> {
    let (scheme, rest) = raw.split_once("://").ok_or(Malformed::Form)?;
    match scheme {
        scheme if scheme.eq_ignore_ascii_case("http") => {}
        scheme if scheme.eq_ignore_ascii_case("https") => return Err(Malformed::Unsecured),
        _ => return Err(Malformed::Form),
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end).ok_or(Malformed::Form)?;
    // An http URI with an empty host is invalid (RFC 9110 section 4.2.1).
    let is_named = !host.is_empty() && !host.starts_with(':');
    match is_named && is_authority(host.as_bytes()) {
        true => Ok((Some(host.as_bytes()), path)),
        false => Err(Malformed::Authority),
    }
}

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9110 section 7.2), which may be empty.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    if let Some(rest) = value.strip_prefix(b"[") {
        return is_literal(rest);
    }
    let mut rest = value;
    loop {
        let named = rest.iter().take_while(|byte| is_name(**byte)).count();
        rest = match rest.get(named..).unwrap_or_default() {
            [] => return true,
            [b':', port @ ..] => return is_port(port),
            [b'%', high, low, after @ ..] if hex(*high).zip(hex(*low)).is_some() => after,
            _ => return false,
        };
    }
}

/// Whether this is an address, `]`, and perhaps a port.
fn is_literal(value: &[u8]) -> bool {
    let split = std::str::from_utf8(value).ok();
    split
        .and_then(|value| value.split_once(']'))
        .is_some_and(|(address, port)| {
            let is_address = address.parse::<Ipv6Addr>().is_ok() || is_of_the_future(address);
            let port = port.as_bytes();
            is_address && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
        })
}

/// Whether this is a port's number, or nothing.
fn is_port(value: &[u8]) -> bool {
    let more = |number: u32, byte: &u8| match byte {
        b'0'..=b'9' => Some(
            number
                .saturating_mul(10)
                .saturating_add(u32::from(byte - b'0')),
        ),
        _ => None,
    };
    let number = value.iter().try_fold(0, more);
    number.is_some_and(|number| number <= u32::from(u16::MAX))
}

/// Whether a byte may stand for itself in a host (RFC 3986 section 3.2.2).
fn is_name(byte: u8) -> bool {
    NAMES.get(usize::from(byte)) == Some(&true)
}

/// The answer for every byte: to look it up is quicker than to think about it.
#[expect(
    clippy::indexing_slicing,
    reason = "it is worked out when this is compiled"
)]
const NAMES: [bool; 256] = {
    let mut names = [false; 256];
    let mut rest: &[u8] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~!$&'()*+,;=";
    while let [name, others @ ..] = rest {
        names[*name as usize] = true;
        rest = others;
    }
    names
};

/// `IPvFuture`: a version of IP that is yet to come (RFC 3986 section 3.2.2).
fn is_of_the_future(address: &str) -> bool {
    let parts = address
        .strip_prefix(['v', 'V'])
        .and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(version, address)| {
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_address = |byte| is_name(byte) || byte == b':';
        is_number && !address.is_empty() && address.bytes().all(is_address)
    })
}

/// Where the path ends and the query begins, and whether the path is its own decoded form: nothing in it is
/// encoded, and no segment is empty, `.` or `..`, or looks a little like that.
fn scan(raw: &str) -> Result<(usize, bool), Malformed> {
    let mut plain = raw.starts_with('/');
    let mut end = None;
    let mut before = 0;
    for (place, byte) in raw.bytes().enumerate() {
        match byte {
            _ if is_name(byte) && byte != b'.' => {}
            b'#' => return Err(Malformed::Form),
            0..b' ' | 0x7f => return Err(Malformed::Control),
            _ if end.is_some() => {}
            b'?' => end = Some(place),
            b'%' => plain = false,
            b'/' | b'.' if before == b'/' => plain = false,
            _ => {}
        }
        before = byte;
    }
    Ok((end.unwrap_or(raw.len()), plain))
}

/// Whether a path names a folder, if it names anything at all.
fn is_directory(path: &str) -> Result<bool, Malformed> {
    let mut depth: usize = 0;
    let mut directory = true;
    for segment in path.split('/') {
        let (mut length, mut dots) = (0, 0);
        for byte in decode(segment) {
            length += 1;
            dots += usize::from(byte? == b'.');
        }
        directory = length == dots && length <= 2;
        depth = match (directory, length) {
            (true, 2) => depth.checked_sub(1).ok_or(Malformed::Climbs)?,
            (true, _) => depth,
            (false, _) => depth + 1,
        };
    }
    Ok(directory)
}

/// Decodes a path that is well-formed, leaves out empty segments and `.`, and goes back one segment
/// for each `..`.
fn resolve(path: &str) -> Vec<u8> {
    let mut resolved = Vec::with_capacity(path.len());
    for segment in path.split('/') {
        let start = resolved.len();
        if start > 0 {
            resolved.push(b'/');
        }
        let name = resolved.len();
        resolved.extend(decode(segment).map_while(Result::ok));
        match resolved.get(name..).unwrap_or_default() {
            b"" | b"." => resolved.truncate(start),
            b".." => {
                let kept = resolved.get(..start).unwrap_or_default();
                let parent = kept.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                resolved.truncate(parent);
            }
            _ => {}
        }
    }
    resolved
}

/// A segment's bytes, each decoded once.
fn decode(segment: &str) -> impl Iterator<Item = Result<u8, Malformed>> {
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
                match hex(*high).zip(hex(*low)) {
                    Some((high, low)) => high << 4 | low,
                    None => return Some(Err(Malformed::Percent)),
                }
            }
            _ => return Some(Err(Malformed::Percent)),
        };
        Some(match byte {
            b'/' => Err(Malformed::EncodedSlash),
            byte if byte.is_ascii_control() => Err(Malformed::Control),
            byte => Ok(byte),
        })
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// What stands for itself in a path beside letters and digits (RFC 3986 section 3.3).
pub const PATH: &[u8] = b"-._~!$&'()*+,;=:@/";

/// Appends `bytes`, percent-encoding all but ASCII letters and digits, and what is `kept`.
pub fn encode(bytes: &[u8], kept: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, expected: Result<(&[u8], bool), Malformed>) {
        let found =
            Target::parse(raw, Some(b"host")).map(|target| (target.path(), target.is_directory()));
        let expected = expected.map(|(path, directory)| (Cow::Borrowed(path), directory));
        assert_eq!(found, expected, "{raw}");
    }

    #[test]
    fn paths_are_decoded_once_and_resolved() {
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
    fn what_has_no_meaning_is_refused() {
        check("/..", Err(Malformed::Climbs));
        check("/a/../..", Err(Malformed::Climbs));
        check("/%2e%2e/a", Err(Malformed::Climbs));
        check("/a/..//../b", Err(Malformed::Climbs));
        check("/%", Err(Malformed::Percent));
        check("/%4", Err(Malformed::Percent));
        check("/%+1", Err(Malformed::Percent));
        check("/%g0", Err(Malformed::Percent));
        check("/a%00", Err(Malformed::Control));
        check("/a%0d%0a", Err(Malformed::Control));
        check("/%7f", Err(Malformed::Control));
        check("/a%2fb", Err(Malformed::EncodedSlash));
        check("/..%2F..", Err(Malformed::EncodedSlash));
        check("/a#b", Err(Malformed::Form));
        check("*", Err(Malformed::Form));
        check("a", Err(Malformed::Form));
        check("", Err(Malformed::Form));
        check("host:80", Err(Malformed::Form));
    }

    #[test]
    fn an_absolute_form_says_the_host_itself() {
        let host = |raw| Target::parse(raw, Some(b"field")).map(|target| target.host());
        assert_eq!(host("/a"), Ok(Some("field")));
        assert_eq!(host("http://other:81/a"), Ok(Some("other:81")));
        assert_eq!(host("HTTP://[::1]"), Ok(Some("[::1]")));
        assert_eq!(host("HTTPS://other/"), Err(Malformed::Unsecured));
        assert_eq!(host("ftp://other/a"), Err(Malformed::Form));
        assert_eq!(host("http:///a"), Err(Malformed::Authority));
        assert_eq!(host("http://user@other/a"), Err(Malformed::Authority));
        check("http://other", Ok((b"", true)));
        check("http://other?a/b", Ok((b"", true)));
        check("http://other/a/../../b", Err(Malformed::Climbs));
    }

    #[test]
    fn authorities() {
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
    fn a_directory_reference_stays_here() {
        let reference = |raw| Target::parse(raw, None).unwrap().as_directory();
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
        fn no_path_ever_leaves_the_root(raw in "(/|%2f|%2F|\\.|%2e|%2E|\\\\|%5c|%00|%25|a|é|;|\\?|//){0,24}") {
            let raw = format!("/{raw}");
            if let Ok(target) = Target::parse(&raw, None) {
                let path = target.path();
                for segment in path.split(|&byte| byte == b'/') {
                    prop_assert!(segment != b".." && segment != b".", "{raw}");
                    prop_assert!(!segment.is_empty() || path.is_empty(), "{raw}");
                    prop_assert!(!segment.iter().any(|byte| byte.is_ascii_control()), "{raw}");
                }
                let reference = target.as_directory();
                prop_assert!(reference.starts_with('/') && !reference.starts_with("//"), "{raw}");
            }
        }

        #[test]
        fn any_text_is_a_target_or_a_refusal(raw in "\\PC{0,60}") {
            let _ = Target::parse(&raw, None);
        }

        #[test]
        fn a_directory_reference_means_the_same_path(path in prop::collection::vec(1u8.., 1..20)) {
            let mut raw = String::from("/");
            encode(&path, b"", &mut raw);
            if let Ok(target) = Target::parse(&raw, None) {
                let reference = target.as_directory();
                let again = Target::parse(&reference, None).unwrap();
                prop_assert_eq!(again.path(), target.path());
                prop_assert!(again.is_directory());
            }
        }
    }
}
