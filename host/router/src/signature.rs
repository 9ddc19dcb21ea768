//! Detached ed25519 signatures (RFC 8032) of policies, and the text forms of keys.
//!
//! ```text
//! ed25519:<64 hexadecimal digits>           a public key, as in policy.trusted_keys
//! ed25519:<128 hexadecimal digits>          a signature of a component's bytes, as in NAME.wasm.sig
//! ed25519-private:<64 hexadecimal digits>   a private key, in a file for its owner alone
//! ```

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand::TryRngCore;
use rand::rngs::OsRng;

const PUBLIC_PREFIX: &str = "ed25519:";
const PRIVATE_PREFIX: &str = "ed25519-private:";
/// The largest file with a key or a signature that is read.
const MAX_FILE_BYTES: u64 = 4096;

/// Who may sign policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// What proves that the holder of a key has seen a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(ed25519_dalek::Signature);

/// A key that signs.
pub struct PrivateKey(SigningKey);

/// Why a version is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error(
        "it is not signed, and policy.trusted_keys takes signed policies only: `patchbay policy sign FILE.wasm --key KEYFILE` makes FILE.wasm.sig, which belongs beside it"
    )]
    Missing,
    /// The signature is no text of the known form.
    #[error("the signature is not \"ed25519:\" and 128 hexadecimal digits")]
    Malformed,
    /// No trusted key has made the signature.
    #[error("the signature is of none of the trusted keys, or of another component")]
    Untrusted,
}

/// Why a file with a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It can't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a file already.
    #[error("{}: there is a file already, and a key is never overwritten: name a new one", .0.display())]
    Exists(PathBuf),
    /// Others than its owner may read it.
    #[error("{}: a private key must be readable by its owner alone: chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error("{}: this is no {kind}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected.
        kind: &'static str,
    },
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicKey, String> {
        if text.trim().starts_with(PRIVATE_PREFIX) {
            // Without it: errors go into logs.
            return Err("this is a private key, and it has to stay secret: the public one is in the file beside it that ends in .pub".to_owned());
        }
        let bytes = text.trim().strip_prefix(PUBLIC_PREFIX).and_then(unhex);
        bytes
            .and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok())
            .filter(|key| !key.is_weak())
            .map(PublicKey)
            .ok_or_else(|| {
                format!("{text:?} is no public key: \"ed25519:\" and 64 hexadecimal digits, as `patchbay policy sign --new-key FILE` prints it")
            })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", hex(self.0.as_bytes()))
    }
}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Signature, SignatureError> {
        let bytes = text
            .trim()
            .strip_prefix(PUBLIC_PREFIX)
            .and_then(unhex::<64>);
        let bytes = bytes.ok_or(SignatureError::Malformed)?;
        Ok(Signature(ed25519_dalek::Signature::from_bytes(&bytes)))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", hex(&self.0.to_bytes()))
    }
}

/// The trusted key that signed these bytes.
pub fn signer<'k>(
    keys: &'k [PublicKey],
    bytes: &[u8],
    signature: Option<&str>,
) -> Result<&'k PublicKey, SignatureError> {
    let signature: Signature = signature.ok_or(SignatureError::Missing)?.parse()?;
    keys.iter()
        .find(|key| key.0.verify_strict(bytes, &signature.0).is_ok())
        .ok_or(SignatureError::Untrusted)
}

impl PrivateKey {
    /// Makes a key from the system's random numbers.
    pub fn generate() -> io::Result<PrivateKey> {
        let mut seed = [0; 32];
        OsRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
        Ok(PrivateKey(SigningKey::from_bytes(&seed)))
    }

    /// Reads the key of a file that is its owner's alone.
    pub fn read(path: &Path) -> Result<PrivateKey, KeyError> {
        let failed = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let text = read_text(path).map_err(failed)?;
        let seed = text.trim().strip_prefix(PRIVATE_PREFIX).and_then(unhex);
        let seed = seed.ok_or_else(|| KeyError::Malformed {
            path: path.to_owned(),
            kind: "private key",
        })?;
        if fs::metadata(path).map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
            });
        }
        Ok(PrivateKey(SigningKey::from_bytes(&seed)))
    }

    /// Writes the key to a new file, for its owner alone. A file that is there stays.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
                _ => failed(source),
            })?;
        writeln!(file, "{PRIVATE_PREFIX}{}", hex(self.0.as_bytes())).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    /// The key that others need to check its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a component.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(bytes))
    }
}

impl PublicKey {
    /// Reads the key of a file.
    pub fn read(path: &Path) -> Result<PublicKey, KeyError> {
        let text = read_text(path).map_err(|source| KeyError::Io {
            path: path.to_owned(),
            source,
        })?;
        text.parse().map_err(|_| KeyError::Malformed {
            path: path.to_owned(),
            kind: "public key",
        })
    }
}

/// Where the signature of a component's file is: `NAME.wasm.sig`.
pub fn signature_file(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The text of the signature beside a component's file, if there is one.
pub fn read_beside(component: &Path) -> io::Result<Option<String>> {
    match read_text(&signature_file(component)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE_BYTES), &mut text)?;
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey(SigningKey::from_bytes(&[seed; 32]))
    }

    #[test]
    fn a_signature_proves_key_and_bytes() {
        let keys = [key(1).public(), key(2).public()];
        let signature = key(2).sign(b"component").to_string();
        assert_eq!(signer(&keys, b"component", Some(&signature)), Ok(&keys[1]));
        assert_eq!(
            signer(&keys, b"another", Some(&signature)),
            Err(SignatureError::Untrusted)
        );
        assert_eq!(
            signer(&keys[..1], b"component", Some(&signature)),
            Err(SignatureError::Untrusted)
        );
        assert_eq!(
            signer(&keys, b"component", None),
            Err(SignatureError::Missing)
        );
        for text in [
            "",
            "ed25519:",
            "ed25519:zz",
            &signature[1..],
            &signature[..99],
        ] {
            assert_eq!(
                signer(&keys, b"component", Some(text)),
                Err(SignatureError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn the_first_test_of_rfc_8032_holds() {
        // RFC 8032 §7.1, TEST 1.
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let key = PrivateKey(SigningKey::from_bytes(&unhex(seed).expect("a seed")));
        assert_eq!(
            key.public().to_string(),
            "ed25519:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(
            key.sign(b"").to_string(),
            "ed25519:e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        );
    }

    #[test]
    fn a_private_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let made = PrivateKey::generate().expect("random numbers");
        made.write_new(&path).expect("written");
        assert!(
            made.write_new(&path).is_err(),
            "the key that is there stays"
        );
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = PrivateKey::read(&path).expect("read");
        assert_eq!(read.public(), made.public());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(
            PrivateKey::read(&path),
            Err(KeyError::Exposed { .. })
        ));
        // The other one of the pair may be read by everybody.
        fs::write(&path, made.public().to_string()).expect("write");
        assert!(matches!(
            PrivateKey::read(&path),
            Err(KeyError::Malformed { .. })
        ));
    }

    #[test]
    fn a_private_key_in_the_wrong_place_is_not_repeated() {
        let secret = hex(key(4).0.as_bytes());
        let text = format!("{PRIVATE_PREFIX}{secret}");
        let error = text.parse::<PublicKey>().expect_err("it is private");
        assert!(error.contains("private key"), "{error}");
        assert!(!error.contains(&secret), "{error}");
    }

    #[test]
    fn a_public_key_survives_its_text_form() {
        let key = key(3).public();
        assert_eq!(key.to_string().parse(), Ok(key));
        for text in [
            "",
            "abc",
            "ed25519:00",
            "ed25519:0100000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }
}
