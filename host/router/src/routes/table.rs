//! The routes of one configuration, and which of them takes a request.

use std::collections::HashMap;
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
            scope: scope.unwrap_or_else(Scope::new),
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

/// Whether instances that have begun under one configuration can go on under the other.
fn is_same_for_instances(old: &Config, new: &Config) -> bool {
    (&old.policy.settings, &old.policy.grants, &old.auth.realm)
        == (&new.policy.settings, &new.policy.grants, &new.auth.realm)
}

/// A host as the key of a domain.
fn key_of(host: &Host<'_>) -> SmallVec<[u8; 64]> {
    match host {
        Host::Name(name) => name.iter().map(u8::to_ascii_lowercase).collect(),
        Host::V4(address) => address.to_string().into_bytes().into(),
        Host::V6(address) => format!("[{address}]").into_bytes().into(),
    }
}
