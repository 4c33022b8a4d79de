//! Sidecars: precompressed `.br`, `.zst` and `.gz` files beside the files they encode.

use std::os::unix::fs::FileExt as _;

use crate::blob::Blob;
use crate::files::entry::FileSource;
use crate::http::Coding;
use crate::site::names::media::{self, MediaTypes, is_compressible};

/// Content codings of sidecars, the slowest to compress first.
pub const SIDECAR_CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// Reasons why a sidecar is not served.
const OLDER_THAN_FILE: &str = "it is older than its file";
const WRONG_CODING: &str = "its content is not in the coding of its extension";
pub(crate) const UNREADABLE: &str = "it cannot be read";

/// Returns the codings for which sidecars of a file of this type are looked for.
pub(crate) fn sidecar_codings(types: &MediaTypes, path: &[u8]) -> &'static [Coding] {
    let is_coded = |coding: &Coding| path.ends_with(coding.suffix().as_bytes());
    let media = types.media_type(path);
    let is_unknown = media.source == media::MediaTypeSource::Unknown;
    match is_compressible(&media.value) || (is_unknown && !SIDECAR_CODINGS.iter().any(is_coded)) {
        true => &SIDECAR_CODINGS,
        false => &[],
    }
}

/// Returns the reason why a sidecar is not served, or `None`. The content is not decoded for that.
pub(crate) fn reject_reason(
    coding: Coding,
    file: &FileSource,
    sidecar: &FileSource,
    content: &Blob,
) -> Option<&'static str> {
    if sidecar.version.modified < file.version.modified {
        Some(OLDER_THAN_FILE)
    } else if !has_magic_bytes(coding, content) {
        Some(WRONG_CODING)
    } else {
        None
    }
}

/// Whether content begins with the coding's magic bytes (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1). Brotli has
/// none, but is never empty.
fn has_magic_bytes(coding: Coding, content: &Blob) -> bool {
    let mut magic = [0; 4];
    let read = match content {
        Blob::File { file, .. } | Blob::Sealed { file, .. } => {
            file.read_exact_at(&mut magic, 0).is_ok()
        }
        Blob::Static(_) | Blob::Memory(_) => {
            let bytes = content.in_memory().unwrap_or_default();
            let begins = bytes.iter().zip(&mut magic);
            begins.map(|(&byte, slot)| *slot = byte).count() == 4
        }
    };
    match coding {
        Coding::Identity => true,
        Coding::Brotli => !content.is_empty(),
        Coding::Gzip => read && magic.starts_with(&[0x1f, 0x8b]),
        // A Zstandard frame or a skippable frame.
        Coding::Zstd => {
            read && matches!(
                magic,
                [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
            )
        }
    }
}
