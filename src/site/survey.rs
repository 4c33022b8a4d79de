//! What a visitor of all there is would meet, looked for beforehand.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::find::Site;
use super::root::{EntryDescriptor, Symlink};
use super::search::{LookupError, SearchOutcome, is_not_found, probe_of};
use super::trace::ProbeResult;
use crate::http::{PATH_CHARACTERS, Target, percent_encode};

/// Something that a visitor would meet, or never could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SurveyFinding {
    /// A file or folder that cannot be opened or read, and why: 403, or 503.
    Unreadable(Vec<u8>, String),
    /// A file or folder behind a symbolic link that leads where none may; and that link: 403.
    OutsideRoot(Vec<u8>, Option<Symlink>),
    /// A file beside another that is not taken for it, with a coding, and why.
    RejectedSidecar(Vec<u8>, &'static str),
    /// A symbolic link that leads to nothing, and where it says that it leads: 404.
    DanglingSymlink(Vec<u8>, PathBuf),
    /// A file or folder that no address names, and why: a request for it would be refused.
    Unrequestable(Vec<u8>, &'static str),
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SurveyCounts {
    /// Files that are served, and files beside them among these.
    pub files: u64,
    /// Folders, and the root among these.
    pub dirs: u64,
    /// Files that are taken for others, with a coding.
    pub sidecars: u64,
    /// Names that are not shown, and are not looked behind.
    pub hidden: u64,
}

/// A survey that is under way.
struct SurveyWalk<'a> {
    site: &'a Site,
    now: SystemTime,
    counts: SurveyCounts,
    /// Folders that are still to be looked through; those behind links last, as most have another name.
    dirs: Vec<Vec<u8>>,
    linked_dirs: Vec<Vec<u8>>,
    /// Those that have been, by device and inode.
    visited: HashSet<(u64, u64)>,
    report: &'a mut dyn FnMut(SurveyFinding),
}

impl Site {
    /// Looks at everything as if it were asked for, folder by folder, each once, and tells what it sees. It takes as
    /// long as opening all files.
    pub fn survey(&self, now: SystemTime, see: &mut dyn FnMut(SurveyFinding)) -> SurveyCounts {
        let mut walk = SurveyWalk {
            site: self,
            now,
            counts: SurveyCounts::default(),
            dirs: vec![Vec::new()],
            linked_dirs: Vec::new(),
            visited: HashSet::new(),
            report: see,
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
        // So that what is said comes in an order.
        entries.sort_unstable();
        for (name, is_dir) in entries {
            let path = dir.child_path(&name);
            if self.site.hidden_reason(&path).is_some() {
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
                    // (Otherwise it has just gone.)
                    if let Some(link) = root.symlinks_on(&path).pop() {
                        (self.report)(SurveyFinding::DanglingSymlink(path, link.target));
                    }
                }
                Err(error) => self.report_error(&path, error),
            },
        }
    }

    /// A file, found as a request would find it.
    fn visit_file(&mut self, path: &[u8]) {
        match self.site.new_search(self.now).find_file(path) {
            Ok(SearchOutcome::File(found)) => {
                self.counts.files += 1;
                self.counts.sidecars += found.sidecars.len() as u64;
                for (sidecar, why) in found.rejected {
                    (self.report)(SurveyFinding::RejectedSidecar(sidecar, why));
                }
            }
            // It has just gone.
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

/// Why no address names this path, if none does.
fn unrequestable_reason(path: &[u8]) -> Option<&'static str> {
    let mut url_path = String::from("/");
    percent_encode(path, PATH_CHARACTERS, &mut url_path);
    let malformed = Target::parse(&url_path, None).err()?;
    Some(malformed.reason())
}
