//! Who may have an answer, decided before anything is looked up.

use std::time::Instant;

use crate::auth::{AuthHandle, CachedVerdict, Verdict};
use crate::http::{
    Credentials, Method, RepeatedField, Request, Response, Status, challenge, is_preflight,
};

/// Seconds after which somebody who was not verified may try again.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Why somebody is asked for credentials.
const NO_CREDENTIALS: &str = "The request has no credentials.";

/// What a guard says to a request.
#[derive(Debug)]
pub(super) enum Authorization {
    /// It may be answered.
    Granted,
    /// This is the answer.
    Denied(Response),
    /// Not yet known: it is to be asked again when the bell has rung.
    Pending,
}

/// Holds a request's credentials against what the guard knows, or has verified. `cached_verdict` is what it remembers
/// of this conversation. A preflight has none, and may pass: its answer says nothing of the site.
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
                Verdict::Invalid => challenge().with_reason("The credentials are not good."),
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

/// Whether only an answer that has been let through has this status: it is about what is under the target. All others
/// may be given to who has no credentials.
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

/// What any guard says to a request without credentials.
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
