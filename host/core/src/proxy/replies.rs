//! `onreply_route`: responses pass it one at a time, in the order of arrival.

use patchbay_message::{Draft, HeaderName};

use crate::core::Core;
use crate::door::{DropReason, Hook, HookContext, HookFault, Packet, Verdict};
use crate::proxy::context::{Kind, ReplyInHook, Stage, WaitingReply};
use crate::table::Handle;
use crate::time::Now;

/// How many responses wait behind a hook. What is dropped beyond comes again: 2xx to INVITE and reliable provisionals are
/// retransmitted, others are only news. Provisionals fill half of it at most.
const MAX_WAITING: usize = 64;

impl Core {
    /// Lets `onreply_route` see the response when it is armed, in the order of arrival.
    pub(crate) fn queue_response(&mut self, now: Now, handle: Handle, reply: WaitingReply) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if !context.armed.onreply_route.is_any() {
            return self.take_response(now, handle, reply);
        }
        if let Some(packet) = self.edited_copy(&reply) {
            return self.give_accepted(now, handle, reply.status, packet);
        }
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let is_again = match reply.status {
            0..200 => context.replies.len() >= MAX_WAITING / 2,
            200..300 => context.kind == Kind::Invite && context.replies.len() >= MAX_WAITING,
            _ => false,
        };
        if is_again {
            return self.env.dropped(DropReason::Overload);
        }
        if reply.status >= 200 {
            context.replies.retain(|waiting| waiting.status >= 200);
        }
        let status = reply.status;
        context.replies.push_back(reply);
        self.end_search(now, handle, status);
        self.next_hook(now, handle);
    }

    /// RFC 3261 §16.7 steps 5 and 10: a 2xx or 6xx ends the search when it comes, not only when `onreply_route` has seen it.
    fn end_search(&mut self, now: Now, handle: Handle, status: u16) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let is_end = (200..300).contains(&status) || status >= 600;
        if !is_end || context.stage != Stage::Forwarding {
            return;
        }
        context.declined |= status >= 600;
        context.targets.clear();
        self.cancel_branches(now, handle, None);
    }

    /// A 2xx that was seen before, as `onreply_route` edited it.
    fn edited_copy(&self, reply: &WaitingReply) -> Option<Packet> {
        let tag = reply.response.to().ok()?.tag()?;
        let branch = self.branches.at(reply.branch)?;
        let known = branch.accepted.iter().find(|(known, _)| known == tag)?;
        (200..300).contains(&reply.status).then(|| known.1.clone())
    }

    /// Runs the next hook that waits: `branch_route` of a new branch, or `onreply_route` of the next response.
    pub(crate) fn next_hook(&mut self, now: Now, handle: Handle) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.hook.is_some() {
            return;
        }
        if let Some(slot) = self.undecided_branch(handle) {
            return self.run_branch_hook(handle, slot);
        }
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(waiting) = context.replies.pop_front() else {
            return;
        };
        // A copy of a 2xx can have waited behind its original.
        if let Some(packet) = self.edited_copy(&waiting) {
            self.give_accepted(now, handle, waiting.status, packet);
            return self.next_hook(now, handle);
        }
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let WaitingReply {
            branch,
            response,
            status,
            flow,
        } = waiting;
        context.reply_in_hook = Some(ReplyInHook {
            branch,
            response,
            status,
            flow,
        });
        self.run_hook(handle, Hook::OnreplyRoute);
    }

    /// `onreply_route` returned. A fault forwards the response as it came; only a provisional one that is not reliable can be dropped.
    pub(crate) fn on_onreply_route(
        &mut self,
        now: Now,
        handle: Handle,
        result: Result<Verdict, HookFault>,
        mut returned: Option<Box<HookContext>>,
    ) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(ReplyInHook {
            branch,
            mut response,
            status,
            flow,
        }) = context.reply_in_hook.take()
        else {
            return;
        };
        let is_reliable = is_reliable(&response);
        if let (Ok(_), Some(returned)) = (&result, &mut returned) {
            context.variables = std::mem::take(&mut returned.variables);
            if let Some(edited) = returned.response.take() {
                self.env.give_back(std::mem::replace(&mut response, edited));
            }
        }
        self.keep_box(returned);
        let is_dropped = result == Ok(Verdict::Drop) && status < 200 && !is_reliable;
        if is_dropped {
            self.env.dropped(DropReason::Policy);
        } else {
            self.take_response(
                now,
                handle,
                WaitingReply {
                    branch,
                    response,
                    status,
                    flow,
                },
            );
        }
        self.next_hook(now, handle);
        self.next_group(now, handle);
    }
}

/// RFC 3262 §3: a provisional response that is sent reliably.
fn is_reliable(response: &Draft) -> bool {
    response.header(HeaderName::RSeq).is_some()
        || response
            .values(HeaderName::Require)
            .any(|option| option.eq_ignore_ascii_case(b"100rel"))
}
