//! Versions that live on for the dialogs which began in them.
//!
//! A proxy does not know when a dialog ends: a version is kept until no hook has run in it for two hours, and only the latest few
//! of each policy are: who rolls out one policy often takes nothing from the dialogs of others. A dialog whose version is gone goes on in the active one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::digest::Digest;
use crate::host::Host;
use crate::version::Version;

/// How many of one policy are kept; its oldest goes.
const MAX_OF_POLICY: usize = 8;
/// How many are kept in all; of the policy that has the most, the oldest goes.
const MAX_RETIRED: usize = 64;
/// How long one is kept after its last hook.
const IDLE: Duration = Duration::from_secs(2 * 3600);

/// The versions that are kept, the oldest first.
pub(super) struct RetiredVersions<H: Host>(Vec<Retired<H>>);

struct Retired<H: Host> {
    version: Arc<Version<H>>,
    calls: u64,
    last_used: Instant,
}

impl<H: Host> Default for RetiredVersions<H> {
    fn default() -> RetiredVersions<H> {
        RetiredVersions(Vec::new())
    }
}

impl<H: Host> RetiredVersions<H> {
    /// The versions, the latest last.
    pub(super) fn versions(&self) -> Vec<(String, Digest)> {
        let versions = self.0.iter().map(|retired| &retired.version);
        versions
            .map(|version| (version.name().to_string(), version.digest().clone()))
            .collect()
    }

    /// Keeps a version from now on that was replaced before all others, while there is room.
    pub(super) fn keep_as_oldest(&mut self, version: &Arc<Version<H>>, now: Instant) {
        let has_room = self.0.len() < MAX_RETIRED && self.count_of(version.name()) < MAX_OF_POLICY;
        if has_room && !self.has(version.number()) {
            self.0.insert(0, Retired::new(version, now));
        }
    }

    /// Keeps a version from now on.
    pub(super) fn keep(&mut self, version: &Arc<Version<H>>, now: Instant) {
        self.remove(version.number());
        self.0.push(Retired::new(version, now));
        if self.count_of(version.name()) > MAX_OF_POLICY {
            self.remove_oldest_of(version.name());
        }
        if self.0.len() > MAX_RETIRED
            && let Some(fullest) = self.fullest()
        {
            self.remove_oldest_of(&fullest);
        }
    }

    /// The policy that has the most; of several the one with the oldest version.
    fn fullest(&self) -> Option<Arc<str>> {
        let newest_first = self.0.iter().rev().map(|retired| retired.version.name());
        newest_first.max_by_key(|name| self.count_of(name)).cloned()
    }

    fn count_of(&self, policy: &str) -> usize {
        self.0
            .iter()
            .filter(|retired| retired.is_of(policy))
            .count()
    }

    fn remove_oldest_of(&mut self, policy: &str) {
        if let Some(oldest) = self.0.iter().position(|retired| retired.is_of(policy)) {
            self.0.remove(oldest);
        }
    }

    /// It is in use again, or not wanted any more.
    pub(super) fn remove(&mut self, number: u64) {
        self.0.retain(|retired| retired.version.number() != number);
    }

    /// Whether it is kept.
    pub(super) fn has(&self, number: u64) -> bool {
        self.0
            .iter()
            .any(|retired| retired.version.number() == number)
    }

    /// Drops those that have not been used for long; whether there were any.
    pub(super) fn drop_idle(&mut self, now: Instant) -> bool {
        let before = self.0.len();
        for retired in &mut self.0 {
            let calls = calls(&retired.version);
            if std::mem::replace(&mut retired.calls, calls) != calls {
                retired.last_used = now;
            }
        }
        self.0
            .retain(|retired| now.saturating_duration_since(retired.last_used) < IDLE);
        self.0.len() < before
    }
}

impl<H: Host> Retired<H> {
    fn new(version: &Arc<Version<H>>, now: Instant) -> Retired<H> {
        Retired {
            calls: calls(version),
            version: Arc::clone(version),
            last_used: now,
        }
    }

    fn is_of(&self, policy: &str) -> bool {
        **self.version.name() == *policy
    }
}

fn calls<H: Host>(version: &Version<H>) -> u64 {
    version.stats().counts().total_calls()
}
