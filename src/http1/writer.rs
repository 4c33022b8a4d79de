//! Responses as HTTP/1.1 sends them: their framing, and the writer of head and content into an outbox.

use super::chunked;
use super::encode::{self, ConnectionOption};
use crate::http::{
    Body, BoundaryGenerator, Fields, Multipart, Representation, Request, RequestField, Response,
    Status, Version,
};
use crate::net::Outbox;

/// Frames the response to a complete request: adds its transfer coding, and returns the connection option.
#[must_use]
pub fn frame(request: &Request<'_>, response: &mut Response, is_stream: bool) -> ConnectionOption {
    let is_chunked = is_stream && request.version >= Version::Http11;
    if is_chunked {
        chunked::add_transfer_encoding(response);
    }
    match connection_option(request) {
        // After an invalid request, no more input is interpreted.
        _ if response.status == Status::BadRequest => ConnectionOption::Close,
        // Only the end of the connection delimits the content (RFC 9112 section 6.3).
        _ if is_stream && !is_chunked => ConnectionOption::Close,
        connection_option => connection_option,
    }
}

/// Writer of an event loop's responses.
#[derive(Debug, Default)]
pub struct ResponseWriter {
    boundaries: BoundaryGenerator,
}

impl ResponseWriter {
    /// Queues a response's head, with Date and these further fields, and its content. Returns the bytes of content.
    pub fn write(
        &mut self,
        response: &Response,
        (date, added_fields): (&str, &Fields),
        connection_option: ConnectionOption,
        outbox: &mut Outbox,
    ) -> u64 {
        let multipart = match (&response.representation, &response.body) {
            (Some(representation), Body::Parts(parts)) => {
                let boundary = self.boundaries.generate();
                Some(Multipart::new(representation, parts, boundary))
            }
            _ => None,
        };
        encode::head(
            response,
            added_fields,
            multipart.as_ref(),
            connection_option,
            date,
            outbox.tail(),
        );
        let Some(Representation { content, .. }) = response.representation.as_deref() else {
            return 0;
        };
        let part = match (&response.body, multipart) {
            (Body::Whole, _) => 0..content.len(),
            (Body::Part(part), _) => part.clone(),
            (Body::Parts(_), Some(multipart)) => {
                let before = outbox.len();
                for (head, part) in multipart.parts() {
                    outbox.tail().extend_from_slice(head.as_bytes());
                    outbox.push(content, part);
                }
                outbox
                    .tail()
                    .extend_from_slice(multipart.close_delimiter().as_bytes());
                return outbox.len() - before;
            }
            _ => return 0,
        };
        let length = part.end - part.start;
        outbox.push(content, part);
        length
    }
}

/// Decides whether the connection persists after this request (RFC 9112 section 9.3).
fn connection_option(request: &Request<'_>) -> ConnectionOption {
    match request.version {
        // From browsers, without the cost of a list.
        Version::Http11
            if request.fields.single(RequestField::Connection) == Ok(Some(b"keep-alive")) =>
        {
            ConnectionOption::Omitted
        }
        _ if request.fields.list_has(RequestField::Connection, "close") => ConnectionOption::Close,
        Version::Http11 => ConnectionOption::Omitted,
        Version::Http10
            if request
                .fields
                .list_has(RequestField::Connection, "keep-alive") =>
        {
            ConnectionOption::KeepAlive
        }
        Version::Http10 => ConnectionOption::Close,
    }
}
