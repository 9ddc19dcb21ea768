//! `interface settings`.

use super::table::interface;
use crate::host::Host;
use crate::state::{State, Text};

interface! {
    "get" => get(name: text) -> stored Option<Text>;
    "all" => all() -> stored Vec<(String, String)>;
}

fn get<H: Host>(state: &State<H>, name: &str) -> Option<Text> {
    let value = state.host()?.setting(name)?;
    Some(state.scratch.text(|text| text.push_str(value)))
}

fn all<H: Host>(state: &State<H>) -> Vec<(String, String)> {
    state.host().map(H::settings).unwrap_or_default()
}
