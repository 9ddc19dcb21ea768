//! `interface message`.

use std::fmt::Write;
use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, NameAddr, Uri};
use wasmtime::component::{ComponentType, LinkerInstance, Lower, WasmStr};

use super::{Answer, Call, push_lossy, text, with_text, with_texts};
use crate::guard;
use crate::host::{ErrorKind, Hook, Host, HostError};
use crate::state::State;

/// Where the current message may be changed.
const EDITING: [Hook; 4] = [
    Hook::RequestRoute,
    Hook::BranchRoute,
    Hook::OnreplyRoute,
    Hook::FailureRoute,
];
/// Where the current message is a request.
const REQUESTS: [Hook; 3] = [Hook::RequestRoute, Hook::BranchRoute, Hook::FailureRoute];

#[derive(ComponentType, Lower, Default)]
#[component(record)]
struct MessageSummary {
    method: Arc<String>,
    #[component(name = "request-uri")]
    request_uri: Arc<String>,
    #[component(name = "from-uri")]
    from_uri: Arc<String>,
    #[component(name = "to-uri")]
    to_uri: Arc<String>,
    #[component(name = "call-id")]
    call_id: Arc<String>,
    source: Arc<String>,
    #[component(name = "in-dialog")]
    in_dialog: bool,
}

pub(super) fn add<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    add_start_line(linker)?;
    add_facts(linker)?;
    add_header_readers(linker)?;
    add_header_writers(linker)?;
    add_response_readers(linker)?;
    add_body(linker)
}

fn add_start_line<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("method", |call: Call<'_, H>, (): ()| {
        Ok((shown(call.data(), |message| message.method().as_bytes()),))
    })?;
    linker.func_wrap("request-uri", |call: Call<'_, H>, (): ()| {
        Ok((shown(call.data(), Draft::request_uri),))
    })?;
    linker.func_wrap("request-user", |call: Call<'_, H>, (): ()| {
        Ok((request_user(call.data()),))
    })?;
    linker.func_wrap(
        "set-request-uri",
        |mut call: Call<'_, H>, (uri,): (WasmStr,)| -> wasmtime::Result<Answer<()>> {
            with_text(&mut call, &uri, |state, uri| (set_request_uri(state, uri),))
        },
    )?;
    linker.func_wrap("status", |call: Call<'_, H>, (): ()| {
        Ok((call.data().message().and_then(Draft::status),))
    })
}

fn add_facts<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("summary", |call: Call<'_, H>, (): ()| {
        Ok((summary(call.data()),))
    })?;
    linker.func_wrap("from-uri", |call: Call<'_, H>, (): ()| {
        Ok((shown(call.data(), from_uri),))
    })?;
    linker.func_wrap("to-uri", |call: Call<'_, H>, (): ()| {
        Ok((shown(call.data(), to_uri),))
    })?;
    linker.func_wrap("call-id", |call: Call<'_, H>, (): ()| {
        Ok((shown(call.data(), Draft::call_id),))
    })
}

fn add_header_readers<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("header", |call: Call<'_, H>, (name,): (WasmStr,)| {
        let name = text(&call, &name)?;
        Ok((header(call.data(), call.data().message(), &name),))
    })?;
    linker.func_wrap("headers", |call: Call<'_, H>, (name,): (WasmStr,)| {
        let name = text(&call, &name)?;
        Ok((headers(call.data().message(), &name),))
    })?;
    linker.func_wrap(
        "headers-named",
        |call: Call<'_, H>, (names,): (Vec<WasmStr>,)| {
            let mut found = Vec::with_capacity(names.len());
            for name in &names {
                let name = text(&call, name)?;
                found.push(header(call.data(), call.data().message(), &name));
            }
            Ok((found,))
        },
    )?;
    linker.func_wrap("has-header", |call: Call<'_, H>, (name,): (WasmStr,)| {
        let name = text(&call, &name)?;
        Ok((call
            .data()
            .message()
            .is_some_and(|message| message.header(&*name).is_some()),))
    })
}

fn add_header_writers<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "set-header",
        |mut call: Call<'_, H>,
         (name, value): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &name, &value, |state, name, value| {
                (edited_header(state, name)
                    .and_then(|message| guard::set_header(message, name, value)),)
            })
        },
    )?;
    linker.func_wrap(
        "add-header",
        |mut call: Call<'_, H>,
         (name, value): (WasmStr, WasmStr)|
         -> wasmtime::Result<Answer<()>> {
            with_texts(&mut call, &name, &value, |state, name, value| {
                (edited_header(state, name)
                    .and_then(|message| guard::add_header(message, name, value)),)
            })
        },
    )?;
    linker.func_wrap(
        "remove-header",
        |mut call: Call<'_, H>, (name,): (WasmStr,)| -> wasmtime::Result<Answer<u32>> {
            with_text(&mut call, &name, |state, name| {
                (
                    edited_header(state, name)
                        .and_then(|message| guard::remove_header(message, name)),
                )
            })
        },
    )
}

fn add_response_readers<H: Host>(
    linker: &mut LinkerInstance<'_, State<H>>,
) -> wasmtime::Result<()> {
    linker.func_wrap("response-status", |call: Call<'_, H>, (): ()| {
        Ok((call.data().response().and_then(Draft::status),))
    })?;
    linker.func_wrap(
        "response-header",
        |call: Call<'_, H>, (name,): (WasmStr,)| {
            let name = text(&call, &name)?;
            Ok((header(call.data(), call.data().response(), &name),))
        },
    )
}

fn add_body<H: Host>(linker: &mut LinkerInstance<'_, State<H>>) -> wasmtime::Result<()> {
    linker.func_wrap("body", |call: Call<'_, H>, (): ()| {
        Ok((call
            .data()
            .message()
            .map(Draft::body)
            .unwrap_or_default()
            .to_vec(),))
    })?;
    linker.func_wrap(
        "set-body",
        |mut call: Call<'_, H>,
         (content_type, body): (WasmStr, Vec<u8>)|
         -> wasmtime::Result<Answer<()>> {
            with_text(&mut call, &content_type, |state, content_type| {
                (edited(state).and_then(|message| guard::set_body(message, content_type, &body)),)
            })
        },
    )
}

/// One text of the current message; empty without one.
fn shown<H: Host>(state: &State<H>, read: impl FnOnce(&Draft) -> &[u8]) -> Arc<String> {
    state.scratch.text(|text| {
        if let Some(message) = state.message() {
            push_lossy(text, read(message));
        }
    })
}

fn header<H: Host>(state: &State<H>, message: Option<&Draft>, name: &str) -> Option<Arc<String>> {
    let value = message?.header(name)?;
    Some(state.scratch.text(|text| push_lossy(text, value)))
}

fn headers(message: Option<&Draft>, name: &str) -> Vec<String> {
    message
        .map(|message| message.headers(name).map(lossy).collect())
        .unwrap_or_default()
}

fn request_user<H: Host>(state: &State<H>) -> Arc<String> {
    state.scratch.text(|text| {
        let Some(Ok(uri)) = state
            .message()
            .map(|message| Uri::parse(message.request_uri()))
        else {
            return;
        };
        push_lossy(text, &uri.user_unescaped());
    })
}

fn from_uri(message: &Draft) -> &[u8] {
    address(message.header(HeaderName::From))
}

fn to_uri(message: &Draft) -> &[u8] {
    address(message.header(HeaderName::To))
}

/// The URI in it; a value that is broken beyond that is shown as an empty one.
fn address(value: Option<&[u8]>) -> &[u8] {
    value
        .and_then(|value| NameAddr::parse(value).ok())
        .map(|address| address.uri_raw)
        .unwrap_or_default()
}

fn summary<H: Host>(state: &State<H>) -> MessageSummary {
    let (Some(message), Some(host)) = (state.message(), state.transaction()) else {
        return MessageSummary::default();
    };
    let shown = |bytes| state.scratch.text(|text| push_lossy(text, bytes));
    let source = |text: &mut String| {
        if let Some(from) = host.source() {
            // Writing to a String does not fail.
            let _ = write!(text, "{}", from.remote);
        }
    };
    MessageSummary {
        method: shown(message.method().as_bytes()),
        request_uri: shown(message.request_uri()),
        from_uri: shown(from_uri(message)),
        to_uri: shown(to_uri(message)),
        call_id: shown(message.call_id()),
        source: state.scratch.text(source),
        in_dialog: host.in_dialog(),
    }
}

fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_lossy(&mut text, bytes);
    text
}

fn edited<H: Host>(state: &mut State<H>) -> Result<&mut Draft, HostError> {
    let host = state.during(&EDITING)?;
    host.message_mut().ok_or_else(no_message)
}

/// The current message, to change its header of this name.
fn edited_header<'a, H: Host>(
    state: &'a mut State<H>,
    name: &str,
) -> Result<&'a mut Draft, HostError> {
    let host = state.during(&EDITING)?;
    guard::check_grant(name, |name| host.may_write(name))?;
    host.message_mut().ok_or_else(no_message)
}

fn set_request_uri<H: Host>(state: &mut State<H>, uri: &str) -> Result<(), HostError> {
    guard::check_len(uri)?;
    let host = state.during(&REQUESTS)?;
    let message = host.message_mut().ok_or_else(no_message)?;
    message
        .set_request_uri(uri.as_bytes())
        .map_err(guard::refused)
}

fn no_message() -> HostError {
    HostError {
        kind: ErrorKind::WrongHook,
        message: "no message is current".into(),
    }
}
