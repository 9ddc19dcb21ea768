//! Words that a policy was told from outside and may have put elsewhere: into headers, variables, targets.
//!
//! The body of a response is hidden, and so are keys; a copy of their words is hidden as they are. A word that the router received in a
//! message as well, or that is in its configuration, is no secret of theirs and stays; users in URIs and addresses are hidden wherever
//! they are, so that they are left alone here. The words are remembered for what runs later in the same calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use patchbay_message::HeaderName;
use serde::Deserialize;
use serde_json::Value;

use super::super::text::Text;
use super::address::address_at;
use super::keyless::has_no_users;
use super::users::{self, scheme_before, user_at};
use super::{ADDRESSES, FIXED, MESSAGES, Redactor, is_message, is_word, store};

/// Words that are remembered; those that were not met for the longest time go first.
const MAX_WORDS: usize = 4096;
/// Prefixes of keys that are remembered.
const MAX_PREFIXES: usize = 1024;
/// A shorter word of a body is part of too many texts to be looked for.
const MIN_WORD: usize = 4;
/// The same of a key.
const MIN_KEY_PART: usize = 3;
/// A number of fewer digits is a port, a count or a time.
const MIN_DIGITS: usize = 6;
/// Where pairs of a name and a value are.
const PAIRS: [&str; 4] = [
    "variables",
    "reply_headers",
    "record_route_parameters",
    "headers",
];
/// Keys of bodies, which are hidden as such.
const BODIES: [&str; 2] = ["body", "reply_body"];
/// What a policy makes, or has made before.
const MADE: [&str; 9] = [
    "/run/effects",
    "/run/outcome",
    "/run/answers",
    "/run/input/event",
    "/run/input/variables",
    "/run/input/record_route_parameters",
    "/run/input/before",
    "/run/input/request/current",
    "/run/input/response/current",
];
/// What the router received.
const RECEIVED: [&str; 2] = [
    "/run/input/request/received",
    "/run/input/response/received",
];

/// Words of JSON, of headers and of reason phrases that are in many a body and are nobody's.
const COMMON: [&str; 22] = [
    "true",
    "false",
    "null",
    "transport",
    "user",
    "phone",
    "cause",
    "text",
    "reason",
    "application",
    "Trying",
    "Ringing",
    "Moved",
    "Temporarily",
    "Forbidden",
    "Found",
    "Timeout",
    "Unavailable",
    "Busy",
    "Here",
    "Decline",
    "Service",
];

/// What was told so far.
#[derive(Default)]
pub(super) struct Learned {
    prefixes: Vec<String>,
    /// Each with the time when it was met last.
    words: HashMap<String, (Source, u64)>,
    /// Words by that time.
    by_time: BTreeMap<u64, String>,
    now: u64,
    /// Words of the environments, which the recording has in clear.
    open: HashSet<String>,
}

/// Where a word was, which says how it is hidden there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Body,
    Key,
}

/// What is hidden in one line.
struct Line<'a> {
    redactor: &'a Redactor,
    /// Bodies of this line, to hide whole copies as the bodies are.
    bodies: Vec<String>,
    received: HashSet<String>,
    /// Words that were hidden.
    met: RefCell<HashSet<String>>,
}

impl Learned {
    /// Takes what this line tells.
    pub(super) fn take(&mut self, line: &Value) {
        let grants = line.pointer("/environment/keyvalue");
        for prefix in strings(grants) {
            if self.prefixes.len() < MAX_PREFIXES && !self.prefixes.iter().any(|p| p == prefix) {
                self.prefixes.push(prefix.to_owned());
            }
        }
        if let Some(environment) = line.get("environment") {
            self.open_words(environment);
        }
        for answer in answers(line) {
            if let Some(body) = body(answer) {
                outside_of_addresses(body)
                    .into_iter()
                    .flat_map(words)
                    .filter(|word| is_telling(word, MIN_WORD))
                    .for_each(|word| self.add(word, Source::Body));
            }
            if answer.as_object().is_some_and(store::is_exchange) {
                for key in store::keys(answer) {
                    let rest = key.get(self.granted(key)..).unwrap_or_default();
                    outside_of_addresses(rest)
                        .into_iter()
                        .flat_map(store::parts)
                        .filter(|part| part.bytes().all(is_word) && is_telling(part, MIN_KEY_PART))
                        .for_each(|part| self.add(part, Source::Key));
                }
            }
        }
    }

    /// Takes the words of an environment, names of settings among them, but for its users: these are hidden there, too.
    fn open_words(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let mut users = Vec::new();
                users::find(text.as_bytes(), &mut users);
                let is_user = |word: &&str| users.iter().any(|user| user == word.as_bytes());
                let open = words(text).filter(|word| !is_user(word));
                self.open.extend(open.map(str::to_owned));
            }
            Value::Array(list) => list.iter().for_each(|item| self.open_words(item)),
            Value::Object(map) => {
                for (key, item) in map {
                    self.open.extend(words(key).map(str::to_owned));
                    self.open_words(item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn is_open(&self, word: &str) -> bool {
        COMMON.contains(&word) || self.open.contains(word)
    }

    fn add(&mut self, word: &str, source: Source) {
        if self.is_open(word) || self.meet(word) {
            return;
        }
        if self.words.len() >= MAX_WORDS
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.words.remove(&oldest);
        }
        self.now += 1;
        self.by_time.insert(self.now, word.to_owned());
        self.words.insert(word.to_owned(), (source, self.now));
    }

    /// Keeps a word for longer; whether it is known.
    fn meet(&mut self, word: &str) -> bool {
        let Some((_, time)) = self.words.get_mut(word) else {
            return false;
        };
        self.now += 1;
        if let Some(word) = self.by_time.remove(time) {
            self.by_time.insert(self.now, word);
        }
        *time = self.now;
        true
    }

    /// How long the granted prefix of a key is.
    pub(super) fn granted(&self, key: &str) -> usize {
        let granted = self
            .prefixes
            .iter()
            .filter(|prefix| key.starts_with(*prefix));
        granted.map(String::len).max().unwrap_or(0)
    }
}

impl Redactor {
    /// Hides what was told in all that the policy made in this line.
    pub(super) fn hide_copies(&mut self, line: &mut Value) {
        if self.learned.words.is_empty() {
            return;
        }
        let received = RECEIVED.iter().filter_map(|place| line.pointer(place));
        let received: Vec<String> = received
            .filter_map(|message| Text::deserialize(message).ok())
            .map(|message| message.lossy())
            .collect();
        let received = received.iter().flat_map(|message| words(message));
        let mut hidden = Line {
            redactor: self,
            bodies: Vec::new(),
            received: received.map(str::to_owned).collect(),
            met: RefCell::default(),
        };
        hidden.bodies = answers(line)
            .filter_map(body)
            .filter(|body| {
                let mut words = outside_of_addresses(body).into_iter().flat_map(words);
                words.any(|word| hidden.source(word).is_some())
            })
            .map(str::to_owned)
            .collect();
        for place in MADE {
            let key = place.rsplit('/').next().unwrap_or_default();
            if let Some(made) = line.pointer_mut(place) {
                hidden.hide(made, key);
            }
        }
        for word in hidden.met.into_inner() {
            self.learned.meet(&word);
        }
    }
}

impl Line<'_> {
    fn hide(&self, value: &mut Value, key: &str) {
        match value {
            Value::String(_) if FIXED.contains(&key) || ADDRESSES.contains(&key) => {}
            Value::String(text) if MESSAGES.contains(&key) && is_message(text) => {
                *text = self.message(text);
            }
            Value::String(text) => *text = self.text(text),
            Value::Array(pair)
                if PAIRS.contains(&key) && pair.first().is_some_and(Value::is_string) =>
            {
                let name = pair.first().and_then(Value::as_str).unwrap_or_default();
                if key != "reply_headers" || !is_of_protocol(name) {
                    pair.iter_mut().skip(1).for_each(|item| self.hide(item, ""));
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|item| self.hide(item, key)),
            Value::Object(map) if store::is_exchange(map) => {
                let error = map.get_mut("error");
                error.into_iter().for_each(|error| self.hide(error, ""));
            }
            Value::Object(map) => map
                .iter_mut()
                .filter(|(key, _)| !BODIES.contains(&key.as_str()))
                .for_each(|(key, item)| self.hide(item, key)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The names of headers stay, and so does the body.
    fn message(&self, text: &str) -> String {
        let (head, body) = text.split_at(text.find("\r\n\r\n").unwrap_or(text.len()));
        let line = |line: &str| match line.split_once(':') {
            Some((name, _)) if is_of_protocol(name) => line.to_owned(),
            Some((name, value)) if name.bytes().all(is_word) => {
                format!("{name}:{}", self.text(value))
            }
            _ => self.text(line),
        };
        let lines: Vec<String> = head.split("\r\n").map(line).collect();
        lines.join("\r\n") + body
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for body in &self.bodies {
            text = text.replace(body, &"x".repeat(body.len()));
        }
        let mut hidden = String::with_capacity(text.len());
        let mut at = 0;
        while let Some((before, rest)) = text.split_at_checked(at)
            && !rest.is_empty()
        {
            let length = kept_at(before.as_bytes(), rest.as_bytes());
            let (taken, is_kept) = match length {
                Some(length) => (length, true),
                None => (word_at(rest), false),
            };
            let Some(taken) = rest.get(..taken.max(1)) else {
                // Users are cut at ASCII letters, words at letters: this is out of reach.
                hidden.push_str(rest);
                break;
            };
            match is_kept {
                true => hidden.push_str(taken),
                false => self.word(taken, &mut hidden),
            }
            at += taken.len();
        }
        hidden
    }

    fn word(&self, word: &str, hidden: &mut String) {
        let Some(source) = self.source(word) else {
            hidden.push_str(word);
            return;
        };
        self.met.borrow_mut().insert(word.to_owned());
        match source {
            Source::Body => hidden.extend(std::iter::repeat_n('x', word.len())),
            Source::Key => hidden.push_str(&self.redactor.user(word.as_bytes())),
        }
    }

    /// Where a word is from that is hidden in this line.
    fn source(&self, word: &str) -> Option<Source> {
        let learned = &self.redactor.learned;
        let (source, _) = learned.words.get(word)?;
        (!self.received.contains(word) && !learned.is_open(word)).then_some(*source)
    }
}

/// How long what begins here is that is hidden elsewhere: the user of a URI, or an address.
fn kept_at(before: &[u8], rest: &[u8]) -> Option<usize> {
    let user = scheme_before(before).and_then(|scheme| user_at(rest, scheme));
    let user = user.map(<[u8]>::len);
    user.or_else(|| address_at(before, rest).map(|(_, length)| length))
}

/// How long the word is that this begins with, or what is between words.
fn word_at(rest: &str) -> usize {
    let begins = rest.bytes().next().is_some_and(is_word);
    let ends = |byte: u8| is_word(byte) != begins;
    match begins {
        true => rest.bytes().position(ends).unwrap_or(rest.len()),
        // A URI or an address may begin behind any of these.
        false => 1,
    }
}

/// The pieces between addresses.
fn outside_of_addresses(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut begun, mut at) = (0, 0);
    while let Some(rest) = text.as_bytes().get(at..).filter(|rest| !rest.is_empty()) {
        let before = text.as_bytes().get(..at).unwrap_or_default();
        match address_at(before, rest) {
            Some((_, length)) => {
                pieces.extend(text.get(begun..at));
                at += length;
                begun = at;
            }
            None => at += 1,
        }
    }
    pieces.extend(text.get(begun..));
    pieces
}

fn is_of_protocol(header: &str) -> bool {
    has_no_users(HeaderName::from_bytes(header.trim().as_bytes()))
}

fn answers(line: &Value) -> impl Iterator<Item = &Value> {
    let answers = line.pointer("/run/answers").and_then(Value::as_array);
    answers.into_iter().flatten()
}

/// The body of a response over HTTP.
fn body(answer: &Value) -> Option<&str> {
    answer.pointer("/response/body")?.as_str()
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    // The bytes of a letter that is not ASCII are all of a word.
    text.split(|letter: char| letter.is_ascii() && !is_word(letter as u8))
        .filter(|word| !word.is_empty())
}

/// Whether a word of so many letters is to be looked for. Addresses are hidden wherever they are.
fn is_telling(word: &str, min: usize) -> bool {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.len() >= if is_number { MIN_DIGITS } else { min }
        && address_at(b"", word.as_bytes()).is_none()
}

#[cfg(test)]
mod tests;
