//! `interface message`.

use std::fmt::Write;

use patchbay_message::{Draft, Invalid, Method, Name, NameAddr, Uri};
use wasmtime::component::{ComponentType, Lower, flags};

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{ErrorKind, Hook, Host, HostError};
use crate::state::{State, Text};
use crate::utf8::{lossy_len, push_lossy};

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
pub(crate) struct MessageSummary {
    pub(crate) method: Text,
    #[component(name = "request-uri")]
    pub(crate) request_uri: Text,
    #[component(name = "from-uri")]
    pub(crate) from_uri: Text,
    #[component(name = "to-uri")]
    pub(crate) to_uri: Text,
    #[component(name = "call-id")]
    pub(crate) call_id: Text,
    pub(crate) source: Text,
    #[component(name = "in-dialog")]
    pub(crate) in_dialog: bool,
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

interface! {
    "method" => method() -> lent &[u8];
    "request-uri" => request_uri() -> lent &[u8];
    "request-user" => request_user() -> stored Text;
    "set-request-uri" => set_request_uri(uri: text) -> stored Answer<()>;
    "status" => status() -> stored Option<u16>;
    "summary" => summary() -> stored MessageSummary;
    "facts" => facts() -> flat MessageFacts;
    "from-uri" => from_uri() -> lent &[u8];
    "to-uri" => to_uri() -> lent &[u8];
    "call-id" => call_id() -> lent &[u8];
    "header" => header(name: text) -> lent Option<&[u8]>;
    "headers" => headers(name: text) -> stored Vec<String>;
    "headers-named" => headers_named(names: texts) -> stored Vec<Option<Text>>;
    "headers-joined" => headers_joined(names: text) -> stored Text;
    "has-header" => has_header(name: text) -> flat bool;
    "set-header" => set_header(name: text, value: text) -> stored Answer<()>;
    "add-header" => add_header(name: text, value: text) -> stored Answer<()>;
    "remove-header" => remove_header(name: text) -> stored Answer<u32>;
    "response-status" => response_status() -> stored Option<u16>;
    "response-header" => response_header(name: text) -> lent Option<&[u8]>;
    "body" => body() -> stored Vec<u8>;
    "set-body" => set_body(content_type: text, body: bytes) -> stored Answer<()>;
}

fn method<H: Host>(state: &State<H>) -> &[u8] {
    state
        .message()
        .map(|message| message.method().as_bytes())
        .unwrap_or_default()
}

fn request_uri<H: Host>(state: &State<H>) -> &[u8] {
    state.message().map(Draft::request_uri).unwrap_or_default()
}

fn status<H: Host>(state: &State<H>) -> Option<u16> {
    state.message().and_then(Draft::status)
}

fn from_uri<H: Host>(state: &State<H>) -> &[u8] {
    state.message().map(uri_in_from).unwrap_or_default()
}

fn to_uri<H: Host>(state: &State<H>) -> &[u8] {
    state.message().map(uri_in_to).unwrap_or_default()
}

fn call_id<H: Host>(state: &State<H>) -> &[u8] {
    state.message().map(Draft::call_id).unwrap_or_default()
}

fn header<'a, H: Host>(state: &'a State<H>, name: &str) -> Option<&'a [u8]> {
    state.message()?.header(name)
}

fn headers<H: Host>(state: &State<H>, name: &str) -> Vec<String> {
    state
        .message()
        .map(|message| message.headers(name).map(lossy).collect())
        .unwrap_or_default()
}

fn headers_named<'a, H: Host>(
    state: &State<H>,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<Option<Text>> {
    let shown = |value| state.scratch.text(|text| push_lossy(text, value));
    names
        .into_iter()
        .map(|name| header(state, name).map(shown))
        .collect()
}

fn has_header<H: Host>(state: &State<H>, name: &str) -> bool {
    state
        .message()
        .is_some_and(|message| message.header(name).is_some())
}

fn set_header<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Answer<()> {
    let known = Name::from(name);
    guard::set_header(edited_header(state, known, name)?, known, value)
}

fn add_header<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Answer<()> {
    let known = Name::from(name);
    guard::add_header(edited_header(state, known, name)?, known, value)
}

fn remove_header<H: Host>(state: &mut State<H>, name: &str) -> Answer<u32> {
    let known = Name::from(name);
    guard::remove_header(edited_header(state, known, name)?, known)
}

fn response_status<H: Host>(state: &State<H>) -> Option<u16> {
    state.response().and_then(Draft::status)
}

fn response_header<'a, H: Host>(state: &'a State<H>, name: &str) -> Option<&'a [u8]> {
    state.response()?.header(name)
}

fn body<H: Host>(state: &State<H>) -> Vec<u8> {
    state
        .message()
        .map(Draft::body)
        .unwrap_or_default()
        .to_vec()
}

fn set_body<H: Host>(state: &mut State<H>, content_type: &str, body: &[u8]) -> Answer<()> {
    guard::set_body(edited(state)?, content_type, body)
}

fn headers_joined<H: Host>(state: &State<H>, names: &str) -> Text {
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
    push_number(text, lossy_len(value));
    text.push(':');
    push_lossy(text, value);
}

/// A decimal number. Nearly every value is shorter than a hundred bytes.
fn push_number(text: &mut String, number: usize) {
    let digit = |value: usize| char::from(b'0' + (value % 10) as u8);
    match number {
        0..10 => text.push(digit(number)),
        10..100 => {
            text.push(digit(number / 10));
            text.push(digit(number));
        }
        // Writing to a String does not fail.
        _ => drop(write!(text, "{number}")),
    }
}

fn request_user<H: Host>(state: &State<H>) -> Text {
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

fn uri_in_from(message: &Draft) -> &[u8] {
    address(message.from())
}

fn uri_in_to(message: &Draft) -> &[u8] {
    address(message.to())
}

/// The URI in it; a value that is broken beyond that is shown as an empty one.
fn address(value: Result<NameAddr<'_>, Invalid>) -> &[u8] {
    value.map(|address| address.uri_raw).unwrap_or_default()
}

pub(crate) fn facts<H: Host>(state: &State<H>) -> MessageFacts {
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
        from_uri: shown(uri_in_from(message)),
        to_uri: shown(uri_in_to(message)),
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
    name: Name<'_>,
    text: &str,
) -> Result<&'a mut Draft, HostError> {
    let host = state.during(&EDITING)?;
    guard::check_grant(name.known(), text, |name| host.may_write(name))?;
    host.message_mut().ok_or_else(no_message)
}

fn set_request_uri<H: Host>(state: &mut State<H>, uri: &str) -> Answer<()> {
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
        push_counted(&mut text, &[b'y'; 100]);
        let long = "y".repeat(100);
        assert_eq!(
            text,
            format!("11:caf\u{e9}, a: b0:8:x\u{fffd}\u{fffd}y100:{long}")
        );
    }
}
