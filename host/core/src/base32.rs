//! Binary values as SIP tokens: base 32 with digits and small letters, so that nothing depends on case.

/// How many characters `bytes` bytes take.
pub(crate) const fn text_len(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Writes `bytes` as text, five of them as eight characters at a time. `out` is [`text_len`] long.
#[inline]
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) {
    let (groups, rest) = bytes.as_chunks::<5>();
    let (full, last) = out.as_chunks_mut::<8>();
    let mut places = full.iter_mut();
    for (group, place) in groups.iter().zip(&mut places) {
        let [a, b, c, d, e] = *group;
        *place = characters(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]));
    }
    if rest.is_empty() {
        return;
    }
    let bits = rest
        .iter()
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let group = characters(bits << (40 - 8 * rest.len()));
    for (to, from) in last.iter_mut().zip(group) {
        *to = from;
    }
}

/// Reads what `encode` wrote into `out`; false when a character or the length is not what `encode` writes for that many bytes.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> bool {
    if text.len() != text_len(out.len()) {
        return false;
    }
    let (groups, rest) = text.as_chunks::<8>();
    let (full, tail) = out.as_chunks_mut::<5>();
    for (group, to) in groups.iter().zip(full) {
        let Some(bits) = bits_of(*group) else {
            return false;
        };
        let [_, _, _, bytes @ ..] = bits.to_be_bytes();
        *to = bytes;
    }
    if rest.is_empty() {
        return true;
    }
    let mut group = [b'0'; 8];
    for (to, from) in group.iter_mut().zip(rest) {
        *to = *from;
    }
    let Some(bits) = bits_of(group) else {
        return false;
    };
    let [_, _, _, bytes @ ..] = bits.to_be_bytes();
    for (to, from) in tail.iter_mut().zip(bytes) {
        *to = from;
    }
    // The unused bits of the last character are zero, so that a value has one text only.
    bits & ((1 << (40 - 8 * tail.len())) - 1) == 0
}

/// One in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The characters of 40 bits: all eight at once, as the bytes of one number.
#[inline]
fn characters(bits: u64) -> [u8; 8] {
    // The halves, their halves, and theirs move apart.
    let bits = bits & 0x0f_ffff | (bits & 0xff_fff0_0000) << 12;
    let bits = bits & 0x0000_03ff_0000_03ff | (bits & 0x000f_fc00_000f_fc00) << 6;
    let values = bits & 0x001f_001f_001f_001f | (bits & 0x03e0_03e0_03e0_03e0) << 3;
    letters_for(values).to_be_bytes()
}

/// The character for each byte, of which none is above 63.
#[inline]
fn letters_for(values: u64) -> u64 {
    let is_letter = (values + EACH * (128 - 10)) >> 7 & EACH;
    values + EACH * u64::from(b'0') + is_letter * u64::from(b'a' - b'9' - 1)
}

/// The 40 bits of eight characters, in any case; `None` when one stands for nothing.
#[inline]
fn bits_of(characters: [u8; 8]) -> Option<u64> {
    let text = u64::from_be_bytes(characters);
    let is_letter = text >> 6 & EACH;
    // The letters count from the low bits of `a`, which are 1, and go on behind `o`.
    let values = (text & (EACH * 15)) + is_letter * 9 + ((text >> 4 & is_letter) << 4);
    let is_known = letters_for(values) == text | is_letter << 5 && values & (EACH << 5) == 0;
    let bits = values & 0x001f_001f_001f_001f | values >> 3 & 0x03e0_03e0_03e0_03e0;
    let bits = bits & 0x0000_03ff_0000_03ff | bits >> 6 & 0x000f_fc00_000f_fc00;
    is_known.then_some(bits & 0x0f_ffff | bits >> 12 & 0xff_fff0_0000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

    #[test]
    fn each_character_stands_for_its_place_in_the_alphabet() {
        for place in 0..8usize {
            for byte in 0..=255u8 {
                let mut group = *b"00000000";
                group[place] = byte;
                let value = ALPHABET
                    .iter()
                    .position(|known| *known == byte.to_ascii_lowercase());
                let bits = value.map(|value| (value as u64) << (35 - 5 * place));
                assert_eq!(bits_of(group), bits, "{byte} at {place}");
                if let Some(bits) = bits {
                    let back = characters(bits);
                    assert!(back.eq_ignore_ascii_case(&group), "{byte} at {place}");
                    assert!(!back.iter().any(u8::is_ascii_uppercase));
                }
            }
        }
    }

    #[test]
    fn every_length_comes_back() {
        for len in 0..40usize {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + 11) as u8).collect();
            let mut text = vec![0; text_len(len)];
            encode(&bytes, &mut text);
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
