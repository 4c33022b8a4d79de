//! What tells one state of a representation from another (RFC 9110 section 8.8).

use std::fmt;
use std::time::SystemTime;

use super::syntax::trim_ows;

/// What tells one state of a representation from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// Equal only for equal content; `None` if nothing is known that would make it so.
    pub tag: Option<EntityTag>,
    /// `None` if it is unknown, or before 1970, or after 9999.
    pub modified: Option<LastModified>,
}

/// An entity tag of ours. It is strong: other bytes have another one (RFC 9110 section 8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag(u128);

/// When a representation was last modified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastModified {
    /// The time; as an HTTP date it has no fraction of a second.
    pub date: SystemTime,
    /// How much it proves.
    pub strength: DateStrength,
}

/// How much a date proves (RFC 9110 section 8.8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateStrength {
    /// There was and there will be one state with this date, so whoever has it has this one.
    Strong,
    /// It is what is known, and no more: other states may have the same date.
    Weak,
    /// Another state may yet come to have the same date, so nobody is told.
    TooRecent,
}

/// A member of a list of entity tags, as a peer sent it, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListedTag<'a> {
    Strong(&'a [u8]),
    Weak(&'a [u8]),
    /// `*`: whatever there is.
    Any,
    /// No entity tag.
    Malformed,
}

impl<'a> ListedTag<'a> {
    /// The tag in a field that has one and no list (RFC 9110 section 13.1.5).
    pub(super) fn parse_single(field: &'a [u8]) -> Self {
        match parse_first_tag(field) {
            Some((tag, b"")) => tag,
            _ => Self::Malformed,
        }
    }
}

impl Validators {
    /// The same for a form of what may be sent in others, too: these have the same date.
    #[must_use]
    pub fn weakened(mut self) -> Self {
        if let Some(modified) = &mut self.modified
            && modified.strength == DateStrength::Strong
        {
            modified.strength = DateStrength::Weak;
        }
        self
    }

    /// The date, if it can take the place of a tag.
    pub(super) fn strong_date(&self) -> Option<SystemTime> {
        let strong = |modified: &LastModified| modified.strength == DateStrength::Strong;
        self.modified.filter(strong).map(|modified| modified.date)
    }
}

impl EntityTag {
    /// The tag for content of which this is a digest of 128 bits.
    #[must_use]
    pub fn new(digest: u128) -> Self {
        Self(digest)
    }

    /// Whether a listed tag is this one, by strong comparison (RFC 9110 section 8.8.3.2).
    pub(super) fn matches_strongly(&self, listed: ListedTag<'_>) -> bool {
        matches!(listed, ListedTag::Strong(opaque) if self.has_opaque(opaque))
    }

    /// The same, by weak comparison.
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

/// The members of a list of entity tags (RFC 9110 section 8.8.3). Between its quotes a tag may have
/// commas, and a backslash there is like any other character.
pub(super) fn parse_tags(mut list: &[u8]) -> impl Iterator<Item = ListedTag<'_>> {
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', rest @ ..] = list {
            list = rest;
        }
        if list.is_empty() {
            return None;
        }
        let (tag, rest) = parse_first_tag(list).unwrap_or((ListedTag::Malformed, list));
        // Up to the comma there must be nothing else.
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

/// The tag at the front, and what follows it.
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
