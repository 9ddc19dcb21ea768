//! A policy's core module, ready to be instantiated, and what its instances and the harness tell each other.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use wasmtime::component;
use wasmtime::{
    AsContextMut, Caller, Engine, Extern, Instance, InstancePre, Linker, Module, ModuleExport, Ref,
    Result, Store, Table, TypedFunc, bail,
};

use super::arena::{self, Arena};
use super::harness::{self, INIT, INIT_POST, NAME, REALLOC, TABLE};
use super::lower::{Flat, Lowering, Part, Reference, Stored};
use super::shape::{HostFunction, Lifted, Shape};
use super::view::{View, memory};
use super::{lift, raw, rewrite};
use crate::exchange::Job;
use crate::host::{Hook, Host};
use crate::imports::{self, Imports, Signature};
use crate::state::{Phase, Scratch, State};
use crate::verdict::{Event, Fault, RegistrationEvent, Verdict};

/// What the state of a store holds for a core module that runs directly.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) view: View,
    pub(crate) lowering: Lowering,
    /// Where the guest has the host put what it gets.
    pub(crate) arena: Option<Arena>,
    /// The guest may ask nothing of the host now.
    pub(super) is_closed: bool,
    /// The hooks that the guest has, and those after which something of the guest's runs, as bits.
    has: u8,
    has_post: u8,
    init_has_post: bool,
    /// The first one; where the others come from is asked in between.
    job: Option<Job>,
    /// What the hook returned after which something of the guest's still runs.
    verdict: Option<std::result::Result<Verdict, Fault>>,
    /// The hook is over, and the fiber is about to wait for the next one.
    is_over: bool,
}

impl Running {
    /// The first job, which has been taken already.
    pub(crate) fn begin(&mut self, job: Job) {
        self.job = Some(job);
    }

    /// Whether the guest has this hook.
    pub(super) fn has(&self, hook: Hook) -> bool {
        self.has & 1 << hook.index() != 0
    }
}

impl<H: Host> State<H> {
    /// Whether a hook is over; what came of it lies on the desk then.
    pub(crate) fn hand_over(&mut self) -> bool {
        if !std::mem::take(&mut self.direct.is_over) {
            return false;
        }
        self.phase = Phase::Idle;
        if let Some(verdict) = self.direct.verdict.take() {
            self.desk.finish(verdict);
        }
        true
    }
}

/// `init` refused, with this text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InitRefused(pub(crate) String);

/// The harness of all policies of an engine.
pub(crate) struct Harness<H: Host> {
    whole: InstancePre<State<H>>,
    /// For hooks that are called straight. It is without the functions that wait: in a store with one of them nothing can be called but on a
    /// fiber.
    straight: InstancePre<State<H>>,
}

impl<H: Host> Harness<H> {
    pub(crate) fn new(engine: &Engine, imports: &mut Imports<H>) -> Result<Harness<H>> {
        link(&mut imports.direct)?;
        let linked = |signatures: &[Signature], straight| {
            let module = Module::new(engine, harness::text(signatures, straight))?;
            imports.direct.instantiate_pre(&module)
        };
        let prompt = imports.signatures.iter().filter(|function| !function.waits);
        Ok(Harness {
            whole: linked(&imports.signatures, false)?,
            straight: linked(&prompt.cloned().collect::<Vec<_>>(), true)?,
        })
    }

    /// Whether every function that a module of this shape imports is there.
    pub(crate) fn provides(&self, shape: &Shape) -> bool {
        Footing::of(&self.whole, shape).is_some()
    }
}

/// What an instance of a policy stands on.
struct Footing<H: Host> {
    harness: InstancePre<State<H>>,
    /// In it, the functions of the host that the policy imports, in their order.
    imports: Vec<ModuleExport>,
}

impl<H: Host> Footing<H> {
    /// None: a function of the host is missing.
    fn of(harness: &InstancePre<State<H>>, shape: &Shape) -> Option<Footing<H>> {
        let export = |function: &HostFunction| {
            let name = harness::export_name(&function.interface, &function.name);
            harness.module().get_export_index(&name)
        };
        Some(Footing {
            imports: shape.imports.iter().map(export).collect::<Option<_>>()?,
            harness: harness.clone(),
        })
    }
}

/// A policy that runs directly.
pub(crate) struct Program<H: Host> {
    module: Module,
    shape: Shape,
    on_fibers: Footing<H>,
    /// Where its hooks can be called straight: they never wait, and nothing of the guest's runs after one that has returned.
    straight: Option<Footing<H>>,
    /// Its `init` needs its allocator for what it gets from the host, which only an instance on a fiber can call.
    needs_fibers: AtomicBool,
}

impl<H: Host> Program<H> {
    /// Takes the compiled module out of the [rewritten](super::rewritten) component, of which an instance is made for that.
    pub(crate) fn new(
        harness: &Harness<H>,
        component: &component::InstancePre<State<H>>,
        shape: Shape,
        mut store: Store<State<H>>,
    ) -> Result<Program<H>> {
        // What this instance runs ends at once: functions of the fix-up, and a start function that does nothing.
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = at_once(component.instantiate_async(&mut store))?;
        let Some(module) = instance.get_module(&mut store, rewrite::EXPORT) else {
            bail!("the compiled component has no main module");
        };
        let Some(on_fibers) = Footing::of(&harness.whole, &shape) else {
            bail!("a function of the host is missing");
        };
        let mut hooks = shape.hooks.iter().flatten();
        let straight = if hooks.all(|hook| hook.post_return.is_none()) {
            Footing::of(&harness.straight, &shape)
        } else {
            None
        };
        Ok(Program {
            module,
            shape,
            on_fibers,
            straight,
            needs_fibers: AtomicBool::new(false),
        })
    }

    /// Whether its hooks can be called [straight](super::Straight).
    pub(crate) fn is_straight(&self) -> bool {
        self.straight.is_some() && !self.needs_fibers.load(Ordering::Relaxed)
    }

    /// It could not be made for hooks that are called straight, and will not be tried again.
    pub(crate) fn leave_straight(&self) {
        self.needs_fibers.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_init(&self) -> bool {
        self.shape.init.is_some()
    }

    /// Makes an instance, for hooks that are called straight or on a fiber; the guest's start code runs here.
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<State<H>>,
        straight: bool,
    ) -> Result<Instance> {
        let straight = self.straight.as_ref().filter(|_| straight);
        let footing = straight.unwrap_or(&self.on_fibers);
        let harness = footing.harness.instantiate_async(&mut *store).await?;
        let imports = footing
            .imports
            .iter()
            .filter_map(|export| harness.get_module_export(&mut *store, export))
            .collect::<Vec<Extern>>();
        let guest = Instance::new_async(&mut *store, &self.module, &imports).await?;
        self.connect(store, &harness, &guest)?;
        if let Some(initialize) = &self.shape.initialize {
            let initialize: TypedFunc<(), ()> = guest.get_typed_func(&mut *store, initialize)?;
            initialize.call_async(&mut *store, ()).await?;
        }
        Ok(harness)
    }

    /// Puts the guest's functions where the harness looks, and its memory where the host does.
    fn connect(
        &self,
        store: &mut Store<State<H>>,
        harness: &Instance,
        guest: &Instance,
    ) -> Result<()> {
        let Some(table) = harness.get_table(&mut *store, TABLE) else {
            bail!("the harness has no table");
        };
        if let Some(memory) = &self.shape.memory {
            let memory = guest.get_memory(&mut *store, memory);
            store.data_mut().direct.view = View::of(memory);
        }
        store.data_mut().direct.arena = lent(store, guest);
        if let Some(realloc) = &self.shape.realloc {
            put(store, &table, REALLOC, guest, realloc)?;
        }
        if let Some(init) = &self.shape.init {
            let has_post = lifted(store, &table, (INIT, INIT_POST), guest, init)?;
            store.data_mut().direct.init_has_post = has_post;
        }
        for (hook, function) in Hook::ALL.into_iter().zip(&self.shape.hooks) {
            let Some(function) = function else { continue };
            let place = harness::place(hook);
            let has_post = lifted(store, &table, (place, place + 1), guest, function)?;
            let running = &mut store.data_mut().direct;
            running.has |= 1 << hook.index();
            running.has_post |= u8::from(has_post) << hook.index();
        }
        Ok(())
    }
}

/// The arena that a guest lends.
fn lent<H: Host>(store: &mut Store<State<H>>, guest: &Instance) -> Option<Arena> {
    let global = guest.get_global(&mut *store, arena::GLOBAL)?;
    Arena::at(global.get(&mut *store).i32()?)
}

/// What comes of a future that does not wait.
fn at_once<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(result) => result,
        Poll::Pending => bail!("the component waits where there is nothing to wait for"),
    }
}

/// Runs `init`; an error may be [`InitRefused`].
pub(crate) async fn run_init<H: Host>(
    store: &mut Store<State<H>>,
    harness: &Instance,
) -> Result<()> {
    let init: TypedFunc<(), ()> = harness.get_typed_func(&mut *store, "init")?;
    init.call_async(&mut *store, ()).await
}

/// Runs hooks until one of them fails.
pub(crate) async fn run<H: Host>(store: &mut Store<State<H>>, harness: &Instance) -> Result<()> {
    let run: TypedFunc<(), ()> = harness.get_typed_func(&mut *store, "run")?;
    store.set_epoch_deadline(1);
    run.call_async(&mut *store, ()).await
}

fn lifted<H: Host>(
    store: &mut Store<State<H>>,
    table: &Table,
    (place, post_place): (u64, u64),
    guest: &Instance,
    function: &Lifted,
) -> Result<bool> {
    put(store, table, place, guest, &function.function)?;
    if let Some(post_return) = &function.post_return {
        put(store, table, post_place, guest, post_return)?;
    }
    Ok(function.post_return.is_some())
}

fn put<H: Host>(
    store: &mut Store<State<H>>,
    table: &Table,
    place: u64,
    guest: &Instance,
    name: &str,
) -> Result<()> {
    let function = guest.get_func(&mut *store, name);
    table.set(&mut *store, place, Ref::Func(function))
}

/// The functions of the host that only the harness calls.
fn link<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    raw::link(linker, NAME, "next", |caller, ()| next::<H>(caller))?;
    raw::link(linker, NAME, "event-wanted", |mut caller, ()| {
        let state: &mut State<H> = caller.data_mut();
        Ok((state.direct.wanted(),))
    })?;
    raw::link(linker, NAME, "event", |caller, ()| {
        let state: &State<H> = caller.data();
        Ok(state.direct.lowering.event_parameters())
    })?;
    raw::link(linker, NAME, "done", |caller, (returned,)| {
        Ok((done::<H>(caller, returned)?,))
    })?;
    raw::link(linker, NAME, "over", |mut caller, ()| {
        over::<H>(&mut caller);
        Ok(())
    })?;
    raw::link(linker, NAME, "initialized", |caller, (returned,)| {
        Ok((initialized::<H>(caller, returned)?,))
    })?;
    raw::link(linker, NAME, "deliver", |caller, (pointer,)| {
        Ok((deliver::<H>(caller, pointer)?,))
    })
}

/// The hook to run, by its number, and the facts of its message.
fn next<H: Host>(mut caller: Caller<'_, State<H>>) -> Result<(i32, i32)> {
    let state = caller.data_mut();
    let job = match state.direct.job.take() {
        Some(first) => first,
        None => {
            let Some(job) = state.desk.take_job() else {
                bail!("there is no hook to run");
            };
            job
        }
    };
    state.begin(job.started);
    state.phase = Phase::Hook(job.hook);
    let refused = if !state.direct.has(job.hook) {
        Some(Fault::missing(job.hook))
    } else if job.hook == Hook::EventRoute && job.event.is_none() {
        Some(Fault::without_event())
    } else {
        None
    };
    if let Some(fault) = refused {
        state.desk.finish(Err(fault));
        over(&mut caller);
        return Ok((-1, 0));
    }
    if let (Hook::EventRoute, Some(event)) = (job.hook, job.event) {
        state.direct.lowering.lower_event(*event);
    }
    Ok((job.hook.index() as i32, imports::facts(state).number()))
}

/// Memory for what the guest gets is at this address.
fn deliver<H: Host>(mut caller: Caller<'_, State<H>>, pointer: i32) -> Result<i64> {
    let (memory, state) = memory(&mut caller);
    let State {
        direct, scratch, ..
    } = state;
    direct.lowering.deliver(memory, pointer, scratch)?;
    Ok(direct.wanted())
}

/// The hook has returned; 1 when something of the guest's is to run after it.
fn done<H: Host>(mut caller: Caller<'_, State<H>>, returned: i32) -> Result<i32> {
    let (memory, state) = memory(&mut caller);
    let Phase::Hook(hook) = state.phase else {
        bail!("no hook runs");
    };
    let verdict = lift::verdict(memory, hook, returned)?;
    let has_post = state.direct.has_post & 1 << hook.index() != 0;
    if has_post {
        // It is not over yet.
        state.direct.verdict = Some(verdict);
        state.direct.is_closed = true;
    } else {
        state.desk.finish(verdict);
        over(&mut caller);
    }
    Ok(i32::from(has_post))
}

fn initialized<H: Host>(mut caller: Caller<'_, State<H>>, returned: i32) -> Result<i32> {
    let (memory, state) = memory(&mut caller);
    if let Err(text) = lift::init(memory, returned)? {
        return Err(InitRefused(text).into());
    }
    state.direct.is_closed = state.direct.init_has_post;
    Ok(i32::from(state.direct.init_has_post))
}

/// Nothing of the guest's runs any more. After a hook the fiber is to wait: it does so where it looks at the epoch next, for which the
/// deadline is now.
fn over<H: Host>(caller: &mut Caller<'_, State<H>>) {
    let state = caller.data_mut();
    state.direct.is_closed = false;
    if state.phase != Phase::Init {
        state.direct.is_over = true;
        caller.as_context_mut().set_epoch_deadline(0);
    }
}

impl Running {
    /// Writes a result where the guest says, and says what is wanted from the guest's allocator for it.
    #[inline(always)]
    pub(crate) fn store<T: Stored>(
        &mut self,
        memory: &mut [u8],
        result: i32,
        value: T,
        scratch: &Scratch,
    ) -> Result<i64> {
        if let Some(byte) = value.byte() {
            let at = result as u32;
            let area = memory.get_mut(at as usize..);
            if let Some([first, ..]) = area.and_then(|rest| rest.get_mut(..T::SIZE))
                && at.is_multiple_of(T::ALIGN)
            {
                *first = byte;
                return Ok(0);
            }
        }
        self.store_whole(memory, result, value, scratch)
    }

    fn store_whole<T: Stored>(
        &mut self,
        memory: &mut [u8],
        result: i32,
        value: T,
        scratch: &Scratch,
    ) -> Result<i64> {
        self.lowering.store(memory, result, value)?;
        if let Some(arena) = self.arena {
            self.lowering.deliver_to(arena, memory, scratch)?;
        }
        Ok(self.wanted())
    }

    /// What is wanted from the guest's allocator, during which the guest may ask nothing.
    #[inline]
    pub(crate) fn wanted(&mut self) -> i64 {
        let wanted = self.lowering.wanted();
        self.is_closed = wanted != 0;
        wanted
    }
}

impl Lowering {
    /// The parameters of `event-route`: the case, and its fields. Texts wait for memory.
    fn lower_event(&mut self, event: Event) {
        let (case, registration) = match event {
            Event::RegistrationAdded(registration) => (0, registration),
            Event::RegistrationRefreshed(registration) => (1, registration),
            Event::RegistrationRemoved(registration) => (2, registration),
            Event::RegistrationExpired(registration) => (3, registration),
            Event::Timer(name) => {
                self.event = [4, 0, 0, 0, 0, 0];
                return self.wait(Part::Text(name), Reference::Event(1));
            }
        };
        let RegistrationEvent {
            aor,
            contact,
            expires_secs,
        } = registration;
        self.event = [case, 0, 0, 0, 0, expires_secs as i32];
        self.in_order(|lowering| {
            lowering.wait(Part::Text(aor), Reference::Event(1));
            lowering.wait(Part::Text(contact), Reference::Event(3));
        });
    }

    fn event_parameters(&self) -> (i32, i32, i32, i32, i32, i32) {
        self.event.into()
    }
}
