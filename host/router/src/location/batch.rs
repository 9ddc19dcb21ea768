//! Changes of a store in one block of bytes.
//!
//! | what | bytes |
//! | --- | --- |
//! | length of the key | u32, little-endian |
//! | length of the value, or `u32::MAX`: the record goes | u32, little-endian |
//! | key, value | |

const HEAD_BYTES: usize = 8;
const REMOVED: u32 = u32::MAX;

/// Changes of a store in their order; the last one of a key counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: usize,
}

impl Batch {
    /// Adds a record: `write` appends its value, and says whether there is one; without a value the record goes. The key is
    /// its parts one after the other.
    pub fn push(&mut self, key: &[&[u8]], write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
        key.iter()
            .for_each(|part| self.bytes.extend_from_slice(part));
        let key_end = self.bytes.len();
        let is_there = write(&mut self.bytes);
        if !is_there {
            self.bytes.truncate(key_end);
        }
        // A message has 64 KiB, and what is kept of all contacts of an address-of-record is bounded as well.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or_default();
        let key_length = length(key_end - start - HEAD_BYTES);
        let value_length = if is_there {
            length(self.bytes.len() - key_end)
        } else {
            REMOVED
        };
        let head = self.bytes.get_mut(start..start + HEAD_BYTES);
        if let Some((key, value)) = head.and_then(|head| head.split_at_mut_checked(4)) {
            key.copy_from_slice(&key_length.to_le_bytes());
            value.copy_from_slice(&value_length.to_le_bytes());
        }
        self.changes += 1;
    }

    /// Adds a change as [`Batch::iter`] gives it.
    pub fn push_change(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.push(&[key], |bytes| {
            bytes.extend_from_slice(value.unwrap_or_default());
            value.is_some()
        });
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Forgets them and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes = 0;
    }

    /// Every change: the key, and the value unless the record goes.
    pub fn iter(&self) -> Changes<'_> {
        Changes(&self.bytes)
    }

    /// The block.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The changes in a block of bytes; ends where they are damaged.
pub struct Changes<'a>(&'a [u8]);

impl<'a> Changes<'a> {
    /// Reads a block.
    pub(super) fn of(bytes: &'a [u8]) -> Changes<'a> {
        Changes(bytes)
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key_length, rest) = self.0.split_first_chunk::<4>()?;
        let (value_length, rest) = rest.split_first_chunk::<4>()?;
        let key_length = usize::try_from(u32::from_le_bytes(*key_length)).ok()?;
        let (key, rest) = rest.split_at_checked(key_length)?;
        let value_length = u32::from_le_bytes(*value_length);
        if value_length == REMOVED {
            self.0 = rest;
            return Some((key, None));
        }
        let (value, rest) = rest.split_at_checked(usize::try_from(value_length).ok()?)?;
        self.0 = rest;
        Some((key, Some(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_in_order() {
        let mut batch = Batch::default();
        batch.push(&[b"a", b"b"], |bytes| {
            bytes.extend_from_slice(b"value");
            true
        });
        batch.push(&[b"c"], |bytes| {
            bytes.extend_from_slice(b"not kept");
            false
        });
        batch.push_change(b"", Some(b""));
        let changes: Vec<_> = batch.iter().collect();
        assert_eq!(
            changes,
            [
                (&b"ab"[..], Some(&b"value"[..])),
                (b"c", None),
                (b"", Some(b""))
            ]
        );
        assert_eq!(batch.len(), 3);
        batch.clear();
        assert!(batch.is_empty() && batch.iter().next().is_none());
    }

    #[test]
    fn a_block_that_is_cut_ends_early() {
        let mut batch = Batch::default();
        batch.push_change(b"key", Some(b"value"));
        let bytes = batch.as_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Changes::of(&bytes[..length]).count(), 0, "{length}");
        }
    }
}
