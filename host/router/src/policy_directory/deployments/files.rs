//! Versions from files: those of the watched directory, and those that earlier runs left.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use patchbay_policy::Digest;

use super::prepared::PolicyFile;
use super::{Component, DeployError, Deployed, Deployments};
use crate::config::BUILTIN;
use crate::policy_directory::BUILTIN_POLICY;
use crate::policy_directory::memory::Activation;
use crate::policy_directory::versions::{VersionFile, VersionRecord};

impl Deployments {
    /// A file of the directory is there at the start. A version that earlier runs have stored is no newer for that.
    pub fn file_found(&self, name: &str, path: &Path) -> bool {
        let state = self.lock();
        let is_active = self.is_active_policy(name);
        let digest = std::fs::read(path).ok().map(|bytes| Digest::of(&bytes));
        match digest.filter(|digest| !is_active && self.policies.is_stored(name, digest)) {
            Some(digest) => {
                let mut stored = self.stored_since_start();
                stored.newest.entry(name.to_owned()).or_insert(digest);
                true
            }
            None => {
                drop(state);
                let is_taken = self.file_changed(name, path);
                self.prefer_pushed(name);
                is_taken
            }
        }
    }

    /// What was pushed since the start, while the files were looked at, is newer than a file that was there before.
    fn prefer_pushed(&self, name: &str) {
        let _state = self.lock();
        let mut stored = self.stored_since_start();
        let Some(pushed) = stored.pushed.get(name).cloned() else {
            return;
        };
        if let Err(error) = self.versions.make_newest(name, pushed.as_str()) {
            tracing::error!(policy = name, policy_version = pushed.short(), %error, "the version that was pushed is not the newest after a restart");
        }
        self.policies.make_newest(name, &pushed);
        stored.newest.insert(name.to_owned(), pushed);
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
        let digest = Digest::of(&bytes);
        if self.is_taken(name, &digest, &self.lock()) {
            return true;
        }
        let taken =
            PolicyFile::of(path, bytes).and_then(|file| self.take_file(name, &file, &digest));
        match &taken {
            Ok(Some((deployed, true))) => tracing::info!(
                policy = name,
                policy_version = deployed.version.short(),
                "the changed policy is active"
            ),
            Ok(Some((deployed, false))) => tracing::info!(
                policy = name,
                policy_version = deployed.version.short(),
                "policy stored"
            ),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(policy = name, path = %path.display(), %error, "the policy's file is refused, what runs goes on")
            }
        }
        taken.is_ok()
    }

    /// Stores a file, and makes it active when its policy is; whether it did. `None`: there is nothing to do any more.
    fn take_file(
        &self,
        name: &str,
        file: &PolicyFile,
        digest: &Digest,
    ) -> Result<Option<(Deployed, bool)>, DeployError> {
        let prepared = self.prepare(name, file.component());
        let _held = self.hold_known(&prepared);
        // One lock from the question to the answer: an operator may be activating another policy just now, and that stays.
        let mut state = self.lock();
        let is_active = self.is_active_policy(name);
        // One that has changed again is looked at again.
        if self.is_taken(name, digest, &state) || is_active && file.has_changed() {
            return Ok(None);
        }
        let origin = file.origin();
        let stored = self.store_own(prepared, &origin, &state)?;
        if !is_active {
            return Ok(Some((stored, false)));
        }
        let held = self.hold_stored(&stored);
        let version = Some(stored.version.as_str());
        let active = self.activate_locked(name, version, held, &origin, &mut state)?;
        Ok(Some((active, true)))
    }

    /// Whether a policy is active, for the routes that name it or else for the requests that no route takes.
    fn is_active_policy(&self, name: &str) -> bool {
        self.policies.is_routed(name) || self.active().is_some_and(|active| active.policy == name)
    }

    /// Whether there is nothing to do for a file: it was active already, or is the newest version that was stored.
    fn is_taken(&self, name: &str, digest: &Digest, state: &Option<Activation>) -> bool {
        if self.is_active_policy(name) {
            self.is_known_file(name, state, digest)
        } else {
            self.stored_since_start().newest.get(name) == Some(digest)
        }
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

    /// Stores the file of a policy.
    pub(super) fn store_file(&self, name: &str, path: &Path) -> Result<(), DeployError> {
        let file = PolicyFile::read(path)?;
        let prepared = self.prepare(name, file.component());
        let state = self.lock();
        self.store_own(prepared, &file.origin(), &state)?;
        Ok(())
    }

    /// Loads what the start had no time for, and what can be activated besides the active version: the embedded policy and the versions of
    /// earlier runs.
    pub fn load_stored(&self, is_stopping: impl Fn() -> bool) {
        self.resume_dialogs(|| !is_stopping());
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
            if let Err(error) = self.load_file(&file) {
                tracing::warn!(policy = file.policy, path = %file.path.display(), %error, "a stored version does not load");
            }
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
