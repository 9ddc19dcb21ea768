//! The hash algorithms of RFC 8760 §2.1 and what is stored of a password.

use patchbay_message::eq_ignore_case;
use sha2::{Digest, Sha256, Sha512_256};

use super::hex;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RFC 3261 §22.4.
    Md5,
    /// RFC 8760 §2.1.
    Sha256,
    /// RFC 8760 §2.1: SHA-512/256 of FIPS 180-4, which is not a SHA-512 cut short.
    Sha512_256,
}

impl Algorithm {
    /// All of them, the weakest first.
    pub const ALL: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256];

    /// The token in `algorithm=`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// Reads the token, whatever its case.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::from_token(name.as_bytes())
    }

    /// [`Algorithm::from_name`] of what may be no text.
    pub(super) fn from_token(token: &[u8]) -> Option<Algorithm> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| eq_ignore_case(algorithm.name().as_bytes(), token))
    }

    /// Bytes of a hash.
    pub fn hash_bytes(self) -> usize {
        if self == Algorithm::Md5 { 16 } else { 32 }
    }

    /// The hash of `parts` joined by colons.
    pub(super) fn hash(self, parts: &[&[u8]]) -> Hash {
        let mut joined = Joined::new();
        for part in parts {
            joined.push(part);
        }
        self.hash_text(joined.text())
    }

    /// In one piece: hashing that at once costs less than hashing part by part.
    pub(super) fn hash_text(self, text: &[u8]) -> Hash {
        let mut bytes = [0; 32];
        match self {
            Algorithm::Md5 => {
                let (md5, _) = bytes.split_at_mut(16);
                md5.copy_from_slice(&*md5::compute(text));
            }
            Algorithm::Sha256 => bytes = Sha256::digest(text).into(),
            Algorithm::Sha512_256 => bytes = Sha512_256::digest(text).into(),
        }
        Hash {
            bytes,
            length: self.hash_bytes(),
        }
    }
}

/// Most responses are made of so much.
const JOINED_BYTES: usize = 256;

/// Parts of a text to hash, joined by colons.
pub(super) struct Joined {
    room: [u8; JOINED_BYTES],
    used: usize,
    /// All of it if there is not enough room.
    long: Vec<u8>,
}

impl Joined {
    #[inline]
    pub(super) fn new() -> Joined {
        Joined {
            room: [0; JOINED_BYTES],
            used: 0,
            long: Vec::new(),
        }
    }

    /// Adds a part and a colon.
    #[inline]
    pub(super) fn push(&mut self, part: &[u8]) {
        let end = self.used + part.len() + 1;
        match self.room.get_mut(self.used..end) {
            Some([place @ .., colon]) => {
                place.copy_from_slice(part);
                *colon = b':';
                self.used = end;
            }
            _ => self.push_long(part),
        }
    }

    /// Adds the digits. How many they are is known to the compiler, as a rule.
    #[inline]
    pub(super) fn push_hex(&mut self, hex: &Hex) {
        match hex.as_bytes().as_array::<32>() {
            Some(md5) => self.push(md5),
            None => self.push(hex.as_bytes()),
        }
    }

    #[cold]
    fn push_long(&mut self, part: &[u8]) {
        if self.long.is_empty() {
            let before = self.room.get(..self.used).unwrap_or_default();
            self.long.extend_from_slice(before);
            // No part has room from now on.
            self.used = JOINED_BYTES;
        }
        self.long.extend_from_slice(part);
        self.long.push(b':');
    }

    /// Without the last colon.
    #[inline]
    pub(super) fn text(&self) -> &[u8] {
        let room = self.room.get(..self.used).unwrap_or_default();
        let text = if self.long.is_empty() {
            room
        } else {
            &self.long
        };
        text.split_last().map_or(text, |(_, text)| text)
    }
}

/// A hash of any of the algorithms.
#[derive(Clone, Copy)]
pub(super) struct Hash {
    bytes: [u8; 32],
    length: usize,
}

impl Hash {
    /// Wraps bytes; longer ones are cut at 32.
    pub(super) fn from_bytes(from: &[u8]) -> Hash {
        let mut bytes = [0; 32];
        let length = from.len().min(32);
        let (used, _) = bytes.split_at_mut(length);
        used.copy_from_slice(from.get(..length).unwrap_or_default());
        Hash { bytes, length }
    }

    /// The hexadecimal form that further hashes are made of.
    pub(super) fn hex(&self) -> Hex {
        let mut text = [[0; 32]; 2];
        if let ([first, second], [first_digits, second_digits]) =
            (self.bytes.as_chunks().0, &mut text)
        {
            *first_digits = hex::digits(first);
            if self.length > first.len() {
                *second_digits = hex::digits(second);
            }
        }
        Hex {
            text,
            length: self.length * 2,
        }
    }
}

/// A hash in lower-case hexadecimal digits.
#[derive(Clone, Copy)]
pub(super) struct Hex {
    text: [[u8; 32]; 2],
    length: usize,
}

impl Hex {
    /// The digits.
    pub(super) fn as_bytes(&self) -> &[u8] {
        let text = self.text.as_flattened();
        text.get(..self.length).unwrap_or_default()
    }
}

/// H(user:realm:password) for each algorithm it was computed for (RFC 7616 §3.4.2).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Ha1Set {
    /// For MD5.
    pub md5: Option<[u8; 16]>,
    /// For SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// For SHA-512-256.
    pub sha512_256: Option<[u8; 32]>,
}

impl Ha1Set {
    /// Computes every hash of a password.
    pub fn from_password(user: &str, realm: &str, password: &str) -> Ha1Set {
        let mut set = Ha1Set::default();
        let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        let mut md5 = [0; 16];
        md5.iter_mut()
            .zip(Algorithm::Md5.hash(&parts).bytes)
            .for_each(|(place, byte)| *place = byte);
        set.md5 = Some(md5);
        set.sha256 = Some(Algorithm::Sha256.hash(&parts).bytes);
        set.sha512_256 = Some(Algorithm::Sha512_256.hash(&parts).bytes);
        set
    }

    /// Whether there is a hash for this algorithm.
    pub fn has(&self, algorithm: Algorithm) -> bool {
        self.get(algorithm).is_some()
    }

    /// The hash for this algorithm.
    pub fn get(&self, algorithm: Algorithm) -> Option<&[u8]> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_ref().map(<[u8; 16]>::as_slice),
            Algorithm::Sha256 => self.sha256.as_ref().map(<[u8; 32]>::as_slice),
            Algorithm::Sha512_256 => self.sha512_256.as_ref().map(<[u8; 32]>::as_slice),
        }
    }
}

/// Hashes are credentials: they are never printed.
impl std::fmt::Debug for Ha1Set {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Algorithm::ALL
            .into_iter()
            .filter(|&algorithm| self.has(algorithm))
            .map(Algorithm::name);
        formatter.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(algorithm: Algorithm, parts: &[&[u8]]) -> String {
        String::from_utf8(algorithm.hash(parts).hex().as_bytes().to_vec()).unwrap()
    }

    /// FIPS 180-4 example: "abc".
    #[test]
    fn sha_512_256_is_the_real_one() {
        let expected = "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23";
        assert_eq!(hex(Algorithm::Sha512_256, &[b"abc"]), expected);
    }

    #[test]
    fn md5_and_sha_256_match_their_standards() {
        assert_eq!(
            hex(Algorithm::Md5, &[b"abc"]),
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(
            hex(Algorithm::Sha256, &[b"abc"]),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn parts_are_joined_by_colons() {
        assert_eq!(
            hex(Algorithm::Md5, &[b"a", b"", b"b"]),
            hex(Algorithm::Md5, &[b"a::b"])
        );
    }

    #[test]
    fn names_are_read_whatever_their_case() {
        assert_eq!(
            Algorithm::from_name("sha-512-256"),
            Some(Algorithm::Sha512_256)
        );
        assert_eq!(Algorithm::from_name("SHA-512"), None);
    }

    #[test]
    fn hashes_are_not_printed() {
        let printed = format!("{:?}", Ha1Set::from_password("a", "b", "c"));
        assert_eq!(printed, r#"{"MD5", "SHA-256", "SHA-512-256"}"#);
    }
}
