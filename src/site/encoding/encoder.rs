//! Encoding of bytes in a content coding, and comparison of encoded bytes with the original.
//!
//! The same bytes encoded with the same effort give the same bytes everywhere, as the entity tags of replicas must: the
//! gzip header has no date and no name.

use std::io::{self, BufRead, BufReader, Read, Write};

use brotli::enc::BrotliEncoderParams;
use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::{Compression, GzBuilder};
use zstd::stream::{read::Decoder as ZstdDecoder, write::Encoder as ZstdEncoder};

use crate::http::Coding;

/// Largest zstd window that a recipient must support, in bytes (RFC 9659 section 3). Level 19 stays within it; higher
/// levels do not.
pub(crate) const MAX_ZSTD_WINDOW_BYTES: u64 = 1 << MAX_ZSTD_WINDOW_LOG;

const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Largest window that zstd(1) decodes without `--long`, as a power of two.
const MAX_TOOL_WINDOW_LOG: u32 = 27;

/// Program that decodes, which limits the encodings that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// HTTP client: one gzip member, and a zstd window of up to 8 MiB.
    Client,
    /// gzip(1), zstd(1): any number of gzip members, and a zstd window of up to 128 MiB.
    Tool,
}

/// Compression level, by the time that it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Best compression, for files encoded once and sent often: brotli 11, zstd 19, gzip 9.
    Best,
    /// Compression that pays while files are being served: brotli 5, zstd 6, gzip 6.
    ///
    /// One MiB of scripts, as npm packages have them, takes brotli 130 ms, zstd 35 ms and gzip 38 ms, and comes out as
    /// 199, 201 and 264 KiB. With the best effort it takes 5.7 s, 1.2 s and 91 ms, and comes out as 172, 180 and 261
    /// KiB. (Two cores, both busy.)
    Quick,
}

/// Encodes `len` bytes of `input` into `output`. To abandon an encoding, `input` returns an error, which is passed on;
/// brotli may first encode what it has read before, up to 4 MiB.
///
/// # Errors
/// Errors of reading and writing; `UnexpectedEof` for a shorter input.
pub(crate) fn encode(
    coding: Coding,
    effort: Effort,
    len: u64,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut input = input.take(len);
    match coding {
        Coding::Identity => {
            io::copy(&mut input, output)?;
        }
        Coding::Gzip => {
            let level = Compression::new(effort.level(6, 9));
            let mut encoder = GzBuilder::new().mtime(0).write(output, level);
            io::copy(&mut input, &mut encoder)?;
            encoder.finish()?;
        }
        Coding::Zstd => {
            let mut encoder = ZstdEncoder::new(output, effort.level(6, 19))?;
            // zstd sizes its tables for this length, and writes it into the frame header.
            encoder.set_pledged_src_size(Some(len))?;
            let copied = io::copy(&mut input, &mut encoder)?;
            // With fewer bytes than pledged, zstd would return an error of its own.
            if copied == len {
                encoder.finish()?;
            }
        }
        Coding::Brotli => {
            let params = BrotliEncoderParams {
                quality: effort.level(5, 11),
                size_hint: usize::try_from(len).unwrap_or(usize::MAX),
                ..BrotliEncoderParams::default()
            };
            brotli::BrotliCompress(&mut input, output, &params)?;
        }
    }
    match input.limit() {
        0 => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Returns whether `encoded` as a whole decodes to `original` for this recipient. Bytes that cannot be decoded do not;
/// decoding ends where they differ, so it produces no more than 16 KiB beyond the original.
///
/// # Errors
/// Errors of reading the original.
pub(crate) fn is_encoded(
    coding: Coding,
    recipient: Recipient,
    encoded: impl Read,
    original: &mut impl Read,
) -> io::Result<bool> {
    let mut encoded = BufReader::new(encoded);
    let is_same = match (coding, recipient) {
        (Coding::Identity, _) => has_same_bytes(&mut encoded, original),
        (Coding::Gzip, Recipient::Client) => has_same_bytes(GzDecoder::new(&mut encoded), original),
        (Coding::Gzip, Recipient::Tool) => {
            has_same_bytes(MultiGzDecoder::new(&mut encoded), original)
        }
        (Coding::Zstd, recipient) => {
            let mut decoder = ZstdDecoder::with_buffer(&mut encoded)?;
            decoder.window_log_max(match recipient {
                Recipient::Client => MAX_ZSTD_WINDOW_LOG,
                Recipient::Tool => MAX_TOOL_WINDOW_LOG,
            })?;
            has_same_bytes(decoder, original)
        }
        (Coding::Brotli, _) => {
            has_same_bytes(brotli::Decompressor::new(&mut encoded, 4096), original)
        }
    };
    // A decoder stops at the end of its stream, whatever follows.
    let is_at_end = |mut encoded: BufReader<_>| {
        let rest = encoded.fill_buf();
        rest.is_ok_and(<[u8]>::is_empty)
    };
    Ok(is_same? && is_at_end(encoded))
}

impl Effort {
    fn level<T>(self, quick: T, best: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Best => best,
        }
    }
}

fn has_same_bytes(mut decoded: impl Read, original: &mut impl Read) -> io::Result<bool> {
    let (mut one, mut other) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let count = match decoded.read(&mut one) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(false),
            Ok(count) => count,
        };
        if count == 0 {
            // brotli tells of bytes behind the end of its stream when it is read once more.
            if decoded.read(&mut one).map_or(true, |count| count > 0) {
                return Ok(false);
            }
            return Ok(original.read(&mut other[..1])? == 0);
        }
        match original.read_exact(&mut other[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if one[..count] != other[..count] {
            return Ok(false);
        }
    }
}

/// Writer that accepts a limited number of bytes.
#[derive(Debug)]
pub(crate) struct LimitedWriter<W> {
    pub(crate) output: W,
    /// Bytes that may still be written.
    pub(crate) remaining: u64,
}

impl<W> LimitedWriter<W> {
    /// Returns whether this error says that the limit was exceeded.
    pub(crate) fn is_limit_error(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::FileTooLarge && error.raw_os_error().is_none()
    }
}

impl<W: Write> Write for LimitedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.remaining {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.output.write(bytes)?;
        self.remaining -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODINGS: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::Brotli];

    /// Returns a text of at least `len` bytes.
    fn text(len: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut number = 1_u32;
        while text.len() < len {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (name, other) = (number >> 24, number >> 12 & 0xff);
            let line = format!("  const value{name} = compute(options.field{other}, {number});\n");
            text.extend_from_slice(line.as_bytes());
        }
        text
    }

    fn encoded(coding: Coding, effort: Effort, content: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let len = content.len() as u64;
        encode(coding, effort, len, &mut &content[..], &mut output).unwrap();
        output
    }

    #[test]
    fn encoded_content_decodes_to_the_original() {
        for content in [Vec::new(), b"x".to_vec(), text(100), text(70_000)] {
            for coding in CODINGS {
                for effort in [Effort::Quick, Effort::Best] {
                    let label = format!("{coding:?} {effort:?} {}", content.len());
                    let encoded = encoded(coding, effort, &content);
                    let is = |encoded: &[u8], mut original: &[u8]| {
                        is_encoded(coding, Recipient::Client, encoded, &mut original).unwrap()
                    };
                    assert!(is(&encoded, &content), "{label}");
                    assert!(!is(&encoded, &[&content[..], b"x"].concat()), "{label}");
                    if let [start @ .., last] = &*content {
                        assert!(!is(&encoded, start), "{label}");
                        assert!(!is(&encoded, &[start, &[!last]].concat()), "{label}");
                        assert!(!is(&encoded[..encoded.len() - 1], &content), "{label}");
                    }
                    assert!(
                        content.len() < 1000
                            || coding == Coding::Identity
                            || encoded.len() < content.len() / 2
                    );
                }
            }
        }
        for recipient in [Recipient::Client, Recipient::Tool] {
            let mut original = &b"x"[..];
            assert!(
                !is_encoded(
                    Coding::Brotli,
                    recipient,
                    &b"no such thing"[..],
                    &mut original
                )
                .unwrap()
            );
        }
    }

    #[test]
    fn gzip_header_has_no_date_and_no_name() {
        for (effort, extra) in [(Effort::Quick, 0), (Effort::Best, 2)] {
            let encoded = encoded(Coding::Gzip, effort, b"content");
            assert_eq!(encoded[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra, 255]);
        }
    }

    #[test]
    fn zstd_window_is_at_most_8_mib() {
        let content = vec![b'x'; 12 << 20];
        let encoded = encoded(Coding::Zstd, Effort::Best, &content);
        assert!(is_encoded(Coding::Zstd, Recipient::Client, &*encoded, &mut &*content).unwrap());
    }

    #[test]
    fn read_errors_and_size_limits_are_errors() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
                self.0 -= 1;
                bytes.fill(b'x');
                Ok(bytes.len())
            }
        }
        let content = text(200_000);
        let len = content.len() as u64;
        for coding in CODINGS {
            let read = encode(
                coding,
                Effort::Quick,
                1 << 20,
                &mut Broken(3),
                &mut Vec::new(),
            );
            assert_eq!(
                read.unwrap_err().kind(),
                io::ErrorKind::ConnectionReset,
                "{coding:?}"
            );

            let short = encode(
                coding,
                Effort::Quick,
                len + 1,
                &mut &*content,
                &mut Vec::new(),
            );
            assert_eq!(
                short.unwrap_err().kind(),
                io::ErrorKind::UnexpectedEof,
                "{coding:?}"
            );

            let whole = encoded(coding, Effort::Quick, &content);
            for less in [1, 50] {
                let room = whole.len() as u64 - less;
                let mut output = LimitedWriter {
                    output: Vec::new(),
                    remaining: room,
                };
                let written = encode(coding, Effort::Quick, len, &mut &*content, &mut output);
                assert!(
                    LimitedWriter::<()>::is_limit_error(&written.unwrap_err()),
                    "{coding:?}"
                );
            }
            let mut output = LimitedWriter {
                output: Vec::new(),
                remaining: whole.len() as u64,
            };
            encode(coding, Effort::Quick, len, &mut &*content, &mut output).unwrap();
            assert_eq!(output.output, whole);

            let more = encode(coding, Effort::Quick, 10, &mut &*content, &mut Vec::new());
            assert!(more.is_ok(), "input beyond `len` is not read: {coding:?}");
        }
    }
}
