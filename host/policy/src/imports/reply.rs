//! `interface reply`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Answer, Call, with_text, with_texts};
use crate::guard;
use crate::host::{Hook, Host, HostError};
use crate::state::State;

const REPLYING: [Hook; 2] = [Hook::RequestRoute, Hook::FailureRoute];

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "add-header",
        |mut call: Call<'_, H>,
         (name, value): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &name, &value, |state, name, value| {
                (add_header(state, name, value),)
            })
        },
    )?;
    linker.func_wrap(
        "set-body",
        |mut call: Call<'_, H>,
         (content_type, body): (WasmStr, Vec<u8>)|
         -> wasmtime::Result<Answer<()>> {
            with_text(&mut call, &content_type, |state, content_type| {
                (set_body(state, content_type, &body),)
            })
        },
    )
}

fn add_header<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Result<(), HostError> {
    guard::check_reply_header(name, value)?;
    state.during(&REPLYING)?.add_reply_header(name, value)
}

fn set_body<H: Host>(
    state: &mut State<H>,
    content_type: &str,
    body: &[u8],
) -> Result<(), HostError> {
    guard::check_body(content_type, body)?;
    state.during(&REPLYING)?.set_reply_body(content_type, body)
}
