//! The last activation or rollback, remembered over a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::data_dir::write_private;
use crate::rollout::Rule;

/// A version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionName {
    /// The name of the policy.
    pub policy: String,
    /// The digest.
    pub version: String,
}

impl VersionName {
    pub(super) fn new(policy: &str, version: &str) -> VersionName {
        VersionName {
            policy: policy.to_owned(),
            version: version.to_owned(),
        }
    }
}

/// A canary that was under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RememberedCanary {
    /// The version.
    #[serde(flatten)]
    pub(super) name: VersionName,
    /// Who gets it, and what ends it.
    pub(super) rule: Rule,
    /// Who began it.
    pub(super) origin: Origin,
    /// When, in seconds since 1970.
    pub(super) began_at: u64,
}

/// What was active last, and under which circumstances that is to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Activation {
    /// What the configuration named as active.
    pub(super) configured: String,
    /// What was active.
    pub(super) active: VersionName,
    /// What was active before: where a rollback leads.
    pub(super) previous: Option<VersionName>,
    /// The digest of the active policy's own file at that time; a file that changed since then wins.
    pub(super) file: Option<String>,
    /// What ran some new dialogs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) canary: Option<RememberedCanary>,
    /// The same of the policies that routes name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) routed: BTreeMap<String, RememberedLane>,
}

/// What was active of a policy that routes name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RememberedLane {
    /// What was active.
    pub(super) active: VersionName,
    /// What was active before: where a rollback leads.
    pub(super) previous: Option<VersionName>,
    /// The digest of the policy's own file at that time; a file that changed since then wins.
    pub(super) file: Option<String>,
}

impl Activation {
    /// The version of the canary.
    pub(super) fn canary_name(&self) -> Option<&VersionName> {
        self.canary.as_ref().map(|canary| &canary.name)
    }

    /// The versions that a later start needs.
    pub(super) fn versions(&self) -> impl Iterator<Item = &VersionName> {
        let shared = [
            Some(&self.active),
            self.previous.as_ref(),
            self.canary_name(),
        ];
        let lanes = self.routed.values();
        let routed = lanes.flat_map(|lane| [Some(&lane.active), lane.previous.as_ref()]);
        shared.into_iter().chain(routed).flatten()
    }
}

/// The file with the last activation.
pub(super) struct ActivationFile(pub(super) PathBuf);

impl ActivationFile {
    /// What is remembered. A damaged file is reported and forgotten.
    pub(super) fn read(&self) -> Option<Activation> {
        let text = std::fs::read(&self.0).ok()?;
        match serde_json::from_slice(&text) {
            Ok(activation) => Some(activation),
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "the last activation can't be read, the configuration decides");
                None
            }
        }
    }

    /// Remembers an activation. The router goes on when that fails: only the next start is affected.
    pub(super) fn write(&self, activation: &Activation) {
        let text = serde_json::to_vec_pretty(activation).unwrap_or_default();
        if let Err(error) = write_private(&self.0, &text) {
            tracing::error!(path = %self.0.display(), %error, "the activation can't be remembered");
        }
    }
}
