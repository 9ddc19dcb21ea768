//! Where everything is, and on which core it runs.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::system;

/// The priority of the servers and of the load, so that other work on the machine disturbs less.
const NICENESS: i32 = -15;

/// The place of a measurement.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Where the servers' data and logs are.
    pub(crate) folder: PathBuf,
    /// The router.
    pub(crate) patchbay: PathBuf,
    /// The folder with `bench.wasm`.
    pub(crate) policies: PathBuf,
    /// The cores of the servers; without any they run where they like.
    pub(crate) server_cores: Vec<usize>,
    /// The core of the load.
    pub(crate) load_core: Option<usize>,
}

impl Machine {
    /// Looks for the router beside this program, unless it is given, and for the policies in the repository's `target`.
    pub(crate) fn new(
        folder: &Path,
        patchbay: Option<PathBuf>,
        policies: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let own = own_program()?;
        let patchbay = patchbay.unwrap_or_else(|| own.with_file_name("patchbay"));
        let policies = policies.unwrap_or_else(|| repository().join("target/policies"));
        let bench = policies.join("bench.wasm");
        if let Some(missing) = [&patchbay, &bench].into_iter().find(|path| !path.is_file()) {
            return Err(Failure::Missing(missing.clone()));
        }
        let (server_cores, load_core) = divide(&system::cores());
        if load_core.is_none() {
            eprintln!(
                "there is only one core: servers and load share it, and the figures tell less"
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
            patchbay: absolute(&patchbay)?,
            policies: absolute(&policies)?,
            server_cores,
            load_core,
        })
    }

    /// A command that runs on these cores (any, when there are none), in a session of its own.
    pub(crate) fn placed(
        &self,
        cores: &[usize],
        program: impl AsRef<OsStr>,
    ) -> Result<Command, Failure> {
        let mut command = Command::new(own_program()?);
        command.arg("place");
        for core in cores {
            command.arg("--core").arg(core.to_string());
        }
        command.arg("--").arg(program).current_dir(&self.folder);
        Ok(command)
    }
}

/// The last core for the load, the others for the servers.
fn divide(cores: &[usize]) -> (Vec<usize>, Option<usize>) {
    match cores.split_last() {
        Some((load, servers)) if !servers.is_empty() => (servers.to_vec(), Some(*load)),
        _ => (Vec::new(), None),
    }
}

/// Becomes the program, on these cores, in a session with a scheduling group of its own, with a higher priority where that is allowed.
pub(crate) fn place(
    cores: &[usize],
    program: &OsStr,
    arguments: &[std::ffi::OsString],
) -> io::Error {
    system::end_with_parent();
    system::begin_session();
    if let Err(error) = cores_of_this_process(cores) {
        return error;
    }
    // Without the right to it everything works, and other programs on the machine disturb more.
    if system::set_niceness(NICENESS) {
        std::fs::write("/proc/self/autogroup", NICENESS.to_string()).unwrap_or_default();
    }
    Command::new(program).args(arguments).exec()
}

fn cores_of_this_process(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    system::stay_on_cores(cores)
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_owned()
}

fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::file("this program"))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(Failure::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_has_a_core_of_its_own() {
        assert_eq!(divide(&[0, 1]), (vec![0], Some(1)));
        assert_eq!(divide(&[2, 5, 7]), (vec![2, 5], Some(7)));
        assert_eq!(divide(&[0]), (vec![], None));
    }
}
