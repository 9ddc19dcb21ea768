//! `interface auth`.

use super::table::interface;
use crate::host::{Hook, Host, Verification};
use crate::state::{State, Text};

/// Where the request's own credentials can be read.
const REQUESTS: [Hook; 3] = [Hook::RequestRoute, Hook::BranchRoute, Hook::FailureRoute];

interface! {
    "verify" => verify() -> flat Verification;
    "verified-user" => verified_user() -> stored Option<Text>;
    "required" => required() -> flat bool;
    "realm" => realm() -> stored Text;
}

fn verify<H: Host>(state: &mut State<H>) -> Verification {
    state
        .during(&REQUESTS)
        .map_or(Verification::Missing, H::verify)
}

fn verified_user<H: Host>(state: &State<H>) -> Option<Text> {
    let user = state.transaction().and_then(H::verified_user)?;
    Some(state.scratch.text(|text| text.push_str(user)))
}

fn required<H: Host>(state: &State<H>) -> bool {
    state.host().is_some_and(H::auth_required)
}

fn realm<H: Host>(state: &State<H>) -> Text {
    state
        .scratch
        .text(|text| text.push_str(state.host().map_or("", H::realm)))
}
