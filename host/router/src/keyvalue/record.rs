//! How a value is stored.
//!
//! The key is the namespace, a zero byte, and the key of the policy. The record is the format version, when the value's time is over
//! (milliseconds since 1970 as u64, little-endian; 0: never), and the value.

use std::sync::Arc;

const VERSION: u8 = 1;

/// A key with its namespace.
pub(super) type Key = Arc<[u8]>;

/// A value, and when its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) value: Box<[u8]>,
    pub(super) until_ms: Option<u64>,
}

pub(super) fn key_of(namespace: &str, key: &str) -> Key {
    [namespace.as_bytes(), &[0], key.as_bytes()].concat().into()
}

/// The key as the policy knows it.
pub(super) fn text_of(namespace: &str, key: &[u8]) -> Option<String> {
    let key = key.strip_prefix(namespace.as_bytes())?.strip_prefix(&[0])?;
    String::from_utf8(key.to_vec()).ok()
}

/// Appends the record.
pub(super) fn write(bytes: &mut Vec<u8>, entry: &Entry) {
    bytes.push(VERSION);
    bytes.extend_from_slice(&entry.until_ms.unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(&entry.value);
}

/// The value in a record; `None` when it is of another version or damaged.
pub(super) fn decode(record: &[u8]) -> Option<Entry> {
    let (&VERSION, rest) = record.split_first()? else {
        return None;
    };
    let (until, value) = rest.split_first_chunk::<8>()?;
    let until = u64::from_le_bytes(*until);
    Some(Entry {
        value: value.into(),
        until_ms: (until > 0).then_some(until),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back() {
        for until_ms in [None, Some(7)] {
            let entry = Entry {
                value: b"value"[..].into(),
                until_ms,
            };
            let mut bytes = Vec::new();
            write(&mut bytes, &entry);
            assert_eq!(decode(&bytes), Some(entry));
        }
        assert_eq!(decode(b"\x02"), None);
        assert_eq!(decode(b"\x01short"), None);
    }
}
