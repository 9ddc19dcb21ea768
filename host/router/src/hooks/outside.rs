//! What the operator has granted a policy, and how it is carried out.

use std::time::Duration;

use patchbay_policy::{
    Capability, ErrorKind, HostError, HttpAnswer, HttpRequest, KeyValueAnswer, KeyValueRequest,
};

use super::HookHost;
use crate::config::Grants;
use crate::location::DEFAULT_NAMESPACE;

/// Whether anything of a capability is granted.
pub(super) fn grants(grants: &Grants, capability: Capability) -> bool {
    match capability {
        Capability::Http => !grants.http.is_empty(),
        Capability::KeyValue => !grants.keyvalue.is_empty(),
        // Which header it is shows when it is written, and most policies could write one: the call is denied, not the policy.
        Capability::WriteHeaders => true,
        Capability::SaveLocation => grants.save_location,
    }
}

impl HookHost {
    pub(super) fn send_request(&self, request: HttpRequest, limit: Duration) -> HttpAnswer {
        match self.services() {
            Ok(services) => {
                let grants = &self.config().policy.grants.http;
                services.shared.http.fetch(request, grants, limit)
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    pub(super) fn ask_store(
        &self,
        request: KeyValueRequest<'_>,
    ) -> Result<KeyValueAnswer, HostError> {
        let services = self.services()?;
        let granted = &self.config().policy.grants.keyvalue;
        let key = request.key();
        if !granted
            .iter()
            .any(|prefix| key.starts_with(prefix.as_str()))
        {
            return Err(HostError {
                kind: ErrorKind::Denied,
                message: format!("policy.grants.keyvalue does not have {key:?}"),
            });
        }
        let store = &services.shared.keyvalue;
        store.carry_out(DEFAULT_NAMESPACE, request, services.clock.unix_ms())
    }
}
