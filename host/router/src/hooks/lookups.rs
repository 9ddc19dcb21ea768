//! Look-ups of the location service, and the targets made of them.

use std::net::IpAddr;
use std::sync::Arc;

use patchbay_core::door::{Flow, HookContext, Target, Transport};
use patchbay_core::registrar::ContactBinding;
use patchbay_core::time::UnixTime;
use patchbay_message::{AddressOfRecord, Host, Uri};
use patchbay_policy::{Binding, ErrorKind, HostError, LookupResult};
use smallvec::SmallVec;

use super::services::Services;
use crate::location::{Bindings, Namespace};

/// Look-ups per hook run: more of them are a loop of the policy.
const MAX_LOOKUPS: usize = 100;

/// Who is asked, and by whom.
pub(super) struct Asked<'s> {
    pub(super) services: &'s Services,
    /// The namespace; `None`: the shared one.
    pub(super) namespace: Option<&'s Arc<Namespace>>,
    /// The realm of its users; `None`: that of all.
    pub(super) realm: Option<&'s str>,
    pub(super) now: UnixTime,
}

/// The look-ups of one hook run, by their number; contacts are in the order of their q.
#[derive(Default)]
pub(super) struct Lookups(SmallVec<[SmallVec<[ContactBinding; 2]>; 1]>);

impl Lookups {
    /// Whether there are none yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks up an AOR.
    pub(super) fn look_up(
        &mut self,
        asked: &Asked<'_>,
        aor: &AddressOfRecord,
    ) -> Result<LookupResult, HostError> {
        if self.0.len() >= MAX_LOOKUPS {
            return Err(host_error(
                ErrorKind::Limit,
                "a hook may look up 100 addresses-of-record",
            ));
        }
        let location = &asked.services.shared.location;
        let found = location.lookup_in(asked.namespace, aor, asked.now);
        if found.is_empty() && !asked.is_known(aor) {
            return Err(host_error(
                ErrorKind::NotFound,
                "nobody registered this address-of-record, and it is no user",
            ));
        }
        let mut bindings: SmallVec<[ContactBinding; 2]> = found.iter().cloned().collect();
        // Stable: equal ones stay in the order in which they registered.
        bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q()));
        let result = LookupResult {
            lookup: number(self.0.len()),
            count: number(bindings.len()),
        };
        self.0.push(bindings);
        Ok(result)
    }

    /// One contact of a look-up, as the policy sees it.
    pub(super) fn binding(&self, lookup: u32, index: u32, now: UnixTime) -> Option<Binding> {
        let binding = self.0.get(lookup as usize)?.get(index as usize)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Binding {
            uri: text(binding.uri()),
            q: binding.q(),
            expires_secs: binding.remaining_secs(now),
            received: binding
                .flow()
                .map(|flow| flow.remote.to_string())
                .unwrap_or_default(),
            user_agent: text(binding.user_agent()),
            instance: binding.instance().map(text),
        })
    }

    /// The contacts of a look-up.
    pub(super) fn bindings(&self, lookup: u32) -> Result<&[ContactBinding], HostError> {
        let unknown = || {
            host_error(
                ErrorKind::NotFound,
                "there is no lookup of this number in this hook",
            )
        };
        self.0
            .get(lookup as usize)
            .map(SmallVec::as_slice)
            .ok_or_else(unknown)
    }
}

/// The target for a registered contact: over the flow it registered on while that lives (RFC 5626 §5.3), else by its URI.
pub(super) fn target(services: &Services, binding: &ContactBinding, group: u16) -> Target {
    Target {
        uri: binding.uri().to_vec(),
        q: binding.q(),
        group,
        path: binding.path().map(<[u8]>::to_vec).collect(),
        flow: binding
            .flow()
            .filter(|flow| is_way_to(binding, flow) && is_usable(services, flow)),
        next_hop: None,
        listener: None,
        no_answer: None,
    }
}

/// Whether a contact is reached over the flow that it registered on, rather than where its URI says.
///
/// RFC 3261 §16.6 wants the URI, and a third party may register somebody else's address. The flow is right where RFC 5626
/// asks for it, on a connection of the host that the URI names (its port is seldom one to connect to), on a WebSocket
/// (RFC 7118 §5), and where the URI names a private address but the packet came from a public one: that phone is behind a
/// translation of addresses. Behind a Path (RFC 3327) the flow is the edge proxy's.
fn is_way_to(binding: &ContactBinding, flow: &Flow) -> bool {
    if binding.path().next().is_some() {
        return false;
    }
    if binding.reg_id().is_some() || matches!(flow.transport, Transport::Ws | Transport::Wss) {
        return true;
    }
    let source = flow.remote.ip();
    let is_public = !is_private(source);
    // Then it does not matter what the URI names.
    if flow.connection.is_none() && !is_public {
        return false;
    }
    let named = match Uri::parse(binding.uri()).map(|uri| uri.host) {
        Ok(Host::V4(ip)) => IpAddr::V4(ip),
        Ok(Host::V6(ip)) => IpAddr::V6(ip),
        _ => return flow.connection.is_some(),
    };
    (flow.connection.is_some() && named == source) || (is_private(named) && is_public)
}

/// Addresses that nobody outside of the network can send to.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || is_shared
        }
        IpAddr::V6(ip) => {
            ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_loopback()
                || ip.is_unspecified()
        }
    }
}

/// Whether packets can still be sent over the flow. A UDP flow is no more than its addresses.
fn is_usable(services: &Services, flow: &Flow) -> bool {
    match flow.connection {
        Some(connection) => services.connections.is_alive(connection),
        None => !flow.transport.is_reliable(),
    }
}

/// Whether the request came over the flow of a live contact of the AOR.
///
/// A connection can't be forged. A UDP source address can, so that it counts only where the operator trusts it.
pub(super) fn is_registered_source(
    services: &Services,
    bindings: &Bindings,
    context: &HookContext,
    trust_udp_source: bool,
) -> bool {
    let source = &context.source;
    bindings
        .iter()
        .filter_map(ContactBinding::flow)
        .any(|flow| match source.connection {
            Some(connection) => {
                flow.connection == Some(connection) && services.connections.is_alive(connection)
            }
            None => {
                trust_udp_source
                    && flow.connection.is_none()
                    && flow.transport == source.transport
                    && flow.remote == source.remote
            }
        })
}

/// The AOR in a URI of a policy.
pub(super) fn address_of_record(uri: &[u8]) -> Result<AddressOfRecord, HostError> {
    address_of_record_in(Uri::parse(uri).ok())
}

/// The AOR in a URI that was read.
pub(super) fn address_of_record_in(uri: Option<Uri<'_>>) -> Result<AddressOfRecord, HostError> {
    let aor = uri.as_ref().and_then(AddressOfRecord::from_uri);
    aor.ok_or_else(|| {
        host_error(
            ErrorKind::InvalidArgument,
            "this is not the URI of an address-of-record",
        )
    })
}

/// An error for the guest.
pub(super) fn host_error(kind: ErrorKind, message: &str) -> HostError {
    HostError {
        kind,
        message: message.to_owned(),
    }
}

impl Asked<'_> {
    fn is_known(&self, aor: &AddressOfRecord) -> bool {
        let shared = &self.services.shared;
        let realm = self.realm.unwrap_or(&shared.authenticator.config().realm);
        shared.users.ha1(aor.user(), realm).is_some()
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::{FlowId, ListenerId};
    use patchbay_core::registrar::BindingParts;

    use super::*;

    fn binding(uri: &str, flow: Flow) -> ContactBinding {
        let parts = BindingParts {
            display: b"",
            uri: uri.as_bytes(),
            parameters: b"",
            instance: None,
            reg_id: None,
            q: 1000,
            expires: UnixTime(60),
            updated: UnixTime(0),
            call_id: b"1",
            cseq: 1,
            user_agent: b"",
            path: &[],
            flow: Some(flow),
        };
        ContactBinding::new(&parts).expect("a short contact")
    }

    fn flow(transport: Transport, remote: &str) -> Flow {
        Flow {
            listener: ListenerId(0),
            transport,
            local: "192.0.2.1:5060".parse().expect("an address"),
            remote: remote.parse().expect("an address"),
            connection: transport.is_reliable().then_some(FlowId {
                owner: 0,
                slot: 0,
                generation: 0,
            }),
        }
    }

    fn by_flow(uri: &str, transport: Transport, remote: &str) -> bool {
        let flow = flow(transport, remote);
        is_way_to(&binding(uri, flow), &flow)
    }

    #[test]
    fn a_udp_contact_is_reached_where_its_uri_says() {
        assert!(!by_flow(
            "sip:bob@198.51.100.2:5080",
            Transport::Udp,
            "198.51.100.2:40000"
        ));
        assert!(!by_flow(
            "sip:bob@198.51.100.9",
            Transport::Udp,
            "198.51.100.2:5060"
        ));
    }

    #[test]
    fn a_phone_behind_a_translation_of_addresses_is_reached_over_its_flow() {
        assert!(by_flow(
            "sip:bob@192.168.1.7:5060",
            Transport::Udp,
            "198.51.100.2:40000"
        ));
        assert!(by_flow(
            "sip:bob@10.0.0.7:5060",
            Transport::Tcp,
            "198.51.100.2:40000"
        ));
        assert!(!by_flow(
            "sip:bob@192.168.1.7:5060",
            Transport::Udp,
            "192.168.1.9:5060"
        ));
    }

    #[test]
    fn a_phone_on_a_connection_is_reached_over_it() {
        assert!(by_flow(
            "sip:bob@198.51.100.2:5060;transport=tcp",
            Transport::Tcp,
            "198.51.100.2:40000"
        ));
        assert!(by_flow(
            "sip:bob@df7jal23ls0d.invalid;transport=ws",
            Transport::Ws,
            "198.51.100.2:40000"
        ));
    }

    #[test]
    fn a_contact_of_a_third_party_is_reached_where_its_uri_says() {
        assert!(!by_flow(
            "sip:bob@198.51.100.9:5060;transport=tcp",
            Transport::Tcp,
            "198.51.100.2:40000"
        ));
    }
}
