//! Room in the guest's memory that the host fills without asking.
//!
//! To ask the guest's allocator is a crossing there and one back for each text. A guest may lend the host an *arena* instead: an exported
//! global holds the address of a head of four numbers.
//!
//! ```text
//! used   bytes in use, from the first one on
//! live   blocks in use
//! size   bytes there are
//! bytes  the address of the first one, a multiple of 8
//! ```
//!
//! The host puts a block behind the bytes in use and counts it. The guest counts down what it gives back, and sets `used` to 0 when nothing
//! is live any more. Only the guest is harmed when it writes nonsense there: every block is looked up in its memory before it is filled.

/// The name of the global.
pub(super) const GLOBAL: &str = "patchbay:arena";
/// What the place of every block can be divided by.
const ALIGN: u32 = 8;

/// A guest's arena, by the address of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arena(u32);

impl Arena {
    /// The arena at the address that the guest's global holds.
    pub(super) fn at(address: i32) -> Option<Arena> {
        let address = address as u32;
        (address != 0).then_some(Arena(address))
    }

    /// Takes a block; `None` when there is no room, and the guest's allocator has to be asked.
    #[inline(always)]
    pub(super) fn take(self, memory: &mut [u8], size: u32) -> Option<u32> {
        let (head, _) = memory.get_mut(self.0 as usize..)?.as_chunks_mut::<8>();
        let [counts, place, ..] = head else {
            return None;
        };
        let (used, live) = halves(*counts);
        let (whole, bytes) = halves(*place);
        // One block begins where the one before ends, rounded up.
        let start = used.checked_add(ALIGN - 1)? & !(ALIGN - 1);
        let end = start.checked_add(size)?;
        if end > whole {
            return None;
        }
        *counts = (u64::from(end) | u64::from(live.wrapping_add(1)) << 32).to_le_bytes();
        bytes.checked_add(start)
    }

    /// Puts the block back that was taken last, at this address.
    #[cold]
    pub(super) fn put_back(self, memory: &mut [u8], at: u32) {
        let head = memory
            .get_mut(self.0 as usize..)
            .map(|head| head.as_chunks_mut::<8>().0);
        if let Some([counts, place, ..]) = head {
            let ((_, live), (_, bytes)) = (halves(*counts), halves(*place));
            let used = at.wrapping_sub(bytes);
            *counts = (u64::from(used) | u64::from(live.wrapping_sub(1)) << 32).to_le_bytes();
        }
    }
}

/// Two numbers that lie next to each other.
#[inline]
fn halves(bytes: [u8; 8]) -> (u32, u32) {
    let both = u64::from_le_bytes(bytes);
    (both as u32, (both >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(size: u32) -> Vec<u8> {
        let mut memory = vec![0; 8 + 16 + 64];
        memory[16..20].copy_from_slice(&size.to_le_bytes());
        memory[20] = 24;
        memory
    }

    fn counts(memory: &[u8]) -> (u32, u32) {
        let word = |at: usize| u32::from_le_bytes(*memory[at..].first_chunk().unwrap());
        (word(8), word(12))
    }

    #[test]
    fn blocks_follow_each_other_until_the_arena_is_full() {
        let mut memory = memory(32);
        let arena = Arena::at(8).unwrap();
        assert_eq!(arena.take(&mut memory, 5), Some(24));
        assert_eq!(arena.take(&mut memory, 16), Some(32));
        assert_eq!(counts(&memory), (24, 2));
        assert_eq!(arena.take(&mut memory, 9), None);
        assert_eq!(arena.take(&mut memory, 8), Some(48));
        assert_eq!(counts(&memory), (32, 3));
    }

    #[test]
    fn a_block_that_was_put_back_is_taken_again() {
        let mut memory = memory(32);
        let arena = Arena::at(8).unwrap();
        assert_eq!(arena.take(&mut memory, 5), Some(24));
        assert_eq!(arena.take(&mut memory, 16), Some(32));
        arena.put_back(&mut memory, 32);
        assert_eq!(counts(&memory), (8, 1));
        assert_eq!(arena.take(&mut memory, 24), Some(32));
        assert_eq!(counts(&memory), (32, 2));
    }

    #[test]
    fn a_head_with_nonsense_gives_no_block_or_one_that_is_looked_up() {
        let mut wild = memory(u32::MAX);
        wild[8..12].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        let arena = Arena::at(8).unwrap();
        assert_eq!(arena.take(&mut wild, 100), None);
        assert_eq!(arena.take(&mut wild, 1), None);
        let outside = Arena::at(4096).unwrap();
        assert_eq!(outside.take(&mut wild, 1), None);
        assert_eq!(Arena::at(0), None);
    }
}
