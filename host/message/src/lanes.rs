//! Sixteen bytes looked at in one step.
//!
//! Each question is answered by a number with one bit for each byte, the lowest for the first. On x86-64 the answer takes a few vector
//! instructions, which the compiler does not find on its own; elsewhere a loop.
#![allow(unsafe_code)]

/// Which bytes are below 14: CR, LF and few others that ever come.
#[inline(always)]
pub(crate) fn low(bytes: &[u8; 16]) -> u32 {
    imp::low(bytes)
}

/// Which bytes have this value.
#[inline(always)]
pub(crate) fn equal(bytes: &[u8; 16], byte: u8) -> u32 {
    imp::equal(bytes, byte)
}

/// Which bytes are neither letters, digits, `-` nor `.`.
#[inline(always)]
pub(crate) fn not_plain(bytes: &[u8; 16]) -> u32 {
    imp::not_plain(bytes)
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::arch::x86_64::{
        __m128i, _mm_andnot_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_sub_epi8,
    };

    #[inline(always)]
    pub(super) fn low(bytes: &[u8; 16]) -> u32 {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            let bytes = load(bytes);
            mask(is_at_most(bytes, 13))
        }
    }

    #[inline(always)]
    pub(super) fn equal(bytes: &[u8; 16], byte: u8) -> u32 {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            let bytes = load(bytes);
            mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed())))
        }
    }

    #[inline(always)]
    pub(super) fn not_plain(bytes: &[u8; 16]) -> u32 {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            let bytes = load(bytes);
            let lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let letters = is_at_most(minus(lower, b'a'), 25);
            // `-`, `.`, `/` and the digits follow each other.
            let others = is_at_most(minus(bytes, b'-'), b'9' - b'-');
            let slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'/'.cast_signed()));
            let plain = _mm_or_si128(letters, _mm_andnot_si128(slash, others));
            mask(plain) ^ 0xffff
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are read, which need not be aligned.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn is_at_most(bytes: __m128i, most: u8) -> __m128i {
        let most = _mm_set1_epi8(most.cast_signed());
        _mm_cmpeq_epi8(_mm_min_epu8(bytes, most), bytes)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn minus(bytes: __m128i, byte: u8) -> __m128i {
        _mm_sub_epi8(bytes, _mm_set1_epi8(byte.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn mask(bytes: __m128i) -> u32 {
        _mm_movemask_epi8(bytes).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    pub(super) use super::portable::{equal, low, not_plain};
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    pub(super) fn low(bytes: &[u8; 16]) -> u32 {
        mask(bytes, |byte| byte < 14)
    }

    pub(super) fn equal(bytes: &[u8; 16], byte: u8) -> u32 {
        mask(bytes, |other| other == byte)
    }

    pub(super) fn not_plain(bytes: &[u8; 16]) -> u32 {
        mask(bytes, |byte| {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.')
        })
    }

    fn mask(bytes: &[u8; 16], is_wanted: impl Fn(u8) -> bool) -> u32 {
        let bit = |byte: &u8| u32::from(is_wanted(*byte));
        bytes
            .iter()
            .rev()
            .fold(0, |mask, byte| mask << 1 | bit(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_answer_as_loops_do() {
        for byte in 0..=255u8 {
            for at in 0..16 {
                for other in [b'a', b'\r', b'-', 0x80] {
                    let mut bytes = [other; 16];
                    bytes[at] = byte;
                    assert_eq!(low(&bytes), portable::low(&bytes));
                    assert_eq!(not_plain(&bytes), portable::not_plain(&bytes));
                    assert_eq!(equal(&bytes, byte), portable::equal(&bytes, byte));
                    assert_eq!(equal(&bytes, other), portable::equal(&bytes, other));
                }
            }
        }
    }
}
