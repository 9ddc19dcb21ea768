//! Hexadecimal digits in lower case.

/// The two digits of every byte.
static DIGITS: [[u8; 2]; 256] = table();

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
        }
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let mut text = [b'-'; 5];
        write(&mut text, &[1, 2, 3]);
        assert_eq!(&text, b"0102-");
    }
}
