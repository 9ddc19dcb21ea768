//! Values as nearly every message has them, read in one pass: from one byte that is no letter, digit, `-` or `.` to the next.
//!
//! A reader here gives nothing for a value that is written in another way, broken or not: the readers of the whole grammar look at
//! that one. What it does give is what they would have found.

use crate::class::{HOST, PLAIN_USER, TOKEN, URI_PARAMETERS, VALUE, VALUE_BEFORE_COMMENT, is};
use crate::grammar::quoted_length;
use crate::lanes;
use crate::span::Span;

/// Finds the bytes that are not plain, sixteen bytes at a time.
struct Marks<'a> {
    text: &'a [u8],
    /// Where the value ends.
    end: usize,
    /// What `found` is about.
    base: usize,
    /// Of sixteen bytes those that are marks and were not passed.
    found: u32,
}

impl<'a> Marks<'a> {
    /// The marks from a place on. What stands behind the end is looked at but not found.
    #[inline(always)]
    fn new(text: &'a [u8], start: usize, end: usize) -> Marks<'a> {
        Marks {
            text,
            end,
            base: start,
            found: Self::look(text, start),
        }
    }

    #[inline(always)]
    fn look(text: &[u8], start: usize) -> u32 {
        let rest = text.get(start..).unwrap_or_default();
        match rest.first_chunk() {
            Some(sixteen) => lanes::not_plain(sixteen),
            None => Self::look_at_few(text, rest),
        }
    }

    /// The same where fewer than sixteen bytes are left.
    #[inline(never)]
    fn look_at_few(text: &[u8], rest: &[u8]) -> u32 {
        if let Some(sixteen) = text.last_chunk() {
            return lanes::not_plain(sixteen) >> (16 - rest.len());
        }
        let mut sixteen = [b' '; 16];
        for (to, from) in sixteen.iter_mut().zip(rest) {
            *to = *from;
        }
        lanes::not_plain(&sixteen)
    }

    /// Where the next mark stands that does not belong to the class, or the value ends. All before it belong to it, when all plain
    /// bytes do.
    #[inline(always)]
    fn skip(&mut self, class: u16) -> usize {
        loop {
            while self.found == 0 {
                self.base += 16;
                if self.base >= self.end {
                    return self.end;
                }
                self.found = Self::look(self.text, self.base);
            }
            let at = self.base + self.found.trailing_zeros() as usize;
            if at >= self.end {
                return self.end;
            }
            if !self.text.get(at).is_some_and(|byte| is(*byte, class)) {
                return at;
            }
            self.pass();
        }
    }

    /// Passes the mark that was found last.
    #[inline]
    fn pass(&mut self) {
        self.found &= self.found.wrapping_sub(1);
    }

    /// The byte at a place in the value.
    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied().filter(|_| at < self.end)
    }

    /// The port behind the colon at a place, and where it ends.
    #[inline]
    fn port(&mut self, colon: usize) -> Option<(u16, usize)> {
        self.pass();
        let end = self.skip(0);
        let digits = self.text.get(colon + 1..end)?;
        if digits.is_empty() || digits.len() > 5 {
            return None;
        }
        let mut port = 0u32;
        for digit in digits {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            port = port * 10 + u32::from(digit);
        }
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        Some((port, end))
    }
}

/// Where the parts of a `sip:` or `sips:` URI stand that has neither password, escapes in its user, an IPv6 address nor headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsualUri {
    pub(crate) is_sips: bool,
    pub(crate) user: Option<Span>,
    pub(crate) host: Span,
    pub(crate) port: Option<u16>,
    /// From the first semicolon on.
    pub(crate) params: Span,
    end: usize,
}

impl UsualUri {
    /// The same in a text that begins with the URI, which is so many bytes long.
    #[inline]
    pub(crate) fn alone(self, length: usize) -> UsualUri {
        let before = self.end.saturating_sub(length);
        let moved = |span: Span| {
            let [start, end] =
                [span.start, span.end].map(|at| (at as usize).saturating_sub(before));
            Span::new(start, end)
        };
        UsualUri {
            user: self.user.map(moved),
            host: moved(self.host),
            params: moved(self.params),
            end: length,
            ..self
        }
    }
}

/// The URI at a place that holds nothing else.
#[inline]
pub(crate) fn uri(text: &[u8], place: Span) -> Option<UsualUri> {
    let (start, end) = (place.start as usize, place.end as usize);
    let uri = uri_until(text, start, end)?;
    (uri.end == end).then_some(uri)
}

/// The URI that begins at a place and ends somewhere before another.
#[inline]
fn uri_until(text: &[u8], place: usize, end: usize) -> Option<UsualUri> {
    let (is_sips, start) = match text.get(place..end)? {
        [b's', b'i', b'p', b':', ..] => (false, place + 4),
        [b's', b'i', b'p', b's', b':', ..] => (true, place + 5),
        _ => return None,
    };
    let mut marks = Marks::new(text, start, end);
    let mut host = start;
    let mut user = None;
    let mut at = marks.skip(PLAIN_USER);
    if at > start && marks.byte(at) == Some(b'@') {
        user = Some(Span::new(start, at));
        host = at + 1;
        marks.pass();
    } else {
        marks = Marks::new(text, start, end);
    }
    at = marks.skip(HOST);
    let host = Span::new(host, at);
    let mut port = None;
    if marks.byte(at) == Some(b':') {
        let (number, end) = marks.port(at)?;
        (port, at) = (Some(number), end);
    }
    let params = at;
    if marks.byte(at) == Some(b';') {
        at = marks.skip(URI_PARAMETERS);
    }
    let is_whole = host.len() > 0 && marks.byte(at) != Some(b'?');
    is_whole.then_some(UsualUri {
        is_sips,
        user,
        host,
        port,
        params: if at > params {
            Span::new(params, at)
        } else {
            Span::default()
        },
        end: at,
    })
}

/// Where the parts of a From or To stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsualAddress {
    pub(crate) display: Option<Span>,
    pub(crate) uri_raw: Span,
    pub(crate) uri: UsualUri,
    /// From the semicolon on.
    pub(crate) params: Span,
    pub(crate) tag: Option<Span>,
}

/// `<sip:user@host>` or `"name" <sip:user@host>`, with a tag or nothing behind it.
#[inline]
pub(crate) fn address(text: &[u8], place: Span) -> Option<UsualAddress> {
    let mut address = bracketed(text, place)?;
    let (close, end) = (address.uri.end, place.end as usize);
    address.tag = match text.get(close + 1..end)? {
        [] => None,
        [b';', b't', b'a', b'g', b'=', _, ..] => {
            let tag = close + 6;
            if Marks::new(text, tag, end).skip(VALUE) != end {
                return None;
            }
            Some(Span::new(tag, end))
        }
        _ => return None,
    };
    Some(address)
}

/// `<sip:user@host>` or `"name" <sip:user@host>`. What stands behind it is taken for parameters, and not looked at.
#[inline]
pub(crate) fn bracketed(text: &[u8], place: Span) -> Option<UsualAddress> {
    let (mut start, end) = (place.start as usize, place.end as usize);
    let mut display = None;
    if text.get(start) == Some(&b'"') {
        let name_end = start + quoted_length(text.get(start..end)?)?;
        display = Some(Span::new(start, name_end));
        start = name_end + usize::from(text.get(name_end) == Some(&b' '));
    }
    if text.get(start) != Some(&b'<') {
        return None;
    }
    let uri = uri_until(text, start + 1, end)?;
    let close = uri.end;
    if close >= end || text.get(close) != Some(&b'>') {
        return None;
    }
    Some(UsualAddress {
        display,
        uri_raw: Span::new(start + 1, close),
        uri,
        params: Span::new(close + 1, end),
        tag: None,
    })
}

/// Where the parts of a Via stand, of which one is there alone, without blanks or comments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UsualVia {
    pub(crate) protocol: Span,
    pub(crate) version: Span,
    pub(crate) transport: Span,
    pub(crate) host: Span,
    pub(crate) port: Option<u16>,
    /// From the first semicolon on.
    pub(crate) params: Span,
}

/// `SIP/2.0/UDP host:port;name=value;name`. `see` gets name and value of each parameter.
#[inline]
pub(crate) fn via<'a>(
    text: &'a [u8],
    place: Span,
    mut see: impl FnMut(&'a [u8], Option<&'a [u8]>),
) -> Option<UsualVia> {
    let (start, end) = (place.start as usize, place.end as usize);
    let value = text.get(start..end)?;
    let transport = value.strip_prefix(b"SIP/2.0/")?;
    if !matches!(
        transport,
        [b'U', b'D', b'P', b' ', ..] | [b'T', b'C', b'P', b' ', ..] | [b'T', b'L', b'S', b' ', ..]
    ) {
        return None;
    }
    let host = start + 12;
    let mut marks = Marks::new(text, host, end);
    let mut at = marks.skip(HOST);
    let host = Span::new(host, at);
    let mut port = None;
    if marks.byte(at) == Some(b':') {
        let (number, end) = marks.port(at)?;
        (port, at) = (Some(number), end);
    }
    let params = at;
    while marks.byte(at) == Some(b';') {
        marks.pass();
        let name = Span::new(at + 1, marks.skip(TOKEN));
        at = name.end as usize;
        let mut value = None;
        if marks.byte(at) == Some(b'=') {
            marks.pass();
            let found = Span::new(at + 1, marks.skip(VALUE_BEFORE_COMMENT));
            at = found.end as usize;
            value = Some(found.in_bytes(text)).filter(|value| !value.is_empty());
            value?;
        }
        if name.len() == 0 {
            return None;
        }
        see(name.in_bytes(text), value);
    }
    let is_whole = at == end && host.len() > 0;
    is_whole.then_some(UsualVia {
        protocol: Span::new(start, start + 3),
        version: Span::new(start + 4, start + 7),
        transport: Span::new(start + 8, start + 11),
        host,
        port,
        params: Span::new(params, end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_addr::NameAddr;
    use crate::uri::Uri;
    use crate::via::Via;

    /// Each text, with each of its bytes replaced by others, cut off, and with another behind it.
    fn variants(texts: &[&str], mut look: impl FnMut(&[u8], Span)) {
        let others = b"a0-_.+@:;=?<>\"' ,%([]\\\r/";
        for text in texts {
            for at in 0..=text.len() {
                for other in others {
                    let mut whole = text.as_bytes().to_vec();
                    if let Some(byte) = whole.get_mut(at) {
                        *byte = *other;
                    } else {
                        whole.push(*other);
                    }
                    look(&whole, Span::new(0, whole.len()));
                    whole.extend_from_slice(b"\r\nSubject: what stands behind");
                    look(&whole, Span::new(0, text.len()));
                    look(&whole, Span::new(0, at));
                }
            }
        }
    }

    const URIS: [&str; 7] = [
        "sip:alice@example.com",
        "sip:+4930123456@192.0.2.17:5060;user=phone",
        "sips:a;b=c@10.255.0.1:65535;transport=tcp;lr",
        "sip:example.com:5060",
        "sip:pb00000000000000000000000000000abcdefghij0123@192.0.2.100:5060;lr",
        "sip:host;x",
        "sip:1@255.256.1.01",
    ];

    #[test]
    fn usual_uris_are_read_as_any() {
        let mut found = 0;
        variants(&URIS, |whole, place| {
            let text = place.in_bytes(whole);
            let Some(usual) = uri(whole, place) else {
                return;
            };
            found += 1;
            let any = Uri::read_any(text).unwrap();
            let of = |span: Span| span.in_bytes(whole);
            assert_eq!(usual.user.map(of), any.user);
            assert_eq!(of(usual.host), any.host_raw);
            assert_eq!(usual.port, any.port);
            assert_eq!(of(usual.params), any.params.raw());
            assert_eq!(usual.is_sips, any.scheme.as_bytes() == b"sips");
            assert!(any.password.is_none() && any.headers.is_none());
        });
        assert!(found > 1000);
        for text in &URIS {
            assert!(uri(text.as_bytes(), Span::new(0, text.len())).is_some());
        }
    }

    #[test]
    fn usual_addresses_are_read_as_any() {
        let texts = [
            "<sip:alice@example.com>;tag=a48s",
            "\"Alice \\\" <x>\" <sip:alice@example.com:5060;user=phone>;tag=1928301774",
            "\"\"<sips:example.com>",
        ];
        let mut found = 0;
        variants(&texts, |whole, place| {
            let Some(usual) = address(whole, place) else {
                return;
            };
            found += 1;
            let any = NameAddr::parse(place.in_bytes(whole)).unwrap();
            let of = |span: Span| span.in_bytes(whole);
            assert_eq!(usual.display.map(of), any.display);
            assert_eq!(of(usual.uri_raw), any.uri_raw);
            let uri = Uri::read_any(any.uri_raw).unwrap();
            assert_eq!(usual.uri.user.map(of), uri.user);
            assert_eq!(of(usual.uri.host), uri.host_raw);
            assert_eq!(of(usual.params), any.params.raw());
            assert_eq!(usual.tag.map(of), any.tag);
        });
        assert!(found > 1000);
    }

    #[test]
    fn usual_vias_are_read_as_any() {
        let texts = [
            "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport;x=_+",
            "SIP/2.0/TCP pc33.example.com;branch=z9hG4bK1;received=192.0.2.4;rport=5061",
            "SIP/2.0/TLS host",
        ];
        let mut found = 0;
        variants(&texts, |whole, place| {
            let mut branch = None;
            let usual = via(whole, place, |name, value| {
                if name.eq_ignore_ascii_case(b"branch") && branch.is_none() {
                    branch = Some(value.unwrap_or_default());
                }
            });
            let Some(usual) = usual else { return };
            found += 1;
            let any = Via::parse_first(place.in_bytes(whole)).unwrap();
            let of = |span: Span| span.in_bytes(whole);
            assert_eq!(of(usual.protocol), any.protocol);
            assert_eq!(of(usual.version), any.version);
            assert_eq!(of(usual.transport), any.transport);
            assert_eq!(of(usual.host), any.host_raw);
            assert_eq!(usual.port, any.port);
            assert_eq!(of(usual.params), any.params.raw());
            assert_eq!(place.in_bytes(whole), any.raw);
            assert_eq!(branch, any.noted.branch);
        });
        assert!(found > 1000);
    }
}
