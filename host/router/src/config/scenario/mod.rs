//! Scenario files: what `patchbay policy test` is to play, as it is written.
//!
//! They are read as the configuration is, so that an error names file, line and the nearest known key. What is written outside of the
//! scenarios holds for all of them; a scenario may change it for itself. `[router]` takes every key of the configuration.

mod outside;
mod phones;
mod read;
mod steps;
mod time;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use patchbay_core::door::Transport;
use patchbay_core::time::UnixTime;

use super::Config;
pub(crate) use phones::{address, user};

/// A file of scenarios.
#[derive(Clone, Debug)]
pub(crate) struct ScenarioFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// The component to test and the line that names it, when the file does.
    pub(crate) policy: Option<(PathBuf, usize)>,
    /// In the order of the file.
    pub(crate) scenarios: Vec<Scenario>,
    /// What holds for a scenario that says nothing, for requests drawn at random.
    pub(crate) setting: Setting,
}

/// One scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// What it shows.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) line: usize,
    /// What it begins with.
    pub(crate) setting: Setting,
    /// Part of the error that `init` is to answer; then there are no steps.
    pub(crate) init_error: Option<String>,
    /// Whether hooks may fail.
    pub(crate) allow_faults: bool,
    /// What happens and what is to be seen, in this order.
    pub(crate) steps: Vec<Step>,
}

/// What there is before the first step.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The router's configuration, with the policy's settings.
    pub(crate) config: Arc<Config>,
    /// When it begins.
    pub(crate) start: UnixTime,
    /// Users and their passwords, those of phones included.
    pub(crate) users: BTreeMap<String, String>,
    /// The addresses of names, in lower case.
    pub(crate) hosts: HashMap<String, Vec<IpAddr>>,
    /// Who can send and be reached.
    pub(crate) phones: Vec<PhoneSetup>,
    /// Who answers over HTTP: those of the scenario, then those of the file.
    pub(crate) http: Vec<Vec<HttpServer>>,
    /// What is in the key-value store.
    pub(crate) keyvalue: BTreeMap<String, StoredValue>,
}

/// What requests over HTTP get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpServer {
    /// Only requests with this method.
    pub(crate) method: Option<String>,
    /// Requests with such a URL.
    pub(crate) url: Pattern,
    /// How long it takes.
    pub(crate) after: Duration,
    /// What comes then.
    pub(crate) reply: HttpReply,
}

/// What comes of a request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpReply {
    /// A response.
    Response {
        /// Its status.
        status: u16,
        /// Names, lower case, and values.
        headers: Vec<(String, String)>,
        /// Its body.
        body: String,
    },
    /// No response, for this reason.
    Error(String),
    /// Nothing, until the time is over.
    Nothing,
}

/// A value in the key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredValue {
    /// The value.
    pub(crate) text: String,
    /// For how long it stays; `None`: for ever.
    pub(crate) ttl: Option<Duration>,
}

/// A phone, or a server of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PhoneSetup {
    /// What steps call it.
    pub(crate) name: String,
    /// Its address-of-record.
    pub(crate) aor: String,
    /// How it is reached.
    pub(crate) transport: Transport,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it writes into Contact.
    pub(crate) contact: String,
    /// Whether the location service knows it from the start.
    pub(crate) registered: bool,
    /// The preference of that contact, in thousandths.
    pub(crate) q: u16,
    /// With it, it answers challenges.
    pub(crate) password: Option<String>,
    /// Whether anything gets through to it.
    pub(crate) reachable: bool,
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Where it is written.
    pub(crate) line: usize,
    /// How long after the step before it happens; of an expectation: how long the message is not to come.
    pub(crate) after: Duration,
    /// What happens.
    pub(crate) act: Act,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Nothing but time passes.
    Wait,
    /// A phone sends a request.
    Send(Send),
    /// A phone is to see a message.
    Expect(Expect),
    /// A phone answers the last request that it was expected to see.
    Answer {
        /// Which phone.
        at: String,
        /// In which call.
        call: Option<String>,
        /// With what.
        answers: Vec<AnswerWith>,
    },
    /// Nothing is to come to a phone for a while.
    Silence {
        /// Which phone.
        at: String,
        /// For how long.
        within: Duration,
    },
    /// Who is to be registered with which contacts, in any order.
    Registered(Vec<(String, Vec<Pattern>)>),
    /// What the policy is to have counted.
    Counted(BTreeMap<String, u64>),
    /// What the policy is to have asked over HTTP since the last such step, in this order.
    Asked {
        /// `METHOD URL` of each.
        requests: Vec<Pattern>,
        /// The body of the last one.
        body: Option<Pattern>,
    },
    /// What is to be in the key-value store.
    Stored(Vec<(String, StoredIs)>),
}

/// What a value in the key-value store is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredIs {
    /// Not there.
    Absent,
    /// There.
    Present,
    /// Like this.
    Like(Pattern),
}

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    /// The phone.
    pub(crate) from: String,
    /// The request; without it, `text` is sent as it is.
    pub(crate) method: String,
    /// A phone or a URI, for a request outside of the phone's call.
    pub(crate) to: Option<String>,
    /// The Request-URI, when it is another than the one in To.
    pub(crate) uri: Option<String>,
    /// Changes to the headers.
    pub(crate) headers: Vec<HeaderEdit>,
    /// The body.
    pub(crate) body: Option<String>,
    /// A whole message.
    pub(crate) text: Option<String>,
    /// The name of the call.
    pub(crate) call: Option<String>,
}

/// A message to be seen.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    /// By which phone.
    pub(crate) at: String,
    /// What it is.
    pub(crate) what: What,
    /// Its Request-URI.
    pub(crate) uri: Option<Pattern>,
    /// Its headers.
    pub(crate) headers: Vec<(String, HeaderIs)>,
    /// Its reason phrase.
    pub(crate) reason: Option<Pattern>,
    /// Its body.
    pub(crate) body: Option<Pattern>,
    /// The name of the call.
    pub(crate) call: Option<String>,
    /// How long it may take after the step before.
    pub(crate) within: Option<Duration>,
    /// What the phone answers; `None`: what is usual.
    pub(crate) answers: Option<Vec<AnswerWith>>,
}

/// A kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A request of this method.
    Request(String),
    /// A response with this status.
    Status(u16),
    /// A response whose status begins with this digit.
    Class(u16),
}

/// What a header is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderIs {
    /// Not there.
    Absent,
    /// There.
    Present,
    /// One of its fields is like this.
    Like(Pattern),
    /// Its fields are like these, in this order.
    Fields(Vec<Pattern>),
}

/// A header of a message that a phone makes, in place of what it would write: no field, or these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderEdit {
    /// Its name.
    pub(crate) name: String,
    /// Its fields.
    pub(crate) values: Vec<String>,
}

/// A response of a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerWith {
    /// Its status.
    pub(crate) status: u16,
    /// Its reason phrase, when it is another than the usual one.
    pub(crate) reason: Option<String>,
    /// How long after the response before it, or the request.
    pub(crate) after: Duration,
    /// Changes to the headers.
    pub(crate) headers: Vec<HeaderEdit>,
    /// The body.
    pub(crate) body: Option<String>,
}

impl AnswerWith {
    /// A response with nothing special.
    pub(crate) fn status(status: u16) -> AnswerWith {
        AnswerWith {
            status,
            reason: None,
            after: Duration::ZERO,
            headers: Vec::new(),
            body: None,
        }
    }
}

/// Text in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Pattern {
    /// Whether the text is like this.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let fits = |pattern: &str, text| Pattern(pattern.to_owned()).fits(text);
        assert!(fits("abc", "abc") && !fits("abc", "abcd") && !fits("abc", "ab"));
        assert!(fits("*", "") && fits("*", "x") && fits("a*", "a") && fits("*c", "abc"));
        assert!(fits("<sip:*@a;tag=*>", "<sip:bob@a;tag=1>"));
        assert!(fits("a*b*c", "a-b-b-c") && !fits("a*b*c", "a-c"));
        assert!(!fits("aba*aba", "aba"));
    }
}
