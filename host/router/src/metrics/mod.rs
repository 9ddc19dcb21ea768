//! Counters and gauges, one set per worker, summed when they are read.
//!
//! A worker writes its own [`WorkerMetrics`] only, with plain loads and stores: no locked instruction on the path of a
//! message. The text form is made by [`Metrics::render`].

mod labels;
mod render;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

pub use labels::{DropLabel, Label, LimitLabel, MethodLabel, RegistrationResult, StatusClass};

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
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(value),
            Ordering::Relaxed,
        );
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
    pub limits: Family<12>,
    /// Keep-alives answered.
    pub keep_alives: Counter,
    /// Messages handed to another worker.
    pub handed_over: Counter,
    /// System calls of the worker for its datagrams.
    pub udp_calls: Counter,
    /// Connections opened or accepted.
    pub connections_opened: Family<5>,
    /// Gauge: live transactions.
    pub transactions: Counter,
    /// Hook runs.
    pub hook_runs: Family<5>,
    /// Nanoseconds in hooks, waiting included.
    pub hook_nanoseconds: Family<5>,
    /// Hook runs without a verdict.
    pub hook_faults: Family<7>,
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
        if let Some(counter) = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            counter.fetch_add(value, Ordering::Relaxed);
            return Ok(());
        }
        let mut counters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if counters.len() >= MAX_POLICY_COUNTERS && !counters.contains_key(&key) {
            return Err(TooManyCounters);
        }
        counters
            .entry(key)
            .or_default()
            .fetch_add(value, Ordering::Relaxed);
        Ok(())
    }

    /// The counter `name` of `policy`; one that nobody made is 0.
    pub fn value(&self, policy: &str, name: &str) -> u64 {
        let counters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        counters
            .get(&(policy.to_owned(), name.to_owned()))
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
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
    /// Canaries that were aborted because a guard did not hold.
    pub automatic_aborts: Counter,
    /// Reloads of the configuration.
    pub reloads: Counter,
    /// Reloads that were refused.
    pub reload_failures: Counter,
    /// What policies count.
    pub policy_counters: PolicyCounters,
}

/// A value that is not counted here but asked for when the metrics are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The name without the prefix `patchbay_`.
    pub name: &'static str,
    /// The help line.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// Label names and values; readings of one name stand together.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Metrics {
    /// The metrics of this many workers.
    pub fn new(workers: usize) -> Metrics {
        Metrics {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            activations: Counter::default(),
            activation_failures: Counter::default(),
            automatic_rollbacks: Counter::default(),
            automatic_aborts: Counter::default(),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            policy_counters: PolicyCounters::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_make_a_bounded_number_of_counters() {
        let counters = PolicyCounters::default();
        for number in 0..MAX_POLICY_COUNTERS {
            counters.add("p", &number.to_string(), 1).expect("room");
        }
        assert_eq!(counters.add("p", "one too many", 1), Err(TooManyCounters));
        assert_eq!(counters.add("p", "0", 1), Ok(()));
    }
}
