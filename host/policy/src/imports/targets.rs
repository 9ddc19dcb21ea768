//! `interface targets`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Answer, Call, with_text};
use crate::guard;
use crate::host::{Hook, Host, HostError, Target};
use crate::state::State;

const ROUTING: [Hook; 2] = [Hook::RequestRoute, Hook::FailureRoute];
/// `q` in thousandths.
const MAX_Q: u16 = 1000;

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    add_targets(linker)?;
    add_groups(linker)
}

fn add_targets<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "add-uri",
        |mut call: Call<'_, H>, (uri,): (WasmStr,)| -> wasmtime::Result<Answer<()>> {
            with_text(&mut call, &uri, |state, uri| {
                let target = Target {
                    uri: uri.to_owned(),
                    q: MAX_Q,
                    next_hop: None,
                    listener: None,
                    no_answer_ms: None,
                };
                (add_target(state, target),)
            })
        },
    )?;
    linker.func_wrap("add", |mut call: Call<'_, H>, (target,): (Target,)| {
        Ok((add_target(call.data_mut(), target),))
    })?;
    linker.func_wrap("add-lookup", |mut call: Call<'_, H>, (lookup,): (u32,)| {
        Ok((call
            .data_mut()
            .during(&ROUTING)
            .and_then(|host| host.add_lookup(lookup)),))
    })
}

fn add_groups<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("next-group", |mut call: Call<'_, H>, (): ()| {
        routing(call.data_mut(), H::next_group);
        Ok(())
    })?;
    linker.func_wrap(
        "set-no-answer-timeout",
        |mut call: Call<'_, H>, (ms,): (u32,)| {
            routing(call.data_mut(), |host| host.set_no_answer_timeout(ms));
            Ok(())
        },
    )?;
    linker.func_wrap("clear", |mut call: Call<'_, H>, (): ()| {
        routing(call.data_mut(), H::clear_targets);
        Ok(())
    })?;
    linker.func_wrap("count", |call: Call<'_, H>, (): ()| {
        Ok((call.data().transaction().map_or(0, H::target_count),))
    })
}

/// Functions without an error do nothing where there is nothing to route.
fn routing<H: Host>(state: &mut State<H>, act: impl FnOnce(&mut H)) {
    if let Ok(host) = state.during(&ROUTING) {
        act(host);
    }
}

fn add_target<H: Host>(state: &mut State<H>, target: Target) -> Result<(), HostError> {
    check(&target)?;
    state.during(&ROUTING)?.add_target(target)
}

fn check(target: &Target) -> Result<(), HostError> {
    guard::check_len(&target.uri)?;
    guard::check_uri(&target.uri)?;
    if target.q > MAX_Q {
        return Err(guard::invalid(format!(
            "q is {} thousandths; it is at most {MAX_Q}",
            target.q
        )));
    }
    if let Some(next_hop) = &target.next_hop {
        guard::check_next_hop(next_hop)?;
    }
    match &target.listener {
        Some(listener) if listener.split(':').count() < 3 => Err(guard::invalid(format!(
            "`{listener}` is no listener: write it as `transport:ip:port`"
        ))),
        _ => Ok(()),
    }
}
