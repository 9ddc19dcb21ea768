//! Hooks of a response context: `request_route` and `failure_route`, what they return, and what a fault does.

use std::sync::Arc;

use patchbay_message::Method;
use smallvec::SmallVec;

use crate::core::{Core, context_hook_id};
use crate::door::{
    Armed, DropReason, Event, Hook, HookContext, HookFault, HookId, Output, PolicyVersion, Reject,
    Routing, Target, Tenant, Verdict,
};
use crate::environment::Environment;
use crate::proxy::context::{Kind, Stage};
use crate::proxy::route;
use crate::table::Handle;
use crate::time::Now;

/// How many boxes wait for reuse at most.
const POOLED_CONTEXTS: usize = 256;

/// What a hook ran in.
pub(crate) struct Ran {
    pub(crate) version: PolicyVersion,
    pub(crate) tenant: Option<Arc<Tenant>>,
}

/// Whether a dialog that began in this version goes on in it.
fn is_kept(env: &Environment, version: PolicyVersion) -> bool {
    env.config.pin_dialog || version.keeps_dialog()
}

impl Core {
    /// Asks for a hook of the whole context.
    pub(crate) fn run_hook(&mut self, handle: Handle, hook: Hook) {
        let number = self.env.next_hook();
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.hook = Some((hook, number));
        let response = match hook {
            Hook::FailureRoute => context
                .best
                .as_ref()
                .and_then(|best| best.response.as_ref())
                .map(|(draft, _)| self.env.copy(draft)),
            Hook::OnreplyRoute => context
                .reply_in_hook
                .as_ref()
                .map(|reply| self.env.copy(&reply.response)),
            _ => None,
        };
        let source = match (&context.reply_in_hook, hook) {
            (Some(reply), Hook::OnreplyRoute) => reply.flow,
            _ => context.flow,
        };
        // The first hook's edits are the request's from then on; after a fault it is made anew.
        let request = match hook {
            Hook::RequestRoute => std::mem::take(&mut context.request),
            _ => self.env.copy(&context.request),
        };
        let version = match &context.dialog {
            Some(dialog) if context.version.0 == 0 && is_kept(&self.env, dialog.version) => {
                dialog.version
            }
            _ => context.version,
        };
        let mut seen = match self.hook_contexts.pop() {
            Some(used) => used,
            None => Box::new(HookContext::new(hook, source)),
        };
        seen.begin(hook, source, request, response);
        context.show(&mut seen);
        let tenant = context.tenant.clone();
        let ran = Ran { version, tenant };
        self.put_hook(context_hook_id(handle, number), hook, ran, seen);
    }

    pub(crate) fn put_hook(&mut self, id: HookId, hook: Hook, ran: Ran, context: Box<HookContext>) {
        self.pending_hooks += 1;
        self.env.outputs.push_back(Output::RunHook {
            id,
            hook,
            version: ran.version,
            tenant: ran.tenant,
            context,
        });
    }

    /// The hook of a context returned.
    pub(crate) fn on_context_hook(
        &mut self,
        now: Now,
        slot: u32,
        number: u32,
        mut result: Result<Verdict, HookFault>,
        hook_context: Option<Box<HookContext>>,
        ran: Ran,
    ) {
        let Some(handle) = self.contexts.handle_at(slot) else {
            return;
        };
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some((hook, expected)) = context.hook else {
            return;
        };
        if expected != number {
            return;
        }
        context.hook = None;
        if context.version.0 == 0 && hook == Hook::RequestRoute {
            context.version = ran.version;
            context.tenant = ran.tenant;
        }
        if result
            .as_ref()
            .is_ok_and(|verdict| !fits(hook, context.kind, verdict))
        {
            result = Err(HookFault::Verdict);
        }
        if let Err(fault) = result {
            self.env.event(Event::HookFault { hook, fault });
        }
        match hook {
            Hook::RequestRoute => self.on_request_route(now, handle, result, hook_context),
            Hook::FailureRoute => self.on_failure_route(now, handle, result, hook_context),
            Hook::OnreplyRoute => self.on_onreply_route(now, handle, result, hook_context),
            Hook::BranchRoute => {}
        }
        // A 2xx may have come while another hook than its own ran.
        self.next_hook(now, handle);
        self.next_group(now, handle);
        self.free_context(handle);
    }

    fn on_request_route(
        &mut self,
        now: Now,
        handle: Handle,
        result: Result<Verdict, HookFault>,
        hook_context: Option<Box<HookContext>>,
    ) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if context.stage != Stage::Deciding {
            return self.keep_box(hook_context);
        }
        let (verdict, armed, challenge) = match (result, hook_context) {
            (Ok(verdict), Some(mut returned)) => {
                let decided = &mut *returned;
                std::mem::swap(&mut context.request, &mut decided.request);
                std::mem::swap(&mut context.variables, &mut decided.variables);
                context.verified_user = decided.verified_user.take();
                let routing = &mut decided.routing;
                context.record_route = routing.record_route.unwrap_or(context.record_route);
                std::mem::swap(
                    &mut context.record_route_parameters,
                    &mut routing.record_route_parameters,
                );
                if verdict == Verdict::Relay {
                    context.targets.replace(&mut routing.targets);
                }
                let decision = (
                    verdict,
                    routing.armed,
                    std::mem::take(&mut decided.challenge),
                );
                self.keep_box(Some(returned));
                decision
            }
            (Err(fault), returned) => {
                self.keep_box(returned);
                self.restore_request(handle);
                return self.after_fault(now, handle, fault);
            }
            (Ok(_), None) => {
                self.restore_request(handle);
                return self.after_fault(now, handle, HookFault::Trap);
            }
        };
        match verdict {
            Verdict::Relay => self.relay(now, handle, armed),
            Verdict::Reply(reply) => self.respond_reply(now, handle, &reply),
            Verdict::Challenge(values) => self.challenge(now, handle, &values),
            Verdict::Save => self.save(now, handle, &challenge),
            Verdict::Drop | Verdict::Pass => self.stay_silent(now, handle),
        }
    }

    /// The request as it was before `request_route`, whatever a hook that failed has made of it.
    fn restore_request(&mut self, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let mut request = self.env.copy(&context.received);
        // The dialog is known since the request came.
        route::preprocess(&mut request, &context.flow, &self.env);
        let empty = std::mem::replace(&mut context.request, request);
        self.env.give_back(empty);
    }

    /// A fault costs the request a 500; in a dialog it is routed by its route set, so that no call hangs because of a policy.
    pub(crate) fn after_fault(&mut self, now: Now, handle: Handle, fault: HookFault) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        match (context.dialog.is_some(), context.kind, fault) {
            (true, ..) => self.relay(now, handle, Armed::default()),
            (false, Kind::Ack, _) => {
                self.env.dropped(DropReason::StrayAck);
                self.finish_silently(now, handle);
            }
            (false, _, HookFault::Unavailable) => {
                let reject = self.unavailable();
                self.reject(now, handle, &reject);
            }
            (false, ..) => self.respond_status(now, handle, 500),
        }
    }

    /// RFC 3261 §22.2 and §22.3: 401 as a registrar, 407 as a proxy.
    pub(crate) fn challenge(&mut self, now: Now, handle: Handle, values: &[Vec<u8>]) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        let (status, name): (u16, &[u8]) = if context.received.method() == Method::Register {
            (401, b"WWW-Authenticate")
        } else {
            (407, b"Proxy-Authenticate")
        };
        let headers: SmallVec<[(&[u8], &[u8]); 4]> = values
            .iter()
            .map(|value| (name, value.as_slice()))
            .collect();
        self.respond(now, handle, status, "", &headers, b"");
    }

    fn stay_silent(&mut self, now: Now, handle: Handle) {
        let is_stray = self
            .contexts
            .get(handle)
            .is_some_and(|context| context.kind == Kind::Ack && context.dialog.is_none());
        self.env.dropped(if is_stray {
            DropReason::StrayAck
        } else {
            DropReason::Policy
        });
        self.finish_silently(now, handle);
    }

    /// Never answers; retransmissions stay absorbed.
    pub(crate) fn finish_silently(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.stage = Stage::Finished;
        let mut actions = self.server_actions.pop().unwrap_or_default();
        if let Some(server) = context.server.as_mut() {
            server.abandon(now.instant, &mut actions);
        }
        self.perform_server(now, handle, actions);
    }

    /// RFC 3261 §16.5: forwards to the targets, or without any to where the request says.
    fn relay(&mut self, now: Now, handle: Handle, armed: Armed) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.armed = armed;
        if context.facts.max_forwards == 0 {
            return self.reject(now, handle, &Reject::new(483, ""));
        }
        if !context.targets.is_empty() {
            context.forget_preloaded_route();
        } else {
            match default_target(context, &self.env) {
                Some(target) => context.targets.put(target),
                None if context.kind == Kind::Ack => {
                    self.env.dropped(DropReason::StrayAck);
                    return self.finish_silently(now, handle);
                }
                None => return self.respond_status(now, handle, 404),
            }
        }
        if context.kind == Kind::Ack {
            context.targets.keep_first();
        }
        context.stage = Stage::Forwarding;
        self.next_group(now, handle);
    }

    fn on_failure_route(
        &mut self,
        now: Now,
        handle: Handle,
        result: Result<Verdict, HookFault>,
        hook_context: Option<Box<HookContext>>,
    ) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if context.stage != Stage::Failing {
            return self.keep_box(hook_context);
        }
        // Somebody has picked up after all: `onreply_route` of that 2xx is next.
        if context
            .replies
            .iter()
            .any(|reply| (200..300).contains(&reply.status))
        {
            context.stage = Stage::Forwarding;
            return self.keep_box(hook_context);
        }
        let (verdict, routing) = match (result, hook_context) {
            (Ok(verdict), Some(mut returned)) => {
                if verdict == Verdict::Relay {
                    std::mem::swap(&mut context.request, &mut returned.request);
                }
                context.variables = std::mem::take(&mut returned.variables);
                let routing = std::mem::take(&mut returned.routing);
                self.keep_box(Some(returned));
                (verdict, routing)
            }
            (_, returned) => {
                self.keep_box(returned);
                (Verdict::Pass, Routing::default())
            }
        };
        match verdict {
            Verdict::Relay if self.may_retarget(handle) && !routing.targets.is_empty() => {
                self.retarget(now, handle, routing)
            }
            Verdict::Reply(reply) => self.respond_reply(now, handle, &reply),
            _ => self.send_best(now, handle),
        }
    }

    fn may_retarget(&mut self, handle: Handle) -> bool {
        let Some(context) = self.contexts.get(handle) else {
            return false;
        };
        if context.cancelled.is_some() {
            return false;
        }
        let max_rounds = context
            .tenant
            .as_ref()
            .map_or(self.env.config.max_failure_rounds, |tenant| {
                tenant.max_failure_rounds
            });
        let limited = context.failure_round >= max_rounds;
        if limited {
            self.env.event(Event::Limit("max_failure_rounds"));
        }
        !limited
    }

    /// New targets in the same transaction. The responses of the rounds before are forgotten: the policy has seen the best of them, and
    /// what the caller gets is the result of its last decision. This deviates from RFC 3261 §16.7 step 6 after a 6xx.
    fn retarget(&mut self, now: Now, handle: Handle, mut routing: Routing) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        context.failure_round += 1;
        context.armed = routing.armed;
        context.record_route = routing.record_route.unwrap_or(context.record_route);
        context
            .record_route_parameters
            .extend(routing.record_route_parameters);
        let best = context.best.take();
        context.challenges.clear();
        context.declined = false;
        context.forget_preloaded_route();
        context.targets.replace(&mut routing.targets);
        context.stage = Stage::Forwarding;
        self.let_go_of(best);
        self.next_group(now, handle);
    }

    pub(crate) fn keep_box(&mut self, returned: Option<Box<HookContext>>) {
        let Some(mut returned) = returned else { return };
        if self.hook_contexts.len() < POOLED_CONTEXTS {
            self.env.give_back(std::mem::take(&mut returned.request));
            if let Some(response) = returned.response.take() {
                self.env.give_back(response);
            }
            returned.let_go();
            self.hook_contexts.push(returned);
        }
    }
}

/// RFC 3261 §16.5: the Request-URI, unless it is us and no route leads on.
fn default_target(
    context: &crate::proxy::context::ResponseContext,
    env: &crate::environment::Environment,
) -> Option<Target> {
    let leads_on = context
        .request
        .header(patchbay_message::HeaderName::Route)
        .is_some();
    let uri = context.request.request_uri_parts().ok()?;
    let is_ours = !leads_on && env.local.is_local(&uri, context.flow.local.ip());
    let mut target = Target::of_uri(Vec::new());
    target.listener = context.dialog.as_ref().map(|dialog| dialog.listener);
    (leads_on || !is_ours).then_some(target)
}

/// Whether a verdict is possible in a hook.
fn fits(hook: Hook, kind: Kind, verdict: &Verdict) -> bool {
    match (hook, verdict) {
        (Hook::RequestRoute, Verdict::Relay | Verdict::Drop) => true,
        (Hook::RequestRoute, _) if kind == Kind::Ack => false,
        (Hook::RequestRoute, Verdict::Reply(reply))
        | (Hook::FailureRoute, Verdict::Reply(reply)) => (200..700).contains(&reply.status),
        (Hook::RequestRoute, Verdict::Challenge(_) | Verdict::Save) => true,
        (Hook::FailureRoute, Verdict::Relay | Verdict::Pass) => true,
        (Hook::BranchRoute | Hook::OnreplyRoute, Verdict::Pass | Verdict::Drop) => true,
        _ => false,
    }
}
