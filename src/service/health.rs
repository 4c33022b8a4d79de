//! Health check for load balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::{Method, Request, Response, Status, Target};

/// Value of Retry-After, in seconds, while draining.
const DRAINING_RETRY_AFTER_SECONDS: u32 = 1;

/// Health check path of a server. Clones share their state.
#[derive(Clone, Debug)]
pub struct Health {
    path: String,
    is_logged: bool,
    is_draining: Arc<AtomicBool>,
}

impl Health {
    /// Creates a health check at this path, which begins with a slash, and takes precedence over a file.
    #[must_use]
    pub fn at_path(path: String) -> Self {
        Self {
            path,
            is_logged: false,
            is_draining: Arc::default(),
        }
    }

    /// Sets whether health checks are in the access log.
    #[must_use]
    pub fn logged(self, is_logged: bool) -> Self {
        Self { is_logged, ..self }
    }

    /// Makes the health check fail from now on, although requests are still served. Can be called from any thread, and
    /// repeatedly.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Returns the response, if the target is the health check. It needs no authorization: it reveals nothing of the
    /// site.
    pub(super) fn respond(&self, request: &Request<'_>, target: &Target<'_>) -> Option<Response> {
        if target.raw_path() != self.path {
            return None;
        }
        let mut response = match self.is_draining.load(Ordering::Acquire) {
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
