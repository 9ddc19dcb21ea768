//! What the location service needs of a storage engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Batch;

/// A store that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine refused.
    #[error("the store failed: {0}")]
    Engine(#[from] sled::Error),
    /// A thread could not be started.
    #[error("the location service could not start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The log in front of the engine can't be read or written.
    #[error("the log of registrations {} failed: {source}", path.display())]
    Log {
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine has not taken up the log for so long that there is no more room.
    #[error("the log of registrations is full: {bytes} bytes wait for the store")]
    LogFull {
        /// What waits.
        bytes: u64,
    },
    /// The store is not there any more.
    #[error("the location store is closed")]
    Closed,
}

/// Takes a key and its record, `None` where there is none any more.
pub type EachRecord<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// A key-value store for records of the location service, used by one thread at a time.
pub trait LocationStore: Send + 'static {
    /// Hands what is known of the keys that start with `prefix` to `each`: a record, or `None` where there is none any more.
    /// A key may come several times; the last time counts.
    fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError>;

    /// Writes all of these, or none; they survive the death of the process from the moment this returns.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError>;
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
    fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .for_each(|(key, value)| each(key, Some(value)));
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch.iter() {
            match value {
                Some(value) => records.insert(key.to_vec(), value.to_vec()),
                None => records.remove(key),
            };
        }
        Ok(())
    }
}
