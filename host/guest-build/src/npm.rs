//! What makes components of JavaScript, from the npm registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{BuildError, cache, command};

/// Puts a script and the QuickJS engine into a component.
const COMPONENTIZE: (&str, &str) = ("componentize-qjs", "0.4.5");

/// Puts the files of a policy into one, and takes the types off TypeScript.
const BUNDLER: (&str, &str) = ("esbuild", "0.28.2");

/// How long fetching may take: thirty megabytes over a slow line, but not for ever.
const LIMIT: Duration = Duration::from_secs(600);

/// The folder with the programs `componentize-qjs` and `esbuild`; they are fetched when they are not there.
pub(crate) fn programs(progress: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
    for program in ["node", "npm"] {
        if !command::exists(program) {
            return Err(missing(&format!("there is no {program} in PATH")));
        }
    }
    let entry = format!(
        "{}-{}_{}-{}",
        COMPONENTIZE.0, COMPONENTIZE.1, BUNDLER.0, BUNDLER.1
    );
    let folder = cache::ensure(&entry, progress, fetch)?;
    Ok(folder.join("node_modules").join(".bin"))
}

/// What the two are, for whoever asks whether a component is still current.
pub(crate) fn versions() -> String {
    format!("{COMPONENTIZE:?} {BUNDLER:?}")
}

fn fetch(folder: &Path, progress: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
    progress(&format!(
        "fetching {} {} and {} {}, which make components of JavaScript, into the cache (30 MB)",
        COMPONENTIZE.0, COMPONENTIZE.1, BUNDLER.0, BUNDLER.1
    ));
    let manifest = folder.join("package.json");
    fs::write(&manifest, "{\"private\": true}\n")
        .map_err(|error| BuildError::io("write", &manifest, error))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--save-exact"])
        .args(["--ignore-scripts", "--loglevel=error"])
        .args([COMPONENTIZE, BUNDLER].map(|(name, version)| format!("{name}@{version}")))
        .current_dir(folder);
    command::run_within(&mut npm, LIMIT).map_err(|error| missing(&error.to_string()))
}

fn missing(reason: &str) -> BuildError {
    BuildError::Missing {
        what: "what makes components of JavaScript (componentize-qjs and esbuild)",
        reason: reason.to_owned(),
        command: "apt-get install -y nodejs npm    # Node.js 18 or later; then they come from the npm registry by themselves"
            .to_owned(),
    }
}
