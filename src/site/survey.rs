//! A survey of the root: opens every file as a request would, and reports what cannot be served.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::report::absence::hidden_reason;
use super::report::trace::ProbeResult;
use super::resolve::search::{LookupError, Search, SearchOutcome, probe_of};
use super::site::Site;
use crate::files::Symlink;
use crate::files::entry::EntryDescriptor;
use crate::files::error::is_not_found;
use crate::http::{PATH_CHARACTERS, Target, percent_encode};

/// Path that is not served, or not as its owner may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SurveyFinding {
    /// File or directory that cannot be opened or read, and the error: 403, or 503.
    Unreadable(Vec<u8>, String),
    /// File or directory behind a symbolic link to a place that is not allowed, and that link: 403.
    OutsideRoot(Vec<u8>, Option<Symlink>),
    /// Sidecar that is not served, and the reason.
    RejectedSidecar(Vec<u8>, &'static str),
    /// Dangling symbolic link, and its target: 404.
    DanglingSymlink(Vec<u8>, PathBuf),
    /// File or directory that no request target can name, and the reason: a request for it is answered 400.
    Unrequestable(Vec<u8>, &'static str),
}

/// Numbers of files and directories that a survey has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SurveyCounts {
    /// Files that are served, including sidecars.
    pub files: u64,
    /// Directories, including the root.
    pub dirs: u64,
    /// Sidecars that are served for their files.
    pub sidecars: u64,
    /// Hidden entries. Hidden directories are not entered.
    pub hidden: u64,
}

/// Survey in progress.
struct SurveyWalk<'a> {
    site: &'a Site,
    now: SystemTime,
    counts: SurveyCounts,
    /// Directories that are still to be read. Those behind symbolic links come last, as most have another path.
    dirs: Vec<Vec<u8>>,
    linked_dirs: Vec<Vec<u8>>,
    /// Directories that have been read, by device and inode.
    visited: HashSet<(u64, u64)>,
    report: &'a mut dyn FnMut(SurveyFinding),
}

impl Site {
    /// Opens every file as a request would, each directory once, and reports its findings. It takes as long as opening
    /// all files.
    pub fn survey(&self, now: SystemTime, report: &mut dyn FnMut(SurveyFinding)) -> SurveyCounts {
        let mut walk = SurveyWalk {
            site: self,
            now,
            counts: SurveyCounts::default(),
            dirs: vec![Vec::new()],
            linked_dirs: Vec::new(),
            visited: HashSet::new(),
            report,
        };
        while let Some(path) = walk.dirs.pop().or_else(|| walk.linked_dirs.pop()) {
            if let Err(error) = walk.visit_dir(&path) {
                walk.report_error(&path, error);
            }
        }
        walk.counts
    }
}

impl SurveyWalk<'_> {
    fn visit_dir(&mut self, path: &[u8]) -> io::Result<()> {
        let mut dir = self.site.root().read_dir(path)?;
        if !self.visited.insert(dir.id()?) {
            return Ok(());
        }
        self.counts.dirs += 1;
        let mut entries = Vec::new();
        let mut add_entry = |name: &[u8], is_dir| entries.push((name.to_vec(), is_dir));
        while dir.read_entries(&mut add_entry)? {}
        // Findings are reported in a fixed order.
        entries.sort_unstable();
        for (name, is_dir) in entries {
            let path = dir.child_path(&name);
            if hidden_reason(&path, self.site.options(), self.site.policy()).is_some() {
                self.counts.hidden += 1;
            } else if let Some(why) = unrequestable_reason(&path) {
                (self.report)(SurveyFinding::Unrequestable(path, why));
            } else {
                self.visit_entry(path, is_dir);
            }
        }
        Ok(())
    }

    fn visit_entry(&mut self, path: Vec<u8>, is_dir: Option<bool>) {
        let root = self.site.root();
        match is_dir {
            Some(true) => self.dirs.push(path),
            Some(false) => self.visit_file(&path),
            None => match root.open_descriptor(&path) {
                Ok(EntryDescriptor::File(..)) => self.visit_file(&path),
                Ok(EntryDescriptor::Directory) if root.is_symlink(&path) => {
                    self.linked_dirs.push(path);
                }
                Ok(EntryDescriptor::Directory) => self.dirs.push(path),
                Ok(EntryDescriptor::Special) => {}
                Err(error) if is_not_found(&error) => {
                    // (Otherwise it has just been removed.)
                    if let Some(link) = root.symlinks_on(&path).pop() {
                        (self.report)(SurveyFinding::DanglingSymlink(path, link.target));
                    }
                }
                Err(error) => self.report_error(&path, error),
            },
        }
    }

    /// Looks a file up as a request would.
    fn visit_file(&mut self, path: &[u8]) {
        match Search::new(self.site.context(self.now)).find_file(path) {
            Ok(SearchOutcome::File(found)) => {
                self.counts.files += 1;
                self.counts.sidecars += found.sidecars.len() as u64;
                for (sidecar, why) in found.rejected {
                    (self.report)(SurveyFinding::RejectedSidecar(sidecar, why));
                }
            }
            // It has just been removed or replaced.
            Ok(SearchOutcome::Directory | SearchOutcome::Missing) => {}
            Err(LookupError { path, error }) => self.report_error(&path, error),
        }
    }

    fn report_error(&mut self, path: &[u8], error: io::Error) {
        match probe_of(self.site.root(), path, &Err(error)) {
            ProbeResult::OutsideRoot(link) => {
                (self.report)(SurveyFinding::OutsideRoot(path.to_vec(), link));
            }
            ProbeResult::Failed(why) => {
                (self.report)(SurveyFinding::Unreadable(path.to_vec(), why));
            }
            ProbeResult::File
            | ProbeResult::Directory
            | ProbeResult::Special
            | ProbeResult::Missing => {}
        }
    }
}

/// Returns the reason why no request target can name this path, or `None`.
fn unrequestable_reason(path: &[u8]) -> Option<&'static str> {
    let mut url_path = String::from("/");
    percent_encode(path, PATH_CHARACTERS, &mut url_path);
    let malformed = Target::parse(&url_path, None).err()?;
    Some(malformed.reason())
}
