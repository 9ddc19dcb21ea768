//! Where policies come from and which of them routes.
//!
//! Policies come from the embedded default, from the watched policy directory and from the admin API. [`Deployments`] takes one
//! change at a time, off the workers' threads: it has a version compiled, checked and initialised, makes it active in one step or
//! not at all, and remembers the last activation over a restart. Only the step itself excludes others, and not the compiling before it.

mod audit;
mod configured;
mod deployments;
mod memory;
mod origin;
mod routes;
mod settings;
mod versions;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use patchbay_policy::{CheckError, ComponentReport, Engine, EngineConfig, EngineError, Host};

use crate::config::{Config, Place, Problem};
use crate::data_dir::policy_versions;
use crate::hooks::HookHost;
use crate::signature;

pub use audit::{Action, AuditLog, AuditRecord};
use configured::ActiveSource;
pub(crate) use configured::configured_name;
#[cfg(test)]
pub(crate) use deployments::tests::policy as component;
pub use deployments::{
    Activated, CanaryWatch, Component, DeployError, Deployed, Deployments, StartPolicyError,
};
pub use memory::VersionName;
pub use origin::{Origin, Proof, Via, client_name, own_user_name, user_name};
pub use routes::check_routes;
use versions::VersionFiles;
pub use versions::VersionRecord;
pub use watch::DirectoryWatch;

/// The embedded default policy. Empty when it was not built before the router was.
pub static BUILTIN_POLICY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/default.wasm"));

/// The largest component that is taken.
pub const MAX_POLICY_BYTES: usize = 64 << 20;

/// A file can't be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is no policy.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// What a component exports and imports, and whether it is a policy; runs none of it.
pub fn inspect(bytes: &[u8]) -> Result<ComponentReport, InspectError> {
    let engine: Engine<HookHost> = Engine::new(EngineConfig::default())?;
    Ok(engine.check(bytes)?)
}

/// Every problem of the policies that a configuration names: those of its directory, with what is not granted to them, and of the
/// active one also whether it takes its settings: that alone may have a place in the configuration.
pub fn check(config: Config) -> Vec<Problem> {
    let unplaced = |text: String| Problem::new(Place::Nowhere, "", text);
    let engine: Engine<HookHost> = match Engine::new(EngineConfig::default()) {
        Ok(engine) => engine,
        Err(error) => return vec![unplaced(error.to_string())],
    };
    let mut problems = Vec::new();
    let mut placed = None;
    // One that is not there is a problem of the configuration.
    let directory = config
        .policy
        .directory
        .as_deref()
        .filter(|path| path.is_dir());
    let mut files = match directory.map(files_of).transpose() {
        Ok(files) => files.unwrap_or_default(),
        Err(error) => {
            problems.push(format!("policy.directory: {error}"));
            Vec::new()
        }
    };
    let misnamed = directory.and_then(|path| misnamed_files(path).ok());
    problems.extend(misnamed.into_iter().flatten().map(|(path, reason)| {
        format!(
            "{}: it is no policy under this name: {reason}",
            path.display()
        )
    }));
    let versions = VersionFiles(policy_versions(&config.node.data_dir));
    let active = active_source(&config, &versions);
    let unsigned = unsigned(&config, &files, active.as_ref().ok());
    problems.extend(unsigned);
    let config = Arc::new(config);
    let init_host = || HookHost::for_init(Arc::clone(&config), "init");
    match active {
        Ok(ActiveSource::Builtin) if BUILTIN_POLICY.is_empty() => {
            problems.push(StartPolicyError::NoBuiltin.to_string());
        }
        Ok(ActiveSource::Builtin) => {
            let loaded = engine.load(crate::config::BUILTIN, BUILTIN_POLICY, init_host);
            placed = loaded
                .as_ref()
                .err()
                .and_then(|error| settings::problem(&config, "builtin", error));
            problems.extend(loaded.err().map(|problem| format!("builtin: {problem}")));
        }
        Ok(ActiveSource::File(name, path)) => {
            files.retain(|(_, file)| *file != path);
            problems.extend(problem_of(&path, |bytes| {
                let loaded = engine.load(&name, bytes, init_host);
                loaded.map(drop).map_err(|error| {
                    placed = settings::problem(&config, &name, &error);
                    error.to_string()
                })
            }));
        }
        Ok(ActiveSource::Kept(version)) => {
            let name = format!("policy {}", version.policy);
            let bytes = versions.get(&version.policy, &version.version);
            let loaded = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
                let loaded = engine.load(&version.policy, &bytes, init_host);
                loaded.map_err(|error| {
                    placed = settings::problem(&config, &version.policy, &error);
                    error.to_string()
                })
            });
            problems.extend(loaded.err().map(|problem| format!("{name}: {problem}")));
        }
        // It has a place in the file: `check_active` tells it.
        Err(StartPolicyError::Missing { .. }) => {}
        Err(problem) => problems.push(problem.to_string()),
    }
    if placed.is_some() {
        problems.pop();
    }
    let host = init_host();
    // Those are checked for each of their routes.
    let routed = config.routed_policies();
    files.retain(|(name, _)| !routed.contains(name));
    for (_, path) in files {
        problems.extend(problem_of(&path, |bytes| {
            engine
                .check(bytes)
                .and_then(|report| report.check_grants(|capability| host.grants(capability)))
                .map_err(|error| error.to_string())
        }));
    }
    let unplaced = problems.into_iter().map(unplaced);
    placed.into_iter().chain(unplaced).collect()
}

fn active_source(
    config: &Config,
    versions: &VersionFiles,
) -> Result<ActiveSource, StartPolicyError> {
    let remembered = memory::remembered(&config.node.data_dir);
    configured::active_source(&config.policy, versions, remembered.as_ref())
}

/// The problem of `policy.active` that names a policy which is not there.
pub fn check_active(config: &Config) -> Option<Problem> {
    let versions = VersionFiles(policy_versions(&config.node.data_dir));
    match active_source(config, &versions) {
        Err(StartPolicyError::Missing { place, message, .. }) => {
            Some(Problem::new(place, "policy.active", message))
        }
        _ => None,
    }
}

/// The files that nobody who is trusted has signed.
fn unsigned(
    config: &Config,
    files: &[(String, PathBuf)],
    active: Option<&ActiveSource>,
) -> Vec<String> {
    let keys = &config.policy.trusted_keys;
    if keys.is_empty() {
        return Vec::new();
    }
    let mut paths: Vec<&PathBuf> = files.iter().map(|(_, path)| path).collect();
    if let Some(ActiveSource::File(_, path)) = active
        && !paths.contains(&path)
    {
        paths.push(path);
    }
    let problem = |path: &&PathBuf| {
        problem_of(path, |bytes| {
            let signature = signature::read_beside(path).map_err(|error| error.to_string())?;
            signature::signer(keys, bytes, signature.as_deref())
                .map(drop)
                .map_err(|error| error.to_string())
        })
    };
    paths.iter().filter_map(problem).collect()
}

/// Reads a file and tells what is wrong with it.
fn problem_of(path: &Path, examine: impl FnOnce(&[u8]) -> Result<(), String>) -> Option<String> {
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let problem = read.and_then(|bytes| examine(&bytes)).err()?;
    Some(format!("{}: {problem}", path.display()))
}

/// What to do about an active policy without a file.
fn missing(directory: Option<&Path>, name: &str) -> String {
    let Some(directory) = directory else {
        return format!(
            "{name:?} needs policy.directory, the folder with {name}.wasm, or a version that was pushed to this router, and there is none"
        );
    };
    format!(
        "there is no {name}.wasm in {}, and no version of it was pushed to this router: build it with `patchbay policy build DIR --out {}` (in a checkout: `cargo xtask policies`), or set active = \"builtin\"",
        directory.display(),
        directory.display()
    )
}

/// The `NAME.wasm` files of a directory, by name.
fn files_of(directory: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let is_wasm = path
            .extension()
            .is_some_and(|extension| extension == "wasm");
        if is_wasm && crate::config::is_policy_name(&name) && name != crate::config::BUILTIN {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

/// The files of a directory that look like policies and can't be any under their names, with the reason. Hidden ones are left out: they may
/// be on their way to a name.
fn misnamed_files(directory: &Path) -> std::io::Result<Vec<(PathBuf, &'static str)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let part =
            |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let name = part(path.file_stem()).unwrap_or_default();
        let extension = part(path.extension()).unwrap_or_default();
        if name.starts_with('.') || !extension.eq_ignore_ascii_case("wasm") {
            continue;
        }
        let reason = if extension != "wasm" {
            "it has to end in .wasm, in lower case"
        } else if name == crate::config::BUILTIN {
            "that is the name of the embedded policy"
        } else if !crate::config::is_policy_name(&name) {
            "a name has 1 to 64 letters, digits, '-' and '_'"
        } else {
            continue;
        };
        files.push((path, reason));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_policies_under_their_names_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "good.wasm",
            "bad name.wasm",
            "a.b.wasm",
            "builtin.wasm",
            "UP.WASM",
            ".half.wasm",
            "good.wasm.sig",
            "notes.txt",
        ] {
            std::fs::write(folder.path().join(name), b"").expect("write");
        }
        let good = files_of(folder.path()).expect("files");
        assert_eq!(good.len(), 1);
        let misnamed = misnamed_files(folder.path()).expect("files");
        let names: Vec<_> = misnamed
            .iter()
            .map(|(path, _)| path.file_name().expect("a name").to_string_lossy())
            .collect();
        assert_eq!(
            names,
            ["UP.WASM", "a.b.wasm", "bad name.wasm", "builtin.wasm"]
        );
    }
}
