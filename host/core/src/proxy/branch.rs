//! The branch parameter of the Via that we add.
//!
//! `z9hG4bK` `pb` place random loop: the place (worker, slot, generation) finds the client transaction without a search, the 64
//! random bits make it unguessable (RFC 3261 §8.1.1.7), the loop part is what RFC 5393 §4.2.1 calls the second part.

use crate::base32;

/// RFC 3261 §8.1.1.7: the magic cookie, and ours behind it.
const PREFIX: &[u8] = b"z9hG4bKpb";
const PLACE_BYTES: usize = 10;
const PROOF_BYTES: usize = 16;
const PLACE_LEN: usize = base32::text_len(PLACE_BYTES);
/// The length of every branch of ours.
pub(crate) const BRANCH_LEN: usize = PREFIX.len() + PLACE_LEN + base32::text_len(PROOF_BYTES);

/// The slot of a branch without state.
pub(crate) const STATELESS_SLOT: u32 = u32::MAX;

/// A branch of ours, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// The worker that has the client transaction.
    pub(crate) worker: u16,
    /// Its slot there.
    pub(crate) slot: u32,
    /// Which user of the slot.
    pub(crate) generation: u32,
    /// Unpredictable; for a stateless branch a keyed hash.
    pub(crate) random: u64,
    /// RFC 5393 §4.2.1.
    pub(crate) loop_hash: u64,
}

impl Branch {
    /// The text for the Via.
    pub(crate) fn text(&self) -> BranchText {
        let mut bytes = [0; BRANCH_LEN];
        let (prefix, rest) = bytes.split_at_mut(PREFIX.len());
        let (place_text, proof_text) = rest.split_at_mut(PLACE_LEN);
        prefix.copy_from_slice(PREFIX);
        let place = u128::from(self.worker) << 64
            | u128::from(self.slot) << 32
            | u128::from(self.generation);
        let place = place.to_be_bytes();
        base32::encode(place.get(6..).unwrap_or(&[]), place_text);
        let proof = u128::from(self.random) << 64 | u128::from(self.loop_hash);
        base32::encode(&proof.to_be_bytes(), proof_text);
        BranchText { bytes }
    }

    /// Whether there may be a branch parameter of ours in this text.
    pub(crate) fn may_be_in(text: &[u8]) -> bool {
        memchr::memchr_iter(b'z', text)
            .any(|at| text.get(at..).is_some_and(|rest| rest.starts_with(PREFIX)))
    }

    /// Reads no more of a branch parameter of ours than which slot it names, and which user of that.
    pub(crate) fn place(text: &[u8]) -> Option<(u32, u32)> {
        let place = text.strip_prefix(PREFIX)?.get(..PLACE_LEN)?;
        let mut bytes = [0u8; PLACE_BYTES];
        if !base32::decode(place, &mut bytes) {
            return None;
        }
        let [_, _, slot @ .., a, b, c, d] = bytes;
        Some((u32::from_be_bytes(slot), u32::from_be_bytes([a, b, c, d])))
    }

    /// Reads no more of a branch parameter of ours than the worker that it names.
    pub(crate) fn worker_in(text: &[u8]) -> Option<u16> {
        let first = text.strip_prefix(PREFIX)?.get(..base32::text_len(5))?;
        let mut bytes = [0; 5];
        let [high, low, ..] = base32::decode(first, &mut bytes).then_some(bytes)?;
        Some(u16::from_be_bytes([high, low]))
    }

    /// Reads a branch parameter; `None` when it is none of ours.
    pub(crate) fn parse(text: &[u8]) -> Option<Branch> {
        let (place, proof) = text.strip_prefix(PREFIX)?.split_at_checked(PLACE_LEN)?;
        let mut low = [0u8; 16];
        let mut high = [0u8; PROOF_BYTES];
        if !base32::decode(place, low.get_mut(6..)?) || !base32::decode(proof, &mut high) {
            return None;
        }
        let place = u128::from_be_bytes(low);
        let proof = u128::from_be_bytes(high);
        Some(Branch {
            worker: (place >> 64) as u16,
            slot: (place >> 32) as u32,
            generation: place as u32,
            random: (proof >> 64) as u64,
            loop_hash: proof as u64,
        })
    }
}

/// A branch as text, without allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BranchText {
    bytes: [u8; BRANCH_LEN],
}

impl BranchText {
    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: Branch = Branch {
        worker: 3,
        slot: 77,
        generation: 0xdead_beef,
        random: 0x0123_4567_89ab_cdef,
        loop_hash: u64::MAX - 5,
    };

    #[test]
    fn a_branch_comes_back() {
        let text = BRANCH.text();
        assert_eq!(text.as_bytes().len(), BRANCH_LEN);
        assert!(text.as_bytes().starts_with(b"z9hG4bK"));
        assert_eq!(Branch::parse(text.as_bytes()), Some(BRANCH));
    }

    #[test]
    fn foreign_branches_are_none() {
        for text in [
            &b"z9hG4bK776asdhds"[..],
            b"",
            b"z9hG4bKpb",
            b"z9hG4bKpb!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
        ] {
            assert_eq!(Branch::parse(text), None);
        }
    }
}
