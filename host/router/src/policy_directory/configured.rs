//! Which policy the configuration makes active, and where it is.

use std::path::{Path, PathBuf};

use super::memory::{Activation, VersionName};
use super::origin::Origin;
use super::versions::VersionFiles;
use super::{BUILTIN_POLICY, StartPolicyError, missing};
use crate::config::{ActivePolicy, BUILTIN, Policy};
use crate::signature;

/// The policy that is active when the directory has it and the configuration names none.
const DEFAULT: &str = "default";

/// The configured policy.
pub(super) enum ActiveSource {
    /// The embedded one.
    Builtin,
    /// The one of this name, in this file.
    File(String, PathBuf),
    /// A version that is kept in the data directory, for want of a file.
    Kept(VersionName),
}

/// The name of the configured policy and its component.
pub(super) struct Configured {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) signature: Option<String>,
    pub(super) origin: Origin,
}

/// The name of the policy that the configuration makes active.
pub(crate) fn configured_name(policy: &Policy) -> String {
    match &policy.active {
        ActivePolicy::Builtin => BUILTIN.to_owned(),
        ActivePolicy::Named(name) => name.clone(),
        ActivePolicy::File(path) => path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        ActivePolicy::Unset if default_file(policy).is_some() => DEFAULT.to_owned(),
        ActivePolicy::Unset => BUILTIN.to_owned(),
    }
}

/// The same after an activation: a policy that was active for its file alone is still the one that is meant when the file has gone.
pub(super) fn configured_after(policy: &Policy, remembered: Option<&Activation>) -> String {
    let meant = remembered.map(|remembered| &*remembered.configured);
    match (&policy.active, &policy.directory) {
        (ActivePolicy::Unset, Some(_)) if meant == Some(DEFAULT) => DEFAULT.to_owned(),
        _ => configured_name(policy),
    }
}

/// The file of a policy, whether it is there or not: that of the command line, else one of the directory.
pub(super) fn file_of(policy: &Policy, name: &str) -> Option<PathBuf> {
    match (&policy.active, &policy.directory) {
        (ActivePolicy::File(path), _) if configured_name(policy) == name => Some(path.clone()),
        (_, Some(directory)) => Some(in_directory(directory, name)),
        (_, None) => None,
    }
}

/// Where the configured policy is. Without a file it is the version that is kept of it: the one that was active last, else the newest.
pub(super) fn active_source(
    policy: &Policy,
    versions: &VersionFiles,
    remembered: Option<&Activation>,
) -> Result<ActiveSource, StartPolicyError> {
    let name = configured_name(policy);
    if name == BUILTIN && BUILTIN_POLICY.is_empty() {
        return Err(StartPolicyError::NoBuiltin);
    }
    if name == BUILTIN {
        return Ok(ActiveSource::Builtin);
    }
    let is_on_command_line = matches!(policy.active, ActivePolicy::File(_));
    let file = file_of(policy, &name);
    if let Some(path) = file.filter(|path| is_on_command_line || path.is_file()) {
        return Ok(ActiveSource::File(name, path));
    }
    let kept = versions.list().unwrap_or_default();
    let was_active = |digest: &str| {
        let active = remembered.map(|remembered| &remembered.lane.active);
        active.is_some_and(|active| active.policy == name && active.version == digest)
    };
    let mut kept = kept.iter().rev().filter(|file| file.policy == name);
    let newest = kept.clone().next();
    match kept.find(|file| was_active(&file.digest)).or(newest) {
        Some(file) => Ok(ActiveSource::Kept(VersionName::new(&name, &file.digest))),
        None => Err(StartPolicyError::Missing {
            file: None,
            place: policy.active_place,
            message: missing(policy.directory.as_deref(), &name),
        }),
    }
}

/// The embedded policy.
pub(super) fn builtin() -> Configured {
    Configured {
        name: BUILTIN.to_owned(),
        bytes: BUILTIN_POLICY.to_vec(),
        signature: None,
        origin: Origin::builtin(),
    }
}

/// Reads a policy's file and the signature beside it.
pub(super) fn read_file(name: &str, path: &Path) -> std::io::Result<Configured> {
    Ok(Configured {
        name: name.to_owned(),
        bytes: std::fs::read(path)?,
        signature: signature::read_beside(path)?,
        origin: Origin::file(path),
    })
}

fn in_directory(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.wasm"))
}

fn default_file(policy: &Policy) -> Option<PathBuf> {
    let directory = policy.directory.as_deref()?;
    Some(in_directory(directory, DEFAULT)).filter(|path| path.is_file())
}
