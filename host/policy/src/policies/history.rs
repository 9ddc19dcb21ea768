//! What is known of the past of an active version, so that a router can take it over its restart.

use std::time::{Duration, Instant, SystemTime};

use super::Policies;
use super::lanes::{Lane, LaneName};
use super::registry::Registry;
use super::watch::{PROBATION, Watch};
use crate::digest::Digest;
use crate::host::Host;

/// How a version came to be active: for the requests that no route takes, or for the routes that name its policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveHistory {
    /// When it was activated; `None`: nobody knows, long ago.
    pub activated_at: Option<SystemTime>,
    /// What was active before, the latest last: where rollbacks lead.
    pub before: Vec<(String, Digest)>,
    /// Where it leads when it keeps failing soon after its activation.
    pub previous: Option<(String, Digest)>,
}

impl<H: Host> Policies<H> {
    /// What is known of the past of the active version: of this policy, for the routes that name it; without one, for the requests that
    /// no route takes.
    pub fn history(&self, policy: Option<&str>) -> ActiveHistory {
        let mut registry = self.lock();
        let lane = registry.lane(&LaneName::of(policy));
        lane.map(|lane| lane.history()).unwrap_or_default()
    }

    /// Takes over what was known before a restart of the past of the version that is active again. It is no new activation: what is left
    /// of the time in which it can be rolled back by itself goes on. The version before stays in memory when it is where that leads.
    pub fn recall(&self, policy: Option<&str>, history: &ActiveHistory) {
        let name = LaneName::of(policy);
        let mut registry = self.lock();
        let active = self.active_in(&registry, &name);
        if let (Some(active), Some(at)) = (&active, history.activated_at) {
            registry.set_activated_at(active, at);
        }
        let left = history.probation_left(SystemTime::now());
        if let Some(lane) = registry.lane(&name) {
            lane.recall(history);
            lane.watch = active.map(|version| Watch::resumed(&version, Instant::now(), left));
        }
        self.release(&mut registry);
    }

    /// The versions that were rolled back by themselves and are not again, the latest last.
    pub fn rolled_back(&self) -> Vec<Digest> {
        self.lock().rolled_back.clone()
    }

    /// Takes over what [`rolled_back`](Policies::rolled_back) said before a restart.
    pub fn recall_rolled_back(&self, versions: Vec<Digest>) {
        self.lock().rolled_back = versions;
    }

    /// Whether a version is kept here and can be loaded.
    pub fn is_stored(&self, policy: &str, version: &Digest) -> bool {
        self.lock().has_good(policy, version)
    }
}

impl ActiveHistory {
    /// What is left of the time in which the version can be rolled back by itself. Nothing where that is not known: a crafted message
    /// must not force an old version on the operator.
    fn probation_left(&self, now: SystemTime) -> Duration {
        let Some(activated_at) = self.activated_at else {
            return Duration::ZERO;
        };
        match now.duration_since(activated_at) {
            Ok(elapsed) => PROBATION.saturating_sub(elapsed),
            // A clock that was set back a little.
            Err(ahead) if ahead.duration() < PROBATION => PROBATION,
            Err(_) => Duration::ZERO,
        }
    }
}

impl<H: Host> Lane<H> {
    fn history(&self) -> ActiveHistory {
        let previous = self.previous.as_ref();
        ActiveHistory {
            activated_at: self.activated_at,
            before: self.history.clone(),
            previous: previous
                .map(|previous| (previous.name().to_string(), previous.digest().clone())),
        }
    }

    fn recall(&mut self, history: &ActiveHistory) {
        self.activated_at = history.activated_at;
        self.history.clear();
        for (name, digest) in &history.before {
            self.remember(name, digest);
        }
        self.previous.take_if(|loaded| {
            let wanted = history.previous.as_ref();
            wanted
                .is_none_or(|(name, digest)| **loaded.name() != **name || loaded.digest() != digest)
        });
    }

    /// The part of a history that is about this policy, for a lane of its own.
    pub(super) fn part_of(&self, policy: &str) -> Lane<H> {
        let is_of_policy = |(name, _): &&(String, Digest)| name == policy;
        let previous = self.previous.as_ref();
        Lane {
            history: self.history.iter().filter(is_of_policy).cloned().collect(),
            previous: previous
                .filter(|previous| **previous.name() == *policy)
                .cloned(),
            unfit: self.unfit,
            activated_at: self.activated_at,
            watch: self.watch.clone(),
        }
    }
}

impl<H: Host> Registry<H> {
    pub(super) fn has_good(&self, policy: &str, version: &Digest) -> bool {
        self.policies
            .get(policy)
            .is_some_and(|versions| versions.iter().any(|stored| stored.is_good(version)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_be_rolled_back_in_goes_on_over_a_restart() {
        let activated_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let history = ActiveHistory {
            activated_at: Some(activated_at),
            ..ActiveHistory::default()
        };
        let left = |secs| history.probation_left(activated_at + Duration::from_secs(secs));
        assert_eq!(left(0), PROBATION);
        assert_eq!(left(10), PROBATION - Duration::from_secs(10));
        assert_eq!(left(30), Duration::ZERO);
        assert_eq!(left(1 << 30), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_was_set_back_opens_no_new_window() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |activated_at| {
            let history = ActiveHistory {
                activated_at,
                ..ActiveHistory::default()
            };
            history.probation_left(now)
        };
        assert_eq!(at(Some(now + Duration::from_secs(2))), PROBATION);
        assert_eq!(at(Some(now + Duration::from_secs(3600))), Duration::ZERO);
        assert_eq!(at(None), Duration::ZERO, "nobody knows when");
    }
}
