//! Bytes as text. What SIP and policies say is nearly always ASCII, which is recognised many bytes at a time.
#![allow(
    unsafe_code,
    reason = "the standard library has no safe way from ASCII bytes to a text that does not look at each of them again"
)]

use std::str::Utf8Error;

/// The text in these bytes.
#[inline(always)]
pub(crate) fn checked(bytes: &[u8]) -> Result<&str, Utf8Error> {
    match ascii(bytes) {
        Some(text) => Ok(text),
        None => with_others(bytes),
    }
}

#[cold]
fn with_others(bytes: &[u8]) -> Result<&str, Utf8Error> {
    std::str::from_utf8(bytes)
}

/// Whether all of them are ASCII. Names of headers and most values are short: they are a few words that overlap, and no loop ends at
/// each single byte.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    let seen = if let (Some(_), Some(last)) = (bytes.get(16), bytes.last_chunk()) {
        let (sixteens, _) = bytes.as_chunks();
        sixteens
            .iter()
            .fold(sixteen(last), |seen, next| seen | sixteen(next))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        eight(first) | eight(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        four(first) | four(last)
    } else {
        bytes.iter().fold(0, |seen, byte| seen | u64::from(*byte))
    };
    seen & HIGH_BITS == 0
}

/// Copies a text to a place that is as long, and says whether it is ASCII: in one pass.
#[inline(always)]
pub(crate) fn copy_ascii(text: &[u8], place: &mut [u8]) -> bool {
    let mut seen = 0;
    if let (Some(last), Some(last_place)) = (text.last_chunk(), place.last_chunk_mut()) {
        seen |= sixteen(last);
        *last_place = *last;
        let (places, _) = place.as_chunks_mut();
        for (next, next_place) in text.as_chunks().0.iter().zip(places) {
            seen |= sixteen(next);
            *next_place = *next;
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        seen |= eight(first) | eight(last);
        put(place.first_chunk_mut(), first);
        put(place.last_chunk_mut(), last);
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        seen |= four(first) | four(last);
        put(place.first_chunk_mut(), first);
        put(place.last_chunk_mut(), last);
    } else {
        for (byte, place) in text.iter().zip(place) {
            seen |= u64::from(*byte);
            *place = *byte;
        }
    }
    seen & HIGH_BITS == 0
}

/// The highest bit of each byte, which no ASCII byte has.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Bits that one of the bytes has in its place.
#[inline(always)]
fn sixteen(bytes: &[u8; 16]) -> u64 {
    let both = u128::from_ne_bytes(*bytes);
    both as u64 | (both >> 64) as u64
}

#[inline(always)]
fn eight(bytes: &[u8; 8]) -> u64 {
    u64::from_ne_bytes(*bytes)
}

#[inline(always)]
fn four(bytes: &[u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(*bytes))
}

#[inline(always)]
fn put<const N: usize>(place: Option<&mut [u8; N]>, bytes: &[u8; N]) {
    if let Some(place) = place {
        *place = *bytes;
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
    if is_ascii(bytes) {
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
    is_ascii(bytes).then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
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
    fn every_byte_is_looked_at_and_copied() {
        for length in 0..70 {
            let mut text: Vec<u8> = (0..length).map(|at| b'0' + (at % 75) as u8).collect();
            let mut place = vec![0; length];
            assert!(is_ascii(&text) && copy_ascii(&text, &mut place));
            assert_eq!(place, text);
            for at in 0..length {
                let before = std::mem::replace(&mut text[at], 0x80);
                assert!(!is_ascii(&text), "{at} of {length}");
                assert!(!copy_ascii(&text, &mut place), "{at} of {length}");
                text[at] = before;
            }
        }
    }

    #[test]
    fn a_text_is_utf8() {
        assert_eq!(checked(b"plain"), Ok("plain"));
        assert_eq!(checked(b"caf\xc3\xa9"), Ok("caf\u{e9}"));
        assert!(checked(b"x\xff").is_err());
    }
}
