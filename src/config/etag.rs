//! What entity tags are made from.

use clap::{Args, ValueEnum};

/// What entity tags are made from.
#[derive(Debug, Args)]
pub(super) struct EtagOptions {
    /// What the entity tags of files above 64 KiB are made from: length, times and inode; or their content, as those
    /// of all others, so that every replica says the same
    #[arg(
        long,
        value_name = "FROM",
        env = "DOCROOT_ETAG",
        default_value = "auto"
    )]
    etag: Made,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Made {
    Auto,
    Content,
}

impl EtagOptions {
    /// Whether it is the content, however long a file is.
    pub(super) fn resolve(&self) -> bool {
        self.etag == Made::Content
    }
}
