//! Hexadecimal digits in lower case.

/// The two digits of every byte.
static DIGITS: [[u8; 2]; 256] = table();

/// The two digits of a byte.
pub(super) fn digits(byte: u8) -> [u8; 2] {
    // There is one entry for every byte.
    DIGITS.get(usize::from(byte)).copied().unwrap_or_default()
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
            assert_eq!(format!("{byte:02x}").as_bytes(), digits(byte));
        }
    }
}
