//! What must hold in every scenario, whatever the policy and the phones do.

use std::collections::{HashMap, HashSet};

use patchbay_core::door::DropReason;
use patchbay_message::{HeaderName, Limits, Message, Method};

use super::compose::text;
use super::trace::Party;

/// RFC 3261 §16.6 step 3: of a request without the header.
const MAX_FORWARDS: u32 = 70;

/// A request that came to the router.
#[derive(Debug)]
struct Server {
    what: String,
    is_invite: bool,
    max_forwards: u32,
    /// Status and To tag of what the router answered.
    finals: Vec<(u16, String)>,
    is_malformed: bool,
    /// Nobody has to answer it.
    is_dropped: bool,
}

/// A transaction: the value of the topmost Via, and the method.
type Key = (Vec<u8>, Vec<u8>);

/// What the checks remember.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    servers: HashMap<Key, Server>,
    last: Option<Key>,
    /// Requests that the router has seen: Call-ID, CSeq and Request-URI.
    passed: HashSet<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    /// The first request that came back as it had left.
    looped: Option<String>,
}

impl Invariants {
    /// A packet comes to the router.
    pub(super) fn received(&mut self, packet: &[u8], from: Party) {
        self.last = None;
        let Ok(message) = Message::parse(packet, &Limits::default()) else {
            return;
        };
        if !message.is_request() || matches!(message.method(), Method::Ack | Method::Cancel) {
            return;
        }
        let Some(via) = message.values(HeaderName::Via).next() else {
            return;
        };
        let key = (via_as_sent(via), message.method().as_bytes().to_vec());
        self.last = Some(key.clone());
        if self.servers.contains_key(&key) {
            return;
        }
        let what = format!(
            "{} {}",
            text(message.method().as_bytes()),
            text(message.request_uri())
        );
        let cseq = message.header(HeaderName::CSeq).unwrap_or_default();
        let passage = (
            message.call_id().to_vec(),
            cseq.to_vec(),
            message.request_uri().to_vec(),
        );
        if !self.passed.insert(passage) && from == Party::Router {
            self.looped.get_or_insert_with(|| what.clone());
        }
        let max_forwards = message.max_forwards().ok().flatten();
        let server = Server {
            what,
            is_invite: message.method() == Method::Invite,
            max_forwards: max_forwards.unwrap_or(MAX_FORWARDS + 1),
            finals: Vec::new(),
            is_malformed: message.validate().is_err(),
            is_dropped: false,
        };
        self.servers.insert(key, server);
    }

    /// The router dropped the message that came last.
    pub(super) fn dropped(&mut self, _reason: DropReason) {
        if let Some(server) = self.last.as_ref().and_then(|key| self.servers.get_mut(key)) {
            server.is_dropped = true;
        }
    }

    /// The router sends a packet; the error is what is wrong with that.
    pub(super) fn sent(&mut self, packet: &[u8]) -> Result<(), String> {
        let message = Message::parse(packet, &Limits::default())
            .map_err(|error| format!("the router sent what is no SIP message: {error}"))?;
        // A response copies much of what it answers, be it right or wrong.
        if !self.answers_malformed(&message) {
            let broken = |error| format!("the router sent a broken message: {error}");
            message.validate().map_err(broken)?;
        }
        if message.is_request() {
            self.forwarded(&message)
        } else {
            self.answered(&message)
        }
    }

    /// Whether it is a response to a request that was not valid. Its CSeq may be what is wrong: the Via tells.
    fn answers_malformed(&self, message: &Message) -> bool {
        if message.is_request() {
            return false;
        }
        let via = message.values(HeaderName::Via).next().map(via_as_sent);
        let malformed = self
            .servers
            .iter()
            .filter(|(_, server)| server.is_malformed);
        via.is_some_and(|via| malformed.map(|(key, _)| &key.0).any(|known| *known == via))
    }

    /// RFC 3261 §16.6 step 3: Max-Forwards falls by one.
    fn forwarded(&self, request: &Message) -> Result<(), String> {
        let mut vias = request.values(HeaderName::Via).skip(1);
        let Some(via) = vias.next().filter(|_| request.method() != Method::Cancel) else {
            return Ok(());
        };
        let key = (via_as_sent(via), request.method().as_bytes().to_vec());
        let Some(server) = self.servers.get(&key) else {
            return Ok(());
        };
        let now = request.max_forwards().ok().flatten();
        if now.is_some_and(|now| now + 1 == server.max_forwards) {
            return Ok(());
        }
        Err(format!(
            "RFC 3261 §16.6 step 3: Max-Forwards of {} went from {} to {}",
            server.what,
            server.max_forwards,
            now.map_or("nothing".to_owned(), |now| now.to_string())
        ))
    }

    /// RFC 3261 §17.2: one final response. Several 2xx to an INVITE, one per dialog, are what forking may give.
    fn answered(&mut self, response: &Message) -> Result<(), String> {
        let Some(via) = response.values(HeaderName::Via).next() else {
            return Ok(());
        };
        let key = (via_as_sent(via), response.method().as_bytes().to_vec());
        let Some(server) = self.servers.get_mut(&key) else {
            return Ok(());
        };
        let status = response.status().unwrap_or_default();
        let answer = (status, text(response.to_tag().unwrap_or_default()));
        if server.finals.contains(&answer) {
            return Ok(());
        }
        let is_another_dialog = server.is_invite && (200..300).contains(&status);
        if let Some((first, _)) = server.finals.first().filter(|_| !is_another_dialog) {
            return Err(format!("{} got {first} and then {status}", server.what));
        }
        if status >= 200 {
            server.finals.push(answer);
        }
        Ok(())
    }

    /// An INVITE that nobody has answered.
    pub(super) fn unanswered(&self) -> Option<&str> {
        let is_open = |server: &&Server| {
            let is_over = !server.finals.is_empty() || server.is_dropped || server.is_malformed;
            server.is_invite && !is_over
        };
        self.servers
            .values()
            .filter(is_open)
            .map(|server| server.what.as_str())
            .min()
    }

    /// A request that the router sent to itself as it had come.
    pub(super) fn looped(&self) -> Option<&str> {
        self.looped.as_deref()
    }
}

/// A Via as its sender wrote it: RFC 3261 §18.2.1 and RFC 3581 §4 add `received` and `rport`.
fn via_as_sent(via: &[u8]) -> Vec<u8> {
    let written = text(via);
    let mut parts = Vec::new();
    for part in written.split(';') {
        let name = part.split('=').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("received") {
            continue;
        }
        parts.push(if name.eq_ignore_ascii_case("rport") {
            "rport"
        } else {
            part
        });
    }
    parts.join(";").into_bytes()
}
