//! A core on a stage: messages in as text, outputs out, time at will.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{HeaderName, Limits, Message};

use crate::core::Core;
use crate::door::*;
use crate::time::{Instant, Now, UnixTime};

pub(super) const ALICE: &str = "192.0.2.1:5060";
pub(super) const BOB: &str = "192.0.2.2:5060";
pub(super) const CAROL: &str = "192.0.2.3:5060";
pub(super) const ROUTER: &str = "192.0.2.100:5060";

/// A message that the core sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: SendId,
    pub(super) to: SocketAddr,
    pub(super) transport: Transport,
    pub(super) message: Arc<Message>,
}

impl Sent {
    pub(super) fn header(&self, name: &str) -> String {
        self.message
            .header(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn headers(&self, name: &str) -> Vec<String> {
        self.message
            .headers(name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.message.status()
    }

    pub(super) fn method(&self) -> String {
        String::from_utf8_lossy(self.message.method().as_bytes()).into_owned()
    }

    pub(super) fn uri(&self) -> String {
        String::from_utf8_lossy(self.message.request_uri()).into_owned()
    }

    pub(super) fn is_request(&self, method: &str) -> bool {
        self.message.is_request() && self.method() == method
    }
}

/// A hook that the core asked for.
#[derive(Debug)]
pub(super) struct AskedHook {
    pub(super) id: HookId,
    pub(super) hook: Hook,
    pub(super) version: PolicyVersion,
    pub(super) tenant: Option<Arc<Tenant>>,
    pub(super) context: Box<HookContext>,
}

pub(super) struct StageCore {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) sent: VecDeque<Sent>,
    pub(super) hooks: VecDeque<AskedHook>,
    pub(super) resolves: VecDeque<(ResolveId, String)>,
    pub(super) updates: VecDeque<(UpdateId, Box<crate::registrar::Registration>)>,
    pub(super) unpinned: Vec<PolicyVersion>,
    pub(super) originated: VecDeque<(OriginateId, Option<u16>)>,
    pub(super) events: Vec<Event>,
}

pub(crate) fn config() -> CoreConfig {
    CoreConfig {
        node: "test".into(),
        worker: 0,
        domains: vec!["example.com".into()],
        listeners: vec![
            Listener {
                transport: Transport::Udp,
                address: ROUTER.parse().unwrap(),
                advertise: None,
            },
            Listener {
                transport: Transport::Tcp,
                address: ROUTER.parse().unwrap(),
                advertise: None,
            },
        ],
        tenant_domains: Default::default(),
        token_key: [7; 32],
        registration_required: true,
        realm: "example.com".into(),
        pin_dialog: false,
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

pub(super) fn stage() -> StageCore {
    stage_with(config())
}

pub(super) fn stage_with(config: CoreConfig) -> StageCore {
    StageCore {
        core: Core::new(Arc::new(config), [3; 32]),
        now: Now {
            instant: Instant(1_000_000),
            unix: UnixTime(1_700_000_000),
        },
        sent: VecDeque::new(),
        hooks: VecDeque::new(),
        resolves: VecDeque::new(),
        updates: VecDeque::new(),
        unpinned: Vec::new(),
        originated: VecDeque::new(),
        events: Vec::new(),
    }
}

pub(super) fn flow(transport: Transport, remote: &str) -> Flow {
    let listener = if transport == Transport::Udp {
        ListenerId(0)
    } else {
        ListenerId(1)
    };
    let connection = (transport != Transport::Udp).then_some(FlowId {
        owner: 0,
        slot: 1,
        generation: 1,
    });
    Flow {
        listener,
        transport,
        local: ROUTER.parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection,
    }
}

pub(super) fn parse(text: &str) -> Arc<Message> {
    Arc::new(
        Message::parse(text.as_bytes(), &Limits::default())
            .unwrap_or_else(|error| panic!("{error}: {text}")),
    )
}

impl StageCore {
    pub(super) fn input(&mut self, input: Input) {
        self.core.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { id, to, packet } => {
                    let (to, transport) = match to {
                        SendTo::Flow { flow, .. } => (flow.remote, flow.transport),
                        SendTo::Destination(destination) => {
                            (destination.address, destination.transport)
                        }
                    };
                    let text = String::from_utf8_lossy(&packet).into_owned();
                    let message = parse(&text);
                    message
                        .validate()
                        .unwrap_or_else(|error| panic!("{error}: {text}"));
                    self.sent.push_back(Sent {
                        id,
                        to,
                        transport,
                        message,
                    });
                }
                Output::RunHook {
                    id,
                    hook,
                    version,
                    tenant,
                    context,
                } => self.hooks.push_back(AskedHook {
                    id,
                    hook,
                    version,
                    tenant,
                    context,
                }),
                Output::Resolve { id, uri, .. } => self
                    .resolves
                    .push_back((id, String::from_utf8_lossy(&uri).into_owned())),
                Output::UpdateBindings {
                    id, registration, ..
                } => self.updates.push_back((id, registration)),
                Output::Unpin { version, .. } => self.unpinned.push(version),
                Output::OriginateResponse { id, response } => {
                    let status = response.map(|response| response.status().unwrap());
                    self.originated.push_back((id, status));
                }
                Output::Event(event) => self.events.push(event),
            }
        }
        self.core.check_invariants();
    }

    pub(super) fn receive(&mut self, from: &str, text: &str) {
        self.receive_over(flow(Transport::Udp, from), text);
    }

    pub(super) fn receive_over(&mut self, flow: Flow, text: &str) {
        self.input(Input::Received {
            flow,
            message: parse(text),
        });
    }

    /// Time passes; every deadline in it is kept.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now.instant = self.now.instant.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.now.instant = end;
    }

    pub(super) fn hook(&mut self) -> AskedHook {
        self.hooks.pop_front().expect("a hook was asked for")
    }

    pub(super) fn decide(&mut self, hook: AskedHook, verdict: Verdict) {
        self.return_hook(hook, Ok(verdict));
    }

    pub(super) fn return_hook(&mut self, hook: AskedHook, result: Result<Verdict, HookFault>) {
        self.return_hook_in(PolicyVersion(1), hook, result);
    }

    /// The hook ran in this version.
    pub(super) fn decide_in(&mut self, version: PolicyVersion, hook: AskedHook, verdict: Verdict) {
        self.return_hook_in(version, hook, Ok(verdict));
    }

    /// The hook ran for this tenant.
    pub(super) fn decide_for(
        &mut self,
        tenant: &Arc<Tenant>,
        hook: AskedHook,
        result: Result<Verdict, HookFault>,
    ) {
        let AskedHook { id, context, .. } = hook;
        self.input(Input::HookReturned {
            id,
            result,
            context: Some(context),
            version: PolicyVersion(1),
            tenant: Some(Arc::clone(tenant)),
        });
    }

    fn return_hook_in(
        &mut self,
        version: PolicyVersion,
        hook: AskedHook,
        result: Result<Verdict, HookFault>,
    ) {
        let AskedHook { id, context, .. } = hook;
        self.input(Input::HookReturned {
            id,
            result,
            context: Some(context),
            version,
            tenant: None,
        });
    }

    /// The pending hook relays to these URIs, in parallel.
    pub(super) fn relay_to(&mut self, uris: &[&str]) {
        let mut hook = self.hook();
        hook.context.routing.targets = uris
            .iter()
            .map(|uri| Target::of_uri(uri.as_bytes().to_vec()))
            .collect();
        self.decide(hook, Verdict::Relay);
    }

    pub(super) fn next(&mut self) -> Sent {
        self.sent.pop_front().expect("something was sent")
    }

    /// Takes what was sent, which must be a request of this method.
    pub(super) fn next_request(&mut self, method: &str) -> Sent {
        let sent = self.next();
        assert!(
            sent.is_request(method),
            "{}",
            String::from_utf8_lossy(sent.message.as_bytes())
        );
        sent
    }

    /// Takes what was sent, which must be a response with this status.
    pub(super) fn next_response(&mut self, status: u16) -> Sent {
        let sent = self.next();
        assert_eq!(
            sent.status(),
            Some(status),
            "{}",
            String::from_utf8_lossy(sent.message.as_bytes())
        );
        sent
    }

    pub(super) fn assert_silent(&self) {
        let texts: Vec<_> = self
            .sent
            .iter()
            .map(|sent| String::from_utf8_lossy(sent.message.as_bytes()).into_owned())
            .collect();
        assert!(texts.is_empty(), "{texts:#?}");
    }

    /// Answers a request that the core sent.
    pub(super) fn answer(&mut self, request: &Sent, status: u16, tag: &str) {
        self.answer_with(request, status, tag, "");
    }

    pub(super) fn answer_with(&mut self, request: &Sent, status: u16, tag: &str, headers: &str) {
        let text = response_to(request, status, tag, headers);
        let from = flow(request.transport, &request.to.to_string());
        self.receive_over(from, &text);
    }

    /// After the longest time that anything may live, nothing does.
    pub(super) fn assert_empties(&mut self) {
        self.wait(Duration::from_secs(32 + 181 + 33));
        assert!(
            self.core.counts().is_empty(),
            "{:?} {:?}",
            self.core.counts(),
            self.core.snapshot(10)
        );
    }
}

pub(super) fn response_to(request: &Sent, status: u16, tag: &str, headers: &str) -> String {
    let mut text = format!("SIP/2.0 {status} Status\r\n");
    for name in [HeaderName::Via, HeaderName::RecordRoute] {
        for value in request.message.headers(name) {
            text += &format!("{}: {}\r\n", name.text(), String::from_utf8_lossy(value));
        }
    }
    let to = request.header("To");
    let to = if to.contains(";tag=") || tag.is_empty() {
        to
    } else {
        format!("{to};tag={tag}")
    };
    text += &format!("From: {}\r\nTo: {to}\r\n", request.header("From"));
    text += &format!(
        "Call-ID: {}\r\nCSeq: {}\r\n{headers}",
        request.header("Call-ID"),
        request.header("CSeq")
    );
    text + "Contact: <sip:bob@192.0.2.2:5060>\r\nContent-Length: 0\r\n\r\n"
}

/// A request from Alice; `branch` makes it new.
pub(super) fn request(method: &str, uri: &str, branch: &str, headers: &str) -> String {
    request_tagged(method, uri, branch, "<sip:bob@example.com>", headers)
}

pub(super) fn request_tagged(
    method: &str,
    uri: &str,
    branch: &str,
    to: &str,
    headers: &str,
) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
         From: \"Alice\" <sip:alice@example.com>;tag=alice\r\nTo: {to}\r\nCall-ID: call-1@192.0.2.1\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@192.0.2.1:5060>\r\n{headers}Content-Length: 0\r\n\r\n"
    )
}

pub(super) fn invite() -> String {
    request("INVITE", "sip:bob@example.com", "invite", "")
}
