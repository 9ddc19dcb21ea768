//! The small words of the grammar (RFC 3261 §25.1): tokens, white space, numbers, quoted strings.

use std::borrow::Cow;

use crate::class::{LWS, PLAIN_IN_LIST, TOKEN, all, find_byte, find_either, is, long_run};

/// Whether the byte may stand in a `token`.
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    is(byte, TOKEN)
}

/// Whether the text is a `token`: not empty and made of token bytes only.
#[inline]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

/// Whether the byte is white space inside a header value (a folded line brings CR and LF).
#[inline]
pub(crate) fn is_lws(byte: u8) -> bool {
    is(byte, LWS)
}

/// The text without the linear white space on its left.
#[inline]
pub(crate) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text {
        if !is_lws(*first) {
            break;
        }
        text = rest;
    }
    text
}

/// The text without the linear white space on its right.
#[inline]
pub(crate) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text {
        if !is_lws(*last) {
            break;
        }
        text = rest;
    }
    text
}

/// The text without the linear white space around it.
#[inline]
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// Compares as SIP does everywhere unless it says otherwise (RFC 3261 §7.3.1).
#[inline]
pub fn eq_ignore_case(left: &[u8], right: &[u8]) -> bool {
    // Most texts come in the case of the RFC, which is seen at once.
    left.len() == right.len() && (left == right || left.eq_ignore_ascii_case(right))
}

/// The number in a text of digits only; `None` when it is empty, has another byte, or does not fit.
pub fn parse_u32(text: &[u8]) -> Option<u32> {
    u32::try_from(parse_u64(text)?).ok()
}

/// Like [`parse_u32`], for 64 bits.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for (index, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = if index < SAFE_DIGITS {
            number * 10 + u64::from(digit)
        } else {
            number.checked_mul(10)?.checked_add(digit.into())?
        };
    }
    Some(number)
}

/// A number of so many digits fits into 64 bits, whatever they are.
const SAFE_DIGITS: usize = 19;

/// The port in a text of one to five digits, 1 to 65535.
pub(crate) fn parse_port(text: &[u8]) -> Option<u16> {
    let port = parse_u32(text)?;
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// A number as decimal text, made without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    digits: [u8; 20],
    start: u8,
}

impl Decimal {
    /// The text of the number.
    pub fn new(mut number: u64) -> Decimal {
        let mut digits = [b'0'; 20];
        let mut start = 20;
        for slot in digits.iter_mut().rev() {
            start -= 1;
            // The remainder is below ten.
            *slot = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Decimal { digits, start }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.digits
            .get(usize::from(self.start)..)
            .unwrap_or_default()
    }
}

/// The text that a `quoted-string` stands for (RFC 3261 §25.1); a text without quotes is returned as it is.
pub fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = text else {
        return Cow::Borrowed(text);
    };
    if find_byte(inner, b'\\').is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next().unwrap_or(byte)
        } else {
            byte
        };
        plain.push(*byte);
    }
    Cow::Owned(plain)
}

/// The length of the `quoted-string` at the start of the text, quotes included; `None` when it does not end.
pub(crate) fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = at + find_either(text.get(at..)?, [b'"', b'\\'])?;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// The text with `%HH` resolved; `None` when an escape is broken (RFC 3261 §19.1.2).
pub fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = find_byte(text, b'%') else {
        return Some(Cow::Borrowed(text));
    };
    let (plain, mut rest) = text.split_at_checked(first)?;
    let mut resolved = Vec::with_capacity(text.len());
    resolved.extend_from_slice(plain);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            resolved.push(*byte);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        resolved.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
        rest = tail;
    }
    Some(Cow::Owned(resolved))
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Where the first `wanted`, a separator or parenthesis, stands outside of quoted strings and angle brackets; outside of comments too when `comments`.
pub(crate) fn find_outside(text: &[u8], wanted: u8, comments: bool) -> Option<usize> {
    let mut at = 0;
    loop {
        at += long_run(text.get(at..)?, PLAIN_IN_LIST);
        let found = text.get(at..)?;
        at += match found.first()? {
            byte if *byte == wanted => return Some(at),
            b'"' => quoted_length(found)?,
            b'<' => memchr::memchr(b'>', found)? + 1,
            b'(' if comments => comment_length(found)?,
            _ => 1,
        };
    }
}

/// The length of the comment at the start of the text, parentheses included; `None` when it does not end.
fn comment_length(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' if depth <= 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_refuse_signs_blanks_and_overflow() {
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        for text in [
            &b""[..],
            b"+1",
            b"-1",
            b" 1",
            b"4294967296",
            b"99999999999999999999999",
        ] {
            assert_eq!(parse_u32(text), None);
        }
        assert_eq!(parse_port(b"65535"), Some(65535));
        assert_eq!(parse_port(b"0"), None);
        assert_eq!(parse_port(b"65536"), None);
    }

    #[test]
    fn decimals_are_written_whole() {
        for number in [0, 7, 10, 4294967295, u64::MAX] {
            assert_eq!(
                Decimal::new(number).as_bytes(),
                number.to_string().as_bytes()
            );
        }
    }

    #[test]
    fn quoted_strings_resolve_escapes() {
        assert_eq!(unquote(br#""a \"b\" \\""#).as_ref(), br#"a "b" \"#);
        assert_eq!(unquote(b"plain").as_ref(), b"plain");
        assert_eq!(quoted_length(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_length(br#""open\""#), None);
    }

    #[test]
    fn percent_escapes_are_resolved_or_refused() {
        assert_eq!(
            unescape(b"sips%3Auser%00").as_deref(),
            Some(&b"sips:user\0"[..])
        );
        assert_eq!(unescape(b"a%4"), None);
        assert_eq!(unescape(b"a%zz"), None);
    }

    #[test]
    fn separators_inside_quotes_brackets_and_comments_do_not_count() {
        assert_eq!(find_outside(br#""a,b" <sip:x,y>,z"#, b',', false), Some(15));
        assert_eq!(find_outside(b"a (b, (c,) d), e", b',', true), Some(13));
        assert_eq!(find_outside(b"a (b, c)", b',', false), Some(4));
        assert_eq!(find_outside(br#""open, a"#, b',', false), None);
    }
}
