//! One version of a policy: compiled code that fits the host, with its counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::InstancePre;

use crate::capability::Want;
use crate::digest::Digest;
use crate::direct::Program;
use crate::hook_times::{HookTimes, HookTimesCounter};
use crate::host::{Hook, Host};
use crate::imports::wasi_http;
use crate::state::State;
use crate::verdict::Fault;
use crate::world::Exports;

/// A loaded version of a policy.
pub struct Version<H: Host> {
    number: u64,
    name: Arc<str>,
    digest: Digest,
    imports: Vec<String>,
    /// What the operator has to grant.
    pub(crate) wants: Vec<Want>,
    may_wait: bool,
    stats: Arc<Stats>,
    pub(crate) pins: Pins,
    pub(crate) exports: Exports,
    pub(crate) code: Code<H>,
}

/// How the instances of a version are made.
pub(crate) enum Code<H: Host> {
    /// By the component model.
    Component(InstancePre<State<H>>),
    /// The core module runs directly.
    Direct(Arc<Program<H>>),
}

impl<H: Host> Clone for Code<H> {
    fn clone(&self) -> Code<H> {
        match self {
            Code::Component(pre) => Code::Component(pre.clone()),
            Code::Direct(program) => Code::Direct(Arc::clone(program)),
        }
    }
}

impl<H: Host> Version<H> {
    pub(crate) fn new(
        name: &str,
        digest: Digest,
        exports: Exports,
        (imports, wants): (Vec<String>, Vec<Want>),
        code: Code<H>,
        workers: usize,
    ) -> Version<H> {
        Version {
            number: number_of(name, &digest),
            name: Arc::from(name),
            digest,
            may_wait: wants.iter().any(|want| want.capability.may_wait())
                || imports.iter().any(|import| wasi_http::can_wait(import)),
            imports,
            wants,
            stats: Arc::new(Stats::new(workers)),
            pins: Pins::default(),
            exports,
            code,
        }
    }

    /// The same version with counts of its own: what is tried in it beside the traffic says nothing of how it serves that.
    pub fn counted_apart(&self) -> Version<H> {
        Version {
            number: self.number,
            name: Arc::clone(&self.name),
            digest: self.digest.clone(),
            imports: self.imports.clone(),
            wants: self.wants.clone(),
            may_wait: self.may_wait,
            stats: Arc::new(Stats::new(1)),
            pins: Pins::default(),
            exports: self.exports.clone(),
            code: self.code.clone(),
        }
    }

    /// Made from its name and digest, so that the router knows it again after a restart. Never 0, and the top bit is free.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The policy it is a version of.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is made of.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether it has this hook. One that it does not have is not to be run.
    pub fn exports(&self, hook: Hook) -> bool {
        self.exports.hook(hook).is_some()
    }

    /// The hooks it has.
    pub fn hooks(&self) -> Vec<Hook> {
        self.exports.hooks()
    }

    /// The interfaces it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Whether its hooks can wait for answers from outside.
    #[inline]
    pub(crate) fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// Whether its core module runs directly, without the component model's machinery.
    pub fn is_direct(&self) -> bool {
        matches!(self.code, Code::Direct(_))
    }

    /// Whether its hooks can be called without a fiber.
    #[inline]
    pub(crate) fn is_straight(&self) -> bool {
        matches!(&self.code, Code::Direct(program) if program.is_straight())
    }

    /// How it did so far.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How many transactions (or dialogs) have to end in it.
    pub fn pinned(&self) -> u64 {
        self.pins.count()
    }
}

/// The number of a version of this policy; 0 means "none yet" to the core.
fn number_of(name: &str, digest: &Digest) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(digest.as_str().as_bytes());
    hasher.update(name.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    (u64::from_le_bytes(bytes) >> 1).max(1)
}

/// Counts the transactions (or dialogs) that have to end in a version.
///
/// The registry closes the counter of a version that it forgets, which succeeds only without pins: who pins a closed one knows that
/// the version has to be put back.
#[derive(Debug, Default)]
pub(crate) struct Pins(AtomicU64);

impl Pins {
    const CLOSED: u64 = 1 << 63;

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst) & !Pins::CLOSED
    }

    /// Adds a pin; false when the counter is closed.
    pub(crate) fn add(&self) -> bool {
        self.update(|pins| (pins & Pins::CLOSED == 0).then_some(pins + 1))
            .is_some()
    }

    /// Adds a pin and opens the counter.
    pub(crate) fn open_and_add(&self) {
        self.open();
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.0.fetch_and(!Pins::CLOSED, Ordering::SeqCst);
    }

    /// Removes a pin, and tells how many are left; `None`: there was none.
    pub(crate) fn remove(&self) -> Option<u64> {
        let count = |pins| pins & !Pins::CLOSED;
        self.update(|pins| (count(pins) > 0).then(|| pins - 1))
            .map(|before| count(before) - 1)
    }

    /// Closes the counter unless there are pins.
    pub(crate) fn close(&self) -> bool {
        self.update(|pins| (pins & !Pins::CLOSED == 0).then_some(Pins::CLOSED))
            .is_some()
    }

    /// The value before the change, when there is one.
    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
            .ok()
    }
}

impl<H: Host> fmt::Debug for Version<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("number", &self.number)
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// Counts of a version, kept per worker so that workers do not share a cache line.
pub struct Stats {
    workers: Box<[WorkerStats]>,
    last_fault: Mutex<Option<String>>,
}

#[derive(Default)]
#[repr(align(128))]
struct WorkerStats {
    calls: [AtomicU64; 5],
    time_ns: [AtomicU64; 5],
    faults: [AtomicU64; Fault::KINDS],
    times: HookTimesCounter,
}

/// [`Stats`] added up over the workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hook runs that ended, in the order of [`Hook::ALL`].
    pub calls: [u64; 5],
    /// Their time from the first poll to the end, in nanoseconds.
    pub time_ns: [u64; 5],
    /// Faults in the order of [`Fault::NAMES`].
    pub faults: [u64; Fault::KINDS],
    /// How long hooks took.
    pub times: HookTimes,
}

impl Counts {
    /// All hook runs.
    pub fn total_calls(&self) -> u64 {
        self.calls.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        plus(&mut self.calls, &other.calls);
        plus(&mut self.time_ns, &other.time_ns);
        plus(&mut self.faults, &other.faults);
        self.times.add(&other.times);
    }

    /// Faults that the policy is not to blame for: it was not run.
    pub fn unavailable(&self) -> u64 {
        self.faults
            .get(Fault::UNAVAILABLE)
            .copied()
            .unwrap_or_default()
    }

    /// All faults.
    pub fn total_faults(&self) -> u64 {
        self.faults.iter().sum()
    }
}

impl Stats {
    fn new(workers: usize) -> Stats {
        Stats {
            workers: (0..workers.max(1))
                .map(|_| WorkerStats::default())
                .collect(),
            last_fault: Mutex::new(None),
        }
    }

    #[inline]
    pub(crate) fn count(
        &self,
        worker: usize,
        hook: Hook,
        elapsed: Duration,
        fault: Option<&Fault>,
    ) {
        // Only what is tried apart from the traffic has fewer counts than workers.
        let stats = self
            .workers
            .get(worker)
            .or_else(|| self.workers.get(worker % self.workers.len()));
        let Some(stats) = stats else { return };
        let nanos = elapsed
            .as_secs()
            .saturating_mul(1_000_000_000)
            .saturating_add(elapsed.subsec_nanos().into());
        add(&stats.calls, hook.index(), 1);
        add(&stats.time_ns, hook.index(), nanos);
        stats.times.count(nanos);
        if let Some(fault) = fault {
            self.note_fault(stats, hook, fault);
        }
    }

    /// Counts a fault that showed only after the run: what it decided is not possible where it ran.
    pub fn count_fault(&self, worker: usize, hook: Hook, fault: &Fault) {
        if let Some(stats) = self.workers.get(worker % self.workers.len()) {
            self.note_fault(stats, hook, fault);
        }
    }

    fn note_fault(&self, stats: &WorkerStats, hook: Hook, fault: &Fault) {
        add(&stats.faults, fault.index(), 1);
        let mut last = self
            .last_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(format!("{}: {fault}", hook.name()));
    }

    /// The last fault, with its hook.
    pub fn last_fault(&self) -> Option<String> {
        self.last_fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The counts of all workers.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for worker in &self.workers {
            sum(&mut counts.calls, &worker.calls);
            sum(&mut counts.time_ns, &worker.time_ns);
            sum(&mut counts.faults, &worker.faults);
            counts.times.add_counter(&worker.times);
        }
        counts
    }
}

/// Adds to a counter that nobody else writes, without the lock that an addition for all would take.
#[inline]
fn add(counters: &[AtomicU64], index: usize, value: u64) {
    if let Some(counter) = counters.get(index) {
        let sum = counter.load(Ordering::Relaxed).wrapping_add(value);
        counter.store(sum, Ordering::Relaxed);
    }
}

fn plus(into: &mut [u64], other: &[u64]) {
    for (total, value) in into.iter_mut().zip(other) {
        *total += value;
    }
}

fn sum(into: &mut [u64], counters: &[AtomicU64]) {
    for (total, counter) in into.iter_mut().zip(counters) {
        *total += counter.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_up_over_workers() {
        let stats = Stats::new(2);
        stats.count(0, Hook::RequestRoute, Duration::from_micros(3), None);
        stats.count(
            1,
            Hook::RequestRoute,
            Duration::from_secs(1),
            Some(&Fault::Deadline),
        );
        let counts = stats.counts();
        assert_eq!(counts.calls, [2, 0, 0, 0, 0]);
        assert_eq!(counts.total_faults(), 1);
        assert!(counts.times.quantile(0.5) < Some(Duration::from_micros(4)));
        assert!(counts.times.quantile(1.0) >= Some(Duration::from_secs(1)));
    }
}
