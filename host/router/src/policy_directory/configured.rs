//! Which policy the configuration makes active, and where it is.

use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::{BUILTIN_POLICY, StartPolicyError, missing};
use crate::config::{ActivePolicy, BUILTIN, Policy};
use crate::signature;

/// The configured policy.
pub(super) enum ActiveSource {
    /// The embedded one.
    Builtin,
    /// The one of this name, in this file.
    File(String, PathBuf),
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
        ActivePolicy::Unset if default_file(policy).is_some() => "default".to_owned(),
        ActivePolicy::Unset => BUILTIN.to_owned(),
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

/// Where the configured policy is.
pub(super) fn active_source(policy: &Policy) -> Result<ActiveSource, StartPolicyError> {
    let name = configured_name(policy);
    let path = match (&policy.active, &policy.directory) {
        (ActivePolicy::File(path), _) => path.clone(),
        (_, Some(directory)) if name != BUILTIN => {
            let path = in_directory(directory, &name);
            if !path.is_file() {
                return Err(StartPolicyError::Missing {
                    file: None,
                    place: policy.active_place,
                    message: missing(directory, &name),
                });
            }
            path
        }
        _ if BUILTIN_POLICY.is_empty() => return Err(StartPolicyError::NoBuiltin),
        _ => return Ok(ActiveSource::Builtin),
    };
    Ok(ActiveSource::File(name, path))
}

/// Reads the configured policy.
pub(super) fn read(policy: &Policy) -> Result<Configured, StartPolicyError> {
    match active_source(policy)? {
        ActiveSource::Builtin => Ok(Configured {
            name: BUILTIN.to_owned(),
            bytes: BUILTIN_POLICY.to_vec(),
            signature: None,
            origin: Origin::builtin(),
        }),
        ActiveSource::File(name, path) => {
            read_file(&name, &path).map_err(|source| StartPolicyError::Io { path, source })
        }
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
    Some(in_directory(directory, "default")).filter(|path| path.is_file())
}
