//! One instance of a version: a store that runs one hook after the other.
//!
//! An instance is one future that lives as long as the instance does. It takes a job, runs it, leaves the outcome and waits for the
//! next job. So a hook needs no allocation of its own, and a hook that has yielded can be kept in a table of any shape.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use wasmtime::component::{ComponentExportIndex, Instance as Component, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::engine::{Engine, LoadError};
use crate::host::{Hook, Host};
use crate::state::{Interrupt, Phase, Seat, State, on_tick};
use crate::verdict::{Event, FailureVerdict, Fault, PassVerdict, RequestVerdict, Verdict};
use crate::version::Version;
use crate::world::Exports;

/// One hook to run.
struct Job<H> {
    hook: Hook,
    seat: Seat<H>,
    event: Option<Event>,
    started: Instant,
}

/// What came of it.
struct Outcome<H> {
    seat: Option<Seat<H>>,
    result: Result<Verdict, Fault>,
}

/// Where the owner of an instance and its future hand things over.
struct Exchange<H> {
    job: Cell<Option<Job<H>>>,
    outcome: Cell<Option<Outcome<H>>>,
}

/// When the running guest was entered, in nanoseconds since a point of the store's.
#[derive(Clone)]
pub(crate) struct Entered {
    base: Instant,
    nanos: Arc<AtomicU64>,
}

impl Entered {
    pub(crate) fn new() -> Entered {
        Entered {
            base: Instant::now(),
            nanos: Arc::default(),
        }
    }

    fn set(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.base).as_nanos();
        self.nanos
            .store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn at(&self) -> Instant {
        self.base + std::time::Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// An instance, idle or running.
pub(crate) struct Instance<H: Host> {
    future: Pin<Box<dyn Future<Output = ()>>>,
    exchange: Rc<Exchange<H>>,
    entered: Entered,
    /// Here before a run and after it.
    seat: Option<Seat<H>>,
    pub(crate) uses: u32,
    /// The job was assigned and not polled yet.
    fresh: bool,
}

/// How far a run is after a poll.
pub(crate) enum Progress {
    /// The guest has yielded.
    Running,
    /// The run is over, and the instance can run another hook.
    Done(Result<Verdict, Fault>),
    /// The run is over, and the instance with it.
    Spent(Result<Verdict, Fault>),
}

impl<H: Host> Instance<H> {
    /// Prepares an instance; it is made when it is polled with its first job.
    pub(crate) fn new(engine: &Engine<H>, version: &Version<H>) -> Instance<H> {
        let exchange = Rc::new(Exchange {
            job: Cell::new(None),
            outcome: Cell::new(None),
        });
        let entered = Entered::new();
        let store = new_store(engine, entered.clone());
        let future = Box::pin(serve(
            store,
            version.pre.clone(),
            version.exports.clone(),
            Rc::clone(&exchange),
        ));
        Instance {
            future,
            exchange,
            entered,
            seat: None,
            uses: 0,
            fresh: false,
        }
    }

    /// Gives it a job; the next polls carry it out.
    pub(crate) fn assign(&mut self, hook: Hook, host: H, event: Option<Event>, started: Instant) {
        self.uses += 1;
        self.fresh = true;
        let mut seat = self.seat.take().unwrap_or_else(Seat::empty);
        seat.take(host);
        self.exchange.job.set(Some(Job {
            hook,
            seat,
            event,
            started,
        }));
    }

    /// The host of the run that is over, unless the fault lost it.
    pub(crate) fn take_host(&mut self) -> Option<H> {
        self.seat.as_mut().and_then(Seat::leave)
    }

    /// Whether its job has not begun.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(crate) fn poll(&mut self, now: Instant, context: &mut Context<'_>) -> Progress {
        self.entered.set(now);
        self.fresh = false;
        let ended = self.future.as_mut().poll(context).is_ready();
        let Some(outcome) = self.exchange.outcome.take() else {
            return if ended {
                Progress::Spent(Err(Fault::Unavailable("the instance ended".into())))
            } else {
                Progress::Running
            };
        };
        self.seat = outcome.seat;
        if ended {
            Progress::Spent(outcome.result)
        } else {
            Progress::Done(outcome.result)
        }
    }
}

fn new_store<H: Host>(engine: &Engine<H>, entered: Entered) -> Store<State<H>> {
    let mut store = Store::new(engine.wasmtime(), State::new(engine.run_limits(), entered));
    store.limiter(|state| state);
    store.epoch_deadline_callback(on_tick);
    store
}

async fn serve<H: Host>(
    mut store: Store<State<H>>,
    pre: wasmtime::component::InstancePre<State<H>>,
    exports: Exports,
    exchange: Rc<Exchange<H>>,
) {
    let mut job = exchange.next_job().await;
    store.data_mut().begin(job.started);
    store.data_mut().seat = Some(job.seat);
    let made = make(&mut store, &pre).await;
    let hooks = match made {
        Ok(instance) => match run_init(&mut store, &instance, &exports).await {
            Ok(()) => Hooks::find(&mut store, &instance, &exports),
            Err(error) => Err(error.fault()),
        },
        Err(fault) => Err(fault),
    };
    let hooks = match hooks {
        Ok(hooks) => hooks,
        Err(fault) => return exchange.finish(&mut store, Err(fault)),
    };
    loop {
        store.data_mut().begin(job.started);
        store.data_mut().phase = Phase::Hook(job.hook);
        store.set_epoch_deadline(1);
        let called = hooks.call(&mut store, job.hook, job.event).await;
        store.data_mut().phase = Phase::Idle;
        match called {
            Ok(checked) => exchange.finish(&mut store, checked),
            Err(error) => {
                let fault = fault_of(&store, &error);
                return exchange.finish(&mut store, Err(fault));
            }
        }
        job = exchange.next_job().await;
        store.data_mut().seat = Some(job.seat);
    }
}

impl<H: Host> Exchange<H> {
    async fn next_job(&self) -> Job<H> {
        poll_fn(|_| match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => Poll::Pending,
        })
        .await
    }

    fn finish(&self, store: &mut Store<State<H>>, result: Result<Verdict, Fault>) {
        let seat = store.data_mut().seat.take();
        self.outcome.set(Some(Outcome { seat, result }));
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
                None => missing(hook),
            },
            Hook::BranchRoute => match &self.branch_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => missing(hook),
            },
            Hook::OnreplyRoute => match &self.onreply_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => missing(hook),
            },
            Hook::FailureRoute => match &self.failure_route {
                Some(function) => function.call_async(store, ()).await?.0.checked(),
                None => missing(hook),
            },
            Hook::EventRoute => match (&self.event_route, event) {
                (Some(function), Some(event)) => function
                    .call_async(store, (event,))
                    .await
                    .map(|()| Ok(Verdict::Done))?,
                (Some(_), None) => Err(Fault::Unavailable(
                    "event-route was run without an event".into(),
                )),
                (None, _) => missing(hook),
            },
        })
    }
}

fn missing(hook: Hook) -> Result<Verdict, Fault> {
    Err(Fault::Unavailable(format!(
        "the policy does not export {}",
        hook.name()
    )))
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
async fn make<H: Host>(
    store: &mut Store<State<H>>,
    pre: &wasmtime::component::InstancePre<State<H>>,
) -> Result<Component, Fault> {
    store.data_mut().phase = Phase::Init;
    store.set_epoch_deadline(1);
    match pre.instantiate_async(&mut *store).await {
        Ok(instance) => Ok(instance),
        Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
            Err(Fault::Unavailable("every instance is in use".into()))
        }
        Err(error) => Err(match fault_of(store, &error) {
            // The version could be instantiated when it was loaded: what fails now without a trap is the machine's.
            Fault::Verdict(text) => Fault::Unavailable(text),
            fault => fault,
        }),
    }
}

/// Why an instance is not ready.
enum InitError {
    Refused(String),
    Fault(Fault),
}

impl InitError {
    /// What the hook gets that needed the instance: it is the policy's fault, as it would be in the hook itself.
    fn fault(self) -> Fault {
        match self {
            InitError::Refused(text) => Fault::Verdict(format!("init refused: {text}")),
            InitError::Fault(Fault::Trap(text)) => Fault::Trap(format!("in init: {text}")),
            InitError::Fault(fault) => fault,
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
        };
    }
    // A refused growth shows as `unreachable` in most languages.
    if store.data().memory_refused {
        return Fault::Memory;
    }
    match error.downcast_ref::<Trap>() {
        Some(trap) => Fault::Trap(described(trap, error)),
        None => Fault::Verdict(one_line(&format!("{error:#}"))),
    }
}

/// The trap, and where it happened.
fn described(trap: &Trap, error: &wasmtime::Error) -> String {
    let mut text = trap.to_string();
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return text;
    };
    for frame in backtrace.frames() {
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
    let entered = Entered::new();
    let mut store = new_store(engine, entered.clone());
    store.data_mut().begin(Instant::now());
    let mut seat = Seat::empty();
    seat.take(host);
    store.data_mut().seat = Some(seat);
    let trial = async {
        let instance = make(&mut store, &version.pre)
            .await
            .map_err(LoadError::Instantiate)?;
        match run_init(&mut store, &instance, &version.exports).await {
            Ok(()) => Hooks::find(&mut store, &instance, &version.exports)
                .map(drop)
                .map_err(LoadError::Instantiate),
            Err(InitError::Refused(text)) => Err(LoadError::Init(text)),
            Err(InitError::Fault(fault)) => Err(LoadError::InitFault(fault)),
        }
    };
    let mut trial = std::pin::pin!(trial);
    let mut context = Context::from_waker(Waker::noop());
    let presence = engine.presence();
    loop {
        let _inside = presence.enter();
        entered.set(Instant::now());
        // A guest that yields is ready again at once, so that waiting is polling.
        match trial.as_mut().poll(&mut context) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
