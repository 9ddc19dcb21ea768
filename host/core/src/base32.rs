//! Binary values as SIP tokens: base 32 with digits and small letters, so that nothing depends on case.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// How many characters `bytes` bytes take.
pub(crate) const fn text_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Appends `bytes` as text, five of them as eight characters at a time.
pub(crate) fn encode(bytes: &[u8], out: &mut impl Extend<u8>) {
    let (groups, rest) = bytes.as_chunks::<5>();
    for group in groups {
        let [a, b, c, d, e] = group.map(u64::from);
        let bits = a << 32 | b << 24 | c << 16 | d << 8 | e;
        out.extend([35, 30, 25, 20, 15, 10, 5, 0].map(|shift| character(bits >> shift)));
    }
    if rest.is_empty() {
        return;
    }
    let bits = rest
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let bits = bits << (40 - 8 * rest.len());
    let characters = text_len(rest.len());
    out.extend((0..characters).map(|at| character(bits >> (35 - 5 * at))));
}

fn character(value: u64) -> u8 {
    ALPHABET.get((value & 31) as usize).copied().unwrap_or(b'0')
}

/// Reads what `encode` wrote into `out`; false when a character or the length is not what `encode` writes for that many bytes.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> bool {
    if text.len() != text_len(out.len()) {
        return false;
    }
    // A character that stands for nothing leaves a bit that no value has.
    let mut seen = 0;
    let (groups, rest) = text.as_chunks::<8>();
    let (full, tail) = out.as_chunks_mut::<5>();
    for (group, to) in groups.iter().zip(full) {
        let bits = bits_of(group, &mut seen);
        let [_, _, _, a, b, c, d, e] = bits.to_be_bytes();
        *to = [a, b, c, d, e];
    }
    let unused = rest.len() * 5 - tail.len() * 8;
    let bits = bits_of(rest, &mut seen);
    // The unused bits of the last character are zero, so that a value has one text only.
    let is_exact = bits & ((1 << unused) - 1) == 0;
    let bytes = (bits >> unused).to_be_bytes();
    let (_, low) = bytes.split_at(bytes.len() - tail.len());
    tail.copy_from_slice(low);
    is_exact && seen & NOTHING == 0
}

fn bits_of(text: &[u8], seen: &mut u8) -> u64 {
    text.iter().fold(0, |bits, letter| {
        let value = VALUES.get(usize::from(*letter)).copied().unwrap_or(NOTHING);
        *seen |= value;
        bits << 5 | u64::from(value & 31)
    })
}

/// What a letter that is none of the alphabet has for a value.
const NOTHING: u8 = 0x80;

/// The value of each letter.
const VALUES: [u8; 256] = {
    let mut values = [NOTHING; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        #[allow(clippy::indexing_slicing)]
        // Evaluated by the compiler, which refuses what is out of bounds.
        {
            let letter = ALPHABET[value];
            values[letter as usize] = value as u8;
            values[letter.to_ascii_uppercase() as usize] = value as u8;
        }
        value += 1;
    }
    values
};

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
