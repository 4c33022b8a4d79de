//! Who may have an answer, decided before anything is looked up.

use std::time::Instant;

use crate::auth::{Guard, Known, Verdict};
use crate::http::{
    Credentials, Method, Repeated, Request, Response, Status, challenge, is_preflight,
};

/// Seconds after which somebody who was not verified may try again.
const RETRY: u32 = 5;

/// Why somebody is asked for credentials.
const LACKS: &str = "The request has no credentials.";

/// What a guard says to a request.
#[derive(Debug)]
pub(super) enum Gate {
    /// It may be answered.
    Open,
    /// This is the answer.
    Shut(Response),
    /// Not yet known: it is to be asked again when the bell has rung.
    Waits,
}

/// Holds a request's credentials against what the guard knows, or has verified. `known` is what it remembers
/// of this conversation. A preflight has none, and may pass: its answer says nothing of the site.
pub(super) fn gate(
    guard: &Guard,
    known: &mut Option<Box<Known>>,
    request: &Request<'_>,
    now: Instant,
) -> Gate {
    if is_preflight(request) {
        return Gate::Open;
    }
    let response = match request.single("Authorization") {
        Ok(Some(value)) => match guard.check(known, value, now, || Credentials::read(value)) {
            Verdict::Good => return Gate::Open,
            Verdict::Later => return Gate::Waits,
            Verdict::Bad => challenge().because("The credentials are not good."),
            Verdict::Busy => {
                let why = "Too many passwords are being verified. Try again in a moment.";
                Response::refusal(Status::ServiceUnavailable, why).with("Retry-After", RETRY)
            }
        },
        Ok(None) => challenge().because(LACKS),
        Err(Repeated) => {
            let why = "The request has several Authorization fields.";
            Response::refusal(Status::BadRequest, why)
        }
    };
    Gate::Shut(answering(request, response))
}

/// Whether only an answer that has been let through has this status: it is about what is under the target. All others
/// may be given to who has no credentials.
pub(super) fn is_behind(status: Status) -> bool {
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
pub(super) fn foregone(request: &Request<'_>) -> Option<Response> {
    let lacks = !is_preflight(request) && request.values("Authorization").next().is_none();
    lacks.then(|| answering(request, challenge().because(LACKS)))
}

fn answering(request: &Request<'_>, response: Response) -> Response {
    match request.method {
        Method::Head => response.withholding(),
        _ => response,
    }
}
