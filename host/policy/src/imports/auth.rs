//! `interface auth`.

use wasmtime::component::LinkerInstance;

use super::Call;
use crate::host::{Hook, Host, Verification};
use crate::state::State;

/// Where the request's own credentials can be read.
const REQUESTS: [Hook; 3] = [Hook::RequestRoute, Hook::BranchRoute, Hook::FailureRoute];

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("verify", |mut call: Call<'_, H>, (): ()| {
        Ok((call
            .data_mut()
            .during(&REQUESTS)
            .map_or(Verification::Missing, H::verify),))
    })?;
    linker.func_wrap("verified-user", |call: Call<'_, H>, (): ()| {
        let state = call.data();
        let user = state.transaction().and_then(H::verified_user);
        Ok((user.map(|user| state.scratch.text(|text| text.push_str(user))),))
    })?;
    linker.func_wrap("required", |call: Call<'_, H>, (): ()| {
        Ok((call.data().host().is_some_and(H::auth_required),))
    })?;
    linker.func_wrap("realm", |call: Call<'_, H>, (): ()| {
        let state = call.data();
        Ok((state
            .scratch
            .text(|text| text.push_str(state.host().map_or("", H::realm))),))
    })
}
