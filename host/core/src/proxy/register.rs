//! The verdict `save`: REGISTER goes to the location service, when the caller may change the address-of-record.

use patchbay_message::{AddressOfRecord, HeaderName, Method, Uri};
use smallvec::SmallVec;

use crate::core::Core;
use crate::door::{HookFault, Output, Reject, UpdateId};
use crate::proxy::context::{ResponseContext, Stage};
use crate::registrar::{self, Bindings, OutboundSupport, Registration};
use crate::table::Handle;
use crate::time::Now;

/// How many registrations wait for reuse at most.
const POOLED_REGISTRATIONS: usize = 64;

impl Core {
    /// Carries out `save`; `challenge` is what a 401 needs.
    pub(crate) fn save(&mut self, now: Now, handle: Handle, challenge: &[Vec<u8>]) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.received.base().method() != Method::Register {
            self.env.event(crate::door::Event::HookFault {
                hook: crate::door::Hook::RequestRoute,
                fault: HookFault::Verdict,
            });
            return self.after_fault(now, handle, HookFault::Verdict);
        }
        let used = self.registrations.pop();
        let context = self.contexts.get(handle);
        let registration = context.map(|context| self.registration(context, used));
        match registration {
            Some(Ok((registration, Permission::Granted))) => {
                self.update_bindings(handle, registration)
            }
            Some(Ok((_, Permission::Unauthenticated))) => self.challenge(now, handle, challenge),
            Some(Ok((_, Permission::Denied))) => self.reject(now, handle, &Reject::new(403, "")),
            Some(Err(reject)) => self.reject(now, handle, &reject),
            None => {}
        }
    }

    /// Reads the request, into the memory of what was `used` before.
    fn registration(
        &self,
        context: &ResponseContext,
        used: Option<Box<Registration>>,
    ) -> Result<(Box<Registration>, Permission), Reject> {
        let request = &context.request;
        let registrant = registrar::registrant(request)?;
        let aor = registrar::registered(&registrant)?;
        let mut registration =
            used.unwrap_or_else(|| Box::new(Registration::of_removal(aor.clone())));
        registration.aor = aor;
        registration.read(request, context.flow)?;
        let tenant = context.tenant.as_ref();
        registration.max_contacts = tenant.map(|tenant| tenant.max_contacts);
        let permission = self.permission(context, &registrant, &registration.aor);
        Ok((registration, permission))
    }

    /// Takes a registration back that was applied, for its memory.
    pub fn give_back(&mut self, registration: Box<Registration>) {
        if self.registrations.len() < POOLED_REGISTRATIONS {
            self.registrations.push(registration);
        }
    }

    /// RFC 3261 §10.3 steps 1, 3 and 4: the domain is ours, the user is who it says, and it is the user's own address-of-record.
    fn permission(
        &self,
        context: &ResponseContext,
        registrant: &Uri<'_>,
        aor: &AddressOfRecord,
    ) -> Permission {
        if !self.env.local.is_local(registrant, context.flow.local.ip())
            || !self.is_of_tenant(context, aor)
        {
            return Permission::Denied;
        }
        if !self.env.config.registration_required {
            return Permission::Granted;
        }
        let Some(user) = &context.verified_user else {
            return Permission::Unauthenticated;
        };
        let realm = context
            .tenant
            .as_ref()
            .map_or(&self.env.config.realm, |tenant| &tenant.realm);
        match user.rsplit_once('@') {
            Some((name, own)) if name == aor.user() && own == realm => Permission::Granted,
            _ => Permission::Denied,
        }
    }

    /// A tenant's addresses-of-record are those of its domains, and nobody else's.
    fn is_of_tenant(&self, context: &ResponseContext, aor: &AddressOfRecord) -> bool {
        match &context.tenant {
            Some(tenant) if !tenant.domains.is_empty() => {
                tenant.domains.iter().any(|domain| domain == aor.host())
            }
            _ => {
                let owned = &self.env.config.tenant_domains;
                owned.is_empty() || !owned.contains(aor.host())
            }
        }
    }

    fn update_bindings(&mut self, handle: Handle, registration: Box<Registration>) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.stage = Stage::Saving;
        context.outbound = registration.outbound;
        self.env.outputs.push_back(Output::UpdateBindings {
            id: UpdateId(handle.to_u64()),
            registration,
            tenant: context.tenant.clone(),
        });
    }

    /// The location service's answer. RFC 3261 §10.3 step 8, RFC 3327 §5.3: 200 with every binding and the Path.
    pub(crate) fn on_bindings_updated(
        &mut self,
        now: Now,
        id: UpdateId,
        result: Result<Bindings, Reject>,
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
        let mut text = std::mem::take(&mut self.env.scratch);
        text.clear();
        let mut headers = HeaderTexts::default();
        for binding in bindings.iter().filter(|binding| binding.is_live(now.unix)) {
            headers.add(&mut text, b"Contact", |text| {
                registrar::write_contact(text, binding, now.unix)
            });
        }
        if context.request.header(HeaderName::Path).is_some() {
            for path in context.request.values(HeaderName::Path) {
                headers.add(&mut text, b"Path", |text| text.extend_from_slice(path));
            }
        }
        if context.outbound == OutboundSupport::Required {
            headers.add(&mut text, b"Require", |text| {
                text.extend_from_slice(b"outbound")
            });
        }
        headers.add(&mut text, b"Date", |text| {
            text.extend_from_slice(self.date.of(now.unix))
        });
        let mut filled = SmallVec::new();
        headers.fill(&text, &mut filled);
        self.respond(now, handle, 200, "", &filled, b"");
        drop(filled);
        self.env.scratch = text;
    }
}

/// Headers whose values stand one behind the other in a text.
#[derive(Default)]
struct HeaderTexts(SmallVec<[(&'static [u8], usize); 4]>);

impl HeaderTexts {
    /// Adds what `write` appends to the text.
    fn add(&mut self, text: &mut Vec<u8>, name: &'static [u8], write: impl FnOnce(&mut Vec<u8>)) {
        write(text);
        self.0.push((name, text.len()));
    }

    /// Adds the headers to others.
    fn fill<'t>(&self, text: &'t [u8], headers: &mut SmallVec<[(&'static [u8], &'t [u8]); 4]>) {
        let mut start = 0;
        for (name, end) in &self.0 {
            headers.push((*name, text.get(start..*end).unwrap_or_default()));
            start = *end;
        }
    }
}

/// Whether a registration is let through.
enum Permission {
    Granted,
    Unauthenticated,
    Denied,
}
