//! Finds the header that a name is, in any case and in long or compact form.
//!
//! Nearly every name is short: its bytes are two numbers, which lead to the only header that it can be. The few long names have a
//! hash table of their own.

use crate::class::few;
use crate::grammar::eq_ignore_case;
use crate::lanes;
use crate::name::HeaderName;

/// The longest name whose bytes fit into two numbers, with one byte to spare.
const SHORT: usize = 15;

/// The known header of this name.
#[inline]
pub(crate) fn known(name: &[u8]) -> HeaderName {
    match words_in(name) {
        Some(words) => Spelling::at(words).in_any_case(words, name.len()),
        None => known_long(name),
    }
}

/// The header that a line with these first bytes is, and the length of its name before the colon, when the name is a short one that
/// we know as its RFC spells it.
#[inline]
pub(crate) fn of_line(head: &[u8; 16]) -> Option<(HeaderName, usize)> {
    let length = lanes::equal(head, b':').trailing_zeros() as usize;
    let kept = KEPT.get(length)?;
    let [low, high] = head.as_chunks::<8>().0 else {
        return None;
    };
    let words = [
        u64::from_le_bytes(*low) & kept.0,
        u64::from_le_bytes(*high) & kept.1,
    ];
    let spelling = Spelling::at(words);
    (spelling.words == words && spelling.length == length).then_some((spelling.known, length))
}

/// Whether a name of up to fifteen bytes is made of letters, digits, `-` and `.` alone. `false`: it needs a closer look.
#[inline]
pub(crate) fn is_plain(name: &[u8]) -> bool {
    words_in(name).is_some_and(|[low, high]| {
        let bytes = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        lanes::not_plain(&bytes) & ((1 << name.len()) - 1) == 0
    })
}

/// The bytes of a short name as little-endian numbers; `None` for a name that is not short, or is empty.
#[inline]
fn words_in(name: &[u8]) -> Option<[u64; 2]> {
    let length = name.len();
    // Two reads that overlap in the middle, the second one moved to its place.
    match length {
        9..=SHORT => {
            let (first, last) = (name.first_chunk::<8>()?, name.last_chunk::<8>()?);
            let high = u64::from_le_bytes(*last) >> (8 * (16 - length));
            Some([u64::from_le_bytes(*first), high])
        }
        4..=8 => {
            let (first, last) = (name.first_chunk::<4>()?, name.last_chunk::<4>()?);
            let low = u64::from(u32::from_le_bytes(*first));
            let high = u64::from(u32::from_le_bytes(*last));
            Some([low | high << (8 * (length - 4)), 0])
        }
        1..=3 => Some([few(name)?, 0]),
        _ => None,
    }
}

/// By length of a name: which bytes of two little-endian numbers are its.
static KEPT: [(u64, u64); 16] = kept();

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn kept() -> [(u64, u64); 16] {
    let mut kept = [(0, 0); 16];
    let mut length = 1;
    while length < kept.len() {
        let bits = (1u128 << (8 * length)) - 1;
        kept[length] = (bits as u64, (bits >> 64) as u64);
        length += 1;
    }
    kept
}

/// A short name, long or compact form, as its RFC spells it.
#[derive(Clone, Copy)]
struct Spelling {
    /// Its bytes as little-endian numbers.
    words: [u64; 2],
    length: usize,
    known: HeaderName,
}

/// The spellings, each where its hash says: no two have the same.
static SPELLINGS: [Spelling; SPELLING_SLOTS] = spellings();

const SPELLING_SLOTS: usize = 1 << SPELLING_BITS;
/// One more when the compiler says that the search for a multiplier takes long.
const SPELLING_BITS: u32 = 9;

impl Spelling {
    /// What a slot has that no name falls on: no name is so long.
    const NONE: Spelling = Spelling {
        words: [0; 2],
        length: usize::MAX,
        known: HeaderName::Other,
    };

    /// The only one that a name of these bytes can be, in any case.
    #[inline]
    fn at(words: [u64; 2]) -> &'static Spelling {
        SPELLINGS
            .get(spelling_slot(words, MULTIPLIER))
            .unwrap_or(&Spelling::NONE)
    }

    /// The header, if that is how a name of these bytes and this length is spelt.
    #[inline]
    fn in_any_case(&self, words: [u64; 2], length: usize) -> HeaderName {
        let is_known = self.length == length && (self.words == words || self.is_in_any_case(words));
        match is_known {
            true => self.known,
            false => HeaderName::Other,
        }
    }

    /// The cases of a letter differ in one bit.
    #[inline]
    fn is_in_any_case(&self, words: [u64; 2]) -> bool {
        let is_same = |spelt: u64, word: u64| (spelt ^ word) & !((spelt & LETTERS) >> 1) == 0;
        let ([spelt_low, spelt_high], [low, high]) = (self.words, words);
        is_same(spelt_low, low) && is_same(spelt_high, high)
    }
}

/// The bit of each byte that letters have and `-` has not.
const LETTERS: u64 = 0x4040_4040_4040_4040;
/// The bit of each byte that small letters have and capital ones have not.
const SMALL: u64 = LETTERS >> 1;

/// Where the spelling of a name of these bytes is. The same for every case.
#[inline]
const fn spelling_slot(words: [u64; 2], multiplier: u64) -> usize {
    let [low, high] = words;
    let hash = ((low ^ high.rotate_left(24)) | SMALL).wrapping_mul(multiplier);
    (hash >> (64 - SPELLING_BITS)) as usize
}

/// Every spelling, behind one another, and how many there are.
const FORMS: ([Spelling; 2 * HeaderName::COUNT], usize) = forms();

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn forms() -> ([Spelling; 2 * HeaderName::COUNT], usize) {
    let (mut forms, mut count) = ([Spelling::NONE; 2 * HeaderName::COUNT], 0);
    let mut number = 0;
    while number < HeaderName::ALL.len() {
        let known = HeaderName::ALL[number];
        let texts: [&[u8]; 2] = [known.text().as_bytes(), &[known.compact()]];
        let mut form = 0;
        while form < texts.len() {
            let (words, length) = (words_of(texts[form]), texts[form].len());
            if words[0] != 0 {
                forms[count] = Spelling {
                    words,
                    length,
                    known,
                };
                count += 1;
            }
            form += 1;
        }
        number += 1;
    }
    (forms, count)
}

/// A factor for which no two spellings have one hash: the first one of a random sequence of odd numbers. One in some hundred is
/// such.
const MULTIPLIER: u64 = multiplier();

const fn multiplier() -> u64 {
    let mut multiplier: u64 = 1;
    while !separates(multiplier) {
        multiplier = multiplier
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_8150);
    }
    multiplier
}

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn separates(multiplier: u64) -> bool {
    let (forms, count) = (&FORMS.0, FORMS.1);
    let mut taken = [false; SPELLING_SLOTS];
    let mut at = 0;
    while at < count {
        let slot = spelling_slot(forms[at].words, multiplier);
        if taken[slot] {
            return false;
        }
        taken[slot] = true;
        at += 1;
    }
    true
}

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn spellings() -> [Spelling; SPELLING_SLOTS] {
    let (forms, count) = (&FORMS.0, FORMS.1);
    let mut spellings = [Spelling::NONE; SPELLING_SLOTS];
    let mut at = 0;
    while at < count {
        spellings[spelling_slot(forms[at].words, MULTIPLIER)] = forms[at];
        at += 1;
    }
    spellings
}

/// The bytes of a name as numbers; 0 when it is too long, or is the blank that stands for no compact form.
#[allow(clippy::indexing_slicing)]
const fn words_of(name: &[u8]) -> [u64; 2] {
    let mut words = [0; 2];
    if name.len() > SHORT || name[0] == b' ' {
        return words;
    }
    let mut at = name.len();
    while at > 0 {
        at -= 1;
        words[at / 8] = words[at / 8] << 8 | name[at] as u64;
    }
    words
}

/// Slots of the hash table of long names; more than three times as many as there are.
const SLOTS: usize = 64;

/// Names of sixteen bytes and more by the hash of their length, first and last letter, with linear probing.
static TABLE: [HeaderName; SLOTS] = table();

const fn slot(length: usize, first: u8, last: u8) -> usize {
    (length * 37
        + first.to_ascii_lowercase() as usize * 11
        + last.to_ascii_lowercase() as usize * 5)
        % SLOTS
}

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn table() -> [HeaderName; SLOTS] {
    let mut table = [HeaderName::Other; SLOTS];
    let mut number = 0;
    while number < HeaderName::ALL.len() {
        let name = HeaderName::ALL[number];
        let text = name.text().as_bytes();
        number += 1;
        if text.len() <= SHORT {
            continue;
        }
        let mut at = slot(text.len(), text[0], text[text.len() - 1]);
        while table[at].number() != HeaderName::Other.number() {
            at = (at + 1) % SLOTS;
        }
        table[at] = name;
    }
    table
}

/// The known header of this name that is not short, in any case.
#[inline(never)]
fn known_long(name: &[u8]) -> HeaderName {
    let [first, .., last] = name else {
        return HeaderName::Other;
    };
    let mut at = slot(name.len(), *first, *last);
    while let Some(known) = TABLE.get(at).copied() {
        let text = HeaderName::TEXTS
            .get(known.number())
            .copied()
            .unwrap_or_default();
        if known == HeaderName::Other || eq_ignore_case(text.as_bytes(), name) {
            return known;
        }
        at = (at + 1) % SLOTS;
    }
    HeaderName::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_usual_headers_are_found_by_their_bytes() {
        let found = |name: &str| {
            let mut line = [b' '; 32];
            line[..name.len()].copy_from_slice(name.as_bytes());
            line[name.len()] = b':';
            of_line(line.first_chunk().unwrap())
        };
        for name in HeaderName::ALL {
            let length = name.text().len();
            let expected = (length <= SHORT).then_some((*name, length));
            assert_eq!(found(name.text()), expected);
        }
        assert_eq!(found("v"), Some((HeaderName::Via, 1)));
        assert_eq!((found("Via\0"), found("v\0")), (None, None));
        assert_eq!(
            (found("X-Foo"), found("via"), found("")),
            (None, None, None)
        );
    }
}
