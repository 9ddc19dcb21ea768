//! The router, the phones around it, and virtual time.
//!
//! Messages take no time and none is lost. What happens at the same moment happens in the order in which it was caused.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use patchbay_core::door::{Flow, HookFault, ListenerId, Packet, SendId, SendTo, Transport};
use patchbay_core::registrar::Registration;
use patchbay_core::time::Instant;
use patchbay_message::{AddressOfRecord, Limits, Message, Uri};

use super::invariants::Invariants;
use super::log;
use super::phone::{Outgoing, Peer, Phone};
use super::trace::{Happening, Party, Trace, fault_name, hook_name};
use crate::config::scenario::{AnswerWith, PhoneSetup, Setting};
use crate::config::transport_name;
use crate::location::Done;
use crate::outside::Script;
use crate::transport::ConnectionKey;
use crate::worker::{Effect, VirtualWorker};

/// More messages than this are a loop.
const MAX_MESSAGES: usize = 20_000;
/// How long a router may need after the last step until it has forgotten all: RFC 3261 §16.6 step 11 (Timer C), several times, for
/// phones that ring for ever, and 64·T1.
const REST_MICROS: u64 = 3600 * 1_000_000;

/// Everything there is in one scenario.
pub(super) struct World {
    pub(super) worker: VirtualWorker,
    pub(super) phones: Vec<Phone>,
    pub(super) trace: Trace,
    /// The first thing that must never happen and did.
    pub(super) violation: Option<String>,
    /// The first fault of a hook.
    pub(super) fault: Option<String>,
    invariants: Invariants,
    queue: VecDeque<Delivery>,
    /// What phones are going to do, by time and in order.
    agenda: BTreeMap<(u64, u64), Planned>,
    planned: u64,
    messages: usize,
}

/// Something that is on its way.
enum Delivery {
    Message {
        from: Party,
        to: Party,
        packet: Packet,
    },
    Failed(SendId),
}

/// What a phone is going to do.
#[derive(Debug)]
pub(super) enum Planned {
    /// Answer a request.
    Answer {
        phone: usize,
        request: usize,
        with: AnswerWith,
    },
    /// What a random scenario wants done: its number.
    Deed(usize),
}

/// What came of a step of the world.
#[derive(Debug)]
pub(super) enum Progress {
    /// Something happened.
    Moved,
    /// It is time for this.
    Deed(usize),
    /// Nothing happens until the limit.
    Still,
}

impl World {
    /// A world in which nothing has happened; the error tells of a phone that can't be registered.
    pub(super) fn new(worker: VirtualWorker, setting: &Setting) -> Result<World, String> {
        let mut world = World {
            worker,
            phones: Vec::with_capacity(setting.phones.len()),
            trace: Trace::default(),
            violation: None,
            fault: None,
            invariants: Invariants::default(),
            queue: VecDeque::new(),
            agenda: BTreeMap::new(),
            planned: 0,
            messages: 0,
        };
        for setup in &setting.phones {
            world.add(setup.clone())?;
        }
        world.worker.forget_changes();
        Ok(world)
    }

    /// Microseconds from the start.
    pub(super) fn now(&self) -> u64 {
        self.worker.now().instant.0
    }

    fn add(&mut self, setup: PhoneSetup) -> Result<usize, String> {
        let flow = self.flow(&setup)?;
        if setup.registered {
            self.register(&setup, flow)?;
        }
        self.phones.push(Phone::new(setup, flow));
        Ok(self.phones.len() - 1)
    }

    /// The way from a phone to the router; over TCP it has a connection from the start.
    fn flow(&self, setup: &PhoneSetup) -> Result<Flow, String> {
        let is_v4 = setup.address.is_ipv4();
        let listeners = &self.worker.shared().listeners;
        let fits = |transport, address: SocketAddr| {
            transport == setup.transport && address.is_ipv4() == is_v4
        };
        let at = listeners
            .iter()
            .position(|listener| fits(listener.transport, listener.address))
            .ok_or_else(|| {
                let transport = transport_name(setup.transport);
                format!(
                    "the router has no listener that {} ({transport}:{}) can reach",
                    setup.name, setup.address
                )
            })?;
        let listener = ListenerId(u16::try_from(at).unwrap_or(u16::MAX));
        let local = listeners
            .get(at)
            .map_or(setup.address, |listener| listener.address);
        let connection = setup.transport.is_reliable().then(|| {
            let key = ConnectionKey {
                transport: setup.transport,
                remote: setup.address,
                listener,
            };
            self.worker.connections().accepted(0, key)
        });
        Ok(Flow {
            listener,
            transport: setup.transport,
            local: if local.ip().is_unspecified() {
                SocketAddr::new(usual_local(is_v4), local.port())
            } else {
                local
            },
            remote: setup.address,
            connection: connection.flatten().map(|(flow, _)| flow),
        })
    }

    fn register(&self, setup: &PhoneSetup, flow: Flow) -> Result<(), String> {
        let wrong = || {
            format!(
                "{} can't be registered as {} with {}",
                setup.name, setup.aor, setup.contact
            )
        };
        let uri = Uri::parse(setup.aor.as_bytes()).map_err(|_| wrong())?;
        let aor = AddressOfRecord::from_uri(&uri).ok_or_else(wrong)?;
        let shared = self.worker.shared();
        let expires = shared.config.load().registrar.default_expires.as_secs();
        let contact = format!(
            "<{}>;q={}.{:03}",
            setup.contact,
            setup.q / 1000,
            setup.q % 1000
        );
        let expires = u32::try_from(expires).unwrap_or(u32::MAX);
        let registration = Registration::of_contact(aor, contact.as_bytes(), expires, Some(flow))
            .map_err(|_| wrong())?;
        let answer = shared
            .location
            .update(&registration, self.worker.now().unix, || Done::call(drop));
        match answer {
            Some(Err(reject)) => Err(format!("{}: {}", wrong(), reject.status)),
            _ => Ok(()),
        }
    }

    /// The phone of that name.
    pub(super) fn phone(&self, name: &str) -> Option<usize> {
        self.phones
            .iter()
            .position(|phone| phone.setup.name == name)
    }

    /// The phone at an address; one that nobody named is made, and gets whatever is sent there.
    pub(super) fn phone_at(&mut self, transport: Transport, address: SocketAddr) -> Option<usize> {
        let is_there =
            |phone: &Phone| (phone.setup.transport, phone.setup.address) == (transport, address);
        if let Some(known) = self.phones.iter().position(is_there) {
            return Some(known);
        }
        let name = match transport {
            Transport::Udp => address.to_string(),
            other => format!("{}:{address}", transport_name(other)),
        };
        let stranger = PhoneSetup {
            aor: format!("sip:{address}"),
            contact: format!("sip:{address}"),
            name,
            transport,
            address,
            registered: false,
            q: 1000,
            password: None,
            reachable: true,
        };
        self.add(stranger).ok()
    }

    /// One thing happens, not later than `limit`.
    pub(super) fn step(&mut self, limit: u64) -> Progress {
        if let Some(delivery) = self.queue.pop_front() {
            self.deliver(delivery);
            return Progress::Moved;
        }
        let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
        let timer = self.worker.deadline().map(|moment| moment.0);
        let next = planned.into_iter().chain(timer).min();
        let Some(next) = next.filter(|next| *next <= limit) else {
            return Progress::Still;
        };
        let mut effects = Vec::new();
        self.worker.advance(Instant(next), &mut effects);
        self.take(effects);
        if planned.is_some_and(|at| at <= self.now())
            && let Some((_, planned)) = self.agenda.pop_first()
        {
            return self.perform(planned);
        }
        Progress::Moved
    }

    fn perform(&mut self, planned: Planned) -> Progress {
        match planned {
            Planned::Answer {
                phone,
                request,
                with,
            } => {
                let answer = self
                    .phones
                    .get_mut(phone)
                    .and_then(|phone| phone.respond(request, &with));
                if let Some(answer) = answer {
                    self.post(phone, answer);
                }
                Progress::Moved
            }
            Planned::Deed(number) => Progress::Deed(number),
        }
    }

    /// Lets time pass up to this moment. Deeds of random scenarios are left out.
    pub(super) fn run_until(&mut self, moment: u64) {
        while !matches!(self.step(moment), Progress::Still) {}
        self.stand_at(moment);
    }

    /// It is this late now, and nothing is left to do before.
    pub(super) fn stand_at(&mut self, moment: u64) {
        let mut effects = Vec::new();
        self.worker.advance(Instant(moment), &mut effects);
        self.take(effects);
    }

    /// A phone will do this after so many microseconds.
    pub(super) fn plan(&mut self, after: u64, planned: Planned) {
        self.planned += 1;
        let at = self.now().saturating_add(after);
        self.agenda.insert((at, self.planned), planned);
    }

    /// A phone sends.
    pub(super) fn post(&mut self, phone: usize, outgoing: Outgoing) {
        let to = match outgoing.to {
            Peer::Router => Some(Party::Router),
            Peer::At(transport, address) if self.is_router(transport, address).is_some() => {
                Some(Party::Router)
            }
            Peer::At(transport, address) => self.phone_at(transport, address).map(Party::Phone),
        };
        let Some(to) = to else { return };
        self.dispatch(Party::Phone(phone), to, Packet::from(outgoing.bytes));
    }

    fn dispatch(&mut self, from: Party, to: Party, packet: Packet) {
        let what = Happening::Message {
            from,
            to,
            packet: packet.clone(),
            is_lost: false,
        };
        self.trace.push(self.now(), what);
        self.messages += 1;
        if self.messages > MAX_MESSAGES {
            self.violate(|| format!("there is no end: {MAX_MESSAGES} messages were sent"));
            self.queue.clear();
            return;
        }
        self.queue.push_back(Delivery::Message { from, to, packet });
    }

    fn deliver(&mut self, delivery: Delivery) {
        let mut effects = Vec::new();
        match delivery {
            Delivery::Failed(id) => self.worker.send_failed(id, &mut effects),
            Delivery::Message {
                from,
                to: Party::Router,
                packet,
            } => {
                let Some(flow) = self.flow_from(from) else {
                    return;
                };
                self.invariants.received(&packet, from);
                if self.worker.received(flow, &packet, &mut effects).is_err() {
                    self.trace
                        .push(self.now(), Happening::Note("dropped: it is no SIP message"));
                }
            }
            Delivery::Message {
                from,
                to: Party::Phone(number),
                packet,
            } => {
                return self.deliver_to_phone(from, number, &packet);
            }
        }
        self.take(effects);
    }

    fn deliver_to_phone(&mut self, from: Party, number: usize, packet: &Packet) {
        let Ok(message) = Message::parse(packet, &Limits::default()) else {
            return;
        };
        let peer = match from {
            Party::Router => Peer::Router,
            Party::Phone(other) => match self.phones.get(other) {
                Some(other) => Peer::At(other.setup.transport, other.setup.address),
                None => return,
            },
        };
        let now = self.now();
        let Some(phone) = self.phones.get_mut(number) else {
            return;
        };
        for outgoing in phone.receive(message, peer, now) {
            self.post(number, outgoing);
        }
    }

    /// How a message comes to the router. One of its own comes from where it listens.
    fn flow_from(&self, from: Party) -> Option<Flow> {
        match from {
            Party::Phone(number) => self.phones.get(number).map(|phone| phone.flow),
            Party::Router => {
                let listener = self.worker.shared().listeners.first()?;
                Some(Flow {
                    listener: ListenerId(0),
                    transport: listener.transport,
                    local: listener.address,
                    remote: listener.address,
                    connection: None,
                })
            }
        }
    }

    /// Whether the router itself is at an address.
    fn is_router(&self, transport: Transport, address: SocketAddr) -> Option<Party> {
        let listeners = &self.worker.shared().listeners;
        let is_there = listeners
            .iter()
            .any(|listener| (listener.transport, listener.address) == (transport, address));
        is_there.then_some(Party::Router)
    }

    /// Takes what the router did.
    fn take(&mut self, effects: Vec<Effect>) {
        let now = self.now();
        let notes = self.worker.script().map(Script::take_notes);
        for note in notes.unwrap_or_default() {
            self.trace.push(now, Happening::Outside(note));
        }
        log::take(|line| self.trace.push(now, Happening::Log(line)));
        for effect in effects {
            match effect {
                Effect::Send { id, to, packet } => self.send(id, &to, packet),
                Effect::Hook {
                    hook,
                    result,
                    targets,
                } => {
                    if let Err(fault) = &result {
                        self.note_fault(hook_name(hook), *fault);
                    }
                    let what = Happening::Hook {
                        hook,
                        result,
                        targets,
                    };
                    self.trace.push(now, what);
                }
                Effect::Event(event) => self.trace.push(now, Happening::Event(event)),
                Effect::Dropped(reason) => {
                    self.invariants.dropped(reason);
                    self.trace.push(now, Happening::Dropped(reason));
                }
            }
        }
        if self.worker.event_faults() > 0 {
            let fault = || "event_route failed, as the log says".to_owned();
            self.fault.get_or_insert_with(fault);
        }
    }

    fn note_fault(&mut self, hook: &str, fault: HookFault) {
        self.fault
            .get_or_insert_with(|| format!("{hook} failed: {}", fault_name(fault)));
    }

    /// The router sends.
    fn send(&mut self, id: SendId, to: &SendTo, packet: Packet) {
        let (transport, address) = match to {
            SendTo::Flow { flow, .. } => (flow.transport, flow.remote),
            SendTo::Destination(destination) => (destination.transport, destination.address),
        };
        let to = self
            .is_router(transport, address)
            .or_else(|| self.phone_at(transport, address).map(Party::Phone));
        let Some(to) = to else {
            return self.queue.push_back(Delivery::Failed(id));
        };
        if let Err(violation) = self.invariants.sent(&packet) {
            self.violate(|| violation);
        }
        let is_reachable = match to {
            Party::Phone(number) => self
                .phones
                .get(number)
                .is_some_and(|phone| phone.setup.reachable),
            Party::Router => true,
        };
        if is_reachable {
            return self.dispatch(Party::Router, to, packet);
        }
        let what = Happening::Message {
            from: Party::Router,
            to,
            packet,
            is_lost: true,
        };
        self.trace.push(self.now(), what);
        self.queue.push_back(Delivery::Failed(id));
    }

    pub(super) fn violate(&mut self, what: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(what);
    }

    /// Lets everything come to its end, and checks that nothing is left.
    pub(super) fn rest(&mut self) {
        let limit = self.now().saturating_add(REST_MICROS);
        while !self.is_at_rest() {
            if matches!(self.step(limit), Progress::Still) {
                break;
            }
        }
        let (counts, pins) = (self.worker.counts(), self.worker.pins());
        if !counts.is_empty() {
            self.violate(|| {
                format!("something is left in the router's tables at the end: {counts:?}")
            });
        }
        if pins != 0 {
            self.violate(|| {
                format!("{pins} transactions still hold the policy's version at the end")
            });
        }
        if let Some(unanswered) = self.invariants.unanswered().map(str::to_owned) {
            self.violate(|| {
                format!("RFC 3261 §17.2.1: an INVITE never got a final response: {unanswered}")
            });
        }
    }

    /// A request that the router sent to itself as it had come.
    pub(super) fn looped(&self) -> Option<String> {
        let looped = self.invariants.looped()?;
        Some(format!(
            "RFC 3261 §16.3 step 4: a loop: the router sent {looped} to itself"
        ))
    }

    /// Whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.queue.is_empty() && self.agenda.is_empty() && self.worker.counts().is_empty()
    }
}

fn usual_local(is_v4: bool) -> std::net::IpAddr {
    if is_v4 {
        std::net::Ipv4Addr::new(198, 51, 100, 1).into()
    } else {
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    }
}
