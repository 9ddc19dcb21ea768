//! Any sequence of inputs into a core: messages, bytes that are hardly any, answers to questions it asked, to questions it never
//! asked, and time. Whatever comes, it does not panic, and after a long quiet its tables are empty.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::{
    Armed, CoreConfig, Destination, Flow, FlowId, HookContext, HookFault, HookId, Input, Listener,
    ListenerId, Originate, OriginateId, Output, Packet, PolicyVersion, Reject, Reply, ResolveId,
    SendId, Target, Transport, UpdateId, Verdict,
};
use patchbay_core::registrar::Bindings;
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message};

/// Text to build messages from; a step picks one and spoils it.
const REQUESTS: [&str; 6] = [
    "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@10.0.0.2>\r\nContent-Length: 0\r\n\r\n",
    "ACK sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\nCall-ID: c1\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
    "CANCEL sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKa;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c1\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n",
    "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TCP 10.0.0.2;branch=z9hG4bKb\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:a@example.com>\r\nCall-ID: c2\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@10.0.0.2>;expires=60\r\nContent-Length: 0\r\n\r\n",
    "MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKc\r\nMax-Forwards: 1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c3\r\nCSeq: 1 MESSAGE\r\nRoute: <sip:10.0.0.1;lr>\r\nContent-Length: 0\r\n\r\n",
    "BYE sip:bob@10.0.0.3 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKd\r\nMax-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\nCall-ID: c1\r\nCSeq: 2 BYE\r\nRoute: <sip:pb0@10.0.0.1;lr>\r\nContent-Length: 0\r\n\r\n",
];

const STATUSES: [u16; 10] = [100, 180, 183, 200, 202, 302, 401, 486, 503, 603];

struct Stage<'a> {
    core: Core,
    now: u64,
    bytes: std::slice::Iter<'a, u8>,
    hooks: Vec<(HookId, Box<HookContext>)>,
    resolves: Vec<ResolveId>,
    updates: Vec<UpdateId>,
    sends: Vec<SendId>,
    requests: Vec<Packet>,
}

/// Reads the script as steps and carries them out.
///
/// # Panics
/// When something is left after a long quiet, or what must hold between inputs does not.
pub fn run(script: &[u8]) {
    let mut stage = Stage {
        core: Core::new(Arc::new(config()), [1; 32]),
        now: 1_000_000,
        bytes: script.iter(),
        hooks: Vec::new(),
        resolves: Vec::new(),
        updates: Vec::new(),
        sends: Vec::new(),
        requests: Vec::new(),
    };
    while let Some(step) = stage.bytes.next().copied() {
        stage.step(step);
        stage.drain();
    }
    stage.quiet();
}

fn config() -> CoreConfig {
    let address = "10.0.0.1:5060".parse().expect("an address");
    let listener = |transport| Listener {
        transport,
        address,
        advertise: None,
    };
    CoreConfig {
        node: "fuzz".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        tenant_domains: Default::default(),
        token_key: [9; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog: true,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        max_transactions: 20,
        max_branches: 6,
        max_failure_rounds: 2,
        max_breadth: 5,
        retry_after_secs: 5,
    }
}

impl Stage<'_> {
    fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    /// One of so many, or `None` when there are none.
    fn pick(&mut self, count: usize) -> Option<usize> {
        let byte = usize::from(self.byte());
        (count > 0).then(|| byte % count)
    }

    fn clock(&self) -> Now {
        Now {
            instant: Instant(self.now),
            unix: UnixTime(1_700_000_000 + self.now / 1_000_000),
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(self.clock(), input);
    }

    fn step(&mut self, step: u8) {
        match step % 12 {
            0..3 => self.request(),
            3 | 4 => self.response(),
            5 | 6 => self.return_hook(),
            7 => self.resolve(),
            8 => self.update(),
            9 => self.fail(),
            10 => self.wait(),
            _ => self.surprise(),
        }
    }

    /// A request, with up to three bytes of it changed.
    fn request(&mut self) {
        let mut bytes = self
            .pick(REQUESTS.len())
            .map_or_else(Vec::new, |at| REQUESTS[at].as_bytes().to_vec());
        if self.byte().is_multiple_of(2) {
            for _ in 0..self.byte() % 4 {
                let at = (usize::from(self.byte()) * 256 + usize::from(self.byte())) % bytes.len();
                bytes[at] = self.byte();
            }
        }
        self.receive(&bytes);
    }

    /// A response to something that the core sent.
    fn response(&mut self) {
        let Some(request) = self
            .pick(self.requests.len())
            .map(|at| self.requests[at].clone())
        else {
            return;
        };
        let status = self.pick(STATUSES.len()).map_or(200, |at| STATUSES[at]);
        let tag = self.byte() % 3;
        let text = String::from_utf8_lossy(&request).into_owned();
        let mut response = format!("SIP/2.0 {status} Fuzz\r\n");
        for line in text.lines().skip(1).take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default();
            match name {
                "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => {
                    response += &format!("{line}\r\n")
                }
                "To" if line.contains("tag=") => response += &format!("{line}\r\n"),
                "To" => response += &format!("{line};tag=t{tag}\r\n"),
                _ => {}
            }
        }
        if tag == 1 {
            response += "Require: 100rel\r\nRSeq: 1\r\n";
        }
        self.receive((response + "Content-Length: 0\r\n\r\n").as_bytes());
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes, &Limits::default()) else {
            return;
        };
        let is_tcp = self.byte().is_multiple_of(3);
        let flow = Flow {
            listener: ListenerId(u16::from(is_tcp)),
            transport: if is_tcp {
                Transport::Tcp
            } else {
                Transport::Udp
            },
            local: "10.0.0.1:5060".parse().expect("an address"),
            remote: SocketAddr::from(([10, 0, 0, 2], 5060)),
            connection: is_tcp.then_some(FlowId {
                owner: 0,
                slot: 1,
                generation: 1,
            }),
        };
        self.handle(Input::Received {
            flow,
            message: Arc::new(message),
        });
    }

    fn return_hook(&mut self) {
        let Some(at) = self.pick(self.hooks.len()) else {
            return;
        };
        let (id, mut context) = self.hooks.remove(at);
        for _ in 0..self.byte() % 4 {
            let host = self.byte() % 4;
            let uri = if host == 3 {
                "sip:bob@name.example".to_owned()
            } else {
                format!("sip:bob@10.0.0.{host}")
            };
            let mut target = Target::of_uri(uri.into_bytes());
            target.q = u16::from(self.byte()) % 3;
            target.no_answer = (self.byte().is_multiple_of(4))
                .then(|| Duration::from_millis(u64::from(host) * 700));
            context.routing.targets.push(target);
        }
        let armed = self.byte();
        context.routing.armed = Armed {
            branch_route: (armed & 1 != 0).into(),
            onreply_route: (armed & 2 != 0).into(),
            failure_route: (armed & 4 != 0).into(),
        };
        let result = match self.byte() % 10 {
            0..4 => Ok(Verdict::Relay),
            4 => Ok(Verdict::Reply(Reply {
                status: u16::from(self.byte()) * 3,
                ..Reply::default()
            })),
            5 => Ok(Verdict::Challenge(vec![
                b"Digest realm=\"r\", nonce=\"n\"".to_vec(),
            ])),
            6 => Ok(Verdict::Save),
            7 => Ok(Verdict::Drop),
            8 => Ok(Verdict::Pass),
            _ => Err(HookFault::Trap),
        };
        let context = (!self.byte().is_multiple_of(8)).then_some(context);
        self.handle(Input::HookReturned {
            id,
            result,
            context,
            version: PolicyVersion(1),
            tenant: None,
        });
    }

    fn resolve(&mut self) {
        let id = self
            .pick(self.resolves.len())
            .map_or(ResolveId(u64::from(self.byte())), |at| self.resolves[at]);
        let transport = if self.byte().is_multiple_of(3) {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let to = |number| Destination {
            transport,
            address: SocketAddr::from(([10, 0, 0, number], 5060)),
            host: None,
            listener: None,
            local: None,
        };
        let destinations = (0..self.byte() % 3).map(|number| to(number + 3)).collect();
        self.handle(Input::Resolved { id, destinations });
    }

    fn update(&mut self) {
        let id = self
            .pick(self.updates.len())
            .map_or(UpdateId(u64::from(self.byte())), |at| self.updates[at]);
        let result = if self.byte().is_multiple_of(2) {
            Ok(Bindings::default())
        } else {
            Err(Reject::new(423, ""))
        };
        self.handle(Input::BindingsUpdated { id, result });
    }

    /// A send fails: one of the core's, or one it never made.
    fn fail(&mut self) {
        let id = self
            .pick(self.sends.len())
            .map_or(SendId(u64::from(self.byte()) << 56), |at| self.sends[at]);
        self.handle(Input::SendFailed { id });
    }

    fn wait(&mut self) {
        self.now += u64::from(self.byte()).pow(2) * 1_000;
        self.core.handle_timeout(self.clock());
    }

    fn surprise(&mut self) {
        match self.byte() % 8 {
            0 => self.handle(Input::Drain),
            1..4 => {
                let id = OriginateId(u64::from(self.byte()));
                let uri = if self.byte().is_multiple_of(2) {
                    b"sip:probe@10.0.0.3".to_vec()
                } else {
                    b"sip:probe@name.example".to_vec()
                };
                let (from, to) = (b"sip:router@example.com".to_vec(), uri.clone());
                self.handle(Input::Originate(Originate {
                    id,
                    method: b"OPTIONS".to_vec(),
                    uri,
                    from,
                    to,
                    headers: Vec::new(),
                    body: None,
                }));
            }
            _ => {
                let mut bytes: Vec<u8> = (0..self.byte()).map(|_| self.byte()).collect();
                bytes.splice(0..0, *b"OPTIONS sip:example.com SIP/2.0\r\n");
                bytes.extend_from_slice(b"\r\n\r\n");
                self.receive(&bytes);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { id, packet, .. } => {
                    self.sends.push(id);
                    let is_message = Message::parse(&packet, &Limits::default()).is_ok();
                    assert!(is_message, "no SIP: {}", String::from_utf8_lossy(&packet));
                    if !packet.starts_with(b"SIP/2.0") {
                        self.requests.push(packet);
                    }
                }
                Output::RunHook { id, context, .. } => self.hooks.push((id, context)),
                Output::Resolve { id, .. } => self.resolves.push(id),
                Output::UpdateBindings { id, .. } => self.updates.push(id),
                Output::Unpin { .. } | Output::OriginateResponse { .. } | Output::Event(_) => {}
            }
        }
        self.core.check_invariants();
    }

    /// Every question is answered, and then nothing happens for a long time.
    fn quiet(&mut self) {
        for _ in 0..200 {
            while let Some((id, context)) = self.hooks.pop() {
                self.handle(Input::HookReturned {
                    id,
                    result: Ok(Verdict::Pass),
                    context: Some(context),
                    version: PolicyVersion(1),
                    tenant: None,
                });
                self.drain();
            }
            for id in std::mem::take(&mut self.resolves) {
                self.handle(Input::Resolved {
                    id,
                    destinations: Vec::new(),
                });
                self.drain();
            }
            for id in std::mem::take(&mut self.updates) {
                self.handle(Input::BindingsUpdated {
                    id,
                    result: Err(Reject::new(500, "")),
                });
                self.drain();
            }
            self.now += 10_000_000;
            self.core.handle_timeout(self.clock());
            self.drain();
        }
        assert!(
            self.core.counts().is_empty(),
            "left: {:?} {:?}",
            self.core.counts(),
            self.core.snapshot(10)
        );
    }
}
