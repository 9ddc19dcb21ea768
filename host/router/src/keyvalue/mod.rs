//! The key-value store of policies.
//!
//! All of it is in memory (`table`), so that a hook never waits for the disk; a thread writes what has changed behind (`writer`). Every key
//! begins with a namespace.

mod record;
mod table;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use patchbay_policy::{ErrorKind, HostError, KeyValueAnswer, KeyValueRequest};

use crate::location::{LocationStore, StoreError};
use record::{Key, key_of};
use table::Refusal;
use writer::Writer;

/// The name of the tree in the database.
pub const TREE: &str = "keyvalue";
/// Keys that are listed at once.
const MAX_LISTED: usize = 1000;

/// The values of policies, shared by the workers.
#[derive(Default)]
pub struct KeyValueStore {
    shared: Arc<writer::Shared>,
    /// Set once there is a store to write to.
    writer: Mutex<Option<Writer>>,
}

/// How much is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValueStatistics {
    /// Keys with a value.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Changes that are not on the disk yet.
    pub unwritten: u64,
    /// Writes that failed; what they should have written is tried again.
    pub failed_commits: u64,
}

impl KeyValueStore {
    /// Reads what is stored and writes there from now on. Once there is a store, another is not taken.
    pub fn open(&self, mut store: Box<dyn LocationStore>, now_ms: u64) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.is_some() {
            return Ok(());
        }
        let mut table = self.shared.lock();
        store.load(&[], &mut |key, record| {
            if let Some(entry) = record.and_then(record::decode) {
                table.restore(Key::from(key), entry);
            }
        })?;
        table.sweep(now_ms);
        drop(table);
        *writer = Some(Writer::start(Arc::clone(&self.shared), store)?);
        Ok(())
    }

    /// Whether there is a store to write to.
    pub fn is_open(&self) -> bool {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Writes what is not on the disk yet, and ends the thread that does.
    pub fn close(&self) {
        drop(
            self.writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// How much is in the store.
    pub fn statistics(&self) -> KeyValueStatistics {
        let table = self.shared.lock();
        KeyValueStatistics {
            keys: table.len() as u64,
            bytes: table.bytes() as u64,
            unwritten: (table.dirty() + self.shared.writing()) as u64,
            failed_commits: self.shared.failed_commits(),
        }
    }

    /// Carries out what a policy wants in this namespace.
    pub fn carry_out(
        &self,
        namespace: &str,
        request: KeyValueRequest<'_>,
        now_ms: u64,
    ) -> Result<KeyValueAnswer, HostError> {
        let key = key_of(namespace, request.key());
        let until = |ttl_secs: Option<u32>| {
            ttl_secs.map(|seconds| now_ms.saturating_add(u64::from(seconds) * 1000))
        };
        let mut table = self.shared.lock();
        let answer = match request {
            KeyValueRequest::Get { .. } => {
                KeyValueAnswer::Value(table.get(&key, now_ms).map(<[u8]>::to_vec))
            }
            KeyValueRequest::Exists { .. } => {
                KeyValueAnswer::Exists(table.get(&key, now_ms).is_some())
            }
            KeyValueRequest::Set {
                value, ttl_secs, ..
            } => {
                table
                    .set(key, value, until(ttl_secs))
                    .map_err(|refusal| refused(refusal, &request))?;
                KeyValueAnswer::Done
            }
            KeyValueRequest::Delete { .. } => {
                table.remove(&key);
                KeyValueAnswer::Done
            }
            KeyValueRequest::Increment {
                delta, ttl_secs, ..
            } => KeyValueAnswer::Number(
                table
                    .increment(key, delta, until(ttl_secs), now_ms)
                    .map_err(|refusal| refused(refusal, &request))?,
            ),
            KeyValueRequest::ListKeys { after, .. } => {
                let behind = (!after.is_empty()).then(|| key_of(namespace, after));
                let keys = table.keys(&key, behind, now_ms, MAX_LISTED);
                KeyValueAnswer::Keys(
                    keys.filter_map(|key| record::text_of(namespace, key))
                        .collect(),
                )
            }
        };
        if table.dirty() > 0 {
            self.shared.tell_writer();
        }
        Ok(answer)
    }
}

fn refused(refusal: Refusal, request: &KeyValueRequest<'_>) -> HostError {
    let key = request.key();
    let (kind, message) = match refusal {
        Refusal::Full => (ErrorKind::Limit, "the key-value store is full".to_owned()),
        Refusal::NoNumber => (
            ErrorKind::InvalidArgument,
            format!("the value of {key:?} is no number"),
        ),
        Refusal::Overflow => (
            ErrorKind::Limit,
            format!("the number of {key:?} would leave 64 bits"),
        ),
    };
    HostError { kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{DEFAULT_NAMESPACE, MemoryStore};

    fn ask(
        store: &KeyValueStore,
        request: KeyValueRequest<'_>,
        now_ms: u64,
    ) -> Result<KeyValueAnswer, HostError> {
        store.carry_out(DEFAULT_NAMESPACE, request, now_ms)
    }

    /// Far ahead of the wall clock, by which the writer sweeps.
    const NOW_MS: u64 = 4_000_000_000_000;

    fn set(store: &KeyValueStore, key: &str, value: &[u8], ttl_secs: Option<u32>) {
        set_at(store, key, value, ttl_secs, NOW_MS);
    }

    fn set_at(store: &KeyValueStore, key: &str, value: &[u8], ttl_secs: Option<u32>, now_ms: u64) {
        let request = KeyValueRequest::Set {
            key,
            value,
            ttl_secs,
        };
        assert_eq!(ask(store, request, now_ms), Ok(KeyValueAnswer::Done));
    }

    fn get(store: &KeyValueStore, key: &str, now_ms: u64) -> Option<Vec<u8>> {
        match ask(store, KeyValueRequest::Get { key }, now_ms) {
            Ok(KeyValueAnswer::Value(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let memory = MemoryStore::default();
        let first = KeyValueStore::default();
        first.open(Box::new(memory.clone()), 0).expect("open");
        set(&first, "a/1", b"one", None);
        set(&first, "a/2", b"two", Some(10));
        set(&first, "a/3", b"three", None);
        ask(&first, KeyValueRequest::Delete { key: "a/3" }, 0).expect("deleted");
        first.close();
        assert_eq!(memory.len(), 2);
        let second = KeyValueStore::default();
        let (before, after) = (NOW_MS + 9_999, NOW_MS + 10_000);
        second.open(Box::new(memory), before).expect("open");
        assert_eq!(get(&second, "a/1", before).as_deref(), Some(&b"one"[..]));
        assert_eq!(get(&second, "a/2", before).as_deref(), Some(&b"two"[..]));
        assert_eq!(get(&second, "a/2", after), None);
        assert_eq!(get(&second, "a/3", before), None);
    }

    #[test]
    fn a_value_whose_time_is_over_is_gone_from_the_disk() {
        let memory = MemoryStore::default();
        let store = KeyValueStore::default();
        store.open(Box::new(memory.clone()), 0).expect("open");
        // The writer goes by the wall clock, by which this was long ago.
        set_at(&store, "old", b"1", Some(1), 0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while store.statistics().keys > 0 {
            assert!(std::time::Instant::now() < deadline, "it is swept");
            std::thread::yield_now();
        }
        store.close();
        assert!(memory.is_empty());
    }

    #[test]
    fn namespaces_do_not_mix() {
        let store = KeyValueStore::default();
        set(&store, "a", b"1", None);
        let other = store.carry_out("tenant", KeyValueRequest::Get { key: "a" }, 0);
        assert_eq!(other, Ok(KeyValueAnswer::Value(None)));
        let list = KeyValueRequest::ListKeys {
            prefix: "",
            after: "",
        };
        assert_eq!(
            store.carry_out("tenant", list, 0),
            Ok(KeyValueAnswer::Keys(Vec::new()))
        );
        assert_eq!(
            ask(&store, list, 0),
            Ok(KeyValueAnswer::Keys(vec!["a".to_owned()]))
        );
    }

    #[test]
    fn keys_are_listed_page_by_page() {
        let store = KeyValueStore::default();
        for number in 0..MAX_LISTED + 5 {
            set(&store, &format!("k/{number:04}"), b"", None);
        }
        set(&store, "l", b"", None);
        let page = |after: &str| match ask(
            &store,
            KeyValueRequest::ListKeys {
                prefix: "k/",
                after,
            },
            0,
        ) {
            Ok(KeyValueAnswer::Keys(keys)) => keys,
            other => panic!("{other:?}"),
        };
        let first = page("");
        assert_eq!(first.len(), MAX_LISTED);
        let rest = page(&first[MAX_LISTED - 1]);
        assert_eq!((rest.len(), rest[4].as_str()), (5, "k/1004"));
        assert!(page("k/1004").is_empty());
    }

    #[test]
    fn what_can_not_be_counted_says_why() {
        let store = KeyValueStore::default();
        set(&store, "word", b"abc", None);
        set(&store, "large", i64::MAX.to_string().as_bytes(), None);
        let kind = |key| {
            let request = KeyValueRequest::Increment {
                key,
                delta: 1,
                ttl_secs: None,
            };
            ask(&store, request, 0).err().map(|error| error.kind)
        };
        assert_eq!(kind("word"), Some(ErrorKind::InvalidArgument));
        assert_eq!(kind("large"), Some(ErrorKind::Limit));
        assert_eq!(kind("new"), None);
    }
}
