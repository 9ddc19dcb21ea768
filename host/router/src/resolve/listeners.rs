//! Which listener, and which address of it, a packet to somewhere leaves from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use patchbay_core::door::{Listener, ListenerId, Transport};

/// Routes change seldom; an address that is gone makes the send fail.
const ROUTE_LIFETIME: Duration = Duration::from_secs(10);
/// Peers whose route is remembered; with more of them the table starts anew.
const MAX_ROUTES: usize = 65_536;
/// Any port: only the route to the address counts, nothing is sent.
const ROUTE_PORT: u16 = 9;

/// The listeners as the sending side sees them.
pub(crate) struct OutgoingListeners {
    listeners: Vec<Listener>,
    routes: RefCell<HashMap<IpAddr, Route, foldhash::fast::RandomState>>,
}

#[derive(Clone, Copy)]
struct Route {
    local: Option<IpAddr>,
    until: Instant,
}

impl OutgoingListeners {
    /// In the configuration's order.
    pub(crate) fn new(listeners: Vec<Listener>) -> OutgoingListeners {
        OutgoingListeners {
            listeners,
            routes: RefCell::default(),
        }
    }

    /// The transport of a URI that names none: RFC 3263 §4.1 says UDP, or TLS when it has to be secure.
    pub(crate) fn default_transport(
        &self,
        listener: Option<ListenerId>,
        secure: bool,
    ) -> Transport {
        if secure {
            return Transport::Tls;
        }
        let chosen = listener.and_then(|listener| self.listeners.get(usize::from(listener.0)));
        match chosen {
            Some(listener) => listener.transport,
            // A router without UDP reaches nobody over it.
            None if self.has(Transport::Udp) || !self.has(Transport::Tcp) => Transport::Udp,
            None => Transport::Tcp,
        }
    }

    /// The chosen listener when it has the transport, else the first one that fits the peer.
    pub(crate) fn fitting(
        &self,
        transport: Transport,
        remote: SocketAddr,
        chosen: Option<ListenerId>,
    ) -> Option<ListenerId> {
        let fits = |listener: &Listener| {
            listener.transport == transport && listener.address.is_ipv4() == remote.is_ipv4()
        };
        if let Some(id) = chosen
            && self.listeners.get(usize::from(id.0)).is_some_and(fits)
        {
            return Some(id);
        }
        // A socket bound to a loopback address reaches loopback addresses only, and the other way round.
        let reaches = |listener: &Listener| {
            let own = listener.address.ip();
            own.is_unspecified() || own.is_loopback() == remote.ip().is_loopback()
        };
        let best = self
            .listeners
            .iter()
            .position(|listener| fits(listener) && reaches(listener));
        let first = best.or_else(|| self.listeners.iter().position(fits))?;
        u16::try_from(first).ok().map(ListenerId)
    }

    /// The address that packets from a listener to this peer leave from; `None` where nobody needs to know, because the listener is bound
    /// to one address or advertises a name.
    pub(crate) fn local_address(&self, listener: ListenerId, remote: IpAddr) -> Option<IpAddr> {
        let listener = self.listeners.get(usize::from(listener.0))?;
        if !listener.address.ip().is_unspecified() || listener.advertise.is_some() {
            return None;
        }
        let now = Instant::now();
        let mut routes = self.routes.borrow_mut();
        if let Some(route) = routes.get(&remote).filter(|route| route.until > now) {
            return route.local;
        }
        if routes.len() >= MAX_ROUTES {
            routes.clear();
        }
        let local = ask_the_system(remote);
        routes.insert(
            remote,
            Route {
                local,
                until: now + ROUTE_LIFETIME,
            },
        );
        local
    }

    /// The address to bind an outgoing connection to: that of its listener, unless it is a wildcard.
    pub(crate) fn bind_address(&self, listener: ListenerId) -> Option<IpAddr> {
        let address = self.listeners.get(usize::from(listener.0))?.address.ip();
        (!address.is_unspecified()).then_some(address)
    }

    fn has(&self, transport: Transport) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.transport == transport)
    }
}

/// Connecting a datagram socket sends nothing and tells the local address that the route gives.
fn ask_the_system(remote: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(remote, ROUTE_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(list: &[(Transport, &str, Option<&str>)]) -> OutgoingListeners {
        let listener =
            |(transport, address, advertise): &(Transport, &str, Option<&str>)| Listener {
                transport: *transport,
                address: address.parse().unwrap(),
                advertise: advertise.map(str::to_owned),
            };
        OutgoingListeners::new(list.iter().map(listener).collect())
    }

    #[test]
    fn a_loopback_listener_is_for_loopback_peers() {
        let listeners = listeners(&[
            (Transport::Udp, "127.0.0.1:5060", None),
            (Transport::Udp, "192.0.2.1:5060", None),
        ]);
        let fitting = |peer: &str| listeners.fitting(Transport::Udp, peer.parse().unwrap(), None);
        assert_eq!(fitting("127.0.0.1:5070"), Some(ListenerId(0)));
        assert_eq!(fitting("198.51.100.7:5070"), Some(ListenerId(1)));
        assert_eq!(fitting("[::1]:5070"), None);
    }

    #[test]
    fn a_wildcard_listener_leaves_from_the_address_of_the_route() {
        let listeners = listeners(&[
            (Transport::Udp, "0.0.0.0:5060", None),
            (Transport::Udp, "0.0.0.0:5062", Some("sip.example.com")),
        ]);
        let peer: IpAddr = "127.0.0.3".parse().unwrap();
        for _ in 0..2 {
            assert_eq!(
                listeners.local_address(ListenerId(0), peer),
                Some("127.0.0.1".parse().unwrap())
            );
        }
        assert_eq!(listeners.local_address(ListenerId(1), peer), None);
    }

    #[test]
    fn without_udp_the_default_is_tcp() {
        assert_eq!(
            listeners(&[(Transport::Tcp, "127.0.0.1:5060", None)]).default_transport(None, false),
            Transport::Tcp
        );
        assert_eq!(
            listeners(&[(Transport::Tcp, "127.0.0.1:5060", None)]).default_transport(None, true),
            Transport::Tls
        );
        assert_eq!(
            listeners(&[]).default_transport(None, false),
            Transport::Udp
        );
    }
}
