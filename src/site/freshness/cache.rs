//! `Cache`: lookups within a budget of bytes and descriptors, with second-chance eviction.
//!
//! No stale lookup is served: a lookup is fresh in the turn of the event loop in which it was found or revalidated.
//! After that its evidence must be revalidated, unless its files are watched and no event was reported. A lookup
//! without lasting evidence, above all a not-found one, is dropped at the end of its turn.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::watch::WatchEvent;
use crate::blob::Blob;
use crate::files::evidence::Evidence;
use crate::files::inotify::WatchId;
use crate::http::{EntryId, Finding, Lookup, Resource};
use crate::sync::SecondChance;

/// Bytes that an entry costs besides its key, its paths and its content: its own fields, its place in the map, the
/// representation with its rendered fields, and the allocator's overhead for each.
const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// Bytes that a path of the evidence costs besides its own, with the version of its file.
const PATH_OVERHEAD_BYTES: usize = 160;

/// Bytes that each further representation costs besides its content.
const REPRESENTATION_OVERHEAD_BYTES: usize = 768;

/// Length in bytes of the longest key that is cached. No path is longer, and longer spellings of one need not be
/// cached.
const MAX_KEY_BYTES: usize = 4096;

/// Maximum number of entries that are cached for one turn. Clients decide how many there could be.
const MAX_TURN_ENTRIES: usize = 64;

/// Maximum number of entries that share the watch on one file. A file may be requested in any number of spellings;
/// further entries are revalidated by stat(2).
const MAX_ENTRIES_PER_WATCH: usize = 8;

/// Divisor of the budget that gives the largest share of one entry.
const ENTRY_BUDGET_DIVISOR: usize = 8;

/// Size of the cache or of an entry: the limit, or the amount in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheBudget {
    /// Bytes, with all overhead. A budget of 0 caches nothing, not even for a turn.
    pub(crate) bytes: usize,
    /// Contents that hold a descriptor.
    pub(crate) descriptors: usize,
}

/// Lookups by key: the target's path as it was sent, or a key of the site's own.
#[derive(Debug)]
pub(crate) struct Cache {
    budget: CacheBudget,
    used: CacheBudget,
    entries: SecondChance<Arc<str>, CacheEntry>,
    /// Serial number of the next entry.
    next_serial: u32,
    /// Slots of the entries that rest on a watched file.
    slots_by_watch: HashMap<WatchId, Vec<usize>>,
    /// Watches that no entry needs any more.
    released_watches: Vec<WatchId>,
    turn: u64,
    /// Number of changes of names in watched directories.
    name_changes: u64,
    turn_entries: HashMap<Box<str>, Finding>,
}

/// Result of a look into the cache.
#[derive(Debug)]
pub(crate) enum CacheLookup<'c> {
    /// Lookup that may be used as it is.
    Fresh(&'c Lookup, EntryId),
    /// Finding of this turn.
    FreshForTurn(&'c Finding),
    /// Lookup that was right when the evidence was found. It must be revalidated, or removed.
    Stale(EntryId),
    Missing,
}

/// Lookup to be revalidated, and its evidence.
#[derive(Debug)]
pub(crate) struct StaleEntry {
    id: EntryId,
    pub(crate) lookup: Lookup,
    pub(crate) evidence: Arc<Evidence>,
    /// Watches on its files, one for each in their order, or none at all.
    pub(crate) watch_ids: Box<[WatchId]>,
}

#[derive(Debug)]
struct CacheEntry {
    serial: u32,
    lookup: Lookup,
    evidence: Arc<Evidence>,
    cost: CacheBudget,
    /// Last turn in which it was found or revalidated.
    fresh_in_turn: u64,
    watch: Option<EntryWatch>,
}

/// Watches on all files of an entry, and whether they can be relied on.
#[derive(Debug)]
struct EntryWatch {
    watch_ids: Box<[WatchId]>,
    /// Value of [`Cache::name_changes`] when the entry was revalidated.
    name_changes: u64,
    /// Whether no event was reported for its files since then.
    is_undisturbed: bool,
}

impl Cache {
    pub(crate) fn new(budget: CacheBudget) -> Self {
        Self {
            budget,
            used: CacheBudget::default(),
            entries: SecondChance::default(),
            next_serial: 0,
            slots_by_watch: HashMap::new(),
            released_watches: Vec::new(),
            turn: 0,
            name_changes: 0,
            turn_entries: HashMap::new(),
        }
    }

    /// Returns the maximum bytes of content that an entry may have.
    pub(crate) fn max_entry_bytes(&self) -> usize {
        self.budget.bytes / ENTRY_BUDGET_DIVISOR
    }

    /// Makes all entries stale but the watched ones: a turn is over, or a client may have sent a request after it
    /// began.
    pub(crate) fn mark_stale(&mut self) {
        self.turn += 1;
        if !self.turn_entries.is_empty() {
            self.turn_entries.clear();
        }
    }

    /// Applies an event: entries that rest on the file, or on names in directories, are no longer fresh.
    pub(crate) fn on_event(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Names => self.name_changes += 1,
            WatchEvent::File(id) => {
                for &slot in self.slots_by_watch.get(&id).into_iter().flatten() {
                    if let Some((_, entry)) = self.entries.get_mut(slot)
                        && let Some(entry_watch) = &mut entry.watch
                    {
                        entry_watch.is_undisturbed = false;
                    }
                }
            }
            WatchEvent::RootPath => {}
            WatchEvent::Unknown => {
                *self = Self {
                    next_serial: self.next_serial,
                    ..Self::new(self.budget)
                }
            }
        }
    }

    /// Returns the bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.bytes
    }

    /// Returns the lookup under a key, fresh or to be revalidated.
    #[expect(
        clippy::inline_always,
        reason = "it is most of the cost of a cache hit"
    )]
    #[inline(always)]
    pub(crate) fn get(&mut self, key: &str) -> CacheLookup<'_> {
        let Some(slot) = self.entries.slot_of(key) else {
            return match self.turn_entries.get(key) {
                Some(finding) => CacheLookup::FreshForTurn(finding),
                None => CacheLookup::Missing,
            };
        };
        let Some(entry) = self.entries.use_slot(slot) else {
            return CacheLookup::Missing;
        };
        let name_changes = self.name_changes;
        let is_undisturbed = |entry_watch: &EntryWatch| {
            entry_watch.is_undisturbed && entry_watch.name_changes == name_changes
        };
        if entry.fresh_in_turn == self.turn || entry.watch.as_ref().is_some_and(is_undisturbed) {
            return CacheLookup::Fresh(&entry.lookup, entry_id(slot, entry.serial));
        }
        CacheLookup::Stale(entry_id(slot, entry.serial))
    }

    /// Returns a stale entry.
    pub(crate) fn stale_entry(&self, id: EntryId) -> Option<StaleEntry> {
        let (_, entry) = self.entries.get(slot_of(id))?;
        Some(StaleEntry {
            id,
            lookup: entry.lookup.clone(),
            evidence: entry.evidence.clone(),
            watch_ids: watch_ids(entry.watch.as_ref()).into(),
        })
    }

    /// Marks a stale entry as revalidated, with this `lookup`. The watches on its files were added before the files
    /// were checked; if `is_undisturbed`, the watches are relied on from now on.
    pub(crate) fn mark_revalidated(
        &mut self,
        stale: StaleEntry,
        lookup: Lookup,
        watch_ids: Box<[WatchId]>,
        is_undisturbed: bool,
    ) {
        let slot = slot_of(stale.id);
        let (turn, name_changes) = (self.turn, self.name_changes);
        let has_room = |id: &WatchId| match self.slots_by_watch.get(id) {
            Some(slots) => slots.len() < MAX_ENTRIES_PER_WATCH || slots.contains(&slot),
            None => true,
        };
        let watch_ids = match watch_ids.iter().all(has_room) {
            true => watch_ids,
            false => Box::default(),
        };
        let Some((_, entry)) = self.entries.get_mut(slot) else {
            return;
        };
        entry.fresh_in_turn = turn;
        let before = entry.watch.take().map(|entry_watch| entry_watch.watch_ids);
        let before = before.unwrap_or_default();
        entry.watch = (!watch_ids.is_empty()).then(|| EntryWatch {
            watch_ids: watch_ids.clone(),
            name_changes,
            is_undisturbed,
        });
        for &id in &watch_ids {
            let slots = self.slots_by_watch.entry(id).or_default();
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        for &previous in before
            .iter()
            .filter(|previous| !watch_ids.contains(previous))
        {
            self.unwatch(slot, previous);
        }
        self.set_lookup(slot, lookup);
    }

    /// Removes a stale entry whose evidence no longer holds.
    pub(crate) fn remove(&mut self, stale: &StaleEntry) {
        self.remove_slot(slot_of(stale.id));
    }

    /// Caches a lookup that was found in this turn, as long as its evidence holds. Returns its entry; `None` if it is
    /// cached for this turn only.
    pub(crate) fn insert_persistent(
        &mut self,
        key: &str,
        lookup: &Lookup,
        evidence: Evidence,
    ) -> Option<EntryId> {
        let cost = entry_cost(key, lookup, &evidence);
        if key.len() > MAX_KEY_BYTES
            || cost.bytes > self.max_entry_bytes()
            || self.entries.slot_of(key).is_some()
        {
            self.insert_for_turn(key, &lookup.clone().into());
            return None;
        }
        let serial = self.next_serial;
        let entry = CacheEntry {
            serial,
            lookup: lookup.clone(),
            evidence: Arc::new(evidence),
            cost,
            fresh_in_turn: self.turn,
            watch: None,
        };
        self.next_serial = serial.wrapping_add(1);
        let slot = self.entries.insert(key.into(), entry);
        self.charge(cost);
        self.evict();
        Some(entry_id(slot, serial))
    }

    /// Caches a finding until the turn is over.
    pub(crate) fn insert_for_turn(&mut self, key: &str, finding: &Finding) {
        if self.budget.bytes > 0
            && key.len() <= MAX_KEY_BYTES
            && self.turn_entries.len() < MAX_TURN_ENTRIES
        {
            self.turn_entries.insert(key.into(), finding.clone());
        }
    }

    /// Returns the lookup of an entry, and its evidence.
    pub(crate) fn entry(&self, id: EntryId) -> Option<(&Lookup, &Arc<Evidence>)> {
        let slot = slot_of(id);
        let (_, entry) = self.entries.get(slot)?;
        (entry_id(slot, entry.serial) == id).then_some((&entry.lookup, &entry.evidence))
    }

    /// Replaces the lookup of an entry.
    pub(crate) fn replace(&mut self, id: EntryId, lookup: Lookup) {
        if self.entry(id).is_some() {
            self.set_lookup(slot_of(id), lookup);
        }
    }

    /// Replaces the lookup of an entry, and its cost.
    fn set_lookup(&mut self, slot: usize, lookup: Lookup) {
        let Some((key, entry)) = self.entries.get_mut(slot) else {
            return;
        };
        let cost = entry_cost(key, &lookup, &entry.evidence);
        let previous = std::mem::replace(&mut entry.cost, cost);
        entry.lookup = lookup;
        self.charge(cost);
        self.refund(previous);
        self.evict();
    }

    /// Removes all entries.
    pub(crate) fn clear(&mut self) {
        for slot in 0..self.entries.slots() {
            self.remove_slot(slot);
        }
        self.turn_entries.clear();
    }

    /// Returns whether any entry needs this watch.
    pub(crate) fn is_watch_needed(&self, id: WatchId) -> bool {
        self.slots_by_watch.contains_key(&id)
    }

    /// Takes the watches that no entry needs any more.
    pub(crate) fn take_released(&mut self) -> impl Iterator<Item = WatchId> {
        self.released_watches.drain(..)
    }

    /// Evicts entries until the cache is within its budget.
    fn evict(&mut self) {
        while self.used.bytes > self.budget.bytes || self.used.descriptors > self.budget.descriptors
        {
            let only_open = self.used.bytes <= self.budget.bytes;
            let is_candidate = |entry: &CacheEntry| !only_open || entry.cost.descriptors > 0;
            let Some(slot) = self.entries.next_evicted(is_candidate) else {
                return;
            };
            self.remove_slot(slot);
        }
    }

    fn remove_slot(&mut self, slot: usize) {
        let Some((_, entry)) = self.entries.remove(slot) else {
            return;
        };
        self.refund(entry.cost);
        for &id in watch_ids(entry.watch.as_ref()) {
            self.unwatch(slot, id);
        }
    }

    /// Removes an entry from those that need a watch.
    fn unwatch(&mut self, slot: usize, id: WatchId) {
        let slots = self.slots_by_watch.entry(id).or_default();
        slots.retain(|&other| other != slot);
        if slots.is_empty() {
            self.slots_by_watch.remove(&id);
            self.released_watches.push(id);
        }
    }

    fn charge(&mut self, cost: CacheBudget) {
        self.used.bytes += cost.bytes;
        self.used.descriptors += cost.descriptors;
    }

    fn refund(&mut self, cost: CacheBudget) {
        self.used.bytes -= cost.bytes;
        self.used.descriptors -= cost.descriptors;
    }
}

/// Returns the identifier of an entry: its slot, and its serial number, as slots are reused.
fn entry_id(slot: usize, serial: u32) -> EntryId {
    EntryId(u64::from(serial) << 32 | slot as u64)
}

fn slot_of(id: EntryId) -> usize {
    usize::try_from(id.0 & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}

/// Returns the watches of an entry, or none.
fn watch_ids(entry_watch: Option<&EntryWatch>) -> &[WatchId] {
    entry_watch.map_or(&[], |entry_watch| &entry_watch.watch_ids)
}

/// Returns the cost of an entry. An open file costs a descriptor but no bytes, which are in the kernel's page cache.
fn entry_cost(key: &str, lookup: &Lookup, evidence: &Evidence) -> CacheBudget {
    let resource: Option<&Resource> = match lookup {
        Lookup::Found(resource) | Lookup::NotFound(Some(resource)) => Some(resource),
        _ => None,
    };
    let representations = resource.map_or(&[][..], |resource| &resource.representations);
    let contents = representations.iter().map(|each| &each.content);
    let absent: usize = evidence
        .absent
        .iter()
        .map(|path| PATH_OVERHEAD_BYTES + path.len())
        .sum();
    let present = evidence.present.iter();
    let present: usize = present
        .map(|(path, _)| PATH_OVERHEAD_BYTES + path.len())
        .sum();
    let others = representations.len().saturating_sub(1) * REPRESENTATION_OVERHEAD_BYTES;
    let mut cost = CacheBudget {
        bytes: ENTRY_OVERHEAD_BYTES + key.len() + absent + present + others,
        descriptors: 0,
    };
    for content in contents {
        match content {
            Blob::Static(_) => {}
            Blob::Memory(bytes) => cost.bytes += bytes.len(),
            Blob::File { .. } => cost.descriptors += 1,
            Blob::Sealed { len, .. } => {
                cost.bytes += usize::try_from(*len).unwrap_or(usize::MAX);
                cost.descriptors += 1;
            }
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::blob::FileVersion;
    use crate::files::entry::FileSource;
    use crate::http::Representation;

    const BUDGET: CacheBudget = CacheBudget {
        bytes: 64 * 1024,
        descriptors: 8,
    };

    fn version() -> FileVersion {
        FileVersion {
            len: 1,
            modified: UNIX_EPOCH,
            changed: UNIX_EPOCH,
            device: 1,
            inode: 1,
            links: 1,
        }
    }

    fn evidence(absent: usize) -> Evidence {
        Evidence {
            absent: vec![b"absent".to_vec(); absent],
            present: vec![(
                b"path".to_vec(),
                FileSource {
                    version: version(),
                    has_no_symlink: true,
                },
            )],
        }
    }

    fn lookup(content: Blob) -> Lookup {
        Lookup::Found(Arc::new(Representation::new(content, "text/plain").into()))
    }

    fn in_memory(len: usize) -> Lookup {
        lookup(vec![7; len].into())
    }

    fn open() -> Lookup {
        let file = Arc::new(tempfile::tempfile().unwrap());
        lookup(Blob::File {
            file,
            version: version(),
            is_steady: true,
        })
    }

    fn watch_id(number: i32) -> WatchId {
        WatchId::new(number)
    }

    /// Returns the stale entry under a key.
    fn stale_entry(cache: &mut Cache, key: &str) -> StaleEntry {
        match cache.get(key) {
            CacheLookup::Stale(id) => cache.stale_entry(id).unwrap(),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// Caches a lookup beyond this turn.
    fn insert(cache: &mut Cache, key: &str) {
        cache.insert_persistent(key, &in_memory(1), evidence(0));
    }

    /// Caches a lookup beyond this turn, and has it watched in the next one.
    fn insert_watched(cache: &mut Cache, key: &str, watched: WatchId, is_undisturbed: bool) {
        insert(cache, key);
        cache.mark_stale();
        let stale = stale_entry(cache, key);
        cache.mark_revalidated(stale, in_memory(1), [watched].into(), is_undisturbed);
    }

    #[derive(Debug, PartialEq, Eq)]
    enum EntryState {
        Fresh,
        Stale,
        Missing,
    }

    fn state_of(cache: &mut Cache, key: &str) -> EntryState {
        match cache.get(key) {
            CacheLookup::Fresh(..) | CacheLookup::FreshForTurn(_) => EntryState::Fresh,
            CacheLookup::Stale(_) => EntryState::Stale,
            CacheLookup::Missing => EntryState::Missing,
        }
    }

    /// Checks that the counted costs are those of the entries, and within the budget.
    fn check(cache: &Cache) {
        let entries = || cache.entries.iter();
        let mut used = CacheBudget::default();
        for (key, entry) in entries() {
            let cost = entry_cost(key, &entry.lookup, &entry.evidence);
            assert_eq!(entry.cost, cost);
            used.bytes += cost.bytes;
            used.descriptors += cost.descriptors;
        }
        assert_eq!(cache.used, used);
        assert!(used.bytes <= cache.budget.bytes, "{used:?}");
        assert!(used.descriptors <= cache.budget.descriptors, "{used:?}");
        assert_eq!(cache.entries.len(), entries().count());
        let watches = entries().map(|(_, entry)| super::watch_ids(entry.watch.as_ref()).len());
        let watches: usize = watches.sum();
        assert_eq!(
            cache.slots_by_watch.values().map(Vec::len).sum::<usize>(),
            watches
        );
        assert!(cache.turn_entries.len() <= MAX_TURN_ENTRIES);
        assert!(cache.entries.slots() <= cache.budget.bytes / ENTRY_OVERHEAD_BYTES + 1);
    }

    #[test]
    fn budget_is_never_exceeded() {
        let mut cache = Cache::new(BUDGET);
        let mut random = 1_u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let number = usize::try_from(random >> 40).unwrap();
            let key = format!("/{}", number % 97);
            let lookup = match number / 97 % 4 {
                0 => open(),
                1 => lookup(Blob::Static(b"static")),
                size => in_memory(number / 388 % (size * 2000)),
            };
            match number % 31 {
                0 => cache.mark_stale(),
                1 => cache.on_event(WatchEvent::Names),
                2 => cache.on_event(WatchEvent::File(watch_id(
                    i32::try_from(number % 7).unwrap(),
                ))),
                3 if number % 1001 == 3 => cache.on_event(WatchEvent::Unknown),
                _ => {}
            }
            match cache.get(&key) {
                CacheLookup::Fresh(..) | CacheLookup::FreshForTurn(_) => {}
                CacheLookup::Missing => {
                    cache.insert_persistent(&key, &lookup, evidence(number % 3));
                }
                CacheLookup::Stale(id) if number % 5 == 0 => {
                    let stale = cache.stale_entry(id).unwrap();
                    cache.remove(&stale);
                }
                CacheLookup::Stale(id) => {
                    let stale = cache.stale_entry(id).unwrap();
                    let first = number % 7;
                    let several = first..first + number % 3;
                    let id_of = |number: usize| watch_id(i32::try_from(number).unwrap());
                    let watched = several.map(id_of).collect();
                    cache.mark_revalidated(stale, lookup, watched, number % 3 == 0);
                }
            }
            check(&cache);
            drop(cache.take_released().collect::<Vec<_>>());
        }
        assert!(cache.entries.len() > 0);
    }

    #[test]
    fn entry_over_its_share_is_cached_for_one_turn() {
        let mut cache = Cache::new(BUDGET);
        let share = cache.max_entry_bytes()
            - ENTRY_OVERHEAD_BYTES
            - "/b".len()
            - PATH_OVERHEAD_BYTES
            - "path".len();
        cache.insert_persistent("/a", &in_memory(share + 1), evidence(0));
        cache.insert_persistent("/b", &in_memory(share), evidence(0));
        cache.insert_persistent("/c", &in_memory(share), evidence(1));
        for key in ["/a", "/b", "/c"] {
            assert_eq!(state_of(&mut cache, key), EntryState::Fresh, "{key}");
        }
        cache.mark_stale();
        assert_eq!(state_of(&mut cache, "/a"), EntryState::Missing);
        assert_eq!(state_of(&mut cache, "/b"), EntryState::Stale);
        assert_eq!(state_of(&mut cache, "/c"), EntryState::Missing);
    }

    #[test]
    fn key_over_the_limit_is_not_cached() {
        let mut cache = Cache::new(CacheBudget {
            bytes: 1 << 20,
            ..BUDGET
        });
        let (fits, long) = ("x".repeat(MAX_KEY_BYTES), "x".repeat(MAX_KEY_BYTES + 1));
        insert(&mut cache, &fits);
        insert(&mut cache, &long);
        assert_eq!(state_of(&mut cache, &fits), EntryState::Fresh);
        assert_eq!(state_of(&mut cache, &long), EntryState::Missing);
    }

    #[test]
    fn zero_budget_caches_nothing() {
        let mut cache = Cache::new(CacheBudget::default());
        insert(&mut cache, "/");
        cache.insert_for_turn("/nothing", &Lookup::NotFound(None).into());
        assert_eq!(state_of(&mut cache, "/"), EntryState::Missing);
        assert_eq!(state_of(&mut cache, "/nothing"), EntryState::Missing);
    }

    #[test]
    fn zero_descriptor_budget_caches_no_open_file() {
        let mut cache = Cache::new(CacheBudget {
            descriptors: 0,
            ..BUDGET
        });
        insert(&mut cache, "/small");
        cache.insert_persistent("/large", &open(), evidence(0));
        check(&cache);
        assert_eq!(state_of(&mut cache, "/small"), EntryState::Fresh);
        assert_eq!(state_of(&mut cache, "/large"), EntryState::Missing);
    }

    #[test]
    fn hot_entries_survive_one_hit_entries() {
        let mut cache = Cache::new(BUDGET);
        insert(&mut cache, "/hot");
        cache.insert_persistent("/hot and open", &open(), evidence(0));
        let (small, large) = (in_memory(1), open());
        for number in 0..100_000 {
            if number % 4 == 0 {
                for key in ["/hot", "/hot and open"] {
                    assert_eq!(
                        state_of(&mut cache, key),
                        EntryState::Fresh,
                        "{key} after {number}"
                    );
                }
            }
            let key = format!("/{number}");
            assert_eq!(state_of(&mut cache, &key), EntryState::Missing);
            let lookup = if number % 16 == 0 { &large } else { &small };
            cache.insert_persistent(&key, lookup, evidence(0));
        }
        check(&cache);
        assert!(cache.entries.len() > 32, "the budget is used");
    }

    #[test]
    fn entry_is_stale_in_the_next_turn_and_fresh_when_revalidated() {
        let mut cache = Cache::new(BUDGET);
        insert(&mut cache, "/");
        assert_eq!(state_of(&mut cache, "/"), EntryState::Fresh);
        cache.mark_stale();
        assert_eq!(state_of(&mut cache, "/"), EntryState::Stale);
        let stale = stale_entry(&mut cache, "/");
        assert!(stale.watch_ids.is_empty());
        cache.mark_revalidated(stale, in_memory(1), Box::default(), false);
        assert_eq!(state_of(&mut cache, "/"), EntryState::Fresh);
        cache.mark_stale();
        let stale = stale_entry(&mut cache, "/");
        cache.remove(&stale);
        assert_eq!(state_of(&mut cache, "/"), EntryState::Missing);
        check(&cache);
    }

    #[test]
    fn turn_entries_are_bounded_and_dropped_at_turn_end() {
        let mut cache = Cache::new(BUDGET);
        for number in 0..MAX_TURN_ENTRIES * 2 {
            cache.insert_for_turn(&format!("/{number}"), &Lookup::NotFound(None).into());
            check(&cache);
        }
        assert_eq!(state_of(&mut cache, "/0"), EntryState::Fresh);
        assert_eq!(
            state_of(&mut cache, &format!("/{MAX_TURN_ENTRIES}")),
            EntryState::Missing
        );
        cache.mark_stale();
        assert_eq!(state_of(&mut cache, "/0"), EntryState::Missing);
        assert!(cache.turn_entries.is_empty());
    }

    #[test]
    fn watched_entry_is_fresh_until_an_event() {
        let mut cache = Cache::new(BUDGET);
        insert_watched(&mut cache, "/a", watch_id(1), true);
        insert_watched(&mut cache, "/b", watch_id(2), true);
        insert_watched(&mut cache, "/also b", watch_id(2), true);
        for _ in 0..5 {
            cache.mark_stale();
            for key in ["/a", "/b", "/also b"] {
                assert_eq!(state_of(&mut cache, key), EntryState::Fresh, "{key}");
            }
        }
        // In the middle of a turn as well, except for entries revalidated in it.
        cache.on_event(WatchEvent::File(watch_id(2)));
        assert_eq!(state_of(&mut cache, "/a"), EntryState::Fresh);
        assert_eq!(state_of(&mut cache, "/b"), EntryState::Stale);
        assert_eq!(state_of(&mut cache, "/also b"), EntryState::Stale);
        // A file that no entry rests on.
        cache.on_event(WatchEvent::File(watch_id(3)));
        assert_eq!(state_of(&mut cache, "/a"), EntryState::Fresh);
        cache.on_event(WatchEvent::Names);
        assert_eq!(state_of(&mut cache, "/a"), EntryState::Stale);
        let stale = stale_entry(&mut cache, "/a");
        assert_eq!(*stale.watch_ids, [watch_id(1)], "the watch is kept");
        cache.mark_revalidated(stale, in_memory(1), [watch_id(1)].into(), true);
        cache.mark_stale();
        assert_eq!(state_of(&mut cache, "/a"), EntryState::Fresh);
        assert_eq!(state_of(&mut cache, "/b"), EntryState::Stale);
        cache.on_event(WatchEvent::Unknown);
        for key in ["/a", "/b", "/also b"] {
            assert_eq!(state_of(&mut cache, key), EntryState::Missing, "{key}");
        }
        assert_eq!(
            cache.take_released().count(),
            0,
            "the watcher has removed them already"
        );
        check(&cache);
    }

    #[test]
    fn id_of_a_removed_entry_finds_no_later_one() {
        let removals: [fn(&mut Cache); 2] =
            [Cache::clear, |cache| cache.on_event(WatchEvent::Unknown)];
        for remove in removals {
            let mut cache = Cache::new(BUDGET);
            let insert = |cache: &mut Cache, key| {
                let id = cache.insert_persistent(key, &in_memory(1), evidence(0));
                id.unwrap()
            };
            let removed = insert(&mut cache, "/a");
            assert!(cache.entry(removed).is_some());
            remove(&mut cache);
            let later = insert(&mut cache, "/b");
            assert_eq!(slot_of(later), slot_of(removed));
            assert!(cache.entry(removed).is_none());
            assert!(cache.entry(later).is_some());
        }
    }

    #[test]
    fn disturbed_watch_is_kept_but_entry_is_stale() {
        let mut cache = Cache::new(BUDGET);
        insert_watched(&mut cache, "/", watch_id(1), false);
        assert_eq!(state_of(&mut cache, "/"), EntryState::Fresh, "in its turn");
        cache.mark_stale();
        assert_eq!(state_of(&mut cache, "/"), EntryState::Stale);
        assert_eq!(cache.take_released().count(), 0);
    }

    #[test]
    fn watch_is_released_once_when_no_entry_needs_it() {
        let mut cache = Cache::new(BUDGET);
        let released = |cache: &mut Cache| cache.take_released().collect::<Vec<_>>();
        insert_watched(&mut cache, "/a", watch_id(1), true);
        insert_watched(&mut cache, "/b", watch_id(1), true);
        insert_watched(&mut cache, "/c", watch_id(2), true);
        cache.on_event(WatchEvent::Names);
        let stale_in_next_turn = |cache: &mut Cache, key: &str| {
            cache.mark_stale();
            stale_entry(cache, key)
        };
        let stale = stale_in_next_turn(&mut cache, "/a");
        cache.remove(&stale);
        assert_eq!(released(&mut cache), [], "/b needs it");
        cache.remove(&stale);
        let stale = stale_in_next_turn(&mut cache, "/b");
        cache.mark_revalidated(stale, in_memory(1), [watch_id(3)].into(), true);
        assert_eq!(released(&mut cache), [watch_id(1)], "/b has another watch");
        cache.on_event(WatchEvent::Names);
        let stale = stale_in_next_turn(&mut cache, "/b");
        cache.mark_revalidated(stale, in_memory(1), Box::default(), false);
        assert_eq!(released(&mut cache), [watch_id(3)], "/b has no watch");
        // Eviction.
        for number in 0..200 {
            insert(&mut cache, &format!("/{number}"));
        }
        assert_eq!(state_of(&mut cache, "/c"), EntryState::Missing);
        assert_eq!(released(&mut cache), [watch_id(2)]);
        assert_eq!(released(&mut cache), []);
        check(&cache);
    }
}
