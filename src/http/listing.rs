//! Format and order of a directory listing, as a request selects them.

use std::sync::Arc;

use super::accept;
use super::origin::StreamKind;
use super::representation::Representation;
use super::request::Request;
use super::response::{Body, Response};
use super::status::Status;
use super::target::Target;

/// A listing's representations, one per format. Their content is generated while it is sent, so it is empty here.
#[derive(Clone, Debug)]
pub struct ListingRepresentations {
    /// HTML, for people: the default, also if none of the three is acceptable.
    pub html: Arc<Representation>,
    /// JSON, for programs.
    pub json: Arc<Representation>,
    /// Plain text, for shells.
    pub text: Arc<Representation>,
}

/// Format and order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingView {
    /// Format.
    pub format: ListingFormat,
    /// Key that the entries are sorted by.
    pub sort_key: SortKey,
    /// Whether the order is descending.
    pub is_descending: bool,
}

/// Format of a listing: one of [`ListingRepresentations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    /// HTML page.
    Html,
    /// JSON array of objects.
    Json,
    /// One name per line.
    Text,
}

/// Key that entries are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Name, in natural order (numbers by value).
    Name,
    /// Length in bytes.
    Size,
    /// Modification time.
    Time,
}

impl ListingFormat {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Html, "text/html"),
        (Self::Json, "application/json"),
        (Self::Text, "text/plain"),
    ];
}

impl SortKey {
    /// All keys, with their names in a query.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Name, "name"),
        (Self::Size, "size"),
        (Self::Time, "time"),
    ];
}

impl ListingView {
    /// Parses the request's Accept and its query, `sort=name|size|time` and `order=asc|desc`. Other query parameters
    /// are ignored.
    #[must_use]
    pub fn from_request(request: &Request<'_>, target: &Target<'_>) -> Self {
        let mut view = Self {
            format: preferred_format(request),
            sort_key: SortKey::Name,
            is_descending: false,
        };
        for pair in target.query().unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("sort", name)) => {
                    let found = SortKey::ALL.iter().find(|(_, known)| *known == name);
                    view.sort_key = found.map_or(view.sort_key, |(key, _)| *key);
                }
                Some(("order", order)) => view.is_descending = order == "desc",
                _ => {}
            }
        }
        view
    }
}

/// Begins a response with a listing.
pub(super) fn respond_listing(
    request: &Request<'_>,
    target: &Target<'_>,
    representations: &ListingRepresentations,
) -> Response {
    let view = ListingView::from_request(request, target);
    let representation = match view.format {
        ListingFormat::Html => &representations.html,
        ListingFormat::Json => &representations.json,
        ListingFormat::Text => &representations.text,
    };
    Response {
        // The representation lacks the fields that the origin adds to every response.
        has_origin_fields: false,
        ..Response::new(Status::Ok, representation.clone())
            .with_body(Body::Streamed(StreamKind::Listing(view)))
    }
}

/// Format that Accept prefers; HTML if none is acceptable.
fn preferred_format(request: &Request<'_>) -> ListingFormat {
    let index = accept::preferred_media_type(
        request,
        &ListingFormat::ALL.map(|(_, media_type)| media_type),
    );
    let format = index.and_then(|index| ListingFormat::ALL.get(index));
    format.map_or(ListingFormat::Html, |(format, _)| *format)
}

#[cfg(test)]
mod tests {
    use super::super::request::{Method, Version};
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::*;

    fn view(target: &str, accept: &[&str]) -> ListingView {
        let lines: Vec<_> = accept.iter().map(|value| ("Accept", *value)).collect();
        let lines = FieldLine::from_pairs(&lines);
        let request = Request {
            method: Method::Get,
            target,
            version: Version::Http11,
            fields: RequestFields::new(&lines),
        };
        ListingView::from_request(&request, &Target::parse(target, None).unwrap())
    }

    #[test]
    fn accept_selects_the_format() {
        const BROWSER: &str =
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, format) in [
            (&[][..], ListingFormat::Html),
            (&["*/*"], ListingFormat::Html),
            (&[BROWSER], ListingFormat::Html),
            (&["application/json"], ListingFormat::Json),
            (&["Application/JSON; charset=utf-8"], ListingFormat::Json),
            (&["application/*"], ListingFormat::Json),
            (&["text/plain"], ListingFormat::Text),
            (&["text/*"], ListingFormat::Html),
            (&["text/plain, */*;q=0.5"], ListingFormat::Text),
            (&["*/*;q=0.5", "text/plain"], ListingFormat::Text),
            (
                &["text/html;q=0.1, application/json;q=0.12"],
                ListingFormat::Json,
            ),
            (&["text/html;q=0, */*"], ListingFormat::Json),
            (&["image/png"], ListingFormat::Html),
            (&["text/html;q=2, text/plain;q=0.001"], ListingFormat::Text),
            (&["nonsense", ",;q=,"], ListingFormat::Html),
        ] {
            assert_eq!(view("/", accept).format, format, "{accept:?}");
        }
    }

    #[test]
    fn query_selects_sort_key_and_order() {
        for (target, by, descending) in [
            ("/", SortKey::Name, false),
            ("/?", SortKey::Name, false),
            ("/?sort=size", SortKey::Size, false),
            ("/?sort=time&order=desc", SortKey::Time, true),
            ("/?order=desc", SortKey::Name, true),
            ("/?order=desc&order=asc", SortKey::Name, false),
            ("/?sort=colour&order=sideways&x", SortKey::Name, false),
        ] {
            let view = view(target, &[]);
            assert_eq!(
                (view.sort_key, view.is_descending),
                (by, descending),
                "{target}"
            );
        }
    }
}
