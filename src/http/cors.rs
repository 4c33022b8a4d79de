//! Which requests are a browser's, made on behalf of another site (the Fetch standard, section 3.3).

use super::request::{Method, Request};

/// Whether this is a preflight: the question of a browser whether a page of another origin may ask what it
/// wants to ask. It never has credentials (Fetch, section 4.8), so none can be asked for.
#[must_use]
pub fn is_preflight(request: &Request<'_>) -> bool {
    let has = |name| request.values(name).next().is_some();
    request.method == Method::Options && has("Origin") && has("Access-Control-Request-Method")
}

#[cfg(test)]
mod tests {
    use super::super::request::{Line, Version};
    use super::*;

    fn check(method: &str, lines: &[(&str, &str)], expected: bool) {
        let request = Request {
            method: Method::named(method),
            target: "/",
            version: Version::Http11,
            lines: &Line::all(lines),
        };
        assert_eq!(is_preflight(&request), expected, "{method} {lines:?}");
    }

    #[test]
    fn a_preflight_has_all_three() {
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
