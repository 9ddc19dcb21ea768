//! One user on one line: `user,realm,ha1-md5,ha1-sha256,ha1-sha512-256`, hashes in hexadecimal or empty.

use patchbay_core::auth::Ha1Set;

/// Why a hash or a name can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A hash is not hexadecimal or has another length.
    #[error("{name} is not {digits} hexadecimal digits")]
    Hash {
        /// Which one.
        name: &'static str,
        /// How long it has to be.
        digits: usize,
    },
    /// There is no hash at all.
    #[error("there is neither a password nor a hash")]
    NoHash,
    /// A user is written as an address, which nobody could register with.
    #[error("{user:?} is no user name: it has neither domain nor scheme; the domain is the realm")]
    Address {
        /// What is written.
        user: String,
    },
    /// A user or realm can't be told in a header, or not at all.
    #[error("{name} is empty or contains a control character, a quote or a backslash")]
    Name {
        /// Which one.
        name: &'static str,
    },
}

/// The records of a text and their line numbers from 1, without empty lines and those that start with `#`. A record is one
/// line: names and passwords have no line breaks.
pub(super) fn records(
    text: &str,
) -> impl Iterator<Item = (u64, Result<csv::StringRecord, csv::Error>)> {
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let mut reader = csv::ReaderBuilder::new();
            reader
                .has_headers(false)
                .flexible(true)
                .buffer_capacity(line.len());
            let mut record = csv::StringRecord::new();
            let read = reader.from_reader(line.as_bytes()).read_record(&mut record);
            (number, read.map(|_| record))
        })
}

/// Reads the three hashes.
pub(super) fn read_hashes(md5: &str, sha256: &str, sha512_256: &str) -> Result<Ha1Set, FieldError> {
    let set = Ha1Set {
        md5: read_hash("ha1-md5", md5)?,
        sha256: read_hash("ha1-sha256", sha256)?,
        sha512_256: read_hash("ha1-sha512-256", sha512_256)?,
    };
    if set == Ha1Set::default() {
        Err(FieldError::NoHash)
    } else {
        Ok(set)
    }
}

/// The three hashes as they are written.
pub(super) fn write_hashes(set: &Ha1Set) -> [String; 3] {
    [
        hex(set.md5.as_ref()),
        hex(set.sha256.as_ref()),
        hex(set.sha512_256.as_ref()),
    ]
}

/// A name that fits between the quotes of a challenge and its answer.
pub(super) fn check_name(name: &'static str, text: &str) -> Result<(), FieldError> {
    if text.is_empty()
        || text
            .chars()
            .any(|character| character.is_control() || matches!(character, '"' | '\\'))
    {
        return Err(FieldError::Name { name });
    }
    Ok(())
}

fn read_hash<const N: usize>(
    name: &'static str,
    text: &str,
) -> Result<Option<[u8; N]>, FieldError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || FieldError::Hash {
        name,
        digits: 2 * N,
    };
    if text.len() != 2 * N {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = pair
            .iter()
            .map(|&digit| char::from(digit).to_digit(16))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(wrong)?;
        *byte = digits
            .iter()
            .fold(0, |byte, digit| byte << 4 | *digit as u8);
    }
    Ok(Some(bytes))
}

fn hex<const N: usize>(bytes: Option<&[u8; N]>) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .into_iter()
        .flatten()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_come_back() {
        let set = Ha1Set::from_password("alice", "example.com", "secret");
        let [md5, sha256, sha512_256] = write_hashes(&set);
        assert_eq!(read_hashes(&md5, &sha256, &sha512_256).unwrap(), set);
        assert_eq!(md5, "b1726872c344b6dc8365b774f8fd6412");
    }

    #[test]
    fn some_hashes_may_be_missing_but_not_all() {
        let md5 = "b1726872c344b6dc8365b774f8fd6412";
        assert!(read_hashes(md5, "", "").unwrap().md5.is_some());
        assert_eq!(read_hashes("", "", ""), Err(FieldError::NoHash));
    }

    #[test]
    fn malformed_hashes_are_named() {
        let error = read_hashes("be82", "", "").unwrap_err();
        assert_eq!(error.to_string(), "ha1-md5 is not 32 hexadecimal digits");
        let error = read_hashes("", &"g".repeat(64), "").unwrap_err();
        assert_eq!(error.to_string(), "ha1-sha256 is not 64 hexadecimal digits");
    }
}
