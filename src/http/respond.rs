//! Request plus lookup is response.

use super::origin::Lookup;
use super::representation::Resource;
use super::request::{Method, Request};
use super::response::{Content, Response};
use super::status::Status;
use super::target::Target;

/// Decides, in the order of RFC 9110 section 13.2.2: what was found, then how much of it is sent.
///
/// The request is one that [`admit`](super::admit()) has let through with this target.
#[must_use]
pub fn respond(request: &Request<'_>, target: &Target<'_>, lookup: &Lookup) -> Response {
    let response = match lookup {
        Lookup::Found(resource) => represented(Status::Ok, resource),
        Lookup::Directory => moved(target),
        Lookup::Absent(Some(page)) => represented(Status::NotFound, page),
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
        Method::Head => response.sending(Content::Withheld),
        _ => response,
    }
}

fn represented(status: Status, resource: &Resource) -> Response {
    match resource.representations.first() {
        Some(representation) => Response::new(status, representation.clone()),
        None => Response::empty(Status::NoContent),
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
    use std::sync::Arc;

    use super::super::representation::Representation;
    use super::super::request::Version;
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
}
