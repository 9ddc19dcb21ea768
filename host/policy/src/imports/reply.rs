//! `interface reply`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{Hook, Host};
use crate::state::State;

const REPLYING: [Hook; 2] = [Hook::RequestRoute, Hook::FailureRoute];

interface! {
    "add-header" => add_header(name: text, value: text) -> stored Answer<()>;
    "set-body" => set_body(content_type: text, body: bytes) -> stored Answer<()>;
}

fn add_header<H: Host>(state: &mut State<H>, name: &str, value: &str) -> Answer<()> {
    guard::check_reply_header(name, value)?;
    state.during(&REPLYING)?.add_reply_header(name, value)
}

fn set_body<H: Host>(state: &mut State<H>, content_type: &str, body: &[u8]) -> Answer<()> {
    guard::check_body(content_type, body)?;
    state.during(&REPLYING)?.set_reply_body(content_type, body)
}
