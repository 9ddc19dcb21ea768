//! Addresses in headers: From, To, Contact, Route and their like (RFC 3261 §20.10).

use std::borrow::Cow;

use memchr::memchr;

use crate::class::{VALUE, all};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, quoted_length, trim, trim_start, unquote};
use crate::params::Params;
use crate::uri::Uri;

/// A `name-addr` or `addr-spec` with the parameters of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as it is spelt, with its quotes.
    pub display: Option<&'a [u8]>,
    /// The URI as it is spelt.
    pub uri_raw: &'a [u8],
    /// The parameters of the header, not of the URI.
    pub params: Params<'a>,
    /// Empty when the parameter has no value.
    pub(crate) tag: Option<&'a [u8]>,
}

impl<'a> NameAddr<'a> {
    /// Parses one value. The URI is looked at when it is asked for.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Invalid> {
        let mut address = Self::read(trim(value)).ok_or(Invalid::Address)?;
        let params = address.params.raw();
        // No parameters, or a tag alone, is what nearly every From and To has.
        if params.is_empty() {
            return Ok(address);
        }
        if let Some(tag) = params.strip_prefix(b";tag=")
            && !tag.is_empty()
            && all(tag, VALUE)
        {
            address.tag = Some(tag);
            return Ok(address);
        }
        let mut tag = None;
        address.params.check(|name, value| {
            if name.len() == 3 && tag.is_none() && eq_ignore_case(name, b"tag") {
                tag = Some(value.unwrap_or_default());
            }
        })?;
        address.tag = tag;
        Ok(address)
    }

    fn read(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let quoted = match value.first() {
            Some(b'"') => quoted_length(value)?,
            _ => 0,
        };
        let Some(open) = find_open(value, quoted) else {
            return if quoted == 0 {
                Self::read_addr_spec(value)
            } else {
                None
            };
        };
        let display = trim(value.get(..open)?);
        if !is_display(display, quoted) {
            return None;
        }
        let after = value.get(open + 1..)?;
        let close = memchr(b'>', after)?;
        let params = trim_start(after.get(close + 1..)?);
        if !matches!(params.first(), None | Some(b';')) {
            return None;
        }
        let uri_raw = after.get(..close).filter(|uri| !uri.is_empty())?;
        Some(NameAddr {
            display: (!display.is_empty()).then_some(display),
            uri_raw,
            params: Params::new(params),
            tag: None,
        })
    }

    /// RFC 3261 §20.10: without `<>` the parameters belong to the header.
    fn read_addr_spec(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let (uri, params) = value.split_at_checked(memchr(b';', value).unwrap_or(value.len()))?;
        let uri_raw = trim(uri);
        let is_whole = !uri_raw.is_empty()
            && !uri_raw
                .iter()
                .any(|byte| matches!(byte, b',' | b'?' | b'>' | b'"'));
        is_whole.then(|| NameAddr {
            display: None,
            uri_raw,
            params: Params::new(params),
            tag: None,
        })
    }

    /// The URI.
    pub fn uri(&self) -> Result<Uri<'a>, Invalid> {
        Uri::parse(self.uri_raw)
    }

    /// The tag (RFC 3261 §19.3).
    #[inline]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.tag.filter(|tag| !tag.is_empty())
    }

    /// Whether there is a tag parameter, with or without a value.
    pub(crate) fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// The display name with quotes and escapes resolved.
    pub fn display_name(&self) -> Option<Cow<'a, [u8]>> {
        self.display.map(unquote)
    }
}

/// Where the bracket opens, at the end of the quoted string or behind it; most values begin with one or the other.
#[inline]
fn find_open(value: &[u8], quoted: usize) -> Option<usize> {
    let rest = value.get(quoted..)?;
    match rest {
        [b'<', ..] => Some(quoted),
        [b' ', b'<', ..] => Some(quoted + 1),
        _ => memchr(b'<', rest).map(|at| quoted + at),
    }
}

/// A display name is one quoted string, or words. Commas would make it two values of a list.
fn is_display(display: &[u8], quoted: usize) -> bool {
    match quoted {
        0 => !display.iter().any(|byte| matches!(byte, b'"' | b',')),
        length => length == display.len(),
    }
}

/// One value of Contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactValue<'a> {
    /// `*`: all of them (RFC 3261 §10.2.2).
    Star,
    /// An address with parameters.
    Address(NameAddr<'a>),
}

impl<'a> ContactValue<'a> {
    /// Parses one value.
    pub fn parse(value: &'a [u8]) -> Result<ContactValue<'a>, Invalid> {
        match trim(value) {
            b"*" => Ok(ContactValue::Star),
            value => NameAddr::parse(value).map(ContactValue::Address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let quoted = NameAddr::parse(br#""A \"<b>\" C" <sip:a@b;lr>;tag=1"#).unwrap();
        assert_eq!(quoted.display_name().as_deref(), Some(&br#"A "<b>" C"#[..]));
        assert_eq!(
            (quoted.uri_raw, quoted.tag()),
            (&b"sip:a@b;lr"[..], Some(&b"1"[..]))
        );
        let words = NameAddr::parse(b"Alice B<sip:a@b>").unwrap();
        assert_eq!((words.display, words.tag()), (Some(&b"Alice B"[..]), None));
        let plain = NameAddr::parse(b"sip:a@b;tag=2").unwrap();
        assert_eq!(
            (plain.uri_raw, plain.tag()),
            (&b"sip:a@b"[..], Some(&b"2"[..]))
        );
        assert!(plain.uri().unwrap().params.is_empty());
    }

    #[test]
    fn broken_addresses_are_refused() {
        for value in [
            &br#""open <sip:a@b>"#[..],
            b"<sip:a@b",
            b"<>",
            b"",
            b"<sip:a@b> x",
            br#""a" "b" <sip:a@b>"#,
            b"A, B <sip:a@b>",
            b"sip:a@b,sip:c@d",
            b"\"only\"",
            b"<sip:a@b>;tag=\"x",
        ] {
            assert!(
                NameAddr::parse(value).is_err(),
                "{}",
                String::from_utf8_lossy(value)
            );
        }
    }

    #[test]
    fn star_is_a_contact_of_its_own() {
        assert_eq!(ContactValue::parse(b" * "), Ok(ContactValue::Star));
        assert!(matches!(
            ContactValue::parse(b"<sip:a@b>;q=0.5"),
            Ok(ContactValue::Address(_))
        ));
    }
}
