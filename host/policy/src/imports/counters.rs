//! `interface counters`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::Host;
use crate::state::State;

interface! {
    "add" acts => count(name: text, value: long) -> stored Answer<()>;
}

fn count<H: Host>(state: &mut State<H>, name: &str, value: u64) -> Answer<()> {
    guard::check_counter_name(name)?;
    state.acting()?.add_counter(name, value)
}
