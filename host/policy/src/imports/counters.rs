//! `interface counters`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Answer, Call, with_text};
use crate::guard;
use crate::host::{Host, HostError};
use crate::state::State;

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "add",
        |mut call: Call<'_, H>, (name, value): (WasmStr, u64)| -> wasmtime::Result<Answer<()>> {
            with_text(&mut call, &name, |state, name| (count(state, name, value),))
        },
    )
}

fn count<H: Host>(state: &mut State<H>, name: &str, value: u64) -> Result<(), HostError> {
    guard::check_counter_name(name)?;
    state.acting()?.add_counter(name, value)
}
