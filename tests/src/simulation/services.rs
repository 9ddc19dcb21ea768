//! What stands in for policy, resolver and location service: it answers after a while, and not always with good news.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use patchbay_core::door::{Armed, Destination, Hook, HookContext, HookFault, PolicyVersion, Reply, Target, Transport, Verdict};
use patchbay_core::registrar::{ContactBinding, RegistrarConfig, Registration, apply};
use patchbay_core::time::UnixTime;
use patchbay_message::{HeaderName, Method};
use rand::Rng;
use rand::rngs::StdRng;

/// The services of one run.
#[derive(Debug, Default)]
pub(crate) struct Services {
    callees: Vec<(SocketAddr, bool)>,
    bindings: BTreeMap<String, Vec<ContactBinding>>,
    /// The version that is active now.
    version: u64,
    /// For each transaction (Call-ID, CSeq) the version that its `request_route` ran in.
    pinned: BTreeMap<String, u64>,
    /// Runs that pinned a version, less the unpinnings.
    pub(crate) pins: BTreeMap<u64, i64>,
}

/// A hook run's end.
pub(crate) type Decision = (Result<Verdict, HookFault>, PolicyVersion);

impl Services {
    pub(crate) fn new(callees: Vec<(SocketAddr, bool)>) -> Services {
        Services { callees, version: 1, ..Services::default() }
    }

    /// Runs a hook: what it decides goes into the context.
    pub(crate) fn decide(&mut self, hook: Hook, asked: PolicyVersion, context: &mut HookContext, random: &mut StdRng) -> Decision {
        let version = self.version_of(hook, asked, context, random);
        let fault = random.random_bool(0.02);
        let result = match hook {
            _ if fault => Err([HookFault::Trap, HookFault::Deadline, HookFault::Memory][random.random_range(0..3)]),
            Hook::RequestRoute => Ok(self.request_route(context, random)),
            Hook::BranchRoute => Ok(if random.random_bool(0.05) { Verdict::Drop } else { Verdict::Pass }),
            Hook::OnreplyRoute => Ok(onreply_route(context, random)),
            Hook::FailureRoute => Ok(self.failure_route(context, random)),
        };
        (result, version)
    }

    /// Every hook of a transaction is asked for in the version that its first one ran in.
    fn version_of(&mut self, hook: Hook, asked: PolicyVersion, context: &HookContext, random: &mut StdRng) -> PolicyVersion {
        let key = transaction(context);
        if hook == Hook::RequestRoute {
            assert_eq!(asked.0, 0, "a new transaction runs in the active version");
            if random.random_bool(0.05) {
                self.version += 1;
            }
            self.pinned.insert(key, self.version);
            *self.pins.entry(self.version).or_default() += 1;
            return PolicyVersion(self.version);
        }
        assert_eq!(self.pinned.get(&key), Some(&asked.0), "{hook:?} of {key} is pinned");
        asked
    }

    pub(crate) fn unpin(&mut self, version: PolicyVersion) {
        let count = self.pins.entry(version.0).or_default();
        *count -= 1;
        assert!(*count >= 0, "version {} is unpinned more often than pinned", version.0);
    }

    fn request_route(&mut self, context: &mut HookContext, random: &mut StdRng) -> Verdict {
        let method = context.request.method();
        if matches!(method, Method::Ack | Method::Bye) {
            assert!(context.in_dialog, "{method:?} of an established dialog carries our token");
            return Verdict::Relay;
        }
        assert!(!context.in_dialog);
        if method == Method::Register {
            return Verdict::Save;
        }
        if random.random_bool(0.03) {
            return Verdict::Reply(Reply { status: 404, ..Reply::default() });
        }
        self.relay(context, random);
        Verdict::Relay
    }

    fn failure_route(&mut self, context: &mut HookContext, random: &mut StdRng) -> Verdict {
        assert!(context.response.is_some(), "failure_route sees the best response");
        match random.random_range(0..10) {
            0..5 => Verdict::Pass,
            5 => Verdict::Reply(Reply { status: 480, ..Reply::default() }),
            _ => {
                self.relay(context, random);
                Verdict::Relay
            }
        }
    }

    fn relay(&self, context: &mut HookContext, random: &mut StdRng) {
        let count = random.random_range(1..=3);
        for number in 0..count {
            let (address, reliable) = self.callees[random.random_range(0..self.callees.len())];
            let transport = if reliable { ";transport=tcp" } else { "" };
            context.routing.targets.push(Target {
                uri: format!("sip:callee@{address}{transport}").into_bytes(),
                q: [1000, 500][random.random_range(0..2)],
                group: if random.random_bool(0.3) { number } else { 0 },
                path: Vec::new(),
                flow: None,
                next_hop: None,
                listener: None,
                no_answer: random.random_bool(0.4).then(|| Duration::from_millis(random.random_range(500..20_000))),
            });
        }
        context.routing.armed = Armed {
            branch_route: random.random_bool(0.2),
            onreply_route: random.random_bool(0.5),
            failure_route: random.random_bool(0.5),
        };
    }

    /// Where a URI of this simulation leads: nowhere, to its address, or first to a host that is dead.
    pub(crate) fn resolve(&self, uri: &str, random: &mut StdRng) -> Vec<Destination> {
        if random.random_bool(0.02) {
            return Vec::new();
        }
        let Some(address) = uri.split('@').nth(1).or_else(|| uri.strip_prefix("sip:")).and_then(|rest| rest.split([';', '>']).next()) else {
            return Vec::new();
        };
        let Ok(address) = address.parse::<SocketAddr>() else { return Vec::new() };
        let transport = if uri.contains("transport=tcp") { Transport::Tcp } else { Transport::Udp };
        let to = |address| Destination { transport, address, host: None, listener: None, local: None };
        if random.random_bool(0.05) {
            return vec![to(DEAD), to(address)];
        }
        vec![to(address)]
    }

    pub(crate) fn update(&mut self, registration: &Registration, unix: UnixTime) -> Result<Vec<ContactBinding>, patchbay_core::door::Reject> {
        let known = self.bindings.entry(registration.aor.as_str().to_owned()).or_default();
        let applied = apply(known, registration, &RegistrarConfig::default(), unix)?;
        known.clone_from(&applied.bindings);
        Ok(applied.bindings)
    }
}

/// Nobody is there; sending to it fails.
pub(crate) const DEAD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 9, 9)), 5060);

fn onreply_route(context: &mut HookContext, random: &mut StdRng) -> Verdict {
    let response = context.response.as_mut().expect("onreply_route has a response");
    if random.random_bool(0.1) {
        return Verdict::Drop;
    }
    response.set("X-Hook", b"was here").expect("a plain header");
    Verdict::Pass
}

fn transaction(context: &HookContext) -> String {
    let call_id = context.request.header(HeaderName::CallId).unwrap_or_default();
    let cseq = context.request.header(HeaderName::CSeq).unwrap_or_default();
    format!("{} {}", String::from_utf8_lossy(call_id), String::from_utf8_lossy(cseq))
}
