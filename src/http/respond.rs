//! The response to a request, decided from the result of its lookup.

use std::sync::{Arc, LazyLock};

use super::accept::is_navigation;
use super::coding::{self, AcceptEncoding, Coding};
use super::listing::{ListingRepresentations, ListingView};
use super::multipart::Multipart;
use super::origin::{Lookup, StreamKind};
use super::precondition;
use super::range::{self, Selection};
use super::representation::{Representation, Resource};
use super::request::{Method, Request};
use super::request_fields::RequestField;
use super::response::{Audience, Body, Outcome, Response};
use super::status::Status;
use super::target::Target;
use crate::blob::Blob;
use crate::escape::HtmlText;
use crate::path::last_segment;

/// Responses for a missing target of a site without an error page: a page for navigation, plain text for subresources
/// such as scripts and images. These are frequent, so they are made once.
static NOT_FOUND_PAGE: LazyLock<Response> =
    LazyLock::new(|| Response::error_page(Status::NotFound, NOT_FOUND_REASON));
static NOT_FOUND_TEXT: LazyLock<Response> = LazyLock::new(|| {
    Response::plain_text(Status::NotFound, NOT_FOUND_REASON).with_reason(NOT_FOUND_REASON)
});
const NOT_FOUND_REASON: &str = "There is nothing under this address.";

/// Response with server-sent events. X-Accel-Buffering keeps proxies from buffering them.
static EVENT_STREAM: LazyLock<Response> = LazyLock::new(|| {
    let events = Representation::new(Blob::Static(b""), "text/event-stream")
        .with_metadata_field("Cache-Control", "no-store")
        .with_content_field("X-Accel-Buffering", "no");
    Response {
        // The representation lacks the fields that the origin adds to every response.
        has_origin_fields: false,
        ..Response::new(Status::Ok, Arc::new(events)).with_body(Body::Streamed(StreamKind::Events))
    }
});

/// Decides the response, in the order of RFC 9110 section 13.2.2: the lookup, the representation, the preconditions,
/// the range. [`validate`](super::validate()) must have accepted the request with this target.
#[must_use]
pub fn respond(request: &Request<'_>, target: &Target<'_>, lookup: &Lookup) -> Response {
    let (outcome, mut response) = match lookup {
        Lookup::Found(resource) => (Outcome::Found, respond_found(request, resource)),
        Lookup::Directory => {
            let slash = target.with_trailing_slash();
            let page = format!("This directory is at {}.", html_link(&slash));
            let page = Response::html_page(Status::MovedPermanently, &page);
            (Outcome::Directory, page.with_field("Location", slash))
        }
        Lookup::Listing(representations) => {
            let listing = respond_listing(request, target, representations);
            (Outcome::Listing, listing)
        }
        Lookup::Events => (Outcome::Events, EVENT_STREAM.clone()),
        Lookup::Redirect(status, location) => {
            let page = format!("This page is at {}.", html_link(location));
            let page = Response::html_page(*status, &page);
            (Outcome::Redirect, page.with_field("Location", location))
        }
        Lookup::SpaFallback(fallback_page, error_page) => {
            let (outcome, response) = match is_navigation(request) {
                true => (Outcome::SpaFallback, respond_found(request, fallback_page)),
                false => (
                    Outcome::NotFound,
                    respond_not_found(request, target, error_page.as_ref()),
                ),
            };
            let vary = "Accept, Sec-Fetch-Dest, Sec-Fetch-Mode";
            (outcome, response.with_field("Vary", vary))
        }
        Lookup::NotFound(page) => (
            Outcome::NotFound,
            respond_not_found(request, target, page.as_ref()),
        ),
        Lookup::Forbidden => (
            Outcome::Forbidden,
            Response::error_page(Status::Forbidden, "This file is not served."),
        ),
        Lookup::Unavailable => {
            let reason = "This file cannot be read at the moment.";
            let page = Response::error_page(Status::ServiceUnavailable, reason);
            (Outcome::Unavailable, page.with_field("Retry-After", 1))
        }
    };
    response.outcome = outcome;
    response.audience = Audience::Authorized;
    match request.method {
        Method::Head => response.for_head(),
        _ => response,
    }
}

/// Begins a response with a listing.
fn respond_listing(
    request: &Request<'_>,
    target: &Target<'_>,
    representations: &ListingRepresentations,
) -> Response {
    let view = ListingView::from_request(request, target);
    let representation = representations.in_format(view.format).clone();
    Response {
        // The representation lacks the fields that the origin adds to every response.
        has_origin_fields: false,
        ..Response::new(Status::Ok, representation)
            .with_body(Body::Streamed(StreamKind::Listing(view)))
    }
}

fn respond_found(request: &Request<'_>, resource: &Resource) -> Response {
    respond_negotiated(request, resource, |found| {
        respond_conditional(request, found)
    })
}

fn respond_not_found(
    request: &Request<'_>,
    target: &Target<'_>,
    page: Option<&Arc<Resource>>,
) -> Response {
    match page {
        // The page does not represent the target, so preconditions and ranges do not apply.
        Some(page) => respond_negotiated(request, page, |page| {
            Response::new(Status::NotFound, page.clone()).with_reason(NOT_FOUND_REASON)
        }),
        None if is_navigation(request) && may_be_page(target) => NOT_FOUND_PAGE.clone(),
        None => NOT_FOUND_TEXT.clone(),
    }
}

/// Whether the target may name a page, by its extension.
fn may_be_page(target: &Target<'_>) -> bool {
    let name = last_segment(target.raw_path().as_bytes());
    let mut parts = name.rsplitn(2, |&byte| byte == b'.');
    match (parts.next(), parts.next()) {
        (Some(extension), Some(stem)) if !(extension.is_empty() || stem.is_empty()) => {
            let pages: [&[u8]; 3] = [b"html", b"htm", b"xhtml"];
            pages
                .iter()
                .any(|page| page.eq_ignore_ascii_case(extension))
        }
        _ => true,
    }
}

/// Returns a response with the representation that the request prefers (RFC 9110 section 12.5.3).
fn respond_negotiated(
    request: &Request<'_>,
    resource: &Resource,
    respond: impl FnOnce(&Arc<Representation>) -> Response,
) -> Response {
    let [first, ..] = &resource.representations[..] else {
        return Response::empty(Status::NoContent);
    };
    if !resource.varies {
        return respond(first);
    }
    let accepted = AcceptEncoding::from_request(request);
    let mut offered = [(Coding::Identity, 0); Coding::ALL.len()];
    let mut count = 0;
    for (slot, each) in offered.iter_mut().zip(&resource.representations) {
        *slot = (each.coding, each.content.len());
        count += 1;
    }
    let offered = offered.get(..count).unwrap_or_default();
    // If none is acceptable, send the file itself: uncoded, every client can read it.
    let chosen = coding::choose_coding(&accepted, offered).unwrap_or(0);
    let chosen = resource.representations.get(chosen).unwrap_or(first);
    // If the client has several, prefer the one it would be sent.
    let mut all = [chosen].into_iter().chain(&resource.representations);
    let is_cached_by_client = |each: &&Arc<Representation>| {
        accepted.weight(each.coding) > 0 && precondition::names_tag(request, &each.validators)
    };
    let chosen = all.find(is_cached_by_client).unwrap_or(chosen);
    let mut response = respond(chosen);
    if resource.is_encodable
        && chosen.coding == Coding::Identity
        && response.status == Status::Ok
        && request.method == Method::Get
    {
        response.wanted_coding = coding::wanted_coding(&accepted);
    }
    match response.has_origin_fields {
        true => response,
        // The response sent instead depends on it, too.
        false => response.with_field("Vary", "Accept-Encoding"),
    }
}

/// Evaluates the preconditions, then the range. Only a response that would otherwise be 200 has them.
fn respond_conditional(request: &Request<'_>, found: &Arc<Representation>) -> Response {
    match precondition::evaluate(request, &found.validators) {
        None => respond_range(request, found),
        Some(field @ (RequestField::IfNoneMatch | RequestField::IfModifiedSince)) => {
            Response::new(Status::NotModified, found.clone()).reduced(Body::NotModified, field)
        }
        Some(_) => {
            let reason = "A precondition of the request (If-Match, If-Unmodified-Since) is false.";
            Response::error_page(Status::PreconditionFailed, reason)
        }
    }
}

fn respond_range(request: &Request<'_>, found: &Arc<Representation>) -> Response {
    let len = found.content.len();
    let partial = |body| {
        Response::new(Status::PartialContent, found.clone()).reduced(body, RequestField::Range)
    };
    match range::select(request, &found.validators, len) {
        Selection::Part(part) => partial(Body::Part(part)),
        // A client decodes several parts together, part headers and boundaries included.
        Selection::Parts(parts)
            if found.coding == Coding::Identity
                && Multipart::is_shorter_than_whole(found, &parts) =>
        {
            partial(Body::Parts(parts))
        }
        Selection::Whole | Selection::Parts(_) => Response::new(Status::Ok, found.clone()),
        Selection::Unsatisfiable => {
            let reason = "The range is outside the file.";
            let length = format!("bytes */{len}");
            Response::error_page(Status::RangeNotSatisfiable, reason)
                .with_field("Content-Range", length)
        }
    }
}

/// Renders a link to `location` that shows it, in HTML.
fn html_link(location: &str) -> String {
    let html = HtmlText(location.as_bytes());
    format!("<a href=\"{html}\">{html}</a>")
}

#[cfg(test)]
mod tests {
    use super::super::request::Version;
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::super::validator::{EntityTag, Validators};
    use super::*;
    use crate::blob::Blob;

    fn check(method: Method<'_>, target: &str, lookup: &Lookup, expected: (Status, &str, Body)) {
        let request = Request {
            method,
            target,
            version: Version::Http11,
            fields: RequestFields::new(&[]),
        };
        let target = Target::parse(target, None).unwrap();
        let response = respond(&request, &target, lookup);
        let found = (response.status, response.fields.as_str(), response.body);
        assert_eq!(found, expected);
    }

    #[test]
    fn each_lookup_has_its_response() {
        use Body::{HeadOnly, Whole};
        use Method::{Get, Head};
        let page = Representation::new(Blob::Static(b"page"), "text/html");
        let page = Arc::new(Resource::from(page));
        let found = Lookup::Found(page.clone());
        let not_found = Lookup::NotFound(None);
        let moved = (Status::MovedPermanently, "Location: /a%20b/?q&r\r\n", Whole);
        let unavailable = (Status::ServiceUnavailable, "Retry-After: 1\r\n", Whole);
        check(Get, "/a", &found, (Status::Ok, "", Whole));
        check(Head, "/a", &found, (Status::Ok, "", HeadOnly));
        check(Get, "//a%20b?q&r", &Lookup::Directory, moved);
        check(
            Get,
            "/a",
            &Lookup::NotFound(Some(page)),
            (Status::NotFound, "", Whole),
        );
        check(Get, "/a", &not_found, (Status::NotFound, "", Whole));
        check(Head, "/a", &not_found, (Status::NotFound, "", HeadOnly));
        check(
            Get,
            "/a",
            &Lookup::Forbidden,
            (Status::Forbidden, "", Whole),
        );
        check(Get, "/a", &Lookup::Unavailable, unavailable);
    }

    #[test]
    fn preconditions_are_evaluated_before_ranges() {
        const TAG: &str = "\"0000000000000000000000000000000a\"";
        let page = Representation::new(vec![b'x'; 1000].into(), "text/plain");
        let page = page.with_validators(Validators {
            tag: Some(EntityTag::new(0xa)),
            modified: None,
        });
        let page = Arc::new(Resource::from(page));
        let check = |method, lookup: &Lookup, lines: &[(&str, &str)], status: &str, content| {
            let lines = FieldLine::from_pairs(lines);
            let request = Request {
                method: Method::from_name(method),
                target: "/a",
                version: Version::Http11,
                fields: RequestFields::new(&lines),
            };
            let target = Target::parse("/a", None).unwrap();
            let response = respond(&request, &target, lookup);
            let found = (response.status.text(), response.body);
            assert_eq!(found, (status, content), "{method} {lines:?}");
            response.fields
        };
        let found = Lookup::Found(page.clone());
        let not_found = Lookup::NotFound(Some(page));
        let (same, other) = (("If-None-Match", TAG), ("If-Match", "\"x\""));
        let (range, beyond) = (("Range", "bytes=5-"), ("Range", "bytes=1000-"));
        let (ok, failed) = ("200 OK", "412 Precondition Failed");
        let (partial, not_modified) = ("206 Partial Content", "304 Not Modified");
        check("GET", &found, &[range], partial, Body::Part(5..1000));
        check(
            "GET",
            &found,
            &[range, same],
            not_modified,
            Body::NotModified,
        );
        check(
            "GET",
            &found,
            &[beyond, same],
            not_modified,
            Body::NotModified,
        );
        check("GET", &found, &[range, other], failed, Body::Whole);
        check("HEAD", &found, &[range], ok, Body::HeadOnly);
        check(
            "HEAD",
            &found,
            &[range, same],
            not_modified,
            Body::NotModified,
        );
        check("HEAD", &found, &[other], failed, Body::HeadOnly);
        let parts = Body::Parts(vec![0..1, 9..10]);
        check("GET", &found, &[("Range", "bytes=0-0,9-9")], partial, parts);
        let coded =
            Representation::new(vec![b'x'; 1000].into(), "text/plain").with_coding(Coding::Gzip);
        let coded = Lookup::Found(Arc::new(Resource::from(coded)));
        check("GET", &coded, &[range], partial, Body::Part(5..1000));
        let several = ("Range", "bytes=0-0,9-9");
        check("GET", &coded, &[several], ok, Body::Whole);
        let nearly_all = ("Range", "bytes=0-498,500-");
        check("GET", &found, &[nearly_all], ok, Body::Whole);
        let unsatisfiable = "416 Range Not Satisfiable";
        let fields = check("GET", &found, &[beyond], unsatisfiable, Body::Whole);
        assert_eq!(fields.as_str(), "Content-Range: bytes */1000\r\n");
        for line in [range, beyond, same, other] {
            check("GET", &not_found, &[line], "404 Not Found", Body::Whole);
        }
    }
}
