//! Digest users: a file in the data directory and its copy in memory.
//!
//! [`UserFile`] changes the file; it may be used while a router runs, because the file is apart from the router's store.
//! [`Users`] is what the router asks; it reads the file again when it has changed. The file holds, per user and realm,
//! HA1 for each algorithm, and never a password.

mod file;
mod import;
mod line;
mod snapshot;
mod watch;

pub use file::{UserEntry, UserFile, UserFileError};
pub use import::{ImportError, ImportReport, LineError};
pub use snapshot::Users;
pub use watch::UserWatch;

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "users.csv";
