//! Where the record of a key is.
//!
//! Open addressing in buckets of the size of a cache line, so that to find that a key is new takes one line in nearly all cases. An entry
//! is half of a number made of the key and half the place of the record; whether it is the key's is to be read there. Entries are not removed:
//! whoever asks knows which places are of the past, and those are free.

use crate::prefetch::prefetch;
use crate::transaction::TransactionKey;

/// Parts of the map. Each grows by itself, so that no request waits for more than a part of it.
const PARTS: usize = 256;
/// Entries of a bucket.
const ENTRIES: usize = 8;
/// Set in every tag, so that no entry is 0.
const TAKEN: u32 = 1 << 31;

/// A line of memory. Entries are taken from the first one on; 0 is one that was never taken, and none comes behind it.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
struct Bucket([u64; ENTRIES]);

const EMPTY: Bucket = Bucket([0; ENTRIES]);

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    parts: Box<[Part]>,
}

/// The number of buckets is a power of two, or none.
#[derive(Debug, Default)]
struct Part {
    buckets: Vec<Bucket>,
    /// Entries that are not 0.
    taken: usize,
}

impl Places {
    /// None yet.
    pub(super) fn new() -> Places {
        Places {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
        }
    }

    /// Has the processor fetch what [`Places::find`] will look at.
    pub(super) fn prefetch(&self, key: TransactionKey) {
        let (part, tag) = address(key);
        let part = self.parts.get(part);
        if let Some(bucket) = part.and_then(|part| part.buckets_from(tag).next()) {
            prefetch(bucket);
        }
    }

    /// The place of this key's record, of those that may be: `is_its` looks there.
    pub(super) fn find(&self, key: TransactionKey, is_its: impl Fn(u32) -> bool) -> Option<u32> {
        let (part, tag) = address(key);
        self.parts.get(part)?.find(tag, is_its)
    }

    /// Remembers a place. Others that are no longer `live` are overwritten.
    pub(super) fn put(&mut self, key: TransactionKey, place: u32, live: impl Fn(u32) -> bool) {
        let (part, tag) = address(key);
        if let Some(part) = self.parts.get_mut(part) {
            part.put(entry(tag, place), &live);
        }
    }

    /// How many entries there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.parts.iter().map(Part::capacity).sum()
    }

    /// All places, those of the past too.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let buckets = self.parts.iter().flat_map(|part| &part.buckets);
        buckets
            .flat_map(|bucket| bucket.0)
            .filter(|entry| *entry != 0)
            .map(place_of)
    }
}

impl Part {
    fn capacity(&self) -> usize {
        self.buckets.len() * ENTRIES
    }

    fn find(&self, tag: u32, is_its: impl Fn(u32) -> bool) -> Option<u32> {
        for bucket in self.buckets_from(tag) {
            for entry in bucket.0 {
                if entry == 0 {
                    return None;
                }
                if tag_of(entry) == tag && is_its(place_of(entry)) {
                    return Some(place_of(entry));
                }
            }
        }
        None
    }

    /// The buckets in which an entry with this tag may be, in order.
    fn buckets_from(&self, tag: u32) -> impl Iterator<Item = &Bucket> {
        let first = tag as usize & self.buckets.len().wrapping_sub(1);
        let (before, from) = self.buckets.split_at_checked(first).unwrap_or_default();
        from.iter().chain(before)
    }

    fn put(&mut self, entry: u64, live: &impl Fn(u32) -> bool) {
        // So full that many buckets would be, and what is not in the first bucket would be looked for in others.
        if self.taken * 4 >= self.capacity() * 3 {
            self.renew(live);
        }
        let mask = self.buckets.len().wrapping_sub(1);
        let mut at = tag_of(entry) as usize & mask;
        while let Some(bucket) = self.buckets.get_mut(at) {
            let free = bucket
                .0
                .iter_mut()
                .find(|other| **other == 0 || !live(place_of(**other)));
            if let Some(free) = free {
                self.taken += usize::from(*free == 0);
                *free = entry;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Leaves out what is of the past, with room for twice as many as are left.
    fn renew(&mut self, live: &impl Fn(u32) -> bool) {
        let old = std::mem::take(&mut self.buckets);
        let entries = || {
            let entries = old.iter().flat_map(|bucket| bucket.0);
            entries.filter(|entry| *entry != 0 && live(place_of(*entry)))
        };
        let count = entries().count();
        let buckets = (2 * count).div_ceil(ENTRIES).next_power_of_two();
        self.buckets = vec![EMPTY; buckets];
        self.taken = 0;
        for entry in entries() {
            self.put(entry, live);
        }
    }
}

/// The part of a key, and what tells it from others there. The last bits of the tag say which bucket it is.
fn address(key: TransactionKey) -> (usize, u32) {
    let (high, _) = key.halves();
    (high as usize % PARTS, (high >> 32) as u32 | TAKEN)
}

fn entry(tag: u32, place: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(place)
}

fn tag_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn place_of(entry: u64) -> u32 {
    entry as u32
}
