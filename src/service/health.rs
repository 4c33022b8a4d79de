//! Health check for load balancers.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::{Method, Request, Response, Status, Target};

/// Value of Retry-After, in seconds, while draining.
const DRAINING_RETRY_AFTER_SECONDS: u32 = 1;

/// Health check, which takes precedence over a file.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// Path, which begins with a slash.
    pub path: String,
    /// Whether health checks are in the access log.
    pub is_logged: bool,
}

impl HealthCheck {
    /// Returns the response, if the target is the health check. It fails while the server `is_draining`, although requests are
    /// still served. It needs no authorization: it reveals nothing of the site.
    pub(super) fn respond(
        &self,
        request: &Request<'_>,
        target: &Target<'_>,
        is_draining: &AtomicBool,
    ) -> Option<Response> {
        if target.raw_path() != self.path {
            return None;
        }
        let mut response = match is_draining.load(Ordering::Acquire) {
            false => Response::plain_text(Status::Ok, "serving"),
            true => Response::plain_text(Status::ServiceUnavailable, "draining")
                .with_field("Retry-After", DRAINING_RETRY_AFTER_SECONDS),
        };
        response.is_logged = self.is_logged;
        Some(match request.method {
            Method::Head => response.for_head(),
            _ => response,
        })
    }
}
