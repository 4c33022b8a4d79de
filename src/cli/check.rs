//! `docroot --check`: a report of what would be served, and of the problems that requests would meet.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use docroot::escape::TerminalText;
use docroot::files::Root;
use docroot::server::sandbox::{self, Confinement};
use docroot::site::{Freshness, LoadedPolicy, RootFault, Site, SurveyFinding};

use super::confinement::describe_confinement;
use super::exit_codes::Failure;
use super::options::Config;
use super::output::{describe_symlink, print};
use super::site::open_site_for_report;

/// Maximum number of problems of one kind that are listed.
const MAX_NAMED_PER_KIND: usize = 100;

/// Report of a check.
struct CheckReport {
    /// Report as text.
    text: String,
    /// Number of problems that requests would meet.
    problems: usize,
}

/// Problems of one kind.
struct ProblemGroup {
    /// Title for one problem, and for several.
    title: [&'static str; 2],
    /// Whether it is a problem, not just a remark.
    is_problem: bool,
    count: usize,
    lines: Vec<String>,
}

/// Kinds of problems, in the order of the report.
#[derive(Clone, Copy)]
enum ProblemKind {
    Rules,
    Unreadable,
    OutsideRoot,
    RejectedSidecar,
    DanglingSymlink,
    Unrequestable,
    NoIndex,
    EmptyRoot,
}

/// Opens the site of this root, and prints the report.
pub(crate) fn run(root: Root, config: Config) -> Result<(), Failure> {
    let (site, loaded) = open_site_for_report(root, &config, None)?;
    let confinement = sandbox::try_confine(config.sandbox, &config.requirements)?;
    let report = check(&config, &site, &loaded, &confinement);
    print(&report.text)?;
    match report.problems {
        0 => Ok(()),
        1 => Err(Failure::at_run_time("1 problem, named above")),
        count => Err(Failure::at_run_time(format!(
            "{count} problems, named above"
        ))),
    }
}

/// Checks all files of a site, with these path rules.
fn check(
    config: &Config,
    site: &Site,
    policy: &LoadedPolicy,
    confinement: &Confinement,
) -> CheckReport {
    let group = |is_problem, title| ProblemGroup {
        title,
        is_problem,
        count: 0,
        lines: Vec::new(),
    };
    // In the order of `ProblemKind`.
    let mut groups = [
        group(
            true,
            ["line of rules is ignored", "lines of rules are ignored"],
        ),
        group(
            true,
            [
                "file or directory cannot be read",
                "files or directories cannot be read",
            ],
        ),
        group(
            true,
            [
                "symbolic link leads outside the root (see --symlinks)",
                "symbolic links lead outside the root (see --symlinks)",
            ],
        ),
        group(true, ["sidecar is not used", "sidecars are not used"]),
        group(
            false,
            [
                "symbolic link leads to nothing",
                "symbolic links lead to nothing",
            ],
        ),
        group(
            false,
            [
                "name cannot be requested by any URL",
                "names cannot be requested by any URL",
            ],
        ),
        group(false, ["request gets 404: /"; 2]),
        group(false, ["root is empty: every request gets 404"; 2]),
    ];
    let mut add = |problem_kind: ProblemKind, line: String| {
        if let Some(group) = groups.get_mut(problem_kind as usize) {
            group.count += 1;
            if group.lines.len() < MAX_NAMED_PER_KIND {
                group.lines.push(line);
            }
        }
    };
    for warning in &policy.warnings {
        add(
            ProblemKind::Rules,
            TerminalText(warning.as_bytes()).to_string(),
        );
    }
    let survey = site.survey(SystemTime::now(), &mut |finding| match finding {
        SurveyFinding::Unreadable(path, why) => {
            add(
                ProblemKind::Unreadable,
                format!("/{}: {why}", TerminalText(&path)),
            );
        }
        SurveyFinding::OutsideRoot(path, link) => {
            let line = match link {
                Some(link) => describe_symlink(&link),
                None => format!("/{}", TerminalText(&path)),
            };
            add(ProblemKind::OutsideRoot, line);
        }
        SurveyFinding::RejectedSidecar(path, why) => add(
            ProblemKind::RejectedSidecar,
            format!("/{}: {why}", TerminalText(&path)),
        ),
        SurveyFinding::DanglingSymlink(path, target) => {
            let target = TerminalText(target.as_os_str().as_encoded_bytes());
            add(
                ProblemKind::DanglingSymlink,
                format!("/{} -> {target}", TerminalText(&path)),
            );
        }
        SurveyFinding::Unrequestable(path, why) => {
            add(
                ProblemKind::Unrequestable,
                format!("/{}: {why}", TerminalText(&path)),
            );
        }
    });

    if let Some(fault) = site.root_fault() {
        let kind = match fault {
            RootFault::Empty => ProblemKind::EmptyRoot,
            RootFault::NoIndex => ProblemKind::NoIndex,
        };
        let line = describe_root_fault(&config.server.root, fault);
        add(kind, TerminalText(line.as_bytes()).to_string());
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
    for group in &groups {
        group.write_to(&mut text);
    }
    let count = |is_problem| {
        let groups = groups.iter().filter(|group| group.is_problem == is_problem);
        groups.map(|group| group.count).sum()
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
        let [singular, plural] = self.title;
        let title = match self.count {
            0 => return,
            1 => singular,
            _ => plural,
        };
        let label = if self.is_problem { "problem" } else { "remark" };
        let _ = writeln!(text, "\n{label}: {} {title}", self.count);
        for line in &self.lines {
            let _ = writeln!(text, "  {line}");
        }
        let unlisted = self.count - self.lines.len();
        if unlisted > 0 {
            let _ = writeln!(text, "  and {unlisted} more");
        }
    }
}

/// Returns the mechanism that detects changed files, as one word.
pub(crate) fn change_detection(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Inotify => "inotify",
        Freshness::Stat => "stat",
        Freshness::Uncached => "read",
    }
}

/// Returns the lines about the options: root, pages, rules files, users, workers, sandbox.
fn describe_site(
    config: &Config,
    site: &Site,
    policy: &LoadedPolicy,
    confinement: &Confinement,
) -> String {
    let options = &config.server.site;
    let mut text = format!("root     {}\n", config.server.root.display());
    let mut add_page = |name: &str, page: &str| {
        let found = match site.check_file(page) {
            Ok(()) => "found".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "not present".to_owned(),
            Err(error) => format!("cannot be served: {error}"),
        };
        let _ = writeln!(text, "{name:<8} {page} ({found})");
    };
    for index in &options.index {
        add_page("index", index);
    }
    add_page("404", &options.not_found);
    if let Some(page) = &options.spa_fallback {
        add_page("spa", page);
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
    let confinement = describe_confinement(confinement);
    let _ = writeln!(text, "{:<8} {confinement}", "sandbox");
    text
}

fn with_unit(count: u64, singular: &str, plural: &str) -> String {
    match count {
        1 => format!("1 {singular}"),
        _ => format!("{count} {plural}"),
    }
}

/// Returns one line about a root whose / gets 404, if it does.
pub(crate) fn root_fault(root: &Path, site: &Site) -> Option<String> {
    Some(describe_root_fault(root, site.root_fault()?))
}

fn describe_root_fault(root: &Path, fault: RootFault) -> String {
    let root = root.display();
    match fault {
        RootFault::Empty => format!(
            "{root} is empty, so every request gets 404: check the path (in a container, the mount of the volume)"
        ),
        RootFault::NoIndex => format!(
            "{root} has no index file, so / gets 404: --listing lists directories, --index names another index file"
        ),
    }
}
