//! Requests of our own on their way: resolved, sent, answered (RFC 3261 §8.1, RFC 3263 §4.3).

use std::sync::Arc;

use patchbay_message::{Message, Uri};

use crate::affinity;
use crate::alarm::Alarm;
use crate::core::{Core, ORIGINATED, ORIGINATED_SLOT};
use crate::door::{
    Destination, DropReason, ListenerId, Originate, OriginateId, Output, ResolveId, SendId, SendTo,
};
use crate::local;
use crate::proxy::branch::{Branch, BranchText};
use crate::proxy::next_hop::{Numeric, numeric_destination};
use crate::table::Handle;
use crate::time::Now;
use crate::transaction::ClientAction;
use crate::user::{HopIdentity, OriginatedRequest, RequestIdentity};

/// A request of our own.
#[derive(Debug)]
pub(crate) struct Originating {
    request: OriginatedRequest,
    /// Destinations that are left, the next one last.
    destinations: Vec<Destination>,
    text: Option<BranchText>,
    sent_to: Option<SendTo>,
    /// Whether the asker has the final word.
    answered: bool,
    alarm: Alarm,
}

impl Core {
    /// Starts a request of our own; one that can't be sent is answered with `None`.
    pub(crate) fn originate(&mut self, now: Now, originate: Originate) {
        let id = originate.id;
        let mut call_id = Vec::with_capacity(40);
        let random = u128::from(self.env.random64()) << 64 | u128::from(self.env.random64());
        affinity::write_call_id(&mut call_id, self.env.config.worker, random);
        let call_id = String::from_utf8_lossy(&call_id).into_owned();
        let from_tag = format!("{:016x}", self.env.random64());
        let uri = originate.uri.clone();
        let identity = RequestIdentity { from_tag, call_id };
        let Ok(request) = OriginatedRequest::new(originate, identity) else {
            return self.answer_originate(id, None);
        };
        let handle = self.originating.insert(Originating {
            request,
            destinations: Vec::new(),
            text: None,
            sent_to: None,
            answered: false,
            alarm: Alarm::default(),
        });
        let destination =
            Uri::parse(&uri).map_or(Numeric::Impossible, |uri| numeric_destination(&uri, None));
        match destination {
            Numeric::Destination(destination) => {
                self.on_originate_resolved(now, handle, vec![destination]);
            }
            Numeric::Impossible => self.give_up_originate(handle.slot),
            Numeric::Name => {
                let id = ResolveId(ORIGINATED | handle.to_u64());
                self.env.outputs.push_back(Output::Resolve {
                    id,
                    uri,
                    listener: None,
                });
            }
        }
    }

    fn answer_originate(&mut self, id: OriginateId, response: Option<Arc<Message>>) {
        self.env
            .outputs
            .push_back(Output::OriginateResponse { id, response });
    }

    pub(crate) fn on_originate_resolved(
        &mut self,
        now: Now,
        handle: Handle,
        mut destinations: Vec<Destination>,
    ) {
        let Some(originating) = self.originating.get_mut(handle) else {
            return;
        };
        if originating.sent_to.is_some() {
            return;
        }
        destinations.reverse();
        originating.destinations = destinations;
        self.send_originate(now, handle.slot);
    }

    /// Sends to the next destination that there is a listener for.
    fn send_originate(&mut self, now: Now, slot: u32) {
        let Some(handle) = self.originating.renew(slot) else {
            return;
        };
        let worker = self.env.config.worker;
        let random = self.env.random64();
        let Some(originating) = self.originating.get_mut(handle) else {
            return;
        };
        let way = std::iter::from_fn(|| originating.destinations.pop())
            .find_map(|destination| Some((way_of(&self.env.config, &destination)?, destination)));
        let Some((listener, destination)) = way else {
            return self.give_up_originate(slot);
        };
        let text = Branch {
            worker,
            slot: slot | ORIGINATED_SLOT,
            generation: handle.generation,
            random,
            loop_hash: 0,
        }
        .text();
        let mut sent_by = Vec::with_capacity(48);
        let local = local_address(&self.env.config, listener, &destination);
        local::write_sent_by(&mut sent_by, &self.env.config, listener, local);
        let hop = HopIdentity {
            transport: destination.transport,
            sent_by: &String::from_utf8_lossy(&sent_by),
            branch: &String::from_utf8_lossy(text.as_bytes()),
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        let started = originating
            .request
            .start(now.instant, self.timing, hop, &mut actions);
        originating.text = Some(text);
        originating.sent_to = Some(SendTo::Destination(Destination {
            listener: Some(listener),
            ..destination
        }));
        match started {
            Ok(()) => self.perform_originate(now, slot, actions, None),
            Err(_) => self.give_up_originate(slot),
        }
    }

    fn give_up_originate(&mut self, slot: u32) {
        let Some(mut originating) = self.originating.remove_at(slot) else {
            return;
        };
        originating.alarm.cancel(&mut self.alarms);
        if !originating.answered {
            self.answer_originate(originating.request.id(), None);
        }
    }

    /// A response whose branch names a request of our own.
    pub(crate) fn on_originate_response(
        &mut self,
        now: Now,
        branch: Branch,
        message: Arc<Message>,
    ) {
        let handle = Handle {
            slot: branch.slot & !ORIGINATED_SLOT,
            generation: branch.generation,
        };
        let sent = branch.text();
        let fits = |originating: &Originating| {
            let is_branch = originating
                .text
                .as_ref()
                .is_some_and(|text| text.as_bytes() == sent.as_bytes());
            is_branch && originating.request.method() == message.method().as_bytes()
        };
        let Some(originating) = self
            .originating
            .get_mut(handle)
            .filter(|originating| fits(originating))
        else {
            return self.env.dropped(DropReason::UnmatchedResponse);
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        originating
            .request
            .on_response(now.instant, &message, &mut actions);
        self.perform_originate(now, handle.slot, actions, Some(message));
    }

    pub(crate) fn on_originate_send_failed(&mut self, now: Now, handle: Handle) {
        let Some(originating) = self.originating.get_mut(handle) else {
            return;
        };
        let mut actions = self.client_actions.pop().unwrap_or_default();
        originating.request.on_transport_error(&mut actions);
        self.perform_originate(now, handle.slot, actions, None);
    }

    pub(crate) fn on_originate_alarm(&mut self, now: Now, slot: u32) {
        let Some(originating) = self.originating.at_mut(slot) else {
            return;
        };
        originating.alarm.rang();
        let mut actions = self.client_actions.pop().unwrap_or_default();
        originating.request.on_timeout(now.instant, &mut actions);
        self.perform_originate(now, slot, actions, None);
    }

    fn perform_originate(
        &mut self,
        now: Now,
        slot: u32,
        mut actions: Vec<ClientAction>,
        message: Option<Arc<Message>>,
    ) {
        let mut failed = false;
        let mut over = false;
        for action in actions.drain(..) {
            let Some(handle) = self.originating.handle_at(slot) else {
                break;
            };
            let Some(originating) = self.originating.get_mut(handle) else {
                break;
            };
            match action {
                ClientAction::Send(packet) => {
                    if let Some(to) = &originating.sent_to {
                        self.env
                            .send(SendId(ORIGINATED | handle.to_u64()), to, packet);
                    }
                }
                ClientAction::Response => {
                    let id = originating.request.id();
                    let is_final = message
                        .as_ref()
                        .and_then(|message| message.status())
                        .is_some_and(|status| status >= 200);
                    originating.answered |= is_final;
                    self.answer_originate(id, message.clone());
                }
                ClientAction::TimedOut | ClientAction::TransportFailed => {
                    failed = !originating.answered
                }
                ClientAction::Terminated => over = true,
            }
        }
        self.client_actions.push(actions);
        match (failed, over) {
            (true, _) => self.send_originate(now, slot),
            (false, true) => self.give_up_originate(slot),
            (false, false) => self.arm_originate(slot),
        }
    }

    fn arm_originate(&mut self, slot: u32) {
        let Some(originating) = self.originating.at_mut(slot) else {
            return;
        };
        if let Some(at) = originating.request.deadline() {
            originating
                .alarm
                .set(&mut self.alarms, at, ORIGINATED | u64::from(slot));
        }
    }
}

fn way_of(config: &crate::door::CoreConfig, destination: &Destination) -> Option<ListenerId> {
    destination
        .listener
        .or_else(|| local::listener_for(config, destination.transport, destination.address))
}

/// The address for Via: the listener's, or behind a wildcard what the resolver told.
fn local_address(
    config: &crate::door::CoreConfig,
    listener: ListenerId,
    destination: &Destination,
) -> std::net::SocketAddr {
    let bound = config
        .listeners
        .get(usize::from(listener.0))
        .map_or(destination.address, |listener| listener.address);
    match destination.local {
        Some(local) if bound.ip().is_unspecified() => {
            std::net::SocketAddr::new(local, bound.port())
        }
        // Our own host reaches a peer on this machine by the peer's address.
        None if bound.ip().is_unspecified() => {
            std::net::SocketAddr::new(destination.address.ip(), bound.port())
        }
        _ => bound,
    }
}
