//! Base 64 with the alphabet for URLs (RFC 4648 §5), of as many bytes as four characters each stand for.

const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a character is worth; `NO_DIGIT`: it is none.
static VALUES: [u8; 256] = values();
const NO_DIGIT: u8 = 0x80;

/// The text of the bytes. Of `N` and `M` the smaller number of groups counts: three bytes, four characters.
pub(super) fn text<const N: usize, const M: usize>(bytes: &[u8; N]) -> [u8; M] {
    let mut text = [b'A'; M];
    let (groups, _) = text.as_chunks_mut::<4>();
    for (four, [a, b, c]) in groups.iter_mut().zip(bytes.as_chunks::<3>().0) {
        let bits = u32::from_be_bytes([0, *a, *b, *c]);
        *four = [
            digit(bits >> 18),
            digit(bits >> 12),
            digit(bits >> 6),
            digit(bits),
        ];
    }
    text
}

/// Reads as many bytes as there is room for; `None` when the text is of another length, or has another character in it.
pub(super) fn read<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (fours, []) = text.as_chunks::<4>() else {
        return None;
    };
    let mut bytes = [0; N];
    let (threes, []) = bytes.as_chunks_mut::<3>() else {
        return None;
    };
    if threes.len() != fours.len() {
        return None;
    }
    let mut seen = 0;
    for (three, [a, b, c, d]) in threes.iter_mut().zip(fours) {
        let (a, b, c, d) = (value(*a), value(*b), value(*c), value(*d));
        seen |= a | b | c | d;
        let [_, bits @ ..] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
        *three = bits;
    }
    (seen & u32::from(NO_DIGIT) == 0).then_some(bytes)
}

/// The character for the lowest six bits.
#[inline]
fn digit(bits: u32) -> u8 {
    // There is one for each.
    ALPHABET
        .get((bits & 63) as usize)
        .copied()
        .unwrap_or_default()
}

#[inline]
fn value(character: u8) -> u32 {
    // There is one entry for every byte.
    let value = VALUES.get(usize::from(character)).copied();
    value.unwrap_or(NO_DIGIT).into()
}

const fn values() -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut rest: &[u8] = &ALPHABET;
    let mut worth = 0;
    while let Some((character, others)) = rest.split_first() {
        if let Some((_, [place, ..])) = values.split_at_mut_checked(*character as usize) {
            *place = worth;
        }
        worth += 1;
        rest = others;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn the_vectors_of_the_rfc_come_out() {
        assert_eq!(&text::<3, 4>(b"foo"), b"Zm9v");
        assert_eq!(&text::<6, 8>(b"foobar"), b"Zm9vYmFy");
        assert_eq!(read(b"Zm9vYmFy"), Some(*b"foobar"));
    }

    #[test]
    fn every_byte_comes_back_at_every_place() {
        for byte in 0..=u8::MAX {
            for bytes in [[byte, 0, 7], [1, byte, 255], [9, 99, byte]] {
                assert_eq!(read(&text::<3, 4>(&bytes)), Some(bytes));
            }
        }
    }

    #[test]
    fn what_is_no_text_of_so_many_bytes_is_refused() {
        for text in [
            &b""[..],
            b"Zm9",
            b"Zm9vYmFy",
            b"Zm9=",
            b"Zm9+",
            b"Zm9/",
            b"Zm9\xc3",
        ] {
            assert_eq!(read::<3>(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(read::<4>(b"Zm9v"), None);
        for byte in 0..=u8::MAX {
            let is_one = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            for at in 0..8 {
                let mut text = *b"Zm9vYmFy";
                text[at] = byte;
                assert_eq!(read::<6>(&text).is_some(), is_one, "{byte} at {at}");
            }
        }
    }
}
