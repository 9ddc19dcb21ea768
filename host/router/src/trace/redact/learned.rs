//! Words that a policy was told from outside and may have put elsewhere: into headers, variables, targets.
//!
//! The body of a response is hidden, and so are keys; a copy of their words is hidden as they are. A word that the router received in a
//! message as well is no secret of theirs and stays. The words are remembered for what runs later in the same calls.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::address::address_at;
use super::{FIXED, MESSAGES, Redactor, is_message, is_word, store};

/// Words that are remembered; the oldest go first.
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
/// What a policy makes, or has made before.
const MADE: [&str; 7] = [
    "/run/effects",
    "/run/answers",
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

/// What was told so far.
#[derive(Default)]
pub(super) struct Learned {
    prefixes: Vec<String>,
    words: HashMap<String, Source>,
    oldest: VecDeque<String>,
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
        for answer in answers(line) {
            if let Some(body) = body(answer) {
                words(body)
                    .filter(|word| is_telling(word))
                    .for_each(|word| self.add(word, Source::Body));
            }
            if answer.as_object().is_some_and(store::is_exchange) {
                for key in store::keys(answer) {
                    let rest = key.get(self.granted(key)..).unwrap_or_default();
                    let parts: Vec<&str> = store::parts(rest).collect();
                    parts
                        .into_iter()
                        .filter(|part| part.len() >= MIN_KEY_PART && part.bytes().all(is_word))
                        .for_each(|part| self.add(part, Source::Key));
                }
            }
        }
    }

    fn add(&mut self, word: &str, source: Source) {
        if self.words.contains_key(word) {
            return;
        }
        if self.oldest.len() >= MAX_WORDS
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.words.remove(&oldest);
        }
        self.oldest.push_back(word.to_owned());
        self.words.insert(word.to_owned(), source);
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
    pub(super) fn hide_copies(&self, line: &mut Value) {
        if self.learned.words.is_empty() {
            return;
        }
        let received = RECEIVED.iter().filter_map(|place| line.pointer(place));
        let received = received.filter_map(Value::as_str).flat_map(words);
        let hidden = Line {
            redactor: self,
            bodies: answers(line)
                .filter_map(body)
                .filter(|body| body.len() >= MIN_WORD)
                .map(str::to_owned)
                .collect(),
            received: received.map(str::to_owned).collect(),
        };
        for place in MADE {
            let key = place.rsplit('/').next().unwrap_or_default();
            if let Some(made) = line.pointer_mut(place) {
                hidden.hide(made, key);
            }
        }
    }
}

impl Line<'_> {
    fn hide(&self, value: &mut Value, key: &str) {
        match value {
            Value::String(_) if FIXED.contains(&key) => {}
            Value::String(text) if MESSAGES.contains(&key) && is_message(text) => {
                *text = self.message(text);
            }
            Value::String(text) => *text = self.text(text),
            Value::Array(pair)
                if PAIRS.contains(&key) && pair.first().is_some_and(Value::is_string) =>
            {
                pair.iter_mut().skip(1).for_each(|item| self.hide(item, ""));
            }
            Value::Array(list) => list.iter_mut().for_each(|item| self.hide(item, key)),
            Value::Object(map) if store::is_exchange(map) => {
                let error = map.get_mut("error");
                error.into_iter().for_each(|error| self.hide(error, ""));
            }
            Value::Object(map) => map
                .iter_mut()
                .filter(|(key, _)| *key != "body")
                .for_each(|(key, item)| self.hide(item, key)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The names of headers stay, and so does the body.
    fn message(&self, text: &str) -> String {
        let (head, body) = text.split_at(text.find("\r\n\r\n").unwrap_or(text.len()));
        let line = |line: &str| match line.split_once(':') {
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
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let word = rest.bytes().position(|byte| !is_word(byte));
            let (word, after) = rest.split_at(word.unwrap_or(rest.len()));
            self.word(word, &mut hidden);
            let other = after.bytes().position(is_word).unwrap_or(after.len());
            let (other, after) = after.split_at(other);
            hidden.push_str(other);
            rest = after;
        }
        hidden
    }

    fn word(&self, word: &str, hidden: &mut String) {
        let known = self.redactor.learned.words.get(word);
        match known.filter(|_| !self.received.contains(word)) {
            Some(Source::Body) => hidden.extend(std::iter::repeat_n('x', word.len())),
            Some(Source::Key) => hidden.push_str(&self.redactor.user(word.as_bytes())),
            None => hidden.push_str(word),
        }
    }
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

/// Whether a word of a body is to be looked for. Addresses are hidden wherever they are.
fn is_telling(word: &str) -> bool {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.len() >= if is_number { MIN_DIGITS } else { MIN_WORD }
        && address_at(b"", word.as_bytes()).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Line;
    use super::super::super::model::{Answer, HookTrace, MessageTrace};
    use super::super::super::outside::{
        HttpExchange, KeyValueCall, KeyValueExchange, KeyValueTold, RequestTrace, ResponseTrace,
    };
    use super::super::super::scrub::tests::trace_of;
    use super::super::super::text::Text;
    use super::super::tests::redactor;
    use super::*;

    fn line(redactor: &mut Redactor, trace: &HookTrace) -> String {
        let json = redactor.line(&Line::Run(Box::new(trace.clone())));
        String::from_utf8(json.expect("JSON")).expect("text")
    }

    fn response(body: &str) -> Answer {
        Answer::Http(Box::new(HttpExchange {
            request: RequestTrace {
                method: "GET".to_owned(),
                url: "http://lcr.example/".to_owned(),
                headers: Vec::new(),
                body: Text::default(),
            },
            response: Some(ResponseTrace {
                status: 200,
                headers: Vec::new(),
                body: Text(body.as_bytes().to_vec()),
            }),
            error: None,
        }))
    }

    fn header(name: &str, value: &str) -> Vec<(Text, Text)> {
        let text = |text: &str| Text(text.as_bytes().to_vec());
        vec![(text(name), text(value))]
    }

    #[test]
    fn copies_of_a_body_are_hidden_as_the_body_is() {
        let mut redactor = redactor();
        let mut trace = trace_of("X-Class: shared\r\n", "");
        trace.answers = vec![response(
            "{\"route\": \"premium-7\", \"class\": \"shared\"}",
        )];
        trace.effects.reply_headers = header("X-Route", "to premium-7, shared");
        let hidden = line(&mut redactor, &trace);
        assert!(!hidden.contains("premium-7"), "{hidden}");
        assert!(hidden.contains("to xxxxxxxxx, shared"), "{hidden}");

        // A hook that runs later has it in its message.
        let mut later = trace_of("", "");
        let with_route = trace_of("X-Route: premium-7\r\nclass: kept\r\n", "");
        let with_route = with_route.input.request.expect("a request").received;
        later.input.request = later.input.request.map(|message| MessageTrace {
            current: Some(with_route),
            ..message
        });
        let hidden = line(&mut redactor, &later);
        assert!(!hidden.contains("premium-7"), "{hidden}");
        assert!(hidden.contains("X-Route: xxxxxxxxx"), "{hidden}");
        assert!(hidden.contains("class: kept"), "{hidden}");

        let mut whole = trace_of("", "");
        whole.answers = vec![response("two words")];
        whole.effects.reply_headers = header("X-All", "200 two words");
        let hidden = line(&mut redactor, &whole);
        assert!(hidden.contains("\"200 xxxxxxxxx\""), "{hidden}");
    }

    #[test]
    fn keys_are_hidden_behind_their_grant_and_so_are_copies() {
        let mut redactor = redactor();
        let grants = serde_json::json!({"environment": {"keyvalue": ["calls/"]}});
        redactor.learned.take(&grants);
        let mut trace = trace_of("X-Tenant: kept\r\n", "");
        let exchange = |request, told| {
            Answer::Keyvalue(Box::new(KeyValueExchange {
                request,
                told: Some(told),
                error: None,
            }))
        };
        let get = KeyValueCall::Get {
            key: "calls/load/kept".to_owned(),
        };
        let list = KeyValueCall::ListKeys {
            prefix: "calls/".to_owned(),
            after: String::new(),
        };
        let keys = vec!["calls/zoe".to_owned()];
        trace.answers = vec![
            exchange(get, KeyValueTold::Value(None)),
            exchange(list, KeyValueTold::Keys(keys)),
        ];
        trace.effects.reply_headers = header("X-Keys", "zoe load");
        let hidden = line(&mut redactor, &trace);
        for gone in ["load", "zoe"] {
            assert!(!hidden.contains(gone), "{gone} is in {hidden}");
        }
        let (load, kept) = (redactor.user(b"load"), redactor.user(b"kept"));
        let zoe = redactor.user(b"zoe");
        assert!(
            hidden.contains(&format!("\"calls/{load}/{kept}\"")),
            "{hidden}"
        );
        assert!(hidden.contains(&format!("[\"calls/{zoe}\"]")), "{hidden}");
        assert!(hidden.contains(&format!("\"{zoe} {load}\"")), "{hidden}");
        assert!(hidden.contains("X-Tenant: kept"), "{hidden}");
    }

    #[test]
    fn only_the_latest_words_are_remembered() {
        let mut learned = Learned::default();
        for number in 0..MAX_WORDS + 10 {
            learned.add(&format!("word-{number}"), Source::Body);
        }
        assert_eq!(learned.words.len(), MAX_WORDS);
        assert!(!learned.words.contains_key("word-9"));
        assert!(learned.words.contains_key("word-10"));
    }
}
