//! `interface log`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Call, text};
use crate::host::{Host, Level};
use crate::state::State;

/// A longer line is cut.
const MAX_LINE_LEN: usize = 4096;

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "log",
        |call: Call<'_, H>, (level, message): (Level, WasmStr)| {
            let Some(host) = call.data().host().filter(|host| host.log_enabled(level)) else {
                return Ok(());
            };
            let message = text(&call, &message)?;
            let line = cut(&message);
            if line.bytes().any(|byte| byte.is_ascii_control()) {
                host.log(
                    level,
                    &line.replace(|character: char| character.is_control(), " "),
                );
            } else {
                host.log(level, line);
            }
            Ok(())
        },
    )?;
    linker.func_wrap("enabled", |call: Call<'_, H>, (level,): (Level,)| {
        Ok((call
            .data()
            .host()
            .is_some_and(|host| host.log_enabled(level)),))
    })
}

fn cut(line: &str) -> &str {
    line.get(..line.floor_char_boundary(MAX_LINE_LEN))
        .unwrap_or(line)
}
