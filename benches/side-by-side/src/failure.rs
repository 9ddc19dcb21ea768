//! Why a measurement can't be made.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a measurement can't be made.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// A file can't be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, io::Error),
    /// A program can't be started.
    #[error("{0} can't be started: {1}")]
    NotStarted(String, io::Error),
    /// A program ended when it should not, or did not do what it should: its last words.
    #[error("{0} failed: {1}")]
    Program(String, String),
    /// A server did not answer in time.
    #[error("{name} does not answer; its log ends with:\n{log}")]
    NotReady {
        /// Which server.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The address is taken, perhaps by a server that an interrupted run has left.
    #[error("{0} is in use")]
    InUse(std::net::SocketAddrV4),
    /// Something that has to be built before is not there.
    #[error("{0} is missing: `cargo xtask bench side-by-side` builds it")]
    Missing(PathBuf),
    /// A load process says what can't be understood.
    #[error("a load process says {0:?}: {1}")]
    Report(String, serde_json::Error),
    /// Metrics can't be fetched.
    #[error("metrics: {0}")]
    Metrics(#[from] ureq::Error),
    /// The page has no place for the results.
    #[error("{0} has no line {1}")]
    NoPlace(PathBuf, String),
    /// Nothing can be measured.
    #[error("nothing to measure: {0}")]
    Nothing(&'static str),
    /// The scenario did not go well enough to measure it.
    #[error("{0}")]
    Unclean(String),
}

impl Failure {
    /// For `map_err`.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Failure {
        let path = path.into();
        move |error| Failure::File(path, error)
    }
}
