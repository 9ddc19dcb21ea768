//! The policies that routes of the configuration name: each has an active version of its own.

use std::path::Path;

use patchbay_policy::Digest;

use super::prepared::{Held, PolicyFile, Prepared};
use super::{DeployError, Deployed, Deployments, StartPolicyError};
use crate::config::{BUILTIN, Config, PolicyRoute};
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

impl Deployments {
    /// Takes over the routes of a configuration: every policy that they name gets an active version, and has to start for each of
    /// its routes. After an error the policies have the routes that they had.
    pub fn take_routes(&self, config: &Config) -> Result<(), StartPolicyError> {
        let before = self.policies.routed();
        let wanted = config.routed_policies();
        self.policies
            .set_routed(&before.union(&wanted).cloned().collect());
        let brought_up = self.bring_up_all(config);
        let routed = if brought_up.is_ok() { wanted } else { before };
        // Held, so that a canary or a shadow that begins meanwhile is one of before or one of after.
        let state = self.lock();
        self.policies.set_routed(&routed);
        drop(state);
        if brought_up.is_ok() {
            self.check_canary();
        }
        brought_up
    }

    fn bring_up_all(&self, config: &Config) -> Result<(), StartPolicyError> {
        for name in config.routed_policies() {
            self.bring_up(&name)
                .map_err(|problem| StartPolicyError::of_route(config, &name, problem))?;
        }
        Ok(())
    }

    /// The version of a policy that was active last, unless its file has changed since then; else its file; else what is kept of it.
    fn bring_up(&self, name: &str) -> Result<(), DeployError> {
        if self.is_up(name)? {
            return Ok(());
        }
        // What takes long comes before the state is held.
        let remembered = self.remembered_of(name);
        let lane = remembered.as_ref().and_then(|lane| self.hold_lane(lane));
        let file = self.read_file_of(name, lane.is_some())?;
        let is_as_it_was = |lane: &RememberedLane| {
            let digest = file.as_ref().map(PolicyFile::digest);
            digest.is_none() || digest == lane.file
        };
        let is_enough = lane.is_some() && remembered.as_ref().is_some_and(is_as_it_was);
        let first = (!is_enough).then(|| self.first_of(name, file.as_ref()));
        let _held = first.as_ref().map(|first| self.hold_first(first));
        let mut state = self.lock();
        if self.is_up(name)? {
            return Ok(());
        }
        // What was active last comes first also when the file has changed: it is where a rollback leads then.
        let is_back = remembered
            .as_ref()
            .is_some_and(|lane| self.restore(lane).is_ok());
        if is_back && remembered.as_ref().is_some_and(is_as_it_was) {
            return Ok(());
        }
        let first = first.unwrap_or_else(|| self.first_of(name, file.as_ref()));
        let (stored, origin) = match (
            first.and_then(|first| self.store_first(first, &state)),
            &file,
        ) {
            // As in a router that runs: a file that is refused replaces nothing.
            (Err(error), Some(file)) if is_back => {
                tell_refused(name, &file.path, &error);
                return Ok(());
            }
            (stored, _) => stored?,
        };
        self.begin_with(&stored, &origin, &mut state)
    }

    /// Whether a policy has an active version, which then has to start for each of its routes.
    fn is_up(&self, name: &str) -> Result<bool, DeployError> {
        let is_up = self.active_of(name).is_some();
        if is_up {
            self.policies.check_uses(name)?;
        }
        Ok(is_up)
    }

    /// Makes the first version of a policy active that routes name.
    fn begin_with(
        &self,
        stored: &Deployed,
        origin: &Origin,
        state: &mut Option<Activation>,
    ) -> Result<(), DeployError> {
        let name = &stored.policy;
        let before = self.active_of(name).as_ref().map(Deployed::name);
        self.policies
            .activate(name, Some(stored.version.as_str()))?;
        let record = AuditRecord {
            before,
            after: Some(stored.name()),
            ..AuditRecord::new(Action::Activate, origin, name)
        };
        self.audit
            .write(&record.because("a route names the policy"));
        self.remember(state, stored);
        Ok(())
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
        match self.policies.active_of(name) {
            Some(active) => active.load().map(|version| Deployed {
                policy: name.to_owned(),
                version: version.digest().clone(),
            }),
            None => self.active().filter(|active| active.policy == name),
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
