//! What stands in for policy, resolver and location service: it answers after a while, and not always with good news.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use patchbay_core::door::{
    Armed, Destination, Hook, HookContext, HookFault, PolicyVersion, Reject, Reply, Target,
    Transport, Verdict,
};
use patchbay_core::registrar::{Bindings, RegistrarConfig, Registration, apply};
use patchbay_core::time::UnixTime;
use patchbay_message::{Draft, HeaderName, Method};
use rand::Rng;
use rand::rngs::StdRng;

/// Nobody is there; sending to it fails.
pub(crate) const DEAD: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 5060);
/// Nobody is there, and nobody says so.
pub(crate) const SILENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 8)), 5060);

/// The services of one run.
#[derive(Debug, Default)]
pub(crate) struct Services {
    callees: Vec<(SocketAddr, bool)>,
    bindings: BTreeMap<String, Bindings>,
    pin_dialog: bool,
    /// The version that is active now.
    version: u64,
    /// For each transaction the version that its `request_route` ran in.
    pinned: BTreeMap<String, u64>,
    /// For each call the version that made it.
    dialogs: BTreeMap<String, u64>,
    /// Runs that pinned a version, less the unpinnings.
    pub(crate) pins: BTreeMap<u64, i64>,
    /// Transactions with a branch that the policy ends by time.
    pub(crate) timed: BTreeSet<String>,
    /// Calls that the policy lets fall.
    pub(crate) dropped: BTreeSet<String>,
}

/// A hook run's end.
pub(crate) type Decision = (Result<Verdict, HookFault>, PolicyVersion);

impl Services {
    pub(crate) fn new(callees: Vec<(SocketAddr, bool)>, pin_dialog: bool) -> Services {
        Services {
            callees,
            pin_dialog,
            version: 1,
            ..Services::default()
        }
    }

    /// Runs a hook: what it decides goes into the context.
    pub(crate) fn decide(
        &mut self,
        hook: Hook,
        asked: PolicyVersion,
        context: &mut HookContext,
        random: &mut StdRng,
    ) -> Decision {
        let version = self.version_of(hook, asked, context, random);
        let fault = random.random_bool(0.02);
        let result = match hook {
            _ if fault => Err([
                HookFault::Trap,
                HookFault::Deadline,
                HookFault::Memory,
                HookFault::Unavailable,
            ][random.random_range(0..4)]),
            Hook::RequestRoute => Ok(self.request_route(context, random)),
            Hook::BranchRoute => Ok(branch_route(context, random)),
            Hook::OnreplyRoute => Ok(onreply_route(context, random)),
            Hook::FailureRoute => Ok(self.failure_route(context, random)),
        };
        (result, version)
    }

    /// Every hook of a transaction is asked for in the version that its first one ran in, and with `pin_dialog` so is the first one of
    /// a transaction inside a dialog.
    fn version_of(
        &mut self,
        hook: Hook,
        asked: PolicyVersion,
        context: &HookContext,
        random: &mut StdRng,
    ) -> PolicyVersion {
        let key = transaction(context);
        if hook != Hook::RequestRoute {
            assert_eq!(
                self.pinned.get(&key),
                Some(&asked.0),
                "{hook:?} of {key} is pinned"
            );
            return asked;
        }
        let call = text(context.request.call_id());
        let expected = self
            .dialogs
            .get(&call)
            .filter(|_| self.pin_dialog && context.in_dialog)
            .copied()
            .unwrap_or(0);
        assert_eq!(
            asked.0, expected,
            "the version asked for by a request of {call}"
        );
        if random.random_bool(0.05) {
            self.version += 1;
        }
        let version = if asked.0 == 0 { self.version } else { asked.0 };
        self.pinned.insert(key, version);
        *self.pins.entry(version).or_default() += 1;
        if !context.in_dialog {
            self.dialogs.insert(call, version);
        }
        PolicyVersion(version)
    }

    pub(crate) fn unpin(&mut self, version: PolicyVersion) {
        let count = self.pins.entry(version.0).or_default();
        *count -= 1;
        assert!(
            *count >= 0,
            "version {} is unpinned more often than pinned",
            version.0
        );
    }

    fn request_route(&mut self, context: &mut HookContext, random: &mut StdRng) -> Verdict {
        let has_tag = context.request.to().is_ok_and(|to| to.tag().is_some());
        assert_eq!(
            context.in_dialog,
            has_tag,
            "what is sent in an established dialog carries our token: {}",
            transaction(context)
        );
        if context.in_dialog {
            context.routing.armed.onreply_route = random.random_bool(0.2).into();
            return Verdict::Relay;
        }
        if context.request.method() == Method::Register {
            return Verdict::Save;
        }
        if random.random_bool(0.03) {
            return Verdict::Reply(Reply {
                status: 404,
                ..Reply::default()
            });
        }
        if random.random_bool(0.01) {
            self.dropped.insert(text(context.request.call_id()));
            return Verdict::Drop;
        }
        self.relay(context, random);
        Verdict::Relay
    }

    fn failure_route(&mut self, context: &mut HookContext, random: &mut StdRng) -> Verdict {
        assert!(
            context.response.is_some(),
            "failure_route sees the best response"
        );
        match random.random_range(0..10) {
            0..5 => Verdict::Pass,
            5 => Verdict::Reply(Reply {
                status: 480,
                ..Reply::default()
            }),
            _ => {
                self.relay(context, random);
                Verdict::Relay
            }
        }
    }

    fn relay(&mut self, context: &mut HookContext, random: &mut StdRng) {
        let count = random.random_range(1..=3);
        for number in 0..count {
            let phone = random.random_range(0..self.callees.len());
            let (address, reliable) = self.callees[phone];
            let host = if random.random_bool(0.5) {
                address.to_string()
            } else {
                format!("phone{phone}.sim")
            };
            let transport = if reliable { ";transport=tcp" } else { "" };
            let no_answer = random
                .random_bool(0.3)
                .then(|| Duration::from_millis(random.random_range(500..20_000)));
            if no_answer.is_some() {
                self.timed.insert(branch_of(&context.request));
            }
            let mut target = Target::of_uri(format!("sip:callee@{host}{transport}").into_bytes());
            target.q = [1000, 500][random.random_range(0..2)];
            target.group = if random.random_bool(0.3) { number } else { 0 };
            target.no_answer = no_answer;
            context.routing.targets.push(target);
        }
        context.routing.armed = Armed {
            branch_route: random.random_bool(0.2).into(),
            onreply_route: random.random_bool(0.5).into(),
            failure_route: random.random_bool(0.5).into(),
        };
    }

    /// Where a host of this simulation is: nowhere, at its address, or first at a place where nobody is, or is another phone.
    pub(crate) fn resolve(&self, uri: &str, random: &mut StdRng) -> Vec<Destination> {
        let name = uri.split(['@', ';', '>']).nth(1).unwrap_or_default();
        let number = name
            .strip_prefix("phone")
            .and_then(|rest| rest.strip_suffix(".sim"))
            .and_then(|number| number.parse::<usize>().ok());
        let Some(&(address, reliable)) = number.and_then(|number| self.callees.get(number)) else {
            return Vec::new();
        };
        let transport = if reliable {
            Transport::Tcp
        } else {
            Transport::Udp
        };
        let to = |address| Destination {
            transport,
            address,
            host: None,
            listener: None,
            local: None,
        };
        match random.random_range(0..100) {
            0..3 => Vec::new(),
            3..15 => vec![to(DEAD), to(address)],
            15..20 => vec![to(SILENT), to(address)],
            20..40 => vec![to(address), to(address)],
            _ => vec![to(address)],
        }
    }

    pub(crate) fn update(
        &mut self,
        registration: &Registration,
        unix: UnixTime,
    ) -> Result<Bindings, Reject> {
        let known = self
            .bindings
            .entry(registration.aor.as_str().to_owned())
            .or_default();
        let applied = apply(known, registration, &RegistrarConfig::default(), unix)?;
        known.clone_from(&applied.bindings);
        Ok(applied.bindings)
    }
}

fn branch_route(context: &mut HookContext, random: &mut StdRng) -> Verdict {
    context
        .request
        .set("X-Branch", b"was here")
        .expect("a plain header");
    if random.random_bool(0.05) {
        Verdict::Drop
    } else {
        Verdict::Pass
    }
}

fn onreply_route(context: &mut HookContext, random: &mut StdRng) -> Verdict {
    let response = context
        .response
        .as_mut()
        .expect("onreply_route has a response");
    // What is reliable can't be dropped, however often it is tried (RFC 3262).
    let is_reliable = response.header(HeaderName::RSeq).is_some();
    if is_reliable || random.random_bool(0.1) {
        return Verdict::Drop;
    }
    response.set("X-Hook", b"was here").expect("a plain header");
    Verdict::Pass
}

/// What names the transaction that a hook runs for: the branch of the client.
pub(crate) fn transaction(context: &HookContext) -> String {
    branch_of(&context.request)
}

fn branch_of(request: &Draft) -> String {
    let via = request.header(HeaderName::Via).unwrap_or_default();
    text(via)
        .split("branch=")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .unwrap_or_default()
        .to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
