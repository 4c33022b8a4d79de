//! Request plus lookup is response.

use std::sync::Arc;

use super::multipart::Multipart;
use super::origin::Lookup;
use super::precondition::{self, Verdict};
use super::range::{self, Selection};
use super::representation::{Representation, Resource};
use super::request::{Method, Request};
use super::response::{Content, Response};
use super::status::Status;
use super::target::Target;

/// Decides, in the order of RFC 9110 section 13.2.2: what was found; whether it is asked for at all;
/// which part of it.
///
/// The request is one that [`admit`](super::admit()) has let through with this target.
#[must_use]
pub fn respond(request: &Request<'_>, target: &Target<'_>, lookup: &Lookup) -> Response {
    let response = match lookup {
        Lookup::Found(resource) => represented(resource, |found| selected(request, found)),
        Lookup::Directory => moved(target),
        Lookup::Absent(Some(page)) => {
            represented(page, |page| Response::new(Status::NotFound, page.clone()))
        }
        Lookup::Absent(None) => {
            Response::page(Status::NotFound, "There is nothing under this address.")
        }
        Lookup::Forbidden => Response::page(
            Status::Forbidden,
            "What is under this address is not shown.",
        ),
        Lookup::Unavailable => {
            let why = "What is under this address cannot be reached just now.";
            Response::page(Status::ServiceUnavailable, why).with("Retry-After", 1)
        }
    };
    match request.method {
        Method::Head => response.withholding(),
        _ => response,
    }
}

fn represented(
    resource: &Resource,
    response: impl FnOnce(&Arc<Representation>) -> Response,
) -> Response {
    match resource.representations.first() {
        Some(representation) => response(representation),
        None => Response::empty(Status::NoContent),
    }
}

/// Preconditions first, then the range. Only what would otherwise be 200 is asked about them.
fn selected(request: &Request<'_>, found: &Arc<Representation>) -> Response {
    match precondition::evaluate(request, &found.validators) {
        Verdict::Failed => {
            let why = "What is under this address is not what the request is about.";
            Response::page(Status::PreconditionFailed, why)
        }
        Verdict::NotModified => {
            Response::new(Status::NotModified, found.clone()).sending(Content::Known)
        }
        Verdict::Proceed => content(request, found),
    }
}

fn content(request: &Request<'_>, found: &Arc<Representation>) -> Response {
    let len = found.content.len();
    let partial = |content| Response::new(Status::PartialContent, found.clone()).sending(content);
    match range::select(request, &found.validators, len) {
        Selection::Part(part) => partial(Content::Part(part)),
        Selection::Parts(parts) if Multipart::is_worth_it(found, &parts) => {
            partial(Content::Parts(parts))
        }
        Selection::Whole | Selection::Parts(_) => Response::new(Status::Ok, found.clone()),
        Selection::Unsatisfiable => {
            let why = "What is under this address has no such bytes.";
            let length = format!("bytes */{len}");
            Response::page(Status::RangeNotSatisfiable, why).with("Content-Range", length)
        }
    }
}

/// A folder is known by its slash, so that relative references on its page resolve inside it.
fn moved(target: &Target<'_>) -> Response {
    let location = target.as_directory();
    let html = location.replace('&', "&amp;").replace('\'', "&#39;");
    let page = format!("This folder is at <a href=\"{html}\">{html}</a>.");
    Response::page(Status::MovedPermanently, &page).with("Location", location)
}

#[cfg(test)]
mod tests {
    use super::super::request::{Line, Version};
    use super::super::validator::{EntityTag, Validators};
    use super::*;
    use crate::blob::Blob;

    fn check(method: Method<'_>, target: &str, lookup: &Lookup, expected: (Status, &str, Content)) {
        let request = Request {
            method,
            target,
            version: Version::Http11,
            lines: &[],
        };
        let target = Target::parse(target, None).unwrap();
        let response = respond(&request, &target, lookup);
        let found = (response.status, response.fields.as_str(), response.content);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_found_decides() {
        use Content::{Whole, Withheld};
        use Method::{Get, Head};
        let page = Representation::new(Blob::Static(b"page"), "text/html");
        let page = Arc::new(Resource::from(page));
        let found = Lookup::Found(page.clone());
        let absent = Lookup::Absent(None);
        let moved = (Status::MovedPermanently, "Location: /a%20b/?q&r\r\n", Whole);
        let unavailable = (Status::ServiceUnavailable, "Retry-After: 1\r\n", Whole);
        check(Get, "/a", &found, (Status::Ok, "", Whole));
        check(Head, "/a", &found, (Status::Ok, "", Withheld));
        check(Get, "//a%20b?q&r", &Lookup::Directory, moved);
        check(
            Get,
            "/a",
            &Lookup::Absent(Some(page)),
            (Status::NotFound, "", Whole),
        );
        check(Get, "/a", &absent, (Status::NotFound, "", Whole));
        check(Head, "/a", &absent, (Status::NotFound, "", Withheld));
        check(
            Get,
            "/a",
            &Lookup::Forbidden,
            (Status::Forbidden, "", Whole),
        );
        check(Get, "/a", &Lookup::Unavailable, unavailable);
    }

    #[test]
    fn preconditions_come_before_ranges_and_both_after_finding() {
        const TAG: &str = "\"0000000000000000000000000000000a\"";
        let page = Representation::new(vec![b'x'; 1000].into(), "text/plain");
        let page = page.with(Validators {
            tag: Some(EntityTag::new(0xa)),
            modified: None,
        });
        let page = Arc::new(Resource::from(page));
        let check = |method, lookup: &Lookup, lines: &[(&str, &str)], status: &str, content| {
            let lines = Line::all(lines);
            let request = Request {
                method: Method::named(method),
                target: "/a",
                version: Version::Http11,
                lines: &lines,
            };
            let target = Target::parse("/a", None).unwrap();
            let response = respond(&request, &target, lookup);
            let found = (response.status.text(), response.content);
            assert_eq!(found, (status, content), "{method} {lines:?}");
            response.fields
        };
        let found = Lookup::Found(page.clone());
        let absent = Lookup::Absent(Some(page));
        let (same, other) = (("If-None-Match", TAG), ("If-Match", "\"x\""));
        let (range, beyond) = (("Range", "bytes=5-"), ("Range", "bytes=1000-"));
        let (ok, failed) = ("200 OK", "412 Precondition Failed");
        let (partial, known) = ("206 Partial Content", "304 Not Modified");
        check("GET", &found, &[range], partial, Content::Part(5..1000));
        check("GET", &found, &[range, same], known, Content::Known);
        check("GET", &found, &[beyond, same], known, Content::Known);
        check("GET", &found, &[range, other], failed, Content::Whole);
        check("HEAD", &found, &[range], ok, Content::Withheld);
        check("HEAD", &found, &[range, same], known, Content::Known);
        check("HEAD", &found, &[other], failed, Content::Withheld);
        let parts = Content::Parts(vec![0..1, 9..10]);
        check("GET", &found, &[("Range", "bytes=0-0,9-9")], partial, parts);
        let dear = ("Range", "bytes=0-498,500-");
        check("GET", &found, &[dear], ok, Content::Whole);
        let unsatisfiable = "416 Range Not Satisfiable";
        let fields = check("GET", &found, &[beyond], unsatisfiable, Content::Whole);
        assert_eq!(fields.as_str(), "Content-Range: bytes */1000\r\n");
        for line in [range, beyond, same, other] {
            check("GET", &absent, &[line], "404 Not Found", Content::Whole);
        }
    }
}
