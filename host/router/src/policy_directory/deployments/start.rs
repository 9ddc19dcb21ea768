//! Which version is active when the router starts.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use patchbay_policy::{AutomaticRollback, Policies};

use super::{Component, DeployError, Deployed, Deployments, StartPolicyError};
use crate::config::{ActivePolicy, BUILTIN, Config, Pin};
use crate::data_dir::DataDir;
use crate::hooks::HookHost;
use crate::metrics::Metrics;
use crate::policy_directory::audit::{Action, AuditLog, AuditRecord};
use crate::policy_directory::configured::{
    self, ActiveSource, Configured, configured_after, configured_name, file_of,
};
use crate::policy_directory::memory::{
    Activation, ActivationFile, RememberedCanary, RememberedLane, VersionName,
};
use crate::policy_directory::origin::{Origin, Via};
use crate::policy_directory::versions::VersionFiles;
use crate::rollout::Rollout;

/// What the start of a router changes, for the audit log.
struct Change {
    /// What was active when it ended.
    before: Option<VersionName>,
    why: Cow<'static, str>,
}

const STARTED: &str = "the router started";

/// Nothing was active before.
const FIRST: Change = Change {
    before: None,
    why: Cow::Borrowed(STARTED),
};

/// Why another version is active than before the start.
fn started(active: &VersionName, restored: &Result<(), DeployError>) -> Cow<'static, str> {
    match restored {
        Ok(()) => STARTED.into(),
        Err(_) if active.policy == BUILTIN => {
            format!("{STARTED}, with another embedded policy than before").into()
        }
        Err(error) => {
            format!("{STARTED}, and the version that was active does not load: {error}").into()
        }
    }
}

impl Deployments {
    /// Makes the first version active: the remembered one, unless the configuration or the policy's file has changed since then.
    pub fn start(
        policies: Arc<Policies<HookHost>>,
        metrics: Arc<Metrics>,
        rollout: Arc<Rollout>,
        config: &Config,
        data_dir: &DataDir,
    ) -> Result<Deployments, StartPolicyError> {
        let deployments = Deployments {
            policies,
            metrics,
            rollout,
            secret: data_dir.secrets().token_key,
            workers: config.node.workers,
            versions: VersionFiles(data_dir.policy_versions()),
            activation: ActivationFile(data_dir.policy_activation()),
            unsaved: AtomicBool::new(false),
            audit: AuditLog::new(data_dir.policy_audit()),
            config: config.policy.clone(),
            state: Mutex::new(None),
            pushing: Mutex::default(),
            stored: Mutex::default(),
            unresumed: Mutex::default(),
            records: Mutex::default(),
            reconsiders: AtomicBool::new(false),
            rolled_back: Arc::default(),
            wake: Arc::default(),
        };
        deployments
            .policies
            .set_keeps_dialogs(config.policy.pin == Pin::Dialog);
        deployments.listen_for_rollbacks();
        let remembered = deployments.activation.read();
        let canary = match &remembered {
            Some(remembered) => {
                deployments.unresumed().clone_from(&remembered.kept);
                deployments.correct_audit(remembered);
                deployments.resume(remembered)?
            }
            None => {
                deployments.start_configured(&FIRST)?;
                None
            }
        };
        deployments.take_routes(config)?;
        deployments.recall_routed();
        // What is active beside it is known now.
        if let Some(canary) = canary {
            deployments.restore_canary(&canary);
        }
        deployments.resume_dialogs_soon();
        Ok(deployments)
    }

    fn listen_for_rollbacks(&self) {
        let (rolled_back, wake) = (Arc::clone(&self.rolled_back), Arc::clone(&self.wake));
        self.policies
            .on_automatic_rollback(move |rollback: AutomaticRollback| {
                rolled_back
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(rollback);
                if let Some(wake) = wake.get() {
                    wake();
                }
            });
    }

    /// What was active last is active again. When the configuration or the policy's file has changed since then, that becomes active
    /// after it, so that there is something to go back to. The canary that is to go on, if there is one.
    fn resume(
        &self,
        remembered: &Activation,
    ) -> Result<Option<RememberedCanary>, StartPolicyError> {
        self.policies.recall_rolled_back(remembered.rolled_back());
        let restored = self.restore(&remembered.lane);
        let is_configured = self.is_configured_still(remembered);
        // What is active elsewhere is no matter of a canary that only routes have.
        let (canary, lost) = match remembered.canary.clone() {
            Some(canary) if !is_configured && canary.is_elsewhere() => (None, Some(canary)),
            canary => (canary, None),
        };
        *self.lock() = Some(Activation {
            configured: configured_after(&self.config, Some(remembered)),
            canary: canary.clone(),
            ..remembered.clone()
        });
        let active = &remembered.lane.active;
        let change = Change {
            before: Some(active.clone()),
            why: started(active, &restored),
        };
        let is_changed = is_configured && self.start_changed_file(remembered, &change);
        let goes_on = !is_changed && is_configured && restored.is_ok();
        if !is_changed && !goes_on {
            self.start_configured(&change)?;
        }
        if let Some(lost) = lost {
            self.lose_canary(&lost, "policy.active is another one than when it began");
        }
        if goes_on {
            self.tell_what_goes_on(remembered);
        }
        Ok(canary)
    }

    /// Whether what the configuration makes active is the same as then: the same name, or the version that was active, which has no file.
    fn is_configured_still(&self, remembered: &Activation) -> bool {
        let name = configured_after(&self.config, Some(remembered));
        let is_kept = |name: &str| {
            let file = file_of(&self.config, name);
            *name == remembered.lane.active.policy && file.is_none_or(|file| !file.is_file())
        };
        remembered.configured == name || name != BUILTIN && is_kept(&name)
    }

    /// The last activation goes on: what else somebody may expect who looks at the configuration or the command line.
    fn tell_what_goes_on(&self, remembered: &Activation) {
        if let Some(state) = &mut *self.lock()
            && state.configured != remembered.configured
        {
            self.save(state);
        }
        let VersionName { policy, version } = &remembered.lane.active;
        tracing::info!(
            policy,
            policy_version = version,
            "the last activation is active again"
        );
        if remembered.lane.file.is_some() && self.file_digest(policy).is_none() {
            tracing::warn!(
                policy,
                "the policy's file is not there any more: the version that was stored goes on"
            );
        }
        let is_on_command_line = matches!(self.config.active, ActivePolicy::File(_));
        let configured = configured_name(&self.config);
        if is_on_command_line && configured != *policy {
            tracing::warn!(
                policy = configured,
                "the policy of the command line does not route: {policy} was activated since then, and the file is the same; activate {configured} to change that"
            );
        }
    }

    /// Makes the remembered version active, with its past.
    pub(super) fn restore(&self, remembered: &RememberedLane) -> Result<(), DeployError> {
        if let Some(previous) = &remembered.previous
            && let Err(error) = self.load_version(previous)
        {
            tracing::warn!(policy = previous.policy, %error, "the version to go back to does not load");
        }
        let active = &remembered.active;
        let loaded = self.load_version(active);
        if let Err(error) = &loaded
            && active.policy == BUILTIN
        {
            tracing::info!(%error, "the embedded policy is another one than before");
        } else if let Err(error) = &loaded {
            tracing::error!(policy = active.policy, policy_version = active.version, %error, "the last active version does not load");
        }
        let routed = Some(&*active.policy).filter(|policy| self.policies.is_routed(policy));
        let mut past = remembered.past();
        if loaded.is_err() {
            // What runs instead runs since now.
            past.activated_at = Some(SystemTime::now());
        }
        self.policies.recall(routed, &past);
        loaded
    }

    /// A policy that routes name and that is the active one, too, is active already: only its past is to be known.
    fn recall_routed(&self) {
        let state = self.lock();
        let lanes = state.iter().flat_map(|state| &state.routed);
        for (policy, lane) in lanes {
            let active = self.active_of(policy);
            if active.is_some_and(|active| active.name() == lane.active) {
                self.policies.recall(Some(policy), &lane.past());
            }
        }
    }

    /// The policy that was active, or that of the command line, may have another file than then. One that is refused replaces nothing:
    /// false.
    fn start_changed_file(&self, remembered: &Activation, change: &Change) -> bool {
        let command_line = configured_name(&self.config);
        let is_other = |known: &&String| Some(*known) != self.command_line_digest().as_ref();
        let (policy, known) = match remembered.command_line_file.as_ref().filter(is_other) {
            Some(known) if matches!(self.config.active, ActivePolicy::File(_)) => {
                (&command_line, Some(known))
            }
            _ => (
                &remembered.lane.active.policy,
                remembered.lane.file.as_ref(),
            ),
        };
        let file = self.file_digest(policy);
        let Some(path) =
            file_of(&self.config, policy).filter(|_| file.is_some() && file.as_ref() != known)
        else {
            return false;
        };
        let configured = configured::read_file(policy, &path).map_err(DeployError::from);
        let deployed = configured.and_then(|configured| self.start_with(&configured, change));
        if let Err(error) = &deployed {
            tracing::error!(policy, %error, "the policy's file has changed and is refused, the last good version goes on");
        }
        deployed.is_ok()
    }

    /// Loads a kept version and makes it active.
    pub(super) fn load_version(&self, name: &VersionName) -> Result<(), DeployError> {
        self.load_kept(name)?;
        self.policies.activate(&name.policy, Some(&name.version))?;
        Ok(())
    }

    /// Loads a kept version.
    pub(super) fn load_kept(&self, name: &VersionName) -> Result<(), DeployError> {
        if name.policy == BUILTIN {
            return self.store_builtin();
        }
        let bytes = self.read_version(&name.policy, &name.version)?;
        let stored_at = self.versions.stored_at(&name.policy, &name.version)?;
        self.policies.store_of(&name.policy, &bytes, stored_at)?;
        Ok(())
    }

    fn start_configured(&self, change: &Change) -> Result<(), StartPolicyError> {
        let source = {
            let state = self.lock();
            configured::active_source(&self.config, &self.versions, state.as_ref())?
        };
        let (name, started) = match source {
            ActiveSource::Builtin => {
                let started = self.start_with(&configured::builtin(), change);
                (BUILTIN.to_owned(), started)
            }
            ActiveSource::File(name, path) => {
                let configured = configured::read_file(&name, &path)
                    .map_err(|source| StartPolicyError::Io { path, source })?;
                (name, self.start_with(&configured, change))
            }
            ActiveSource::Kept(version) => {
                let started = self.start_kept(&version, change);
                (version.policy, started)
            }
        };
        started.map_err(|source| {
            let error = StartPolicyError::Deploy { name, source };
            error.of_setting(&self.config)
        })
    }

    fn start_kept(&self, version: &VersionName, change: &Change) -> Result<(), DeployError> {
        self.load_kept(version)?;
        let mut state = self.lock();
        let stored = Deployed {
            policy: version.policy.clone(),
            version: self
                .policies
                .choose(&version.policy, Some(&version.version))?,
        };
        self.activate_first(&stored, &Origin::router(), change, &mut state)
    }

    fn start_with(&self, configured: &Configured, change: &Change) -> Result<(), DeployError> {
        let component = Component {
            bytes: &configured.bytes,
            signature: configured.signature.as_deref(),
        };
        let origin = &configured.origin;
        let mut state = self.lock();
        let stored = if origin.via == Via::Builtin {
            self.store_locked(self.prepare_builtin(), origin, &state)?
        } else {
            self.store_own(self.prepare(&configured.name, component), origin, &state)?
        };
        self.activate_first(&stored, origin, change, &mut state)
    }

    fn activate_first(
        &self,
        stored: &Deployed,
        origin: &Origin,
        change: &Change,
        state: &mut Option<Activation>,
    ) -> Result<(), DeployError> {
        self.policies
            .activate(&stored.policy, Some(stored.version.as_str()))?;
        let record = AuditRecord {
            before: change.before.clone(),
            after: Some(stored.name()),
            ..AuditRecord::new(Action::Activate, origin, &stored.policy)
        };
        self.audit.write(&record.because(&change.why));
        self.remember(state, stored);
        tracing::info!(
            policy = stored.policy,
            policy_version = stored.version.as_str(),
            "the configured policy is active"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
