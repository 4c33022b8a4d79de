//! What was found before, within a budget.
//!
//! Nothing here is ever too old: what is known is good for the turn of the loop in which it was found or
//! confirmed. After that it has to be confirmed again, by its evidence, unless it is watched and nothing has
//! been told of it. What there is no lasting evidence for, above all that nothing is there, is forgotten with
//! its turn.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::disk::Source;
use super::watch::{Told, Watched};
use crate::blob::Blob;
use crate::http::{Lookup, Resource};

/// Bytes that an entry costs beside its key, its path and its content: its own fields, its place in the map, the
/// representation with its rendered fields, and what the allocator adds to each.
const OVERHEAD: usize = 1024;

/// Bytes that a path costs beside its own, with what is known of the file.
const PATH: usize = 160;

/// Bytes that each further representation costs beside its content.
const REPRESENTATION: usize = 768;

/// Bytes of a key that is remembered. No path is longer, and a longer spelling of one need not be known.
const LONGEST: usize = 4096;

/// Entries that are remembered for a turn only. A peer decides how many there could be.
const PASSING: usize = 64;

/// Entries that share the watch over one file. A file may be asked for in any number of spellings; those beyond are
/// looked at.
const SPELLINGS: usize = 8;

/// The part of the budget that one entry may have.
const SHARE: usize = 8;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    /// Bytes, everything counted. With 0 nothing is kept, not even for a turn.
    pub(super) bytes: usize,
    /// Entries that hold a descriptor.
    pub(super) descriptors: usize,
}

/// What was found, by the target's path as it was sent.
///
/// The maps' hashes are seeded at random. Peers choose the keys, but of those that name a file, see no hash and no
/// order of them, and cannot try others: that is what such a seed is proof against, at a third of what SipHash costs.
#[derive(Debug)]
pub(super) struct Cache {
    budget: Budget,
    used: Budget,
    places: HashMap<Arc<str>, usize>,
    /// The clock: a ring of entries, and a hand that goes round past those that were asked for since it came by
    /// last, and takes out the first that was not. However many targets are asked for once, they push out
    /// each other, and nothing that is asked for again and again.
    ring: Vec<Option<Entry>>,
    hand: usize,
    free: Vec<usize>,
    /// Which entries are about a watched file.
    watched: HashMap<Watched, Vec<usize>>,
    /// Watches that no entry needs any more.
    released: Vec<Watched>,
    turn: u64,
    /// How often names in watched folders have changed.
    names: u64,
    passing: HashMap<Box<str>, Lookup>,
}

/// What is known of a target.
#[derive(Debug)]
pub(super) enum Known {
    /// What there is.
    Sure(Lookup),
    /// What there was when the evidence was found. To be confirmed, or forgotten.
    Doubtful(Doubtful),
    Nothing,
}

/// What there was, and what to look at to know whether it still is.
#[derive(Debug)]
pub(super) struct Doubtful {
    place: usize,
    pub(super) lookup: Lookup,
    pub(super) evidence: Arc<Evidence>,
    /// The watches that are held over its files, one for each in their order, or none at all.
    pub(super) watched: Box<[Watched]>,
}

/// What has to be so for an answer to be still the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// There is no file under these paths.
    pub(super) absent: Vec<Vec<u8>>,
    /// There are these under those.
    pub(super) present: Vec<(Vec<u8>, Source)>,
}

#[derive(Debug)]
struct Entry {
    key: Arc<str>,
    lookup: Lookup,
    evidence: Arc<Evidence>,
    cost: Budget,
    /// The last turn in which it was sure.
    turn: u64,
    watch: Option<Vigil>,
    /// It was asked for since the hand came by last.
    is_asked: bool,
}

/// Watches over all files of an entry, and whether they can be relied on.
#[derive(Debug)]
struct Vigil {
    watched: Box<[Watched]>,
    /// What [`Cache::names`] was when the entry was confirmed.
    names: u64,
    /// Nothing was told since then.
    is_quiet: bool,
}

impl Cache {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            used: Budget::default(),
            places: HashMap::new(),
            ring: Vec::new(),
            hand: 0,
            free: Vec::new(),
            watched: HashMap::new(),
            released: Vec::new(),
            turn: 0,
            names: 0,
            passing: HashMap::new(),
        }
    }

    /// The most bytes of content that an entry may have.
    pub(super) fn share(&self) -> usize {
        self.budget.bytes / SHARE
    }

    /// A turn is over, or somebody may have asked after it began: nothing is sure any more but what is watched.
    pub(super) fn doubt(&mut self) {
        self.turn += 1;
        if !self.passing.is_empty() {
            self.passing.clear();
        }
    }

    /// Something has happened to what is watched.
    pub(super) fn hear(&mut self, told: Told) {
        match told {
            Told::Names => self.names += 1,
            Told::File(watched) => {
                for &place in self.watched.get(&watched).into_iter().flatten() {
                    if let Some(Some(entry)) = self.ring.get_mut(place)
                        && let Some(vigil) = &mut entry.watch
                    {
                        vigil.is_quiet = false;
                    }
                }
            }
            Told::Way => {}
            Told::Anything => *self = Self::new(self.budget),
        }
    }

    /// Bytes that are used.
    pub(super) fn used(&self) -> usize {
        self.used.bytes
    }

    /// What is known of a target.
    pub(super) fn recall(&mut self, key: &str) -> Known {
        let Some(&place) = self.places.get(key) else {
            return match self.passing.get(key) {
                Some(lookup) => Known::Sure(lookup.clone()),
                None => Known::Nothing,
            };
        };
        let Some(Some(entry)) = self.ring.get_mut(place) else {
            return Known::Nothing;
        };
        entry.is_asked = true;
        let names = self.names;
        let is_quiet = |vigil: &Vigil| vigil.is_quiet && vigil.names == names;
        if entry.turn == self.turn || entry.watch.as_ref().is_some_and(is_quiet) {
            return Known::Sure(entry.lookup.clone());
        }
        Known::Doubtful(Doubtful {
            place,
            lookup: entry.lookup.clone(),
            evidence: entry.evidence.clone(),
            watched: watched(entry.watch.as_ref()).into(),
        })
    }

    /// What was doubtful is so, and is held like this from now on. Watches were held over its files since before that
    /// was found; if `is_quiet`, they are relied on from now on.
    pub(super) fn confirm(
        &mut self,
        doubtful: Doubtful,
        lookup: Lookup,
        watched: Box<[Watched]>,
        is_quiet: bool,
    ) {
        let place = doubtful.place;
        let (turn, names) = (self.turn, self.names);
        let has_room = |watched: &Watched| match self.watched.get(watched) {
            Some(places) => places.len() < SPELLINGS || places.contains(&place),
            None => true,
        };
        let watched = match watched.iter().all(has_room) {
            true => watched,
            false => Box::default(),
        };
        let Some(Some(entry)) = self.ring.get_mut(place) else {
            return;
        };
        entry.turn = turn;
        let before = entry.watch.take().map(|vigil| vigil.watched);
        let before = before.unwrap_or_default();
        entry.watch = (!watched.is_empty()).then(|| Vigil {
            watched: watched.clone(),
            names,
            is_quiet,
        });
        for &watched in &watched {
            let places = self.watched.entry(watched).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        for &former in before.iter().filter(|former| !watched.contains(former)) {
            self.unwatch(place, former);
        }
        self.hold(place, lookup);
    }

    /// What was doubtful is no more.
    pub(super) fn forget(&mut self, doubtful: &Doubtful) {
        self.take_out(doubtful.place);
    }

    /// Keeps what was found in this turn, as long as the evidence holds.
    pub(super) fn keep(&mut self, key: &str, lookup: &Lookup, evidence: Evidence) {
        let cost = cost(key, lookup, &evidence);
        if key.len() > LONGEST || cost.bytes > self.share() || self.places.contains_key(key) {
            return self.note(key, lookup);
        }
        let key: Arc<str> = key.into();
        let place = self.free.pop().unwrap_or(self.ring.len());
        if place == self.ring.len() {
            self.ring.push(None);
        }
        self.ring[place] = Some(Entry {
            key: key.clone(),
            lookup: lookup.clone(),
            evidence: Arc::new(evidence),
            cost,
            turn: self.turn,
            watch: None,
            is_asked: false,
        });
        self.places.insert(key, place);
        self.pay(cost);
        self.make_room();
    }

    /// Keeps what was found until the turn is over.
    pub(super) fn note(&mut self, key: &str, lookup: &Lookup) {
        if self.budget.bytes > 0 && key.len() <= LONGEST && self.passing.len() < PASSING {
            self.passing.insert(key.into(), lookup.clone());
        }
    }

    /// What is sure to be under a key, and what that rests on.
    pub(super) fn entry(&self, key: &str) -> Option<(&Lookup, &Arc<Evidence>)> {
        let entry = self.ring.get(*self.places.get(key)?)?.as_ref()?;
        Some((&entry.lookup, &entry.evidence))
    }

    /// The same is to be had in another form from now on.
    pub(super) fn improve(&mut self, key: &str, lookup: Lookup) {
        if let Some(&place) = self.places.get(key) {
            self.hold(place, lookup);
        }
    }

    /// An entry holds this from now on, and costs what that costs.
    fn hold(&mut self, place: usize, lookup: Lookup) {
        let Some(Some(entry)) = self.ring.get_mut(place) else {
            return;
        };
        let cost = cost(&entry.key, &lookup, &entry.evidence);
        let former = std::mem::replace(&mut entry.cost, cost);
        entry.lookup = lookup;
        self.pay(cost);
        self.refund(former);
        self.make_room();
    }

    /// Knows nothing any more.
    pub(super) fn clear(&mut self) {
        for place in 0..self.ring.len() {
            self.take_out(place);
        }
        self.passing.clear();
    }

    /// Whether there is something that this watch is held over.
    pub(super) fn needs(&self, watched: Watched) -> bool {
        self.watched.contains_key(&watched)
    }

    /// The watches that are needed no more.
    pub(super) fn released(&mut self) -> impl Iterator<Item = Watched> {
        self.released.drain(..)
    }

    /// The hand goes on until the budget is kept.
    fn make_room(&mut self) {
        while self.used.bytes > self.budget.bytes || self.used.descriptors > self.budget.descriptors
        {
            let only_open = self.used.bytes <= self.budget.bytes;
            let place = self.hand;
            self.hand = (self.hand + 1) % self.ring.len();
            let Some(Some(entry)) = self.ring.get_mut(place) else {
                continue;
            };
            if only_open && entry.cost.descriptors == 0 {
                continue;
            }
            if !std::mem::take(&mut entry.is_asked) {
                self.take_out(place);
            }
        }
    }

    fn take_out(&mut self, place: usize) {
        let Some(entry) = self.ring.get_mut(place).and_then(Option::take) else {
            return;
        };
        self.places.remove(&entry.key);
        self.free.push(place);
        self.refund(entry.cost);
        for &watched in watched(entry.watch.as_ref()) {
            self.unwatch(place, watched);
        }
    }

    /// A file of an entry is not watched any more for its sake.
    fn unwatch(&mut self, place: usize, watched: Watched) {
        let places = self.watched.entry(watched).or_default();
        places.retain(|&other| other != place);
        if places.is_empty() {
            self.watched.remove(&watched);
            self.released.push(watched);
        }
    }

    fn pay(&mut self, cost: Budget) {
        self.used.bytes += cost.bytes;
        self.used.descriptors += cost.descriptors;
    }

    fn refund(&mut self, cost: Budget) {
        self.used.bytes -= cost.bytes;
        self.used.descriptors -= cost.descriptors;
    }
}

/// What a vigil is held over.
fn watched(vigil: Option<&Vigil>) -> &[Watched] {
    vigil.map_or(&[], |vigil| &vigil.watched)
}

/// What it costs to keep that. A file that is open costs a descriptor, as its bytes are the kernel's.
fn cost(key: &str, lookup: &Lookup, evidence: &Evidence) -> Budget {
    let resource: Option<&Resource> = match lookup {
        Lookup::Found(resource) | Lookup::Absent(Some(resource)) => Some(resource),
        _ => None,
    };
    let representations = resource.map_or(&[][..], |resource| &resource.representations);
    let contents = representations.iter().map(|each| &each.content);
    let absent: usize = evidence.absent.iter().map(|path| PATH + path.len()).sum();
    let present = evidence.present.iter();
    let present: usize = present.map(|(path, _)| PATH + path.len()).sum();
    let others = representations.len().saturating_sub(1) * REPRESENTATION;
    let mut cost = Budget {
        bytes: OVERHEAD + key.len() + absent + present + others,
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
    use crate::blob::Version;
    use crate::http::Representation;

    const BUDGET: Budget = Budget {
        bytes: 64 * 1024,
        descriptors: 8,
    };

    fn version() -> Version {
        Version {
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
                Source {
                    version: version(),
                    is_direct: true,
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

    fn watched(number: i32) -> Watched {
        Watched::new(number)
    }

    /// Keeps that over this turn.
    fn keep(cache: &mut Cache, key: &str) {
        cache.keep(key, &in_memory(1), evidence(0));
    }

    /// Keeps that over this turn and has it watched in the next one.
    fn keep_watched(cache: &mut Cache, key: &str, watched: Watched, is_quiet: bool) {
        keep(cache, key);
        cache.doubt();
        let Known::Doubtful(doubtful) = cache.recall(key) else {
            panic!("{key} is not doubtful");
        };
        cache.confirm(doubtful, in_memory(1), [watched].into(), is_quiet);
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Is {
        Sure,
        Doubtful,
        Unknown,
    }

    fn recall(cache: &mut Cache, key: &str) -> Is {
        match cache.recall(key) {
            Known::Sure(_) => Is::Sure,
            Known::Doubtful(_) => Is::Doubtful,
            Known::Nothing => Is::Unknown,
        }
    }

    /// That what is counted is what is there, and no more than may be.
    fn check(cache: &Cache) {
        let entries = || cache.ring.iter().flatten();
        let mut used = Budget::default();
        for entry in entries() {
            let cost = cost(&entry.key, &entry.lookup, &entry.evidence);
            assert_eq!(entry.cost, cost);
            used.bytes += cost.bytes;
            used.descriptors += cost.descriptors;
        }
        assert_eq!(cache.used, used);
        assert!(used.bytes <= cache.budget.bytes, "{used:?}");
        assert!(used.descriptors <= cache.budget.descriptors, "{used:?}");
        assert_eq!(cache.places.len(), entries().count());
        assert_eq!(
            cache.free.len(),
            cache.ring.iter().filter(|it| it.is_none()).count()
        );
        let vigils = entries().map(|entry| super::watched(entry.watch.as_ref()).len());
        let vigils: usize = vigils.sum();
        assert_eq!(cache.watched.values().map(Vec::len).sum::<usize>(), vigils);
        assert!(cache.passing.len() <= PASSING);
        assert!(cache.ring.len() <= cache.budget.bytes / OVERHEAD + 1);
    }

    #[test]
    fn the_budget_is_kept_at_all_times() {
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
                0 => cache.doubt(),
                1 => cache.hear(Told::Names),
                2 => cache.hear(Told::File(watched(i32::try_from(number % 7).unwrap()))),
                3 if number % 1001 == 3 => cache.hear(Told::Anything),
                _ => {}
            }
            match cache.recall(&key) {
                Known::Sure(_) => {}
                Known::Nothing => cache.keep(&key, &lookup, evidence(number % 3)),
                Known::Doubtful(doubtful) if number % 5 == 0 => cache.forget(&doubtful),
                Known::Doubtful(doubtful) => {
                    let first = number % 7;
                    let several = first..first + number % 3;
                    let number_of = |number: usize| watched(i32::try_from(number).unwrap());
                    let watched = several.map(number_of).collect();
                    cache.confirm(doubtful, lookup, watched, number % 3 == 0);
                }
            }
            check(&cache);
            drop(cache.released().collect::<Vec<_>>());
        }
        assert!(!cache.places.is_empty());
    }

    #[test]
    fn what_costs_more_than_its_share_is_known_for_its_turn() {
        let mut cache = Cache::new(BUDGET);
        let share = cache.share() - OVERHEAD - "/b".len() - PATH - "path".len();
        cache.keep("/a", &in_memory(share + 1), evidence(0));
        cache.keep("/b", &in_memory(share), evidence(0));
        cache.keep("/c", &in_memory(share), evidence(1));
        for key in ["/a", "/b", "/c"] {
            assert_eq!(recall(&mut cache, key), Is::Sure, "{key}");
        }
        cache.doubt();
        assert_eq!(recall(&mut cache, "/a"), Is::Unknown);
        assert_eq!(recall(&mut cache, "/b"), Is::Doubtful);
        assert_eq!(recall(&mut cache, "/c"), Is::Unknown);
    }

    #[test]
    fn a_name_that_is_too_long_is_not_known_at_all() {
        let mut cache = Cache::new(Budget {
            bytes: 1 << 20,
            ..BUDGET
        });
        let (fits, long) = ("x".repeat(LONGEST), "x".repeat(LONGEST + 1));
        keep(&mut cache, &fits);
        keep(&mut cache, &long);
        assert_eq!(recall(&mut cache, &fits), Is::Sure);
        assert_eq!(recall(&mut cache, &long), Is::Unknown);
    }

    #[test]
    fn a_budget_of_nothing_keeps_nothing() {
        let mut cache = Cache::new(Budget::default());
        keep(&mut cache, "/");
        cache.note("/nothing", &Lookup::Absent(None));
        assert_eq!(recall(&mut cache, "/"), Is::Unknown);
        assert_eq!(recall(&mut cache, "/nothing"), Is::Unknown);
    }

    #[test]
    fn without_descriptors_nothing_that_is_open_is_kept() {
        let mut cache = Cache::new(Budget {
            descriptors: 0,
            ..BUDGET
        });
        keep(&mut cache, "/small");
        cache.keep("/large", &open(), evidence(0));
        check(&cache);
        assert_eq!(recall(&mut cache, "/small"), Is::Sure);
        assert_eq!(recall(&mut cache, "/large"), Is::Unknown);
    }

    #[test]
    fn what_is_asked_for_again_and_again_survives_what_is_asked_for_once() {
        let mut cache = Cache::new(BUDGET);
        keep(&mut cache, "/hot");
        cache.keep("/hot and open", &open(), evidence(0));
        let (small, large) = (in_memory(1), open());
        for number in 0..100_000 {
            if number % 4 == 0 {
                for key in ["/hot", "/hot and open"] {
                    assert_eq!(recall(&mut cache, key), Is::Sure, "{key} after {number}");
                }
            }
            let key = format!("/{number}");
            assert_eq!(recall(&mut cache, &key), Is::Unknown);
            let lookup = if number % 16 == 0 { &large } else { &small };
            cache.keep(&key, lookup, evidence(0));
        }
        check(&cache);
        assert!(cache.places.len() > 32, "no less is kept than may be");
    }

    #[test]
    fn a_turn_lasts_until_the_next() {
        let mut cache = Cache::new(BUDGET);
        keep(&mut cache, "/");
        assert_eq!(recall(&mut cache, "/"), Is::Sure);
        cache.doubt();
        assert_eq!(recall(&mut cache, "/"), Is::Doubtful);
        let Known::Doubtful(doubtful) = cache.recall("/") else {
            panic!("it was just now");
        };
        assert!(doubtful.watched.is_empty());
        cache.confirm(doubtful, in_memory(1), Box::default(), false);
        assert_eq!(recall(&mut cache, "/"), Is::Sure);
        cache.doubt();
        let Known::Doubtful(doubtful) = cache.recall("/") else {
            panic!("its turn is over");
        };
        cache.forget(&doubtful);
        assert_eq!(recall(&mut cache, "/"), Is::Unknown);
        check(&cache);
    }

    #[test]
    fn what_passes_is_gone_with_its_turn_and_is_never_much() {
        let mut cache = Cache::new(BUDGET);
        for number in 0..PASSING * 2 {
            cache.note(&format!("/{number}"), &Lookup::Absent(None));
            check(&cache);
        }
        assert_eq!(recall(&mut cache, "/0"), Is::Sure);
        assert_eq!(recall(&mut cache, &format!("/{PASSING}")), Is::Unknown);
        cache.doubt();
        assert_eq!(recall(&mut cache, "/0"), Is::Unknown);
        assert!(cache.passing.is_empty());
    }

    #[test]
    fn what_is_watched_is_sure_until_something_is_heard_of_it() {
        let mut cache = Cache::new(BUDGET);
        keep_watched(&mut cache, "/a", watched(1), true);
        keep_watched(&mut cache, "/b", watched(2), true);
        keep_watched(&mut cache, "/also b", watched(2), true);
        for _ in 0..5 {
            cache.doubt();
            for key in ["/a", "/b", "/also b"] {
                assert_eq!(recall(&mut cache, key), Is::Sure, "{key}");
            }
        }
        // In the middle of a turn as well, but for what was confirmed in it.
        cache.hear(Told::File(watched(2)));
        assert_eq!(recall(&mut cache, "/a"), Is::Sure);
        assert_eq!(recall(&mut cache, "/b"), Is::Doubtful);
        assert_eq!(recall(&mut cache, "/also b"), Is::Doubtful);
        // Of nobody's file.
        cache.hear(Told::File(watched(3)));
        assert_eq!(recall(&mut cache, "/a"), Is::Sure);
        cache.hear(Told::Names);
        assert_eq!(recall(&mut cache, "/a"), Is::Doubtful);
        let Known::Doubtful(doubtful) = cache.recall("/a") else {
            panic!("it was just now");
        };
        assert_eq!(*doubtful.watched, [watched(1)], "the watch is held on");
        cache.confirm(doubtful, in_memory(1), [watched(1)].into(), true);
        cache.doubt();
        assert_eq!(recall(&mut cache, "/a"), Is::Sure);
        assert_eq!(recall(&mut cache, "/b"), Is::Doubtful);
        cache.hear(Told::Anything);
        for key in ["/a", "/b", "/also b"] {
            assert_eq!(recall(&mut cache, key), Is::Unknown, "{key}");
        }
        assert_eq!(cache.released().count(), 0, "they have gone by themselves");
        check(&cache);
    }

    #[test]
    fn a_watch_that_cannot_be_relied_on_is_held_but_not_believed() {
        let mut cache = Cache::new(BUDGET);
        keep_watched(&mut cache, "/", watched(1), false);
        assert_eq!(recall(&mut cache, "/"), Is::Sure, "in its turn");
        cache.doubt();
        assert_eq!(recall(&mut cache, "/"), Is::Doubtful);
        assert_eq!(cache.released().count(), 0);
    }

    #[test]
    fn a_watch_is_released_once_when_nobody_needs_it() {
        let mut cache = Cache::new(BUDGET);
        let released = |cache: &mut Cache| cache.released().collect::<Vec<_>>();
        keep_watched(&mut cache, "/a", watched(1), true);
        keep_watched(&mut cache, "/b", watched(1), true);
        keep_watched(&mut cache, "/c", watched(2), true);
        cache.hear(Told::Names);
        let doubt = |cache: &mut Cache, key: &str| {
            cache.doubt();
            match cache.recall(key) {
                Known::Doubtful(doubtful) => doubtful,
                other => panic!("{key}: {other:?}"),
            }
        };
        let doubtful = doubt(&mut cache, "/a");
        cache.forget(&doubtful);
        assert_eq!(released(&mut cache), [], "/b is left");
        cache.forget(&doubtful);
        let doubtful = doubt(&mut cache, "/b");
        cache.confirm(doubtful, in_memory(1), [watched(3)].into(), true);
        assert_eq!(released(&mut cache), [watched(1)], "/b has another");
        cache.hear(Told::Names);
        let doubtful = doubt(&mut cache, "/b");
        cache.confirm(doubtful, in_memory(1), Box::default(), false);
        assert_eq!(released(&mut cache), [watched(3)], "/b has none");
        // Pushed out.
        for number in 0..200 {
            keep(&mut cache, &format!("/{number}"));
        }
        assert_eq!(recall(&mut cache, "/c"), Is::Unknown);
        assert_eq!(released(&mut cache), [watched(2)]);
        assert_eq!(released(&mut cache), []);
        check(&cache);
    }
}
