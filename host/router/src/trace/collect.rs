//! Takes the traces off the workers.
//!
//! A worker puts a trace into a queue of its own, which costs it neither a wait nor a system call: the lock is held for a push by the
//! worker, and for a swap by the one who drains. A full queue drops the trace, which is counted. While anything is traced, a thread drains
//! the queues every few milliseconds; whoever asks for what was traced drains them first. When nothing is traced, the thread sleeps.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use patchbay_core::door::Listener;
use patchbay_policy::{Engine, Version};

use super::environment::Environment;
use super::model::HookTrace;
use super::recording::{Recording, RecordingBounds, RecordingReport};
use super::ring::{CallReport, CallRing, CallSummary};
use super::shadow::{Copies, Shadow, ShadowReport};
use crate::config::Config;
use crate::hooks::HookHost;
use crate::rollout::Reach;

/// Traces of one worker that wait to be taken, and their bytes. More are dropped and counted.
const MAX_QUEUED: usize = 4096;
const MAX_QUEUED_BYTES: usize = 16 << 20;
/// How often the queues are drained.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// Configurations that are remembered, to give each trace its environment: workers take a new one over one after the other, and each
/// route has one.
const MAX_ENVIRONMENTS: usize = 256;

/// A trace as it leaves the worker.
pub(crate) struct Captured {
    /// The run.
    pub(crate) trace: HookTrace,
    /// The configuration that it saw.
    pub(crate) config: Arc<Config>,
}

/// A trace and the environment that it ran in.
pub(crate) struct Traced {
    /// The run.
    pub(crate) trace: HookTrace,
    /// What it saw of the configuration.
    pub(crate) environment: Arc<Environment>,
}

/// The traces of all workers, and who wants them.
pub struct Traces {
    /// Whether anybody wants them: all that a worker looks at when nobody does.
    on: AtomicBool,
    queues: Box<[Mutex<Queue>]>,
    traced: AtomicU64,
    dropped: AtomicU64,
    sinks: Mutex<Sinks>,
    thread: OnceLock<Thread>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Queue {
    runs: Vec<Captured>,
    bytes: usize,
}

/// Who wants the traces.
struct Sinks {
    environments: Environments,
    calls: CallRing,
    recording: Option<Recording>,
    /// What became of the one before.
    recorded: Option<RecordingReport>,
    shadow: Option<Shadow>,
}

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// One recording at a time.
    #[error("a recording to {} is under way: stop it first", .0.display())]
    Running(PathBuf),
    /// There is none.
    #[error("nothing is recorded")]
    NotRunning,
    /// There is one of this name.
    #[error("{}: there is a recording of this name already: choose another name, or move the file", .0.display())]
    Exists(PathBuf),
    /// The file can't be made.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// How many traces there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Runs that were traced.
    pub traced: u64,
    /// Traces that were dropped because a queue was full.
    pub dropped: u64,
}

impl Traces {
    /// Of so many workers, with these listeners; the ring keeps so many calls, 0: none.
    pub fn new(workers: usize, listeners: Vec<Listener>, call_ring: usize) -> Traces {
        Traces {
            on: AtomicBool::new(call_ring > 0),
            queues: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            traced: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            sinks: Mutex::new(Sinks {
                environments: Environments::new(listeners),
                calls: CallRing::new(call_ring),
                recording: None,
                recorded: None,
                shadow: None,
            }),
            thread: OnceLock::new(),
            ended: AtomicBool::new(false),
        }
    }

    /// Whether hook runs are to be traced.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes the trace of a worker's hook run.
    pub(crate) fn push(&self, worker: u16, captured: Captured) {
        let Some(queue) = self.queues.get(usize::from(worker)) else {
            return;
        };
        self.traced.fetch_add(1, Ordering::Relaxed);
        let weight = captured.trace.weight();
        let mut queue = lock(queue);
        if queue.runs.len() >= MAX_QUEUED || queue.bytes + weight > MAX_QUEUED_BYTES {
            drop(queue);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += weight;
        queue.runs.push(captured);
    }

    /// How many traces there were.
    pub fn counts(&self) -> TraceCounts {
        TraceCounts {
            traced: self.traced.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    /// Gives every waiting trace to those who want it.
    fn drained(&self) -> MutexGuard<'_, Sinks> {
        let mut sinks = lock(&self.sinks);
        for queue in &self.queues {
            let runs = {
                let mut queue = lock(queue);
                queue.bytes = 0;
                std::mem::take(&mut queue.runs)
            };
            runs.into_iter().for_each(|captured| sinks.take(captured));
        }
        sinks.end_due(self.counts().dropped);
        self.switch(&sinks);
        sinks
    }

    /// Traces are wanted as long as somebody takes them.
    fn switch(&self, sinks: &Sinks) {
        let wanted = sinks.calls.is_wanted() || sinks.recording.is_some() || sinks.shadow.is_some();
        let before = self.on.swap(wanted, Ordering::Relaxed);
        if wanted
            && !before
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Keeps so many calls from now on; 0: none.
    pub fn set_call_ring(&self, calls: usize) {
        let mut sinks = self.drained();
        sinks.calls.resize(calls);
        self.switch(&sinks);
    }

    /// The calls in the ring, the latest first; `None` when no calls are kept.
    pub fn calls(&self, limit: usize) -> Option<Vec<CallSummary>> {
        let sinks = self.drained();
        sinks.calls.is_wanted().then(|| sinks.calls.list(limit))
    }

    /// The hook runs of a call in the ring.
    pub fn call(&self, call_id: &str) -> Option<CallReport> {
        self.drained().calls.call(call_id)
    }

    /// Starts to record to a new file.
    pub fn record(
        &self,
        path: PathBuf,
        bounds: RecordingBounds,
    ) -> Result<RecordingReport, RecordError> {
        let mut sinks = self.drained();
        if let Some(running) = &sinks.recording {
            return Err(RecordError::Running(running.path().to_path_buf()));
        }
        let dropped = self.counts().dropped;
        let recording = Recording::start(path.clone(), bounds, dropped).map_err(|source| {
            match source.kind() {
                std::io::ErrorKind::AlreadyExists => RecordError::Exists(path),
                _ => RecordError::File { path, source },
            }
        })?;
        let report = recording.report(dropped);
        sinks.recording = Some(recording);
        self.switch(&sinks);
        Ok(report)
    }

    /// Ends the recording, with everything in it that happened before.
    pub fn stop_recording(&self) -> Result<RecordingReport, RecordError> {
        let mut sinks = self.drained();
        let dropped = self.counts().dropped;
        let recording = sinks.recording.take().ok_or(RecordError::NotRunning)?;
        let report = recording.end("stopped", dropped);
        sinks.recorded = Some(report.clone());
        self.switch(&sinks);
        Ok(report)
    }

    /// The recording that is under way, else the last one since the start.
    pub fn recording(&self) -> Option<RecordingReport> {
        let sinks = self.drained();
        let dropped = self.counts().dropped;
        let running = sinks.recording.as_ref();
        running
            .map(|recording| recording.report(dropped))
            .or_else(|| sinks.recorded.clone())
    }

    /// Runs this version on copies of what the workers run, as far as it may have them, in place of the one before it.
    pub fn set_shadow(
        &self,
        engine: Engine<HookHost>,
        version: Arc<Version<HookHost>>,
        reach: Reach,
        copies: Copies,
    ) -> std::io::Result<ShadowReport> {
        let mut sinks = self.drained();
        let shadow = Shadow::start(engine, version, reach, copies)?;
        let report = shadow.report();
        sinks.shadow = Some(shadow);
        self.switch(&sinks);
        Ok(report)
    }

    /// Whose runs the shadow was begun for.
    pub fn shadow_reach(&self) -> Option<Reach> {
        self.drained().shadow.as_ref().map(Shadow::reach)
    }

    /// Runs the shadow on copies of these from now on.
    pub fn set_shadow_copies(&self, copies: Copies) {
        if let Some(shadow) = &mut self.drained().shadow {
            shadow.want(copies);
        }
    }

    /// Ends the shadow and tells what it has found.
    pub fn end_shadow(&self) -> Option<ShadowReport> {
        let mut sinks = self.drained();
        let shadow = sinks.shadow.take()?;
        self.switch(&sinks);
        Some(shadow.report())
    }

    /// What the shadow has found so far.
    pub fn shadow(&self) -> Option<ShadowReport> {
        self.drained().shadow.as_ref().map(Shadow::report)
    }
}

impl Sinks {
    fn take(&mut self, captured: Captured) {
        let Captured { mut trace, config } = captured;
        let (number, environment) = self.environments.of(&config);
        trace.environment = number;
        if let Some(recording) = &mut self.recording {
            recording.write(&trace, &environment);
        }
        let traced = Arc::new(Traced { trace, environment });
        if let Some(shadow) = &self.shadow {
            shadow.offer(&traced);
        }
        self.calls.push(traced);
    }

    /// Ends a recording that has reached a bound of its own.
    fn end_due(&mut self, dropped: u64) {
        let due = self.recording.as_mut().and_then(Recording::due);
        if let Some(reason) = due
            && let Some(recording) = self.recording.take()
        {
            self.recorded = Some(recording.end(&reason, dropped));
        }
    }
}

/// The environments of the latest configurations, by their numbers.
struct Environments {
    listeners: Vec<Listener>,
    latest: VecDeque<(Arc<Config>, u32, Arc<Environment>)>,
    last_number: u32,
}

impl Environments {
    fn new(listeners: Vec<Listener>) -> Environments {
        Environments {
            listeners,
            latest: VecDeque::new(),
            last_number: 0,
        }
    }

    fn of(&mut self, config: &Arc<Config>) -> (u32, Arc<Environment>) {
        let known = self
            .latest
            .iter()
            .find(|(known, ..)| Arc::ptr_eq(known, config));
        if let Some((_, number, environment)) = known {
            return (*number, Arc::clone(environment));
        }
        let environment = Environment::of(config, &self.listeners);
        let same = self
            .latest
            .iter()
            .find(|(.., known)| **known == environment);
        let (number, environment) = match same {
            Some((_, number, known)) => (*number, Arc::clone(known)),
            None => {
                self.last_number += 1;
                (self.last_number, Arc::new(environment))
            }
        };
        if self.latest.len() >= MAX_ENVIRONMENTS {
            self.latest.pop_front();
        }
        self.latest
            .push_back((Arc::clone(config), number, Arc::clone(&environment)));
        (number, environment)
    }
}

/// The thread that drains the queues. Its end ends a recording that is under way.
pub struct TraceThread {
    traces: Arc<Traces>,
    thread: Option<JoinHandle<()>>,
}

impl TraceThread {
    /// Starts it.
    pub fn start(traces: Arc<Traces>) -> std::io::Result<TraceThread> {
        let thread = std::thread::Builder::new().name("traces".to_owned());
        let drained = Arc::clone(&traces);
        let thread = thread.spawn(move || drain(&drained))?;
        // A second thread for the same traces only drains them twice as often.
        let _ = traces.thread.set(thread.thread().clone());
        Ok(TraceThread {
            traces,
            thread: Some(thread),
        })
    }
}

fn drain(traces: &Traces) {
    while !traces.ended.load(Ordering::Relaxed) {
        if traces.is_on() {
            drop(traces.drained());
            std::thread::park_timeout(DRAIN_INTERVAL);
        } else {
            std::thread::park();
        }
    }
}

impl Drop for TraceThread {
    fn drop(&mut self) {
        self.traces.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the thread of the traces panicked");
        }
        // Without a recording there is none to end.
        let _ = self.traces.stop_recording();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after each step: a panic elsewhere costs a trace and no more.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::scrub::tests::trace_of;
    use super::*;
    use crate::config::Overrides;

    fn captured(config: &Arc<Config>) -> Captured {
        Captured {
            trace: trace_of("", ""),
            config: Arc::clone(config),
        }
    }

    fn config(text: &str) -> Arc<Config> {
        Arc::new(Config::parse(text, "".as_ref(), &Overrides::default()).expect("valid"))
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let traces = Traces::new(1, Vec::new(), 1);
        let config = config("");
        for _ in 0..MAX_QUEUED + 5 {
            traces.push(0, captured(&config));
        }
        let counts = traces.counts();
        assert_eq!((counts.traced, counts.dropped), (MAX_QUEUED as u64 + 5, 5));
        assert_eq!(traces.calls(10).expect("a ring").len(), 1);
        traces.push(0, captured(&config));
        assert_eq!(traces.counts().dropped, 5);
    }

    #[test]
    fn nothing_is_traced_unless_somebody_wants_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let bounds = RecordingBounds {
            max_bytes: 1 << 20,
            max_time: Duration::from_secs(60),
            redact: false,
        };
        let traces = Traces::new(1, Vec::new(), 0);
        assert!(!traces.is_on() && traces.calls(10).is_none());
        traces
            .record(folder.path().join("r"), bounds)
            .expect("a new file");
        assert!(traces.is_on());
        assert!(traces.record(folder.path().join("s"), bounds).is_err());
        assert_eq!(traces.stop_recording().expect("there is one").runs, 0);
        assert!(!traces.is_on());
        traces.set_call_ring(5);
        assert!(traces.is_on());
    }

    #[test]
    fn environments_are_numbered_by_what_is_in_them() {
        let mut environments = Environments::new(Vec::new());
        let (one, same, other) = (
            config("[policy.settings]\na = \"1\"\n"),
            config("[policy.settings]\na = \"1\"\n"),
            config("[policy.settings]\na = \"2\"\n"),
        );
        let mut number = |config| environments.of(config).0;
        assert_eq!(
            [number(&one), number(&same), number(&other), number(&one)],
            [1, 1, 2, 1]
        );
    }
}
