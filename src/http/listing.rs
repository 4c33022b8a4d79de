//! How a folder's listing is asked for.

use std::sync::Arc;

use super::accept;
use super::origin::Streamed;
use super::representation::Representation;
use super::request::Request;
use super::response::{Content, Response};
use super::status::Status;
use super::target::Target;

/// A listing in the forms in which it can be sent. Their content is made while it is sent, so theirs is
/// empty.
#[derive(Clone, Debug)]
pub struct Forms {
    /// For people: the one for whoever says nothing about it, or wants none of these.
    pub html: Arc<Representation>,
    /// For programs.
    pub json: Arc<Representation>,
    /// For shells.
    pub text: Arc<Representation>,
}

/// How a listing is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Which form.
    pub form: Form,
    /// What its entries are in order of.
    pub by: Key,
    /// Whether that order is turned around.
    pub descending: bool,
}

/// One of [`Forms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page.
    Html,
    /// An array of objects.
    Json,
    /// A name per line.
    Text,
}

/// What entries are in order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Their names, as people count.
    Name,
    /// Their lengths in bytes.
    Size,
    /// When they were last written to.
    Time,
}

impl Form {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Html, "text/html"),
        (Self::Json, "application/json"),
        (Self::Text, "text/plain"),
    ];
}

impl Key {
    /// All of them, and what each is called in a query.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Name, "name"),
        (Self::Size, "size"),
        (Self::Time, "time"),
    ];
}

impl View {
    /// What a request's Accept and its query, `sort=name|size|time` and `order=asc|desc`, ask for. What they
    /// say beside that is for somebody else.
    #[must_use]
    pub fn asked(request: &Request<'_>, target: &Target<'_>) -> Self {
        let mut view = Self {
            form: preferred(request),
            by: Key::Name,
            descending: false,
        };
        for pair in target.query().unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("sort", name)) => {
                    let found = Key::ALL.iter().find(|(_, known)| *known == name);
                    view.by = found.map_or(view.by, |(key, _)| *key);
                }
                Some(("order", order)) => view.descending = order == "desc",
                _ => {}
            }
        }
        view
    }
}

/// A response that begins a listing.
pub(super) fn listed(request: &Request<'_>, target: &Target<'_>, forms: &Forms) -> Response {
    let view = View::asked(request, target);
    let representation = match view.form {
        Form::Html => &forms.html,
        Form::Json => &forms.json,
        Form::Text => &forms.text,
    };
    Response {
        // What goes with every answer does not come with it.
        is_represented: false,
        ..Response::new(Status::Ok, representation.clone())
            .sending(Content::Streamed(Streamed::Listing(view)))
    }
}

/// The form that Accept prefers. Whoever accepts none gets a page all the same.
fn preferred(request: &Request<'_>) -> Form {
    let place = accept::preferred(request, &Form::ALL.map(|(_, media_type)| media_type));
    let form = place.and_then(|place| Form::ALL.get(place));
    form.map_or(Form::Html, |(form, _)| *form)
}

#[cfg(test)]
mod tests {
    use super::super::request::{Line, Method, Version};
    use super::*;

    fn view(target: &str, accept: &[&str]) -> View {
        let lines: Vec<_> = accept.iter().map(|value| ("Accept", *value)).collect();
        let lines = Line::all(&lines);
        let request = Request {
            method: Method::Get,
            target,
            version: Version::Http11,
            lines: &lines,
        };
        View::asked(&request, &Target::parse(target, None).unwrap())
    }

    #[test]
    fn accept_chooses_the_form() {
        const BROWSER: &str =
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, form) in [
            (&[][..], Form::Html),
            (&["*/*"], Form::Html),
            (&[BROWSER], Form::Html),
            (&["application/json"], Form::Json),
            (&["Application/JSON; charset=utf-8"], Form::Json),
            (&["application/*"], Form::Json),
            (&["text/plain"], Form::Text),
            (&["text/*"], Form::Html),
            (&["text/plain, */*;q=0.5"], Form::Text),
            (&["*/*;q=0.5", "text/plain"], Form::Text),
            (&["text/html;q=0.1, application/json;q=0.12"], Form::Json),
            (&["text/html;q=0, */*"], Form::Json),
            (&["image/png"], Form::Html),
            (&["text/html;q=2, text/plain;q=0.001"], Form::Text),
            (&["nonsense", ",;q=,"], Form::Html),
        ] {
            assert_eq!(view("/", accept).form, form, "{accept:?}");
        }
    }

    #[test]
    fn the_query_chooses_the_order() {
        for (target, by, descending) in [
            ("/", Key::Name, false),
            ("/?", Key::Name, false),
            ("/?sort=size", Key::Size, false),
            ("/?sort=time&order=desc", Key::Time, true),
            ("/?order=desc", Key::Name, true),
            ("/?order=desc&order=asc", Key::Name, false),
            ("/?sort=colour&order=sideways&x", Key::Name, false),
        ] {
            let view = view(target, &[]);
            assert_eq!((view.by, view.descending), (by, descending), "{target}");
        }
    }
}
