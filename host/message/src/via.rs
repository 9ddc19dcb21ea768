//! Via (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use crate::error::Invalid;
use crate::grammar::{
    eq_ignore_case, find_outside, is_lws, is_token, parse_port, parse_u32, trim, trim_end,
    trim_start,
};
use crate::list::Values;
use crate::name::HeaderName;
use crate::params::Params;
use crate::uri::{Host, HostPort, parse_v6};

/// RFC 3261 §8.1.1.7: how a branch begins that is unique.
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

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
}

impl<'a> Via<'a> {
    /// Parses one value.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, Invalid> {
        Self::read(trim(value)).ok_or(Invalid::Header(HeaderName::Via))
    }

    /// Parses the first value of a field that may hold several.
    pub fn parse_first(field: &'a [u8]) -> Result<Via<'a>, Invalid> {
        let first = Values::of(HeaderName::Via, field)
            .next()
            .ok_or(Invalid::Header(HeaderName::Via))?;
        Self::parse(first)
    }

    fn read(raw: &'a [u8]) -> Option<Via<'a>> {
        let (protocol, rest) = token_before(raw, b'/')?;
        let (version, rest) = token_before(rest, b'/')?;
        let rest = trim_start(rest);
        let (transport, rest) =
            rest.split_at_checked(rest.iter().position(|byte| is_lws(*byte))?)?;
        if !is_token(transport) {
            return None;
        }
        let rest = trim_start(rest);
        let params_start = find_outside(rest, b';', true).unwrap_or(rest.len());
        let (sent_by, params) = rest.split_at_checked(params_start)?;
        let sent_by = HostPort::read(without_comment(sent_by), true)?;
        if !trim(sent_by.rest).is_empty() {
            return None;
        }
        let params = Params::new(without_comment(params));
        params.check().ok()?;
        Some(Via {
            protocol,
            version,
            transport,
            host: sent_by.host,
            host_raw: sent_by.host_raw,
            port: sent_by.port,
            params,
            raw,
        })
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value(b"branch")
    }

    /// Whether the branch begins with the magic cookie and goes on, so that it identifies the transaction (RFC 3261
    /// §17.2.3). RFC 4475 §3.2.1: the cookie alone identifies nothing, the rules of RFC 2543 apply.
    pub fn has_magic_cookie(&self) -> bool {
        let Some((start, id)) = self
            .branch()
            .and_then(|branch| branch.split_at_checked(MAGIC_COOKIE.len()))
        else {
            return false;
        };
        eq_ignore_case(start, MAGIC_COOKIE) && !id.is_empty()
    }

    /// The received parameter; an IPv6 address may stand with or without `[]` (RFC 5118 §4.5).
    pub fn received(&self) -> Option<IpAddr> {
        address(self.params.value(b"received")?)
    }

    /// RFC 3581 §3: `Some(None)` asks for the port, `Some(Some(port))` tells it.
    pub fn rport(&self) -> Option<Option<u16>> {
        Some(self.params.get(b"rport")?.and_then(parse_port))
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

fn address(text: &[u8]) -> Option<IpAddr> {
    Host::parse(text)
        .and_then(|host| host.address())
        .or_else(|| parse_v6(text).map(IpAddr::V6))
}

/// The token before the separator, and what follows it.
fn token_before(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, text)?;
    let token = trim(text.get(..at)?);
    is_token(token).then_some((token, text.get(at + 1..)?))
}

/// RFC 2543 §6.40: a comment may end a Via.
fn without_comment(text: &[u8]) -> &[u8] {
    match find_outside(text, b'(', false) {
        Some(at) => trim_end(text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
