//! Range and If-Range: the part of a representation that is requested (RFC 9110 section 14).

use std::ops::Range;

use super::date;
use super::request::{Method, Request};
use super::request_fields::RequestField;
use super::syntax::list_elements;
use super::validator::{EntityTag, ListedTag, Validators};

/// Number of ranges accepted in one field. A request for more receives the whole.
const MAX_RANGES: usize = 32;

/// Part of a representation that is requested. Ranges are in bytes, half-open, within its length, and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// The whole: there is no Range, or it is ignored.
    Whole,
    /// One part.
    Part(Range<u64>),
    /// Two parts or more, none touching another, in the order requested.
    Parts(Vec<Range<u64>>),
    /// No range is within the length.
    Unsatisfiable,
}

/// Selects the part that the request asks for, of a representation of `len` bytes with these validators.
///
/// Only GET has ranges (section 14.2), and If-Range must hold if it is present (section 13.1.5). A field that is
/// malformed, repeated, in another unit, or has more than [`MAX_RANGES`], is ignored.
pub(super) fn select(request: &Request<'_>, validators: &Validators, len: u64) -> Selection {
    match request.fields.single(RequestField::Range) {
        Ok(Some(field)) if request.method == Method::Get && if_range(request, validators) => {
            parse_ranges_specifier(field, len).unwrap_or(Selection::Whole)
        }
        _ => Selection::Whole,
    }
}

/// Whether If-Range holds, by strong comparison, or is absent.
fn if_range(request: &Request<'_>, validators: &Validators) -> bool {
    let field = match request.fields.single(RequestField::IfRange) {
        Ok(None) => return true,
        Ok(Some(field)) => field,
        Err(_) => return false,
    };
    if let Some(since) = date::parse(field) {
        let is_same = |date| date::unix_second(date) == date::unix_second(since);
        return validators.strong_date().is_some_and(is_same);
    }
    let is_same = |tag: EntityTag| tag.matches_strongly(ListedTag::parse_single(field));
    validators.tag.is_some_and(is_same)
}

/// Parses a `ranges-specifier` (section 14.1.1); `None` if it is malformed, has too many ranges, or is in another unit.
fn parse_ranges_specifier(field: &[u8], len: u64) -> Option<Selection> {
    let equals = field.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = field.split_at_checked(equals)?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut count = 0;
    for spec in list_elements(set.get(1..)?) {
        count += 1;
        if count > MAX_RANGES {
            return None;
        }
        let part = parse_range_spec(spec, len)?;
        if !part.is_empty() {
            coalesce(&mut parts, part);
        }
    }
    match parts.as_slice() {
        _ if count == 0 => None,
        // The suffix of empty content is empty, and Content-Range cannot express it.
        [] if len == 0 && list_elements(set.get(1..)?).any(is_suffix) => None,
        [] => Some(Selection::Unsatisfiable),
        [part] => Some(Selection::Part(part.clone())),
        _ => Some(Selection::Parts(parts)),
    }
}

/// Parses a `range-spec`. The range is empty if it is outside the content; `None` if it is malformed.
fn parse_range_spec(spec: &[u8], len: u64) -> Option<Range<u64>> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = spec.split_at_checked(dash)?;
    match (first, last.get(1..)?) {
        (b"", suffix) => Some(len.saturating_sub(parse_number(suffix)?)..len),
        (first, b"") => Some(parse_number(first)?.min(len)..len),
        (first, last) => {
            let (first, last) = (parse_number(first)?, parse_number(last)?);
            let end = last.saturating_add(1).min(len);
            (first <= last).then(|| first.min(end)..end)
        }
    }
}

/// Whether this is a suffix range of more than 0 bytes.
fn is_suffix(spec: &[u8]) -> bool {
    spec.strip_prefix(b"-").and_then(parse_number) > Some(0)
}

/// Parses digits, and nothing else. A number that overflows saturates: it is larger than any file.
fn parse_number(digits: &[u8]) -> Option<u64> {
    let digit = |&byte: &u8| char::from(byte).to_digit(10).map(u64::from);
    let append = |number: u64, digit| number.saturating_mul(10).saturating_add(digit);
    let mut number = (!digits.is_empty()).then_some(0)?;
    for byte in digits {
        number = append(number, digit(byte)?);
    }
    Some(number)
}

/// Adds a part. Parts that it overlaps or touches are merged with it, at the position of the first.
fn coalesce(parts: &mut Vec<Range<u64>>, mut part: Range<u64>) {
    let mut index = parts.len();
    while let Some(other) = parts.iter().position(|other| touches(other, &part)) {
        index = index.min(other);
        let other = parts.remove(other);
        part = part.start.min(other.start)..part.end.max(other.end);
    }
    parts.insert(index.min(parts.len()), part);
}

fn touches(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start <= other.end && other.start <= one.end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::Version;
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::super::validator::{DateStrength, LastModified};
    use super::Selection::{Part, Parts, Unsatisfiable, Whole};
    use super::*;

    fn select_lines(
        method: &str,
        lines: &[(&str, &str)],
        validators: &Validators,
        len: u64,
    ) -> Selection {
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::from_name(method),
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&lines),
        };
        select(&request, validators, len)
    }

    fn check(field: &str, len: u64, expected: Selection) {
        let found = select_lines("GET", &[("Range", field)], &Validators::default(), len);
        assert_eq!(found, expected, "{field} of {len}");
    }

    #[test]
    fn single_range_is_half_open() {
        check("bytes=0-499", 10_000, Part(0..500));
        check("bytes=500-999", 10_000, Part(500..1000));
        check("bytes=9500-", 10_000, Part(9500..10_000));
        check("bytes=-500", 10_000, Part(9500..10_000));
        check("bytes=0-0", 1, Part(0..1));
        check("bytes=0-", 500, Part(0..500));
        check("Bytes=0-0", 500, Part(0..1));
        check("bytes= \t0-0 , ", 500, Part(0..1));
        check("bytes=007-010", 500, Part(7..11));
    }

    #[test]
    fn range_past_end_is_clamped() {
        check("bytes=400-900", 500, Part(400..500));
        check("bytes=-900", 500, Part(0..500));
        check("bytes=1-99999999999999999999999", 500, Part(1..500));
        check("bytes=1-18446744073709551615", 500, Part(1..500));
        check("bytes=-99999999999999999999999", 500, Part(0..500));
    }

    #[test]
    fn range_outside_content_is_unsatisfiable() {
        check("bytes=500-", 500, Unsatisfiable);
        check("bytes=500-600", 500, Unsatisfiable);
        check("bytes=-0", 500, Unsatisfiable);
        check("bytes=99999999999999999999999-", 500, Unsatisfiable);
        check("bytes=500-, -0", 500, Unsatisfiable);
        check("bytes=0-", 0, Unsatisfiable);
        check("bytes=-0", 0, Unsatisfiable);
        check("bytes=-5", 0, Whole);
        check("bytes=0-0, -5", 0, Whole);
    }

    #[test]
    fn several_ranges_keep_their_order() {
        check("bytes=0-0,-1", 10_000, Parts(vec![0..1, 9999..10_000]));
        check("bytes=-1, 0-0", 10_000, Parts(vec![9999..10_000, 0..1]));
        check("bytes=0-0,,600-,500-", 550, Parts(vec![0..1, 500..550]));
        check("bytes=0-0,600-", 500, Part(0..1));
    }

    #[test]
    fn touching_ranges_are_coalesced() {
        check("bytes=0-9,5-14", 500, Part(0..15));
        check("bytes=0-9,10-19", 500, Part(0..20));
        check("bytes=10-19,0-9", 500, Part(0..20));
        check("bytes=0-9,20-29,10-19", 500, Part(0..30));
        check("bytes=0-9,50-59,5-14", 500, Parts(vec![0..15, 50..60]));
        check("bytes=50-59,0-9,5-14", 500, Parts(vec![50..60, 0..15]));
        check("bytes=0-9,11-19", 500, Parts(vec![0..10, 11..20]));
        check("bytes=0-,0-,0-", 500, Part(0..500));
    }

    #[test]
    fn malformed_range_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=1",
            "bytes=a-b",
            "bytes=2-1",
            "bytes=--1",
            "bytes=1--2",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=1- 2",
            "bytes =0-0",
            "bytes=0-0;1-1",
            "bytes=0-0, x",
            "bytes=2-1, 0-0",
            "bytes:0-0",
            "lines=0-0",
            "0-0",
            "bytes=0x0-0",
            "bytes=\"0-0\"",
            "=0-0",
        ] {
            check(field, 500, Whole);
        }
    }

    #[test]
    fn more_than_max_ranges_is_ignored() {
        let field = |count: usize| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", 2 * at)).collect();
            format!("bytes={}", specs.join(","))
        };
        let parts = (0..32).map(|at| 2 * at..2 * at + 1).collect();
        check(&field(32), 10_000, Parts(parts));
        check(&field(33), 10_000, Whole);
        check(&format!("bytes={}", "0-,".repeat(5000)), 10_000, Whole);
    }

    #[test]
    fn range_is_ignored_on_head_and_if_repeated() {
        let none = Validators::default();
        let range = ("Range", "bytes=0-0");
        assert_eq!(select_lines("GET", &[], &none, 500), Whole);
        assert_eq!(select_lines("HEAD", &[range], &none, 500), Whole);
        assert_eq!(select_lines("GET", &[range, range], &none, 500), Whole);
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
        const TAG: &str = "\"0000000000000000000000000000000a\"";
        const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let check = |strength, field: &str, holds| {
            let validators = Validators {
                tag: Some(EntityTag::new(0xa)),
                modified: date::parse(DATE.as_bytes()).map(|date| LastModified { date, strength }),
            };
            let lines = [("Range", "bytes=0-0"), ("If-Range", field)];
            let expected = if holds { Part(0..1) } else { Whole };
            assert_eq!(
                select_lines("GET", &lines, &validators, 500),
                expected,
                "{field}"
            );
            let twice = [lines[0], lines[1], lines[1]];
            assert_eq!(
                select_lines("GET", &twice, &validators, 500),
                Whole,
                "{field}"
            );
        };
        check(DateStrength::Strong, TAG, true);
        check(DateStrength::Weak, TAG, true);
        check(DateStrength::Strong, DATE, true);
        check(DateStrength::Strong, "Sunday, 06-Nov-94 08:49:37 GMT", true);
        check(DateStrength::Weak, DATE, false);
        check(DateStrength::TooRecent, DATE, false);
        for wrong in [
            "",
            "*",
            "\"x\"",
            "x",
            "soon",
            &format!("W/{TAG}"),
            &format!("{TAG}, {TAG}"),
            &format!("{TAG},"),
            &format!(", {TAG}"),
            "Sun, 06 Nov 1994 08:49:38 GMT",
        ] {
            check(DateStrength::Strong, wrong, false);
        }
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_cover_the_requested_bytes(
            specs in prop::collection::vec((0u64..60, 0u64..60), 1..12),
            len in 1u64..50,
        ) {
            let count: Vec<Range<u64>> =
                specs.iter().map(|&(first, more)| first..(first + more + 1).min(len)).collect();
            let field: Vec<String> =
                specs.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let field = format!("bytes={}", field.join(","));
            let parts = match parse_ranges_specifier(field.as_bytes(), len) {
                Some(Part(part)) => vec![part],
                Some(Parts(parts)) => parts,
                Some(Unsatisfiable) => Vec::new(),
                other => panic!("{field} of {len}: {other:?}"),
            };
            for byte in 0..len {
                let wanted = count.iter().any(|part| part.contains(&byte));
                let sent = parts.iter().filter(|part| part.contains(&byte)).count();
                prop_assert_eq!(sent, usize::from(wanted), "{} in {}", byte, field);
            }
            for (index, part) in parts.iter().enumerate() {
                prop_assert!(part.start < part.end && part.end <= len);
                let others = parts.iter().skip(index + 1);
                prop_assert!(others.into_iter().all(|other| !touches(part, other)));
            }
        }
    }
}
