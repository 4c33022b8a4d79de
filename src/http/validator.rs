//! Validators, which distinguish states of a representation (RFC 9110 section 8.8).

use std::fmt;
use std::time::SystemTime;

use super::syntax::trim_ows;

/// Validators of a representation: they distinguish its states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// Entity tag, equal only for equal content; `None` if that cannot be guaranteed.
    pub tag: Option<EntityTag>,
    /// Modification date; `None` if it is unknown, before 1970, or after 9999.
    pub modified: Option<LastModified>,
}

/// An entity tag that docroot generates. It is strong: different bytes have different tags (RFC 9110 section 8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag(u128);

/// Modification date of a representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastModified {
    /// Time; as an HTTP date it has no fraction of a second.
    pub date: SystemTime,
    /// Strength as a validator.
    pub strength: DateStrength,
}

/// Strength of a date as a validator (RFC 9110 section 8.8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStrength {
    /// Only one state ever has this date, so a client that has the date has this state.
    Strong,
    /// The date is correct, but other states may have the same one.
    Weak,
    /// A later state may still get the same date, so it is not sent.
    TooRecent,
}

/// An element of a list of entity tags, as a client sent it, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedTag<'a> {
    Strong(&'a [u8]),
    Weak(&'a [u8]),
    /// `*`, which matches any representation.
    Any,
    /// Not an entity tag.
    Malformed,
}

impl<'a> ListedTag<'a> {
    /// Parses a field that has one tag and not a list (RFC 9110 section 13.1.5).
    pub(super) fn parse_single(field: &'a [u8]) -> Self {
        match parse_first_tag(field) {
            Some((tag, b"")) => tag,
            _ => Self::Malformed,
        }
    }
}

impl Validators {
    /// Weakens a strong date, for one of several representations of a resource: they have the same date.
    #[must_use]
    pub fn weakened(mut self) -> Self {
        if let Some(modified) = &mut self.modified
            && modified.strength == DateStrength::Strong
        {
            modified.strength = DateStrength::Weak;
        }
        self
    }

    /// Date, if it is strong enough to replace a tag.
    pub(super) fn strong_date(&self) -> Option<SystemTime> {
        let strong = |modified: &LastModified| modified.strength == DateStrength::Strong;
        self.modified.filter(strong).map(|modified| modified.date)
    }
}

impl EntityTag {
    /// Creates the tag of content with this 128-bit digest.
    #[must_use]
    pub fn new(digest: u128) -> Self {
        Self(digest)
    }

    /// Whether a listed tag equals this one, by strong comparison (RFC 9110 section 8.8.3.2).
    pub(super) fn matches_strongly(&self, listed: ListedTag<'_>) -> bool {
        matches!(listed, ListedTag::Strong(opaque) if self.has_opaque(opaque))
    }

    /// Whether a listed tag equals this one, by weak comparison.
    pub(super) fn matches_weakly(&self, listed: ListedTag<'_>) -> bool {
        matches!(listed, ListedTag::Strong(opaque) | ListedTag::Weak(opaque) if self.has_opaque(opaque))
    }

    fn has_opaque(&self, opaque: &[u8]) -> bool {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = std::str::from_utf8(opaque).ok();
        let digits = digits.filter(|_| opaque.len() == 32 && opaque.iter().all(is_digit));
        digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()) == Some(self.0)
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:032x}\"", self.0)
    }
}

/// Parses a list of entity tags (RFC 9110 section 8.8.3). A quoted tag may contain commas, and a backslash in it has no
/// special meaning.
pub(super) fn parse_tags(mut list: &[u8]) -> impl Iterator<Item = ListedTag<'_>> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', rest @ ..] = list {
            list = rest;
        }
        if list.is_empty() {
            return None;
        }
        let (tag, rest) = parse_first_tag(list).unwrap_or((ListedTag::Malformed, list));
        // Only white space may follow, up to the comma.
        let end = rest.iter().position(|&byte| byte == b',');
        let (extra, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        list = rest;
        Some(if trim_ows(extra).is_empty() {
            tag
        } else {
            ListedTag::Malformed
        })
    })
}

/// Parses the tag at the front; returns it and the rest.
fn parse_first_tag(list: &[u8]) -> Option<(ListedTag<'_>, &[u8])> {
    if let [b'*', rest @ ..] = list {
        return Some((ListedTag::Any, rest));
    }
    let (is_weak, quoted) = match list.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, list),
    };
    let inside = quoted.strip_prefix(b"\"")?;
    let end = inside.iter().position(|&byte| byte == b'"')?;
    let (opaque, rest) = inside.split_at_checked(end)?;
    if opaque.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let tag = match is_weak {
        true => ListedTag::Weak(opaque),
        false => ListedTag::Strong(opaque),
    };
    Some((tag, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[ListedTag<'_>]) {
        let found: Vec<ListedTag<'_>> = parse_tags(list.as_bytes()).collect();
        assert_eq!(found, expected, "{list}");
    }

    #[test]
    fn list_of_entity_tags_is_parsed() {
        use ListedTag::{Any, Malformed, Strong, Weak};
        check("", &[]);
        check(" , ,\t", &[]);
        check("*", &[Any]);
        check("\"a\"", &[Strong(b"a")]);
        check("\"\"", &[Strong(b"")]);
        check("W/\"a\"", &[Weak(b"a")]);
        check("w/\"a\"", &[Malformed]);
        check(
            "\"a\" ,W/\"b\",, \"c\"",
            &[Strong(b"a"), Weak(b"b"), Strong(b"c")],
        );
        check("\"a,b\\\", \"c\"", &[Strong(b"a,b\\"), Strong(b"c")]);
        check("\"caf\u{e9}\"", &[Strong("caf\u{e9}".as_bytes())]);
        check("a, \"b\"", &[Malformed, Strong(b"b")]);
        check("\"a\"b, \"c\"", &[Malformed, Strong(b"c")]);
        check("\"a b\", \"c\"", &[Malformed, Strong(b"c")]);
        check("\"a", &[Malformed]);
        check("*x, *", &[Malformed, Any]);
    }

    #[test]
    fn single_entity_tag_is_parsed() {
        let check = |field: &str, expected| {
            assert_eq!(
                ListedTag::parse_single(field.as_bytes()),
                expected,
                "{field}"
            );
        };
        check("\"a\"", ListedTag::Strong(b"a"));
        check("W/\"a\"", ListedTag::Weak(b"a"));
        check("*", ListedTag::Any);
        for malformed in ["", "a", "\"a\",", ",\"a\"", "\"a\" ", "\"a\", \"b\""] {
            check(malformed, ListedTag::Malformed);
        }
    }

    #[test]
    fn strong_and_weak_comparison() {
        let tag = EntityTag::new(0xa);
        let opaque: &[u8] = b"0000000000000000000000000000000a";
        assert_eq!(tag.to_string(), "\"0000000000000000000000000000000a\"");
        let check = |listed, strongly, weakly| {
            assert_eq!(tag.matches_strongly(listed), strongly, "{listed:?}");
            assert_eq!(tag.matches_weakly(listed), weakly, "{listed:?}");
        };
        check(ListedTag::Strong(opaque), true, true);
        check(ListedTag::Weak(opaque), false, true);
        check(ListedTag::Strong(b"0a"), false, false);
        check(
            ListedTag::Strong(b"0000000000000000000000000000000A"),
            false,
            false,
        );
        check(
            ListedTag::Strong(b"+000000000000000000000000000000a"),
            false,
            false,
        );
        check(
            ListedTag::Strong(b"00000000000000000000000000000000a"),
            false,
            false,
        );
        check(ListedTag::Any, false, false);
        check(ListedTag::Malformed, false, false);
    }
}
