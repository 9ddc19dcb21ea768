//! The latest calls with their hook runs, in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use patchbay_message::HeaderName;
use serde::{Deserialize, Serialize};

use super::collect::Traced;
use super::environment::Environment;
use super::model::HookTrace;
use super::scrub::scrubbed;

/// Hook runs of one call; the first ones are kept, and further ones counted.
const MAX_RUNS: usize = 64;
/// What the calls of a ring may take, per call that it may keep.
const BYTES_PER_CALL: usize = 32 << 10;

/// The latest calls, bounded in number and in bytes.
pub(super) struct CallRing {
    max_calls: usize,
    bytes: usize,
    calls: VecDeque<Call>,
    /// The number of a call, counted from the first one that there was.
    numbers: HashMap<String, u64>,
    /// The number of the first call that is still there.
    first: u64,
}

struct Call {
    call_id: String,
    runs: Vec<Arc<Traced>>,
    bytes: usize,
    left_out: u64,
}

/// A call in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallSummary {
    /// Its Call-ID.
    pub call_id: String,
    /// When its first hook began, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The method of the first request.
    pub method: String,
    /// From, of the first request.
    pub from: String,
    /// To, of the first request.
    pub to: String,
    /// The Request-URI, of the first request.
    pub request_uri: String,
    /// How many hooks ran.
    pub runs: u64,
    /// How many of them failed.
    pub faults: usize,
    /// What the last one decided.
    pub last: String,
    /// The policy of the last one.
    pub policy: String,
    /// Its version.
    pub version: String,
}

/// A call with its hook runs, in the form of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// Its Call-ID.
    pub call_id: String,
    /// Its hook runs in the order in which they ended.
    pub runs: Vec<HookTrace>,
    /// Further runs that were not kept.
    pub left_out: u64,
    /// The environments of the runs, by their numbers.
    pub environments: Vec<(u32, Environment)>,
}

impl CallRing {
    pub(super) fn new(max_calls: usize) -> CallRing {
        CallRing {
            max_calls,
            bytes: 0,
            calls: VecDeque::new(),
            numbers: HashMap::new(),
            first: 0,
        }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.max_calls > 0
    }

    pub(super) fn resize(&mut self, max_calls: usize) {
        self.max_calls = max_calls;
        self.shrink();
    }

    pub(super) fn push(&mut self, traced: Arc<Traced>) {
        if !self.is_wanted() {
            return;
        }
        let call_id = traced.trace.call_id();
        if call_id.is_empty() {
            return;
        }
        let next = self.first + self.calls.len() as u64;
        let number = *self.numbers.entry(call_id).or_insert_with_key(|call_id| {
            self.calls.push_back(Call {
                call_id: call_id.clone(),
                runs: Vec::new(),
                bytes: 0,
                left_out: 0,
            });
            next
        });
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        let Some(call) = self.calls.get_mut(index) else {
            return;
        };
        if call.runs.len() >= MAX_RUNS {
            call.left_out += 1;
            return;
        }
        let weight = traced.trace.weight();
        call.bytes += weight;
        self.bytes += weight;
        call.runs.push(traced);
        self.shrink();
    }

    fn shrink(&mut self) {
        let max_bytes = self.max_calls.saturating_mul(BYTES_PER_CALL);
        while self.calls.len() > self.max_calls || self.bytes > max_bytes {
            let Some(call) = self.calls.pop_front() else {
                return;
            };
            self.first += 1;
            self.bytes = self.bytes.saturating_sub(call.bytes);
            self.numbers.remove(&call.call_id);
        }
    }

    /// The latest first.
    pub(super) fn list(&self, limit: usize) -> Vec<CallSummary> {
        let calls = self.calls.iter().rev().take(limit);
        calls.filter_map(Call::summary).collect()
    }

    pub(super) fn call(&self, call_id: &str) -> Option<CallReport> {
        let number = self.numbers.get(call_id)?;
        let index = usize::try_from(number - self.first).ok()?;
        Some(self.calls.get(index)?.report())
    }
}

impl Call {
    fn summary(&self) -> Option<CallSummary> {
        let (first, last) = (&self.runs.first()?.trace, &self.runs.last()?.trace);
        let request = first.request()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(CallSummary {
            call_id: self.call_id.clone(),
            at_unix_ms: first.at_unix_ms,
            method: text(request.method().as_bytes()),
            from: first.request_header(HeaderName::From),
            to: first.request_header(HeaderName::To),
            request_uri: text(request.request_uri()),
            runs: self.runs.len() as u64 + self.left_out,
            faults: self
                .runs
                .iter()
                .filter(|run| run.trace.outcome.is_fault())
                .count(),
            last: format!("{} {}", last.input.hook.name(), last.outcome.brief()),
            policy: last.policy.clone(),
            version: last.version.clone(),
        })
    }

    fn report(&self) -> CallReport {
        let mut environments: Vec<(u32, Environment)> = Vec::new();
        for run in &self.runs {
            let number = run.trace.environment;
            if !environments.iter().any(|(known, _)| *known == number) {
                environments.push((number, (*run.environment).clone()));
            }
        }
        CallReport {
            call_id: self.call_id.clone(),
            runs: self
                .runs
                .iter()
                .map(|run| scrubbed(&run.trace).into_owned())
                .collect(),
            left_out: self.left_out,
            environments,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scrub::tests::trace_of;
    use super::*;

    fn run(call_id: &str) -> Arc<Traced> {
        let mut trace = trace_of("", "");
        let request = trace.input.request.as_mut().expect("a request");
        let text = request.received.lossy().replace("c1@192.0.2.7", call_id);
        request.received = text.as_bytes().into();
        Arc::new(Traced {
            trace,
            environment: Arc::default(),
        })
    }

    fn ids(ring: &CallRing) -> Vec<String> {
        let calls = ring.list(usize::MAX).into_iter();
        calls.map(|call| call.call_id).collect()
    }

    #[test]
    fn runs_are_kept_by_call_and_the_latest_call_is_first() {
        let mut ring = CallRing::new(10);
        for call_id in ["a", "b", "a"] {
            ring.push(run(call_id));
        }
        assert_eq!(ids(&ring), ["b", "a"]);
        let call = ring.call("a").expect("kept");
        assert_eq!((call.runs.len(), call.environments.len()), (2, 1));
        assert!(ring.call("c").is_none());
    }

    #[test]
    fn the_oldest_calls_go() {
        let mut ring = CallRing::new(2);
        for call_id in ["a", "b", "c", "b"] {
            ring.push(run(call_id));
        }
        assert_eq!(ids(&ring), ["c", "b"]);
        assert_eq!(ring.call("b").expect("kept").runs.len(), 2);
        ring.resize(1);
        assert_eq!(ids(&ring), ["c"]);
        ring.resize(0);
        ring.push(run("d"));
        assert!(ids(&ring).is_empty() && ring.bytes == 0);
    }

    #[test]
    fn a_call_keeps_its_first_runs_and_counts_the_rest() {
        let mut ring = CallRing::new(10);
        for _ in 0..MAX_RUNS + 3 {
            ring.push(run("a"));
        }
        let call = ring.call("a").expect("kept");
        assert_eq!((call.runs.len(), call.left_out), (MAX_RUNS, 3));
    }

    #[test]
    fn a_run_without_a_message_belongs_to_no_call() {
        let mut ring = CallRing::new(10);
        let mut trace = trace_of("", "");
        trace.input.request = None;
        ring.push(Arc::new(Traced {
            trace,
            environment: Arc::default(),
        }));
        assert!(ids(&ring).is_empty());
    }
}
