//! The routes of one configuration, and which of them takes a request.

use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use patchbay_core::auth::Authenticator;
use patchbay_core::door::{HookContext, ListenerId, RouteId, Tenant};
use patchbay_core::local::LocalNames;
use patchbay_message::{Host, Uri};
use patchbay_policy::{ActiveVersion, Scope};
use smallvec::SmallVec;

use super::usage::Usage;
use crate::config::{Config, PolicyRoute};
use crate::hooks::HookHost;
use crate::location::Namespace;
use crate::rollout::Network;
use crate::server::Shared;

/// The routes of a configuration.
#[derive(Default)]
pub(crate) struct Table {
    /// In the order of the configuration.
    entries: Vec<Entry>,
    /// The entries that a domain leads to, in order.
    by_domain: HashMap<Box<[u8]>, Vec<u16>, RandomState>,
    /// Those for which the domain does not matter, in order.
    of_any_domain: Vec<u16>,
    by_number: HashMap<RouteId, u16, RandomState>,
    /// Which hosts are this router, the domains of all routes included.
    names: Option<LocalNames>,
}

/// A route and what new transactions of it begin with.
pub(crate) struct Entry {
    pub(super) route: Arc<Route>,
    /// Made when the first request comes, and anew when a version of it has changed.
    pub(super) current: ArcSwapOption<Tenant>,
}

/// A route as hooks and workers see it.
pub(crate) struct Route {
    /// Its number in tokens.
    pub(crate) id: RouteId,
    /// What is written of it.
    pub(crate) written: PolicyRoute,
    /// The configuration as its policies see it.
    pub(crate) config: Arc<Config>,
    /// Which hosts are its own.
    pub(crate) names: LocalNames,
    /// Makes and checks credentials of its realm.
    pub(crate) authenticator: Arc<Authenticator>,
    /// Its registrations.
    pub(crate) namespace: Arc<Namespace>,
    /// Keeps its instances apart from those of others.
    pub(crate) scope: Arc<Scope>,
    /// What it uses of its limits.
    pub(crate) usage: Arc<Usage>,
    /// Where the active version of each of its policies is read.
    pub(super) policies: Vec<Option<Arc<ActiveVersion<HookHost>>>>,
    /// The listeners that its requests come in by; empty: all.
    listeners: Vec<ListenerId>,
}

impl Table {
    /// The routes of this configuration. What did not change since `before` keeps its instances and its counts.
    pub(crate) fn new(config: &Config, shared: &Shared, before: &Table) -> Table {
        let mut table = Table {
            names: Some(LocalNames::of(&config.all_domains(), &shared.listeners)),
            ..Table::default()
        };
        for (at, written) in config.policy.routes.iter().enumerate() {
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            let route = Route::new(written, config, shared, before);
            table.by_number.insert(route.id, at);
            if written.domains.is_empty() {
                table.of_any_domain.push(at);
            }
            for domain in &written.domains {
                let key = domain.to_ascii_lowercase().into_bytes().into();
                table.by_domain.entry(key).or_default().push(at);
            }
            table.entries.push(Entry {
                route: Arc::new(route),
                current: ArcSwapOption::empty(),
            });
        }
        table
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, in order.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.entries.iter().map(|entry| &entry.route)
    }

    /// Whether some route names this policy.
    pub(crate) fn names_policy(&self, name: &str) -> bool {
        self.routes().any(|route| route.has_policy(name))
    }

    /// The route of this number.
    pub(crate) fn by_number(&self, number: RouteId) -> Option<&Entry> {
        self.entries.get(usize::from(*self.by_number.get(&number)?))
    }

    /// The first route that takes a request outside of dialogs.
    pub(crate) fn choose(&self, context: &HookContext) -> Option<&Entry> {
        let names = self.names.as_ref()?;
        let local = context.source.local.ip();
        let own_host = |uri: &Uri<'_>| names.is_local(uri, local).then(|| key_of(&uri.host));
        let mut key = match context.request.request_uri_parts() {
            Ok(uri) => own_host(&uri),
            Err(_) => None,
        };
        if key.is_none() {
            let from = context.request.from().ok();
            let uri = from.as_ref().and_then(|from| from.uri().ok());
            key = uri.as_ref().and_then(own_host);
        }
        let of_domain = key.and_then(|key| self.by_domain.get(key.as_slice()));
        self.first(of_domain.map_or(&[], Vec::as_slice), context)
    }

    /// The first that fits, of those that a domain leads to and those for which it does not matter.
    fn first(&self, mut of_domain: &[u16], context: &HookContext) -> Option<&Entry> {
        let mut others = self.of_any_domain.as_slice();
        loop {
            let at = match (of_domain.split_first(), others.split_first()) {
                (Some((first, rest)), Some((other, _))) if first < other => {
                    of_domain = rest;
                    first
                }
                (_, Some((other, rest))) => {
                    others = rest;
                    other
                }
                (Some((first, rest)), None) => {
                    of_domain = rest;
                    first
                }
                (None, None) => return None,
            };
            let entry = self.entries.get(usize::from(*at))?;
            if entry.route.fits(context) {
                return Some(entry);
            }
        }
    }

    /// Lets go of versions that new transactions do not begin with any more: a route without requests would hold them until its next one.
    /// To be called now and then; whether there were any.
    pub(crate) fn let_go_of_replaced(&self) -> bool {
        let let_go = |count, entry: &Entry| count + usize::from(entry.let_go_of_replaced());
        self.entries.iter().fold(0, let_go) > 0
    }

    /// The routes that an event of this address-of-record concerns: of those with its namespace, the ones whose domain it is in or for
    /// which the domain does not matter.
    pub(crate) fn of_registration<'t>(
        &'t self,
        namespace: &'t str,
        host: &'t str,
    ) -> impl Iterator<Item = &'t Entry> {
        self.entries.iter().filter(move |entry| {
            let written = &entry.route.written;
            let is_its = written.domains.is_empty() && !written.is_shared()
                || written.domains.iter().any(|domain| domain == host);
            written.namespace == namespace && is_its
        })
    }
}

impl Entry {
    /// The route.
    pub(crate) fn route(&self) -> &Arc<Route> {
        &self.route
    }
}

impl Route {
    fn new(written: &PolicyRoute, config: &Config, shared: &Shared, before: &Table) -> Route {
        let id = RouteId(written.number());
        let old = before.by_number(id).map(|entry| &entry.route);
        let effective = config.of_route(written);
        let is_same = |old: &&Arc<Route>| is_same_for_instances(&old.config, &effective);
        let scope = old.filter(is_same).map(|old| Arc::clone(&old.scope));
        let scope = scope.unwrap_or_else(Scope::new);
        scope.limit_waiting(match written.limits.max_concurrent_hooks {
            0 => usize::MAX,
            limit => limit,
        });
        let is_it = |listener: &crate::config::Listen| {
            let mut known = written.listeners.iter();
            known.any(|known| {
                (known.transport, known.address) == (listener.transport, listener.address)
            })
        };
        let listeners = (0u16..).zip(&config.listen);
        let named = listeners.filter(|(_, listener)| is_it(listener));
        let policies = written.policies.iter();
        let authenticator = if written.realm == shared.authenticator.config().realm {
            Arc::clone(&shared.authenticator)
        } else {
            Arc::new(
                shared
                    .authenticator
                    .for_realm(&shared.secrets.nonce_key, &written.realm),
            )
        };
        Route {
            id,
            names: LocalNames::of(&effective.node.domains, &shared.listeners),
            authenticator,
            namespace: shared.location.namespace(&written.namespace),
            scope,
            usage: old.map(|old| Arc::clone(&old.usage)).unwrap_or_default(),
            policies: policies
                .map(|name| shared.policies.active_of(name))
                .collect(),
            listeners: named.map(|(at, _)| ListenerId(at)).collect(),
            config: Arc::new(effective),
            written: written.clone(),
        }
    }

    /// What it is called in logs.
    pub(crate) fn name(&self) -> &str {
        &self.written.name
    }

    /// Whether it names this policy.
    pub(crate) fn has_policy(&self, name: &str) -> bool {
        self.written.policies.iter().any(|policy| policy == name)
    }

    /// Whether it takes a request of its domain that came this way.
    fn fits(&self, context: &HookContext) -> bool {
        let source = &context.source;
        (self.listeners.is_empty() && self.written.listeners.is_empty()
            || self.listeners.contains(&source.listener))
            && is_in(&self.written.sources, source.remote.ip())
    }
}

fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(address))
}

/// Whether instances that have begun under one configuration can go on under the other: whether `init` can see no difference.
pub(crate) fn is_same_for_instances(old: &Config, new: &Config) -> bool {
    (&old.policy.settings, &old.policy.grants) == (&new.policy.settings, &new.policy.grants)
        && (&old.auth.realm, old.auth.registration) == (&new.auth.realm, new.auth.registration)
}

/// A host as the key of a domain.
fn key_of(host: &Host<'_>) -> SmallVec<[u8; 64]> {
    match host {
        Host::Name(name) => name.iter().map(u8::to_ascii_lowercase).collect(),
        Host::V4(address) => written(format_args!("{address}")),
        Host::V6(address) => written(format_args!("[{address}]")),
    }
}

/// An address as text, without memory of its own.
fn written(address: std::fmt::Arguments<'_>) -> SmallVec<[u8; 64]> {
    let mut text = [0; 64];
    let mut rest = text.as_mut_slice();
    // The longest address has room.
    let _ = rest.write_fmt(address);
    let used = 64 - rest.len();
    SmallVec::from_slice(text.get(..used).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use patchbay_core::door::{Flow, Hook, Routing, Transport};
    use patchbay_message::{Draft, Limits, Message};

    use super::*;
    use crate::hooks::tests::{flow, services};
    use crate::policy_directory::component;

    fn table(routes: &str) -> Table {
        let text = format!("[policy]\ndirectory = \".\"\n{routes}");
        let services = services(&text);
        let config = services.config();
        Table::new(&config, &services.shared, &Table::default())
    }

    /// One with a policy of this name, on these conditions.
    fn route(name: &str, conditions: &str) -> String {
        format!("[[policy.route]]\nname = {name:?}\npolicy = \"p\"\n{conditions}\n")
    }

    fn chosen(table: &Table, uri: &str, from: &str, source: Flow) -> Option<String> {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <{from}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
        let context = HookContext {
            hook: Hook::RequestRoute,
            request: Draft::new(Arc::new(message)),
            response: None,
            source,
            in_dialog: false,
            route: RouteId::NONE,
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
        let entry = table.choose(&context)?;
        Some(entry.route.name().to_owned())
    }

    fn by_uri(table: &Table, uri: &str) -> Option<String> {
        let source = flow(Transport::Udp, None);
        chosen(table, uri, "sip:x@elsewhere.example", source)
    }

    #[test]
    fn the_domain_of_the_request_uri_counts_when_it_is_ours_else_that_of_from() {
        let a = route("a", "domain = [\"a.example\", \"A2.example\"]");
        let table = table(&format!("{a}{}", route("b", "domain = \"b.example\"")));
        let of = |uri, from| chosen(&table, uri, from, flow(Transport::Udp, None));
        assert_eq!(
            of("sip:x@A.Example", "sip:y@b.example").as_deref(),
            Some("a")
        );
        assert_eq!(
            of("sip:x@a2.example;transport=udp", "sip:y@z.example").as_deref(),
            Some("a")
        );
        assert_eq!(
            of("sip:x@elsewhere.example", "sip:y@b.example").as_deref(),
            Some("b")
        );
        assert_eq!(of("sip:x@elsewhere.example", "sip:y@z.example"), None);
        // Ours, and no route's: the active policy has it, whoever calls.
        assert_eq!(of("sip:x@example.com", "sip:y@b.example"), None);
        assert_eq!(of("sip:127.0.0.1:5060", "sip:y@b.example"), None);
        // Another port of the same name is another host.
        assert_eq!(
            of("sip:x@a.example:5999", "sip:y@b.example").as_deref(),
            Some("b")
        );
    }

    #[test]
    fn the_first_route_whose_conditions_all_hold_takes_it() {
        let routes = [
            route("near", "domain = \"a.example\"\nsource = \"127.0.0.0/8\""),
            route("far", "domain = \"a.example\""),
            route("trunk", "source = [\"192.0.2.7\", \"2001:db8::/32\"]"),
            route(
                "never",
                "domain = \"b.example\"\nlistener = \"udp:127.0.0.1:0\"\nsource = \"10.0.0.0/8\"",
            ),
            route("any", "listener = \"udp:127.0.0.1:0\""),
        ];
        let table = table(&routes.concat());
        let from = |address: &str| {
            let remote = format!("{address}:5060").parse().unwrap();
            let source = flow(Transport::Udp, None);
            Flow { remote, ..source }
        };
        let of = |uri, source| chosen(&table, uri, "sip:x@elsewhere.example", source);
        let (near, far) = (from("127.0.0.1"), from("198.51.100.1"));
        assert_eq!(of("sip:x@a.example", near).as_deref(), Some("near"));
        assert_eq!(of("sip:x@a.example", far).as_deref(), Some("far"));
        assert_eq!(
            of("sip:x@b.example", from("192.0.2.7")).as_deref(),
            Some("trunk")
        );
        assert_eq!(
            of("sip:x@b.example", from("[2001:db8::1]")).as_deref(),
            Some("trunk")
        );
        assert_eq!(of("sip:x@b.example", near).as_deref(), Some("any"));
        let mut other = near;
        other.listener = ListenerId(1);
        assert_eq!(of("sip:x@b.example", other), None);
    }

    #[test]
    fn an_address_can_be_a_domain() {
        let routes =
            route("v4", "domain = \"192.0.2.1\"") + &route("v6", "domain = \"2001:DB8::1\"");
        let table = table(&routes);
        assert_eq!(by_uri(&table, "sip:x@192.0.2.1").as_deref(), Some("v4"));
        assert_eq!(
            by_uri(&table, "sip:x@[2001:db8:0::1]").as_deref(),
            Some("v6")
        );
        assert_eq!(by_uri(&table, "sip:x@192.0.2.2"), None);
    }

    #[test]
    fn events_go_where_the_requests_of_their_domain_go() {
        let routes = [
            route("own", "domain = \"a.example\"\nnamespace = \"a\""),
            route("all-of-a", "source = \"10.0.0.0/8\"\nnamespace = \"a\""),
            route("shared", "domain = \"b.example\""),
            route("trunk", "source = \"10.1.0.0/16\""),
        ];
        let table = table(&routes.concat());
        let of = |namespace, host| {
            let concerned = table.of_registration(namespace, host);
            let names: Vec<String> = concerned
                .map(|entry| entry.route.name().to_owned())
                .collect();
            names
        };
        assert_eq!(of("a", "a.example"), ["own", "all-of-a"]);
        assert_eq!(of("a", "z.example"), ["all-of-a"]);
        assert_eq!(of("default", "b.example"), ["shared"]);
        assert_eq!(of("default", "z.example"), [""; 0], "the active policy's");
    }

    #[test]
    fn a_route_without_requests_lets_go_of_a_replaced_version() {
        let text = format!(
            "[policy]\ndirectory = \".\"\n{}",
            route("a", "domain = \"a.example\"")
        );
        let services = services(&text);
        let policies = &services.shared.policies;
        policies.set_routed(&services.config().routed_policies());
        let activate = |comment: &str| {
            policies.store("p", &component(comment)).unwrap();
            Arc::downgrade(&policies.activate("p", None).unwrap())
        };
        let first = activate("first");
        let table = Table::new(&services.config(), &services.shared, &Table::default());
        let tenant = table.entries[0].tenant().unwrap();
        assert!(!table.let_go_of_replaced(), "it is the current one");
        // So that it is not what a rollback goes back to, either.
        activate("second");
        activate("third");
        assert!(table.let_go_of_replaced());
        assert!(first.upgrade().is_some(), "a transaction has it");
        drop(tenant);
        assert!(first.upgrade().is_none(), "nobody has it any more");
        assert!(!table.let_go_of_replaced(), "nothing is left");
    }

    #[test]
    fn what_did_not_change_keeps_its_instances_and_its_counts() {
        let text = |setting: &str| {
            let a = route(
                "a",
                "domain = \"a.example\"\n[policy.route.settings]\nx = \"1\"",
            );
            let b = route(
                "b",
                &format!("domain = \"b.example\"\n[policy.route.settings]\nx = {setting:?}"),
            );
            format!("[policy]\ndirectory = \".\"\n{a}{b}")
        };
        let first = services(&text("1"));
        let before = Table::new(&first.config(), &first.shared, &Table::default());
        let second = services(&text("2"));
        let after = Table::new(&second.config(), &second.shared, &before);
        let same = |name: &str| {
            let of = |table: &Table| {
                let route = table.routes().find(|route| route.name() == name).unwrap();
                (Arc::clone(&route.scope), Arc::clone(&route.usage))
            };
            let (old, new) = (of(&before), of(&after));
            (Arc::ptr_eq(&old.0, &new.0), Arc::ptr_eq(&old.1, &new.1))
        };
        assert_eq!(same("a"), (true, true));
        assert_eq!(same("b"), (false, true));
    }
}
