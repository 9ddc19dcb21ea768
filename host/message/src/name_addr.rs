//! Addresses in headers: From, To, Contact, Route and their like (RFC 3261 §20.10).

use std::borrow::Cow;

use memchr::memchr;

use crate::class::{VALUE, all};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, quoted_length, trim, trim_start, unquote};
use crate::params::Params;
use crate::span::Span;
use crate::uri::Uri;
use crate::usual::{self, UsualUri};

/// A `name-addr` or `addr-spec` with the parameters of the header.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    /// The display name as it is spelt, with its quotes.
    pub display: Option<&'a [u8]>,
    /// The URI as it is spelt. Another text here is not what [`NameAddr::uri`] reads.
    pub uri_raw: &'a [u8],
    /// The parameters of the header, not of the URI.
    pub params: Params<'a>,
    /// Empty when the parameter has no value.
    pub(crate) tag: Option<&'a [u8]>,
    /// The parts of the URI, where they are known already, in a text of which the URI is a part.
    pub(crate) usual: Option<UsualUri>,
}

impl PartialEq for NameAddr<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.display == other.display
            && self.uri_raw == other.uri_raw
            && self.params == other.params
            && self.tag == other.tag
    }
}

impl Eq for NameAddr<'_> {}

impl<'a> NameAddr<'a> {
    /// Parses one value. The URI is looked at when it is asked for.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, Invalid> {
        let mut address = Self::read(trim(value)).ok_or(Invalid::Address)?;
        address.read_params()?;
        Ok(address)
    }

    /// Parses one value and its URI, for which [`NameAddr::uri`] then costs little.
    pub fn parse_with_uri(value: &'a [u8]) -> Result<NameAddr<'a>, Invalid> {
        let value = trim(value);
        let Some(mut address) = Self::read_usual(value) else {
            let address = Self::parse(value)?;
            return address.uri().map(|_| address);
        };
        address.read_params()?;
        Ok(address)
    }

    /// The address before the parameters, when it is one of the usual kind.
    #[inline]
    fn read_usual(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let usual = usual::bracketed(value, Span::new(0, value.len()))?;
        let params = usual.params.in_bytes(value);
        matches!(params.first(), None | Some(b';')).then(|| NameAddr {
            display: usual.display.map(|display| display.in_bytes(value)),
            uri_raw: usual.uri_raw.in_bytes(value),
            params: Params::new(params),
            tag: None,
            usual: Some(usual.uri),
        })
    }

    /// Checks the parameters and finds the tag among them.
    #[inline]
    fn read_params(&mut self) -> Result<(), Invalid> {
        let params = self.params.raw();
        // No parameters, or a tag alone, is what nearly every From and To has.
        if params.is_empty() {
            return Ok(());
        }
        if let Some(tag) = params.strip_prefix(b";tag=")
            && !tag.is_empty()
            && all(tag, VALUE)
        {
            self.tag = Some(tag);
            return Ok(());
        }
        let mut tag = None;
        self.params.check(|name, value| {
            if name.len() == 3 && tag.is_none() && eq_ignore_case(name, b"tag") {
                tag = Some(value.unwrap_or_default());
            }
        })?;
        self.tag = tag;
        Ok(())
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
            usual: None,
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
            usual: None,
        })
    }

    /// The URI.
    #[inline]
    pub fn uri(&self) -> Result<Uri<'a>, Invalid> {
        match self.usual {
            Some(usual) => Ok(Uri::of_usual(self.uri_raw, usual.alone(self.uri_raw.len()))),
            None => Uri::parse(self.uri_raw),
        }
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
    fn an_address_with_its_uri_is_read_as_any() {
        for value in [
            &b" <sip:a@b>"[..],
            b"<sip:a@192.0.2.1:5060;transport=udp>;expires=60;tag=\"x\"",
            b"\"A\" <sips:a@b>;tag=1 ",
            b"\"\"<sip:b>",
            b"A <sip:a:secret@[::1]?x=y> ; q=0.5",
            b"<sip:a@b> ;q=1",
            b"sip:a@b;q=1",
            b"<tel:+1>",
            b"<sip:a@b> x",
            b"<sip:a@b>;=1",
            b"<sip:a b@c>",
            b"<a>",
            b"",
        ] {
            let any = NameAddr::parse(value).and_then(|address| Ok((address, address.uri()?.raw)));
            let found = NameAddr::parse_with_uri(value);
            assert_eq!(found.ok(), any.ok().map(|(address, _)| address));
            if let Ok(found) = found {
                let (uri, any) = (found.uri().unwrap(), Uri::parse(found.uri_raw).unwrap());
                assert_eq!((uri.user, uri.host_raw), (any.user, any.host_raw));
                assert_eq!((uri.port, uri.params), (any.port, any.params));
                assert_eq!((uri.scheme, uri.raw), (any.scheme, any.raw));
            }
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
