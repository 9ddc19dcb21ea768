//! `interface log`.

use super::table::interface;
use crate::host::{Host, Level};
use crate::state::State;

/// A longer line is cut.
const MAX_LINE_LEN: usize = 4096;

interface! {
    "log" acts => log(level: level, message: text);
    "enabled" => enabled(level: level) -> flat bool;
}

fn log<H: Host>(state: &State<H>, level: Level, message: &str) {
    let Some(host) = state.host().filter(|host| host.log_enabled(level)) else {
        return;
    };
    let line = cut(message);
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        host.log(
            level,
            &line.replace(|character: char| character.is_control(), " "),
        );
    } else {
        host.log(level, line);
    }
}

fn enabled<H: Host>(state: &State<H>, level: Level) -> bool {
    state.host().is_some_and(|host| host.log_enabled(level))
}

fn cut(line: &str) -> &str {
    line.get(..line.floor_char_boundary(MAX_LINE_LEN))
        .unwrap_or(line)
}
