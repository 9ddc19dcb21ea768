//! A hook that begins again: what it did to its host until then is undone.
//!
//! A hook may have edited the message, added targets, armed hooks, set variables and prepared a reply: all of that lies in the context and
//! the host. What it did outside can't be undone, and the policy engine has it begin again before it does anything of that.
//! Credentials that were verified are not verified again, as a nonce counts once: the answer is kept for when the hook asks.

use patchbay_core::door::{self, HookContext, Routing};

use super::lookups::Lookups;
use super::{HookHost, Rare};

/// Where the edits are that the message had before the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EditsBefore {
    /// The hook can't begin again.
    NotWanted,
    /// In the message, which the hook has not changed.
    Unsaved,
    /// Put aside, as the hook has changed it: most hooks don't.
    Saved,
}

impl HookHost {
    /// Whether what a hook does now can be undone: it begins with nothing decided, which is told by a few comparisons and brought back without a
    /// copy. A traced run writes down each call.
    #[inline]
    pub(super) fn can_begin_again(&self) -> bool {
        self.context.as_deref().is_some_and(is_undecided)
            && self.rare.is_none()
            && self.group == 0
            && self.lookups.is_empty()
            && self.no_answer_ms.is_none()
    }

    /// Makes everything as it was then.
    pub(super) fn begin_again(&mut self) {
        self.lookups = Lookups::default();
        self.group = 0;
        self.no_answer_ms = None;
        self.rare = None;
        let edits = std::mem::replace(&mut self.edits, EditsBefore::NotWanted);
        let Some(context) = self.context.as_deref_mut() else {
            return;
        };
        context.routing = Routing::default();
        context.variables.clear();
        self.rare = context.verified_user.take().map(|user| {
            Box::new(Rare {
                verified_user: Some(user),
                ..Rare::default()
            })
        });
        let message = match context.hook {
            door::Hook::OnreplyRoute => context.response.as_mut(),
            _ => Some(&mut context.request),
        };
        if let (EditsBefore::Saved, Some(message)) = (edits, message) {
            context.saved_edits.restore(message);
        }
    }

    /// The hook asks again for what was verified before it began again.
    pub(super) fn give_back_verified_user(&mut self) {
        let kept = self
            .rare
            .as_mut()
            .and_then(|rare| rare.verified_user.take());
        if let (Some(user), Some(context)) = (kept, self.context.as_deref_mut()) {
            context.verified_user = Some(user);
        }
    }
}

#[inline]
fn is_undecided(context: &HookContext) -> bool {
    let routing = &context.routing;
    context.variables.is_empty()
        && context.verified_user.is_none()
        && routing.targets.is_empty()
        && routing.record_route.is_none()
        && routing.record_route_parameters.is_empty()
        && routing.armed == Default::default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use patchbay_core::door::Transport;
    use patchbay_message::{Draft, Limits, Message};
    use patchbay_policy::{Armed, Host, Target, Verification};

    use super::super::tests::{flow, host, register, services};
    use super::*;

    const BOB: &str = "sip:bob@example.com";

    fn written(host: &HookHost) -> Vec<u8> {
        let mut bytes = Vec::new();
        host.message().unwrap().write_to(&mut bytes);
        bytes
    }

    fn act(host: &mut HookHost) {
        let message = host.message_mut().unwrap();
        message.set("X-A", b"hook").unwrap();
        message.set_request_uri(b"sip:carol@example.com").unwrap();
        host.set_variable("name", "value").unwrap();
        host.arm(Armed {
            failure_route: true,
            ..Armed::default()
        });
        host.set_record_route(false);
        host.add_record_route_parameter("a", "b").unwrap();
        let found = host.lookup(BOB).unwrap();
        host.add_lookup(found.lookup).unwrap();
        host.next_group();
        let target = Target {
            uri: BOB.to_owned(),
            q: 1000,
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        };
        host.add_target(target).unwrap();
        host.set_no_answer_timeout(5);
        host.add_reply_header("X-B", "reply").unwrap();
        host.set_reply_body("text/plain", b"reply").unwrap();
    }

    #[test]
    fn everything_that_a_hook_did_is_undone() {
        let services = services("");
        let udp = flow(Transport::Udp, None);
        register(&services, "<sip:bob@127.0.0.1:1>", udp);
        for is_edited in [false, true] {
            let mut host = host(&services, udp);
            if is_edited {
                host.message_mut().unwrap().set("X-A", b"before").unwrap();
            }
            let before = written(&host);
            assert!(host.before().is_some());
            act(&mut host);
            assert!(!host.can_begin_again());
            host.undo(());
            assert_eq!(written(&host), before);
            assert!(host.can_begin_again());
            assert_eq!(host.variable("name"), None);
            assert_eq!(host.target_count(), 0);
            let found = host.lookup(BOB).unwrap();
            assert_eq!(found.lookup, 0, "look-ups are numbered anew");
        }
    }

    #[test]
    fn edits_of_a_response_are_undone() {
        let services = services("");
        let mut host = host(&services, flow(Transport::Udp, None));
        let text = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n";
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let mut response = Draft::new(Arc::new(message));
        response.set("X-A", b"before").unwrap();
        let context = host.context.as_mut().unwrap();
        (context.hook, context.response) = (door::Hook::OnreplyRoute, Some(response));
        let before = written(&host);
        assert!(host.before().is_some());
        let message = host.message_mut().unwrap();
        message.set("X-A", b"hook").unwrap();
        message.set("X-B", b"hook").unwrap();
        host.undo(());
        assert_eq!(written(&host), before);
    }

    #[test]
    fn who_was_verified_is_told_when_the_hook_asks_again() {
        let services = services("");
        let mut host = host(&services, flow(Transport::Udp, None));
        assert!(host.before().is_some());
        // As `verify` leaves it.
        host.verification = Some(Verification::Verified);
        host.context.as_mut().unwrap().verified_user = Some("bob@example.com".to_owned());
        host.undo(());
        assert_eq!(host.verified_user(), None);
        assert_eq!(host.verify(), Verification::Verified);
        assert_eq!(host.verified_user(), Some("bob@example.com"));
    }

    #[test]
    fn what_was_decided_before_the_hook_is_not_undone_with_it() {
        let services = services("");
        let udp = flow(Transport::Udp, None);
        let mut host = host(&services, udp);
        host.set_variable("name", "value").unwrap();
        assert!(host.before().is_none());
    }
}
