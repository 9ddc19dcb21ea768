//! What a policy may ask of the router while a hook runs.
//!
//! [`HookHost`] is the router's side of one hook run. It owns the context of the core while the guest runs and gives it back with the
//! verdict; nothing in it blocks or waits.

mod again;
mod carried;
mod contacts;
mod credentials;
mod host;
mod log_budget;
mod lookups;
mod outside;
mod routed;
mod services;
mod tape;
mod timers;
mod traced;
mod verdict;

use std::cell::OnceCell;
use std::sync::Arc;

use patchbay_core::door::HookContext;
use patchbay_core::time::Now;
use patchbay_policy::{Digest, Event, Verification, Version};

use crate::config::Config;
use crate::routes::Link;
use again::EditsBefore;
use lookups::Lookups;
use tape::Tape;

pub(crate) use services::Services;
pub(crate) use timers::TimerOwner;
pub(crate) use verdict::{NO_NEXT, core_fault, policy_hook, refuse_impossible};

/// The router's side of one hook run.
pub struct HookHost {
    /// The configuration when the run first asked for it: one run never sees two, and most ask for none.
    config: OnceCell<Arc<Config>>,
    /// `None` while a version is checked, before there is any traffic.
    services: Option<Arc<Services>>,
    policy: PolicyName,
    now: Now,
    /// `None` in `init` and `event-route`.
    context: Option<Box<HookContext>>,
    lookups: Lookups,
    group: u16,
    no_answer_ms: Option<u32>,
    rare: Option<Box<Rare>>,
    verification: Option<Verification>,
    edits: EditsBefore,
}

/// Which policy runs, for logs and counters.
enum PolicyName {
    /// By its name, while a version of it is checked.
    Checked(Arc<String>),
    /// By its version.
    Loaded(Arc<Version<HookHost>>),
    /// By its place in the chain of a route.
    Routed(Arc<Link>),
}

impl PolicyName {
    fn name(&self) -> &str {
        match self {
            PolicyName::Checked(name) => name,
            PolicyName::Loaded(version) => version.name(),
            PolicyName::Routed(link) => link.version.name(),
        }
    }

    /// `None` while the version is checked.
    fn version(&self) -> Option<&Digest> {
        match self {
            PolicyName::Checked(_) => None,
            PolicyName::Loaded(version) => Some(version.digest()),
            PolicyName::Routed(link) => Some(link.version.digest()),
        }
    }
}

/// What few hooks need.
#[derive(Default)]
struct Rare {
    /// Of a reply of the hook's own with more than a status.
    reply: Option<ReplyParts>,
    /// Of a run that is traced, or played again from a trace.
    tape: Option<Tape>,
    /// Whose credentials were verified by a hook that began again, which does not know it before it asks.
    verified_user: Option<String>,
}

/// What a `reply` verdict carries besides its status.
#[derive(Clone, Debug, Default)]
struct ReplyParts {
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Option<(Vec<u8>, Vec<u8>)>,
}

impl HookHost {
    /// The host of `init`: there are settings, a clock and a log, and nothing else.
    pub fn for_init(config: Arc<Config>, policy: &str) -> HookHost {
        let policy = PolicyName::Checked(Arc::new(policy.to_owned()));
        let host = HookHost::new(None, policy, Now::default(), None);
        HookHost {
            config: OnceCell::from(config),
            ..host
        }
    }

    /// The host of a hook on a message.
    pub(crate) fn for_message(
        services: &Arc<Services>,
        version: &Arc<Version<HookHost>>,
        now: Now,
        context: Box<HookContext>,
    ) -> HookHost {
        let policy = PolicyName::Loaded(Arc::clone(version));
        HookHost::on_message(services, policy, now, context)
    }

    #[inline]
    fn on_message(
        services: &Arc<Services>,
        policy: PolicyName,
        now: Now,
        context: Box<HookContext>,
    ) -> HookHost {
        let rare = services
            .shared
            .traces
            .is_on()
            .then(|| traced::begin_on_message(&context, services));
        HookHost {
            rare,
            ..HookHost::new(Some(Arc::clone(services)), policy, now, Some(context))
        }
    }

    /// The host of `event-route`.
    pub(crate) fn for_event(
        services: &Arc<Services>,
        version: &Arc<Version<HookHost>>,
        now: Now,
        event: &Event,
    ) -> HookHost {
        let policy = PolicyName::Loaded(Arc::clone(version));
        HookHost::on_event(services, policy, now, event)
    }

    fn on_event(services: &Arc<Services>, policy: PolicyName, now: Now, event: &Event) -> HookHost {
        let rare = services
            .shared
            .traces
            .is_on()
            .then(|| traced::begin_on_event(event, services));
        HookHost {
            rare,
            ..HookHost::new(Some(Arc::clone(services)), policy, now, None)
        }
    }

    fn new(
        services: Option<Arc<Services>>,
        policy: PolicyName,
        now: Now,
        context: Option<Box<HookContext>>,
    ) -> HookHost {
        HookHost {
            config: OnceCell::new(),
            services,
            policy,
            now,
            context,
            lookups: Lookups::default(),
            group: 0,
            no_answer_ms: None,
            rare: None,
            verification: None,
            edits: EditsBefore::NotWanted,
        }
    }

    fn config(&self) -> &Config {
        self.config.get_or_init(|| match &self.services {
            Some(services) => services.config(),
            None => unreachable!("without services the configuration is given"),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// What is larger is moved by a call of its own, several times per hook.
    const _: () = assert!(size_of::<HookHost>() <= 128);

    use std::net::SocketAddr;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use arc_swap::ArcSwap;
    use patchbay_core::auth::{AuthConfig, Authenticator};
    use patchbay_core::door::{
        self, CoreConfig, Flow, FlowId, Hook, Listener, ListenerId, Routing, Transport,
    };
    use patchbay_core::local::LocalNames;
    use patchbay_core::registrar::Registration;
    use patchbay_core::time::{Instant, UnixTime};
    use patchbay_message::{AddressOfRecord, Draft, Limits, Message, Uri};
    use patchbay_policy::{
        Engine, EngineConfig, ErrorKind, HookDone, Host, Policies, Target, Verdict,
    };

    use super::*;
    use crate::config::Overrides;
    use crate::data_dir::Secrets;
    use crate::keyvalue::KeyValueStore;
    use crate::location::{LocationConfig, LocationService};
    use crate::metrics::Metrics;
    use crate::outside::HttpClient;
    use crate::server::Shared;
    use crate::trace::Traces;
    use crate::transport::{ConnectionKey, Connections};
    use crate::users::Users;
    use crate::worker::{Clock, Mailbox};

    pub(in crate::hooks) const NOW: Now = Now {
        instant: Instant(0),
        unix: UnixTime(1_000_000),
    };
    const BOB: &str = "sip:bob@example.com";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    pub(crate) fn flow(transport: Transport, connection: Option<FlowId>) -> Flow {
        let (local, remote) = (address("127.0.0.1:5060"), address("127.0.0.1:40000"));
        Flow {
            listener: ListenerId(0),
            transport,
            local,
            remote,
            connection,
        }
    }

    pub(crate) fn services(extra: &str) -> Arc<Services> {
        let text = format!(
            "[node]\ndomains = [\"example.com\"]\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n{extra}"
        );
        let config = Config::parse(&text, Path::new("."), &Overrides::default()).unwrap();
        let listeners = vec![Listener {
            transport: Transport::Udp,
            address: address("127.0.0.1:5060"),
            advertise: None,
        }];
        let location = LocationConfig {
            durability: crate::config::Durability::Memory,
            ..LocationConfig::default()
        };
        let core_config = CoreConfig {
            node: "test".to_owned(),
            worker: 0,
            domains: config.node.domains.clone(),
            listeners: listeners.clone(),
            tenant_domains: Default::default(),
            token_key: [0; 32],
            registration_required: true,
            realm: "example.com".to_owned(),
            pin_dialog: false,
            t1: config.timers.t1,
            t2: config.timers.t2,
            t4: config.timers.t4,
            timer_c: config.timers.timer_c,
            max_transactions: 1,
            max_branches: 1,
            max_failure_rounds: 1,
            max_breadth: 1,
            retry_after_secs: 1,
        };
        let config = Arc::new(config);
        let init = Arc::clone(&config);
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let shared = Shared {
            config: ArcSwap::new(config),
            listeners,
            secrets: Secrets {
                token_key: [0; 32],
                nonce_key: [0; 32],
            },
            http: HttpClient::default(),
            keyvalue: KeyValueStore::default(),
            location: Arc::new(LocationService::open(None, location).unwrap()),
            users: Arc::new(Users::none()),
            authenticator: Arc::new(Authenticator::new([0; 32], AuthConfig::default())),
            policies: Arc::new(Policies::new(engine, move || {
                HookHost::for_init(Arc::clone(&init), "test")
            })),
            rollout: Arc::default(),
            routes: Default::default(),
            metrics: Arc::new(Metrics::new(1)),
            traces: Arc::new(Traces::new(1, Vec::new(), 0)),
            draining: AtomicBool::new(false),
        };
        let connections = Arc::new(Connections::new(&[Mailbox::new()], 10));
        Arc::new(Services::new(
            Arc::new(shared),
            0,
            connections,
            LocalNames::new(&core_config),
            Clock::start(),
        ))
    }

    pub(in crate::hooks) fn register(services: &Services, contact: &str, flow: Flow) {
        let aor = AddressOfRecord::from_uri(&Uri::parse(BOB.as_bytes()).unwrap()).unwrap();
        let registration =
            Registration::of_contact(aor, contact.as_bytes(), 60, Some(flow)).unwrap();
        let location = &services.shared.location;
        let answer = location.update(&registration, NOW.unix, || {
            unreachable!("nothing is stored")
        });
        assert!(answer.is_some_and(|answer| answer.is_ok()));
    }

    pub(in crate::hooks) fn host(services: &Arc<Services>, source: Flow) -> HookHost {
        let text = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n";
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let context = HookContext {
            hook: Hook::RequestRoute,
            request: Draft::new(Arc::new(message)),
            response: None,
            source,
            in_dialog: false,
            route: Default::default(),
            place: 0,
            armed: Default::default(),
            record_route_parameters: Vec::new(),
            failure_round: 0,
            variables: Vec::new(),
            verified_user: None,
            challenge: Vec::new(),
            routing: Routing::default(),
            saved_edits: Default::default(),
        };
        let policy = PolicyName::Checked(Arc::new("test".to_owned()));
        HookHost::new(
            Some(Arc::clone(services)),
            policy,
            NOW,
            Some(Box::new(context)),
        )
    }

    fn target(uri: &str) -> Target {
        Target {
            uri: uri.to_owned(),
            q: 1000,
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        }
    }

    fn targets(host: HookHost, verdict: Verdict) -> Vec<door::Target> {
        let (context, result) = host.finish(verdict);
        assert!(result.is_ok());
        context.unwrap().routing.targets
    }

    #[test]
    fn contacts_become_targets_by_q() {
        let services = services("");
        let udp = flow(Transport::Udp, None);
        register(&services, "<sip:bob@127.0.0.1:1>;q=0.5", udp);
        register(&services, "<sip:bob@127.0.0.1:2>", udp);
        let mut host = host(&services, udp);
        let found = host.lookup(BOB).unwrap();
        assert_eq!(
            (found.count, host.binding_at(0, 0).unwrap().uri),
            (2, "sip:bob@127.0.0.1:2".to_owned())
        );
        assert_eq!(host.add_lookup(found.lookup).unwrap(), 2);
        let made = targets(host, Verdict::Relay);
        let plain: Vec<_> = made
            .iter()
            .map(|target| (target.uri.as_slice(), target.q, target.flow))
            .collect();
        assert_eq!(
            plain,
            [
                (b"sip:bob@127.0.0.1:2".as_slice(), 1000, None),
                (b"sip:bob@127.0.0.1:1", 500, None)
            ]
        );
    }

    #[test]
    fn a_contact_behind_nat_is_reached_over_its_addresses() {
        let services = services("");
        let public = Flow {
            remote: address("203.0.113.5:40000"),
            ..flow(Transport::Udp, None)
        };
        register(&services, "<sip:bob@192.168.1.7:5060>", public);
        let mut host = host(&services, public);
        let found = host.lookup(BOB).unwrap();
        host.add_lookup(found.lookup).unwrap();
        assert_eq!(targets(host, Verdict::Relay).remove(0).flow, Some(public));
    }

    #[test]
    fn a_contact_whose_connection_is_gone_is_reached_by_its_uri() {
        let services = services("");
        let key = ConnectionKey {
            transport: Transport::Tcp,
            remote: address("127.0.0.1:40000"),
            listener: ListenerId(0),
        };
        let (connection, _receiver) = services.connections.accepted(0, key).unwrap();
        let tcp = flow(Transport::Tcp, Some(connection));
        register(&services, "<sip:bob@127.0.0.1:1;transport=tcp>", tcp);
        let flow_of_target = || {
            let mut host = host(&services, flow(Transport::Udp, None));
            let found = host.lookup(BOB).unwrap();
            host.add_lookup(found.lookup).unwrap();
            targets(host, Verdict::Relay).remove(0).flow
        };
        assert_eq!(flow_of_target(), Some(tcp));
        services.connections.remove(connection);
        assert_eq!(flow_of_target(), None);
    }

    #[test]
    fn only_the_connection_of_a_binding_is_a_registered_source() {
        let services = services("[auth]\ntrust_udp_source = false\n");
        let key = |port: u16| ConnectionKey {
            transport: Transport::Tcp,
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
            listener: ListenerId(0),
        };
        let (own, _own_receiver) = services.connections.accepted(0, key(1)).unwrap();
        let (other, _other_receiver) = services.connections.accepted(0, key(2)).unwrap();
        register(
            &services,
            "<sip:bob@127.0.0.1:1>",
            flow(Transport::Tcp, Some(own)),
        );
        register(
            &services,
            "<sip:bob@127.0.0.1:2>",
            flow(Transport::Udp, None),
        );
        let is_registered = |flow| host(&services, flow).is_registered_source(BOB);
        assert!(is_registered(flow(Transport::Tcp, Some(own))));
        assert!(!is_registered(flow(Transport::Tcp, Some(other))));
        assert!(!is_registered(flow(Transport::Udp, None)));
    }

    #[test]
    fn a_udp_source_counts_where_it_is_trusted() {
        let services = services("[auth]\ntrust_udp_source = true\n");
        let udp = flow(Transport::Udp, None);
        register(&services, "<sip:bob@127.0.0.1:2>", udp);
        assert!(host(&services, udp).is_registered_source(BOB));
        let other_port = Flow {
            remote: address("127.0.0.1:40001"),
            ..udp
        };
        assert!(!host(&services, other_port).is_registered_source(BOB));
        assert!(!host(&services, udp).is_registered_source("sip:alice@example.com"));
    }

    #[test]
    fn nobody_who_ever_registered_is_not_found() {
        let services = services("");
        let error = host(&services, flow(Transport::Udp, None))
            .lookup(BOB)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }

    #[test]
    fn groups_and_the_no_answer_time_reach_the_targets() {
        let services = services("");
        let mut host = host(&services, flow(Transport::Udp, None));
        host.add_target(target("sip:a@127.0.0.1")).unwrap();
        host.next_group();
        host.add_target(Target {
            no_answer_ms: Some(5),
            ..target("sip:b@127.0.0.1")
        })
        .unwrap();
        host.set_no_answer_timeout(20_000);
        assert_eq!(host.target_count(), 2);
        let made = targets(host, Verdict::Relay);
        let plain: Vec<_> = made
            .iter()
            .map(|target| (target.group, target.no_answer.unwrap().as_millis()))
            .collect();
        assert_eq!(plain, [(0, 20_000), (1, 5)]);
    }

    #[test]
    fn a_listener_is_named_as_configured_or_as_bound() {
        let services = services("");
        let mut host = host(&services, flow(Transport::Udp, None));
        for (name, known) in [
            ("udp:127.0.0.1:0", true),
            ("udp:127.0.0.1:5060", true),
            ("tcp:127.0.0.1:5060", false),
            ("x", false),
        ] {
            let added = host.add_target(Target {
                listener: Some(name.to_owned()),
                ..target("sip:a@b")
            });
            assert_eq!(added.is_ok(), known, "{name}");
        }
        assert!(
            targets(host, Verdict::Relay)
                .iter()
                .all(|target| target.listener == Some(ListenerId(0)))
        );
    }

    #[test]
    fn changing_contacts_takes_the_grant() {
        let denied = services("");
        let mut host_without = host(&denied, flow(Transport::Udp, None));
        assert_eq!(
            host_without
                .save_contact(BOB, "<sip:bob@127.0.0.1:1>", 60)
                .unwrap_err()
                .kind,
            ErrorKind::Denied
        );
        let granted = services("[policy.grants]\nsave_location = true\n");
        let mut host = host(&granted, flow(Transport::Udp, None));
        host.save_contact(BOB, "<sip:bob@127.0.0.1:1>", 60).unwrap();
        assert_eq!(host.lookup(BOB).unwrap().count, 1);
        assert_eq!(host.remove_contact(BOB, "sip:bob@127.0.0.1:1").unwrap(), 1);
        assert_eq!(host.lookup(BOB).unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn every_header_may_be_written_unless_there_is_a_list() {
        let services = services("");
        let host = host(&services, flow(Transport::Udp, None));
        for name in ["X-Any", "Contact", "From", "P-Asserted-Identity"] {
            assert!(host.may_write(name), "{name}");
        }
    }

    #[test]
    fn a_list_of_headers_names_all_that_may_be_written() {
        let services = services(
            "[policy.grants]\nwrite_headers = [\"X-*\", \"p-asserted-identity\", \"m\"]\n",
        );
        let limited = host(&services, flow(Transport::Udp, None));
        for (name, granted) in [
            ("X-Any", true),
            ("x-any", true),
            ("X-", true),
            ("X", false),
            ("XY-Any", false),
            ("P-Asserted-Identity", true),
            ("P-Asserted-Identity-2", false),
            ("Contact", true),
            ("Subject", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(limited.may_write(name), granted, "{name}");
        }
    }

    #[test]
    fn an_empty_list_grants_no_header() {
        let services = services("[policy.grants]\nwrite_headers = []\n");
        let host = host(&services, flow(Transport::Udp, None));
        assert!(!host.may_write("X-Any"));
    }

    #[test]
    fn a_save_without_credentials_brings_the_challenges() {
        let services = services("[auth]\nregistration = \"required\"\n");
        let (context, _) = host(&services, flow(Transport::Udp, None)).finish(Verdict::Save);
        assert!(
            context
                .unwrap()
                .challenge
                .iter()
                .all(|value| value.starts_with(b"Digest realm="))
        );
        let (context, _) = host(&services, flow(Transport::Udp, None)).finish(Verdict::Save);
        assert_eq!(context.unwrap().challenge.len(), 2);
    }

    #[test]
    fn the_end_of_the_chain_is_no_verdict() {
        let services = services("");
        let (_, result) = host(&services, flow(Transport::Udp, None)).finish(Verdict::Next);
        assert_eq!(result, Err(door::HookFault::Verdict));
    }

    #[test]
    fn a_verdict_has_to_be_possible_for_the_method() {
        let reply = |status| Verdict::Reply {
            status,
            reason: String::new(),
        };
        let services = services("");
        let refused = |method: &str, verdict: Verdict| {
            let mut host = host(&services, flow(Transport::Udp, None));
            let context = host.context.as_mut().unwrap();
            let text = String::from_utf8(context.request.base().as_bytes().to_vec()).unwrap();
            let text = text.replace("INVITE", method);
            let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
            context.request = Draft::new(Arc::new(message));
            let mut done = HookDone {
                host: Some(host),
                result: Ok(verdict),
                elapsed: Default::default(),
            };
            let fault = refuse_impossible(&mut done);
            assert_eq!(fault.as_ref(), done.result.as_ref().err());
            fault.map(|fault| fault.to_string())
        };
        for (method, verdict) in [
            ("INVITE", reply(200)),
            ("INVITE", Verdict::Challenge),
            ("REGISTER", Verdict::Save),
            ("REGISTER", Verdict::Challenge),
            ("ACK", Verdict::Relay),
            ("ACK", Verdict::Drop),
            ("ACK", Verdict::Next),
        ] {
            assert_eq!(
                refused(method, verdict.clone()),
                None,
                "{method} {verdict:?}"
            );
        }
        for (method, verdict, text) in [
            ("INVITE", Verdict::Save, "`save` for INVITE: only"),
            ("ACK", Verdict::Save, "`save` for ACK: only"),
            ("ACK", Verdict::Challenge, "`challenge` for ACK, which"),
            ("ACK", reply(200), "`reply` with 200 for ACK, which"),
        ] {
            let said = refused(method, verdict).unwrap();
            assert!(said.contains(text), "{said}");
        }
    }

    #[test]
    fn without_a_message_nothing_can_be_routed() {
        let services = services("");
        let mut host = HookHost::for_init(services.config(), "test");
        assert_eq!(
            host.add_target(target("sip:a@b")).unwrap_err().kind,
            ErrorKind::WrongHook
        );
        assert_eq!(
            host.set_variable("a", "b").unwrap_err().kind,
            ErrorKind::WrongHook
        );
        assert!(host.message().is_none() && !host.is_local_uri(BOB));
    }
}
