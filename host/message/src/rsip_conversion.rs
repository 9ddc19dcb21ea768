//! Conversions from our views to the typed values of `rsip`, for programs that already use those.
//!
//! One way only: `rsip` never reads the wire. What it can't hold (text that is not UTF-8, methods, transports and
//! versions outside of its enums, headers in a URI) is refused.

use crate::{CSeq, Host, Invalid, NameAddr, Params, Scheme, Uri, Via};

impl TryFrom<&Uri<'_>> for rsip::Uri {
    type Error = Invalid;

    fn try_from(uri: &Uri<'_>) -> Result<Self, Invalid> {
        if uri.headers.is_some() {
            return Err(Invalid::Uri);
        }
        let password = uri
            .password
            .map(|password| text(password, Invalid::Uri))
            .transpose()?;
        let user = uri.user.map(|user| text(user, Invalid::Uri)).transpose()?;
        Ok(rsip::Uri {
            scheme: Some(scheme(uri.scheme)?),
            auth: user.map(|user| (user, password).into()),
            host_with_port: host_with_port(uri.host, uri.port)?,
            params: parameters(uri.params)?,
            headers: Vec::new(),
        })
    }
}

impl TryFrom<&Via<'_>> for rsip::typed::Via {
    type Error = Invalid;

    fn try_from(via: &Via<'_>) -> Result<Self, Invalid> {
        let bad = Invalid::Header(crate::HeaderName::Via);
        if via.version != b"2.0" {
            return Err(bad);
        }
        let sent_by = rsip::Uri {
            host_with_port: host_with_port(via.host, via.port)?,
            ..rsip::Uri::default()
        };
        Ok(rsip::typed::Via {
            version: rsip::Version::V2,
            transport: text(via.transport, bad)?
                .to_ascii_uppercase()
                .parse()
                .map_err(|_| bad)?,
            uri: rsip::Uri {
                scheme: None,
                ..sent_by
            },
            params: parameters(via.params)?,
        })
    }
}

impl TryFrom<&CSeq<'_>> for rsip::typed::CSeq {
    type Error = Invalid;

    fn try_from(cseq: &CSeq<'_>) -> Result<Self, Invalid> {
        let bad = Invalid::Header(crate::HeaderName::CSeq);
        let method = text(cseq.method.as_bytes(), bad)?
            .parse()
            .map_err(|_| bad)?;
        Ok(rsip::typed::CSeq {
            seq: cseq.number,
            method,
        })
    }
}

macro_rules! from_name_addr {
    ($typed:ident) => {
        impl TryFrom<&NameAddr<'_>> for rsip::typed::$typed {
            type Error = Invalid;

            fn try_from(address: &NameAddr<'_>) -> Result<Self, Invalid> {
                let name = address.display_name();
                Ok(rsip::typed::$typed {
                    display_name: name.map(|name| text(&name, Invalid::Address)).transpose()?,
                    uri: (&address.uri()?).try_into()?,
                    params: parameters(address.params)?,
                })
            }
        }
    };
}

from_name_addr!(From);
from_name_addr!(To);

fn text(bytes: &[u8], invalid: Invalid) -> Result<String, Invalid> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| invalid)
}

fn scheme(scheme: Scheme<'_>) -> Result<rsip::Scheme, Invalid> {
    Ok(match scheme {
        Scheme::Sip => rsip::Scheme::Sip,
        Scheme::Sips => rsip::Scheme::Sips,
        // Its host is not optional, so that other URIs have no form in it.
        Scheme::Tel | Scheme::Other(_) => return Err(Invalid::Uri),
    })
}

fn host_with_port(host: Host<'_>, port: Option<u16>) -> Result<rsip::HostWithPort, Invalid> {
    let host = match host {
        Host::Name(name) => rsip::Host::Domain(text(name, Invalid::Uri)?.into()),
        Host::V4(address) => rsip::Host::IpAddr(address.into()),
        Host::V6(address) => rsip::Host::IpAddr(address.into()),
    };
    Ok(rsip::HostWithPort {
        host,
        port: port.map(Into::into),
    })
}

fn parameters(params: Params<'_>) -> Result<Vec<rsip::Param>, Invalid> {
    let convert = |(name, value): (&[u8], Option<&[u8]>)| {
        let name = text(name, Invalid::Parameter)?;
        let value = value
            .map(|value| text(value, Invalid::Parameter))
            .transpose()?;
        rsip::Param::try_from((name.as_str(), value.as_deref())).map_err(|_| Invalid::Parameter)
    };
    params.iter().map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_those_that_rsip_reads() {
        for text in [
            "sip:bob@biloxi.example.com",
            "sips:a:b@192.0.2.1:5061;transport=tcp;lr",
            "sip:example.com;x=y",
        ] {
            let ours: rsip::Uri = (&Uri::parse(text.as_bytes()).unwrap()).try_into().unwrap();
            assert_eq!(ours, rsip::Uri::try_from(text).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_rsip_can_not_hold_is_refused() {
        for text in ["tel:+1234", "sip:a@b?x=y", "urn:service:sos"] {
            assert!(
                rsip::Uri::try_from(&Uri::parse(text.as_bytes()).unwrap()).is_err(),
                "{text}"
            );
        }
        assert!(rsip::typed::CSeq::try_from(&CSeq::parse(b"1 NEWMETHOD").unwrap()).is_err());
        assert!(rsip::typed::Via::try_from(&Via::parse(b"SIP/2.0/UNKNOWN a").unwrap()).is_err());
    }

    #[test]
    fn headers_are_converted_with_their_parameters() {
        let via = rsip::typed::Via::try_from(
            &Via::parse(b"SIP/2.0/UDP a.b:5070;branch=z9hG4bK1;x=y").unwrap(),
        )
        .unwrap();
        assert_eq!(via.to_string(), "SIP/2.0/UDP a.b:5070;branch=z9hG4bK1;x=y");
        let cseq = rsip::typed::CSeq::try_from(&CSeq::parse(b"7  INVITE").unwrap()).unwrap();
        assert_eq!(cseq, (7, rsip::Method::Invite).into());
        let from = NameAddr::parse(b"\"Bob\" <sip:b@c>;tag=1").unwrap();
        let from = rsip::typed::From::try_from(&from).unwrap();
        assert_eq!(
            (
                from.display_name.as_deref(),
                from.tag().map(ToString::to_string)
            ),
            (Some("Bob"), Some("1".into()))
        );
        let to = rsip::typed::To::try_from(&NameAddr::parse(b"<sip:b@c>").unwrap()).unwrap();
        assert!(to.tag().is_none());
    }
}
