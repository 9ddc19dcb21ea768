//! Whole calls through the core, with a policy that answers at once: the cost of each message, and of the timers that follow.

use std::sync::Arc;
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::{
    CoreConfig, Flow, Input, Listener, ListenerId, Output, Packet, PolicyVersion, Reply, Target,
    Transport, Verdict,
};
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message, MessagePool};

use crate::suite::{Steps, Suite};

const ROUTER: &str = "192.0.2.100:5060";
const ALICE: &str = "192.0.2.1:5060";
const BOB: &str = "192.0.2.2:5060";
const OPERATIONS: u64 = 400;
/// Longer than any transaction of an answered request lives.
const END: Duration = Duration::from_secs(40);
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// The messages of a call, one after the other.
pub(crate) fn call() -> Box<dyn Suite> {
    let steps = steps_of_a_call(Driver::new());
    Box::new(steps.step("their timers", |driver, _| driver.wait(END)))
}

/// An OPTIONS that the policy answers.
pub(crate) fn options() -> Box<dyn Suite> {
    let steps = Steps::new(OPERATIONS, Driver::new())
        .prepare(|driver, times| driver.prepare_requests("OPTIONS", times))
        .step("OPTIONS", Driver::receive_inbox)
        .step("its timers", |driver, _| driver.wait(END));
    Box::new(steps)
}

/// Whole calls while `live` other calls ring.
pub(crate) fn among(live: u64) -> Box<dyn Suite> {
    let mut driver = Driver::new();
    for _ in 0..live.div_ceil(OPERATIONS) {
        driver.prepare_requests("INVITE", OPERATIONS.min(live));
        driver.receive_inbox(0);
        driver.prepare_responses("180 Ringing", "INVITE");
        driver.receive_inbox(0);
    }
    Box::new(steps_of_a_call(driver))
}

fn steps_of_a_call(driver: Driver) -> Steps<Driver> {
    Steps::new(OPERATIONS, driver)
        .prepare(|driver, times| driver.prepare_requests("INVITE", times))
        .step("INVITE", Driver::receive_inbox)
        .prepare(|driver, _| driver.prepare_responses("180 Ringing", "INVITE"))
        .step("180", Driver::receive_inbox)
        .prepare(|driver, _| driver.prepare_responses("200 OK", "INVITE"))
        .step("200 to INVITE", Driver::receive_inbox)
        .prepare(|driver, _| driver.prepare_in_dialog("ACK"))
        .step("ACK", Driver::receive_inbox)
        .prepare(|driver, _| driver.prepare_in_dialog("BYE"))
        .step("BYE", Driver::receive_inbox)
        .prepare(|driver, _| driver.prepare_responses("200 OK", "BYE"))
        .step("200 to BYE", Driver::receive_inbox)
}

/// Drives a core, and plays phones.
struct Driver {
    core: Core,
    now: Now,
    pool: MessagePool,
    /// The messages of the next step, with who sends them.
    inbox: Vec<(&'static str, Vec<u8>)>,
    /// What the core sent in the last step.
    sent: Vec<Packet>,
    /// The INVITEs of the calls under way as they were forwarded, then their BYEs.
    forwarded: Vec<Packet>,
    /// What the policy will add, which is not the core's cost.
    targets: Vec<Vec<Target>>,
    /// Calls before those under way.
    first: u64,
    number: u64,
}

impl Driver {
    fn new() -> Driver {
        Driver {
            core: Core::new(Arc::new(config()), [1; 32]),
            now: Now {
                instant: Instant(0),
                unix: UnixTime(1_700_000_000),
            },
            pool: MessagePool::default(),
            inbox: Vec::new(),
            sent: Vec::new(),
            forwarded: Vec::new(),
            targets: Vec::new(),
            first: 0,
            number: 0,
        }
    }

    /// Requests of new calls.
    fn prepare_requests(&mut self, method: &str, times: u64) {
        self.sent.clear();
        self.sent.reserve(2 * times as usize);
        self.first = self.number;
        self.number += times;
        self.targets = (0..times)
            .map(|_| vec![Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec())])
            .collect();
        self.inbox = (self.first..self.number)
            .map(|number| (ALICE, request(method, number, "example.com", "", "")))
            .collect();
    }

    /// The same response to every forwarded request.
    fn prepare_responses(&mut self, status: &str, method: &str) {
        let forwarded = |packet: &&Packet| packet.starts_with(method.as_bytes());
        let new: Vec<Packet> = self.sent.iter().filter(forwarded).cloned().collect();
        if !new.is_empty() {
            self.forwarded = new;
        }
        self.sent.clear();
        self.inbox = self
            .forwarded
            .iter()
            .map(|packet| (BOB, response(packet, status)))
            .collect();
    }

    /// A request in every dialog that a 200 has just made.
    fn prepare_in_dialog(&mut self, method: &str) {
        let invite = Message::parse(&self.forwarded[0], &Limits::default()).expect("an INVITE");
        assert!(invite.is_request(), "calls were forwarded");
        let routes: Vec<Vec<u8>> = self
            .forwarded
            .iter()
            .map(|packet| {
                let message = Message::parse(packet, &Limits::default()).expect("an INVITE");
                message.header("Record-Route").expect("ours").to_vec()
            })
            .collect();
        self.sent.clear();
        self.inbox = (self.first..self.number)
            .zip(routes)
            .map(|(number, route)| {
                let route = format!("Route: {}\r\n", String::from_utf8_lossy(&route));
                (
                    ALICE,
                    request(method, number, "192.0.2.2", ";tag=bob", &route),
                )
            })
            .collect();
    }

    /// Hands every prepared message to the core.
    fn receive_inbox(&mut self, _: u64) {
        for (from, bytes) in std::mem::take(&mut self.inbox) {
            let mut message = self.pool.take();
            Arc::get_mut(&mut message)
                .expect("nobody else has it")
                .parse_into(&bytes, &Limits::default())
                .expect("a message");
            let flow = Flow {
                listener: ListenerId(0),
                transport: Transport::Udp,
                local: ROUTER.parse().expect("an address"),
                remote: from.parse().expect("an address"),
                connection: None,
            };
            let kept = Arc::clone(&message);
            self.core
                .handle(self.now, Input::Received { flow, message });
            self.carry_out();
            self.pool.put(kept);
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { packet, .. } => self.sent.push(packet),
                Output::RunHook {
                    id, mut context, ..
                } => {
                    let verdict = if context.in_dialog {
                        Verdict::Relay
                    } else if context.request.base().method().as_bytes() == b"OPTIONS" {
                        Verdict::Reply(Reply {
                            status: 200,
                            ..Reply::default()
                        })
                    } else {
                        context.routing.targets = self.targets.pop().unwrap_or_default();
                        Verdict::Relay
                    };
                    let returned = Input::HookReturned {
                        id,
                        result: Ok(verdict),
                        context: Some(context),
                        version: PolicyVersion(1),
                        tenant: None,
                    };
                    self.core.handle(self.now, returned);
                }
                Output::Event(_) | Output::Unpin { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.core.handle_timeout(self.now);
            self.carry_out();
        }
        self.now.instant = end;
    }
}

fn request(method: &str, number: u64, host: &str, to_tag: &str, route: &str) -> Vec<u8> {
    let body = if method == "INVITE" { SDP } else { "" };
    format!(
        "{method} sip:bob@{host} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{method}{number:08};rport\r\nMax-Forwards: 70\r\n{route}\
         From: \"Alice\" <sip:alice@example.com>;tag=a{number:08}\r\nTo: <sip:bob@example.com>{to_tag}\r\nCall-ID: {number:08}@192.0.2.1\r\n\
         CSeq: 1 {method}\r\nContact: <sip:alice@192.0.2.1:5060>\r\nUser-Agent: measurement\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A response to a request that was forwarded.
fn response(request: &[u8], status: &str) -> Vec<u8> {
    let request = Message::parse(request, &Limits::default()).expect("a request");
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, value) in request.fields() {
        let name = String::from_utf8_lossy(name.text()).into_owned();
        if ["Via", "Record-Route", "From", "Call-ID", "CSeq"].contains(&name.as_str()) {
            text += &format!("{name}: {}\r\n", String::from_utf8_lossy(value));
        }
    }
    text += "To: <sip:bob@example.com>;tag=bob\r\nContact: <sip:bob@192.0.2.2>\r\nContent-Length: 0\r\n\r\n";
    text.into_bytes()
}

fn config() -> CoreConfig {
    CoreConfig {
        node: "bench".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![Listener {
            transport: Transport::Udp,
            address: ROUTER.parse().expect("an address"),
            advertise: None,
        }],
        tenant_domains: Default::default(),
        token_key: [7; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog: false,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        max_transactions: 1_000_000,
        max_branches: 32,
        max_failure_rounds: 8,
        max_breadth: 60,
        retry_after_secs: 5,
    }
}
