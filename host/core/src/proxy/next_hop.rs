//! RFC 3261 §16.6 steps 6 and 7: where a branch goes next, and by which of our listeners.

use patchbay_message::{HeaderName, Host, NameAddr, Scheme, Uri};

use crate::door::{Destination, Flow, ListenerId, SendTo, Transport};
use crate::environment::Environment;
use crate::local;
use crate::proxy::context::BranchState;

/// RFC 5626 §5.3: the flow of the registered contact, unless the request has another way to go.
pub(crate) fn usable_flow(branch: &BranchState) -> Option<Flow> {
    if branch.flow_tried || branch.target.next_hop.is_some() {
        return None;
    }
    let flow = branch.target.flow?;
    let routes = branch.request.values(HeaderName::Route).count();
    (routes == branch.target.path.len()).then_some(flow)
}

/// What names the next hop of a branch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NextHop {
    /// The policy.
    Target,
    /// The first Route.
    Route,
    /// The Request-URI.
    RequestUri,
}

impl NextHop {
    /// The URI to resolve.
    pub(crate) fn uri(self, branch: &BranchState) -> &[u8] {
        let route = |branch| -> Option<&[u8]> {
            let branch: &BranchState = branch;
            let value = branch.request.values(HeaderName::Route).next()?;
            Some(NameAddr::parse(value).ok()?.uri_raw)
        };
        match self {
            NextHop::Target => branch.target.next_hop.as_deref().unwrap_or_default(),
            NextHop::Route => route(branch).unwrap_or_default(),
            NextHop::RequestUri => branch.request.request_uri(),
        }
    }
}

/// The parts of the URI that names the next hop of a branch.
pub(crate) fn next_hop_uri(hop: NextHop, branch: &BranchState) -> Option<Uri<'_>> {
    match hop {
        // Mostly read already.
        NextHop::RequestUri => branch.request.request_uri_parts().ok(),
        NextHop::Target | NextHop::Route => Uri::parse(hop.uri(branch)).ok(),
    }
}

/// Where a branch goes. A first Route without `lr` is a strict router: RFC 3261 §16.6 step 6 swaps it with the Request-URI.
pub(crate) fn next_hop(branch: &mut BranchState) -> Option<NextHop> {
    if branch.target.next_hop.is_some() {
        return Some(NextHop::Target);
    }
    // Mostly there is none, which is seen at once.
    if branch.request.header(HeaderName::Route).is_none() {
        return Some(NextHop::RequestUri);
    }
    let Some(value) = branch.request.values(HeaderName::Route).next() else {
        return Some(NextHop::RequestUri);
    };
    let route = NameAddr::parse(value).ok()?;
    if route.uri().ok()?.is_lr() {
        return Some(NextHop::Route);
    }
    let uri = route.uri_raw.to_vec();
    let last = [b"<", branch.request.request_uri(), b">"].concat();
    branch.request.remove_first_value(HeaderName::Route).ok()?;
    branch.request.append(HeaderName::Route, &last).ok()?;
    branch.request.set_request_uri(&uri).ok()?;
    Some(NextHop::RequestUri)
}

/// What can be told of a URI without asking anybody.
pub(crate) enum Numeric {
    Destination(Destination),
    Name,
    Impossible,
}

/// RFC 3263 §4.1 and §4.2 for numeric addresses: nothing needs to be looked up.
pub(crate) fn numeric_destination(uri: &Uri<'_>, listener: Option<ListenerId>) -> Numeric {
    let secure = match uri.scheme {
        Scheme::Sip => false,
        Scheme::Sips => true,
        _ => return Numeric::Impossible,
    };
    let maddr = uri.maddr().and_then(Host::parse);
    let address = match maddr.unwrap_or(uri.host) {
        Host::V4(address) => std::net::IpAddr::V4(address),
        Host::V6(address) => std::net::IpAddr::V6(address),
        Host::Name(_) => return Numeric::Name,
    };
    let named = match uri.transport().map(local::transport_named) {
        None if secure => Transport::Tls,
        None => Transport::Udp,
        Some(Some(Transport::Tcp | Transport::Udp)) if secure => Transport::Tls,
        Some(Some(Transport::Ws)) if secure => Transport::Wss,
        Some(Some(transport)) => transport,
        Some(None) => return Numeric::Impossible,
    };
    let port = uri.port.unwrap_or(local::default_port(named));
    Numeric::Destination(Destination {
        transport: named,
        address: std::net::SocketAddr::new(address, port),
        host: None,
        listener,
        local: None,
    })
}

/// How a branch leaves.
pub(crate) struct WayOut {
    pub(crate) listener: ListenerId,
    pub(crate) transport: Transport,
    pub(crate) local: std::net::SocketAddr,
}

pub(crate) fn way_out(
    env: &Environment,
    chosen: Option<ListenerId>,
    to: &SendTo,
    source: &Flow,
) -> Option<WayOut> {
    let (listener, transport, hint) = match to {
        SendTo::Flow { flow, .. } => (flow.listener, flow.transport, Some(flow.local.ip())),
        SendTo::Destination(destination) => {
            let fits = |id: &ListenerId| {
                env.config
                    .listeners
                    .get(usize::from(id.0))
                    .is_some_and(|found| {
                        found.transport == destination.transport
                            && found.address.is_ipv4() == destination.address.is_ipv4()
                    })
            };
            // Without another wish a request leaves from where it came to: one Record-Route is enough then.
            let wished = [destination.listener, chosen, Some(source.listener)]
                .into_iter()
                .flatten()
                .find(fits);
            let listener = wished.or_else(|| {
                local::listener_for(&env.config, destination.transport, destination.address)
            })?;
            (listener, destination.transport, destination.local)
        }
    };
    let same_family =
        source.local.is_ipv4() == hint.map_or(source.local.is_ipv4(), |hint| hint.is_ipv4());
    let hint = hint.or(same_family.then(|| source.local.ip()));
    Some(WayOut {
        listener,
        transport,
        local: env.listener_address(listener, hint, source),
    })
}

pub(crate) fn with_listener(to: SendTo, listener: ListenerId) -> SendTo {
    match to {
        SendTo::Destination(destination) => SendTo::Destination(Destination {
            listener: Some(listener),
            ..destination
        }),
        flow => flow,
    }
}
