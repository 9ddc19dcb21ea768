//! A caller: one INVITE, perhaps a CANCEL, perhaps another INVITE in the dialog, a BYE. Or a REGISTER, or a MESSAGE.

use std::net::SocketAddr;

use super::user_agent::{Heard, Parts, UserAgent};
use super::{Alarm, SECOND, Wishes};
use crate::text::Text;

/// What a caller is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// INVITE.
    Call,
    /// REGISTER, and then once more with an older CSeq.
    Register,
    /// MESSAGE.
    Message,
}

/// What a caller does, drawn before the run. Times are in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) aim: Aim,
    /// The user that is called.
    pub(crate) callee: String,
    /// After the INVITE.
    pub(crate) cancel_after: Option<u64>,
    /// Against RFC 3261 §9.1 it does not wait for a provisional response before it cancels.
    pub(crate) hasty: bool,
    /// After the answer.
    pub(crate) hang_up_after: u64,
    /// After the answer.
    pub(crate) reinvite_after: Option<u64>,
    /// After the final response: the INVITE once more.
    pub(crate) repeat_after: Option<u64>,
}

/// One caller with its one call.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) agent: UserAgent,
    pub(crate) plan: Plan,
    pub(crate) call_id: String,
    from: String,
    to: String,
    first: String,
    branch: String,
    rang: bool,
    cancelled: bool,
    hung_up: bool,
    /// Status of each final response to the request outside of a dialog.
    pub(crate) finals: Vec<u16>,
}

impl Caller {
    pub(crate) fn new(number: usize, address: SocketAddr, reliable: bool, plan: Plan) -> Caller {
        Caller {
            agent: UserAgent::new(format!("caller{number}"), address, reliable),
            call_id: format!("call-{number}@sim"),
            from: format!("<sip:caller{number}@example.com>;tag=c{number}"),
            to: format!("<sip:{}@example.com>", plan.callee),
            plan,
            first: String::new(),
            branch: String::new(),
            rang: false,
            cancelled: false,
            hung_up: false,
            finals: Vec::new(),
        }
    }

    /// Whether the call has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        let is_answered = !self.finals.is_empty() || self.plan.aim == Aim::Message;
        let is_left = self
            .agent
            .dialogs
            .values()
            .all(|dialog| dialog.left || !dialog.confirmed);
        is_answered && is_left && !self.agent.is_waiting()
    }

    pub(crate) fn on_alarm(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        match alarm {
            Alarm::Start => self.start(wishes),
            Alarm::Cancel => self.cancel(wishes),
            Alarm::HangUp => {
                self.hung_up = true;
                self.agent.hang_up(wishes);
            }
            Alarm::Reinvite => self.reinvite(wishes),
            Alarm::RepeatInvite => wishes.send.push(self.first.clone()),
            _ => self.agent.on_alarm(alarm, wishes),
        }
    }

    fn start(&mut self, wishes: &mut Wishes) {
        let (method, uri, cseq) = match self.plan.aim {
            Aim::Call => ("INVITE", format!("sip:{}@example.com", self.plan.callee), 1),
            Aim::Register => ("REGISTER", "sip:example.com".to_owned(), 5),
            Aim::Message => (
                "MESSAGE",
                format!("sip:{}@example.com", self.plan.callee),
                1,
            ),
        };
        self.branch = self.agent.new_branch();
        self.first = self.request(method, &uri, cseq);
        self.agent.send(self.first.clone(), wishes);
        if let Some(after) = self
            .plan
            .cancel_after
            .filter(|_| self.plan.aim == Aim::Call)
        {
            wishes.timers.push((after, Alarm::Cancel));
        }
    }

    fn request(&self, method: &str, uri: &str, cseq: u32) -> String {
        let parts = Parts {
            method,
            uri,
            from: &self.from,
            to: &self.to,
            call_id: &self.call_id,
            cseq,
            more: "Expires: 600\r\n",
        };
        self.agent.compose(&parts, &self.branch)
    }

    fn cancel(&mut self, wishes: &mut Wishes) {
        self.cancelled = true;
        // RFC 3261 §9.1: not before a provisional response, and in vain after a final one.
        if (self.rang || self.plan.hasty) && self.finals.is_empty() {
            let text = self.request(
                "CANCEL",
                &format!("sip:{}@example.com", self.plan.callee),
                1,
            );
            self.agent.send(text, wishes);
        }
    }

    fn reinvite(&mut self, wishes: &mut Wishes) {
        let open = self
            .agent
            .dialogs
            .iter()
            .find(|(_, dialog)| dialog.confirmed && !dialog.left)
            .map(|(key, _)| key.clone());
        if let Some(key) = open {
            self.agent.send_in_dialog(&key, "INVITE", "", wishes);
        }
    }

    pub(crate) fn on_request(&mut self, request: &Text, wishes: &mut Wishes) {
        if request.method() == "INVITE" {
            if let Some(at) = self.agent.on_invite(request, wishes) {
                self.agent.finish(at, 200, wishes);
            }
            return;
        }
        self.agent.on_request(request, wishes);
    }

    pub(crate) fn on_response(&mut self, response: &Text, wishes: &mut Wishes) {
        let heard = self.agent.on_response(response, wishes);
        let status = response.status();
        let is_first = super::branch(response) == self.branch && response.method() != "CANCEL";
        if !is_first {
            // What is sent inside of a dialog gets through, whatever the policy does.
            if status >= 300 && response.method() != "CANCEL" && self.plan.aim == Aim::Call {
                self.agent.complain(response, "refused in a dialog");
            }
            if status == 200 && self.plan.aim == Aim::Register {
                self.agent.complain(response, "an older CSeq was taken");
            }
            return;
        }
        match heard {
            Heard::Provisional => self.on_ringing(wishes),
            Heard::Final => self.on_answer(status, wishes),
            Heard::Again => {}
        }
    }

    fn on_ringing(&mut self, wishes: &mut Wishes) {
        let first = !std::mem::replace(&mut self.rang, true);
        if first && self.cancelled && !self.plan.hasty {
            self.cancel(wishes);
        }
    }

    fn on_answer(&mut self, status: u16, wishes: &mut Wishes) {
        let first = self.finals.is_empty();
        self.finals.push(status);
        match self.plan.aim {
            Aim::Message => return,
            Aim::Register => return self.register_again(status, wishes),
            Aim::Call => {}
        }
        if let Some(after) = self
            .plan
            .repeat_after
            .filter(|_| first && !self.agent.reliable)
        {
            // Within Timer I of the router.
            wishes
                .timers
                .push((after.min(3 * SECOND), Alarm::RepeatInvite));
        }
        if status >= 300 {
            return;
        }
        if self.hung_up {
            return self.agent.hang_up(wishes);
        }
        wishes.timers.push((self.plan.hang_up_after, Alarm::HangUp));
        if let Some(after) = self.plan.reinvite_after {
            wishes.timers.push((after, Alarm::Reinvite));
        }
    }

    /// RFC 3261 §10.3 step 7: a lower CSeq in the same Call-ID is refused.
    fn register_again(&mut self, status: u16, wishes: &mut Wishes) {
        if status != 200 {
            return;
        }
        let branch = self.agent.new_branch();
        let parts = Parts {
            method: "REGISTER",
            uri: "sip:example.com",
            from: &self.from,
            to: &self.to,
            call_id: &self.call_id,
            cseq: 4,
            more: "Expires: 600\r\n",
        };
        let text = self.agent.compose(&parts, &branch);
        self.agent.send(text, wishes);
    }
}
