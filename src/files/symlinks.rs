//! Symbolic links on a path, and the path without them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Maximum symbolic links in one path, as in path_resolution(7). Further links are treated as plain names.
const MAX_SYMLINKS: usize = 40;

/// Symbolic link and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// Path below the root.
    pub path: PathBuf,
    /// Target, as the link states it.
    pub target: PathBuf,
}

/// Resolved path, and the steps that led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedPath {
    /// Directories and symbolic links from `/` on, each link after the directory that it is in.
    pub(crate) steps: Vec<PathStep>,
    /// Path without symbolic links. It may not exist.
    pub(crate) real_path: PathBuf,
}

/// One step of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// A directory or, at the end, a file; or a name that does not exist.
    Plain(PathBuf),
    /// A symbolic link, and its target as written.
    Symlink(PathBuf, PathBuf),
}

/// Returns the symbolic links on a path below a directory, in order.
pub(super) fn symlinks_below<'a>(
    dir: &Path,
    path: &'a [u8],
) -> impl Iterator<Item = Symlink> + use<'a> {
    let (mut full, path) = (dir.to_owned(), Path::new(OsStr::from_bytes(path)));
    let link = move |(depth, name)| {
        full.push(name);
        match full.read_link() {
            Ok(target) => {
                let path = path.iter().take(depth + 1).collect();
                Some(Some(Symlink { path, target }))
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Some(None),
            // The rest of the path does not exist, or cannot be reached.
            Err(_) => None,
        }
    };
    path.iter().enumerate().map_while(link).flatten()
}

/// Returns the real paths of a file: its name in the directory in which it was named, and, if that is a symbolic link,
/// the path where it leads; both without other links.
pub(crate) fn resolved_paths(file: &Path) -> impl Iterator<Item = PathBuf> {
    let dir = match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Some(Path::new(".")),
        dir => dir,
    };
    let dir = dir.and_then(|dir| dir.canonicalize().ok());
    let named = dir.zip(file.file_name()).map(|(dir, name)| dir.join(name));
    let real = file.canonicalize().ok();
    named.into_iter().chain(real)
}

/// Returns the target of a symbolic link in the file system; `None` if the path is not one.
pub(crate) fn read_link(path: &Path) -> Option<PathBuf> {
    path.read_link().ok()
}

/// Resolves an absolute path. `link` returns the target of a symbolic link, and `None` for anything else.
pub(crate) fn resolve(path: &Path, link: impl Fn(&Path) -> Option<PathBuf>) -> ResolvedPath {
    let mut resolved = ResolvedPath::default();
    let mut links = 0;
    let names = |path: &Path| -> Vec<PathBuf> {
        let names = path.components().rev();
        names.map(|name| PathBuf::from(name.as_os_str())).collect()
    };
    let mut left = names(path);
    while let Some(name) = left.pop() {
        if name == Path::new("..") {
            resolved.real_path.pop();
            continue;
        }
        let next = resolved.real_path.join(&name);
        match link(&next) {
            Some(target) if links < MAX_SYMLINKS => {
                links += 1;
                left.extend(names(&target));
                resolved.steps.push(PathStep::Symlink(next, target));
            }
            _ => {
                resolved.steps.push(PathStep::Plain(next.clone()));
                resolved.real_path = next;
            }
        }
    }
    resolved
}

impl ResolvedPath {
    /// Returns the resolved target of the last symbolic link. The rest of the path is below it.
    pub(crate) fn last_link_target(&self) -> Option<PathBuf> {
        let last = self.steps.iter().rev().find_map(|step| match step {
            PathStep::Symlink(link, target) => Some(link.parent()?.join(target)),
            PathStep::Plain(_) => None,
        });
        // There are no links after the last one.
        last.map(|target| resolve(&target, |_| None).real_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(path: &Path) -> Option<PathBuf> {
        let target = match path.to_str()? {
            "/srv/current" => "releases/42",
            "/srv/www" => "../srv/./current/public",
            "/srv/up" => "current/..",
            "/loop" => "/loop",
            _ => return None,
        };
        Some(target.into())
    }

    fn check(path: &str, real_path: &str, target: Option<&str>) {
        let resolved = resolve(Path::new(path), link);
        assert_eq!(resolved.real_path, Path::new(real_path), "{path}");
        assert_eq!(
            resolved.last_link_target().as_deref(),
            target.map(Path::new),
            "{path}"
        );
    }

    #[test]
    fn symlinks_are_followed_in_order() {
        check("/", "/", None);
        check("/srv/releases/42", "/srv/releases/42", None);
        check("/srv/../etc", "/etc", None);
        check("/../etc", "/etc", None);
        let release = "/srv/releases/42";
        check("/srv/current", release, Some(release));
        check("/srv/current/..", "/srv/releases", Some(release));
        check("/srv/current/a/b", "/srv/releases/42/a/b", Some(release));
        check("/srv/www", "/srv/releases/42/public", Some(release));
        check("/srv/up/43", "/srv/releases/43", Some(release));
        check("/loop", "/loop", Some("/loop"));
    }

    #[test]
    fn each_component_is_a_step() {
        let plain = |path: &str| PathStep::Plain(path.into());
        let steps = resolve(Path::new("/srv/current/a"), link).steps;
        let expected = [
            plain("/"),
            plain("/srv"),
            PathStep::Symlink("/srv/current".into(), "releases/42".into()),
            plain("/srv/releases"),
            plain("/srv/releases/42"),
            plain("/srv/releases/42/a"),
        ];
        assert_eq!(steps, expected);
    }
}
