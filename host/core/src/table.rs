//! Slots with generations: an id of something that is gone finds nothing.
//!
//! What is in a slot is first live and may later be spent: then a small rest of it stays under the same handle. Live entries are
//! boxes that are used again, so that a table with a million rests is small and the next live entry is warm in the cache. Slots lie
//! in pages that never move: the table grows without copying what is in it.

use crate::prefetch::prefetch_all;

/// Names an entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Handle {
    /// Its place.
    pub(crate) slot: u32,
    /// Which user of the place; never 0.
    pub(crate) generation: u32,
}

impl Handle {
    /// The handle as a number that `from_u64` reads.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// The handle in a number.
    pub(crate) fn from_u64(number: u64) -> Handle {
        Handle {
            slot: (number >> 32) as u32,
            generation: number as u32,
        }
    }
}

/// Slots in a page, as a power of two.
const PAGE_BITS: u32 = 9;
const PAGE: usize = 1 << PAGE_BITS;
/// No slot is so high: two bits of a number that names a slot mean something else.
const NONE: u32 = u32::MAX;
/// How many boxes wait for reuse at most.
const POOLED_BOXES: usize = 1024;

/// A table of live `T`, of which `S` is left when they are spent.
#[derive(Debug)]
pub(crate) struct Table<T, S = ()> {
    pages: Vec<Vec<Place<T, S>>>,
    /// The slot that was freed last: its memory is the warmest.
    free: u32,
    live: usize,
    spent: usize,
    last_generation: u32,
    /// Boxes of what was live; what is in them holds on to nothing. It is the boxes that move, so they are kept whole.
    #[allow(clippy::vec_box)]
    boxes: Vec<Box<T>>,
}

#[derive(Debug)]
struct Place<T, S> {
    /// 0: free.
    generation: u32,
    content: Content<T, S>,
}

#[derive(Debug)]
enum Content<T, S> {
    /// The slot that is free after this one.
    Free(u32),
    Live(Box<T>),
    Spent(S),
}

impl<T, S> Table<T, S> {
    /// An empty table.
    pub(crate) fn new() -> Table<T, S> {
        Table {
            pages: Vec::new(),
            free: NONE,
            live: 0,
            spent: 0,
            last_generation: 0,
            boxes: Vec::new(),
        }
    }

    /// Puts an entry in.
    pub(crate) fn insert(&mut self, value: T) -> Handle {
        let boxed = match self.used_box() {
            Some(mut boxed) => {
                *boxed = value;
                boxed
            }
            None => Box::new(value),
        };
        self.insert_box(boxed)
    }

    /// A box that was kept, with what is left in it.
    pub(crate) fn used_box(&mut self) -> Option<Box<T>> {
        self.boxes.pop()
    }

    /// Puts an entry in that is in its box already.
    pub(crate) fn insert_box(&mut self, boxed: Box<T>) -> Handle {
        let generation = self.next_generation();
        self.live += 1;
        let place = Place {
            generation,
            content: Content::Live(boxed),
        };
        let slot = self.free;
        if let Some(free) = self.place_mut(slot) {
            if let Content::Free(next) = std::mem::replace(free, place).content {
                self.free = next;
            }
            return Handle { slot, generation };
        }
        let slot = self.push(place);
        Handle { slot, generation }
    }

    fn push(&mut self, place: Place<T, S>) -> u32 {
        let full = self.pages.len();
        match self.pages.last_mut() {
            Some(page) if page.len() < PAGE => {
                page.push(place);
                ((full - 1) * PAGE + page.len() - 1) as u32
            }
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(place);
                self.pages.push(page);
                (full * PAGE) as u32
            }
        }
    }

    /// Gives a live entry a new handle; answers to the old one find nothing.
    pub(crate) fn renew(&mut self, slot: u32) -> Option<Handle> {
        let generation = self.next_generation();
        let place = self.place_mut(slot)?;
        if !matches!(place.content, Content::Live(_)) {
            return None;
        }
        place.generation = generation;
        Some(Handle { slot, generation })
    }

    fn next_generation(&mut self) -> u32 {
        self.last_generation = self.last_generation.wrapping_add(1).max(1);
        self.last_generation
    }

    fn place(&self, slot: u32) -> Option<&Place<T, S>> {
        self.pages
            .get((slot >> PAGE_BITS) as usize)?
            .get(slot as usize & (PAGE - 1))
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Place<T, S>> {
        self.pages
            .get_mut((slot >> PAGE_BITS) as usize)?
            .get_mut(slot as usize & (PAGE - 1))
    }

    /// The live entry.
    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let place = self.place(handle.slot)?;
        (place.generation == handle.generation)
            .then(|| place.live())
            .flatten()
    }

    /// Has the processor fetch the live entry in a slot, which will be read soon.
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(live) = self.at(slot) {
            prefetch_all(live);
        }
    }

    /// The live entry, to change.
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let place = self.place_mut(handle.slot)?;
        if place.generation != handle.generation {
            return None;
        }
        place.live_mut()
    }

    /// The live entry in a slot, whatever its generation: for owners that keep slots of entries they own.
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        self.place(slot)?.live()
    }

    /// The same, to change.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.place_mut(slot)?.live_mut()
    }

    /// The handle of the live entry in a slot.
    pub(crate) fn handle_at(&self, slot: u32) -> Option<Handle> {
        let place = self.place(slot)?;
        place.live()?;
        Some(Handle {
            slot,
            generation: place.generation,
        })
    }

    /// What is left of a spent entry.
    pub(crate) fn spent(&self, handle: Handle) -> Option<&S> {
        let place = self.place(handle.slot)?;
        match &place.content {
            Content::Spent(rest) if place.generation == handle.generation => Some(rest),
            _ => None,
        }
    }

    /// The same, to change.
    pub(crate) fn spent_mut(&mut self, handle: Handle) -> Option<&mut S> {
        let place = self.place_mut(handle.slot)?;
        match &mut place.content {
            Content::Spent(rest) if place.generation == handle.generation => Some(rest),
            _ => None,
        }
    }

    /// What is left of the spent entry in a slot, whatever its generation.
    pub(crate) fn spent_at_mut(&mut self, slot: u32) -> Option<&mut S> {
        match &mut self.place_mut(slot)?.content {
            Content::Spent(rest) => Some(rest),
            _ => None,
        }
    }

    /// Leaves only this of a live entry, which the caller takes apart and gives back with [`Table::keep`].
    pub(crate) fn spend(&mut self, slot: u32, rest: S) -> Option<Box<T>> {
        let content = &mut self.place_mut(slot)?.content;
        if !matches!(content, Content::Live(_)) {
            return None;
        }
        let Content::Live(boxed) = std::mem::replace(content, Content::Spent(rest)) else {
            return None;
        };
        self.live -= 1;
        self.spent += 1;
        Some(boxed)
    }

    /// Takes a live entry out of a slot. Its box is used again when it comes back with [`Table::keep`].
    pub(crate) fn remove_at(&mut self, slot: u32) -> Option<Box<T>> {
        if !matches!(self.place(slot)?.content, Content::Live(_)) {
            return None;
        }
        let Content::Live(boxed) = self.clear(slot)? else {
            return None;
        };
        self.live -= 1;
        Some(boxed)
    }

    /// Takes what is left of a spent entry out of its slot.
    pub(crate) fn remove_spent_at(&mut self, slot: u32) -> Option<S> {
        if !matches!(self.place(slot)?.content, Content::Spent(_)) {
            return None;
        }
        let Content::Spent(rest) = self.clear(slot)? else {
            return None;
        };
        self.spent -= 1;
        Some(rest)
    }

    fn clear(&mut self, slot: u32) -> Option<Content<T, S>> {
        let next = self.free;
        let place = self.place_mut(slot)?;
        place.generation = 0;
        let content = std::mem::replace(&mut place.content, Content::Free(next));
        self.free = slot;
        Some(content)
    }

    /// Takes a box back, for the next entry. What is in it must not hold on to anything large or shared.
    pub(crate) fn keep(&mut self, boxed: Box<T>) {
        if self.boxes.len() < POOLED_BOXES {
            self.boxes.push(boxed);
        }
    }

    /// How many live entries there are.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// How many entries are spent.
    pub(crate) fn spent_count(&self) -> usize {
        self.spent
    }

    /// Every live entry with its handle.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.places().filter_map(|(handle, content)| match content {
            Content::Live(value) => Some((handle, &**value)),
            _ => None,
        })
    }

    /// What is left of every spent entry, with its handle.
    pub(crate) fn iter_spent(&self) -> impl Iterator<Item = (Handle, &S)> {
        self.places().filter_map(|(handle, content)| match content {
            Content::Spent(rest) => Some((handle, rest)),
            _ => None,
        })
    }

    fn places(&self) -> impl Iterator<Item = (Handle, &Content<T, S>)> {
        self.pages
            .iter()
            .flatten()
            .enumerate()
            .map(|(slot, place)| {
                let handle = Handle {
                    slot: slot as u32,
                    generation: place.generation,
                };
                (handle, &place.content)
            })
    }
}

impl<T, S> Place<T, S> {
    fn live(&self) -> Option<&T> {
        match &self.content {
            Content::Live(value) => Some(value),
            _ => None,
        }
    }

    fn live_mut(&mut self) -> Option<&mut T> {
        match &mut self.content {
            Content::Live(value) => Some(value),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_finds_nothing() {
        let mut table: Table<char> = Table::new();
        let first = table.insert('a');
        assert_eq!(Handle::from_u64(first.to_u64()), first);
        assert_eq!(table.remove_at(first.slot).as_deref(), Some(&'a'));
        let second = table.insert('b');
        assert_eq!(second.slot, first.slot);
        assert_eq!(table.get(first), None);
        let third = table.renew(second.slot).unwrap();
        assert_eq!((table.get(second), table.get(third)), (None, Some(&'b')));
    }

    #[test]
    fn what_is_left_stays_under_the_same_handle() {
        let mut table: Table<char, u8> = Table::new();
        let handle = table.insert('a');
        let boxed = table.spend(handle.slot, 7).unwrap();
        table.keep(boxed);
        assert_eq!((table.get(handle), table.spent(handle)), (None, Some(&7)));
        assert_eq!((table.live(), table.spent_count()), (0, 1));
        assert_eq!(table.handle_at(handle.slot), None);
        assert_eq!(table.renew(handle.slot), None);
        assert!(table.remove_at(handle.slot).is_none());
        assert!(table.spend(handle.slot, 8).is_none());
        let other = table.insert('b');
        assert_ne!(other.slot, handle.slot);
        assert_eq!(table.remove_spent_at(handle.slot), Some(7));
        assert_eq!(table.spent(handle), None);
        assert_eq!(table.insert('c').slot, handle.slot);
    }

    #[test]
    fn slots_are_found_over_many_pages_and_used_again() {
        let mut table: Table<usize> = Table::new();
        let handles: Vec<Handle> = (0..3 * PAGE + 1).map(|n| table.insert(n)).collect();
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!((handle.slot as usize, table.get(*handle)), (n, Some(&n)));
        }
        let freed: Vec<u32> = handles.iter().step_by(2).map(|h| h.slot).collect();
        for slot in &freed {
            assert!(table.remove_at(*slot).is_some());
        }
        let mut again: Vec<u32> = freed.iter().map(|_| table.insert(0).slot).collect();
        again.sort_unstable();
        assert_eq!(again, freed);
        assert_eq!(table.live(), handles.len());
        assert_eq!(table.iter().count(), handles.len());
    }
}
