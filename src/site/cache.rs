//! What was found before, within a budget.
//!
//! Nothing here is ever too old: what is known is good for the turn of the loop in which it was found or
//! confirmed. After that it has to be confirmed again, by its evidence, unless it is watched and nothing has
//! been told of it. What there is no lasting evidence for, above all that nothing is there, is forgotten with
//! its turn.

use std::collections::HashMap;
use std::sync::Arc;

use super::disk::Source;
use super::watch::{Told, Watched};
use crate::blob::Blob;
use crate::http::{Lookup, Resource};

/// Bytes that an entry costs beside its key, its path and its content: its own fields, its place in the map, the
/// representation with its rendered fields, and what the allocator adds to each.
const OVERHEAD: usize = 1024;

/// Bytes of a key that is remembered. No path is longer, and a longer spelling of one need not be known.
const LONGEST: usize = 4096;

/// Entries that are remembered for a turn only. A peer decides how many there could be.
const PASSING: usize = 256;

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
    /// The watch that is held over it.
    pub(super) watched: Option<Watched>,
}

/// What has to be so for an answer to be still the same.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    /// There is no file under these paths.
    pub(super) absent: Vec<Vec<u8>>,
    /// There is one under this.
    pub(super) path: Vec<u8>,
    /// It is this one.
    pub(super) source: Source,
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

/// A watch, and whether it can be relied on.
#[derive(Clone, Copy, Debug)]
struct Vigil {
    watched: Watched,
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

    /// A turn begins: nothing is sure any more but what is watched.
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
            Told::Anything => *self = Self::new(self.budget),
        }
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
            watched: entry.watch.map(|vigil| vigil.watched),
        })
    }

    /// What was doubtful is so, and is held like this from now on. A watch was held over it since before that was
    /// found; if `is_quiet`, it is relied on from now on.
    pub(super) fn confirm(
        &mut self,
        doubtful: Doubtful,
        lookup: Lookup,
        watched: Option<Watched>,
        is_quiet: bool,
    ) {
        let place = doubtful.place;
        let (turn, names) = (self.turn, self.names);
        let Some(Some(entry)) = self.ring.get_mut(place) else {
            return;
        };
        entry.turn = turn;
        let before = entry.watch.map(|vigil| vigil.watched);
        entry.watch = watched.map(|watched| Vigil {
            watched,
            names,
            is_quiet,
        });
        let cost = cost(&entry.key, &lookup, &entry.evidence);
        let former = std::mem::replace(&mut entry.cost, cost);
        entry.lookup = lookup;
        self.pay(cost);
        self.refund(former);
        if before != watched {
            self.unwatch(place, before);
            if let Some(watched) = watched {
                self.watched.entry(watched).or_default().push(place);
            }
        }
        self.make_room();
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
        self.unwatch(place, entry.watch.map(|vigil| vigil.watched));
    }

    /// An entry is not watched any more.
    fn unwatch(&mut self, place: usize, watched: Option<Watched>) {
        let Some(watched) = watched else {
            return;
        };
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

/// What it costs to keep that. A file that is open costs a descriptor, as its bytes are the kernel's.
fn cost(key: &str, lookup: &Lookup, evidence: &Evidence) -> Budget {
    let resource: Option<&Resource> = match lookup {
        Lookup::Found(resource) | Lookup::Absent(Some(resource)) => Some(resource),
        _ => None,
    };
    let contents = resource
        .into_iter()
        .flat_map(|resource| &resource.representations)
        .map(|representation| &representation.content);
    let absent: usize = evidence.absent.iter().map(Vec::len).sum();
    let mut cost = Budget {
        bytes: OVERHEAD + key.len() + evidence.path.len() + absent,
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
