//! What the first and the last bytes of encoded content say of it: that is read before a sidecar is first sent.

use std::os::unix::fs::FileExt as _;

use super::encoder::MAX_ZSTD_WINDOW_BYTES;
use crate::blob::Blob;
use crate::http::Coding;

/// Reasons why encoded content is not sent.
pub(crate) const WRONG_CODING: &str = "its content is not in the coding of its extension";
pub(crate) const OTHER_LENGTH: &str = "the length that it says is not that of its file";
pub(crate) const SEVERAL_MEMBERS_OR_OTHER_LENGTH: &str = "its last four bytes are not the length of its file: it is of another file, cut off, or has several members";
pub(crate) const LARGE_WINDOW: &str =
    "it needs a window of more than 8 MiB, which browsers do not have (RFC 9659)";
pub(crate) const NEEDS_DICTIONARY: &str = "it needs a dictionary";

/// Bytes at the start of content that are read.
const HEAD_BYTES: usize = 64;

/// Shortest gzip member: header, an empty block, and trailer (RFC 1952 section 2.3).
const MIN_GZIP_BYTES: u64 = 20;

/// Returns the reason why encoded content cannot be that of a file of `len` bytes, as far as its first and last bytes
/// show it, or `None`. Content that cannot be read is in no coding.
pub(crate) fn header_fault(coding: Coding, content: &Blob, len: u64) -> Option<&'static str> {
    let mut head = [0; HEAD_BYTES];
    let count = usize::try_from(content.len()).map_or(HEAD_BYTES, |len| len.min(HEAD_BYTES));
    let head = &mut head[..count];
    if count == 0 || !read_at(content, 0, head) {
        return (coding != Coding::Identity).then_some(WRONG_CODING);
    }
    match coding {
        Coding::Identity => None,
        Coding::Gzip => gzip_fault(head, content, len),
        Coding::Zstd => zstd_fault(head, len),
        Coding::Brotli => brotli_fault(head, content.len(), len),
    }
}

/// Whether content begins as content in this coding does. brotli has no magic number.
pub(crate) fn begins_as(coding: Coding, content: &Blob) -> bool {
    let mut magic = [0; 4];
    match coding {
        Coding::Identity => true,
        Coding::Brotli => !content.is_empty(),
        _ if !read_at(content, 0, &mut magic) => false,
        Coding::Gzip => magic.starts_with(&[0x1f, 0x8b, 8]),
        Coding::Zstd => matches!(
            magic,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
        ),
    }
}

/// Checks the header of a gzip member and the length in its trailer, modulo 2^32 (RFC 1952 section 2.3.1). Of several
/// members, the trailer has the length of the last one.
fn gzip_fault(head: &[u8], content: &Blob, len: u64) -> Option<&'static str> {
    // The last byte has the flags; three of its bits are reserved.
    let [0x1f, 0x8b, 8, 0..0x20, ..] = head else {
        return Some(WRONG_CODING);
    };
    let mut trailer = [0; 4];
    if content.len() < MIN_GZIP_BYTES || !read_at(content, content.len() - 4, &mut trailer) {
        return Some(WRONG_CODING);
    }
    let is_of_file = u64::from(u32::from_le_bytes(trailer)) == len & u64::from(u32::MAX);
    (!is_of_file).then_some(SEVERAL_MEMBERS_OR_OTHER_LENGTH)
}

/// Checks the header of the first frame (RFC 8878 section 3.1.1.1), which may follow a skippable frame: pzstd(1) writes
/// that. Then there may be several frames, and each has a part of the file.
fn zstd_fault(head: &[u8], len: u64) -> Option<&'static str> {
    if let [0x50..=0x5f, 0x2a, 0x4d, 0x18, rest @ ..] = head {
        let skipped = rest.first_chunk().map(|size| u32::from_le_bytes(*size))?;
        let frame = usize::try_from(skipped).ok()?.checked_add(4)?;
        // A longer skippable frame is left to the decoder.
        return match zstd_fault(rest.get(frame..).filter(|rest| !rest.is_empty())?, len) {
            Some(OTHER_LENGTH) => None,
            fault => fault,
        };
    }
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = head else {
        return Some(WRONG_CODING);
    };
    if descriptor & 0x08 != 0 {
        return Some(WRONG_CODING);
    }
    let is_single_segment = descriptor & 0x20 != 0;
    let mut rest = rest;
    let mut take = |count: usize| {
        let (field, after) = rest.split_at_checked(count)?;
        rest = after;
        let value = |value, byte: &u8| value << 8 | u64::from(*byte);
        Some(field.iter().rev().fold(0_u64, value))
    };
    let window = match is_single_segment {
        true => None,
        false => match take(1) {
            Some(byte) => {
                let base = 1_u64 << (10 + (byte >> 3));
                Some(base + base / 8 * (byte & 7))
            }
            None => return Some(WRONG_CODING),
        },
    };
    let dictionary = take([0, 1, 2, 4][usize::from(descriptor & 3)]);
    let said_len = match (descriptor >> 6, is_single_segment) {
        (0, false) => None,
        (0, true) => take(1),
        (1, _) => take(2).map(|len| len + 256),
        (2, _) => take(4),
        _ => take(8),
    };
    if dictionary.is_none() {
        Some(WRONG_CODING)
    } else if dictionary != Some(0) {
        Some(NEEDS_DICTIONARY)
    } else if said_len.is_some_and(|said_len| said_len != len) {
        Some(OTHER_LENGTH)
    } else if window
        .or(said_len)
        .is_some_and(|window| window > MAX_ZSTD_WINDOW_BYTES)
    {
        Some(LARGE_WINDOW)
    } else {
        None
    }
}

/// Checks the window and the first meta-block's header (RFC 7932 sections 9.1 and 9.2), which is all that tells a
/// brotli stream from other bytes: it has no magic number and no length. The encoded content has `encoded_len` bytes.
fn brotli_fault(head: &[u8], encoded_len: u64, len: u64) -> Option<&'static str> {
    let mut bits = 0_u64;
    for (index, byte) in head.iter().take(8).enumerate() {
        bits |= u64::from(*byte) << (8 * index);
    }
    let mut take = |count: u32| {
        let value = bits & ((1 << count) - 1);
        bits >>= count;
        value
    };
    // WBITS; 0010001 is the mark of large windows, which are no `br` (RFC 9841).
    if take(1) == 1 && take(3) == 0 && take(3) == 1 {
        return Some(WRONG_CODING);
    }
    let is_last = take(1) == 1;
    if is_last && take(1) == 1 {
        // An empty stream.
        return match (encoded_len, len) {
            (1 | 2, 0) => None,
            (1 | 2, _) => Some(OTHER_LENGTH),
            _ => Some(WRONG_CODING),
        };
    }
    let nibbles = match take(2) {
        // Metadata.
        3 if is_last || take(1) == 1 => return Some(WRONG_CODING),
        3 => return None,
        count => 4 + u32::try_from(count).unwrap_or_default(),
    };
    let block = take(4 * nibbles);
    if nibbles > 4 && block >> (4 * (nibbles - 1)) == 0 {
        return Some(WRONG_CODING);
    }
    let block_len = block + 1;
    let fits = if is_last {
        block_len == len
    } else {
        block_len <= len
    };
    (!fits).then_some(OTHER_LENGTH)
}

/// Reads content at an offset. Returns whether there were as many bytes.
fn read_at(content: &Blob, offset: u64, bytes: &mut [u8]) -> bool {
    match content {
        Blob::File { file, .. } | Blob::Sealed { file, .. } => {
            file.read_exact_at(bytes, offset).is_ok()
        }
        Blob::Static(_) | Blob::Memory(_) => {
            let content = content.in_memory().unwrap_or_default();
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = content
                .get(start..)
                .and_then(|rest| rest.get(..bytes.len()));
            found.map(|found| bytes.copy_from_slice(found)).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::encoding::encoder::{Effort, encode};

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Zstd, Coding::Brotli];

    fn fault(coding: Coding, encoded: &[u8], len: u64) -> Option<&'static str> {
        header_fault(coding, &encoded.to_vec().into(), len)
    }

    fn encoded(coding: Coding, content: &[u8]) -> Vec<u8> {
        let (len, mut output) = (content.len() as u64, Vec::new());
        encode(coding, Effort::Quick, len, &mut &*content, &mut output).unwrap();
        output
    }

    #[test]
    fn encoded_content_of_any_length_looks_right() {
        let content: Vec<u8> = (0..300_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7).to_le_bytes()[0])
            .collect();
        for len in [0, 1, 2, 100, 255, 256, 257, 65_535, 65_536, 66_000, 300_000] {
            for coding in CODINGS {
                let encoded = encoded(coding, &content[..len]);
                let what = format!("{coding:?} {len}");
                assert_eq!(fault(coding, &encoded, len as u64), None, "{what}");
                for cut in 0..encoded.len().min(70) {
                    // Must not panic; what it says does not matter.
                    fault(coding, &encoded[..cut], len as u64);
                }
                assert_eq!(fault(coding, &[], len as u64), Some(WRONG_CODING), "{what}");
                let others = CODINGS.into_iter().filter(|other| *other != coding);
                for other in others.filter(|other| *other != Coding::Brotli) {
                    assert_eq!(
                        fault(other, &encoded, len as u64),
                        Some(WRONG_CODING),
                        "{what}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_length_is_a_fault() {
        let one = encoded(Coding::Gzip, b"one");
        for (encoded, len) in [
            (one.clone(), 4),
            ([&*one, &*encoded(Coding::Gzip, b"more")].concat(), 7),
            ([&*one, &[0; 4]].concat(), 3),
            (one[..one.len() - 1].to_vec(), 3),
        ] {
            let expected = Some(SEVERAL_MEMBERS_OR_OTHER_LENGTH);
            let found = fault(Coding::Gzip, &[&*encoded, b""].concat(), len);
            assert!(
                found == expected || encoded.len() < 20,
                "{encoded:?}: {found:?}"
            );
        }
        assert_eq!(
            fault(Coding::Gzip, &one, (1 << 32) + 3),
            None,
            "modulo 2^32"
        );
        let zstd = encoded(Coding::Zstd, b"one");
        assert_eq!(fault(Coding::Zstd, &zstd, 4), Some(OTHER_LENGTH));
        // pzstd(1): a skippable frame with the length of the next, and frames.
        let skippable = [
            &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9],
            &*zstd,
            &*zstd,
        ]
        .concat();
        assert_eq!(fault(Coding::Zstd, &skippable, 6), None);
        let brotli = encoded(Coding::Brotli, &[b'x'; 5000]);
        assert_eq!(fault(Coding::Brotli, &brotli, 4999), Some(OTHER_LENGTH));
        assert_eq!(
            fault(Coding::Brotli, &encoded(Coding::Brotli, b""), 1),
            Some(OTHER_LENGTH)
        );
    }

    #[test]
    fn headers_that_clients_refuse_are_faults() {
        let gzip = |flags: u8| {
            let mut encoded = encoded(Coding::Gzip, b"content");
            encoded[3] = flags;
            fault(Coding::Gzip, &encoded, 7)
        };
        // Text, header checksum, extra field, name and comment are allowed.
        for (flags, expected) in [
            (0, None),
            (0x1f, None),
            (0x20, Some(WRONG_CODING)),
            (0x80, Some(WRONG_CODING)),
        ] {
            assert_eq!(gzip(flags), expected, "{flags}");
        }
        let zstd = |header: &[u8]| {
            let encoded = [&[0x28, 0xb5, 0x2f, 0xfd], header, &[0; 8]].concat();
            fault(Coding::Zstd, &encoded, 9 << 20)
        };
        let nine_mib = (9_u32 << 20).to_le_bytes();
        for (header, expected) in [
            // Window of 8 MiB, no length.
            (&[0x00, 13 << 3][..], None),
            (&[0x00, 13 << 3 | 1], Some(LARGE_WINDOW)),
            (&[0x00, 17 << 3], Some(LARGE_WINDOW)),
            (&[0x00, 31 << 3 | 7], Some(LARGE_WINDOW)),
            // A dictionary of one byte, two and four.
            (&[0x01, 0, 7], Some(NEEDS_DICTIONARY)),
            (&[0x02, 0, 0, 7], Some(NEEDS_DICTIONARY)),
            (&[0x03, 0, 0, 0, 0, 7], Some(NEEDS_DICTIONARY)),
            (&[0x01, 0, 0], None),
            // A reserved bit.
            (&[0x08, 0], Some(WRONG_CODING)),
            // A single segment: its length is the window.
            (&[&[0xa0], &nine_mib[..]].concat(), Some(LARGE_WINDOW)),
            (&[&[0x80, 0], &nine_mib[..]].concat(), None),
            (&[0xc0, 0, 1, 0, 0, 0, 0, 0, 0, 0], Some(OTHER_LENGTH)),
        ] {
            assert_eq!(zstd(header), expected, "{header:?}");
        }
        for (encoded, expected) in [
            (&b"a text that is no brotli"[..], true),
            (b"<!DOCTYPE html>", true),
            (b"(function(){})", true),
            // Large window, and text behind the end.
            (&[0x11, 0x16, 0, 0], true),
            (&[0x06, b'x', b'y'], true),
        ] {
            assert_eq!(
                fault(Coding::Brotli, encoded, 14).is_some(),
                expected,
                "{encoded:?}"
            );
        }
    }
}
