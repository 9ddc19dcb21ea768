//! `interface keyvalue`.

use super::Answer;
use super::table::interface;
use crate::guard;
use crate::host::{ErrorKind, Host, HostError, KeyValueAnswer, KeyValueRequest};
use crate::state::State;

/// The longest key, and what keys begin with.
const MAX_KEY_LEN: usize = 512;
/// The longest value.
const MAX_VALUE_LEN: usize = 64 << 10;

interface! {
    "get" => get(key: text) -> stored Answer<Option<Vec<u8>>>;
    "exists" => exists(key: text) -> stored Answer<bool>;
    "set" acts => set(key: text, value: bytes) -> stored Answer<()>;
    "set-with-ttl" acts => set_with_ttl(key: text, value: bytes, ttl_secs: word) -> stored Answer<()>;
    "delete" acts => delete(key: text) -> stored Answer<()>;
    "increment" acts => increment(key: text, delta: signed) -> stored Answer<i64>;
    "increment-with-ttl" acts => increment_with_ttl(key: text, delta: signed, ttl_secs: word) -> stored Answer<i64>;
    "list-keys" => list_keys(prefix: text, after: text) -> stored Answer<Vec<String>>;
}

pub(super) fn get<H: Host>(state: &mut State<H>, key: &str) -> Answer<Option<Vec<u8>>> {
    match asked(state, KeyValueRequest::Get { key })? {
        KeyValueAnswer::Value(value) => Ok(value),
        _ => Err(wrong_answer()),
    }
}

pub(super) fn exists<H: Host>(state: &mut State<H>, key: &str) -> Answer<bool> {
    match asked(state, KeyValueRequest::Exists { key })? {
        KeyValueAnswer::Exists(exists) => Ok(exists),
        _ => Err(wrong_answer()),
    }
}

pub(super) fn set<H: Host>(state: &mut State<H>, key: &str, value: &[u8]) -> Answer<()> {
    set_for(state, key, value, None)
}

fn set_with_ttl<H: Host>(
    state: &mut State<H>,
    key: &str,
    value: &[u8],
    ttl_secs: u32,
) -> Answer<()> {
    check_ttl(ttl_secs)?;
    set_for(state, key, value, Some(ttl_secs))
}

fn set_for<H: Host>(
    state: &mut State<H>,
    key: &str,
    value: &[u8],
    ttl_secs: Option<u32>,
) -> Answer<()> {
    if value.len() > MAX_VALUE_LEN {
        return Err(limit(format!("a value has at most {MAX_VALUE_LEN} bytes")));
    }
    let request = KeyValueRequest::Set {
        key,
        value,
        ttl_secs,
    };
    asked(state, request).map(drop)
}

pub(super) fn delete<H: Host>(state: &mut State<H>, key: &str) -> Answer<()> {
    asked(state, KeyValueRequest::Delete { key }).map(drop)
}

pub(super) fn increment<H: Host>(state: &mut State<H>, key: &str, delta: i64) -> Answer<i64> {
    increment_for(state, key, delta, None)
}

fn increment_with_ttl<H: Host>(
    state: &mut State<H>,
    key: &str,
    delta: i64,
    ttl_secs: u32,
) -> Answer<i64> {
    check_ttl(ttl_secs)?;
    increment_for(state, key, delta, Some(ttl_secs))
}

fn increment_for<H: Host>(
    state: &mut State<H>,
    key: &str,
    delta: i64,
    ttl_secs: Option<u32>,
) -> Answer<i64> {
    let request = KeyValueRequest::Increment {
        key,
        delta,
        ttl_secs,
    };
    match asked(state, request)? {
        KeyValueAnswer::Number(number) => Ok(number),
        _ => Err(wrong_answer()),
    }
}

pub(super) fn list_keys<H: Host>(
    state: &mut State<H>,
    prefix: &str,
    after: &str,
) -> Answer<Vec<String>> {
    check_len(after)?;
    match asked(state, KeyValueRequest::ListKeys { prefix, after })? {
        KeyValueAnswer::Keys(keys) => Ok(keys),
        _ => Err(wrong_answer()),
    }
}

fn asked<H: Host>(state: &mut State<H>, request: KeyValueRequest<'_>) -> Answer<KeyValueAnswer> {
    let is_list = matches!(request, KeyValueRequest::ListKeys { .. });
    if request.key().is_empty() && !is_list {
        return Err(guard::invalid("a key is not empty".into()));
    }
    check_len(request.key())?;
    state.acting()?.key_value(request)
}

fn check_len(key: &str) -> Answer<()> {
    if key.len() > MAX_KEY_LEN {
        return Err(limit(format!("a key has at most {MAX_KEY_LEN} bytes")));
    }
    Ok(())
}

fn check_ttl(ttl_secs: u32) -> Answer<()> {
    if ttl_secs == 0 {
        return Err(guard::invalid("a time to live is at least a second".into()));
    }
    Ok(())
}

fn limit(message: String) -> HostError {
    HostError {
        kind: ErrorKind::Limit,
        message,
    }
}

/// The host answered with something else than what was asked for.
#[cold]
fn wrong_answer() -> HostError {
    HostError {
        kind: ErrorKind::Unavailable,
        message: "the store gave another answer than was asked for".into(),
    }
}
