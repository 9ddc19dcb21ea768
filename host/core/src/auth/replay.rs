//! RFC 7616 §3.3: the nonce counts that were used, so that a request can't be sent twice by somebody who saw it.
//!
//! The table has a fixed size and is shared by all workers. A nonce takes a place when it is first used with the right
//! response, so that only those who know a password can fill the table. A set that is full loses its oldest nonce and keeps
//! in mind how old that was: nonces that old and not in the table may have been used, so they count as stale.
//!
//! A table is larger than a cache, so what a look at a set needs lies together: to find a nonce its tags, to put one in the place of
//! another just that place.

use std::sync::{Mutex, PoisonError};

use super::nonce::Nonce;
use crate::prefetch::prefetch_start;

/// Nonces of a set. Times are in seconds: with fewer, a busy second fills a set now and then, and then its other nonces count as stale.
const WAYS: usize = 32;
/// How far counts may come out of order: requests of one user agent overtake each other on UDP.
const WINDOW: u32 = 64;
/// Bytes of a set, with its lock, up to the last tag: two lines of a cache.
const LOOKED_AT_FIRST: usize = 24 + 2 * WAYS;

/// A use of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NonceUse {
    /// With qop: this count.
    Count(u32),
    /// Without qop a nonce serves once.
    Once,
}

/// Which nonces were used, with which counts.
pub(super) struct ReplayTable {
    sets: Box<[LockedSet]>,
}

/// It begins where a line of a cache begins.
#[derive(Default)]
#[repr(align(64))]
struct LockedSet(Mutex<Set>);

/// In this order, so that what is looked at first lies at the beginning.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Set {
    /// When the youngest nonce that was pushed out had been made.
    pushed_out_until_secs: u64,
    /// The place of the nonce that came before all others.
    oldest: usize,
    /// The upper bits of the random number in each place.
    tags: [u16; WAYS],
    entries: [Entry; WAYS],
}

/// Free when `highest` is 0.
#[derive(Clone, Copy, Default)]
struct Entry {
    issued_secs: u64,
    /// The lower half of the random number.
    random: u32,
    highest: u32,
    /// Bit n: the count `highest - n` was used.
    used: u64,
}

impl ReplayTable {
    /// Room for about `nonces`, rounded up to a power of two.
    pub(super) fn new(nonces: usize) -> ReplayTable {
        let sets = nonces.div_ceil(WAYS).max(1).next_power_of_two();
        ReplayTable {
            sets: (0..sets).map(|_| LockedSet::default()).collect(),
        }
    }

    /// Has the processor fetch what [`ReplayTable::accept`] looks at first.
    pub(super) fn prefetch(&self, nonce: Nonce) {
        if let Some(set) = self.set(nonce) {
            prefetch_start(set, LOOKED_AT_FIRST);
        }
    }

    /// The random part of a nonce of ours is under our seal, so nobody can choose a set to fill.
    fn set(&self, nonce: Nonce) -> Option<&LockedSet> {
        self.sets.get(nonce.random as usize & (self.sets.len() - 1))
    }

    /// Whether this use is new; it is not from then on. `oldest_secs`: nonces made before that are expired.
    pub(super) fn accept(&self, nonce: Nonce, usage: NonceUse, oldest_secs: u64) -> bool {
        let Some(set) = self.set(nonce) else {
            return false;
        };
        let mut set = set.0.lock().unwrap_or_else(PoisonError::into_inner);
        match set.find(nonce) {
            Some(entry) => entry.accept(usage),
            None => set.accept_first(nonce, usage, oldest_secs),
        }
    }
}

impl Set {
    fn find(&mut self, nonce: Nonce) -> Option<&mut Entry> {
        let tag = tag(nonce);
        // Most nonces come once. Looking at all tags, whatever is found, takes a few instructions.
        let is_like = |any, other: &u16| any | (*other == tag);
        if !self.tags.iter().fold(false, is_like) {
            return None;
        }
        let candidates = self.tags.iter().zip(&mut self.entries);
        candidates
            .filter(|(other, _)| **other == tag)
            .map(|(_, entry)| entry)
            .find(|entry| entry.is_of(nonce))
    }

    fn accept_first(&mut self, nonce: Nonce, usage: NonceUse, oldest_secs: u64) -> bool {
        if usage == NonceUse::Count(0) || nonce.issued.0 <= self.pushed_out_until_secs {
            return false;
        }
        let places = (
            self.tags.get_mut(self.oldest),
            self.entries.get_mut(self.oldest),
        );
        let (Some(tagged), Some(place)) = places else {
            return false;
        };
        if place.highest != 0 && place.issued_secs >= oldest_secs {
            self.pushed_out_until_secs = self.pushed_out_until_secs.max(place.issued_secs);
        }
        *tagged = tag(nonce);
        *place = Entry {
            issued_secs: nonce.issued.0,
            random: nonce.random as u32,
            highest: 0,
            used: 0,
        };
        self.oldest = (self.oldest + 1) % WAYS;
        place.accept(usage)
    }
}

/// The bits of the random number that no set is chosen by.
fn tag(nonce: Nonce) -> u16 {
    (nonce.random >> 32) as u16
}

impl Entry {
    fn is_of(&self, nonce: Nonce) -> bool {
        self.highest != 0
            && self.random == nonce.random as u32
            && self.issued_secs == nonce.issued.0
    }

    fn accept(&mut self, usage: NonceUse) -> bool {
        let count = match usage {
            NonceUse::Count(count) => count,
            NonceUse::Once if self.highest == 0 => u32::MAX,
            NonceUse::Once => return false,
        };
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = if ahead >= WINDOW {
                1
            } else {
                self.used << ahead | 1
            };
            self.highest = count;
            // After a use without qop nothing is left of the nonce.
            if usage == NonceUse::Once {
                self.used = u64::MAX;
            }
            return true;
        }
        let behind = self.highest - count;
        if count == 0 || behind >= WINDOW || self.used >> behind & 1 == 1 {
            return false;
        }
        self.used |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    fn nonce(issued: u64, random: u64) -> Nonce {
        Nonce {
            issued: UnixTime(issued),
            random,
        }
    }

    #[test]
    fn count_serves_once() {
        let table = ReplayTable::new(64);
        assert!(table.accept(nonce(10, 1), NonceUse::Count(1), 0));
        assert!(!table.accept(nonce(10, 1), NonceUse::Count(1), 0));
        assert!(table.accept(nonce(10, 1), NonceUse::Count(2), 0));
    }

    #[test]
    fn counts_may_overtake_each_other() {
        let table = ReplayTable::new(64);
        for count in [3, 1, 2, 70, 69] {
            assert!(
                table.accept(nonce(10, 1), NonceUse::Count(count), 0),
                "{count}"
            );
        }
        for count in [1, 2, 3, 69, 70, 6] {
            assert!(
                !table.accept(nonce(10, 1), NonceUse::Count(count), 0),
                "{count}"
            );
        }
    }

    #[test]
    fn count_zero_is_refused() {
        let table = ReplayTable::new(64);
        assert!(!table.accept(nonce(10, 1), NonceUse::Count(0), 0));
        assert!(table.accept(nonce(10, 1), NonceUse::Count(1), 0));
        assert!(!table.accept(nonce(10, 1), NonceUse::Count(0), 0));
    }

    #[test]
    fn without_qop_a_nonce_serves_once() {
        let table = ReplayTable::new(64);
        assert!(table.accept(nonce(10, 1), NonceUse::Once, 0));
        assert!(!table.accept(nonce(10, 1), NonceUse::Once, 0));
        assert!(!table.accept(nonce(10, 1), NonceUse::Count(1), 0));
        assert!(table.accept(nonce(10, 2), NonceUse::Count(1), 0));
        assert!(!table.accept(nonce(10, 2), NonceUse::Once, 0));
    }

    #[test]
    fn pushed_out_nonce_is_never_new_again() {
        let table = ReplayTable::new(WAYS);
        for random in 0..100 {
            assert!(table.accept(nonce(100 + random, random), NonceUse::Count(1), 0));
        }
        for random in 0..100 {
            assert!(
                !table.accept(nonce(100 + random, random), NonceUse::Count(1), 0),
                "{random}"
            );
        }
    }

    #[test]
    fn a_busy_second_refuses_no_new_nonce() {
        use rand::{RngCore, SeedableRng};
        let table = ReplayTable::new(crate::auth::AuthConfig::default().replay_nonces);
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        for second in 10..13 {
            for _ in 0..80_000 {
                let nonce = nonce(second, random.next_u64());
                assert!(table.accept(nonce, NonceUse::Count(1), 0));
                assert!(!table.accept(nonce, NonceUse::Count(1), 0));
            }
        }
    }

    #[test]
    fn what_is_looked_at_first_lies_in_two_lines() {
        assert_eq!(align_of::<LockedSet>(), 64);
        let table = ReplayTable::new(1);
        let [set] = &*table.sets else {
            unreachable!("one set")
        };
        let tags = std::ptr::from_ref(&set.0.lock().unwrap().tags).addr();
        let end = tags + size_of::<[u16; WAYS]>() - std::ptr::from_ref(set).addr();
        assert!(end <= LOOKED_AT_FIRST && LOOKED_AT_FIRST <= 128, "{end}");
    }

    #[test]
    fn nonces_of_the_same_tag_are_told_apart() {
        let table = ReplayTable::new(1);
        for random in 0..WAYS as u64 {
            assert!(table.accept(nonce(10, random), NonceUse::Count(1), 0));
            assert!(!table.accept(nonce(10, random), NonceUse::Count(1), 0));
            assert!(table.accept(nonce(10, random), NonceUse::Count(2), 0));
        }
    }

    #[test]
    fn expired_nonce_is_pushed_out_without_a_trace() {
        let table = ReplayTable::new(WAYS);
        for random in 0..WAYS as u64 {
            assert!(table.accept(nonce(100, random), NonceUse::Count(1), 0));
        }
        assert!(table.accept(nonce(500, 50), NonceUse::Count(1), 400));
        assert!(
            table.accept(nonce(100, 60), NonceUse::Count(1), 90),
            "nothing younger than this was pushed out"
        );
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the table is shared between the workers' threads"
    )]
    fn workers_see_each_others_counts() {
        let table = ReplayTable::new(1024);
        let accepted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (1..=1000)
                            .filter(|&count| table.accept(nonce(10, 1), NonceUse::Count(count), 0))
                            .count()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert!(
            (64..=1000).contains(&accepted),
            "each count serves at most once: {accepted}"
        );
    }
}
