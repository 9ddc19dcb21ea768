//! Running a policy's core module without the component model's machinery.
//!
//! Policies made by `wit-component` (Rust, C, Zig) are one core module in a wrapping that says which of the host's functions it imports and
//! which of its functions are hooks. When the wrapping is of a known [`shape`], its types are checked as those of any component, and then
//! the core module runs by itself: its imports are linked to the same functions of the host, and what the canonical ABI has wasmtime do at
//! each crossing ([`read`], [`lower`], [`lift`]) is done here for the types of our WIT package alone. `docs/decisions/0008` says why.
//!
//! Such an instance is entered once and never left: its fiber waits in the [`harness`] for the next hook.

mod arena;
mod harness;
mod lent;
mod lift;
mod lower;
mod module;
mod program;
mod raw;
pub(crate) mod read;
mod rewrite;
mod shape;
mod straight;
mod view;

pub(crate) use harness::MODULE as HARNESS_MODULE;
pub(crate) use lent::Lent;
pub(crate) use lower::{Flat, Stored};
pub(crate) use program::{Harness, InitRefused, Program, Running, run, run_init};
pub(crate) use raw::{link, link_stored};
pub(crate) use rewrite::component as rewritten;
pub(crate) use shape::Shape;
pub(crate) use straight::{Straight, hook};

use wasmtime::{Caller, Result, Trap};

use crate::host::Host;
use crate::state::{Interrupt, State};

/// The guest's memory and the state, for a call that the guest makes.
#[inline]
pub(crate) fn enter<'a, H: Host>(
    caller: &'a mut Caller<'_, State<H>>,
) -> Result<(&'a mut [u8], &'a mut State<H>)> {
    // Nothing may be asked of the host while it waits for the guest's allocator, or after a hook has returned.
    if caller.data().direct.is_closed {
        return Err(Trap::CannotLeaveComponent.into());
    }
    Ok(view::memory(caller))
}

/// The same for a call that can't be undone. A hook that may have to begin again does so before it makes one.
#[inline]
pub(crate) fn enter_to_act<'a, H: Host>(
    caller: &'a mut Caller<'_, State<H>>,
) -> Result<(&'a mut [u8], &'a mut State<H>)> {
    if caller.data().is_straight {
        return Err(Interrupt::Acts.into());
    }
    enter(caller)
}
