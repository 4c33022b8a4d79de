//! Which requests are a browser's, made on behalf of another site (the Fetch standard, section 3.3).

use super::request::{Method, Request};
use super::response::Response;
use super::syntax::is_token;

/// Whether this is a preflight: the question of a browser whether a page of another origin may ask what it
/// wants to ask. It never has credentials (Fetch, section 4.8), so none can be asked for.
#[must_use]
pub fn is_preflight(request: &Request<'_>) -> bool {
    let has = |name| request.values(name).next().is_some();
    request.method == Method::Options && has("Origin") && has("Access-Control-Request-Method")
}

/// The answer to a preflight, from one to OPTIONS: a page of another origin may ask for what there is to be had, with
/// any field that it has named, and need not ask again for a day (browsers make that less).
#[must_use]
pub fn allow_preflight(request: &Request<'_>, response: Response) -> Response {
    let asked = request.list("Access-Control-Request-Headers");
    let names = asked
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
    use super::super::request::{FieldLine, Version};
    use super::super::status::Status;
    use super::*;

    fn check(method: &str, lines: &[(&str, &str)], expected: bool) {
        let request = Request {
            method: Method::from_name(method),
            target: "/",
            version: Version::Http11,
            lines: &FieldLine::from_pairs(lines),
        };
        assert_eq!(is_preflight(&request), expected, "{method} {lines:?}");
    }

    #[test]
    fn preflight_response_allows_the_requested_fields() {
        let asked = |fields: &'static str| {
            let lines = [("Access-Control-Request-Headers", fields)];
            let request = Request {
                method: Method::Options,
                target: "/",
                version: Version::Http11,
                lines: &FieldLine::from_pairs(&lines),
            };
            let response = allow_preflight(&request, Response::empty(Status::NoContent));
            let allowed = response
                .fields
                .lines()
                .find(|(name, _)| name.ends_with("-Headers"));
            allowed.map(|(_, value)| value.to_owned())
        };
        assert_eq!(asked("range,x-a"), Some("range, x-a".into()));
        assert_eq!(asked("a b, c"), Some("c".into()));
        assert_eq!(asked(""), None);
    }

    #[test]
    fn preflight_is_options_with_origin_and_requested_method() {
        let (origin, asks) = (
            ("origin", "https://a"),
            ("Access-Control-Request-Method", "PUT"),
        );
        check("OPTIONS", &[origin, asks], true);
        check("OPTIONS", &[origin], false);
        check("OPTIONS", &[asks], false);
        check("GET", &[origin, asks], false);
    }
}
