//! How a folder's listing is asked for.

use std::sync::Arc;

use super::accept;
use super::origin::StreamKind;
use super::representation::Representation;
use super::request::Request;
use super::response::{Body, Response};
use super::status::Status;
use super::target::Target;

/// A listing in the forms in which it can be sent. Their content is made while it is sent, so theirs is
/// empty.
#[derive(Clone, Debug)]
pub struct ListingRepresentations {
    /// For people: the one for whoever says nothing about it, or wants none of these.
    pub html: Arc<Representation>,
    /// For programs.
    pub json: Arc<Representation>,
    /// For shells.
    pub text: Arc<Representation>,
}

/// How a listing is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingView {
    /// Which form.
    pub format: ListingFormat,
    /// What its entries are in order of.
    pub sort_key: SortKey,
    /// Whether that order is turned around.
    pub is_descending: bool,
}

/// One of [`ListingRepresentations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingFormat {
    /// A page.
    Html,
    /// An array of objects.
    Json,
    /// A name per line.
    Text,
}

/// What entries are in order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Their names, as people count.
    Name,
    /// Their lengths in bytes.
    Size,
    /// When they were last written to.
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
    /// All of them, and what each is called in a query.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Name, "name"),
        (Self::Size, "size"),
        (Self::Time, "time"),
    ];
}

impl ListingView {
    /// What a request's Accept and its query, `sort=name|size|time` and `order=asc|desc`, ask for. What they
    /// say beside that is for somebody else.
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

/// A response that begins a listing.
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
        // What goes with every answer does not come with it.
        has_origin_fields: false,
        ..Response::new(Status::Ok, representation.clone())
            .with_body(Body::Streamed(StreamKind::Listing(view)))
    }
}

/// The form that Accept prefers. Whoever accepts none gets a page all the same.
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
    use super::super::request::{FieldLine, Method, Version};
    use super::*;

    fn view(target: &str, accept: &[&str]) -> ListingView {
        let lines: Vec<_> = accept.iter().map(|value| ("Accept", *value)).collect();
        let lines = FieldLine::from_pairs(&lines);
        let request = Request {
            method: Method::Get,
            target,
            version: Version::Http11,
            lines: &lines,
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
