//! What a visitor of all there is would meet, looked for beforehand.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::disk::{Found, Link};
use super::find::Site;
use super::note::Seen;
use super::search::{Failure, Outcome, is_absence, seen};
use crate::http::{PATH, Target, encode};

/// Something that a visitor would meet, or never could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A file or folder that cannot be opened or read, and why: 403, or 503.
    Unreadable(Vec<u8>, String),
    /// A file or folder behind a symbolic link that leads where none may; and that link: 403.
    LeadsOut(Vec<u8>, Option<Link>),
    /// A file beside another that is not taken for it, with a coding, and why.
    Refused(Vec<u8>, &'static str),
    /// A symbolic link that leads to nothing, and where it says that it leads: 404.
    Dangling(Vec<u8>, PathBuf),
    /// A file or folder that no address names, and why: a request for it would be refused.
    Unnameable(Vec<u8>, &'static str),
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files that are served, and files beside them among these.
    pub files: u64,
    /// Folders, and the root among these.
    pub folders: u64,
    /// Files that are taken for others, with a coding.
    pub siblings: u64,
    /// Names that are not shown, and are not looked behind.
    pub withheld: u64,
}

/// A survey that is under way.
struct Walk<'a> {
    site: &'a Site,
    now: SystemTime,
    survey: Survey,
    /// Folders that are still to be looked through; those behind links last, as most have another name.
    folders: Vec<Vec<u8>>,
    linked: Vec<Vec<u8>>,
    /// Those that have been, by device and inode.
    walked: HashSet<(u64, u64)>,
    see: &'a mut dyn FnMut(Remark),
}

impl Site {
    /// Looks at everything as if it were asked for, folder by folder, each once, and tells what it sees. It takes as
    /// long as opening all files.
    pub fn survey(&self, now: SystemTime, see: &mut dyn FnMut(Remark)) -> Survey {
        let mut walk = Walk {
            site: self,
            now,
            survey: Survey::default(),
            folders: vec![Vec::new()],
            linked: Vec::new(),
            walked: HashSet::new(),
            see,
        };
        while let Some(path) = walk.folders.pop().or_else(|| walk.linked.pop()) {
            if let Err(error) = walk.folder(&path) {
                walk.fail(&path, error);
            }
        }
        walk.survey
    }
}

impl Walk<'_> {
    fn folder(&mut self, path: &[u8]) -> io::Result<()> {
        let mut folder = self.site.disk().folder(path)?;
        if !self.walked.insert(folder.identity()?) {
            return Ok(());
        }
        self.survey.folders += 1;
        let mut entries = Vec::new();
        let mut note = |name: &[u8], is_folder| entries.push((name.to_vec(), is_folder));
        while folder.read(&mut note)? {}
        // So that what is said comes in an order.
        entries.sort_unstable();
        for (name, is_folder) in entries {
            let path = folder.join(&name);
            if self.site.withheld(&path).is_some() {
                self.survey.withheld += 1;
            } else if let Some(why) = unnameable(&path) {
                (self.see)(Remark::Unnameable(path, why));
            } else {
                self.entry(path, is_folder);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: Vec<u8>, is_folder: Option<bool>) {
        let disk = self.site.disk();
        match is_folder {
            Some(true) => self.folders.push(path),
            Some(false) => self.file(&path),
            None => match disk.find(&path) {
                Ok(Found::File(..)) => self.file(&path),
                Ok(Found::Directory) if disk.is_link(&path) => self.linked.push(path),
                Ok(Found::Directory) => self.folders.push(path),
                Ok(Found::Special) => {}
                Err(error) if is_absence(&error) => {
                    // (Otherwise it has just gone.)
                    if let Some(link) = disk.links(&path).pop() {
                        (self.see)(Remark::Dangling(path, link.target));
                    }
                }
                Err(error) => self.fail(&path, error),
            },
        }
    }

    /// A file, found as a request would find it.
    fn file(&mut self, path: &[u8]) {
        match self.site.search(self.now).file(path) {
            Ok(Outcome::File(finding)) => {
                self.survey.files += 1;
                self.survey.siblings += finding.siblings.len() as u64;
                for (sibling, why) in finding.refused {
                    (self.see)(Remark::Refused(sibling, why));
                }
            }
            // It has just gone.
            Ok(Outcome::Folder | Outcome::Nothing) => {}
            Err(Failure { path, error }) => self.fail(&path, error),
        }
    }

    fn fail(&mut self, path: &[u8], error: io::Error) {
        match seen(self.site.disk(), path, &Err(error)) {
            Seen::Refused(link) => (self.see)(Remark::LeadsOut(path.to_vec(), link)),
            Seen::Failed(why) => (self.see)(Remark::Unreadable(path.to_vec(), why)),
            Seen::File | Seen::Folder | Seen::Special | Seen::Nothing => {}
        }
    }
}

/// Why no address names this path, if none does.
fn unnameable(path: &[u8]) -> Option<&'static str> {
    let mut address = String::from("/");
    encode(path, PATH, &mut address);
    let malformed = Target::parse(&address, None).err()?;
    Some(malformed.why())
}
