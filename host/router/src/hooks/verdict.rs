//! From a guest's verdict to the core's.

use std::time::Duration;

use patchbay_core::door::{self, HookContext, HookFault, Reply};
use patchbay_message::Method;
use patchbay_policy::{Fault, Hook, HookDone, Verdict, Verification};

use super::HookHost;

/// What is wrong with `next` where there is no other policy.
pub(crate) const NO_NEXT: &str = "`next` from the last policy of the chain";

impl HookHost {
    /// Gives the context back to the core, with the verdict in its words.
    pub(crate) fn finish(
        mut self,
        verdict: Verdict,
    ) -> (Option<Box<HookContext>>, Result<door::Verdict, HookFault>) {
        let result = match verdict {
            Verdict::Relay => Ok(door::Verdict::Relay),
            Verdict::Reply { status, reason } => {
                let reply = self.rare.take().and_then(|rare| rare.reply);
                let reply = reply.unwrap_or_default();
                Ok(door::Verdict::Reply(Reply {
                    status,
                    reason,
                    headers: reply.headers,
                    body: reply.body,
                }))
            }
            Verdict::Challenge => Ok(door::Verdict::Challenge(self.challenge())),
            Verdict::Save => {
                self.prepare_challenge();
                Ok(door::Verdict::Save)
            }
            Verdict::Drop => Ok(door::Verdict::Drop),
            Verdict::Pass => Ok(door::Verdict::Pass),
            // Without another policy in the chain nobody decides.
            Verdict::Next | Verdict::Done => Err(HookFault::Verdict),
        };
        self.apply_no_answer();
        (self.context, result)
    }

    /// Whether the core can carry this verdict out on this message. `next` is for whoever knows the chain to judge.
    #[inline]
    pub(crate) fn is_possible(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Reply { .. } | Verdict::Challenge => self.method() != Some(Method::Ack),
            Verdict::Save => self.method() == Some(Method::Register),
            Verdict::Relay | Verdict::Drop | Verdict::Next | Verdict::Pass | Verdict::Done => true,
        }
    }

    /// Whether the hook runs for an ACK, which nobody answers.
    pub(crate) fn is_for_ack(&self) -> bool {
        self.method() == Some(Method::Ack)
    }

    /// The method of the request that the hook runs for.
    fn method(&self) -> Option<Method<'_>> {
        self.context
            .as_ref()
            .map(|context| context.request.method())
    }

    /// Gives the context back to the core after a fault, which ignores what is in it.
    pub(crate) fn into_context(self) -> Option<Box<HookContext>> {
        self.context
    }

    /// RFC 3261 §22.1: one challenge per algorithm, with `stale=true` when the credentials were right but old.
    fn challenge(&self) -> Vec<Vec<u8>> {
        let (Some(services), Some(context)) = (&self.services, &self.context) else {
            return Vec::new();
        };
        let users = |user: &str, realm: &str| services.shared.users.ha1(user, realm);
        let stale = self.verification == Some(Verification::Stale);
        self.authenticator(services).challenge_request(
            &context.request,
            self.now.unix,
            services.random_u64(),
            &users,
            stale,
        )
    }

    /// The core answers 401 itself when a policy saves without credentials where they are required.
    fn prepare_challenge(&mut self) {
        let verified = self
            .context
            .as_ref()
            .is_some_and(|context| context.verified_user.is_some());
        if verified || !self.is_registration_required() {
            return;
        }
        let challenge = self.challenge();
        if let Some(context) = &mut self.context {
            context.challenge = challenge;
        }
    }

    /// The default no-answer time is for the targets that have none of their own, whenever it was set.
    fn apply_no_answer(&mut self) {
        let (Some(context), Some(no_answer_ms)) = (&mut self.context, self.no_answer_ms) else {
            return;
        };
        let no_answer = Duration::from_millis(no_answer_ms.into());
        for target in &mut context.routing.targets {
            target.no_answer.get_or_insert(no_answer);
        }
    }
}

/// Makes a fault of a verdict that the core can't carry out, and gives it back.
#[cold]
pub(crate) fn refuse_impossible(done: &mut HookDone<HookHost>) -> Option<Fault> {
    let (Ok(verdict), Some(host)) = (&done.result, &done.host) else {
        return None;
    };
    if host.is_possible(verdict) {
        return None;
    }
    let method = host.method().unwrap_or(Method::Other(b""));
    let method = String::from_utf8_lossy(method.as_bytes());
    let text = match verdict {
        Verdict::Save => format!("`save` for {method}: only a REGISTER can be saved"),
        Verdict::Challenge => format!("`challenge` for {method}, which nobody answers"),
        Verdict::Reply { status, .. } => {
            format!("`reply` with {status} for {method}, which nobody answers")
        }
        _ => return None,
    };
    let fault = Fault::Verdict(text);
    done.result = Err(fault.clone());
    Some(fault)
}

/// The hook of a message in the words of the policy crate.
pub(crate) fn policy_hook(hook: door::Hook) -> Hook {
    match hook {
        door::Hook::RequestRoute => Hook::RequestRoute,
        door::Hook::BranchRoute => Hook::BranchRoute,
        door::Hook::OnreplyRoute => Hook::OnreplyRoute,
        door::Hook::FailureRoute => Hook::FailureRoute,
    }
}

/// A fault in the words of the core.
pub(crate) fn core_fault(fault: &Fault) -> HookFault {
    match fault {
        Fault::Trap(_) => HookFault::Trap,
        Fault::Deadline => HookFault::Deadline,
        Fault::Timeout => HookFault::Timeout,
        Fault::Memory => HookFault::Memory,
        Fault::Verdict(_) => HookFault::Verdict,
        Fault::Unavailable(_) => HookFault::Unavailable,
    }
}
