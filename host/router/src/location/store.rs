//! What the location service needs of a storage engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A store that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused.
    #[error("the location store failed: {0}")]
    Engine(#[from] sled::Error),
    /// A thread could not be started.
    #[error("the location service could not start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The store is not there any more.
    #[error("the location store is closed")]
    Closed,
}

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The namespace and the address-of-record.
    pub key: Vec<u8>,
    /// The record; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// A key-value store for records of the location service, used by one thread at a time.
pub trait LocationStore: Send + 'static {
    /// Hands every record whose key starts with `prefix` to `each`, as key and value.
    fn load(&mut self, prefix: &[u8], each: &mut dyn FnMut(&[u8], &[u8]))
    -> Result<(), StoreError>;

    /// Writes all of these, or none; they survive the death of the process from the moment this returns.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// A store that lives as long as the values that share it: for tests.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl MemoryStore {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl LocationStore for MemoryStore {
    fn load(
        &mut self,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .for_each(|(key, value)| each(key, value));
        Ok(())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for write in writes {
            match &write.value {
                Some(value) => records.insert(write.key.clone(), value.clone()),
                None => records.remove(&write.key),
            };
        }
        Ok(())
    }
}
