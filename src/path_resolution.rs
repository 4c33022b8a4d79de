//! The way on which a name leads somewhere, by symbolic links.

use std::path::{Path, PathBuf};

/// How many links one way may have, as in path_resolution(7). What comes then is taken for no link.
const MAX_SYMLINKS: usize = 40;

/// Where a name leads, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolvedPath {
    /// Everything on the way from `/`: folders, and symbolic links, each after the folder that it is in.
    pub(crate) steps: Vec<PathStep>,
    /// Where it leads: a path without symbolic links, whether there is something or not.
    pub(crate) real_path: PathBuf,
}

/// One step of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// A folder or, at the end, a file; or a name that is nobody's.
    Plain(PathBuf),
    /// A symbolic link, and what it says.
    Symlink(PathBuf, PathBuf),
}

/// What the file system's symbolic link of this name says.
pub(crate) fn read_link(path: &Path) -> Option<PathBuf> {
    path.read_link().ok()
}

/// Walks where an absolute path leads. `link` says what a symbolic link says; `None` is no link.
pub(crate) fn resolve(path: &Path, link: impl Fn(&Path) -> Option<PathBuf>) -> ResolvedPath {
    let mut walk = ResolvedPath::default();
    let mut links = 0;
    let names = |path: &Path| -> Vec<PathBuf> {
        let names = path.components().rev();
        names.map(|name| PathBuf::from(name.as_os_str())).collect()
    };
    let mut left = names(path);
    while let Some(name) = left.pop() {
        if name == Path::new("..") {
            walk.real_path.pop();
            continue;
        }
        let next = walk.real_path.join(&name);
        match link(&next) {
            Some(target) if links < MAX_SYMLINKS => {
                links += 1;
                left.extend(names(&target));
                walk.steps.push(PathStep::Symlink(next, target));
            }
            _ => {
                walk.steps.push(PathStep::Plain(next.clone()));
                walk.real_path = next;
            }
        }
    }
    walk
}

impl ResolvedPath {
    /// Where the last link on the way leads; what comes behind it in the name is below that.
    pub(crate) fn last_link_target(&self) -> Option<PathBuf> {
        let last = self.steps.iter().rev().find_map(|step| match step {
            PathStep::Symlink(link, target) => Some(link.parent()?.join(target)),
            PathStep::Plain(_) => None,
        });
        // No link comes after it.
        last.map(|goal| resolve(&goal, |_| None).real_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(path: &Path) -> Option<PathBuf> {
        let target = match path.to_str()? {
            "/srv/current" => "releases/42",
            "/srv/www" => "../srv/./current/public",
            "/srv/up" => "current/..",
            "/loop" => "/loop",
            _ => return None,
        };
        Some(target.into())
    }

    fn check(path: &str, end: &str, goal: Option<&str>) {
        let walk = resolve(Path::new(path), says);
        assert_eq!(walk.real_path, Path::new(end), "{path}");
        assert_eq!(
            walk.last_link_target().as_deref(),
            goal.map(Path::new),
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
        let steps = resolve(Path::new("/srv/current/a"), says).steps;
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
