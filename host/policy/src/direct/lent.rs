//! Texts that lie in the host and are copied into the guest alone, without a buffer in between.

use wasmtime::{Result, bail};

use super::arena::Arena;
use super::lower::Stored;
use crate::state::{Scratch, Text};
use crate::utf8::push_lossy;

/// A result that is one text of the host's, or none.
pub(crate) trait Lent: Copy {
    /// The same as a value of its own.
    type Owned: Stored;

    /// Writes it where the guest says, its text into the guest's arena. False, with nothing written, when there is no room, or when the
    /// text is not ASCII and is to be looked at more closely.
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> Result<bool>;

    /// A copy, with U+FFFD for what is not UTF-8.
    fn owned(self, scratch: &Scratch) -> Self::Owned;
}

impl Lent for &[u8] {
    type Owned = Text;

    #[inline]
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> Result<bool> {
        let Some(at) = copied(self, memory, arena)? else {
            return Ok(false);
        };
        set(memory, result, reference(at, self.len()))?;
        Ok(true)
    }

    fn owned(self, scratch: &Scratch) -> Text {
        scratch.text(|text| push_lossy(text, self))
    }
}

impl Lent for Option<&[u8]> {
    type Owned = Option<Text>;

    #[inline]
    fn write(self, memory: &mut [u8], result: i32, arena: Arena) -> Result<bool> {
        let Some(bytes) = self else {
            set(memory, result, [0; 4])?;
            return Ok(true);
        };
        let Some(at) = copied(bytes, memory, arena)? else {
            return Ok(false);
        };
        let [a, b, c, d, e, f, g, h] = reference(at, bytes.len());
        set(memory, result, [1, 0, 0, 0, a, b, c, d, e, f, g, h])?;
        Ok(true)
    }

    fn owned(self, scratch: &Scratch) -> Option<Text> {
        self.map(|bytes| bytes.owned(scratch))
    }
}

/// Where a copy of the bytes lies in the guest's memory now.
#[inline]
fn copied(bytes: &[u8], memory: &mut [u8], arena: Arena) -> Result<Option<u32>> {
    if bytes.is_empty() {
        return Ok(Some(1));
    }
    if !bytes.is_ascii() {
        return Ok(None);
    }
    let Some(at) = u32::try_from(bytes.len())
        .ok()
        .and_then(|size| arena.take(memory, size))
    else {
        return Ok(None);
    };
    match memory
        .get_mut(at as usize..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        Some(room) => room.copy_from_slice(bytes),
        None => bail!("the arena is beyond the end of memory"),
    }
    Ok(Some(at))
}

/// Pointer and length.
#[inline]
fn reference(at: u32, length: usize) -> [u8; 8] {
    (u64::from(at) | (length as u64) << 32).to_le_bytes()
}

#[inline]
fn set<const N: usize>(memory: &mut [u8], result: i32, bytes: [u8; N]) -> Result<()> {
    let at = result as u32;
    if !at.is_multiple_of(4) {
        bail!("pointer not aligned");
    }
    match memory
        .get_mut(at as usize..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        Some(place) => *place = bytes,
        None => bail!("pointer out of bounds"),
    }
    Ok(())
}
