//! One hook run, whole: what the hook saw, what it asked, what it was told, what it decided.
//!
//! It is plain data, so that it can be written to a file, shown by the API, and run again somewhere else.

use std::net::SocketAddr;

use patchbay_message::{HeaderName, Limits, Message, Name};
use patchbay_policy::Hook;
use serde::{Deserialize, Serialize};

use super::outside::{HttpExchange, KeyValueExchange};
use super::text::Text;
use crate::hooks::NO_NEXT;

/// Bounds for messages that the router has taken already.
const TAKEN: Limits = Limits {
    max_message_bytes: 1 << 24,
    max_headers: 1 << 14,
    max_header_bytes: 1 << 20,
};

/// A hook run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookTrace {
    /// The number of the environment that it ran in.
    pub environment: u32,
    /// When it began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The name of the policy.
    pub policy: String,
    /// The digest of its version.
    pub version: String,
    /// What the hook saw.
    pub input: Input,
    /// What it asked of the host and was told, in that order; what it did outside of the message is part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What it decided.
    pub outcome: Outcome,
    /// What qualifies the decision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effects: Effects,
    /// From its start to its end, in microseconds.
    pub elapsed_us: u64,
}

/// What a hook sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Which hook.
    #[serde(with = "hook_name")]
    pub hook: Hook,
    /// The request; none in `event-route`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<MessageTrace>,
    /// `onreply-route`, `failure-route`: the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<MessageTrace>,
    /// The way the request (in `onreply-route`: the response) came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<FlowTrace>,
    /// The request is inside a dialog whose token is valid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_dialog: bool,
    /// Rounds of `failure-route` before this one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_round: u32,
    /// The variables of the transaction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<(String, String)>,
    /// The parameters of our Record-Route that came back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record_route_parameters: Vec<(String, String)>,
    /// `user@realm` that was verified before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_user: Option<String>,
    /// `request-route`: what the policies before it in the chain have decided, when they decided anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Carried>>,
    /// `event-route`: what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventTrace>,
}

/// What a hook finds of the policies before it in the chain, besides their edits and variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Their targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetTrace>,
    /// Whether they turned Record-Route on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_route: Option<bool>,
    /// Their parameters for our Record-Route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record_route_parameters: Vec<(String, String)>,
    /// The group that further targets are in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: u16,
    /// How long targets may ring that do not say it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_answer_ms: Option<u32>,
}

/// A message as a hook saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageTrace {
    /// As it was received.
    pub received: Text,
    /// With the edits before the hook, when there were any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Text>,
}

/// The way a message came, or the way to a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowTrace {
    /// `udp`, `tcp`, `tls`, `ws` or `wss`.
    pub transport: String,
    /// The peer.
    pub remote: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// The number of the listener.
    pub listener: u16,
}

/// What `event-route` was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventTrace {
    /// A contact was added.
    RegistrationAdded(RegistrationTrace),
    /// A contact was registered again.
    RegistrationRefreshed(RegistrationTrace),
    /// A contact was removed.
    RegistrationRemoved(RegistrationTrace),
    /// A contact ran out.
    RegistrationExpired(RegistrationTrace),
    /// A timer of the policy.
    Timer {
        /// Its name.
        name: String,
    },
}

/// One contact of an address-of-record that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationTrace {
    /// The address-of-record.
    pub aor: String,
    /// The contact URI.
    pub contact: String,
    /// Seconds left.
    pub expires_secs: u32,
}

/// A question to the host with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "asked", rename_all = "snake_case")]
pub enum Answer {
    /// `location.lookup`.
    Lookup {
        /// The address-of-record.
        aor: String,
        /// Its contacts in the order of their q.
        #[serde(default)]
        contacts: Vec<ContactTrace>,
        /// Why there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorTrace>,
    },
    /// `location.is-registered-source`.
    RegisteredSource {
        /// The URI.
        uri: String,
        /// Whether it is.
        answer: bool,
    },
    /// `auth.verify`.
    Verify {
        /// `verified`, `missing`, `stale` or `failed`.
        answer: String,
        /// `user@realm` when it is verified.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    /// `clock.unix-ms`.
    UnixMs {
        /// Milliseconds since 1970.
        answer: u64,
    },
    /// `clock.monotonic-us`.
    MonotonicUs {
        /// Microseconds.
        answer: u64,
    },
    /// `random.u64`.
    Random {
        /// The number.
        answer: u64,
    },
    /// Something that reaches beyond the message.
    Act {
        /// What.
        act: Act,
        /// How many contacts were removed; 1 when a timer was cancelled.
        #[serde(default, skip_serializing_if = "is_default")]
        answer: u32,
        /// Why it was not done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ErrorTrace>,
    },
    /// `http.fetch`.
    Http(Box<HttpExchange>),
    /// `keyvalue` and `wasi:keyvalue`.
    Keyvalue(Box<KeyValueExchange>),
    /// `log.log`, of a level that is written.
    Log {
        /// `trace`, `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        message: String,
    },
    /// What was too much to be kept, at the end of all.
    LeftOut {
        /// Requests over HTTP and calls of `keyvalue`, whose answers the run may depend on.
        answers: u64,
        /// Log lines.
        #[serde(default, skip_serializing_if = "is_default")]
        log_lines: u64,
    },
}

/// What a policy does outside of the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Act {
    /// `counters.add`.
    AddCounter {
        /// The counter.
        name: String,
        /// How much.
        value: u64,
    },
    /// `timers.set`.
    SetTimer {
        /// The timer.
        name: String,
        /// In how many milliseconds.
        delay_ms: u32,
    },
    /// `timers.cancel`.
    CancelTimer {
        /// The timer.
        name: String,
    },
    /// `location.save-contact`.
    SaveContact {
        /// The address-of-record.
        aor: String,
        /// The contact.
        contact: String,
        /// For how long.
        expires_secs: u32,
    },
    /// `location.remove-contact`.
    RemoveContact {
        /// The address-of-record.
        aor: String,
        /// The contact; empty: all.
        contact: String,
    },
}

/// A contact of a look-up, with the way that a target made of it would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactTrace {
    /// The contact URI.
    pub uri: String,
    /// Thousandths.
    pub q: u16,
    /// Seconds left.
    pub expires_secs: u32,
    /// `ip:port`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub received: String,
    /// User-Agent of the registration.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// `+sip.instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its Path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Text>,
    /// The flow that it would be reached over; none: by its URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowTrace>,
}

/// An error that the host answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorTrace {
    /// `not-found`, `invalid-argument`, `wrong-hook`, `denied`, `limit` or `unavailable`.
    pub kind: String,
    /// What to change.
    pub message: String,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The hook returned.
    Verdict {
        /// `relay`, `reply`, `challenge`, `save`, `drop`, `next`, `pass` or `done`.
        verdict: String,
        /// Of a reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// Of a reply.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// It did not.
    Fault {
        /// `trap`, `deadline`, `timeout`, `memory`, `verdict` or `unavailable`.
        fault: String,
        /// More about it.
        detail: String,
    },
}

/// What qualifies a decision, and what the hook changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// The current message after the hook, when the hook changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// The variables after the hook, when it changed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<Vec<(String, String)>>,
    /// Of `relay`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetTrace>,
    /// The hooks that were armed, of `relay`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub armed: Vec<String>,
    /// Whether Record-Route was turned on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_route: Option<bool>,
    /// Parameters for our Record-Route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub record_route_parameters: Vec<(String, String)>,
    /// Of `reply`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reply_headers: Vec<(Text, Text)>,
    /// Of `reply`: Content-Type and body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_body: Option<(Text, Text)>,
}

/// A target that a hook added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTrace {
    /// The Request-URI of the branch.
    pub uri: Text,
    /// Thousandths.
    pub q: u16,
    /// The group.
    pub group: u16,
    /// Route headers to put before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Text>,
    /// The flow of a registered contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<FlowTrace>,
    /// Where to send instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<Text>,
    /// From which listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<u16>,
    /// How long it may ring, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_answer_ms: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A hook by its name.
mod hook_name {
    use patchbay_policy::Hook;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hook: &Hook, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(hook.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Hook, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Hook::ALL.into_iter().find(|hook| hook.name() == name);
        known.ok_or_else(|| de::Error::custom(format!("there is no hook {name}")))
    }
}

impl Input {
    /// Of a hook without a message.
    pub(crate) fn without_message(hook: Hook) -> Input {
        Input {
            hook,
            request: None,
            response: None,
            source: None,
            in_dialog: false,
            failure_round: 0,
            variables: Vec::new(),
            record_route_parameters: Vec::new(),
            verified_user: None,
            before: None,
            event: None,
        }
    }
}

impl HookTrace {
    /// Whether any of the policy ran. Beyond `max_concurrent_hooks`, and where no instance can be made, a hook fails without having begun: that
    /// is the fault `unavailable`, and such a run is not played again.
    pub fn has_run(&self) -> bool {
        !matches!(&self.outcome, Outcome::Fault { fault, .. } if fault == "unavailable")
    }

    /// Whether all that the run was answered is there. Without it the run can't be played again.
    pub fn has_answers(&self) -> bool {
        let lacks = |answer: &Answer| matches!(answer, Answer::LeftOut { answers: 1.., .. });
        !self.answers.iter().any(lacks)
    }

    /// The Call-ID; empty where no message is current.
    pub fn call_id(&self) -> String {
        self.request_header(HeaderName::CallId)
    }

    /// A header of the request; empty when there is none.
    pub fn request_header(&self, name: HeaderName) -> String {
        let Some(message) = self.request() else {
            return String::new();
        };
        String::from_utf8_lossy(message.header(Name::from(name)).unwrap_or_default()).into_owned()
    }

    /// The request.
    pub fn request(&self) -> Option<Message> {
        self.input.request.as_ref()?.parsed()
    }

    /// The message that the hook could edit.
    pub fn current(&self) -> Option<&MessageTrace> {
        match self.input.hook {
            Hook::OnreplyRoute => self.input.response.as_ref(),
            _ => self.input.request.as_ref(),
        }
    }

    /// What it did outside of the message.
    pub fn acts(&self) -> Vec<&Act> {
        let acts = self.answers.iter().filter_map(|answer| match answer {
            Answer::Act { act, .. } => Some(act),
            _ => None,
        });
        acts.collect()
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let answers = self.answers.iter().map(Answer::bytes);
        let message = |message: &Option<MessageTrace>| {
            message.as_ref().map_or(0, |message| {
                message.received.0.len() + message.current.as_ref().map_or(0, |text| text.0.len())
            })
        };
        size_of::<HookTrace>()
            + message(&self.input.request)
            + message(&self.input.response)
            + self.effects.message.as_ref().map_or(0, |text| text.0.len())
            + answers.sum::<usize>()
            + 256 * (self.answers.len() + self.effects.targets.len())
    }
}

impl Answer {
    /// About how many bytes of texts it has, where these can be many.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Answer::Http(exchange) => exchange.bytes(),
            Answer::Keyvalue(exchange) => exchange.bytes(),
            Answer::Log { message, .. } => message.len(),
            _ => 0,
        }
    }
}

impl MessageTrace {
    /// The text that the hook saw.
    pub fn seen(&self) -> &Text {
        self.current.as_ref().unwrap_or(&self.received)
    }

    /// The message that the hook saw.
    pub fn parsed(&self) -> Option<Message> {
        message_of(self.seen())
    }
}

/// A text that was a message before.
pub(crate) fn message_of(text: &Text) -> Option<Message> {
    Message::parse(text.as_bytes(), &TAKEN).ok()
}

impl Outcome {
    /// In a few words.
    pub fn brief(&self) -> String {
        match self {
            Outcome::Verdict {
                verdict,
                status: Some(status),
                reason,
            } => format!("{verdict} {status} {reason}").trim_end().to_owned(),
            Outcome::Verdict { verdict, .. } => verdict.clone(),
            Outcome::Fault { fault, .. } => format!("fault {fault}"),
        }
    }

    /// Whether the hook returned no verdict.
    pub fn is_fault(&self) -> bool {
        matches!(self, Outcome::Fault { .. })
    }

    /// Whether the hook ran longer than `hook_deadline`.
    pub fn is_of_deadline(&self) -> bool {
        matches!(self, Outcome::Fault { fault, .. } if fault == "deadline")
    }

    /// Whether the policy left the request to the next one of a chain, and was the last.
    pub fn is_of_no_next(&self) -> bool {
        matches!(self, Outcome::Fault { detail, .. } if detail.ends_with(NO_NEXT))
    }

    /// Whether the time that the hook took decided: on another machine, or at another time, it may end otherwise.
    pub fn is_of_time(&self) -> bool {
        matches!(self, Outcome::Fault { fault, .. } if fault == "deadline" || fault == "timeout")
    }
}
