//! Which hosts and ports are this router: its domains, its listeners, the names they advertise.

use std::net::{IpAddr, SocketAddr};

use patchbay_message::{Host, Scheme, Uri, eq_ignore_case};

use crate::door::{CoreConfig, Listener, ListenerId, Transport};

/// So many are compared one by one sooner than searched.
const FEW_NAMES: usize = 8;

/// The hosts and ports of this router.
#[derive(Clone, Debug)]
pub struct LocalNames {
    /// Domains and advertised names in lower case, sorted.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    wildcard: bool,
}

impl LocalNames {
    /// The names in a configuration.
    pub fn new(config: &CoreConfig) -> LocalNames {
        LocalNames::of(&config.domains, &config.listeners)
    }

    /// These domains, and what these listeners are known by.
    pub fn of(domains: &[String], listeners: &[Listener]) -> LocalNames {
        let mut names = LocalNames {
            names: domains
                .iter()
                .map(|domain| domain.to_ascii_lowercase())
                .collect(),
            addresses: Vec::new(),
            ports: Vec::new(),
            wildcard: false,
        };
        for listener in listeners {
            names.add(listener);
        }
        let numeric = domains
            .iter()
            .filter_map(|domain| domain.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        names.addresses.extend(numeric);
        names.names.sort_unstable();
        names.ports.sort_unstable();
        names.ports.dedup();
        names
    }

    fn add(&mut self, listener: &Listener) {
        self.wildcard |= listener.address.ip().is_unspecified();
        self.addresses.push(listener.address.ip());
        self.ports.push(listener.address.port());
        if let Some(advertise) = &listener.advertise {
            let (host, port) = split_port(advertise);
            self.ports
                .push(port.unwrap_or(default_port(listener.transport)));
            match host.trim_matches(['[', ']']).parse() {
                Ok(address) => self.addresses.push(address),
                Err(_) => self.names.push(host.to_ascii_lowercase()),
            }
        }
    }

    /// Whether the URI is one of ours: its host is a domain, a listen address or an advertised name, and its port, if it has one, is
    /// a port that we listen on. `local`: the address that the message came to, which stands for wildcard listeners.
    ///
    /// The port counts because a phone on the router's own address is not the router.
    pub fn is_local(&self, uri: &Uri<'_>, local: IpAddr) -> bool {
        matches!(uri.scheme, Scheme::Sip | Scheme::Sips)
            && self.is_local_host(&uri.host, uri.port, local)
    }

    /// The same for a host and a port.
    pub fn is_local_host(&self, host: &Host<'_>, port: Option<u16>, local: IpAddr) -> bool {
        port.is_none_or(|port| self.ports.binary_search(&port).is_ok())
            && self.is_own_name(host, local)
    }

    fn is_own_name(&self, host: &Host<'_>, local: IpAddr) -> bool {
        match host {
            Host::Name(name) if self.names.len() <= FEW_NAMES => {
                let mut names = self.names.iter();
                names.any(|own| eq_ignore_case(own.as_bytes(), name))
            }
            Host::Name(name) => {
                let lower = || name.iter().map(u8::to_ascii_lowercase);
                let order = |own: &String| own.bytes().cmp(lower());
                self.names.binary_search_by(order).is_ok()
            }
            Host::V4(address) => self.is_own_address(IpAddr::V4(*address), local),
            Host::V6(address) => self.is_own_address(IpAddr::V6(*address), local),
        }
    }

    fn is_own_address(&self, address: IpAddr, local: IpAddr) -> bool {
        self.addresses.contains(&address) || (self.wildcard && address == local)
    }
}

/// `host` and `port` of `host[:port]`, with the brackets of an IPv6 address kept.
fn split_port(text: &str) -> (&str, Option<u16>) {
    let after_host = text.rfind(']').map_or(0, |end| end + 1);
    match text
        .get(after_host..)
        .and_then(|rest| rest.rsplit_once(':'))
    {
        Some((_, port)) => match port.parse() {
            Ok(number) => (
                text.get(..text.len() - port.len() - 1).unwrap_or(text),
                Some(number),
            ),
            Err(_) => (text, None),
        },
        None => (text, None),
    }
}

/// RFC 3261 §19.1.2: the port of a URI without one.
pub(crate) fn default_port(transport: Transport) -> u16 {
    if transport.is_secure() { 5061 } else { 5060 }
}

/// Whether it is a `sips:` URI.
pub(crate) fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// The name of the transport in a URI.
pub(crate) fn transport_parameter(transport: Transport) -> &'static [u8] {
    match transport {
        Transport::Udp => b"udp",
        Transport::Tcp => b"tcp",
        Transport::Tls => b"tls",
        Transport::Ws => b"ws",
        Transport::Wss => b"wss",
    }
}

/// The name of the transport in a Via.
pub(crate) fn transport_token(transport: Transport) -> &'static [u8] {
    match transport {
        Transport::Udp => b"UDP",
        Transport::Tcp => b"TCP",
        Transport::Tls => b"TLS",
        Transport::Ws => b"WS",
        Transport::Wss => b"WSS",
    }
}

/// The transport that a URI parameter or a Via names.
pub(crate) fn transport_named(name: &[u8]) -> Option<Transport> {
    [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Ws,
        Transport::Wss,
    ]
    .into_iter()
    .find(|transport| transport_parameter(*transport).eq_ignore_ascii_case(name))
}

/// The first listener of a transport that can reach the address.
pub(crate) fn listener_for(
    config: &CoreConfig,
    transport: Transport,
    remote: SocketAddr,
) -> Option<ListenerId> {
    let fits = |listener: &Listener| {
        listener.transport == transport && listener.address.is_ipv4() == remote.is_ipv4()
    };
    config
        .listeners
        .iter()
        .position(fits)
        .map(|index| ListenerId(index as u16))
}

/// Appends the `host[:port]` that stands for a listener in Via and Record-Route: what it advertises, else `local`.
pub(crate) fn write_sent_by(
    out: &mut Vec<u8>,
    config: &CoreConfig,
    listener: ListenerId,
    local: SocketAddr,
) {
    match config
        .listeners
        .get(usize::from(listener.0))
        .and_then(|listener| listener.advertise.as_ref())
    {
        Some(advertise) => out.extend_from_slice(advertise.as_bytes()),
        None => write_address(out, local),
    }
}

/// Appends an address and port, an IPv6 address in brackets.
pub(crate) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    write_ip(out, address.ip(), true);
    out.push(b':');
    write_number(out, u64::from(address.port()));
}

/// Appends an IP address.
pub(crate) fn write_ip(out: &mut Vec<u8>, address: IpAddr, brackets: bool) {
    match address {
        IpAddr::V4(address) => {
            // One text is appended at less cost than seven.
            let mut text = [0; 16];
            let mut length = 0;
            for octet in address.octets() {
                length += write_octet(octet, text.get_mut(length..).unwrap_or_default());
            }
            let without_last_dot = text.get(..length.saturating_sub(1));
            out.extend_from_slice(without_last_dot.unwrap_or_default());
        }
        IpAddr::V6(address) => {
            // Writing to a vector can't fail.
            let _ = if brackets {
                std::io::Write::write_fmt(out, format_args!("[{address}]"))
            } else {
                std::io::Write::write_fmt(out, format_args!("{address}"))
            };
        }
    }
}

/// Writes an octet with a dot behind it, and tells how many bytes that are.
fn write_octet(octet: u8, out: &mut [u8]) -> usize {
    match (OCTETS.get(usize::from(octet)), out.first_chunk_mut()) {
        (Some((text, length)), Some(place)) => {
            *place = *text;
            usize::from(*length)
        }
        _ => 0,
    }
}

/// Each octet in decimal with a dot behind it, and how many bytes that are.
static OCTETS: [([u8; 4], u8); 256] = {
    let mut texts = [([0; 4], 0); 256];
    let mut octet = 0;
    while octet < texts.len() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let [hundreds, tens, ones] = [
            b'0' + digits[0] as u8,
            b'0' + digits[1] as u8,
            b'0' + digits[2] as u8,
        ];
        #[allow(clippy::indexing_slicing)]
        // Evaluated by the compiler, which refuses what is out of bounds.
        {
            texts[octet] = match octet {
                0..10 => ([ones, b'.', 0, 0], 2),
                10..100 => ([tens, ones, b'.', 0], 3),
                _ => ([hundreds, tens, ones, b'.'], 4),
            };
        }
        octet += 1;
    }
    texts
};

/// Appends a number in decimal.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let mut rest = number;
    let mut start = digits.len();
    // Two at a time.
    for [tens, ones] in digits.as_chunks_mut::<2>().0.iter_mut().rev() {
        let pair = (rest % 100) as u8;
        (*tens, *ones) = (b'0' + pair / 10, b'0' + pair % 10);
        rest /= 100;
        start -= 1 + usize::from(rest > 0 || pair >= 10);
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or(&[]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for octet in 0..=255u8 {
            let address = IpAddr::from([octet, 0, 255 - octet, 7]);
            let mut text = Vec::new();
            write_ip(&mut text, address, false);
            assert_eq!(text, address.to_string().into_bytes());
        }
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        let powers = std::iter::successors(Some(1u64), |power| power.checked_mul(10));
        let near = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in near.chain(0..200).chain([u64::MAX]) {
            let mut text = Vec::new();
            write_number(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
    }

    #[test]
    fn names_are_found_among_few_and_among_many() {
        for count in [2, FEW_NAMES, 100] {
            let names = LocalNames {
                names: (100..100 + count)
                    .map(|at| format!("t{at}.example"))
                    .collect(),
                addresses: Vec::new(),
                ports: Vec::new(),
                wildcard: false,
            };
            let is_own = |name: &str| {
                names.is_own_name(&Host::Name(name.as_bytes()), IpAddr::from([192, 0, 2, 1]))
            };
            assert!(is_own("T100.Example") && is_own(&format!("t{}.example", 99 + count)));
            assert!(!is_own("t99.example") && !is_own("t100.exampl") && !is_own("u.example"));
        }
    }

    #[test]
    fn ports_split_off() {
        assert_eq!(
            split_port("sip.example.com:5070"),
            ("sip.example.com", Some(5070))
        );
        assert_eq!(split_port("sip.example.com"), ("sip.example.com", None));
        assert_eq!(
            split_port("[2001:db8::1]:5070"),
            ("[2001:db8::1]", Some(5070))
        );
        assert_eq!(split_port("[2001:db8::1]"), ("[2001:db8::1]", None));
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 5060, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
