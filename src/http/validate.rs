//! Validation of a request before its lookup: Host, Expect, method, target.

use super::cors::{allow_preflight, is_preflight};
use super::request::{Method, Request, Version};
use super::request_fields::RequestField;
use super::response::{Audience, Response};
use super::status::Status;
use super::target::{Target, is_authority};

/// Methods that every resource allows (RFC 9110 section 10.2.1).
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A valid request.
#[derive(Debug)]
pub enum Validated<'a> {
    /// GET or HEAD of this target.
    Resource(Target<'a>),
    /// OPTIONS, whose response needs no lookup.
    Options,
}

impl Validated<'_> {
    /// Audience of the response: only an authorized client sees what depends on the site, or which methods it allows. A
    /// preflight cannot have credentials.
    #[must_use]
    pub fn audience(&self, request: &Request<'_>) -> Audience {
        match self {
            Self::Options if is_preflight(request) => Audience::Public,
            Self::Options | Self::Resource(_) => Audience::Authorized,
        }
    }
}

/// Validates a request.
///
/// # Errors
/// The response to a request that is not valid, which is public: 400 for a malformed Host or target, 405 and 501 for
/// methods, 417 for expectations, 421 for an `https` target.
pub fn validate<'a>(request: &Request<'a>) -> Result<Validated<'a>, Response> {
    check(request).map_err(|response| match request.method {
        Method::Head => response.for_head(),
        _ => response,
    })
}

fn check<'a>(request: &Request<'a>) -> Result<Validated<'a>, Response> {
    let host = check_host(request)?;
    check_expect(request)?;
    match request.method {
        Method::Get | Method::Head => {}
        Method::Options => {
            // "*" refers to the server, a path to a resource; both have the same response.
            if request.target != "*" {
                parse_target(request, host)?;
            }
            return Ok(Validated::Options);
        }
        Method::Unsupported(_) => {
            let reason = "This server only sends files. It allows GET, HEAD and OPTIONS.";
            return Err(
                Response::error_page(Status::MethodNotAllowed, reason).with_field("Allow", ALLOW)
            );
        }
        Method::Unknown(_) => {
            let reason = "This server does not know the request's method.";
            return Err(
                Response::error_page(Status::NotImplemented, reason).with_field("Allow", ALLOW)
            );
        }
    }
    parse_target(request, host).map(Validated::Resource)
}

/// Returns the response to a valid OPTIONS request; if CORS is allowed, one that allows a preflight.
#[must_use]
pub fn respond_to_options(request: &Request<'_>, allows_cors: bool) -> Response {
    let response = Response {
        audience: Validated::Options.audience(request),
        ..Response::empty(Status::NoContent).with_field("Allow", ALLOW)
    };
    match allows_cors && is_preflight(request) {
        true => allow_preflight(request, response),
        false => response,
    }
}

/// Host must occur once in HTTP/1.1, at most once in HTTP/1.0, and be well-formed (RFC 9112 section 3.2).
fn check_host<'a>(request: &Request<'a>) -> Result<Option<&'a [u8]>, Response> {
    let refuse = |reason| Err(Response::error_page(Status::BadRequest, reason));
    match request.fields.single(RequestField::Host) {
        Err(_) => refuse("The request has several Host fields."),
        Ok(None) if request.version >= Version::Http11 => {
            refuse("The request has no Host field, which HTTP/1.1 requires.")
        }
        Ok(None) => Ok(None),
        Ok(Some(value)) if is_authority(value) => Ok(Some(value)),
        Ok(Some(_)) => refuse("The request's Host field is malformed."),
    }
}

/// 100-continue is the only defined expectation (RFC 9110 section 10.1.1). HTTP/1.0 has none.
fn check_expect(request: &Request<'_>) -> Result<(), Response> {
    let is_supported = |expected: &[u8]| expected.eq_ignore_ascii_case(b"100-continue");
    // Nearly all requests have none, and a list costs more than this check.
    if request.fields.has(RequestField::Expect)
        && request.version >= Version::Http11
        && !request.fields.list(RequestField::Expect).all(is_supported)
    {
        let reason = "This server does not support the request's Expect field.";
        return Err(Response::error_page(Status::ExpectationFailed, reason));
    }
    Ok(())
}

fn parse_target<'a>(request: &Request<'a>, host: Option<&'a [u8]>) -> Result<Target<'a>, Response> {
    Target::parse(request.target, host)
        .map_err(|malformed| Response::error_page(malformed.status(), malformed.reason()))
}

#[cfg(test)]
mod tests {
    use super::super::request_fields::{FieldLine, RequestFields};
    use super::*;

    fn check(method: &str, target: &str, lines: &[(&str, &str)], expected: Result<&str, &str>) {
        for (version, required) in [(Version::Http11, true), (Version::Http10, false)] {
            let lines = FieldLine::from_pairs(lines);
            let request = Request {
                method: Method::from_name(method),
                target,
                version,
                fields: RequestFields::new(&lines),
            };
            let validated = validate(&request);
            if !required && lines.is_empty() {
                assert!(validated.is_ok(), "HTTP/1.0 needs no Host");
                continue;
            }
            let found = match &validated {
                Ok(Validated::Resource(target)) => {
                    Ok(String::from_utf8(target.path().into_owned()).unwrap())
                }
                Ok(Validated::Options) => Ok("OPTIONS".into()),
                Err(response) => Err(response.status.text()),
            };
            let expected = expected.map(str::to_owned);
            assert_eq!(found, expected, "{method} {target} {lines:?}");
        }
    }

    const HOST: &[(&str, &str)] = &[("Host", "a")];

    #[test]
    fn methods_are_served_refused_or_unknown() {
        check("GET", "/a", HOST, Ok("a"));
        check("HEAD", "/a", HOST, Ok("a"));
        check("OPTIONS", "/a", HOST, Ok("OPTIONS"));
        check("OPTIONS", "*", HOST, Ok("OPTIONS"));
        check("OPTIONS", "/%", HOST, Err("400 Bad Request"));
        check("GET", "*", HOST, Err("400 Bad Request"));
        check("POST", "/a", HOST, Err("405 Method Not Allowed"));
        check("CONNECT", "a:80", HOST, Err("405 Method Not Allowed"));
        check("BREW", "/a", HOST, Err("501 Not Implemented"));
    }

    #[test]
    fn method_errors_have_allow() {
        for method in ["OPTIONS", "DELETE", "BREW"] {
            let lines = &[FieldLine {
                name: b"Host",
                value: b"a",
            }];
            let method = Method::from_name(method);
            let request = Request {
                method,
                target: "/",
                version: Version::Http11,
                fields: RequestFields::new(lines),
            };
            let response = match validate(&request) {
                Ok(_) => respond_to_options(&request, false),
                Err(response) => response,
            };
            assert_eq!(
                response.fields.as_str(),
                "Allow: GET, HEAD, OPTIONS\r\n",
                "{method:?}"
            );
        }
    }

    #[test]
    fn host_is_required_once_and_well_formed() {
        check("GET", "/", &[], Err("400 Bad Request"));
        check("GET", "/", &[("Host", "")], Ok(""));
        check(
            "GET",
            "/",
            &[("Host", "a"), ("host", "a")],
            Err("400 Bad Request"),
        );
        check("GET", "/", &[("Host", "a b")], Err("400 Bad Request"));
        check("GET", "http://b/", &[("Host", "a")], Ok(""));
        let misdirected = Err("421 Misdirected Request");
        check("GET", "https://a/", &[("Host", "a")], misdirected);
    }

    #[test]
    fn only_100_continue_is_accepted_in_expect() {
        let expect = |value, expected| {
            let lines = &[
                FieldLine {
                    name: b"Host",
                    value: b"a",
                },
                FieldLine {
                    name: b"Expect",
                    value,
                },
            ];
            let (method, version) = (Method::Get, Version::Http11);
            let validated = validate(&Request {
                method,
                target: "/",
                version,
                fields: RequestFields::new(lines),
            });
            assert_eq!(validated.is_ok(), expected, "{}", value.escape_ascii());
        };
        expect(b"100-Continue", true);
        expect(b"100-continue, tea", false);
        expect(b"tea", false);
    }
}
