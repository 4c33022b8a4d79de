//! Authorization of a request, decided before the lookup.

use std::time::Instant;

use crate::auth::{AuthHandle, CachedVerdict, Credentials, Verdict};
use crate::http::{
    Method, RepeatedField, Request, RequestField, Response, Status, challenge, parse_credentials,
};

/// Value of Retry-After, in seconds, when too many passwords are being verified.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Reason for 401 when there is no Authorization field.
const NO_CREDENTIALS: &str = "The request has no credentials.";

/// Decision on a request.
#[derive(Debug)]
pub(super) enum Authorization {
    /// The request may be answered.
    Granted,
    /// The request is refused with this response.
    Denied(Response),
    /// The credentials are being verified: decide again after the next wake-up, and at the latest at this time.
    Pending(Instant),
}

/// Checks a request's credentials, against the connection's `cached_verdict` or by verification.
pub(super) fn authorize(
    auth: &AuthHandle,
    cached_verdict: &mut Option<Box<CachedVerdict>>,
    request: &Request<'_>,
    now: Instant,
) -> Authorization {
    let response = match request.fields.single(RequestField::Authorization) {
        Ok(Some(value)) => {
            let parse = || {
                let (user, password) = parse_credentials(value)?;
                Some(Credentials { user, password })
            };
            match auth.check(cached_verdict, value, now, parse) {
                Verdict::Valid => return Authorization::Granted,
                Verdict::Pending(until) => return Authorization::Pending(until),
                Verdict::Invalid => challenge().with_reason("The credentials are invalid."),
                Verdict::Busy => {
                    let reason = "Too many passwords are being verified. Try again in a moment.";
                    Response::error_page(Status::ServiceUnavailable, reason)
                        .with_field("Retry-After", RETRY_AFTER_SECONDS)
                }
            }
        }
        Ok(None) => challenge().with_reason(NO_CREDENTIALS),
        Err(RepeatedField) => {
            let reason = "The request has several Authorization fields.";
            Response::error_page(Status::BadRequest, reason)
        }
    };
    Authorization::Denied(for_method(request, response))
}

/// Returns the error that a request receives if it has no credentials.
pub(super) fn missing_credentials(request: &Request<'_>) -> Option<Response> {
    let is_missing = !request.fields.has(RequestField::Authorization);
    is_missing.then(|| for_method(request, challenge().with_reason(NO_CREDENTIALS)))
}

fn for_method(request: &Request<'_>, response: Response) -> Response {
    match request.method {
        Method::Head => response.for_head(),
        _ => response,
    }
}
