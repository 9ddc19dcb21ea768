//! The store of a single router: sled.

use std::path::Path;

use super::batch::Batch;
use super::store::{EachRecord, LocationStore, StoreError};

const TREE: &str = "location";
/// The index answers lookups, so the engine needs no cache beyond what writing takes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Keeps the log of a busy store from growing faster than it is cleaned.
const FLUSH_EVERY_MS: u64 = 50;

/// Records in a tree of a sled database.
pub struct SledStore {
    tree: sled::Tree,
}

impl SledStore {
    /// Opens or makes the database in a folder.
    pub fn open(folder: &Path) -> Result<SledStore, StoreError> {
        let config = sled::Config::new()
            .path(folder)
            .mode(sled::Mode::LowSpace)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(FLUSH_EVERY_MS));
        SledStore::new(&config.open()?)
    }

    /// Uses a tree of a database that is open.
    pub fn tree(database: &sled::Db, name: &str) -> Result<SledStore, StoreError> {
        Ok(SledStore {
            tree: database.open_tree(name)?,
        })
    }

    /// Uses a database that is open.
    pub fn new(database: &sled::Db) -> Result<SledStore, StoreError> {
        SledStore::tree(database, TREE)
    }
}

impl LocationStore for SledStore {
    fn load(&mut self, prefix: &[u8], each: &mut EachRecord<'_>) -> Result<(), StoreError> {
        for record in self.tree.scan_prefix(prefix) {
            let (key, value) = record?;
            each(&key, Some(&value));
        }
        Ok(())
    }

    /// Survives a process that is killed; whether it survives a loss of power is up to the file system.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.iter() {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.tree.apply_batch(writes)?;
        self.tree.flush()?;
        Ok(())
    }
}
