//! The secrets of a node: keyed hashes for branches, tags, and Record-Route tokens.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use siphasher::sip128::SipHasher24;

use crate::door::CoreConfig;

/// What a hash is for; two purposes never give the same value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The To tag of a response of ours.
    ToTag = 3,
    /// The Record-Route token.
    RecordRoute = 4,
    /// Which worker gets a Call-ID.
    Worker = 5,
    /// The seed of the fast hash.
    Quick = 6,
}

/// Keyed hashing with the node's name mixed in, so that nodes with the same key differ.
///
/// A proof of ours is over a hundred bytes at most, and a call has three of them. SipHash-2-4 is made for that: nobody who lacks its key can make
/// one, as with BLAKE3, of which one of these takes two blocks and three times as long.
#[derive(Clone)]
pub(crate) struct Keyed {
    mac: SipHasher24,
    /// For hashes that nobody gains anything by guessing.
    quick: SeedableRandomState,
}

impl Keyed {
    /// The hashes of this node.
    pub(crate) fn new(config: &CoreConfig) -> Keyed {
        let mut hasher = blake3::Hasher::new_keyed(&config.token_key);
        hasher.update(b"patchbay node 2\0");
        hasher.update(config.node.as_bytes());
        let hash = hasher.finalize();
        let key = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        let fixed = SharedSeed::global_fixed();
        let mut keyed = Keyed {
            mac: SipHasher24::new_with_key(&key),
            quick: SeedableRandomState::with_seed(0, fixed),
        };
        let seed = keyed.hash64(Purpose::Quick, &[]);
        keyed.quick = SeedableRandomState::with_seed(seed, fixed);
        keyed
    }

    /// 128 bits over `parts`, of which none can run into the next.
    pub(crate) fn hash(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 16] {
        let mut text = Parts::new(purpose);
        for part in parts {
            text.add(part);
        }
        self.hash_of(&text)
    }

    /// 128 bits over parts that were put together before.
    pub(crate) fn hash_of(&self, parts: &Parts) -> [u8; 16] {
        self.mac.hash(parts.text()).as_bytes()
    }

    /// The first 64 bits of [`Keyed::hash`].
    pub(crate) fn hash64(&self, purpose: Purpose, parts: &[&[u8]]) -> u64 {
        first64(self.hash(purpose, parts))
    }

    /// A fast hash, the same on all workers of this node. Whoever sees many of its values might find out how to make them: it is
    /// for what nobody gains by that.
    pub(crate) fn quick(&self) -> impl Hasher + use<> {
        self.quick.build_hasher()
    }
}

/// What is hashed, in one piece: hashing that at once costs half of hashing part by part.
pub(crate) struct Parts {
    short: [u8; SHORT_BYTES],
    used: usize,
    /// Everything, when it is longer.
    long: Vec<u8>,
}

/// More than Call-ID, tags and a branch take together.
const SHORT_BYTES: usize = 256;

impl Parts {
    /// Nothing yet, for a purpose.
    pub(crate) fn new(purpose: Purpose) -> Parts {
        Parts::of_kind(purpose as u8)
    }

    /// The same for a hash with a key of its own.
    pub(crate) fn of_kind(kind: u8) -> Parts {
        let mut parts = Parts {
            short: [0; SHORT_BYTES],
            used: 0,
            long: Vec::new(),
        };
        parts.push(&[kind]);
        parts
    }

    /// Adds a part, with its length in front.
    #[inline]
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.push(&(part.len() as u32).to_le_bytes());
        self.push(part);
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        match self.short.get_mut(self.used..end) {
            Some(place) if self.long.is_empty() => {
                place.copy_from_slice(bytes);
                self.used = end;
            }
            _ => self.push_long(bytes),
        }
    }

    #[cold]
    fn push_long(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            self.long
                .extend_from_slice(self.short.get(..self.used).unwrap_or_default());
        }
        self.long.extend_from_slice(bytes);
    }

    /// What is hashed.
    pub(crate) fn text(&self) -> &[u8] {
        if self.long.is_empty() {
            self.short.get(..self.used).unwrap_or_default()
        } else {
            &self.long
        }
    }
}

/// The first half of a hash as a number.
pub(crate) fn first64(hash: [u8; 16]) -> u64 {
    (u128::from_be_bytes(hash) >> 64) as u64
}
