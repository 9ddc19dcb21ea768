//! Versions from files: those of the watched directory, and those that earlier runs left.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use patchbay_policy::Digest;

use super::{Component, DeployError, Deployed, Deployments};
use crate::config::BUILTIN;
use crate::policy_directory::BUILTIN_POLICY;
use crate::policy_directory::memory::Activation;
use crate::policy_directory::origin::Origin;
use crate::policy_directory::versions::{VersionFile, VersionRecord};
use crate::signature;

impl Deployments {
    /// A file of the directory is there at the start. A version that earlier runs have stored is no newer for that.
    pub fn file_found(&self, name: &str, path: &Path) -> bool {
        let state = self.lock();
        let is_active = self.policies.is_routed(name)
            || self.active().is_some_and(|active| active.policy == name);
        let digest = std::fs::read(path).ok().map(|bytes| Digest::of(&bytes));
        match digest.filter(|digest| !is_active && self.policies.is_stored(name, digest)) {
            Some(digest) => {
                let mut stored = self.stored_since_start();
                stored.entry(name.to_owned()).or_insert(digest);
                true
            }
            None => {
                drop(state);
                self.file_changed(name, path)
            }
        }
    }

    /// A file of the directory is new or has changed: it is stored, and made active when its policy is the active one.
    /// What can't be taken may be later, when something else is granted: then this is `false`.
    pub fn file_changed(&self, name: &str, path: &Path) -> bool {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(error) => {
                tracing::error!(policy = name, path = %path.display(), %error, "the policy's file can't be read");
                return false;
            }
        };
        // One lock from the question to the answer: an operator may be activating another policy just now, and that stays.
        let mut state = self.lock();
        let is_active = self.policies.is_routed(name)
            || self.active().is_some_and(|active| active.policy == name);
        if is_active && self.is_known_file(name, &state, &bytes)
            || self.is_stored(name, &bytes) && !is_active
        {
            return true;
        }
        let origin = Origin::file(path);
        let deployed = self.store_bytes(name, path, &bytes, &origin, &state);
        let deployed = deployed.and_then(|stored| {
            if is_active {
                self.activate_locked(name, Some(stored.version.as_str()), &origin, &mut state)
            } else {
                Ok(stored)
            }
        });
        drop(state);
        let is_taken = deployed.is_ok();
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
        is_taken
    }

    /// Has the files looked at again that were refused: what policies are granted, and their settings, may be others now.
    pub fn reconsider_refused(&self) {
        self.reconsiders.store(true, Ordering::SeqCst);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Whether refused files are to be looked at again; once.
    pub(in crate::policy_directory) fn reconsiders(&self) -> bool {
        self.reconsiders.swap(false, Ordering::SeqCst)
    }

    /// Whether the newest good version of a policy is this one already.
    fn is_stored(&self, name: &str, bytes: &[u8]) -> bool {
        self.stored_since_start().get(name) == Some(&Digest::of(bytes))
    }

    fn store_bytes(
        &self,
        name: &str,
        path: &Path,
        bytes: &[u8],
        origin: &Origin,
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let signature = signature::read_beside(path)?;
        let component = Component {
            bytes,
            signature: signature.as_deref(),
        };
        self.store_own(name, component, origin, state)
    }

    /// Stores the file of a policy.
    pub(super) fn store_file(
        &self,
        name: &str,
        path: &Path,
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let bytes = std::fs::read(path)?;
        self.store_bytes(name, path, &bytes, &Origin::file(path), state)
    }

    /// Loads what can be activated besides the active version: the embedded policy and the versions of earlier runs.
    pub fn load_stored(&self, is_stopping: impl Fn() -> bool) {
        if !BUILTIN_POLICY.is_empty()
            && let Err(error) = self.store_builtin()
        {
            tracing::error!(policy = BUILTIN, %error, "the embedded policy does not load");
        }
        let listed = self.policies.list();
        let is_known = |file: &VersionFile| {
            let mut policies = listed.iter().filter(|policy| policy.name == file.policy);
            policies.any(|policy| {
                let mut versions = policy.versions.iter();
                versions.any(|version| version.digest.as_str() == file.digest)
            })
        };
        for file in self.versions.list().unwrap_or_default() {
            if is_stopping() {
                return;
            }
            if is_known(&file) {
                continue;
            }
            let state = self.lock();
            if let Err(error) = self.load_file(&file) {
                tracing::warn!(policy = file.policy, path = %file.path.display(), %error, "a stored version does not load");
            }
            drop(state);
        }
    }

    fn load_file(&self, file: &VersionFile) -> Result<(), DeployError> {
        let bytes = self.read_version(&file.policy, &file.digest)?;
        self.policies.store_of(&file.policy, &bytes, file.stored)?;
        Ok(())
    }

    /// A kept version that can't be read is seen with the reason.
    fn list_as_rejected(&self, policy: &str, digest: &str, error: &io::Error) {
        let Ok(version) = digest.parse() else { return };
        let stored_at = self.versions.stored_at(policy, digest);
        let stored_at = stored_at.unwrap_or_else(|_| SystemTime::now());
        self.policies
            .reject_version(policy, version, stored_at, &error.to_string());
    }

    /// The bytes of a kept version, with its signature checked again: who may sign may have changed.
    pub(super) fn read_version(&self, policy: &str, digest: &str) -> Result<Vec<u8>, DeployError> {
        let record = self.versions.record(policy, digest);
        let bytes = self.versions.get(policy, digest).map_err(|error| {
            self.list_as_rejected(policy, digest, &error);
            self.keep_record(policy, digest, record.clone());
            DeployError::Kept(error)
        })?;
        let signature = record.as_ref().and_then(|record| record.signature.clone());
        let component = Component {
            bytes: &bytes,
            signature: signature.as_deref(),
        };
        self.check_signature(policy, component)?;
        self.keep_record(policy, digest, record);
        Ok(bytes)
    }

    fn keep_record(&self, policy: &str, digest: &str, record: Option<VersionRecord>) {
        if let Some(record) = record {
            let key = (policy.to_owned(), digest.to_owned());
            self.records().insert(key, record);
        }
    }
}
