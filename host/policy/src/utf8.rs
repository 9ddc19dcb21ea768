//! Bytes as text. What SIP and policies say is nearly always ASCII, which is recognised many bytes at a time.
#![allow(
    unsafe_code,
    reason = "the standard library has no safe way from ASCII bytes to a text that does not look at each of them again"
)]

use std::str::Utf8Error;

/// The text in these bytes.
#[inline]
pub(crate) fn checked(bytes: &[u8]) -> Result<&str, Utf8Error> {
    match ascii(bytes) {
        Some(text) => Ok(text),
        None => std::str::from_utf8(bytes),
    }
}

/// Adds text that came from the network, with U+FFFD for what is not UTF-8.
#[inline]
pub(crate) fn push_lossy(text: &mut String, bytes: &[u8]) {
    match ascii(bytes) {
        Some(valid) => text.push_str(valid),
        None => push_chunks(text, bytes),
    }
}

/// How many bytes [`push_lossy`] adds.
pub(crate) fn lossy_len(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes
        .utf8_chunks()
        .map(|chunk| match chunk.invalid() {
            [] => chunk.valid().len(),
            _ => chunk.valid().len() + char::REPLACEMENT_CHARACTER.len_utf8(),
        })
        .sum()
}

#[inline]
fn ascii(bytes: &[u8]) -> Option<&str> {
    // SAFETY: what is ASCII is UTF-8.
    bytes
        .is_ascii()
        .then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

fn push_chunks(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_replaced_and_counted() {
        for bytes in [
            b"".as_slice(),
            b"plain",
            b"caf\xc3\xa9",
            b"x\xff\xfey",
            b"\xc3",
        ] {
            let mut text = String::new();
            push_lossy(&mut text, bytes);
            assert_eq!(text, String::from_utf8_lossy(bytes));
            assert_eq!(text.len(), lossy_len(bytes));
        }
    }

    #[test]
    fn a_text_is_utf8() {
        assert_eq!(checked(b"plain"), Ok("plain"));
        assert_eq!(checked(b"caf\xc3\xa9"), Ok("caf\u{e9}"));
        assert!(checked(b"x\xff").is_err());
    }
}
