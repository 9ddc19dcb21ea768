//! The policies that routes of the configuration name: each has an active version of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use patchbay_policy::{Digest, Version};

use super::prepared::{Held, PolicyFile, Prepared};
use super::{DeployError, Deployed, Deployments, StartPolicyError};
use crate::config::{BUILTIN, Config, PolicyRoute};
use crate::hooks::HookHost;
use crate::policy_directory::audit::{Action, AuditRecord};
use crate::policy_directory::configured::file_of;
use crate::policy_directory::memory::{Activation, RememberedLane, VersionName};
use crate::policy_directory::origin::Origin;

/// What a policy begins with, compiled.
enum First<'f> {
    /// Its file.
    File(&'f PolicyFile, Prepared<'f>),
    /// A version that is stored.
    Stored(Deployed, Origin),
}

fn tell_refused(policy: &str, path: &Path, error: &DeployError) {
    tracing::error!(policy, path = %path.display(), %error, "the changed policy is refused, the one before goes on");
}

/// A policy that routes are about to name and that has no active version yet.
struct Coming<'d> {
    name: &'d str,
    /// What is remembered of the routes that named it.
    remembered: Option<RememberedLane>,
    /// Its file, unless the version that was active last is enough.
    file: Option<PolicyFile>,
    /// That one loads, and the file is the one of then.
    is_enough: bool,
    /// That one and the version before it, as far as they load, in memory.
    _lane: Option<Vec<Held<'d>>>,
}

/// The same with what it begins with where what is remembered is not enough.
struct Ready<'r> {
    coming: &'r Coming<'r>,
    first: Option<Result<First<'r>, DeployError>>,
    _held: Option<Held<'r>>,
}

impl Ready<'_> {
    /// Whether it is known that the policy does not begin, and that there is nothing it could go back to.
    fn is_refused(&self) -> bool {
        let is_refused = match &self.first {
            None | Some(Ok(First::Stored(..))) => false,
            Some(Err(_)) => true,
            Some(Ok(First::File(_, prepared))) => match &prepared.checked {
                Ok(checked) => checked.compiled.is_refused(),
                Err(_) => true,
            },
        };
        is_refused && self.coming._lane.is_none()
    }
}

/// A version that has become active since a route names its policy, to be written down.
struct Begun {
    record: AuditRecord,
    active: Deployed,
}

impl Deployments {
    /// Takes over the routes of a configuration: every policy that they name gets an active version, and has to start for each of
    /// its routes. After an error nothing has changed.
    pub fn take_routes(&self, config: &Config) -> Result<(), StartPolicyError> {
        let wanted = config.routed_policies();
        while !self.take_routed(config, &wanted)? {}
        self.check_canary();
        Ok(())
    }

    /// What takes long comes before the state is held, and the policies have their new routes only then: what an operator activates
    /// meanwhile is activated for those of before. False: so a policy has lost the active version that it had, and is to be looked at again.
    fn take_routed(
        &self,
        config: &Config,
        wanted: &BTreeSet<String>,
    ) -> Result<bool, StartPolicyError> {
        let checked = self.check_active_of(config, wanted)?;
        let new = wanted.iter().filter(|name| !checked.contains_key(*name));
        let coming = new.map(|name| {
            let of_route = |problem| StartPolicyError::of_route(config, name, problem);
            self.look_at(name).map_err(of_route)
        });
        let coming = coming.collect::<Result<Vec<_>, _>>()?;
        let mut ready: BTreeMap<&str, Ready<'_>> = coming
            .iter()
            .map(|coming| (coming.name, self.make_ready(coming)))
            .collect();
        let mut state = self.lock();
        self.refuse_early(config, &mut ready, &state)?;
        let before = self.policies.routed();
        self.policies
            .set_routed(&before.union(wanted).cloned().collect());
        let is_known = |name: &String| {
            ready.contains_key(name.as_str()) || self.active_version_of(name).is_some()
        };
        let begun = match wanted.iter().all(is_known) {
            true => self
                .bring_up_all(config, wanted, &checked, &mut ready, &state)
                .map(Some),
            false => Ok(None),
        };
        let routed = match &begun {
            Ok(Some(_)) => wanted,
            _ => &before,
        };
        self.policies.set_routed(routed);
        let Some(begun) = begun? else {
            return Ok(false);
        };
        for Begun { record, active } in begun {
            self.audit
                .write(&record.because("a route names the policy"));
            self.remember(&mut state, &active);
        }
        Ok(true)
    }

    /// The numbers of the versions that are active already: each starts for every route of its policy.
    fn check_active_of(
        &self,
        config: &Config,
        wanted: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u64>, StartPolicyError> {
        let mut checked = BTreeMap::new();
        for name in wanted {
            let Some(active) = self.active_version_of(name) else {
                continue;
            };
            let starts = self.policies.check_uses_of(&active);
            starts.map_err(|problem| StartPolicyError::of_route(config, name, problem.into()))?;
            checked.insert(name.clone(), active.number());
        }
        Ok(checked)
    }

    /// The version of a policy that was active last, unless its file has changed since then; else its file; else what is kept of it.
    fn look_at<'d>(&'d self, name: &'d str) -> Result<Coming<'d>, DeployError> {
        let remembered = self.remembered_of(name);
        let lane = remembered.as_ref().and_then(|lane| self.hold_lane(lane));
        let file = self.read_file_of(name, lane.is_some())?;
        let digest = file.as_ref().map(PolicyFile::digest);
        let is_as_it_was = |lane: &RememberedLane| digest.is_none() || digest == lane.file;
        let is_enough = lane.is_some() && remembered.as_ref().is_some_and(is_as_it_was);
        Ok(Coming {
            name,
            remembered,
            file: file.filter(|_| !is_enough),
            is_enough,
            _lane: lane,
        })
    }

    fn make_ready<'r>(&'r self, coming: &'r Coming<'r>) -> Ready<'r> {
        let first = (!coming.is_enough).then(|| self.first_of(coming.name, coming.file.as_ref()));
        Ready {
            coming,
            _held: first.as_ref().and_then(|first| self.hold_first(first)),
            first,
        }
    }

    /// Tells what is known to be refused before the first of the other policies has become active.
    fn refuse_early(
        &self,
        config: &Config,
        ready: &mut BTreeMap<&str, Ready<'_>>,
        state: &Option<Activation>,
    ) -> Result<(), StartPolicyError> {
        let mut all = ready.iter();
        let refused = all.find(|(_, ready)| ready.is_refused());
        let Some(name) = refused.map(|(name, _)| *name) else {
            return Ok(());
        };
        let first = ready.remove(name).and_then(|refused| refused.first);
        // What is refused is listed so.
        let problem = first.map(|first| first.and_then(|first| self.store_first(first, state)));
        match problem {
            Some(Err(problem)) => Err(StartPolicyError::of_route(config, name, problem)),
            _ => Ok(()),
        }
    }

    /// Every policy has an active version then that starts for each of its routes, or the first problem is told.
    fn bring_up_all(
        &self,
        config: &Config,
        wanted: &BTreeSet<String>,
        checked: &BTreeMap<String, u64>,
        ready: &mut BTreeMap<&str, Ready<'_>>,
        state: &Option<Activation>,
    ) -> Result<Vec<Begun>, StartPolicyError> {
        let mut begun = Vec::new();
        for name in wanted {
            let brought_up = match (self.active_version_of(name), ready.remove(name.as_str())) {
                (Some(active), _) if checked.get(name) == Some(&active.number()) => Ok(None),
                // It has become active meanwhile.
                (Some(active), _) => self
                    .policies
                    .check_uses_of(&active)
                    .map(|()| None)
                    .map_err(DeployError::from),
                (None, Some(ready)) => self.bring_up(ready, state),
                (None, None) => Err(DeployError::NoFile(name.clone())),
            };
            let of_route = |problem| StartPolicyError::of_route(config, name, problem);
            begun.extend(brought_up.map_err(of_route)?);
        }
        Ok(begun)
    }

    /// Makes the first version of a policy active. `None`: it is the one that was active last.
    fn bring_up(
        &self,
        ready: Ready<'_>,
        state: &Option<Activation>,
    ) -> Result<Option<Begun>, DeployError> {
        let coming = ready.coming;
        // What was active last comes first also when the file has changed: it is where a rollback leads then.
        let remembered = coming.remembered.as_ref();
        let is_back = remembered.is_some_and(|lane| self.restore(lane).is_ok());
        if is_back && coming.is_enough {
            return Ok(None);
        }
        let read;
        let (file, first) = match ready.first {
            Some(first) => (coming.file.as_ref(), first),
            // It loads and does not start, which is rare: then this takes as long as it takes.
            None => {
                read = self.read_file_of(coming.name, false)?;
                (read.as_ref(), self.first_of(coming.name, read.as_ref()))
            }
        };
        match (first.and_then(|first| self.store_first(first, state)), file) {
            // As in a router that runs: a file that is refused replaces nothing.
            (Err(error), Some(file)) if is_back => {
                tell_refused(coming.name, &file.path, &error);
                Ok(None)
            }
            (stored, _) => {
                let (stored, origin) = stored?;
                self.begin_with(stored, &origin).map(Some)
            }
        }
    }

    /// Makes the first version of a policy active that routes name.
    fn begin_with(&self, stored: Deployed, origin: &Origin) -> Result<Begun, DeployError> {
        let name = &stored.policy;
        let before = self.active_of(name).as_ref().map(Deployed::name);
        self.policies
            .activate(name, Some(stored.version.as_str()))?;
        let record = AuditRecord {
            before,
            after: Some(stored.name()),
            ..AuditRecord::new(Action::Activate, origin, name)
        };
        Ok(Begun {
            record,
            active: stored,
        })
    }

    /// What is remembered of the routes that named a policy.
    fn remembered_of(&self, name: &str) -> Option<RememberedLane> {
        let state = self.lock();
        let lanes = state.as_ref().map(|activation| &activation.routed);
        lanes.and_then(|lanes| lanes.get(name)).cloned()
    }

    /// The file of a policy, when there is one. One that can't be read replaces nothing.
    fn read_file_of(&self, name: &str, is_back: bool) -> Result<Option<PolicyFile>, DeployError> {
        let path = file_of(&self.config, name).filter(|path| path.is_file());
        let Some(path) = path else { return Ok(None) };
        match PolicyFile::read(&path) {
            Err(error) if is_back => {
                tell_refused(name, &path, &error);
                Ok(None)
            }
            file => file.map(Some),
        }
    }

    /// What a policy begins with that was not active before, or has another file than then.
    fn first_of<'f>(
        &'f self,
        name: &'f str,
        file: Option<&'f PolicyFile>,
    ) -> Result<First<'f>, DeployError> {
        if let Some(file) = file {
            return Ok(First::File(file, self.prepare(name, file.component())));
        }
        let (stored, origin) = match name {
            BUILTIN => self.first_of_builtin()?,
            _ => self.first_of_kept(name)?,
        };
        Ok(First::Stored(stored, origin))
    }

    fn hold_first(&self, first: &Result<First<'_>, DeployError>) -> Option<Held<'_>> {
        match first {
            Ok(First::File(_, prepared)) => self.hold_known(prepared),
            // What does not load is told where it is activated.
            Ok(First::Stored(stored, _)) => self.hold_stored(stored).ok(),
            Err(_) => None,
        }
    }

    fn store_first(
        &self,
        first: First<'_>,
        state: &Option<Activation>,
    ) -> Result<(Deployed, Origin), DeployError> {
        match first {
            First::File(file, prepared) => {
                let origin = file.origin();
                Ok((self.store_own(prepared, &origin, state)?, origin))
            }
            First::Stored(stored, origin) => Ok((stored, origin)),
        }
    }

    fn first_of_builtin(&self) -> Result<(Deployed, Origin), DeployError> {
        self.store_builtin()?;
        let version = self.policies.choose(BUILTIN, None)?;
        let policy = BUILTIN.to_owned();
        Ok((Deployed { policy, version }, Origin::builtin()))
    }

    /// The newest version that is kept of a policy without a file: somebody has pushed it.
    fn first_of_kept(&self, name: &str) -> Result<(Deployed, Origin), DeployError> {
        let kept = self.versions.list().unwrap_or_default();
        let mut newest = kept.iter().rev().filter(|file| file.policy == name);
        let Some(file) = newest.next() else {
            return Err(DeployError::NoFile(name.to_owned()));
        };
        let version = VersionName::new(name, &file.digest);
        self.load_kept(&version)?;
        let version = self.policies.choose(name, Some(&file.digest))?;
        let policy = name.to_owned();
        Ok((Deployed { policy, version }, Origin::router()))
    }

    /// The active version of a policy: for the routes that name it, else for the requests that no route takes.
    pub(super) fn active_of(&self, name: &str) -> Option<Deployed> {
        self.active_version_of(name).map(|version| Deployed {
            policy: name.to_owned(),
            version: version.digest().clone(),
        })
    }

    fn active_version_of(&self, name: &str) -> Option<Arc<Version<HookHost>>> {
        match self.policies.active_of(name) {
            Some(active) => active.load(),
            None => self
                .policies
                .active()
                .filter(|active| **active.name() == *name),
        }
    }

    /// What is active where a policy's version is changed, or would be, for the audit log.
    pub(super) fn active_before(&self, name: &str) -> Option<Deployed> {
        if self.policies.is_routed(name) {
            self.active_of(name)
        } else {
            self.active()
        }
    }

    /// Remembers the active version of a policy that routes name.
    pub(super) fn remember_routed(&self, state: &mut Option<Activation>, active: &Deployed) {
        let Some(activation) = state else { return };
        let name = active.name();
        let lane = self.remembered_lane(Some(&active.policy), active);
        activation.canary.take_if(|canary| canary.name == name);
        activation.routed.insert(active.policy.clone(), lane);
        self.save(activation);
    }

    /// Whether a policy's file is the one that was there when a version of it became active last.
    pub(super) fn is_known_file(
        &self,
        name: &str,
        state: &Option<Activation>,
        digest: &Digest,
    ) -> bool {
        let known = state
            .as_ref()
            .and_then(|activation| match activation.routed.get(name) {
                Some(lane) if self.policies.is_routed(name) => lane.file.as_deref(),
                _ => activation.lane.file.as_deref(),
            });
        known == Some(digest.as_str())
    }
}

impl StartPolicyError {
    /// The policy of a route can't run: where that is written.
    fn of_route(config: &Config, policy: &str, source: DeployError) -> StartPolicyError {
        let mut routes = config.policy.routes.iter();
        let is_meant = |route: &&PolicyRoute| match source.route() {
            Some(name) => route.name == name,
            None => route.policies.iter().any(|name| name == policy),
        };
        let place = routes.find(is_meant).map(|route| route.place);
        StartPolicyError::Route {
            file: None,
            place: place.unwrap_or(crate::config::Place::Nowhere),
            policy: policy.to_owned(),
            source: Box::new(source),
        }
    }

    /// The same for a configuration that was read from this file.
    pub fn in_file(mut self, path: Option<&Path>) -> StartPolicyError {
        if let StartPolicyError::Route { file, .. }
        | StartPolicyError::Missing { file, .. }
        | StartPolicyError::Setting { file, .. } = &mut self
        {
            *file = path.map(Path::to_path_buf);
        }
        self
    }
}

impl DeployError {
    /// The route for which a version does not start.
    fn route(&self) -> Option<&str> {
        use patchbay_policy::{ActivateError, LoadError};
        match self {
            DeployError::Load(LoadError::Route { route, .. })
            | DeployError::Activate(ActivateError::Load(LoadError::Route { route, .. })) => {
                Some(route)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{active, audited, config, deployments, operator, start};
    use super::*;

    const ROUTES: &str = "[[policy.route]]\ndomain = \"b.example\"\npolicy = \"second\"\n[[policy.route]]\ndomain = \"c.example\"\npolicy = \"third\"\n";

    #[test]
    fn routes_of_which_one_is_refused_change_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let before = router.policies.list();
        let refused = router.take_routes(&config(folder.path(), ROUTES));
        assert!(
            matches!(refused, Err(StartPolicyError::Route { policy, .. }) if policy == "third")
        );
        assert!(router.policies.routed().is_empty());
        let begun = [(Action::Store, true), (Action::Activate, true)];
        assert_eq!(audited(&router)[..2], begun);
        assert_eq!(audited(&router)[2..], []);
        assert_eq!(router.policies.list(), before);
        let state = router.lock();
        assert!(state.as_ref().is_some_and(|state| state.routed.is_empty()));
    }

    #[test]
    fn all_routes_of_a_configuration_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let second = folder.path().join("policies/second.wasm");
        std::fs::copy(&second, second.with_file_name("third.wasm")).expect("a policy");
        let routes = config(folder.path(), ROUTES);
        router.take_routes(&routes).expect("good routes");
        router.take_routes(&routes).expect("the same routes");
        let third = router.active_of("third");
        assert!(third.is_some());
        let activations = audited(&router).into_iter();
        let activations = activations.filter(|(action, _)| *action == Action::Activate);
        assert_eq!(activations.count(), 3);
        router
            .activate("first", None, &operator())
            .expect("activated");
        assert_eq!(active(&router), "first");
        drop(router);
        let after = start(folder.path(), ROUTES).expect("the same routes");
        assert_eq!(after.active_of("third"), third);
    }
}
