//! `docroot --check`: what would be served, and every problem that a request for any of it would meet.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use docroot::sandbox::Confinement;
use docroot::site::{Freshness, LoadedPolicy, RootFault, Site, SurveyFinding, Symlink};

use crate::config::Config;
use crate::text::shown;

/// How many of each kind are named.
const MAX_NAMED_PER_KIND: usize = 100;

/// What was found, for a person to read.
pub(crate) struct CheckReport {
    pub(crate) text: String,
    /// How many things a visitor would meet.
    pub(crate) problems: usize,
}

/// Things of one kind.
struct ProblemGroup {
    /// What each of them is, and all of them are.
    title: [&'static str; 2],
    is_problem: bool,
    count: usize,
    lines: Vec<String>,
}

/// The kinds, in the order in which they are told.
#[derive(Clone, Copy)]
enum ProblemKind {
    Rules,
    Unreadable,
    OutsideRoot,
    RejectedSidecar,
    DanglingSymlink,
    Unrequestable,
    NoIndex,
}

/// Looks at all of a site, whose policy is this.
pub(crate) fn check(
    config: &Config,
    site: &Site,
    policy: &LoadedPolicy,
    confinement: &Confinement,
) -> CheckReport {
    let kind = |is_wrong, title| ProblemGroup {
        title,
        is_problem: is_wrong,
        count: 0,
        lines: Vec::new(),
    };
    // As `ProblemKind` has them.
    let mut kinds = [
        kind(
            true,
            ["line of rules is ignored", "lines of rules are ignored"],
        ),
        kind(
            true,
            [
                "file or directory cannot be read",
                "files or directories cannot be read",
            ],
        ),
        kind(
            true,
            [
                "symbolic link leads outside the root (see --symlinks)",
                "symbolic links lead outside the root (see --symlinks)",
            ],
        ),
        kind(true, ["sidecar is not used", "sidecars are not used"]),
        kind(
            false,
            [
                "symbolic link leads to nothing",
                "symbolic links lead to nothing",
            ],
        ),
        kind(
            false,
            [
                "name cannot be requested by any URL",
                "names cannot be requested by any URL",
            ],
        ),
        kind(false, ["request gets 404: /"; 2]),
    ];
    let mut add = |problem_kind: ProblemKind, line: String| {
        if let Some(kind) = kinds.get_mut(problem_kind as usize) {
            kind.count += 1;
            if kind.lines.len() < MAX_NAMED_PER_KIND {
                kind.lines.push(line);
            }
        }
    };
    for left_out in &policy.warnings {
        add(ProblemKind::Rules, shown(left_out.as_bytes()));
    }
    let survey = site.survey(SystemTime::now(), &mut |remark| match remark {
        SurveyFinding::Unreadable(path, why) => {
            add(ProblemKind::Unreadable, format!("/{}: {why}", shown(&path)));
        }
        SurveyFinding::OutsideRoot(path, link) => {
            add(ProblemKind::OutsideRoot, describe_symlink(&path, link));
        }
        SurveyFinding::RejectedSidecar(path, why) => add(
            ProblemKind::RejectedSidecar,
            format!("/{}: {why}", shown(&path)),
        ),
        SurveyFinding::DanglingSymlink(path, target) => {
            let target = shown(target.as_os_str().as_encoded_bytes());
            add(
                ProblemKind::DanglingSymlink,
                format!("/{} -> {target}", shown(&path)),
            );
        }
        SurveyFinding::Unrequestable(path, why) => {
            add(
                ProblemKind::Unrequestable,
                format!("/{}: {why}", shown(&path)),
            );
        }
    });

    if let Some(fault) = root_fault(&config.server.root, site) {
        add(ProblemKind::NoIndex, shown(fault.as_bytes()));
    }

    let mut text = describe_site(config, site, policy, confinement);
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{:<8} {} in {}; {}; {} not served",
        "files",
        with_unit(survey.files, "file", "files"),
        with_unit(survey.dirs, "directory", "directories"),
        with_unit(survey.sidecars, "sidecar", "sidecars"),
        with_unit(survey.hidden, "name", "names"),
    );
    for kind in &kinds {
        kind.write_to(&mut text);
    }
    let count = |is_wrong| {
        let kinds = kinds.iter().filter(|kind| kind.is_problem == is_wrong);
        kinds.map(|kind| kind.count).sum()
    };
    let (problems, remarks): (usize, usize) = (count(true), count(false));
    let _ = match (problems, remarks) {
        (0, 0) => writeln!(text, "\nno problems"),
        (0, count) => writeln!(
            text,
            "\nno problems, {}",
            with_unit(count as u64, "remark", "remarks")
        ),
        (count, _) => writeln!(text, "\n{}", with_unit(count as u64, "problem", "problems")),
    };
    CheckReport { text, problems }
}

impl ProblemGroup {
    fn write_to(&self, text: &mut String) {
        let [one, several] = self.title;
        let title = match self.count {
            0 => return,
            1 => one,
            _ => several,
        };
        let weight = if self.is_problem { "problem" } else { "remark" };
        let _ = writeln!(text, "\n{weight}: {} {title}", self.count);
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        let others = self.count - self.lines.len();
        if others > 0 {
            let _ = writeln!(text, "  and {others} more");
        }
    }
}

/// How a change of a file is noticed.
pub(crate) fn change_detection(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Inotify => "inotify",
        Freshness::Stat => "stat",
        Freshness::Uncached => "read",
    }
}

/// Returns the lines about what would be served.
fn describe_site(
    config: &Config,
    site: &Site,
    policy: &LoadedPolicy,
    confinement: &Confinement,
) -> String {
    let options = &config.server.site;
    let mut text = format!("root     {}\n", config.server.root.display());
    let mut say = |name: &str, page: &str| {
        let found = match site.check_file(page) {
            Ok(()) => "found".to_owned(),
            Err(error) => format!("missing: {error}"),
        };
        let _ = writeln!(text, "{name:<8} {page} ({found})");
    };
    for index in &options.index {
        say("index", index);
    }
    say("404", &options.not_found);
    if let Some(shell) = &options.spa_fallback {
        say("spa", shell);
    }
    for file in policy.headers.iter().chain(&policy.redirects) {
        let _ = writeln!(text, "{:<8} {}", "rules", file.display());
    }
    if let Some(users) = &config.server.users {
        let _ = writeln!(text, "{:<8} {}", "users", users.len());
    }
    let _ = writeln!(text, "{:<8} {}", "workers", config.server.workers);
    let _ = writeln!(
        text,
        "{:<8} {}",
        "changes",
        change_detection(site.freshness())
    );
    let _ = writeln!(text, "{:<8} {confinement}", "sandbox");
    text
}

fn describe_symlink(path: &[u8], link: Option<Symlink>) -> String {
    match link {
        Some(link) => {
            let shown = |path: &Path| shown(path.as_os_str().as_encoded_bytes());
            format!("/{} -> {}", shown(&link.path), shown(&link.target))
        }
        None => format!("/{}", shown(path)),
    }
}

fn with_unit(count: u64, one: &str, several: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {several}"),
    }
}

/// Returns one line about a root whose / gets 404, if it does.
pub(crate) fn root_fault(root: &Path, site: &Site) -> Option<String> {
    let root = root.display();
    Some(match site.root_fault()? {
        RootFault::Empty => format!(
            "{root} is empty, so every request gets 404: check the path (in a container, the mount of the volume)"
        ),
        RootFault::NoIndex => format!(
            "{root} has no index file, so / gets 404: --listing lists directories, --index names another index file"
        ),
    })
}
