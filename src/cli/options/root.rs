//! The root directory, and files that must be outside it.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::ValueHint;
use docroot::site;

use super::group;

/// Root directory, as an argument or as an option.
#[derive(Debug, Args)]
pub(super) struct RootArguments {
    /// Serve this directory [default: ./html if it exists, else the current directory]
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,

    /// Serve this directory, as an option instead of DIR
    #[arg(short = 'd', long, value_name = "DIR", env = "DOCROOT_ROOT", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = group::SITE, hide_short_help = true)]
    root: Option<PathBuf>,
}

impl RootArguments {
    /// Returns the root as it is named.
    pub(super) fn resolve(self) -> Result<PathBuf, String> {
        match self.dir.or(self.root) {
            Some(root) => Ok(root),
            None => default_root(),
        }
    }
}

/// Requires that a file is not served: clients must not read password hashes or the access log. `argument` is the
/// option or variable that names it, with its value.
pub(super) fn require_not_served(
    argument: &str,
    file: &Path,
    root: &Path,
    hidden: bool,
) -> Result<(), String> {
    let real_path = real_path(file).unwrap_or_else(|| file.into());
    let root = &root.canonicalize().unwrap_or_else(|_| root.into());
    let Ok(path_below_root) = real_path.strip_prefix(root) else {
        return Ok(());
    };
    if !hidden && site::is_hidden(path_below_root.as_os_str().as_encoded_bytes()) {
        return Ok(());
    }
    let root = root.display();
    Err(format!(
        "{argument} is below the root {root}, and would be served; move it out of the root"
    ))
}

/// Returns the real path of a file, which may not exist yet.
fn real_path(file: &Path) -> Option<PathBuf> {
    let without_file = || {
        let parent = match file.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent?,
        };
        Some(parent.canonicalize().ok()?.join(file.file_name()?))
    };
    file.canonicalize().ok().or_else(without_file)
}

/// Returns `./html` if it is a directory, else the current directory, unless that is `/` or the home directory.
fn default_root() -> Result<PathBuf, String> {
    let current = std::env::current_dir().map_err(|error| {
        format!("cannot find the current directory: {error}; name the directory: docroot DIR")
    })?;
    let html = current.join("html");
    if html.is_dir() {
        return Ok(html);
    }
    // The path of the current directory has no symbolic links; that of the home directory may have some.
    let home = std::env::home_dir().and_then(|home| home.canonicalize().ok());
    if current == Path::new("/") || Some(&current) == home.as_ref() {
        let name = current.display();
        return Err(format!(
            "{name} is not served unless it is named; to serve it: docroot {name}"
        ));
    }
    Ok(current)
}
