//! A request comes: to the transaction it belongs to, or to a new response context.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, Host, Message, Method, Params, SentBy, Via};

use crate::core::Core;
use crate::door::{DropReason, Event, Flow, Hook, Reject, SendTo};
use crate::local;
use crate::proxy::context::{Kind, NewRequest, ResponseContext};
use crate::proxy::machine::ServerMachine;
use crate::proxy::route::{self, Dialog};
use crate::proxy::validate::{self, Facts};
use crate::table::Handle;
use crate::time::Now;
use crate::transaction::{
    InviteServerTransaction, NonInviteServerTransaction, RequestKeys, ServerAction, TransactionKey,
};

/// Transactions that only absorb take about a tenth of the memory of others: so many of them may there be for one of those.
const SPENT_PER_LIVE: usize = 8;

impl Core {
    /// RFC 3261 §17.2.3: finds the server transaction of a request, or makes one.
    pub(crate) fn on_request(&mut self, now: Now, flow: Flow, message: Arc<Message>) {
        let method = message.method();
        let keys = self.maker.request(&message);
        if let Some(keys) = keys {
            self.answered.prefetch(keys.key);
        }
        let matching = keys.and_then(|keys| self.matching(&message, keys));
        if let Some(handle) = matching {
            if method != Method::Ack {
                return self.on_retransmission(now, handle, &flow, &message);
            }
            if self.on_ack(now, handle) {
                return;
            }
        }
        let received = self.received_draft(&flow, message);
        if let Some(keys) = keys
            && matching.is_none()
            && self.answered.contains(keys.key)
        {
            return self.on_answered_again(keys.key, &flow, received);
        }
        let request = received.base();
        if let Err(invalid) = request.validate() {
            return self.refuse(
                &received,
                &flow,
                &Reject::new(invalid.status(), invalid.reason()),
            );
        }
        match request.method() {
            Method::Cancel => self.on_cancel(now, &received, &flow),
            Method::Ack => self.on_stray_ack(now, received, flow),
            _ => self.on_new_request(now, keys.map(|keys| keys.key), received, flow),
        }
    }

    /// The request with a note of where it came from.
    pub(crate) fn received_draft(&mut self, flow: &Flow, message: Arc<Message>) -> Draft {
        let mut received = self.env.draft(message);
        let mut scratch = std::mem::take(&mut self.env.scratch);
        add_received(&mut received, flow, &mut scratch);
        self.env.scratch = scratch;
        received
    }

    /// The transaction with one of these keys. A transaction found by the second key must have answered with the ACK's To tag.
    fn matching(&self, message: &Message, keys: RequestKeys) -> Option<Handle> {
        if let Some(handle) = self.keys.get(&keys.key) {
            return Some(*handle);
        }
        let handle = *self.keys.get(&keys.untagged?)?;
        let sent = self.contexts.get(handle)?.sent_tag.as_deref()?;
        (message.to().ok()?.tag() == Some(sent)).then_some(handle)
    }

    fn on_new_request(
        &mut self,
        now: Now,
        key: Option<TransactionKey>,
        received: Draft,
        flow: Flow,
    ) {
        self.env.event(Event::Request);
        let kind = if received.base().method() == Method::Invite {
            Kind::Invite
        } else {
            Kind::NonInvite
        };
        match self.prepare(&received, &flow) {
            Ok(prepared) => self.admit(now, kind, key, received, flow, prepared),
            Err(reject) => self.refuse(&received, &flow, &reject),
        }
    }

    /// RFC 3261 §16.3 and §16.4, and the limits.
    fn prepare(&mut self, received: &Draft, flow: &Flow) -> Result<Prepared, Reject> {
        let uri = validate::check_uri(received)?;
        let is_local = self.env.local.is_local(&uri, flow.local.ip());
        let facts = validate::check(received, &self.env, is_local)?;
        let mut request = self.env.copy(received);
        let dialog = route::preprocess(&mut request, flow, &self.env);
        if self.draining && dialog.is_none() {
            return Err(self.unavailable());
        }
        let live = self.contexts.live();
        let spent = self.contexts.spent_count() + self.answered.len();
        let limit = self.env.config.max_transactions;
        if live >= limit || spent / SPENT_PER_LIVE >= limit {
            self.env.event(Event::Limit("max_transactions"));
            return Err(self.unavailable());
        }
        Ok(Prepared {
            request,
            dialog,
            facts,
        })
    }

    /// 503 with Retry-After.
    pub(crate) fn unavailable(&self) -> Reject {
        let seconds = self.env.config.retry_after_secs.to_string();
        Reject {
            status: 503,
            reason: "",
            headers: vec![("Retry-After", seconds)],
        }
    }

    fn admit(
        &mut self,
        now: Now,
        kind: Kind,
        key: Option<TransactionKey>,
        received: Draft,
        flow: Flow,
        prepared: Prepared,
    ) {
        let reply_to = response_destination(received.base().sent_by().as_ref(), &flow);
        let is_reliable = flow.transport.is_reliable();
        let server = match kind {
            Kind::Ack => None,
            Kind::Invite => Some(ServerMachine::Invite(InviteServerTransaction::new(
                now.instant,
                self.timing,
                is_reliable,
            ))),
            Kind::NonInvite => Some(ServerMachine::NonInvite(NonInviteServerTransaction::new(
                now.instant,
                self.timing,
                is_reliable,
            ))),
        };
        let method = received.base().method();
        let makes_dialog = method.makes_dialog() || method == Method::Update;
        let request = NewRequest {
            kind,
            server,
            key,
            flow,
            reply_to,
            received,
            request: prepared.request,
            facts: prepared.facts,
            dialog: prepared.dialog,
            record_route: makes_dialog,
        };
        let context = match self.contexts.used_box() {
            Some(mut used) => {
                used.begin(request);
                used
            }
            None => Box::new(ResponseContext::new(request)),
        };
        let handle = self.contexts.insert_box(context);
        if let Some(key) = key {
            self.keys.insert(key, handle);
        }
        self.run_hook(handle, Hook::RequestRoute);
        self.unarmed.push(handle);
    }

    fn on_retransmission(&mut self, now: Now, handle: Handle, flow: &Flow, message: &Message) {
        self.env.event(Event::Retransmission);
        let Some(context) = self.contexts.get_mut(handle) else {
            return self.on_spent_retransmission(handle, flow, message);
        };
        let Some(server) = context.server.as_mut() else {
            return;
        };
        let mut actions = self.server_actions.pop().unwrap_or_default();
        server.on_retransmission(&mut actions);
        self.perform_server(now, handle, actions);
    }

    /// An ACK with the key of an INVITE; false: its INVITE was answered with a 2xx, so it is the ACK of a broken client to that.
    fn on_ack(&mut self, now: Now, handle: Handle) -> bool {
        let Some(context) = self.contexts.get_mut(handle) else {
            return self.is_absorbed_ack(handle);
        };
        let Some(server) = context.server.as_mut() else {
            return false;
        };
        let mut actions = self.server_actions.pop().unwrap_or_default();
        server.on_ack(now.instant, &mut actions);
        let is_users = actions.contains(&ServerAction::AckToUser);
        self.perform_server(now, handle, actions);
        !is_users
    }

    /// An ACK that matches no transaction: to a 2xx, to a response we made without state, or a stray.
    fn on_stray_ack(&mut self, now: Now, received: Draft, flow: Flow) {
        if self.is_ack_to_stateless_reply(&received) {
            return;
        }
        match self.prepare(&received, &flow) {
            Ok(prepared) => {
                // RFC 6026 §8.10 leaves it to us; without a dialog the policy may still relay it.
                self.admit(now, Kind::Ack, None, received, flow, prepared);
            }
            Err(_) => self.env.dropped(DropReason::StrayAck),
        }
    }
}

/// A request that passed.
struct Prepared {
    request: Draft,
    dialog: Option<Dialog>,
    facts: Facts,
}

/// RFC 3261 §18.2.1 and RFC 3581 §4: notes in the top Via where the request really came from.
fn add_received(request: &mut Draft, flow: &Flow, scratch: &mut Vec<u8>) {
    scratch.clear();
    if write_received(scratch, request, flow).is_some() {
        // It is a part of a Via that was parsed, and an address.
        let _ = request.replace_first_value(HeaderName::Via, scratch);
    }
}

fn write_received(value: &mut Vec<u8>, request: &Draft, flow: &Flow) -> Option<()> {
    let via = request.base().top_via().ok()?;
    let wants_port = answers_to_source(&via.sent_by(), flow);
    let (start, params, comment) = split_params(&via)?;
    value.extend_from_slice(start);
    match usual_params(&via, params) {
        Some(branch) => value.extend_from_slice(branch),
        None => write_other_params(value, params),
    }
    value.extend_from_slice(b";received=");
    local::write_ip(value, flow.remote.ip(), false);
    if wants_port {
        value.extend_from_slice(b";rport=");
        local::write_number(value, u64::from(flow.remote.port()));
    }
    if !comment.is_empty() {
        value.push(b' ');
        value.extend_from_slice(comment);
    }
    Some(())
}

/// The one parameter to copy where the others are as nearly every phone writes them: `;branch=…`, alone or with `;rport`.
fn usual_params<'a>(via: &Via<'a>, params: &'a [u8]) -> Option<&'a [u8]> {
    let branch = via.branch()?;
    let behind_name = params.strip_prefix(b";branch=")?;
    let rest = behind_name.get(branch.len()..)?;
    let is_usual =
        std::ptr::eq(behind_name.as_ptr(), branch.as_ptr()) && matches!(rest, b"" | b";rport");
    is_usual.then(|| params.strip_suffix(rest)).flatten()
}

/// Copies the parameters but for `received` and `rport`.
fn write_other_params(value: &mut Vec<u8>, params: &[u8]) {
    let mut rest = params;
    while let [b';', behind @ ..] = rest {
        // Without quotes each semicolon begins a parameter.
        let end = match memchr::memchr2(b';', b'"', behind) {
            Some(end) if behind.get(end) == Some(&b'"') => {
                return write_quoted_params(value, rest);
            }
            end => end.unwrap_or(behind.len()) + 1,
        };
        let (param, next) = rest.split_at_checked(end).unwrap_or((rest, b""));
        if !is_noted(param.get(1..).unwrap_or_default()) {
            value.extend_from_slice(param);
        }
        rest = next;
    }
}

/// Whether it is a `received` or `rport`.
fn is_noted(param: &[u8]) -> bool {
    let name = match param.first() {
        Some(b'r' | b'R' | b' ' | b'\t' | b'\r' | b'\n') => {
            param.split(|byte| *byte == b'=').next()
        }
        _ => None,
    };
    let name = name.unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport")
}

/// The same where a value is quoted, in which a semicolon begins nothing.
fn write_quoted_params(value: &mut Vec<u8>, params: &[u8]) {
    let params = Params::new(params);
    for (name, text) in params.iter().filter(|(name, _)| !is_noted(name)) {
        value.push(b';');
        value.extend_from_slice(name);
        if let Some(text) = text {
            value.push(b'=');
            value.extend_from_slice(text);
        }
    }
}

/// What stands before the parameters of a Via, the parameters, and the comment that RFC 2543 §6.40 allows behind them.
fn split_params<'a>(via: &Via<'a>) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let (raw, params) = (via.raw, via.params.raw());
    if params.is_empty() {
        let end = raw.iter().position(|byte| *byte == b'(');
        let (start, comment) = raw.split_at_checked(end.unwrap_or(raw.len()))?;
        return Some((start.trim_ascii_end(), params, comment));
    }
    // Both are parts of the same text.
    let at = (params.as_ptr() as usize).checked_sub(raw.as_ptr() as usize)?;
    let (start, rest) = raw.split_at_checked(at)?;
    let (_, comment) = rest.split_at_checked(params.len())?;
    Some((start.trim_ascii_end(), params, comment.trim_ascii()))
}

/// RFC 3581 §4: whether answers go to the port the request came from.
///
/// Also when nobody asked for it and the Via names another host than the packet came from: such a client is behind a
/// translation of addresses, or does not know its own, and the port of its Via leads nowhere.
fn answers_to_source(via: &SentBy<'_>, flow: &Flow) -> bool {
    let names_source = match via.host {
        Host::V4(ip) => IpAddr::V4(ip) == flow.remote.ip(),
        Host::V6(ip) => IpAddr::V6(ip) == flow.remote.ip(),
        Host::Name(_) => false,
    };
    via.rport.is_some() || !names_source
}

/// RFC 3261 §18.2.2 and RFC 3581 §4: back over the flow; over UDP to the port of the Via where that is what the client means.
///
/// `via` is the top one as received: what [`add_received`] writes into it changes nothing here.
///
/// A `maddr` in the Via is not followed: it would send our answers to whatever address a stranger names.
pub(crate) fn response_destination(via: Option<&SentBy<'_>>, flow: &Flow) -> SendTo {
    let sent_by_port = via
        .and_then(|via| via.port)
        .unwrap_or(local::default_port(flow.transport));
    if flow.transport != crate::door::Transport::Udp {
        return SendTo::Flow {
            flow: *flow,
            fallback_port: Some(sent_by_port),
        };
    }
    let to_source = via.is_none_or(|via| answers_to_source(via, flow));
    let remote = if to_source {
        flow.remote
    } else {
        SocketAddr::new(flow.remote.ip(), sent_by_port)
    };
    SendTo::Flow {
        flow: Flow { remote, ..*flow },
        fallback_port: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_parameters_are_copied_as_any() {
        let texts = [
            ";branch=z9hG4bK1",
            ";branch=z9hG4bK1;rport",
            ";branch=z9hG4bK1;rport;ttl=1",
            ";branch=z9hG4bK1;RPORT",
            ";branch=\"z9hG4bK1;rport\"",
            ";branch=z9hG4bK1 ;rport",
            ";branch=z9hG4bK1;rport=1",
            ";branch=z9hG4bK1;received=192.0.2.1",
            ";branch=z9hG4bK1;branch=z9hG4bK1",
            ";rport;branch=z9hG4bK1",
            ";ttl=1",
        ];
        let mut usual = 0;
        for text in texts {
            let line = format!("SIP/2.0/UDP 192.0.2.1:5060{text}");
            let via = Via::parse_first(line.as_bytes()).unwrap();
            let params = via.params.raw();
            let mut any = Vec::new();
            write_other_params(&mut any, params);
            if let Some(found) = usual_params(&via, params) {
                usual += 1;
                assert_eq!(found, any, "{text}");
            }
        }
        assert_eq!(usual, 3);
    }
}
