//! Parsers of option values.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use docroot::http::{is_token, percent_encode};
use docroot::site::{CachePolicy, ConfiguredField, MediaTypes, MediaTypesInput};

/// Parses a time of 1ms to 24h, with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let expected = || "expected a number and a unit, such as 500ms, 10s, 2m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let max_millis = 86_400_000;
    match number.checked_mul(millis) {
        Some(millis) if (1..=max_millis).contains(&millis) => Ok(Duration::from_millis(millis)),
        _ => Err("expected 1ms to 24h".into()),
    }
}

/// Splits a text after its leading digits.
fn split_unit(text: &str) -> (&str, &str) {
    let is_unit = |char: char| !char.is_ascii_digit();
    text.split_at(text.find(is_unit).unwrap_or(text.len()))
}

/// Parses a number of bytes: `1024`, `1k`, `1KiB`. k, M and G are powers of 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let expected = || "expected bytes, such as 1024, 1KiB, 8MiB".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return Err(expected()),
    };
    number.checked_mul(factor).ok_or_else(expected)
}

pub(super) fn cache_size(text: &str) -> Result<usize, String> {
    let fits = |size: u64| usize::try_from(size).map_err(|_| "expected less".to_owned());
    size(text).and_then(fits)
}

/// Text for a switch that is neither on nor off.
pub(super) const EXPECTED_SWITCH: &str = "expected true, yes, on, 1, or false, no, off, 0";

/// Parses the value of a switch in its variable, in the words that clap has for them.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "t" | "true" | "on" | "1" => Some(true),
        "n" | "no" | "f" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Parses the value of `--cache`.
pub(super) fn cache_policy(text: &str) -> Result<CachePolicy, String> {
    text.to_ascii_lowercase().parse()
}

/// Parses the level of `-v` in its variable: a number, true or false.
pub(super) fn level(text: &str) -> Result<u8, String> {
    match (text.parse(), switch(text)) {
        (Ok(level), _) => Ok(level),
        (Err(_), Some(is_on)) => Ok(is_on.into()),
        (Err(_), None) => Err("expected 0, 1 or 2".to_owned()),
    }
}

/// Parses one line of a list of fields; an empty line is `None`.
pub(super) fn field(text: &str) -> Result<Option<ConfiguredField>, String> {
    match text.trim_ascii() {
        "" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// Parses an origin (RFC 6454 section 6.2), or `*`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_host = |host: &str| {
        let is_host_byte = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\\"<>,;".contains(&byte);
        !host.is_empty() && host.bytes().all(is_host_byte)
    };
    match text.split_once("://") {
        _ if text == "*" => Ok(text.to_owned()),
        Some((scheme, host))
            if is_host(host) && scheme.bytes().all(|it| it.is_ascii_alphanumeric()) =>
        {
            Ok(text.to_ascii_lowercase())
        }
        _ => Err("expected an origin, such as https://example.com, or *".into()),
    }
}

/// Parses a path prefix, and returns it without its slashes.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    match text.trim_matches('/') {
        "" => Ok(String::new()),
        inner => file_path(inner).map_err(|_| "expected a path, such as /docs".into()),
    }
}

pub(super) fn types(text: &str) -> Result<MediaTypesInput, String> {
    let text = text.trim_ascii();
    let lacks_dot = || {
        let pair = text.split_once('=');
        pair.is_some_and(|(name, kind)| !name.contains('/') && kind.contains('/'))
    };
    match text.starts_with('.') && text.contains('=') {
        true => MediaTypes::parse_pair(text).map(MediaTypesInput::Types),
        false if lacks_dot() => Err(format!("expected a dot before the extension: .{text}")),
        false => Ok(MediaTypesInput::File(text.into())),
    }
}

pub(super) fn header_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(size @ 256..=16_777_216) => Ok(size),
        _ => Err("expected 256 bytes to 16MiB".into()),
    }
}

pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= 1024 => Ok(count),
        _ => Err("expected a number from 1 to 1024".into()),
    }
}

pub(super) fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("expected a number of at least 1".into()),
    }
}

/// Returns the request target of a typed path. Bytes that are not valid in a target are percent-encoded, as by
/// browsers.
pub(super) fn target(path: &[u8]) -> String {
    let mut target = String::new();
    let is_complete = path.starts_with(b"/") || path == b"*" || has_scheme(path);
    if !is_complete {
        target.push('/');
    }
    percent_encode(path, b"!#$%&'()*+,-./:;=?@[]_~", &mut target);
    target
}

/// Whether this is a URL with a scheme.
fn has_scheme(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    path.starts_with(b"http://") || path.starts_with(b"https://")
}

/// Parses a field line of a request without content.
pub(super) fn request_field(text: &str) -> Result<String, String> {
    let expected = || "expected 'Name: value', such as 'Accept-Encoding: br'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(expected)?;
    if !is_token(name.as_bytes()) || value.contains(|char: char| char.is_control() && char != '\t')
    {
        return Err(expected());
    }
    let content_fields = ["Content-Length", "Transfer-Encoding"];
    match content_fields
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
    {
        true => Err(
            "docroot explain does not support requests with content; leave this field out".into(),
        ),
        false => Ok(text.to_owned()),
    }
}

pub(super) fn method(text: &str) -> Result<String, String> {
    match is_token(text.as_bytes()) {
        true => Ok(text.to_owned()),
        false => Err("expected a method, such as HEAD".into()),
    }
}

/// Parses the name of a user (RFC 7617 section 2).
pub(super) fn user_name(text: &str) -> Result<String, String> {
    let is_valid =
        !text.is_empty() && !text.contains(|char: char| char == ':' || char.is_control());
    let expected = || "expected a name without colons and control characters".to_owned();
    is_valid.then(|| text.to_owned()).ok_or_else(expected)
}

/// Parses the name of a file, without directories.
pub(super) fn file_name(text: &str) -> Result<String, String> {
    match file_path(text.trim_ascii())? {
        name if name.contains('/') => Err("expected a file name, without a slash".into()),
        name => Ok(name),
    }
}

/// Returns a path of a list without blanks around it.
pub(super) fn trimmed_path(path: PathBuf) -> PathBuf {
    OsStr::from_bytes(path.as_os_str().as_bytes().trim_ascii()).into()
}

/// Parses a path relative to the root.
pub(super) fn file_path(text: &str) -> Result<String, String> {
    let is_plain_name = |name: &str| !matches!(name, "" | "." | "..");
    match text.split('/').all(is_plain_name) {
        true => Ok(text.to_owned()),
        false => Err("expected a path relative to the root, such as errors/404.html".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units_and_limits() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in [
            "",
            "10",
            "s",
            "1.5s",
            "0s",
            "25h",
            "-1s",
            "99999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(size("1024"), Ok(1024));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("8m"), Ok(8 << 20));
        assert_eq!(size("0"), Ok(0));
        for bad in ["", "KiB", "1 KiB", "-1", "1.5k", "1kb/s", "99999999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(header_size("255").is_err());
        assert!(header_size("17MiB").is_err());
        assert!(connections("0").is_err());
        assert_eq!(workers("2").map(NonZeroUsize::get), Ok(2));
        for bad in ["", "0", "-1", "1025", "2.5", "auto"] {
            assert!(workers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn path_outside_root_is_refused() {
        assert!(file_path("errors/404.html").is_ok());
        for bad in ["", "/404.html", "../404.html", "a//b", "a/"] {
            assert!(file_path(bad).is_err(), "{bad}");
        }
        assert!(file_name("a/b").is_err());
    }

    #[test]
    fn typed_path_becomes_a_target() {
        let check = |typed: &str, expected: &str| assert_eq!(target(typed.as_bytes()), expected);
        check("/a", "/a");
        check("a/b?q=1", "/a/b?q=1");
        check("", "/");
        check("/a b\"ä%20", "/a%20b%22%C3%A4%20");
        check("http://host/a", "http://host/a");
        check("https.html", "/https.html");
        check("*", "*");
        for bad in ["", "a", "a b: c", "a: b\nc: d", ": b", "content-length: 0"] {
            assert!(request_field(bad).is_err(), "{bad}");
        }
        assert!(request_field("Accept:").is_ok());
        assert!(method("B/C").is_err());
    }
}
