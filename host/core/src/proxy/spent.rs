//! Transactions that have their final response: of each only what it takes to absorb retransmissions is kept, for the 32 seconds
//! that RFC 3261 §17 asks for. Their messages, edits and targets are free as soon as the last branch is answered.
//!
//! A context stays whole while a hook may still run for it: with `onreply_route` armed each further 2xx of an INVITE passes it.

use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, Message, Method};

use crate::alarm::Alarm;
use crate::answered::Kept;
use crate::core::{Core, branch_send_id, server_send_id};
use crate::door::{DropReason, Event, Flow, Output, Packet, SendId, SendTo};
use crate::proxy::branch::Branch;
use crate::proxy::context::{BranchStage, BranchState, Cancel, Kind, ResponseContext, Stage};
use crate::proxy::context::{ViaText, WaitingReply};
use crate::proxy::own_response;
use crate::proxy::receive::response_destination;
use crate::proxy::reply::own_tag;
use crate::table::Handle;
use crate::time::Now;
use crate::transaction::{ClientRest, ServerRest, TransactionKey};

/// What is left of a response context.
#[derive(Debug)]
pub(crate) struct SpentContext {
    key: Option<TransactionKey>,
    /// `None`: its time is over, it waits for its branches.
    rest: Option<ServerRest>,
    /// The way back to the caller.
    flow: Flow,
    /// The port of the caller's Via, where the way back may have to be opened anew.
    fallback_port: Option<u16>,
    /// Its branches, which are all spent.
    branches: u32,
    alarm: Alarm,
}

/// What is left of a branch.
#[derive(Debug)]
pub(crate) struct SpentBranch {
    context: Handle,
    /// The branch parameter of its request.
    sent: Branch,
    rest: ClientRest,
    /// Where an ACK goes.
    to: Option<Box<SendTo>>,
    alarm: Alarm,
}

impl Core {
    /// Keeps of a branch only what it takes to absorb, when that is all there is to do.
    pub(crate) fn spend_branch(&mut self, slot: u32) -> bool {
        let Some(branch) = self.branches.at(slot) else {
            return false;
        };
        if branch.stage != BranchStage::Finished
            || branch.hook != 0
            || matches!(branch.cancel, Cancel::Sent(_))
        {
            return false;
        }
        let Some(context) = self.contexts.get(branch.context) else {
            return false;
        };
        if context.may_edit_further_responses() {
            return false;
        }
        let (Some(client), Some(sent)) = (&branch.client, branch.sent) else {
            return false;
        };
        let Some(rest) = client.rest(|bytes| self.env.stored(bytes)) else {
            return false;
        };
        let to = match rest {
            ClientRest::Acknowledged(..) => branch.sent_to.clone().map(Box::new),
            _ => None,
        };
        let (end, context) = (rest.end(), branch.context);
        let spent = SpentBranch {
            context,
            sent,
            rest,
            to,
            alarm: Alarm::default(),
        };
        let Some(mut branch) = self.branches.spend(slot, spent) else {
            return false;
        };
        if let Some(spent) = self.branches.spent_at_mut(slot) {
            spent.alarm = std::mem::take(&mut branch.alarm);
            spent
                .alarm
                .set(&mut self.alarms, end, crate::core::branch_alarm(slot));
        }
        self.recycle_branch(branch);
        true
    }

    /// Lets go of everything that a branch holds and keeps its box.
    pub(crate) fn recycle_branch(&mut self, mut branch: Box<BranchState>) {
        branch.alarm.cancel(&mut self.alarms);
        self.env.give_back(std::mem::take(&mut branch.request));
        branch.client = None;
        branch.cancel = Cancel::None;
        branch.sent_to = None;
        branch.destinations.clear();
        branch.accepted.clear();
        if branch.via.spilled() {
            branch.via = ViaText::new();
        }
        branch.target.uri = Vec::new();
        branch.target.path = Vec::new();
        self.branches.keep(branch);
    }

    /// Keeps of a context only what it takes to absorb, when that is all there is to do.
    pub(crate) fn spend_context(&mut self, handle: Handle) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.hook.is_some()
            || context.stage != Stage::Finished
            || context.waits_for_more()
            || context
                .branches
                .iter()
                .any(|slot| self.branches.at(*slot).is_some())
        {
            return;
        }
        if self.keep_answered(handle) {
            return;
        }
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        let SendTo::Flow {
            flow,
            fallback_port,
        } = &context.reply_to
        else {
            return;
        };
        let Some(server) = &context.server else {
            return;
        };
        let Some(rest) = server.rest(|bytes| self.env.stored(bytes)) else {
            return;
        };
        let end = rest.end();
        let spent = SpentContext {
            key: context.key,
            rest: Some(rest),
            flow: *flow,
            fallback_port: *fallback_port,
            branches: context.branches.len() as u32,
            alarm: Alarm::default(),
        };
        let Some(mut context) = self.contexts.spend(handle.slot, spent) else {
            return;
        };
        if let Some(spent) = self.contexts.spent_mut(handle) {
            spent.alarm = std::mem::take(&mut context.alarm);
            spent.alarm.set(&mut self.alarms, end, handle.to_u64());
        }
        self.recycle_context(context);
    }

    /// Keeps of a request other than INVITE only what its retransmissions get. Its branches need it no more.
    fn keep_answered(&mut self, handle: Handle) -> bool {
        let Some(context) = self.contexts.get(handle) else {
            return false;
        };
        let completed = context
            .server
            .as_ref()
            .and_then(|server| server.completed());
        let (Some((response, end)), Some(key)) = (completed, context.key) else {
            return false;
        };
        let kept = match response {
            None => Kept::Silence,
            Some(_) if self.own_response.0 == Some(handle) => Kept::Own(&self.own_response.1),
            Some(response) => Kept::Response(response),
        };
        if !self.answered.put(key, end, kept) {
            return false;
        }
        self.end_answered(handle, key);
        true
    }

    /// What a request other than INVITE gets from now on is [`Answered`]: its context is over.
    ///
    /// [`Answered`]: crate::answered::Answered
    pub(crate) fn end_answered(&mut self, handle: Handle, key: TransactionKey) {
        self.keys.remove(&key);
        self.arm_answered();
        if let Some(context) = self.contexts.remove_at(handle.slot) {
            self.recycle_context(context);
        }
    }

    /// Lets go of everything that a context holds, its policy version included, and keeps its box.
    pub(crate) fn recycle_context(&mut self, mut context: Box<ResponseContext>) {
        context.alarm.cancel(&mut self.alarms);
        for draft in [&mut context.received, &mut context.request] {
            self.env.give_back(std::mem::take(draft));
        }
        if context.version.0 != 0 {
            self.env.outputs.push_back(Output::Unpin {
                version: context.version,
                tenant: context.tenant.take(),
            });
        }
        context.server = None;
        context.dialog = None;
        context.variables = Vec::new();
        context.record_route_parameters = Vec::new();
        context.replies.clear();
        context.reply_in_hook = None;
        context.targets.let_go();
        self.let_go_of(context.best.take());
        context.challenges = Vec::new();
        context.cancelled = None;
        self.contexts.keep(context);
    }

    /// A request came again that was answered.
    pub(crate) fn on_answered_again(&mut self, key: TransactionKey, flow: &Flow, received: Draft) {
        self.env.event(Event::Retransmission);
        let to = response_destination(received.base().sent_by().as_ref(), flow);
        let packet = match self.answered.get(key) {
            Some(Kept::Response(response)) => Packet::write(|out| out.extend_from_slice(response)),
            Some(Kept::Own(kept)) => Packet::write(|out| {
                let tag = own_tag(&received, &self.env.keyed);
                // What was kept was written by us.
                let _ = own_response::write(out, kept, &received, &tag);
            }),
            Some(Kept::Silence) | None => return self.env.give_back(received),
        };
        self.env.give_back(received);
        // Its transport error has nobody to tell: the next retransmission is answered again.
        self.env.send(SendId(0), &to, packet);
    }

    /// A request came again whose transaction is spent.
    pub(crate) fn on_spent_retransmission(
        &mut self,
        handle: Handle,
        flow: &Flow,
        message: &Message,
    ) {
        let Some(ServerRest::Completed(Some(response), _)) = self
            .contexts
            .spent(handle)
            .and_then(|spent| spent.rest.as_ref())
        else {
            return;
        };
        let packet = Packet::write(|packet| packet.extend_from_slice(response));
        let to = response_destination(message.sent_by().as_ref(), flow);
        self.env.send(server_send_id(handle), &to, packet);
    }

    /// An ACK with the key of a spent transaction; false: it is the one of a broken client to a 2xx.
    pub(crate) fn is_absorbed_ack(&self, handle: Handle) -> bool {
        let rest = self
            .contexts
            .spent(handle)
            .and_then(|spent| spent.rest.as_ref());
        !matches!(rest, Some(ServerRest::Accepted(_)))
    }

    /// The time of a spent context is over.
    pub(crate) fn on_spent_context_alarm(&mut self, now: Now, handle: Handle) {
        let Some(spent) = self.contexts.spent_mut(handle) else {
            return;
        };
        spent.alarm.rang();
        match spent.rest.as_ref().map(ServerRest::end) {
            Some(end) if end > now.instant => {
                spent.alarm.set(&mut self.alarms, end, handle.to_u64());
            }
            _ => self.end_spent_context(handle),
        }
    }

    /// Nothing is left to absorb for a spent context itself.
    fn end_spent_context(&mut self, handle: Handle) {
        let rest = self
            .contexts
            .spent_mut(handle)
            .and_then(|spent| spent.rest.take());
        if let Some(bytes) = rest.and_then(ServerRest::into_bytes) {
            self.env.take_back(bytes);
        }
        self.free_spent_context(handle);
    }

    fn free_spent_context(&mut self, handle: Handle) {
        let is_over = self
            .contexts
            .spent(handle)
            .is_some_and(|spent| spent.rest.is_none() && spent.branches == 0);
        if !is_over {
            return;
        }
        if let Some(mut spent) = self.contexts.remove_spent_at(handle.slot) {
            spent.alarm.cancel(&mut self.alarms);
            if let Some(key) = spent.key {
                self.keys.remove(&key);
            }
        }
    }

    /// A response of a spent transaction could not be sent. RFC 6026 §8.8: an INVITE's stays. So does what is [`Answered`]: a
    /// retransmission gets the response once more instead of being carried out twice, which deviates from RFC 3261 §17.2.4.
    ///
    /// [`Answered`]: crate::answered::Answered
    pub(crate) fn on_spent_send_failed(&mut self, handle: Handle) {
        let Some(spent) = self.contexts.spent(handle) else {
            return;
        };
        if matches!(spent.rest, Some(ServerRest::Completed(..))) {
            self.end_spent_context(handle);
        }
    }

    /// The time of a spent branch is over.
    pub(crate) fn on_spent_branch_alarm(&mut self, now: Now, slot: u32) {
        let Some(spent) = self.branches.spent_at_mut(slot) else {
            return;
        };
        spent.alarm.rang();
        let end = spent.rest.end();
        if end > now.instant {
            let token = crate::core::branch_alarm(slot);
            return spent.alarm.set(&mut self.alarms, end, token);
        }
        let Some(spent) = self.branches.remove_spent_at(slot) else {
            return;
        };
        if let Some(bytes) = spent.rest.into_bytes() {
            self.env.take_back(bytes);
        }
        if let Some(context) = self.contexts.get_mut(spent.context) {
            context.branches.retain(|other| *other != slot);
            return self.free_context(spent.context);
        }
        if let Some(context) = self.contexts.spent_mut(spent.context) {
            context.branches = context.branches.saturating_sub(1);
            self.free_spent_context(spent.context);
        }
    }

    /// A response on a branch that is spent; false: the branch parameter is not its.
    pub(crate) fn on_spent_response(
        &mut self,
        now: Now,
        handle: Handle,
        branch: &Branch,
        flow: Flow,
        message: &Arc<Message>,
    ) -> bool {
        let Some(spent) = self.branches.spent(handle) else {
            return false;
        };
        if spent.sent != *branch {
            return false;
        }
        let method = message.method();
        if method == Method::Cancel {
            return true;
        }
        if spent.rest.is_invite() != (method == Method::Invite) {
            self.env.dropped(DropReason::UnmatchedResponse);
            return true;
        }
        let status = message.status().unwrap_or_default();
        match (&spent.rest, &spent.to) {
            (ClientRest::Acknowledged(ack, _), Some(to)) if status >= 300 => {
                let packet = Packet::write(|packet| packet.extend_from_slice(ack));
                self.env.send(branch_send_id(handle), to, packet);
            }
            (ClientRest::Accepted(_), _) if (200..300).contains(&status) => {
                let context = spent.context;
                self.forward_late_success(now, context, handle.slot, flow, message.clone());
            }
            _ => {}
        }
        true
    }

    /// RFC 6026 §7.1 and RFC 3261 §16.7 step 5: every 2xx to an INVITE goes on, each copy of it, too.
    fn forward_late_success(
        &mut self,
        now: Now,
        context: Handle,
        branch: u32,
        flow: Flow,
        message: Arc<Message>,
    ) {
        let status = message.status().unwrap_or_default();
        let mut response = self.env.draft(message);
        if !response
            .remove_first_value(HeaderName::Via)
            .unwrap_or(false)
            || response.header(HeaderName::Via).is_none()
        {
            self.env.give_back(response);
            return self.env.dropped(DropReason::Malformed);
        }
        if self.contexts.get(context).is_some() {
            let reply = WaitingReply {
                branch,
                response,
                status,
                flow,
            };
            return self.take_response(now, context, reply);
        }
        let packet = Packet::write(|out| response.write_to(out));
        self.env.give_back(response);
        self.send_past(context, packet);
    }

    fn send_past(&mut self, context: Handle, packet: Packet) {
        let Some(spent) = self.contexts.spent(context) else {
            return self.env.dropped(DropReason::UnmatchedResponse);
        };
        let to = SendTo::Flow {
            flow: spent.flow,
            fallback_port: spent.fallback_port,
        };
        self.env.send(server_send_id(context), &to, packet);
    }

    /// What must hold for what is spent; for tests.
    pub(crate) fn check_spent(&self) {
        for (handle, spent) in self.branches.iter_spent() {
            assert!(spent.alarm.is_set(), "spent branch {handle:?} has no alarm");
            let knows = match self.contexts.get(spent.context) {
                Some(context) => context.branches.contains(&handle.slot),
                // Nothing comes of a response to another request than INVITE any more.
                None => !spent.rest.is_invite() || self.contexts.spent(spent.context).is_some(),
            };
            assert!(knows, "spent branch {handle:?} has no context");
        }
        for (handle, spent) in self.contexts.iter_spent() {
            assert!(
                spent.rest.is_none() || spent.alarm.is_set(),
                "spent context {handle:?} has no alarm"
            );
            let count = self
                .branches
                .iter_spent()
                .filter(|(_, branch)| branch.context == handle)
                .count();
            assert_eq!(count, spent.branches as usize, "branches of {handle:?}");
            assert!(
                spent.rest.is_some() || spent.branches > 0,
                "spent context {handle:?} was kept"
            );
        }
    }
}

impl SpentContext {
    pub(crate) fn key(&self) -> Option<TransactionKey> {
        self.key
    }
}

impl ResponseContext {
    /// Whether responses wait for `onreply_route`, may have to pass it, or an ACK is known by the To tag that was sent.
    pub(crate) fn waits_for_more(&self) -> bool {
        !self.replies.is_empty()
            || self.reply_in_hook.is_some()
            || self.sent_tag.is_some()
            || self.may_edit_further_responses()
    }

    /// Whether a response that may still come has to pass `onreply_route`.
    fn may_edit_further_responses(&self) -> bool {
        self.kind == Kind::Invite && self.armed.onreply_route.is_any()
    }
}
