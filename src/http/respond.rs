//! Request plus lookup is response.

use std::sync::{Arc, LazyLock};

use super::accept::is_navigation;
use super::coding::{self, Accepted, Coding};
use super::listing::listed;
use super::multipart::Multipart;
use super::origin::{Lookup, Streamed};
use super::precondition::{self, Verdict};
use super::range::{self, Selection};
use super::representation::{Representation, Resource};
use super::request::{Method, Request};
use super::response::{Content, Response};
use super::status::Status;
use super::target::Target;
use crate::blob::Blob;

/// The answers of a site without a page for it, to who would see a page, and to what belongs to one: a script or an
/// image that is missing is no page. What is asked for most in vain is made once.
static NO_PAGE: LazyLock<Response> = LazyLock::new(|| Response::refusal(Status::NotFound, NOTHING));
static NO_PART: LazyLock<Response> =
    LazyLock::new(|| Response::text(Status::NotFound, NOTHING).because(NOTHING));
const NOTHING: &str = "There is nothing under this address.";

/// The answer that tells what happens. Nobody on the way is to gather it before it is passed on.
static EVENTS: LazyLock<Response> = LazyLock::new(|| {
    let events = Representation::new(Blob::Static(b""), "text/event-stream")
        .telling("Cache-Control", "no-store")
        .describing("X-Accel-Buffering", "no");
    Response {
        // What goes with every answer does not come with it.
        is_represented: false,
        ..Response::new(Status::Ok, Arc::new(events)).sending(Content::Streamed(Streamed::Events))
    }
});

/// Decides, in the order of RFC 9110 section 13.2.2: what was found; in which form it is asked for; whether it
/// is asked for at all; which part of it.
/// The request is one that [`admit`](super::admit()) has let through with this target.
#[must_use]
pub fn respond(request: &Request<'_>, target: &Target<'_>, lookup: &Lookup) -> Response {
    let response = match lookup {
        Lookup::Found(resource) => found(request, resource),
        Lookup::Directory => {
            let slash = target.as_directory();
            let page = format!("This folder is at {}.", link(&slash));
            Response::page(Status::MovedPermanently, &page).with("Location", slash)
        }
        Lookup::Listing(forms) => listed(request, target, forms),
        Lookup::Events => EVENTS.clone(),
        Lookup::Moved(status, location) => {
            let page = format!("What was under this address is at {}.", link(location));
            Response::page(*status, &page).with("Location", location)
        }
        Lookup::Shell(shell, page) => {
            let response = match is_navigation(request) {
                true => found(request, shell),
                false => absent(request, target, page.as_ref()),
            };
            response.with("Vary", "Accept, Sec-Fetch-Dest, Sec-Fetch-Mode")
        }
        Lookup::Absent(page) => absent(request, target, page.as_ref()),
        Lookup::Forbidden => Response::refusal(
            Status::Forbidden,
            "What is under this address is not shown.",
        ),
        Lookup::Unavailable => {
            let why = "What is under this address cannot be reached just now.";
            Response::refusal(Status::ServiceUnavailable, why).with("Retry-After", 1)
        }
    };
    match request.method {
        Method::Head => response.withholding(),
        _ => response,
    }
}

fn found(request: &Request<'_>, resource: &Resource) -> Response {
    represented(request, resource, |found| selected(request, found))
}

fn absent(request: &Request<'_>, target: &Target<'_>, page: Option<&Arc<Resource>>) -> Response {
    match page {
        // It is no representation of the target, so there is nothing to ask it about.
        Some(page) => represented(request, page, |page| {
            Response::new(Status::NotFound, page.clone()).because(NOTHING)
        }),
        None if is_navigation(request) && may_be_page(target) => NO_PAGE.clone(),
        None => NO_PART.clone(),
    }
}

/// Whether what a target names may have been a page, by its extension.
fn may_be_page(target: &Target<'_>) -> bool {
    let path = target.raw().as_bytes();
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
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

/// A response with the representation that the request prefers (RFC 9110 section 12.5.3).
fn represented(
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
    let accepted = Accepted::of(request);
    let mut offered = [(Coding::Identity, 0); Coding::ALL.len()];
    let mut count = 0;
    for (place, each) in offered.iter_mut().zip(&resource.representations) {
        *place = (each.coding, each.content.len());
        count += 1;
    }
    let offered = offered.get(..count).unwrap_or_default();
    // Where nothing is acceptable, what is not coded is what everybody can read.
    let chosen = coding::choose(&accepted, offered).unwrap_or(0);
    let chosen = resource.representations.get(chosen).unwrap_or(first);
    // Of several that it has, the one that it would be sent.
    let mut all = [chosen].into_iter().chain(&resource.representations);
    let is_known = |it: &&Arc<Representation>| {
        accepted.weight(it.coding) > 0 && precondition::names(request, &it.validators)
    };
    let chosen = all.find(is_known).unwrap_or(chosen);
    let mut response = respond(chosen);
    if resource.is_codable
        && chosen.coding == Coding::Identity
        && response.status == Status::Ok
        && request.method == Method::Get
    {
        response.wanted = coding::wanted(&accepted);
    }
    match response.is_represented {
        true => response,
        // What is said instead depends on it, too.
        false => response.with("Vary", "Accept-Encoding"),
    }
}

/// Preconditions first, then the range. Only what would otherwise be 200 is asked about them.
fn selected(request: &Request<'_>, found: &Arc<Representation>) -> Response {
    match precondition::evaluate(request, &found.validators) {
        Verdict::Failed => {
            let why = "What is under this address is not what the request is about.";
            Response::refusal(Status::PreconditionFailed, why)
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
        // Who is sent several parts undoes a coding of all of them together, heads and boundaries included.
        Selection::Parts(parts)
            if found.coding == Coding::Identity && Multipart::is_worth_it(found, &parts) =>
        {
            partial(Content::Parts(parts))
        }
        Selection::Whole | Selection::Parts(_) => Response::new(Status::Ok, found.clone()),
        Selection::Unsatisfiable => {
            let why = "What is under this address has no such bytes.";
            let length = format!("bytes */{len}");
            Response::refusal(Status::RangeNotSatisfiable, why).with("Content-Range", length)
        }
    }
}

/// A link that says where it leads, in HTML.
fn link(location: &str) -> String {
    let html = location
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    format!("<a href=\"{html}\">{html}</a>")
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
        let coded = Representation::new(vec![b'x'; 1000].into(), "text/plain").coded(Coding::Gzip);
        let coded = Lookup::Found(Arc::new(Resource::from(coded)));
        check("GET", &coded, &[range], partial, Content::Part(5..1000));
        let several = ("Range", "bytes=0-0,9-9");
        check("GET", &coded, &[several], ok, Content::Whole);
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
