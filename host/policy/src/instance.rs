//! One instance of a version: a store that runs one hook after the other.
//!
//! On a fiber an instance is one future that lives as long as the instance does. It takes a job, runs it, leaves the outcome and waits for
//! the next job. So a hook needs no allocation of its own, and a hook that has yielded can be kept in a table of any shape.
//!
//! One whose hooks are called [straight](Straight) is a future until it is made, and a store after that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use wasmtime::component::{ComponentExportIndex, Instance as Component, InstancePre, TypedFunc};
use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use crate::direct::{self, InitRefused, Program, Straight};
use crate::engine::{Engine, LoadError};
use crate::exchange::{self, Back, Front, Job, NextJob};
use crate::host::{Hook, Host};
use crate::imports::MAX_CALL_BYTES;
use crate::state::{Interrupt, Phase, State, on_tick};
use crate::verdict::{Event, FailureVerdict, Fault, PassVerdict, RequestVerdict, Verdict};
use crate::version::{Code, Version};
use crate::world::Exports;

/// An instance, idle or running.
pub(crate) struct Instance<H: Host> {
    way: Way<H>,
    /// What it is given to run, and gives back.
    front: Front<H>,
    pub(crate) uses: u32,
}

/// How an instance runs its hooks.
enum Way<H: Host> {
    /// On a fiber.
    Fiber(Pin<Box<dyn Future<Output = Made<H>>>>),
    Straight(Box<Straight<H>>),
}

/// What becomes of an instance's future.
enum Made<H: Host> {
    /// Its hooks are called straight from now on; this is the first one.
    Straight(Box<Straight<H>>, Job),
    /// It can't be made for that.
    ForFibers,
    /// The instance is over.
    Over,
}

/// How far a run is after a poll.
pub(crate) enum Progress {
    /// The guest has yielded.
    Running,
    /// The guest waits for an answer from outside, which wakes the waker.
    Waiting,
    /// The run is over, and the instance can run another hook.
    Done(Result<Verdict, Fault>),
    /// The run is over, and the instance with it.
    Spent(Result<Verdict, Fault>),
    /// The instance is over. The hook has to begin again in one on a fiber; at once, or when everything else has had its turn.
    Again { at_once: bool },
}

impl<H: Host> Instance<H> {
    /// Prepares an instance; it is made when it is polled with its first job. Hooks are called straight only where
    /// [`Version::is_straight`] says that they can be.
    pub(crate) fn new(engine: &Engine<H>, version: &Version<H>, straight: bool) -> Instance<H> {
        let (front, back) = exchange::desk();
        let store = new_store(engine, back);
        let way = match &version.code {
            Code::Direct(program) if straight => {
                Way::Fiber(Box::pin(make_straight(store, Arc::clone(program))))
            }
            code => Way::Fiber(Box::pin(serve(
                store,
                code.clone(),
                version.exports.clone(),
            ))),
        };
        Instance {
            way,
            front,
            uses: 0,
        }
    }

    /// Whether its hooks are called straight, once it is made.
    #[inline]
    pub(crate) fn is_straight(&self) -> bool {
        matches!(self.way, Way::Straight(_))
    }

    /// Gives it a job; the next polls carry it out.
    #[inline]
    pub(crate) fn assign(&mut self, hook: Hook, host: H, event: Option<Event>, started: Instant) {
        self.uses += 1;
        let job = Job {
            hook,
            event: event.map(Box::new),
            started,
        };
        self.front.assign(job, host);
    }

    /// The host of the run that is over.
    #[inline]
    pub(crate) fn take_host(&mut self) -> Option<H> {
        self.front.take_host()
    }

    /// Whether its job has not begun.
    #[inline]
    pub(crate) fn is_fresh(&mut self) -> bool {
        self.front.has_job()
    }

    #[inline]
    pub(crate) fn poll(&mut self, now: Instant, context: &mut Context<'_>) -> Progress {
        match &mut self.way {
            Way::Straight(straight) => match self.front.begin(now) {
                Some(job) => run_straight(straight, &job),
                None => Progress::Spent(Err(Fault::Unavailable("there is no hook to run".into()))),
            },
            Way::Fiber(_) => self.poll_fiber(now, context),
        }
    }

    /// Runs a hook to its end in an instance whose hooks are called straight.
    #[inline]
    pub(crate) fn run_straight(&mut self, hook: Hook, host: H, started: Instant) -> Progress {
        let Way::Straight(straight) = &mut self.way else {
            return Progress::Spent(Err(Fault::Unavailable("it runs on a fiber".into())));
        };
        self.uses += 1;
        self.front.seat_at(host, started);
        let job = Job {
            hook,
            event: None,
            started,
        };
        run_straight(straight, &job)
    }

    #[inline]
    fn poll_fiber(&mut self, now: Instant, context: &mut Context<'_>) -> Progress {
        let Way::Fiber(future) = &mut self.way else {
            return Progress::Waiting;
        };
        match self.front.poll(future.as_mut(), now, context) {
            (Poll::Pending, Some(outcome)) => Progress::Done(outcome),
            (Poll::Pending, None) if self.front.has_yielded() => Progress::Running,
            (Poll::Pending, None) => Progress::Waiting,
            (Poll::Ready(Made::Straight(straight, job)), None) => self.go_straight(straight, &job),
            (Poll::Ready(Made::ForFibers), None) => Progress::Again { at_once: true },
            (Poll::Ready(_), Some(outcome)) => Progress::Spent(outcome),
            (Poll::Ready(_), None) => {
                Progress::Spent(Err(Fault::Unavailable("the instance ended".into())))
            }
        }
    }

    /// It is made; its first hook follows.
    #[cold]
    fn go_straight(&mut self, mut straight: Box<Straight<H>>, job: &Job) -> Progress {
        self.front.enter(Instant::now());
        let progress = run_straight(&mut straight, job);
        self.way = Way::Straight(straight);
        progress
    }
}

#[inline]
fn run_straight<H: Host>(straight: &mut Straight<H>, job: &Job) -> Progress {
    match straight.run(job) {
        Ok(outcome) => Progress::Done(outcome),
        Err(error) => match error.downcast_ref::<Interrupt>() {
            Some(Interrupt::Acts | Interrupt::Room) => Progress::Again { at_once: true },
            Some(Interrupt::Slow) => Progress::Again { at_once: false },
            _ => Progress::Spent(Err(fault_of(straight.store(), &error))),
        },
    }
}

/// Makes an instance whose hooks are called straight.
async fn make_straight<H: Host>(mut store: Store<State<H>>, program: Arc<Program<H>>) -> Made<H> {
    let Some(job) = next_job(&mut store).await else {
        return Made::Over;
    };
    store.data_mut().begin(job.started);
    let hook = match make_direct(&mut store, &program, true).await {
        Ok(harness) => direct::hook(&mut store, &harness)
            .map_err(|error| Fault::Unavailable(format!("{error:#}"))),
        Err(InitError::NeedsFiber) => {
            program.leave_straight();
            return Made::ForFibers;
        }
        Err(error) => Err(error.fault()),
    };
    match hook {
        Ok(hook) => Made::Straight(Box::new(Straight::new(store, hook)), job),
        Err(fault) => {
            store.data_mut().desk.finish(Err(fault));
            Made::Over
        }
    }
}

fn new_store<H: Host>(engine: &Engine<H>, back: Back<H>) -> Store<State<H>> {
    let mut store = Store::new(engine.wasmtime(), State::new(engine.run_limits(), back));
    store.limiter(|state| state);
    store.set_hostcall_fuel(MAX_CALL_BYTES);
    store.epoch_deadline_callback(on_tick);
    store
}

async fn serve<H: Host>(mut store: Store<State<H>>, code: Code<H>, exports: Exports) -> Made<H> {
    let Some(job) = next_job(&mut store).await else {
        return Made::Over;
    };
    store.data_mut().begin(job.started);
    let fault = match code {
        Code::Component(pre) => serve_component(&mut store, &pre, &exports, job).await,
        Code::Direct(program) => serve_direct(&mut store, &program, job).await,
    };
    store.data_mut().desk.finish(Err(fault));
    Made::Over
}

async fn next_job<H: Host>(store: &mut Store<State<H>>) -> Option<Job> {
    NextJob.await;
    store.data_mut().desk.take_job()
}

/// Runs hooks until one of them ends the instance.
async fn serve_component<H: Host>(
    store: &mut Store<State<H>>,
    pre: &InstancePre<State<H>>,
    exports: &Exports,
    mut job: Job,
) -> Fault {
    let hooks = match make(store, async |store| pre.instantiate_async(store).await).await {
        Ok(instance) => match run_init(store, &instance, exports).await {
            Ok(()) => Hooks::find(store, &instance, exports),
            Err(error) => Err(error.fault()),
        },
        Err(error) => Err(error.fault()),
    };
    let hooks = match hooks {
        Ok(hooks) => hooks,
        Err(fault) => return fault,
    };
    loop {
        store.data_mut().begin(job.started);
        if let Some(web) = &mut store.data_mut().web {
            web.begin();
        }
        store.data_mut().phase = Phase::Hook(job.hook);
        store.set_epoch_deadline(1);
        let event = job.event.map(|event| *event);
        let called = hooks.call(store, job.hook, event).await;
        store.data_mut().phase = Phase::Idle;
        match called {
            Ok(checked) => store.data_mut().desk.finish(checked),
            Err(error) => return fault_of(store, &error),
        }
        job = match next_job(store).await {
            Some(job) => job,
            None => return Fault::Unavailable("there is no hook to run".into()),
        };
    }
}

/// The same for a core module that runs directly: one call, which waits in the guest for the hooks after the first.
async fn serve_direct<H: Host>(
    store: &mut Store<State<H>>,
    program: &Program<H>,
    job: Job,
) -> Fault {
    let harness = match make_direct(store, program, false).await {
        Ok(harness) => harness,
        Err(error) => return error.fault(),
    };
    store.data_mut().direct.begin(job);
    match direct::run(store, &harness).await {
        Ok(()) => Fault::Unavailable("the harness ended".into()),
        Err(error) => fault_of(store, &error),
    }
}

/// The hooks of an instance, ready to be called.
struct Hooks {
    request_route: Option<TypedFunc<(), (RequestVerdict,)>>,
    branch_route: Option<TypedFunc<(), (PassVerdict,)>>,
    onreply_route: Option<TypedFunc<(), (PassVerdict,)>>,
    failure_route: Option<TypedFunc<(), (FailureVerdict,)>>,
    event_route: Option<TypedFunc<(Event,), ()>>,
}

impl Hooks {
    fn find<H: Host>(
        store: &mut Store<State<H>>,
        instance: &Component,
        exports: &Exports,
    ) -> Result<Hooks, Fault> {
        Ok(Hooks {
            request_route: function(store, instance, exports.hook(Hook::RequestRoute))?,
            branch_route: function(store, instance, exports.hook(Hook::BranchRoute))?,
            onreply_route: function(store, instance, exports.hook(Hook::OnreplyRoute))?,
            failure_route: function(store, instance, exports.hook(Hook::FailureRoute))?,
            event_route: function(store, instance, exports.hook(Hook::EventRoute))?,
        })
    }

    async fn call<H: Host>(
        &self,
        store: &mut Store<State<H>>,
        hook: Hook,
        event: Option<Event>,
    ) -> wasmtime::Result<Result<Verdict, Fault>> {
        Ok(match hook {
            Hook::RequestRoute => match &self.request_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => Err(Fault::missing(hook)),
            },
            Hook::BranchRoute => match &self.branch_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => Err(Fault::missing(hook)),
            },
            Hook::OnreplyRoute => match &self.onreply_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => Err(Fault::missing(hook)),
            },
            Hook::FailureRoute => match &self.failure_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => Err(Fault::missing(hook)),
            },
            Hook::EventRoute => match (&self.event_route, event) {
                (Some(function), Some(event)) => function
                    .call_async(store, (event,))
                    .await
                    .map(|()| Ok(Verdict::Done))?,
                (Some(_), None) => Err(Fault::without_event()),
                (None, _) => Err(Fault::missing(hook)),
            },
        })
    }
}

fn function<H, P, R>(
    store: &mut Store<State<H>>,
    instance: &Component,
    export: Option<&ComponentExportIndex>,
) -> Result<Option<TypedFunc<P, R>>, Fault>
where
    H: Host,
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
{
    let Some(export) = export else {
        return Ok(None);
    };
    match instance.get_typed_func::<P, R>(store, export) {
        Ok(function) => Ok(Some(function)),
        Err(error) => Err(Fault::Unavailable(format!("{error:#}"))),
    }
}

/// Instantiates: the guest's start code runs here, without a message.
async fn make<H: Host, I>(
    store: &mut Store<State<H>>,
    instantiate: impl AsyncFnOnce(&mut Store<State<H>>) -> wasmtime::Result<I>,
) -> Result<I, InitError> {
    store.data_mut().phase = Phase::Init;
    store.set_epoch_deadline(1);
    match instantiate(store).await {
        Ok(instance) => Ok(instance),
        Err(error) if needs_fiber(&error) => Err(InitError::NeedsFiber),
        Err(error) => Err(InitError::Instantiate(match fault_of(store, &error) {
            // The version could be instantiated when it was loaded: what fails now without a trap is the machine's.
            Fault::Verdict(text) => Fault::Unavailable(text),
            fault => fault,
        })),
    }
}

/// Whether it failed only because it is for hooks that are called straight.
fn needs_fiber(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(Interrupt::Room))
}

/// Makes an instance of a core module that runs directly and runs `init` in it.
async fn make_direct<H: Host>(
    store: &mut Store<State<H>>,
    program: &Program<H>,
    straight: bool,
) -> Result<wasmtime::Instance, InitError> {
    let instantiate =
        async |store: &mut Store<State<H>>| program.instantiate(store, straight).await;
    let harness = make(store, instantiate).await?;
    if !program.has_init() {
        return Ok(harness);
    }
    store.data_mut().phase = Phase::Init;
    store.set_epoch_deadline(1);
    let result = direct::run_init(store, &harness).await;
    store.data_mut().phase = Phase::Idle;
    match result {
        Ok(()) => Ok(harness),
        Err(error) => Err(match error.downcast_ref::<InitRefused>() {
            Some(InitRefused(text)) => InitError::Refused(text.clone()),
            None if needs_fiber(&error) => InitError::NeedsFiber,
            None => InitError::Fault(fault_of(store, &error)),
        }),
    }
}

/// Why an instance is not ready.
enum InitError {
    Instantiate(Fault),
    Refused(String),
    Fault(Fault),
    /// Only on a fiber is there what it needs.
    NeedsFiber,
}

impl InitError {
    /// What the hook gets that needed the instance: it is the policy's fault, as it would be in the hook itself.
    fn fault(self) -> Fault {
        match self {
            InitError::Refused(text) => Fault::Verdict(format!("init refused: {text}")),
            InitError::Fault(Fault::Trap(text)) => Fault::Trap(format!("in init: {text}")),
            InitError::Fault(fault) | InitError::Instantiate(fault) => fault,
            InitError::NeedsFiber => Fault::Unavailable(Interrupt::Room.to_string()),
        }
    }
}

async fn run_init<H: Host>(
    store: &mut Store<State<H>>,
    instance: &Component,
    exports: &Exports,
) -> Result<(), InitError> {
    let init = function::<H, (), (Result<(), String>,)>(store, instance, exports.init.as_ref())
        .map_err(InitError::Fault)?;
    let Some(init) = init else { return Ok(()) };
    store.data_mut().phase = Phase::Init;
    store.set_epoch_deadline(1);
    let result = init.call_async(&mut *store, ()).await;
    store.data_mut().phase = Phase::Idle;
    match result {
        Ok((Ok(()),)) => Ok(()),
        Ok((Err(text),)) => Err(InitError::Refused(text)),
        Err(error) => Err(InitError::Fault(fault_of(store, &error))),
    }
}

/// What an error of wasmtime means.
fn fault_of<H: Host>(store: &Store<State<H>>, error: &wasmtime::Error) -> Fault {
    if let Some(interrupt) = error.downcast_ref::<Interrupt>() {
        return match interrupt {
            Interrupt::Deadline => Fault::Deadline,
            Interrupt::Timeout => Fault::Timeout,
            // Whoever calls a hook straight has it begin again.
            Interrupt::Slow | Interrupt::Acts | Interrupt::Room => {
                Fault::Unavailable(interrupt.to_string())
            }
        };
    }
    // Of what the pool has too little of, an instance is refused before any of the guest's code runs.
    if error.is::<PoolConcurrencyLimitError>() {
        tracing::debug!(%error, "there is no place for an instance");
        return Fault::crowded();
    }
    // A refused growth shows as `unreachable` in most languages.
    if store.data().memory_refused {
        return Fault::Memory;
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::Trap(described(trap, error)),
        // Where in the guest a value was handed over says nothing of the value.
        None if error.is::<WasmBacktrace>() => {
            Fault::Verdict(one_line(&error.root_cause().to_string()))
        }
        None => Fault::Verdict(one_line(&format!("{error:#}"))),
    }
}

/// The trap, and where it happened.
fn described(trap: &Trap, error: &wasmtime::Error) -> String {
    let mut text = trap.to_string();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return text;
    };
    let guests = |frame: &&FrameInfo| frame.module().name() != Some(direct::HARNESS_MODULE);
    for frame in backtrace.frames().iter().filter(guests) {
        match frame.func_name() {
            Some(name) => text.push_str(&format!("; in {name}")),
            None => text.push_str(&format!("; in function {}", frame.func_index())),
        }
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Makes one instance and runs `init` in it, on the calling thread.
pub(crate) fn try_out<H: Host>(
    engine: &Engine<H>,
    version: &Version<H>,
    host: H,
) -> Result<(), LoadError> {
    let (mut front, back) = exchange::desk();
    front.seat(host);
    let mut store = new_store(engine, back);
    store.data_mut().begin(Instant::now());
    let trial = async {
        match try_code(&mut store, &version.code, &version.exports).await {
            Ok(()) => Ok(()),
            Err(InitError::Refused(text)) => Err(LoadError::Init(text)),
            Err(InitError::Fault(fault)) => Err(LoadError::InitFault(fault)),
            Err(error) => Err(LoadError::Instantiate(error.fault())),
        }
    };
    let mut trial = std::pin::pin!(trial);
    let mut context = Context::from_waker(Waker::noop());
    let presence = engine.presence();
    loop {
        let _inside = presence.enter();
        front.enter(Instant::now());
        // A guest that yields is ready again at once, so that waiting is polling.
        match trial.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}

async fn try_code<H: Host>(
    store: &mut Store<State<H>>,
    code: &Code<H>,
    exports: &Exports,
) -> Result<(), InitError> {
    match code {
        Code::Component(pre) => {
            let instance = make(store, async |store| pre.instantiate_async(store).await).await?;
            run_init(store, &instance, exports).await?;
            Hooks::find(store, &instance, exports)
                .map(drop)
                .map_err(InitError::Instantiate)
        }
        Code::Direct(program) => make_direct(store, program, false).await.map(drop),
    }
}
