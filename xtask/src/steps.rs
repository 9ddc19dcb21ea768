//! Steps that tell what they do, and how they end.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use patchbay_guest_build::BuildError;

/// Why a command of xtask failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A program ended with an error, which it has explained itself.
    Program(String),
    /// A program could not be started.
    NotStarted(String, io::Error),
    /// Policies were not built: their names, and why.
    Policies(Vec<(String, BuildError)>),
    /// There is no policy of this name.
    NoSuchPolicy(String),
    /// Programs are missing: why, and the command that installs them.
    Missing {
        /// What is missing.
        programs: Vec<&'static str>,
        /// Why they were not installed.
        reason: String,
        /// The command that installs them.
        command: String,
    },
    /// The bindings can't be generated.
    Bindings(String),
    /// A file can't be read or written.
    File(PathBuf, io::Error),
    /// The arguments make no sense; how they would.
    Usage(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Program(line) => write!(formatter, "`{line}` failed"),
            Failure::NotStarted(line, error) => {
                write!(formatter, "`{line}` can't be started: {error}")
            }
            Failure::Policies(problems) => problems.iter().try_for_each(|(name, error)| {
                writeln!(formatter, "policy {name} was not built: {error}")
            }),
            Failure::NoSuchPolicy(name) => write!(formatter, "there is no policies/{name}"),
            Failure::Missing {
                programs,
                reason,
                command,
            } => {
                let programs = programs.join(", ");
                write!(
                    formatter,
                    "missing: {programs} ({reason}). Install with:\n    {command}"
                )
            }
            Failure::Bindings(problem) => {
                write!(formatter, "the bindings can't be generated: {problem}")
            }
            Failure::Usage(usage) => write!(formatter, "that is no benchmark\n{usage}"),
            Failure::File(path, error) => write!(formatter, "{}: {error}", path.display()),
        }
    }
}

/// Says what is being done.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// `cargo`, the one that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(root);
    cargo
}

/// Runs a program whose output the user sees, and says so first.
pub(crate) fn step(command: &mut Command) -> Result<(), Failure> {
    let line = line(command);
    say(&line);
    let status = command
        .status()
        .map_err(|error| Failure::NotStarted(line.clone(), error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Program(line))
    }
}

/// Whether a program runs without an error; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}
