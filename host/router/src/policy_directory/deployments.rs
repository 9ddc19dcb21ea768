//! One change of the policies at a time: storing, activating, going back, trying on some new dialogs.

mod canary;
mod dialogs;
mod files;
mod past;
mod prepared;
mod routed;
mod shadow;
mod start;
mod store;
mod unremembered;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchbay_policy::{
    ActivateError, AutomaticRollback, Digest, LoadError, Policies, RollbackError,
};

use super::audit::{Action, AuditLog, AuditRecord};
use super::configured::{configured_after, configured_name, file_of};
use super::memory::{Activation, ActivationFile, VersionName};
use super::origin::Origin;
use super::versions::{VersionFiles, VersionRecord};
use crate::config::{ActivePolicy, Place};
use crate::hooks::HookHost;
use crate::metrics::Metrics;
use crate::rollout::Rollout;
use crate::signature::SignatureError;

pub use canary::CanaryWatch;
use prepared::Held;

/// A version that was stored or made active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The name of the policy.
    pub policy: String,
    /// Its version.
    pub version: Digest,
}

/// What an activation led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// The version that is active.
    pub active: Deployed,
    /// It was so before.
    pub was_active: bool,
}

/// A component as it comes in.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The text of its signature.
    pub signature: Option<&'a str>,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// It is no policy, or refuses to start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Nobody who is trusted has signed it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It can't be made active.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// There is nothing to go back to.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The name of the embedded policy.
    #[error("\"builtin\" is the embedded default policy: store yours under another name")]
    Reserved,
    /// There is no canary to promote or abort.
    #[error("there is no canary{}: `patchbay policy canary NAME --percent N` begins one", of(.0.as_deref()))]
    NoCanary(Option<String>),
    /// The canary would become active for others than it was begun for.
    #[error("the canary can't become active: {0}")]
    LostCanary(&'static str),
    /// Another version is the canary.
    #[error("version {} of policy `{}` is the canary: promote or abort it first", .0.version.short(), .0.policy)]
    OtherCanary(Deployed),
    /// There is nothing of this policy, neither in the directory nor among the versions that are kept.
    #[error("there is no {0}.wasm in the directory of policies, and no version of it was pushed")]
    NoFile(String),
    /// What is kept of it can't be read.
    #[error("what is kept of the version can't be read: {0}")]
    Kept(io::Error),
    /// It can't be kept.
    #[error("the version can't be stored: {0}")]
    Io(#[from] io::Error),
}

/// Why a version is rolled back by itself.
const FAILED: &str = "it kept failing soon after its activation, for several sources";
/// The same where an operator has activated another version before it was written down.
const OVERTAKEN: &str = "it kept failing soon after its activation, for several sources; another version was activated before this was written down";

fn of(policy: Option<&str>) -> String {
    policy.map_or_else(String::new, |policy| format!(" of policy `{policy}`"))
}

/// The file and the line, with a colon behind each.
fn written(file: Option<&Path>, place: &Place) -> String {
    match (file, place) {
        (Some(file), Place::Line(line)) => format!("{}:{line}: ", file.display()),
        (None, Place::Line(line)) => format!("line {line}: "),
        (_, Place::CommandLine) => "command line: ".to_owned(),
        (_, Place::Nowhere) => String::new(),
    }
}

/// Why the router has no policy to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartPolicyError {
    /// The router was built without the default policy.
    #[error(
        "this router was built without its default policy: run `cargo xtask policies` and build it again, or give it one with --policy FILE.wasm"
    )]
    NoBuiltin,
    /// The active policy has no file.
    #[error("{}policy.active: {message}", written(.file.as_deref(), .place))]
    Missing {
        /// The file of the configuration.
        file: Option<PathBuf>,
        /// Where the key is written.
        place: Place,
        /// What is missing, and what would be right.
        message: String,
    },
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A policy that a route names can't run.
    #[error("{}policy.route.policy: {policy}: {source}", written(.file.as_deref(), .place))]
    Route {
        /// The file of the configuration.
        file: Option<PathBuf>,
        /// Where the route is written.
        place: Place,
        /// The policy.
        policy: String,
        /// Why.
        source: Box<DeployError>,
    },
    /// Its `init` refuses a setting.
    #[error("{}{key}: policy {name}: {source}", written(.file.as_deref(), .place))]
    Setting {
        /// The file of the configuration.
        file: Option<PathBuf>,
        /// Where the setting is written.
        place: Place,
        /// The key.
        key: String,
        /// The policy.
        name: String,
        /// Why.
        source: Box<DeployError>,
    },
    /// It is no policy that can run.
    #[error("policy {name}: {source}")]
    Deploy {
        /// Its name.
        name: String,
        /// Why.
        source: DeployError,
    },
}

/// Stores, activates and remembers versions. Storing and activating may take as long as compiling does: call it off the workers. Nobody
/// compiles while the state is held, so that a rollback and the end of a canary wait for no compilation.
pub struct Deployments {
    policies: Arc<Policies<HookHost>>,
    metrics: Arc<Metrics>,
    rollout: Arc<Rollout>,
    /// The node's secret, to choose who gets a canary.
    secret: [u8; 32],
    workers: usize,
    versions: VersionFiles,
    activation: ActivationFile,
    /// What is active could not be remembered.
    unsaved: AtomicBool,
    audit: AuditLog,
    /// `[policy]` as it was at the start.
    config: crate::config::Policy,
    /// What is remembered; held while something changes, for a moment.
    state: Mutex<Option<Activation>>,
    /// Held while a component that was pushed is compiled. Nobody takes it, or the next one, while `state` is held.
    pushing: Mutex<()>,
    /// The newest version of each policy that was stored since the start; changed only while `state` is held.
    stored: Mutex<store::StoredVersions>,
    /// Versions that were kept for dialogs when the router ended and are not loaded yet, the latest last.
    unresumed: Mutex<Vec<VersionName>>,
    /// Where the versions came from.
    records: Mutex<BTreeMap<(String, String), VersionRecord>>,
    /// Files that were refused are to be looked at again.
    reconsiders: AtomicBool,
    /// Automatic rollbacks that are not written down yet.
    rolled_back: Arc<Mutex<Vec<AutomaticRollback>>>,
    /// Has them written down soon.
    wake: Arc<std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>>,
}

impl Deployments {
    /// Compiles, checks and keeps a version, without making it active.
    pub fn store(
        &self,
        name: &str,
        component: Component<'_>,
        origin: &Origin,
    ) -> Result<Deployed, DeployError> {
        let prepared = self.prepare_alone(name, component);
        let state = self.lock();
        self.store_own(prepared, origin, &state)
    }

    /// Makes a stored version active: this one (a digest or its beginning), else the newest.
    pub fn activate(
        &self,
        name: &str,
        version: Option<&str>,
        origin: &Origin,
    ) -> Result<Activated, DeployError> {
        let (held, mut state) = self.hold(name, version);
        let before = self.active_before(name);
        let active = self.activate_locked(name, version, held, origin, &mut state)?;
        let was_active = before.as_ref() == Some(&active);
        Ok(Activated { active, was_active })
    }

    fn activate_locked(
        &self,
        name: &str,
        version: Option<&str>,
        held: Result<Held<'_>, DeployError>,
        origin: &Origin,
        state: &mut Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let before = self.active_before(name);
        let result = held.and_then(|held| {
            let version = held.version().digest();
            let version = self.policies.activate(name, Some(version.as_str()))?;
            Ok(Deployed {
                policy: name.to_owned(),
                version: version.digest().clone(),
            })
        });
        let activated = self.counted(result);
        let record = AuditRecord {
            before: before.as_ref().map(Deployed::name),
            after: version.map(|version| VersionName::new(name, version)),
            ..AuditRecord::new(Action::Activate, origin, name)
        };
        self.write_down(record, &activated);
        let activated = activated?;
        self.end_canary_of(&activated);
        self.remember(state, &activated);
        Ok(activated)
    }

    /// Makes the version active that was active before: of this policy, for the routes that name it; without one, for the requests that
    /// no route takes.
    pub fn rollback(&self, policy: Option<&str>, origin: &Origin) -> Result<Deployed, DeployError> {
        let (_held, mut state) = self.hold_before(policy);
        let before = match policy {
            Some(policy) => self.active_before(policy),
            None => self.active(),
        };
        let result = match policy {
            Some(policy) => self.policies.rollback_of(policy),
            None => self.policies.rollback(),
        };
        let result = result.map_err(DeployError::from);
        let result = result.map(|version| Deployed {
            policy: version.name().to_string(),
            version: version.digest().clone(),
        });
        let policy = result.as_ref().ok().or(before.as_ref());
        let policy = policy.map_or("", |active| &active.policy);
        let record = AuditRecord {
            before: before.as_ref().map(Deployed::name),
            ..AuditRecord::new(Action::Rollback, origin, policy)
        };
        self.write_down(record, &result);
        let active = result?;
        self.end_canary_of(&active);
        self.remember(&mut state, &active);
        Ok(active)
    }

    /// Writes down and remembers what changed by itself: automatic rollbacks. Frees what no dialog needs any more.
    pub fn follow(&self) {
        let rolled_back = std::mem::take(
            &mut *self
                .rolled_back
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for rollback in rolled_back {
            let mut state = self.lock();
            let restored = Deployed {
                policy: rollback.restored_policy.to_string(),
                version: rollback.restored_version,
            };
            // An operator may have been faster. Then the line comes after his, and must not tell of the version as the active one.
            let is_active = self.active().as_ref() == Some(&restored)
                || self.active_of(&restored.policy).as_ref() == Some(&restored);
            let record = AuditRecord {
                done: is_active,
                before: Some(VersionName::new(
                    &rollback.policy,
                    rollback.version.as_str(),
                )),
                after: Some(restored.name()),
                ..AuditRecord::new(
                    Action::AutomaticRollback,
                    &Origin::router(),
                    &rollback.policy,
                )
            };
            self.audit
                .write(&record.because(if is_active { FAILED } else { OVERTAKEN }));
            if is_active {
                self.end_canary_of(&restored);
                self.remember(&mut state, &restored);
            }
            self.remember_rolled_back(&mut state);
        }
        self.policies.drop_idle(std::time::Instant::now());
        self.save_anew();
        self.audit.write_again();
    }

    /// Has `wake` called when there is something to [`follow`](Deployments::follow). Only the first call counts.
    pub fn on_change(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second one would only have woken somebody who looks by himself each second.
        let _ = self.wake.set(Box::new(wake));
    }

    /// The watched directory.
    pub fn directory(&self) -> Option<&Path> {
        self.config.directory.as_deref()
    }

    /// The active version.
    pub fn active(&self) -> Option<Deployed> {
        self.policies.active().map(|version| Deployed {
            policy: version.name().to_string(),
            version: version.digest().clone(),
        })
    }

    /// Who changed what.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Where a version came from, as far as it is known.
    pub fn record(&self, policy: &str, version: &str) -> Option<VersionRecord> {
        self.records()
            .get(&(policy.to_owned(), version.to_owned()))
            .cloned()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<(String, String), VersionRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Activation>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted<T>(&self, result: Result<T, DeployError>) -> Result<T, DeployError> {
        if result.is_err() {
            self.metrics.activation_failures.add_shared(1);
        }
        result
    }

    /// Completes a line of the audit log with its result.
    fn write_down(&self, record: AuditRecord, result: &Result<Deployed, DeployError>) {
        let record = match result {
            Ok(deployed) => AuditRecord {
                after: Some(deployed.name()),
                ..record
            },
            Err(error) => AuditRecord {
                done: false,
                ..record
            }
            .because(error),
        };
        self.audit.write(&record);
    }

    fn remember(&self, state: &mut Option<Activation>, active: &Deployed) {
        self.metrics.activations.add_shared(1);
        if self.policies.is_routed(&active.policy) {
            self.remember_routed(state, active);
        }
        if state.is_some() && self.active().as_ref() != Some(active) {
            return;
        }
        let name = active.name();
        let before = state.take();
        let configured = configured_after(&self.config, before.as_ref());
        let (canary, routed) =
            before.map_or_else(Default::default, |before| (before.canary, before.routed));
        let mut activation = Activation {
            configured,
            command_line_file: self.command_line_digest(),
            canary: canary.filter(|canary| canary.name != name),
            lane: self.remembered_lane(None, active),
            routed,
            kept: Vec::new(),
            rolled_back: self.rolled_back_versions(),
        };
        self.save(&mut activation);
        *state = Some(activation);
    }

    /// The digest of the file on the command line.
    fn command_line_digest(&self) -> Option<String> {
        let is_there = matches!(self.config.active, ActivePolicy::File(_));
        is_there.then(|| self.file_digest(&configured_name(&self.config)))?
    }

    /// The digest of the policy's own file, as far as it has one.
    fn file_digest(&self, policy: &str) -> Option<String> {
        let path = file_of(&self.config, policy)?;
        std::fs::read(path)
            .ok()
            .map(|bytes| Digest::of(&bytes).to_string())
    }
}

impl Deployed {
    fn name(&self) -> VersionName {
        VersionName::new(&self.policy, self.version.as_str())
    }
}

#[cfg(test)]
pub(super) mod tests;
