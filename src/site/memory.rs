//! What was found before, if it still is so.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Budget, Cache, Doubtful, Evidence, Known};
use super::disk::{Disk, SEALED, Source, is_steady};
use super::resource::sealed;
use super::search::is_absence;
use super::validators::are_final;
use super::watch::{Told, Watch, Watched};
use crate::http::{Lookup, Recall};

/// What there is, and what that rests on, if it is on files.
pub(super) type Discovery = (Lookup, Option<Evidence>);

/// What was found, and watches over what it rests on.
#[derive(Debug)]
pub(super) struct Memory {
    cache: Cache,
    watch: Option<Watch>,
    /// Whether the root's name may lead elsewhere by now.
    root: Root,
    /// How the last [`recall`](Self::recall) went.
    last: Recall,
}

/// What is known of where the root's name leads, and those of other places where links may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// There: what happens to it is told.
    Sure,
    /// Perhaps elsewhere, as something has happened, or nobody has looked.
    Doubtful,
    /// There, in this turn; but if something happens to it, nobody tells.
    Believed,
    /// Perhaps elsewhere, as nobody tells.
    Untold,
}

impl Memory {
    /// Nothing yet. Without a budget for bytes, nothing will be.
    pub(super) fn new(disk: &Disk, budget: Budget) -> Self {
        let watch = match budget.bytes {
            0 => None,
            _ => Watch::new(disk),
        };
        Self {
            cache: Cache::new(budget),
            watch,
            root: Root::Doubtful,
            last: Recall::Miss,
        }
    }

    /// Bytes that it uses.
    pub(super) fn used(&self) -> usize {
        self.cache.used()
    }

    /// Whether it is told of changes.
    pub(super) fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// What is readable when there is something to [`doubt`](Self::doubt) because of.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub(super) fn bell(&self) -> io::Result<Option<OwnedFd>> {
        self.watch.as_ref().map(Watch::bell).transpose()
    }

    /// Bytes of a file that is remembered, at the most.
    pub(super) fn most(&self) -> u64 {
        SEALED.min(self.cache.share() as u64)
    }

    /// From here on, what was found need not be so any more. `told`: the bell may have rung.
    pub(super) fn doubt(&mut self, told: bool) {
        self.cache.doubt();
        if self.root == Root::Believed {
            self.root = Root::Untold;
        }
        if told && let Some(watch) = &mut self.watch {
            watch.listen(|told| {
                // What is mounted may be mounted on the way.
                if matches!(told, Told::Way | Told::Anything) {
                    self.root = Root::Doubtful;
                }
                self.cache.hear(told);
            });
        }
    }

    /// Whether the root's name may lead elsewhere by now.
    pub(super) fn is_root_doubtful(&self) -> bool {
        matches!(self.root, Root::Doubtful | Root::Untold)
    }

    /// What is known of where the root's name leads.
    pub(super) fn root(&self) -> Root {
        self.root
    }

    /// It may.
    pub(super) fn doubt_root(&mut self) {
        self.root = Root::Doubtful;
    }

    /// It leads nowhere, and nobody watches over what is not there.
    pub(super) fn lose_root(&mut self) {
        self.root = Root::Untold;
    }

    /// The root's name is about to be looked at: what happens to it from here on is told, or it is doubtful again when
    /// all else is.
    pub(super) fn follow_root(&mut self, disk: &Disk) {
        let is_told = |watch: &mut Watch| watch.follow(disk);
        self.root = match self.root {
            // To watch over the way costs more than to look where it leads, and would be as vain as before.
            Root::Untold => Root::Believed,
            _ if self.watch.as_mut().is_some_and(is_told) => Root::Sure,
            _ => Root::Believed,
        };
    }

    /// The root has become another folder: nothing is known of that one.
    pub(super) fn forget(&mut self) {
        self.clear();
        if let Some(watch) = &mut self.watch {
            watch.forget();
        }
    }

    /// What was just found or confirmed under a key, and what that rests on.
    pub(super) fn entry(&self, key: &str) -> Option<(&Lookup, &Arc<Evidence>)> {
        self.cache.entry(key)
    }

    /// The same is to be had in other forms from now on.
    pub(super) fn improve(&mut self, key: &str, lookup: Lookup) {
        self.cache.improve(key, lookup);
        self.release();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
        self.release();
    }

    /// What is remembered under a key, if it still is so.
    pub(super) fn recall(&mut self, disk: &Disk, key: &str, now: SystemTime) -> Option<Lookup> {
        let (lookup, recall) = match self.cache.recall(key) {
            Known::Sure(lookup) => (Some(lookup), Recall::Hit),
            Known::Nothing => (None, Recall::Miss),
            Known::Doubtful(doubtful) => {
                let confirmed = self.confirm(disk, doubtful, now);
                self.release();
                (confirmed, Recall::Confirmed)
            }
        };
        self.last = match lookup {
            Some(_) => recall,
            None => Recall::Miss,
        };
        lookup
    }

    /// How the last [`recall`](Self::recall) went.
    pub(super) fn last(&self) -> Recall {
        self.last
    }

    /// Looks whether what was there still is. It has been asked for before, so it is worth being watched.
    fn confirm(&mut self, disk: &Disk, doubtful: Doubtful, now: SystemTime) -> Option<Lookup> {
        let lookup = doubtful.lookup.clone();
        // First the watch, then the look: what happens in between is told.
        let watched = self.cover(disk, &doubtful, now);
        let evidence = &doubtful.evidence;
        // Where a link leads that leads to nothing, nobody watches whether something comes.
        let is_link = |path: &Vec<u8>| disk.is_link(path);
        // Nor what comes into a folder beside the file, which may have been there before.
        let is_heard = |folder| {
            let mut present = evidence.present.iter();
            present.any(|(path, _)| self::folder(path) == folder) || disk.is_absent(folder)
        };
        let is_quiet = self.watch.as_ref().is_some_and(|watch| {
            !watched.is_empty() && watched.iter().all(|&watched| watch.is_left_alone(watched))
        }) && evidence
            .absent
            .iter()
            .all(|path| is_heard(folder(path)) && !is_link(path));
        if !holds(disk, evidence) {
            self.cache.forget(&doubtful);
            // It was another file that came to be watched.
            self.abandon(&watched);
            return None;
        }
        let lookup = sealed(&lookup).unwrap_or(lookup);
        self.cache
            .confirm(doubtful, lookup.clone(), watched, is_quiet);
        Some(lookup)
    }

    /// Watches over all files that this rests on; over none if not all can be watched.
    fn cover(&mut self, disk: &Disk, doubtful: &Doubtful, now: SystemTime) -> Box<[Watched]> {
        let Some(watch) = &mut self.watch else {
            return Box::default();
        };
        let present = &doubtful.evidence.present;
        let mut covered = Vec::with_capacity(present.len());
        for (place, (path, source)) in present.iter().enumerate() {
            let held = doubtful.watched.get(place).copied();
            let held = held.filter(|&held| watch.covers(disk, path, held));
            let watched = match held {
                None if is_steady(&source.version, now) => watch.cover(disk, path, source),
                held => held,
            };
            let Some(watched) = watched else {
                self.abandon(&covered);
                return Box::default();
            };
            covered.push(watched);
        }
        covered.into()
    }

    /// Gives up watches that nothing which is remembered needs.
    fn abandon(&mut self, watched: &[Watched]) {
        if let Some(watch) = &mut self.watch {
            let needless = watched
                .iter()
                .filter(|&&watched| !self.cache.needs(watched));
            needless.for_each(|&watched| watch.release(watched));
        }
    }

    /// Remembers what was just found, for as long as it may be.
    pub(super) fn remember(
        &mut self,
        key: &str,
        (lookup, evidence): Discovery,
        now: SystemTime,
    ) -> Lookup {
        let most = self.most();
        let is_final = |evidence: &Evidence| {
            let mut versions = evidence.present.iter().map(|(_, source)| &source.version);
            versions.all(|version| version.len <= most && are_final(version, now))
        };
        match (&lookup, evidence.filter(is_final)) {
            // It is not to be had just now, or it depends on the query.
            (Lookup::Forbidden | Lookup::Unavailable | Lookup::Moved(..), _) => {}
            (lookup, Some(evidence)) => self.cache.keep(key, lookup, evidence),
            (lookup, None) => self.cache.note(key, lookup),
        }
        self.release();
        lookup
    }

    /// Gives up the watches over what is no longer remembered.
    fn release(&mut self) {
        if let Some(watch) = &mut self.watch {
            for watched in self.cache.released() {
                watch.release(watched);
            }
        }
    }
}

/// The folder that a path leads to something in.
fn folder(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// Whether everything is still as it was when it was found.
fn holds(disk: &Disk, evidence: &Evidence) -> bool {
    let is_absent = |path: &Vec<u8>| match disk.version(path) {
        Ok(version) => version.is_none(),
        Err(error) => is_absence(&error),
    };
    // One call, for what mostly is so.
    let is_absent = |path: &Vec<u8>| disk.is_absent(path) || is_absent(path);
    let is_present = |(path, source): &(Vec<u8>, Source)| matches!(disk.version(path), Ok(Some(version)) if version == source.version);
    evidence.absent.iter().all(is_absent) && evidence.present.iter().all(is_present)
}

#[cfg(test)]
impl Memory {
    /// Without watches: everything is looked at.
    pub(super) fn unwatched(mut self) -> Self {
        self.watch = None;
        self
    }

    /// Whether nothing is looked at to know what is under a key.
    pub(super) fn is_sure_of(&mut self, key: &str) -> bool {
        matches!(self.cache.recall(key), Known::Sure(_))
    }
}
