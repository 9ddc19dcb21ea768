//! A caller: one INVITE, perhaps a CANCEL, an ACK for each answer, a BYE.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Alarm, T1, T2, Wishes};
use crate::agent::SDP;
use crate::text::Text;

/// What a caller does, drawn before the run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The user that is called.
    pub(crate) callee: String,
    /// Microseconds after the INVITE.
    pub(crate) cancel_after: Option<u64>,
    /// Microseconds after the answer.
    pub(crate) hang_up_after: u64,
    /// REGISTER instead of calling.
    pub(crate) registers: bool,
    /// Nothing is lost and nothing repeated.
    pub(crate) reliable: bool,
}

/// One caller with its one call.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) plan: Plan,
    pub(crate) call_id: String,
    address: SocketAddr,
    invite: String,
    /// Requests that are sent again until they are answered.
    pending: BTreeMap<&'static str, String>,
    rang: bool,
    cancelled: bool,
    /// Status and To tag of each final response to the INVITE.
    pub(crate) finals: Vec<(u16, String)>,
    acks: BTreeMap<String, String>,
    byes: BTreeMap<String, String>,
    pub(crate) ended: bool,
    pub(crate) gave_up: bool,
}

impl Caller {
    pub(crate) fn new(number: usize, address: SocketAddr, plan: Plan) -> Caller {
        Caller {
            plan,
            call_id: format!("call-{number}@sim"),
            address,
            invite: String::new(),
            pending: BTreeMap::new(),
            rang: false,
            cancelled: false,
            finals: Vec::new(),
            acks: BTreeMap::new(),
            byes: BTreeMap::new(),
            ended: false,
            gave_up: false,
        }
    }

    /// Whether the call has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        match self.finals.first() {
            None => false,
            Some((status, _)) => *status >= 300 || self.plan.registers || self.ended,
        }
    }

    pub(crate) fn on_alarm(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        match alarm {
            Alarm::Start => self.start(wishes),
            Alarm::Repeat(kind, waited) => self.repeat(kind, *waited, wishes),
            Alarm::Cancel => self.cancel(wishes),
            Alarm::HangUp => self.hang_up(wishes),
            _ => {}
        }
    }

    fn start(&mut self, wishes: &mut Wishes) {
        let method = if self.plan.registers { "REGISTER" } else { "INVITE" };
        let uri = if self.plan.registers { "sip:example.com".to_owned() } else { format!("sip:{}@example.com", self.plan.callee) };
        let to = format!("<sip:{}@example.com>", self.plan.callee);
        self.invite = self.request(method, &uri, &to, "first", 1, "");
        self.send("first", self.invite.clone(), wishes);
        if let Some(after) = self.plan.cancel_after {
            wishes.timers.push((after, Alarm::Cancel));
        }
    }

    fn request(&self, method: &str, uri: &str, to: &str, branch: &str, cseq: u32, routes: &str) -> String {
        let (address, call_id) = (self.address, &self.call_id);
        let transport = if self.plan.reliable { "TCP" } else { "UDP" };
        let body = if method == "INVITE" { SDP } else { "" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch=z9hG4bK{call_id}{branch};rport\r\nMax-Forwards: 70\r\n{routes}\
             From: <sip:caller@example.com>;tag={call_id}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:caller@{address}>\r\nExpires: 600\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// RFC 3261 §17.1: sends a request, and again while it is unanswered.
    fn send(&mut self, kind: &'static str, text: String, wishes: &mut Wishes) {
        wishes.send.push(text.clone());
        self.pending.insert(kind, text);
        wishes.timers.push((T1, Alarm::Repeat(kind, T1)));
    }

    fn repeat(&mut self, kind: &'static str, waited: u64, wishes: &mut Wishes) {
        let Some(text) = self.pending.get(kind) else { return };
        if waited >= 64 * T1 {
            self.pending.remove(kind);
            self.gave_up = true;
            return;
        }
        if !self.plan.reliable {
            wishes.send.push(text.clone());
        }
        let capped = kind != "first" || self.plan.registers;
        let step = if capped { waited.min(T2) } else { waited };
        wishes.timers.push((step, Alarm::Repeat(kind, waited + step)));
    }

    fn cancel(&mut self, wishes: &mut Wishes) {
        self.cancelled = true;
        // RFC 3261 §9.1: not before a provisional response, and in vain after a final one.
        if self.rang && self.finals.is_empty() {
            let text = self.invite_again("CANCEL", "");
            self.send("cancel", text, wishes);
        }
    }

    /// A request with the start line, Via, To and CSeq number of the INVITE.
    fn invite_again(&self, method: &str, to_tag: &str) -> String {
        let to = format!("<sip:{}@example.com>{to_tag}", self.plan.callee);
        self.request(method, &format!("sip:{}@example.com", self.plan.callee), &to, "first", 1, "")
    }

    fn hang_up(&mut self, wishes: &mut Wishes) {
        let byes: Vec<String> = self.byes.values().cloned().collect();
        for (bye, kind) in byes.into_iter().zip(["bye 1", "bye 2", "bye 3"]) {
            self.send(kind, bye, wishes);
        }
    }

    pub(crate) fn on_response(&mut self, response: &Text, wishes: &mut Wishes) {
        match response.method() {
            "INVITE" | "REGISTER" => self.on_answer(response, wishes),
            "CANCEL" => {
                self.pending.remove("cancel");
            }
            "BYE" if response.status() >= 200 => self.on_bye_answer(response),
            _ => {}
        }
    }

    fn on_bye_answer(&mut self, response: &Text) {
        assert_eq!(response.status(), 200, "a BYE in an established dialog is answered by the callee: {response:?}");
        self.pending.retain(|kind, text| !(kind.starts_with("bye") && text.contains(response.header("To"))));
        self.ended = !self.pending.keys().any(|kind| kind.starts_with("bye"));
    }

    fn on_answer(&mut self, response: &Text, wishes: &mut Wishes) {
        let (status, tag) = (response.status(), response.parameter("To", "tag").unwrap_or_default());
        if status < 200 {
            let first = !self.rang;
            self.rang = true;
            if self.plan.registers || self.finals.is_empty() {
                self.keep_waiting();
            }
            if first && self.cancelled && self.finals.is_empty() {
                self.cancel(wishes);
            }
            return;
        }
        self.pending.remove("first");
        if !self.finals.contains(&(status, tag.clone())) {
            self.finals.push((status, tag.clone()));
        }
        match status {
            _ if self.plan.registers => {}
            200..300 => self.on_success(response, tag, wishes),
            _ => wishes.send.push(self.invite_again("ACK", &format!(";tag={tag}"))),
        }
    }

    /// RFC 3261 §17.1.1.2: a provisional response ends the retransmission of an INVITE.
    fn keep_waiting(&mut self) {
        if !self.plan.registers {
            self.pending.remove("first");
        }
    }

    fn on_success(&mut self, response: &Text, tag: String, wishes: &mut Wishes) {
        if !self.acks.contains_key(&tag) {
            let routes: String = response.headers("Record-Route").flat_map(|value| value.split(',')).map(|route| format!("Route: {}\r\n", route.trim())).rev_lines();
            let (uri, to) = (response.uri_in("Contact"), response.header("To").to_owned());
            let number = self.acks.len();
            self.acks.insert(tag.clone(), self.request("ACK", &uri, &to, &format!("ack{number}"), 1, &routes));
            self.byes.insert(tag.clone(), self.request("BYE", &uri, &to, &format!("bye{number}"), 2, &routes));
            if number == 0 {
                wishes.timers.push((self.plan.hang_up_after, Alarm::HangUp));
            }
        }
        wishes.send.push(self.acks[&tag].clone());
    }
}

trait RevLines {
    fn rev_lines(self) -> String;
}

impl<I: Iterator<Item = String>> RevLines for I {
    /// RFC 3261 §12.1.2: the caller's route set is the Record-Route in reverse.
    fn rev_lines(self) -> String {
        let mut lines: Vec<String> = self.collect();
        lines.reverse();
        lines.concat()
    }
}
