//! Texts that lie in the host and are copied into the guest alone, without a buffer in between.

use super::arena::Arena;
use super::lower::Stored;
use crate::state::{Scratch, Text};
use crate::utf8::{copy_ascii, push_lossy};

/// A result that is one text of the host's, or none.
pub(crate) trait Lent: Copy {
    /// The same as a value of its own.
    type Owned: Stored;

    /// Writes it where the guest says, its text into the guest's arena. False, with nothing written there, when there is no room, when the
    /// text is not ASCII and is to be looked at more closely, or when the guest says a place that is none: what is done then says so.
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> bool;

    /// A copy, with U+FFFD for what is not UTF-8.
    fn owned(self, scratch: &Scratch) -> Self::Owned;
}

impl Lent for &[u8] {
    type Owned = Text;

    #[inline(always)]
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> bool {
        copied(self, memory, arena).is_some_and(|at| set(memory, result, reference(at, self.len())))
    }

    fn owned(self, scratch: &Scratch) -> Text {
        scratch.text(|text| push_lossy(text, self))
    }
}

impl Lent for Option<&[u8]> {
    type Owned = Option<Text>;

    #[inline(always)]
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> bool {
        let Some(bytes) = self else {
            return set(memory, result, [0; 4]);
        };
        copied(bytes, memory, arena).is_some_and(|at| {
            let [a, b, c, d, e, f, g, h] = reference(at, bytes.len());
            set(memory, result, [1, 0, 0, 0, a, b, c, d, e, f, g, h])
        })
    }

    fn owned(self, scratch: &Scratch) -> Option<Text> {
        self.map(|bytes| bytes.owned(scratch))
    }
}

/// Where a copy of the bytes lies in the guest's memory now.
#[inline(always)]
fn copied(bytes: &[u8], memory: &mut [u8], arena: Arena) -> Option<u32> {
    if bytes.is_empty() {
        return Some(1);
    }
    let at = arena.take(memory, u32::try_from(bytes.len()).ok()?)?;
    let start = at as usize;
    let place = memory.get_mut(start..start.checked_add(bytes.len())?)?;
    if copy_ascii(bytes, place) {
        Some(at)
    } else {
        arena.put_back(memory, at);
        None
    }
}

/// Pointer and length.
#[inline(always)]
fn reference(at: u32, length: usize) -> [u8; 8] {
    (u64::from(at) | (length as u64) << 32).to_le_bytes()
}

#[inline(always)]
fn set<const N: usize>(memory: &mut [u8], result: i32, bytes: [u8; N]) -> bool {
    let at = result as u32;
    let place = memory
        .get_mut(at as usize..)
        .and_then(|rest| rest.first_chunk_mut());
    match place {
        Some(place) if at.is_multiple_of(4) => {
            *place = bytes;
            true
        }
        _ => false,
    }
}
