//! How an address-of-record is stored.
//!
//! The key is `namespace`, a zero byte, and the canonical text of the address-of-record. The value is the format version and
//! then each binding as its length (u32, little-endian) and its bytes.

use patchbay_core::registrar::ContactBinding;

const VERSION: u8 = 1;

/// What every key of a namespace starts with.
pub(super) fn prefix(namespace: &str) -> Vec<u8> {
    let mut key = namespace.as_bytes().to_vec();
    key.push(0);
    key
}

/// The namespace and the text of the address-of-record in a key of any namespace.
pub(super) fn parts(key: &[u8]) -> Option<(&str, &str)> {
    let at = key.iter().position(|byte| *byte == 0)?;
    let (namespace, rest) = key.split_at_checked(at)?;
    let namespace = std::str::from_utf8(namespace).ok()?;
    Some((namespace, std::str::from_utf8(rest.get(1..)?).ok()?))
}

/// Appends the value for these bindings; `false`: there are none, the record goes.
pub(super) fn write(value: &mut Vec<u8>, bindings: &[ContactBinding]) -> bool {
    value.push(VERSION);
    for binding in bindings {
        let bytes = binding.as_bytes();
        // A binding is smaller than 64 KiB.
        value.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes());
        value.extend_from_slice(bytes);
    }
    !bindings.is_empty()
}

/// The bindings in a value; `None` when it is of another version or damaged.
pub(super) fn decode(value: &[u8]) -> Option<Vec<ContactBinding>> {
    let (&VERSION, mut rest) = value.split_first()? else {
        return None;
    };
    let mut bindings = Vec::with_capacity(1);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (bytes, after) = after.split_at_checked(length)?;
        bindings.push(ContactBinding::from_bytes(bytes)?);
        rest = after;
    }
    rest.is_empty().then_some(bindings)
}

#[cfg(test)]
mod tests {
    use super::super::service::tests::binding;
    use super::*;

    fn encode(bindings: &[ContactBinding]) -> Vec<u8> {
        let mut value = Vec::new();
        assert!(write(&mut value, bindings));
        value
    }

    #[test]
    fn bindings_come_back() {
        let bindings = vec![
            binding("sip:a@192.0.2.1", 100),
            binding("sip:b@192.0.2.2", 200),
        ];
        assert_eq!(decode(&encode(&bindings)), Some(bindings));
        assert!(!write(&mut Vec::new(), &[]));
    }

    #[test]
    fn damaged_or_newer_records_are_refused() {
        let value = encode(&[binding("sip:a@192.0.2.1", 100)]);
        assert_eq!(decode(&value[..value.len() - 1]), None);
        assert_eq!(decode(&[&value[..], &[0]].concat()), None);
        assert_eq!(decode(&[&[9], &value[1..]].concat()), None);
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn keys_of_namespaces_do_not_mix() {
        for namespace in ["default", "def"] {
            let key = [&prefix(namespace)[..], b"sip:a@example.com"].concat();
            assert_eq!(parts(&key), Some((namespace, "sip:a@example.com")));
        }
        assert_eq!(parts(b"sip:a@example.com"), None);
    }
}
