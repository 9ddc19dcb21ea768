//! `interface timers`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::Host;
use crate::state::State;

/// A day.
const MAX_DELAY_MS: u32 = 24 * 60 * 60 * 1000;

interface! {
    "set" acts => set(name: text, delay_ms: word) -> stored Answer<()>;
    "cancel" acts => cancel(name: text) -> flat bool;
}

fn cancel<H: Host>(state: &mut State<H>, name: &str) -> bool {
    state.acting().is_ok_and(|host| host.cancel_timer(name))
}

fn set<H: Host>(state: &mut State<H>, name: &str, delay_ms: u32) -> Answer<()> {
    guard::check_name(name)?;
    if delay_ms > MAX_DELAY_MS {
        return Err(guard::invalid(format!(
            "a timer is at most {MAX_DELAY_MS} ms ahead"
        )));
    }
    state.acting()?.set_timer(name, delay_ms)
}
