//! The imports of policies, one module per interface of the WIT package.
//!
//! A text that the guest hands over is read where it lies in the guest's memory; a text that it gets is written once into a reused
//! buffer and from there into the guest.

mod auth;
mod counters;
mod environment;
mod location;
mod log;
mod message;
mod reply;
mod settings;
mod targets;
mod timers;
mod transaction;

use std::borrow::Cow;

use wasmtime::component::{Linker, LinkerInstance, WasmStr};
use wasmtime::{Engine, StoreContextMut};

use crate::host::{Host, HostError};
use crate::state::State;
use crate::world::{PACKAGE, VERSION};

/// The store of a call to the host.
pub(crate) type Call<'a, H> = StoreContextMut<'a, State<H>>;

/// Everything that the host provides.
pub(crate) fn linker<H: Host>(engine: &Engine) -> wasmtime::Result<Linker<State<H>>> {
    let mut linker = Linker::new(engine);
    interface(&mut linker, "types", |_| Ok(()))?;
    interface(&mut linker, "message", message::add)?;
    interface(&mut linker, "transaction", transaction::add)?;
    interface(&mut linker, "targets", targets::add)?;
    interface(&mut linker, "reply", reply::add)?;
    interface(&mut linker, "location", location::add)?;
    interface(&mut linker, "auth", auth::add)?;
    interface(&mut linker, "settings", settings::add)?;
    interface(&mut linker, "log", log::add)?;
    interface(&mut linker, "clock", environment::add_clock)?;
    interface(&mut linker, "random", environment::add_random)?;
    interface(&mut linker, "counters", counters::add)?;
    interface(&mut linker, "timers", timers::add)?;
    Ok(linker)
}

fn interface<H: Host>(
    linker: &mut Linker<State<H>>,
    name: &str,
    add: impl FnOnce(&mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    add(&mut linker.instance(&format!("{PACKAGE}{name}{VERSION}"))?)
}

/// A text of the guest, for a call that only reads.
fn text<'a, H: Host>(call: &'a Call<'_, H>, text: &WasmStr) -> wasmtime::Result<Cow<'a, str>> {
    text.to_str(call)
}

/// A text of the guest, copied aside for a call that changes the state.
fn with_text<H: Host, R>(
    call: &mut Call<'_, H>,
    text: &WasmStr,
    act: impl FnOnce(&mut State<H>, &str) -> R,
) -> wasmtime::Result<R> {
    let mut copy = std::mem::take(&mut call.data_mut().scratch.name);
    fill(&mut copy, call, text)?;
    let result = act(call.data_mut(), &copy);
    call.data_mut().scratch.name = copy;
    Ok(result)
}

/// Two of them.
fn with_texts<H: Host, R>(
    call: &mut Call<'_, H>,
    first: &WasmStr,
    second: &WasmStr,
    act: impl FnOnce(&mut State<H>, &str, &str) -> R,
) -> wasmtime::Result<R> {
    let mut copy = std::mem::take(&mut call.data_mut().scratch.value);
    fill(&mut copy, call, second)?;
    let result = with_text(call, first, |state, first| act(state, first, &copy))?;
    call.data_mut().scratch.value = copy;
    Ok(result)
}

fn fill<H: Host>(copy: &mut String, call: &Call<'_, H>, text: &WasmStr) -> wasmtime::Result<()> {
    copy.clear();
    copy.push_str(&text.to_str(call)?);
    Ok(())
}

/// Text that came from the network, with U+FFFD for what is not UTF-8.
fn push_lossy(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// A `result<_, error>` of WIT.
type Answer<T> = (Result<T, HostError>,);
