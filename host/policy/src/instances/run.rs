//! One run of a hook.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::Pool;
use crate::host::{Hook, Host};
use crate::instance::{Instance, Progress};
use crate::scope::Scope;
use crate::verdict::{Fault, Verdict};
use crate::version::Version;

/// Idle instances that are thrown away when there was no place for a new one.
const DROPPED_AT_ONCE: usize = 8;

/// A hook that has begun.
pub enum Started<H: Host> {
    /// It is done already.
    Done(HookDone<H>),
    /// It goes on when it is polled, which is to be at once.
    Running(HookRun<H>),
}

/// A hook that is running: a future of its [`HookDone`].
pub struct HookRun<H: Host> {
    pub(super) pool: Rc<Pool<H>>,
    pub(super) version: Arc<Version<H>>,
    /// The number of its scope; 0: none.
    pub(super) scope: u64,
    /// That of the pool when it began.
    pub(super) generation: u32,
    /// That scope, where the hook may wait.
    pub(super) waits_in: Option<Arc<Scope>>,
    pub(super) hook: Hook,
    pub(super) started: Instant,
    pub(super) waits: bool,
    /// It counts as one that waits.
    pub(super) has_waited: bool,
    /// It begins again and has let everything else have its turn.
    pub(super) has_rested: bool,
    /// What is put back when the hook begins again.
    pub(super) before: Option<H::Before>,
    pub(super) stage: Stage<H>,
}

pub(super) enum Stage<H: Host> {
    /// In a box, so that a run is small to move: a host never is part of it.
    Refused(Box<HookDone<H>>),
    Running(Instance<H>),
    /// The instance goes on when everything else has had its turn.
    Resting(Instance<H>),
    /// It is over, and its result not given away yet.
    Ended(Box<HookDone<H>>),
    Over,
}

/// A hook that is done.
#[derive(Debug)]
pub struct HookDone<H> {
    /// The host that the run was given, with what the hook did to it.
    pub host: Option<H>,
    /// What it decided.
    pub result: Result<Verdict, Fault>,
    /// From `run` to the end.
    pub elapsed: Duration,
}

impl<H: Host> HookRun<H> {
    /// The version it runs in.
    pub fn version(&self) -> &Arc<Version<H>> {
        &self.version
    }

    /// Which hook it is.
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Whether it was waiting for an answer from outside when it was polled last: it can't go on before its waker is woken.
    pub fn waits(&self) -> bool {
        self.waits
    }

    #[inline]
    fn enter(
        &self,
        instance: &mut Instance<H>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Progress {
        let _inside = self.pool.presence.enter();
        instance.poll(now, context)
    }

    /// There was no place for its instance, so that nothing of the guest has run: another instance, in the place of idle ones. What an event
    /// was about is gone with the first one.
    #[cold]
    fn other(&self, instance: &mut Instance<H>) -> Option<Instance<H>> {
        if self.hook == Hook::EventRoute || !self.pool.drop_idle(DROPPED_AT_ONCE) {
            return None;
        }
        let host = instance.take_host()?;
        let mut other = Instance::new(&self.pool.engine, &self.version, false);
        other.assign(self.hook, host, None, self.started);
        Some(other)
    }

    /// The hook has to begin again: an instance on a fiber that has it as its job.
    #[cold]
    fn again(&mut self, mut instance: Instance<H>) -> Instance<H> {
        self.pool.leave_straight(&self.version, self.scope);
        let (Some(mut host), Some(before)) = (instance.take_host(), self.before.take()) else {
            unreachable!("a hook is called straight with a host that can be put back")
        };
        // It makes room for the other one.
        drop(instance);
        host.undo(before);
        let mut other = self.pool.on_fiber(&self.version, self.scope);
        other.assign(self.hook, host, None, self.started);
        other
    }

    #[inline]
    fn ended(&mut self) {
        self.pool.ended();
        if std::mem::take(&mut self.has_waited) {
            self.pool
                .waiting
                .set(self.pool.waiting.get().saturating_sub(1));
            if let Some(scope) = &self.waits_in {
                scope.leave();
            }
        }
    }

    /// It waits for an answer from outside, or may.
    fn count_as_waiting(&mut self) {
        if !std::mem::replace(&mut self.has_waited, true) {
            self.pool.waiting.set(self.pool.waiting.get() + 1);
            if let Some(scope) = &self.waits_in {
                scope.enter();
            }
        }
    }

    #[inline]
    fn done(&mut self, instance: &mut Instance<H>, result: Result<Verdict, Fault>) -> HookDone<H> {
        self.ended();
        let elapsed = self.started.elapsed();
        self.version
            .stats()
            .count(self.pool.worker, self.hook, elapsed, result.as_ref().err());
        HookDone {
            host: instance.take_host(),
            result,
            elapsed,
        }
    }

    /// What follows where an instance is over, or the hook begins again in another one.
    #[cold]
    pub(super) fn after(&mut self, progress: Progress, mut instance: Instance<H>) -> Stage<H> {
        let result = match progress {
            Progress::Again { at_once: true } => return Stage::Running(self.again(instance)),
            Progress::Again { at_once: false } => return Stage::Resting(self.again(instance)),
            Progress::Done(result) | Progress::Spent(result) => result,
            Progress::Running | Progress::Waiting => return Stage::Running(instance),
        };
        Stage::Ended(Box::new(self.done(&mut instance, result)))
    }
}

/// Nothing in it is ever pinned in place: the instance's future is in a box of its own.
impl<H: Host> Unpin for HookRun<H> {}

impl<H: Host> Future for HookRun<H> {
    type Output = HookDone<H>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<HookDone<H>> {
        let run = &mut *self;
        match std::mem::replace(&mut run.stage, Stage::Over) {
            Stage::Refused(done) => {
                run.version.stats().count(
                    run.pool.worker,
                    run.hook,
                    Duration::ZERO,
                    done.result.as_ref().err(),
                );
                Poll::Ready(*done)
            }
            Stage::Running(mut instance) => {
                // The first poll follows `run` closely enough to share its clock.
                let now = if instance.is_fresh() && !run.has_rested {
                    run.started
                } else {
                    Instant::now()
                };
                let mut progress = run.enter(&mut instance, now, context);
                if let Progress::Spent(Err(fault)) = &progress
                    && fault.is_of_crowding()
                    && let Some(other) = run.other(&mut instance)
                {
                    instance = other;
                    progress = run.enter(&mut instance, now, context);
                }
                match progress {
                    Progress::Running | Progress::Waiting => {
                        run.waits = matches!(progress, Progress::Waiting);
                        // One that has only yielded so far may wait next, and the others that begin meanwhile as well.
                        if run.version.may_wait() {
                            run.count_as_waiting();
                        }
                        run.stage = Stage::Running(instance);
                        Poll::Pending
                    }
                    Progress::Done(result) => {
                        let done = run.done(&mut instance, result);
                        let place = (run.scope, run.generation);
                        run.pool.give_back(&run.version, place, instance);
                        Poll::Ready(done)
                    }
                    progress => {
                        run.stage = run.after(progress, instance);
                        self.poll(context)
                    }
                }
            }
            Stage::Resting(instance) => {
                run.stage = Stage::Running(instance);
                run.has_rested = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Stage::Ended(done) => Poll::Ready(*done),
            Stage::Over => Poll::Pending,
        }
    }
}

impl<H: Host> Drop for HookRun<H> {
    fn drop(&mut self) {
        if matches!(self.stage, Stage::Running(_) | Stage::Resting(_)) {
            self.ended();
        }
    }
}
