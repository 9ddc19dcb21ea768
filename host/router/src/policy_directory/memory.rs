//! The last activation or rollback, remembered over a restart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data_dir::write_private;

/// A version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VersionName {
    pub(super) policy: String,
    /// The digest.
    pub(super) version: String,
}

/// What was active last, and under which circumstances that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Activation {
    /// What the configuration named as active.
    pub(super) configured: String,
    /// What was active.
    pub(super) active: VersionName,
    /// What was active before: where a rollback leads.
    pub(super) previous: Option<VersionName>,
    /// The digest of the active policy's own file at that time; a file that changed since then wins.
    pub(super) file: Option<String>,
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
