//! RFC 3261 §16.6: what a forwarded request looks like.

use std::hash::Hasher;

use patchbay_message::{Decimal, Draft, HeaderName, Method};

use crate::door::{Packet, PolicyVersion};
use crate::environment::Environment;
use crate::local;
use crate::proxy::branch::{Branch, BranchText, STATELESS_SLOT};
use crate::proxy::context::{BranchState, Kind, ResponseContext};
use crate::proxy::next_hop::WayOut;
use crate::proxy::record_route::{self, DialogIdentity, TokenFacts};
use crate::proxy::route::Initiator;
use crate::table::Handle;

/// RFC 3261 §16.6 step 8: the branch parameter of an attempt; for an ACK that of §16.11, the same for each of its copies.
pub(crate) fn branch_parameter(
    env: &mut Environment,
    context: &mut ResponseContext,
    handle: Handle,
) -> Branch {
    let worker = env.config.worker;
    let loop_hash = context.loop_hash(&env.keyed);
    if context.kind != Kind::Ack {
        let random = env.random64();
        return Branch {
            worker,
            slot: handle.slot,
            generation: handle.generation,
            random,
            loop_hash,
        };
    }
    let received = context.received.base();
    let via = received.top_via().ok();
    let branch = received.top_branch().unwrap_or_default();
    let sent_by = via.as_ref().map_or(&b""[..], |via| via.host_raw);
    // Nobody answers it, so that nobody gains by guessing it.
    let mut hash = env.keyed.quick();
    for part in [branch, sent_by, received.call_id()] {
        hash.write_usize(part.len());
        hash.write(part);
    }
    let random = hash.finish();
    Branch {
        worker,
        slot: STATELESS_SLOT,
        generation: 0,
        random,
        loop_hash,
    }
}

/// RFC 3261 §16.6 steps 3, 4 and 8: Max-Forwards, Max-Breadth, Record-Route and Via, and the bytes of it all. What stands first in its
/// header is written before all other fields. The branch keeps its Via, for CANCEL and ACK.
pub(crate) fn write_request(
    env: &Environment,
    context: &ResponseContext,
    branch: &mut BranchState,
    way: &WayOut,
    text: &BranchText,
) -> Packet {
    let via = &mut branch.via;
    via.clear();
    Packet::write(|out| {
        branch.request.write_start_line(out);
        out.extend_from_slice(b"Via: ");
        let start = out.len();
        write_via(out, env, way, text);
        via.extend_from_slice(out.get(start..).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        if context.record_route && context.kind != Kind::Ack {
            write_record_routes(out, env, context, way);
        }
        let hops = Decimal::new(u64::from(context.facts.max_forwards.saturating_sub(1)));
        let breadth = Decimal::new(u64::from(branch.breadth));
        let hops = (HeaderName::MaxForwards, hops.as_bytes());
        let breadth = (HeaderName::MaxBreadth, breadth.as_bytes());
        match context.kind {
            Kind::Ack => branch.request.write_after_start_line(out, &[hops]),
            _ => branch.request.write_after_start_line(out, &[hops, breadth]),
        }
    })
}

fn write_record_routes(
    out: &mut Vec<u8>,
    env: &Environment,
    context: &ResponseContext,
    way: &WayOut,
) {
    let incoming = env.listener_address(
        context.flow.listener,
        Some(context.flow.local.ip()),
        &context.flow,
    );
    let mut write = |way: &WayOut| {
        out.extend_from_slice(b"Record-Route: ");
        write_record_route(out, env, context, way);
        out.extend_from_slice(b"\r\n");
    };
    write(way);
    // RFC 5658 §3: the way in and the way out differ, so each side gets its own value; the top one faces the callee.
    if way.listener != context.flow.listener || way.local != incoming {
        write(&WayOut {
            listener: context.flow.listener,
            transport: context.flow.transport,
            local: incoming,
        });
    }
}

fn write_via(out: &mut Vec<u8>, env: &Environment, way: &WayOut, text: &BranchText) {
    out.extend_from_slice(b"SIP/2.0/");
    out.extend_from_slice(local::transport_token(way.transport));
    out.push(b' ');
    env.write_sent_by(out, way.listener, way.local);
    out.extend_from_slice(b";branch=");
    out.extend_from_slice(text.as_bytes());
}

/// RFC 3261 §16.6 step 4: a URI that leads back here, with the token of the dialog.
fn write_record_route(
    out: &mut Vec<u8>,
    env: &Environment,
    context: &ResponseContext,
    way: &WayOut,
) {
    let request = context.received.base();
    let initiator = context
        .dialog
        .as_ref()
        .map_or(Initiator::From, |dialog| dialog.initiator);
    let tag = match initiator {
        Initiator::From => request.from_tag(),
        Initiator::To => request.to_tag(),
    };
    let tag = tag.unwrap_or_default();
    let facts = TokenFacts {
        worker: env.config.worker,
        listener: way.listener,
        version: pinned_version(env, context),
        route: context.route(),
    };
    let written = written_parameters(context);
    let is_sips = local::is_sips(context.request.request_uri());
    out.extend_from_slice(if is_sips { b"<sips:" } else { b"<sip:" });
    let dialog = DialogIdentity {
        call_id: request.call_id(),
        tag,
    };
    let sealed = written
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()));
    record_route::write_token(out, &env.keyed, facts, dialog, sealed);
    out.push(b'@');
    env.write_sent_by(out, way.listener, way.local);
    if way.transport != crate::door::Transport::Udp && !(is_sips && way.transport.is_secure()) {
        out.extend_from_slice(b";transport=");
        out.extend_from_slice(local::transport_parameter(way.transport));
    }
    out.extend_from_slice(b";lr");
    for (name, value) in &written {
        out.push(b';');
        out.extend_from_slice(name);
        if !value.is_empty() {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    out.push(b'>');
}

fn pinned_version(env: &Environment, context: &ResponseContext) -> PolicyVersion {
    if env.config.pin_dialog || context.version.keeps_dialog() {
        context.version
    } else {
        PolicyVersion(0)
    }
}

/// The policy's parameters as they stand in the URI; in a dialog those that came back stay.
fn written_parameters(context: &ResponseContext) -> Vec<(Vec<u8>, Vec<u8>)> {
    let kept = context
        .dialog
        .as_ref()
        .map_or(&[][..], |dialog| &dialog.parameters);
    let added = &context.record_route_parameters;
    let kept = kept.iter().filter(|(name, _)| {
        !added
            .iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
    });
    kept.chain(added)
        .map(|(name, value)| (escaped(name), escaped(value)))
        .collect()
}

fn escaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    record_route::write_parameter_text(&mut out, text.as_bytes());
    out
}

/// RFC 3261 §9.1 and §17.1.1.3: a CANCEL or the ACK to a non-2xx for a request that was sent: its Request-URI, Via, Route, From, Call-ID and
/// CSeq number; `to` is that of the request or of the response.
pub(crate) fn write_hop_request(
    out: &mut Vec<u8>,
    method: Method<'_>,
    request: &Draft,
    via: &[u8],
    to: &[u8],
    reason: &[u8],
) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.request_uri());
    out.extend_from_slice(b" SIP/2.0\r\n");
    line(out, b"Via", via);
    for route in request.headers(HeaderName::Route) {
        line(out, b"Route", route);
    }
    line(out, b"Max-Forwards", b"70");
    line(
        out,
        b"From",
        request.header(HeaderName::From).unwrap_or_default(),
    );
    line(out, b"To", to);
    line(out, b"Call-ID", request.call_id());
    out.extend_from_slice(b"CSeq: ");
    local::write_number(out, u64::from(request.cseq().map_or(0, |cseq| cseq.number)));
    out.push(b' ');
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\r\n");
    if !reason.is_empty() {
        line(out, b"Reason", reason);
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
