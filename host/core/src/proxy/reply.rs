//! Responses that we make ourselves.

use std::hash::Hasher;

use patchbay_message::{Draft, Method, ResponseHead};

use crate::answered::Kept;
use crate::base32;
use crate::core::{Core, server_send_id};
use crate::door::{DropReason, Event, Flow, Packet, PolicyVersion, Reject, Reply, SendId};
use crate::keyed::{Keyed, Purpose};
use crate::proxy::context::{Kind, Stage};
use crate::proxy::own_response::{self, OwnResponse};
use crate::proxy::receive::response_destination;
use crate::table::Handle;
use crate::time::Now;

/// Bytes of a To tag of ours, as text.
const TAG_LEN: usize = base32::text_len(8);

impl Core {
    /// Answers without keeping anything. An ACK gets no answer.
    pub(crate) fn refuse(&mut self, received: &Draft, flow: &Flow, reject: &Reject) {
        if received.method() == Method::Ack
            || received.top_via().is_err() && received.call_id().is_empty()
        {
            return self.env.dropped(DropReason::Malformed);
        }
        let tag = own_tag(received, &self.env.keyed);
        let packet = Packet::write(|out| {
            let head = ResponseHead {
                status: reject.status,
                reason: reject.reason,
                to_tag: Some(&tag),
            };
            let headers = reject
                .headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            patchbay_message::write_response(out, received, head, headers, b"");
        });
        let to = response_destination(received.base().sent_by().as_ref(), flow);
        self.env.send(SendId(0), &to, packet);
        self.env.event(Event::Replied {
            status: reject.status,
            version: PolicyVersion(0),
        });
    }

    /// Answers 200 or 481 to a CANCEL.
    pub(crate) fn answer_cancel(&mut self, received: &Draft, flow: &Flow, status: u16) {
        self.refuse(received, flow, &Reject::new(status, ""));
    }

    /// RFC 3261 §17.1.1.3 without a transaction: whether the ACK is for a final response of `refuse`.
    pub(crate) fn is_ack_to_stateless_reply(&self, ack: &Draft) -> bool {
        let Some(tag) = ack.base().to_tag() else {
            return false;
        };
        tag.len() == TAG_LEN && tag == own_tag(ack, &self.env.keyed).as_slice()
    }

    /// Answers a server transaction with a rule of ours.
    pub(crate) fn reject(&mut self, now: Now, handle: Handle, reject: &Reject) {
        let headers: Vec<_> = reject
            .headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        self.respond(now, handle, reject.status, reject.reason, &headers, b"");
    }

    /// Answers a server transaction with nothing but a status.
    pub(crate) fn respond_status(&mut self, now: Now, handle: Handle, status: u16) {
        self.respond(now, handle, status, "", &[], b"");
    }

    /// Answers a server transaction with what the policy said.
    pub(crate) fn respond_reply(&mut self, now: Now, handle: Handle, reply: &Reply) {
        let mut headers: Vec<(&[u8], &[u8])> = reply
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        let body = reply.body.as_ref().map_or(&b""[..], |(kind, body)| {
            headers.push((b"Content-Type", kind));
            body
        });
        self.respond(now, handle, reply.status, &reply.reason, &headers, body);
    }

    /// Makes a response and gives it to the server transaction.
    pub(crate) fn respond(
        &mut self,
        now: Now,
        handle: Handle,
        status: u16,
        reason: &str,
        headers: &[(&[u8], &[u8])],
        body: &[u8],
    ) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        if context.kind == Kind::Ack {
            return;
        }
        let received = &context.received;
        // RFC 3261 §8.2.6.2: a 100 needs no tag.
        let tag = (status != 100).then(|| own_tag(received, &self.env.keyed));
        let to_tag = tag.as_ref().map(|tag| &tag[..]);
        let head = ResponseHead {
            status,
            reason,
            to_tag,
        };
        let packet = Packet::write(|out| {
            patchbay_message::write_response(out, received, head, headers.iter().copied(), body);
        });
        if status >= 200 && context.kind == Kind::NonInvite {
            let (made_for, kept) = &mut self.own_response;
            let response = OwnResponse {
                status,
                reason,
                headers,
                body,
                date: (now.unix, self.date.of(now.unix)),
            };
            *made_for = own_response::keep(kept, response).then_some(handle);
        }
        if status >= 300 {
            let own = context
                .received
                .base()
                .to()
                .is_ok_and(|to| to.tag().is_none());
            context.note_sent_tag(to_tag.filter(|_| own));
        }
        if status >= 200 {
            let version = context.version;
            self.env.event(Event::Replied { status, version });
        }
        if let Some(packet) = self.answer_for_good(now, handle, status, packet) {
            self.give_response(now, handle, status, packet);
        }
    }

    /// Sends the final response of ours to a request other than INVITE when nothing else is left to do for it. It is what the machine
    /// (RFC 3261 §17.2.2: Completed until Timer J) and [`Core::spend_context`] would do, in one step; a test compares them. Gives the packet
    /// back when there is more to it.
    fn answer_for_good(
        &mut self,
        now: Now,
        handle: Handle,
        status: u16,
        packet: Packet,
    ) -> Option<Packet> {
        let (made_for, own) = &self.own_response;
        if status < 200 || *made_for != Some(handle) {
            return Some(packet);
        }
        let context = self.contexts.get(handle)?;
        let server = context.server.as_ref();
        let end = server.and_then(|server| server.would_complete(now.instant, status));
        let (Some(end), Some(key)) = (end, context.key) else {
            return Some(packet);
        };
        if context.hook.is_some()
            || !context.branches.is_empty()
            || context.waits_for_more()
            || !self.answered.put(key, end, Kept::Own(own))
        {
            return Some(packet);
        }
        self.env
            .send(server_send_id(handle), &context.reply_to, packet);
        self.end_answered(handle, key);
        None
    }

    /// Gives a response to the server transaction: sends it when the machine lets it.
    pub(crate) fn give_response(&mut self, now: Now, handle: Handle, status: u16, packet: Packet) {
        let Some(context) = self.contexts.get_mut(handle) else {
            return;
        };
        let Some(server) = context.server.as_mut() else {
            return;
        };
        let mut actions = self.server_actions.pop().unwrap_or_default();
        server.respond(now.instant, status, packet, &mut actions);
        if status >= 200 {
            context.stage = Stage::Finished;
        }
        self.perform_server(now, handle, actions);
    }
}

/// The To tag of our responses to a request: the same for its copies, so that a stateless answer stays the same (RFC 3261 §8.2.7),
/// and for its CANCEL and ACK.
///
/// Who can make one has proved nothing: it is a fast hash. Nothing that it is made of is edited in a draft of the request as received.
pub(crate) fn own_tag(request: &Draft, keyed: &Keyed) -> [u8; TAG_LEN] {
    let request = request.base();
    let branch = request.top_branch().unwrap_or_default();
    let number = request.cseq().map_or(0, |cseq| cseq.number).to_le_bytes();
    let from_tag = request.from_tag().unwrap_or_default();
    let mut hasher = keyed.quick();
    hasher.write_u8(Purpose::ToTag as u8);
    for part in [request.call_id(), from_tag, branch, &number] {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    let mut tag = [b'0'; TAG_LEN];
    base32::encode(&hasher.finish().to_be_bytes(), &mut tag);
    tag
}
