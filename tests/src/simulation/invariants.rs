//! What must hold after each step, whatever the network and the phones do.

use std::collections::{BTreeMap, BTreeSet};

use patchbay_message::{Limits, Message};

use super::branch;
use crate::text::Text;

/// What the checks remember.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    /// For each transaction of a caller (branch and CSeq method) the final responses that the router sent: status and To tag.
    finals: BTreeMap<String, Vec<(u16, String)>>,
    /// Branches of ours on which a provisional response has come in.
    rang: BTreeSet<String>,
    /// Branches of ours on which an INVITE has gone out.
    invited: BTreeSet<String>,
}

impl Invariants {
    /// A message that came to the router.
    pub(crate) fn on_input(&mut self, message: &Text) {
        if (101..200).contains(&message.status()) || message.status() == 100 {
            self.rang.insert(branch(message));
        }
    }

    /// A message that the router sends.
    pub(crate) fn on_output(&mut self, bytes: &[u8]) {
        let message = Message::parse(bytes, &Limits::default()).unwrap_or_else(|error| panic!("the router sends no SIP: {error}"));
        message.validate().unwrap_or_else(|error| panic!("the router sends a broken message: {error}\n{}", String::from_utf8_lossy(bytes)));
        let text = Text::parse(bytes);
        match text.status() {
            0 => self.on_request(&text),
            _ => self.on_response(&text),
        }
    }

    fn on_request(&mut self, request: &Text) {
        assert_eq!(request.header("Max-Forwards"), if is_own(request) { "70" } else { "69" }, "{request:?}");
        let vias = request.headers("Via").count();
        assert_eq!(vias, if is_own(request) { 1 } else { 2 }, "{request:?}");
        if request.method() == "INVITE" {
            self.invited.insert(branch(request));
        }
        if request.method() == "CANCEL" {
            assert!(self.invited.contains(&branch(request)), "a CANCEL of an INVITE that was never sent: {request:?}");
            assert!(self.rang.contains(&branch(request)), "RFC 3261 §9.1: a CANCEL before any provisional response: {request:?}");
        }
    }

    fn on_response(&mut self, response: &Text) {
        assert_eq!(response.headers("Via").count(), 1, "one Via is left for the caller: {response:?}");
        let (status, tag) = (response.status(), response.parameter("To", "tag").unwrap_or_default());
        let key = format!("{} {} {}", branch(response), response.method(), response.header("Call-ID"));
        let finals = self.finals.entry(key).or_default();
        let is_invite = response.method() == "INVITE";
        if status < 200 {
            assert!(finals.is_empty(), "a provisional after a final response: {response:?}");
            return;
        }
        let this = (status, tag);
        if finals.contains(&this) {
            return;
        }
        // Several 2xx, one per dialog, are what forking an INVITE may give. A 2xx may also overtake a failure.
        let may_follow = is_invite && status < 300;
        assert!(finals.is_empty() || may_follow, "two final responses, {finals:?} and then {response:?}");
        finals.push(this);
    }
}

/// Made by the router for one of its branches, and hop by hop: CANCEL and the ACK to a failure.
fn is_own(request: &Text) -> bool {
    request.method() == "CANCEL" || (request.method() == "ACK" && request.headers("Via").count() == 1)
}
