//! Hexadecimal digits in lower case.

/// The digits of the bytes. It computes them, so that the time does not tell what the bytes are, and those of several bytes at a time.
#[inline]
pub(super) fn digits(bytes: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = both(*byte);
    }
    text
}

/// The two digits of a byte.
#[inline]
fn both(byte: u8) -> [u8; 2] {
    let byte = u16::from(byte);
    let nibbles = (byte >> 4 | byte << 8) & 0x0f0f;
    // Of ten and more with six added the fifth bit is set.
    let letters = (nibbles + 0x0606) >> 4 & 0x0101;
    (nibbles + 0x3030 + letters * LETTERS).to_le_bytes()
}

/// How much further from its number a letter is than a decimal digit.
const LETTERS: u16 = (b'a' - b'0' - 10) as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_digits_at_every_place() {
        for byte in 0..=u8::MAX {
            for at in 0..16 {
                let mut bytes = [0xa5; 16];
                bytes[at] = byte;
                let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(text.as_bytes(), digits(&bytes));
            }
        }
    }
}
