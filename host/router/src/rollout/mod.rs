//! The canary: a version that runs some new dialogs, from their first request to their end.
//!
//! A keyed hash of the Call-ID (or of the caller's address-of-record) chooses. The version goes into the Record-Route token, so that
//! the requests inside of the dialog run in it, too, also when the canary has ended meanwhile. Without a canary all this costs one
//! branch per request.

mod guards;
mod reach;
mod rule;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use patchbay_core::door::{HookContext, PolicyVersion};
use patchbay_policy::{Counts, Policies, Version};

use crate::hooks::HookHost;
use crate::metrics::{Counter, Family, StatusClass};
use crate::routes;

pub use guards::{Judgement, Record, judge};
pub use reach::Reach;
pub use rule::{By, Guards, Match, Network, Rule};

/// The canary of a router, as far as there is one.
#[derive(Default)]
pub struct Rollout {
    /// Whether there is one: what the path of a message looks at.
    is_on: AtomicBool,
    canary: ArcSwapOption<Canary>,
    /// Held while both change.
    changing: Mutex<()>,
}

/// A version that runs some new dialogs.
pub struct Canary {
    version: Arc<Version<HookHost>>,
    /// The policy whose version has the dialogs that the canary might have had: mostly its own.
    beside: String,
    /// Whose dialogs it was begun for.
    reach: Reach,
    rule: Rule,
    /// Keys the hash: who calls can't choose a Call-ID for a version.
    key: [u8; 32],
    /// Hashes below are the canary's.
    below: u128,
    began: Instant,
    /// How long ago it began before that: the router has started again since.
    ran_before: Duration,
    /// Of the version, before it was a canary.
    counts_before: Counts,
    /// It was told that it answers nothing.
    is_told_silent: AtomicBool,
    workers: Box<[WorkerSides]>,
}

/// What one worker counts; only it writes.
#[derive(Default)]
#[repr(align(128))]
struct WorkerSides {
    canary: Side,
    stable: Side,
}

#[derive(Default)]
struct Side {
    requests: Counter,
    finals: Family<6>,
}

/// New requests and final responses of one side, since the canary began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideCounts {
    /// New requests outside of dialogs.
    pub requests: u64,
    /// Final responses by class, from 1xx.
    pub finals: [u64; 6],
}

impl Rollout {
    /// Gives new dialogs to this canary from now on.
    pub fn begin(&self, canary: Arc<Canary>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.canary.store(Some(canary));
        self.is_on.store(true, Ordering::SeqCst);
    }

    /// Gives it no more; false when it was over already.
    pub fn end(&self, canary: &Arc<Canary>) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.canary.load_full();
        let is_it = current.is_some_and(|current| Arc::ptr_eq(&current, canary));
        if is_it {
            self.is_on.store(false, Ordering::SeqCst);
            self.canary.store(None);
        }
        is_it
    }

    /// The canary.
    pub fn canary(&self) -> Option<Arc<Canary>> {
        self.canary.load_full()
    }

    /// The version of a new dialog, when it is the canary's. `may_run` says whether the dialog could be its at all.
    #[inline]
    pub(crate) fn choose_for(
        &self,
        context: &HookContext,
        worker: u16,
        may_run: impl FnOnce(&Canary) -> bool,
    ) -> Option<Arc<Version<HookHost>>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let canary = self.canary.load();
        let canary = canary.as_ref()?;
        if !may_run(canary) {
            return None;
        }
        canary.choose(context, worker)
    }

    /// Counts a final response for the side that its request ran in.
    #[inline]
    pub(crate) fn count_final(
        &self,
        worker: u16,
        version: PolicyVersion,
        status: u16,
        policies: &Policies<HookHost>,
    ) {
        if self.is_on.load(Ordering::Relaxed)
            && let Some(canary) = self.canary.load().as_ref()
        {
            canary.count_final(worker, version, status, policies);
        }
    }
}

impl Canary {
    /// A canary beside the active version of this policy. It begins now, or goes on after it `ran_before` a restart; `secret` is the node's.
    pub fn new(
        version: Arc<Version<HookHost>>,
        beside: String,
        reach: Reach,
        rule: Rule,
        ran_before: Duration,
        secret: &[u8; 32],
        workers: usize,
    ) -> Canary {
        let rule = rule.in_full();
        let mut hasher = blake3::Hasher::new_derive_key("patchbay canary 1");
        hasher.update(secret);
        // The same for all versions of a policy: whoever got the last canary gets the next one, and a larger share contains a smaller.
        hasher.update(version.name().as_bytes());
        Canary {
            counts_before: version.stats().counts(),
            is_told_silent: AtomicBool::new(false),
            key: *hasher.finalize().as_bytes(),
            below: (rule.percent / 100.0 * 2f64.powi(64)) as u128,
            began: Instant::now(),
            ran_before,
            workers: (0..workers.max(1))
                .map(|_| WorkerSides::default())
                .collect(),
            version,
            beside,
            reach,
            rule,
        }
    }

    /// The version.
    pub fn version(&self) -> &Arc<Version<HookHost>> {
        &self.version
    }

    /// How it is chosen and guarded.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whose dialogs it was begun for.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Tells somebody, once, that its time is over and that it answers nothing.
    pub(crate) fn tell_silent(&self) {
        if self.is_told_silent.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            policy = &**self.version.name(),
            policy_version = self.version.digest().short(),
            requests = self.record().requests,
            "the canary's time is over and it has answered nothing, while others have: it goes on until it does; promote or abort it"
        );
    }

    /// What becomes of it.
    pub fn judge(&self) -> Judgement {
        judge(&self.rule.guards, &self.record(), self.elapsed())
    }

    /// Since when it has new dialogs, over restarts.
    fn elapsed(&self) -> Duration {
        self.ran_before + self.began.elapsed()
    }

    /// What it has done since the router started.
    pub fn record(&self) -> Record {
        let counts = self.version.stats().counts();
        let (side, stable) = self.sides();
        let before = &self.counts_before;
        let (hook_runs, faults) = own_runs(&counts, before);
        Record {
            requests: side.requests,
            hook_runs,
            faults,
            times: counts.times.since(&before.times),
            finals: side.finals,
            stable_finals: stable.finals,
        }
    }

    /// The canary's side, and the other one: the requests that the canary might have had, and the final responses of all that is active beside it.
    pub fn sides(&self) -> (SideCounts, SideCounts) {
        let mut sides = (SideCounts::default(), SideCounts::default());
        for worker in &self.workers {
            sides.0.add(&worker.canary);
            sides.1.add(&worker.stable);
        }
        sides
    }

    #[cold]
    fn choose(&self, context: &HookContext, worker: u16) -> Option<Arc<Version<HookHost>>> {
        if !self.rule.admits(context) {
            return None;
        }
        let sides = self.workers.get(usize::from(worker))?;
        if self.hash(context) < self.below {
            sides.canary.requests.increment();
            return Some(Arc::clone(&self.version));
        }
        sides.stable.requests.increment();
        None
    }

    fn hash(&self, context: &HookContext) -> u128 {
        let caller = match self.rule.by {
            By::CallId => None,
            By::Aor => rule::caller(context),
        };
        match &caller {
            Some(caller) => share_of(&self.key, rule::hashed(caller).as_bytes()),
            None => share_of(&self.key, context.request.call_id()),
        }
    }

    #[cold]
    fn count_final(
        &self,
        worker: u16,
        version: PolicyVersion,
        status: u16,
        policies: &Policies<HookHost>,
    ) {
        let Some(sides) = self.workers.get(usize::from(worker)) else {
            return;
        };
        let number = version.number();
        let is_stable = |other: &Version<HookHost>| {
            **other.name() == *self.beside && routes::may_have(number, other.number())
        };
        let side = if number == 0 {
            return;
        } else if is_of_canary(version, number, self.version.number()) {
            &sides.canary
        } else if policies.find(is_stable).is_some() {
            &sides.stable
        } else {
            // Another policy, perhaps another tenant's.
            return;
        };
        side.finals.increment(StatusClass(status));
    }
}

/// Hook runs and faults since then, without those that the router had no room for: they say nothing of the version.
fn own_runs(counts: &Counts, before: &Counts) -> (u64, u64) {
    let since = |part: fn(&Counts) -> u64| part(counts).saturating_sub(part(before));
    let unavailable = since(Counts::unavailable);
    let without = |all: u64| all.saturating_sub(unavailable);
    (
        without(since(Counts::total_calls)),
        without(since(Counts::total_faults)),
    )
}

/// Whether a transaction of this number runs in the canary: alone, or in a chain, whose dialogs are kept in it, too.
fn is_of_canary(version: PolicyVersion, number: u64, canary: u64) -> bool {
    number == canary || version.keeps_dialog() && routes::may_have(number, canary)
}

/// Where a text stands among all of them, from 0 to 2^64.
fn share_of(key: &[u8; 32], text: &[u8]) -> u128 {
    let mut bytes = [0; 8];
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(text);
    hasher.finalize_xof().fill(&mut bytes);
    u128::from(u64::from_le_bytes(bytes))
}

impl SideCounts {
    fn add(&mut self, side: &Side) {
        self.requests += side.requests.value();
        for (class, total) in self.finals.iter_mut().enumerate() {
            let status = u16::try_from(class + 1).unwrap_or(0) * 100;
            *total += side.finals.value(StatusClass(status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_router_had_no_room_for_is_not_the_canarys_fault() {
        let counts = |calls, trapped, unavailable| Counts {
            calls: [calls, 0, 0, 0, 0],
            faults: [trapped, 0, 0, 0, 0, unavailable],
            ..Counts::default()
        };
        let before = counts(10, 1, 1);
        assert_eq!(own_runs(&counts(54, 1, 45), &before), (0, 0));
        assert_eq!(own_runs(&counts(60, 3, 46), &before), (5, 2));
    }

    #[test]
    fn a_share_of_texts_is_chosen_and_a_larger_one_contains_it() {
        let key = [7; 32];
        let below = |percent: f64| (percent / 100.0 * 2f64.powi(64)) as u128;
        let texts: Vec<String> = (0..50_000)
            .map(|number| format!("call-{number}@x"))
            .collect();
        let chosen = |percent: f64| {
            let is_chosen = |text: &&String| share_of(&key, text.as_bytes()) < below(percent);
            texts.iter().filter(is_chosen).count()
        };
        assert!((4_800..=5_200).contains(&chosen(10.0)), "{}", chosen(10.0));
        assert_eq!(chosen(100.0), texts.len());
        let in_both = texts
            .iter()
            .map(|text| share_of(&key, text.as_bytes()))
            .filter(|share| *share < below(5.0) && *share < below(10.0))
            .count();
        assert_eq!(in_both, chosen(5.0));
    }
}
