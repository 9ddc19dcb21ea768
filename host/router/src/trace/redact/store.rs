//! Hides the keys of `keyvalue`: behind the prefix that the operator has granted, each part may be somebody.

use serde_json::{Map, Value};

use super::address::address_at;
use super::{Redactor, pseudonym_at};

/// Fields of a call that are keys.
const KEYS: [&str; 3] = ["key", "prefix", "after"];
/// What separates the parts of a key.
const SEPARATORS: [char; 7] = ['/', ':', '|', ',', ';', ' ', '='];

/// Whether this is a call of `keyvalue` with what came of it.
pub(super) fn is_exchange(map: &Map<String, Value>) -> bool {
    map.get("asked").is_some_and(|asked| asked == "keyvalue")
}

/// Every key that a call names or was told.
pub(super) fn keys(exchange: &Value) -> Vec<&str> {
    let part = |pointer: &str| exchange.pointer(pointer);
    let asked = KEYS
        .iter()
        .filter_map(|key| part("/request")?.get(key)?.as_str());
    let told = part("/told/keys").and_then(Value::as_array);
    let told = told.into_iter().flatten().filter_map(Value::as_str);
    asked.chain(told).collect()
}

/// The parts of a key.
pub(super) fn parts(key: &str) -> impl Iterator<Item = &str> {
    key.split(SEPARATORS).filter(|part| !part.is_empty())
}

impl Redactor {
    pub(super) fn store_exchange(&self, exchange: &mut Map<String, Value>, users: &[Vec<u8>]) {
        let mut changed = Vec::new();
        let mut hide_key = |value: &mut Value| {
            if let Value::String(key) = value {
                let hidden = self.key(key, users);
                changed.push((std::mem::replace(key, hidden.clone()), hidden));
            }
        };
        if let Some(Value::Object(request)) = exchange.get_mut("request") {
            for key in KEYS {
                request.get_mut(key).into_iter().for_each(&mut hide_key);
            }
            if let Some(value) = request.get_mut("value") {
                self.hide(value, "value", users);
            }
        }
        match exchange.get_mut("told").and_then(Value::as_object_mut) {
            Some(told) if told.contains_key("keys") => {
                let keys = told.values_mut().filter_map(Value::as_array_mut);
                keys.flatten().for_each(&mut hide_key);
            }
            Some(told) => told
                .iter_mut()
                .for_each(|(key, value)| self.hide(value, key, users)),
            None => {}
        }
        // A message about a call names its key.
        if let Some(Value::String(message)) = exchange
            .get_mut("error")
            .and_then(|error| error.get_mut("message"))
        {
            for (key, hidden) in changed.iter().filter(|(key, _)| !key.is_empty()) {
                *message = message.replace(key, hidden);
            }
            *message = self.string(message, users);
        }
    }

    /// A key with the same granted prefix and as many parts.
    fn key(&self, key: &str, users: &[Vec<u8>]) -> String {
        let (prefix, mut rest) = key.split_at(self.learned.granted(key));
        let mut hidden = prefix.to_owned();
        while !rest.is_empty() {
            // An IPv6 address has separators of its own.
            let address = address_at(b"", rest.as_bytes()).filter(|(address, _)| address.is_ipv6());
            if let Some((address, length)) = address {
                hidden += &self.address(address).to_string();
                rest = rest.get(length..).unwrap_or_default();
                continue;
            }
            let end = rest.find(SEPARATORS).unwrap_or(rest.len());
            let (part, behind) = rest.split_at(end);
            hidden += &self.key_part(part, users);
            hidden.extend(behind.chars().next());
            rest = behind.get(1..).unwrap_or_default();
        }
        hidden
    }

    fn key_part(&self, part: &str, users: &[Vec<u8>]) -> String {
        let hidden = self.string(part, users);
        let is_hidden = hidden != part || pseudonym_at(part.as_bytes()) == Some(part.len());
        match part.is_empty() || is_hidden {
            true => hidden,
            false => self.user(part.as_bytes()),
        }
    }
}
