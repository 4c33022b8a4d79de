//! May we answer, and for which target?

use super::request::{Method, Request, Version};
use super::response::Response;
use super::status::Status;
use super::target::{Target, is_authority};

/// The methods that every resource here has (RFC 9110 section 10.2.1).
const ALLOW: &str = "GET, HEAD, OPTIONS";

/// The target that the request is about, if it is one that we look up; otherwise the response.
///
/// # Errors
/// A refusal is a response: 400 for a malformed Host or target, 405 and 501 for methods, 417 for
/// expectations. So is the answer to OPTIONS, which asks for nothing that needs finding.
pub fn admit<'a>(request: &Request<'a>) -> Result<Target<'a>, Response> {
    decide(request).map_err(|response| match request.method {
        Method::Head => response.withholding(),
        _ => response,
    })
}

fn decide<'a>(request: &Request<'a>) -> Result<Target<'a>, Response> {
    let host = host(request)?;
    expectation(request)?;
    match request.method {
        Method::Get | Method::Head => {}
        Method::Options => {
            // "*" asks about the server, a path about a resource; both have the same answer.
            if request.target != "*" {
                target(request, host)?;
            }
            return Err(Response::empty(Status::NoContent).with("Allow", ALLOW));
        }
        Method::Unserved(_) => {
            let why = "This server only sends files. It allows GET, HEAD and OPTIONS.";
            return Err(Response::refusal(Status::MethodNotAllowed, why).with("Allow", ALLOW));
        }
        Method::Unknown(_) => {
            let why = "This server does not know the request's method.";
            return Err(Response::refusal(Status::NotImplemented, why).with("Allow", ALLOW));
        }
    }
    target(request, host)
}

/// Once on 1.1, at most once on 1.0, and well-formed (RFC 9112 section 3.2).
fn host<'a>(request: &Request<'a>) -> Result<Option<&'a [u8]>, Response> {
    let refuse = |why| Err(Response::refusal(Status::BadRequest, why));
    match request.single("Host") {
        Err(_) => refuse("The request has several Host fields."),
        Ok(None) if request.version >= Version::Http11 => {
            refuse("The request has no Host field, which HTTP/1.1 requires.")
        }
        Ok(None) => Ok(None),
        Ok(Some(value)) if is_authority(value) => Ok(Some(value)),
        Ok(Some(_)) => refuse("The request's Host field is malformed."),
    }
}

/// The only expectation there is (RFC 9110 section 10.1.1). HTTP/1.0 does not have it.
fn expectation(request: &Request<'_>) -> Result<(), Response> {
    let met = |expected: &[u8]| expected.eq_ignore_ascii_case(b"100-continue");
    if request.version >= Version::Http11 && !request.list("Expect").all(met) {
        let why = "The request expects what this server does not do.";
        return Err(Response::refusal(Status::ExpectationFailed, why));
    }
    Ok(())
}

fn target<'a>(request: &Request<'a>, host: Option<&'a [u8]>) -> Result<Target<'a>, Response> {
    Target::parse(request.target, host)
        .map_err(|malformed| Response::refusal(malformed.status(), malformed.why()))
}

#[cfg(test)]
mod tests {
    use super::super::request::Line;
    use super::*;

    fn check(method: &str, target: &str, lines: &[(&str, &str)], expected: Result<&str, &str>) {
        for (version, required) in [(Version::Http11, true), (Version::Http10, false)] {
            let lines = Line::all(lines);
            let request = Request {
                method: Method::named(method),
                target,
                version,
                lines: &lines,
            };
            let admitted = admit(&request);
            if !required && lines.is_empty() {
                assert!(admitted.is_ok(), "HTTP/1.0 does without Host");
                continue;
            }
            let found = match &admitted {
                Ok(target) => Ok(String::from_utf8(target.path().into_owned()).unwrap()),
                Err(response) => Err(response.status.text()),
            };
            let expected = expected.map(str::to_owned);
            assert_eq!(found, expected, "{method} {target} {lines:?}");
        }
    }

    const HOST: &[(&str, &str)] = &[("Host", "a")];

    #[test]
    fn methods() {
        check("GET", "/a", HOST, Ok("a"));
        check("HEAD", "/a", HOST, Ok("a"));
        check("OPTIONS", "/a", HOST, Err("204 No Content"));
        check("OPTIONS", "*", HOST, Err("204 No Content"));
        check("OPTIONS", "/%", HOST, Err("400 Bad Request"));
        check("GET", "*", HOST, Err("400 Bad Request"));
        check("POST", "/a", HOST, Err("405 Method Not Allowed"));
        check("CONNECT", "a:80", HOST, Err("405 Method Not Allowed"));
        check("BREW", "/a", HOST, Err("501 Not Implemented"));
    }

    #[test]
    fn refusals_name_the_methods_that_are_allowed() {
        for method in ["OPTIONS", "DELETE", "BREW"] {
            let lines = &[Line {
                name: "Host",
                value: b"a",
            }];
            let method = Method::named(method);
            let request = Request {
                method,
                target: "/",
                version: Version::Http11,
                lines,
            };
            let refusal = admit(&request).unwrap_err();
            assert_eq!(
                refusal.fields.as_str(),
                "Allow: GET, HEAD, OPTIONS\r\n",
                "{method:?}"
            );
        }
    }

    #[test]
    fn host_comes_once_and_is_one() {
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
    fn expectations() {
        let expect = |value, expected| {
            let lines = &[
                Line {
                    name: "Host",
                    value: b"a",
                },
                Line {
                    name: "Expect",
                    value,
                },
            ];
            let (method, version) = (Method::Get, Version::Http11);
            let admitted = admit(&Request {
                method,
                target: "/",
                version,
                lines,
            });
            assert_eq!(admitted.is_ok(), expected, "{}", value.escape_ascii());
        };
        expect(b"100-Continue", true);
        expect(b"100-continue, tea", false);
        expect(b"tea", false);
    }
}
