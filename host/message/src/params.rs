//! Parameters: `;name=value;flag`.

use std::borrow::Cow;

use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, find_outside, is_token, trim, unquote};

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
            rest: Some(self.raw),
        }
        .filter(|piece| !piece.is_empty())
        .map(split_parameter)
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

    /// Checks `generic-param` (RFC 3261 §25.1): names are tokens, values tokens, hosts or quoted strings.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let text = trim(self.raw);
        if text.is_empty() {
            return Ok(());
        }
        // What stands before the first semicolon is not a parameter.
        for piece in (Pieces {
            rest: text.get(1..),
        }) {
            let (name, value) = split_parameter(piece);
            let fits = is_token(name) && value.is_none_or(is_value);
            if !fits {
                return Err(Invalid::Parameter);
            }
        }
        Ok(())
    }
}

/// Wider than the grammar, which would forbid what is common (`received=[2001:db8::1]`, `+sip.ice="..."`, base64 tags):
/// no blanks and no half quotes.
fn is_value(value: &[u8]) -> bool {
    if let [b'"', ..] = value {
        return crate::grammar::quoted_length(value) == Some(value.len());
    }
    !value.is_empty()
        && value.iter().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b',' | b';')
                || *byte >= 0x80
        })
}

fn split_parameter(piece: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', piece) {
        Some(equal) => {
            let (name, value) = piece.split_at_checked(equal).unwrap_or((piece, b""));
            (trim(name), Some(trim(value.get(1..).unwrap_or_default())))
        }
        None => (piece, None),
    }
}

/// The texts between semicolons.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        match find_outside(rest, b';', false) {
            Some(end) => {
                self.rest = rest.get(end + 1..);
                Some(trim(rest.get(..end)?))
            }
            None => Some(trim(rest)),
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
        assert!(Params::new(b";a=b;c=\"d e\";f").check().is_ok());
        assert!(Params::new(b";a=\"b").check().is_err());
        assert!(Params::new(b";a=b c").check().is_err());
        assert!(Params::new(b";=b").check().is_err());
        assert!(Params::new(b";a=").check().is_err());
    }

    #[test]
    fn empty_parameters_break_a_header() {
        assert!(Params::new(b"").check().is_ok());
        for text in [&b";"[..], b";;a", b";a;", b"; ;"] {
            assert!(Params::new(text).check().is_err());
        }
    }
}
