//! A version that runs on copies of what the workers run, on a thread of its own.
//!
//! It sees what the active version saw and gets the answers that this one got; nothing it does is real. When it can't keep up, copies are
//! dropped and counted.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use patchbay_policy::{Engine, Version};
use serde::{Deserialize, Serialize};

use super::collect::Traced;
use super::differences::RunDifference;
use super::replay::Replayer;
use crate::hooks::HookHost;
use crate::rollout::Reach;

/// Copies that wait for the shadow. More are dropped and counted.
const MAX_WAITING: usize = 4096;
/// The latest differences that are kept.
const MAX_KEPT: usize = 1000;

/// How a shadow is getting on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The policy.
    pub policy: String,
    /// The version that runs in the shadow.
    pub version: String,
    /// Since when, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Hook runs that were compared.
    pub runs: u64,
    /// Those that the version would have treated differently.
    pub different: u64,
    /// Those in which it failed and the active version did not.
    pub faults: u64,
    /// Hook runs that were not compared because too many waited, or because what they were answered was too much to be kept.
    pub dropped: u64,
    /// The latest of those that it would have treated differently, the latest last.
    pub differences: Vec<RunDifference>,
}

/// Which runs a shadow gets copies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copies {
    /// Those of its own policy, which routes name.
    OfItsPolicy,
    /// Those of requests that no route takes: of every policy but these, which routes name.
    OfOthersThan(BTreeSet<String>),
}

/// A version in the shadow. It ends when this is dropped.
pub(super) struct Shadow {
    version: Arc<Version<HookHost>>,
    /// Whose runs it was begun for.
    reach: Reach,
    wanted: Copies,
    started_unix_ms: u64,
    copies: SyncSender<Arc<Traced>>,
    dropped: AtomicU64,
    results: Arc<Results>,
}

#[derive(Default)]
struct Results {
    ended: AtomicBool,
    runs: AtomicU64,
    different: AtomicU64,
    faults: AtomicU64,
    kept: Mutex<VecDeque<RunDifference>>,
}

impl Shadow {
    pub(super) fn start(
        engine: Engine<HookHost>,
        version: Arc<Version<HookHost>>,
        reach: Reach,
        wanted: Copies,
    ) -> std::io::Result<Shadow> {
        let (copies, waiting) = sync_channel(MAX_WAITING);
        let results = Arc::new(Results::default());
        let thread = std::thread::Builder::new().name("shadow".to_owned());
        let (shared, tried) = (Arc::clone(&results), Arc::new(version.counted_apart()));
        thread.spawn(move || compare(Replayer::new(engine, tried), &waiting, &shared))?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Shadow {
            version,
            reach,
            wanted,
            started_unix_ms: since_1970.map_or(0, |since| since.as_millis() as u64),
            copies,
            dropped: AtomicU64::new(0),
            results,
        })
    }

    /// Whose runs it was begun for.
    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// Gives it copies of these from now on.
    pub(super) fn want(&mut self, wanted: Copies) {
        self.wanted = wanted;
    }

    /// Gives it the copy of a run, unless that was its own, or none.
    pub(super) fn offer(&self, traced: &Arc<Traced>) {
        let is_wanted = match &self.wanted {
            Copies::OfItsPolicy => traced.trace.policy == **self.version.name(),
            Copies::OfOthersThan(names) => !names.contains(&traced.trace.policy),
        };
        let is_own = traced.trace.version == self.version.digest().as_str();
        if !is_wanted || is_own || !traced.trace.has_run() {
            return;
        }
        if !traced.trace.has_answers() || self.copies.try_send(Arc::clone(traced)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn report(&self) -> ShadowReport {
        let results = &self.results;
        let kept = results.kept.lock().unwrap_or_else(PoisonError::into_inner);
        ShadowReport {
            policy: self.version.name().to_string(),
            version: self.version.digest().to_string(),
            started_unix_ms: self.started_unix_ms,
            runs: results.runs.load(Ordering::Relaxed),
            different: results.different.load(Ordering::Relaxed),
            faults: results.faults.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            differences: kept.iter().cloned().collect(),
        }
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // What still waits is not run any more.
        self.results.ended.store(true, Ordering::Relaxed);
    }
}

fn compare(mut replayer: Replayer, waiting: &Receiver<Arc<Traced>>, results: &Results) {
    for traced in waiting {
        if results.ended.load(Ordering::Relaxed) {
            return;
        }
        let difference = replayer.compare(&traced.trace, &traced.environment);
        if let Some(difference) = difference {
            results.keep(difference);
        }
        results.runs.fetch_add(1, Ordering::Relaxed);
    }
}

impl Results {
    fn keep(&self, difference: RunDifference) {
        self.different.fetch_add(1, Ordering::Relaxed);
        let verdict = difference
            .differences
            .iter()
            .find(|difference| difference.field == "verdict");
        if verdict.is_some_and(|verdict| verdict.new.starts_with("fault")) {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(difference);
    }
}
