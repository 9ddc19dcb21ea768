//! Look-ups of the location service, and the targets made of them.

use patchbay_core::door::{Flow, HookContext, Target};
use patchbay_core::registrar::ContactBinding;
use patchbay_core::time::UnixTime;
use patchbay_message::{AddressOfRecord, Uri};
use patchbay_policy::{Binding, ErrorKind, HostError, LookupResult};
use smallvec::SmallVec;

use super::services::Services;
use crate::location::Bindings;

/// Look-ups per hook run: more of them are a loop of the policy.
const MAX_LOOKUPS: usize = 100;

/// The look-ups of one hook run, by their number; contacts are in the order of their q.
#[derive(Default)]
pub(super) struct Lookups(SmallVec<[SmallVec<[ContactBinding; 2]>; 1]>);

impl Lookups {
    /// Looks up the AOR in a URI.
    pub(super) fn look_up(
        &mut self,
        services: &Services,
        uri: &str,
        now: UnixTime,
    ) -> Result<LookupResult, HostError> {
        let aor = address_of_record(uri)?;
        if self.0.len() >= MAX_LOOKUPS {
            return Err(host_error(
                ErrorKind::Limit,
                "a hook may look up 100 addresses-of-record",
            ));
        }
        let found = services.shared.location.lookup(&aor, now);
        if found.is_empty() && !is_known(services, &aor) {
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
        flow: binding.flow().filter(|flow| is_usable(services, flow)),
        next_hop: None,
        listener: None,
        no_answer: None,
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
pub(super) fn address_of_record(uri: &str) -> Result<AddressOfRecord, HostError> {
    let parsed = Uri::parse(uri.as_bytes()).ok();
    let aor = parsed.as_ref().and_then(AddressOfRecord::from_uri);
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

fn is_known(services: &Services, aor: &AddressOfRecord) -> bool {
    let realm = &services.shared.authenticator.config().realm;
    services.shared.users.ha1(aor.user(), realm).is_some()
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
