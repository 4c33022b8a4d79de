//! Cross-origin requests of browsers: CORS preflights (Fetch standard, section 3.3).

use super::request::{Method, Request};
use super::request_fields::RequestField;
use super::response::Response;
use super::syntax::is_token;

/// Whether this is a CORS preflight: a browser asking whether a page of another origin may send a certain request. It
/// never has credentials (Fetch, section 4.8), so it cannot be required to have any.
pub(super) fn is_preflight(request: &Request<'_>) -> bool {
    request.method == Method::Options
        && request.fields.has(RequestField::Origin)
        && request.fields.has(RequestField::AccessControlRequestMethod)
}

/// Turns a response to OPTIONS into one that allows the preflight: a page of another origin may send GET, HEAD and
/// OPTIONS, with each field it named, and the browser may cache that for a day (browsers limit it to less).
pub(super) fn allow_preflight(request: &Request<'_>, response: Response) -> Response {
    let requested = request
        .fields
        .list(RequestField::AccessControlRequestHeaders);
    let names = requested
        .filter(|name| is_token(name))
        .filter_map(|name| std::str::from_utf8(name).ok());
    let names: Vec<&str> = names.collect();
    let response = response
        .with_field("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
        .with_field("Access-Control-Max-Age", 86400)
        .with_field("Vary", "Access-Control-Request-Headers");
    match names.is_empty() {
        true => response,
        false => response.with_field("Access-Control-Allow-Headers", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Version;
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::super::status::Status;
    use super::*;

    fn check(method: &str, lines: &[(&str, &str)], expected: bool) {
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::from_name(method),
            target: "/",
            version: Version::Http11,
            fields: RequestFields::new(&lines),
        };
        assert_eq!(is_preflight(&request), expected, "{method} {lines:?}");
    }

    #[test]
    fn preflight_response_allows_the_requested_fields() {
        let allowed_names = |fields: &'static str| {
            let lines = FieldLine::from_pairs(&[("Access-Control-Request-Headers", fields)]);
            let request = Request {
                method: Method::Options,
                target: "/",
                version: Version::Http11,
                fields: RequestFields::new(&lines),
            };
            let response = allow_preflight(&request, Response::empty(Status::NoContent));
            let allowed = response
                .fields
                .lines()
                .find(|(name, _)| name.ends_with("-Headers"));
            allowed.map(|(_, value)| value.to_owned())
        };
        assert_eq!(allowed_names("range,x-a"), Some("range, x-a".into()));
        assert_eq!(allowed_names("a b, c"), Some("c".into()));
        assert_eq!(allowed_names(""), None);
    }

    #[test]
    fn preflight_is_options_with_origin_and_requested_method() {
        let (origin, requested_method) = (
            ("origin", "https://a"),
            ("Access-Control-Request-Method", "PUT"),
        );
        check("OPTIONS", &[origin, requested_method], true);
        check("OPTIONS", &[origin], false);
        check("OPTIONS", &[requested_method], false);
        check("GET", &[origin, requested_method], false);
    }
}
