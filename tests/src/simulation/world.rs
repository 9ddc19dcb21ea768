//! The clockwork: virtual time, the network between the agents and the core, the services behind it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::{
    CoreConfig, Destination, Flow, FlowId, HookContext, HookFault, HookId, Input, Listener, ListenerId, Output, PolicyVersion, Reject, ResolveId,
    SendId, SendTo, Transport, UpdateId, Verdict,
};
use patchbay_core::registrar::ContactBinding;
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::callee::Callee;
use super::caller::{Caller, Plan};
use super::invariants::Invariants;
use super::services::{DEAD, Services};
use super::{Alarm, Wishes};
use crate::text::Text;

/// What the network does to a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The share that is lost.
    pub loss: f64,
    /// The share that comes twice.
    pub doubling: f64,
    /// The longest delay in microseconds; what is delayed differently is reordered.
    pub delay: u64,
}

enum Event {
    ToRouter { from: SocketAddr, reliable: bool, bytes: Vec<u8> },
    ToAgent { to: SocketAddr, bytes: Vec<u8> },
    AgentAlarm { agent: SocketAddr, alarm: Alarm },
    Hook { id: HookId, result: Result<Verdict, HookFault>, context: Option<Box<HookContext>>, version: PolicyVersion },
    Resolved { id: ResolveId, destinations: Vec<Destination> },
    Updated { id: UpdateId, result: Result<Vec<ContactBinding>, Reject> },
    SendFailed { id: SendId },
}

/// One run.
pub struct World {
    seed: u64,
    now: u64,
    random: StdRng,
    network: Network,
    core: Core,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    /// On a reliable transport nothing overtakes: the last arrival by direction and agent.
    last_arrival: BTreeMap<(bool, SocketAddr), u64>,
    callers: BTreeMap<SocketAddr, Caller>,
    callees: BTreeMap<SocketAddr, Callee>,
    services: Services,
    invariants: Invariants,
    trace: DefaultHasher,
    /// Messages that the router sent.
    pub sent: u64,
}

const ROUTER: &str = "10.0.0.1:5060";
const SECOND: u64 = 1_000_000;

fn config() -> CoreConfig {
    let address = ROUTER.parse().expect("an address");
    CoreConfig {
        node: "sim".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![
            Listener { transport: Transport::Udp, address, advertise: None },
            Listener { transport: Transport::Tcp, address, advertise: None },
        ],
        token_key: [9; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog: false,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        max_transactions: 10_000,
        max_branches: 32,
        max_failure_rounds: 8,
        max_breadth: 60,
        retry_after_secs: 5,
    }
}

impl World {
    /// A world with a few callers and phones, all drawn from the seed.
    pub fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let network = if random.random_bool(0.3) {
            Network { loss: 0.0, doubling: 0.0, delay: 1_000 }
        } else {
            Network { loss: random.random_range(0.0..0.15), doubling: random.random_range(0.0..0.1), delay: random.random_range(1_000..400_000) }
        };
        let phones: Vec<(SocketAddr, bool)> = (0..random.random_range(2..5u8)).map(|i| (SocketAddr::from(([10, 2, 0, i], 5060)), random.random_bool(0.3))).collect();
        let mut core_seed = [0; 32];
        random.fill(&mut core_seed);
        let mut world = World {
            seed,
            now: SECOND,
            network,
            core: Core::new(Arc::new(config()), core_seed),
            queue: BTreeMap::new(),
            sequence: 0,
            last_arrival: BTreeMap::new(),
            callers: BTreeMap::new(),
            callees: phones.iter().map(|&(address, reliable)| (address, Callee::new(address, reliable))).collect(),
            services: Services::new(phones),
            invariants: Invariants::default(),
            trace: DefaultHasher::new(),
            sent: 0,
            random,
        };
        for number in 0..world.random.random_range(3..10) {
            world.add_caller(number);
        }
        world
    }

    fn add_caller(&mut self, number: usize) {
        let address = SocketAddr::from(([10, 1, 0, number as u8], 5060));
        let random = &mut self.random;
        let plan = Plan {
            callee: format!("user{}", random.random_range(0..3)),
            cancel_after: random.random_bool(0.3).then(|| random.random_range(0..10 * SECOND)),
            hang_up_after: random.random_range(1_000..5 * SECOND),
            registers: random.random_bool(0.2),
            reliable: random.random_bool(0.3),
        };
        let start = random.random_range(0..5 * SECOND);
        self.callers.insert(address, Caller::new(number, address, plan));
        self.schedule(start, Event::AgentAlarm { agent: address, alarm: Alarm::Start });
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn clock(&self) -> Now {
        Now { instant: Instant(self.now), unix: UnixTime(1_700_000_000 + self.now / SECOND) }
    }

    /// Runs until nothing is left to happen; checks everything. The digest of all that was sent tells two runs apart.
    pub fn run(mut self) -> u64 {
        let mut steps = 0_u64;
        loop {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let timer = self.core.poll_timeout().map(|at| at.0);
            let Some(next) = event.into_iter().chain(timer).min() else { break };
            self.now = self.now.max(next);
            if timer.is_some_and(|at| at <= self.now) {
                self.core.handle_timeout(self.clock());
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.step(event);
            }
            self.carry_out();
            steps += 1;
            assert!(steps < 500_000, "seed {:#x}: no end after {steps} steps", self.seed);
        }
        self.check_end();
        self.trace.finish()
    }

    fn step(&mut self, event: Event) {
        let now = self.clock();
        match event {
            Event::ToRouter { from, reliable, bytes } => self.receive(from, reliable, &bytes),
            Event::ToAgent { to, bytes } => self.deliver(to, &bytes),
            Event::AgentAlarm { agent, alarm } => self.alarm(agent, &alarm),
            Event::Hook { id, result, context, version } => self.core.handle(now, Input::HookReturned { id, result, context, version }),
            Event::Resolved { id, destinations } => self.core.handle(now, Input::Resolved { id, destinations }),
            Event::Updated { id, result } => self.core.handle(now, Input::BindingsUpdated { id, result }),
            Event::SendFailed { id } => self.core.handle(now, Input::SendFailed { id }),
        }
    }

    fn receive(&mut self, from: SocketAddr, reliable: bool, bytes: &[u8]) {
        self.invariants.on_input(&Text::parse(bytes));
        let message = Arc::new(Message::parse(bytes, &Limits::default()).expect("our agents speak SIP"));
        let octets = match from.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => [0; 4],
        };
        let slot = u32::from_be_bytes(octets);
        let flow = Flow {
            listener: ListenerId(u16::from(reliable)),
            transport: if reliable { Transport::Tcp } else { Transport::Udp },
            local: ROUTER.parse().expect("an address"),
            remote: from,
            connection: reliable.then_some(FlowId { owner: 0, slot, generation: 1 }),
        };
        self.core.handle(self.clock(), Input::Received { flow, message });
    }

    fn deliver(&mut self, to: SocketAddr, bytes: &[u8]) {
        let (text, mut wishes) = (Text::parse(bytes), Wishes::default());
        if let Some(callee) = self.callees.get_mut(&to) {
            callee.on_request(&text, &mut self.random, &mut wishes);
        } else if let Some(caller) = self.callers.get_mut(&to) {
            caller.on_response(&text, &mut wishes);
        }
        self.grant(to, wishes);
    }

    fn alarm(&mut self, agent: SocketAddr, alarm: &Alarm) {
        let mut wishes = Wishes::default();
        if let Some(callee) = self.callees.get_mut(&agent) {
            callee.on_alarm(alarm, &mut wishes);
        } else if let Some(caller) = self.callers.get_mut(&agent) {
            caller.on_alarm(alarm, &mut wishes);
        }
        self.grant(agent, wishes);
    }

    fn grant(&mut self, agent: SocketAddr, wishes: Wishes) {
        let reliable = self.is_reliable(agent);
        for text in wishes.send {
            self.transmit(false, agent, reliable, |bytes| Event::ToRouter { from: agent, reliable, bytes }, text.into_bytes());
        }
        for (after, alarm) in wishes.timers {
            self.schedule(after, Event::AgentAlarm { agent, alarm });
        }
    }

    fn is_reliable(&self, agent: SocketAddr) -> bool {
        self.callers.get(&agent).map(|caller| caller.plan.reliable).or_else(|| self.callees.get(&agent).map(|callee| callee.reliable)).unwrap_or(false)
    }

    /// Over the network: on a reliable transport late but whole and in order, else as it comes.
    fn transmit(&mut self, outward: bool, agent: SocketAddr, reliable: bool, event: impl Fn(Vec<u8>) -> Event, bytes: Vec<u8>) {
        let delay = self.random.random_range(100..=self.network.delay.max(101));
        if reliable {
            let last = self.last_arrival.entry((outward, agent)).or_default();
            let arrival = (self.now + delay).max(*last + 1);
            *last = arrival;
            return self.schedule(arrival - self.now, event(bytes));
        }
        if self.random.random_bool(self.network.doubling) {
            let later = self.random.random_range(100..=self.network.delay.max(101));
            self.schedule(later, event(bytes.clone()));
        }
        if !self.random.random_bool(self.network.loss) {
            self.schedule(delay, event(bytes));
        }
    }

    /// Does what the core wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { id, to, packet } => self.send(id, &to, &packet),
                Output::RunHook { id, hook, version, mut context } => {
                    let (result, version) = self.services.decide(hook, version, &mut context, &mut self.random);
                    let context = (result.is_ok() || self.random.random_bool(0.5)).then_some(context);
                    let after = if self.random.random_bool(0.6) { 0 } else { self.random.random_range(0..2 * SECOND) };
                    self.schedule(after, Event::Hook { id, result, context, version });
                }
                Output::Resolve { id, uri, .. } => {
                    let destinations = self.services.resolve(&String::from_utf8_lossy(&uri), &mut self.random);
                    let after = if self.random.random_bool(0.7) { 0 } else { self.random.random_range(0..SECOND) };
                    self.schedule(after, Event::Resolved { id, destinations });
                }
                Output::UpdateBindings { id, registration } => {
                    let result = self.services.update(&registration, self.clock().unix);
                    let after = self.random.random_range(0..20_000);
                    self.schedule(after, Event::Updated { id, result });
                }
                Output::Unpin { version } => self.services.unpin(version),
                Output::OriginateResponse { .. } | Output::Event(_) => {}
            }
        }
    }

    fn send(&mut self, id: SendId, to: &SendTo, packet: &[u8]) {
        self.sent += 1;
        packet.hash(&mut self.trace);
        self.invariants.on_output(packet);
        let (address, transport) = match to {
            SendTo::Flow { flow, .. } => (flow.remote, flow.transport),
            SendTo::Destination(destination) => (destination.address, destination.transport),
        };
        if address == DEAD {
            return self.schedule(1_000, Event::SendFailed { id });
        }
        self.transmit(true, address, transport.is_reliable(), |bytes| Event::ToAgent { to: address, bytes }, packet.to_vec());
    }

    fn check_end(&self) {
        let seed = self.seed;
        assert!(self.core.counts().is_empty(), "seed {seed:#x}: tables are not empty: {:?}", self.core.counts());
        let pinned: Vec<_> = self.services.pins.iter().filter(|(_, count)| **count != 0).collect();
        assert!(pinned.is_empty(), "seed {seed:#x}: versions stay pinned: {pinned:?}");
        for caller in self.callers.values() {
            assert!(caller.is_over(), "seed {seed:#x}: {} has not ended: {caller:?}", caller.call_id);
            assert!(!caller.gave_up, "seed {seed:#x}: {} had to give up: {caller:?}", caller.call_id);
        }
        for callee in self.callees.values() {
            let open: Vec<_> = callee.unacknowledged().collect();
            assert!(open.is_empty(), "seed {seed:#x}: answered, but never acknowledged: {open:?}");
        }
    }
}
