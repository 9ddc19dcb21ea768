//! Watches the policy directory.
//!
//! The system only wakes the thread up; what has changed is found by looking. A file is taken when it has not changed for a
//! moment, so that one that is being written is not taken half; if it is all the same, it is refused and taken when it is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::{Deployments, files_of, misnamed_files};
use crate::signature::signature_file;

/// How long a file has to be left alone before it is taken.
const SETTLE: Duration = Duration::from_millis(100);
/// How often is looked while a file settles.
const LOOK_AGAIN: Duration = Duration::from_millis(40);
/// How often is looked when the system reports nothing.
const POLL: Duration = Duration::from_secs(1);
/// How long the end waits for the thread. One that compiles may take far longer, and is left to end with the process: what it writes
/// appears whole or not at all.
const PATIENCE: Duration = Duration::from_millis(500);

/// The watch and its thread. Dropping it ends both.
pub struct DirectoryWatch {
    watcher: Option<RecommendedWatcher>,
    wake: SyncSender<()>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Tells a file from what it was before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileState {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// A component and the signature beside it, and whether they have been taken as they are.
struct Seen {
    state: (FileState, Option<FileState>),
    since: Instant,
    taken: bool,
    /// It was looked at and can't be taken.
    refused: bool,
}

impl DirectoryWatch {
    /// Loads what the directory and earlier runs left, and goes on watching. Each time that it has looked, at least once a second, it calls
    /// `after_look`.
    pub fn start(
        deployments: Arc<Deployments>,
        after_look: impl FnMut() + Send + 'static,
    ) -> std::io::Result<DirectoryWatch> {
        let (wake, woken) = sync_channel(1);
        let wake_up = wake.clone();
        deployments.on_change(move || {
            // A wake-up that waits already is enough.
            let _ = wake_up.try_send(());
        });
        let watcher = deployments
            .directory()
            .and_then(|directory| watcher(directory, wake.clone()));
        let stopping = Arc::new(AtomicBool::new(false));
        let is_stopping = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("policy-watch".to_owned())
            .spawn(move || watch(&deployments, after_look, &woken, &is_stopping))?;
        Ok(DirectoryWatch {
            watcher,
            wake,
            stopping,
            thread: Some(thread),
        })
    }
}

fn watch(
    deployments: &Deployments,
    mut after_look: impl FnMut(),
    woken: &Receiver<()>,
    stopping: &AtomicBool,
) {
    let is_stopping = || stopping.load(Ordering::SeqCst);
    let mut seen = BTreeMap::new();
    let mut told = BTreeSet::new();
    deployments.load_stored(is_stopping);
    look(deployments, &mut seen, Duration::ZERO, is_stopping);
    tell_misnamed(deployments, &mut told);
    while !is_stopping() {
        let settling = seen.values().any(|file: &Seen| !file.taken);
        match woken.recv_timeout(if settling { LOOK_AGAIN } else { POLL }) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {
                if deployments.reconsiders() {
                    let refused = seen.values_mut().filter(|file: &&mut Seen| file.refused);
                    refused.for_each(|file| file.taken = false);
                }
                look(deployments, &mut seen, SETTLE, is_stopping);
                tell_misnamed(deployments, &mut told);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        deployments.follow();
        if !is_stopping() {
            after_look();
        }
    }
}

impl Drop for DirectoryWatch {
    fn drop(&mut self) {
        self.watcher = None;
        self.stopping.store(true, Ordering::SeqCst);
        // A wake-up that waits already is enough.
        let _ = self.wake.try_send(());
        let Some(thread) = self.thread.take() else {
            return;
        };
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > PATIENCE {
                return tracing::debug!("a policy is being compiled: that ends with the process");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.join().is_err() {
            tracing::error!("the thread that watches the policies panicked");
        }
    }
}

fn watcher(directory: &Path, wake: SyncSender<()>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // Looking at the directory is an access that is reported as well: it must not make us look again.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // A wake-up that waits already is enough.
        let _ = wake.try_send(());
    };
    let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the policy directory can't be watched, it is looked at every second");
            None
        }
    }
}

/// Takes the files that are new or have changed, and have settled. One that is gone stays as it runs.
fn look(
    deployments: &Deployments,
    seen: &mut BTreeMap<PathBuf, Seen>,
    settle: Duration,
    is_stopping: impl Fn() -> bool,
) {
    let Some(files) = deployments
        .directory()
        .and_then(|directory| files_of(directory).ok())
    else {
        return;
    };
    for (name, path) in files {
        if is_stopping() {
            return;
        }
        let Some(component) = FileState::of(&path) else {
            continue;
        };
        let state = (component, FileState::of(&signature_file(&path)));
        let file = seen.entry(path.clone()).or_insert_with(|| Seen {
            state,
            since: Instant::now(),
            taken: false,
            refused: false,
        });
        if file.state != state {
            *file = Seen {
                state,
                since: Instant::now(),
                taken: false,
                refused: false,
            };
        }
        if !file.taken && file.since.elapsed() >= settle {
            file.taken = true;
            file.refused = !if settle.is_zero() {
                deployments.file_found(&name, &path)
            } else {
                deployments.file_changed(&name, &path)
            };
        }
    }
}

/// Warns of files that are not taken because of their names, of each once.
fn tell_misnamed(deployments: &Deployments, told: &mut BTreeSet<PathBuf>) {
    let directory = deployments.directory();
    let misnamed = directory.and_then(|directory| misnamed_files(directory).ok());
    let misnamed = misnamed.unwrap_or_default();
    told.retain(|path| misnamed.iter().any(|(other, _)| other == path));
    for (path, reason) in misnamed {
        if !told.contains(&path) {
            tracing::warn!(path = %path.display(), reason, "a file is no policy under this name");
            told.insert(path);
        }
    }
}

impl FileState {
    fn of(path: &Path) -> Option<FileState> {
        let metadata = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)?;
        Some(FileState {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}
