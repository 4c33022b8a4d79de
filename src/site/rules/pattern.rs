//! Path patterns of rules: parsing, matching, and templates that are filled with captures.
//!
//! Patterns are those of Netlify and Cloudflare Pages: literal segments, placeholders (`:name`) that match one segment,
//! and one splat (`*`) that matches anything, slashes included. Where the two differ, docroot does this:
//!
//! - `*` may stand anywhere, once (Netlify: at the end; Cloudflare: anywhere, once).
//! - A placeholder may have text before and after it in its segment, `/post-:id.html` (Cloudflare; in Netlify it is
//!   a whole segment). A segment has at most one, so that a path matches in one way only.
//! - `/docs/*` also matches `/docs` (Netlify), with an empty splat.
//! - A trailing slash makes no difference (Netlify), unless it is part of the splat.
//! - Matching is case-sensitive (Cloudflare), as for files.
//!
//! A path is read once from its front and once from its back, without backtracking.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::http::percent_encode;

/// Pattern that a path matches or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Segments before the splat.
    leading_segments: Vec<Segment>,
    splat: Option<Splat>,
    /// Whether the pattern ends in a slash.
    has_trailing_slash: bool,
    /// Names of the captures, in order. The name of a `*` is `splat`.
    names: Vec<String>,
}

/// Segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Vec<u8>),
    /// Placeholder, with the text before and after it.
    Placeholder(Vec<u8>, Vec<u8>),
}

/// `*`, with the text before and after it in its segment, and the segments that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Splat {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    trailing_segments: Vec<Segment>,
}

impl Pattern {
    /// Returns the pattern `/*`, which matches any path.
    pub(crate) fn any() -> Self {
        Self {
            leading_segments: Vec::new(),
            splat: Some(Splat {
                prefix: Vec::new(),
                suffix: Vec::new(),
                trailing_segments: Vec::new(),
            }),
            has_trailing_slash: false,
            names: vec!["splat".to_owned()],
        }
    }

    /// Matches a decoded path with its leading slash. Returns the captures in the order of [`names`](Self::names), or
    /// `None` if the path does not match.
    pub(crate) fn captures<'p>(&self, path: &'p [u8]) -> Option<Vec<&'p [u8]>> {
        let path = path.strip_prefix(b"/")?;
        let path = match &self.splat {
            Some(splat) if splat.is_last() && !self.has_trailing_slash => path,
            _ => path.strip_suffix(b"/").unwrap_or(path),
        };
        let mut rest = Some(path).filter(|path| !path.is_empty());
        let mut captures = Vec::new();
        for segment in &self.leading_segments {
            let path = rest?;
            let slash = path.iter().position(|&byte| byte == b'/');
            captures.extend(segment.captures(&path[..slash.unwrap_or(path.len())])?);
            rest = slash.map(|slash| &path[slash + 1..]);
        }
        let Some(splat) = &self.splat else {
            return rest.is_none().then_some(captures);
        };
        let mut rest = rest.unwrap_or_default();
        let offset = captures.len();
        for segment in splat.trailing_segments.iter().rev() {
            let slash = rest.iter().rposition(|&byte| byte == b'/')?;
            captures.extend(segment.captures(&rest[slash + 1..])?);
            rest = &rest[..slash];
        }
        let rest = rest.strip_prefix(splat.prefix.as_slice())?;
        captures.push(rest.strip_suffix(splat.suffix.as_slice())?);
        captures[offset..].reverse();
        Some(captures)
    }

    /// Returns the names of the captures.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the only path that matches, without leading and trailing slash; `None` if there may be more.
    pub(crate) fn literal_path(&self) -> Option<Vec<u8>> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.clone()),
            Segment::Placeholder(..) => None,
        };
        if self.splat.is_some() {
            return None;
        }
        let segments: Option<Vec<_>> = self.leading_segments.iter().map(literal).collect();
        segments.map(|segments| segments.join(&b'/'))
    }

    /// Whether the pattern ends in a slash.
    pub(crate) fn has_trailing_slash(&self) -> bool {
        self.has_trailing_slash
    }
}

impl FromStr for Pattern {
    type Err = String;

    /// Parses a pattern, percent-encoded or not.
    ///
    /// # Errors
    /// Returns the reason as a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(match text.contains("://") {
                true => format!("`{text}`: rules by host are not supported; write the path alone"),
                false => format!("`{text}` is not a path: begin it with `/`"),
            });
        };
        if let Some(mark) = text.chars().find(|char| matches!(char, '?' | '#')) {
            let sent = match mark {
                '?' => "a query is not looked at",
                _ => "a fragment is never sent to a server",
            };
            let code = u32::from(mark);
            return Err(format!(
                "`{text}`: {sent}; leave it out, or write %{code:X} for `{mark}` in a name"
            ));
        }
        let mut pattern = Self {
            leading_segments: Vec::new(),
            splat: None,
            has_trailing_slash: path.is_empty() || path.ends_with('/'),
            names: Vec::new(),
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path.split('/').filter(|_| text != "/");
        for segment in segments {
            pattern
                .push_segment(segment)
                .map_err(|why| format!("`{text}` {why}"))?;
        }
        Ok(pattern)
    }
}

impl Pattern {
    /// Parses and appends the next segment.
    fn push_segment(&mut self, segment: &str) -> Result<(), String> {
        let mut named = placeholders(segment);
        let (first, second) = (named.next(), named.next());
        let segment = match (segment.split_once('*'), first, second) {
            (Some(_), Some((_, name)), _) => {
                return Err(format!(
                    "has `*` and `:{name}` in one segment: give each its own"
                ));
            }
            (_, Some((_, first)), Some((_, second))) => {
                return Err(format!(
                    "has `:{first}` and `:{second}` in one segment: give each its own"
                ));
            }
            (Some((before, after)), None, _) => {
                if self.splat.is_some() || after.contains('*') {
                    return Err("has more than one `*`: use one".to_owned());
                }
                let (before, after) = (percent_decode(before)?, percent_decode(after)?);
                self.add_name("splat")?;
                let back = Vec::new();
                self.splat = Some(Splat {
                    prefix: before,
                    suffix: after,
                    trailing_segments: back,
                });
                return Ok(());
            }
            (None, Some((offset, name)), None) => {
                self.add_name(name)?;
                let after = &segment[offset + 1 + name.len()..];
                Segment::Placeholder(percent_decode(&segment[..offset])?, percent_decode(after)?)
            }
            (None, None, _) => match percent_decode(segment)? {
                name if name.is_empty() || name == b"." || name == b".." => {
                    let why = "has a segment that no path has: leave out empty ones, `.` and `..`";
                    return Err(why.to_owned());
                }
                name => Segment::Literal(name),
            },
        };
        match &mut self.splat {
            Some(splat) => splat.trailing_segments.push(segment),
            None => self.leading_segments.push(segment),
        }
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> Result<(), String> {
        match self.names.iter().any(|existing| existing == name) {
            true => Err(format!(
                "has the name `:{name}` twice: give each its own (`*` is `:splat`)"
            )),
            false => {
                self.names.push(name.to_owned());
                Ok(())
            }
        }
    }
}

impl Splat {
    /// Whether the pattern ends in it.
    fn is_last(&self) -> bool {
        self.suffix.is_empty() && self.trailing_segments.is_empty()
    }
}

impl Segment {
    /// Matches a segment. Returns its capture if it has one, or `None` if the segment does not match.
    fn captures<'p>(&self, segment: &'p [u8]) -> Option<Option<&'p [u8]>> {
        match self {
            Self::Literal(text) => (text == segment).then_some(None),
            Self::Placeholder(before, after) => {
                let segment = segment.strip_prefix(before.as_slice())?;
                let segment = segment.strip_suffix(after.as_slice())?;
                (!segment.is_empty()).then_some(Some(segment))
            }
        }
    }
}

/// Text with placeholders for captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    /// Literal texts, each with the index of the capture that follows.
    parts: Vec<(String, usize)>,
    /// Literal text after the last placeholder.
    end: String,
}

impl Template {
    /// Parses a text in which `:name` is a placeholder if it is one of these names. All other text is literal.
    pub(crate) fn new(text: &str, names: &[String]) -> Self {
        let mut parts = Vec::new();
        let mut start = 0;
        for (offset, name) in placeholders(text) {
            if let Some(number) = names.iter().position(|existing| existing == name) {
                parts.push((text[start..offset].to_owned(), number));
                start = offset + 1 + name.len();
            }
        }
        let end = text[start..].to_owned();
        Self { parts, end }
    }

    /// Returns the text if it has no placeholders.
    pub(crate) fn literal_text(&self) -> Option<&str> {
        self.parts.is_empty().then_some(&self.end)
    }

    /// Appends the text to `text`, with all placeholders filled. In captures, all bytes except letters, digits and
    /// `kept` are percent-encoded.
    pub(crate) fn fill(&self, captures: &[&[u8]], kept: &[u8], text: &mut String) {
        for (before, number) in &self.parts {
            text.push_str(before);
            percent_encode(
                captures.get(*number).copied().unwrap_or_default(),
                kept,
                text,
            );
        }
        text.push_str(&self.end);
    }
}

/// Finds each `:name` in a text, with its offset: a colon, a letter, then letters, digits and underscores
/// (Cloudflare's rule).
pub(crate) fn placeholders(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.match_indices(':').filter_map(move |(offset, _)| {
        let rest = &text[offset + 1..];
        let length = rest.bytes().take_while(is_part).count();
        let is_name = rest.starts_with(|first: char| first.is_ascii_alphabetic());
        is_name.then(|| (offset, &rest[..length]))
    })
}

/// Percent-decodes a part of a path once.
fn percent_decode(text: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => digit(bytes.next())
                .zip(digit(bytes.next()))
                .and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
                .ok_or("has a `%` that encodes nothing: write %25 for a percent sign")?,
            byte => byte,
        };
        match byte {
            b'/' => return Err("has an encoded slash".to_owned()),
            byte if byte.is_ascii_control() => {
                let mut why = String::from("has a control character: ");
                // Writing to a String does not fail.
                let _ = write!(why, "%{byte:02X}");
                return Err(why);
            }
            byte => decoded.push(byte),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, path: &str, expected: Option<&[&str]>) {
        let pattern: Pattern = pattern.parse().unwrap();
        let captures = pattern.captures(path.as_bytes());
        let expected =
            expected.map(|texts| texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
        assert_eq!(captures, expected, "{pattern:?} {path}");
        let names = pattern.names().len();
        assert!(captures.is_none_or(|captures| captures.len() == names));
    }

    #[test]
    fn literal_pattern_matches_only_its_path() {
        check("/", "/", Some(&[]));
        check("/", "/a", None);
        check("/a", "/a", Some(&[]));
        check("/a", "/A", None);
        check("/a", "/a/b", None);
        check("/a", "/ab", None);
        check("/a/b.html", "/a/b.html", Some(&[]));
        check("/a%20b", "/a b", Some(&[]));
        check("/caf%C3%A9", "/café", Some(&[]));
        check("/café", "/café", Some(&[]));
        check("/%2A", "/*", Some(&[]));
        check("/%3Aname", "/:name", Some(&[]));
        check("/12:30", "/12:30", Some(&[]));
        check("/%2541", "/%41", Some(&[]));
    }

    #[test]
    fn trailing_slash_is_ignored() {
        check("/a", "/a/", Some(&[]));
        check("/a/", "/a", Some(&[]));
        check("/:a", "/b/", Some(&["b"]));
        check("/*/b", "/a/b/", Some(&["a"]));
        check("/a/*/", "/a/b/", Some(&["b"]));
        check("/a/*", "/a/b/", Some(&["b/"]));
        check("/a", "/a//", None);
    }

    #[test]
    fn placeholder_captures_one_segment() {
        check("/movies/:title", "/movies/alien", Some(&["alien"]));
        check("/movies/:title", "/movies/", None);
        check("/movies/:title", "/movies/a/b", None);
        check("/:code/:name", "/a/b c", Some(&["a", "b c"]));
        check("/post-:id.html", "/post-7.html", Some(&["7"]));
        check("/post-:id.html", "/post-.html", None);
        check("/post-:id.html", "/pos", None);
        check("/:a_1-b", "/x-b", Some(&["x"]));
        check("/a:b/c", "/ax/c", Some(&["x"]));
        let blog = "/blog/:year/:month/:date/:slug";
        check(blog, "/blog/2026/1/2/x", Some(&["2026", "1", "2", "x"]));
        check(blog, "/blog/2026/1/2", None);
    }

    #[test]
    fn splat_captures_any_path() {
        check("/*", "/", Some(&[""]));
        check("/*", "/a/b/", Some(&["a/b/"]));
        check("/*", "//host/a", Some(&["/host/a"]));
        check("/docs/*", "/docs", Some(&[""]));
        check("/docs/*", "/docs/", Some(&[""]));
        check("/docs/*", "/docs/a/b", Some(&["a/b"]));
        check("/docs/*", "/docsa", None);
        check("/docs*", "/docsa/b", Some(&["a/b"]));
        check("/*.jpg", "/a/b.jpg", Some(&["a/b"]));
        check("/*.jpg", "/a.jpg.png", None);
        check("/*.jpg", "/.jpg", Some(&[""]));
        check("/a*a", "/a", None);
        check("/a/*/b", "/a/b", None);
        check("/a/*/b", "/a/b/b/b", Some(&["b/b"]));
        check(
            "/:a/*/:b/c/:d",
            "/1/2/3/4/c/5",
            Some(&["1", "2/3", "4", "5"]),
        );
        check("/:a/x*y/:b", "/1/x2/3y/4", Some(&["1", "2/3", "4"]));
    }

    #[test]
    fn malformed_pattern_is_rejected() {
        for (text, why) in [
            ("", "begin it with `/`"),
            ("a", "begin it with `/`"),
            ("example.com/*", "begin it with `/`"),
            (
                "https://example.com/a",
                "rules by host are not supported; write the path alone",
            ),
            ("//example.com/a", "a segment that no path has"),
            ("/a//b", "a segment that no path has"),
            ("/a/../b", "a segment that no path has"),
            ("/a/%2e", "a segment that no path has"),
            (
                "/a?b=c",
                "a query is not looked at; leave it out, or write %3F for `?`",
            ),
            (
                "/a#b",
                "a fragment is never sent to a server; leave it out, or write %23 for `#`",
            ),
            ("/*/*", "more than one `*`"),
            ("/**", "more than one `*`"),
            ("/:a*", "`*` and `:a` in one segment"),
            ("/:a-:b", "`:a` and `:b` in one segment"),
            ("/:a/:a", "`:a` twice"),
            ("/:splat/*", "`:splat` twice"),
            ("/%", "write %25"),
            ("/%4", "write %25"),
            ("/%zz", "write %25"),
            ("/a%2fb", "an encoded slash"),
            ("/a%0d", "a control character"),
        ] {
            let found = text.parse::<Pattern>().unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
    }

    #[test]
    fn template_placeholders_are_filled() {
        let names = ["title".to_owned(), "splat".to_owned()];
        let captures: &[&[u8]] = &[b"a\"b", b"c/d\r\n\xff"];
        for (text, expected) in [
            ("You watch \":title\"", "You watch \"a%22b\""),
            (":splat:splat", "c/d%0D%0A%FFc/d%0D%0A%FF"),
            (
                ":titles https://a:80/ :other::title",
                ":titles https://a:80/ :other:a%22b",
            ),
            (":", ":"),
        ] {
            let mut found = String::new();
            Template::new(text, &names).fill(captures, b"/", &mut found);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn matching_takes_linear_time() {
        let start = Instant::now();
        let length = 1 << 16;
        for pattern in [
            "/:a/a/a/*a/a/a/a/:b/b",
            "/*",
            "/a*a",
            "/:a",
            "/x-:a-y",
            "/*/:a",
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            for unit in ["/a", "a", "/", "a-y", "*"] {
                let path = format!("/{}", unit.repeat(length));
                for path in [path.as_str(), &format!("{path}/b"), &format!("{path}/")] {
                    let _ = pattern.captures(path.as_bytes());
                }
            }
        }
        // Quadratic time, once more for each segment, would take hours.
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    /// Matches with exhaustive backtracking.
    fn matches(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => path.is_empty(),
            [b'*', rest @ ..] => (0..=path.len()).any(|end| matches(rest, &path[end..])),
            [b':', b'n' | b'm', rest @ ..] => {
                let longest = path
                    .iter()
                    .position(|&byte| byte == b'/')
                    .unwrap_or(path.len());
                (1..=longest).any(|end| matches(rest, &path[end..]))
            }
            [first, rest @ ..] => path.first() == Some(first) && matches(rest, &path[1..]),
        }
    }

    proptest! {
        #[test]
        fn match_equals_exhaustive_match(
            pattern in "(/[ab-]{1,2}|/a?:n-?){0,2}(/a?\\*b?)?(/[ab]{1,2}|/a?:m-?){0,2}",
            path in "(/[ab-]{1,3}){1,6}",
        ) {
            let Ok(parsed) = pattern.parse::<Pattern>() else { return Ok(()) };
            let dir_pattern = pattern.strip_suffix("/*").unwrap_or("*/");
            let open = matches(dir_pattern.as_bytes(), path.as_bytes());
            let expected = open || matches(pattern.as_bytes(), path.as_bytes());
            prop_assert_eq!(parsed.captures(path.as_bytes()).is_some(), expected, "{} {}", pattern, path);
        }
    }
}
