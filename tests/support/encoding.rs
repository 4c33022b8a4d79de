//! Content in a content coding, of any length above the shortest, so that tests tell sidecars apart by their lengths.

use std::io::Write as _;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Returns content in a coding, given by its name.
pub fn encoded(coding: &str, content: &[u8]) -> Vec<u8> {
    match coding {
        "br" => brotli(content, b'.', 0),
        "gzip" => gzip(content, 0),
        "zstd" => zstd::encode_all(content, 19).expect("zstd"),
        _ => panic!("no coding {coding}"),
    }
}

/// Returns content in a coding, given by its name, padded to `len` bytes in a way that every decoder passes over.
///
/// # Panics
/// If it cannot be so short.
pub fn encoded_to(coding: &str, content: &[u8], len: usize) -> Vec<u8> {
    let shortest = encoded(coding, content);
    let padding = len.checked_sub(shortest.len()).expect("a length");
    let padded = match (coding, padding) {
        (_, 0) => shortest,
        ("br", padding) => brotli(content, b'.', padding),
        ("gzip", padding) => gzip(content, padding),
        ("zstd", padding) => {
            // A skippable frame (RFC 8878 section 3.1.2).
            let filler = vec![b'.'; padding.checked_sub(8).expect("room for a frame")];
            let filler_len = u32::try_from(filler.len()).expect("a length");
            let magic = [0x50, 0x2a, 0x4d, 0x18];
            [&*shortest, &magic, &filler_len.to_le_bytes(), &filler].concat()
        }
        _ => panic!("no coding {coding}"),
    };
    assert_eq!(padded.len(), len, "{coding}");
    padded
}

/// Returns content as `br`, with `padding` bytes of metadata; the last but one byte is `filler`.
pub fn brotli(content: &[u8], filler: u8, padding: usize) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 4096, 9, 22);
    encoder.write_all(content).expect("memory");
    // The end of a block, at the end of a byte.
    encoder.flush().expect("memory");
    let mut encoded = encoder.get_ref().clone();
    // Metadata (RFC 7932 section 9.2): the header is one byte longer than the length in it.
    let fits = |field_bytes: &usize| {
        let len = padding.checked_sub(field_bytes + 1);
        len.is_some_and(|len| len > 0 && (len - 1) >> (8 * field_bytes) == 0)
    };
    match (1..=3).find(fits) {
        Some(field_bytes) => {
            let len = padding - field_bytes - 1;
            let header = 0b110 | field_bytes << 4 | (len - 1) << 6;
            encoded.extend_from_slice(&header.to_le_bytes()[..=field_bytes]);
            encoded.extend(std::iter::repeat_n(filler, len));
        }
        // Empty metadata, one byte each.
        None => encoded.extend(std::iter::repeat_n(0b110, padding)),
    }
    encoded.push(0b11);
    encoded
}

/// Returns content as gzip, with `padding` more bytes: a name, and empty blocks (RFC 1951 section 3.2.4).
fn gzip(content: &[u8], padding: usize) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(content.len() + 1000);
    let mut encoder = Compress::new(Compression::best(), false);
    let done = encoder.compress_vec(content, &mut deflated, FlushCompress::Sync);
    done.expect("valid state");
    let name_len = padding % 5;
    let mut encoded = vec![
        0x1f,
        0x8b,
        8,
        if name_len > 0 { 8 } else { 0 },
        0,
        0,
        0,
        0,
        0,
        255,
    ];
    if name_len > 0 {
        encoded.extend(std::iter::repeat_n(b'n', name_len - 1).chain([0]));
    }
    encoded.extend_from_slice(&deflated);
    encoded.extend([0, 0, 0, 0xff, 0xff].repeat(padding / 5));
    encoded.extend([1, 0, 0, 0xff, 0xff]);
    let mut crc = Crc::new();
    crc.update(content);
    encoded.extend(crc.sum().to_le_bytes());
    encoded.extend(crc.amount().to_le_bytes());
    encoded
}
