//! RFC 3261 §16.7: response processing.

use std::sync::Arc;

use patchbay_message::{HeaderName, Message, Method};

use crate::core::{Core, ORIGINATED_SLOT, server_send_id};
use crate::door::{DropReason, Event, Flow, Packet};
use crate::proxy::branch::{Branch, STATELESS_SLOT};
use crate::proxy::context::{BranchStage, Cancel, Final, Kind, Stage, WaitingReply};
use crate::proxy::forward;
use crate::table::Handle;
use crate::time::Now;

/// How many 2xx of one branch are remembered as `onreply_route` edited them; further ones run it for each copy.
const MAX_ACCEPTED: usize = 64;

/// RFC 3326 §2: so that the other phones list no missed call.
const COMPLETED_ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

impl Core {
    /// RFC 3261 §16.7 steps 1 to 3: finds the branch of a response; what matches nothing is dropped (RFC 6026 §8.9).
    pub(crate) fn on_response(&mut self, now: Now, flow: Flow, message: Arc<Message>) {
        let text = message.top_branch().unwrap_or_default();
        if let Some(handle) = self.branch_sent_with(text) {
            return match message.validate() {
                Ok(()) => self.on_live_response(now, handle, flow, message),
                Err(_) => self.env.dropped(DropReason::Malformed),
            };
        }
        let Some(branch) = Branch::parse(text) else {
            return self.env.dropped(DropReason::ForeignVia);
        };
        if message.validate().is_err() {
            return self.env.dropped(DropReason::Malformed);
        }
        if branch.worker != self.env.config.worker {
            return self.env.dropped(DropReason::UnmatchedResponse);
        }
        if branch.slot & ORIGINATED_SLOT != 0 && branch.slot != STATELESS_SLOT {
            return self.on_originate_response(now, branch, message);
        }
        let handle = Handle {
            slot: branch.slot,
            generation: branch.generation,
        };
        if !self.on_spent_response(now, handle, &branch, flow, &message) {
            self.env.dropped(DropReason::UnmatchedResponse);
        }
    }

    /// The branch whose request was sent with this branch parameter. Its text is compared with what was written into the Via: to take it
    /// apart costs more.
    fn branch_sent_with(&self, text: &[u8]) -> Option<Handle> {
        let (slot, generation) = Branch::place(text)?;
        let handle = Handle { slot, generation };
        self.branches.prefetch(slot);
        let state = self.branches.get(handle)?;
        self.contexts.prefetch(state.context.slot);
        let sent = state.via.get(state.via.len().checked_sub(text.len())?..)?;
        let is_same = sent == text || sent.eq_ignore_ascii_case(text);
        (state.sent.is_some() && is_same).then_some(handle)
    }

    fn on_live_response(&mut self, now: Now, handle: Handle, flow: Flow, message: Arc<Message>) {
        match message.method() {
            Method::Cancel => self.on_cancel_response(now, handle.slot, &message),
            // RFC 3261 §16.7 step 3: without another Via there is nobody to forward it to. It is dropped before it can end anything.
            _ if !has_second_via(&message) => self.env.dropped(DropReason::Malformed),
            _ => self.on_branch_response(now, handle, flow, message),
        }
    }

    fn on_branch_response(&mut self, now: Now, handle: Handle, flow: Flow, message: Arc<Message>) {
        let status = message.status().unwrap_or_default();
        let Some(branch) = self.branches.get_mut(handle) else {
            return;
        };
        if branch.request.method() != message.method() {
            return self.env.dropped(DropReason::UnmatchedResponse);
        }
        let Some(client) = branch.client.as_mut() else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        let (request, via) = (&branch.request, &branch.via);
        let to = message.header(HeaderName::To).unwrap_or_default();
        // RFC 3261 §17.1.1.3.
        let make_ack = || {
            Packet::write(|out| forward::write_hop_request(out, Method::Ack, request, via, to, b""))
        };
        client.on_response(now.instant, status, make_ack, &mut actions);
        self.perform_client(now, handle.slot, actions, Some((flow, message)));
        self.arm_branch(handle.slot);
    }

    /// A response that its client transaction lets through.
    pub(crate) fn on_passed_response(
        &mut self,
        now: Now,
        slot: u32,
        flow: Flow,
        message: Arc<Message>,
    ) {
        let status = message.status().unwrap_or_default();
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let handle = branch.context;
        let is_counted = branch.stage == BranchStage::Finished;
        if status < 200 {
            self.on_provisional(now, slot, status);
        }
        // A branch that was given up says only that it was answered after all.
        if is_counted && !(200..300).contains(&status) {
            return;
        }
        if status >= 200 {
            // RFC 3263 §4.3: a 503 of one server is no answer of the target while another can be tried.
            if status == 503 && self.continue_elsewhere(now, slot) {
                return;
            }
            self.close_branch(slot);
        }
        if status == 100 {
            return;
        }
        // There is another one behind it: that was seen when the response came.
        let mut response = self.env.draft(message);
        if !response
            .remove_first_value(HeaderName::Via)
            .unwrap_or(false)
        {
            self.env.give_back(response);
            return self.env.dropped(DropReason::Malformed);
        }
        self.queue_response(
            now,
            handle,
            WaitingReply {
                branch: slot,
                response,
                status,
                flow,
            },
        );
    }

    /// RFC 3261 §16.7 step 2 resets Timer C for 101 to 199; §9.1 lets a CANCEL that waited go out.
    fn on_provisional(&mut self, now: Now, slot: u32, status: u16) {
        let timer_c = now.instant + self.env.config.timer_c;
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        if branch.stage == BranchStage::Calling {
            branch.stage = BranchStage::Proceeding;
        }
        if branch.timer_c.is_some() && status > 100 {
            branch.timer_c = Some(timer_c);
        }
        if matches!(branch.cancel, Cancel::Wanted(_)) {
            self.send_cancel(now, slot);
        }
    }

    /// Notes that a branch has its final response.
    pub(crate) fn close_branch(&mut self, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        if branch.stage == BranchStage::Finished {
            return;
        }
        branch.stage = BranchStage::Finished;
        branch.timer_c = None;
        branch.no_answer = None;
        branch.cancel_end = None;
        if let Some(context) = self.contexts.get_mut(branch.context) {
            context.open = context.open.saturating_sub(1);
        }
    }

    /// Ends a branch as if that status had come (RFC 3261 §16.7, §16.8 and §16.9).
    pub(crate) fn end_branch(&mut self, now: Now, slot: u32, status: u16) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let handle = branch.context;
        if branch.stage == BranchStage::Finished {
            return;
        }
        self.close_branch(slot);
        self.store(handle, Final::of_status(status));
        self.free_branch(slot);
        self.next_group(now, handle);
    }

    /// An ACK is on its way: nothing is left to do.
    pub(crate) fn end_stateless(&mut self, slot: u32) {
        let Some(handle) = self.branches.at(slot).map(|branch| branch.context) else {
            return;
        };
        self.close_branch(slot);
        if let Some(context) = self.contexts.get_mut(handle) {
            context.stage = Stage::Finished;
        }
        self.free_branch(slot);
    }

    /// Ends a branch whose client transaction is still listened to: its CANCEL may cross a 2xx, which is forwarded all the same.
    pub(crate) fn end_branch_but_listen(&mut self, now: Now, slot: u32, status: u16) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        if branch.stage == BranchStage::Finished {
            return;
        }
        let handle = branch.context;
        self.close_branch(slot);
        if let Some(branch) = self.branches.at_mut(slot) {
            branch.cancel_end = Some(now.instant + self.timing.timer_b());
        }
        self.store(handle, Final::of_status(status));
        self.arm_branch(slot);
        self.free_branch(slot);
        self.next_group(now, handle);
    }

    /// RFC 3261 §16.7 steps 4 and 5.
    pub(crate) fn take_response(&mut self, now: Now, handle: Handle, reply: WaitingReply) {
        match reply.status {
            0..200 => {
                self.forward_provisional(now, handle, &reply);
                self.env.give_back(reply.response);
            }
            200..300 => {
                self.forward_success(now, handle, &reply);
                self.env.give_back(reply.response);
            }
            status => {
                self.store(
                    handle,
                    Final {
                        status,
                        response: Some((reply.response, reply.flow)),
                        is_ours: false,
                    },
                );
                if status >= 600 {
                    self.decline(now, handle, status);
                }
                self.next_group(now, handle);
            }
        }
    }

    /// RFC 3261 §16.7 step 5: at once. RFC 4320 §4.1 keeps those to non-INVITE requests back.
    fn forward_provisional(&mut self, now: Now, handle: Handle, reply: &WaitingReply) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        if context.kind != Kind::Invite || context.stage == Stage::Finished {
            return;
        }
        let packet = Packet::write(|out| reply.response.write_to(out));
        self.give_response(now, handle, reply.status, packet);
    }

    /// RFC 3261 §16.7 steps 5 and 10: every 2xx to an INVITE goes on, and the other branches are cancelled.
    fn forward_success(&mut self, now: Now, handle: Handle, reply: &WaitingReply) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let is_late = context.stage == Stage::Finished;
        if context.kind != Kind::Invite && is_late {
            return self.env.dropped(DropReason::UnmatchedResponse);
        }
        context.targets.clear();
        let packet = Packet::write(|out| reply.response.write_to(out));
        if context.armed.onreply_route.is_any() && context.kind == Kind::Invite {
            self.remember_accepted(reply, &packet);
        }
        if !is_late
            && let Some(context) = self.contexts.get(handle)
            && context.kind == Kind::Invite
        {
            self.env.event(Event::InviteFinal {
                status: reply.status,
                version: context.version,
            });
        }
        self.give_accepted(now, handle, reply.status, packet);
        if !is_late {
            self.cancel_branches(now, handle, Some(COMPLETED_ELSEWHERE));
        }
    }

    fn remember_accepted(&mut self, reply: &WaitingReply, packet: &Packet) {
        let tag = reply
            .response
            .to()
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default()
            .to_vec();
        let branch = self.branches.at_mut(reply.branch);
        if let Some(branch) = branch.filter(|branch| branch.accepted.len() < MAX_ACCEPTED) {
            branch.accepted.push((tag, packet.clone()));
        }
    }

    /// RFC 6026 §7.1: the server transaction passes 2xx on while it is Accepted. After another final response, or when it is over,
    /// RFC 3261 §16.7 steps 5 and 9 send a 2xx to an INVITE past it: somebody has picked up, and only the caller can end that.
    pub(crate) fn give_accepted(&mut self, now: Now, handle: Handle, status: u16, packet: Packet) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(server) = context.server.as_ref() else {
            return self.env.dropped(DropReason::UnmatchedResponse);
        };
        if context.kind == Kind::Invite && !server.takes_success() {
            self.env
                .send(server_send_id(handle), &context.reply_to, packet);
            return;
        }
        self.give_response(now, handle, status, packet);
    }

    /// RFC 3261 §16.7 step 5: a 6xx ends the search, but is not forwarded before every branch is done.
    fn decline(&mut self, now: Now, handle: Handle, status: u16) {
        if let Some(context) = self.contexts.get_mut(handle) {
            context.declined = true;
            context.targets.clear();
        }
        let text = patchbay_message::default_reason(status);
        let reason = format!("SIP;cause={status};text=\"{text}\"");
        self.cancel_branches(now, handle, Some(reason.as_bytes()));
    }
}

/// Whether somebody else's Via stands behind the top one.
fn has_second_via(message: &Message) -> bool {
    message.headers(HeaderName::Via).nth(1).is_some()
        || message.values(HeaderName::Via).nth(1).is_some()
}
