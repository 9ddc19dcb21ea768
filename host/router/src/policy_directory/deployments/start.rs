//! Which version is active when the router starts.

use std::sync::{Arc, Mutex, PoisonError};

use patchbay_policy::{AutomaticRollback, Digest, Policies};

use super::{Component, DeployError, Deployments, StartPolicyError};
use crate::config::{BUILTIN, Config, Pin};
use crate::data_dir::DataDir;
use crate::hooks::HookHost;
use crate::metrics::Metrics;
use crate::policy_directory::BUILTIN_POLICY;
use crate::policy_directory::audit::{Action, AuditLog, AuditRecord};
use crate::policy_directory::configured::{self, Configured, configured_name, file_of};
use crate::policy_directory::memory::{Activation, ActivationFile, VersionName};
use crate::policy_directory::versions::VersionFiles;
use crate::rollout::Rollout;

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
            audit: AuditLog::new(data_dir.policy_audit()),
            config: config.policy.clone(),
            state: Mutex::new(None),
            stored: Mutex::default(),
            records: Mutex::default(),
            rolled_back: Arc::default(),
            wake: Arc::default(),
        };
        deployments
            .policies
            .set_keeps_dialogs(config.policy.pin == Pin::Dialog);
        deployments.listen_for_rollbacks();
        let configured = configured_name(&deployments.config);
        let read = deployments.activation.read();
        let routed = read.as_ref().map(|activation| activation.routed.clone());
        let remembered = read.filter(|activation| activation.configured == configured);
        if remembered.is_none_or(|remembered| !deployments.restore(&remembered)) {
            deployments.start_configured()?;
        }
        if let Some(state) = &mut *deployments.lock() {
            state.routed = routed.unwrap_or_default();
        }
        deployments.take_routes(config)?;
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

    /// Makes the remembered version active; false when the configuration has to decide.
    fn restore(&self, remembered: &Activation) -> bool {
        let active = &remembered.active;
        let file = self.file_digest(&active.policy);
        if file.is_some() && file != remembered.file && self.restore_changed_file(&active.policy) {
            self.resume_canary(remembered);
            return true;
        }
        if active.policy == BUILTIN && Digest::of(BUILTIN_POLICY).as_str() != active.version {
            return false;
        }
        if let Some(previous) = &remembered.previous
            && let Err(error) = self.load_version(previous)
        {
            tracing::warn!(policy = previous.policy, %error, "the version to go back to does not load");
        }
        if let Err(error) = self.load_version(active) {
            tracing::error!(policy = active.policy, policy_version = active.version, %error, "the last active version does not load, the configuration decides");
            return false;
        }
        *self.lock() = Some(remembered.clone());
        tracing::info!(
            policy = active.policy,
            policy_version = active.version,
            "the last activation is active again"
        );
        self.resume_canary(remembered);
        true
    }

    fn resume_canary(&self, remembered: &Activation) {
        let Some(canary) = &remembered.canary else {
            return;
        };
        if let Some(state) = &mut *self.lock() {
            state.canary = Some(canary.clone());
            self.activation.write(state);
        }
        self.restore_canary(canary);
    }

    /// The policy that was active has another file than then. One that is refused replaces nothing: false.
    fn restore_changed_file(&self, policy: &str) -> bool {
        let Some(path) = file_of(&self.config, policy) else {
            return false;
        };
        let configured = configured::read_file(policy, &path).map_err(DeployError::from);
        let deployed = configured.and_then(|configured| self.start_with(&configured));
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
        self.policies.store(&name.policy, &bytes)?;
        Ok(())
    }

    fn start_configured(&self) -> Result<(), StartPolicyError> {
        let configured = configured::read(&self.config)?;
        self.start_with(&configured)
            .map_err(|source| StartPolicyError::Deploy {
                name: configured.name.clone(),
                source,
            })
    }

    fn start_with(&self, configured: &Configured) -> Result<(), DeployError> {
        let mut state = self.lock();
        let component = Component {
            bytes: &configured.bytes,
            signature: configured.signature.as_deref(),
        };
        let origin = &configured.origin;
        let stored = self.store_locked(&configured.name, component, origin, &state)?;
        self.policies
            .activate(&stored.policy, Some(stored.version.as_str()))?;
        let record = AuditRecord {
            after: Some(stored.name()),
            ..AuditRecord::new(Action::Activate, origin, &stored.policy)
        };
        self.audit.write(&record.because("the router started"));
        self.remember(&mut state, &stored, false);
        Ok(())
    }
}
