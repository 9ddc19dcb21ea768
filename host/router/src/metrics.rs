//! Counters and gauges, one set per worker, summed when they are read.
//!
//! A worker writes its own [`WorkerMetrics`] only, with plain loads and stores: no locked instruction on the path of a
//! message. The text form is made by [`Metrics::render`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use patchbay_core::door::{DropReason, HookFault, Transport};
use patchbay_policy::Hook;

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one. Only the thread that owns the counter may call this.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `value`. Only the thread that owns the counter may call this.
    #[inline]
    pub fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// Sets the number, for a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `value`, from any thread.
    pub fn add_shared(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A label with a closed set of values.
pub trait Label: Copy {
    /// The values in the order of [`Label::index`].
    const VALUES: &'static [&'static str];
    /// Which of them this is.
    fn index(self) -> usize;
}

/// One [`Counter`] per value of a label; `N` is the number of values.
#[derive(Debug)]
pub struct Family<const N: usize>([Counter; N]);

impl<const N: usize> Default for Family<N> {
    fn default() -> Self {
        Family(std::array::from_fn(|_| Counter::default()))
    }
}

impl<const N: usize> Family<N> {
    /// Adds one. Only the thread that owns the counters may call this.
    #[inline]
    pub fn increment(&self, label: impl Label) {
        self.add(label, 1);
    }

    /// Adds `value`. Only the thread that owns the counters may call this.
    #[inline]
    pub fn add(&self, label: impl Label, value: u64) {
        if let Some(counter) = self.0.get(label.index()) {
            counter.add(value);
        }
    }

    /// The number of one value.
    pub fn value(&self, label: impl Label) -> u64 {
        self.0.get(label.index()).map_or(0, Counter::value)
    }
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
    const VALUES: &'static [&'static str] = &["INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "other"];

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
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for DropLabel {
    const VALUES: &'static [&'static str] = &["unmatched_response", "malformed", "stray_ack", "foreign_via", "policy", "overload"];

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
    const VALUES: &'static [&'static str] = &["request_route", "branch_route", "onreply_route", "failure_route", "event_route"];

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
    const VALUES: &'static [&'static str] = &["trap", "deadline", "timeout", "memory", "verdict", "unavailable"];

    fn index(self) -> usize {
        match self {
            HookFault::Trap => 0,
            HookFault::Deadline => 1,
            HookFault::Timeout => 2,
            HookFault::Memory => 3,
            HookFault::Verdict => 4,
            HookFault::Unavailable => 5,
        }
    }
}

/// What one worker counts. Only that worker writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Messages received.
    pub messages_received: Family<5>,
    /// Bytes received.
    pub bytes_received: Family<5>,
    /// Messages sent.
    pub messages_sent: Family<5>,
    /// Bytes sent.
    pub bytes_sent: Family<5>,
    /// Sends that failed.
    pub send_failures: Family<5>,
    /// Requests received that are no retransmissions.
    pub requests: Family<7>,
    /// Retransmissions absorbed.
    pub retransmissions: Counter,
    /// Messages dropped.
    pub dropped: Family<6>,
    /// Final responses that the router made itself.
    pub replies: Family<6>,
    /// Final responses to INVITE that were forwarded.
    pub invite_finals: Family<6>,
    /// Branches that Timer C ended.
    pub timer_c: Counter,
    /// Limits reached.
    pub limits: Family<11>,
    /// Keep-alives answered.
    pub keep_alives: Counter,
    /// Messages handed to another worker.
    pub handed_over: Counter,
    /// Connections opened or accepted.
    pub connections_opened: Family<5>,
    /// Gauge: connections open.
    pub connections: Counter,
    /// Gauge: live transactions.
    pub transactions: Counter,
    /// Hook runs.
    pub hook_runs: Family<5>,
    /// Nanoseconds in hooks, waiting included.
    pub hook_nanoseconds: Family<5>,
    /// Hook runs without a verdict.
    pub hook_faults: Family<6>,
    /// Gauge: hooks that run or wait.
    pub hooks: Counter,
    /// Registrations handled.
    pub registrations: Family<3>,
    /// Questions to the resolver.
    pub resolutions: Counter,
    /// Questions without an answer.
    pub resolution_failures: Counter,
}

/// The counters of policies (`counters.add`), a bounded number of them.
#[derive(Debug, Default)]
pub struct PolicyCounters(RwLock<BTreeMap<(String, String), AtomicU64>>);

/// No further counter can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {MAX_POLICY_COUNTERS} counters of policies already")]
pub struct TooManyCounters;

/// Counters that policies may make, in all: a label set must not grow without bound.
pub const MAX_POLICY_COUNTERS: usize = 1000;

impl PolicyCounters {
    /// Adds `value` to the counter `name` of `policy`.
    pub fn add(&self, policy: &str, name: &str, value: u64) -> Result<(), TooManyCounters> {
        let key = (policy.to_owned(), name.to_owned());
        if let Some(counter) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            counter.fetch_add(value, Ordering::Relaxed);
            return Ok(());
        }
        let mut counters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_POLICY_COUNTERS && !counters.contains_key(&key) {
            return Err(TooManyCounters);
        }
        counters.entry(key).or_default().fetch_add(value, Ordering::Relaxed);
        Ok(())
    }
}

/// All numbers of the process.
#[derive(Debug)]
pub struct Metrics {
    /// One per worker.
    pub workers: Box<[WorkerMetrics]>,
    /// Policy versions that became active.
    pub activations: Counter,
    /// Versions that were refused: they do not compile, check or initialise.
    pub activation_failures: Counter,
    /// Versions that were rolled back because they kept failing.
    pub automatic_rollbacks: Counter,
    /// Reloads of the configuration.
    pub reloads: Counter,
    /// Reloads that were refused.
    pub reload_failures: Counter,
    /// What policies count.
    pub policy_counters: PolicyCounters,
}

/// A value that is not counted here but asked for at each scrape.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// The name without the prefix `patchbay_`.
    pub name: &'static str,
    /// The help line.
    pub help: &'static str,
    /// The value.
    pub value: u64,
}

impl Metrics {
    /// The metrics of this many workers.
    pub fn new(workers: usize) -> Metrics {
        Metrics {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            activations: Counter::default(),
            activation_failures: Counter::default(),
            automatic_rollbacks: Counter::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            policy_counters: PolicyCounters::default(),
        }
    }
}
