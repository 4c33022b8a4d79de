//! Accept: the media types that a request prefers (RFC 9110 section 12.5.1).

use super::request::{Method, Request};
use super::request_fields::RequestField;
use super::syntax::{
    parse_parameter, parse_weight as weight_in, split_media_type, split_parameters, unquoted,
};

/// Weight of this media type in thousandths, from the most specific media range that matches it: one with parameters
/// before one without, `type/subtype` before `type/*`, and that before `*/*`. `Some(0)` if it is refused, `None` if no
/// range matches.
///
/// A request without the field, or with an empty list, accepts everything equally. Malformed elements are ignored; of
/// two equally specific ranges the later one counts.
#[must_use]
pub(super) fn media_type_weight(request: &Request<'_>, media_type: &str) -> Option<u16> {
    let mut ranges = media_ranges(request).peekable();
    if ranges.peek().is_none() {
        return Some(1000);
    }
    let matching =
        ranges.filter_map(|range| Some((range.matches(media_type.as_bytes())?, range.weight)));
    // `max_by_key` returns the last of several maxima.
    matching
        .max_by_key(|(specificity, _)| *specificity)
        .map(|(_, weight)| weight)
}

/// Index of the offered media type with the greatest weight; of equal weights, the first. `None` if none is acceptable.
#[must_use]
pub(super) fn preferred_media_type(request: &Request<'_>, offered: &[&str]) -> Option<usize> {
    let weights = offered
        .iter()
        .map(|media_type| media_type_weight(request, media_type).unwrap_or(0));
    let acceptable = weights.enumerate().filter(|(_, weight)| *weight > 0);
    let best = acceptable.reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map(|(index, _)| index)
}

/// Whether this request navigates to a page, rather than fetching a subresource of one: whether a page (the SPA
/// fallback page, for example) may be the response to it.
///
/// The method is GET or HEAD. Sec-Fetch-Dest, if present (browsers send it to localhost and over TLS), names a
/// document, or Sec-Fetch-Mode is `navigate`. And Accept lists pages by name, or nothing but `*/*`, or is absent, as in
/// requests of clients that are not browsers.
#[must_use]
pub fn is_navigation(request: &Request<'_>) -> bool {
    matches!(request.method, Method::Get | Method::Head)
        && is_document(request)
        && accepts_pages(request)
}

/// Whether Fetch Metadata, if there is any, says that the response is shown as a document.
fn is_document(request: &Request<'_>) -> bool {
    match request.fields.single(RequestField::SecFetchDest) {
        Ok(None | Some(b"document" | b"iframe" | b"frame" | b"embed" | b"object")) => true,
        Ok(Some(b"empty")) => {
            request.fields.single(RequestField::SecFetchMode) == Ok(Some(b"navigate"))
        }
        _ => false,
    }
}

/// Whether Accept lists pages, or nothing specific.
fn accepts_pages(request: &Request<'_>) -> bool {
    let is_page = |range: &MediaRange<'_>| {
        ["text/html", "application/xhtml+xml"]
            .iter()
            .any(|page| range.matches(page.as_bytes()).is_some())
    };
    let mut is_specific = false;
    for range in media_ranges(request) {
        if range.kind != b"*" {
            is_specific = true;
            if is_page(&range) && range.weight > 0 {
                return true;
            }
        } else if range.weight == 0 {
            is_specific = true;
        }
    }
    !is_specific
}

/// A media range with its weight.
struct MediaRange<'a> {
    kind: &'a [u8],
    subtype: &'a [u8],
    /// The whole element: its parameters up to the weight belong to the range.
    element: &'a [u8],
    /// Thousandths.
    weight: u16,
}

/// Well-formed elements of the Accept lines.
fn media_ranges<'a>(request: &Request<'a>) -> impl Iterator<Item = MediaRange<'a>> {
    request
        .fields
        .list(RequestField::Accept)
        .filter_map(MediaRange::parse)
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parts = split_parameters(element);
        let (kind, subtype) = split_media_type(parts.next()?)?;
        if kind == b"*" && subtype != b"*" {
            return None;
        }
        let mut weight = 1000;
        for part in parts {
            // Extensions may follow the weight (RFC 7231); none was ever defined.
            if let Some(parsed) = weight_in(part) {
                weight = parsed?;
                break;
            }
            if !part.is_empty() {
                parse_parameter(part)?;
            }
        }
        Some(Self {
            kind,
            subtype,
            element,
            weight,
        })
    }

    /// Specificity of the match with a media type: 0 for `*/*`, 1 for `type/*`, 2 for the type, and 1 more for each
    /// parameter. `None` if it does not match.
    fn matches(&self, media_type: &[u8]) -> Option<usize> {
        let (kind, subtype) = split_media_type(split_parameters(media_type).next()?)?;
        let essence = match (self.kind, self.subtype) {
            (b"*", _) => 0,
            (own, b"*") if own.eq_ignore_ascii_case(kind) => 1,
            (own, rest) if own.eq_ignore_ascii_case(kind) && rest.eq_ignore_ascii_case(subtype) => {
                2
            }
            _ => return None,
        };
        let own = split_parameters(self.element)
            .skip(1)
            .take_while(|part| weight_in(part).is_none());
        let mut count = 0;
        for (name, value) in own.filter_map(parse_parameter) {
            // docroot sends all text as UTF-8, whether its type says so or, as JSON's, has no such parameter.
            if name.eq_ignore_ascii_case(b"charset")
                && unquoted(value).eq_ignore_ascii_case(b"utf-8")
            {
                continue;
            }
            let is_same = |(other, other_value): (&[u8], &[u8])| {
                other.eq_ignore_ascii_case(name)
                    && unquoted(other_value).eq_ignore_ascii_case(unquoted(value))
            };
            if !split_parameters(media_type)
                .skip(1)
                .filter_map(parse_parameter)
                .any(is_same)
            {
                return None;
            }
            count += 1;
        }
        Some(essence + count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Version;
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::*;

    fn with_request<T>(
        method: &str,
        lines: &[(&str, &str)],
        then: impl FnOnce(&Request<'_>) -> T,
    ) -> T {
        then(&Request {
            method: Method::from_name(method),
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&FieldLine::from_pairs(lines)),
        })
    }

    fn check_weight(accept: &str, media_type: &str, expected: Option<u16>) {
        let weight = with_request("GET", &[("Accept", accept)], |request| {
            media_type_weight(request, media_type)
        });
        assert_eq!(weight, expected, "{accept:?} {media_type}");
    }

    #[test]
    fn most_specific_media_range_decides_the_weight() {
        // Example of RFC 9110 section 12.5.1.
        let example = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, \
                       text/plain;format=fixed;q=0.4, */*;q=0.5";
        for (media_type, expected) in [
            ("text/plain;format=flowed", 1000),
            ("text/plain", 700),
            ("text/html", 300),
            ("image/jpeg", 500),
            ("text/plain;format=fixed", 400),
            ("text/html;level=3", 300),
            ("TEXT/Plain; Format=\"FLOWED\"", 1000),
        ] {
            check_weight(example, media_type, Some(expected));
        }
        for (accept, media_type, expected) in [
            ("", "text/html", Some(1000)),
            (",", "text/html", Some(1000)),
            ("text/html", "text/html; charset=utf-8", Some(1000)),
            ("text/html", "text/plain", None),
            ("text/html;q=0, */*", "text/html", Some(0)),
            ("*/*, text/html;q=0", "text/html", Some(0)),
            ("text/*, */*;q=0", "text/html", Some(1000)),
            ("text/html;q=0.1, text/html;q=0.2", "text/html", Some(200)),
            ("text/html;q=0.5;ext=1", "text/html", Some(500)),
            ("text/html;;q=0.5", "text/html", Some(500)),
            ("text/html ; q=0.5", "text/html", Some(500)),
            // Malformed elements are ignored.
            ("text/html;q=2, */*;q=0.1", "text/html", Some(100)),
            ("text/html;level, */*;q=0.1", "text/html", Some(100)),
            ("*/html, */*;q=0.1", "text/html", Some(100)),
            ("text, */*;q=0.1", "text/html", Some(100)),
            ("*, text/html;q=0.2", "text/html", Some(200)),
            ("text/html;q=x", "text/html", Some(1000)),
        ] {
            check_weight(accept, media_type, expected);
        }
        assert_eq!(
            with_request("GET", &[], |request| media_type_weight(request, "a/b")),
            Some(1000)
        );
    }

    #[test]
    fn media_type_with_the_greatest_weight_is_preferred() {
        let offered = &["text/html", "application/json", "text/plain"];
        for (lines, expected) in [
            (&[][..], Some(0)),
            (&[("Accept", "*/*")], Some(0)),
            (&[("Accept", "application/json")], Some(1)),
            (&[("Accept", "application/json, text/plain, */*")], Some(0)),
            (&[("Accept", "application/json, */*;q=0.5")], Some(1)),
            (&[("Accept", "text/plain, application/json;q=0.9")], Some(2)),
            (
                &[("Accept", "text/plain"), ("accept", "application/json")],
                Some(1),
            ),
            (&[("Accept", "text/*, text/html;q=0")], Some(2)),
            (&[("Accept", "image/png")], None),
            (&[("Accept", "*/*;q=0")], None),
        ] {
            assert_eq!(
                with_request("GET", lines, |request| preferred_media_type(
                    request, offered
                )),
                expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn navigation_is_distinguished_from_subresource_requests() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
                      application/signed-exchange;v=b3;q=0.7";
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let chrome_image = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
        let firefox_image = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
        let safari_image = "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,\
                            image/svg+xml,image/*;q=0.8,*/*;q=0.5";
        let style = "text/css,*/*;q=0.1";
        let font = "application/font-woff2;q=1.0,application/font-woff;q=0.9,*/*;q=0.8";
        for (what, accept, fetch, expected) in [
            // To localhost, or over TLS.
            ("Chrome, page", chrome, Some(("document", "navigate")), true),
            ("Chrome, frame", chrome, Some(("iframe", "navigate")), true),
            ("Chrome, object", chrome, Some(("object", "navigate")), true),
            ("Chrome, script", "*/*", Some(("script", "no-cors")), false),
            ("Chrome, module", "*/*", Some(("script", "cors")), false),
            ("Chrome, style", style, Some(("style", "no-cors")), false),
            (
                "Chrome, image",
                chrome_image,
                Some(("image", "no-cors")),
                false,
            ),
            ("Chrome, font", "*/*", Some(("font", "cors")), false),
            ("Chrome, fetch", "*/*", Some(("empty", "cors")), false),
            (
                "Chrome, fetch of a page",
                "text/html",
                Some(("empty", "cors")),
                false,
            ),
            (
                "Chrome, worker",
                "*/*",
                Some(("worker", "same-origin")),
                false,
            ),
            ("Chrome, manifest", "*/*", Some(("manifest", "cors")), false),
            (
                "Firefox, page",
                firefox,
                Some(("document", "navigate")),
                true,
            ),
            ("Firefox, object", "*/*", Some(("object", "navigate")), true),
            ("Firefox, script", "*/*", Some(("script", "no-cors")), false),
            ("Firefox, style", style, Some(("style", "no-cors")), false),
            (
                "Firefox, image",
                firefox_image,
                Some(("image", "no-cors")),
                false,
            ),
            ("Firefox, font", font, Some(("font", "cors")), false),
            ("Firefox, fetch", "*/*", Some(("empty", "cors")), false),
            (
                "Safari, page",
                firefox,
                Some(("document", "navigate")),
                true,
            ),
            ("Safari, script", "*/*", Some(("script", "no-cors")), false),
            (
                "Safari, image",
                safari_image,
                Some(("image", "no-cors")),
                false,
            ),
            (
                "a worker passes it on",
                firefox,
                Some(("empty", "navigate")),
                true,
            ),
            // To another host, without TLS. A script cannot be told from curl.
            ("Chrome, page", chrome, None, true),
            ("Firefox, page", firefox, None, true),
            ("Chrome, image", chrome_image, None, false),
            ("Firefox, image", firefox_image, None, false),
            ("Safari, image", safari_image, None, false),
            ("style", style, None, false),
            ("Firefox, font", font, None, false),
            ("axios", "application/json, text/plain, */*", None, false),
            // Other clients.
            ("curl, wget", "*/*", None, true),
            ("nothing", "", None, true),
            ("any text", "text/*", None, true),
            ("XHTML", "application/xhtml+xml", None, true),
            ("JSON", "application/json", None, false),
            ("no page", "text/html;q=0, */*", None, false),
            ("no page", "text/html;q=0", None, false),
            ("nothing at all", "*/*;q=0", None, false),
        ] {
            let mut lines = vec![("Accept", accept)];
            if let Some((dest, mode)) = fetch {
                lines.extend([("Sec-Fetch-Dest", dest), ("Sec-Fetch-Mode", mode)]);
            }
            assert_eq!(
                with_request("GET", &lines, is_navigation),
                expected,
                "{what}"
            );
            assert_eq!(
                with_request("HEAD", &lines, is_navigation),
                expected,
                "{what}"
            );
            assert!(!with_request("POST", &lines, is_navigation), "{what}");
        }
        assert!(with_request("GET", &[], is_navigation));
        assert!(!with_request("OPTIONS", &[], is_navigation));
        let twice = [("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Dest", "script")];
        assert!(!with_request("GET", &twice, is_navigation));
    }
}
