//! Words that a policy was told from outside and may have put elsewhere: into headers, variables, targets.
//!
//! The body of a response is hidden, and so are keys; a copy of their words is hidden as they are. A word that the router received in a
//! message as well, or that is in its configuration, is no secret of theirs and stays; users in URIs and addresses are hidden wherever
//! they are, so that they are left alone here. The words are remembered for what runs later in the same calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::address::address_at;
use super::{
    ADDRESSES, FIXED, MESSAGES, Redactor, ends_with_scheme, find_users, is_message, is_word, store,
    user_at,
};

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
                find_users(text.as_bytes(), &mut users);
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
        let received = received.filter_map(Value::as_str).flat_map(words);
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
                pair.iter_mut().skip(1).for_each(|item| self.hide(item, ""));
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
    let is_number = || {
        before
            .last_chunk::<4>()
            .is_some_and(|end| end.eq_ignore_ascii_case(b"tel:"))
    };
    let user = ends_with_scheme(before).then(|| user_at(rest, is_number()));
    let user = user.flatten().map(<[u8]>::len);
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
mod tests {
    use std::net::SocketAddr;

    use super::super::super::file::Line;
    use super::super::super::model::{
        Act, Answer, ContactTrace, EventTrace, FlowTrace, HookTrace, MessageTrace, Outcome,
        TargetTrace,
    };
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

    fn get(key: &str) -> Answer {
        Answer::Keyvalue(Box::new(KeyValueExchange {
            request: KeyValueCall::Get {
                key: key.to_owned(),
            },
            told: Some(KeyValueTold::Value(None)),
            error: None,
        }))
    }

    fn read(line: &str) -> HookTrace {
        match serde_json::from_str(line) {
            Ok(Line::Run(trace)) => *trace,
            other => panic!("{other:?} in {line}"),
        }
    }

    fn target(uri: &str, remote: &str) -> TargetTrace {
        TargetTrace {
            uri: Text(uri.as_bytes().to_vec()),
            q: 1000,
            group: 0,
            path: Vec::new(),
            flow: Some(FlowTrace {
                transport: "udp".to_owned(),
                remote: remote.parse().expect("an address"),
                local: "127.0.0.1:5060".parse().expect("an address"),
                listener: 0,
            }),
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        }
    }

    #[test]
    fn addresses_stay_addresses_whatever_was_told() {
        let remotes = ["203.0.113.5:5060", "[2001:db8:cafe::7]:5060"];
        for body in ["5060 203.0.113.5, cafe", "[2001:db8:cafe::7]", "cafe 127"] {
            let mut trace = trace_of("X-User: <sip:5060@h>, <sip:2001@h>\r\n", "");
            let contact = |remote: &&str| ContactTrace {
                uri: format!("sip:bob@{remote}"),
                q: 1000,
                expires_secs: 60,
                received: (*remote).to_owned(),
                user_agent: String::new(),
                instance: None,
                path: Vec::new(),
                flow: target("", remote).flow,
            };
            trace.answers = vec![
                get("rate/203.0.113.5"),
                get("rate/2001:db8:cafe::7"),
                get("rate/5060/cafe/113.5"),
                response(body),
                Answer::Lookup {
                    aor: "sip:bob@example.com".to_owned(),
                    contacts: remotes.iter().map(contact).collect(),
                    error: None,
                },
            ];
            let uri = |remote: &str| format!("sip:bob@{remote}");
            let targets = remotes.iter().map(|remote| target(&uri(remote), remote));
            trace.effects.targets = targets.collect();
            let mut redactor = redactor();
            let text = line(&mut redactor, &trace);
            let hidden = read(&text);
            for (target, remote) in hidden.effects.targets.iter().zip(remotes) {
                let remote: SocketAddr = remote.parse().expect("an address");
                let remote = SocketAddr::new(redactor.address(remote.ip()), remote.port());
                let flow = target.flow.as_ref().expect("a flow");
                assert_eq!(flow.remote, remote);
                let uri = format!("sip:{}@{remote}", redactor.user(b"bob"));
                assert_eq!(target.uri.lossy(), uri, "{text}");
                assert!(
                    text.contains(&format!("\"received\":\"{remote}\"")),
                    "{text}"
                );
            }
            let ipv6 = "2001:db8:cafe::7".parse().expect("an address");
            let key = format!("\"rate/{}\"", redactor.address(ipv6));
            assert!(
                !text.contains("203.0.113.5") && !text.contains("db8"),
                "{text}"
            );
            assert!(!text.contains("rate/2001"), "{key} {text}");
        }
    }

    #[test]
    fn users_that_are_parts_of_keys_are_hidden_once() {
        let mut trace = trace_of("", "");
        trace.answers = vec![get("forward/carol"), response("\"dave\"")];
        trace.effects.targets = vec![
            target("sip:carol;x=1@example.com", "127.0.0.1:5060"),
            target("sip:dave@example.com", "127.0.0.1:5060"),
        ];
        trace.effects.reply_headers = header("X-To", "carol, <sip:carol@example.com>");
        let mut redactor = redactor();
        let hidden = line(&mut redactor, &trace);
        let user = redactor.user(b"carol");
        let dave = redactor.user(b"dave");
        assert!(
            hidden.contains(&format!("sip:{dave}@example.com")),
            "{hidden}"
        );
        assert!(
            hidden.contains(&format!("{user},<sip:{user}@example.com>")),
            "{hidden}"
        );
        // The call that was forwarded to her is forwarded once more.
        let mut next = trace_of("X-To: <sip:carol@example.com>\r\n", "");
        next.answers = vec![get("forward/dave")];
        next.effects.targets = vec![target("sip:carol@example.com", "127.0.0.1:5060")];
        let hidden = read(&line(&mut redactor, &next));
        let request = hidden.request().expect("a message");
        let uri = format!("sip:{user}@example.com");
        assert_eq!(hidden.effects.targets[0].uri.lossy(), uri);
        assert_eq!(request.header("X-To"), Some(format!("<{uri}>").as_bytes()));
    }

    #[test]
    fn a_value_that_is_no_text_is_still_one() {
        let set = |value: &[u8]| {
            Answer::Keyvalue(Box::new(KeyValueExchange {
                request: KeyValueCall::Set {
                    key: "a".to_owned(),
                    value: Text(value.to_vec()),
                    ttl_secs: None,
                },
                told: Some(KeyValueTold::Done),
                error: None,
            }))
        };
        let mut trace = trace_of("", "");
        trace.answers = vec![set(&[0xff]), set(b"")];
        let hidden = read(&line(&mut redactor(), &trace));
        for (hidden, asked) in hidden.answers.iter().zip(&trace.answers) {
            let (Answer::Keyvalue(hidden), Answer::Keyvalue(asked)) = (hidden, asked) else {
                panic!("calls of the store");
            };
            assert!(hidden.request.may_hide(&asked.request), "{hidden:?}");
        }
        assert_ne!(hidden.answers[0], hidden.answers[1]);
    }

    #[test]
    fn reasons_and_names_of_timers_are_hidden_as_other_copies() {
        let mut redactor = redactor();
        let mut trace = trace_of("", "");
        let name = "premium-7".to_owned();
        trace.answers = vec![
            response("premium-7 Forbidden"),
            Answer::Act {
                act: Act::SetTimer {
                    name: name.clone(),
                    delay_ms: 5,
                },
                answer: 0,
                error: None,
            },
        ];
        trace.outcome = Outcome::Verdict {
            verdict: "reply".to_owned(),
            status: Some(403),
            reason: "Forbidden premium-7".to_owned(),
        };
        let hidden = line(&mut redactor, &trace);
        assert!(!hidden.contains("premium-7"), "{hidden}");
        assert!(
            hidden.contains("\"reason\":\"Forbidden xxxxxxxxx\""),
            "{hidden}"
        );
        let mut later = trace_of("", "");
        later.input.event = Some(EventTrace::Timer { name });
        let hidden = read(&line(&mut redactor, &later));
        let name = "xxxxxxxxx".to_owned();
        assert_eq!(hidden.input.event, Some(EventTrace::Timer { name }));
    }

    #[test]
    fn a_policy_that_does_not_go_by_a_body_makes_the_same_of_it() {
        let mut redactor = redactor();
        redactor.learned.take(&serde_json::json!({"environment": {
            "domains": ["example.com"],
            "settings": {"carrier": "north", "by": "sip:zoey@example.com"},
            "write_headers": ["X-Class"],
        }}));
        let mut trace = trace_of("X-Kept: kept\r\n", "");
        let told = "{\"carrier\": \"north\", \"example.com\": true, \"X-Class\": null, \"a\": [\"kept\", \"zoey\"]}";
        trace.answers = vec![response(told), response("true")];
        trace.effects.reply_headers = header("X-Class", "north carrier=true; kept@example.com");
        trace.effects.variables = Some(vec![("carrier".to_owned(), "north".to_owned())]);
        let hidden = read(&line(&mut redactor, &trace));
        assert_eq!(hidden.effects, trace.effects);
        assert_eq!(hidden.outcome, trace.outcome);
        // A user of the configuration is hidden there.
        trace.effects.reply_headers = header("X-Class", "zoey");
        let hidden = line(&mut redactor, &trace);
        assert!(hidden.contains("\"xxxx\""), "{hidden}");
    }

    #[test]
    fn only_the_latest_words_are_remembered() {
        let mut learned = Learned::default();
        for number in 0..MAX_WORDS {
            learned.add(&format!("word-{number}"), Source::Body);
        }
        learned.add("word-0", Source::Key);
        assert!(learned.meet("word-1"));
        for number in MAX_WORDS..MAX_WORDS + 10 {
            learned.add(&format!("word-{number}"), Source::Body);
        }
        assert_eq!(learned.words.len(), MAX_WORDS);
        assert_eq!(learned.by_time.len(), MAX_WORDS);
        assert!(learned.words.contains_key("word-0") && learned.words.contains_key("word-1"));
        assert!(!learned.words.contains_key("word-11"));
        assert!(learned.words.contains_key("word-12"));
    }
}
