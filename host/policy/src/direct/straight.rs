//! Hooks that are called on the worker's own stack.
//!
//! A fiber lets a guest that runs for long yield. Nearly every hook returns within a microsecond, and a fifth of that went into the two
//! changes of the stack. So a hook is called straight, where it can begin again: it has done nothing yet that can't be undone, and what it did
//! to the message can. When it has run for too long, is about to act outside of its transaction, or gets so much from the host that the
//! guest's allocator is needed, it ends there; the host is put back to what it was, and the hook begins again in an instance on a
//! fiber.

use wasmtime::{Instance, Result, Store, TypedFunc};

use super::lift;
use super::lower::Flat;
use super::view::memory_of;
use crate::exchange::Job;
use crate::host::Host;
use crate::imports;
use crate::state::{Phase, State};
use crate::verdict::{Fault, Verdict};

/// An instance whose hooks are called straight.
pub(crate) struct Straight<H: Host> {
    store: Store<State<H>>,
    hook: TypedFunc<(i32, i32), i32>,
}

impl<H: Host> Straight<H> {
    /// By the [function](hook) of its harness that calls a hook.
    pub(crate) fn new(mut store: Store<State<H>>, hook: TypedFunc<(i32, i32), i32>) -> Straight<H> {
        store.data_mut().is_straight = true;
        Straight { store, hook }
    }

    /// Runs one hook, which is not `event-route`. After an error the instance is of no use.
    pub(crate) fn run(&mut self, job: &Job) -> Result<std::result::Result<Verdict, Fault>> {
        let Straight { store, hook } = self;
        let state = store.data_mut();
        if !state.direct.has(job.hook) {
            return Ok(Err(Fault::missing(job.hook)));
        }
        state.begin(job.started);
        state.phase = Phase::Hook(job.hook);
        let facts = imports::facts(state).number();
        store.set_epoch_deadline(1);
        let returned = hook.call(&mut *store, (job.hook.index() as i32, facts))?;
        let verdict = lift::verdict(memory_of(store), job.hook, returned)?;
        store.data_mut().phase = Phase::Idle;
        Ok(verdict)
    }

    /// Its store.
    pub(crate) fn store(&self) -> &Store<State<H>> {
        &self.store
    }
}

/// What calls a hook, in an instance of a [program](super::Program) that [is for this](super::Program::is_straight).
pub(crate) fn hook<H: Host>(
    store: &mut Store<State<H>>,
    harness: &Instance,
) -> Result<TypedFunc<(i32, i32), i32>> {
    harness.get_typed_func(store, "hook")
}
