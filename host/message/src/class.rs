//! What each byte may be a part of, as bits in a table: one look-up instead of a chain of comparisons.

use crate::lanes;

/// What a `token` is made of.
pub(crate) const TOKEN: u16 = 1;
/// White space inside a header value; a folded line brings CR and LF.
pub(crate) const LWS: u16 = 1 << 1;
/// What the name of a host or an IPv4 address is made of; underscores are common in names.
pub(crate) const HOST: u16 = 1 << 2;
/// What a URI is made of: blanks, control characters, quotes and angle brackets end it wherever it stands.
pub(crate) const URI: u16 = 1 << 3;
/// What of that needs no further look in the user part: no `@`, no colon, no escape.
pub(crate) const PLAIN_USER: u16 = 1 << 4;
/// What the value of a parameter is made of. Wider than the grammar, which would forbid what is common
/// (`received=[2001:db8::1]`, base64 tags): no blanks, quotes, brackets or separators.
pub(crate) const VALUE: u16 = 1 << 5;
/// The same without the parenthesis that begins a comment.
pub(crate) const VALUE_BEFORE_COMMENT: u16 = 1 << 6;
/// What a Call-ID is made of: anything that is neither white space nor a control character.
pub(crate) const WORD: u16 = 1 << 7;
/// What URI parameters are made of: no `@`, and no question mark, which begins the headers.
pub(crate) const URI_PARAMETERS: u16 = 1 << 8;
/// Everything but what ends a parameter, its name, or begins a quoted or bracketed part.
pub(crate) const PLAIN_PARAMETER: u16 = 1 << 9;
/// Everything but separators and what begins a quoted string, a bracketed part or a comment.
pub(crate) const PLAIN_IN_LIST: u16 = 1 << 12;
/// Digits.
pub(crate) const DIGIT: u16 = 1 << 10;
/// What the name of a scheme is made of.
pub(crate) const SCHEME: u16 = 1 << 11;

static CLASSES: [u16; 256] = classes();

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn classes() -> [u16; 256] {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        classes[at] = class_of(at as u8);
        at += 1;
    }
    classes
}

const fn class_of(byte: u8) -> u16 {
    let is_uri = byte > b' ' && !matches!(byte, b'<' | b'>' | b'"' | 0x7f);
    let is_value = is_uri && !matches!(byte, b',' | b';');
    let alphanumeric = byte.is_ascii_alphanumeric();
    let is_token = alphanumeric
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        );
    bit(is_token, TOKEN)
        | bit(matches!(byte, b' ' | b'\t' | b'\r' | b'\n'), LWS)
        | bit(alphanumeric || matches!(byte, b'-' | b'.' | b'_'), HOST)
        | bit(is_uri, URI)
        | bit(is_uri && !matches!(byte, b'@' | b':' | b'%'), PLAIN_USER)
        | bit(is_value, VALUE)
        | bit(is_value && byte != b'(', VALUE_BEFORE_COMMENT)
        | bit(byte > b' ' && byte != 0x7f, WORD)
        | bit(is_uri && !matches!(byte, b'@' | b'?'), URI_PARAMETERS)
        | bit(!matches!(byte, b';' | b'=' | b'"' | b'<'), PLAIN_PARAMETER)
        | bit(
            !matches!(byte, b',' | b';' | b'"' | b'<' | b'('),
            PLAIN_IN_LIST,
        )
        | bit(byte.is_ascii_digit(), DIGIT)
        | bit(alphanumeric || matches!(byte, b'+' | b'-' | b'.'), SCHEME)
}

const fn bit(is_member: bool, class: u16) -> u16 {
    if is_member { class } else { 0 }
}

/// Whether the byte belongs to the class.
#[inline]
pub(crate) fn is(byte: u8, class: u16) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|classes| classes & class != 0)
}

/// How many bytes at the start of the text belong to the class.
#[inline]
pub(crate) fn run(text: &[u8], class: u16) -> usize {
    text.iter()
        .position(|byte| !is(*byte, class))
        .unwrap_or(text.len())
}

/// Like [`run`], sixteen bytes at a time.
#[inline]
pub(crate) fn long_run(text: &[u8], class: u16) -> usize {
    let mut at = 0;
    if class & !PLAIN == 0 {
        for sixteen in text.as_chunks().0 {
            if let Some(found) = first_other(sixteen, class) {
                return at + found;
            }
            at += 16;
        }
    }
    at + run(text.get(at..).unwrap_or_default(), class)
}

/// Where the first byte stands that does not belong to a class that all the plain ones belong to.
#[inline]
fn first_other(sixteen: &[u8; 16], class: u16) -> Option<usize> {
    let mut others = lanes::not_plain(sixteen);
    while others != 0 {
        let place = others.trailing_zeros() as usize;
        if !sixteen.get(place).is_some_and(|byte| is(*byte, class)) {
            return Some(place);
        }
        others &= others - 1;
    }
    None
}

/// What letters, digits, `-` and `.` are, of which most texts are made.
const PLAIN: u16 = TOKEN
    | HOST
    | URI
    | PLAIN_USER
    | VALUE
    | VALUE_BEFORE_COMMENT
    | WORD
    | URI_PARAMETERS
    | PLAIN_PARAMETER
    | PLAIN_IN_LIST
    | SCHEME;

/// Whether every byte belongs to the class.
#[inline]
pub(crate) fn all(text: &[u8], class: u16) -> bool {
    if class & !PLAIN != 0 || text.len() < 4 {
        return run(text, class) == text.len();
    }
    let are_all = |sixteen: &[u8; 16]| first_other(sixteen, class).is_none();
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().all(are_all) && are_all(last),
        None => are_all(&in_sixteen(text)),
    }
}

/// A text of four to sixteen bytes, some of them twice.
#[inline]
fn in_sixteen(text: &[u8]) -> [u8; 16] {
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let [first, last] = [first, last].map(|half| u128::from(u64::from_le_bytes(*half)));
        return (first << 64 | last).to_le_bytes();
    }
    match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|part| u128::from(u32::from_le_bytes(*part)));
            let both = first << 32 | last;
            (both << 64 | both).to_le_bytes()
        }
        _ => [0; 16],
    }
}

/// Where the first byte of this value stands. Made for header values: most are a few times sixteen bytes long.
#[inline]
pub(crate) fn find_byte(text: &[u8], byte: u8) -> Option<usize> {
    find_marked(
        text,
        |sixteen| lanes::equal(sixteen, byte),
        |other| other == byte,
    )
}

/// Where the first byte stands that is one of two.
#[inline]
pub(crate) fn find_either(text: &[u8], bytes: [u8; 2]) -> Option<usize> {
    let [one, other] = bytes;
    find_marked(
        text,
        |sixteen| lanes::equal(sixteen, one) | lanes::equal(sixteen, other),
        |byte| bytes.contains(&byte),
    )
}

/// Where the first byte stands that is wanted: `marks` answers for sixteen of them.
#[inline(always)]
fn find_marked(
    text: &[u8],
    marks: impl Fn(&[u8; 16]) -> u32,
    is_wanted: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (chunks, rest) = text.as_chunks();
    let mut at = 0;
    for sixteen in chunks {
        let found = marks(sixteen);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        at += 16;
    }
    // The last sixteen once more, without those that were looked at.
    if let Some(sixteen) = text.last_chunk() {
        let found = marks(sixteen) >> (16 - rest.len());
        return (found != 0).then(|| at + found.trailing_zeros() as usize);
    }
    rest.iter().position(|byte| is_wanted(*byte))
}

/// Where the first CR or LF stands.
#[inline]
pub(crate) fn find_line_end(text: &[u8]) -> Option<usize> {
    let (chunks, rest) = text.as_chunks::<16>();
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let mut at = 0;
    for sixteen in chunks {
        let mut low = lanes::low(sixteen);
        while low != 0 {
            let place = low.trailing_zeros() as usize;
            if sixteen.get(place).is_some_and(is_end) {
                return Some(at + place);
            }
            low &= low - 1;
        }
        at += 16;
    }
    Some(at + rest.iter().position(is_end)?)
}

/// Where the first byte below 14 stands.
#[inline(always)]
pub(crate) fn find_low(text: &[u8]) -> Option<usize> {
    find_marked(text, lanes::low, |byte| byte < 14)
}

/// Whether a CR, LF or NUL stands in the text.
#[inline]
pub fn breaks_lines(text: &[u8]) -> bool {
    // Few texts have any of those below 14.
    has_low(text) && text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// Whether a byte below 14 stands in the text.
#[inline]
fn has_low(text: &[u8]) -> bool {
    let is_low = |sixteen: &[u8; 16]| lanes::low(sixteen) != 0;
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().any(is_low) || is_low(last),
        None if text.len() >= 4 => is_low(&in_sixteen(text)),
        None => text.iter().any(|byte| *byte < 14),
    }
}

/// Whether a control character stands in the text, tabs aside.
#[inline]
pub(crate) fn has_control(text: &[u8]) -> bool {
    let may_have = if let Some(last) = text.last_chunk() {
        let mut words = text.as_chunks().0.iter().chain([last]);
        words.any(|word| has_low_or_delete(u64::from_le_bytes(*word)))
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
        has_low_or_delete(half(first) | half(last) << 32)
    } else if let Some(few) = few(text) {
        // Behind them blanks.
        has_low_or_delete(few | ((ONES * 0x20) << (8 * text.len())))
    } else {
        false
    };
    // Few texts have any, or tabs.
    may_have && has_control_byte(text)
}

#[cold]
fn has_control_byte(text: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    text.iter().any(is_control)
}

/// One to three bytes as a little-endian number; `None` for no bytes. Of more, what comes out has no meaning.
#[inline]
pub(crate) fn few(text: &[u8]) -> Option<u64> {
    let last = text.len().checked_sub(1)?;
    let byte = |at: usize| Some(u64::from(*text.get(at)?) << (8 * at));
    Some(byte(0)? | byte(text.len() / 2)? | byte(last)?)
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Whether one of eight bytes is below 32 or DEL.
#[inline(always)]
fn has_low_or_delete(word: u64) -> bool {
    // What is subtracted takes the highest bit from below where, and only where, a byte was smaller.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    (below(word, 0x20) | below(word ^ (ONES * 0x7f), 1)) & (ONES << 7) != 0
}

/// Reads a text from left to right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, rest: text }
    }

    /// How many bytes were read.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The next byte.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// What was not read.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What stands between two places.
    #[inline]
    pub(crate) fn between(&self, start: usize, end: usize) -> &'a [u8] {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Reads so many bytes; nothing when there are fewer.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: usize) -> &'a [u8] {
        match self.rest.split_at_checked(bytes) {
            Some((read, rest)) => {
                self.rest = rest;
                read
            }
            None => b"",
        }
    }

    /// Whether the byte comes next, which is then read.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.advance(usize::from(is_next));
        is_next
    }

    /// Reads as many bytes of the class as there are.
    #[inline]
    pub(crate) fn take(&mut self, class: u16) -> &'a [u8] {
        self.advance(run(self.rest, class))
    }

    /// The same, sixteen bytes at a time.
    #[inline]
    pub(crate) fn take_long(&mut self, class: u16) -> &'a [u8] {
        self.advance(long_run(self.rest, class))
    }

    /// Reads white space.
    #[inline]
    pub(crate) fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| is(byte, LWS)) {
            self.advance(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_of_another_class() {
        assert_eq!(run(b"INVITE sip:", TOKEN), 6);
        assert_eq!(run(b"token", TOKEN), 5);
        assert_eq!(run(b" token", TOKEN), 0);
        assert!(all(b" \t\r\n", LWS) && !all(b" a", LWS));
    }

    #[test]
    fn long_runs_end_where_short_ones_do() {
        let mut text = *b"z9hG4bK-0123456789-abcdefghij";
        for at in 0..text.len() {
            let before = std::mem::replace(&mut text[at], b';');
            assert_eq!((long_run(&text, VALUE), run(&text, VALUE)), (at, at));
            assert!(!all(&text, VALUE));
            text[at] = before;
        }
        assert!(all(&text, VALUE) && long_run(&text, VALUE) == text.len());
    }

    #[test]
    fn one_byte_is_enough_whatever_the_length() {
        for length in 0..40 {
            let mut text = vec![b'a'; length];
            assert!(all(&text, TOKEN) && all(&text, LWS) == text.is_empty());
            assert!(!breaks_lines(&text));
            for at in 0..length {
                for byte in [b';', b'\r', b'\n', 0, b'\t', b'_'] {
                    let before = std::mem::replace(&mut text[at], byte);
                    assert_eq!(all(&text, TOKEN), byte == b'_');
                    let breaks = matches!(byte, b'\r' | b'\n' | 0);
                    assert_eq!(breaks_lines(&text), breaks, "{byte} at {at} of {length}");
                    text[at] = before;
                }
            }
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands_first() {
        for length in [0, 1, 15, 16, 17, 40] {
            let mut text = vec![b'a'; length];
            assert_eq!(find_byte(&text, b','), None);
            assert_eq!(find_either(&text, [b',', b';']), None);
            for at in (0..length).rev() {
                text[at] = b',';
                assert_eq!(find_byte(&text, b','), Some(at));
                assert_eq!(find_either(&text, [b';', b',']), Some(at));
            }
        }
    }

    #[test]
    fn plain_bytes_belong_to_the_plain_classes() {
        for byte in (0..=255u8).filter(|byte| lanes::not_plain(&[*byte; 16]) == 0) {
            assert_eq!(CLASSES[usize::from(byte)] & PLAIN, PLAIN);
        }
    }

    #[test]
    fn line_ends_are_found_among_all_bytes() {
        let other: Vec<u8> = (0..=255u8)
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        assert_eq!(find_line_end(&other), None);
        for end in [b'\r', b'\n'] {
            for at in 0..other.len() {
                let mut text = other.clone();
                text[at] = end;
                assert_eq!(find_line_end(&text), Some(at));
                let low = text.iter().position(|byte| *byte < 14);
                assert_eq!(find_low(&text), low);
                text.retain(|byte| *byte >= 14 || *byte == end);
                let only = text.iter().position(|byte| *byte == end);
                assert_eq!(find_low(&text), only);
            }
        }
    }

    #[test]
    fn controls_are_found_wherever_they_stand() {
        let is_control = |byte: u8| byte < 0x20 && byte != b'\t' || byte == 0x7f;
        for length in [1, 2, 3, 4, 7, 8, 9, 16, 21] {
            for byte in 0..=255u8 {
                for at in 0..length {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(
                        has_control(&text),
                        is_control(byte),
                        "{byte} at {at} of {length}"
                    );
                }
            }
        }
        assert!(!has_control(b"") && has_control(b"tab\tand\x01more"));
    }

    #[test]
    fn a_cursor_reads_what_it_is_asked_for() {
        let mut cursor = Cursor::new(b"name = value");
        assert_eq!(cursor.take(TOKEN), b"name");
        cursor.blanks();
        assert!(cursor.eat(b'=') && !cursor.eat(b'='));
        cursor.blanks();
        assert_eq!((cursor.rest(), cursor.at()), (&b"value"[..], 7));
        assert_eq!((cursor.take(VALUE), cursor.peek()), (&b"value"[..], None));
    }
}
