//! The data directory: its format version, its lock, its secrets and its store.
//!
//! ```text
//! format              the version of this layout
//! lock                held while a router or a command works on the directory; names its process
//! secrets             keys of tokens and nonces, for the owner alone
//! store/              registrations
//! registrations/      the newest changes of registrations, which the store gets later
//! policies/cache/     precompiled policies
//! policies/versions/  policies as they were stored, by digest, and who stored them
//! policies/audit.jsonl  who changed what about the policies; older lines in audit.1.jsonl and so on
//! policies/active     the last activation or rollback
//! recordings/         hook runs that were recorded, for the owner alone
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::TryRngCore;
use rand::rngs::OsRng;

/// The version of the layout that this router writes.
const FORMAT: &str = "patchbay-data 1";
/// How often the store's background flusher runs: a bound on the size of its log.
const FLUSH_EVERY_MS: u64 = 50;
/// How long a router that is just ending may keep the lock before that is an error.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The keys that the router makes at its first start and keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Keys Record-Route tokens, branch tokens and the hash of Call-IDs.
    pub token_key: [u8; 32],
    /// Keys digest nonces.
    pub nonce_key: [u8; 32],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// An open data directory. Nobody else has it while this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    secrets: Secrets,
    /// Opened when it is needed.
    store: OnceLock<sled::Db>,
    _lock: File,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("the data directory {} is in use by {}", path.display(), holder(*pid))]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, when its name can be read.
        pid: Option<u32>,
    },
    /// It was written by another version.
    #[error("the data directory {} has the format {found:?}, this router knows {FORMAT:?}", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The file with the keys is damaged.
    #[error("{} is damaged: it must have two keys of 64 hexadecimal digits; without it, running dialogs and nonces are void", path.display())]
    Secrets {
        /// The file.
        path: PathBuf,
    },
    /// The store can't be opened.
    #[error(
        "the store {} can't be opened: {source}\nRestore it from a copy, or move it away to start without: then registrations are gone until phones register again, and what policies have kept in the key-value store for good",
        path.display()
    )]
    Store {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// There is no directory, and it can't be made.
    #[error("the data directory {} can't be made: {source}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file can't be read or written.
    #[error("the data directory can't be used: {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl DataDir {
    /// Opens the directory, or makes it, and locks it.
    pub fn open(path: &Path) -> Result<DataDir, DataDirError> {
        make_folder(path)?;
        let lock = lock(path)?;
        check_format(path)?;
        let secrets = secrets(&path.join("secrets"))?;
        make_folder(&path.join("policies"))?;
        make_folder(&path.join("policies").join("cache"))?;
        make_folder(&path.join("policies").join("versions"))?;
        Ok(DataDir {
            path: path.to_path_buf(),
            secrets,
            store: OnceLock::new(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The file with them.
    pub fn secrets_file(&self) -> PathBuf {
        self.path.join("secrets")
    }

    /// The folder of the log in front of the store.
    pub fn registrations(&self) -> PathBuf {
        self.path.join("registrations")
    }

    /// The store of registrations. It is opened when it is asked for: who keeps them in memory only needs none of its threads and caches.
    pub fn store(&self) -> Result<&sled::Db, DataDirError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = open_store(&self.path.join("store"))?;
        Ok(self.store.get_or_init(|| opened))
    }

    /// Writes what the store still has in memory, if it was opened.
    pub fn flush(&self) -> io::Result<()> {
        match self.store.get() {
            Some(store) => store.flush().map(drop).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// The folder of precompiled policies.
    pub fn policy_cache(&self) -> PathBuf {
        self.path.join("policies").join("cache")
    }

    /// The folder of recordings, from the root: who is told of it may be elsewhere. It is made when one is.
    pub fn recordings(&self) -> PathBuf {
        let folder = self.path.join("recordings");
        std::path::absolute(&folder).unwrap_or(folder)
    }

    /// The folder of policies as they were stored.
    pub fn policy_versions(&self) -> PathBuf {
        policy_versions(&self.path)
    }

    /// The file that says who changed what about the policies.
    pub fn policy_audit(&self) -> PathBuf {
        self.path.join("policies").join("audit.jsonl")
    }

    /// The file with the last activation or rollback.
    pub fn policy_activation(&self) -> PathBuf {
        policy_activation(&self.path)
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io { path, source }
}

fn make_folder(path: &Path) -> Result<(), DataDirError> {
    make_private_folder(path).map_err(|source| DataDirError::Make {
        path: path.to_path_buf(),
        source,
    })
}

/// Makes a folder that only its owner can read.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Tells what would keep a router from this directory, as far as it shows without changing anything.
pub fn examine(path: &Path) -> Result<(), DataDirError> {
    let made = |source: io::ErrorKind| DataDirError::Make {
        path: path.to_path_buf(),
        source: source.into(),
    };
    let mut around = path
        .ancestors()
        .map(|path| match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        });
    let there = around.find_map(|path| fs::metadata(path).ok());
    match there {
        Some(there) if !there.is_dir() => return Err(made(io::ErrorKind::NotADirectory)),
        _ => {}
    }
    read_format(path)?;
    read_secrets(&path.join("secrets"))?;
    Ok(())
}

fn lock(folder: &Path) -> Result<File, DataDirError> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io_error(&path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path, source }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20))
            }
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::Locked {
                    path: folder.to_path_buf(),
                    pid: holder_pid(&mut file),
                });
            }
        }
    }
    write_pid(&mut file).map_err(io_error(&path))?;
    Ok(file)
}

fn holder_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    // Without a name the error only says less.
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn check_format(folder: &Path) -> Result<(), DataDirError> {
    let path = folder.join("format");
    match read_format(folder)? {
        Some(()) => Ok(()),
        None => write_private(&path, format!("{FORMAT}\n").as_bytes()).map_err(io_error(&path)),
    }
}

/// Whether the directory has a format, which has to be ours.
fn read_format(folder: &Path) -> Result<Option<()>, DataDirError> {
    match read_if_there(&folder.join("format"))? {
        Some(found) if found.trim() != FORMAT => Err(DataDirError::Format {
            path: folder.to_path_buf(),
            found: found.trim().chars().take(64).collect(),
        }),
        found => Ok(found.map(drop)),
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, DataDirError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(path)(error)),
    }
}

fn secrets(path: &Path) -> Result<Secrets, DataDirError> {
    if let Some(secrets) = read_secrets(path)? {
        return Ok(secrets);
    }
    let secrets = Secrets {
        token_key: random_key().map_err(io_error(path))?,
        nonce_key: random_key().map_err(io_error(path))?,
    };
    let text = format!(
        "token_key = {}\nnonce_key = {}\n",
        hex(&secrets.token_key),
        hex(&secrets.nonce_key)
    );
    write_private(path, text.as_bytes()).map_err(io_error(path))?;
    Ok(secrets)
}

fn read_secrets(path: &Path) -> Result<Option<Secrets>, DataDirError> {
    let Some(text) = read_if_there(path)? else {
        return Ok(None);
    };
    let damaged = || DataDirError::Secrets {
        path: path.to_path_buf(),
    };
    parse_secrets(&text).map(Some).ok_or_else(damaged)
}

fn parse_secrets(text: &str) -> Option<Secrets> {
    let key = |name: &str| {
        text.lines().find_map(|line| {
            unhex(
                line.strip_prefix(name)?
                    .trim_start()
                    .strip_prefix('=')?
                    .trim(),
            )
        })
    };
    Some(Secrets {
        token_key: key("token_key")?,
        nonce_key: key("nonce_key")?,
    })
}

fn random_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    OsRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
    Ok(key)
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, index) in key.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(index..index + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Writes a whole file that only its owner can read: it is there completely or as before, whatever happens.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let written = write_synced(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file takes room that may be what was missing. The error tells what is wrong; that it may be left says nothing more.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn open_store(path: &Path) -> Result<sled::Db, DataDirError> {
    sled::Config::new()
        .path(path)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .open()
        .map_err(|source| DataDirError::Store {
            path: path.to_path_buf(),
            source,
        })
}

/// Where a data directory remembers the last activation or rollback.
pub fn policy_activation(data_dir: &Path) -> PathBuf {
    data_dir.join("policies").join("active")
}

/// Where a data directory keeps policies as they were stored.
pub fn policy_versions(data_dir: &Path) -> PathBuf {
    data_dir.join("policies").join("versions")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    }

    #[test]
    fn the_store_is_opened_when_it_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = DataDir::open(folder.path()).expect("a directory");
        directory.flush().expect("nothing to write");
        assert!(!folder.path().join("store").exists());
        for _ in 0..2 {
            let store = directory.store().expect("a store");
            store.insert("key", "value").expect("written");
        }
        directory.flush().expect("written to the end");
        assert!(folder.path().join("store").is_dir());
    }

    #[test]
    fn a_second_router_is_refused_with_the_process_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let first = DataDir::open(&path).expect("the first");
        let error = DataDir::open(&path).expect_err("the second");
        assert_eq!(
            error.to_string(),
            format!(
                "the data directory {} is in use by process {}",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn secrets_are_kept_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        let first = DataDir::open(&path).expect("new").secrets().clone();
        assert_ne!(first.token_key, first.nonce_key);
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("secrets")), 0o600);
        let second = DataDir::open(&path).expect("again").secrets().clone();
        assert!(first == second);
    }

    #[test]
    fn another_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("format"), "patchbay-data 99\n").expect("write");
        let error = DataDir::open(folder.path()).expect_err("another format");
        assert!(
            error.to_string().ends_with(
                "has the format \"patchbay-data 99\", this router knows \"patchbay-data 1\""
            ),
            "{error}"
        );
    }

    #[test]
    fn what_keeps_a_router_from_it_shows_without_making_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/data");
        examine(&path).expect("it can be made");
        assert!(!folder.path().join("a").exists());
        fs::write(folder.path().join("a"), "").expect("write");
        for path in [path, folder.path().join("a")] {
            let error = examine(&path).expect_err("a file");
            assert!(matches!(error, DataDirError::Make { .. }), "{error}");
            DataDir::open(&path).expect_err("a file");
        }
        fs::write(folder.path().join("secrets"), "token_key = 12\n").expect("write");
        let error = examine(folder.path()).expect_err("damaged");
        assert!(matches!(error, DataDirError::Secrets { .. }), "{error}");
    }

    #[test]
    fn damaged_secrets_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("secrets"), "token_key = 12\n").expect("write");
        let error = DataDir::open(folder.path()).expect_err("damaged");
        assert!(matches!(error, DataDirError::Secrets { .. }), "{error}");
    }
}
