//! Contacts that a policy saves and removes by itself, past the registrar's rules.

use patchbay_core::registrar::Registration;
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;
use patchbay_policy::{ErrorKind, HostError};

use super::HookHost;
use super::host::LOG_TARGET;
use super::lookups::{address_of_record, host_error};
use crate::location::{self, Done};

impl HookHost {
    /// Removes one contact of an address-of-record, or all, and says how many there were.
    pub(super) fn remove_known(
        &self,
        aor: AddressOfRecord,
        contact: &str,
    ) -> Result<u32, HostError> {
        let location = &self.services()?.shared.location;
        let bindings = location.lookup_in(self.namespace(), &aor, self.now.unix);
        if contact.is_empty() {
            self.update_location(Registration::of_removal(aor))?;
            return Ok(u32::try_from(bindings.len()).unwrap_or(u32::MAX));
        }
        if !bindings
            .iter()
            .any(|binding| binding.uri() == contact.as_bytes())
        {
            return Ok(0);
        }
        let registration = Registration::of_contact(aor, contact.as_bytes(), 0, None);
        let registration = registration
            .map_err(|_| host_error(ErrorKind::InvalidArgument, "this is no contact"))?;
        self.update_location(registration)?;
        Ok(1)
    }

    pub(super) fn granted(&self, aor: &str) -> Result<AddressOfRecord, HostError> {
        if !self.config().policy.grants.save_location {
            return Err(host_error(
                ErrorKind::Denied,
                "the operator has not granted save_location",
            ));
        }
        let aor = address_of_record(aor.as_bytes())?;
        if !self.is_of_tenant(&aor) {
            return Err(host_error(
                ErrorKind::Denied,
                "contacts of a tenant's domains are saved by the tenant's policies only, and by these no others",
            ));
        }
        Ok(aor)
    }

    /// A tenant's addresses-of-record are those of its domains, and nobody else's: the core's rule for REGISTER.
    fn is_of_tenant(&self, aor: &AddressOfRecord) -> bool {
        let domains = self.route().map(|route| &route.written.domains);
        if let Some(domains) = domains.filter(|domains| !domains.is_empty()) {
            return domains.iter().any(|domain| domain == aor.host());
        }
        // In a run that is played the answers are those of then.
        self.services.as_ref().is_none_or(|services| {
            let config = services.config();
            config.policy.routes.is_empty() || !config.tenant_domains().contains(aor.host())
        })
    }

    pub(super) fn update_location(&self, mut registration: Registration) -> Result<(), HostError> {
        let route = self.route();
        registration.max_contacts = route.map(|route| route.written.limits.max_contacts);
        let now: UnixTime = self.now.unix;
        let location = &self.services()?.shared.location;
        let namespace = self.namespace();
        let done = || Done::call(log_refusal);
        if let Some(answer) = location.update_in(namespace, &registration, now, done) {
            log_refusal(answer);
        }
        Ok(())
    }
}

/// A policy is not told what becomes of its change.
fn log_refusal(answer: location::Answer) {
    if let Err(reject) = answer {
        tracing::debug!(target: LOG_TARGET, status = reject.status, "a policy's change of a contact was refused");
    }
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::Transport;
    use patchbay_policy::Host;

    use super::super::services::Services;
    use super::super::tests::{NOW, flow, host, services};
    use super::*;
    use crate::policy_directory::component;
    use crate::routes::{Chain, Table};

    const CONFIG: &str = "[policy]\ndirectory = \".\"\n[policy.grants]\nsave_location = true\n\
        [[policy.route]]\ndomain = \"a.example\"\npolicy = \"p\"\nnamespace = \"a\"\n\
        [[policy.route]]\nname = \"trunk\"\nsource = \"10.0.0.0/8\"\npolicy = \"p\"\n";

    /// The host of a policy for the route of this name; without one, of the policy that has all other requests.
    fn host_of(services: &std::sync::Arc<Services>, route: Option<&str>) -> HookHost {
        let host = host(services, flow(Transport::Udp, None));
        let Some(route) = route else {
            return host;
        };
        let shared = &services.shared;
        shared
            .policies
            .set_routed(&services.config().routed_policies());
        shared.policies.store("p", &component("p")).unwrap();
        shared.policies.activate("p", None).unwrap();
        let table = Table::new(&services.config(), shared, &Table::default());
        let number = table.routes().find(|known| known.name() == route).unwrap();
        let tenant = table.by_number(number.id).unwrap().tenant().unwrap();
        let link = Chain::of(&tenant).unwrap().link(0).unwrap();
        HookHost::for_link(services, link, NOW, host.context.unwrap())
    }

    /// Whether it may save and remove a contact of this address-of-record: the one as the other.
    fn may_change(host: &mut HookHost, aor: &str) -> bool {
        let is_denied = |error: &HostError| error.kind == ErrorKind::Denied;
        let saved = host.save_contact(aor, "<sip:x@127.0.0.1:9>", 60);
        let removed = host.remove_contact(aor, "");
        let (saved, removed) = (
            !saved.as_ref().is_err_and(is_denied),
            !removed.as_ref().is_err_and(is_denied),
        );
        assert_eq!(saved, removed);
        saved
    }

    #[test]
    fn contacts_of_a_tenant_are_out_of_reach_of_all_others() {
        let services = services(CONFIG);
        for (route, own, foreign) in [
            (None, "sip:bob@example.com", "sip:bob@a.example"),
            (Some("trunk"), "sip:bob@example.com", "sip:bob@A.Example"),
            (
                Some("a.example"),
                "sip:bob@a.example",
                "sip:bob@example.com",
            ),
        ] {
            let mut host = host_of(&services, route);
            assert!(may_change(&mut host, own), "{route:?} {own}");
            assert!(!may_change(&mut host, foreign), "{route:?} {foreign}");
        }
    }

    #[test]
    fn without_tenants_all_contacts_are_everybodys() {
        let services = services("[policy.grants]\nsave_location = true\n");
        let mut host = host_of(&services, None);
        assert!(may_change(&mut host, "sip:bob@a.example"));
    }
}
