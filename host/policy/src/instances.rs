//! A worker's instances: taken for a hook, given back after it, thrown away after a fault.

mod run;
mod shelf;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::host::{Hook, Host};
use crate::instance::{Instance, Progress};
use crate::scope::Scope;
use crate::ticker::Presence;
use crate::verdict::{Event, Fault};
use crate::version::Version;
use run::Stage;
use shelf::{MAX_IDLE, ScopedShelf, Shelf};

pub use run::{HookDone, HookRun, Started};

/// After how many hooks instances of versions that are gone are looked for.
const SWEEP_INTERVAL: u32 = 256;

/// The instances of one worker. It stays on the worker's thread.
pub struct Instances<H: Host> {
    pool: Rc<Pool<H>>,
}

struct Pool<H: Host> {
    engine: Engine<H>,
    worker: usize,
    presence: Presence,
    running: Cell<usize>,
    /// Those of them whose policy can wait for answers from outside, and that were not done at once.
    waiting: Cell<usize>,
    /// Hooks since the last sweep.
    unswept: Cell<u32>,
    /// How often the instances were renewed.
    generation: Cell<u32>,
    /// The numbers of the versions whose instances were not renewed then.
    unrenewed: RefCell<Vec<u64>>,
    shelves: RefCell<Vec<Shelf<H>>>,
    /// Those of scopes, by the numbers of version and scope.
    scoped: RefCell<HashMap<(u64, u64), ScopedShelf<H>>>,
    /// How many instances they have.
    scoped_idle: Cell<usize>,
}

impl<H: Host> Instances<H> {
    /// The instances of worker number `worker`.
    pub fn new(engine: Engine<H>, worker: usize) -> Instances<H> {
        Instances {
            pool: Rc::new(Pool {
                presence: engine.presence(),
                engine,
                worker,
                running: Cell::new(0),
                waiting: Cell::new(0),
                unswept: Cell::new(0),
                generation: Cell::new(0),
                unrenewed: RefCell::default(),
                shelves: RefCell::new(Vec::new()),
                scoped: RefCell::default(),
                scoped_idle: Cell::new(0),
            }),
        }
    }

    /// Runs a hook on a message, to its end where that needs no fiber: nearly every hook is done then.
    #[inline]
    pub fn start(
        &self,
        scope: Option<&Arc<Scope>>,
        version: &Arc<Version<H>>,
        hook: Hook,
        mut host: H,
    ) -> Started<H> {
        let pool = &self.pool;
        let may_be_straight = version.is_straight() && hook != Hook::EventRoute;
        if may_be_straight
            && pool.running.get() < pool.places()
            && let Some(instance) = pool.idle_straight(scope, version)
        {
            if let Some(before) = host.before() {
                return self.start_straight(scope, version, hook, (host, before), instance);
            }
            let place = (
                scope.map_or(0, |scope| scope.number()),
                pool.generation.get(),
            );
            pool.give_back(version, place, instance);
        }
        Started::Running(self.run_in(scope, version, hook, host, None))
    }

    #[inline]
    fn start_straight(
        &self,
        scope: Option<&Arc<Scope>>,
        version: &Arc<Version<H>>,
        hook: Hook,
        (host, before): (H, H::Before),
        mut instance: Instance<H>,
    ) -> Started<H> {
        let pool = &self.pool;
        let started = Instant::now();
        pool.running.set(pool.running.get() + 1);
        let progress = {
            let _inside = pool.presence.enter();
            instance.run_straight(hook, host, started)
        };
        let scope = scope.map_or(0, |scope| scope.number());
        if let Progress::Done(result) = progress {
            pool.ended();
            let elapsed = started.elapsed();
            let fault = result.as_ref().err();
            version.stats().count(pool.worker, hook, elapsed, fault);
            let host = instance.take_host();
            pool.give_back(version, (scope, pool.generation.get()), instance);
            return Started::Done(HookDone {
                host,
                result,
                elapsed,
            });
        }
        let mut run = HookRun {
            pool: Rc::clone(pool),
            version: Arc::clone(version),
            scope,
            generation: pool.generation.get(),
            waits_in: None,
            hook,
            started,
            waits: false,
            has_waited: false,
            has_rested: false,
            before: Some(before),
            stage: Stage::Over,
        };
        run.stage = run.after(progress, instance);
        Started::Running(run)
    }

    /// Begins to run a hook. `event` is for `event-route` alone.
    ///
    /// The result is to be polled at once: most hooks are done then. One that is not has run for long and has yielded, or is to begin again on
    /// a fiber, and wakes its waker at once; or it [waits](HookRun::waits). Dropping it ends the hook and its instance.
    #[inline]
    pub fn run(
        &self,
        version: &Arc<Version<H>>,
        hook: Hook,
        host: H,
        event: Option<Event>,
    ) -> HookRun<H> {
        self.run_in(None, version, hook, host, event)
    }

    /// The same in an instance of a scope.
    #[inline]
    pub fn run_in(
        &self,
        scope: Option<&Arc<Scope>>,
        version: &Arc<Version<H>>,
        hook: Hook,
        mut host: H,
        event: Option<Event>,
    ) -> HookRun<H> {
        let pool = &self.pool;
        let started = Instant::now();
        // Hooks of policies that never wait are over soon, however many of others wait.
        let may_wait = version.may_wait();
        let mut before = None;
        let stage = if may_wait && !pool.may_wait(scope) || pool.running.get() >= pool.places() {
            let fault = Fault::crowded();
            Stage::Refused(Box::new(HookDone {
                host: Some(host),
                result: Err(fault),
                elapsed: Duration::ZERO,
            }))
        } else {
            let may_be_straight = version.is_straight() && hook != Hook::EventRoute;
            if may_be_straight && !pool.is_on_fibers(scope, version) {
                before = host.before();
            }
            let mut instance = match scope {
                None => pool.take(version, before.is_some()),
                Some(scope) => pool.take_scoped(scope, version, before.is_some()),
            };
            instance.assign(hook, host, event, started);
            pool.running.set(pool.running.get() + 1);
            Stage::Running(instance)
        };
        HookRun {
            pool: Rc::clone(pool),
            version: Arc::clone(version),
            scope: scope.map_or(0, |scope| scope.number()),
            generation: pool.generation.get(),
            waits_in: scope.filter(|_| may_wait).cloned(),
            hook,
            started,
            waits: false,
            has_waited: false,
            has_rested: false,
            before,
            stage,
        }
    }

    /// How many hooks have begun and are not done.
    pub fn running(&self) -> usize {
        self.pool.running.get()
    }

    /// How many of them can wait for answers from outside, and were not done at once.
    pub fn waiting(&self) -> usize {
        self.pool.waiting.get()
    }

    /// How many instances wait for a hook.
    pub fn idle(&self) -> usize {
        self.pool.unscoped_idle() + self.pool.scoped_idle.get()
    }

    /// Makes instances anew for the hooks that begin from now on without a scope, so that their `init` reads the settings as they are now: those
    /// that wait for a hook are thrown away, and those that run one after it. What serves a scope is renewed by giving it another scope.
    ///
    /// Those of the versions of these numbers stay as they are: no new one would start.
    pub fn renew(&self, except: &[u64]) {
        let pool = &self.pool;
        pool.generation.set(pool.generation.get().wrapping_add(1));
        let mut shelves = pool.shelves.borrow_mut();
        shelves.retain(|shelf| except.contains(&shelf.number));
        *pool.unrenewed.borrow_mut() = except.to_vec();
    }

    /// Throws away the instances of versions that are gone. It happens by itself when a new version runs first on this worker and
    /// after some hundred hooks; a worker that has nothing to do may call it now and then.
    pub fn sweep(&self) {
        self.pool.sweep();
    }
}

impl<H: Host> Pool<H> {
    /// Whether one more hook may wait.
    fn may_wait(&self, scope: Option<&Arc<Scope>>) -> bool {
        self.waiting.get() < self.engine.config().max_concurrent_hooks
            && scope.is_none_or(|scope| scope.has_room())
    }

    #[inline]
    fn take(&self, version: &Arc<Version<H>>, straight: bool) -> Instance<H> {
        let number = version.number();
        // The shelves are free again after this line: making room looks at them.
        let found = self
            .shelves
            .borrow_mut()
            .iter_mut()
            .find(|shelf| shelf.number == number)
            .map(|shelf| shelf.take(straight));
        match found {
            Some(Some(instance)) => instance,
            Some(None) => {
                self.make_room();
                Instance::new(&self.engine, version, straight)
            }
            None => {
                self.make_room();
                self.sweep();
                let mut shelf = Shelf::new(version);
                shelf.idle.reserve(MAX_IDLE);
                self.shelves.borrow_mut().push(shelf);
                Instance::new(&self.engine, version, straight)
            }
        }
    }

    fn take_scoped(
        &self,
        scope: &Arc<Scope>,
        version: &Arc<Version<H>>,
        straight: bool,
    ) -> Instance<H> {
        let key = (version.number(), scope.number());
        let mut scoped = self.scoped.borrow_mut();
        let found = scoped.get_mut(&key).map(|found| found.shelf.take(straight));
        match found {
            Some(Some(instance)) => {
                self.scoped_idle
                    .set(self.scoped_idle.get().saturating_sub(1));
                return instance;
            }
            Some(None) => drop(scoped),
            None => {
                let shelf = Shelf::new(version);
                let scope = Arc::downgrade(scope);
                scoped.insert(key, ScopedShelf { scope, shelf });
                drop(scoped);
                self.sweep();
            }
        }
        self.make_room();
        Instance::new(&self.engine, version, straight)
    }

    /// An instance on a fiber for a hook that has begun.
    #[cold]
    fn on_fiber(&self, version: &Arc<Version<H>>, scope: u64) -> Instance<H> {
        if scope == 0 {
            return self.take(version, false);
        }
        let key = (version.number(), scope);
        let mut scoped = self.scoped.borrow_mut();
        let found = scoped.get_mut(&key);
        if let Some(instance) = found.and_then(|found| found.shelf.take(false)) {
            self.scoped_idle
                .set(self.scoped_idle.get().saturating_sub(1));
            return instance;
        }
        drop(scoped);
        self.make_room();
        Instance::new(&self.engine, version, false)
    }

    /// Whether the next hook of this version is to run on a fiber, as one before had to.
    fn is_on_fibers(&self, scope: Option<&Arc<Scope>>, version: &Arc<Version<H>>) -> bool {
        let number = version.number();
        match scope {
            None => {
                let mut shelves = self.shelves.borrow_mut();
                let shelf = shelves.iter_mut().find(|shelf| shelf.number == number);
                shelf.is_some_and(Shelf::is_on_fibers)
            }
            Some(scope) => {
                let mut scoped = self.scoped.borrow_mut();
                let found = scoped.get_mut(&(number, scope.number()));
                found.is_some_and(|found| found.shelf.is_on_fibers())
            }
        }
    }

    /// An idle instance whose hooks are called straight, unless hooks are to run on fibers.
    #[inline]
    fn idle_straight(
        &self,
        scope: Option<&Arc<Scope>>,
        version: &Arc<Version<H>>,
    ) -> Option<Instance<H>> {
        let number = version.number();
        let Some(scope) = scope else {
            let mut shelves = self.shelves.borrow_mut();
            let shelf = shelves.iter_mut().find(|shelf| shelf.number == number)?;
            return shelf.idle_straight();
        };
        let mut scoped = self.scoped.borrow_mut();
        let found = scoped.get_mut(&(number, scope.number()))?;
        let instance = found.shelf.idle_straight()?;
        self.scoped_idle
            .set(self.scoped_idle.get().saturating_sub(1));
        Some(instance)
    }

    /// A hook of this version has to begin again on a fiber, as others will.
    #[cold]
    fn leave_straight(&self, version: &Version<H>, scope: u64) {
        let number = version.number();
        if scope != 0 {
            if let Some(found) = self.scoped.borrow_mut().get_mut(&(number, scope)) {
                found.shelf.leave_straight();
            }
            return;
        }
        let mut shelves = self.shelves.borrow_mut();
        if let Some(shelf) = shelves.iter_mut().find(|shelf| shelf.number == number) {
            shelf.leave_straight();
        }
    }

    fn unscoped_idle(&self) -> usize {
        let shelves = self.shelves.borrow();
        shelves.iter().map(|shelf| shelf.idle.len()).sum()
    }

    /// How many instances it may have.
    fn places(&self) -> usize {
        let config = self.engine.config();
        config
            .max_concurrent_hooks
            .saturating_add(config.spare_instances)
    }

    /// There are as many places for instances as hooks may wait, and some more. Idle instances can be in the way of one that is needed now,
    /// above all those of many scopes.
    fn make_room(&self) {
        let taken = self.running.get() + self.scoped_idle.get() + self.unscoped_idle();
        if taken >= self.places() {
            self.drop_idle(1);
        }
    }

    /// Throws so many idle instances away, each of the version, or the scope, that has most of them. Whether there were any.
    #[cold]
    fn drop_idle(&self, count: usize) -> bool {
        let (mut shelves, mut scoped) = (self.shelves.borrow_mut(), self.scoped.borrow_mut());
        let mut dropped = 0;
        for _ in 0..count {
            let shelves = shelves.iter_mut();
            let all = shelves.chain(scoped.values_mut().map(|found| &mut found.shelf));
            let fullest = all.max_by_key(|shelf| shelf.idle.len());
            if fullest.is_none_or(|shelf| shelf.idle.pop().is_none()) {
                break;
            }
            dropped += 1;
        }
        let idle = scoped.values().map(|found| found.shelf.idle.len()).sum();
        self.scoped_idle.set(idle);
        dropped > 0
    }

    fn give_back_scoped(&self, version: &Version<H>, scope: u64, instance: Instance<H>) {
        let mut scoped = self.scoped.borrow_mut();
        let found = scoped.get_mut(&(version.number(), scope));
        if found.is_some_and(|found| found.shelf.put(instance)) {
            self.scoped_idle.set(self.scoped_idle.get() + 1);
        }
    }

    #[inline]
    fn give_back(
        &self,
        version: &Version<H>,
        (scope, generation): (u64, u32),
        instance: Instance<H>,
    ) {
        if instance.uses >= self.engine.config().instance_reuse {
            return;
        }
        if scope != 0 {
            return self.give_back_scoped(version, scope, instance);
        }
        if generation != self.generation.get() && !self.is_unrenewed(version) {
            return;
        }
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves
            .iter_mut()
            .find(|shelf| shelf.number == version.number());
        if let Some(shelf) = shelf {
            shelf.put(instance);
        }
    }

    #[cold]
    fn is_unrenewed(&self, version: &Version<H>) -> bool {
        self.unrenewed.borrow().contains(&version.number())
    }

    fn sweep(&self) {
        self.unswept.set(0);
        self.shelves
            .borrow_mut()
            .retain(|shelf| shelf.version.strong_count() > 0);
        let mut scoped = self.scoped.borrow_mut();
        if scoped.is_empty() {
            return;
        }
        scoped.retain(|_, found| {
            found.scope.strong_count() > 0 && found.shelf.version.strong_count() > 0
        });
        let idle = scoped.values().map(|found| found.shelf.idle.len()).sum();
        self.scoped_idle.set(idle);
    }

    #[inline]
    fn ended(&self) {
        self.running.set(self.running.get().saturating_sub(1));
        self.unswept.set(self.unswept.get() + 1);
        if self.unswept.get() >= SWEEP_INTERVAL {
            self.sweep();
        }
    }
}

impl<H: Host> fmt::Debug for Instances<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances")
            .field("worker", &self.pool.worker)
            .field("running", &self.running())
            .field("idle", &self.idle())
            .finish()
    }
}
