//! Content of a response with several ranges: `multipart/byteranges` (RFC 9110 section 14.6).

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use super::representation::Representation;

/// Generator of boundaries. They cannot be predicted, so no file can contain the next one on purpose.
#[derive(Clone, Debug, Default)]
pub struct BoundaryGenerator {
    secret: RandomState,
    count: u64,
}

/// Delimiter of parts (RFC 2046 section 5.1.1): 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary(u128);

/// Parts of a representation, with the delimiters between them.
#[derive(Clone, Copy, Debug)]
pub struct Multipart<'a> {
    representation: &'a Representation,
    parts: &'a [Range<u64>],
    boundary: Boundary,
}

impl BoundaryGenerator {
    /// Generates the next boundary.
    pub fn generate(&mut self) -> Boundary {
        self.count += 1;
        let half = |which: u8| u128::from(self.secret.hash_one((self.count, which)));
        Boundary(half(0) << 64 | half(1))
    }
}

impl Boundary {
    /// Boundary for computing lengths: all have the same length.
    const PLACEHOLDER: Self = Self(0);
}

impl<'a> Multipart<'a> {
    /// Creates a multipart content from parts of a representation, half-open and within its length.
    #[must_use]
    pub fn new(
        representation: &'a Representation,
        parts: &'a [Range<u64>],
        boundary: Boundary,
    ) -> Self {
        Self {
            representation,
            parts,
            boundary,
        }
    }

    /// Whether these parts, including part headers and delimiters, are shorter than the whole.
    pub(super) fn is_shorter_than_whole(
        representation: &Representation,
        parts: &[Range<u64>],
    ) -> bool {
        let multipart = Multipart::new(representation, parts, Boundary::PLACEHOLDER);
        multipart.length() < representation.content.len()
    }

    /// Media type of the content, for Content-Type.
    #[must_use]
    pub fn media_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// Length of the content in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        let parts = self
            .parts()
            .map(|(head, part)| head.len() as u64 + (part.end - part.start));
        parts.sum::<u64>() + self.close_delimiter().len() as u64
    }

    /// Iterates over the parts, each with the delimiter and header that precede it.
    pub fn parts(&self) -> impl Iterator<Item = (String, Range<u64>)> {
        self.parts.iter().map(|part| {
            let head = format!(
                "\r\n--{}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
                self.boundary,
                self.representation.media_type(),
                ContentRange(part, self.representation.content.len()),
            );
            (head, part.clone())
        })
    }

    /// Delimiter after the last part.
    #[must_use]
    pub fn close_delimiter(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Value of Content-Range: a part, half-open and not empty, and the complete length in bytes (RFC 9110 section 14.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct ContentRange<'a>(pub &'a Range<u64>, pub u64);

impl fmt::Display for ContentRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, len) = self;
        write!(f, "bytes {}-{}/{len}", part.start, part.end - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_separated_by_the_boundary() {
        let content = vec![b'x'; 10_000].into();
        let representation = Representation::new(content, "text/plain");
        let parts = [0..1, 9998..10_000];
        let multipart = Multipart::new(&representation, &parts, Boundary(0xb));
        let boundary = "0000000000000000000000000000000b";
        let mut whole = String::new();
        for (head, part) in multipart.parts() {
            whole += &head;
            whole.extend(part.map(|_| 'x'));
        }
        whole += &multipart.close_delimiter();
        let expected = format!(
            "\r\n--{boundary}\r\nContent-Type: text/plain\r\n\
             Content-Range: bytes 0-0/10000\r\n\r\nx\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\n\
             Content-Range: bytes 9998-9999/10000\r\n\r\nxx\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(whole, expected);
        assert_eq!(multipart.length(), expected.len() as u64);
        let media_type = format!("multipart/byteranges; boundary={boundary}");
        assert_eq!(multipart.media_type(), media_type);
    }

    #[test]
    fn multipart_longer_than_the_whole_is_recognized() {
        let check = |len, expected| {
            let representation = Representation::new(vec![b'x'; len].into(), "text/plain");
            let is_shorter = Multipart::is_shorter_than_whole(&representation, &[0..1, 2..3]);
            assert_eq!(is_shorter, expected, "{len}");
        };
        check(100, false);
        check(1000, true);
    }

    #[test]
    fn boundaries_are_unique() {
        let (mut one, mut other) = (BoundaryGenerator::default(), BoundaryGenerator::default());
        let drawn = [
            one.generate(),
            one.generate(),
            other.generate(),
            other.generate(),
        ];
        for (index, boundary) in drawn.iter().enumerate() {
            assert_eq!(boundary.to_string().len(), 32);
            assert!(!drawn[index + 1..].contains(boundary), "{boundary}");
        }
    }
}
