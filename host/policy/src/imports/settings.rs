//! `interface settings`.

use super::table::interface;
use crate::host::Host;
use crate::state::State;

interface! {
    "get" => get(name: text) -> lent Option<&[u8]>;
    "all" => all() -> stored Vec<(String, String)>;
}

fn get<'a, H: Host>(state: &'a State<H>, name: &str) -> Option<&'a [u8]> {
    state.host()?.setting(name).map(str::as_bytes)
}

fn all<H: Host>(state: &State<H>) -> Vec<(String, String)> {
    state.host().map(H::settings).unwrap_or_default()
}
