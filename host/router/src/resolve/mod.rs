//! Where to send: the interface of RFC 3263.
//!
//! The order of RFC 3263 §4 is carried out from its third step on: explicit transports and ports, numeric hosts, A and AAAA records. NAPTR
//! and SRV records belong between `Query::new`, which knows when they are to be asked, and `Query::destinations`.

mod listeners;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use patchbay_core::door::{Destination, Listener, ListenerId, Transport};
use patchbay_message::{Host, Scheme, Uri};

pub(crate) use listeners::OutgoingListeners;

/// A server that does not answer in this time is asked once more.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Questions to the same server.
const LOOKUP_ATTEMPTS: usize = 2;
/// Names kept for as long as their records say.
const CACHED_NAMES: u64 = 4096;

/// Answers the core's question where to send.
pub(crate) struct Resolver {
    names: Option<Names>,
    listeners: Rc<OutgoingListeners>,
}

/// Who knows the addresses of names.
enum Names {
    System(Arc<TokioResolver>),
    Fixed(HashMap<String, Vec<IpAddr>>),
}

/// An answer: destinations in the order to try.
pub(crate) enum Resolution {
    /// Known without asking anybody.
    Now(Vec<Destination>),
    /// Somebody has to be asked.
    Later(Pin<Box<dyn Future<Output = Vec<Destination>>>>),
}

/// What a URI says about where to send.
struct Query {
    host: Target,
    port: u16,
    transport: Transport,
    listener: Option<ListenerId>,
    /// The name to check a certificate against.
    name: Option<Arc<str>>,
}

enum Target {
    Address(IpAddr),
    Localhost,
    Name(String),
}

impl Resolver {
    /// A resolver that sends from these listeners and asks the system's name servers.
    pub(crate) fn new(listeners: Vec<Listener>) -> Resolver {
        let names = system_names()
            .inspect_err(|error| tracing::warn!(%error, "the system has no usable resolver: only numeric hosts can be reached"))
            .ok();
        Resolver {
            names: names.map(|names| Names::System(Arc::new(names))),
            listeners: Rc::new(OutgoingListeners::new(listeners)),
        }
    }

    /// A resolver that knows these names, in lower case, and asks nobody.
    pub(crate) fn of_names(
        listeners: Vec<Listener>,
        names: HashMap<String, Vec<IpAddr>>,
    ) -> Resolver {
        Resolver {
            names: Some(Names::Fixed(names)),
            listeners: Rc::new(OutgoingListeners::new(listeners)),
        }
    }

    /// Finds the destinations of a URI.
    pub(crate) fn resolve(&self, uri: &[u8], listener: Option<ListenerId>) -> Resolution {
        let Some(query) = Query::new(uri, listener, &self.listeners) else {
            return Resolution::Now(Vec::new());
        };
        let name = match &query.host {
            Target::Address(address) => {
                return Resolution::Now(query.destinations(&[*address], &self.listeners));
            }
            Target::Localhost => {
                let addresses = [
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                return Resolution::Now(query.destinations(&addresses, &self.listeners));
            }
            Target::Name(name) => name.clone(),
        };
        let names = match &self.names {
            Some(Names::System(names)) => Arc::clone(names),
            Some(Names::Fixed(names)) => {
                let found = names.get(&name.to_ascii_lowercase());
                let addresses = found.map(Vec::as_slice).unwrap_or_default();
                return Resolution::Now(query.destinations(addresses, &self.listeners));
            }
            None => return Resolution::Now(Vec::new()),
        };
        let listeners = Rc::clone(&self.listeners);
        Resolution::Later(Box::pin(async move {
            match names.lookup_ip(name.as_str()).await {
                Ok(found) => query.destinations(&found.iter().collect::<Vec<_>>(), &listeners),
                Err(error) => {
                    tracing::debug!(%error, host = %name, "resolving failed");
                    Vec::new()
                }
            }
        }))
    }

    /// The listeners that destinations are reached from.
    pub(crate) fn listeners(&self) -> &OutgoingListeners {
        &self.listeners
    }
}

fn system_names() -> io::Result<TokioResolver> {
    let mut builder = TokioResolver::builder_tokio().map_err(io::Error::other)?;
    let options = builder.options_mut();
    options.timeout = LOOKUP_TIMEOUT;
    options.attempts = LOOKUP_ATTEMPTS;
    options.cache_size = CACHED_NAMES;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build().map_err(io::Error::other)
}

impl Query {
    /// RFC 3263 §4.1 and §4.2, as far as the URI alone decides.
    fn new(
        uri: &[u8],
        listener: Option<ListenerId>,
        listeners: &OutgoingListeners,
    ) -> Option<Query> {
        let uri = Uri::parse(uri).ok()?;
        let secure = match uri.scheme {
            Scheme::Sip => false,
            Scheme::Sips => true,
            // A telephone number has no host: a policy says where the next hop is.
            _ => return None,
        };
        let transport = match uri.transport() {
            Some(name) => named_transport(name, secure)?,
            None => listeners.default_transport(listener, secure),
        };
        let port = uri
            .port
            .unwrap_or(if transport.is_secure() { 5061 } else { 5060 });
        // RFC 3261 §19.1.1: maddr overrides the address derived from the host.
        let host = match uri.maddr() {
            Some(maddr) => Target::from_text(maddr),
            None => Target::from_host(&uri.host),
        };
        let name = transport
            .is_secure()
            .then(|| String::from_utf8_lossy(uri.host_raw).into());
        Some(Query {
            host: host?,
            port,
            transport,
            listener,
            name,
        })
    }

    /// One destination per address that a listener can reach.
    fn destinations(
        &self,
        addresses: &[IpAddr],
        listeners: &OutgoingListeners,
    ) -> Vec<Destination> {
        let reachable = addresses.iter().filter_map(|address| {
            let address = SocketAddr::new(*address, self.port);
            let listener = listeners.fitting(self.transport, address, self.listener)?;
            Some(Destination {
                transport: self.transport,
                address,
                host: self.name.clone(),
                listener: Some(listener),
                local: listeners.local_address(listener, address.ip()),
            })
        });
        reachable.collect()
    }
}

impl Target {
    fn from_host(host: &Host<'_>) -> Option<Target> {
        match host {
            Host::V4(address) => Some(Target::Address(IpAddr::V4(*address))),
            Host::V6(address) => Some(Target::Address(IpAddr::V6(*address))),
            Host::Name(name) => Target::from_text(name),
        }
    }

    fn from_text(text: &[u8]) -> Option<Target> {
        let text = std::str::from_utf8(text).ok()?;
        let name = text.strip_suffix('.').unwrap_or(text);
        match text.trim_matches(['[', ']']).parse() {
            Ok(address) => Some(Target::Address(address)),
            Err(_) if name.is_empty() => None,
            // RFC 6761 §6.3: not a matter of name servers.
            Err(_) if name.eq_ignore_ascii_case("localhost") => Some(Target::Localhost),
            Err(_) => Some(Target::Name(text.to_owned())),
        }
    }
}

fn named_transport(name: &[u8], secure: bool) -> Option<Transport> {
    let is = |text: &str| name.eq_ignore_ascii_case(text.as_bytes());
    // RFC 3261 §26.2.2: sips with transport=tcp means TLS over TCP.
    match (is("udp"), is("tcp"), is("tls"), is("ws"), is("wss")) {
        (true, ..) if !secure => Some(Transport::Udp),
        (_, true, ..) if !secure => Some(Transport::Tcp),
        (_, true, ..) | (_, _, true, ..) => Some(Transport::Tls),
        (_, _, _, true, _) if !secure => Some(Transport::Ws),
        (_, _, _, true, _) | (.., true) => Some(Transport::Wss),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(transport: Transport, address: &str) -> Listener {
        Listener {
            transport,
            address: address.parse().unwrap(),
            advertise: None,
        }
    }

    fn resolver() -> Resolver {
        let listeners = [
            listener(Transport::Udp, "127.0.0.1:5060"),
            listener(Transport::Tcp, "127.0.0.1:5060"),
            listener(Transport::Udp, "[::1]:5060"),
            listener(Transport::Udp, "192.0.2.1:5062"),
        ];
        Resolver {
            names: None,
            listeners: Rc::new(OutgoingListeners::new(listeners.to_vec())),
        }
    }

    fn resolve(uri: &str, listener: Option<u16>) -> Vec<(Transport, String, u16)> {
        let Resolution::Now(destinations) =
            resolver().resolve(uri.as_bytes(), listener.map(ListenerId))
        else {
            panic!("{uri} has to be asked for")
        };
        let plain = |destination: Destination| {
            (
                destination.transport,
                destination.address.to_string(),
                destination.listener.unwrap().0,
            )
        };
        destinations.into_iter().map(plain).collect()
    }

    #[test]
    fn a_numeric_host_is_its_own_answer() {
        assert_eq!(
            resolve("sip:bob@127.0.0.1", None),
            [(Transport::Udp, "127.0.0.1:5060".to_owned(), 0)]
        );
        assert_eq!(
            resolve("sip:bob@127.0.0.1:5070", None),
            [(Transport::Udp, "127.0.0.1:5070".to_owned(), 0)]
        );
        assert_eq!(
            resolve("sip:[::1]:5070", None),
            [(Transport::Udp, "[::1]:5070".to_owned(), 2)]
        );
        assert_eq!(
            resolve("sip:192.0.2.9;lr", None),
            [(Transport::Udp, "192.0.2.9:5060".to_owned(), 3)]
        );
    }

    #[test]
    fn the_transport_parameter_decides() {
        assert_eq!(
            resolve("sip:127.0.0.1;transport=TCP", None),
            [(Transport::Tcp, "127.0.0.1:5060".to_owned(), 1)]
        );
        assert_eq!(resolve("sip:127.0.0.1;transport=sctp", None), []);
    }

    #[test]
    fn the_chosen_listener_decides_the_transport() {
        assert_eq!(
            resolve("sip:127.0.0.1:5070", Some(1)),
            [(Transport::Tcp, "127.0.0.1:5070".to_owned(), 1)]
        );
        assert_eq!(
            resolve("sip:127.0.0.1;transport=udp", Some(1)),
            [(Transport::Udp, "127.0.0.1:5060".to_owned(), 0)]
        );
    }

    #[test]
    fn maddr_overrides_the_host() {
        assert_eq!(
            resolve("sip:bob@example.com:5070;maddr=127.0.0.1", None),
            [(Transport::Udp, "127.0.0.1:5070".to_owned(), 0)]
        );
    }

    #[test]
    fn localhost_needs_no_name_server() {
        let expected = [
            (Transport::Udp, "127.0.0.1:5070".to_owned(), 0),
            (Transport::Udp, "[::1]:5070".to_owned(), 2),
        ];
        assert_eq!(resolve("sip:bob@LocalHost:5070", None), expected);
    }

    #[test]
    fn what_no_listener_can_reach_has_no_destination() {
        assert_eq!(resolve("sips:bob@127.0.0.1", None), []);
        assert_eq!(resolve("sip:[2001:db8::1];transport=tcp", None), []);
        assert_eq!(resolve("tel:+4930123", None), []);
        assert_eq!(resolve("nonsense", None), []);
    }
}
