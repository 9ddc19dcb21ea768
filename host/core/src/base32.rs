//! Binary values as SIP tokens: base 32 with digits and small letters, so that nothing depends on case.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// How many characters `bytes` bytes take.
pub(crate) const fn text_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Appends `bytes` as text.
pub(crate) fn encode(bytes: &[u8], out: &mut impl Extend<u8>) {
    let mut pending = 0u32;
    let mut bits = 0u32;
    for &byte in bytes {
        pending = pending << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.extend([character(pending >> bits)]);
        }
    }
    if bits > 0 {
        out.extend([character(pending << (5 - bits))]);
    }
}

fn character(value: u32) -> u8 {
    ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0')
}

/// Reads what `encode` wrote into `out`; false when a character or the length is not what `encode` writes for that many bytes.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> bool {
    if text.len() != text_len(out.len()) {
        return false;
    }
    let mut pending = 0u32;
    let mut bits = 0u32;
    let mut bytes = out.iter_mut();
    for &letter in text {
        let Some(value) = value_of(letter) else {
            return false;
        };
        pending = pending << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            let Some(byte) = bytes.next() else {
                return false;
            };
            *byte = (pending >> bits) as u8;
        }
    }
    // The unused bits of the last character are zero, so that a value has one text only.
    pending & ((1 << bits) - 1) == 0
}

fn value_of(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'v' => Some(letter - b'a' + 10),
        b'A'..=b'V' => Some(letter - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        for len in 0..40usize {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + 11) as u8).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            assert_eq!(text.len(), text_len(len));
            let mut back = vec![0; len];
            assert!(decode(&text, &mut back));
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let mut out = [0; 2];
        assert!(!decode(b"000", &mut out));
        assert!(!decode(b"zzzz", &mut out));
        assert!(!decode(b"0001", &mut out), "unused bits set");
        assert!(decode(b"0000", &mut out));
    }
}
