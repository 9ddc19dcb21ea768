//! Runs other programs.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::BuildError;

/// How often a program with a time limit is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Runs a program whose output the user sees.
pub(crate) fn run(command: &mut Command) -> Result<(), BuildError> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| not_started(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(command, String::new()))
    }
}

/// Runs a program quietly and returns what it printed; its errors are shown only when it fails.
pub(crate) fn output(command: &mut Command) -> Result<String, BuildError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        return Err(failed(
            command,
            String::from_utf8_lossy(&text).trim_end().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program quietly, but no longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<(), BuildError> {
    let quiet = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = quiet
        .spawn()
        .map_err(|error| not_started(command, &error))?;
    match wait(&mut child, limit).map_err(|error| not_started(command, &error))? {
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(failed(command, complaint(&mut child))),
        None => Err(BuildError::TimedOut {
            command: line(command),
            seconds: limit.as_secs(),
        }),
    }
}

/// What a program that has ended wrote to its standard error.
fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        // What can't be read is missing in a message, nothing more.
        let _: io::Result<usize> = stderr.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// Whether there is a program of this name.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
    })
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file() || path.with_extension("exe").is_file()
}

/// `None`: the limit passed and the program was ended.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn not_started(command: &Command, error: &io::Error) -> BuildError {
    failed(command, error.to_string())
}

fn failed(command: &Command, output: String) -> BuildError {
    BuildError::Command {
        command: line(command),
        output,
    }
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let start = Instant::now();
        let error =
            run_within(Command::new("sleep").arg("30"), Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, BuildError::TimedOut { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_a_failing_program_said_is_in_the_error() {
        let error =
            output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
