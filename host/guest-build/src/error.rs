//! What can go wrong, with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a policy was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder holds no policy.
    #[error("{} holds no policy: there is neither a Cargo.toml nor a policy.toml", folder.display())]
    NotAPolicy {
        /// The folder.
        folder: PathBuf,
    },
    /// The name can't be that of a policy.
    #[error(
        "`{name}` can't be the name of a policy: use lower-case letters, digits, `-` and `_`, and start with a letter"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The name is the router's own.
    #[error("`builtin` is the policy inside of the router: use another name")]
    Reserved,
    /// Cargo can't tell it from what it depends on.
    #[error("`{name}` is a crate of the SDK that the policy is built with: use another name")]
    SdkCrate {
        /// The name.
        name: String,
    },
    /// A new policy would be written over something.
    #[error(
        "{} has a {file} already, and nothing is overwritten: choose another name, or build what is there with `patchbay policy build {}`", folder.display(), folder.display()
    )]
    Exists {
        /// The folder.
        folder: PathBuf,
        /// What is there.
        file: &'static str,
    },
    /// The sources are wrong.
    #[error("{}: {problem}", folder.display())]
    Sources {
        /// The folder of the policy.
        folder: PathBuf,
        /// What is wrong with them.
        problem: String,
    },
    /// A manifest can't be read.
    #[error("{}: {problem}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something is missing that can't be fetched.
    #[error("{what} is missing ({reason}). Install it with:\n    {command}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// Why it could not be fetched.
        reason: String,
        /// The command that installs it.
        command: String,
    },
    /// A program failed.
    #[error("`{command}` failed{}", if .output.is_empty() { String::new() } else { format!(":\n{output}") })]
    Command {
        /// The command line.
        command: String,
        /// What it printed, when that was not shown already.
        output: String,
    },
    /// A program did not end in time.
    #[error("`{command}` did not end within {seconds} s")]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// The compiled module is no policy.
    #[error("the compiled module can't become a component: {problem}")]
    Component {
        /// Why.
        problem: String,
    },
    /// A file can't be read or written.
    #[error("can't {action} {}: {error}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl BuildError {
    pub(crate) fn io(action: &'static str, path: &Path, error: io::Error) -> BuildError {
        BuildError::Io {
            action,
            path: path.to_owned(),
            error,
        }
    }
}
