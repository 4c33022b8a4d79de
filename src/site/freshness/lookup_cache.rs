//! `LookupCache`: cached lookups, revalidated by inotify or stat(2) before they are used again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::SystemTime;

use super::cache::{Cache, CacheBudget, CacheLookup, StaleEntry};
use super::watch::{FileWatcher, WatchEvent};
use crate::files::evidence::Evidence;
use crate::files::inotify::WatchId;
use crate::files::read::is_steady;
use crate::files::root::Root;
use crate::http::{CacheStatus, EntryId, Finding, Lookup};
use crate::path::split_path;
use crate::site::options::MAX_CACHED_FILE_BYTES;
use crate::site::represent::assembler::FindingWithEvidence;
use crate::site::represent::resource::with_sealed_content;
use crate::site::represent::validators::are_final;

/// Cache of lookups, with watches on the files that they rest on.
#[derive(Debug)]
pub(crate) struct LookupCache {
    cache: Cache,
    watcher: Option<FileWatcher>,
    /// Whether the root path may lead to another directory by now.
    root_state: RootState,
}

/// Knowledge of where the paths of the root, and of other directories that links may lead to, lead now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootState {
    /// Unchanged: inotify reports every change of the paths.
    Watched,
    /// Perhaps elsewhere: an event was reported, or the paths were never checked.
    Changed,
    /// Unchanged when checked in this turn; inotify may miss a change.
    Checked,
    /// Perhaps elsewhere: inotify may miss a change, and the paths were not checked in this turn.
    Unwatched,
}

impl LookupCache {
    /// Creates an empty cache. With a budget of 0 bytes it stays empty.
    pub(crate) fn new(root: &Root, budget: CacheBudget) -> Self {
        let watcher = match budget.bytes {
            0 => None,
            _ => FileWatcher::new(root),
        };
        Self {
            cache: Cache::new(budget),
            watcher,
            root_state: RootState::Changed,
        }
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.cache.used()
    }

    /// Returns whether inotify reports changes.
    pub(crate) fn is_watching(&self) -> bool {
        self.watcher.is_some()
    }

    /// Returns a descriptor that is readable when there are events for [`mark_stale`](Self::mark_stale) to read; `None`
    /// without inotify.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub(crate) fn event_fd(&self) -> io::Result<Option<OwnedFd>> {
        self.watcher.as_ref().map(FileWatcher::event_fd).transpose()
    }

    /// Returns the size, in bytes, of the largest file that is cached.
    pub(crate) fn max_file_bytes(&self) -> u64 {
        MAX_CACHED_FILE_BYTES.min(self.cache.max_entry_bytes() as u64)
    }

    /// Makes all lookups stale but the watched ones. `is_notified`: the event descriptor may be readable, so read the
    /// events.
    pub(crate) fn mark_stale(&mut self, is_notified: bool) {
        self.cache.mark_stale();
        if self.root_state == RootState::Checked {
            self.root_state = RootState::Unwatched;
        }
        if is_notified && let Some(watcher) = &mut self.watcher {
            watcher.poll_events(|event| {
                // The unknown event may be a mount on the root path.
                if matches!(event, WatchEvent::RootPath | WatchEvent::Unknown) {
                    self.root_state = RootState::Changed;
                }
                self.cache.on_event(event);
            });
        }
    }

    /// Returns whether the root path may lead to another directory by now.
    pub(crate) fn is_root_stale(&self) -> bool {
        matches!(self.root_state, RootState::Changed | RootState::Unwatched)
    }

    /// Returns the state of the root path.
    pub(crate) fn root_state(&self) -> RootState {
        self.root_state
    }

    /// Marks the root path as perhaps changed.
    pub(crate) fn mark_root_changed(&mut self) {
        self.root_state = RootState::Changed;
    }

    /// Marks the root path as unwatched: it leads to no directory, and a missing one cannot be watched.
    pub(crate) fn mark_root_unwatched(&mut self) {
        self.root_state = RootState::Unwatched;
    }

    /// Watches the root path before it is checked: later changes are reported, or else the path is stale again when the
    /// lookups are.
    pub(crate) fn watch_root(&mut self, root: &Root) {
        let is_complete = |watcher: &mut FileWatcher| watcher.watch_root(root);
        self.root_state = match self.root_state {
            // Watching the path costs more than checking it, and would fail as before.
            RootState::Unwatched => RootState::Checked,
            _ if self.watcher.as_mut().is_some_and(is_complete) => RootState::Watched,
            _ => RootState::Checked,
        };
    }

    /// Forgets all lookups and watches, as the root has become another directory.
    pub(crate) fn reset(&mut self) {
        self.clear();
        if let Some(watcher) = &mut self.watcher {
            watcher.reset();
        }
    }

    /// Returns the lookup of an entry that was just found or revalidated, and its evidence.
    pub(crate) fn entry(&self, id: EntryId) -> Option<(&Lookup, &Arc<Evidence>)> {
        self.cache.entry(id)
    }

    /// Replaces the lookup of an entry, whose content codings have changed.
    pub(crate) fn replace(&mut self, id: EntryId, lookup: Lookup) {
        self.cache.replace(id, lookup);
        self.release_watches();
    }

    /// Removes all lookups.
    pub(crate) fn clear(&mut self) {
        self.cache.clear();
        self.release_watches();
    }

    /// Returns the lookup cached under a key, if it is fresh or was revalidated.
    #[expect(
        clippy::inline_always,
        reason = "it is most of the cost of a cache hit"
    )]
    #[inline(always)]
    pub(crate) fn get(&mut self, root: &Root, key: &str, now: SystemTime) -> Option<Finding> {
        let id = match self.cache.get(key) {
            CacheLookup::Fresh(lookup, id) => {
                return Some(Finding {
                    lookup: lookup.clone(),
                    cache_status: Some(CacheStatus::Hit),
                    reason: None,
                    entry: Some(id),
                });
            }
            CacheLookup::FreshForTurn(finding) => {
                return Some(Finding {
                    cache_status: Some(CacheStatus::Hit),
                    ..finding.clone()
                });
            }
            CacheLookup::Stale(id) => id,
            CacheLookup::Missing => return None,
        };
        let revalidated = self.revalidate(root, id, now)?;
        Some(Finding {
            cache_status: Some(CacheStatus::Revalidated),
            entry: Some(id),
            ..revalidated.into()
        })
    }

    /// Revalidates a stale lookup, and releases the watches that are then unneeded. Out of the way of cache hits.
    #[inline(never)]
    fn revalidate(&mut self, root: &Root, id: EntryId, now: SystemTime) -> Option<Lookup> {
        let stale = self.cache.stale_entry(id)?;
        let revalidated = self.check_evidence(root, stale, now);
        self.release_watches();
        revalidated
    }

    /// Checks the evidence of a stale lookup. It was requested before, so its files are worth watching.
    fn check_evidence(
        &mut self,
        root: &Root,
        stale: StaleEntry,
        now: SystemTime,
    ) -> Option<Lookup> {
        // Watch first, then check: a change in between is reported.
        let watch_ids = self.watch_files(root, &stale, now);
        let evidence = &stale.evidence;
        // The target of a dangling link is not watched, so a file may appear there unreported.
        let is_link = |path: &Vec<u8>| root.is_symlink(path);
        // Nor is an existing directory watched that holds none of the files.
        let is_watched = |dir| {
            let mut present = evidence.present.iter();
            present.any(|(path, _)| split_path(path).0 == dir) || root.is_missing(dir)
        };
        let is_undisturbed = self.watcher.as_ref().is_some_and(|watcher| {
            !watch_ids.is_empty() && watch_ids.iter().all(|&id| watcher.is_unopened(id))
        }) && evidence
            .absent
            .iter()
            .all(|path| is_watched(split_path(path).0) && !is_link(path));
        if !evidence.is_unchanged(root) {
            self.cache.remove(&stale);
            // The watches are on other files than the lookup rests on.
            self.release_unneeded(&watch_ids);
            return None;
        }
        let sealed = with_sealed_content(&stale.lookup);
        let lookup = sealed.unwrap_or_else(|| stale.lookup.clone());
        self.cache
            .mark_revalidated(stale, lookup.clone(), watch_ids, is_undisturbed);
        Some(lookup)
    }

    /// Watches all files that a lookup rests on; none, if not all can be watched.
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

    /// Removes those of the watches that no cached lookup needs.
    fn release_unneeded(&mut self, watch_ids: &[WatchId]) {
        if let Some(watcher) = &mut self.watcher {
            let unneeded = watch_ids
                .iter()
                .filter(|&&id| !self.cache.is_watch_needed(id));
            unneeded.for_each(|&id| watcher.unwatch(id));
        }
    }

    /// Caches a new lookup, while its evidence holds if it has any, else for this turn.
    pub(crate) fn insert(
        &mut self,
        key: &str,
        (mut finding, evidence): FindingWithEvidence,
        now: SystemTime,
    ) -> Finding {
        // A rewrite by a rule has the status of the other target.
        finding.cache_status.get_or_insert(CacheStatus::Miss);
        let max_bytes = self.max_file_bytes();
        let is_final = |evidence: &Evidence| {
            let mut versions = evidence.present.iter().map(|(_, source)| &source.version);
            versions.all(|version| version.len <= max_bytes && are_final(version, now))
        };
        match (&finding.lookup, evidence.filter(is_final)) {
            // The cause may be temporary, or the result depends on the query.
            (Lookup::Forbidden | Lookup::Unavailable | Lookup::Redirect(..), _) => {}
            (lookup, Some(evidence)) => {
                finding.entry = self.cache.insert_persistent(key, lookup, evidence);
            }
            (_, None) => self.cache.insert_for_turn(key, &finding),
        }
        self.release_watches();
        finding
    }

    /// Removes the watches of lookups that are no longer cached.
    fn release_watches(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            for id in self.cache.take_released() {
                watcher.unwatch(id);
            }
        }
    }
}
