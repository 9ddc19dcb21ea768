//! Keys and values in memory, in the order of the keys; what has to be written; what ends when.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::record::{Entry, Key};

/// Keys in all.
const MAX_KEYS: usize = 1_000_000;
/// Bytes of keys and values in all.
const MAX_BYTES: usize = 256 << 20;

/// Every value.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<Key, Entry>,
    /// What ends, the next one first.
    ends: BTreeSet<(u64, Key)>,
    /// What is not on the disk as it is here.
    dirty: BTreeSet<Key>,
    bytes: usize,
}

/// Why a value is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There are too many, or too many bytes.
    Full,
    /// It can't be added to.
    NoNumber,
    /// The sum has no place in 64 bits.
    Overflow,
}

impl Table {
    /// The value, unless its time is over.
    pub(super) fn get(&self, key: &[u8], now_ms: u64) -> Option<&[u8]> {
        let entry = self.entries.get(key)?;
        entry.is_live(now_ms).then_some(&*entry.value)
    }

    /// Sets a value, which has to be written.
    pub(super) fn set(
        &mut self,
        key: Key,
        value: &[u8],
        until_ms: Option<u64>,
    ) -> Result<(), Refusal> {
        let before = self.entries.get(&key);
        let grows = key.len() + value.len();
        let shrinks = before.map_or(0, |entry| key.len() + entry.value.len());
        let is_new = before.is_none();
        if is_new && self.entries.len() >= MAX_KEYS
            || (self.bytes + grows).saturating_sub(shrinks) > MAX_BYTES
        {
            return Err(Refusal::Full);
        }
        let entry = Entry {
            value: value.into(),
            until_ms,
        };
        self.dirty.insert(Key::clone(&key));
        self.restore(key, entry);
        Ok(())
    }

    /// Puts in a value as it is on the disk.
    pub(super) fn restore(&mut self, key: Key, entry: Entry) {
        self.forget(&key);
        self.bytes += key.len() + entry.value.len();
        if let Some(until_ms) = entry.until_ms {
            self.ends.insert((until_ms, Key::clone(&key)));
        }
        self.entries.insert(key, entry);
    }

    /// Removes a value.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(key) = self.forget(key) {
            self.dirty.insert(key);
        }
    }

    /// Adds to a number and says what it is now. A new one ends at `until_ms`.
    pub(super) fn increment(
        &mut self,
        key: Key,
        delta: i64,
        until_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<i64, Refusal> {
        let before = self.entries.get(&key).filter(|entry| entry.is_live(now_ms));
        let (number, until_ms) = match before {
            Some(entry) => (entry.number().ok_or(Refusal::NoNumber)?, entry.until_ms),
            None => (0, until_ms),
        };
        let sum = number.checked_add(delta).ok_or(Refusal::Overflow)?;
        self.set(key, sum.to_string().as_bytes(), until_ms)?;
        Ok(sum)
    }

    /// At most `limit` keys that begin so, behind a key, in order.
    pub(super) fn keys<'a>(
        &'a self,
        prefix: &'a [u8],
        behind: Option<Key>,
        now_ms: u64,
        limit: usize,
    ) -> impl Iterator<Item = &'a [u8]> {
        let start = match &behind {
            Some(behind) if behind[..] > *prefix => Bound::Excluded(&behind[..]),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(move |(_, entry)| entry.is_live(now_ms))
            .map(|(key, _)| &**key)
            .take(limit)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Removes what is over.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        while let Some((until_ms, key)) = self.ends.first()
            && *until_ms <= now_ms
        {
            let key = Key::clone(key);
            self.remove(&key);
        }
    }

    /// Whether anything ends some time.
    pub(super) fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Takes what has to be written.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.dirty)
    }

    /// What could not be written has to be written still.
    pub(super) fn put_back(&mut self, mut dirty: BTreeSet<Key>) {
        self.dirty.append(&mut dirty);
    }

    /// The entry as it is to be written; `None`: the record goes.
    pub(super) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    fn forget(&mut self, key: &[u8]) -> Option<Key> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.bytes = self.bytes.saturating_sub(key.len() + entry.value.len());
        if let Some(until_ms) = entry.until_ms {
            self.ends.remove(&(until_ms, Key::clone(&key)));
        }
        Some(key)
    }
}

impl Entry {
    fn is_live(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until_ms| now_ms < until_ms)
    }

    fn number(&self) -> Option<i64> {
        std::str::from_utf8(&self.value).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        text.as_bytes().into()
    }

    #[test]
    fn a_counter_keeps_its_end_and_begins_anew_after_it() {
        let mut table = Table::default();
        assert_eq!(table.increment(key("k"), 2, Some(100), 0), Ok(2));
        assert_eq!(table.increment(key("k"), 3, Some(500), 50), Ok(5));
        assert_eq!(table.get(b"k", 99), Some(&b"5"[..]));
        assert_eq!(table.get(b"k", 100), None);
        assert_eq!(table.increment(key("k"), -1, Some(700), 100), Ok(-1));
        table.sweep(699);
        assert_eq!(table.get(b"k", 699), Some(&b"-1"[..]));
    }

    #[test]
    fn bytes_are_those_of_what_is_there() {
        let mut table = Table::default();
        table.set(key("ab"), b"123", None).unwrap();
        table.set(key("ab"), b"1", Some(5)).unwrap();
        assert_eq!((table.len(), table.bytes()), (1, 3));
        table.sweep(5);
        assert_eq!(
            (table.len(), table.bytes(), table.has_ends()),
            (0, 0, false)
        );
        assert_eq!(table.take_dirty().len(), 1);
    }

    #[test]
    fn a_value_that_has_no_room_changes_nothing() {
        let mut table = Table {
            bytes: MAX_BYTES - 10,
            ..Table::default()
        };
        assert_eq!(table.set(key("k"), &[0; 10], None), Err(Refusal::Full));
        assert_eq!(table.set(key("k"), &[0; 9], None), Ok(()));
        assert_eq!(table.set(key("k"), &[1; 9], None), Ok(()));
        assert_eq!(table.set(key("k"), &[1; 10], None), Err(Refusal::Full));
        assert_eq!(table.get(b"k", 0), Some(&[1; 9][..]));
    }
}
