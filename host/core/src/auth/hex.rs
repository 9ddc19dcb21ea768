//! Hexadecimal digits in lower case.

/// The two digits of every byte.
static DIGITS: [[u8; 2]; 256] = table();

/// What a digit is worth; `NO_DIGIT`: it is none.
static VALUES: [u8; 256] = values();
const NO_DIGIT: u8 = 0x80;

/// The two digits of a byte.
#[inline]
fn digits(byte: u8) -> [u8; 2] {
    // There is one entry for every byte.
    DIGITS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Writes the digits of as many bytes as there is room for.
#[inline]
pub(super) fn write(text: &mut [u8], bytes: &[u8]) {
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = digits(*byte);
    }
}

/// Reads as many bytes as there is room for; `None` when the text is of another length, or has something else in it than digits in
/// lower case: there is one text for each sequence of bytes.
#[inline]
pub(super) fn read<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; N] = pairs.try_into().ok()?;
    let mut bytes = [0; N];
    let mut seen = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (value(*high), value(*low));
        seen |= high | low;
        *byte = high << 4 | low;
    }
    (seen & NO_DIGIT == 0).then_some(bytes)
}

#[inline]
fn value(digit: u8) -> u8 {
    // There is one entry for every byte.
    VALUES.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT)
}

const fn table() -> [[u8; 2]; 256] {
    let mut digits = [[0; 2]; 256];
    let mut rest: &mut [[u8; 2]] = &mut digits;
    let mut byte = 0u8;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = [digit(byte >> 4), digit(byte & 15)];
        byte = byte.wrapping_add(1);
        rest = others;
    }
    digits
}

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut nibble = 0;
    while nibble < 16 {
        if let Some((_, [place, ..])) = values.split_at_mut_checked(digit(nibble) as usize) {
            *place = nibble;
        }
        nibble += 1;
    }
    values
}

const fn digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_digits() {
        for byte in 0..=u8::MAX {
            let text = format!("{byte:02x}");
            assert_eq!(text.as_bytes(), digits(byte));
            assert_eq!(read(text.as_bytes()), Some([byte]));
        }
    }

    #[test]
    fn only_digits_in_lower_case_are_read() {
        for byte in 0..=u8::MAX {
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert_eq!(read::<1>(&[byte, b'0']).is_some(), is_digit);
            assert_eq!(read::<1>(&[b'0', byte]).is_some(), is_digit);
        }
        assert_eq!(read::<1>(b"0"), None);
        assert_eq!(read::<1>(b"000"), None);
        assert_eq!(read(b"0a1b"), Some([10, 27]));
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let mut text = [b'-'; 5];
        write(&mut text, &[1, 2, 3]);
        assert_eq!(&text, b"0102-");
    }
}
