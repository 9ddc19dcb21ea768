//! Where a guest's memory is, looked up when it may have moved and not at each call.
//!
//! wasmtime finds a memory by four loads that depend on each other, in as many cache lines, and a hook needs its guest's memory ten times.
//! A memory stays where it is and as long as it is until the guest lets it grow. Of that the store's limiter hears before it happens.
#![allow(
    unsafe_code,
    reason = "wasmtime has no safe way to keep the place of a memory"
)]

use std::ptr::NonNull;
use std::slice;

use wasmtime::{AsContextMut, Caller, Memory, Store};

use crate::host::Host;
use crate::state::State;

/// The memory of the guest of a store; none while the guest is being made.
#[derive(Default)]
pub(crate) struct View {
    memory: Option<Memory>,
    /// Its first byte and its length, when they are known.
    place: Option<(NonNull<u8>, usize)>,
}

// SAFETY: the place is looked at by `memory` and `memory_of` alone, for which the store is borrowed that owns the memory.
unsafe impl Send for View {}

impl View {
    pub(crate) fn of(memory: Option<Memory>) -> View {
        View {
            memory,
            place: None,
        }
    }

    /// A memory is about to grow.
    pub(crate) fn forget(&mut self) {
        self.place = None;
    }
}

/// The guest's memory and the state.
#[inline]
pub(super) fn memory<'a, H: Host>(
    caller: &'a mut Caller<'_, State<H>>,
) -> (&'a mut [u8], &'a mut State<H>) {
    let place = caller.data().direct.view.place.or_else(|| look_up(caller));
    let bytes = match place {
        // SAFETY: the memory is this store's, which is borrowed as long as the bytes are. It lives as long as the store, and has not grown
        // since it was looked up: `forget` was not called. Nothing of the state lies in it, and no other part of the store is lent.
        Some((first, length)) => unsafe { slice::from_raw_parts_mut(first.as_ptr(), length) },
        None => &mut [],
    };
    (bytes, caller.data_mut())
}

/// The same between two calls.
#[inline]
pub(super) fn memory_of<H: Host>(store: &mut Store<State<H>>) -> &[u8] {
    let place = store.data().direct.view.place.or_else(|| look_up(store));
    match place {
        // SAFETY: as above.
        Some((first, length)) => unsafe { slice::from_raw_parts(first.as_ptr(), length) },
        None => &[],
    }
}

#[cold]
fn look_up<H: Host>(
    store: &mut impl AsContextMut<Data = State<H>>,
) -> Option<(NonNull<u8>, usize)> {
    let mut store = store.as_context_mut();
    let memory = store.data().direct.view.memory?;
    let place = (
        NonNull::new(memory.data_ptr(&store))?,
        memory.data_size(&store),
    );
    store.data_mut().direct.view.place = Some(place);
    Some(place)
}
