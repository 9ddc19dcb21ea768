//! `[[scenario.step]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use patchbay_message::Method;

use super::read::line;
use super::{
    Act, AnswerWith, Expect, HeaderEdit, HeaderIs, Pattern, PhoneSetup, Send, Step, StoredIs, What,
    phones,
};
use crate::config::section::{Section, nearest_word};
use crate::config::source::{Entry, Value};

/// Reads the steps of a scenario.
pub(super) fn read(scenario: &mut Section<'_>, phones: &[PhoneSetup]) -> Vec<Step> {
    let sections = scenario.sections("step").unwrap_or_default();
    let mut steps = Vec::with_capacity(sections.len());
    for mut section in sections {
        let step = Step {
            line: line(section.place()),
            after: section.duration("after", Duration::ZERO, Duration::ZERO),
            act: act(&mut section, phones),
        };
        section.finish();
        steps.push(step);
    }
    steps
}

fn act(section: &mut Section<'_>, phones: &[PhoneSetup]) -> Act {
    if section.has("send") || section.has("text") {
        return Act::Send(send(section, phones));
    }
    if section.has("expect") {
        return expectation(section, phones);
    }
    if section.has("answer") {
        return Act::Answer {
            at: phone(section, "at", phones),
            call: section.text("call"),
            answers: answers(section).unwrap_or_default(),
        };
    }
    if section.has("registered") {
        return Act::Registered(registered(section));
    }
    if section.has("counter") {
        return Act::Counted(counters(section));
    }
    if section.has("asked") {
        return Act::Asked {
            requests: requests(section),
            body: pattern(section, "body"),
        };
    }
    if section.has("keyvalue") {
        return Act::Stored(stored(section));
    }
    if !section.has("after") {
        let message = "a step says one of send, expect, answer, registered, counter, asked, keyvalue and after";
        section.problem("send", message);
    }
    Act::Wait
}

fn send(section: &mut Section<'_>, phones: &[PhoneSetup]) -> Send {
    let send = Send {
        from: phone(section, "from", phones),
        method: section.parsed("send", method).unwrap_or_default(),
        to: section.text("to"),
        uri: section.text("uri"),
        headers: edits(section),
        body: section.text("body"),
        text: section.text("text"),
        call: section.text("call"),
    };
    if let Some(to) = &send.to
        && !to.contains(':')
    {
        known(section, "to", to, phones);
    }
    if send.text.is_some() {
        for (key, written) in [
            ("send", !send.method.is_empty()),
            ("to", send.to.is_some()),
            ("uri", send.uri.is_some()),
            ("header", !send.headers.is_empty()),
            ("body", send.body.is_some()),
        ] {
            if written {
                section.problem(key, "is part of the text");
            }
        }
    }
    send
}

/// RFC 3261 §25.1: a method is a token. It is compared as it is written (§7.1): one in other letters would be an unknown method.
fn method(text: &str) -> Result<String, String> {
    let capitals = text.to_ascii_uppercase();
    let is_known = !matches!(Method::from_bytes(capitals.as_bytes()), Method::Other(_));
    if is_known && capitals != text {
        Err(format!("{text:?} is written {capitals:?}"))
    } else if patchbay_message::is_token(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no method, such as \"INVITE\""))
    }
}

fn expectation(section: &mut Section<'_>, phones: &[PhoneSetup]) -> Act {
    let at = phone(section, "at", phones);
    let within = section.parsed("within", crate::config::units::duration);
    let nothing = section
        .written("expect")
        .is_some_and(|entry| matches!(&entry.value, Value::Text(text) if text == "nothing"));
    if nothing {
        if within.is_none() {
            section.missing("within");
        }
        let within = within.unwrap_or_default();
        return Act::Silence { at, within };
    }
    Act::Expect(Expect {
        at,
        what: what(section),
        uri: pattern(section, "uri"),
        headers: headers(section),
        reason: pattern(section, "reason"),
        body: pattern(section, "body"),
        call: section.text("call"),
        within,
        answers: answers(section),
    })
}

/// A status, `"2xx"` or a method.
fn what(section: &mut Section<'_>) -> What {
    let wrong = What::Status(0);
    let Some(entry) = section.written("expect") else {
        return wrong;
    };
    match &entry.value {
        Value::Integer(number) => match u16::try_from(*number) {
            Ok(status @ 100..=699) => What::Status(status),
            _ => {
                section.problem("expect", format!("{number} is no status"));
                wrong
            }
        },
        Value::Text(text) => kind(text).unwrap_or_else(|message| {
            section.problem("expect", message);
            wrong
        }),
        other => {
            section.wrong_type("expect", "a status or a method", other);
            wrong
        }
    }
}

fn kind(text: &str) -> Result<What, String> {
    if let Some(class) = text.strip_suffix("xx")
        && let Ok(class @ 1..=6) = class.parse()
    {
        return Ok(What::Class(class));
    }
    if let Ok(status @ 100..=699) = text.parse() {
        return Ok(What::Status(status));
    }
    let is_method = text.starts_with(|first: char| first.is_ascii_uppercase());
    match method(text) {
        Ok(method) if is_method => Ok(What::Request(method)),
        Err(message) if message.contains("is written") => Err(message),
        _ => Err(format!(
            "{text:?} is neither a status such as 486 or \"4xx\", nor a method such as \"INVITE\", nor \"nothing\""
        )),
    }
}

fn pattern(section: &mut Section<'_>, key: &'static str) -> Option<Pattern> {
    section.text(key).map(Pattern)
}

/// `header` of an expectation.
fn headers(section: &mut Section<'_>) -> Vec<(String, HeaderIs)> {
    let patterns = |texts: Vec<String>| texts.into_iter().map(Pattern).collect();
    let mut headers = Vec::new();
    for (name, entry) in table(section, "header") {
        let is = match &entry.value {
            Value::Text(text) => HeaderIs::Like(Pattern(text.clone())),
            Value::Integer(number) => HeaderIs::Like(Pattern(number.to_string())),
            Value::Boolean(true) => HeaderIs::Present,
            Value::Boolean(false) => HeaderIs::Absent,
            other => match texts(other) {
                Some(texts) => HeaderIs::Fields(patterns(texts)),
                None => {
                    section.wrong_type("header", "text, a list of texts, true or false", other);
                    continue;
                }
            },
        };
        headers.push((name.clone(), is));
    }
    headers
}

/// `header` of what a phone or a server sends.
pub(super) fn edits(section: &mut Section<'_>) -> Vec<HeaderEdit> {
    let mut edits = Vec::new();
    for (name, entry) in table(section, "header") {
        let values = match &entry.value {
            Value::Text(text) => vec![text.clone()],
            Value::Integer(number) => vec![number.to_string()],
            Value::Boolean(false) => Vec::new(),
            other => match texts(other) {
                Some(texts) => texts,
                None => {
                    section.wrong_type("header", "text, a list of texts, or false", other);
                    continue;
                }
            },
        };
        let name = name.clone();
        edits.push(HeaderEdit { name, values });
    }
    edits
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let Value::Array(list) = value else {
        return None;
    };
    let text = |entry: &Entry| match &entry.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    list.iter().map(text).collect()
}

/// The entries of a table whose keys are free.
fn table<'a>(section: &mut Section<'a>, key: &'static str) -> Vec<(&'a String, &'a Entry)> {
    match section.written(key).map(|entry| &entry.value) {
        Some(Value::Table(table)) => table.iter().collect(),
        Some(other) => {
            section.wrong_type(key, "a section", other);
            Vec::new()
        }
        None => Vec::new(),
    }
}

/// `answer`: a status, a table, a list of these, or `false`.
fn answers(section: &mut Section<'_>) -> Option<Vec<AnswerWith>> {
    let entry = section.written("answer")?;
    let entries = match &entry.value {
        Value::Boolean(false) => return Some(Vec::new()),
        Value::Array(list) => list.iter().collect(),
        _ => vec![entry],
    };
    let mut answers = Vec::new();
    for entry in entries {
        if let Value::Integer(number) = &entry.value {
            answers.extend(status(section, *number).map(AnswerWith::status));
        } else if let Some(mut table) = section.table("answer", entry) {
            answers.extend(answer(&mut table));
            table.finish();
        } else {
            let expected = "a status, a table with a status, or a list of these";
            section.wrong_type("answer", expected, &entry.value);
        }
    }
    Some(answers)
}

fn status(section: &Section<'_>, number: i64) -> Option<u16> {
    match u16::try_from(number) {
        Ok(status @ 100..=699) => Some(status),
        _ => {
            section.problem("answer", format!("{number} is no status"));
            None
        }
    }
}

fn answer(table: &mut Section<'_>) -> Option<AnswerWith> {
    if !table.has("status") {
        table.missing("status");
    }
    let status = table.number("status", 0, 100..=699);
    Some(AnswerWith {
        status: u16::try_from(status).ok()?,
        reason: table.text("reason"),
        after: table.duration("after", Duration::ZERO, Duration::ZERO),
        headers: edits(table),
        body: table.text("body"),
    })
}

/// `registered`: contacts by address-of-record.
fn registered(section: &mut Section<'_>) -> Vec<(String, Vec<Pattern>)> {
    let mut registered = Vec::new();
    for (aor, entry) in table(section, "registered") {
        let contacts = match &entry.value {
            Value::Text(text) => Some(vec![text.clone()]),
            other => texts(other),
        };
        match contacts {
            Some(contacts) => {
                registered.push((aor.clone(), contacts.into_iter().map(Pattern).collect()));
            }
            None => section.wrong_type("registered", "a list of contacts", &entry.value),
        }
    }
    registered
}

fn counters(section: &mut Section<'_>) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for (name, entry) in table(section, "counter") {
        match &entry.value {
            Value::Integer(number) if *number >= 0 => {
                counters.insert(name.clone(), number.unsigned_abs());
            }
            other => section.wrong_type("counter", "a whole number", other),
        }
    }
    counters
}

/// `asked`: a method and a URL, or a list of these.
fn requests(section: &mut Section<'_>) -> Vec<Pattern> {
    let value = section.written("asked").map(|entry| &entry.value);
    let list = match value {
        Some(Value::Text(text)) => Some(vec![text.clone()]),
        Some(other) => texts(other),
        None => None,
    };
    if let (None, Some(other)) = (&list, value) {
        let expected = "text such as \"GET http://lcr.example.com/*\", or a list of these";
        section.wrong_type("asked", expected, other);
    }
    list.unwrap_or_default().into_iter().map(Pattern).collect()
}

/// `keyvalue`: values by their keys.
fn stored(section: &mut Section<'_>) -> Vec<(String, StoredIs)> {
    let mut stored = Vec::new();
    for (key, entry) in table(section, "keyvalue") {
        let is = match &entry.value {
            Value::Text(text) => StoredIs::Like(Pattern(text.clone())),
            Value::Integer(number) => StoredIs::Like(Pattern(number.to_string())),
            Value::Boolean(true) => StoredIs::Present,
            Value::Boolean(false) => StoredIs::Absent,
            other => {
                section.wrong_type("keyvalue", "text, a number, true or false", other);
                continue;
            }
        };
        stored.push((key.clone(), is));
    }
    stored
}

/// The name of a phone, or an address.
fn phone(section: &mut Section<'_>, key: &'static str, phones: &[PhoneSetup]) -> String {
    let Some(name) = section.text(key) else {
        if !section.has(key) {
            section.missing(key);
        }
        return String::new();
    };
    let is_address = key == "at" && phones::address(&name).is_ok();
    if !is_address {
        known(section, key, &name, phones);
    }
    name
}

fn known(section: &Section<'_>, key: &str, name: &str, phones: &[PhoneSetup]) {
    if phones.iter().any(|phone| phone.name == name) {
        return;
    }
    let names = phones.iter().map(|phone| phone.name.as_str());
    let message = match nearest_word(name, names) {
        Some(near) => format!("there is no phone {name:?}; did you mean {near}?"),
        None => format!("there is no phone {name:?}; write it under [phone]"),
    };
    section.problem(key, message);
}
