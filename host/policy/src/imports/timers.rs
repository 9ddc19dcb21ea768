//! `interface timers`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Answer, Call, with_text};
use crate::guard;
use crate::host::{Host, HostError};
use crate::state::State;

/// A day.
const MAX_DELAY_MS: u32 = 24 * 60 * 60 * 1000;

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "set",
        |mut call: Call<'_, H>, (name, delay_ms): (WasmStr, u32)| -> wasmtime::Result<Answer<()>> {
            with_text(
                &mut call,
                &name,
                |state, name| (set(state, name, delay_ms),),
            )
        },
    )?;
    linker.func_wrap("cancel", |mut call: Call<'_, H>, (name,): (WasmStr,)| {
        with_text(&mut call, &name, |state, name| {
            (state.acting().is_ok_and(|host| host.cancel_timer(name)),)
        })
    })
}

fn set<H: Host>(state: &mut State<H>, name: &str, delay_ms: u32) -> Result<(), HostError> {
    guard::check_name(name)?;
    if delay_ms > MAX_DELAY_MS {
        return Err(guard::invalid(format!(
            "a timer is at most {MAX_DELAY_MS} ms ahead"
        )));
    }
    state.acting()?.set_timer(name, delay_ms)
}
