//! The arguments of `docroot compress`, and the options that result from them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::ValueHint;

use super::defaults::default_workers;
use super::values;

/// Arguments of `docroot compress`.
#[derive(Debug, Args)]
pub(crate) struct CompressArguments {
    /// Compress the files below this directory
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,

    /// Compress files and directories whose names begin with a dot, too
    #[arg(long)]
    hidden: bool,

    /// Overwrite or remove sidecars even if they are newer than their files and have other content
    #[arg(short, long)]
    force: bool,

    /// Compress on this many threads [default: the CPUs that may be used]
    #[arg(short, long, value_name = "N", value_parser = values::workers)]
    jobs: Option<NonZeroUsize>,

    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,

    /// Print a line for each file
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
}

/// Options of `docroot compress`.
#[derive(Clone, Debug)]
pub(crate) struct CompressOptions {
    /// Directory whose files are compressed.
    pub(crate) root: PathBuf,
    /// Whether files and directories whose names begin with a dot are included.
    pub(crate) hidden: bool,
    /// Whether newer sidecars of other content are overwritten or removed.
    pub(crate) force: bool,
    /// Number of threads that encode.
    pub(crate) jobs: NonZeroUsize,
    /// Whether only errors are printed.
    pub(crate) quiet: bool,
    /// Whether a line is printed for each file.
    pub(crate) verbose: bool,
}

impl CompressArguments {
    /// Returns the options of the command.
    pub(crate) fn resolve(self) -> CompressOptions {
        CompressOptions {
            root: self.dir,
            hidden: self.hidden,
            force: self.force,
            jobs: self.jobs.unwrap_or_else(default_workers),
            quiet: self.quiet,
            verbose: self.verbose,
        }
    }
}
