//! What was found before, if it still is so.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Cache, CacheBudget, CacheLookup, Evidence, StaleEntry};
use super::resource::with_sealed_content;
use super::root::{FileSource, MAX_CACHED_FILE_BYTES, Root, is_steady};
use super::search::is_not_found;
use super::validators::are_final;
use super::watch::{FileWatcher, WatchEvent, WatchId};
use crate::http::{CacheStatus, Lookup};

/// What there is, and what that rests on, if it is on files.
pub(super) type LookupWithEvidence = (Lookup, Option<Evidence>);

/// What was found, and watches over what it rests on.
#[derive(Debug)]
pub(super) struct LookupCache {
    cache: Cache,
    watcher: Option<FileWatcher>,
    /// Whether the root's name may lead elsewhere by now.
    root_state: RootState,
    /// How the last [`get`](Self::get) went.
    last_status: CacheStatus,
}

/// What is known of where the root's name leads, and those of other places where links may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootState {
    /// There: what happens to it is told.
    Watched,
    /// Perhaps elsewhere, as something has happened, or nobody has looked.
    Changed,
    /// There, in this turn; but if something happens to it, nobody tells.
    Checked,
    /// Perhaps elsewhere, as nobody tells.
    Unwatched,
}

impl LookupCache {
    /// Nothing yet. Without a budget for bytes, nothing will be.
    pub(super) fn new(root: &Root, budget: CacheBudget) -> Self {
        let watcher = match budget.bytes {
            0 => None,
            _ => FileWatcher::new(root),
        };
        Self {
            cache: Cache::new(budget),
            watcher,
            root_state: RootState::Changed,
            last_status: CacheStatus::Miss,
        }
    }

    /// Bytes that it uses.
    pub(super) fn used(&self) -> usize {
        self.cache.used()
    }

    /// Whether it is told of changes.
    pub(super) fn is_watching(&self) -> bool {
        self.watcher.is_some()
    }

    /// What is readable when there is something to [`mark_stale`](Self::mark_stale) because of.
    ///
    /// # Errors
    /// When there is no descriptor for it.
    pub(super) fn event_fd(&self) -> io::Result<Option<OwnedFd>> {
        self.watcher.as_ref().map(FileWatcher::event_fd).transpose()
    }

    /// Bytes of a file that is remembered, at the most.
    pub(super) fn max_file_bytes(&self) -> u64 {
        MAX_CACHED_FILE_BYTES.min(self.cache.max_entry_bytes() as u64)
    }

    /// From here on, what was found need not be so any more. `is_notified`: the bell may have rung.
    pub(super) fn mark_stale(&mut self, is_notified: bool) {
        self.cache.mark_stale();
        if self.root_state == RootState::Checked {
            self.root_state = RootState::Unwatched;
        }
        if is_notified && let Some(watcher) = &mut self.watcher {
            watcher.poll_events(|is_notified| {
                // What is mounted may be mounted on the way.
                if matches!(is_notified, WatchEvent::RootPath | WatchEvent::Unknown) {
                    self.root_state = RootState::Changed;
                }
                self.cache.on_event(is_notified);
            });
        }
    }

    /// Whether the root's name may lead elsewhere by now.
    pub(super) fn is_root_stale(&self) -> bool {
        matches!(self.root_state, RootState::Changed | RootState::Unwatched)
    }

    /// What is known of where the root's name leads.
    pub(super) fn root_state(&self) -> RootState {
        self.root_state
    }

    /// It may.
    pub(super) fn mark_root_changed(&mut self) {
        self.root_state = RootState::Changed;
    }

    /// It leads nowhere, and nobody watches over what is not there.
    pub(super) fn mark_root_unwatched(&mut self) {
        self.root_state = RootState::Unwatched;
    }

    /// The root's name is about to be looked at: what happens to it from here on is told, or it is doubtful again when
    /// all else is.
    pub(super) fn watch_root(&mut self, root: &Root) {
        let is_complete = |watcher: &mut FileWatcher| watcher.watch_root(root);
        self.root_state = match self.root_state {
            // To watch over the way costs more than to look where it leads, and would be as vain as before.
            RootState::Unwatched => RootState::Checked,
            _ if self.watcher.as_mut().is_some_and(is_complete) => RootState::Watched,
            _ => RootState::Checked,
        };
    }

    /// The root has become another folder: nothing is known of that one.
    pub(super) fn reset(&mut self) {
        self.clear();
        if let Some(watcher) = &mut self.watcher {
            watcher.reset();
        }
    }

    /// What was just found or confirmed under a key, and what that rests on.
    pub(super) fn entry(&self, key: &str) -> Option<(&Lookup, &Arc<Evidence>)> {
        self.cache.entry(key)
    }

    /// The same is to be had in other forms from now on.
    pub(super) fn replace(&mut self, key: &str, lookup: Lookup) {
        self.cache.replace(key, lookup);
        self.release_watches();
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cache.clear();
        self.release_watches();
    }

    /// What is remembered under a key, if it still is so.
    pub(super) fn get(&mut self, root: &Root, key: &str, now: SystemTime) -> Option<Lookup> {
        let (lookup, status) = match self.cache.get(key) {
            CacheLookup::Fresh(lookup) => (Some(lookup), CacheStatus::Hit),
            CacheLookup::Missing => (None, CacheStatus::Miss),
            CacheLookup::Stale(stale) => {
                let confirmed = self.revalidate(root, stale, now);
                self.release_watches();
                (confirmed, CacheStatus::Revalidated)
            }
        };
        self.last_status = match lookup {
            Some(_) => status,
            None => CacheStatus::Miss,
        };
        lookup
    }

    /// How the last [`get`](Self::get) went.
    pub(super) fn last_status(&self) -> CacheStatus {
        self.last_status
    }

    /// Looks whether what was there still is. It has been asked for before, so it is worth being watched.
    fn revalidate(&mut self, root: &Root, stale: StaleEntry, now: SystemTime) -> Option<Lookup> {
        let lookup = stale.lookup.clone();
        // First the watch, then the look: what happens in between is told.
        let watch_ids = self.watch_files(root, &stale, now);
        let evidence = &stale.evidence;
        // Where a link leads that leads to nothing, nobody watches whether something comes.
        let is_link = |path: &Vec<u8>| root.is_symlink(path);
        // Nor what comes into a folder beside the file, which may have been there before.
        let is_watched = |folder| {
            let mut present = evidence.present.iter();
            present.any(|(path, _)| self::parent_path(path) == folder) || root.is_missing(folder)
        };
        let is_undisturbed = self.watcher.as_ref().is_some_and(|watcher| {
            !watch_ids.is_empty() && watch_ids.iter().all(|&id| watcher.is_unopened(id))
        }) && evidence
            .absent
            .iter()
            .all(|path| is_watched(parent_path(path)) && !is_link(path));
        if !is_unchanged(root, evidence) {
            self.cache.remove(&stale);
            // It was another file that came to be watched.
            self.release_unneeded(&watch_ids);
            return None;
        }
        let lookup = with_sealed_content(&lookup).unwrap_or(lookup);
        self.cache
            .mark_revalidated(stale, lookup.clone(), watch_ids, is_undisturbed);
        Some(lookup)
    }

    /// Watches over all files that this rests on; over none if not all can be watched.
    fn watch_files(&mut self, root: &Root, stale: &StaleEntry, now: SystemTime) -> Box<[WatchId]> {
        let Some(watcher) = &mut self.watcher else {
            return Box::default();
        };
        let present = &stale.evidence.present;
        let mut watch_ids = Vec::with_capacity(present.len());
        for (index, (path, source)) in present.iter().enumerate() {
            let previous = stale.watch_ids.get(index).copied();
            let previous = previous.filter(|&previous| watcher.is_watched(root, path, previous));
            let id = match previous {
                None if is_steady(&source.version, now) => watcher.watch(root, path, source),
                previous => previous,
            };
            let Some(id) = id else {
                self.release_unneeded(&watch_ids);
                return Box::default();
            };
            watch_ids.push(id);
        }
        watch_ids.into()
    }

    /// Gives up watches that nothing which is remembered needs.
    fn release_unneeded(&mut self, watch_ids: &[WatchId]) {
        if let Some(watcher) = &mut self.watcher {
            let needless = watch_ids
                .iter()
                .filter(|&&id| !self.cache.is_watch_needed(id));
            needless.for_each(|&id| watcher.unwatch(id));
        }
    }

    /// Remembers what was just found, for as long as it may be.
    pub(super) fn insert(
        &mut self,
        key: &str,
        (lookup, evidence): LookupWithEvidence,
        now: SystemTime,
    ) -> Lookup {
        let max_bytes = self.max_file_bytes();
        let is_final = |evidence: &Evidence| {
            let mut versions = evidence.present.iter().map(|(_, source)| &source.version);
            versions.all(|version| version.len <= max_bytes && are_final(version, now))
        };
        match (&lookup, evidence.filter(is_final)) {
            // It is not to be had just now, or it depends on the query.
            (Lookup::Forbidden | Lookup::Unavailable | Lookup::Redirect(..), _) => {}
            (lookup, Some(evidence)) => self.cache.insert_persistent(key, lookup, evidence),
            (lookup, None) => self.cache.insert_for_turn(key, lookup),
        }
        self.release_watches();
        lookup
    }

    /// Gives up the watches over what is no longer remembered.
    fn release_watches(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            for id in self.cache.take_released() {
                watcher.unwatch(id);
            }
        }
    }
}

/// The folder that a path leads to something in.
fn parent_path(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// Whether everything is still as it was when it was found.
fn is_unchanged(root: &Root, evidence: &Evidence) -> bool {
    let is_absent = |path: &Vec<u8>| match root.file_version(path) {
        Ok(version) => version.is_none(),
        Err(error) => is_not_found(&error),
    };
    // One call, for what mostly is so.
    let is_absent = |path: &Vec<u8>| root.is_missing(path) || is_absent(path);
    let is_present = |(path, source): &(Vec<u8>, FileSource)| matches!(root.file_version(path), Ok(Some(version)) if version == source.version);
    evidence.absent.iter().all(is_absent) && evidence.present.iter().all(is_present)
}

#[cfg(test)]
impl LookupCache {
    /// Without watches: everything is looked at.
    pub(super) fn without_watches(mut self) -> Self {
        self.watcher = None;
        self
    }

    /// Whether nothing is looked at to know what is under a key.
    pub(super) fn is_fresh(&mut self, key: &str) -> bool {
        matches!(self.cache.get(key), CacheLookup::Fresh(_))
    }
}
