//! The values that every message needs, read once when it is scanned and kept as places.
//!
//! Whoever asks for one gets it without reading it again. A value that is missing or broken is not kept, so that it is read
//! when somebody asks, who then gets the fault.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::cseq::CSeq;
use crate::method::Method;
use crate::name::HeaderName;
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::scan::Layout;
use crate::span::Span;
use crate::uri::{Host, Scheme, Uri};
use crate::usual::{self, UsualUri};
use crate::via::{SentBy, Via, ViaParameters};

/// The places in one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) top_via: Option<KeptVia>,
    pub(crate) from: Option<KeptAddress>,
    pub(crate) to: Option<KeptAddress>,
    pub(crate) cseq: Option<KeptCSeq>,
    pub(crate) request_uri: Option<KeptUri>,
    /// The method when it is one we know; of a response, that of its CSeq.
    pub(crate) method: Option<Method<'static>>,
}

impl Kept {
    /// Reads the values of another message.
    pub(crate) fn read(&mut self, bytes: &[u8], layout: &Layout) {
        let place = |name| Some(layout.first_field(name)?.value);
        let address = |name| KeptAddress::read(bytes, place(name)?);
        self.top_via = place(HeaderName::Via).and_then(|field| KeptVia::read(bytes, field));
        self.from = address(HeaderName::From);
        self.to = address(HeaderName::To);
        self.cseq = place(HeaderName::CSeq)
            .and_then(|field| CSeq::parse(field.in_bytes(bytes)).ok())
            .map(|cseq| KeptCSeq::of(&cseq, bytes));
        let start_line = &layout.start_line;
        if start_line.status == 0 {
            self.method = Method::from_bytes(start_line.method.in_bytes(bytes)).known();
            self.request_uri = KeptUri::read(bytes, start_line.target);
        } else {
            self.method = self.cseq.as_ref().and_then(|cseq| cseq.known);
            self.request_uri = None;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum KeptHost {
    Name,
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl KeptHost {
    #[inline]
    fn of(host: Host<'_>) -> KeptHost {
        match host {
            Host::Name(_) => KeptHost::Name,
            Host::V4(address) => KeptHost::V4(address),
            Host::V6(address) => KeptHost::V6(address),
        }
    }

    #[inline]
    fn view(self, raw: &[u8]) -> Host<'_> {
        match self {
            KeptHost::Name => Host::Name(raw),
            KeptHost::V4(address) => Host::V4(address),
            KeptHost::V6(address) => Host::V6(address),
        }
    }
}

/// A Via.
#[derive(Clone, Debug)]
pub(crate) struct KeptVia {
    raw: Span,
    protocol: Span,
    version: Span,
    transport: Span,
    host: KeptHost,
    host_raw: Span,
    port: Option<u16>,
    params: Span,
    branch: Option<Span>,
    received: Option<Span>,
    rport: Option<Option<u16>>,
}

impl KeptVia {
    /// The first value of a field; `None` when it is broken.
    fn read(bytes: &[u8], field: Span) -> Option<KeptVia> {
        let mut noted = ViaParameters::default();
        if let Some(usual) = usual::via(bytes, field, |name, value| noted.note(name, value)) {
            let place = |part| Span::of(part, bytes);
            return Some(KeptVia {
                raw: field,
                protocol: usual.protocol,
                version: usual.version,
                transport: usual.transport,
                host: KeptHost::of(Host::of_name(usual.host.in_bytes(bytes))),
                host_raw: usual.host,
                port: usual.port,
                params: usual.params,
                branch: noted.branch.map(place),
                received: noted.received.map(place),
                rport: noted.rport,
            });
        }
        let via = Via::parse_first(field.in_bytes(bytes)).ok()?;
        Some(Self::of(&via, bytes))
    }

    fn of(via: &Via<'_>, bytes: &[u8]) -> KeptVia {
        let place = |part| Span::of(part, bytes);
        KeptVia {
            raw: place(via.raw),
            protocol: place(via.protocol),
            version: place(via.version),
            transport: place(via.transport),
            host: KeptHost::of(via.host),
            host_raw: place(via.host_raw),
            port: via.port,
            params: place(via.params.raw()),
            branch: via.noted.branch.map(place),
            received: via.noted.received.map(place),
            rport: via.noted.rport,
        }
    }

    /// The branch parameter.
    #[inline]
    pub(crate) fn branch<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let branch = self.branch?.in_bytes(bytes);
        (!branch.is_empty()).then_some(branch)
    }

    /// All of it.
    #[inline]
    pub(crate) fn raw<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.raw.in_bytes(bytes)
    }

    /// Whether it is all that stands at a place.
    #[inline]
    pub(crate) fn is_all_of(&self, value: Span) -> bool {
        self.raw == value
    }

    /// Protocol and version.
    #[inline]
    pub(crate) fn protocol<'a>(&self, bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        (self.protocol.in_bytes(bytes), self.version.in_bytes(bytes))
    }

    #[inline]
    pub(crate) fn sent_by<'a>(&self, bytes: &'a [u8]) -> SentBy<'a> {
        let host_raw = self.host_raw.in_bytes(bytes);
        SentBy {
            transport: self.transport.in_bytes(bytes),
            host: self.host.view(host_raw),
            host_raw,
            port: self.port,
            rport: self.rport,
        }
    }

    #[inline]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> Via<'a> {
        let text = |span: Span| span.in_bytes(bytes);
        let host_raw = text(self.host_raw);
        Via {
            protocol: text(self.protocol),
            version: text(self.version),
            transport: text(self.transport),
            host: self.host.view(host_raw),
            host_raw,
            port: self.port,
            params: Params::new(text(self.params)),
            raw: text(self.raw),
            noted: ViaParameters {
                branch: self.branch.map(text),
                received: self.received.map(text),
                rport: self.rport,
            },
        }
    }
}

/// The address of a From or To.
#[derive(Clone, Debug)]
pub(crate) struct KeptAddress {
    display: Option<Span>,
    uri_raw: Span,
    params: Span,
    tag: Option<Span>,
    /// The parts of the URI, which then is known to be one.
    uri: Option<UsualUri>,
}

impl KeptAddress {
    /// `None` when the value is broken.
    fn read(bytes: &[u8], value: Span) -> Option<KeptAddress> {
        if let Some(usual) = usual::address(bytes, value) {
            return Some(KeptAddress {
                display: usual.display,
                uri_raw: usual.uri_raw,
                params: usual.params,
                tag: usual.tag,
                uri: Some(usual.uri),
            });
        }
        let address = NameAddr::parse(value.in_bytes(bytes)).ok()?;
        let place = |part| Span::of(part, bytes);
        Some(KeptAddress {
            display: address.display.map(place),
            uri_raw: place(address.uri_raw),
            params: place(address.params.raw()),
            tag: address.tag.map(place),
            uri: None,
        })
    }

    /// Whether the URI is one.
    #[inline]
    pub(crate) fn has_uri(&self, bytes: &[u8]) -> bool {
        self.uri.is_some() || Uri::is_valid(self.uri_raw.in_bytes(bytes))
    }

    /// Whether there is a tag parameter, with or without a value.
    #[inline]
    pub(crate) fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// The tag.
    #[inline]
    pub(crate) fn tag<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let tag = self.tag?.in_bytes(bytes);
        (!tag.is_empty()).then_some(tag)
    }

    #[inline]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> NameAddr<'a> {
        let text = |span: Span| span.in_bytes(bytes);
        NameAddr {
            display: self.display.map(text),
            uri_raw: text(self.uri_raw),
            params: Params::new(text(self.params)),
            tag: self.tag.map(text),
            usual: self.uri,
        }
    }
}

/// A CSeq.
#[derive(Clone, Debug)]
pub(crate) struct KeptCSeq {
    number: u32,
    method: Span,
    known: Option<Method<'static>>,
}

impl KeptCSeq {
    #[inline]
    fn of(cseq: &CSeq<'_>, bytes: &[u8]) -> KeptCSeq {
        let known = cseq.method.known();
        KeptCSeq {
            number: cseq.number,
            // The name of a method that is known does not stand in the message.
            method: match known {
                Some(_) => Span::default(),
                None => Span::of(cseq.method.as_bytes(), bytes),
            },
            known,
        }
    }

    #[inline]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> CSeq<'a> {
        let unknown = || Method::Other(self.method.in_bytes(bytes));
        CSeq {
            number: self.number,
            method: self.known.unwrap_or_else(unknown),
        }
    }
}

/// A URI.
#[derive(Clone, Debug)]
pub(crate) struct KeptUri {
    scheme: KeptScheme,
    user: Option<Span>,
    password: Option<Span>,
    host: KeptHost,
    host_raw: Span,
    port: Option<u16>,
    params: Span,
    headers: Option<Span>,
    raw: Span,
}

#[derive(Clone, Copy, Debug)]
enum KeptScheme {
    Sip,
    Sips,
    Tel,
    Other(Span),
}

impl KeptUri {
    /// `None` when it is broken.
    fn read(bytes: &[u8], place: Span) -> Option<KeptUri> {
        if let Some(usual) = usual::uri(bytes, place) {
            return Some(Self::of_usual(usual, place, bytes));
        }
        let uri = Uri::parse(place.in_bytes(bytes)).ok()?;
        Some(Self::of(&uri, bytes))
    }

    fn of_usual(usual: UsualUri, place: Span, bytes: &[u8]) -> KeptUri {
        KeptUri {
            scheme: if usual.is_sips {
                KeptScheme::Sips
            } else {
                KeptScheme::Sip
            },
            user: usual.user,
            password: None,
            host: KeptHost::of(Host::of_name(usual.host.in_bytes(bytes))),
            host_raw: usual.host,
            port: usual.port,
            params: usual.params,
            headers: None,
            raw: place,
        }
    }

    fn of(uri: &Uri<'_>, bytes: &[u8]) -> KeptUri {
        let place = |part| Span::of(part, bytes);
        KeptUri {
            scheme: match uri.scheme {
                Scheme::Sip => KeptScheme::Sip,
                Scheme::Sips => KeptScheme::Sips,
                Scheme::Tel => KeptScheme::Tel,
                Scheme::Other(name) => KeptScheme::Other(place(name)),
            },
            user: uri.user.map(place),
            password: uri.password.map(place),
            host: KeptHost::of(uri.host),
            host_raw: place(uri.host_raw),
            port: uri.port,
            params: place(uri.params.raw()),
            headers: uri.headers.map(place),
            raw: place(uri.raw),
        }
    }

    /// Whether headers stand behind a question mark.
    #[inline]
    pub(crate) fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    /// The parameters.
    #[inline]
    pub(crate) fn params<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.params.in_bytes(bytes)
    }

    /// The user part.
    #[inline]
    pub(crate) fn user<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.user?.in_bytes(bytes))
    }

    #[inline]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> Uri<'a> {
        let text = |span: Span| span.in_bytes(bytes);
        let host_raw = text(self.host_raw);
        Uri {
            scheme: match self.scheme {
                KeptScheme::Sip => Scheme::Sip,
                KeptScheme::Sips => Scheme::Sips,
                KeptScheme::Tel => Scheme::Tel,
                KeptScheme::Other(name) => Scheme::Other(text(name)),
            },
            user: self.user.map(text),
            password: self.password.map(text),
            host: self.host.view(host_raw),
            host_raw,
            port: self.port,
            params: Params::new(text(self.params)),
            headers: self.headers.map(text),
            raw: text(self.raw),
        }
    }
}
