//! The labels of metrics: closed sets of values.

use patchbay_core::door::{DropReason, HookFault, Transport};
use patchbay_policy::Hook;

/// A label with a closed set of values.
pub trait Label: Copy {
    /// The values in the order of [`Label::index`].
    const VALUES: &'static [&'static str];
    /// Which of them this is.
    fn index(self) -> usize;
}

/// The class of a status code: `1xx` to `6xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusClass(pub u16);

/// The methods that are counted by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the methods say it")]
pub enum MethodLabel {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Other,
}

/// How a registration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationResult {
    /// 200.
    Stored,
    /// Refused by a rule.
    Refused,
    /// The store failed.
    Failed,
}

/// What was refused or dropped because a limit of ours was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitLabel {
    /// `max_transactions`.
    Transactions,
    /// `max_branches`.
    Branches,
    /// `max_failure_rounds`.
    FailureRounds,
    /// `max_connections`.
    Connections,
    /// `requests_per_source`.
    RequestsPerSource,
    /// `max_concurrent_hooks`.
    Hooks,
    /// A worker's mailbox is full.
    Mailbox,
    /// A connection's send queue is full.
    SendQueue,
    /// RFC 5393 Max-Breadth.
    Breadth,
    /// The location service's queue is full.
    LocationQueue,
    /// Any other.
    Other,
    /// `[policy.route.limits]`.
    Route,
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropLabel(pub DropReason);

impl LimitLabel {
    /// The label of a limit that the core names in its event.
    pub fn from_name(name: &str) -> LimitLabel {
        match name {
            "max_transactions" => LimitLabel::Transactions,
            "max_branches" => LimitLabel::Branches,
            "max_failure_rounds" => LimitLabel::FailureRounds,
            "max_connections" => LimitLabel::Connections,
            "requests_per_source" => LimitLabel::RequestsPerSource,
            "max_concurrent_hooks" => LimitLabel::Hooks,
            "max_breadth" => LimitLabel::Breadth,
            _ => LimitLabel::Other,
        }
    }
}

impl Label for Transport {
    const VALUES: &'static [&'static str] = &["udp", "tcp", "tls", "ws", "wss"];

    fn index(self) -> usize {
        match self {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Ws => 3,
            Transport::Wss => 4,
        }
    }
}

impl Label for StatusClass {
    const VALUES: &'static [&'static str] = &["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"];

    fn index(self) -> usize {
        usize::from(self.0 / 100).saturating_sub(1)
    }
}

impl Label for MethodLabel {
    const VALUES: &'static [&'static str] = &[
        "INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "other",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl MethodLabel {
    /// The label of a method as it stands in a message.
    #[inline]
    pub fn of(method: &[u8]) -> MethodLabel {
        match method {
            b"INVITE" => MethodLabel::Invite,
            b"ACK" => MethodLabel::Ack,
            b"BYE" => MethodLabel::Bye,
            b"CANCEL" => MethodLabel::Cancel,
            b"REGISTER" => MethodLabel::Register,
            b"OPTIONS" => MethodLabel::Options,
            _ => MethodLabel::Other,
        }
    }
}

impl Label for RegistrationResult {
    const VALUES: &'static [&'static str] = &["stored", "refused", "failed"];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for LimitLabel {
    const VALUES: &'static [&'static str] = &[
        "max_transactions",
        "max_branches",
        "max_failure_rounds",
        "max_connections",
        "requests_per_source",
        "max_concurrent_hooks",
        "mailbox",
        "send_queue",
        "max_breadth",
        "location_queue",
        "other",
        "route",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for DropLabel {
    const VALUES: &'static [&'static str] = &[
        "unmatched_response",
        "malformed",
        "stray_ack",
        "foreign_via",
        "policy",
        "overload",
    ];

    fn index(self) -> usize {
        match self.0 {
            DropReason::UnmatchedResponse => 0,
            DropReason::Malformed => 1,
            DropReason::StrayAck => 2,
            DropReason::ForeignVia => 3,
            DropReason::Policy => 4,
            DropReason::Overload => 5,
        }
    }
}

impl Label for Hook {
    const VALUES: &'static [&'static str] = &[
        "request_route",
        "branch_route",
        "onreply_route",
        "failure_route",
        "event_route",
    ];

    fn index(self) -> usize {
        match self {
            Hook::RequestRoute => 0,
            Hook::BranchRoute => 1,
            Hook::OnreplyRoute => 2,
            Hook::FailureRoute => 3,
            Hook::EventRoute => 4,
        }
    }
}

impl Label for HookFault {
    const VALUES: &'static [&'static str] = &[
        "trap",
        "deadline",
        "timeout",
        "memory",
        "verdict",
        "unavailable",
        "no_policy",
    ];

    fn index(self) -> usize {
        match self {
            HookFault::Trap => 0,
            HookFault::Deadline => 1,
            HookFault::Timeout => 2,
            HookFault::Memory => 3,
            HookFault::Verdict => 4,
            HookFault::Unavailable => 5,
            HookFault::NoPolicy => 6,
        }
    }
}
