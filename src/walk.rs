//! The way on which a name leads somewhere, by symbolic links.

use std::path::{Path, PathBuf};

/// How many links one way may have, as in path_resolution(7). What comes then is taken for no link.
const LINKS: usize = 40;

/// Where a name leads, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Everything on the way from `/`: folders, and symbolic links, each after the folder that it is in.
    pub(crate) steps: Vec<Step>,
    /// Where it leads: a path without symbolic links, whether there is something or not.
    pub(crate) end: PathBuf,
}

/// One step of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A folder or, at the end, a file; or a name that is nobody's.
    Plain(PathBuf),
    /// A symbolic link, and what it says.
    Link(PathBuf, PathBuf),
}

/// What the file system's symbolic link of this name says.
pub(crate) fn link(path: &Path) -> Option<PathBuf> {
    path.read_link().ok()
}

/// Walks where an absolute path leads. `link` says what a symbolic link says; `None` is no link.
pub(crate) fn walk(path: &Path, link: impl Fn(&Path) -> Option<PathBuf>) -> Walk {
    let mut walk = Walk::default();
    let mut links = 0;
    let names = |path: &Path| -> Vec<PathBuf> {
        let names = path.components().rev();
        names.map(|name| PathBuf::from(name.as_os_str())).collect()
    };
    let mut left = names(path);
    while let Some(name) = left.pop() {
        if name == Path::new("..") {
            walk.end.pop();
            continue;
        }
        let next = walk.end.join(&name);
        match link(&next) {
            Some(target) if links < LINKS => {
                links += 1;
                left.extend(names(&target));
                walk.steps.push(Step::Link(next, target));
            }
            _ => {
                walk.steps.push(Step::Plain(next.clone()));
                walk.end = next;
            }
        }
    }
    walk
}

impl Walk {
    /// Where the last link on the way leads; what comes behind it in the name is below that.
    pub(crate) fn last_goal(&self) -> Option<PathBuf> {
        let last = self.steps.iter().rev().find_map(|step| match step {
            Step::Link(link, target) => Some(link.parent()?.join(target)),
            Step::Plain(_) => None,
        });
        // No link comes after it.
        last.map(|goal| walk(&goal, |_| None).end)
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
        let walk = walk(Path::new(path), says);
        assert_eq!(walk.end, Path::new(end), "{path}");
        assert_eq!(walk.last_goal().as_deref(), goal.map(Path::new), "{path}");
    }

    #[test]
    fn links_are_followed_in_order() {
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
    fn everything_on_the_way_is_a_step() {
        let plain = |path: &str| Step::Plain(path.into());
        let steps = walk(Path::new("/srv/current/a"), says).steps;
        let expected = [
            plain("/"),
            plain("/srv"),
            Step::Link("/srv/current".into(), "releases/42".into()),
            plain("/srv/releases"),
            plain("/srv/releases/42"),
            plain("/srv/releases/42/a"),
        ];
        assert_eq!(steps, expected);
    }
}
