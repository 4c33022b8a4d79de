//! Writer of responses: head and content into an outbox.

use super::encode::{self, ConnectionOption};
use crate::http::{Body, BoundaryGenerator, Fields, Multipart, Representation, Response};
use crate::net::Outbox;

/// Writer of an event loop's responses.
#[derive(Debug, Default)]
pub(super) struct ResponseWriter {
    boundaries: BoundaryGenerator,
}

impl ResponseWriter {
    /// Queues a response's head, with Date and these further fields, and its content. Returns the bytes of content.
    pub(super) fn write(
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
                    outbox.push(content.clone(), part);
                }
                outbox
                    .tail()
                    .extend_from_slice(multipart.close_delimiter().as_bytes());
                return outbox.len() - before;
            }
            _ => return 0,
        };
        let length = part.end - part.start;
        outbox.push(content.clone(), part);
        length
    }
}
