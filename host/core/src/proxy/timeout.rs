//! Deadlines of branches: their machines, Timer C, the policy's no-answer time.

use patchbay_message::Message;
use std::sync::Arc;

use crate::core::{Core, branch_send_id};
use crate::door::{Event, Flow};
use crate::proxy::context::{BranchStage, Cancel};
use crate::proxy::fork::FlowState;
use crate::table::Handle;
use crate::time::{Instant, Now};
use crate::transaction::ClientAction;

impl Core {
    pub(crate) fn on_branch_alarm(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return self.on_spent_branch_alarm(now, slot);
        };
        branch.alarm.rang();
        self.on_client_deadline(now, slot);
        self.on_cancel_deadline(now, slot);
        self.on_branch_deadlines(now, slot);
        self.arm_branch(slot);
    }

    fn on_client_deadline(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let Some(client) = branch.client.as_mut() else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        client.on_timeout(now.instant, &mut actions);
        self.perform_client(now, slot, actions, None);
    }

    fn on_cancel_deadline(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let Cancel::Sent(machine) = &mut branch.cancel else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        machine.on_timeout(now.instant, &mut actions);
        self.perform_cancel(slot, actions);
        self.free_branch(slot);
    }

    fn on_branch_deadlines(&mut self, now: Now, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now.instant);
        if is_due(branch.cancel_end) {
            branch.cancel_end = None;
            return self.give_up(now, slot, 408);
        }
        if is_due(branch.no_answer) {
            branch.no_answer = None;
            return self.on_no_answer(now, slot);
        }
        if is_due(branch.timer_c) {
            branch.timer_c = None;
            self.env.event(Event::TimerC);
            self.on_no_answer(now, slot);
        }
    }

    /// RFC 3261 §16.8: Timer C, or the policy's time, is over: CANCEL after a provisional response, else as if 408 had come. The branch counts as
    /// answered with 408 at once, so that the next target need not wait for the cancelled one; a 2xx that crosses the CANCEL is still
    /// forwarded.
    fn on_no_answer(&mut self, now: Now, slot: u32) {
        let is_sent = |stage| matches!(stage, BranchStage::Calling | BranchStage::Proceeding);
        if !self
            .branches
            .at(slot)
            .is_some_and(|branch| is_sent(branch.stage))
        {
            return self.end_branch(now, slot, 408);
        }
        self.cancel_branch(now, slot, None);
        self.end_branch_but_listen(now, slot, 408);
    }

    /// Ends a branch that nothing can be expected of any more.
    fn give_up(&mut self, now: Now, slot: u32, status: u16) {
        if let Some(branch) = self.branches.at_mut(slot) {
            branch.client = None;
        }
        self.end_branch(now, slot, status);
        self.free_branch(slot);
    }

    /// Does what a client transaction wants done; `response` is that of the event.
    pub(crate) fn perform_client(
        &mut self,
        now: Now,
        slot: u32,
        mut actions: Vec<ClientAction>,
        mut response: Option<(Flow, Arc<Message>)>,
    ) {
        for action in actions.drain(..) {
            let Some(handle) = self.branches.handle_at(slot) else {
                break;
            };
            match action {
                ClientAction::Send(packet) => {
                    if let Some(to) = self
                        .branches
                        .get(handle)
                        .and_then(|branch| branch.sent_to.as_ref())
                    {
                        self.env.send(branch_send_id(handle), to, packet);
                    }
                }
                ClientAction::Response => {
                    if let Some((flow, message)) = response.take() {
                        self.on_passed_response(now, slot, flow, message);
                    }
                }
                ClientAction::TimedOut => self.on_client_failure(now, slot, 408),
                ClientAction::TransportFailed => self.on_client_failure(now, slot, 503),
                ClientAction::Terminated => {}
            }
        }
        self.client_actions.push(actions);
        self.drop_terminated(slot);
    }

    /// A packet of a branch could not be sent, or its connection broke before the answer.
    pub(crate) fn on_branch_send_failed(&mut self, now: Now, handle: Handle) {
        let Some(client) = self
            .branches
            .get_mut(handle)
            .and_then(|branch| branch.client.as_mut())
        else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        client.on_transport_error(&mut actions);
        self.perform_client(now, handle.slot, actions, None);
    }

    /// RFC 3261 §16.9 and RFC 3263 §4.3: a destination that did not answer at all leads to the next; after the last one the branch has failed.
    fn on_client_failure(&mut self, now: Now, slot: u32, status: u16) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        branch.client = None;
        let is_silent = branch.stage == BranchStage::Calling;
        let flow = if status == 503 {
            FlowState::Gone
        } else {
            FlowState::Alive
        };
        if branch.stage == BranchStage::Finished || is_silent && self.try_elsewhere(now, slot, flow)
        {
            return;
        }
        self.end_branch(now, slot, status);
    }

    fn drop_terminated(&mut self, slot: u32) {
        let Some(branch) = self.branches.at_mut(slot) else {
            return;
        };
        if branch
            .client
            .as_ref()
            .is_some_and(|client| client.is_terminated())
        {
            branch.client = None;
        }
        self.free_branch(slot);
    }
}
