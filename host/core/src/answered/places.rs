//! Where the records of answered requests are: a hash table of which a look and what follows it touch one line of the cache.
//!
//! With many requests a second the table is far larger than any cache, and nearly every look finds nothing and is followed by an
//! entry for the same key. In a table with its marks in one place and its entries in another both are waited for.

/// So that a line takes the 64 bytes of a cache's line.
const SLOTS: usize = 7;
const ALL: u32 = (1 << SLOTS) - 1;
/// Entries for each line, on average, before the table grows.
const LOAD: usize = 5;
/// What an empty table keeps, and what the first one has.
const FEW_LINES: usize = 8;

/// From tags, which are bits of a keyed hash and need not be unique, to places.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Their number is a power of two, or 0.
    lines: Vec<Line>,
    count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    tags: [u32; SLOTS],
    places: [u32; SLOTS],
    /// Bit n: slot n is taken.
    used: u32,
    /// How many entries stand in a later line because this one was full.
    passed: u32,
}

impl Places {
    /// The place of this tag that `is_it` says yes to.
    #[inline]
    pub(super) fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        for at in self.way(tag) {
            let line = self.lines.get(at)?;
            let found = line.places_of(tag).find(|(_, place)| is_it(*place));
            if let Some((_, place)) = found {
                return Some(place);
            }
            if line.passed == 0 {
                return None;
            }
        }
        None
    }

    /// Puts an entry in.
    pub(super) fn insert(&mut self, tag: u32, place: u32) {
        if self.count >= self.lines.len() * LOAD {
            self.grow();
        }
        self.count += 1;
        for at in self.way(tag) {
            let Some(line) = self.lines.get_mut(at) else {
                return;
            };
            if line.used != ALL {
                return line.put(tag, place);
            }
            line.passed += 1;
        }
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, tag: u32, place: u32) {
        let found = self.way(tag).position(|at| {
            let line = self.lines.get_mut(at);
            line.is_some_and(|line| line.take(tag, place))
        });
        let Some(passed) = found else { return };
        self.count -= 1;
        for at in self.way(tag).take(passed) {
            if let Some(line) = self.lines.get_mut(at) {
                line.passed -= 1;
            }
        }
    }

    /// Gives the memory of an empty table back, but for a little.
    pub(super) fn shrink(&mut self) {
        if self.count == 0 && self.lines.len() > FEW_LINES {
            self.lines = Vec::new();
        }
    }

    /// Every tag and place, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.lines.iter().flat_map(Line::iter)
    }

    /// The lines where a tag may be, the first one first.
    #[inline]
    fn way(&self, tag: u32) -> impl Iterator<Item = usize> + use<> {
        let (home, lines) = (tag as usize, self.lines.len());
        (0..lines).map(move |step| home.wrapping_add(step) & (lines - 1))
    }

    #[cold]
    fn grow(&mut self) {
        let lines = (self.lines.len() * 2).max(FEW_LINES);
        let mut larger = Places {
            lines: vec![Line::default(); lines],
            count: 0,
        };
        for (tag, place) in self.iter() {
            larger.insert(tag, place);
        }
        *self = larger;
    }
}

impl Line {
    fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        let slots = self.tags.iter().zip(&self.places).enumerate();
        slots
            .filter(|(slot, _)| self.used >> slot & 1 == 1)
            .map(|(_, (tag, place))| (*tag, *place))
    }

    /// The slots of a tag, with their places.
    #[inline]
    fn places_of(&self, tag: u32) -> impl Iterator<Item = (usize, u32)> {
        // Without branches: one look tells that there is none, which is usual.
        let same = self.tags.iter().enumerate();
        let same = same.fold(0, |same, (slot, other)| {
            same | u32::from(*other == tag) << slot
        });
        let mut same = same & self.used;
        std::iter::from_fn(move || {
            let slot = same.trailing_zeros() as usize;
            same &= same.wrapping_sub(1);
            Some((slot, *self.places.get(slot)?))
        })
    }

    /// Into a free slot.
    fn put(&mut self, tag: u32, place: u32) {
        let slot = (!self.used).trailing_zeros() as usize;
        if let (Some(tags), Some(places)) = (self.tags.get_mut(slot), self.places.get_mut(slot)) {
            (*tags, *places) = (tag, place);
            self.used |= 1 << slot;
        }
    }

    /// Whether it was here.
    fn take(&mut self, tag: u32, place: u32) -> bool {
        let found = self.places_of(tag).find(|(_, other)| *other == place);
        if let Some((slot, _)) = found {
            self.used &= !(1 << slot);
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(places: &Places) -> Vec<(u32, u32)> {
        let mut entries: Vec<_> = places.iter().collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn a_line_is_one_of_the_cache() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }

    #[test]
    fn an_empty_table_finds_nothing_and_keeps_little() {
        let mut places = Places::default();
        assert_eq!(places.find(1, |_| true), None);
        places.remove(1, 1);
        for place in 0..1000 {
            places.insert(place, place);
        }
        places.shrink();
        assert_eq!(places.find(999, |_| true), Some(999));
        for place in 0..1000 {
            places.remove(place, place);
        }
        assert!(places.lines.iter().all(|line| line.passed == 0));
        places.shrink();
        assert_eq!(places.lines.len(), 0);
    }

    #[test]
    fn equal_tags_are_told_apart_by_their_places() {
        let mut places = Places::default();
        for place in 0..30 {
            places.insert(7, place);
        }
        for place in 0..30 {
            assert_eq!(places.find(7, |found| found == place), Some(place));
        }
        for place in (0..30).step_by(2) {
            places.remove(7, place);
        }
        for place in 0..30 {
            let expected = (place % 2 == 1).then_some(place);
            assert_eq!(places.find(7, |found| found == place), expected);
        }
    }

    proptest! {
        /// Tags of few lines, so that many are full.
        #[test]
        fn it_is_like_a_list(steps in prop::collection::vec((any::<bool>(), 0..6u32, 0..40u32), 1..400)) {
            let mut places = Places::default();
            let mut expected = Vec::new();
            for (is_insert, tag, place) in steps {
                let known = expected.iter().position(|entry| *entry == (tag, place));
                match (is_insert, known) {
                    (true, None) => {
                        places.insert(tag, place);
                        expected.push((tag, place));
                    }
                    (true, Some(_)) => {}
                    (false, known) => {
                        places.remove(tag, place);
                        known.map(|at| expected.swap_remove(at));
                    }
                }
                let is_there = expected.contains(&(tag, place));
                prop_assert_eq!(places.find(tag, |found| found == place).is_some(), is_there);
            }
            expected.sort_unstable();
            prop_assert_eq!(sorted(&places), expected);
        }
    }
}
