//! Hides users and addresses, the same one always in the same way, so that a recording can be given away and still be replayed.
//!
//! A user becomes `u` with a keyed digest. An address becomes another one that has as many leading bits in common with every other hidden
//! address as the two had before, so that `10.1.2.3` stays inside of what `10.0.0.0/8` became (Xu, Fan, Ammar, Moon:
//! Prefix-preserving IP address anonymization, 2002). Loopback and unspecified addresses hide nobody and stay. The key is made for the
//! recording and kept nowhere.

mod address;
mod display_names;
mod http;
mod keyless;
mod learned;
mod numbers;
mod secrets;
mod store;
mod users;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use patchbay_message::{HeaderName, Message, Name};
use rand::TryRngCore;
use serde::Serialize;
use serde_json::{Value, json};

use self::learned::Learned;
use self::users::{Scheme, is_name, scheme_before, user_at};
use super::scrub::rewritten;
use super::text::Text;

pub(super) use self::address::address_at;
pub(super) use self::http::decoded;
pub(super) use self::keyless::hide_as_in;

/// Keys whose texts are words of the format, the names of policies, or digests.
const FIXED: [&str; 14] = [
    "hook",
    "kind",
    "asked",
    "call",
    "level",
    "method",
    "answer",
    "verdict",
    "fault",
    "policy",
    "version",
    "transport",
    "armed",
    "router",
];
/// Keys whose texts are messages.
const MESSAGES: [&str; 3] = ["received", "current", "message"];
/// Keys whose texts are an address with a port, and nothing else: a file without these is not read again.
const ADDRESSES: [&str; 5] = ["remote", "local", "received", "address", "configured"];
/// Keys whose texts may begin with somebody's name in front of a URI.
const NAMED: [&str; 2] = ["path", "variables"];
/// So many letters at least stand for bytes that are no text: as few as are taken for hidden ones.
const MIN_HIDDEN_BYTES: usize = 4;
/// A shorter user is part of too many words to be looked for.
const MIN_USER: usize = 2;
/// Digits of a digest that stand for a user.
const PSEUDONYM_DIGITS: usize = 10;

/// Hides users and addresses with the key of one recording.
pub(super) struct Redactor {
    key: [u8; 32],
    learned: Learned,
}

/// A part of a text.
enum Part<'a> {
    User(&'a [u8]),
    Address(IpAddr, usize),
    /// So many bytes that say who somebody is in a form that is not looked into.
    Token(usize),
    Other,
}

impl Redactor {
    pub(super) fn new() -> io::Result<Redactor> {
        let mut key = [0; 32];
        rand::rngs::OsRng
            .try_fill_bytes(&mut key)
            .map_err(io::Error::other)?;
        Ok(Redactor {
            key,
            learned: Learned::default(),
        })
    }

    /// A line of a recording, in JSON.
    pub(super) fn line(&mut self, line: &impl Serialize) -> serde_json::Result<Vec<u8>> {
        let mut value = serde_json::to_value(line)?;
        let mut users = Vec::new();
        users::find_in_line(&value, &mut users);
        numbers::find(&value, &mut users);
        if let Some(user) = value
            .pointer("/run/input/verified_user")
            .and_then(Value::as_str)
            .and_then(|user| user.split('@').next())
        {
            users.push(user.as_bytes().to_vec());
        }
        users.retain(|user| user.len() >= MIN_USER);
        // The longest first, and equal ones beside each other.
        users.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        users.dedup();
        self.learned.take(&value);
        self.hide_copies(&mut value);
        self.hide(&mut value, "", &users);
        serde_json::to_vec(&value)
    }

    fn hide(&self, value: &mut Value, key: &str, users: &[Vec<u8>]) {
        match value {
            Value::String(_) if FIXED.contains(&key) => {}
            Value::String(text) if MESSAGES.contains(&key) && is_message(text) => {
                let hidden = self.message(&Text(text.as_bytes().to_vec()), users);
                *text = hidden.lossy();
            }
            Value::String(text) if ADDRESSES.contains(&key) => *text = self.string(text, &[]),
            Value::String(text) if NAMED.contains(&key) => {
                let hidden = self.text(&keyless::without_name(text.as_bytes()), users);
                *text = String::from_utf8_lossy(&hidden).into_owned();
            }
            Value::String(text) => *text = self.string(text, users),
            Value::Array(headers) if key == "reply_headers" => {
                let headers = headers.iter_mut();
                headers.for_each(|header| self.reply_header(header, users));
            }
            Value::Array(_) if key == "reply_body" => *value = self.reply_body(value, users),
            Value::Array(list) => list.iter_mut().for_each(|item| self.hide(item, key, users)),
            Value::Object(map) if map.contains_key("hex") && key != "settings" => {
                let text: Text = serde_json::from_value(value.take()).unwrap_or_default();
                // Bytes that are neither text nor a message can't be looked through.
                let hidden = match MESSAGES.contains(&key) {
                    true => self.message(&text, users),
                    false if key == "value" => Text(vec![b'x'; text.0.len().max(MIN_HIDDEN_BYTES)]),
                    false => Text::default(),
                };
                *value = json!(hidden);
            }
            Value::Object(map) if http::is_exchange(map) => self.exchange(map, users),
            Value::Object(map) if store::is_exchange(map) => self.store_exchange(map, users),
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    self.hide(item, key, users);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn message(&self, text: &Text, users: &[Vec<u8>]) -> Text {
        let uri = |uri: &[u8]| self.text(uri, users);
        let value = |name: Name<'_>, value: &[u8]| self.header_value(name.text(), value, users);
        rewritten(text, uri, value, |message, body| {
            self.body(message, body, users)
        })
    }

    /// A session description without names and with other addresses; of every other body nothing but its length.
    fn body(&self, message: &Message, body: &[u8], users: &[Vec<u8>]) -> Vec<u8> {
        let content_type = message.header(HeaderName::ContentType).unwrap_or_default();
        self.typed_body(content_type, body, users)
    }

    fn typed_body(&self, content_type: &[u8], body: &[u8], users: &[Vec<u8>]) -> Vec<u8> {
        // Numbers of a session description are ports and formats, whoever is called by them.
        let is_number = |user: &[u8]| user.iter().all(u8::is_ascii_digit);
        let names = users.iter().filter(|user| !is_number(user));
        let names: Vec<Vec<u8>> = names.cloned().collect();
        keyless::body(content_type, body, |line| self.text(line, &names))
    }

    fn header_value(&self, name: &[u8], value: &[u8], users: &[Vec<u8>]) -> Vec<u8> {
        let users = match keyless::has_no_users(HeaderName::from_bytes(name)) {
            true => &[],
            false => users,
        };
        self.text(&keyless::header_value(name, value), users)
    }

    /// The name of the header stays.
    fn reply_header(&self, header: &mut Value, users: &[Vec<u8>]) {
        let Some([Value::String(name), value]) = header.as_array_mut().map(Vec::as_mut_slice)
        else {
            return;
        };
        match value {
            Value::String(text) => {
                let hidden = self.header_value(name.as_bytes(), text.as_bytes(), users);
                *text = String::from_utf8_lossy(&hidden).into_owned();
            }
            other => self.hide(other, "", users),
        }
    }

    /// Content-Type and body.
    fn reply_body(&self, value: &Value, users: &[Vec<u8>]) -> Value {
        let (content_type, body): (Text, Text) =
            serde_json::from_value(value.clone()).unwrap_or_default();
        let body = self.typed_body(content_type.as_bytes(), body.as_bytes(), users);
        json!((content_type, Text(body)))
    }

    fn string(&self, text: &str, users: &[Vec<u8>]) -> String {
        String::from_utf8_lossy(&self.text(text.as_bytes(), users)).into_owned()
    }

    /// Any text: users in URIs, these users wherever they stand alone, and addresses.
    fn text(&self, text: &[u8], users: &[Vec<u8>]) -> Vec<u8> {
        let mut hidden = Vec::with_capacity(text.len() + 16);
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let before = text.get(..at).unwrap_or_default();
            let taken = match part(before, rest, scheme_before(&hidden), users) {
                Part::User(user) => {
                    hidden.extend_from_slice(self.user(user).as_bytes());
                    user.len()
                }
                Part::Address(address, length) => {
                    hidden.extend_from_slice(self.address(address).to_string().as_bytes());
                    length
                }
                Part::Token(length) => {
                    hidden.extend(std::iter::repeat_n(b'x', length));
                    length
                }
                Part::Other => {
                    hidden.extend(rest.first());
                    1
                }
            };
            at += taken;
        }
        hidden
    }

    fn user(&self, user: &[u8]) -> String {
        let digest = blake3::keyed_hash(&self.key, user).to_hex();
        format!("u{}", digest.get(..PSEUDONYM_DIGITS).unwrap_or_default())
    }

    fn address(&self, address: IpAddr) -> IpAddr {
        if address.is_loopback() || address.is_unspecified() {
            return address;
        }
        match address {
            IpAddr::V4(address) => {
                let bits = self.mapped(u128::from(address.to_bits()) << 96, 32) >> 96;
                Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default()).into()
            }
            IpAddr::V6(address) => Ipv6Addr::from_bits(self.mapped(address.to_bits(), 128)).into(),
        }
    }

    /// Each bit is turned or not, as a keyed digest of the bits before it says.
    fn mapped(&self, bits: u128, width: u32) -> u128 {
        let mut turned = 0_u128;
        for index in 0..width {
            let prefix = bits & !(u128::MAX >> index);
            let mut input = [0; 21];
            for (to, from) in input
                .iter_mut()
                .zip(prefix.to_be_bytes().into_iter().chain(index.to_be_bytes()))
            {
                *to = from;
            }
            let digest = blake3::keyed_hash(&self.key, &input);
            let turn = u128::from(digest.as_bytes().first().copied().unwrap_or_default() & 1);
            turned |= turn << (127 - index);
        }
        bits ^ turned
    }
}

fn is_message(text: &str) -> bool {
    text.contains(" SIP/2.0\r\n") || text.starts_with("SIP/2.0 ")
}

/// How long the pseudonym is that this begins with.
pub(super) fn pseudonym_at(rest: &[u8]) -> Option<usize> {
    let digits = rest.strip_prefix(b"u")?.get(..PSEUDONYM_DIGITS)?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    digits.iter().all(is_digit).then_some(PSEUDONYM_DIGITS + 1)
}

fn part<'a>(before: &[u8], rest: &'a [u8], scheme: Option<Scheme>, users: &[Vec<u8>]) -> Part<'a> {
    if let Some(user) = scheme.and_then(|scheme| user_at(rest, scheme)) {
        return Part::User(user);
    }
    if let Some(length) = secrets::token_at(before, rest) {
        return Part::Token(length);
    }
    if let Some((address, length)) = address_at(before, rest) {
        return Part::Address(address, length);
    }
    if before.last().is_some_and(|byte| is_word(*byte)) {
        return Part::Other;
    }
    let stands_alone = |user: &&Vec<u8>| {
        rest.strip_prefix(user.as_slice()).is_some_and(|after| {
            !after.first().is_some_and(|byte| is_word(*byte)) && !is_name(before, user, after)
        })
    };
    let known = users.iter().find(stands_alone).map(Vec::len);
    let known = known.filter(|length| !is_port(before, rest.get(..*length).unwrap_or_default()));
    let length = known.or_else(|| numbers::international_at(rest));
    match length.and_then(|length| rest.get(..length)) {
        Some(user) => Part::User(user),
        None => Part::Other,
    }
}

/// Whether this is the port behind a host, though there is a user of this name.
fn is_port(before: &[u8], digits: &[u8]) -> bool {
    let Some((b':', host)) = before.split_last() else {
        return false;
    };
    let start = host.iter().rposition(|byte| !is_word(*byte));
    let (before, name) = host.split_at(start.map_or(0, |start| start + 1));
    digits.iter().all(u8::is_ascii_digit)
        && match before.last() {
            Some(b']') if name.is_empty() => true,
            Some(b'@') => true,
            _ => name.contains(&b'.'),
        }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'%') || byte >= 0x80
}

#[cfg(test)]
mod tests;
