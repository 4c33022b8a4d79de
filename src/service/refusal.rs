//! One debug line for each response that refuses a request: the reason that `docroot explain` gives.

use tracing::debug;

use crate::http::{Request, Response};
use crate::net::Address;

/// Logs why a request is refused; nothing for any other response.
pub(super) fn log(request: Option<&Request<'_>>, response: &Response, peer: Address) {
    let Some(reason) = response.reason else {
        return;
    };
    let status = response.status.text();
    match request {
        Some(request) => debug!(
            %peer,
            "{status}: {} {}: {reason}",
            request.method.name().escape_debug(),
            request.target.escape_debug(),
        ),
        None => debug!(%peer, "{status}: {reason}"),
    }
}
