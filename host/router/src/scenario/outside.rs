//! What a scenario expects beyond the router: requests over HTTP, and what is in the key-value store.

use patchbay_policy::{KeyValueAnswer, KeyValueRequest};

use super::play::{Wrong, list_of};
use super::world::World;
use crate::config::scenario::{Pattern, StoredIs};
use crate::location::DEFAULT_NAMESPACE;

/// Exactly these requests were made since the last time, in this order.
pub(super) fn asked(
    world: &World,
    wanted: &[Pattern],
    body: Option<&Pattern>,
) -> Result<(), Wrong> {
    let script = world.worker.script();
    let asked = script.map(|script| script.take_asked()).unwrap_or_default();
    let fits = wanted.len() == asked.len()
        && wanted
            .iter()
            .zip(&asked)
            .all(|(wanted, asked)| wanted.fits(&asked.question));
    if !fits {
        let wanted: Vec<&str> = wanted.iter().map(|wanted| wanted.0.as_str()).collect();
        let asked: Vec<&str> = asked.iter().map(|asked| asked.question.as_str()).collect();
        return Err(Wrong::new(
            format!("asked over HTTP: {}", list_of(&wanted)),
            format!("asked over HTTP: {}", list_of(&asked)),
        ));
    }
    let last = asked.last().map_or("", |asked| asked.body.as_str());
    match body {
        Some(body) if !body.fits(last) => Err(Wrong::new(
            format!("asked over HTTP with the body {}", body.0),
            format!("asked over HTTP with the body {last}"),
        )),
        _ => Ok(()),
    }
}

/// The key-value store has these values.
pub(super) fn stored(world: &World, wanted: &[(String, StoredIs)]) -> Result<(), Wrong> {
    for (key, is) in wanted {
        let value = value(world, key);
        let fits = match (is, &value) {
            (StoredIs::Absent, value) => value.is_none(),
            (StoredIs::Present, value) => value.is_some(),
            (StoredIs::Like(pattern), Some(value)) => pattern.fits(value),
            (StoredIs::Like(_), None) => false,
        };
        if !fits {
            let expected = match is {
                StoredIs::Absent => "no value",
                StoredIs::Present => "a value",
                StoredIs::Like(pattern) => &pattern.0,
            };
            let seen = value.as_deref().unwrap_or("no value");
            return Err(Wrong::new(
                format!("keyvalue {key:?}: {expected}"),
                format!("keyvalue {key:?}: {seen}"),
            ));
        }
    }
    Ok(())
}

fn value(world: &World, key: &str) -> Option<String> {
    let store = &world.worker.shared().keyvalue;
    let now_ms = world.worker.unix_ms();
    match store.carry_out(DEFAULT_NAMESPACE, KeyValueRequest::Get { key }, now_ms) {
        Ok(KeyValueAnswer::Value(value)) => {
            value.map(|value| String::from_utf8_lossy(&value).into_owned())
        }
        _ => None,
    }
}

/// Every request had a server that answers it, or does not.
pub(super) fn all_were_answered(world: &World) -> Result<(), Wrong> {
    match world.worker.script().and_then(|script| script.unanswered()) {
        Some(question) => Err(Wrong::new(
            "an [[http]] for each request of the policy",
            format!("{question}, which none has"),
        )),
        None => Ok(()),
    }
}
