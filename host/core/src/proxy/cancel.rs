//! RFC 3261 §9 and §16.10: CANCEL, from the caller and to the branches.

use patchbay_message::{Draft, HeaderName, Message, Method};

use crate::core::{Core, branch_send_id};
use crate::door::{Flow, Packet};
use crate::proxy::context::{BranchStage, Cancel, Kind, Stage};
use crate::proxy::forward;
use crate::proxy::machine::ClientMachine;
use crate::table::Handle;
use crate::time::Now;
use crate::transaction::ClientAction;

impl Core {
    /// RFC 3261 §9.2: a CANCEL finds the transaction of its INVITE, or gets 481. Its own answer needs no state: each copy gets the same.
    pub(crate) fn on_cancel(&mut self, now: Now, received: &Draft, flow: &Flow) {
        let key = self.maker.cancelled(received.base());
        let Some(handle) = key.and_then(|key| self.keys.get(&key).copied()) else {
            return self.answer_cancel(received, flow, 481);
        };
        self.answer_cancel(received, flow, 200);
        let reasons: Vec<&[u8]> = received.headers(HeaderName::Reason).collect();
        let reason = reasons.join(&b", "[..]);
        self.cancel_context(now, handle, reason);
    }

    /// Ends the search: nothing new is started, what runs is cancelled. A request without branches is answered at once.
    fn cancel_context(&mut self, now: Now, handle: Handle, reason: Vec<u8>) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let is_pending = context
            .server
            .as_ref()
            .is_some_and(|server| server.is_pending());
        if context.kind != Kind::Invite || !is_pending || context.cancelled.is_some() {
            return;
        }
        context.cancelled = Some(reason.clone());
        context.targets.clear();
        match context.stage {
            Stage::Deciding => self.respond_status(now, handle, 487),
            Stage::Failing => self.send_best_after_cancel(now, handle),
            Stage::Forwarding => {
                self.cancel_branches(now, handle, Some(&reason));
                self.next_group(now, handle);
            }
            Stage::Saving | Stage::Finished => {}
        }
    }

    /// The CANCEL came while `failure_route` ran: its verdict no longer counts.
    fn send_best_after_cancel(&mut self, now: Now, handle: Handle) {
        self.respond_status(now, handle, 487);
    }

    /// RFC 3261 §16.10: ends every branch that has no final response.
    pub(crate) fn cancel_branches(&mut self, now: Now, handle: Handle, reason: Option<&[u8]>) {
        let Some(context) = self.contexts.get(handle) else {
            return;
        };
        let slots = context.branches.clone();
        for slot in slots {
            self.cancel_branch(now, slot, reason);
        }
    }

    /// RFC 3261 §9.1: only what was sent can be cancelled, only after a provisional response, and only an INVITE: another request runs to its
    /// end, but is sent nowhere else.
    pub(crate) fn cancel_branch(&mut self, now: Now, slot: u32, reason: Option<&[u8]>) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        branch.destinations.clear();
        branch.no_answer = None;
        let is_invite = branch.request.method() == Method::Invite;
        match (branch.stage, &branch.cancel) {
            (BranchStage::Deciding | BranchStage::Resolving, _) => self.end_branch(now, slot, 487),
            (BranchStage::Calling | BranchStage::Proceeding, _) if !is_invite => {
                branch.cancel = Cancel::Over;
            }
            (BranchStage::Calling, Cancel::None) => {
                branch.cancel = Cancel::Wanted(reason.unwrap_or_default().to_vec());
            }
            (BranchStage::Proceeding, Cancel::None) => {
                branch.cancel = Cancel::Wanted(reason.unwrap_or_default().to_vec());
                self.send_cancel(now, slot);
            }
            _ => {}
        }
    }

    /// Sends the CANCEL of a branch, in a transaction of its own that shares the branch parameter. After 64*T1 without a final response
    /// the branch is over (RFC 3261 §9.1).
    pub(crate) fn send_cancel(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let Cancel::Wanted(reason) = std::mem::replace(&mut branch.cancel, Cancel::Over) else {
            return;
        };
        let to = branch.request.header(HeaderName::To).unwrap_or_default();
        let packet = Packet::write(|out| {
            forward::write_hop_request(
                out,
                Method::Cancel,
                &branch.request,
                &branch.via,
                to,
                &reason,
            )
        });
        let mut actions = self.client_actions.pop().unwrap_or_default();
        let machine = ClientMachine::start(
            now.instant,
            self.timing,
            false,
            branch.reliable,
            packet,
            &mut actions,
        );
        branch.cancel = Cancel::Sent(machine);
        branch.timer_c = None;
        branch.cancel_end = Some(now.instant + self.timing.timer_b());
        self.perform_cancel(slot, actions);
        self.arm_branch(slot);
    }

    /// A response to a CANCEL says nothing about the INVITE.
    pub(crate) fn on_cancel_response(&mut self, now: Now, slot: u32, message: &Message) {
        let status = message.status().unwrap_or_default();
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let Cancel::Sent(machine) = &mut branch.cancel else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        machine.on_response(now.instant, status, Default::default, &mut actions);
        self.perform_cancel(slot, actions);
        self.free_branch(slot);
    }

    pub(crate) fn perform_cancel(&mut self, slot: u32, mut actions: Vec<ClientAction>) {
        for action in actions.drain(..) {
            let Some(handle) = self.branches.handle_at(slot) else {
                continue;
            };
            let Some(branch) = self.branches.get_mut(handle) else {
                continue;
            };
            match (action, &branch.sent_to) {
                (ClientAction::Send(packet), Some(to)) => {
                    self.env.send(branch_send_id(handle), to, packet)
                }
                (ClientAction::Terminated, _) => branch.cancel = Cancel::Over,
                _ => {}
            }
        }
        self.client_actions.push(actions);
    }
}
