//! A response's head, as bytes (RFC 9112 sections 4 and 5).

use std::io::Write as _;

use super::decimal;
use crate::http::{Content, ContentRange, Fields, Multipart, Representation, Response};

/// What the Connection field says about the connection, where it says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as HTTP/1.1 has it.
    Default,
    /// It stays open, as an HTTP/1.0 peer asked for: `keep-alive`.
    KeepAlive,
    /// It closes after this response: `close`.
    Close,
}

/// The interim response that asks for a request's content (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Appends the head of `response`: status line, Date, fields, length, empty line. `own` are fields that go with it
/// whatever it is about; `date` is an IMF-fixdate; `multipart` is what the content is made of if it is [`Content::Parts`].
pub fn head(
    response: &Response,
    own: &Fields,
    multipart: Option<&Multipart<'_>>,
    persistence: Persistence,
    date: &str,
    into: &mut Vec<u8>,
) {
    let mut push = |text: &str| into.extend_from_slice(text.as_bytes());
    push("HTTP/1.1 ");
    push(response.status.text());
    push("\r\nDate: ");
    push(date);
    push("\r\n");
    match persistence {
        Persistence::Default => {}
        Persistence::KeepAlive => push("Connection: keep-alive\r\n"),
        Persistence::Close => push("Connection: close\r\n"),
    }
    push(response.fields.as_str());
    push(own.as_str());
    if let Some(representation) = &response.representation {
        describe(representation, &response.content, multipart, into);
    }
    into.extend_from_slice(b"\r\n");
}

/// Appends what is said of a representation of which this much is sent.
fn describe(
    representation: &Representation,
    content: &Content,
    multipart: Option<&Multipart<'_>>,
    into: &mut Vec<u8>,
) {
    let length = match (content, multipart) {
        (Content::Known, _) => return into.extend_from_slice(representation.told().as_bytes()),
        (Content::Part(part), _) => {
            into.extend_from_slice(representation.in_part().as_bytes());
            // Writing to a Vec does not fail.
            let range = ContentRange(part, representation.content.len());
            let _ = write!(into, "Content-Range: {range}\r\n");
            part.end - part.start
        }
        (_, Some(multipart)) => {
            into.extend_from_slice(representation.told().as_bytes());
            let _ = write!(into, "Content-Type: {}\r\n", multipart.media_type());
            into.extend_from_slice(representation.described().as_bytes());
            multipart.length()
        }
        // How its end is told is not for this head to say.
        (Content::Streamed(_) | Content::Untold, _) => {
            return into.extend_from_slice(representation.in_part().as_bytes());
        }
        (Content::Whole | Content::Withheld | Content::Parts(_), None) => {
            return into.extend_from_slice(representation.all().as_bytes());
        }
    };
    into.extend_from_slice(b"Content-Length: ");
    decimal::push(length, into);
    into.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::blob::Blob;
    use crate::http::{Boundaries, Status};

    fn check(response: &Response, persistence: Persistence, expected: &str) {
        let mut bytes = b"before|".to_vec();
        let own = Fields::new();
        head(response, &own, None, persistence, "now", &mut bytes);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            format!("before|{expected}")
        );
    }

    #[test]
    fn heads() {
        let page = Representation::new(Blob::Static(b"hello"), "text/plain")
            .telling("Last-Modified", "then")
            .describing("X-Content-Type-Options", "nosniff");
        let found = Response::new(Status::Ok, Arc::new(page));
        let head = |connection: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nDate: now\r\n{connection}Last-Modified: then\r\n\
                 Content-Type: text/plain\r\nX-Content-Type-Options: nosniff\r\n\
                 Content-Length: 5\r\n\r\n"
            )
        };
        check(&found, Persistence::Default, &head(""));
        check(&found, Persistence::Close, &head("Connection: close\r\n"));
        let withheld = found.sending(Content::Withheld);
        check(
            &withheld,
            Persistence::KeepAlive,
            &head("Connection: keep-alive\r\n"),
        );
        let empty = Response::empty(Status::NoContent).with("Allow", "GET");
        let expected = "HTTP/1.1 204 No Content\r\nDate: now\r\nAllow: GET\r\n\r\n";
        check(&empty, Persistence::Default, expected);
    }

    #[test]
    fn heads_of_parts_and_of_what_is_known() {
        let page = Representation::new(Blob::Static(b"hello"), "text/plain")
            .describing("X-Content-Type-Options", "nosniff");
        let page = Arc::new(page);
        let partial = Response::new(Status::PartialContent, page.clone());
        check(
            &partial.clone().sending(Content::Part(1..3)),
            Persistence::Default,
            "HTTP/1.1 206 Partial Content\r\nDate: now\r\nContent-Type: text/plain\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Range: bytes 1-2/5\r\n\
             Content-Length: 2\r\n\r\n",
        );
        let known = Response::new(Status::NotModified, page.clone()).sending(Content::Known);
        let expected = "HTTP/1.1 304 Not Modified\r\nDate: now\r\n\r\n";
        check(&known, Persistence::Default, expected);

        let parts = vec![0..1, 3..5];
        let multipart = Multipart::new(&page, &parts, Boundaries::default().draw());
        let response = partial.sending(Content::Parts(parts.clone()));
        let mut bytes = Vec::new();
        let default = Persistence::Default;
        let own = Fields::new();
        head(
            &response,
            &own,
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
