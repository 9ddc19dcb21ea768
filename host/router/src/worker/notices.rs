//! What policies are told by their `event-route`, and which of them.

use std::sync::Arc;

use patchbay_core::time::Now;
use patchbay_policy::{Event, Hook};

use super::driver::metrics_of;
use super::hook_runs::HookRuns;
use crate::hooks::{HookHost, Services, TimerOwner};
use crate::location::DEFAULT_NAMESPACE;
use crate::routes::{Chain, Link};

/// An event, and whom it concerns.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    /// What `event-route` is given.
    pub(crate) event: Event,
    /// Whom it concerns.
    pub(crate) to: Addressee,
}

/// Whom an event concerns.
#[derive(Clone, Debug)]
pub(crate) enum Addressee {
    /// Whoever routes the requests of an address-of-record.
    Registration {
        /// The namespace that it is registered in.
        namespace: Arc<str>,
        /// Its domain.
        domain: String,
    },
    /// The active policy.
    Active,
    /// The policy of a route that has set a timer.
    TimerOf(TimerOwner),
}

impl Notice {
    /// A timer of this owner has ended; `None`: of the active policy.
    pub(super) fn timer(owner: Option<TimerOwner>, name: String) -> Notice {
        Notice {
            event: Event::Timer(name),
            to: owner.map_or(Addressee::Active, Addressee::TimerOf),
        }
    }
}

impl HookRuns {
    /// Runs `event-route` of the policies that the event concerns, each in its active version.
    pub(super) fn run_event(&mut self, notice: Notice, services: &Arc<Services>, now: Now) {
        let Notice { event, to } = notice;
        match &to {
            Addressee::Active => self.run_active_event(event, services, now),
            Addressee::TimerOf(owner) => {
                let table = services.shared.routes.table();
                let entry = table.by_number(owner.route);
                let tenant = entry.and_then(|entry| entry.tenant().ok());
                let chain = tenant.as_deref().and_then(Chain::of);
                let mut links = chain.into_iter().flat_map(|chain| &chain.links);
                if let Some(link) = links.find(|link| *link.version.name() == owner.policy) {
                    self.run_link_event(link, event, services, now);
                }
            }
            Addressee::Registration { namespace, domain } => {
                self.run_registration_event(event, namespace, domain, services, now);
            }
        }
    }

    /// A registration that is no tenant's concerns the active policy.
    fn run_registration_event(
        &mut self,
        event: Event,
        namespace: &str,
        domain: &str,
        services: &Arc<Services>,
        now: Now,
    ) {
        let mut is_tenants = false;
        if services.shared.routes.is_on() {
            let table = services.shared.routes.table();
            for entry in table.of_registration(namespace, domain) {
                is_tenants = true;
                let tenant = entry.tenant().ok();
                let chain = tenant.as_deref().and_then(Chain::of);
                for link in chain.into_iter().flat_map(|chain| &chain.links) {
                    self.run_link_event(link, event.clone(), services, now);
                }
            }
        }
        if !is_tenants && namespace == DEFAULT_NAMESPACE {
            self.run_active_event(event, services, now);
        }
    }

    fn run_active_event(&mut self, event: Event, services: &Arc<Services>, now: Now) {
        let Some(version) = services.shared.policies.active() else {
            return;
        };
        if !version.exports(Hook::EventRoute) {
            return;
        }
        metrics_of(services).hook_runs.increment(Hook::EventRoute);
        let host = HookHost::for_event(services, &version, now, &event);
        let run = self
            .instances
            .run(&version, Hook::EventRoute, host, Some(event));
        self.keep_event(run);
    }

    fn run_link_event(
        &mut self,
        link: &Arc<Link>,
        event: Event,
        services: &Arc<Services>,
        now: Now,
    ) {
        if !link.version.exports(Hook::EventRoute) {
            return;
        }
        metrics_of(services).hook_runs.increment(Hook::EventRoute);
        let host = HookHost::for_link_event(services, link, now, &event);
        let scope = Some(&link.route.scope);
        let hook = Hook::EventRoute;
        let run = self
            .instances
            .run_in(scope, &link.version, hook, host, Some(event));
        self.keep_event(run);
    }
}
