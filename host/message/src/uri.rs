//! URIs (RFC 3261 §19.1, RFC 3966 for `tel:`).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use memchr::memchr;

use crate::class::{Cursor, HOST, PLAIN_USER, SCHEME, URI, URI_PARAMETERS, all, run};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, hex_digit, unescape};
use crate::params::Params;
use crate::span::Span;
use crate::usual::{self, UsualUri};

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other, as it is spelt.
    Other(&'a [u8]),
}

impl<'a> Scheme<'a> {
    fn from_bytes(name: &'a [u8]) -> Scheme<'a> {
        match name.len() {
            3 if eq_ignore_case(name, b"sip") => Scheme::Sip,
            4 if eq_ignore_case(name, b"sips") => Scheme::Sips,
            3 if eq_ignore_case(name, b"tel") => Scheme::Tel,
            _ => Scheme::Other(name),
        }
    }

    /// The name, without the colon.
    pub fn as_bytes(&self) -> &'a [u8] {
        match *self {
            Scheme::Sip => b"sip",
            Scheme::Sips => b"sips",
            Scheme::Tel => b"tel",
            Scheme::Other(name) => name,
        }
    }
}

/// The host of a URI or of a Via. Names are equal whatever their case.
#[derive(Clone, Copy, Debug, Eq)]
pub enum Host<'a> {
    /// A domain name; empty for URIs that have no host.
    Name(&'a [u8]),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 reference, in the text inside `[]`.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Parses a host; an IPv6 address must stand in `[]`.
    pub fn parse(text: &'a [u8]) -> Option<Host<'a>> {
        if let [b'[', inner @ .., b']'] = text {
            return parse_v6(inner).map(Host::V6);
        }
        if text.is_empty() || !all(text, HOST) {
            return None;
        }
        Some(Self::of_name(text))
    }

    /// The host of a text of host bytes.
    #[inline]
    pub(crate) fn of_name(text: &'a [u8]) -> Host<'a> {
        parse_v4(text).map_or(Host::Name(text), Host::V4)
    }

    /// The address, when it is one.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        match *self {
            Host::Name(_) => None,
            Host::V4(address) => Some(address.into()),
            Host::V6(address) => Some(address.into()),
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Name(left), Host::Name(right)) => eq_ignore_case(left, right),
            (Host::V4(left), Host::V4(right)) => left == right,
            (Host::V6(left), Host::V6(right)) => left == right,
            _ => false,
        }
    }
}

/// Four numbers of up to three digits, without leading zeros, which some read as octal.
fn parse_v4(text: &[u8]) -> Option<Ipv4Addr> {
    if !text.first()?.is_ascii_digit() || text.len() > 15 {
        return None;
    }
    let (mut address, mut rest) = read_octet(text)?;
    for _ in 0..3 {
        let [b'.', behind @ ..] = rest else {
            return None;
        };
        let (octet, behind) = read_octet(behind)?;
        (address, rest) = (address << 8 | octet, behind);
    }
    rest.is_empty().then(|| Ipv4Addr::from_bits(address))
}

/// A number of up to three digits, at most 255, and what stands behind it.
#[inline(always)]
fn read_octet(text: &[u8]) -> Option<(u32, &[u8])> {
    let digit = |byte: &u8| Some(u32::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit <= 9);
    let (first, rest) = text.split_first()?;
    let first = digit(first)?;
    let Some((second, behind)) = rest.split_first() else {
        return Some((first, rest));
    };
    let Some(second) = digit(second) else {
        return Some((first, rest));
    };
    let octet = first * 10 + second;
    let (octet, rest) = match behind
        .split_first()
        .map(|(third, rest)| (digit(third), rest))
    {
        Some((Some(third), rest)) => (octet * 10 + third, rest),
        _ => (octet, behind),
    };
    // Nothing follows a 0.
    (first != 0 && octet <= 255).then_some((octet, rest))
}

/// An IPv6 address without `[]`.
///
/// RFC 5118 §4.10: a literal reading of RFC 3261's grammar makes `::` of an address that
/// ends in IPv4 into `:::`; it is accepted and means `::`.
pub(crate) fn parse_v6(text: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(text).ok()?;
    match Ipv6Addr::from_str(text) {
        Ok(address) => Some(address),
        Err(_) if text.contains(":::") => Ipv6Addr::from_str(&text.replacen(":::", "::", 1)).ok(),
        Err(_) => None,
    }
}

/// `host[:port]`.
pub(crate) struct HostPort<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) host_raw: &'a [u8],
    pub(crate) port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads what comes next; blanks around the colon are accepted when `blanks` (a Via may have them).
    #[inline]
    pub(crate) fn read(cursor: &mut Cursor<'a>, blanks: bool) -> Option<HostPort<'a>> {
        let (host, host_raw) = Self::read_host(cursor)?;
        if blanks {
            cursor.blanks();
        }
        let mut port = None;
        if cursor.eat(b':') {
            if blanks {
                cursor.blanks();
            }
            port = Some(read_port(cursor)?);
        }
        Some(HostPort {
            host,
            host_raw,
            port,
        })
    }

    #[inline]
    fn read_host(cursor: &mut Cursor<'a>) -> Option<(Host<'a>, &'a [u8])> {
        if cursor.peek() == Some(b'[') {
            let raw = cursor.advance(memchr(b']', cursor.rest())? + 1);
            return Some((Host::parse(raw)?, raw));
        }
        let raw = cursor.take_long(HOST);
        (!raw.is_empty()).then(|| (Host::of_name(raw), raw))
    }
}

/// A port, 1 to 65535, in decimal digits.
#[inline]
fn read_port(cursor: &mut Cursor<'_>) -> Option<u16> {
    let mut port = 0u32;
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = cursor.rest().get(digits) {
        // What is too large stays too large.
        port = (port * 10 + u32::from(digit - b'0')).min(u32::from(u16::MAX) + 1);
        digits += 1;
    }
    cursor.advance(digits);
    u16::try_from(port).ok().filter(|port| *port != 0)
}

/// A URI, in place. Escapes are kept as they are.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user part with its escapes; of a `tel:` URI the number.
    pub user: Option<&'a [u8]>,
    /// The password, with its escapes.
    pub password: Option<&'a [u8]>,
    /// The host; an empty name for `tel:` and unknown schemes.
    pub host: Host<'a>,
    /// The host as it is spelt, with the `[]` of an IPv6 reference.
    pub host_raw: &'a [u8],
    /// The port, 1 to 65535.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// What follows the question mark.
    pub headers: Option<&'a [u8]>,
    /// The whole URI.
    pub raw: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Parses a URI. One of an unknown scheme is accepted with nothing but its scheme known.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, Invalid> {
        Self::read(raw).ok_or(Invalid::Uri)
    }

    /// Whether [`Uri::parse`] takes it.
    pub(crate) fn is_valid(raw: &'a [u8]) -> bool {
        Self::read(raw).is_some()
    }

    fn read(raw: &'a [u8]) -> Option<Uri<'a>> {
        match usual::uri(raw, Span::new(0, raw.len())) {
            Some(usual) => Some(Self::of_usual(raw, usual)),
            None => Self::read_any(raw),
        }
    }

    /// The URI of which these are the parts.
    pub(crate) fn of_usual(raw: &'a [u8], usual: UsualUri) -> Uri<'a> {
        let host_raw = usual.host.in_bytes(raw);
        Uri {
            scheme: if usual.is_sips {
                Scheme::Sips
            } else {
                Scheme::Sip
            },
            user: usual.user.map(|user| user.in_bytes(raw)),
            password: None,
            host: Host::of_name(host_raw),
            host_raw,
            port: usual.port,
            params: Params::new(usual.params.in_bytes(raw)),
            headers: None,
            raw,
        }
    }

    /// Reads any URI.
    pub(crate) fn read_any(raw: &'a [u8]) -> Option<Uri<'a>> {
        match raw {
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => {
                return Self::read_sip(raw, Scheme::Sip, rest);
            }
            [
                b's' | b'S',
                b'i' | b'I',
                b'p' | b'P',
                b's' | b'S',
                b':',
                rest @ ..,
            ] => {
                return Self::read_sip(raw, Scheme::Sips, rest);
            }
            _ => {}
        }
        let (name, rest) = raw.split_at_checked(run(raw, SCHEME))?;
        let [b':', rest @ ..] = rest else {
            return None;
        };
        if !name.first()?.is_ascii_alphabetic() || rest.is_empty() || !all(rest, URI) {
            return None;
        }
        match Scheme::from_bytes(name) {
            Scheme::Tel => Self::read_tel(raw, rest),
            scheme => Some(Self::bare(raw, scheme)),
        }
    }

    fn bare(raw: &'a [u8], scheme: Scheme<'a>) -> Uri<'a> {
        Uri {
            scheme,
            user: None,
            password: None,
            host: Host::Name(b""),
            host_raw: b"",
            port: None,
            params: Params::default(),
            headers: None,
            raw,
        }
    }

    fn read_sip(raw: &'a [u8], scheme: Scheme<'a>, rest: &'a [u8]) -> Option<Uri<'a>> {
        let mut uri = Self::bare(raw, scheme);
        let mut cursor = Cursor::new(rest);
        let userinfo = UserInfo::read(&mut cursor)?;
        (uri.user, uri.password) = (userinfo.user, userinfo.password);
        let host_port = HostPort::read(&mut cursor, false)?;
        (uri.host, uri.host_raw, uri.port) = (host_port.host, host_port.host_raw, host_port.port);
        if cursor.peek() == Some(b';') {
            uri.params = Params::new(cursor.take_long(URI_PARAMETERS));
        }
        if cursor.eat(b'?') {
            let headers = cursor.rest();
            if !all(headers, URI) || memchr(b'@', headers).is_some() {
                return None;
            }
            uri.headers = Some(headers);
            cursor.advance(headers.len());
        }
        cursor.peek().is_none().then_some(uri)
    }

    /// RFC 3966 §3: the number, then parameters.
    fn read_tel(raw: &'a [u8], rest: &'a [u8]) -> Option<Uri<'a>> {
        let (number, params) = rest.split_at_checked(memchr(b';', rest).unwrap_or(rest.len()))?;
        let fits = |byte: &u8| {
            byte.is_ascii_hexdigit()
                || matches!(byte, b'+' | b'-' | b'.' | b'(' | b')' | b'*' | b'#')
        };
        if number.is_empty() || !number.iter().all(fits) {
            return None;
        }
        Some(Uri {
            user: Some(number),
            params: Params::new(params),
            ..Self::bare(raw, Scheme::Tel)
        })
    }

    /// The parameter of that name: its value, or `Some(None)` when it has none.
    pub fn param(&self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.params.get(name)
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.params.value(b"transport")
    }

    /// Whether the URI asks for loose routing (RFC 3261 §16.4).
    pub fn is_lr(&self) -> bool {
        self.params.contains(b"lr")
    }

    /// The `maddr` parameter.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value(b"maddr")
    }

    /// The user part with escapes resolved; empty when there is none.
    pub fn user_unescaped(&self) -> Cow<'a, [u8]> {
        let user = self.user.unwrap_or_default();
        // Broken escapes are refused by `parse`.
        unescape(user).unwrap_or(Cow::Borrowed(user))
    }

    /// Whether the scheme is `sip:` or `sips:`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }
}

/// What stands before the at sign.
#[derive(Default)]
struct UserInfo<'a> {
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
}

impl<'a> UserInfo<'a> {
    /// Reads it with its at sign; `None` when it is broken. Nothing is read without an at sign.
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<UserInfo<'a>> {
        let mut behind = *cursor;
        let user = behind.take_long(PLAIN_USER);
        match behind.peek() {
            None => Some(UserInfo::default()),
            Some(b'@') if !user.is_empty() => {
                behind.advance(1);
                *cursor = behind;
                Some(UserInfo {
                    user: Some(user),
                    password: None,
                })
            }
            Some(_) => Self::read_unusual(cursor),
        }
    }

    /// The same with a password or escapes in it.
    fn read_unusual(cursor: &mut Cursor<'a>) -> Option<UserInfo<'a>> {
        let rest = cursor.rest();
        let Some(length) = memchr(b'@', rest) else {
            return Some(UserInfo::default());
        };
        let userinfo = rest.get(..length)?;
        cursor.advance(length + 1);
        let (user, password) = split_once(userinfo, b':');
        let is_whole = !user.is_empty() && all(userinfo, URI) && escapes_are_whole(userinfo);
        is_whole.then_some(UserInfo {
            user: Some(user),
            password,
        })
    }
}

fn escapes_are_whole(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).all(|at| match text.get(at + 1..at + 3) {
        Some([high, low]) => hex_digit(*high).is_some() && hex_digit(*low).is_some(),
        _ => false,
    })
}

/// What stands before and after the first separator.
fn split_once(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr(separator, text).and_then(|at| text.split_at_checked(at)) {
        Some((before, after)) => (before, after.get(1..)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_found() {
        let uri = Uri::parse(
            b"sips:alice;x=1:pass@[2001:db8::1]:5061;transport=tcp;lr?Subject=a&Priority=b",
        )
        .unwrap();
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"alice;x=1"[..]));
        assert_eq!(uri.password, Some(&b"pass"[..]));
        assert_eq!(uri.host, Host::V6("2001:db8::1".parse().unwrap()));
        assert_eq!(uri.host_raw, b"[2001:db8::1]");
        assert_eq!(uri.port, Some(5061));
        assert_eq!(uri.transport(), Some(&b"tcp"[..]));
        assert!(uri.is_lr());
        assert_eq!(uri.headers, Some(&b"Subject=a&Priority=b"[..]));
    }

    #[test]
    fn ipv4_addresses_are_read_as_the_library_reads_them() {
        let texts = ["192.0.2.17", "0.0.0.0", "255.255.255.255", "1.2.3.4"];
        for text in texts {
            assert_eq!(parse_v4(text.as_bytes()), text.parse().ok());
            for at in 0..=text.len() {
                for other in ["", "0", "1", "9", ".", "25", "00", "x"] {
                    let (before, after) = text.split_at(at);
                    let rest = after.get(1..).unwrap_or_default();
                    for changed in [
                        [before, other, after].concat(),
                        [before, other, rest].concat(),
                    ] {
                        let expected = changed.parse::<Ipv4Addr>().ok();
                        assert_eq!(parse_v4(changed.as_bytes()), expected, "{changed}");
                    }
                }
            }
        }
    }

    #[test]
    fn tel_uri_has_its_number_as_user() {
        let uri = Uri::parse(b"tel:+1-201-555-0123;phone-context=example.com").unwrap();
        assert_eq!(
            (uri.scheme, uri.user),
            (Scheme::Tel, Some(&b"+1-201-555-0123"[..]))
        );
        assert_eq!(uri.param(b"phone-context"), Some(Some(&b"example.com"[..])));
        assert_eq!(uri.host, Host::Name(b""));
    }

    #[test]
    fn unknown_schemes_are_kept_whole() {
        let uri = Uri::parse(b"soap.beep://192.0.2.103:3002").unwrap();
        assert_eq!(uri.scheme, Scheme::Other(b"soap.beep"));
    }

    #[test]
    fn broken_uris_are_refused() {
        for text in [
            "",
            "sip:",
            "alice@example.com",
            "sip:@example.com",
            "sip:a@b@c",
            "sip:a@",
            "sip:a@host:",
            "sip:a@host:0",
            "sip:a@host:65536",
            "sip:a@host:5060x",
            "sip:a%4@host",
            "sip:a b@host",
            "sip:a@[::1",
            "sip:a@[zz]",
            "sip:a@ho st",
            "<sip:a@host>",
            "1sip:a@host",
            "tel:",
            "tel:hello",
            "sip:a@host\0",
            "sip:a@2001:db8::1",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn escapes_in_the_user_are_resolved_on_request() {
        let uri = Uri::parse(b"sip:sips%3Auser%40example.com@example.net").unwrap();
        assert_eq!(uri.user_unescaped().as_ref(), b"sips:user@example.com");
        assert_eq!(uri.host, Host::Name(b"Example.NET"));
    }
}
