//! RFC 3261 §16.7 steps 4 and 6 to 9: the best of the final responses.

use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, Message};

use crate::core::Core;
use crate::door::{Event, Hook, Packet};
use crate::proxy::context::{Final, Kind, Stage};
use crate::table::Handle;
use crate::time::Now;

impl Core {
    /// RFC 3261 §16.7 step 4: keeps a final response when it is better than the one that is kept.
    pub(crate) fn store(&mut self, handle: Handle, candidate: Final) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let candidate = match (&context.cancelled, &candidate.response) {
            (Some(_), None) => Final::of_status(487),
            _ => candidate,
        };
        let is_better = context
            .best
            .as_ref()
            .is_none_or(|best| rank(candidate.status) < rank(best.status));
        let loser = if is_better {
            context.best.replace(candidate)
        } else {
            Some(candidate)
        };
        match loser {
            Some(Final {
                status: 401 | 407,
                response: Some((draft, _)),
                ..
            }) => context.challenges.push(draft),
            other => self.let_go_of(other),
        }
    }

    /// RFC 3261 §16.7 step 6: every branch is done, and there is no other target.
    pub(crate) fn all_failed(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if context.kind == Kind::Ack {
            context.stage = Stage::Finished;
            return self.free_context(handle);
        }
        if context.armed.failure_route.is_any() && context.cancelled.is_none() {
            // `branch_route` of a branch that was ended still runs: this comes back when it returns.
            if context.hook.is_some() {
                return;
            }
            context.stage = Stage::Failing;
            if context.best.is_none() {
                context.best = Some(Final::of_status(408));
            }
            self.give_best_a_form(handle);
            return self.run_hook(handle, Hook::FailureRoute);
        }
        self.send_best(now, handle);
    }

    /// The response that `failure_route` reads: a final status that came from nowhere gets a message.
    fn give_best_a_form(&mut self, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(best) = context.best.as_mut().filter(|best| best.response.is_none()) else {
            return;
        };
        let mut bytes = Vec::with_capacity(512);
        let head = patchbay_message::ResponseHead {
            status: best.status,
            reason: "",
            to_tag: None,
        };
        patchbay_message::write_response(
            &mut bytes,
            &context.received,
            head,
            std::iter::empty(),
            b"",
        );
        let limits = patchbay_message::Limits {
            max_message_bytes: usize::MAX,
            max_headers: 4096,
            max_header_bytes: usize::MAX,
        };
        if let Ok(message) = Message::parse(&bytes, &limits) {
            best.response = Some((Draft::new(Arc::new(message)), context.flow));
            best.is_ours = true;
        }
    }

    /// RFC 3261 §16.7 steps 6 to 9: sends the best response.
    pub(crate) fn send_best(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if context.stage == Stage::Finished {
            return;
        }
        let is_invite = context.kind == Kind::Invite;
        let missing = if context.cancelled.is_some() {
            487
        } else {
            408
        };
        let best = context.best.take().unwrap_or(Final::of_status(missing));
        if !is_invite && best.status == 408 {
            return self.stay_quiet_after_timeout(now, handle);
        }
        match best {
            // A 503 would say that nothing at all can be served here.
            Final { status: 503, .. } => self.respond_status(now, handle, 500),
            Final {
                status,
                response: None,
                ..
            }
            | Final {
                status,
                is_ours: true,
                ..
            } => self.respond_status(now, handle, status),
            Final {
                status,
                response: Some((response, _)),
                ..
            } => self.forward_final(now, handle, status, response),
        }
    }

    /// RFC 4320 §4.2: a 408 to a non-INVITE request comes too late for its client; nothing is sent.
    fn stay_quiet_after_timeout(&mut self, now: Now, handle: Handle) {
        self.finish_silently(now, handle);
    }

    /// RFC 3261 §16.7 step 7: a 401 or 407 carries the challenges of all the others.
    fn forward_final(&mut self, now: Now, handle: Handle, status: u16, mut response: Draft) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if matches!(status, 401 | 407) {
            for other in std::mem::take(&mut context.challenges) {
                for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                    for value in other.headers(name) {
                        // It has been a header value already.
                        let _ = response.append(name, value);
                    }
                }
            }
        }
        if context.kind == Kind::Invite {
            let version = context.version;
            self.env.event(Event::InviteFinal { status, version });
            let to = response.to().ok();
            context.note_sent_tag(to.as_ref().and_then(|to| to.tag()));
        }
        let packet = Packet::write(|out| response.write_to(out));
        self.env.give_back(response);
        self.give_response(now, handle, status, packet);
    }

    /// Keeps the memory of a response that nobody gets.
    pub(crate) fn let_go_of(&mut self, best: Option<Final>) {
        if let Some(Final {
            response: Some((response, _)),
            ..
        }) = best
        {
            self.env.give_back(response);
        }
    }
}

/// RFC 3261 §16.7 step 6: lower is better. A 6xx first, then the lowest class; in 4xx what helps to send the request again, and in 5xx anything
/// before 503.
fn rank(status: u16) -> (u16, u16) {
    match status {
        600.. => (0, 0),
        401 | 407 => (4, 0),
        415 | 420 | 484 => (4, 1),
        408 => (4, 3),
        503 => (5, 1),
        _ => (status / 100, if status / 100 == 4 { 2 } else { 0 }),
    }
}
