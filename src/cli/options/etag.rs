//! The option `--etag`.

use clap::{Args, ValueEnum};

/// The option `--etag`.
#[derive(Debug, Args)]
pub(super) struct EtagOptions {
    /// Make entity tags of files above 64 KiB from: auto (length, times and inode) or content (the same on every
    /// replica); smaller files are always tagged by content
    #[arg(
        long,
        value_name = "FROM",
        env = "DOCROOT_ETAG",
        ignore_case = true,
        default_value = "auto"
    )]
    #[arg(help_heading = super::group::CACHING, hide_short_help = true)]
    etag: EtagValue,
}

/// Values of `--etag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EtagValue {
    Auto,
    Content,
}

impl EtagOptions {
    /// Whether entity tags are computed from content, whatever the length of the file.
    pub(super) fn resolve(&self) -> bool {
        self.etag == EtagValue::Content
    }
}
