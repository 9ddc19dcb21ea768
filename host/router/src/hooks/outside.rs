//! What the operator has granted a policy, and how it is carried out.

use std::time::Duration;

use patchbay_policy::{
    Capability, ErrorKind, HostError, HttpAnswer, HttpRequest, KeyValueAnswer, KeyValueRequest,
    Sleep,
};

use super::{HookHost, Services};
use crate::config::Grants;
use crate::outside::refusal;

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
        let grants = &self.config().policy.grants.http;
        if let Some(played) = self.played() {
            let answer = played.fetch(&request, || refusal(&request, grants));
            return Box::pin(std::future::ready(answer));
        }
        self.note_request(request, |request| match self.services() {
            Ok(services) => self.send(services, request, grants, limit),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        })
    }

    fn send(
        &self,
        services: &Services,
        request: HttpRequest,
        grants: &[String],
        limit: Duration,
    ) -> HttpAnswer {
        let http = &services.shared.http;
        let Some(script) = http.script() else {
            return http.fetch(request, grants, limit);
        };
        script.ask(
            &request,
            grants,
            self.virtual_time_left(services),
            services.clock.instant(),
        )
    }

    /// Where a run is played again nothing waits.
    pub(super) fn wait_for(&self, time: Duration) -> Sleep {
        let Ok(services) = self.services() else {
            return Box::pin(std::future::ready(()));
        };
        let http = &services.shared.http;
        match http.script() {
            None => http.sleep(time),
            Some(script) => {
                let time = time.min(self.virtual_time_left(services));
                script.sleep(time, services.clock.instant())
            }
        }
    }

    /// In virtual time a hook waits, and does nothing else.
    fn virtual_time_left(&self, services: &Services) -> Duration {
        let waited = services.clock.instant().since(self.now.instant);
        self.config().policy.hook_timeout.saturating_sub(waited)
    }

    pub(super) fn ask_store(
        &self,
        request: KeyValueRequest<'_>,
    ) -> Result<KeyValueAnswer, HostError> {
        if let Some(played) = self.played() {
            return played.key_value(&request, || self.may_ask(&request).err());
        }
        let services = self.services()?;
        let answer = self.may_ask(&request).and_then(|()| {
            let store = &services.shared.keyvalue;
            store.carry_out(self.namespace_name(), request, services.clock.unix_ms())
        });
        self.note_key_value(&request, &answer);
        answer
    }

    /// Whether the operator has granted the key.
    fn may_ask(&self, request: &KeyValueRequest<'_>) -> Result<(), HostError> {
        let granted = &self.config().policy.grants.keyvalue;
        let key = request.key();
        if granted
            .iter()
            .any(|prefix| key.starts_with(prefix.as_str()))
        {
            return Ok(());
        }
        Err(HostError {
            kind: ErrorKind::Denied,
            message: format!("policy.grants.keyvalue does not have {key:?}"),
        })
    }
}
