//! `interface location`.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::{Answer, Call, text, with_text, with_texts};
use crate::guard;
use crate::host::{Hook, Host, HostError, LookupResult};
use crate::state::State;

/// Where the current message is a request.
const REQUESTS: [Hook; 3] = [Hook::RequestRoute, Hook::BranchRoute, Hook::FailureRoute];

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    add_readers(linker)?;
    add_writers(linker)
}

fn add_readers<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "lookup",
        |mut call: Call<'_, H>, (uri,): (WasmStr,)| -> wasmtime::Result<Answer<LookupResult>> {
            with_text(&mut call, &uri, |state, uri| (lookup(state, uri),))
        },
    )?;
    linker.func_wrap(
        "lookup-request-uri",
        |mut call: Call<'_, H>, (): ()| -> wasmtime::Result<Answer<LookupResult>> {
            let host = call.data_mut().during(&REQUESTS);
            Ok((host.and_then(H::lookup_request_uri),))
        },
    )?;
    linker.func_wrap(
        "binding-at",
        |call: Call<'_, H>, (lookup, index): (u32, u32)| {
            Ok((call
                .data()
                .host()
                .and_then(|host| host.binding_at(lookup, index)),))
        },
    )?;
    linker.func_wrap(
        "is-registered-source",
        |call: Call<'_, H>, (uri,): (WasmStr,)| {
            let uri = text(&call, &uri)?;
            Ok((call
                .data()
                .transaction()
                .is_some_and(|host| host.is_registered_source(&uri)),))
        },
    )
}

fn add_writers<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "save-contact",
        |mut call: Call<'_, H>,
         (aor, contact, expires_secs): (WasmStr, WasmStr, u32)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &aor, &contact, |state, aor, contact| {
                (save_contact(state, aor, contact, expires_secs),)
            })
        },
    )?;
    linker.func_wrap(
        "remove-contact",
        |mut call: Call<'_, H>,
         (aor, contact): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<u32>> {
            with_texts(&mut call, &aor, &contact, |state, aor, contact| {
                (remove_contact(state, aor, contact),)
            })
        },
    )
}

fn lookup<H: Host>(state: &mut State<H>, uri: &str) -> Result<LookupResult, HostError> {
    guard::check_uri(uri)?;
    state.acting()?.lookup(uri)
}

fn save_contact<H: Host>(
    state: &mut State<H>,
    aor: &str,
    contact: &str,
    expires_secs: u32,
) -> Result<(), HostError> {
    guard::check_uri(aor)?;
    guard::check_uri(contact)?;
    state.acting()?.save_contact(aor, contact, expires_secs)
}

fn remove_contact<H: Host>(
    state: &mut State<H>,
    aor: &str,
    contact: &str,
) -> Result<u32, HostError> {
    guard::check_uri(aor)?;
    if !contact.is_empty() {
        guard::check_uri(contact)?;
    }
    state.acting()?.remove_contact(aor, contact)
}
