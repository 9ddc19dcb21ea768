//! The identity of a policy version: a digest of its bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How many characters of a digest are shown where space is short.
const SHORT_LEN: usize = 12;
/// How many characters of a digest name a version at least.
pub(crate) const MIN_LEN: usize = 6;

/// BLAKE3 of a component's bytes, as 64 lower-case hexadecimal digits. Cloning it is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// The text is no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 64 hexadecimal digits, or at least the first 6 of them")]
pub struct DigestError;

impl Digest {
    /// The digest of a component.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Arc::from(blake3::hash(bytes).to_hex().as_str()))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for logs and tables.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT_LEN).unwrap_or(&self.0)
    }

    /// Whether `text` is this digest or a beginning of it with at least 6 digits, in upper or lower case.
    pub fn matches(&self, text: &str) -> bool {
        let start = self
            .0
            .get(..text.len())
            .filter(|start| start.len() >= MIN_LEN);
        start.is_some_and(|start| start.eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let valid =
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid {
            Ok(Digest(Arc::from(text)))
        } else {
            Err(DigestError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_equal_digests() {
        assert_eq!(Digest::of(b"a"), Digest::of(b"a"));
        assert_ne!(Digest::of(b"a"), Digest::of(b"b"));
    }

    #[test]
    fn a_digest_survives_its_text_form() {
        let digest = Digest::of(b"policy");
        assert_eq!(digest.as_str().parse(), Ok(digest.clone()));
        assert!("xyz".parse::<Digest>().is_err());
    }

    #[test]
    fn six_digits_are_enough_to_name_a_version() {
        let digest = Digest::of(b"policy");
        assert!(digest.matches(&digest.as_str()[..6]));
        assert!(!digest.matches(&digest.as_str()[..5]));
    }
}
