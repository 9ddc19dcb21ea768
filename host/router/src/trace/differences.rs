//! Where two runs of the same hook on the same input part: field by field.

use std::collections::BTreeMap;

use patchbay_message::{HeaderName, Message, Name};
use serde::{Deserialize, Serialize};

use super::model::{Act, Answer, Effects, FlowTrace, HookTrace, Outcome, TargetTrace, message_of};
use super::replay::Replayed;
use super::scrub::is_secret;
use super::text::Text;

/// What stands where there is nothing.
const NOTHING: &str = "-";

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The field: `verdict`, `targets`, `header X-Tenant`, `asked something new`, …
    pub field: String,
    /// In the run before.
    pub old: String,
    /// In the run now.
    pub new: String,
}

/// A hook run that another version treats differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDifference {
    /// The Call-ID of its request.
    pub call_id: String,
    /// The hook.
    pub hook: String,
    /// When it ran first, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The first line of the message that the hook saw, without the version; of an event its kind.
    pub message: String,
    /// From, of the request.
    pub from: String,
    /// To, of the request.
    pub to: String,
    /// The version that it ran in.
    pub old_version: String,
    /// The version that it is compared with.
    pub new_version: String,
    /// The fields that are not the same.
    pub differences: Vec<Difference>,
}

impl RunDifference {
    /// Compares a run with how it went when it was played again; `None` when they are the same.
    pub(super) fn of(
        trace: &HookTrace,
        replayed: &Replayed,
        version: &str,
    ) -> Option<RunDifference> {
        let differences = differences(trace, replayed);
        if differences.is_empty() {
            return None;
        }
        Some(RunDifference {
            call_id: trace.call_id(),
            hook: trace.input.hook.name().to_owned(),
            at_unix_ms: trace.at_unix_ms,
            message: first_line(trace),
            from: trace.request_header(HeaderName::From),
            to: trace.request_header(HeaderName::To),
            old_version: trace.version.clone(),
            new_version: version.to_owned(),
            differences,
        })
    }
}

/// What a hook changed in its message.
pub fn changes(trace: &HookTrace) -> Vec<Difference> {
    let mut found = Found::default();
    if let Some(after) = &trace.effects.message {
        let before = trace.current().map(|message| message.seen());
        found.compare_messages(before, Some(after));
    }
    found.0
}

fn first_line(trace: &HookTrace) -> String {
    let Some(message) = trace.current().and_then(|message| message.parsed()) else {
        return trace.input.hook.name().to_owned();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match message.status() {
        Some(status) => format!("{status} {}", text(message.reason())),
        None => format!(
            "{} {}",
            text(message.method().as_bytes()),
            text(message.request_uri())
        ),
    }
}

fn differences(trace: &HookTrace, replayed: &Replayed) -> Vec<Difference> {
    let mut found = Found::default();
    found.compare(
        "verdict",
        verdict(&trace.outcome),
        verdict(&replayed.outcome),
    );
    found.compare("status", status(&trace.outcome), status(&replayed.outcome));
    found.compare("reason", reason(&trace.outcome), reason(&replayed.outcome));
    found.compare_effects(&trace.effects, &replayed.effects);
    let before = trace.current().map(|message| message.seen());
    let old = trace.effects.message.as_ref().or(before);
    let new = replayed.effects.message.as_ref().or(before);
    found.compare_messages(old, new);
    found.compare_acts(&trace.acts(), &replayed.acts());
    found.compare_deeds(&trace.answers, &replayed.answers);
    for question in &replayed.unknown {
        found.compare("asked something new", String::new(), question.clone());
    }
    found.0
}

fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verdict { verdict, .. } => verdict.clone(),
        // The text of a fault has places in the code, which another version has elsewhere.
        Outcome::Fault { fault, .. } => format!("fault {fault}"),
    }
}

fn status(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verdict {
            status: Some(status),
            ..
        } => status.to_string(),
        _ => String::new(),
    }
}

fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Verdict { reason, .. } => reason.clone(),
        Outcome::Fault { .. } => String::new(),
    }
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn compare(&mut self, field: &str, old: String, new: String) {
        if old == new {
            return;
        }
        let shown = |text: String| match text.is_empty() {
            true => NOTHING.to_owned(),
            false => text,
        };
        self.0.push(Difference {
            field: field.to_owned(),
            old: shown(old),
            new: shown(new),
        });
    }

    fn compare_effects(&mut self, old: &Effects, new: &Effects) {
        let list = |targets: &[TargetTrace]| joined(targets.iter().map(target));
        self.compare("targets", list(&old.targets), list(&new.targets));
        self.compare("armed", old.armed.join(" "), new.armed.join(" "));
        let switch = |on: Option<bool>| match on {
            Some(true) => "on".to_owned(),
            Some(false) => "off".to_owned(),
            None => String::new(),
        };
        self.compare(
            "record-route",
            switch(old.record_route),
            switch(new.record_route),
        );
        self.compare(
            "record-route parameters",
            pairs(&old.record_route_parameters),
            pairs(&new.record_route_parameters),
        );
        let variables = |effects: &Effects| effects.variables.as_deref().map(pairs);
        self.compare(
            "variables",
            variables(old).unwrap_or_default(),
            variables(new).unwrap_or_default(),
        );
        let headers = |effects: &Effects| {
            let shown = |(name, value): &(Text, Text)| {
                let value = shown_value(Name::from(name.as_bytes()).known(), value.as_bytes());
                format!("{}: {value}", name.lossy())
            };
            joined(effects.reply_headers.iter().map(shown))
        };
        self.compare("reply headers", headers(old), headers(new));
        let body = |effects: &Effects| {
            let body = effects.reply_body.as_ref();
            body.map(|(name, body)| format!("{} {}", name.lossy(), body.lossy()))
        };
        self.compare(
            "reply body",
            body(old).unwrap_or_default(),
            body(new).unwrap_or_default(),
        );
    }

    /// Field by field: how two texts of the same message are laid out is no difference.
    fn compare_messages(&mut self, old: Option<&Text>, new: Option<&Text>) {
        if old == new {
            return;
        }
        let parsed = |text: Option<&Text>| text.and_then(message_of);
        let (Some(old), Some(new)) = (parsed(old), parsed(new)) else {
            let shown = |text: Option<&Text>| text.map(Text::lossy).unwrap_or_default();
            return self.compare("message", shown(old), shown(new));
        };
        let uri = |message: &Message| String::from_utf8_lossy(message.request_uri()).into_owned();
        self.compare("request-uri", uri(&old), uri(&new));
        let (old_headers, new_headers) = (headers(&old), headers(&new));
        let names: BTreeMap<&String, ()> = old_headers
            .keys()
            .chain(new_headers.keys())
            .map(|name| (name, ()))
            .collect();
        let values = |headers: &BTreeMap<String, (String, Vec<String>)>, name: &String| {
            let found = headers.get(name);
            found
                .map(|(_, values)| values.join(" | "))
                .unwrap_or_default()
        };
        for (name, ()) in names {
            let spelling = old_headers.get(name).or_else(|| new_headers.get(name));
            let spelling = spelling.map_or(name, |(spelling, _)| spelling);
            self.compare(
                &format!("header {spelling}"),
                values(&old_headers, name),
                values(&new_headers, name),
            );
        }
        let body = |message: &Message| String::from_utf8_lossy(message.body()).into_owned();
        self.compare("body", body(&old), body(&new));
    }

    fn compare_deeds(&mut self, old: &[Answer], new: &[Answer]) {
        for (field, deed) in DEEDS {
            let list = |answers: &[Answer]| joined(answers.iter().filter_map(deed));
            self.compare(field, list(old), list(new));
        }
    }

    fn compare_acts(&mut self, old: &[&Act], new: &[&Act]) {
        for (field, is_kind) in KINDS {
            let list = |acts: &[&Act]| {
                joined(acts.iter().filter(|act| is_kind(act)).map(|act| shown(act)))
            };
            self.compare(field, list(old), list(new));
        }
    }
}

type IsKind = fn(&Act) -> bool;
type Deed = fn(&Answer) -> Option<String>;

/// What is changed beyond the router.
const DEEDS: [(&str, Deed); 2] = [
    ("http", |answer| match answer {
        Answer::Http(exchange) => exchange.deed(),
        _ => None,
    }),
    ("keyvalue", |answer| match answer {
        Answer::Keyvalue(exchange) => exchange.request.deed(),
        _ => None,
    }),
];

/// The kinds of acts that are shown together.
const KINDS: [(&str, IsKind); 3] = [
    ("counters", |act| matches!(act, Act::AddCounter { .. })),
    ("timers", |act| {
        matches!(act, Act::SetTimer { .. } | Act::CancelTimer { .. })
    }),
    ("contacts", |act| {
        matches!(act, Act::SaveContact { .. } | Act::RemoveContact { .. })
    }),
];

fn shown(act: &Act) -> String {
    match act {
        Act::AddCounter { name, value } => format!("{name} +{value}"),
        Act::SetTimer { name, delay_ms } => format!("set {name} in {delay_ms} ms"),
        Act::CancelTimer { name } => format!("cancel {name}"),
        Act::SaveContact {
            aor,
            contact,
            expires_secs,
        } => format!("save {contact} of {aor} for {expires_secs} s"),
        Act::RemoveContact { aor, contact } if contact.is_empty() => format!("remove all of {aor}"),
        Act::RemoveContact { aor, contact } => format!("remove {contact} of {aor}"),
    }
}

fn target(target: &TargetTrace) -> String {
    let mut text = target.uri.lossy();
    let mut add = |part: String| {
        text.push(' ');
        text.push_str(&part);
    };
    if target.q != 1000 {
        add(format!("q={}", f64::from(target.q) / 1000.0));
    }
    if target.group != 0 {
        add(format!("group={}", target.group));
    }
    for hop in &target.path {
        add(format!("path={}", hop.lossy()));
    }
    if let Some(flow) = &target.flow {
        add(format!("flow={}", way(flow)));
    }
    if let Some(next_hop) = &target.next_hop {
        add(format!("next-hop={}", next_hop.lossy()));
    }
    if let Some(listener) = target.listener {
        add(format!("listener={listener}"));
    }
    if let Some(no_answer_ms) = target.no_answer_ms {
        add(format!("no-answer={no_answer_ms}ms"));
    }
    text
}

fn way(flow: &FlowTrace) -> String {
    format!("{}:{}", flow.transport, flow.remote)
}

fn pairs(pairs: &[(String, String)]) -> String {
    joined(pairs.iter().map(|(name, value)| format!("{name}={value}")))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// The value of a header; credentials are not told.
fn shown_value(name: HeaderName, value: &[u8]) -> String {
    match is_secret(name) {
        true => "(credentials)".to_owned(),
        false => String::from_utf8_lossy(value).into_owned(),
    }
}

/// The values of each header by its name in lower case, with a spelling of the name.
fn headers(message: &Message) -> BTreeMap<String, (String, Vec<String>)> {
    let mut headers: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    for (name, value) in message.fields() {
        let value = shown_value(name.known(), value);
        let name = String::from_utf8_lossy(name.text()).into_owned();
        let known = headers
            .entry(name.to_ascii_lowercase())
            .or_insert_with(|| (name, Vec::new()));
        known.1.push(value);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::super::scrub::tests::trace_of;
    use super::*;

    fn same(trace: &HookTrace) -> Replayed {
        Replayed {
            outcome: trace.outcome.clone(),
            effects: trace.effects.clone(),
            answers: trace.answers.clone(),
            unknown: Vec::new(),
        }
    }

    fn fields(trace: &HookTrace, replayed: &Replayed) -> Vec<String> {
        let found = differences(trace, replayed).into_iter();
        found.map(|difference| difference.field).collect()
    }

    #[test]
    fn the_same_run_has_no_difference() {
        let trace = trace_of("X-A: 1\r\n", "body");
        assert!(fields(&trace, &same(&trace)).is_empty());
    }

    #[test]
    fn headers_are_compared_whatever_their_order() {
        let mut trace = trace_of("", "");
        trace.effects.message = trace_of("X-A: 1\r\nX-B: 2\r\n", "")
            .input
            .request
            .map(|m| m.received);
        let mut other = same(&trace);
        other.effects.message = trace_of("x-b: 2\r\nX-A: 1\r\n", "")
            .input
            .request
            .map(|m| m.received);
        assert!(fields(&trace, &other).is_empty());
        other.effects.message = None;
        assert_eq!(fields(&trace, &other), ["header X-A", "header X-B"]);
    }

    #[test]
    fn each_field_is_told_by_its_name() {
        let trace = trace_of("", "");
        let mut other = same(&trace);
        other.outcome = Outcome::Verdict {
            verdict: "reply".to_owned(),
            status: Some(403),
            reason: "No".to_owned(),
        };
        other.effects.armed = vec!["failure-route".to_owned()];
        other.answers = vec![Answer::Act {
            act: Act::SetTimer {
                name: "t".to_owned(),
                delay_ms: 5,
            },
            answer: 0,
            error: None,
        }];
        other.unknown = vec!["location.lookup sip:x@y".to_owned()];
        assert_eq!(
            fields(&trace, &other),
            [
                "verdict",
                "status",
                "reason",
                "armed",
                "timers",
                "asked something new"
            ]
        );
    }

    #[test]
    fn where_a_trap_happened_is_no_difference() {
        let fault = |detail: &str| Outcome::Fault {
            fault: "trap".to_owned(),
            detail: detail.to_owned(),
        };
        let mut trace = trace_of("", "");
        trace.outcome = fault("in one");
        let mut other = same(&trace);
        other.outcome = fault("in two");
        assert!(fields(&trace, &other).is_empty());
    }
}
