//! The verdict `save`: REGISTER goes to the location service, when the caller may change the address-of-record.

use patchbay_message::{AddressOfRecord, Method, Uri};

use crate::core::Core;
use crate::door::{HookFault, Output, Reject, UpdateId};
use crate::proxy::context::{ResponseContext, Stage};
use crate::registrar::{self, ContactBinding, OutboundSupport, Registration};
use crate::table::Handle;
use crate::time::Now;

impl Core {
    /// Carries out `save`; `challenge` is what a 401 needs.
    pub(crate) fn save(&mut self, now: Now, handle: Handle, challenge: &[Vec<u8>]) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.received.method() != Method::Register {
            self.env.event(crate::door::Event::HookFault {
                hook: crate::door::Hook::RequestRoute,
                fault: HookFault::Verdict,
            });
            return self.after_fault(now, handle, HookFault::Verdict);
        }
        let registration = match Registration::from_request(&context.request, context.flow) {
            Ok(registration) => registration,
            Err(reject) => return self.reject(now, handle, &reject),
        };
        match self.permission(context, &registration.aor) {
            Permission::Granted => self.update_bindings(handle, registration),
            Permission::Unauthenticated => self.challenge(now, handle, challenge),
            Permission::Denied => self.reject(now, handle, &Reject::new(403, "")),
        }
    }

    /// RFC 3261 §10.3 steps 1, 3 and 4: the domain is ours, the user is who it says, and it is the user's own address-of-record.
    fn permission(&self, context: &ResponseContext, aor: &AddressOfRecord) -> Permission {
        let is_ours = context
            .request
            .to()
            .ok()
            .and_then(|to| to.uri().ok())
            .is_some_and(|to| self.is_own_domain(&to, context));
        if !is_ours {
            return Permission::Denied;
        }
        if !self.env.config.registration_required {
            return Permission::Granted;
        }
        let Some(user) = &context.verified_user else {
            return Permission::Unauthenticated;
        };
        match user.rsplit_once('@') {
            Some((name, realm)) if name == aor.user() && realm == self.env.config.realm => {
                Permission::Granted
            }
            _ => Permission::Denied,
        }
    }

    fn is_own_domain(&self, uri: &Uri<'_>, context: &ResponseContext) -> bool {
        self.env.local.is_local(uri, context.flow.local.ip())
    }

    fn update_bindings(&mut self, handle: Handle, registration: Registration) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.stage = Stage::Saving;
        context.outbound = registration.outbound;
        let registration = Box::new(registration);
        self.env.outputs.push_back(Output::UpdateBindings {
            id: UpdateId(handle.to_u64()),
            registration,
        });
    }

    /// The location service's answer. RFC 3261 §10.3 step 8, RFC 3327 §5.3: 200 with every binding and the Path.
    pub(crate) fn on_bindings_updated(
        &mut self,
        now: Now,
        id: UpdateId,
        result: Result<Vec<ContactBinding>, Reject>,
    ) {
        let handle = Handle::from_u64(id.0);
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.stage != Stage::Saving {
            return;
        }
        let bindings = match result {
            Ok(bindings) => bindings,
            Err(reject) => return self.reject(now, handle, &reject),
        };
        let mut values: Vec<(&'static [u8], Vec<u8>)> = Vec::with_capacity(bindings.len() + 4);
        for binding in bindings.iter().filter(|binding| binding.is_live(now.unix)) {
            let mut contact = Vec::with_capacity(128);
            registrar::write_contact(&mut contact, binding, now.unix);
            values.push((b"Contact", contact));
        }
        values.extend(
            context
                .request
                .values(patchbay_message::HeaderName::Path)
                .map(|path| (&b"Path"[..], path.to_vec())),
        );
        if context.outbound == OutboundSupport::Required {
            values.push((b"Require", b"outbound".to_vec()));
        }
        let mut date = Vec::with_capacity(32);
        crate::date::write(&mut date, now.unix);
        values.push((b"Date", date));
        let headers: Vec<(&[u8], &[u8])> = values
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        self.respond(now, handle, 200, "", &headers, b"");
    }
}

/// Whether a registration is let through.
enum Permission {
    Granted,
    Unauthenticated,
    Denied,
}
