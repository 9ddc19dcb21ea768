//! The store of a single router: sled.

use std::path::Path;

use super::store::{LocationStore, StoreError, Write};

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

    /// Uses a database that is open.
    pub fn new(database: &sled::Db) -> Result<SledStore, StoreError> {
        Ok(SledStore {
            tree: database.open_tree(TREE)?,
        })
    }
}

impl LocationStore for SledStore {
    fn load(
        &mut self,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        for record in self.tree.scan_prefix(prefix) {
            let (key, value) = record?;
            each(&key, &value);
        }
        Ok(())
    }

    /// Survives a process that is killed; whether it survives a loss of power is up to the file system.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match &write.value {
                Some(value) => batch.insert(write.key.as_slice(), value.as_slice()),
                None => batch.remove(write.key.as_slice()),
            }
        }
        self.tree.apply_batch(batch)?;
        self.tree.flush()?;
        Ok(())
    }
}
