//! `interface location`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{Binding, Hook, Host, LookupResult};
use crate::state::State;

/// Where the current message is a request.
const REQUESTS: [Hook; 3] = [Hook::RequestRoute, Hook::BranchRoute, Hook::FailureRoute];

interface! {
    "lookup" => lookup(uri: text) -> stored Answer<LookupResult>;
    "lookup-request-uri" => lookup_request_uri() -> stored Answer<LookupResult>;
    "binding-at" => binding_at(lookup: word, index: word) -> stored Option<Binding>;
    "is-registered-source" => is_registered_source(uri: text) -> flat bool;
    "save-contact" acts => save_contact(aor: text, contact: text, expires_secs: word) -> stored Answer<()>;
    "remove-contact" acts => remove_contact(aor: text, contact: text) -> stored Answer<u32>;
}

fn lookup_request_uri<H: Host>(state: &mut State<H>) -> Answer<LookupResult> {
    state.during(&REQUESTS)?.lookup_request_uri()
}

fn binding_at<H: Host>(state: &State<H>, lookup: u32, index: u32) -> Option<Binding> {
    state.host()?.binding_at(lookup, index)
}

fn is_registered_source<H: Host>(state: &State<H>, uri: &str) -> bool {
    state
        .transaction()
        .is_some_and(|host| host.is_registered_source(uri))
}

fn lookup<H: Host>(state: &mut State<H>, uri: &str) -> Answer<LookupResult> {
    guard::check_uri(uri)?;
    state.acting()?.lookup(uri)
}

fn save_contact<H: Host>(
    state: &mut State<H>,
    aor: &str,
    contact: &str,
    expires_secs: u32,
) -> Answer<()> {
    guard::check_uri(aor)?;
    guard::check_uri(contact)?;
    state.acting()?.save_contact(aor, contact, expires_secs)
}

fn remove_contact<H: Host>(state: &mut State<H>, aor: &str, contact: &str) -> Answer<u32> {
    guard::check_uri(aor)?;
    if !contact.is_empty() {
        guard::check_uri(contact)?;
    }
    state.acting()?.remove_contact(aor, contact)
}
