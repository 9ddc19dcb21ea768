//! Parameters: `;name=value;flag`.

use std::borrow::Cow;

use crate::class::{Cursor, LWS, PLAIN_PARAMETER, TOKEN, VALUE, is, long_run};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, quoted_length, trim, unquote};

/// The parameters of a header value or a URI, from the first semicolon on. Parsed when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// The parameters in a text that is empty or starts with a semicolon.
    pub fn new(raw: &'a [u8]) -> Params<'a> {
        Params { raw }
    }

    /// The text as it stands.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Name and value of each, in order. Quoted values keep their quotes (see [`unquote`]).
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        Pieces {
            rest: Some(self.raw).filter(|raw| !raw.is_empty()),
        }
    }

    /// The first parameter of that name, compared without case: its value, or `Some(None)` when it has none.
    pub fn get(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.iter()
            .find(|(other, _)| eq_ignore_case(other, name))
            .map(|(_, value)| value)
    }

    /// The value of the first parameter of that name; `None` when it is not there or has none.
    pub fn value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.get(name).flatten()
    }

    /// Like [`Params::value`], with quotes and escapes resolved.
    pub fn unquoted(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.value(name).map(unquote)
    }

    /// Whether a parameter of that name is there.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Checks `generic-param` (RFC 3261 §25.1): names are tokens, values tokens, hosts or quoted strings. `see` gets name and
    /// value of each.
    #[inline]
    pub(crate) fn check(&self, see: impl FnMut(&'a [u8], Option<&'a [u8]>)) -> Result<(), Invalid> {
        let mut cursor = Cursor::new(self.raw);
        cursor.blanks();
        if cursor.peek().is_none() {
            return Ok(());
        }
        // What stands before the first semicolon is not a parameter.
        cursor.advance(1);
        read_parameters(&mut cursor, VALUE, see)
            .filter(|_| cursor.peek().is_none())
            .map(|_| ())
            .ok_or(Invalid::Parameter)
    }
}

/// Reads `name[=value]` and `;name[=value]` as often as it comes, up to the first byte that is no part of that, and tells
/// where the last one ends. `None` when one is broken.
///
/// `values` is the class that values without quotes are made of.
#[inline]
pub(crate) fn read_parameters<'a>(
    cursor: &mut Cursor<'a>,
    values: u16,
    mut see: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Option<usize> {
    loop {
        let name = read_name(cursor)?;
        let mut end = cursor.at();
        let mut value = None;
        if is_next(cursor, b'=') {
            value = Some(read_value(cursor, values)?);
            end = cursor.at();
        }
        see(name, value);
        if !is_next(cursor, b';') {
            return Some(end);
        }
    }
}

/// The names of most parameters that come, with what follows them: they need no look at each byte.
const USUAL_NAMES: [&[u8]; 4] = [b"branch=", b"tag=", b"received=", b"rport="];

#[inline]
fn read_name<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    for usual in USUAL_NAMES {
        if cursor.rest().starts_with(usual) {
            return Some(cursor.advance(usual.len() - 1));
        }
    }
    if cursor.peek().is_some_and(|byte| is(byte, LWS)) {
        cursor.blanks();
    }
    Some(cursor.take(TOKEN)).filter(|name| !name.is_empty())
}

/// Whether the byte comes next, maybe after blanks; it is read with them.
#[inline]
fn is_next(cursor: &mut Cursor<'_>, byte: u8) -> bool {
    if cursor.eat(byte) {
        return true;
    }
    if cursor.peek().is_some_and(|byte| is(byte, LWS)) {
        cursor.blanks();
        return cursor.eat(byte);
    }
    false
}

#[inline]
fn read_value<'a>(cursor: &mut Cursor<'a>, values: u16) -> Option<&'a [u8]> {
    if cursor.peek().is_some_and(|byte| is(byte, LWS)) {
        cursor.blanks();
    }
    if cursor.peek() == Some(b'"') {
        return Some(cursor.advance(quoted_length(cursor.rest())?));
    }
    Some(cursor.take_long(values)).filter(|value| !value.is_empty())
}

/// The parameters between semicolons that are not inside quotes or `<>`.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Pieces<'a> {
    /// Where the piece at the start of the text ends, and where its first equals sign stands.
    fn bounds(text: &[u8]) -> (usize, Option<usize>) {
        let mut equal = None;
        let mut at = 0;
        loop {
            let tail = text.get(at..).unwrap_or_default();
            let plain = long_run(tail, PLAIN_PARAMETER);
            let stop = tail.get(plain..).unwrap_or_default();
            at += plain;
            let length = match stop.first() {
                Some(b'=') => {
                    equal = equal.or(Some(at));
                    Some(1)
                }
                Some(b'"') => quoted_length(stop),
                Some(b'<') => memchr::memchr(b'>', stop).map(|close| close + 1),
                _ => return (at, equal),
            };
            match length {
                Some(length) => at += length,
                // A quote or bracket that does not end takes the rest with it.
                None => return (text.len(), equal),
            }
        }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.take()?;
            let (end, equal) = Self::bounds(rest);
            self.rest = rest.get(end + 1..);
            let Some(equal) = equal else {
                let name = trim(rest.get(..end).unwrap_or_default());
                if name.is_empty() {
                    continue;
                }
                return Some((name, None));
            };
            let name = trim(rest.get(..equal).unwrap_or_default());
            let value = trim(rest.get(equal + 1..end).unwrap_or_default());
            return Some((name, Some(value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        let params = Params::new(b" ; Tag = abc ;lr;x=\"a;b\"");
        assert_eq!(params.value(b"tag"), Some(&b"abc"[..]));
        assert_eq!(params.get(b"LR"), Some(None));
        assert_eq!(params.get(b"none"), None);
        assert_eq!(params.unquoted(b"x").as_deref(), Some(&b"a;b"[..]));
        assert_eq!(params.iter().count(), 3);
    }

    #[test]
    fn half_quotes_and_blanks_break_a_parameter() {
        assert!(Params::new(b";a=b;c=\"d e\";f").check(|_, _| {}).is_ok());
        assert!(Params::new(b";a=\"b").check(|_, _| {}).is_err());
        assert!(Params::new(b";a=b c").check(|_, _| {}).is_err());
        assert!(Params::new(b";=b").check(|_, _| {}).is_err());
        assert!(Params::new(b";a=").check(|_, _| {}).is_err());
    }

    #[test]
    fn empty_parameters_break_a_header() {
        assert!(Params::new(b"").check(|_, _| {}).is_ok());
        for text in [&b";"[..], b";;a", b";a;", b"; ;"] {
            assert!(Params::new(text).check(|_, _| {}).is_err());
        }
    }
}
