//! Authorization of a request, decided before the lookup.

use std::time::Instant;

use crate::auth::{AuthHandle, CachedVerdict, Verdict};
use crate::http::{
    Credentials, Method, RepeatedField, Request, Response, Status, challenge, is_preflight,
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
    /// The credentials are being verified: decide again after the next wake-up.
    Pending,
}

/// Checks a request's credentials, against the session's `cached_verdict` or by verification. A preflight has none and
/// is granted: its response reveals nothing of the site.
pub(super) fn authorize(
    auth: &AuthHandle,
    cached_verdict: &mut Option<Box<CachedVerdict>>,
    request: &Request<'_>,
    now: Instant,
) -> Authorization {
    if is_preflight(request) {
        return Authorization::Granted;
    }
    let response = match request.single("Authorization") {
        Ok(Some(value)) => {
            match auth.check(cached_verdict, value, now, || Credentials::parse(value)) {
                Verdict::Valid => return Authorization::Granted,
                Verdict::Pending => return Authorization::Pending,
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

/// Whether only authorized responses have this status, because it depends on the resource. Responses with any other
/// status may be sent without credentials.
pub(super) fn is_for_authorized_only(status: Status) -> bool {
    matches!(
        status,
        Status::Ok
            | Status::PartialContent
            | Status::MovedPermanently
            | Status::Found
            | Status::SeeOther
            | Status::NotModified
            | Status::TemporaryRedirect
            | Status::PermanentRedirect
            | Status::Forbidden
            | Status::NotFound
            | Status::PreconditionFailed
            | Status::RangeNotSatisfiable
    )
}

/// Returns the error that a request without credentials receives.
pub(super) fn early_error(request: &Request<'_>) -> Option<Response> {
    let is_missing = !is_preflight(request) && request.values("Authorization").next().is_none();
    is_missing.then(|| for_method(request, challenge().with_reason(NO_CREDENTIALS)))
}

fn for_method(request: &Request<'_>, response: Response) -> Response {
    match request.method {
        Method::Head => response.for_head(),
        _ => response,
    }
}
