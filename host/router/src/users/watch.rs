//! Reads the users again when somebody changes the file.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::snapshot::Users;

/// Where the system reports no changes (some network file systems) the file is looked at this often.
const POLL: Duration = Duration::from_secs(1);

/// The watch and its thread. Dropping it ends both.
pub struct UserWatch {
    // Holds the other sender of the thread's channel.
    watcher: Option<RecommendedWatcher>,
    stop: Option<SyncSender<Wake>>,
    thread: Option<JoinHandle<()>>,
}

enum Wake {
    Changed,
    Stop,
}

impl UserWatch {
    /// Starts watching.
    pub fn start(users: Arc<Users>) -> std::io::Result<UserWatch> {
        // One wake-up that waits is enough: the file is read after it is taken.
        let (wake, woken) = sync_channel(1);
        let watcher = watcher(&users, wake.clone());
        let thread = std::thread::Builder::new()
            .name("users-watch".to_owned())
            .spawn(move || {
                loop {
                    match woken.recv_timeout(POLL) {
                        Ok(Wake::Changed) | Err(RecvTimeoutError::Timeout) => reload(&users),
                        Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            })?;
        Ok(UserWatch {
            watcher,
            stop: Some(wake),
            thread: Some(thread),
        })
    }
}

impl Drop for UserWatch {
    fn drop(&mut self) {
        self.watcher = None;
        if let Some(stop) = self.stop.take() {
            // Fails only when the thread has ended already.
            let _ = stop.send(Wake::Stop);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the users panicked");
        }
    }
}

/// Watches the folder: the file is replaced, not written to.
fn watcher(users: &Users, wake: SyncSender<Wake>) -> Option<RecommendedWatcher> {
    let path = users.file().path().to_owned();
    let folder = path.parent()?.to_owned();
    let name = path.file_name()?.to_owned();
    let on_event = move |event: notify::Result<notify::Event>| {
        let concerns_us = event.is_ok_and(|event| {
            // Reading the file is reported as well.
            !event.kind.is_access()
                && event
                    .paths
                    .iter()
                    .any(|path| path.file_name() == Some(&name))
        });
        if concerns_us && let Err(TrySendError::Disconnected(_)) = wake.try_send(Wake::Changed) {
            tracing::debug!("the users are no longer watched");
        }
    };
    let watched = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "the file of the users can't be watched, it is looked at every second");
            None
        }
    }
}

fn reload(users: &Users) {
    match users.reload() {
        Ok(true) => tracing::info!(users = users.count(), "users read"),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(%error, "the file of the users can't be read, the users stay as they are")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::file::UserFile;
    use super::*;

    #[test]
    fn added_user_is_known_soon() {
        let folder = tempfile::tempdir().unwrap();
        let file = UserFile::in_directory(folder.path());
        let users = Arc::new(Users::open(file.clone()).unwrap());
        let _watch = UserWatch::start(Arc::clone(&users)).unwrap();
        file.add("alice", "example.com", "a").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while users.ha1("alice", "example.com").is_none() {
            assert!(Instant::now() < deadline, "the user was not read");
            std::thread::yield_now();
        }
    }
}
