//! What may stand beside a file: the same, with a coding, made before.

use std::os::unix::fs::FileExt as _;

use super::media::{self, MediaTypes, is_compressible};
use super::root::FileSource;
use crate::blob::Blob;
use crate::http::Coding;

/// The codings that a sibling may have, the slowest to make first.
pub const SIDECAR_CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// Why a sibling is not taken for its file.
pub(super) const OLDER_THAN_FILE: &str = "it is older than the file that it stands beside";
pub(super) const WRONG_CODING: &str = "its content is not in the coding that its name says";
pub(super) const UNREADABLE: &str = "it cannot be read";

/// The codings in which a file of this type is worth being looked for.
pub(super) fn sidecar_codings(types: &MediaTypes, path: &[u8]) -> &'static [Coding] {
    let is_coded = |coding: &Coding| path.ends_with(coding.suffix().as_bytes());
    let media = types.media_type(path);
    let is_unknown = media.source == media::MediaTypeSource::Unknown;
    match is_compressible(&media.value) || (is_unknown && !SIDECAR_CODINGS.iter().any(is_coded)) {
        true => &SIDECAR_CODINGS,
        false => &[],
    }
}

/// Why a sibling with this content is not the file, if it is not, as far as can be told without decoding it.
pub(super) fn reject_reason(
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

/// Whether content begins as it must in a coding (RFC 1952 section 2.3.1, RFC 8878 section 3.1.1; brotli has no
/// such mark, but is never empty).
fn has_magic_bytes(coding: Coding, content: &Blob) -> bool {
    let mut mark = [0; 4];
    let read = match content {
        Blob::File { file, .. } | Blob::Sealed { file, .. } => {
            file.read_exact_at(&mut mark, 0).is_ok()
        }
        Blob::Static(_) | Blob::Memory(_) => {
            let bytes = content.in_memory().unwrap_or_default();
            let begins = bytes.iter().zip(&mut mark);
            begins.map(|(&byte, slot)| *slot = byte).count() == 4
        }
    };
    match coding {
        Coding::Identity => true,
        Coding::Brotli => !content.is_empty(),
        Coding::Gzip => read && mark.starts_with(&[0x1f, 0x8b]),
        // A frame, or one that may be skipped.
        Coding::Zstd => {
            read && matches!(
                mark,
                [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]
            )
        }
    }
}
