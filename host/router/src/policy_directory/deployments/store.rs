//! Storing versions: checked, kept in the data directory, written down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use patchbay_policy::{Digest, VersionState};

use super::prepared::{Checked, Prepared};
use super::{Component, DeployError, Deployed, Deployments};
use crate::config::{BUILTIN, is_policy_name};
use crate::policy_directory::BUILTIN_POLICY;
use crate::policy_directory::audit::{Action, AuditRecord, unix_secs};
use crate::policy_directory::configured::file_of;
use crate::policy_directory::memory::{Activation, VersionName};
use crate::policy_directory::origin::{Origin, Via};
use crate::policy_directory::versions::VersionRecord;
use crate::signature::{self, SignatureError};

/// The versions that were stored since the start, the newest of each policy.
#[derive(Default)]
pub(super) struct StoredVersions {
    /// Whichever way they came.
    pub(super) newest: BTreeMap<String, Digest>,
    /// Those that did not come as files.
    pub(super) pushed: BTreeMap<String, Digest>,
}

impl Deployments {
    /// Stores a version that did not come with the router.
    pub(super) fn store_own(
        &self,
        prepared: Prepared<'_>,
        origin: &Origin,
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let (name, digest) = (prepared.name, prepared.digest.clone());
        let was_known = self.versions.record(name, digest.as_str()).is_some();
        let result = self.store_locked(prepared, origin, state);
        let result = match name {
            BUILTIN => result,
            _ => self.counted(result),
        };
        let record = AuditRecord {
            after: Some(VersionName::new(name, digest.as_str())),
            ..AuditRecord::new(Action::Store, origin, name)
        };
        // The directory is read at every start.
        if !(result.is_ok() && origin.via == Via::File && was_known) {
            self.write_down(record, &result);
        }
        if result.is_err() {
            self.record_rejected(name, &digest, origin);
        }
        let stored = result?;
        let mut since_start = self.stored_since_start();
        let entry = || (name.to_owned(), stored.version.clone());
        since_start.newest.extend([entry()]);
        if origin.via != Via::File {
            since_start.pushed.extend([entry()]);
        }
        drop(since_start);
        Ok(stored)
    }

    /// Where a version came from that is listed as rejected; as long as it is, and no longer.
    fn record_rejected(&self, name: &str, version: &Digest, origin: &Origin) {
        let listed: BTreeSet<(String, String)> = self
            .policies
            .list()
            .into_iter()
            .flat_map(|policy| {
                let name = policy.name;
                let versions = policy.versions.into_iter();
                versions.map(move |version| (name.clone(), version.digest.to_string()))
            })
            .collect();
        let key = (name.to_owned(), version.to_string());
        let mut records = self.records();
        records.retain(|key, _| listed.contains(key));
        if listed.contains(&key) {
            records.entry(key).or_insert_with(|| VersionRecord {
                stored_at: unix_secs(),
                origin: origin.clone(),
                signature: None,
                signed_by: None,
            });
        }
    }

    pub(super) fn stored_since_start(&self) -> MutexGuard<'_, StoredVersions> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store_locked(
        &self,
        prepared: Prepared<'_>,
        origin: &Origin,
        state: &Option<Activation>,
    ) -> Result<Deployed, DeployError> {
        let Prepared {
            name,
            component,
            digest,
            checked,
        } = prepared;
        let Checked {
            signed_by,
            compiled,
        } = checked?;
        let bytes = component.bytes;
        let was_stored = self.policies.is_stored(name, &digest);
        let version = if name == BUILTIN {
            self.policies.keep_of(compiled, UNIX_EPOCH)?
        } else {
            self.policies.keep(compiled)?
        };
        let record = VersionRecord {
            stored_at: unix_secs(),
            origin: origin.clone(),
            signature: signed_by
                .as_ref()
                .and(component.signature.map(str::to_owned)),
            signed_by,
        };
        let record = if name == BUILTIN {
            record
        } else {
            let keep = self.needed(state);
            let put = self.versions.put(name, &version, bytes, &record, &keep);
            put.map_err(DeployError::from).inspect_err(|error| {
                // Nobody is to run by accident what a restart would take away.
                if !was_stored {
                    self.policies.withdraw(name, &version, &error.to_string());
                }
            })?
        };
        self.records()
            .insert((name.to_owned(), version.to_string()), record);
        Ok(Deployed {
            policy: name.to_owned(),
            version,
        })
    }

    /// The trusted key that signed a component, when there are any; what is not signed is listed as rejected.
    pub(super) fn check_signature(
        &self,
        name: &str,
        component: Component<'_>,
    ) -> Result<Option<String>, SignatureError> {
        let keys = &self.config.trusted_keys;
        if keys.is_empty() {
            return Ok(None);
        }
        match signature::signer(keys, component.bytes, component.signature) {
            Ok(key) => Ok(Some(key.to_string())),
            Err(error) => {
                self.policies
                    .reject(name, component.bytes, &error.to_string());
                Err(error)
            }
        }
    }

    /// The digests whose files are not to be dropped.
    fn needed(&self, state: &Option<Activation>) -> Vec<String> {
        let remembered = state.iter().flat_map(Activation::versions);
        let mut needed: Vec<String> = remembered.map(|name| name.version.clone()).collect();
        for policy in self.policies.list() {
            let in_memory = policy.versions.iter().filter(|version| {
                !matches!(version.state, VersionState::Stored | VersionState::Rejected)
            });
            needed.extend(in_memory.map(|version| version.digest.to_string()));
        }
        needed
    }

    /// Stores what somebody asks for and nobody has before: the file of a policy, or a version that earlier runs left and the start has
    /// not come to yet.
    pub(super) fn store_missing(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(), DeployError> {
        self.load_wanted(name, version);
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
            Some(path) => self.store_file(name, &path),
            None if name == BUILTIN && !BUILTIN_POLICY.is_empty() => self.store_builtin(),
            None => Ok(()),
        }
    }

    pub(super) fn store_builtin(&self) -> Result<(), DeployError> {
        self.store_locked(self.prepare_builtin(), &Origin::builtin(), &None)
            .map(|_| ())
    }

    /// Loads a version that earlier runs left: the one that is asked for, else the newest. Soon after a start it may not be there yet.
    fn load_wanted(&self, name: &str, version: Option<&str>) {
        let kept = self.versions.list().unwrap_or_default();
        let wanted = kept.iter().rev().filter(|file| {
            let is_meant = |digest: Digest| version.is_none_or(|text| digest.matches(text));
            file.policy == name && file.digest.parse().is_ok_and(is_meant)
        });
        for file in wanted {
            let is_stored = |digest: Digest| self.policies.is_stored(name, &digest);
            if file.digest.parse().is_ok_and(is_stored) {
                return;
            }
            match self.load_kept(&VersionName::new(name, &file.digest)) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(policy = name, policy_version = file.digest, %error, "a stored version does not load");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{deployments, operator, plain, policy, start};
    use super::*;

    #[test]
    fn a_version_that_can_not_be_kept_is_not_the_newest_and_not_activated() {
        let folder = tempfile::tempdir().expect("a folder");
        let router = deployments(folder.path());
        let first = router.active().expect("active");
        let bytes = policy("pushed");
        let version = Digest::of(&bytes);
        let versions = folder.path().join("data/policies/versions/first");
        // What is in the way of the component, and of what is known of it.
        for obstacle in ["new", "json"].map(|end| versions.join(format!("{version}.{end}"))) {
            std::fs::create_dir(&obstacle).expect("a folder");
            let refused = router.store("first", plain(&bytes), &operator());
            assert!(matches!(refused, Err(DeployError::Io(_))), "{refused:?}");
            let activated = router.activate("first", None, &operator());
            let activated = activated.expect("what was there");
            assert!(activated.was_active);
            assert_eq!(activated.active, first);
            let listed = &router.policies.list()[0].versions[0];
            assert_eq!(listed.state, VersionState::Rejected);
            let error = listed.last_error.as_deref().unwrap_or_default();
            assert!(error.contains("can't be stored"), "{error}");
            assert!(!versions.join(format!("{version}.wasm")).exists());
            std::fs::remove_dir(&obstacle).expect("it was there");
        }
        let pushed = router.store("first", plain(&bytes), &operator());
        let pushed = pushed.expect("there is room again");
        drop(router);
        let after = start(folder.path(), "").expect("a policy");
        let activated = after.activate("first", None, &operator());
        assert_eq!(activated.expect("activated").active, pushed);
    }
}
