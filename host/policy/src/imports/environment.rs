//! `interface clock` and `interface random`: what a guest would otherwise ask its machine for.

use wasmtime::component::LinkerInstance;

use super::Call;
use crate::host::Host;
use crate::state::State;

pub(super) fn add_clock<H: Host>(
    linker: &mut LinkerInstance<'_, State<H>>,
) -> wasmtime::Result<()> {
    linker.func_wrap("unix-ms", |call: Call<'_, H>, (): ()| {
        Ok((call.data().host().map_or(0, H::unix_ms),))
    })?;
    linker.func_wrap("monotonic-us", |call: Call<'_, H>, (): ()| {
        Ok((call.data().host().map_or(0, H::monotonic_us),))
    })
}

pub(super) fn add_random<H: Host>(
    linker: &mut LinkerInstance<'_, State<H>>,
) -> wasmtime::Result<()> {
    linker.func_wrap("u64", |mut call: Call<'_, H>, (): ()| {
        Ok((call.data_mut().host_mut().map_or(0, H::random_u64),))
    })
}
