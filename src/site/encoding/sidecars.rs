//! Sidecars: precompressed `.br`, `.zst` and `.gz` files beside the files they encode.

use super::header::header_fault;
use crate::blob::Blob;
use crate::files::entry::FileSource;
use crate::http::Coding;
use crate::site::names::media::{self, MediaTypes, is_compressible};

/// Content codings of sidecars, the slowest to compress first.
pub const SIDECAR_CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// Reasons why a sidecar is not served.
pub(crate) const OLDER_THAN_FILE: &str = "it is older than its file";
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

/// Returns the reason why a sidecar is not served, or `None`, as far as dates and a few of its bytes show it. The
/// content is not decoded for that; see `proofs.rs`.
pub(crate) fn reject_reason(
    coding: Coding,
    file: &FileSource,
    sidecar: &FileSource,
    content: &Blob,
) -> Option<&'static str> {
    if sidecar.version.modified < file.version.modified {
        Some(OLDER_THAN_FILE)
    } else {
        header_fault(coding, content, file.version.len)
    }
}
