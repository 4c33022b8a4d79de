//! Chunked transfer coding, for content of unknown length (RFC 9112 section 7.1).

use crate::http::Response;

/// Last chunk, without trailer fields.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Adds `Transfer-Encoding: chunked`.
pub(super) fn add_transfer_encoding(response: &mut Response) {
    response.fields.push("Transfer-Encoding", "chunked");
}

/// Turns the bytes from `start` to the end into a chunk. Empty content makes no chunk: an empty chunk is the last one.
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
