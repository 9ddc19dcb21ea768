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

/// Checks the types before they are taken off.
const TYPE_CHECKER: (&str, &str) = ("typescript", "5.9.3");

/// How long fetching may take: thirty megabytes over a slow line, but not for ever.
const LIMIT: Duration = Duration::from_secs(600);

/// The programs, where they are.
#[derive(Debug)]
pub(crate) struct Programs {
    modules: PathBuf,
}

impl Programs {
    pub(crate) fn componentize(&self) -> Command {
        Command::new(self.modules.join(".bin").join(COMPONENTIZE.0))
    }

    /// The program itself: the script of that name before it would add an error of its own to each of the program's.
    pub(crate) fn bundler(&self) -> Command {
        let platforms = self.modules.join("@esbuild").read_dir();
        let mut platforms = platforms.into_iter().flatten().flatten();
        let program = platforms.find_map(|platform| {
            let programs = ["bin/esbuild", "esbuild.exe"].map(|name| platform.path().join(name));
            programs.into_iter().find(|program| program.is_file())
        });
        Command::new(program.unwrap_or_else(|| self.modules.join(".bin").join(BUNDLER.0)))
    }
}

/// The programs `componentize-qjs` and `esbuild`; they are fetched when they are not there.
pub(crate) fn programs(progress: &mut dyn FnMut(&str)) -> Result<Programs, BuildError> {
    let entry = format!(
        "{}-{}_{}-{}",
        COMPONENTIZE.0, COMPONENTIZE.1, BUNDLER.0, BUNDLER.1
    );
    let modules = ensure(&entry, &[COMPONENTIZE, BUNDLER], 30, progress)?;
    Ok(Programs { modules })
}

/// The program `tsc`; it is fetched when it is not there.
pub(crate) fn type_checker(progress: &mut dyn FnMut(&str)) -> Result<Command, BuildError> {
    let entry = format!("{}-{}", TYPE_CHECKER.0, TYPE_CHECKER.1);
    let modules = ensure(&entry, &[TYPE_CHECKER], 25, progress)?;
    let mut node = Command::new("node");
    node.arg(modules.join("typescript").join("bin").join("tsc"));
    Ok(node)
}

/// What those are that a component is made with, for whoever asks whether it is still current.
pub(crate) fn versions() -> String {
    format!("{COMPONENTIZE:?} {BUNDLER:?}")
}

/// The folder `node_modules` of an entry of the cache with these packages.
fn ensure(
    entry: &str,
    packages: &[(&str, &str)],
    megabytes: u32,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    for program in ["node", "npm"] {
        if !command::exists(program) {
            return Err(missing(packages, &format!("there is no {program} in PATH")));
        }
    }
    let folder = cache::ensure(entry, progress, |folder, progress| {
        progress(&format!(
            "fetching {} for JavaScript into the cache ({megabytes} MB)",
            names(packages, " ", " and ")
        ));
        fetch(folder, packages)
    })?;
    Ok(folder.join("node_modules"))
}

fn fetch(folder: &Path, packages: &[(&str, &str)]) -> Result<(), BuildError> {
    let manifest = folder.join("package.json");
    fs::write(&manifest, "{\"private\": true}\n")
        .map_err(|error| BuildError::io("write", &manifest, error))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--save-exact"])
        .args(["--ignore-scripts", "--loglevel=error"])
        .args(
            packages
                .iter()
                .map(|(name, version)| format!("{name}@{version}")),
        )
        .current_dir(folder);
    command::run_within(&mut npm, LIMIT).map_err(|error| missing(packages, &error.to_string()))
}

fn missing(packages: &[(&str, &str)], reason: &str) -> BuildError {
    BuildError::Missing {
        what: "what makes components of JavaScript",
        reason: format!("{}: {reason}", names(packages, "@", ", ")),
        command: "apt-get install -y nodejs npm    # Node.js 18 or later; then they come from the npm registry by themselves"
            .to_owned(),
    }
}

fn names(packages: &[(&str, &str)], before_version: &str, between: &str) -> String {
    let names = packages.iter();
    let names = names.map(|(name, version)| format!("{name}{before_version}{version}"));
    names.collect::<Vec<_>>().join(between)
}
