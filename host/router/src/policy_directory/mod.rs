//! Where policies come from and which of them routes.
//!
//! Policies come from the embedded default, from the watched policy directory and from the admin API. [`Deployments`] takes one
//! change at a time, off the workers' threads: it has a version compiled, checked and initialised, makes it active in one step or
//! not at all, and remembers the last activation over a restart.

mod deployments;
mod memory;
mod versions;
mod watch;

use std::path::{Path, PathBuf};

use patchbay_policy::{CheckError, ComponentReport, Engine, EngineConfig, EngineError};

use crate::config::{ActivePolicy, Config};
use crate::hooks::HookHost;

pub use deployments::{DeployError, Deployed, Deployments, StartPolicyError};
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

/// Every problem of the policies that a configuration names: those of its directory and the active one.
pub fn check(config: &Config) -> Vec<String> {
    let engine: Engine<HookHost> = match Engine::new(EngineConfig::default()) {
        Ok(engine) => engine,
        Err(error) => return vec![error.to_string()],
    };
    let mut problems = Vec::new();
    let mut files = Vec::new();
    if let Some(directory) = &config.policy.directory {
        match files_of(directory) {
            Ok(found) => files.extend(found.into_iter().map(|(_, path)| path)),
            Err(error) => problems.push(format!("{}: {error}", directory.display())),
        }
    }
    match &config.policy.active {
        ActivePolicy::Unset | ActivePolicy::Builtin => {}
        ActivePolicy::File(path) => files.push(path.clone()),
        ActivePolicy::Named(name) => {
            let there = files
                .iter()
                .any(|path| path.file_stem().is_some_and(|stem| stem == name.as_str()));
            if let (false, Some(directory)) = (there, &config.policy.directory) {
                problems.push(format!("policy.active: {}", missing(directory, name)));
            }
        }
    }
    for path in files {
        let checked = std::fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| engine.check(&bytes).map_err(|error| error.to_string()));
        problems.extend(
            checked
                .err()
                .map(|problem| format!("{}: {problem}", path.display())),
        );
    }
    problems
}

/// What to do about an active policy without a file.
fn missing(directory: &Path, name: &str) -> String {
    format!(
        "there is no {name}.wasm in {}: build it with `patchbay policy build DIR --out {}` (in a checkout: `cargo xtask policies`), or set active = \"builtin\"",
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
