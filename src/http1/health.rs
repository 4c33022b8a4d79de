//! Whether a server would like to be asked, for whoever divides the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http::{Method, Request, Response, Status, Target};

/// Seconds after which whoever was told that it is draining may ask another one.
const DRAINING_RETRY_AFTER_SECONDS: u32 = 1;

/// A path under which a server says whether it would like to be asked. A clone is of the same server.
#[derive(Clone, Debug)]
pub struct Health {
    path: String,
    is_draining: Arc<AtomicBool>,
}

impl Health {
    /// Under this path, which begins with a slash, and comes before a file that is there.
    #[must_use]
    pub fn at_path(path: String) -> Self {
        Self {
            path,
            is_draining: Arc::default(),
        }
    }

    /// From now on it would rather not be asked, although it answers. May be called from any thread, any number of
    /// times.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// What it says, if that is what is asked for. It is said to everybody: it tells nothing of the site.
    pub(super) fn respond(&self, request: &Request<'_>, target: &Target<'_>) -> Option<Response> {
        if target.raw_path() != self.path {
            return None;
        }
        let response = match self.is_draining.load(Ordering::Acquire) {
            false => Response::plain_text(Status::Ok, "serving"),
            true => Response::plain_text(Status::ServiceUnavailable, "draining")
                .with_field("Retry-After", DRAINING_RETRY_AFTER_SECONDS),
        };
        Some(match request.method {
            Method::Head => response.for_head(),
            _ => response,
        })
    }
}
