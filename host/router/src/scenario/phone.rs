//! A phone: a user agent that does by itself what every user agent does, and for the rest what a scenario says.
//!
//! By itself it acknowledges (RFC 3261 §13.2.2.4, §17.1.1.3), answers a CANCEL (§9.2), absorbs retransmissions, answers challenges when
//! it has a password (§22.2), and keeps its dialogs (§12).

mod requests;

use std::net::SocketAddr;
use std::sync::Arc;

use patchbay_core::door::{Flow, Transport};
use patchbay_message::{HeaderName, Message, Method};

use super::compose::{Composed, SDP, header, text};
use super::dialog::Call;
use super::digest::Credentials;
use crate::config::scenario::{AnswerWith, PhoneSetup, user};

/// A phone and all it has seen and done.
#[derive(Debug)]
pub(super) struct Phone {
    pub(super) setup: PhoneSetup,
    /// How its messages come to the router.
    pub(super) flow: Flow,
    /// What it was sent, in order, requests that came again left out.
    pub(super) seen: Vec<Seen>,
    sent: Vec<Sent>,
    served: Vec<Served>,
    calls: Vec<Call>,
    branches: u32,
}

/// A message that came.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) message: Arc<Message>,
    /// Microseconds from the start.
    pub(super) at: u64,
    /// Whether a scenario may leave it out.
    pub(super) is_optional: bool,
    /// Whether it is a final response that came before: to a request that was sent again, or because nobody acknowledged it.
    pub(super) is_copy: bool,
    /// Whether a step has expected it.
    pub(super) is_taken: bool,
    /// The request in the list of those to answer.
    pub(super) request: Option<usize>,
}

/// Where a message of a phone goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// To the router.
    Router,
    /// To somebody there, without the router.
    At(Transport, SocketAddr),
}

/// A message of a phone.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Peer,
    pub(super) bytes: Vec<u8>,
}

/// A request that the phone sent.
#[derive(Debug)]
struct Sent {
    branch: String,
    message: Arc<Message>,
    call: usize,
    /// To send it again with credentials.
    composed: Option<Composed>,
    to: Peer,
    /// Status and To tag of the final responses.
    finals: Vec<(u16, String)>,
    /// A challenge was answered already.
    is_authenticated: bool,
}

/// A request that the phone got.
#[derive(Debug)]
struct Served {
    message: Arc<Message>,
    peer: Peer,
    call: Option<usize>,
    tag: String,
    last: Option<Vec<u8>>,
    is_final: bool,
}

impl Phone {
    pub(super) fn new(setup: PhoneSetup, flow: Flow) -> Phone {
        Phone {
            setup,
            flow,
            seen: Vec::new(),
            sent: Vec::new(),
            served: Vec::new(),
            calls: Vec::new(),
            branches: 0,
        }
    }

    /// Takes a message from a peer; what it does about it by itself.
    pub(super) fn receive(&mut self, message: Message, peer: Peer, at: u64) -> Vec<Outgoing> {
        let message = Arc::new(message);
        if message.is_request() {
            self.on_request(&message, peer, at)
        } else {
            self.on_response(&message, at)
        }
    }

    fn see(&mut self, message: &Arc<Message>, at: u64, is_optional: bool, request: Option<usize>) {
        self.seen.push(Seen {
            message: Arc::clone(message),
            at,
            is_optional,
            is_copy: false,
            is_taken: false,
            request,
        });
    }

    fn on_request(&mut self, message: &Arc<Message>, peer: Peer, at: u64) -> Vec<Outgoing> {
        let method = message.method();
        if method == Method::Ack {
            self.see(message, at, true, None);
            return Vec::new();
        }
        if let Some(known) = self
            .served
            .iter()
            .find(|known| is_same(&known.message, message))
        {
            let again = known.last.clone();
            return again
                .map(|bytes| Outgoing { to: peer, bytes })
                .into_iter()
                .collect();
        }
        let tag = format!("{}{}", self.setup.name, self.served.len() + 1);
        let call = self.call_of_request(message, &tag);
        let number = self.served.len();
        self.served.push(Served {
            message: Arc::clone(message),
            peer,
            call,
            tag,
            last: None,
            is_final: false,
        });
        self.see(message, at, method == Method::Cancel, Some(number));
        if method == Method::Cancel {
            return self.on_cancel(number);
        }
        Vec::new()
    }

    /// RFC 3261 §9.2: 200 to the CANCEL, 487 to what it cancels.
    fn on_cancel(&mut self, cancel: usize) -> Vec<Outgoing> {
        let branch = self
            .served
            .get(cancel)
            .and_then(|served| served.message.top_branch());
        let invite = self.served.iter().position(|served| {
            served.message.method() == Method::Invite
                && !served.is_final
                && served.message.top_branch() == branch
        });
        let mut answers = Vec::new();
        answers.extend(self.respond(cancel, &AnswerWith::status(200)));
        if let Some(invite) = invite {
            answers.extend(self.respond(invite, &AnswerWith::status(487)));
        }
        answers
    }

    /// The call that a request belongs to, or makes.
    fn call_of_request(&mut self, message: &Message, tag: &str) -> Option<usize> {
        if message.to_tag().is_some() {
            return self
                .calls
                .iter()
                .position(|call| call.is_of_request(message));
        }
        let makes_dialog = matches!(
            message.method(),
            Method::Invite | Method::Subscribe | Method::Refer
        );
        makes_dialog.then(|| {
            self.calls.push(Call::of_callee(message, tag));
            self.calls.len() - 1
        })
    }

    /// Whether a request of its own waits for its final response.
    pub(super) fn awaits_response(&self) -> bool {
        let is_answered = |open: &Sent| {
            self.sent
                .iter()
                .any(|sent| !sent.finals.is_empty() && is_same(&sent.message, &open.message))
        };
        self.sent
            .iter()
            .any(|sent| sent.finals.is_empty() && !is_answered(sent))
    }

    /// Whether a request of that number waits for its final response.
    pub(super) fn is_open(&self, request: usize) -> bool {
        self.served
            .get(request)
            .is_some_and(|served| !served.is_final)
    }

    /// The method of a request that waits for its final response.
    pub(super) fn open_method(&self, request: usize) -> Option<String> {
        let served = self.served.get(request).filter(|served| !served.is_final)?;
        Some(text(served.message.method().as_bytes()))
    }

    /// Answers the request of that number, unless it has a final response already.
    pub(super) fn respond(&mut self, request: usize, with: &AnswerWith) -> Option<Outgoing> {
        let contact = self.contact();
        let served = self
            .served
            .get_mut(request)
            .filter(|served| !served.is_final)?;
        let message = &served.message;
        let mut response =
            Composed::response(message, with.status, with.reason.as_deref(), &served.tag);
        let makes_dialog = message.method() == Method::Invite && (101..300).contains(&with.status);
        if makes_dialog || (with.status < 300 && message.method() == Method::Subscribe) {
            response.field("Contact", contact);
        }
        match &with.body {
            Some(body) => response.body(body),
            None if message.method() == Method::Invite && (200..300).contains(&with.status) => {
                response.body(SDP);
            }
            None => {}
        }
        response.edit(&with.headers);
        let bytes = response.bytes();
        served.is_final = with.status >= 200;
        served.last = Some(bytes.clone());
        if let Some(call) = served.call.and_then(|call| self.calls.get_mut(call))
            && (200..300).contains(&with.status)
        {
            call.is_established = true;
        }
        Some(Outgoing {
            to: served.peer,
            bytes,
        })
    }

    fn on_response(&mut self, message: &Arc<Message>, at: u64) -> Vec<Outgoing> {
        let status = message.status().unwrap_or_default();
        let method = message.method();
        let branch = text(message.top_branch().unwrap_or_default());
        let found = self
            .sent
            .iter()
            .position(|sent| sent.branch == branch && sent.message.method() == method);
        let Some(number) = found else {
            self.see(message, at, false, None);
            return Vec::new();
        };
        if status < 200 {
            self.early_dialog(number, message);
            self.see(message, at, true, None);
            return Vec::new();
        }
        let answer = (status, text(message.to_tag().unwrap_or_default()));
        let Some(sent) = self.sent.get_mut(number) else {
            return Vec::new();
        };
        let is_again = sent.finals.contains(&answer);
        sent.finals.push(answer);
        let mut reactions = Vec::new();
        if method == Method::Invite {
            reactions.extend(self.acknowledge(number, message, status));
        }
        if is_again {
            self.see(message, at, true, None);
            if let Some(seen) = self.seen.last_mut() {
                seen.is_copy = true;
            }
            return reactions;
        }
        if matches!(method, Method::Subscribe | Method::Refer) && status < 300 {
            self.confirm(number, message);
        }
        let again = self.with_credentials(number, message);
        let is_optional = again.is_some() || method == Method::Cancel;
        self.see(message, at, is_optional, None);
        reactions.extend(again);
        reactions
    }

    fn early_dialog(&mut self, number: usize, response: &Message) {
        let call = self
            .sent
            .get(number)
            .and_then(|sent| self.calls.get_mut(sent.call));
        if let Some(call) = call.filter(|call| !call.is_established)
            && response.to_tag().is_some()
        {
            call.answered(response);
        }
    }

    /// A 2xx makes a dialog; one from another branch makes another (RFC 3261 §13.2.2.4).
    fn confirm(&mut self, number: usize, response: &Message) -> Option<usize> {
        let at = self.sent.get(number)?.call;
        let call = self.calls.get_mut(at)?;
        if call.is_established && !call.is_of_response(response) {
            if let Some(other) = self
                .calls
                .iter()
                .position(|call| call.is_of_response(response))
            {
                return Some(other);
            }
            let mut other = self.calls.get(at)?.clone();
            other.is_established = false;
            other.answered(response);
            other.is_established = true;
            self.calls.push(other);
            return Some(self.calls.len() - 1);
        }
        call.answered(response);
        call.is_established = true;
        Some(at)
    }

    fn acknowledge(&mut self, number: usize, response: &Message, status: u16) -> Option<Outgoing> {
        if status < 300 {
            let call = self.confirm(number, response)?;
            let cseq = self.sent.get(number)?.message.cseq().ok()?.number;
            let branch = self.branch();
            return self
                .in_dialog(call, "ACK", cseq, &branch)
                .map(|(ack, to)| Outgoing {
                    to,
                    bytes: ack.bytes(),
                });
        }
        let sent = self.sent.get(number)?;
        let mut ack = self.begin("ACK", &text(sent.message.request_uri()), &sent.branch);
        for route in sent.message.headers(HeaderName::Route) {
            ack.field("Route", text(route));
        }
        ack.field("From", header(&sent.message, HeaderName::From));
        ack.field("To", header(response, HeaderName::To));
        ack.field("Call-ID", text(sent.message.call_id()));
        ack.field("CSeq", format!("{} ACK", sent.message.cseq().ok()?.number));
        Some(Outgoing {
            to: sent.to,
            bytes: ack.bytes(),
        })
    }

    /// RFC 3261 §22.2: the request once more, with the next CSeq number and credentials.
    fn with_credentials(&mut self, number: usize, response: &Message) -> Option<Outgoing> {
        let password = self.setup.password.clone()?;
        let sent = self.sent.get_mut(number)?;
        if std::mem::replace(&mut sent.is_authenticated, true) {
            return None;
        }
        let (call, to) = (sent.call, sent.to);
        let mut request = sent.composed.clone()?;
        let method = text(sent.message.method().as_bytes());
        let credentials = Credentials {
            user: user(&self.setup.aor),
            password: &password,
            method: &method,
            uri: &text(sent.message.request_uri()),
        };
        let (name, value) = credentials.answer(response)?;
        let cseq = sent.message.cseq().ok()?.number + 1;
        let branch = self.branch();
        request.replace("Via", self.via(&branch));
        request.replace("CSeq", format!("{cseq} {method}"));
        request.replace(name, value);
        if let Some(call) = self.calls.get_mut(call) {
            call.cseq = call.cseq.max(cseq);
        }
        self.dispatch(request, branch, call, to, true)
    }
}

/// RFC 3261 §17.2.3: whether one is a copy of the other.
fn is_same(known: &Message, message: &Message) -> bool {
    known.method() == message.method() && known.top_branch() == message.top_branch()
}
