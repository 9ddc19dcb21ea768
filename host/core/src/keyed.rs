//! The secrets of a node: keyed hashes for branches, tags, and Record-Route tokens.

use crate::door::CoreConfig;

/// What a hash is for; two purposes never give the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// RFC 5393 §4.2.1: the second part of a branch.
    Loop = 1,
    /// RFC 3261 §16.11: the branch of a request that is forwarded statelessly.
    StatelessBranch = 2,
    /// The To tag of a response of ours.
    ToTag = 3,
    /// The Record-Route token.
    RecordRoute = 4,
    /// Which worker gets a Call-ID.
    Worker = 5,
}

/// Keyed hashing with the node's name mixed in, so that nodes with the same key differ.
#[derive(Clone)]
pub(crate) struct Keyed {
    key: [u8; 32],
}

impl Keyed {
    /// The hashes of this node.
    pub(crate) fn new(config: &CoreConfig) -> Keyed {
        let mut hasher = blake3::Hasher::new_keyed(&config.token_key);
        hasher.update(b"patchbay node\0");
        hasher.update(config.node.as_bytes());
        Keyed {
            key: *hasher.finalize().as_bytes(),
        }
    }

    /// 128 bits over `parts`, of which none can run into the next.
    pub(crate) fn hash(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = Hash::new(self, purpose);
        for part in parts {
            hasher.part(part);
        }
        hasher.finish()
    }

    /// The first 64 bits of [`Keyed::hash`].
    pub(crate) fn hash64(&self, purpose: Purpose, parts: &[&[u8]]) -> u64 {
        first64(self.hash(purpose, parts))
    }
}

/// A keyed hash under way.
pub(crate) struct Hash {
    hasher: blake3::Hasher,
}

impl Hash {
    /// Starts a hash.
    pub(crate) fn new(keyed: &Keyed, purpose: Purpose) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&keyed.key);
        hasher.update(&[purpose as u8]);
        Hash { hasher }
    }

    /// Adds a part, with its length in front.
    pub(crate) fn part(&mut self, part: &[u8]) {
        self.hasher.update(&(part.len() as u32).to_le_bytes());
        self.hasher.update(part);
    }

    /// 128 bits of the hash.
    pub(crate) fn finish(self) -> [u8; 16] {
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(self.hasher.finalize().as_bytes()) {
            *to = *from;
        }
        out
    }
}

/// The first half of a hash as a number.
pub(crate) fn first64(hash: [u8; 16]) -> u64 {
    (u128::from_be_bytes(hash) >> 64) as u64
}
