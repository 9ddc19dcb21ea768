//! Via (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use crate::class::{Cursor, LWS, TOKEN, VALUE_BEFORE_COMMENT, is};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, find_outside, parse_port, parse_u32, trim_end};
use crate::name::HeaderName;
use crate::params::{Params, read_parameters};
use crate::uri::{Host, HostPort, parse_v6};

/// RFC 3261 §8.1.1.7: how a branch begins that is unique.
pub const MAGIC_COOKIE: &[u8; 7] = b"z9hG4bK";

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    /// `SIP`.
    pub protocol: &'a [u8],
    /// `2.0`.
    pub version: &'a [u8],
    /// `UDP`, `TCP`, ..., in the case it came in.
    pub transport: &'a [u8],
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The host of sent-by as it is spelt.
    pub host_raw: &'a [u8],
    /// The port of sent-by.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// The whole value.
    pub raw: &'a [u8],
    pub(crate) noted: ViaParameters<'a>,
}

/// The parameters of a Via that every response needs, noted when it is parsed: the first of each name. Empty: it is there
/// without a value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ViaParameters<'a> {
    pub(crate) branch: Option<&'a [u8]>,
    pub(crate) received: Option<&'a [u8]>,
    pub(crate) rport: Option<Option<u16>>,
}

/// What a Via says of its sender and of the way back to it: sent-by of RFC 3261 §25.1, the transport before it, and `rport`. It is less to
/// move than the whole.
#[derive(Clone, Copy, Debug)]
pub struct SentBy<'a> {
    /// `UDP`, `TCP`, ..., in the case it came in.
    pub transport: &'a [u8],
    /// The host.
    pub host: Host<'a>,
    /// The host as it is spelt.
    pub host_raw: &'a [u8],
    /// The port.
    pub port: Option<u16>,
    /// RFC 3581 §3: `Some(None)` asks for the port, `Some(Some(port))` tells it.
    pub rport: Option<Option<u16>>,
}

impl<'a> Via<'a> {
    /// Parses one value.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, Invalid> {
        let mut cursor = Cursor::new(value);
        cursor.blanks();
        match Self::read(cursor) {
            Some((via, rest)) if rest.peek().is_none() => Ok(via),
            _ => Err(Invalid::Header(HeaderName::Via)),
        }
    }

    /// Parses the first value of a field that may hold several.
    #[inline]
    pub fn parse_first(field: &'a [u8]) -> Result<Via<'a>, Invalid> {
        let mut cursor = Cursor::new(field);
        while matches!(cursor.peek(), Some(byte) if byte == b',' || is(byte, LWS)) {
            cursor.advance(1);
        }
        match Self::read(cursor) {
            Some((via, rest)) if matches!(rest.peek(), None | Some(b',')) => Ok(via),
            _ => Err(Invalid::Header(HeaderName::Via)),
        }
    }

    /// Reads the value that comes next, and the blanks and comments behind it.
    #[inline(always)]
    fn read(mut cursor: Cursor<'a>) -> Option<(Via<'a>, Cursor<'a>)> {
        let start = cursor.at();
        let (protocol, version) = read_protocol(&mut cursor)?;
        let transport = read_transport(&mut cursor);
        if transport.is_empty() || !cursor.peek().is_some_and(|byte| is(byte, LWS)) {
            return None;
        }
        cursor.blanks();
        let sent_by = HostPort::read(&mut cursor, true)?;
        let mut end = cursor.at();
        cursor.blanks();
        if cursor.peek() == Some(b'(') {
            end = skip_comment(&mut cursor, b';');
        }
        let mut noted = ViaParameters::default();
        let mut params = Params::default();
        if cursor.peek() == Some(b';') {
            let params_start = cursor.at();
            cursor.advance(1);
            let params_end = read_parameters(&mut cursor, VALUE_BEFORE_COMMENT, |name, value| {
                noted.note(name, value)
            })?;
            end = params_end;
            params = Params::new(cursor.between(params_start, params_end));
            if cursor.peek() == Some(b'(') {
                end = skip_comment(&mut cursor, b',');
            }
        }
        let via = Via {
            protocol,
            version,
            transport,
            host: sent_by.host,
            host_raw: sent_by.host_raw,
            port: sent_by.port,
            params,
            raw: trim_end(cursor.between(start, end)),
            noted,
        };
        Some((via, cursor))
    }

    /// The branch parameter.
    #[inline]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.noted.branch.filter(|branch| !branch.is_empty())
    }

    /// Whether the branch begins with the magic cookie and goes on, so that it identifies the transaction (RFC 3261
    /// §17.2.3). RFC 4475 §3.2.1: the cookie alone identifies nothing, the rules of RFC 2543 apply.
    pub fn has_magic_cookie(&self) -> bool {
        self.branch().is_some_and(has_magic_cookie)
    }

    /// What it says of its sender and of the way back.
    pub fn sent_by(&self) -> SentBy<'a> {
        SentBy {
            transport: self.transport,
            host: self.host,
            host_raw: self.host_raw,
            port: self.port,
            rport: self.noted.rport,
        }
    }

    /// The received parameter; an IPv6 address may stand with or without `[]` (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        self.noted.received.and_then(address)
    }

    /// RFC 3581 §3: `Some(None)` asks for the port, `Some(Some(port))` tells it.
    #[inline]
    pub fn rport(&self) -> Option<Option<u16>> {
        self.noted.rport
    }

    /// The ttl parameter.
    pub fn ttl(&self) -> Option<u8> {
        u8::try_from(parse_u32(self.params.value(b"ttl")?)?).ok()
    }

    /// The maddr parameter.
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value(b"maddr")
    }
}

/// Whether a branch parameter begins with the magic cookie and goes on (see [`Via::has_magic_cookie`]).
pub fn has_magic_cookie(branch: &[u8]) -> bool {
    let Some((start, [_, ..])) = branch.split_first_chunk() else {
        return false;
    };
    start == MAGIC_COOKIE || start.eq_ignore_ascii_case(MAGIC_COOKIE)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    Host::parse(text)
        .and_then(|host| host.address())
        .or_else(|| parse_v6(text).map(IpAddr::V6))
}

impl<'a> ViaParameters<'a> {
    #[inline]
    pub(crate) fn note(&mut self, name: &'a [u8], value: Option<&'a [u8]>) {
        match name.len() {
            6 if self.branch.is_none() && eq_ignore_case(name, b"branch") => {
                self.branch = Some(value.unwrap_or_default());
            }
            5 if self.rport.is_none() && eq_ignore_case(name, b"rport") => {
                self.rport = Some(value.and_then(parse_port));
            }
            8 if self.received.is_none() && eq_ignore_case(name, b"received") => {
                self.received = Some(value.unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// Protocol and version, each with its slash.
#[inline]
fn read_protocol<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let rest = cursor.rest();
    // Nearly always, and then no byte needs a look of its own.
    if rest.starts_with(b"SIP/2.0/") && !rest.get(8).is_some_and(|byte| is(*byte, LWS)) {
        let usual = cursor.advance(8);
        return Some((usual.get(..3)?, usual.get(4..7)?));
    }
    Some((read_before_slash(cursor)?, read_before_slash(cursor)?))
}

/// The token that comes next; those that nearly every Via has need no look at each byte.
#[inline]
fn read_transport<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    match cursor.rest() {
        [b'U', b'D', b'P', b' ', ..]
        | [b'T', b'C', b'P', b' ', ..]
        | [b'T', b'L', b'S', b' ', ..] => cursor.advance(3),
        _ => cursor.take(TOKEN),
    }
}

/// The token before the slash that comes next, which is read too.
fn read_before_slash<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let token = cursor.take(TOKEN);
    cursor.blanks();
    let whole = !token.is_empty() && cursor.eat(b'/');
    cursor.blanks();
    whole.then_some(token)
}

/// RFC 2543 §6.40: a comment may stand behind sent-by and at the end of a Via. Everything from there to `next`, or to the
/// comma before the next value, is left out.
#[cold]
fn skip_comment(cursor: &mut Cursor<'_>, next: u8) -> usize {
    let rest = cursor.rest();
    let end = |wanted| find_outside(rest, wanted, true).unwrap_or(rest.len());
    cursor.advance(end(next).min(end(b',')));
    cursor.at()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Limits;
    use crate::message::Message;

    #[test]
    fn the_only_via_is_told_from_others() {
        for (vias, is_one) in [
            ("Via: SIP/2.0/UDP a:5070;branch=z9hG4bK1;rport\r\n", true),
            ("v: SIP / 2.0/TLS b ;branch=z9hG4bK1\r\n", true),
            ("Via: SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b\r\n", false),
            ("Via: SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\n", false),
            ("Via: SIP/2.0/UDP\r\n", false),
            ("", false),
        ] {
            let text = format!("OPTIONS sip:c;x=1 SIP/2.0\r\n{vias}To: <sip:c>\r\n\r\n");
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(message.has_one_via(), is_one, "{vias}");
            let whole = message.top_via().ok().map(|via| via.sent_by());
            let [kept, read] = [message.sent_by(), whole].map(|sent_by| {
                sent_by
                    .map(|sent_by| (sent_by.transport, sent_by.host, sent_by.port, sent_by.rport))
            });
            assert_eq!(kept, read, "{vias}");
            assert_eq!(message.request_uri_params(), b";x=1");
        }
    }

    #[test]
    fn white_space_and_folds_may_stand_between_everything() {
        let via =
            Via::parse(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ;branch=390skdjuw ; rport")
                .unwrap();
        assert_eq!(
            (via.protocol, via.version, via.transport),
            (&b"SIP"[..], &b"2.0"[..], &b"UDP"[..])
        );
        assert_eq!(
            (via.host, via.port),
            (Host::V4([192, 0, 2, 2].into()), Some(5070))
        );
        assert_eq!(
            (via.branch(), via.rport()),
            (Some(&b"390skdjuw"[..]), Some(None))
        );
        assert!(!via.has_magic_cookie());
    }

    #[test]
    fn received_takes_both_spellings_of_ipv6() {
        let expected = Some("2001:db8::9:255".parse().unwrap());
        for received in ["2001:db8::9:255", "[2001:db8::9:255]"] {
            let text =
                format!("SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111");
            assert_eq!(Via::parse(text.as_bytes()).unwrap().received(), expected);
        }
    }

    #[test]
    fn the_first_of_several_is_taken() {
        let via =
            Via::parse_first(b"SIP/2.0/UDP a.example.com;branch=z9hG4bK1, SIP/2.0/TCP b").unwrap();
        assert_eq!(via.raw, b"SIP/2.0/UDP a.example.com;branch=z9hG4bK1");
        assert!(via.has_magic_cookie());
    }

    #[test]
    fn old_comments_are_skipped() {
        let via =
            Via::parse(b"SIP/2.0/UDP first.example.com:4000;ttl=16;maddr=224.2.0.1 (Acme server)")
                .unwrap();
        assert_eq!(
            (via.ttl(), via.maddr()),
            (Some(16), Some(&b"224.2.0.1"[..]))
        );
    }

    #[test]
    fn comments_may_stand_behind_sent_by_and_hold_separators() {
        let via = Via::parse_first(
            b", SIP/2.0/UDP a:5070 (x; (y), z) ;branch=z9hG4bK1 (; ,) , SIP/2.0/TCP b",
        )
        .unwrap();
        assert_eq!((via.host_raw, via.port), (&b"a"[..], Some(5070)));
        assert_eq!(via.params.raw(), b";branch=z9hG4bK1");
        assert_eq!(
            via.raw,
            b"SIP/2.0/UDP a:5070 (x; (y), z) ;branch=z9hG4bK1 (; ,)"
        );
    }

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let via = Via::parse(b"SIP/2.0/UDP a;Branch;branch=z9hG4bK1;rport=7;RPORT").unwrap();
        assert_eq!((via.branch(), via.rport()), (None, Some(Some(7))));
    }

    #[test]
    fn broken_values_are_refused() {
        for value in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 host",
            "SIP/2.0/UDP ;branch=a",
            "SIP/2.0/UDP host:0",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP host;=x",
            "SIP/2.0/UDP host;branch=\"x",
        ] {
            assert!(Via::parse(value.as_bytes()).is_err(), "{value}");
        }
    }
}
