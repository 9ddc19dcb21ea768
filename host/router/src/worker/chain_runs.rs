//! Hooks of the requests that a route took: one policy of its chain after the other, in the same transaction.
//!
//! `request_route` goes to the next policy when one returns `next`. The other hooks run in each policy that has armed them, in the order
//! of the chain; one that decides something else than `pass` ends it.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use patchbay_core::door::{
    ChainPlaces, Hook, HookFault, HookId, Input, PolicyVersion, RouteId, Tenant, Verdict,
};
use patchbay_core::time::Now;
use patchbay_policy::{self as policy, Fault, HookDone, Started};

use super::driver::metrics_of;
use super::hook_runs::{Begun, Ended, HookJob, HookRuns};
use crate::hooks::{HookHost, Services, policy_hook};
use crate::metrics::LimitLabel;
use crate::routes::{Chain, Link, NoVersion, Table};

/// How far the run of a hook is in its chain.
pub(super) struct ChainRun {
    /// What the transaction was begun with.
    pub(super) tenant: Arc<Tenant>,
    hook: Hook,
    /// Where the policy that runs stands.
    place: u8,
    /// Those that may run after it.
    left: ChainPlaces,
    /// Those that have run, itself included.
    ran: ChainPlaces,
}

/// A run that goes on in another policy.
struct Step {
    job: RunningJob,
    run: ChainRun,
    host: HookHost,
}

/// What stays the same over all policies of a chain.
#[derive(Clone, Copy)]
struct RunningJob {
    id: HookId,
    source: Option<IpAddr>,
}

/// Why a route does not take a request that is its own.
enum Refused {
    /// One of its limits is reached.
    Limit,
    /// One of its policies can't run.
    NoPolicy(NoVersion),
    /// The route of the dialog is gone.
    Gone,
}

impl HookRuns {
    /// Runs a hook of a request that a route takes or has taken; gives the job back when none does.
    #[inline(never)]
    pub(super) fn run_routed(
        &mut self,
        job: HookJob,
        services: &Arc<Services>,
        now: Now,
        context: &mut Context<'_>,
    ) -> ControlFlow<Option<Input>, HookJob> {
        let (tenant, left) = match (&job.tenant, job.hook) {
            (Some(tenant), hook) => {
                let armed = job.context.armed;
                let places = match hook {
                    Hook::BranchRoute => armed.branch_route,
                    Hook::OnreplyRoute => armed.onreply_route,
                    Hook::FailureRoute => armed.failure_route,
                    Hook::RequestRoute => ChainPlaces::FIRST,
                };
                (Arc::clone(tenant), places)
            }
            (None, _) => {
                let table = services.shared.routes.table();
                match tenant_for(&table, &job, services, now) {
                    None => return ControlFlow::Continue(job),
                    Some(Ok(tenant)) => (tenant, ChainPlaces::FIRST),
                    Some(Err(refused)) => {
                        let fault = refused.told(services, now);
                        return ControlFlow::Break(Some(job.refused(fault)));
                    }
                }
            }
        };
        let Some(chain) = Chain::of(&tenant) else {
            unreachable!("the tenants of this router have chains")
        };
        if job.hook == Hook::RequestRoute {
            // The core gives this back with `Output::Unpin`, which names the tenant that it is told of.
            chain.begin(&services.shared.policies);
        }
        let hook = policy_hook(job.hook);
        let Some(link) = first_with(chain, hook, left) else {
            return ControlFlow::Break(Some(job.passed(chain, &tenant)));
        };
        let running = RunningJob {
            id: job.id,
            source: Some(job.context.source.remote.ip()),
        };
        let step = Step {
            job: running,
            run: ChainRun {
                hook: job.hook,
                place: link.place,
                left: left.without(ChainPlaces::at(link.place)),
                ran: ChainPlaces::at(link.place),
                tenant: Arc::clone(&tenant),
            },
            host: HookHost::for_link(services, link, now, job.context),
        };
        ControlFlow::Break(self.drive(step, services, now, context))
    }

    /// Goes on with a run that has ended in one policy; the answer to the core when that is all.
    pub(super) fn go_on(
        &mut self,
        ended: Ended,
        services: &Arc<Services>,
        now: Now,
        context: &mut Context<'_>,
    ) -> Option<Input> {
        match conclude(ended, services, now) {
            ControlFlow::Break(input) => input,
            ControlFlow::Continue(step) => self.drive(step, services, now, context),
        }
    }

    fn drive(
        &mut self,
        mut step: Step,
        services: &Arc<Services>,
        now: Now,
        context: &mut Context<'_>,
    ) -> Option<Input> {
        loop {
            let ended = self.run_link(step, services, context)?;
            match conclude(ended, services, now) {
                ControlFlow::Break(input) => return input,
                ControlFlow::Continue(next) => step = next,
            }
        }
    }

    /// Runs the hook in one policy; `None`: it is not done yet.
    fn run_link(
        &mut self,
        step: Step,
        services: &Arc<Services>,
        context: &mut Context<'_>,
    ) -> Option<Ended> {
        let Step { job, run, host } = step;
        let Some(chain) = Chain::of(&run.tenant) else {
            unreachable!("it was looked at when the run began")
        };
        let hook = policy_hook(run.hook);
        let version = chain.version;
        let Some(link) = chain.link(run.place).map(Arc::clone) else {
            unreachable!("the place is one of the chain's")
        };
        if !link.version.exports(hook) {
            return Some(Ended::without_request_route(job.id, version, host, run));
        }
        metrics_of(services).hook_runs.increment(hook);
        let scope = Some(&link.route.scope);
        let begun = Begun {
            id: Some(job.id),
            version,
            source: job.source,
            chain: Some(run),
        };
        match self.instances.start(scope, &link.version, hook, host) {
            Started::Done(done) => Some(begun.ended(done, hook, &link.version)),
            Started::Running(run) => self.go_on_running(begun, run, context),
        }
    }
}

/// What the transaction of a new request begins with; `None`: no route takes it.
fn tenant_for(
    table: &Table,
    job: &HookJob,
    services: &Services,
    now: Now,
) -> Option<Result<Arc<Tenant>, Refused>> {
    let context = &job.context;
    let policies = &services.shared.policies;
    if context.in_dialog {
        return match (context.route, table.by_number(context.route)) {
            (RouteId::NONE, _) => None,
            (_, None) => Some(Err(Refused::Gone)),
            (_, Some(entry)) => Some(
                match job.version.number() {
                    0 => entry.tenant(),
                    _ => entry.tenant_of_dialog(job.version, policies),
                }
                .map_err(Refused::NoPolicy),
            ),
        };
    }
    let entry = table.choose(context)?;
    let route = entry.route();
    if let Err(limit) = route.usage.admit(&route.written.limits, now.instant) {
        tracing::debug!(route = route.name(), ?limit, "a route's limit is reached");
        return Some(Err(Refused::Limit));
    }
    let rollout = &services.shared.rollout;
    let canary = rollout.choose_for(context, services.worker, |canary| {
        canary.reach().routes && route.has_policy(canary.version().name())
    });
    let tenant = match canary {
        Some(version) => entry.tenant_with(&version),
        None => entry.tenant(),
    };
    Some(tenant.map_err(Refused::NoPolicy))
}

impl Refused {
    /// Counts and logs it, and says what the core is told.
    fn told(self, services: &Services, now: Now) -> HookFault {
        match self {
            Refused::Limit => {
                metrics_of(services).limits.increment(LimitLabel::Route);
                HookFault::Unavailable
            }
            Refused::NoPolicy(NoVersion(policy)) => {
                if services.may_log(now) {
                    tracing::warn!(policy, "a policy of a route has no version to run");
                }
                HookFault::NoPolicy
            }
            Refused::Gone => {
                tracing::debug!("the route of a dialog is gone: it goes on without a policy");
                HookFault::NoPolicy
            }
        }
    }
}

/// The run has ended in one policy: the answer to the core, or where it goes on.
fn conclude(mut ended: Ended, services: &Services, now: Now) -> ControlFlow<Option<Input>, Step> {
    let Some(run) = ended.chain.as_mut() else {
        return ControlFlow::Break(ended.answer(services, now));
    };
    let goes_on = match &ended.done.result {
        Ok(policy::Verdict::Next) => next_in_order(run),
        Ok(policy::Verdict::Pass) => Chain::of(&run.tenant)
            .and_then(|chain| first_with(chain, ended.hook, run.left))
            .map(Arc::clone),
        Ok(_) | Err(_) => None,
    };
    let Some(link) = goes_on else {
        if run.hook == Hook::FailureRoute
            && let (Ok(policy::Verdict::Relay), Some(host)) =
                (&ended.done.result, &mut ended.done.host)
        {
            host.keep_armed_by_others(run.ran);
        }
        return ControlFlow::Break(ended.answer(services, now));
    };
    ended.account(services, now);
    let (Some(id), Some(mut run), Some(host)) = (ended.id, ended.chain, ended.done.host) else {
        unreachable!("a hook on a message that returned has all of them")
    };
    run.place = link.place;
    run.left = run.left.without(ChainPlaces::at(link.place));
    run.ran = run.ran.and(ChainPlaces::at(link.place));
    let Some(host) = host.into_next(&link) else {
        unreachable!("a hook on a message has a context")
    };
    let source = ended.source;
    ControlFlow::Continue(Step {
        job: RunningJob { id, source },
        run,
        host,
    })
}

fn next_in_order(run: &ChainRun) -> Option<Arc<Link>> {
    link_at(&run.tenant, run.place.checked_add(1)?)
}

/// The first policy at one of these places that has the hook. Whoever routes at all has `request-route`, or that is a fault.
fn first_with(chain: &Chain, hook: policy::Hook, mut places: ChainPlaces) -> Option<&Arc<Link>> {
    while let Some(place) = places.first() {
        places = places.without(ChainPlaces::at(place));
        let has =
            |link: &&Arc<Link>| hook == policy::Hook::RequestRoute || link.version.exports(hook);
        if let Some(link) = chain.link(place).filter(has) {
            return Some(link);
        }
    }
    None
}

fn link_at(tenant: &Tenant, place: u8) -> Option<Arc<Link>> {
    Chain::of(tenant)?.link(place).map(Arc::clone)
}

impl HookJob {
    /// The answer where it can't run.
    fn refused(self, fault: HookFault) -> Input {
        Input::HookReturned {
            id: self.id,
            result: Err(fault),
            context: Some(self.context),
            // Nothing is pinned.
            version: PolicyVersion(0),
            tenant: None,
        }
    }

    /// The answer where no policy of the chain has the hook.
    fn passed(self, chain: &Chain, tenant: &Arc<Tenant>) -> Input {
        Input::HookReturned {
            id: self.id,
            result: Ok(Verdict::Pass),
            context: Some(self.context),
            version: chain.version,
            tenant: Some(Arc::clone(tenant)),
        }
    }
}

impl Ended {
    /// A policy without `request-route` can't be part of a chain.
    fn without_request_route(
        id: HookId,
        version: PolicyVersion,
        host: HookHost,
        run: ChainRun,
    ) -> Ended {
        let link = link_at(&run.tenant, run.place);
        let fault = Fault::Verdict("the policy has no request-route".to_owned());
        Ended {
            id: Some(id),
            hook: policy::Hook::RequestRoute,
            version,
            failed: link.map(|link| Arc::clone(&link.version)),
            source: None,
            done: HookDone {
                host: Some(host),
                result: Err(fault),
                elapsed: Duration::ZERO,
            },
            chain: Some(run),
        }
    }
}
