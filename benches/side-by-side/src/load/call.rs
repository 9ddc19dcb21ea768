//! Answers to INVITE and BYE, as a caller takes them.

use super::caller::{Caller, Stage};
use super::message::{Message, contact_uri};
use super::sockets::Peer;
use super::template::{Digits, Gap};
use super::verify::{self, Fault};

impl Caller {
    pub(super) fn call_answered(
        &mut self,
        number: usize,
        message: &Message,
        status: u16,
        now: u64,
    ) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        let early = matches!(slot.stage, Stage::Calling | Stage::Proceeding);
        match message.method() {
            b"INVITE" if early => self.invite_answered(number, message, status, now),
            // RFC 3261 §13.2.2.4: each retransmission of the 2xx gets the ACK again.
            b"INVITE" if status >= 200 => self.acknowledge(number),
            b"INVITE" => {}
            b"BYE" if slot.stage == Stage::Ending => self.bye_answered(number, message, status),
            b"BYE" => self.report.late += 1,
            _ => self.fault(number, Fault::CSeq),
        }
    }

    fn invite_answered(&mut self, number: usize, message: &Message, status: u16, now: u64) {
        let through_proxy = self.plan.through_proxy;
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let mut checked = verify::response(message, Self::expected(slot));
        if (101..300).contains(&status) {
            checked = checked.and_then(|()| verify::dialog(message, through_proxy));
        }
        if (200..300).contains(&status) {
            checked = checked.and_then(|()| verify::session(message));
        }
        if let Err(fault) = checked {
            self.fault(number, fault);
            return;
        }
        let elapsed_ns = now - slot.started_ns;
        match status {
            100 => slot.stage = Stage::Proceeding,
            101..200 => {
                slot.stage = Stage::Proceeding;
                if !std::mem::replace(&mut slot.rang, true) {
                    self.ringing.push(elapsed_ns);
                }
            }
            200..300 => {
                self.answered.push(elapsed_ns);
                self.begin_dialog(number, message, now);
            }
            _ => {
                self.acknowledge_refusal(number, message);
                self.refused(number, status);
            }
        }
    }

    /// Acknowledges, and has the BYE ready for the end of the call.
    fn begin_dialog(&mut self, number: usize, message: &Message, now: u64) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let Some(script) = self.scripts.get(slot.script) else {
            return;
        };
        // RFC 3261 §12.1.2: the route set is the Record-Route in reverse order.
        let mut routes = Vec::new();
        for route in message.record_routes.iter().rev() {
            routes.extend_from_slice(b"Route: ");
            routes.extend_from_slice(route);
            routes.extend_from_slice(b"\r\n");
        }
        let key = &slot.key;
        let value = |gap, cseq: &'static [u8]| match gap {
            Gap::Target => contact_uri(message.contact),
            Gap::Key => key.as_slice(),
            Gap::Routes => routes.as_slice(),
            Gap::From => message.from,
            Gap::To => message.to,
            Gap::Call => message.call_id,
            Gap::CSeq => cseq,
            _ => b"",
        };
        script
            .acknowledge
            .fill(&mut slot.acknowledge, |gap| value(gap, b"1"));
        script.bye.fill(&mut slot.request, |gap| value(gap, b"2"));
        slot.cseq = 2;
        slot.stage = Stage::Up;
        let hold_ns = self.plan.hold_ms.saturating_mul(1_000_000);
        self.holds.push_back((now + hold_ns, number, slot.serial));
        self.acknowledge(number);
    }

    fn acknowledge(&mut self, number: usize) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        if let Some(server) = self.server(slot.script)
            && !slot.acknowledge.is_empty()
        {
            self.sockets.send(server, &slot.acknowledge);
        }
    }

    fn acknowledge_refusal(&mut self, number: usize, message: &Message) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        let Some(script) = self.scripts.get(slot.script) else {
            return;
        };
        let user = Digits::new(slot.user);
        let key = &slot.key;
        script.refused.fill(&mut slot.acknowledge, |gap| match gap {
            Gap::User => user.as_bytes(),
            Gap::Key => key,
            Gap::From => message.from,
            Gap::To => message.to,
            Gap::Call => message.call_id,
            _ => b"",
        });
        self.acknowledge(number);
    }

    fn server(&self, script: usize) -> Option<Peer> {
        Some(self.scripts.get(script)?.server)
    }

    fn bye_answered(&mut self, number: usize, message: &Message, status: u16) {
        let Some(slot) = self.slots.get(number) else {
            return;
        };
        if let Err(fault) = verify::response(message, Self::expected(slot)) {
            self.fault(number, fault);
        } else if status >= 300 {
            self.refused(number, status);
        } else if status >= 200 {
            self.finish(number, true);
        }
    }
}
