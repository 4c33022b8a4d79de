//! The option `--sandbox`, and the files that serving needs.

use std::path::{Path, PathBuf, absolute};

use clap::{Args, ValueEnum};
use docroot::files::Symlinks;
use docroot::server::sandbox::{Requirements, SandboxMode};
use docroot::site::{MediaTypesInput, PolicySources};

/// The option `--sandbox`.
#[derive(Debug, Args)]
pub(super) struct SandboxOptions {
    /// Let the kernel (Landlock) forbid what serving does not need: auto (as far as it can), on (or do not start), off
    #[arg(
        long,
        value_name = "HOW",
        env = "DOCROOT_SANDBOX",
        ignore_case = true,
        default_value = "auto"
    )]
    #[arg(help_heading = super::group::PRODUCTION, hide_short_help = true)]
    sandbox: SandboxValue,
}

/// Values of `--sandbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SandboxValue {
    Auto,
    On,
    Off,
}

impl SandboxOptions {
    pub(super) fn resolve(self) -> SandboxMode {
        match self.sandbox {
            SandboxValue::Auto => SandboxMode::Auto,
            SandboxValue::On => SandboxMode::On,
            SandboxValue::Off => SandboxMode::Off,
        }
    }
}

/// Returns the files that serving needs: the root, targets of symbolic links, and the files that SIGHUP reloads.
pub(super) fn requirements(
    root: &Path,
    symlinks: &Symlinks,
    sources: &PolicySources,
    users: Option<&Path>,
) -> Requirements {
    let symlink_roots = match symlinks {
        Symlinks::Inside(symlink_roots) => symlink_roots.as_slice(),
        Symlinks::Deny | Symlinks::Follow => &[],
    };
    let types = sources
        .media_types
        .iter()
        .filter_map(|source| match source {
            MediaTypesInput::File(file) => Some(file.as_path()),
            MediaTypesInput::Types(_) => None,
        });
    let rules = sources.rules_paths(root);
    let files = types.chain(users).chain(rules.iter().map(PathBuf::as_path));
    // A path cannot be made absolute only if there is no current directory; then there is no file at that path either.
    let absolute = |path: &Path| absolute(path).ok();
    let directories = symlink_roots.iter().map(|other| other.as_path());
    Requirements {
        directories: [root]
            .into_iter()
            .chain(directories)
            .filter_map(absolute)
            .collect(),
        directories_are_replaced: false,
        read_everywhere: *symlinks == Symlinks::Follow,
        files: files.filter_map(absolute).collect(),
        logs: Vec::new(),
        pipes: Vec::new(),
        devices: Vec::new(),
        sockets: Vec::new(),
    }
}
