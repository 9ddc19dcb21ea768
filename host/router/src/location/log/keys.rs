//! What is remembered of the files of the log: which keys they hold, so that they need not be read to know what is out of date.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Two keys with the same hash are taken for one; with 128 bits and seeds that nobody knows that does not happen.
pub(super) type KeyHash = [u64; 2];

/// Hashes keys.
pub(super) struct KeyHasher([RandomState; 2]);

impl KeyHasher {
    /// With seeds of its own.
    pub(super) fn new() -> KeyHasher {
        KeyHasher([RandomState::default(), RandomState::default()])
    }

    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        let [first, second] = &self.0;
        [first.hash_one(key), second.hash_one(key)]
    }
}

/// A file that nobody writes to any more.
#[derive(Clone)]
pub(super) struct SealedFile {
    pub number: u64,
    pub bytes: u64,
    /// The key of each change in their order, in 16 bytes each; `None`: the file is an earlier process's.
    pub keys: Option<Arc<[KeyHash]>>,
}
