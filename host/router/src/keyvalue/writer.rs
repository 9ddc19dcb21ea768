//! Writing behind: a thread takes what has changed, the newest state of each key, and writes it in one commit.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::{self, Key};
use super::table::Table;
use crate::location::{Batch, LocationStore, StoreError};

/// Changes are gathered for so long, so that one that is made again and again is written once.
const GATHER: Duration = Duration::from_millis(50);
/// So often what is over is removed.
const SWEEP: Duration = Duration::from_secs(1);
/// After a failure it is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// What the store and its writer share.
#[derive(Default)]
pub(super) struct Shared {
    table: Mutex<Table>,
    state: Mutex<State>,
    bell: Condvar,
    failed_commits: AtomicU64,
    /// Changes that are taken from the table and not written yet.
    writing: AtomicUsize,
}

#[derive(Default)]
struct State {
    has_work: bool,
    ends: bool,
}

/// The thread; it ends, with everything written, when this is dropped.
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while the lock was held leaves a table whose parts are each whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failed_commits(&self) -> u64 {
        self.failed_commits.load(Ordering::Relaxed)
    }

    pub(super) fn writing(&self) -> usize {
        self.writing.load(Ordering::Relaxed)
    }

    /// There is something to write. Only the first one to say so wakes the writer.
    pub(super) fn tell_writer(&self) {
        let mut state = self.state();
        if !state.has_work {
            state.has_work = true;
            self.bell.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write, for a time to be over, or for the end.
    fn wait(&self, sweeps: bool) {
        let state = self.state();
        let is_idle = |state: &mut State| !state.has_work && !state.ends;
        // Why it went on is looked at by whoever called this.
        if sweeps {
            drop(self.bell.wait_timeout_while(state, SWEEP, is_idle));
        } else {
            drop(self.bell.wait_while(state, is_idle));
        }
    }

    /// Waits for this time, or for the end; whether it is the end.
    fn pause(&self, time: Duration) -> bool {
        let state = self.state();
        match self
            .bell
            .wait_timeout_while(state, time, |state| !state.ends)
        {
            Ok((state, _)) => state.ends,
            Err(poisoned) => poisoned.into_inner().0.ends,
        }
    }
}

impl Writer {
    pub(super) fn start(
        shared: Arc<Shared>,
        store: Box<dyn LocationStore>,
    ) -> Result<Writer, StoreError> {
        shared.state().ends = false;
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("keyvalue".to_owned())
            .spawn(move || run(&of_thread, store))?;
        Ok(Writer {
            shared,
            thread: Some(thread),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state().ends = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the key-value store has panicked");
        }
    }
}

fn run(shared: &Shared, mut store: Box<dyn LocationStore>) {
    loop {
        let sweeps = shared.lock().has_ends();
        shared.wait(sweeps);
        let ends = shared.pause(GATHER);
        shared.state().has_work = false;
        let (dirty, batch) = gather(shared);
        if let Err(error) = write(&mut *store, &batch) {
            shared.failed_commits.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the key-value store is not written; it is tried again");
            shared.lock().put_back(dirty);
            shared.writing.store(0, Ordering::Relaxed);
            shared.state().has_work = true;
            if !ends {
                shared.pause(RETRY);
                continue;
            }
        }
        shared.writing.store(0, Ordering::Relaxed);
        if ends {
            return;
        }
    }
}

/// What has changed, and as what it is to be written.
fn gather(shared: &Shared) -> (BTreeSet<Key>, Batch) {
    let mut table = shared.lock();
    table.sweep(now_ms());
    let dirty = table.take_dirty();
    shared.writing.store(dirty.len(), Ordering::Relaxed);
    let mut batch = Batch::default();
    for key in &dirty {
        let entry = table.entry(key);
        batch.push(&[key], |bytes| {
            if let Some(entry) = entry {
                record::write(bytes, entry);
            }
            entry.is_some()
        });
    }
    (dirty, batch)
}

fn write(store: &mut dyn LocationStore, batch: &Batch) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    store.commit(batch)
}

fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
