//! `Place`: a target as a site sees it.

use std::borrow::Cow;
use std::ops::Range;

use crate::http::Target;

/// Target as a site sees it, made once per lookup. (Before the lookup, live reload makes one to find its own paths; a
/// stream of a listing is opened in a call of its own; and [`rules_path`] alone does for the fields of a response that
/// is generated, or that is compressed after its lookup.)
#[derive(Debug)]
pub(crate) struct Place<'a> {
    target: Target<'a>,
    /// Decoded path with its leading slash, and the trailing one if the target has one.
    rules_path: Cow<'a, [u8]>,
    /// Bytes of `rules_path` below the path prefix, without a slash at either end; `None` outside of the prefix.
    below_prefix: Option<Range<usize>>,
}

impl<'a> Place<'a> {
    /// Creates the place of a target on a site below this path prefix, which has no slash at either end.
    pub(crate) fn new(target: &Target<'a>, prefix: &str) -> Self {
        let rules_path = rules_path(target);
        let end = match target.is_directory() {
            true => rules_path.len().saturating_sub(1).max(1),
            false => rules_path.len(),
        };
        let path = &rules_path[1..end];
        let below = match (prefix.as_bytes(), path.strip_prefix(prefix.as_bytes())) {
            (b"", _) => Some(path),
            (_, Some(b"")) => Some(&b""[..]),
            (_, below) => below.and_then(|below| below.strip_prefix(b"/")),
        };
        let below_prefix = below.map(|below| end - below.len()..end);
        Self {
            target: *target,
            rules_path,
            below_prefix,
        }
    }

    /// Returns the path below the prefix and below the root, without a slash at either end; `None` outside of the
    /// prefix.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        self.below_prefix
            .as_ref()
            .map(|below| &self.rules_path[below.clone()])
    }

    /// Returns the path that the patterns of path rules are compared with: decoded, with its leading slash, and the
    /// trailing one if the target has one.
    pub(crate) fn rules_path(&self) -> &[u8] {
        &self.rules_path
    }

    /// Returns the path as it was sent: the key of its lookup.
    pub(crate) fn raw_path(&self) -> &'a str {
        self.target.raw_path()
    }

    /// Returns the query as it was sent, without its question mark.
    pub(crate) fn query(&self) -> Option<&'a str> {
        self.target.query()
    }

    /// Whether the target ends in a slash, and so names a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.target.is_directory()
    }
}

/// Returns a target's decoded path with its leading slash, and the trailing one if it has one.
pub(crate) fn rules_path<'a>(target: &Target<'a>) -> Cow<'a, [u8]> {
    match target.path() {
        // Decoding would leave it as it was sent.
        Cow::Borrowed(_) => Cow::Borrowed(target.raw_path().as_bytes()),
        Cow::Owned(path) => {
            let end: &[u8] = match target.is_directory() && !path.is_empty() {
                true => b"/",
                false => b"",
            };
            Cow::Owned([b"/", &*path, end].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_has_the_path_below_the_prefix_and_the_path_of_rules() {
        for (prefix, target, path, rules_path) in [
            ("", "/", Some(""), "/"),
            ("", "/a/b", Some("a/b"), "/a/b"),
            ("", "/a/b/?q", Some("a/b"), "/a/b/"),
            ("", "/a%20b//c/", Some("a b/c"), "/a b/c/"),
            ("", "/a/..", Some(""), "/"),
            ("", "http://host", Some(""), "/"),
            ("p/q", "/p/q", Some(""), "/p/q"),
            ("p/q", "/p/q/", Some(""), "/p/q/"),
            ("p/q", "/p/q/a/", Some("a"), "/p/q/a/"),
            ("p/q", "/p/%71/a", Some("a"), "/p/q/a"),
            ("p/q", "/p/qa", None, "/p/qa"),
            ("p/q", "/", None, "/"),
        ] {
            let parsed = Target::parse(target, None).unwrap();
            let place = Place::new(&parsed, prefix);
            assert_eq!(place.path(), path.map(str::as_bytes), "{target}");
            assert_eq!(place.rules_path(), rules_path.as_bytes(), "{target}");
        }
    }
}
