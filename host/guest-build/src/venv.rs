//! Tools from the Python package index, each in an environment of its own in the cache.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::{BuildError, cache, command};

/// How long fetching may take: a hundred megabytes over a slow line, but not for ever.
const LIMIT: Duration = Duration::from_secs(900);

/// A tool of the Python package index, in the version that was tested.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// What it is, for who waits for it.
    pub(crate) what: &'static str,
    pub(crate) megabytes: u32,
    /// What helps besides Python, when it can't be fetched.
    pub(crate) instead: &'static str,
}

impl Tool {
    /// The folder with the programs of its environment, which is made when it is not there.
    pub(crate) fn programs(&self, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
        let name = format!("{}-{}", self.package, self.version);
        // An environment can't be renamed, hence its place is final and an entry beside it says that it is complete.
        let environment = cache::folder()?.join(&name);
        cache::ensure(&format!("{name}.complete"), progress, |_, progress| {
            self.fetch(&environment, progress)
        })?;
        Ok(environment.join("bin"))
    }

    fn fetch(
        &self,
        environment: &std::path::Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        progress(&format!(
            "fetching {} {}, {}, into the cache ({} MB)",
            self.package, self.version, self.what, self.megabytes
        ));
        command::output(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(environment),
        )
        .map_err(|error| self.missing(&error))?;
        let mut pip = Command::new(environment.join("bin").join("python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .arg(format!("{}=={}", self.package, self.version));
        command::run_within(&mut pip, LIMIT).map_err(|error| self.missing(&error))
    }

    fn missing(&self, reason: &BuildError) -> BuildError {
        BuildError::Missing {
            what: self.what,
            reason: reason.to_string(),
            command: format!(
                "apt-get install -y python3-venv    # then {} comes from the Python package index by itself{}",
                self.package, self.instead
            ),
        }
    }
}
