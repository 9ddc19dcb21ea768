//! Slots with generations: an id of something that is gone finds nothing.

use slab::Slab;

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

/// A table of `T`.
#[derive(Debug)]
pub(crate) struct Table<T> {
    entries: Slab<(u32, T)>,
    last_generation: u32,
}

impl<T> Table<T> {
    /// An empty table.
    pub(crate) fn new() -> Table<T> {
        Table {
            entries: Slab::new(),
            last_generation: 0,
        }
    }

    /// Puts an entry in.
    pub(crate) fn insert(&mut self, value: T) -> Handle {
        let generation = self.next_generation();
        let slot = self.entries.insert((generation, value)) as u32;
        Handle { slot, generation }
    }

    /// Gives an entry a new handle; answers to the old one find nothing.
    pub(crate) fn renew(&mut self, slot: u32) -> Option<Handle> {
        let generation = self.next_generation();
        self.entries.get_mut(slot as usize)?.0 = generation;
        Some(Handle { slot, generation })
    }

    fn next_generation(&mut self) -> u32 {
        self.last_generation = self.last_generation.wrapping_add(1).max(1);
        self.last_generation
    }

    /// The entry.
    pub(crate) fn get(&self, handle: Handle) -> Option<&T> {
        let (generation, value) = self.entries.get(handle.slot as usize)?;
        (*generation == handle.generation).then_some(value)
    }

    /// The entry, to change.
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let (generation, value) = self.entries.get_mut(handle.slot as usize)?;
        (*generation == handle.generation).then_some(value)
    }

    /// The entry in a slot, whatever its generation: for owners that keep slots of entries they own.
    pub(crate) fn at(&self, slot: u32) -> Option<&T> {
        self.entries.get(slot as usize).map(|(_, value)| value)
    }

    /// The same, to change.
    pub(crate) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize).map(|(_, value)| value)
    }

    /// The handle of the entry in a slot.
    pub(crate) fn handle_at(&self, slot: u32) -> Option<Handle> {
        let (generation, _) = self.entries.get(slot as usize)?;
        Some(Handle {
            slot,
            generation: *generation,
        })
    }

    /// Takes the entry out of a slot.
    pub(crate) fn remove_at(&mut self, slot: u32) -> Option<T> {
        self.entries
            .try_remove(slot as usize)
            .map(|(_, value)| value)
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Every entry with its handle.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        self.entries.iter().map(|(slot, (generation, value))| {
            (
                Handle {
                    slot: slot as u32,
                    generation: *generation,
                },
                value,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_finds_nothing() {
        let mut table = Table::new();
        let first = table.insert('a');
        assert_eq!(Handle::from_u64(first.to_u64()), first);
        assert_eq!(table.remove_at(first.slot), Some('a'));
        let second = table.insert('b');
        assert_eq!(second.slot, first.slot);
        assert_eq!(table.get(first), None);
        let third = table.renew(second.slot).unwrap();
        assert_eq!((table.get(second), table.get(third)), (None, Some(&'b')));
    }
}
