//! Preconditions: If-Match, If-None-Match, If-Modified-Since and If-Unmodified-Since (RFC 9110 section 13).

use std::time::SystemTime;

use super::date;
use super::request::Request;
use super::request_fields::RequestField;
use super::validator::{ListedTag, Validators, parse_tags};

/// Evaluates the preconditions of a GET or HEAD against these validators, in the order of RFC 9110 section 13.2.2, and
/// returns the first that is false; `None` if all hold. If-Range is not among them: it decides only whether Range
/// applies.
pub(super) fn evaluate(request: &Request<'_>, validators: &Validators) -> Option<RequestField> {
    use RequestField::{IfMatch, IfModifiedSince, IfNoneMatch, IfUnmodifiedSince};
    let (field, holds) = match request.fields.has(IfMatch) {
        true => (IfMatch, if_match(request, validators)),
        false => (IfUnmodifiedSince, if_unmodified_since(request, validators)),
    };
    if !holds {
        return Some(field);
    }
    let (field, holds) = match request.fields.has(IfNoneMatch) {
        true => (IfNoneMatch, if_none_match(request, validators)),
        false => (IfModifiedSince, if_modified_since(request, validators)),
    };
    (!holds).then_some(field)
}

/// Whether the request names this representation's tag. The server may choose which representation to send (RFC 9110
/// section 12.1), and a client that has one, or a part of it, is best served with that one.
pub(super) fn names_tag(request: &Request<'_>, validators: &Validators) -> bool {
    let is_same = |listed| validators.tag.is_some_and(|tag| tag.matches_weakly(listed));
    let fields = [
        RequestField::IfMatch,
        RequestField::IfNoneMatch,
        RequestField::IfRange,
    ];
    let mut fields = fields.into_iter();
    fields.any(|field| {
        request
            .fields
            .values(field)
            .flat_map(parse_tags)
            .any(is_same)
    })
}

/// Whether If-Match holds, by strong comparison (RFC 9110 section 13.1.1).
fn if_match(request: &Request<'_>, validators: &Validators) -> bool {
    lists_tag(request, RequestField::IfMatch, |listed| {
        validators
            .tag
            .is_some_and(|tag| tag.matches_strongly(listed))
    })
}

/// Whether If-None-Match holds, by weak comparison (RFC 9110 section 13.1.2).
fn if_none_match(request: &Request<'_>, validators: &Validators) -> bool {
    !lists_tag(request, RequestField::IfNoneMatch, |listed| {
        validators.tag.is_some_and(|tag| tag.matches_weakly(listed))
    })
}

/// Whether If-Unmodified-Since holds, or is absent or invalid (RFC 9110 section 13.1.4).
fn if_unmodified_since(request: &Request<'_>, validators: &Validators) -> bool {
    match (
        single_date(request, RequestField::IfUnmodifiedSince),
        validators.modified,
    ) {
        (Some(since), Some(modified)) => {
            date::unix_second(modified.date) <= date::unix_second(since)
        }
        _ => true,
    }
}

/// Whether If-Modified-Since holds, or is absent or invalid (RFC 9110 section 13.1.3). It fails only for the exact date
/// that was sent as Last-Modified, and only if that is strong: an earlier file may have been put back, and several
/// files may have the same date.
fn if_modified_since(request: &Request<'_>, validators: &Validators) -> bool {
    match (
        single_date(request, RequestField::IfModifiedSince),
        validators.strong_date(),
    ) {
        (Some(since), Some(date)) => date::unix_second(since) != date::unix_second(date),
        _ => true,
    }
}

/// Whether a field is `*`, which any representation matches, or lists a tag that satisfies `is_match`.
fn lists_tag(
    request: &Request<'_>,
    field: RequestField,
    is_match: impl Fn(ListedTag<'_>) -> bool,
) -> bool {
    let mut listed = request.fields.values(field).flat_map(parse_tags);
    match (listed.next(), listed.next()) {
        (Some(ListedTag::Any), None) => true,
        (first, second) => [first, second]
            .into_iter()
            .flatten()
            .chain(listed)
            .any(is_match),
    }
}

/// Date in a field. An invalid date and a repeated field are ignored.
fn single_date(request: &Request<'_>, field: RequestField) -> Option<SystemTime> {
    request
        .fields
        .single(field)
        .ok()
        .flatten()
        .and_then(date::parse)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::request::{Method, Version};
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::super::validator::{DateStrength, EntityTag, LastModified};
    use super::*;
    use Evaluated::{Failed, NotModified, Proceed};

    /// Consequence of the first false precondition.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Evaluated {
        Proceed,
        NotModified,
        Failed,
    }

    const TAG: &str = "\"0000000000000000000000000000000a\"";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators(strength: DateStrength) -> Validators {
        let date = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_900);
        Validators {
            tag: Some(EntityTag::new(0xa)),
            modified: Some(LastModified { date, strength }),
        }
    }

    fn evaluate_lines(lines: &[(&str, &str)], validators: &Validators) -> Evaluated {
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::Get,
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&lines),
        };
        match evaluate(&request, validators) {
            None => Proceed,
            Some(RequestField::IfNoneMatch | RequestField::IfModifiedSince) => NotModified,
            Some(_) => Failed,
        }
    }

    fn check(lines: &[(&str, &str)], expected: Evaluated) {
        let validators = validators(DateStrength::Strong);
        assert_eq!(evaluate_lines(lines, &validators), expected, "{lines:?}");
    }

    #[test]
    fn entity_tags_are_compared_by_each_field() {
        let weak = format!("W/{TAG}");
        for (list, has_strong, has_weak) in [
            (TAG, true, true),
            (&weak, false, true),
            ("*", true, true),
            ("\"x\"", false, false),
            ("", false, false),
            (&format!("\"x\", {TAG}"), true, true),
            ("*, \"x\"", false, false),
            (TAG.trim_matches('"'), false, false),
        ] {
            let matched = if has_strong { Proceed } else { Failed };
            check(&[("If-Match", list)], matched);
            let matched = if has_weak { NotModified } else { Proceed };
            check(&[("If-None-Match", list)], matched);
        }
        check(&[("If-Match", "\"x\""), ("if-match", TAG)], Proceed);
        check(
            &[("If-None-Match", "\"x\""), ("if-none-match", TAG)],
            NotModified,
        );
    }

    #[test]
    fn dates_are_compared_by_each_field() {
        for (date, modified_since, unmodified_since) in [
            (BEFORE, Proceed, Failed),
            (DATE, NotModified, Proceed),
            (AFTER, Proceed, Proceed),
            ("Sun Nov  6 08:49:37 1994", NotModified, Proceed),
            ("soon", Proceed, Proceed),
        ] {
            check(&[("If-Modified-Since", date)], modified_since);
            check(&[("If-Unmodified-Since", date)], unmodified_since);
        }
        check(&[("If-Modified-Since", DATE); 2], Proceed);
        check(&[("If-Unmodified-Since", BEFORE); 2], Proceed);
    }

    #[test]
    fn weak_dates_never_answer_not_modified() {
        for strength in [DateStrength::Weak, DateStrength::TooRecent] {
            let validators = validators(strength);
            let verdict = |name, date| evaluate_lines(&[(name, date)], &validators);
            assert_eq!(verdict("If-Modified-Since", DATE), Proceed);
            assert_eq!(verdict("If-Unmodified-Since", DATE), Proceed);
            assert_eq!(verdict("If-Unmodified-Since", BEFORE), Failed);
        }
    }

    #[test]
    fn without_validators_only_the_wildcard_matches() {
        let check = |name, value, expected| {
            let verdict = evaluate_lines(&[(name, value)], &Validators::default());
            assert_eq!(verdict, expected, "{name}: {value}");
        };
        check("If-Match", TAG, Failed);
        check("If-Match", "*", Proceed);
        check("If-None-Match", TAG, Proceed);
        check("If-None-Match", "*", NotModified);
        check("If-Modified-Since", DATE, Proceed);
        check("If-Unmodified-Since", BEFORE, Proceed);
    }

    #[test]
    fn tags_take_precedence_over_dates() {
        let none = ("If-None-Match", TAG);
        check(
            &[("If-Match", TAG), ("If-Unmodified-Since", BEFORE)],
            Proceed,
        );
        check(
            &[("If-None-Match", "\"x\""), ("If-Modified-Since", DATE)],
            Proceed,
        );
        check(&[none, ("If-Modified-Since", BEFORE)], NotModified);
        check(&[none, ("If-Match", "\"x\"")], Failed);
        check(&[none, ("If-Match", TAG)], NotModified);
        check(&[none, ("If-Unmodified-Since", BEFORE)], Failed);
    }
}
