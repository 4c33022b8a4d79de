//! `docroot --check`: what would be served, and what a visitor would meet who asks for all of it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use docroot::sandbox::Confinement;
use docroot::site::{Freshness, Link, Reading, Remark, Site};

use crate::config::Config;
use crate::text::shown;

/// How many of each kind are named.
const NAMED: usize = 100;

/// What was found, for a person to read.
pub(crate) struct Report {
    pub(crate) text: String,
    /// How many things a visitor would meet.
    pub(crate) wrong: usize,
}

/// Things of one kind.
struct Kind {
    /// What each of them is, and all of them are.
    title: [&'static str; 2],
    is_wrong: bool,
    count: usize,
    named: Vec<String>,
}

/// The kinds, in the order in which they are told.
#[derive(Clone, Copy)]
enum What {
    Rules,
    Unreadable,
    LeadsOut,
    Refused,
    Dangling,
    Unnameable,
}

/// Looks at all of a site, whose policy is this.
pub(crate) fn check(
    config: &Config,
    site: &Site,
    reading: &Reading,
    confinement: &Confinement,
) -> Report {
    let kind = |is_wrong, title| Kind {
        title,
        is_wrong,
        count: 0,
        named: Vec::new(),
    };
    // As `What` has them.
    let mut kinds = [
        kind(
            true,
            ["line of rules is left out", "lines of rules are left out"],
        ),
        kind(
            true,
            [
                "file or folder cannot be read",
                "files or folders cannot be read",
            ],
        ),
        kind(
            true,
            ["link leads where none may", "links lead where none may"],
        ),
        kind(
            true,
            [
                "file is not used for the one that it stands beside",
                "files are not used for those that they stand beside",
            ],
        ),
        kind(false, ["link leads to nothing", "links lead to nothing"]),
        kind(
            false,
            ["name cannot be asked for", "names cannot be asked for"],
        ),
    ];
    let mut add = |what: What, line: String| {
        if let Some(kind) = kinds.get_mut(what as usize) {
            kind.count += 1;
            if kind.named.len() < NAMED {
                kind.named.push(line);
            }
        }
    };
    for left_out in &reading.left_out {
        add(What::Rules, shown(left_out.as_bytes()));
    }
    let survey = site.survey(SystemTime::now(), &mut |remark| match remark {
        Remark::Unreadable(path, why) => {
            add(What::Unreadable, format!("/{}: {why}", shown(&path)));
        }
        Remark::LeadsOut(path, link) => add(What::LeadsOut, led(&path, link)),
        Remark::Refused(path, why) => add(What::Refused, format!("/{}: {why}", shown(&path))),
        Remark::Dangling(path, target) => {
            let target = shown(target.as_os_str().as_encoded_bytes());
            add(What::Dangling, format!("/{} -> {target}", shown(&path)));
        }
        Remark::Unnameable(path, why) => {
            add(What::Unnameable, format!("/{}: {why}", shown(&path)));
        }
    });

    let mut text = served(config, site, reading, confinement);
    // Writing to a String does not fail.
    let _ = writeln!(
        text,
        "{:<8} {} in {}; {} used for others, with a coding; {} not shown",
        "files",
        counted(survey.files, "file"),
        counted(survey.folders, "folder"),
        survey.siblings,
        counted(survey.withheld, "name"),
    );
    for kind in &kinds {
        kind.tell(&mut text);
    }
    let count = |is_wrong| {
        let kinds = kinds.iter().filter(|kind| kind.is_wrong == is_wrong);
        kinds.map(|kind| kind.count).sum()
    };
    let (wrong, remarks): (usize, usize) = (count(true), count(false));
    let _ = match (wrong, remarks) {
        (0, 0) => writeln!(text, "\nall of it can be served"),
        (0, _) => writeln!(
            text,
            "\nall of it can be served, but for what no visitor would find"
        ),
        (_, _) => writeln!(text, "\n{} wrong", counted(wrong as u64, "thing")),
    };
    Report { text, wrong }
}

impl Kind {
    fn tell(&self, text: &mut String) {
        let [one, several] = self.title;
        let title = match self.count {
            0 => return,
            1 => one,
            _ => several,
        };
        let weight = if self.is_wrong { "wrong" } else { "remark" };
        let _ = writeln!(text, "\n{weight}: {} {title}", self.count);
        for line in &self.named {
            let _ = writeln!(text, "  {line}");
        }
        let others = self.count - self.named.len();
        if others > 0 {
            let _ = writeln!(text, "  and {others} more");
        }
    }
}

/// How a change of a file is noticed.
pub(crate) fn noticed(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Told => "inotify",
        Freshness::Looked => "stat",
        Freshness::Read => "read",
    }
}

/// What would be served.
fn served(config: &Config, site: &Site, reading: &Reading, confinement: &Confinement) -> String {
    let options = &config.server.site;
    let mut text = format!("root     {}\n", config.server.root.display());
    let mut say = |name: &str, page: &str| {
        let found = match site.has(page) {
            Ok(()) => "found".to_owned(),
            Err(error) => format!("not to be had: {error}"),
        };
        let _ = writeln!(text, "{name:<8} {page} ({found})");
    };
    for index in &options.index {
        say("index", index);
    }
    say("404", &options.not_found);
    if let Some(shell) = &options.shell {
        say("spa", shell);
    }
    for file in reading.headers.iter().chain(&reading.redirects) {
        let _ = writeln!(text, "{:<8} {}", "rules", file.display());
    }
    if let Some(users) = &config.server.users {
        let _ = writeln!(text, "{:<8} {} with a password", "users", users.len());
    }
    let _ = writeln!(text, "{:<8} {}", "workers", config.server.workers);
    let _ = writeln!(text, "{:<8} {}", "changes", noticed(site.freshness()));
    let _ = writeln!(text, "{:<8} {confinement}", "sandbox");
    text
}

fn led(path: &[u8], link: Option<Link>) -> String {
    match link {
        Some(link) => {
            let shown = |path: &Path| shown(path.as_os_str().as_encoded_bytes());
            format!("/{} -> {}", shown(&link.path), shown(&link.target))
        }
        None => format!("/{}", shown(path)),
    }
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}
