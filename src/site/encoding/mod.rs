//! Content codings of files: sidecars beside them, and compression on demand.

pub(crate) mod compressor;
pub(crate) mod content_reader;
pub(crate) mod encoder;
pub(crate) mod header;
pub(crate) mod proofs;
pub(crate) mod sidecar_writer;
pub(crate) mod sidecars;

pub use compressor::{Compressor, Encoded};
pub use proofs::SidecarProofs;
pub use sidecar_writer::{ScannedDir, SidecarError, SidecarJob, SidecarOutcome, SidecarWriter};
pub use sidecars::SIDECAR_CODINGS;
