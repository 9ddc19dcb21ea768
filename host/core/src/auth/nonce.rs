//! Nonces that nobody has to remember: what they say is proved by a keyed hash.

use siphasher::sip::SipHasher24;
use subtle::ConstantTimeEq;

use super::base64;
use crate::time::UnixTime;

/// Short, as it is hashed with every response: what is hashed then fits into two blocks of MD5 as a rule.
pub(super) const TEXT_BYTES: usize = 24;
const SEAL_BYTES: usize = 8;
const KEY_CONTEXT: &str = "patchbay digest nonce v3";
/// The bits of the random number that a nonce has room for.
const RANDOM_BITS: u64 = (1 << 48) - 1;

/// What a nonce of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nonce {
    /// When it was made.
    pub issued: UnixTime,
    /// Tells it from the others of that second; 48 bits.
    pub random: u64,
}

impl Nonce {
    /// Of the random number as much is taken as there is room for.
    pub(super) fn new(issued: UnixTime, random: u64) -> Nonce {
        Nonce {
            issued,
            random: random & RANDOM_BITS,
        }
    }

    /// What the seal is made for.
    fn plain(self) -> [u8; 10] {
        // 32 bits last until 2106.
        let issued = u32::try_from(self.issued.0).unwrap_or(u32::MAX);
        let [a, b, c, d] = issued.to_be_bytes();
        let [_, _, e, f, g, h, i, j] = self.random.to_be_bytes();
        [a, b, c, d, e, f, g, h, i, j]
    }

    fn of_plain([a, b, c, d, e, f, g, h, i, j]: [u8; 10]) -> Nonce {
        Nonce {
            issued: UnixTime(u32::from_be_bytes([a, b, c, d]).into()),
            random: u64::from_be_bytes([0, 0, e, f, g, h, i, j]),
        }
    }
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
        let bytes: [u8; TEXT_BYTES / 4 * 3] = base64::read(text)?;
        let (plain, seal) = bytes.split_first_chunk()?;
        Some(Claimed {
            nonce: Nonce::of_plain(*plain),
            seal: *seal.first_chunk()?,
        })
    }
}

/// Makes and checks nonces: 4 bytes of time, 6 random bytes, 8 bytes of SipHash-2-4, in base 64. A seal can only be guessed by asking
/// the router, once for each of 2⁶⁴; and who has one still needs a password.
pub(super) struct NonceSeal {
    mac: SipHasher24,
}

impl NonceSeal {
    /// Nonces under a key of their own, derived from `secret`.
    pub(super) fn new(secret: &[u8; 32]) -> NonceSeal {
        let key = blake3::derive_key(KEY_CONTEXT, secret);
        let key = key.first_chunk().copied().unwrap_or_default();
        NonceSeal {
            mac: SipHasher24::new_with_key(&key),
        }
    }

    /// The text for `nonce=`.
    pub(super) fn text(&self, nonce: Nonce) -> [u8; TEXT_BYTES] {
        let plain = nonce.plain();
        let mut bytes = [0; TEXT_BYTES / 4 * 3];
        let (first, second) = bytes.split_at_mut(plain.len());
        first.copy_from_slice(&plain);
        second.copy_from_slice(&self.seal(&plain));
        base64::text(&bytes)
    }

    /// Whether it was made here.
    pub(super) fn is_ours(&self, claimed: &Claimed) -> bool {
        let seal = u64::from_ne_bytes(self.seal(&claimed.nonce.plain()));
        seal.ct_eq(&u64::from_ne_bytes(claimed.seal)).into()
    }

    fn seal(&self, plain: &[u8; 10]) -> [u8; SEAL_BYTES] {
        self.mac.hash(plain).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce {
        issued: UnixTime(1_700_000_000),
        random: 0x4567_89ab_cdef,
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
    fn what_there_is_no_room_for_is_left_out() {
        let seal = NonceSeal::new(&[7; 32]);
        let nonce = Nonce::new(NONCE.issued, 0x0123 << 48 | NONCE.random);
        assert_eq!(read(&seal, &seal.text(nonce)), Some(NONCE));
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
        assert_eq!(read(&seal, &[text(&seal), b"0000".to_vec()].concat()), None);
    }
}
