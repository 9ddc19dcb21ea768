//! `interface targets`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{Hook, Host, Target};
use crate::state::State;

const ROUTING: [Hook; 2] = [Hook::RequestRoute, Hook::FailureRoute];
/// `q` in thousandths.
const MAX_Q: u16 = 1000;

interface! {
    "add-uri" => add_uri(uri: text) -> stored Answer<()>;
    "add" => add_target(target: target) -> stored Answer<()>;
    "add-lookup" => add_lookup(lookup: word) -> stored Answer<u32>;
    "next-group" => next_group();
    "set-no-answer-timeout" => set_no_answer_timeout(ms: word);
    "clear" => clear();
    "count" => count() -> flat u32;
}

fn add_uri<H: Host>(state: &mut State<H>, uri: &str) -> Answer<()> {
    let target = Target {
        uri: uri.to_owned(),
        q: MAX_Q,
        next_hop: None,
        listener: None,
        no_answer_ms: None,
    };
    add_target(state, target)
}

fn add_lookup<H: Host>(state: &mut State<H>, lookup: u32) -> Answer<u32> {
    state.during(&ROUTING)?.add_lookup(lookup)
}

fn next_group<H: Host>(state: &mut State<H>) {
    routing(state, H::next_group);
}

fn set_no_answer_timeout<H: Host>(state: &mut State<H>, ms: u32) {
    routing(state, |host| host.set_no_answer_timeout(ms));
}

fn clear<H: Host>(state: &mut State<H>) {
    routing(state, H::clear_targets);
}

fn count<H: Host>(state: &State<H>) -> u32 {
    state.transaction().map_or(0, H::target_count)
}

/// Functions without an error do nothing where there is nothing to route.
fn routing<H: Host>(state: &mut State<H>, act: impl FnOnce(&mut H)) {
    if let Ok(host) = state.during(&ROUTING) {
        act(host);
    }
}

fn add_target<H: Host>(state: &mut State<H>, target: Target) -> Answer<()> {
    check(&target)?;
    state.during(&ROUTING)?.add_target(target)
}

fn check(target: &Target) -> Answer<()> {
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
