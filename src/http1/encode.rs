//! Encoding of a response's head (RFC 9112 sections 4 and 5).

use std::fmt;
use std::io::Write as _;

use crate::http::{FieldSink, Fields, Multipart, Response, decimal};

/// Connection option of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionOption {
    /// No option: the connection stays open, as is the default in HTTP/1.1.
    Omitted,
    /// `keep-alive`: the connection stays open, as an HTTP/1.0 client requested.
    KeepAlive,
    /// `close`: the connection is closed after this response.
    Close,
}

/// Interim response that asks for a request's content (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends the head of `response`: status line, Date, fields, length, empty line. `added_fields` are further fields of
/// the response; `date` is an IMF-fixdate; `multipart` is the content if the body is [`Body::Parts`].
///
/// [`Body::Parts`]: crate::http::Body::Parts
pub fn head(
    response: &Response,
    added_fields: &Fields,
    multipart: Option<&Multipart<'_>>,
    connection_option: ConnectionOption,
    date: &str,
    into: &mut Vec<u8>,
) {
    let mut push = |text: &str| into.extend_from_slice(text.as_bytes());
    push("HTTP/1.1 ");
    push(response.status.text());
    push("\r\nDate: ");
    push(date);
    push("\r\n");
    match connection_option {
        ConnectionOption::Omitted => {}
        ConnectionOption::KeepAlive => push("Connection: keep-alive\r\n"),
        ConnectionOption::Close => push("Connection: close\r\n"),
    }
    response.write_fields(added_fields, multipart, &mut FieldWriter(into));
    into.extend_from_slice(b"\r\n");
}

/// Writer of field lines.
struct FieldWriter<'a>(&'a mut Vec<u8>);

impl FieldSink for FieldWriter<'_> {
    fn push(&mut self, name: &str, value: impl fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.0, "{name}: {value}\r\n");
    }

    fn push_lines(&mut self, lines: &str) {
        // Most responses have no fields of their own.
        if !lines.is_empty() {
            self.0.extend_from_slice(lines.as_bytes());
        }
    }

    fn push_length(&mut self, length: u64) {
        self.push_lines("Content-Length: ");
        decimal::push(length, self.0);
        self.push_lines("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blob::Blob;
    use crate::http::{Body, BoundaryGenerator, Representation, Status};

    fn check(response: &Response, connection_option: ConnectionOption, expected: &str) {
        let mut bytes = b"before|".to_vec();
        let generated_fields = Fields::new();
        head(
            response,
            &generated_fields,
            None,
            connection_option,
            "now",
            &mut bytes,
        );
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            format!("before|{expected}")
        );
    }

    #[test]
    fn head_has_status_date_and_fields() {
        let page = Representation::new(Blob::Static(b"hello"), "text/plain")
            .with_metadata_field("Last-Modified", "then")
            .with_content_field("X-Content-Type-Options", "nosniff");
        let found = Response::new(Status::Ok, Arc::new(page));
        let head = |connection: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nDate: now\r\n{connection}Last-Modified: then\r\n\
                 Content-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n\
                 Content-Length: 5\r\n\r\n"
            )
        };
        check(&found, ConnectionOption::Omitted, &head(""));
        check(
            &found,
            ConnectionOption::Close,
            &head("Connection: close\r\n"),
        );
        let withheld = found.with_body(Body::HeadOnly);
        check(
            &withheld,
            ConnectionOption::KeepAlive,
            &head("Connection: keep-alive\r\n"),
        );
        let empty = Response::empty(Status::NoContent).with_field("Allow", "GET");
        let expected = "HTTP/1.1 204 No Content\r\nDate: now\r\nAllow: GET\r\n\r\n";
        check(&empty, ConnectionOption::Omitted, expected);
    }

    #[test]
    fn heads_of_partial_and_not_modified_responses() {
        let page = Representation::new(Blob::Static(b"hello"), "text/plain")
            .with_content_field("X-Content-Type-Options", "nosniff");
        let page = Arc::new(page);
        let partial = Response::new(Status::PartialContent, page.clone());
        check(
            &partial.clone().with_body(Body::Part(1..3)),
            ConnectionOption::Omitted,
            "HTTP/1.1 206 Partial Content\r\nDate: now\r\nContent-Type: text/plain\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Range: bytes 1-2/5\r\n\
             Content-Length: 2\r\n\r\n",
        );
        let not_modified =
            Response::new(Status::NotModified, page.clone()).with_body(Body::NotModified);
        let expected = "HTTP/1.1 304 Not Modified\r\nDate: now\r\n\r\n";
        check(&not_modified, ConnectionOption::Omitted, expected);

        let parts = vec![0..1, 3..5];
        let multipart = Multipart::new(&page, &parts, BoundaryGenerator::default().generate());
        let response = partial.with_body(Body::Parts(parts.clone()));
        let mut bytes = Vec::new();
        let default = ConnectionOption::Omitted;
        let generated_fields = Fields::new();
        head(
            &response,
            &generated_fields,
            Some(&multipart),
            default,
            "now",
            &mut bytes,
        );
        let expected = format!(
            "HTTP/1.1 206 Partial Content\r\nDate: now\r\nContent-Type: {}\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n\r\n",
            multipart.media_type(),
            multipart.length(),
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
