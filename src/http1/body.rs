//! Framing of a request's content: its length or chunks, read and discarded (RFC 9112 sections 6 and 7).

use crate::http::{RepeatedField, Request, RequestField, Status, Version, is_token, list_elements};

/// Limit on bytes of framing: the trailer section, and chunk-size lines without the sizes.
const MAX_FRAMING_BYTES: u64 = 16 * 1024;

/// Framing of a request's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Content of this length in bytes; 0 if there is neither field.
    Length(u64),
    /// Chunks, up to the last chunk.
    Chunked,
}

/// Reason why the content is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The framing is malformed or ambiguous, which allows request smuggling.
    Ambiguous,
    /// A transfer coding that docroot does not know.
    UnknownCoding,
    /// More content than is read.
    TooLarge,
}

impl BodyError {
    pub(super) const fn status(self) -> Status {
        match self {
            Self::Ambiguous => Status::BadRequest,
            Self::UnknownCoding => Status::NotImplemented,
            Self::TooLarge => Status::ContentTooLarge,
        }
    }

    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Ambiguous => "It is not clear where the request's content ends.",
            Self::UnknownCoding => "This server does not know the request's transfer coding.",
            Self::TooLarge => "The request has more content than this server reads.",
        }
    }
}

impl From<RepeatedField> for BodyError {
    fn from(_: RepeatedField) -> Self {
        Self::Ambiguous
    }
}

/// Determines the framing of this request's content.
///
/// # Errors
/// [`BodyError::Ambiguous`] for Content-Length together with Transfer-Encoding, for repeated or malformed ones, for
/// Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1), and if `chunked` is not last; [`BodyError::UnknownCoding`] for
/// any other coding before it.
pub(super) fn framing(request: &Request<'_>) -> Result<Framing, BodyError> {
    let length = request.fields.single(RequestField::ContentLength)?;
    let coding = request.fields.single(RequestField::TransferEncoding)?;
    match (coding, length) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(length)) => parse_number(length, 10)
            .map(Framing::Length)
            .ok_or(BodyError::Ambiguous),
        (Some(_), Some(_)) => Err(BodyError::Ambiguous),
        (Some(_), None) if request.version < Version::Http11 => Err(BodyError::Ambiguous),
        (Some(coding), None) => {
            let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
            let codings: Vec<bool> = list_elements(coding).map(is_chunked).collect();
            match codings.as_slice() {
                [true] => Ok(Framing::Chunked),
                [others @ .., true] if !others.contains(&true) => Err(BodyError::UnknownCoding),
                // Chunked must be last, and occur once (RFC 9112 sections 6.3 and 7).
                _ => Err(BodyError::Ambiguous),
            }
        }
    }
}

/// Parses digits, and nothing else. `None` on overflow.
fn parse_number(digits: &[u8], radix: u32) -> Option<u64> {
    let is_digit = |&byte: &u8| char::from(byte).is_digit(radix);
    let text = std::str::from_utf8(digits).ok()?;
    (!digits.is_empty() && digits.iter().all(is_digit)).then_some(())?;
    u64::from_str_radix(text, radix).ok()
}

/// Reader that discards content, counting it.
#[derive(Debug)]
pub(super) struct BodyDrain {
    state: BodyState,
    /// Bytes of content that may still come.
    content_left: u64,
    /// Bytes of framing that may still come.
    framing_left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// In content of known length, with this many bytes left.
    Content(u64),
    /// In a chunk-size line.
    ChunkSize,
    /// In a chunk's data, with this many bytes left.
    ChunkData(u64),
    /// At the CRLF after a chunk's data.
    ChunkEnd,
    /// In the trailer section, at the start of a line.
    Trailer,
    /// After the end.
    Done,
}

/// Result of one step.
enum DrainStep {
    /// Consumed this many bytes; the new state.
    Consumed(usize, BodyState),
    /// More bytes are needed.
    Partial,
}

impl BodyDrain {
    /// Starts to discard content with this framing, at most `max_content` bytes.
    ///
    /// # Errors
    /// [`BodyError::TooLarge`] if the length is known to be greater.
    pub(super) fn new(framing: Framing, max_content: u64) -> Result<Self, BodyError> {
        let (state, content) = match framing {
            Framing::Length(length) if length > max_content => return Err(BodyError::TooLarge),
            Framing::Length(length) => (BodyState::Content(length), length),
            Framing::Chunked => (BodyState::ChunkSize, max_content),
        };
        Ok(Self {
            state,
            content_left: content,
            framing_left: MAX_FRAMING_BYTES,
        })
    }

    /// Returns how many of these bytes belong to the content, and whether it ends with them. The caller must remove
    /// those bytes, and offer the rest again, together with more.
    ///
    /// # Errors
    /// [`BodyError::Ambiguous`] for a malformed chunk, [`BodyError::TooLarge`] for too much content or framing.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), BodyError> {
        let mut counted = 0;
        loop {
            let rest = bytes.get(counted..).unwrap_or_default();
            match self.step(rest)? {
                DrainStep::Consumed(count, state) => {
                    counted += count;
                    self.state = state;
                }
                DrainStep::Partial => return Ok((counted, false)),
            }
            match self.state {
                BodyState::Done => return Ok((counted, true)),
                _ if counted == bytes.len() && !matches!(self.state, BodyState::Content(0)) => {
                    return Ok((counted, false));
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<DrainStep, BodyError> {
        match self.state {
            BodyState::Done | BodyState::Content(0) => Ok(DrainStep::Consumed(0, BodyState::Done)),
            BodyState::Content(left) => {
                let (count, left) = take_up_to(bytes, left);
                Ok(DrainStep::Consumed(count, BodyState::Content(left)))
            }
            BodyState::ChunkSize => {
                let Some(line) = self.read_line(bytes)? else {
                    return Ok(DrainStep::Partial);
                };
                let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
                // White space before an extension is invalid, but must be accepted (RFC 9112 section 7.1.1).
                let size = if size.len() < line.len() {
                    size.trim_ascii_end()
                } else {
                    size
                };
                // Chunk sizes do not count as framing, so many small chunks are as acceptable as one large chunk.
                self.framing_left += size.len().min(16) as u64;
                let size = parse_number(size, 16).ok_or(BodyError::Ambiguous)?;
                self.content_left = self
                    .content_left
                    .checked_sub(size)
                    .ok_or(BodyError::TooLarge)?;
                let next = if size == 0 {
                    BodyState::Trailer
                } else {
                    BodyState::ChunkData(size)
                };
                Ok(DrainStep::Consumed(line.len() + 2, next))
            }
            BodyState::ChunkData(left) => {
                let (count, left) = take_up_to(bytes, left);
                Ok(DrainStep::Consumed(
                    count,
                    if left == 0 {
                        BodyState::ChunkEnd
                    } else {
                        BodyState::ChunkData(left)
                    },
                ))
            }
            BodyState::ChunkEnd => match bytes {
                [b'\r', b'\n', ..] => Ok(DrainStep::Consumed(2, BodyState::ChunkSize)),
                [] | [b'\r'] => Ok(DrainStep::Partial),
                _ => Err(BodyError::Ambiguous),
            },
            BodyState::Trailer => {
                let Some(line) = self.read_line(bytes)? else {
                    return Ok(DrainStep::Partial);
                };
                let mut name = line.splitn(2, |&byte| byte == b':');
                let next = match (name.next(), name.next()) {
                    _ if line.is_empty() => BodyState::Done,
                    (Some(name), Some(_)) if is_token(name) => BodyState::Trailer,
                    _ => return Err(BodyError::Ambiguous),
                };
                Ok(DrainStep::Consumed(line.len() + 2, next))
            }
        }
    }

    /// Returns the line at the front without its CRLF; `None` if it is incomplete. A bare CR or LF does not end a line.
    fn read_line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, BodyError> {
        let is_control = |&byte: &u8| byte.is_ascii_control() && byte != b'\t';
        let end = bytes.iter().position(is_control).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at_checked(end).unwrap_or_default();
        // Counted before the line is complete, so that an endless line is refused.
        let left = self
            .framing_left
            .checked_sub(line.len() as u64)
            .ok_or(BodyError::TooLarge)?;
        match rest {
            [] | [b'\r'] => Ok(None),
            [b'\r', b'\n', ..] => {
                self.framing_left = left;
                Ok(Some(line))
            }
            _ => Err(BodyError::Ambiguous),
        }
    }
}

/// Takes at most `left` bytes: returns how many of `bytes`, and how many of `left` remain.
fn take_up_to(bytes: &[u8], left: u64) -> (usize, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (count, left - count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{FieldLine, Method, RequestFields};

    fn check_framing(
        version: Version,
        lines: &[(&str, &str)],
        expected: Result<Framing, BodyError>,
    ) {
        let lines = FieldLine::from_pairs(lines);
        let request = Request {
            method: Method::Get,
            target: "/",
            version,
            fields: RequestFields::new(&lines),
        };
        assert_eq!(framing(&request), expected, "{lines:?}");
    }

    #[test]
    fn framing_is_decided_by_length_and_transfer_encoding() {
        use BodyError::{Ambiguous, UnknownCoding};
        use Version::{Http10, Http11};
        const LENGTH: &str = "Content-Length";
        const CODING: &str = "Transfer-Encoding";
        check_framing(Http11, &[], Ok(Framing::Length(0)));
        check_framing(Http11, &[(LENGTH, "12")], Ok(Framing::Length(12)));
        check_framing(Http10, &[(LENGTH, "12")], Ok(Framing::Length(12)));
        check_framing(Http11, &[(CODING, "Chunked")], Ok(Framing::Chunked));
        check_framing(Http10, &[(CODING, "chunked")], Err(Ambiguous));
        check_framing(
            Http11,
            &[(CODING, "chunked"), (LENGTH, "1")],
            Err(Ambiguous),
        );
        check_framing(
            Http11,
            &[(CODING, "chunked"), (CODING, "chunked")],
            Err(Ambiguous),
        );
        check_framing(Http11, &[(CODING, "")], Err(Ambiguous));
        check_framing(Http11, &[(CODING, "gzip")], Err(Ambiguous));
        check_framing(Http11, &[(CODING, "gzip, chunked")], Err(UnknownCoding));
        check_framing(Http11, &[(CODING, "chunked, chunked")], Err(Ambiguous));
        check_framing(Http11, &[(CODING, "chunked, gzip")], Err(Ambiguous));
        check_framing(Http11, &[(LENGTH, "1"), (LENGTH, "2")], Err(Ambiguous));
        check_framing(Http11, &[(LENGTH, "1"), (LENGTH, "1")], Err(Ambiguous));
        for length in [
            "",
            "+1",
            "-1",
            "1 2",
            "1, 1",
            "0x1",
            "1.0",
            "18446744073709551616",
        ] {
            check_framing(Http11, &[(LENGTH, length)], Err(Ambiguous));
        }
    }

    /// Asserts the length of the content, for every size of the pieces in which the bytes arrive.
    fn check(framing: Framing, bytes: &str, expected: Result<Option<usize>, BodyError>) {
        for size in 1..=bytes.len().max(1) {
            assert_eq!(
                drain_in_pieces(framing, bytes.as_bytes(), size),
                expected,
                "{bytes:?} by {size}"
            );
        }
    }

    fn drain_in_pieces(
        framing: Framing,
        bytes: &[u8],
        size: usize,
    ) -> Result<Option<usize>, BodyError> {
        let mut drain = BodyDrain::new(framing, 100)?;
        let (mut consumed, mut arrived) = (0, 0);
        loop {
            let (counted, done) = drain.advance(&bytes[consumed..arrived])?;
            consumed += counted;
            if done {
                return Ok(Some(consumed));
            }
            if arrived == bytes.len() {
                return Ok(None);
            }
            arrived = bytes.len().min(arrived + size);
        }
    }

    #[test]
    fn content_length_is_drained() {
        check(Framing::Length(0), "GET", Ok(Some(0)));
        check(Framing::Length(3), "abcGET", Ok(Some(3)));
        check(Framing::Length(3), "ab", Ok(None));
        check(Framing::Length(101), "a", Err(BodyError::TooLarge));
    }

    #[test]
    fn chunked_content_is_drained() {
        let check = |bytes, expected| check(Framing::Chunked, bytes, expected);
        check("0\r\n\r\nGET", Ok(Some(5)));
        check("3\r\nabc\r\n0\r\n\r\nGET", Ok(Some(13)));
        check(
            "3;a=\"b\"\r\nabc\r\n00\r\nTrailer: a\r\n\r\nGET",
            Ok(Some(32)),
        );
        check("3 ;a\r\nabc\r\n0\r\n\r\n", Ok(Some(16)));
        check("A\r\n0123456789\r\n", Ok(None));
        check("0\r\n", Ok(None));
        check("60\r\n", Ok(None));
        check("65\r\n", Err(BodyError::TooLarge));
        check("fffffffffffffffff\r\n", Err(BodyError::Ambiguous));
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "3\nabc",
            "3 \r\n",
            "0x3\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
        ] {
            check(bad, Err(BodyError::Ambiguous));
        }
        check("0\r\nTrailer: a\n\r\n", Err(BodyError::Ambiguous));
        check("0\r\na trailer\r\n\r\n", Err(BodyError::Ambiguous));
        check("0\r\nA: b\r\n folded\r\n\r\n", Err(BodyError::Ambiguous));
        check("0\r\n: a\r\n\r\n", Err(BodyError::Ambiguous));
        check("0\r\nA : b\r\n\r\n", Err(BodyError::Ambiguous));
        check("3;\0\r\n", Err(BodyError::Ambiguous));
    }

    #[test]
    fn chunk_framing_is_bounded() {
        let check = |bytes: String, size| {
            assert_eq!(
                drain_in_pieces(Framing::Chunked, bytes.as_bytes(), size),
                Err(BodyError::TooLarge)
            );
        };
        check(format!("1;{}", "a".repeat(20_000)), 1000);
        check("1;aaaaaaaaaaaaaaaaaaaaaaa\r\nb\r\n".repeat(1000), 7);
        check(format!("0\r\n{}", "a: b\r\n".repeat(10_000)), 100);
        check(format!("{:0>20000}\r\n", 1), 100);
    }

    #[test]
    fn many_small_chunks_are_accepted() {
        let bytes = "01\r\nx\r\n".repeat(50_000) + "0\r\n\r\n";
        let mut drain = BodyDrain::new(Framing::Chunked, 50_000).unwrap();
        assert_eq!(drain.advance(bytes.as_bytes()), Ok((bytes.len(), true)));
    }
}
