//! `interface transaction`.

use std::fmt::Write;
use std::net::IpAddr;

use wasmtime::component::{ComponentType, Lower, flags};

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{Armed, Hook, Host, Source, Transport};
use crate::state::{State, Text};

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
pub(crate) struct MessageSource {
    pub(crate) transport: Transport,
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) local: String,
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

interface! {
    "source" => message_source() -> stored MessageSource;
    "source-address" => source_address() -> stored Text;
    "source-in" => source_in(networks: text) -> flat bool;
    "in-dialog" => in_dialog() -> flat bool;
    "is-local-uri" => is_local_uri(uri: text) -> flat bool;
    "failure-round" => failure_round() -> flat u32;
    "variable" => variable(name: text) -> stored Option<Text>;
    "set-variable" => set_variable(name: text, value: text) -> stored Answer<()>;
    "arm" => arm(hooks: hooks);
    "set-record-route" => set_record_route(enabled: truth);
    "add-record-route-parameter" => add_parameter(name: text, value: text) -> stored Answer<()>;
    "record-route-parameter" => parameter(name: text) -> stored Option<Text>;
}

fn message_source<H: Host>(state: &State<H>) -> MessageSource {
    MessageSource::of(source(state))
}

fn source_address<H: Host>(state: &State<H>) -> Text {
    state.scratch.text(|text| {
        if let Some(source) = source(state) {
            // Writing to a String does not fail.
            let _ = write!(text, "{}", source.remote.ip().to_canonical());
        }
    })
}

fn source_in<H: Host>(state: &State<H>, networks: &str) -> bool {
    source(state).is_some_and(|source| is_in(source.remote.ip(), networks))
}

fn in_dialog<H: Host>(state: &State<H>) -> bool {
    state.transaction().is_some_and(H::in_dialog)
}

fn is_local_uri<H: Host>(state: &State<H>, uri: &str) -> bool {
    state.host().is_some_and(|host| host.is_local_uri(uri))
}

fn failure_round<H: Host>(state: &State<H>) -> u32 {
    state.transaction().map_or(0, H::failure_round)
}

fn variable<H: Host>(state: &State<H>, name: &str) -> Option<Text> {
    let value = state.transaction()?.variable(name)?;
    Some(state.scratch.text(|text| text.push_str(value)))
}

fn arm<H: Host>(state: &mut State<H>, hooks: Hooks) {
    if let Ok(host) = state.during(&ROUTING) {
        host.arm(armed(hooks));
    }
}

fn set_record_route<H: Host>(state: &mut State<H>, enabled: bool) {
    if let Ok(host) = state.during(&ROUTING) {
        host.set_record_route(enabled);
    }
}

fn parameter<H: Host>(state: &State<H>, name: &str) -> Option<Text> {
    let value = state.transaction()?.record_route_parameter(name)?;
    Some(state.scratch.text(|text| text.push_str(value)))
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

fn set_variable<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Answer<()> {
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

fn add_parameter<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Answer<()> {
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
