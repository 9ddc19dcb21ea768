//! One change of the policies at a time: storing, activating, going back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchbay_policy::{ActivateError, Digest, LoadError, Policies, RollbackError};

use super::BUILTIN_POLICY;
use super::configured::{self, Configured, configured_name, file_of};
use super::memory::{Activation, ActivationFile, VersionName};
use super::versions::VersionFiles;
use crate::config::{BUILTIN, Config, is_policy_name};
use crate::data_dir::DataDir;
use crate::hooks::HookHost;
use crate::metrics::Metrics;

/// A version that was stored or made active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// The name of the policy.
    pub policy: String,
    /// Its version.
    pub version: Digest,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// It is no policy, or refuses to start.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It can't be made active.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// There is nothing to go back to.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The name of the embedded policy.
    #[error("\"builtin\" is the embedded default policy: store yours under another name")]
    Reserved,
    /// It can't be kept.
    #[error("the version can't be stored: {0}")]
    Io(#[from] io::Error),
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
    #[error("policy.active: {0}")]
    Missing(String),
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
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

/// Stores, activates and remembers versions. Everything here may take as long as compiling does: call it off the workers.
pub struct Deployments {
    policies: Arc<Policies<HookHost>>,
    metrics: Arc<Metrics>,
    versions: VersionFiles,
    activation: ActivationFile,
    /// `[policy]` as it was at the start.
    config: crate::config::Policy,
    /// What is remembered; held while something changes.
    state: Mutex<Option<Activation>>,
    /// The newest version of each policy that was stored since the start; changed only while `state` is held.
    stored: Mutex<BTreeMap<String, Digest>>,
}

impl Deployments {
    /// Makes the first version active: the remembered one, unless the configuration or the policy's file has changed since then.
    pub fn start(
        policies: Arc<Policies<HookHost>>,
        metrics: Arc<Metrics>,
        config: &Config,
        data_dir: &DataDir,
    ) -> Result<Deployments, StartPolicyError> {
        let deployments = Deployments {
            policies,
            metrics,
            versions: VersionFiles(data_dir.policy_versions()),
            activation: ActivationFile(data_dir.policy_activation()),
            config: config.policy.clone(),
            state: Mutex::new(None),
            stored: Mutex::default(),
        };
        let configured = configured_name(&deployments.config);
        let remembered = deployments
            .activation
            .read()
            .filter(|activation| activation.configured == configured);
        if let Some(remembered) = remembered
            && deployments.restore(&remembered)
        {
            return Ok(deployments);
        }
        deployments.start_configured()?;
        Ok(deployments)
    }

    /// Compiles, checks and keeps a version, without making it active.
    pub fn store(&self, name: &str, bytes: &[u8]) -> Result<Deployed, DeployError> {
        let state = self.lock();
        self.store_own(name, bytes, &state)
    }

    /// Makes a stored version active: this one (a digest or its beginning), else the newest.
    pub fn activate(&self, name: &str, version: Option<&str>) -> Result<Deployed, DeployError> {
        let mut state = self.lock();
        self.activate_locked(name, version, &mut state)
    }

    fn activate_locked(
        &self,
        name: &str,
        version: Option<&str>,
        state: &mut Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        self.store_missing(name, state)?;
        let activated = self
            .policies
            .activate(name, version)
            .map_err(DeployError::from);
        let activated = self.counted(activated.map(|version| Deployed {
            policy: name.to_owned(),
            version: version.digest().clone(),
        }))?;
        self.remember(state, &activated, false);
        Ok(activated)
    }

    /// Makes the version active that was active before.
    pub fn rollback(&self) -> Result<Deployed, DeployError> {
        let mut state = self.lock();
        let version = self.policies.rollback()?;
        let active = Deployed {
            policy: version.name().to_string(),
            version: version.digest().clone(),
        };
        self.remember(&mut state, &active, true);
        Ok(active)
    }

    /// A file of the directory is new or has changed: it is stored, and made active when its policy is the active one.
    pub fn file_changed(&self, name: &str, path: &Path) {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                return tracing::error!(policy = name, path = %path.display(), %error, "the policy's file can't be read");
            }
        };
        // One lock from the question to the answer: an operator may be activating another policy just now, and that stays.
        let mut state = self.lock();
        let is_active = self.active().is_some_and(|active| active.policy == name);
        if is_active && is_known_file(&state, &bytes) {
            return;
        }
        let deployed = self.store_own(name, &bytes, &state).and_then(|stored| {
            if is_active {
                self.activate_locked(name, Some(stored.version.as_str()), &mut state)
            } else {
                Ok(stored)
            }
        });
        drop(state);
        match deployed {
            Ok(deployed) if is_active => tracing::info!(
                policy = name,
                policy_version = deployed.version.short(),
                "the changed policy is active"
            ),
            Ok(deployed) => tracing::info!(
                policy = name,
                policy_version = deployed.version.short(),
                "policy stored"
            ),
            Err(error) => {
                tracing::error!(policy = name, path = %path.display(), %error, "the policy's file is refused, what runs goes on")
            }
        }
    }

    /// Loads what can be activated besides the active version: the embedded policy and the versions of earlier runs.
    pub fn load_stored(&self) {
        if !BUILTIN_POLICY.is_empty()
            && let Err(error) = self.policies.store(BUILTIN, BUILTIN_POLICY)
        {
            tracing::error!(policy = BUILTIN, %error, "the embedded policy does not load");
        }
        let known: Vec<String> = self
            .policies
            .list()
            .iter()
            .flat_map(|policy| &policy.versions)
            .map(|version| version.digest.to_string())
            .collect();
        for file in self.versions.list().unwrap_or_default() {
            if known.contains(&file.digest) {
                continue;
            }
            let state = self.lock();
            let loaded = self
                .versions
                .get(&file.policy, &file.digest)
                .map_err(|error| error.to_string());
            if let Err(error) = loaded.and_then(|bytes| {
                self.policies
                    .store(&file.policy, &bytes)
                    .map_err(|error| error.to_string())
            }) {
                tracing::warn!(policy = file.policy, path = %file.path.display(), error, "a stored version does not load");
            }
            self.keep_newest(&file.policy);
            drop(state);
        }
    }

    /// What was loaded last counts as the newest. But what was stored since the start, else the active version, is newer than a version
    /// of an earlier run. To be called while the state is held.
    fn keep_newest(&self, policy: &str) {
        let stored = self.stored_since_start().get(policy).cloned();
        let active = || self.active().filter(|active| active.policy == policy);
        let Some(newest) = stored.or_else(|| active().map(|active| active.version)) else {
            return;
        };
        if let Ok(bytes) = self.versions.get(policy, newest.as_str())
            && let Err(error) = self.policies.store(policy, &bytes)
        {
            tracing::debug!(policy, %error, "the newest version is not refreshed");
        }
    }

    /// Remembers what is active when it changed by itself: the automatic rollback.
    pub fn follow(&self) {
        let mut state = self.lock();
        let remembered = state
            .as_ref()
            .map(|activation| activation.active.version.clone());
        if let Some(active) = self
            .active()
            .filter(|active| remembered.as_deref() != Some(active.version.as_str()))
        {
            self.remember(&mut state, &active, true);
        }
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

    fn lock(&self) -> MutexGuard<'_, Option<Activation>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a version that did not come with the router.
    fn store_own(
        &self,
        name: &str,
        bytes: &[u8],
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        if name == BUILTIN {
            return Err(DeployError::Reserved);
        }
        let stored = self.counted(self.store_locked(name, bytes, state))?;
        self.stored_since_start()
            .insert(name.to_owned(), stored.version.clone());
        Ok(stored)
    }

    fn stored_since_start(&self) -> MutexGuard<'_, BTreeMap<String, Digest>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_locked(
        &self,
        name: &str,
        bytes: &[u8],
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let version = self.policies.store(name, bytes)?;
        if name != BUILTIN {
            let keep: Vec<&str> = state
                .iter()
                .flat_map(|state| [Some(&state.active), state.previous.as_ref()])
                .flatten()
                .map(|name| name.version.as_str())
                .collect();
            self.versions.put(name, &version, bytes, &keep)?;
        }
        Ok(Deployed {
            policy: name.to_owned(),
            version,
        })
    }

    /// Stores the file of a policy that nobody has asked for yet.
    fn store_missing(&self, name: &str, state: &Option<Activation>) -> Result<(), DeployError> {
        let path = Some(name)
            .filter(|name| is_policy_name(name))
            .and_then(|name| file_of(&self.config, name));
        let is_known = || {
            self.policies
                .list()
                .iter()
                .any(|policy| policy.name == name)
        };
        match path.filter(|path| path.is_file() && !is_known()) {
            Some(path) => self
                .counted(self.store_locked(name, &std::fs::read(path)?, state))
                .map(|_| ()),
            None if name == BUILTIN && !BUILTIN_POLICY.is_empty() => {
                Ok(self.policies.store(BUILTIN, BUILTIN_POLICY).map(|_| ())?)
            }
            None => Ok(()),
        }
    }

    fn counted<T>(&self, result: Result<T, DeployError>) -> Result<T, DeployError> {
        if result.is_err() {
            self.metrics.activation_failures.add_shared(1);
        }
        result
    }

    fn remember(&self, state: &mut Option<Activation>, active: &Deployed, went_back: bool) {
        self.metrics.activations.add_shared(1);
        let name = VersionName {
            policy: active.policy.clone(),
            version: active.version.to_string(),
        };
        let before = state
            .as_ref()
            .map(|activation| activation.active.clone())
            .filter(|before| *before != name);
        let activation = Activation {
            configured: configured_name(&self.config),
            file: self.file_digest(&active.policy),
            previous: if went_back {
                None
            } else {
                before.or_else(|| {
                    state
                        .as_ref()
                        .and_then(|activation| activation.previous.clone())
                })
            },
            active: name,
        };
        self.activation.write(&activation);
        *state = Some(activation);
    }

    /// The digest of the policy's own file, as far as it has one.
    fn file_digest(&self, policy: &str) -> Option<String> {
        let path = file_of(&self.config, policy)?;
        std::fs::read(path)
            .ok()
            .map(|bytes| Digest::of(&bytes).to_string())
    }

    /// Makes the remembered version active; false when the configuration has to decide.
    fn restore(&self, remembered: &Activation) -> bool {
        let active = &remembered.active;
        let file = self.file_digest(&active.policy);
        if file.is_some() && file != remembered.file && self.restore_changed_file(&active.policy) {
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
        true
    }

    /// The policy that was active has another file than then. One that is refused replaces nothing: false.
    fn restore_changed_file(&self, policy: &str) -> bool {
        let Some(path) = file_of(&self.config, policy) else {
            return false;
        };
        let bytes = std::fs::read(path).map_err(DeployError::from);
        let deployed = bytes.and_then(|bytes| {
            self.start_with(&Configured {
                name: policy.to_owned(),
                bytes,
            })
        });
        if let Err(error) = &deployed {
            tracing::error!(policy, %error, "the policy's file has changed and is refused, the last good version goes on");
        }
        deployed.is_ok()
    }

    fn load_version(&self, name: &VersionName) -> Result<(), DeployError> {
        let bytes = if name.policy == BUILTIN {
            BUILTIN_POLICY.to_vec()
        } else {
            self.versions.get(&name.policy, &name.version)?
        };
        self.policies.store(&name.policy, &bytes)?;
        self.policies.activate(&name.policy, Some(&name.version))?;
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
        let stored = self.store_locked(&configured.name, &configured.bytes, &state)?;
        self.policies
            .activate(&stored.policy, Some(stored.version.as_str()))?;
        self.remember(&mut state, &stored, false);
        Ok(())
    }
}

/// Whether the active policy's file is the one that was there at the last activation.
fn is_known_file(state: &Option<Activation>, bytes: &[u8]) -> bool {
    let digest = Digest::of(bytes);
    state
        .as_ref()
        .and_then(|activation| activation.file.as_deref())
        == Some(digest.as_str())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use patchbay_policy::{Engine, EngineConfig};

    use super::*;

    /// A policy that lets every branch pass. What else is in it makes it another version.
    fn policy(comment: &str) -> Vec<u8> {
        let text = format!(
            r#"(component
                (core module $code
                    (func (export "hook") (result i32) i32.const 0)
                    (@custom "comment" "{comment}"))
                (core instance $code (instantiate $code))
                (type $verdict (enum "pass" "drop"))
                (component $hooks
                    (type $verdict (enum "pass" "drop"))
                    (import "verdict" (type $imported (eq $verdict)))
                    (import "hook" (func $hook (result $imported)))
                    (export $exported "branch-verdict" (type $verdict))
                    (export "branch-route" (func $hook) (func (result $exported))))
                (func $hook (result $verdict) (canon lift (core func $code "hook")))
                (instance $hooks (instantiate $hooks
                    (with "verdict" (type $verdict))
                    (with "hook" (func $hook))))
                (export "patchbay:policy/branch-route@0.1.0" (instance $hooks)))"#
        );
        wat::parse_str(text).expect("a component")
    }

    fn deployments(folder: &Path) -> Deployments {
        let directory = folder.join("policies");
        std::fs::create_dir(&directory).expect("a directory of policies");
        for name in ["first", "second"] {
            std::fs::write(directory.join(format!("{name}.wasm")), policy(name)).expect("a policy");
        }
        let text = "[policy]\ndirectory = \"policies\"\nactive = \"first\"\n[[listen]]\naddress = \"udp:127.0.0.1:0\"\n";
        let config = Config::parse(text, folder, &Default::default()).expect("a configuration");
        let data_dir = DataDir::open(&folder.join("data")).expect("a data directory");
        let init_config = Arc::new(config.clone());
        let engine = Engine::new(EngineConfig::default()).expect("an engine");
        let policies = Policies::new(engine, move || {
            HookHost::for_init(Arc::clone(&init_config), "init")
        });
        let metrics = Arc::new(Metrics::new(1));
        Deployments::start(Arc::new(policies), metrics, &config, &data_dir).expect("a policy")
    }

    fn active(deployments: &Deployments) -> String {
        deployments.active().expect("an active policy").policy
    }

    #[test]
    fn a_look_at_the_directory_does_not_undo_an_activation_under_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let deployments = deployments(folder.path());
        assert_eq!(active(&deployments), "first");
        let file = folder.path().join("policies/first.wasm");
        std::thread::scope(|scope| {
            let mut state = deployments.lock();
            let look = scope.spawn(|| deployments.file_changed("first", &file));
            // The look has come as far as it can while an activation holds the lock.
            std::thread::sleep(Duration::from_millis(200));
            deployments
                .activate_locked("second", None, &mut state)
                .expect("activate");
            drop(state);
            look.join().expect("the look ends");
        });
        assert_eq!(active(&deployments), "second");
    }

    #[test]
    fn what_is_stored_is_newer_than_what_earlier_runs_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let deployments = deployments(folder.path());
        let earlier = policy("of an earlier run");
        let digest = Digest::of(&earlier);
        deployments
            .versions
            .put("first", &digest, &earlier, &[])
            .expect("a version");
        let pushed = deployments
            .store("first", &policy("pushed"))
            .expect("a policy");
        deployments.load_stored();
        let active = deployments.activate("first", None).expect("activate");
        assert_eq!(active, pushed);
        let named = deployments.activate("first", Some(digest.as_str()));
        assert_eq!(named.expect("it is loaded").version, digest);
    }

    #[test]
    fn a_changed_file_of_the_active_policy_becomes_active() {
        let folder = tempfile::tempdir().expect("a folder");
        let deployments = deployments(folder.path());
        let file = folder.path().join("policies/first.wasm");
        let before = deployments.active();
        deployments.file_changed("first", &file);
        assert_eq!(deployments.active(), before, "it has not changed");
        std::fs::write(&file, policy("changed")).expect("a policy");
        deployments.file_changed("first", &file);
        assert_eq!(active(&deployments), "first");
        assert_ne!(deployments.active(), before);
    }
}
