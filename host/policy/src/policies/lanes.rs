//! Where versions are active: for the requests that no route of the configuration takes, and for each policy that routes name.
//!
//! The shared lane has the active policy, whatever its name is. A routed lane has the active version of the one policy whose name it
//! bears. A policy that is in both has the same version in both.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwapOption;

use super::registry::Registry;
use super::watch::Watch;
use super::{Past, Policies, RollbackError};
use crate::digest::Digest;
use crate::engine::LoadError;
use crate::host::{Hook, Host};
use crate::version::Version;

/// How far rollbacks can go back.
const MAX_HISTORY: usize = 8;

/// What is known of a lane besides its active version.
pub(super) struct Lane<H: Host> {
    /// What was active before, the latest last.
    pub(super) history: Vec<(String, Digest)>,
    /// The latest of them while it is in memory.
    pub(super) previous: Option<Arc<Version<H>>>,
    /// The number of that one when it does not start as things are now.
    pub(super) unfit: Option<u64>,
    /// When its version became active; `None`: nobody knows.
    pub(super) activated_at: Option<SystemTime>,
    /// Faults of the active version.
    pub(super) watch: Option<Watch>,
}

impl<H: Host> Default for Lane<H> {
    fn default() -> Lane<H> {
        Lane {
            history: Vec::new(),
            previous: None,
            unfit: None,
            activated_at: None,
            watch: None,
        }
    }
}

impl<H: Host> Lane<H> {
    pub(super) fn remember(&mut self, name: &str, digest: &Digest) {
        let entry = (name.to_owned(), digest.clone());
        // Going back and forth must not push the versions before out of the history.
        self.history.retain(|other| *other != entry);
        self.history.push(entry);
        if self.history.len() > MAX_HISTORY {
            self.history.remove(0);
        }
    }
}

/// The lane of a policy that routes name.
pub(super) struct RoutedLane<H: Host> {
    pub(super) lane: Lane<H>,
    pub(super) active: Arc<ActiveVersion<H>>,
}

/// The active version of one policy that routes name. Reading it takes no lock.
pub struct ActiveVersion<H: Host>(ArcSwapOption<Version<H>>);

impl<H: Host> ActiveVersion<H> {
    /// The version; `None` while the policy has none that can run.
    pub fn load(&self) -> Option<Arc<Version<H>>> {
        self.0.load_full()
    }

    /// Whether it is this one, without holding it.
    #[inline]
    pub fn is(&self, version: &Version<H>) -> bool {
        let active = self.0.load();
        active
            .as_ref()
            .is_some_and(|active| std::ptr::eq::<Version<H>>(&**active, version))
    }

    fn number(&self) -> Option<u64> {
        self.0.load().as_ref().map(|version| version.number())
    }
}

/// Which lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LaneName {
    /// That of the requests without a route.
    Shared,
    /// That of the routes that name this policy.
    Routed(String),
}

impl LaneName {
    /// That of the routes that name a policy; without one, of the requests without a route.
    pub(super) fn of(policy: Option<&str>) -> LaneName {
        policy.map_or(LaneName::Shared, |policy| {
            LaneName::Routed(policy.to_owned())
        })
    }
}

impl<H: Host> Policies<H> {
    /// Says which policies have routes: each of them has an active version of its own from now on. One that is new here starts with
    /// the active version, and its past, when that is of the same policy, and without any otherwise.
    pub fn set_routed(&self, names: &BTreeSet<String>) {
        let mut registry = self.lock();
        registry.routed.retain(|name, _| names.contains(name));
        for name in names {
            if registry.routed.contains_key(name) {
                continue;
            }
            let active = self.active().filter(|active| **active.name() == **name);
            let lane = RoutedLane {
                lane: match active {
                    Some(_) => registry.shared.part_of(name),
                    None => Lane::default(),
                },
                active: Arc::new(ActiveVersion(ArcSwapOption::new(active))),
            };
            registry.routed.insert(name.clone(), lane);
        }
        self.publish_actives(&registry);
        self.release(&mut registry);
    }

    /// Whether routes name this policy.
    pub fn is_routed(&self, name: &str) -> bool {
        self.lock().routed.contains_key(name)
    }

    /// Where the active version of a policy that routes name can be read.
    pub fn active_of(&self, name: &str) -> Option<Arc<ActiveVersion<H>>> {
        let registry = self.lock();
        registry
            .routed
            .get(name)
            .map(|lane| Arc::clone(&lane.active))
    }

    /// The policies that have routes.
    pub fn routed(&self) -> BTreeSet<String> {
        self.lock().routed.keys().cloned().collect()
    }

    /// Whether a version, be it active or not, starts for each use of its policy.
    pub fn check_uses_of(&self, version: &Version<H>) -> Result<(), LoadError> {
        let uses = (self.uses)(version.name());
        self.engine.check_uses(version, uses)
    }

    /// Whether an instance of a version starts with this host, whatever is granted.
    pub fn try_out(&self, version: &Version<H>, host: H) -> Result<(), LoadError> {
        crate::instance::try_out(&self.engine, version, host)
    }

    /// Whether a version that is active anywhere is told of events.
    pub fn hears_events(&self) -> bool {
        self.hear_events.load(Ordering::Relaxed)
    }

    /// Makes the version of this policy active that was active before, for the routes that name it.
    pub fn rollback_of(&self, name: &str) -> Result<Arc<Version<H>>, RollbackError> {
        let lane = if self.is_routed(name) {
            LaneName::Routed(name.to_owned())
        } else if self.active().is_some_and(|active| **active.name() == *name) {
            LaneName::Shared
        } else {
            return Err(RollbackError::NotActive(name.to_owned()));
        };
        self.go_back(&lane)
    }

    /// Makes the version active in a lane that was active before this one.
    pub(super) fn go_back(&self, lane: &LaneName) -> Result<Arc<Version<H>>, RollbackError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let before = self
                .lock()
                .lane(lane)
                .and_then(|lane| lane.history.last().cloned());
            let Some(entry) = before else {
                return Err(RollbackError::NothingBefore);
            };
            if self.leave_out_active(lane, &entry) {
                continue;
            }
            let loaded = match self.loaded(&entry.0, &entry.1) {
                // It stays the one to go back to: what is in its way may be gone the next time. One that is damaged or refused never will.
                Err(super::ActivateError::Load(error))
                    if self.lock().has_good(&entry.0, &entry.1) =>
                {
                    return Err(error.into());
                }
                loaded => loaded,
            };
            let mut registry = self.lock();
            if let Some(lane) = registry.lane(lane) {
                lane.history.pop_if(|last| *last == entry);
            }
            // One that is not kept any more is gone; the one before it may be.
            if let Ok(version) = loaded {
                self.install(&mut registry, lane, &version, Past::Forget);
                self.follow(&mut registry, lane, &version);
                return Ok(version);
            }
        }
    }

    /// Takes out of a lane's history what is active in it: where the version after it was left out, it would lead to itself.
    fn leave_out_active(&self, lane: &LaneName, entry: &(String, Digest)) -> bool {
        let mut registry = self.lock();
        let active = self.active_in(&registry, lane);
        let is_active =
            active.is_some_and(|active| **active.name() == *entry.0 && *active.digest() == entry.1);
        if is_active && let Some(lane) = registry.lane(lane) {
            lane.history.pop_if(|last| last == entry);
        }
        is_active
    }

    /// The lanes that a version of this policy is activated in.
    pub(super) fn lanes_of(&self, registry: &Registry<H>, name: &str) -> Vec<LaneName> {
        if !registry.routed.contains_key(name) {
            return vec![LaneName::Shared];
        }
        let mut lanes = vec![LaneName::Routed(name.to_owned())];
        if self.active().is_some_and(|active| **active.name() == *name) {
            lanes.push(LaneName::Shared);
        }
        lanes
    }

    /// After a version became active in one lane: in others the same policy has the same version.
    pub(super) fn follow(
        &self,
        registry: &mut Registry<H>,
        changed: &LaneName,
        version: &Arc<Version<H>>,
    ) {
        for lane in self.lanes_of(registry, version.name()) {
            if lane == *changed || self.is_active_in(registry, &lane, version.number()) {
                continue;
            }
            let entry = (version.name().to_string(), version.digest().clone());
            if let Some(lane) = registry.lane(&lane) {
                lane.history.pop_if(|last| *last == entry);
            }
            self.install(registry, &lane, version, Past::Forget);
        }
    }

    /// Makes a version active in a lane.
    pub(super) fn install(
        &self,
        registry: &mut Registry<H>,
        lane: &LaneName,
        version: &Arc<Version<H>>,
        past: Past,
    ) {
        // In the table first: whoever sees it active also finds it by number.
        let version = &self.listed(version);
        registry.promoted(version.number());
        let active = match lane {
            LaneName::Shared => &self.active,
            LaneName::Routed(name) => match registry.routed.get(name) {
                Some(lane) => &lane.active.0,
                None => return,
            },
        };
        if !version.exports(Hook::RequestRoute) {
            let (policy, policy_version) = (&**version.name(), version.digest().short());
            tracing::warn!(
                policy,
                policy_version,
                "the active policy has no request-route: requests get 500, unless it is of a chain"
            );
        }
        let before = active.swap(Some(Arc::clone(version)));
        let now = SystemTime::now();
        registry.activated(version, now);
        if let Some(before) = before.as_ref().filter(|before| {
            let keeps_dialogs = self.keeps_dialogs.load(Ordering::Relaxed);
            keeps_dialogs && before.number() != version.number()
        }) {
            registry.retired.keep(before, Instant::now());
        }
        let was_rolled_back = before
            .as_ref()
            .is_some_and(|before| registry.was_rolled_back(before.digest()));
        if let Some(lane) = registry.lane(lane) {
            lane.watch = Some(Watch::new(version, Instant::now()));
            lane.activated_at = Some(now);
            lane.previous = match (past, before) {
                (Past::Remember, Some(before)) => {
                    lane.remember(before.name(), before.digest());
                    // One that was rolled back is no good one: what was to go back to stays it.
                    if was_rolled_back {
                        lane.previous.take()
                    } else {
                        Some(before)
                    }
                }
                _ => None,
            };
        }
        self.publish_actives(registry);
        self.release(registry);
    }

    /// Whether it is the active version of a lane.
    pub(super) fn is_active_in(
        &self,
        registry: &Registry<H>,
        lane: &LaneName,
        number: u64,
    ) -> bool {
        let active = match lane {
            LaneName::Shared => self.active.load().as_ref().map(|active| active.number()),
            LaneName::Routed(name) => {
                let lane = registry.routed.get(name);
                lane.and_then(|lane| lane.active.number())
            }
        };
        active == Some(number)
    }

    /// The active version of a lane.
    pub(super) fn active_in(
        &self,
        registry: &Registry<H>,
        lane: &LaneName,
    ) -> Option<Arc<Version<H>>> {
        match lane {
            LaneName::Shared => self.active(),
            LaneName::Routed(name) => registry.routed.get(name)?.active.load(),
        }
    }

    /// Whether it is active anywhere.
    pub(super) fn is_active(&self, number: u64) -> bool {
        let is_shared = self
            .active
            .load()
            .as_ref()
            .is_some_and(|active| active.number() == number);
        is_shared || self.routed_numbers.load().binary_search(&number).is_ok()
    }

    fn publish_actives(&self, registry: &Registry<H>) {
        let lanes = registry.routed.values();
        let mut numbers: Vec<u64> = lanes.filter_map(|lane| lane.active.number()).collect();
        numbers.sort_unstable();
        let routed = registry.routed.values();
        let routed = routed.filter_map(|lane| lane.active.load());
        let mut versions = routed.chain(self.active());
        let hear = versions.any(|version| version.exports(Hook::EventRoute));
        self.hear_events.store(hear, Ordering::Relaxed);
        self.routed_numbers.store(Arc::new(numbers));
    }
}

impl<H: Host> Registry<H> {
    /// What is known of a lane; `None` when the policy has no routes any more.
    pub(super) fn lane(&mut self, name: &LaneName) -> Option<&mut Lane<H>> {
        match name {
            LaneName::Shared => Some(&mut self.shared),
            LaneName::Routed(name) => self.routed.get_mut(name).map(|lane| &mut lane.lane),
        }
    }

    /// All of them.
    pub(super) fn lane_names(&self) -> Vec<LaneName> {
        let routed = self.routed.keys().cloned().map(LaneName::Routed);
        std::iter::once(LaneName::Shared).chain(routed).collect()
    }

    /// Whether a version is the one that some lane would go back to.
    pub(super) fn is_previous(&self, number: u64) -> bool {
        let routed = self.routed.values().map(|lane| &lane.lane);
        std::iter::once(&self.shared)
            .chain(routed)
            .filter_map(|lane| lane.previous.as_ref())
            .any(|previous| previous.number() == number)
    }
}
