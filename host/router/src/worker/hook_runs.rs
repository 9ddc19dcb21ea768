//! Running hooks: at once when the guest does not wait, beside everything else when it does.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use patchbay_core::door::{
    self, HookContext, HookFault, HookId, Input, PolicyVersion, RouteId, Tenant,
};
use patchbay_core::time::Now;
use patchbay_policy::{
    Fault, Hook, HookDone, HookRun, Instances, Policies, Reader, Started, Verdict, Version,
};

use super::chain_runs::ChainRun;
use super::driver::metrics_of;
use super::mailbox::{Answer, Mailbox};
use super::serving::{canary_for, pinned_or_active};
use crate::hooks::{HookHost, NO_NEXT, Services, core_fault, policy_hook, refuse_impossible};
use crate::metrics::LimitLabel;

/// Hooks for events that run at the same time. Further events wait in the mailbox.
const MAX_EVENT_RUNS: usize = 16;

/// The hooks of one worker.
pub(super) struct HookRuns {
    pub(super) instances: Instances<HookHost>,
    pub(super) policies: Reader<HookHost>,
    /// In the order of their turns: those that have yielded, and those whose answer from outside is there.
    waiting: VecDeque<Waiting>,
    /// Those that wait for an answer from outside, by a number of their own. `max_concurrent_hooks` bounds them.
    suspended: HashMap<u64, Waiting>,
    last_number: u64,
    /// Of this worker, for whoever has an answer.
    mailbox: Mailbox,
    event_runs: usize,
    event_faults: u64,
}

/// Tells the worker that a hook can go on.
struct Bell {
    mailbox: Mailbox,
    number: u64,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.mailbox.answer(Answer::HookWoken(self.number));
    }
}

/// A hook that did not return at once.
pub(super) struct Waiting {
    begun: Begun,
    run: HookRun<HookHost>,
}

/// What is known of a hook while it runs.
pub(super) struct Begun {
    /// `None`: an event's.
    pub(super) id: Option<HookId>,
    /// As the core is told.
    pub(super) version: PolicyVersion,
    /// Whom to blame for a fault.
    pub(super) source: Option<IpAddr>,
    /// Where it is in the chain of a route.
    pub(super) chain: Option<ChainRun>,
}

impl Begun {
    /// It is done.
    #[inline]
    pub(super) fn ended(
        self,
        done: HookDone<HookHost>,
        hook: Hook,
        version: &Arc<Version<HookHost>>,
    ) -> Ended {
        Ended {
            id: self.id,
            hook,
            version: self.version,
            failed: may_have_failed(&done).then(|| Arc::clone(version)),
            source: self.source,
            done,
            chain: self.chain,
        }
    }
}

/// A hook to run.
pub(super) struct HookJob {
    /// Names it in the answer.
    pub(super) id: HookId,
    /// Which.
    pub(super) hook: door::Hook,
    /// In which version; 0: the active one.
    pub(super) version: PolicyVersion,
    /// Whose transaction it is for.
    pub(super) tenant: Option<Arc<Tenant>>,
    /// What it sees.
    pub(super) context: Box<HookContext>,
}

impl HookRuns {
    /// No hooks yet.
    pub(super) fn new(
        policies: &Arc<Policies<HookHost>>,
        worker: u16,
        mailbox: Mailbox,
    ) -> HookRuns {
        let engine = policies.engine().clone();
        HookRuns {
            instances: Instances::new(engine, usize::from(worker)),
            policies: Reader::new(policies),
            waiting: VecDeque::new(),
            suspended: HashMap::new(),
            last_number: 0,
            mailbox,
            event_runs: 0,
            event_faults: 0,
        }
    }

    /// Lets go of versions that are gone, and of their instances.
    pub(super) fn sweep(&mut self) {
        self.policies.let_go();
        self.instances.sweep();
    }

    /// How many run or wait.
    pub(super) fn count(&self) -> usize {
        self.waiting.len() + self.suspended.len()
    }

    /// How many events' hooks have failed.
    pub(super) fn event_faults(&self) -> u64 {
        self.event_faults
    }

    /// Whether an event's hook may begin.
    pub(super) fn takes_event(&self) -> bool {
        self.event_runs < MAX_EVENT_RUNS
    }

    /// Runs a hook; the answer to the core when it is done already.
    pub(super) fn run(
        &mut self,
        job: HookJob,
        services: &Arc<Services>,
        now: Now,
        context: &mut Context<'_>,
    ) -> Option<Input> {
        let is_routed = match job.hook {
            // A dialog may be of a route that is gone.
            door::Hook::RequestRoute => {
                services.shared.routes.is_on() || job.context.route != RouteId::NONE
            }
            _ => job.tenant.is_some(),
        };
        let job = if is_routed {
            match self.run_routed(job, services, now, context) {
                ControlFlow::Continue(job) => job,
                ControlFlow::Break(input) => return input,
            }
        } else {
            job
        };
        let canary = canary_for(&job, services);
        let found = match &canary {
            Some((version, number)) => Some((version, *number)),
            None => pinned_or_active(job.version, &mut self.policies),
        };
        let Some((version, number)) = found else {
            return Some(unavailable(job));
        };
        let hook = policy_hook(job.hook);
        // The core gives this pin back with `Output::Unpin`, which names the version that it is told here.
        if job.hook == door::Hook::RequestRoute {
            services.shared.policies.pin_version(version);
        }
        if !version.exports(hook) {
            return absent(job, version, number, services, now);
        }
        metrics_of(services).hook_runs.increment(hook);
        let source = Some(job.context.source.remote.ip());
        let host = HookHost::for_message(services, version, now, job.context);
        let begun = Begun {
            id: Some(job.id),
            version: number,
            source,
            chain: None,
        };
        let ended = match self.instances.start(None, version, hook, host) {
            Started::Done(done) => begun.ended(done, hook, version),
            Started::Running(run) => self.go_on_running(begun, run, context)?,
        };
        ended.answer(services, now)
    }

    /// Goes on with a hook that is not done yet; `None`: nor is it now.
    pub(super) fn go_on_running(
        &mut self,
        begun: Begun,
        run: HookRun<HookHost>,
        context: &mut Context<'_>,
    ) -> Option<Ended> {
        let mut waiting = Waiting { begun, run };
        match Pin::new(&mut waiting).poll(context) {
            Poll::Ready(ended) => Some(ended),
            Poll::Pending => self.keep(waiting),
        }
    }

    /// Keeps a hook that is not done; or it is done, because what it waits for came just now.
    pub(super) fn keep(&mut self, mut waiting: Waiting) -> Option<Ended> {
        if !waiting.run.waits() {
            self.waiting.push_back(waiting);
            return None;
        }
        self.last_number += 1;
        let number = self.last_number;
        let bell = Arc::new(Bell {
            mailbox: self.mailbox.clone(),
            number,
        });
        // What it waits for learns whom to wake: this hook, and not the worker for all that it has.
        match Pin::new(&mut waiting).poll(&mut Context::from_waker(&Waker::from(bell))) {
            Poll::Ready(ended) => return Some(ended),
            Poll::Pending if waiting.run.waits() => drop(self.suspended.insert(number, waiting)),
            Poll::Pending => self.waiting.push_back(waiting),
        }
        None
    }

    /// The answer from outside that this hook waits for is there.
    pub(super) fn wake(&mut self, number: u64) {
        self.waiting.extend(self.suspended.remove(&number));
    }

    /// Keeps a hook of an event.
    pub(super) fn keep_event(&mut self, run: HookRun<HookHost>) {
        self.event_runs += 1;
        let begun = Begun {
            id: None,
            version: PolicyVersion(run.version().number()),
            source: None,
            chain: None,
        };
        self.waiting.push_back(Waiting { begun, run });
    }

    /// Whether a hook waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next answer of a hook that yielded or was woken.
    ///
    /// Only one of them goes on for its millisecond, then everything else has its turn: however many policies loop, a
    /// message waits for one of them at most.
    pub(super) fn poll_next(
        &mut self,
        services: &Arc<Services>,
        now: Now,
        context: &mut Context<'_>,
    ) -> Poll<Input> {
        while let Some(mut waiting) = self.waiting.pop_front() {
            let ended = match Pin::new(&mut waiting).poll(context) {
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    let is_suspended = waiting.run.waits();
                    match self.keep(waiting) {
                        Some(ended) => ended,
                        // It took no time worth a turn.
                        None if is_suspended => continue,
                        None => break,
                    }
                }
            };
            if ended.id.is_none() {
                self.event_runs = self.event_runs.saturating_sub(1);
                self.event_faults += u64::from(ended.done.result.is_err());
            }
            let answer = match ended.chain {
                None => ended.answer(services, now),
                Some(_) => self.go_on(ended, services, now, context),
            };
            if let Some(input) = answer {
                return Poll::Ready(input);
            }
        }
        if !self.waiting.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A hook that is done.
pub(super) struct Ended {
    pub(super) id: Option<HookId>,
    pub(super) hook: Hook,
    pub(super) version: PolicyVersion,
    /// Set when there is a fault to tell of, or there may be one.
    pub(super) failed: Option<Arc<Version<HookHost>>>,
    pub(super) source: Option<IpAddr>,
    pub(super) done: HookDone<HookHost>,
    /// Where it is in the chain of a route.
    pub(super) chain: Option<ChainRun>,
}

impl Future for Waiting {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let Waiting { begun, run } = &mut *self;
        let done = std::task::ready!(Pin::new(&mut *run).poll(context));
        let begun = Begun {
            chain: begun.chain.take(),
            ..*begun
        };
        Poll::Ready(begun.ended(done, run.hook(), run.version()))
    }
}

/// Whether there is a fault to tell of, or one that shows only in what the core can do with the verdict.
#[inline]
fn may_have_failed(done: &HookDone<HookHost>) -> bool {
    match (&done.result, &done.host) {
        (Ok(Verdict::Next) | Err(_), _) => true,
        (Ok(verdict), Some(host)) => !host.is_possible(verdict),
        (Ok(_), None) => false,
    }
}

/// The answer where no policy is active.
fn unavailable(job: HookJob) -> Input {
    let result = Err(HookFault::Unavailable);
    Input::HookReturned {
        id: job.id,
        result,
        context: Some(job.context),
        version: job.version,
        tenant: None,
    }
}

/// The answer for a hook that the version does not have. An armed one lets everything pass; without `request-route` nobody decides, which is
/// a fault of the version.
#[cold]
fn absent(
    job: HookJob,
    version: &Arc<Version<HookHost>>,
    number: PolicyVersion,
    services: &Arc<Services>,
    now: Now,
) -> Option<Input> {
    if job.hook != door::Hook::RequestRoute {
        return Some(Input::HookReturned {
            id: job.id,
            result: Ok(door::Verdict::Pass),
            context: Some(job.context),
            version: number,
            tenant: None,
        });
    }
    let fault = Fault::Verdict("the policy has no request-route".to_owned());
    let hook = Hook::RequestRoute;
    let worker = usize::from(services.worker);
    version.stats().count_fault(worker, hook, &fault);
    let source = Some(job.context.source.remote.ip());
    let ended = Ended {
        id: Some(job.id),
        hook,
        version: number,
        failed: Some(Arc::clone(version)),
        source,
        done: HookDone {
            host: Some(HookHost::for_message(services, version, now, job.context)),
            result: Err(fault),
            elapsed: Duration::ZERO,
        },
        chain: None,
    };
    ended.answer(services, now)
}

impl Ended {
    /// The answer to the core; an event has none.
    pub(super) fn answer(mut self, services: &Services, now: Now) -> Option<Input> {
        if self.failed.is_some() {
            self.refuse_verdict(services);
        }
        self.account(services, now);
        let (context, result) = match (self.done.host, self.done.result) {
            (Some(host), Ok(verdict)) => host.finish(verdict),
            (Some(host), Err(fault)) => (host.into_context(), Err(core_fault(&fault))),
            (None, Err(fault)) => (None, Err(core_fault(&fault))),
            (None, Ok(_)) => unreachable!("a hook that returned has its host"),
        };
        Some(Input::HookReturned {
            id: self.id?,
            result,
            context,
            version: self.version,
            tenant: self.chain.map(|run| run.tenant),
        })
    }

    /// What nobody can carry out is no verdict, but a fault of the version: for `next` nobody is left, and for some verdicts the method is
    /// the wrong one.
    #[cold]
    fn refuse_verdict(&mut self, services: &Services) {
        let fault = if matches!(self.done.result, Ok(Verdict::Next)) {
            let fault = Fault::Verdict(NO_NEXT.to_owned());
            self.done.result = Err(fault.clone());
            Some(fault)
        } else {
            // A stray ACK costs its sender nothing: it must not take a version back that answers it.
            if self.done.host.as_ref().is_some_and(HookHost::is_for_ack) {
                self.source = None;
            }
            refuse_impossible(&mut self.done)
        };
        if let (Some(fault), Some(version)) = (fault, &self.failed) {
            let worker = usize::from(services.worker);
            version.stats().count_fault(worker, self.hook, &fault);
        }
    }

    /// Counts, traces and logs a run that is over.
    pub(super) fn account(&mut self, services: &Services, now: Now) {
        let nanoseconds = u64::try_from(self.done.elapsed.as_nanos()).unwrap_or(u64::MAX);
        metrics_of(services)
            .hook_nanoseconds
            .add(self.hook, nanoseconds);
        self.trace(services);
        if matches!(&self.done.result, Err(fault) if fault.is_of_crowding()) {
            metrics_of(services).limits.increment(LimitLabel::Hooks);
        }
        self.blame(services, now);
    }

    /// Gives away the trace of a run that was traced.
    #[inline]
    fn trace(&mut self, services: &Services) {
        if let Some(host) = &mut self.done.host
            && host.is_traced()
        {
            let elapsed_us = u64::try_from(self.done.elapsed.as_micros()).unwrap_or(u64::MAX);
            if let Some(captured) = host.end_trace(&self.done.result, elapsed_us) {
                services.shared.traces.push(services.worker, captured);
            }
        }
    }

    /// Logs a fault and tells it to the policies, which may go back to the last good version.
    fn blame(&self, services: &Services, now: Now) {
        let (Err(fault), Some(version)) = (&self.done.result, &self.failed) else {
            return;
        };
        let (policy, policy_version) = (&**version.name(), version.digest().short());
        let elapsed_us = u64::try_from(self.done.elapsed.as_micros()).unwrap_or(u64::MAX);
        if services.may_log(now) {
            let host = self.done.host.as_ref();
            let call_id = host.map(HookHost::call_id);
            let call_id = call_id.as_deref().filter(|call_id| !call_id.is_empty());
            let hook = self.hook.name();
            tracing::warn!(call_id, policy, policy_version, hook, elapsed_us, %fault, "a hook failed");
        }
        let Some(source) = self.source.filter(|_| fault.is_policys()) else {
            return;
        };
        let instant = services.clock.system_instant(now.instant);
        let policies = &services.shared.policies;
        let rollback = policies.report_fault(version.number(), source, instant);
        if rollback.is_some() {
            services.shared.metrics.automatic_rollbacks.add_shared(1);
        }
    }
}
