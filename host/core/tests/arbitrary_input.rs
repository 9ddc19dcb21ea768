//! No bytes that a stranger sends make the core panic, hang or keep anything for ever.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // Tests state their expectations by panicking.

use std::sync::Arc;
use std::time::Duration;

use patchbay_core::Core;
use patchbay_core::door::*;
use patchbay_core::registrar::{self, RegistrarConfig, Registration};
use patchbay_core::time::{Instant, Now, UnixTime};
use patchbay_message::{Limits, Message};
use proptest::prelude::*;

const ROUTER: &str = "192.0.2.100:5060";

/// What is changed at random: a request with everything that the core reads, and a response.
const SEEDS: [&str; 4] = [
    "INVITE sip:bob@example.com;transport=udp SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP a.example.com\r\n\
     Max-Forwards: 70\r\nRoute: <sip:192.0.2.100;lr>, <sip:192.0.2.3;lr>\r\nFrom: \"A\" <sip:a@example.com>;tag=a\r\nTo: <sip:bob@example.com>\r\n\
     Call-ID: 1@a\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.1>\r\nMax-Breadth: 3\r\nProxy-Authorization: Digest username=\"a\"\r\n\
     Content-Length: 3\r\n\r\nabc",
    "REGISTER sip:example.com SIP/2.0\r\nv: SIP / 2.0 / TCP [2001:db8::1]:5070;branch=z9hG4bKr\r\nf: sip:a@example.com;tag=r\r\n\
     t: sip:a@example.com\r\ni: 2\r\nCSeq: 2 REGISTER\r\nm: <sip:a@[2001:db8::1]>;expires=60;q=0.5, *\r\nPath: <sip:p;lr>\r\nSupported: path\r\n\r\n",
    "CANCEL sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\nFrom: <sip:a@example.com>;tag=a\r\n\
     To: <sip:bob@example.com>\r\nCall-ID: 1@a\r\nCSeq: 1 CANCEL\r\nReason: SIP;cause=200\r\nContent-Length: 0\r\n\r\n",
    "ACK sip:bob@192.0.2.2;maddr=192.0.2.100 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=1\r\nRoute: <sip:pbx@192.0.2.100>\r\n\
     From: <sip:a@example.com>;tag=a\r\nTo: <sip:bob@example.com>;tag=b\r\nCall-ID: 1@a\r\nCSeq: 1 ACK\r\n\r\n",
];

/// Texts that are put into the seeds: what parsers stumble over.
const SCRAPS: [&str; 20] = [
    "\r\n",
    ",",
    ";",
    "\"",
    "<",
    ">",
    "@",
    "(",
    "\\",
    "%",
    "%zz",
    "[",
    "]",
    ":",
    "?",
    "sips:",
    "tel:+1",
    "4294967296",
    "z9hG4bK",
    "\0",
];

fn config() -> CoreConfig {
    let listener = |transport| Listener {
        transport,
        address: ROUTER.parse().unwrap(),
        advertise: None,
    };
    CoreConfig {
        node: "test".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        tenant_domains: Default::default(),
        token_key: [7; 32],
        registration_required: false,
        realm: "example.com".into(),
        pin_dialog: true,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        timer_c: Duration::from_secs(181),
        max_transactions: 1000,
        max_branches: 32,
        max_failure_rounds: 8,
        max_breadth: 60,
        retry_after_secs: 5,
    }
}

fn flow(remote: &str) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: ROUTER.parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: None,
    }
}

/// A core whose policy relays everything to where it wants to go.
struct Relay {
    core: Core,
    now: Now,
    sent: Vec<Packet>,
}

impl Relay {
    fn new() -> Relay {
        Relay {
            core: Core::new(Arc::new(config()), [1; 32]),
            now: Now {
                instant: Instant(0),
                unix: UnixTime(1_700_000_000),
            },
            sent: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if let Ok(message) = Message::parse(bytes, &Limits::default()) {
            self.input(Input::Received {
                flow: flow("192.0.2.1:5060"),
                message: Arc::new(message),
            });
        }
    }

    fn input(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { packet, .. } => self.sent.push(packet),
                Output::RunHook {
                    id, hook, context, ..
                } => {
                    let verdict = match hook {
                        Hook::RequestRoute
                            if context.request.method().as_bytes() == b"REGISTER" =>
                        {
                            Verdict::Save
                        }
                        Hook::RequestRoute => Verdict::Relay,
                        _ => Verdict::Pass,
                    };
                    self.core.handle(
                        self.now,
                        Input::HookReturned {
                            id,
                            result: Ok(verdict),
                            context: Some(context),
                            version: PolicyVersion(1),
                            tenant: None,
                        },
                    );
                }
                Output::Resolve { id, .. } => self.core.handle(
                    self.now,
                    Input::Resolved {
                        id,
                        destinations: Vec::new(),
                    },
                ),
                Output::UpdateBindings { id, .. } => self.core.handle(
                    self.now,
                    Input::BindingsUpdated {
                        id,
                        result: Ok(registrar::Bindings::default()),
                    },
                ),
                Output::Unpin { .. } | Output::OriginateResponse { .. } | Output::Event(_) => {}
            }
        }
    }

    /// All that was sent is a message that we would take ourselves.
    fn check_sent(&mut self) -> Result<(), TestCaseError> {
        for packet in self.sent.drain(..) {
            let message = Message::parse(&packet, &Limits::default());
            let text = String::from_utf8_lossy(&packet);
            prop_assert!(message.is_ok(), "{message:?}: {text}");
            // Requests that we send are sound whatever came; answers repeat parts of what was wrong.
            if let Ok(message) = message
                && message.is_request()
            {
                prop_assert!(
                    message.validate().is_ok(),
                    "{:?}: {text}",
                    message.validate()
                );
            }
        }
        Ok(())
    }

    fn check_empties(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..1000 {
            let Some(at) = self.core.poll_timeout() else {
                break;
            };
            self.now.instant = self.now.instant.max(at);
            self.core.handle_timeout(self.now);
            self.carry_out();
        }
        prop_assert!(self.core.counts().is_empty(), "{:?}", self.core.snapshot(3));
        Ok(())
    }
}

/// One change of a text: a scrap put in, bytes taken out, a part doubled, a byte replaced.
#[derive(Clone, Debug)]
enum Change {
    Insert(prop::sample::Index, usize),
    Remove(prop::sample::Index, usize),
    Double(prop::sample::Index, usize),
    Replace(prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), 0..SCRAPS.len()).prop_map(|(at, scrap)| Change::Insert(at, scrap)),
        (place(), 1..40usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (place(), 1..80usize).prop_map(|(at, count)| Change::Double(at, count)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Insert(at, scrap) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, SCRAPS[*scrap].bytes());
        }
        Change::Remove(at, count) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + count));
        }
        Change::Double(at, count) => {
            let at = at.index(bytes.len());
            let part = bytes[at..bytes.len().min(at + count)].to_vec();
            bytes.splice(at..at, part);
        }
        Change::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
    }
}

/// A response to the first request that was sent, as a callee would make it.
fn answer_to(packet: &[u8], status: u16) -> Vec<u8> {
    let text = String::from_utf8_lossy(packet).into_owned();
    let rest = text.split_once("\r\n").map_or("", |(_, rest)| rest);
    format!("SIP/2.0 {status} X\r\n{rest}").into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut relay = Relay::new();
        relay.receive(&bytes);
        relay.receive(&[b"OPTIONS sip:a SIP/2.0\r\n", bytes.as_slice(), b"\r\n\r\n"].concat());
        relay.receive(&[b"SIP/2.0 200 OK\r\n", bytes.as_slice(), b"\r\n\r\n"].concat());
        relay.check_sent()?;
        relay.check_empties()?;
    }

    #[test]
    fn changed_requests_do_no_harm(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec(change(), 0..8),
    ) {
        let mut relay = Relay::new();
        relay.receive(SEEDS[0].as_bytes());
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        relay.receive(&bytes);
        relay.check_sent()?;
        relay.check_empties()?;
    }

    #[test]
    fn changed_responses_do_no_harm(
        status in 100..700u16,
        changes in prop::collection::vec(change(), 0..8),
    ) {
        let mut relay = Relay::new();
        relay.receive(SEEDS[0].as_bytes());
        prop_assert!(!relay.sent.is_empty());
        let mut bytes = answer_to(&relay.sent[0], status);
        changes.iter().for_each(|change| apply(&mut bytes, change));
        relay.receive(&bytes);
        relay.check_sent()?;
        relay.check_empties()?;
    }
}

/// The largest messages that the limits allow, each made of as many small parts as fit.
fn large() -> Vec<(&'static str, Vec<u8>)> {
    let fill = |name: &str, part: &str| {
        let line = format!("{name}: {}x\r\n", part.repeat(8000 / part.len()));
        line.repeat(60_000 / line.len())
    };
    let head = "INVITE sip:bob@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=a\r\nTo: <sip:b@b>\r\n\
                Call-ID: 1\r\nCSeq: 1 INVITE\r\n";
    let parts = [
        ("Vias", "Via", "SIP/2.0/UDP h,"),
        ("Vias of ours", "Via", "SIP/2.0/UDP h;branch=z9hG4bKpb,"),
        ("own Routes", "Route", "<sip:192.0.2.100;lr>,"),
        ("foreign Routes", "Route", "<sip:192.0.2.3;lr>,"),
        ("empty values", "Route", ","),
        ("quotes", "Route", "\"\\\"\" "),
        ("open brackets", "Route", "<"),
        ("open comments", "Via", "(,"),
        ("semicolons", "Contact", ";a"),
        ("options", "Proxy-Require", "a,"),
        ("Reasons", "Reason", "a,"),
        ("unknown", "X", "a,"),
    ];
    parts
        .into_iter()
        .map(|(title, name, part)| {
            (
                title,
                format!("{head}{}\r\n", fill(name, part)).into_bytes(),
            )
        })
        .collect()
}

#[test]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // What is measured is the real time.
fn no_message_within_the_limits_takes_long() {
    for (title, bytes) in large() {
        let limits = Limits::default();
        assert!(
            bytes.len() <= limits.max_message_bytes,
            "{title}: {}",
            bytes.len()
        );
        let started = std::time::Instant::now();
        let mut relay = Relay::new();
        relay.receive(&bytes);
        relay.receive(&bytes);
        let took = started.elapsed();
        assert!(took < Duration::from_millis(100), "{title}: {took:?}");
    }
}

#[test]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)] // What is measured is the real time.
fn a_register_with_thousands_of_contacts_takes_not_long() {
    for (expires, outcome) in [(3600, Err(403)), (0, Ok(0))] {
        let mut text = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nFrom: <sip:a@example.com>;tag=a\r\n\
             To: <sip:a@example.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nExpires: {expires}\r\n"
        );
        for line in 0..7 {
            let contacts: Vec<_> = (0..600)
                .map(|number| format!("<sip:{line}{number}@b>"))
                .collect();
            text += &format!("Contact: {}\r\n", contacts.join(","));
        }
        text += "\r\n";
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let request = patchbay_message::Draft::new(Arc::new(message));
        let started = std::time::Instant::now();
        let registration = Registration::from_request(&request, flow("192.0.2.1:5060")).unwrap();
        let applied =
            registrar::apply(&[], &registration, &RegistrarConfig::default(), UnixTime(1));
        let took = started.elapsed();
        let got = applied
            .map(|applied| applied.bindings.len())
            .map_err(|reject| reject.status);
        assert_eq!(got, outcome);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}
