//! `interface settings`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Call, text};
use crate::host::Host;
use crate::state::State;

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("get", |call: Call<'_, H>, (name,): (WasmStr,)| {
        let name = text(&call, &name)?;
        let state = call.data();
        let value = state.host().and_then(|host| host.setting(&name));
        Ok((value.map(|value| state.scratch.text(|text| text.push_str(value))),))
    })?;
    linker.func_wrap("all", |call: Call<'_, H>, (): ()| {
        Ok((call.data().host().map(H::settings).unwrap_or_default(),))
    })
}
