//! The clockwork: virtual time, the agents, the network between them and the core, the services behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::{
    CoreConfig, Flow, FlowId, Hook, HookContext, HookId, Input, Listener, ListenerId, Originate,
    OriginateId, Output, PolicyVersion, SendId, SendTo, Transport,
};
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::callee::Callee;
use super::caller::{Aim, Caller, Plan};
use super::event::Event;
use super::invariants::Invariants;
use super::network::Network;
use super::services::{DEAD, SILENT, Services};
use super::user_agent::UserAgent;
use super::{Alarm, SECOND, Wishes, branch};
use crate::text::Text;

/// One run.
pub struct World {
    seed: u64,
    now: u64,
    random: StdRng,
    network: Network,
    core: Core,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    callers: BTreeMap<SocketAddr, Caller>,
    callees: BTreeMap<SocketAddr, Callee>,
    services: Services,
    invariants: Invariants,
    /// Calls that may fail: a connection broke under them.
    excused: BTreeSet<String>,
    /// Requests of the router's own, and how many answers they had.
    probes: BTreeMap<u64, u32>,
    trace: DefaultHasher,
    traced: bool,
}

const ROUTER: &str = "10.0.0.1:5060";

fn config(pin_dialog: bool) -> CoreConfig {
    let address = ROUTER.parse().expect("an address");
    let listener = |transport| Listener {
        transport,
        address,
        advertise: None,
    };
    CoreConfig {
        node: "sim".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        tenant_domains: Default::default(),
        token_key: [9; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog,
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
    /// A world with a few callers and phones, all drawn from the seed. With `PATCHBAY_SIM_TRACE` set each step is printed.
    pub fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let network = Network::draw(&mut random);
        let phones: Vec<(SocketAddr, bool)> = (0..random.random_range(2..5u8))
            .map(|i| {
                (
                    SocketAddr::from(([10, 2, 0, i], 5060)),
                    random.random_bool(0.3),
                )
            })
            .collect();
        let pin_dialog = random.random_bool(0.3);
        let mut core_seed = [0; 32];
        random.fill(&mut core_seed);
        let callee = |(number, &(address, reliable)): (usize, &(SocketAddr, bool))| {
            (address, Callee::new(number, address, reliable))
        };
        let mut world = World {
            seed,
            now: SECOND,
            network,
            core: Core::new(Arc::new(config(pin_dialog)), core_seed),
            queue: BTreeMap::new(),
            sequence: 0,
            callers: BTreeMap::new(),
            callees: phones.iter().enumerate().map(callee).collect(),
            services: Services::new(phones, pin_dialog),
            invariants: Invariants::default(),
            excused: BTreeSet::new(),
            probes: BTreeMap::new(),
            trace: DefaultHasher::new(),
            traced: std::env::var_os("PATCHBAY_SIM_TRACE").is_some(),
            random,
        };
        for number in 0..world.random.random_range(3..10) {
            world.add_caller(number);
        }
        world.add_surprises();
        world
    }

    fn add_caller(&mut self, number: usize) {
        let address = SocketAddr::from(([10, 1, 0, number as u8], 5060));
        let random = &mut self.random;
        let plan = Plan {
            aim: [
                Aim::Call,
                Aim::Call,
                Aim::Call,
                Aim::Call,
                Aim::Message,
                Aim::Register,
            ][random.random_range(0..6)],
            callee: format!("user{}", random.random_range(0..3)),
            cancel_after: random
                .random_bool(0.3)
                .then(|| random.random_range(0..10 * SECOND)),
            hasty: random.random_bool(0.3),
            hang_up_after: random.random_range(1_000..8 * SECOND),
            reinvite_after: random
                .random_bool(0.3)
                .then(|| random.random_range(0..4 * SECOND)),
            repeat_after: random
                .random_bool(0.2)
                .then(|| random.random_range(0..3 * SECOND)),
        };
        let (reliable, start) = (random.random_bool(0.3), random.random_range(0..5 * SECOND));
        self.callers
            .insert(address, Caller::new(number, address, reliable, plan));
        self.schedule(
            start,
            Event::AgentAlarm {
                agent: address,
                alarm: Alarm::Start,
            },
        );
    }

    fn add_surprises(&mut self) {
        if self.random.random_bool(0.2) {
            let after = self.random.random_range(0..15 * SECOND);
            self.schedule(after, Event::Drain);
        }
        for _ in 0..self.random.random_range(0..4) {
            let after = self.random.random_range(0..30 * SECOND);
            self.schedule(after, Event::Probe);
        }
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    fn clock(&self) -> Now {
        Now {
            instant: Instant(self.now),
            unix: UnixTime(1_700_000_000 + self.now / SECOND),
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>12.6} {}", self.now as f64 / SECOND as f64, what());
        }
    }

    /// Runs until nothing is left to happen; checks everything. The digest of all that was sent tells two runs apart.
    pub fn run(mut self) -> u64 {
        let mut steps = 0_u64;
        loop {
            let event = self.queue.keys().next().map(|(at, _)| *at);
            let timer = self.core.poll_timeout().map(|at| at.0);
            let Some(next) = event.into_iter().chain(timer).min() else {
                break;
            };
            self.now = self.now.max(next);
            if timer.is_some_and(|at| at <= self.now) {
                self.core.handle_timeout(self.clock());
            } else if let Some((_, event)) = self.queue.pop_first() {
                self.tell(|| event.line());
                self.step(event);
            }
            self.carry_out();
            self.core.check_invariants();
            self.invariants.on_time(self.now);
            steps += 1;
            assert!(
                steps < 500_000,
                "seed {:#x}: no end after {steps} steps",
                self.seed
            );
        }
        self.check_end().finish()
    }

    fn step(&mut self, event: Event) {
        let input = match event {
            Event::ToRouter {
                from,
                reliable,
                bytes,
            } => self.arrival(from, reliable, &bytes),
            Event::ToAgent { to, bytes } => return self.deliver(to, &bytes),
            Event::AgentAlarm { agent, alarm } => return self.alarm(agent, &alarm),
            Event::Hook {
                id,
                result,
                context,
                version,
            } => {
                self.invariants.on_hook_end(id, result.as_ref().ok());
                Input::HookReturned {
                    id,
                    result,
                    context,
                    version,
                    tenant: None,
                }
            }
            Event::Resolved { id, destinations } => Input::Resolved { id, destinations },
            Event::Updated { id, result } => Input::BindingsUpdated { id, result },
            Event::SendFailed { id, branch } => {
                self.invariants.on_failed(&branch);
                Input::SendFailed { id }
            }
            Event::Probe => self.probe(),
            Event::Drain => Input::Drain,
        };
        self.core.handle(self.clock(), input);
    }

    fn arrival(&mut self, from: SocketAddr, reliable: bool, bytes: &[u8]) -> Input {
        self.invariants
            .on_input(self.now, &Text::parse(bytes), reliable);
        let message =
            Arc::new(Message::parse(bytes, &Limits::default()).expect("our agents speak SIP"));
        let octets = match from.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => [0; 4],
        };
        let slot = u32::from_be_bytes(octets);
        let flow = Flow {
            listener: ListenerId(u16::from(reliable)),
            transport: if reliable {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            local: ROUTER.parse().expect("an address"),
            remote: from,
            connection: reliable.then_some(FlowId {
                owner: 0,
                slot,
                generation: 1,
            }),
        };
        Input::Received { flow, message }
    }

    /// An OPTIONS of the router's own to one of the phones.
    fn probe(&mut self) -> Input {
        let number = self.probes.len() as u64 + 1;
        self.probes.insert(number, 0);
        let phone = self.random.random_range(0..self.callees.len());
        Input::Originate(Originate {
            id: OriginateId(number),
            method: b"OPTIONS".to_vec(),
            uri: format!("sip:probe@phone{phone}.sim").into_bytes(),
            from: b"sip:prober@example.com".to_vec(),
            to: format!("sip:probe@phone{phone}.sim").into_bytes(),
            headers: Vec::new(),
            body: None,
        })
    }

    fn deliver(&mut self, to: SocketAddr, bytes: &[u8]) {
        let (text, mut wishes) = (Text::parse(bytes), Wishes::default());
        let is_request = text.status() == 0;
        match (self.callees.get_mut(&to), self.callers.get_mut(&to)) {
            (Some(callee), _) if is_request => {
                callee.on_request(&text, &mut self.random, &mut wishes)
            }
            (Some(callee), _) => callee.on_response(&text, &mut wishes),
            (_, Some(caller)) if is_request => caller.on_request(&text, &mut wishes),
            (_, Some(caller)) => caller.on_response(&text, &mut wishes),
            _ => {}
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
        let reliable = self
            .agents()
            .any(|other| other.address == agent && other.reliable);
        for text in wishes.send {
            self.transmit(false, agent, reliable, text.as_bytes(), |bytes| {
                Event::ToRouter {
                    from: agent,
                    reliable,
                    bytes,
                }
            });
        }
        for (after, alarm) in wishes.timers {
            self.schedule(after, Event::AgentAlarm { agent, alarm });
        }
    }

    fn agents(&self) -> impl Iterator<Item = &UserAgent> {
        self.callers
            .values()
            .map(|caller| &caller.agent)
            .chain(self.callees.values().map(|callee| &callee.agent))
    }

    /// Over the network: on a connection late but whole and in order, else as it comes.
    fn transmit(
        &mut self,
        outward: bool,
        agent: SocketAddr,
        reliable: bool,
        bytes: &[u8],
        event: impl Fn(Vec<u8>) -> Event,
    ) {
        if reliable {
            let arrival = self
                .network
                .on_connection(self.now, outward, agent, &mut self.random);
            return self.schedule(arrival - self.now, event(bytes.to_vec()));
        }
        for delay in self.network.on_datagram(bytes, &mut self.random) {
            self.schedule(delay, event(bytes.to_vec()));
        }
    }

    /// Does what the core wants done.
    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { id, to, packet } => self.send(id, &to, &packet),
                Output::RunHook {
                    id,
                    hook,
                    version,
                    context,
                    ..
                } => self.run_hook(id, hook, version, context),
                Output::Resolve { id, uri, .. } => {
                    let destinations = self
                        .services
                        .resolve(&String::from_utf8_lossy(&uri), &mut self.random);
                    let after = if self.random.random_bool(0.7) {
                        0
                    } else {
                        self.random.random_range(0..SECOND)
                    };
                    self.schedule(after, Event::Resolved { id, destinations });
                }
                Output::UpdateBindings {
                    id, registration, ..
                } => {
                    let result = self.services.update(&registration, self.clock().unix);
                    let after = self.random.random_range(0..20_000);
                    self.schedule(after, Event::Updated { id, result });
                }
                Output::Unpin { version, .. } => self.services.unpin(version),
                Output::OriginateResponse { id, response } => {
                    self.on_probe_answer(id, response.and_then(|response| response.status()))
                }
                Output::Event(_) => {}
            }
        }
    }

    fn run_hook(
        &mut self,
        id: HookId,
        hook: Hook,
        version: PolicyVersion,
        mut context: Box<HookContext>,
    ) {
        self.tell(|| {
            format!(
                "  hook {:x} {hook:?} {}",
                id.0,
                String::from_utf8_lossy(context.request.call_id())
            )
        });
        self.invariants.on_hook(id, hook, &context);
        let (result, version) = self
            .services
            .decide(hook, version, &mut context, &mut self.random);
        let context = (result.is_ok() || self.random.random_bool(0.5)).then_some(context);
        let after = if self.random.random_bool(0.6) {
            0
        } else {
            self.random.random_range(0..2 * SECOND)
        };
        self.schedule(
            after,
            Event::Hook {
                id,
                result,
                context,
                version,
            },
        );
    }

    fn on_probe_answer(&mut self, id: OriginateId, status: Option<u16>) {
        self.tell(|| format!("  probe {} is answered {status:?}", id.0));
        if status.is_none_or(|status| status >= 200) {
            *self.probes.entry(id.0).or_default() += 1;
        }
    }

    fn send(&mut self, id: SendId, to: &SendTo, packet: &[u8]) {
        packet.hash(&mut self.trace);
        let text = Text::parse(packet);
        self.tell(|| format!("  router sends {:x} {}", id.0, text.line()));
        let (address, transport) = match to {
            SendTo::Flow { flow, .. } => (flow.remote, flow.transport),
            SendTo::Destination(destination) => (destination.address, destination.transport),
        };
        let call_id = text.header("Call-ID");
        self.invariants.on_output(
            self.now,
            packet,
            self.excused.contains(call_id),
            &self.services.timed,
        );
        let breaks = transport.is_reliable() && self.network.breaks(&mut self.random);
        if address == DEAD || breaks {
            if breaks {
                self.excused.insert(call_id.to_owned());
            }
            return self.schedule(
                1_000,
                Event::SendFailed {
                    id,
                    branch: branch(&text),
                },
            );
        }
        if address != SILENT {
            self.transmit(true, address, transport.is_reliable(), packet, |bytes| {
                Event::ToAgent { to: address, bytes }
            });
        }
    }

    fn check_end(mut self) -> DefaultHasher {
        let seed = self.seed;
        assert!(
            self.core.counts().is_empty(),
            "seed {seed:#x}: tables are not empty: {:?}",
            self.core.counts()
        );
        let pinned: Vec<_> = self
            .services
            .pins
            .iter()
            .filter(|(_, count)| **count != 0)
            .collect();
        assert!(
            pinned.is_empty(),
            "seed {seed:#x}: versions stay pinned: {pinned:?}"
        );
        let unanswered: Vec<_> = self
            .probes
            .iter()
            .filter(|(_, answers)| **answers != 1)
            .collect();
        assert!(
            unanswered.is_empty(),
            "seed {seed:#x}: probes without exactly one answer: {unanswered:?}"
        );
        self.excused.append(&mut self.services.dropped);
        self.invariants.check_end(&self.excused);
        for caller in self
            .callers
            .values()
            .filter(|caller| !self.excused.contains(&caller.call_id))
        {
            assert!(
                caller.is_over(),
                "seed {seed:#x}: {} has not ended: {caller:#?}",
                caller.call_id
            );
        }
        self.agents().for_each(|agent| self.check_agent(agent));
        self.trace
    }

    fn check_agent(&self, agent: &UserAgent) {
        let seed = self.seed;
        let counts = |call_id: &str| !self.excused.contains(call_id);
        for answer in agent
            .answers
            .iter()
            .filter(|answer| counts(answer.invite.header("Call-ID")))
        {
            let is_done = answer.status == 0 || answer.acknowledged;
            assert!(
                is_done,
                "seed {seed:#x}: {} without ACK: {:?}",
                answer.status, answer.invite
            );
        }
        let complaint = agent.complaints.iter().find(|(call_id, _)| counts(call_id));
        assert!(complaint.is_none(), "seed {seed:#x}: {complaint:?}");
        let unheard = agent.unheard.iter().find(|call_id| counts(call_id));
        assert!(
            unheard.is_none(),
            "seed {seed:#x}: a reliable provisional response got no PRACK: {unheard:?}"
        );
        for (call_id, method) in agent
            .unanswered
            .iter()
            .filter(|(call_id, _)| counts(call_id))
        {
            // RFC 4320: nothing is better than a late answer.
            assert_eq!(
                method, "MESSAGE",
                "seed {seed:#x}: nobody answered: {call_id}"
            );
        }
    }
}
