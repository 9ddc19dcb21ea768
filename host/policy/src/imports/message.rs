//! `interface message`.

use std::fmt::Write;
use std::sync::Arc;

use patchbay_message::{Draft, HeaderName, Method, NameAddr, Uri};
use wasmtime::component::{ComponentType, LinkerInstance, Lower, WasmStr, flags};

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

flags! {
    MessageFacts {
        #[component(name = "in-dialog")]
        const IN_DIALOG;
        #[component(name = "invite")]
        const INVITE;
        #[component(name = "ack")]
        const ACK;
        #[component(name = "bye")]
        const BYE;
        #[component(name = "cancel")]
        const CANCEL;
        #[component(name = "register")]
        const REGISTER;
        #[component(name = "options")]
        const OPTIONS;
        #[component(name = "info")]
        const INFO;
        #[component(name = "prack")]
        const PRACK;
        #[component(name = "subscribe")]
        const SUBSCRIBE;
        #[component(name = "notify")]
        const NOTIFY;
        #[component(name = "publish")]
        const PUBLISH;
        #[component(name = "message")]
        const MESSAGE;
        #[component(name = "refer")]
        const REFER;
        #[component(name = "update")]
        const UPDATE;
    }
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
    linker.func_wrap("facts", |call: Call<'_, H>, (): ()| {
        Ok((facts(call.data()),))
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
    linker.func_wrap(
        "headers-joined",
        |call: Call<'_, H>, (names,): (WasmStr,)| {
            let names = text(&call, &names)?;
            Ok((headers_joined(call.data(), &names),))
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

fn headers_joined<H: Host>(state: &State<H>, names: &str) -> Arc<String> {
    let message = state.message();
    state.scratch.text(|text| {
        for name in names.split(',') {
            match message.and_then(|message| message.header(name)) {
                Some(value) => push_counted(text, value),
                None => text.push(':'),
            }
        }
    })
}

/// The value behind its length, which is not the one on the wire where the value is not UTF-8.
fn push_counted(text: &mut String, value: &[u8]) {
    let length: usize = value
        .utf8_chunks()
        .map(|chunk| match chunk.invalid() {
            [] => chunk.valid().len(),
            _ => chunk.valid().len() + char::REPLACEMENT_CHARACTER.len_utf8(),
        })
        .sum();
    // Writing to a String does not fail.
    let _ = write!(text, "{length}:");
    push_lossy(text, value);
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

fn facts<H: Host>(state: &State<H>) -> MessageFacts {
    let (Some(message), Some(host)) = (state.message(), state.transaction()) else {
        return MessageFacts::default();
    };
    let method = match message.method() {
        Method::Invite => MessageFacts::INVITE,
        Method::Ack => MessageFacts::ACK,
        Method::Bye => MessageFacts::BYE,
        Method::Cancel => MessageFacts::CANCEL,
        Method::Register => MessageFacts::REGISTER,
        Method::Options => MessageFacts::OPTIONS,
        Method::Info => MessageFacts::INFO,
        Method::Prack => MessageFacts::PRACK,
        Method::Subscribe => MessageFacts::SUBSCRIBE,
        Method::Notify => MessageFacts::NOTIFY,
        Method::Publish => MessageFacts::PUBLISH,
        Method::Message => MessageFacts::MESSAGE,
        Method::Refer => MessageFacts::REFER,
        Method::Update => MessageFacts::UPDATE,
        Method::Other(_) => MessageFacts::default(),
    };
    if host.in_dialog() {
        method | MessageFacts::IN_DIALOG
    } else {
        method
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_value_has_the_length_that_is_shown() {
        let mut text = String::new();
        push_counted(&mut text, b"caf\xc3\xa9, a: b");
        push_counted(&mut text, b"");
        push_counted(&mut text, b"x\xff\xfey");
        assert_eq!(text, "11:caf\u{e9}, a: b0:8:x\u{fffd}\u{fffd}y");
    }
}
