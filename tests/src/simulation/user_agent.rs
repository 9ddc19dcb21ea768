//! What caller and callee have in common: the transactions and dialogs of a user agent (RFC 3261 §8, §12, §13 and §17, RFC 3262).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Alarm, T1, T2, Wishes, branch};
use crate::agent::SDP;
use crate::text::Text;

/// A dialog as one side has it.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    /// A 2xx made it, not a provisional response.
    pub(crate) confirmed: bool,
    /// A BYE was sent.
    pub(crate) left: bool,
}

/// Call-ID, and local and remote tag.
pub(crate) type DialogKey = (String, String);

/// An INVITE that came, and what it was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) invite: Text,
    /// 0: no final response yet.
    pub(crate) status: u16,
    pub(crate) acknowledged: bool,
    /// A reliable provisional response was sent, and its PRACK came.
    pub(crate) provisional: Option<bool>,
    last: Option<String>,
}

/// What a response means for its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Provisional,
    Final,
    /// The same final response once more.
    Again,
}

/// One user agent.
#[derive(Debug)]
pub(crate) struct UserAgent {
    name: String,
    pub(crate) address: SocketAddr,
    pub(crate) reliable: bool,
    branches: u32,
    /// Requests that are sent again until they are answered, by branch.
    pending: BTreeMap<String, String>,
    /// INVITEs that were sent, by branch.
    invites: BTreeMap<String, Text>,
    finals: BTreeSet<(String, u16, String)>,
    /// By Call-ID, CSeq number and remote tag.
    acks: BTreeMap<(String, String, String), String>,
    pub(crate) dialogs: BTreeMap<DialogKey, Dialog>,
    pub(crate) answers: Vec<Answer>,
    /// Requests that nobody answered: Call-ID and method.
    pub(crate) unanswered: Vec<(String, String)>,
    /// Reliable provisional responses without PRACK: the Call-IDs.
    pub(crate) unheard: Vec<String>,
    /// Answers that should not have come: Call-ID and what.
    pub(crate) complaints: Vec<(String, String)>,
}

/// The parts of a request that differ.
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    pub(crate) more: &'a str,
}

impl UserAgent {
    pub(crate) fn new(name: String, address: SocketAddr, reliable: bool) -> UserAgent {
        UserAgent {
            name,
            address,
            reliable,
            branches: 0,
            pending: BTreeMap::new(),
            invites: BTreeMap::new(),
            finals: BTreeSet::new(),
            acks: BTreeMap::new(),
            dialogs: BTreeMap::new(),
            answers: Vec::new(),
            unanswered: Vec::new(),
            unheard: Vec::new(),
            complaints: Vec::new(),
        }
    }

    pub(crate) fn new_branch(&mut self) -> String {
        self.branches += 1;
        format!("z9hG4bK{}x{}", self.name, self.branches)
    }

    pub(crate) fn compose(&self, parts: &Parts<'_>, branch: &str) -> String {
        let Parts {
            method,
            uri,
            from,
            to,
            call_id,
            cseq,
            more,
        } = parts;
        let (address, transport) = (self.address, if self.reliable { "TCP" } else { "UDP" });
        let body = if *method == "INVITE" { SDP } else { "" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {address};branch={branch};rport\r\nMax-Forwards: 70\r\n{more}\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <{}>\r\nSupported: 100rel\r\nContent-Length: {}\r\n\r\n{body}",
            self.contact(),
            body.len()
        )
    }

    fn contact(&self) -> String {
        format!(
            "sip:{}@{}{}",
            self.name,
            self.address,
            if self.reliable { ";transport=tcp" } else { "" }
        )
    }

    /// RFC 3261 §17.1: sends a request, and again while it is unanswered.
    pub(crate) fn send(&mut self, text: String, wishes: &mut Wishes) {
        let parsed = Text::parse(text.as_bytes());
        let branch = branch(&parsed);
        wishes.send.push(text.clone());
        // A CANCEL has the branch of its INVITE.
        let name = if parsed.method() == "CANCEL" {
            format!("{branch} CANCEL")
        } else {
            branch.clone()
        };
        wishes.timers.push((T1, Alarm::Repeat(name.clone(), T1)));
        self.pending.insert(name, text);
        if parsed.method() == "INVITE" {
            self.invites.insert(branch, parsed);
        }
    }

    fn repeat(&mut self, name: &str, waited: u64, wishes: &mut Wishes) {
        let Some(text) = self.pending.get(name) else {
            return;
        };
        let request = Text::parse(text.as_bytes());
        if waited >= 64 * T1 {
            self.unanswered.push((
                request.header("Call-ID").to_owned(),
                request.method().to_owned(),
            ));
            self.pending.remove(name);
            return;
        }
        if !self.reliable {
            wishes.send.push(text.clone());
        }
        let step = if request.method() == "INVITE" {
            waited
        } else {
            waited.min(T2)
        };
        wishes
            .timers
            .push((step, Alarm::Repeat(name.to_owned(), waited + step)));
    }

    /// A request inside a dialog.
    pub(crate) fn send_in_dialog(
        &mut self,
        key: &DialogKey,
        method: &str,
        more: &str,
        wishes: &mut Wishes,
    ) {
        let branch = self.new_branch();
        let Some(dialog) = self.dialogs.get_mut(key) else {
            return;
        };
        dialog.cseq += 1;
        let dialog = dialog.clone();
        let text = self.compose_in_dialog(&dialog, method, dialog.cseq, more, &branch);
        self.send(text, wishes);
    }

    fn compose_in_dialog(
        &self,
        dialog: &Dialog,
        method: &str,
        cseq: u32,
        more: &str,
        branch: &str,
    ) -> String {
        let routes: String = dialog
            .routes
            .iter()
            .map(|route| format!("Route: {route}\r\n"))
            .collect();
        let (uri, from, to, call_id) = (
            &dialog.target,
            &dialog.local,
            &dialog.remote,
            &dialog.call_id,
        );
        self.compose(
            &Parts {
                method,
                uri,
                from,
                to,
                call_id,
                cseq,
                more: &format!("{routes}{more}"),
            },
            branch,
        )
    }

    /// Ends every dialog that a 2xx made and that was not ended yet.
    pub(crate) fn hang_up(&mut self, wishes: &mut Wishes) {
        let open: Vec<DialogKey> = self
            .dialogs
            .iter()
            .filter(|(_, dialog)| dialog.confirmed && !dialog.left)
            .map(|(key, _)| key.clone())
            .collect();
        for key in open {
            self.leave(&key, wishes);
        }
    }

    pub(crate) fn leave(&mut self, key: &DialogKey, wishes: &mut Wishes) {
        if let Some(dialog) = self.dialogs.get_mut(key) {
            dialog.left = true;
        }
        self.send_in_dialog(key, "BYE", "", wishes);
    }

    /// Whether any request still waits for its answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A response to a request of this agent: what every user agent does with it.
    pub(crate) fn on_response(&mut self, response: &Text, wishes: &mut Wishes) -> Heard {
        let (branch, status, tag) = (
            branch(response),
            response.status(),
            response.parameter("To", "tag").unwrap_or_default(),
        );
        let is_invite = response.method() == "INVITE";
        if status < 200 {
            if is_invite {
                // RFC 3261 §17.1.1.2: a provisional response ends the retransmission of an INVITE.
                self.pending.remove(&branch);
                self.confirm_provisional(response, &tag, wishes);
            }
            return Heard::Provisional;
        }
        let name = if response.method() == "CANCEL" {
            format!("{branch} CANCEL")
        } else {
            branch.clone()
        };
        self.pending.remove(&name);
        if is_invite {
            self.acknowledge(response, &branch, &tag, wishes);
        }
        if self.finals.insert((name, status, tag)) {
            Heard::Final
        } else {
            Heard::Again
        }
    }

    /// Notes an answer that should not have come.
    pub(crate) fn complain(&mut self, response: &Text, why: &str) {
        let what = format!("{why}: {} to {}", response.start, response.header("CSeq"));
        self.complaints
            .push((response.header("Call-ID").to_owned(), what));
    }

    /// RFC 3262 §4: PRACK for a reliable provisional response.
    fn confirm_provisional(&mut self, response: &Text, tag: &str, wishes: &mut Wishes) {
        let number = response.header("RSeq");
        let key = key_of(response, tag);
        if number.is_empty() || self.dialogs.contains_key(&key) {
            return;
        }
        self.dialogs
            .insert(key.clone(), dialog_of_caller(response, false));
        self.send_in_dialog(
            &key,
            "PRACK",
            &format!("RAck: {number} {}\r\n", response.header("CSeq")),
            wishes,
        );
    }

    fn acknowledge(&mut self, response: &Text, branch: &str, tag: &str, wishes: &mut Wishes) {
        let Some(invite) = self.invites.get(branch).cloned() else {
            return;
        };
        if response.status() >= 300 {
            let (from, to, call_id) = (
                invite.header("From"),
                response.header("To"),
                invite.header("Call-ID"),
            );
            let routes: String = invite
                .headers("Route")
                .map(|route| format!("Route: {route}\r\n"))
                .collect();
            let parts = Parts {
                method: "ACK",
                uri: invite.uri(),
                from,
                to,
                call_id,
                cseq: number(&invite),
                more: &routes,
            };
            wishes.send.push(self.compose(&parts, branch));
            return;
        }
        let key = key_of(response, tag);
        let fresh = dialog_of_caller(response, true);
        let dialog = self
            .dialogs
            .entry(key.clone())
            .or_insert_with(|| fresh.clone());
        if !dialog.confirmed {
            *dialog = Dialog {
                cseq: dialog.cseq,
                ..fresh
            };
        }
        let dialog = dialog.clone();
        let ack_key = (key.0, response.header("CSeq").to_owned(), key.1);
        if !self.acks.contains_key(&ack_key) {
            let branch = self.new_branch();
            let text = self.compose_in_dialog(&dialog, "ACK", number(&invite), "", &branch);
            self.acks.insert(ack_key.clone(), text);
        }
        wishes.send.push(self.acks[&ack_key].clone());
    }

    /// An INVITE that is new gets a number; the copy of a known one is answered like the first.
    pub(crate) fn on_invite(&mut self, invite: &Text, wishes: &mut Wishes) -> Option<usize> {
        if let Some(known) = self
            .answers
            .iter()
            .find(|answer| branch(&answer.invite) == branch(invite))
        {
            wishes.send.extend(known.last.clone());
            return None;
        }
        self.answers.push(Answer {
            invite: invite.clone(),
            status: 0,
            acknowledged: false,
            provisional: None,
            last: None,
        });
        Some(self.answers.len() - 1)
    }

    /// What every user agent does with a request other than INVITE; the number of the INVITE that is concerned.
    pub(crate) fn on_request(&mut self, request: &Text, wishes: &mut Wishes) -> Option<usize> {
        match request.method() {
            "ACK" => return self.on_ack(request),
            "CANCEL" => return self.on_cancel(request, wishes),
            "PRACK" => {
                let tag = request.parameter("To", "tag").unwrap_or_default();
                let confirmed = self
                    .answers
                    .iter_mut()
                    .filter(|answer| to_tag(&answer.invite) == tag);
                confirmed.for_each(|answer| answer.provisional = answer.provisional.map(|_| true));
            }
            _ => {}
        }
        wishes.send.push(self.response(request, 200, ""));
        None
    }

    fn on_ack(&mut self, ack: &Text) -> Option<usize> {
        let of = |answer: &Answer| {
            let is_same = |name| ack.header(name) == answer.invite.header(name);
            let is_same_dialog =
                is_same("Call-ID") && is_same("From") && number(ack) == number(&answer.invite);
            let of_success = answer.status == 200
                && is_same_dialog
                && ack.parameter("To", "tag") == Some(to_tag(&answer.invite));
            of_success || answer.status >= 300 && branch(ack) == branch(&answer.invite)
        };
        let at = self.answers.iter().position(of)?;
        let is_first = !self.answers[at].acknowledged;
        self.answers[at].acknowledged = true;
        (is_first && self.answers[at].status == 200).then_some(at)
    }

    fn on_cancel(&mut self, cancel: &Text, wishes: &mut Wishes) -> Option<usize> {
        wishes.send.push(self.response(cancel, 200, ""));
        let at = self
            .answers
            .iter()
            .position(|answer| branch(&answer.invite) == branch(cancel) && answer.status == 0)?;
        self.finish(at, 487, wishes);
        Some(at)
    }

    /// Sends a provisional response; a reliable one again and again until its PRACK comes (RFC 3262 §3).
    pub(crate) fn ring(&mut self, at: usize, reliably: bool, wishes: &mut Wishes) {
        if self.answers[at].status != 0 {
            return;
        }
        let more = if reliably {
            "Require: 100rel\r\nRSeq: 1\r\n"
        } else {
            ""
        };
        let text = self.response(&self.answers[at].invite, 180, more);
        self.answers[at].last = Some(text.clone());
        wishes.send.push(text);
        if reliably {
            self.answers[at].provisional = Some(false);
            wishes.timers.push((T1, Alarm::RepeatProvisional(at, T1)));
        }
    }

    /// Whether the answer has to wait for a PRACK.
    pub(crate) fn awaits_prack(&self, at: usize) -> bool {
        self.answers[at].provisional == Some(false)
    }

    fn repeat_provisional(&mut self, at: usize, waited: u64, wishes: &mut Wishes) {
        let answer = &self.answers[at];
        if answer.status != 0 || answer.provisional == Some(true) {
            return;
        }
        if waited >= 64 * T1 {
            self.unheard
                .push(answer.invite.header("Call-ID").to_owned());
            return self.finish(at, 504, wishes);
        }
        wishes.send.extend(answer.last.clone());
        wishes
            .timers
            .push((waited, Alarm::RepeatProvisional(at, waited * 2)));
    }

    pub(crate) fn finish(&mut self, at: usize, status: u16, wishes: &mut Wishes) {
        let text = self.response(&self.answers[at].invite, status, "");
        self.answers[at].status = status;
        self.answers[at].last = Some(text.clone());
        wishes.send.push(text);
        wishes.timers.push((T1, Alarm::RepeatFinal(at, T1)));
        if status == 200 {
            let invite = self.answers[at].invite.clone();
            let key = self.dialog_of(at);
            self.dialogs
                .entry(key)
                .or_insert_with(|| dialog_of_callee(&invite));
        }
    }

    /// The dialog that answering this INVITE made.
    pub(crate) fn dialog_of(&self, at: usize) -> DialogKey {
        let invite = &self.answers[at].invite;
        let remote = invite.parameter("From", "tag").unwrap_or_default();
        (
            invite.header("Call-ID").to_owned(),
            format!("{}/{remote}", to_tag(invite)),
        )
    }

    /// RFC 3261 §13.3.1.4 and §17.2.1: a final response is repeated until its ACK; a 2xx on every transport.
    fn repeat_final(&mut self, at: usize, waited: u64, wishes: &mut Wishes) {
        let answer = &self.answers[at];
        if answer.acknowledged || waited >= 64 * T1 {
            return;
        }
        if answer.status == 200 || !self.reliable {
            wishes.send.extend(answer.last.clone());
        }
        let step = waited.min(T2);
        wishes
            .timers
            .push((step, Alarm::RepeatFinal(at, waited + step)));
    }

    /// A timer that every user agent has.
    pub(crate) fn on_alarm(&mut self, alarm: &Alarm, wishes: &mut Wishes) {
        match alarm {
            Alarm::Repeat(name, waited) => self.repeat(name, *waited, wishes),
            Alarm::RepeatFinal(at, waited) => self.repeat_final(*at, *waited, wishes),
            Alarm::RepeatProvisional(at, waited) => self.repeat_provisional(*at, *waited, wishes),
            _ => {}
        }
    }

    pub(crate) fn response(&self, request: &Text, status: u16, more: &str) -> String {
        let mut text = format!("SIP/2.0 {status} Sim\r\n");
        for (name, value) in &request.headers {
            match name.to_ascii_lowercase().as_str() {
                "via" | "from" | "call-id" | "cseq" | "record-route" => {
                    text.push_str(&format!("{name}: {value}\r\n"))
                }
                "to" if value.contains(";tag=") => text.push_str(&format!("To: {value}\r\n")),
                "to" => text.push_str(&format!("To: {value};tag={}\r\n", to_tag(request))),
                _ => {}
            }
        }
        text.push_str(&format!(
            "Contact: <{}>\r\n{more}Content-Length: 0\r\n\r\n",
            self.contact()
        ));
        text
    }
}

/// RFC 3261 §12.1.2: the caller's route set is the Record-Route in reverse.
fn dialog_of_caller(response: &Text, confirmed: bool) -> Dialog {
    let mut routes = record_route(response);
    routes.reverse();
    Dialog {
        call_id: response.header("Call-ID").to_owned(),
        local: response.header("From").to_owned(),
        remote: response.header("To").to_owned(),
        target: response.uri_in("Contact"),
        routes,
        cseq: number(response),
        confirmed,
        left: false,
    }
}

/// RFC 3261 §12.1.1: the callee's route set is the Record-Route as it is.
fn dialog_of_callee(invite: &Text) -> Dialog {
    let to = invite.header("To");
    let local = if to.contains(";tag=") {
        to.to_owned()
    } else {
        format!("{to};tag={}", to_tag(invite))
    };
    Dialog {
        call_id: invite.header("Call-ID").to_owned(),
        local,
        remote: invite.header("From").to_owned(),
        target: invite.uri_in("Contact"),
        routes: record_route(invite),
        cseq: 100,
        confirmed: true,
        left: false,
    }
}

fn key_of(response: &Text, remote: &str) -> DialogKey {
    let local = response.parameter("From", "tag").unwrap_or_default();
    (
        response.header("Call-ID").to_owned(),
        format!("{local}/{remote}"),
    )
}

fn record_route(message: &Text) -> Vec<String> {
    message
        .headers("Record-Route")
        .flat_map(|value| value.split(','))
        .map(|route| route.trim().to_owned())
        .collect()
}

fn number(message: &Text) -> u32 {
    message
        .header("CSeq")
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// One dialog per branch: the tag tells the branch.
fn to_tag(request: &Text) -> String {
    request
        .parameter("To", "tag")
        .unwrap_or_else(|| format!("t{}", branch(request)))
}
