//! Hooks that run for a route of the configuration: on its terms, and in one policy of its chain after the other.

use std::cell::OnceCell;
use std::sync::Arc;

use patchbay_core::auth::Authenticator;
use patchbay_core::door::{ChainPlaces, Hook, HookContext};
use patchbay_core::time::Now;
use patchbay_policy::Event;

use super::again::EditsBefore;
use super::lookups::Lookups;
use super::services::Services;
use super::timers::TimerOwner;
use super::{HookHost, PolicyName, traced};
use crate::location::{DEFAULT_NAMESPACE, Namespace};
use crate::routes::{Link, Route};

impl HookHost {
    /// The host of a hook on a message of a route, in one of its policies.
    pub(crate) fn for_link(
        services: &Arc<Services>,
        link: &Arc<Link>,
        now: Now,
        mut context: Box<HookContext>,
    ) -> HookHost {
        context.place = link.place;
        let policy = PolicyName::Routed(Arc::clone(link));
        let host = HookHost::on_message(services, policy, now, context);
        HookHost {
            config: OnceCell::from(Arc::clone(&link.route.config)),
            ..host
        }
    }

    /// The host of `event-route` in one policy of a route.
    pub(crate) fn for_link_event(
        services: &Arc<Services>,
        link: &Arc<Link>,
        now: Now,
        event: &Event,
    ) -> HookHost {
        let policy = PolicyName::Routed(Arc::clone(link));
        let host = HookHost::on_event(services, policy, now, event);
        HookHost {
            config: OnceCell::from(Arc::clone(&link.route.config)),
            ..host
        }
    }

    /// The same message in the next policy of the chain: with the edits, targets, groups, variables and the arming so far. Look-ups, and
    /// the headers and body of a reply, are of one run alone.
    pub(crate) fn into_next(mut self, link: &Arc<Link>) -> Option<HookHost> {
        let context = self.context.as_deref_mut()?;
        context.place = link.place;
        if context.hook == Hook::FailureRoute {
            // A policy that lets the failure pass has named targets for nothing.
            context.routing.targets.clear();
            self.group = 0;
        }
        let host = HookHost {
            policy: PolicyName::Routed(Arc::clone(link)),
            lookups: Lookups::default(),
            verification: None,
            rare: None,
            edits: EditsBefore::NotWanted,
            ..self
        };
        let services = host.services.as_ref()?;
        let is_traced = services.shared.traces.is_on();
        let rare = is_traced.then(|| traced::begin_in_chain(&host, services));
        Some(HookHost {
            rare: rare.flatten(),
            ..host
        })
    }

    /// Before a hook that may arm others runs: what its policy armed before counts no more, what others armed stays.
    pub(crate) fn keep_armed_by_others(&mut self, ran: ChainPlaces) {
        if let Some(context) = &mut self.context {
            let others = context.armed.without(ran);
            context.routing.armed = context.routing.armed.and(others);
        }
    }

    /// The route that the hook runs for.
    pub(super) fn route(&self) -> Option<&Route> {
        match &self.policy {
            PolicyName::Routed(link) => Some(&link.route),
            PolicyName::Checked(_) | PolicyName::Loaded(_) => None,
        }
    }

    /// Whose registrations it sees; `None`: the shared ones.
    pub(super) fn namespace(&self) -> Option<&Arc<Namespace>> {
        self.route().map(|route| &route.namespace)
    }

    /// The same by its name.
    pub(super) fn namespace_name(&self) -> &str {
        self.namespace()
            .map_or(DEFAULT_NAMESPACE, |namespace| namespace.name())
    }

    /// Makes and checks credentials.
    pub(super) fn authenticator<'h>(&'h self, services: &'h Services) -> &'h Authenticator {
        self.route()
            .map_or(&services.shared.authenticator, |route| &route.authenticator)
    }

    /// Whose the timers are that it sets.
    pub(super) fn timer_owner(&self) -> Option<TimerOwner> {
        match &self.policy {
            PolicyName::Routed(link) => Some(TimerOwner {
                route: link.route.id,
                policy: Arc::clone(link.version.name()),
            }),
            PolicyName::Checked(_) | PolicyName::Loaded(_) => None,
        }
    }
}
