//! `interface transaction`.

use std::fmt::Write;
use std::net::IpAddr;

use wasmtime::component::{ComponentType, LinkerInstance, Lower, WasmStr, flags};

use super::{Answer, Call, text, with_text, with_texts};
use crate::guard;
use crate::host::{Armed, Hook, Host, HostError, Source, Transport};
use crate::state::State;

/// Where branches are decided on.
const ROUTING: [Hook; 2] = [Hook::RequestRoute, Hook::FailureRoute];

flags! {
    Hooks {
        #[component(name = "branch-route")]
        const BRANCH_ROUTE;
        #[component(name = "onreply-route")]
        const ONREPLY_ROUTE;
        #[component(name = "failure-route")]
        const FAILURE_ROUTE;
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct MessageSource {
    transport: Transport,
    address: String,
    port: u16,
    local: String,
}

impl MessageSource {
    fn of(source: Option<Source>) -> MessageSource {
        match source {
            Some(source) => MessageSource {
                transport: source.transport,
                address: source.remote.ip().to_canonical().to_string(),
                port: source.remote.port(),
                local: source.local.to_string(),
            },
            None => MessageSource {
                transport: Transport::Udp,
                address: String::new(),
                port: 0,
                local: String::new(),
            },
        }
    }
}

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    add_source(linker)?;
    add_state(linker)?;
    add_variables(linker)?;
    add_qualifiers(linker)
}

fn add_source<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("source", |call: Call<'_, H>, (): ()| {
        Ok((MessageSource::of(source(call.data())),))
    })?;
    linker.func_wrap("source-address", |call: Call<'_, H>, (): ()| {
        let state = call.data();
        Ok((state.scratch.text(|text| {
            if let Some(source) = source(state) {
                // Writing to a String does not fail.
                let _ = write!(text, "{}", source.remote.ip().to_canonical());
            }
        }),))
    })?;
    linker.func_wrap("source-in", |call: Call<'_, H>, (networks,): (WasmStr,)| {
        let networks = text(&call, &networks)?;
        Ok((source(call.data()).is_some_and(|source| is_in(source.remote.ip(), &networks)),))
    })
}

fn add_state<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("in-dialog", |call: Call<'_, H>, (): ()| {
        Ok((call.data().transaction().is_some_and(H::in_dialog),))
    })?;
    linker.func_wrap("is-local-uri", |call: Call<'_, H>, (uri,): (WasmStr,)| {
        let uri = text(&call, &uri)?;
        Ok((call
            .data()
            .host()
            .is_some_and(|host| host.is_local_uri(&uri)),))
    })?;
    linker.func_wrap("failure-round", |call: Call<'_, H>, (): ()| {
        Ok((call.data().transaction().map_or(0, H::failure_round),))
    })
}

fn add_variables<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("variable", |call: Call<'_, H>, (name,): (WasmStr,)| {
        let name = text(&call, &name)?;
        let state = call.data();
        let value = state.transaction().and_then(|host| host.variable(&name));
        Ok((value.map(|value| state.scratch.text(|text| text.push_str(value))),))
    })?;
    linker.func_wrap(
        "set-variable",
        |mut call: Call<'_, H>,
         (name, value): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &name, &value, |state, name, value| {
                (set_variable(state, name, value),)
            })
        },
    )
}

fn add_qualifiers<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("arm", |mut call: Call<'_, H>, (hooks,): (Hooks,)| {
        if let Ok(host) = call.data_mut().during(&ROUTING) {
            host.arm(armed(hooks));
        }
        Ok(())
    })?;
    linker.func_wrap(
        "set-record-route",
        |mut call: Call<'_, H>, (enabled,): (bool,)| {
            if let Ok(host) = call.data_mut().during(&ROUTING) {
                host.set_record_route(enabled);
            }
            Ok(())
        },
    )?;
    linker.func_wrap(
        "add-record-route-parameter",
        |mut call: Call<'_, H>,
         (name, value): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &name, &value, |state, name, value| {
                (add_parameter(state, name, value),)
            })
        },
    )?;
    linker.func_wrap(
        "record-route-parameter",
        |mut call: Call<'_, H>, (name,): (WasmStr,)| {
            with_text(&mut call, &name, |state, name| {
                let value = state
                    .transaction()
                    .and_then(|host| host.record_route_parameter(name));
                (value.map(|value| state.scratch.text(|text| text.push_str(value))),)
            })
        },
    )
}

fn source<H: Host>(state: &State<H>) -> Option<Source> {
    state.transaction().and_then(H::source)
}

fn armed(hooks: Hooks) -> Armed {
    let has = |hook: Hooks| hooks & hook == hook;
    Armed {
        branch_route: has(Hooks::BRANCH_ROUTE),
        onreply_route: has(Hooks::ONREPLY_ROUTE),
        failure_route: has(Hooks::FAILURE_ROUTE),
    }
}

fn set_variable<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Result<(), HostError> {
    guard::check_name(name)?;
    guard::check_len(value)?;
    state
        .during(&[
            Hook::RequestRoute,
            Hook::BranchRoute,
            Hook::OnreplyRoute,
            Hook::FailureRoute,
        ])?
        .set_variable(name, value)
}

fn add_parameter<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Result<(), HostError> {
    guard::check_parameter(name, value)?;
    state
        .during(&ROUTING)?
        .add_record_route_parameter(name, value)
}

/// Whether one of these addresses and networks, separated by blanks or commas, has this address. What is neither matches nothing.
fn is_in(address: IpAddr, networks: &str) -> bool {
    let address = address.to_canonical();
    networks
        .split([' ', ',', '\t', '\n'])
        .any(|network| network_has(network, address).unwrap_or(false))
}

fn network_has(network: &str, address: IpAddr) -> Option<bool> {
    let (base, prefix) = match network.split_once('/') {
        Some((base, prefix)) => (base, Some(prefix.parse::<u32>().ok()?)),
        None => (network, None),
    };
    match (base.parse::<IpAddr>().ok()?, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => shares_prefix(
            u128::from(base.to_bits()),
            u128::from(address.to_bits()),
            32,
            prefix.unwrap_or(32),
        ),
        (IpAddr::V6(base), IpAddr::V6(address)) => shares_prefix(
            base.to_bits(),
            address.to_bits(),
            128,
            prefix.unwrap_or(128),
        ),
        _ => Some(false),
    }
}

fn shares_prefix(base: u128, address: u128, width: u32, prefix: u32) -> Option<bool> {
    let rest = width.checked_sub(prefix)?;
    Some((base ^ address).checked_shr(rest).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(networks: &str, address: &str) -> bool {
        is_in(address.parse().unwrap(), networks)
    }

    #[test]
    fn addresses_and_networks_match() {
        assert!(has("10.0.0.0/8 192.0.2.7", "10.255.1.2"));
        assert!(has("10.0.0.0/8, 192.0.2.7", "192.0.2.7"));
        assert!(!has("10.0.0.0/8 192.0.2.7", "192.0.2.8"));
        assert!(has("0.0.0.0/0", "203.0.113.1"));
        assert!(has("2001:db8::/32", "2001:db8:1::1"));
        assert!(has("::/0", "2001:db8::1"));
        assert!(!has("2001:db8::/32", "2001:db9::1"));
        assert!(!has("0.0.0.0/0", "2001:db8::1"));
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        assert!(has("192.0.2.0/24", "::ffff:192.0.2.9"));
    }

    #[test]
    fn what_is_no_network_matches_nothing() {
        for networks in ["", "10.0.0.0/33", "10.0.0.0/x", "all", "10.0.0"] {
            assert!(!has(networks, "10.0.0.1"), "{networks}");
        }
    }
}
