//! Nonces that nobody has to remember: what they say is proved by a keyed hash.

use subtle::ConstantTimeEq;

use super::hex;
use crate::time::UnixTime;

const TEXT_BYTES: usize = 64;
const SEAL_BYTES: usize = 16;
const KEY_CONTEXT: &str = "patchbay digest nonce v1";

/// What a nonce of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// When it was made.
    pub issued: UnixTime,
    /// Tells it from the others of that second.
    pub random: u64,
}

/// A nonce that somebody sent, who may have made it up.
pub(super) struct Claimed {
    /// What it says.
    pub nonce: Nonce,
    seal: [u8; SEAL_BYTES],
}

impl Claimed {
    /// `None` when the text is no nonce of ours by its form.
    pub(super) fn read(text: &[u8]) -> Option<Claimed> {
        let bytes: [u8; TEXT_BYTES / 2] = hex::read(text)?;
        let (plain, seal) = bytes.split_first_chunk::<16>()?;
        let (issued, random) = plain.split_first_chunk::<8>()?;
        Some(Claimed {
            nonce: Nonce {
                issued: UnixTime(u64::from_be_bytes(*issued)),
                random: u64::from_be_bytes(*random.first_chunk()?),
            },
            seal: *seal.first_chunk()?,
        })
    }
}

/// Makes and checks nonces: 8 bytes of time, 8 random bytes, 16 bytes of keyed blake3, in hexadecimal.
pub(super) struct NonceSeal {
    key: [u8; 32],
}

impl NonceSeal {
    /// Nonces under a key of their own, derived from `secret`.
    pub(super) fn new(secret: &[u8; 32]) -> NonceSeal {
        NonceSeal {
            key: blake3::derive_key(KEY_CONTEXT, secret),
        }
    }

    /// The text for `nonce=`.
    pub(super) fn text(&self, nonce: Nonce) -> [u8; TEXT_BYTES] {
        let plain = plain(nonce);
        let mut text = [0; TEXT_BYTES];
        let (first, second) = text.split_at_mut(2 * plain.len());
        hex::write(first, &plain);
        hex::write(second, &self.seal(&plain));
        text
    }

    /// Whether it was made here.
    pub(super) fn is_ours(&self, claimed: &Claimed) -> bool {
        let seal = self.seal(&plain(claimed.nonce));
        seal.as_slice().ct_eq(&claimed.seal).into()
    }

    fn seal(&self, plain: &[u8; 16]) -> [u8; SEAL_BYTES] {
        let hash = blake3::keyed_hash(&self.key, plain);
        hash.as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

fn plain(nonce: Nonce) -> [u8; 16] {
    let mut plain = [0; 16];
    let (issued, random) = plain.split_at_mut(8);
    issued.copy_from_slice(&nonce.issued.0.to_be_bytes());
    random.copy_from_slice(&nonce.random.to_be_bytes());
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce {
        issued: UnixTime(1_700_000_000),
        random: 0x0123_4567_89ab_cdef,
    };

    fn text(seal: &NonceSeal) -> Vec<u8> {
        seal.text(NONCE).to_vec()
    }

    fn read(seal: &NonceSeal, text: &[u8]) -> Option<Nonce> {
        let claimed = Claimed::read(text)?;
        seal.is_ours(&claimed).then_some(claimed.nonce)
    }

    #[test]
    fn nonce_comes_back() {
        let seal = NonceSeal::new(&[7; 32]);
        assert_eq!(read(&seal, &text(&seal)), Some(NONCE));
    }

    #[test]
    fn any_changed_digit_is_refused() {
        let seal = NonceSeal::new(&[7; 32]);
        for at in 0..TEXT_BYTES {
            let mut forged = text(&seal);
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&seal, &forged), None, "digit {at}");
        }
    }

    #[test]
    fn nonce_of_another_key_is_refused() {
        let (one, other) = (NonceSeal::new(&[7; 32]), NonceSeal::new(&[8; 32]));
        assert_eq!(read(&other, &text(&one)), None);
    }

    #[test]
    fn text_of_another_length_is_refused() {
        let seal = NonceSeal::new(&[7; 32]);
        assert_eq!(read(&seal, b""), None);
        assert_eq!(read(&seal, &[text(&seal), b"00".to_vec()].concat()), None);
    }
}
