//! Content of a length that nobody knows before its end, in chunks (RFC 9112 section 7.1).

use crate::http::Response;

/// The last chunk, and no trailer fields behind it.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The same response with the field that says that its content comes in chunks.
pub(super) fn with_transfer_encoding(response: Response) -> Response {
    response.with_field("Transfer-Encoding", "chunked")
}

/// Makes one chunk of the bytes from `start` to the end; of none, none: that would be the last one.
pub(super) fn wrap(bytes: &mut Vec<u8>, start: usize) {
    let length = bytes.len().saturating_sub(start);
    if length > 0 {
        let size = format!("{length:x}\r\n");
        bytes.splice(start..start, size.into_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, expected: &str) {
        let mut bytes = format!("before{content}").into_bytes();
        wrap(&mut bytes, 6);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            format!("before{expected}")
        );
    }

    #[test]
    fn chunk_has_hexadecimal_size() {
        check("a", "1\r\na\r\n");
        check("\r\n0123456789abcd", "10\r\n\r\n0123456789abcd\r\n");
        check("", "");
    }
}
