//! What is known of each stored version.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::engine::LoadError;
use crate::host::{Hook, Host};
use crate::version::{Counts, Stats, Version};

use super::ActivateError;
use super::lanes::{Lane, RoutedLane};
use super::report::{PolicyReport, VersionReport, VersionState};
use super::retired::RetiredVersions;

/// Good versions of one policy that are kept; older ones are forgotten.
const MAX_VERSIONS: usize = 8;
/// Rejected ones that are listed besides: what is refused again and again must not push out what could be gone back to.
const MAX_REJECTED: usize = 3;
/// Versions that were rolled back by themselves and are not again.
const MAX_ROLLED_BACK: usize = 64;

pub(super) struct Registry<H: Host> {
    /// The versions of each policy, in the order in which they were stored last.
    pub(super) policies: BTreeMap<String, Vec<Stored<H>>>,
    /// Of the requests that no route takes.
    pub(super) shared: Lane<H>,
    /// Of the policies that routes name.
    pub(super) routed: BTreeMap<String, RoutedLane<H>>,
    pub(super) rolled_back: Vec<Digest>,
    /// The version that some new dialogs run in.
    pub(super) canary: Option<Arc<Version<H>>>,
    /// The version that runs beside the active one, without effects.
    pub(super) shadow: Option<Arc<Version<H>>>,
    /// Versions that dialogs go on in.
    pub(super) retired: RetiredVersions<H>,
}

impl<H: Host> Default for Registry<H> {
    fn default() -> Registry<H> {
        Registry {
            policies: BTreeMap::new(),
            shared: Lane::default(),
            routed: BTreeMap::new(),
            rolled_back: Vec::new(),
            canary: None,
            shadow: None,
            retired: RetiredVersions::default(),
        }
    }
}

pub(super) struct Stored<H: Host> {
    digest: Digest,
    /// Empty when it is rejected.
    pub(super) bytes: Arc<[u8]>,
    size_bytes: usize,
    /// It was never fit to run, and why.
    rejected: Option<String>,
    /// Checked and not activated yet.
    ready: Option<Arc<Version<H>>>,
    /// In memory as long as anybody needs it.
    live: Weak<Version<H>>,
    hooks: Vec<Hook>,
    /// Counts of its last life in memory, and of those before.
    stats: Option<Arc<Stats>>,
    past: Counts,
    last_error: Option<String>,
    alarms: u64,
    stored_at: SystemTime,
    activated_at: Option<SystemTime>,
}

impl<H: Host> Stored<H> {
    pub(super) fn new(
        digest: Digest,
        bytes: &[u8],
        loaded: Result<Arc<Version<H>>, LoadError>,
        stored_at: SystemTime,
    ) -> Stored<H> {
        let error = loaded.as_ref().err().map(LoadError::to_string);
        let version = loaded.ok();
        Stored {
            digest,
            bytes: if version.is_some() {
                Arc::from(bytes)
            } else {
                Arc::default()
            },
            size_bytes: bytes.len(),
            rejected: error.clone(),
            live: version.as_ref().map(Arc::downgrade).unwrap_or_default(),
            hooks: version
                .as_ref()
                .map(|version| version.hooks())
                .unwrap_or_default(),
            stats: version.as_ref().map(|version| Arc::clone(version.stats())),
            past: Counts::default(),
            ready: version,
            last_error: error,
            alarms: 0,
            stored_at,
            activated_at: None,
        }
    }

    fn refused(
        digest: Digest,
        size_bytes: usize,
        stored_at: SystemTime,
        reason: &str,
    ) -> Stored<H> {
        Stored {
            digest,
            bytes: Arc::default(),
            size_bytes,
            rejected: Some(reason.to_owned()),
            ready: None,
            live: Weak::new(),
            hooks: Vec::new(),
            stats: None,
            past: Counts::default(),
            last_error: Some(reason.to_owned()),
            alarms: 0,
            stored_at,
            activated_at: None,
        }
    }

    pub(super) fn version(&self) -> Option<Arc<Version<H>>> {
        self.live.upgrade()
    }

    /// Whether it is this version, and fit to run.
    pub(super) fn is_good(&self, version: &Digest) -> bool {
        self.digest == *version && self.rejected.is_none()
    }

    pub(super) fn reloaded(
        &mut self,
        version: Result<Arc<Version<H>>, LoadError>,
    ) -> Result<Arc<Version<H>>, LoadError> {
        if let Some(version) = self.version() {
            // Somebody needed the one before again while this one was loaded.
            return Ok(version);
        }
        match version {
            Ok(version) => {
                self.live = Arc::downgrade(&version);
                if let Some(ended) = self.stats.replace(Arc::clone(version.stats())) {
                    self.past.add(&ended.counts());
                    self.last_error = ended.last_fault().or_else(|| self.last_error.take());
                }
                Ok(version)
            }
            Err(error) => {
                self.last_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    fn state(&self, roles: &Roles<'_, H>) -> VersionState {
        if self.rejected.is_some() {
            return VersionState::Rejected;
        }
        let Some(version) = self.version() else {
            return VersionState::Stored;
        };
        let number = version.number();
        let is = |role: &Option<Arc<Version<H>>>| {
            role.as_ref()
                .is_some_and(|version| version.number() == number)
        };
        if (roles.is_active)(number) {
            VersionState::Active
        } else if is(&roles.registry.canary) {
            VersionState::Canary
        } else if is(&roles.registry.shadow) {
            VersionState::Shadow
        } else if version.pinned() > 0 || roles.registry.retired.has(number) {
            VersionState::Draining
        } else {
            VersionState::Ready
        }
    }

    fn report(&self, roles: &Roles<'_, H>) -> VersionReport {
        let version = self.version();
        let mut counts = self.past.clone();
        if let Some(stats) = &self.stats {
            counts.add(&stats.counts());
        }
        VersionReport {
            digest: self.digest.clone(),
            number: version.as_ref().map(|version| version.number()),
            state: self.state(roles),
            size_bytes: self.size_bytes,
            hooks: self.hooks.clone(),
            pinned: version.as_ref().map_or(0, |version| version.pinned()),
            counts,
            alarms: self.alarms,
            last_error: self
                .stats
                .as_ref()
                .and_then(|stats| stats.last_fault())
                .or_else(|| self.last_error.clone()),
            stored_at: self.stored_at,
            activated_at: self.activated_at,
        }
    }
}

/// Puts a version where it belongs by the time it was stored; where that is.
fn insert<H: Host>(versions: &mut Vec<Stored<H>>, new: Stored<H>) -> usize {
    let at = versions.partition_point(|stored| stored.stored_at <= new.stored_at);
    versions.insert(at, new);
    at
}

/// What the versions are used for.
struct Roles<'r, H: Host> {
    is_active: &'r dyn Fn(u64) -> bool,
    registry: &'r Registry<H>,
}

impl<H: Host> Registry<H> {
    pub(super) fn stored(&mut self, name: &str, digest: &Digest) -> Option<&mut Stored<H>> {
        self.policies
            .get_mut(name)?
            .iter_mut()
            .find(|stored| stored.digest == *digest)
    }

    /// Now, and in any case after what is stored of this policy: a clock that is set back makes nothing older than it is.
    pub(super) fn next_moment(&self, name: &str) -> SystemTime {
        let stored = self.policies.get(name).into_iter().flatten();
        let newest = stored.map(|stored| stored.stored_at).max();
        let after = newest.and_then(|newest| newest.checked_add(Duration::from_nanos(1)));
        SystemTime::now().max(after.unwrap_or(SystemTime::UNIX_EPOCH))
    }

    /// Makes a good version that is stored again, at this time, as new as that; false when there is none to keep.
    pub(super) fn refresh(&mut self, name: &str, digest: &Digest, stored_at: SystemTime) -> bool {
        let Some(versions) = self.policies.get_mut(name) else {
            return false;
        };
        let Some(at) = versions.iter().position(|stored| stored.is_good(digest)) else {
            return false;
        };
        let mut stored = versions.remove(at);
        stored.stored_at = stored.stored_at.max(stored_at);
        insert(versions, stored);
        true
    }

    /// Adds a version of a policy and forgets the oldest that nobody needs.
    pub(super) fn keep(&mut self, name: &str, new: Stored<H>) {
        let versions = self.policies.entry(name.to_owned()).or_default();
        versions.retain(|stored| stored.digest != new.digest);
        let is_good = new.rejected.is_none();
        let at = insert(versions, new);
        let newest = versions
            .iter()
            .rposition(|stored| stored.rejected.is_none());
        for (place, stored) in versions.iter_mut().enumerate().filter(|_| is_good) {
            // A version that waited for its activation and is overtaken need not wait in memory.
            if place != at && Some(place) != newest {
                stored.ready = None;
            }
        }
        let is_rejected = |stored: &Stored<H>| stored.rejected.is_some();
        if versions.iter().filter(|stored| is_rejected(stored)).count() > MAX_REJECTED
            && let Some(oldest) = versions.iter().position(is_rejected)
        {
            versions.remove(oldest);
        }
        while versions
            .iter()
            .filter(|stored| !is_rejected(stored))
            .count()
            > MAX_VERSIONS
        {
            let is_needless =
                |stored: &Stored<H>| !is_rejected(stored) && stored.live.strong_count() == 0;
            let Some(at) = versions.iter().position(is_needless) else {
                break;
            };
            versions.remove(at);
        }
    }

    /// The digest that `activate` means.
    pub(super) fn choose(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Digest, ActivateError> {
        let versions = self
            .policies
            .get(name)
            .ok_or_else(|| ActivateError::UnknownPolicy(name.to_owned()))?;
        let stored = match version {
            None => versions
                .iter()
                .rfind(|stored| stored.rejected.is_none())
                .or(versions.last()),
            Some(text) => {
                let mut matching = versions.iter().filter(|stored| stored.digest.matches(text));
                let first = matching.next();
                if matching.next().is_some() {
                    return Err(ActivateError::AmbiguousVersion {
                        policy: name.to_owned(),
                        version: text.to_owned(),
                    });
                }
                first
            }
        };
        let unknown = || ActivateError::UnknownVersion {
            policy: name.to_owned(),
            version: version.unwrap_or_default().to_owned(),
        };
        let stored = stored.ok_or_else(unknown)?;
        match &stored.rejected {
            None => Ok(stored.digest.clone()),
            Some(reason) => Err(ActivateError::Rejected {
                policy: name.to_owned(),
                version: stored.digest.clone(),
                reason: reason.clone(),
            }),
        }
    }

    pub(super) fn activated(&mut self, version: &Arc<Version<H>>, at: SystemTime) {
        self.set_activated_at(version, at);
        self.taken(version);
    }

    pub(super) fn set_activated_at(&mut self, version: &Version<H>, at: SystemTime) {
        if let Some(stored) = self.stored(version.name(), version.digest()) {
            stored.activated_at = Some(at);
        }
    }

    /// From here on the registry's table keeps a version, as long as it is needed. It may have been freed since it was found.
    pub(super) fn taken(&mut self, version: &Arc<Version<H>>) {
        if let Some(stored) = self.stored(version.name(), version.digest()) {
            stored.ready = None;
            stored.live = Arc::downgrade(version);
        }
    }

    /// Lists what is refused before it is even compiled. A good version of the same digest stays.
    pub(super) fn reject(
        &mut self,
        name: &str,
        digest: Digest,
        size_bytes: usize,
        stored_at: SystemTime,
        reason: &str,
    ) {
        if !self.has_good(name, &digest) {
            let refused = Stored::refused(digest, size_bytes, stored_at, reason);
            self.keep(name, refused);
        }
    }

    /// Lists a good version as refused, unless it is in use.
    pub(super) fn withdraw(
        &mut self,
        name: &str,
        version: &Digest,
        reason: &str,
        is_in_use: impl Fn(u64) -> bool,
    ) {
        let Some(stored) = self.stored(name, version) else {
            return;
        };
        let is_needed = stored
            .version()
            .is_some_and(|version| is_in_use(version.number()));
        if stored.is_good(version) && !is_needed {
            let refused =
                Stored::refused(version.clone(), stored.size_bytes, stored.stored_at, reason);
            self.keep(name, refused);
        }
    }

    /// A version becomes active: it is no canary any more, and needs not be kept for its dialogs.
    pub(super) fn promoted(&mut self, number: u64) {
        self.retired.remove(number);
        self.canary.take_if(|canary| canary.number() == number);
    }

    /// Whether a version is in use besides the active one and the one before.
    pub(super) fn is_kept(&self, number: u64) -> bool {
        let is = |version: &Arc<Version<H>>| version.number() == number;
        self.canary.as_ref().is_some_and(is)
            || self.shadow.as_ref().is_some_and(is)
            || self.retired.has(number)
    }

    pub(super) fn freed(&mut self, version: &Version<H>) {
        if let Some(stored) = self.stored(version.name(), version.digest()) {
            stored.live = Weak::new();
        }
    }

    /// A version that was freed is needed again by somebody who still had it.
    pub(super) fn needed_again(&mut self, version: &Arc<Version<H>>) {
        if let Some(stored) = self.stored(version.name(), version.digest()) {
            stored.live = Arc::downgrade(version);
        }
    }

    pub(super) fn was_rolled_back(&self, version: &Digest) -> bool {
        self.rolled_back.contains(version)
    }

    pub(super) fn rolled_back(&mut self, failing: &Version<H>) {
        self.rolled_back.push(failing.digest().clone());
        if self.rolled_back.len() > MAX_ROLLED_BACK {
            self.rolled_back.remove(0);
        }
        self.count_alarm(failing);
    }

    pub(super) fn alarm(&mut self, failing: &Version<H>) {
        self.count_alarm(failing);
        tracing::error!(
            policy = &**failing.name(),
            policy_version = failing.digest().short(),
            "the policy keeps failing for several sources: someone must look"
        );
    }

    fn count_alarm(&mut self, failing: &Version<H>) {
        if let Some(stored) = self.stored(failing.name(), failing.digest()) {
            stored.alarms += 1;
        }
    }

    pub(super) fn report(&self, is_active: &dyn Fn(u64) -> bool) -> Vec<PolicyReport> {
        let roles = Roles {
            is_active,
            registry: self,
        };
        let report = |(name, versions): (&String, &Vec<Stored<H>>)| {
            let versions: Vec<VersionReport> = versions
                .iter()
                .rev()
                .map(|stored| stored.report(&roles))
                .collect();
            let is_active = versions
                .iter()
                .any(|version| version.state == VersionState::Active);
            PolicyReport {
                name: name.clone(),
                active: is_active,
                versions,
            }
        };
        self.policies.iter().map(report).collect()
    }
}
