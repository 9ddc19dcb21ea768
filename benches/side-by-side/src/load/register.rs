//! Answers to REGISTER and OPTIONS.

use super::caller::{Caller, Stage};
use super::digest::authorization;
use super::message::Message;
use super::verify::{self, Fault};

impl Caller {
    pub(super) fn registration_answered(
        &mut self,
        number: usize,
        message: &Message,
        status: u16,
        now: u64,
    ) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        if slot.stage == Stage::Authorizing
            && matches!(status, 401 | 407)
            && self.is_old(number, message)
        {
            self.report.late += 1;
            return;
        }
        if let Err(fault) = verify::response(message, Self::expected(slot)) {
            self.fault(number, fault);
            return;
        }
        match status {
            ..200 => {}
            200 => {
                self.answered.push(now - slot.started_ns);
                let contact = format!(
                    "<sip:{}{}@{}",
                    self.plan.prefix, slot.user, self.plan.contact
                );
                if message.has_contact(contact.as_bytes()) {
                    self.finish(number, true);
                } else {
                    self.fault(number, Fault::Contact);
                }
            }
            401 | 407 if slot.stage == Stage::Calling => self.authorize(number, message, now),
            _ => self.refused(number, status),
        }
    }

    /// Whether it answers the request without credentials, once more.
    fn is_old(&self, number: usize, message: &Message) -> bool {
        let Some(slot) = self.slots.get(number) else {
            return true;
        };
        let mut expected = Self::expected(slot);
        expected.cseq -= 1;
        verify::response(message, expected).is_ok()
    }

    /// RFC 3261 §22.2: the request again, with credentials and the next number.
    fn authorize(&mut self, number: usize, message: &Message, now: u64) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let user = format!("{}{}", self.plan.prefix, slot.user);
        let uri = format!("sip:{}", self.plan.domain);
        let header = authorization(
            message.challenge,
            &user,
            &self.plan.password,
            &uri,
            slot.serial,
        );
        let Some(header) = header else {
            self.refused(number, 401);
            return;
        };
        slot.stage = Stage::Authorizing;
        slot.cseq += 1;
        self.report.challenges += 1;
        self.send_first(number, header.as_bytes(), now);
    }

    pub(super) fn options_answered(
        &mut self,
        number: usize,
        message: &Message,
        status: u16,
        now: u64,
    ) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        if let Err(fault) = verify::response(message, Self::expected(slot)) {
            self.fault(number, fault);
        } else if status == 200 {
            self.answered.push(now - slot.started_ns);
            self.finish(number, true);
        } else if status > 200 {
            self.refused(number, status);
        }
    }
}
