//! Second-chance eviction, also known as the clock algorithm.

use std::borrow::Borrow;
use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

/// Entries by key, in a ring. A hand passes the entries that were used since its last round, and evicts the first that
/// was not. However many keys are used once, they evict each other, and none that is used again and again.
///
/// The owner counts what its entries cost, and evicts until they are within its budget.
///
/// The seed of the map's hash is random. Clients choose the keys, but only among those that name a file; they see
/// neither hashes nor any order of them, and cannot try others. A random seed is proof against that, at a third of the
/// cost of SipHash.
#[derive(Debug)]
pub(crate) struct SecondChance<K, V> {
    slots_by_key: HashMap<K, usize>,
    slots: Vec<Option<RingEntry<K, V>>>,
    free_slots: Vec<usize>,
    hand: usize,
}

#[derive(Debug)]
struct RingEntry<K, V> {
    key: K,
    value: V,
    /// Whether it was used since the hand last passed.
    was_used: bool,
}

impl<K: Clone + Eq + Hash, V> SecondChance<K, V> {
    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.slots_by_key.len()
    }

    /// Returns the slot of a key, which is the entry's until it is removed.
    pub(crate) fn slot_of<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        self.slots_by_key.get(key).copied()
    }

    /// Returns the key and the value in a slot.
    pub(crate) fn get(&self, slot: usize) -> Option<(&K, &V)> {
        let entry = self.slots.get(slot)?.as_ref()?;
        Some((&entry.key, &entry.value))
    }

    /// Returns the key and the value in a slot, to be changed.
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<(&K, &mut V)> {
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        Some((&entry.key, &mut entry.value))
    }

    /// Returns the value in a slot, and marks it as used.
    pub(crate) fn use_slot(&mut self, slot: usize) -> Option<&mut V> {
        let entry = self.slots.get_mut(slot)?.as_mut()?;
        entry.was_used = true;
        Some(&mut entry.value)
    }

    /// Adds an entry under a key that has none, and returns its slot.
    pub(crate) fn insert(&mut self, key: K, value: V) -> usize {
        let slot = self.free_slots.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(RingEntry {
            key: key.clone(),
            value,
            was_used: false,
        });
        self.slots_by_key.insert(key, slot);
        slot
    }

    /// Removes the entry in a slot.
    pub(crate) fn remove(&mut self, slot: usize) -> Option<(K, V)> {
        let entry = self.slots.get_mut(slot)?.take()?;
        self.slots_by_key.remove(&entry.key);
        self.free_slots.push(slot);
        Some((entry.key, entry.value))
    }

    /// Moves the hand to the next entry to be evicted among those for which `is_candidate` holds, and returns its slot.
    pub(crate) fn next_evicted(&mut self, is_candidate: impl Fn(&V) -> bool) -> Option<usize> {
        // In the second round no candidate counts as used.
        for _ in 0..2 * self.slots.len() {
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if let Some(Some(entry)) = self.slots.get_mut(slot)
                && is_candidate(&entry.value)
                && !std::mem::take(&mut entry.was_used)
            {
                return Some(slot);
            }
        }
        None
    }

    /// Returns the number of slots, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns all entries, in no order.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.slots.iter().flatten();
        entries.map(|entry| (&entry.key, &entry.value))
    }
}

impl<K, V> Default for SecondChance<K, V> {
    fn default() -> Self {
        Self {
            slots_by_key: HashMap::new(),
            slots: Vec::new(),
            free_slots: Vec::new(),
            hand: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_entries_stay_and_others_are_evicted_in_order() {
        let mut ring = SecondChance::default();
        let slots: Vec<_> = (0..4).map(|key| ring.insert(key, key * 10)).collect();
        ring.use_slot(slots[0]);
        ring.use_slot(slots[2]);
        let evict = |ring: &mut SecondChance<_, _>| {
            let slot = ring.next_evicted(|_| true)?;
            ring.remove(slot)
        };
        assert_eq!(evict(&mut ring), Some((1, 10)));
        assert_eq!(evict(&mut ring), Some((3, 30)));
        assert_eq!(ring.insert(4, 40), slots[3], "a free slot is used again");
        assert_eq!(evict(&mut ring), Some((0, 0)), "its chance is over");
        assert_eq!(evict(&mut ring), Some((2, 20)));
        assert_eq!((ring.slot_of(&2), ring.slot_of(&4)), (None, Some(slots[3])));
        assert_eq!((evict(&mut ring), evict(&mut ring)), (Some((4, 40)), None));
        assert_eq!((ring.len(), ring.iter().count(), ring.slots()), (0, 0, 4));
    }

    #[test]
    fn only_candidates_are_evicted_and_lose_their_mark() {
        let mut ring = SecondChance::default();
        let slots: Vec<_> = (0..4).map(|key| ring.insert(key, key)).collect();
        for &slot in &slots {
            ring.use_slot(slot);
        }
        let odd = |value: &usize| value % 2 == 1;
        assert_eq!(ring.next_evicted(odd), Some(slots[1]));
        assert_eq!(ring.next_evicted(|value| odd(value)), Some(slots[3]));
        assert_eq!(ring.next_evicted(|value| *value > 3), None);
        assert_eq!(ring.next_evicted(|_| true), Some(slots[1]));
        assert_eq!(ring.next_evicted(|_| true), Some(slots[3]));
        assert_eq!(ring.next_evicted(|_| true), Some(slots[0]));
    }
}
